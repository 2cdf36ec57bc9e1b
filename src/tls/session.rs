//! The TLS handshake over a transport, and what its failure means.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::error::{Certainty, ConfigError, Error, TlsError};
use crate::tls::deferred::DeferWriteErrors;
use crate::tls::explain::Peer;
use crate::tls::options::Tls;
use crate::tls::shared::{Newest, Shared};
use crate::tls::store::Trusted;
use crate::tls::verify::Verify;
use crate::tls::{provider, seen};

/// A transport under TLS.
pub(crate) type TlsStream<S> = tokio_rustls::client::TlsStream<DeferWriteErrors<S>>;

/// What all TLS handshakes with the same options share: they resume each other's sessions.
#[derive(Clone)]
pub(crate) struct TlsClient(Shared<(Origin, Handshaker)>);

/// What a client was made of. Connections with equal ones share it.
#[derive(Clone, PartialEq)]
pub(super) struct Origin {
    pub(super) tls: Tls,
    pub(super) basis: Basis,
}

/// What the configuration of rustls is made of.
#[derive(Clone, PartialEq)]
pub(super) enum Basis {
    /// It is the application's.
    Ready(Shared<ClientConfig>),
    /// What is trusted, if anything is verified; and the cryptography.
    Built(Option<Trusted>, Shared<CryptoProvider>),
}

/// What a handshake needs.
#[derive(Clone)]
pub(super) struct Handshaker {
    pub(super) config: Arc<ClientConfig>,
    pub(super) verify: Verify,
    /// The name that the peer's certificate has to be for, if not the host that is dialled.
    pub(super) name: Option<ServerName<'static>>,
    /// What error texts say of the peer and of us.
    pub(super) peer: Peer,
}

/// The clients of the process.
static CLIENTS: Newest<(Origin, Handshaker)> = Newest::new();

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, handshaker) = &*self.0;
        f.debug_struct("TlsClient").field("verify", &handshaker.verify).finish_non_exhaustive()
    }
}

/// A [`TlsClient`] that is made once, when it is first needed. Later dials resume its sessions, and trust what it trusts.
#[derive(Debug, Default)]
pub(crate) struct LazyTlsClient(OnceLock<TlsClient>);

impl LazyTlsClient {
    /// Returns the client, or makes it.
    ///
    /// # Errors
    /// Those of `make`.
    pub(crate) fn get_or_make(
        &self,
        make: impl FnOnce() -> Result<TlsClient, ConfigError>,
    ) -> Result<TlsClient, ConfigError> {
        match self.0.get() {
            Some(client) => Ok(client.clone()),
            None => {
                // If another thread has made one meanwhile, that one is used.
                let made = make()?;
                Ok(self.0.get_or_init(|| made).clone())
            }
        }
    }
}

/// The version and cipher suite of an open TLS session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsSession {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite's name in the IANA registry.
    pub cipher: String,
}

impl TlsClient {
    /// Returns the client of this origin that other connections use, or makes one.
    ///
    /// # Errors
    /// Those of `make`.
    pub(super) fn shared(
        origin: Origin,
        make: impl FnOnce(&Basis) -> Result<Handshaker, ConfigError>,
    ) -> Result<TlsClient, ConfigError> {
        if let Some(known) = CLIENTS.find(|(known, _)| *known == origin) {
            return Ok(TlsClient(known));
        }
        let made = make(&origin.basis)?;
        Ok(TlsClient(CLIENTS.add((origin, made))))
    }

    /// Makes error texts speak of a proxy, and name the options for it.
    pub(crate) fn for_proxy(self) -> TlsClient {
        let (origin, mut handshaker) = (*self.0).clone();
        handshaker.peer = handshaker.peer.proxy();
        TlsClient(Shared::new(Arc::new((origin, handshaker))))
    }

