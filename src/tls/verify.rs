//! How much of a server's certificate is verified.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, DigitallySignedStruct, Error as RustlsError, RootCertStore, SignatureScheme,
};

use crate::error::ConfigError;

/// How much is verified, from the strictest on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verify {
    /// The certificate, and that it is for the host.
    #[default]
    Full,
    /// The certificate alone.
    CertificateOnly,
    Nothing,
}

/// Makes a verifier that trusts these authorities, or the platform's store.
///
/// # Errors
/// When the store cannot be read, or cannot verify a certificate without the name.
pub(super) fn verifier(
    verify: Verify,
    roots: Option<Arc<RootCertStore>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, ConfigError> {
    if verify == Verify::Nothing {
        return Ok(Arc::new(NoVerification(provider)));
    }
    let full: Arc<dyn ServerCertVerifier> = match roots {
        Some(roots) => WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|err| ConfigError::option("ca", err))?,
        None if verify == Verify::CertificateOnly && !PLATFORM_NAMES_LAST => {
            let reason =
                "the platform's store verifies the name too: set authorities, as by `ca_file`";
            return Err(ConfigError::option("dangerously_accept_any_name", reason));
        }
        None => {
            let verifier = rustls_platform_verifier::Verifier::new(provider);
            Arc::new(verifier.map_err(|err| ConfigError::option("tls", err))?)
        }
    };
    Ok(match verify {
        Verify::CertificateOnly => Arc::new(AnyName(full)),
        _ => full,
    })
}

/// Whether the platform's verifier is rustls's own over the store's files, which checks the name after everything else.
/// Other verifiers report any one of several failures, so that a wrong name may hide another.
const PLATFORM_NAMES_LAST: bool =
    cfg!(all(unix, not(target_os = "android"), not(target_vendor = "apple")));

/// Verifies everything except the name.
#[derive(Debug)]
struct AnyName(Arc<dyn ServerCertVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        let verified =
            self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The name is checked last: nothing else is wrong with the certificate.
            Err(RustlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Accepts any certificate.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
