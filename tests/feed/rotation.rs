//! Lines that are replaced by new ones while data flows: nothing is lost, nothing is doubled, and nothing blocks it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Addr};
use actix_ws_client::feed::event::{self, GapCause, Rotated, Rotation};
use actix_ws_client::feed::{Builder, Dialect, Feed, MINUTE, Rotate, SECOND, Threads, command};
use actix_ws_client::{Budget, Reconnect};
use tokio::time::{Instant, sleep};

use crate::lines::{Story, most_dials, story};
use crate::venue::{Venue, Words};
use crate::{Book, Log, Random, Rest, Seen, Sleeper, close, confirmed, names, simulated, tick};

const MILLI: Duration = Duration::from_millis(1);

/// The results of rotations.
#[derive(Clone, Default)]
pub(crate) struct Results(Arc<Mutex<Vec<Rotated>>>);

impl Results {
    pub(crate) fn all(&self) -> Vec<Rotated> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn done(&self) -> usize {
        self.all().iter().filter(|rotated| rotated.outcome == Rotation::Done).count()
    }

    /// The causes of those that failed.
    pub(crate) fn failed(&self) -> Vec<String> {
        let cause = |rotated: Rotated| match rotated.outcome {
            Rotation::Failed { cause, .. } => Some(cause.to_string()),
            _ => None,
        };
        self.all().into_iter().filter_map(cause).collect()
    }
}

/// A feed whose dials have a letter each, in turn: `a`, `b`, and so on.
pub(crate) fn rotating(venue: &Venue, log: &Log, results: &Results) -> Builder<Words> {
    rotating_as(venue, log, results, |words| words)
}

/// The same, with a dialect that is made of the venue's words.
pub(crate) fn rotating_as<D: Dialect<Item = u64>>(
    venue: &Venue,
    log: &Log,
    results: &Results,
    make: impl Fn(Words) -> D + Send + Sync + 'static,
) -> Builder<D> {
    let (book, dials) = (Book(log.clone()).start(), AtomicUsize::new(0));
    let (venue, results) = (venue.clone(), results.clone());
    Feed::builder(async move |_| {
        let number = dials.fetch_add(1, Ordering::Relaxed);
        let token = format!("{}{number}", char::from(b'a' + (number % 26) as u8));
        let url = format!("ws://venue/?{token}");
        Ok(make(Words { token, logs_in: true }).at(url))
    })
    .threads(Threads::Here)
    .connection(move |builder| {
        let venue = venue.clone();
        builder.transport_with(move |_, _| venue.accept())
    })
    .handler(&book)
    .on::<Rotated>(actix_ws_client::event::call(move |rotated: Rotated| {
        results.0.lock().unwrap().push(rotated);
    }))
    .on::<event::Stopped>(book.recipient())
}

/// Has lost lines dialled again at once, before their shard knows of the loss.
pub(crate) fn eager<D: Dialect<Item = u64>>(builder: Builder<D>, venue: &Venue) -> Builder<D> {
    let venue = venue.clone();
    builder.connection(move |builder| {
        let (venue, at_once) = (venue.clone(), || std::iter::repeat(Duration::ZERO));
        builder.reconnect(Reconnect::delays(at_once)).transport_with(move |_, _| venue.accept())
    })
}

/// Starts a feed, and waits until each topic is confirmed on every line.
pub(crate) async fn start<D: Dialect<Item = u64>>(
    builder: Builder<D>,
    venue: &Venue,
    log: &Log,
    names: &[String],
    lines: usize,
) -> Addr<Feed<u64>> {
    let feed = builder.topics(names).start().unwrap();
    confirmed(log, names, 1).await;
    while legs(venue, names).len() < lines {
        sleep(10 * MILLI).await;
    }
    // The answers are read. What is missing before the first update is not noticed.
    sleep(SECOND).await;
    names.iter().for_each(|name| tick(venue, name));
    sleep(SECOND).await;
    feed
}

