//! The state of decoding: whether more may arrive, and the frame in progress.

use crate::proto::frame::FrameHeader;
use crate::proto::mask;
use crate::proto::utf8::Utf8;

/// What the incoming half may still yield.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    /// Frames.
    Open,
    /// Nothing: the peer has sent its Close.
    Closed,
    /// Nothing: an error was returned, and is returned once only.
    Failed,
}

/// A frame whose header is complete.
pub(super) struct PartialFrame {
    /// The header.
    pub(super) header: FrameHeader,
    /// Whether the payload goes to the assembler: it is a fragment (RFC 6455, 5.4) or compressed.
    pub(super) is_part: bool,
    /// The length of the payload in bytes, which the limits allow.
    pub(super) len: usize,
    /// How many bytes of the payload are unmasked, and checked if they are text.
    pub(super) done: usize,
    /// The UTF-8 check of a text in a single frame; the assembler checks all others.
    pub(super) utf8: Utf8,
}

impl PartialFrame {
    /// Unmasks the bytes of the payload that have arrived since the last call, and returns them.
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
