//! What is known of topics and lines, from the events so far.

use std::collections::HashMap;
use std::time::Instant;

use actix_ws_client::error::Verdict;
use actix_ws_client::feed::event::{Cause, LineIs, LineState, TopicIs, TopicState};
use actix_ws_client::feed::{LineId, Topic};

/// What has become of topics and lines.
#[derive(Default)]
pub(crate) struct Ledger {
    topics: HashMap<Topic, Known>,
    /// The last failure of each line, and when it was.
    failures: HashMap<LineId, (String, Instant)>,
    /// Whether the newest failure was one that another dial would only repeat.
    is_final: bool,
}

/// What is known of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    line: LineId,
    state: State,
    /// Whether it has brought no data for too long.
    is_silent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Confirmed,
    Refused,
}

impl Ledger {
    /// Notes the state of a topic.
    pub(crate) fn topic(&mut self, event: &TopicState) {
        let (state, is_silent) = match &event.state {
            TopicIs::Refused(_) => (State::Refused, false),
            TopicIs::Silent { .. } => (State::Confirmed, true),
            _ => (State::Confirmed, false),
        };
        self.topics.insert(event.topic.clone(), Known { line: event.line, state, is_silent });
    }

    /// Notes the state of a line.
    pub(crate) fn line(&mut self, event: &LineState) {
        let LineIs::Down { cause: Some(cause) } = &event.state else { return };
        self.is_final = match cause {
            Cause::Connection(err) => err.verdict() == Verdict::Stop,
            Cause::Session(refusal) => refusal.for_good,
            _ => false,
        };
        self.failures.insert(event.line, (cause.to_string(), Instant::now()));
    }

    /// Forgets topics that were removed.
    pub(crate) fn remove(&mut self, topics: &[Topic]) {
        self.topics.retain(|topic, _| !topics.contains(topic));
    }

    /// Returns how many topics are confirmed and refused.
    pub(crate) fn totals(&self) -> (usize, usize) {
        let confirmed = self.topics.values().filter(|it| it.state == State::Confirmed).count();
        (confirmed, self.topics.len() - confirmed)
    }

    /// Returns how many topics of a line are silent.
    pub(crate) fn silent(&self, line: LineId) -> usize {
        self.topics.values().filter(|known| known.line == line && known.is_silent).count()
    }

    /// Returns the last failure of a line.
    pub(crate) fn failure(&self, line: LineId) -> Option<&(String, Instant)> {
        self.failures.get(&line)
    }

    /// Whether the newest failure was one that another dial would only repeat.
    pub(crate) fn is_final(&self) -> bool {
        self.is_final
    }
}
