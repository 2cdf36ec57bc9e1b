//! The figures that also hold over TCP, with the times scaled down.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::{Actor, Arbiter, System};
use actix_ws_client::Budget;
use actix_ws_client::feed::{Builder, Dialect, Feed, Overflow, Rules, Silence, command, event};
use tokio::time::{Instant, sleep};

use crate::latest::{Calls, Slow, check, ticks};
use crate::lines::Story;
use crate::venue::{Venue, Words};
use crate::{Book, Log, Rest, Seen, Sleeper, names, tick};

const MILLI: Duration = Duration::from_millis(1);

/// Runs a test with a venue on a thread of its own, as a feed is run: in an actix system.
pub(crate) fn over_tcp(test: impl AsyncFnOnce(Venue, String)) {
    let venue = Venue::default();
    System::new().block_on(async {
        let arbiter = Arbiter::new();
        let (send, url) = tokio::sync::oneshot::channel();
        let server = venue.clone();
        arbiter.spawn(async move {
            drop(send.send(server.listen().await));
            std::future::pending::<()>().await;
        });
        test(venue, url.await.unwrap()).await;
        arbiter.stop();
    });
}

fn feed(url: String, log: &Log) -> Builder<Words> {
    let book = Book(log.clone()).start();
    Feed::builder(async move |attempt: actix_ws_client::feed::Attempt| {
        let token = attempt.line.to_string();
        let url = format!("{url}?{token}");
        Ok(Words { token, logs_in: true }.at(url))
    })
    .connection(|builder| builder.proxy_from_env(false))
    .handler(&book)
    .on::<event::LineState>(book.clone().recipient())
    .on::<event::Stopped>(book.recipient())
}

/// Waits until a condition holds, at most for 20 s.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < 20_000 * MILLI, "{what} did not happen");
        sleep(5 * MILLI).await;
    }
}

/// Returns the letters of the open connections, the oldest first.
fn letters(venue: &Venue) -> Vec<char> {
    venue.state().open.values().map(|open| open.letter).collect()
}

/// Returns the number of connections that have this many topics and are not frozen.
fn full(venue: &Venue, topics: usize) -> usize {
    let state = venue.state();
    let live = state.open.values().filter(|open| !open.is_frozen);
    live.filter(|open| open.subscribed.len() == topics).count()
}

fn confirmations(log: &Log) -> usize {
    log.all().iter().filter(|seen| matches!(seen, Seen::Topic(_, "confirmed"))).count()
}

#[test]
fn lines_keep_to_one_budget_over_tcp() {
    over_tcp(async |venue, url| {
        let (log, names) = (Log::default(), names(30));
        venue.state().dials_in = Some((10, 1000 * MILLI));
        let rules = Rules::default().topics_per_line(1);
        let budget = Budget::dials(10, 1000 * MILLI);
        let begin = Instant::now();
        let feed = feed(url, &log).budget(&budget).rules(rules).topics(&names).start().unwrap();
        until("all confirmed", || confirmations(&log) == 30).await;
        assert!(begin.elapsed() < 3200 * MILLI, "{:?}", begin.elapsed());
        assert_eq!(venue.state().dials.len(), 30);
        assert_eq!(venue.state().refused.len(), 0);
        feed.send(command::Close::default()).await.unwrap();
    });
}

/// The venue does not ban here: on a busy machine frames that were sent in time arrive together. That a replay takes as
/// long as the rate demands, or longer, holds on any.
#[test]
fn a_replay_keeps_to_the_rate_over_tcp() {
    over_tcp(async |venue, url| {
        let (log, names) = (Log::default(), names(300));
        (venue.state().frame_bytes, venue.state().ping_every) = (200, Some(140 * MILLI));
        let rules = Rules::default().frames(5, 200 * MILLI).frame_bytes(200);
        let mut begin = Instant::now();
        let feed = feed(url, &log).rules(rules).topics(&names).start().unwrap();
        for life in 1..=3 {
            until("all confirmed", || confirmations(&log) >= 300 * life).await;
            // A login and 10 requests of 31 names, at most 5 in 200 ms and one of those kept for a Pong.
            assert!(begin.elapsed() >= 400 * MILLI, "life {life}: {:?}", begin.elapsed());
            begin = Instant::now();
            venue.cut();
        }
        until("all confirmed", || confirmations(&log) >= 1200).await;
        assert_eq!(venue.state().breaches, Vec::<String>::new());
        assert_eq!(venue.state().dials.len(), 4);
        feed.send(command::Close::default()).await.unwrap();
    });
}

