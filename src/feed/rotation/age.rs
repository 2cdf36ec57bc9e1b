//! When the socket of a line has had its time: by its age, or by the hour of the day.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::feed::pace::after;
use crate::feed::rotate::{DAY, Rotate};

/// The socket of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Age {
    /// When it was opened.
    pub(super) since: Instant,
    /// When it is old enough.
    by_age: Option<Instant>,
    /// When its time comes in the hours of the day, as the clock said last.
    by_hour: Option<Instant>,
    /// When it is to be rotated, because the venue has announced its end.
    by_notice: Option<Instant>,
    /// When every topic was confirmed or refused on it for the first time.
    active: Option<Instant>,
    /// Where in its spans of time it is rotated, from 0 to 1.
    share: f64,
}

impl Age {
    pub(super) fn new(rule: &Rotate, now: Instant, wall: SystemTime, share: f64) -> Age {
        let share = share.clamp(0.0, 1.0);
        let age = rule.age.map(|age| age.saturating_sub(rule.jitter_of(age).mul_f64(share)));
        let mut age = Age {
            since: now,
            by_age: age.map(|age| after(now, age)),
            by_hour: None,
            by_notice: None,
            active: None,
            share,
        };
        age.by_hour = age.next_hour(rule, now, wall);
        age
    }

    /// Has it rotated after this time. The first announcement counts.
    pub(super) fn announce(&mut self, now: Instant, time: Duration) {
        self.by_notice.get_or_insert(after(now, time));
    }

    /// Notes that every topic is confirmed or refused. The first time counts.
    pub(super) fn activate(&mut self, now: Instant) {
        self.active.get_or_insert(now);
    }

    /// Whether every topic was confirmed or refused on it.
    pub(super) fn has_been_active(&self) -> bool {
        self.active.is_some()
    }

    /// Returns when the line is to be rotated.
    pub(super) fn due(&mut self, rule: &Rotate, now: Instant, wall: SystemTime) -> Option<Instant> {
        // The clock of the day may have been set, or may have gone on while the machine slept.
        if self.by_hour.is_some_and(|at| at <= now) && !is_in_hours(rule, wall) {
            self.by_hour = self.next_hour(rule, now, wall);
        }
        let due = [self.by_age, self.by_hour, self.by_notice].into_iter().flatten().min()?;
        if rule.breaks_first { self.pays_off().map(|at| at.max(due)) } else { Some(due) }
    }

    /// Returns when it has carried its topics for as long as it took to get them; `None` before it has. A line that is
    /// closed first carries nothing until it has them again: with an age below that time it would never carry any.
    fn pays_off(&self) -> Option<Instant> {
        self.active.map(|active| after(active, active.saturating_duration_since(self.since)))
    }

    /// Returns the next time in the hours of the day. Not in those that the socket was opened in.
    fn next_hour(&self, rule: &Rotate, now: Instant, wall: SystemTime) -> Option<Instant> {
        let times = rule.hours.iter().map(|(from, to)| {
            let length = since_of_day(*from, *to);
            let begin = (*from + length.mul_f64(self.share)).as_secs_f64() % DAY.as_secs_f64();
            let at = after(now, since_of_day(time_of_day(wall), Duration::from_secs_f64(begin)));
            let is_same = at <= self.since + length.mul_f64(self.share);
            if is_same { after(at, DAY) } else { at }
        });
        times.min()
    }
}

/// Whether the clock shows one of the hours.
fn is_in_hours(rule: &Rotate, wall: SystemTime) -> bool {
    let time = time_of_day(wall);
    rule.hours.iter().any(|(from, to)| since_of_day(*from, time) <= since_of_day(*from, *to))
}

/// Returns the time of the day in UTC.
fn time_of_day(wall: SystemTime) -> Duration {
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_secs(since.as_secs() % DAY.as_secs())
}

