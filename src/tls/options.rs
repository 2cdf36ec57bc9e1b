//! The options of TLS.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::{ClientConfig, SupportedProtocolVersion};

use crate::error::ConfigError;
use crate::tls::authorities::{self, Authorities};
use crate::tls::identity::{self, Identity, NoClientCert};
use crate::tls::shared::Shared;
use crate::tls::verify::Verify;

/// Options for TLS, which secures `wss` connections.
///
/// By default the server's certificate is verified in full against the platform's store, over
/// TLS 1.2 or 1.3, and ALPN offers `http/1.1` alone (a WebSocket over HTTP/2 is another protocol,
/// RFC 8441). No option falls back to plain text. Sessions are resumed when a connection reconnects, and by other
/// connections of the process with the same options.
///
/// # What is trusted
///
/// The first of these that is set:
///
/// 1. the authorities of [`ca_pem`](Tls::ca_pem), [`ca_file`](Tls::ca_file),
///    [`ca_dir`](Tls::ca_dir) and `webpki_roots` (feature `webpki-roots`), all together;
/// 2. the environment variable `WEBSOCKET_CLIENT_CA_BUNDLE`, a file or a directory (as WebSocketApp);
/// 3. `SSL_CERT_FILE`, a file, and `SSL_CERT_DIR`, directories, together (as OpenSSL);
/// 4. the platform's store.
///
/// An empty variable counts as unset. A variable whose file or directories hold no certificate is a
/// [`ConfigError::Authorities`] that names it. The store is read once for the process, and again by the next
/// `start` when a variable, a file or a directory has changed; connections that run keep what they have. A
/// file of a directory that is rewritten in place, and not replaced, is not noticed.
///
/// # On a redirect to another origin
///
/// The client certificate and [`server_name`](Tls::server_name) are not used there: they are for the
/// host of the URL alone.
#[derive(Clone, Default, PartialEq)]
pub struct Tls {
    /// The certificate authorities that are trusted instead of the platform's store.
    pub(super) authorities: Option<Shared<Authorities>>,
    /// The client certificate and its key.
    pub(super) identity: Option<Shared<Identity>>,
    /// The password that decrypts the key.
    pub(super) key_password: Option<Arc<str>>,
    /// What of the server's certificate is verified.
    pub(super) verify: Verify,
    /// The name that the server's certificate has to be for, if not the URL's host.
    pub(super) server_name: Option<String>,
    pub(super) min_version: Option<TlsVersion>,
    pub(super) max_version: Option<TlsVersion>,
    /// The names of the cipher suites, in order of preference.
    pub(super) cipher_suites: Option<Vec<String>>,
    /// The protocols that ALPN offers.
    pub(super) alpn: Option<Vec<Vec<u8>>>,
    /// Whether secrets are written to the file that `SSLKEYLOGFILE` names.
    pub(super) key_log: bool,
    /// The application's configuration of rustls, used instead of all options but `server_name`.
    pub(super) config: Option<Shared<ClientConfig>>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

impl TlsVersion {
    pub(super) const ALL: [(TlsVersion, &'static SupportedProtocolVersion); 2] =
        [(TlsVersion::V1_2, &rustls::version::TLS12), (TlsVersion::V1_3, &rustls::version::TLS13)];
}

impl Tls {
    /// Creates options with the defaults: full verification against the platform's store.
    pub fn new() -> Tls {
        Tls::default()
    }

    /// Uses a configuration of rustls 0.23 as it is, ALPN included (WebSocketApp's `sslopt["context"]`).
    /// Only [`server_name`](Tls::server_name) can be set beside it: `start` refuses any other option,
    /// which would have no effect. The environment is not read.
    ///
    /// A server that chooses `h2` from its ALPN ends the run, because HTTP/2 is not supported.
    pub fn from_config(config: Arc<ClientConfig>) -> Tls {
        Tls { config: Some(Shared::new(config)), ..Tls::default() }
    }

    /// Trusts the certificate authorities in this text instead of the platform's store. Further calls,
    /// also of [`ca_file`](Tls::ca_file) and [`ca_dir`](Tls::ca_dir), add to them.
    ///
    /// The text is PEM as it is usually found: `CERTIFICATE`, `X509 CERTIFICATE` and OpenSSL's
    /// `TRUSTED CERTIFICATE` sections, any number of them, with other text around; or one certificate
    /// as DER. A server's own certificate can be given too: a server that sends exactly that certificate
    /// is trusted, whatever its issuer is. Its dates and its name are still verified.
    ///
    /// # Errors
    /// When the text holds no certificate, or one that cannot be parsed. PKCS#12, PKCS#7 and UTF-16 are
    /// named as such.
    #[doc(alias("root_cert", "add_root_certificate", "root_certificate"))]
    pub fn ca_pem(self, pem: &[u8]) -> Result<Tls, ConfigError> {
        self.add_authorities(|authorities| authorities.add(pem))
    }

    /// Trusts the certificate authorities in this file of at most 16 MiB, as
    /// [`ca_pem`](Tls::ca_pem) does (WebSocketApp's `sslopt["ca_certs"]`).
    ///
    /// # Errors
    /// When the file cannot be read or is larger, or as `ca_pem`; the text names the file.
    #[doc(alias("ca_certs", "cafile", "ca_bundle"))]
    pub fn ca_file(self, path: impl AsRef<Path>) -> Result<Tls, ConfigError> {
        let path = path.as_ref();
        let pem = authorities::read(path);
        self.add_authorities(|authorities| {
            authorities.add(&pem?).map_err(|reason| format!("{}: {reason}", path.display()))
        })
    }

    /// Trusts every certificate in the files of this directory, as [`ca_pem`](Tls::ca_pem) does
    /// (WebSocketApp's `sslopt["ca_cert_path"]`; names need not be hashes, and all files are read at
    /// once). Subdirectories are not read. What is not a certificate, or cannot be read, is skipped;
    /// how many were skipped is logged at level `DEBUG`.
    ///
    /// # Errors
    /// When the directory cannot be read, holds no certificate, or more than 4,096 entries or
    /// 16 MiB.
    pub fn ca_dir(self, path: impl AsRef<Path>) -> Result<Tls, ConfigError> {
        self.add_authorities(|authorities| authorities.add_dir(path.as_ref()))
    }

    /// Adds to the certificate authorities.
    fn add_authorities(
        mut self,
        add: impl FnOnce(&mut Authorities) -> Result<(), String>,
    ) -> Result<Tls, ConfigError> {
        let mut authorities = self.authorities_to_change();
        add(&mut authorities).map_err(|reason| ConfigError::option("ca", reason))?;
        self.authorities = Some(authorities::shared(authorities));
        Ok(self)
    }

    pub(super) fn authorities_to_change(&self) -> Authorities {
        self.authorities.as_deref().cloned().unwrap_or_else(Authorities::new)
    }

    /// Sets the client certificate, with its chain, which is sent if the server requests one
    /// (WebSocketApp's `sslopt["certfile"]` and `["keyfile"]`). Chain and key are PEM, or one
    /// certificate and one key as DER; the key is PKCS#8, SEC1 or PKCS#1, or encrypted PKCS#8 with
    /// [`client_key_password`](Tls::client_key_password). One text that holds both can be given for
    /// both. `start` checks that the key belongs to the certificate.
    ///
    /// With the cryptography of ring, the default, the key is P-256, P-384, Ed25519 or RSA of 2,048 to
    /// 4,096 bits; the feature `aws-lc-rs` adds P-521 and longer RSA keys.
    ///
    /// # Errors
    /// When `chain` holds no certificate or `key` no private key, or they cannot be parsed. PKCS#12,
    /// PKCS#7 and UTF-16 are named as such.
    #[doc(alias("identity", "from_pem", "mtls"))]
    pub fn client_cert_pem(mut self, chain: &[u8], key: &[u8]) -> Result<Tls, ConfigError> {
        self.identity = Some(identity::shared(Identity::parse(chain, key, None)?));
        Ok(self)
    }

    /// Sets the client certificate as [`client_cert_pem`](Tls::client_cert_pem) does, from files of at
    /// most 16 MiB. One file that holds both can be given for both.
    ///
    /// # Errors
    /// When a file cannot be read or is larger, or as `client_cert_pem`; the text names the file.
    #[doc(alias("certfile", "keyfile", "client_certificate", "pfx"))]
    pub fn client_cert_file(
        mut self,
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Tls, ConfigError> {
        let read = |option, path| {
            authorities::read(path).map_err(|reason| ConfigError::option(option, reason))
        };
        let files = (chain.as_ref(), key.as_ref());
        let (chain, key) = (read(identity::CERT, files.0)?, read(identity::KEY, files.1)?);
        self.identity = Some(identity::shared(Identity::parse(&chain, &key, Some(files))?));
        Ok(self)
    }

    /// Sets the password of an encrypted client key (WebSocketApp's `sslopt["password"]`): PKCS#8 with
    /// PBES2 (RFC 8018), as `openssl pkcs8 -topk8` makes it. Without the feature `encrypted-keys`
    /// `start` refuses such a key. A key that is not encrypted ignores the password.
    pub fn client_key_password(mut self, password: impl Into<Arc<str>>) -> Tls {
        self.key_password = Some(password.into());
        self
    }

    /// Accepts any certificate, so that any attacker on the network path can read and change all data
    /// (WebSocketApp's `sslopt["cert_reqs"] = CERT_NONE`). For tests against your own server. Each
    /// dial logs a warning.
    #[doc(alias(
        "insecure",
        "danger_accept_invalid_certs",
        "danger_accept",
        "cert_none",
        "no_verify",
        "cert_reqs"
    ))]
    pub fn dangerously_accept_any_certificate(mut self) -> Tls {
        self.verify = Verify::Nothing;
        self
    }

