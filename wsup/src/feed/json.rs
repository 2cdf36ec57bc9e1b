//! The events of a feed as JSON. This is a contract, as that of single connections is.

use std::time::Instant;

use actix_ws_client::Payload;
use actix_ws_client::error::Error;
use actix_ws_client::feed::LineId;
use actix_ws_client::feed::event::{
    Cause, Gap, LineIs, LineState, Missing, Rotated, Rotation, TopicIs, TopicState, Update, WaitFor,
};
use serde_json::Value;

#[cfg(feature = "nats")]
use crate::feed::form::ShareIs;
use crate::feed::form::{End, Form};
use crate::json::{Object, millis};
use crate::print::Line;
use crate::refusal::Refused;
use crate::secrets::Secrets;
use crate::usage::in_flags;

/// Formats each event as one object on a line.
pub(crate) struct Json {
    /// The secrets that no line shows.
    pub(crate) secrets: Secrets,
}

impl Json {
    fn words(&self, text: impl ToString) -> String {
        in_flags(&self.secrets.hide(&text.to_string()))
    }

    fn error(&self, state: &LineState, cause: &Cause) -> Line {
        let error = match cause {
            Cause::Connection(error) => Some(error),
            _ => None,
        };
        let during = match error {
            Some(Error::Timeout(stage)) => Some(stage.to_string()),
            _ => None,
        };
        let refusal = error.and_then(|error| Refused::of(error, &self.secrets));
        let refusal = refusal.map(|refused| refused.json());
        object("error", state.line, state.epoch)
            .key("stage", error.map_or("session", |error| error.stage()))
            .key("during", during)
            .key("status", error.and_then(Error::status))
            .key("error", self.words(cause))
            .raw("refusal", refusal.as_deref().unwrap_or("null").as_bytes())
            .end()
    }
}

/// Begins the object of an event of a line.
fn object(event: &str, line: LineId, epoch: u64) -> Object {
    Object::of(event).key("shard", line.shard.0).key("line", line.to_string()).key("epoch", epoch)
}

impl Form for Json {
    fn data(&self, update: &Update<Payload>, lines: &mut Vec<u8>) {
        let object = object("data", update.line, update.epoch)
            .text("topic", &update.topic)
            .key("sequence", update.sequence.last())
            .key("snapshot", update.snapshot)
            .key("skipped", update.skipped);
        let line = match &update.item {
            Payload::Text(text) => object.text("data", text).end(),
            Payload::Binary(bytes) => object.base64("base64", bytes).end(),
        };
        if let Line::Stdout(line) = line {
            lines.extend_from_slice(&line);
        }
    }

    fn gap(&self, gap: &Gap) -> Line {
        let object = Object::of("gap").key("topic", gap.topic.as_deref());
        let object = match gap.missing {
            Missing::Range { from, to } => object.key("from", from).key("to", to),
            Missing::Between { last, next } => object.key("last", last).key("next", next),
            _ => object.key("from", Value::Null).key("to", Value::Null),
        };
        object.key("cause", gap.cause.to_string()).end()
    }

    fn topic(&self, state: &TopicState) -> Line {
        let (name, refusal, since) = match &state.state {
            TopicIs::Confirmed => ("confirmed", None, None),
            TopicIs::Refused(refusal) => ("refused", Some(refusal), None),
            TopicIs::Silent { since } => ("silent", None, Some(*since)),
            TopicIs::Fresh => ("fresh", None, None),
            TopicIs::Unsynced => ("unsynced", None, None),
            _ => return Line::Nothing,
        };
        let since = since.map(|since| millis(Instant::now().saturating_duration_since(since)));
        Object::of("topic")
            .text("topic", &state.topic)
            .key("state", name)
            .key("reason", refusal.map(|refusal| self.words(refusal)))
            .key("final", refusal.map(|refusal| refusal.for_good))
            .key("since_ms", since)
            .end()
    }

    fn line(&self, state: &LineState) -> Line {
        let left = match &state.state {
            LineIs::Subscribing { left } => Some(*left),
            _ => None,
        };
        let after = match &state.state {
            LineIs::Waiting { for_what: WaitFor::Delay(delay) } => Some(millis(*delay)),
            _ => None,
        };
        let cause = match &state.state {
            LineIs::Down { cause } => cause.as_ref(),
            _ => None,
        };
        let line = object("line", state.line, state.epoch)
            .key("state", state.state.name())
            .key("left", left)
            .key("after_ms", after)
            .key("cause", cause.map(|cause| self.words(cause)))
            .key("led", state.led)
            .end();
        match cause {
            Some(cause) => line.and(self.error(state, cause)),
            None => line,
        }
    }

    fn rotated(&self, rotated: &Rotated) -> Line {
        let (outcome, cause) = match &rotated.outcome {
            Rotation::Failed { cause, .. } => ("failed", Some(cause)),
            _ => ("done", None),
        };
        Object::of("rotated")
            .key("shard", rotated.from.shard.0)
            .key("from", rotated.from.to_string())
            .key("to", rotated.to.to_string())
            .key("outcome", outcome)
            .key("overlap_ms", millis(rotated.overlap))
            .key("duplicates", rotated.duplicates)
            .key("cause", cause.map(|cause| self.words(cause)))
            .end()
    }

    #[cfg(feature = "nats")]
    fn share(&self, share: &ShareIs) -> Line {
        Object::of("share")
            .key("share", share.share)
            .key("state", share.state)
            .key("fence", share.fence)
            .end()
    }

    fn stopped(&self, end: &End) -> Line {
        let (confirmed, refused) = end.topics;
        let figures = &end.figures;
        let published = end.published.map(|it| {
            serde_json::json!({
                "published": it.published,
                "acknowledged": it.acknowledged,
                "waiting": it.waiting,
                "repeated": it.repeated,
                "duplicates": it.duplicates,
                "refused": it.refused,
            })
        });
        Object::of("stopped")
            .key("outcome", end.outcome)
            .key("topics", serde_json::json!({ "confirmed": confirmed, "refused": refused }))
            .key("delivered", figures.delivered)
            .key("gaps", figures.gaps)
            .key("duplicates", figures.duplicates)
            .key("late", figures.late)
            .key("rotations", figures.rotations)
            .key("resyncs", figures.resyncs)
            .key("skipped", figures.skipped)
            .key("published", published)
            .key("reason", end.refusal.as_ref().map(|refusal| self.words(refusal)))
            .end()
    }
}
