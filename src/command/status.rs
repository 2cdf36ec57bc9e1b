//! The state of a connection: its phase, its figures, and how its run ended.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytestring::ByteString;
use derive_more::Display;

use crate::budget::Limit;
use crate::error::Error;
use crate::headers::Headers;
use crate::proto::close::{CloseCode, CloseFrame};
use crate::proto::session::{By, Closure, PeerClose};
use crate::tls::TlsSession;

pub use crate::command::failures::Failures;
pub(crate) use crate::command::watch::Gauge;
pub use crate::command::watch::Watch;

/// The number of a connection, unique in the process.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(u64);

impl SourceId {
    /// The number in events that a test makes by hand; no connection has it.
    #[cfg(feature = "testing")]
    pub(crate) const BY_HAND: SourceId = SourceId(0);

    pub(crate) fn next() -> SourceId {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        SourceId(NEXT.fetch_add(1, Relaxed))
    }

    /// Returns the number that a connection had in the process that recorded it.
    #[cfg(feature = "record")]
    pub(crate) fn recorded(number: u64) -> SourceId {
        SourceId(number)
    }

    /// Returns the number.
    pub fn value(self) -> u64 {
        self.0
    }
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Phase {
    /// A dial is under way.
    #[display("connecting")]
    Connecting,
    /// A socket is open.
    #[display("open")]
    Open,
    /// The closing handshake is under way.
    #[display("closing")]
    Closing,
    /// Waiting for the time of the next dial.
    #[display("waiting")]
    Waiting,
    /// Paused by a command until it is resumed.
    #[display("paused")]
    Paused,
    /// Closed for good.
    #[display("closed")]
    Closed,
}

impl Phase {
    pub(crate) const ALL: [Phase; 6] = [
        Phase::Connecting,
        Phase::Open,
        Phase::Closing,
        Phase::Waiting,
        Phase::Paused,
        Phase::Closed,
    ];
}

/// What a connection in [`Phase::Waiting`] waits for.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitCause {
    /// The delay before the next dial: that of the policy, the server's `Retry-After`, or the connection's own
    /// dial limit.
    #[display("delay")]
    Delay,
    /// Handlers that are too slow: more than 32 events wait for them.
    #[display("handlers")]
    Handlers,
    /// A [`Budget`](crate::Budget) that the connection shares with others.
    #[display("budget: {_0}")]
    Budget(Limit),
}

impl WaitCause {
    pub(super) const ALL: [WaitCause; 6] = [
        WaitCause::Delay,
        WaitCause::Handlers,
        WaitCause::Budget(Limit::Dials),
        WaitCause::Budget(Limit::Sockets),
        WaitCause::Budget(Limit::RetryAfter),
        WaitCause::Budget(Limit::Probe),
    ];
}

/// What was agreed when a socket was opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Handshake {
    /// The reply's status, 101.
    pub status: u16,
    /// The reply's header lines.
    pub headers: Headers,
    /// The subprotocol that the server picked.
    pub subprotocol: Option<String>,
    /// The extensions that are in use.
    pub extensions: Option<String>,
    /// The peer's address, where the transport is TCP: through a proxy, the proxy's.
    pub peer: Option<SocketAddr>,
    /// TLS version and cipher suite, for `wss`.
    pub tls: Option<TlsSession>,
    /// How long each stage of the dial took.
    pub timings: Timings,
}

/// The duration of each stage of the dial that opened a socket; `None` if there was no such stage. The
/// stages follow one another, and so their sum is the duration of the dial. What a redirect repeats is
/// added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// The application's closures that run before the dial.
    pub handler: Option<Duration>,
    /// Looking up the host's name; next to nothing where it is an address, or the proxy looks it up.
    pub dns: Option<Duration>,
    /// Opening the TCP connection, or the application's own transport.
    pub connect: Option<Duration>,
    /// Reaching the proxy, and having it reach the host.
    pub proxy: Option<Duration>,
    /// Setting up TLS with the host.
    pub tls: Option<Duration>,
    /// From sending the upgrade request until its reply was read.
    pub upgrade: Option<Duration>,
}

