//! A recorded feed that is replayed gives its handlers the same updates, gaps and states, in the same order.
//!
//! In simulated time. `REPLAY_RUNS` says how many random feeds are recorded and replayed. Of one that differs the recording is
//! kept.
#![cfg(feature = "record")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix::fut::wrap_future;
use actix::{Actor, Addr, AsyncContext, Context, Handler};
use actix_ws_client::feed::event::{self, LineIs, Rotated};
use actix_ws_client::feed::{
    Builder, Dialect, Failure, Feed, Overflow, Replay, Request, RequestId, Resync, Rotate, Rules,
    SECOND, Said, Sequence, ShardId, Silence, Threads, Topic, command,
};
use actix_ws_client::record::{Reader, Recorder, What};
use actix_ws_client::{Budget, ConnectionBuilder, View};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};
use venue::{Venue, Words};

#[path = "feed/venue.rs"]
#[expect(dead_code, reason = "other tests need all of it")]
mod venue;

const MILLI: Duration = Duration::from_millis(1);
/// The seconds of a day.
const DAY: u64 = 24 * 3600;

/// A directory that is deleted at the end, unless the test fails.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("replay-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the recording is {}", self.0.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// Numbers that depend on a seed alone.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// What the handler got, of each shard in order: its time and what it was.
type Told = BTreeMap<ShardId, Vec<(Option<Instant>, String)>>;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Told>>);

impl Log {
    fn add(&self, shard: ShardId, at: Option<Instant>, text: String) {
        self.0.lock().unwrap().entry(shard).or_default().push((at, text));
    }

    /// Returns all of it, with times counted from the first.
    fn lines(&self) -> BTreeMap<ShardId, Vec<String>> {
        let told = self.0.lock().unwrap();
        let first = told.values().flatten().filter_map(|(at, _)| *at).min();
        let line = |(at, text): &(Option<Instant>, String)| match (at, first) {
            (Some(at), Some(first)) => format!("{:?} {text}", *at - first),
            _ => text.clone(),
        };
        told.iter().map(|(shard, all)| (*shard, all.iter().map(line).collect())).collect()
    }
}

/// A handler that is slow for a time after each so many updates.
struct Book {
    log: Log,
    slow: Option<(u64, Duration)>,
    updates: u64,
    stopped: Option<tokio::sync::oneshot::Sender<Option<String>>>,
}

impl Actor for Book {
    type Context = Context<Book>;
}

impl Handler<event::Update<u64>> for Book {
    type Result = ();

    fn handle(&mut self, update: event::Update<u64>, ctx: &mut Context<Book>) {
        let event::Update { line, epoch, topic, sequence, snapshot, item, .. } = update;
        let text = format!("{line} {epoch} {topic} {sequence:?} {snapshot} {item}");
        self.log.add(line.shard, Some(update.received), text);
        self.updates += 1;
        if let Some((every, time)) = self.slow
            && self.updates.is_multiple_of(every)
        {
            ctx.wait(wrap_future(sleep(time)));
        }
    }
}

impl Handler<event::Gap> for Book {
    type Result = ();

    fn handle(&mut self, gap: event::Gap, _: &mut Context<Book>) {
        let event::Gap { line, epoch, topic, missing, cause, last_at, next_at, .. } = gap;
        let text = format!("gap {line} {epoch} {topic:?} {missing:?} {cause}");
        self.log.add(line.shard, last_at, format!("{text}, last"));
        self.log.add(line.shard, next_at, format!("{text}, next"));
    }
}

impl Handler<event::TopicState> for Book {
    type Result = ();

    fn handle(&mut self, state: event::TopicState, _: &mut Context<Book>) {
        let event::TopicState { line, epoch, topic, state, .. } = state;
        let (at, state) = match state {
            event::TopicIs::Silent { since } => (Some(since), "silent".to_owned()),
            state => (None, format!("{state:?}")),
        };
        self.log.add(line.shard, at, format!("{line} {epoch} {topic} {state}"));
    }
}

impl Handler<event::LineState> for Book {
    type Result = ();

    fn handle(&mut self, state: event::LineState, _: &mut Context<Book>) {
        let event::LineState { line, epoch, state, led, .. } = state;
        let (at, state) = match state {
            LineIs::Silent { since } => (Some(since), "silent".to_owned()),
            // Of an error the text is recorded.
            LineIs::Down { cause } => (None, format!("down {:?}", cause.map(|it| it.to_string()))),
            state => (None, format!("{state:?}")),
        };
        self.log.add(line.shard, at, format!("{line} {epoch} {state} {led}"));
    }
}

