//! The commands of a feed, which its `Addr` takes. Always written with their module:
//! `feed::command::Add`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message};

use crate::command::status::{Failures, Figures as ConnectionFigures};
use crate::feed::event::{Gap, LineIs, TopicState, Update};
use crate::feed::figures::Figures;
use crate::feed::recipients::Recipients;
use crate::feed::said::Refusal;
use crate::feed::topic::{LineId, ShardId, Topic};

/// Adds topics to a feed.
///
/// Topics are counted: one that was added twice is subscribed once, and ends with its second removal.
/// The answer names each topic, as soon as the venue has confirmed or refused it.
#[derive(Debug, Message)]
#[rtype(result = "Vec<(Topic, Answer)>")]
pub struct Add {
    pub(crate) topics: Vec<Topic>,
    pub(crate) within: Option<Duration>,
}

impl Add {
    /// Creates the command for these topics.
    pub fn new<N: Into<Topic>>(topics: impl IntoIterator<Item = N>) -> Add {
        Add { topics: topics.into_iter().map(Into::into).collect(), within: None }
    }

    /// Sets how long the answer may take. Topics that are neither confirmed nor refused by then are
    /// answered with [`Answer::Pending`], and stay wanted. Default: no limit.
    pub fn within(mut self, time: Duration) -> Add {
        self.within = Some(time);
        self
    }

    /// Delivers the updates, gaps and states of these topics to an actor of their own, and no longer to the recipients
    /// of the builder, until the topics are removed. A topic that is added to several actors is delivered to all of
    /// them; an [`Add`] without this changes nothing about it.
    ///
    /// Events of lines, and gaps that belong to no topic, go to the recipients of the builder alone.
    ///
    /// All events of a shard wait in one queue: an actor that is slow with its topic holds the lines of the whole shard, as
    /// a slow recipient of the builder does.
    ///
    /// ```
    /// # use actix::{Actor, Addr, Handler};
    /// # use actix_ws_client::feed::event::{Gap, TopicState, Update};
    /// use actix_ws_client::feed::{Feed, command};
    ///
    /// # async fn add<A>(feed: Addr<Feed<f64>>, bitcoin: Addr<A>) -> Result<(), actix::MailboxError>
    /// # where
    /// #     A: Actor<Context = actix::Context<A>>
    /// #         + Handler<Update<f64>> + Handler<Gap> + Handler<TopicState>,
    /// # {
    /// feed.send(command::Add::new(["trade.BTC-USD"]).to(&bitcoin)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn to<T, A>(self, addr: &Addr<A>) -> AddTo<T>
    where
        T: Clone + Send + 'static,
        A: Actor + Handler<Update<T>> + Handler<Gap> + Handler<TopicState>,
        A::Context: ToEnvelope<A, Update<T>> + ToEnvelope<A, Gap> + ToEnvelope<A, TopicState>,
    {
        let mut own = Recipients::default();
        own.add_addr(addr);
        own.add::<Update<T>>(addr.clone().recipient());
        AddTo { add: self, own: Arc::new(own) }
    }
}

/// Adds topics that are delivered to an actor of their own. Made by [`Add::to`].
pub struct AddTo<T: Clone + Send + 'static> {
    pub(crate) add: Add,
    pub(crate) own: Arc<Recipients<T>>,
}

impl<T: Clone + Send + 'static> Message for AddTo<T> {
    type Result = Vec<(Topic, Answer)>;
}

impl<T: Clone + Send + 'static> fmt::Debug for AddTo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddTo").field("topics", &self.add.topics).finish_non_exhaustive()
    }
}

/// Removes topics from a feed. The answer names each topic, as soon as the venue does not send it any more;
/// no update of it is delivered after the command was accepted.
#[derive(Debug, Message)]
#[rtype(result = "Vec<(Topic, Answer)>")]
pub struct Remove {
    pub(crate) topics: Vec<Topic>,
    pub(crate) within: Option<Duration>,
}

impl Remove {
    /// Creates the command for these topics.
    pub fn new<N: Into<Topic>>(topics: impl IntoIterator<Item = N>) -> Remove {
        Remove { topics: topics.into_iter().map(Into::into).collect(), within: None }
    }

    /// Sets how long the answer may take. Topics that the venue still sends by then are answered with
    /// [`Answer::Pending`]. Default: no limit.
    pub fn within(mut self, time: Duration) -> Remove {
        self.within = Some(time);
        self
    }
}

