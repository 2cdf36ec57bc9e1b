use std::cell::Cell;

use proptest::prelude::*;

use super::held::{MAX_HELD, MAX_HELD_BYTES, MAX_SHARD_BYTES};
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const NO_MAY: fn(Slot) -> bool = |_| true;

/// A recipient's view of one shard, and the time.
struct Bench {
    resyncs: Resyncs<Item>,
    now: Instant,
    begin: Instant,
}

/// An update of these numbers, or a snapshot of the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Update(u64, u64),
    Snapshot(u64),
}

/// What was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Item(Item),
    Gap(Missing, GapCause),
    Unsynced,
}

use Item::{Snapshot, Update};

impl Bench {
    fn new(asks: u32) -> Bench {
        let begin = Instant::now();
        let options: Resync<()> = Resync::by_dialect().asks(asks, SECOND);
        let mut resyncs = Resyncs::new(&options.topics(|topic| topic != "plain"));
        (0..4).for_each(|slot| resyncs.see(slot, "book"));
        Bench { resyncs, now: begin, begin }
    }

    /// A topic that was confirmed and asked for.
    fn waiting() -> Bench {
        let mut bench = Bench::new(1000);
        bench.resyncs.confirmed(0);
        assert!(bench.ask().unwrap().is_first);
        bench
    }

    /// A topic whose snapshot of this number has joined, and an update after it.
    fn live(number: u64) -> Bench {
        let mut bench = Bench::waiting();
        assert_eq!(bench.snapshot(number), [item(Snapshot(number))]);
        assert_eq!(bench.update(number + 1), [item(Update(number + 1, number + 1))]);
        bench
    }

    fn brought(&self, slot: Slot, sequence: Sequence, snapshot: bool, bytes: usize) -> Brought {
        Brought { line: 0, slot, sequence, snapshot, bytes, at: self.now }
    }

    fn update(&mut self, number: u64) -> Vec<Seen> {
        self.range(0, number, number, 100)
    }

    fn range(&mut self, slot: Slot, first: u64, last: u64, bytes: usize) -> Vec<Seen> {
        let brought = self.brought(slot, Sequence::contiguous(first, last), false, bytes);
        let passed = self.resyncs.update(&brought, Update(first, last));
        passed.map(item).into_iter().chain(self.seen()).collect()
    }

    /// A gap of the merge, and the update behind it.
    fn gap(&mut self, from: u64, to: u64) -> Vec<Seen> {
        let missing = Missing::Range { from, to };
        let is_reported = self.resyncs.gap(0, missing);
        let gap = is_reported.then_some(Seen::Gap(missing, GapCause::Venue));
        gap.into_iter().chain(self.update(to + 1)).collect()
    }

    fn snapshot(&mut self, number: u64) -> Vec<Seen> {
        let brought = self.brought(0, Sequence::contiguous(number, number), true, 100);
        let passed = self.resyncs.snapshot(&brought, Snapshot(number));
        assert_eq!(passed, None, "it is not for the merge");
        self.seen()
    }

    /// A dialect finds that the state of the topic is not that of the venue, where `next` comes next.
    fn dispute(&mut self, next: u64) -> Vec<Seen> {
        let newest = Before { next: Some(next), last_at: None };
        self.resyncs.dispute(0, newest, self.now);
        self.seen()
    }

    fn seen(&mut self) -> Vec<Seen> {
        let seen = |(_, output)| match output {
            Output::Update(it) => item(it),
            Output::Gap(missed) => Seen::Gap(missed.missing, missed.cause),
            Output::Unsynced => Seen::Unsynced,
        };
        std::iter::from_fn(|| self.resyncs.poll_output()).map(seen).collect()
    }

    fn ask(&mut self) -> Option<SnapshotAsk> {
        self.resyncs.poll_ask(self.now, NO_MAY)
    }

    fn wait(&mut self, time: Duration) -> Vec<Seen> {
        self.now += time;
        self.resyncs.handle_timeout(self.now, |_| None);
        self.seen()
    }

    /// Waits until the topic is unsynced, and returns when it was asked for.
    fn asks_until_unsynced(&mut self) -> (Vec<u64>, Vec<Seen>) {
        let mut asks = Vec::new();
        loop {
            if self.ask().is_some() {
                asks.push((self.now - self.begin).as_secs());
            }
            let due = self.resyncs.poll_timeout().expect("it waits");
            let seen = self.wait(due - self.now);
            if !seen.is_empty() {
                return (asks, seen);
            }
        }
    }
}

