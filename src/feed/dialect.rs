//! How a venue talks: the one trait that the application implements.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::feed::request::Request;
use crate::feed::said::Said;
use crate::feed::topic::{LineId, RequestId, Topic};
use crate::options::Secret;
use crate::options::per_dial::Destination;
use crate::proto::message::View;

/// How a venue talks: how to log in, how to subscribe, and how to read its messages.
///
/// Each opened socket has a value of its own, made by the closure of
/// [`Feed::builder`](crate::feed::Feed::builder), so that no state of the protocol outlives its socket. A
/// panic in a method ends the feed's thread: parse without `unwrap`.
///
/// ```
/// use actix_ws_client::View;
/// use actix_ws_client::feed::{Dialect, Refusal, Request, RequestId, Said, Sequence, Topic, Which};
///
/// /// `1 a,b` subscribes to a and b; the answer is `ok 1`. An update is `a 17 60000.5`.
/// struct Venue;
///
/// impl Dialect for Venue {
///     type Item = f64;
///
///     fn subscribe(&mut self, id: RequestId, topics: &[Topic]) -> Request {
///         Request::text(format!("{id} {}", topics.join(",")))
///     }
///
///     fn read<'m>(&mut self, message: View<'m>) -> Said<'m, f64> {
///         let mut words = message.as_text().unwrap_or_default().split(' ');
///         match (words.next(), words.next(), words.next()) {
///             (Some("ok"), Some(id), _) => {
///                 id.parse().map_or(Said::Nothing, |id| Said::Confirmed(Which::Request(id)))
///             }
///             (Some(topic), Some(number), Some(price)) => match (number.parse(), price.parse()) {
///                 (Ok(number), Ok(price)) => {
///                     Said::data(topic, Sequence::contiguous(number, number), price)
///                 }
///                 _ => Said::Nothing,
///             },
///             _ => Said::Nothing,
///         }
///     }
/// }
/// ```
pub trait Dialect: Send + 'static {
    /// What an update contains.
    type Item: Clone + Send + 'static;

    /// Returns the login, made when it may be sent, so that its time stamp is fresh. Default: none; the
    /// session subscribes as soon as the socket is open.
    fn login(&mut self) -> Option<Request> {
        None
    }

    /// Returns the kind of a topic. The topics of one request are of one kind: a channel, for example, where
    /// a request names a single one. Default: all topics are of one kind.
    fn kind<'t>(&self, topic: &'t str) -> &'t str {
        &topic[..0]
    }

    /// Returns the request for these topics, at least one. It is called again, with a new id and fewer
    /// topics, if the request is larger than [`Rules::frame_bytes`](crate::feed::Rules::frame_bytes); the
    /// larger one is not sent.
    fn subscribe(&mut self, id: RequestId, topics: &[Topic]) -> Request;

    /// Returns the request that ends these subscriptions, at least one. Default: `None`, the venue has no
    /// such request. Then updates of removed topics are dropped until the next session.
    fn unsubscribe(&mut self, id: RequestId, topics: &[Topic]) -> Option<Request> {
        let _ = (id, topics);
        None
    }

    /// Returns the request for the whole state of a topic, with [`Resync::by_dialect`](crate::feed::Resync::by_dialect).
    /// The answer is to be read as [`Said::snapshot`](crate::feed::Said::snapshot); one that refuses it counts as
    /// unmatched, and the request is made again when its time is over. Default: `None`, the venue has no such request. Then
    /// the topic is subscribed again, except for its first snapshot, which the subscription itself should bring.
    fn snapshot(&mut self, id: RequestId, topic: &Topic) -> Option<Request> {
        let _ = (id, topic);
        None
    }

    /// Returns the venue's own heartbeat, which is sent every
    /// [`Rules::heartbeat`](crate::feed::Rules::heartbeat), beside the pings of WebSocket. Default: none.
    fn heartbeat(&mut self) -> Option<Request> {
        None
    }

    /// Reads a message. Called once for each message, in order, on the feed's thread.
    ///
    /// An implementation may declare plain `&mut self`, unless it returns a topic that is borrowed from
    /// itself: from a buffer that it inflates messages into, or from a table of channels.
    fn read<'m>(&'m mut self, message: View<'m>) -> Said<'m, Self::Item>;

    /// Returns what the closure of [`Feed::builder`](crate::feed::Feed::builder) returns: this dialect, and
    /// the URL to dial with it.
    fn at(self, url: impl Into<String>) -> Dial<Self>
    where
        Self: Sized,
    {
        let destination = Destination::new(url);
        Dial { dialect: self, destination, headers: Vec::new(), heartbeat_every: None, attempt: 0 }
    }
}

/// A dial of a line: where to, and the dialect for the session that it opens. Made by [`Dialect::at`].
#[must_use]
pub struct Dial<D> {
    pub(crate) dialect: D,
    pub(crate) destination: Destination,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) heartbeat_every: Option<Duration>,
    /// The number of the attempt that it was made for.
    pub(crate) attempt: u32,
}

