//! Why a dial opened no socket; and the body of a refusal, as far as it arrives.

use bytes::{Bytes, BytesMut};
use percent_encoding::{CONTROLS, percent_encode};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

use crate::dial::head::Head;
use crate::dial::link::Link;
use crate::error::{Error, RedirectError, Refusal};
use crate::headers::Headers;

/// The most of a body that is returned, in bytes.
const MAX_BODY: usize = 64 << 10;

/// Why an attempt opened no socket.
pub(crate) enum DialError {
    /// One of the stages failed.
    Failed(Error),
    /// The server answered with a status other than 101; its body is still to be read.
    Refused(Box<UnreadRefusal>),
    /// The proxy opened no tunnel; the body of its reply is still to be read.
    RefusedByProxy(Box<UnreadRefusal>),
}

impl From<Error> for DialError {
    fn from(err: Error) -> DialError {
        DialError::Failed(err)
    }
}

/// A refusal whose body was not read yet.
pub(crate) struct UnreadRefusal {
    pub(super) head: Head,
    /// Bytes that arrived behind the head.
    pub(super) inbox: BytesMut,
    /// The transport that the rest is read from.
    pub(super) link: Link,
    /// Whether the request had credentials for who refused it.
    pub(super) authorized: bool,
}

/// How the end of a body is found (RFC 9112, 6.3).
enum Framing {
    Length(usize),
    Chunked,
    /// At the end of the transport.
    Eof,
}

impl UnreadRefusal {
    pub(super) fn new(head: Head, inbox: BytesMut, link: Link) -> UnreadRefusal {
        UnreadRefusal { head, inbox, link, authorized: false }
    }

    pub(super) fn status(&self) -> u16 {
        self.head.status
    }

    /// Whether the status is a redirect (RFC 9110, 15.4). They all mean the same here, because the request is a GET.
    pub(super) fn is_redirect(&self) -> bool {
        matches!(self.head.status, 301 | 302 | 303 | 307 | 308)
    }

    pub(super) fn headers(&self) -> &Headers {
        &self.head.headers
    }

    /// Returns the value of `Location`. Bytes that are not UTF-8 are percent-encoded, as curl and browsers do.
    ///
    /// # Errors
    /// Two lines that differ, which browsers refuse too: one of them may have been injected.
    pub(super) fn location(&self) -> Result<Option<String>, RedirectError> {
        let mut values = self.head.headers.get_all("location");
        let Some(value) = values.next() else { return Ok(None) };
        if values.any(|other| other != value) {
            return Err(RedirectError::Location("two lines that differ".into()));
        }
        Ok(Some(match str::from_utf8(value) {
            Ok(text) => text.to_owned(),
            Err(_) => percent_encode(value, CONTROLS).to_string(),
        }))
    }

    /// Reads the body up to its end, to 64 KiB or until `until`. A failure ends the body; the status is returned in any
    /// case.
    pub(super) async fn read_body(mut self, until: Instant) -> Refusal {
        let framing = self.framing();
        let (status, authorized) = (self.head.status, self.authorized);
        let reason = std::mem::take(&mut self.head.reason);
        // Chunk headers come on top of the body; twice its bound is room for them.
        while !complete(&framing, &self.inbox) && self.inbox.len() < 2 * MAX_BODY {
            match timeout_at(until, self.link.read_buf(&mut self.inbox)).await {
                Ok(Ok(count)) if count > 0 => {}
                _ => break,
            }
        }
        let body = match framing {
            Framing::Length(length) => self.inbox.split_to(length.min(self.inbox.len())).freeze(),
            Framing::Chunked => unchunk(&self.inbox).0,
            Framing::Eof => self.inbox.freeze(),
        };
        let body = body.slice(..body.len().min(MAX_BODY));
        Refusal { status, reason, authorized, headers: self.head.headers, body }
    }

    fn framing(&self) -> Framing {
        let headers = &self.head.headers;
        let length = headers.get("content-length").and_then(|value| value.trim().parse().ok());
        match length {
            // RFC 9112, 6.3: these have no body, whatever the header lines say; then chunked goes before a length.
            _ if matches!(self.head.status, 100..=199 | 204 | 304) => Framing::Length(0),
            // What follows is the rest of the head.
            _ if self.head.is_cut => Framing::Length(0),
            _ if headers.has_token("transfer-encoding", "chunked") => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::Eof,
        }
    }
}

