//! What the connection and the consumer of its stream share: the buffer, and who waits at either end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::oneshot;

use crate::event::{self, Event};
use crate::stream::buffer::Buffer;

/// An entry of the buffer. The messages of one read cross together.
pub(super) enum Entry {
    Batch(event::Batch),
    Event(Event),
}

impl Entry {
    fn events(&self) -> usize {
        match self {
            Entry::Batch(batch) => batch.len(),
            Entry::Event(_) => 1,
        }
    }
}

/// The shared part. No lock is held across a poll, nor while events are dropped or a waker is called.
pub(super) struct Inbox {
    state: Mutex<State>,
}

struct State {
    buffer: Buffer<Entry>,
    /// The consumer's waker, while it waits for an event.
    consumer: Option<Waker>,
    /// The connection's waker, and the number of events that it waits for room for.
    connection: Option<(Waker, usize)>,
    /// Whether the last event is in the buffer, or none can come any more.
    has_ended: bool,
    /// Whether the consumer was dropped.
    is_dropped: bool,
    /// Keeps the connection alive: dropped with the last event, or with the consumer.
    keeper: Option<oneshot::Sender<()>>,
}

impl Inbox {
    /// Creates a buffer for so many events, and a future that resolves when the connection has delivered the
    /// last event, or the consumer is gone.
    pub(super) fn new(capacity: usize) -> (Arc<Inbox>, oneshot::Receiver<()>) {
        let (keeper, kept) = oneshot::channel();
        let state = State {
            buffer: Buffer::new(capacity),
            consumer: None,
            connection: None,
            has_ended: false,
            is_dropped: false,
            keeper: Some(keeper),
        };
        (Arc::new(Inbox { state: Mutex::new(state) }), kept)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Poisoned or not, the state is whole: nothing that could panic half-way runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an event into the buffer if there is room, and wakes the consumer.
    #[expect(clippy::result_large_err, reason = "the event itself, which the caller gives back")]
    pub(super) fn offer(&self, entry: Entry) -> Result<(), Refused> {
        let state = self.lock();
        if state.is_dropped {
            return Err(Refused::Dropped(entry));
        }
        if !state.buffer.has_room(entry.events()) {
            return Err(Refused::Full(entry));
        }
        push(state, entry);
        Ok(())
    }

    /// Puts an event into the buffer, past the bound if there is no room.
    pub(super) fn force(&self, entry: Entry) {
        let state = self.lock();
        if !state.is_dropped {
            push(state, entry);
        }
    }

    /// Puts the event into the buffer once there is room, or drops it if the consumer was dropped.
    pub(super) fn poll_offer(&self, cx: &mut Context<'_>, waiting: &mut Option<Entry>) -> Poll<()> {
        let Some(entry) = waiting.take() else { return Poll::Ready(()) };
        let mut state = self.lock();
        if state.is_dropped {
            // The entry is dropped without the lock.
            drop(state);
            return Poll::Ready(());
        }
        let events = entry.events();
        if state.buffer.has_room(events) {
            push(state, entry);
            return Poll::Ready(());
        }
        state.connection = Some((cx.waker().clone(), events));
        *waiting = Some(entry);
        Poll::Pending
    }

    /// Whether the consumer was not dropped.
    pub(super) fn is_open(&self) -> bool {
        !self.lock().is_dropped
    }

    /// Notes that no further event comes.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.has_ended = true;
        let (keeper, consumer) = (state.keeper.take(), state.consumer.take());
        drop(state);
        drop(keeper);
        if let Some(consumer) = consumer {
            consumer.wake();
        }
    }

    /// Releases events that were taken out before.
    pub(super) fn release(&self, events: usize) {
        let mut state = self.lock();
        state.buffer.release(events);
        wake_connection(state);
    }

    /// Releases events that were taken out before, and takes out all that are there. Returns `Ready(false)` at
    /// the end.
    pub(super) fn poll_take(
        &self,
        cx: &mut Context<'_>,
        released: usize,
        into: &mut VecDeque<Entry>,
    ) -> Poll<bool> {
        let mut state = self.lock();
        state.buffer.release(released);
        state.buffer.take(into);
        let has_ended = state.has_ended;
        let is_empty = into.is_empty();
        if is_empty && !has_ended {
            match &mut state.consumer {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        wake_connection(state);
        match (is_empty, has_ended) {
            (true, false) => Poll::Pending,
            (is_empty, _) => Poll::Ready(!is_empty),
        }
    }

    /// Notes that the consumer is gone: events are dropped from now on, and the connection closes.
    pub(super) fn drop_consumer(&self) {
        let mut left = VecDeque::new();
        let mut state = self.lock();
        state.is_dropped = true;
        state.buffer.take(&mut left);
        let (keeper, connection) = (state.keeper.take(), state.connection.take());
        drop(state);
        drop(keeper);
        if let Some((connection, _)) = connection {
            connection.wake();
        }
    }
}

/// An event that was not put into the buffer.
pub(super) enum Refused {
    Full(Entry),
    Dropped(Entry),
}

/// Appends an entry and wakes the consumer, if it waits.
fn push(mut state: MutexGuard<'_, State>, entry: Entry) {
    let events = entry.events();
    state.buffer.push(entry, events);
    let consumer = state.consumer.take();
    drop(state);
    if let Some(consumer) = consumer {
        consumer.wake();
    }
}

/// Wakes the connection, if it waits and there is room for what it has.
fn wake_connection(mut state: MutexGuard<'_, State>) {
    let has_room = match &state.connection {
        Some((_, events)) => state.buffer.has_room(*events),
        None => false,
    };
    let connection = state.connection.take_if(|_| has_room);
    drop(state);
    if let Some((connection, _)) = connection {
        connection.wake();
    }
}
