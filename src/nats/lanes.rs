//! The publications of all topics: the bounds of what waits and of what is in flight, and which topic may send next.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::feed::{Sequence, Topic};
use crate::nats::generation::Now;
use crate::nats::lane::{Answer, Counts, Lane, Role, Sent, Step};

/// The number of a topic.
pub(crate) type LaneId = u32;

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How much is in flight, over all topics.
    pub(crate) in_flight: usize,
    /// How long an answer may take.
    pub(crate) ack_timeout: Duration,
    /// What waits of owned topics, and as much again of those of a standby.
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    /// How long a standby keeps an update.
    pub(crate) keep: Duration,
}

/// What is to be sent.
#[derive(Debug)]
pub(crate) struct Outgoing<'l> {
    pub(crate) lane: LaneId,
    /// The number of what is sent, with which it is answered.
    pub(crate) flight: u64,
    pub(crate) topic: &'l Topic,
    pub(crate) sent: &'l Sent,
}

/// What waits, as messages and the bytes of their payloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// A topic with what it has of the totals.
#[derive(Debug)]
struct Place {
    topic: Topic,
    lane: Lane,
    /// Its part of [`Lanes::owned`], or of [`Lanes::kept`] for a standby.
    counted: Waiting,
    counted_as_owned: bool,
    /// Whether it stands in [`Lanes::ready`].
    is_ready: bool,
    /// When it stands in [`Lanes::waits`].
    waits_until: Option<Instant>,
}

/// The publications of all topics.
#[derive(Debug)]
pub(crate) struct Lanes {
    limits: Limits,
    /// The role of a topic that none was set for.
    role: Role,
    by_topic: HashMap<Topic, LaneId>,
    places: Vec<Place>,
    /// Those that may have something to send.
    ready: VecDeque<LaneId>,
    /// Those that have something to send at a time.
    waits: BTreeSet<(Instant, LaneId)>,
    /// When each answer is overdue, in this order. Also of what was answered.
    overdue: VecDeque<(Instant, LaneId, u64)>,
    /// What is sent again.
    repeats: VecDeque<(LaneId, u64)>,
    in_flight: usize,
    owned: Waiting,
    kept: Waiting,
    counts: Counts,
    repeated: u64,
    is_connected: bool,
}

impl Lanes {
    pub(crate) fn new(limits: Limits, role: Role) -> Lanes {
        Lanes {
            limits,
            role,
            by_topic: HashMap::new(),
            places: Vec::new(),
            ready: VecDeque::new(),
            waits: BTreeSet::new(),
            overdue: VecDeque::new(),
            repeats: VecDeque::new(),
            in_flight: 0,
            owned: Waiting::default(),
            kept: Waiting::default(),
            counts: Counts::default(),
            repeated: 0,
            is_connected: false,
        }
    }

    /// Adds an update that the feed has delivered.
    pub(crate) fn push(
        &mut self,
        topic: &Topic,
        sequence: Sequence,
        snapshot: bool,
        bytes: Bytes,
        received: Instant,
    ) {
        let id = self.lane(topic);
        let lane = &mut self.places[id as usize].lane;
        lane.push(sequence, snapshot, bytes, received);
        if lane.role() == Role::Standby {
            self.expire(id, received);
        }
        self.changed(id);
    }

    /// Drops what a standby has kept for too long, or what is too much.
    fn expire(&mut self, id: LaneId, now: Instant) {
        let before = now.checked_sub(self.limits.keep);
        while let Some(before) = before
            && self.places[id as usize].lane.expire(before).is_some()
        {}
        self.account(id);
        while self.kept.messages > self.limits.messages || self.kept.bytes > self.limits.bytes {
            // Its own oldest: another topic may be quiet, and has little.
            if self.places[id as usize].lane.expire(now + self.limits.keep).is_none() {
                break;
            }
            self.account(id);
        }
    }

