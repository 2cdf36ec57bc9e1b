//! The sending end of a stream.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_sink::Sink;
use tokio::sync::oneshot;

use crate::command::status::{Phase, Watch};
use crate::command::{self, Accepted, Origin, Outgoing, SendError};
use crate::proto::message::Payload;
use crate::stream::block::{block_on, is_in_runtime};
use crate::stream::gathered::Gathered;
use crate::stream::outbox::{Outbox, Refused, Unmoved};

/// Sends messages over a connection that was started by [`stream`](crate::ConnectionBuilder::stream), from every
/// thread.
///
/// It does not keep the connection alive: that lives as long as its [`Events`](crate::stream::Events). Messages of
/// one `Sender` are sent in the order of the calls. A clone is a `Sender` of its own: its messages go between those
/// of the others as they enter the queue, which those of `feed` do when they are gathered.
///
/// | method | returns | at once refused |
/// |---|---|---|
/// | [`send`](Sender::send) | when the connection has accepted the message; waits for room | without an open socket |
/// | [`try_send`](Sender::try_send) | at once: the message is queued | without room, or without an open socket |
/// | `feed` of its `Sink` | when the message is gathered; waits for room in the queue | without an open socket |
/// | `flush` of its `Sink` | when all that it has queued or gathered is accepted or refused | |
///
/// To send much use `feed` or `try_send`: what is queued crosses to the connection's thread in batches, where each
/// `send` waits for its own answer. `feed` costs least: it takes no lock.
///
/// A message that was queued or gathered is refused after all if the socket is lost before the connection accepts
/// it; it is sent on no later one. `send` returns it. Of those that this `Sender` queued otherwise, `flush` returns
/// the first one since the last flush. Those that were queued are counted in `Figures::sends_refused`.
///
/// The queue of all `Sender`s is full at `capacity` messages. Each `Sender` gathers at most as many, or 1,024 if that
/// is fewer; these enter the queue together, once there is room for one. At most as many more as were in the queue wait
/// on the connection's thread for room in the send buffer.
#[doc(alias("sink", "SplitSink"))]
pub struct Sender {
    outbox: Arc<Outbox>,
    watch: Watch,
    /// What it was fed and is not in the queue yet.
    gathered: Gathered,
    /// Its number, by which refused messages come back to it.
    number: u32,
    /// The number of the last message that it queued, which a flush waits for; 0 before the first.
    last: AtomicU64,
}

impl Sender {
    pub(super) fn new(outbox: Arc<Outbox>, watch: Watch) -> Sender {
        let number = outbox.number();
        Sender { outbox, watch, gathered: Gathered::default(), number, last: AtomicU64::new(0) }
    }

    /// Queues a message for the socket that is open now, without waiting.
    ///
    /// # Errors
    /// With the message: [`Full`](SendError::Full) without room, [`NotOpen`](SendError::NotOpen) without an open
    /// socket, [`Closed`](SendError::Closed) once the connection is closed for good.
    pub fn try_send(&self, message: impl Into<command::Send>) -> Result<(), SendError> {
        let send = message.into();
        let Some(epoch) = self.watch.open_epoch() else {
            return Err(self.refuse(send));
        };
        match self.enqueue(self.outgoing(send, epoch)) {
            Ok(()) => Ok(()),
            Err(Refused::Full(message)) => Err(SendError::Full(message.send.payload)),
            Err(Refused::Closed(message)) => Err(self.refuse(message.send)),
        }
    }

    /// Sends a message, and waits until the connection has accepted it for the socket that is open.
    ///
    /// It waits for room in the queue, and for room in the send buffer: a server that does not read stops the
    /// sender. If the future is dropped while the message waits, the message is cancelled, unless the connection
    /// accepts it in that moment.
    ///
    /// # Errors
    /// With the message: [`NotOpen`](SendError::NotOpen) without an open socket, or if it was lost before the
    /// message was accepted; [`TooLarge`](SendError::TooLarge); [`OtherEpoch`](SendError::OtherEpoch) for a
    /// message that was made with [`Send::on`](command::Send::on); [`Closed`](SendError::Closed) once the
    /// connection is closed for good.
    pub async fn send(&self, message: impl Into<command::Send>) -> Result<Accepted, SendError> {
        let (reply, answer) = oneshot::channel();
        let send = message.into();
        // To be given back where the connection's thread ends without an answer.
        let copy = send.payload.clone();
        let mut message = Outgoing { send, origin: Origin::Caller(Some(reply)), epoch: 0 };
        loop {
            poll_fn(|cx| self.outbox.poll_room(cx)).await;
            let Some(epoch) = self.watch.open_epoch() else {
                return Err(self.refuse(message.send));
            };
            message.epoch = epoch;
            match self.enqueue(message) {
                Ok(()) => break,
                // Another sender was faster.
                Err(Refused::Full(back)) => message = back,
                Err(Refused::Closed(back)) => return Err(self.refuse(back.send)),
            }
        }
        answer.await.unwrap_or(Err(SendError::Closed(copy)))
    }

    /// Does what [`send`](Sender::send) does on a thread without a runtime, which is blocked meanwhile.
    ///
    /// # Errors
    /// As [`send`](Sender::send), and [`InRuntime`](SendError::InRuntime) on a thread of a tokio runtime, also in
    /// `spawn_blocking`.
    pub fn blocking_send(&self, message: impl Into<command::Send>) -> Result<Accepted, SendError> {
        let send = message.into();
        if is_in_runtime() {
            return Err(SendError::InRuntime(send.payload));
        }
        let copy = send.payload.clone();
        block_on(self.send(send)).unwrap_or(Err(SendError::InRuntime(copy)))
    }

