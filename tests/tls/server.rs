//! Scripted servers over TLS, each with a certificate of its own.

use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_ws_client::testing::{Script, Server, ServerTls, TlsHandshake};
use rcgen::{CertificateParams, DnType, Issuer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

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
    /// Connections that are dropped instead of their handshake.
    refused: usize,
    /// A certificate and its key as PEM, instead of new ones.
    fixed: Option<&'static str>,
    /// The name of an authority that issues the certificate, which is self-signed without one.
    issuer: Option<&'static str>,
}

impl Setup {
    /// With a new certificate for these names.
    pub(crate) fn new(names: &[&str]) -> Setup {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        // An authority of the same name with another key would be a bad signature, not an unknown.
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("server {number}"));
        let (versions, alpn) = (rustls::ALL_VERSIONS, Vec::new());
        Setup { params, versions, alpn, clients: None, refused: 0, fixed: None, issuer: None }
    }

    pub(crate) fn expired(mut self) -> Setup {
        self.params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        self.params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        self
    }

    pub(crate) fn not_yet_valid(mut self) -> Setup {
        self.params.not_before = rcgen::date_time_ymd(2901, 1, 1);
        self.params.not_after = rcgen::date_time_ymd(2902, 1, 1);
        self
    }

    /// As an authority's, like those that `openssl req -x509` makes.
    pub(crate) fn authority(mut self) -> Setup {
        self.params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        self
    }

    /// For the authentication of clients alone.
    pub(crate) fn for_clients(mut self) -> Setup {
        self.params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        self
    }

    pub(crate) fn common_name(mut self, name: &str) -> Setup {
        self.params.distinguished_name.push(DnType::CommonName, name);
        self
    }

    pub(crate) fn issued_by(self, issuer: &'static str) -> Setup {
        Setup { issuer: Some(issuer), ..self }
    }

    pub(crate) fn fixed(self, pem: &'static str) -> Setup {
        Setup { fixed: Some(pem), ..self }
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

    pub(crate) fn refusing(self, refused: usize) -> Setup {
        Setup { refused, ..self }
    }

    /// The configuration, and the certificate as PEM.
    fn config(&self) -> (ServerConfig, String) {
        let (chain, key, pem) = self.identity();
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
        let mut config = builder.with_single_cert(vec![chain], key).unwrap();
        config.alpn_protocols = self.alpn.clone();
        (config, pem)
    }

    /// The certificate, its key, and the certificate as PEM.
    fn identity(&self) -> (CertificateDer<'static>, PrivateKeyDer<'static>, String) {
        if let Some(pem) = self.fixed {
            let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
            return (certificate, key, pem.to_owned());
        }
        let signing = rcgen::KeyPair::generate().unwrap();
        let made = match self.issuer {
            None => self.params.self_signed(&signing).unwrap(),
            Some(name) => {
                let mut authority = CertificateParams::default();
                authority.distinguished_name.push(DnType::CommonName, name);
                let issuer = Issuer::new(authority, rcgen::KeyPair::generate().unwrap());
                self.params.signed_by(&signing, &issuer).unwrap()
            }
        };
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing.serialize_der()));
        (made.der().clone(), key, made.pem())
    }

    /// Serves this script on loopback.
    pub(crate) fn serve(self, script: Script) -> Peer {
        let (config, pem) = self.config();
        let scripts = iter::repeat_n(Script::hang_up(), self.refused).chain([script]);
        let server = Server::start_tls(scripts.collect::<Vec<_>>(), ServerTls::from_config(config));
        Peer { port: server.addr().port(), pem, server }
    }
}

/// A server that runs.
pub(crate) struct Peer {
    pub(crate) port: u16,
    /// Its certificate, which is its own authority.
    pub(crate) pem: String,
    pub(crate) server: Server,
}

impl Peer {
    /// The handshakes so far that were completed.
    pub(crate) fn seen(&self) -> Vec<TlsHandshake> {
        self.server.tls_handshakes()
    }
}
