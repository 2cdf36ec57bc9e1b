//! The short way for the frames that most streams are made of.

use crate::proto::codec::Codec;
use crate::proto::codec::partial::Receiving;
use crate::proto::frame::{Opcode, Role};
use crate::proto::utf8::Utf8;

/// Finds messages in single frames, as long as nothing else comes. It says nothing of what it does not
/// know: that is for [`Codec::step`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct FastPath {
    /// The most bytes of one message.
    limit: usize,
    /// The most of those that the second byte of a header can say by itself. A masked frame has more
    /// there.
    max_short_len: u8,
    /// Whether text is taken as it is.
    unchecked: bool,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageKind {
    /// Text, checked.
    Text,
    /// Text that nobody has checked.
    Unchecked,
    Binary,
}

impl MessageKind {
    /// What such a message comes as.
    #[inline]
    pub(crate) fn opcode(self) -> Opcode {
        match self {
            MessageKind::Text | MessageKind::Unchecked => Opcode::Text,
            MessageKind::Binary => Opcode::Binary,
        }
    }
}

/// The first bytes of a whole message that is not compressed.
const SINGLE_TEXT: u8 = 0x80 | Opcode::Text as u8;
const SINGLE_BINARY: u8 = 0x80 | Opcode::Binary as u8;

/// The most bytes of a payload whose length is in the second byte.
const MAX_7_BIT_LEN: u8 = 125;

impl Codec {
    /// What finds plain messages from here on; `None` inside a message, and wherever each frame has to
    /// be looked at.
    #[inline]
    pub(crate) fn fast_path(&mut self) -> Option<FastPath> {
        let between = self.receiving == Receiving::Open
            && self.frame.is_none()
            && !self.assembler.is_active();
        if !between || self.role != Role::Client || self.observer.is_some() {
            return None;
        }
        // What was left of a header is in front of what comes.
        self.header_begun = false;
        let limits = self.limits();
        let limit = limits.frame.min(limits.message);
        let max_short_len =
            u8::try_from(limit).map_or(MAX_7_BIT_LEN, |limit| limit.min(MAX_7_BIT_LEN));
        Some(FastPath { limit, max_short_len, unchecked: self.unchecked })
    }
}

impl FastPath {
    /// A message that lies whole at the beginning of `src`: what it is, its payload, and what lies
    /// behind that.
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
            _ => return None,
        };
        Some((kind, payload, behind))
    }

    /// The length of 16 bits that follows, and what lies behind it.
    #[inline]
    fn long_len(self, short: u8, rest: &[u8]) -> Option<(usize, &[u8])> {
        // Else too long for a chunk, or for the limit, or masked.
        let (len, rest) =
            if short == MAX_7_BIT_LEN + 1 { rest.split_first_chunk()? } else { return None };
        let len = usize::from(u16::from_be_bytes(*len));
        // Or not in its shortest form (RFC 6455, 5.2).
        (len > usize::from(MAX_7_BIT_LEN) && len <= self.limit).then_some((len, rest))
    }

    /// What a text is, unless it is none.
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
