//! A panic in what an application hands in takes nothing down but itself.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_ws_client::backoff::Backoff;
use actix_ws_client::testing::{Probe, Script, Server};
use actix_ws_client::{ConfigError, Connection, Error, OutcomeKind, Reconnect, command, event};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A policy that panics when it is asked for a delay.
struct Panics;

impl Backoff for Panics {
    fn next_backoff(&mut self) -> Option<Duration> {
        panic!("as the test wants it")
    }
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
        let told = probe.all::<event::Error>();
        assert!(matches!(told.last().unwrap().error, Error::Handler(_)), "{told:?}");
        assert!(connection.connected());
        probe.check().unwrap();
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
