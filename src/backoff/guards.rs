//! The guards: limits that hold under every policy.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::policy::{MAX_DELAY, Reconnect};

/// The limits that hold under every policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Guards {
    /// The number of dials since the last stable socket after which the connection gives up.
    /// Default: `None`, no limit.
    ///
    /// Dials that opened a socket count too, if that socket did not last. With 3, the third failure
    /// in a row is the last. With 1, a connection that was stable is dialled once more; with 0,
    /// never.
    pub max_attempts: Option<u32>,
    /// How long a socket must have been open for its loss to start the policy over. Default: 10 s.
    ///
    /// With zero, every opening counts as stable: against a server that accepts and drops, each
    /// retry is then a first retry, and only the dial limit slows them down.
    pub stable_after: Duration,
    /// How many dials may begin in a window of time. Default: [`DialGuard::ByPolicy`].
    pub dial_limit: DialGuard,
}

impl Default for Guards {
    fn default() -> Guards {
        Guards {
            max_attempts: None,
            stable_after: Duration::from_secs(10),
            dial_limit: DialGuard::ByPolicy,
        }
    }
}

/// The setting of [`Guards::dial_limit`].
///
/// Converts from `Option<DialLimit>`, which is an explicit choice: `None` becomes `Off`, not
/// `ByPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DialGuard {
    /// [`DialLimit::default`] under the exponential policy. No limit under a fixed or a custom policy,
    /// whose delays are kept as they are.
    #[default]
    ByPolicy,
    /// No limit.
    Off,
    /// This limit, under every policy.
    Limit(DialLimit),
}

impl DialGuard {
    /// Returns the limit that holds under `policy`.
    #[must_use]
    pub fn under(self, policy: &Reconnect) -> Option<DialLimit> {
        match self {
            DialGuard::ByPolicy => policy.is_exponential().then(DialLimit::default),
            DialGuard::Off => None,
            DialGuard::Limit(limit) => Some(limit),
        }
    }
}

impl From<Option<DialLimit>> for DialGuard {
    fn from(limit: Option<DialLimit>) -> DialGuard {
        limit.map_or(DialGuard::Off, DialGuard::Limit)
    }
}

/// At most `dials` dials begin in any `window`, wherever it starts. Default: 16 in 60 s.
///
/// A dial over the limit is delayed, not dropped. Dials are counted when they begin: a network path
/// with varying delay may still deliver them to the server closer together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialLimit {
    /// The number of dials; 0 counts as 1.
    pub dials: u32,
    /// The length of the window, at most 24 hours; zero is no limit.
    pub window: Duration,
}

impl Default for DialLimit {
    fn default() -> DialLimit {
        DialLimit { dials: 16, window: Duration::from_secs(60) }
    }
}

/// The dials of the last window of time.
#[derive(Debug)]
pub(super) struct Window {
    /// The most dials in one window, at least one.
    dials: usize,
    /// How long a dial counts: 1 ms more than the window, because a dial at either end of the
    /// window belongs to it. Zero if there is no limit.
    span: Duration,
    /// When the last `dials` dials began, the oldest first; none is older than `span`.
    begun: VecDeque<Instant>,
}

impl Window {
    /// Creates an empty window.
    pub(super) fn new(limit: DialLimit) -> Window {
        Window {
            dials: usize::try_from(limit.dials).unwrap_or(usize::MAX).max(1),
            span: match limit.window {
                Duration::ZERO => Duration::ZERO,
                window => window.saturating_add(Duration::from_millis(1)).min(MAX_DELAY),
            },
            begun: VecDeque::new(),
        }
    }

    /// Counts a dial that begins now.
    pub(super) fn dialling(&mut self, now: Instant) {
        while self.begun.front().is_some_and(|&dial| self.left(dial, now).is_zero()) {
            self.begun.pop_front();
        }
        // Full only if the caller did not wait as long as `hold` said.
        if self.begun.len() == self.dials {
            self.begun.pop_front();
        }
        self.begun.push_back(now);
    }

