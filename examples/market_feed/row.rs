//! The figures of one symbol, as plain values: the time is an argument.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use actix_ws_client::proto::session::By;
use actix_ws_client::{Error, Phase, event};
use serde::Deserialize;

/// The fields of a message that are used here. Borrows from the message.
#[derive(Deserialize)]
pub(crate) struct Tick<'a> {
    /// The sequence number within the epoch.
    #[serde(default)]
    pub(crate) seq: Option<u64>,
    /// A number or a string, depending on the exchange.
    #[serde(default, borrow, alias = "p")]
    pub(crate) price: Option<Price<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Price<'a> {
    Number(f64),
    Text(&'a str),
}

/// One symbol, over one connection.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) phase: Phase,
    /// The number of the latest opened socket, from 1.
    pub(crate) epoch: u64,
    /// Whether a socket is open.
    open: bool,
    /// The number of the current or next dial.
    pub(crate) dial: u32,
    /// The time of the next dial.
    pub(crate) dial_at: Option<Instant>,
    pub(crate) messages: u64,
    /// Messages in the last beat and in the current one.
    beats: [u64; 2],
    pub(crate) round_trip: Option<Duration>,
    pub(crate) price: Option<f64>,
    /// Whether the last change of the price was a rise.
    pub(crate) up: bool,
    /// The number that the first message of an epoch must have; `None` accepts any.
    first: Option<u64>,
    /// The number that the next message must have.
    expected: Option<u64>,
    /// The first faults in the sequences, at most [`FAULTS`]. All are counted in `gaps`.
    pub(crate) faults: Vec<Fault>,
    pub(crate) gaps: u64,
    /// Outages by cause.
    pub(crate) outages: Outages,
    /// Dials that were refused with a status.
    pub(crate) refused: u64,
    /// The longest outage that is over.
    pub(crate) longest: Duration,
    /// The time when the last socket was lost; `None` while one is open.
    down: Option<Instant>,
    /// The error that ended it; `None` if it ended by a Close frame.
    cause: Option<Error>,
    pub(crate) last_error: Option<LastError>,
    /// The latest beats, at most [`BEATS`], the newest last.
    pub(crate) strip: VecDeque<Beat>,
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

/// A failure, as a short and as a long text.
#[derive(Clone)]
pub(crate) struct LastError {
    pub(crate) short: String,
    pub(crate) long: String,
}

/// What happened on a connection in half a second.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Messages were received.
    Flow,
    /// A socket was open, and no message was received.
    Quiet,
    /// No socket was open.
    Down,
}

/// A fault in a sequence.
#[derive(Clone)]
pub(crate) enum Fault {
    Missing { epoch: u64, first: u64, last: u64 },
    Again { epoch: u64, number: u64 },
    Unnumbered { epoch: u64 },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Missing { epoch, first, last } if first == last => {
                write!(f, "epoch {epoch}: number {first} is missing")
            }
            Fault::Missing { epoch, first, last } => {
                write!(f, "epoch {epoch}: numbers {first} to {last} are missing")
            }
            Fault::Again { epoch, number } => write!(f, "epoch {epoch}: number {number} came late"),
            Fault::Unnumbered { epoch } => write!(f, "epoch {epoch}: a message without a number"),
        }
    }
}

/// The number of faults of one symbol to keep, and of beats.
const FAULTS: usize = 20;
pub(crate) const BEATS: usize = 24;

/// The length of a beat.
pub(crate) const BEAT: Duration = Duration::from_millis(500);

impl Row {
    pub(crate) fn new(name: String, first: Option<u64>) -> Row {
        Row {
            name,
            phase: Phase::Connecting,
            epoch: 0,
            open: false,
            dial: 1,
            dial_at: None,
            messages: 0,
            beats: [0; 2],
            round_trip: None,
            price: None,
            up: true,
            first,
            expected: first,
            faults: Vec::new(),
            gaps: 0,
            outages: Outages::default(),
            refused: 0,
            longest: Duration::ZERO,
            down: None,
            cause: None,
            last_error: None,
            strip: VecDeque::new(),
        }
    }

    /// Returns whether every sequence so far is whole within its epoch.
    pub(crate) fn is_whole(&self) -> bool {
        self.gaps == 0
    }

    /// Returns the number of messages in the last second.
    pub(crate) fn rate(&self) -> u64 {
        self.beats.iter().sum()
    }

    /// Returns the length of the longest outage, the current one included.
    pub(crate) fn longest(&self, now: Instant) -> Duration {
        let present = self.down.map_or(Duration::ZERO, |since| now.duration_since(since));
        self.longest.max(present)
    }

