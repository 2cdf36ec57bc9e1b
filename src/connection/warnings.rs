//! Warnings that may repeat without end: of each kind at most one a second.

use std::time::Duration;

use tokio::time::Instant;

/// One limit for each kind, so that no kind hides another.
#[derive(Default)]
pub(super) struct Warnings {
    refused_send: Limit,
    dropped: Limit,
    /// Dropped messages at the last warning of them.
    dropped_before: u64,
}

impl Warnings {
    /// Whether to warn of a refused send now.
    pub(super) fn refused_send(&mut self) -> bool {
        self.refused_send.allows(Instant::now())
    }

    /// Whether to warn now that `dropped` messages were dropped so far.
    #[inline]
    pub(super) fn dropped_more(&mut self, dropped: u64) -> bool {
        let warns = dropped != self.dropped_before && self.dropped.allows(Instant::now());
        if warns {
            self.dropped_before = dropped;
        }
        warns
    }
}

/// The time of the last warning of one kind.
#[derive(Default)]
struct Limit(Option<Instant>);

/// The least time between two warnings of one kind.
const INTERVAL: Duration = Duration::from_secs(1);

impl Limit {
    fn allows(&mut self, now: Instant) -> bool {
        let allows = self.0.is_none_or(|last| now.duration_since(last) >= INTERVAL);
        if allows {
            self.0 = Some(now);
        }
        allows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_kind_does_not_hide_the_other() {
        let mut warnings = Warnings::default();
        assert!(!warnings.dropped_more(0));
        assert!(warnings.refused_send());
        assert!(warnings.dropped_more(1));
        assert!(!warnings.dropped_more(2));
        assert!(!warnings.refused_send());
    }

    #[test]
    fn a_second_must_pass_between_two_of_a_kind() {
        let (mut limit, now) = (Limit::default(), Instant::now());
        assert!(limit.allows(now));
        assert!(!limit.allows(now + INTERVAL / 2));
        assert!(limit.allows(now + INTERVAL));
        assert!(!limit.allows(now + INTERVAL * 3 / 2));
    }
}
