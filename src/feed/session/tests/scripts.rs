//! Random scripts of a venue and a user.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::feed::subscriptions::OnServer;

/// The server of the random scripts: what it has, by its own count.
#[derive(Default)]
struct Server {
    /// The topics of the requests that it has not answered.
    open: BTreeMap<RequestId, Vec<String>>,
    frames: Vec<Instant>,
    /// Whether it has a login to answer.
    has_login: bool,
    /// How it has refused the login.
    refusal: Option<Refusal>,
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
        let failed = bench.session.poll_failure();
        if let Some(refusal) = server.refusal.take() {
            let is_final = refusal.for_good;
            assert_eq!(failed, Some(Failed::Login(refusal)), "seed {seed}, step {step}");
            if is_final {
                stay_silent(&mut bench, &names, &mut rng);
            }
        }
        if failed.is_some() {
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

/// The login was refused for good: whatever the user and time bring, the session asks for nothing more.
fn stay_silent(bench: &mut Bench, names: &[String], rng: &mut SmallRng) {
    for _ in 0..5 {
        wish(bench, names.choose(rng).unwrap(), rng);
        bench.wait(SECOND * rng.random_range(0..700));
        assert!(bench.sent().is_empty(), "a request after a login that was refused for good");
        assert_eq!(bench.session.poll_timeout(bench.now, &bench.topics), None);
        assert_eq!(bench.session.poll_failure(), None, "it is reported once");
    }
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
        let refusal = match rng.random_range(0..10) {
            0 => Refusal::for_now("busy"),
            1 => no("a wrong key"),
            _ => return bench.says(Said::LoggedIn),
        };
        server.refusal = Some(refusal.clone());
        return bench.says(Said::login_refused(refusal));
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
