//! The fast path of decoding, for the frames that most streams consist of.

use crate::proto::codec::Codec;
use crate::proto::codec::partial::Receiving;
use crate::proto::frame::{Opcode, Role};
use crate::proto::utf8::Utf8;

/// Finds whole messages in single, unmasked, uncompressed frames. It returns `None` for everything
/// else, errors included, which [`Codec::step`] then decodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FastPath {
    /// The most bytes of one message.
    limit: usize,
    /// The greatest length that the second byte of a header may have here. The byte is greater if
    /// it announces a longer length, or if the frame is masked.
    max_short_len: u8,
    /// Whether text is accepted without the check that it is UTF-8.
    unchecked: bool,
}

/// The kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageKind {
    /// Text that was checked to be UTF-8.
    Text,
    /// Text that was not checked.
    Unchecked,
    /// Any bytes.
    Binary,
}

impl MessageKind {
    /// Returns the opcode of the message's first frame.
    #[inline]
    pub(crate) fn opcode(self) -> Opcode {
        match self {
            MessageKind::Text | MessageKind::Unchecked => Opcode::Text,
            MessageKind::Binary => Opcode::Binary,
        }
    }
}

/// The first byte of a whole, uncompressed text message: FIN and the opcode.
const SINGLE_TEXT: u8 = 0x80 | Opcode::Text as u8;
/// The first byte of a whole, uncompressed binary message.
const SINGLE_BINARY: u8 = 0x80 | Opcode::Binary as u8;

/// The longest payload whose length is in the second byte.
const MAX_7_BIT_LEN: u8 = 125;

impl Codec {
    /// Returns the fast path for the bytes that follow; `None` inside a message, for a server, and
    /// if an observer has to see each frame.
    #[inline]
    pub(crate) fn fast_path(&mut self) -> Option<FastPath> {
        let between = self.receiving == Receiving::Open
            && self.frame.is_none()
            && !self.assembler.is_active();
        if !between || self.role != Role::Client || self.observer.is_some() {
            return None;
        }
        // The bytes of an incomplete header are still in front of what follows.
        self.header_begun = false;
        let limits = self.limits();
        let limit = limits.frame.min(limits.message);
        let max_short_len =
            u8::try_from(limit).map_or(MAX_7_BIT_LEN, |limit| limit.min(MAX_7_BIT_LEN));
        Some(FastPath { limit, max_short_len, unchecked: self.unchecked })
    }
}

impl FastPath {
    /// Finds a message that lies whole at the beginning of `src`. Returns its kind, its payload,
    /// and the bytes behind it.
    #[inline]
    pub(crate) fn find(self, src: &[u8]) -> Option<(MessageKind, &[u8], &[u8])> {
        let (&[first, short], rest) = src.split_first_chunk()?;
        let (len, rest) = match short <= self.max_short_len {
            true => (usize::from(short), rest),
            false => self.long_len(short, rest)?,
        };
        let (payload, behind) = rest.split_at_checked(len)?;
        let kind = match first {
            SINGLE_BINARY => MessageKind::Binary,
            SINGLE_TEXT => self.text_kind(payload)?,
            // A fragment, a control frame, compressed data or an error: all are for `step`.
            _ => return None,
        };
        Some((kind, payload, behind))
    }

    /// Reads a length of 16 bits. Returns it, and the bytes behind it.
    #[inline]
    fn long_len(self, short: u8, rest: &[u8]) -> Option<(usize, &[u8])> {
        // Otherwise the length has 64 bits or is over the limit, or the frame is masked.
        let (len, rest) =
            if short == MAX_7_BIT_LEN + 1 { rest.split_first_chunk()? } else { return None };
        let len = usize::from(u16::from_be_bytes(*len));
        // RFC 6455, 5.2: a length that fits into 7 bits must not have 16; `step` returns the error.
        (len > usize::from(MAX_7_BIT_LEN) && len <= self.limit).then_some((len, rest))
    }

    /// Checks a text; `None` if it is not valid UTF-8, for which `step` returns the error.
    #[inline]
    fn text_kind(self, payload: &[u8]) -> Option<MessageKind> {
        if self.unchecked {
            return Some(MessageKind::Unchecked);
        }
        let mut utf8 = Utf8::new();
        utf8.feed(payload).ok()?;
        utf8.finish().ok()?;
        Some(MessageKind::Text)
    }
}