/// Returns the letters of the connections that have all topics, the oldest first.
pub(crate) fn legs(venue: &Venue, names: &[String]) -> Vec<char> {
    let state = venue.state();
    let is_full = |open: &&crate::venue::Open| names.iter().all(|it| open.subscribed.contains(it));
    state.open.values().filter(is_full).map(|open| open.letter).collect()
}

/// Returns the letter of the newest connection, whatever it has.
pub(crate) fn newest(venue: &Venue) -> Option<char> {
    venue.state().open.values().last().map(|open| open.letter)
}

/// Sends an update of each topic every 20 ms, of more than two topics only one in 20 s of the last, until a condition holds.
pub(crate) async fn load(
    venue: &Venue,
    names: &[String],
    most: Duration,
    holds: impl Fn() -> bool,
) {
    let (begin, quiet) = (Instant::now(), if names.len() > 2 { names.len() - 1 } else { 2 });
    let mut turn = 0;
    while !holds() {
        assert!(begin.elapsed() < most, "it is blocked");
        names[..quiet.min(names.len())].iter().for_each(|name| tick(venue, name));
        if turn % 1_000 == 500 {
            names[quiet.min(names.len())..].iter().for_each(|name| tick(venue, name));
        }
        turn += 1;
        sleep(20 * MILLI).await;
    }
}

/// Everything that the venue has sent was delivered once.
fn assert_whole(venue: &Venue, log: &Log, names: &[String]) {
    for name in names {
        let found = story(log, name);
        let last = venue.tick(name) - 1;
        assert_eq!(found, Story { delivered: last, last, ..Story::default() }, "{name}");
    }
}

#[test]
fn twenty_rotations_under_load_lose_and_double_nothing() {
    // With a quiet topic, and without one: then the old line is closed as soon as all topics have joined.
    for (seed, lines, count) in [(1, 1, 6), (2, 1, 2), (3, 2, 6), (4, 2, 2)] {
        println!("seed {seed}, {lines} lines, {count} topics");
        simulated(async move {
            let (venue, log, names) = (Venue::default(), Log::default(), names(count));
            let (results, mut random) = (Results::default(), Random(seed));
            // Each connection is late in its own way, and by less than a hole is waited for.
            for letter in 'a'..='z' {
                let lag = random.below(450) as u32 * MILLI;
                venue.state().lags.insert(letter, lag);
            }
            let builder = rotating(&venue, &log, &results).lines(lines);
            let feed = start(builder, &venue, &log, &names, lines.into()).await;
            let mut most = 0;
            for round in 0..20 {
                feed.send(command::Rotate::default()).await.unwrap();
                let wanted = (round + 1) * usize::from(lines);
                load(&venue, &names, MINUTE, || results.all().len() == wanted).await;
                most = most.max(venue.state().open.len());
            }
            sleep(2 * SECOND).await;
            assert_eq!(results.failed(), Vec::<String>::new());
            assert_whole(&venue, &log, &names);
            let dials = venue.state().dials.len();
            assert_eq!(dials, 21 * usize::from(lines), "one dial for each");
            let status = feed.send(command::Status).await.unwrap();
            assert_eq!(status.figures.rotations, 20 * u64::from(lines));
            let overlap = results.all().iter().map(|rotated| rotated.overlap).max().unwrap();
            assert!(overlap < 8 * SECOND, "the quiet topic is not waited for: {overlap:?}");
            close(feed, &log).await;
        });
    }
}

