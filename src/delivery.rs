//! The one queue on the way to the handlers: in order, bounded, nothing lost.

use std::collections::VecDeque;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::Context;
use std::time::Instant;

use actix::Recipient;
use actix::dev::SendError;

use crate::command::status::SourceId;
use crate::event;
use crate::options::Overflow;
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
    to: Recipient<M>,
    /// The number of the first entry that is meant for it: who comes late is not told of what
    /// was there before.
    from: u64,
}

/// Everybody who is told something, by kind of event.
#[derive(Default, Debug)]
pub(crate) struct Handlers {
    open: Slots<event::Open>,
    reconnect: Slots<event::Reconnect>,
    data: Slots<event::Data>,
    message: Slots<event::Message>,
    ping: Slots<event::Ping>,
    pong: Slots<event::Pong>,
    error: Slots<event::Error>,
    close: Slots<event::Close>,
    state: Slots<event::State>,
    stopped: Slots<event::Stopped>,
}

impl Handlers {
    /// Adds a recipient that is told of everything.
    pub(crate) fn add<M: Event>(&mut self, to: Recipient<M>) {
        self.of().push(Slot { to, from: 0 });
    }

    /// The recipients of one kind of event.
    fn of<M: Event>(&mut self) -> &mut Slots<M> {
        M::slots(self)
    }

    /// How many recipients there are.
    pub(crate) fn count(&self) -> usize {
        self.open.len()
            + self.reconnect.len()
            + self.data.len()
            + self.message.len()
            + self.ping.len()
            + self.pong.len()
            + self.error.len()
            + self.close.len()
            + self.state.len()
            + self.stopped.len()
    }
}

/// A kind of event that handlers can be told.
pub(crate) trait Event:
    actix::Message<Result = ()> + Clone + Send + Sized + 'static
{
    fn slots(handlers: &mut Handlers) -> &mut Slots<Self>;

    /// The cursor of this kind of event, where the head of the queue is of it.
    fn cursor<'a>(head: &Entry, told: &'a mut [usize; 2]) -> Option<&'a mut usize>;

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
const EVENT: usize = size_of::<Entry>() + MESSAGE;

impl Entry {
    fn cost(&self) -> usize {
        match self {
            Entry::Run(run) => run.payloads.iter().map(cost).sum(),
            _ => EVENT,
        }
    }
}

/// What a message costs in the queue, in bytes.
pub(crate) fn cost(payload: &Payload) -> usize {
    payload.len() + MESSAGE
}

/// The queue of one connection.
#[derive(Default)]
pub(crate) struct Delivery {
    handlers: Handlers,
    queue: VecDeque<Entry>,
    /// The number of the head, or of what will be it. Entries are numbered as they come.
    number: u64,
    /// What waits, in bytes.
    cost: usize,
    /// How many events wait.
    events: usize,
    /// What becomes of messages beyond `room`.
    overflow: Overflow,
    /// What may wait before anything is dropped, in bytes.
    room: usize,
    /// Messages dropped so far.
    dropped: u64,
    /// To how many recipients the head went already: of the event itself, and of the `Data` that
    /// goes before a message.
    told: [usize; 2],
    /// The head in a full mailbox. It must be answered before anything moves, and must not be
    /// dropped: that would take the event back out of the mailbox.
    offer: Option<Offer>,
}

struct Offer {
    answer: Pin<Box<dyn Future<Output = ()>>>,
    since: tokio::time::Instant,
}

impl Delivery {
    pub(crate) fn new(handlers: Handlers, overflow: Overflow, room: usize) -> Delivery {
        Delivery { handlers, overflow, room, ..Delivery::default() }
    }

    /// Adds a recipient that is told of what comes from now on.
    pub(crate) fn subscribe<E: Event>(&mut self, to: Recipient<E>) {
        let from = self.number + self.queue.len() as u64;
        self.handlers.of().push(Slot { to, from });
    }

    pub(crate) fn handler_count(&self) -> usize {
        self.handlers.count()
    }

    /// Lets go of a recipient. `false` if it was none.
    pub(crate) fn unsubscribe<E: Event>(&mut self, recipient: &Recipient<E>) -> bool {
        let slots = self.handlers.of::<E>();
        let Some(index) = slots.iter().position(|slot| slot.to == *recipient) else {
            return false;
        };
        slots.remove(index);
        let cursor = self.queue.front().and_then(|head| E::cursor(head, &mut self.told));
        if let Some(told) = cursor
            && index < *told
        {
            *told -= 1;
        }
        true
    }

    /// Puts an event behind all others.
    pub(crate) fn push<E: Queued>(&mut self, event: E) {
        if !self.handlers.of::<E>().is_empty() {
            self.cost += EVENT;
            self.events += 1;
            self.queue.push_back(event.wrap());
        }
    }

