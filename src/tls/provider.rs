//! The cryptography provider for rustls, and its cipher suites.

use std::sync::{Arc, LazyLock};

use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;

use crate::error::ConfigError;

/// Returns the provider that the application installed, or else the one that is compiled in.
pub(super) fn provider() -> Result<Arc<CryptoProvider>, ConfigError> {
    static BUILT_IN: LazyLock<Option<Arc<CryptoProvider>>> =
        LazyLock::new(|| built_in().map(Arc::new));
    let found = CryptoProvider::get_default().or(BUILT_IN.as_ref());
    let none = || ConfigError::option("tls", "no cryptography provider: enable the feature `ring`");
    found.cloned().ok_or_else(none)
}

// With both features aws-lc-rs is used: it was enabled on purpose, and ring is on by default.
#[cfg(feature = "aws-lc-rs")]
fn built_in() -> Option<CryptoProvider> {
    Some(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
fn built_in() -> Option<CryptoProvider> {
    Some(rustls::crypto::ring::default_provider())
}

#[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
fn built_in() -> Option<CryptoProvider> {
    None
}

/// Returns the provider with these cipher suites alone, in this order.
///
/// # Errors
/// When the provider has no suite of one of the names.
pub(super) fn with_suites(
    provider: &CryptoProvider,
    names: &[String],
) -> Result<Arc<CryptoProvider>, ConfigError> {
    let mut chosen = CryptoProvider::clone(provider);
    let has = |name: &String| {
        let found = provider.cipher_suites.iter().find(|suite| iana(suite.suite()) == *name);
        found.copied().ok_or_else(|| {
            let all: Vec<String> =
                provider.cipher_suites.iter().map(|suite| iana(suite.suite())).collect();
            ConfigError::option(
                "cipher_suites",
                format!("the provider has no {name}; it has {}", all.join(", ")),
            )
        })
    };
    chosen.cipher_suites = names.iter().map(has).collect::<Result<_, _>>()?;
    Ok(Arc::new(chosen))
}

/// Returns the name of a cipher suite in the IANA registry. rustls uses another prefix for those of TLS 1.3.
pub(super) fn iana(suite: CipherSuite) -> String {
    format!("{suite:?}").replacen("TLS13_", "TLS_", 1)
}