impl Handler<Rotated> for Book {
    type Result = ();

    fn handle(&mut self, rotated: Rotated, _: &mut Context<Book>) {
        self.log.add(rotated.from.shard, None, format!("{rotated:?}"));
    }
}

impl Handler<event::Stopped> for Book {
    type Result = ();

    fn handle(&mut self, stopped: event::Stopped, _: &mut Context<Book>) {
        let refusal = stopped.refusal.map(|refusal| refusal.to_string());
        drop(self.stopped.take().map(|it| it.send(refusal)));
    }
}

/// The venue's words, perhaps without the numbers of updates, and with requests for snapshots or without.
struct Maybe {
    words: Words,
    is_numbered: bool,
    asks: bool,
    /// The number of the attempt that opened the socket. Each item has it.
    attempt: u64,
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
        self.asks.then(|| self.words.snapshot(id, topic)).flatten()
    }

    fn heartbeat(&mut self) -> Option<Request> {
        self.words.heartbeat()
    }

    fn read<'m>(&'m mut self, message: View<'m>) -> Said<'m, u64> {
        match self.words.read(message) {
            Said::Data { topic, sequence, item, .. } => {
                let sequence = if self.is_numbered { sequence } else { Sequence::none() };
                Said::data(topic, sequence, item + 1_000_000 * self.attempt)
            }
            said => said,
        }
    }
}

/// What a run is made of.
#[derive(Clone, Debug)]
struct Plan {
    lines: u8,
    topics: u64,
    topics_per_line: usize,
    logs_in: bool,
    is_numbered: bool,
    /// By the dialect, by a closure, or not at all.
    resync: u64,
    overflow: Overflow,
    silence: Option<Duration>,
    rotate: Option<Duration>,
    /// Hours of the day in which lines are rotated, in place of the age: they begin soon, for a line that is opened in them is
    /// not rotated. The wall clock is not simulated, and stands still.
    hours: Option<(Duration, Duration)>,
    break_first: bool,
    heartbeat: Option<Duration>,
    frames: u32,
    sockets: Option<u32>,
    slow: Option<(u64, Duration)>,
    /// The bounds of a send buffer and of the bytes on the way, so that requests wait.
    buffer: Option<(usize, usize)>,
    /// The number of bursts, each of which is large enough for the shard to hold its lines.
    bursts: u64,
    turns: u64,
}

impl Plan {
    fn draw(random: &mut Random) -> Plan {
        let lines = 1 + random.below(3) as u8;
        let topics = 1 + random.below(8);
        let millis = |count: u64| Duration::from_millis(count);
        let bursts = if random.one_in(12) { 1 + random.below(3) } else { 0 };
        let overflow = if random.one_in(6) { Overflow::Latest } else { Overflow::Wait };
        let slow = random.one_in(3).then(|| (1 + random.below(20), millis(1 + random.below(400))));
        let slow_in_bursts = (5 + random.below(20), millis(5 + random.below(40)));
        let buffer = (40 + random.below(80) as usize, 32 + random.below(128) as usize);
        Plan {
            lines,
            topics,
            topics_per_line: if random.one_in(3) { 3 } else { 100 },
            logs_in: random.one_in(2),
            is_numbered: !random.one_in(4),
            resync: random.below(4),
            overflow: if bursts > 0 { Overflow::Wait } else { overflow },
            silence: random.one_in(3).then(|| millis(2_000 + random.below(8_000))),
            rotate: random.one_in(2).then(|| millis(3_000 + random.below(60_000))),
            hours: random.one_in(4).then(|| {
                let day = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() % DAY;
                let begin = day + 3 + random.below(20);
                let end = begin + 1 + random.below(40);
                (Duration::from_secs(begin % DAY), Duration::from_secs(end % DAY))
            }),
            break_first: random.one_in(2),
            heartbeat: random.one_in(3).then(|| millis(1_000 + random.below(4_000))),
            frames: if random.one_in(3) { 5 + random.below(5) as u32 } else { 100 },
            sockets: random.one_in(4).then(|| u32::from(lines) + random.below(2) as u32),
            slow: if bursts > 0 { Some(slow_in_bursts) } else { slow },
            buffer: random.one_in(4).then_some(buffer),
            bursts,
            turns: 20 + random.below(200),
        }
    }

    fn names(&self) -> Vec<String> {
        (0..self.topics).map(|number| format!("t{number}")).collect()
    }

