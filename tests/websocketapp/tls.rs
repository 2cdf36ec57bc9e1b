//! What its second loop, for TLS, was there for; here there is one.

use std::sync::Arc;
use std::time::Duration;

use actix_ws_client::testing::{Journal, Probe, Script};
use actix_ws_client::{
    Connection, ConnectionBuilder, Error, OutcomeKind, Reconnect, Tls, command, event,
};
use futures_util::StreamExt;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A server that speaks TLS with one client, then hands the stream to `then`; and a connection to it
/// that trusts it.
async fn serve<F, Fut>(then: F) -> ConnectionBuilder
where
    F: FnOnce(TlsStream<TcpStream>) -> Fut + 'static,
    Fut: Future<Output = ()>,
{
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    actix::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        then(TlsAcceptor::from(Arc::new(config)).accept(stream).await.unwrap()).await;
    });
    let tls = Tls::new().ca_pem(made.cert.pem().as_bytes()).unwrap();
    let builder = Connection::builder(format!("wss://localhost:{port}/")).tls(tls);
    builder.reconnect(Reconnect::never())
}

#[actix::test]
async fn all_messages_of_one_tls_record_are_told_at_once() {
    // Written in one piece; then nothing comes that could wake anybody.
    let script = Script::accept().send_raw(b"\x81\x01m".repeat(100)).stall_forever();
    let builder = serve(async move |mut stream| {
        script.play(&mut stream, 0, &Journal::new()).await;
    });
    let probe = Probe::new();
    let builder = builder.await.ping_interval(None);
    let _connection = probe.attach(builder).start().unwrap();
    for _ in 0..100 {
        assert_eq!(probe.next_message().await.payload.as_text(), Some("m"));
    }
}

#[actix::test]
async fn a_peer_that_falls_silent_behind_tls_is_left() {
    let script = Script::accept().stall_forever();
    let builder = serve(async move |mut stream| {
        script.play(&mut stream, 0, &Journal::new()).await;
    });
    let builder = builder.await.ping_interval(Duration::from_millis(100));
    let run = builder.ping_timeout(Duration::from_millis(100)).run();
    let outcome = tokio::time::timeout(Duration::from_secs(10), run).await;
    let outcome = outcome.expect("silence is found").unwrap();
    assert!(matches!(outcome.error, Some(Error::PeerSilent { .. })), "{outcome:?}");
}

#[actix::test]
async fn a_tls_end_that_breaks_off_during_the_close_is_no_error() {
    let builder = serve(async |stream| {
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        let told = socket.next().await.unwrap().unwrap();
        assert!(told.is_close(), "{told:?}");
        // Its answer is not written: TCP ends without a word of TLS.
        drop(socket);
    });
    let probe = Probe::new();
    let connection = probe.attach(builder.await).start().unwrap();
    probe.next::<event::Open>().await;
    let outcome = connection.send(command::Close::normal()).await.unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Closed);
    assert!(!probe.next::<event::Close>().await.clean);
    probe.stopped().await;
    assert_eq!(probe.story(), ["open", "close", "stopped"]);
}
