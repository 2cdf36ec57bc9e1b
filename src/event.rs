//! The events of a connection, which are delivered to its handlers.
//!
//! Each event is an actix message, written with its module: `event::Open`, `event::Message`.
//! A handler receives `Open (Message | Ping | Pong …)* Error? Close` for each opened socket, in that
//! order, and [`Stopped`] once, last of all.

mod call;
mod kinds;
mod show;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, Handler};
use bytestring::ByteString;

use crate::command::Handle;
use crate::command::status::{Handshake, Outcome, Phase, SourceId};
use crate::error::Error as Failure;
use crate::proto::close::CloseCode;
use crate::proto::frame::Opcode;
use crate::proto::message::{ControlPayload, Fragment, Payload, View};
use crate::proto::messages::Messages;
use crate::proto::session::{By, PeerClose};

pub(crate) use crate::event::call::try_start;
pub use crate::event::call::{call, call_on};
pub use crate::event::kinds::{Event, Kind, Kinds};
pub(crate) use crate::event::kinds::{KindSet, Numbered, names};

/// The table of events. An event is its struct in this file and its row here.
///
/// `event_table!(expand)` expands to `expand! { rows }`. Each part of the crate that needs all events
/// defines a macro that expands a row to what is needed there:
///
/// | part of a row | expands to | in |
/// |---|---|---|
/// | the docs, which begin with what the event is, and the second and third name | the methods of `ConnectionBuilder` that register a closure and a recipient | `connection/builder/callbacks.rs` |
/// | the first name, which is the struct's | the variant of `Event` and the bit of the kind | `event/kinds.rs` |
/// | the first and the second name | the variant of `Target`, what `Subscribe` and `Unsubscribe` need, and the method of `HandlerAddr` | `delivery/kinds.rs`, `delivery/outlet.rs` |
/// | the first and the second name | the variant of `Callback`, and what calls it | `delivery/closures.rs` |
/// | `event` | the name that `Event::name` returns, and whether the kind is in `Kinds::default`; where the event has no `source` and `epoch` of its own, `at` with the field that has them | `event/kinds.rs` |
/// | `entry` | the variant of `Entry` with that name, and `impl Queued`. With `after data`, the method `data` of the event makes an `event::Data`, which is delivered just before it. `run` instead of `entry`: the event is not queued itself, but made from a queued run of messages | `delivery/entry.rs` |
/// | `probe` | the event's place in the order that `Probe::check` checks, one of `Role` in that file (`Anytime`: no fixed place) | `testing/probe.rs` |
macro_rules! event_table {
    ($expand:ident) => {
        $expand! {
            /// each opened socket (WebSocketApp's `on_open`).
            Open on_open on_open_to
            event { "open"; usual true }
            delivery { entry Open }
            probe { Opens }

            /// each reopened socket, which comes just before the `Open` of that socket
            /// (WebSocketApp's `on_reconnect`).
            Reconnect on_reconnect on_reconnect_to
            event { "reconnect"; usual true; at 0 }
            delivery { entry Reconnect }
            probe { Reopens }

            /// each message with its opcode, which comes just before the `Message` (WebSocketApp's
            /// `on_data`).
            Data on_data on_data_to
            event { "data"; usual false }
            delivery { run }
            probe { Within }

            /// each fragment of a message that comes in several frames, as it comes (WebSocketApp's
            /// `on_cont_message`). Such a message is then no longer delivered as a whole; a message in
            /// one frame still is. See [`event::Continuation`](crate::event::Continuation).
            Continuation on_continuation on_continuation_to
            event { "continuation"; usual false }
            delivery { entry Continuation after data }
            probe { Within }

            /// all messages of one read at once, the fast way. See [`event::Batch`](crate::event::Batch).
            Batch on_batch on_batch_to
            event { "batch"; usual false }
            delivery { run }
            probe { Within }

            /// each message (WebSocketApp's `on_message`).
            Message on_message on_message_to
            event { "message"; usual true }
            delivery { run }
            probe { Within }

            /// each Ping that the server sends (WebSocketApp's `on_ping`).
            Ping on_ping on_ping_to
            event { "ping"; usual true }
            delivery { entry Ping }
            probe { Within }

            /// each Pong that the server sends (WebSocketApp's `on_pong`).
            Pong on_pong on_pong_to
            event { "pong"; usual true }
            delivery { entry Pong }
            probe { Within }

            /// each failure (WebSocketApp's `on_error`).
            Error on_error on_error_to
            event { "error"; usual true }
            delivery { entry Error }
            probe { Fails }

            /// the end of each opened socket (WebSocketApp's `on_close`).
            Close on_close on_close_to
            event { "close"; usual true }
            delivery { entry Close }
            probe { Closes }

            /// each change of phase.
            State on_state on_state_to
            event { "state"; usual true }
            delivery { entry State }
            probe { Anytime }

            /// the end of the run.
            Stopped on_stopped on_stopped_to
            event { "stopped"; usual true }
            delivery { entry Stopped }
            probe { Ends }
        }
    };
}

