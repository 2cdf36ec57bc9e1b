//! A weak reference to a connection that sends commands, for handlers and other threads.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use actix::Message;
use tokio::sync::oneshot;

use crate::command::send;
use crate::command::status::{Phase, Watch};

/// A command of a connection: what a [`Handle`] can send.
///
/// The trait is sealed. It is implemented for the commands of the module [`command`](crate::command),
/// which a connection's `Addr` takes too, and for nothing else.
///
/// ```compile_fail,E0277
/// use actix_ws_client::Handle;
///
/// #[derive(actix::Message)]
/// #[rtype(result = "()")]
/// struct Other;
///
/// fn send(handle: &Handle) {
///     handle.do_send(Other); // the trait bound `Other: Command` is not satisfied
/// }
/// ```
#[expect(private_bounds, reason = "the trait is sealed by it")]
#[diagnostic::on_unimplemented(message = "`{Self}` is not a command of a connection")]
pub trait Command: Message<Result: Send> + Send + Enqueue + 'static {
    /// What a connection answers that executed the command.
    type Output: Send + 'static;
    /// Why it did not, with what the command has to give back.
    type Error: std::error::Error + Send + 'static;

    /// Makes one result of the answer through the mailbox or the queue; `None` if none came, for the
    /// actor has ended.
    ///
    /// # Errors
    /// `Error` of the command, if it was refused or no answer came.
    fn answered(answer: Option<Self::Result>) -> Result<Self::Output, Self::Error>;
}

/// How a command gets into the queue of a connection. Implemented by the table of commands in
/// `connection/commands.rs`.
pub(crate) trait Enqueue: Message + Sized {
    /// Queues the command. Returns `false` if the actor has ended; the command is then refused.
    fn enqueue(queued: QueuedCommand<Self>, queue: &dyn CommandQueue) -> bool;

    /// Returns the answer of an actor that has ended; `None` for a command that has none.
    fn refuse(self) -> Option<Self::Result>;
}

/// Sends commands to a connection without keeping it alive.
///
/// It is `Clone + Send + Sync`: keep it in a handler actor, in another thread, in `web::Data`. A
/// handler that kept the connection's `Addr` instead would form a reference cycle, and neither would
/// ever end.
///
/// Commands go through a queue beside the connection's mailbox: a `command::Send` takes a lock and an
/// entry of the queue there, where an `Addr` allocates an envelope. The commands sent through a handle
/// and its clones are executed in the order in which they were sent, whatever their kind, and before
/// commands sent to an `Addr` afterwards. One order is not kept: a command sent through a handle may be
/// executed before one that was sent to an `Addr` earlier, unless that one was awaited.
#[derive(Clone)]
#[doc(alias("sender", "weak", "writer"))]
pub struct Handle {
    queue: Arc<dyn CommandQueue>,
}

/// A connection's queue, as its handles see it.
pub(crate) trait CommandQueue: Any + Send + Sync {
    /// Queues a message. Returns `false` if the actor has ended; the message is then refused.
    fn send(&self, queued: QueuedCommand<send::Send>) -> bool;

    /// Whether the actor has not ended.
    fn is_open(&self) -> bool;

    /// Returns the connection's figures.
    fn watch(&self) -> &Watch;
}

/// A command with the channel for its answer; `None` if the caller does not wait for one.
pub(crate) struct QueuedCommand<C: Message> {
    pub(crate) command: C,
    pub(crate) sender: Option<oneshot::Sender<C::Result>>,
}

impl<C: Enqueue> QueuedCommand<C> {
    /// Answers that the actor has ended. Without an answer the channel is dropped, which is one too.
    #[cold]
    pub(crate) fn refuse(self) {
        if let Some(sender) = self.sender
            && let Some(answer) = self.command.refuse()
        {
            // An error says that the caller dropped its future.
            let _ = sender.send(answer);
        }
    }
}

impl Handle {
    pub(crate) fn new(queue: Arc<dyn CommandQueue>) -> Handle {
        Handle { queue }
    }

    /// Sends a command without waiting for its answer. Returns `false` if the connection's actor has
    /// ended.
    ///
    /// A `command::Send` that is refused is counted in `Figures::sends_refused`. The queue has no
    /// bound: to send more than the connection's thread can take, use [`send`](Handle::send) and await
    /// each answer.
    #[doc(alias("try_send", "send_nowait"))]
    pub fn do_send<C: Command>(&self, command: C) -> bool {
        self.post(command, None)
    }

    /// Sends a command and returns its answer, as one `Result`. The command is queued at once, before
    /// the future is polled. If the future is dropped before the connection executes the command, the
    /// command is cancelled.
    ///
    /// | command | answer | error |
    /// |---|---|---|
    /// | `Send`, `Ping`, `Pong` | [`Accepted`](super::Accepted) | [`SendError`](super::SendError), with the payload |
    /// | `SendBatch` | [`Accepted`](super::Accepted) of the last message | [`Unsent`](super::Unsent), with the messages |
    /// | any other | that of the command | [`Closed`](super::Closed) |
    ///
    /// ```
    /// # use actix_ws_client::{Handle, command};
    /// # async fn greet(connection: Handle) -> Result<(), Box<dyn std::error::Error>> {
    /// let accepted = connection.send(command::Send::text("hello")).await?;
    /// let status = connection.send(command::Status).await?;
    /// assert_eq!(accepted.epoch, status.epoch);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A refused message is given back, also if the connection's actor has ended, or ends before it
    /// executes the command: as `SendError::Closed` then. (An `Addr` drops it, and nests the answer in an
    /// error of actix's.) Only a panic of the application's code in the connection's thread, while
    /// commands are executed, loses those behind it: their `SendError::Closed` has an empty payload.
    pub fn send<C: Command>(
        &self,
        command: C,
    ) -> impl Future<Output = Result<C::Output, C::Error>> + Send + 'static + use<C> {
        let (sender, answer) = oneshot::channel();
        // If the actor has ended, this drops `sender`, and `answer` is an error.
        self.post(command, Some(sender));
        async move { C::answered(answer.await.ok()) }
    }

    /// Whether the connection's actor has not ended, or not begun yet: whether commands are accepted. It says
    /// nothing of a socket: see [`phase`](Handle::phase).
    pub fn is_alive(&self) -> bool {
        self.queue.is_open()
    }

    /// Returns what the connection is doing, without going through its queue:
    /// [`Phase::Closed`](crate::Phase::Closed) if its actor has ended.
    pub fn phase(&self) -> Phase {
        self.queue.watch().phase()
    }

    /// Returns the connection's live figures, which also wait for a phase. Like the handle, they do not keep the
    /// connection alive.
    pub fn watch(&self) -> Watch {
        self.queue.watch().renewed()
    }

    fn post<C: Command>(&self, command: C, sender: Option<oneshot::Sender<C::Result>>) -> bool {
        C::enqueue(QueuedCommand { command, sender }, &*self.queue)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (alive, phase) = (self.is_alive(), self.phase());
        f.debug_struct("Handle").field("alive", &alive).field("phase", &phase).finish()
    }
}
