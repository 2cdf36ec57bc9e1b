//! The client certificate and its key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error as RustlsError, InconsistentKeys, SignatureScheme};

use crate::error::ConfigError;
use crate::tls::certificate::{Certificate, P521, date};
use crate::tls::pem::{self, Key};
use crate::tls::shared::{Newest, Shared};
use crate::tls::{encrypted, explain, seen};

/// The names of the options in errors.
pub(super) const CERT: &str = "client_cert";
pub(super) const KEY: &str = "client_key";
pub(super) const PASSWORD: &str = "client_key_password";

/// A certificate with its chain, and its private key. No `Debug`, so that the key is never shown.
pub(super) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Key,
    /// The files that they were read from, if they were.
    files: Option<(PathBuf, PathBuf)>,
}

impl Identity {
    /// Parses a chain and a key, PEM or DER, which `files` names.
    pub(super) fn parse(
        chain: &[u8],
        key: &[u8],
        files: Option<(&Path, &Path)>,
    ) -> Result<Identity, ConfigError> {
        let named = |path: Option<&Path>, reason| match path {
            Some(path) => format!("{}: {reason}", path.display()),
            None => reason,
        };
        let (chain_file, key_file) = files.unzip();
        let refuse = |option, path, reason| ConfigError::option(option, named(path, reason));
        let chain = pem::certificates(chain)
            .and_then(|chain| chain.into_iter().collect())
            .map_err(|reason| refuse(CERT, chain_file, reason))?;
        let key = pem::private_key(key).map_err(|reason| refuse(KEY, key_file, reason))?;
        let files = files.map(|(chain, key)| (chain.to_owned(), key.to_owned()));
        Ok(Identity { chain, key, files })
    }

    /// Whether the other one is of the same files, or of none, and has the same certificates and key.
    fn is_same(&self, other: &Identity) -> bool {
        (&self.files, &self.chain, &self.key) == (&other.files, &other.chain, &other.key)
    }

    /// Returns what sends the certificate, with its key, decrypted if it is encrypted.
    ///
    /// # Errors
    /// When the key cannot be decrypted or used, or does not belong to the certificate.
    pub(super) fn resolver(
        &self,
        password: Option<&str>,
        provider: &CryptoProvider,
    ) -> Result<Arc<dyn ResolvesClientCert>, ConfigError> {
        let key = self.open(password)?;
        let signing =
            provider.key_provider.load_private_key(key).map_err(|_| self.unusable_key())?;
        let certified = CertifiedKey::new(self.chain.clone(), signing);
        match certified.keys_match() {
            // `Unknown`: the provider cannot compare them. The server rejects a wrong pair.
            Ok(()) | Err(RustlsError::InconsistentKeys(InconsistentKeys::Unknown)) => {
                Ok(Arc::new(SingleCertAndKey::from(certified)))
            }
            Err(RustlsError::InconsistentKeys(_)) => {
                let files = self.files.as_ref().map(|(chain, key)| {
                    format!(": {} has the certificate, {} the key", chain.display(), key.display())
                });
                let reason = format!(
                    "the key does not belong to the certificate {}{}",
                    self.described(),
                    files.unwrap_or_default()
                );
                Err(ConfigError::option(CERT, reason))
            }
            Err(_) => {
                let reason = format!("the certificate {} cannot be parsed", self.described());
                Err(ConfigError::option(CERT, reason))
            }
        }
    }

    fn open(&self, password: Option<&str>) -> Result<PrivateKeyDer<'static>, ConfigError> {
        match &self.key {
            Key::Plain(key) => Ok(key.clone_key()),
            Key::Encrypted(der) => {
                let missing = || {
                    let reason = "the key is encrypted, and its password is not set";
                    ConfigError::option(PASSWORD, self.key_file() + reason)
                };
                encrypted::decrypt(der, password.ok_or_else(missing)?)
                    .map_err(|reason| ConfigError::option(PASSWORD, reason))
            }
        }
    }

    /// Returns the file of the key for the beginning of an error text; empty if it came from memory.
    fn key_file(&self) -> String {
        self.files.as_ref().map(|(_, key)| format!("{}: ", key.display())).unwrap_or_default()
    }

    /// Returns the error for a key that the provider does not load.
    fn unusable_key(&self) -> ConfigError {
        let read = self.chain.first().and_then(|certificate| Certificate::read(certificate));
        let reason = match read {
            Some(read) if read.key == P521 => {
                format!("the certificate is for a P-521 key. {}", explain::what_ring_can_do())
            }
            _ => format!(
                "the key is damaged, or of a kind that is not supported. {}",
                explain::what_ring_can_do()
            ),
        };
        ConfigError::option(KEY, self.key_file() + &reason)
    }

    /// Returns the subject, the issuer and the end of the certificate, for error texts.
    pub(super) fn described(&self) -> String {
        let read = self.chain.first().and_then(|certificate| Certificate::read(certificate));
        read.map_or_else(String::new, |read| {
            let (subject, issuer, end) = (read.title(), &read.issuer, date(read.not_after));
            format!("{subject} ({} key, issued by {issuer}, valid until {end})", read.key)
        })
    }
}

/// The client certificates of the process.
static KNOWN: Newest<Identity> = Newest::new();

/// Returns the certificate in shared memory, if another connection has the same.
pub(super) fn shared(identity: Identity) -> Shared<Identity> {
    KNOWN.get_or_share(identity, Identity::is_same)
}

/// Sends no client certificate, whatever the server requests.
#[derive(Debug)]
pub(super) struct NoClientCert;

impl ResolvesClientCert for NoClientCert {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        seen::certificate_wanted();
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