#[test]
fn letters_alternate_and_a_socket_is_named_once() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(2));
        let results = Results::default();
        let sockets = Arc::new(Mutex::new(BTreeSet::new()));
        let seen = sockets.clone();
        let builder = rotating(&venue, &log, &results).lines(2).on::<event::LineState>(
            actix_ws_client::event::call(move |line: event::LineState| {
                if matches!(line.state, event::LineIs::Active) {
                    seen.lock().unwrap().insert((line.line.to_string(), line.epoch));
                }
            }),
        );
        let feed = start(builder, &venue, &log, &names, 2).await;
        for round in 1..=2 {
            feed.send(command::Rotate::default()).await.unwrap();
            load(&venue, &names, MINUTE, || results.done() == 2 * round).await;
        }
        let names_of = |rotated: Rotated| (rotated.from.to_string(), rotated.to.to_string());
        let [a, b, c, d] = ["1a", "1b", "1c", "1d"].map(str::to_owned);
        let pairs: Vec<_> = results.all().into_iter().map(names_of).collect();
        let expected = [(&a, &c), (&b, &d), (&c, &a), (&d, &b)];
        assert_eq!(pairs, expected.map(|(from, to)| (from.clone(), to.clone())));
        let expected = [(&a, 1), (&a, 2), (&b, 1), (&b, 2), (&c, 1), (&d, 1)];
        let expected = BTreeSet::from(expected.map(|(line, epoch)| (line.clone(), epoch)));
        assert_eq!(*sockets.lock().unwrap(), expected);
        close(feed, &log).await;
    });
}

#[test]
fn rotations_by_age_keep_to_a_budget_of_three_dials_a_minute() {
    for lines in [1_u8, 2] {
        simulated(async move {
            let (venue, log, names) = (Venue::default(), Log::default(), names(3));
            let results = Results::default();
            venue.state().dials_in = Some((3, MINUTE));
            let rotate = Rotate::at_age(5 * SECOND).jitter(SECOND);
            let builder = rotating(&venue, &log, &results)
                .lines(lines)
                .budget(&Budget::dials(3, MINUTE))
                .rotate(rotate);
            let feed = start(builder, &venue, &log, &names, lines.into()).await;
            load(&venue, &names, 20 * MINUTE, || results.done() >= 20).await;
            sleep(SECOND).await;
            assert_eq!(results.failed(), Vec::<String>::new());
            {
                let state = venue.state();
                assert_eq!(state.refused.len(), 0, "{lines} lines");
                assert!(most_dials(&state.dials, MINUTE) <= 3, "{lines} lines");
            }
            assert_whole(&venue, &log, &names);
            close(feed, &log).await;
        });
    }
}

/// The causes of gaps.
#[derive(Clone, Default)]
pub(crate) struct Causes(pub(crate) Arc<Mutex<Vec<GapCause>>>);

impl Causes {
    pub(crate) fn recipient(&self) -> actix::Recipient<event::Gap> {
        let causes = self.0.clone();
        actix_ws_client::event::call(move |gap: event::Gap| causes.lock().unwrap().push(gap.cause))
    }
}

/// A line that brings no data although its topics are confirmed does not take over. The old one goes on, and ten minutes
/// later the next one does.
#[test]
fn a_new_line_without_data_fails_and_the_next_one_comes_ten_minutes_later() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(3));
        let results = Results::default();
        let feed = start(rotating(&venue, &log, &results), &venue, &log, &names, 1).await;
        feed.send(command::Rotate::default()).await.unwrap();
        load(&venue, &names, MINUTE, || legs(&venue, &names).len() == 2).await;
        let new = newest(&venue).unwrap();
        venue.freeze_line(new);
        let begin = Instant::now();
        load(&venue, &names, MINUTE, || !results.all().is_empty()).await;
        assert!(begin.elapsed() > 30 * SECOND, "{:?}", begin.elapsed());
        let failed = results.failed();
        assert_eq!(failed.len(), 1);
        assert!(
            failed[0].ends_with("has brought data on line 1a and none on line 1b"),
            "{failed:?}"
        );
        load(&venue, &names, MINUTE, || venue.state().open.len() == 1).await;
        load(&venue, &names, 11 * MINUTE, || results.done() == 1).await;
        assert!(begin.elapsed() > 10 * MINUTE, "{:?}", begin.elapsed());
        sleep(SECOND).await;
        assert_whole(&venue, &log, &names);
        close(feed, &log).await;
    });
}

