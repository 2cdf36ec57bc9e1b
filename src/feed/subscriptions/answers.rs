//! The venue's answers: which topics of which request they are about, and what becomes of those.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::feed::said::{Name, Refusal, Which};
use crate::feed::subscriptions::place::OnServer;
use crate::feed::subscriptions::request::{Group, Pending, Search, Verdict};
use crate::feed::subscriptions::{Change, Subscriptions};
use crate::feed::topic::RequestId;
use crate::feed::topics::{Slot, Topics};

/// The number of overdue requests that are remembered for a late answer.
const MAX_OVERDUE: usize = 64;

impl Subscriptions {
    /// Takes an acknowledgement.
    pub(crate) fn confirm(&mut self, which: Which<'_>, now: Instant, topics: &mut Topics) {
        self.has_answered = true;
        let refusal = Refusal::for_now("the venue's answer leaves it out");
        match which {
            Which::Request(id) => {
                self.answered(id, &Verdict::all(true), topics, Some((&refusal, now)))
            }
            Which::Oldest => match self.oldest() {
                Some(id) => self.answered(id, &Verdict::all(true), topics, Some((&refusal, now))),
                None => self.unmatched += 1,
            },
            Which::Of(id, names) => {
                let verdict = Verdict { accepted: false, except: self.slots_of(&names, topics) };
                self.answered(id, &verdict, topics, Some((&refusal, now)));
            }
            Which::Topics(names) => {
                for slot in self.slots_of(&names, topics) {
                    self.answered_topic(slot, true, &refusal, now, topics);
                }
            }
            Which::Set(names) => {
                let present = self.slots_of(&names, topics);
                self.confirm_set(&present, &refusal, now, topics);
            }
        }
    }

    /// Takes a refusal.
    pub(crate) fn refused(
        &mut self,
        which: Which<'_>,
        refusal: &Refusal,
        now: Instant,
        topics: &mut Topics,
    ) {
        self.has_answered = true;
        match which {
            Which::Request(id) => {
                self.answered(id, &Verdict::all(false), topics, Some((refusal, now)));
            }
            Which::Oldest => match self.oldest() {
                Some(id) => self.answered(id, &Verdict::all(false), topics, Some((refusal, now))),
                None => self.unmatched += 1,
            },
            Which::Of(id, names) => {
                let verdict = Verdict { accepted: true, except: self.slots_of(&names, topics) };
                self.answered(id, &verdict, topics, Some((refusal, now)));
            }
            Which::Topics(names) | Which::Set(names) => {
                for slot in self.slots_of(&names, topics) {
                    self.answered_topic(slot, false, refusal, now, topics);
                }
            }
        }
    }

    /// Takes the answer to a whole request.
    pub(super) fn answered(
        &mut self,
        id: RequestId,
        verdict: &Verdict,
        topics: &mut Topics,
        refusal: Option<(&Refusal, Instant)>,
    ) {
        let Some(pending) = self.end_request(id) else {
            self.unmatched += 1;
            return;
        };
        let mut refused = Vec::new();
        for slot in pending.slots {
            let accepted = verdict.accepted != verdict.except.contains(&slot);
            match self.state(slot) {
                OnServer::Leaving(of) if of == id => self.leave(slot, accepted, topics),
                OnServer::Asked(of) | OnServer::Unanswered(of) if of == id => {
                    // What ticks was not refused, whatever the answer says.
                    if accepted || self.places[slot as usize].ticked {
                        self.turn_on(slot, topics);
                    } else {
                        refused.push(slot);
                    }
                }
                _ => {}
            }
        }
        let Search { other, mut later } = pending.search;
        let is_whole = !verdict.accepted && verdict.except.is_empty();
        match refusal {
            Some(_) if is_whole && refused.len() > 1 => {
                refused.iter().for_each(|slot| self.set(*slot, OnServer::Off));
                later.extend(other);
                self.split(refused, later, topics);
            }
            Some((refusal, now)) if !refused.is_empty() => {
                refused.into_iter().for_each(|slot| self.turn_off(slot, refusal, now, topics));
                self.enqueue(other.into_iter().chain(later));
            }
            _ => self.split(other, later, topics),
        }
    }

    /// Asks for topics, at least one of which is refused, in parts: the first half alone, and the other
    /// one when the answer says which of them the refused topic is in. `later` waits for the end of the
    /// search, together, so that one refused topic among 100 takes eight further requests.
    pub(super) fn split(&mut self, mut slots: Vec<Slot>, mut later: Vec<Slot>, topics: &Topics) {
        // What is not wanted any more leaves here; nothing else would report it.
        for slot in slots.iter().filter(|slot| !topics.is_wanted(**slot)) {
            self.review(*slot, topics);
        }
        slots.retain(|slot| topics.is_wanted(*slot));
        let other = slots.split_off(slots.len().div_ceil(2));
        // The last suspect is asked for after all others, to be refused for a reason of its own.
        let all_others = if other.is_empty() { std::mem::take(&mut later) } else { Vec::new() };
        for (slots, search) in [(slots, Search { other, later }), (all_others, Search::default())] {
            if slots.is_empty() {
                self.enqueue(search.into_slots());
            } else {
                self.is_blocked = false;
                self.groups.push_front(Group { slots, search });
            }
        }
    }

