//! A transport that can still be read when it can no longer be written to.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Keeps a failure to write until there is nothing more to read. A server that turns us down says
/// why in an alert and hangs up, perhaps while we are still writing to it; rustls would end the
/// handshake over the write, and never see the alert that is there to be read.
pub(crate) struct DeferWriteErrors<S> {
    io: S,
    failed: Option<io::Error>,
    /// Whether the handshake is over, and failures are told at once.
    over: bool,
}

impl<S> DeferWriteErrors<S> {
    pub(super) fn new(io: S) -> DeferWriteErrors<S> {
        DeferWriteErrors { io, failed: None, over: false }
    }

    /// Ends the handshake. A failure that nobody was told of is that of the next write.
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
        let ended = read.is_err() || buf.filled().len() == before;
        match self.failed.take_if(|_| ended) {
            Some(err) => Poll::Ready(Err(err)),
            None => Poll::Ready(read),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for DeferWriteErrors<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.over
            && let Some(err) = self.failed.take()
        {
            return Poll::Ready(Err(err));
        }
        if self.failed.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        match ready!(Pin::new(&mut self.io).poll_write(cx, buf)) {
            Err(err) if !self.over => {
                self.failed = Some(err);
                Poll::Ready(Ok(buf.len()))
            }
            written => Poll::Ready(written),
        }
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
