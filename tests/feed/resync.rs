//! Topics that consist of a snapshot and increments: whatever happens, what the recipient has built is what the venue
//! has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use actix::{Actor, Addr};
use actix_ws_client::View;
use actix_ws_client::feed::{
    Builder, Dialect, Failure, Feed, Overflow, Request, RequestId, Resync, Rules, SECOND, Said,
    Sequence, Threads, Topic, command, event,
};
use tokio::time::{Instant, sleep};

use crate::venue::{Venue, Words};
use crate::{Book, Log, Random, Seen, close, confirmed, names, simulated, tick};

const MILLI: Duration = Duration::from_millis(1);

/// How snapshots are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Dialect,
    Closure,
    /// There is no request: a subscription brings one.
    Subscription,
}

pub(crate) const ALL: [By; 3] = [By::Dialect, By::Closure, By::Subscription];

/// The venue's words, with a request for snapshots or without.
pub(crate) struct Maybe {
    words: Words,
    by: By,
    quirks: Quirks,
}

/// What the dialects of a feed see in its messages.
#[derive(Clone, Default)]
struct Quirks(Arc<Mutex<Seeing>>);

#[derive(Default)]
struct Seeing {
    /// The topics of which each update has a wrong checksum, until a snapshot is read.
    wrong: BTreeSet<String>,
    /// Those of which it has one after a snapshot too.
    ever_wrong: BTreeSet<String>,
    /// Whether the number 1 says that the venue has begun anew.
    marks_restarts: bool,
}

impl Quirks {
    fn see(&self) -> MutexGuard<'_, Seeing> {
        self.0.lock().unwrap()
    }
}

impl Maybe {
    /// Creates the dialect of a venue without quirks.
    pub(crate) fn new(words: Words, by: By) -> Maybe {
        Maybe { words, by, quirks: Quirks::default() }
    }
}

impl Dialect for Maybe {
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

    fn snapshot(&mut self, id: RequestId, topic: &Topic) -> Option<Request> {
        (self.by == By::Dialect).then(|| self.words.snapshot(id, topic)).flatten()
    }

    fn read<'m>(&'m mut self, message: View<'m>) -> Said<'m, u64> {
        let mut seeing = self.quirks.see();
        match self.words.read(message) {
            Said::Data { topic, item: 1, .. } if seeing.marks_restarts => {
                Said::data(topic, Sequence::contiguous(1, 1).restarted(), 1)
            }
            Said::Data { topic, sequence, item, .. }
                if seeing.wrong.contains(topic.as_str())
                    || seeing.ever_wrong.contains(topic.as_str()) =>
            {
                let resync = Said::resync(topic.clone());
                [Said::data(topic, sequence, item), resync].into_iter().collect()
            }
            Said::Snapshot { topic, sequence, item, .. } => {
                seeing.wrong.remove(topic.as_str());
                Said::snapshot(topic, sequence, item)
            }
            said => said,
        }
    }
}

/// Has the venue bring snapshots, and returns how they are asked for.
pub(crate) fn resync(venue: &Venue, by: By) -> Resync<u64> {
    venue.state().pushes = by == By::Subscription;
    let asked = venue.clone();
    match by {
        By::Dialect | By::Subscription => Resync::by_dialect(),
        By::Closure => Resync::with(async move |topic: Topic| {
            let number = asked.whole(&topic).await;
            Ok((Sequence::contiguous(number, number), number))
        }),
    }
}

/// A feed of books, on one line or more, whose tokens begin with their letters.
fn books(venue: &Venue, log: &Log, by: By) -> Builder<Maybe> {
    quirky_books(venue, log, by, &Quirks::default())
}

