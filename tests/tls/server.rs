//! A scripted server over TLS, and what it saw of its clients.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use actix_ws_client::testing::{Gone, Journal, Leave, Note, Script};
use rcgen::{CertificateParams, DnType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// How a script's `reset` ends the transport.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cut {
    /// FIN, without close_notify.
    Fin,
    /// RST.
    Reset,
}

/// Which clients have to show a certificate.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Ask {
    /// It is asked for, and none will do too.
    Optional,
    Required,
}

type Versions = &'static [&'static SupportedProtocolVersion];

pub(crate) const OLD: Versions = &[&rustls::version::TLS12];
pub(crate) const NEW: Versions = &[&rustls::version::TLS13];

/// How many servers there are.
static MADE: AtomicUsize = AtomicUsize::new(0);

/// What a server is to be.
pub(crate) struct Setup {
    params: CertificateParams,
    versions: Versions,
    alpn: Vec<Vec<u8>>,
    clients: Option<(Ask, Vec<String>)>,
    cut: Cut,
    /// Connections that are dropped instead of their handshake.
    refused: usize,
}

impl Setup {
    /// With a new certificate for these names.
    pub(crate) fn new(names: &[&str]) -> Setup {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        // An authority of the same name with another key would be a bad signature, not an unknown.
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("server {number}"));
        let (versions, alpn, cut) = (rustls::ALL_VERSIONS, Vec::new(), Cut::Fin);
        Setup { params, versions, alpn, clients: None, cut, refused: 0 }
    }

    pub(crate) fn expired(mut self) -> Setup {
        self.params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        self.params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        self
    }

    pub(crate) fn versions(self, versions: Versions) -> Setup {
        Setup { versions, ..self }
    }

    pub(crate) fn alpn(mut self, names: &[&str]) -> Setup {
        self.alpn = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// Asks for certificates of these, as PEM.
    pub(crate) fn clients(mut self, ask: Ask, trusted: &[&str]) -> Setup {
        self.clients = Some((ask, trusted.iter().map(|pem| (*pem).to_owned()).collect()));
        self
    }

    pub(crate) fn cut(self, cut: Cut) -> Setup {
        Setup { cut, ..self }
    }

    pub(crate) fn refusing(self, refused: usize) -> Setup {
        Setup { refused, ..self }
    }

    /// The configuration, and the certificate as PEM.
    fn config(&self) -> (ServerConfig, String) {
        let signing = rcgen::KeyPair::generate().unwrap();
        let made = self.params.self_signed(&signing).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.versions)
            .unwrap();
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some((ask, trusted)) => {
                let mut roots = RootCertStore::empty();
                for pem in trusted {
                    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match ask {
                    Ask::Optional => verifier.allow_unauthenticated(),
                    Ask::Required => verifier,
                };
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let mut config = builder.with_single_cert(vec![made.der().clone()], key).unwrap();
        config.alpn_protocols = self.alpn.clone();
        (config, made.pem())
    }

    /// Serves this script on loopback.
    pub(crate) async fn serve(self, script: Script) -> Peer {
        self.serve_on("127.0.0.1", script).await
    }

    pub(crate) async fn serve_on(self, host: &str, script: Script) -> Peer {
        let (config, pem) = self.config();
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let journal = Journal::new();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (notes, sights) = (journal.clone(), seen.clone());
        let acceptor = TlsAcceptor::from(Arc::new(config));
        actix::spawn(async move {
            for visit in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                notes.write(visit, Note::Dial);
                if visit < self.refused {
                    continue;
                }
                let (acceptor, script, notes) = (acceptor.clone(), script.clone(), notes.clone());
                let (sights, cut) = (sights.clone(), self.cut);
                actix::spawn(async move {
                    let mut stream = match acceptor.accept(stream).await {
                        Ok(stream) => stream,
                        Err(err) => {
                            return notes.write(visit, Note::Gone(Gone::Error(err.kind())));
                        }
                    };
                    sights.lock().unwrap().push(Seen::of(stream.get_ref().1));
                    let leave = script.play(&mut stream, visit, &notes).await;
                    let (mut tcp, _) = stream.into_inner();
                    match (leave, cut) {
                        (Leave::Reset, Cut::Reset) => tcp.set_zero_linger().unwrap(),
                        (Leave::Reset, Cut::Fin) => tcp.shutdown().await.unwrap(),
                        _ => {}
                    }
                });
            }
        });
        Peer { port, pem, journal, seen }
    }
}

/// What a server saw of a client in a handshake.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) kind: Option<HandshakeKind>,
    pub(crate) sni: Option<String>,
    pub(crate) alpn: Option<Vec<u8>>,
    /// The client's own certificate.
    pub(crate) certificate: Option<CertificateDer<'static>>,
}

impl Seen {
    fn of(session: &rustls::ServerConnection) -> Seen {
        let certificates = session.peer_certificates().unwrap_or_default();
        Seen {
            kind: session.handshake_kind(),
            sni: session.server_name().map(str::to_owned),
            alpn: session.alpn_protocol().map(<[u8]>::to_vec),
            certificate: certificates.first().map(|one| one.clone().into_owned()),
        }
    }
}

/// A server that runs.
pub(crate) struct Peer {
    pub(crate) port: u16,
    /// Its certificate, which is its own authority.
    pub(crate) pem: String,
    pub(crate) journal: Journal,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Peer {
    pub(crate) fn dials(&self) -> usize {
        self.journal.notes().iter().filter(|(_, _, note)| matches!(note, Note::Dial)).count()
    }

    /// The handshakes so far that came to their end.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}
