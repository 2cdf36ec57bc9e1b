//! `Overflow::Latest`: a handler that takes a tenth of what comes has the newest of each topic, in turn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler};
use actix_ws_client::feed::{Overflow, command, event};
use tokio::time::{Instant, sleep};

use crate::venue::Venue;
use crate::{Log, Random, Seen, close, confirmed, feed, names, simulated, tick};

const MILLI: Duration = Duration::from_millis(1);

/// What a slow handler was called with.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<Mutex<Vec<Call>>>);

/// One update in a call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The number of the call, from 0.
    pub(crate) number: usize,
    pub(crate) topic: String,
    pub(crate) item: u64,
    pub(crate) skipped: u64,
    pub(crate) is_snapshot: bool,
}

impl Calls {
    pub(crate) fn all(&self) -> Vec<Call> {
        self.0.lock().unwrap().clone()
    }

    fn add(&self, number: usize, update: event::Update<u64>) {
        let (topic, item, skipped) = (update.topic.to_string(), update.item, update.skipped);
        let is_snapshot = update.snapshot;
        self.0.lock().unwrap().push(Call { number, topic, item, skipped, is_snapshot });
    }

    /// Returns the number of calls so far.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().last().map_or(0, |call| call.number + 1)
    }
}

/// A handler that takes this time for each call, and counts gaps.
pub(crate) struct Slow {
    pub(crate) calls: Calls,
    pub(crate) number: usize,
    pub(crate) time: Duration,
    pub(crate) log: Log,
}

impl Actor for Slow {
    type Context = Context<Slow>;
}

impl Slow {
    fn rest(&mut self, ctx: &mut Context<Slow>) {
        self.number += 1;
        // The mailbox waits meanwhile.
        ctx.wait(wrap_future(sleep(self.time)).map(|(), _, _| ()));
    }
}

impl Handler<event::Update<u64>> for Slow {
    type Result = ();
    fn handle(&mut self, update: event::Update<u64>, ctx: &mut Context<Slow>) {
        self.calls.add(self.number, update);
        self.rest(ctx);
    }
}

impl Handler<event::Batch<u64>> for Slow {
    type Result = ();
    fn handle(&mut self, batch: event::Batch<u64>, ctx: &mut Context<Slow>) {
        batch.into_iter().for_each(|update| self.calls.add(self.number, update));
        self.rest(ctx);
    }
}

impl Handler<event::Gap> for Slow {
    type Result = ();
    fn handle(&mut self, gap: event::Gap, _: &mut Context<Slow>) {
        self.log.add(crate::missing(gap));
    }
}

impl Handler<event::TopicState> for Slow {
    type Result = ();
    fn handle(&mut self, _: event::TopicState, _: &mut Context<Slow>) {}
}

pub(crate) fn slow(log: &Log, time: Duration) -> (Calls, Addr<Slow>) {
    let calls = Calls::default();
    let (number, log) = (0, log.clone());
    (calls.clone(), Slow { calls, number, time, log }.start())
}

/// An update that the venue sent.
pub(crate) struct Sent {
    pub(crate) topic: String,
    pub(crate) item: u64,
    /// The calls that had begun when it was read.
    calls: usize,
}

/// Ticks this many topics by chance, ten in the time of a call.
pub(crate) async fn ticks(
    venue: &Venue,
    names: &[String],
    calls: &Calls,
    count: usize,
    seed: u64,
) -> Vec<Sent> {
    let mut random = Random(seed);
    let mut sent = Vec::new();
    for _ in 0..count {
        let topic = names[random.below(names.len() as u64) as usize].clone();
        let item = venue.tick(&topic);
        // The feed has read it by then.
        sleep(MILLI).await;
        sent.push(Sent { topic, item, calls: calls.count() });
        sleep(9 * MILLI).await;
    }
    sent
}

/// Checks that each update, or a newer one of its topic, was delivered after at most `most` calls that began after it was
/// read, and that each was delivered or skipped. Returns the most calls.
pub(crate) fn check(sent: &[Sent], calls: &[Call], most: usize) -> usize {
    let mut accounted: HashMap<&str, u64> = HashMap::new();
    for call in calls {
        let accounted = accounted.entry(&call.topic).or_default();
        *accounted += call.skipped + 1;
        assert_eq!(*accounted, call.item, "{call:?}");
    }
    let wait = |sent: &Sent| {
        let newer = |call: &&Call| call.topic == sent.topic && call.item >= sent.item;
        let call = calls.iter().find(newer).expect("the newest is delivered");
        call.number + 1 - sent.calls.min(call.number + 1)
    };
    let longest = sent.iter().map(wait).max().unwrap();
    assert!(longest <= most, "{longest} calls");
    longest
}

#[test]
fn no_topic_waits_for_more_calls_than_there_are_topics() {
    for (count, most) in [(1, 2), (2, 3), (7, 8), (40, 41)] {
        for seed in 1..=3 {
            println!("{count} topics, seed {seed}");
            simulated(async move {
                let (venue, log, names) = (Venue::default(), Log::default(), names(count));
                let (calls, slow) = slow(&log, 100 * MILLI);
                let feed = feed(&venue, &log, false)
                    .overflow(Overflow::Latest)
                    .on::<event::Update<u64>>(slow.clone().recipient())
                    .on::<event::Gap>(slow.recipient())
                    .topics(&names)
                    .start()
                    .unwrap();
                confirmed(&log, &names, 1).await;
                let sent = ticks(&venue, &names, &calls, 600 + 200 * count, seed).await;
                let at_end = calls.count();
                sleep(Duration::from_secs(60)).await;
                let all = calls.all();
                // One is the call that was in the mailbox.
                let longest = check(&sent, &all, most);
                assert!(calls.count() <= at_end + count + 1, "{} {at_end}", calls.count());
                assert!(calls.count() * 8 < sent.len(), "it took a tenth");
                println!("at most {longest} calls, its own included");
                let figures = feed.send(command::Status).await.unwrap().figures;
                assert_eq!(figures.skipped as usize + all.len(), sent.len());
                assert_eq!(figures.gaps, 0);
                assert!(!log.all().iter().any(|seen| matches!(seen, Seen::Gap(..))));
                close(feed, &log).await;
            });
        }
    }
}

