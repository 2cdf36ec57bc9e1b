//! The commands of a connection, and their answers.
//!
//! Each command is an actix message. Write it with its module, `command::Send`, and send it to the
//! connection's `Addr`, or through a weak [`Handle`].
//!
//! A new command is its struct here, what it does in `connection/handlers.rs`, and its row in
//! `connection/commands.rs`.

mod batch;
mod failures;
mod handle;
mod outgoing;
mod receipt;
mod send;
mod sent;
pub mod status;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use actix::{Message, Recipient};
use bytestring::ByteString;

use crate::command::status::Outcome;
use crate::error::Verdict;
use crate::proto::close::{CloseCode, CloseFrame, InvalidClose};
use crate::proto::message::{ControlPayload, Payload};

pub use crate::command::batch::{SendBatch, Unsent};
pub use crate::command::handle::{Command, Handle};
pub(crate) use crate::command::handle::{CommandQueue, Enqueue, QueuedCommand};
pub(crate) use crate::command::outgoing::{Origin, Outgoing, SendAll, Sent};
pub(crate) use crate::command::receipt::ReceiptEnd;
pub use crate::command::receipt::{Fate, Receipt};
pub use crate::command::send::{Accepted, Send, SendError};
pub(crate) use crate::command::send::{GiveBack, Refusal, Unanswered};
pub use crate::command::sent::{SentAt, SentFrames};

/// Sends a Ping frame (RFC 6455, 5.5.2). The Pong that answers it is delivered as
/// [`event::Pong`](crate::event::Pong), with the round-trip time.
///
/// Pings do not count against the send buffer. But while 64 control frames wait to be written, another
/// is refused as [`Full`](SendError::Full), which returns its payload as
/// [`Payload::Binary`].
#[derive(Clone, Debug, Default, Message)]
#[rtype(result = "Result<Accepted, SendError>")]
#[doc(alias = "send_ping")]
pub struct Ping {
    /// The payload, at most 125 bytes, which the Pong repeats.
    pub payload: ControlPayload,
}

/// Sends an unsolicited Pong frame (RFC 6455, 5.5.3): a sign of life that the server does not answer
/// (WebSocketApp's `sock.pong`). The Pings of the server are answered without it. Its bound is that of
/// [`Ping`].
#[derive(Clone, Debug, Default, Message)]
#[rtype(result = "Result<Accepted, SendError>")]
#[doc(alias = "send_pong")]
pub struct Pong {
    /// The payload, at most 125 bytes.
    pub payload: ControlPayload,
}

impl GiveBack for Ping {
    fn give_back(self) -> Option<Result<Accepted, SendError>> {
        Some(Err(SendError::Closed(Payload::Binary(self.payload.into_bytes()))))
    }
}

impl GiveBack for Pong {
    fn give_back(self) -> Option<Result<Accepted, SendError>> {
        Some(Err(SendError::Closed(Payload::Binary(self.payload.into_bytes()))))
    }
}

/// Closes the connection for good (WebSocketApp's `close`), in every phase. A dial and a wait for the
/// next dial are cancelled at once. No socket is opened after it was accepted.
///
/// The answer is the run's [`Outcome`], and comes within the deadline and 100 ms; a second `Close` gets
/// the same answer. The answer does not wait for the handlers: what was read before is delivered to
/// them still. If the last `Addr` is dropped meanwhile, `close_timeout` bounds the close as well.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Outcome")]
#[doc(alias("shutdown", "disconnect", "abort", "terminate", "close_timeout"))]
pub struct Close {
    pub(crate) frame: Option<CloseFrame>,
    pub(crate) deadline: Option<Duration>,
}

impl Close {
    /// Creates a close with a code and a reason.
    ///
    /// # Errors
    /// If the code may not be sent (RFC 6455, 7.4), or the reason has more than 123 bytes.
    pub fn new(code: CloseCode, reason: impl Into<ByteString>) -> Result<Close, InvalidClose> {
        Ok(Close { frame: Some(CloseFrame::new(code, reason)?), deadline: None })
    }

    /// Creates a close with code 1000 and no reason.
    pub fn normal() -> Close {
        let frame = CloseFrame::new(CloseCode::NORMAL, "").expect("1000 may be sent");
        Close { frame: Some(frame), deadline: None }
    }

    /// Creates a close whose frame has neither code nor reason.
    pub fn empty() -> Close {
        Close { frame: None, deadline: None }
    }

    /// Sets how long the closing handshake may take before the socket is dropped. Default: the
    /// builder's `close_timeout`, which is 3 s by default.
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

/// Closes the socket (1000), and dials again as soon as it has ended. A wait for the next dial is cut
/// short, also if `Retry-After` or the policy asked for it. Such a dial begins at most once a second,
/// and not before the dial limit has room. During a dial or a [`Pause`] the command does nothing.
///
/// The answer is an error if the connection is closed for good.
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "Result<(), Closed>")]
#[doc(alias("restart", "refresh"))]
pub struct Reconnect;

