//! The queue of a shard's events, and their delivery to the recipients, in order.
//!
//! As in a connection, the head of the queue is sent by `try_send` through the one `Recipient` that was
//! registered, which actix reports as full where a clone would not be. If a mailbox is full, the event is
//! sent by `Recipient::send`, and nothing moves until it was taken.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;

use actix::dev::SendError;
use actix::{Message, Recipient};

use crate::delivery;
use crate::feed::event::{Batch, Gap, LineState, Missing, Rotated, TopicState, Update};
use crate::feed::latest::Latest;
use crate::feed::recipients::{Own, Recipients};
use crate::feed::rules::Overflow;
use crate::feed::topic::Topic;

/// The events of one shard that are not delivered yet.
pub(crate) struct Outlet<T: Clone + Send + 'static> {
    recipients: Recipients<T>,
    queue: VecDeque<Entry<T>>,
    /// The updates that were read in this poll, which become one batch.
    open: Vec<Update<T>>,
    /// Whom those are for.
    open_own: Option<Own<T>>,
    /// The number of updates in the last batch.
    last_batch: usize,
    /// The number of updates in the queue.
    updates: usize,
    /// The next delivery of the head: the recipient, and the update for it.
    cursor: (usize, usize),
    /// The delivery that waits for room in a mailbox.
    blocked: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// Updates that were dropped since the head was begun, as a gap for each topic.
    lost: BTreeMap<Topic, (Gap, Option<Own<T>>)>,
    /// The number of gaps for updates that were dropped.
    gaps: u64,
    /// Whether the shard is to hold its lines.
    is_full: bool,
    /// With [`Overflow::Latest`] all events wait there, and nothing in the queue.
    latest: Option<Box<Latest<T>>>,
}

/// An event in the queue, and whom it is for.
struct Entry<T: Clone + Send + 'static> {
    event: Queued<T>,
    /// The recipients of its topic's own; `None` for those of the feed.
    own: Option<Own<T>>,
}

/// The kinds of event.
enum Queued<T> {
    /// With the number of updates, since the last recipient gets the batch itself.
    Updates(Batch<T>, usize),
    Gap(Gap),
    Topic(TopicState),
    Line(LineState),
    Rotated(Rotated),
}

/// The number of waiting updates at which the lines are held, and the number at which they are released.
const HOLD_FROM: usize = 4096;
const RELEASE_AT: usize = 1024;
/// The number of updates that wait at most: lines that close are not held. Beyond it the oldest are dropped, and reported as gaps.
pub(crate) const MAX_UPDATES: usize = 65_536;
/// The number of other events that wait at most. Beyond it the oldest are dropped: each is about a topic or a
/// line whose newest state follows.
const MAX_EVENTS: usize = 65_536;