#[test]
fn a_batch_handler_has_all_newest_in_two_calls() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(20));
        let (calls, slow) = slow(&log, 100 * MILLI);
        let feed = feed(&venue, &log, false)
            .overflow(Overflow::Latest)
            .batch_handler(&slow)
            .topics(&names)
            .start()
            .unwrap();
        confirmed(&log, &names, 1).await;
        let sent = ticks(&venue, &names, &calls, 1000, 1).await;
        sleep(Duration::from_secs(60)).await;
        check(&sent, &calls.all(), 2);
        close(feed, &log).await;
    });
}

#[test]
fn a_handler_that_never_returns_stops_neither_the_lines_nor_another_handler() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(3));
        let (stuck, never) = slow(&log, Duration::from_secs(1_000_000));
        let (own, also_never) = slow(&log, Duration::from_secs(1_000_000));
        let feed = feed(&venue, &log, false)
            .overflow(Overflow::Latest)
            .handler(&never)
            .topics(&names)
            .start()
            .unwrap();
        confirmed(&log, &names, 1).await;
        let add = command::Add::new(["own"]).to(&also_never);
        feed.send(add).await.unwrap();
        for _ in 0..20_000 {
            names.iter().for_each(|name| tick(&venue, name));
            venue.tick("own");
            sleep(MILLI).await;
        }
        let of_first = |seen: &&Seen| matches!(seen, Seen::Update(name, _) if *name == names[0]);
        let all = log.all();
        let numbers: Vec<_> = all.iter().filter(of_first).collect();
        assert_eq!(numbers.len(), 20_000, "the other handler is fast enough for all");
        assert_eq!((stuck.count(), own.count()), (1, 1));
        let status = feed.send(command::Status).await.unwrap();
        // The newest of each topic, and one of them is the second envelope.
        assert!(status.lines[0].queued <= 6, "{}", status.lines[0].queued);
        assert_eq!(venue.state().dials.len(), 1);
        close(feed, &log).await;
    });
}

#[test]
fn topics_of_their_own_handler_are_conflated_too_and_end_with_it() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(4));
        let (calls, slow) = slow(&log, 100 * MILLI);
        let latest = feed(&venue, &log, false).overflow(Overflow::Latest);
        // The shard does not end with the others.
        let feed = latest.topics(["other"]).start().unwrap();
        for name in &names {
            feed.send(command::Add::new([name]).to(&slow)).await.unwrap();
        }
        let weak = slow.downgrade();
        drop(slow);
        let sent = ticks(&venue, &names, &calls, 1000, 1).await;
        sleep(Duration::from_secs(10)).await;
        check(&sent, &calls.all(), 5);
        feed.send(command::Remove::new(&names)).await.unwrap();
        let begin = Instant::now();
        while weak.upgrade().is_some() {
            assert!(begin.elapsed() < Duration::from_secs(10), "the handler is kept alive");
            sleep(10 * MILLI).await;
        }
        let figures = feed.send(command::Status).await.unwrap().figures;
        assert_eq!(figures.skipped as usize + calls.all().len(), sent.len(), "it is remembered");
        close(feed, &log).await;
    });
}

#[test]
fn a_rotation_is_reported_in_its_turn() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(3));
        let (send, mut rotations) = tokio::sync::mpsc::unbounded_channel();
        let feed = feed(&venue, &log, false)
            .overflow(Overflow::Latest)
            .on::<event::Rotated>(actix_ws_client::event::call(move |rotated: event::Rotated| {
                drop(send.send(rotated.outcome));
            }))
            .topics(&names)
            .start()
            .unwrap();
        confirmed(&log, &names, 1).await;
        for _ in 0..2 {
            feed.send(command::Rotate::default()).await.unwrap();
            let rotated = tokio::time::timeout(Duration::from_secs(60), rotations.recv()).await;
            assert_eq!(rotated.expect("it is reported"), Some(event::Rotation::Done));
        }
        close(feed, &log).await;
    });
}

#[test]
fn what_waits_at_the_end_is_delivered() {
    simulated(async {
        let (venue, log, names) = (Venue::default(), Log::default(), names(3));
        let (calls, slow) = slow(&log, 100 * MILLI);
        let feed = feed(&venue, &log, false)
            .overflow(Overflow::Latest)
            .on::<event::Update<u64>>(slow.recipient())
            .topics(&names)
            .start()
            .unwrap();
        confirmed(&log, &names, 1).await;
        for _ in 0..10 {
            names.iter().for_each(|name| tick(&venue, name));
        }
        sleep(10 * MILLI).await;
        close(feed, &log).await;
        sleep(Duration::from_secs(2)).await;
        let last: HashMap<_, _> =
            calls.all().into_iter().map(|call| (call.topic, call.item)).collect();
        assert_eq!(last, names.iter().map(|name| (name.clone(), 10)).collect());
    });
}
