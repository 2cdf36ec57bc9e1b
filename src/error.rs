//! What can fail, and the verdict on it: whether to reconnect.

mod handshake;
mod refusal;
mod tls;
mod verdict;

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use derive_more::{Display, Error as DeriveError};

use crate::error::refusal::Refuser;
use crate::proto::close::{CloseCode, CloseFrame};
use crate::proto::error::ProtocolError;

pub use crate::error::handshake::HandshakeError;
pub use crate::error::refusal::Refusal;
pub(crate) use crate::error::tls::Certainty;
pub use crate::error::tls::TlsError;
pub use crate::error::verdict::Verdict;

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
    /// A failure of the past, in a [`feed::Replay`](crate::feed::Replay): of the recorded error the stage and the text are
    /// left.
    #[cfg(feature = "record")]
    #[display("{text}")]
    Recorded {
        /// The name of its stage.
        stage: &'static str,
        /// Its text.
        text: Arc<str>,
    },
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

/// The stages of [`Error::stage`].
pub(crate) const STAGES: [&str; 15] = [
    "dns",
    "connect",
    "proxy",
    "tls",
    "refused",
    "redirect",
    "handshake",
    "protocol",
    "io",
    "timeout",
    "silent",
    "closed",
    "handler",
    "overflow",
    "session",
];

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
            #[cfg(feature = "record")]
            Error::Recorded { stage, .. } => stage,
        }
    }

    /// Creates the error of a recording. A stage that is not known is that of a handler.
    #[cfg(feature = "record")]
    pub(crate) fn recorded(stage: &str, text: &str) -> Error {
        let stage = STAGES.into_iter().find(|known| *known == stage).unwrap_or("handler");
        Error::Recorded { stage, text: text.into() }
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
                err.is_unconfirmed().then_some(err)
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
            // No dial depends on it.
            #[cfg(feature = "record")]
            Error::Recorded { .. } => Verdict::RETRY,
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

/// The stage of a connection in which a deadline passed.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq, Hash)]
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
#[non_exhaustive]
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
    /// `run_blocking` was called on a thread of a tokio runtime, which it would block. Await `run` there.
    #[display("inside a tokio runtime, whose thread would be blocked: await run there")]
    InRuntime,
    /// The system refused the background thread of a stream, or the runtime of `run_blocking`. It may pass.
    #[display("no thread or runtime: {reason}")]
    Thread {
        /// What the system says.
        reason: String,
    },
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
mod tests;
