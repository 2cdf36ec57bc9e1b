//! The exporter, which reads all figures from time to time.

use std::collections::BTreeSet;
use std::fmt;
#[cfg(feature = "nats")]
use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, WeakRecipient};
use metrics::Label;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::budget::Budget;
use crate::command::status::Watch;
use crate::feed::command::{FeedStatus, Status};
use crate::feed::{Feed, LineId, ShardId};
use crate::metrics::once::{budget, connection, describe, feed};
#[cfg(feature = "nats")]
use crate::metrics::publisher;
use crate::metrics::table::{FEED_UP, LINE_UP, SHARD_UP};
#[cfg(feature = "nats")]
use crate::nats::{Counted, PublisherHandle, SharesHandle, WeakPublisher};

/// Exports the figures of connections, feeds and budgets from time to time, and with the feature `nats` those of publishers.
///
/// It keeps none of them alive. What has ended stays with its last figures and is down: a connection in the phase `closed`, and a feed, a
/// shard, a line or a publisher with `up` 0.
///
/// ```no_run
/// use std::time::Duration;
///
/// use actix_ws_client::Connection;
/// use actix_ws_client::metrics::Exporter;
///
/// # async fn run() -> Result<(), actix_ws_client::ConfigError> {
/// // Before this, install a recorder, such as that of the crate `metrics-exporter-prometheus`.
/// let builder = Connection::builder("wss://feed.example/");
/// let exporter = Exporter::new().connection("example", builder.watch());
/// actix::spawn(exporter.run(Duration::from_secs(5)));
/// builder.run().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Exporter {
    connections: Vec<(String, Watch)>,
    feeds: Vec<WatchedFeed>,
    budgets: Vec<(String, Budget)>,
    #[cfg(feature = "nats")]
    publishers: Vec<(String, WeakPublisher)>,
    #[cfg(feature = "nats")]
    shares: Vec<(String, Arc<Counted>)>,
}

struct WatchedFeed {
    name: String,
    feed: WeakRecipient<Status>,
    /// The lines of the last export.
    lines: BTreeSet<LineId>,
}

/// How long a feed may take to answer. One that takes longer is left out of an export.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

impl Exporter {
    /// Creates an exporter that has nothing to export yet.
    pub fn new() -> Exporter {
        Exporter::default()
    }

    /// Adds a connection. The name is the value of the label `connection`.
    #[must_use]
    pub fn connection(mut self, name: impl Into<String>, watch: Watch) -> Exporter {
        self.connections.push((name.into(), watch));
        self
    }

    /// Adds a feed. The name is the value of the label `feed`.
    #[must_use]
    pub fn feed<T: Clone + Send + 'static>(
        mut self,
        name: impl Into<String>,
        feed: &Addr<Feed<T>>,
    ) -> Exporter {
        let feed = feed.downgrade().recipient();
        self.feeds.push(WatchedFeed { name: name.into(), feed, lines: BTreeSet::new() });
        self
    }

    /// Adds a budget. The name is the value of the label `budget`.
    #[must_use]
    pub fn budget(mut self, name: impl Into<String>, budget: &Budget) -> Exporter {
        self.budgets.push((name.into(), budget.clone()));
        self
    }

    /// Adds a publisher. The name is the value of the label `publisher`.
    #[cfg(feature = "nats")]
    #[must_use]
    pub fn publisher(mut self, name: impl Into<String>, publisher: &PublisherHandle) -> Exporter {
        self.publishers.push((name.into(), publisher.downgrade()));
        self
    }

    /// Adds the shares of a process. The name, that of the publisher, is the value of the label `publisher`.
    #[cfg(feature = "nats")]
    #[must_use]
    pub fn shares(mut self, name: impl Into<String>, shares: &SharesHandle) -> Exporter {
        self.shares.push((name.into(), shares.counted()));
        self
    }

    /// Exports everything once. A feed that takes longer than 2 s to answer is left out.
    pub async fn export(&mut self) {
        self.connections.iter().for_each(|(name, watch)| connection(name, watch));
        self.budgets.iter().for_each(|(name, of)| budget(name, of));
        #[cfg(feature = "nats")]
        self.export_published();
        for feed in &mut self.feeds {
            feed.export().await;
        }
    }

    #[cfg(feature = "nats")]
    fn export_published(&self) {
        for (name, publisher) in &self.publishers {
            match publisher.upgrade() {
                Some(handle) => publisher::publisher(name, &handle.status()),
                None => publisher::end_publisher(name),
            }
        }
        self.shares.iter().for_each(|(name, of)| publisher::shares(name, &of.figures()));
    }

    /// Describes the metrics, and exports everything at once and then after each period, until the future is dropped. It needs the
    /// runtime of actix or tokio. A period of zero counts as 1 ms.
    pub async fn run(mut self, period: Duration) {
        describe();
        let mut timer = interval(period.max(Duration::from_millis(1)));
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            timer.tick().await;
            self.export().await;
        }
    }
}