    /// Verifies the server's certificate, but not that it is for the host (WebSocketApp's
    /// `sslopt["check_hostname"] = False`): an attacker with a certificate for any host, issued by a
    /// trusted authority, can read and change all data. Acceptable only if the trusted authority is
    /// your own; [`server_name`](Tls::server_name) is better in any case. Each dial logs a warning.
    ///
    /// The stores of Windows, Android and Apple's systems verify name and certificate together. There
    /// `start` refuses this option unless authorities are set, as by [`ca_file`](Tls::ca_file).
    #[doc(alias("danger_accept_invalid_hostnames", "check_hostname"))]
    pub fn dangerously_accept_any_name(mut self) -> Tls {
        self.verify = self.verify.max(Verify::CertificateOnly);
        self
    }

    /// Sets the name or IP address that the server's certificate has to be for, and that SNI sends,
    /// instead of the URL's host (WebSocketApp's `sslopt["server_hostname"]`). The host that is dialled
    /// and the `Host` header stay the URL's. SNI does not send an IP address (RFC 6066, 3). `start`
    /// refuses a value that is neither a name nor an address.
    #[doc(alias("sni", "server_hostname"))]
    pub fn server_name(mut self, name: impl Into<String>) -> Tls {
        self.server_name = Some(name.into());
        self
    }

