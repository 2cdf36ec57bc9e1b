//! What can fail, and the verdict on it: whether to reconnect.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use derive_more::{Display, Error as DeriveError};

pub use refusal::Refusal;
use refusal::Refuser;

use crate::proto::close::{CloseCode, CloseFrame};
use crate::proto::error::ProtocolError;

mod refusal;

/// Why a connection failed, named by the stage at which it did.
///
/// The text of an error includes that of the error that it wraps, if it wraps one, so that it is complete
/// by itself. [`source`](std::error::Error::source) is therefore the cause of that wrapped error: what
/// prints the text and all sources prints nothing twice.
#[derive(Clone, Debug, Display)]
#[non_exhaustive]
pub enum Error {
    /// The host name did not resolve. Check the name and the resolver.
    #[display("no address for {host}: {source}")]
    Dns {
        /// The name that was looked up.
        host: String,
        /// The resolver's error.
        source: Arc<io::Error>,
    },
    /// No address of the host accepted the connection. Each is listed with its own error.
    #[display("cannot connect: {_0}")]
    Connect(ConnectError),
    /// The proxy could not be reached, refused the connection, or could not reach the host.
    #[display("proxy: {_0}")]
    Proxy(ProxyError),
    /// The TLS session could not be set up.
    #[display("TLS: {_0}")]
    Tls(TlsError),
    /// The server answered the upgrade with a status other than 101.
    #[display("the server refused the upgrade with {}", _0.text(Refuser::Server))]
    Refused(Arc<Refusal>),
    /// The server sent a redirect that is forbidden, or one more than are followed.
    #[display("redirect: {_0}")]
    Redirect(RedirectError),
    /// The reply to the upgrade broke RFC 6455, or chose what was not offered. Check that the URL leads
    /// to a WebSocket server.
    #[display("bad handshake reply: {_0}")]
    Handshake(HandshakeError),
    /// The server broke RFC 6455 on an open socket, or exceeded one of our limits.
    #[display("protocol: {_0}")]
    Protocol(ProtocolError),
    /// The transport failed, or ended without a Close frame. For an open socket the kind is
    /// `UnexpectedEof` after an end by FIN or by close_notify of TLS, `ConnectionAborted` after an end
    /// of TLS without close_notify, which a third party on the network path can cause, and
    /// `ConnectionReset` after a reset.
    #[display("transport: {_0}")]
    Io(Arc<io::Error>),
    /// A deadline passed.
    #[display("timed out during {_0}")]
    Timeout(Stage),
    /// The peer sent nothing, or no data message, for too long, and the watchdog dropped the socket.
    #[display("{}", silence(*after, *idle))]
    PeerSilent {
        /// The time since the peer last sent something, or a data message if `idle`.
        after: Duration,
        /// Whether data messages were missing for [`idle_timeout`](crate::ConnectionBuilder::idle_timeout), though
        /// other frames may have come. Otherwise nothing came for
        /// [`ping_timeout`](crate::ConnectionBuilder::ping_timeout) after a ping.
        idle: bool,
    },
    /// The server closed the connection. It occurs only as the cause of an outage: a Close frame from
    /// the server is delivered as [`event::Close`](crate::event::Close), never as an error.
    #[display("closed by the server{}", close_suffix(_0))]
    Closed(Option<CloseFrame>),
    /// Our handlers were too slow, and the socket was closed for that, as
    /// [`Overflow::Disconnect`](crate::Overflow) demands. It occurs only as the cause of an outage: our
    /// Close frame is delivered as [`event::Close`](crate::event::Close).
    #[display("the handlers were too slow (Overflow::Disconnect)")]
    Overflow,
    /// The application ended the session as failed, by [`command::Fail`](crate::command::Fail).
    #[display("session: {reason}")]
    Session {
        /// Why, as the application said.
        reason: Arc<str>,
        /// Whether to reconnect, and how soon, as the application said.
        retry: Verdict,
    },
    /// The closure of `headers_with` returned this error instead of headers.
    #[display("no headers: {_0}")]
    Headers(Arc<str>),
    /// The closure of `url_with` returned this error instead of a URL.
    #[display("no URL: {_0}")]
    Url(Arc<str>),
    /// A closure of the application's panicked, or returned something invalid.
    #[display("a user's closure failed: {_0}")]
    Handler(Arc<str>),
    /// The actors of all handlers of these kinds of event have ended, and
    /// [`end_when_unheard`](crate::ConnectionBuilder::end_when_unheard) asks to end the run then. Look for a panic in
    /// a handler.
    #[display("no handler is left for {_0}: the last one has ended")]
    Unheard(Arc<str>),
}

