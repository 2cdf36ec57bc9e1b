//! One export of the figures of a connection, a feed or a budget.

use metrics::Label;

use crate::budget::Budget;
use crate::command::status::{Failures, Phase, Watch};
use crate::feed::command::{FeedStatus, LineStatus};
use crate::feed::event::LineIs;
use crate::metrics::table::{
    self, BUDGET_DIALS_LEFT, BUDGET_SOCKETS_LEFT, CONNECTION_FAILURES, CONNECTION_PHASE,
    CONNECTION_SOCKETS, CONNECTION_UP, Export, FEED, FEED_SHARDS, FEED_TOPICS, FEED_UP, FIGURES,
    LINE, LINE_FAILURES, LINE_LAG, LINE_SOCKETS, LINE_STATE, LINE_UP, SHARD_GAPS, SHARD_QUEUED,
    SHARD_UP,
};

/// Describes all metrics to the recorder: their units and their meaning.
pub fn describe() {
    table::describe();
    #[cfg(feature = "nats")]
    crate::metrics::publisher::all().for_each(table::Export::describe);
}

/// Exports the figures of a connection, under a name.
pub fn connection(name: &str, watch: &Watch) {
    let labels = vec![Label::new("connection", name.to_owned())];
    let phase = watch.phase();
    CONNECTION_UP.export(&labels, is(phase == Phase::Open));
    for other in Phase::ALL {
        CONNECTION_PHASE.export_with(&labels, "phase", other.to_string(), is(phase == other));
    }
    CONNECTION_SOCKETS.export(&labels, watch.epoch() as f64);
    failures(&CONNECTION_FAILURES, &labels, watch.failures());
    let figures = watch.figures();
    FIGURES.iter().for_each(|figure| figure.of_connection(&labels, &figures));
}

/// Exports the state of a feed, under a name.
pub fn feed(name: &str, status: &FeedStatus) {
    let labels = vec![Label::new("feed", name.to_owned())];
    let figures = &status.figures;
    let shards: Vec<&[LineStatus]> =
        status.lines.chunk_by(|line, next| line.line.shard == next.line.shard).collect();
    let is_active = |line: &LineStatus| matches!(line.state, LineIs::Active);
    let is_up = shards.iter().all(|lines| lines.iter().any(is_active)) && status.refusal.is_none();
    FEED_UP.export(&labels, is(is_up));
    FEED_SHARDS.export(&labels, shards.len() as f64);
    for (state, count) in [
        ("wanted", figures.wanted),
        ("confirmed", figures.confirmed),
        ("refused", figures.refused),
        ("unsynced", figures.unsynced),
    ] {
        FEED_TOPICS.export_with(&labels, "state", state.to_owned(), count as f64);
    }
    FEED.iter().for_each(|figure| figure.export(&labels, figures));
    for lines in shards {
        let Some(first) = lines.first() else { continue };
        let shard = [&labels[..], &[Label::new("shard", first.line.shard.to_string())]].concat();
        SHARD_UP.export(&shard, is(lines.iter().any(is_active)));
        SHARD_QUEUED.export(&shard, first.queued as f64);
        SHARD_GAPS.export(&shard, first.figures.gaps as f64);
        lines.iter().for_each(|status| line(&shard, status));
    }
}

/// Exports the state of a line.
fn line(shard: &[Label], status: &LineStatus) {
    let labels = [shard, &[Label::new("line", status.line.to_string())]].concat();
    LINE_UP.export(&labels, is(matches!(status.state, LineIs::Active)));
    let state = status.state.name();
    for other in table::STATES {
        LINE_STATE.export_with(&labels, "state", other.to_owned(), is(other == state));
    }
    LINE_SOCKETS.export(&labels, status.epoch as f64);
    failures(&LINE_FAILURES, &labels, status.failures);
    for (quantile, lag) in [("0.5", status.lag), ("0.99", status.lag_99)] {
        let lag = lag.map_or(f64::NAN, |lag| lag.as_secs_f64());
        LINE_LAG.export_with(&labels, "quantile", quantile.to_owned(), lag);
    }
    LINE.iter().for_each(|figure| figure.export(&labels, status));
    FIGURES.iter().for_each(|figure| figure.of_line(&labels, &status.connection));
}

/// Exports what is left of a budget, under a name.
pub fn budget(name: &str, budget: &Budget) {
    let labels = vec![Label::new("budget", name.to_owned())];
    let room = budget.room();
    for (metric, left) in [(&BUDGET_DIALS_LEFT, room.dials), (&BUDGET_SOCKETS_LEFT, room.sockets)] {
        if let Some(left) = left {
            metric.export(&labels, left as f64);
        }
    }
}

fn failures(metric: &Export, labels: &[Label], failures: Failures) {
    for (reason, count) in failures.iter() {
        metric.export_with(labels, "reason", reason.to_owned(), f64::from(count));
    }
}

fn is(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}
