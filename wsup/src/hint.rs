//! What may help against an error: a line below it for people, with the flags that matter.

use actix_ws_client::error::{Error, HandshakeError, RedirectError, Refusal, Stage};
use actix_ws_client::proto::error::ProtocolError;

/// What else matters for a hint.
#[derive(Clone, Copy)]
pub(crate) struct Around {
    /// Whether a socket was open.
    pub(crate) is_open: bool,
    /// Whether `--idle-timeout` is given.
    pub(crate) has_idle_timeout: bool,
}

/// Returns what may help against an error, where its text does not say so.
pub(crate) fn hint(error: &Error, around: Around) -> Option<&'static str> {
    Some(match error {
        Error::Timeout(Stage::Dns | Stage::Connect | Stage::Proxy) => {
            "--connect-timeout is the time for the whole dial"
        }
        Error::Timeout(Stage::Tls) => {
            "is it a port with TLS? One without is for ws://; --connect-timeout is the time for the whole dial"
        }
        Error::Timeout(Stage::Upgrade) => {
            "is it a WebSocket server, without TLS? A port with TLS is for wss://; --connect-timeout is the time \
             for the whole dial"
        }
        Error::Timeout(Stage::Write) => "the server does not read what it is sent",
        Error::Io(_) if !around.is_open => {
            "is it a WebSocket server, without TLS? A port with TLS is for wss://"
        }
        Error::PeerSilent { .. } if !around.has_idle_timeout => {
            "no answer to a ping within --ping-timeout"
        }
        Error::PeerSilent { .. } => {
            "no answer to a ping within --ping-timeout, or no message for --idle-timeout"
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
        Error::Protocol(_) => "the server breaks the protocol",
        Error::Refused(refusal) => return refused(refusal),
        _ => return None,
    })
}

/// Returns what may help against a refusal by the server.
fn refused(refusal: &Refusal) -> Option<&'static str> {
    let wants = |scheme: &str| refusal.schemes().iter().any(|it| it.eq_ignore_ascii_case(scheme));
    Some(match refusal.status {
        200..=299 => "this is the reply to a plain request: is it the URL of a web page?",
        300..=399 => "--redirects N follows up to N redirects",
        401 if refusal.authorized => return None,
        401 if wants("bearer") => "--bearer TOKEN sends a token",
        401 if wants("basic") => "--user USER:PASSWORD sends credentials",
        403 if names_origin(&String::from_utf8_lossy(&refusal.body)) => {
            "--no-origin sends no Origin, --origin another one"
        }
        404 => "the server has nothing at the path of the URL",
        _ => return None,
    })
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
