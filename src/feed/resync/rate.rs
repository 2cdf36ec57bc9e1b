//! When the next snapshot may be asked for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::feed::pace::{Frame, Pace};
use crate::feed::rules::Rules;

/// A limit on the rate of asks, shared by its clones: by all shards of a feed, on whichever threads.
#[derive(Clone, Debug)]
pub(crate) struct Rate(Arc<Mutex<Pace>>);

impl Rate {
    /// Creates a limit of `count` asks in any period of `length`.
    pub(crate) fn new(count: u32, length: Duration) -> Rate {
        Rate(Arc::new(Mutex::new(Pace::new(&Rules::default().frames(count, length)))))
    }

    /// Returns when the next ask may be sent: `now` or later.
    pub(super) fn ready_at(&self, now: Instant) -> Instant {
        self.lock().ready_at(Frame::Urgent, now)
    }

    /// Counts an ask. Returns `false` if it may not be sent yet.
    pub(super) fn take(&self, now: Instant) -> bool {
        let mut pace = self.lock();
        let may = pace.ready_at(Frame::Urgent, now) <= now;
        if may {
            pace.sent(Frame::Urgent, now);
        }
        may
    }

    fn lock(&self) -> MutexGuard<'_, Pace> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
