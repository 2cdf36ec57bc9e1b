//! What handlers are told.
//!
//! Each event is an actix message, written with its module: `event::Open`, `event::Message`.
//! A handler sees `Open (Message | Ping | Pong …)* Error? Close` for each opened socket, in that
//! order, and [`Stopped`] once, last of all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, Context, Handler, Recipient};
use bytestring::ByteString;

use crate::command::Handle;
use crate::command::status::{Handshake, Outcome, Phase, SourceId};
use crate::error::Error as Failure;
use crate::proto::close::CloseCode;
use crate::proto::frame::Opcode;
use crate::proto::message::{ControlPayload, Fragment, Payload, View};
use crate::proto::messages::Messages;
use crate::proto::session::By;

/// The table of events: one row for each. An event is its struct in this file and its row.
///
/// `event_table!(expand)` expands to `expand! { rows }`. Each part of the crate that needs all events
/// has a macro of its own for what a row stands for there:
///
/// | of a row | makes | in |
/// |---|---|---|
/// | the docs and the second name | the method of `ConnectionBuilder` that registers a recipient | `connection/builder/callbacks.rs` |
/// | the first name | the bit of the kind, the variant of `Target`, and `impl Event`, by which `Subscribe` and `Unsubscribe` take it | `delivery/kinds.rs` |
/// | `entry` | the variant of `Entry` with that name, and `impl Queued`; `after` names the method that makes the `Data` which goes before it. With `run` the event is made of a run of messages | `delivery/entry.rs` |
/// | `handler` | that `ConnectionBuilder::handler` registers it too, as that member of `HandlerAddr` | `delivery/kinds.rs` |
/// | `probe` | the variant of `Seen` and `impl Observed`: what the event means for the order that `Probe::check` looks at, and its word in `Probe::story`; `at` says where the event's source and epoch are, if not in itself | `testing/probe.rs` |
/// | `attach` | whether `Probe::attach` registers for it | `connection/probed.rs` |
macro_rules! event_table {
    ($expand:ident) => {
        $expand! {
            /// Registers a recipient of each opened socket (WebSocketApp's `on_open`).
            Open on_open
            delivery { entry Open; handler open }
            probe { Opens "open"; attach true }

            /// Registers a recipient of each reopened socket, which it gets just before the `Open` of that
            /// socket (WebSocketApp's `on_reconnect`).
            Reconnect on_reconnect
            delivery { entry Reconnect }
            probe { Reopens; attach true; at 0 }

            /// Registers a recipient of each message with its opcode, which it gets just before the
            /// `Message` (WebSocketApp's `on_data`).
            Data on_data
            delivery { run }
            probe { Within "data"; attach false }

            /// Registers a recipient of each fragment of a message that comes in several frames, as it
            /// comes (WebSocketApp's `on_cont_message`). Such a message is then no longer delivered as a
            /// whole; a message in one frame still is. See
            /// [`event::Continuation`](crate::event::Continuation).
            Continuation on_continuation
            delivery { entry Continuation after data }
            probe { Within "continuation"; attach false }

            /// Registers a recipient of all messages of one read at once, the fast way. See
            /// [`event::Batch`](crate::event::Batch).
            Batch on_batch
            delivery { run }
            probe { Within "batch"; attach false }

            /// Registers a recipient of each message (WebSocketApp's `on_message`).
            Message on_message
            delivery { run; handler message }
            probe { Within "message"; attach true }

            /// Registers a recipient of each Ping that the server sends (WebSocketApp's `on_ping`).
            Ping on_ping
            delivery { entry Ping }
            probe { Within "ping"; attach true }

            /// Registers a recipient of each Pong that the server sends (WebSocketApp's `on_pong`).
            Pong on_pong
            delivery { entry Pong }
            probe { Within "pong"; attach true }

            /// Registers a recipient of each failure (WebSocketApp's `on_error`).
            Error on_error
            delivery { entry Error; handler error }
            probe { Fails "error"; attach true }

            /// Registers a recipient of the end of each opened socket (WebSocketApp's `on_close`).
            Close on_close
            delivery { entry Close; handler close }
            probe { Closes "close"; attach true }

            /// Registers a recipient of each change of phase.
            State on_state
            delivery { entry State }
            probe { Anytime; attach true }

            /// Registers a recipient of the end of the run.
            Stopped on_stopped
            delivery { entry Stopped }
            probe { Ends "stopped"; attach true }
        }
    };
}

