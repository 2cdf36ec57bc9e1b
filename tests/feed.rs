//! A feed against a venue that bans those who break its rules: topics end confirmed or refused, each update is
//! delivered once or reported as a gap, and no rule is broken.
//!
//! In simulated time: the clock is paused, and moves on when nothing is left to do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, Addr, AsyncContext, Context, Handler};
use actix_ws_client::Budget;
use actix_ws_client::feed::event::{self, LineIs, Missing, TopicIs};
use actix_ws_client::feed::{
    Builder, Dialect, Failure, Feed, Rules, SECOND, Silence, Threads, command,
};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};
use venue::{Venue, Words};

#[path = "feed/dialects.rs"]
mod dialects;
#[path = "feed/ends.rs"]
mod ends;
#[path = "feed/latest.rs"]
mod latest;
#[path = "feed/lines.rs"]
mod lines;
#[path = "feed/loopback.rs"]
mod loopback;
#[path = "feed/lot.rs"]
mod lot;
#[path = "feed/numbers.rs"]
mod numbers;
#[path = "feed/ordeal.rs"]
mod ordeal;
#[path = "feed/resync.rs"]
mod resync;
#[path = "feed/rotation.rs"]
mod rotation;
#[path = "feed/venue.rs"]
mod venue;

/// What the handler has seen, in order.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Update(String, u64),
    Snapshot(String, u64),
    Gap(Option<String>, Option<(u64, u64)>),
    Topic(String, &'static str),
    Line(&'static str),
    Stopped(Option<String>),
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Seen>>>);

impl Log {
    fn add(&self, seen: Seen) {
        self.0.lock().unwrap().push(seen);
    }

    fn all(&self) -> Vec<Seen> {
        self.0.lock().unwrap().clone()
    }

    /// Waits until a condition holds, at most for ten minutes of simulated time.
    async fn until(&self, what: &str, holds: impl Fn(&[Seen]) -> bool) {
        let wait = async {
            while !holds(&self.0.lock().unwrap()) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        if timeout(600 * SECOND, wait).await.is_err() {
            let seen = self.all();
            panic!(
                "{what} did not happen; the last events: {:?}",
                &seen[seen.len().max(20) - 20..]
            );
        }
    }

    fn count(&self, wanted: &Seen) -> usize {
        self.all().iter().filter(|seen| *seen == wanted).count()
    }
}

struct Book(Log);

impl Actor for Book {
    type Context = Context<Book>;
}

impl Handler<event::Update<u64>> for Book {
    type Result = ();
    fn handle(&mut self, update: event::Update<u64>, _: &mut Context<Book>) {
        let seen = if update.snapshot { Seen::Snapshot } else { Seen::Update };
        self.0.add(seen(update.topic.to_string(), update.item));
    }
}

impl Handler<event::Gap> for Book {
    type Result = ();
    fn handle(&mut self, gap: event::Gap, _: &mut Context<Book>) {
        self.0.add(missing(gap));
    }
}

impl Handler<event::TopicState> for Book {
    type Result = ();
    fn handle(&mut self, state: event::TopicState, _: &mut Context<Book>) {
        self.0.add(topic_state(state));
    }
}

impl Handler<event::LineState> for Book {
    type Result = ();
    fn handle(&mut self, line: event::LineState, _: &mut Context<Book>) {
        self.0.add(Seen::Line(state_of(&line.state)));
    }
}

fn missing(gap: event::Gap) -> Seen {
    let range = match gap.missing {
        Missing::Range { from, to } => Some((from, to)),
        _ => None,
    };
    Seen::Gap(gap.topic.map(|topic| topic.to_string()), range)
}

fn topic_state(state: event::TopicState) -> Seen {
    let is = match state.state {
        TopicIs::Confirmed => "confirmed",
        TopicIs::Refused(refusal) if refusal.for_good => "refused for good",
        TopicIs::Refused(_) => "refused for now",
        TopicIs::Silent { .. } => "silent",
        TopicIs::Fresh => "fresh",
        TopicIs::Unsynced => "unsynced",
        _ => "other",
    };
    Seen::Topic(state.topic.to_string(), is)
}

fn state_of(line: &LineIs) -> &'static str {
    match line {
        LineIs::Waiting { .. } => "waiting",
        LineIs::Dialling => "dialling",
        LineIs::LoggingIn => "logging in",
        LineIs::Subscribing { .. } => "subscribing",
        LineIs::Active => "active",
        LineIs::Silent { .. } => "silent",
        LineIs::Draining => "draining",
        LineIs::Down { .. } => "down",
        _ => "other",
    }
}

impl Handler<event::Stopped> for Book {
    type Result = ();
    fn handle(&mut self, stopped: event::Stopped, _: &mut Context<Book>) {
        self.0.add(Seen::Stopped(stopped.refusal.map(|refusal| refusal.to_string())));
    }
}

/// A feed of the venue's topics, whose dials each have a token of their own.
fn feed(venue: &Venue, log: &Log, logs_in: bool) -> Builder<Words> {
    let (book, tokens) = (Book(log.clone()).start(), AtomicUsize::new(0));
    let venue = venue.clone();
    Feed::builder(async move |_| {
        let token = tokens.fetch_add(1, Ordering::Relaxed).to_string();
        let url = format!("ws://venue/?{token}");
        Ok(Words { token, logs_in }.at(url))
    })
    .threads(Threads::Here)
    .connection(move |builder| {
        let venue = venue.clone();
        builder.transport_with(move |_, _| venue.accept())
    })
    .handler(&book)
    .on::<event::LineState>(book.clone().recipient())
    .on::<event::Stopped>(book.recipient())
}

/// Numbers that depend on a seed alone.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("t{n:04}")).collect()
}

