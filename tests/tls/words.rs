//! What the errors of TLS say: what is wrong with which certificate, whose it is, and which option mends it.

use actix_ws_client::error::Verdict;
use actix_ws_client::testing::{Script, Server};
use actix_ws_client::{Error, Tls, TlsVersion};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::scratch::Scratch;
use crate::server::{Ask, NEW, OLD, Setup};
use crate::{impossible, refused, refused_at, to, trusting};

const EC: &str = include_str!("keys/ec.pem");
const EC_SEC1: &str = include_str!("keys/ec-sec1.pem");
const RSA: &str = include_str!("keys/rsa.pem");
const RSA_PKCS1: &str = include_str!("keys/rsa-pkcs1.pem");
const P521: &str = include_str!("keys/p521.pem");
const SHA512: &str = include_str!("keys/sha512.pem");
const SHA512_CA: &str = include_str!("keys/sha512-ca.pem");

/// Checks that a text shows no value as a program does.
#[track_caller]
pub(crate) fn plain(text: &str) {
    for mark in ["{", "[", "0x", "docs.rs", "Some(", "None", "\""] {
        assert!(!text.contains(mark), "{mark} in {text}");
    }
    let after_word = text.char_indices().filter(|(_, char)| *char == '(').any(|(at, _)| {
        text[..at].chars().next_back().is_some_and(|before| before.is_alphanumeric())
    });
    assert!(!after_word, "{text}");
}

/// Checks that a text has all these parts.
#[track_caller]
fn says(text: &str, parts: &[&str]) {
    plain(text);
    for part in parts {
        assert!(text.contains(part), "no {part} in: {text}");
    }
}

/// Returns the error of a handshake with a server if only these authorities are trusted.
async fn said(setup: Setup, trusted: Option<&str>) -> String {
    let peer = setup.serve(Script::accept());
    refused(to("localhost", peer.port, trusting(trusted.unwrap_or(&peer.pem)))).await
}

#[actix::test]
async fn what_is_wrong_with_a_servers_certificate_is_said() {
    let named = || Setup::new(&["localhost"]).common_name("feed");
    let text = said(named().expired(), None).await;
    says(
        &text,
        &[
            "the certificate of localhost (CN=feed",
            "expired on 2002-01-01 00:00:00 UTC",
            "now it is 20",
        ],
    );
    let text = said(named().not_yet_valid(), None).await;
    says(
        &text,
        &["the certificate of localhost (CN=feed", "not valid before 2901-01-01 00:00:00 UTC"],
    );
    let text = said(Setup::new(&["a.example", "192.0.2.7"]).common_name("feed"), None).await;
    says(
        &text,
        &[
            "CN=feed",
            "is for a.example, 192.0.2.7, not for the name localhost",
            "Tls::server_name",
            "--servername",
        ],
    );
    let text = said(Setup::new(&[]).common_name("localhost"), None).await;
    says(&text, &["names no host", "common name"]);
    let text = said(named().for_clients(), None).await;
    says(&text, &["CN=feed", "other purposes"]);

    let other = Setup::new(&["localhost"]).common_name("other").serve(Script::accept()).pem;
    let text = said(named(), Some(&other)).await;
    says(
        &text,
        &["localhost (CN=feed", "self-signed", "Tls::ca_file", "--cacert", "SSL_CERT_FILE"],
    );
    let text = said(named().issued_by("some authority"), Some(&other)).await;
    says(
        &text,
        &["localhost", "the issuer CN=some authority", "Tls::ca_file", "--cacert", "SSL_CERT_FILE"],
    );
    let text = said(named().authority().issued_by("other"), Some(&other)).await;
    says(&text, &["localhost", "CA:TRUE", "--cacert"]);
    let twin =
        Setup::new(&["localhost"]).common_name("feed").authority().serve(Script::accept()).pem;
    let text = said(named().issued_by("feed"), Some(&twin)).await;
    says(&text, &["localhost", "not by the key of CN=feed"]);
    let text = said(Setup::new(&[]).fixed(SHA512), Some(SHA512_CA)).await;
    says(&text, &["localhost", "CN=sha512", "ECDSA with SHA-512", "P-256", "ring", "aws-lc-rs"]);
}

