//! The frame header: the 2 to 14 bytes before every payload (RFC 6455, 5.2).

use bytes::BytesMut;
use derive_more::Display;

use crate::proto::close::MAX_CONTROL_PAYLOAD;
use crate::proto::error::ProtocolError;

/// The side of the connection that we are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Masks the frames that it sends and rejects masked frames (RFC 6455, 5.1).
    Client,
    /// Never masks a frame and rejects unmasked ones.
    Server,
}

/// The kind of a frame (RFC 6455, 11.8). The discriminant is the number on the wire.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of a message.
    #[display("continuation")]
    Continuation = 0x0,
    /// A text message or its first fragment.
    #[display("text")]
    Text = 0x1,
    /// A binary message or its first fragment.
    #[display("binary")]
    Binary = 0x2,
    /// The last frame of its sender.
    #[display("close")]
    Close = 0x8,
    /// A request for a Pong.
    #[display("ping")]
    Ping = 0x9,
    /// The reply to a Ping, or an unsolicited one.
    #[display("pong")]
    Pong = 0xa,
}

impl Opcode {
    /// Returns whether this is a Close, Ping or Pong, which may come between fragments (RFC 6455,
    /// 5.5).
    #[inline]
    #[must_use]
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }

    /// Returns the opcode with this number.
    ///
    /// # Errors
    /// If it is reserved.
    #[inline]
    fn from_wire(opcode: u8) -> Result<Self, ProtocolError> {
        match opcode {
            0x0 => Ok(Self::Continuation),
            0x1 => Ok(Self::Text),
            0x2 => Ok(Self::Binary),
            0x8 => Ok(Self::Close),
            0x9 => Ok(Self::Ping),
            0xa => Ok(Self::Pong),
            _ => Err(ProtocolError::ReservedOpcode { opcode }),
        }
    }
}

/// A header as it is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Whether this frame is the last of its message.
    pub fin: bool,
    /// The kind of the frame.
    pub opcode: Opcode,
    /// The key that the payload is masked with; `None` if it is not masked.
    pub mask: Option<[u8; 4]>,
    /// The length of the payload in bytes, below 2^63.
    pub len: u64,
}

impl FrameHeader {
    /// Parses the header at the beginning of `src`. Returns the header and its length in bytes;
    /// `None` if more bytes are needed. Assumes that no extension was negotiated.
    ///
    /// # Errors
    /// If no peer may send this header, as soon as the byte that shows it is there: a reserved bit
    /// or opcode, a fragmented control frame or one of more than 125 bytes, a length of 2^63 or
    /// more or one that is not in its shortest form (RFC 6455, 5.2 and 5.5).
    #[inline]
    pub fn parse(src: &[u8]) -> Result<Option<(Self, usize)>, ProtocolError> {
        Self::parse_with(src, false)
    }