    /// Puts a run of messages behind all others, or drops what `overflow` says.
    pub(crate) fn push_run(&mut self, mut run: Run) {
        if self.handlers.message.is_empty() && self.handlers.data.is_empty() {
            return;
        }
        if self.overflow == Overflow::DropNewest {
            self.cut_to_room(&mut run);
        }
        if run.payloads.is_empty() {
            return;
        }
        self.events += run.payloads.len();
        let entry = Entry::Run(run);
        self.cost += entry.cost();
        self.queue.push_back(entry);
        if self.overflow == Overflow::DropOldest {
            self.drop_oldest();
        }
    }

    fn cut_to_room(&mut self, run: &mut Run) {
        let mut left = self.room.saturating_sub(self.cost);
        let fits = run.payloads.iter().take_while(|payload| {
            let fits = cost(payload) <= left;
            left = left.saturating_sub(cost(payload));
            fits
        });
        let fits = fits.count();
        self.dropped += (run.payloads.len() - fits) as u64;
        run.payloads.truncate(fits);
    }

    fn drop_oldest(&mut self) {
        // The head may be on its way to some of its recipients: then it goes to all.
        let mut skip = usize::from(self.told != [0; 2] || self.offer.is_some());
        for entry in &mut self.queue {
            let Entry::Run(run) = entry else {
                skip = 0;
                continue;
            };
            while self.cost > self.room
                && let Some(payload) = run.payloads.remove(skip)
            {
                self.cost -= cost(&payload);
                self.events -= 1;
                self.dropped += 1;
            }
            skip = 0;
        }
    }

    /// Messages dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What waits, in bytes.
    pub(crate) fn cost(&self) -> usize {
        self.cost
    }

    /// How many events wait.
    pub(crate) fn events(&self) -> usize {
        self.events
    }

    /// Whether nothing waits any more, in the queue or in a full mailbox.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.offer.is_none()
    }

    /// Since when a full mailbox has held everything up.
    pub(crate) fn blocked_since(&self) -> Option<tokio::time::Instant> {
        self.offer.as_ref().map(|offer| offer.since)
    }

    /// Hands over what the handlers' mailboxes take.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) {
        loop {
            if let Some(offer) = &mut self.offer {
                if offer.answer.as_mut().poll(cx).is_pending() {
                    return;
                }
                self.offer = None;
            }
            if !self.step() {
                return;
            }
        }
    }

    /// Offers the head to its next recipients. `false` when the queue is empty.
    fn step(&mut self) -> bool {
        let Some(head) = self.queue.front_mut() else {
            return false;
        };
        let (told, number) = (&mut self.told[0], self.number);
        let handlers = &mut self.handlers;
        let blocked = match head {
            Entry::Open(event) => offer(&mut handlers.open, told, number, event),
            Entry::Reconnect(event) => offer(&mut handlers.reconnect, told, number, event),
            Entry::Ping(event) => offer(&mut handlers.ping, told, number, event),
            Entry::Pong(event) => offer(&mut handlers.pong, told, number, event),
            Entry::Error(event) => offer(&mut handlers.error, told, number, event),
            Entry::Close(event) => offer(&mut handlers.close, told, number, event),
            Entry::State(event) => offer(&mut handlers.state, told, number, event),
            Entry::Stopped(event) => offer(&mut handlers.stopped, told, number, event),
            Entry::Run(_) => return self.step_run(),
        };
        match blocked {
            Some(offer) => self.offer = Some(offer),
            None => {
                self.told = [0; 2];
                self.queue.pop_front();
                self.number += 1;
                self.cost -= EVENT;
                self.events -= 1;
            }
        }
        true
    }

    /// As [`step`](Delivery::step), for the messages of the run at the head.
    fn step_run(&mut self) -> bool {
        let Some(Entry::Run(run)) = self.queue.front_mut() else {
            return true;
        };
        while let Some(payload) = run.payloads.front() {
            let (handlers, number) = (&mut self.handlers, self.number);
            let [told, told_data] = &mut self.told;
            let mut blocked = None;
            if !handlers.data.is_empty() {
                blocked = offer(&mut handlers.data, told_data, number, &run.data(payload));
            }
            if blocked.is_none() {
                blocked = offer(&mut handlers.message, told, number, &run.message(payload));
            }
            if let Some(offer) = blocked {
                self.offer = Some(offer);
                return true;
            }
            self.told = [0; 2];
            self.cost -= cost(payload);
            self.events -= 1;
            run.payloads.pop_front();
        }
        self.queue.pop_front();
        self.number += 1;
        true
    }

    /// Hands over all that waits, past the bounds of the mailboxes: the end of life, where nobody
    /// is left to wait. Bounded by what the queue may hold.
    pub(crate) fn hand_over(&mut self) {
        if let Some(offer) = self.offer.take() {
            // Its event is in the mailbox. Forgotten rather than dropped, so that it stays there.
            mem::forget(offer.answer);
        }
        let mut skip = mem::take(&mut self.told);
        for entry in mem::take(&mut self.queue) {
            let (handlers, number) = (&self.handlers, self.number);
            self.number += 1;
            let [skipped, skipped_data] = mem::take(&mut skip);
            match entry {
                Entry::Open(event) => force(&handlers.open, skipped, number, &event),
                Entry::Reconnect(event) => force(&handlers.reconnect, skipped, number, &event),
                Entry::Ping(event) => force(&handlers.ping, skipped, number, &event),
                Entry::Pong(event) => force(&handlers.pong, skipped, number, &event),
                Entry::Error(event) => force(&handlers.error, skipped, number, &event),
                Entry::Close(event) => force(&handlers.close, skipped, number, &event),
                Entry::State(event) => force(&handlers.state, skipped, number, &event),
                Entry::Stopped(event) => force(&handlers.stopped, skipped, number, &event),
                Entry::Run(run) => force_run(handlers, [skipped, skipped_data], number, &run),
            }
        }
        self.cost = 0;
        self.events = 0;
    }

    /// Lets go of every handler.
    pub(crate) fn release(&mut self) {
        self.handlers = Handlers::default();
    }
}

