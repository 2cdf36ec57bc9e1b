//! The life of a connection, from its start to `Stopped`.

use std::future::{pending, ready};
use std::io;
use std::iter::repeat;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use actix::{Actor, Arbiter, Context, Handler};
use actix_ws_client::proto::session::By;
use actix_ws_client::testing::{Gate, Gone, Probe, Script, Server};
use actix_ws_client::{
    ConfigError, Connection, ConnectionBuilder, Error, Event, OutcomeKind, Phase, Reconnect,
    command, event,
};
use tokio::io::DuplexStream;
use tokio::sync::Notify;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::LocalSet;
use tokio::time::{Instant, timeout};

/// A connection that comes back soon.
fn to(server: &Server) -> ConnectionBuilder {
    let soon = Reconnect::fixed(Duration::from_millis(20));
    Connection::builder(server.url()).reconnect(soon)
}

#[actix::test]
async fn a_run_is_told_from_open_to_stopped() {
    let server = Server::start(Script::accept().send_text("hi").send_binary(vec![1, 2]));
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    assert_eq!(probe.next_message().await.payload.as_text(), Some("hi"));
    assert_eq!(probe.next_message().await.payload.as_bytes(), [1, 2]);
    let outcome = connection.send(command::Close::normal()).await.unwrap();
    assert_eq!((outcome.kind, outcome.epochs, outcome.attempts), (OutcomeKind::Closed, 1, 1));
    probe.stopped().await;
    assert_eq!(probe.story(), ["open", "message", "message", "close", "stopped"]);
    assert!(matches!(probe.history().last(), Some(Event::Stopped(_))));
    probe.check().unwrap();
}

/// A timer would make it wait for the next tick.
#[actix::test]
async fn a_dial_that_is_due_begins_at_once() {
    tokio::time::pause();
    let (dials_to, mut dialled) = unbounded_channel();
    let builder = Connection::builder("ws://h/").transport_with(move |_, _| {
        dials_to.send(Instant::now()).unwrap();
        pending::<io::Result<DuplexStream>>()
    });
    let start = Instant::now();
    let connection = builder.start().unwrap();
    assert_eq!(dialled.recv().await, Some(start));
    connection.send(command::Pause).await.unwrap().unwrap();
    connection.send(command::Resume).await.unwrap().unwrap();
    assert_eq!(dialled.recv().await, Some(start));
    // What is asked for again is not due before a second has passed.
    connection.send(command::Pause).await.unwrap().unwrap();
    connection.send(command::Resume).await.unwrap().unwrap();
    assert!(dialled.recv().await.unwrap() - start >= Duration::from_secs(1));
}

/// Under a policy without delays, on dials that fail at once, others still have their turn.
#[actix::test]
async fn retries_without_a_delay_yield_the_thread() {
    let (dials_to, mut dialled) = unbounded_channel();
    let dials = AtomicU32::new(0);
    let builder = Connection::builder("ws://h/").transport_with(move |_, _| {
        // Ends the run, and with it a loop that would never end.
        assert!(dials.fetch_add(1, Ordering::Relaxed) < 1000, "no other task had a turn");
        dials_to.send(()).unwrap();
        ready(Err::<DuplexStream, _>(io::ErrorKind::ConnectionRefused.into()))
    });
    let at_once = Reconnect::delays(|| repeat(Duration::ZERO));
    let connection = builder.reconnect(at_once).start().unwrap();
    dialled.recv().await.unwrap();
    let outcome = connection.send(command::Close::normal()).await.unwrap();
    assert_eq!((outcome.kind, outcome.epochs), (OutcomeKind::Closed, 0));
}

#[actix::test]
async fn the_phases_are_delivered_in_order() {
    let server = Server::start([Script::accept().drop_connection(), Script::accept()]);
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    probe.next_where(|open: &event::Open| open.epoch == 2).await;
    connection.send(command::Close::normal()).await.unwrap();
    probe.stopped().await;
    let phases: Vec<Phase> = probe.all::<event::State>().iter().map(|state| state.phase).collect();
    let (dial, lost) = ([Phase::Connecting, Phase::Open], [Phase::Waiting]);
    let end = [Phase::Closing, Phase::Closed];
    assert_eq!(phases, [&dial[..], &lost, &dial, &end].concat());
}