    pub(crate) fn opened(&mut self, open: &event::Open) {
        self.epoch = open.epoch;
        self.open = true;
        self.expected = self.first;
        self.down = None;
        self.dial_at = None;
        if let Some(outage) = &open.outage {
            self.longest = self.longest.max(outage.duration);
        }
    }

    /// Counts a message. Returns the fault if its number is wrong.
    pub(crate) fn message(&mut self, tick: Option<Tick<'_>>) -> Option<Fault> {
        self.messages += 1;
        self.beats[1] += 1;
        let (seq, price) = tick.map_or((None, None), |tick| (tick.seq, tick.price));
        let price = price.and_then(|price| match price {
            Price::Number(price) => Some(price),
            Price::Text(text) => text.parse().ok(),
        });
        if let Some(price) = price.filter(|price| price.is_finite()) {
            if let Some(last) = self.price.filter(|last| *last != price) {
                self.up = price > last;
            }
            self.price = Some(price);
        }
        let fault = self.number(seq)?;
        self.gaps += 1;
        if self.faults.len() < FAULTS {
            self.faults.push(fault.clone());
        }
        Some(fault)
    }

    fn number(&mut self, seq: Option<u64>) -> Option<Fault> {
        let epoch = self.epoch;
        let Some(number) = seq else {
            return self.first.map(|_| Fault::Unnumbered { epoch });
        };
        let expected = self.expected.unwrap_or(number);
        self.expected = Some(number.max(expected.saturating_sub(1)).saturating_add(1));
        if number > expected {
            Some(Fault::Missing { epoch, first: expected, last: number - 1 })
        } else if number < expected {
            Some(Fault::Again { epoch, number })
        } else {
            None
        }
    }

    /// Records a failure of a dial or of the open socket. Returns whether it was a dial.
    pub(crate) fn failed(&mut self, failed: &event::Error, now: Instant) -> bool {
        let short = match &failed.error {
            Error::Io(_) => "dropped".into(),
            Error::Refused(refusal) => format!("status {}", refusal.status),
            error => error.stage().into(),
        };
        self.last_error = Some(LastError { short, long: words(&failed.error) });
        self.next(failed.next, now);
        if self.open {
            self.cause = Some(failed.error.clone());
        } else if failed.error.status().is_some() {
            self.refused += 1;
        }
        !self.open
    }

    /// Records the end of the open socket. Returns why it ended.
    pub(crate) fn closed(&mut self, close: &event::Close, now: Instant) -> String {
        self.open = false;
        self.round_trip = None;
        self.next(close.next, now);
        let cause = self.cause.take();
        let why = match &cause {
            Some(cause) => words(cause),
            None if close.reason.is_empty() => format!("closed with {}", close.code.value()),
            None => format!("closed with {}: {}", close.code.value(), close.reason),
        };
        if cause.is_none() && close.by == By::Local {
            // This program closed it: no outage.
            return why;
        }
        self.down = Some(now);
        match &cause {
            Some(Error::Io(_)) => self.outages.dropped += 1,
            Some(Error::PeerSilent { .. }) => self.outages.silent += 1,
            Some(_) => self.outages.other += 1,
            None => {
                self.outages.closed += 1;
                let short = format!("close {}", close.code.value());
                self.last_error = Some(LastError { short, long: why.clone() });
            }
        }
        why
    }

    fn next(&mut self, next: event::Next, now: Instant) {
        if let event::Next::Retry { after, attempt } = next {
            self.dial = attempt;
            self.dial_at = now.checked_add(after);
        }
    }

    /// Ends a beat.
    pub(crate) fn beat(&mut self) {
        let beat = match (self.open, self.beats[1]) {
            (false, _) => Beat::Down,
            (true, 0) => Beat::Quiet,
            (true, _) => Beat::Flow,
        };
        self.beats = [self.beats[1], 0];
        if self.strip.len() == BEATS {
            self.strip.pop_front();
        }
        self.strip.push_back(beat);
    }
}

/// Formats a failure in few words, to fit into the table.
pub(crate) fn words(error: &Error) -> String {
    match error {
        Error::Io(err) if err.kind() == io::ErrorKind::UnexpectedEof => "dropped, no Close".into(),
        Error::Io(err) if err.kind() == io::ErrorKind::ConnectionReset => "dropped, reset".into(),
        Error::PeerSilent { after, .. } => format!("silent for {:.1} s", after.as_secs_f64()),
        Error::Refused(refusal) => match refusal.retry_after() {
            Some(after) => format!("status {}, Retry-After {} s", refusal.status, after.as_secs()),
            None => format!("status {}", refusal.status),
        },
        error => error.to_string(),
    }
}
