//! TLS by rustls over any transport: its options, what is trusted, and the client certificate.

mod authorities;
mod certificate;
mod config;
mod deferred;
#[cfg(feature = "encrypted-keys")]
mod encrypted;
#[cfg(not(feature = "encrypted-keys"))]
#[path = "no_encrypted.rs"]
mod encrypted;
mod explain;
mod identity;
mod options;
mod pem;
mod provider;
mod records;
mod seen;
#[cfg(feature = "testing")]
pub(crate) mod server;
mod session;
mod shared;
mod store;
mod verify;
#[cfg(feature = "webpki-roots")]
mod webpki;

pub use crate::tls::options::{Tls, TlsVersion};
pub use crate::tls::session::TlsSession;

pub(crate) use crate::tls::session::{
    LazyTlsClient, TlsClient, TlsStream, alert, client_certificate_wanted, session,
};
