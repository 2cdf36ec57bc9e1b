//! What is known of a feed, for serde: its state, its figures, and its events without their updates.
//!
//! Written as [`crate::serial`] writes what is known of a connection. A line is its text, such as `1a`. A value
//! that is one of several kinds is an object whose `kind` says which, beside what that kind has.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::feed::command::{FeedStatus, LineStatus};
use crate::feed::event::{
    Cause, Gap, GapCause, LineIs, LineState, Missing, Rotated, Rotation, Stopped, TopicIs,
    TopicState, WaitFor,
};
use crate::feed::figures::Figures;
use crate::feed::said::Refusal;
use crate::feed::sequence::{Numbers, Sequence};
use crate::feed::topic::{LineId, ShardId, Topic};
use crate::serial::{Millis, objects, texts};

objects! {
    FeedStatus [lines figures refusal] ms [] without []
    LineStatus [line epoch state replaces figures connection failures queued updates firsts]
        ms [last_data "last_data_ms" round_trip "round_trip_ms" lag "lag_ms" lag_99 "lag_99_ms"] without []
    Figures
        [wanted confirmed refused unsynced delivered gaps duplicates late resyncs asks skipped rotations unwanted
         unmatched requests]
        ms [] without []
    Refusal [reason for_good] ms [] without []
    Gap [line epoch topic missing cause] ms [] without [last_at next_at]
    TopicState [line epoch topic state] ms [] without []
    LineState [line epoch state led] ms [] without []
    Rotated [from to outcome duplicates] ms [overlap "overlap_ms"] without []
    Stopped [refusal figures] ms [] without []
}

texts! { GapCause LineId Topic }

impl Serialize for ShardId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl Serialize for Sequence {
    /// Writes `first` and `last`, which [`Sequence::first`] and [`Sequence::last`] return, and the number of the
    /// update before it as `previous`; `null` where there is none.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Sequence { kind, restarted } = self;
        let (kind, previous) = match kind {
            Numbers::None => ("none", None),
            Numbers::Contiguous { .. } => ("contiguous", None),
            Numbers::Chained { previous, .. } => ("chained", Some(previous)),
            Numbers::Rising(_) => ("rising", None),
            Numbers::Id(_) => ("id", None),
        };
        let mut object = serializer.serialize_struct("", 5)?;
        object.serialize_field("kind", kind)?;
        object.serialize_field("previous", &previous)?;
        object.serialize_field("first", &self.first())?;
        object.serialize_field("last", &self.last())?;
        object.serialize_field("restarted", restarted)?;
        object.end()
    }
}

/// Implements `Serialize` for enums: for each variant its pattern, its `kind`, and the keys and values beside
/// that. A variant that is nowhere does not compile.
macro_rules! kinds {
    ($($Type:ident { $($variant:pat => $kind:literal [$($key:literal: $value:expr),*],)+ })+) => {$(
        impl Serialize for $Type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $($variant => {
                        let keys: &[&str] = &["kind", $($key),*];
                        let mut object = serializer.serialize_struct("", keys.len())?;
                        object.serialize_field("kind", $kind)?;
                        $(object.serialize_field($key, $value)?;)*
                        object.end()
                    })+
                }
            }
        }
    )+};
}