    /// Makes the TLS handshake with `host` (a name, or an IP address without brackets) over `stream`.
    ///
    /// # Errors
    /// `Tls`, also when the server chooses HTTP/2 or HTTP/3 by ALPN.
    pub(crate) async fn connect<S>(&self, host: &str, stream: S) -> Result<TlsStream<S>, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (_, Handshaker { config, verify, name, peer }) = &*self.0;
        match verify {
            Verify::Full => {}
            Verify::CertificateOnly => {
                tracing::warn!(host, "the name in the server's certificate is not verified");
            }
            Verify::Nothing => tracing::warn!(host, "the server's certificate is not verified"),
        }
        let refuse = |text: String| {
            let err = io::Error::new(io::ErrorKind::InvalidData, text.clone());
            Error::Tls(TlsError::new(text, err, Certainty::Final))
        };
        let name = match name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned())
                .map_err(|_| refuse(format!("{host} is no name that a certificate can be for")))?,
        };
        let connector = TlsConnector::from(config.clone());
        let handshake = connector.connect(name, DeferWriteErrors::new(stream)).into_fallible();
        let (connected, seen) = seen::record(handshake).await;
        let mut stream = connected.map_err(|(err, io)| {
            let is_rustls = err.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
            let is_encrypted = io.records.has_encrypted();
            let failed =
                explained(err, is_encrypted, |inner| peer.explain(inner, host, &seen.refused));
            Error::Tls(match seen.certificate_wanted && !is_rustls {
                true => failed.with_text(peer.certificate_suspected()),
                false => failed,
            })
        })?;
        let io = stream.get_mut().0;
        io.handshake_over();
        io.client_certificate_wanted = seen.certificate_wanted;
        match stream.get_ref().1.alpn_protocol() {
            // Only a configuration of the application's can offer these: `alpn` refuses them.
            Some(chosen) if is_other_http(chosen) => {
                Err(refuse("the server chose HTTP/2 or HTTP/3 by ALPN".to_owned()))
            }
            _ => Ok(stream),
        }
    }

    /// Explains a failure after the handshake and before the reply to the upgrade: with TLS 1.3 the peer judges our
    /// certificate, or the lack of one, only then. `wanted`: as [`client_certificate_wanted`].
    pub(crate) fn explain_late(&self, err: Error, wanted: bool) -> Error {
        let (_, Handshaker { peer, .. }) = &*self.0;
        match err {
            Error::Tls(err) => Error::Tls(explain_alert(peer, err)),
            Error::Io(err) if wanted && is_end(err.kind()) => {
                let text = format!("{err}; {}", peer.certificate_suspected());
                Error::Io(Arc::new(io::Error::new(err.kind(), text)))
            }
            other => other,
        }
    }
}

fn explain_alert(peer: &Peer, err: TlsError) -> TlsError {
    let inner = err.io_error().get_ref().and_then(|inner| inner.downcast_ref());
    let text = match inner {
        Some(rustls::Error::AlertReceived(alert)) => peer.alert(*alert),
        _ => return err,
    };
    err.with_text(text)
}

/// Whether a transport ended, and did not fail in another way.
fn is_end(kind: io::ErrorKind) -> bool {
    use io::ErrorKind;
    matches!(
        kind,
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
    )
}

/// Whether the peer requested a client certificate in its handshake and there was none to send.
pub(crate) fn client_certificate_wanted<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().0.client_certificate_wanted
}

/// Whether this is ALPN's name of an HTTP version that has no upgrade to a WebSocket.
pub(super) fn is_other_http(protocol: &[u8]) -> bool {
    matches!(protocol, b"h2" | b"h3")
}

/// Returns the version and the cipher suite of a session after its handshake.
pub(crate) fn session<S>(stream: &TlsStream<S>) -> Option<TlsSession> {
    let (_, connection) = stream.get_ref();
    let version = match connection.protocol_version()? {
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        _ => "TLSv1.3",
    };
    let cipher = provider::iana(connection.negotiated_cipher_suite()?.suite());
    Some(TlsSession { version, cipher })
}

