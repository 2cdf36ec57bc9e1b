//! What topics, lines and a handler that is asleep weigh in a feed, against an allocator that counts. In simulated time, with a
//! venue in memory that keeps nothing of a topic.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler};
use actix_ws_client::feed::{
    Builder, Dialect, Feed, LineId, MINUTE, Request, RequestId, Resync, Rules, SECOND, Said,
    Sequence, Silence, Threads, Topic, command, event as feed_event,
};
use actix_ws_client::{Connection, View, event};
use futures_util::{SinkExt, StreamExt};
use peak_alloc::PeakAlloc;
use tokio::io::DuplexStream;
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The topics that are weighed.
const TOPICS: usize = 5000;
/// What a topic may weigh, for each line, with snapshots or without.
const MOST_OF_A_TOPIC: usize = 512;
/// What a line may weigh above its connection.
const MOST_OF_A_LINE: usize = 4 << 10;
/// What a shard may weigh with one line and one topic, above the connection.
const MOST_OF_A_SHARD: usize = 10 << 10;
/// What may wait for a handler that is asleep.
const MOST_THAT_WAITS: usize = 16 << 20;

/// Updates before the handler is asleep: what a feed takes once is taken by then.
const WARM_UP: u64 = 50_000;

/// Only one test counts at a time.
static COUNTING: Mutex<()> = Mutex::new(());

/// How many messages each socket is to have sent, and of how many topics.
type Orders = watch::Sender<(u64, usize)>;

struct Words;

impl Dialect for Words {
    type Item = u64;

    fn subscribe(&mut self, id: RequestId, topics: &[Topic]) -> Request {
        Request::text(format!("sub {id} {}", topics.join(",")))
    }

    fn read<'m>(&'m mut self, message: View<'m>) -> Said<'m, u64> {
        let mut words = message.as_text().unwrap().split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("ok"), Some(id), None) => Said::confirmed(id.parse::<u64>().unwrap()),
            (Some("data"), Some(topic), Some(number)) => {
                let number = number.parse().unwrap();
                Said::data(topic, Sequence::contiguous(number, number), number)
            }
            _ => Said::Nothing,
        }
    }
}

fn name(number: usize) -> String {
    format!("trade.{number:05}.BTC-USDT")
}

/// Answers requests, and sends the topics in turn, as many messages as are ordered.
async fn serve(stream: DuplexStream, mut orders: watch::Receiver<(u64, usize)>) {
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    let mut sent = 0;
    loop {
        let (until, topics) = *orders.borrow_and_update();
        while sent < until {
            let topic = name(sent as usize % topics);
            let text = format!("data {topic} {}", sent / topics as u64 + 1);
            if socket.feed(Message::text(text)).await.is_err() {
                return;
            }
            sent += 1;
        }
        if socket.flush().await.is_err() {
            return;
        }
        tokio::select! {
            changed = orders.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            message = socket.next() => {
                let Some(Ok(message)) = message else { return };
                if let Ok(text) = message.to_text()
                    && let Some(id) = text.strip_prefix("sub ").and_then(|it| it.split(' ').next())
                {
                    let _ = socket.send(Message::text(format!("ok {id}"))).await;
                }
            }
        }
    }
}

/// Returns the client's end of a connection to the venue.
fn accept(
    orders: &watch::Receiver<(u64, usize)>,
) -> std::future::Ready<std::io::Result<DuplexStream>> {
    let (client, server) = tokio::io::duplex(16 << 10);
    tokio::task::spawn_local(serve(server, orders.clone()));
    std::future::ready(Ok(client))
}

/// Counts updates and confirmations.
struct Counter {
    updates: Rc<Cell<u64>>,
    confirmed: Rc<Cell<usize>>,
    /// How long it sleeps, and after how many updates.
    sleeps: Option<(u64, Duration)>,
}

impl Actor for Counter {
    type Context = Context<Counter>;
}

impl Handler<feed_event::Batch<u64>> for Counter {
    type Result = ();
    fn handle(&mut self, batch: feed_event::Batch<u64>, ctx: &mut Context<Counter>) {
        self.updates.set(self.updates.get() + batch.len() as u64);
        if let Some((_, time)) = self.sleeps.take_if(|(from, _)| *from < self.updates.get()) {
            ctx.wait(wrap_future(sleep(time)).map(|(), _, _| ()));
        }
    }
}

impl Handler<feed_event::TopicState> for Counter {
    type Result = ();
    fn handle(&mut self, state: feed_event::TopicState, _: &mut Context<Counter>) {
        match state.state {
            feed_event::TopicIs::Confirmed => self.confirmed.set(self.confirmed.get() + 1),
            state => panic!("{state:?}"),
        }
    }
}

