use super::*;

use crate::feed::dialect::Dialect;
use crate::feed::said::Which;
use crate::feed::topic::{RequestId, Topic};
use crate::proto::message::View;

mod scripts;

const SECOND: Duration = Duration::from_secs(1);

/// A dialect whose requests are words: `login`, `beat`, `sub ID a,b`, `unsub ID a,b`.
struct Words {
    logs_in: bool,
    unsubscribes: bool,
    has_snapshots: bool,
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

    fn snapshot(&mut self, id: RequestId, topic: &Topic) -> Option<Request> {
        self.has_snapshots.then(|| Request::text(format!("whole {id} {topic}")))
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
    /// Snapshots to ask for.
    asks: VecDeque<SnapshotAsk>,
    rotations: usize,
    /// Topics whose state is wrong.
    disputes: Vec<String>,
    /// Topics that were asked for.
    asked: Vec<Slot>,
}

impl Sink<u64> for Seen {
    fn data(&mut self, data: Data<u64>, topics: &Topics) {
        assert!(topics.is_wanted(data.slot), "an update of a topic that is not wanted");
        self.updates.push((topics.topic(data.slot).to_string(), data.item));
    }

    fn asked(&mut self, slot: Slot) {
        self.asked.push(slot);
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

    fn dispute(&mut self, slot: Slot, topics: &Topics) {
        self.disputes.push(topics.topic(slot).to_string());
    }

    fn next_ask(&mut self, _: Instant, may: impl Fn(Slot) -> bool) -> Option<SnapshotAsk> {
        let at = self.asks.iter().position(|ask| may(ask.slot))?;
        self.asks.remove(at)
    }

    fn unwanted(&mut self, _: &str, _: bool) {
        self.unwanted += 1;
    }

    fn rotate(&mut self, _: Duration) {
        self.rotations += 1;
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
        let dialect = Words { logs_in: false, unsubscribes: true, has_snapshots: true };
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
        session.handle_read();
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
    assert_eq!((bench.sent(), bench.seen.asked.len()), (vec!["sub 1 a,b".to_owned()], 2));
    bench.says(confirmed(1));
    assert_eq!(
        (bench.changes(), bench.progress()),
        (vec!["+a".into(), "+b".into()], Progress::Active)
    );
    assert!(bench.sent().is_empty());
    bench.remove("a");
    assert_eq!((bench.sent(), bench.seen.asked.len()), (vec!["unsub 2 a".to_owned()], 2));
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
    bench.wait(10 * SECOND);
    assert_eq!(bench.session.poll_failure(), None);
    bench.wait(9 * SECOND);
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
    bench.says(Said::Notice(Notice::RotateWithin(SECOND)));
    assert_eq!((bench.seen.rotations, bench.session.poll_failure()), (1, None), "it goes on");
    bench.says(Said::Notice(Notice::Reconnect));
    assert_eq!(bench.session.poll_failure(), Some(Failed::Asked));
}

#[test]
fn a_number_that_is_missing_on_the_line_is_reported() {
    let mut bench = Bench::new(Rules::default(), &[]);
    [5, 6, 9, 9, 1, 2].into_iter().for_each(|number| bench.says(Said::Counted(number)));
    assert_eq!(bench.seen.missing, [(7, 8)]);
}

#[test]
fn a_state_that_is_wrong_is_passed_on_for_a_wanted_topic() {
    let mut bench = Bench::new(Rules::default(), &["a"]);
    bench.says(["b", "a"].map(Said::resync).into_iter().collect());
    bench.topics.remove(bench.topics.slot("a").expect("a known topic"));
    bench.says(Said::resync("a"));
    assert_eq!(bench.seen.disputes, ["a"]);
}

impl Bench {
    fn asks(&mut self, name: &str, is_first: bool) {
        let slot = self.topics.slot(name).expect("a known topic");
        self.seen.asks.push_back(SnapshotAsk { slot, round: 0, is_first });
    }
}

#[test]
fn snapshots_are_asked_for_behind_everything_else_and_under_the_limit_of_frames() {
    let rules = Rules::default().frames(4, SECOND).requests(2, 60 * SECOND);
    let mut bench = Bench::new(rules, &["a"]);
    bench.dialect.logs_in = true;
    bench.asks("a", true);
    assert_eq!(bench.sent(), ["login"]);
    bench.says(Said::LoggedIn);
    assert_eq!(bench.sent(), ["sub 1 a"], "it is not confirmed");
    bench.says(confirmed(1));
    bench.add("b");
    (0..3).for_each(|_| bench.asks("a", false));
    assert_eq!(
        bench.sent(),
        ["whole 2 a"],
        "the limit of requests holds back the subscription alone"
    );
    let ready = bench.session.snapshot_ready_at(bench.now).unwrap();
    assert!(ready > bench.now + SECOND && ready < bench.now + 2 * SECOND);
    bench.now = ready;
    assert_eq!(bench.sent(), ["whole 3 a", "whole 4 a", "whole 5 a"]);
    assert_eq!(bench.session.requests(), 6);
    bench.says(Said::Notice(Notice::Pause { at_most: SECOND }));
    assert_eq!(bench.session.snapshot_ready_at(bench.now), None);
}

#[test]
fn where_the_venue_has_no_request_for_a_snapshot_the_topic_is_subscribed_again() {
    let mut bench = Bench::new(Rules::default(), &["a"]);
    bench.dialect.has_snapshots = false;
    assert_eq!(bench.sent(), ["sub 1 a"]);
    bench.says(confirmed(1));
    bench.asks("a", true);
    assert!(bench.sent().is_empty(), "the subscription brings the first one");
    bench.asks("a", false);
    let sent = bench.sent().concat();
    assert!(sent.starts_with("unsub ") && sent.ends_with(" a"), "{sent}");
}