#[test]
fn a_venue_of_one_session_has_its_line_closed_first_and_the_gap_says_so() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(1));
        let (results, causes) = (Results::default(), Causes::default());
        venue.state().delay = 100 * MILLI;
        let rotate = Rotate::at_age(10 * SECOND).jitter(SECOND).break_first();
        let builder = rotating(&venue, &log, &results).rotate(rotate).on(causes.recipient());
        let feed = start(builder, &venue, &log, &names, 1).await;
        let mut most = 0;
        for round in 1..=5 {
            load(&venue, &names, MINUTE, || results.done() == round).await;
            most = most.max(venue.state().open.len());
        }
        assert_eq!(most, 1);
        assert!(results.all().iter().all(|rotated| rotated.from == rotated.to));
        sleep(SECOND).await;
        let found = story(&log, &names[0]);
        assert_eq!((found.gaps, found.doubled, found.lost), (5, vec![], vec![]));
        assert!(causes.0.lock().unwrap().iter().all(|cause| *cause == GapCause::Rotation));
        // A loss is none of it.
        venue.cut();
        venue.state().accept_delay = SECOND;
        load(&venue, &names, MINUTE, || causes.0.lock().unwrap().len() == 6).await;
        assert_eq!(causes.0.lock().unwrap().last(), Some(&GapCause::Outage));
        close(feed, &log).await;
    });
}

/// A line needs six seconds to become active, and its sockets are to live for five.
#[test]
fn a_line_of_one_session_carries_its_topics_for_half_of_the_time_whatever_its_age() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(1));
        let results = Results::default();
        (venue.state().delay, venue.state().accept_delay) = (3 * SECOND, SECOND);
        let rotate = Rotate::at_age(5 * SECOND).jitter(SECOND).break_first();
        let builder = rotating(&venue, &log, &results).rotate(rotate);
        let feed = start(builder, &venue, &log, &names, 1).await;
        load(&venue, &names, 3 * MINUTE, || results.done() == 8).await;
        sleep(SECOND).await;
        let found = story(&log, &names[0]);
        assert_eq!((&found.doubled, &found.lost), (&vec![], &vec![]));
        assert!(found.delivered * 100 > found.last * 60, "{found:?}");
        let dials = venue.state().dials.clone();
        let shortest = dials.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
        println!("{} of {} delivered, a dial in {shortest:?}", found.delivered, found.last);
        assert!(shortest > 12 * SECOND, "{shortest:?}");
        close(feed, &log).await;
    });
}

#[test]
fn without_a_socket_in_the_budget_the_old_line_is_closed_first() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(2));
        let results = Results::default();
        let budget = Budget::dials(100, SECOND).sockets(1);
        let builder = rotating(&venue, &log, &results).budget(&budget);
        let feed = start(builder, &venue, &log, &names, 1).await;
        feed.send(command::Rotate::default()).await.unwrap();
        let begin = Instant::now();
        load(&venue, &names, MINUTE, || results.done() == 1).await;
        assert!((30 * SECOND..33 * SECOND).contains(&begin.elapsed()), "{:?}", begin.elapsed());
        assert_eq!(venue.state().dials.len(), 2);
        let found = story(&log, &names[0]);
        assert!(
            found.doubled.is_empty() && found.lost.is_empty() && found.missing < 20,
            "{found:?}"
        );
        close(feed, &log).await;
    });
}

