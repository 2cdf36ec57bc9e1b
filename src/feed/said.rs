//! What a dialect read in a message.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::feed::request::Request;
use crate::feed::sequence::Sequence;
use crate::feed::topic::{RequestId, Topic};

/// All that one message of the venue says: what [`Dialect::read`](crate::feed::Dialect::read) returns.
///
/// A message that says several things is collected from several values, since `Said` implements
/// `FromIterator`.
///
/// ```
/// use actix_ws_client::feed::{Said, Sequence};
///
/// // Two trades of one message, and the number of the message on its line.
/// let said: Said<'_, f64> = [
///     Said::counted(17),
///     Said::data("trade.BTC-USD", Sequence::id(1), 60_000.0),
///     Said::data("trade.BTC-USD", Sequence::id(2), 60_001.0),
/// ]
/// .into_iter()
/// .collect();
/// # drop(said);
/// ```
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Said<'m, T> {
    /// An update of a topic.
    #[non_exhaustive]
    Data {
        /// The topic that it belongs to.
        topic: Name<'m>,
        /// Its number.
        sequence: Sequence,
        /// Its contents.
        item: T,
    },
    /// The whole state of a topic, on which later updates build.
    #[non_exhaustive]
    Snapshot {
        /// The topic that it belongs to.
        topic: Name<'m>,
        /// The last number that it covers.
        sequence: Sequence,
        /// Its contents.
        item: T,
    },
    /// What is built of this topic is not the state of the venue: a snapshot of it is needed.
    Resync(Name<'m>),
    /// The number that this message has on its line, whatever else it says. The numbers of a line follow
    /// one another.
    Counted(u64),
    /// The login was accepted.
    LoggedIn,
    /// The login was refused.
    LoginRefused(Refusal),
    /// A request to subscribe or unsubscribe was accepted.
    Confirmed(Which<'m>),
    /// A request to subscribe or unsubscribe was refused.
    Refused(Which<'m>, Refusal),
    /// The answer to a heartbeat: a sign of life, and no data.
    Alive,
    /// A challenge that has to be answered at once, with this request.
    Answer(Request),
    /// An announcement of the venue.
    Notice(Notice),
    /// Several things, in order.
    Many(Vec<Said<'m, T>>),
    /// Nothing that the feed has to know.
    #[default]
    Nothing,
}

impl<'m, T> Said<'m, T> {
    /// Creates an update of a topic.
    pub fn data(topic: impl Into<Name<'m>>, sequence: Sequence, item: T) -> Said<'m, T> {
        Said::Data { topic: topic.into(), sequence, item }
    }

    /// Creates the whole state of a topic. The last number of `sequence` is the last that it covers.
    pub fn snapshot(topic: impl Into<Name<'m>>, sequence: Sequence, item: T) -> Said<'m, T> {
        Said::Snapshot { topic: topic.into(), sequence, item }
    }

    /// Asks for a snapshot of a topic, because a checksum of the venue is not that of what was built. It is reported as a
    /// [`Gap`](crate::feed::event::Gap) of unknown size; updates that follow are held until the snapshot joins. Only with
    /// [`Builder::resync`](crate::feed::Builder::resync), and only for a topic that is live.
    ///
    /// A dialect that builds books checks that of a topic no more until it has read a snapshot. With
    /// [`Resync::with`](crate::feed::Resync::with), and on a line beside others, that may come another way: then let the
    /// recipient check, which sends [`command::Resync`](crate::feed::command::Resync).
    ///
    /// If a topic is found wrong again within 60 s after the snapshot, the next one is asked for after the first wait of
    /// the [`Resync`](crate::feed::Resync), then after twice as long each time; at the sixth time in a row the topic is
    /// [`Unsynced`](crate::feed::event::TopicIs::Unsynced).
    ///
    /// ```
    /// use actix_ws_client::feed::{Said, Sequence};
    ///
    /// # let (computed, checksum) = (1, 2);
    /// let mut said = vec![Said::data("book.BTC-USD", Sequence::contiguous(7, 7), "60000.5 0")];
    /// if computed != checksum {
    ///     said.push(Said::resync("book.BTC-USD"));
    /// }
    /// let said: Said<'_, &str> = said.into_iter().collect();
    /// # drop(said);
    /// ```
    pub fn resync(topic: impl Into<Name<'m>>) -> Said<'m, T> {
        Said::Resync(topic.into())
    }

    /// Creates the number that a message has on its line.
    pub fn counted(number: u64) -> Said<'m, T> {
        Said::Counted(number)
    }

    /// Creates a refused login.
    pub fn login_refused(refusal: Refusal) -> Said<'m, T> {
        Said::LoginRefused(refusal)
    }

    /// Creates an acknowledgement.
    pub fn confirmed(which: impl Into<Which<'m>>) -> Said<'m, T> {
        Said::Confirmed(which.into())
    }

    /// Creates a refusal.
    pub fn refused(which: impl Into<Which<'m>>, refusal: Refusal) -> Said<'m, T> {
        Said::Refused(which.into(), refusal)
    }

    /// Creates an answer to a challenge.
    pub fn answer(request: Request) -> Said<'m, T> {
        Said::Answer(request)
    }
}

impl<'m, T> FromIterator<Said<'m, T>> for Said<'m, T> {
    fn from_iter<I: IntoIterator<Item = Said<'m, T>>>(all: I) -> Said<'m, T> {
        Said::Many(all.into_iter().collect())
    }
}

/// The name of a topic in a message: borrowed from the message or from the dialect, or made for it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Name<'m> {
    /// Borrowed text.
    Text(&'m str),
    /// A borrowed topic.
    Topic(&'m Topic),
    /// Text that was put together.
    Owned(String),
}

impl Name<'_> {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        match self {
            Name::Text(text) => text,
            Name::Topic(topic) => topic,
            Name::Owned(text) => text,
        }
    }
}

impl<'m> From<&'m str> for Name<'m> {
    fn from(text: &'m str) -> Name<'m> {
        Name::Text(text)
    }
}

impl<'m> From<&'m Topic> for Name<'m> {
    fn from(topic: &'m Topic) -> Name<'m> {
        Name::Topic(topic)
    }
}

impl From<String> for Name<'_> {
    fn from(text: String) -> Self {
        Name::Owned(text)
    }
}

impl<'m> From<Cow<'m, str>> for Name<'m> {
    fn from(text: Cow<'m, str>) -> Name<'m> {
        match text {
            Cow::Borrowed(text) => Name::Text(text),
            Cow::Owned(text) => Name::Owned(text),
        }
    }
}

/// What an acknowledgement or a refusal is about.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Which<'m> {
    /// All topics of a request.
    Request(RequestId),
    /// These topics of a request. For all other topics of it the opposite holds: they are refused by an
    /// acknowledgement, and confirmed by a refusal.
    Of(RequestId, Vec<Name<'m>>),
    /// These topics, whichever request named them.
    Topics(Vec<Name<'m>>),
    /// All topics that the venue sends on this line, as an acknowledgement of the oldest request. A refusal of a set is a refusal of these
    /// topics.
    Set(Vec<Name<'m>>),
    /// All topics of the oldest request that has no answer: for a venue without ids, which answers in
    /// order.
    Oldest,
}

impl Which<'_> {
    /// Creates the topics of a list.
    pub fn topics<'m, N: Into<Name<'m>>>(names: impl IntoIterator<Item = N>) -> Which<'m> {
        Which::Topics(names.into_iter().map(Into::into).collect())
    }

    /// Creates the topics of a list, which are all that the venue sends on this line.
    pub fn set<'m, N: Into<Name<'m>>>(names: impl IntoIterator<Item = N>) -> Which<'m> {
        Which::Set(names.into_iter().map(Into::into).collect())
    }

    /// Creates some topics of a request.
    pub fn of<'m, N: Into<Name<'m>>>(
        id: RequestId,
        names: impl IntoIterator<Item = N>,
    ) -> Which<'m> {
        Which::Of(id, names.into_iter().map(Into::into).collect())
    }
}