fn item(item: Item) -> Seen {
    Seen::Item(item)
}

fn items(items: impl IntoIterator<Item = Item>) -> Vec<Seen> {
    items.into_iter().map(item).collect()
}

fn range(from: u64, to: u64, cause: GapCause) -> Seen {
    Seen::Gap(Missing::Range { from, to }, cause)
}

#[test]
fn updates_are_held_until_a_snapshot_joins_and_follow_it() {
    let mut bench = Bench::waiting();
    (5..=8).for_each(|number| assert_eq!(bench.update(number), []));
    assert_eq!(bench.snapshot(6), items([Snapshot(6), Update(7, 7), Update(8, 8)]));
    assert_eq!(bench.update(9), items([Update(9, 9)]));
    assert_eq!(bench.resyncs.counts(), Counts { resyncs: 1, asks: 1 });
    assert_eq!((bench.ask(), bench.resyncs.poll_timeout()), (None, None));
}

#[test]
fn an_update_that_covers_the_end_of_a_snapshot_is_delivered() {
    let mut bench = Bench::waiting();
    assert_eq!(bench.range(0, 5, 8, 1), []);
    assert_eq!(bench.snapshot(6), items([Snapshot(6), Update(5, 8)]));
    let mut bench = Bench::waiting();
    assert_eq!(bench.snapshot(6), items([Snapshot(6)]));
    assert_eq!(bench.range(0, 3, 6, 1), [], "the snapshot covers it");
    assert_eq!(bench.range(0, 7, 8, 1), items([Update(7, 8)]));
}

#[test]
fn a_stale_snapshot_does_not_join_and_the_next_one_does() {
    let mut bench = Bench::waiting();
    assert_eq!(bench.update(5), []);
    assert_eq!(bench.snapshot(3), [], "4 is missing");
    assert_eq!(bench.snapshot(4), items([Snapshot(4), Update(5, 5)]));
}

#[test]
fn a_late_snapshot_joins_and_a_later_one_is_dropped() {
    let mut bench = Bench::waiting();
    assert_eq!(bench.update(5), []);
    assert_eq!(bench.wait(3 * SECOND), []);
    assert!(bench.ask().is_some_and(|ask| !ask.is_first));
    bench.now += 5 * SECOND;
    assert_eq!(bench.snapshot(5), items([Snapshot(5)]));
    assert_eq!(bench.update(6), items([Update(6, 6)]));
    assert_eq!(bench.snapshot(9), [], "the answer to the second ask, ahead of the updates");
    assert_eq!(bench.update(7), items([Update(7, 7)]));
}

#[test]
fn a_snapshot_that_was_not_asked_for_is_for_the_merge() {
    let mut bench = Bench::live(5);
    let brought = bench.brought(0, Sequence::contiguous(9, 9), true, 1);
    assert_eq!(bench.resyncs.snapshot(&brought, Snapshot(9)), Some(Snapshot(9)));
    bench.resyncs.see(4, "plain");
    let brought = bench.brought(4, Sequence::contiguous(9, 9), true, 1);
    assert_eq!(bench.resyncs.snapshot(&brought, Snapshot(9)), Some(Snapshot(9)));
    assert_eq!(bench.range(4, 1, 1, 1), items([Update(1, 1)]), "it has no snapshots");
    assert_eq!(bench.ask(), None);
}

#[test]
fn a_gap_is_reported_at_once_and_mended_by_a_snapshot() {
    let mut bench = Bench::live(5);
    assert_eq!(bench.gap(7, 9), [range(7, 9, GapCause::Venue)]);
    assert_eq!(bench.update(11), []);
    assert!(bench.ask().is_some_and(|ask| !ask.is_first));
    assert_eq!(bench.snapshot(8), [], "older than the gap");
    assert_eq!(bench.snapshot(10), items([Snapshot(10), Update(11, 11)]));
}

#[test]
fn a_gap_during_the_wait_is_not_reported_and_needs_a_newer_snapshot() {
    let mut bench = Bench::waiting();
    assert_eq!(bench.update(5), []);
    assert_eq!(bench.gap(6, 7), []);
    assert_eq!(bench.snapshot(5), []);
    assert_eq!(bench.snapshot(7), items([Snapshot(7), Update(8, 8)]));
}

