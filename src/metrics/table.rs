//! The metrics: a row for each, with its unit, its labels and its meaning.

use std::time::Duration;

use metrics::{Label, Unit, counter, describe_counter, describe_gauge, gauge};

use crate::command::status::Figures;
use crate::feed::Figures as FeedFigures;
use crate::feed::command::LineStatus;

/// One metric.
pub(crate) struct Export {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) unit: Unit,
    pub(super) labels: &'static [&'static str],
    /// What it is. Also its row in `docs/metrics.md`.
    pub(super) help: &'static str,
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
}

impl Export {
    /// Sets the metric. A gauge that has no value is NaN.
    pub(crate) fn export(&self, labels: &[Label], value: f64) {
        debug_assert!(
            labels.iter().map(Label::key).eq(self.labels.iter().copied()),
            "{}",
            self.name
        );
        let labels = labels.to_vec();
        match self.kind {
            // Counts are whole.
            Kind::Counter => counter!(self.name, labels).absolute(value as u64),
            Kind::Gauge => gauge!(self.name, labels).set(value),
        }
    }

    /// Sets the metric with one label more.
    pub(crate) fn export_with(&self, labels: &[Label], name: &'static str, of: String, value: f64) {
        self.export(&[labels, &[Label::new(name, of)]].concat(), value);
    }

    pub(super) fn describe(&self) {
        match self.kind {
            Kind::Counter => describe_counter!(self.name, self.unit, self.help),
            Kind::Gauge => describe_gauge!(self.name, self.unit, self.help),
        }
    }
}

/// A metric that is one figure of `T`.
pub(crate) struct Figure<T> {
    pub(super) metric: Export,
    pub(super) get: fn(&T) -> f64,
}

impl<T> Figure<T> {
    #[cfg(feature = "nats")]
    pub(super) fn metric(&self) -> &Export {
        &self.metric
    }

    pub(crate) fn export(&self, labels: &[Label], of: &T) {
        self.metric.export(labels, (self.get)(of));
    }
}

/// A figure of a connection: a metric of connections, and one of the lines of feeds.
pub(crate) struct Both {
    connection: Figure<Figures>,
    line: Figure<Figures>,
}

impl Both {
    pub(crate) fn of_connection(&self, labels: &[Label], figures: &Figures) {
        self.connection.export(labels, figures);
    }

    pub(crate) fn of_line(&self, labels: &[Label], figures: &Figures) {
        self.line.export(labels, figures);
    }
}

/// Returns a time in seconds; NaN for none.
pub(super) fn seconds(time: Option<Duration>) -> f64 {
    time.map_or(f64::NAN, |time| time.as_secs_f64())
}

/// Expands to a metric: `counter` or `gauge`, name, unit, labels, and what it is.
macro_rules! metric {
    (counter $($rest:tt)+) => { metric!(@ Kind::Counter, $($rest)+) };
    (gauge $($rest:tt)+) => { metric!(@ Kind::Gauge, $($rest)+) };
    (@ $kind:expr, $name:expr, $unit:ident, $labels:expr, $help:expr) => {
        Export { name: $name, kind: $kind, unit: Unit::$unit, labels: $labels, help: $help }
    };
}
#[cfg(feature = "nats")]
pub(super) use metric;

/// Expands to constants that are metrics.
macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal $unit:ident [$($label:literal)+] $help:literal,)+) => {
        $(pub(crate) static $constant: Export = metric!($kind $name, $unit, &[$($label),+], $help);)+
        /// Those that are no figure of a list.
        static SINGLE: &[&Export] = &[$(&$constant),+];
    };
}

/// Expands to the figures of a connection, each with its closure.
macro_rules! figures {
    ($($kind:ident $name:literal $unit:ident $help:literal $get:expr,)+) => {
        pub(crate) static FIGURES: &[Both] = &[$(Both {
            connection: Figure {
                metric: metric!($kind concat!("actix_ws_connection_", $name), $unit, CONNECTION, $help),
                get: $get,
            },
            line: Figure { metric: metric!($kind concat!("actix_ws_line_", $name), $unit, LINES, $help), get: $get },
        }),+];
    };
}

const CONNECTION: &[&str] = &["connection"];
const LINES: &[&str] = &["feed", "shard", "line"];
const FEEDS: &[&str] = &["feed"];

