//! The one queue on the way to the handlers: in order, bounded, nothing lost.

mod entry;
mod handlers;
mod kinds;
mod outlet;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::mem;
use std::ops::ControlFlow;
use std::task::Context;
use std::time::Duration;

use actix::Recipient;
use actix::dev::SendError;

use crate::delivery::entry::Entry;
use crate::delivery::handlers::{BATCH, Cursors, DATA, EVENT, Pending, send_to_full};
use crate::delivery::kinds::Target;
use crate::delivery::outlet::Outlet;
use crate::event;
use crate::options::Overflow;

pub(crate) use crate::delivery::entry::{EVENT_COST, Queued, Run, cost};
pub(crate) use crate::delivery::handlers::Handlers;
pub(crate) use crate::delivery::kinds::Event;

/// The queue of one connection.
#[derive(Default)]
pub(crate) struct Delivery {
    handlers: Handlers,
    /// What waits, each with its number.
    queue: VecDeque<(u64, Entry)>,
    /// The number of the next entry. They are numbered as they come.
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
    /// Who is to be told of the head next.
    cursors: Cursors,
    /// Whether the rest of the head is for the next turn of the thread.
    yielded: bool,
    /// How many turns ended so.
    yields: u8,
    /// The head in a full mailbox. It must be answered before anything moves, and must not be
    /// dropped: that would take the event back out of the mailbox. Only who unsubscribes wants that.
    pending: Option<Box<Pending>>,
}

/// Messages that the one handler of a connection is given in a turn of the thread. glibc's allocator
/// keeps so many freed blocks of a size at hand; and a mailbox of actix's default size is never full.
const MESSAGES_PER_POLL: usize = 7;

/// After so many turns in the middle of a run it is asked how long that takes.
const POLLS_PER_CHECK: u8 = 4;

/// A run that is handed over within this time leaves all else until it is done.
const EXCLUSIVE_TIME: Duration = Duration::from_millis(10);

impl Delivery {
    pub(crate) fn new(handlers: Handlers, overflow: Overflow, room: usize) -> Delivery {
        Delivery { handlers, overflow, room, ..Delivery::default() }
    }

    /// Adds a recipient that is told of what comes from now on; and of the socket that is open, if it is
    /// one of `Open`.
    pub(crate) fn subscribe<E: Event>(&mut self, to: Recipient<E>, open: Option<event::Open>) {
        let to = E::target(to);
        if let (Target::Open(to), Some(open)) = (&to, open) {
            // One for each subscription, whatever the mailbox holds.
            to.do_send(open);
        }
        self.handlers.add_from::<E>(to, self.number);
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
        let Some(at) = self.handlers.find(recipient) else {
            return false;
        };
        if self.pending.as_ref().is_some_and(|pending| pending.to == (at, E::BIT)) {
            // Back out of the full mailbox: nobody else has to wait for that any more.
            self.pending = None;
        }
        if self.handlers.remove(at, E::BIT, &mut self.cursors)
            && let Some(pending) = &mut self.pending
            && at < pending.to.0
        {
            pending.to.0 -= 1;
        }
        true
    }

    /// Puts an event behind all others; where nothing is before it, it goes into the mailboxes at once.
    pub(crate) fn push<E: Queued>(&mut self, event: E) {
        if !self.handlers.wants_any(E::KINDS) {
            return;
        }
        let mut event = Some(event);
        if E::IS_ALONE && self.is_empty() {
            self.pending = self.handlers.offer(&mut self.cursors, EVENT, self.number, &mut event);
            if self.pending.is_none() || event.is_none() {
                self.cursors = Cursors::default();
                self.number += 1;
                return;
            }
            // Others are still to be told of it.
        }
        if let Some(event) = event {
            self.events += 1;
            self.enqueue(event.into_entry());
        }
    }

    fn enqueue(&mut self, entry: Entry) {
        self.cost += entry.cost();
        self.queue.push_back((self.number, entry));
        self.number += 1;
    }

