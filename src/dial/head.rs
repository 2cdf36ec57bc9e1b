//! The head of an HTTP reply, verified as the reply to an upgrade or to CONNECT.

use std::io;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use crate::dial::redact::quoted;
use crate::dial::reply::{self, Flaw};
use crate::error::HandshakeError;
use crate::headers::Headers;
use crate::proto::compression::{Agreed, Compression};

/// The most interim replies that are skipped (RFC 9110, 15.2).
pub(super) const MAX_INTERIM_REPLIES: u32 = 8;

/// The head of an HTTP reply.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    /// The reason phrase of a refusal, lossily as text.
    pub(super) reason: String,
    pub(super) headers: Headers,
    /// Whether lines are missing, because the head exceeds a bound or ended too early. Then there is no body.
    pub(super) is_cut: bool,
    /// The version, unless it is 1.1.
    other_version: Option<Arc<str>>,
    /// Why the connection must not go on behind this head.
    flaw: Option<HandshakeError>,
}

/// Reads more of a head. Returns `None` if nothing has come at the deadline.
pub(super) async fn read_more<S: AsyncRead + Unpin>(
    transport: &mut S,
    inbox: &mut BytesMut,
    deadline: Option<Instant>,
) -> Option<io::Result<usize>> {
    let read = transport.read_buf(inbox);
    match deadline {
        Some(deadline) => timeout_at(deadline, read).await.ok(),
        None => Some(read.await),
    }
}

/// Removes a head from the front of `inbox` and parses it. Returns `None` if it has not arrived in full.
///
/// # Errors
/// When the bytes are not the head of an HTTP reply, or the connection cannot go on behind it, because it exceeds a
/// bound. The status of a refusal is returned in any case, with as many of its lines as were read.
pub(super) fn take(inbox: &mut BytesMut) -> Result<Option<Head>, HandshakeError> {
    let reply = reply::read(inbox, false).map_err(|_| HandshakeError::NotHttp(not_http(inbox)))?;
    let Some(reply) = reply else { return Ok(None) };
    let head = Head::new(&reply, inbox);
    match head.status {
        100..=199 if head.is_cut => return Err(HandshakeError::HeadTooLong),
        // The next reply begins where this one ends, which such bytes make ambiguous.
        100 | 102..=199 if head.has_nul_or_cr() => return head.flaw.map_or(Ok(None), Err),
        _ if head.is_cut => inbox.clear(),
        _ => inbox.advance(reply.length),
    }
    Ok(Some(head))
}

/// Returns the head of a refusal that ended, or came to a halt, before its empty line: its status must not be lost. Returns
/// `None` if the status is missing too, or is none of a refusal.
pub(super) fn take_cut(inbox: &mut BytesMut) -> Option<Head> {
    let reply = reply::read(inbox, true).ok().flatten()?;
    let head = Head::new(&reply, inbox);
    inbox.clear();
    (!matches!(head.status, 100..=199)).then_some(head)
}

/// Returns the reason phrase of a status line (RFC 9112, 4), given what follows its version.
fn reason(behind_version: &[u8]) -> String {
    let line = behind_version.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let status = line.trim_ascii_start();
    let digits = status.iter().take_while(|byte| byte.is_ascii_digit()).count();
    String::from_utf8_lossy(status[digits..].trim_ascii()).into_owned()
}

/// Describes bytes that are no reply.
fn not_http(inbox: &[u8]) -> Arc<str> {
    let line = inbox.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line {
        // Not quoted: it has the URL, which may hold a secret.
        line if line.starts_with(b"GET ") || line.starts_with(b"CONNECT ") => {
            "our own request came back, so the peer echoes".into()
        }
        // RFC 8446, 5.1: a record of TLS with an alert, or of its handshake.
        [0x15 | 0x16, 3, ..] => "it is TLS, so the URL needs wss, or https for a proxy".into(),
        // A server of another protocol may quote our request line, and the URL begins with a slash.
        line => {
            let skipped = if line.starts_with(b"HTTP/") { b"HTTP/".len() } else { 0 };
            let slash = line[skipped..].iter().position(|&byte| byte == b'/');
            match slash {
                Some(slash) => {
                    format!("it begins with {}\u{2026}", quoted(&line[..skipped + slash])).into()
                }
                None => format!("it begins with {}", quoted(line)).into(),
            }
        }
    }
}

