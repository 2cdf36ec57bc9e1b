//! The transport that carries frames: TCP or the application's own, with or without TLS.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::closure;
use crate::options::BoxedTransport;
use crate::tls::TlsStream;

/// The transport below TLS.
pub(crate) enum BaseTransport {
    Tcp(TcpStream),
    Custom(BoxedTransport),
}

/// The transport that carries frames.
pub(crate) enum Link {
    Plain(BaseTransport),
    Tls(Box<TlsStream<BaseTransport>>),
}

/// Polls the application's transport. A panic in it becomes an error of this transport, and harms no other connection of
/// the thread.
fn catch_panic<T>(poll: impl FnOnce() -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
    // An error ends the socket, so that the transport is not polled again.
    let panicked = || Poll::Ready(Err(io::Error::other("the application's transport panicked")));
    match closure::contain(poll).unwrap_or_else(panicked) {
        Poll::Ready(Err(err)) => Poll::Ready(Err(closure::checked(err))),
        other => other,
    }
}

impl AsyncRead for BaseTransport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            BaseTransport::Tcp(io) => Pin::new(io).poll_read(cx, buf),
            BaseTransport::Custom(io) => catch_panic(|| Pin::new(io).poll_read(cx, buf)),
        }
    }
}

impl AsyncWrite for BaseTransport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            BaseTransport::Tcp(io) => Pin::new(io).poll_write(cx, buf),
            BaseTransport::Custom(io) => catch_panic(|| Pin::new(io).poll_write(cx, buf)),
        }
    }

    // Under TLS: rustls passes all pending records in one call.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            BaseTransport::Tcp(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            BaseTransport::Custom(io) => catch_panic(|| Pin::new(io).poll_write_vectored(cx, bufs)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            BaseTransport::Tcp(io) => io.is_write_vectored(),
            BaseTransport::Custom(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            BaseTransport::Tcp(io) => Pin::new(io).poll_flush(cx),
            BaseTransport::Custom(io) => catch_panic(|| Pin::new(io).poll_flush(cx)),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            BaseTransport::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            BaseTransport::Custom(io) => catch_panic(|| Pin::new(io).poll_shutdown(cx)),
        }
    }
}

impl Link {
    /// Returns the transport below TLS, to read what follows the end of our side. rustls takes a record that cannot be
    /// decrypted after its own close_notify for a fault in its caller, and panics in a debug build.
    pub(crate) fn below_tls(&mut self) -> &mut BaseTransport {
        match self {
            Link::Plain(io) => io,
            Link::Tls(io) => io.get_mut().0.below(),
        }
    }
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Link::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Link::Tls(io) => Pin::new(io.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Link::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Link::Tls(io) => Pin::new(io.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Link::Plain(io) => Pin::new(io).poll_flush(cx),
            Link::Tls(io) => Pin::new(io.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Link::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Link::Tls(io) => Pin::new(io.as_mut()).poll_shutdown(cx),
        }
    }
}
