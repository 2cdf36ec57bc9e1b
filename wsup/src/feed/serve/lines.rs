//! What is known of each line.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::mem;
use std::time::{Duration, Instant};

use actix_ws_client::feed::command::LineStatus;
use actix_ws_client::feed::event::{LineIs, WaitFor};
use actix_ws_client::feed::{Figures, LineId};

use crate::feed::human::limit_words;

/// The lines, in the order of their shards.
#[derive(Default)]
pub(crate) struct Lines {
    rows: BTreeMap<Key, Row>,
    /// Those that have ended since they were taken.
    ended: Vec<Key>,
}

/// The name of a line: its shard, and its number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) shard: u32,
    pub(crate) line: u8,
}

/// One line.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) report: Report,
    /// When it came into its stage.
    pub(crate) since: Instant,
    /// The stages that it has been in, with their beginnings, the newest last.
    pub(crate) history: VecDeque<(Instant, Stage)>,
    /// When its place was taken over from another line, the newest last; or by itself, if it was closed first.
    pub(crate) takeovers: VecDeque<Instant>,
    /// The line whose place it takes, also once it has.
    takes_over: Option<Key>,
    /// Whether it has.
    has_taken_over: bool,
    /// When the feed itself closed it while it was active. `None` once it is active again or has failed.
    pub(crate) closed: Option<Instant>,
    /// The newest failure.
    pub(crate) failure: Option<(Instant, String)>,
    /// Whether the history has changed since it was taken.
    pub(crate) is_dirty: bool,
}

/// What a feed says about one of its lines.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) key: Key,
    pub(crate) epoch: u64,
    pub(crate) stage: Stage,
    /// The line whose place it is about to take.
    pub(crate) replaces: Option<Key>,
    /// Whether the feed itself has closed it; `None` if it is not known.
    is_closed: Option<bool>,
    /// What belongs to the stage: the number of topics that are left, what it waits for but a delay.
    pub(crate) detail: Option<String>,
    /// How long it waits before it dials, from the beginning of the stage.
    pub(crate) delay: Option<Duration>,
    /// The figures of its shard.
    pub(crate) figures: Figures,
    pub(crate) last_data: Option<Duration>,
    pub(crate) round_trip: Option<Duration>,
    pub(crate) queued: usize,
    pub(crate) lag: Option<Duration>,
    pub(crate) lag_99: Option<Duration>,
    pub(crate) updates: u64,
    pub(crate) firsts: u64,
}

/// What a line is doing. The page has the same list, in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    Down,
    Waiting,
    Dialling,
    LoggingIn,
    Subscribing,
    Active,
    Silent,
    Draining,
}

/// The stages that are kept of a line; the oldest is dropped.
const MAX_HISTORY: usize = 64;

/// The takeovers that are kept of a line; the oldest is dropped.
const MAX_TAKEOVERS: usize = 8;

impl Stage {
    pub(crate) const ALL: [(Stage, &'static str); 8] = [
        (Stage::Down, "down"),
        (Stage::Waiting, "waiting"),
        (Stage::Dialling, "dialling"),
        (Stage::LoggingIn, "logging_in"),
        (Stage::Subscribing, "subscribing"),
        (Stage::Active, "active"),
        (Stage::Silent, "silent"),
        (Stage::Draining, "draining"),
    ];

    pub(crate) fn of(state: &LineIs) -> Stage {
        match state {
            LineIs::Waiting { .. } => Stage::Waiting,
            LineIs::Dialling => Stage::Dialling,
            LineIs::LoggingIn => Stage::LoggingIn,
            LineIs::Subscribing { .. } => Stage::Subscribing,
            LineIs::Active => Stage::Active,
            LineIs::Silent { .. } => Stage::Silent,
            LineIs::Draining => Stage::Draining,
            _ => Stage::Down,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        Stage::ALL[self as usize].1
    }
}

impl From<LineId> for Key {
    fn from(line: LineId) -> Key {
        Key { shard: line.shard.0, line: line.line }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.shard, char::from(b'a' + self.line % 26))
    }
}

impl Report {
    /// Creates the report of a line about which nothing else is known.
    pub(crate) fn new(key: Key, stage: Stage) -> Report {
        Report {
            key,
            epoch: 0,
            stage,
            replaces: None,
            is_closed: None,
            detail: None,
            delay: None,
            figures: Figures::default(),
            last_data: None,
            round_trip: None,
            queued: 0,
            lag: None,
            lag_99: None,
            updates: 0,
            firsts: 0,
        }
    }