figures! {
    counter "dials_total" Count "dials made" |it| it.attempts as f64,
    counter "budget_waits_total" Count "dials that waited for a budget" |it| it.budget_waits as f64,
    counter "messages_received_total" Count "data messages read" |it| it.messages_in as f64,
    counter "messages_sent_total" Count "data messages accepted for sending" |it| it.messages_out as f64,
    counter "received_bytes_total" Bytes "bytes of frames read, inside TLS" |it| it.bytes_in as f64,
    counter "sent_bytes_total" Bytes "bytes written, inside TLS" |it| it.bytes_out as f64,
    counter "control_frames_received_total" Count "pings, pongs and Close frames read" |it| it.control_in as f64,
    counter "control_frames_sent_total" Count "pings, pongs and Close frames written" |it| it.control_out as f64,
    counter "sends_refused_total" Count "messages that were not accepted for sending" |it| it.sends_refused as f64,
    counter "dropped_total" Count "events that were dropped because handlers were too slow" |it| it.dropped as f64,
    gauge "round_trip_seconds" Seconds "the newest round trip of a ping" |it| seconds(it.round_trip),
    gauge "last_message_age_seconds" Seconds "how long ago the last data message came" |it| seconds(it.last_message),
    gauge "open_seconds" Seconds "how long the socket has been open" |it| seconds(it.opened),
    gauge "queued_events" Count "events that wait for handlers" |it| it.queued_events as f64,
    gauge "queued_bytes" Bytes "the memory of those events" |it| it.queued_bytes as f64,
    gauge "unsent_bytes" Bytes "bytes that wait to be written" |it| it.unsent_bytes as f64,
}

metrics! {
    CONNECTION_UP: gauge "actix_ws_connection_up" Count ["connection"] "1 while a socket is open, else 0",
    CONNECTION_PHASE: gauge "actix_ws_connection_phase" Count ["connection" "phase"] "1 for the phase that it is in, 0 for the others: `connecting`, `open`, `closing`, `waiting`, `paused`, `closed`",
    CONNECTION_SOCKETS: counter "actix_ws_connection_sockets_total" Count ["connection"] "sockets that were opened: the first, and one for each reconnect",
    CONNECTION_FAILURES: counter "actix_ws_connection_failures_total" Count ["connection" "reason"] "dials that failed and sockets that were lost, by the stage that failed, such as `dns`, `refused`, `io`, `silent`, `closed`: why it reconnected",
    LINE_UP: gauge "actix_ws_line_up" Count ["feed" "shard" "line"] "1 while the line is active, else 0; also 0 once it has ended",
    LINE_STATE: gauge "actix_ws_line_state" Count ["feed" "shard" "line" "state"] "1 for the state that it is in, 0 for the others",
    LINE_SOCKETS: counter "actix_ws_line_sockets_total" Count ["feed" "shard" "line"] "sockets that were opened: the first, and one for each reconnect",
    LINE_FAILURES: counter "actix_ws_line_failures_total" Count ["feed" "shard" "line" "reason"] "as of a connection; `session` is a login that was refused, or a question without an answer",
    LINE_LAG: gauge "actix_ws_line_lag_seconds" Seconds ["feed" "shard" "line" "quantile"] "how far it is behind the first line that brings an update, over its newest 64 updates; `0.5` and `0.99`",
    SHARD_UP: gauge "actix_ws_shard_up" Count ["feed" "shard"] "1 while one of its lines is active, else 0; also 0 once it has ended",
    SHARD_QUEUED: gauge "actix_ws_shard_queued_events" Count ["feed" "shard"] "events that wait for the recipients; above 4,096 its lines are held",
    SHARD_GAPS: counter "actix_ws_shard_gaps_total" Count ["feed" "shard"] "gaps that were reported",
    FEED_UP: gauge "actix_ws_feed_up" Count ["feed"] "1 while each of its shards has a line that is active, else 0; also 0 once it has ended",
    FEED_SHARDS: gauge "actix_ws_feed_shards" Count ["feed"] "shards",
    FEED_TOPICS: gauge "actix_ws_feed_topics" Count ["feed" "state"] "topics that are `wanted`, and those of them that are `confirmed`, `refused` and `unsynced`: without a snapshot, though it was asked for",
    BUDGET_DIALS_LEFT: gauge "actix_ws_budget_dials_left" Count ["budget"] "dials that may begin now, by the fullest window of the budget",
    BUDGET_SOCKETS_LEFT: gauge "actix_ws_budget_sockets_left" Count ["budget"] "sockets that may be opened beside those that are open",
}

