//! How snapshots are asked for, as the application sets it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::error::ConfigError;
use crate::feed::dialect::Failure;
use crate::feed::resync::rate::Rate;
use crate::feed::sequence::Sequence;
use crate::feed::topic::Topic;

/// How topics that consist of a snapshot and increments, such as order books, are synchronized again.
///
/// After the confirmation of a topic, after a gap, after an outage and after a restart of the venue its updates are held,
/// and a snapshot is asked for. Once it has come, it is delivered as an [`Update`](crate::feed::event::Update) with
/// `snapshot`, and the held updates that follow it are delivered behind it. So a recipient replaces its book by each
/// snapshot, and applies everything else.
///
/// A snapshot joins if the number after its last one is not before the first held update, also one that comes late. If
/// it does not come, or is too old, it is asked for again: after 3 s, 6 s, 12 s and so on, counted from each ask. After 5
/// asks the topic is [`Unsynced`](crate::feed::event::TopicIs::Unsynced): its updates are delivered behind a
/// [`Gap`](crate::feed::event::Gap), and the snapshot is asked for once more every 10 min.
///
/// At most 1,024 updates of a topic are held, from messages of at most 1 MiB, and 16 MiB in a shard; beyond that the
/// oldest are dropped.
///
/// ```
/// use actix_ws_client::feed::{Resync, SECOND, Sequence};
/// # struct Depth { last: u64, book: String }
/// # async fn get(url: String) -> Result<Depth, std::io::Error> {
/// #     Ok(Depth { last: 1, book: url })
/// # }
///
/// let resync = Resync::with(async |topic| {
///     let depth = get(format!("https://venue.example/depth?symbol={topic}")).await?;
///     Ok((Sequence::contiguous(depth.last, depth.last), depth.book))
/// })
/// .asks(10, SECOND)
/// .first_wait(3 * SECOND);
/// # drop(resync);
/// ```
#[derive(Clone)]
pub struct Resync<T> {
    pub(crate) ask: Option<AskMaker<T>>,
    pub(crate) rate: Rate,
    pub(crate) first_wait: Duration,
    pub(crate) is_resynced: Option<IsResynced>,
    /// Count and length of the limit, to be checked.
    limit: (u32, Duration),
    /// How the items that the closure returns are recorded.
    #[cfg(feature = "record")]
    pub(crate) stored: Option<Stored<T>>,
}

/// The closures of `Resync::stored`.
#[cfg(feature = "record")]
pub(crate) struct Stored<T> {
    pub(crate) write: Write<T>,
    pub(crate) read: Read<T>,
}

#[cfg(feature = "record")]
type Write<T> = Arc<dyn Fn(&T) -> Vec<u8> + Send + Sync>;
#[cfg(feature = "record")]
type Read<T> = Arc<dyn Fn(&[u8]) -> Result<T, Failure> + Send + Sync>;

#[cfg(feature = "record")]
impl<T> Clone for Stored<T> {
    fn clone(&self) -> Stored<T> {
        Stored { write: self.write.clone(), read: self.read.clone() }
    }
}

/// The closure of `Resync::with`.
pub(crate) type AskMaker<T> = Arc<dyn Fn(Topic) -> AskFuture<T> + Send + Sync>;

/// What the closure of `Resync::with` returns.
pub(crate) type AskFuture<T> = Pin<Box<dyn Future<Output = Result<(Sequence, T), Failure>>>>;

/// The closure of `Resync::topics`.
pub(crate) type IsResynced = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// The default limit of asks, and of the first wait.
const ASKS: (u32, Duration) = (10, Duration::from_secs(1));
const FIRST_WAIT: Duration = Duration::from_secs(3);

impl<T> Resync<T> {
    /// Asks by [`Dialect::snapshot`](crate::feed::Dialect::snapshot), on the socket of a line that has the topic. Where
    /// the venue has no such request, the topic is subscribed again.
    ///
    /// An ask is sent after logins, heartbeats and subscriptions, and counts against
    /// [`Rules::frames`](crate::feed::Rules::frames).
    pub fn by_dialect() -> Resync<T> {
        let rate = Rate::new(ASKS.0, ASKS.1);
        Resync {
            ask: None,
            rate,
            first_wait: FIRST_WAIT,
            is_resynced: None,
            limit: ASKS,
            #[cfg(feature = "record")]
            stored: None,
        }
    }