fn silence(after: Duration, idle: bool) -> String {
    match idle {
        true => format!("no message came for {after:.1?} (`idle_timeout`)"),
        false => format!(
            "the peer was silent for {after:.1?}: no answer to a ping within `ping_timeout`"
        ),
    }
}

fn close_suffix(frame: &Option<CloseFrame>) -> String {
    match frame {
        Some(frame) if frame.reason().is_empty() => format!(" with {}", frame.code()),
        Some(frame) => format!(" with {}: {}", frame.code(), frame.reason()),
        None => String::new(),
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // The text of each has the text of what it wraps; the chain goes on behind that.
        match self {
            Error::Dns { source, .. } | Error::Io(source) => source.source(),
            Error::Connect(err) => err.source(),
            Error::Proxy(err) => err.source(),
            Error::Tls(err) => err.source(),
            Error::Redirect(err) => err.source(),
            Error::Handshake(err) => err.source(),
            Error::Protocol(err) => err.source(),
            _ => None,
        }
    }
}

impl Error {
    /// Returns the name of the stage that failed, as in the JSON of the command line.
    pub fn stage(&self) -> &'static str {
        match self {
            Error::Dns { .. } => "dns",
            Error::Connect(_) => "connect",
            Error::Proxy(_) => "proxy",
            Error::Tls(_) => "tls",
            Error::Refused(_) => "refused",
            Error::Redirect(_) => "redirect",
            Error::Handshake(_) => "handshake",
            Error::Protocol(_) => "protocol",
            Error::Io(_) => "io",
            Error::Timeout(_) => "timeout",
            Error::PeerSilent { .. } => "silent",
            Error::Closed(_) => "closed",
            Error::Headers(_) | Error::Url(_) | Error::Handler(_) | Error::Unheard(_) => "handler",
            Error::Overflow => "overflow",
            Error::Session { .. } => "session",
        }
    }

    /// Returns the HTTP status of a refusal, by the server or by an HTTP proxy.
    pub fn status(&self) -> Option<u16> {
        match self {
            Error::Proxy(ProxyError::Status(refusal)) => Some(refusal.status),
            Error::Refused(refusal) => Some(refusal.status),
            _ => None,
        }
    }

    /// Returns the failure of TLS if it is final only when the next dial fails in such a way too.
    pub(crate) fn unconfirmed(&mut self) -> Option<&mut TlsError> {
        match self {
            Error::Tls(err) | Error::Proxy(ProxyError::Tls(err)) => {
                (err.certainty == Certainty::Unconfirmed).then_some(err)
            }
            _ => None,
        }
    }

    /// Returns the error with at most `limit` bytes of a refusal's body, in memory of their own.
    pub(crate) fn cut(self, limit: usize) -> Error {
        let cut = |refusal: Arc<Refusal>| {
            let kept = refusal.body.len().min(limit);
            let body = Bytes::copy_from_slice(&refusal.body[..kept]);
            Arc::new(Refusal { body, ..Arc::unwrap_or_clone(refusal) })
        };
        match self {
            Error::Refused(refusal) => Error::Refused(cut(refusal)),
            Error::Proxy(ProxyError::Status(refusal)) => {
                Error::Proxy(ProxyError::Status(cut(refusal)))
            }
            other => other,
        }
    }

    /// Returns whether to reconnect after this error, and how soon. It judges the error alone: the policy,
    /// and `command::Reconnect`, `Pause` and `Close`, can decide otherwise.
    pub fn verdict(&self) -> Verdict {
        match self {
            // Conditions of the network or of one server process, which pass.
            Error::Dns { .. }
            | Error::Connect(_)
            | Error::Protocol(_)
            | Error::Io(_)
            | Error::Timeout(_)
            | Error::Headers(_)
            | Error::Url(_)
            | Error::Overflow
            | Error::PeerSilent { .. } => Verdict::RETRY,
            Error::Session { retry, .. } => *retry,
            Error::Proxy(err) => err.verdict(),
            Error::Tls(err) => err.verdict(),
            // The store of authorities is about to be replaced, or no descriptor is left.
            Error::Redirect(RedirectError::Authorities(_)) => Verdict::RETRY,
            Error::Refused(refusal) => refusal_verdict(refusal),
            Error::Closed(frame) => {
                close_verdict(frame.as_ref().map_or(CloseCode::NO_STATUS, CloseFrame::code))
            }
            // What the application or the server has to correct first.
            Error::Redirect(_) | Error::Handshake(_) | Error::Handler(_) | Error::Unheard(_) => {
                Verdict::Stop
            }
        }
    }
}

