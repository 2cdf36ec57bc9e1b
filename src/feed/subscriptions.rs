//! What one session has on the server, and which request has to follow.
//!
//! Each topic has two states: whether it is wanted, which belongs to the shard, and what the server has of
//! it, which belongs to the session. A request is due where they differ, whatever led there, so that the
//! newest wish always wins. A topic that was asked for is left alone until its answer has come.
//!
//! ```text
//!         asked for            confirmed
//!   Off ------------> Asked ---------------> On
//!    ^                  | refused: Off        | asked to leave
//!    |                  | no answer: Unanswered, asked for again later
//!    +------------------+---------------- Leaving
//! ```

mod answers;
mod place;
mod request;

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use crate::feed::said::Refusal;
use crate::feed::subscriptions::place::Place;
use crate::feed::subscriptions::request::{Group, Pending, Search, Verdict};
use crate::feed::table;
use crate::feed::topic::RequestId;
use crate::feed::topics::{Slot, Topics};

pub(crate) use crate::feed::subscriptions::place::OnServer;
pub(crate) use crate::feed::subscriptions::request::{Ask, Limits, Verb};

/// The subscriptions of one session.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    /// The state of each topic on the server, by slot.
    places: Vec<Place>,
    /// The requests that have topics without an answer, the oldest first.
    requests: BTreeMap<RequestId, Pending>,
    /// Topics whose two states may differ.
    queue: VecDeque<Slot>,
    /// Parts of a request that was refused as a whole, each to be asked for in a request of its own.
    groups: VecDeque<Group>,
    /// What has changed, in order.
    changes: VecDeque<Change>,
    /// The id of the newest request.
    last_id: RequestId,
    /// The number of topics that the server has, or may have.
    on_server: usize,
    /// The number of topics that the server has confirmed.
    confirmed: usize,
    /// Whether what is due waits for topics to leave the server.
    is_blocked: bool,
    /// Whether the venue has a request that ends a subscription.
    can_unsubscribe: bool,
    /// Whether the venue has confirmed any topic, or sent data of one.
    has_answered: bool,
    /// The number of answers that fitted no request.
    unmatched: u64,
}

/// What has become of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The venue has confirmed it.
    Confirmed(Slot),
    /// The venue has refused it.
    Refused(Slot, Refusal),
    /// It is not wanted, but the server goes on sending it: its updates are dropped.
    Filtered(Slot),
    /// It is neither wanted nor on the server.
    Left(Slot),
}

impl Subscriptions {
    /// Creates the state of a new session: nothing is on the server, and every wanted topic is due.
    pub(crate) fn new(topics: &Topics) -> Subscriptions {
        let mut subscriptions = Subscriptions {
            places: Vec::new(),
            requests: BTreeMap::new(),
            queue: VecDeque::new(),
            groups: VecDeque::new(),
            changes: VecDeque::new(),
            last_id: 0,
            on_server: 0,
            confirmed: 0,
            is_blocked: false,
            can_unsubscribe: true,
            has_answered: false,
            unmatched: 0,
        };
        topics.iter().for_each(|(_, slot)| subscriptions.wish_changed(slot, topics));
        subscriptions
    }

    /// Notes that a topic was added, removed, or may be asked for again.
    pub(crate) fn wish_changed(&mut self, slot: Slot, topics: &Topics) {
        if self.places.len() <= slot as usize {
            table::fill(&mut self.places, slot as usize + 1, Place::default);
        }
        let place = &mut self.places[slot as usize];
        place.is_flowing = false;
        if topics.is_wanted(slot) {
            place.is_stuck = false;
        }
        self.review(slot, topics);
    }

