//! The ways to somebody who is told events.

use std::future::Future;
use std::pin::Pin;

use actix::dev::{SendError, ToEnvelope};
use actix::{Actor, Addr, Handler, Message, Recipient};

use crate::event;

/// An address that can be told the four kinds.
pub(crate) trait Four: Send + Sync {
    fn open(&self) -> &dyn Member<event::Open>;
    fn message(&self) -> &dyn Member<event::Message>;
    fn error(&self) -> &dyn Member<event::Error>;
    fn close(&self) -> &dyn Member<event::Close>;
}

/// As a `Recipient`, but lent.
pub(crate) trait Member<M: Message<Result = ()> + Send + 'static> {
    fn try_send(&self, event: M) -> Result<(), SendError<M>>;
    fn do_send(&self, event: M);
    fn send(&self, event: M) -> Answer;
    /// Whether it leads to the same mailbox.
    fn is(&self, recipient: &Recipient<M>) -> bool;
}

/// Comes when an event was taken out of a mailbox that was full.
pub(crate) type Answer = Pin<Box<dyn Future<Output = ()>>>;

/// The way to somebody, for one kind of event.
pub(crate) enum Port<'a, M: Message<Result = ()> + Send + 'static> {
    One(&'a Recipient<M>),
    Member(&'a dyn Member<M>),
}

impl<A> Four for Addr<A>
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
    fn open(&self) -> &dyn Member<event::Open> {
        self
    }
    fn message(&self) -> &dyn Member<event::Message> {
        self
    }
    fn error(&self) -> &dyn Member<event::Error> {
        self
    }
    fn close(&self) -> &dyn Member<event::Close> {
        self
    }
}

impl<A, M> Member<M> for Addr<A>
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
    fn send(&self, event: M) -> Answer {
        answer(Addr::send(self, event))
    }
    fn is(&self, recipient: &Recipient<M>) -> bool {
        *recipient == self.clone().recipient()
    }
}

impl<M: Message<Result = ()> + Send + 'static> Port<'_, M> {
    #[inline]
    pub(super) fn try_send(&self, event: M) -> Result<(), SendError<M>> {
        match self {
            Port::One(to) => to.try_send(event),
            Port::Member(to) => to.try_send(event),
        }
    }

    pub(super) fn do_send(&self, event: M) {
        match self {
            Port::One(to) => to.do_send(event),
            Port::Member(to) => to.do_send(event),
        }
    }

    pub(super) fn send(&self, event: M) -> Answer {
        match self {
            Port::One(to) => answer(to.send(event)),
            Port::Member(to) => to.send(event),
        }
    }

    pub(super) fn is(&self, recipient: &Recipient<M>) -> bool {
        match self {
            Port::One(to) => *to == recipient,
            Port::Member(to) => to.is(recipient),
        }
    }
}

fn answer<T>(request: impl Future<Output = T> + 'static) -> Answer {
    Box::pin(async move {
        request.await;
    })
}