    /// Returns whether no more may wait of owned topics.
    pub(crate) fn is_full(&self) -> bool {
        self.owned.messages >= self.limits.messages || self.owned.bytes >= self.limits.bytes
    }

    /// Sets the role of topics. Returns them.
    pub(crate) fn set_role(&mut self, topics: &[Topic], role: Role) -> Vec<LaneId> {
        let set = |topic: &Topic| {
            let id = self.lane(topic);
            self.places[id as usize].lane.set_role(role);
            self.changed(id);
            id
        };
        topics.iter().map(set).collect()
    }

    /// Publishes of these topics what was received until then and nothing later, until their role is set. Returns them.
    pub(crate) fn end(&mut self, topics: &[Topic], at: Instant) -> Vec<LaneId> {
        let end = |topic: &Topic| {
            let id = self.lane(topic);
            self.places[id as usize].lane.end(at);
            id
        };
        topics.iter().map(end).collect()
    }

    /// Returns whether all of a topic that is to be published before its end is acknowledged.
    pub(crate) fn has_ended(&self, id: LaneId) -> bool {
        self.places[id as usize].lane.has_ended()
    }

    /// Returns whether a topic publishes nothing that is received from now on, until its role is set.
    pub(crate) fn ends(&self, id: LaneId) -> bool {
        self.places[id as usize].lane.ends()
    }

    /// Returns whether something of a topic is in flight.
    pub(crate) fn is_in_flight(&self, id: LaneId) -> bool {
        self.places[id as usize].lane.flight.is_some()
    }

    /// Notes that the connection was opened or lost. What is in flight is sent again as soon as it is open.
    pub(crate) fn set_connected(&mut self, is_connected: bool, now: Instant) {
        self.is_connected = is_connected;
        if is_connected {
            self.overdue.iter_mut().for_each(|(at, ..)| *at = now.min(*at));
        }
    }

