//! The state of a feed as JSON, for `/status`. A contract, as that of `--json` is: keys may be added, never removed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::feed::serve::board::Board;
use crate::feed::serve::health;
use crate::feed::serve::lines::Row;
use crate::feed::serve::topics::{self, State};
use crate::json::millis;

/// The number of topics that are listed, the worst first.
const MAX_TOPICS: usize = 100;

/// Formats the state.
pub(crate) fn status(board: &Board, now: Instant) -> Value {
    let problems = health::problems(board, None, now);
    let rows: Vec<&Row> = board.lines.rows().collect();
    let shards = rows.chunk_by(|row, next| row.report.key.shard == next.report.key.shard);
    let shards: Vec<Value> = shards.map(|lines| shard(lines, now)).collect();
    let topics = board.topics.rows();
    let count = |state: State| topics.iter().filter(|row| row.state() == state).count();
    let confirmed = [State::Confirmed, State::Silent, State::Unsynced];
    let confirmed: usize = confirmed.into_iter().map(count).sum();
    let mut not_fine: Vec<_> =
        topics.iter().filter(|row| row.state() != State::Confirmed).collect();
    not_fine.sort_by_key(|row| match row.state() {
        State::Refused => 0,
        State::Silent => 1,
        State::Unsynced => 2,
        _ => 3,
    });
    not_fine.truncate(MAX_TOPICS);
    let figures = &board.figures;
    json!({
        "name": board.name,
        "healthy": problems.is_empty(),
        "problems": problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "uptime_ms": millis(now.saturating_duration_since(board.began)),
        "topics": {
            "wanted": topics.len(),
            "confirmed": confirmed,
            "refused": count(State::Refused),
            "silent": count(State::Silent),
            "unsynced": topics.iter().filter(|row| row.is_unsynced()).count(),
            "pending": count(State::Pending),
        },
        "delivered": figures.delivered,
        "gaps": figures.gaps,
        "duplicates": figures.duplicates,
        "late": figures.late,
        "skipped": figures.skipped,
        "resyncs": figures.resyncs,
        "snapshots_asked": figures.asks,
        "rotations": figures.rotations,
        "rotations_failed": board.rotations_failed,
        "unwanted": figures.unwanted,
        "unmatched": figures.unmatched,
        "requests": figures.requests,
        "publishing": publishing(board),
        "shards": shards,
        "topics_not_fine": not_fine.into_iter().map(|row| topic(row, now)).collect::<Vec<_>>(),
    })
}

/// Formats how the publication goes; `null` without `--publish`.
pub(crate) fn publishing(board: &Board) -> Value {
    let Some(it) = &board.publishing else { return Value::Null };
    let figures = &it.figures;
    json!({
        "connected": it.is_connected,
        "since_ms": millis(it.since),
        "connections": it.connections,
        "failure": it.failure,
        "published": figures.published,
        "acknowledged": figures.acknowledged,
        "last_acknowledged_ms": it.last_acknowledged.map(millis),
        "stalled_ms": it.stalled.map(millis),
        "waiting": figures.waiting,
        "waiting_bytes": it.waiting_bytes,
        "in_flight": it.in_flight,
        "kept": it.kept,
        "repeated": figures.repeated,
        "duplicates": figures.duplicates,
        "dropped": it.dropped,
        "refused": figures.refused,
        "fenced": it.fenced,
        "shares": it.shares.map(|shares| json!({
            "all": shares.all,
            "owned": shares.owned,
            "standby": shares.standby,
            "claimed": shares.claimed,
        })),
    })
}

fn shard(lines: &[&Row], now: Instant) -> Value {
    let Some(first) = lines.first() else { return Value::Null };
    let figures = &first.report.figures;
    json!({
        "shard": first.report.key.shard,
        "wanted": figures.wanted,
        "confirmed": figures.confirmed,
        "refused": figures.refused,
        "delivered": figures.delivered,
        "gaps": figures.gaps,
        "queued": first.report.queued,
        "lines": lines.iter().map(|row| line(row, now)).collect::<Vec<_>>(),
    })
}

pub(crate) fn line(row: &Row, now: Instant) -> Value {
    let report = &row.report;
    let time = |time: Option<Duration>| time.map(millis);
    json!({
        "line": report.key.to_string(),
        "epoch": report.epoch,
        "state": report.stage.name(),
        "replaces": report.replaces.map(|line| line.to_string()),
        "detail": report.detail,
        "dials_in_ms": time(row.dials_in(now)),
        "since_ms": millis(now.saturating_duration_since(row.since)),
        "last_data_ms": time(report.last_data),
        "rtt_ms": time(report.round_trip),
        "lag_ms": time(report.lag),
        "lag_99_ms": time(report.lag_99),
        "updates": report.updates,
        "firsts": report.firsts,
        "last_failure": row.failure.as_ref().map(|(at, text)| json!({
            "ago_ms": millis(now.saturating_duration_since(*at)),
            "text": text,
        })),
    })
}

fn topic(row: &topics::Row, now: Instant) -> Value {
    json!({
        "topic": row.topic.as_str(),
        "state": row.state().name(),
        "unsynced": row.is_unsynced(),
        "line": row.line.map(|line| line.to_string()),
        "reason": row.reason.as_deref(),
        "last_data_ms": row.age(now).map(millis),
        "gaps": row.gaps,
    })
}
