//! The control frames that wait to be written.

use std::collections::VecDeque;

use crate::proto::message::ControlPayload;

/// The control frames among the bytes that have not left, which do not count against the limit of data.
#[derive(Default)]
pub(super) struct ControlFrames {
    /// For each control frame in the buffer, the value of `queued` at its end, and its length.
    pub(super) frames: VecDeque<(u64, usize)>,
    /// The sum of their lengths.
    pub(super) bytes: usize,
    /// The lengths of those that were written, and are not flushed.
    pub(super) unflushed: usize,
    /// The value of `queued` behind our Close frame, if it was queued.
    pub(super) close_end: Option<u64>,
    /// How many were queued since they were last counted for the figures.
    pub(super) uncounted: u32,
    /// The Pong that is owed while `frames` is full. A newer one replaces it.
    pub(super) pong: Option<ControlPayload>,
}

/// The most control frames that wait to be written. It bounds what a peer can make us buffer by sending
/// Pings and not reading.
pub(super) const MAX_CONTROL_FRAMES: usize = 64;

impl ControlFrames {
    pub(super) fn is_full(&self) -> bool {
        self.frames.len() >= MAX_CONTROL_FRAMES
    }

    /// Whether there is nothing to remember, once all is flushed.
    pub(super) fn is_idle(&self) -> bool {
        self.frames.is_empty()
            && self.pong.is_none()
            && self.close_end.is_none()
            && self.uncounted == 0
    }

    /// Removes the frames that end within the first `written` bytes.
    pub(super) fn forget(&mut self, written: u64) {
        while let Some(&(end, length)) = self.frames.front()
            && end <= written
        {
            self.frames.pop_front();
            self.bytes -= length;
            self.unflushed += length;
        }
    }
}
