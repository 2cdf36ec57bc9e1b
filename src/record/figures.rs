//! What a recorder has done so far.

use std::sync::Arc;

/// What a [`Recorder`](crate::record::Recorder) has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// Messages and events that were written. Those since the last flush may not be on the disk yet.
    pub written: u64,
    /// Messages and events that were dropped, because the queue was full or the disk failed.
    pub dropped: u64,
    /// Bytes that were written to files.
    pub bytes: u64,
    /// Files that were begun.
    pub files: u64,
    /// Files that were deleted, because all together exceeded
    /// [`keep_bytes`](crate::record::Builder::keep_bytes).
    pub deleted: u64,
    /// Bytes of memory in the queue now.
    pub queued_bytes: usize,
    /// The newest failure of the disk; `None` if there was none, or if a file was written since.
    pub error: Option<Arc<str>>,
}