pub(crate) use event_table;

/// A socket is open (WebSocketApp's `on_open`).
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct Open {
    /// The connection.
    pub source: SourceId,
    /// The number of this opened socket, from 1.
    pub epoch: u64,
    /// The connection's name, if the builder gave one.
    pub name: Option<Arc<str>>,
    /// A weak reference to the connection, which sends commands.
    pub connection: Handle,
    /// What was agreed with the server.
    pub handshake: Arc<Handshake>,
    /// The number of dials since the last open socket, or since the start, this one included.
    pub attempts: u32,
    /// The time between the last open socket and this one; `None` on the first.
    pub outage: Option<Outage>,
}

/// A socket is open again: delivered just before the [`Open`] of every socket but the first
/// (WebSocketApp's `on_reconnect`, which suppresses `on_open`; here both are delivered).
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
pub struct Reconnect(pub Open);

/// The time between two opened sockets.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outage {
    /// The number of dials that it took, the successful one included.
    pub attempts: u32,
    /// From the loss to the opening.
    pub duration: Duration,
    /// Why the last socket ended; `None` if a command closed it to reconnect.
    pub cause: Option<Failure>,
}

impl Outage {
    pub(crate) fn new(attempts: u32, duration: Duration, cause: Option<Failure>) -> Outage {
        Outage { attempts, duration, cause }
    }
}

/// One whole message (WebSocketApp's `on_message`).
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
pub struct Message {
    /// The connection that it came over.
    pub source: SourceId,
    /// The opened socket that it came over.
    pub epoch: u64,
    /// Text or binary.
    pub payload: Payload,
    /// When its last byte was read.
    pub received: Instant,
}

/// One whole message with its opcode, delivered just before its [`Message`], or a fragment, just before
/// its [`Continuation`] (WebSocketApp's `on_data`).
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct Data {
    /// The connection that it came over.
    pub source: SourceId,
    /// The opened socket that it came over.
    pub epoch: u64,
    /// Text or binary. Text that was not checked is binary, and so is every fragment.
    pub payload: Payload,
    /// The opcode of the message, `Text` or `Binary`, for a fragment too.
    pub opcode: Opcode,
    /// Whether the message ends here; `false` only for a fragment.
    pub fin: bool,
}

/// One fragment of a message that the server sent in several (WebSocketApp's `on_cont_message`).
///
/// If the builder registered a recipient of it, every message in more than one fragment is delivered so,
/// from the first fragment on, and not as a [`Message`]. (Once its last recipient has unsubscribed, messages
/// are whole again from the next socket on.) Text is checked for UTF-8 across its fragments, but a
/// character may be split between two of them.
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct Continuation {
    /// The connection that it came over.
    pub source: SourceId,
    /// The opened socket that it came over.
    pub epoch: u64,
    /// The message's opcode, the fragment's place in it, its bytes, and whether it is the last.
    pub fragment: Fragment,
    /// When its last byte was read.
    pub received: Instant,
}

