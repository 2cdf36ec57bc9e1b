//! The rate of the last minute, as a short text.

use std::collections::VecDeque;
use std::time::Duration;

/// The time of one sample.
pub(crate) const SAMPLE: Duration = Duration::from_secs(2);

/// The number of samples that are kept: one minute.
pub(crate) const SAMPLES: usize = 30;

/// The number of updates in each of the last [`SAMPLES`] spans of time, on a logarithmic scale.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(VecDeque<u8>);

impl Samples {
    /// Adds the count of the newest span.
    pub(crate) fn push(&mut self, count: u64) {
        if self.0.len() == SAMPLES {
            self.0.pop_front();
        }
        // A topic that never ticks has no samples.
        if count > 0 || !self.0.is_empty() {
            self.0.push_back(level(count));
        }
        if self.0.iter().all(|level| *level == 0) {
            self.0.clear();
        }
    }

    /// Returns one character for each sample, the newest last: `0` for none, and then `1` to `z` in steps of the square
    /// root of two.
    pub(crate) fn text(&self) -> String {
        self.0.iter().map(|level| char::from_digit(u32::from(*level), 36).unwrap_or('z')).collect()
    }
}

/// Returns 0 for 0, 1 for 1, 3 for 2, 5 for 4 and so on.
fn level(count: u64) -> u8 {
    match count {
        0 => 0,
        count => ((count as f64).log2() * 2.0).round().min(34.0) as u8 + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_character() {
        let mut samples = Samples::default();
        for count in [0, 0, 1, 2, 4, 0, 1000, u64::MAX] {
            samples.push(count);
        }
        assert_eq!(samples.text(), "1350lz");
    }

    #[test]
    fn a_minute_is_kept_and_silence_takes_no_memory() {
        let mut samples = Samples::default();
        (0..100).for_each(|_| samples.push(8));
        assert_eq!(samples.text().len(), SAMPLES);
        (0..SAMPLES).for_each(|_| samples.push(0));
        assert_eq!(samples.text(), "");
    }
}
