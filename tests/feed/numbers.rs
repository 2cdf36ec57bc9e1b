//! Lines that are replaced by new ones where a topic is a book, or its updates have other numbers than contiguous ones:
//! what the documents promise of each kind, and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actix::Addr;
use actix_ws_client::View;
use actix_ws_client::feed::{
    Dialect, Feed, MINUTE, Request, RequestId, Rotate, SECOND, Said, Sequence, Topic, command,
    event,
};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::sleep;

use crate::resync::{self, ALL, built, exact, is_exact};
use crate::rotation::{Causes, Results, carry, eager, legs, load, newest, rotating_as, start};
use crate::venue::{Venue, Words};
use crate::{Log, Random, Seen, close, names, simulated, state_of};

const MILLI: Duration = Duration::from_millis(1);

/// The time between two updates of a topic, as [`load`] sends them.
const TICK: Duration = Duration::from_millis(20);

/// How the venue numbers the updates of a topic. Each has an item too, which is the count of updates so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Chained,
    Rising,
    Id,
    None,
}

/// The venue's words, with numbers of another kind.
struct Numbered {
    words: Words,
    kind: Kind,
}

impl Kind {
    fn sequence(self, count: u64) -> Sequence {
        match self {
            Kind::Chained => Sequence::chained(7 * (count - 1), 7 * count),
            // Six of seven are left out.
            Kind::Rising => Sequence::rising(7 * count),
            // An odd factor: no number twice, and no order.
            Kind::Id => Sequence::id(count.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            Kind::None => Sequence::none(),
        }
    }
}

impl Dialect for Numbered {
    type Item = u64;

    fn login(&mut self) -> Option<Request> {
        self.words.login()
    }

    fn subscribe(&mut self, id: RequestId, topics: &[Topic]) -> Request {
        self.words.subscribe(id, topics)
    }

    fn unsubscribe(&mut self, id: RequestId, topics: &[Topic]) -> Option<Request> {
        self.words.unsubscribe(id, topics)
    }

    fn read<'m>(&'m mut self, message: View<'m>) -> Said<'m, u64> {
        match self.words.read(message) {
            Said::Data { topic, item, .. } => Said::data(topic, self.kind.sequence(item), item),
            said => said,
        }
    }
}

/// Returns the items of a topic, as they were delivered.
fn items(log: &Log, topic: &str) -> Vec<u64> {
    let item = |seen| match seen {
        Seen::Update(of, item) if of == topic => Some(item),
        _ => None,
    };
    log.all().into_iter().filter_map(item).collect()
}

/// The items of a topic that were delivered more than once, and those that were not, up to the last one.
fn wrong(items: &[u64], last: u64) -> (Vec<u64>, Vec<u64>) {
    let mut counts = BTreeMap::new();
    items.iter().for_each(|item| *counts.entry(*item).or_insert(0) += 1);
    let doubled = counts.iter().filter(|(_, count)| **count > 1).map(|(item, _)| *item).collect();
    let missing = (1..=last).filter(|item| !counts.contains_key(item)).collect();
    (doubled, missing)
}

/// Twenty rotations of each line, and what was sent meanwhile.
struct Course {
    venue: Venue,
    log: Log,
    names: Vec<String>,
    feed: Addr<Feed<u64>>,
    rounds: Vec<Round>,
    /// The topics that the lost lines led, for each line that led some.
    led: Vec<usize>,
}

/// One rotation of one line.
#[derive(Debug)]
struct Round {
    /// The updates that may be of it: from those that were under way when it began to the last one before its end.
    items: std::ops::RangeInclusive<u64>,
    /// How late the updates of the line are, and those of the new one.
    old: Duration,
    new: Duration,
}

impl Round {
    /// Returns how many updates are sent while one line is behind the other.
    fn behind(late: Duration, early: Duration) -> usize {
        let between = late.saturating_sub(early);
        if between.is_zero() { 0 } else { between.div_duration_f64(TICK).ceil() as usize + 1 }
    }

