//! How much of a server's certificate is verified.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error as RustlsError, SignatureScheme};

use crate::error::ConfigError;
use crate::tls::authorities::Authorities;
use crate::tls::certificate::Certificate;
use crate::tls::shared::Shared;
use crate::tls::store::Trusted;
use crate::tls::{explain, seen};

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

/// Makes a verifier; without `trusted` one that verifies nothing.
///
/// # Errors
/// When there is no authority, or the platform's store cannot verify a certificate without the name.
pub(super) fn verifier(
    verify: Verify,
    trusted: Option<&Trusted>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, ConfigError> {
    let any_name = verify == Verify::CertificateOnly;
    let (chains, trusted): (Arc<dyn ServerCertVerifier>, _) = match trusted {
        None => return Ok(Arc::new(NoVerification(provider))),
        Some(Trusted::Authorities(trusted)) => {
            let verifier =
                WebPkiServerVerifier::builder_with_provider(trusted.roots(), provider).build();
            let none = |_| ConfigError::option("ca", "no certificate authority is set");
            (verifier.map_err(none)?, Some(trusted.clone()))
        }
        Some(Trusted::Platform(_)) if any_name && !PLATFORM_NAMES_LAST => {
            let reason =
                "the platform's store verifies the name too: set authorities, as by `ca_file`";
            return Err(ConfigError::option("dangerously_accept_any_name", reason));
        }
        Some(Trusted::Platform(verifier)) => (verifier.to_arc(), None),
    };
    Ok(Arc::new(Verifier { chains, trusted, any_name }))
}

/// Whether the platform's verifier is rustls's own over the store's files, which checks the name after everything else.
/// Other verifiers report any one of several failures, so that a wrong name may hide another.
const PLATFORM_NAMES_LAST: bool =
    cfg!(all(unix, not(target_os = "android"), not(target_vendor = "apple")));

/// Verifies a chain of certificates; or that a certificate is exactly one that the application trusts.
#[derive(Debug)]
struct Verifier {
    chains: Arc<dyn ServerCertVerifier>,
    /// `None` for the platform's store, which does not show its certificates.
    trusted: Option<Shared<Authorities>>,
    /// Whether the name is not verified.
    any_name: bool,
}

impl Verifier {
    /// Verifies a certificate that is trusted itself, as many a server's own is, with `CA:TRUE` or without. Its issuer
    /// and its signature do not matter then; its dates, purposes and names do.
    ///
    /// # Errors
    /// `refused` if it is not trusted itself.
    fn verify_own(
        &self,
        certificate: &CertificateDer<'_>,
        server_name: &ServerName<'_>,
        now: UnixTime,
        refused: RustlsError,
    ) -> Result<ServerCertVerified, RustlsError> {
        let is_own = self.trusted.as_ref().is_some_and(|trusted| trusted.contains(certificate));
        let own =
            if is_own && is_about_issuer(&refused) { Certificate::read(certificate) } else { None };
        let Some(own) = own else {
            return Err(refused);
        };
        let time = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let unix = |seconds: i64| {
            UnixTime::since_unix_epoch(Duration::from_secs(seconds.try_into().unwrap_or_default()))
        };
        // The name is checked last, so that accepting any name does not hide another failure.
        if time < own.not_before {
            let not_before = unix(own.not_before);
            return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
        }
        if time > own.not_after {
            let not_after = unix(own.not_after);
            return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
        }
        if own.not_for_servers {
            return Err(CertificateError::InvalidPurpose.into());
        }
        rustls::client::verify_server_name(
            &ParsedCertificate::try_from(certificate)?,
            server_name,
        )?;
        Ok(ServerCertVerified::assertion())
    }
}

/// Whether a certificate was refused for its issuer alone, and not for its dates, names or purposes.
fn is_about_issuer(err: &RustlsError) -> bool {
    #[allow(deprecated)]
    let is_about_issuer = matches!(
        err,
        RustlsError::InvalidCertificate(
            CertificateError::UnknownIssuer
                | CertificateError::BadSignature
                | CertificateError::UnsupportedSignatureAlgorithm
                | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
                | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
        )
    );
    is_about_issuer || explain::is_authority_as_server(err)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        let verified = self
            .chains
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .or_else(|err| self.verify_own(end_entity, server_name, now, err));
        match verified {
            // The name is checked last: nothing else is wrong with the certificate.
            Err(RustlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.any_name => Ok(ServerCertVerified::assertion()),
            Err(err) => {
                seen::refused(end_entity, intermediates);
                Err(err)
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        let verified = self.chains.verify_tls12_signature(message, certificate, signed);
        verified.inspect_err(|_| seen::refused(certificate, &[]))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        let verified = self.chains.verify_tls13_signature(message, certificate, signed);
        verified.inspect_err(|_| seen::refused(certificate, &[]))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
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
