//! The head of an HTTP reply: found, bounded, parsed, and verified as the reply to an upgrade. Pure.

use bytes::{Buf, BytesMut};

use crate::error::HandshakeError;
use crate::headers::Headers;
use crate::proto::compression::{Agreed, Compression};

/// The longest head that is accepted, in bytes.
const MAX_HEAD: usize = 32 << 10;

/// The most header lines that are accepted.
const MAX_LINES: usize = 128;

/// The most interim replies that are skipped (RFC 9110, 15.2).
pub(super) const MAX_INTERIM_REPLIES: u32 = 8;

/// The head of an HTTP reply.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) headers: Headers,
    /// Whether the version is HTTP/1.1.
    http_1_1: bool,
    /// Whether a line ends with LF alone.
    bare_lf: bool,
}

/// Removes a head from the front of `inbox` and parses it. Returns `None` if it has not arrived in full.
///
/// # Errors
/// When the bytes are not the head of an HTTP reply, or exceed a bound; both as early as they show it.
pub(super) fn take(inbox: &mut BytesMut) -> Result<Option<Head>, HandshakeError> {
    if inbox.is_empty() {
        return Ok(None);
    }
    let mut lines = [httparse::EMPTY_HEADER; MAX_LINES];
    let mut reply = httparse::Response::new(&mut lines);
    let length = match reply.parse(inbox) {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(httparse::Status::Partial) if inbox.len() < MAX_HEAD => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(HandshakeError::HeadTooLong),
        // HTTP, but neither 1.0 nor 1.1, which are all that httparse parses.
        Err(httparse::Error::Version) if inbox.starts_with(b"HTTP/") => {
            return Err(HandshakeError::Version);
        }
        Err(_) => return Err(HandshakeError::NotHttp),
    };
    let head = Head {
        status: reply.code.ok_or(HandshakeError::NotHttp)?,
        headers: Headers::of(reply.headers.iter().map(|line| (line.name, line.value))),
        http_1_1: reply.version == Some(1),
        bare_lf: has_bare_lf(&inbox[..length]),
    };
    inbox.advance(length);
    Ok(Some(head))
}

fn has_bare_lf(head: &[u8]) -> bool {
    head.first() == Some(&b'\n') || head.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r')
}

impl Head {
    /// Verifies a 101 (RFC 6455, 4.1), except for the digest in `Sec-WebSocket-Accept`. Returns the parameters of
    /// permessage-deflate, if it was offered and accepted.
    ///
    /// # Errors
    /// The first rule that the reply breaks.
    pub(super) fn verify(
        &self,
        compression: &Compression,
        subprotocols: &[String],
    ) -> Result<Option<Agreed>, HandshakeError> {
        let headers = &self.headers;
        let one = |name| headers.get_all(name).count() == 1;
        let none = |name| headers.get_all(name).next().is_none();
        let extensions = compression.agree(headers.get_all("Sec-WebSocket-Extensions"));
        // In the order of RFC 6455, 4.1, but for HTTP itself, which comes first, and the body (RFC 9110, 8.6).
        let checks = [
            (self.http_1_1, HandshakeError::Version),
            (!self.bare_lf, HandshakeError::BareLf),
            (headers.has_token("Upgrade", "websocket") && one("Upgrade"), HandshakeError::Upgrade),
            (headers.has_token("Connection", "Upgrade"), HandshakeError::Connection),
            (one("Sec-WebSocket-Accept"), HandshakeError::Accept),
            (self.accepts_subprotocol(subprotocols), HandshakeError::Subprotocol),
            (extensions.is_ok(), HandshakeError::Extension),
            (none("Content-Length") && none("Transfer-Encoding"), HandshakeError::Body),
        ];
        match checks.into_iter().find(|(holds, _)| !holds) {
            Some((_, err)) => Err(err),
            None => extensions.map_err(|_| HandshakeError::Extension),
        }
    }

    /// Whether the server chose one of the subprotocols that were offered, or none if none was offered. To choose none
    /// of those offered fails the connection, as it does in browsers and WebSocketApp.
    fn accepts_subprotocol(&self, offered: &[String]) -> bool {
        let mut lines = self.headers.get_all("Sec-WebSocket-Protocol");
        match (lines.next(), lines.next()) {
            (None, _) => offered.is_empty(),
            (Some(picked), None) => offered.iter().any(|name| name.as_bytes() == picked),
            (Some(_), Some(_)) => false,
        }
    }

