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

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Instant;

use crate::feed::said::{Name, Refusal, Which};
use crate::feed::topic::RequestId;
use crate::feed::topics::{Slot, Topics};

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

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    state: OnServer,
    /// Whether the slot is in the queue.
    is_queued: bool,
    /// Whether data has come since the topic was asked for.
    ticked: bool,
    /// Whether the venue has refused to end the subscription.
    is_stuck: bool,
    /// Whether the topic has to leave and be asked for again.
    is_renewed: bool,
}

/// What the server has of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnServer {
    #[default]
    Off,
    Asked(RequestId),
    /// Asked for, and not answered in time. A late answer still counts.
    Unanswered(RequestId),
    On,
    Leaving(RequestId),
}

/// A request that was sent.
#[derive(Debug)]
struct Pending {
    slots: Vec<Slot>,
    search: Search,
    /// The number of its topics without an answer.
    open: usize,
    /// When the answer is overdue; `None` if it is overdue already.
    answer_by: Option<Instant>,
    /// Whether a list of all topics has answered it. Topics that the list left out are still open.
    is_listed: bool,
}

/// Topics of a request that was refused as a whole, to be asked for by themselves.
#[derive(Debug)]
struct Group {
    slots: Vec<Slot>,
    search: Search,
}

/// The search for a topic because of which a request was refused, apart from the topics that are asked for
/// now.
#[derive(Debug, Default)]
struct Search {
    /// If those are confirmed, the refused topic is among these.
    other: Vec<Slot>,
    /// Topics of which nothing is known, and which are asked for when it is found.
    later: Vec<Slot>,
}

impl Search {
    fn into_slots(self) -> impl Iterator<Item = Slot> {
        self.other.into_iter().chain(self.later)
    }
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Subscribe,
    Unsubscribe,
}

/// The topics of the next request.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) verb: Verb,
    pub(crate) slots: Vec<Slot>,
    search: Search,
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

/// The limits of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) topics_per_frame: usize,
    pub(crate) topics_per_line: usize,
}

/// The number of overdue requests that are remembered for a late answer.
const MAX_OVERDUE: usize = 64;

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
        let mut slots: Vec<Slot> = topics.iter().map(|(_, slot)| slot).collect();
        slots.sort_unstable();
        slots.into_iter().for_each(|slot| subscriptions.wish_changed(slot, topics));
        subscriptions
    }

    /// Notes that a topic was added, removed, or may be asked for again.
    pub(crate) fn wish_changed(&mut self, slot: Slot, topics: &Topics) {
        if self.places.len() <= slot as usize {
            self.places.resize(slot as usize + 1, Place::default());
        }
        if topics.is_wanted(slot) {
            self.places[slot as usize].is_stuck = false;
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
            (place.ticked, place.is_renewed) = (false, false);
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

    /// Records data of a wanted topic, which proves that the server has it.
    #[inline]
    pub(crate) fn ticked(&mut self, slot: Slot, topics: &mut Topics) {
        let Some(place) = self.places.get_mut(slot as usize) else { return };
        if !place.ticked {
            place.ticked = true;
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

/// The venue's answer to one request.
struct Verdict {
    /// Whether the request was accepted.
    accepted: bool,
    /// The topics for which the opposite holds.
    except: HashSet<Slot>,
}

impl Verdict {
    fn all(accepted: bool) -> Verdict {
        Verdict { accepted, except: HashSet::new() }
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
            (place.ticked, place.is_stuck, place.is_renewed) = (false, false, false);
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
                self.requests.remove(&id);
                self.enqueue(search.into_slots());
            }
        }
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

    /// Takes the answer to a whole request.
    fn answered(
        &mut self,
        id: RequestId,
        verdict: &Verdict,
        topics: &mut Topics,
        refusal: Option<(&Refusal, Instant)>,
    ) {
        let Some(pending) = self.requests.remove(&id) else {
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

    /// Asks for topics, at least one of which is refused, in parts: the first half by itself, and the other
    /// one when the answer says which of them the refused topic is in. `later` waits for the end of the
    /// search, together, so that one refused topic among 100 takes eight further requests.
    fn split(&mut self, mut slots: Vec<Slot>, mut later: Vec<Slot>, topics: &Topics) {
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
    fn answered_topic(
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
    fn confirm_set(
        &mut self,
        present: &HashSet<Slot>,
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
    fn give_up(&mut self, id: RequestId, now: Instant, topics: &mut Topics) {
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
    fn forget_overdue(&mut self) {
        let overdue = self.requests.values().filter(|pending| pending.answer_by.is_none()).count();
        let excess = overdue.saturating_sub(MAX_OVERDUE);
        let ids: Vec<RequestId> = self
            .requests
            .iter()
            .filter(|(_, pending)| pending.answer_by.is_none())
            .map(|(id, _)| *id)
            .take(excess)
            .collect();
        ids.iter().for_each(|id| drop(self.requests.remove(id)));
    }

    /// Returns the oldest request that has no answer.
    fn oldest(&self) -> Option<RequestId> {
        let is_open = |pending: &Pending| pending.answer_by.is_some() && !pending.is_listed;
        self.requests.iter().find(|(_, pending)| is_open(pending)).map(|(id, _)| *id)
    }

    /// Returns the slots of the topics that are known.
    fn slots_of(&mut self, names: &[Name<'_>], topics: &Topics) -> HashSet<Slot> {
        let slots: HashSet<Slot> =
            names.iter().filter_map(|name| topics.slot(name.as_str())).collect();
        self.unmatched += (names.len() as u64).saturating_sub(slots.len() as u64);
        slots
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