impl<D> Dial<D> {
    /// Adds a header line to the upgrade request, as
    /// [`ConnectionBuilder::headers_with`](crate::ConnectionBuilder::headers_with) would.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Dial<D> {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the local address of the socket, as
    /// [`ConnectionBuilder::bind_address`](crate::ConnectionBuilder::bind_address) does. Default: that of
    /// [`Builder::connection`](crate::feed::Builder::connection).
    ///
    /// With [`Builder::lines`](crate::feed::Builder::lines), lines that leave by different providers:
    /// `dial.bind_address(ADDRESSES[usize::from(attempt.line.line)])`.
    pub fn bind_address(mut self, ip: impl Into<IpAddr>) -> Dial<D> {
        self.destination.bind = Some(ip.into());
        self
    }

    /// Sets the proxy to dial through, as
    /// [`ConnectionBuilder::proxy`](crate::ConnectionBuilder::proxy) does. Default: that of
    /// [`Builder::connection`](crate::feed::Builder::connection). An invalid URL is refused at the dial, and ends
    /// the line.
    pub fn proxy(mut self, url: impl Into<String>) -> Dial<D> {
        self.destination.proxy = Some(Secret::new(url));
        self
    }

    /// Sets the time between two heartbeats of this session, where the venue announces it with a token.
    /// Default: [`Rules::heartbeat`](crate::feed::Rules::heartbeat).
    pub fn heartbeat_every(mut self, every: Duration) -> Dial<D> {
        self.heartbeat_every = Some(every);
        self
    }
}

impl<D> fmt::Debug for Dial<D> {
    /// Shows neither URL nor header lines, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial")
            .field("heartbeat_every", &self.heartbeat_every)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// The attempt that a [`Dial`] is made for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// The number of the attempt, as in `event::Error`: 1 is the first since the last stable socket.
    pub number: u32,
    /// The last failure of this line, if there was one.
    pub last_error: Option<Error>,
    /// The line that dials.
    pub line: LineId,
    /// Whether nothing is dialled: a replay of a recording needs the dialect alone. A closure
    /// that fetches a token first can return one without it.
    pub is_replay: bool,
}

impl Attempt {
    pub(crate) fn new(attempt: crate::options::Attempt, line: LineId) -> Attempt {
        let crate::options::Attempt { number, last_error } = attempt;
        Attempt { number, last_error, line, is_replay: false }
    }

    /// Creates the attempt that has led to a recorded socket.
    #[cfg(feature = "record")]
    pub(crate) fn replayed(number: u32, line: LineId) -> Attempt {
        Attempt { number, last_error: None, line, is_replay: true }
    }

    /// Returns one of a list: another one for each attempt, and for the lines of a shard.
    ///
    /// # Panics
    /// If the list is empty.
    pub fn pick<'a, U: ?Sized>(&self, list: &'a [&'a U]) -> &'a U {
        assert!(!list.is_empty(), "there is nothing to pick from");
        list[(self.number.saturating_sub(1) as usize + usize::from(self.line.line)) % list.len()]
    }
}

/// Why a [`Dial`] could not be made: no token, for example. The dial is retried as the policy says, unless
/// the failure is [`for_good`](Failure::for_good).
///
/// Any error converts to it, so that `?` works in the closure of
/// [`Feed::builder`](crate::feed::Feed::builder). It is no error itself. Its text is shown: keep secrets out
/// of it.
#[derive(Clone, Debug)]
pub struct Failure {
    pub(crate) reason: Arc<str>,
    pub(crate) for_good: bool,
}

impl Failure {
    /// Creates a failure that is retried.
    pub fn new(reason: impl fmt::Display) -> Failure {
        Failure { reason: reason.to_string().into(), for_good: false }
    }

    /// Makes it final: this line does not dial any more, nor the line of the same letter in any other shard. Without
    /// another line the feed ends.
    pub fn for_good(mut self) -> Failure {
        self.for_good = true;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(err: E) -> Failure {
        Failure::new(err)
    }
}

/// The closure of `Feed::builder`.
pub(crate) type DialMaker<D> = Arc<dyn Fn(Attempt) -> DialFuture<D> + Send + Sync>;

/// What the closure of `Feed::builder` returns.
pub(crate) type DialFuture<D> = Pin<Box<dyn Future<Output = Result<Dial<D>, Failure>>>>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::topic::ShardId;

    #[test]
    fn attempts_and_lines_pick_different_servers() {
        let pick = |number, line| {
            let line = LineId::new(ShardId(1), line);
            *Attempt { number, last_error: None, line, is_replay: false }.pick(&[&1, &2, &3])
        };
        assert_eq!([pick(1, 0), pick(2, 0), pick(4, 0)], [1, 2, 1]);
        assert_eq!([pick(1, 1), pick(0, 0), pick(u32::MAX, 255)], [2, 1, 3]);
    }
}