impl<T: Clone + Send + 'static> Outlet<T> {
    pub(crate) fn new(recipients: Recipients<T>) -> Outlet<T> {
        let latest = recipients.overflow == Overflow::Latest;
        Outlet {
            latest: latest.then(|| Box::new(Latest::new(&recipients))),
            recipients,
            queue: VecDeque::new(),
            open: Vec::new(),
            open_own: None,
            last_batch: 0,
            updates: 0,
            cursor: (0, 0),
            blocked: None,
            lost: BTreeMap::new(),
            gaps: 0,
            is_full: false,
        }
    }

    /// Makes room for what a read of so many messages may bring, if it is as much as last time. A batch that grows by and by
    /// is copied: 13 instructions for each update.
    pub(crate) fn reserve(&mut self, messages: usize) {
        if self.open.capacity() == 0 && self.latest.is_none() {
            self.open.reserve_exact(messages.min(self.last_batch));
        }
    }

    /// Queues an update for the recipients of its topic's own, or else those of the feed. It becomes part of the batch that
    /// the next other event, an update for others, or `poll` ends.
    pub(crate) fn push_update(&mut self, update: Update<T>, own: Option<&Own<T>>) {
        self.direct(own);
        match &mut self.latest {
            Some(latest) => latest.push_update(update, self.open_own.clone()),
            None => self.open.push(update),
        }
    }

    /// Queues an update for the recipients of the feed, where neither `Latest` is set nor any topic has recipients of its
    /// own. If the memory of the batch has to grow for it, returns its item, and nothing is done.
    #[inline]
    pub(crate) fn try_push(
        &mut self,
        item: T,
        update: impl FnOnce(T) -> Update<T>,
    ) -> Result<(), T> {
        if self.open.len() == self.open.capacity() {
            return Err(item);
        }
        // There is room, and so it is made in its place. Where `push` may have to grow, it is made on the stack first, since
        // an unwinding growth drops it, and then copied: 60 instructions, 101 with two lines.
        self.open.push(update(item));
        Ok(())
    }

    /// Sets whom the following updates are for. Those before are one batch if it is not the same.
    fn direct(&mut self, own: Option<&Own<T>>) {
        if own.map(Arc::as_ptr) != self.open_own.as_ref().map(Arc::as_ptr) {
            self.end_batch();
            self.open_own = own.cloned();
        }
    }

    pub(crate) fn push_gap(&mut self, gap: Gap, own: Option<Own<T>>) {
        match &mut self.latest {
            Some(latest) => latest.push_gap(&gap, own),
            None => self.push(Queued::Gap(gap), own),
        }
    }

    pub(crate) fn push_topic(&mut self, state: TopicState, own: Option<Own<T>>) {
        match &mut self.latest {
            Some(latest) => latest.push_topic(&state, own),
            None => self.push(Queued::Topic(state), own),
        }
    }

    pub(crate) fn push_line(&mut self, state: LineState) {
        match &mut self.latest {
            Some(latest) => latest.push_line(&state),
            None => self.push(Queued::Line(state), None),
        }
    }

    /// Notes that a topic is not subscribed any more.
    pub(crate) fn release(&mut self, topic: &Topic) {
        // The recipients of its own are not kept alive by the last update of theirs.
        self.direct(None);
        self.latest.iter_mut().for_each(|latest| latest.release(topic));
    }

    pub(crate) fn push_rotated(&mut self, rotated: Rotated) {
        match &mut self.latest {
            Some(latest) => latest.push_rotated(&rotated),
            None => self.push(Queued::Rotated(rotated), None),
        }
    }

    /// Returns a topic of snapshots of which updates were dropped since the last call, for it to be made whole.
    pub(crate) fn poll_overrun(&mut self) -> Option<Topic> {
        self.latest.as_mut()?.poll_overrun()
    }

    /// Returns the number of gaps for updates that were dropped.
    pub(crate) fn gaps(&self) -> u64 {
        self.gaps + self.latest.as_ref().map_or(0, |latest| latest.gaps())
    }

    /// Returns the number of updates that were replaced by newer ones of their topics.
    pub(crate) fn skipped(&self) -> u64 {
        self.latest.as_ref().map_or(0, |latest| latest.skipped())
    }

    /// Returns the number of events that wait.
    pub(crate) fn len(&self) -> usize {
        let latest = self.latest.as_ref().map_or(0, |latest| latest.len());
        self.open.len() + self.updates + self.queue.len() + latest
    }

    /// Returns whether so many updates wait that the lines are to be held, as of the last `poll`.
    pub(crate) fn is_full(&mut self) -> bool {
        let limit = if self.is_full { RELEASE_AT } else { HOLD_FROM };
        self.is_full = self.updates > limit;
        self.is_full
    }

    /// Delivers what the mailboxes have room for.
    pub(crate) fn poll(&mut self, task: &mut Context<'_>) {
        if let Some(latest) = &mut self.latest {
            return latest.poll(task);
        }
        self.end_batch();
        loop {
            if let Some(blocked) = &mut self.blocked {
                if blocked.as_mut().poll(task).is_pending() {
                    return;
                }
                self.blocked = None;
            }
            match self.queue.front_mut() {
                Some(head) => {
                    let recipients = head.own.as_deref().unwrap_or(&self.recipients);
                    self.blocked = deliver(&mut head.event, recipients, &mut self.cursor);
                    if self.blocked.is_none() {
                        self.pop();
                    }
                }
                None => return,
            }
        }
    }

    /// Delivers all that is left past the bounds of the mailboxes: at the end, when nothing will be polled.
    ///
    /// So the end waits for no handler, and what the queue bounds is all that mailboxes get on top.
    pub(crate) fn flush(&mut self) {
        self.latest.iter_mut().for_each(|latest| latest.flush());
        self.end_batch();
        if let Some(blocked) = self.blocked.take() {
            // Its event is in the mailbox since it was first polled, before all that follow.
            delivery::leave_in_mailbox(blocked);
        }
        let lost = mem::take(&mut self.lost).into_values().map(Entry::from_lost);
        let mut head = self.queue.pop_front();
        for queued in head.take().into_iter().chain(lost).chain(mem::take(&mut self.queue)) {
            let recipients = queued.own.as_deref().unwrap_or(&self.recipients);
            force(&queued.event, recipients, mem::take(&mut self.cursor));
        }
        self.updates = 0;
    }

    fn push(&mut self, event: Queued<T>, own: Option<Own<T>>) {
        self.end_batch();
        self.queue.push_back(Entry { event, own });
        if self.queue.len() > MAX_EVENTS {
            // Not the head, which is being delivered.
            let is_state = |entry: &Entry<T>| !matches!(entry.event, Queued::Updates(..));
            if let Some(at) = (1..self.queue.len()).find(|at| is_state(&self.queue[*at])) {
                self.queue.remove(at);
            }
        }
    }

    /// Queues the updates of this poll as one batch.
    fn end_batch(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let updates = mem::take(&mut self.open);
        let count = updates.len();
        (self.last_batch, self.updates) = (count, self.updates + count);
        let (event, own) = (Queued::Updates(Batch::new(updates), count), self.open_own.clone());
        self.queue.push_back(Entry { event, own });
        while self.updates > MAX_UPDATES && self.drop_oldest() {}
    }

    /// Drops the oldest batch that is not being delivered. Returns `false` if there is none.
    fn drop_oldest(&mut self) -> bool {
        let is_data = |at: &usize| matches!(self.queue[*at].event, Queued::Updates(..));
        let Some(at) = (1..self.queue.len()).find(is_data) else { return false };
        if let Some(Entry { event: Queued::Updates(batch, count), own }) = self.queue.remove(at) {
            self.updates -= count;
            batch.iter().for_each(|update| self.add_lost(update, own.as_ref()));
        }
        true
    }

    /// Adds an update to the gap of its topic.
    fn add_lost(&mut self, update: &Update<T>, own: Option<&Arc<Recipients<T>>>) {
        let (gap, _) = self.lost.entry(update.topic.clone()).or_insert_with(|| {
            self.gaps += 1;
            (Gap::of_dropped(update), own.cloned())
        });
        if let (Missing::Range { to, .. }, Some(last)) = (&mut gap.missing, update.sequence.last())
        {
            *to = last.max(*to);
        }
    }

    fn pop(&mut self) {
        self.cursor = (0, 0);
        if let Some(Entry { event: Queued::Updates(_, count), .. }) = self.queue.pop_front() {
            self.updates -= count;
        }
        // What was dropped stood behind the head.
        let lost = mem::take(&mut self.lost);
        lost.into_values().rev().for_each(|gap| self.queue.push_front(Entry::from_lost(gap)));
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }
}

