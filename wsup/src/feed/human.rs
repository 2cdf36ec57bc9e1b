//! The events of a feed for people: updates on stdout, all else as text on stderr.

use std::fmt;
use std::time::Instant;

use actix_ws_client::Payload;
use actix_ws_client::budget::Limit;
use actix_ws_client::feed::Figures;
use actix_ws_client::feed::event::{
    Gap, LineIs, LineState, Missing, Rotated, Rotation, TopicIs, TopicState, Update, WaitFor,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

#[cfg(feature = "nats")]
use crate::feed::form::ShareIs;
use crate::feed::form::{End, Form};
use crate::human::{escape_controls, format_time};
use crate::output::Paint;
use crate::print::Line;
use crate::secrets::Secrets;
use crate::usage::in_flags;

/// Formats events for people.
pub(crate) struct Human {
    /// The secrets that no line about a failure shows.
    pub(crate) secrets: Secrets,
    /// Whether stdout is a terminal, so that control characters in updates are escaped.
    pub(crate) terminal: bool,
    /// Whether there is a table, which shows updates and lines.
    pub(crate) has_table: bool,
    /// Whether everything is printed that happens to topics and lines.
    pub(crate) verbose: bool,
    /// Whether stderr has colour.
    pub(crate) colour: bool,
}

impl Human {
    fn painted(&self, words: impl fmt::Display, paint: Paint) -> Line {
        let words = in_flags(&self.secrets.hide(&format!("wsup feed: {words}")));
        let words = escape_controls(&words).replace('\n', "\\n");
        Line::Stderr(if self.colour { paint.on(&words) } else { words })
    }
}

impl Human {
    /// Returns a line that few need to see.
    fn detail(&self, words: impl fmt::Display) -> Line {
        if self.verbose { self.painted(words, Paint::Info) } else { Line::Nothing }
    }
}

impl Human {
    fn closed(&self, end: &End) -> Line {
        let (figures, (confirmed, refused)) = (&end.figures, end.topics);
        let (updates, gaps) = (figures.delivered, figures.gaps);
        let rare = rare(figures);
        let published = end.published.map(|it| format!(", {} published", it.acknowledged));
        let published = published.unwrap_or_default();
        self.painted(
            format_args!(
                "closed: {updates} updates, {gaps} gaps, {confirmed} topics confirmed, {refused} refused{rare}{published}"
            ),
            Paint::Info,
        )
    }
}

impl Form for Human {
    fn data(&self, update: &Update<Payload>, lines: &mut Vec<u8>) {
        if self.has_table {
            return;
        }
        let data = match &update.item {
            Payload::Text(text) => text.to_string(),
            Payload::Binary(bytes) => STANDARD.encode(bytes),
        };
        let line = format!("{} {data}", update.topic);
        let line = if self.terminal { escape_controls(&line) } else { line };
        lines.extend_from_slice(line.as_bytes());
        lines.push(b'\n');
    }

    fn gap(&self, gap: &Gap) -> Line {
        let missing = match gap.missing {
            Missing::Range { from, to } if from == to => format!("{from} is missing"),
            Missing::Range { from, to } => format!("{from} to {to} are missing"),
            Missing::Between { last, next } => {
                format!("what is between {last} and {next} is missing")
            }
            _ => "updates may be missing".to_owned(),
        };
        let of = match &gap.topic {
            Some(topic) => topic.to_string(),
            None => format!("line {}", gap.line),
        };
        self.painted(format_args!("{of}: {missing} ({})", gap.cause), Paint::Failure)
    }

    fn topic(&self, state: &TopicState) -> Line {
        let topic = &state.topic;
        match &state.state {
            TopicIs::Confirmed => self.detail(format_args!("{topic}: confirmed")),
            TopicIs::Refused(refusal) => {
                let when = if refusal.for_good { "for good" } else { "for now" };
                self.painted(format_args!("{topic}: refused {when}: {refusal}"), Paint::Failure)
            }
            TopicIs::Silent { since } => {
                let since = format_time(Instant::now().saturating_duration_since(*since));
                self.painted(format_args!("{topic}: no data for {since}"), Paint::Failure)
            }
            TopicIs::Unsynced => {
                let words = "no snapshot has come; its updates follow without one";
                self.painted(format_args!("{topic}: {words}"), Paint::Failure)
            }
            TopicIs::Fresh => self.painted(format_args!("{topic}: data again"), Paint::Info),
            _ => Line::Nothing,
        }
    }

    fn line(&self, state: &LineState) -> Line {
        let line = state.line;
        let info = |words: fmt::Arguments<'_>| match self.has_table {
            true => Line::Nothing,
            false => self.painted(format_args!("line {line}: {words}"), Paint::Info),
        };
        match &state.state {
            LineIs::Waiting { for_what: WaitFor::Delay(delay) } => {
                info(format_args!("dials again in {}", format_time(*delay)))
            }
            LineIs::Waiting { for_what: WaitFor::Budget(limit) } => {
                info(format_args!("waits to dial, for {}", limit_words(*limit)))
            }
            LineIs::Waiting { .. } => info(format_args!("paused")),
            LineIs::Dialling => info(format_args!("dialling")),
            LineIs::LoggingIn => info(format_args!("open, logging in")),
            LineIs::Subscribing { left } => {
                self.detail(format_args!("line {line}: subscribing, {left} topics left"))
            }
            LineIs::Active => info(format_args!("active")),
            LineIs::Silent { since } => {
                let since = format_time(Instant::now().saturating_duration_since(*since));
                self.painted(format_args!("line {line}: no data for {since}"), Paint::Failure)
            }
            LineIs::Draining => info(format_args!("closing")),
            LineIs::Down { cause: Some(cause) } => {
                self.painted(format_args!("line {line}: down: {cause}"), Paint::Failure)
            }
            _ => info(format_args!("down")),
        }
    }

    fn rotated(&self, rotated: &Rotated) -> Line {
        let Rotated { from, to, .. } = rotated;
        match &rotated.outcome {
            Rotation::Failed { cause, .. } => {
                self.painted(format_args!("line {from}: not replaced: {cause}"), Paint::Failure)
            }
            _ if from == to => {
                self.painted(format_args!("line {from}: replaced, closed first"), Paint::Info)
            }
            _ => {
                let overlap = format_time(rotated.overlap);
                let twice = rotated.duplicates;
                self.painted(
                    format_args!("line {from} → {to}: replaced, {overlap} on both, {twice} updates came twice"),
                    Paint::Info,
                )
            }
        }
    }

    #[cfg(feature = "nats")]
    fn share(&self, share: &ShareIs) -> Line {
        let ShareIs { share, state, .. } = share;
        self.painted(format_args!("share {share}: {state}"), Paint::Info)
    }

    fn stopped(&self, end: &End) -> Line {
        match &end.refusal {
            // A Close by the venue.
            Some(_) if end.outcome == "closed" => self.closed(end),
            Some(refusal) if end.outcome == "refused" => self.painted(
                format_args!(
                    "not dialled again: {refusal}; another dial would fail in the same way"
                ),
                Paint::Failure,
            ),
            Some(refusal) => self.painted(format_args!("failed: {refusal}"), Paint::Failure),
            None => self.closed(end),
        }
    }
}

/// Formats the figures that only some feeds have, each behind a comma.
pub(crate) fn rare(figures: &Figures) -> String {
    let rare = [
        (figures.rotations, "rotations"),
        (figures.resyncs, "snapshots"),
        (figures.skipped, "skipped"),
    ];
    let shown = rare.iter().filter(|(count, _)| *count > 0);
    shown.map(|(count, what)| format!(", {count} {what}")).collect()
}

/// Returns what a limit of dials and sockets waits for.
pub(crate) fn limit_words(limit: Limit) -> &'static str {
    match limit {
        Limit::Dials => "rules.dials",
        Limit::Sockets => "rules.sockets",
        Limit::RetryAfter => "Retry-After",
        Limit::Probe => "another line's dial",
        _ => "a limit",
    }
}