    /// Returns what is to be sent next, if something is.
    pub(crate) fn poll(&mut self, now: Now) -> Option<Outgoing<'_>> {
        if !self.is_connected {
            return None;
        }
        self.handle_timeout(now.at);
        let (id, flight) = match self.next_repeat(now.at) {
            Some(repeat) => repeat,
            None => self.next_new(now)?,
        };
        self.overdue.push_back((now.at + self.limits.ack_timeout, id, flight));
        let place = &self.places[id as usize];
        let sent = &place.lane.flight.as_ref()?.sent;
        Some(Outgoing { lane: id, flight, topic: &place.topic, sent })
    }

    /// Returns what is sent again, if it was not answered meanwhile. What may not be sent any more is given up.
    fn next_repeat(&mut self, now: Instant) -> Option<(LaneId, u64)> {
        while let Some((id, flight)) = self.repeats.pop_front() {
            let lane = &mut self.places[id as usize].lane;
            if lane.flight.as_ref().is_none_or(|it| it.number != flight) {
                continue;
            }
            match lane.role() {
                Role::Owner { until, .. } if until.is_none_or(|until| now < until) => {
                    self.repeated += 1;
                    return Some((id, flight));
                }
                _ => {
                    lane.give_up();
                    self.in_flight -= 1;
                    self.changed(id);
                }
            }
        }
        None
    }

    fn next_new(&mut self, now: Now) -> Option<(LaneId, u64)> {
        while self.in_flight < self.limits.in_flight {
            let id = self.ready.pop_front()?;
            self.places[id as usize].is_ready = false;
            let step = self.places[id as usize].lane.step(now);
            self.account(id);
            match step {
                Step::Idle => {}
                Step::Wait(at) => self.wait(id, at),
                Step::Send => {
                    self.in_flight += 1;
                    let flight = self.places[id as usize].lane.flight.as_ref()?;
                    return Some((id, flight.number));
                }
            }
        }
        None
    }

    fn wait(&mut self, id: LaneId, at: Instant) {
        let place = &mut self.places[id as usize];
        if let Some(before) = place.waits_until.replace(at) {
            self.waits.remove(&(before, id));
        }
        self.waits.insert((at, id));
    }

    /// Takes an answer.
    pub(crate) fn handle(&mut self, id: LaneId, flight: u64, answer: Answer, now: Now) {
        let Some(place) = self.places.get_mut(id as usize) else { return };
        if place.lane.handle(flight, answer, now) {
            self.in_flight -= 1;
            self.changed(id);
        }
    }

    /// Ends what is overdue.
    fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, id)) = self.waits.first().copied().filter(|(at, _)| *at <= now) {
            self.waits.remove(&(at, id));
            self.places[id as usize].waits_until = None;
            self.make_ready(id);
        }
        while let Some((_, id, flight)) = self.overdue.front().copied().filter(|it| it.0 <= now) {
            self.overdue.pop_front();
            self.repeats.push_back((id, flight));
        }
    }

    /// Returns when [`poll`](Lanes::poll) is to be called, if nothing else happens.
    pub(crate) fn poll_timeout(&mut self) -> Option<Instant> {
        if !self.is_connected {
            return None;
        }
        while let Some((_, id, flight)) = self.overdue.front()
            && self.places[*id as usize].lane.flight.as_ref().is_none_or(|it| it.number != *flight)
        {
            self.overdue.pop_front();
        }
        let overdue = self.overdue.front().map(|(at, ..)| *at);
        overdue.into_iter().chain(self.waits.first().map(|(at, _)| *at)).min()
    }

    /// Returns the number of a topic, which is added if it is not there.
    fn lane(&mut self, topic: &Topic) -> LaneId {
        if let Some(id) = self.by_topic.get(topic) {
            return *id;
        }
        let id = self.places.len() as LaneId;
        self.by_topic.insert(topic.clone(), id);
        self.places.push(Place {
            topic: topic.clone(),
            lane: Lane::new(self.role),
            counted: Waiting::default(),
            counted_as_owned: false,
            is_ready: false,
            waits_until: None,
        });
        id
    }

    /// Notes that a topic has changed: it may have something to send.
    fn changed(&mut self, id: LaneId) {
        self.account(id);
        self.make_ready(id);
    }

    fn make_ready(&mut self, id: LaneId) {
        let place = &mut self.places[id as usize];
        if place.lane.flight.is_none() && !std::mem::replace(&mut place.is_ready, true) {
            self.ready.push_back(id);
        }
    }

    /// Brings the totals up to date with a topic.
    fn account(&mut self, id: LaneId) {
        let place = &mut self.places[id as usize];
        let before = if place.counted_as_owned { &mut self.owned } else { &mut self.kept };
        before.messages -= place.counted.messages;
        before.bytes -= place.counted.bytes;
        let (messages, bytes) = place.lane.waiting();
        place.counted = Waiting { messages, bytes };
        place.counted_as_owned = matches!(place.lane.role(), Role::Owner { .. });
        let after = if place.counted_as_owned { &mut self.owned } else { &mut self.kept };
        after.messages += messages;
        after.bytes += bytes;
        self.counts.add(std::mem::take(&mut place.lane.counts));
    }

    /// Returns what waits of owned topics, what is in flight included.
    pub(crate) fn owned(&self) -> Waiting {
        self.owned
    }

    /// Returns what is kept of topics that others own.
    pub(crate) fn kept(&self) -> Waiting {
        self.kept
    }

    /// Returns how long an answer may take.
    pub(crate) fn ack_timeout(&self) -> Duration {
        self.limits.ack_timeout
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns how many messages were found in the stream, or put there.
    pub(crate) fn in_stream(&self) -> u64 {
        self.counts.acknowledged + self.counts.duplicates
    }

    pub(crate) fn repeated(&self) -> u64 {
        self.repeated
    }
}

#[cfg(test)]
mod tests;
