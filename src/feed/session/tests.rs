use super::*;

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::feed::dialect::Dialect;
use crate::feed::said::Which;
use crate::feed::subscriptions::OnServer;
use crate::feed::topic::{RequestId, Topic};
use crate::proto::message::View;

const SECOND: Duration = Duration::from_secs(1);

/// A dialect whose requests are words: `login`, `beat`, `sub ID a,b`, `unsub ID a,b`.
struct Words {
    logs_in: bool,
    unsubscribes: bool,
}

impl Dialect for Words {
    type Item = u64;

    fn login(&mut self) -> Option<Request> {
        self.logs_in.then(|| Request::text("login"))
    }

    /// The part before the point, if there is one.
    fn kind<'t>(&self, topic: &'t str) -> &'t str {
        topic.split_once('.').map_or("", |(kind, _)| kind)
    }

    fn subscribe(&mut self, id: RequestId, topics: &[Topic]) -> Request {
        Request::text(format!("sub {id} {}", topics.join(",")))
    }

    fn unsubscribe(&mut self, id: RequestId, topics: &[Topic]) -> Option<Request> {
        self.unsubscribes.then(|| Request::text(format!("unsub {id} {}", topics.join(","))))
    }

    fn heartbeat(&mut self) -> Option<Request> {
        Some(Request::text("beat"))
    }

    fn read<'m>(&mut self, _: View<'m>) -> Said<'m, u64> {
        Said::Nothing
    }
}

/// Records what a session passes on, and releases topics as a shard does.
#[derive(Default)]
struct Seen {
    updates: Vec<(String, u64)>,
    changes: Vec<String>,
    missing: Vec<(u64, u64)>,
    unwanted: usize,
}

impl Sink<u64> for Seen {
    fn data(&mut self, data: Data<u64>, topics: &Topics) {
        assert!(topics.is_wanted(data.slot), "an update of a topic that is not wanted");
        self.updates.push((topics.topic(data.slot).to_string(), data.item));
    }

    fn change(&mut self, change: Change, topics: &mut Topics) {
        let name = |slot: Slot| topics.topic(slot).clone();
        self.changes.push(match change {
            Change::Confirmed(slot) => format!("+{}", name(slot)),
            Change::Refused(slot, refusal) => format!("!{} {refusal}", name(slot)),
            Change::Filtered(slot) => format!("~{}", name(slot)),
            Change::Left(slot) => match topics.release(slot) {
                Some(topic) => format!("-{topic}"),
                None => return,
            },
        });
    }

    fn missing(&mut self, from: u64, to: u64) {
        self.missing.push((from, to));
    }

    fn unwanted(&mut self, _: &str, _: bool) {
        self.unwanted += 1;
    }
}

/// A session and its surroundings, at one moment.
struct Bench {
    session: Session,
    dialect: Words,
    topics: Topics,
    seen: Seen,
    now: Instant,
}

impl Bench {
    fn new(rules: Rules, names: &[&str]) -> Bench {
        let (mut topics, now) = (Topics::default(), Instant::now());
        for name in names {
            topics.add(&Topic::from(*name));
        }
        let session = Session::new(Arc::new(rules), None, &topics, now);
        let dialect = Words { logs_in: false, unsubscribes: true };
        Bench { session, dialect, topics, seen: Seen::default(), now }
    }

    /// Returns all requests that may be sent now.
    fn sent(&mut self) -> Vec<String> {
        let Bench { session, dialect, topics, seen, now } = self;
        std::iter::from_fn(|| session.poll_request(dialect, *now, topics, seen))
            .map(|request| request.payload.as_text().expect("words").to_owned())
            .collect()
    }

    fn says(&mut self, said: Said<'_, u64>) {
        let Bench { session, topics, seen, now, .. } = self;
        session.handle_message::<Words>(said, *now, topics, seen);
    }

    fn add(&mut self, name: &str) {
        let slot = self.topics.add(&name.into());
        self.session.handle_wish(slot, &mut self.topics, &mut self.seen);
    }

    fn remove(&mut self, name: &str) {
        let slot = self.topics.slot(name).expect("a known topic");
        self.topics.remove(slot);
        self.session.handle_wish(slot, &mut self.topics, &mut self.seen);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.session.handle_timeout(self.now, &mut self.topics, &mut self.seen);
    }

