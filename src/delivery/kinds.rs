//! The kinds of event: who is told each, and its place in the queue.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::time::Instant;

use actix::dev::{SendError, ToEnvelope};
use actix::{Actor, Addr, Handler, Recipient};

use crate::command::status::SourceId;
use crate::event;
use crate::proto::frame::Opcode;
use crate::proto::message::Payload;
use crate::proto::messages::Messages;

/// Somebody who is told something. It stays the one value that it was registered as: a clone of it is
/// never full.
pub(super) struct Slot {
    to: To,
    /// The kinds that it is told, of those that it can be.
    kinds: Kinds,
    /// The number of the first entry that is meant for it: who comes late is not told of what
    /// was there before.
    pub(super) from: u64,
}

/// Kinds of event, a bit for each.
pub(super) type Kinds = u16;

/// The way to somebody.
pub(crate) enum To {
    Open(Recipient<event::Open>),
    Reconnect(Recipient<event::Reconnect>),
    Data(Recipient<event::Data>),
    Continuation(Recipient<event::Continuation>),
    Batch(Recipient<event::Batch>),
    Message(Recipient<event::Message>),
    Ping(Recipient<event::Ping>),
    Pong(Recipient<event::Pong>),
    Error(Recipient<event::Error>),
    Close(Recipient<event::Close>),
    State(Recipient<event::State>),
    Stopped(Recipient<event::Stopped>),
    /// One address for the four kinds of `ConnectionBuilder::handler`: four recipients of one actor
    /// would weigh four times as much.
    Four(Box<dyn Four>),
}

/// An address that can be told the four kinds.
pub(crate) trait Four: Send + Sync {
    fn open(&self) -> &dyn Member<event::Open>;
    fn message(&self) -> &dyn Member<event::Message>;
    fn error(&self) -> &dyn Member<event::Error>;
    fn close(&self) -> &dyn Member<event::Close>;
}

/// As a `Recipient`, but lent.
pub(crate) trait Member<M: Event> {
    fn try_send(&self, event: M) -> Result<(), SendError<M>>;
    fn do_send(&self, event: M);
    fn send(&self, event: M) -> Answer;
    /// Whether it leads to the same mailbox.
    fn is(&self, recipient: &Recipient<M>) -> bool;
}

/// Comes when an event was taken out of a mailbox that was full.
pub(crate) type Answer = Pin<Box<dyn Future<Output = ()>>>;

/// The way to somebody, for one kind of event.
pub(crate) enum Port<'a, M: Event> {
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
    M: Event,
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

