//! Errors of TLS in words: what is wrong with which certificate, whose it is, and which option mends it.

use std::fmt::Debug;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{AlertDescription, CertificateError, Error as RustlsError, PeerIncompatible};

use crate::tls::certificate::{Certificate, P521, date, printable};

/// What error texts say of the two sides.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The authorities that are trusted.
    trusted: &'static str,
    /// Our own certificate, if there is one.
    own: Option<String>,
    /// Whether the peer is a proxy.
    is_proxy: bool,
}

impl Peer {
    pub(super) fn new(trusted: &'static str, own: Option<String>) -> Peer {
        Peer { trusted, own, is_proxy: false }
    }

    pub(super) fn proxy(self) -> Peer {
        Peer { is_proxy: true, ..self }
    }

    fn name(&self) -> &'static str {
        if self.is_proxy { "proxy" } else { "server" }
    }

    /// Names an option of `Tls`, and the flag of wsup for it. The flags are for the server alone.
    fn option(&self, method: &str, flag: &str) -> String {
        match self.is_proxy {
            false => format!("`Tls::{method}`, wsup's {flag}"),
            true => format!("`Tls::{method}` in `proxy_tls`"),
        }
    }

    /// Returns the text for an error of rustls in a handshake with `host`. `refused` are the certificates that were not
    /// accepted, the peer's own first.
    pub(super) fn explain(
        &self,
        err: &RustlsError,
        host: &str,
        refused: &[CertificateDer<'_>],
    ) -> String {
        match err {
            RustlsError::InvalidCertificate(err) => self.certificate(err, host, refused),
            RustlsError::AlertReceived(alert) => self.alert(*alert),
            RustlsError::PeerIncompatible(err) => self.incompatible(err),
            RustlsError::InvalidMessage(_) => format!(
                "what {host} sent is not TLS: it speaks plain text on this port, or something between has answered"
            ),
            RustlsError::NoCertificatesPresented => format!("{host} sent no certificate"),
            RustlsError::PeerMisbehaved(err) => {
                format!("the {} breaks the rules of TLS: {}", self.name(), spaced(err))
            }
            other => words(other),
        }
    }

    /// Explains why a certificate was refused. Over 40 lines: one arm for each kind of error that has words of its own.
    fn certificate(
        &self,
        err: &CertificateError,
        host: &str,
        refused: &[CertificateDer<'_>],
    ) -> String {
        let chain: Vec<Certificate> =
            refused.iter().map_while(|certificate| Certificate::read(certificate)).collect();
        let of_host = Named { host, at: 0, certificate: chain.first() };
        match err {
            CertificateError::ExpiredContext { not_after, time } => {
                let named = Named::find(host, &chain, |one| one.not_after == unix(not_after));
                format!(
                    "{named} expired on {}, and now it is {}: it has to be renewed, unless this machine's clock is wrong",
                    date(unix(not_after)),
                    date(unix(time))
                )
            }
            CertificateError::NotValidYetContext { not_before, time } => {
                let named = Named::find(host, &chain, |one| one.not_before == unix(not_before));
                format!(
                    "{named} is not valid before {}, and now it is {}: is this machine's clock wrong?",
                    date(unix(not_before)),
                    date(unix(time))
                )
            }
            CertificateError::NotValidForNameContext { expected, .. } => {
                let expected = printable(&expected.to_str());
                self.wrong_name(&of_host, Some(&expected))
            }
            CertificateError::NotValidForName => self.wrong_name(&of_host, None),
            CertificateError::UnknownIssuer => self.unknown_issuer(host, &chain),
            CertificateError::BadSignature => self.bad_signature(&of_host, &chain),
            #[allow(deprecated)]
            CertificateError::UnsupportedSignatureAlgorithm
            | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
                unsupported_algorithm(host, &chain)
            }
            _ if is_authority(err) => format!(
                "{of_host} is one of an authority (CA:TRUE), which is accepted only if exactly it is trusted. {}",
                self.trust_it()
            ),
            CertificateError::Other(err) => {
                format!("{of_host} is not accepted: {}", printable(&err.to_string()))
            }
            other => match fault(other) {
                Some(fault) => format!("{of_host} {fault}: it has to be replaced"),
                None => format!("{of_host} is not accepted: {}", spaced(other)),
            },
        }
    }

    fn bad_signature(&self, of_host: &Named<'_>, chain: &[Certificate]) -> String {
        let short = chain.iter().find(|one| is_short_rsa(&one.key));
        let issuer = chain.first().map(|one| format!(" of {}", one.issuer));
        let why = match short {
            Some(one) => {
                format!("its key, {}, has fewer than the 2,048 bits that are needed", one.key)
            }
            None => format!(
                "its signature is not by the key{} that is trusted: it was changed, or another authority has the same name",
                issuer.unwrap_or_default()
            ),
        };
        format!("{of_host} is not accepted: {why}. {}", self.trust_it())
    }

    fn wrong_name(&self, named: &Named<'_>, expected: Option<&str>) -> String {
        let names = named.certificate.map(|one| match one.names.is_empty() {
            true => "names no host (a common name does not count)".to_owned(),
            false => format!("is for {}", one.names()),
        });
        format!(
            "{named} {}, not for the name {}: dial a name that it has, or set the one to verify with {}",
            names.as_deref().unwrap_or("is for other names"),
            expected.unwrap_or(named.host),
            self.option("server_name", "--servername")
        )
    }

    fn unknown_issuer(&self, host: &str, chain: &[Certificate]) -> String {
        let named = Named { host, at: 0, certificate: chain.first() };
        let Some(mut top) = chain.first() else {
            let trusted = self.trusted;
            return format!("{named} was issued by none of {trusted}. {}", self.trust_it());
        };
        if top.self_issued {
            return format!(
                "{named} is self-signed, and not among {}. {}",
                self.trusted,
                self.trust_it()
            );
        }
        // At most as many steps as there are certificates: they could refer to each other.
        for _ in chain {
            match chain.iter().find(|one| one.subject == top.issuer && !top.self_issued) {
                Some(issuer) => top = issuer,
                None => break,
            }
        }
        let leads_to = match top.subject == chain[0].subject {
            true => String::new(),
            false => format!(", over {}", top.title()),
        };
        format!(
            "{named}{leads_to}, leads to the issuer {}, which is not among {} and not in the chain that {host} sent. {}",
            top.issuer,
            self.trusted,
            self.trust_it()
        )
    }

    /// How to trust a certificate.
    fn trust_it(&self) -> String {
        format!(
            "To trust it or its issuer, give its file to {} or the variable SSL_CERT_FILE",
            self.option("ca_file", "--cacert")
        )
    }

    /// Explains an alert (RFC 8446, 6.2).
    pub(super) fn alert(&self, alert: AlertDescription) -> String {
        use AlertDescription as Alert;
        let name = match alert {
            Alert::Unknown(number) => format!("number {number}"),
            known => spaced(&known).replace(' ', "_"),
        };
        let said = format!("the {} ended the handshake with the alert {name}", self.name());
        match (alert, &self.own) {
            (Alert::CertificateRequired, _) => {
                let pair = self.certificate_and_key();
                format!("{said}: it requires a client certificate, set with {pair}")
            }
            (
                Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::DecryptError,
                Some(own),
            ) => {
                let cert = self.option("client_cert_file", "--cert");
                format!("{said}: it does not accept our certificate {own}, set with {cert}")
            }
            (Alert::HandshakeFailure | Alert::BadCertificate | Alert::AccessDenied, None) => {
                let pair = self.certificate_and_key();
                format!(
                    "{said}: it may require a client certificate, set with {pair}; or no cipher suite, curve or \
                 signature algorithm is common to both sides. {}",
                    what_ring_can_do()
                )
            }
            (Alert::HandshakeFailure | Alert::InsufficientSecurity, _) => {
                format!(
                    "{said}: no cipher suite, curve or signature algorithm is common to both sides. {}",
                    what_ring_can_do()
                )
            }
            (Alert::ProtocolVersion, _) => format!("{said}: {}", self.versions()),
            (Alert::UnrecognisedName, _) => format!(
                "{said}: it has no certificate for that name; set another with {}",
                self.option("server_name", "--servername")
            ),
            (Alert::NoApplicationProtocol, _) => {
                format!("{said}: it speaks none of the protocols that `Tls::alpn` offers")
            }
            (Alert::InternalError, _) => format!("{said}: it has failed itself"),
            _ => said,
        }
    }

    fn versions(&self) -> String {
        format!(
            "no version of TLS is common to both sides: 1.2 and 1.3 are supported here, in the bounds of {} and {}",
            self.option("min_version", "--tls-min"),
            self.option("max_version", "--tls-max")
        )
    }

    fn incompatible(&self, err: &PeerIncompatible) -> String {
        use PeerIncompatible as Incompatible;
        match err {
            Incompatible::ServerDoesNotSupportTls12Or13
            | Incompatible::ServerTlsVersionIsDisabledByOurConfig
            | Incompatible::SupportedVersionsExtensionRequired
            | Incompatible::Tls12NotOffered
            | Incompatible::Tls12NotOfferedOrEnabled => self.versions(),
            other => format!("no agreement with the {}: {}", self.name(), spaced(other)),
        }
    }

    /// Returns the text for a connection that ended without a reply although its handshake was complete, if a missing
    /// client certificate is the likely reason.
    pub(super) fn certificate_suspected(&self) -> String {
        format!(
            "the {} requested a client certificate, none is set, and it ended the connection without a word: set one with {}",
            self.name(),
            self.certificate_and_key()
        )
    }

    /// Returns the names of what sets a client certificate where there is none.
    fn certificate_and_key(&self) -> String {
        self.option("client_cert_file", "--cert and --key")
    }
}

