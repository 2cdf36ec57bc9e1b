//! The topics of one feed, shared between processes: what users call.

mod bucket;
mod event;
mod figures;
mod options;
mod task;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use tokio::sync::{mpsc, oneshot};

use crate::feed::{Feed, Topic};
use crate::nats::broker::Broker;
use crate::nats::error::Error;
use crate::nats::plan::Plan;
use crate::nats::publisher::PublisherHandle;
use crate::nats::shares::bucket::Bucket;
use crate::nats::shares::task::{Command, Start, Task};

pub(crate) use crate::nats::shares::figures::Counted;

pub use crate::nats::shares::event::{ChangeError, Changed, ShareEvent};
pub use crate::nats::shares::figures::ShareFigures;
pub use crate::nats::shares::options::Shares;

impl Shares {
    /// Opens the bucket, or creates it with as many replicas as the stream has, and becomes a member. While the broker is
    /// not reached it tries again, without end.
    ///
    /// # Errors
    /// An option that cannot be, or a bucket that cannot be used.
    pub async fn start<T: Clone + Send + 'static>(
        self,
        broker: &Broker,
        feed: &Addr<Feed<T>>,
        publisher: &PublisherHandle,
    ) -> Result<SharesHandle, Error> {
        self.check()?;
        let plan = Plan::new(self.topics.iter().cloned(), self.per_share);
        let bucket = Bucket::open(broker, &self.bucket, self.lease).await?;
        let (commands, received) = mpsc::channel(COMMANDS);
        let counted = Arc::new(Counted::default());
        counted.set_all(plan.shares());
        let start = Start {
            shares: self.counted_by(counted.clone()),
            counted: counted.clone(),
            plan,
            bucket,
            commands: received,
        };
        let task = Task::new(start, feed.downgrade(), publisher.clone());
        actix_rt::spawn(task.run());
        Ok(SharesHandle { commands, counted })
    }

    /// Has each event counted before it is reported.
    fn counted_by(mut self, counted: Arc<Counted>) -> Shares {
        let on_event = self.on_event;
        self.on_event = Arc::new(move |event| {
            counted.handle(&event);
            on_event(event);
        });
        self
    }
}

/// How many commands may wait. A caller waits while there are as many.
const COMMANDS: usize = 8;

/// A way to the shares of a process. When the last one is dropped its shares are released.
#[derive(Clone, Debug)]
pub struct SharesHandle {
    commands: mpsc::Sender<Command>,
    counted: Arc<Counted>,
}

impl SharesHandle {
    /// Hands all shares over to the other members, without a gap, and ends. What is not handed over within this time is
    /// released. The answer comes when everything is done, at the latest after this time and twice the lease.
    pub async fn leave(&self, within: Duration) {
        let (reply, left) = oneshot::channel();
        let deadline = Instant::now() + within;
        if self.commands.send(Command::Leave { deadline, reply }).await.is_ok() {
            // It may have left by itself.
            let _ = left.await;
        }
    }

    /// Changes the topics, as long as no other process shares the feed.
    ///
    /// # Errors
    /// Another process shares it, or this one has left.
    pub async fn change<N: Into<Topic>>(
        &self,
        topics: impl IntoIterator<Item = N>,
    ) -> Result<Changed, ChangeError> {
        let (reply, answer) = oneshot::channel();
        let topics = topics.into_iter().map(Into::into).collect();
        let sent = self.commands.send(Command::Change { topics, reply }).await;
        sent.map_err(|_| ChangeError::Left)?;
        answer.await.unwrap_or(Err(ChangeError::Left))
    }

    /// Returns how many shares there are, and what this process is for them.
    pub fn figures(&self) -> ShareFigures {
        self.counted.figures()
    }

    /// Returns what counts the shares, which keeps none of them.
    #[cfg(feature = "metrics")]
    pub(crate) fn counted(&self) -> Arc<Counted> {
        self.counted.clone()
    }
}
