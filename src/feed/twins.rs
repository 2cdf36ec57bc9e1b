//! What the lines of one shard are to each other: when one is dialled at once because no other carries its topics, and
//! when one has died that still looks alive.
//!
//! A value that a shard with several lines has. It decides; the shard dials and fails the lines.

use std::time::{Duration, Instant};

/// The most lines that [`Builder::lines`](crate::feed::Builder::lines) takes.
pub const MAX_LINES: u8 = 8;
/// The least time without data after which a line may be dead.
const LEAST_SILENCE: Duration = Duration::from_secs(1);
/// How many of its usual intervals a line may bring nothing.
const INTERVALS: u32 = 5;
/// The updates that the other lines have to bring meanwhile, of topics that are confirmed on both.
const MISSED: u32 = 20;
/// How long a line that seems dead is given to bring data.
const GRACE: Duration = Duration::from_secs(1);
/// The least time between two lines of a shard that are found dead.
const VERDICT_INTERVAL: Duration = Duration::from_secs(30);
/// How long all lines of a shard may wait for their next dials at once.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What a line is doing, as far as it matters for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Its socket is open.
    Open,
    /// It dials, or waits for a limit that it shares with others.
    Dialling,
    /// It waits for its next dial, which is due then. The delay is ours: the venue has not asked for it.
    Waiting { due: Instant },
    /// It does not dial: it is paused, or the venue has asked for the delay.
    Held,
}

/// What has to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Dial this line at once.
    Dial(u8),
    /// End the session of this line: it has brought nothing for this time.
    Fail(u8, Duration),
}

/// The lines of a shard.
#[derive(Debug)]
pub(crate) struct Twins {
    /// By number; `None` without an open socket.
    pulses: Vec<Option<Pulse>>,
    /// The lines that were open when it was last looked, one bit for each.
    was_open: u64,
    /// A line that was found dead, and is dialled as soon as its socket has ended.
    replaced: Option<u8>,
    /// Since when all of them wait, and when one is dialled if that is too long.
    wait: Option<(Instant, Option<Instant>)>,
    /// When a line was last found dead.
    last_verdict: Option<Instant>,
    is_holding: bool,
    /// The newest updates, which are alike: they are counted with the next that differs.
    run: Run,
}

/// What updates of one read have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    line: u8,
    /// The lines that have confirmed the topic, one bit for each.
    confirmed: u64,
    now: Instant,
    /// The number of them.
    len: u32,
}

/// The data of an open line.
#[derive(Clone, Copy, Debug)]
struct Pulse {
    /// When the last data came. At first, and after a time in which the shard did not read, its beginning or end.
    last: Instant,
    /// The usual time between two reads that bring data: a moving mean over about eight.
    interval: Duration,
    /// Updates of the others since then, of topics that are confirmed on both.
    missed: u32,
    /// Since when it seems dead.
    suspected: Option<Instant>,
}

impl Pulse {
    fn new(now: Instant) -> Pulse {
        Pulse { last: now, interval: Duration::ZERO, missed: 0, suspected: None }
    }

    /// Returns when the line seems dead if it brings nothing.
    fn limit(&self) -> Instant {
        let silence = self.interval.saturating_mul(INTERVALS).max(LEAST_SILENCE);
        self.last.checked_add(silence).unwrap_or(self.last)
    }
}

impl Twins {
    pub(crate) fn new(now: Instant) -> Twins {
        Twins {
            pulses: Vec::new(),
            was_open: 0,
            replaced: None,
            wait: None,
            last_verdict: None,
            is_holding: false,
            run: Run { line: 0, confirmed: 0, now, len: 0 },
        }
    }

    /// Notes that a line has opened a socket.
    pub(crate) fn open(&mut self, line: u8, now: Instant) {
        self.end_run();
        let line = usize::from(line);
        if line >= self.pulses.len() {
            self.pulses.resize(line + 1, None);
        }
        self.pulses[line] = Some(Pulse::new(now));
    }

    /// Notes that the socket of a line has ended.
    pub(crate) fn close(&mut self, line: u8) {
        self.end_run();
        if let Some(pulse) = self.pulses.get_mut(usize::from(line)) {
            *pulse = None;
        }
    }

    /// Begins with what a line brings by one read.
    pub(crate) fn begin_read(&mut self, line: u8, now: Instant) {
        self.end_run();
        self.run = Run { line, confirmed: 0, now, len: 0 };
    }

