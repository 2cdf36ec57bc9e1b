//! Which servers are trusted, and which are refused.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use actix_ws_client::Tls;
use actix_ws_client::testing::Script;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::scratch::Scratch;
use crate::server::Setup;
use crate::{impossible, refused, talk, to, trusting};

#[actix::test]
async fn a_server_whose_authority_is_trusted_is_talked_to() {
    let peer = Setup::new(&["localhost"]).serve(Script::accept().echo());
    let open = talk(to("localhost", peer.port, trusting(&peer.pem))).await;
    let session = open.handshake.tls.clone().unwrap();
    assert_eq!(session.version, "TLSv1.3");
    assert!(session.cipher.starts_with("TLS_"), "{session:?}");
    assert_eq!(open.handshake.peer.unwrap().port(), peer.port);
}

#[actix::test]
async fn an_unknown_authority_stops_the_run() {
    let peer = Setup::new(&["localhost"]).serve(Script::accept());
    let other = Setup::new(&["localhost"]).serve(Script::accept());
    let words = refused(to("localhost", peer.port, trusting(&other.pem))).await;
    assert!(words.contains("is self-signed"), "{words}");
    assert_eq!(peer.server.dials(), 1);
}

#[actix::test]
async fn a_certificate_for_another_host_stops_the_run() {
    let peer = Setup::new(&["example.com"]).serve(Script::accept());
    let words = refused(to("localhost", peer.port, trusting(&peer.pem))).await;
    assert!(words.contains("name"), "{words}");
    assert_eq!(peer.server.dials(), 1);
}

#[actix::test]
async fn a_certificate_whose_time_is_over_stops_the_run() {
    let peer = Setup::new(&["localhost"]).expired().serve(Script::accept());
    let words = refused(to("localhost", peer.port, trusting(&peer.pem))).await;
    assert!(words.contains("expired"), "{words}");
    assert_eq!(peer.server.dials(), 1);
}

#[actix::test]
async fn any_certificate_will_do_where_that_was_asked_for() {
    let peer = Setup::new(&["example.com"]).expired().serve(Script::accept().echo());
    let any = Tls::new().dangerously_accept_any_certificate();
    talk(to("localhost", peer.port, any.clone())).await;
    // The weaker of the two options counts, in any order.
    talk(to("localhost", peer.port, any.dangerously_accept_any_name())).await;
}

#[actix::test]
async fn any_name_will_do_where_that_was_asked_for() {
    let peer = Setup::new(&["example.com"]).serve(Script::accept().echo());
    talk(to("localhost", peer.port, trusting(&peer.pem).dangerously_accept_any_name())).await;
}

#[actix::test]
async fn any_name_is_not_any_certificate() {
    let known = Setup::new(&["localhost"]).serve(Script::accept());
    // Also if the name is wrong too: accepting any name must not hide the other failure.
    for name in ["localhost", "example.com"] {
        let peer = Setup::new(&[name]).serve(Script::accept());
        let tls = trusting(&known.pem).dangerously_accept_any_name();
        let words = refused(to("localhost", peer.port, tls)).await;
        assert!(words.contains("is self-signed"), "{name}: {words}");

        let peer = Setup::new(&[name]).expired().serve(Script::accept());
        let tls = trusting(&peer.pem).dangerously_accept_any_name();
        let words = refused(to("localhost", peer.port, tls)).await;
        assert!(words.contains("expired"), "{name}: {words}");
    }
}

/// The log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[actix::test]
async fn what_is_not_verified_is_warned_of() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(move || writer.clone())
        .finish();
    // Of this thread alone, on which the connection runs too.
    let _guard = tracing::subscriber::set_default(subscriber);
    let peer = Setup::new(&["localhost"]).serve(Script::accept().echo());
    let warnings = async |tls: Tls, words: &str| {
        talk(to("localhost", peer.port, tls)).await;
        let said = String::from_utf8(std::mem::take(&mut *log.0.lock().unwrap())).unwrap();
        said.lines().filter(|line| line.contains("WARN") && line.contains(words)).count()
    };
    assert_eq!(warnings(trusting(&peer.pem), "verified").await, 0);
    let any_name = trusting(&peer.pem).dangerously_accept_any_name();
    assert_eq!(warnings(any_name.clone(), "the name in the server's certificate").await, 1);
    assert_eq!(warnings(any_name, "the name in the server's certificate").await, 1);
    let any = Tls::new().dangerously_accept_any_certificate();
    assert_eq!(warnings(any, "the server's certificate is not verified").await, 1);
}