#[actix::test]
async fn each_opened_socket_has_one_close_however_it_ends() {
    let greeted = || Script::accept().send_text("hi").expect_text("go");
    let server = Server::start([
        greeted().drop_connection(),
        greeted().reset(),
        greeted().half_a_frame().drop_connection(),
        greeted().send_close(1012, "restart"),
        greeted().send_empty_close(),
        greeted().send_raw(&b"\xff\xff"[..]),
        Script::refuse(503),
        greeted().send_text("last"),
    ]);
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    for _ in 0..7 {
        probe.next_message().await;
        connection.send(command::Send::text("go")).await.unwrap().unwrap();
    }
    let last = probe.next_message().await;
    assert_eq!((last.epoch, last.payload.as_text()), (7, Some("last")));
    connection.send(command::Close::normal()).await.unwrap();
    probe.stopped().await;
    let lost = ["open", "message", "error", "close"];
    let closed = ["open", "message", "close"];
    let last = ["error", "open", "message", "message", "close", "stopped"];
    let expected = [&lost[..], &lost, &lost, &closed, &closed, &lost, &last].concat();
    assert_eq!(probe.story(), expected);
    let codes: Vec<u16> = probe.all::<event::Close>().iter().map(|it| it.code.value()).collect();
    assert_eq!(codes, [1006, 1006, 1006, 1012, 1005, 1002, 1000]);
    probe.check().unwrap();
}

#[actix::test]
async fn a_reopening_reports_the_outage_before_it() {
    let server = Server::start([
        Script::accept().drop_connection(),
        Script::refuse(500),
        Script::accept().send_close(1001, ""),
        Script::accept(),
    ]);
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    assert!(probe.next::<event::Open>().await.outage.is_none());
    let second = probe.next::<event::Open>().await;
    let outage = second.outage.unwrap();
    assert_eq!((second.attempts, outage.attempts), (2, 2));
    assert!(matches!(outage.cause, Some(Error::Io(_))), "{outage:?}");
    assert!(outage.duration >= Duration::from_millis(40), "{outage:?}");
    let outage = probe.next::<event::Open>().await.outage.unwrap();
    assert_eq!(outage.attempts, 1);
    assert!(matches!(outage.cause, Some(Error::Closed(Some(_)))), "{outage:?}");
    drop(connection);
    probe.stopped().await;
}

#[actix::test]
async fn a_late_subscriber_receives_the_open_event_once() {
    let server = Server::start(Script::accept().expect_text("go").drop_connection());
    let (early, late) = (Probe::new(), Probe::new());
    let connection = early.attach(to(&server)).start().unwrap();
    early.next::<event::Open>().await;
    let subscribe = command::Subscribe(late.recipient::<event::Open>());
    connection.send(subscribe).await.unwrap().unwrap();
    let open = late.next::<event::Open>().await;
    assert_eq!(open.epoch, 1);
    assert!(open.connection.is_alive());
    connection.send(command::Send::text("go")).await.unwrap().unwrap();
    early.next::<event::Open>().await;
    assert_eq!(late.next::<event::Open>().await.epoch, 2);
    assert_eq!(late.all::<event::Open>().len(), 2);
}

#[actix::test]
async fn a_subscriber_before_the_first_socket_receives_its_event_once() {
    let server = Server::start(Script::accept());
    let (early, late) = (Probe::new(), Probe::new());
    let connection = early.attach(to(&server)).start().unwrap();
    connection.do_send(command::Subscribe(late.recipient::<event::Open>()));
    connection.do_send(command::Subscribe(late.recipient::<event::Stopped>()));
    early.next::<event::Open>().await;
    connection.send(command::Close::normal()).await.unwrap();
    late.stopped().await;
    assert_eq!(late.story(), ["open", "stopped"]);
}

