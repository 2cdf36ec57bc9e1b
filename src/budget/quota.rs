//! The limits of one budget, and what its dials have used of them.

pub(super) mod room;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use derive_more::Display;

use crate::backoff::{MAX_DELAY, MAX_RETRY_AFTER};

/// The number of a dial, from its permit to the end of its socket.
pub(super) type DialId = u64;

/// The limit of a [`Budget`](crate::Budget) that a dial waits for.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// As many dials as the budget allows have begun in one of its windows of time.
    #[display("dials")]
    Dials,
    /// As many sockets are open, or being opened, as the budget allows.
    #[display("sockets")]
    Sockets,
    /// The server answered one of the dials with `Retry-After`.
    #[display("retry_after")]
    RetryAfter,
    /// Three dials in a row have failed. One dial at a time tries whether the server is back.
    #[display("probe")]
    Probe,
}

/// Why no dial may begin now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) limit: Limit,
    /// When the limit has room if nothing happens before; `None` if only the outcome of another dial or the end of
    /// a socket makes room.
    pub(super) until: Option<Instant>,
}

/// How a dial failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Whether the server sent an HTTP reply. A dial without one does not count in the windows.
    pub(crate) answered: bool,
    /// The server's `Retry-After`.
    pub(crate) retry_after: Option<Duration>,
    /// Whether it says something about the server: a closure of the application's that failed, or credentials that
    /// were refused, do not.
    pub(crate) by_server: bool,
}

/// The number of failed dials in a row after which only one dial at a time begins.
const FAILURES_BEFORE_PROBE: u32 = 3;

/// How long a socket must have been open to show that the server is back. A loss before that is a failed dial.
pub(super) const YOUNG: Duration = Duration::from_secs(5);

/// The delay after the first failure at which the next single dial may begin. It doubles with each one that fails.
const FIRST_PROBE_DELAY: Duration = Duration::from_secs(1);

/// The longest such delay: with it, a server that accepts and drops at once gets 28 dials in 5 minutes.
const MAX_PROBE_DELAY: Duration = Duration::from_secs(10);

/// One budget: its limits, and what counts against them.
#[derive(Debug, Default)]
pub(super) struct Quota {
    windows: Vec<Window>,
    /// The most sockets at once; `None` for any number.
    max_sockets: Option<usize>,
    /// Dials that have begun and have no outcome yet. The server may count them at any time until then.
    in_flight: usize,
    /// When dials had their outcome, the oldest first: those that a window still counts.
    ended: VecDeque<Instant>,
    /// Open sockets and dials in flight.
    sockets: usize,
    /// Open sockets that may still turn out as failed dials, with the time of their opening, the oldest first.
    young: VecDeque<(DialId, Instant)>,
    /// The time that the newest `Retry-After` allows the next dial at.
    not_before: Option<Instant>,
    /// Failed dials since one succeeded.
    failures: u32,
    /// The single dial that tries whether the server is back.
    probe: Option<DialId>,
    /// Such dials that failed since one succeeded.
    failed_probes: u32,
    /// When the next such dial may begin.
    next_probe: Option<Instant>,
}

/// At most `dials` dials in any span of this length.
#[derive(Clone, Copy, Debug)]
struct Window {
    dials: usize,
    /// 1 ms more than the window: a dial at either end of the window belongs to it.
    span: Duration,
}

impl Quota {
    /// Adds a window. No dials count as one, and a window of zero is no limit.
    pub(super) fn limit_dials(&mut self, dials: u32, window: Duration) {
        if !window.is_zero() {
            let span = window.saturating_add(Duration::from_millis(1)).min(MAX_DELAY);
            self.windows.push(Window { dials: at_least_one(dials), span });
        }
    }

    /// Limits the sockets. Zero counts as one.
    pub(super) fn limit_sockets(&mut self, sockets: u32) {
        self.max_sockets = Some(at_least_one(sockets));
    }

    /// Returns what the next dial has to wait for, if `claimed` other dials begin before it.
    pub(super) fn hold(&self, now: Instant, claimed: usize) -> Option<Hold> {
        let windows = self.windows.iter().filter_map(|window| self.full(*window, now, claimed));
        let rest = [
            self.max_sockets
                .filter(|max| self.sockets + claimed >= *max)
                .map(|_| Hold { limit: Limit::Sockets, until: None }),
            self.not_before
                .filter(|at| *at > now)
                .map(|at| Hold { limit: Limit::RetryAfter, until: Some(at) }),
            self.probe_hold(now, claimed),
        ];
        windows
            .chain(rest.into_iter().flatten())
            .max_by_key(|hold| (hold.until.is_none(), hold.until))
    }

