//! A transport in memory: a server that accepts, sends what it was made with, and reads all.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// See above. It fills every read as far as there is room, as a loaded socket does, or
/// one piece at a time.
pub(crate) struct Feed {
    /// The request, as far as it came; `None` once it was answered.
    request: Option<Vec<u8>>,
    /// What it sends once it has accepted.
    wire: Vec<Bytes>,
    /// What may be read. No read goes from one into the next.
    readable: VecDeque<Bytes>,
    /// How many bytes of frames are still to be written, and whom to tell then.
    expected: Option<(usize, oneshot::Sender<()>)>,
    reader: Option<Waker>,
}

impl Feed {
    /// Sends `wire`.
    pub(crate) fn new(wire: Bytes) -> Feed {
        Feed::in_pieces(vec![wire])
    }

    /// Sends pieces, each of which is a read.
    pub(crate) fn in_pieces(wire: Vec<Bytes>) -> Feed {
        let (request, readable) = (Some(Vec::new()), VecDeque::new());
        Feed { request, wire, readable, expected: None, reader: None }
    }

    /// Sends pieces at once, without a request.
    pub(crate) fn bare(wire: Vec<Bytes>) -> Feed {
        let readable = VecDeque::from(wire);
        Feed { request: None, wire: Vec::new(), readable, expected: None, reader: None }
    }

    /// Sends nothing, and tells when so many bytes of frames were written.
    pub(crate) fn sink(bytes: usize) -> (Feed, oneshot::Receiver<()>) {
        let (tell, told) = oneshot::channel();
        (Feed { expected: Some((bytes, tell)), ..Feed::new(Bytes::new()) }, told)
    }

    /// Answers the request when all of it is there.
    fn answer(&mut self) {
        let Some(request) = self.request.take_if(|request| request.ends_with(b"\r\n\r\n")) else {
            return;
        };
        let head = String::from_utf8(request).expect("the request is text");
        let key = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("sec-websocket-key").then_some(value.trim())
        });
        let accept = derive_accept_key(key.expect("the request has a key").as_bytes());
        let reply = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        self.readable.push_back(Bytes::from(reply));
        self.readable.extend(std::mem::take(&mut self.wire));
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl AsyncRead for Feed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.readable.front().is_some_and(Bytes::is_empty) {
            self.readable.pop_front();
        }
        let Some(front) = self.readable.front_mut() else {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let count = front.len().min(buf.remaining());
        buf.put_slice(&front[..count]);
        front.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Feed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(request) = &mut self.request {
            request.extend_from_slice(bytes);
            self.answer();
        } else if let Some((expected, _)) = &mut self.expected {
            *expected = expected.saturating_sub(bytes.len());
            if *expected == 0
                && let Some((_, tell)) = self.expected.take()
            {
                let _ = tell.send(());
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