#[test]
fn a_hole_between_a_snapshot_and_the_first_update_is_a_gap_unless_it_is_covered() {
    let mut bench = Bench::waiting();
    assert_eq!(bench.snapshot(10), items([Snapshot(10)]));
    assert_eq!(bench.update(3), []);
    assert_eq!(bench.gap(4, 8), [], "the snapshot covers it");
    assert_eq!(bench.update(13), [range(11, 12, GapCause::Venue)]);
    assert!(bench.ask().is_some());
    assert_eq!(bench.snapshot(13), items([Snapshot(13)]));
}

#[test]
fn numbers_far_below_a_snapshot_show_that_it_is_of_other_numbers() {
    let mut bench = Bench::waiting();
    assert_eq!(bench.snapshot(1000), items([Snapshot(1000)]));
    assert_eq!(bench.update(1), []);
    bench.now += JOIN_WINDOW;
    assert_eq!(bench.update(2), [Seen::Gap(Missing::Unknown, GapCause::Venue)]);
    assert!(bench.ask().is_some());
    assert_eq!(bench.snapshot(2), items([Snapshot(2)]));
}

#[test]
fn after_an_outage_a_snapshot_is_asked_for_and_says_what_was_missed() {
    for (number, gap) in [
        (9, vec![range(7, 9, GapCause::Outage)]),
        (6, vec![]),
        (2, vec![Seen::Gap(Missing::Unknown, GapCause::Outage)]),
    ] {
        let mut bench = Bench::live(5);
        let newest = Before { next: Some(7), last_at: None };
        assert!(bench.resyncs.ended(0, newest));
        assert_eq!(bench.ask(), None, "no line carries it");
        bench.resyncs.confirmed(0);
        assert!(bench.ask().is_some_and(|ask| ask.is_first));
        let seen = bench.snapshot(number);
        assert_eq!(seen, [gap, items([Snapshot(number)])].concat(), "{number}");
    }
}

#[test]
fn an_answer_of_before_an_outage_is_dropped() {
    let mut bench = Bench::waiting();
    let brought = bench.brought(0, Sequence::contiguous(500, 500), true, 1);
    assert!(bench.resyncs.ended(0, Before::default()));
    bench.resyncs.confirmed(0);
    let ask = bench.ask().unwrap();
    bench.resyncs.answer(ask.round - 1, &brought, Snapshot(500));
    assert_eq!(bench.seen(), []);
    bench.resyncs.answer(ask.round, &brought, Snapshot(500));
    assert_eq!(bench.seen(), items([Snapshot(500)]));
}

#[test]
fn a_restart_needs_a_snapshot_of_the_new_numbers() {
    let mut bench = Bench::live(500);
    let restarted = bench.brought(0, Sequence::contiguous(1, 1).restarted(), false, 1);
    assert_eq!(bench.resyncs.update(&restarted, Update(1, 1)), None);
    assert_eq!(bench.seen(), [Seen::Gap(Missing::Unknown, GapCause::Venue)]);
    assert_eq!(bench.update(2), []);
    assert!(bench.ask().is_some());
    assert_eq!(bench.snapshot(1), items([Snapshot(1), Update(2, 2)]));
    // A snapshot that says itself that the numbers begin anew comes through the merge.
    let restarted = bench.brought(0, Sequence::contiguous(1, 1).restarted(), true, 1);
    assert_eq!(bench.resyncs.update(&restarted, Snapshot(1)), None);
    assert_eq!(bench.seen(), items([Snapshot(1)]));
    assert_eq!(bench.update(2), items([Update(2, 2)]));
}

