//! The connection's end of a stream: a handler that is no actor.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;

use actix::Recipient;
use actix::dev::SendError;

use crate::delivery::{EventAddr, HandlerAddr};
use crate::event::{self, Event, Kind, Numbered, event_table};
use crate::stream::inbox::{Entry, Inbox, Refused};

/// Puts events into the buffer, in the connection's own poll. It is full as a mailbox is: the connection then
/// reads up to `read_ahead` and stops.
pub(super) struct Inlet {
    inbox: Arc<Inbox>,
    /// Whether a batch comes to the consumer as its messages.
    splits: bool,
}

impl Inlet {
    pub(super) fn new(inbox: Arc<Inbox>, splits: bool) -> Inlet {
        Inlet { inbox, splits }
    }

    fn entry<M: Kind>(&self, event: M) -> Entry {
        match event.into() {
            Event::Batch(batch) if self.splits => Entry::Batch(batch),
            event => Entry::Event(event),
        }
    }

    /// Ends the stream behind its last event.
    fn end_after<M: Kind>(&self) {
        if M::BIT == event::Stopped::BIT {
            self.inbox.end();
        }
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.inbox.end();
    }
}

/// Takes an event back out of an entry.
fn own<M: Kind>(entry: Entry) -> M {
    let event = match entry {
        Entry::Batch(batch) => Event::Batch(batch),
        Entry::Event(event) => event,
    };
    M::take(event).expect("it is of the kind that was sent")
}

impl<M: Kind> EventAddr<M> for Inlet {
    fn try_send(&self, event: M) -> Result<(), SendError<M>> {
        match self.inbox.offer(self.entry(event)) {
            Ok(()) => {
                self.end_after::<M>();
                Ok(())
            }
            Err(Refused::Full(entry)) => Err(SendError::Full(own(entry))),
            Err(Refused::Dropped(entry)) => Err(SendError::Closed(own(entry))),
        }
    }

    fn do_send(&self, event: M) {
        self.inbox.force(self.entry(event));
        self.end_after::<M>();
    }

    fn send(&self, event: M) -> Pin<Box<dyn Future<Output = ()>>> {
        let (inbox, mut waiting) = (self.inbox.clone(), Some(self.entry(event)));
        Box::pin(async move {
            poll_fn(|cx| inbox.poll_offer(cx, &mut waiting)).await;
            if M::BIT == event::Stopped::BIT {
                inbox.end();
            }
        })
    }

    fn is_of(&self, _: &Recipient<M>) -> bool {
        false
    }
}

/// Expands to an `impl HandlerAddr` that takes every kind of event.
macro_rules! inlet {
    ($(
        $(#[$doc:meta])*
        $Event:ident $on:ident $on_to:ident
        event $event:tt
        delivery $delivery:tt
        probe $probe:tt
    )+) => {
        impl HandlerAddr for Inlet {
            fn connected(&self) -> bool {
                self.inbox.is_open()
            }

            $(fn $on(&self) -> Option<&dyn EventAddr<event::$Event>> {
                Some(self)
            })+
        }
    };
}

event_table!(inlet);