    /// Parses as [`parse`](Self::parse) does, where permessage-deflate may have been negotiated.
    /// The result does not say whether RSV1 was set; see [`is_compressed`](Self::is_compressed).
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    #[inline]
    pub(crate) fn parse_with(
        src: &[u8],
        deflate: bool,
    ) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some(&first) = src.first() else {
            return Ok(None);
        };
        let (fin, opcode) = Self::first_byte(first, deflate)?;
        let Some(&second) = src.get(1) else {
            return Ok(None);
        };
        let short = second & LEN;
        // RFC 6455, 5.5: at most 125 bytes, so the length always fits into this byte.
        if opcode.is_control() && usize::from(short) > MAX_CONTROL_PAYLOAD {
            return Err(ProtocolError::ControlTooLong);
        }
        let Some((len, mut end)) = Self::length(short, src)? else {
            return Ok(None);
        };
        let mut mask = None;
        if second & MASK != 0 {
            let Some(key) = src[end..].first_chunk::<4>() else {
                return Ok(None);
            };
            mask = Some(*key);
            end += 4;
        }
        Ok(Some((Self { fin, opcode, mask, len }, end)))
    }

    /// Parses the first byte into FIN and the opcode, where permessage-deflate may have been
    /// negotiated.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    #[inline]
    pub(super) fn first_byte(first: u8, deflate: bool) -> Result<(bool, Opcode), ProtocolError> {
        // RFC 6455, 5.2: these bits must be zero unless an extension defines them.
        if first & RSV != 0 && !(deflate && Self::begins_compressed(first)) {
            return Err(Self::reserved_bits(first, deflate));
        }
        let fin = first & FIN != 0;
        let opcode = Opcode::from_wire(first & OPCODE)?;
        // RFC 6455, 5.5: a control frame must not be fragmented.
        if opcode.is_control() && !fin {
            return Err(ProtocolError::FragmentedControl);
        }
        Ok((fin, opcode))
    }

    /// Sets RSV1 in an encoded header (RFC 7692, 6).
    pub(super) fn mark_compressed(header: &mut [u8]) {
        if let Some(first) = header.first_mut() {
            *first |= RSV1;
        }
    }

    /// Returns whether a valid first byte begins a compressed message (RFC 7692, 6).
    #[inline]
    pub(super) fn is_compressed(first: u8) -> bool {
        first & RSV1 != 0
    }

    /// Returns whether RSV1 is the only reserved bit, on the first frame of a data message (RFC
    /// 7692, 6).
    #[cold]
    fn begins_compressed(first: u8) -> bool {
        let opcode = first & OPCODE;
        first & RSV == RSV1 && [Opcode::Text as u8, Opcode::Binary as u8].contains(&opcode)
    }

    /// Names the breach in a first byte whose reserved bits are not as they must be.
    #[cold]
    fn reserved_bits(first: u8, deflate: bool) -> ProtocolError {
        // RFC 7692, 6.1: RSV1 must not be set on control frames and non-first fragments.
        match Opcode::from_wire(first & OPCODE) {
            Ok(Opcode::Continuation) if deflate && first & RSV == RSV1 => {
                ProtocolError::CompressedContinuation
            }
            Ok(opcode) if opcode.is_control() && deflate && first & RSV == RSV1 => {
                ProtocolError::CompressedControl
            }
            _ => ProtocolError::ReservedBit,
        }
    }

    /// Returns whether the second byte of a header announces a masked payload.
    #[inline]
    pub(super) fn is_masked(second: u8) -> bool {
        second & MASK != 0
    }

    /// Parses the length, given its first seven bits. Returns the length and its end in the header.
    ///
    /// # Errors
    /// If it is not in its shortest form, or 2^63 or more.
    #[inline]
    fn length(short: u8, src: &[u8]) -> Result<Option<(u64, usize)>, ProtocolError> {
        match short {
            LEN_16 => {
                let Some(len) = src[2..].first_chunk() else {
                    return Ok(None);
                };
                let len = u16::from_be_bytes(*len);
                // RFC 6455, 5.2: the shortest form must be used.
                if len < u16::from(LEN_16) {
                    return Err(ProtocolError::LengthNotMinimal);
                }
                Ok(Some((u64::from(len), 4)))
            }
            LEN_64 => Self::length_64(&src[2..]),
            _ => Ok(Some((u64::from(short), 2))),
        }
    }

    /// Parses a length of eight bytes, and judges each byte as soon as it is there.
    ///
    /// # Errors
    /// As [`length`](Self::length).
    fn length_64(bytes: &[u8]) -> Result<Option<(u64, usize)>, ProtocolError> {
        // RFC 6455, 5.2: the most significant bit must be 0.
        if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
            return Err(ProtocolError::LengthOverflow);
        }
        // With six leading zeros it would fit into 16 bits, and should be encoded so.
        if bytes.first_chunk() == Some(&[0; 6]) {
            return Err(ProtocolError::LengthNotMinimal);
        }
        Ok(bytes.first_chunk().map(|len| (u64::from_be_bytes(*len), 10)))
    }

    /// Appends the header to `dst`, with the length in its shortest form.
    ///
    /// Does not check that a control frame is short and has FIN set; the caller must ensure that.
    #[inline]
    pub fn write(&self, dst: &mut BytesMut) {
        let masked = if self.mask.is_some() { MASK } else { 0 };
        let first = if self.fin { FIN } else { 0 } | self.opcode as u8;
        // Each piece has a constant length, so that the compiler copies it without a call.
        match self.len {
            0..=125 => dst.extend_from_slice(&[first, masked | self.len as u8]),
            126..=0xffff => {
                let [high, low] = (self.len as u16).to_be_bytes();
                dst.extend_from_slice(&[first, masked | LEN_16, high, low]);
            }
            _ => {
                dst.extend_from_slice(&[first, masked | LEN_64]);
                dst.extend_from_slice(&self.len.to_be_bytes());
            }
        }
        if let Some(key) = self.mask {
            dst.extend_from_slice(&key);
        }
    }
}

