//! What a feed and its shards say to each other.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::feed::command::{Answer, LineStatus};
use crate::feed::figures::Figures;
use crate::feed::recipients::Own;
use crate::feed::said::Refusal;
use crate::feed::topic::{ShardId, Topic};

/// What a feed asks of a shard.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) enum ToShard<T: Clone + Send + 'static> {
    Add(Vec<Wish<T>>),
    Remove(Vec<Wish<T>>),
    Pause,
    Resume,
    /// Replace the lines, one after the other.
    Rotate,
    /// The lines of these numbers, one bit for each, do not dial any more. Those that are open stay until they are
    /// lost.
    Refuse(u64),
    Close(Duration),
    Status(oneshot::Sender<ShardStatus>),
    /// The recipient of a topic needs a snapshot.
    Resync(Topic),
}

/// A topic, and who waits for what becomes of it.
pub(crate) struct Wish<T: Clone + Send + 'static> {
    pub(crate) topic: Topic,
    pub(crate) reply: Option<oneshot::Sender<Answer>>,
    /// Recipients of the topic's own.
    pub(crate) own: Option<Own<T>>,
}

/// What a shard reports to its feed.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) enum FromShard {
    /// These topics are neither wanted nor on a server.
    Left(ShardId, Vec<Topic>),
    /// No line of this number may dial any more, in any shard; without a number none at all.
    Refused(Option<u8>, Refusal),
    /// The same of a line that the venue has closed cleanly, where the options of its connection say that no dial follows.
    Closed(u8, Refusal),
    /// The shard has ended: the last report.
    Ended(ShardId, Figures),
}

/// The state of a shard.
#[derive(Debug, Default)]
pub(crate) struct ShardStatus {
    pub(crate) lines: Vec<LineStatus>,
    pub(crate) figures: Figures,
}