/// The same, of a venue that has its quirks.
fn quirky_books(venue: &Venue, log: &Log, by: By, quirks: &Quirks) -> Builder<Maybe> {
    let quirks = quirks.clone();
    let (book, tokens) = (Book(log.clone()).start(), AtomicUsize::new(0));
    let (dialled, resync) = (venue.clone(), resync(venue, by));
    Feed::builder(async move |attempt| {
        let number = tokens.fetch_add(1, Ordering::Relaxed);
        let token = format!("{}{number}", char::from(b'a' + attempt.line.line));
        let url = format!("ws://venue/?{token}");
        let quirks = quirks.clone();
        Ok(Maybe { words: Words { token, logs_in: false }, by, quirks }.at(url))
    })
    .threads(Threads::Here)
    .connection(move |builder| {
        let venue = dialled.clone();
        builder.transport_with(move |_, _| venue.accept())
    })
    .resync(resync)
    .handler(&book)
    .on::<event::Stopped>(book.recipient())
}

/// What a recipient has built of a topic: the number of its state, while it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Built {
    at: Option<u64>,
    is_unsynced: bool,
    pub(crate) snapshots: usize,
}

/// Applies everything as a recipient does.
pub(crate) fn built(log: &Log) -> BTreeMap<String, Built> {
    let mut all: BTreeMap<String, Built> = BTreeMap::new();
    for seen in log.all() {
        match seen {
            Seen::Gap(Some(topic), _) => all.entry(topic).or_default().at = None,
            Seen::Topic(topic, "unsynced") => all.entry(topic).or_default().is_unsynced = true,
            Seen::Snapshot(topic, number) => {
                let snapshots = all.get(&topic).map_or(1, |built| built.snapshots + 1);
                all.insert(topic, Built { at: Some(number), is_unsynced: false, snapshots });
            }
            Seen::Update(topic, number) => {
                let built = all.entry(topic.clone()).or_default();
                match &mut built.at {
                    Some(at) => {
                        assert_eq!(number, *at + 1, "{topic}");
                        *at = number;
                    }
                    None => assert!(built.is_unsynced, "{topic} {number} has no state"),
                }
            }
            _ => {}
        }
    }
    all
}

/// Whether the recipient has built what the venue has.
pub(crate) fn is_exact(venue: &Venue, log: &Log, names: &[String]) -> bool {
    let built = built(log);
    let is = |name: &String| {
        let built = built.get(name).copied().unwrap_or_default();
        built.at == Some(venue.newest(name)) && !built.is_unsynced
    };
    names.iter().all(is)
}

/// Waits until that is so, while updates go on, and returns how long it took.
pub(crate) async fn exact(
    venue: &Venue,
    log: &Log,
    names: &[String],
    within: Duration,
) -> Duration {
    let begin = Instant::now();
    loop {
        names.iter().for_each(|name| tick(venue, name));
        sleep(100 * MILLI).await;
        if is_exact(venue, log, names) {
            return begin.elapsed();
        }
        assert!(begin.elapsed() <= within, "after {within:?}: {:?}", built(log));
    }
}

fn most_in_a_second(asks: &[Instant]) -> usize {
    let within =
        |from: &Instant| asks.iter().filter(|at| (*from..*from + SECOND).contains(at)).count();
    asks.iter().map(within).max().unwrap_or_default()
}

#[test]
fn a_snapshot_that_takes_eight_seconds_joins_although_the_first_wait_is_three() {
    for by in [By::Dialect, By::Closure] {
        simulated(async move {
            let (venue, log, names) = (Venue::default(), Log::default(), names(1));
            venue.state().snapshot_delay = Some(8 * SECOND);
            let feed = books(&venue, &log, by).topics(&names).start().unwrap();
            confirmed(&log, &names, 1).await;
            let took = exact(&venue, &log, &names, 8_500 * MILLI).await;
            let asks = venue.state().asks.len();
            println!("{by:?}: live after {took:?} and {asks} asks");
            assert!(asks <= 3, "{asks}");
            // The answers to the other asks change nothing.
            for _ in 0..200 {
                venue.tick(&names[0]);
                sleep(100 * MILLI).await;
            }
            assert!(is_exact(&venue, &log, &names));
            assert_eq!(built(&log)[&names[0]].snapshots, 1);
            assert_eq!(venue.state().asks.len(), asks);
            let figures = feed.send(command::Status).await.unwrap().figures;
            assert_eq!((figures.resyncs, figures.asks), (1, asks as u64));
            close(feed, &log).await;
        });
    }
}

