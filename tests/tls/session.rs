//! What is agreed in a session, how it is resumed, and how it ends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix_ws_client::error::{Stage, Verdict};
use actix_ws_client::testing::{Probe, Script, Server};
use actix_ws_client::{Connection, Error, Reconnect, Tls, TlsVersion, command, event};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::server::{Ask, NEW, OLD, Peer, Setup};
use crate::{impossible, refused, refused_at, talk, to, trusting};

const EC: &str = include_str!("keys/ec.pem");
const EC_KEY: &str = include_str!("keys/ec-sec1.pem");

#[actix::test]
async fn a_server_that_prefers_h2_speaks_http_1_1_with_us() {
    let setup = Setup::new(&["localhost"]).alpn(&["h2", "http/1.1"]);
    let peer = setup.serve(Script::accept().echo());
    talk(to("localhost", peer.port, trusting(&peer.pem))).await;
    assert_eq!(peer.seen()[0].alpn.as_deref(), Some(&b"http/1.1"[..]));
}

#[actix::test]
async fn a_server_that_speaks_h2_alone_stops_the_run() {
    let peer = Setup::new(&["localhost"]).alpn(&["h2"]).serve(Script::accept());
    refused(to("localhost", peer.port, trusting(&peer.pem))).await;
}

#[actix::test]
async fn what_alpn_offers_can_be_said() {
    let setup = Setup::new(&["localhost"]).alpn(&["http/1.1", "wamp"]);
    let peer = setup.serve(Script::accept().echo());
    talk(to("localhost", peer.port, trusting(&peer.pem).alpn(["wamp"]))).await;
    assert_eq!(peer.seen()[0].alpn.as_deref(), Some(&b"wamp"[..]));
    talk(to("localhost", peer.port, trusting(&peer.pem).alpn([""; 0]))).await;
    assert_eq!(peer.seen()[1].alpn, None);
    assert!(impossible(trusting(&peer.pem).alpn(["h2", "http/1.1"])).starts_with("alpn: "));
}

#[actix::test]
async fn versions_have_a_least_and_a_most() {
    let old = Setup::new(&["localhost"]).versions(OLD).serve(Script::accept().echo());
    let new = Setup::new(&["localhost"]).versions(NEW).serve(Script::accept());
    let open = talk(to("localhost", old.port, trusting(&old.pem))).await;
    assert_eq!(open.handshake.tls.as_ref().unwrap().version, "TLSv1.2");
    refused_at(2, to("localhost", old.port, trusting(&old.pem).min_version(TlsVersion::V1_3)))
        .await;
    refused_at(2, to("localhost", new.port, trusting(&new.pem).max_version(TlsVersion::V1_2)))
        .await;
    let both = Setup::new(&["localhost"]).serve(Script::accept().echo());
    let tls = trusting(&both.pem).max_version(TlsVersion::V1_2);
    let open = talk(to("localhost", both.port, tls)).await;
    assert_eq!(open.handshake.tls.as_ref().unwrap().version, "TLSv1.2");
}