/// Offers an event to every recipient from the `told`-th on. What comes back is the event in a
/// mailbox that was full, to be awaited.
fn offer<M: Event>(
    slots: &mut Slots<M>,
    told: &mut usize,
    number: u64,
    event: &M,
) -> Option<Offer> {
    while let Some(slot) = slots.get(*told) {
        if slot.from > number {
            *told += 1;
            continue;
        }
        match slot.to.try_send(event.clone()) {
            Ok(()) => *told += 1,
            Err(SendError::Closed(_)) => {
                slots.remove(*told);
            }
            Err(SendError::Full(event)) => {
                // `try_send` wakes nobody when there is room again; the answer to `send` does.
                let request = slot.to.send(event);
                *told += 1;
                let answer = Box::pin(async move {
                    let _ = request.await;
                });
                return Some(Offer { answer, since: tokio::time::Instant::now() });
            }
        }
    }
    None
}

fn force<M: Event>(slots: &Slots<M>, skip: usize, number: u64, event: &M) {
    for slot in slots.iter().skip(skip).filter(|slot| slot.from <= number) {
        slot.to.do_send(event.clone());
    }
}

fn force_run(handlers: &Handlers, mut skip: [usize; 2], number: u64, run: &Run) {
    for payload in &run.payloads {
        let [told, told_data] = mem::take(&mut skip);
        force(&handlers.data, told_data, number, &run.data(payload));
        force(&handlers.message, told, number, &run.message(payload));
    }
}

impl Run {
    fn message(&self, payload: &Payload) -> event::Message {
        let payload = payload.clone();
        let (source, epoch, received) = (self.source, self.epoch, self.received);
        event::Message { source, epoch, payload, received }
    }

    fn data(&self, payload: &Payload) -> event::Data {
        let opcode = match payload {
            Payload::Text(_) => Opcode::Text,
            Payload::Binary(_) => Opcode::Binary,
        };
        let (source, epoch, payload) = (self.source, self.epoch, payload.clone());
        event::Data { source, epoch, payload, opcode, fin: true }
    }
}

impl Event for event::Open {
    fn slots(handlers: &mut Handlers) -> &mut Slots<Self> {
        &mut handlers.open
    }
    fn cursor<'a>(head: &Entry, told: &'a mut [usize; 2]) -> Option<&'a mut usize> {
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
    fn cursor<'a>(head: &Entry, told: &'a mut [usize; 2]) -> Option<&'a mut usize> {
        matches!(head, Entry::Run(_)).then_some(&mut told[0])
    }
}

impl Event for event::Ping {
    fn slots(handlers: &mut Handlers) -> &mut Slots<Self> {
        &mut handlers.ping
    }
    fn cursor<'a>(head: &Entry, told: &'a mut [usize; 2]) -> Option<&'a mut usize> {
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
    fn cursor<'a>(head: &Entry, told: &'a mut [usize; 2]) -> Option<&'a mut usize> {
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
    fn cursor<'a>(head: &Entry, told: &'a mut [usize; 2]) -> Option<&'a mut usize> {
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
    fn cursor<'a>(head: &Entry, told: &'a mut [usize; 2]) -> Option<&'a mut usize> {
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
    fn cursor<'a>(head: &Entry, told: &'a mut [usize; 2]) -> Option<&'a mut usize> {
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
    fn cursor<'a>(head: &Entry, told: &'a mut [usize; 2]) -> Option<&'a mut usize> {
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
    fn cursor<'a>(head: &Entry, told: &'a mut [usize; 2]) -> Option<&'a mut usize> {
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
    fn cursor<'a>(head: &Entry, told: &'a mut [usize; 2]) -> Option<&'a mut usize> {
        matches!(head, Entry::Run(_)).then_some(&mut told[1])
    }
}
