//! TLS: whom we trust, whom we refuse, and what is tried again.

use std::sync::Arc;
use std::time::Duration;

use actix_ws_client::error::Stage;
use actix_ws_client::testing::{Gone, Journal, Note, Probe, Script};
use actix_ws_client::{
    Connection, ConnectionBuilder, Error, OutcomeKind, Reconnect, Tls, command, event,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A server's configuration with a new certificate for these names, and that certificate as PEM.
fn certificate(names: &[&str], alpn: &[&str]) -> (ServerConfig, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    (config, made.cert.pem())
}

/// A scripted server over TLS, on an address of loopback. The first `cut` connections are dropped
/// instead of their handshake.
async fn serve(host: &str, config: ServerConfig, cut: usize, script: Script) -> (u16, Journal) {
    let listener = TcpListener::bind((host, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let journal = Journal::new();
    let notes = journal.clone();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    actix::spawn(async move {
        for visit in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            notes.write(visit, Note::Dial);
            if visit < cut {
                continue;
            }
            let (acceptor, script, notes) = (acceptor.clone(), script.clone(), notes.clone());
            actix::spawn(async move {
                match acceptor.accept(stream).await {
                    Ok(mut stream) => {
                        script.play(&mut stream, visit, &notes).await;
                    }
                    Err(err) => notes.write(visit, Note::Gone(Gone::Error(err.kind()))),
                }
            });
        }
    });
    (port, journal)
}

fn dials(journal: &Journal) -> usize {
    journal.notes().iter().filter(|(_, _, note)| matches!(note, Note::Dial)).count()
}

fn to(host: &str, port: u16, tls: Tls) -> ConnectionBuilder {
    let soon = Reconnect::fixed(Duration::from_millis(20));
    Connection::builder(format!("wss://{host}:{port}/")).tls(tls).reconnect(soon)
}

fn trusting(pem: &str) -> Tls {
    Tls::new().ca_pem(pem.as_bytes()).unwrap()
}

/// Talks to an echo, and closes.
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

/// How a run ends that is refused for its TLS.
async fn refused(builder: ConnectionBuilder) -> String {
    let run = tokio::time::timeout(Duration::from_secs(10), builder.run());
    let outcome = run.await.expect("the run ends").unwrap();
    assert_eq!((outcome.kind, outcome.attempts), (OutcomeKind::Refused, 1), "{outcome:?}");
    match outcome.error {
        Some(Error::Tls(err)) => {
            assert!(!err.is_broken_off());
            err.to_string()
        }
        other => panic!("{other:?}"),
    }
}

#[actix::test]
async fn a_server_whose_authority_is_trusted_is_talked_to() {
    let (config, pem) = certificate(&["localhost"], &[]);
    let (port, _) = serve("127.0.0.1", config, 0, Script::accept().echo()).await;
    let open = talk(to("localhost", port, trusting(&pem))).await;
    let session = open.handshake.tls.clone().unwrap();
    assert_eq!(session.version, "TLSv1.3");
    assert!(session.cipher.starts_with("TLS13_"), "{session:?}");
    assert_eq!(open.handshake.peer.unwrap().port(), port);
}

#[actix::test]
async fn an_unknown_authority_stops_the_run() {
    let (config, _) = certificate(&["localhost"], &[]);
    let (_, other) = certificate(&["localhost"], &[]);
    let (port, journal) = serve("127.0.0.1", config, 0, Script::accept()).await;
    let words = refused(to("localhost", port, trusting(&other))).await;
    assert!(words.contains("UnknownIssuer") || words.contains("certificate"), "{words}");
    assert_eq!(dials(&journal), 1);
}

#[actix::test]
async fn a_certificate_for_another_host_stops_the_run() {
    let (config, pem) = certificate(&["example.com"], &[]);
    let (port, journal) = serve("127.0.0.1", config, 0, Script::accept()).await;
    let words = refused(to("localhost", port, trusting(&pem))).await;
    assert!(words.contains("name"), "{words}");
    assert_eq!(dials(&journal), 1);
}

#[actix::test]
async fn any_certificate_will_do_where_that_was_asked_for() {
    let (config, _) = certificate(&["example.com"], &[]);
    let (port, _) = serve("127.0.0.1", config, 0, Script::accept().echo()).await;
    talk(to("localhost", port, Tls::new().dangerously_accept_any_certificate())).await;
}

#[actix::test]
async fn an_address_is_a_name_too() {
    let (config, pem) = certificate(&["127.0.0.1"], &[]);
    let (port, _) = serve("127.0.0.1", config, 0, Script::accept().echo()).await;
    talk(to("127.0.0.1", port, trusting(&pem))).await;
}

#[actix::test]
async fn an_ipv6_address_is_dialled_by_its_literal() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("no IPv6 on this machine");
        return;
    }
    let (config, pem) = certificate(&["::1"], &[]);
    let (port, journal) = serve("::1", config, 0, Script::accept().echo()).await;
    talk(to("[::1]", port, trusting(&pem))).await;
    let host = journal.notes().into_iter().find_map(|(_, _, note)| match note {
        Note::Request(request) => request.header("host").map(str::to_owned),
        _ => None,
    });
    assert_eq!(host.unwrap(), format!("[::1]:{port}"));
}

