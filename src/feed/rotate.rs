//! When the lines of a feed are rotated. Data alone.

use std::time::Duration;

use crate::error::ConfigError;

/// When a line is replaced by a new one: at an age, in certain hours of the day, or both. Set with
/// [`Builder::rotate`](crate::feed::Builder::rotate).
///
/// The new line is dialled first. Once it carries every topic, the old one is closed, so that nothing is lost and nothing
/// delivered twice. A rotation that fails leaves the old line as it is, and is tried again after 10 min.
///
/// By default a line is rotated only if the venue announces its end, with
/// [`Notice::RotateWithin`](crate::feed::Notice::RotateWithin), or by [`command::Rotate`](crate::feed::command::Rotate).
///
/// ```
/// use actix_ws_client::feed::{HOUR, Rotate};
///
/// // A venue that ends each socket after 24 hours.
/// let rotate = Rotate::at_age(23 * HOUR);
/// // The same, and every night between 02:00 and 04:00 UTC.
/// let nightly = rotate.clone().hours(2 * HOUR, 4 * HOUR);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotate {
    pub(crate) age: Option<Duration>,
    /// `None` is a tenth of the age.
    pub(crate) jitter: Option<Duration>,
    /// Beginning and end, since midnight in UTC.
    pub(crate) hours: Vec<(Duration, Duration)>,
    pub(crate) breaks_first: bool,
}

/// The length of a day.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

impl Rotate {
    /// Creates a rotation of each line whose socket has been open for this time.
    pub fn at_age(age: Duration) -> Rotate {
        Rotate::default().age(age)
    }

    /// Sets the age of a socket at which its line is rotated, also outside the [`hours`](Rotate::hours). Default: none.
    ///
    /// If a line takes longer than this to carry every topic, the next one is dialled as soon as it has taken over. With
    /// [`break_first`](Rotate::break_first) it stays for as long as it took, at least.
    pub fn age(mut self, age: Duration) -> Rotate {
        self.age = Some(age);
        self
    }

    /// Sets by how much earlier than its age a line may be rotated, at random: then the lines of a feed are not rotated
    /// all at once. Without a [`Budget`](crate::Budget) nothing else limits how many dial at the same time. Default: a tenth of
    /// the age.
    pub fn jitter(mut self, time: Duration) -> Rotate {
        self.jitter = Some(time);
        self
    }

    /// Adds hours of the day, in UTC, in which each line is rotated once, at a random time. `from` and `to` are the times
    /// since midnight; if `to` is the smaller one, the hours end on the next day. Default: none.
    ///
    /// A line whose socket was opened within the same hours is not rotated in them again.
    pub fn hours(mut self, from: Duration, to: Duration) -> Rotate {
        self.hours.push((from, to));
        self
    }

    /// Closes the old line before the new one is dialled: for a venue that allows a single session. What is missed in
    /// between is reported as a [`Gap`](crate::feed::event::Gap) with the cause `Rotation`. Default: the new line is
    /// dialled first.
    ///
    /// Whatever the age, the hours and the announcements of the venue say, a line is closed only after it has carried every
    /// topic for as long as its socket took to get them: about half of the time, at least. A
    /// [`command::Rotate`](crate::feed::command::Rotate) closes it at once.
    ///
    /// A feed does so too when the new line has waited for 30 s for the sockets of a [`Budget`](crate::Budget).
    ///
    /// Of several lines one is closed only while another one carries the topics.
    pub fn break_first(mut self) -> Rotate {
        self.breaks_first = true;
        self
    }

    /// Returns the longest time by which a rotation may be earlier than the age.
    pub(crate) fn jitter_of(&self, age: Duration) -> Duration {
        self.jitter.unwrap_or(age / 10).min(age)
    }

    /// Refuses what can never begin, or would never end.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |text: &str| Err(ConfigError::option("rotate", text));
        if self.age.is_some_and(|age| age.is_zero()) {
            return refuse("the age must be above zero");
        }
        if self.age.zip(self.jitter).is_some_and(|(age, jitter)| jitter >= age) {
            return refuse("the jitter must be less than the age");
        }
        let is_wrong = |(from, to): &(Duration, Duration)| from.max(to) > &DAY || from == to;
        if self.hours.iter().any(is_wrong) {
            return refuse("hours must be two different times of the day, from 0 to 24 h");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn what_can_never_be_is_refused_by_name() {
        let refused = |rotate: Rotate| rotate.check().unwrap_err().to_string();
        let age = Rotate::at_age(HOUR);
        assert_eq!(refused(Rotate::at_age(Duration::ZERO)), "rotate: the age must be above zero");
        assert!(refused(age.clone().jitter(HOUR)).contains("the jitter must be less"));
        assert!(refused(age.clone().hours(HOUR, HOUR)).contains("two different times"));
        assert!(refused(age.clone().hours(HOUR, 25 * HOUR)).contains("from 0 to 24 h"));
        for rotate in [age.clone().hours(22 * HOUR, 2 * HOUR), age.hours(HOUR, DAY)] {
            assert!(rotate.check().is_ok());
        }
        assert!(Rotate::default().break_first().check().is_ok());
    }
}
