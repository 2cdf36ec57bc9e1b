//! How much of a budget is left.

use std::time::Instant;

use crate::budget::quota::Quota;

/// How much a [`Budget`](crate::Budget) has left at one moment. Read by [`Budget::room`](crate::Budget::room).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Room {
    /// Dials that may begin now, by the fullest of its windows; `None` without one.
    pub dials: Option<usize>,
    /// Sockets that may be opened beside those that are open or being opened; `None` without a limit.
    pub sockets: Option<usize>,
}

impl Quota {
    /// Returns what is left. A `Retry-After`, and failed dials, are not considered.
    pub(crate) fn room(&self, now: Instant) -> Room {
        let used = |span| self.ended.iter().filter(|ended| **ended + span > now).count();
        let windows = self.windows.iter();
        let dials = windows
            .map(|window| window.dials.saturating_sub(self.in_flight + used(window.span)))
            .min();
        Room { dials, sockets: self.max_sockets.map(|max| max.saturating_sub(self.sockets)) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_left_comes_back_with_the_window() {
        let (mut quota, start) = (Quota::default(), Instant::now());
        assert_eq!(quota.room(start), Room::default());
        quota.limit_dials(3, 10 * SECOND);
        quota.limit_dials(100, 60 * SECOND);
        quota.limit_sockets(2);
        let room = |dials, sockets| Room { dials: Some(dials), sockets: Some(sockets) };
        assert_eq!(quota.room(start), room(3, 2));
        quota.take(1, start);
        assert_eq!(quota.room(start), room(2, 1));
        quota.open(1, start);
        assert_eq!(quota.room(start + 9 * SECOND), room(2, 1));
        assert_eq!(quota.room(start + 11 * SECOND), room(3, 1));
    }
}
