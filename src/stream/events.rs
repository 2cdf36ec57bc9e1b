//! The consumer's end of a stream.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use crate::event::{self, Event};
use crate::stream::block::{InRuntime, block_on};
use crate::stream::inbox::{Entry, Inbox};

/// The events of a connection, in order: a `Stream`, for every thread of every runtime, and for a thread without
/// any.
///
/// For each opened socket the order is `Open (Message | Ping | Pong …)* Error? Close`. The last event is
/// `Stopped`; behind it the stream ends. It ends without `Stopped` where the thread of the connection ends first.
///
/// Dropping it closes the connection with 1001, as the drop of the last `Addr` does. The close goes on in the
/// background.
///
/// At most `capacity` events wait in it, see [`stream`](crate::ConnectionBuilder::stream). While it is full, the
/// connection reads at most `read_ahead` more and answers Pings; then it reads no more, and the server has to wait.
#[doc(alias("stream", "receiver", "WebSocketStream"))]
pub struct Events {
    inbox: Arc<Inbox>,
    /// What was taken out of the buffer.
    taken: VecDeque<Entry>,
    /// The messages at the head, and the index of the next one.
    batch: Option<(event::Batch, usize)>,
    /// The number of events that were returned and still count in the buffer.
    returned: usize,
    /// How many of them are released at once.
    release_at: usize,
    /// Whether `None` was returned.
    is_done: bool,
}

impl Events {
    pub(super) fn new(inbox: Arc<Inbox>, capacity: usize) -> Events {
        Events {
            inbox,
            taken: VecDeque::new(),
            batch: None,
            returned: 0,
            // In halves, so that the connection fills one while the other is consumed.
            release_at: capacity.div_ceil(2),
            is_done: false,
        }
    }

    /// Waits for the next event. Returns `None` at the end. Does what `StreamExt::next` does, without its crate,
    /// and is cancel safe: an event is returned or stays.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Waits for the next event on a thread without a runtime, which is blocked meanwhile. Returns `None` at the
    /// end.
    ///
    /// # Errors
    /// [`InRuntime`] on a thread of a tokio runtime, also in `spawn_blocking`. Use [`next`](Events::next) there.
    pub fn blocking_next(&mut self) -> Result<Option<Event>, InRuntime> {
        block_on(self.next())
    }

    /// Inlined, as what it calls for a message: an `Event` is large, and is written where the caller wants it.
    #[inline]
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        match self.next_message() {
            Some(message) => Poll::Ready(Some(Event::Message(message))),
            None => self.poll_other(cx),
        }
    }

    /// Returns the next event where it is not a message of the batch at the head.
    #[cold]
    fn poll_other(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            if let Some(message) = self.next_message() {
                return Poll::Ready(Some(Event::Message(message)));
            }
            match self.taken.pop_front() {
                Some(Entry::Batch(batch)) => self.batch = Some((batch, 0)),
                Some(Entry::Event(event)) => {
                    self.count();
                    return Poll::Ready(Some(event));
                }
                None if self.is_done => return Poll::Ready(None),
                None => {
                    let returned = mem::take(&mut self.returned);
                    self.is_done = !ready!(self.inbox.poll_take(cx, returned, &mut self.taken));
                }
            }
        }
    }

    /// Returns the next message of the batch at the head.
    #[inline]
    fn next_message(&mut self) -> Option<event::Message> {
        let (batch, index) = self.batch.as_mut()?;
        let Some(message) = batch.message(*index) else {
            self.batch = None;
            return None;
        };
        *index += 1;
        self.count();
        Some(message)
    }

    /// Counts an event that is returned now, and releases as many as are due.
    #[inline]
    fn count(&mut self) {
        self.returned += 1;
        if self.returned >= self.release_at {
            self.inbox.release(mem::take(&mut self.returned));
        }
    }
}

impl Stream for Events {
    type Item = Event;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_event(cx)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.inbox.drop_consumer();
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("done", &self.is_done).finish_non_exhaustive()
    }
}