impl Handler<feed_event::Gap> for Counter {
    type Result = ();
    fn handle(&mut self, gap: feed_event::Gap, _: &mut Context<Counter>) {
        panic!("{gap:?}");
    }
}

/// A feed of some topics, of which all are confirmed on all lines.
struct Running {
    feed: Addr<Feed<u64>>,
    orders: Orders,
    topics: usize,
    updates: Rc<Cell<u64>>,
}

impl Running {
    async fn start(
        topics: usize,
        lines: u8,
        rules: Rules,
        sleeps: Option<(u64, Duration)>,
    ) -> Running {
        Running::start_with(topics, lines, rules, sleeps, |builder| builder).await
    }

    async fn start_with(
        topics: usize,
        lines: u8,
        rules: Rules,
        sleeps: Option<(u64, Duration)>,
        options: impl FnOnce(Builder<Words>) -> Builder<Words>,
    ) -> Running {
        let (orders, received) = watch::channel((0, topics));
        let (updates, confirmed) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let counter =
            Counter { updates: updates.clone(), confirmed: confirmed.clone(), sleeps }.start();
        let feed = options(Feed::builder(async |_| Ok(Words.at("ws://venue/"))))
            .threads(Threads::Here)
            .lines(lines)
            .rules(rules)
            .silence(Silence::topic(MINUTE))
            .connection(move |builder| {
                let received = received.clone();
                builder.transport_with(move |_, _| accept(&received)).ping_interval(None)
            })
            .topics((0..topics).map(name))
            .batch_handler(&counter)
            .start()
            .unwrap();
        until("all confirmed", || confirmed.get() == topics).await;
        // The second line too.
        sleep(SECOND).await;
        Running { feed, orders, topics, updates }
    }

    /// Sends as many messages more on each line, and waits until they are delivered.
    async fn send(&self, messages: u64) {
        let until_now = self.orders.borrow().0 + messages;
        self.orders.send((until_now, self.topics)).unwrap();
        until("all delivered", || self.updates.get() == until_now).await;
        sleep(SECOND).await;
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(10 * MINUTE, wait).await.unwrap_or_else(|_| panic!("{what} did not happen"));
}

/// Runs a test in simulated time, on a thread of its own: what a thread keeps for the next connection is freed with it.
fn simulated<R: Send>(test: impl AsyncFnOnce() -> R + Send) -> R {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        LocalSet::new().block_on(&runtime, test())
    };
    std::thread::scope(|scope| scope.spawn(run).join()).expect("the test has panicked")
}

/// Waits for the other tests. What a process takes once for its first feed is taken before anything is counted: the tests
/// run in any order.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static FIRST_FEED: Once = Once::new();
    let guard = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    FIRST_FEED.call_once(|| assert!(weigh_shards(1, 1) > 0));
    guard
}

/// Returns what a feed weighs that has brought as many updates as `TOPICS` topics do in four rounds.
fn weigh_topics(topics: usize, lines: u8) -> usize {
    simulated(async || {
        let before = ALLOCATOR.current_usage();
        let rules = Rules::default().topics_per_frame(100);
        let running = Running::start(topics, lines, rules, None).await;
        for _ in 0..4 {
            running.send(TOPICS as u64).await;
        }
        let weight = ALLOCATOR.current_usage() - before;
        let status = running.feed.send(command::Status).await.unwrap();
        assert_eq!(status.figures.confirmed, topics);
        weight
    })
}

#[test]
fn a_topic_weighs_at_most_512_bytes_for_each_line() {
    let _alone = alone();
    for lines in [1, 2] {
        let one = weigh_topics(1, lines);
        let all = weigh_topics(TOPICS, lines);
        let each = all.saturating_sub(one) / (TOPICS - 1) / usize::from(lines);
        println!("{lines} lines: {each} bytes for each topic and line; with one topic {one}");
        assert!(each <= MOST_OF_A_TOPIC, "{each} bytes, {lines} lines");
        assert!(each > 64, "{each} bytes: that cannot be all");
    }
}

/// The same with the state of a resync: each topic has joined a snapshot, and goes on.
fn weigh_resynced(topics: usize, lines: u8) -> usize {
    simulated(async || {
        let before = ALLOCATOR.current_usage();
        let rules = Rules::default().topics_per_frame(100);
        let resync = Resync::with(async |_| Ok((Sequence::contiguous(0, 0), 0)));
        let resync = resync.asks(10_000, SECOND);
        let options = |builder: Builder<Words>| builder.resync(resync);
        let running = Running::start_with(topics, lines, rules, None, options).await;
        until("all snapshots", || running.updates.get() == topics as u64).await;
        for _ in 0..4 {
            running.orders.send_modify(|(sent, _)| *sent += TOPICS as u64);
            let all = running.orders.borrow().0 + topics as u64;
            until("all delivered", || running.updates.get() == all).await;
            sleep(SECOND).await;
        }
        let weight = ALLOCATOR.current_usage() - before;
        let figures = running.feed.send(command::Status).await.unwrap().figures;
        assert_eq!((figures.resyncs, figures.confirmed), (topics as u64, topics));
        weight
    })
}