fn tick(venue: &Venue, name: &str) {
    venue.tick(name);
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

/// Waits until a topic of each name is confirmed for the n-th time.
async fn confirmed(log: &Log, names: &[String], times: usize) {
    log.until("a confirmation of each topic", |seen| {
        let is = |seen: &&Seen| matches!(seen, Seen::Topic(_, "confirmed"));
        seen.iter().filter(is).count() >= names.len() * times
    })
    .await;
}

async fn close(feed: Addr<Feed<u64>>, log: &Log) {
    feed.send(command::Close::default()).await.unwrap();
    log.until("the end", |seen| matches!(seen.last(), Some(Seen::Stopped(_)))).await;
}

#[test]
fn topics_are_confirmed_and_their_updates_delivered_in_order() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(3));
        let feed = feed(&venue, &log, true).topics(&names).start().unwrap();
        confirmed(&log, &names, 1).await;
        log.until("active", |seen| seen.contains(&Seen::Line("active"))).await;
        for _ in 0..2 {
            names.iter().for_each(|name| tick(&venue, name));
        }
        log.until("six updates", |seen| seen.len() > 10).await;
        close(feed, &log).await;
        let updates: Vec<Seen> =
            log.all().into_iter().filter(|seen| matches!(seen, Seen::Update(..))).collect();
        let expected: Vec<Seen> = (1..=2)
            .flat_map(|n| names.iter().map(move |name| Seen::Update(name.clone(), n)))
            .collect();
        assert_eq!(updates, expected);
        let lines: Vec<Seen> =
            log.all().into_iter().filter(|seen| matches!(seen, Seen::Line(_))).collect();
        let story = ["dialling", "logging in", "subscribing", "active", "draining", "down"];
        assert_eq!(lines, story.map(Seen::Line));
        assert_eq!(log.all().last(), Some(&Seen::Stopped(None)));
        assert_eq!(venue.state().breaches, Vec::<String>::new());
    });
}

#[test]
fn a_replay_keeps_to_the_rate_of_the_venue() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(300));
        {
            let mut state = venue.state();
            (state.frames_per_second, state.frame_bytes) = (5, 200);
            state.ping_every = Some(Duration::from_millis(700));
        }
        let rules = Rules::default().frames(5, SECOND).frame_bytes(200);
        let feed = feed(&venue, &log, true).rules(rules).topics(&names).start().unwrap();
        for life in 1..=10 {
            confirmed(&log, &names, life).await;
            let dialled = *venue.state().dials.last().unwrap();
            // 200 bytes hold 31 names or so: 10 requests and the login, at 5 - 2 - 1 in a second.
            let worst = Duration::from_secs_f64(1.25 * 11.0 / 2.0);
            assert!(dialled.elapsed() < worst, "life {life}: {:?}", dialled.elapsed());
            sleep(11 * SECOND).await;
            venue.cut();
        }
        assert_eq!(venue.state().breaches, Vec::<String>::new());
        assert_eq!(venue.state().dials.len(), 10, "no socket but those of the cuts is lost");
        close(feed, &log).await;
    });
}

#[test]
fn a_long_replay_uses_all_that_pongs_leave_of_the_rate() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(400));
        venue.state().frames_per_second = 5;
        venue.state().ping_every = Some(Duration::from_millis(700));
        let rules = Rules::default().frames(5, SECOND).topics_per_frame(10);
        let begin = Instant::now();
        let feed = feed(&venue, &log, false).rules(rules).topics(&names).start().unwrap();
        confirmed(&log, &names, 1).await;
        // 40 requests: 5 frames in a second, two of them Pongs, and one that is kept for a third.
        assert!(begin.elapsed() < 22 * SECOND, "{:?}", begin.elapsed());
        assert_eq!(venue.state().breaches, Vec::<String>::new());
        close(feed, &log).await;
    });
}

#[test]
fn a_request_that_finds_the_send_buffer_full_waits_for_room() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(300));
        venue.state().deaf_until = Some(Instant::now() + 3 * SECOND);
        venue.state().in_flight = 512;
        let rules = Rules::default().topics_per_frame(10);
        let begin = Instant::now();
        let feed = feed(&venue, &log, false).rules(rules).topics(&names);
        let venues = venue.clone();
        let options = move |builder: actix_ws_client::ConnectionBuilder| {
            let venue = venues.clone();
            builder.send_buffer(200).transport_with(move |_, _| venue.accept())
        };
        let feed = feed.connection(options).start().unwrap();
        confirmed(&log, &names, 1).await;
        assert!(begin.elapsed() < 4 * SECOND, "{:?}", begin.elapsed());
        assert_eq!(venue.state().requests, 30, "each once");
        close(feed, &log).await;
    });
}