/// Returns what is wrong with a certificate that only a new one can mend.
fn fault(err: &CertificateError) -> Option<&'static str> {
    match err {
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            Some("is for other purposes than the authentication of a server")
        }
        CertificateError::Revoked => Some("was revoked by its issuer"),
        CertificateError::UnhandledCriticalExtension => {
            Some("has a critical extension that is not known here")
        }
        CertificateError::BadEncoding => Some("cannot be parsed"),
        _ => None,
    }
}

fn unsupported_algorithm(host: &str, chain: &[Certificate]) -> String {
    let named = Named::find(host, chain, |one| !is_of_ring(one));
    let what =
        named.certificate.map(|one| format!(" ({} signature, {} key)", one.signature, one.key));
    format!(
        "{named} uses an algorithm that cannot be verified{}. {}",
        what.unwrap_or_default(),
        what_ring_can_do()
    )
}

/// A certificate of a chain, in an error text.
struct Named<'a> {
    host: &'a str,
    /// Its place in the chain.
    at: usize,
    certificate: Option<&'a Certificate>,
}

impl<'a> Named<'a> {
    /// Finds the certificate that an error is about.
    fn find(
        host: &'a str,
        chain: &'a [Certificate],
        is_meant: impl Fn(&Certificate) -> bool,
    ) -> Named<'a> {
        let at = chain.iter().position(is_meant).unwrap_or_default();
        Named { host, at, certificate: chain.get(at) }
    }
}

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.at {
            0 => write!(f, "the certificate of {}", self.host)?,
            _ => write!(f, "an issuer's certificate that {} sent", self.host)?,
        }
        match self.certificate {
            Some(one) => write!(f, " ({}, issued by {})", one.title(), one.issuer),
            None => Ok(()),
        }
    }
}