    /// Returns the builder of the feed, with a handler.
    fn builder(&self, venue: &Venue, log: &Log, slow: Option<(u64, Duration)>) -> Run {
        let (stopped, ends) = tokio::sync::oneshot::channel();
        let book = Book { log: log.clone(), slow, updates: 0, stopped: Some(stopped) }.start();
        let tokens = AtomicUsize::new(0);
        let Plan { logs_in, is_numbered, resync, .. } = *self;
        let (dialled, asked) = (venue.clone(), venue.clone());
        let rules =
            Rules::default().frames(self.frames, SECOND).topics_per_line(self.topics_per_line);
        let rules = self.heartbeat.into_iter().fold(rules, Rules::heartbeat);
        let buffer = self.buffer.map(|(bytes, _)| bytes);
        let rules = buffer.iter().fold(rules, |rules, _| rules.topics_per_frame(1));
        let mut builder = Feed::builder(async move |attempt| {
            let number = tokens.fetch_add(1, Ordering::Relaxed);
            let token = format!("{}{number}", char::from(b'a' + attempt.line.line));
            let url = format!("ws://venue/?{token}");
            let (words, attempt) = (Words { token, logs_in }, attempt.number.into());
            Ok(Maybe { words, is_numbered, asks: resync == 1, attempt }.at(url))
        })
        .threads(Threads::Here)
        .lines(self.lines)
        .rules(rules)
        .overflow(self.overflow)
        .topics(self.names())
        .connection(move |builder| {
            let venue = dialled.clone();
            let builder = buffer.into_iter().fold(builder, ConnectionBuilder::send_buffer);
            builder.transport_with(move |_, _| venue.accept())
        })
        .handler(&book)
        .on::<event::LineState>(book.clone().recipient())
        .on::<Rotated>(book.clone().recipient())
        .on::<event::Stopped>(book.recipient());
        if let Some(limit) = self.silence {
            builder = builder.silence(Silence::topic(limit));
        }
        if let Some(age) = self.rotate {
            let rotate = match self.hours {
                Some((from, to)) => Rotate::default().hours(from, to),
                None => Rotate::at_age(age),
            };
            builder = builder.rotate(if self.break_first { rotate.break_first() } else { rotate });
        }
        if let Some(sockets) = self.sockets {
            builder = builder.budget(&Budget::dials(50, SECOND).sockets(sockets));
        }
        if resync == 1 {
            builder = builder.resync(Resync::by_dialect());
        } else if resync == 2 {
            let whole = Resync::with(async move |topic: Topic| {
                if asked.newest(&topic) % 7 == 3 {
                    return Err(Failure::new("not now"));
                }
                let number = asked.whole(&topic).await;
                Ok((Sequence::contiguous(number, number), number))
            });
            let read = |bytes: &[u8]| Ok(u64::from_le_bytes(bytes.try_into()?));
            builder = builder.resync(whole.stored(|item| item.to_le_bytes().to_vec(), read));
        }
        Run { builder, ends }
    }
}

struct Run {
    builder: Builder<Maybe>,
    /// How it has stopped.
    ends: tokio::sync::oneshot::Receiver<Option<String>>,
}

/// Runs a test in simulated time.
fn simulated<F: Future<Output = ()> + 'static>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// Does at random what can happen to a feed.
async fn live(plan: &Plan, random: &mut Random, venue: &Venue, feed: &Addr<Feed<u64>>) {
    let names = plan.names();
    let (mut is_paused, mut bursts) = (false, plan.bursts);
    for _ in 0..plan.turns {
        if bursts > 0 && random.one_in(8) {
            bursts -= 1;
            for _ in 0..5_000 {
                venue.tick(&names[random.below(plan.topics) as usize]);
            }
        }
        let name = &names[random.below(plan.topics) as usize];
        let letter = char::from(b'a' + random.below(u64::from(plan.lines)) as u8);
        match random.below(40) {
            0 => venue.cut(),
            1 | 2 => venue.cut_line(letter),
            3 => venue.freeze_line(letter),
            4 => drop(venue.state().lags.insert(letter, random.below(900) as u32 * MILLI)),
            5 => venue.restart(),
            6 => venue.skip(name),
            7 => feed.do_send(command::Remove::new([name])),
            8 | 9 => feed.do_send(command::Add::new([name])),
            10 => feed.do_send(command::Rotate::default()),
            11 => feed.do_send(command::Resync::new(name)),
            12 if is_paused => {
                feed.do_send(command::Resume);
                is_paused = false;
            }
            12 if random.one_in(2) => {
                feed.do_send(command::Pause);
                is_paused = true;
            }
            13 => venue.state().accept_delay = random.below(2_000) as u32 * MILLI,
            14 => venue.state().retry_after = Some(random.below(3)),
            15 => drop(venue.state().unknown.insert(name.clone())),
            16 => venue.state().unknown.clear(),
            17 => venue.state().snapshot_delay = random.one_in(3).then(|| 2 * SECOND),
            18 => venue.state().snapshot_delay = Some(random.below(3_000) as u32 * MILLI),
            19 => venue.state().delay = random.below(1_500) as u32 * MILLI,
            20 => venue.close_line(letter, [1000, 1001, 1008, 1012][random.below(4) as usize]),
            21 => {
                // The old line or the new one is lost while the new one has not taken over.
                feed.do_send(command::Rotate::default());
                sleep(random.below(400) as u32 * MILLI).await;
                venue.cut_line(letter);
            }
            22..25 if plan.buffer.is_some() => {
                let deaf = random.below(5_000) as u32 * MILLI;
                venue.state().deaf_until = Some(tokio::time::Instant::now() + deaf);
                venue.cut_line(letter);
            }
            _ => {
                for _ in 0..1 + random.below(30) {
                    venue.tick(&names[random.below(plan.topics) as usize]);
                }
            }
        }
        let pause = [0, 1, 40, 300, 3_000][random.below(5) as usize];
        sleep(random.below(pause + 1) as u32 * MILLI).await;
    }
}