#[test]
fn a_request_that_no_send_buffer_holds_fails_the_session_and_says_what_mends_it() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(300));
        let (causes, mut caused) = unbounded_channel();
        let venues = venue.clone();
        let options = move |builder: actix_ws_client::ConnectionBuilder| {
            let venue = venues.clone();
            builder.send_buffer(1000).transport_with(move |_, _| venue.accept())
        };
        let feed = feed(&venue, &log, false)
            .topics(&names)
            .connection(options)
            .on::<event::LineState>(actix_ws_client::event::call(move |line: event::LineState| {
                if let LineIs::Down { cause } = line.state {
                    drop(causes.send(cause.map(|cause| cause.to_string())));
                }
            }))
            .start()
            .unwrap();
        let cause = timeout(SECOND, caused.recv()).await.expect("the line is down");
        let text = "a request of 1807 bytes is longer than the send buffer: set Rules::frame_bytes, or a \
                    larger ConnectionBuilder::send_buffer";
        assert_eq!(cause.flatten().as_deref(), Some(text));
        drop(feed);
    });
}

#[test]
fn a_line_that_waits_for_a_budget_says_so() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(2));
        let rules = Rules::default().topics_per_line(1);
        let budget = Budget::dials(1, 30 * SECOND);
        let (waits, mut waited) = unbounded_channel();
        let begin = Instant::now();
        let feed = feed(&venue, &log, false)
            .budget(&budget)
            .rules(rules)
            .topics(&names)
            .on::<event::LineState>(actix_ws_client::event::call(move |line: event::LineState| {
                if let LineIs::Waiting { for_what } = line.state {
                    let _ = waits.send((begin.elapsed(), for_what));
                }
            }))
            .start()
            .unwrap();
        confirmed(&log, &names, 1).await;
        let (after, for_what) = waited.try_recv().unwrap();
        assert_eq!(for_what, event::WaitFor::Budget(actix_ws_client::budget::Limit::Dials));
        assert!(after < SECOND, "{after:?}");
        assert!(waited.try_recv().is_err(), "once");
        close(feed, &log).await;
    });
}

#[test]
fn a_line_has_no_dial_limit_of_its_own() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(1));
        let feed = feed(&venue, &log, false).topics(&names).start().unwrap();
        for life in 1..=40 {
            confirmed(&log, &names, life).await;
            let begin = Instant::now();
            venue.cut();
            log.until("a dial", |_| venue.state().dials.len() > life).await;
            assert!(begin.elapsed() <= 2 * SECOND, "life {life}: {:?}", begin.elapsed());
        }
        close(feed, &log).await;
    });
}

#[test]
fn one_refused_topic_leaves_the_others_over_cuts_in_the_replay() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(5000));
        {
            let mut state = venue.state();
            state.unknown.insert(names[77].clone());
            state.refuses_whole = true;
            state.cuts = vec![20, 30, 40];
        }
        let rules = Rules::default().topics_per_frame(100);
        let feed = feed(&venue, &log, false).rules(rules).topics(&names).start().unwrap();
        log.until("active", |seen| seen.contains(&Seen::Line("active"))).await;
        let expected: BTreeSet<String> =
            names.iter().filter(|name| **name != names[77]).cloned().collect();
        assert_eq!(venue.subscribed(), expected);
        let refused = Seen::Topic(names[77].clone(), "refused for good");
        assert_eq!(log.count(&refused), 1, "reported once");
        let dials = venue.state().dials.len();
        assert_eq!(dials, 4, "the socket is not lost for a refused topic");
        venue.cut();
        confirmed(&log, &names[1..], 2).await;
        sleep(60 * SECOND).await;
        assert_eq!(log.count(&refused), 1, "and never asked for again");
        assert_eq!(venue.state().breaches, Vec::<String>::new());
        close(feed, &log).await;
    });
}

#[test]
fn a_cut_at_any_request_of_the_replay_loses_no_topic() {
    simulated(async {
        for at in 1..=40 {
            let (venue, log, names) = (Venue::default(), Log::default(), names(40));
            venue.state().cuts = vec![at];
            venue.state().delay = Duration::from_millis(5);
            let rules = Rules::default().topics_per_frame(1).frames(40, SECOND);
            let feed = feed(&venue, &log, false).rules(rules).topics(&names).start().unwrap();
            log.until("active", |seen| seen.contains(&Seen::Line("active"))).await;
            assert_eq!(venue.subscribed(), names.iter().cloned().collect(), "cut at {at}");
            assert_eq!(venue.state().breaches, Vec::<String>::new(), "cut at {at}");
            close(feed, &log).await;
        }
    });
}

#[test]
fn shards_follow_the_number_of_topics() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(3000));
        let rules = Rules::default().topics_per_line(200).topics_per_frame(50);
        let feed = feed(&venue, &log, false).rules(rules).topics(&names[..100]).start().unwrap();
        confirmed(&log, &names[..100], 1).await;
        assert_eq!(venue.state().open.len(), 1);
        let added = feed.send(command::Add::new(&names[100..])).await.unwrap();
        assert!(added.iter().all(|(_, answer)| *answer == command::Answer::Confirmed));
        assert_eq!(added.len(), 2900);
        assert_eq!(venue.state().open.len(), 15);
        assert_eq!(venue.state().most_topics, 200);
        for name in &names {
            venue.tick(name);
        }
        let is_update = |seen: &&Seen| matches!(seen, Seen::Update(_, 1));
        log.until("all updates", |seen| seen.iter().filter(is_update).count() == 3000).await;
        let removed = feed.send(command::Remove::new(&names[100..])).await.unwrap();
        assert!(removed.iter().all(|(_, answer)| *answer == command::Answer::Removed));
        sleep(5 * SECOND).await;
        assert_eq!(venue.subscribed(), names[..100].iter().cloned().collect());
        assert_eq!(venue.state().open.len(), 1, "empty shards are closed");
        let status = feed.send(command::Status).await.unwrap();
        assert_eq!((status.lines.len(), status.figures.confirmed), (1, 100));
        close(feed, &log).await;
    });
}

