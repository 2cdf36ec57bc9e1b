//! The Close frame: its code and its reason.

use bytes::{Buf, Bytes};
use bytestring::ByteString;
use derive_more::{Display, Error};

/// The reason why a connection was closed, as a number (RFC 6455, 7.4; IANA's registry has the
/// later ones).
///
/// ```
/// use actix_ws_client::proto::close::CloseCode;
///
/// assert_eq!(CloseCode::from(1000), CloseCode::NORMAL);
/// assert!(CloseCode::from(4123).is_sendable());
/// assert!(!CloseCode::ABNORMAL.is_sendable());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Display)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: an endpoint goes away, as a server that shuts down does.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the other side broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: the kind of data cannot be accepted, for example binary where only text is understood.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1005, never on the wire: the Close frame had no code.
    pub const NO_STATUS: Self = Self(1005);
    /// 1006, never on the wire: there was no Close frame.
    pub const ABNORMAL: Self = Self(1006);
    /// 1007: text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: a message violates a policy of the other side.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: a message too big to be processed.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1010: the client wanted an extension that the server did not negotiate.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// 1011: the server met an unexpected condition.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the server restarts.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: the server is overloaded.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014: a gateway received an invalid response from the server behind it.
    pub const BAD_GATEWAY: Self = Self(1014);
    /// 1015, never on the wire: the TLS handshake failed.
    pub const TLS_HANDSHAKE: Self = Self(1015);

    /// Returns the code as a number.
    #[inline]
    #[must_use]
    pub const fn value(self) -> u16 {
        self.0
    }

    /// Returns whether this code may be on the wire: 1000 to 1003, 1007 to 1014, and 3000 to 4999
    /// (RFC 6455, 7.4).
    #[inline]
    #[must_use]
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// Returns this code.
    ///
    /// # Errors
    /// If it must not be on the wire.
    fn sendable(self) -> Result<Self, InvalidClose> {
        if self.is_sendable() { Ok(self) } else { Err(InvalidClose::Code { code: self }) }
    }
}

impl From<CloseCode> for u16 {
    #[inline]
    fn from(code: CloseCode) -> Self {
        code.value()
    }
}

impl From<u16> for CloseCode {
    #[inline]
    fn from(value: u16) -> Self {
        Self(value)
    }
}

/// The content of a Close frame that is not empty: a code that may be on the wire and a reason of at
/// most 123 bytes (RFC 6455, 5.5.1).
///
/// ```
/// use actix_ws_client::proto::close::{CloseCode, CloseFrame};
///
/// let frame = CloseFrame::new(CloseCode::GOING_AWAY, "so long")?;
/// assert_eq!(frame.reason(), "so long");
/// assert!(CloseFrame::new(CloseCode::NO_STATUS, "").is_err());
/// # Ok::<(), actix_ws_client::proto::close::InvalidClose>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    /// Always sendable.
    code: CloseCode,
    /// At most `MAX_REASON` bytes.
    reason: ByteString,
}

impl CloseFrame {
    /// Creates a Close frame that may be sent.
    ///
    /// # Errors
    /// If the code must not be on the wire, or the reason is longer than 123 bytes of UTF-8.
    pub fn new(code: CloseCode, reason: impl Into<ByteString>) -> Result<Self, InvalidClose> {
        let code = code.sendable()?;
        let reason = reason.into();
        if reason.len() > MAX_REASON {
            return Err(InvalidClose::ReasonTooLong { len: reason.len() });
        }
        Ok(Self { code, reason })
    }

    /// Parses the payload of a Close frame; `None` if it is empty.
    ///
    /// # Errors
    /// If it is a single byte, its code must not be on the wire, or its reason is longer than 123
    /// bytes or not UTF-8 (RFC 6455, 5.5.1, 7.4 and 8.1).
    pub fn parse(payload: Bytes) -> Result<Option<Self>, InvalidClose> {
        Self::read(&payload)
    }