/// All messages of one read in one envelope: the fast way.
///
/// An envelope for each message costs more than reading the message; at some hundred thousand messages
/// a second the envelopes are most of the work of a handler's thread. A Ping, Pong or Close between two
/// messages ends a batch, so that the order is always kept.
///
/// The messages stay in the buffer that they were read into: a batch, and each
/// [`payload`](Batch::payload) of it, keeps up to 64 KiB alive. Copy what is kept for long:
/// [`View::to_payload`], [`Payload::detach`].
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
#[doc(alias = "buffered")]
pub struct Batch {
    /// The connection that they came over.
    pub source: SourceId,
    /// The opened socket that they came over.
    pub epoch: u64,
    /// When their last byte was read.
    pub received: Instant,
    /// At least one.
    messages: Arc<Messages>,
}

impl Batch {
    pub(crate) fn new(
        source: SourceId,
        epoch: u64,
        received: Instant,
        messages: Messages,
    ) -> Batch {
        Batch { source, epoch, received, messages: Arc::new(messages) }
    }

    /// Returns the number of messages, at least one.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Returns `false`: a batch has at least one message.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Returns borrowed views of the messages, in the order in which they came. Text is checked for
    /// UTF-8 a second time here, which takes some nanoseconds for a short one.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = View<'_>> {
        self.messages.views()
    }

    /// Returns a borrowed view of the message at `index`, from 0.
    pub fn get(&self, index: usize) -> Option<View<'_>> {
        self.messages.view(index)
    }

    /// Returns the bytes of the message at `index`, from 0, whether text or binary. Checks and copies
    /// nothing.
    pub fn bytes(&self, index: usize) -> Option<&[u8]> {
        self.messages.bytes(index)
    }

    /// Returns the message at `index`, from 0. It shares the buffer of the batch.
    pub fn payload(&self, index: usize) -> Option<Payload> {
        self.messages.payload(index)
    }

    /// Returns the message at `index` as an event that may be kept: a short one is copied out of the buffer.
    #[inline]
    pub(crate) fn message(&self, index: usize) -> Option<Message> {
        let (source, epoch, received) = (self.source, self.epoch, self.received);
        let payload = self.messages.payload_to_keep(index)?;
        Some(Message { source, epoch, payload, received })
    }

    /// Calls the actor's own `Handler<event::Message>` with each message. Returns the number of calls:
    /// one for each message, unless the actor stopped. With it, code for single messages gains the
    /// speed of batches in one line.
    ///
    /// ```
    /// use actix::{Actor, Context, Handler};
    /// use actix_ws_client::event;
    ///
    /// struct Ticker;
    /// # impl Actor for Ticker { type Context = Context<Ticker>; }
    /// # impl Handler<event::Message> for Ticker {
    /// #     type Result = ();
    /// #     fn handle(&mut self, _: event::Message, _: &mut Context<Ticker>) {}
    /// # }
    /// impl Handler<event::Batch> for Ticker {
    ///     type Result = ();
    ///     fn handle(&mut self, batch: event::Batch, ctx: &mut Context<Ticker>) {
    ///         batch.for_each_message(self, ctx);
    ///     }
    /// }
    /// ```
    pub fn for_each_message<A>(self, actor: &mut A, ctx: &mut A::Context) -> usize
    where
        A: Actor + Handler<Message, Result = ()>,
    {
        let (source, epoch, received) = (self.source, self.epoch, self.received);
        let mut taken = 0;
        while let Some(payload) = self.messages.payload(taken)
            && ctx.state().alive()
        {
            actor.handle(Message { source, epoch, payload, received }, ctx);
            taken += 1;
        }
        taken
    }
}

/// The server sent a Ping (WebSocketApp's `on_ping`). The connection answers it, unless the socket is
/// closing; of the answers beyond 64 that wait to be written only the last is sent.
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct Ping {
    /// The connection that it came over.
    pub source: SourceId,
    /// The opened socket that it came over.
    pub epoch: u64,
    /// At most 125 bytes.
    pub payload: ControlPayload,
}

