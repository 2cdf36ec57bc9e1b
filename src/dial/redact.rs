//! Heads of requests and replies for a log or a terminal: `***` replaces each value that may be secret.

use std::fmt::Write;

use crate::headers::Headers;
use crate::options::Options;

/// The header lines whose values are shown. All others are redacted: a list of secret names would never be complete.
const SHOWN: [&str; 15] = [
    "date",
    "host",
    "origin",
    "user-agent",
    "connection",
    "upgrade",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "sec-websocket-accept",
    "server",
    "content-length",
    "content-type",
    "retry-after",
];

/// The most bytes of a peer's text that are quoted in an error.
const MAX_QUOTED: usize = 128;

/// Quotes the text of a peer for an error: bounded, with escapes for all that is not printable ASCII.
pub(super) fn quoted(text: &[u8]) -> String {
    let shown = &text[..text.len().min(MAX_QUOTED)];
    let dots = if shown.len() < text.len() { "\u{2026}" } else { "" };
    format!("\"{}{dots}\"", shown.escape_ascii())
}

/// What is secret in the heads of one connection.
pub(super) struct Redaction {
    /// The names of the lines that the application added. Their values are redacted, whatever the name.
    by_application: Vec<String>,
}

impl Redaction {
    pub(super) fn new(options: &Options) -> Redaction {
        Redaction { by_application: options.headers.iter().map(|(name, _)| name.clone()).collect() }
    }

    fn is_secret(&self, name: &str) -> bool {
        let is = |other: &str| other.eq_ignore_ascii_case(name);
        !SHOWN.into_iter().any(is) || self.by_application.iter().any(|name| is(name))
    }

    /// Redacts the head of a request. The request line is shown as it is.
    pub(super) fn request(&self, head: &[u8]) -> String {
        let head = String::from_utf8_lossy(head);
        let redact = |line: &str| match line.split_once(": ") {
            Some((name, _)) if self.is_secret(name) => format!("{name}: ***"),
            _ => line.to_owned(),
        };
        let mut lines = head.split("\r\n");
        // The request line is no header line, even if its path has ": " in it.
        let request = lines.next().unwrap_or_default().to_owned();
        [request].into_iter().chain(lines.map(redact)).collect::<Vec<_>>().join("\r\n")
    }

    /// Redacts the head of a reply.
    pub(super) fn reply(&self, status: u16, headers: &Headers) -> String {
        let mut head = status.to_string();
        for (name, value) in headers.iter() {
            let value = if self.is_secret(name) { b"***" } else { value };
            // Writing to a `String` does not fail.
            let _ = write!(head, "\r\n{name}: {}", value.escape_ascii());
        }
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quotation_is_bounded_and_harmless() {
        assert_eq!(quoted(b"a\x1b[31m\"\xff"), r#""a\x1b[31m\"\xff""#);
        assert_eq!(quoted(&[b'a'; 128]).len(), 130);
        assert_eq!(quoted(&[b'a'; 129]), format!("\"{}\u{2026}\"", "a".repeat(128)));
    }

    #[test]
    fn a_secret_is_redacted_and_nothing_else() {
        let redaction = Redaction { by_application: vec!["X-Token".into(), "origin".into()] };
        let head = "GET /a: b HTTP/1.1\r\nHost: h:1\r\nCookie: a: b\r\nx-token: c\r\n\
            Origin: d\r\nX-Other: e\r\n\r\n";
        assert_eq!(
            redaction.request(head.as_bytes()),
            "GET /a: b HTTP/1.1\r\nHost: h:1\r\nCookie: ***\r\nx-token: ***\r\n\
             Origin: ***\r\nX-Other: ***\r\n\r\n"
        );
    }
}
