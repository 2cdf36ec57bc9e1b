//! What stands in the queue.

use std::mem;
use std::time::Instant;

use crate::command::status::SourceId;
use crate::delivery::handlers::{BATCH, Cursors, DATA, EVENT, Handlers, Pending};
use crate::delivery::kinds::{Event, KindSet};
use crate::event::{self, event_table};
use crate::proto::frame::Opcode;
use crate::proto::message::Payload;
use crate::proto::messages::Messages;

/// A kind of event that stands in the queue by itself. Messages stand there in runs.
pub(crate) trait Queued: Event {
    /// The kinds that are told when it comes.
    const KINDS: KindSet = Self::BIT;

    /// Whether it is told by itself, without another event before it.
    const IS_ALONE: bool = Self::KINDS == Self::BIT;

    fn into_entry(self) -> Entry;

    /// What is told before it.
    fn preceding(&self) -> Option<event::Data> {
        None
    }
}

/// Expands to `Entry`, to an `impl Queued` for each event that stands there by itself, and to what is
/// done with an entry by its kind.
macro_rules! entries {
    ($(
        $(#[$doc:meta])*
        $Event:ident $on:ident
        delivery { $(run)? $(entry $Entry:ident $(after $before:ident)?)? $(; handler $member:ident)? }
        probe $probe:tt
    )+) => {
        /// Something in the queue.
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
            /// Offers a copy to every recipient whose turn it still is. Runs are not offered here.
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

            /// Hands it over past the bounds of the mailboxes.
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

/// Offers an event that stays in the queue until everybody was told.
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

/// Hands an event over, and before it what is told before it.
fn deliver_unbounded<E: Queued>(handlers: &Handlers, cursors: Cursors, number: u64, event: &E) {
    if let Some(before) = event.preceding() {
        handlers.deliver_unbounded(cursors[DATA], number, &before);
    }
    handlers.deliver_unbounded(cursors[EVENT], number, event);
}

/// Messages that were read together.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) source: SourceId,
    pub(crate) epoch: u64,
    /// When their last bytes were read.
    pub(crate) received: Instant,
    pub(crate) messages: Messages,
}

/// What a message costs in the queue besides its payload, in bytes: its place in the buffer, which may
/// be half empty.
const MESSAGE_COST: usize = 32;

/// What any other event costs, its payload included, in bytes.
pub(crate) const EVENT_COST: usize = size_of::<Entry>() + 96;

impl Entry {
    pub(super) fn cost(&self) -> usize {
        match self {
            Entry::Run(run) => run.cost(),
            Entry::Continuation(event) => EVENT_COST + event.fragment.bytes.len(),
            _ => EVENT_COST,
        }
    }
}

/// What a message of so many bytes costs in the queue.
#[inline]
pub(crate) fn cost(len: usize) -> usize {
    len + MESSAGE_COST
}

impl Run {
    /// One of those that are left, which keeps little but its own bytes.
    #[inline]
    pub(super) fn own_message(&self, index: usize) -> Option<event::Message> {
        self.messages.own_payload(index).map(|payload| self.message(payload))
    }

    #[inline]
    pub(super) fn message(&self, payload: Payload) -> event::Message {
        let (source, epoch, received) = (self.source, self.epoch, self.received);
        event::Message { source, epoch, payload, received }
    }

    /// What its messages cost in the queue, in bytes: what they keep of memory, until the last.
    #[inline]
    pub(super) fn cost(&self) -> usize {
        match self.messages.len() {
            0 => 0,
            left => self.messages.held() + MESSAGE_COST * left,
        }
    }

    /// All messages that are left.
    pub(super) fn batch(&self) -> event::Batch {
        event::Batch::new(self.source, self.epoch, self.received, self.messages.clone())
    }

    /// All messages that are left, which then are no more.
    pub(super) fn take_batch(&mut self) -> event::Batch {
        let messages = mem::take(&mut self.messages);
        event::Batch::new(self.source, self.epoch, self.received, messages)
    }

    /// The first of those that are left.
    pub(super) fn data(&self, payload: Payload) -> event::Data {
        let (source, epoch) = (self.source, self.epoch);
        let opcode = self.messages.opcode(0).unwrap_or(Opcode::Binary);
        event::Data { source, epoch, payload, opcode, fin: true }
    }

    /// Forgets messages until `enough` says that what the rest costs will do, but keeps the first
    /// `kept`; the oldest of the others first, or the newest. Says how many.
    pub(super) fn shed(
        &mut self,
        kept: usize,
        oldest: bool,
        enough: impl Fn(usize) -> bool,
    ) -> usize {
        // What it would cost without the memory that only the forgotten ones need.
        let lens = |index| self.messages.bytes(index).map_or(0, <[u8]>::len);
        let mut cost_left: usize = (0..self.messages.len()).map(lens).map(cost).sum();
        let droppable = self.messages.len().saturating_sub(kept);
        let mut dropped = 0;
        while dropped < droppable && !enough(cost_left) {
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
    /// What is told before it.
    fn data(&self) -> event::Data {
        let (source, epoch, fragment) = (self.source, self.epoch, &self.fragment);
        let payload = Payload::Binary(fragment.bytes.clone());
        event::Data { source, epoch, payload, opcode: fragment.opcode, fin: fragment.fin }
    }
}

fn deliver_run_unbounded(handlers: &Handlers, mut cursors: Cursors, number: u64, mut run: Run) {
    if handlers.next::<event::Batch>(cursors[BATCH]).is_some() {
        handlers.deliver_unbounded(cursors[BATCH], number, &run.batch());
    }
    while let Some(payload) = run.messages.payload(0) {
        let [of_event, of_data, _] = mem::take(&mut cursors);
        handlers.deliver_unbounded(of_data, number, &run.data(payload.clone()));
        handlers.deliver_unbounded(of_event, number, &run.message(payload));
        run.messages.advance();
    }
}
