//! The kinds of event: who is told each, and its place in the queue.

use std::mem;
use std::time::Instant;

use actix::Recipient;

use crate::command::status::SourceId;
use crate::event;
use crate::proto::frame::Opcode;
use crate::proto::message::Payload;
use crate::proto::messages::Messages;

/// The recipients of one kind of event: mostly none or one, hence with no room for more.
pub(crate) type Slots<M> = Box<[Slot<M>]>;

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
    pub(super) continuation: Slots<event::Continuation>,
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
        self.add_from(to, 0);
    }

    /// Adds a recipient that is told of what has this number, or comes later.
    pub(super) fn add_from<M: Event>(&mut self, to: Recipient<M>, from: u64) {
        let slots = self.of();
        let mut more = mem::take(slots).into_vec();
        more.reserve_exact(1);
        more.push(Slot { to, from });
        *slots = more.into();
    }

    /// Whether messages in fragments are told fragment by fragment.
    pub(crate) fn by_fragment(&self) -> bool {
        !self.continuation.is_empty()
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
            + self.continuation.len()
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

/// Takes a recipient out.
pub(super) fn remove<M: Event>(slots: &mut Slots<M>, index: usize) {
    let mut fewer = mem::take(slots).into_vec();
    fewer.remove(index);
    *slots = fewer.into();
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
    fn late(_open: event::Open) -> Option<Self> {
        None
    }
}

/// A kind of event that stands in the queue by itself. Messages stand there in runs.
pub(crate) trait Queued: Event {
    fn wrap(self) -> Entry;

    /// Whether anybody is to be told.
    fn is_wanted(handlers: &mut Handlers) -> bool {
        !Self::slots(handlers).is_empty()
    }
}

/// Something in the queue.
pub(crate) enum Entry {
    Open(event::Open),
    Reconnect(event::Reconnect),
    Run(Run),
    Continuation(event::Continuation),
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
    pub(crate) messages: Messages,
}

/// What a message costs in the queue besides its payload, in bytes: its place in the buffer, which may
/// be half empty.
const MESSAGE: usize = 32;

/// What any other event costs, its payload included, in bytes.
pub(crate) const EVENT: usize = size_of::<Entry>() + 96;

impl Entry {
    pub(super) fn cost(&self) -> usize {
        match self {
            Entry::Run(run) => run.cost(),
            Entry::Continuation(event) => EVENT + event.fragment.bytes.len(),
            _ => EVENT,
        }
    }
}

/// What a message of so many bytes costs in the queue.
#[inline]
pub(crate) fn cost(len: usize) -> usize {
    len + MESSAGE
}

impl Run {
    pub(super) fn message(&self, payload: Payload) -> event::Message {
        let (source, epoch, received) = (self.source, self.epoch, self.received);
        event::Message { source, epoch, payload, received }
    }

    /// What its messages cost in the queue, in bytes: what they keep of memory, until the last.
    #[inline]
    pub(super) fn cost(&self) -> usize {
        match self.messages.len() {
            0 => 0,
            left => self.messages.held() + MESSAGE * left,
        }
    }

    /// All messages that are left.
    pub(super) fn batch(&self) -> event::Batch {
        event::Batch::new(self.source, self.epoch, self.received, self.messages.clone())
    }

    /// All messages that are left, which then are no more.
    pub(super) fn take_batch(&mut self) -> event::Batch {
        let messages = std::mem::take(&mut self.messages);
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

impl Event for event::Open {
    fn slots(handlers: &mut Handlers) -> &mut Slots<Self> {
        &mut handlers.open
    }
    fn cursor<'a>(head: &Entry, told: &'a mut Told) -> Option<&'a mut usize> {
        matches!(head, Entry::Open(_)).then_some(&mut told[0])
    }
    fn late(open: event::Open) -> Option<Self> {
        Some(open)
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

impl event::Continuation {
    /// What is told before it.
    pub(super) fn data(&self) -> event::Data {
        let (source, epoch, fragment) = (self.source, self.epoch, &self.fragment);
        let payload = Payload::Binary(fragment.bytes.clone());
        event::Data { source, epoch, payload, opcode: fragment.opcode, fin: fragment.fin }
    }
}

impl Event for event::Continuation {
    fn slots(handlers: &mut Handlers) -> &mut Slots<Self> {
        &mut handlers.continuation
    }
    fn cursor<'a>(head: &Entry, told: &'a mut Told) -> Option<&'a mut usize> {
        matches!(head, Entry::Continuation(_)).then_some(&mut told[0])
    }
}

impl Queued for event::Continuation {
    fn wrap(self) -> Entry {
        Entry::Continuation(self)
    }
    fn is_wanted(handlers: &mut Handlers) -> bool {
        !(handlers.continuation.is_empty() && handlers.data.is_empty())
    }
}

impl Event for event::Data {
    fn slots(handlers: &mut Handlers) -> &mut Slots<Self> {
        &mut handlers.data
    }
    fn cursor<'a>(head: &Entry, told: &'a mut Told) -> Option<&'a mut usize> {
        matches!(head, Entry::Run(_) | Entry::Continuation(_)).then_some(&mut told[1])
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