/// Records a random feed. Returns what its handler got.
async fn recorded(plan: &Plan, random: &mut Random, path: &Path) -> Log {
    let recorder = Recorder::builder(path).queue_bytes(1 << 30).start().unwrap();
    let (venue, log) = (Venue::default(), Log::default());
    {
        let mut state = venue.state();
        state.snapshot_delay = Some(50 * MILLI);
        state.ping_every = random.one_in(2).then_some(1_700 * MILLI);
        state.in_flight = plan.buffer.map_or(0, |(_, in_flight)| in_flight);
    }
    let Run { builder, ends } = plan.builder(&venue, &log, plan.slow);
    let feed = builder.record(&recorder).start().unwrap();
    live(plan, random, &venue, &feed).await;
    if !random.one_in(8) {
        feed.do_send(command::Close::default());
    }
    drop(feed);
    timeout(6_000 * SECOND, ends).await.expect("it ends").expect("it ends");
    assert!(recorder.close(Duration::from_secs(60)));
    assert_eq!(recorder.figures().dropped, 0);
    log
}

/// Replays a recording. Returns what the handler got.
async fn replayed(plan: &Plan, replay: Replay, slow: Option<(u64, Duration)>) -> Log {
    let (venue, log) = (Venue::default(), Log::default());
    let Run { builder, ends } = plan.builder(&venue, &log, slow);
    let feed = builder.replay(replay.clone()).unwrap();
    let refusal = timeout(60_000 * SECOND, ends).await.expect("it ends").expect("it ends");
    let report = replay.report();
    assert_eq!((report.error, report.missing, report.torn), (None, 0, None), "{refusal:?}");
    assert!(report.has_ended);
    assert_eq!(venue.state().dials.len(), 0, "nothing is dialled");
    drop(feed);
    log
}

/// Compares what was delivered.
fn assert_same(live: &Log, again: &Log, seed: u64, plan: &Plan) {
    let (live, again) = (live.lines(), again.lines());
    let shards = |all: &BTreeMap<ShardId, Vec<String>>| all.keys().copied().collect::<Vec<_>>();
    assert_eq!(shards(&live), shards(&again), "seed {seed}: {plan:?}");
    for (shard, live) in &live {
        let again = &again[shard];
        let at = live.iter().zip(again).position(|(one, other)| one != other);
        if at.is_some() || live.len() != again.len() {
            let at = at.unwrap_or(live.len().min(again.len()));
            let part = |all: &[String]| all[at.saturating_sub(5)..all.len().min(at + 5)].join("\n");
            panic!(
                "seed {seed}, shard {shard}: {} and {} events differ at {at}\nlive:\n{}\nreplayed:\n{}\n{plan:?}",
                live.len(),
                again.len(),
                part(live),
                part(again)
            );
        }
    }
}

/// What all runs had together.
#[derive(Default)]
struct Sum {
    events: AtomicU64,
    gaps: AtomicU64,
    rotations: AtomicU64,
    snapshots: AtomicU64,
    /// Gaps caused by a rotation, and Close frames of the venue that are reported with their code.
    rotated: AtomicU64,
    closed: AtomicU64,
    /// The turns after which the lines were held, and those that found something outside.
    holds: AtomicU64,
    limits: AtomicU64,
    unsent: AtomicU64,
    answers: AtomicU64,
}