/// Judges a refusal by its status: whether another attempt may succeed.
fn refusal_verdict(refusal: &Refusal) -> Verdict {
    match refusal.status {
        // RFC 9110, 15.5.9 and 15.6, RFC 8470, 5.2 and RFC 6585, 4: the statuses of a passing condition.
        // RFC 9110, 15: a status outside 100 to 599 counts as one of 5xx.
        408 | 425 | 429 | 500.. | ..=99 => {
            Verdict::Retry { at_least: refusal.retry_after(), from_cap: false }
        }
        _ => Verdict::Stop,
    }
}

/// Judges a close code (RFC 6455, 7.4.1, and the IANA registry): whether another attempt may succeed.
fn close_verdict(code: CloseCode) -> Verdict {
    match code.value() {
        // Try Again Later: the server is overloaded.
        1013 => Verdict::Retry { at_least: None, from_cap: true },
        // Ends of a session or of a server process, and the ranges of libraries and applications, whose meaning is
        // not known here.
        1000 | 1001 | 1005 | 1006 | 1011 | 1012 | 1014 | 3000..=4999 => Verdict::RETRY,
        _ => Verdict::Stop,
    }
}

/// Whether to reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Another attempt may succeed.
    Retry {
        /// The shortest delay, from the server's `Retry-After`.
        at_least: Option<Duration>,
        /// Whether to wait as long as the policy's longest delay: the server has reported that it is
        /// overloaded.
        from_cap: bool,
    },
    /// Another attempt would fail in the same way.
    Stop,
}

impl Verdict {
    /// Reconnect with the delay of the policy.
    pub const RETRY: Verdict = Verdict::Retry { at_least: None, from_cap: false };
}

/// The stage of a connection in which a deadline passed.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Running the closure of `url_with` or `headers_with`.
    #[display("handler")]
    Handler,
    /// Resolving the host name.
    #[display("dns")]
    Dns,
    /// Opening the TCP connection.
    #[display("connect")]
    Connect,
    /// Connecting to the proxy, and waiting until it has connected to the host.
    #[display("proxy")]
    Proxy,
    /// The TLS handshake.
    #[display("tls")]
    Tls,
    /// Waiting for the reply to the upgrade.
    #[display("upgrade")]
    Upgrade,
    /// Writing to a peer that does not read.
    #[display("write")]
    Write,
}

/// Every address of a host that was tried, each with its error.
#[derive(Clone, Debug)]
pub struct ConnectError {
    /// The addresses in the order in which they failed.
    pub tried: Arc<[(SocketAddr, io::Error)]>,
}

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (addr, err)) in self.tried.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{addr}: {err}")?;
        }
        Ok(())
    }
}

/// Has no source: the text lists the error of each address.
impl StdError for ConnectError {}

/// Why there is no connection through a proxy. No text of it holds credentials.
#[derive(Clone, Debug, Display)]
#[non_exhaustive]
pub enum ProxyError {
    /// The proxy's name did not resolve, or none of its addresses accepted the connection.
    #[display("unreachable: {_0}")]
    Unreachable(Arc<Error>),
    /// The TLS handshake with the proxy itself failed, for a URL with `https`.
    #[display("TLS: {_0}")]
    Tls(TlsError),
    /// An HTTP proxy answered CONNECT with a status other than 2xx. 407, and with some proxies 401,
    /// means that the credentials in the proxy's URL are missing or wrong, or that the proxy wants a
    /// scheme other than Basic, which is the only one that is sent; the text says which.
    #[display("refused with {}", _0.text(Refuser::Proxy))]
    Status(Arc<Refusal>),
    /// A SOCKS proxy answered with this code: for version 5 that of RFC 1928, 6, or one of the proxy's
    /// own; for version 4 from 91 on.
    #[display("SOCKS{version} reply {reply}: {}", socks_reply_text(*version, *reply))]
    Socks {
        /// 4 or 5.
        version: u8,
        /// The code of the reply.
        reply: u8,
    },
    /// A SOCKS proxy refused the credentials in its URL, or requires some and the URL has none.
    #[display("authentication: {_0}")]
    Auth(Arc<str>),
    /// The reply is not that of an HTTP or SOCKS proxy. Check the scheme and the port of the proxy's
    /// URL.
    #[display("invalid reply: {_0}")]
    Reply(Arc<str>),
    /// The transport to the proxy failed or ended.
    #[display("transport: {_0}")]
    Io(Arc<io::Error>),
}

