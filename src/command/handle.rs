//! A weak way to a connection, for handlers and other threads.

use std::any::{Any, TypeId};
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use actix::{MailboxError, Message, WeakRecipient};

/// A message that a [`Handle`] can carry to its connection.
pub trait Command: Message<Result: Send> + Send + 'static {}

impl<M: Message<Result: Send> + Send + 'static> Command for M {}

/// A way to send commands to a connection that does not keep it alive.
///
/// `Clone + Send + Sync`: put it into a handler actor, into another thread, into `web::Data`. A
/// handler that kept the connection's `Addr` would close a ring that nothing ever drops.
#[derive(Clone)]
pub struct Handle {
    /// One weak recipient for each kind of command.
    ways: Arc<[Way]>,
}

/// A `WeakRecipient<M>` under the `TypeId` of its `M`.
struct Way(TypeId, Box<dyn Any + Send + Sync>);

impl Handle {
    pub(crate) fn builder() -> HandleBuilder {
        HandleBuilder(Vec::new())
    }

    /// Sends a command and forgets it. `false` if the connection's actor is gone, or does not know
    /// the command. A `command::Send` that is refused is counted in
    /// `Figures::sends_refused`. The mailbox has no bound on this way: who sends more than the
    /// connection's thread can take in uses [`send`](Handle::send) and waits.
    pub fn do_send<C: Command>(&self, command: C) -> bool {
        let recipient = self.way::<C>().and_then(WeakRecipient::upgrade);
        let alive = recipient.filter(actix::Recipient::connected);
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
        let recipient = self.way::<C>().and_then(WeakRecipient::upgrade);
        let request = recipient.map(|recipient| recipient.send(command));
        async move {
            match request {
                Some(request) => request.await,
                None => Err(MailboxError::Closed),
            }
        }
    }

    /// Whether the connection's actor is still there.
    pub fn is_connected(&self) -> bool {
        let way = self.way::<crate::command::Status>().and_then(WeakRecipient::upgrade);
        way.is_some_and(|recipient| recipient.connected())
    }

    fn way<C: Command>(&self) -> Option<&WeakRecipient<C>> {
        let way = self.ways.iter().find(|way| way.0 == TypeId::of::<C>())?;
        way.1.downcast_ref()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("connected", &self.is_connected()).finish()
    }
}

/// Collects the ways of a [`Handle`].
pub(crate) struct HandleBuilder(Vec<Way>);

impl HandleBuilder {
    pub(crate) fn way<C: Command>(mut self, recipient: WeakRecipient<C>) -> HandleBuilder {
        self.0.push(Way(TypeId::of::<C>(), Box::new(recipient)));
        self
    }

    pub(crate) fn build(self) -> Handle {
        Handle { ways: self.0.into() }
    }
}
