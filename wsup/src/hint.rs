//! What may help against an error: a line below it for people, with the flags that matter.

use std::borrow::Cow;
use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;

use actix_ws_client::error::{Error, HandshakeError, ProxyError, RedirectError, Refusal, Stage};
use actix_ws_client::proto::error::ProtocolError;
use actix_ws_client::{Connection, Tls};

/// What else matters for the words about an error.
pub(crate) struct Around {
    /// Whether a socket is open, by the events that were formatted.
    pub(crate) is_open: Cell<bool>,
    /// The time for a whole dial.
    pub(crate) connect_timeout: Duration,
    /// The server of the URL; `None` if there are several.
    pub(crate) target: Option<Target>,
    /// The `Origin` of requests to the URL; `None` if there is none, or it is not known.
    pub(crate) origin: Option<String>,
    /// Whether `--proxy` is given.
    pub(crate) has_proxy_flag: bool,
    /// Whether `--reconnect` is `never`.
    pub(crate) dials_once: bool,
    /// The number of `--max-attempts`.
    pub(crate) max_attempts: Option<NonZeroU32>,
}

/// The server that a URL leads to.
pub(crate) struct Target {
    /// Whether the scheme is `wss`.
    is_secure: bool,
    /// The host, with a port that is not the scheme's.
    host: String,
    /// The `Origin` that the library derives from the URL.
    pub(crate) origin: String,
}

impl Target {
    /// Returns the server of a URL, as the library reads it; `None` if it is not valid.
    pub(crate) fn of(url: &str) -> Option<Target> {
        // Without a fragment, certificates and a proxy: there is nothing to load, and nothing to warn of.
        let url = url.split('#').next().unwrap_or_default();
        let bare = Connection::builder(url).tls(Tls::new().dangerously_accept_any_certificate());
        let head = bare.no_proxy("*").request_head().ok()?;
        let value = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
        };
        let origin = value("Origin")?;
        Some(Target { is_secure: origin.starts_with("https:"), host: value("Host")?, origin })
    }
}

/// Returns the text for a deadline that passed.
pub(crate) fn timed_out(stage: Stage, connect_timeout: Duration) -> String {
    let missing = match stage {
        Stage::Dns => "no address of the host",
        Stage::Connect => "no TCP connection",
        Stage::Proxy => "no connection by the proxy",
        Stage::Tls => "no TLS handshake",
        Stage::Upgrade => "no reply to the upgrade",
        other => return format!("timed out during {other}"),
    };
    format!("timed out: {missing} within {connect_timeout:?} of the start of the dial")
}

/// Returns what may help against an error, where its text does not say so.
pub(crate) fn hint(error: &Error, around: &Around) -> Option<Cow<'static, str>> {
    let is_secure = around.target.as_ref().map(|target| target.is_secure);
    Some(Cow::Borrowed(match error {
        Error::Timeout(Stage::Proxy) | Error::Proxy(_) => return Some(proxied(error, around)),
        Error::Timeout(Stage::Dns | Stage::Connect) => {
            "--connect-timeout is the time for the whole dial"
        }
        Error::Timeout(Stage::Tls) => {
            "the port may speak no TLS: for that is ws://; --connect-timeout is the time for the whole dial"
        }
        Error::Timeout(Stage::Upgrade) if is_secure == Some(true) => {
            "is it a WebSocket server? --connect-timeout is the time for the whole dial"
        }
        Error::Timeout(Stage::Upgrade) => {
            "the port may speak TLS: for that is wss://; or is it no WebSocket server? --connect-timeout is the time \
             for the whole dial"
        }
        Error::Timeout(Stage::Write) => "the server does not read what it is sent",
        Error::Io(_) if !around.is_open.get() && is_secure == Some(true) => {
            "is it a WebSocket server?"
        }
        Error::Io(_) if !around.is_open.get() => {
            "the port may speak TLS: for that is wss://; or is it no WebSocket server?"
        }
        Error::PeerSilent { idle: false, .. } => "--ping-timeout TIME waits longer",
        Error::PeerSilent { idle: true, .. } => {
            "the server may have had nothing to send; --idle-timeout TIME waits longer"
        }
        Error::Redirect(RedirectError::TooMany { .. }) => {
            "the servers may redirect in a circle; --redirects N follows more"
        }
        Error::Handshake(HandshakeError::Subprotocol(_)) => "--subprotocol NAME offers one",
        Error::Handshake(_) => {
            "is it the URL of a WebSocket server? If so, it or a proxy before it is at fault"
        }
        Error::Protocol(ProtocolError::InvalidUtf8) => {
            "the server is at fault; --skip-utf8 accepts such text"
        }
        Error::Protocol(
            ProtocolError::FrameTooLarge { .. } | ProtocolError::MessageTooLarge { .. },
        ) => "--max-message SIZE accepts larger ones",
        Error::Protocol(ProtocolError::TooManyFragments { .. }) => return None,
        Error::Protocol(_) => "the server breaks the protocol",
        Error::Refused(refusal) => return refused(refusal, around.origin.as_deref()),
        _ => return None,
    }))
}

/// Returns where the proxy comes from, and which host it was to connect to if it answered for that host.
fn proxied(error: &Error, around: &Around) -> Cow<'static, str> {
    let from = match around.has_proxy_flag {
        true => "the proxy is that of --proxy",
        false => {
            "the proxy is that of the environment (http_proxy, all_proxy or the like); --no-proxy '*' uses none"
        }
    };
    match (error, &around.target) {
        (Error::Timeout(_), _) => {
            format!("{from}; --connect-timeout is the time for the whole dial").into()
        }
        (Error::Proxy(ProxyError::Socks { .. }), Some(target)) => {
            format!("the host of the URL is {}; {from}", target.host).into()
        }
        _ => from.into(),
    }
}

/// Returns what may help against a refusal by the server.
fn refused(refusal: &Refusal, origin: Option<&str>) -> Option<Cow<'static, str>> {
    let wants = |scheme: &str| refusal.schemes().iter().any(|it| it.eq_ignore_ascii_case(scheme));
    Some(Cow::Borrowed(match refusal.status {
        200..=299 => "this is the reply to a plain request: is it the URL of a web page?",
        300..=399 => "--redirects N follows up to N redirects",
        401 if refusal.authorized => return None,
        401 if wants("bearer") => "--bearer TOKEN sends a token",
        401 if wants("basic") => "--user USER:PASSWORD sends credentials",
        403 if names_origin(&String::from_utf8_lossy(&refusal.body)) => match origin {
            Some(origin) => {
                let sent = format!("the Origin of a request to the URL is {origin}");
                return Some(
                    format!("{sent}; --no-origin sends none, --origin another one").into(),
                );
            }
            None => "--no-origin sends no Origin, --origin another one",
        },
        404 => "the server has nothing at the path of the URL",
        _ => return None,
    }))
}

/// Whether a text has the word `origin` or `origins`, in any case.
fn names_origin(text: &str) -> bool {
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|word| ["origin", "origins"].iter().any(|name| word.eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_is_a_word() {
        for text in
            ["Origin not allowed", "bad origin: x", "{\"error\":\"invalid_origin\"}", "ORIGINS"]
        {
            assert!(names_origin(text), "{text}");
        }
        for text in ["", "original", "aboriginal", "no"] {
            assert!(!names_origin(text), "{text}");
        }
    }
}
