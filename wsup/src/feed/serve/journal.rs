//! What has happened lately: gaps, losses, refusals, silence, rotations, snapshots that did not come, a broker that was away.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The newest entries, at most half of them about topics; the oldest is dropped.
#[derive(Default)]
pub(crate) struct Journal {
    entries: VecDeque<Entry>,
    /// The number of the newest entry.
    newest: u64,
}

/// One thing that has happened, or several alike of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Unique, from 1.
    pub(crate) number: u64,
    pub(crate) at: Instant,
    pub(crate) kind: Kind,
    /// The line, such as `1a`; both lines of a rotation.
    pub(crate) line: String,
    /// The first topic that it is about.
    pub(crate) topic: Option<String>,
    pub(crate) text: String,
    /// How many are alike.
    pub(crate) count: u64,
    is_dirty: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Gap,
    Down,
    Active,
    Refused,
    Silent,
    Fresh,
    Rotated,
    NotRotated,
    Unsynced,
    Synced,
    BrokerLost,
    BrokerBack,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Gap => "gap",
            Kind::Down => "down",
            Kind::Active => "active",
            Kind::Refused => "refused",
            Kind::Silent => "silent",
            Kind::Fresh => "fresh",
            Kind::Rotated => "rotated",
            Kind::NotRotated => "not_rotated",
            Kind::Unsynced => "unsynced",
            Kind::Synced => "synced",
            Kind::BrokerLost => "broker_lost",
            Kind::BrokerBack => "broker_back",
        }
    }
}

/// The number of entries that are kept, half of them about topics and half about lines.
const MAX_ENTRIES: usize = 128;

/// How long entries that are alike are counted as one.
const ALIKE_WITHIN: Duration = Duration::from_secs(5);

/// How many of the newest entries one may be alike to.
const ALIKE_AMONG: usize = 8;

impl Journal {
    /// Adds an entry, or counts it to one that is alike.
    pub(crate) fn add(
        &mut self,
        kind: Kind,
        line: String,
        topic: Option<&str>,
        text: String,
        now: Instant,
    ) {
        let is_alike = |entry: &&mut Entry| {
            topic.is_some()
                && (entry.kind, &entry.line, &entry.text) == (kind, &line, &text)
                && entry.topic.is_some()
                && now.saturating_duration_since(entry.at) < ALIKE_WITHIN
        };
        if let Some(entry) = self.entries.iter_mut().rev().take(ALIKE_AMONG).find(is_alike) {
            entry.count += 1;
            entry.is_dirty = true;
            return;
        }
        self.newest += 1;
        // Topics that come and go leave what lines did, and lines what topics did.
        let is_of_topic = topic.is_some();
        let kin = |entry: &Entry| entry.topic.is_some() == is_of_topic;
        if self.entries.iter().filter(|entry| kin(entry)).count() >= MAX_ENTRIES / 2 {
            let oldest = self.entries.iter().position(kin);
            oldest.and_then(|at| self.entries.remove(at));
        }
        self.entries.push_back(Entry {
            number: self.newest,
            at: now,
            kind,
            line,
            topic: topic.map(str::to_owned),
            text,
            count: 1,
            is_dirty: true,
        });
    }

    /// Returns all entries, the oldest first.
    pub(crate) fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Takes the entries that have changed.
    pub(crate) fn take_changed(&mut self) -> Vec<Entry> {
        let changed = self.entries.iter_mut().filter(|entry| entry.is_dirty);
        let taken = changed.map(|entry| {
            entry.is_dirty = false;
            entry.clone()
        });
        taken.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(journal: &mut Journal, topic: &str, now: Instant) {
        journal.add(Kind::Gap, "1a".to_owned(), Some(topic), "outage".to_owned(), now);
    }

    #[test]
    fn what_is_alike_is_one_entry() {
        let (mut journal, now) = (Journal::default(), Instant::now());
        journal.add(Kind::Down, "1a".to_owned(), None, "lost".to_owned(), now);
        (0..500).for_each(|number| gap(&mut journal, &format!("t{number}"), now));
        let taken = journal.take_changed();
        assert_eq!(taken.len(), 2);
        assert_eq!((taken[1].count, taken[1].topic.as_deref()), (500, Some("t0")));
        assert!(journal.take_changed().is_empty());
        gap(&mut journal, "late", now + ALIKE_WITHIN);
        gap(&mut journal, "t1", now + Duration::from_secs(1));
        let numbers: Vec<u64> = journal.take_changed().iter().map(|entry| entry.number).collect();
        assert_eq!(numbers, [3]);
    }

    #[test]
    fn the_oldest_is_dropped() {
        let (mut journal, now) = (Journal::default(), Instant::now());
        for number in 0..1000 {
            journal.add(Kind::Down, number.to_string(), None, String::new(), now);
        }
        let lines: Vec<&str> = journal.entries().map(|entry| entry.line.as_str()).collect();
        assert_eq!((lines.len(), lines.last()), (MAX_ENTRIES / 2, Some(&"999")));
        for number in 0..1000 {
            gap(&mut journal, "t", now + number * ALIKE_WITHIN);
        }
        let of_lines = journal.entries().filter(|entry| entry.topic.is_none()).count();
        assert_eq!((journal.entries().count(), of_lines), (MAX_ENTRIES, MAX_ENTRIES / 2));
    }
}
