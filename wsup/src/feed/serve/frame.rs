//! The board as frames of server-sent events, for pages.
//!
//! A page gets `whole` first, and `changes` from then on. In both a topic is known by its place in the list of `whole`.

use std::fmt::Write;
use std::time::{Duration, Instant};

use actix_web::web::Bytes;
use serde_json::{Value, json};

use crate::feed::serve::board::Board;
use crate::feed::serve::health;
use crate::feed::serve::journal::Entry;
use crate::feed::serve::lines::Row;
use crate::feed::serve::status::{line, publishing};
use crate::feed::serve::topics;
use crate::json::millis;

/// What a frame of changes has at most. What is left follows in the next one.
const MAX_COUNTS: usize = 8192;
const MAX_TOPICS: usize = 2048;
const MAX_LINES: usize = 256;
/// The number of problems that are listed.
const MAX_PROBLEMS: usize = 8;

/// What a frame of changes is to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beat {
    /// Whether it has the figures of all lines, and the counts of topics.
    pub(crate) figures: bool,
    /// Whether a sample of the rates has ended.
    pub(crate) sampled: bool,
    /// The number of the line that the figures begin with, if there are too many.
    pub(crate) turn: usize,
}

/// Formats all that is known.
pub(crate) fn whole(board: &Board, now: Instant) -> Bytes {
    let mut out = String::with_capacity(1024 + 80 * board.topics.rows().len());
    out += "event: whole\ndata: {\"topics\":[";
    for (at, row) in board.topics.rows().iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        let age = row.age(now).map_or(-1, |age| i64::try_from(millis(age)).unwrap_or(i64::MAX));
        out.push('[');
        text(&mut out, &row.topic);
        out.push(',');
        state(&mut out, row);
        // A `String` takes all that is written.
        let _ = write!(out, ",{},{age},\"{}\"]", row.updates, row.samples.text());
    }
    out += "],";
    let rest = json!({
        "name": board.name,
        "uptime_ms": millis(now.saturating_duration_since(board.began)),
        "samples": board.samples.text(),
        "lines": board.lines.rows().map(|row| line_of_page(row, true, now)).collect::<Vec<_>>(),
        "events": board.journal.entries().map(|entry| event(entry, now)).collect::<Vec<_>>(),
        "problems": problems(board, now),
        "publishing": publishing(board),
        "total": total(board),
    });
    end(out, &rest)
}

/// Formats what has changed since the last call. Returns `None` if nothing has, and `beat` asks for no figures.
pub(crate) fn changes(board: &mut Board, beat: Beat, now: Instant) -> Option<Bytes> {
    let mut out = String::from("event: changes\ndata: {\"topics\":[");
    let empty = out.len();
    for (at, row) in board.topics.take_changed(MAX_TOPICS) {
        if out.len() > empty {
            out.push(',');
        }
        let _ = write!(out, "[{at},");
        state(&mut out, row);
        out.push(']');
    }
    let has_topics = out.len() > empty;
    let entries = board.journal.take_changed();
    let events: Vec<Value> = entries.iter().map(|entry| event(entry, now)).collect();
    let ended: Vec<String> = board.lines.take_ended().iter().map(ToString::to_string).collect();
    let lines = lines(board, beat, now);
    if !beat.figures && !has_topics && events.is_empty() && lines.is_empty() && ended.is_empty() {
        return None;
    }
    out += "],\"counts\":[";
    if beat.figures {
        let (mut previous, mut comma) = (0, "");
        board.topics.list_counts(MAX_COUNTS, |at, count| {
            let _ = write!(out, "{comma}{},{count}", at - previous);
            (previous, comma) = (at, ",");
        });
    }
    out += "],";
    let rest = json!({
        "sampled": beat.sampled,
        "ended": ended,
        "lines": lines,
        "events": events,
        "problems": problems(board, now),
        "publishing": publishing(board),
        "total": total(board),
    });
    Some(end(out, &rest))
}

/// Formats lines: those whose stage has changed, and then others.
fn lines(board: &mut Board, beat: Beat, now: Instant) -> Vec<Value> {
    let mut lines = Vec::new();
    for row in board.lines.rows_mut().filter(|row| row.is_dirty).take(MAX_LINES) {
        lines.push(line_of_page(row, true, now));
        row.is_dirty = false;
    }
    if beat.figures {
        let all = board.lines.rows().count();
        let from = if all > MAX_LINES { beat.turn * MAX_LINES % all } else { 0 };
        let others = board.lines.rows().skip(from).take(MAX_LINES);
        lines.extend(others.map(|row| line_of_page(row, false, now)));
    }
    lines
}

