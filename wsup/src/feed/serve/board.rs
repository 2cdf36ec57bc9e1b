//! All that is known of a feed, from its events and from its state.

use std::time::Instant;

use actix_ws_client::Payload;
use actix_ws_client::feed::command::FeedStatus;
use actix_ws_client::feed::event::{
    Gap, LineIs, LineState, Missing, Rotated, Rotation, TopicIs, TopicState, Update,
};
use actix_ws_client::feed::{Figures, Topic};

use crate::feed::publishing::Publishing;
use crate::feed::serve::journal::{Journal, Kind};
use crate::feed::serve::lines::{Key, Lines, Report};
use crate::feed::serve::samples::Samples;
use crate::feed::serve::topics::{State, Topics};
use crate::human::format_time;
use crate::secrets::Secrets;
use crate::usage::in_flags;

/// What is known of a feed. Its memory is bounded by the wanted topics and the lines.
pub(crate) struct Board {
    pub(crate) name: String,
    secrets: Secrets,
    /// When the run began.
    pub(crate) began: Instant,
    pub(crate) topics: Topics,
    pub(crate) lines: Lines,
    pub(crate) journal: Journal,
    /// The figures of the whole feed.
    pub(crate) figures: Figures,
    /// The rotations that have failed.
    pub(crate) rotations_failed: u64,
    /// Why no line dials any more.
    pub(crate) refusal: Option<String>,
    /// When the feed last answered.
    pub(crate) answered: Option<Instant>,
    /// What the start of the feed waits for.
    pub(crate) waits_for: Option<&'static str>,
    /// How the publication goes, with `--publish`.
    pub(crate) publishing: Option<Publishing>,
    /// Updates of the last minute.
    pub(crate) samples: Samples,
    /// The updates at the last sample.
    sampled: u64,
    /// Changes with the set of wanted topics.
    pub(crate) generation: u64,
}

/// The bytes of a text that a venue has sent: it may send one for each topic.
const MAX_TEXT: usize = 512;

/// Cuts a text to [`MAX_TEXT`] bytes.
fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let most = MAX_TEXT - '…'.len_utf8();
        let ends = text.char_indices().map(|(at, _)| at);
        let end = ends.take_while(|at| *at <= most).last().unwrap_or_default();
        text.truncate(end);
        text.push('…');
        text.shrink_to_fit();
    }
    text
}

/// What a feed says about itself.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) lines: Vec<Report>,
    pub(crate) figures: Figures,
    pub(crate) refusal: Option<String>,
}

impl Board {
    pub(crate) fn new(name: String, secrets: Secrets, began: Instant) -> Board {
        Board {
            name,
            secrets,
            began,
            topics: Topics::default(),
            lines: Lines::default(),
            journal: Journal::default(),
            figures: Figures::default(),
            rotations_failed: 0,
            refusal: None,
            answered: None,
            waits_for: None,
            publishing: None,
            samples: Samples::default(),
            sampled: 0,
            generation: 0,
        }
    }

    /// Formats what a venue or the library says, without secrets, with flags in place of the library's names, and cut to
    /// [`MAX_TEXT`].
    fn words(&self, text: &impl ToString) -> String {
        cut(in_flags(&self.secrets.hide(&text.to_string())))
    }

    pub(crate) fn add(&mut self, topics: &[Topic]) {
        self.topics.add(topics.iter().cloned());
        self.generation += 1;
    }

    pub(crate) fn remove(&mut self, topics: &[Topic]) {
        self.topics.remove(topics);
        self.generation += 1;
    }

    pub(crate) fn handle_updates(&mut self, updates: &[Update<Payload>], now: Instant) {
        for update in updates {
            let Update { topic, line, received, snapshot, .. } = update;
            self.topics.update(topic, (*line).into(), *received);
            if *snapshot && self.topics.set_unsynced(topic, (*line).into(), false) {
                let text = "a snapshot has come".to_owned();
                self.journal.add(Kind::Synced, line.to_string(), Some(topic), text, now);
            }
        }
    }

    pub(crate) fn handle_gap(&mut self, gap: &Gap, now: Instant) {
        if let Some(topic) = &gap.topic {
            self.topics.gap(topic);
        }
        let missing = match gap.missing {
            Missing::Range { .. } | Missing::Between { .. } => "",
            _ => ", without numbers",
        };
        let text = format!("{}{missing}", gap.cause);
        self.journal.add(Kind::Gap, gap.line.to_string(), gap.topic.as_deref(), text, now);
    }

    pub(crate) fn handle_topic(&mut self, event: &TopicState, now: Instant) {
        let (topic, line) = (&event.topic, event.line.into());
        let (is_new, kind, text) = match &event.state {
            TopicIs::Confirmed => return self.topics.confirm(topic, line),
            TopicIs::Fresh => {
                (self.topics.set_state(topic, line, State::Confirmed, None), Kind::Fresh, None)
            }
            TopicIs::Refused(refusal) => {
                let text = Some(self.words(refusal));
                let is_new = self.topics.set_state(topic, line, State::Refused, text.clone());
                (is_new, Kind::Refused, text)
            }
            TopicIs::Silent { .. } => {
                (self.topics.set_state(topic, line, State::Silent, None), Kind::Silent, None)
            }
            TopicIs::Unsynced => {
                let text = "no snapshot has come".to_owned();
                (self.topics.set_unsynced(topic, line, true), Kind::Unsynced, Some(text))
            }
            _ => return,
        };
        if is_new {
            let line = event.line.to_string();
            self.journal.add(kind, line, Some(topic), text.unwrap_or_default(), now);
        }
    }

