//! What waits for the handlers of one connection, in order, and what it costs.

use std::collections::VecDeque;

use crate::delivery::entry::Entry;
use crate::delivery::run::Run;

/// Runs of messages and other events, numbered in the order in which they came.
///
/// Runs have a list of their own. Only messages are ever dropped, and the oldest and the newest of them
/// stand at the ends of that list, however many other events lie between.
#[derive(Default)]
pub(super) struct Queue {
    /// The runs that wait. In boxes, since a list may be mostly empty: an entry has 150 bytes.
    pub(super) runs: VecDeque<Box<Numbered<Run>>>,
    /// The other events that wait.
    others: VecDeque<Box<Numbered<Entry>>>,
    /// The number of the next entry: how many came before it.
    number: u64,
    /// What the entries cost, in bytes.
    pub(super) cost: usize,
    /// The number of events in the entries: a run has many.
    pub(super) events: usize,
    /// The number of messages dropped so far.
    dropped: u64,
}

/// An entry with its number.
pub(super) type Numbered<T> = (u64, T);

/// The most places of an empty list of runs that are kept for the next ones.
const MAX_FREE_PLACES: usize = 32;

impl Queue {
    /// Returns the number of the next entry.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Counts an event that was delivered without being queued.
    pub(super) fn pass(&mut self) {
        self.number += 1;
    }

    /// Appends an event.
    pub(super) fn push(&mut self, event: Entry) {
        self.cost += event.cost();
        self.events += 1;
        self.others.push_back(Box::new((self.number, event)));
        self.number += 1;
    }

    /// Appends a run.
    pub(super) fn push_run(&mut self, run: Run) {
        self.cost += run.cost();
        self.events += run.messages.len();
        self.runs.push_back(Box::new((self.number, run)));
        self.number += 1;
    }

    /// Whether nothing waits.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.others.is_empty()
    }

    /// Whether the head, the entry that came first, is a run.
    #[inline]
    pub(super) fn is_run_first(&self) -> bool {
        match (self.runs.front(), self.others.front()) {
            (Some(run), Some(other)) => run.0 < other.0,
            (run, _) => run.is_some(),
        }
    }

    /// Returns the first run, if it is the head.
    pub(super) fn head_run(&self) -> Option<&Run> {
        self.runs.front().filter(|_| self.is_run_first()).map(|entry| &entry.1)
    }

    /// Returns the first of the other events, with its number.
    pub(super) fn first_event(&self) -> Option<&Numbered<Entry>> {
        self.others.front().map(|entry| &**entry)
    }

    /// Drops the first run. Its messages are delivered, or have no recipient any more.
    pub(super) fn pop_run(&mut self) {
        if let Some(entry) = self.runs.pop_front() {
            self.cost -= entry.1.cost();
            self.events -= entry.1.messages.len();
        }
        if self.runs.is_empty() && self.runs.capacity() > MAX_FREE_PLACES {
            self.runs = VecDeque::new();
        }
    }

    /// Drops the first of the other events, which is delivered.
    pub(super) fn pop_event(&mut self) {
        if let Some(entry) = self.others.pop_front() {
            self.cost -= entry.1.cost();
            self.events -= 1;
        }
        if self.is_empty() {
            // Frees the lists: this is how a connection becomes idle, after an `Open` or a Pong.
            (self.runs, self.others) = Default::default();
        }
    }

    /// Takes everything out, in order. What it cost is no longer counted.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Numbered<Taken>> + use<> {
        let (runs, others) = (std::mem::take(&mut self.runs), std::mem::take(&mut self.others));
        (self.cost, self.events) = (0, 0);
        let (mut runs, mut others) = (runs.into_iter().peekable(), others.into_iter().peekable());
        std::iter::from_fn(move || {
            let before = others.peek().map_or(u64::MAX, |other| other.0);
            if let Some(run) = runs.next_if(|run| run.0 < before) {
                let (number, run) = *run;
                return Some((number, Taken::Run(run)));
            }
            let (number, event) = *others.next()?;
            Some((number, Taken::Event(event)))
        })
    }

    /// Drops messages until the rest costs at most `room`, the oldest first or the newest. Keeps the
    /// first `kept` messages of a run that is the head.
    ///
    /// A run is dropped whole if it has no room, in a time that does not depend on how much waits. If a
    /// part of it has room, the rest is copied into a buffer of its own. So that this is not done again
    /// for each message, an eighth of it is dropped at least, unless it has come just now.
    pub(super) fn shed(&mut self, room: usize, kept: usize, oldest: bool) {
        let has_begun = kept > 0 && self.is_run_first();
        if oldest && has_begun {
            self.shed_run(0, kept, oldest, room);
        }
        // How many runs at the front stay whatever they cost.
        let held = usize::from(has_begun);
        while self.cost > room && self.runs.len() > held {
            let index = if oldest { held } else { self.runs.len() - 1 };
            if !self.shed_run(index, 0, oldest, room) {
                return;
            }
        }
        if !oldest && has_begun {
            self.shed_run(0, kept, oldest, room);
        }
    }

    /// Drops messages of one run, and the run if none is left. Returns whether it dropped any.
    fn shed_run(&mut self, index: usize, kept: usize, oldest: bool, room: usize) -> bool {
        let Some((number, run)) = self.runs.get_mut(index).map(|entry| &mut **entry) else {
            return false;
        };
        let others = self.cost - run.cost();
        let is_new = *number + 1 == self.number;
        let least = if is_new { 0 } else { run.messages.len() / 8 };
        let dropped = run.shed(kept, oldest, least, |cost| others + cost <= room);
        self.cost = others + run.cost();
        self.events -= dropped;
        self.dropped += dropped as u64;
        if run.messages.is_empty() {
            self.cost = others;
            self.runs.remove(index);
        }
        dropped > 0
    }

    /// Returns the number of messages dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// An entry of either kind.