    /// Sets the lowest version to accept (WebSocketApp's `sslopt["ssl_version"]`, with
    /// [`max_version`](Tls::max_version)). Default: TLS 1.2, the lowest that is supported.
    pub fn min_version(mut self, version: TlsVersion) -> Tls {
        self.min_version = Some(version);
        self
    }

    /// Sets the highest version to accept. Default: TLS 1.3.
    pub fn max_version(mut self, version: TlsVersion) -> Tls {
        self.max_version = Some(version);
        self
    }

    /// Sets the cipher suites to offer, in order of preference, by their names in the IANA registry
    /// (WebSocketApp's `sslopt["ciphers"]`, here for TLS 1.3 too): `TLS_AES_128_GCM_SHA256`.
    /// A version of TLS without a suite in the list is not offered. Default: all of the
    /// cryptography provider's, which are safe. `start` refuses a name that the provider does not
    /// have, and a list that leaves no version.
    pub fn cipher_suites(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Tls {
        self.cipher_suites = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the protocols that ALPN offers (RFC 7301), in order of preference. Default: `http/1.1`
    /// alone. An empty list sends no ALPN. `start` refuses `h2` and `h3`, which this client does not
    /// support; more than 16 names; and a name that has not 1 to 255 bytes.
    pub fn alpn(mut self, protocols: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Tls {
        self.alpn = Some(protocols.into_iter().map(Into::into).collect());
        self
    }

    /// Sets whether the secrets of each session are appended to the file that `SSLKEYLOGFILE` names, for
    /// Wireshark: with the file, all data can be decrypted. Default: `false`, whatever the
    /// environment says (WebSocketApp's Python writes it whenever the variable is set). Without the
    /// variable nothing is written.
    #[doc(alias = "sslkeylogfile")]
    pub fn key_log(mut self, wanted: bool) -> Tls {
        self.key_log = wanted;
        self
    }

    /// Returns these options for a host that the application did not name but was redirected to: without the client
    /// certificate and the server's name, which are for the URL's host.
    pub(crate) fn for_other_origin(&self) -> Tls {
        let mut tls = Tls { identity: None, key_password: None, server_name: None, ..self.clone() };
        if let Some(own) = &mut tls.config {
            let mut config = ClientConfig::clone(own);
            config.client_auth_cert_resolver = Arc::new(NoClientCert);
            config.resumption = Resumption::disabled(); // a session may be bound to the client certificate
            *own = Shared::new(Arc::new(config));
        }
        tls
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authorities = self.authorities.as_ref().map(|roots| roots.len());
        f.debug_struct("Tls")
            .field("authorities", &authorities)
            .field("client_cert", &self.identity.is_some())
            .field("verify", &self.verify)
            .field("server_name", &self.server_name)
            .field("min_version", &self.min_version)
            .field("max_version", &self.max_version)
            .field("cipher_suites", &self.cipher_suites)
            .field("key_log", &self.key_log)
            .field("config", &self.config.is_some())
            .finish_non_exhaustive()
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
    fn no_secret_is_in_debug() {
        let tls = Tls::new().client_key_password("hunter2");
        assert!(!format!("{tls:?}").contains("hunter2"));
    }
}
