//! A transport that is read to its end although a write to it has failed.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tls::records::Records;

/// Defers a failure to write until there is nothing more to read, during the handshake. A server that
/// refuses the handshake sends an alert that says why and ends the connection, perhaps while we are
/// still writing. rustls would end the handshake at the failed write, and not read the alert.
pub(crate) struct DeferWriteErrors<S> {
    io: S,
    /// The failure that was not returned yet.
    failed: Option<io::Error>,
    /// Whether the handshake is over, so that failures are returned at once.
    over: bool,
    /// What has arrived in the handshake.
    pub(super) records: Records,
    /// Whether the peer requested a client certificate and there was none to send. It has its place here because the
    /// transport stays with the session.
    pub(super) client_certificate_wanted: bool,
}

impl<S> DeferWriteErrors<S> {
    pub(super) fn new(io: S) -> DeferWriteErrors<S> {
        DeferWriteErrors {
            io,
            failed: None,
            over: false,
            records: Records::default(),
            client_certificate_wanted: false,
        }
    }

    /// Returns the transport itself.
    pub(crate) fn below(&mut self) -> &mut S {
        &mut self.io
    }

    /// Ends the deferral. The next write returns a failure that was not returned yet.
    pub(super) fn handshake_over(&mut self) {
        self.over = true;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for DeferWriteErrors<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        if !self.over {
            self.records.add(&buf.filled()[before..]);
        }
        let ended = read.is_err() || buf.filled().len() == before;
        match self.failed.take_if(|_| ended) {
            Some(err) => Poll::Ready(Err(err)),
            None => Poll::Ready(read),
        }
    }
}

impl<S: AsyncWrite + Unpin> DeferWriteErrors<S> {
    /// Writes by `write`; `len` is the number of bytes offered to it.
    fn write_with(
        &mut self,
        len: usize,
        write: impl FnOnce(Pin<&mut S>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if self.over
            && let Some(err) = self.failed.take()
        {
            return Poll::Ready(Err(err));
        }
        if self.failed.is_some() {
            // Discarded: the peer does not receive anything any more.
            return Poll::Ready(Ok(len));
        }
        match ready!(write(Pin::new(&mut self.io))) {
            Err(err) if !self.over => {
                self.failed = Some(err);
                Poll::Ready(Ok(len))
            }
            written => Poll::Ready(written),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for DeferWriteErrors<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write_with(buf.len(), |io| io.poll_write(cx, buf))
    }

    // rustls passes all pending records in one call. The default would write the first alone: one
    // system call for each record, and the alert of a refused certificate, the last one that rustls
    // writes, would stay behind the change_cipher_spec (RFC 8446, D.4).
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = bufs.iter().map(|buf| buf.len()).sum();
        self.write_with(len, |io| io.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.failed {
            Some(_) => Poll::Ready(Ok(())),
            None => Pin::new(&mut self.io).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