/// Returns the time from one time of the day to another, which may be that of the next day. A whole day is one.
fn since_of_day(from: Duration, to: Duration) -> Duration {
    if to >= from { to - from } else { to + DAY - from }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// A clock that shows this hour of the day.
    fn wall(hours: f64) -> SystemTime {
        UNIX_EPOCH + 400 * DAY + HOUR.mul_f64(hours)
    }

    /// Returns the hours from an opening to the rotation.
    fn due(rule: &Rotate, opened: f64, share: f64) -> Option<f64> {
        let now = Instant::now();
        let due = Age::new(rule, now, wall(opened), share).due(rule, now, wall(opened));
        due.map(|due| ((due - now).as_secs_f64() / 36.0).round() / 100.0)
    }

    #[test]
    fn an_age_comes_up_to_its_jitter_earlier() {
        let rule = Rotate::at_age(23 * HOUR);
        assert_eq!(
            [0.0, 0.5, 1.0].map(|share| due(&rule, 3.0, share)),
            [23.0, 21.85, 20.7].map(Some)
        );
        let exact = rule.clone().jitter(Duration::ZERO);
        assert_eq!(due(&exact, 3.0, 1.0), Some(23.0));
        assert_eq!(due(&rule.jitter(2 * HOUR), 3.0, 0.5), Some(22.0));
        assert_eq!(due(&Rotate::default(), 3.0, 0.5), None);
    }

    #[test]
    fn a_line_that_is_closed_first_carries_its_topics_for_as_long_as_it_took_to_get_them() {
        let rule = Rotate::at_age(5 * HOUR).jitter(Duration::ZERO);
        for (rule, active, expected) in [
            (rule.clone(), None, Some(5)),
            (rule.clone(), Some(3), Some(5)),
            (rule.clone().break_first(), None, None),
            (rule.clone().break_first(), Some(2), Some(5)),
            (rule.clone().break_first(), Some(3), Some(6)),
            (rule.break_first(), Some(7), Some(14)),
        ] {
            let now = Instant::now();
            let mut age = Age::new(&rule, now, wall(0.0), 0.0);
            active.into_iter().for_each(|hours| age.activate(now + hours * HOUR));
            // It is active again after topics were added.
            active.into_iter().for_each(|hours| age.activate(now + (hours + 1) * HOUR));
            let expected = expected.map(|hours| now + hours * HOUR);
            assert_eq!(age.due(&rule, now, wall(0.0)), expected, "{rule:?}, {active:?}");
        }
        // So it does if its end was announced.
        let (rule, now) = (Rotate::default().break_first(), Instant::now());
        let mut age = Age::new(&rule, now, wall(0.0), 0.0);
        age.announce(now, HOUR);
        age.activate(now + 2 * HOUR);
        assert_eq!(age.due(&rule, now, wall(0.0)), Some(now + 4 * HOUR));
    }

    #[test]
    fn hours_come_once_a_day_and_not_in_those_of_the_opening() {
        let rule = Rotate::default().hours(2 * HOUR, 4 * HOUR);
        assert_eq!(due(&rule, 0.0, 0.5), Some(3.0));
        assert_eq!(due(&rule, 5.0, 0.0), Some(21.0));
        assert_eq!(due(&rule, 2.5, 0.5), Some(24.5), "it was opened in these hours");
        assert_eq!(due(&rule, 3.5, 0.5), Some(23.5));
        let both = rule.age(10 * HOUR).jitter(Duration::ZERO);
        assert_eq!(due(&both, 5.0, 0.0), Some(10.0), "the age holds also outside the hours");
        assert_eq!(due(&both, 0.0, 0.0), Some(2.0));
    }

    #[test]
    fn hours_may_end_on_the_next_day() {
        let rule = Rotate::default().hours(23 * HOUR, HOUR);
        assert_eq!(due(&rule, 12.0, 0.0), Some(11.0));
        assert_eq!(due(&rule, 12.0, 1.0), Some(13.0));
        assert_eq!(due(&rule, 23.5, 1.0), Some(25.5));
        assert_eq!(due(&rule, 0.5, 0.0), Some(22.5));
    }

    #[test]
    fn a_clock_that_was_set_moves_the_hours() {
        let (rule, now) = (Rotate::default().hours(2 * HOUR, 4 * HOUR), Instant::now());
        let mut age = Age::new(&rule, now, wall(0.0), 0.5);
        let later = now + 3 * HOUR;
        assert_eq!(age.due(&rule, later, wall(3.0)), Some(later));
        assert_eq!(age.due(&rule, later + HOUR / 2, wall(3.5)), Some(later), "it is overdue");
        assert_eq!(age.due(&rule, later, wall(23.0)), Some(later + 4 * HOUR));
    }
}