    /// Returns the value of `Sec-WebSocket-Accept`, empty if there is none.
    pub(super) fn accept(&self) -> &[u8] {
        self.headers.get_all("Sec-WebSocket-Accept").next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";

    fn head(text: &str) -> Head {
        take(&mut BytesMut::from(text)).unwrap().unwrap()
    }

    #[test]
    fn a_good_reply_is_taken_at_any_split_and_the_rest_is_left() {
        let whole = format!("{GOOD}rest");
        for cut in 0..GOOD.len() {
            assert!(take(&mut BytesMut::from(&whole[..cut])).unwrap().is_none(), "{cut}");
        }
        let mut inbox = BytesMut::from(whole.as_str());
        let head = take(&mut inbox).unwrap().unwrap();
        assert_eq!(head.verify(&Compression::default(), &[]), Ok(None));
        assert_eq!(&inbox[..], b"rest");
    }

    #[test]
    fn each_part_that_is_wrong_is_named() {
        let line = "Sec-WebSocket-Accept: x\r\n";
        let cases = [
            (GOOD.replace("HTTP/1.1", "HTTP/1.0"), HandshakeError::Version),
            (GOOD.replace("Upgrade: WebSocket\r\n", ""), HandshakeError::Upgrade),
            (GOOD.replace("WebSocket\r\n", "notwebsockety\r\n"), HandshakeError::Upgrade),
            (GOOD.replace("keep-alive, Upgrade", "close"), HandshakeError::Connection),
            (GOOD.replace(line, ""), HandshakeError::Accept),
            (GOOD.replace(line, &line.repeat(2)), HandshakeError::Accept),
            (
                GOOD.replace(line, &format!("{line}Sec-WebSocket-Protocol: a\r\n")),
                HandshakeError::Subprotocol,
            ),
            (
                GOOD.replace(line, &format!("{line}Sec-WebSocket-Extensions: a\r\n")),
                HandshakeError::Extension,
            ),
            (GOOD.replace(line, &format!("{line}Content-Length: 0\r\n")), HandshakeError::Body),
            (
                GOOD.replace(line, &format!("{line}Transfer-Encoding: chunked\r\n")),
                HandshakeError::Body,
            ),
            (GOOD.replace("keep-alive, Upgrade\r\n", "Upgrade\n"), HandshakeError::BareLf),
        ];
        for (reply, expected) in cases {
            let verified = head(&reply).verify(&Compression::default(), &[]);
            assert_eq!(verified, Err(expected), "{reply}");
        }
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn compression_is_agreed_if_it_was_offered() {
        let line = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n";
        let reply = GOOD.replace("Connection:", &format!("{line}Connection:"));
        let agreed = head(&reply).verify(&Compression::default(), &[]).unwrap().unwrap();
        assert_eq!(agreed.server_max_window_bits(), 10);
        let refused = head(&reply).verify(&Compression::off(), &[]);
        assert_eq!(refused, Err(HandshakeError::Extension));
    }

    #[test]
    fn what_is_not_http_is_refused_at_its_first_bytes() {
        let refused = |text: &str| take(&mut BytesMut::from(text)).unwrap_err();
        assert_eq!(refused("SSH-2.0-OpenSSH\r\n"), HandshakeError::NotHttp);
        assert_eq!(refused("HTTP/2 101 x\r\n"), HandshakeError::Version);
    }

    #[test]
    fn a_head_is_bounded_in_bytes_and_lines() {
        let long = format!("HTTP/1.1 101 x\r\nA: {}", "b".repeat(MAX_HEAD));
        let many = format!("HTTP/1.1 101 x\r\n{}\r\n", "A: b\r\n".repeat(MAX_LINES + 1));
        for reply in [long, many] {
            let refused = take(&mut BytesMut::from(reply.as_str())).unwrap_err();
            assert_eq!(refused, HandshakeError::HeadTooLong);
        }
        let most = format!("HTTP/1.1 101 x\r\n{}\r\n", "A: b\r\n".repeat(MAX_LINES));
        assert_eq!(head(&most).headers.len(), MAX_LINES);
    }
}