    /// Queues a message, behind those that were gathered.
    fn enqueue(&self, message: Outgoing) -> Result<(), Refused> {
        let number = if self.gathered.is_waiting() {
            self.gathered.with(|gathered| self.enqueue_behind(gathered, message))?
        } else {
            self.outbox.push(message)?
        };
        self.last.fetch_max(number, Relaxed);
        Ok(())
    }

    /// Queues what was gathered and a message behind it, together, so that nothing comes between.
    #[cold]
    fn enqueue_behind(
        &self,
        gathered: &mut VecDeque<Outgoing>,
        message: Outgoing,
    ) -> Result<u64, Refused> {
        gathered.push_back(message);
        self.outbox.append(gathered).map_err(|unmoved| {
            let message = gathered.pop_back().expect("it was appended, and nothing was moved");
            match unmoved {
                Unmoved::Full => Refused::Full(message),
                Unmoved::Closed => {
                    self.refuse_all(gathered);
                    Refused::Closed(message)
                }
            }
        })
    }

    /// Moves what was gathered into the queue, once there is room for one message.
    fn poll_gathered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.gathered.all().is_empty() && !self.move_gathered() {
            ready!(self.outbox.poll_room(cx));
        }
        Poll::Ready(())
    }

    /// Moves what was gathered into the queue, if there is room for one message. Returns whether nothing is left
    /// here. Where the queue is closed, all is refused.
    #[cold]
    fn move_gathered(&mut self) -> bool {
        let mut gathered = mem::take(self.gathered.all());
        match self.outbox.append(&mut gathered) {
            Ok(number) => *self.last.get_mut() = number,
            Err(Unmoved::Closed) => self.refuse_all(&mut gathered),
            Err(Unmoved::Full) => {}
        }
        // Empty or not: its memory is used again.
        self.gathered.put_back(gathered)
    }

    /// Refuses messages of `feed` that the closed queue did not take.
    #[cold]
    fn refuse_all(&self, messages: &mut VecDeque<Outgoing>) {
        for message in messages.drain(..) {
            self.outbox.refuse(self.number, SendError::Closed(message.send.payload));
        }
    }

    /// Makes a message whose refusal comes back with a flush.
    #[inline]
    fn outgoing(&self, send: command::Send, epoch: u64) -> Outgoing {
        Outgoing { send, origin: Origin::Sender(self.number), epoch }
    }

    /// Returns the error of a message that cannot be queued.
    #[cold]
    fn refuse(&self, send: command::Send) -> SendError {
        let refuse = match self.watch.phase() {
            Phase::Closed => SendError::Closed,
            // The phase, also that of a connection whose thread has ended, says nothing of the queue's end.
            _ if self.outbox.is_closed() => SendError::Closed,
            _ => SendError::NotOpen,
        };
        refuse(send.payload)
    }

    fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let is_answered = ready!(self.outbox.poll_answered(cx, self.last.load(Relaxed)));
        Poll::Ready(match self.outbox.take_refused(self.number) {
            Some(error) => Err(error),
            None if is_answered => Ok(()),
            None => Err(SendError::Closed(Payload::Binary(Bytes::new()))),
        })
    }
}

/// `feed` gathers a message, and `flush` waits for the answers. What was fed enters the queue, and crosses to the
/// connection's thread, with the next flush, with the next message of `send` or `try_send` of the same `Sender`, when
/// the capacity or 1,024 messages are gathered, or when the `Sender` is dropped. `close` flushes and begins to close
/// the connection with 1000; what the server sends until then still comes as events, and `Stopped` last.
///
/// Where the thread of the connection ends without an answer, the error of a flush is `Closed` with an empty
/// payload.
impl Sink<Payload> for Sender {
    type Error = SendError;

    #[inline]
    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        if self.gathered.all().len() >= self.outbox.gathered() {
            ready!(self.poll_gathered(cx));
        }
        self.outbox.poll_room(cx).map(Ok)
    }

    #[inline]
    fn start_send(mut self: Pin<&mut Self>, payload: Payload) -> Result<(), SendError> {
        let send = command::Send::from(payload);
        let Some(epoch) = self.watch.open_epoch() else {
            return Err(self.refuse(send));
        };
        let message = self.outgoing(send, epoch);
        if self.gathered.push(message) >= self.outbox.gathered() {
            // Without room it stays, and the next `poll_ready` waits.
            self.move_gathered();
        }
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        ready!(self.poll_gathered(cx));
        self.poll_flushed(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        ready!(self.as_mut().poll_flush(cx))?;
        self.outbox.ask_close();
        Poll::Ready(Ok(()))
    }
}

impl Clone for Sender {
    /// Creates another sender of the same connection. Refused messages of this one do not come back to it.
    fn clone(&self) -> Sender {
        Sender::new(self.outbox.clone(), self.watch.clone())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // What was fed leaves without a flush too.
        let gathered = self.gathered.all();
        if !gathered.is_empty() {
            self.outbox.force(gathered);
        }
        // A message that would never be given back.
        drop(self.outbox.take_refused(self.number));
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("phase", &self.watch.phase()).finish_non_exhaustive()
    }
}
