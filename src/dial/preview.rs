//! The request as it would be sent, for looking at: written to memory, secrets left out.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::LocalSet;

use crate::dial::link::{Link, Plain};
use crate::dial::upgrade::{Rejected, upgrade};
use crate::error::{Error, HandshakeError};
use crate::options::Plan;

/// The head of the upgrade request, its end included. Nothing is dialled: the upgrade runs over a
/// transport that keeps what is written, and ends where the reply should begin.
///
/// # Errors
/// Why there can be no such request.
pub(crate) async fn request_head(plan: &Plan) -> Result<String, Error> {
    let written = Rc::new(RefCell::new(Vec::new()));
    let memory = Memory(written.clone());
    let upgrade = upgrade(plan, None, Link::Plain(Plain::Own(Box::new(memory))));
    // awc spawns, and whoever only looks need not be inside a `LocalSet`.
    let answer = LocalSet::new().run_until(upgrade).await;
    let head = written.take();
    match answer {
        _ if head.ends_with(b"\r\n\r\n") => {
            Ok(redacted(&String::from_utf8_lossy(&head), |name| is_secret(plan, name)))
        }
        Err(Rejected::Failed(err)) => Err(err),
        _ => Err(Error::Handshake(HandshakeError::NotHttp)),
    }
}

/// Header lines that hold nothing of the application's, or nothing that is secret.
const OPEN: [&str; 10] = [
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
];

/// Whether the value of a header line is shown to nobody: that of any line that is not known to be
/// harmless, and whatever the application put into a line of its own.
fn is_secret(plan: &Plan, name: &str) -> bool {
    let is = |other: &str| other.eq_ignore_ascii_case(name);
    !OPEN.into_iter().any(is) || plan.options.headers.iter().any(|(own, _)| is(own))
}

/// The head with `***` for the value of each line whose name is a secret's.
fn redacted(head: &str, is_secret: impl Fn(&str) -> bool) -> String {
    let redact = |line: &str| match line.split_once(": ") {
        Some((name, _)) if is_secret(name) => format!("{name}: ***"),
        _ => line.to_owned(),
    };
    let mut lines = head.split("\r\n");
    // The request line; its path may well have a colon in it.
    let request = lines.next().unwrap_or_default().to_owned();
    [request].into_iter().chain(lines.map(redact)).collect::<Vec<_>>().join("\r\n")
}

/// A transport that keeps what is written and has nothing to be read.
struct Memory(Rc<RefCell<Vec<u8>>>);

impl AsyncRead for Memory {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Memory {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use crate::backoff::Reconnect;
    use crate::options::Options;

    use super::*;

    #[tokio::test]
    async fn a_request_is_made_wherever_there_is_a_runtime() {
        let options = Options::new(Reconnect::default());
        let head = request_head(&Plan::new("ws://h/", options).unwrap()).await.unwrap();
        assert!(head.starts_with("GET / HTTP/1.1\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    }

    #[test]
    fn a_secret_is_redacted_and_nothing_else() {
        let head = "GET /a: b HTTP/1.1\r\nHost: h:1\r\nCookie: a: b\r\nX:\r\nY: é\r\n\r\n";
        assert_eq!(
            redacted(head, |name| ["GET /a", "Cookie", "Y"].contains(&name)),
            "GET /a: b HTTP/1.1\r\nHost: h:1\r\nCookie: ***\r\nX:\r\nY: ***\r\n\r\n"
        );
    }
}