/// Whether `inbox` holds the whole body, or as much as is returned.
fn complete(framing: &Framing, inbox: &[u8]) -> bool {
    match framing {
        Framing::Length(length) => inbox.len() >= (*length).min(MAX_BODY),
        Framing::Chunked => unchunk(inbox).1,
        Framing::Eof => inbox.len() >= MAX_BODY,
    }
}

/// Decodes a chunked body (RFC 9112, 7.1). Returns what has arrived of it, and whether that is all that is needed.
fn unchunk(mut raw: &[u8]) -> (Bytes, bool) {
    let mut body = BytesMut::new();
    while body.len() < MAX_BODY {
        let (start, size) = match httparse::parse_chunk_size(raw) {
            Ok(httparse::Status::Complete((start, size))) => (start, size),
            Ok(httparse::Status::Partial) => return (body.freeze(), false),
            // Not chunked after all: what was decoded before is all there will be.
            Err(_) => return (body.freeze(), true),
        };
        if size == 0 {
            return (body.freeze(), true);
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let chunk = &raw[start..];
        let there = size.min(chunk.len());
        body.extend_from_slice(&chunk[..there]);
        // A chunk ends with CR LF.
        match size.checked_add(2) {
            Some(end) if end <= chunk.len() => raw = &chunk[end..],
            _ => return (body.freeze(), there >= MAX_BODY),
        }
    }
    (body.freeze(), true)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::dial::head;
    use crate::dial::link::BaseTransport;

    /// Reads the refusal that `reply` is. The connection ends behind it if `then_eof`, else it stays open.
    async fn read(reply: &str, then_eof: bool) -> Refusal {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let mut inbox = BytesMut::from(reply);
        let head = head::take(&mut inbox).unwrap().unwrap();
        let rest = inbox.split();
        theirs.write_all(&rest).await.unwrap();
        let open = (!then_eof).then_some(theirs);
        let link = Link::Plain(BaseTransport::Custom(Box::new(ours)));
        let refused = UnreadRefusal::new(head, inbox, link);
        let refusal = refused.read_body(Instant::now() + std::time::Duration::from_secs(2)).await;
        drop(open);
        refusal
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_ends_where_its_length_says() {
        let refusal = read("HTTP/1.1 503 x\r\nContent-Length: 4\r\n\r\nbusyrest", false).await;
        assert_eq!((refusal.status, refusal.body.as_ref()), (503, b"busy".as_ref()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_truncated_body_does_not_cost_the_status() {
        let refusal = read("HTTP/1.1 401 x\r\nContent-Length: 99\r\n\r\nlog", true).await;
        assert_eq!((refusal.status, refusal.body.as_ref()), (401, b"log".as_ref()));
        let silent = read("HTTP/1.1 401 x\r\nContent-Length: 99\r\n\r\nlog", false).await;
        assert_eq!((silent.status, silent.body.as_ref()), (401, b"log".as_ref()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_chunked_body_is_put_together() {
        let chunked = "HTTP/1.1 429 x\r\nTransfer-Encoding: chunked\r\n\r\n";
        let whole = format!("{chunked}5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n");
        assert_eq!(read(&whole, false).await.body.as_ref(), b"hello world");
        let broken = format!("{chunked}5\r\nhello\r\nzz");
        assert_eq!(read(&broken, true).await.body.as_ref(), b"hello");
    }

    /// A read may bring more than is kept.
    #[tokio::test(start_paused = true)]
    async fn a_body_that_came_with_the_head_is_cut_too() {
        let long = "a".repeat(100_000);
        for reply in [
            format!("HTTP/1.1 500 x\r\n\r\n{long}"),
            format!("HTTP/1.1 500 x\r\nContent-Length: 100000\r\n\r\n{long}"),
            format!(
                "HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}",
                long.len()
            ),
        ] {
            let mut inbox = BytesMut::from(reply.as_str());
            let head = head::take(&mut inbox).unwrap().unwrap();
            let (ours, _theirs) = tokio::io::duplex(64);
            let link = Link::Plain(BaseTransport::Custom(Box::new(ours)));
            let refused = UnreadRefusal::new(head, inbox, link);
            assert_eq!(refused.read_body(Instant::now()).await.body.len(), 65_536);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_bounded() {
        let long = format!("HTTP/1.1 500 x\r\n\r\n{}", "a".repeat(3 * MAX_BODY));
        assert_eq!(read(&long, false).await.body.len(), MAX_BODY);
        let declared = format!(
            "HTTP/1.1 500 x\r\nContent-Length: 9999999\r\n\r\n{}",
            "a".repeat(3 * MAX_BODY)
        );
        assert_eq!(read(&declared, false).await.body.len(), MAX_BODY);
    }
}
