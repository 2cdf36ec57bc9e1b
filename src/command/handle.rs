//! A weak way to a connection, for handlers and other threads.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use actix::{MailboxError, Message};
use tokio::sync::oneshot;

use crate::command;

/// A command of a connection: what a [`Handle`] can send.
///
/// Sealed: it is implemented for the types of [`command`](crate::command) that a connection's `Addr`
/// takes too, and for nothing else.
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
pub trait Command: Message<Result: Send> + Send + Enqueue + 'static {}

impl<C: Message<Result: Send> + Send + Enqueue + 'static> Command for C {}

/// Puts a command into the lane of a connection. Implemented by the table of commands in
/// `connection/commands.rs`.
pub(crate) trait Enqueue: Message + Sized {
    /// `false` if the connection's actor is gone.
    fn enqueue(asked: Asked<Self>, lane: &dyn Lane) -> bool;
}

/// A way to send commands to a connection that does not keep it alive.
///
/// `Clone + Send + Sync`: put it into a handler actor, into another thread, into `web::Data`. A
/// handler that kept the connection's `Addr` would close a ring that nothing ever drops.
///
/// It is a lane of its own beside the connection's mailbox: a `command::Send` in it costs a lock and
/// a place in a queue, where an `Addr` has an envelope made. What is sent through a handle and its
/// clones is done in the order in which it was sent, whatever the commands are, and before what is
/// sent to an `Addr` afterwards. The one order that is not kept is the opposite one: what goes
/// through a handle may come before what was sent to an `Addr` earlier, unless that was awaited.
#[derive(Clone)]
pub struct Handle {
    lane: Arc<dyn Lane>,
}

/// The connection's end of its handles.
pub(crate) trait Lane: Any + Send + Sync {
    /// Takes a message for sending. `false` if the connection's actor is gone.
    fn send(&self, asked: Asked<command::Send>) -> bool;

    /// Whether the connection's actor is still there.
    fn is_open(&self) -> bool;
}

/// A command, and who is to be told the answer; nobody, if it is forgotten by who sent it.
pub(crate) struct Asked<C: Message> {
    pub(crate) command: C,
    pub(crate) asker: Option<oneshot::Sender<C::Result>>,
}

impl Handle {
    pub(crate) fn new(lane: Arc<dyn Lane>) -> Handle {
        Handle { lane }
    }

    /// Sends a command and forgets it. `false` if the connection's actor is gone. A
    /// `command::Send` that is refused is counted in `Figures::sends_refused`. There is no bound on this
    /// way: who sends more than the connection's thread can take in uses [`send`](Handle::send) and waits.
    pub fn do_send<C: Command>(&self, command: C) -> bool {
        self.post(command, None)
    }

    /// Sends a command and waits for the answer. If the future is dropped before the connection came to
    /// it, the command is taken back.
    ///
    /// # Errors
    /// [`MailboxError::Closed`] if the connection's actor is gone.
    pub fn send<C: Command>(
        &self,
        command: C,
    ) -> impl Future<Output = Result<C::Result, MailboxError>> + Send + 'static {
        let (asker, answer) = oneshot::channel();
        // Who is not taken is not told either, and that is an answer.
        self.post(command, Some(asker));
        async move { answer.await.map_err(|_| MailboxError::Closed) }
    }

    /// Whether the connection's actor is still there.
    pub fn is_connected(&self) -> bool {
        self.lane.is_open()
    }

    fn post<C: Command>(&self, command: C, asker: Option<oneshot::Sender<C::Result>>) -> bool {
        C::enqueue(Asked { command, asker }, &*self.lane)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("connected", &self.is_connected()).finish()
    }
}
