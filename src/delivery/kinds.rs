//! The kinds of event: who is told each, and its place in the queue.

use std::collections::VecDeque;
use std::time::Instant;

use actix::Recipient;

use crate::command::status::SourceId;
use crate::event;
use crate::proto::frame::Opcode;
use crate::proto::message::Payload;

/// The recipients of one kind of event.
pub(crate) type Slots<M> = Vec<Slot<M>>;

/// One recipient. It stays the one value that it was registered as: a clone of it is never full.
#[derive(Debug)]
pub(crate) struct Slot<M>
where
    M: actix::Message + Send,
    M::Result: Send,
{
    pub(super) to: Recipient<M>,
    /// The number of the first entry that is meant for it: who comes late is not told of what
    /// was there before.
    pub(super) from: u64,
}

/// Everybody who is told something, by kind of event.
#[derive(Default, Debug)]
pub(crate) struct Handlers {
    pub(super) open: Slots<event::Open>,
    pub(super) reconnect: Slots<event::Reconnect>,
    pub(super) data: Slots<event::Data>,
    pub(super) batch: Slots<event::Batch>,
    pub(super) message: Slots<event::Message>,
    pub(super) ping: Slots<event::Ping>,
    pub(super) pong: Slots<event::Pong>,
    pub(super) error: Slots<event::Error>,
    pub(super) close: Slots<event::Close>,
    pub(super) state: Slots<event::State>,
    pub(super) stopped: Slots<event::Stopped>,
}

impl Handlers {
    /// Adds a recipient that is told of everything.
    pub(crate) fn add<M: Event>(&mut self, to: Recipient<M>) {
        self.of().push(Slot { to, from: 0 });
    }

    /// The recipients of one kind of event.
    pub(super) fn of<M: Event>(&mut self) -> &mut Slots<M> {
        M::slots(self)
    }

    /// How many recipients there are.
    pub(crate) fn count(&self) -> usize {
        self.open.len()
            + self.reconnect.len()
            + self.data.len()
            + self.batch.len()
            + self.message.len()
            + self.ping.len()
            + self.pong.len()
            + self.error.len()
            + self.close.len()
            + self.state.len()
            + self.stopped.len()
    }
}

/// To how many recipients the head of the queue went already: of the event itself, of the `Data`
/// that goes before a message, and of the `Batch` that goes before a whole run.
pub(super) type Told = [usize; 3];

/// A kind of event that handlers can be told.
pub(crate) trait Event:
    actix::Message<Result = ()> + Clone + Send + Sized + 'static
{
    fn slots(handlers: &mut Handlers) -> &mut Slots<Self>;

    /// The cursor of this kind of event, where the head of the queue is of it.
    fn cursor<'a>(head: &Entry, told: &'a mut Told) -> Option<&'a mut usize>;

    /// What somebody who subscribes only now is told of the socket that is open.
    fn late(_open: &event::Open) -> Option<Self> {
        None
    }
}

/// A kind of event that stands in the queue by itself. Messages stand there in runs.
pub(crate) trait Queued: Event {
    fn wrap(self) -> Entry;
}

/// Something in the queue.
pub(crate) enum Entry {
    Open(event::Open),
    Reconnect(event::Reconnect),
    Run(Run),
    Ping(event::Ping),
    Pong(event::Pong),
    Error(event::Error),
    Close(event::Close),
    State(event::State),
    Stopped(event::Stopped),
}

/// Messages that were read together.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) source: SourceId,
    pub(crate) epoch: u64,
    /// When their last bytes were read.
    pub(crate) received: Instant,
    pub(crate) payloads: VecDeque<Payload>,
}

/// What a message costs in the queue besides its payload, in bytes.
const MESSAGE: usize = 96;

/// What any other event costs, its payload included, in bytes.
pub(super) const EVENT: usize = size_of::<Entry>() + MESSAGE;

impl Entry {
    pub(super) fn cost(&self) -> usize {
        match self {
            Entry::Run(run) => run.cost(),
            _ => EVENT,
        }
    }
}

/// What a message costs in the queue, in bytes.
pub(crate) fn cost(payload: &Payload) -> usize {
    payload.len() + MESSAGE
}

impl Run {
    pub(super) fn message(&self, payload: Payload) -> event::Message {
        let (source, epoch, received) = (self.source, self.epoch, self.received);
        event::Message { source, epoch, payload, received }
    }

    /// What its messages cost in the queue, in bytes.
    pub(super) fn cost(&self) -> usize {
        self.payloads.iter().map(cost).sum()
    }

    /// All messages that are left.
    pub(super) fn batch(&self) -> event::Batch {
        let payloads = self.payloads.iter().cloned().collect();
        event::Batch::new(self.source, self.epoch, self.received, payloads)
    }

    /// All messages that are left, which then are no more.
    pub(super) fn take_batch(&mut self) -> event::Batch {
        let payloads = std::mem::take(&mut self.payloads).into();
        event::Batch::new(self.source, self.epoch, self.received, payloads)
    }

