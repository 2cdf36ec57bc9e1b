//! When to ping one socket, and when its peer was silent for too long: all decisions, with time as a value.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::options::Options;

/// What a connection records and its pinger reads. They share it because a message for each read would
/// cost more than the read.
#[derive(Debug)]
pub(crate) struct ReadState {
    /// When the last byte was read.
    pub(crate) byte: Cell<Instant>,
    /// When the last data message was read.
    pub(crate) data: Cell<Instant>,
    /// Whether the socket is being read; `false` while handlers are too slow.
    pub(crate) reading: Cell<bool>,
}

impl ReadState {
    pub(crate) fn new(now: Instant) -> ReadState {
        ReadState { byte: Cell::new(now), data: Cell::new(now), reading: Cell::new(true) }
    }

    /// Records that reading stops. From now on silence says nothing about the peer.
    pub(crate) fn stop_reading(&self) {
        self.reading.set(false);
    }

    /// Records that reading goes on. The peer gets one whole period from now.
    pub(crate) fn resume_reading(&self, now: Instant) {
        if !self.reading.replace(true) {
            self.byte.set(now);
            self.data.set(now);
        }
    }
}

/// The decisions for one socket.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// `ping_interval`, `ping_timeout` and `idle_timeout` count.
    options: Arc<Options>,
    /// When the next ping is due, if any is.
    next_ping: Option<Instant>,
    /// The oldest ping since which no byte was read. Boxed, for most sockets have none.
    unanswered: Option<Box<UnansweredPing>>,
    /// What is known of missing data; `None` until data was first missed. Boxed as well.
    missed: Option<Box<MissedData>>,
}

/// State of an `idle_timeout` that has passed at least once.
#[derive(Debug, Default)]
struct MissedData {
    /// No verdict before this time.
    until: Option<Instant>,
    /// The time of the data message since which a late check was excused once.
    excused: Option<Instant>,
}

/// A ping since which no byte was read.
#[derive(Clone, Copy, Debug)]
struct UnansweredPing {
    /// When the ping was due.
    pinged: Instant,
    /// When `ping_timeout` ends.
    until: Instant,
    /// Whether a late check was excused already. The second one is not.
    excused: bool,
}

/// What a connection has to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send a Ping.
    Ping,
    /// Judge the peer, which was silent for too long.
    Silent(Silence),
    /// Start another pinger: this one ends before the socket.
    Orphaned,
}

/// A silence that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Silence {
    /// When the last byte, or the last data message, was read.
    pub(crate) since: Instant,
    /// Whether data messages are missing (`idle_timeout`), though other bytes may have come.
    pub(crate) idle: bool,
}

impl Watchdog {
    pub(super) fn new(options: Arc<Options>, now: Instant) -> Watchdog {
        let next_ping = options.ping_interval.and_then(|interval| now.checked_add(interval));
        Watchdog { options, next_ping, unanswered: None, missed: None }
    }

    /// Returns what is due at `now`. To be called until it returns `None`.
    pub(super) fn due(&mut self, now: Instant, read_state: &ReadState) -> Option<Action> {
        if let Some(unanswered) = self.unanswered.as_deref()
            // Not `>`: in memory, or by a simulated clock, an answer takes no time.
            && (read_state.byte.get() >= unanswered.pinged || !read_state.reading.get())
        {
            self.unanswered = None;
        }
        if let Some(unanswered) = self.unanswered.as_deref()
            && now >= unanswered.until
        {
            let timeout = self.options.ping_timeout.unwrap_or_default();
            if unanswered.excused || now.duration_since(unanswered.until) <= lateness(timeout) {
                // Not final: the connection reads once more first, and bytes that it finds overrule
                // this. The next ping begins a new timeout then.
                self.unanswered = None;
                return Some(Action::Silent(Silence { since: read_state.byte.get(), idle: false }));
            }
            // The thread was held up and this check is late, so that the answer may lie unread: the
            // peer gets one more timeout.
            self.unanswered = UnansweredPing::after(now, timeout, true);
        }
        self.idle_due(now, read_state).or_else(|| self.ping_due(now))
    }

