//! Keys under a password: PKCS#8 with PBES2 (RFC 5958 and RFC 8018).

use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Opens an EncryptedPrivateKeyInfo.
///
/// # Errors
/// In words that hold nothing of it.
pub(super) fn decrypt(der: &[u8], password: &str) -> Result<PrivateKeyDer<'static>, &'static str> {
    let info = EncryptedPrivateKeyInfoRef::try_from(der)
        .map_err(|_| "encrypted in a way that is not known here; PBES2 is")?;
    let opened = info.decrypt(password).map_err(|_| "it does not open the key")?;
    Ok(PrivatePkcs8KeyDer::from(opened.as_bytes().to_vec()).into())
}
