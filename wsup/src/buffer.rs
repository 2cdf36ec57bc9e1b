//! The send buffer, and the bytes that a message takes of it.

use actix_ws_client::proto::codec::Codec;
use actix_ws_client::proto::frame::Role;
use actix_ws_client::{Payload, command};

/// The size of the send buffer, and of the fragments of messages.
#[derive(Clone, Copy)]
pub(crate) struct Buffer {
    /// The size of the send buffer, in bytes.
    pub(crate) bytes: usize,
    /// The largest payload of one frame in bytes, if messages are sent in fragments.
    pub(crate) fragment: Option<usize>,
}

impl Buffer {
    /// Returns the bytes that a message of this length takes at most.
    pub(crate) fn cost(self, length: usize) -> usize {
        let frame = |length| Codec::encoded_len(Role::Client, length);
        match self.fragment {
            Some(size) if length > size => (length / size) * frame(size) + frame(length % size),
            _ => frame(length),
        }
    }

    /// Returns whether an empty send buffer has room for a message of this length.
    pub(crate) fn fits(self, length: usize) -> bool {
        self.cost(length) <= self.bytes
    }

    /// Creates the command that sends a message.
    pub(crate) fn send(self, payload: Payload) -> command::Send {
        match self.fragment {
            Some(size) => command::Send::fragments(payload, size),
            None => payload.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_costs_its_header() {
        let cost = |fragment, length| Buffer { bytes: 0, fragment }.cost(length);
        assert_eq!(cost(None, 100), 106);
        assert_eq!(cost(Some(100), 100), 106);
        assert!(cost(Some(40), 100) >= 100 + 3 * 6);
        assert!(cost(Some(1), 100) >= 700);
    }
}
