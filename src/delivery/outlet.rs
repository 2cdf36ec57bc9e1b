//! Where an event can be sent: one interface over actix's `Recipient`, `WeakRecipient` and `Addr`.

use std::any::Any;
use std::future::{Future, ready};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Waker};

use actix::dev::{SendError, ToEnvelope};
use actix::{Actor, Addr, Handler, Message, Recipient, WeakRecipient};

use crate::event::{self, Event, Kind, event_table};

/// Expands to `HandlerAddr`, with a method for each kind of event, and to an `impl` for what takes one kind
/// or all of them.
macro_rules! handler_addr {
    ($(
        $(#[$doc:meta])*
        $Event:ident $on:ident $on_to:ident
        event $event:tt
        delivery $delivery:tt
        probe $probe:tt
    )+) => {
        /// What takes some kinds of event: for each of them it returns what sends it.
        pub(crate) trait HandlerAddr: Send + Sync {
            /// Whether the actor has not ended.
            fn connected(&self) -> bool;

            /// Whether it sends all its kinds to this recipient, as `Event`.
            fn is_of_all(&self, _: &Recipient<Event>) -> bool {
                false
            }

            $(fn $on(&self) -> Option<&dyn EventAddr<event::$Event>> {
                None
            })+
        }

        $(impl HandlerAddr for WeakRecipient<event::$Event> {
            fn connected(&self) -> bool {
                upgrade(self).is_some()
            }

            fn $on(&self) -> Option<&dyn EventAddr<event::$Event>> {
                Some(self)
            }
        })+

        impl HandlerAddr for Recipient<Event> {
            fn connected(&self) -> bool {
                Recipient::connected(self)
            }

            fn is_of_all(&self, recipient: &Recipient<Event>) -> bool {
                self == recipient
            }

            $(fn $on(&self) -> Option<&dyn EventAddr<event::$Event>> {
                Some(self)
            })+
        }

        impl HandlerAddr for WeakRecipient<Event> {
            fn connected(&self) -> bool {
                upgrade(self).is_some()
            }

            fn is_of_all(&self, recipient: &Recipient<Event>) -> bool {
                upgrade(self).is_some_and(|own| own == *recipient)
            }

            $(fn $on(&self) -> Option<&dyn EventAddr<event::$Event>> {
                Some(self)
            })+
        }
    };
}

event_table!(handler_addr);

/// What a `Recipient<M>` does, for an address that also takes other events. A `Recipient` for each kind
/// would cost three allocations.
pub(crate) trait EventAddr<M: Message<Result = ()> + Send + 'static> {
    fn try_send(&self, event: M) -> Result<(), SendError<M>>;
    fn do_send(&self, event: M);
    fn send(&self, event: M) -> Receipt;
    /// Whether `recipient` sends to the same mailbox.
    fn is_of(&self, recipient: &Recipient<M>) -> bool;
}

/// Completes when the actor has taken an event out of its mailbox.
pub(crate) type Receipt = Pin<Box<dyn Future<Output = ()>>>;

/// Leaves an event in a full mailbox whose receipt will not be polled any more. Dropping the receipt would take the event out
/// again, so it is leaked: one small allocation.
pub(crate) fn leave_in_mailbox(mut receipt: Receipt) {
    // With its waker it would keep the task that has ended, too.
    if receipt.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        mem::forget(receipt);
    }
}

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
    fn connected(&self) -> bool {
        Addr::connected(self)
    }

    fn on_open(&self) -> Option<&dyn EventAddr<event::Open>> {
        Some(self)
    }

    fn on_message(&self) -> Option<&dyn EventAddr<event::Message>> {
        Some(self)
    }

    fn on_error(&self) -> Option<&dyn EventAddr<event::Error>> {
        Some(self)
    }

    fn on_close(&self) -> Option<&dyn EventAddr<event::Close>> {
        Some(self)
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

/// Sends the event as an [`Event`].
impl<M: Kind> EventAddr<M> for Recipient<Event> {
    fn try_send(&self, event: M) -> Result<(), SendError<M>> {
        Recipient::try_send(self, event.into()).map_err(|err| match err {
            SendError::Full(event) => SendError::Full(own(event)),
            SendError::Closed(event) => SendError::Closed(own(event)),
        })
    }
    fn do_send(&self, event: M) {
        Recipient::do_send(self, event.into());
    }
    fn send(&self, event: M) -> Receipt {
        receipt(Recipient::send(self, event.into()))
    }
    fn is_of(&self, _: &Recipient<M>) -> bool {
        false
    }
}

/// Takes an event out that was sent as an [`Event`].
fn own<M: Kind>(event: Event) -> M {
    M::take(event).expect("it is of the kind that was sent")
}

/// Sends the event as it is, or as an [`Event`].
///
/// A recipient that was just upgraded is never full: actix puts one event of each clone into the mailbox past its
/// bound. So this is always full, and the receipt of `send` says when the next event may be sent.
impl<M, W> EventAddr<M> for WeakRecipient<W>
where
    M: Kind + Into<W>,
    W: Message<Result = ()> + Send + 'static,
{
    fn try_send(&self, event: M) -> Result<(), SendError<M>> {
        let full = upgrade(self).is_some();
        Err(if full { SendError::Full(event) } else { SendError::Closed(event) })
    }
    fn do_send(&self, event: M) {
        if let Some(recipient) = upgrade(self) {
            recipient.do_send(event.into());
        }
    }
    fn send(&self, event: M) -> Receipt {
        match upgrade(self) {
            Some(recipient) => receipt(recipient.send(event.into())),
            // It has ended since `try_send`: the next event finds that out.
            None => Box::pin(ready(())),
        }
    }
    fn is_of(&self, recipient: &Recipient<M>) -> bool {
        let recipient = (recipient as &dyn Any).downcast_ref::<Recipient<W>>();
        recipient.is_some_and(|recipient| upgrade(self).as_ref() == Some(recipient))
    }
}

/// Returns the recipient, unless its actor has ended.
fn upgrade<M: Message<Result = ()> + Send>(weak: &WeakRecipient<M>) -> Option<Recipient<M>> {
    weak.upgrade().filter(Recipient::connected)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use tokio::sync::oneshot;

    use super::*;

    struct Task;

    impl Wake for Task {
        fn wake(self: Arc<Task>) {}
    }

    #[test]
    fn an_event_that_is_left_in_a_mailbox_keeps_no_task() {
        let (sender, receiver) = oneshot::channel::<()>();
        let mut receipt: Receipt = Box::pin(async { drop(receiver.await) });
        let task = Arc::new(Task);
        let waker = Waker::from(task.clone());
        assert!(receipt.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        assert_eq!(Arc::strong_count(&task), 2);
        leave_in_mailbox(receipt);
        assert_eq!(Arc::strong_count(&task), 1);
        assert!(!sender.is_closed(), "the event stays where it is");
    }
}