#[test]
fn the_venues_set_is_the_wanted_set_after_any_adds_and_removes() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(50));
        venue.state().delay = Duration::from_millis(30);
        let rules = Rules::default().topics_per_line(20).topics_per_frame(7);
        let feed = feed(&venue, &log, false).rules(rules).start().unwrap();
        let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
        let mut random = 7_u64;
        for step in 0..1000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let name = &names[(random >> 33) as usize % names.len()];
            let count = counts.entry(name).or_default();
            if (random >> 20) & 1 == 0 || *count == 0 {
                *count += 1;
                feed.do_send(command::Add::new([name]));
            } else {
                *count -= 1;
                feed.do_send(command::Remove::new([name]));
            }
            if step % 100 == 50 {
                venue.cut();
            }
            sleep(Duration::from_millis(random >> 59)).await;
        }
        sleep(120 * SECOND).await;
        let wanted: BTreeSet<String> =
            counts.iter().filter(|(_, n)| **n > 0).map(|(name, _)| (*name).clone()).collect();
        assert_eq!(venue.subscribed(), wanted);
        assert!(venue.state().most_topics <= 20);
        assert_eq!(venue.state().breaches, Vec::<String>::new());
        close(feed, &log).await;
    });
}

#[test]
fn a_login_refused_for_now_is_tried_again_with_growing_delays() {
    simulated(async {
        let (venue, log) = (Venue::default(), Log::default());
        venue.state().login = Some("busy".into());
        let feed = feed(&venue, &log, true).topics(["a"]).start().unwrap();
        sleep(300 * SECOND).await;
        let dials = venue.state().dials.clone();
        let gaps: Vec<Duration> = dials.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!((8..=40).contains(&dials.len()), "{gaps:?}");
        assert!(gaps.iter().all(|gap| *gap >= Duration::from_millis(500)), "{gaps:?}");
        assert!(gaps.iter().skip(5).any(|gap| *gap > 5 * SECOND), "{gaps:?}");
        venue.state().login = None;
        log.until("active", |seen| seen.contains(&Seen::Line("active"))).await;
        close(feed, &log).await;
    });
}

#[test]
fn a_session_that_fails_is_dropped_without_a_close_frame_and_says_why() {
    simulated(async {
        let (venue, log) = (Venue::default(), Log::default());
        venue.state().login = Some("busy".into());
        let (causes, mut caused) = unbounded_channel();
        let feed = feed(&venue, &log, true)
            .topics(["a"])
            .on::<event::LineState>(actix_ws_client::event::call(move |line: event::LineState| {
                if let LineIs::Down { cause } = line.state {
                    drop(causes.send(cause.map(|cause| cause.to_string())));
                }
            }))
            .start()
            .unwrap();
        for _ in 0..3 {
            let cause = timeout(60 * SECOND, caused.recv()).await.expect("the line is down");
            assert_eq!(cause, Some(Some("busy".to_owned())));
        }
        assert_eq!(venue.state().closes, 0);
        close(feed, &log).await;
    });
}

#[test]
fn the_loss_of_a_session_that_was_active_is_followed_by_a_quick_dial() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(3));
        let feed = feed(&venue, &log, true).topics(&names).start().unwrap();
        for life in 1..=10 {
            confirmed(&log, &names, life).await;
            sleep(5 * SECOND).await;
            let begin = Instant::now();
            venue.cut();
            log.until("a dial", |_| venue.state().dials.len() > life).await;
            assert!(begin.elapsed() <= 2 * SECOND, "life {life}: {:?}", begin.elapsed());
        }
        close(feed, &log).await;
    });
}

#[test]
fn all_lines_of_a_feed_keep_to_one_budget() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(30));
        venue.state().dials_in = Some((10, 20 * SECOND));
        let rules = Rules::default().topics_per_line(1);
        let budget = Budget::dials(10, 20 * SECOND);
        let feed = feed(&venue, &log, true).budget(&budget).rules(rules).topics(&names);
        let feed = feed.start().unwrap();
        confirmed(&log, &names, 1).await;
        let dials = venue.state().dials.clone();
        assert_eq!((dials.len(), venue.state().refused.len()), (30, 0));
        assert!(dials.windows(11).all(|some| some[10] - some[0] >= 20 * SECOND), "{dials:?}");
        assert!(dials[29] - dials[0] <= 43 * SECOND, "{dials:?}");
        close(feed, &log).await;
    });
}

#[test]
fn a_venue_that_drops_all_sockets_is_dialled_by_one_line_at_a_time() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(20));
        venue.state().drops = true;
        let rules = Rules::default().topics_per_line(1);
        let budget = Budget::dials(300, 300 * SECOND);
        let feed = feed(&venue, &log, false).budget(&budget).rules(rules).topics(&names);
        let feed = feed.start().unwrap();
        sleep(300 * SECOND).await;
        let dials = venue.state().dials.clone();
        let ended = venue.state().ended.clone();
        assert!((20..=60).contains(&dials.len()), "{} dials", dials.len());
        // What was dialled before the third failure was known is under way.
        let later = dials.iter().filter(|dial| **dial > ended[2]);
        for dial in later {
            let before = dials.iter().filter(|other| *other < dial).count();
            let over = ended.iter().filter(|end| *end <= dial).count();
            assert!(before <= over, "a dial begins while another one is under way");
        }
        venue.state().drops = false;
        confirmed(&log, &names, 1).await;
        close(feed, &log).await;
    });
}

