//! What waits for one handler: of each topic the newest update alone.

use std::collections::{HashMap, VecDeque};

use crate::feed::event::{Batch, Gap, LineState, Missing, Rotated, TopicState, Update};
use crate::feed::topic::Topic;

/// The events that wait for one handler.
///
/// Of a topic one update waits at most: a newer one replaces it, in its place, so that each of the other topics has at
/// most one delivery before it. Within a topic the order of events is kept.
///
/// A topic of increments needs all of them. They wait one behind the other, and one is delivered in each turn of the
/// topic. A snapshot, the whole state, replaces them.
pub(super) struct Queue<T> {
    /// The topics that have events, and events of no topic.
    order: VecDeque<Turn>,
    /// The events of each topic; no entry is empty.
    places: HashMap<Topic, VecDeque<Waiting<T>>>,
    /// The number of events in `places`.
    waiting: usize,
    /// The number of events of no topic.
    others: usize,
    /// The number of updates that were replaced.
    skipped: u64,
    /// The number of gaps for increments that were dropped.
    gaps: u64,
}

/// What is delivered next.
enum Turn {
    Topic(Topic),
    /// A gap of no topic.
    Gap(Gap),
    Line(LineState),
    Rotated(Rotated),
}

/// An event of a topic.
enum Waiting<T> {
    Update(Update<T>),
    Gap(Gap),
    State(TopicState),
}

/// What is sent to the handler at once.
#[derive(Debug)]
pub(super) enum Envelope<T> {
    Update(Update<T>),
    Batch(Batch<T>),
    Gap(Gap),
    Topic(TopicState),
    Line(LineState),
    Rotated(Rotated),
}

/// The number of events that wait at most of a topic of increments. At the next one the increments are dropped, and
/// reported as a gap.
const MAX_INCREMENTS: usize = 1024;
/// The number of events of all topics at which the increments of a topic are dropped with its next one.
const MAX_WAITING: usize = 65_536;
/// The number of events of no topic that wait at most. Beyond it the oldest are dropped: the newest state of each line
/// is among the later ones.
const MAX_OTHERS: usize = 4096;
/// The largest table that is kept while nothing waits, in topics.
const MAX_IDLE_CAPACITY: usize = 64;

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue {
            order: VecDeque::new(),
            places: HashMap::new(),
            waiting: 0,
            others: 0,
            skipped: 0,
            gaps: 0,
        }
    }
}

impl<T> Queue<T> {
    /// Adds an update, in place of an older one of its topic unless both are increments. Returns whether too many
    /// increments waited: they are dropped, and a gap before this one says so.
    pub(super) fn push_update(&mut self, mut update: Update<T>, is_increment: bool) -> bool {
        let is_full = self.waiting >= MAX_WAITING;
        let topic = update.topic.clone();
        let (replaced, dropped) = self.change(&topic, |place| {
            let (mut replaced, mut dropped) = (0, 0);
            if !is_increment || update.snapshot {
                let removed = conflate(place, |_| None);
                update.skipped += removed.with_skipped;
                replaced = removed.updates;
            } else if is_full || place.len() >= MAX_INCREMENTS {
                dropped = conflate(place, |update| Some(Gap::of_dropped(update))).updates;
            }
            place.push_back(Waiting::Update(update));
            (replaced, dropped)
        });
        self.skipped += replaced;
        self.gaps += u64::from(dropped > 0);
        dropped > 0
    }

    /// Adds a gap. One that waits already, and no update after it, is extended.
    pub(super) fn push_gap(&mut self, gap: Gap) {
        let Some(topic) = gap.topic.clone() else { return self.push_other(Turn::Gap(gap)) };
        self.change(&topic, |place| {
            let after = place.iter_mut().rev().take_while(|it| !matches!(it, Waiting::Update(_)));
            let last = after.filter_map(|event| match event {
                Waiting::Gap(gap) => Some(gap),
                Waiting::Update(_) | Waiting::State(_) => None,
            });
            match last.last() {
                Some(last) => *last = merged(Some(last.clone()), gap),
                None => place.push_back(Waiting::Gap(gap)),
            }
        });
    }

