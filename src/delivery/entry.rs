//! The entries of the queue: runs of messages, and single events.

use std::mem;

use crate::delivery::handlers::{BATCH, Cursors, DATA, EVENT, Handlers, Pending};
use crate::delivery::kinds::{Event, KindSet};
use crate::delivery::run::Run;
use crate::event::{self, event_table};
use crate::proto::message::Payload;

/// An event that is an entry of its own in the queue. Messages are queued in runs.
pub(crate) trait Queued: Event {
    /// The kinds whose recipients are notified of it.
    const KINDS: KindSet = Self::BIT;

    /// Whether it is delivered without another event before it.
    const IS_ALONE: bool = Self::KINDS == Self::BIT;

    fn into_entry(self) -> Entry;

    /// Returns the event that is delivered just before it, if there is one.
    fn preceding(&self) -> Option<event::Data> {
        None
    }
}

/// Expands to `Entry`, to an `impl Queued` for each row with an entry of its own, and to what differs
/// by the variant of an entry.
macro_rules! entries {
    ($(
        $(#[$doc:meta])*
        $Event:ident $on:ident
        delivery { $(run)? $(entry $Entry:ident $(after $before:ident)?)? $(; handler $member:ident)? }
        probe $probe:tt
    )+) => {
        /// An entry of the queue.
        pub(crate) enum Entry {
            Run(Run),
            $($($Entry(event::$Event),)?)+
        }

        $($(impl Queued for event::$Event {
            $(
                const KINDS: KindSet = Self::BIT | event::Data::BIT;

                fn preceding(&self) -> Option<event::Data> {
                    Some(self.$before())
                }
            )?

            fn into_entry(self) -> Entry {
                Entry::$Entry(self)
            }
        })?)+

        impl Entry {
            /// Offers a clone of the event to every recipient that the cursors have not passed. Does
            /// nothing for a run, which `Delivery::step_run` delivers.
            #[inline]
            pub(super) fn offer(
                &self,
                handlers: &mut Handlers,
                cursors: &mut Cursors,
                number: u64,
            ) -> Option<Box<Pending>> {
                match self {
                    Entry::Run(_) => None,
                    $($(Entry::$Entry(event) => offer_copy(handlers, cursors, number, event),)?)+
                }
            }

            /// Delivers it to the rest of its recipients, past the bounds of their mailboxes.
            pub(super) fn deliver_unbounded(self, handlers: &Handlers, cursors: Cursors, number: u64) {
                match self {
                    Entry::Run(run) => deliver_run_unbounded(handlers, cursors, number, run),
                    $($(Entry::$Entry(event) => deliver_unbounded(handlers, cursors, number, &event),)?)+
                }
            }
        }
    };
}

event_table!(entries);

/// Offers a clone of an event; the event stays in the queue until all recipients have it.
fn offer_copy<E: Queued>(
    handlers: &mut Handlers,
    cursors: &mut Cursors,
    number: u64,
    event: &E,
) -> Option<Box<Pending>> {
    if let Some(before) = event.preceding()
        && let Some(pending) = handlers.offer(cursors, DATA, number, &mut Some(before))
    {
        return Some(pending);
    }
    handlers.offer(cursors, EVENT, number, &mut Some(event.clone()))
}

fn deliver_unbounded<E: Queued>(handlers: &Handlers, cursors: Cursors, number: u64, event: &E) {
    if let Some(before) = event.preceding() {
        handlers.deliver_unbounded(cursors[DATA], number, &before);
    }
    handlers.deliver_unbounded(cursors[EVENT], number, event);
}

/// What any other event costs in the queue, in bytes, with its payload of at most 125.
pub(crate) const EVENT_COST: usize = size_of::<Entry>() + 96;

impl Entry {
    /// Returns what it costs in the queue, in bytes.
    pub(super) fn cost(&self) -> usize {
        match self {
            Entry::Run(run) => run.cost(),
            Entry::Continuation(event) => EVENT_COST + event.fragment.bytes.len(),
            _ => EVENT_COST,
        }
    }
}

impl event::Continuation {
    /// Makes the `Data` that is delivered before it.
    fn data(&self) -> event::Data {
        let (source, epoch, fragment) = (self.source, self.epoch, &self.fragment);
        let payload = Payload::Binary(fragment.bytes.clone());
        event::Data { source, epoch, payload, opcode: fragment.opcode, fin: fragment.fin }
    }
}

/// Delivers the rest of a run in the order in which `Delivery::step_run` does.
fn deliver_run_unbounded(handlers: &Handlers, mut cursors: Cursors, number: u64, mut run: Run) {
    if handlers.next::<event::Batch>(cursors[BATCH]).is_some() {
        handlers.deliver_unbounded(cursors[BATCH], number, &run.batch());
    }
    while let Some(payload) = run.messages.payload(0) {
        // The cursors are those of the first message; no recipient has any of the others.
        let [of_event, of_data, _] = mem::take(&mut cursors);
        handlers.deliver_unbounded(of_data, number, &run.data(payload.clone()));
        handlers.deliver_unbounded(of_event, number, &run.message(payload));
        run.messages.advance();
    }
}
