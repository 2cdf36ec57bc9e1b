//! What can be wrong with a broker or a stream.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use derive_more::{Display, Error};

/// Why publishing cannot begin.
#[derive(Clone, Debug, Display, Error)]
#[non_exhaustive]
pub enum Error {
    /// An option cannot be. Correct it.
    #[display("`{option}`: {why}")]
    #[non_exhaustive]
    Option {
        /// The name of the option, as that of the method of [`Options`](crate::nats::Options).
        option: &'static str,
        /// What came and what was expected.
        why: Arc<str>,
    },
    /// The broker refuses the connection: wrong credentials, or TLS that does not fit. Correct the credentials or the
    /// authorities.
    #[display("the broker refuses the connection: {why}")]
    #[non_exhaustive]
    Refused {
        /// What it said.
        why: Arc<str>,
    },
    /// The bucket of the shares cannot be used. Change the bucket, or name another.
    #[display("the bucket `{bucket}` {why}")]
    #[non_exhaustive]
    Bucket {
        /// Its name.
        bucket: Arc<str>,
        /// What is wrong with it, what was expected, and what mends it.
        why: Arc<str>,
    },
    /// The stream cannot take what is to be published. Change the stream, or name another.
    #[display("the stream `{stream}` {why}")]
    #[non_exhaustive]
    Stream {
        /// Its name.
        stream: Arc<str>,
        /// What is wrong with it, what was expected, and what mends it.
        why: Arc<str>,
    },
}

impl Error {
    pub(crate) fn option(option: &'static str, why: impl Into<Arc<str>>) -> Error {
        Error::Option { option, why: why.into() }
    }

    pub(crate) fn url(why: &str) -> Error {
        Error::option("url", why)
    }

    pub(crate) fn file(option: &'static str, path: &Path, err: &dyn fmt::Display) -> Error {
        Error::option(option, format!("{}: {err}", path.display()))
    }

    pub(crate) fn stream(stream: &str, why: String) -> Error {
        Error::Stream { stream: stream.into(), why: why.into() }
    }
}
