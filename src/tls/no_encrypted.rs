//! Replaces `encrypted.rs` without the feature `encrypted-keys`: refuses encrypted keys.

use rustls::pki_types::PrivateKeyDer;

pub(super) fn decrypt(_: &[u8], _: &str) -> Result<PrivateKeyDer<'static>, &'static str> {
    Err("the key is encrypted: enable the feature `encrypted-keys`")
}