    pub(crate) fn handle_line(&mut self, event: &LineState, now: Instant) {
        let key: Key = event.line.into();
        self.lines.enter(key, &event.state, now);
        let line = event.line.to_string();
        match &event.state {
            LineIs::Down { cause: Some(cause) } => {
                let text = self.words(cause);
                self.lines.fail(key, text.clone(), now);
                self.journal.add(Kind::Down, line, None, text, now);
            }
            // The end of its rotation says more.
            LineIs::Active if self.lines.is_replacing(key) => {}
            LineIs::Active => self.journal.add(Kind::Active, line, None, String::new(), now),
            LineIs::Silent { since } => {
                let text =
                    format!("no data for {}", format_time(now.saturating_duration_since(*since)));
                self.journal.add(Kind::Silent, line, None, text, now);
            }
            _ => {}
        }
    }

    pub(crate) fn handle_rotated(&mut self, event: &Rotated, now: Instant) {
        let (from, to): (Key, Key) = (event.from.into(), event.to.into());
        let (kind, line, text) = match &event.outcome {
            Rotation::Failed { cause, .. } => {
                self.rotations_failed += 1;
                let text = format!("goes on: {}", self.words(cause));
                (Kind::NotRotated, from.to_string(), text)
            }
            _ if from == to => {
                self.lines.renew(to, now);
                (Kind::Rotated, to.to_string(), "closed, and opened again".to_owned())
            }
            _ => {
                self.topics.hand_over(from, to);
                self.lines.hand_over(from, to, now);
                let (overlap, twice) = (format_time(event.overlap), event.duplicates);
                let text = format!("{overlap} on both lines, {twice} updates came twice");
                (Kind::Rotated, format!("{from} → {to}"), text)
            }
        };
        self.journal.add(kind, line, None, text, now);
    }

    /// Takes what the feed answers when it is asked for its state.
    pub(crate) fn handle_status(&mut self, status: &FeedStatus, now: Instant) {
        let lines = status.lines.iter().map(Report::of).collect();
        let refusal = status.refusal.as_ref().map(|refusal| self.words(refusal));
        self.handle_answer(Answer { lines, figures: status.figures, refusal }, now);
    }

    pub(crate) fn handle_answer(&mut self, answer: Answer, now: Instant) {
        self.lines.report(answer.lines, now);
        (self.figures, self.refusal) = (answer.figures, answer.refusal);
        self.answered = Some(now);
    }

    /// Takes how the publication goes.
    pub(crate) fn handle_publishing(&mut self, mut publishing: Publishing, now: Instant) {
        publishing.failure = publishing.failure.map(|why| self.words(&why));
        let was_connected = self.publishing.as_ref().is_none_or(|it| it.is_connected);
        let (kind, text) = match &publishing {
            Publishing { is_connected: true, .. } => (Kind::BrokerBack, String::new()),
            Publishing { failure, .. } => (Kind::BrokerLost, failure.clone().unwrap_or_default()),
        };
        if was_connected != publishing.is_connected {
            self.journal.add(kind, "broker".to_owned(), None, text, now);
        }
        self.publishing = Some(publishing);
    }

    /// Forgets what has changed: no page is open.
    pub(crate) fn settle(&mut self) {
        self.topics.settle();
        self.lines.take_ended();
    }

    /// Ends a sample of the rates.
    pub(crate) fn sample(&mut self) {
        self.topics.sample();
        let delivered = self.figures.delivered;
        self.samples.push(delivered.saturating_sub(self.sampled));
        self.sampled = delivered;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::serve::tests::board;

    #[test]
    fn a_broker_that_is_lost_and_back_is_in_the_journal() {
        let now = Instant::now();
        let mut board = board(Vec::new(), now);
        board.secrets.note_fleeting("hidden-word");
        let publishing = |is_connected, failure: Option<&str>| Publishing {
            is_connected,
            failure: failure.map(str::to_owned),
            ..Publishing::default()
        };
        for (is_connected, failure) in [
            (true, None),
            (false, None),
            (false, Some("refused hidden-word")),
            (true, None),
            (true, Some("no room")),
        ] {
            board.handle_publishing(publishing(is_connected, failure), now);
            let shown = board.publishing.as_ref().and_then(|it| it.failure.as_deref());
            assert!(shown.is_none_or(|why| !why.contains("hidden")), "{shown:?}");
        }
        let kinds: Vec<Kind> = board.journal.entries().map(|entry| entry.kind).collect();
        assert_eq!(kinds, [Kind::BrokerLost, Kind::BrokerBack]);
    }

    #[test]
    fn a_text_is_cut_between_two_characters() {
        assert_eq!(cut("short".to_owned()), "short");
        for text in ["x", "é", "…", "𝄞"] {
            let text = cut(text.repeat(10_000));
            assert!(
                text.len() <= MAX_TEXT && text.len() > MAX_TEXT - 4 && text.ends_with('…'),
                "{text}"
            );
        }
    }
}