/// Formats a line, with the stages that it has been in if they are wanted.
fn line_of_page(row: &Row, with_history: bool, now: Instant) -> Value {
    let mut line = line(row, now);
    let figures = &row.report.figures;
    line["shard"] = row.report.key.shard.into();
    line["wanted"] = figures.wanted.into();
    line["confirmed"] = figures.confirmed.into();
    line["delivered"] = figures.delivered.into();
    line["gaps"] = figures.gaps.into();
    line["queued"] = row.report.queued.into();
    if with_history {
        let ago = |at: Instant| millis(now.saturating_duration_since(at));
        let history = row.history.iter().map(|(at, stage)| json!([ago(*at), *stage as u8]));
        line["history"] = history.collect();
        line["takeovers"] = row.takeovers.iter().map(|at| ago(*at)).collect();
    }
    line
}

fn event(entry: &Entry, now: Instant) -> Value {
    json!({
        "number": entry.number,
        "ago_ms": millis(now.saturating_duration_since(entry.at)),
        "kind": entry.kind.name(),
        "line": entry.line,
        "topic": entry.topic,
        "text": entry.text,
        "count": entry.count,
    })
}

fn problems(board: &Board, now: Instant) -> Vec<String> {
    let problems = health::problems(board, None, now);
    problems.iter().take(MAX_PROBLEMS).map(ToString::to_string).collect()
}

fn total(board: &Board) -> Value {
    let figures = &board.figures;
    json!({
        "delivered": figures.delivered,
        "gaps": figures.gaps,
        "duplicates": figures.duplicates,
        "late": figures.late,
        "skipped": figures.skipped,
        "resyncs": figures.resyncs,
        "rotations": figures.rotations,
        "rotations_failed": board.rotations_failed,
    })
}

/// Formats the state of a topic: a number, its line, why it was refused, and its gaps.
fn state(out: &mut String, row: &topics::Row) {
    let _ = write!(out, "{},", row.state() as u8);
    match row.line {
        Some(line) => {
            let _ = write!(out, "\"{line}\",");
        }
        None => out.push_str("null,"),
    }
    match &row.reason {
        Some(reason) => text(out, reason),
        None => out.push_str("null"),
    }
    let _ = write!(out, ",{}", row.gaps);
}

/// Formats a JSON string.
fn text(out: &mut String, text: &str) {
    *out += &Value::from(text).to_string();
}

/// Adds the keys of an object, and ends the frame.
fn end(mut out: String, rest: &Value) -> Bytes {
    let rest = rest.to_string();
    out += rest.strip_prefix('{').unwrap_or(&rest);
    out += "\n\n";
    Bytes::from(out)
}