    /// Returns when a full window has room.
    fn full(&self, window: Window, now: Instant, claimed: usize) -> Option<Hold> {
        let limit = Limit::Dials;
        let in_flight = self.in_flight + claimed;
        let Some(room) = window.dials.checked_sub(in_flight).filter(|room| *room > 0) else {
            return Some(Hold { limit, until: None });
        };
        // The window is full while the last `room` of the ended dials all count.
        let oldest = self.ended.len().checked_sub(room)?;
        let until = self.ended[oldest] + window.span;
        (until > now).then_some(Hold { limit, until: Some(until) })
    }

    /// Returns when the next single dial may begin, if three in a row have failed.
    fn probe_hold(&self, now: Instant, claimed: usize) -> Option<Hold> {
        let proven = self.young.front().map(|(_, opened)| *opened + YOUNG);
        if self.failures < FAILURES_BEFORE_PROBE || proven.is_some_and(|at| at <= now) {
            return None;
        }
        let limit = Limit::Probe;
        if self.in_flight + claimed > 0 || proven.is_some() {
            return Some(Hold { limit, until: proven });
        }
        self.next_probe.filter(|at| *at > now).map(|at| Hold { limit, until: Some(at) })
    }

    /// Takes a permit for a dial that begins now.
    pub(super) fn take(&mut self, dial: DialId, now: Instant) {
        self.advance(now);
        self.in_flight += 1;
        self.sockets += 1;
        if self.failures >= FAILURES_BEFORE_PROBE {
            self.probe = Some(dial);
        }
    }

    /// Gives the permit of a dial back that was cancelled.
    pub(super) fn cancel(&mut self, dial: DialId, now: Instant) {
        self.fail(dial, now, Failure::default());
    }

    /// Records the outcome of a dial that failed.
    pub(super) fn fail(&mut self, dial: DialId, now: Instant, failure: Failure) {
        self.advance(now);
        self.in_flight -= 1;
        self.sockets -= 1;
        if failure.answered {
            self.end(now);
        }
        if let Some(delay) = failure.retry_after {
            self.not_before = self.not_before.max(Some(now + delay.min(MAX_RETRY_AFTER)));
        }
        if failure.by_server {
            self.count_failure(dial, now);
        }
        self.probe.take_if(|probe| *probe == dial);
    }

    /// Records that a dial opened a socket.
    pub(super) fn open(&mut self, dial: DialId, now: Instant) {
        self.advance(now);
        self.in_flight -= 1;
        self.end(now);
        let now = self.young.back().map_or(now, |(_, last)| now.max(*last));
        self.young.push_back((dial, now));
    }

    /// Records that an open socket works, before it was open for long enough to show that.
    pub(super) fn settle(&mut self, dial: DialId, now: Instant) {
        self.advance(now);
        let young = self.young.iter().position(|(id, _)| *id == dial);
        if young.and_then(|at| self.young.remove(at)).is_some() {
            self.succeed();
        }
    }

    /// Records the end of a socket, and whether it was `lost` rather than closed by us.
    pub(super) fn close(&mut self, dial: DialId, now: Instant, lost: bool) {
        self.advance(now);
        self.sockets -= 1;
        let young = self.young.iter().position(|(id, _)| *id == dial);
        if young.and_then(|at| self.young.remove(at)).is_some() && lost {
            self.count_failure(dial, now);
        }
        self.probe.take_if(|probe| *probe == dial);
    }

    /// Records a socket that was open for long enough by now, and forgets dials that no window counts any more.
    fn advance(&mut self, now: Instant) {
        while self.young.front().is_some_and(|(_, opened)| *opened + YOUNG <= now) {
            self.young.pop_front();
            self.succeed();
        }
        let longest = self.windows.iter().map(|window| window.span).max().unwrap_or_default();
        while self.ended.front().is_some_and(|ended| *ended + longest <= now) {
            self.ended.pop_front();
        }
    }

    /// Counts a dial in the windows, from now on.
    fn end(&mut self, now: Instant) {
        if !self.windows.is_empty() {
            let now = self.ended.back().map_or(now, |last| now.max(*last));
            self.ended.push_back(now);
        }
    }

    fn count_failure(&mut self, dial: DialId, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.probe == Some(dial) {
            self.failed_probes = self.failed_probes.saturating_add(1);
        }
        let factor = 1 << self.failed_probes.min(8);
        let delay = (FIRST_PROBE_DELAY * factor).min(MAX_PROBE_DELAY);
        self.next_probe = self.next_probe.max(Some(now + delay));
    }