impl<M: Event> Port<'_, M> {
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

    fn is(&self, recipient: &Recipient<M>) -> bool {
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

/// Everybody who is told something: mostly one or a few, hence with no room for more.
#[derive(Default)]
pub(crate) struct Handlers {
    slots: Box<[Slot]>,
    /// The kinds that anybody is told.
    wanted: Kinds,
}

impl Handlers {
    /// Adds a recipient that is told of everything.
    pub(crate) fn add<M: Event>(&mut self, to: Recipient<M>) {
        self.add_from(to, 0);
    }

    /// Adds a recipient that is told of what has this number, or comes later.
    pub(super) fn add_from<M: Event>(&mut self, to: Recipient<M>, from: u64) {
        self.push(Slot { to: M::to(to), kinds: M::KIND, from });
    }

    /// Adds an address that is told of the four kinds.
    pub(crate) fn add_four(&mut self, to: impl Four + 'static) {
        let kinds =
            event::Open::KIND | event::Message::KIND | event::Error::KIND | event::Close::KIND;
        self.push(Slot { to: To::Four(Box::new(to)), kinds, from: 0 });
    }

    fn push(&mut self, slot: Slot) {
        let mut more = mem::take(&mut self.slots).into_vec();
        more.reserve_exact(1);
        more.push(slot);
        self.set(more);
    }

    fn set(&mut self, slots: Vec<Slot>) {
        self.slots = slots.into();
        self.wanted = self.slots.iter().fold(0, |wanted, slot| wanted | slot.kinds);
    }

    /// Whether anybody is told this kind.
    #[inline]
    pub(super) fn want<M: Event>(&self) -> bool {
        self.wanted & M::KIND != 0
    }

    /// Whether messages in fragments are told fragment by fragment.
    pub(crate) fn by_fragment(&self) -> bool {
        self.want::<event::Continuation>()
    }

    /// The place of the next who is told this kind, from a place on.
    #[inline]
    pub(super) fn next<M: Event>(&self, from: u32) -> Option<u32> {
        let mut rest = (from..).zip(self.slots.get(from as usize..)?);
        rest.find(|(_, slot)| slot.kinds & M::KIND != 0).map(|(at, _)| at)
    }

    /// Everybody who is told this kind, from a place on.
    pub(super) fn all<M: Event>(&self, from: u32) -> impl Iterator<Item = (u64, Port<'_, M>)> {
        let told = self.slots.iter().skip(from as usize).filter(|slot| slot.kinds & M::KIND != 0);
        told.filter_map(|slot| Some((slot.from, M::port(&slot.to)?)))
    }

    /// Who has a place, and from which entry on.
    #[inline]
    pub(super) fn at<M: Event>(&self, at: u32) -> Option<(u64, Port<'_, M>)> {
        let slot = self.slots.get(at as usize)?;
        Some((slot.from, M::port(&slot.to)?))
    }

    /// The place of a recipient.
    pub(super) fn find<M: Event>(&self, recipient: &Recipient<M>) -> Option<u32> {
        let mut places = (0..).zip(&self.slots);
        let is = |slot: &Slot| {
            slot.kinds & M::KIND != 0 && M::port(&slot.to).is_some_and(|port| port.is(recipient))
        };
        places.find(|(_, slot)| is(slot)).map(|(at, _)| at)
    }

    /// Tells who has a place these kinds no more. Those behind it move up if it was all, and with them
    /// what of the head they were told; then it is `true`.
    pub(super) fn remove(&mut self, at: u32, kinds: Kinds, told: &mut Told) -> bool {
        let mut slots = mem::take(&mut self.slots).into_vec();
        let mut gone = false;
        if let Some(slot) = slots.get_mut(at as usize) {
            slot.kinds &= !kinds;
            gone = slot.kinds == 0;
        }
        if gone {
            slots.remove(at as usize);
            told.iter_mut().filter(|next| at < **next).for_each(|next| *next -= 1);
        }
        self.set(slots);
        gone
    }

    /// How many recipients there are.
    pub(crate) fn count(&self) -> usize {
        self.slots.iter().map(|slot| slot.kinds.count_ones() as usize).sum()
    }
}

/// Whose turn it is to be told of the head of the queue, by place: of the event itself, of the `Data`
/// that goes before a message, and of the `Batch` that goes before a whole run.
pub(super) type Told = [u32; 3];

/// A kind of event that handlers can be told.
pub(crate) trait Event:
    actix::Message<Result = ()> + Clone + Send + Sized + 'static
{
    /// Its bit.
    const KIND: Kinds;

    fn to(recipient: Recipient<Self>) -> To;

    /// The way to somebody, if it can be told this kind.
    fn port(to: &To) -> Option<Port<'_, Self>>;

    /// What somebody who subscribes only now is told of the socket that is open.
    fn late(_open: event::Open) -> Option<Self> {
        None
    }
}

/// A kind of event that stands in the queue by itself. Messages stand there in runs.
pub(crate) trait Queued: Event {
    /// Whether it is told by itself, without another event before it.
    const ALONE: bool = true;

    fn wrap(self) -> Entry;

    /// Whether anybody is to be told.
    fn is_wanted(handlers: &Handlers) -> bool {
        handlers.want::<Self>()
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
    const KIND: u16 = 1 << 0;
    fn to(recipient: Recipient<Self>) -> To {
        To::Open(recipient)
    }
    #[inline]
    fn port(to: &To) -> Option<Port<'_, Self>> {
        match to {
            To::Open(to) => Some(Port::One(to)),
            To::Four(to) => Some(Port::Member(to.open())),
            _ => None,
        }
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
    const KIND: u16 = 1 << 1;
    fn to(recipient: Recipient<Self>) -> To {
        To::Message(recipient)
    }
    #[inline]
    fn port(to: &To) -> Option<Port<'_, Self>> {
        match to {
            To::Message(to) => Some(Port::One(to)),
            To::Four(to) => Some(Port::Member(to.message())),
            _ => None,
        }
    }
}

impl Event for event::Ping {
    const KIND: u16 = 1 << 2;
    fn to(recipient: Recipient<Self>) -> To {
        To::Ping(recipient)
    }
    #[inline]
    fn port(to: &To) -> Option<Port<'_, Self>> {
        match to {
            To::Ping(to) => Some(Port::One(to)),
            _ => None,
        }
    }
}