    /// Parses a borrowed payload, as [`parse`](Self::parse) does.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub(in crate::proto) fn read(payload: &[u8]) -> Result<Option<Self>, InvalidClose> {
        let Some((code, reason)) = Self::split(payload)? else {
            return Ok(None);
        };
        // Copied: a reason may be kept for long, and must not hold the buffer that it was read
        // into.
        let reason = std::str::from_utf8(reason).map_err(|_| InvalidClose::NotUtf8)?;
        Self::new(code, reason).map(Some)
    }

    /// Parses a borrowed payload whose reason need not be UTF-8: what is not is replaced by U+FFFD.
    /// That makes a reason longer, by two bytes for each byte at most; what then exceeds 123 bytes
    /// is cut off.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), except for the reason.
    pub(in crate::proto) fn read_lossy(payload: &[u8]) -> Result<Option<Self>, InvalidClose> {
        let Some((code, reason)) = Self::split(payload)? else {
            return Ok(None);
        };
        if reason.len() > MAX_REASON {
            return Err(InvalidClose::ReasonTooLong { len: reason.len() });
        }
        let mut reason = String::from_utf8_lossy(reason).into_owned();
        while reason.len() > MAX_REASON {
            reason.pop();
        }
        Self::new(code, reason).map(Some)
    }

    /// Splits a payload into its code, which may be on the wire, and its reason; `None` if it is
    /// empty.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), except for the reason.
    fn split(mut payload: &[u8]) -> Result<Option<(CloseCode, &[u8])>, InvalidClose> {
        if payload.is_empty() {
            return Ok(None);
        }
        let code = payload.try_get_u16().map_err(|_| InvalidClose::TooShort)?;
        Ok(Some((CloseCode::from(code).sendable()?, payload)))
    }

    /// Writes the payload of this frame into `bytes` and returns the part that it takes.
    pub(in crate::proto) fn payload<'a>(
        &self,
        bytes: &'a mut [u8; MAX_CONTROL_PAYLOAD],
    ) -> &'a [u8] {
        let (code, reason) = (self.code.value().to_be_bytes(), self.reason.as_bytes());
        let len = code.len() + reason.len();
        bytes[..code.len()].copy_from_slice(&code);
        bytes[code.len()..len].copy_from_slice(reason);
        &bytes[..len]
    }

    /// Returns the code, which may be on the wire.
    #[inline]
    #[must_use]
    pub fn code(&self) -> CloseCode {
        self.code
    }

    /// Returns the reason, a text for people of at most 123 bytes; often empty.
    #[inline]
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Returns the reply to this frame: its code without its reason (RFC 6455, 5.5.1).
    #[must_use]
    pub fn echo(&self) -> Self {
        Self { code: self.code, reason: ByteString::new() }
    }
}

/// The most bytes of a control frame's payload (RFC 6455, 5.5).
pub(in crate::proto) const MAX_CONTROL_PAYLOAD: usize = 125;

/// The most bytes of a reason: what the code leaves of the payload.
const MAX_REASON: usize = MAX_CONTROL_PAYLOAD - size_of::<u16>();

/// A Close frame that must not be sent.
#[derive(Clone, Debug, PartialEq, Eq, Display, Error)]
#[non_exhaustive]
pub enum InvalidClose {
    /// The code is reserved or unassigned: use 1000, 1001, or a code of your own from 4000 to 4999.
    #[display("close code {code} must not be sent; use 1000, 1001, or one from 4000 to 4999")]
    Code {
        /// The code as given.
        code: CloseCode,
    },

    /// The reason does not fit into a control frame: shorten it.
    #[display("close reason of {len} bytes, over the limit of 123")]
    ReasonTooLong {
        /// Its length in bytes.
        len: usize,
    },

    /// A received payload has one byte, but a code has two: the peer is at fault.
    #[display("close frame with 1 byte of payload, too short for a code")]
    TooShort,

    /// A received reason is not UTF-8: the peer is at fault.
    #[display("close reason is not valid UTF-8")]
    NotUtf8,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(payload: &[u8]) -> Result<Option<CloseFrame>, InvalidClose> {
        CloseFrame::parse(Bytes::copy_from_slice(payload))
    }

    /// RFC 6455, 7.4.1 and 7.4.2, and the registry of IANA up to 1014.
    fn may_be_sent(code: u16) -> bool {
        match code {
            0..=999 => false,
            1004..=1006 | 1015 => false,
            1000..=1014 => true,
            1016..=2999 => false,
            3000..=4999 => true,
            5000.. => false,
        }
    }

    #[test]
    fn every_code_is_sent_and_read_or_neither() {
        for value in 0..=u16::MAX {
            let code = CloseCode::from(value);
            assert_eq!(code.value(), value);
            assert_eq!(code.is_sendable(), may_be_sent(value), "{value}");
            let expected = if may_be_sent(value) {
                Ok(CloseFrame { code, reason: "why".into() })
            } else {
                Err(InvalidClose::Code { code })
            };
            assert_eq!(CloseFrame::new(code, "why"), expected);
            let [high, low] = value.to_be_bytes();
            assert_eq!(parse(&[high, low, b'w', b'h', b'y']), expected.map(Some));
        }
    }