#[test]
fn one_refused_topic_leaves_the_others_over_tcp() {
    over_tcp(async |venue, url| {
        let (log, names) = (Log::default(), names(1000));
        {
            let mut state = venue.state();
            state.unknown.insert(names[77].clone());
            state.refuses_whole = true;
            state.cuts = vec![3, 5, 7];
        }
        let rules = Rules::default().topics_per_frame(100);
        let feed = feed(url, &log).rules(rules).topics(&names).start().unwrap();
        let expected: BTreeSet<String> =
            names.iter().filter(|name| **name != names[77]).cloned().collect();
        until("999 subscribed", || venue.subscribed() == expected).await;
        let refused = Seen::Topic(names[77].clone(), "refused for good");
        until("the refusal", || log.count(&refused) == 1).await;
        assert_eq!(venue.state().breaches, Vec::<String>::new());
        assert_eq!(venue.state().dials.len(), 4);
        feed.send(command::Close::default()).await.unwrap();
    });
}

#[test]
fn a_muted_topic_and_a_frozen_line_are_one_event_each_over_tcp() {
    over_tcp(async |venue, url| {
        let (log, names) = (Log::default(), names(300));
        let silence = Silence::topic(1000 * MILLI);
        let feed = feed(url, &log).silence(silence).topics(&names).start().unwrap();
        until("all confirmed", || confirmations(&log) == 300).await;
        let is_silent =
            |seen: &Seen| matches!(seen, Seen::Topic(_, "silent") | Seen::Line("silent"));
        let silent = || log.all().into_iter().filter(is_silent).collect::<Vec<_>>();
        let begin = Instant::now();
        while silent().is_empty() {
            names[1..].iter().for_each(|name| tick(&venue, name));
            sleep(50 * MILLI).await;
            assert!(begin.elapsed() < 1500 * MILLI, "{:?}", begin.elapsed());
        }
        assert_eq!(silent(), [Seen::Topic(names[0].clone(), "silent")]);
        until("the frozen line", || silent().len() > 1).await;
        sleep(500 * MILLI).await;
        assert_eq!(silent()[1..], [Seen::Line("silent")]);
        feed.send(command::Close::default()).await.unwrap();
    });
}

/// On one line, and on two: what either of them has read is there, and neither is given up.
#[test]
fn a_handler_that_sleeps_loses_nothing_over_tcp() {
    for lines in [1_u8, 2] {
        over_tcp(async |venue, url| {
            let count = 50 / usize::from(lines);
            let (log, updates, names) = (Log::default(), Log::default(), names(count));
            let arbiter = Arbiter::new();
            let sleeper = Sleeper::new(&updates, Rest::Thread(2000 * MILLI));
            let sleeper = Sleeper::start_in_arbiter(&arbiter.handle(), |_| sleeper);
            let rules = Rules::default().answer_within(500 * MILLI).heartbeat(200 * MILLI);
            let feed = feed(url, &log)
                .lines(lines)
                .rules(rules)
                .silence(Silence::topic(500 * MILLI).fail())
                .on::<event::Update<u64>>(sleeper.recipient())
                .topics(&names)
                .start()
                .unwrap();
            until("all subscribed", || full(&venue, count) == usize::from(lines)).await;
            until("all confirmed", || confirmations(&log) == count).await;
            for _ in 0..300 {
                names.iter().for_each(|name| tick(&venue, name));
                sleep(5 * MILLI).await;
            }
            // Life goes on after the sleep, so that no topic is silent.
            let begin = Instant::now();
            let mut last = 300;
            while begin.elapsed() < 1500 * MILLI {
                names.iter().for_each(|name| last = venue.tick(name));
                sleep(50 * MILLI).await;
            }
            until("all updates", || updates.all().len() as u64 == last * count as u64).await;
            for name in &names {
                let found = crate::lines::story(&updates, name);
                let whole = Story { delivered: last, last, ..Story::default() };
                assert_eq!(found, whole, "{name}, {lines} lines");
            }
            let bad = |seen: &Seen| {
                matches!(seen, Seen::Gap(..) | Seen::Line("silent") | Seen::Topic(_, "silent"))
            };
            assert_eq!(log.all().into_iter().find(bad), None, "{lines} lines");
            assert_eq!(venue.state().dials.len(), usize::from(lines));
            for letter in ['a', 'b'].into_iter().take(lines.into()) {
                let beats = venue.beats(letter);
                let late = beats.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
                assert!(beats.len() >= 10 && late < 700 * MILLI, "{letter}: {late:?}");
            }
            feed.send(command::Close::default()).await.unwrap();
            arbiter.stop();
        });
    }
}

