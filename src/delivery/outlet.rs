//! Where an event can be sent: one interface over actix's `Recipient` and `Addr`.

use std::future::Future;
use std::pin::Pin;

use actix::dev::{SendError, ToEnvelope};
use actix::{Actor, Addr, Handler, Message, Recipient};

use crate::event;

/// The address of an actor that handles the four events of `ConnectionBuilder::handler`.
pub(crate) trait HandlerAddr: Send + Sync {
    fn open(&self) -> &dyn EventAddr<event::Open>;
    fn message(&self) -> &dyn EventAddr<event::Message>;
    fn error(&self) -> &dyn EventAddr<event::Error>;
    fn close(&self) -> &dyn EventAddr<event::Close>;
}

/// What a `Recipient<M>` does, for an address that also takes other events. A `Recipient` for each kind
/// would cost three allocations.
pub(crate) trait EventAddr<M: Message<Result = ()> + Send + 'static> {
    fn try_send(&self, event: M) -> Result<(), SendError<M>>;
    fn do_send(&self, event: M);
    fn send(&self, event: M) -> Receipt;
    /// Whether the actor has not ended.
    fn connected(&self) -> bool;
    /// Whether `recipient` sends to the same mailbox.
    fn is_of(&self, recipient: &Recipient<M>) -> bool;
}

/// Completes when the actor has taken an event out of its mailbox.
pub(crate) type Receipt = Pin<Box<dyn Future<Output = ()>>>;

/// A borrowed recipient of one kind of event.
pub(crate) enum Outlet<'a, M: Message<Result = ()> + Send + 'static> {
    Recipient(&'a Recipient<M>),
    Addr(&'a dyn EventAddr<M>),
}

impl<A> HandlerAddr for Addr<A>
where
    A: Actor
        + Handler<event::Open>
        + Handler<event::Message>
        + Handler<event::Error>
        + Handler<event::Close>,
    A::Context: ToEnvelope<A, event::Open>
        + ToEnvelope<A, event::Message>
        + ToEnvelope<A, event::Error>
        + ToEnvelope<A, event::Close>,
{
    fn open(&self) -> &dyn EventAddr<event::Open> {
        self
    }
    fn message(&self) -> &dyn EventAddr<event::Message> {
        self
    }
    fn error(&self) -> &dyn EventAddr<event::Error> {
        self
    }
    fn close(&self) -> &dyn EventAddr<event::Close> {
        self
    }
}

impl<A, M> EventAddr<M> for Addr<A>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message<Result = ()> + Send + 'static,
{
    fn try_send(&self, event: M) -> Result<(), SendError<M>> {
        Addr::try_send(self, event)
    }
    fn do_send(&self, event: M) {
        Addr::do_send(self, event);
    }
    fn send(&self, event: M) -> Receipt {
        receipt(Addr::send(self, event))
    }
    fn connected(&self) -> bool {
        Addr::connected(self)
    }
    fn is_of(&self, recipient: &Recipient<M>) -> bool {
        *recipient == self.clone().recipient()
    }
}

impl<M: Message<Result = ()> + Send + 'static> Outlet<'_, M> {
    #[inline]
    pub(super) fn try_send(&self, event: M) -> Result<(), SendError<M>> {
        match self {
            Outlet::Recipient(to) => to.try_send(event),
            Outlet::Addr(to) => to.try_send(event),
        }
    }

    pub(super) fn do_send(&self, event: M) {
        match self {
            Outlet::Recipient(to) => to.do_send(event),
            Outlet::Addr(to) => to.do_send(event),
        }
    }

    pub(super) fn send(&self, event: M) -> Receipt {
        match self {
            Outlet::Recipient(to) => receipt(to.send(event)),
            Outlet::Addr(to) => to.send(event),
        }
    }

    pub(super) fn is_of(&self, recipient: &Recipient<M>) -> bool {
        match self {
            Outlet::Recipient(to) => *to == recipient,
            Outlet::Addr(to) => to.is_of(recipient),
        }
    }
}

fn receipt<T>(request: impl Future<Output = T> + 'static) -> Receipt {
    Box::pin(async move {
        request.await;
    })
}
