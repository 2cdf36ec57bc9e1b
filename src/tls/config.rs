//! The configuration of rustls that the options make.

use std::ffi::OsString;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, KeyLogFile, SupportedProtocolVersion};

use crate::error::ConfigError;
use crate::tls::explain::{self, Peer};
use crate::tls::identity::{self, NoClientCert};
use crate::tls::options::{Tls, TlsVersion};
use crate::tls::session::{self, Basis, Handshaker, Origin, TlsClient};
use crate::tls::shared::Shared;
use crate::tls::store::{STORE, Trusted};
use crate::tls::verify::Verify;
use crate::tls::{provider, verify};

impl Tls {
    /// Returns the TLS client with these options: that of other connections, if their options are the same and what is
    /// trusted has not changed since. `variable` looks up an environment variable.
    ///
    /// # Errors
    /// The first option or variable that is invalid, with its name; [`ConfigError::Authorities`] if it may be valid later.
    pub(crate) fn client(
        &self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<TlsClient, ConfigError> {
        let basis = match &self.config {
            Some(own) => {
                self.check_nothing_beside_config()?;
                Basis::Ready(own.clone())
            }
            None => {
                let provider = provider::provider()?;
                Basis::Built(self.trusted(variable, &provider)?, Shared::new(provider))
            }
        };
        TlsClient::shared(Origin { tls: self.clone(), basis }, |basis| {
            let name = self.server_name.as_ref().map(|name| {
                ServerName::try_from(name.clone()).map_err(|_| {
                    ConfigError::option("server_name", "neither a DNS name nor an IP address")
                })
            });
            let name = name.transpose()?;
            let own = self.identity.as_ref().map(|identity| identity.described());
            let (config, trusted) = match basis {
                Basis::Ready(own) => (own.to_arc(), "the authorities of that configuration"),
                Basis::Built(trusted, provider) => {
                    let config = self.build(trusted.as_ref(), provider.to_arc())?;
                    (Arc::new(config), trusted.as_ref().map_or("nothing", Trusted::source))
                }
            };
            Ok(Handshaker { config, verify: self.verify, name, peer: Peer::new(trusted, own) })
        })
    }

    /// Returns the configuration of these options for a protocol that is not HTTP: without ALPN.
    ///
    /// # Errors
    /// As [`client`](Tls::client).
    #[cfg(feature = "nats")]
    pub(crate) fn config_without_alpn(
        &self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<ClientConfig, ConfigError> {
        let provider = provider::provider()?;
        let mut config = self.build(self.trusted(variable, &provider)?.as_ref(), provider)?;
        config.alpn_protocols.clear();
        Ok(config)
    }

    /// Returns what is trusted; `None` if nothing is verified.
    fn trusted(
        &self,
        variable: impl Fn(&str) -> Option<OsString>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Trusted>, ConfigError> {
        // A store that is not used is not read, and cannot fail.
        if self.verify == Verify::Nothing {
            return Ok(None);
        }
        match &self.authorities {
            Some(authorities) => Ok(Some(Trusted::Authorities(authorities.clone()))),
            None => STORE.get(variable, provider).map(Some),
        }
    }

    fn build(
        &self,
        trusted: Option<&Trusted>,
        provider: Arc<CryptoProvider>,
    ) -> Result<ClientConfig, ConfigError> {
        let versions = self.versions()?;
        let provider = match &self.cipher_suites {
            Some(names) => provider::with_suites(&provider, names)?,
            None => provider,
        };
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
        config.resumption = Resumption::in_memory_sessions(MAX_SESSIONS);
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

/// The most sessions that can be resumed, of all connections that share them: eight for each of 256 servers.
const MAX_SESSIONS: usize = 8 * 256;

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
    fn alpn_offers_http_1_1_alone_by_default() {
        let provider = || provider::provider().unwrap();
        let offered = |tls: Tls| tls.build(None, provider()).unwrap().alpn_protocols;
        assert_eq!(offered(any()), [b"http/1.1".to_vec()]);
        assert_eq!(offered(any().alpn(["wamp"])), [b"wamp".to_vec()]);
        assert!(offered(any().alpn([""; 0])).is_empty());
    }

    #[cfg(feature = "nats")]
    #[test]
    fn another_protocol_has_the_same_provider_and_no_alpn() {
        let config = any().config_without_alpn(|_| None).unwrap();
        assert!(Arc::ptr_eq(config.crypto_provider(), &provider::provider().unwrap()));
        assert!(config.alpn_protocols.is_empty());
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
}
