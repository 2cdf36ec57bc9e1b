//! `wss` with an authority of our own and a client certificate, and what comes of it when one of
//! them is missing.
//!
//! `cargo run --example tls`. Certificates are made on the spot, and so is the server. A program
//! that has them in files says `ca_file("ca.pem")?` and
//! `client_cert_file("client.pem", "client.key")?` instead.

use std::error::Error;
use std::sync::Arc;

use actix_ws_client::{Connection, Outcome, Tls, TlsVersion, event};
use futures_util::SinkExt;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let authority = authority()?;
    let url = server(&authority).await?;
    let (chain, key) = issue(&authority, "client 7")?;

    println!("* with the authority and a certificate of ours");
    let trusting = Tls::new().ca_pem(authority.pem().as_bytes())?.min_version(TlsVersion::V1_3);
    let known = trusting.clone().client_cert_pem(chain.as_bytes(), key.as_bytes())?;
    let outcome = run(&url, known).await?;
    if let Some(error) = outcome.error {
        return Err(error.into());
    }

    println!("* without the certificate: the server wants to know who we are");
    let refused = run(&url, trusting).await?;
    println!("* without the authority: for all we know, this is another server");
    let unknown = run(&url, Tls::new()).await?;
    match (refused.error, unknown.error) {
        (Some(_), Some(_)) => Ok(()),
        _ => Err("both should have been refused".into()),
    }
}

/// Opens a connection, and prints what happens until the server closes it.
async fn run(url: &str, tls: Tls) -> Result<Outcome, Box<dyn Error>> {
    let builder = Connection::builder(url)
        .tls(tls)
        .proxy_from_env(false)
        .reconnect_on_close(false) // when the server closes, that is all
        .on_open(event::call(|open: event::Open| {
            if let Some(session) = &open.handshake.tls {
                println!("open: {}, {}", session.version, session.cipher);
            }
        }))
        .on_message(event::call(|message: event::Message| {
            println!("message: {}", message.payload.as_text().unwrap_or_default());
        }))
        // A certificate that will not do is no reason to try again: there is one dial.
        .on_error(event::call(|failed: event::Error| {
            println!("error at stage {}: {}", failed.error.stage(), failed.error);
        }));
    Ok(builder.run().await?)
}

/// An authority that nobody else knows.
fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "an authority of our own");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

/// A certificate and its key, as PEM.
fn issue(
    authority: &CertifiedIssuer<'_, KeyPair>,
    name: &str,
) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(["localhost".to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok((params.signed_by(&key, authority)?.pem(), key.serialize_pem()))
}

/// Starts a server that asks for a certificate, and says where.
async fn server(authority: &CertifiedIssuer<'_, KeyPair>) -> Result<String, Box<dyn Error>> {
    let key = KeyPair::generate()?;
    let own = CertificateParams::new(["localhost".to_owned()])?.signed_by(&key, authority)?;
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients.build()?)
        .with_single_cert(
            vec![own.der().clone()],
            PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("wss://localhost:{}/", listener.local_addr()?.port());
    actix::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not trust us, or that we don't trust, goes no further.
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let shown = stream.get_ref().1.peer_certificates().map_or(0, |chain| chain.len());
            let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { continue };
            let words = format!("welcome, your chain has {shown} certificate");
            // An error here is the end of the client.
            let _ = socket.send(words.into()).await;
            let _ = socket.close(None).await;
        }
    });
    Ok(url)
}
