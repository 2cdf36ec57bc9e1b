//! When the next snapshot may be asked for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::feed::pace::after;

/// A limit on the rate of asks, shared by its clones: by all shards of a feed, on whichever threads.
#[derive(Clone, Debug)]
pub(crate) struct Rate(Arc<Mutex<Window>>);

/// A limit of asks in any period, and the newest asks.
///
/// A venue counts requests as they arrive, and they may arrive closer together than they were made. So the period is
/// taken to be longer than it is by a fiftieth, at most 50 ms.
#[derive(Debug)]
struct Window {
    limit: u32,
    period: Duration,
    /// The newest asks, at most `limit` of them: how many were made at which time. Those of thousands of topics are made in
    /// few polls.
    asks: VecDeque<(Instant, u32)>,
    /// The number of all of them.
    count: u32,
}

impl Rate {
    /// Creates a limit of `count` asks in any period of `length`.
    pub(crate) fn new(count: u32, length: Duration) -> Rate {
        let margin = (length / 50).min(Duration::from_millis(50));
        let period = length.saturating_add(margin);
        Rate(Arc::new(Mutex::new(Window { limit: count, period, asks: VecDeque::new(), count: 0 })))
    }

    /// Returns when the next ask may be sent: `now` or later.
    pub(super) fn ready_at(&self, now: Instant) -> Instant {
        self.lock().ready_at(now)
    }

    /// Counts an ask. Returns `false` if it may not be sent yet.
    pub(super) fn take(&self, now: Instant) -> bool {
        let mut window = self.lock();
        let may = window.ready_at(now) <= now;
        if may {
            window.record(now);
        }
        may
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn ready_at(&self, now: Instant) -> Instant {
        let oldest = self.asks.front().filter(|_| self.count >= self.limit);
        oldest.map_or(now, |(oldest, _)| after(*oldest, self.period).max(now))
    }

    fn record(&mut self, now: Instant) {
        match self.asks.back_mut().filter(|(at, _)| *at == now) {
            Some((_, count)) => *count += 1,
            None => self.asks.push_back((now, 1)),
        }
        self.count += 1;
        while self.count > self.limit
            && let Some((_, count)) = self.asks.front_mut()
        {
            *count -= 1;
            self.count -= 1;
            if *count == 0 {
                self.asks.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Takes as many asks as the limit allows at these times, at most `each`.
    fn taken(rate: &Rate, begin: Instant, times: &[u64], each: u32) -> Vec<u32> {
        let at = |millis: &u64| begin + Duration::from_millis(*millis);
        let take = |now: Instant| (0..each).take_while(|_| rate.take(now)).count() as u32;
        times.iter().map(at).map(take).collect()
    }

    #[test]
    fn no_period_has_more_asks_than_are_allowed() {
        let (rate, begin) = (Rate::new(10, SECOND), Instant::now());
        assert_eq!(taken(&rate, begin, &[0, 100, 200], 4), [4, 4, 2]);
        assert_eq!(rate.ready_at(begin + SECOND), begin + Duration::from_millis(1020));
        assert_eq!(taken(&rate, begin, &[1019, 1020, 1119, 1120, 1300], 9), [0, 4, 0, 4, 2]);
    }

    #[test]
    fn asks_of_one_time_take_the_memory_of_one() {
        let (rate, begin) = (Rate::new(10_000, SECOND), Instant::now());
        assert_eq!(taken(&rate, begin, &[0, 1], 5_000), [5_000, 5_000]);
        assert_eq!(rate.lock().asks.len(), 2);
        assert!(rate.ready_at(begin + SECOND / 2) > begin + SECOND);
    }

    #[test]
    fn a_clock_that_does_not_move_on_changes_nothing() {
        let (rate, begin) = (Rate::new(2, SECOND), Instant::now());
        assert_eq!(taken(&rate, begin, &[0, 0, 5000, 5000], 3), [2, 0, 2, 0]);
    }
}