impl Head {
    fn new(reply: &reply::Reply, buf: &[u8]) -> Head {
        // Digits and points.
        let version = std::str::from_utf8(&buf[reply.version.clone()]).unwrap_or_default();
        let lines = reply.lines.iter();
        let flaw = reply.flaw.as_ref().map(|flaw| match flaw {
            Flaw::NulOrCr(line) => HandshakeError::NulOrCr(described(&buf[line.clone()])),
            Flaw::BareLf(line) => HandshakeError::BareLf(described(&buf[line.clone()])),
            Flaw::Malformed(line) => {
                HandshakeError::Line(quoted(first_word(&buf[line.clone()])).into())
            }
        });
        Head {
            status: reply.status,
            reason: match reply.status {
                // No other is shown.
                300.. => reason(&buf[reply.version.end..]),
                _ => String::new(),
            },
            headers: Headers::of(
                lines.map(|line| (&buf[line.name.clone()], &buf[line.value.clone()])),
            ),
            is_cut: reply.is_cut,
            other_version: (version != "1.1").then(|| version.into()),
            flaw,
        }
    }

    fn has_nul_or_cr(&self) -> bool {
        matches!(self.flaw, Some(HandshakeError::NulOrCr(_)))
    }

    /// Verifies a 2xx to CONNECT. What its lines say does not matter (RFC 9110, 9.3.6), but where it ends does.
    ///
    /// # Errors
    /// When the tunnel must not be used.
    pub(super) fn verify_tunnel(&self) -> Result<(), HandshakeError> {
        match (&self.other_version, &self.flaw) {
            _ if self.is_cut => Err(HandshakeError::HeadTooLong),
            (Some(version), _) if **version != *"1.0" => {
                Err(HandshakeError::Version(version.clone()))
            }
            (_, Some(flaw)) if self.has_nul_or_cr() => Err(flaw.clone()),
            _ => Ok(()),
        }
    }

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
        if let Some(version) = &self.other_version {
            return Err(HandshakeError::Version(version.clone()));
        }
        if let Some(flaw) = &self.flaw {
            return Err(flaw.clone());
        }
        self.verify_upgrade().map_err(HandshakeError::Upgrade)?;
        self.verify_connection().map_err(HandshakeError::Connection)?;
        if self.only("Sec-WebSocket-Accept").map_err(HandshakeError::Accept)?.is_none() {
            return Err(HandshakeError::Accept("Sec-WebSocket-Accept is missing".into()));
        }
        self.verify_subprotocol(subprotocols).map_err(HandshakeError::Subprotocol)?;
        let extensions = compression.agree(self.headers.get_all("Sec-WebSocket-Extensions"));
        extensions.map_err(|_| HandshakeError::Extension(self.wrong_extensions(compression)))
    }

    /// RFC 6455, 4.1: one value, not a list.
    fn verify_upgrade(&self) -> Result<(), Arc<str>> {
        match self.only("Upgrade")? {
            Some(value) if value.eq_ignore_ascii_case(b"websocket") => Ok(()),
            Some(value) => {
                Err(format!("Upgrade is {}, expected \"websocket\"", quoted(value)).into())
            }
            None => Err("Upgrade is missing, expected \"websocket\"".into()),
        }
    }

    fn verify_connection(&self) -> Result<(), Arc<str>> {
        if self.headers.has_token("Connection", "Upgrade") {
            return Ok(());
        }
        let values: Vec<&[u8]> = self.headers.get_all("Connection").collect();
        Err(match &values[..] {
            [] => "Connection is missing, expected \"Upgrade\"".into(),
            values => format!("Connection is {}, expected \"Upgrade\"", list(values)).into(),
        })
    }

    /// Verifies that the server chose one of the subprotocols that were offered, or none if none was offered. To choose
    /// none of those offered fails the connection, as it does in browsers and WebSocketApp.
    fn verify_subprotocol(&self, offered: &[String]) -> Result<(), Arc<str>> {
        let offers = || list(&offered.iter().map(String::as_bytes).collect::<Vec<_>>());
        let Some(chosen) = self.only("Sec-WebSocket-Protocol")? else {
            return match offered {
                [] => Ok(()),
                _ => Err(format!("the server chose no subprotocol, offered: {}", offers()).into()),
            };
        };
        let differs_in_case = |name: &String| name.as_bytes().eq_ignore_ascii_case(chosen);
        let answer = format!("the server chose the subprotocol {}", quoted(chosen));
        Err(match offered {
            [] => format!("{answer}, but none was offered").into(),
            _ if offered.iter().any(|name| name.as_bytes() == chosen) => return Ok(()),
            _ if offered.iter().any(differs_in_case) => {
                format!("{answer}, offered in another case: {}", offers()).into()
            }
            _ => format!("{answer}, offered: {}", offers()).into(),
        })
    }

    fn wrong_extensions(&self, compression: &Compression) -> Arc<str> {
        let answers: Vec<&[u8]> = self.headers.get_all("Sec-WebSocket-Extensions").collect();
        let answer = format!("the server answered {}", list(&answers));
        match compression.offer() {
            Some(offer) => format!("{answer} to the offer {}", quoted(offer.as_bytes())).into(),
            None => format!("{answer}, but no extension was offered").into(),
        }
    }

    /// Returns the value of a header that may occur once, if it is there.
    ///
    /// # Errors
    /// Says what came, if it occurs more often.
    fn only(&self, name: &'static str) -> Result<Option<&[u8]>, Arc<str>> {
        let mut values = self.headers.get_all(name);
        let first = values.next();
        if values.next().is_none() {
            return Ok(first);
        }
        let values: Vec<&[u8]> = self.headers.get_all(name).collect();
        Err(format!("{} lines of {name}: {}", values.len(), list(&values)).into())
    }

    /// Returns the value of `Sec-WebSocket-Accept`, empty if there is none.
    pub(super) fn accept(&self) -> &[u8] {
        self.headers.get_all("Sec-WebSocket-Accept").next().unwrap_or_default()
    }
}