pub(super) enum Taken {
    Run(Run),
    Event(Entry),
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;
    use crate::command::status::{Phase, SourceId};
    use crate::delivery::entry::Queued;
    use crate::event;
    use crate::proto::codec::MessageKind;
    use crate::proto::messages::Messages;

    impl Queue {
        /// Counts anew what the entries cost, and their events.
        pub(in crate::delivery) fn recount(&self) -> (usize, usize) {
            let runs = self.runs.iter().map(|entry| entry.1.cost());
            let others = self.others.iter().map(|entry| entry.1.cost());
            let messages = self.runs.iter().map(|entry| entry.1.messages.len());
            (runs.chain(others).sum(), messages.sum::<usize>() + self.others.len())
        }
    }

    /// A run of messages of `len` bytes each, numbered from `first` on.
    fn run(first: u32, count: usize, len: usize) -> Run {
        let (mut messages, mut buffer) = (Messages::with_capacity(count), Vec::new());
        for number in (first..).take(count) {
            let start = buffer.len();
            buffer.extend(number.to_be_bytes());
            buffer.resize(start + len.max(4), 7);
            messages.push(MessageKind::Binary, start..buffer.len());
        }
        let held = buffer.len();
        messages.seal(buffer.into(), 0, held);
        Run { source: SourceId::next(), epoch: 1, received: Instant::now(), messages }
    }

    fn state() -> Entry {
        let (source, since) = (SourceId::next(), Instant::now());
        event::State { source, epoch: 1, phase: Phase::Open, since }.into_entry()
    }

    fn numbers_of(run: &Run) -> impl Iterator<Item = u32> {
        let first = |bytes: &[u8]| *bytes.first_chunk().unwrap();
        (0..run.messages.len())
            .map(move |at| u32::from_be_bytes(first(run.messages.bytes(at).unwrap())))
    }

    fn numbers(queue: &Queue) -> Vec<u32> {
        queue.runs.iter().flat_map(|entry| numbers_of(&entry.1)).collect()
    }

    /// A queue of runs with so many messages each, with an event behind each.
    fn queue(counts: &[usize], len: usize) -> Queue {
        let (mut queue, mut next) = (Queue::default(), 0);
        for &count in counts {
            queue.push_run(run(next, count, len));
            queue.push(state());
            next += count as u32;
        }
        queue
    }

    #[test]
    fn nothing_is_dropped_at_the_bound_and_one_message_beyond_it() {
        for oldest in [true, false] {
            let mut queue = queue(&[1, 1, 1], 100);
            queue.shed(queue.cost, 0, oldest);
            assert_eq!((numbers(&queue), queue.dropped(), queue.events), (vec![0, 1, 2], 0, 6));
            queue.shed(queue.cost - 1, 0, oldest);
            let left = if oldest { vec![1, 2] } else { vec![0, 1] };
            assert_eq!((numbers(&queue), queue.dropped(), queue.events), (left, 1, 5));
        }
    }