    pub(super) fn data(&self, payload: Payload) -> event::Data {
        let opcode = match &payload {
            Payload::Text(_) => Opcode::Text,
            Payload::Binary(_) => Opcode::Binary,
        };
        let (source, epoch) = (self.source, self.epoch);
        event::Data { source, epoch, payload, opcode, fin: true }
    }
}

impl Event for event::Open {
    fn slots(handlers: &mut Handlers) -> &mut Slots<Self> {
        &mut handlers.open
    }
    fn cursor<'a>(head: &Entry, told: &'a mut Told) -> Option<&'a mut usize> {
        matches!(head, Entry::Open(_)).then_some(&mut told[0])
    }
    fn late(open: &event::Open) -> Option<Self> {
        Some(open.clone())
    }
}

impl Queued for event::Open {
    fn wrap(self) -> Entry {
        Entry::Open(self)
    }
}

impl Event for event::Message {
    fn slots(handlers: &mut Handlers) -> &mut Slots<Self> {
        &mut handlers.message
    }
    fn cursor<'a>(head: &Entry, told: &'a mut Told) -> Option<&'a mut usize> {
        matches!(head, Entry::Run(_)).then_some(&mut told[0])
    }
}

impl Event for event::Ping {
    fn slots(handlers: &mut Handlers) -> &mut Slots<Self> {
        &mut handlers.ping
    }
    fn cursor<'a>(head: &Entry, told: &'a mut Told) -> Option<&'a mut usize> {
        matches!(head, Entry::Ping(_)).then_some(&mut told[0])
    }
}

impl Queued for event::Ping {
    fn wrap(self) -> Entry {
        Entry::Ping(self)
    }
}

impl Event for event::Pong {
    fn slots(handlers: &mut Handlers) -> &mut Slots<Self> {
        &mut handlers.pong
    }
    fn cursor<'a>(head: &Entry, told: &'a mut Told) -> Option<&'a mut usize> {
        matches!(head, Entry::Pong(_)).then_some(&mut told[0])
    }
}

impl Queued for event::Pong {
    fn wrap(self) -> Entry {
        Entry::Pong(self)
    }
}

impl Event for event::Error {
    fn slots(handlers: &mut Handlers) -> &mut Slots<Self> {
        &mut handlers.error
    }
    fn cursor<'a>(head: &Entry, told: &'a mut Told) -> Option<&'a mut usize> {
        matches!(head, Entry::Error(_)).then_some(&mut told[0])
    }
}

impl Queued for event::Error {
    fn wrap(self) -> Entry {
        Entry::Error(self)
    }
}

impl Event for event::Close {
    fn slots(handlers: &mut Handlers) -> &mut Slots<Self> {
        &mut handlers.close
    }
    fn cursor<'a>(head: &Entry, told: &'a mut Told) -> Option<&'a mut usize> {
        matches!(head, Entry::Close(_)).then_some(&mut told[0])
    }
}

impl Queued for event::Close {
    fn wrap(self) -> Entry {
        Entry::Close(self)
    }
}

impl Event for event::State {
    fn slots(handlers: &mut Handlers) -> &mut Slots<Self> {
        &mut handlers.state
    }
    fn cursor<'a>(head: &Entry, told: &'a mut Told) -> Option<&'a mut usize> {
        matches!(head, Entry::State(_)).then_some(&mut told[0])
    }
}

impl Queued for event::State {
    fn wrap(self) -> Entry {
        Entry::State(self)
    }
}

impl Event for event::Stopped {
    fn slots(handlers: &mut Handlers) -> &mut Slots<Self> {
        &mut handlers.stopped
    }
    fn cursor<'a>(head: &Entry, told: &'a mut Told) -> Option<&'a mut usize> {
        matches!(head, Entry::Stopped(_)).then_some(&mut told[0])
    }
}

impl Queued for event::Stopped {
    fn wrap(self) -> Entry {
        Entry::Stopped(self)
    }
}

impl Event for event::Reconnect {
    fn slots(handlers: &mut Handlers) -> &mut Slots<Self> {
        &mut handlers.reconnect
    }
    fn cursor<'a>(head: &Entry, told: &'a mut Told) -> Option<&'a mut usize> {
        matches!(head, Entry::Reconnect(_)).then_some(&mut told[0])
    }
}

impl Queued for event::Reconnect {
    fn wrap(self) -> Entry {
        Entry::Reconnect(self)
    }
}

impl Event for event::Data {
    fn slots(handlers: &mut Handlers) -> &mut Slots<Self> {
        &mut handlers.data
    }
    fn cursor<'a>(head: &Entry, told: &'a mut Told) -> Option<&'a mut usize> {
        matches!(head, Entry::Run(_)).then_some(&mut told[1])
    }
}

impl Event for event::Batch {
    fn slots(handlers: &mut Handlers) -> &mut Slots<Self> {
        &mut handlers.batch
    }
    fn cursor<'a>(head: &Entry, told: &'a mut Told) -> Option<&'a mut usize> {
        matches!(head, Entry::Run(_)).then_some(&mut told[2])
    }
}
