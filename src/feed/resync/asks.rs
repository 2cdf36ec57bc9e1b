//! Which snapshot is asked for, and when.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::feed::pace::after;
use crate::feed::resync::topic::Asked;
use crate::feed::resync::{MAX_ASKS, Resyncs};
use crate::feed::topics::Slot;

/// A snapshot to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotAsk {
    pub(crate) slot: Slot,
    /// An answer counts for this round alone.
    pub(crate) round: u32,
    /// Whether it is the first since the venue has confirmed the topic, so that the subscription itself may bring it.
    pub(crate) is_first: bool,
}

impl<U> Resyncs<U> {
    /// Returns a snapshot to ask for now, of a topic that may be asked for.
    pub(crate) fn poll_ask(
        &mut self,
        now: Instant,
        may: impl Fn(Slot) -> bool,
    ) -> Option<SnapshotAsk> {
        self.pop_unwanted();
        let at = self.next_ask(may)?;
        if !self.may_ask(now) {
            return None;
        }
        let slot = self.queue.remove(at)?;
        self.free_queue();
        let asked = self.asked.entry(slot).or_insert(Asked { count: 0, at: now });
        (asked.count, asked.at) = (asked.count.saturating_add(1), now);
        let topic = &mut self.topics[slot as usize];
        topic.is_queued = false;
        let work = topic.work.get_or_insert_default();
        work.wants = false;
        work.asks += 1;
        let (round, asks, is_first) = (topic.round, work.asks, work.is_first && work.asks == 1);
        self.set_due(slot, Some(after(now, self.wait_of(asks - 1))));
        self.counts.asks += 1;
        Some(SnapshotAsk { slot, round, is_first })
    }

    /// Returns the time until a snapshot is asked for again that was asked for this often before.
    pub(super) fn wait_of(&self, earlier: u32) -> Duration {
        self.first_wait.saturating_mul(1 << earlier.min(MAX_ASKS))
    }

    /// Frees the queue if it is empty: at the start it holds all topics.
    fn free_queue(&mut self) {
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    /// Counts an ask. Returns `false` if it may not be sent yet.
    fn may_ask(&mut self, now: Instant) -> bool {
        #[cfg(feature = "record")]
        if let Some(granted) = &mut self.granted {
            let may = *granted > 0;
            *granted = granted.saturating_sub(1);
            return may;
        }
        self.rate.take(now)
    }

    /// Has this many snapshots asked for, and no more, in place of the limit on the rate: in a replay.
    #[cfg(feature = "record")]
    pub(crate) fn grant(&mut self, count: u64) {
        self.granted = Some(count);
    }

    /// Returns when the next snapshot may be asked for, of a topic that may be asked for. It changes nothing: a replay does
    /// not call it.
    pub(crate) fn ask_due(&self, now: Instant, may: impl Fn(Slot) -> bool) -> Option<Instant> {
        self.next_ask(may).map(|_| self.rate.ready_at(now))
    }

    /// Removes the topics at the front of the queue that need no snapshot any more.
    fn pop_unwanted(&mut self) {
        while let Some(slot) = self.queue.front()
            && !self.wants(*slot)
        {
            self.topics[*slot as usize].is_queued = false;
            self.queue.pop_front();
        }
        self.free_queue();
    }

    /// Returns where in the queue the next topic is that is to be asked for.
    fn next_ask(&self, may: impl Fn(Slot) -> bool) -> Option<usize> {
        if self.is_holding {
            return None;
        }
        self.queue.iter().position(|slot| self.wants(*slot) && may(*slot))
    }

    fn wants(&self, slot: Slot) -> bool {
        let work = self.topics.get(slot as usize).and_then(|topic| topic.work.as_ref());
        work.is_some_and(|work| work.wants)
    }
}