    /// Adds the state of a topic, in place of an older one.
    pub(super) fn push_topic(&mut self, state: TopicState) {
        let topic = state.topic.clone();
        self.change(&topic, |place| {
            place.retain(|event| !matches!(event, Waiting::State(_)));
            place.push_back(Waiting::State(state));
        });
    }

    pub(super) fn push_line(&mut self, state: LineState) {
        self.push_other(Turn::Line(state));
    }

    pub(super) fn push_rotated(&mut self, rotated: Rotated) {
        self.push_other(Turn::Rotated(rotated));
    }

    /// Returns what is to be delivered next.
    pub(super) fn next(&mut self) -> Option<Envelope<T>> {
        while let Some(turn) = self.order.pop_front() {
            let topic = match turn {
                Turn::Topic(topic) => topic,
                Turn::Gap(gap) => return Some(self.other(Envelope::Gap(gap))),
                Turn::Line(state) => return Some(self.other(Envelope::Line(state))),
                Turn::Rotated(rotated) => return Some(self.other(Envelope::Rotated(rotated))),
            };
            let Some(place) = self.places.get_mut(&topic) else { continue };
            let event = place.pop_front();
            self.waiting -= 1;
            if place.is_empty() {
                self.places.remove(&topic);
                self.shrink();
            } else if matches!(event, Some(Waiting::Update(_))) {
                self.order.push_back(Turn::Topic(topic));
            } else {
                self.order.push_front(Turn::Topic(topic));
            }
            return event.map(|event| match event {
                Waiting::Update(update) => Envelope::Update(update),
                Waiting::Gap(gap) => Envelope::Gap(gap),
                Waiting::State(state) => Envelope::Topic(state),
            });
        }
        None
    }

    /// Returns what is to be delivered next, with all updates that may be delivered before anything else as one batch.
    pub(super) fn next_batch(&mut self) -> Option<Envelope<T>> {
        let mut updates = Vec::new();
        while self.is_update_next()
            && let Some(Envelope::Update(update)) = self.next()
        {
            updates.push(update);
        }
        if updates.is_empty() { self.next() } else { Some(Envelope::Batch(Batch::new(updates))) }
    }

    /// Returns the number of events that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting + self.others
    }

    /// Returns the number of updates that were replaced by newer ones.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Returns the number of gaps for increments that were dropped.
    pub(super) fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Changes what waits of a topic.
    fn change<R>(
        &mut self,
        topic: &Topic,
        change: impl FnOnce(&mut VecDeque<Waiting<T>>) -> R,
    ) -> R {
        if !self.places.contains_key(topic) {
            self.order.push_back(Turn::Topic(topic.clone()));
        }
        let place = self.places.entry(topic.clone());
        let place = place.or_insert_with(|| VecDeque::with_capacity(1));
        let before = place.len();
        let result = change(place);
        self.waiting = self.waiting + place.len() - before;
        result
    }

    fn push_other(&mut self, turn: Turn) {
        self.order.push_back(turn);
        self.others += 1;
        if self.others > MAX_OTHERS
            && let Some(at) = self.order.iter().position(|turn| !matches!(turn, Turn::Topic(_)))
        {
            self.order.remove(at);
            self.others -= 1;
        }
    }

    fn other(&mut self, envelope: Envelope<T>) -> Envelope<T> {
        self.others -= 1;
        envelope
    }

    fn is_update_next(&self) -> bool {
        let Some(Turn::Topic(topic)) = self.order.front() else { return false };
        let first = self.places.get(topic).and_then(VecDeque::front);
        matches!(first, Some(Waiting::Update(_)))
    }

    /// Frees large tables once nothing waits.
    fn shrink(&mut self) {
        if self.places.is_empty() && self.places.capacity() > MAX_IDLE_CAPACITY {
            self.places = HashMap::new();
            self.order.shrink_to(MAX_IDLE_CAPACITY);
        }
    }
}

