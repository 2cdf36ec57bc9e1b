//! The queue of events for the handlers of one connection: in order, bounded, nothing lost.
//!
//! `Delivery::poll` offers the head of the queue to its recipients, one after the other. The first full
//! mailbox stops it, and with it all that is behind, so that every recipient gets its events in order.

mod closures;
mod cost;
mod entry;
mod handlers;
mod kinds;
mod outlet;
mod queue;
mod run;
#[cfg(test)]
mod tests;

use std::mem;
use std::ops::ControlFlow;
use std::task::Context;
use std::time::Duration;

use actix::Recipient;
use actix::dev::SendError;

use crate::delivery::entry::deliver_run_unbounded;
use crate::delivery::handlers::{BATCH, Cursors, DATA, EVENT, Pending, send_to_full};
use crate::delivery::kinds::Delivered;
use crate::delivery::outlet::Outlet;
use crate::delivery::queue::{Queue, Taken};
use crate::event::{self, Numbered};
use crate::options::Overflow;

pub(crate) use crate::delivery::closures::{Closure, Closures};
pub(crate) use crate::delivery::entry::{EVENT_COST, Queued};
pub(crate) use crate::delivery::handlers::{Ended, Handlers};
pub use crate::delivery::kinds::IntoRecipient;
pub(crate) use crate::delivery::kinds::Registered;
pub(crate) use crate::delivery::outlet::{EventAddr, HandlerAddr, leave_in_mailbox};
pub(crate) use crate::delivery::run::{Run, cost};

/// The recipients of one connection, and the events that wait for them.
#[derive(Default)]
pub(crate) struct Delivery {
    handlers: Handlers,
    /// Whether a recipient of fragments was registered when the connection was built.
    by_fragment: bool,
    queue: Queue,
    /// What happens to messages beyond `room`.
    overflow: Overflow,
    /// The cost from which on messages are dropped, in bytes.
    room: usize,
    /// The next recipient of the head. All zero if no recipient has it yet.
    cursors: Cursors,
    /// Whether the last step ended in the middle of a run, so that the handler gets its turn of the
    /// thread.
    yielded: bool,
    /// The number of polls that ended so, which wraps around.
    yields: u8,
    /// Whether delivery is held, by `command::Hold`. Then `pending` is a full mailbox that does not exist.
    holds: bool,
    /// The event that is in a full mailbox. Nothing else is delivered before the handler has taken it.
    /// Dropping this takes the event back out of the mailbox, which is right only for a recipient that
    /// unsubscribes.
    pending: Option<Box<Pending>>,
}

/// The most messages that a connection with a single message handler delivers in a poll. glibc's
/// allocator caches as many freed blocks of one size, and a mailbox of actix's default size (16) is
/// never full.
const MESSAGES_PER_POLL: usize = 7;

/// Every so many polls in the middle of a run the time is looked at, see [`Delivery::is_exclusive`].
const POLLS_PER_CHECK: u8 = 4;

/// How long after it was read a run is delivered without polling anything else in between.
const EXCLUSIVE_TIME: Duration = Duration::from_millis(10);

impl Delivery {
    pub(crate) fn new(handlers: Handlers, overflow: Overflow, room: usize) -> Delivery {
        let by_fragment = handlers.by_fragment();
        Delivery { handlers, by_fragment, overflow, room, ..Delivery::default() }
    }

    /// Registers a recipient for the events from now on. `open` is the event of the socket that is open
    /// now, if one is: a recipient of `Open` gets it at once.
    pub(crate) fn subscribe<E: Registered>(
        &mut self,
        recipient: Recipient<E>,
        open: Option<event::Open>,
    ) {
        let target = E::target(recipient);
        if let (Some(outlet), Some(open)) = (event::Open::outlet(&target), open) {
            // Past the bound of the mailbox, by one event for each subscription.
            outlet.do_send(open);
        }
        self.handlers.add_from::<E>(target, self.queue.number());
    }

