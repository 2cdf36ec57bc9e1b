//! The test kit itself: what `testing::Server` does on request, and what its journal says of it.

use actix_ws_client::testing::{Gone, Script, Server, ServerTls};
use actix_ws_client::{Connection, Error, Tls};

/// A self-signed certificate for `localhost`, as PEM, and a server's settings that use it.
fn certified() -> (String, ServerTls) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let tls = ServerTls::from_pem(pem.as_bytes(), key.as_bytes());
    (pem, tls)
}

/// Runs one dial, and returns what ended it.
async fn dial(server: &Server, tls: Tls) -> Option<Error> {
    let builder = Connection::builder(server.url()).tls(tls).no_reconnect().proxy_from_env(false);
    builder.run().await.unwrap().error
}

#[actix::test]
async fn a_server_over_tls_records_each_handshake() {
    let (pem, tls) = certified();
    let server = Server::start_tls(Script::accept().send_close(1000, ""), tls);
    assert_eq!(server.url(), format!("wss://localhost:{}/", server.addr().port()));
    let trust = Tls::new().ca_pem(pem.as_bytes()).unwrap();
    assert!(dial(&server, trust).await.is_none());
    let handshakes = server.tls_handshakes();
    assert_eq!(handshakes.len(), 1);
    assert_eq!(handshakes[0].server_name.as_deref(), Some("localhost"));
    assert_eq!((handshakes[0].resumed, handshakes[0].alpn.as_deref()), (false, None));
    assert!(handshakes[0].client_chain.is_empty());
    assert!(matches!(server.next_gone().await, Gone::Closed));
}

#[actix::test]
async fn a_client_that_refuses_the_certificate_is_in_the_journal() {
    let server = Server::start_tls(Script::accept(), certified().1);
    let (other, _) = certified();
    let trust = Tls::new().ca_pem(other.as_bytes()).unwrap();
    assert_eq!(dial(&server, trust).await.unwrap().stage(), "tls");
    let Gone::Tls(why) = server.next_gone().await else { panic!("{:?}", server.journal()) };
    assert!(why.contains("alert"), "{why}");
    assert!(server.tls_handshakes().is_empty() && server.requests().is_empty());
}

#[actix::test]
async fn a_server_that_hangs_up_reads_no_request() {
    for server in
        [Server::start(Script::hang_up()), Server::start_tls(Script::hang_up(), certified().1)]
    {
        assert!(dial(&server, Tls::new()).await.is_some());
        assert!(matches!(server.next_gone().await, Gone::Scripted));
        assert_eq!((server.dials(), server.requests().len()), (1, 0));
    }
}

#[actix::test]
async fn without_tls_a_missing_close_notify_is_a_plain_end() {
    let server = Server::start(Script::accept().drop_without_close_notify());
    let Some(Error::Io(err)) = dial(&server, Tls::new()).await else { panic!("not lost") };
    assert_eq!(err.kind(), std::io::ErrorKind::UnexpectedEof);
}