    pub(crate) fn of(line: &LineStatus) -> Report {
        Report {
            epoch: line.epoch,
            replaces: line.replaces.map(Key::from),
            is_closed: is_closed(&line.state),
            detail: detail(&line.state),
            delay: match line.state {
                LineIs::Waiting { for_what: WaitFor::Delay(delay) } => Some(delay),
                _ => None,
            },
            figures: line.figures,
            last_data: line.last_data,
            round_trip: line.round_trip,
            queued: line.queued,
            lag: line.lag,
            lag_99: line.lag_99,
            updates: line.updates,
            firsts: line.firsts,
            ..Report::new(line.line.into(), Stage::of(&line.state))
        }
    }
}

fn detail(state: &LineIs) -> Option<String> {
    match state {
        LineIs::Subscribing { left } => Some(format!("{left} topics left")),
        LineIs::Waiting { for_what: WaitFor::Delay(_) } => None,
        LineIs::Waiting { for_what: WaitFor::Budget(limit) } => {
            Some(limit_words(*limit).to_owned())
        }
        LineIs::Waiting { .. } => Some("paused".to_owned()),
        _ => None,
    }
}

/// Whether a state shows that the feed itself has closed a line, to dial it again or for good; `None` if it shows neither.
fn is_closed(state: &LineIs) -> Option<bool> {
    match state {
        LineIs::Draining | LineIs::Down { cause: None } => Some(true),
        LineIs::Active | LineIs::Down { .. } | LineIs::Waiting { for_what: WaitFor::Resume } => {
            Some(false)
        }
        _ => None,
    }
}

impl Lines {
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    pub(crate) fn rows_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        self.rows.values_mut()
    }

    /// Whether a line is about to take the place of another one.
    pub(crate) fn is_replacing(&self, key: Key) -> bool {
        self.rows.get(&key).is_some_and(|row| row.report.replaces.is_some())
    }

    /// Takes what the feed says of all its lines. Those that it does not name have ended; what is known of their place goes
    /// on with the line that has taken it over.
    pub(crate) fn report(&mut self, reports: Vec<Report>, now: Instant) {
        let named: BTreeSet<Key> = reports.iter().map(|report| report.key).collect();
        let gone: Vec<Key> = self.rows.keys().filter(|key| !named.contains(key)).copied().collect();
        let ended: Vec<Row> = gone.iter().filter_map(|key| self.rows.remove(key)).collect();
        self.ended.extend(gone);
        let mut new = Vec::new();
        for report in reports {
            let row = self.rows.entry(report.key).or_insert_with(|| {
                new.push(report.key);
                Row::new(report.clone(), now)
            });
            row.take(report, now);
        }
        for old in ended {
            self.take_over(old, &new, now);
        }
    }

    /// Takes the lines that have ended.
    pub(crate) fn take_ended(&mut self) -> Vec<Key> {
        mem::take(&mut self.ended)
    }

    /// Gives the history of a line that has ended to the one that has taken its place: the one that was about to; or else
    /// one of its shard that is new, because the whole rotation was between two reports.
    fn take_over(&mut self, old: Row, new: &[Key], now: Instant) {
        let Key { shard, .. } = old.report.key;
        let mut rows = self.rows.values_mut().filter(|row| row.report.key.shard == shard);
        let is_new = |row: &Row| row.takes_over.is_none() && new.contains(&row.report.key);
        let follows = |row: &Row| row.takes_over == Some(old.report.key) && !row.has_taken_over;
        if let Some(row) = rows.find(|row| follows(row) || is_new(row)) {
            row.inherit(old, now);
        }
    }

    /// Notes that a line has taken the place of another, which has ended. Its name may be that of another line soon.
    pub(crate) fn hand_over(&mut self, from: Key, to: Key, now: Instant) {
        let is_over = |row: &Row| row.report.replaces != Some(to);
        if !self.rows.contains_key(&to) || !self.rows.get(&from).is_some_and(is_over) {
            return;
        }
        let old = self.rows.remove(&from);
        self.ended.push(from);
        old.zip(self.rows.get_mut(&to)).into_iter().for_each(|(old, row)| row.inherit(old, now));
    }

    /// Notes the stage of a line, as an event has it. A line that the feed has not named yet is left out.
    pub(crate) fn enter(&mut self, key: Key, state: &LineIs, now: Instant) {
        if let Some(row) = self.rows.get_mut(&key) {
            row.enter(Stage::of(state), is_closed(state), now);
        }
    }

    /// Notes a failure.
    pub(crate) fn fail(&mut self, key: Key, text: String, now: Instant) {
        if let Some(row) = self.rows.get_mut(&key) {
            row.failure = Some((now, text));
        }
    }

    /// Notes that a line was closed and opened again, in place of a rotation.
    pub(crate) fn renew(&mut self, key: Key, now: Instant) {
        if let Some(row) = self.rows.get_mut(&key) {
            row.note_takeover(now);
        }
    }
}