impl Sum {
    fn add(&self, log: &Log) {
        let count = |sum: &AtomicU64, holds: &dyn Fn(&str) -> bool| {
            let lines = log.lines();
            let count = lines.values().flatten().filter(|line| holds(line)).count();
            sum.fetch_add(count as u64, Ordering::Relaxed);
        };
        count(&self.events, &|_| true);
        count(&self.gaps, &|line| line.contains("gap "));
        count(&self.rotations, &|line| line.contains("Rotated") && line.contains("Done"));
        count(&self.snapshots, &|line| line.contains("} true "));
        count(&self.rotated, &|line| line.contains("gap ") && line.contains("rotation"));
        count(&self.closed, &|line| line.contains("the venue closes"));
    }

    /// Adds what the turns of a recording have found.
    fn add_turns(&self, path: &Path) {
        let mut files: Vec<_> =
            std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for entry in files.iter().flat_map(|path| Reader::open(path).unwrap()) {
            let What::Event(_, event) = entry.unwrap().what else { continue };
            for note in event["notes"].as_array().into_iter().flatten() {
                if note[0] != "turn" {
                    continue;
                }
                let found = |at: usize| note[3][at].as_array().map_or(0, Vec::len) as u64;
                let holds = note[4].as_u64().unwrap();
                for (sum, count) in [
                    (&self.holds, holds),
                    (&self.limits, found(0)),
                    (&self.unsent, found(1)),
                    (&self.answers, found(3)),
                ] {
                    sum.fetch_add(count, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Records and replays one random feed.
fn run(seed: u64, sum: &Arc<Sum>) {
    let directory = Directory::new(&seed.to_string());
    let (path, sum) = (directory.0.clone(), sum.clone());
    simulated(async move {
        let mut random = Random(seed);
        let plan = Plan::draw(&mut random);
        let live = recorded(&plan, &mut random, &path).await;
        let replay = Replay::open(&path).unwrap();
        let replay = if seed.is_multiple_of(2) { replay.unpaced() } else { replay.speed(3.0) };
        let slow = random.one_in(4).then_some((7, 20 * MILLI));
        // With `Latest` the handler missed what is not repeated.
        let again = replayed(&plan, replay, slow).await;
        if plan.overflow == Overflow::Wait {
            assert_same(&live, &again, seed, &plan);
        }
        sum.add(&live);
        sum.add_turns(&path);
    });
}

#[test]
fn a_recorded_feed_that_is_replayed_delivers_the_same_in_the_same_order() {
    let runs: u64 =
        std::env::var("REPLAY_RUNS").map_or(200, |text| text.parse().expect("a number"));
    let first: u64 = std::env::var("REPLAY_SEED").map_or(0, |text| text.parse().expect("a number"));
    let (next, sum) = (AtomicU64::new(first), Arc::new(Sum::default()));
    let several = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    std::thread::scope(|scope| {
        for _ in 0..several {
            scope.spawn(|| {
                while let Some(seed) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < first + runs)
                {
                    run(seed, &sum);
                }
            });
        }
    });
    let of = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
    let counts = [&sum.events, &sum.gaps, &sum.rotations, &sum.snapshots].map(of);
    let causes = [&sum.rotated, &sum.closed].map(of);
    let found = [&sum.holds, &sum.limits, &sum.unsent, &sum.answers].map(of);
    let [events, gaps, rotations, snapshots] = counts;
    let ([rotated, closed], [holds, limits, unsent, answers]) = (causes, found);
    println!(
        "{runs} runs: {events} events, {gaps} gaps, {rotated} of them by rotations, {rotations} rotations, {closed} closes by the venue, \
         {snapshots} snapshots; \
         turns with lines held: {holds}, limits: {limits}, requests that wait: {unsent}, snapshots of a closure: {answers}"
    );
    let all = [&counts[..], &causes[..], &found[..]].concat();
    assert!(runs < 100 || all.iter().all(|count| *count >= runs / 20), "{all:?}");
}

/// Records a feed of three topics on one line that updates come for, and returns what its handler got.
async fn three_topics(plan: &Plan, path: &Path, updates: u64) -> Log {
    let recorder = Recorder::builder(path).start().unwrap();
    let log = three_topics_by(&recorder, plan, updates).await;
    assert_eq!(recorder.figures().dropped, 0);
    log
}

async fn three_topics_by(recorder: &Recorder, plan: &Plan, updates: u64) -> Log {
    let (venue, log) = (Venue::default(), Log::default());
    venue.state().snapshot_delay = Some(50 * MILLI);
    let Run { builder, ends } = plan.builder(&venue, &log, None);
    let feed = builder.record(recorder).start().unwrap();
    while venue.subscribed().len() < 3 {
        sleep(10 * MILLI).await;
    }
    for number in 0..updates {
        venue.tick(&format!("t{}", number % 3));
        sleep(100 * MILLI).await;
        // A chunk.
        assert!(number % 100 != 99 || recorder.flush(Duration::from_secs(60)));
    }
    feed.send(command::Close::default()).await.unwrap();
    ends.await.unwrap();
    assert!(recorder.close(Duration::from_secs(60)));
    log
}

fn simple() -> Plan {
    Plan {
        lines: 1,
        topics: 3,
        topics_per_line: 100,
        logs_in: true,
        is_numbered: true,
        resync: 0,
        overflow: Overflow::Wait,
        silence: None,
        rotate: None,
        hours: None,
        break_first: false,
        heartbeat: None,
        frames: 100,
        sockets: None,
        slow: None,
        buffer: None,
        bursts: 0,
        turns: 0,
    }
}

/// Replays a recording that cannot be replayed to its end. Returns why, and what the handler got.
async fn refused(plan: &Plan, replay: Replay) -> (String, Log) {
    let (venue, log) = (Venue::default(), Log::default());
    let Run { builder, ends } = plan.builder(&venue, &log, None);
    let feed = builder.replay(replay.clone()).unwrap();
    let refusal = timeout(60 * SECOND, ends).await.expect("it ends").unwrap().expect("a reason");
    drop(feed);
    let error = replay.report().error.expect("a reason");
    assert_eq!(refusal, format!("replay: {error}"));
    (error.to_string(), log)
}

/// A shard that took a core while its lines were paused, one that did in its close, and one whose replay asked for
/// snapshots in another order.
#[test]
fn what_random_replays_have_found_stays_mended() {
    let sum = Arc::new(Sum::default());
    for seed in [654, 7650, 3157] {
        run(seed, &sum);
    }
    assert!(sum.events.load(Ordering::Relaxed) > 100);
}

#[test]
fn a_replay_is_as_fast_as_it_is_told_and_says_how_far_it_is() {
    let directory = Directory::new("speed");
    let path = directory.0.clone();
    simulated(async move {
        let plan = simple();
        let live = three_topics(&plan, &path, 100).await;
        for (speed, least, most) in
            [(Some(1.0), 9_900, 11_000), (Some(10.0), 990, 1_100), (None, 0, 5)]
        {
            let replay = Replay::open(&path).unwrap();
            let replay = speed.map_or(replay.clone().unpaced(), |times| replay.speed(times));
            let begin = tokio::time::Instant::now();
            let again = replayed(&plan, replay.clone(), None).await;
            let took = begin.elapsed().as_millis();
            assert!((least..=most).contains(&took), "{speed:?}: {took} ms");
            assert_same(&live, &again, 0, &plan);
            // The updates, the answers to the login and to the subscription.
            assert_eq!(replay.report().messages, 102);
        }
    });
}

#[test]
fn a_replay_answers_status_and_ends_when_it_is_closed() {
    let directory = Directory::new("closed");
    let path = directory.0.clone();
    simulated(async move {
        let plan = simple();
        three_topics(&plan, &path, 100).await;
        let (venue, log) = (Venue::default(), Log::default());
        let Run { builder, ends } = plan.builder(&venue, &log, None);
        let replay = Replay::open(&path).unwrap();
        let feed = builder.replay(replay.clone()).unwrap();
        sleep(5 * SECOND).await;
        let status = feed.send(command::Status).await.unwrap();
        assert_eq!((status.figures.confirmed, status.lines.len()), (3, 1), "{status:?}");
        assert!((45..55).contains(&status.figures.delivered), "{status:?}");
        let age = status.lines[0].last_data.expect("it had data");
        assert!(age <= 150 * MILLI, "of the recorded time: {age:?}");
        let added = feed.send(command::Add::new(["t9"])).await.unwrap();
        assert_eq!(added, [("t9".into(), command::Answer::Closed)]);
        feed.send(command::Close::default()).await.unwrap();
        assert_eq!(ends.await.unwrap(), None);
        let report = replay.report();
        assert!(report.has_ended && report.error.is_none() && report.messages < 60, "{report:?}");
    });
}

#[test]
fn a_recording_that_cannot_be_replayed_says_why() {
    let directory = Directory::new("refused");
    let path = directory.0.clone();
    simulated(async move {
        let open = |path: &Path| Replay::open(path).unwrap().unpaced();
        let missing = Replay::open(path.join("none")).unwrap_err();
        assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
        std::fs::create_dir_all(&path).unwrap();
        let empty = Replay::open(&path).unwrap_err();
        assert_eq!(empty.to_string(), "there is no file ending in .mcap");

        let (plan, run) = (simple(), path.join("run"));
        three_topics(&plan, &run, 10).await;
        let two = Plan { lines: 2, ..plan.clone() };
        let (why, _) = refused(&two, open(&run)).await;
        assert_eq!(
            why,
            "the feed was recorded with 1 line(s) for each topic, and is replayed with 2"
        );
        let rotating = Plan { rotate: Some(60 * SECOND), ..plan.clone() };
        let (why, log) = refused(&rotating, Replay::files([&run.join("..")]).unwrap()).await;
        assert!(why.contains("directory") && log.lines().is_empty(), "{why}");

        let files = |path: &Path| -> Vec<PathBuf> {
            std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect()
        };
        let twice = [files(&run), files(&run)].concat();
        let (why, _) = refused(&plan, Replay::files(&twice).unwrap().unpaced()).await;
        let name = name_of(&twice[0]);
        assert_eq!(
            why,
            format!("the files are not in their order: {name} is file 1, and {name} is file 1")
        );

        let (plan, other) = (Plan { resync: 2, ..plan }, path.join("other"));
        three_topics(&plan, &other, 10).await;
        let both = [files(&run), files(&other)].concat();
        let (why, _) = refused(&plan, Replay::files(&both).unwrap().unpaced()).await;
        let name = name_of(&both[1]);
        assert_eq!(why, format!("{name} is a file of another recording: replay its files apart"));
        let (venue, log) = (Venue::default(), Log::default());
        let Run { builder, ends } = plan.builder(&venue, &log, None);
        let builder = builder.resync(Resync::with(async |_| Err(Failure::new("none"))));
        let feed = builder.replay(open(&other)).unwrap();
        let why = ends.await.unwrap().expect("a reason");
        assert_eq!(why, "replay: the feed is replayed without Resync::stored");
        drop(feed);
    });
}

/// Records a feed into many small files, in the order of which it returns them, with what the handler got.
async fn many_files(path: &Path, name: &str) -> (Vec<PathBuf>, Log) {
    let recorder = Recorder::builder(path).name(name).file_bytes(1).start().unwrap();
    let live = three_topics_by(&recorder, &simple(), 500).await;
    assert_eq!(recorder.figures().dropped, 0);
    let all = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let is_it = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(name);
    let mut files: Vec<PathBuf> = all.filter(is_it).collect();
    files.sort();
    (files, live)
}

/// Whether a file has a step.
fn has_step(path: &PathBuf) -> bool {
    let mut entries = Reader::open(path).unwrap().map(Result::unwrap);
    entries.any(|entry| matches!(entry.what, What::Event(kind, _) if &*kind == "step"))
}

fn name_of(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn a_recording_of_several_files_is_replayed_in_their_order_and_not_without_the_first() {
    let directory = Directory::new("files");
    let path = directory.0.clone();
    simulated(async move {
        let (files, live) = many_files(&path, "a").await;
        let replay = Replay::open(&path).unwrap().unpaced();
        assert_same(&live, &replayed(&simple(), replay, None).await, 0, &simple());
        let with_steps = files.iter().filter(|path| has_step(path)).count();
        let first = files.iter().position(has_step).unwrap();
        assert!(with_steps > 2, "{files:?}");
        let replay = Replay::files(&files[first + 1..]).unwrap().unpaced();
        let (why, log) = refused(&simple(), replay).await;
        let (oldest, number) = (name_of(&files[first + 1]), first + 2);
        assert_eq!(
            why,
            format!(
                "the beginning of shard 1 is missing in the recording: {oldest} is its file {number}, and no earlier one is \
                 there. A feed is replayed from its start, and `keep_bytes` (`--record-keep`) deletes the oldest files"
            )
        );
        assert!(log.lines().is_empty());
    });
}

#[test]
fn a_replay_ends_where_a_file_is_missing_and_says_which() {
    let directory = Directory::new("middle");
    let path = directory.0.clone();
    simulated(async move {
        let (files, live) = many_files(&path, "a").await;
        let steps: Vec<usize> = (0..files.len()).filter(|at| has_step(&files[*at])).collect();
        let gone = steps[steps.len() / 2];
        std::fs::remove_file(&files[gone]).unwrap();
        let (why, log) = refused(&simple(), Replay::open(&path).unwrap().unpaced()).await;
        let (before, after) = (name_of(&files[gone - 1]), name_of(&files[gone + 1]));
        let [last, missing, next] = [gone, gone + 1, gone + 2];
        assert_eq!(
            why,
            format!(
                "file {missing} of the recording is missing: {before} is file {last}, and {after} is file {next}"
            )
        );
        let (live, log) = (live.lines(), log.lines());
        let [live, log] = [&live, &log].map(|all| &all[&ShardId(1)]);
        assert!(live.starts_with(log) && log.len() < live.len() && log.len() > 50, "{log:?}");
    });
}

#[test]
fn the_remains_of_an_older_recording_are_passed_over() {
    let directory = Directory::new("remains");
    let path = directory.0.clone();
    simulated(async move {
        let (old, _) = many_files(&path, "a").await;
        let (new, live) = many_files(&path, "b").await;
        let first = old.iter().position(has_step).unwrap();
        old[..=first].iter().for_each(|path| std::fs::remove_file(path).unwrap());
        let replay = Replay::open(&path).unwrap().unpaced();
        assert_same(&live, &replayed(&simple(), replay.clone(), None).await, 0, &simple());
        let passed_over = replay.report().passed_over;
        assert!(!passed_over.is_empty() && old.ends_with(&passed_over), "{passed_over:?}");
        // The beginnings of both are missing.
        let first = new.iter().position(has_step).unwrap();
        new[..=first].iter().for_each(|path| std::fs::remove_file(path).unwrap());
        let (why, _) = refused(&simple(), Replay::open(&path).unwrap().unpaced()).await;
        let (oldest, number) = (name_of(&old[first + 1]), first + 2);
        let known = format!(
            "the beginning of shard 1 is missing in the recording: {oldest} is its file {number},"
        );
        assert!(why.starts_with(&known), "{why}");
    });
}

#[test]
fn a_replay_ends_where_steps_are_missing_and_goes_on_without_messages() {
    let directory = Directory::new("dropped");
    let path = directory.0.clone();
    simulated(async move {
        let plan = simple();
        // There is room for one message or step at a time: which ones is up to the threads.
        let recorder = Recorder::builder(&path).queue_bytes(1).start().unwrap();
        three_topics_by(&recorder, &plan, 500).await;
        assert!(recorder.figures().dropped > 0);
        let (why, _) = refused(&plan, Replay::open(&path).unwrap().unpaced()).await;
        let is_known = ["the recorder has dropped", "the beginning of shard 1 is missing"];
        assert!(is_known.iter().any(|known| why.starts_with(known)), "{why}");
    });
}

#[test]
fn the_journal_holds_no_request() {
    let directory = Directory::new("secrets");
    let path = directory.0.clone();
    simulated(async move {
        three_topics(&simple(), &path, 10).await;
        for file in std::fs::read_dir(&path).unwrap() {
            let reader = Reader::open(file.unwrap().path()).unwrap();
            let entries: Vec<_> = reader.map(|entry| format!("{:?}", entry.unwrap())).collect();
            let logins: Vec<_> = entries.iter().filter(|entry| entry.contains("login")).collect();
            assert!(logins.is_empty(), "{logins:?}");
            let steps = entries.iter().filter(|entry| entry.contains("\"step\""));
            let sent: Vec<_> = steps.filter(|entry| entry.contains("sub ")).collect();
            assert!(sent.is_empty(), "{sent:?}");
        }
    });
}

#[test]
fn a_recording_that_was_cut_is_replayed_up_to_its_last_whole_chunk() {
    let directory = Directory::new("torn");
    let path = directory.0.clone();
    simulated(async move {
        let plan = simple();
        let live = three_topics(&plan, &path, 1000).await.lines();
        let file = std::fs::read_dir(&path).unwrap().next().unwrap().unwrap().path();
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, &whole[..whole.len() * 2 / 3]).unwrap();
        let (venue, log) = (Venue::default(), Log::default());
        let Run { builder, ends } = plan.builder(&venue, &log, None);
        let replay = Replay::open(&path).unwrap().unpaced();
        let feed = builder.replay(replay.clone()).unwrap();
        assert_eq!(ends.await.unwrap(), None);
        drop(feed);
        let report = replay.report();
        assert_eq!((report.torn, report.error), (Some(file), None));
        let again = log.lines();
        let (live, again) = (&live[&ShardId(1)], again.get(&ShardId(1)).map_or(&[][..], |it| it));
        assert!(live.starts_with(again), "{} of {}", again.len(), live.len());
        assert!(again.len() > 500, "{} of {}", again.len(), live.len());
    });
}