kinds! {
    Missing {
        Missing::Range { from, to } => "range" ["from": from, "to": to],
        Missing::Between { last, next } => "between" ["last": last, "next": next],
        Missing::Unknown => "unknown" [],
    }
    TopicIs {
        TopicIs::Confirmed => "confirmed" [],
        TopicIs::Refused(refusal) => "refused" ["refusal": refusal],
        TopicIs::Silent { since: _ } => "silent" [],
        TopicIs::Fresh => "fresh" [],
        TopicIs::Unsynced => "unsynced" [],
    }
    LineIs {
        LineIs::Waiting { for_what } => "waiting" ["for_what": for_what],
        LineIs::Dialling => "dialling" [],
        LineIs::LoggingIn => "logging_in" [],
        LineIs::Subscribing { left } => "subscribing" ["left": left],
        LineIs::Active => "active" [],
        LineIs::Silent { since: _ } => "silent" [],
        LineIs::Draining => "draining" [],
        LineIs::Down { cause } => "down" ["cause": cause],
    }
    WaitFor {
        WaitFor::Delay(delay) => "delay" ["delay_ms": &delay.millis()],
        WaitFor::Resume => "resume" [],
        WaitFor::Budget(limit) => "budget" ["limit": limit],
    }
    Cause {
        Cause::Connection(error) => "connection" ["error": error],
        Cause::Session(refusal) => "session" ["refusal": refusal],
    }
    Rotation {
        Rotation::Done => "done" [],
        Rotation::Failed { cause } => "failed" ["cause": cause],
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::{Value, json};

    use super::*;
    use crate::budget::Limit;
    use crate::command::status::{Figures as ConnectionFigures, Watch};
    use crate::error::Error;

    fn json_of(value: &impl Serialize) -> Value {
        serde_json::to_value(value).unwrap()
    }

    fn line() -> LineId {
        LineId::new(ShardId(3), 1)
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(json_of(&ShardId(3)), json!(3));
        assert_eq!(json_of(&line()), json!("3b"));
        assert_eq!(json_of(&Topic::from("trade.BTC")), json!("trade.BTC"));
        for (sequence, kind, previous, first, last, restarted) in [
            (Sequence::none(), "none", None, None, None, false),
            (Sequence::contiguous(3, 5).restarted(), "contiguous", None, Some(3), Some(5), true),
            (Sequence::chained(3, 5), "chained", Some(3), Some(5), Some(5), false),
            (Sequence::rising(7), "rising", None, Some(7), Some(7), false),
            (Sequence::id(u64::MAX), "id", None, Some(u64::MAX), Some(u64::MAX), false),
        ] {
            let expected = json!({
                "kind": kind, "previous": previous, "first": first, "last": last, "restarted": restarted,
            });
            assert_eq!(json_of(&sequence), expected);
        }
    }

    #[test]
    fn a_gap_has_what_is_missing_and_why_and_no_instants() {
        let gap = Gap {
            line: line(),
            epoch: 2,
            topic: Some(Topic::from("a")),
            missing: Missing::Range { from: 4, to: 6 },
            cause: GapCause::Venue,
            last_at: Some(Instant::now()),
            next_at: None,
        };
        let expected = json!({
            "line": "3b", "epoch": 2, "topic": "a", "cause": "venue",
            "missing": { "kind": "range", "from": 4, "to": 6 },
        });
        assert_eq!(json_of(&gap), expected);
        let between = Missing::Between { last: 4, next: 7 };
        assert_eq!(json_of(&between), json!({ "kind": "between", "last": 4, "next": 7 }));
        assert_eq!(json_of(&Missing::Unknown), json!({ "kind": "unknown" }));
    }

    #[test]
    fn every_state_of_a_topic_has_its_kind() {
        let refused = TopicIs::Refused(Refusal::for_good("no such topic"));
        let refusal = json!({ "reason": "no such topic", "for_good": true });
        for (state, expected) in [
            (TopicIs::Confirmed, json!({ "kind": "confirmed" })),
            (refused, json!({ "kind": "refused", "refusal": refusal })),
            (TopicIs::Silent { since: Instant::now() }, json!({ "kind": "silent" })),
            (TopicIs::Fresh, json!({ "kind": "fresh" })),
            (TopicIs::Unsynced, json!({ "kind": "unsynced" })),
        ] {
            let event = TopicState { line: line(), epoch: 1, topic: "a".into(), state };
            let whole = json!({ "line": "3b", "epoch": 1, "topic": "a", "state": expected });
            assert_eq!(json_of(&event), whole);
        }
    }

    #[test]
    fn every_state_of_a_line_has_its_kind() {
        let delay = WaitFor::Delay(Duration::from_micros(1500));
        let delay = LineIs::Waiting { for_what: delay };
        let resume = LineIs::Waiting { for_what: WaitFor::Resume };
        let budget = LineIs::Waiting { for_what: WaitFor::Budget(Limit::Dials) };
        let waits = |for_what| json!({ "kind": "waiting", "for_what": for_what });
        let error = Error::PeerSilent { after: Duration::from_secs(1), idle: false };
        let text = error.to_string();
        let failed = Cause::Connection(error);
        let failed_is =
            json!({ "kind": "connection", "error": { "stage": "silent", "text": text } });
        let session = Cause::Session(Refusal::for_now("busy"));
        let busy = json!({ "reason": "busy", "for_good": false });
        let session_is = json!({ "kind": "session", "refusal": busy });
        let down = |cause| json!({ "kind": "down", "cause": cause });
        for (state, expected) in [
            (delay, waits(json!({ "kind": "delay", "delay_ms": 1.5 }))),
            (resume, waits(json!({ "kind": "resume" }))),
            (budget, waits(json!({ "kind": "budget", "limit": Limit::Dials.to_string() }))),
            (LineIs::Dialling, json!({ "kind": "dialling" })),
            (LineIs::LoggingIn, json!({ "kind": "logging_in" })),
            (LineIs::Subscribing { left: 7 }, json!({ "kind": "subscribing", "left": 7 })),
            (LineIs::Active, json!({ "kind": "active" })),
            (LineIs::Silent { since: Instant::now() }, json!({ "kind": "silent" })),
            (LineIs::Draining, json!({ "kind": "draining" })),
            (LineIs::Down { cause: None }, down(Value::Null)),
            (LineIs::Down { cause: Some(failed) }, down(failed_is)),
            (LineIs::Down { cause: Some(session) }, down(session_is)),
        ] {
            let event = LineState { line: line(), epoch: 1, state, led: 4 };
            let whole = json!({ "line": "3b", "epoch": 1, "state": expected, "led": 4 });
            assert_eq!(json_of(&event), whole);
        }
    }

    #[test]
    fn a_rotation_has_its_lines_and_what_came_of_it() {
        let mut rotated = Rotated {
            from: line(),
            to: LineId::new(ShardId(3), 2),
            outcome: Rotation::Done,
            overlap: Duration::from_millis(250),
            duplicates: 12,
        };
        let done = json!({
            "from": "3b", "to": "3c", "outcome": { "kind": "done" }, "overlap_ms": 250.0, "duplicates": 12,
        });
        assert_eq!(json_of(&rotated), done);
        rotated.outcome = Rotation::Failed { cause: "refused".into() };
        let failed = json!({ "kind": "failed", "cause": "refused" });
        assert_eq!(json_of(&rotated)["outcome"], failed);
    }

    #[test]
    fn a_status_has_its_lines_figures_and_refusal() {
        let figures = Figures { delivered: 9, gaps: 1, ..Figures::default() };
        let watch = Watch::new(Instant::now());
        watch.failed("io");
        let state = LineStatus {
            line: line(),
            epoch: 4,
            state: LineIs::Active,
            replaces: None,
            figures,
            connection: ConnectionFigures::default(),
            failures: watch.failures(),
            last_data: Some(Duration::from_millis(20)),
            round_trip: None,
            queued: 5,
            lag: Some(Duration::ZERO),
            lag_99: None,
            updates: 8,
            firsts: 6,
        };
        let mut expected = json!({
            "line": "3b", "epoch": 4, "state": { "kind": "active" }, "replaces": null, "last_data_ms": 20.0,
            "round_trip_ms": null, "queued": 5, "lag_ms": 0.0, "lag_99_ms": null, "updates": 8, "firsts": 6,
        });
        let shown = json_of(&figures);
        assert_eq!(
            (&shown["delivered"], &shown["gaps"], &shown["wanted"]),
            (&json!(9), &json!(1), &json!(0))
        );
        expected["figures"] = shown.clone();
        expected["connection"] = json_of(&ConnectionFigures::default());
        expected["failures"] = watch.failures().iter().collect();
        assert_eq!(expected["failures"]["io"], 1);
        let refusal = Some(Refusal::for_good("bad key"));
        let status = FeedStatus { lines: vec![state], figures, refusal: refusal.clone() };
        let status = json_of(&status);
        assert_eq!(status["lines"], json!([expected]));
        assert_eq!((&status["figures"], &status["refusal"]["reason"]), (&shown, &json!("bad key")));
        let stopped = json_of(&Stopped { refusal, figures });
        assert_eq!(stopped, json!({ "refusal": status["refusal"], "figures": shown }));
    }
}