#[test]
fn after_five_asks_updates_flow_behind_a_gap_and_a_snapshot_is_asked_for_every_ten_minutes() {
    let mut bench = Bench::new(1000);
    bench.resyncs.confirmed(0);
    assert_eq!(bench.update(5), []);
    let (asks, seen) = bench.asks_until_unsynced();
    assert_eq!(asks, [0, 3, 9, 21, 45]);
    let gap = Seen::Gap(Missing::Unknown, GapCause::Venue);
    assert_eq!(seen, [Seen::Unsynced, gap, item(Update(5, 5))]);
    assert_eq!((bench.now - bench.begin).as_secs(), 93);
    assert_eq!(bench.update(6), items([Update(6, 6)]));
    // It is asked for once, and reported no more.
    for _ in 0..2 {
        assert_eq!(bench.resyncs.unsynced(), 1);
        assert_eq!(bench.wait(599 * SECOND), []);
        assert_eq!(bench.ask(), None);
        assert_eq!(bench.wait(SECOND), []);
        assert!(bench.ask().is_some());
        assert_eq!(bench.update(7), []);
        assert_eq!(bench.wait(47 * SECOND), []);
        assert_eq!(bench.wait(SECOND), items([Update(7, 7)]));
    }
    bench.wait(600 * SECOND);
    assert!(bench.ask().is_some());
    assert_eq!(bench.update(8), []);
    assert_eq!(bench.resyncs.unsynced(), 1);
    assert_eq!(bench.snapshot(8), items([Snapshot(8)]));
    assert_eq!(bench.resyncs.unsynced(), 0);
    assert_eq!(bench.update(9), items([Update(9, 9)]));
}

#[test]
fn what_was_dropped_is_reported_when_the_rest_flows() {
    let mut bench = Bench::live(5);
    assert_eq!(bench.gap(7, 9), [range(7, 9, GapCause::Venue)]);
    assert_eq!(bench.gap(11, 12), [], "10 is dropped");
    let (asks, seen) = bench.asks_until_unsynced();
    assert_eq!(asks.len(), 5);
    assert_eq!(seen, [Seen::Unsynced, range(10, 12, GapCause::Venue), item(Update(13, 13))]);
}

#[test]
fn a_refusal_for_good_makes_the_topic_unsynced_at_once() {
    let mut bench = Bench::new(1000);
    bench.resyncs.confirmed(0);
    let ask = bench.ask().unwrap();
    bench.resyncs.refused(0, ask.round.wrapping_sub(1), bench.now);
    assert_eq!(bench.seen(), []);
    bench.resyncs.refused(0, ask.round, bench.now);
    assert_eq!(bench.seen()[0], Seen::Unsynced);
}

#[test]
fn held_updates_are_bounded_by_their_number_and_the_oldest_go_first() {
    let mut bench = Bench::waiting();
    for number in 1..=MAX_HELD as u64 + 10 {
        assert_eq!(bench.update(number), []);
    }
    assert_eq!(bench.resyncs.held.sizes(0).0, MAX_HELD);
    assert_eq!(bench.snapshot(9), [], "10 is dropped");
    let seen = bench.snapshot(10);
    assert_eq!((seen[0], seen.len()), (item(Snapshot(10)), MAX_HELD + 1));
    assert_eq!(bench.resyncs.held.sizes(0), (0, 0, 0));
}

#[test]
fn held_updates_are_bounded_by_the_bytes_of_their_messages() {
    let mut bench = Bench::waiting();
    for number in 1..=8 {
        bench.range(0, number, number, MAX_HELD_BYTES / 4);
    }
    assert_eq!(bench.resyncs.held.sizes(0), (4, MAX_HELD_BYTES, MAX_HELD_BYTES));
    // One that is larger than the bound is not held at all.
    bench.range(0, 9, 9, MAX_HELD_BYTES + 1);
    assert_eq!(bench.resyncs.held.sizes(0), (0, 0, 0));
    assert_eq!(bench.snapshot(8), [], "9 is dropped");
    assert_eq!(bench.snapshot(9), items([Snapshot(9)]));
}

#[test]
fn a_shard_drops_the_oldest_of_any_topic() {
    let mut bench = Bench::new(1000);
    for slot in 4..20 {
        bench.resyncs.see(slot, "book");
    }
    for slot in 0..20 {
        bench.resyncs.confirmed(slot);
        (1..=4).for_each(|number| {
            bench.range(slot, number, number, MAX_HELD_BYTES / 4);
        });
    }
    assert_eq!(bench.resyncs.held.sizes(0).2, MAX_SHARD_BYTES);
    let counts: Vec<usize> = (0..20).map(|slot| bench.resyncs.held.sizes(slot).0).collect();
    assert_eq!(counts, [vec![0; 4], vec![4; 16]].concat());
}