/// Registers a recipient of one kind of event while the connection runs.
///
/// A recipient of `event::Open` gets the event of the socket that is open now, if one is. A recipient of
/// `event::Continuation` gets fragments only if the builder registered one with `on_continuation_to`: else
/// fragmented messages stay whole, for the recipients of `event::Message`. The answer is an error if the
/// connection is closed for good.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), Closed>")]
#[doc(alias("add_listener", "addEventListener"))]
pub struct Subscribe<M>(pub Recipient<M>)
where
    M: Message + std::marker::Send,
    M::Result: std::marker::Send;

/// Removes a recipient of one kind of event, whether it was registered by [`Subscribe`] or by the
/// builder. Its actor gets no more events of this kind, and one that waits in its full mailbox is taken
/// back. The answer is whether it was registered.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
#[doc(alias("remove_listener", "removeEventListener"))]
pub struct Unsubscribe<M>(pub Recipient<M>)
where
    M: Message + std::marker::Send,
    M::Result: std::marker::Send;

/// Closes the socket (1000) and does not dial until [`Resume`]; a dial and a wait for one are
/// cancelled. `event::Close` then says `Next::Stop`.
///
/// The answer is an error if the connection is closed for good.
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "Result<(), Closed>")]
pub struct Pause;

/// Ends a [`Pause`] and dials at once, within the limits that [`Reconnect`] has. Without a pause it does
/// nothing.
///
/// The answer is an error if the connection is closed for good.
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "Result<(), Closed>")]
pub struct Resume;

/// Ends an open socket as failed: what only the application can judge, as a login that was refused, a feed
/// that went stale, or an answer that made no sense.
///
/// The socket is dropped at once, without a Close frame, and its loss is reported like any other: as
/// [`event::Error`](crate::event::Error) with [`Error::Session`](crate::Error::Session), then as
/// [`event::Close`](crate::event::Close) with 1006, and as the cause of the outage. To leave in order, use
/// [`Reconnect`] or [`Close`].
///
/// The answer is whether the socket was open and is dropped now. It is `false`, and nothing happens, if
/// another socket is open, or if this one is closing already.
///
/// ```
/// use actix_ws_client::command;
///
/// let refused = command::Fail::new(1, "unknown key").for_good();
/// ```
#[derive(Clone, Debug, Message)]
#[rtype(result = "bool")]
#[non_exhaustive]
pub struct Fail {
    /// The socket, by its epoch: it may have changed before the command is executed.
    pub epoch: u64,
    /// Why, for people.
    pub reason: Arc<str>,
    /// Whether to reconnect, and how soon. `retry_if` can decide otherwise.
    pub verdict: Verdict,
}

impl Fail {
    /// Creates a failure of this socket that is retried with the delay of the policy.
    pub fn new(epoch: u64, reason: impl Into<Arc<str>>) -> Fail {
        Fail { epoch, reason: reason.into(), verdict: Verdict::RETRY }
    }

    /// Ends the run too: another socket would fail in the same way.
    pub fn for_good(mut self) -> Fail {
        self.verdict = Verdict::Stop;
        self
    }
}

/// Counts the open socket as stable from now on, before `stable_after` has passed: its loss starts the
/// backoff and the count of attempts anew, and is no failed dial of a [`Budget`](crate::Budget).
///
/// An opened socket is not yet a session that works. With a long `stable_after` and this command, sent once
/// the login is confirmed or the first data is there, a server that accepts and refuses is not dialled faster
/// and faster, and the loss of a session that worked is followed by a quick dial, however short it was.
///
/// The answer is whether that socket is open. If not, nothing happens.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "bool")]
pub struct Settled {
    /// The socket, by its epoch.
    pub epoch: u64,
}

/// Holds delivery, as a full mailbox of a handler does, or releases it: for a handler that must not be sent
/// more for a time, but cannot refuse a message.
///
/// While it holds, no event is delivered. The connection reads up to `read_ahead` more, and answers Pings;
/// then it reads no more, and the watchdog stands still. `Overflow` drops messages, or closes the socket, as
/// with a slow handler. `Status::blocked` says for how long. What was held is delivered after the release,
/// in order, or when the last `Addr` is dropped.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Hold(pub bool);

/// Asks when frames left on the open socket, control frames apart: for what keeps to a rate that the server
/// sets, and has to count the Pongs and Pings too. The answer is a [`SentFrames`].
///
/// The record begins with the first of these commands, and from then on with each socket. Until then nothing
/// is recorded.
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "SentFrames")]
pub struct Ledger;

/// Asks for the state of the connection. The answer is a [`status::Status`].
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "status::Status")]
#[doc(alias("is_open", "ready_state", "is_connected", "health"))]
pub struct Status;

/// Asks for the connection's live figures. The answer is a [`status::Watch`], which reads them from any
/// thread without going through the connection's mailbox.
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "status::Watch")]
pub struct Watch;

/// The connection is closed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, derive_more::Display, derive_more::Error)]
#[display("the connection is closed")]
pub struct Closed;

impl Unanswered for Closed {
    fn unanswered() -> Closed {
        Closed
    }
}
