//! Client certificates, their keys, and the servers that they are sent to.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_ws_client::testing::Script;
use actix_ws_client::{ConfigError, Event, OutcomeKind, Payload, Tls, command};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::scratch::Scratch;
use crate::server::{Ask, NEW, OLD, Setup};
use crate::{impossible, refused_at, talk, to, trusting};

const EC: &str = include_str!("keys/ec.pem");
const EC_SEC1: &str = include_str!("keys/ec-sec1.pem");
const EC_PKCS8: &str = include_str!("keys/ec-pkcs8.pem");
const EC_PBKDF2: &str = include_str!("keys/ec-pbkdf2.pem");
const EC_SCRYPT: &str = include_str!("keys/ec-scrypt.pem");
const EC_OLD: &str = include_str!("keys/ec-old.pem");
const RSA: &str = include_str!("keys/rsa.pem");
const RSA_PKCS1: &str = include_str!("keys/rsa-pkcs1.pem");

const PASSWORD: &str = "hunter2";

/// The chain of one certificate, as DER.
fn chain(pem: &str) -> Vec<Vec<u8>> {
    vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()]
}

fn with(tls: Tls, chain: &str, key: &str) -> Tls {
    tls.client_cert_pem(chain.as_bytes(), key.as_bytes()).unwrap()
}

#[actix::test]
async fn a_certificate_is_shown_whatever_form_its_key_has() {
    let setup = Setup::new(&["localhost"]).clients(Ask::Required, &[EC, RSA]);
    let peer = setup.serve(Script::accept().echo());
    let both = format!("{EC_PKCS8}{EC}");
    for (form, chain, key, password) in [
        ("PKCS#8", EC, EC_PKCS8, None),
        ("SEC1", EC, EC_SEC1, None),
        ("PKCS#1", RSA, RSA_PKCS1, None),
        ("PBKDF2", EC, EC_PBKDF2, Some(PASSWORD)),
        ("scrypt", EC, EC_SCRYPT, Some(PASSWORD)),
        ("both in one", &both, &both, None),
        ("a password for nothing", EC, EC_SEC1, Some("x")),
    ] {
        let mut tls = with(trusting(&peer.pem), chain, key);
        if let Some(password) = password {
            tls = tls.client_key_password(password);
        }
        let open = talk(to("localhost", peer.port, tls)).await;
        assert_eq!(open.epoch, 1, "{form}");
        let shown = peer.seen().pop().unwrap().client_chain;
        assert_eq!(shown, self::chain(chain), "{form}");
    }
}

/// WebSocketApp's example of TLS: a CA file, a client certificate and its key, and closures without a runtime.
#[test]
fn a_program_without_a_runtime_shows_its_certificate() {
    let setup = Setup::new(&["localhost"]).clients(Ask::Required, &[EC]);
    let peer = setup.serve(Script::accept().echo());
    let scratch = Scratch::new("blocking");
    let ca = scratch.write("ca", &peer.pem);
    let (chain, key) = (scratch.write("chain", EC), scratch.write("key", EC_SEC1));
    let tls = Tls::new().ca_file(ca).unwrap().client_cert_file(chain, key).unwrap();
    let (sender, texts) = std::sync::mpsc::channel();
    let mut connection = None;
    let outcome = to("localhost", peer.port, tls)
        .on_event(move |event| match event {
            Event::Open(open) => {
                open.connection.do_send(command::Send::text("Hello"));
                connection = Some(open.connection);
            }
            Event::Message(message) => {
                sender.send(message.payload).unwrap();
                connection.as_ref().unwrap().do_send(command::Close::normal());
            }
            _ => {}
        })
        .run_blocking()
        .unwrap();
    assert_eq!((outcome.kind, outcome.epochs), (OutcomeKind::Closed, 1), "{outcome}");
    assert_eq!(texts.try_iter().collect::<Vec<_>>(), [Payload::from("Hello")]);
    assert_eq!(peer.seen().pop().unwrap().client_chain, self::chain(EC));
}

#[actix::test]
async fn certificate_and_key_come_from_files() {
    let setup = Setup::new(&["localhost"]).clients(Ask::Required, &[EC]);
    let peer = setup.serve(Script::accept().echo());
    let scratch = Scratch::new("files");
    let (chain, key) = (scratch.write("chain", EC), scratch.write("key", EC_SCRYPT));
    let tls = trusting(&peer.pem).client_key_password(PASSWORD);
    talk(to("localhost", peer.port, tls.client_cert_file(&chain, &key).unwrap())).await;
    let both = scratch.write("both", format!("{EC}{EC_SEC1}"));
    let tls = trusting(&peer.pem).client_cert_file(&both, &both).unwrap();
    talk(to("localhost", peer.port, tls)).await;

    let missing = scratch.path().join("missing");
    let named = |made: Result<Tls, ConfigError>| made.unwrap_err().to_string();
    let err = named(Tls::new().client_cert_file(&missing, &key));
    assert!(err.starts_with("client_cert: ") && err.contains("missing"), "{err}");
    let err = named(Tls::new().client_cert_file(&chain, &missing));
    assert!(err.starts_with("client_key: ") && err.contains("missing"), "{err}");
}