#[test]
fn three_hundred_books_are_live_as_fast_as_the_rate_of_asks_allows() {
    for by in [By::Dialect, By::Closure] {
        simulated(async move {
            let (venue, log, names) = (Venue::default(), Log::default(), names(300));
            {
                let mut state = venue.state();
                (state.snapshot_delay, state.asks_per_second) = (Some(SECOND), 10);
            }
            // Two shards share the rate.
            let rules = Rules::default().topics_per_line(150);
            let feed = books(&venue, &log, by).rules(rules).topics(&names).start().unwrap();
            confirmed(&log, &names, 1).await;
            let took = exact(&venue, &log, &names, 31_500 * MILLI).await;
            let asks = venue.state().asks.clone();
            println!("{by:?}: all live after {took:?}, {} asks", asks.len());
            assert_eq!((asks.len(), most_in_a_second(&asks)), (300, 10));
            assert_eq!(venue.state().breaches, Vec::<String>::new());
            close(feed, &log).await;
        });
    }
}

/// Kills, lost updates and restarts at random times.
#[test]
fn a_book_is_that_of_the_venue_over_kills_gaps_and_restarts() {
    for (by, lines) in ALL.into_iter().flat_map(|by| [(by, 1), (by, 2)]) {
        for seed in 1..=2 {
            println!("{by:?} on {lines} lines, seed {seed}");
            simulated(async move {
                let (venue, log, names) = (Venue::default(), Log::default(), names(5));
                venue.state().snapshot_delay = Some(300 * MILLI);
                let builder = books(&venue, &log, by).lines(lines).topics(&names);
                let feed = builder.start().unwrap();
                let mut random = Random(seed);
                for _ in 0..1_500 {
                    let name = &names[random.below(5) as usize];
                    match random.below(200) {
                        0 => venue.cut(),
                        1 => venue.cut_line('a'),
                        2 => venue.restart(),
                        3..6 => venue.skip(name),
                        _ => tick(&venue, name),
                    }
                    sleep(random.below(40) as u32 * MILLI).await;
                }
                exact(&venue, &log, &names, 60 * SECOND).await;
                let unsynced = |seen: &&Seen| matches!(seen, Seen::Topic(_, "unsynced"));
                assert_eq!(log.all().iter().filter(unsynced).count(), 0);
                close(feed, &log).await;
            });
        }
    }
}

/// The state before says nothing of the new numbers: what was delivered last is no reason to wait, whether the sockets
/// are lost or the venue says it in an update.
#[test]
fn a_book_is_live_within_its_snapshot_after_the_venue_has_begun_its_numbers_anew() {
    for (by, lines) in ALL.into_iter().flat_map(|by| [(by, 1), (by, 2)]) {
        for with_cut in [true, false] {
            simulated(async move {
                let (venue, log, names) = (Venue::default(), Log::default(), names(3));
                venue.state().snapshot_delay = Some(300 * MILLI);
                let quirks = Quirks::default();
                quirks.see().marks_restarts = !with_cut;
                let builder = quirky_books(&venue, &log, by, &quirks).lines(lines);
                let feed = builder.topics(&names).start().unwrap();
                exact(&venue, &log, &names, 10 * SECOND).await;
                for _ in 0..100 {
                    names.iter().for_each(|name| tick(&venue, name));
                    sleep(100 * MILLI).await;
                }
                let dials = venue.state().dials.len();
                venue.begin_anew();
                if with_cut {
                    venue.cut();
                    // The delay of a dial is drawn at random: what counts begins with the first socket.
                    log.until("a dial", |_| venue.state().dials.len() > dials).await;
                }
                let took = exact(&venue, &log, &names, SECOND).await;
                println!("{by:?}, {lines} lines, with a cut: {with_cut}: {took:?}");
                assert!(took >= 300 * MILLI, "{took:?}: that is no snapshot");
                close(feed, &log).await;
            });
        }
    }
}

