//! The one queue on the way to the handlers: in order, bounded, nothing lost.

mod kinds;

use std::collections::VecDeque;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::Context;

use actix::Recipient;
use actix::dev::SendError;

use crate::delivery::kinds::{Slot, Slots, Told, remove};
use crate::event;
use crate::options::Overflow;

pub(crate) use crate::delivery::kinds::{EVENT, Entry, Event, Handlers, Queued, Run, cost};

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
    /// To how many recipients the head went already.
    told: Told,
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
        self.handlers.add_from(to, from);
    }

    pub(crate) fn handler_count(&self) -> usize {
        self.handlers.count()
    }

    /// Whether messages in fragments are told fragment by fragment.
    pub(crate) fn by_fragment(&self) -> bool {
        self.handlers.by_fragment()
    }

    /// Lets go of a recipient. `false` if it was none.
    pub(crate) fn unsubscribe<E: Event>(&mut self, recipient: &Recipient<E>) -> bool {
        let slots = self.handlers.of::<E>();
        let Some(index) = slots.iter().position(|slot| slot.to == *recipient) else {
            return false;
        };
        remove(slots, index);
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
        if E::is_wanted(&mut self.handlers) {
            let entry = event.wrap();
            self.cost += entry.cost();
            self.events += 1;
            self.queue.push_back(entry);
        }
    }

    /// Puts a run of messages behind all others. Where a handler is too slow for it, drops what
    /// `overflow` says.
    pub(crate) fn push_run(&mut self, run: Run) {
        let handlers = &self.handlers;
        let nobody =
            handlers.message.is_empty() && handlers.data.is_empty() && handlers.batch.is_empty();
        if nobody || run.messages.is_empty() {
            return;
        }
        self.events += run.messages.len();
        let entry = Entry::Run(run);
        self.cost += entry.cost();
        self.queue.push_back(entry);
        self.shed();
    }

    /// Whether as much waits as may.
    pub(crate) fn is_full(&self, room: usize) -> bool {
        self.left(room).is_none()
    }

    /// How many bytes more may wait; one more, and it is full. `None` if it is. While messages are
    /// dropped they make their own room.
    pub(crate) fn left(&self, room: usize) -> Option<usize> {
        let left = room.checked_sub(self.cost)?;
        Some(if self.is_dropping() { room } else { left })
    }

    /// Whether messages are being dropped: only ever while a mailbox is full.
    fn is_dropping(&self) -> bool {
        let drops = matches!(self.overflow, Overflow::DropOldest | Overflow::DropNewest);
        drops && self.offer.is_some()
    }

    /// Whether the socket is to be closed when too much waits.
    pub(crate) fn disconnects(&self) -> bool {
        self.overflow == Overflow::Disconnect && self.offer.is_some()
    }

    /// Drops messages until the rest has room.
    fn shed(&mut self) {
        if !self.is_dropping() {
            return;
        }
        // The head is on its way to its recipients. It goes to all of them: the one message, or the
        // run that some have had as a batch.
        let head = if self.told[2] > 0 { usize::MAX } else { 1 };
        let runs = self.queue.iter_mut().enumerate().filter_map(|(index, entry)| match entry {
            Entry::Run(run) => Some((if index == 0 { head } else { 0 }, run)),
            _ => None,
        });
        let oldest = self.overflow == Overflow::DropOldest;
        let runs: &mut dyn Iterator<Item = _> = match oldest {
            true => &mut { runs },
            false => &mut runs.rev(),
        };
        for (kept, run) in runs {
            if self.cost <= self.room {
                break;
            }
            let others = self.cost - run.cost();
            let dropped = run.shed(kept, oldest, |cost| others + cost <= self.room);
            self.cost = others + run.cost();
            self.events -= dropped;
            self.dropped += dropped as u64;
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
                    self.shed();
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
            Entry::Open(event) => offer_copies(&mut handlers.open, told, number, event),
            Entry::Reconnect(event) => offer_copies(&mut handlers.reconnect, told, number, event),
            Entry::Ping(event) => offer_copies(&mut handlers.ping, told, number, event),
            Entry::Pong(event) => offer_copies(&mut handlers.pong, told, number, event),
            Entry::Error(event) => offer_copies(&mut handlers.error, told, number, event),
            Entry::Close(event) => offer_copies(&mut handlers.close, told, number, event),
            Entry::State(event) => offer_copies(&mut handlers.state, told, number, event),
            Entry::Stopped(event) => offer_copies(&mut handlers.stopped, told, number, event),
            Entry::Continuation(event) => {
                let (data, told_data) = (event.data(), &mut self.told[1]);
                match offer_copies(&mut handlers.data, told_data, number, &data) {
                    None => {
                        let told = &mut self.told[0];
                        offer_copies(&mut handlers.continuation, told, number, event)
                    }
                    blocked => blocked,
                }
            }
            Entry::Run(_) => return self.step_run(),
        };
        match blocked {
            Some(offer) => self.offer = Some(offer),
            None => {
                self.cost -= head.cost();
                self.events -= 1;
                self.next_entry();
                if self.queue.is_empty() {
                    // Idle connections are left like that, after an `Open` or a Pong.
                    self.queue = VecDeque::new();
                }
            }
        }
        true
    }

    /// As [`step`](Delivery::step), for the run at the head: whole to those who want batches, then
    /// message by message to the others.
    fn step_run(&mut self) -> bool {
        let Some(Entry::Run(run)) = self.queue.front_mut() else {
            return true;
        };
        let (handlers, number) = (&mut self.handlers, self.number);
        let alone = handlers.data.is_empty() && handlers.message.is_empty();
        if self.told[2] < handlers.batch.len() {
            // The last recipient of all gets the messages themselves.
            let is_last = alone && self.told[2] + 1 == handlers.batch.len();
            let mut batch = Some(if is_last {
                self.cost -= run.cost();
                self.events -= run.messages.len();
                run.take_batch()
            } else {
                run.batch()
            });
            self.offer = offer(&mut handlers.batch, &mut self.told[2], number, &mut batch);
            if self.offer.is_some() && !is_last {
                return true;
            }
        }
        if handlers.data.is_empty()
            && let [only] = &handlers.message[..]
            && only.from <= number
            && self.told[0] == 0
        {
            let (cost, count) = (run.cost(), run.messages.len());
            self.offer = tell_only(only, run);
            self.cost -= cost - run.cost();
            self.events -= count - run.messages.len();
            if self.offer.is_some() && !run.messages.is_empty() {
                return true;
            }
        }
        // What is left is for several, or for nobody any more.
        while !alone && let Some(payload) = run.messages.payload(0) {
            let [told, told_data, _] = &mut self.told;
            if !handlers.data.is_empty() {
                let mut data = Some(run.data(payload.clone()));
                self.offer = offer(&mut handlers.data, told_data, number, &mut data);
                if self.offer.is_some() {
                    return true;
                }
            }
            let mut message = Some(run.message(payload));
            self.offer = offer(&mut handlers.message, told, number, &mut message);
            if self.offer.is_some() && message.is_some() {
                // Others are still to be told of it.
                return true;
            }
            (*told, *told_data) = (0, 0);
            let before = run.cost();
            run.messages.advance();
            self.cost -= before - run.cost();
            self.events -= 1;
            if self.offer.is_some() && !run.messages.is_empty() {
                return true;
            }
        }
        self.cost -= run.cost();
        self.events -= run.messages.len();
        self.next_entry();
        true
    }

    /// Lets go of the head: everybody was told, or stands in a full mailbox as the last.
    fn next_entry(&mut self) {
        self.told = Told::default();
        self.queue.pop_front();
        self.number += 1;
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
            let skips = mem::take(&mut skip);
            let [skipped, ..] = skips;
            match entry {
                Entry::Open(event) => force(&handlers.open, skipped, number, &event),
                Entry::Reconnect(event) => force(&handlers.reconnect, skipped, number, &event),
                Entry::Ping(event) => force(&handlers.ping, skipped, number, &event),
                Entry::Pong(event) => force(&handlers.pong, skipped, number, &event),
                Entry::Error(event) => force(&handlers.error, skipped, number, &event),
                Entry::Close(event) => force(&handlers.close, skipped, number, &event),
                Entry::State(event) => force(&handlers.state, skipped, number, &event),
                Entry::Stopped(event) => force(&handlers.stopped, skipped, number, &event),
                Entry::Run(run) => force_run(handlers, skips, number, run),
                Entry::Continuation(event) => {
                    force(&handlers.data, skips[1], number, &event.data());
                    force(&handlers.continuation, skipped, number, &event);
                }
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

/// Offers an event to every recipient from the `told`-th on; the last one gets the event itself, the
/// others a copy. What comes back is the event in a mailbox that was full, to be awaited; `event` is
/// left where more recipients are to be told.
fn offer<M: Event>(
    slots: &mut Slots<M>,
    told: &mut usize,
    number: u64,
    event: &mut Option<M>,
) -> Option<Offer> {
    while let Some(slot) = slots.get(*told) {
        if slot.from > number {
            *told += 1;
            continue;
        }
        let is_last = *told + 1 == slots.len();
        let own = if is_last { event.take() } else { event.clone() }?;
        match slot.to.try_send(own) {
            Ok(()) => *told += 1,
            Err(SendError::Closed(own)) => {
                remove(slots, *told);
                event.get_or_insert(own);
            }
            Err(SendError::Full(own)) => {
                *told += 1;
                return Some(slot.stand(own));
            }
        }
    }
    None
}

/// Offers the messages of a run to the one recipient that there is: most connections have no more, and
/// it takes half the time. What is left of the run waits for a full mailbox, or nobody is there any more.
fn tell_only(only: &Slot<event::Message>, run: &mut Run) -> Option<Offer> {
    while let Some(payload) = run.messages.payload(0) {
        match only.to.try_send(run.message(payload)) {
            Ok(()) => run.messages.advance(),
            Err(SendError::Closed(_)) => return None,
            Err(SendError::Full(own)) => {
                run.messages.advance();
                return Some(only.stand(own));
            }
        }
    }
    None
}

impl<M: Event> Slot<M> {
    /// Puts an event into a full mailbox. `try_send` wakes nobody when there is room again; the answer to
    /// this does.
    fn stand(&self, event: M) -> Offer {
        let request = self.to.send(event);
        let answer = Box::pin(async move {
            let _ = request.await;
        });
        Offer { answer, since: tokio::time::Instant::now() }
    }
}

/// As [`offer`], where the event stays in the queue until everybody was told.
fn offer_copies<M: Event>(
    slots: &mut Slots<M>,
    told: &mut usize,
    number: u64,
    event: &M,
) -> Option<Offer> {
    offer(slots, told, number, &mut Some(event.clone()))
}

fn force<M: Event>(slots: &Slots<M>, skip: usize, number: u64, event: &M) {
    for slot in slots.iter().skip(skip).filter(|slot| slot.from <= number) {
        slot.to.do_send(event.clone());
    }
}

fn force_run(handlers: &Handlers, mut skip: Told, number: u64, mut run: Run) {
    if skip[2] < handlers.batch.len() {
        force(&handlers.batch, skip[2], number, &run.batch());
    }
    while let Some(payload) = run.messages.payload(0) {
        let [told, told_data, _] = mem::take(&mut skip);
        force(&handlers.data, told_data, number, &run.data(payload.clone()));
        force(&handlers.message, told, number, &run.message(payload));
        run.messages.advance();
    }
}