    /// Returns what the next request is about; `None` if none is due. `kind` is that of the dialect.
    pub(crate) fn poll_ask(
        &mut self,
        limits: Limits,
        topics: &Topics,
        kind: impl for<'t> Fn(&'t str) -> &'t str,
    ) -> Option<Ask> {
        let mut room = limits.topics_per_line.saturating_sub(self.on_server);
        while let Some(mut group) = self.groups.pop_front() {
            group.slots.retain(|slot| self.need(*slot, topics) == Some(Verb::Subscribe));
            // A slot that was released meanwhile may have a topic of another kind.
            if let Some(first) = group.slots.first().map(|slot| kind(topics.topic(*slot))) {
                let is_other = |slot: &mut Slot| kind(topics.topic(*slot)) != first;
                let others: Vec<Slot> = group.slots.extract_if(.., is_other).collect();
                self.enqueue(others);
            }
            if group.slots.len() > room {
                self.groups.push_front(group);
                break;
            }
            if group.slots.is_empty() {
                self.enqueue(group.search.into_slots());
                continue;
            }
            return Some(Ask { verb: Verb::Subscribe, slots: group.slots, search: group.search });
        }
        let mut slots: Vec<Slot> = Vec::new();
        let mut first: Option<(Verb, &str)> = None;
        let mut left = VecDeque::with_capacity(self.queue.len());
        for slot in std::mem::take(&mut self.queue) {
            let Some(verb) = self.need(slot, topics) else {
                self.places[slot as usize].is_queued = false;
                continue;
            };
            let kind = kind(topics.topic(slot));
            let takes_room = verb == Verb::Subscribe && self.state(slot) == OnServer::Off;
            let fits = slots.len() < limits.topics_per_frame && !(takes_room && room == 0);
            if fits && *first.get_or_insert((verb, kind)) == (verb, kind) {
                room -= usize::from(takes_room);
                self.places[slot as usize].is_queued = false;
                slots.push(slot);
            } else {
                left.push_back(slot);
            }
        }
        self.queue = left;
        self.is_blocked = first.is_none();
        first.map(|(verb, _)| Ask { verb, slots, search: Search::default() })
    }

    /// Reduces what a request is about to its first topics, because it would be too large.
    pub(crate) fn shorten(&mut self, ask: &mut Ask, to: usize) {
        let rest = ask.slots.split_off(to.min(ask.slots.len()));
        self.enqueue(rest);
        self.enqueue(std::mem::take(&mut ask.search).into_slots());
    }

    /// Returns the id of the next request.
    pub(crate) fn next_id(&mut self) -> RequestId {
        self.last_id += 1;
        self.last_id
    }

    /// Records that a request was sent. Without a time for its answer it counts as accepted.
    pub(crate) fn asked(
        &mut self,
        id: RequestId,
        ask: Ask,
        answer_by: Option<Instant>,
        topics: &mut Topics,
    ) {
        let Ask { verb, slots, search } = ask;
        let open = slots.len();
        let state = match verb {
            Verb::Subscribe => OnServer::Asked(id),
            Verb::Unsubscribe => OnServer::Leaving(id),
        };
        for slot in &slots {
            self.set(*slot, state);
            let place = &mut self.places[*slot as usize];
            (place.ticked, place.is_flowing, place.is_renewed) = (false, false, false);
        }
        self.requests.insert(id, Pending { slots, search, open, answer_by, is_listed: false });
        if answer_by.is_none() {
            self.answered(id, &Verdict::all(true), topics, None);
        }
    }

    /// Records that the venue has no request that ends a subscription.
    pub(crate) fn cannot_unsubscribe(&mut self, ask: Ask, topics: &Topics) {
        self.can_unsubscribe = false;
        let queued = std::mem::take(&mut self.queue);
        queued.iter().for_each(|slot| self.places[*slot as usize].is_queued = false);
        for slot in ask.slots.into_iter().chain(queued) {
            if std::mem::take(&mut self.places[slot as usize].is_renewed) {
                self.set(slot, OnServer::Off);
            }
            self.review(slot, topics);
        }
    }

    /// Records that a topic cannot be asked for, for a reason of ours.
    pub(crate) fn refuse(
        &mut self,
        ask: Ask,
        refusal: &Refusal,
        now: Instant,
        topics: &mut Topics,
    ) {
        for slot in ask.slots {
            self.turn_off(slot, refusal, now, topics);
        }
        self.enqueue(ask.search.into_slots());
    }

    /// Asks again for a topic that the server has, but sends nothing of.
    pub(crate) fn renew(&mut self, slot: Slot, topics: &Topics) {
        if !self.is_confirmed(slot) {
            return;
        }
        if self.can_unsubscribe {
            self.places[slot as usize].is_renewed = true;
        } else {
            self.set(slot, OnServer::Off);
        }
        self.review(slot, topics);
    }

    /// Whether a topic is wanted, and has brought data since it was asked for: then no more is to be done for further
    /// data. Nearly all data is of such a topic.
    #[inline]
    pub(crate) fn is_flowing(&self, slot: Slot) -> bool {
        self.places.get(slot as usize).is_some_and(|place| place.is_flowing)
    }

    /// Records data of a wanted topic. The first since it was asked for proves that the server has it.
    pub(crate) fn ticked(&mut self, slot: Slot, topics: &mut Topics) {
        let Some(place) = self.places.get_mut(slot as usize) else { return };
        place.is_flowing = true;
        if !std::mem::replace(&mut place.ticked, true) {
            self.has_answered = true;
            if matches!(place.state, OnServer::Unanswered(_)) {
                self.turn_on(slot, topics);
            }
        }
    }

    /// Gives up on answers that are overdue. Returns whether there was one.
    pub(crate) fn handle_timeout(&mut self, now: Instant, topics: &mut Topics) -> bool {
        let is_overdue = |pending: &Pending| pending.answer_by.is_some_and(|at| at <= now);
        let overdue: Vec<RequestId> = self
            .requests
            .iter()
            .filter(|(_, pending)| is_overdue(pending))
            .map(|(id, _)| *id)
            .collect();
        for id in &overdue {
            self.give_up(*id, now, topics);
        }
        self.forget_overdue();
        !overdue.is_empty()
    }

    /// Returns when the next answer is overdue.
    pub(crate) fn answer_by(&self) -> Option<Instant> {
        self.requests.values().filter_map(|pending| pending.answer_by).min()
    }

    /// Returns the next change.
    pub(crate) fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// Whether a request may be due.
    pub(crate) fn is_due(&self) -> bool {
        let has_work = !self.queue.is_empty() || !self.groups.is_empty();
        has_work && !self.is_blocked
    }

    /// Whether the venue has confirmed a topic.
    pub(crate) fn is_confirmed(&self, slot: Slot) -> bool {
        self.state(slot) == OnServer::On
    }

    /// Returns the number of topics that the venue has confirmed.
    pub(crate) fn confirmed(&self) -> usize {
        self.confirmed
    }

    /// Whether the venue has answered any request, or sent data.
    pub(crate) fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// Returns the number of answers that fitted no request.
    pub(crate) fn unmatched(&self) -> u64 {
        self.unmatched
    }

    /// Returns the number of wanted topics that are neither confirmed nor refused.
    pub(crate) fn left(&self, topics: &Topics) -> usize {
        let is_left = |slot: &Slot| topics.may_ask(*slot) && !self.is_confirmed(*slot);
        topics.iter().filter(|(_, slot)| is_left(slot)).count()
    }

    /// Returns what the server has of a topic.
    pub(crate) fn state(&self, slot: Slot) -> OnServer {
        self.places.get(slot as usize).map_or(OnServer::Off, |place| place.state)
    }
}

