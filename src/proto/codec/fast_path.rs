//! The short way for the frames that most streams are made of.

use crate::proto::codec::Codec;
use crate::proto::codec::partial::Receiving;
use crate::proto::frame::{Opcode, Role};
use crate::proto::utf8::Utf8;

/// Finds messages in single frames, as long as nothing else comes. It says nothing of what it does not
/// know: that is for [`Codec::step`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain {
    /// The most bytes of one message.
    limit: usize,
    /// The most of those that the second byte of a header can say by itself. A masked frame has more
    /// there.
    short: u8,
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

/// The most bytes of a payload whose length is in the second byte.
const LONGEST: u8 = 125;

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
        let short = u8::try_from(limit).map_or(LONGEST, |limit| limit.min(LONGEST));
        Some(Plain { limit, short, unchecked: self.unchecked })
    }
}

impl Plain {
    /// A message that lies whole at the beginning of `src`: what it is, its payload, and what lies
    /// behind that.
    #[inline]
    pub(crate) fn find(self, src: &[u8]) -> Option<(Kind, &[u8], &[u8])> {
        let (&[first, short], rest) = src.split_first_chunk()?;
        let (len, rest) = match short <= self.short {
            true => (usize::from(short), rest),
            false => self.long(short, rest)?,
        };
        let (payload, behind) = rest.split_at_checked(len)?;
        let kind = match first {
            BINARY => Kind::Binary,
            TEXT => self.text(payload)?,
            _ => return None,
        };
        Some((kind, payload, behind))
    }

    /// The length of 16 bits that follows, and what lies behind it.
    #[inline]
    fn long(self, short: u8, rest: &[u8]) -> Option<(usize, &[u8])> {
        // Else too long for a chunk, or for the limit, or masked.
        let (len, rest) =
            if short == LONGEST + 1 { rest.split_first_chunk()? } else { return None };
        let len = usize::from(u16::from_be_bytes(*len));
        // Or not in its shortest form (RFC 6455, 5.2).
        (len > usize::from(LONGEST) && len <= self.limit).then_some((len, rest))
    }

    /// What a text is, unless it is none.
    #[inline]
    fn text(self, payload: &[u8]) -> Option<Kind> {
        if self.unchecked {
            return Some(Kind::Unchecked);
        }
        let mut utf8 = Utf8::new();
        utf8.feed(payload).ok()?;
        utf8.finish().ok()?;
        Some(Kind::Text)
    }
}