/// The server sent a Pong, solicited or not (WebSocketApp's `on_pong`).
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct Pong {
    /// The connection that it came over.
    pub source: SourceId,
    /// The opened socket that it came over.
    pub epoch: u64,
    /// At most 125 bytes.
    pub payload: ControlPayload,
    /// The time since our oldest Ping with this payload was queued; `None` if there is none among the
    /// last 64.
    pub round_trip: Option<Duration>,
}

/// A failure (WebSocketApp's `on_error`): once for every dial that failed, also the tenth in a row, and
/// once for every open socket that ended by anything but a Close frame.
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct Error {
    /// The connection.
    pub source: SourceId,
    /// The newest opened socket; 0 before the first.
    pub epoch: u64,
    /// The connection's name, if the builder gave one.
    pub name: Option<Arc<str>>,
    /// What failed, by its stage.
    pub error: Failure,
    /// The number of the dial that failed, or that opened the socket that failed, since the last stable
    /// socket, from 1.
    pub attempt: u32,
    /// What comes next.
    pub next: Next,
}

/// An opened socket has ended: exactly once for each [`Open`] (WebSocketApp's `on_close`).
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct Close {
    /// The connection.
    pub source: SourceId,
    /// The opened socket that has ended.
    pub epoch: u64,
    /// The connection's name, if the builder gave one.
    pub name: Option<Arc<str>>,
    /// The number of the dial that opened the socket, since the last stable socket, from 1.
    pub attempt: u32,
    /// The code of the first Close frame, ours or the server's; 1005 if it had none, 1006 if there was
    /// no such frame, or ours did not leave.
    pub code: CloseCode,
    /// The reason in that frame.
    pub reason: ByteString,
    /// Whether a Close frame came and ours left (RFC 6455, 7.1.4): the transport took it and was flushed.
    pub clean: bool,
    /// Who sent that frame; `Nobody` for 1006.
    pub by: By,
    /// The data messages that were accepted for this socket and not sent, or not to their end: the server
    /// has none of them whole. Whether it received those that were sent is unknown. Over TLS, messages that
    /// left since the transport was last flushed, at most 64 KiB, count as not sent.
    pub unsent_messages: u64,
    /// The bytes of their frames that were not sent.
    pub unsent_bytes: u64,
    /// The Close frame that the server sent, whether first or in answer to ours (RFC 6455, 7.1.5); `None` if it
    /// sent none, or broke the protocol before.
    pub peer: Option<Box<PeerClose>>,
    /// How long the socket was open.
    pub lasted: Duration,
    /// What comes next.
    pub next: Next,
}

/// What a connection does after a failure or a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It dials again.
    Retry {
        /// The time until the dial. It may be longer: no dial begins while more than 32 events wait for
        /// the handlers.
        after: Duration,
        /// The number of the next dial since the last stable socket.
        attempt: u32,
    },
    /// It does not dial: for good, or until `command::Resume`.
    Stop,
}

impl fmt::Display for Next {
    /// Writes `dial 3 in 1.2s` or `no further dial`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Next::Retry { after, attempt } => write!(f, "dial {attempt} in {after:.1?}"),
            Next::Stop => f.write_str("no further dial"),
        }
    }
}

impl Next {
    /// Returns the time until the next dial; `None` if there is none.
    pub fn after(&self) -> Option<Duration> {
        match self {
            Next::Retry { after, .. } => Some(*after),
            Next::Stop => None,
        }
    }
}

/// The connection has entered another phase.
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct State {
    /// The connection.
    pub source: SourceId,
    /// The newest opened socket; 0 before the first.
    pub epoch: u64,
    /// What it is doing now.
    pub phase: Phase,
    /// When it entered the phase.
    pub since: Instant,
}

/// The run is over: the very last event, once.
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct Stopped {
    /// The connection.
    pub source: SourceId,
    /// The newest opened socket; 0 if there never was one.
    pub epoch: u64,
    /// How it ended.
    pub outcome: Outcome,
}