impl Timings {
    /// Returns the duration of the dial.
    pub(crate) fn sum(&self) -> Duration {
        let Timings { handler, dns, connect, proxy, tls, upgrade } = *self;
        [handler, dns, connect, proxy, tls, upgrade].into_iter().flatten().sum()
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutcomeKind {
    /// The application closed it, or the server closed cleanly and the policy does not reconnect.
    #[display("closed")]
    Closed,
    /// A failure that another dial would only repeat.
    #[display("refused")]
    Refused,
    /// The attempts were used up.
    #[display("gave_up")]
    GaveUp,
    /// A failure that another dial might not meet, under a policy that does not reconnect.
    #[display("failed")]
    Failed,
}

/// What was accepted for sending on a socket and had not left when the socket ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unsent {
    /// Data messages, with one that was sent in part.
    pub(crate) messages: u64,
    /// Bytes of data frames.
    pub(crate) bytes: u64,
}

/// How a connection's run ended: what WebSocketApp's `run_forever` returns, for this run alone.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The kind of end.
    pub kind: OutcomeKind,
    /// The failure that ended the run; `None` where it was closed, or ended by a Close frame.
    pub error: Option<Error>,
    /// Code and reason of the first Close frame of the last socket, ours or the server's, if a socket was ever
    /// open; 1005 if that frame was empty, 1006 if there was none, or ours did not leave before the deadline.
    pub close: Option<(CloseCode, ByteString)>,
    /// Who sent the first Close frame of the last socket.
    pub by: By,
    /// Whether the last socket had a whole closing handshake: the server's Close frame came and ours left.
    /// `false` if no socket was ever open.
    pub clean: bool,
    /// The data messages that were accepted for the last socket and not sent, or not to their end. See
    /// [`event::Close::unsent_messages`](crate::event::Close::unsent_messages).
    pub unsent_messages: u64,
    /// The bytes of their frames that were not sent.
    pub unsent_bytes: u64,
    /// The Close frame that the server sent on the last socket, if it sent one.
    pub peer: Option<Box<PeerClose>>,
    /// How many sockets were opened.
    pub epochs: u64,
    /// How many dials were made.
    pub attempts: u64,
}

impl Outcome {
    /// Whether the run ended with a failure.
    pub fn errored(&self) -> bool {
        self.kind != OutcomeKind::Closed
    }

    /// Returns the outcome of a run that was closed, and the reason of any other end as an error.
    ///
    /// # Errors
    /// [`Error::Closed`] if a Close frame of the server's ended the run for good, which is no
    /// [`error`](Outcome::error); otherwise that error.
    ///
    /// ```no_run
    /// # async fn watch() -> Result<(), Box<dyn std::error::Error>> {
    /// let run = actix_ws_client::Connection::builder("wss://feed.example/").run();
    /// run.await?.into_result()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_result(self) -> Result<Outcome, Error> {
        match self.reason() {
            None => Ok(self),
            Some(error) => Err(error),
        }
    }

    /// Returns why the run ended; `None` if it was closed.
    fn reason(&self) -> Option<Error> {
        if !self.errored() {
            return None;
        }
        let closed = || {
            let (code, reason) = self.close.clone()?;
            CloseFrame::new(code, reason).ok()
        };
        Some(self.error.clone().unwrap_or_else(|| Error::Closed(closed())))
    }
}

impl fmt::Display for Outcome {
    /// Writes how the run ended and why: `closed with 1000`, or `refused: ` and the error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.reason()) {
            (OutcomeKind::GaveUp, Some(error)) => {
                write!(f, "gave up, dials: {}: {error}", self.attempts)
            }
            (kind, Some(error)) => write!(f, "{kind}: {error}"),
            (kind, None) => {
                let Some((code, reason)) = &self.close else { return kind.fmt(f) };
                let by = if self.by == By::Remote { " by the server" } else { "" };
                let colon = if reason.is_empty() { "" } else { ": " };
                write!(f, "{kind}{by} with {code}{colon}{reason}")
            }
        }
    }
}

/// The state of a connection at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// The connection's number.
    pub source: SourceId,
    /// The connection's name, if the builder gave one.
    pub name: Option<Arc<str>>,
    /// What it is doing.
    pub phase: Phase,
    /// What it waits for, in the phase `Waiting`.
    pub waiting_for: Option<WaitCause>,
    /// The newest opened socket, from 1; 0 before the first.
    pub epoch: u64,
    /// The number of the newest dial since the last stable socket, from 1; 0 before the first.
    pub attempt: u32,
    /// How long it has been in this phase.
    pub since: Duration,
    /// What was agreed for the open socket.
    pub handshake: Option<Arc<Handshake>>,
    /// The figures that [`Watch`] reads too.
    pub figures: Figures,
    /// How long the event at the head of the queue has been waiting in a full mailbox.
    pub blocked: Option<Duration>,
    /// How many recipients of events there are.
    pub handlers: usize,
    /// How the last socket that has ended was closed.
    pub last_close: Option<Closure>,
    /// The last failure. Once a socket is open again, at most 2 KiB of a refusal's body are kept.
    pub last_error: Option<Error>,
}

