//! Whom to trust: TLS by rustls over any transport.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, ClientConfig, DigitallySignedStruct, ProtocolVersion, RootCertStore,
    SignatureScheme,
};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::error::{ConfigError, Error, TlsError};

/// How a `wss` connection is secured.
///
/// By default the server's certificate is verified in full against the platform's store, over
/// TLS 1.2 or 1.3, and ALPN offers `http/1.1` alone (a WebSocket over HTTP/2 is another protocol,
/// RFC 8441). Nothing here ever falls back to plain text.
#[derive(Clone, Default)]
pub struct Tls {
    /// Certificate authorities that take the place of the platform's store.
    roots: Option<Arc<RootCertStore>>,
    /// Whether any certificate will do.
    unverified: bool,
}

impl Tls {
    /// Full verification against the platform's store.
    pub fn new() -> Tls {
        Tls::default()
    }

    /// Trusts the certificate authorities in this PEM text instead of the platform's store
    /// (WebSocketApp's `sslopt["ca_certs"]`). More calls add more.
    ///
    /// # Errors
    /// When the text holds no certificate, or one that cannot be read.
    pub fn ca_pem(mut self, pem: &[u8]) -> Result<Tls, ConfigError> {
        let mut roots = self.roots.as_deref().cloned().unwrap_or_else(RootCertStore::empty);
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|err| ConfigError::option("ca", err))?;
            roots.add(certificate).map_err(|err| ConfigError::option("ca", err))?;
        }
        if roots.len() == before {
            return Err(ConfigError::option("ca", "no certificate in it"));
        }
        self.roots = Some(Arc::new(roots));
        Ok(self)
    }

    /// Trusts the certificate authorities in this PEM file, as [`ca_pem`](Tls::ca_pem) does.
    ///
    /// # Errors
    /// When the file cannot be read, or as `ca_pem`.
    pub fn ca_file(self, path: impl AsRef<Path>) -> Result<Tls, ConfigError> {
        let path = path.as_ref();
        let pem = std::fs::read(path)
            .map_err(|err| ConfigError::option("ca", format!("{}: {err}", path.display())))?;
        self.ca_pem(&pem)
    }

    /// Accepts any certificate, so that anybody on the way can read and change all that is sent.
    /// For tests against a server of one's own. Each dial warns in the log.
    pub fn dangerously_accept_any_certificate(mut self) -> Tls {
        self.unverified = true;
        self
    }

    /// The rustls configuration that these settings make. Made once for a connection, so that its
    /// sessions are resumed.
    pub(crate) fn client_config(&self) -> Result<TlsClient, ConfigError> {
        let tls = |err: rustls::Error| ConfigError::option("tls", err);
        let provider = provider()?;
        // `builder()` would panic where two providers are compiled in and none was chosen.
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(tls)?;
        let verified = match &self.roots {
            _ if self.unverified => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
            }
            Some(roots) => builder.with_root_certificates(roots.clone()),
            None => builder.with_platform_verifier().map_err(tls)?,
        };
        let mut config = verified.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsClient { config: Arc::new(config), unverified: self.unverified })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roots = self.roots.as_ref().map(|roots| roots.len());
        f.debug_struct("Tls").field("roots", &roots).field("unverified", &self.unverified).finish()
    }
}

/// The provider that the application installed, else ours.
fn provider() -> Result<Arc<CryptoProvider>, ConfigError> {
    if let Some(installed) = CryptoProvider::get_default() {
        return Ok(installed.clone());
    }
    built_in().ok_or_else(|| ConfigError::option("tls", "no cryptography provider: enable `ring`"))
}

#[cfg(feature = "ring")]
fn built_in() -> Option<Arc<CryptoProvider>> {
    Some(Arc::new(rustls::crypto::ring::default_provider()))
}

#[cfg(not(feature = "ring"))]
fn built_in() -> Option<Arc<CryptoProvider>> {
    None
}

/// A verifier that verifies nobody.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A transport under TLS.
pub(crate) type TlsStream<S> = tokio_rustls::client::TlsStream<S>;

/// What a connection keeps for all its TLS handshakes.
#[derive(Clone)]
pub(crate) struct TlsClient {
    config: Arc<ClientConfig>,
    unverified: bool,
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("unverified", &self.unverified).finish()
    }
}

/// The version and cipher suite of an open TLS session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSession {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite's name in the IANA registry.
    pub cipher: String,
}

impl TlsClient {
    /// Sets up TLS to `host` (a name, or an IP address without brackets) over `stream`.
    pub(crate) async fn connect<S>(&self, host: &str, stream: S) -> Result<TlsStream<S>, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if self.unverified {
            tracing::warn!(host, "the server's certificate is not verified");
        }
        let name = ServerName::try_from(host.to_owned())
            .map_err(|err| Error::Tls(TlsError::new(io::Error::other(err), false)))?;
        let connector = TlsConnector::from(self.config.clone());
        connector.connect(name, stream).await.map_err(|err| Error::Tls(classify(err)))
    }
}

/// Version and cipher of a session, once it is set up.
pub(crate) fn session<S>(stream: &TlsStream<S>) -> Option<TlsSession> {
    let (_, connection) = stream.get_ref();
    let version = match connection.protocol_version()? {
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        _ => "TLSv1.3",
    };
    let cipher = format!("{:?}", connection.negotiated_cipher_suite()?.suite());
    Some(TlsSession { version, cipher })
}

/// Parts a handshake that was cut short from one that will fail in the same way again.
fn classify(err: io::Error) -> TlsError {
    let inner = err.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let broken_off = match inner {
        None => true,
        Some(rustls::Error::AlertReceived(alert)) => *alert == AlertDescription::InternalError,
        Some(_) => false,
    };
    TlsError::new(err, broken_off)
}

/// The alert that ended a session, where `err` is one: with TLS 1.3 a server that misses a client
/// certificate says so only after the handshake is over for us (RFC 8446, 4.4.2.4).
pub(crate) fn alert(err: &io::Error) -> Option<TlsError> {
    let inner = err.get_ref()?.downcast_ref::<rustls::Error>()?;
    match inner {
        rustls::Error::AlertReceived(alert) => {
            let broken_off = *alert == AlertDescription::InternalError;
            Some(TlsError::new(io::Error::other(inner.clone()), broken_off))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_a_certificate_is_no_authority() {
        let err = Tls::new().ca_pem(b"hello").unwrap_err();
        assert!(err.to_string().contains("no certificate"), "{err}");
    }

    #[test]
    fn a_cut_handshake_is_told_from_a_wrong_certificate() {
        assert!(classify(io::ErrorKind::UnexpectedEof.into()).is_broken_off());
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = |err: rustls::Error| io::Error::new(io::ErrorKind::InvalidData, err);
        assert!(!classify(wrapped(unknown)).is_broken_off());
        let alert = |alert| classify(wrapped(rustls::Error::AlertReceived(alert)));
        assert!(alert(AlertDescription::InternalError).is_broken_off());
        assert!(!alert(AlertDescription::UnknownCA).is_broken_off());
    }

    #[test]
    fn alpn_offers_http_1_1_alone() {
        let client = Tls::new().dangerously_accept_any_certificate().client_config().unwrap();
        assert_eq!(client.config.alpn_protocols, [b"http/1.1".to_vec()]);
    }
}