pub(crate) use event_table;

/// A socket is open (WebSocketApp's `on_open`).
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
pub struct Open {
    /// The connection that tells it.
    pub source: SourceId,
    /// This opened socket, from 1.
    pub epoch: u64,
    /// The connection's name, if the builder gave one.
    pub name: Option<Arc<str>>,
    /// A weak way to send commands.
    pub connection: Handle,
    /// What was agreed with the server.
    pub handshake: Arc<Handshake>,
    /// Dials since the last open socket, or since the start, this one included.
    pub attempts: u32,
    /// What lay between the last open socket and this one; `None` on the first.
    pub outage: Option<Outage>,
}

/// A socket is open again: told just before the [`Open`] of a reopening (WebSocketApp's
/// `on_reconnect`, which suppresses `on_open`; here one handler does not silence another).
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
pub struct Reconnect(pub Open);

/// The time between two opened sockets.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outage {
    /// Dials that it took, the successful one included.
    pub attempts: u32,
    /// From the loss to the opening.
    pub duration: Duration,
    /// Why the last socket ended; `None` where we closed it ourselves to come back.
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

/// One whole message with its opcode, told just before its [`Message`], or a fragment, just before
/// its [`Continuation`] (WebSocketApp's `on_data`).
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
pub struct Data {
    /// The connection that it came over.
    pub source: SourceId,
    /// The opened socket that it came over.
    pub epoch: u64,
    /// Text or binary. Binary too is text that was not checked, and every fragment.
    pub payload: Payload,
    /// The message's own opcode, `Text` or `Binary`, also where it came in fragments.
    pub opcode: Opcode,
    /// Whether the message ends here; `false` only for a fragment.
    pub fin: bool,
}

/// One fragment of a message that the server sent in several (WebSocketApp's `on_cont_message`).
///
/// Told in place of [`Message`] where the builder was given such a handler, for every message in
/// more than one fragment, from the first fragment on. A text is checked across its fragments, but a
/// character may be cut by their ends.
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
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

/// The fast lane: all messages of one read in one envelope.
///
/// An envelope for each message costs more than reading it; at some hundred thousand messages a
/// second that is what a handler's thread is busy with. A Ping, Pong or Close between two messages
/// parts a batch, so that the order always holds.
///
/// The messages lie where they were read: a batch, and each [`payload`](Batch::payload) of it, keeps
/// a buffer of up to 64 KiB. What is kept for long is better copied: [`View::to_payload`],
/// [`Payload::detach`].
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
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

    /// How many messages there are, at least one.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Always `false`.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The messages in the order in which they came, lent. A text is checked for UTF-8 a second
    /// time here: some nanoseconds for a short one.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = View<'_>> {
        self.messages.views()
    }

    /// The message of a number, from 0, lent.
    pub fn get(&self, index: usize) -> Option<View<'_>> {
        self.messages.view(index)
    }

    /// The message of a number, from 0, lent as its bytes, of a text as well. Costs nothing.
    pub fn bytes(&self, index: usize) -> Option<&[u8]> {
        self.messages.bytes(index)
    }

    /// The message of a number, from 0. It shares the buffer.
    pub fn payload(&self, index: usize) -> Option<Payload> {
        self.messages.payload(index)
    }

    /// Hands each message to the actor's own `Handler<event::Message>`, and says how many it took:
    /// all, unless it stopped. It gives the fast lane to code that knows single messages in a line.
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

/// The server sent a Ping (WebSocketApp's `on_ping`). Its answer is on the way, unless the socket is
/// closing; of Pongs beyond 64 that wait to be written only the last goes out.
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
pub struct Ping {
    /// The connection that it came over.
    pub source: SourceId,
    /// The opened socket that it came over.
    pub epoch: u64,
    /// At most 125 bytes.
    pub payload: ControlPayload,
}

