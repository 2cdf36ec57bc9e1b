//! TLS: which servers are trusted, client certificates, sessions, and which failures are retried.
// Clippy allows an unwrap only in the test function itself, not in its helpers.
#![allow(clippy::unwrap_used)]

mod forms;
mod identity;
mod scratch;
mod server;
mod session;
mod trust;
mod unconfirmed;
mod words;

use std::time::Duration;

use actix_ws_client::testing::Probe;
use actix_ws_client::{
    Connection, ConnectionBuilder, Error, OutcomeKind, Reconnect, Tls, command, event,
};

fn to(host: &str, port: u16, tls: Tls) -> ConnectionBuilder {
    let soon = Reconnect::fixed(Duration::from_millis(20));
    Connection::builder(format!("wss://{host}:{port}/")).tls(tls).reconnect(soon)
}

fn trusting(pem: &str) -> Tls {
    Tls::new().ca_pem(pem.as_bytes()).unwrap()
}

/// Exchanges a message with an echo server, and closes.
async fn talk(builder: ConnectionBuilder) -> event::Open {
    let probe = Probe::new();
    let connection = probe.attach(builder).start().unwrap();
    let open = probe.next::<event::Open>().await;
    connection.send(command::Send::binary(vec![5; 200_000])).await.unwrap().unwrap();
    assert_eq!(probe.next_message().await.payload.len(), 200_000);
    let outcome = connection.send(command::Close::normal()).await.unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Closed);
    assert!(probe.next::<event::Close>().await.clean);
    open
}

/// Returns how a run ends whose TLS handshake is refused, by what is encrypted: at the first dial.
async fn refused(builder: ConnectionBuilder) -> String {
    refused_at(1, builder).await
}

/// Returns how a run ends whose TLS handshake is refused at this dial.
async fn refused_at(dial: u64, builder: ConnectionBuilder) -> String {
    let run = tokio::time::timeout(Duration::from_secs(30), builder.run());
    let outcome = run.await.expect("the run ends").unwrap();
    assert_eq!((outcome.kind, outcome.attempts), (OutcomeKind::Refused, dial), "{outcome:?}");
    match outcome.error {
        Some(Error::Tls(err)) => {
            assert!(!err.is_broken_off());
            err.to_string()
        }
        other => panic!("{other:?}"),
    }
}

/// Returns the error of `start` for invalid options.
fn impossible(tls: Tls) -> String {
    let builder = to("localhost", 1, tls);
    builder.start().map(|_| ()).unwrap_err().to_string()
}