#[actix::test]
async fn a_server_that_prefers_h2_speaks_http_1_1_with_us() {
    let (config, pem) = certificate(&["localhost"], &["h2", "http/1.1"]);
    let (port, _) = serve("127.0.0.1", config, 0, Script::accept().echo()).await;
    talk(to("localhost", port, trusting(&pem))).await;
}

#[actix::test]
async fn a_server_that_speaks_h2_alone_stops_the_run() {
    let (config, pem) = certificate(&["localhost"], &["h2"]);
    let (port, _) = serve("127.0.0.1", config, 0, Script::accept()).await;
    refused(to("localhost", port, trusting(&pem))).await;
}

#[actix::test]
async fn a_handshake_that_is_cut_is_tried_again() {
    let (config, pem) = certificate(&["localhost"], &[]);
    let (port, journal) = serve("127.0.0.1", config, 2, Script::accept()).await;
    let probe = Probe::new();
    let _connection = probe.attach(to("localhost", port, trusting(&pem))).start().unwrap();
    assert_eq!(probe.next::<event::Open>().await.attempts, 3);
    for error in probe.all::<event::Error>() {
        assert_eq!(error.error.stage(), "tls", "{error:?}");
        assert!(error.next.after().is_some());
    }
    assert_eq!(probe.story(), ["error", "error", "open"]);
    assert_eq!(dials(&journal), 3);
}

#[actix::test]
async fn a_server_without_tls_is_told_by_its_stage() {
    let server = actix_ws_client::testing::Server::start(Script::accept());
    let builder =
        to("127.0.0.1", server.addr().port(), Tls::new().dangerously_accept_any_certificate());
    let builder = builder.no_reconnect().connect_timeout(Duration::from_millis(300));
    let outcome = builder.run().await.unwrap();
    // It waits for the end of a head that never comes.
    assert!(matches!(outcome.error, Some(Error::Timeout(Stage::Tls))), "{outcome:?}");
}

#[actix::test]
async fn a_cut_of_an_open_session_is_lost_and_found_again() {
    let (config, pem) = certificate(&["localhost"], &[]);
    let script = Script::accept().send_text("hi").drop_connection();
    let (port, _) = serve("127.0.0.1", config, 0, script).await;
    let probe = Probe::new();
    let connection = probe.attach(to("localhost", port, trusting(&pem))).start().unwrap();
    probe.next_where(|open: &event::Open| open.epoch == 3).await;
    let errors = probe.all::<event::Error>();
    assert!(errors.iter().all(|error| error.error.stage() == "io"), "{errors:?}");
    assert_eq!(probe.story()[..4], ["open", "message", "error", "close"]);
    drop(connection);
    probe.stopped().await;
    probe.check().unwrap();
}