#[test]
fn a_retry_after_for_one_line_stops_the_dials_of_all() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(20));
        let rules = Rules::default().topics_per_line(1);
        let budget = Budget::dials(300, 300 * SECOND).and(3, SECOND);
        let feed = feed(&venue, &log, false).budget(&budget).rules(rules).topics(&names);
        let feed = feed.start().unwrap();
        log.until("some lines", |_| venue.state().dials.len() >= 9).await;
        venue.state().retry_after = Some(8);
        log.until("a refusal", |_| !venue.state().refused.is_empty()).await;
        confirmed(&log, &names, 1).await;
        let dials = venue.state().dials.clone();
        let refused = venue.state().refused.clone();
        assert_eq!(refused.len(), 1);
        // Those of the same moment are under way when the reply is read.
        let read = refused[0] + Duration::from_millis(5);
        let within = dials.iter().filter(|dial| **dial > read && **dial < refused[0] + 8 * SECOND);
        assert_eq!(within.count(), 0, "{refused:?} {dials:?}");
        close(feed, &log).await;
    });
}

#[test]
fn a_refused_login_is_a_failed_dial_to_the_budget() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(20));
        venue.state().login = Some("busy".into());
        let rules = Rules::default().topics_per_line(1);
        let budget = Budget::dials(300, 300 * SECOND);
        let feed = feed(&venue, &log, true).budget(&budget).rules(rules).topics(&names);
        let feed = feed.start().unwrap();
        sleep(300 * SECOND).await;
        let dials = venue.state().dials.len();
        assert!((40..=60).contains(&dials), "{dials} dials");
        venue.state().login = None;
        confirmed(&log, &names, 1).await;
        close(feed, &log).await;
    });
}

#[test]
fn a_login_refused_for_good_stops_all_lines_and_says_why() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(200));
        venue.state().login = Some("for-good".into());
        let rules = Rules::default().topics_per_line(10);
        let feed = feed(&venue, &log, true).rules(rules).topics(&names).start().unwrap();
        log.until("the end", |seen| matches!(seen.last(), Some(Seen::Stopped(_)))).await;
        assert_eq!(log.count(&Seen::Stopped(Some("bad key".into()))), 1);
        let dials = venue.state().dials.len();
        assert!(dials <= 20, "{dials} dials");
        sleep(600 * SECOND).await;
        assert_eq!(venue.state().dials.len(), dials);
        assert!(!feed.connected(), "the feed has ended");
    });
}

#[test]
fn no_line_dials_after_another_one_has_read_a_refusal_for_good() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(200));
        let rules = Rules::default().topics_per_line(10);
        let feed = feed(&venue, &log, true).rules(rules).topics(&names).start().unwrap();
        confirmed(&log, &names, 1).await;
        sleep(20 * SECOND).await;
        // The lines come back one after the other, within a second.
        venue.state().login = Some("for-good".into());
        venue.cut();
        log.until("the end", |seen| matches!(seen.last(), Some(Seen::Stopped(_)))).await;
        assert_eq!(log.count(&Seen::Stopped(Some("bad key".into()))), 1);
        let dials = venue.state().dials.split_off(20);
        // Those that had begun when the first one was refused, in the same millisecond.
        let first = dials[0];
        assert!(dials.iter().all(|dial| *dial <= first + Duration::from_millis(5)), "{dials:?}");
        drop(feed);
    });
}

#[test]
fn a_failure_for_good_of_the_applications_closure_stops_the_feed() {
    simulated(async {
        let (log, book) = (Log::default(), Book(Log::default()).start());
        let stopped = Book(log.clone()).start();
        let feed = Feed::builder(async |_| {
            Err::<actix_ws_client::feed::Dial<Words>, _>(Failure::new("no such key").for_good())
        })
        .threads(Threads::Here)
        .topics(["a"])
        .handler(&book)
        .on::<event::Stopped>(stopped.recipient())
        .start()
        .unwrap();
        log.until("the end", |seen| !seen.is_empty()).await;
        assert_eq!(log.all(), [Seen::Stopped(Some("no such key".into()))]);
        drop(feed);
    });
}

#[test]
fn each_update_is_delivered_once_or_reported_as_a_gap() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(10));
        let rules = Rules::default().topics_per_line(5);
        let feed = feed(&venue, &log, false).rules(rules).topics(&names).start().unwrap();
        confirmed(&log, &names, 1).await;
        let mut last = 0;
        let seed = std::process::id().into();
        println!("seed {seed}");
        let mut random = Random(seed);
        for _ in 0..100 {
            for _ in 0..random.below(40) {
                names.iter().for_each(|name| last = venue.tick(name));
                sleep(Duration::from_millis(random.below(100))).await;
            }
            sleep(Duration::from_millis(random.below(10_000))).await;
            venue.cut();
        }
        // Each ticks once more at the end, when the last cut is over.
        sleep(Duration::from_millis(1)).await;
        log.until("all subscribed", |_| venue.subscribed().len() == 10).await;
        names.iter().for_each(|name| last = venue.tick(name));
        sleep(SECOND).await;
        let seen = log.all();
        for name in &names {
            let mut numbers: Vec<u64> = Vec::new();
            for one in &seen {
                match one {
                    Seen::Update(topic, n) if topic == name => numbers.push(*n),
                    Seen::Gap(Some(topic), Some((from, to))) if topic == name => {
                        numbers.extend(*from..=*to);
                    }
                    _ => {}
                }
            }
            let wrong = (1..=last).find(|n| numbers.get(*n as usize - 1) != Some(n));
            let near = |n: u64| &numbers[n as usize - 1..numbers.len().min(n as usize + 9)];
            assert_eq!(wrong.map(near), None, "{name}: not each number once, up to {last}");
            assert_eq!(numbers.len() as u64, last, "{name}");
        }
        let gaps = seen.iter().filter(|seen| matches!(seen, Seen::Gap(..))).count();
        assert!(gaps >= 50, "only {gaps} gaps");
        close(feed, &log).await;
    });
}

