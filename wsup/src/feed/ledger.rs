//! What is known of topics and lines, from the events so far.

#[cfg(feature = "nats")]
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use actix_ws_client::error::{Error, Verdict};
use actix_ws_client::feed::event::{Cause, LineIs, LineState, TopicIs, TopicState, WaitFor};
use actix_ws_client::feed::{LineId, Refusal, Topic};

#[cfg(feature = "nats")]
use crate::feed::form::ShareIs;

/// What has become of topics and lines.
#[derive(Default)]
pub(crate) struct Ledger {
    topics: HashMap<Topic, Known>,
    failures: HashMap<LineId, LastFailure>,
    /// What this process is for each share: `owned`, for example.
    #[cfg(feature = "nats")]
    shares: BTreeMap<u32, &'static str>,
    /// When each line that waits for a delay is dialled again.
    dials_at: HashMap<LineId, Instant>,
}

/// The last failure of a line.
#[derive(Debug)]
pub(crate) struct LastFailure {
    pub(crate) text: String,
    pub(crate) at: Instant,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The venue has sent a Close frame that allows another dial.
    Closed,
    /// Another dial would only repeat it.
    Final,
    Other,
}

/// What is known of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    line: LineId,
    marks: Marks,
}

/// What is said of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Marks {
    is_refused: bool,
    /// Whether it has brought no data for too long. Ends with data, which is reported.
    is_silent: bool,
    /// Whether no snapshot of it has come. Ends with one.
    is_unsynced: bool,
}

impl Marks {
    /// Returns what is said of a topic after its state has changed. A confirmation, which each session repeats, is no data
    /// and no snapshot.
    fn after(self, state: &TopicIs) -> Marks {
        match state {
            TopicIs::Refused(_) => Marks { is_refused: true, ..Marks::default() },
            TopicIs::Silent { .. } => Marks { is_refused: false, is_silent: true, ..self },
            TopicIs::Fresh => Marks { is_refused: false, is_silent: false, ..self },
            TopicIs::Unsynced => Marks { is_refused: false, is_unsynced: true, ..self },
            _ => Marks { is_refused: false, ..self },
        }
    }
}

impl Ledger {
    /// Notes the state of a topic.
    pub(crate) fn topic(&mut self, event: &TopicState) {
        let before = self.topics.get(&event.topic).map(|known| known.marks);
        let marks = before.unwrap_or_default().after(&event.state);
        self.topics.insert(event.topic.clone(), Known { line: event.line, marks });
    }

    /// Notes what this process is for a share.
    #[cfg(feature = "nats")]
    pub(crate) fn share(&mut self, share: &ShareIs) {
        self.shares.insert(share.share, share.state);
    }

    /// Returns how many shares this process owns, asks for and stands by for, in words behind a comma.
    pub(crate) fn shares(&self) -> String {
        #[cfg(feature = "nats")]
        if !self.shares.is_empty() {
            let count = |state| self.shares.values().filter(|it| **it == state).count();
            let states = ["owned", "claimed", "standby"].map(|state| (count(state), state));
            let shown = states.iter().filter(|(count, state)| *count > 0 || *state == "owned");
            let words: Vec<_> = shown.map(|(count, state)| format!("{count} {state}")).collect();
            return format!(", shares: {}", words.join(" "));
        }
        String::new()
    }

    /// Notes the state of a line.
    pub(crate) fn line(&mut self, event: &LineState) {
        if let LineIs::Waiting { for_what: WaitFor::Delay(delay) } = &event.state {
            self.dials_at.insert(event.line, Instant::now() + *delay);
        }
        let LineIs::Down { cause: Some(cause) } = &event.state else { return };
        let kind = match cause {
            Cause::Connection(err) if err.verdict() == Verdict::Stop => Kind::Final,
            Cause::Connection(Error::Closed(_)) => Kind::Closed,
            Cause::Session(refusal) if refusal.for_good => Kind::Final,
            _ => Kind::Other,
        };
        let failure = LastFailure { text: cause.to_string(), at: Instant::now(), kind };
        self.failures.insert(event.line, failure);
    }

    /// Forgets topics that were removed.
    pub(crate) fn remove(&mut self, topics: &[Topic]) {
        for topic in topics {
            self.topics.remove(topic);
        }
    }

    /// Returns how many topics are confirmed and refused.
    pub(crate) fn totals(&self) -> (usize, usize) {
        let confirmed = self.topics.values().filter(|it| !it.marks.is_refused).count();
        (confirmed, self.topics.len() - confirmed)
    }

    /// Returns how many topics of a line are silent.
    pub(crate) fn silent(&self, line: LineId) -> usize {
        self.topics.values().filter(|known| known.line == line && known.marks.is_silent).count()
    }

    /// Notes that a snapshot of a topic has come.
    pub(crate) fn snapshot(&mut self, topic: &Topic) {
        if let Some(known) = self.topics.get_mut(topic) {
            known.marks.is_unsynced = false;
        }
    }

    /// Returns how many topics are delivered without a snapshot.
    pub(crate) fn unsynced(&self) -> usize {
        self.topics.values().filter(|known| known.marks.is_unsynced).count()
    }

    /// Returns how long a line that waits for a delay still waits.
    pub(crate) fn waits(&self, line: LineId) -> Option<Duration> {
        Some(self.dials_at.get(&line)?.saturating_duration_since(Instant::now()))
    }

    /// Returns the last failure of a line.
    pub(crate) fn failure(&self, line: LineId) -> Option<&LastFailure> {
        self.failures.get(&line)
    }

    /// Returns the outcome of a feed that ended by this refusal: of the line that it comes from, as other lines may have
    /// failed later and in other ways. A Close by the venue is no failure if each line is dialled once.
    pub(crate) fn outcome(&self, refusal: Option<&Refusal>, dials_once: bool) -> &'static str {
        let Some(refusal) = refusal else { return "closed" };
        let failures = self.failures.values().filter(|it| it.text == refusal.to_string());
        match failures.map(|failure| failure.kind).find(|kind| *kind != Kind::Other) {
            Some(Kind::Final) => "refused",
            Some(Kind::Closed) if dials_once => "closed",
            _ => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confirmation_ends_neither_a_silence_nor_the_want_of_a_snapshot() {
        let silent = TopicIs::Silent { since: Instant::now() };
        let marks = Marks::default().after(&TopicIs::Unsynced).after(&silent);
        let both = Marks { is_refused: false, is_silent: true, is_unsynced: true };
        assert_eq!((marks, marks.after(&TopicIs::Confirmed)), (both, both));
        assert_eq!(marks.after(&TopicIs::Unsynced), both);
        assert_eq!(marks.after(&TopicIs::Fresh), Marks { is_silent: false, ..both });
        let refused = Marks { is_refused: true, ..Marks::default() };
        assert_eq!(refused.after(&TopicIs::Confirmed), Marks::default());
        assert!(refused.after(&silent).is_silent);
    }
}
