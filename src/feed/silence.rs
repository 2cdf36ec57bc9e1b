//! Which topic, and which line, has brought no data for too long.
//!
//! A topic is watched from its confirmation on. When it has brought nothing for the limit, and the lines have brought
//! no data of any topic for half of it, the lines are silent and their topics are not reported.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use crate::feed::rules::{Silence, SilenceAction};
use crate::feed::table;
use crate::feed::topics::Slot;

/// How often it is looked whether the market is open.
const MARKET_INTERVAL: Duration = Duration::from_secs(60);

/// The period in which actions are counted.
const HOUR: Duration = Duration::from_secs(3600);

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// A topic is silent.
    Topic {
        slot: Slot,
        /// When its last data came, or when it was confirmed.
        since: Instant,
        /// Whether it has to be reported: not, if it has brought no data since the last report.
        is_new: bool,
        action: Action,
    },
    /// A line is silent. Reported once in a session.
    Line {
        line: u8,
        /// When its last data came, or when it was opened.
        since: Instant,
        action: Action,
    },
}

/// What follows a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is reported.
    Report,
    /// The topic is subscribed again.
    Resubscribe,
    /// The line, or that of the topic, is dialled again.
    Fail,
}

/// Which silence has ended with an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) topic: bool,
    pub(crate) line: bool,
}

/// The silence of the topics and lines of one shard.
pub(crate) struct Silences {
    rule: Silence,
    /// By slot.
    topics: Vec<Topic>,
    /// By number; `None` without an open socket.
    lines: Vec<Option<Line>>,
    /// When to look at each watched topic: one entry for each, moved when it is found to be too early.
    due: BinaryHeap<Reverse<(Instant, Slot)>>,
    /// Time before this does not count: the market was closed, the shard held, or no line brought anything.
    base: Instant,
    is_holding: bool,
    /// When to look at the market, and whether it was open then. `None` if it is always open.
    market: Option<(Instant, bool)>,
    /// When actions were taken, within the last hour.
    actions: VecDeque<Instant>,
    /// What was found and not returned yet.
    findings: VecDeque<Finding>,
}

/// A topic.
#[derive(Clone, Copy, Debug, Default)]
struct Topic {
    /// When it was confirmed, or the last data came; `None` before either.
    since: Option<Instant>,
    /// Whether it is confirmed.
    is_watched: bool,
    /// Whether its entry is in the queue.
    is_queued: bool,
    /// Whether it was reported, and has brought no data since.
    is_silent: bool,
}

/// A line.
#[derive(Clone, Copy, Debug)]
struct Line {
    since: Instant,
    is_silent: bool,
}

impl Silences {
    pub(crate) fn new(rule: Silence, now: Instant) -> Silences {
        Silences {
            market: rule.open_if.is_some().then_some((now, true)),
            rule,
            topics: Vec::new(),
            lines: Vec::new(),
            due: BinaryHeap::new(),
            base: now,
            is_holding: false,
            actions: VecDeque::new(),
            findings: VecDeque::new(),
        }
    }

    /// A line has opened a socket.
    pub(crate) fn open(&mut self, line: u8, now: Instant) {
        let line = usize::from(line);
        if line >= self.lines.len() {
            self.lines.resize(line + 1, None);
        }
        self.lines[line] = Some(Line { since: now, is_silent: false });
    }

    /// The socket of a line has ended.
    pub(crate) fn close(&mut self, line: u8) {
        if let Some(line) = self.lines.get_mut(usize::from(line)) {
            *line = None;
        }
    }

    /// The venue has confirmed a topic: its limit begins.
    pub(crate) fn confirmed(&mut self, slot: Slot, now: Instant) {
        if slot as usize >= self.topics.len() {
            table::fill(&mut self.topics, slot as usize + 1, Topic::default);
        }
        let topic = &mut self.topics[slot as usize];
        if !topic.is_watched || topic.is_silent {
            topic.since = Some(now);
        }
        topic.is_watched = true;
        self.enqueue(slot, now + self.rule.limit);
    }

    /// No line carries a topic any more.
    pub(crate) fn ended(&mut self, slot: Slot) {
        if let Some(topic) = self.topics.get_mut(slot as usize) {
            topic.is_watched = false;
        }
    }

    /// A topic is not wanted any more, and its slot may be used for another one.
    pub(crate) fn remove(&mut self, slot: Slot) {
        if let Some(topic) = self.topics.get_mut(slot as usize) {
            *topic = Topic { is_queued: topic.is_queued, ..Topic::default() };
        }
    }