/// Updates that were removed.
#[derive(Default)]
struct Removed {
    updates: u64,
    /// With those that they had replaced.
    with_skipped: u64,
}

/// Removes the updates of a topic, and joins its other events: its newest state, then one gap. `lost` returns the gap that
/// stands for an update.
fn conflate<T>(
    place: &mut VecDeque<Waiting<T>>,
    lost: impl Fn(&Update<T>) -> Option<Gap>,
) -> Removed {
    let (mut state, mut gap, mut removed) = (None, None, Removed::default());
    for event in place.drain(..) {
        match event {
            Waiting::State(newer) => state = Some(newer),
            Waiting::Gap(next) => gap = Some(merged(gap, next)),
            Waiting::Update(update) => {
                removed.updates += 1;
                removed.with_skipped += 1 + update.skipped;
                if let Some(next) = lost(&update) {
                    gap = Some(merged(gap, next));
                }
            }
        }
    }
    place.extend(state.map(Waiting::State).into_iter().chain(gap.map(Waiting::Gap)));
    removed
}

/// Joins two gaps of a topic, and what was between them.
fn merged(first: Option<Gap>, next: Gap) -> Gap {
    let Some(first) = first else { return next };
    let missing = match (first.missing, next.missing) {
        (Missing::Range { from, .. }, Missing::Range { to, .. }) if from <= to => {
            Missing::Range { from, to }
        }
        (Missing::Between { last, .. }, Missing::Between { next, .. }) => {
            Missing::Between { last, next }
        }
        _ => Missing::Unknown,
    };
    Gap { missing, last_at: first.last_at, ..next }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::feed::event::{GapCause, LineIs, TopicIs};
    use crate::feed::sequence::Sequence;
    use crate::feed::topic::{LineId, ShardId};

    const LINE: u8 = 0;

    fn line() -> LineId {
        LineId::new(ShardId(1), LINE)
    }

    fn update(topic: &str, number: u64) -> Update<u64> {
        Update {
            line: line(),
            epoch: 1,
            topic: topic.into(),
            sequence: Sequence::contiguous(number, number),
            snapshot: false,
            skipped: 0,
            received: Instant::now(),
            item: number,
        }
    }

    fn snapshot(topic: &str, number: u64) -> Update<u64> {
        Update { snapshot: true, ..update(topic, number) }
    }

    fn gap(topic: Option<&str>, from: u64, to: u64) -> Gap {
        let missing = Missing::Range { from, to };
        let cause = GapCause::Venue;
        let (topic, last_at, next_at) = (topic.map(Into::into), None, None);
        Gap { line: line(), epoch: 1, topic, missing, cause, last_at, next_at }
    }

    fn state(topic: &str, state: TopicIs) -> TopicState {
        TopicState { line: line(), epoch: 1, topic: topic.into(), state }
    }

    /// Returns an envelope in a few words.
    fn words(envelope: Envelope<u64>) -> String {
        match envelope {
            Envelope::Update(update) => {
                format!("{} {} {}", update.topic, update.item, update.skipped)
            }
            Envelope::Batch(batch) => {
                let updates = batch.into_iter().map(|update| words(Envelope::Update(update)));
                updates.collect::<Vec<_>>().join(", ")
            }
            Envelope::Gap(Gap { missing: Missing::Range { from, to }, cause, .. }) => {
                format!("{cause} {from}-{to}")
            }
            Envelope::Gap(_) => "gap".to_owned(),
            Envelope::Topic(state) => format!("{} {:?}", state.topic, state.state),
            Envelope::Line(state) => format!("line {:?}", state.state),
            Envelope::Rotated(rotated) => format!("{} for {}", rotated.to, rotated.from),
        }
    }

    fn all(queue: &mut Queue<u64>) -> Vec<String> {
        let all = std::iter::from_fn(|| queue.next()).map(words).collect();
        assert_eq!((queue.len(), queue.order.len(), queue.places.len()), (0, 0, 0));
        all
    }

    #[test]
    fn a_newer_update_takes_the_place_of_the_older_one() {
        let mut queue = Queue::default();
        for (topic, number) in [("a", 1), ("b", 1), ("a", 2), ("c", 1), ("a", 3), ("b", 2)] {
            assert!(!queue.push_update(update(topic, number), false));
        }
        assert_eq!((queue.len(), queue.skipped()), (3, 3));
        assert_eq!(all(&mut queue), ["a 3 2", "b 2 1", "c 1 0"]);
        queue.push_update(update("a", 4), false);
        assert_eq!(all(&mut queue), ["a 4 0"], "what was delivered is not skipped");
    }

    #[test]
    fn gaps_and_states_of_a_topic_stand_where_they_belong() {
        let mut queue = Queue::default();
        queue.push_topic(state("a", TopicIs::Confirmed));
        queue.push_update(update("a", 1), false);
        queue.push_update(update("b", 1), false);
        queue.push_gap(gap(Some("a"), 2, 3));
        queue.push_update(update("a", 4), false);
        queue.push_gap(gap(Some("a"), 5, 5));
        queue.push_gap(gap(Some("a"), 7, 8));
        queue.push_topic(state("a", TopicIs::Fresh));
        let first = ["venue 2-3", "a 4 1", "b 1 0", "venue 5-8", "a Fresh"];
        assert_eq!(all(&mut queue), first, "the older state is outdated");
        queue.push_gap(gap(Some("a"), 5, 5));
        queue.push_update(update("a", 6), false);
        queue.push_gap(gap(Some("a"), 7, 8));
        queue.push_update(update("a", 9), false);
        assert_eq!(all(&mut queue), ["venue 5-8", "a 9 1"], "with what was skipped between them");
    }

    #[test]
    fn gaps_of_unknown_size_stay_unknown() {
        let (known, mut unknown) = (gap(Some("a"), 1, 2), gap(Some("a"), 0, 0));
        unknown.missing = Missing::Unknown;
        let missing = |first: &Gap, next: &Gap| merged(Some(first.clone()), next.clone()).missing;
        assert_eq!(missing(&known, &unknown), Missing::Unknown);
        assert_eq!(missing(&unknown, &known), Missing::Unknown);
        let restarted = gap(Some("a"), 0, 0);
        assert_eq!(missing(&known, &restarted), Missing::Unknown, "the numbers began anew");
        let between =
            |last, next| Gap { missing: Missing::Between { last, next }, ..known.clone() };
        let joined = missing(&between(3, 7), &between(9, 12));
        assert_eq!(joined, Missing::Between { last: 3, next: 12 });
    }

    #[test]
    fn events_of_no_topic_keep_their_order_and_the_oldest_are_dropped() {
        let mut queue = Queue::default();
        queue.push_update(update("a", 1), false);
        let line = |state| LineState { line: line(), epoch: 1, state, led: 0 };
        queue.push_line(line(LineIs::Dialling));
        for number in 1..MAX_OTHERS as u64 {
            queue.push_gap(gap(None, number, number));
        }
        queue.push_line(line(LineIs::Active));
        assert_eq!(queue.len(), MAX_OTHERS + 1);
        let all = all(&mut queue);
        assert_eq!((all[0].as_str(), all[1].as_str()), ("a 1 0", "venue 1-1"));
        assert_eq!(all.last().unwrap(), "line Active");
    }

    #[test]
    fn increments_are_all_kept_and_a_snapshot_replaces_them() {
        let mut queue = Queue::default();
        queue.push_update(snapshot("a", 1), true);
        queue.push_update(update("a", 2), true);
        queue.push_update(update("b", 1), false);
        queue.push_update(update("a", 3), true);
        queue.push_update(update("b", 2), false);
        assert_eq!(all(&mut queue), ["a 1 0", "b 2 1", "a 2 0", "a 3 0"]);
        queue.push_update(update("a", 4), true);
        queue.push_gap(gap(Some("a"), 5, 6));
        queue.push_update(update("a", 7), true);
        queue.push_update(snapshot("a", 9), true);
        queue.push_update(update("a", 10), true);
        assert_eq!(all(&mut queue), ["venue 5-6", "a 9 2", "a 10 0"]);
    }

    #[test]
    fn too_many_increments_become_a_gap() {
        let mut queue = Queue::default();
        for number in 1..=MAX_INCREMENTS as u64 {
            assert!(!queue.push_update(update("a", number), true));
        }
        assert_eq!(queue.gaps(), 0);
        assert!(queue.push_update(update("a", 1025), true));
        assert!(!queue.push_update(update("a", 1026), true));
        assert_eq!((queue.gaps(), queue.skipped()), (1, 0));
        assert_eq!(all(&mut queue), ["overflow 1-1024", "a 1025 0", "a 1026 0"]);
    }

    #[test]
    fn increments_of_all_topics_are_bounded_together() {
        let mut queue = Queue::default();
        for number in 1..=1024 {
            for topic in 0..65 {
                queue.push_update(update(&topic.to_string(), number), true);
            }
        }
        assert!(queue.len() <= MAX_WAITING + 65, "{}", queue.len());
        assert!(queue.gaps() > 0);
    }

    #[test]
    fn a_batch_has_the_newest_of_all_topics_up_to_the_next_other_event() {
        let mut queue = Queue::default();
        for (topic, number) in [("a", 1), ("b", 1), ("a", 2)] {
            queue.push_update(update(topic, number), false);
        }
        queue.push_gap(gap(Some("c"), 1, 1));
        queue.push_update(update("c", 2), false);
        queue.push_update(update("d", 1), true);
        queue.push_update(update("d", 2), true);
        let all: Vec<_> = std::iter::from_fn(|| queue.next_batch()).map(words).collect();
        assert_eq!(all, ["a 2 1, b 1 0", "venue 1-1", "c 2 0, d 1 0, d 2 0"]);
    }

    #[test]
    fn large_tables_are_freed_once_nothing_waits() {
        let mut queue = Queue::default();
        for number in 0..1000 {
            queue.push_update(update(&number.to_string(), 1), false);
        }
        all(&mut queue);
        assert!(queue.places.capacity() + queue.order.capacity() <= 2 * MAX_IDLE_CAPACITY);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// What was pushed is delivered or skipped, the newest last, and no topic waits for more than a delivery of each
        /// other topic.
        #[test]
        fn each_topic_has_its_newest_update_in_its_turn(
            topics in 1_usize..8,
            steps in prop::collection::vec((0_usize..8, 0_u8..10, 0_u8..4), 1..300),
        ) {
            let mut queue = Queue::default();
            // Of each topic: pushed, accounted for, and how many deliveries came since it began to wait.
            let mut known = vec![(0_u64, 0_u64, None::<usize>); topics];
            let ends = (0..2 * topics).map(|_| (0, 9, 9));
            for (topic, action, ticks) in steps.into_iter().chain(ends) {
                let topic = topic % topics;
                for _ in 0..if action < 6 { ticks } else { 0 } {
                    known[topic].0 += 1;
                    known[topic].2.get_or_insert(0);
                    queue.push_update(update(&topic.to_string(), known[topic].0), false);
                }
                prop_assert!(queue.len() <= topics);
                if action < 6 {
                    continue;
                }
                let Some(Envelope::Update(update)) = queue.next() else {
                    prop_assert!(known.iter().all(|(_, _, waits)| waits.is_none()));
                    continue;
                };
                let delivered: usize = update.topic.parse().unwrap();
                let (pushed, done, waits) = &mut known[delivered];
                *done += update.skipped + 1;
                prop_assert_eq!((update.item, *done), (*pushed, *pushed));
                prop_assert!(waits.take().is_some_and(|waits| waits < topics));
                known.iter_mut().filter_map(|(_, _, waits)| waits.as_mut()).for_each(|it| *it += 1);
            }
            let missed = known.iter().filter(|(pushed, done, _)| pushed != done).count();
            prop_assert_eq!((missed, queue.len()), (0, 0));
        }
    }
}
