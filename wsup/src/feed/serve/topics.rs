//! What is known of each wanted topic.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_ws_client::feed::Topic;

use crate::feed::serve::lines::Key;
use crate::feed::serve::samples::Samples;

/// The wanted topics. No other is ever added, so that their number bounds the memory.
#[derive(Default)]
pub(crate) struct Topics {
    rows: Vec<Row>,
    index: HashMap<Topic, usize>,
    /// The rows that have changed, but for their counts.
    dirty: Vec<usize>,
    /// Where the next list of counts begins.
    cursor: usize,
}

/// One topic.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) topic: Topic,
    /// Never [`State::Unsynced`].
    state: State,
    /// Whether its updates come without a snapshot to build on.
    is_unsynced: bool,
    /// The line that has brought the newest event.
    pub(crate) line: Option<Key>,
    /// Why it was refused.
    pub(crate) reason: Option<Arc<str>>,
    pub(crate) gaps: u64,
    pub(crate) updates: u64,
    pub(crate) samples: Samples,
    last: Option<Instant>,
    /// The updates at the last sample.
    sampled: u64,
    /// The updates at the last list of counts.
    listed: u64,
    is_dirty: bool,
}

/// The state of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// Neither confirmed nor refused yet.
    Pending,
    Confirmed,
    Refused,
    Silent,
    /// Confirmed, and its updates come without a snapshot to build on.
    Unsynced,
}

impl State {
    pub(crate) const ALL: [(State, &'static str); 5] = [
        (State::Pending, "pending"),
        (State::Confirmed, "confirmed"),
        (State::Refused, "refused"),
        (State::Silent, "silent"),
        (State::Unsynced, "unsynced"),
    ];

    pub(crate) fn name(self) -> &'static str {
        State::ALL[self as usize].1
    }
}

impl Row {
    fn new(topic: Topic) -> Row {
        Row {
            topic,
            state: State::Pending,
            is_unsynced: false,
            line: None,
            reason: None,
            gaps: 0,
            updates: 0,
            samples: Samples::default(),
            last: None,
            sampled: 0,
            listed: 0,
            is_dirty: false,
        }
    }

    /// Returns its state: the worst that is true.
    pub(crate) fn state(&self) -> State {
        match self.state {
            State::Pending | State::Confirmed if self.is_unsynced => State::Unsynced,
            state => state,
        }
    }

    /// Whether its updates come without a snapshot to build on.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.is_unsynced && self.state != State::Refused
    }

    /// Returns how long ago its last update came.
    pub(crate) fn age(&self, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.last?))
    }
}

impl Topics {
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Adds topics that are not there yet.
    pub(crate) fn add(&mut self, topics: impl IntoIterator<Item = Topic>) {
        for topic in topics {
            let next = self.rows.len();
            if *self.index.entry(topic.clone()).or_insert(next) == next {
                self.rows.push(Row::new(topic));
            }
        }
    }

    /// Removes topics. The others get new places.
    pub(crate) fn remove(&mut self, topics: &[Topic]) {
        for topic in topics {
            self.index.remove(topic);
        }
        self.rows.retain(|row| self.index.contains_key(&row.topic));
        for (at, row) in self.rows.iter_mut().enumerate() {
            self.index.insert(row.topic.clone(), at);
            row.is_dirty = false;
        }
        (self.cursor, self.dirty) = (0, Vec::new());
    }

    /// Counts an update. One of a topic that is not wanted any more is left out.
    pub(crate) fn update(&mut self, topic: &Topic, line: Key, received: Instant) {
        let Some(row) = self.index.get(topic).map(|at| &mut self.rows[*at]) else { return };
        row.updates += 1;
        row.last = Some(received);
        row.line = Some(line);
    }

    /// Notes that the venue has confirmed a topic. One that was silent stays so until data comes, and one without a snapshot
    /// until that comes: the feed may have subscribed it again to get it.
    pub(crate) fn confirm(&mut self, topic: &Topic, line: Key) {
        let Some(at) = self.index.get(topic).copied() else { return };
        let row = &mut self.rows[at];
        if row.state != State::Silent {
            (row.state, row.reason) = (State::Confirmed, None);
        }
        row.line = Some(line);
        self.mark(at);
    }