fn socks_reply_text(version: u8, reply: u8) -> &'static str {
    match (version, reply) {
        (5, 1) => "general failure",
        (5, 2) => "not allowed by the ruleset",
        (5, 3) => "the network of the host is unreachable",
        (5, 4) => "the host is unreachable",
        (5, 5) => "the host refused the connection",
        (5, 6) => "TTL expired",
        (5, 7) => "command not supported",
        (5, 8) => "address type not supported",
        (4, 91) => "rejected or failed",
        (4, 92) => "the proxy cannot ask our identd",
        (4, 93) => "identd says another user",
        _ => "a code that is not defined",
    }
}

impl StdError for ProxyError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            ProxyError::Unreachable(err) => err.source(),
            ProxyError::Tls(err) => err.source(),
            ProxyError::Io(err) => err.source(),
            _ => None,
        }
    }
}

impl ProxyError {
    fn verdict(&self) -> Verdict {
        match self {
            ProxyError::Status(refusal) => refusal_verdict(refusal),
            // RFC 1928, 6: failures of the network between the proxy and the host; 91 is SOCKS4's one code for
            // them. The other codes mean that the proxy will not do it.
            ProxyError::Unreachable(_)
            | ProxyError::Io(_)
            | ProxyError::Socks { version: 5, reply: 1 | 3..=6 }
            | ProxyError::Socks { version: 4, reply: 91 } => Verdict::RETRY,
            ProxyError::Tls(err) => err.verdict(),
            ProxyError::Socks { .. } | ProxyError::Auth(_) | ProxyError::Reply(_) => Verdict::Stop,
        }
    }
}

/// Why the TLS handshake failed. The text says what is wrong with which certificate, whose it is, and which
/// option of [`Tls`](crate::tls::Tls) mends it.
#[derive(Clone, Debug, Display, DeriveError)]
#[display("{text}")]
pub struct TlsError {
    text: Arc<str>,
    /// Not a source: the text says all of it.
    #[error(not(source))]
    err: Arc<io::Error>,
    certainty: Certainty,
}

/// Whether a failure of TLS will occur again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certainty {
    /// Another attempt may succeed.
    Passing,
    /// It came in the clear, so that a change on the way may have caused it. It is final if the next dial fails in such a
    /// way too.
    Unconfirmed,
    /// Another attempt would fail in the same way.
    Final,
}

impl TlsError {
    pub(crate) fn new(text: impl Into<Arc<str>>, err: io::Error, certainty: Certainty) -> TlsError {
        TlsError { text: text.into(), err: Arc::new(err), certainty }
    }

    /// Replaces the text.
    pub(crate) fn with_text(self, text: impl Into<Arc<str>>) -> TlsError {
        TlsError { text: text.into(), ..self }
    }

    /// Returns the transport's error, or one that wraps a `rustls::Error`, for programs. Its own text is
    /// rustls's, with the values of its types.
    pub fn io_error(&self) -> &io::Error {
        &self.err
    }

    /// Whether another attempt may succeed: the handshake was interrupted, what came was not TLS or was
    /// changed on the way, or the server had an internal error.
    ///
    /// What the server says in the clear, its certificate in TLS 1.2 for instance, may have been changed on
    /// the way. So a fault of it is final only if the dial before failed in such a way too.
    pub fn is_broken_off(&self) -> bool {
        self.certainty != Certainty::Final
    }

    pub(crate) fn verdict(&self) -> Verdict {
        if self.is_broken_off() { Verdict::RETRY } else { Verdict::Stop }
    }

    /// Makes an unconfirmed failure final.
    pub(crate) fn confirm(&mut self) {
        self.certainty = Certainty::Final;
    }
}