    /// Returns how long the next dial has to wait.
    pub(super) fn hold(&self, now: Instant) -> Duration {
        match self.begun.front() {
            Some(&oldest) if self.begun.len() == self.dials => self.left(oldest, now),
            _ => Duration::ZERO,
        }
    }

    /// Returns how long a dial still counts.
    fn left(&self, dial: Instant, now: Instant) -> Duration {
        self.span.saturating_sub(now.saturating_duration_since(dial))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn window(dials: u32, window: Duration) -> Window {
        Window::new(DialLimit { dials, window })
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let guards = Guards::default();
        assert_eq!(guards.max_attempts, None);
        assert_eq!(guards.stable_after, 10 * SECOND);
        assert_eq!(guards.dial_limit, DialGuard::ByPolicy);
        assert_eq!(DialLimit::default(), DialLimit { dials: 16, window: 60 * SECOND });
    }

    #[test]
    fn unset_follows_the_policy_and_a_choice_does_not() {
        let limit = DialLimit { dials: 3, window: SECOND };
        let exponential = Reconnect::default();
        let fixed = Reconnect::fixed(SECOND);
        let custom = Reconnect::delays(|| [SECOND]);

        assert_eq!(DialGuard::ByPolicy.under(&exponential), Some(DialLimit::default()));
        assert_eq!(DialGuard::ByPolicy.under(&fixed), None);
        assert_eq!(DialGuard::ByPolicy.under(&custom), None);
        for policy in [&exponential, &fixed, &custom] {
            assert_eq!(DialGuard::from(None).under(policy), None);
            assert_eq!(DialGuard::from(Some(limit)).under(policy), Some(limit));
        }
    }

    #[test]
    fn a_full_window_holds_until_its_oldest_dial_has_left() {
        let start = Instant::now();
        let mut window = window(2, 60 * SECOND);
        assert_eq!(window.hold(start), Duration::ZERO);
        window.dialling(start);
        assert_eq!(window.hold(start), Duration::ZERO);
        window.dialling(start + 10 * SECOND);
        // A dial at either end of the window counts, so the third begins just after it.
        assert_eq!(window.hold(start + 20 * SECOND), Duration::from_millis(40_001));
        assert_eq!(window.hold(start + 60 * SECOND), Duration::from_millis(1));
        assert_eq!(window.hold(start + 61 * SECOND), Duration::ZERO);
        window.dialling(start + 61 * SECOND);
        assert_eq!(window.hold(start + 61 * SECOND), Duration::from_millis(9_001));
    }

    #[test]
    fn dials_that_did_not_ask_push_the_next_one_back() {
        let start = Instant::now();
        let mut window = window(2, 60 * SECOND);
        for n in 0..5 {
            window.dialling(start + n * SECOND);
        }
        // Only the fourth and the fifth count.
        assert_eq!(window.hold(start + 4 * SECOND), Duration::from_millis(59_001));
    }

    #[test]
    fn dials_older_than_the_window_are_not_kept() {
        let start = Instant::now();
        let mut window = window(u32::MAX, 60 * SECOND);
        for n in 0..1_000 {
            window.dialling(start + n * SECOND);
        }
        assert_eq!(window.begun.len(), 61);
    }

    #[test]
    fn extremes_of_the_limit_are_tame() {
        let now = Instant::now();

        let mut none = window(0, 60 * SECOND);
        none.dialling(now);
        assert_eq!(none.hold(now), Duration::from_millis(60_001), "0 dials count as 1");

        let mut endless = window(1, Duration::MAX);
        endless.dialling(now);
        assert_eq!(endless.hold(now), MAX_DELAY);

        let mut instant = window(1, Duration::ZERO);
        instant.dialling(now);
        assert_eq!(instant.hold(now), Duration::ZERO);
    }

    #[test]
    fn a_clock_that_steps_back_is_survived() {
        let now = Instant::now();
        let mut window = window(1, 60 * SECOND);
        window.dialling(now + 5 * SECOND);
        assert_eq!(window.hold(now), Duration::from_millis(60_001));
    }
}