#[actix::test]
async fn the_cipher_suite_that_was_chosen_is_the_one_that_is_told() {
    let peer = Setup::new(&["localhost"]).serve(Script::accept().echo());
    for (version, suite) in [
        ("TLSv1.3", "TLS_CHACHA20_POLY1305_SHA256"),
        ("TLSv1.3", "TLS_AES_128_GCM_SHA256"),
        ("TLSv1.2", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ] {
        let tls = trusting(&peer.pem).cipher_suites([suite]);
        let open = talk(to("localhost", peer.port, tls)).await;
        let session = open.handshake.tls.clone().unwrap();
        assert_eq!((session.version, session.cipher.as_str()), (version, suite));
    }
    let err = impossible(trusting(&peer.pem).cipher_suites(["TLS_RSA_WITH_RC4_128_MD5"]));
    assert!(err.starts_with("cipher_suites: "), "{err}");
}

fn ready(pem: &str, alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(EC.as_bytes()).unwrap()],
            rustls::pki_types::PrivateKeyDer::from_pem_slice(EC_KEY.as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

#[actix::test]
async fn a_configuration_that_is_ready_is_used_as_it_is() {
    let setup = Setup::new(&["feed.example"]).alpn(&["wamp", "http/1.1"]);
    let peer = setup.clients(Ask::Optional, &[EC]).serve(Script::accept().echo());
    let tls = || Tls::from_config(ready(&peer.pem, &["wamp"])).server_name("feed.example");
    let open = talk(to("localhost", peer.port, tls())).await;
    assert_eq!(open.handshake.tls.as_ref().unwrap().version, "TLSv1.2");
    let seen = peer.seen().remove(0);
    assert_eq!(seen.alpn.as_deref(), Some(&b"wamp"[..]));
    assert_eq!(seen.server_name.as_deref(), Some("feed.example"));
    assert_eq!(seen.client_chain.len(), 1);
    assert!(impossible(tls().alpn(["x"])).starts_with("alpn: "));
}

#[actix::test]
async fn the_certificate_of_a_ready_configuration_is_not_shown_where_a_redirect_leads() {
    let asking = || Setup::new(&["localhost"]).clients(Ask::Optional, &[EC]);
    let stranger = asking().serve(Script::accept().echo());
    let location = format!("wss://localhost:{}/", stranger.port);
    let first = asking().serve(Script::refuse(302).header("Location", location));
    let both = format!("{}{}", first.pem, stranger.pem);
    talk(to("localhost", first.port, Tls::from_config(ready(&both, &[])))).await;
    let shown = |peer: &Peer| peer.seen()[0].client_chain.len();
    assert_eq!((shown(&first), shown(&stranger)), (1, 0));
}

#[actix::test]
async fn a_server_that_picks_h2_out_of_a_ready_configuration_stops_the_run() {
    let peer = Setup::new(&["localhost"]).alpn(&["h2"]).serve(Script::accept());
    let tls = Tls::from_config(ready(&peer.pem, &["h2", "http/1.1"]));
    let words = refused(to("localhost", peer.port, tls)).await;
    assert!(words.contains("HTTP/2"), "{words}");
}

#[actix::test]
async fn sessions_are_resumed_when_a_connection_comes_back() {
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let script = Script::accept().send_text("hi").drop_connection();
        let peer = Setup::new(&["localhost"]).serve(script);
        let probe = Probe::new();
        let tls = trusting(&peer.pem).max_version(version);
        let connection = probe.attach(to("localhost", peer.port, tls.clone())).start().unwrap();
        probe.next_where(|open: &event::Open| open.epoch == 3).await;
        drop(connection);
        probe.stopped().await;
        let resumed: Vec<_> = peer.seen().iter().take(3).map(|seen| seen.resumed).collect();
        assert_eq!(resumed, [false, true, true], "{version:?}");

        // Another connection has a session of its own when no other is there that could resume one.
        let before = peer.seen().len();
        let outcome = to("localhost", peer.port, tls).no_reconnect().run().await.unwrap();
        assert_eq!(outcome.epochs, 1);
        assert!(!peer.seen()[before].resumed, "{version:?}");
    }
}

#[actix::test]
async fn connections_with_the_same_options_resume_each_others_sessions() {
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let peer = Setup::new(&["localhost"]).serve(Script::accept().send_text("hi"));
        let pem = peer.pem.clone();
        let tls = move || trusting(&pem).max_version(version);
        let open = async |tls: Tls| {
            let probe = Probe::new();
            let connection = probe.attach(to("localhost", peer.port, tls)).start().unwrap();
            probe.next_message().await;
            (probe, connection)
        };
        let first = open(tls()).await;
        let second = open(tls()).await;
        assert!(peer.seen()[1].resumed, "{version:?}");
        // Not those of connections that trust another server, or verify less.
        let other = Setup::new(&["localhost"]).serve(Script::accept()).pem;
        for tls in [
            tls().ca_pem(other.as_bytes()).unwrap(),
            tls().dangerously_accept_any_name(),
            tls().dangerously_accept_any_certificate(),
            with_certificate(tls()),
        ] {
            let _open = open(tls).await;
            assert!(!peer.seen().last().unwrap().resumed, "{version:?}");
        }
        drop((first, second));
    }
}

