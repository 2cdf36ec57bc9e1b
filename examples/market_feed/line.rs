//! The figures of one line, which is one supervised connection.

use std::io;
use std::time::{Duration, Instant};

use actix_ws_client::Error;
use actix_ws_client::feed::LineId;
use actix_ws_client::feed::event::{Cause, LineIs, WaitFor};

/// One line.
#[derive(Clone)]
pub(crate) struct Line {
    /// `None`: the only connection to a plain server.
    pub(crate) id: Option<LineId>,
    pub(crate) name: String,
    pub(crate) is: Is,
    /// The sockets that were opened.
    pub(crate) sockets: u64,
    /// Whether a socket is open.
    pub(crate) is_open: bool,
    pub(crate) outages: Outages,
    /// Dials that were answered with an error status.
    pub(crate) refused: u64,
    pub(crate) round_trip: Option<Duration>,
    pub(crate) last_trouble: Option<String>,
}

/// What a line is doing.
#[derive(Clone)]
pub(crate) enum Is {
    Dialling,
    LoggingIn,
    Subscribing,
    Live,
    Silent,
    Closing,
    /// This program has closed it, because another line has its place.
    Closed,
    /// A limit that all lines share keeps it from dialling.
    Limited,
    /// It is down until the next dial, if there is one.
    Down(Option<Instant>),
}

/// The number of lost sockets, by cause.
#[derive(Clone, Copy, Default)]
pub(crate) struct Outages {
    pub(crate) dropped: u64,
    pub(crate) silent: u64,
    pub(crate) closed: u64,
    pub(crate) other: u64,
}

impl Outages {
    pub(crate) fn total(&self) -> u64 {
        self.dropped + self.silent + self.closed + self.other
    }
}

/// What a change of a line means for its symbols.
pub(crate) enum Change {
    /// A dial has failed.
    DialFailed(String),
    /// The socket is lost.
    Outage(String),
    /// This program has closed it.
    Closed,
    Other,
}

impl Is {
    pub(crate) fn words(&self, now: Instant) -> String {
        match self {
            Is::Dialling => "◌ dialling".into(),
            Is::LoggingIn => "◌ logging in".into(),
            Is::Subscribing => "◌ subscribing".into(),
            Is::Live => "● live".into(),
            Is::Silent => "◐ silent".into(),
            Is::Closing => "· closing".into(),
            Is::Closed => "· closed".into(),
            Is::Limited => "○ shared limit".into(),
            Is::Down(None) => "○ down".into(),
            Is::Down(Some(at)) => {
                format!("○ dials in {:.1} s", at.saturating_duration_since(now).as_secs_f64())
            }
        }
    }
}

impl Line {
    pub(crate) fn new(id: Option<LineId>) -> Line {
        Line {
            id,
            name: id.map_or_else(|| "socket".into(), |id| id.to_string()),
            is: Is::Dialling,
            sockets: 0,
            is_open: false,
            outages: Outages::default(),
            refused: 0,
            round_trip: None,
            last_trouble: None,
        }
    }

    /// Whether both carry the same symbols.
    pub(crate) fn is_twin(&self, other: &Line) -> bool {
        self.id.zip(other.id).is_some_and(|(id, other)| id != other && id.shard == other.shard)
    }

    /// Notes a state that the feed reports.
    pub(crate) fn set(&mut self, state: LineIs, epoch: u64, now: Instant) -> Change {
        self.sockets = epoch;
        let is = match state {
            LineIs::Waiting { for_what: WaitFor::Delay(delay) } => Is::Down(now.checked_add(delay)),
            LineIs::Waiting { for_what: WaitFor::Budget(_) } => Is::Limited,
            LineIs::Waiting { .. } => Is::Down(None),
            LineIs::Dialling => Is::Dialling,
            LineIs::LoggingIn => Is::LoggingIn,
            LineIs::Subscribing { .. } => Is::Subscribing,
            LineIs::Active => Is::Live,
            LineIs::Silent { .. } => Is::Silent,
            LineIs::Draining => Is::Closing,
            LineIs::Down { cause } => return self.down(cause.as_ref()),
            _ => return Change::Other,
        };
        self.is_open |= matches!(is, Is::LoggingIn | Is::Subscribing | Is::Live);
        self.is = is;
        Change::Other
    }

    /// Notes the end of the open socket, or of a dial.
    pub(crate) fn down(&mut self, cause: Option<&Cause>) -> Change {
        (self.is, self.round_trip) = (Is::Down(None), None);
        let was_open = std::mem::replace(&mut self.is_open, false);
        let Some(cause) = cause else {
            self.is = Is::Closed;
            return Change::Closed;
        };
        let words = words(cause);
        self.last_trouble = Some(words.clone());
        let error = match cause {
            Cause::Connection(error) => Some(error),
            _ => None,
        };
        if !was_open {
            self.refused += u64::from(matches!(error, Some(Error::Refused(_))));
            return Change::DialFailed(words);
        }
        match error {
            Some(Error::Io(_)) => self.outages.dropped += 1,
            Some(Error::Closed(_)) => self.outages.closed += 1,
            Some(Error::PeerSilent { .. }) | None => self.outages.silent += 1,
            Some(_) => self.outages.other += 1,
        }
        Change::Outage(words)
    }
}

/// Formats a failure in few words, to fit into the table.
fn words(cause: &Cause) -> String {
    match cause {
        Cause::Connection(Error::Io(err)) if err.kind() == io::ErrorKind::UnexpectedEof => {
            "dropped without a Close".into()
        }
        Cause::Connection(Error::Io(err)) if err.kind() == io::ErrorKind::ConnectionReset => {
            "dropped by a reset".into()
        }
        Cause::Connection(Error::PeerSilent { after, .. }) => {
            format!("silent for {:.1} s", after.as_secs_f64())
        }
        Cause::Connection(Error::Closed(Some(frame))) => {
            let (code, reason) = (frame.code().value(), frame.reason());
            format!("closed with {code}{}{reason}", if reason.is_empty() { "" } else { ": " })
        }
        Cause::Connection(Error::Refused(refusal)) => match refusal.retry_after() {
            Some(after) => format!("status {}, Retry-After {} s", refusal.status, after.as_secs()),
            None => format!("status {}", refusal.status),
        },
        other => other.to_string(),
    }
}
