//! How far the topics of a rotation are on the new line.

use std::time::{Duration, Instant};

use crate::feed::merge::Joined;
use crate::feed::rotation::clock::{Clock, Mark};
use crate::feed::topics::Slot;

/// How long a topic that brings nothing on the old line is waited for.
pub(super) const QUIET: Duration = Duration::from_secs(5);
/// How long after the new line is active the data of the old line may be from before that.
pub(super) const IN_FLIGHT: Duration = Duration::from_secs(1);
/// How long a topic may bring data on the old line alone.
const NO_DATA: Duration = Duration::from_secs(30);
/// How long both lines go on where updates have no contiguous numbers: what is under way on the old line arrives.
const LINGER: Duration = Duration::from_millis(500);

/// How far the topics are on the new line.
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) since: Mark,
    /// Whether a topic has brought data on the old line since then, by slot.
    ticked: Vec<bool>,
    /// The topics of those that have not joined when last looked, and since when they bring data on the old line.
    waiting: Vec<(Slot, Mark)>,
    /// Since when all is there for the hand-over.
    ready_since: Option<Mark>,
}

impl Joining {
    pub(super) fn new(since: Mark) -> Joining {
        Joining { since, ticked: Vec::new(), waiting: Vec::new(), ready_since: None }
    }

    /// Notes data of a topic on the old line. What was under way before the venue had confirmed the topic on the new one
    /// never comes there: it says nothing.
    pub(super) fn tick(&mut self, slot: Slot, clock: &Clock, now: Instant) {
        if now < clock.over(self.since, IN_FLIGHT) {
            return;
        }
        let at = slot as usize;
        if at >= self.ticked.len() {
            self.ticked.resize(at + 1, false);
        }
        if !std::mem::replace(&mut self.ticked[at], true) {
            self.waiting.push((slot, clock.mark(now)));
        }
    }

    /// Forgets a topic: its slot may be used for another one.
    pub(super) fn release(&mut self, slot: Slot) {
        self.waiting.retain(|(other, _)| *other != slot);
        self.ticked.get_mut(slot as usize).into_iter().for_each(|ticked| *ticked = false);
    }

    /// Looks which topics have joined. Returns one that has had its time.
    pub(super) fn look(
        &mut self,
        clock: &Clock,
        now: Instant,
        joined: impl Fn(Slot) -> Joined,
    ) -> Option<Slot> {
        self.waiting.retain(|(slot, _)| joined(*slot) == Joined::No);
        let is_over = |(_, since): &&(Slot, Mark)| clock.is_over(*since, NO_DATA, now);
        self.waiting.iter().find(is_over).map(|(slot, _)| *slot)
    }

    /// Whether the old line may be closed.
    pub(super) fn is_ready(
        &mut self,
        clock: &Clock,
        topics: Slot,
        now: Instant,
        joined: impl Fn(Slot) -> Joined,
    ) -> bool {
        if !self.waiting.is_empty() {
            self.ready_since = None;
            return false;
        }
        // Also those that had joined when they were last looked at: the new line may have lost one since.
        let ticked = (0..).zip(&self.ticked).filter(|(_, ticked)| **ticked);
        let left = ticked.filter(|(slot, _)| joined(*slot) == Joined::No);
        self.waiting.extend(left.map(|(slot, _)| (slot, clock.mark(now))));
        let is_quiet_over = clock.is_over(self.since, QUIET, now);
        let has_all = || (0..topics).all(|slot| joined(slot) != Joined::No);
        if !self.waiting.is_empty() || !(is_quiet_over || has_all()) {
            self.ready_since = None;
            return false;
        }
        let since = *self.ready_since.get_or_insert(clock.mark(now));
        let is_exact = || (0..topics).all(|slot| joined(slot) != Joined::Roughly);
        clock.is_over(since, LINGER, now) || is_exact()
    }
}
