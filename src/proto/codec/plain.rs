//! The short way for the frames that most streams are made of.

use crate::proto::codec::Codec;
use crate::proto::codec::decode::Receiving;
use crate::proto::frame::{Opcode, Role};
use crate::proto::utf8::Utf8;

/// Finds messages in single frames, as long as nothing else comes. It says nothing of what it does not
/// know: that is for [`Codec::step`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain {
    /// The most bytes of one message.
    limit: usize,
    /// Whether text is taken as it is.
    unchecked: bool,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text, checked.
    Text,
    /// Text that nobody has checked.
    Unchecked,
    Binary,
}

impl Kind {
    /// What such a message comes as.
    #[inline]
    pub(crate) fn opcode(self) -> Opcode {
        match self {
            Kind::Text | Kind::Unchecked => Opcode::Text,
            Kind::Binary => Opcode::Binary,
        }
    }
}

/// The first bytes of a whole message that is not compressed.
const TEXT: u8 = 0x80 | Opcode::Text as u8;
const BINARY: u8 = 0x80 | Opcode::Binary as u8;

impl Codec {
    /// What finds plain messages from here on; `None` inside a message, and wherever each frame has to
    /// be looked at.
    #[inline]
    pub(crate) fn plain(&mut self) -> Option<Plain> {
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
        Some(Plain { limit, unchecked: self.unchecked })
    }
}

impl Plain {
    /// A message that lies whole at the beginning of `src`: what it is, where its payload begins, and
    /// the length of that.
    #[inline]
    pub(crate) fn find(self, src: &[u8]) -> Option<(Kind, usize, usize)> {
        let (&first, &short) = (src.first()?, src.get(1)?);
        let kind = match first {
            TEXT if self.unchecked => Kind::Unchecked,
            TEXT => Kind::Text,
            BINARY => Kind::Binary,
            _ => return None,
        };
        let (begin, len) = match short {
            0..=125 => (2, usize::from(short)),
            126 => match u16::from_be_bytes(*src.get(2..)?.first_chunk()?) {
                // Not in its shortest form (RFC 6455, 5.2).
                0..=125 => return None,
                len => (4, usize::from(len)),
            },
            // Too long for a chunk, or masked.
            _ => return None,
        };
        let payload = src.get(begin..begin + len).filter(|_| len <= self.limit)?;
        if kind == Kind::Text {
            let mut utf8 = Utf8::new();
            utf8.feed(payload).ok()?;
            utf8.finish().ok()?;
        }
        Some((kind, begin, len))
    }
}