impl WatchedFeed {
    async fn export(&mut self) {
        let status = match self.feed.upgrade() {
            Some(feed) => match timeout(ANSWER_WITHIN, feed.send(Status)).await {
                Ok(answer) => answer.ok(),
                Err(_) => return,
            },
            None => None,
        };
        let is_over = status.is_none();
        let status = status.unwrap_or_default();
        if !is_over {
            feed(&self.name, &status);
        }
        self.end_others(&status, is_over);
    }

    /// Marks what is not there any more as down.
    fn end_others(&mut self, status: &FeedStatus, is_over: bool) {
        let lines: BTreeSet<LineId> = status.lines.iter().map(|line| line.line).collect();
        let shards: BTreeSet<ShardId> = lines.iter().map(|line| line.shard).collect();
        let feed = Label::new("feed", self.name.clone());
        for line in self.lines.difference(&lines) {
            let shard = Label::new("shard", line.shard.to_string());
            if !shards.contains(&line.shard) {
                SHARD_UP.export(&[feed.clone(), shard.clone()], 0.0);
            }
            LINE_UP.export(&[feed.clone(), shard, Label::new("line", line.to_string())], 0.0);
        }
        if is_over {
            FEED_UP.export(&[feed], 0.0);
        }
        self.lines = lines;
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter")
            .field("connections", &self.connections.len())
            .field("feeds", &self.feeds.len())
            .field("budgets", &self.budgets.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    use std::sync::{Arc, Mutex};

    use metrics::{
        Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
        with_local_recorder,
    };

    use super::*;
    use crate::command::status::Phase;
    use crate::connection::Connection;
    use crate::event::{Close, Open};
    use crate::feed::{Dialect, Request, RequestId, Said, Threads, Topic};
    use crate::proto::message::View;
    use crate::testing::{Probe, Script, Server};

    /// Keeps the value of each series.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<HashMap<String, Arc<AtomicU64>>>>);

    impl Kept {
        fn series(&self, key: &Key) -> Arc<AtomicU64> {
            let labels = key.labels().map(|label| format!("{}={}", label.key(), label.value()));
            let name = format!("{} {}", key.name(), labels.collect::<Vec<_>>().join(" "));
            self.0.lock().unwrap().entry(name).or_default().clone()
        }

        fn bits(&self, series: &str) -> u64 {
            let kept = self.0.lock().unwrap();
            let name = format!("actix_ws_{series}");
            kept.get(&name).unwrap_or_else(|| panic!("no {name}: {kept:?}")).load(Relaxed)
        }

        fn gauge(&self, series: &str) -> f64 {
            f64::from_bits(self.bits(series))
        }
    }

    impl Recorder for Kept {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.series(key))
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.series(key))
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    /// Runs a test with a recorder of its own.
    fn with(test: impl AsyncFnOnce(Kept)) {
        let kept = Kept::default();
        with_local_recorder(&kept, || actix::System::new().block_on(test(kept.clone())));
    }

    #[test]
    fn a_connection_has_its_phase_its_sockets_and_why_they_were_lost() {
        with(async |kept| {
            let lost = Script::accept().send_text("a").drop_connection();
            let server = Server::start([
                lost,
                Script::accept().send_close(1012, ""),
                Script::accept().echo(),
            ]);
            let probe = Probe::new();
            let quick = crate::Reconnect::fixed(Duration::from_millis(1));
            let builder = probe.attach(Connection::builder(server.url()).reconnect(quick));
            let watch = builder.watch();
            let mut exporter = Exporter::new().connection("c", watch.clone());
            let connection = builder.start().unwrap();
            for _ in 0..2 {
                probe.next::<Close>().await;
            }
            while probe.next::<Open>().await.epoch < 3 {}
            exporter.export().await;
            let counts = ["sockets_total", "messages_received_total", "dials_total"];
            let counts = counts.map(|it| kept.bits(&format!("connection_{it} connection=c")));
            assert_eq!(counts, [3, 1, 3]);
            for (reason, count) in [("io", 1), ("closed", 1), ("dns", 0)] {
                let series = format!("connection_failures_total connection=c reason={reason}");
                assert_eq!(kept.bits(&series), count, "{reason}");
            }
            assert_eq!(kept.gauge("connection_up connection=c"), 1.0);
            assert!(kept.gauge("connection_round_trip_seconds connection=c").is_nan());
            drop(connection);
            assert!(watch.wait_for(Phase::Closed).await);
            exporter.export().await;
            assert_eq!(kept.gauge("connection_up connection=c"), 0.0);
            assert_eq!(kept.gauge("connection_phase connection=c phase=open"), 0.0);
            assert_eq!(kept.gauge("connection_phase connection=c phase=closed"), 1.0);
        });
    }

    struct Mute;

    impl Dialect for Mute {
        type Item = ();

        fn subscribe(&mut self, _: RequestId, _: &[Topic]) -> Request {
            Request::text("subscribe")
        }

        fn read<'m>(&mut self, _: View<'m>) -> Said<'m, ()> {
            Said::Nothing
        }
    }

    #[cfg(feature = "nats")]
    #[test]
    fn a_publisher_has_its_figures_and_its_shares() {
        use crate::nats::{ShareFigures, Status};
        with(async |kept| {
            let mut status = Status::default();
            (status.is_connected, status.connections) = (true, 3);
            (status.figures.published, status.figures.acknowledged) = (9, 7);
            (status.figures.repeated, status.figures.waiting_bytes) = (5, 512);
            status.last_acknowledged = Some(Duration::from_millis(250));
            publisher::publisher("p", &status);
            let mut shares = ShareFigures::default();
            (shares.all, shares.owned, shares.standby, shares.claimed) = (12, 4, 3, 1);
            publisher::shares("p", &shares);
            let counts = ["connections", "published", "acknowledged", "retries"];
            let counts = counts.map(|it| kept.bits(&format!("publisher_{it}_total publisher=p")));
            assert_eq!(counts, [3, 9, 7, 5]);
            let gauge = |name: &str| kept.gauge(&format!("publisher_{name}"));
            assert_eq!(gauge("up publisher=p"), 1.0);
            assert_eq!(gauge("queued_bytes publisher=p"), 512.0);
            assert_eq!(gauge("last_acknowledgement_age_seconds publisher=p"), 0.25);
            assert_eq!(gauge("stalled_seconds publisher=p"), 0.0);
            let states = ["all", "owned", "standby", "claimed"];
            let states = states.map(|it| gauge(&format!("shares publisher=p state={it}")));
            assert_eq!(states, [12.0, 4.0, 3.0, 1.0]);
            publisher::end_publisher("p");
            assert_eq!(gauge("up publisher=p"), 0.0);
        });
    }

    #[test]
    fn a_feed_that_has_ended_is_down_with_its_lines() {
        with(async |kept| {
            let server = Server::start(Script::accept());
            let url = server.url();
            let feed = Feed::builder(async move |_| Ok(Mute.at(url.clone())));
            let feed = feed.threads(Threads::Here).topics(["a"]).start().unwrap();
            let mut exporter = Exporter::new().feed("f", &feed);
            exporter.export().await;
            assert_eq!(kept.gauge("feed_topics feed=f state=wanted"), 1.0);
            let ups =
                ["feed_up feed=f", "shard_up feed=f shard=1", "line_up feed=f shard=1 line=1a"];
            for up in ups {
                assert_eq!(kept.gauge(up), 0.0, "{up}");
                kept.0.lock().unwrap()[&format!("actix_ws_{up}")].store(1f64.to_bits(), Relaxed);
            }
            let closed = feed.send(crate::feed::command::Close::within(Duration::ZERO)).await;
            closed.unwrap();
            drop(feed);
            exporter.export().await;
            assert_eq!(ups.map(|up| kept.gauge(up)), [0.0; 3]);
        });
    }
}
