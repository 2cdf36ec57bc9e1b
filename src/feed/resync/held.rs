//! The updates of topics that wait for a snapshot, bounded by their number and the bytes of their messages.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::feed::sequence::{Numbers, Sequence};
use crate::feed::topics::Slot;

/// The most updates that wait of one topic. Beyond it the oldest is dropped.
pub(super) const MAX_HELD: usize = 1024;
/// The most bytes that wait of one topic.
pub(super) const MAX_HELD_BYTES: usize = 1 << 20;
/// The most bytes that wait of all topics of a shard. Beyond it the oldest update of any topic is dropped.
pub(super) const MAX_SHARD_BYTES: usize = 16 << 20;

/// The updates that wait, of all topics of a shard.
pub(super) struct Held<U> {
    topics: HashMap<Slot, Queue<U>>,
    /// The oldest update of each topic, by its arrival.
    fronts: BTreeSet<(u64, Slot)>,
    bytes: usize,
    /// The number of updates that have come so far.
    arrivals: u64,
}

/// The updates of one topic that wait. The numbers of one follow those of the one before.
pub(super) struct Queue<U> {
    updates: VecDeque<Entry<U>>,
    bytes: usize,
    /// The number that the first one begins with, or will begin with.
    next: Option<u64>,
    /// The first number that was dropped.
    lost_from: Option<u64>,
}

struct Entry<U> {
    numbers: Covers,
    bytes: usize,
    arrival: u64,
    item: U,
}

/// The numbers that an update covers, as far as they say whether it follows another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Covers {
    /// `None` where numbers may be left out.
    pub(super) first: Option<u64>,
    /// `None` where numbers have no order.
    pub(super) last: Option<u64>,
}

impl Covers {
    pub(super) fn new(sequence: Sequence) -> Covers {
        let (first, last) = match sequence.kind {
            Numbers::Contiguous { first, last } => (Some(first), Some(last)),
            Numbers::Chained { previous, this } if this < previous => (Some(this), Some(this)),
            Numbers::Chained { previous, this } => (Some(previous.saturating_add(1)), Some(this)),
            Numbers::Rising(number) => (None, Some(number)),
            Numbers::Id(_) | Numbers::None => (None, None),
        };
        Covers { first, last }
    }
}

impl<U> Held<U> {
    pub(super) fn new() -> Held<U> {
        Held { topics: HashMap::new(), fronts: BTreeSet::new(), bytes: 0, arrivals: 0 }
    }

    /// Begins to hold the updates of a topic: the next one should begin with this number, if it is known.
    pub(super) fn begin(&mut self, slot: Slot, next: Option<u64>) {
        self.take(slot);
        let queue = Queue { updates: VecDeque::new(), bytes: 0, next, lost_from: None };
        self.topics.insert(slot, queue);
    }

    /// Holds an update of a topic. What is beyond a bound is dropped, the oldest first.
    pub(super) fn push(&mut self, slot: Slot, numbers: Covers, bytes: usize, item: U) {
        let Some(queue) = self.topics.get_mut(&slot) else { return };
        let arrival = self.arrivals;
        self.arrivals += 1;
        if queue.updates.is_empty() {
            self.fronts.insert((arrival, slot));
            queue.next = numbers.first;
        }
        queue.updates.push_back(Entry { numbers, bytes, arrival, item });
        queue.bytes += bytes;
        self.bytes += bytes;
        while self.is_beyond(slot) {
            self.drop_oldest(slot);
        }
        while self.bytes > MAX_SHARD_BYTES
            && let Some((_, oldest)) = self.fronts.first().copied()
        {
            self.drop_oldest(oldest);
        }
    }

    fn is_beyond(&self, slot: Slot) -> bool {
        let beyond =
            |queue: &Queue<U>| queue.updates.len() > MAX_HELD || queue.bytes > MAX_HELD_BYTES;
        self.topics.get(&slot).is_some_and(beyond)
    }

    fn drop_oldest(&mut self, slot: Slot) {
        let Some(queue) = self.topics.get_mut(&slot) else { return };
        let Some(oldest) = queue.updates.pop_front() else { return };
        queue.bytes -= oldest.bytes;
        self.bytes -= oldest.bytes;
        self.fronts.remove(&(oldest.arrival, slot));
        queue.lost_from = queue.lost_from.or(oldest.numbers.first);
        match queue.updates.front() {
            Some(front) => {
                self.fronts.insert((front.arrival, slot));
                queue.next = front.numbers.first;
            }
            None => queue.next = oldest.numbers.last.and_then(|last| last.checked_add(1)),
        }
    }

    /// Drops the updates of a topic, because numbers are missing between them and the next one: no snapshot older than
    /// that one is of use.
    pub(super) fn cut(&mut self, slot: Slot, next: Option<u64>) {
        if let Some(queue) = self.take(slot) {
            let lost_from = queue.lost_from.or(queue.next);
            let (updates, bytes) = (VecDeque::new(), 0);
            self.topics.insert(slot, Queue { updates, bytes, next, lost_from });
        }
    }

    /// Whether the updates of a topic follow a snapshot that ends before this number.
    pub(super) fn follows(&self, slot: Slot, end: u64) -> bool {
        let next = self.topics.get(&slot).and_then(|queue| queue.next);
        next.is_none_or(|next| next <= end)
    }

    /// Ends holding the updates of a topic, and returns them.
    pub(super) fn take(&mut self, slot: Slot) -> Option<Queue<U>> {
        let queue = self.topics.remove(&slot)?;
        if self.topics.is_empty() {
            // The table of all topics at once is large.
            self.topics = HashMap::new();
        }
        self.bytes -= queue.bytes;
        if let Some(front) = queue.updates.front() {
            self.fronts.remove(&(front.arrival, slot));
        }
        Some(queue)
    }
}

impl<U> Queue<U> {
    /// Returns the numbers that are missing before the first update, both included: those from `from` on, or those that
    /// were dropped. `None` if they are not known.
    pub(super) fn missing(&self, from: Option<u64>) -> Option<(u64, u64)> {
        let from = from.or(self.lost_from)?;
        self.next.filter(|next| *next > from).map(|next| (from, next - 1))
    }

    /// Returns the updates.
    pub(super) fn into_all(self) -> impl Iterator<Item = U> {
        self.updates.into_iter().map(|entry| entry.item)
    }

    /// Returns the updates that are not part of a snapshot that ends before `end`; without a number none is, since all came
    /// before it. What has no numbers itself came before it too.
    pub(super) fn into_later(self, end: Option<u64>) -> impl Iterator<Item = U> {
        let is_later = move |entry: &Entry<U>| {
            end.zip(entry.numbers.last).is_some_and(|(end, last)| last >= end)
        };
        self.updates.into_iter().filter(is_later).map(|entry| entry.item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl<U> Held<U> {
        /// Returns the number of updates of a topic that wait, and the bytes of these and of all.
        pub(in super::super) fn sizes(&self, slot: Slot) -> (usize, usize, usize) {
            let queue = self.topics.get(&slot);
            let sizes = queue.map(|queue| (queue.updates.len(), queue.bytes));
            let (len, bytes) = sizes.unwrap_or_default();
            assert_eq!(self.fronts.len(), self.topics.values().filter(|it| it.bytes > 0).count());
            (len, bytes, self.bytes)
        }
    }
}