#[actix::test]
async fn the_name_that_is_verified_and_told_can_be_another_than_the_hosts() {
    let peer = Setup::new(&["feed.example"]).serve(Script::accept().echo());
    let named = trusting(&peer.pem).server_name("feed.example");
    talk(to("127.0.0.1", peer.port, named)).await;
    assert_eq!(peer.seen()[0].server_name.as_deref(), Some("feed.example"));
    let request = peer.server.requests().remove(0);
    assert_eq!(request.header("host").unwrap(), format!("127.0.0.1:{}", peer.port));
    let other = trusting(&peer.pem).server_name("other.example");
    assert!(refused(to("127.0.0.1", peer.port, other)).await.contains("name"));
    assert!(impossible(trusting(&peer.pem).server_name("a b")).starts_with("server_name: "));
}

#[actix::test]
async fn an_address_is_a_name_too() {
    let peer = Setup::new(&["127.0.0.1"]).serve(Script::accept().echo());
    talk(to("127.0.0.1", peer.port, trusting(&peer.pem))).await;
    assert_eq!(peer.seen()[0].server_name, None);
}

#[actix::test]
async fn an_ipv6_address_is_dialled_by_its_literal() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else {
        eprintln!("no IPv6 on this machine");
        return;
    };
    let peer = Setup::new(&["::1"]).serve(Script::accept().echo());
    let port = forward(listener, peer.server.addr());
    talk(to("[::1]", port, trusting(&peer.pem))).await;
    let request = peer.server.requests().remove(0);
    assert_eq!(request.header("host").unwrap(), format!("[::1]:{port}"));
}

/// Forwards one connection to a server, and returns the port of the listener.
fn forward(listener: TcpListener, server: SocketAddr) -> u16 {
    let port = listener.local_addr().unwrap().port();
    actix::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(server).await.unwrap();
        copy_bidirectional(&mut client, &mut server).await
    });
    port
}

#[actix::test]
async fn all_authorities_of_a_directory_are_trusted() {
    let first = Setup::new(&["localhost"]).serve(Script::accept().echo());
    let second = Setup::new(&["localhost"]).serve(Script::accept().echo());
    let third = Setup::new(&["localhost"]).serve(Script::accept());
    let scratch = Scratch::new("directory");
    scratch.write("first.pem", &first.pem);
    scratch.write("again.0", &first.pem);
    scratch.write("second.crt", format!("words before it\n{}", second.pem));
    scratch.write("README", "no certificate");
    scratch.write("broken.pem", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
    std::fs::create_dir(scratch.path().join("below")).unwrap();
    scratch.write("below/third.pem", &third.pem);
    let tls = Tls::new().ca_dir(scratch.path()).unwrap();
    assert!(format!("{tls:?}").contains("authorities: Some(2)"), "{tls:?}");
    for peer in [&first, &second] {
        talk(to("localhost", peer.port, tls.clone())).await;
    }
    refused(to("localhost", third.port, tls.clone())).await;
    talk(to("localhost", second.port, trusting(&third.pem).ca_dir(scratch.path()).unwrap())).await;
}

#[test]
fn a_store_without_an_authority_or_without_a_bound_is_refused() {
    let refused = |made: Result<Tls, actix_ws_client::ConfigError>| {
        let words = made.unwrap_err().to_string();
        assert!(words.starts_with("ca: "), "{words}");
        words
    };
    let scratch = Scratch::new("bounds");
    let missing = scratch.path().join("missing");
    assert!(refused(Tls::new().ca_file(&missing)).contains("missing"));
    assert!(refused(Tls::new().ca_dir(&missing)).contains("missing"));
    scratch.write("README", "no certificate");
    assert!(refused(Tls::new().ca_dir(scratch.path())).contains("no certificate"));

    let large = scratch.write("large", "");
    std::fs::File::create(&large).unwrap().set_len((16 << 20) + 1).unwrap();
    assert!(refused(Tls::new().ca_file(&large)).contains("16 MiB"));
    assert!(refused(Tls::new().ca_dir(scratch.path())).contains("16 MiB"));
    std::fs::remove_file(large).unwrap();

    for number in 0..4096 {
        scratch.write(&number.to_string(), "");
    }
    assert!(refused(Tls::new().ca_dir(scratch.path())).contains("4096 entries"));
}