    /// Holds delivery, as a full mailbox does, or releases it.
    pub(crate) fn hold(&mut self, holds: bool) {
        self.holds = holds;
        match &self.pending {
            None => self.pending = self.held(),
            Some(pending) if pending.is_held() && !holds => self.pending = None,
            // A mailbox is full: the hold begins when it is not any more.
            Some(_) => {}
        }
    }

    /// Returns what is pending once no mailbox is full.
    fn held(&self) -> Option<Box<Pending>> {
        self.holds.then(|| Box::new(Pending::held()))
    }

    /// Returns the number of recipients.
    pub(crate) fn handler_count(&self) -> usize {
        self.handlers.count()
    }

    /// Whether messages in several frames are delivered fragment by fragment: only if the builder asked for
    /// it, because a late recipient of fragments would take those messages from the recipients of `Message`.
    pub(crate) fn by_fragment(&self) -> bool {
        self.by_fragment && self.handlers.by_fragment()
    }

    /// Removes a recipient. Returns `false` if it was not registered.
    pub(crate) fn unsubscribe<E: Registered>(&mut self, recipient: &Recipient<E>) -> bool {
        let Some(at) = self.handlers.find(recipient) else {
            return false;
        };
        let is_gone = |pending: &Pending| pending.to.0 == at && pending.to.1 & E::ALL_KINDS != 0;
        if self.pending.as_deref().is_some_and(is_gone) {
            // Takes the event back out of the full mailbox, and the other recipients go on.
            self.pending = self.held();
        }
        if self.handlers.remove(at, E::ALL_KINDS, &mut self.cursors) {
            self.move_pending(at);
        }
        true
    }

    /// Adjusts what is pending after registration `at` was removed.
    fn move_pending(&mut self, at: u32) {
        if let Some(pending) = &mut self.pending
            && at < pending.to.0
        {
            pending.to.0 -= 1;
        }
    }

    /// Removes every recipient whose actor has ended. Without this, only an event for it finds that out.
    pub(crate) fn drop_ended(&mut self) {
        while let Some(at) = self.handlers.remove_first_ended(&mut self.cursors) {
            if self.pending.as_ref().is_some_and(|pending| pending.to.0 == at) {
                self.pending = self.held();
            }
            self.move_pending(at);
        }
    }

    /// Whether recipients have ended since `take_ended` was called.
    #[inline]
    pub(crate) fn has_ended(&self) -> bool {
        self.handlers.has_ended()
    }

    /// Returns which recipients have ended since the last call.
    pub(crate) fn take_ended(&mut self) -> Option<Ended> {
        self.handlers.take_ended()
    }

    /// Returns the number of recipients that have ended.
    pub(crate) fn ended_count(&self) -> u32 {
        self.handlers.ended_count()
    }

    /// Returns the number of kinds of event whose last recipient has ended.
    pub(crate) fn unheard_count(&self) -> u32 {
        self.handlers.unheard_count()
    }

    /// Queues an event. If nothing is before it, sends it to its recipients at once.
    pub(crate) fn push<E: Queued>(&mut self, event: E) {
        if !self.handlers.wants_any(E::KINDS) {
            return;
        }
        let mut event = Some(event);
        // Most events come while the queue is empty. Those spare the queue, and its memory.
        if E::IS_ALONE && self.is_empty() {
            let number = self.queue.number();
            self.pending = self.handlers.offer(&mut self.cursors, EVENT, number, &mut event);
            if self.pending.is_none() || event.is_none() {
                self.cursors = Cursors::default();
                self.queue.pass();
                return;
            }
            // A mailbox in the middle was full: the event is queued for the recipients behind it.
        }
        if let Some(event) = event {
            self.queue.push(event.into_entry());
        }
    }

    /// Queues a run of messages. If a handler is too slow for them, drops messages as `overflow` says.
    pub(crate) fn push_run(&mut self, run: Run) {
        let kinds = event::Message::BIT | event::Data::BIT | event::Batch::BIT;
        if !self.handlers.wants_any(kinds) || run.messages.is_empty() {
            return;
        }
        self.queue.push_run(run);
        self.shed();
    }

