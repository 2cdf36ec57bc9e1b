//! The ways in which a peer can break the protocol, and the close code of each.

use derive_more::{Display, Error};

use crate::proto::close::{CloseCode, InvalidClose};

/// A breach of RFC 6455 by the peer, or of one of our limits.
///
/// After such an error nothing more can be read from the peer: send the Close frame that
/// [`Session::fail`](crate::proto::session::Session::fail) returns, then drop the socket (RFC 6455,
/// 7.1.7). The text of the error becomes the reason in that frame.
#[derive(Clone, Debug, PartialEq, Eq, Display, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A reserved bit was set, but no negotiated extension defines it (RFC 6455, 5.2). The peer may
    /// be compressing without having negotiated it.
    #[display("frame with a reserved bit set, which no negotiated extension defines")]
    ReservedBit,

    /// RSV1 was set on a continuation. With permessage-deflate it marks a compressed message, on the
    /// message's first frame alone (RFC 7692, 6.1). The peer sets it on each fragment, and is at
    /// fault.
    #[display("continuation frame with RSV1 set, which only the first frame of a message may have")]
    CompressedContinuation,

    /// RSV1 was set on a Close, Ping or Pong, which permessage-deflate never compresses (RFC 7692,
    /// 6.1). The peer is at fault.
    #[display("control frame with RSV1 set, which must not be compressed")]
    CompressedControl,

    /// The opcode is one of 3 to 7 or 11 to 15 (RFC 6455, 5.2). The peer may speak a newer
    /// protocol, or the bytes may not be WebSocket frames at all.
    #[display("frame with the reserved opcode {opcode}")]
    ReservedOpcode {
        /// The opcode as sent.
        opcode: u8,
    },

    /// A Close, Ping or Pong was fragmented (RFC 6455, 5.5). The peer is at fault.
    #[display("control frame in fragments, which must be whole")]
    FragmentedControl,

    /// A Close, Ping or Pong declared more than 125 bytes (RFC 6455, 5.5). The peer is at fault.
    #[display("control frame of more than 125 bytes")]
    ControlTooLong,

    /// A server masked its frame (RFC 6455, 5.1). The peer may be a client.
    #[display("masked frame from a server, which must not mask")]
    MaskedByServer,

    /// A client did not mask its frame (RFC 6455, 5.1). The peer may be a server.
    #[display("unmasked frame from a client, which must mask")]
    UnmaskedByClient,

    /// A length was not written in its shortest form (RFC 6455, 5.2). The peer is at fault.
    #[display("frame length not in its shortest form")]
    LengthNotMinimal,

    /// The top bit of a 64-bit length was set (RFC 6455, 5.2). The peer is at fault, or the bytes are
    /// no WebSocket frames.
    #[display("frame length of 2^63 bytes or more")]
    LengthOverflow,

    /// A continuation arrived without a message in progress (RFC 6455, 5.4). The peer is at fault.
    #[display("continuation frame without a message in progress")]
    UnexpectedContinuation,

    /// A new text or binary frame arrived before the last fragment of the message in progress (RFC
    /// 6455, 5.4). The peer is at fault; often two of its tasks write without a lock.
    #[display("new message before the end of the one in progress")]
    UnfinishedMessage,

    /// A Close had a payload of one byte, too short for a code (RFC 6455, 5.5.1). The peer is at
    /// fault.
    #[display("close frame with 1 byte of payload, too short for a code")]
    CloseTooShort,

    /// A Close carried a code that must not be on the wire (RFC 6455, 7.4). The peer is at fault.
    #[display("close frame with code {code}, which must not be sent")]
    InvalidCloseCode {
        /// The code as sent.
        code: CloseCode,
    },

    /// A text message or the reason of a Close is not UTF-8 (RFC 6455, 8.1). The peer should have
    /// sent the data as binary.
    #[display("text is not valid UTF-8")]
    InvalidUtf8,

    /// A frame declared more bytes than the limit. Raise
    /// [`Limits::frame`](crate::proto::codec::Limits::frame) if the peer may use that much memory.
    #[display("frame of {len} bytes, over the limit of {limit} (Limits::frame)")]
    FrameTooLarge {
        /// The declared length in bytes.
        len: u64,
        /// The limit in bytes.
        limit: usize,
    },

    /// A message would have more bytes than the limit. Raise
    /// [`Limits::message`](crate::proto::codec::Limits::message) if the peer may use that much
    /// memory.
    #[display("message over the limit of {limit} bytes (Limits::message)")]
    MessageTooLarge {
        /// The limit in bytes.
        limit: usize,
    },

    /// A message has more fragments than the limit. Raise
    /// [`Limits::fragments`](crate::proto::codec::Limits::fragments) if the peer has to send that
    /// many.
    #[display("message over the limit of {limit} fragments (Limits::fragments)")]
    TooManyFragments {
        /// The limit in frames.
        limit: usize,
    },

    /// The payload of a compressed message is not valid DEFLATE data, or ends inside it (RFC 7692,
    /// 7.2.2). The peer is at fault; often its window or its context is not what was negotiated.
    #[display("compressed message is not valid DEFLATE data")]
    InvalidDeflate,

    /// Bytes arrived after the peer's Close frame (RFC 6455, 1.4: they are discarded). No message
    /// was lost; finish the closing handshake and drop the socket.
    #[display("data after the close frame, where nothing may follow")]
    DataAfterClose,
}

