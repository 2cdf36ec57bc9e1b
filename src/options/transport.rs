//! Transports of the application's own.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::closure::Closure;
use crate::error::Error;

/// A transport of the application's own.
pub(crate) type BoxedTransport = Box<dyn Transport>;

/// Anything that a connection can be spoken over.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Transport for T {}

type TransportFuture = Pin<Box<dyn Future<Output = io::Result<BoxedTransport>>>>;

/// Makes the transport of each attempt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TransportFactory {
    make: Closure<dyn Fn(String, u16) -> TransportFuture + Send + Sync>,
    /// Whether it makes one alone.
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
            Box::pin(async move { Ok(Box::new(made.await?) as BoxedTransport) }) as TransportFuture
        };
        TransportFactory { make: Closure::new(Arc::new(boxed)), once: false }
    }

    /// One transport, for the first attempt and for no other.
    pub(crate) fn once<T>(transport: T) -> TransportFactory
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let kept = Mutex::new(Some(transport));
        let factory = TransportFactory::new(move |_, _| {
            let taken = kept.lock().unwrap_or_else(PoisonError::into_inner).take();
            // Inside, so that it is told as what it is: another try would fail too.
            let used = || io::Error::other(Error::Handler("the transport was used already".into()));
            std::future::ready(taken.ok_or_else(used))
        });
        TransportFactory { once: true, ..factory }
    }

    pub(crate) fn make(&self, host: &str, port: u16) -> TransportFuture {
        (self.make)(host.to_owned(), port)
    }

    /// Whether there is none for a second target.
    pub(crate) fn is_once(&self) -> bool {
        self.once
    }
}
