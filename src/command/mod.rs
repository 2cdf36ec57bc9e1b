//! What a connection can be asked, and what it answers.
//!
//! Each command is an actix message. Write it with its module, `command::Send`, and give it to the
//! connection's address, or to a weak [`Handle`].
//!
//! A new command is its struct here, what it does in `connection/handlers.rs`, and its row in
//! `connection/commands.rs`.

mod handle;
mod send;
pub mod status;

use std::time::Duration;

use actix::{Message, Recipient};
use bytestring::ByteString;

use crate::command::status::Outcome;
use crate::proto::close::{CloseCode, CloseFrame, InvalidClose};
use crate::proto::message::ControlPayload;

pub(crate) use crate::command::handle::{Asked, Enqueue, Lane};
pub use crate::command::handle::{Command, Handle};
pub(crate) use crate::command::send::Refusal;
pub use crate::command::send::{Accepted, Send, SendBatch, SendError, Unsent};

/// Sends a Ping frame (RFC 6455, 5.5.2). The Pong that answers comes as
/// [`event::Pong`](crate::event::Pong) with the round-trip time. Pings do not count against the
/// send buffer, but while 64 control frames wait to be written one more is refused as full, and its
/// payload given back as [`Payload::Binary`](crate::Payload::Binary).
#[derive(Clone, Debug, Default, Message)]
#[rtype(result = "Result<Accepted, SendError>")]
pub struct Ping {
    /// What the Pong gives back, at most 125 bytes.
    pub payload: ControlPayload,
}

/// Sends a Pong frame that no Ping has asked for (RFC 6455, 5.5.3), as a sign of life that is not
/// answered (WebSocketApp's `sock.pong`). Pings of the server's are answered without it. Its bound is
/// that of [`Ping`].
#[derive(Clone, Debug, Default, Message)]
#[rtype(result = "Result<Accepted, SendError>")]
pub struct Pong {
    /// What the server is told, at most 125 bytes.
    pub payload: ControlPayload,
}

/// Closes the connection for good (WebSocketApp's `close`), in every phase: a dial, a sleep and a
/// backoff are cancelled at once. No socket is opened after it was accepted.
///
/// It is answered with the run's [`Outcome`] within the deadline and 100 ms; a second one gets the
/// same answer. The answer does not wait for the handlers: what was read before reaches them still.
/// If the last `Addr` is dropped meanwhile, `close_timeout` bounds the close as well.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Outcome")]
pub struct Close {
    pub(crate) frame: Option<CloseFrame>,
    pub(crate) deadline: Option<Duration>,
}

impl Close {
    /// A close with a code and a reason.
    ///
    /// # Errors
    /// When the code may not be sent (RFC 6455, 7.4) or the reason is over 123 bytes.
    pub fn new(code: CloseCode, reason: impl Into<ByteString>) -> Result<Close, InvalidClose> {
        Ok(Close { frame: Some(CloseFrame::new(code, reason)?), deadline: None })
    }

    /// A close with 1000 and no reason.
    pub fn normal() -> Close {
        let frame = CloseFrame::new(CloseCode::NORMAL, "").expect("1000 may be sent");
        Close { frame: Some(frame), deadline: None }
    }

    /// A Close frame without code and reason.
    pub fn empty() -> Close {
        Close { frame: None, deadline: None }
    }

    /// How long the closing handshake may take before the socket is dropped; by default the
    /// builder's `close_timeout`, 3 s.
    pub fn deadline(mut self, deadline: Duration) -> Close {
        self.deadline = Some(deadline);
        self
    }
}

impl Default for Close {
    fn default() -> Close {
        Close::normal()
    }
}

/// Drops the socket with a clean close (1000) and dials again at once, but at most once a second
/// and never a second socket beside the first. A wait for the next dial is cut short, also one that
/// `Retry-After` or the policy asked for. During a dial or a [`Pause`] it does nothing.
///
/// Answered with an error once the connection is closed for good.
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "Result<(), Closed>")]
pub struct Reconnect;

/// Adds a handler for one kind of event while the connection runs.
///
/// A late subscriber to `event::Open` is told of the socket that is open now, if one is. Answered
/// with an error once the connection is closed for good.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), Closed>")]
pub struct Subscribe<M>(pub Recipient<M>)
where
    M: Message + std::marker::Send,
    M::Result: std::marker::Send;

/// Takes back a [`Subscribe`], or a recipient that the builder was given: the actor behind it is
/// told nothing more of this kind, and what waits for its full mailbox waits no more. Answered with
/// whether it was a recipient of it.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub struct Unsubscribe<M>(pub Recipient<M>)
where
    M: Message + std::marker::Send,
    M::Result: std::marker::Send;

/// Closes the socket (1000) and dials nothing until [`Resume`]; a wait or a dial is cut short.
/// `event::Close` then says `Next::Stop`.
///
/// Answered with an error once the connection is closed for good.
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "Result<(), Closed>")]
pub struct Pause;

/// Ends a [`Pause`]: dials at once, but at most once a second. Without one it does nothing.
///
/// Answered with an error once the connection is closed for good.
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "Result<(), Closed>")]
pub struct Resume;

/// Asks how the connection is: answered with a [`status::Status`].
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "status::Status")]
pub struct Status;

/// Asks for the connection's live figures, to be read without its mailbox from any thread:
/// answered with a [`status::Watch`].
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "status::Watch")]
pub struct Watch;

/// The connection is closed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, derive_more::Display, derive_more::Error)]
#[display("the connection is closed")]
pub struct Closed;
