//! What the application makes for each dial: header lines, and the URL.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use crate::closure::Closure;
use crate::error::Error;
use crate::options::request::is_name;
use crate::options::secret::Secret;

/// The value of a header line: text, or an `Option` of it, whose `None` makes no line (as in
/// WebSocketApp).
pub trait HeaderText {
    /// Returns the text, if there is any.
    fn into_text(self) -> Option<String>;
}

macro_rules! header_text {
    ($($text:ty),*) => {$(
        impl HeaderText for $text {
            fn into_text(self) -> Option<String> {
                Some(self.into())
            }
        }
    )*};
}

header_text!(String, &String, &str, Box<str>, Cow<'_, str>);

impl<T: HeaderText> HeaderText for Option<T> {
    fn into_text(self) -> Option<String> {
        self.and_then(HeaderText::into_text)
    }
}

/// Makes header lines of a list or a map.
pub(crate) fn header_lines<N: Into<String>, V: HeaderText>(
    pairs: impl IntoIterator<Item = (N, V)>,
) -> Lines {
    let made = |(name, value): (N, V)| Some(header_line(name, value.into_text()?));
    pairs.into_iter().filter_map(made).collect()
}

/// Makes one header line. An invalid name is dropped, because it may be a value in the wrong place, and errors
/// show names: the line is then refused for its empty name.
pub(crate) fn header_line(name: impl Into<String>, value: impl Into<String>) -> (String, Secret) {
    let name = Some(name.into()).filter(|name| is_name(name));
    (name.unwrap_or_default(), Secret::new(value))
}

/// The attempt that header lines or a URL are made for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// The number of the attempt, as in `event::Error`: 1 is the first since the last stable socket.
    pub number: u32,
    /// The last failure of this connection, if there was one. A Close frame does not count as one.
    pub last_error: Option<Error>,
}

impl Attempt {
    pub(crate) fn new(number: u32, last_error: Option<Error>) -> Attempt {
        Attempt { number, last_error }
    }
}

/// Header lines, each a name and a value.
pub(crate) type Lines = Vec<(String, Secret)>;

type LinesFuture = Pin<Box<dyn Future<Output = Result<Lines, String>>>>;

/// The closure of `ConnectionBuilder::headers_with`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HeaderMaker(Closure<dyn Fn(Attempt) -> LinesFuture + Send + Sync>);

impl HeaderMaker {
    pub(crate) fn new<F, H, N, V, E>(make: F) -> HeaderMaker
    where
        F: AsyncFn(Attempt) -> Result<H, E> + Send + Sync + 'static,
        H: IntoIterator<Item = (N, V)>,
        N: Into<String>,
        V: HeaderText,
        E: fmt::Display,
    {
        let make = Arc::new(make);
        HeaderMaker(Closure::new(Arc::new(move |attempt| {
            let make = make.clone();
            Box::pin(async move {
                let pairs = make(attempt).await.map_err(|err| err.to_string())?;
                Ok(header_lines(pairs))
            })
        })))
    }

    /// Calls the closure. Its errors come as their text.
    pub(crate) fn make(&self, attempt: Attempt) -> LinesFuture {
        (self.0)(attempt)
    }
}

/// Where one dial leads.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    pub(crate) url: Secret,
    /// The local address to bind to, in place of the builder's.
    pub(crate) bind: Option<IpAddr>,
    /// The URL of a proxy, in place of the builder's.
    pub(crate) proxy: Option<Secret>,
}

impl Destination {
    /// Creates one that is reached as the builder's options say.
    pub(crate) fn new(url: impl Into<String>) -> Destination {
        Destination { url: Secret::new(url), bind: None, proxy: None }
    }
}

type UrlFuture = Pin<Box<dyn Future<Output = Result<Destination, String>>>>;

/// The closure of `ConnectionBuilder::url_with`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct UrlMaker(Closure<dyn Fn(Attempt) -> UrlFuture + Send + Sync>);

impl UrlMaker {
    pub(crate) fn new<F, E>(make: F) -> UrlMaker
    where
        F: AsyncFn(Attempt) -> Result<Destination, E> + Send + Sync + 'static,
        E: fmt::Display,
    {
        let make = Arc::new(make);
        UrlMaker(Closure::new(Arc::new(move |attempt| {
            let make = make.clone();
            Box::pin(async move { make(attempt).await.map_err(|err| err.to_string()) })
        })))
    }

    /// Calls the closure. Its errors come as their text.
    pub(crate) fn make(&self, attempt: Attempt) -> UrlFuture {
        (self.0)(attempt)
    }
}
