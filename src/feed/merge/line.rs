//! What the merge knows of one line: how far it is in each topic, and how far behind the others.

use std::time::{Duration, Instant};

use crate::feed::table;
use crate::feed::topics::Slot;

/// One line, from the opening of its socket to the end.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// How far it is in each topic, by slot.
    positions: Vec<Position>,
    pub(super) lags: Lags,
    /// Updates that it brought.
    pub(super) updates: u64,
    /// Updates that it brought first.
    pub(super) firsts: u64,
}

/// How far a line is in one topic.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Position {
    /// Whether it brings the topic.
    pub(super) presence: Presence,
    /// Whether `start` and `next` are known.
    pub(super) is_numbered: bool,
    /// Whether no line carried the topic when this one joined, and it has brought nothing new yet.
    pub(super) is_alone: bool,
    /// Whether it joined while the venue began its numbers anew, so that it may still bring old ones.
    pub(super) is_provisional: bool,
    /// The generation of the numbers.
    pub(super) generation: u32,
    /// The first number that it brought. Before that the least one that it may bring: what was sent before the topic was
    /// asked for never comes on it.
    pub(super) start: u64,
    /// One more than the last number that it brought.
    pub(super) next: u64,
}

/// Whether a line brings a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Presence {
    /// Not that is known.
    #[default]
    None,
    /// The topic is asked for, and no answer is read. The venue sends updates from when it has read the request, so they may
    /// be under way before the answer, or with it.
    Asked,
    /// The venue has confirmed it.
    Confirmed,
    /// It has brought an update since its socket was opened.
    Joined,
}

impl Position {
    /// Whether it has brought the topic since its socket was opened.
    #[inline]
    pub(super) fn is_joined(&self) -> bool {
        self.presence == Presence::Joined
    }

    /// Whether it may still bring a number of this generation.
    pub(super) fn may_bring(&self, number: u64, generation: u32) -> bool {
        match self.presence {
            Presence::None => false,
            // All numbers of a generation that has begun since are newer.
            Presence::Asked | Presence::Confirmed => {
                self.generation != generation || self.start <= number
            }
            Presence::Joined => {
                self.is_numbered && self.generation == generation && self.next <= number
            }
        }
    }

    /// Whether it brings numbers of this generation, and has brought something new.
    #[inline]
    pub(super) fn is_plain(&self, generation: u32) -> bool {
        self.is_numbered && !self.is_alone && self.generation == generation
    }
}

impl Line {
    pub(super) fn position(&self, slot: Slot) -> Position {
        self.positions.get(slot as usize).copied().unwrap_or_default()
    }

    #[inline]
    pub(super) fn position_mut(&mut self, slot: Slot) -> &mut Position {
        let slot = slot as usize;
        if slot >= self.positions.len() {
            table::fill(&mut self.positions, slot + 1, Position::default);
        }
        &mut self.positions[slot]
    }

    /// Returns how far it is in a topic, if it has brought one of this slot or a later one.
    #[inline]
    pub(super) fn known_mut(&mut self, slot: Slot) -> Option<&mut Position> {
        self.positions.get_mut(slot as usize)
    }

    /// Forgets a topic that the line does not carry any more.
    pub(super) fn forget(&mut self, slot: Slot) {
        if let Some(position) = self.positions.get_mut(slot as usize) {
            *position = Position::default();
        }
    }
}

/// The lags of a line behind the first one to bring the same update: the newest 64.
#[derive(Debug)]
pub(super) struct Lags {
    /// In microseconds.
    samples: [u32; 64],
    count: usize,
}

impl Default for Lags {
    fn default() -> Lags {
        Lags { samples: [0; 64], count: 0 }
    }
}

impl Lags {
    pub(super) fn push(&mut self, lag: Duration) {
        self.samples[self.count % 64] = u32::try_from(lag.as_micros()).unwrap_or(u32::MAX);
        self.count += 1;
    }

    /// Returns the lag that this share of the samples, in per cent, does not exceed; zero without samples.
    pub(super) fn quantile(&self, percent: usize) -> Duration {
        let count = self.count.min(64);
        let mut sorted = self.samples;
        let sorted = &mut sorted[..count];
        sorted.sort_unstable();
        let at = (count * percent).div_ceil(100).max(1) - 1;
        Duration::from_micros(sorted.get(at).copied().unwrap_or_default().into())
    }
}

/// An update that was delivered, and the lines that have brought it.
pub(super) struct Probe {
    pub(super) slot: Slot,
    pub(super) number: u64,
    pub(super) at: Instant,
    /// When it is given up.
    pub(super) until: Instant,
    pub(super) seen: u64,
    /// The number of those lines.
    pub(super) count: usize,
}

impl Probe {
    /// Whether this is the update of it, and the line has not brought it before.
    #[inline]
    pub(super) fn is(&self, slot: Slot, number: u64, line: u8) -> bool {
        self.number == number && self.slot == slot && self.seen & 1 << (line % 64) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_newest_samples() {
        let mut lags = Lags::default();
        assert_eq!(lags.quantile(99), Duration::ZERO);
        lags.push(Duration::from_secs(5));
        assert_eq!((lags.quantile(50), lags.quantile(99)), (lags.quantile(1), lags.quantile(100)));
        for millis in 1..=64 {
            lags.push(Duration::from_millis(millis));
        }
        assert_eq!(lags.quantile(50), Duration::from_millis(32));
        assert_eq!(lags.quantile(99), Duration::from_millis(64));
        lags.push(Duration::MAX);
        assert_eq!(lags.quantile(100), Duration::from_micros(u32::MAX.into()));
    }
}
