//! The ways a peer can break the protocol, and what each one earns it.

use derive_more::{Display, Error};

use crate::proto::close::{CloseCode, InvalidClose};

/// A breach of RFC 6455 by the peer, or a limit of ours that it passed.
///
/// After one of these nothing more can be read from that peer: send the Close frame of
/// [`Session::fail`](crate::proto::session::Session::fail), then drop the socket (RFC 6455, 7.1.7).
#[derive(Clone, Debug, PartialEq, Eq, Display, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A reserved bit was set although no extension gives it a meaning (RFC 6455, 5.2). Look for a
    /// peer that compresses without having negotiated it.
    #[display("reserved bit set without an extension")]
    ReservedBit,

    /// The opcode is one of 3 to 7 or 11 to 15 (RFC 6455, 5.2). Look for a peer of a newer protocol,
    /// or for bytes that are no WebSocket frames at all.
    #[display("reserved opcode {opcode}")]
    ReservedOpcode {
        /// The opcode as sent.
        opcode: u8,
    },

    /// A Close, Ping or Pong was not in one piece (RFC 6455, 5.5). The peer is at fault.
    #[display("fragmented control frame")]
    FragmentedControl,

    /// A Close, Ping or Pong declared more than 125 bytes (RFC 6455, 5.5). The peer is at fault.
    #[display("control frame of more than 125 bytes")]
    ControlTooLong,

    /// A server masked its frame (RFC 6455, 5.1). The peer may be a client.
    #[display("masked frame from a server")]
    MaskedByServer,

    /// A client did not mask its frame (RFC 6455, 5.1). The peer may be a server.
    #[display("unmasked frame from a client")]
    UnmaskedByClient,

    /// A length was not written in its shortest form (RFC 6455, 5.2). The peer is at fault.
    #[display("length not in its shortest form")]
    LengthNotMinimal,

    /// The top bit of a 64-bit length was set (RFC 6455, 5.2). The peer is at fault, or the bytes are
    /// no WebSocket frames.
    #[display("length of 2^63 bytes or more")]
    LengthOverflow,

    /// A continuation came where no message was begun (RFC 6455, 5.4). The peer is at fault.
    #[display("continuation without a message")]
    UnexpectedContinuation,

    /// A new text or binary frame came before the message in progress was finished (RFC 6455, 5.4).
    /// The peer is at fault; often two of its tasks write without a lock.
    #[display("new message inside an unfinished one")]
    UnfinishedMessage,

    /// A Close had a payload of one byte, too short for a code (RFC 6455, 5.5.1). The peer is at
    /// fault.
    #[display("close frame of one byte")]
    CloseTooShort,

    /// A Close carried a code that must not be on the wire (RFC 6455, 7.4). The peer is at fault.
    #[display("close code {code} must not be sent")]
    InvalidCloseCode {
        /// The code as sent.
        code: CloseCode,
    },

    /// A text message or the reason of a Close is not UTF-8 (RFC 6455, 8.1). The peer should have
    /// sent it as binary.
    #[display("text is not utf-8")]
    InvalidUtf8,

    /// A frame declared more bytes than one may have. Raise
    /// [`Limits::frame`](crate::proto::codec::Limits::frame) if the peer is to be trusted with it.
    #[display("frame of {len} bytes, limit {limit}")]
    FrameTooLarge {
        /// The declared length in bytes.
        len: u64,
        /// The limit in bytes.
        limit: usize,
    },

    /// A message would have more bytes than one may have. Raise
    /// [`Limits::message`](crate::proto::codec::Limits::message) if the peer is to be trusted with it.
    #[display("message of more than {limit} bytes")]
    MessageTooLarge {
        /// The limit in bytes.
        limit: usize,
    },

    /// A message came in more fragments than one may have. Raise
    /// [`Limits::fragments`](crate::proto::codec::Limits::fragments) if the peer is to be trusted with
    /// it.
    #[display("message of more than {limit} fragments")]
    TooManyFragments {
        /// The limit in frames.
        limit: usize,
    },

    /// The bytes of a compressed message are no DEFLATE data, or end before it does (RFC 7692, 7.2.2).
    /// The peer is at fault; often its window or its context is not what was agreed.
    #[display("compressed message cannot be inflated")]
    InvalidDeflate,

    /// Bytes came after the peer's Close frame (RFC 6455, 1.4: they are discarded). Nothing was lost;
    /// finish the closing handshake and drop the socket.
    #[display("data after the close frame")]
    DataAfterClose,
}

impl ProtocolError {
    /// The close code that tells the peer of this breach: 1002, 1007 or 1009 (RFC 6455, 7.4.1).
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

/// Nothing may be sent after a Close frame (RFC 6455, 5.5.1): keep the message for the next
/// connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, Error)]
#[display("nothing may be sent after a close frame")]
pub struct SendAfterClose;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_earns_the_code_of_the_rfc_and_fits_into_a_close_frame() {
        let code = CloseCode::from(u16::MAX);
        let table = [
            (ProtocolError::ReservedBit, 1002),
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