    #[test]
    fn the_constants_are_the_numbers_of_the_rfc() {
        let sendable = [
            (CloseCode::NORMAL, 1000),
            (CloseCode::GOING_AWAY, 1001),
            (CloseCode::PROTOCOL_ERROR, 1002),
            (CloseCode::UNSUPPORTED_DATA, 1003),
            (CloseCode::INVALID_PAYLOAD, 1007),
            (CloseCode::POLICY_VIOLATION, 1008),
            (CloseCode::MESSAGE_TOO_BIG, 1009),
            (CloseCode::MANDATORY_EXTENSION, 1010),
            (CloseCode::INTERNAL_ERROR, 1011),
            (CloseCode::SERVICE_RESTART, 1012),
            (CloseCode::TRY_AGAIN_LATER, 1013),
            (CloseCode::BAD_GATEWAY, 1014),
        ];
        for (code, value) in sendable {
            assert_eq!((code.value(), code.is_sendable()), (value, true));
        }
        let reserved = [
            (CloseCode::NO_STATUS, 1005),
            (CloseCode::ABNORMAL, 1006),
            (CloseCode::TLS_HANDSHAKE, 1015),
        ];
        for (code, value) in reserved {
            assert_eq!((code.value(), code.is_sendable()), (value, false));
        }
        assert_eq!(CloseCode::NORMAL.to_string(), "1000");
    }

    #[test]
    fn an_empty_payload_has_no_frame() {
        assert_eq!(parse(b""), Ok(None));
    }

    #[test]
    fn one_byte_is_too_short_for_a_code() {
        for byte in 0..=u8::MAX {
            assert_eq!(parse(&[byte]), Err(InvalidClose::TooShort));
        }
    }

    #[test]
    fn a_code_without_a_reason_is_read() {
        let frame = parse(b"\x03\xe8").unwrap().unwrap();
        assert_eq!((frame.code(), frame.reason()), (CloseCode::NORMAL, ""));
    }

    #[test]
    fn a_reason_has_at_most_123_bytes() {
        let longest = "\u{e9}".repeat(61) + "!";
        assert_eq!(CloseFrame::new(CloseCode::NORMAL, &*longest).unwrap().reason(), longest);
        let err = InvalidClose::ReasonTooLong { len: 124 };
        assert_eq!(CloseFrame::new(CloseCode::NORMAL, longest + "!"), Err(err.clone()));
        assert_eq!(parse(&[&b"\x03\xe8"[..], &[b'!'; 124]].concat()), Err(err));
    }

    #[test]
    fn a_reason_is_utf_8() {
        assert_eq!(parse(b"\x03\xe8caf\xc3\xa9").unwrap().unwrap().reason(), "caf\u{e9}");
        assert_eq!(parse(b"\x03\xe8caf\xc3"), Err(InvalidClose::NotUtf8));
        assert_eq!(parse(b"\x03\xe8\xed\xa0\x80"), Err(InvalidClose::NotUtf8));
    }

    #[test]
    fn a_reason_that_is_not_utf_8_can_be_taken_and_stays_sendable() {
        let lossy = |payload: &[u8]| CloseFrame::read_lossy(payload);
        let reason = |payload: &[u8]| lossy(payload).unwrap().unwrap().reason().to_owned();
        assert_eq!(reason(b"\x03\xe8caf\xc3\xa9"), "caf\u{e9}");
        assert_eq!(reason(b"\x03\xe8caf\xe9!"), "caf\u{fffd}!");
        assert_eq!(reason(&[&b"\x03\xe8"[..], &[0xe9; 123]].concat()), "\u{fffd}".repeat(41));
        let cut = [&b"\x03\xe8a"[..], &[0xe9; 122]].concat();
        assert_eq!(reason(&cut), format!("a{}", "\u{fffd}".repeat(40)));
        assert_eq!(lossy(b""), Ok(None));
        assert_eq!(lossy(b"\x03"), Err(InvalidClose::TooShort));
        let code = CloseCode::ABNORMAL;
        assert_eq!(lossy(b"\x03\xee\xff"), Err(InvalidClose::Code { code }));
        let long = [&b"\x03\xe8"[..], &[0xe9; 124]].concat();
        assert_eq!(lossy(&long), Err(InvalidClose::ReasonTooLong { len: 124 }));
    }

    #[test]
    fn a_bad_code_is_told_before_a_bad_reason() {
        let code = CloseCode::ABNORMAL;
        assert_eq!(parse(b"\x03\xee\xff"), Err(InvalidClose::Code { code }));
    }

    #[test]
    fn a_reason_does_not_pin_the_buffer_it_was_read_from() {
        let buffer = Bytes::from(b"\x03\xe8why".repeat(100));
        let frame = CloseFrame::parse(buffer.slice(..5)).unwrap();
        assert!(buffer.is_unique() && frame.is_some());
    }

    #[test]
    fn an_echo_has_the_code_alone() {
        let frame = CloseFrame::new(CloseCode::from(4000), "why").unwrap();
        assert_eq!(frame.echo(), CloseFrame::new(CloseCode::from(4000), "").unwrap());
    }
}