    /// Takes the answer for one topic, whichever request named it.
    pub(super) fn answered_topic(
        &mut self,
        slot: Slot,
        accepted: bool,
        refusal: &Refusal,
        now: Instant,
        topics: &mut Topics,
    ) {
        let Some(place) = self.places.get(slot as usize) else {
            self.unmatched += 1;
            return;
        };
        match place.state {
            OnServer::Leaving(_) => self.leave(slot, accepted, topics),
            OnServer::Asked(_) | OnServer::Unanswered(_) if accepted || place.ticked => {
                self.turn_on(slot, topics);
            }
            OnServer::Asked(_) | OnServer::Unanswered(_) => {
                self.turn_off(slot, refusal, now, topics);
            }
            OnServer::Off | OnServer::On => self.unmatched += 1,
        }
    }

    /// Takes the list of all topics that the venue sends. What is missing in it is judged once no request is
    /// under way, since a request that the venue has not read yet cannot be in it.
    pub(super) fn confirm_set(
        &mut self,
        present: &BTreeSet<Slot>,
        refusal: &Refusal,
        now: Instant,
        topics: &mut Topics,
    ) {
        if let Some(id) = self.oldest()
            && let Some(pending) = self.requests.get_mut(&id)
        {
            pending.is_listed = true;
        }
        for slot in present {
            if matches!(self.state(*slot), OnServer::Asked(_) | OnServer::Unanswered(_)) {
                self.turn_on(*slot, topics);
            }
        }
        if self.oldest().is_some() {
            return;
        }
        for slot in 0..self.places.len() as Slot {
            let is_present = present.contains(&slot);
            match self.state(slot) {
                OnServer::Leaving(_) => self.leave(slot, !is_present, topics),
                OnServer::Asked(_) if !is_present => self.turn_off(slot, refusal, now, topics),
                OnServer::On if !is_present => {
                    self.set(slot, OnServer::Off);
                    self.review(slot, topics);
                }
                _ => {}
            }
        }
    }

    /// Gives up on the answer to a request. Its topics count as refused for now, but a late answer still
    /// counts.
    pub(super) fn give_up(&mut self, id: RequestId, now: Instant, topics: &mut Topics) {
        let Some(pending) = self.requests.get_mut(&id) else { return };
        pending.answer_by = None;
        let (slots, search) = (pending.slots.clone(), std::mem::take(&mut pending.search));
        let refusal = Refusal::for_now("the venue did not answer the subscription in time");
        for slot in slots {
            match self.state(slot) {
                OnServer::Asked(of) if of == id && self.places[slot as usize].ticked => {
                    self.turn_on(slot, topics);
                }
                OnServer::Asked(of) if of == id => {
                    self.set(slot, OnServer::Unanswered(id));
                    if topics.is_wanted(slot) {
                        topics.refuse(slot, refusal.clone(), now);
                        self.changes.push_back(Change::Refused(slot, refusal.clone()));
                    } else {
                        self.review(slot, topics);
                    }
                }
                // Whether it has left is unknown. If it is wanted again it has to be asked for again.
                OnServer::Leaving(of) if of == id => {
                    self.set(slot, OnServer::Off);
                    self.review(slot, topics);
                }
                _ => {}
            }
        }
        self.enqueue(search.into_slots());
    }

    /// Forgets the oldest overdue requests beyond the number that is remembered.
    pub(super) fn forget_overdue(&mut self) {
        let overdue = self.requests.values().filter(|pending| pending.answer_by.is_none()).count();
        let excess = overdue.saturating_sub(MAX_OVERDUE);
        let ids: Vec<RequestId> = self
            .requests
            .iter()
            .filter(|(_, pending)| pending.answer_by.is_none())
            .map(|(id, _)| *id)
            .take(excess)
            .collect();
        ids.into_iter().for_each(|id| drop(self.end_request(id)));
    }

    /// Returns the oldest request that has no answer.
    pub(super) fn oldest(&self) -> Option<RequestId> {
        let is_open = |pending: &Pending| pending.answer_by.is_some() && !pending.is_listed;
        self.requests.iter().find(|(_, pending)| is_open(pending)).map(|(id, _)| *id)
    }

    /// Returns the slots of the topics that are known.
    pub(super) fn slots_of(&mut self, names: &[Name<'_>], topics: &Topics) -> BTreeSet<Slot> {
        let slots: BTreeSet<Slot> =
            names.iter().filter_map(|name| topics.slot(name.as_str())).collect();
        self.unmatched += (names.len() as u64).saturating_sub(slots.len() as u64);
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_64_overdue_requests_are_remembered_and_those_under_way() {
        let mut subscriptions = Subscriptions::new(&Topics::default());
        let now = Instant::now();
        for id in 1..=70 {
            let answer_by = (id == 1).then_some(now);
            let (slots, search) = (Vec::new(), Search::default());
            let pending = Pending { slots, search, open: 1, answer_by, is_listed: false };
            subscriptions.requests.insert(id, pending);
        }
        subscriptions.forget_overdue();
        let ids: Vec<RequestId> = subscriptions.requests.keys().copied().collect();
        assert_eq!(ids, [1].into_iter().chain(7..=70).collect::<Vec<_>>());
    }
}