    /// Notes whether the updates of a topic come without a snapshot. Returns whether that is new.
    pub(crate) fn set_unsynced(&mut self, topic: &Topic, line: Key, is_unsynced: bool) -> bool {
        let Some(at) = self.index.get(topic).copied() else { return false };
        let row = &mut self.rows[at];
        if row.is_unsynced == is_unsynced {
            return false;
        }
        (row.is_unsynced, row.line) = (is_unsynced, Some(line));
        self.mark(at);
        true
    }

    /// Notes that a line has taken over the topics of another.
    pub(crate) fn hand_over(&mut self, from: Key, to: Key) {
        for at in 0..self.rows.len() {
            if self.rows[at].line == Some(from) {
                self.rows[at].line = Some(to);
                self.mark(at);
            }
        }
    }

    /// Notes a state. Returns whether it is another one.
    pub(crate) fn set_state(
        &mut self,
        topic: &Topic,
        line: Key,
        state: State,
        reason: Option<String>,
    ) -> bool {
        let Some(at) = self.index.get(topic).copied() else { return false };
        let row = &mut self.rows[at];
        let is_new = row.state != state;
        (row.state, row.line, row.reason) = (state, Some(line), reason.map(Arc::from));
        self.mark(at);
        is_new
    }

    /// Counts a gap.
    pub(crate) fn gap(&mut self, topic: &Topic) {
        let Some(at) = self.index.get(topic).copied() else { return };
        self.rows[at].gaps += 1;
        self.mark(at);
    }

    fn mark(&mut self, at: usize) {
        if !std::mem::replace(&mut self.rows[at].is_dirty, true) {
            self.dirty.push(at);
        }
    }

    /// Ends a sample of each topic.
    pub(crate) fn sample(&mut self) {
        for row in &mut self.rows {
            row.samples.push(row.updates - row.sampled);
            row.sampled = row.updates;
        }
    }

    /// Takes up to `limit` rows that have changed, with their places. The others follow at the next call.
    pub(crate) fn take_changed(&mut self, limit: usize) -> Vec<(usize, &Row)> {
        let rest = self.dirty.split_off(self.dirty.len().min(limit));
        let taken = std::mem::replace(&mut self.dirty, rest);
        for at in &taken {
            self.rows[*at].is_dirty = false;
        }
        taken.into_iter().map(|at| (at, &self.rows[at])).collect()
    }

    /// Calls a closure with the place and the number of new updates of up to `limit` topics that have any, in the order
    /// of their places. The next call begins behind them.
    pub(crate) fn list_counts(&mut self, limit: usize, mut call: impl FnMut(usize, u64)) {
        let start = std::mem::take(&mut self.cursor).min(self.rows.len());
        let mut listed = 0;
        for (at, row) in self.rows.iter_mut().enumerate().skip(start) {
            let new = row.updates - row.listed;
            if new == 0 {
                continue;
            }
            if listed == limit {
                self.cursor = at;
                return;
            }
            row.listed = row.updates;
            listed += 1;
            call(at, new);
        }
    }