    fn changes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.seen.changes)
    }

    fn progress(&self) -> Progress {
        self.session.progress(&self.topics)
    }
}

fn no(reason: &str) -> Refusal {
    Refusal::for_good(reason)
}

fn confirmed<'m>(id: RequestId) -> Said<'m, u64> {
    Said::confirmed(id)
}

#[test]
fn a_session_logs_in_then_subscribes_then_is_active() {
    let mut bench = Bench::new(Rules::default(), &["a", "b"]);
    bench.dialect.logs_in = true;
    assert_eq!(bench.sent(), ["login"]);
    assert_eq!(bench.progress(), Progress::LoggingIn);
    bench.says(Said::LoggedIn);
    assert_eq!(bench.progress(), Progress::Subscribing { left: 2 });
    assert_eq!(bench.sent(), ["sub 1 a,b"]);
    bench.says(confirmed(1));
    assert_eq!(
        (bench.changes(), bench.progress()),
        (vec!["+a".into(), "+b".into()], Progress::Active)
    );
    assert!(bench.sent().is_empty());
}

#[test]
fn requests_keep_to_kinds_sizes_and_numbers_of_topics() {
    let rules = Rules::default().topics_per_frame(2);
    let mut bench = Bench::new(rules, &["t.a", "u.a", "t.b", "t.c"]);
    assert_eq!(bench.sent(), ["sub 1 t.a,t.b", "sub 2 u.a", "sub 3 t.c"]);

    let rules = Rules::default().frame_bytes(12);
    let mut bench = Bench::new(rules, &["aaa", "bbb", "ccc", "much-too-long"]);
    let sent = bench.sent();
    assert!(sent.iter().all(|request| request.len() <= 12), "{sent:?}");
    assert_eq!(sent.len(), 3, "three topics, each by itself: {sent:?}");
    let refused = bench.changes().concat();
    assert!(
        refused.starts_with("!much-too-long the request for this topic alone has "),
        "{refused}"
    );
}