    /// Returns the verdict on missing data, if it is due. It is repeated each `idle_timeout`, as the
    /// connection may overrule it.
    fn idle_due(&mut self, now: Instant, read_state: &ReadState) -> Option<Action> {
        let idle = self.options.idle_timeout?;
        let until = self.idle_deadline(read_state)?;
        if now < until {
            return None;
        }
        let missed = self.missed.get_or_insert_default();
        missed.until = now.checked_add(idle);
        let data = read_state.data.get();
        let late = now.duration_since(until) > lateness(idle);
        if !read_state.reading.get() || (late && missed.excused.replace(data) != Some(data)) {
            return None;
        }
        Some(Action::Silent(Silence { since: data, idle: true }))
    }

    /// Returns the next ping, if it is due, and starts its timeout unless an older one runs.
    fn ping_due(&mut self, now: Instant) -> Option<Action> {
        let (interval, at) = (self.options.ping_interval?, self.next_ping?);
        if now < at {
            return None;
        }
        // The cadence is fixed: pings that the thread was too late for are left out, not sent later.
        let missed = now.duration_since(at).as_nanos() / interval.as_nanos().max(1);
        let steps = u32::try_from(missed + 1).unwrap_or(u32::MAX);
        self.next_ping = interval.checked_mul(steps).and_then(|span| at.checked_add(span));
        if let (None, Some(timeout)) = (&self.unanswered, self.options.ping_timeout) {
            self.unanswered = UnansweredPing::after(now, timeout, false);
        }
        Some(Action::Ping)
    }

    /// Returns when data is missing for too long; `None` without an `idle_timeout`.
    fn idle_deadline(&self, read_state: &ReadState) -> Option<Instant> {
        let until = read_state.data.get().checked_add(self.options.idle_timeout?)?;
        Some(
            self.missed
                .as_ref()
                .and_then(|missed| missed.until)
                .map_or(until, |later| later.max(until)),
        )
    }

    /// Returns when something is next due; `None` if nothing ever is.
    pub(super) fn next_due(&self, read_state: &ReadState) -> Option<Instant> {
        let verdict = self.unanswered.as_ref().map(|unanswered| unanswered.until);
        let due = [self.next_ping, verdict, self.idle_deadline(read_state)];
        due.into_iter().flatten().min()
    }
}

impl UnansweredPing {
    fn after(now: Instant, timeout: Duration, excused: bool) -> Option<Box<UnansweredPing>> {
        let until = now.checked_add(timeout)?;
        Some(Box::new(UnansweredPing { pinged: now, until, excused }))
    }
}