impl Row {
    fn new(report: Report, now: Instant) -> Row {
        Row {
            since: now,
            history: VecDeque::from([(now, report.stage)]),
            takeovers: VecDeque::new(),
            takes_over: report.replaces,
            has_taken_over: false,
            closed: None,
            failure: None,
            is_dirty: true,
            report,
        }
    }

    fn take(&mut self, report: Report, now: Instant) {
        self.enter(report.stage, report.is_closed, now);
        self.is_dirty |= report.replaces != self.report.replaces;
        if report.replaces.is_some() && report.replaces != self.takes_over {
            (self.takes_over, self.has_taken_over) = (report.replaces, false);
        }
        self.report = report;
    }

    fn enter(&mut self, stage: Stage, is_closed: Option<bool>, now: Instant) {
        let last = self.history.back().map(|(_, last)| *last);
        match is_closed {
            Some(true) if matches!(last, Some(Stage::Active | Stage::Silent)) => {
                self.closed = Some(now);
            }
            Some(false) => self.closed = None,
            _ => {}
        }
        if last == Some(stage) {
            return;
        }
        push(&mut self.history, (now, stage), MAX_HISTORY);
        (self.since, self.is_dirty) = (now, true);
    }

    /// Continues the history of a line whose place it has taken over: up to when it was active for the first time, or the
    /// feed has closed the other.
    fn inherit(&mut self, old: Row, now: Instant) {
        (self.takes_over, self.has_taken_over) = (Some(old.report.key), true);
        let active = self.history.iter().position(|(_, stage)| *stage == Stage::Active);
        let mut own = self.history.split_off(active.unwrap_or(0));
        let mut at = own.front().map_or(now, |(at, _)| *at);
        if let Some((begin, _)) = own.front_mut() {
            at = old.closed.map_or(at, |closed| closed.min(at));
            *begin = at;
        }
        self.history = old.history.into_iter().filter(|(begin, _)| *begin < at).collect();
        own.into_iter().for_each(|entry| push(&mut self.history, entry, MAX_HISTORY));
        self.takeovers = old.takeovers;
        self.note_takeover(at);
    }

    fn note_takeover(&mut self, at: Instant) {
        push(&mut self.takeovers, at, MAX_TAKEOVERS);
        self.is_dirty = true;
    }

    /// Returns how long it still waits before it dials.
    pub(crate) fn dials_in(&self, now: Instant) -> Option<Duration> {
        Some(self.report.delay?.saturating_sub(now.saturating_duration_since(self.since)))
    }

    /// Returns how long ago data came on the open socket; without any, how long the line has been as it is.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        self.report.last_data.unwrap_or_else(|| now.saturating_duration_since(self.since))
    }
}