#[test]
fn one_refused_topic_leaves_the_others() {
    let names: Vec<String> = (0..100).map(|n| format!("t{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for bad in &names {
        let mut bench = Bench::new(Rules::default(), &names);
        let (mut requests, mut others_confirmed_by) = (0, 0);
        loop {
            let sent = bench.sent();
            if sent.is_empty() {
                break;
            }
            for request in sent {
                requests += 1;
                let mut words = request.split(' ').skip(1);
                let id = words.next().unwrap().parse::<RequestId>().unwrap();
                let topics = words.next().unwrap();
                if topics.split(',').any(|topic| topic == *bad) {
                    bench.says(Said::refused(id, no("delisted")));
                } else {
                    bench.says(confirmed(id));
                }
                if others_confirmed_by == 0 && bench.session.subscriptions().confirmed() == 99 {
                    others_confirmed_by = requests;
                }
            }
        }
        assert!((1..=9).contains(&others_confirmed_by), "{bad}: after {others_confirmed_by}");
        assert_eq!(bench.progress(), Progress::Active);
        let changes = bench.changes();
        assert!(changes.contains(&format!("!{bad} delisted")), "{bad}: {changes:?}");
        assert_eq!(changes.len(), 100);
    }
}

#[test]
fn the_newest_wish_wins_once_the_answer_has_come() {
    let mut bench = Bench::new(Rules::default(), &["a"]);
    assert_eq!(bench.sent(), ["sub 1 a"]);
    bench.remove("a");
    assert!(bench.sent().is_empty(), "the answer is under way");
    bench.says(confirmed(1));
    assert_eq!(bench.sent(), ["unsub 2 a"]);
    bench.add("a");
    assert!(bench.sent().is_empty(), "it is leaving");
    bench.says(confirmed(2));
    assert_eq!(bench.sent(), ["sub 3 a"]);
    bench.says(confirmed(3));
    bench.remove("a");
    assert_eq!(bench.sent(), ["unsub 4 a"]);
    bench.says(confirmed(4));
    assert_eq!(bench.changes(), ["+a", "-a"]);
    assert_eq!(bench.topics.slot("a"), None);
}

#[test]
fn where_the_venue_cannot_unsubscribe_updates_are_dropped() {
    let mut bench = Bench::new(Rules::default(), &["a"]);
    bench.dialect.unsubscribes = false;
    bench.sent();
    bench.says(confirmed(1));
    bench.remove("a");
    assert!(bench.sent().is_empty());
    bench.says(Said::data("a", Sequence::none(), 7));
    assert_eq!((bench.seen.updates.len(), bench.seen.unwanted), (0, 1));
    assert_eq!(bench.changes(), ["+a", "~a"]);
    bench.add("a");
    bench.says(Said::data("a", Sequence::none(), 8));
    assert_eq!(bench.seen.updates, [("a".to_owned(), 8)]);
    assert!(bench.sent().is_empty(), "it never left");
}

#[test]
fn data_before_the_acknowledgement_is_delivered_and_a_refusal_after_it_ignored() {
    let mut bench = Bench::new(Rules::default(), &["a", "b"]);
    bench.sent();
    bench.says(Said::data("a", Sequence::none(), 1));
    assert_eq!(bench.seen.updates.len(), 1);
    bench.says(Said::refused(1, no("unknown")));
    assert_eq!(bench.changes(), ["+a", "!b unknown"]);
}

#[test]
fn a_request_without_an_answer_is_asked_again_and_a_late_answer_counts() {
    let mut bench = Bench::new(Rules::default().topics_per_frame(1), &["a", "b"]);
    assert_eq!(bench.sent(), ["sub 1 a", "sub 2 b"]);
    bench.says(confirmed(1));
    bench.wait(9 * SECOND);
    assert_eq!(bench.changes(), ["+a"]);
    bench.wait(SECOND);
    assert_eq!(bench.changes(), ["!b the venue did not answer the subscription in time"]);
    assert_eq!((bench.session.poll_failure(), bench.progress()), (None, Progress::Active));
    let mut other = Bench::new(Rules::default(), &["a"]);
    other.sent();
    bench.says(confirmed(2));
    assert_eq!(bench.changes(), ["+b"], "late, and good");
    bench.wait(60 * SECOND);
    assert!(bench.sent().is_empty(), "nothing is left to ask for");
}

#[test]
fn a_venue_that_answers_nothing_fails_the_session() {
    let mut bench = Bench::new(Rules::default(), &["a"]);
    bench.sent();
    bench.wait(10 * SECOND);
    let failed = bench.session.poll_failure();
    assert!(matches!(&failed, Some(Failed::NoAnswer(refusal)) if !refusal.for_good), "{failed:?}");
    assert!(bench.sent().is_empty());

    let mut bench = Bench::new(Rules::default(), &["a"]);
    bench.dialect.logs_in = true;
    bench.sent();
    bench.wait(10 * SECOND);
    let failed = bench.session.poll_failure();
    let text = "the venue did not answer the login within 10s";
    assert_eq!(failed, Some(Failed::NoAnswer(Refusal::for_now(text))));
}

#[test]
fn no_deadline_is_judged_while_the_shard_holds_nor_for_one_whole_time_after() {
    let mut bench = Bench::new(Rules::default(), &["a"]);
    bench.sent();
    bench.session.handle_hold(true, bench.now);
    bench.wait(60 * SECOND);
    assert_eq!(bench.session.poll_failure(), None);
    bench.session.handle_hold(false, bench.now);
    bench.wait(9 * SECOND);
    assert_eq!(bench.session.poll_failure(), None);
    bench.wait(SECOND);
    assert!(bench.session.poll_failure().is_some());
}

#[test]
fn a_thread_that_was_suspended_does_not_blame_the_venue() {
    let mut bench = Bench::new(Rules::default(), &["a"]);
    bench.sent();
    bench.wait(300 * SECOND);
    assert_eq!(bench.session.poll_failure(), None);
    bench.wait(10 * SECOND);
    assert!(bench.session.poll_failure().is_some());
}

#[test]
fn heartbeats_keep_their_cadence_and_must_be_followed_by_a_message() {
    let mut bench = Bench::new(Rules::default().heartbeat(20 * SECOND), &[]);
    assert!(bench.sent().is_empty());
    bench.wait(20 * SECOND);
    assert_eq!(bench.sent(), ["beat"]);
    bench.says(Said::Alive);
    bench.wait(19 * SECOND);
    assert!(bench.sent().is_empty());
    bench.wait(SECOND);
    assert_eq!(bench.sent(), ["beat"]);
    bench.wait(10 * SECOND);
    let text = "the venue did not answer a heartbeat within 10s";
    assert_eq!(bench.session.poll_failure(), Some(Failed::NoAnswer(Refusal::for_now(text))));
}

#[test]
fn a_challenge_is_answered_before_anything_else_but_the_login() {
    let mut bench = Bench::new(Rules::default().frames(2, SECOND), &["a"]);
    bench.dialect.logs_in = true;
    bench.says(Said::answer(Request::text("pong")));
    assert_eq!(bench.sent(), ["login", "pong"]);
    bench.says(Said::LoggedIn);
    bench.says(Said::answer(Request::text("pong")));
    bench.wait(2 * SECOND);
    assert_eq!(bench.sent(), ["pong"], "the second frame is kept for a control frame");
}

#[test]
fn a_whole_set_is_judged_when_no_request_is_under_way() {
    let mut bench = Bench::new(Rules::default().topics_per_frame(1), &["a", "b", "c"]);
    assert_eq!(bench.sent().len(), 3);
    bench.says(Said::confirmed(Which::set(["a"])));
    bench.says(Said::confirmed(Which::set(["a"])));
    assert_eq!(bench.changes(), ["+a"], "a request is under way");
    bench.says(Said::confirmed(Which::set(["a", "c"])));
    assert_eq!(bench.changes(), ["+c", "!b the venue's answer leaves it out"]);
}

#[test]
fn a_maintenance_pauses_requests_and_deadlines() {
    let mut bench = Bench::new(Rules::default(), &["a"]);
    bench.says(Said::Notice(Notice::Pause { at_most: 60 * SECOND }));
    assert!(bench.sent().is_empty());
    bench.wait(59 * SECOND);
    assert!(bench.sent().is_empty());
    bench.wait(SECOND);
    assert_eq!(bench.sent(), ["sub 1 a"]);
    bench.says(Said::Notice(Notice::Reconnect));
    assert_eq!(bench.session.poll_failure(), Some(Failed::Asked));
}

#[test]
fn a_number_that_is_missing_on_the_line_is_reported() {
    let mut bench = Bench::new(Rules::default(), &[]);
    [5, 6, 9, 9, 1, 2].into_iter().for_each(|number| bench.says(Said::Counted(number)));
    assert_eq!(bench.seen.missing, [(7, 8)]);
}

/// The server of the random scripts: what it has, by its own count.
#[derive(Default)]
struct Server {
    /// The topics of the requests that it has not answered.
    open: BTreeMap<RequestId, Vec<String>>,
    frames: Vec<Instant>,
    /// Whether it has a login to answer.
    has_login: bool,
    /// The number of the newest message on the line.
    number: u64,
    /// Messages that were lost since the last one that arrived; `None` before the first that did.
    lost: Option<u64>,
}

impl Server {
    /// Sends a message with its number on the line, or loses it. Returns how many were lost before one that arrives.
    fn count(&mut self, bench: &mut Bench, is_lost: bool) -> u64 {
        self.number += 1;
        if is_lost {
            self.lost = self.lost.map(|lost| lost + 1);
            return 0;
        }
        bench.says(Said::Counted(self.number));
        self.lost.replace(0).unwrap_or_default()
    }
}

/// Opens the next socket: nothing is left of the session before.
fn reopen(bench: &mut Bench, server: &mut Server, rules: &Rules) {
    *server = Server::default();
    let Bench { session, topics, seen, now, .. } = bench;
    *session = Session::new(Arc::new(rules.clone()), None, topics, *now);
    session.handle_timeout(*now, topics, seen);
}

/// The user pauses the feed, changes wishes meanwhile, and resumes it.
fn pause(
    bench: &mut Bench,
    server: &mut Server,
    rules: &Rules,
    names: &[String],
    rng: &mut SmallRng,
) {
    bench.session.stop();
    assert!(bench.sent().is_empty(), "nothing is sent on a socket that ends");
    assert_eq!(bench.session.poll_timeout(bench.now, &bench.topics), None);
    bench.now += SECOND * rng.random_range(0..40);
    for name in names.iter().filter(|_| rng.random_bool(0.3)).collect::<Vec<_>>() {
        match bench.topics.slot(name).filter(|slot| bench.topics.is_wanted(*slot)) {
            Some(slot) => bench.topics.remove(slot),
            None => drop(bench.topics.add(&name.into())),
        }
    }
    reopen(bench, server, rules);
}

/// Runs one random script of a venue and a user, over several sessions. Each step does one thing, and then
/// checks that nothing is forgotten and no limit broken.
fn run_script(seed: u64, steps: usize) -> usize {
    let mut rng = SmallRng::seed_from_u64(seed);
    let rules = Rules::default()
        .frames(5, SECOND)
        .frame_bytes(30)
        .topics_per_frame(rng.random_range(1..8))
        .topics_per_line(12)
        .heartbeat(7 * SECOND);
    let names: Vec<String> = (0..12).map(|n| format!("{}.{n:02}", n % 2)).collect();
    let mut bench = Bench::new(rules.clone(), &[]);
    bench.dialect.unsubscribes = rng.random_bool(0.8);
    bench.dialect.logs_in = rng.random_bool(0.5);
    let mut server = Server::default();
    let mut lost = 0;
    for step in 0..steps {
        match rng.random_range(0..100) {
            0..=19 => wish(&mut bench, names.choose(&mut rng).unwrap(), &mut rng),
            20..=59 => answer(&mut bench, &mut server, &mut rng),
            60..=63 => lost += server.count(&mut bench, rng.random_bool(0.3)),
            64 => pause(&mut bench, &mut server, &rules, &names, &mut rng),
            65 => {
                // A muted topic is asked for again.
                if let Some(slot) = bench.topics.slot(names.choose(&mut rng).unwrap()) {
                    bench.session.handle_silence(slot, &bench.topics);
                }
            }
            66..=74 => {
                let name = names.choose(&mut rng).unwrap();
                bench.says(Said::data(name.as_str(), Sequence::none(), step as u64));
            }
            75 => bench.says(Said::answer(Request::text("pong"))),
            76 => bench.says(Said::Notice(match rng.random_range(0..6) {
                0 => Notice::Reconnect,
                1 => Notice::RotateWithin(SECOND),
                2 => Notice::Resume,
                _ => Notice::Pause { at_most: 3 * SECOND },
            })),
            77 => bench.session.handle_hold(rng.random_bool(0.3), bench.now),
            78 => bench.session.handle_control(bench.now),
            79 => {
                // The socket is lost, and the next one open at once. What was not wanted has left.
                reopen(&mut bench, &mut server, &rules);
            }
            _ => {
                // To the next deadline, or less far.
                let next = bench.session.poll_timeout(bench.now, &bench.topics);
                let time = next.map_or(SECOND, |at| at.saturating_duration_since(bench.now));
                bench.wait(time.mul_f64(rng.random_range(0.5..1.2)).max(SECOND / 1000));
            }
        }
        if rng.random_bool(0.7) {
            serve(&mut bench, &mut server, seed, step);
        }
        if bench.session.poll_failure().is_some() {
            assert!(bench.sent().is_empty(), "seed {seed}, step {step}: sent after the failure");
            reopen(&mut bench, &mut server, &rules);
        }
        check(&mut bench, seed, step);
    }
    let missing: u64 = bench.seen.missing.iter().map(|(from, to)| to - from + 1).sum();
    assert_eq!(missing, lost, "seed {seed}: not all that was lost on a line is in a gap");
    let items: BTreeSet<u64> = bench.seen.updates.iter().map(|(_, item)| *item).collect();
    assert_eq!(items.len(), bench.seen.updates.len(), "seed {seed}: an update was passed on twice");
    steps
}

fn wish(bench: &mut Bench, name: &str, rng: &mut SmallRng) {
    if rng.random_bool(0.6) {
        bench.add(name);
    } else if bench.topics.slot(name).is_some_and(|slot| bench.topics.is_wanted(slot)) {
        bench.remove(name);
        assert!(bench.topics.slot(name).is_none_or(|slot| !bench.topics.is_wanted(slot)));
    }
}

/// The server reads what the session sends, and holds it to the limits.
fn serve(bench: &mut Bench, server: &mut Server, seed: u64, step: usize) {
    bench.wait(Duration::ZERO);
    let sent = bench.sent();
    // What is due was done: otherwise a shard would turn in a circle.
    let next = bench.session.poll_timeout(bench.now, &bench.topics);
    assert!(next.is_none_or(|at| at > bench.now), "seed {seed}, step {step}: nothing was done");
    for request in sent {
        let now = bench.now;
        server.frames.push(now);
        let recent = server.frames.iter().filter(|at| **at + SECOND > now).count();
        assert!(recent <= 5, "seed {seed}, step {step}: {recent} frames in a second");
        let words: Vec<&str> = request.split(' ').collect();
        server.has_login |= words == ["login"];
        let [_, id, list] = words[..] else { continue };
        assert!(!server.has_login, "seed {seed}, step {step}: {request} before the login's answer");
        assert!(request.len() <= 30, "seed {seed}, step {step}: {} bytes", request.len());
        let list: Vec<String> = list.split(',').map(str::to_owned).collect();
        let kinds: BTreeSet<&str> = list.iter().map(|topic| &topic[..1]).collect();
        assert_eq!(kinds.len(), 1, "seed {seed}, step {step}: {request}");
        let id = id.parse().expect("a number");
        assert!(server.open.insert(id, list).is_none(), "seed {seed}: id twice");
    }
}

/// The server answers one of its open requests: wholly, in part, twice, out of order, or wrongly.
fn answer(bench: &mut Bench, server: &mut Server, rng: &mut SmallRng) {
    if std::mem::take(&mut server.has_login) {
        let refusal = Refusal::for_now("busy");
        let is_accepted = rng.random_bool(0.8);
        return bench.says(if is_accepted { Said::LoggedIn } else { Said::login_refused(refusal) });
    }
    let ids: Vec<RequestId> = server.open.keys().copied().collect();
    let Some(id) = ids.choose(rng).copied() else { return };
    let list = server.open[&id].clone();
    let some: Vec<&str> =
        list.iter().map(String::as_str).filter(|_| rng.random_bool(0.5)).collect();
    let refusal = if rng.random_bool(0.5) { no("never") } else { Refusal::for_now("later") };
    let said = match rng.random_range(0..9) {
        0..=3 => confirmed(id),
        4 => Said::refused(id, refusal),
        5 => Said::confirmed(Which::of(id, some)),
        6 => Said::refused(Which::of(id, some), refusal),
        7 => Said::confirmed(Which::topics(some)),
        _ => Said::refused(Which::topics(some), refusal),
    };
    bench.says(said);
    if rng.random_bool(0.9) {
        server.open.remove(&id);
    }
}

/// Every wanted topic is confirmed, refused, or has a request that is due or a deadline that will come.
fn check(bench: &mut Bench, seed: u64, step: usize) {
    let Bench { session, topics, now, .. } = bench;
    let subscriptions = session.subscriptions();
    let timeout = session.poll_timeout(*now, topics);
    for (topic, slot) in topics.iter() {
        let state = subscriptions.state(slot);
        if !topics.is_wanted(slot) {
            let is_left = state != OnServer::Off;
            let is_filtered = || bench.seen.changes.contains(&format!("~{topic}"));
            let leaves = subscriptions.has_request(slot) || is_filtered();
            assert!(!is_left || leaves, "seed {seed}, step {step}: {topic} stays: {state:?}");
        }
        if !topics.is_wanted(slot) || state == OnServer::On {
            continue;
        }
        let is_final = topics.refusal(slot).is_some_and(|refusal| refusal.for_good);
        let has_timer = timeout.is_some() || session.is_held;
        assert!(is_final || has_timer, "seed {seed}, step {step}: {topic} is forgotten: {state:?}");
        let is_due = subscriptions.has_request(slot) || topics.refusal(slot).is_some();
        assert!(is_due, "seed {seed}, step {step}: no request will be made for {topic}: {state:?}");
    }
    let left = subscriptions.left(topics);
    if session.stage == Stage::LoggedIn {
        assert_eq!(session.progress(topics) == Progress::Active, left == 0);
    }
}

#[test]
fn no_wanted_topic_is_ever_forgotten() {
    let mut steps = 0;
    for seed in 0..400 {
        steps += run_script(seed, 600);
    }
    assert!(steps >= 200_000);
}