/// The bit of the first byte that marks the last frame of a message.
const FIN: u8 = 0x80;
/// The reserved bits of the first byte.
const RSV: u8 = 0x70;
/// The first reserved bit, which permessage-deflate defines.
const RSV1: u8 = 0x40;
/// The opcode in the first byte.
const OPCODE: u8 = 0x0f;
/// The bit of the second byte that announces a masking key.
const MASK: u8 = 0x80;
/// The length in the second byte.
const LEN: u8 = 0x7f;
/// The value that announces a length of 16 bits.
const LEN_16: u8 = 126;
/// The value that announces a length of 64 bits.
const LEN_64: u8 = 127;

#[cfg(test)]
mod tests {
    use super::*;

    /// The error in the first two bytes, read bit by bit from the figure in RFC 6455, 5.2.
    fn by_the_book(first: u8, second: u8) -> Result<(), ProtocolError> {
        let bits = format!("{first:08b}{second:08b}");
        let (fin, rsv, opcode, len) = (&bits[..1], &bits[1..4], &bits[4..8], &bits[9..]);
        let control = ["1000", "1001", "1010"].contains(&opcode);
        if rsv.contains('1') {
            return Err(ProtocolError::ReservedBit);
        }
        if !control && !["0000", "0001", "0010"].contains(&opcode) {
            return Err(ProtocolError::ReservedOpcode { opcode: first % 16 });
        }
        if control && fin == "0" {
            return Err(ProtocolError::FragmentedControl);
        }
        if control && ["1111110", "1111111"].contains(&len) {
            return Err(ProtocolError::ControlTooLong);
        }
        Ok(())
    }

    /// A valid rest of the header for each two bytes: the least long lengths, and a key.
    fn rest(second: u8) -> Vec<u8> {
        let mut rest = match second % 128 {
            126 => vec![0, 126],
            127 => vec![0, 0, 0, 0, 0, 1, 0, 0],
            _ => vec![],
        };
        if second >= 128 {
            rest.extend(b"keys");
        }
        rest
    }

