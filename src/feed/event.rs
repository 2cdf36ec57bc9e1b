//! The events of a feed, which are delivered to its recipients. Always written with their module:
//! `feed::event::Update`.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::budget::Limit;
use crate::error::Error;
use crate::feed::figures::Figures;
use crate::feed::said::Refusal;
use crate::feed::sequence::Sequence;
use crate::feed::topic::{LineId, Topic};

/// One update of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Update<T> {
    /// The line that brought it.
    pub line: LineId,
    /// The opened socket of that line, from 1.
    pub epoch: u64,
    /// The topic that it belongs to.
    pub topic: Topic,
    /// Its number.
    pub sequence: Sequence,
    /// Whether it is the whole state of the topic.
    pub snapshot: bool,
    /// The number of older updates of the topic that it replaces, because the recipient was too slow, see
    /// [`Overflow::Latest`](crate::feed::Overflow::Latest).
    pub skipped: u64,
    /// When its last byte was read.
    pub received: Instant,
    /// Its contents.
    pub item: T,
}

/// All updates of one read in one envelope: the fast way. A [`Gap`], a [`TopicState`] or a [`LineState`]
/// ends a batch, so that the order is always kept.
#[derive(Clone, Debug)]
pub struct Batch<T> {
    updates: Vec<Update<T>>,
}

impl<T> Batch<T> {
    pub(crate) fn new(updates: Vec<Update<T>>) -> Batch<T> {
        Batch { updates }
    }
}

impl<T> Default for Batch<T> {
    fn default() -> Batch<T> {
        Batch::new(Vec::new())
    }
}

impl<T> Deref for Batch<T> {
    type Target = [Update<T>];

    fn deref(&self) -> &[Update<T>] {
        &self.updates
    }
}

impl<T> IntoIterator for Batch<T> {
    type Item = Update<T>;
    type IntoIter = std::vec::IntoIter<Update<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.updates.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Batch<T> {
    type Item = &'a Update<T>;
    type IntoIter = std::slice::Iter<'a, Update<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.updates.iter()
    }
}

/// Updates of a topic that no line brought.
#[derive(Clone, Debug, PartialEq, Eq, actix::Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct Gap {
    /// The line that it was noticed on.
    pub line: LineId,
    /// The opened socket of that line, from 1.
    pub epoch: u64,
    /// The topic; `None` if a number of the whole line is missing, which may be of any topic.
    pub topic: Option<Topic>,
    /// What is missing.
    pub missing: Missing,
    /// Why.
    pub cause: GapCause,
    /// When the last update before it was received, if there was one.
    pub last_at: Option<Instant>,
    /// When the first update after it was received, if there is one yet.
    pub next_at: Option<Instant>,
}

impl Gap {
    /// Creates the gap for an update that was dropped because the recipients were too slow.
    pub(crate) fn of_dropped<T>(update: &Update<T>) -> Gap {
        Gap {
            line: update.line,
            epoch: update.epoch,
            topic: Some(update.topic.clone()),
            missing: match (update.sequence.first(), update.sequence.last()) {
                (Some(from), Some(to)) => Missing::Range { from, to },
                _ => Missing::Unknown,
            },
            cause: GapCause::Overflow,
            last_at: None,
            next_at: None,
        }
    }
}

/// The numbers that are missing in a [`Gap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// These numbers, both included.
    Range {
        /// The first missing number.
        from: u64,
        /// The last missing number.
        to: u64,
    },
    /// What was between two updates, of unknown number.
    Between {
        /// The number of the last update before.
        last: u64,
        /// The number that the first update after names as the one before it.
        next: u64,
    },
    /// Unknown: the topic has no numbers, or none of them is known yet.
    Unknown,
}

/// Why updates are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GapCause {
    /// No line carried the topic.
    Outage,
    /// The venue left them out.
    Venue,
    /// The recipients were too slow.
    Overflow,
    /// The line was closed before the one that took its place was open, see
    /// [`Rotate::break_first`](crate::feed::Rotate::break_first).
    Rotation,
}

impl fmt::Display for GapCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GapCause::Outage => "outage",
            GapCause::Venue => "venue",
            GapCause::Overflow => "overflow",
            GapCause::Rotation => "rotation",
        })
    }
}

/// The state of a topic has changed.
#[derive(Clone, Debug, PartialEq, Eq, actix::Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct TopicState {
    /// The line that it changed on.
    pub line: LineId,
    /// The opened socket of that line, from 1.
    pub epoch: u64,
    /// The topic.
    pub topic: Topic,
    /// What it is now.
    pub state: TopicIs,
}

