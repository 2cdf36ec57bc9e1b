//! Transports that the application provides.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::closure::{self, Closure};
use crate::error::Error;

/// A transport that the application provides.
pub(crate) type BoxedTransport = Box<dyn Transport>;

/// A byte stream that a connection can use.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Transport for T {}

type TransportFuture = Pin<Box<dyn Future<Output = io::Result<BoxedTransport>>>>;

/// The closure of `ConnectionBuilder::transport_with`, or the one transport of `ConnectionBuilder::transport`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TransportFactory {
    /// Receives host and port.
    make: Closure<dyn Fn(String, u16) -> TransportFuture + Send + Sync>,
    /// Whether it has only one transport.
    once: bool,
}

impl TransportFactory {
    pub(crate) fn new<F, Fut, T>(make: F) -> TransportFactory
    where
        F: Fn(String, u16) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<T>> + 'static,
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let boxed = move |host, port| {
            let made = make(host, port);
            Box::pin(async move {
                let transport = made.await.map_err(closure::checked)?;
                Ok(Box::new(transport) as BoxedTransport)
            }) as TransportFuture
        };
        TransportFactory { make: Closure::new(Arc::new(boxed)), once: false }
    }

    /// Creates a factory of one transport, for the first attempt. A second attempt fails.
    pub(crate) fn once<T>(transport: T) -> TransportFactory
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let kept = Mutex::new(Some(transport));
        let factory = TransportFactory::new(move |_, _| {
            let taken = kept.lock().unwrap_or_else(PoisonError::into_inner).take();
            // `Handler` inside, so that it is not reported as `Io` and retried: each further attempt would fail too.
            let used = || io::Error::other(Error::Handler("the transport was used already".into()));
            std::future::ready(taken.ok_or_else(used))
        });
        TransportFactory { once: true, ..factory }
    }

    /// Makes the transport of an attempt.
    pub(crate) fn make(&self, host: &str, port: u16) -> TransportFuture {
        (self.make)(host.to_owned(), port)
    }

    /// Returns whether there is only one transport, and so none for the target of a redirect.
    pub(crate) fn is_once(&self) -> bool {
        self.once
    }
}
