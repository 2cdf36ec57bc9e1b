//! One export of the figures of a publisher and of its shares, and their metrics.

use metrics::{Label, Unit};

use crate::metrics::table::{Export, Figure, Kind, metric, seconds};
use crate::nats::{ShareFigures, Status};

/// Exports the state of a publisher, under a name.
pub fn publisher(name: &str, status: &Status) {
    let labels = labels(name);
    PUBLISHER_UP.export(&labels, f64::from(u8::from(status.is_connected)));
    PUBLISHER.iter().for_each(|figure| figure.export(&labels, status));
}

/// Marks a publisher that has ended as down.
pub(crate) fn end_publisher(name: &str) {
    PUBLISHER_UP.export(&labels(name), 0.0);
}

/// Exports how many shares a process has, under the name of its publisher.
pub fn shares(name: &str, figures: &ShareFigures) {
    for (state, count) in [
        ("all", figures.all),
        ("owned", figures.owned),
        ("standby", figures.standby),
        ("claimed", figures.claimed),
    ] {
        SHARES.export_with(&labels(name), "state", state.to_owned(), f64::from(count));
    }
}

fn labels(name: &str) -> Vec<Label> {
    vec![Label::new("publisher", name.to_owned())]
}

const PUBLISHERS: &[&str] = &["publisher"];

static PUBLISHER_UP: Export = metric!(gauge "actix_ws_publisher_up", Count, PUBLISHERS, "1 while the connection to the broker is open, else 0; also 0 once it has ended");

static SHARES: Export = metric!(gauge "actix_ws_publisher_shares", Count, &["publisher", "state"], "shares of the feed over `all` processes, and those that this process has `owned`, `standby` or `claimed`: asks for");

/// Expands to the figures of a publisher, each with its closure.
macro_rules! figures {
    ($($kind:ident $name:literal $unit:ident $help:literal $get:expr,)+) => {
        static PUBLISHER: &[Figure<Status>] = &[$(Figure {
            metric: metric!($kind concat!("actix_ws_publisher_", $name), $unit, PUBLISHERS, $help),
            get: $get,
        }),+];
    };
}

figures! {
    counter "connections_total" Count "connections to the broker that were opened: the first, and one for each loss" |it| it.connections as f64,
    counter "published_total" Count "messages that were sent to the broker, each counted once" |it| it.figures.published as f64,
    counter "acknowledged_total" Count "messages that were sent to the broker and are in the stream, each counted once" |it| it.figures.acknowledged as f64,
    counter "duplicates_total" Count "messages that were in the stream already" |it| it.figures.duplicates as f64,
    counter "retries_total" Count "publications that were sent again" |it| it.figures.repeated as f64,
    counter "dropped_total" Count "messages of topics that another owner publishes which are kept no longer" |it| it.figures.dropped as f64,
    counter "refused_total" Count "messages that the broker would never take, for their size" |it| it.figures.refused as f64,
    counter "fenced_total" Count "topics that were given up because their owner has a higher fence" |it| it.figures.fenced as f64,
    gauge "in_flight" Count "publications that wait for their acknowledgement, and questions for the last message of a topic" |it| it.figures.in_flight as f64,
    gauge "queued_messages" Count "messages that wait to be sent or acknowledged" |it| it.figures.waiting as f64,
    gauge "queued_bytes" Bytes "bytes of the payloads that wait to be sent or acknowledged" |it| it.figures.waiting_bytes as f64,
    gauge "kept_messages" Count "messages that are kept of topics that another owner publishes" |it| it.figures.kept as f64,
    gauge "last_acknowledgement_age_seconds" Seconds "how long ago a message was acknowledged, or found in the stream" |it| seconds(it.last_acknowledged),
    gauge "stalled_seconds" Seconds "how long messages have waited of which none was acknowledged; 0 if none waits" |it| it.stalled.unwrap_or_default().as_secs_f64(),
}

/// Returns all metrics of publishers.
pub(crate) fn all() -> impl Iterator<Item = &'static Export> {
    let figures = PUBLISHER.iter().map(Figure::metric);
    [&PUBLISHER_UP, &SHARES].into_iter().chain(figures)
}
