//! The exporter, which reads all figures from time to time.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use actix::{Addr, WeakRecipient};
use metrics::Label;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::budget::Budget;
use crate::command::status::Watch;
use crate::feed::command::{FeedStatus, Status};
use crate::feed::{Feed, LineId, ShardId};
use crate::metrics::once::{budget, connection, describe, feed};
use crate::metrics::table::{FEED_UP, LINE_UP, SHARD_UP};

/// Exports the figures of connections, feeds and budgets from time to time.
///
/// It keeps none of them alive. What has ended stays with its last figures and is down: a connection in the phase `closed`, and a feed, a
/// shard or a line with `up` 0.
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

    /// Exports everything once. A feed that takes longer than 2 s to answer is left out.
    pub async fn export(&mut self) {
        self.connections.iter().for_each(|(name, watch)| connection(name, watch));
        self.budgets.iter().for_each(|(name, of)| budget(name, of));
        for feed in &mut self.feeds {
            feed.export().await;
        }
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
            .finish()
    }
}