    #[test]
    fn what_was_delivered_in_part_is_kept_and_the_rest_is_dropped() {
        for (oldest, kept, left) in [
            (true, 0, vec![]),
            (false, 0, vec![]),
            (true, 1, vec![0]),
            (false, 1, vec![0]),
            (true, 3, vec![0, 1, 2]),
            (false, usize::MAX, vec![0, 1, 2, 3]),
        ] {
            let mut queue = queue(&[4, 4], 100);
            queue.shed(0, kept, oldest);
            assert_eq!(numbers(&queue), left, "{oldest}, {kept}");
            assert_eq!(queue.dropped(), 8 - left.len() as u64);
            // Behind another event no run is the head, and none is kept.
            let mut queue = Queue::default();
            queue.push(state());
            queue.push_run(run(0, 4, 100));
            queue.shed(0, kept, oldest);
            assert_eq!((queue.runs.len(), queue.events, queue.cost), (0, 1, state().cost()));
        }
    }

    #[test]
    fn behind_another_event_the_first_run_is_not_the_head_and_loses_its_first_message() {
        let mut queue = Queue::default();
        queue.push(state());
        queue.push_run(run(0, 4, 100));
        queue.shed(queue.cost - 1, 1, true);
        assert_eq!((numbers(&queue), queue.dropped()), (vec![1, 2, 3], 1));
    }

    #[test]
    fn a_run_that_has_come_just_now_loses_what_has_no_room_and_an_older_one_an_eighth() {
        for oldest in [true, false] {
            let mut fresh = Queue::default();
            fresh.push_run(run(0, 80, 100));
            fresh.shed(fresh.cost - 1, 0, oldest);
            assert_eq!((fresh.dropped(), fresh.events), (1, 79));
            // With two messages fewer, of 108 bytes each, it costs exactly as much as there is room.
            let room = fresh.cost - 2 * 108;
            fresh.shed(room, 0, oldest);
            assert_eq!((fresh.dropped(), fresh.cost), (3, room));
            let mut old = queue(&[80], 100);
            old.shed(old.cost - 1, 0, oldest);
            assert_eq!((old.dropped(), old.events), (10, 71));
        }
    }

    #[test]
    fn the_lengths_of_what_is_dropped_are_what_makes_room() {
        for (oldest, kept, lens) in [
            (true, 0, [1000, 4, 4, 4]),
            (true, 1, [4, 1000, 4, 4]),
            (true, 2, [4, 4, 1000, 4]),
            (false, 0, [4, 4, 4, 1000]),
            (false, 1, [4, 4, 4, 1000]),
        ] {
            let (mut messages, mut end) = (Messages::with_capacity(4), 0);
            for len in lens {
                messages.push(MessageKind::Binary, end..end + len);
                end += len;
            }
            messages.seal(vec![7; end].into(), 0, end);
            let mut queue = Queue::default();
            queue.push_run(Run { messages, ..run(0, 1, 4) });
            queue.shed(queue.cost - 500, kept, oldest);
            assert_eq!((queue.dropped(), queue.events), (1, 3), "{oldest}, {kept}");
        }
    }

    #[test]
    fn everything_is_taken_out_in_order() {
        let mut queue = queue(&[2, 1], 4);
        queue.push_run(run(3, 1, 4));
        queue.push_run(run(4, 1, 4));
        queue.push(state());
        queue.push(state());
        let taken: Vec<_> = queue
            .drain()
            .map(|(at, entry)| match entry {
                Taken::Run(run) => (at, numbers_of(&run).collect()),
                Taken::Event(_) => (at, Vec::new()),
            })
            .collect();
        let runs = [vec![0, 1], vec![], vec![2], vec![], vec![3], vec![4], vec![], vec![]];
        assert_eq!(taken, (0..).zip(runs).collect::<Vec<_>>());
        assert_eq!((queue.cost, queue.events, queue.number()), (0, 0, 8));
        assert!(queue.is_empty());
    }

    #[test]
    fn a_long_list_is_freed_when_it_is_empty_and_every_list_behind_an_event() {
        let mut queue = Queue::default();
        for (count, is_kept) in [(4, true), (MAX_FREE_PLACES as u32, true), (4_000, false)] {
            (0..count).for_each(|number| queue.push_run(run(number, 1, 4)));
            (0..count).for_each(|_| queue.pop_run());
            assert_eq!(queue.runs.capacity() > 0, is_kept, "{count}");
        }
        queue.push_run(run(0, 1, 4));
        queue.push(state());
        queue.pop_run();
        assert!(queue.runs.capacity() > 0 && queue.first_event().is_some());
        queue.pop_event();
        assert_eq!((queue.runs.capacity(), queue.others.capacity()), (0, 0));
    }