/// A handler that takes the first update, and then nothing for a while.
struct Sleeper {
    log: Log,
    /// How it will rest; `None` once it has.
    rest: Option<Rest>,
}

/// How a handler rests.
enum Rest {
    /// Its mailbox waits.
    Mailbox(Duration),
    /// Its thread is blocked.
    Thread(Duration),
}

impl Sleeper {
    fn new(log: &Log, rest: Rest) -> Sleeper {
        Sleeper { log: log.clone(), rest: Some(rest) }
    }
}

impl Actor for Sleeper {
    type Context = Context<Sleeper>;
}

impl Handler<event::Update<u64>> for Sleeper {
    type Result = ();
    fn handle(&mut self, update: event::Update<u64>, ctx: &mut Context<Sleeper>) {
        self.log.add(Seen::Update(update.topic.to_string(), update.item));
        match self.rest.take() {
            Some(Rest::Mailbox(time)) => ctx.wait(wrap_future(sleep(time))),
            Some(Rest::Thread(time)) => std::thread::sleep(time),
            None => {}
        }
    }
}

#[test]
fn a_slow_handler_holds_the_lines_and_nothing_is_lost_or_judged() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(100));
        let updates = Log::default();
        let sleeper = Sleeper::new(&updates, Rest::Mailbox(20 * SECOND)).start();
        let rules = Rules::default().answer_within(3 * SECOND).heartbeat(2 * SECOND);
        let feed = feed(&venue, &log, false)
            .rules(rules)
            .silence(Silence::topic(3 * SECOND).fail())
            .on::<event::Update<u64>>(sleeper.recipient())
            .topics(&names)
            .start()
            .unwrap();
        confirmed(&log, &names, 1).await;
        for _ in 0..800 {
            names.iter().for_each(|name| tick(&venue, name));
            sleep(Duration::from_millis(12)).await;
        }
        let status = feed.send(command::Status).await.unwrap();
        assert!((4096..20_000).contains(&status.lines[0].queued), "{}", status.lines[0].queued);
        for _ in 0..15 {
            sleep(SECOND).await;
            names.iter().for_each(|name| tick(&venue, name));
        }
        updates.until("all updates", |seen| seen.len() == 81_500).await;
        let expected = (1..=815).flat_map(|n| names.iter().map(move |name| (name, n)));
        let expected = expected.map(|(name, n)| Seen::Update(name.clone(), n));
        assert!(updates.all().into_iter().eq(expected), "each once and in order");
        let bad = |seen: &Seen| {
            matches!(seen, Seen::Gap(..) | Seen::Line("silent") | Seen::Topic(_, "silent"))
        };
        assert_eq!(log.all().into_iter().find(bad), None);
        assert_eq!(venue.state().dials.len(), 1);
        let beats = venue.beats(' ');
        let on_time = |pair: &[Instant]| pair[1] - pair[0] <= Duration::from_millis(2100);
        assert!(beats.len() >= 10 && beats.windows(2).all(on_time), "{beats:?}");
        close(feed, &log).await;
    });
}

#[test]
fn a_feed_that_holds_closes_in_time() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(100));
        let sleeper = Sleeper::new(&Log::default(), Rest::Mailbox(20 * SECOND)).start();
        let feed = feed(&venue, &log, false)
            .on::<event::Update<u64>>(sleeper.recipient())
            .topics(&names)
            .start()
            .unwrap();
        confirmed(&log, &names, 1).await;
        for _ in 0..100 {
            names.iter().for_each(|name| tick(&venue, name));
            sleep(Duration::from_millis(10)).await;
        }
        let begin = Instant::now();
        feed.send(command::Close::within(SECOND)).await.unwrap();
        assert!(begin.elapsed() <= Duration::from_millis(1100), "{:?}", begin.elapsed());
    });
}

#[test]
fn a_paused_feed_has_no_socket_and_comes_back_with_its_topics() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(3));
        let feed = feed(&venue, &log, false).topics(&names).start().unwrap();
        confirmed(&log, &names, 1).await;
        feed.send(command::Pause).await.unwrap();
        log.until("a wait", |seen| seen.last() == Some(&Seen::Line("waiting"))).await;
        sleep(600 * SECOND).await;
        assert_eq!(venue.state().open.len(), 0);
        assert_eq!(venue.state().dials.len(), 1);
        feed.send(command::Resume).await.unwrap();
        confirmed(&log, &names, 2).await;
        close(feed, &log).await;
    });
}

