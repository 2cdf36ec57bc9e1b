//! The request as it would be sent, for looking at: written to memory, secrets left out.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::dial::link::{BaseTransport, Link};
use crate::dial::redact::Redaction;
use crate::dial::refusal::DialError;
use crate::dial::upgrade::upgrade;
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
    let answer = upgrade(plan, None, Link::Plain(BaseTransport::Custom(Box::new(memory)))).await;
    let head = written.take();
    match answer {
        _ if head.ends_with(b"\r\n\r\n") => Ok(Redaction::new(&plan.options).request(&head)),
        Err(DialError::Failed(err)) => Err(err),
        _ => Err(Error::Handshake(HandshakeError::NotHttp)),
    }
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
}
