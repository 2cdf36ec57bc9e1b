//! What is known of each line.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use actix_ws_client::feed::command::LineStatus;
use actix_ws_client::feed::event::{LineIs, WaitFor};
use actix_ws_client::feed::{Figures, LineId};

use crate::feed::human::limit_words;

/// The lines, in the order of their shards.
#[derive(Default)]
pub(crate) struct Lines(BTreeMap<Key, Row>);

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

impl Lines {
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.0.values()
    }

    pub(crate) fn rows_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        self.0.values_mut()
    }

    /// Takes what the feed says of all its lines. Those that it does not name have ended. Returns whether the lines are
    /// others than before.
    pub(crate) fn report(&mut self, reports: Vec<Report>, now: Instant) -> bool {
        let named: BTreeSet<Key> = reports.iter().map(|report| report.key).collect();
        let are_others = !named.iter().eq(self.0.keys());
        self.0.retain(|key, _| named.contains(key));
        for report in reports {
            let row = self.0.entry(report.key).or_insert_with(|| Row::new(report.clone(), now));
            row.enter(report.stage, now);
            row.report = report;
        }
        are_others
    }

    /// Notes the stage of a line, as an event has it. A line that the feed has not named yet is left out.
    pub(crate) fn enter(&mut self, key: Key, stage: Stage, now: Instant) {
        if let Some(row) = self.0.get_mut(&key) {
            row.enter(stage, now);
        }
    }

    /// Notes a failure.
    pub(crate) fn fail(&mut self, key: Key, text: String, now: Instant) {
        if let Some(row) = self.0.get_mut(&key) {
            row.failure = Some((now, text));
        }
    }
}

impl Row {
    fn new(report: Report, now: Instant) -> Row {
        let history = VecDeque::from([(now, report.stage)]);
        Row { report, since: now, history, failure: None, is_dirty: true }
    }

    fn enter(&mut self, stage: Stage, now: Instant) {
        if self.history.back().is_some_and(|(_, last)| *last == stage) {
            return;
        }
        if self.history.len() == MAX_HISTORY {
            self.history.pop_front();
        }
        self.history.push_back((now, stage));
        (self.since, self.is_dirty) = (now, true);
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
        lines.enter(Key { shard: 1, line: 0 }, Stage::Active, now);
        lines.report(vec![report(1, 0, Stage::Active)], now);
        let history = |lines: &Lines| -> Vec<Stage> {
            lines.rows().flat_map(|row| row.history.iter().map(|(_, stage)| *stage)).collect()
        };
        assert_eq!(history(&lines), [Stage::Dialling, Stage::Active]);
        for _ in 0..100 {
            lines.enter(Key { shard: 1, line: 0 }, Stage::Down, now);
            lines.enter(Key { shard: 1, line: 0 }, Stage::Active, now);
        }
        assert_eq!(history(&lines).len(), MAX_HISTORY);
        assert!(!lines.report(vec![report(1, 0, Stage::Active)], now));
        assert!(lines.report(vec![report(2, 0, Stage::Active)], now));
        assert_eq!(lines.rows().map(|row| row.report.key.shard).collect::<Vec<_>>(), [2]);
    }
}