impl ProtocolError {
    /// Returns the close code that reports this breach to the peer: 1002, 1007 or 1009 (RFC 6455,
    /// 7.4.1).
    #[must_use]
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::InvalidUtf8 => CloseCode::INVALID_PAYLOAD,
            Self::FrameTooLarge { .. }
            | Self::MessageTooLarge { .. }
            | Self::TooManyFragments { .. } => CloseCode::MESSAGE_TOO_BIG,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

impl From<InvalidClose> for ProtocolError {
    fn from(err: InvalidClose) -> Self {
        match err {
            InvalidClose::Code { code } => Self::InvalidCloseCode { code },
            InvalidClose::ReasonTooLong { .. } => Self::ControlTooLong,
            InvalidClose::TooShort => Self::CloseTooShort,
            InvalidClose::NotUtf8 => Self::InvalidUtf8,
        }
    }
}

/// Nothing may be sent after a Close frame (RFC 6455, 5.5.1). Send the message on the next
/// connection if it still has a meaning there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, Error)]
#[display("a close frame was sent, after which nothing may be sent")]
pub struct SendAfterClose;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_earns_the_code_of_the_rfc_and_fits_into_a_close_frame() {
        let code = CloseCode::from(u16::MAX);
        let table = [
            (ProtocolError::ReservedBit, 1002),
            (ProtocolError::CompressedContinuation, 1002),
            (ProtocolError::CompressedControl, 1002),
            (ProtocolError::ReservedOpcode { opcode: 15 }, 1002),
            (ProtocolError::FragmentedControl, 1002),
            (ProtocolError::ControlTooLong, 1002),
            (ProtocolError::MaskedByServer, 1002),
            (ProtocolError::UnmaskedByClient, 1002),
            (ProtocolError::LengthNotMinimal, 1002),
            (ProtocolError::LengthOverflow, 1002),
            (ProtocolError::UnexpectedContinuation, 1002),
            (ProtocolError::UnfinishedMessage, 1002),
            (ProtocolError::CloseTooShort, 1002),
            (ProtocolError::InvalidCloseCode { code }, 1002),
            (ProtocolError::InvalidUtf8, 1007),
            (ProtocolError::FrameTooLarge { len: u64::MAX, limit: usize::MAX }, 1009),
            (ProtocolError::MessageTooLarge { limit: usize::MAX }, 1009),
            (ProtocolError::TooManyFragments { limit: usize::MAX }, 1009),
            (ProtocolError::InvalidDeflate, 1002),
            (ProtocolError::DataAfterClose, 1002),
        ];
        for (err, value) in table {
            assert_eq!(err.close_code().value(), value, "{err}");
            assert!(err.close_code().is_sendable() && err.to_string().len() <= 123, "{err}");
        }
    }

    #[test]
    fn a_bad_close_frame_is_the_breach_it_stands_for() {
        let code = CloseCode::ABNORMAL;
        let table = [
            (InvalidClose::Code { code }, ProtocolError::InvalidCloseCode { code }),
            (InvalidClose::ReasonTooLong { len: 124 }, ProtocolError::ControlTooLong),
            (InvalidClose::TooShort, ProtocolError::CloseTooShort),
            (InvalidClose::NotUtf8, ProtocolError::InvalidUtf8),
        ];
        for (close, expected) in table {
            assert_eq!(ProtocolError::from(close), expected);
        }
    }
}
