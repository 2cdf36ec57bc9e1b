//! When frames left: the record of a socket's writes, for what keeps to a rate.

use std::time::{Duration, Instant};

/// When frames left on one socket, as [`command::Ledger`](crate::command::Ledger) returns it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SentFrames {
    /// The newest opened socket, from 1; 0 before the first.
    pub epoch: u64,
    /// What left on it, oldest first: at most [`MAX_ENTRIES`](SentFrames::MAX_ENTRIES). Empty while no socket
    /// is open.
    pub entries: Vec<SentAt>,
}

/// The frames that left together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SentAt {
    /// When the transport was flushed behind them.
    pub at: Instant,
    /// How many data frames: one for each message, or for each of its fragments.
    pub data: u64,
    /// How many Ping, Pong and Close frames.
    pub control: u64,
}

impl SentFrames {
    /// The most entries of a record. Beyond, the oldest two become one with the later time, so that no
    /// window has too few frames.
    pub const MAX_ENTRIES: usize = 1024;

    /// Returns how many data frames and how many control frames left within `window` before `now`.
    pub fn within(&self, window: Duration, now: Instant) -> (u64, u64) {
        let recent = self.entries.iter().rev();
        let recent = recent.take_while(|entry| now.saturating_duration_since(entry.at) < window);
        recent.fold((0, 0), |(data, control), entry| (data + entry.data, control + entry.control))
    }

    pub(crate) fn push(&mut self, at: Instant, data: u64, control: u64) {
        if self.entries.len() >= SentFrames::MAX_ENTRIES {
            let oldest = self.entries.remove(0);
            if let Some(next) = self.entries.first_mut() {
                next.data += oldest.data;
                next.control += oldest.control;
            }
        }
        self.entries.push(SentAt { at, data, control });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_counts_what_left_in_it_and_never_too_little() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut sent = SentFrames::default();
        for number in 0..2_000 {
            sent.push(start + number * second, 2, 1);
        }
        let now = start + 1_999 * second;
        assert_eq!(sent.entries.len(), SentFrames::MAX_ENTRIES);
        assert_eq!(sent.within(second, now), (2, 1));
        assert_eq!(sent.within(10 * second, now), (20, 10));
        // All of it is there, at the time of the oldest entry or later.
        assert_eq!(sent.within(1_024 * second, now), (4_000, 2_000));
        assert_eq!(sent.within(second, now + second), (0, 0));
    }
}