#[test]
fn a_topic_with_snapshots_weighs_at_most_512_bytes_for_each_line() {
    let _alone = alone();
    for lines in [1, 2] {
        let one = weigh_resynced(1, lines);
        let all = weigh_resynced(TOPICS, lines);
        let each = all.saturating_sub(one) / (TOPICS - 1) / usize::from(lines);
        println!("{lines} lines: {each} bytes for each topic and line, with resync");
        assert!(each <= MOST_OF_A_TOPIC, "{each} bytes, {lines} lines");
        assert!(each > 64, "{each} bytes: that cannot be all");
    }
}

/// Does nothing.
struct Idle;

impl Actor for Idle {
    type Context = Context<Idle>;
}

impl Handler<event::Batch> for Idle {
    type Result = ();
    fn handle(&mut self, _: event::Batch, _: &mut Context<Idle>) {}
}

/// Returns what this number of connections weigh.
fn weigh_connections(count: usize) -> usize {
    simulated(async || {
        let before = ALLOCATOR.current_usage();
        let (_orders, received) = watch::channel((0, 1));
        let idle = Idle.start();
        let mut all = Vec::new();
        for _ in 0..count {
            let received = received.clone();
            let builder = Connection::builder("ws://venue/")
                .transport_with(move |_, _| accept(&received))
                .ping_interval(None)
                .on_batch_to(idle.clone().recipient());
            let watch = builder.watch();
            all.push((builder.start().unwrap(), watch));
        }
        until("all open", || all.iter().all(|(_, watch)| watch.epoch() == 1)).await;
        sleep(SECOND).await;
        let weight = ALLOCATOR.current_usage() - before;
        drop(all);
        weight
    })
}

/// Returns what a feed weighs with this number of shards, with one topic each.
fn weigh_shards(count: usize, lines: u8) -> usize {
    simulated(async || {
        let before = ALLOCATOR.current_usage();
        let running = Running::start(count, lines, Rules::default().topics_per_line(1), None).await;
        let weight = ALLOCATOR.current_usage() - before;
        let all: Vec<LineId> = running
            .feed
            .send(command::Status)
            .await
            .unwrap()
            .lines
            .iter()
            .map(|line| line.line)
            .collect();
        assert_eq!(all.len(), count * usize::from(lines));
        weight
    })
}

#[test]
fn a_line_weighs_at_most_4_kib_above_its_connection() {
    let _alone = alone();
    let connection = (weigh_connections(201) - weigh_connections(1)) / 200;
    let shards = weigh_shards(101, 1);
    let shard = ((shards - weigh_shards(1, 1)) / 100).saturating_sub(connection);
    let line = ((weigh_shards(101, 3) - shards) / 202).saturating_sub(connection);
    println!("a connection {connection}, a line {line} more, a shard and its line {shard} more");
    assert!(line <= MOST_OF_A_LINE, "{line} bytes");
    assert!(shard <= MOST_OF_A_SHARD, "{shard} bytes");
    assert!(line > 512 && shard > line, "{line} and {shard} bytes: that cannot be all");
}

#[test]
fn what_waits_for_a_handler_that_is_asleep_is_bounded() {
    let _alone = alone();
    simulated(async || {
        let rules = Rules::default().topics_per_frame(100);
        let running = Running::start(100, 2, rules, Some((WARM_UP, 20 * SECOND))).await;
        running.send(WARM_UP).await;
        let before = ALLOCATOR.current_usage();
        let (each, mut sent, mut most) = (10_000, WARM_UP, 0);
        for _ in 0..19 {
            sent += each;
            running.orders.send((sent, 100)).unwrap();
            sleep(SECOND).await;
            most = most.max(ALLOCATOR.current_usage().saturating_sub(before));
        }
        assert!(running.updates.get() < WARM_UP + each, "it is asleep");
        println!("{most} bytes wait");
        assert!(most <= MOST_THAT_WAITS, "{most} bytes");
        assert!(most > 64 << 10, "{most} bytes: that cannot be all");
        until("all delivered", || running.updates.get() == sent).await;
        sleep(SECOND).await;
        let rest = ALLOCATOR.current_usage().saturating_sub(before);
        println!("{rest} bytes are left");
        // The venue's own buffers are among them.
        assert!(rest < 512 << 10, "{rest} bytes are left");
    });
}