#[test]
fn a_slow_handler_has_the_newest_of_each_topic_in_turn_over_tcp() {
    for count in [1, 7] {
        over_tcp(async |venue, url| {
            let (log, calls, names) = (Log::default(), Calls::default(), names(count));
            let arbiter = Arbiter::new();
            let (seen, gaps) = (calls.clone(), log.clone());
            let slow = Slow::start_in_arbiter(&arbiter.handle(), |_| Slow {
                calls: seen,
                number: 0,
                time: 100 * MILLI,
                log: gaps,
            });
            let feed = feed(url, &log)
                .overflow(Overflow::Latest)
                .on::<event::Update<u64>>(slow.recipient())
                .topics(&names)
                .start()
                .unwrap();
            until("all confirmed", || confirmations(&log) == count).await;
            let sent = ticks(&venue, &names, &calls, 300, 1).await;
            let at_end = calls.count();
            let newest = |name: &String| sent.iter().rev().find(|sent| sent.topic == *name);
            let newest: Vec<_> = names.iter().filter_map(newest).map(|sent| sent.item).collect();
            let has = |(name, item): (&String, &u64)| {
                calls.all().iter().any(|call| call.topic == *name && call.item == *item)
            };
            until("the newest of each", || names.iter().zip(&newest).all(has)).await;
            // A call more than in simulated time: one may begin while the update is under way.
            check(&sent, &calls.all(), count + 2);
            assert!(calls.count() <= at_end + count + 1, "{} {at_end}", calls.count());
            assert!(calls.count() * 5 < sent.len(), "it took a tenth");
            // The other handler is fast, and is not delayed.
            let last = sent.last().map(|sent| Seen::Update(sent.topic.clone(), sent.item)).unwrap();
            until("the last update", || log.count(&last) == 1).await;
            let updates = log.all().iter().filter(|seen| matches!(seen, Seen::Update(..))).count();
            assert!(updates > 2 * calls.count(), "{updates}");
            feed.send(command::Close::default()).await.unwrap();
            arbiter.stop();
        });
    }
}

#[test]
fn a_frozen_line_is_replaced_within_three_seconds_over_tcp() {
    over_tcp(async |venue, url| {
        let (log, names) = (Log::default(), names(3));
        let feed = feed(url, &log).lines(2).topics(&names).start().unwrap();
        let live = || full(&venue, 3);
        until("two lines", || live() == 2).await;
        let turn = async || {
            names.iter().for_each(|name| tick(&venue, name));
            sleep(10 * MILLI).await;
        };
        for _ in 0..200 {
            turn().await;
        }
        venue.freeze_line('b');
        let frozen = Instant::now();
        while live() < 2 {
            turn().await;
            assert!(frozen.elapsed() < 3000 * MILLI, "the line is not replaced");
        }
        turn().await;
        let last = venue.tick(&names[0]);
        let numbers = || {
            let number = |seen| match seen {
                Seen::Update(name, number) if name == names[0] => Some(number),
                _ => None,
            };
            log.all().into_iter().filter_map(number).collect::<Vec<u64>>()
        };
        until("the last update", || numbers().last() == Some(&last)).await;
        assert!(numbers().into_iter().eq(1..=last), "each once and in order");
        feed.send(command::Close::default()).await.unwrap();
    });
}