#[test]
fn a_line_that_comes_back_needs_no_snapshot_while_another_is_live() {
    for by in ALL {
        simulated(async move {
            let (venue, log, names) = (Venue::default(), Log::default(), names(3));
            venue.state().snapshot_delay = Some(300 * MILLI);
            let feed = books(&venue, &log, by).lines(2).topics(&names).start().unwrap();
            exact(&venue, &log, &names, 10 * SECOND).await;
            sleep(SECOND).await;
            let asks = venue.state().asks.len();
            for turn in 0..20 {
                venue.cut_line(if turn % 2 == 0 { 'a' } else { 'b' });
                for _ in 0..100 {
                    names.iter().for_each(|name| tick(&venue, name));
                    sleep(50 * MILLI).await;
                }
            }
            assert!(is_exact(&venue, &log, &names));
            assert_eq!(venue.state().asks.len(), asks, "{by:?}");
            let snapshots = built(&log).values().map(|built| built.snapshots).sum::<usize>();
            assert_eq!(snapshots, 3, "{by:?}: one for each topic");
            close(feed, &log).await;
        });
    }
}

#[test]
fn a_topic_whose_snapshot_never_comes_is_unsynced_and_asked_for_every_ten_minutes() {
    for by in [By::Dialect, By::Closure] {
        simulated(async move {
            let (venue, log, names) = (Venue::default(), Log::default(), names(1));
            let feed = books(&venue, &log, by).topics(&names).start().unwrap();
            confirmed(&log, &names, 1).await;
            venue.tick(&names[0]);
            let begin = Instant::now();
            let unsynced = Seen::Topic(names[0].clone(), "unsynced");
            log.until("unsynced", |seen| seen.contains(&unsynced)).await;
            assert!((92 * SECOND..94 * SECOND).contains(&begin.elapsed()), "{:?}", begin.elapsed());
            assert_eq!(venue.state().asks.len(), 5);
            let behind = log.all().into_iter().skip_while(|seen| *seen != unsynced);
            let expected = [
                unsynced.clone(),
                Seen::Gap(Some(names[0].clone()), None),
                Seen::Update(names[0].clone(), 1),
            ];
            assert_eq!(behind.collect::<Vec<_>>(), expected);
            // Its socket is left alone.
            sleep(300 * SECOND).await;
            let asks = venue.state().asks.len();
            assert_eq!((asks, venue.state().dials.len()), (5, 1));
            venue.state().snapshot_delay = Some(SECOND);
            exact(&venue, &log, &names, 302 * SECOND).await;
            assert_eq!((venue.state().asks.len(), log.count(&unsynced)), (6, 1));
            close(feed, &log).await;
        });
    }
}

