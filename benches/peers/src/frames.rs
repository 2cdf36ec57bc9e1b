//! The frames that the blaster sends, encoded in advance.

use crate::tally::Digest;
use crate::works::Load;

/// The most bytes of one write, unless a single message is longer.
const BATCH: usize = 256 << 10;

/// The number of different long messages in one batch.
const LONG: usize = 3;

/// Different messages of one kind, in sequence as they are on the wire.
#[derive(Debug)]
pub struct Frames {
    pub wire: Vec<u8>,
    /// Bytes of one message on the wire.
    pub stride: usize,
    /// The digests of the first messages, by their number.
    sums: Vec<Digest>,
}

impl Frames {
    pub fn new(load: Load) -> Frames {
        let stride = wire_length(load);
        let count = (BATCH / stride).max(LONG);
        let mut wire = Vec::with_capacity(count * stride);
        let mut sum = Digest::EMPTY;
        let mut sums = vec![sum];
        for index in 0..count {
            let message = message(load, index);
            write_message(&mut wire, load, &message);
            sum.add(load.size, message[0], message[load.size - 1]);
            sums.push(sum);
        }
        Frames { wire, stride, sums }
    }

    /// Messages of one batch.
    pub fn len(&self) -> usize {
        self.sums.len() - 1
    }

    /// Returns the first messages, at most a batch, and their digest.
    pub fn first(&self, count: u64) -> (&[u8], Digest) {
        let count = self.len().min(count as usize);
        (&self.wire[..count * self.stride], self.sums[count])
    }
}

/// Bytes of one message on the wire, unmasked.
pub fn wire_length(load: Load) -> usize {
    pieces(load).map(|piece| head_length(piece) + piece).sum()
}

/// Bytes of each frame of a message.
fn pieces(load: Load) -> impl Iterator<Item = usize> {
    let piece = load.size.div_ceil(load.fragments);
    (0..load.fragments).map(move |index| piece.min(load.size - index * piece))
}

/// Creates a message, ASCII if it is text, with a beginning and an end of its own.
pub fn message(load: Load, index: usize) -> Vec<u8> {
    let byte = |place: usize| place.wrapping_mul(31).wrapping_add(index.wrapping_mul(17));
    match load.text {
        true => (0..load.size).map(|place| b' ' + (byte(place) % 95) as u8).collect(),
        false => (0..load.size).map(|place| byte(place) as u8).collect(),
    }
}

fn write_message(wire: &mut Vec<u8>, load: Load, message: &[u8]) {
    let mut rest = message;
    for (index, piece) in pieces(load).enumerate() {
        let opcode = if index > 0 { 0 } else { 2 - u8::from(load.text) };
        let fin = if index + 1 == load.fragments { 0x80 } else { 0 };
        let (now, later) = rest.split_at(piece);
        put_head(wire, fin | opcode, false, piece);
        wire.extend(now);
        rest = later;
    }
}

/// Bytes of the head of an unmasked frame.
fn head_length(length: usize) -> usize {
    match length {
        0..126 => 2,
        126..65536 => 4,
        _ => 10,
    }
}

/// Writes the head of a frame, without a mask (RFC 6455, 5.2).
pub fn put_head(out: &mut Vec<u8>, first: u8, masked: bool, length: usize) {
    let mask = u8::from(masked) << 7;
    match head_length(length) {
        2 => out.extend([first, mask | length as u8]),
        4 => {
            out.extend([first, mask | 126]);
            out.extend((length as u16).to_be_bytes());
        }
        _ => {
            out.extend([first, mask | 127]);
            out.extend((length as u64).to_be_bytes());
        }
    }
}

/// One frame at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub fin: bool,
    pub opcode: u8,
    /// Where the payload begins, behind head and mask.
    pub start: usize,
    pub length: usize,
    pub mask: Option<[u8; 4]>,
}

impl Found {
    /// Where the frame ends.
    pub fn end(&self) -> usize {
        self.start + self.length
    }
}

/// Parses the head of a frame; `None` until it is complete. The payload may be missing.
#[inline]
pub fn find(bytes: &[u8]) -> Option<Found> {
    let [first, second, ..] = *bytes else { return None };
    let (mut start, length) = match second & 0x7f {
        126 => (4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?) as usize),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        length => (2, length as usize),
    };
    let mut mask = None;
    if second & 0x80 != 0 {
        mask = Some(bytes.get(start..start + 4)?.try_into().ok()?);
        start += 4;
    }
    Some(Found { fin: first & 0x80 != 0, opcode: first & 0x0f, start, length, mask })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_found_again() {
        for (size, fragments) in [(16, 1), (126, 1), (70_000, 1), (1000, 3)] {
            let load = Load { size, text: false, fragments };
            let frames = Frames::new(load);
            let mut rest = frames.first(1).0;
            let mut found: Vec<u8> = Vec::new();
            while let Some(frame) = find(rest) {
                found.extend(&rest[frame.start..frame.end()]);
                assert_eq!(frame.fin, frame.end() == rest.len());
                rest = &rest[frame.end()..];
            }
            assert_eq!(found, message(load, 0));
        }
    }

    #[test]
    fn a_head_is_not_found_until_it_is_whole() {
        let mut frame = Vec::new();
        put_head(&mut frame, 0x82, false, 70_000);
        assert_eq!(find(&frame).unwrap().length, 70_000);
        frame.pop();
        assert_eq!(find(&frame), None);
        assert_eq!(find(&[0x82, 0x81, 1, 2, 3]), None);
        assert_eq!(find(&[0x82, 0x81, 1, 2, 3, 4]).unwrap().mask, Some([1, 2, 3, 4]));
    }

    #[test]
    fn the_sum_is_that_of_the_messages() {
        let frames = Frames::new(Load { size: 16, text: true, fragments: 1 });
        let (wire, sum) = frames.first(2);
        assert_eq!(wire.len(), 2 * 18);
        let mut expected = Digest::EMPTY;
        for frame in wire.chunks(18) {
            expected.add(16, frame[2], frame[17]);
        }
        assert_eq!(sum, expected);
    }
}
