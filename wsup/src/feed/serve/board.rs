//! All that is known of a feed, from its events and from its state.

use std::time::Instant;

use actix_ws_client::Payload;
use actix_ws_client::feed::command::FeedStatus;
use actix_ws_client::feed::event::{Gap, LineIs, LineState, Missing, TopicIs, TopicState, Update};
use actix_ws_client::feed::{Figures, Topic};

use crate::feed::serve::journal::{Journal, Kind};
use crate::feed::serve::lines::{Lines, Report, Stage};
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
    /// Why no line dials any more.
    pub(crate) refusal: Option<String>,
    /// When the feed last answered.
    pub(crate) answered: Option<Instant>,
    /// Updates of the last minute.
    pub(crate) samples: Samples,
    /// The updates at the last sample.
    sampled: u64,
    /// Changes with the set of wanted topics, and with that of lines.
    pub(crate) generation: u64,
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
            refusal: None,
            answered: None,
            samples: Samples::default(),
            sampled: 0,
            generation: 0,
        }
    }

    /// Formats what a venue or the library says, without secrets, and with flags in place of the library's names.
    fn words(&self, text: &impl ToString) -> String {
        in_flags(&self.secrets.hide(&text.to_string()))
    }

    pub(crate) fn add(&mut self, topics: &[Topic]) {
        self.topics.add(topics.iter().cloned());
        self.generation += 1;
    }

    pub(crate) fn remove(&mut self, topics: &[Topic]) {
        self.topics.remove(topics);
        self.generation += 1;
    }

    pub(crate) fn handle_updates(&mut self, updates: &[Update<Payload>]) {
        for update in updates {
            self.topics.update(&update.topic, update.line.into(), update.received);
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
        let (state, kind, text) = match &event.state {
            TopicIs::Confirmed => (State::Confirmed, None, None),
            TopicIs::Fresh => (State::Confirmed, Some(Kind::Fresh), None),
            TopicIs::Refused(refusal) => {
                (State::Refused, Some(Kind::Refused), Some(self.words(refusal)))
            }
            TopicIs::Silent { .. } => (State::Silent, Some(Kind::Silent), None),
            _ => return,
        };
        let is_new = self.topics.set_state(&event.topic, event.line.into(), state, text.clone());
        if let Some(kind) = kind.filter(|_| is_new) {
            let line = event.line.to_string();
            self.journal.add(kind, line, Some(&event.topic), text.unwrap_or_default(), now);
        }
    }

    pub(crate) fn handle_line(&mut self, event: &LineState, now: Instant) {
        let (key, stage) = (event.line.into(), Stage::of(&event.state));
        self.lines.enter(key, stage, now);
        let line = event.line.to_string();
        match &event.state {
            LineIs::Down { cause: Some(cause) } => {
                let text = self.words(cause);
                self.lines.fail(key, text.clone(), now);
                self.journal.add(Kind::Down, line, None, text, now);
            }
            LineIs::Active => self.journal.add(Kind::Active, line, None, String::new(), now),
            LineIs::Silent { since } => {
                let text =
                    format!("no data for {}", format_time(now.saturating_duration_since(*since)));
                self.journal.add(Kind::Silent, line, None, text, now);
            }
            _ => {}
        }
    }

    /// Takes what the feed answers when it is asked for its state.
    pub(crate) fn handle_status(&mut self, status: &FeedStatus, now: Instant) {
        let lines = status.lines.iter().map(Report::of).collect();
        let refusal = status.refusal.as_ref().map(|refusal| self.words(refusal));
        self.handle_answer(Answer { lines, figures: status.figures, refusal }, now);
    }

    pub(crate) fn handle_answer(&mut self, answer: Answer, now: Instant) {
        self.generation += u64::from(self.lines.report(answer.lines, now));
        (self.figures, self.refusal) = (answer.figures, answer.refusal);
        self.answered = Some(now);
    }

    /// Ends a sample of the rates.
    pub(crate) fn sample(&mut self) {
        self.topics.sample();
        let delivered = self.figures.delivered;
        self.samples.push(delivered.saturating_sub(self.sampled));
        self.sampled = delivered;
    }
}
