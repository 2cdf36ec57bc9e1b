//! Limits of what may be sent in a length of time.

use std::collections::VecDeque;
use std::str::FromStr;
use std::time::Duration;

use tokio::time::Instant;

use crate::value::PositiveTime;

/// A number of messages in any period of a length: `5/1s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) count: usize,
    pub(crate) period: Duration,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        const SHAPE: &str = "a rate is a number of messages and a time: 5/1s, 480/1h";
        let (count, period) = text.split_once('/').ok_or(SHAPE)?;
        let count: usize = count.parse().map_err(|_| SHAPE)?;
        // `5/s` is `5/1s`.
        let one = if period.starts_with(|c: char| c.is_ascii_digit()) { "" } else { "1" };
        let PositiveTime(period) =
            format!("{one}{period}").parse().map_err(|why| format!("{SHAPE}; {why}"))?;
        match count {
            0 => Err("must allow at least one message".into()),
            1..=MAX_COUNT => Ok(Rate { count, period }),
            _ => Err(format!("at most {MAX_COUNT} messages in a period")),
        }
    }
}

/// The largest number of messages in a period: each costs 16 bytes while it counts.
const MAX_COUNT: usize = 1_000_000;

/// When the messages of the last period were sent, and when the next may be.
pub(crate) struct Pace {
    rate: Option<Rate>,
    /// The oldest first; at most as many as the rate allows.
    sent: VecDeque<Instant>,
}

impl Pace {
    /// Creates one that has sent nothing. Without a rate it allows all.
    pub(crate) fn new(rate: Option<Rate>) -> Pace {
        Pace { rate, sent: VecDeque::new() }
    }

    /// Returns when the next message may be sent, if that is later than now.
    pub(crate) fn wait_until(&self, now: Instant) -> Option<Instant> {
        let rate = self.rate?;
        let oldest = self.sent.front().filter(|_| self.sent.len() >= rate.count)?;
        Some(*oldest + rate.period).filter(|at| *at > now)
    }

    /// Counts a message.
    pub(crate) fn sent(&mut self, now: Instant) {
        let Some(rate) = self.rate else { return };
        if self.sent.len() >= rate.count {
            self.sent.pop_front();
        }
        self.sent.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_in_a_time() {
        let rate = |count, secs| Ok(Rate { count, period: Duration::from_secs(secs) });
        assert_eq!("5/1s".parse(), rate(5, 1));
        assert_eq!("5/s".parse(), rate(5, 1));
        assert_eq!("480/1h".parse(), rate(480, 3600));
        for bad in [
            "", "5", "5/", "/1s", "0/1s", "5/0", "5/0s", "-1/1s", "5/1", "5 / 1s", "1.5/1s",
            "5per1s",
        ] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
        assert!("1000001/1s".parse::<Rate>().is_err());
    }

    #[test]
    fn in_no_period_more_is_sent_than_the_rate_allows() {
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        for count in [1, 2, 7] {
            let mut pace = Pace::new(Some(Rate { count, period: Duration::from_millis(100) }));
            let mut sent: Vec<u64> = Vec::new();
            // As fast as may be, but for a rest.
            for now in (0..1000).filter(|now| !(300..420).contains(now)) {
                while pace.wait_until(ms(now)).is_none() {
                    pace.sent(ms(now));
                    sent.push(now);
                }
            }
            for first in &sent {
                let inside = sent.iter().filter(|at| (*first..first + 100).contains(at)).count();
                assert!(inside <= count, "{inside} from {first}");
            }
            assert!(sent.len() >= 8 * count, "{sent:?}");
        }
        assert_eq!(Pace::new(None).wait_until(start), None);
    }
}