/// What became of a topic of [`Add`] or [`Remove`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// The venue has confirmed the subscription.
    Confirmed,
    /// The venue has refused the subscription.
    Refused(Refusal),
    /// The topic is no longer wanted, and not subscribed.
    Removed,
    /// The topic is still wanted: it was added more often than it was removed.
    Kept,
    /// The time of the command is over.
    Pending,
    /// The feed is closed.
    Closed,
}

/// Asks for a snapshot of a topic, because the state that its recipient has built is not that of the venue: a checksum
/// shows it, for example. Its updates are held from then on, until the snapshot joins, see
/// [`Resync`](crate::feed::Resync).
///
/// What is on its way to the recipients is delivered before. Without
/// [`Builder::resync`](crate::feed::Builder::resync), for a topic that is not wanted, and while a snapshot is waited for, it
/// does nothing.
///
/// ```
/// # use actix::Addr;
/// # use actix_ws_client::feed::event::Update;
/// use actix_ws_client::feed::{Feed, command};
///
/// # fn check(feed: Addr<Feed<f64>>, update: Update<f64>, is_sound: bool) {
/// if !is_sound {
///     feed.do_send(command::Resync::new(&update.topic));
/// }
/// # }
/// ```
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Resync {
    pub(crate) topic: Topic,
}

impl Resync {
    /// Creates the command for a topic.
    pub fn new(topic: impl Into<Topic>) -> Resync {
        Resync { topic: topic.into() }
    }
}

/// Closes all lines and dials nothing until [`Resume`]. The topics stay wanted.
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "()")]
pub struct Pause;

/// Ends a [`Pause`]. Without one it does nothing.
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "()")]
pub struct Resume;

/// Replaces lines by new ones now, one after the other in each shard, see [`feed::Rotate`](crate::feed::Rotate). Each is
/// reported by an [`event::Rotated`](crate::feed::event::Rotated).
///
/// A line that has no open socket is left alone, and so is one that is being replaced already. One that loses its socket
/// before its turn is not replaced either, and not reported: its next socket is a new one.
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "()")]
pub struct Rotate {
    pub(crate) shard: Option<ShardId>,
}

impl Rotate {
    /// Creates the command for the lines of one shard. [`Rotate::default`] is about those of all shards.
    pub fn shard(shard: ShardId) -> Rotate {
        Rotate { shard: Some(shard) }
    }
}

/// Closes the feed for good. The answer comes when every line has ended, at the latest after the deadline
/// and 100 ms.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Close {
    pub(crate) deadline: Duration,
}

impl Close {
    /// Creates a close whose lines have this time for the closing handshake.
    pub fn within(deadline: Duration) -> Close {
        Close { deadline }
    }
}

impl Default for Close {
    /// Creates a close whose lines have 3 s for the closing handshake.
    fn default() -> Close {
        Close::within(Duration::from_secs(3))
    }
}

/// Asks for the state of the feed.
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "FeedStatus")]
pub struct Status;

/// The state of a feed at one moment.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FeedStatus {
    /// The lines, in the order of their shards.
    pub lines: Vec<LineStatus>,
    /// The figures of all shards together, also of those that have ended.
    pub figures: Figures,
    /// Why no line may dial any more, if the venue has refused the login for good.
    pub refusal: Option<Refusal>,
}

/// The state of one line at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LineStatus {
    /// The line.
    pub line: LineId,
    /// The newest opened socket; 0 before the first.
    pub epoch: u64,
    /// What it is doing.
    pub state: LineIs,
    /// The line whose place it is about to take, until the hand-over of a [rotation](crate::feed::Rotate).
    pub replaces: Option<LineId>,
    /// The figures of its shard.
    pub figures: Figures,
    /// The figures of its connection.
    pub connection: ConnectionFigures,
    /// How often its connection failed.
    pub failures: Failures,
    /// How long ago its last data came on this socket.
    pub last_data: Option<Duration>,
    /// The newest round trip of a ping on this socket.
    pub round_trip: Option<Duration>,
    /// Events that wait for the recipients.
    pub queued: usize,
    /// How far this line is behind the first one that brings an update, over its newest 64 measurements: the
    /// median. `None` without an open socket; zero for the only line.
    pub lag: Option<Duration>,
    /// The same for the slowest measurement in 100.
    pub lag_99: Option<Duration>,
    /// Updates that it has brought on this socket.
    pub updates: u64,
    /// Those of them that it brought before any other line.
    pub firsts: u64,
}