/// Why a redirect was not followed. No text of it holds the target, which may hold a secret.
#[derive(Clone, Debug, Display, DeriveError, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedirectError {
    /// The reply has no `Location`.
    #[display("the reply has no Location")]
    Missing,
    /// `Location` is not the URL of a WebSocket or an HTTP server.
    #[display("invalid Location: {_0}")]
    Location(#[error(not(source))] Arc<str>),
    /// From `wss` to `ws`. It is never followed: the data would not be encrypted any more.
    #[display("from wss to ws")]
    Downgrade,
    /// One more than `ConnectionBuilder::redirects` allows.
    #[display("more than {limit}, see `redirects`")]
    TooMany {
        /// The number of redirects that are followed.
        limit: u32,
    },
    /// The certificate authorities for the target cannot be read now: see [`ConfigError::Authorities`].
    #[display("the authorities of the target: {_0}")]
    Authorities(#[error(not(source))] Arc<str>),
    /// The target cannot be connected to: the options of its proxy or of TLS are invalid, or the
    /// transport was a prepared one, which leads to one server.
    #[display("no connection to the target: {_0}")]
    Way(#[error(not(source))] Arc<str>),
}

/// Which rule the reply to the upgrade breaks (RFC 6455, 4.1). The text says what came and what was
/// expected: at most 128 bytes of a value, with escapes for all that is not printable ASCII.
#[derive(Clone, Debug, Display, DeriveError, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The reply is not HTTP. The text says how it begins. Check scheme and port of the URL.
    #[display("it is not HTTP: {_0}")]
    NotHttp(#[error(not(source))] Arc<str>),
    /// The version of the reply, here without `HTTP/`, is not HTTP/1.1.
    #[display("its version is HTTP/{_0}, expected HTTP/1.1")]
    Version(#[error(not(source))] Arc<str>),
    /// The reply's head is longer than 32 KiB or has more than 128 lines. The head of a refusal is cut
    /// instead, so that its status is not lost.
    #[display("its head has more than 32 KiB or 128 lines")]
    HeadTooLong,
    /// A line, which the text names, has NUL in it, or CR without LF (RFC 9110, 5.5).
    #[display("NUL or CR in {_0}")]
    NulOrCr(#[error(not(source))] Arc<str>),
    /// A line, which the text names, ends with LF alone.
    #[display("{_0} ends without CR")]
    BareLf(#[error(not(source))] Arc<str>),
    /// A line that the handshake depends on is malformed. The text quotes its name.
    #[display("malformed header line {_0}")]
    Line(#[error(not(source))] Arc<str>),
    /// `Upgrade` is missing, occurs more than once, or is not `websocket` alone.
    #[display("{_0}")]
    Upgrade(#[error(not(source))] Arc<str>),
    /// `Connection` is missing or does not say `Upgrade`.
    #[display("{_0}")]
    Connection(#[error(not(source))] Arc<str>),
    /// `Sec-WebSocket-Accept` is missing, occurs more than once, or is not the digest of our key.
    #[display("{_0}")]
    Accept(#[error(not(source))] Arc<str>),
    /// The server chose a subprotocol that was not offered, more than one, or none although some were
    /// offered. Names of subprotocols are case-sensitive.
    #[display("{_0}")]
    Subprotocol(#[error(not(source))] Arc<str>),
    /// The server chose an extension that was not offered, or accepted one with parameters that the
    /// offer does not allow (RFC 7692, 7.1).
    #[display("{_0}")]
    Extension(#[error(not(source))] Arc<str>),
    /// More than 8 interim replies came before the final one.
    #[display("more than 8 interim replies")]
    Interim,
    /// The request could not be made, so that nothing was sent.
    #[display("{_0}")]
    Request(#[error(not(source))] Arc<str>),
}

/// An invalid option. `start` and `run` return it, before anything is dialled.
#[derive(Clone, Debug, Display, DeriveError)]
#[non_exhaustive]
pub enum ConfigError {
    /// The URL is not that of a WebSocket.
    #[display("url: {reason}")]
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// The value of this option is invalid.
    #[display("{option}: {reason}")]
    Option {
        /// The builder method that set it; `ca`, `client_cert` or `client_key` for methods of
        /// [`Tls`](crate::tls::Tls); or the environment variable.
        option: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate authorities that the environment names, or those of the platform's store, cannot be
    /// read now, or hold no certificate. It may pass: a file may be about to be replaced, or the process may
    /// have no descriptor left.
    #[display("{option}: {reason}")]
    Authorities {
        /// The environment variable; `ca` for the platform's store.
        option: &'static str,
        /// What is wrong, and what mends it.
        reason: String,
    },
    /// The caller does not run on a tokio runtime with a `LocalSet`. Start inside an actix `System`.
    #[display("no runtime: start inside an actix System or a tokio LocalSet")]
    NoRuntime,
    /// The arbiter that the connection was to start on has ended.
    #[display("the arbiter has ended")]
    ArbiterGone,
}

impl ConfigError {
    pub(crate) fn option(option: &'static str, reason: impl ToString) -> ConfigError {
        ConfigError::Option { option, reason: reason.to_string() }
    }
}
#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::headers::Headers;

    fn refused(status: u16, retry_after: Option<&'static str>) -> Error {
        let line = retry_after.map(|value| ("Retry-After".to_owned(), Bytes::from(value)));
        let headers = line.into_iter().collect();
        Error::Refused(Arc::new(Refusal {
            status,
            reason: String::new(),
            authorized: false,
            headers,
            body: Bytes::new(),
        }))
    }

    fn closed(code: u16) -> Error {
        Error::Closed(Some(CloseFrame::new(CloseCode::from(code), "").unwrap()))
    }

    /// An error with a cause: its text does not have the cause's.
    #[derive(Debug, Display, DeriveError)]
    #[display("outer")]
    struct Outer {
        source: Inner,
    }

    #[derive(Debug, Display, DeriveError)]
    #[display("inner")]
    struct Inner;

    fn layered() -> io::Error {
        io::Error::other(Outer { source: Inner })
    }

    /// One error of each variant, and how often "outer" and "inner" must stand in its chain.
    fn of_each_variant() -> Vec<(Error, usize)> {
        let tls = || TlsError::new("certificate", layered(), Certainty::Final);
        let io = || Arc::new(layered());
        let addr = SocketAddr::from(([127, 0, 0, 1], 1));
        let connect = || ConnectError { tried: [(addr, io::Error::other("refused"))].into() };
        let refusal = || {
            Arc::new(Refusal {
                status: 503,
                reason: String::new(),
                authorized: false,
                headers: Headers::default(),
                body: Bytes::new(),
            })
        };
        let proxy = Error::Proxy;
        vec![
            (Error::Dns { host: "h".into(), source: io() }, 1),
            (Error::Connect(connect()), 0),
            (
                proxy(ProxyError::Unreachable(
                    Error::Dns { host: "p".into(), source: io() }.into(),
                )),
                1,
            ),
            (proxy(ProxyError::Unreachable(Error::Connect(connect()).into())), 0),
            (proxy(ProxyError::Tls(tls())), 0),
            (proxy(ProxyError::Status(refusal())), 0),
            (proxy(ProxyError::Socks { version: 5, reply: 1 }), 0),
            (proxy(ProxyError::Auth("x".into())), 0),
            (proxy(ProxyError::Reply("x".into())), 0),
            (proxy(ProxyError::Io(io())), 1),
            (Error::Tls(tls()), 0),
            (Error::Refused(refusal()), 0),
            (Error::Redirect(RedirectError::Way("x".into())), 0),
            (Error::Redirect(RedirectError::Missing), 0),
            (Error::Handshake(HandshakeError::Request("x".into())), 0),
            (Error::Protocol(ProtocolError::InvalidUtf8), 0),
            (Error::Io(io()), 1),
            (Error::Timeout(Stage::Dns), 0),
            (Error::PeerSilent { after: Duration::from_secs(1), idle: false }, 0),
            (Error::Closed(None), 0),
            (Error::Overflow, 0),
            (Error::Session { reason: "x".into(), retry: Verdict::Stop }, 0),
            (Error::Headers("x".into()), 0),
            (Error::Url("x".into()), 0),
            (Error::Handler("x".into()), 0),
            (Error::Unheard("Message".into()), 0),
        ]
    }

    /// The text of an error and of all its sources.
    fn chain(err: &dyn StdError) -> Vec<String> {
        let mut texts = vec![err.to_string()];
        let mut next = err.source();
        while let Some(err) = next {
            texts.push(err.to_string());
            next = err.source();
        }
        texts
    }

    #[test]
    fn no_error_repeats_its_cause_and_none_is_lost() {
        for (error, layers) in of_each_variant() {
            let texts = chain(&error);
            let whole = texts.join(" | ");
            for word in ["outer", "inner"] {
                assert_eq!(whole.matches(word).count(), layers, "{whole}");
            }
            // What is wrapped directly is in the text.
            assert_eq!(texts[0].contains("outer"), layers > 0, "{whole}");
            for (at, text) in texts.iter().enumerate() {
                assert!(texts[..at].iter().all(|before| !before.contains(text)), "{whole}");
            }
        }
        // A variant that is not in the list above has no arm here.
        for (error, _) in of_each_variant() {
            match error {
                Error::Dns { .. }
                | Error::Connect(_)
                | Error::Proxy(
                    ProxyError::Unreachable(_)
                    | ProxyError::Tls(_)
                    | ProxyError::Status(_)
                    | ProxyError::Socks { .. }
                    | ProxyError::Auth(_)
                    | ProxyError::Reply(_)
                    | ProxyError::Io(_),
                )
                | Error::Tls(_)
                | Error::Refused(_)
                | Error::Redirect(_)
                | Error::Handshake(_)
                | Error::Protocol(_)
                | Error::Io(_)
                | Error::Timeout(_)
                | Error::PeerSilent { .. }
                | Error::Closed(_)
                | Error::Overflow
                | Error::Session { .. }
                | Error::Headers(_)
                | Error::Url(_)
                | Error::Handler(_)
                | Error::Unheard(_) => {}
            }
        }
    }

    #[test]
    fn statuses_that_may_pass_are_retried() {
        for status in [408, 425, 429, 500, 502, 503, 504, 599, 600, 999, 99, 0] {
            assert_eq!(refused(status, None).verdict(), Verdict::RETRY, "{status}");
        }
        for status in [200, 204, 301, 304, 400, 401, 403, 404, 407, 410, 418, 426] {
            assert_eq!(refused(status, None).verdict(), Verdict::Stop, "{status}");
        }
    }

    #[test]
    fn retry_after_is_a_floor_of_at_most_an_hour() {
        let floor = |value| match refused(503, Some(value)).verdict() {
            Verdict::Retry { at_least, .. } => at_least,
            Verdict::Stop => panic!("503 stops"),
        };
        assert_eq!(floor("7"), Some(Duration::from_secs(7)));
        assert_eq!(floor("86400"), Some(refusal::MAX_RETRY_AFTER));
        assert_eq!(floor("99999999999999999999999"), Some(refusal::MAX_RETRY_AFTER));
        for (value, seconds) in [("1.5", 2), ("0.001", 1), ("2.000", 2), ("3, 9, 4", 9)] {
            assert_eq!(floor(value), Some(Duration::from_secs(seconds)), "{value}");
        }
        for nonsense in ["", "-1", "+5", "soon", "1.", ".5", "1.5.2", "5, soon", "1e3"] {
            assert_eq!(floor(nonsense), None, "{nonsense}");
        }
        assert_eq!(refused(401, Some("1")).verdict(), Verdict::Stop);
    }

    fn challenged(status: u16, authorized: bool, lines: &[(&str, &str)]) -> Refusal {
        let headers = lines.iter().copied().collect();
        Refusal { status, reason: "Denied".into(), authorized, headers, body: Bytes::new() }
    }

    #[test]
    fn a_407_names_what_the_proxy_wants_and_whether_it_was_sent() {
        let text = |sent, challenge: &str| {
            let refusal = challenged(407, sent, &[("Proxy-Authenticate", challenge)]);
            Error::Proxy(ProxyError::Status(Arc::new(refusal))).to_string()
        };
        for (sent, challenge, expected) in [
            (
                false,
                "Basic realm=\"x\"",
                "it wants Basic, and the proxy's URL has no user:password@",
            ),
            (
                true,
                "Basic realm=\"x\"",
                "it wants Basic, and did not accept the credentials in the proxy's URL",
            ),
            (
                false,
                "Negotiate, NTLM",
                "it wants Negotiate or NTLM, which is not supported; only Basic is sent to a proxy",
            ),
            (
                true,
                "Digest nonce=1",
                "it wants Digest, which is not supported; only Basic is sent to a proxy",
            ),
            (
                false,
                "Digest nonce=1, Basic",
                "it wants Digest or Basic, and the proxy's URL has no user:password@",
            ),
            (false, "", "it wants credentials, and the proxy's URL has no user:password@"),
        ] {
            assert_eq!(
                text(sent, challenge),
                format!("proxy: refused with status 407 Denied: {expected}")
            );
        }
    }

    #[test]
    fn a_refusal_shows_its_reason_phrase_and_what_a_401_wants() {
        let text = |refusal: Refusal| Error::Refused(Arc::new(refusal)).to_string();
        let start = "the server refused the upgrade with status";
        assert_eq!(text(challenged(403, true, &[])), format!("{start} 403 Denied"));
        let wild = Refusal {
            reason: format!("\u{1b}[2J\n{}", "x".repeat(99)),
            ..challenged(500, false, &[])
        };
        assert_eq!(text(wild), format!("{start} 500 \\u{{1b}}[2J\\n{}", "x".repeat(59)));
        let bearer = [("WWW-Authenticate", "Bearer")];
        assert_eq!(
            text(challenged(401, false, &bearer)),
            format!("{start} 401 Denied: it wants Bearer, and no credentials were sent")
        );
        assert_eq!(
            text(challenged(401, true, &bearer)),
            format!(
                "{start} 401 Denied: it wants Bearer, and did not accept the credentials that were sent"
            )
        );
        let ntlm = text(challenged(401, true, &[("WWW-Authenticate", "NTLM")]));
        assert!(ntlm.contains("it wants NTLM, which is not supported"), "{ntlm}");
    }

    #[test]
    fn close_codes_part_the_passing_from_the_final() {
        for code in [1000, 1001, 1011, 1012, 1014, 3000, 4000, 4999] {
            assert_eq!(closed(code).verdict(), Verdict::RETRY, "{code}");
        }
        for code in [1002, 1003, 1007, 1008, 1009, 1010] {
            assert_eq!(closed(code).verdict(), Verdict::Stop, "{code}");
        }
        assert_eq!(closed(1013).verdict(), Verdict::Retry { at_least: None, from_cap: true });
        assert_eq!(Error::Closed(None).verdict(), Verdict::RETRY);
    }

    #[test]
    fn a_certificate_that_is_wrong_stops_and_a_cut_handshake_does_not() {
        let of = |certainty| Error::Tls(TlsError::new("x", io::Error::other("x"), certainty));
        assert_eq!(of(Certainty::Final).verdict(), Verdict::Stop);
        assert_eq!(of(Certainty::Passing).verdict(), Verdict::RETRY);
        let mut unconfirmed = of(Certainty::Unconfirmed);
        assert_eq!(unconfirmed.verdict(), Verdict::RETRY);
        unconfirmed.unconfirmed().unwrap().confirm();
        assert_eq!(unconfirmed.verdict(), Verdict::Stop);
        assert!(of(Certainty::Passing).unconfirmed().is_none());
    }

    #[test]
    fn a_proxy_that_fails_is_asked_again_and_one_that_refuses_is_not() {
        let socks = |version, reply| Error::Proxy(ProxyError::Socks { version, reply }).verdict();
        for reply in [1, 3, 4, 5, 6] {
            assert_eq!(socks(5, reply), Verdict::RETRY, "{reply}");
        }
        for reply in [2, 7, 8, 9, 255] {
            assert_eq!(socks(5, reply), Verdict::Stop, "{reply}");
        }
        assert_eq!((socks(4, 91), socks(4, 92)), (Verdict::RETRY, Verdict::Stop));
        assert_eq!((socks(4, 5), socks(5, 91)), (Verdict::Stop, Verdict::Stop));
        let text = |version, reply| ProxyError::Socks { version, reply }.to_string();
        assert_eq!(text(5, 5), "SOCKS5 reply 5: the host refused the connection");
        for (version, reply) in [(5, 9), (5, 91), (5, 255), (4, 5), (4, 0)] {
            assert_eq!(
                text(version, reply),
                format!("SOCKS{version} reply {reply}: a code that is not defined")
            );
        }
        assert_eq!(socks(4, 93), Verdict::Stop);
        let status = |status| match refused(status, Some("7")) {
            Error::Refused(refusal) => Error::Proxy(ProxyError::Status(refusal)),
            other => panic!("{other}"),
        };
        for refusal in [101, 302, 401, 403, 404, 407] {
            assert_eq!(status(refusal).verdict(), Verdict::Stop, "{refusal}");
            assert_eq!(
                (status(refusal).stage(), status(refusal).status()),
                ("proxy", Some(refusal))
            );
        }
        let later = Verdict::Retry { at_least: Some(Duration::from_secs(7)), from_cap: false };
        for failure in [500, 502, 503, 504] {
            assert_eq!(status(failure).verdict(), later, "{failure}");
        }
        let verdict = |err| Error::Proxy(err).verdict();
        let unreachable = ProxyError::Unreachable(Arc::new(Error::Timeout(Stage::Connect)));
        assert_eq!(verdict(unreachable), Verdict::RETRY);
        assert_eq!(verdict(ProxyError::Io(Arc::new(io::Error::other("x")))), Verdict::RETRY);
        assert_eq!(verdict(ProxyError::Auth("x".into())), Verdict::Stop);
        assert_eq!(verdict(ProxyError::Reply("x".into())), Verdict::Stop);
        let tls = |certainty| ProxyError::Tls(TlsError::new("x", io::Error::other("x"), certainty));
        assert_eq!(verdict(tls(Certainty::Passing)), Verdict::RETRY);
        assert_eq!(verdict(tls(Certainty::Final)), Verdict::Stop);
        assert!(Error::Proxy(tls(Certainty::Unconfirmed)).unconfirmed().is_some());
    }

    #[test]
    fn an_error_is_send_sync_and_clone() {
        fn check<T: Clone + Send + Sync + 'static>() {}
        check::<Error>();
        check::<ConfigError>();
    }
}