impl Subscriptions {
    /// Returns the request that a topic needs.
    fn need(&self, slot: Slot, topics: &Topics) -> Option<Verb> {
        let place = self.places.get(slot as usize)?;
        match place.state {
            OnServer::Off if topics.may_ask(slot) => Some(Verb::Subscribe),
            // Where its answer did not come it is refused for now, and asked for again later.
            OnServer::Unanswered(_) if topics.may_ask(slot) => Some(Verb::Subscribe),
            OnServer::On | OnServer::Unanswered(_)
                if !topics.is_wanted(slot) && self.can_unsubscribe && !place.is_stuck =>
            {
                Some(Verb::Unsubscribe)
            }
            OnServer::On if place.is_renewed => Some(Verb::Unsubscribe),
            _ => None,
        }
    }

    /// Queues a topic if it needs a request, and reports an unwanted one that needs none.
    fn review(&mut self, slot: Slot, topics: &Topics) {
        if self.need(slot, topics).is_some() {
            self.enqueue([slot]);
        } else if !topics.is_wanted(slot) {
            match self.state(slot) {
                OnServer::Off => self.changes.push_back(Change::Left(slot)),
                OnServer::On | OnServer::Unanswered(_) => {
                    self.changes.push_back(Change::Filtered(slot));
                }
                OnServer::Asked(_) | OnServer::Leaving(_) => {}
            }
        }
    }

