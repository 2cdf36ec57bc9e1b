//! How far decoding has come: whether more may follow, and the frame in progress.

use crate::proto::frame::FrameHeader;
use crate::proto::mask;
use crate::proto::utf8::Utf8;

/// What the incoming half may still yield.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    /// Frames.
    Open,
    /// Nothing: the peer's Close came.
    Closed,
    /// Nothing, not even an error: one was returned.
    Failed,
}

/// A frame whose header is known.
pub(super) struct PartialFrame {
    /// Its header.
    pub(super) header: FrameHeader,
    /// Whether it goes to the assembler: a part of a message (RFC 6455, 5.4), or a compressed one.
    pub(super) is_part: bool,
    /// Its length, which the limits allow.
    pub(super) len: usize,
    /// How many bytes of its payload were unmasked, and checked if it is text.
    pub(super) done: usize,
    /// The check of that text, if it is not a fragment's.
    pub(super) utf8: Utf8,
}

impl PartialFrame {
    /// Unmasks what came of the payload since the last time, and gives it out.
    #[inline]
    pub(super) fn unmask<'a>(&mut self, fresh: &'a mut [u8]) -> &'a mut [u8] {
        let end = fresh.len().min(self.len - self.done);
        let fresh = &mut fresh[..end];
        if let Some(key) = self.header.mask {
            mask::mask(fresh, mask::rotate(key, self.done));
        }
        self.done += end;
        fresh
    }
}