impl Queued for event::Ping {
    fn wrap(self) -> Entry {
        Entry::Ping(self)
    }
}

impl Event for event::Pong {
    const KIND: u16 = 1 << 3;
    fn to(recipient: Recipient<Self>) -> To {
        To::Pong(recipient)
    }
    #[inline]
    fn port(to: &To) -> Option<Port<'_, Self>> {
        match to {
            To::Pong(to) => Some(Port::One(to)),
            _ => None,
        }
    }
}

impl Queued for event::Pong {
    fn wrap(self) -> Entry {
        Entry::Pong(self)
    }
}

impl Event for event::Error {
    const KIND: u16 = 1 << 4;
    fn to(recipient: Recipient<Self>) -> To {
        To::Error(recipient)
    }
    #[inline]
    fn port(to: &To) -> Option<Port<'_, Self>> {
        match to {
            To::Error(to) => Some(Port::One(to)),
            To::Four(to) => Some(Port::Member(to.error())),
            _ => None,
        }
    }
}

impl Queued for event::Error {
    fn wrap(self) -> Entry {
        Entry::Error(self)
    }
}

impl Event for event::Close {
    const KIND: u16 = 1 << 5;
    fn to(recipient: Recipient<Self>) -> To {
        To::Close(recipient)
    }
    #[inline]
    fn port(to: &To) -> Option<Port<'_, Self>> {
        match to {
            To::Close(to) => Some(Port::One(to)),
            To::Four(to) => Some(Port::Member(to.close())),
            _ => None,
        }
    }
}

impl Queued for event::Close {
    fn wrap(self) -> Entry {
        Entry::Close(self)
    }
}

impl Event for event::State {
    const KIND: u16 = 1 << 6;
    fn to(recipient: Recipient<Self>) -> To {
        To::State(recipient)
    }
    #[inline]
    fn port(to: &To) -> Option<Port<'_, Self>> {
        match to {
            To::State(to) => Some(Port::One(to)),
            _ => None,
        }
    }
}

impl Queued for event::State {
    fn wrap(self) -> Entry {
        Entry::State(self)
    }
}

impl Event for event::Stopped {
    const KIND: u16 = 1 << 7;
    fn to(recipient: Recipient<Self>) -> To {
        To::Stopped(recipient)
    }
    #[inline]
    fn port(to: &To) -> Option<Port<'_, Self>> {
        match to {
            To::Stopped(to) => Some(Port::One(to)),
            _ => None,
        }
    }
}

impl Queued for event::Stopped {
    fn wrap(self) -> Entry {
        Entry::Stopped(self)
    }
}

impl Event for event::Reconnect {
    const KIND: u16 = 1 << 8;
    fn to(recipient: Recipient<Self>) -> To {
        To::Reconnect(recipient)
    }
    #[inline]
    fn port(to: &To) -> Option<Port<'_, Self>> {
        match to {
            To::Reconnect(to) => Some(Port::One(to)),
            _ => None,
        }
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
    const KIND: u16 = 1 << 9;
    fn to(recipient: Recipient<Self>) -> To {
        To::Continuation(recipient)
    }
    #[inline]
    fn port(to: &To) -> Option<Port<'_, Self>> {
        match to {
            To::Continuation(to) => Some(Port::One(to)),
            _ => None,
        }
    }
}

impl Queued for event::Continuation {
    const ALONE: bool = false;

    fn wrap(self) -> Entry {
        Entry::Continuation(self)
    }
    fn is_wanted(handlers: &Handlers) -> bool {
        handlers.want::<event::Continuation>() || handlers.want::<event::Data>()
    }
}

impl Event for event::Data {
    const KIND: u16 = 1 << 10;
    fn to(recipient: Recipient<Self>) -> To {
        To::Data(recipient)
    }
    #[inline]
    fn port(to: &To) -> Option<Port<'_, Self>> {
        match to {
            To::Data(to) => Some(Port::One(to)),
            _ => None,
        }
    }
}

impl Event for event::Batch {
    const KIND: u16 = 1 << 11;
    fn to(recipient: Recipient<Self>) -> To {
        To::Batch(recipient)
    }
    #[inline]
    fn port(to: &To) -> Option<Port<'_, Self>> {
        match to {
            To::Batch(to) => Some(Port::One(to)),
            _ => None,
        }
    }
}