    /// Queues topics, whether they need a request or not: `poll_ask` skips those that don't.
    fn enqueue(&mut self, slots: impl IntoIterator<Item = Slot>) {
        for slot in slots {
            let place = &mut self.places[slot as usize];
            if !place.is_queued {
                place.is_queued = true;
                self.is_blocked = false;
                self.queue.push_back(slot);
            }
        }
    }

    /// Sets the state of a topic, and closes the request that it waited for.
    fn set(&mut self, slot: Slot, state: OnServer) {
        let place = &mut self.places[slot as usize];
        let old = std::mem::replace(&mut place.state, state);
        if state == OnServer::Off {
            self.is_blocked = false;
            (place.ticked, place.is_flowing) = (false, false);
            (place.is_stuck, place.is_renewed) = (false, false);
        }
        self.on_server += usize::from(state != OnServer::Off);
        self.on_server -= usize::from(old != OnServer::Off);
        self.confirmed += usize::from(state == OnServer::On);
        self.confirmed -= usize::from(old == OnServer::On);
        if let OnServer::Asked(id) | OnServer::Unanswered(id) | OnServer::Leaving(id) = old
            && state != OnServer::Unanswered(id)
            && let Some(pending) = self.requests.get_mut(&id)
        {
            pending.open -= 1;
            if pending.open == 0 {
                let search = std::mem::take(&mut pending.search);
                self.end_request(id);
                self.enqueue(search.into_slots());
            }
        }
    }

    /// Removes a request that needs no answer any more, or has one.
    fn end_request(&mut self, id: RequestId) -> Option<Pending> {
        let pending = self.requests.remove(&id);
        if self.requests.is_empty() {
            // An empty map keeps a node for eleven requests: 1 KiB of a line that has nothing to ask.
            self.requests = BTreeMap::new();
        }
        pending
    }

    fn turn_on(&mut self, slot: Slot, topics: &mut Topics) {
        self.set(slot, OnServer::On);
        topics.confirm(slot);
        if topics.is_wanted(slot) {
            self.changes.push_back(Change::Confirmed(slot));
        } else {
            self.review(slot, topics);
        }
    }

    fn turn_off(&mut self, slot: Slot, refusal: &Refusal, now: Instant, topics: &mut Topics) {
        self.set(slot, OnServer::Off);
        if topics.is_wanted(slot) {
            topics.refuse(slot, refusal.clone(), now);
            self.changes.push_back(Change::Refused(slot, refusal.clone()));
        } else {
            self.review(slot, topics);
        }
    }

    /// Ends a subscription, or learns that it goes on.
    fn leave(&mut self, slot: Slot, left: bool, topics: &Topics) {
        self.set(slot, if left { OnServer::Off } else { OnServer::On });
        if !left {
            let is_wanted = topics.is_wanted(slot);
            self.places[slot as usize].is_stuck = !is_wanted;
            // It was added again meanwhile.
            self.changes.extend(is_wanted.then_some(Change::Confirmed(slot)));
        }
        self.review(slot, topics);
    }
}

/// The behaviour is tested together with the session, in `session/tests.rs`.
#[cfg(test)]
mod tests {
    use super::*;

    impl Subscriptions {
        /// Whether a request for a topic is under way or will be made.
        pub(crate) fn has_request(&self, slot: Slot) -> bool {
            let groups = self.groups.iter().map(|group| (&group.slots, &group.search));
            let none = Vec::new();
            let requests = self.requests.values().map(|pending| (&none, &pending.search));
            matches!(self.state(slot), OnServer::Asked(_) | OnServer::Leaving(_))
                || self.places.get(slot as usize).is_some_and(|place| place.is_queued)
                || groups.chain(requests).any(|(slots, search)| {
                    [slots, &search.other, &search.later].iter().any(|it| it.contains(&slot))
                })
        }
    }
}