#[test]
fn what_is_no_pair_is_refused_before_anything_is_dialled() {
    let any = || Tls::new().dangerously_accept_any_certificate();
    let parsed = |chain: &str, key: &str| {
        any().client_cert_pem(chain.as_bytes(), key.as_bytes()).unwrap_err().to_string()
    };
    let broken_key = "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n";
    let broken = broken_key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    for (chain, key, option) in [
        ("", EC_SEC1, "client_cert"),
        (EC_SEC1, EC_SEC1, "client_cert"),
        ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----", EC_SEC1, "client_cert"),
        (EC, "", "client_key"),
        (EC, EC, "client_key"),
        (EC, broken_key, "client_key"),
        (EC, &broken, "client_key"),
        (EC, EC_OLD, "client_key"),
    ] {
        let err = parsed(chain, key);
        assert!(err.starts_with(&format!("{option}: ")), "{err}");
    }
    assert!(parsed(EC, EC_OLD).contains("openssl pkcs8"), "the way out is told");

    let refused = impossible;
    assert!(refused(with(any(), RSA, EC_SEC1)).starts_with("client_cert: "));
    let nonsense = broken_key.replace('!', "AAAA");
    assert!(refused(with(any(), EC, &nonsense)).starts_with("client_key: "));
    let locked = || with(any(), EC, EC_SCRYPT);
    assert!(refused(locked()).starts_with("client_key_password: "));
    let err = refused(locked().client_key_password("hunter3"));
    assert!(err.starts_with("client_key_password: ") && !err.contains("hunter"), "{err}");
    let odd = broken.replace('!', "AAAA");
    let err = refused(with(any(), EC, &odd).client_key_password(PASSWORD));
    assert!(err.starts_with("client_key_password: "), "{err}");
    let shown = format!("{:?}", locked().client_key_password(PASSWORD));
    assert!(!shown.contains("hunter"), "{shown}");
}

#[actix::test]
async fn a_missing_certificate_stops_the_run() {
    for (versions, dials) in [(OLD, 2), (NEW, 1)] {
        let setup = Setup::new(&["localhost"]).versions(versions).clients(Ask::Required, &[EC]);
        let peer = setup.serve(Script::accept());
        refused_at(dials, to("localhost", peer.port, trusting(&peer.pem))).await;
        assert_eq!(peer.server.dials() as u64, dials);
    }
}

#[actix::test]
async fn a_certificate_that_the_server_does_not_know_stops_the_run() {
    for (versions, dials) in [(OLD, 2), (NEW, 1)] {
        let setup = Setup::new(&["localhost"]).versions(versions).clients(Ask::Required, &[EC]);
        let peer = setup.serve(Script::accept());
        let builder = to("localhost", peer.port, with(trusting(&peer.pem), RSA, RSA_PKCS1));
        refused_at(dials, builder).await;
        assert_eq!(peer.server.dials() as u64, dials);
    }
}

/// A transport whose writes fail after the first few, and that can still be read.
struct Snapping {
    tcp: TcpStream,
    writes: usize,
}

impl AsyncRead for Snapping {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Snapping {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.writes == 0 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let written = Pin::new(&mut self.tcp).poll_write(cx, buf);
        self.writes -= usize::from(written.is_ready());
        written
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A server that requires a certificate sends an alert and hangs up, while we are still writing.
#[actix::test]
async fn an_alert_is_heard_though_a_write_failed_before_it() {
    // Each record is one write. With TLS 1.2 the second is our empty certificate. With 1.3 it is the
    // third; then follow the end of our handshake, and the upgrade.
    for (versions, writes) in [(OLD, 2), (NEW, 3), (NEW, 4)] {
        let setup = Setup::new(&["localhost"]).versions(versions).clients(Ask::Required, &[EC]);
        let peer = setup.serve(Script::accept());
        let tcp = TcpStream::connect(("127.0.0.1", peer.port)).await.unwrap();
        let builder = to("localhost", peer.port, trusting(&peer.pem));
        let run = builder.transport(Snapping { tcp, writes }).no_reconnect().run();
        let outcome = tokio::time::timeout(Duration::from_secs(30), run).await.unwrap().unwrap();
        let words = outcome.error.unwrap().to_string();
        assert!(words.contains("certificate_required"), "{words}");
    }
}

#[actix::test]
async fn a_certificate_is_not_shown_where_a_redirect_leads() {
    let asking = |name: &str| Setup::new(&[name]).clients(Ask::Optional, &[EC]);
    let stranger = asking("localhost").serve(Script::accept().echo());
    let location = format!("wss://localhost:{}/", stranger.port);
    let redirect = Script::refuse(302).header("Location", location);
    let first = asking("feed.example").serve(redirect);
    let trusting = || trusting(&first.pem).ca_pem(stranger.pem.as_bytes()).unwrap();
    let named = with(trusting(), EC, EC_SEC1).server_name("feed.example");
    talk(to("localhost", first.port, named)).await;
    let (there, here) = (first.seen().remove(0), stranger.seen().remove(0));
    assert_eq!(
        (there.server_name.as_deref(), there.client_chain),
        (Some("feed.example"), chain(EC))
    );
    assert_eq!((here.server_name.as_deref(), here.client_chain), (Some("localhost"), vec![]));
}