fn with_certificate(tls: Tls) -> Tls {
    tls.client_cert_pem(EC.as_bytes(), EC_KEY.as_bytes()).unwrap()
}

#[actix::test]
async fn sessions_are_resumed_behind_a_redirect_too() {
    let script = Script::accept().send_text("hi").drop_connection();
    let last = Setup::new(&["localhost"]).serve(script);
    let location = format!("wss://localhost:{}/", last.port);
    let plain = Server::start(Script::refuse(302).header("Location", location));
    let probe = Probe::new();
    let builder = Connection::builder(plain.url()).tls(trusting(&last.pem));
    let builder = builder.reconnect(Reconnect::fixed(Duration::from_millis(20)));
    let connection = probe.attach(builder).start().unwrap();
    probe.next_where(|open: &event::Open| open.epoch == 2).await;
    drop(connection);
    probe.stopped().await;
    assert!(last.seen()[1].resumed);
}

#[actix::test]
async fn a_handshake_that_is_cut_is_tried_again() {
    let peer = Setup::new(&["localhost"]).refusing(2).serve(Script::accept());
    let probe = Probe::new();
    let _connection =
        probe.attach(to("localhost", peer.port, trusting(&peer.pem))).start().unwrap();
    assert_eq!(probe.next::<event::Open>().await.attempts, 3);
    for error in probe.all::<event::Error>() {
        assert_eq!(error.error.stage(), "tls", "{error:?}");
        assert!(error.next.after().is_some());
    }
    assert_eq!(probe.story(), ["error", "error", "open"]);
    assert_eq!(peer.server.dials(), 3);
}

#[actix::test]
async fn a_server_without_tls_is_told_by_its_stage() {
    let server = Server::start(Script::accept());
    let builder =
        to("127.0.0.1", server.addr().port(), Tls::new().dangerously_accept_any_certificate());
    let builder = builder.no_reconnect().connect_timeout(Duration::from_millis(300));
    let outcome = builder.run().await.unwrap();
    // The client waits for the end of a head that never arrives.
    assert!(matches!(outcome.error, Some(Error::Timeout(Stage::Tls))), "{outcome:?}");
}

#[actix::test]
async fn a_cut_of_an_open_session_is_lost_and_found_again() {
    let script = Script::accept().send_text("hi").drop_connection();
    let peer = Setup::new(&["localhost"]).serve(script);
    let probe = Probe::new();
    let connection = probe.attach(to("localhost", peer.port, trusting(&peer.pem))).start().unwrap();
    probe.next_where(|open: &event::Open| open.epoch == 3).await;
    let errors = probe.all::<event::Error>();
    assert!(errors.iter().all(|error| error.error.stage() == "io"), "{errors:?}");
    assert_eq!(probe.story()[..4], ["open", "message", "error", "close"]);
    drop(connection);
    probe.stopped().await;
    probe.check().unwrap();
}

#[actix::test]
async fn the_ends_of_a_session_are_told_apart() {
    // A reset discards what was not read yet: the client has to have read it before.
    let met = Script::accept().expect_message();
    for (script, kind, words) in [
        (
            met.clone().drop_connection(),
            io::ErrorKind::UnexpectedEof,
            "ended without a Close frame",
        ),
        (
            met.clone().drop_without_close_notify(),
            io::ErrorKind::ConnectionAborted,
            "no close_notify",
        ),
        (met.reset(), io::ErrorKind::ConnectionReset, "reset"),
    ] {
        let peer = Setup::new(&["localhost"]).serve(script);
        let probe = Probe::new();
        let builder = to("localhost", peer.port, trusting(&peer.pem)).no_reconnect();
        let connection = probe.attach(builder).start().unwrap();
        probe.next::<event::Open>().await;
        connection.send(command::Send::text("hi")).await.unwrap().unwrap();
        let error = probe.next::<event::Error>().await.error;
        let Error::Io(err) = &error else {
            panic!("{error:?}");
        };
        assert_eq!(err.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.verdict(), Verdict::RETRY);
        assert_eq!(probe.next::<event::Close>().await.code.value(), 1006);
    }
}