    fn succeed(&mut self) {
        self.failures = 0;
        self.failed_probes = 0;
        self.probe = None;
        self.next_probe = None;
    }
}

fn at_least_one(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    /// A quota and its clock.
    struct Life {
        quota: Quota,
        start: Instant,
        now: Instant,
        next: DialId,
    }

    impl Life {
        fn new(set: impl FnOnce(&mut Quota)) -> Life {
            let mut quota = Quota::default();
            set(&mut quota);
            let now = Instant::now();
            Life { quota, start: now, now, next: 0 }
        }

        fn take(&mut self) -> DialId {
            self.next += 1;
            self.quota.take(self.next, self.now);
            self.next
        }

        /// A dial that fails at once.
        fn fail(&mut self, failure: Failure) {
            let dial = self.take();
            self.quota.fail(dial, self.now, failure);
        }

        /// A dial that opens a socket.
        fn open(&mut self) -> DialId {
            let dial = self.take();
            self.quota.open(dial, self.now);
            dial
        }

        /// The limit that holds the next dial, and the time since the start until which it does.
        fn hold(&self) -> Option<(Limit, Option<Duration>)> {
            let hold = self.quota.hold(self.now, 0)?;
            Some((hold.limit, hold.until.map(|until| until - self.start)))
        }
    }

    const BY_SERVER: Failure = Failure { answered: true, retry_after: None, by_server: true };
    const ANSWERED: Failure = Failure { by_server: false, ..BY_SERVER };
    const NO_REPLY: Failure = Failure { answered: false, ..BY_SERVER };

    #[test]
    fn a_dial_counts_until_a_window_after_its_outcome() {
        let mut life = Life::new(|quota| quota.limit_dials(2, 10 * SECOND));
        let (first, second) = (life.take(), life.take());
        life.now += 60 * SECOND;
        assert_eq!(life.hold(), Some((Limit::Dials, None)), "both may still arrive");
        life.quota.open(first, life.now);
        assert_eq!(life.hold(), Some((Limit::Dials, Some(70 * SECOND + MILLI))));
        life.now += SECOND;
        life.quota.fail(second, life.now, ANSWERED);
        life.now += 9 * SECOND;
        assert_eq!(life.hold(), Some((Limit::Dials, Some(70 * SECOND + MILLI))));
        life.now += MILLI;
        assert_eq!(life.hold(), None);
        life.take();
        assert_eq!(life.hold(), Some((Limit::Dials, Some(71 * SECOND + MILLI))));
    }

    #[test]
    fn a_socket_that_works_is_no_failed_dial_and_ends_the_probing() {
        let mut life = Life::new(|_| {});
        for _ in 0..4 {
            let dial = life.open();
            life.quota.settle(dial, life.now);
            life.now += SECOND;
            life.quota.close(dial, life.now, true);
        }
        assert_eq!(life.hold(), None, "each of them worked");
        for _ in 0..3 {
            life.fail(BY_SERVER);
        }
        life.now += SECOND;
        let probe = life.open();
        assert_eq!(life.hold().map(|(limit, _)| limit), Some(Limit::Probe));
        life.quota.settle(probe, life.now);
        assert_eq!(life.hold(), None);
    }

    #[test]
    fn of_several_windows_the_last_to_have_room_decides() {
        let mut life = Life::new(|quota| {
            quota.limit_dials(1, SECOND);
            quota.limit_dials(2, 10 * SECOND);
        });
        life.fail(ANSWERED);
        assert_eq!(life.hold(), Some((Limit::Dials, Some(SECOND + MILLI))));
        life.now += 2 * SECOND;
        life.fail(ANSWERED);
        assert_eq!(life.hold(), Some((Limit::Dials, Some(10 * SECOND + MILLI))));
    }

    #[test]
    fn a_dial_without_a_reply_and_one_that_was_cancelled_do_not_count() {
        let mut life = Life::new(|quota| quota.limit_dials(1, 10 * SECOND));
        life.fail(NO_REPLY);
        assert_eq!(life.hold(), None);
        let dial = life.take();
        life.quota.cancel(dial, life.now);
        assert_eq!(life.hold(), None);
    }

    #[test]
    fn a_socket_is_held_from_its_dial_to_its_end() {
        let mut life = Life::new(|quota| quota.limit_sockets(1));
        let dial = life.take();
        assert_eq!(life.hold(), Some((Limit::Sockets, None)));
        life.quota.open(dial, life.now);
        life.now += 3_600 * SECOND;
        assert_eq!(life.hold(), Some((Limit::Sockets, None)));
        life.quota.close(dial, life.now, false);
        assert_eq!(life.hold(), None);
        life.fail(NO_REPLY);
        assert_eq!(life.hold(), None);
    }

    #[test]
    fn retry_after_holds_every_dial_and_at_most_for_an_hour() {
        let mut life = Life::new(|_| {});
        let asks = |seconds| Failure { retry_after: Some(seconds * SECOND), ..ANSWERED };
        life.fail(asks(8));
        assert_eq!(life.hold(), Some((Limit::RetryAfter, Some(8 * SECOND))));
        life.fail(asks(1));
        assert_eq!(life.hold(), Some((Limit::RetryAfter, Some(8 * SECOND))), "never less");
        life.now += 8 * SECOND;
        assert_eq!(life.hold(), None);
        life.fail(asks(1_000_000));
        assert_eq!(life.hold(), Some((Limit::RetryAfter, Some(3_608 * SECOND))));
    }

    #[test]
    fn after_three_failures_in_a_row_single_dials_wait_longer_and_longer() {
        let mut life = Life::new(|_| {});
        life.fail(NO_REPLY);
        life.fail(BY_SERVER);
        assert_eq!(life.hold(), None);
        life.fail(NO_REPLY);
        let mut due = Duration::ZERO;
        for delay in [1, 2, 4, 8, 10, 10] {
            due += delay * SECOND;
            assert_eq!(life.hold(), Some((Limit::Probe, Some(due))));
            life.now = life.start + due;
            let probe = life.take();
            assert_eq!(life.hold(), Some((Limit::Probe, None)), "one at a time");
            life.quota.fail(probe, life.now, NO_REPLY);
        }
    }

    #[test]
    fn a_socket_that_was_open_for_5_s_ends_the_single_dials() {
        let mut life = Life::new(|_| {});
        for _ in 0..3 {
            life.fail(NO_REPLY);
        }
        life.now += SECOND;
        let dial = life.open();
        assert_eq!(life.hold(), Some((Limit::Probe, Some(6 * SECOND))));
        life.now += 5 * SECOND;
        assert_eq!(life.hold(), None);
        life.quota.close(dial, life.now, true);
        assert_eq!(life.hold(), None, "its loss is no failed dial");
        life.fail(NO_REPLY);
        life.fail(NO_REPLY);
        assert_eq!(life.hold(), None, "they are counted anew");
    }

    #[test]
    fn a_socket_that_is_lost_early_is_a_failed_dial_unless_we_closed_it() {
        let mut life = Life::new(|_| {});
        for lost in [true, false, true, false] {
            let dial = life.open();
            life.now += 4 * SECOND;
            life.quota.close(dial, life.now, lost);
        }
        assert_eq!(life.hold(), None);
        let dial = life.open();
        life.quota.close(dial, life.now, true);
        assert_eq!(life.hold(), Some((Limit::Probe, Some(17 * SECOND))));
    }

    #[test]
    fn what_says_nothing_about_the_server_is_no_failure() {
        let mut life = Life::new(|_| {});
        for _ in 0..5 {
            life.fail(ANSWERED);
            life.fail(Failure::default());
        }
        assert_eq!(life.hold(), None);
    }

    #[test]
    fn extremes_are_tame() {
        let mut life = Life::new(|quota| {
            quota.limit_dials(0, Duration::MAX);
            quota.limit_dials(1, Duration::ZERO);
            quota.limit_sockets(0);
        });
        assert_eq!(life.hold(), None, "zero counts as one");
        life.fail(ANSWERED);
        assert_eq!(life.hold(), Some((Limit::Dials, Some(MAX_DELAY))));
        // The clock steps back.
        life.now -= SECOND;
        life.fail(ANSWERED);
        life.now += MAX_DELAY + SECOND;
        assert_eq!(life.hold(), None);
        for _ in 0..100 {
            life.fail(BY_SERVER);
        }
        let until = MAX_DELAY + 10 * SECOND;
        assert!(life.hold().unwrap().1.unwrap() <= until + MAX_DELAY);
    }

    #[test]
    fn dials_that_no_window_counts_are_not_kept() {
        let mut life = Life::new(|quota| quota.limit_dials(u32::MAX, SECOND));
        for _ in 0..1_000 {
            life.fail(ANSWERED);
            life.now += SECOND / 10;
        }
        assert!(life.quota.ended.len() <= 11, "{}", life.quota.ended.len());
    }
}