    /// Notes an update of that read, of a topic that is confirmed on these lines, one bit for each.
    #[inline]
    pub(crate) fn data(&mut self, confirmed: u64) {
        if self.run.confirmed != confirmed {
            self.next_run(confirmed);
        }
        self.run.len += 1;
    }

    #[cold]
    fn next_run(&mut self, confirmed: u64) {
        self.end_run();
        self.run.confirmed = confirmed;
    }

    /// Counts the updates that were alike: those of one read mostly are, and counting each took 90 instructions.
    #[cold]
    fn end_run(&mut self) {
        let Run { line, confirmed, now, len } = self.run;
        self.run.len = 0;
        if len == 0 {
            return;
        }
        let is_shared = confirmed & 1 << (line % 64) != 0;
        for (other, pulse) in self.pulses.iter_mut().enumerate() {
            let Some(pulse) = pulse else { continue };
            if other != usize::from(line) {
                let misses = is_shared && confirmed & 1 << (other % 64) != 0;
                pulse.missed = pulse.missed.saturating_add(u32::from(misses) * len);
                continue;
            }
            if now > pulse.last {
                let gap = now - pulse.last;
                pulse.interval = pulse.interval.saturating_mul(7).saturating_add(gap) / 8;
                pulse.last = now;
            }
            (pulse.missed, pulse.suspected) = (0, None);
        }
    }

    /// Begins or ends a time in which nothing is judged, because the shard does not read. Afterwards each line has its
    /// whole time once more.
    pub(crate) fn hold(&mut self, holds: bool, now: Instant) {
        self.end_run();
        self.is_holding = holds;
        for pulse in self.pulses.iter_mut().flatten() {
            (pulse.last, pulse.missed, pulse.suspected) = (now, 0, None);
        }
    }

    /// Returns what has to be done now. `links` are the lines of the shard.
    pub(crate) fn poll(&mut self, links: &[(u8, Link)], now: Instant) -> Option<Deed> {
        self.end_run();
        self.poll_dead(now).or_else(|| self.poll_dial(links, now).map(Deed::Dial))
    }