#[actix::test]
async fn dropping_the_last_address_closes_with_1001() {
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    let handle = probe.next::<event::Open>().await.connection;
    let second = connection.clone();
    drop(connection);
    assert!(second.send(command::Ping::default()).await.unwrap().is_ok());
    drop(second);
    assert_eq!(server.next_close().await.unwrap().code().value(), 1001);
    let outcome = probe.stopped().await;
    assert_eq!(outcome.kind, OutcomeKind::Closed);
    assert!(matches!(server.next_gone().await, Gone::Closed));
    assert!(!handle.do_send(command::Send::text("into the void")));
    assert_eq!(probe.story().last(), Some(&"stopped"));
    probe.check().unwrap();
}

#[actix::test]
async fn dropping_the_last_address_ends_a_dial_and_a_wait() {
    let server = Server::start(Script::no_reply());
    let dialling = Probe::new();
    let connection = dialling.attach(to(&server)).start().unwrap();
    server.next_dial().await;
    drop(connection);
    assert_eq!(dialling.stopped().await.kind, OutcomeKind::Closed);
    assert!(matches!(server.next_gone().await, Gone::Eof | Gone::Error(_)));

    let server = Server::start(Script::refuse(503));
    let waiting = Probe::new();
    let later = Reconnect::fixed(Duration::from_secs(3600));
    let connection =
        waiting.attach(Connection::builder(server.url()).reconnect(later)).start().unwrap();
    waiting.next::<event::Error>().await;
    drop(connection);
    assert_eq!(waiting.stopped().await.kind, OutcomeKind::Closed);
    assert_eq!(server.dials(), 1);
}

#[actix::test]
async fn run_returns_the_outcome() {
    let server = Server::start(Script::accept().send_close(1000, "done"));
    let outcome = to(&server).no_reconnect().run().await.unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Closed);
    assert!(!outcome.errored());
    let (code, reason) = outcome.close.unwrap();
    assert_eq!((code.value(), &*reason), (1000, "done"));

    let server = Server::start(Script::accept().drop_connection());
    let outcome = to(&server).no_reconnect().run().await.unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Failed);
    assert!(outcome.errored());
    assert!(matches!(outcome.error, Some(Error::Io(_))), "{outcome:?}");
}

#[actix::test]
async fn dropping_the_future_of_run_closes_the_connection() {
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let run = actix::spawn(probe.attach(to(&server)).run());
    probe.next::<event::Open>().await;
    run.abort();
    assert_eq!(server.next_close().await.unwrap().code().value(), 1001);
    probe.stopped().await;
}