impl<T: Clone + Send + 'static> Entry<T> {
    fn from_lost((gap, own): (Gap, Option<Own<T>>)) -> Entry<T> {
        Entry { event: Queued::Gap(gap), own }
    }
}

/// Sends an event to its recipients, from the cursor on. Returns a delivery that waits for room.
fn deliver<T: Clone + Send + 'static>(
    queued: &mut Queued<T>,
    recipients: &Recipients<T>,
    cursor: &mut (usize, usize),
) -> Option<Pin<Box<dyn Future<Output = ()>>>> {
    match queued {
        Queued::Updates(batch, _) => {
            let batches = recipients.batches.len();
            while let Some(recipient) = recipients.batches.get(cursor.0) {
                cursor.0 += 1;
                let is_last = cursor.0 == batches && recipients.updates.is_empty();
                let one = if is_last { mem::take(batch) } else { batch.clone() };
                if let Some(blocked) = send(recipient, one) {
                    return Some(blocked);
                }
            }
            while let Some(recipient) = recipients.updates.get(cursor.0 - batches) {
                while let Some(update) = batch.get(cursor.1) {
                    cursor.1 += 1;
                    if let Some(blocked) = send(recipient, update.clone()) {
                        return Some(blocked);
                    }
                }
                *cursor = (cursor.0 + 1, 0);
            }
            None
        }
        Queued::Gap(gap) => send_all(&recipients.gaps, gap, &mut cursor.0),
        Queued::Topic(state) => send_all(&recipients.topics, state, &mut cursor.0),
        Queued::Line(state) => send_all(&recipients.lines, state, &mut cursor.0),
        Queued::Rotated(rotated) => send_all(&recipients.rotations, rotated, &mut cursor.0),
    }
}