#[test]
fn no_more_is_asked_for_than_the_rate_allows() {
    let mut bench = Bench::new(10);
    for slot in 4..300 {
        bench.resyncs.see(slot, "book");
    }
    (0..300).for_each(|slot| bench.resyncs.confirmed(slot));
    let mut times = Vec::new();
    while times.len() < 300 {
        while bench.ask().is_some() {
            times.push(bench.now - bench.begin);
        }
        bench.now += SECOND / 100;
        let slots: Vec<Slot> = (0..300).collect();
        // Each answer takes a second: no wait ends.
        slots.iter().for_each(|slot| bench.resyncs.set_due(*slot, None));
    }
    let within =
        |from: Duration| times.iter().filter(|at| **at >= from && **at < from + SECOND).count();
    assert_eq!(times.iter().map(|at| within(*at)).max(), Some(10));
    assert!(*times.last().unwrap() < 30 * SECOND, "{:?}", times.last());
}

#[test]
fn clones_of_a_rate_share_it() {
    let (now, rate) = (Instant::now(), Rate::new(1, SECOND));
    assert!(rate.clone().take(now));
    assert!(!rate.take(now) && rate.ready_at(now) > now);
}

#[test]
fn no_wait_ends_while_the_shard_holds_its_lines_and_each_begins_anew_afterwards() {
    let mut bench = Bench::waiting();
    bench.resyncs.hold(true, bench.now);
    assert_eq!(bench.resyncs.poll_timeout(), None);
    bench.wait(100 * SECOND);
    bench.resyncs.confirmed(1);
    assert_eq!(bench.ask(), None, "the answer would not be read");
    bench.resyncs.hold(false, bench.now);
    assert_eq!(bench.ask().map(|ask| ask.slot), Some(1));
    bench.wait(SECOND * 2);
    assert_eq!(bench.ask(), None);
    bench.wait(SECOND);
    assert_eq!(bench.ask().map(|ask| ask.slot), Some(0));
}

#[test]
fn a_command_holds_the_updates_of_a_live_topic_and_asks() {
    let mut bench = Bench::live(5);
    bench.resyncs.resync(0, Some(7));
    assert_eq!(bench.update(7), []);
    assert!(bench.ask().is_some());
    bench.resyncs.resync(0, Some(8));
    assert_eq!(bench.ask(), None, "one is waited for");
    assert_eq!(bench.snapshot(5), [], "older than what was delivered");
    assert_eq!(bench.snapshot(7), items([Snapshot(7)]));
}

const WRONG: Seen = Seen::Gap(Missing::Unknown, GapCause::Venue);

#[test]
fn a_state_that_is_wrong_is_a_gap_and_is_replaced_by_a_snapshot() {
    let mut bench = Bench::live(5);
    assert_eq!(bench.dispute(7), [WRONG]);
    assert_eq!(bench.update(7), [], "it is held");
    assert_eq!(bench.dispute(8), [], "a snapshot is waited for");
    assert!(bench.ask().is_some_and(|ask| !ask.is_first));
    assert_eq!(bench.snapshot(5), [], "older than what was found wrong");
    assert_eq!(bench.snapshot(6), items([Snapshot(6), Update(7, 7)]));
    // A snapshot that is wrong itself, before any update.
    let mut bench = Bench::waiting();
    assert_eq!(bench.snapshot(6), items([Snapshot(6)]));
    assert_eq!(bench.dispute(1), [WRONG]);
    assert_eq!(bench.snapshot(5), [], "older than the snapshot");
    assert_eq!(bench.snapshot(6), items([Snapshot(6)]));
}

#[test]
fn a_topic_that_is_not_live_cannot_be_wrong() {
    let mut bench = Bench::new(1000);
    bench.resyncs.see(4, "plain");
    bench.range(4, 1, 1, 1);
    bench.resyncs.dispute(4, Before::default(), bench.now);
    assert_eq!(bench.dispute(1), []);
    bench.resyncs.confirmed(0);
    let ask = bench.ask().unwrap();
    bench.resyncs.refused(0, ask.round, bench.now);
    assert_eq!(bench.seen()[0], Seen::Unsynced);
    assert_eq!((bench.dispute(1), bench.ask()), (vec![], None));
}