#[actix::test]
async fn what_both_sides_cannot_agree_on_is_said() {
    let old = Setup::new(&["localhost"]).versions(OLD).serve(Script::accept());
    let tls = trusting(&old.pem).min_version(TlsVersion::V1_3);
    let text = refused_at(2, to("localhost", old.port, tls)).await;
    says(&text, &["no version of TLS", "Tls::min_version", "--tls-min"]);
    let peer = Setup::new(&["localhost"]).alpn(&["h2"]).serve(Script::accept());
    let text = refused(to("localhost", peer.port, trusting(&peer.pem))).await;
    says(&text, &["no_application_protocol", "Tls::alpn"]);
    let only = |suite| {
        let peer = Setup::new(&["localhost"]).versions(OLD).serve(Script::accept());
        let tls = trusting(&peer.pem).cipher_suites([suite]);
        (to("localhost", peer.port, tls), peer)
    };
    // The server's key is no RSA key.
    let (builder, _peer) = only("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
    says(&refused_at(2, builder).await, &["handshake_failure", "cipher suite", "P-521"]);
}

#[actix::test]
async fn what_a_server_thinks_of_our_certificate_is_said() {
    for (versions, dials) in [(OLD, 2), (NEW, 1)] {
        let asking = || Setup::new(&["localhost"]).versions(versions).clients(Ask::Required, &[EC]);
        let peer = asking().serve(Script::accept());
        let text = refused_at(dials, to("localhost", peer.port, trusting(&peer.pem))).await;
        says(&text, &["certificate_required", "Tls::client_cert_file", "--cert"]);
        let peer = asking().serve(Script::accept());
        let tls = trusting(&peer.pem).client_cert_pem(RSA.as_bytes(), RSA_PKCS1.as_bytes());
        let text = refused_at(dials, to("localhost", peer.port, tls.unwrap())).await;
        says(&text, &["our certificate CN=", "RSA 2048", "valid until", "Tls::client_cert_file"]);
    }
}

/// The last words of a server that hangs up behind the handshake.
#[actix::test]
async fn a_server_that_ends_without_a_word_is_suspected_of_wanting_a_certificate() {
    let ended = async |setup: Setup, with_certificate: bool| {
        let peer = setup.serve(Script::raw_reply("").drop_connection());
        let mut tls = trusting(&peer.pem);
        if with_certificate {
            tls = tls.client_cert_pem(EC.as_bytes(), EC_SEC1.as_bytes()).unwrap();
        }
        let outcome = to("localhost", peer.port, tls).no_reconnect().run().await.unwrap();
        let error = outcome.error.unwrap();
        assert_eq!(error.verdict(), Verdict::RETRY, "{error:?}");
        assert!(matches!(error, Error::Io(_)), "{error:?}");
        error.to_string()
    };
    for versions in [OLD, NEW] {
        let setup = || Setup::new(&["localhost"]).versions(versions);
        let text = ended(setup().clients(Ask::Optional, &[EC]), false).await;
        says(
            &text,
            &["requested a client certificate", "Tls::client_cert_file", "--cert and --key"],
        );
        let text = ended(setup().clients(Ask::Optional, &[EC]), true).await;
        assert!(!text.contains("certificate"), "{text}");
        let text = ended(setup(), false).await;
        assert!(!text.contains("certificate"), "{text}");
    }
}

#[actix::test]
async fn a_peer_that_speaks_no_tls_is_said_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    actix::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    let any = Tls::new().dangerously_accept_any_certificate();
    let outcome = to("127.0.0.1", port, any).no_reconnect().run().await.unwrap();
    let error = outcome.error.unwrap();
    says(&error.to_string(), &["127.0.0.1", "not TLS", "plain text"]);
    assert_eq!(error.verdict(), Verdict::RETRY);
}

#[actix::test]
async fn a_proxys_certificate_is_said_to_be_the_proxys() {
    let proxy = Setup::new(&["localhost"]).serve(Script::accept());
    let other = Setup::new(&["localhost"]).serve(Script::accept());
    let server = Server::start(Script::accept());
    let builder = actix_ws_client::Connection::builder(server.url())
        // The `no_proxy` of the environment would have the server dialled directly.
        .proxy_from_env(false)
        .proxy(format!("https://localhost:{}", proxy.port))
        .proxy_tls(trusting(&other.pem))
        .no_reconnect();
    let run = tokio::time::timeout(std::time::Duration::from_secs(30), builder.run());
    let error = run.await.expect("the run ends").unwrap().error.unwrap();
    assert_eq!(error.stage(), "proxy", "{error}");
    says(&error.to_string(), &["localhost", "self-signed", "`Tls::ca_file` in `proxy_tls`"]);
}

/// With TLS 1.3 the proxy judges our certificate behind the handshake: its answer to CONNECT is an alert, or none.
#[actix::test]
async fn what_a_proxy_thinks_of_our_certificate_is_said_to_be_the_proxys() {
    for (versions, ask) in
        [(OLD, Ask::Required), (NEW, Ask::Required), (OLD, Ask::Optional), (NEW, Ask::Optional)]
    {
        let setup = Setup::new(&["localhost"]).versions(versions);
        let alerts = matches!(ask, Ask::Required);
        let proxy = setup.clients(ask, &[EC]).serve(Script::raw_reply("").drop_connection());
        let builder = actix_ws_client::Connection::builder("ws://feed.invalid/")
            .proxy_from_env(false)
            .proxy(format!("https://localhost:{}", proxy.port))
            .proxy_tls(trusting(&proxy.pem))
            .no_reconnect();
        let run = tokio::time::timeout(std::time::Duration::from_secs(30), builder.run());
        let error = run.await.expect("the run ends").unwrap().error.unwrap();
        assert_eq!(error.stage(), "proxy", "{error}");
        let words = if alerts {
            "the proxy ended the handshake with the alert certificate_required"
        } else {
            "requested a client certificate"
        };
        says(&error.to_string(), &[words, "proxy", "`Tls::client_cert_file` in `proxy_tls`"]);
    }
}

#[test]
fn a_key_that_does_not_fit_names_both_files() {
    let scratch = Scratch::new("both-files");
    let (chain, key) = (scratch.write("chain.pem", RSA), scratch.write("key.pem", EC_SEC1));
    let any = || Tls::new().dangerously_accept_any_certificate();
    let text = impossible(any().client_cert_file(&chain, &key).unwrap());
    assert!(text.starts_with("client_cert: "), "{text}");
    says(&text, &["chain.pem", "key.pem", "does not belong", "RSA 2048", "CN="]);
    let text = impossible(any().client_cert_pem(RSA.as_bytes(), EC_SEC1.as_bytes()).unwrap());
    says(&text, &["does not belong", "RSA 2048"]);
    let p521 = scratch.write("p521.pem", P521);
    let text = impossible(any().client_cert_file(&p521, &p521).unwrap());
    assert!(text.starts_with("client_key: "), "{text}");
    says(&text, &["p521.pem", "P-521", "ring", "aws-lc-rs"]);
}
