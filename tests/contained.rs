//! A panic in what an application hands in takes nothing down but itself.

use std::fmt;
use std::io;
use std::iter::{from_fn, repeat};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use actix::{Actor, Arbiter, Handler, Recipient};
use actix_ws_client::backoff::Policy;
use actix_ws_client::testing::{Probe, Script, Server};
use actix_ws_client::{
    ConfigError, Connection, ConnectionBuilder, Error, OutcomeKind, Phase, Reconnect,
    SocketOptions, command, event,
};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// A policy that panics when it is asked for a delay.
struct Panics;

impl Policy for Panics {
    fn next_delay(&mut self) -> Option<Duration> {
        panic!("as the test wants it")
    }

    fn reset(&mut self) {}
}

/// A transport that panics when it is read.
struct Broken;

impl AsyncRead for Broken {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        panic!("as the test wants it")
    }
}

impl AsyncWrite for Broken {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// In time, or the test fails.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("it comes in time")
}

/// Panics at one kind of event, and reports when it is dropped.
struct Bomb {
    on: &'static str,
    gone: mpsc::UnboundedSender<&'static str>,
}

impl Bomb {
    fn received(&self, what: &'static str) {
        assert!(self.on != what, "as the test wants it");
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        let _ = self.gone.send(self.on);
    }
}

impl Actor for Bomb {
    type Context = actix::Context<Bomb>;
}

impl Handler<event::Open> for Bomb {
    type Result = ();

    fn handle(&mut self, _: event::Open, _: &mut Self::Context) {
        self.received("open");
    }
}

impl Handler<event::Message> for Bomb {
    type Result = ();

    fn handle(&mut self, _: event::Message, _: &mut Self::Context) {
        self.received("message");
    }
}

impl Handler<event::Error> for Bomb {
    type Result = ();

    fn handle(&mut self, _: event::Error, _: &mut Self::Context) {
        self.received("error");
    }
}

impl Handler<event::Close> for Bomb {
    type Result = ();

    fn handle(&mut self, _: event::Close, _: &mut Self::Context) {
        self.received("close");
    }
}

/// A run whose first socket is lost after a message, and whose second one echoes: the
/// probe receives all of it, whatever becomes of the handlers that `attach` adds.
async fn outlives(attach: impl Fn(ConnectionBuilder) -> ConnectionBuilder) {
    let first = Script::accept().send_text("boom").expect_text("go").reset();
    let server = Server::start([first, Script::accept().echo()]);
    let probe = Probe::new();
    let soon = Reconnect::fixed(Duration::from_millis(20));
    let builder = attach(Connection::builder(server.url()).reconnect(soon));
    let connection = probe.attach(builder).start().unwrap();
    assert_eq!(probe.next_message().await.payload.as_text(), Some("boom"));
    connection.send(command::Send::text("go")).await.unwrap().unwrap();
    probe.next_where(|open: &event::Open| open.epoch == 2).await;
    connection.send(command::Send::text("still there")).await.unwrap().unwrap();
    assert_eq!(probe.next_message().await.payload.as_text(), Some("still there"));
    let outcome = connection.send(command::Close::normal()).await.unwrap();
    assert_eq!((outcome.kind, outcome.epochs), (OutcomeKind::Closed, 2));
    probe.stopped().await;
    let story = ["open", "message", "error", "close", "open", "message", "close", "stopped"];
    assert_eq!(probe.story(), story);
}

#[actix::test]
async fn a_handler_that_panics_takes_only_its_own_actor_down() {
    let elsewhere = Arbiter::new();
    for arbiter in [Arbiter::current(), elsewhere.handle()] {
        for on in ["open", "message", "error", "close"] {
            let (gone, mut left) = mpsc::unbounded_channel();
            let bomb = Bomb::start_in_arbiter(&arbiter, move |_| Bomb { on, gone });
            outlives(|builder| builder.handler(&bomb)).await;
            assert_eq!(soon(left.recv()).await, Some(on));
            assert!(!bomb.connected(), "the actor that panicked on {on} is still there");
        }
    }
    // Nor was the thread lost.
    let (sender, receiver) = tokio::sync::oneshot::channel();
    assert!(elsewhere.spawn(async { sender.send("here").unwrap() }));
    assert_eq!(soon(receiver).await, Ok("here"));
    elsewhere.stop();
    elsewhere.join().unwrap();
}

/// A closure that reports its call and panics.
fn bomb<M>(on: &'static str, calls: &mpsc::UnboundedSender<&'static str>) -> Recipient<M>
where
    M: actix::Message<Result = ()> + Send + 'static,
{
    let calls = calls.clone();
    event::call(move |_: M| {
        let _ = calls.send(on);
        panic!("as the test wants it")
    })
}