impl From<RequestId> for Which<'_> {
    fn from(id: RequestId) -> Self {
        Which::Request(id)
    }
}

/// Why the venue refused something, and whether it may accept it later.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The venue's words.
    pub reason: Arc<str>,
    /// Whether the same request would be refused again. If so, it is not made again.
    pub for_good: bool,
}

impl Refusal {
    /// Creates a refusal that may be lifted later: the request is made again, from 30 s on and at most
    /// once in 10 min.
    pub fn for_now(reason: impl Into<Arc<str>>) -> Refusal {
        Refusal { reason: reason.into(), for_good: false }
    }

    /// Creates a refusal of a request that is not made again.
    pub fn for_good(reason: impl Into<Arc<str>>) -> Refusal {
        Refusal { reason: reason.into(), for_good: true }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// An announcement of the venue about the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The venue is about to end the line: another one should carry its topics within this time. Its
    /// [rotation](crate::feed::Rotate) begins at once. In the first minute of a socket the time is taken for its age: the
    /// rotation begins after half of it, and 5 s at least.
    RotateWithin(Duration),
    /// Maintenance: no request is sent and no deadline counts until `Resume`.
    Pause {
        /// The time after which the pause ends even without a `Resume`.
        at_most: Duration,
    },
    /// The maintenance is over.
    Resume,
    /// The line has to be dialled again.
    Reconnect,
}