/// Whatever else is asked of a feed while a line is replaced, it does, and the rotation ends.
#[test]
fn commands_during_a_rotation_are_carried_out() {
    for (step, what) in
        (0..6).flat_map(|step| ["pause", "close", "remove", "add"].map(|it| (step, it)))
    {
        simulated(async move {
            let (venue, log, names) = (Venue::default(), Log::default(), names(3));
            let results = Results::default();
            let feed = start(rotating(&venue, &log, &results), &venue, &log, &names, 1).await;
            (venue.state().accept_delay, venue.state().delay) = (500 * MILLI, 500 * MILLI);
            feed.send(command::Rotate::default()).await.unwrap();
            carry(&venue, &names, step * 400 * MILLI, &mut BTreeMap::new()).await;
            println!("{what} in step {step}");
            match what {
                "pause" => {
                    feed.send(command::Pause).await.unwrap();
                    sleep(20 * SECOND).await;
                    assert_eq!(venue.state().open.len(), 0);
                    feed.send(command::Resume).await.unwrap();
                }
                "close" => return close(feed, &log).await,
                "remove" => {
                    let removed = feed.send(command::Remove::new(&names[..1])).await.unwrap();
                    assert_eq!(removed[0].1, command::Answer::Removed);
                }
                _ => {
                    let added = feed.send(command::Add::new(["more"])).await.unwrap();
                    assert_eq!(added[0].1, command::Answer::Confirmed);
                }
            }
            load(&venue, &names, MINUTE, || !results.all().is_empty()).await;
            carry(&venue, &names, 10 * SECOND, &mut BTreeMap::new()).await;
            assert_eq!(venue.state().open.len(), 1, "{what} in step {step}");
            let mut wanted: BTreeSet<String> = names.iter().cloned().collect();
            match what {
                "remove" => assert!(wanted.remove(&names[0])),
                "add" => assert!(wanted.insert("more".into())),
                _ => {}
            }
            assert_eq!(venue.subscribed(), wanted, "{what} in step {step}");
            let found = story(&log, &names[1]);
            assert_eq!((found.doubled, found.lost), (vec![], vec![]), "{what} in step {step}");
            assert!(what == "pause" || found.missing == 0, "{what} in step {step}");
            close(feed, &log).await;
        });
    }
}

/// Both lines are lost at once, at every 200 ms of a rotation: one line comes back.
#[test]
fn the_loss_of_both_legs_leaves_one_line() {
    for step in 0..14 {
        simulated(async move {
            let (venue, log, names) = (Venue::default(), Log::default(), names(2));
            let results = Results::default();
            let sockets = Arc::new(Mutex::new(Vec::new()));
            let seen = sockets.clone();
            let builder = rotating(&venue, &log, &results).on::<event::LineState>(
                actix_ws_client::event::call(move |line: event::LineState| {
                    if matches!(line.state, event::LineIs::LoggingIn) {
                        seen.lock().unwrap().push((line.line.to_string(), line.epoch));
                    }
                }),
            );
            let feed = start(builder, &venue, &log, &names, 1).await;
            (venue.state().accept_delay, venue.state().delay) = (500 * MILLI, 500 * MILLI);
            feed.send(command::Rotate::default()).await.unwrap();
            carry(&venue, &names, step * 200 * MILLI, &mut BTreeMap::new()).await;
            venue.cut();
            carry(&venue, &names, 20 * SECOND, &mut BTreeMap::new()).await;
            assert_eq!(legs(&venue, &names).len(), 1, "step {step}");
            feed.send(command::Rotate::default()).await.unwrap();
            let before = results.done();
            load(&venue, &names, MINUTE, || results.done() > before).await;
            sleep(SECOND).await;
            let (found, last) = (story(&log, &names[0]), venue.tick(&names[0]) - 1);
            assert_eq!((found.doubled, found.lost, found.last), (vec![], vec![], last));
            let sockets = sockets.lock().unwrap().clone();
            let names: BTreeSet<_> = sockets.iter().collect();
            assert_eq!(names.len(), sockets.len(), "step {step}: {sockets:?}");
            close(feed, &log).await;
        });
    }
}

/// Waits until a condition holds.
pub(crate) async fn until(holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < MINUTE, "it does not happen");
        sleep(MILLI).await;
    }
}