#[test]
fn a_handler_that_was_too_slow_for_all_increments_has_the_book_of_the_venue_again() {
    for by in ALL {
        simulated(async move {
            let (venue, log, names) = (Venue::default(), Log::default(), names(2));
            venue.state().snapshot_delay = Some(300 * MILLI);
            let slow = Log::default();
            let (calls, handler) = crate::latest::slow(&slow, 10 * MILLI);
            let feed = books(&venue, &log, by)
                .overflow(Overflow::Latest)
                .on::<event::Update<u64>>(handler.clone().recipient())
                .on::<event::Gap>(handler.recipient())
                .topics(&names)
                .start()
                .unwrap();
            exact(&venue, &log, &names, 10 * SECOND).await;
            // The other topic changes seldom: its increments are not among those that are dropped.
            for turn in 0..4_000 {
                venue.tick(&names[0]);
                if turn % 100 == 0 {
                    venue.tick(&names[1]);
                }
                sleep(MILLI).await;
            }
            let gap = |seen: &Seen| matches!(seen, Seen::Gap(Some(name), _) if *name == names[0]);
            sleep(60 * SECOND).await;
            assert!(slow.all().iter().any(gap), "it has missed some");
            let all = calls.all();
            for name in &names {
                let last = all.iter().rev().find(|call| call.topic == *name).unwrap();
                assert_eq!(last.item, venue.newest(name), "{by:?}");
            }
            // From the last snapshot on nothing is missing.
            let of = |name: &str| all.iter().filter(|call| call.topic == name).collect::<Vec<_>>();
            let first = of(&names[0]);
            let whole = first.iter().rposition(|call| call.is_snapshot).unwrap();
            assert!(whole > 0, "{by:?}: no snapshot after the first");
            let after = first[whole..].windows(2).all(|pair| pair[0].item + 1 == pair[1].item);
            assert!(after, "{by:?}: {:?}", &first[whole..]);
            assert_eq!(of(&names[1]).iter().filter(|call| call.is_snapshot).count(), 1);
            close(feed, &log).await;
        });
    }
}

#[test]
fn the_application_can_ask_for_a_snapshot_of_one_topic() {
    for by in ALL {
        simulated(async move {
            let (venue, log, names) = (Venue::default(), Log::default(), names(2));
            venue.state().snapshot_delay = Some(300 * MILLI);
            let feed: Addr<Feed<u64>> = books(&venue, &log, by).topics(&names).start().unwrap();
            exact(&venue, &log, &names, 10 * SECOND).await;
            for topic in [names[0].as_str(), "unknown"] {
                feed.send(command::Resync::new(topic)).await.unwrap();
            }
            exact(&venue, &log, &names, 10 * SECOND).await;
            sleep(4 * SECOND).await;
            let built = built(&log);
            let snapshots = [&names[0], &names[1]].map(|name| built[name].snapshots);
            assert_eq!(snapshots, [2, 1], "{by:?}");
            close(feed, &log).await;
        });
    }
}

#[test]
fn a_dialect_asks_for_a_snapshot_of_a_topic_whose_checksum_is_wrong() {
    for by in ALL {
        simulated(async move {
            let (venue, log, names) = (Venue::default(), Log::default(), names(2));
            venue.state().snapshot_delay = Some(300 * MILLI);
            let quirks = Quirks::default();
            let builder = quirky_books(&venue, &log, by, &quirks).topics(&names);
            let feed = builder.start().unwrap();
            exact(&venue, &log, &names, 10 * SECOND).await;
            quirks.see().wrong.insert(names[0].clone());
            if by == By::Closure {
                // The dialect does not read the snapshot: it checks no more.
                tick(&venue, &names[0]);
                sleep(100 * MILLI).await;
                quirks.see().wrong.clear();
            }
            exact(&venue, &log, &names, SECOND).await;
            let gap = Seen::Gap(Some(names[0].clone()), None);
            let gaps = log.all().iter().filter(|seen| matches!(seen, Seen::Gap(..))).count();
            assert_eq!((log.count(&gap), gaps), (1, 1), "{by:?}");
            let built = built(&log);
            let snapshots = [&names[0], &names[1]].map(|name| built[name].snapshots);
            assert_eq!(snapshots, [2, 1], "{by:?}");
            let figures = feed.send(command::Status).await.unwrap().figures;
            assert_eq!((figures.gaps, figures.resyncs), (1, 3), "{by:?}");
            close(feed, &log).await;
        });
    }
}

