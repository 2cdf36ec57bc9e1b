//! What came of a replay so far.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What came of a [`Replay`](crate::feed::Replay) so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The messages of the venue that were replayed.
    pub messages: u64,
    /// The messages that the recorder had dropped. What the feed delivers lacks them.
    pub missing: u64,
    /// How far into the recording it came: the time since the recorder was started.
    pub at: Duration,
    /// The file that was not completed, because the process that recorded or its machine ended. All its whole chunks were
    /// replayed.
    pub torn: Option<PathBuf>,
    /// The files of a recording without its beginning, which were passed over for the next one.
    pub passed_over: Vec<PathBuf>,
    /// Why it ended before the recording did.
    pub error: Option<Arc<str>>,
    /// Whether it has ended.
    pub has_ended: bool,
}

/// A report that a replay shares with its clones.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(Arc<Mutex<Report>>);

impl Shared {
    pub(super) fn get(&self) -> Report {
        self.lock().clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