/// Explains the failure of a handshake. `is_encrypted` is whether an encrypted record of TLS 1.3 has arrived, `words`
/// explains an error of rustls.
fn explained(
    err: io::Error,
    is_encrypted: bool,
    words: impl FnOnce(&rustls::Error) -> String,
) -> TlsError {
    let inner = err.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let (text, certainty) = match inner {
        // Not an error of rustls: the transport failed or ended.
        None if err.kind() == io::ErrorKind::UnexpectedEof => {
            ("the peer ended the connection during the handshake".to_owned(), Certainty::Passing)
        }
        None => (format!("the transport failed during the handshake: {err}"), Certainty::Passing),
        Some(inner) => (words(inner), certainty(inner, is_encrypted)),
    };
    TlsError::new(text, err, certainty)
}

/// Decides whether a handshake that failed in this way will fail again.
fn certainty(err: &rustls::Error, is_encrypted: bool) -> Certainty {
    use rustls::{AlertDescription as Alert, Error};
    match err {
        // Bytes that are no TLS, or not what was sent: something between has answered, or a byte was changed on the way.
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::DecryptError
        | Error::PeerSentOversizedRecord
        // The server has failed, or received what we did not send: headers of records are not encrypted.
        | Error::AlertReceived(
            Alert::InternalError
            | Alert::UserCanceled
            | Alert::BadRecordMac
            | Alert::DecodeError
            | Alert::RecordOverflow
            | Alert::UnexpectedMessage,
        ) => Certainty::Passing,
        // Most of these are about the server's first message, which is in the clear although an encrypted one may have
        // arrived behind it.
        Error::PeerIncompatible(_) | Error::PeerMisbehaved(_) => Certainty::Unconfirmed,
        // What came in the clear may be anyone's, or the answer to a message of ours that was changed.
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented | Error::AlertReceived(_)
            if !is_encrypted =>
        {
            Certainty::Unconfirmed
        }
        _ => Certainty::Final,
    }
}

/// Returns the alert that ended a session, if `err` is one. With TLS 1.3 the alert of a server that requires a client
/// certificate arrives after the client's handshake is complete (RFC 8446, 4.4.2.4).
pub(crate) fn alert(err: &io::Error) -> Option<TlsError> {
    let inner = err.get_ref()?.downcast_ref::<rustls::Error>()?;
    match inner {
        rustls::Error::AlertReceived(alert) => {
            let words = |_: &rustls::Error| Peer::new("", None).alert(*alert);
            Some(explained(io::Error::other(inner.clone()), true, words))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Certainty::{Final, Passing, Unconfirmed};
    use crate::error::Verdict;

    #[test]
    fn only_what_is_authenticated_is_final_at_once() {
        use rustls::{AlertDescription as Alert, CertificateError, Error, PeerIncompatible};
        let eof = explained(io::ErrorKind::UnexpectedEof.into(), true, |_| String::new());
        assert_eq!(eof.verdict(), Verdict::RETRY);
        for (err, in_clear, encrypted) in [
            (Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType), Passing, Passing),
            (Error::DecryptError, Passing, Passing),
            (Error::AlertReceived(Alert::InternalError), Passing, Passing),
            (Error::AlertReceived(Alert::BadRecordMac), Passing, Passing),
            (Error::AlertReceived(Alert::UnknownCA), Unconfirmed, Final),
            (Error::AlertReceived(Alert::DecodeError), Passing, Passing),
            (CertificateError::UnknownIssuer.into(), Unconfirmed, Final),
            (CertificateError::BadSignature.into(), Unconfirmed, Final),
            (PeerIncompatible::NoCipherSuitesInCommon.into(), Unconfirmed, Unconfirmed),
            (Error::NoCertificatesPresented, Unconfirmed, Final),
            (Error::FailedToGetCurrentTime, Final, Final),
        ] {
            assert_eq!(certainty(&err, false), in_clear, "{err:?}");
            assert_eq!(certainty(&err, true), encrypted, "{err:?}");
        }
    }
}