    /// Returns the least time in which a number of runs take the place of the oldest or the newest.
    fn time_to_drop(waiting: u32, oldest: bool) -> Duration {
        let time = |_| {
            let mut queue = queue(&vec![1; waiting as usize], 1);
            let room = queue.cost;
            let more: Vec<Run> = (0..500).map(|number| run(waiting + number, 1, 1)).collect();
            let start = Instant::now();
            for run in more {
                queue.push_run(run);
                queue.shed(room, 1, oldest);
            }
            let time = start.elapsed();
            assert_eq!(queue.dropped(), 500);
            time
        };
        (0..7).map(time).min().unwrap_or_default()
    }

    #[test]
    fn dropping_a_message_takes_no_longer_if_more_are_waiting() {
        for oldest in [true, false] {
            let (short, long) = (time_to_drop(100, oldest), time_to_drop(20_000, oldest));
            // What depends on the length takes 200 times as long.
            assert!(long < short * 20, "{short:?}, {long:?}");
        }
    }

    /// What may happen to a queue.
    #[derive(Clone, Debug)]
    enum Step {
        Run { count: usize, len: usize },
        Event,
        Deliver,
        Pop,
        Shed { room: usize, kept: usize, oldest: bool },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1..20usize, 4..300usize).prop_map(|(count, len)| Step::Run { count, len }),
            Just(Step::Event),
            Just(Step::Deliver),
            Just(Step::Pop),
            (0..20_000usize, 0..3usize, any::<bool>())
                .prop_map(|(room, kept, oldest)| Step::Shed { room, kept, oldest }),
        ]
    }

    proptest! {
        #[test]
        fn the_queue_is_what_a_list_would_be(steps in prop::collection::vec(step(), 1..60)) {
            let (mut queue, mut next) = (Queue::default(), 0);
            // The numbers of the messages of each run; none for another event.
            let mut model: VecDeque<Vec<u32>> = VecDeque::new();
            for step in steps {
                match step {
                    Step::Run { count, len } => {
                        queue.push_run(run(next, count, len));
                        model.push_back((next..).take(count).collect());
                        next += count as u32;
                    }
                    Step::Event => {
                        queue.push(state());
                        model.push_back(Vec::new());
                    }
                    Step::Deliver => if let Some(first) = model.front_mut() && first.len() > 1 {
                        first.remove(0);
                        queue.runs[0].1.messages.advance();
                        queue.events -= 1;
                    },
                    Step::Pop => if let Some(first) = model.pop_front() {
                        prop_assert_eq!(queue.is_run_first(), !first.is_empty());
                        prop_assert_eq!(queue.head_run().is_some(), !first.is_empty());
                        if first.is_empty() { queue.pop_event() } else { queue.pop_run() }
                    },
                    Step::Shed { room, kept, oldest } => {
                        let (before, dropped) = (numbers(&queue), queue.dropped());
                        let kept = kept.min(model.front().map_or(0, Vec::len));
                        queue.shed(room, kept, oldest);
                        let count = (queue.dropped() - dropped) as usize;
                        let end = before.len() - count;
                        let left: Vec<u32> = match oldest {
                            true => before[..kept].iter().chain(&before[kept + count..]).copied().collect(),
                            false => before[..end].to_vec(),
                        };
                        prop_assert_eq!(numbers(&queue), left.clone());
                        prop_assert!(queue.cost <= room || left.len() == kept);
                        for run in &mut model {
                            let is_run = !run.is_empty();
                            run.retain(|number| left.contains(number));
                            if is_run && run.is_empty() {
                                run.push(u32::MAX);
                            }
                        }
                        model.retain(|run| run.first() != Some(&u32::MAX));
                    }
                }
                prop_assert_eq!((queue.cost, queue.events), queue.recount());
                let events = model.iter().map(|run| run.len().max(1)).sum::<usize>();
                prop_assert_eq!(queue.events, events);
                prop_assert_eq!(queue.is_empty(), model.is_empty());
                let all: Vec<u32> = model.iter().flatten().copied().collect();
                prop_assert_eq!(numbers(&queue), all);
            }
        }
    }
}