    /// Puts a run of messages behind all others. Where a handler is too slow for it, drops what
    /// `overflow` says.
    pub(crate) fn push_run(&mut self, run: Run) {
        let kinds = event::Message::BIT | event::Data::BIT | event::Batch::BIT;
        if !self.handlers.wants_any(kinds) || run.messages.is_empty() {
            return;
        }
        self.events += run.messages.len();
        self.enqueue(Entry::Run(run));
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
        drops && self.pending.is_some()
    }

    /// Whether the socket is to be closed when too much waits.
    pub(crate) fn disconnects(&self) -> bool {
        self.overflow == Overflow::Disconnect && self.pending.is_some()
    }

    /// Drops messages until the rest has room.
    fn shed(&mut self) {
        if !self.is_dropping() {
            return;
        }
        // The head is on its way to its recipients. It goes to all of them: the one message, or the
        // run that some have had as a batch.
        let head = if self.cursors[BATCH] > 0 { usize::MAX } else { 1 };
        let runs = self.queue.iter_mut().enumerate().filter_map(|(index, entry)| match entry {
            (_, Entry::Run(run)) => Some((if index == 0 { head } else { 0 }, run)),
            _ => None,
        });
        let oldest = self.overflow == Overflow::DropOldest;
        let runs: &mut dyn Iterator<Item = _> = match oldest {
            true => &mut { runs },
            false => &mut runs.rev(),
        };
        let before = self.dropped;
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
        if self.dropped > before {
            // A run of which nothing is left would be no batch, and they would pile up.
            self.queue.retain(|(_, it)| !matches!(it, Entry::Run(run) if run.messages.is_empty()));
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
        self.queue.is_empty() && self.pending.is_none()
    }

    /// Since when a full mailbox has held everything up.
    pub(crate) fn blocked_since(&self) -> Option<tokio::time::Instant> {
        self.pending.as_ref().map(|pending| pending.since)
    }

    /// Hands over what the handlers' mailboxes take. `true` if it goes on in the next turn of the thread,
    /// for which it has woken the task.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            if let Some(pending) = &mut self.pending {
                if pending.receipt.as_mut().poll(cx).is_pending() {
                    self.shed();
                    return false;
                }
                self.pending = None;
            }
            if !self.step() {
                return false;
            }
            if mem::take(&mut self.yielded) {
                self.yields = self.yields.wrapping_add(1);
                cx.waker().wake_by_ref();
                return true;
            }
        }
    }

    /// Whether a turn in the middle of a run is for that alone. Where the handler is slow the socket and
    /// the timers have theirs too.
    pub(crate) fn is_brief(&self) -> bool {
        !self.yields.is_multiple_of(POLLS_PER_CHECK)
            || self.queue.front().is_some_and(|(_, head)| match head {
                Entry::Run(run) => {
                    let now = tokio::time::Instant::now().into_std();
                    now.saturating_duration_since(run.received) < EXCLUSIVE_TIME
                }
                _ => false,
            })
    }

    /// Offers the head to its next recipients. `false` when the queue is empty.
    fn step(&mut self) -> bool {
        let Some((number, head)) = self.queue.front_mut() else {
            return false;
        };
        if let Entry::Run(_) = head {
            return self.step_run();
        }
        let blocked = head.offer(&mut self.handlers, &mut self.cursors, *number);
        match blocked {
            Some(pending) => self.pending = Some(pending),
            None => {
                self.cost -= head.cost();
                self.events -= 1;
                self.drop_head();
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
        let Some((number, Entry::Run(run))) = self.queue.front_mut() else {
            return true;
        };
        let (handlers, number) = (&mut self.handlers, *number);
        let wants_data = handlers.wants::<event::Data>();
        let alone = !wants_data && !handlers.wants::<event::Message>();
        if let Some(at) = handlers.next::<event::Batch>(self.cursors[BATCH]) {
            // The last recipient of all gets the messages themselves.
            let is_last = alone && handlers.next::<event::Batch>(at + 1).is_none();
            let mut batch = Some(if is_last {
                self.cost -= run.cost();
                self.events -= run.messages.len();
                run.take_batch()
            } else {
                run.batch()
            });
            self.pending = handlers.offer(&mut self.cursors, BATCH, number, &mut batch);
            if self.pending.is_some() && !is_last {
                return true;
            }
        }
        if !wants_data
            && self.cursors[EVENT] == 0
            && let Some(at) = handlers.next::<event::Message>(0)
            && handlers.next::<event::Message>(at + 1).is_none()
            && let Some((from, only)) = handlers.at::<event::Message>(at)
            && from <= number
        {
            let (cost, count) = (run.cost(), run.messages.len());
            let delivered = deliver_to_only(&only, at, run);
            self.cost -= cost - run.cost();
            self.events -= count - run.messages.len();
            (self.pending, self.yielded) = match delivered {
                ControlFlow::Continue(()) => (None, !run.messages.is_empty()),
                ControlFlow::Break(pending) => (pending, false),
            };
            if (self.yielded || self.pending.is_some()) && !run.messages.is_empty() {
                return true;
            }
        }
        // What is left is for several, or for nobody any more.
        while !alone && let Some(payload) = run.messages.payload(0) {
            let cursors = &mut self.cursors;
            if wants_data {
                let mut data = Some(run.data(payload.clone()));
                self.pending = handlers.offer(cursors, DATA, number, &mut data);
                if self.pending.is_some() {
                    return true;
                }
            }
            let mut message = Some(run.message(payload));
            self.pending = handlers.offer(cursors, EVENT, number, &mut message);
            if self.pending.is_some() && message.is_some() {
                // Others are still to be told of it.
                return true;
            }
            (cursors[EVENT], cursors[DATA]) = (0, 0);
            let before = run.cost();
            run.messages.advance();
            self.cost -= before - run.cost();
            self.events -= 1;
            if self.pending.is_some() && !run.messages.is_empty() {
                return true;
            }
        }
        self.cost -= run.cost();
        self.events -= run.messages.len();
        self.drop_head();
        true
    }

    /// Lets go of the head: everybody was told, or stands in a full mailbox as the last.
    fn drop_head(&mut self) {
        self.cursors = Cursors::default();
        self.queue.pop_front();
    }

    /// Hands over all that waits, past the bounds of the mailboxes: the end of life, where nobody
    /// is left to wait. Bounded by what the queue may hold.
    pub(crate) fn hand_over(&mut self) {
        if let Some(pending) = self.pending.take() {
            // Its event is in the mailbox. Forgotten rather than dropped, so that it stays there.
            mem::forget(pending.receipt);
        }
        let mut skip = mem::take(&mut self.cursors);
        for (number, entry) in mem::take(&mut self.queue) {
            entry.deliver_unbounded(&self.handlers, mem::take(&mut skip), number);
        }
        self.cost = 0;
        self.events = 0;
    }

    /// Lets go of every handler.
    pub(crate) fn release(&mut self) {
        self.handlers = Handlers::default();
    }
}

/// Offers the next messages of a run to the one recipient that there is: most connections have no more,
/// and it takes half the time. It breaks off where what is left of the run waits for a full mailbox, or
/// nobody is there any more.
fn deliver_to_only(
    only: &Outlet<'_, event::Message>,
    at: u32,
    run: &mut Run,
) -> ControlFlow<Option<Box<Pending>>> {
    let mut next = run.own_message(0);
    for left in (0..MESSAGES_PER_POLL).rev() {
        let Some(message) = next.take() else { break };
        // The next one is made before this one goes. What was just stored word by word can't be loaded
        // otherwise until it is in the cache, and every move of a message would wait for that.
        if left > 0 {
            next = run.own_message(1);
        }
        match only.try_send(message) {
            Ok(()) => run.messages.advance(),
            Err(SendError::Closed(_)) => return ControlFlow::Break(None),
            Err(SendError::Full(own)) => {
                run.messages.advance();
                return ControlFlow::Break(Some(send_to_full(only, at, own)));
            }
        }
    }
    ControlFlow::Continue(())
}