#[test]
fn a_topic_of_an_actors_own_is_delivered_there_and_nowhere_else() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(4));
        let (own, other) = (Log::default(), Log::default());
        let (owner, second) = (Book(own.clone()).start(), Book(other.clone()).start());
        let rules = Rules::default().topics_per_line(2);
        let feed = feed(&venue, &log, false).rules(rules).topics(&names[..2]).start().unwrap();
        feed.send(command::Add::new(&names[2..]).to(&owner)).await.unwrap();
        feed.send(command::Add::new(&names[3..]).to(&second)).await.unwrap();
        for _ in 0..3 {
            names.iter().for_each(|name| tick(&venue, name));
        }
        venue.cut();
        sleep(Duration::from_millis(1)).await;
        venue.tick(&names[2]);
        log.until("all subscribed", |_| venue.subscribed().len() == 4).await;
        names.iter().for_each(|name| tick(&venue, name));
        sleep(SECOND).await;
        let topics = |log: &Log| {
            let name = |seen: Seen| match seen {
                Seen::Update(topic, _) | Seen::Gap(Some(topic), _) | Seen::Topic(topic, _) => {
                    Some(topic)
                }
                _ => None,
            };
            log.all().into_iter().filter_map(name).collect::<BTreeSet<String>>()
        };
        let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<String>>();
        assert_eq!(topics(&log), set(&names[..2]));
        assert_eq!(topics(&own), set(&names[2..]));
        assert_eq!(topics(&other), set(&names[3..]));
        assert_eq!(own.count(&Seen::Gap(Some(names[2].clone()), Some((4, 4)))), 1);
        let updates = |name: &String| {
            own.all()
                .iter()
                .filter(|seen| matches!(seen, Seen::Update(topic, _) if topic == name))
                .count()
        };
        assert_eq!((updates(&names[2]), updates(&names[3])), (4, 4));
        feed.send(command::Remove::new([&names[2]])).await.unwrap();
        feed.send(command::Add::new([&names[2]])).await.unwrap();
        venue.tick(&names[2]);
        let update = Seen::Update(names[2].clone(), 6);
        log.until("an update", |seen| seen.contains(&update)).await;
        assert_eq!(own.count(&update), 0, "its own recipients left with it");
        close(feed, &log).await;
    });
}

#[test]
fn a_feed_whose_last_address_is_dropped_closes_its_lines() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(3));
        let feed = feed(&venue, &log, false).topics(&names).start().unwrap();
        confirmed(&log, &names, 1).await;
        drop(feed);
        log.until("the end", |seen| seen.last() == Some(&Seen::Stopped(None))).await;
        assert_eq!(venue.state().open.len(), 0);
    });
}

#[test]
fn a_muted_topic_is_reported_once_and_a_frozen_line_instead_of_its_topics() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(300));
        let silence = Silence::topic(30 * SECOND);
        let feed = feed(&venue, &log, false).silence(silence).topics(&names).start().unwrap();
        confirmed(&log, &names, 1).await;
        let begin = Instant::now();
        let muted = Seen::Topic(names[0].clone(), "silent");
        let mut silent_after = None;
        for _ in 0..480 {
            names[1..].iter().for_each(|name| tick(&venue, name));
            sleep(Duration::from_millis(250)).await;
            let is_new = silent_after.is_none() && log.count(&muted) == 1;
            silent_after = silent_after.or(is_new.then(|| begin.elapsed()));
        }
        let after = silent_after.expect("the muted topic is found");
        assert!(after <= Duration::from_millis(30_500), "{after:?}");
        let silent = |log: &Log| {
            let is = |seen: &Seen| matches!(seen, Seen::Topic(_, "silent") | Seen::Line("silent"));
            log.all().into_iter().filter(is).collect::<Vec<_>>()
        };
        assert_eq!(silent(&log), [Seen::Topic(names[0].clone(), "silent")]);
        venue.tick(&names[0]);
        log.until("fresh", |seen| seen.contains(&Seen::Topic(names[0].clone(), "fresh"))).await;
        // Nothing at all for two minutes.
        sleep(120 * SECOND).await;
        assert_eq!(silent(&log)[1..], [Seen::Line("silent")]);
        venue.tick(&names[0]);
        let is_active = |seen: &&Seen| **seen == Seen::Line("active");
        log.until("active again", |seen| seen.iter().filter(is_active).count() == 2).await;
        close(feed, &log).await;
    });
}

#[test]
fn a_closed_market_raises_nothing_and_its_opening_arms_the_limit() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(10));
        let open = Arc::new(AtomicUsize::new(0));
        let is_open = open.clone();
        let silence =
            Silence::topic(30 * SECOND).open_if(move |_| is_open.load(Ordering::Relaxed) == 1);
        let feed = feed(&venue, &log, false).silence(silence).topics(&names).start().unwrap();
        confirmed(&log, &names, 1).await;
        sleep(8 * 3600 * SECOND).await;
        let is_silent =
            |seen: &Seen| matches!(seen, Seen::Topic(_, "silent") | Seen::Line("silent"));
        assert_eq!(log.all().into_iter().find(is_silent), None);
        open.store(1, Ordering::Relaxed);
        let silent = || log.all().into_iter().filter(is_silent).collect::<Vec<Seen>>();
        for second in 0..95 {
            assert!(second > 29 || silent().is_empty(), "found {second} s after the opening");
            names[1..].iter().for_each(|name| tick(&venue, name));
            sleep(SECOND).await;
        }
        let silent = silent();
        assert_eq!(silent, [Seen::Topic(names[0].clone(), "silent")]);
        close(feed, &log).await;
    });
}