    /// Data of a topic came on a line. Returns the silences that it ends.
    #[inline]
    pub(crate) fn data(&mut self, line: u8, slot: Slot, now: Instant) -> Ended {
        let mut ended = Ended::default();
        if let Some(topic) = self.topics.get_mut(slot as usize) {
            topic.since = Some(now);
            ended.topic = std::mem::take(&mut topic.is_silent);
        }
        if let Some(Some(line)) = self.lines.get_mut(usize::from(line)) {
            line.since = now;
            ended.line = std::mem::take(&mut line.is_silent);
        }
        if ended.line {
            // What the others did not bring meanwhile was the line's silence.
            self.base = now;
        }
        if ended.topic {
            self.enqueue(slot, now + self.rule.limit);
        }
        ended
    }

    /// Begins or ends a time in which nothing is judged, because the shard does not read. The limits begin anew with its
    /// end.
    pub(crate) fn hold(&mut self, holds: bool, now: Instant) {
        if self.is_holding && !holds {
            self.base = now;
        }
        self.is_holding = holds;
    }

    /// Returns when [`handle_timeout`](Silences::handle_timeout) is to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.is_holding {
            return None;
        }
        let due = self.due.peek().map(|Reverse((at, _))| *at);
        match self.market {
            Some((at, false)) => Some(at),
            Some((at, true)) => Some(due.map_or(at, |due| due.min(at))),
            None => due,
        }
    }

    /// Judges the topics whose limit has passed. What it finds comes from [`poll`](Silences::poll).
    pub(crate) fn handle_timeout(&mut self, now: Instant, wall: SystemTime) {
        if self.is_holding || !self.is_market_open(now, wall) {
            return;
        }
        while let Some(slot) = self.next_due(now) {
            let Topic { since: Some(since), is_watched: true, is_silent, .. } =
                self.topics[slot as usize]
            else {
                continue;
            };
            let over = since.max(self.base) + self.rule.limit;
            if over > now {
                self.enqueue(slot, over);
            } else if self.find_silent_lines(now) {
                // The topic is judged once its line brings data again, or is replaced.
                self.enqueue(slot, now + self.rule.limit);
            } else {
                self.topics[slot as usize].is_silent = true;
                let action = self.act(now, Action::Resubscribe);
                self.findings.push_back(Finding::Topic { slot, since, is_new: !is_silent, action });
            }
        }
    }

    /// Returns what was found.
    pub(crate) fn poll(&mut self) -> Option<Finding> {
        self.findings.pop_front()
    }

    /// Whether no line has brought data for half of the limit. Reports each of them, once.
    fn find_silent_lines(&mut self, now: Instant) -> bool {
        let half = self.rule.limit / 2;
        let is_silent = |line: &Line| now >= line.since.max(self.base) + half;
        if !self.lines.iter().flatten().all(is_silent) {
            return false;
        }
        for at in 0..self.lines.len() {
            let Some(Line { since, is_silent: false }) = self.lines[at] else {
                continue;
            };
            self.lines[at] = Some(Line { since, is_silent: true });
            let action = self.act(now, Action::Fail);
            self.findings.push_back(Finding::Line { line: at as u8, since, action });
        }
        true
    }

    /// Returns what follows a silence: `resubscribe` stands for a subscription that is repeated. Once there were too many
    /// actions in the last hour, it is nothing but a report.
    fn act(&mut self, now: Instant, resubscribe: Action) -> Action {
        let action = match self.rule.action {
            SilenceAction::Report => return Action::Report,
            SilenceAction::Resubscribe => resubscribe,
            SilenceAction::Fail => Action::Fail,
        };
        while self.actions.front().is_some_and(|at| *at + HOUR <= now) {
            self.actions.pop_front();
        }
        if self.actions.len() >= usize::try_from(self.rule.actions_per_hour).unwrap_or(usize::MAX) {
            return Action::Report;
        }
        self.actions.push_back(now);
        action
    }

    /// Whether the market is open. The limits begin anew with its opening.
    fn is_market_open(&mut self, now: Instant, wall: SystemTime) -> bool {
        let (Some(open_if), Some((at, was_open))) = (&self.rule.open_if, &mut self.market) else {
            return true;
        };
        let is_open = open_if(wall);
        if is_open && !*was_open {
            self.base = now;
        }
        *was_open = is_open;
        if now >= *at {
            *at = now + MARKET_INTERVAL;
        }
        is_open
    }

    /// Takes the first topic out of the queue, if it is due.
    fn next_due(&mut self, now: Instant) -> Option<Slot> {
        let Reverse((at, slot)) = *self.due.peek()?;
        if at > now {
            return None;
        }
        self.due.pop();
        self.topics[slot as usize].is_queued = false;
        Some(slot)
    }

    fn enqueue(&mut self, slot: Slot, at: Instant) {
        let topic = &mut self.topics[slot as usize];
        if !std::mem::replace(&mut topic.is_queued, true) {
            self.due.push(Reverse((at, slot)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const MILLI: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);
    const LIMIT: Duration = Duration::from_secs(30);

    /// Silences, their clock, and what they found, with the seconds since the start.
    struct Life {
        silences: Silences,
        start: Instant,
        now: Instant,
        found: Vec<(u64, Finding)>,
    }

    impl Life {
        /// One line with this number of confirmed topics.
        fn new(rule: Silence, topics: Slot) -> Life {
            let start = Instant::now();
            let mut silences = Silences::new(rule, start);
            silences.open(0, start);
            (0..topics).for_each(|slot| silences.confirmed(slot, start));
            Life { silences, start, now: start, found: Vec::new() }
        }

        /// Lets time pass, with a stop at each timer.
        fn pass(&mut self, time: Duration) {
            let end = self.now + time;
            while let Some(at) = self.silences.poll_timeout().filter(|at| *at <= end) {
                self.now = self.now.max(at);
                self.silences.handle_timeout(self.now, SystemTime::UNIX_EPOCH);
                let at = (self.now - self.start).as_secs();
                self.found.extend(std::iter::from_fn(|| self.silences.poll()).map(|it| (at, it)));
                let next = self.silences.poll_timeout();
                assert!(next.is_none_or(|next| next > self.now), "the same timer again");
            }
            self.now = end;
        }

        /// Lets seconds pass, in each of which these topics bring data.
        fn tick(&mut self, seconds: u64, slots: impl Iterator<Item = Slot> + Clone) {
            for _ in 0..seconds {
                self.pass(SECOND);
                for slot in slots.clone() {
                    self.silences.data(0, slot, self.now);
                }
            }
        }

        /// What was found, in words.
        fn words(&mut self) -> Vec<String> {
            let word = |(at, finding)| match finding {
                Finding::Topic { slot, is_new, action, since } => {
                    let since = (since - self.start).as_secs();
                    let again = if is_new { "" } else { " again" };
                    format!("{at}: topic {slot} since {since}{again}, {action:?}")
                }
                Finding::Line { line, since, action } => {
                    let since = (since - self.start).as_secs();
                    format!("{at}: line {line} since {since}, {action:?}")
                }
            };
            std::mem::take(&mut self.found).into_iter().map(word).collect()
        }
    }

    #[test]
    fn a_muted_topic_is_reported_once() {
        let mut life = Life::new(Silence::topic(LIMIT), 300);
        life.tick(10, 0..300);
        life.tick(200, (0..300).filter(|slot| *slot != 150));
        assert_eq!(life.words(), ["40: topic 150 since 10, Report"]);
        let ended = life.silences.data(0, 150, life.now);
        assert_eq!(ended, Ended { topic: true, line: false });
        life.tick(31, 0..150);
        assert_eq!(life.words().len(), 150, "and all others are watched again");
    }

    #[test]
    fn a_silent_line_is_reported_in_place_of_its_topics() {
        let mut life = Life::new(Silence::topic(LIMIT), 300);
        life.tick(10, 0..300);
        life.pass(300 * SECOND);
        assert_eq!(life.words(), ["40: line 0 since 10, Report"]);
        assert_eq!(life.silences.data(0, 0, life.now), Ended { topic: false, line: true });
        life.tick(29, 0..100);
        assert_eq!(life.words(), [""; 0], "the topics have the whole limit again");
        life.tick(2, 0..100);
        assert_eq!(life.words().len(), 200);
    }

    #[test]
    fn a_topic_is_watched_from_its_confirmation_to_the_end_of_its_socket() {
        let mut life = Life::new(Silence::topic(LIMIT), 2);
        life.tick(20, 0..1);
        life.silences.ended(1);
        life.tick(100, 0..1);
        assert_eq!(life.words(), [""; 0]);
        life.silences.confirmed(1, life.now);
        life.tick(29, 0..1);
        assert_eq!(life.words(), [""; 0]);
        life.tick(1, 0..1);
        assert_eq!(life.words(), ["150: topic 1 since 120, Report"]);
        life.silences.remove(1);
        life.silences.confirmed(1, life.now);
        life.tick(30, 0..1);
        assert_eq!(life.words(), ["180: topic 1 since 150, Report"], "another topic of this slot");
    }

    #[test]
    fn a_second_confirmation_does_not_put_the_limit_off() {
        let mut life = Life::new(Silence::topic(LIMIT), 2);
        life.tick(20, 0..1);
        life.silences.confirmed(1, life.now);
        life.tick(10, 0..1);
        assert_eq!(life.words(), ["30: topic 1 since 0, Report"]);
    }

    #[test]
    fn what_does_not_help_is_done_again_and_reported_once() {
        let mut life = Life::new(Silence::topic(LIMIT).resubscribe().at_most_per_hour(2), 2);
        for _ in 0..4 {
            life.tick(30, 0..1);
            life.silences.confirmed(1, life.now);
        }
        assert_eq!(
            life.words(),
            [
                "30: topic 1 since 0, Resubscribe",
                "60: topic 1 since 30 again, Resubscribe",
                "90: topic 1 since 60 again, Report",
                "120: topic 1 since 90 again, Report",
            ]
        );
        life.tick(3_600, 0..1);
        life.silences.confirmed(1, life.now);
        life.tick(30, 0..1);
        assert_eq!(life.words().last().unwrap(), "3750: topic 1 since 3720 again, Resubscribe");
    }

    #[test]
    fn a_silent_line_is_dialled_again_also_where_topics_are_subscribed_again() {
        for rule in [Silence::topic(LIMIT).resubscribe(), Silence::topic(LIMIT).fail()] {
            let mut life = Life::new(rule, 10);
            life.pass(60 * SECOND);
            assert_eq!(life.words(), ["30: line 0 since 0, Fail"]);
            life.silences.close(0);
            (0..10).for_each(|slot| life.silences.ended(slot));
            life.pass(60 * SECOND);
            life.silences.open(0, life.now);
            (0..10).for_each(|slot| life.silences.confirmed(slot, life.now));
            life.pass(60 * SECOND);
            assert_eq!(life.words(), ["150: line 0 since 120, Fail"]);
        }
    }

    #[test]
    fn one_line_that_brings_data_is_enough() {
        let mut life = Life::new(Silence::topic(LIMIT), 2);
        life.silences.open(1, life.now);
        life.tick(40, 0..1);
        assert_eq!(life.words(), ["30: topic 1 since 0, Report"]);
    }

    #[test]
    fn while_the_shard_holds_nothing_is_silent() {
        let mut life = Life::new(Silence::topic(LIMIT), 2);
        life.pass(20 * SECOND);
        life.silences.hold(true, life.now);
        life.pass(3_600 * SECOND);
        life.silences.hold(false, life.now);
        life.pass(29 * SECOND + 999 * MILLI);
        assert_eq!(life.words(), [""; 0]);
        life.pass(MILLI);
        assert_eq!(life.words().len(), 1);
    }

    #[test]
    fn a_closed_market_raises_nothing_and_its_first_open_minute_is_watched() {
        let is_open = Arc::new(AtomicBool::new(true));
        let market = is_open.clone();
        let rule = Silence::topic(LIMIT).open_if(move |_| market.load(Ordering::Relaxed));
        let mut life = Life::new(rule, 2);
        life.tick(20, 0..2);
        is_open.store(false, Ordering::Relaxed);
        life.pass(8 * 3_600 * SECOND);
        assert_eq!(life.words(), [""; 0]);
        is_open.store(true, Ordering::Relaxed);
        let opened = life.now;
        life.tick(300, 0..1);
        let [(at, Finding::Topic { slot: 1, .. })] = life.found[..] else {
            panic!("{:?}", life.found);
        };
        let after = life.start + Duration::from_secs(at) - opened;
        assert!((30 * SECOND..=90 * SECOND).contains(&after), "{after:?}");
    }

    #[test]
    fn many_topics_need_one_entry_each() {
        let mut life = Life::new(Silence::topic(LIMIT), 5_000);
        life.tick(100, 0..5_000);
        (0..5_000).for_each(|slot| life.silences.confirmed(slot, life.now));
        assert_eq!(life.silences.due.len(), 5_000);
        assert!(size_of::<Topic>() + size_of::<(Instant, Slot)>() <= 64);
    }
}