/// The old line is lost as soon as the new one is active, whose updates are late. The next rotation adds a line that is
/// not late, and so brings later numbers first.
#[test]
fn what_is_under_way_on_a_line_that_took_over_is_not_given_up_for_the_next_one() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(2));
        let results = Results::default();
        let feed = start(rotating(&venue, &log, &results), &venue, &log, &names, 1).await;
        let ticks = || names.iter().for_each(|name| tick(&venue, name));
        venue.state().lags.insert('b', 200 * MILLI);
        for round in 1..=2 {
            feed.send(command::Rotate::default()).await.unwrap();
            until(|| legs(&venue, &names).len() == 2).await;
            sleep(10 * MILLI).await;
            ticks();
            if round == 1 {
                venue.cut_line('a');
                until(|| legs(&venue, &names) == ['b']).await;
                ticks();
            }
            until(|| results.done() == round).await;
        }
        ticks();
        sleep(SECOND).await;
        assert_whole(&venue, &log, &names);
        close(feed, &log).await;
    });
}

#[test]
fn a_quiet_topic_that_only_the_new_line_refuses_for_good_is_reported_as_refused() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(3));
        let results = Results::default();
        let feed = start(rotating(&venue, &log, &results), &venue, &log, &names, 1).await;
        venue.state().refuses_whole = true;
        venue.state().unknown_on.insert(('b', names[2].clone()));
        feed.send(command::Rotate::default()).await.unwrap();
        let refused = Seen::Topic(names[2].clone(), "refused for good");
        load(&venue, &names[..2], MINUTE, || {
            assert!(results.done() == 1 || log.count(&refused) == 0, "the old line carries it");
            results.done() == 1
        })
        .await;
        sleep(SECOND).await;
        assert_eq!(log.count(&refused), 1);
        assert_whole(&venue, &log, &names[..2]);
        close(feed, &log).await;
    });
}

/// A login that is refused for good while a line is replaced ends no line that is open.
#[test]
fn a_login_that_is_refused_for_good_leaves_the_old_line_until_it_is_lost() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(2));
        let results = Results::default();
        let feed = start(rotating(&venue, &log, &results), &venue, &log, &names, 1).await;
        venue.state().login = Some("for-good".into());
        feed.send(command::Rotate::default()).await.unwrap();
        load(&venue, &names, MINUTE, || !results.all().is_empty()).await;
        assert_eq!(results.failed(), ["the new line failed: bad key"]);
        carry(&venue, &names, 20 * MINUTE, &mut BTreeMap::new()).await;
        assert_eq!(venue.state().dials.len(), 2);
        assert_whole(&venue, &log, &names);
        venue.cut();
        log.until("the end", |seen| matches!(seen.last(), Some(Seen::Stopped(Some(_))))).await;
        drop(feed);
    });
}

/// Sends updates for a time, and notes those of each topic that no connection carries.
pub(crate) async fn carry(
    venue: &Venue,
    names: &[String],
    time: Duration,
    uncarried: &mut BTreeMap<String, BTreeSet<u64>>,
) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        for name in names {
            let is_carried = venue.subscribed().contains(name);
            let number = venue.tick(name);
            if !is_carried {
                uncarried.entry(name.clone()).or_default().insert(number);
            }
        }
        sleep(20 * MILLI).await;
    }
}

/// One leg is killed at every 200 ms of a rotation.
#[test]
fn the_loss_of_either_leg_at_any_stage_loses_only_what_no_leg_carries() {
    for lines in [1_u8, 2] {
        for (kills_new, step) in
            [false, true].into_iter().flat_map(|new| (0..14).map(move |at| (new, at)))
        {
            simulated(async move {
                let (venue, log, names) = (Venue::default(), Log::default(), names(3));
                let results = Results::default();
                let builder = rotating(&venue, &log, &results).lines(lines);
                let feed = start(builder, &venue, &log, &names, lines.into()).await;
                // Dial, login and subscription take 500 ms each.
                (venue.state().accept_delay, venue.state().delay) = (500 * MILLI, 500 * MILLI);
                let old = legs(&venue, &names)[0];
                let mut uncarried = BTreeMap::new();
                carry(&venue, &names, 100 * MILLI, &mut uncarried).await;
                feed.send(command::Rotate::default()).await.unwrap();
                carry(&venue, &names, step * 200 * MILLI, &mut uncarried).await;
                let before = venue.state().open.len();
                let killed = if kills_new { newest(&venue) } else { Some(old) };
                killed.into_iter().for_each(|letter| venue.cut_line(letter));
                sleep(MILLI).await;
                let what = format!("{lines} lines, new {kills_new}, step {step}, {before} open");
                carry(&venue, &names, 20 * SECOND, &mut uncarried).await;
                let results = results.all();
                // A line that is dialled again meanwhile is not rotated.
                assert!(!results.is_empty(), "{what}");
                assert_eq!(legs(&venue, &names).len(), usize::from(lines), "{what}");
                sleep(SECOND).await;
                for name in &names {
                    let found = story(&log, name);
                    let empty = BTreeSet::new();
                    let uncarried = uncarried.get(name).unwrap_or(&empty);
                    assert_eq!((&found.doubled, &found.lost), (&vec![], &vec![]), "{what}");
                    assert_eq!(found.missing, uncarried.len() as u64, "{what}");
                    assert!(lines == 1 || uncarried.is_empty(), "{what}");
                }
                close(feed, &log).await;
            });
        }
    }
}