#[test]
fn a_topic_that_is_removed_during_the_replay_skips_no_other() {
    simulated(async {
        for at in 0..20 {
            let (venue, log, names) = (Venue::default(), Log::default(), names(40));
            venue.state().delay = Duration::from_millis(20);
            let rules = Rules::default().topics_per_frame(1).frames(5, SECOND);
            let feed = feed(&venue, &log, false).rules(rules).topics(&names).start().unwrap();
            log.until("some requests", |_| venue.state().requests > at).await;
            let removed = [&names[at], &names[(at * 7 + 3) % 40]];
            feed.do_send(command::Remove::new(removed.map(String::as_str)));
            log.until("active", |seen| seen.contains(&Seen::Line("active"))).await;
            let left = names.iter().filter(|name| !removed.contains(name)).cloned().collect();
            log.until("the set", |_| venue.subscribed() == left).await;
            assert_eq!(venue.state().breaches, Vec::<String>::new(), "removed at {at}");
            close(feed, &log).await;
        }
    });
}

#[test]
fn a_dial_follows_when_the_delay_that_was_reported_has_passed() {
    simulated(async {
        let (venue, log) = (Venue::default(), Log::default());
        venue.state().login = Some("busy".into());
        let (waits, mut waited) = unbounded_channel();
        let feed = feed(&venue, &log, true)
            .topics(["a"])
            .on::<event::LineState>(actix_ws_client::event::call(move |line: event::LineState| {
                if let LineIs::Waiting { for_what: event::WaitFor::Delay(delay) } = line.state {
                    let _ = waits.send(Instant::now() + delay);
                }
            }))
            .start()
            .unwrap();
        sleep(120 * SECOND).await;
        let dials = venue.state().dials.clone();
        for dial in &dials[1..] {
            let due = waited.try_recv().expect("a wait before each dial");
            let late = dial.saturating_duration_since(due);
            assert!(*dial >= due && late <= Duration::from_millis(50), "{late:?}");
        }
        assert!(dials.len() > 5, "{dials:?}");
        drop(feed);
    });
}

/// Returns when a line was first in a state, since the start of a feed whose dials go to `url` over TCP.
async fn first_state(url: String, is: fn(&LineIs) -> bool) -> Duration {
    let (states, mut changed) = unbounded_channel();
    let begin = Instant::now();
    let feed = Feed::builder(async move |_| {
        Ok(Words { token: String::new(), logs_in: true }.at(url.clone()))
    })
    .threads(Threads::Here)
    .rules(Rules::default().answer_within(SECOND))
    .connection(|builder| builder.connect_timeout(SECOND).proxy_from_env(false))
    .topics(["a"])
    .on::<event::LineState>(actix_ws_client::event::call(move |line: event::LineState| {
        drop(states.send(line.state));
    }))
    .start()
    .unwrap();
    let wait = async {
        while !is(&changed.recv().await.expect("the feed lives")) {}
        begin.elapsed()
    };
    let after = timeout(10 * SECOND, wait).await.expect("the state was reported");
    drop(feed);
    after
}

#[test]
fn a_hanging_a_slow_and_an_absent_venue_show_what_they_are_in_time() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        // It accepts, and answers nothing.
        let hanging = first_state(url.clone(), |state| {
            let text = |cause: &event::Cause| cause.to_string().contains("timed out");
            matches!(state, LineIs::Down { cause: Some(cause) } if text(cause))
        });
        let hanging = hanging.await;
        assert!(hanging >= SECOND && hanging < 2 * SECOND, "{hanging:?}");
        drop(listener);
        let absent = first_state(url, |state| {
            matches!(state, LineIs::Down { cause: Some(event::Cause::Connection(_)) })
        });
        let absent = absent.await;
        assert!(absent < SECOND, "{absent:?}");
        // It opens the socket, and does not answer the login.
        let venue = Venue::default();
        venue.state().delay = 60 * SECOND;
        let slow = first_state(venue.listen().await, |state| {
            let text = "the venue did not answer the login within 1s";
            matches!(state, LineIs::Down { cause: Some(cause) } if cause.to_string() == text)
        });
        let slow = slow.await;
        assert!(slow >= SECOND && slow < 2 * SECOND, "{slow:?}");
    });
}

#[test]
fn a_line_that_stays_active_says_so_once() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(3));
        let feed = feed(&venue, &log, false).topics(&names).start().unwrap();
        log.until("active", |seen| seen.contains(&Seen::Line("active"))).await;
        for name in &names[1..] {
            feed.send(command::Remove::new([name])).await.unwrap();
            sleep(SECOND).await;
        }
        assert_eq!(log.count(&Seen::Line("active")), 1);
        feed.send(command::Add::new([&names[1]])).await.unwrap();
        sleep(SECOND).await;
        assert_eq!(log.count(&Seen::Line("active")), 2, "after it has subscribed");
        close(feed, &log).await;
    });
}

#[test]
fn a_silent_topic_is_subscribed_again_where_that_was_asked_for() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(2));
        let silence = Silence::topic(10 * SECOND).resubscribe();
        let feed = feed(&venue, &log, false).silence(silence).topics(&names).start().unwrap();
        confirmed(&log, &names, 1).await;
        let requests = venue.state().requests;
        for _ in 0..12 {
            venue.tick(&names[1]);
            sleep(SECOND).await;
        }
        assert_eq!(venue.state().requests, requests + 2, "unsubscribed and subscribed");
        assert_eq!(log.count(&Seen::Topic(names[0].clone(), "confirmed")), 2);
        close(feed, &log).await;
    });
}