/// Adds an entry, and drops the oldest beyond `most`.
fn push<T>(entries: &mut VecDeque<T>, entry: T, most: usize) {
    if entries.len() >= most {
        entries.pop_front();
    }
    entries.push_back(entry);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(shard: u32, line: u8, stage: Stage) -> Report {
        Report::new(Key { shard, line }, stage)
    }

    #[test]
    fn a_line_is_written_as_the_feed_writes_it() {
        assert_eq!(Key { shard: 12, line: 1 }.to_string(), "12b");
    }

    #[test]
    fn a_name_is_that_of_its_stage() {
        for (at, (stage, _)) in Stage::ALL.iter().enumerate() {
            assert_eq!(*stage as usize, at);
        }
    }

    #[test]
    fn a_history_has_each_change_once_and_is_bounded() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        lines.report(vec![report(1, 0, Stage::Dialling)], now);
        lines.enter(Key { shard: 1, line: 0 }, &LineIs::Active, now);
        lines.report(vec![report(1, 0, Stage::Active)], now);
        let history = |lines: &Lines| -> Vec<Stage> {
            lines.rows().flat_map(|row| row.history.iter().map(|(_, stage)| *stage)).collect()
        };
        assert_eq!(history(&lines), [Stage::Dialling, Stage::Active]);
        for _ in 0..100 {
            lines.enter(Key { shard: 1, line: 0 }, &LineIs::Down { cause: None }, now);
            lines.enter(Key { shard: 1, line: 0 }, &LineIs::Active, now);
        }
        assert_eq!(history(&lines).len(), MAX_HISTORY);
        lines.report(vec![report(2, 0, Stage::Active)], now);
        assert_eq!(lines.rows().map(|row| row.report.key.shard).collect::<Vec<_>>(), [2]);
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn stages(lines: &Lines, line: u8) -> Vec<Stage> {
        let row = &lines.rows[&Key { shard: 1, line }];
        row.history.iter().map(|(_, stage)| *stage).collect()
    }

    #[test]
    fn a_history_goes_on_with_the_line_that_takes_over() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        let old = || report(1, 0, Stage::Active);
        lines.report(vec![report(1, 0, Stage::Down)], now);
        lines.report(vec![old()], now + SECOND);
        let mut new = report(1, 1, Stage::Dialling);
        new.replaces = Some(Key { shard: 1, line: 0 });
        lines.report(vec![old(), new.clone()], now + 2 * SECOND);
        assert!(lines.is_replacing(new.key) && !lines.is_replacing(old().key));
        new.stage = Stage::Active;
        lines.report(vec![old(), new.clone()], now + 3 * SECOND);
        // The hand-over, and the end of the old line.
        new.replaces = None;
        lines.report(vec![report(1, 0, Stage::Draining), new.clone()], now + 4 * SECOND);
        assert!(lines.take_ended().is_empty());
        lines.report(vec![new.clone()], now + 5 * SECOND);
        assert_eq!(lines.take_ended(), [old().key]);
        assert_eq!(stages(&lines, 1), [Stage::Down, Stage::Active, Stage::Active]);
        assert_eq!(lines.rows[&new.key].takeovers, [now + 3 * SECOND]);
        // The next rotation is over before it is seen.
        lines.report(vec![old()], now + 6 * SECOND);
        assert_eq!(lines.rows[&old().key].takeovers, [3, 6].map(|after| now + after * SECOND));
        assert_eq!(stages(&lines, 0).len(), 4);
    }

    #[test]
    fn a_line_that_is_replaced_again_at_once_leaves_its_history_too() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        let [old, new] = [0, 1].map(|line| Key { shard: 1, line });
        let replacing = |line: Key, replaces: Key| {
            let mut report = Report::new(line, Stage::Dialling);
            report.replaces = Some(replaces);
            report
        };
        lines.report(vec![report(1, 0, Stage::Active)], now);
        lines.report(vec![report(1, 0, Stage::Active), replacing(new, old)], now + SECOND);
        let ends = [(old, LineIs::Draining), (old, LineIs::Down { cause: None })];
        ends.iter().for_each(|(line, state)| lines.enter(*line, state, now + 2 * SECOND));
        lines.enter(new, &LineIs::Active, now + 3 * SECOND);
        lines.hand_over(old, new, now + 3 * SECOND);
        assert_eq!(lines.take_ended(), [old]);
        // Its end is no failure of the place.
        assert_eq!(stages(&lines, 1), [Stage::Active; 2]);
        assert_eq!(lines.rows[&new].takeovers, [now + 2 * SECOND]);
        // A line of the old name has begun already.
        lines.report(vec![replacing(old, new), report(1, 1, Stage::Active)], now + 4 * SECOND);
        assert_eq!((stages(&lines, 0).len(), lines.rows[&new].takeovers.len()), (1, 1));
        // The event comes late.
        lines.hand_over(old, new, now + 4 * SECOND);
        assert!(lines.is_replacing(old) && lines.take_ended().is_empty());
        lines.report(vec![report(1, 0, Stage::Active)], now + 5 * SECOND);
        assert_eq!(lines.rows[&old].takeovers.len(), 2);
        // The one that was replaced is named once more.
        lines.report(vec![report(1, 0, Stage::Active), report(1, 1, Stage::Draining)], now);
        lines.report(vec![report(1, 0, Stage::Active)], now);
        assert_eq!(lines.rows[&old].takeovers.len(), 2);
    }

    #[test]
    fn a_line_that_fails_to_take_over_takes_nothing() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        let mut new = report(1, 1, Stage::Dialling);
        new.replaces = Some(Key { shard: 1, line: 0 });
        lines.report(vec![report(1, 0, Stage::Active), new], now);
        lines.report(vec![report(1, 0, Stage::Active)], now + SECOND);
        assert_eq!(stages(&lines, 0), [Stage::Active]);
        assert!(lines.rows().all(|row| row.takeovers.is_empty()));
    }

    #[test]
    fn only_a_line_that_was_active_is_closed_by_the_feed() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        let key = Key { shard: 1, line: 0 };
        let closed = |lines: &Lines| lines.rows[&key].closed;
        lines.report(vec![report(1, 0, Stage::Down)], now);
        lines.enter(key, &LineIs::Down { cause: None }, now);
        assert_eq!(closed(&lines), None);
        lines.enter(key, &LineIs::Active, now);
        lines.enter(key, &LineIs::Draining, now);
        lines.enter(key, &LineIs::Down { cause: None }, now + SECOND);
        lines.enter(key, &LineIs::Dialling, now + SECOND);
        assert_eq!(closed(&lines), Some(now));
        lines.enter(key, &LineIs::Active, now);
        assert_eq!(closed(&lines), None);
    }
}
