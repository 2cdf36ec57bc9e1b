//! The events that are queued one by one, and how the rest of the queue is delivered at the end.

use std::mem;

use crate::command::status::Handshake;
use crate::delivery::cost::{self, BLOCK};
use crate::delivery::handlers::{BATCH, Cursors, DATA, EVENT, Handlers, Pending};
use crate::delivery::kinds::Delivered;
use crate::delivery::run::Run;
use crate::error::Error;
use crate::event::{self, KindSet, Numbered, event_table};
use crate::proto::message::Payload;

/// An event that is an entry of its own in the queue. Messages are queued in runs.
pub(crate) trait Queued: Delivered + Held {
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
        $Event:ident $on:ident $on_to:ident
        event $event:tt
        delivery { $(run)? $(entry $Entry:ident $(after $before:ident)?)? }
        probe $probe:tt
    )+) => {
        /// An event in the queue that is not a message.
        pub(crate) enum Entry {
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
            /// Offers a clone of the event to every recipient that the cursors have not passed.
            #[inline]
            pub(super) fn offer(
                &self,
                handlers: &mut Handlers,
                cursors: &mut Cursors,
                number: u64,
            ) -> Option<Box<Pending>> {
                match self {
                    $($(Entry::$Entry(event) => offer_copy(handlers, cursors, number, event),)?)+
                }
            }

            /// Delivers it to the rest of its recipients, past the bounds of their mailboxes.
            pub(super) fn deliver_unbounded(self, handlers: &Handlers, cursors: Cursors, number: u64) {
                match self {
                    $($(Entry::$Entry(event) => deliver_unbounded(handlers, cursors, number, &event),)?)+
                }
            }

            /// Returns what it costs in the queue, in bytes.
            pub(super) fn cost(&self) -> usize {
                match self {
                    $($(Entry::$Entry(event) => EVENT_COST + event.held(),)?)+
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

/// What an event costs in the queue beside what it holds, in bytes.
pub(crate) const EVENT_COST: usize = cost::of_entry::<Entry>();

/// An event that says how much memory it keeps. Each queued event has to.
pub(crate) trait Held {
    /// Returns the bytes of memory behind the event's pointers that nothing else may keep.
    fn held(&self) -> usize;
}

/// Returns what a block with so many bytes takes: nothing if it is empty.
fn block(len: usize) -> usize {
    if len == 0 { 0 } else { len + BLOCK }
}

impl Held for event::Open {
    fn held(&self) -> usize {
        let lines = self.handshake.headers.iter();
        size_of::<Handshake>() + lines.map(|(name, value)| name.len() + value.len()).sum::<usize>()
    }
}

impl Held for event::Reconnect {
    fn held(&self) -> usize {
        // The `Open` that follows it keeps the same.
        0
    }
}

impl Held for event::Continuation {
    fn held(&self) -> usize {
        block(self.fragment.bytes.len())
    }
}

impl Held for event::Ping {
    fn held(&self) -> usize {
        block(self.payload.len())
    }
}

impl Held for event::Pong {
    fn held(&self) -> usize {
        block(self.payload.len())
    }
}

impl Held for event::Error {
    fn held(&self) -> usize {
        match &self.error {
            Error::Refused(refusal) => block(refusal.body.len()),
            _ => 0,
        }
    }
}

impl Held for event::Close {
    fn held(&self) -> usize {
        block(self.reason.len()) + self.peer.as_ref().map_or(0, |peer| block(peer.reason.len()))
    }
}

impl Held for event::State {
    fn held(&self) -> usize {
        0
    }
}

impl Held for event::Stopped {
    fn held(&self) -> usize {
        0
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
pub(super) fn deliver_run_unbounded(
    handlers: &Handlers,
    mut cursors: Cursors,
    number: u64,
    mut run: Run,
) {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use bytes::Bytes;

    use super::*;
    use crate::command::status::{Outcome, OutcomeKind, Phase, SourceId, Timings, Watch};
    use crate::command::{self, CommandQueue, Handle, QueuedCommand};
    use crate::error::Refusal;
    use crate::headers::Headers;
    use crate::proto::close::CloseCode;
    use crate::proto::frame::Opcode;
    use crate::proto::message::{ControlPayload, Fragment};
    use crate::proto::session::{By, PeerClose};

    /// The queue of a connection that has ended.
    struct Ended(Watch);

    impl CommandQueue for Ended {
        fn send(&self, _: QueuedCommand<command::Send>) -> bool {
            false
        }

        fn is_open(&self) -> bool {
            false
        }

        fn watch(&self) -> &Watch {
            &self.0
        }
    }

    fn headers(lines: &[(&str, &'static str)]) -> Headers {
        lines
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Bytes::from_static(value.as_bytes())))
            .collect()
    }

    fn open(lines: &[(&str, &'static str)]) -> event::Open {
        let handshake = Handshake {
            status: 101,
            headers: headers(lines),
            subprotocol: None,
            extensions: None,
            peer: None,
            tls: None,
            timings: Timings::default(),
        };
        let connection = Handle::new(Arc::new(Ended(Watch::new(Instant::now()))));
        let (source, handshake) = (SourceId::next(), Arc::new(handshake));
        event::Open {
            source,
            epoch: 1,
            name: None,
            connection,
            handshake,
            attempts: 1,
            outage: None,
        }
    }

    fn close(reason: &'static str, peer: Option<&'static str>) -> event::Close {
        let peer = peer
            .map(|reason| Box::new(PeerClose { code: CloseCode::NORMAL, reason: reason.into() }));
        event::Close {
            source: SourceId::next(),
            epoch: 1,
            name: None,
            attempt: 1,
            code: CloseCode::NORMAL,
            reason: reason.into(),
            clean: true,
            by: By::Local,
            unsent_messages: 0,
            unsent_bytes: 0,
            peer,
            lasted: Duration::ZERO,
            next: event::Next::Stop,
        }
    }

    fn failed(error: Error) -> event::Error {
        let source = SourceId::next();
        event::Error { source, epoch: 0, name: None, error, attempt: 1, next: event::Next::Stop }
    }

    fn refused(body: &'static str) -> event::Error {
        let (reason, headers) = (String::new(), Headers::default());
        let body = Bytes::from_static(body.as_bytes());
        failed(Error::Refused(
            Refusal { status: 503, reason, authorized: false, headers, body }.into(),
        ))
    }

    /// A block is counted with 16 bytes of the allocator, an empty one with nothing.
    #[test]
    fn an_event_costs_its_entry_and_what_it_alone_keeps() {
        fn costs(event: impl Queued, held: usize) {
            assert_eq!(event.into_entry().cost(), EVENT_COST + held);
        }
        let source = SourceId::next();
        let ping = |len| event::Ping {
            source,
            epoch: 1,
            payload: ControlPayload::new(vec![7; len]).unwrap(),
        };
        let pong = |len| event::Pong {
            source,
            epoch: 1,
            payload: ControlPayload::new(vec![7; len]).unwrap(),
            round_trip: None,
        };
        let fragment = |len| event::Continuation {
            source,
            epoch: 1,
            fragment: Fragment {
                opcode: Opcode::Text,
                index: 0,
                bytes: vec![7; len].into(),
                fin: true,
            },
            received: Instant::now(),
        };
        costs(ping(0), 0);
        costs(ping(10), 26);
        costs(pong(0), 0);
        costs(pong(10), 26);
        costs(fragment(0), 0);
        costs(fragment(100), 116);
        costs(failed(Error::Overflow), 0);
        costs(refused(""), 0);
        costs(refused("busy"), 20);
        costs(close("", None), 0);
        costs(close("bye", None), 19);
        costs(close("", Some("see you")), 23);
        costs(close("bye", Some("see you")), 42);
        let lines: &[(&str, &'static str)] = &[("server", "x"), ("date", "today")];
        costs(open(&[]), size_of::<Handshake>());
        costs(open(lines), size_of::<Handshake>() + 16);
        // The `Open` behind it keeps the same.
        costs(event::Reconnect(open(lines)), 0);
        costs(event::State { source, epoch: 1, phase: Phase::Open, since: Instant::now() }, 0);
        let outcome = Outcome {
            kind: OutcomeKind::Closed,
            error: None,
            close: None,
            by: By::Nobody,
            clean: false,
            unsent_messages: 0,
            unsent_bytes: 0,
            peer: None,
            epochs: 0,
            attempts: 0,
        };
        costs(event::Stopped { source, epoch: 0, outcome }, 0);
    }
}