#[test]
fn a_topic_whose_checksum_no_snapshot_mends_is_unsynced_and_leaves_the_others() {
    for by in ALL {
        simulated(async move {
            let (venue, log, names) = (Venue::default(), Log::default(), names(2));
            venue.state().snapshot_delay = Some(300 * MILLI);
            let quirks = Quirks::default();
            let builder = quirky_books(&venue, &log, by, &quirks).topics(&names);
            let feed = builder.start().unwrap();
            exact(&venue, &log, &names, 10 * SECOND).await;
            let (asks, begin) = (venue.state().asks.len(), Instant::now());
            quirks.see().ever_wrong.insert(names[0].clone());
            let unsynced = Seen::Topic(names[0].clone(), "unsynced");
            while log.count(&unsynced) == 0 {
                names.iter().for_each(|name| tick(&venue, name));
                sleep(100 * MILLI).await;
                assert!(begin.elapsed() < 60 * SECOND);
            }
            // After 0, 3, 6, 12 and 24 s, and the time of each snapshot.
            assert!(begin.elapsed() > 45 * SECOND, "{:?}", begin.elapsed());
            if by != By::Subscription {
                assert_eq!(venue.state().asks.len() - asks, 5, "{by:?}");
            }
            exact(&venue, &log, &names[1..], SECOND).await;
            assert_eq!((built(&log)[&names[1]].snapshots, venue.state().dials.len()), (1, 1));
            assert_eq!(log.count(&Seen::Topic(names[1].clone(), "unsynced")), 0);
            close(feed, &log).await;
        });
    }
}

#[test]
fn without_a_resync_a_checksum_changes_nothing() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(1));
        let quirks = Quirks::default();
        quirks.see().ever_wrong.insert(names[0].clone());
        let resync = Resync::by_dialect().topics(|_| false);
        let builder = quirky_books(&venue, &log, By::Dialect, &quirks).resync(resync);
        let feed = builder.topics(&names).start().unwrap();
        confirmed(&log, &names, 1).await;
        (0..5).for_each(|_| tick(&venue, &names[0]));
        log.until("five updates", |seen| seen.contains(&Seen::Update(names[0].clone(), 5))).await;
        let gaps = log.all().iter().filter(|seen| matches!(seen, Seen::Gap(..))).count();
        assert_eq!((venue.state().asks.len(), gaps), (0, 0));
        close(feed, &log).await;
    });
}

#[test]
fn a_closure_that_fails_is_called_again_and_one_that_fails_for_good_is_not() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(2));
        let (calls, for_good) = (AtomicUsize::new(0), names[1].clone());
        let resync = Resync::with(async move |topic: Topic| {
            if *topic == *for_good {
                return Err(Failure::new("no such book").for_good());
            }
            match calls.fetch_add(1, Ordering::Relaxed) {
                0 => Err(Failure::new("busy")),
                1 => panic!("a parser without a check"),
                _ => Ok((Sequence::contiguous(0, 0), 0)),
            }
        });
        let feed = books(&venue, &log, By::Closure).resync(resync).topics(&names).start().unwrap();
        confirmed(&log, &names, 1).await;
        let begin = Instant::now();
        log.until("unsynced", |seen| seen.contains(&Seen::Topic(names[1].clone(), "unsynced")))
            .await;
        assert!(begin.elapsed() < SECOND);
        log.until("a snapshot", |seen| seen.contains(&Seen::Snapshot(names[0].clone(), 0))).await;
        assert!((9 * SECOND..10 * SECOND).contains(&begin.elapsed()), "{:?}", begin.elapsed());
        close(feed, &log).await;
    });
}

#[test]
fn topics_without_snapshots_are_delivered_as_ever() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(2));
        let plain = names[1].clone();
        let resync = Resync::by_dialect().topics(move |topic| topic != plain);
        let feed = books(&venue, &log, By::Dialect).resync(resync).topics(&names).start().unwrap();
        confirmed(&log, &names, 1).await;
        names.iter().for_each(|name| tick(&venue, name));
        log.until("an update", |seen| seen.contains(&Seen::Update(names[1].clone(), 1))).await;
        assert!(!log.all().contains(&Seen::Update(names[0].clone(), 1)), "it is held");
        assert_eq!(venue.state().asks.len(), 1);
        close(feed, &log).await;
    });
}
