//! Sending messages: into the send buffer, or into the queue of those that wait for room there.

use std::task::Context as TaskContext;

use actix::Context;
use actix::dev::MessageResponse;

use crate::command::status::Gauge;
use crate::command::{self, Accepted, QueuedCommand, Refusal, SendError};
use crate::connection::actor::{Activity, Connection};
use crate::connection::reply::{Reply, reply_to};
use crate::connection::send_queue::SendQueue;

type Answer = Result<Accepted, SendError>;

impl Connection {
    /// Puts a message into the send buffer, or into the queue if it may wait for room.
    pub(super) fn send_or_queue(&mut self, mut send: command::Send) -> Reply<Answer> {
        match self.try_send(&mut send) {
            Ok(accepted) => {
                self.watch.add(Gauge::MessagesOut, 1);
                Reply::Now(Ok(accepted))
            }
            Err(refusal) => self.queue_send(send, refusal),
        }
    }

    /// Does what [`send_or_queue`](Self::send_or_queue) does, and replies. Most messages ask for no
    /// reply; none is made for them.
    #[inline]
    pub(super) fn send_and_reply(
        &mut self,
        QueuedCommand { command: mut send, sender }: QueuedCommand<command::Send>,
        ctx: &mut Context<Connection>,
    ) {
        match self.try_send(&mut send) {
            Ok(accepted) => {
                self.watch.add(Gauge::MessagesOut, 1);
                reply_to(sender, Ok(accepted));
            }
            Err(refusal) => {
                let reply = self.queue_send(send, refusal);
                MessageResponse::<Connection, command::Send>::handle(reply, ctx, sender);
            }
        }
    }

    /// Queues a refused message if it may wait, or gives it back.
    #[cold]
    fn queue_send(&mut self, mut send: command::Send, refusal: Refusal) -> Reply<Answer> {
        let room = self.send_queue.as_ref().is_none_or(|queue| queue.has_room());
        match (send.patience(), refusal(send.payload)) {
            (Some(wait), SendError::Full(payload)) if room => {
                send.payload = payload;
                Reply::Later(self.send_queue.get_or_insert_default().push(send, wait))
            }
            (_, err) => {
                self.count_refused(&err);
                Reply::Now(Err(err))
            }
        }
    }

    /// Puts a message into the send buffer, unless others wait for room there.
    ///
    /// # Errors
    /// With the message, when it is refused.
    pub(super) fn send(&mut self, mut send: command::Send) -> Answer {
        self.try_send(&mut send).map_err(|refusal| refusal(send.payload))
    }

    /// Does what [`send`](Self::send) does with a borrowed message, which stays with the caller if it is
    /// refused.
    #[inline]
    fn try_send(&mut self, send: &mut command::Send) -> Result<Accepted, Refusal> {
        match &mut self.activity {
            Activity::Live(live) if live.can_send() => match self.send_queue {
                None => live.send(send).map(|()| Accepted::new(self.supervision.epoch())),
                Some(_) => Err(SendError::Full),
            },
            _ => Err(self.refusal()),
        }
    }

    /// Returns how a message is refused while no socket is open, or while it closes.
    #[cold]
    pub(super) fn refusal(&self) -> Refusal {
        if self.supervision.outcome().is_some() { SendError::Closed } else { SendError::NotOpen }
    }

    /// Counts a message that was sent or refused; the caller may have queued for no reply.
    pub(super) fn count_answer(&mut self, answer: &Answer) {
        match answer {
            Ok(_) => self.watch.add(Gauge::MessagesOut, 1),
            Err(err) => self.count_refused(err),
        }
    }

    /// Sends queued messages that there is room for now, and gives back those whose deadline passed or
    /// whose socket is gone.
    #[inline]
    pub(super) fn poll_send_queue(&mut self, cx: &mut TaskContext<'_>) {
        // Taken out of the field, because `try_send` refuses every message while there is a queue.
        if let Some(queue) = self.send_queue.take() {
            self.drain_send_queue(queue, cx);
        }
    }

    /// Sends from the front until the buffer is full. The order holds because nothing behind a message
    /// that finds no room is tried, also if it is shorter.
    #[cold]
    fn drain_send_queue(&mut self, mut queue: Box<SendQueue>, cx: &mut TaskContext<'_>) {
        let mut taken = false;
        while let Some(mut queued) = queue.queue.pop_front() {
            let answer = match self.try_send(&mut queued.send) {
                Ok(accepted) => Ok(accepted),
                // Only a full buffer is waited for: a closing or lost socket gives all of them back.
                Err(refusal) => match refusal(queued.send.payload) {
                    SendError::Full(payload) => {
                        queued.send.payload = payload;
                        queue.queue.push_front(queued);
                        break;
                    }
                    err => Err(err),
                },
            };
            taken |= answer.is_ok();
            self.count_answer(&answer);
            reply_to(queued.reply.take(), answer);
        }
        if taken {
            // The socket was flushed earlier in this poll: the next one writes what was encoded here.
            cx.waker().wake_by_ref();
        }
        let late = queue.take_late(cx);
        if !late.is_empty() {
            // The message behind them may be short enough for the room there is.
            cx.waker().wake_by_ref();
        }
        for queued in late {
            let answer = Err(SendError::Full(queued.send.payload));
            self.count_answer(&answer);
            reply_to(queued.reply.take(), answer);
        }
        if !queue.queue.is_empty() {
            self.send_queue = Some(queue);
        }
    }
}
