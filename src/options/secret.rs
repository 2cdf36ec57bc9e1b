//! A string that may be a credential.

use std::fmt;

/// A string that `Debug` shows as `***`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(words: impl Into<String>) -> Secret {
        Secret(words.into())
    }

    /// Returns the string itself. Not for logs or errors.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