/// What is killed while a line is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Killed {
    Nothing,
    Old,
    New,
}

/// Thirty rotations under load and with a quiet topic: in ten of them the old line is killed, in ten the new one, each time
/// at another stage. What the venue has written on a socket arrives.
#[test]
fn rotations_lose_and_double_nothing_over_tcp() {
    over_tcp(async |venue, url| {
        let (log, names) = (Log::default(), names(4));
        let book = Book(log.clone()).start();
        let (dials, rotations) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let done = rotations.clone();
        let feed = Feed::builder(async move |_| {
            let number = dials.fetch_add(1, Ordering::Relaxed);
            let token = format!("{}{number}", char::from(b'a' + (number % 26) as u8));
            let url = format!("{url}?{token}");
            Ok(Words { token, logs_in: true }.at(url))
        })
        .connection(|builder| builder.proxy_from_env(false))
        .handler(&book)
        .on::<event::Rotated>(actix_ws_client::event::call(move |_: event::Rotated| {
            done.fetch_add(1, Ordering::Relaxed);
        }))
        .topics(&names)
        .start()
        .unwrap();
        until("all confirmed", || confirmations(&log) == 4).await;
        // What is missing before the first update is not noticed.
        names.iter().for_each(|name| tick(&venue, name));
        let is_first = |seen: &&Seen| matches!(seen, Seen::Update(_, 1));
        until("the first updates", || log.all().iter().filter(is_first).count() == 4).await;
        venue.state().carried = Some(BTreeSet::new());
        let mut killed = 0;
        for round in 0..30 {
            // A line that was killed may be away for a second.
            until("one line", || venue.state().open.len() == 1 && full(&venue, 4) == 1).await;
            // The line has brought its topics. If the next one is ahead of it then, a hole is waited for; before the line has
            // confirmed a topic, it is not.
            let caught_up = async || {
                let update = |name: &String| Seen::Update(name.clone(), venue.tick(name));
                let newest: Vec<_> = names.iter().map(update).collect();
                sleep(20 * MILLI).await;
                let seen = log.all();
                newest.iter().all(|update| seen.contains(update))
            };
            while !caught_up().await {}
            let (old, dials) = (letters(&venue)[0], venue.state().dials.len());
            let kind = [Killed::Nothing, Killed::Old, Killed::New][round % 3];
            feed.send(command::Rotate::default()).await.unwrap();
            let (begin, mut turns, mut is_over) = (Instant::now(), 0, kind == Killed::Nothing);
            while rotations.load(Ordering::Relaxed) <= round {
                assert!(begin.elapsed() < 20_000 * MILLI, "rotation {round} is blocked");
                // In the first rotation one topic is quiet: it is waited for for five seconds.
                names[..if round == 0 { 3 } else { 4 }].iter().for_each(|name| tick(&venue, name));
                turns += usize::from(venue.state().dials.len() > dials);
                if !is_over && turns > round / 3 {
                    let new = letters(&venue).into_iter().find(|letter| *letter != old);
                    let letter = if kind == Killed::Old { Some(old) } else { new };
                    letter.into_iter().for_each(|letter| venue.cut_line(letter));
                    is_over = letter.is_some();
                    killed += usize::from(is_over);
                }
                sleep(2 * MILLI).await;
            }
        }
        assert!(killed >= 15, "{killed} were killed");
        until("one line", || full(&venue, 4) == 1).await;
        let lasts: Vec<u64> = names.iter().map(|name| venue.tick(name)).collect();
        let end = Seen::Update(names[3].clone(), lasts[3]);
        until("the last update", || log.all().contains(&end)).await;
        for (name, last) in names.iter().zip(lasts) {
            let found = crate::lines::story(&log, name);
            assert_eq!((found.doubled, found.lost, found.last), (vec![], vec![], last), "{name}");
            let uncarried: Vec<u64> =
                (2..=last).filter(|it| !venue.has_carried(name, *it)).collect();
            assert_eq!(found.missing, uncarried.len() as u64, "{name}: {uncarried:?}");
        }
        feed.send(command::Close::default()).await.unwrap();
    });
}
