//! The frame header: the 2 to 14 bytes before every payload (RFC 6455, 5.2).

use bytes::BytesMut;

use crate::proto::close::MAX_CONTROL_PAYLOAD;
use crate::proto::error::ProtocolError;

/// Whose side of the connection we are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Masks what it sends and refuses masked input (RFC 6455, 5.1).
    Client,
    /// Refuses unmasked input and never masks.
    Server,
}

/// What a frame is (RFC 6455, 11.8); its discriminant is the number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of a message.
    Continuation = 0x0,
    /// A text message or its first fragment.
    Text = 0x1,
    /// A binary message or its first fragment.
    Binary = 0x2,
    /// The end of what the sender has to say.
    Close = 0x8,
    /// A question for a sign of life.
    Ping = 0x9,
    /// The answer to it.
    Pong = 0xa,
}

impl Opcode {
    /// Whether this is a Close, Ping or Pong, which may come between fragments (RFC 6455, 5.5).
    #[inline]
    #[must_use]
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }

    /// The opcode of this number, unless it is reserved.
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

/// A header as written on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Whether this frame is the last of its message.
    pub fin: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// The key its payload is masked with, if it is.
    pub mask: Option<[u8; 4]>,
    /// The length of its payload in bytes, below 2^63.
    pub len: u64,
}

impl FrameHeader {
    /// Reads the header at the beginning of `src` and says how many bytes it has; `None` if more are
    /// needed. No extension is in use.
    ///
    /// # Errors
    /// If the header is illegal whoever sent it, as soon as the byte that decides is there: a reserved
    /// bit or opcode, a control frame in fragments or of more than 125 bytes, a length of 2^63 or more
    /// or not in its shortest form (RFC 6455, 5.2 and 5.5).
    #[inline]
    pub fn parse(src: &[u8]) -> Result<Option<(Self, usize)>, ProtocolError> {
        Self::parse_with(src, false)
    }

    /// [`parse`](Self::parse), where permessage-deflate may be in use. What RSV1 says is lost.
    #[inline]
    pub(super) fn parse_with(
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
        // RFC 6455, 5.5
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

    /// Reads the byte that says what the frame is, where permessage-deflate may be in use.
    #[inline]
    pub(super) fn first_byte(first: u8, deflate: bool) -> Result<(bool, Opcode), ProtocolError> {
        // RFC 6455, 5.2: these bits mean nothing unless an extension says what.
        if first & RSV != 0 && !(deflate && Self::begins_compressed(first)) {
            return Err(ProtocolError::ReservedBit);
        }
        let fin = first & FIN != 0;
        let opcode = Opcode::from_wire(first & OPCODE)?;
        // RFC 6455, 5.5
        if opcode.is_control() && !fin {
            return Err(ProtocolError::FragmentedControl);
        }
        Ok((fin, opcode))
    }

    /// Sets RSV1 in a header that was written (RFC 7692, 6).
    pub(super) fn mark_compressed(header: &mut [u8]) {
        if let Some(first) = header.first_mut() {
            *first |= RSV1;
        }
    }

    /// Whether a first byte that is legal begins a compressed message (RFC 7692, 6).
    #[inline]
    pub(super) fn is_compressed(first: u8) -> bool {
        first & RSV1 != 0
    }

    /// Whether RSV1 alone is set, on the first frame of a data message (RFC 7692, 6).
    #[cold]
    fn begins_compressed(first: u8) -> bool {
        let opcode = first & OPCODE;
        first & RSV == RSV1 && [Opcode::Text as u8, Opcode::Binary as u8].contains(&opcode)
    }

    /// Whether the second byte of a header says that the payload is masked.
    #[inline]
    pub(super) fn is_masked(second: u8) -> bool {
        second & MASK != 0
    }

    /// Reads the length, given its first seven bits, and says where it ends.
    #[inline]
    fn length(short: u8, src: &[u8]) -> Result<Option<(u64, usize)>, ProtocolError> {
        match short {
            LEN_16 => {
                let Some(len) = src[2..].first_chunk() else {
                    return Ok(None);
                };
                let len = u16::from_be_bytes(*len);
                if len < u16::from(LEN_16) {
                    return Err(ProtocolError::LengthNotMinimal);
                }
                Ok(Some((u64::from(len), 4)))
            }
            LEN_64 => Self::length_64(&src[2..]),
            _ => Ok(Some((u64::from(short), 2))),
        }
    }

    /// Reads a length of eight bytes, judging each as soon as it is there.
    fn length_64(bytes: &[u8]) -> Result<Option<(u64, usize)>, ProtocolError> {
        if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
            return Err(ProtocolError::LengthOverflow);
        }
        // What fits into 16 bits has six zeros here, and should have been written so.
        if bytes.first_chunk() == Some(&[0; 6]) {
            return Err(ProtocolError::LengthNotMinimal);
        }
        Ok(bytes.first_chunk().map(|len| (u64::from_be_bytes(*len), 10)))
    }

    /// Appends the header to `dst`, with the length in its shortest form.
    ///
    /// Writes what it is told: that a control frame is whole and short is its caller's affair.
    #[inline]
    pub fn write(&self, dst: &mut BytesMut) {
        let masked = if self.mask.is_some() { MASK } else { 0 };
        let first = if self.fin { FIN } else { 0 } | self.opcode as u8;
        // Each piece has a length that the compiler knows.
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

/// The bit of the first byte that ends a message.
const FIN: u8 = 0x80;
/// The reserved bits of the first byte.
const RSV: u8 = 0x70;
/// The first of them, which permessage-deflate gives a meaning.
const RSV1: u8 = 0x40;
/// The opcode in the first byte.
const OPCODE: u8 = 0x0f;
/// The bit of the second byte that announces a key.
const MASK: u8 = 0x80;
/// The length in the second byte.
const LEN: u8 = 0x7f;
/// The length that announces one of 16 bits.
const LEN_16: u8 = 126;
/// The length that announces one of 64 bits.
const LEN_64: u8 = 127;

#[cfg(test)]
mod tests {
    use super::*;

    /// What the first two bytes say, read bit by bit from the figure in RFC 6455, 5.2.
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

    /// A legal ending for each two bytes: the shortest long lengths, and a key.
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
                        // A fault of the second byte alone is not known yet.
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
                assert_eq!(header, FrameHeader::parse(&[first, 0]), "{first:x}");
            }
        }
    }
}
