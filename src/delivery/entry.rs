//! The entries of the queue: runs of messages, and single events.

use std::mem;
use std::time::Instant;

use crate::command::status::SourceId;
use crate::delivery::handlers::{BATCH, Cursors, DATA, EVENT, Handlers, Pending};
use crate::delivery::kinds::{Event, KindSet};
use crate::event::{self, event_table};
use crate::proto::frame::Opcode;
use crate::proto::message::Payload;
use crate::proto::messages::Messages;

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

/// Messages that were read together. What was delivered of them is no longer part of it.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) source: SourceId,
    pub(crate) epoch: u64,
    /// The time at which their last bytes were read.
    pub(crate) received: Instant,
    pub(crate) messages: Messages,
}

/// What a message costs in the queue beside its payload, in bytes: its entry in a buffer that may be half
/// empty.
const MESSAGE_COST: usize = 32;

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

/// Returns what a message with a payload of `len` bytes costs in the queue, in bytes.
#[inline]
pub(crate) fn cost(len: usize) -> usize {
    len + MESSAGE_COST
}

impl Run {
    /// Returns one of the messages. It keeps little more memory than its own bytes.
    #[inline]
    pub(super) fn own_message(&self, index: usize) -> Option<event::Message> {
        self.messages.own_payload(index).map(|payload| self.message(payload))
    }

    #[inline]
    pub(super) fn message(&self, payload: Payload) -> event::Message {
        let (source, epoch, received) = (self.source, self.epoch, self.received);
        event::Message { source, epoch, payload, received }
    }

    /// Returns what its messages cost in the queue, in bytes: the whole buffer in which they lie, until
    /// the last one is delivered.
    #[inline]
    pub(super) fn cost(&self) -> usize {
        match self.messages.len() {
            0 => 0,
            left => self.messages.held() + MESSAGE_COST * left,
        }
    }

    /// Returns all messages as a batch.
    pub(super) fn batch(&self) -> event::Batch {
        event::Batch::new(self.source, self.epoch, self.received, self.messages.clone())
    }

    /// Takes all messages out as a batch.
    pub(super) fn take_batch(&mut self) -> event::Batch {
        let messages = mem::take(&mut self.messages);
        event::Batch::new(self.source, self.epoch, self.received, messages)
    }

    /// Makes the `Data` of the first message.
    pub(super) fn data(&self, payload: Payload) -> event::Data {
        let (source, epoch) = (self.source, self.epoch);
        let opcode = self.messages.opcode(0).unwrap_or(Opcode::Binary);
        event::Data { source, epoch, payload, opcode, fin: true }
    }

    /// Drops messages until `is_enough` accepts what the rest costs: the oldest first, or the newest. Keeps
    /// the first `kept` in any case. Returns the number of dropped messages.
    pub(super) fn shed(
        &mut self,
        kept: usize,
        oldest: bool,
        is_enough: impl Fn(usize) -> bool,
    ) -> usize {
        // `cost` counts the whole buffer, which does not shrink by dropping messages from it. So this counts
        // as if the rest lay in a buffer of its own, and below it is copied into one if that saves memory.
        let lens = |index| self.messages.bytes(index).map_or(0, <[u8]>::len);
        let mut cost_left: usize = (0..self.messages.len()).map(lens).map(cost).sum();
        let droppable = self.messages.len().saturating_sub(kept);
        let mut dropped = 0;
        while dropped < droppable && !is_enough(cost_left) {
            let index = if oldest { kept + dropped } else { self.messages.len() - 1 - dropped };
            cost_left -= cost(lens(index));
            dropped += 1;
        }
        let at = if oldest { kept } else { self.messages.len() - dropped };
        self.messages.remove(at, dropped);
        if self.cost() > cost_left {
            self.messages.compact();
        }
        dropped
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