#[test]
fn start_without_a_runtime_says_so() {
    let start = || Connection::builder("ws://127.0.0.1:1/").start();
    assert!(matches!(start(), Err(ConfigError::NoRuntime)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let started = runtime.block_on(async { start() });
    assert!(matches!(started, Err(ConfigError::NoRuntime)));
}

#[actix::test]
async fn a_run_closes_and_waits_when_a_future_completes() {
    let server = Server::start(Script::accept().echo());
    let opened = Arc::new(Notify::new());
    let opens = opened.clone();
    let builder = to(&server).on_open_to(event::call(move |_: event::Open| opens.notify_one()));
    let outcome = builder.run_until(opened.notified()).await.unwrap();
    assert_eq!((outcome.kind, outcome.by), (OutcomeKind::Closed, By::Local));
    assert!(outcome.peer.is_some(), "{outcome:?}");
    assert_eq!(server.next_close().await.unwrap().code().value(), 1000);
    // A future that never completes changes nothing.
    let server = Server::start(Script::accept().send_close(1000, ""));
    let outcome = to(&server).no_reconnect().run_until(pending::<()>()).await.unwrap();
    assert_eq!((outcome.kind, outcome.by), (OutcomeKind::Closed, By::Remote));
}

#[actix::test]
async fn the_close_at_the_end_of_a_run_is_bounded() {
    let gate = Gate::new();
    let server = Server::start(Script::accept().stall_until(&gate));
    let opened = Arc::new(Notify::new());
    let opens = opened.clone();
    let builder = to(&server).on_open_to(event::call(move |_: event::Open| opens.notify_one()));
    let run = builder.close_timeout(Duration::from_millis(50)).run_until(opened.notified());
    let outcome = timeout(Duration::from_secs(2), run).await.unwrap().unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Closed);
    gate.open();
}

/// The system drops all actors at once, and polls none of them again.
#[test]
fn a_socket_that_ends_with_its_system_sends_a_close() {
    let server = Server::start(Script::accept().echo());
    actix::System::new().block_on(async {
        let opened = Arc::new(Notify::new());
        let opens = opened.clone();
        let builder = to(&server).on_open_to(event::call(move |_: event::Open| opens.notify_one()));
        tokio::select! {
            outcome = builder.run() => panic!("{outcome:?}"),
            () = opened.notified() => {}
        }
    });
    let close = async { timeout(Duration::from_secs(10), server.next_close()).await };
    let close = actix::System::new().block_on(close);
    assert_eq!(close.unwrap().unwrap().code().value(), 1001);
}

/// In a program that is built with `panic = "abort"` a panic that is caught ends the process too.
#[test]
fn without_a_runtime_nothing_panics() {
    static PANICS: AtomicU32 = AtomicU32::new(0);
    let this = std::thread::current().id();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() == this {
            PANICS.fetch_add(1, Ordering::Relaxed);
        }
        before(info);
    }));
    let on_open = event::call(|_: event::Open| {});
    assert!(!on_open.connected());
    let started = Connection::builder("ws://127.0.0.1:1/").on_open_to(on_open).start();
    assert!(matches!(started, Err(ConfigError::NoRuntime)));
    let local = LocalSet::new();
    let on_stopped = event::call_on(&local, |_: event::Stopped| {});
    let builder = Connection::builder("ws://127.0.0.1:1/").on_stopped_to(on_stopped);
    drop(builder.start_on(&local).unwrap());
    drop(local);
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
}

