//! A transport that remembers the first bytes that were read, for an error that says what they were.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::dial::link::BaseTransport;

/// The first bytes that were read from a transport, at most [`MAX_LEN`].
#[derive(Clone, Default)]
pub(super) struct Record(Rc<RefCell<Vec<u8>>>);

/// Enough for the answers of SOCKS5 up to the code of its reply.
const MAX_LEN: usize = 8;

impl Record {
    /// Returns a byte, if as many were read.
    pub(super) fn get(&self, at: usize) -> Option<u8> {
        self.0.borrow().get(at).copied()
    }

    fn add(&self, read: &[u8]) {
        let mut kept = self.0.borrow_mut();
        let room = MAX_LEN - kept.len();
        kept.extend_from_slice(&read[..read.len().min(room)]);
    }
}

/// A transport whose first bytes are recorded.
pub(super) struct Recorded {
    plain: BaseTransport,
    record: Record,
}

impl Recorded {
    pub(super) fn new(plain: BaseTransport, record: Record) -> Recorded {
        Recorded { plain, record }
    }

    /// Returns the transport, which is not recorded any further.
    pub(super) fn into_inner(self) -> BaseTransport {
        self.plain
    }
}

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.plain).poll_read(cx, buf);
        self.record.add(&buf.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.plain).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.plain).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.plain.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.plain).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.plain).poll_shutdown(cx)
    }
}