fn unix(time: &UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

fn is_short_rsa(key: &str) -> bool {
    let bits = key.strip_prefix("RSA ").and_then(|bits| bits.parse::<u32>().ok());
    bits.is_some_and(|bits| bits < 2048)
}

/// Whether ring verifies both this certificate's signature and those of its key.
fn is_of_ring(certificate: &Certificate) -> bool {
    let is_known = matches!(
        certificate.signature.as_str(),
        "RSA with SHA-256"
            | "RSA with SHA-384"
            | "RSA with SHA-512"
            | "RSA-PSS"
            | "ECDSA with SHA-256"
            | "ECDSA with SHA-384"
            | "Ed25519"
    );
    is_known && certificate.key != P521
}

/// The algorithms of the default cryptography, and how to have more.
pub(super) fn what_ring_can_do() -> &'static str {
    if cfg!(feature = "aws-lc-rs") {
        "Supported are RSA from 2,048 bits, P-256, P-384, P-521 and Ed25519, with SHA-256, SHA-384 and SHA-512"
    } else {
        "With ring these are supported: RSA from 2,048 bits with SHA-256, SHA-384 and SHA-512; P-256 and P-384 with \
         SHA-256 and SHA-384; Ed25519. The feature `aws-lc-rs` adds P-521, and ECDSA with SHA-512"
    }
}

/// Whether a server's certificate was refused because it is one of an authority.
pub(super) fn is_authority_as_server(err: &RustlsError) -> bool {
    matches!(err, RustlsError::InvalidCertificate(err) if is_authority(err))
}

fn is_authority(err: &CertificateError) -> bool {
    // The type is that of rustls's own copy of webpki.
    matches!(err, CertificateError::Other(err) if err.to_string() == "CaUsedAsEndEntity")
}

/// Returns the words for an error that has no cause in the peer's certificate.
pub(super) fn words(err: &RustlsError) -> String {
    match err {
        RustlsError::General(text) => printable(text),
        RustlsError::Other(err) => printable(&err.to_string()),
        other => spaced(other),
    }
}

/// Splits the name of an enum's variant into words: those of rustls are sentences without blanks.
fn spaced(variant: &impl Debug) -> String {
    let debug = format!("{variant:?}");
    let name = debug.split(|char: char| !char.is_ascii_alphanumeric()).next().unwrap_or_default();
    let mut words = String::new();
    let mut after_small = false;
    for char in name.chars() {
        if char.is_ascii_uppercase() && after_small {
            words.push(' ');
        }
        after_small = !char.is_ascii_uppercase();
        words.push(char.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_variants_become_words() {
        assert_eq!(spaced(&AlertDescription::UnknownCA), "unknown ca");
        assert_eq!(spaced(&RustlsError::General("secret".into())), "general");
        assert_eq!(spaced(&PeerIncompatible::NoCipherSuitesInCommon), "no cipher suites in common");
    }
}