    /// Forgets what has changed: no page is open.
    pub(crate) fn settle(&mut self) {
        for row in &mut self.rows {
            (row.is_dirty, row.listed) = (false, row.updates);
        }
        (self.cursor, self.dirty) = (0, Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Key {
        Key { shard: 1, line: 0 }
    }

    fn counts(topics: &mut Topics, limit: usize) -> Vec<(usize, u64)> {
        let mut counts = Vec::new();
        topics.list_counts(limit, |at, count| counts.push((at, count)));
        counts
    }

    #[test]
    fn only_wanted_topics_take_memory() {
        let mut topics = Topics::default();
        topics.add(["a", "b", "a"].map(Topic::from));
        let now = Instant::now();
        topics.update(&"c".into(), line(), now);
        topics.gap(&"c".into());
        assert!(!topics.set_state(&"c".into(), line(), State::Refused, None));
        assert_eq!(topics.rows().len(), 2);
        topics.remove(&["a".into()]);
        topics.update(&"b".into(), line(), now);
        topics.update(&"a".into(), line(), now);
        assert_eq!(counts(&mut topics, 9), [(0, 1)]);
    }

    #[test]
    fn a_list_of_counts_is_bounded_and_the_rest_follows() {
        let mut topics = Topics::default();
        topics.add(["a", "b", "c"].map(Topic::from));
        for topic in ["a", "b", "b", "c"] {
            topics.update(&topic.into(), line(), Instant::now());
        }
        assert_eq!(counts(&mut topics, 2), [(0, 1), (1, 2)]);
        topics.update(&"a".into(), line(), Instant::now());
        assert_eq!(counts(&mut topics, 2), [(2, 1)]);
        assert_eq!(counts(&mut topics, 2), [(0, 1)]);
        assert_eq!(counts(&mut topics, 2), []);
    }

    #[test]
    fn a_change_is_taken_once() {
        let mut topics = Topics::default();
        topics.add(["a", "b"].map(Topic::from));
        assert!(topics.set_state(&"a".into(), line(), State::Confirmed, None));
        assert!(!topics.set_state(&"a".into(), line(), State::Confirmed, None));
        topics.gap(&"b".into());
        let places = |topics: &mut Topics| -> Vec<usize> {
            topics.take_changed(1).iter().map(|(at, _)| *at).collect()
        };
        assert_eq!(places(&mut topics), [0]);
        assert_eq!(places(&mut topics), [1]);
        assert!(places(&mut topics).is_empty());
    }

    #[test]
    fn a_name_is_that_of_its_state() {
        for (at, (state, _)) in State::ALL.iter().enumerate() {
            assert_eq!(*state as usize, at);
        }
    }

    #[test]
    fn a_topic_is_unsynced_until_a_snapshot_comes() {
        let mut topics = Topics::default();
        topics.add(["a".into()]);
        let topic: Topic = "a".into();
        let state = |topics: &Topics| topics.rows()[0].state();
        topics.confirm(&topic, line());
        assert!(topics.set_unsynced(&topic, line(), true));
        assert!(!topics.set_unsynced(&topic, line(), true));
        assert_eq!(state(&topics), State::Unsynced);
        // What is worse is shown.
        topics.set_state(&topic, line(), State::Silent, None);
        assert_eq!((state(&topics), topics.rows()[0].is_unsynced()), (State::Silent, true));
        topics.set_state(&topic, line(), State::Confirmed, None);
        assert_eq!(state(&topics), State::Unsynced);
        topics.confirm(&topic, line());
        assert_eq!(state(&topics), State::Unsynced);
        assert!(topics.set_unsynced(&topic, line(), false));
        assert_eq!(state(&topics), State::Confirmed);
    }

    #[test]
    fn a_topic_that_is_silent_stays_so_until_data_comes() {
        let mut topics = Topics::default();
        topics.add(["a".into()]);
        let topic: Topic = "a".into();
        topics.set_state(&topic, line(), State::Silent, None);
        topics.confirm(&topic, line());
        assert_eq!(topics.rows()[0].state(), State::Silent);
        topics.set_state(&topic, line(), State::Refused, Some("no".to_owned()));
        topics.confirm(&topic, line());
        assert_eq!((topics.rows()[0].state(), &topics.rows()[0].reason), (State::Confirmed, &None));
    }

    #[test]
    fn topics_are_those_of_the_line_that_has_taken_over() {
        let mut topics = Topics::default();
        topics.add(["a", "b"].map(Topic::from));
        topics.confirm(&"a".into(), line());
        topics.take_changed(9);
        let new = Key { shard: 1, line: 1 };
        topics.hand_over(line(), new);
        let changed = topics.take_changed(9);
        assert_eq!(
            changed.iter().map(|(at, row)| (*at, row.line)).collect::<Vec<_>>(),
            [(0, Some(new))]
        );
    }
}