#[test]
fn a_connection_and_its_closures_start_on_a_local_set_from_outside() {
    let server = Server::start(Script::accept().send_close(1000, "done"));
    let local = LocalSet::new();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let mut sender = Some(sender);
    let on_stopped = event::call_on(&local, move |stopped: event::Stopped| {
        sender.take().unwrap().send(stopped.outcome).unwrap();
    });
    let builder = to(&server).no_reconnect().on_stopped_to(on_stopped);
    let connection = builder.start_on(&local).unwrap();
    assert_eq!(server.dials(), 0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = local.block_on(&runtime, receiver).unwrap();
    assert_eq!((outcome.kind, outcome.epochs), (OutcomeKind::Closed, 1));
    drop(connection);
}

#[test]
fn a_local_set_is_enough_to_start_in() {
    let server = Server::start(Script::accept().send_close(1000, ""));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = LocalSet::new();
    let outcome = local.block_on(&runtime, to(&server).no_reconnect().run()).unwrap();
    assert_eq!((outcome.kind, outcome.epochs), (OutcomeKind::Closed, 1));
}

#[actix::test]
async fn a_connection_starts_in_another_arbiter() {
    let server = Server::start(Script::accept().echo());
    let arbiter = Arbiter::new();
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start_in(&arbiter.handle()).unwrap();
    probe.next::<event::Open>().await;
    connection.send(command::Send::text("over there")).await.unwrap().unwrap();
    assert_eq!(probe.next_message().await.payload.as_text(), Some("over there"));
    connection.send(command::Close::normal()).await.unwrap();
    probe.stopped().await;
    arbiter.stop();
    arbiter.join().unwrap();
    probe.check().unwrap();
}

#[actix::test]
async fn a_close_is_answered_where_the_arbiter_ends_before_the_run() {
    let gate = Gate::new();
    let server = Server::start(Script::accept().stall_until(&gate));
    let arbiter = Arbiter::new();
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start_in(&arbiter.handle()).unwrap();
    let handle = probe.next::<event::Open>().await.connection;
    let close = || command::Close::normal().deadline(Duration::from_secs(3600));
    let asked = connection.send(close());
    let asked_too = handle.send(close());
    let forgotten = [connection.try_send(close()).is_ok(), handle.do_send(close())];
    assert_eq!(forgotten, [true; 2]);
    assert_eq!(connection.send(command::Status).await.unwrap().phase, Phase::Closing);
    arbiter.stop();
    arbiter.join().unwrap();
    for outcome in [asked.await.unwrap(), asked_too.await.unwrap()] {
        assert_eq!((outcome.kind, outcome.epochs, outcome.close), (OutcomeKind::Closed, 1, None));
    }
    gate.open();
}

#[actix::test]
async fn an_arbiter_that_is_gone_takes_no_connection() {
    let arbiter = Arbiter::new();
    let handle = arbiter.handle();
    arbiter.stop();
    arbiter.join().unwrap();
    let started = Connection::builder("ws://127.0.0.1:1/").start_in(&handle);
    assert!(matches!(started, Err(ConfigError::ArbiterGone)));
}

#[actix::test]
async fn what_cannot_be_is_said_before_anything_is_dialled() {
    let server = Server::start(Script::accept());
    let builder = || Connection::builder(server.url());
    let named = |builder: ConnectionBuilder| builder.start().unwrap_err().to_string();
    assert!(named(builder().ping_interval(Duration::ZERO)).starts_with("ping_interval"));
    assert!(named(builder().header("a b", "c")).starts_with("header"));
    assert!(named(builder().send_buffer(0)).starts_with("send_buffer"));
    assert!(named(Connection::builder("http://h/")).starts_with("url"));
    assert_eq!(server.dials(), 0);
}

/// Reports each event that it receives, and when it ends.
struct Kept(mpsc::Sender<&'static str>, tokio::sync::mpsc::UnboundedSender<()>);

impl Actor for Kept {
    type Context = Context<Kept>;

    fn stopped(&mut self, _: &mut Context<Kept>) {
        self.0.send("ended").unwrap();
        self.1.send(()).unwrap();
    }
}

impl Handler<event::Open> for Kept {
    type Result = ();

    fn handle(&mut self, _: event::Open, _: &mut Self::Context) {
        self.0.send("open").unwrap();
    }
}

impl Handler<event::Message> for Kept {
    type Result = ();

    fn handle(&mut self, _: event::Message, _: &mut Self::Context) {
        self.0.send("message").unwrap();
    }
}

impl Handler<event::Error> for Kept {
    type Result = ();

    fn handle(&mut self, _: event::Error, _: &mut Self::Context) {
        self.0.send("error").unwrap();
    }
}

impl Handler<event::Close> for Kept {
    type Result = ();

    fn handle(&mut self, _: event::Close, _: &mut Self::Context) {
        self.0.send("close").unwrap();
    }
}

#[actix::test]
async fn a_connection_keeps_its_handler_alive_and_drops_it_after_the_end() {
    let server =
        Server::start([Script::accept().send_text("hi").drop_connection(), Script::accept()]);
    let (log, received) = mpsc::channel();
    let (ended, mut end) = tokio::sync::mpsc::unbounded_channel();
    let handler = Kept(log, ended).start();
    let probe = Probe::new();
    let connection = probe.attach(to(&server).handler(&handler)).start().unwrap();
    drop(handler);
    probe.next_where(|open: &event::Open| open.epoch == 2).await;
    // The address stays: it is the end of the run that frees the handler.
    connection.send(command::Close::normal()).await.unwrap();
    end.recv().await.unwrap();
    let received: Vec<&str> = received.try_iter().collect();
    assert_eq!(received, ["open", "message", "error", "close", "open", "close", "ended"]);
    assert!(connection.connected());
}
