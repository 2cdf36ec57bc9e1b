//! The client certificate and its key.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::error::ConfigError;
use crate::tls::encrypted;

/// The names of the options in errors.
pub(super) const CERT: &str = "client_cert";
pub(super) const KEY: &str = "client_key";
pub(super) const PASSWORD: &str = "client_key_password";

/// A certificate with its chain, and its private key. No `Debug`, so that the key is never shown.
pub(super) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Key,
}

enum Key {
    Plain(PrivateKeyDer<'static>),
    /// PKCS#8's EncryptedPrivateKeyInfo (RFC 5958, 3).
    Encrypted(Vec<u8>),
}

impl Identity {
    /// Parses a chain and a key from PEM texts.
    pub(super) fn parse(chain: &[u8], key: &[u8]) -> Result<Identity, ConfigError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
        let chain = chain.map_err(|err| ConfigError::option(CERT, err))?;
        if chain.is_empty() {
            return Err(ConfigError::option(CERT, "no certificate found"));
        }
        let key = Key::parse(key).map_err(|reason| ConfigError::option(KEY, reason))?;
        Ok(Identity { chain, key })
    }

    /// Returns the chain and the key, decrypted if it is encrypted.
    pub(super) fn open(
        &self,
        password: Option<&str>,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), ConfigError> {
        let key = match &self.key {
            Key::Plain(key) => key.clone_key(),
            Key::Encrypted(der) => {
                let missing =
                    || ConfigError::option(PASSWORD, "the key is encrypted: set its password");
                encrypted::decrypt(der, password.ok_or_else(missing)?)
                    .map_err(|reason| ConfigError::option(PASSWORD, reason))?
            }
        };
        Ok((self.chain.clone(), key))
    }
}

impl Key {
    /// Parses the first private key of a PEM text. The error holds nothing of it.
    fn parse(text: &[u8]) -> Result<Key, &'static str> {
        // The encryption of RFC 1421, whose key is an MD5 of the password. It is not supported.
        if contains(text, b"Proc-Type: 4,ENCRYPTED") {
            return Err(
                "encrypted as in RFC 1421, which is not supported: convert it by openssl pkcs8 -topk8",
            );
        }
        match PrivateKeyDer::from_pem_slice(text) {
            Ok(key) => Ok(Key::Plain(key)),
            Err(pem::Error::NoItemsFound) => match encrypted_section(text) {
                Some(body) => {
                    Ok(Key::Encrypted(body.ok_or("the encrypted private key is not base64")?))
                }
                None => Err("no private key found"),
            },
            Err(_) => Err("the private key cannot be parsed"),
        }
    }
}

/// Finds the section of an encrypted key, which rustls does not parse. The inner `None` means that its content is not
/// base64.
fn encrypted_section(text: &[u8]) -> Option<Option<Vec<u8>>> {
    let text = String::from_utf8_lossy(text);
    let (_, rest) = text.split_once("-----BEGIN ENCRYPTED PRIVATE KEY-----")?;
    let body = rest.split_once("-----END ENCRYPTED PRIVATE KEY-----").map(|(body, _)| body);
    let packed = body.map(|body| body.split_ascii_whitespace().collect::<String>());
    Some(packed.and_then(|packed| STANDARD.decode(packed).ok()))
}

fn contains(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|window| window == words)
}

/// Sends no client certificate, whatever the server requests.
#[derive(Debug)]
pub(super) struct NoClientCert;

impl ResolvesClientCert for NoClientCert {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