    /// Whether the entries cost more than `room` bytes.
    pub(crate) fn is_full(&self, room: usize) -> bool {
        self.room_left(room).is_none()
    }

    /// Returns how many bytes more may wait before it is full, or `None` if it is. While messages are
    /// dropped, that is all of `room`: they make room for what comes.
    pub(crate) fn room_left(&self, room: usize) -> Option<usize> {
        let left = room.checked_sub(self.queue.cost)?;
        Some(if self.is_dropping() { room } else { left })
    }

    /// Whether messages beyond `room` are dropped: only while a mailbox is full.
    fn is_dropping(&self) -> bool {
        let drops = matches!(self.overflow, Overflow::DropOldest | Overflow::DropNewest);
        drops && self.pending.is_some()
    }

    /// Whether the socket must be closed if too much waits.
    pub(crate) fn disconnects(&self) -> bool {
        self.overflow == Overflow::Disconnect && self.pending.is_some()
    }

    /// Drops messages until the rest costs at most `room`, if messages are to be dropped at all.
    fn shed(&mut self) {
        if self.queue.cost > self.room && self.is_dropping() {
            // What some recipients of the head have, the others must get too: of a run its first message,
            // or all of it if it was sent as a batch. Those are kept.
            let kept = if self.cursors[BATCH] == 0 { 1 } else { usize::MAX };
            self.queue.shed(self.room, kept, self.overflow == Overflow::DropOldest);
        }
    }

    /// Returns the number of messages dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    /// Returns what the waiting events cost, in bytes.
    pub(crate) fn cost(&self) -> usize {
        self.queue.cost
    }

    /// Returns the number of waiting events.
    pub(crate) fn events(&self) -> usize {
        self.queue.events
    }