    #[test]
    fn all_65536_beginnings_are_judged_by_the_book_at_every_split() {
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                let rest = rest(second);
                let bytes = [&[first, second], &rest[..]].concat();
                for end in 0..bytes.len() {
                    let expected = match end {
                        0 => Ok(None),
                        // An error in the second byte cannot be known yet.
                        1 => by_the_book(first, 0).map(|()| None),
                        _ => by_the_book(first, second).map(|()| None),
                    };
                    assert_eq!(FrameHeader::parse(&bytes[..end]), expected, "{bytes:x?}");
                }
                let whole = FrameHeader::parse(&bytes);
                assert_eq!(whole.clone().map(|_| ()), by_the_book(first, second), "{bytes:x?}");
                if let Ok(header) = whole {
                    let (header, end) = header.unwrap();
                    assert_eq!(end, bytes.len());
                    assert_eq!((header.fin, header.opcode as u8), (first >= 128, first % 16));
                    assert_eq!(header.mask, (second >= 128).then_some(*b"keys"));
                    let len = [126, 65_536].get(usize::from(second % 128).wrapping_sub(126));
                    assert_eq!(header.len, len.copied().unwrap_or(u64::from(second % 128)));
                    let mut written = BytesMut::new();
                    header.write(&mut written);
                    assert_eq!(written, bytes);
                }
            }
        }
    }

    #[test]
    fn every_16_bit_length_is_read_unless_it_fits_into_7() {
        for len in 0..=u16::MAX {
            let [high, low] = len.to_be_bytes();
            let header = FrameHeader::parse(&[0x82, 126, high, low]);
            if len < 126 {
                assert_eq!(header, Err(ProtocolError::LengthNotMinimal));
            } else {
                assert_eq!(header.unwrap().unwrap().0.len, u64::from(len));
            }
        }
    }

    #[test]
    fn every_magnitude_of_a_64_bit_length_is_judged_at_the_byte_that_decides() {
        for shift in 0..64 {
            for len in [1_u64 << shift, (1 << shift) - 1 + (1 << shift)] {
                let bytes = [&[0x82, 127], &len.to_be_bytes()[..]].concat();
                let (expected, decided) = match len {
                    0..=0xffff => (Some(ProtocolError::LengthNotMinimal), 8),
                    0x1_0000..0x8000_0000_0000_0000 => (None, 10),
                    _ => (Some(ProtocolError::LengthOverflow), 3),
                };
                for end in 0..decided {
                    assert_eq!(FrameHeader::parse(&bytes[..end]), Ok(None), "{bytes:x?}");
                }
                for end in decided..=bytes.len() {
                    let header = FrameHeader::parse(&bytes[..end]);
                    match &expected {
                        Some(err) => assert_eq!(header.as_ref(), Err(err), "{bytes:x?}"),
                        None => assert_eq!(header.unwrap().unwrap().0.len, len),
                    }
                }
            }
        }
    }

    #[test]
    fn lengths_are_written_in_their_shortest_form() {
        let table: [(u64, &[u8]); 6] = [
            (0, b"\x82\x00"),
            (125, b"\x82\x7d"),
            (126, b"\x82\x7e\x00\x7e"),
            (0xffff, b"\x82\x7e\xff\xff"),
            (0x1_0000, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
            (u64::MAX >> 1, b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"),
        ];
        for (len, expected) in table {
            for mask in [None, Some(*b"keys")] {
                let mut bytes = BytesMut::new();
                let header = FrameHeader { fin: true, opcode: Opcode::Binary, mask, len };
                header.write(&mut bytes);
                assert_eq!(FrameHeader::parse(&bytes), Ok(Some((header, bytes.len()))));
                if mask.is_none() {
                    assert_eq!(bytes, expected);
                }
            }
        }
    }

    #[test]
    fn a_first_fragment_is_written_without_fin() {
        let mut bytes = BytesMut::new();
        let header = FrameHeader { fin: false, opcode: Opcode::Text, mask: None, len: 3 };
        header.write(&mut bytes);
        assert_eq!(&bytes[..], b"\x01\x03");
    }

    #[test]
    fn where_deflate_is_in_use_rsv1_marks_the_first_frame_of_a_message_and_nothing_else() {
        for first in 0..=u8::MAX {
            let header = FrameHeader::parse_with(&[first, 0], true);
            if [0x41, 0x42, 0xc1, 0xc2].contains(&first) {
                assert_eq!(header, FrameHeader::parse(&[first & !RSV1, 0]), "{first:x}");
                let mut written = BytesMut::new();
                header.unwrap().unwrap().0.write(&mut written);
                FrameHeader::mark_compressed(&mut written);
                assert_eq!(written[..], [first, 0]);
            } else {
                let expected = match first {
                    0x40 | 0xc0 => Err(ProtocolError::CompressedContinuation),
                    0x48..=0x4a | 0xc8..=0xca => Err(ProtocolError::CompressedControl),
                    _ => FrameHeader::parse(&[first, 0]),
                };
                assert_eq!(header, expected, "{first:x}");
            }
        }
    }
}
