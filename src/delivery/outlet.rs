//! The ways to somebody who is told events.

use std::future::Future;
use std::pin::Pin;

use actix::dev::{SendError, ToEnvelope};
use actix::{Actor, Addr, Handler, Message, Recipient};

use crate::event;

/// An address that can be told the four kinds.
pub(crate) trait HandlerAddr: Send + Sync {
    fn open(&self) -> &dyn EventAddr<event::Open>;
    fn message(&self) -> &dyn EventAddr<event::Message>;
    fn error(&self) -> &dyn EventAddr<event::Error>;
    fn close(&self) -> &dyn EventAddr<event::Close>;
}

/// As a `Recipient`, but lent.
pub(crate) trait EventAddr<M: Message<Result = ()> + Send + 'static> {
    fn try_send(&self, event: M) -> Result<(), SendError<M>>;
    fn do_send(&self, event: M);
    fn send(&self, event: M) -> Receipt;
    /// Whether it leads to the same mailbox.
    fn is_of(&self, recipient: &Recipient<M>) -> bool;
}

/// Comes when an event was taken out of a mailbox that was full.
pub(crate) type Receipt = Pin<Box<dyn Future<Output = ()>>>;

/// The way to somebody, for one kind of event.
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
