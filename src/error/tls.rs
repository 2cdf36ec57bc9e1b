//! Failures of TLS, and whether they will occur again.

use std::io;
use std::sync::Arc;

use derive_more::{Display, Error as DeriveError};

use crate::error::verdict::Verdict;

/// Why the TLS handshake failed. The text says what is wrong with which certificate, whose it is, and which
/// option of [`Tls`](crate::tls::Tls) mends it.
#[derive(Clone, Debug, Display, DeriveError)]
#[display("{text}")]
pub struct TlsError {
    text: Arc<str>,
    /// Not a source: the text says all of it.
    #[error(not(source))]
    err: Arc<io::Error>,
    certainty: Certainty,
}

/// Whether a failure of TLS will occur again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certainty {
    /// Another attempt may succeed.
    Passing,
    /// It came in the clear, so that a change on the way may have caused it. It is final if the next dial fails in such a
    /// way too.
    Unconfirmed,
    /// Another attempt would fail in the same way.
    Final,
}

impl TlsError {
    pub(crate) fn new(text: impl Into<Arc<str>>, err: io::Error, certainty: Certainty) -> TlsError {
        TlsError { text: text.into(), err: Arc::new(err), certainty }
    }

    /// Replaces the text.
    pub(crate) fn with_text(self, text: impl Into<Arc<str>>) -> TlsError {
        TlsError { text: text.into(), ..self }
    }

    /// Returns the transport's error, or one that wraps a `rustls::Error`, for programs. Its own text is
    /// rustls's, with the values of its types.
    pub fn io_error(&self) -> &io::Error {
        &self.err
    }

    /// Whether another attempt may succeed: the handshake was interrupted, what came was not TLS or was
    /// changed on the way, or the server had an internal error.
    ///
    /// What the server says in the clear, its certificate in TLS 1.2 for instance, may have been changed on
    /// the way. So a fault of it is final only if the dial before failed in such a way too.
    pub fn is_broken_off(&self) -> bool {
        self.certainty != Certainty::Final
    }

    pub(crate) fn verdict(&self) -> Verdict {
        if self.is_broken_off() { Verdict::RETRY } else { Verdict::Stop }
    }

    /// Whether it is final only if the next dial fails in such a way too.
    pub(super) fn is_unconfirmed(&self) -> bool {
        self.certainty == Certainty::Unconfirmed
    }

    /// Makes an unconfirmed failure final.
    pub(crate) fn confirm(&mut self) {
        self.certainty = Certainty::Final;
    }
}
