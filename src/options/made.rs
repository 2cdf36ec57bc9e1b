//! Header lines that the application makes for each attempt.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::error::{ConfigError, Error};
use crate::options::request::check_header;
use crate::options::{Plan, Secret};

/// The attempt that headers are made for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// Its number, as in `event::Error`: 1 is the first since the last stable life.
    pub number: u32,
    /// The last failure of this connection, if there was one. A Close frame is none.
    pub last_error: Option<Error>,
}

impl Attempt {
    pub(crate) fn new(number: u32, last_error: Option<Error>) -> Attempt {
        Attempt { number, last_error }
    }
}

type Lines = Vec<(String, Secret)>;

type LinesFuture = Pin<Box<dyn Future<Output = Result<Lines, String>>>>;

/// Makes the header lines of each attempt.
#[derive(Clone)]
pub(crate) struct HeaderMaker(Arc<dyn Fn(Attempt) -> LinesFuture + Send + Sync>);

impl HeaderMaker {
    pub(crate) fn new<F, Fut, H, N, V, E>(make: F) -> HeaderMaker
    where
        F: Fn(Attempt) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<H, E>> + 'static,
        H: IntoIterator<Item = (N, V)>,
        N: Into<String>,
        V: Into<String>,
        E: fmt::Display,
    {
        HeaderMaker(Arc::new(move |attempt| {
            let made = make(attempt);
            Box::pin(async move {
                let lines = made.await.map_err(|err| err.to_string())?;
                Ok(lines
                    .into_iter()
                    .map(|(name, value)| (name.into(), Secret::new(value)))
                    .collect())
            })
        }))
    }

    pub(crate) fn make(&self, attempt: Attempt) -> LinesFuture {
        (self.0)(attempt)
    }
}

impl fmt::Debug for HeaderMaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeaderMaker")
    }
}

impl Plan {
    /// The plan with these lines, in place of those of the same names.
    ///
    /// # Errors
    /// A line that cannot be.
    pub(crate) fn headed(&self, made: Lines) -> Result<Plan, ConfigError> {
        made.iter().try_for_each(|(name, value)| check_header(name, value.reveal()))?;
        let mut plan = self.clone();
        let replaced = |name: &str| made.iter().any(|(new, _)| new.eq_ignore_ascii_case(name));
        plan.options.headers.retain(|(name, _)| !replaced(name));
        plan.options.headers.extend(made);
        Ok(plan)
    }
}
