//! The clock of a rotation: how long it has waited for something, where the shard may have held its lines meanwhile.

use std::time::{Duration, Instant};

/// How often a wait begins anew because the shard held its lines.
const MAX_HOLDS: u32 = 8;
/// A wait that was interrupted more often is over after this many times its length.
const MAX_WAIT_FACTOR: u32 = 4;

/// Measures waits.
///
/// After a hold a wait begins anew: what has come meanwhile is not read yet. But a shard whose recipient is always a bit too
/// slow holds its lines again and again, and reads for moments only: no wait would ever be over. So one that was interrupted
/// eight times is over after four times its length.
#[derive(Debug)]
pub(super) struct Clock {
    /// When the shard began to read.
    reads_since: Instant,
    is_holding: bool,
    /// The number of times that it has held its lines.
    holds: u32,
}

/// The beginning of a wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    at: Instant,
    /// The number of times that the shard had held its lines before.
    holds: u32,
}

impl Clock {
    /// Creates the clock of a shard that reads its lines.
    pub(super) fn new(now: Instant) -> Clock {
        Clock { reads_since: now, is_holding: false, holds: 0 }
    }

    /// Begins or ends a time in which the shard holds its lines.
    pub(super) fn hold(&mut self, holds: bool, now: Instant) {
        if self.is_holding && !holds {
            self.reads_since = now;
            self.holds = self.holds.wrapping_add(1);
        }
        self.is_holding = holds;
    }

    /// Whether the shard holds its lines.
    pub(super) fn is_holding(&self) -> bool {
        self.is_holding
    }

    /// Returns the beginning of a wait.
    pub(super) fn mark(&self, now: Instant) -> Mark {
        Mark { at: now, holds: self.holds }
    }

    /// Returns when a wait of this length is over, if the shard goes on to read.
    pub(super) fn over(&self, since: Mark, length: Duration) -> Instant {
        let anew = since.at.max(self.reads_since) + length;
        match self.holds.wrapping_sub(since.holds) {
            0..MAX_HOLDS => anew,
            MAX_HOLDS.. => anew.min(since.at + length * MAX_WAIT_FACTOR),
        }
    }

    /// Whether a wait of this length is over. It is not while the shard holds its lines.
    pub(super) fn is_over(&self, since: Mark, length: Duration, now: Instant) -> bool {
        !self.is_holding && now >= self.over(since, length)
    }
}

impl Mark {
    /// Returns the time since the beginning.
    pub(super) fn elapsed(self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_wait_begins_anew_after_a_hold() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        let since = clock.mark(start);
        assert_eq!(clock.over(since, 5 * SECOND), start + 5 * SECOND);
        assert!(!clock.is_over(since, 5 * SECOND, start + 4 * SECOND));
        assert!(clock.is_over(since, 5 * SECOND, start + 5 * SECOND));
        clock.hold(true, start + 2 * SECOND);
        assert!(clock.is_holding() && !clock.is_over(since, 5 * SECOND, start + 9 * SECOND));
        clock.hold(false, start + 10 * SECOND);
        // The shard was not holding.
        clock.hold(false, start + 11 * SECOND);
        assert!(!clock.is_holding());
        assert_eq!(clock.over(since, 5 * SECOND), start + 15 * SECOND);
        assert_eq!(since.elapsed(start + 15 * SECOND), 15 * SECOND);
        let later = clock.mark(start + 20 * SECOND);
        assert_eq!(clock.over(later, 5 * SECOND), start + 25 * SECOND, "the hold was before");
    }

    #[test]
    fn a_wait_that_is_interrupted_again_and_again_is_over_after_four_times_its_length() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        (0..3).for_each(|_| [true, false].into_iter().for_each(|holds| clock.hold(holds, start)));
        let since = clock.mark(start);
        for hold in 1..=20 {
            let now = start + hold * SECOND;
            clock.hold(true, now);
            clock.hold(false, now);
            let anew = now + 5 * SECOND;
            let over = if hold < MAX_HOLDS { anew } else { anew.min(start + 20 * SECOND) };
            assert_eq!(clock.over(since, 5 * SECOND), over, "{hold} holds");
        }
        assert!(clock.is_over(since, 5 * SECOND, start + 20 * SECOND));
    }
}