/// The server sent a Pong, asked or not (WebSocketApp's `on_pong`).
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
pub struct Pong {
    /// The connection that it came over.
    pub source: SourceId,
    /// The opened socket that it came over.
    pub epoch: u64,
    /// At most 125 bytes.
    pub payload: ControlPayload,
    /// The time from the oldest Ping of ours with this payload, counted from when it was queued;
    /// `None` if there was none among the last 64.
    pub round_trip: Option<Duration>,
}

/// A failure, also the tenth in a row (WebSocketApp's `on_error`): once for every dial that
/// failed, and once for every open socket that ended by anything but a Close frame.
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
pub struct Error {
    /// The connection that tells it.
    pub source: SourceId,
    /// The newest opened socket; 0 before the first.
    pub epoch: u64,
    /// What failed, by its stage.
    pub error: Failure,
    /// The number of the dial that failed, or that opened the socket that did, since the last
    /// stable life, from 1.
    pub attempt: u32,
    /// What comes next.
    pub next: Next,
}

/// An opened socket has ended: exactly once for each [`Open`] (WebSocketApp's `on_close`).
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
pub struct Close {
    /// The connection that tells it.
    pub source: SourceId,
    /// The opened socket that has ended.
    pub epoch: u64,
    /// The code of the first Close frame, ours or theirs; 1005 if it had none, 1006 if there was
    /// no such frame.
    pub code: CloseCode,
    /// The reason in that frame.
    pub reason: ByteString,
    /// Whether a Close frame came and ours was made (RFC 6455, 7.1.4). That ours was written is not
    /// certain where the transport broke at that moment.
    pub clean: bool,
    /// Who sent that frame.
    pub by: By,
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
        /// After this time; later while more than 32 events wait for the handlers.
        after: Duration,
        /// The number that the next dial has since the last stable life.
        attempt: u32,
    },
    /// It stays away: for good, or until `command::Resume`.
    Stop,
}

impl Next {
    /// How long until the next dial; `None` if there is none.
    pub fn after(&self) -> Option<Duration> {
        match self {
            Next::Retry { after, .. } => Some(*after),
            Next::Stop => None,
        }
    }
}

/// The connection is about something else now.
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
pub struct State {
    /// The connection that tells it.
    pub source: SourceId,
    /// The newest opened socket; 0 before the first.
    pub epoch: u64,
    /// What it is about now.
    pub phase: Phase,
    /// Since when.
    pub since: Instant,
}

/// The run is over: the very last event, once.
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
pub struct Stopped {
    /// The connection that tells it.
    pub source: SourceId,
    /// The newest opened socket; 0 if none ever was.
    pub epoch: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// A recipient that calls a closure, for where an actor is too much.
///
/// The closure runs in a small actor of its own on this thread. If it panics, that actor ends, and
/// nothing else does. Call it inside an actix `System` or a tokio `LocalSet`.
///
/// ```
/// use actix_ws_client::{Connection, event};
///
/// # actix::System::new().block_on(async {
/// let builder = Connection::builder("ws://127.0.0.1:9001")
///     .on_message(event::call(|message: event::Message| println!("{:?}", message.payload)));
/// # drop(builder);
/// # });
/// ```
pub fn call<M, F>(told: F) -> Recipient<M>
where
    M: actix::Message<Result = ()> + Send + 'static,
    F: FnMut(M) + Unpin + 'static,
{
    Called(told).start().recipient()
}

/// The actor of [`call`].
struct Called<F>(F);

impl<F: Unpin + 'static> Actor for Called<F> {
    type Context = Context<Called<F>>;
}

impl<M, F> Handler<M> for Called<F>
where
    M: actix::Message<Result = ()> + Send + 'static,
    F: FnMut(M) + Unpin + 'static,
{
    type Result = ();

    fn handle(&mut self, message: M, _: &mut Context<Called<F>>) {
        (self.0)(message);
    }
}
