//! `wss` with a certificate authority and a client certificate of one's own, and how a connection
//! ends if one of them is missing.
//!
//! `cargo run --example tls` makes the certificates and starts the server itself. A program
//! that has them in files calls `ca_file("ca.pem")?` and
//! `client_cert_file("client.pem", "client.key")?`.
//!
//! `cargo run --example tls -- wss://…` opens that URL with the default options until the server closes it, and exits
//! with 1 where it was not closed normally.

use std::error::Error;
use std::process::ExitCode;

use actix_ws_client::testing::{Script, Server, ServerTls};
use actix_ws_client::{Connection, Outcome, Tls, TlsVersion};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

#[actix::main]
async fn main() -> ExitCode {
    match show().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("error: {err}");
            ExitCode::FAILURE
        }
    }
}

async fn show() -> Result<(), Box<dyn Error>> {
    if let Some(url) = std::env::args().nth(1) {
        run(&url, Tls::new()).await?.into_result()?;
        return Ok(());
    }
    let authority = authority()?;
    let server = server(&authority)?;
    let url = server.url();
    let (chain, key) = issue(&authority, "client 7")?;

    println!("* with the authority and a client certificate");
    let trusting = Tls::new().ca_pem(authority.pem().as_bytes())?.min_version(TlsVersion::V1_3);
    let known = trusting.clone().client_cert_pem(chain.as_bytes(), key.as_bytes())?;
    run(&url, known).await?.into_result()?;

    println!("* without the client certificate: the server refuses the client");
    let refused = run(&url, trusting).await?;
    println!("* without the authority: the client refuses the server");
    let unknown = run(&url, Tls::new()).await?;
    match (refused.error, unknown.error) {
        (Some(_), Some(_)) => Ok(()),
        _ => Err("both should have been refused".into()),
    }
}

/// Opens a connection, and prints its events until the server closes it.
async fn run(url: &str, tls: Tls) -> Result<Outcome, Box<dyn Error>> {
    let builder = Connection::builder(url)
        .tls(tls)
        .proxy_from_env(false)
        .reconnect_on_close(false) // the server's Close ends the run
        .on_open(|open| {
            if let Some(session) = &open.handshake.tls {
                println!("open: {}, {}", session.version, session.cipher);
            }
        })
        .on_message(|message| {
            println!("message: {}", message.payload.as_text().unwrap_or_default());
        })
        .no_reconnect() // the first failure ends the run
        .on_error(|failed| println!("error at stage {}: {}", failed.error.stage(), failed.error));
    Ok(builder.run().await?)
}

/// Creates a certificate authority that no other program trusts.
fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "an authority of our own");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

/// Creates a certificate and its key, as PEM.
fn issue(
    authority: &CertifiedIssuer<'_, KeyPair>,
    name: &str,
) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(["localhost".to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok((params.signed_by(&key, authority)?.pem(), key.serialize_pem()))
}

/// Starts a server that accepts only clients with a certificate by this authority.
fn server(authority: &CertifiedIssuer<'_, KeyPair>) -> Result<Server, Box<dyn Error>> {
    let (chain, key) = issue(authority, "server")?;
    let ca = authority.pem();
    let tls = ServerTls::from_pem_with_client_ca(chain.as_bytes(), key.as_bytes(), ca.as_bytes());
    let script = Script::accept().send_text("welcome").send_close(1000, "that is all");
    Ok(Server::start_tls(script, tls))
}