#[test]
fn a_topic_that_every_snapshot_leaves_wrong_is_asked_for_later_each_time_and_then_unsynced() {
    let mut bench = Bench::live(5);
    let (mut number, mut asks, mut seen) = (6, Vec::new(), bench.dispute(7));
    let begin = bench.now;
    for _ in 0..5 {
        assert_eq!(seen, [WRONG]);
        while bench.ask().is_none() {
            let due = bench.resyncs.poll_timeout().expect("it is asked for");
            assert_eq!(bench.wait(due - bench.now), []);
        }
        asks.push((bench.now - begin).as_secs());
        bench.now += SECOND;
        assert_eq!(bench.snapshot(number), items([Snapshot(number)]));
        number += 1;
        assert_eq!(bench.update(number), items([Update(number, number)]));
        seen = bench.dispute(number + 1);
    }
    assert_eq!(asks, [0, 4, 11, 24, 49], "each takes a second");
    assert_eq!(seen, [Seen::Unsynced, WRONG]);
    // Ten minutes later a snapshot comes, and is of no use either.
    bench.wait(ASK_AGAIN);
    assert!(bench.ask().is_some());
    assert_eq!(bench.snapshot(number), items([Snapshot(number)]));
    assert_eq!(bench.dispute(0), [Seen::Unsynced, WRONG]);
}

#[test]
fn a_snapshot_that_was_right_for_a_minute_is_no_failure() {
    let mut bench = Bench::live(5);
    for number in [7, 8, 9, 10, 11, 12, 13] {
        assert_eq!(bench.dispute(number), [WRONG]);
        assert!(bench.ask().is_some(), "at once");
        assert_eq!(bench.snapshot(number), items([Snapshot(number)]));
        bench.now += DISPUTE_WINDOW;
    }
    // A topic that was removed begins anew too.
    bench.now -= DISPUTE_WINDOW;
    bench.resyncs.remove(0);
    bench.resyncs.see(0, "book");
    bench.resyncs.confirmed(0);
    assert!(bench.ask().is_some());
    assert_eq!(bench.snapshot(20), items([Snapshot(20)]));
    assert_eq!(bench.dispute(21), [WRONG]);
    assert!(bench.ask().is_some(), "at once");
}

#[test]
fn a_topic_without_numbers_takes_what_comes_after_its_snapshot() {
    let mut bench = Bench::waiting();
    let none = bench.brought(0, Sequence::none(), false, 1);
    assert_eq!(bench.resyncs.update(&none, Update(1, 1)), None);
    let whole = bench.brought(0, Sequence::none(), true, 1);
    assert_eq!(bench.resyncs.snapshot(&whole, Snapshot(0)), None);
    assert_eq!(bench.seen(), items([Snapshot(0)]), "what came before it is part of it");
    assert_eq!(bench.resyncs.update(&none, Update(2, 2)), Some(Update(2, 2)));
}

#[test]
fn a_topic_that_is_removed_is_not_asked_for() {
    let mut bench = Bench::new(1000);
    bench.resyncs.confirmed(0);
    bench.update(1);
    bench.resyncs.remove(0);
    assert_eq!((bench.ask(), bench.resyncs.poll_timeout()), (None, None));
    assert_eq!(bench.resyncs.held.sizes(0), (0, 0, 0));
    bench.resyncs.see(0, "book");
    bench.resyncs.confirmed(0);
    assert!(bench.ask().is_some() && bench.ask().is_none());
}

#[test]
fn a_topic_that_is_live_takes_little_memory() {
    assert!(size_of::<Topic>() <= 16, "{}", size_of::<Topic>());
    let bench = Bench::live(5);
    assert!(bench.resyncs.topics[0].work.is_none());
    assert_eq!((bench.resyncs.asked.len(), bench.resyncs.queue.capacity()), (0, 0));
}

/// What happens to a topic, in the property test.
#[derive(Clone, Copy, Debug)]
enum Step {
    Tick,
    /// The merge loses this many updates.
    Lose(u64),
    /// A snapshot that was taken this many updates ago comes.
    Answer(u64),
    Ask,
    Wait(u64),
    Outage(u64),
    Restart,
    Command,
    Dispute,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => Just(Step::Tick),
        1 => (1_u64..4).prop_map(Step::Lose),
        2 => (0_u64..6).prop_map(Step::Answer),
        4 => Just(Step::Ask),
        2 => (1_u64..20).prop_map(Step::Wait),
        1 => (0_u64..4).prop_map(Step::Outage),
        1 => Just(Step::Restart),
        1 => Just(Step::Command),
        1 => Just(Step::Dispute),
    ]
}

