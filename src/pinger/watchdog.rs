//! When to ping one socket and when to lose patience with it: all the decisions, with time as a value.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::options::Options;

/// What a connection and its pinger share: a message a read would cost more than the read.
#[derive(Debug)]
pub(crate) struct Signs {
    /// When the last byte was read.
    pub(crate) byte: Cell<Instant>,
    /// When the last data message was read.
    pub(crate) data: Cell<Instant>,
    /// Whether the socket is being read at all.
    pub(crate) reading: Cell<bool>,
}

impl Signs {
    pub(crate) fn new(now: Instant) -> Signs {
        Signs { byte: Cell::new(now), data: Cell::new(now), reading: Cell::new(true) }
    }

    /// Reading stops: what is not heard from now on is not the peer's fault.
    pub(crate) fn stop_reading(&self) {
        self.reading.set(false);
    }

    /// Reading goes on, and the peer has one whole period to be heard in.
    pub(crate) fn resume_reading(&self, now: Instant) {
        if !self.reading.replace(true) {
            self.byte.set(now);
            self.data.set(now);
        }
    }
}

/// The watch over one socket.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// How often to ping, and what silence means.
    options: Arc<Options>,
    next_ping: Option<Instant>,
    /// The oldest ping since which no byte came.
    unheard: Option<Box<Unheard>>,
    /// What became of missing data, once it was missed.
    idle: Option<Box<Idle>>,
}

/// Data that was missing.
#[derive(Debug, Default)]
struct Idle {
    /// Patience with it ends no earlier than this.
    until: Option<Instant>,
    /// The data message since which we were late once to judge it.
    excused: Option<Instant>,
}

/// A ping that no byte has followed.
#[derive(Clone, Copy, Debug)]
struct Unheard {
    pinged: Instant,
    /// When patience with it ends.
    until: Instant,
    /// Whether we were late once to judge it. There is no second excuse.
    excused: bool,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// It is time for a Ping.
    Ping,
    /// The peer was not heard for too long.
    Silent(Silent),
    /// The pinger ends before the socket: another one has to take it on.
    Orphaned,
}

/// A silence that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Silent {
    /// The last byte, or data message, that was heard.
    pub(crate) since: Instant,
    /// Whether data was missing, where bytes may have come.
    pub(crate) idle: bool,
}

impl Watchdog {
    pub(super) fn new(options: Arc<Options>, now: Instant) -> Watchdog {
        let next_ping = options.ping_interval.and_then(|interval| now.checked_add(interval));
        Watchdog { options, next_ping, unheard: None, idle: None }
    }

    /// What is due at `now`. Called until it is `None`.
    pub(super) fn due(&mut self, now: Instant, signs: &Signs) -> Option<Act> {
        if let Some(unheard) = self.unheard.as_deref()
            // Over a pipe in memory, or by a simulated clock, an answer takes no time.
            && (signs.byte.get() >= unheard.pinged || !signs.reading.get())
        {
            self.unheard = None;
        }
        if let Some(unheard) = self.unheard.as_deref()
            && now >= unheard.until
        {
            let timeout = self.options.ping_timeout.unwrap_or_default();
            if unheard.excused || now.duration_since(unheard.until) <= lateness(timeout) {
                // The connection has the last word: what it finds unread is life.
                self.unheard = None;
                return Some(Act::Silent(Silent { since: signs.byte.get(), idle: false }));
            }
            // We were late ourselves: the peer's answer may lie unread.
            self.unheard = Unheard::after(now, timeout, true);
        }
        self.idle_due(now, signs).or_else(|| self.ping_due(now))
    }

    fn idle_due(&mut self, now: Instant, signs: &Signs) -> Option<Act> {
        let idle = self.options.idle_timeout?;
        let until = self.idle_deadline(signs)?;
        if now < until {
            return None;
        }
        let missed = self.idle.get_or_insert_default();
        missed.until = now.checked_add(idle);
        let data = signs.data.get();
        let late = now.duration_since(until) > lateness(idle);
        if !signs.reading.get() || (late && missed.excused.replace(data) != Some(data)) {
            return None;
        }
        Some(Act::Silent(Silent { since: data, idle: true }))
    }

    fn ping_due(&mut self, now: Instant) -> Option<Act> {
        let (interval, at) = (self.options.ping_interval?, self.next_ping?);
        if now < at {
            return None;
        }
        // A fixed cadence: beats that were slept through are left out, not made up for.
        let missed = now.duration_since(at).as_nanos() / interval.as_nanos().max(1);
        let steps = u32::try_from(missed + 1).unwrap_or(u32::MAX);
        self.next_ping = interval.checked_mul(steps).and_then(|span| at.checked_add(span));
        if let (None, Some(timeout)) = (&self.unheard, self.options.ping_timeout) {
            self.unheard = Unheard::after(now, timeout, false);
        }
        Some(Act::Ping)
    }