    /// Whether nothing waits, neither in the queue nor in a full mailbox.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.pending.is_none()
    }

    /// Returns since when a full mailbox has held up delivery, if one does.
    pub(crate) fn blocked_since(&self) -> Option<tokio::time::Instant> {
        self.pending.as_ref().map(|pending| pending.since)
    }

    /// Delivers events until a mailbox is full or the queue is empty; of a run for a single handler
    /// only a part. Then it has woken the task, and returns `true`.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            if let Some(pending) = &mut self.pending {
                if pending.receipt.as_mut().poll(cx).is_pending() {
                    // The mailbox may have been full for the first time when the queue was over `room`
                    // already.
                    self.shed();
                    return false;
                }
                self.pending = self.held();
                if self.holds {
                    continue;
                }
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

    /// Whether a poll in the middle of a run is for delivery alone, which is cheaper. With a slow
    /// handler, every fourth poll is for the socket and the timers too: a ping must be answered, and a
    /// read ahead.
    pub(crate) fn is_exclusive(&self) -> bool {
        !self.yields.is_multiple_of(POLLS_PER_CHECK)
            || self.queue.head_run().is_some_and(|run| {
                let now = tokio::time::Instant::now().into_std();
                now.saturating_duration_since(run.received) < EXCLUSIVE_TIME
            })
    }

    /// Offers the head to its next recipients. Returns `false` if the queue is empty.
    fn step(&mut self) -> bool {
        if self.queue.is_run_first() {
            return self.step_run();
        }
        let Some((number, head)) = self.queue.first_event() else {
            return false;
        };
        let blocked = head.offer(&mut self.handlers, &mut self.cursors, *number);
        match blocked {
            Some(pending) => self.pending = Some(pending),
            None => {
                self.cursors = Cursors::default();
                self.queue.pop_event();
            }
        }
        true
    }

    /// Does what [`step`](Delivery::step) does for a run at the head: offers it as a batch, then
    /// message by message as `Data` and as `Message`.
    ///
    /// It is over 40 lines because it is the path of every message: in parts it took three instructions
    /// more for each message of a batch. Whenever it returns early, the cursors say where to go on.
    fn step_run(&mut self) -> bool {
        let Some((number, run)) = self.queue.runs.front_mut().map(|entry| &mut **entry) else {
            return true;
        };
        let (handlers, number) = (&mut self.handlers, *number);
        let wants_data = handlers.wants::<event::Data>();
        let batch_only = !wants_data && !handlers.wants::<event::Message>();
        // First as a batch, so that a handler of both has the batch before its messages.
        if let Some(at) = handlers.next::<event::Batch>(self.cursors[BATCH]) {
            // The last recipient gets the messages themselves, without a copy of the list. They leave
            // the run, and so what the run costs is subtracted here.
            let is_last = batch_only && handlers.next::<event::Batch>(at + 1).is_none();
            let mut batch = Some(if is_last {
                let before = run.cost();
                self.queue.events -= run.messages.len();
                let batch = run.take_batch();
                self.queue.cost -= before - run.cost();
                batch
            } else {
                run.batch()
            });
            self.pending = handlers.offer(&mut self.cursors, BATCH, number, &mut batch);
            // After the last one the empty run is dropped below, though its mailbox may be full.
            if self.pending.is_some() && !is_last {
                return true;
            }
        }
        // The common case: one recipient of single messages, no other. It needs neither clones nor
        // cursors.
        if !wants_data
            && self.cursors[EVENT] == 0
            && let Some(at) = handlers.next::<event::Message>(0)
            && handlers.next::<event::Message>(at + 1).is_none()
            && let Some((from, only)) = handlers.at::<event::Message>(at)
            && from <= number
        {
            let count = run.messages.len();
            let delivered = deliver_to_only(&only, at, run);
            self.queue.events -= count - run.messages.len();
            (self.pending, self.yielded) = match delivered {
                ControlFlow::Continue(()) => (None, !run.messages.is_empty()),
                ControlFlow::Break(pending) => (pending, false),
            };
            if (self.yielded || self.pending.is_some()) && !run.messages.is_empty() {
                return true;
            }
        }
        // Several recipients, or the only one has ended: then this empties the run.
        while !batch_only && let Some(payload) = run.messages.payload(0) {
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
                // More recipients follow: the message stays, and the cursors with it.
                return true;
            }
            // All recipients have it, or the last one has it pending: the next message begins.
            (cursors[EVENT], cursors[DATA]) = (0, 0);
            run.messages.advance();
            self.queue.events -= 1;
            if self.pending.is_some() && !run.messages.is_empty() {
                return true;
            }
        }
        // Nothing is left of it, unless the only recipient of batches has ended: its messages stayed.
        self.cursors = Cursors::default();
        self.queue.pop_run();
        true
    }

    /// Delivers all that waits past the bounds of the mailboxes: at the end of the actor nothing can
    /// wait for them. The queue itself bounds how much that is.
    pub(crate) fn flush(&mut self) {
        if let Some(pending) = self.pending.take() {
            leave_in_mailbox(pending.receipt);
        }
        let mut skip = mem::take(&mut self.cursors);
        for (number, entry) in self.queue.drain() {
            let (handlers, cursors) = (&self.handlers, mem::take(&mut skip));
            match entry {
                Taken::Run(run) => deliver_run_unbounded(handlers, cursors, number, run),
                Taken::Event(event) => event.deliver_unbounded(handlers, cursors, number),
            }
        }
    }

    /// Drops all recipients, so that their actors can end.
    pub(crate) fn drop_recipients(&mut self) {
        self.handlers = Handlers::default();
    }
}

/// Sends the next messages of a run to the only recipient, at most [`MESSAGES_PER_POLL`] of them: most
/// connections have one, and this takes half the time. Breaks with what is pending if the mailbox is
/// full, and with `None` if the recipient has ended.
fn deliver_to_only(
    only: &Outlet<'_, event::Message>,
    at: u32,
    run: &mut Run,
) -> ControlFlow<Option<Box<Pending>>> {
    let mut next = run.own_message(0);
    for left in (0..MESSAGES_PER_POLL).rev() {
        let Some(message) = next.take() else { break };
        // Makes the next one before it sends this one. A message is written in single words and moved
        // in vectors: such a load must wait until the stores before it are in the cache, which they are
        // by then.
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
