//! Times of day and of week, in UTC.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A time of some days of the week: `Mon-Fri 14:30-21:00`, or `02:00-04:00` of all days. It may end after
/// midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hours {
    /// Whether it begins on each day, from Monday on.
    days: [bool; 7],
    /// Minutes since midnight.
    from: u64,
    to: u64,
}

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const DAY: u64 = 24 * 60;

impl fmt::Display for Hours {
    /// Formats the time of day alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from, self.to);
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

impl FromStr for Hours {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Hours, &'static str> {
        const SHAPE: &str = "expected hours in UTC such as 02:00-04:00 or Mon-Fri 14:30-21:00";
        let (days, hours) = text.rsplit_once(' ').unwrap_or(("", text));
        let (from, to) = hours.split_once('-').ok_or(SHAPE)?;
        let (from, to) = (minutes(from).ok_or(SHAPE)?, minutes(to).ok_or(SHAPE)?);
        if from == to || from == DAY {
            return Err("these hours are empty; all day is 00:00-24:00");
        }
        Ok(Hours { days: self::days(days).ok_or(SHAPE)?, from, to })
    }
}

fn minutes(text: &str) -> Option<u64> {
    let (hour, minute) = text.split_once(':')?;
    let is_number = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (hour, minute) = (is_number(hour).then_some(hour)?, is_number(minute).then_some(minute)?);
    let (hour, minute): (u64, u64) = (hour.parse().ok()?, minute.parse().ok()?);
    Some(hour * 60 + minute).filter(|all| minute < 60 && *all <= DAY)
}

/// Parses `Mon-Fri`, `Sat` or nothing.
fn days(text: &str) -> Option<[bool; 7]> {
    let day = |text: &str| DAYS.iter().position(|day| *day == text);
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (day(first)?, day(last)?),
        None if text.is_empty() => (0, 6),
        None => (day(text)?, day(text)?),
    };
    // `Sat-Mon` goes over the end of the week.
    let span = (last + 7 - first) % 7;
    Some(std::array::from_fn(|day| (day + 7 - first) % 7 <= span))
}

impl Hours {
    /// Whether they are of every day of the week.
    pub(crate) fn is_daily(&self) -> bool {
        self.days == [true; 7]
    }

    /// Returns when they begin and end, since midnight.
    pub(crate) fn times(&self) -> (Duration, Duration) {
        let time = |minutes: u64| Duration::from_secs(minutes * 60);
        (time(self.from), time(self.to))
    }

    /// Whether a time is in these hours.
    pub(crate) fn contains(&self, time: SystemTime) -> bool {
        let minute = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 60;
        // 1970 began on a Thursday.
        let (day, minute) = ((minute / DAY + 3) as usize % 7, minute % DAY);
        let (today, yesterday) = (self.days[day], self.days[(day + 6) % 7]);
        match self.from < self.to {
            true => today && (self.from..self.to).contains(&minute),
            false => (today && minute >= self.from) || (yesterday && minute < self.to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_of_days() {
        // 2024-01-01 was a Monday.
        let at = |day: u64, hour: u64, minute: u64| {
            UNIX_EPOCH + Duration::from_secs(1_704_067_200 + (day * DAY + hour * 60 + minute) * 60)
        };
        let inside = |hours: &str, day, hour, minute| {
            hours.parse::<Hours>().unwrap().contains(at(day, hour, minute))
        };
        assert!(inside("02:00-04:00", 3, 2, 0) && inside("02:00-04:00", 6, 3, 59));
        assert!(!inside("02:00-04:00", 3, 4, 0) && !inside("02:00-04:00", 3, 1, 59));
        assert!(
            inside("Mon-Fri 14:30-21:00", 0, 14, 30) && inside("Mon-Fri 14:30-21:00", 4, 20, 59)
        );
        assert!(
            !inside("Mon-Fri 14:30-21:00", 5, 15, 0) && !inside("Mon-Fri 14:30-21:00", 6, 15, 0)
        );
        assert!(inside("Sun 22:00-02:00", 6, 23, 0) && inside("Sun 22:00-02:00", 7, 1, 0));
        assert!(!inside("Sun 22:00-02:00", 6, 1, 0) && !inside("Sun 22:00-02:00", 7, 22, 0));
        assert!(inside("Sat-Mon 00:00-24:00", 0, 0, 0) && !inside("Sat-Mon 00:00-24:00", 1, 0, 0));
        for bad in [
            "",
            "2:00-04:00",
            "02:00",
            "25:00-26:00",
            "02:60-03:00",
            "Mo 02:00-04:00",
            "02:00-02:00",
            "Mon-Fri",
        ] {
            assert!(bad.parse::<Hours>().is_err(), "{bad}");
        }
    }
}
