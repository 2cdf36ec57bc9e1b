//! What a connection reports to its supervision, and the effects that it gets back.

use std::time::Duration;

use tokio::time::Instant;

use crate::command::status::Unsent;
use crate::error::Error;
use crate::event;
use crate::options::Attempt;
use crate::proto::close::CloseFrame;
use crate::proto::session::{By, Closure};

/// What a command asks for.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Reconnect,
    Pause,
    Resume,
    Close { frame: Option<CloseFrame>, deadline: Duration },
}

/// What was lost.
#[derive(Clone, Debug)]
pub(crate) enum Loss {
    /// A dial failed.
    Dial(Error),
    /// An opened socket ended.
    Socket {
        /// `None` after a Close frame, also one of ours that did not leave; but a breach before it is an
        /// error.
        error: Option<Error>,
        closure: Closure,
        unsent: Unsent,
        opened: Instant,
    },
}

/// What the connection has to do now. It carries them out in their order.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// Deliver the event.
    State(event::State),
    /// Deliver the event.
    Error(event::Error),
    /// Deliver the event.
    Close(event::Close),
    /// Deliver the event, which is the last one, and send the outcome to all that wait for it.
    Stopped(event::Stopped),
    /// Arrange that [`Supervision::due`] is called when the next dial is due.
    Schedule,
    /// Dial.
    Dial(Attempt),
    /// Begin the closing handshake, or shorten the deadline of the one under way.
    CloseSocket { frame: Option<CloseFrame>, deadline: Duration },
    /// Drop the dial that is under way, or the timer of the next one.
    Cancel,
    /// Stop the actor's context, so that its supervisor starts it again.
    Restart,
}

pub(crate) type Effects = Vec<Effect>;

/// What a new socket's `event::Open` says of the time before it.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The dials of the outage, this one included.
    pub(crate) attempts: u32,
    /// `None` for the first socket.
    pub(crate) outage: Option<Box<event::Outage>>,
    pub(crate) effects: Effects,
}

impl Loss {
    /// Returns what is judged, and what the next opening reports as the cause of the outage.
    pub(super) fn cause(&self) -> Error {
        match self {
            Loss::Dial(error) | Loss::Socket { error: Some(error), .. } => error.clone(),
            // We closed it, and no command asked for that; ours may not have left.
            Loss::Socket { closure, .. } if closure.by != By::Remote => Error::Overflow,
            Loss::Socket { closure, .. } => {
                Error::Closed(CloseFrame::new(closure.code, closure.reason.clone()).ok())
            }
        }
    }

    /// Whether the server closed cleanly.
    pub(super) fn is_clean_remote(&self) -> bool {
        matches!(self, Loss::Socket { closure, .. } if closure.clean && closure.by == By::Remote)
    }
}
