//! Encrypted private keys: PKCS#8 with PBES2 (RFC 5958 and RFC 8018).

use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Decrypts an EncryptedPrivateKeyInfo.
///
/// # Errors
/// A text that holds nothing of the key or the password.
pub(super) fn decrypt(der: &[u8], password: &str) -> Result<PrivateKeyDer<'static>, &'static str> {
    let info = EncryptedPrivateKeyInfoRef::try_from(der)
        .map_err(|_| "the key's encryption is not supported: PBES2 is")?;
    let opened = info.decrypt(password).map_err(|_| "it does not decrypt the key")?;
    Ok(PrivatePkcs8KeyDer::from(opened.as_bytes().to_vec()).into())
}
