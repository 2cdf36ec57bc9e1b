//! Closures for events, one handler of all events, and handlers that the connection does not keep alive.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{
    Actor, ActorContext, Addr, Arbiter, AsyncContext, Context, Handler, Recipient, WeakRecipient,
};
use actix_ws_client::event::Kinds;
use actix_ws_client::testing::{Probe, Script, Server};
use actix_ws_client::{
    Connection, ConnectionBuilder, Event, OutcomeKind, Reconnect, command, event,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

/// What closures recorded, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Runs a connection that a server ends, and waits until its handlers have handled the last event.
async fn run(builder: ConnectionBuilder) {
    let (ended, end) = oneshot::channel::<()>();
    let mut ended = Some(ended);
    let builder = builder.on_stopped(move |_| drop(ended.take()));
    let outcome = timeout(PATIENCE, builder.no_reconnect().run()).await.expect("it ends").unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Closed);
    let _ = timeout(PATIENCE, end).await.expect("the closures are called");
}

#[actix::test]
async fn closures_are_called_in_the_order_of_the_events_whatever_their_kinds() {
    let frames = b"\x81\x01a\x89\x01p\x81\x01b\x8a\x00\x81\x01c".to_vec();
    let server = Server::start(Script::accept().send_raw(frames).send_close(4000, "enough"));
    let log = Log::default();
    let [open, message, ping, pong, close, stopped] = [(); 6].map(|()| log.clone());
    let builder = Connection::builder(server.url())
        .on_stopped(move |stopped| stopped_line(&stopped, &log))
        .on_close(move |it| close.add(format!("close {}", it.code)))
        .on_pong(move |_| pong.add("pong"))
        .on_ping(move |it| ping.add(format!("ping {}", it.payload.escape_ascii())))
        .on_message(move |it| message.add(it.payload.as_text().unwrap_or_default()))
        .on_open(move |it| open.add(format!("open {}", it.epoch)));
    run(builder).await;
    let lines = stopped.all();
    let expected = ["open 1", "a", "ping p", "b", "pong", "c", "close 4000", "stopped 1"];
    assert_eq!(lines, expected);
}

fn stopped_line(stopped: &event::Stopped, log: &Log) {
    log.add(format!("stopped {}", stopped.outcome.epochs));
}

#[actix::test]
async fn closures_for_one_event_are_called_in_the_order_in_which_they_were_registered() {
    let server = Server::start(Script::accept().send_text("x").send_close(1000, ""));
    let log = Log::default();
    let [first, second, third] = [(); 3].map(|()| log.clone());
    let builder = Connection::builder(server.url())
        .on_message(move |it| first.add(format!("first {:?}", it.payload.as_text())))
        .on_event(move |it| second.add(format!("second {}", it.name())))
        .on_message(move |it| third.add(format!("third {:?}", it.payload.as_text())));
    run(builder).await;
    let lines = log.all();
    let messages: Vec<&String> =
        lines.iter().filter(|line| line.contains("message") || line.contains("x")).collect();
    assert_eq!(messages, ["first Some(\"x\")", "second message", "third Some(\"x\")"]);
    assert_eq!(lines.last().map(String::as_str), Some("second stopped"));
}

/// An actor with one handler, of all events.
struct All(mpsc::UnboundedSender<Event>);

impl Actor for All {
    type Context = Context<All>;
}

impl Handler<Event> for All {
    type Result = ();

    fn handle(&mut self, event: Event, _: &mut Context<All>) {
        let _ = self.0.send(event);
    }
}

/// Receives the events up to `Stopped`, without the changes of phase.
async fn names(events: &mut mpsc::UnboundedReceiver<Event>) -> Vec<&'static str> {
    let mut names = Vec::new();
    while names.last() != Some(&"stopped") {
        let event = timeout(PATIENCE, events.recv()).await.expect("it comes").expect("the actor");
        names.extend(Some(event.name()).filter(|name| *name != "state"));
    }
    names
}

/// A server whose first connection has every kind of event, and whose second is closed.
fn eventful() -> Server {
    // A ping, a pong, a message, and one in two fragments.
    let frames = b"\x89\x01p\x8a\x01q\x81\x01t\x01\x01a\x80\x01b".to_vec();
    let first = Script::accept().send_raw(frames).drop_connection();
    Server::start([first, Script::accept().send_close(1000, "")])
}

fn eventful_builder(server: &Server) -> ConnectionBuilder {
    Connection::builder(server.url())
        .reconnect(Reconnect::fixed(Duration::from_millis(1)))
        .reconnect_on_close(false)
}

