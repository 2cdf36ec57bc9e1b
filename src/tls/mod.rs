//! TLS by rustls over any transport: its options, what is trusted, and the client certificate.

mod authorities;
mod certificate;
mod deferred;
#[cfg(feature = "encrypted-keys")]
mod encrypted;
#[cfg(not(feature = "encrypted-keys"))]
#[path = "no_encrypted.rs"]
mod encrypted;
mod explain;
mod identity;
mod pem;
mod provider;
mod seen;
#[cfg(feature = "testing")]
pub(crate) mod server;
mod session;
mod verify;
#[cfg(feature = "webpki-roots")]
mod webpki;

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, KeyLogFile, SupportedProtocolVersion};

use crate::error::ConfigError;
use crate::tls::authorities::Authorities;
use crate::tls::explain::Peer;
use crate::tls::identity::{Identity, NoClientCert};
use crate::tls::verify::Verify;

pub use crate::tls::session::TlsSession;

pub(crate) use crate::tls::session::{
    LazyTlsClient, TlsClient, TlsStream, alert, client_certificate_wanted, session,
};

/// Options for TLS, which secures `wss` connections.
///
/// By default the server's certificate is verified in full against the platform's store, over
/// TLS 1.2 or 1.3, and ALPN offers `http/1.1` alone (a WebSocket over HTTP/2 is another protocol,
/// RFC 8441). No option falls back to plain text. Sessions are resumed when a connection reconnects.
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
/// [`ConfigError`] that names it.
///
/// # On a redirect to another origin
///
/// The client certificate and [`server_name`](Tls::server_name) are not used there: they are for the
/// host of the URL alone.
#[derive(Clone, Default)]
pub struct Tls {
    /// The certificate authorities that are trusted instead of the platform's store.
    authorities: Option<Arc<Authorities>>,
    /// The client certificate and its key.
    identity: Option<Arc<Identity>>,
    /// The password that decrypts the key.
    key_password: Option<Arc<str>>,
    /// What of the server's certificate is verified.
    verify: Verify,
    /// The name that the server's certificate has to be for, if not the URL's host.
    server_name: Option<String>,
    min_version: Option<TlsVersion>,
    max_version: Option<TlsVersion>,
    /// The names of the cipher suites, in order of preference.
    cipher_suites: Option<Vec<String>>,
    /// The protocols that ALPN offers.
    alpn: Option<Vec<Vec<u8>>>,
    /// Whether secrets are written to the file that `SSLKEYLOGFILE` names.
    key_log: bool,
    /// The application's configuration of rustls, used instead of all options but `server_name`.
    config: Option<Arc<ClientConfig>>,
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
    const ALL: [(TlsVersion, &'static SupportedProtocolVersion); 2] =
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
        Tls { config: Some(config), ..Tls::default() }
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
    pub fn ca_pem(self, pem: &[u8]) -> Result<Tls, ConfigError> {
        self.add_authorities(|authorities| authorities.add(pem))
    }

    /// Trusts the certificate authorities in this file of at most 16 MiB, as
    /// [`ca_pem`](Tls::ca_pem) does (WebSocketApp's `sslopt["ca_certs"]`).
    ///
    /// # Errors
    /// When the file cannot be read or is larger, or as `ca_pem`; the text names the file.
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
        let mut authorities = self.authorities.as_deref().cloned().unwrap_or_else(Authorities::new);
        add(&mut authorities).map_err(|reason| ConfigError::option("ca", reason))?;
        self.authorities = Some(Arc::new(authorities));
        Ok(self)
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
    pub fn client_cert_pem(mut self, chain: &[u8], key: &[u8]) -> Result<Tls, ConfigError> {
        self.identity = Some(Arc::new(Identity::parse(chain, key, None)?));
        Ok(self)
    }

    /// Sets the client certificate as [`client_cert_pem`](Tls::client_cert_pem) does, from files of at
    /// most 16 MiB. One file that holds both can be given for both.
    ///
    /// # Errors
    /// When a file cannot be read or is larger, or as `client_cert_pem`; the text names the file.
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
        self.identity = Some(Arc::new(Identity::parse(&chain, &key, Some(files))?));
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
    pub fn dangerously_accept_any_name(mut self) -> Tls {
        self.verify = self.verify.max(Verify::CertificateOnly);
        self
    }

    /// Sets the name or IP address that the server's certificate has to be for, and that SNI sends,
    /// instead of the URL's host (WebSocketApp's `sslopt["server_hostname"]`). The host that is dialled
    /// and the `Host` header stay the URL's. SNI does not send an IP address (RFC 6066, 3). `start`
    /// refuses a value that is neither a name nor an address.
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
    pub fn key_log(mut self, wanted: bool) -> Tls {
        self.key_log = wanted;
        self
    }

    /// Returns these options for a host that the application did not name but was redirected to: without the client
    /// certificate and the server's name, which are for the URL's host.
    pub(crate) fn for_other_origin(&self) -> Tls {
        let mut tls = Tls { identity: None, key_password: None, server_name: None, ..self.clone() };
        if let Some(own) = &mut tls.config {
            let config = Arc::make_mut(own);
            config.client_auth_cert_resolver = Arc::new(NoClientCert);
            config.resumption = Resumption::disabled(); // a session may be bound to the client certificate
        }
        tls
    }

    /// Makes the TLS client with these options. `variable` looks up an environment variable.
    ///
    /// # Errors
    /// The first option or variable that is invalid, with its name.
    pub(crate) fn client(
        &self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<TlsClient, ConfigError> {
        let name = self.server_name.as_ref().map(|name| {
            ServerName::try_from(name.clone()).map_err(|_| {
                ConfigError::option("server_name", "neither a DNS name nor an IP address")
            })
        });
        let name = name.transpose()?;
        let own = self.identity.as_ref().map(|identity| identity.described());
        let (config, trusted) = match &self.config {
            Some(own) => {
                self.check_nothing_beside_config()?;
                (own.clone(), "the authorities of that configuration")
            }
            None => {
                let authorities = self.trusted(variable)?;
                let trusted = authorities.as_ref().map_or("the system's store", |it| it.source());
                (Arc::new(self.build(authorities)?), trusted)
            }
        };
        Ok(TlsClient::new(config, self.verify, name, Peer::new(trusted, own)))
    }

    /// Returns what is trusted. `None` is the platform's store, or nothing if nothing is verified.
    fn trusted(
        &self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Arc<Authorities>>, ConfigError> {
        match &self.authorities {
            Some(authorities) => Ok(Some(authorities.clone())),
            // A store that is not used is not read, and cannot fail.
            None if self.verify == Verify::Nothing => Ok(None),
            None => Ok(authorities::from_env(variable)?.map(Arc::new)),
        }
    }

    fn build(&self, trusted: Option<Arc<Authorities>>) -> Result<ClientConfig, ConfigError> {
        let versions = self.versions()?;
        let provider = provider::with_suites(self.cipher_suites.as_deref())?;
        // Not `builder()`, which panics if two providers are compiled in and none is installed.
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .map_err(|err| match &self.cipher_suites {
                Some(_) => {
                    ConfigError::option("cipher_suites", "none is for a version that is accepted")
                }
                None => ConfigError::option("tls", explain::words(&err)),
            })?;
        let verifier = verify::verifier(self.verify, trusted, provider.clone())?;
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match (&self.identity, &self.key_password) {
            (Some(identity), password) => builder
                .with_client_cert_resolver(identity.resolver(password.as_deref(), &provider)?),
            (None, Some(_)) => {
                let reason = "set without a client certificate";
                return Err(ConfigError::option(identity::PASSWORD, reason));
            }
            (None, None) => builder.with_client_cert_resolver(Arc::new(NoClientCert)),
        };
        config.alpn_protocols = self.alpn_protocols()?;
        if self.key_log {
            config.key_log = Arc::new(KeyLogFile::new());
        }
        Ok(config)
    }

    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, ConfigError> {
        let range = self.min_version.unwrap_or(TlsVersion::V1_2)
            ..=self.max_version.unwrap_or(TlsVersion::V1_3);
        if range.is_empty() {
            return Err(ConfigError::option("min_version", "above `max_version`"));
        }
        let all = TlsVersion::ALL.into_iter();
        Ok(all.filter(|(version, _)| range.contains(version)).map(|(_, one)| one).collect())
    }

    fn alpn_protocols(&self) -> Result<Vec<Vec<u8>>, ConfigError> {
        let Some(protocols) = &self.alpn else {
            return Ok(vec![b"http/1.1".to_vec()]);
        };
        let refuse = |reason| Err(ConfigError::option("alpn", reason));
        if protocols.len() > 16 {
            return refuse("more than 16 names");
        }
        if protocols.iter().any(|name| name.is_empty() || name.len() > 255) {
            return refuse("a name must have 1 to 255 bytes");
        }
        if protocols.iter().any(|name| session::is_other_http(name)) {
            return refuse("HTTP/2 and HTTP/3 are not supported: offer http/1.1");
        }
        Ok(protocols.clone())
    }

    /// Refuses options that would have no effect beside a configuration of the application's.
    fn check_nothing_beside_config(&self) -> Result<(), ConfigError> {
        let set = [
            ("ca", self.authorities.is_some()),
            (identity::CERT, self.identity.is_some()),
            (identity::PASSWORD, self.key_password.is_some()),
            ("dangerously_accept_any_certificate", self.verify == Verify::Nothing),
            ("dangerously_accept_any_name", self.verify == Verify::CertificateOnly),
            ("min_version", self.min_version.is_some()),
            ("max_version", self.max_version.is_some()),
            ("cipher_suites", self.cipher_suites.is_some()),
            ("alpn", self.alpn.is_some()),
            ("key_log", self.key_log),
        ];
        match set.into_iter().find(|(_, is_set)| *is_set) {
            Some((option, _)) => Err(ConfigError::option(
                option,
                "no effect beside `Tls::from_config`: set it in that configuration",
            )),
            None => Ok(()),
        }
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
    use rustls::RootCertStore;

    use super::*;

    fn refused(tls: Tls) -> String {
        tls.client(|_| None).unwrap_err().to_string()
    }

    /// Options that do not need the platform's store.
    fn any() -> Tls {
        Tls::new().dangerously_accept_any_certificate()
    }

    #[test]
    fn text_without_a_certificate_is_no_authority() {
        let err = Tls::new().ca_pem(b"hello").unwrap_err();
        assert!(err.to_string().contains("no certificate"), "{err}");
    }

    #[test]
    fn alpn_offers_http_1_1_alone_by_default() {
        let offered = |tls: Tls| tls.build(None).unwrap().alpn_protocols;
        assert_eq!(offered(any()), [b"http/1.1".to_vec()]);
        assert_eq!(offered(any().alpn(["wamp"])), [b"wamp".to_vec()]);
        assert!(offered(any().alpn([""; 0])).is_empty());
    }

    #[test]
    fn an_alpn_that_cannot_be_is_refused() {
        for names in [vec!["h2"], vec!["http/1.1", "h3"], vec![""], vec!["x"; 17]] {
            let err = refused(any().alpn(names.clone()));
            assert!(err.starts_with("alpn: "), "{names:?}: {err}");
        }
        assert!(refused(any().alpn([[b'x'; 256]])).starts_with("alpn: "));
    }

    #[test]
    fn versions_and_suites_that_leave_nothing_are_refused() {
        let none = any().min_version(TlsVersion::V1_3).max_version(TlsVersion::V1_2);
        assert!(refused(none).starts_with("min_version: "));
        let old = any().max_version(TlsVersion::V1_2).cipher_suites(["TLS_AES_128_GCM_SHA256"]);
        assert!(refused(old).starts_with("cipher_suites: "));
        assert!(refused(any().cipher_suites([""; 0])).starts_with("cipher_suites: "));
        let err = refused(any().cipher_suites(["TLS_RSA_WITH_NULL_MD5"]));
        assert!(err.contains("TLS_RSA_WITH_NULL_MD5") && err.contains("TLS_AES_"), "{err}");
    }

    #[test]
    fn a_server_name_that_is_none_is_refused() {
        for name in ["", "a b", "-", "https://h"] {
            assert!(refused(any().server_name(name)).starts_with("server_name: "), "{name}");
        }
    }

    #[test]
    fn a_password_without_a_certificate_is_refused() {
        let err = refused(any().client_key_password("hunter2"));
        assert!(err.starts_with("client_key_password: ") && !err.contains("hunter2"), "{err}");
    }

    #[test]
    fn what_has_no_effect_beside_a_ready_configuration_is_refused() {
        let ready = || {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth();
            Tls::from_config(Arc::new(config))
        };
        assert!(ready().server_name("h").client(|_| None).is_ok());
        for (tls, option) in [
            (ready().dangerously_accept_any_certificate(), "dangerously_accept_any_certificate"),
            (ready().dangerously_accept_any_name(), "dangerously_accept_any_name"),
            (ready().min_version(TlsVersion::V1_3), "min_version"),
            (ready().max_version(TlsVersion::V1_3), "max_version"),
            (ready().cipher_suites(["TLS_AES_128_GCM_SHA256"]), "cipher_suites"),
            (ready().alpn(["x"]), "alpn"),
            (ready().key_log(true), "key_log"),
            (ready().client_key_password("x"), "client_key_password"),
        ] {
            assert!(refused(tls).starts_with(&format!("{option}: ")), "{option}");
        }
    }

    #[test]
    fn no_secret_is_in_debug() {
        let tls = any().client_key_password("hunter2");
        assert!(!format!("{tls:?}").contains("hunter2"));
    }
}