/// Names a line without its value, which may be secret.
fn described(line: &[u8]) -> Arc<str> {
    match line {
        b"" => "the empty line".into(),
        line if line.starts_with(b"HTTP/") => "the status line".into(),
        line if line.contains(&b':') => format!("the line {}", quoted(first_word(line))).into(),
        _ => "a line without a colon".into(),
    }
}

/// Returns what is before the colon, or before the first blank or `=` of a line without one.
fn first_word(line: &[u8]) -> &[u8] {
    let end = line.iter().position(|&byte| byte == b':');
    let end = end.or_else(|| line.iter().position(|byte| b" \t=".contains(byte)));
    &line[..end.unwrap_or(line.len())]
}

/// Quotes the first values of a list.
fn list(values: &[&[u8]]) -> String {
    const MAX: usize = 4;
    let mut quotes: Vec<String> = values.iter().take(MAX).map(|value| quoted(value)).collect();
    quotes.extend((values.len() > MAX).then(|| "\u{2026}".to_owned()));
    quotes.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::reply::{MAX_HEAD, MAX_LINES};

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

    /// Returns the words for what is wrong with a reply to an upgrade that offered these subprotocols.
    fn wrong(reply: &str, offered: &[&str]) -> String {
        let offered: Vec<String> = offered.iter().map(|name| (*name).to_owned()).collect();
        let verified = head(reply).verify(&Compression::off(), &offered);
        verified.err().map(|err| err.to_string()).unwrap_or_default()
    }

    #[test]
    fn each_part_that_is_wrong_is_named_with_what_came_and_what_was_expected() {
        let line = "Sec-WebSocket-Accept: x\r\n";
        let upgrade = "Upgrade: WebSocket\r\n";
        let connection = "Connection: keep-alive, Upgrade\r\n";
        let with = |more: &str| GOOD.replace(line, &format!("{line}{more}\r\n"));
        for (reply, expected) in [
            (GOOD.to_owned(), ""),
            (GOOD.replace("HTTP/1.1", "HTTP/1.0"), "its version is HTTP/1.0, expected HTTP/1.1"),
            (GOOD.replace(upgrade, ""), r#"Upgrade is missing, expected "websocket""#),
            (GOOD.replace("WebSocket", "h2c"), r#"Upgrade is "h2c", expected "websocket""#),
            (with("upgrade: h2c"), r#"2 lines of Upgrade: "WebSocket", "h2c""#),
            (GOOD.replace(connection, ""), r#"Connection is missing, expected "Upgrade""#),
            (
                GOOD.replace(connection, "Connection: close\r\nConnection: a\x02\r\n"),
                r#"malformed header line "Connection""#,
            ),
            (
                GOOD.replace(connection, "Connection: close\r\nConnection: a\r\n"),
                r#"Connection is "close", "a", expected "Upgrade""#,
            ),
            (GOOD.replace(line, ""), "Sec-WebSocket-Accept is missing"),
            (with("Sec-WebSocket-Accept: y"), r#"2 lines of Sec-WebSocket-Accept: "x", "y""#),
            (
                with("Sec-WebSocket-Extensions: a; b"),
                r#"the server answered "a; b", but no extension was offered"#,
            ),
            (
                GOOD.replace("keep-alive, Upgrade\r\n", "Upgrade\n"),
                r#"the line "Connection" ends without CR"#,
            ),
            (with("\0"), "NUL or CR in a line without a colon"),
            (with("Set-Cookie: hunter2\0"), r#"NUL or CR in the line "Set-Cookie""#),
        ] {
            assert_eq!(wrong(&reply, &[]), expected, "{reply}");
        }
    }

    #[test]
    fn a_wrong_subprotocol_is_shown_beside_the_offers() {
        let line = "Sec-WebSocket-Accept: x\r\n";
        let with = |more: &str| GOOD.replace(line, &format!("{line}{more}\r\n"));
        let two = with("Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: a");
        let (good, a) = (GOOD.to_owned(), with("Sec-WebSocket-Protocol: a"));
        for (reply, offered, expected) in [
            (&a, &["b", "a"][..], ""),
            (&a, &[], r#"the server chose the subprotocol "a", but none was offered"#),
            (&a, &["b", "c"], r#"the server chose the subprotocol "a", offered: "b", "c""#),
            (&a, &["A"], r#"the server chose the subprotocol "a", offered in another case: "A""#),
            (&good, &["b"], r#"the server chose no subprotocol, offered: "b""#),
            (&two, &["a"], r#"2 lines of Sec-WebSocket-Protocol: "a", "a""#),
        ] {
            assert_eq!(wrong(reply, offered), expected, "{reply}");
        }
    }

    #[test]
    fn a_body_that_a_101_announces_does_not_come() {
        let line = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(wrong(&GOOD.replace("Connection:", &format!("{line}Connection:")), &[]), "");
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn compression_is_agreed_if_it_was_offered() {
        let line = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n";
        let reply = GOOD.replace("Connection:", &format!("{line}Connection:"));
        let agreed = head(&reply).verify(&Compression::default(), &[]).unwrap().unwrap();
        assert_eq!(agreed.server_max_window_bits(), 10);
        let wrong = reply.replace("=10", "=16");
        let err = head(&wrong).verify(&Compression::default(), &[]).unwrap_err().to_string();
        assert_eq!(
            err,
            "the server answered \"permessage-deflate; server_max_window_bits=16\" to the offer \
             \"permessage-deflate; client_no_context_takeover; client_max_window_bits\""
        );
    }

    #[test]
    fn what_is_not_http_is_refused_at_its_first_bytes() {
        let refused = |text: &str| take(&mut BytesMut::from(text)).unwrap_err().to_string();
        assert_eq!(refused("SSH-2.0\r\nx"), "it is not HTTP: it begins with \"SSH-2.0\"");
        for quoting in [
            "-ERR unknown command 'GET', with args: '/?token=hunter2' 'HTTP/1.1'\r\n",
            "500 what is GET /hunter2?\r\n",
            "HTTP/1.1 /hunter2\r\n",
            "HTTP/hunter\r\n",
        ] {
            let text = refused(quoting);
            assert!(text.starts_with("it is not HTTP: it begins with \""), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        let echo = refused("GET /?token=hunter2 HTTP/1.1\r\n");
        assert_eq!(echo, "it is not HTTP: our own request came back, so the peer echoes");
        assert!(refused("\x15\x03\x01").contains("wss"));
        let version = head("HTTP/2 101 x\r\n\r\n").verify(&Compression::off(), &[]);
        assert_eq!(version, Err(HandshakeError::Version("2".into())));
    }

    #[test]
    fn a_head_is_bounded_in_bytes_and_lines() {
        let long = format!("HTTP/1.1 101 x\r\nA: {}", "b".repeat(MAX_HEAD));
        let many = format!("HTTP/1.1 101 x\r\n{}\r\n", "A: b\r\n".repeat(MAX_LINES + 1));
        for reply in [long, many] {
            let refused = take(&mut BytesMut::from(reply.as_str())).unwrap_err();
            assert_eq!(refused, HandshakeError::HeadTooLong);
            let refusal = head(&reply.replace("101", "503"));
            assert!(refusal.status == 503 && refusal.is_cut);
        }
        let most = format!("HTTP/1.1 101 x\r\n{}\r\n", "A: b\r\n".repeat(MAX_LINES));
        assert_eq!(head(&most).headers.len(), MAX_LINES);
    }

    #[test]
    fn a_tunnel_may_be_of_http_1_0_and_end_its_lines_with_lf() {
        let verify = |text: &str| head(text).verify_tunnel();
        assert_eq!(verify("HTTP/1.0 200 x\nContent-Length : 1\nx\n\n"), Ok(()));
        let version = verify("HTTP/2 200 x\r\n\r\n");
        assert_eq!(version, Err(HandshakeError::Version("2".into())));
        assert!(matches!(verify("HTTP/1.1 200 \0\r\n\r\n"), Err(HandshakeError::NulOrCr(_))));
    }
}