#[actix::test]
async fn one_handler_of_all_events_gets_each_message_once_whatever_it_was_registered_as() {
    type Register = fn(ConnectionBuilder, Addr<All>) -> ConnectionBuilder;
    let ways: [Register; 3] = [
        |builder, addr| builder.on_event_to(addr),
        |builder, addr| builder.on_event_to(addr.recipient::<Event>()),
        |builder, addr| builder.on_event_to(addr.downgrade().recipient()),
    ];
    let end = ["error", "close", "reconnect", "open", "close", "stopped"];
    for register in ways {
        let (sender, mut events) = mpsc::unbounded_channel();
        let (server, addr) = (eventful(), All(sender).start());
        let connection = register(eventful_builder(&server), addr.clone()).start().unwrap();
        let usual = ["open", "ping", "pong", "message", "message"];
        assert_eq!(names(&mut events).await, [&usual[..], &end].concat());
        drop(connection);
    }
    // What changes other events is delivered where it was asked for.
    let kinds: [(Kinds, &[&str]); 3] = [
        (Kinds::default().and::<event::Data>(), &["data", "message", "data", "message"]),
        (Kinds::default().and::<event::Batch>().without::<event::Message>(), &["batch"]),
        (
            Kinds::default().and::<event::Continuation>(),
            &["message", "continuation", "continuation"],
        ),
    ];
    for (kinds, messages) in kinds {
        let (sender, mut events) = mpsc::unbounded_channel();
        let (server, addr) = (eventful(), All(sender).start());
        let connection = eventful_builder(&server).on_events_to(kinds, addr).start().unwrap();
        let expected = [&["open", "ping", "pong"], messages, &end].concat();
        assert_eq!(names(&mut events).await, expected);
        drop(connection);
    }
}

#[actix::test]
async fn a_recipient_of_all_events_can_subscribe_late_and_unsubscribe() {
    let server = Server::start(Script::accept().echo());
    let (sender, mut events) = mpsc::unbounded_channel();
    let late: Recipient<Event> = All(sender).start().recipient();
    let probe = Probe::new();
    let connection = probe.attach(Connection::builder(server.url())).start().unwrap();
    probe.next::<event::Open>().await;
    connection.send(command::Subscribe(late.clone())).await.unwrap().unwrap();
    connection.send(command::Send::text("one")).await.unwrap().unwrap();
    for name in ["open", "message"] {
        assert_eq!(timeout(PATIENCE, events.recv()).await.unwrap().unwrap().name(), name);
    }
    assert!(connection.send(command::Unsubscribe(late.clone())).await.unwrap());
    assert!(!connection.send(command::Unsubscribe(late)).await.unwrap());
    connection.send(command::Close::normal()).await.unwrap();
    probe.stopped().await;
    assert!(events.try_recv().is_err());
}

#[actix::test]
async fn a_weak_recipient_can_unsubscribe_by_a_recipient_of_its_actor() {
    let server = Server::start(Script::accept().echo());
    let ((sender, mut events), probe) = (mpsc::unbounded_channel(), Probe::new());
    let all: Recipient<Event> = All(sender).start().recipient();
    let texts = event::call(|_: event::Message| panic!("it has unsubscribed"));
    let builder = Connection::builder(server.url())
        .on_event_to(all.downgrade())
        .on_message_to(texts.downgrade());
    let connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Open>().await;
    assert!(connection.send(command::Unsubscribe(all.clone())).await.unwrap());
    assert!(!connection.send(command::Unsubscribe(all)).await.unwrap());
    assert!(connection.send(command::Unsubscribe(texts.clone())).await.unwrap());
    assert!(!connection.send(command::Unsubscribe(texts)).await.unwrap());
    connection.send(command::Send::text("one")).await.unwrap().unwrap();
    probe.next_message().await;
    connection.send(command::Close::normal()).await.unwrap();
    probe.stopped().await;
    while let Ok(event) = events.try_recv() {
        assert!(matches!(event, Event::Open(_) | Event::State(_)), "{event:?}");
    }
    let status = connection.send(command::Status).await.unwrap();
    assert_eq!(status.figures.handlers_ended, 0);
}

#[actix::test]
async fn a_closure_that_panics_ends_the_closures_and_nothing_else() {
    let server = Server::start(Script::accept().send_text("boom").echo());
    let (probe, log) = (Probe::new(), Log::default());
    let messages = log.clone();
    let builder = Connection::builder(server.url()).on_error(|_| {}).on_message(move |_| {
        messages.add("message");
        panic!("as the test wants it");
    });
    let connection = probe.attach(builder).start().unwrap();
    probe.next_message().await;
    connection.send(command::Send::text("still there")).await.unwrap().unwrap();
    assert_eq!(probe.next_message().await.payload.as_text(), Some("still there"));
    let status = connection.send(command::Status).await.unwrap();
    assert_eq!((status.figures.handlers_ended, status.figures.unheard), (2, 0));
    connection.send(command::Close::normal()).await.unwrap();
    probe.stopped().await;
    assert_eq!(log.all(), ["message"]);
}

#[actix::test]
async fn closures_run_on_the_thread_of_the_connection() {
    let server = Server::start(Script::accept().send_text("x"));
    let arbiter = Arbiter::new();
    let (sender, mut threads) = mpsc::unbounded_channel();
    let other = sender.clone();
    let here = Connection::builder(server.url())
        .on_message(move |_| sender.send(thread::current().id()).unwrap())
        .start()
        .unwrap();
    assert_eq!(timeout(PATIENCE, threads.recv()).await.unwrap(), Some(thread::current().id()));
    let there = Connection::builder(server.url())
        .on_message(move |_| other.send(thread::current().id()).unwrap())
        .start_in(&arbiter.handle())
        .unwrap();
    assert_ne!(timeout(PATIENCE, threads.recv()).await.unwrap(), Some(thread::current().id()));
    drop((here, there));
    arbiter.stop();
}