/// The time between two frames.
pub(crate) const TICK: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::serve::board::Answer;
    use crate::feed::serve::lines::{Key, Stage};
    use crate::feed::serve::status::status;
    use crate::feed::serve::tests::{board, report};
    use crate::feed::serve::topics::State;

    fn parse(frame: &Bytes, event: &str) -> Value {
        let text = std::str::from_utf8(frame).unwrap();
        let data = text.strip_prefix(&format!("event: {event}\ndata: ")).unwrap();
        serde_json::from_str(data.strip_suffix("\n\n").unwrap()).unwrap()
    }

    const FIGURES: Beat = Beat { figures: true, sampled: false, turn: 0 };

    #[test]
    fn the_first_frame_has_everything() {
        let now = Instant::now();
        let mut board = board(vec![report(1, 0, Stage::Active)], now);
        let key = Key { shard: 1, line: 0 };
        board.topics.set_state(&"b\"".into(), key, State::Refused, Some("a \"b\"\n".to_owned()));
        board.topics.update(&"a".into(), key, now);
        let frame = parse(&whole(&board, now + Duration::from_secs(1)), "whole");
        assert_eq!(
            frame["topics"],
            json!([
                ["a", 0, "1a", null, 0, 1, 1000, ""],
                ["b\"", 2, "1a", "a \"b\"\n", 0, 0, -1, ""]
            ])
        );
        assert_eq!(frame["lines"][0]["history"], json!([[1000, 5]]));
        assert_eq!(frame["lines"][0]["line"], "1a");
    }

    #[test]
    fn later_frames_have_what_has_changed() {
        let now = Instant::now();
        let mut board = board(vec![report(1, 0, Stage::Active)], now);
        let key = Key { shard: 1, line: 0 };
        // The line is new.
        assert!(changes(&mut board, Beat::default(), now).is_some());
        assert!(changes(&mut board, Beat::default(), now).is_none());
        board.topics.update(&"b\"".into(), key, now);
        assert!(changes(&mut board, Beat::default(), now).is_none());
        let frame = parse(&changes(&mut board, FIGURES, now).unwrap(), "changes");
        assert_eq!((&frame["counts"], &frame["topics"]), (&json!([1, 1]), &json!([])));
        let frame = parse(&changes(&mut board, FIGURES, now).unwrap(), "changes");
        assert_eq!(frame["counts"], json!([]));
        board.topics.gap(&"a".into());
        let frame = parse(&changes(&mut board, Beat::default(), now).unwrap(), "changes");
        assert_eq!(frame["topics"], json!([[0, 0, null, null, 1]]));
    }

    #[test]
    fn a_line_says_which_one_it_replaces_and_when_its_place_was_taken_over() {
        let now = Instant::now();
        let mut new = report(1, 1, Stage::Active);
        new.replaces = Some(Key { shard: 1, line: 0 });
        let mut board = board(vec![report(1, 0, Stage::Active), new.clone()], now);
        let frame = parse(&whole(&board, now), "whole");
        assert_eq!(
            (&frame["lines"][0]["replaces"], &frame["lines"][1]["replaces"]),
            (&json!(null), &json!("1a"))
        );
        changes(&mut board, Beat::default(), now);
        new.replaces = None;
        let both = vec![report(1, 0, Stage::Draining), new.clone()];
        board.handle_answer(Answer { lines: both, ..Answer::default() }, now);
        // What has changed is sent at once.
        let frame = parse(&changes(&mut board, Beat::default(), now).unwrap(), "changes");
        assert_eq!(frame["lines"][1]["replaces"], json!(null));
        board.handle_answer(Answer { lines: vec![new], ..Answer::default() }, now);
        let frame = parse(&changes(&mut board, Beat::default(), now).unwrap(), "changes");
        assert_eq!(frame["ended"], json!(["1a"]));
        let frame = parse(&whole(&board, now + Duration::from_secs(1)), "whole");
        assert_eq!(frame["lines"][0]["takeovers"], json!([1000]));
    }

    #[test]
    fn a_topic_without_a_snapshot_has_a_state_of_its_own() {
        let now = Instant::now();
        let mut board = board(vec![report(1, 0, Stage::Active)], now);
        let key = Key { shard: 1, line: 0 };
        board.topics.confirm(&"a".into(), key);
        board.topics.set_unsynced(&"a".into(), key, true);
        assert_eq!(parse(&whole(&board, now), "whole")["topics"][0][1], 4);
        let status = status(&board, now);
        let counts = &status["topics"];
        assert_eq!((&counts["confirmed"], &counts["unsynced"]), (&json!(1), &json!(1)));
        let first = &status["topics_not_fine"][0];
        assert_eq!((&first["topic"], &first["state"]), (&json!("a"), &json!("unsynced")));
    }

    #[test]
    fn a_frame_is_bounded() {
        let now = Instant::now();
        let lines = (1..=1000).map(|shard| report(shard, 0, Stage::Active)).collect();
        let mut board = board(lines, now);
        let topics: Vec<String> = (0..50_000).map(|number| format!("topic.{number}")).collect();
        let topics: Vec<_> = topics.iter().map(actix_ws_client::feed::Topic::from).collect();
        board.add(&topics);
        let key = Key { shard: 1, line: 0 };
        for topic in &topics {
            board.topics.update(topic, key, now);
            board.topics.gap(topic);
        }
        let frame = changes(&mut board, FIGURES, now).unwrap();
        assert!(frame.len() < 512 << 10, "{}", frame.len());
        let frame = parse(&frame, "changes");
        assert_eq!(frame["counts"].as_array().unwrap().len(), 2 * MAX_COUNTS);
        assert_eq!(frame["topics"].as_array().unwrap().len(), MAX_TOPICS);
    }
}