/// A connection's figures at one moment. Counts are since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// Data messages read.
    pub messages_in: u64,
    /// Bytes of frames read, inside TLS; those that came with the reply to the upgrade not counted.
    pub bytes_in: u64,
    /// Data messages accepted for sending.
    pub messages_out: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Dials made.
    pub attempts: u64,
    /// Dials that waited for a [`Budget`](crate::Budget).
    pub budget_waits: u64,
    /// How long ago the last byte came.
    pub last_byte: Option<Duration>,
    /// How long ago the last data message came.
    pub last_message: Option<Duration>,
    /// How long ago the open socket was opened; `None` while none is open.
    pub opened: Option<Duration>,
    /// Control frames read: Close, Ping and Pong.
    pub control_in: u64,
    /// Control frames queued for sending.
    pub control_out: u64,
    /// How long ago our last ping was sent.
    pub last_ping: Option<Duration>,
    /// How long ago the last pong came.
    pub last_pong: Option<Duration>,
    /// The newest round-trip time of one of our pings.
    pub round_trip: Option<Duration>,
    /// Events that wait for delivery to a handler.
    pub queued_events: u64,
    /// What they cost, in bytes.
    pub queued_bytes: u64,
    /// Bytes that wait to be written.
    pub unsent_bytes: u64,
    /// `command::Send`s that were refused.
    pub sends_refused: u64,
    /// Messages that were dropped because the handlers were too slow, see
    /// [`Overflow`](crate::Overflow).
    pub dropped: u64,
    /// Recipients of events whose actor has ended, by a panic or because it stopped. It is found out by the next
    /// event for it, at our next ping, or by `command::Status`.
    pub handlers_ended: u64,
    /// Kinds of event that no handler receives any more, because the last one that was registered for them has ended; 0
    /// if all is well. A new subscription takes its kind out. One that unsubscribed is not counted.
    pub unheard: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dial_took_as_long_as_its_stages() {
        let [handler, dns, connect, proxy, tls, upgrade] =
            [1, 2, 4, 8, 16, 32].map(|millis| Some(Duration::from_millis(millis)));
        let timings = Timings { handler, dns, connect, proxy, tls, upgrade };
        assert_eq!(timings.sum(), Duration::from_millis(63));
        assert_eq!(Timings { connect, ..Timings::default() }.sum(), Duration::from_millis(4));
    }

    #[test]
    fn an_outcome_says_how_and_why_the_run_ended() {
        let outcome = |kind, error, close: Option<(u16, &str)>, by| {
            let close = close.map(|(code, reason)| (CloseCode::from(code), reason.into()));
            Outcome {
                kind,
                error,
                close,
                by,
                peer: None,
                clean: true,
                unsent_messages: 0,
                unsent_bytes: 0,
                epochs: 1,
                attempts: 3,
            }
        };
        let silent = || Some(Error::PeerSilent { after: Duration::from_secs(30), idle: false });
        let cases = [
            (outcome(OutcomeKind::Closed, None, None, By::Nobody), "closed"),
            (outcome(OutcomeKind::Closed, None, Some((1000, "")), By::Local), "closed with 1000"),
            (
                outcome(OutcomeKind::Closed, None, Some((1001, "bye")), By::Remote),
                "closed by the server with 1001: bye",
            ),
            (
                outcome(OutcomeKind::Refused, None, Some((1008, "banned")), By::Remote),
                "refused: closed by the server with 1008: banned",
            ),
            (
                outcome(OutcomeKind::Failed, None, Some((1005, "")), By::Remote),
                "failed: closed by the server",
            ),
            (
                outcome(OutcomeKind::GaveUp, silent(), Some((1006, "")), By::Nobody),
                "gave up, dials: 3: the peer was silent for 30.0s: no answer to a ping within `ping_timeout`",
            ),
        ];
        for (outcome, text) in cases {
            assert_eq!(outcome.to_string(), text);
            let is_closed = outcome.kind == OutcomeKind::Closed;
            match outcome.into_result() {
                Ok(outcome) => assert!(is_closed, "{outcome}"),
                Err(error) => assert!(!is_closed && text.ends_with(&error.to_string()), "{error}"),
            }
        }
    }

    #[test]
    fn sources_are_unique() {
        assert_ne!(SourceId::next(), SourceId::next());
    }
}