    fn count(&self, items: &[u64]) -> usize {
        items.iter().filter(|item| self.items.contains(item)).count()
    }
}

/// Rotates the one line of a feed twenty times, whose connections are late by these times.
async fn course(kind: Kind, lags: &[Duration]) -> Course {
    let (venue, log, names) = (Venue::default(), Log::default(), names(2));
    let results = Results::default();
    let lags: BTreeMap<char, Duration> = ('a'..='z').zip(lags.iter().copied().cycle()).collect();
    venue.state().lags.extend(lags.clone());
    let (send, mut states) = unbounded_channel();
    let builder =
        rotating_as(&venue, &log, &results, move |words| Numbered { words, kind })
            .on::<event::LineState>(actix_ws_client::event::call(move |line: event::LineState| {
                let _ = send.send((state_of(&line.state), line.led));
            }));
    let feed = start(builder, &venue, &log, &names, 1).await;
    let mut rounds = Vec::new();
    for round in 1..=20 {
        let (old, begin) = (legs(&venue, &names)[0], venue.newest(&names[0]));
        feed.send(command::Rotate::default()).await.unwrap();
        load(&venue, &names, MINUTE, || results.done() == round).await;
        let (new, end) = (legs(&venue, &names)[0], venue.newest(&names[0]));
        let before = Round::behind(lags[&old], Duration::ZERO) as u64;
        let items = begin.saturating_sub(before) + 1..=end;
        rounds.push(Round { items, old: lags[&old], new: lags[&new] });
        carry(&venue, &names, 2 * SECOND, &mut BTreeMap::new()).await;
    }
    sleep(SECOND).await;
    assert_eq!(results.failed(), Vec::<String>::new());
    let led = std::iter::from_fn(|| states.try_recv().ok());
    let led = led.filter(|(state, led)| *state == "down" && *led > 0).map(|(_, led)| led);
    Course { led: led.collect(), venue, log, names, feed, rounds }
}

/// The lags of the connections of a feed, from a seed.
fn random_lags(seed: u64) -> Vec<Duration> {
    let mut random = Random(seed);
    (0..26).map(|_| random.below(450) as u32 * MILLI).collect()
}

#[test]
fn ids_and_chained_numbers_are_neither_lost_nor_doubled_by_twenty_rotations() {
    for (kind, seed) in [(Kind::Chained, 1), (Kind::Chained, 2), (Kind::Id, 3), (Kind::Id, 4)] {
        println!("{kind:?}, seed {seed}");
        simulated(async move {
            let Course { venue, log, names, feed, .. } = course(kind, &random_lags(seed)).await;
            for name in &names {
                let items = items(&log, name);
                assert_eq!(wrong(&items, venue.newest(name)), (vec![], vec![]), "{name}");
                assert!(kind == Kind::Id || items.is_sorted(), "{name}");
            }
            assert!(!log.all().iter().any(|seen| matches!(seen, Seen::Gap(..))));
            close(feed, &log).await;
        });
    }
}

/// No update is delivered twice or after a newer one. Those are missing that were under way on the old line when a newer one
/// came on the new line, and no other.
#[test]
fn rising_numbers_are_not_doubled_and_one_lag_of_them_may_be_missing() {
    let mut all_missing = 0;
    for (seed, lags) in [
        (None, vec![300 * MILLI]),
        (None, vec![Duration::ZERO, 400 * MILLI]),
        (Some(5), random_lags(5)),
        (Some(6), random_lags(6)),
    ] {
        println!("seed {seed:?}");
        let is_even = lags.len() == 1;
        let (send, missing_of) = std::sync::mpsc::channel();
        simulated(async move {
            let Course { venue, log, names, feed, rounds, .. } = course(Kind::Rising, &lags).await;
            for name in &names {
                let items = items(&log, name);
                assert!(items.is_sorted_by(|one, next| one < next), "{name}");
                let (_, missing) = wrong(&items, venue.newest(name));
                for round in &rounds {
                    let most = Round::behind(round.old, round.new);
                    assert!(round.count(&missing) <= most, "{round:?}: {missing:?}");
                }
                let of_rounds: usize = rounds.iter().map(|round| round.count(&missing)).sum();
                assert_eq!(of_rounds, missing.len(), "in steady state: {missing:?}");
                send.send(missing.len()).unwrap();
            }
            close(feed, &log).await;
        });
        let missing: usize = missing_of.iter().sum();
        assert!(!is_even || missing == 0, "{missing}");
        all_missing += missing;
    }
    assert!(all_missing > 0, "the old line was behind, which is not noticed");
}

/// The old line leads until it has ended, then the new one does. What one of them is behind the other is missing or doubled,
/// nothing in steady state, and the state of the line that led says so.
#[test]
fn updates_without_numbers_are_wrong_by_one_lag_when_the_leader_changes_and_never_else() {
    let mut all_wrong = (0, 0);
    for (seed, lags) in [
        (None, vec![300 * MILLI]),
        (None, vec![Duration::ZERO, 400 * MILLI]),
        (Some(7), random_lags(7)),
        (Some(8), random_lags(8)),
    ] {
        println!("seed {seed:?}");
        let is_even = lags.len() == 1;
        let (send, wrong_of) = std::sync::mpsc::channel();
        simulated(async move {
            let Course { venue, log, names, feed, rounds, led } = course(Kind::None, &lags).await;
            assert_eq!(led, [2; 20], "each of both topics has another leader");
            for name in &names {
                let (doubled, missing) = wrong(&items(&log, name), venue.newest(name));
                for round in &rounds {
                    let most = Round::behind(round.old, round.new);
                    assert!(round.count(&missing) <= most, "{round:?}: {missing:?}");
                    let most = Round::behind(round.new, round.old);
                    assert!(round.count(&doubled) <= most, "{round:?}: {doubled:?}");
                }
                for wrong in [&doubled, &missing] {
                    let of_rounds: usize = rounds.iter().map(|round| round.count(wrong)).sum();
                    assert_eq!(of_rounds, wrong.len(), "in steady state: {wrong:?}");
                }
                send.send((doubled.len(), missing.len())).unwrap();
            }
            close(feed, &log).await;
        });
        let wrong = wrong_of.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        assert!(!is_even || wrong == (0, 0), "{wrong:?}");
        all_wrong = (all_wrong.0 + wrong.0, all_wrong.1 + wrong.1);
    }
    assert!(all_wrong.0 > 0 && all_wrong.1 > 0, "{all_wrong:?}: one line was behind the other");
}

/// A leg is lost at every 400 ms of a rotation, on one line and on two: no update comes twice, and none is missing that a
/// line carried.
#[test]
fn the_loss_of_a_leg_doubles_no_id_and_loses_only_what_no_leg_carries() {
    for lines in [1_u8, 2] {
        for (kills_new, step) in
            [false, true].into_iter().flat_map(|new| (0..7).map(move |at| (new, at)))
        {
            simulated(async move {
                let (venue, log, names) = (Venue::default(), Log::default(), names(2));
                let results = Results::default();
                let make = |words| Numbered { words, kind: Kind::Id };
                let builder = rotating_as(&venue, &log, &results, make).lines(lines);
                let builder = eager(builder, &venue);
                let feed = start(builder, &venue, &log, &names, lines.into()).await;
                (venue.state().accept_delay, venue.state().delay) = (500 * MILLI, 500 * MILLI);
                let old = legs(&venue, &names)[0];
                let mut uncarried = BTreeMap::new();
                feed.send(command::Rotate::default()).await.unwrap();
                carry(&venue, &names, step * 400 * MILLI, &mut uncarried).await;
                let killed = if kills_new { newest(&venue) } else { Some(old) };
                killed.into_iter().for_each(|letter| venue.cut_line(letter));
                sleep(MILLI).await;
                carry(&venue, &names, 20 * SECOND, &mut uncarried).await;
                sleep(SECOND).await;
                let what = format!("{lines} lines, new {kills_new}, step {step}");
                // A line that is being replaced is not dialled again.
                let again = usize::from(killed != Some(old));
                let dials = usize::from(lines) + results.all().len() + again;
                assert_eq!(venue.state().dials.len(), dials, "{what}");
                for name in &names {
                    let found = wrong(&items(&log, name), venue.newest(name));
                    let uncarried = uncarried.remove(name).unwrap_or_default();
                    assert!(lines == 1 || uncarried.is_empty(), "{what}");
                    assert_eq!(found, (vec![], Vec::from_iter(uncarried.clone())), "{what}");
                    let gap = Seen::Gap(Some(name.clone()), None);
                    assert_eq!(log.count(&gap), usize::from(!uncarried.is_empty()), "{what}");
                }
                assert_eq!(legs(&venue, &names).len(), usize::from(lines), "{what}");
                close(feed, &log).await;
            });
        }
    }
}

/// The new line brings nothing that the book does not have, so it needs no snapshot.
#[test]
fn books_stay_exact_through_twenty_rotations_without_another_snapshot() {
    for (by, lines) in ALL.into_iter().flat_map(|by| [(by, 1), (by, 2)]) {
        let seed = 10 + u64::from(lines);
        println!("{by:?} on {lines} lines, seed {seed}");
        simulated(async move {
            let (venue, log, names) = (Venue::default(), Log::default(), names(2));
            let results = Results::default();
            venue.state().snapshot_delay = Some(300 * MILLI);
            venue.state().lags.extend(('a'..='z').zip(random_lags(seed)));
            let builder =
                rotating_as(&venue, &log, &results, move |words| resync::Maybe::new(words, by))
                    .lines(lines)
                    .resync(resync::resync(&venue, by));
            let feed = start(builder, &venue, &log, &names, lines.into()).await;
            // The snapshots have come.
            carry(&venue, &names, 2 * SECOND, &mut BTreeMap::new()).await;
            let asks = venue.state().asks.len();
            for round in 1..=20 {
                feed.send(command::Rotate::default()).await.unwrap();
                let wanted = round * usize::from(lines);
                load(&venue, &names, MINUTE, || results.all().len() == wanted).await;
            }
            sleep(SECOND).await;
            assert_eq!(results.failed(), Vec::<String>::new());
            assert!(is_exact(&venue, &log, &names), "{:?}", built(&log));
            assert_eq!(venue.state().asks.len(), asks, "nothing is asked for");
            let snapshots = built(&log).values().map(|built| built.snapshots).collect::<Vec<_>>();
            assert_eq!(snapshots, [1, 1]);
            assert!(!log.all().iter().any(|seen| matches!(seen, Seen::Gap(..))));
            close(feed, &log).await;
        });
    }
}

/// In each of twenty rotations one leg is lost at some time. With two lines the other one carries the book; with one the book
/// has another snapshot if no leg carried it.
#[test]
fn books_are_exact_after_twenty_rotations_with_a_loss_of_either_leg_in_each() {
    for (by, lines) in ALL.into_iter().flat_map(|by| [(by, 1), (by, 2)]) {
        let seed = 20 + u64::from(lines);
        println!("{by:?} on {lines} lines, seed {seed}");
        simulated(async move {
            let (venue, log, names) = (Venue::default(), Log::default(), names(2));
            let results = Results::default();
            venue.state().snapshot_delay = Some(300 * MILLI);
            let builder =
                rotating_as(&venue, &log, &results, move |words| resync::Maybe::new(words, by))
                    .lines(lines)
                    .resync(resync::resync(&venue, by));
            let builder = eager(builder, &venue);
            let feed = start(builder, &venue, &log, &names, lines.into()).await;
            exact(&venue, &log, &names, 10 * SECOND).await;
            (venue.state().accept_delay, venue.state().delay) = (300 * MILLI, 300 * MILLI);
            let (mut random, mut uncarried, mut again) = (Random(seed), BTreeMap::new(), 0);
            for round in 0..20 {
                let old = legs(&venue, &names)[0];
                feed.send(command::Rotate::default()).await.unwrap();
                let time = random.below(1_500) as u32 * MILLI;
                carry(&venue, &names, time, &mut uncarried).await;
                let killed = if round % 2 == 0 { Some(old) } else { newest(&venue) };
                killed.into_iter().for_each(|letter| venue.cut_line(letter));
                sleep(MILLI).await;
                carry(&venue, &names, 20 * SECOND, &mut uncarried).await;
                // A line that is being replaced is not dialled again.
                again += usize::from(killed != Some(old));
                let dials = usize::from(lines) + results.all().len() + again;
                assert_eq!(venue.state().dials.len(), dials, "round {round}");
                assert!(is_settled(&venue, &names, lines), "round {round}");
            }
            exact(&venue, &log, &names, 60 * SECOND).await;
            let uncarried = uncarried.values().map(BTreeSet::len).sum::<usize>();
            assert_eq!(lines == 2, uncarried == 0, "{uncarried} were on no leg");
            let gaps = log.all().iter().filter(|seen| matches!(seen, Seen::Gap(..))).count();
            let snapshots = built(&log).values().map(|built| built.snapshots).sum::<usize>();
            if lines == 2 {
                assert_eq!((gaps, snapshots), (0, 2));
            } else {
                assert!(gaps > 0 && snapshots >= 2 + gaps, "{gaps} gaps, {snapshots} snapshots");
            }
            close(feed, &log).await;
        });
    }
}

/// Rotations between kills of one leg or all, lost updates and restarts at random times.
#[test]
fn a_book_is_that_of_the_venue_over_rotations_kills_gaps_and_restarts() {
    for (by, lines) in ALL.into_iter().flat_map(|by| [(by, 1), (by, 2)]) {
        for seed in 31..=32 {
            println!("{by:?} on {lines} lines, seed {seed}");
            simulated(async move {
                let (venue, log, names) = (Venue::default(), Log::default(), names(3));
                let results = Results::default();
                venue.state().snapshot_delay = Some(300 * MILLI);
                let builder =
                    rotating_as(&venue, &log, &results, move |words| resync::Maybe::new(words, by))
                        .lines(lines)
                        .resync(resync::resync(&venue, by));
                let feed = start(builder, &venue, &log, &names, lines.into()).await;
                (venue.state().accept_delay, venue.state().delay) = (50 * MILLI, 50 * MILLI);
                let mut random = Random(seed);
                for _ in 0..3_000 {
                    let name = &names[random.below(3) as usize];
                    match random.below(400) {
                        0 => venue.cut(),
                        1 | 2 => newest(&venue).into_iter().for_each(|it| venue.cut_line(it)),
                        3 => venue.restart(),
                        4..8 => venue.skip(name),
                        8..20 => feed.do_send(command::Rotate::default()),
                        _ => drop(venue.tick(name)),
                    }
                    sleep(random.below(40) as u32 * MILLI).await;
                }
                carry(&venue, &names, 20 * SECOND, &mut BTreeMap::new()).await;
                exact(&venue, &log, &names, 60 * SECOND).await;
                assert!(is_settled(&venue, &names, lines));
                assert!(results.done() > 20, "{}", results.done());
                let unsynced = |seen: &&Seen| matches!(seen, Seen::Topic(_, "unsynced"));
                assert_eq!(log.all().iter().filter(unsynced).count(), 0);
                close(feed, &log).await;
            });
        }
    }
}

/// Whether each line has all topics, and none is left over.
fn is_settled(venue: &Venue, names: &[String], lines: u8) -> bool {
    let open = venue.state().open.len();
    open == usize::from(lines) && legs(venue, names).len() == open
}

#[test]
fn a_book_of_a_line_that_is_closed_first_has_a_gap_by_rotation_and_another_snapshot() {
    for by in ALL {
        println!("{by:?}");
        simulated(async move {
            let (venue, log, names) = (Venue::default(), Log::default(), names(2));
            let (results, causes) = (Results::default(), Causes::default());
            venue.state().snapshot_delay = Some(100 * MILLI);
            let rotate = Rotate::at_age(10 * SECOND).jitter(SECOND).break_first();
            let builder =
                rotating_as(&venue, &log, &results, move |words| resync::Maybe::new(words, by))
                    .rotate(rotate)
                    .resync(resync::resync(&venue, by))
                    .on(causes.recipient());
            let feed = start(builder, &venue, &log, &names, 1).await;
            (venue.state().accept_delay, venue.state().delay) = (100 * MILLI, 100 * MILLI);
            load(&venue, &names, 2 * MINUTE, || results.done() == 5).await;
            exact(&venue, &log, &names, 5 * SECOND).await;
            let causes = causes.0.lock().unwrap().clone();
            assert_eq!(causes, [event::GapCause::Rotation; 10]);
            let snapshots = built(&log).values().map(|built| built.snapshots).collect::<Vec<_>>();
            assert_eq!(snapshots, [6, 6]);
            close(feed, &log).await;
        });
    }
}
