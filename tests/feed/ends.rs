//! The end of a feed whose handler is slow: what was read before it reaches the handler, in order, and nothing waits for it.

use std::cell::RefCell;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, Addr, Arbiter, AsyncContext, Context, Handler};
use actix_ws_client::feed::{
    Attempt, Builder, Dialect, Feed, Overflow, Rules, Threads, command, event,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::loopback::over_tcp;
use crate::venue::{Venue, Words};
use crate::{feed, simulated, tick};

/// The topics, each in a shard of its own.
const TOPICS: [&str; 2] = ["t0", "t1"];
/// The updates of each topic.
const UPDATES: u64 = 50;
const LIMIT: Duration = Duration::from_secs(60);

/// What a handler got: the topic, the number and how many were skipped.
type Got = Vec<(String, u64, u64)>;

/// A handler with room for one event, which takes no second update before the signal.
struct Late {
    got: Got,
    signal: Option<oneshot::Receiver<()>>,
    stopped: Option<oneshot::Sender<Got>>,
}

impl Actor for Late {
    type Context = Context<Late>;

    fn started(&mut self, ctx: &mut Context<Late>) {
        ctx.set_mailbox_capacity(1);
    }
}

impl Handler<event::Update<u64>> for Late {
    type Result = ();
    fn handle(&mut self, update: event::Update<u64>, ctx: &mut Context<Late>) {
        self.got.push((update.topic.to_string(), update.item, update.skipped));
        if let Some(signal) = self.signal.take() {
            ctx.wait(wrap_future(async { drop(signal.await) }));
        }
    }
}

impl Handler<event::Gap> for Late {
    type Result = ();
    fn handle(&mut self, gap: event::Gap, _: &mut Context<Late>) {
        panic!("{gap:?}");
    }
}

impl Handler<event::TopicState> for Late {
    type Result = ();
    fn handle(&mut self, _: event::TopicState, _: &mut Context<Late>) {}
}

impl Handler<event::Stopped> for Late {
    type Result = ();
    fn handle(&mut self, _: event::Stopped, _: &mut Context<Late>) {
        let stopped = self.stopped.take().expect("it stops once");
        drop(stopped.send(std::mem::take(&mut self.got)));
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        // Where there was no `Stopped`.
        let got = std::mem::take(&mut self.got);
        drop(self.stopped.take().map(|stopped| stopped.send(got)));
    }
}

/// Has a feed read all updates and end while its handler waits. Returns what the handler gets after that, up to the end.
async fn ended(
    builder: Builder<Words>,
    venue: &Venue,
    overflow: Overflow,
    start: impl AsyncFnOnce(Builder<Words>) -> Addr<Feed<u64>>,
    end: impl AsyncFnOnce(Addr<Feed<u64>>),
) -> Got {
    let (go, signal) = oneshot::channel();
    let (stopped, ends) = oneshot::channel();
    let late = Late { got: Got::new(), signal: Some(signal), stopped: Some(stopped) }.start();
    let builder = builder.rules(Rules::default().topics_per_line(1)).overflow(overflow);
    let builder = builder.handler(&late).on::<event::Stopped>(late.recipient());
    let feed = start(builder).await;
    let confirmed = TOPICS.map(|topic| (topic.into(), command::Answer::Confirmed));
    assert_eq!(feed.send(command::Add::new(TOPICS)).await.unwrap(), confirmed);
    for _ in 0..UPDATES {
        TOPICS.iter().for_each(|topic| tick(venue, topic));
    }
    while delivered(&feed).await < UPDATES * TOPICS.len() as u64 {}
    end(feed).await;
    go.send(()).unwrap();
    timeout(LIMIT, ends).await.expect("it ends").unwrap()
}

/// Starts a feed on this thread, or on threads of its own.
async fn started(builder: Builder<Words>) -> Addr<Feed<u64>> {
    builder.start().unwrap()
}

/// Closes a feed: that does not wait for the handler.
async fn close(feed: Addr<Feed<u64>>) {
    let closed = feed.send(command::Close::default());
    timeout(LIMIT, closed).await.expect("it closes").unwrap();
}

/// Returns how many updates have gone to the handlers or wait for them.
async fn delivered(feed: &Addr<Feed<u64>>) -> u64 {
    tokio::task::yield_now().await;
    feed.send(command::Status).await.unwrap().figures.delivered
}

/// Checks that each number came, or with `Latest` was skipped for a newer one, and in order.
fn assert_whole(got: &Got, overflow: Overflow) {
    for topic in TOPICS {
        let mut last = 0;
        for (_, number, skipped) in got.iter().filter(|(of, ..)| of == topic) {
            assert_eq!(*number, last + skipped + 1, "{overflow:?}: {got:?}");
            last = *number;
        }
        assert_eq!(last, UPDATES, "{overflow:?}: {got:?}");
    }
}

#[test]
fn a_feed_that_ends_before_its_handler_is_done_loses_nothing() {
    for overflow in [Overflow::Wait, Overflow::Latest] {
        simulated(async move {
            let venue = Venue::default();
            let builder = feed(&venue, &crate::Log::default(), true);
            let got = ended(builder, &venue, overflow, started, close).await;
            assert_whole(&got, overflow);
        });
    }
}

thread_local! {
    /// Dropped when the thread has ended, and its tasks with it.
    static ALIVE: RefCell<Option<mpsc::Sender<()>>> = const { RefCell::new(None) };
}

/// Returns a feed over TCP, and what ends when the threads of its lines have.
fn over_threads(url: String, threads: Threads) -> (Builder<Words>, mpsc::Receiver<()>) {
    let (alive, all_ended) = mpsc::channel(1);
    let builder = Feed::builder(async move |attempt: Attempt| {
        // Called on the thread of the line.
        ALIVE.set(Some(alive.clone()));
        let token = attempt.line.to_string();
        let url = format!("{url}?{token}");
        Ok(Words { token, logs_in: true }.at(url))
    });
    let builder = builder.connection(|builder| builder.proxy_from_env(false));
    (builder.threads(threads), all_ended)
}

#[test]
fn a_feed_whose_threads_end_before_its_handler_is_done_loses_nothing() {
    for overflow in [Overflow::Wait, Overflow::Latest] {
        over_tcp(async |venue, url| {
            let (builder, mut all_ended) = over_threads(url, Threads::Own(2));
            let end = async |feed| {
                close(feed).await;
                assert_eq!(all_ended.recv().await, None);
            };
            let got = ended(builder, &venue, overflow, started, end).await;
            assert_whole(&got, overflow);
        });
    }
}

#[test]
fn a_thread_that_ends_before_its_feed_takes_nothing_with_it() {
    for overflow in [Overflow::Wait, Overflow::Latest] {
        over_tcp(async |venue, url| {
            let (builder, mut all_ended) = over_threads(url, Threads::Here);
            let arbiter = Arbiter::new();
            let start = async |builder: Builder<Words>| {
                let (send, feed) = oneshot::channel();
                arbiter.spawn_fn(move || drop(send.send(builder.start().unwrap())));
                feed.await.unwrap()
            };
            let end = async |feed| {
                arbiter.stop();
                assert_eq!(all_ended.recv().await, None);
                drop(feed);
            };
            let got = ended(builder, &venue, overflow, start, end).await;
            assert_whole(&got, overflow);
        });
    }
}