    fn idle_deadline(&self, signs: &Signs) -> Option<Instant> {
        let until = signs.data.get().checked_add(self.options.idle_timeout?)?;
        Some(
            self.idle
                .as_ref()
                .and_then(|missed| missed.until)
                .map_or(until, |later| later.max(until)),
        )
    }

    /// When to look again.
    pub(super) fn wake(&self, signs: &Signs) -> Option<Instant> {
        let verdict = self.unheard.as_ref().map(|unheard| unheard.until);
        let due = [self.next_ping, verdict, self.idle_deadline(signs)];
        due.into_iter().flatten().min()
    }
}

impl Unheard {
    fn after(now: Instant, timeout: Duration, excused: bool) -> Option<Box<Unheard>> {
        let until = now.checked_add(timeout)?;
        Some(Box::new(Unheard { pinged: now, until, excused }))
    }
}

/// A timer that fires later than this after its time says that the thread was held up.
fn lateness(patience: Duration) -> Duration {
    (patience / 4).min(Duration::from_millis(250))
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

    /// Lets time pass up to `until` and writes down what was done when, in seconds.
    fn pass(
        watchdog: &mut Watchdog,
        signs: &Signs,
        zero: Instant,
        until: u64,
        mut hear: impl FnMut(u64) -> bool,
    ) -> Vec<(u64, Act)> {
        let mut done = Vec::new();
        for second in 0..=until {
            let now = zero + Duration::from_secs(second);
            while let Some(act) = watchdog.due(now, signs) {
                let over = matches!(act, Act::Silent(_));
                done.push((second, act));
                if over {
                    return done;
                }
            }
            if hear(second) {
                signs.byte.set(now + Duration::from_millis(1));
            }
        }
        done
    }

    fn times(done: &[(u64, Act)]) -> Vec<u64> {
        done.iter().map(|(second, _)| *second).collect()
    }

    #[test]
    fn the_first_ping_goes_out_after_one_interval_and_the_cadence_is_fixed() {
        let zero = Instant::now();
        let signs = Signs::new(zero);
        let mut watchdog = watchdog(cadence(5, 2), zero);
        let done = pass(&mut watchdog, &signs, zero, 20, |_| true);
        assert_eq!(times(&done), [5, 10, 15, 20]);
        assert!(done.iter().all(|(_, act)| *act == Act::Ping));
    }

    #[test]
    fn silence_is_found_a_timeout_after_the_ping() {
        let zero = Instant::now();
        let signs = Signs::new(zero);
        let mut watchdog = watchdog(cadence(5, 2), zero);
        let done = pass(&mut watchdog, &signs, zero, 60, |second| second <= 11);
        assert_eq!(times(&done), [5, 10, 15, 17]);
        let heard = zero + Duration::from_millis(11_001);
        assert_eq!(done.last().unwrap().1, Act::Silent(Silent { since: heard, idle: false }));
    }

    #[test]
    fn an_answer_in_the_instant_of_the_ping_is_one() {
        let zero = Instant::now();
        let signs = Signs::new(zero);
        let mut watchdog = watchdog(cadence(5, 2), zero);
        assert_eq!(watchdog.due(zero + 5 * SECOND, &signs), Some(Act::Ping));
        signs.byte.set(zero + 5 * SECOND);
        assert_eq!(watchdog.due(zero + 7 * SECOND, &signs), None);
        assert_eq!(watchdog.due(zero + 10 * SECOND, &signs), Some(Act::Ping));
        // From the last byte on it is one interval and one timeout, still.
        let silent = watchdog.due(zero + 12 * SECOND, &signs);
        assert_eq!(silent, Some(Act::Silent(Silent { since: zero + 5 * SECOND, idle: false })));
    }

    #[test]
    fn a_timeout_may_exceed_the_interval() {
        let zero = Instant::now();
        let signs = Signs::new(zero);
        let mut watchdog = watchdog(cadence(2, 5), zero);
        let done = pass(&mut watchdog, &signs, zero, 60, |_| false);
        assert_eq!(times(&done), [2, 4, 6, 7]);
    }

    #[test]
    fn pings_without_a_timeout_never_judge() {
        let zero = Instant::now();
        let signs = Signs::new(zero);
        let mut watchdog = watchdog(Cadence { timeout: None, ..cadence(10, 1) }, zero);
        let done = pass(&mut watchdog, &signs, zero, 40, |_| false);
        assert_eq!(times(&done), [10, 20, 30, 40]);
    }

    #[test]
    fn the_clock_stands_still_while_nothing_is_read() {
        let zero = Instant::now();
        let signs = Signs::new(zero);
        let mut watchdog = watchdog(cadence(5, 2), zero);
        signs.stop_reading();
        let done = pass(&mut watchdog, &signs, zero, 29, |_| false);
        assert_eq!(times(&done), [5, 10, 15, 20, 25]);
        // One whole period after resuming: the ping of 30 s, judged at 32 s.
        signs.resume_reading(zero + 29 * SECOND);
        let now = zero + 30 * SECOND;
        assert_eq!(watchdog.due(now, &signs), Some(Act::Ping));
        assert_eq!(watchdog.due(now + SECOND, &signs), None);
        let silent = watchdog.due(now + 2 * SECOND, &signs);
        assert_eq!(silent, Some(Act::Silent(Silent { since: zero + 29 * SECOND, idle: false })));
    }

    #[test]
    fn a_thread_that_was_held_up_gives_one_more_period() {
        let zero = Instant::now();
        let signs = Signs::new(zero);
        let mut watchdog = watchdog(cadence(5, 2), zero);
        assert_eq!(watchdog.due(zero + 5 * SECOND, &signs), Some(Act::Ping));
        // The thread sleeps from 6 s to 60 s.
        let late = zero + 60 * SECOND;
        assert_eq!(watchdog.due(late, &signs), Some(Act::Ping));
        assert_eq!(watchdog.due(late, &signs), None);
        assert_eq!(watchdog.due(late + SECOND, &signs), None);
        let silent = watchdog.due(late + 2 * SECOND, &signs);
        assert!(matches!(silent, Some(Act::Silent(_))), "{silent:?}");
    }

    #[test]
    fn a_thread_that_is_always_held_up_still_finds_the_dead() {
        let zero = Instant::now();
        let signs = Signs::new(zero);
        let idle = Some(10 * SECOND);
        let mut watchdog = watchdog(Cadence { idle, ..cadence(5, 2) }, zero);
        let mut looks = (1..10).map(|look| zero + look * 30 * SECOND);
        let mut due = |at| std::iter::from_fn(|| watchdog.due(at, &signs)).collect::<Vec<_>>();
        let ping = Act::Ping;
        assert_eq!(due(looks.next().unwrap()), [ping]);
        // Each is excused once; then both are judged, however late.
        let seen: Vec<_> = looks.take(2).flat_map(due).filter(|act| *act != Act::Ping).collect();
        let idle = |idle| Act::Silent(Silent { since: zero, idle });
        assert_eq!(seen, [idle(true), idle(false), idle(true)]);
    }

    #[test]
    fn beats_that_were_slept_through_are_left_out() {
        let zero = Instant::now();
        let signs = Signs::new(zero);
        let mut watchdog = watchdog(Cadence { timeout: None, ..cadence(5, 1) }, zero);
        let late = zero + Duration::from_millis(17_500);
        assert_eq!(watchdog.due(late, &signs), Some(Act::Ping));
        assert_eq!(watchdog.due(late, &signs), None);
        assert_eq!(watchdog.wake(&signs), Some(zero + 20 * SECOND));
    }

    #[test]
    fn a_verdict_that_was_overruled_is_not_the_last() {
        let zero = Instant::now();
        let signs = Signs::new(zero);
        let mut watchdog = watchdog(cadence(5, 2), zero);
        let done = pass(&mut watchdog, &signs, zero, 7, |_| false);
        assert_eq!(times(&done), [5, 7]);
        // The connection found bytes unread and lives on; from then on nothing more comes.
        signs.byte.set(zero + Duration::from_millis(7_001));
        let done = pass(&mut watchdog, &signs, zero, 60, |_| false);
        assert_eq!(times(&done), [10, 12]);
        assert!(matches!(done.last().unwrap().1, Act::Silent(_)));
    }

    #[test]
    fn missing_data_is_found_though_bytes_come() {
        let zero = Instant::now();
        let signs = Signs::new(zero);
        let idle = Cadence { interval: None, timeout: None, idle: Some(7 * SECOND) };
        let mut watchdog = watchdog(idle, zero);
        let done = pass(&mut watchdog, &signs, zero, 60, |_| true);
        assert_eq!(done, [(7, Act::Silent(Silent { since: zero, idle: true }))]);
    }
}
