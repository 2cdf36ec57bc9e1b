//! The limits of a recorder.

use std::time::Duration;

/// The limits of a recorder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) file_bytes: u64,
    pub(super) file_age: Duration,
    pub(super) keep_bytes: u64,
    pub(super) flush_every: Duration,
    pub(super) queue_bytes: usize,
    pub(super) sync: Sync,
}

/// When written data is forced from the memory of the operating system to the disk (`fsync`).
///
/// What was flushed survives the end of the process, also `kill -9`, under each policy. The policies differ in what
/// survives a crash of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sync {
    /// When a file is complete. A crash of the machine may lose the file that is being written.
    #[default]
    Files,
    /// After each flush. A crash of the machine loses at most what came since the last one.
    Flushes,
    /// Never: the operating system decides.
    Never,
}
