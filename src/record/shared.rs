//! What all clones of a recorder share, and all its tracks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::record::queue::Queue;

/// What all clones share.
#[derive(Debug)]
pub(super) struct Shared {
    queue: Arc<Queue>,
    /// The number of the next track.
    tracks: AtomicU32,
    /// The number of feeds that are recorded.
    feeds: AtomicU32,
    /// The beginning of the monotonic clock in the files.
    began: Instant,
}

impl Shared {
    pub(super) fn new(queue: Arc<Queue>) -> Shared {
        // Also where the clock is paused or simulated.
        let began = tokio::time::Instant::now().into_std();
        Shared { queue, tracks: AtomicU32::new(0), feeds: AtomicU32::new(0), began }
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Returns the number of the next track.
    pub(super) fn next_track(&self) -> u32 {
        self.tracks.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns the number of the next feed, from 1.
    pub(super) fn next_feed(&self) -> u32 {
        self.feeds.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Returns the nanoseconds from the start of the recorder to a time; 0 for one before it.
    pub(super) fn elapsed(&self, at: Instant) -> u64 {
        nanoseconds(at.saturating_duration_since(self.began))
    }
}

/// Returns a duration in nanoseconds, of which 584 years fit.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Drop for Shared {
    /// Has the thread write what is left, and end.
    fn drop(&mut self) {
        self.queue.close();
    }
}
