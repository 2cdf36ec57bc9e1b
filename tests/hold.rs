//! A connection that is held behaves as one whose handler's mailbox is full.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, AsyncContext, Context, Handler};
use actix_ws_client::command::status::Watch;
use actix_ws_client::proto::message::Incoming;
use actix_ws_client::testing::{Journal, Probe, Script, Server};
use actix_ws_client::{Connection, Reconnect, command, event};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// Waits until the figures are so.
async fn until(watch: &Watch, enough: impl Fn(&Watch) -> bool) {
    let waited = tokio::time::timeout(20 * SECOND, async {
        while !enough(watch) {
            tokio::task::yield_now().await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{:?}", watch.figures()));
}

fn texts(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

fn received(probe: &Probe) -> Vec<String> {
    let messages = probe.all::<event::Message>();
    messages.iter().map(|it| it.payload.as_text().unwrap().to_owned()).collect()
}

#[actix::test]
async fn nothing_is_delivered_while_it_holds_and_all_of_it_afterwards() {
    let script = Script::accept().expect_text("go").send_all(texts(0..100)).send_ping("there?");
    let server = Server::start(script);
    let probe = Probe::new();
    let builder = Connection::builder(server.url()).reconnect(Reconnect::never());
    let watch = builder.watch();
    let connection = probe.attach(builder).start().unwrap();
    let handle = probe.next::<event::Open>().await.connection;
    handle.send(command::Hold(true)).await.unwrap();
    connection.send(command::Send::text("go")).await.unwrap().unwrap();
    // The Ping is answered, and behind it all messages are read.
    let pong = tokio::time::timeout(10 * SECOND, async {
        while !server.received().iter().any(|it| matches!(it, Incoming::Pong(_))) {
            tokio::task::yield_now().await;
        }
    });
    pong.await.expect("the Ping is answered");
    assert_eq!(watch.figures().messages_in, 100);
    assert!(received(&probe).is_empty());
    let status = connection.send(command::Status).await.unwrap();
    assert!(status.blocked.is_some());
    assert_eq!(status.figures.dropped, 0);
    // A second hold changes nothing, and one release ends both.
    connection.send(command::Hold(true)).await.unwrap();
    connection.send(command::Hold(false)).await.unwrap();
    probe.next::<event::Ping>().await;
    assert_eq!(received(&probe), texts(0..100));
    assert!(connection.send(command::Status).await.unwrap().blocked.is_none());
    connection.send(command::Close::normal()).await.unwrap();
    probe.check().unwrap();
}

#[actix::test]
async fn it_reads_ahead_and_then_stops_and_the_watchdog_stands_still() {
    tokio::time::pause();
    let journal = Journal::new();
    let script = Script::accept().expect_text("go");
    let script = script.send_all((0..100).map(|_| vec![7; 40 << 10]));
    let builder = Connection::builder("ws://peer/").transport_with(move |_, _| {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let (script, journal) = (script.clone(), journal.clone());
        actix::spawn(async move { script.play(&mut theirs, 0, &journal).await });
        async move { Ok(ours) }
    });
    let builder = builder.no_reconnect().read_ahead(256 << 10);
    let builder = builder.ping_interval(5 * SECOND).ping_timeout(2 * SECOND);
    let watch = builder.watch();
    let probe = Probe::new().patience(Duration::from_secs(1 << 14));
    let connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Open>().await;
    connection.send(command::Hold(true)).await.unwrap();
    connection.send(command::Send::text("go")).await.unwrap().unwrap();
    // One hour without a byte read.
    sleep(3600 * SECOND).await;
    let figures = watch.figures();
    assert!((256 << 10..320 << 10).contains(&figures.queued_bytes), "{figures:?}");
    assert!(probe.all::<event::Error>().is_empty() && probe.all::<event::Message>().is_empty());
    let released = Instant::now();
    connection.send(command::Hold(false)).await.unwrap();
    for _ in 0..100 {
        assert_eq!(probe.next_message().await.payload.len(), 40 << 10);
    }
    assert!(released.elapsed() < SECOND);
    connection.send(command::Close::normal()).await.unwrap();
    assert_eq!(probe.story().last().map(|it| &**it), Some("stopped"));
}

/// A handler that handles nothing until it is released.
struct Stuck(Option<oneshot::Receiver<()>>, Arc<AtomicBool>);

impl Actor for Stuck {
    type Context = Context<Stuck>;

    fn started(&mut self, ctx: &mut Context<Stuck>) {
        ctx.set_mailbox_capacity(1);
        let go = self.0.take().unwrap();
        ctx.wait(wrap_future(async move { drop(go.await) }));
    }
}

impl Handler<event::Message> for Stuck {
    type Result = ();

    fn handle(&mut self, message: event::Message, _: &mut Context<Stuck>) {
        self.1.store(message.payload.as_text() == Some("99"), Ordering::Relaxed);
    }
}

#[actix::test]
async fn a_hold_begins_where_a_full_mailbox_ends() {
    let server = Server::start(Script::accept().send_all(texts(0..100)));
    let ((go, stuck), last) = (oneshot::channel(), Arc::new(AtomicBool::new(false)));
    let recipient = Stuck(Some(stuck), last.clone()).start().recipient();
    let builder = Connection::builder(server.url()).on_message_to(recipient);
    let watch = builder.watch();
    let connection = builder.start().unwrap();
    until(&watch, |watch| watch.figures().messages_in == 100).await;
    connection.send(command::Hold(true)).await.unwrap();
    let queued = connection.send(command::Status).await.unwrap().figures.queued_events;
    assert!(queued > 0);
    // The handler takes what is in its mailbox, and gets no more.
    go.send(()).unwrap();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let status = connection.send(command::Status).await.unwrap();
    assert!(status.figures.queued_events + 1 >= queued && status.blocked.is_some());
    connection.send(command::Hold(false)).await.unwrap();
    until(&watch, |_| last.load(Ordering::Relaxed)).await;
    connection.send(command::Close::normal()).await.unwrap();
}

#[actix::test]
async fn what_is_held_to_the_end_is_delivered_when_the_last_address_is_dropped() {
    let server = Server::start(Script::accept().send_all(texts(0..10)));
    let probe = Probe::new();
    let builder = Connection::builder(server.url()).no_reconnect();
    let watch = builder.watch();
    let connection = probe.attach(builder).start().unwrap();
    connection.send(command::Hold(true)).await.unwrap();
    until(&watch, |watch| watch.figures().messages_in == 10).await;
    connection.send(command::Close::normal()).await.unwrap();
    assert!(probe.story().is_empty(), "{:?}", probe.story());
    drop(connection);
    probe.stopped().await;
    assert_eq!(received(&probe), texts(0..10));
    probe.check().unwrap();
}