/// Returns how late a check may be before the thread counts as held up: a quarter of the timeout, 250 ms
/// at most.
fn lateness(timeout: Duration) -> Duration {
    (timeout / 4).min(Duration::from_millis(250))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::Reconnect;

    const SECOND: Duration = Duration::from_secs(1);

    struct Cadence {
        interval: Option<Duration>,
        timeout: Option<Duration>,
        idle: Option<Duration>,
    }

    fn watchdog(cadence: Cadence, now: Instant) -> Watchdog {
        let mut options = Options::new(Reconnect::default());
        options.ping_interval = cadence.interval;
        options.ping_timeout = cadence.timeout;
        options.idle_timeout = cadence.idle;
        Watchdog::new(options.into(), now)
    }

    fn cadence(interval: u32, timeout: u32) -> Cadence {
        Cadence { interval: Some(interval * SECOND), timeout: Some(timeout * SECOND), idle: None }
    }

    /// Advances to `until` by the second and returns each action with its second. `hear` says in which
    /// seconds a byte comes.
    fn pass(
        watchdog: &mut Watchdog,
        read_state: &ReadState,
        zero: Instant,
        until: u64,
        mut hear: impl FnMut(u64) -> bool,
    ) -> Vec<(u64, Action)> {
        let mut done = Vec::new();
        for second in 0..=until {
            let now = zero + Duration::from_secs(second);
            while let Some(action) = watchdog.due(now, read_state) {
                let over = matches!(action, Action::Silent(_));
                done.push((second, action));
                if over {
                    return done;
                }
            }
            if hear(second) {
                read_state.byte.set(now + Duration::from_millis(1));
            }
        }
        done
    }

    fn times(done: &[(u64, Action)]) -> Vec<u64> {
        done.iter().map(|(second, _)| *second).collect()
    }

    #[test]
    fn the_first_ping_goes_out_after_one_interval_and_the_cadence_is_fixed() {
        let zero = Instant::now();
        let read_state = ReadState::new(zero);
        let mut watchdog = watchdog(cadence(5, 2), zero);
        let done = pass(&mut watchdog, &read_state, zero, 20, |_| true);
        assert_eq!(times(&done), [5, 10, 15, 20]);
        assert!(done.iter().all(|(_, action)| *action == Action::Ping));
    }

    #[test]
    fn silence_is_found_a_timeout_after_the_ping() {
        let zero = Instant::now();
        let read_state = ReadState::new(zero);
        let mut watchdog = watchdog(cadence(5, 2), zero);
        let done = pass(&mut watchdog, &read_state, zero, 60, |second| second <= 11);
        assert_eq!(times(&done), [5, 10, 15, 17]);
        let heard = zero + Duration::from_millis(11_001);
        assert_eq!(done.last().unwrap().1, Action::Silent(Silence { since: heard, idle: false }));
    }

    #[test]
    fn an_answer_in_the_instant_of_the_ping_is_one() {
        let zero = Instant::now();
        let read_state = ReadState::new(zero);
        let mut watchdog = watchdog(cadence(5, 2), zero);
        assert_eq!(watchdog.due(zero + 5 * SECOND, &read_state), Some(Action::Ping));
        read_state.byte.set(zero + 5 * SECOND);
        assert_eq!(watchdog.due(zero + 7 * SECOND, &read_state), None);
        assert_eq!(watchdog.due(zero + 10 * SECOND, &read_state), Some(Action::Ping));
        // From the last byte on it is one interval and one timeout, still.
        let silent = watchdog.due(zero + 12 * SECOND, &read_state);
        assert_eq!(silent, Some(Action::Silent(Silence { since: zero + 5 * SECOND, idle: false })));
    }

    #[test]
    fn a_timeout_may_exceed_the_interval() {
        let zero = Instant::now();
        let read_state = ReadState::new(zero);
        let mut watchdog = watchdog(cadence(2, 5), zero);
        let done = pass(&mut watchdog, &read_state, zero, 60, |_| false);
        assert_eq!(times(&done), [2, 4, 6, 7]);
    }

    #[test]
    fn pings_without_a_timeout_never_judge() {
        let zero = Instant::now();
        let read_state = ReadState::new(zero);
        let mut watchdog = watchdog(Cadence { timeout: None, ..cadence(10, 1) }, zero);
        let done = pass(&mut watchdog, &read_state, zero, 40, |_| false);
        assert_eq!(times(&done), [10, 20, 30, 40]);
    }

    #[test]
    fn the_clock_stands_still_while_nothing_is_read() {
        let zero = Instant::now();
        let read_state = ReadState::new(zero);
        let mut watchdog = watchdog(cadence(5, 2), zero);
        read_state.stop_reading();
        let done = pass(&mut watchdog, &read_state, zero, 29, |_| false);
        assert_eq!(times(&done), [5, 10, 15, 20, 25]);
        // One whole period after resuming: the ping of 30 s, judged at 32 s.
        read_state.resume_reading(zero + 29 * SECOND);
        let now = zero + 30 * SECOND;
        assert_eq!(watchdog.due(now, &read_state), Some(Action::Ping));
        assert_eq!(watchdog.due(now + SECOND, &read_state), None);
        let silent = watchdog.due(now + 2 * SECOND, &read_state);
        assert_eq!(
            silent,
            Some(Action::Silent(Silence { since: zero + 29 * SECOND, idle: false }))
        );
    }

    #[test]
    fn a_thread_that_was_held_up_gives_one_more_period() {
        let zero = Instant::now();
        let read_state = ReadState::new(zero);
        let mut watchdog = watchdog(cadence(5, 2), zero);
        assert_eq!(watchdog.due(zero + 5 * SECOND, &read_state), Some(Action::Ping));
        // The thread sleeps from 6 s to 60 s.
        let late = zero + 60 * SECOND;
        assert_eq!(watchdog.due(late, &read_state), Some(Action::Ping));
        assert_eq!(watchdog.due(late, &read_state), None);
        assert_eq!(watchdog.due(late + SECOND, &read_state), None);
        let silent = watchdog.due(late + 2 * SECOND, &read_state);
        assert!(matches!(silent, Some(Action::Silent(_))), "{silent:?}");
    }

    #[test]
    fn a_thread_that_is_always_held_up_still_finds_the_dead() {
        let zero = Instant::now();
        let read_state = ReadState::new(zero);
        let idle = Some(10 * SECOND);
        let mut watchdog = watchdog(Cadence { idle, ..cadence(5, 2) }, zero);
        let mut looks = (1..10).map(|look| zero + look * 30 * SECOND);
        let mut due = |at| std::iter::from_fn(|| watchdog.due(at, &read_state)).collect::<Vec<_>>();
        let ping = Action::Ping;
        assert_eq!(due(looks.next().unwrap()), [ping]);
        // Each is excused once; then both are judged, however late.
        let seen: Vec<_> =
            looks.take(2).flat_map(due).filter(|action| *action != Action::Ping).collect();
        let idle = |idle| Action::Silent(Silence { since: zero, idle });
        assert_eq!(seen, [idle(true), idle(false), idle(true)]);
    }

    #[test]
    fn beats_that_were_slept_through_are_left_out() {
        let zero = Instant::now();
        let read_state = ReadState::new(zero);
        let mut watchdog = watchdog(Cadence { timeout: None, ..cadence(5, 1) }, zero);
        let late = zero + Duration::from_millis(17_500);
        assert_eq!(watchdog.due(late, &read_state), Some(Action::Ping));
        assert_eq!(watchdog.due(late, &read_state), None);
        assert_eq!(watchdog.next_due(&read_state), Some(zero + 20 * SECOND));
    }

    #[test]
    fn a_verdict_that_was_overruled_is_not_the_last() {
        let zero = Instant::now();
        let read_state = ReadState::new(zero);
        let mut watchdog = watchdog(cadence(5, 2), zero);
        let done = pass(&mut watchdog, &read_state, zero, 7, |_| false);
        assert_eq!(times(&done), [5, 7]);
        // The connection found bytes unread and lives on; from then on nothing more comes.
        read_state.byte.set(zero + Duration::from_millis(7_001));
        let done = pass(&mut watchdog, &read_state, zero, 60, |_| false);
        assert_eq!(times(&done), [10, 12]);
        assert!(matches!(done.last().unwrap().1, Action::Silent(_)));
    }

    #[test]
    fn missing_data_is_found_though_bytes_come() {
        let zero = Instant::now();
        let read_state = ReadState::new(zero);
        let idle = Cadence { interval: None, timeout: None, idle: Some(7 * SECOND) };
        let mut watchdog = watchdog(idle, zero);
        let done = pass(&mut watchdog, &read_state, zero, 60, |_| true);
        assert_eq!(done, [(7, Action::Silent(Silence { since: zero, idle: true }))]);
    }
}
