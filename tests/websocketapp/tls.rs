//! Cases for which WebSocketApp has a second loop, for TLS; here one loop serves both.

use std::time::Duration;

use actix_ws_client::testing::{Gate, Probe, Script, Server, ServerTls};
use actix_ws_client::{
    Connection, ConnectionBuilder, Error, OutcomeKind, Reconnect, Tls, command, event,
};

/// Starts a server over TLS with this script. Returns it, and a connection that trusts it.
fn serve(script: Script) -> (Server, ConnectionBuilder) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let tls = ServerTls::from_pem(pem.as_bytes(), key.as_bytes());
    let server = Server::start_tls(script, tls);
    let trust = Tls::new().ca_pem(pem.as_bytes()).unwrap();
    let builder = Connection::builder(server.url()).tls(trust).reconnect(Reconnect::never());
    (server, builder)
}

#[actix::test]
async fn all_messages_of_one_tls_record_are_told_at_once() {
    // Written in one piece; nothing that follows could wake the reader.
    let script = Script::accept().send_raw(b"\x81\x01m".repeat(100)).stall_forever();
    let (_server, builder) = serve(script);
    let probe = Probe::new();
    let _connection = probe.attach(builder.ping_interval(None)).start().unwrap();
    for _ in 0..100 {
        assert_eq!(probe.next_message().await.payload.as_text(), Some("m"));
    }
}

#[actix::test]
async fn a_peer_that_falls_silent_behind_tls_is_left() {
    let (_server, builder) = serve(Script::accept().stall_forever());
    let builder = builder.ping_interval(Duration::from_millis(100));
    let run = builder.ping_timeout(Duration::from_millis(100)).run();
    let outcome = tokio::time::timeout(Duration::from_secs(10), run).await;
    let outcome = outcome.expect("silence is found").unwrap();
    assert!(matches!(outcome.error, Some(Error::PeerSilent { .. })), "{outcome:?}");
}

#[actix::test]
async fn a_tls_end_that_breaks_off_during_the_close_is_no_error() {
    // The Close is not answered: TCP ends without a close_notify.
    let gate = Gate::new();
    let script = Script::accept().never_answer_close();
    let (server, builder) = serve(script.serve_until(&gate).drop_without_close_notify());
    let probe = Probe::new();
    let connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Open>().await;
    let outcome = connection.send(command::Close::normal());
    server.next_close().await;
    gate.open();
    let outcome = outcome.await.unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Closed);
    assert!(!probe.next::<event::Close>().await.clean);
    probe.stopped().await;
    assert_eq!(probe.story(), ["open", "close", "stopped"]);
}