/// A recipient that applies what comes: the last number of its book, while it is that of the venue.
struct Book<'a> {
    newest: &'a Cell<u64>,
    at: Option<u64>,
    is_unsynced: bool,
}

impl Book<'_> {
    fn apply(&mut self, seen: &[Seen]) {
        for seen in seen {
            match (*seen, self.at) {
                (Seen::Unsynced, _) => self.is_unsynced = true,
                (Seen::Gap(..), _) => self.at = None,
                (Seen::Item(Snapshot(number)), _) => {
                    (self.at, self.is_unsynced) = (Some(number), false);
                    assert!(number <= self.newest.get());
                }
                (Seen::Item(Update(first, last)), Some(at)) => {
                    assert!(first <= at + 1 && at < last, "{first}-{last} after {at}");
                    self.at = Some(last);
                }
                (Seen::Item(Update(..)), None) => {
                    assert!(self.is_unsynced, "an update without a state to apply it to");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_update_is_delivered_where_it_follows_what_was_delivered_or_the_topic_is_unsynced(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut bench = Bench::new(1000);
        let newest = Cell::new(10);
        let mut book = Book { newest: &newest, at: None, is_unsynced: false };
        // The number that the merge delivers next.
        let mut next = 11;
        bench.resyncs.confirmed(0);
        for step in steps {
            let seen = match step {
                Step::Tick => {
                    newest.set(newest.get() + 1);
                    let seen = bench.range(0, next, newest.get(), 1);
                    next = newest.get() + 1;
                    seen
                }
                Step::Lose(count) => {
                    newest.set(newest.get() + count + 1);
                    let seen = bench.gap(next, newest.get() - 1);
                    next = newest.get() + 1;
                    seen
                }
                Step::Answer(age) => {
                    let number = newest.get().saturating_sub(age);
                    let brought = bench.brought(0, Sequence::contiguous(number, number), true, 1);
                    // The merge would drop what it is older than.
                    let passed = bench.resyncs.snapshot(&brought, Snapshot(number));
                    let passed = passed.filter(|_| number + 1 >= next);
                    let passed = passed.and_then(|it| bench.resyncs.update(&brought, it));
                    passed.map(item).into_iter().chain(bench.seen()).collect()
                }
                Step::Ask => {
                    bench.ask();
                    vec![]
                }
                Step::Wait(seconds) => {
                    bench.now += Duration::from_secs(seconds);
                    bench.resyncs.handle_timeout(bench.now, |_| Some(next));
                    bench.seen()
                }
                Step::Outage(count) => {
                    bench.resyncs.ended(0, Before { next: Some(next), last_at: None });
                    newest.set(newest.get() + count);
                    next = newest.get() + 1;
                    bench.resyncs.confirmed(0);
                    book.at = None;
                    vec![]
                }
                Step::Restart => {
                    newest.set(1);
                    next = 2;
                    let sequence = Sequence::contiguous(1, 1).restarted();
                    let brought = bench.brought(0, sequence, false, 1);
                    let passed = bench.resyncs.update(&brought, Update(1, 1));
                    // Where it is unsynced, the recipient sees the mark.
                    book.at = None;
                    passed.map(item).into_iter().chain(bench.seen()).collect()
                }
                Step::Dispute => bench.dispute(next),
                Step::Command => {
                    bench.resyncs.resync(0, Some(next));
                    book.at = None;
                    vec![]
                }
            };
            if matches!(step, Step::Dispute) && book.at.is_some() && !seen.contains(&WRONG) {
                prop_assert_ne!(bench.resyncs.stage(0), Stage::Live, "the book is wrong");
            }
            book.apply(&seen);
            let (len, bytes, all) = bench.resyncs.held.sizes(0);
            prop_assert!(len <= MAX_HELD && bytes <= MAX_HELD_BYTES && all == bytes);
        }
        // A snapshot and an update make it live, whatever has happened.
        bench.resyncs.resync(0, Some(next));
        let whole = bench.brought(0, Sequence::contiguous(newest.get(), newest.get()), true, 1);
        if let Some(passed) = bench.resyncs.snapshot(&whole, Snapshot(newest.get())) {
            bench.resyncs.update(&whole, passed);
        }
        bench.seen();
        let number = newest.get() + 1;
        prop_assert_eq!(bench.update(number), items([Update(number, number)]));
        prop_assert_eq!(bench.resyncs.stage(0), Stage::Live);
    }
}