/// The state of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicIs {
    /// The venue has confirmed the subscription. Repeated in each session.
    Confirmed,
    /// The venue has refused the subscription. If not for good, it is asked for again, from 30 s on and at
    /// most once in 10 min.
    Refused(Refusal),
    /// No data has come for longer than [`Silence`](crate::feed::Silence) allows.
    Silent {
        /// When the last data came, or when the topic was confirmed.
        since: Instant,
    },
    /// Data has come again after a silence.
    Fresh,
    /// No snapshot has come after 5 asks, see [`Resync`](crate::feed::Resync). Updates are delivered behind a [`Gap`], and
    /// build on a state that is not known. Ends with the next snapshot.
    Unsynced,
}

/// The state of a line has changed.
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct LineState {
    /// The line.
    pub line: LineId,
    /// The newest opened socket of the line; 0 before the first.
    pub epoch: u64,
    /// What it is now.
    pub state: LineIs,
    /// With several lines, when the socket of one is lost: the number of topics without numbers that it led, and that
    /// another line leads from now on. Of each, as many updates may be missing or doubled as one of the lines is behind
    /// the other. Otherwise 0.
    pub led: usize,
}

/// The state of a line.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LineIs {
    /// It waits before it dials.
    Waiting {
        /// For what.
        for_what: WaitFor,
    },
    /// It dials.
    Dialling,
    /// The socket is open, and the login not answered yet.
    LoggingIn,
    /// The login was accepted, and some topics are neither confirmed nor refused yet.
    Subscribing {
        /// The number of those topics.
        left: usize,
    },
    /// Every wanted topic is confirmed or refused.
    Active,
    /// No topic of the line has brought data for half of [`Silence`](crate::feed::Silence)'s limit, and one
    /// for all of it.
    Silent {
        /// When the last data came.
        since: Instant,
    },
    /// The line is closing.
    Draining,
    /// The socket is lost, or a dial has failed.
    Down {
        /// Why; `None` if the feed itself closed it.
        cause: Option<Cause>,
    },
}

impl LineIs {
    /// Returns the name of the state in lower case: `logging_in`. `wsup feed --json` and the metrics have the same names.
    pub fn name(&self) -> &'static str {
        match self {
            LineIs::Waiting { .. } => "waiting",
            LineIs::Dialling => "dialling",
            LineIs::LoggingIn => "logging_in",
            LineIs::Subscribing { .. } => "subscribing",
            LineIs::Active => "active",
            LineIs::Silent { .. } => "silent",
            LineIs::Draining => "draining",
            LineIs::Down { .. } => "down",
        }
    }
}

/// What a line waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitFor {
    /// The delay of the reconnect policy.
    Delay(Duration),
    /// A [`Resume`](crate::feed::command::Resume).
    Resume,
    /// A limit that the line shares with others: that of a [`Budget`](crate::Budget). Reported within 500 ms.
    Budget(Limit),
}

/// Why a line is down.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// The connection failed.
    Connection(Error),
    /// The session failed: the venue refused the login, or left a question without an answer.
    Session(Refusal),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Connection(err) => err.fmt(f),
            Cause::Session(refusal) => refusal.fmt(f),
        }
    }
}

/// The rotation of a line has ended.
#[derive(Clone, Debug, PartialEq, Eq, actix::Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct Rotated {
    /// The line that was to be replaced.
    pub from: LineId,
    /// The line that was started in its place. The same as `from` if it was closed first and dialled again.
    pub to: LineId,
    /// What came of it.
    pub outcome: Rotation,
    /// How long both lines carried the topics.
    pub overlap: Duration,
    /// Updates of all lines of the shard that were dropped meanwhile because they had been delivered before.
    pub duplicates: u64,
}

/// What came of a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rotation {
    /// The new line has taken the place of the old one, also where that was lost before all was ready.
    Done,
    /// The old line goes on as before. The next try follows after 10 min. One that was closed first is dialled on, without
    /// another try.
    #[non_exhaustive]
    Failed {
        /// Why.
        cause: Arc<str>,
    },
}

/// The feed has ended: the very last event, once.
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct Stopped {
    /// Why no line may dial any more; `None` if the feed was closed.
    pub refusal: Option<Refusal>,
    /// The figures at the end.
    pub figures: Figures,
}

impl<T: Send + 'static> actix::Message for Update<T> {
    type Result = ();
}

impl<T: Send + 'static> actix::Message for Batch<T> {
    type Result = ();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_state_is_a_word_of_its_own() {
        let states = [
            LineIs::Waiting { for_what: WaitFor::Resume },
            LineIs::Dialling,
            LineIs::LoggingIn,
            LineIs::Subscribing { left: 1 },
            LineIs::Active,
            LineIs::Silent { since: Instant::now() },
            LineIs::Draining,
            LineIs::Down { cause: None },
        ];
        let names: Vec<_> = states.iter().map(LineIs::name).collect();
        assert_eq!(
            names.join(" "),
            "waiting dialling logging_in subscribing active silent draining down"
        );
    }
}