    /// Asks by an async closure: a request over HTTP, for example. It returns the snapshot, and the last number that it
    /// covers.
    ///
    /// The closure runs on the thread of the topic's lines, as several futures at a time, at most 256 for a shard. One
    /// that takes longer than 60 s is dropped. An error is logged, and the topic asked for again when the wait is over;
    /// after one that is [`for_good`](Failure::for_good) the topic is `Unsynced` at once.
    pub fn with<F>(ask: F) -> Resync<T>
    where
        F: AsyncFn(Topic) -> Result<(Sequence, T), Failure> + Send + Sync + 'static,
    {
        let ask = Arc::new(ask);
        let ask: AskMaker<T> = Arc::new(move |topic| {
            let ask = ask.clone();
            Box::pin(async move { ask(topic).await })
        });
        Resync { ask: Some(ask), ..Resync::by_dialect() }
    }

    /// Limits the asks in any period of this length, over all shards, and over all feeds that have a clone of this value.
    /// Default: 10 in a second.
    pub fn asks(mut self, count: u32, length: Duration) -> Resync<T> {
        (self.rate, self.limit) = (Rate::new(count, length), (count, length));
        self
    }

    /// Sets how long the first snapshot may take. Each further ask of the topic has twice the time of the one before.
    /// Default: 3 s.
    pub fn first_wait(mut self, wait: Duration) -> Resync<T> {
        self.first_wait = wait;
        self
    }

    /// Sets a closure that says which topics have snapshots. The others are delivered as without a `Resync`. Default: all.
    pub fn topics(mut self, has: impl Fn(&str) -> bool + Send + Sync + 'static) -> Resync<T> {
        self.is_resynced = Some(Arc::new(has));
        self
    }

    /// Sets how the snapshots that the closure of [`with`](Resync::with) returns are written into a recording of the feed, and
    /// read again by a [`Replay`](crate::feed::Replay), which does not call that closure. Default: they are not written,
    /// and a replay ends where the first of them is needed.
    ///
    /// ```
    /// use actix_ws_client::feed::{Resync, Sequence};
    ///
    /// let resync = Resync::with(async |_| Ok((Sequence::contiguous(1, 1), "a book".to_owned())))
    ///     .stored(|book| book.as_bytes().to_vec(), |bytes| Ok(String::from_utf8(bytes.to_vec())?));
    /// # drop(resync);
    /// ```
    #[cfg(feature = "record")]
    pub fn stored(
        mut self,
        write: impl Fn(&T) -> Vec<u8> + Send + Sync + 'static,
        read: impl Fn(&[u8]) -> Result<T, Failure> + Send + Sync + 'static,
    ) -> Resync<T> {
        self.stored = Some(Stored { write: Arc::new(write), read: Arc::new(read) });
        self
    }

    /// Refuses limits under which nothing could be asked for.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let (count, length) = self.limit;
        let problem = if count == 0 || length.is_zero() {
            Some(("resync: asks", "count and length must be above zero"))
        } else {
            self.first_wait.is_zero().then_some(("resync: first_wait", "must be above zero"))
        };
        problem.map_or(Ok(()), |(option, text)| Err(ConfigError::option(option, text)))
    }
}

impl<T> fmt::Debug for Resync<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resync")
            .field("by_dialect", &self.ask.is_none())
            .field("asks", &self.limit)
            .field("first_wait", &self.first_wait)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_under_which_nothing_is_asked_for_are_refused_by_name() {
        let refused = |resync: Resync<()>| resync.check().unwrap_err().to_string();
        let resync = Resync::by_dialect;
        assert!(refused(resync().asks(0, FIRST_WAIT)).starts_with("resync: asks: "));
        assert!(refused(resync().asks(1, Duration::ZERO)).starts_with("resync: asks: "));
        assert!(refused(resync().first_wait(Duration::ZERO)).starts_with("resync: first_wait: "));
        assert!(resync().check().is_ok());
    }
}
