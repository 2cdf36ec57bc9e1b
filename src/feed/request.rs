//! A request to the venue.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

use crate::proto::message::Payload;

/// A message to the venue, which is sent on the session that it was made for, or not at all.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    pub(crate) payload: Payload,
    /// Whether the contents are kept out of all records.
    pub(crate) secret: bool,
}

impl Request {
    /// Creates a text message.
    pub fn text(text: impl Into<ByteString>) -> Request {
        Request { payload: Payload::Text(text.into()), secret: false }
    }

    /// Creates a binary message.
    pub fn binary(bytes: impl Into<Bytes>) -> Request {
        Request { payload: Payload::Binary(bytes.into()), secret: false }
    }

    /// Keeps the contents out of all records: a login, for example.
    pub fn secret(mut self) -> Request {
        self.secret = true;
        self
    }

    /// Returns the length of the payload in bytes.
    pub(crate) fn len(&self) -> usize {
        self.payload.len()
    }
}

impl fmt::Debug for Request {
    /// Shows the length alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} bytes)", self.len())
    }
}