/// The figures of a feed.
pub(crate) static FEED: &[Figure<FeedFigures>] = &[
    Figure {
        metric: metric!(counter "actix_ws_feed_updates_total", Count, FEEDS, "updates that were delivered"),
        get: |it| it.delivered as f64,
    },
    Figure {
        metric: metric!(counter "actix_ws_feed_gaps_total", Count, FEEDS, "gaps that were reported"),
        get: |it| it.gaps as f64,
    },
    Figure {
        metric: metric!(counter "actix_ws_feed_duplicates_total", Count, FEEDS, "updates that were dropped because they had been delivered before"),
        get: |it| it.duplicates as f64,
    },
    Figure {
        metric: metric!(counter "actix_ws_feed_late_total", Count, FEEDS, "updates that were dropped because they filled a gap that had been reported"),
        get: |it| it.late as f64,
    },
    Figure {
        metric: metric!(counter "actix_ws_feed_unwanted_total", Count, FEEDS, "updates that were dropped because their topic was not wanted"),
        get: |it| it.unwanted as f64,
    },
    Figure {
        metric: metric!(counter "actix_ws_feed_unmatched_answers_total", Count, FEEDS, "answers of the venue that fitted no request"),
        get: |it| it.unmatched as f64,
    },
    Figure {
        metric: metric!(counter "actix_ws_feed_requests_total", Count, FEEDS, "requests that were sent to the venue"),
        get: |it| it.requests as f64,
    },
    Figure {
        metric: metric!(counter "actix_ws_feed_skipped_total", Count, FEEDS, "updates that were replaced by newer ones, because a handler was too slow, counted for each handler"),
        get: |it| it.skipped as f64,
    },
    Figure {
        metric: metric!(counter "actix_ws_feed_resyncs_total", Count, FEEDS, "snapshots that were delivered with the updates after them"),
        get: |it| it.resyncs as f64,
    },
    Figure {
        metric: metric!(counter "actix_ws_feed_snapshots_asked_total", Count, FEEDS, "snapshots that were asked for"),
        get: |it| it.asks as f64,
    },
    Figure {
        metric: metric!(counter "actix_ws_feed_rotations_total", Count, FEEDS, "lines that were replaced by a rotation"),
        get: |it| it.rotations as f64,
    },
];

/// The figures of a line that are not those of its connection. They begin anew with each socket, and so are gauges.
pub(crate) static LINE: &[Figure<LineStatus>] = &[
    Figure {
        metric: metric!(gauge "actix_ws_line_data_age_seconds", Seconds, LINES, "how long ago its last data came on the open socket"),
        get: |it| seconds(it.last_data),
    },
    Figure {
        metric: metric!(gauge "actix_ws_line_socket_updates", Count, LINES, "updates that it has brought on the open socket"),
        get: |it| it.updates as f64,
    },
    Figure {
        metric: metric!(gauge "actix_ws_line_socket_firsts", Count, LINES, "those of them that it brought before any other line"),
        get: |it| it.firsts as f64,
    },
];

/// The names of the states of a line.
pub(crate) const STATES: [&str; 8] =
    ["waiting", "dialling", "logging_in", "subscribing", "active", "silent", "draining", "down"];

/// Returns all metrics.
fn all() -> impl Iterator<Item = &'static Export> {
    let figures = FIGURES.iter().flat_map(|it| [&it.connection.metric, &it.line.metric]);
    let lines = LINE.iter().map(|it| &it.metric);
    let feeds = FEED.iter().map(|it| &it.metric);
    SINGLE.iter().copied().chain(figures).chain(lines).chain(feeds)
}

pub(crate) fn describe() {
    all().for_each(Export::describe);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Returns all metrics, those of publishers too.
    fn all() -> Vec<&'static Export> {
        let all = super::all();
        #[cfg(feature = "nats")]
        let all = all.chain(crate::metrics::publisher::all());
        all.collect()
    }

    /// The row of a metric in the documents.
    fn row(metric: &Export) -> String {
        let Export { name, kind, labels, help, .. } = metric;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{name}` | {kind} | {} | {help} |", labels.join(", "))
    }

    #[test]
    fn the_documents_have_every_metric() {
        let docs = include_str!("../../docs/metrics.md");
        // Without the feature they are not built.
        let is_built =
            |line: &&str| cfg!(feature = "nats") || !line.starts_with("| `actix_ws_publisher_");
        let found = docs.lines().filter(|line| line.starts_with("| `actix_ws_")).filter(is_built);
        let found: BTreeSet<&str> = found.collect();
        let rows: BTreeSet<String> = all().into_iter().map(row).collect();
        let rows: BTreeSet<&str> = rows.iter().map(String::as_str).collect();
        let missing: Vec<_> = rows.difference(&found).collect();
        let strange: Vec<_> = found.difference(&rows).collect();
        assert!(
            missing.is_empty() && strange.is_empty(),
            "missing: {missing:#?}\nstrange: {strange:#?}"
        );
    }

    #[test]
    fn names_and_units_are_those_of_prometheus() {
        for metric in all() {
            let name = metric.name;
            assert_eq!(name.ends_with("_total"), matches!(metric.kind, Kind::Counter), "{name}");
            let unit = name.trim_end_matches("_total");
            assert_eq!(unit.ends_with("_seconds"), matches!(metric.unit, Unit::Seconds), "{name}");
            assert_eq!(unit.ends_with("_bytes"), matches!(metric.unit, Unit::Bytes), "{name}");
            assert!(!metric.labels.contains(&"topic"), "{name}: topics are not bounded");
        }
        assert_eq!(all().iter().map(|it| it.name).collect::<BTreeSet<_>>().len(), all().len());
    }
}