/// A handler sleeps for 20 s, and the shard holds its lines: rotations wait, and go on afterwards.
#[test]
fn rotations_while_a_handler_sleeps_lose_nothing_and_none_fails() {
    for lines in [1_u8, 2] {
        simulated(async move {
            let (venue, log, names) = (Venue::default(), Log::default(), names(8));
            let results = Results::default();
            let sleeper = Sleeper::new(&Log::default(), Rest::Mailbox(20 * SECOND)).start();
            let builder = rotating(&venue, &log, &results)
                .lines(lines)
                .on::<event::Update<u64>>(sleeper.recipient());
            let feed = start(builder, &venue, &log, &names, lines.into()).await;
            for _ in 0..8 {
                feed.send(command::Rotate::default()).await.unwrap();
                carry(&venue, &names, 4 * SECOND, &mut BTreeMap::new()).await;
            }
            carry(&venue, &names, 20 * SECOND, &mut BTreeMap::new()).await;
            assert_eq!(results.failed(), Vec::<String>::new());
            assert!(results.done() >= 3, "{}", results.done());
            assert_eq!(legs(&venue, &names).len(), usize::from(lines));
            sleep(SECOND).await;
            assert_whole(&venue, &log, &names);
            close(feed, &log).await;
        });
    }
}

/// A topic falls silent while a line is replaced, and a line is dialled again for it, at every 500 ms of the rotation.
#[test]
fn a_line_that_is_failed_for_a_silent_topic_meanwhile_leaves_one_line() {
    for step in 0..8 {
        simulated(async move {
            let (venue, log, names) = (Venue::default(), Log::default(), names(2));
            let results = Results::default();
            let silence = actix_ws_client::feed::Silence::topic(4 * SECOND).fail();
            let builder = rotating(&venue, &log, &results).silence(silence);
            let feed = start(builder, &venue, &log, &names, 1).await;
            (venue.state().accept_delay, venue.state().delay) = (500 * MILLI, 500 * MILLI);
            names.iter().for_each(|name| tick(&venue, name));
            carry(&venue, &names[..1], step * 500 * MILLI, &mut BTreeMap::new()).await;
            feed.send(command::Rotate::default()).await.unwrap();
            carry(&venue, &names[..1], 4500 * MILLI - step * 500 * MILLI, &mut BTreeMap::new())
                .await;
            let silent = Seen::Topic(names[1].clone(), "silent");
            assert_eq!(log.count(&silent), 1, "step {step}");
            carry(&venue, &names, 20 * SECOND, &mut BTreeMap::new()).await;
            assert_eq!(legs(&venue, &names).len(), 1, "step {step}");
            sleep(SECOND).await;
            for name in &names {
                let (found, last) = (story(&log, name), venue.tick(name) - 1);
                assert_eq!((found.doubled, found.lost, found.last), (vec![], vec![], last));
            }
            close(feed, &log).await;
        });
    }
}