#[actix::test]
async fn a_closure_that_panics_at_any_event_takes_only_itself_down() {
    let (calls, mut called) = mpsc::unbounded_channel();
    outlives(|builder| {
        let builder =
            builder.on_open_to(bomb("open", &calls)).on_reconnect_to(bomb("reconnect", &calls));
        let builder = builder.on_data_to(bomb("data", &calls)).on_batch_to(bomb("batch", &calls));
        let builder =
            builder.on_message_to(bomb("message", &calls)).on_error_to(bomb("error", &calls));
        let builder = builder.on_close_to(bomb("close", &calls)).on_state_to(bomb("state", &calls));
        builder.on_stopped_to(bomb("stopped", &calls))
    })
    .await;
    drop(calls);
    let mut bombs = Vec::new();
    while let Some(on) = soon(called.recv()).await {
        bombs.push(on);
    }
    bombs.sort();
    let all = ["batch", "close", "data", "error", "message", "open", "reconnect", "state"];
    assert_eq!(bombs, [&all[..], &["stopped"]].concat());
}

#[actix::test]
async fn a_policy_that_panics_ends_the_run_as_refused() {
    for script in [Script::refuse(503), Script::accept().drop_connection()] {
        let server = Server::start(script);
        let probe = Probe::new();
        let builder = Connection::builder(server.url()).reconnect(Reconnect::custom(|| Panics));
        let connection = probe.attach(builder).start().unwrap();
        let outcome = probe.stopped().await;
        assert_eq!(outcome.kind, OutcomeKind::Refused);
        assert!(matches!(outcome.error, Some(Error::Handler(_))), "{outcome:?}");
        let errors = probe.all::<event::Error>();
        assert!(matches!(errors.last().unwrap().error, Error::Handler(_)), "{errors:?}");
        assert!(connection.connected());
        probe.check().unwrap();
    }
}

/// Refuses, or drops a socket, or closes one for `command::Pause`.
#[actix::test]
async fn a_policy_that_panics_when_it_starts_over_ends_the_run_as_refused() {
    let delays = || {
        let iterators = AtomicU32::new(0);
        Reconnect::delays(move || {
            assert_eq!(iterators.fetch_add(1, Ordering::Relaxed), 0, "as the test wants it");
            repeat(Duration::from_millis(20))
        })
    };
    let empty = Reconnect::delays(|| from_fn(|| panic!("as the test wants it")));
    for (policy, paused) in [(delays(), true), (delays(), false), (empty, false)] {
        let script = Script::accept().expect_text("go").drop_connection();
        let server = Server::start(script);
        let probe = Probe::new();
        let builder = Connection::builder(server.url()).reconnect(policy);
        let connection = probe.attach(builder.stable_after(Duration::ZERO)).start().unwrap();
        probe.next::<event::Open>().await;
        match paused {
            true => connection.send(command::Pause).await.unwrap().unwrap(),
            false => drop(connection.send(command::Send::text("go")).await.unwrap().unwrap()),
        }
        let outcome = probe.stopped().await;
        assert_eq!(outcome.kind, OutcomeKind::Refused);
        assert!(matches!(outcome.error, Some(Error::Handler(_))), "{outcome:?}");
        probe.check().unwrap();
    }
}

/// Panics when it is dropped.
struct DropBomb;

impl Drop for DropBomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("as the test wants it");
        }
    }
}

impl AsRef<[u8]> for DropBomb {
    fn as_ref(&self) -> &[u8] {
        b"boom"
    }
}

/// A transport that never comes.
struct Never(DropBomb);

impl Future for Never {
    type Output = io::Result<Broken>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<Broken>> {
        Poll::Pending
    }
}

#[actix::test]
async fn a_dial_whose_future_panics_when_it_is_dropped_does_not_keep_the_run_from_its_end() {
    let builder = || Connection::builder("ws://peer/").transport_with(|_, _| Never(DropBomb));
    let probe = Probe::new();
    let connection = probe.attach(builder()).start().unwrap();
    probe.next_where(|state: &event::State| state.phase == Phase::Connecting).await;
    connection.send(command::Pause).await.unwrap().unwrap();
    connection.send(command::Resume).await.unwrap().unwrap();
    probe.next_where(|state: &event::State| state.phase == Phase::Connecting).await;
    let outcome = connection.send(command::Close::normal()).await.unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Closed);
    probe.stopped().await;

    let probe = Probe::new();
    let late = builder().connect_timeout(Duration::from_millis(20));
    let connection = probe.attach(late).start().unwrap();
    let outcome = probe.stopped().await;
    assert_eq!(outcome.kind, OutcomeKind::Refused);
    assert!(matches!(outcome.error, Some(Error::Handler(_))), "{outcome:?}");
    assert!(connection.connected());
}

/// A TCP stream that panics when it is dropped.
struct Stream(TcpStream, DropBomb);

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[actix::test]
async fn a_transport_that_panics_when_it_is_dropped_does_not_keep_the_connection_from_coming_back()
{
    let server = Server::start([Script::accept().drop_connection(), Script::accept().echo()]);
    let addr = server.addr();
    let probe = Probe::new();
    let builder = Connection::builder(server.url())
        .reconnect(Reconnect::fixed(Duration::from_millis(20)))
        .transport_with(move |_, _| async move {
            Ok(Stream(TcpStream::connect(addr).await?, DropBomb))
        });
    let connection = probe.attach(builder).start().unwrap();
    probe.next_where(|open: &event::Open| open.epoch == 2).await;
    let outcome = connection.send(command::Close::normal()).await.unwrap();
    assert_eq!((outcome.kind, outcome.epochs), (OutcomeKind::Closed, 2));
    probe.stopped().await;
    probe.check().unwrap();
}

