//! The events between a connection and the consumer of its stream, as a value: bounded by their number.

use std::collections::VecDeque;
use std::mem;

/// Entries in order, each of one event or more.
///
/// Events count from the moment they are put in until the consumer releases them, which it does some time
/// after it has taken them out. An entry has room if nothing else counts, or if all that counts is at most
/// the capacity with it. So the bound is the capacity, or one entry where that alone has more events.
#[derive(Debug)]
pub(super) struct Buffer<T> {
    entries: VecDeque<T>,
    /// The events that count.
    events: usize,
    /// The most events, at least 1.
    capacity: usize,
}

impl<T> Buffer<T> {
    pub(super) fn new(capacity: usize) -> Buffer<T> {
        Buffer { entries: VecDeque::new(), events: 0, capacity }
    }

    /// Whether there is room for an entry of so many events.
    pub(super) fn has_room(&self, events: usize) -> bool {
        let all = self.events.saturating_add(events);
        self.events == 0 || all <= self.capacity
    }

    /// Appends an entry of so many events, past the bound if there is no room.
    pub(super) fn push(&mut self, entry: T, events: usize) {
        self.entries.push_back(entry);
        self.events = self.events.saturating_add(events);
    }

    /// Takes out all entries, into a list that is empty. Their events count until they are released.
    pub(super) fn take(&mut self, into: &mut VecDeque<T>) {
        mem::swap(&mut self.entries, into);
    }

    /// Makes room for so many events, which were taken out.
    pub(super) fn release(&mut self, events: usize) {
        self.events = self.events.saturating_sub(events);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn events_count_until_they_are_released() {
        let (mut buffer, mut taken) = (Buffer::new(3), VecDeque::new());
        buffer.push("two", 2);
        assert!(buffer.has_room(1) && !buffer.has_room(2));
        buffer.push("one", 1);
        assert!(!buffer.has_room(1));
        buffer.take(&mut taken);
        assert_eq!(taken, ["two", "one"]);
        assert!(!buffer.has_room(1), "they are taken, but not released");
        buffer.release(2);
        assert!(buffer.has_room(2) && !buffer.has_room(3));
        buffer.take(&mut taken);
        buffer.release(1);
        assert!(buffer.has_room(3));
    }

    #[test]
    fn an_entry_of_more_events_than_the_capacity_has_room_alone() {
        let mut buffer = Buffer::new(3);
        assert!(buffer.has_room(500));
        buffer.push((), 500);
        assert!(!buffer.has_room(1));
        buffer.release(499);
        assert!(buffer.has_room(2) && !buffer.has_room(500));
        buffer.release(1);
        assert!(buffer.has_room(500));
    }

    proptest! {
        /// Entries come out in order, none lost, and what counts is at most the capacity or one entry.
        #[test]
        fn it_is_bounded_and_keeps_the_order(
            capacity in 1_usize..20,
            steps in prop::collection::vec((1_usize..30, 0_usize..40), 1..100),
        ) {
            let (mut buffer, mut taken) = (Buffer::new(capacity), VecDeque::new());
            let (mut next, mut expected, mut unreleased, mut counting) = (0, 0, 0, VecDeque::new());
            for (events, released) in steps {
                if buffer.has_room(events) {
                    buffer.push(next, events);
                    counting.push_back(events);
                    next += 1;
                }
                let all: usize = counting.iter().sum();
                prop_assert!(all <= capacity || counting.iter().filter(|it| **it > 0).count() == 1);
                buffer.take(&mut taken);
                for entry in taken.drain(..) {
                    prop_assert_eq!(entry, expected);
                    expected += 1;
                    unreleased = all;
                }
                let mut rest = released.min(unreleased);
                unreleased -= rest;
                buffer.release(rest);
                while let Some(first) = counting.front_mut() && rest > 0 {
                    let part = rest.min(*first);
                    *first -= part;
                    rest -= part;
                    if *first == 0 {
                        counting.pop_front();
                    }
                }
            }
            prop_assert_eq!(expected, next);
        }
    }
}