/// Sends an event to each recipient of a list, from the `next` one on.
fn send_all<M: Message<Result = ()> + Clone + Send + 'static>(
    recipients: &[Recipient<M>],
    event: &M,
    next: &mut usize,
) -> Option<Pin<Box<dyn Future<Output = ()>>>> {
    while let Some(recipient) = recipients.get(*next) {
        *next += 1;
        if let Some(blocked) = send(recipient, event.clone()) {
            return Some(blocked);
        }
    }
    None
}

/// Sends an event. Returns the delivery if the mailbox is full. An actor that has ended gets nothing.
fn send<M: Message<Result = ()> + Send + 'static>(
    recipient: &Recipient<M>,
    event: M,
) -> Option<Pin<Box<dyn Future<Output = ()>>>> {
    match recipient.try_send(event) {
        Err(SendError::Full(event)) => {
            let request = recipient.send(event);
            Some(Box::pin(async move {
                // An error says that the actor has ended.
                let _ = request.await;
            }))
        }
        Ok(()) | Err(SendError::Closed(_)) => None,
    }
}

/// Sends an event to its recipients, from the cursor on, past the bounds of their mailboxes.
fn force<T: Clone + Send + 'static>(
    queued: &Queued<T>,
    recipients: &Recipients<T>,
    (at, from): (usize, usize),
) {
    fn all<M: Message<Result = ()> + Clone + Send + 'static>(
        to: &[Recipient<M>],
        at: usize,
        event: &M,
    ) {
        to.iter().skip(at).for_each(|recipient| recipient.do_send(event.clone()));
    }
    match queued {
        Queued::Updates(batch, _) => {
            all(&recipients.batches, at, batch);
            let mut from = from;
            let done = at.saturating_sub(recipients.batches.len());
            for recipient in recipients.updates.iter().skip(done) {
                let rest = batch.iter().skip(mem::take(&mut from));
                rest.for_each(|update| recipient.do_send(update.clone()));
            }
        }
        Queued::Gap(gap) => all(&recipients.gaps, at, gap),
        Queued::Topic(state) => all(&recipients.topics, at, state),
        Queued::Line(state) => all(&recipients.lines, at, state),
        Queued::Rotated(rotated) => all(&recipients.rotations, at, rotated),
    }
}

#[cfg(test)]
mod tests;