    /// Returns when to call `poll` next, apart from every event of a line, as of its last call.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let judges = !self.is_holding && self.open_lines() > 1;
        let pulses = self.pulses.iter().flatten().filter(|pulse| judges && pulse.missed >= MISSED);
        pulses.map(|pulse| self.verdict_at(pulse)).chain(self.wait.and_then(|wait| wait.1)).min()
    }

    fn open_lines(&self) -> usize {
        self.pulses.iter().flatten().count()
    }

    /// Returns when there is something to decide about a line that misses updates.
    fn verdict_at(&self, pulse: &Pulse) -> Instant {
        let Some(suspected) = pulse.suspected else { return pulse.limit() };
        let earliest = self.last_verdict.map(|at| at + VERDICT_INTERVAL);
        earliest.map_or(suspected + GRACE, |earliest| earliest.max(suspected + GRACE))
    }

    /// Returns a line that has died while another one goes on.
    fn poll_dead(&mut self, now: Instant) -> Option<Deed> {
        if self.is_holding || self.open_lines() < 2 {
            return None;
        }
        for line in 0..self.pulses.len() {
            let Some(pulse) = self.pulses[line].filter(|pulse| pulse.missed >= MISSED) else {
                continue;
            };
            if self.verdict_at(&pulse) > now {
                continue;
            }
            if pulse.suspected.is_none() {
                self.pulses[line] = Some(Pulse { suspected: Some(now), ..pulse });
                continue;
            }
            let line = line as u8;
            self.close(line);
            (self.last_verdict, self.replaced) = (Some(now), Some(line));
            return Some(Deed::Fail(line, now.saturating_duration_since(pulse.last)));
        }
        None
    }

    /// Returns a line that is to be dialled before its delay has passed.
    fn poll_dial(&mut self, links: &[(u8, Link)], now: Instant) -> Option<u8> {
        let waiting = |link: &(u8, Link)| match link {
            (line, Link::Waiting { due }) => Some((*due, *line)),
            _ => None,
        };
        if let Some(line) = self.replaced
            && let Some((_, link)) = links.iter().find(|(other, _)| *other == line)
            && *link != Link::Open
        {
            self.replaced = None;
            if matches!(link, Link::Waiting { .. }) {
                return Some(line);
            }
        }
        let is_open = |link: &&(u8, Link)| link.1 == Link::Open;
        let open = links.iter().filter(is_open).fold(0, |open, (line, _)| open | 1 << (line % 64));
        let lost = std::mem::replace(&mut self.was_open, open);
        let is_carried = links.iter().any(|(_, link)| matches!(link, Link::Open | Link::Dialling));
        if is_carried {
            self.wait = None;
            return None;
        }
        let Some((due, line)) = links.iter().filter_map(waiting).min() else {
            // Each dials by itself before another one may be dialled in its place: there is no deadline.
            self.wait = self.wait.map(|(since, _)| (since, None));
            return None;
        };
        // Of lines that are lost together each is the other's twin.
        let all_lost = lost.count_ones() > 1;
        let is_twin = |(_, line): &(Instant, u8)| all_lost || lost & 1 << (line % 64) == 0;
        let twin = links.iter().filter_map(waiting).filter(is_twin).min();
        let since = self.wait.map_or(now, |wait| wait.0);
        let too_long = since + LONGEST_WAIT;
        self.wait = Some((since, (due > too_long).then_some(too_long)));
        match twin {
            Some((_, twin)) if lost != 0 => Some(twin),
            _ if due > too_long && too_long <= now => {
                self.wait = None;
                Some(line)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);
    const BOTH: u64 = 0b11;

    /// Notes an update by a read of its own.
    fn data(twins: &mut Twins, line: u8, confirmed: u64, now: Instant) {
        twins.begin_read(line, now);
        twins.data(confirmed);
    }

    /// Two lines, their clock, and what was done, with the milliseconds since the start.
    struct Life {
        twins: Twins,
        links: [(u8, Link); 2],
        start: Instant,
        now: Instant,
        done: Vec<(u64, Deed)>,
    }

    impl Life {
        fn new() -> Life {
            let start = Instant::now();
            let mut twins = Twins::new(start);
            (0..2).for_each(|line| twins.open(line, start));
            let links = [(0, Link::Open), (1, Link::Open)];
            Life { twins, links, start, now: start, done: Vec::new() }
        }

        fn poll(&mut self) {
            let at = (self.now - self.start).as_millis() as u64;
            let poll = || self.twins.poll(&self.links, self.now).map(|deed| (at, deed));
            self.done.extend(std::iter::from_fn(poll));
        }

        /// Lets time pass, with a stop at each timer.
        fn pass(&mut self, time: Duration) {
            let end = self.now + time;
            self.poll();
            while let Some(at) = self.twins.poll_timeout().filter(|at| *at <= end) {
                self.now = self.now.max(at);
                self.poll();
                let next = self.twins.poll_timeout();
                assert!(next.is_none_or(|next| next > self.now), "the same timer again");
            }
            self.now = end;
        }

        /// Lets these lines bring an update every 10 ms.
        fn tick(&mut self, lines: &[u8], time: Duration) {
            for _ in 0..time.as_millis() / 10 {
                self.pass(10 * MILLI);
                lines.iter().for_each(|line| data(&mut self.twins, *line, BOTH, self.now));
            }
        }

        fn lose(&mut self, line: u8, delay: Duration) {
            self.twins.close(line);
            self.links[usize::from(line)].1 = Link::Waiting { due: self.now + delay };
            self.poll();
        }

        fn done(&mut self) -> Vec<(u64, Deed)> {
            std::mem::take(&mut self.done)
        }
    }

    #[test]
    fn a_frozen_line_fails_two_seconds_after_its_last_data_and_is_dialled_at_once() {
        let mut life = Life::new();
        life.tick(&[0, 1], 10 * SECOND);
        life.tick(&[0], 3 * SECOND);
        assert_eq!(life.done(), [(12_000, Deed::Fail(1, 2 * SECOND))]);
        life.lose(1, SECOND);
        assert_eq!(life.done(), [(13_000, Deed::Dial(1))]);
        life.pass(SECOND);
        assert_eq!(life.done(), []);
    }

    #[test]
    fn a_line_that_is_usually_slow_has_five_of_its_intervals() {
        let mut life = Life::new();
        for _ in 0..30 {
            life.tick(&[0], 990 * MILLI);
            life.tick(&[0, 1], 10 * MILLI);
        }
        life.tick(&[0], 4_500 * MILLI);
        assert_eq!(life.done(), []);
        life.tick(&[0], 2 * SECOND);
        assert!(matches!(life.done()[..], [(_, Deed::Fail(1, _))]));
    }

    #[test]
    fn a_line_that_misses_fewer_than_20_updates_of_shared_topics_is_alive() {
        let mut life = Life::new();
        life.tick(&[0, 1], SECOND);
        (0..19).for_each(|_| data(&mut life.twins, 0, BOTH, life.now));
        (0..100).for_each(|_| data(&mut life.twins, 0, 0b01, life.now));
        life.pass(60 * SECOND);
        assert_eq!(life.done(), []);
        data(&mut life.twins, 0, BOTH, life.now);
        life.pass(60 * SECOND);
        assert_eq!(life.done(), [(62_000, Deed::Fail(1, 61 * SECOND))], "with a second of grace");
    }

    #[test]
    fn data_within_the_grace_clears_a_line() {
        let mut life = Life::new();
        life.tick(&[0, 1], SECOND);
        life.tick(&[0], 1_900 * MILLI);
        life.tick(&[0, 1], 10 * SECOND);
        assert_eq!(life.done(), []);
    }

    #[test]
    fn one_line_in_30_seconds_is_found_dead() {
        let mut life = Life::new();
        life.tick(&[0], 3 * SECOND);
        assert_eq!(life.done(), [(2_000, Deed::Fail(1, 2 * SECOND))]);
        life.lose(1, SECOND);
        (life.links[1].1, life.done) = (Link::Open, Vec::new());
        life.twins.open(1, life.now);
        life.tick(&[0], 60 * SECOND);
        assert_eq!(life.done()[0].0, 32_000);
    }

    #[test]
    fn the_only_line_and_a_shard_that_holds_are_not_judged() {
        let mut life = Life::new();
        life.twins.hold(true, life.now);
        life.tick(&[0], 20 * SECOND);
        life.twins.hold(false, life.now);
        life.tick(&[0], 1_900 * MILLI);
        assert_eq!(life.done(), []);
        life.twins.close(0);
        life.pass(20 * SECOND);
        assert_eq!(life.done(), [], "there is no other line");
    }

    #[test]
    fn the_twin_is_dialled_at_once_when_the_last_carrier_is_lost() {
        let mut life = Life::new();
        life.lose(1, 30 * SECOND);
        assert_eq!(life.done(), [], "the other line goes on");
        life.lose(0, SECOND);
        assert_eq!(life.done(), [(0, Deed::Dial(1))], "not the one that was just lost");
        life.pass(5 * SECOND);
        assert_eq!(life.done(), []);
    }

    #[test]
    fn of_lines_that_are_lost_together_the_next_to_dial_does_so_at_once() {
        let mut life = Life::new();
        life.poll();
        (0..2).for_each(|line| life.twins.close(line));
        life.links = [(0, 800), (1, 300)]
            .map(|(line, delay)| (line, Link::Waiting { due: life.now + delay * MILLI }));
        life.poll();
        assert_eq!(life.done(), [(0, Deed::Dial(1))]);
    }

    #[test]
    fn a_delay_that_the_venue_asked_for_and_a_dial_under_way_are_left_alone() {
        for link in [Link::Held, Link::Dialling] {
            let mut life = Life::new();
            life.lose(1, 30 * SECOND);
            life.links[1].1 = link;
            life.lose(0, SECOND);
            assert_eq!(life.done(), [], "{link:?}");
        }
    }

    #[test]
    fn all_lines_wait_for_at_most_ten_seconds() {
        let mut life = Life::new();
        life.links = [0, 1].map(|line| (line, Link::Waiting { due: life.now + 60 * SECOND }));
        life.pass(9 * SECOND);
        assert_eq!(life.done(), []);
        life.pass(SECOND);
        assert_eq!(life.done(), [(10_000, Deed::Dial(0))]);
        life.links[0].1 = Link::Dialling;
        life.pass(5 * SECOND);
        life.links[0].1 = Link::Waiting { due: life.now + 5 * SECOND };
        life.pass(5 * SECOND);
        assert_eq!(life.done(), [], "one of them dials soon");
    }

    #[test]
    fn lines_that_are_held_while_all_wait_need_no_time() {
        let start = Instant::now();
        let mut twins = Twins::new(start);
        let waiting = |line| (line, Link::Waiting { due: start + 60 * SECOND });
        assert_eq!(twins.poll(&[waiting(0), waiting(1)], start), None);
        assert_eq!(twins.poll_timeout(), Some(start + LONGEST_WAIT));
        let held = [(0, Link::Held), (1, Link::Held)];
        for after in [1, 10, 11] {
            assert_eq!(twins.poll(&held, start + after * SECOND), None);
            assert_eq!(
                twins.poll_timeout(),
                None,
                "a time that has passed would be due again and again"
            );
        }
        let one = [(0, Link::Held), waiting(1)];
        assert_eq!(twins.poll(&one, start + 11 * SECOND), Some(Deed::Dial(1)));
    }
}
