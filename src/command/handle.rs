//! A weak way to a connection, for handlers and other threads.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use actix::{MailboxError, Message, Recipient};

/// A message that a [`Handle`] can carry to its connection.
pub trait Command: Message<Result: Send> + Send + 'static {}

impl<M: Message<Result: Send> + Send + 'static> Command for M {}

/// A way to send commands to a connection that does not keep it alive.
///
/// `Clone + Send + Sync`: put it into a handler actor, into another thread, into `web::Data`. A
/// handler that kept the connection's `Addr` would close a ring that nothing ever drops.
#[derive(Clone)]
pub struct Handle {
    ways: Arc<dyn Ways>,
}

/// The ways into a connection: one recipient for each kind of command, made when it is asked for.
/// Kept, they would be the most of what an idle connection costs.
pub(crate) trait Ways: Send + Sync {
    /// Fills `wanted`, an `Option<Recipient<C>>` for some command `C`, if the connection knows `C` and
    /// its actor is there.
    fn fill(&self, wanted: &mut dyn Any);
}

impl Handle {
    pub(crate) fn new(ways: impl Ways + 'static) -> Handle {
        Handle { ways: Arc::new(ways) }
    }

    /// Sends a command and forgets it. `false` if the connection's actor is gone, or does not know
    /// the command. A `command::Send` that is refused is counted in
    /// `Figures::sends_refused`. The mailbox has no bound on this way: who sends more than the
    /// connection's thread can take in uses [`send`](Handle::send) and waits.
    pub fn do_send<C: Command>(&self, command: C) -> bool {
        let alive = self.way::<C>().filter(Recipient::connected);
        alive.map(|recipient| recipient.do_send(command)).is_some()
    }

    /// Sends a command and waits for the answer.
    ///
    /// # Errors
    /// [`MailboxError::Closed`] if the connection's actor is gone, or does not know the command.
    pub fn send<C: Command>(
        &self,
        command: C,
    ) -> impl Future<Output = Result<C::Result, MailboxError>> + Send + 'static {
        let request = self.way::<C>().map(|recipient| recipient.send(command));
        async move {
            match request {
                Some(request) => request.await,
                None => Err(MailboxError::Closed),
            }
        }
    }

    /// Whether the connection's actor is still there.
    pub fn is_connected(&self) -> bool {
        self.way::<crate::command::Status>().is_some_and(|recipient| recipient.connected())
    }

    fn way<C: Command>(&self) -> Option<Recipient<C>> {
        let mut way = None;
        self.ways.fill(&mut way);
        way
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("connected", &self.is_connected()).finish()
    }
}