#[test]
fn closures_need_no_runtime_before_the_connection_runs() {
    let server = Server::start(Script::accept().send_text("hi"));
    let (sender, mut messages) = mpsc::unbounded_channel();
    let builder = Connection::builder(server.url())
        .on_message(move |message| drop(sender.send(message.payload)));
    let local = LocalSet::new();
    let connection = builder.start_on(&local).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let message = async { timeout(PATIENCE, messages.recv()).await };
    let payload = local.block_on(&runtime, message).unwrap().unwrap();
    assert_eq!(payload.as_text(), Some("hi"));
    drop(connection);
}

/// An actor that owns the connection whose events it handles.
struct Owner {
    url: String,
    connection: Option<Addr<Connection>>,
    opened: Option<oneshot::Sender<()>>,
    /// Dropped with the actor.
    _ended: oneshot::Sender<()>,
}

impl Actor for Owner {
    type Context = Context<Owner>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let own = ctx.address().downgrade().recipient::<Event>();
        self.connection = Connection::builder(&*self.url).on_event_to(own).start().ok();
    }
}

impl Handler<Event> for Owner {
    type Result = ();

    fn handle(&mut self, event: Event, _: &mut Self::Context) {
        if let Event::Open(_) = event {
            drop(self.opened.take());
        }
    }
}

#[actix::test]
async fn an_actor_that_owns_its_connection_ends_with_its_last_address_and_the_connection_with_it() {
    let server = Server::start(Script::accept().echo());
    let ((opened, open), (ended, end)) = (oneshot::channel(), oneshot::channel());
    let owner = Owner { url: server.url(), connection: None, opened: Some(opened), _ended: ended };
    let owner = owner.start();
    let _ = timeout(PATIENCE, open).await.expect("the socket opens");
    assert!(owner.connected());
    drop(owner);
    let _ = timeout(PATIENCE, end).await.expect("the actor ends");
    let close = timeout(PATIENCE, server.next_close()).await.expect("the connection ends");
    assert_eq!(close.map(|close| close.code().value()), Some(1001));
}

/// An actor that handles nothing until it is released, and counts what is in its mailbox by then.
struct Slow {
    go: Option<oneshot::Receiver<()>>,
    seen: mpsc::UnboundedSender<String>,
}

impl Actor for Slow {
    type Context = Context<Slow>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let go = self.go.take().unwrap();
        ctx.wait(wrap_future(async move { drop(go.await) }));
    }
}

impl Handler<event::Message> for Slow {
    type Result = ();

    fn handle(&mut self, message: event::Message, ctx: &mut Self::Context) {
        let text = message.payload.as_text().unwrap_or_default().to_owned();
        if text == "last" {
            ctx.stop();
        }
        let _ = self.seen.send(text);
    }
}

#[actix::test]
async fn one_event_at_a_time_is_under_way_to_a_weak_recipient_and_none_is_lost() {
    let script = (0..100).fold(Script::accept(), |script, n| script.send_text(n.to_string()));
    let server = Server::start(script.send_text("last").send_text("unheard").echo());
    let ((go, wait), (seen, mut all)) = (oneshot::channel(), mpsc::unbounded_channel());
    let slow = Slow { go: Some(wait), seen }.start();
    let weak: WeakRecipient<event::Message> = slow.downgrade().recipient();
    let probe = Probe::new();
    let builder = Connection::builder(server.url()).on_message_to(weak);
    // Behind the weak recipient, and so held up by it.
    let connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Open>().await;
    let watch = connection.send(command::Watch).await.unwrap();
    timeout(PATIENCE, async {
        while watch.figures().messages_in < 102 || watch.figures().queued_events == 0 {
            connection.send(command::Status).await.unwrap();
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("all is read");
    let status = connection.send(command::Status).await.unwrap();
    // One message is in the mailbox, and waits in the queue for the probe too.
    assert_eq!((status.figures.queued_events, status.blocked.is_some()), (102, true));
    assert!(probe.all::<event::Message>().is_empty());
    go.send(()).unwrap();
    for number in 0..100 {
        assert_eq!(timeout(PATIENCE, all.recv()).await.unwrap().unwrap(), number.to_string());
    }
    assert_eq!(timeout(PATIENCE, all.recv()).await.unwrap().unwrap(), "last");
    let is_last = |message: &event::Message| message.payload.as_text() == Some("unheard");
    probe.next_where(is_last).await;
    assert_eq!(timeout(PATIENCE, all.recv()).await.unwrap(), None, "the actor has ended");
    assert!(!slow.connected());
    let status = connection.send(command::Status).await.unwrap();
    assert_eq!(status.figures.handlers_ended, 1);
    connection.send(command::Close::normal()).await.unwrap();
}