#[actix::test]
async fn a_message_whose_owner_panics_when_it_is_dropped_ends_the_run_with_all_its_events() {
    let server = Server::start(Script::accept().echo());
    let probe = Probe::new();
    let connection = probe.attach(Connection::builder(server.url())).start().unwrap();
    let handle = probe.next::<event::Open>().await.connection;
    assert!(handle.do_send(command::Send::binary(Bytes::from_owner(DropBomb))));
    let outcome = probe.stopped().await;
    assert_eq!(outcome.kind, OutcomeKind::Refused);
    assert!(matches!(outcome.error, Some(Error::Handler(_))), "{outcome:?}");
    assert_eq!(probe.story(), ["open", "error", "close", "stopped"]);
    probe.check().unwrap();
    // Commands are still answered.
    let outcome = handle.send(command::Close::normal()).await.unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Refused);
    assert!(connection.connected());
}

/// An error that has no text.
#[derive(Debug)]
struct Unspeakable;

impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("as the test wants it")
    }
}

impl std::error::Error for Unspeakable {}

#[actix::test]
async fn an_error_whose_text_panics_is_reported_as_any_other() {
    // Without a subscriber no text is made.
    let sink = tracing_subscriber::fmt().with_writer(io::sink).finish();
    let _logged = tracing::subscriber::set_default(sink);
    let fails = || io::Error::new(io::ErrorKind::ConnectionRefused, Unspeakable);
    let url = Connection::builder("ws://127.0.0.1:9/").no_reconnect();
    let hook = SocketOptions::new().with(move |_| Err(fails()));
    let cases = [
        url.socket_options(hook),
        Connection::builder("ws://peer/")
            .no_reconnect()
            .transport_with(move |_, _| async move { Err::<Broken, _>(fails()) }),
        Connection::builder("ws://peer/")
            .no_reconnect()
            .headers_with(async |_| Err::<Vec<(String, String)>, _>(Unspeakable)),
        Connection::builder("ws://peer/")
            .no_reconnect()
            .url_with(async |_| Err::<String, _>(Unspeakable)),
    ];
    for builder in cases {
        let probe = Probe::new();
        let _connection = probe.attach(builder).start().unwrap();
        let outcome = probe.stopped().await;
        assert!(outcome.error.is_some(), "{outcome:?}");
        assert_eq!(probe.story(), ["error", "stopped"]);
    }
}

#[actix::test]
async fn a_policy_that_panics_in_its_making_is_an_option_that_cannot_be() {
    let policy = Reconnect::custom(|| -> Panics { panic!("as the test wants it") });
    let started = Connection::builder("ws://127.0.0.1:9/").reconnect(policy).start();
    assert!(matches!(started, Err(ConfigError::Option { option: "reconnect", .. })));
}

#[actix::test]
async fn a_transport_that_panics_is_a_failure_of_the_dial() {
    let probe = Probe::new();
    let builder = Connection::builder("ws://peer/")
        .no_reconnect()
        .transport_with(|_, _| async { Ok(Broken) });
    let connection = probe.attach(builder).start().unwrap();
    let outcome = probe.stopped().await;
    assert!(matches!(outcome.error, Some(Error::Io(_))), "{outcome:?}");
    assert!(connection.connected());
}

#[actix::test]
async fn a_transport_factory_that_panics_ends_the_run() {
    let probe = Probe::new();
    let builder = Connection::builder("ws://peer/").transport_with(|_, _| async {
        if true {
            panic!("as the test wants it");
        }
        Ok(Broken)
    });
    let connection = probe.attach(builder).start().unwrap();
    let outcome = probe.stopped().await;
    assert_eq!(outcome.kind, OutcomeKind::Refused);
    assert!(matches!(outcome.error, Some(Error::Handler(_))), "{outcome:?}");
    assert!(connection.connected());
}

#[actix::test]
async fn a_thousand_reconnects_lead_to_one_dial_and_no_debt() {
    let server = Server::start([Script::refuse(503), Script::accept().echo()]);
    let probe = Probe::new();
    let hourly = Reconnect::fixed(Duration::from_secs(3600));
    let builder = Connection::builder(server.url()).reconnect(hourly);
    let connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Error>().await;
    for _ in 0..1_000 {
        connection.do_send(command::Reconnect);
    }
    probe.next::<event::Open>().await;
    assert_eq!(server.dials(), 2);
    connection.do_send(command::Reconnect);
    let close = probe.next::<event::Close>().await;
    let after = close.next.after().unwrap();
    assert!(after <= Duration::from_secs(1), "{after:?}");
    connection.send(command::Close::normal()).await.unwrap();
}
