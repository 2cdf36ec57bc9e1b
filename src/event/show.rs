//! The texts of the events, each one line: for a log, a terminal, a first program.

use std::fmt;
use std::time::Duration;

use crate::event::{
    Batch, Close, Continuation, Data, Error, Event, Message, Open, Ping, Pong, Reconnect, State,
    Stopped, event_table,
};
use crate::proto::session::By;

/// Expands to the text of `Event`, which is that of the event in it.
macro_rules! display {
    ($(
        $(#[$doc:meta])*
        $Event:ident $on:ident $on_to:ident
        event $event:tt
        delivery $delivery:tt
        probe $probe:tt
    )+) => {
        impl fmt::Display for Event {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Event::$Event(event) => event.fmt(f),)+
                }
            }
        }
    };
}

event_table!(display);

impl fmt::Display for Open {
    /// Writes `open: socket 2, dials: 3, after an outage of 1.2s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "open: ")?;
        opened(self, f)
    }
}

impl fmt::Display for Reconnect {
    /// Writes `reconnected: socket 2, dials: 3, after an outage of 1.2s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reconnected: ")?;
        opened(&self.0, f)
    }
}

fn opened(open: &Open, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "socket {}, dials: {}", open.epoch, open.attempts)?;
    match &open.outage {
        Some(outage) => write!(f, ", after an outage of {:.1?}", outage.duration),
        None => Ok(()),
    }
}

impl fmt::Display for Message {
    /// Writes `message: ` and the payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message: {}", self.payload)
    }
}

impl fmt::Display for Data {
    /// Writes `data: ` and the payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "data: {}", self.payload)
    }
}

impl fmt::Display for Continuation {
    /// Writes `fragment 0: `, or `last fragment 3: `, and its bytes, escaped: it may end inside a character.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = if self.fragment.fin { "last " } else { "" };
        write!(f, "{last}fragment {}: {}", self.fragment.index, self.fragment.bytes.escape_ascii())
    }
}

impl fmt::Display for Batch {
    /// Writes `batch: 12 messages`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.len() == 1 { "" } else { "s" };
        write!(f, "batch: {} message{plural}", self.len())
    }
}

impl fmt::Display for Ping {
    /// Writes `ping: ` and the payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ping: {}", self.payload)
    }
}

impl fmt::Display for Pong {
    /// Writes `pong: ` and the payload, or `pong after 1.2ms: ` if it answers a Ping of ours.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.round_trip {
            Some(time) => write!(f, "pong after {time:.1?}: {}", self.payload),
            None => write!(f, "pong: {}", self.payload),
        }
    }
}

impl fmt::Display for Error {
    /// Writes `error: `, the error, and what comes next.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}; {}", self.error, self.next)
    }
}

impl fmt::Display for Close {
    /// Writes `close: 1001 by the server after 12.0s: the reason; ` and what comes next.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.by {
            By::Remote => " by the server",
            By::Local => " by us",
            By::Nobody => "",
        };
        let lasted: Duration = self.lasted;
        let colon = if self.reason.is_empty() { "" } else { ": " };
        let (code, reason, next) = (self.code, &self.reason, self.next);
        write!(f, "close: {code}{by} after {lasted:.1?}{colon}{reason}; {next}")
    }
}

impl fmt::Display for State {
    /// Writes `state: ` and the phase.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state: {}", self.phase)
    }
}

impl fmt::Display for Stopped {
    /// Writes `stopped: ` and the outcome.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stopped: {}", self.outcome)
    }
}
