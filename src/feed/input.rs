//! What a shard decides by, as values: its connections' events, and what it finds outside at each of its turns. A recorder
//! notes them, and a replay hands them to a shard again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytestring::ByteString;

use crate::budget::Limit;
use crate::command::status::SourceId;
use crate::error::Error;
use crate::feed::asking::Answer;
use crate::feed::dialect::Dial;
use crate::feed::topic::Topic;
use crate::feed::wall::Wall;
use crate::proto::close::CloseCode;

/// A socket is open.
pub(crate) struct Opened<D> {
    /// The number of the socket, of its connection.
    pub(crate) epoch: u64,
    /// The dial that led to it.
    pub(crate) dial: Dial<D>,
    pub(crate) at: Instant,
    pub(crate) wall: Wall,
    /// Random, from 0 to 1.
    pub(crate) share: f64,
}

/// A dial or a socket has failed.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) error: Error,
    /// The time until the next dial; `None` if there is none.
    pub(crate) after: Option<Duration>,
    /// Whether that is the venue's wish.
    pub(crate) is_asked_by_venue: bool,
    /// Why no further dial makes sense, if the application's closure said so.
    pub(crate) for_good: Option<Arc<str>>,
    /// Whether the connection has ended because another line takes its place.
    pub(crate) has_retired: bool,
    pub(crate) at: Instant,
}

/// A socket has ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// The Close frame of the venue, if it closed the socket.
    pub(crate) by_peer: Option<(CloseCode, ByteString)>,
    /// The time until the next dial; `None` if there is none.
    pub(crate) after: Option<Duration>,
    /// Whether the connection has ended because another line takes its place.
    pub(crate) has_retired: bool,
    pub(crate) at: Instant,
}

/// A connection has ended for good.
#[derive(Clone, Debug)]
pub(crate) struct Stopped {
    /// Why, if it was an error.
    pub(crate) error: Option<String>,
    /// Whether it was closed cleanly.
    pub(crate) is_closed: bool,
}

/// What a turn of a shard finds outside.
pub(crate) struct Turn<T> {
    pub(crate) now: Instant,
    pub(crate) wall: Wall,
    /// The limits of budgets that lines have begun to wait for.
    pub(crate) limits: Vec<(SourceId, Limit)>,
    /// What became of the requests of lines, where not all were sent.
    pub(crate) sent: Vec<Sent>,
    /// The topics of which a slow handler has missed increments.
    pub(crate) overruns: Vec<Topic>,
    /// The snapshots that came by the closure of `Resync::with`; `None` for a call that panicked.
    pub(crate) answers: Vec<Option<Answer<T>>>,
}

/// The requests of a line that wait for room in the send buffer of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) source: SourceId,
    /// How many more may be made.
    pub(crate) room: usize,
    /// Why one cannot be sent.
    pub(crate) unsent: Option<String>,
}

impl<T> Turn<T> {
    /// Creates a turn that finds nothing.
    pub(crate) fn new(now: Instant, wall: Wall) -> Turn<T> {
        let (limits, sent, overruns, answers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Turn { now, wall, limits, sent, overruns, answers }
    }
}
