//! Sending messages: into the send buffer, or into the queue of those that wait for room there.

use std::collections::VecDeque;
use std::mem;
use std::task::Context as TaskContext;
use std::time::Duration;

use actix::dev::MessageResponse;
use actix::{Context, Handler, MessageResult};
use bytes::Bytes;

use crate::command::status::Gauge;
use crate::command::{
    self, Accepted, Outgoing, QueuedCommand, Refusal, SendAll, SendError, Sent, Unsent,
};
use crate::connection::actor::{Activity, Connection};
use crate::connection::reply::{Reply, reply_to};
use crate::connection::send_queue::{Rest, SendQueue};
use crate::proto::message::Payload;

impl Handler<SendAll> for Connection {
    type Result = MessageResult<SendAll>;

    fn handle(&mut self, all: SendAll, ctx: &mut Context<Connection>) -> Self::Result {
        self.catch_up(ctx);
        MessageResult(self.send_all(all.0))
    }
}

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

    /// Puts the messages of a batch into the send buffer, up to the first one that is refused. From that
    /// one on they wait in the queue, or are given back.
    pub(super) fn send_batch(
        &mut self,
        command::SendBatch { messages, wait }: command::SendBatch,
    ) -> Reply<Result<Accepted, Unsent>> {
        let mut accepted = Accepted::new(self.supervision.epoch());
        let mut messages = messages.into_iter();
        while let Some(mut send) = messages.next() {
            match self.try_send(&mut send) {
                Ok(sent) => {
                    self.watch.add(Gauge::MessagesOut, 1);
                    accepted = sent;
                }
                Err(refusal) => return self.queue_batch(send, messages, wait, refusal),
            }
        }
        Reply::Now(Ok(accepted))
    }

    /// Queues the rest of a batch if it may wait, or gives it back.
    #[cold]
    fn queue_batch(
        &mut self,
        mut send: command::Send,
        rest: Rest,
        wait: Option<Duration>,
        refusal: Refusal,
    ) -> Reply<Result<Accepted, Unsent>> {
        let room = self.send_queue.as_ref().is_none_or(|queue| queue.has_room());
        match (wait, refusal(send.payload)) {
            (Some(wait), SendError::Full(payload)) if room => {
                send.payload = payload;
                Reply::Later(self.send_queue.get_or_insert_default().push_batch(send, rest, wait))
            }
            (_, error) => {
                self.count_refused(&error);
                Reply::Now(Err(Unsent::new(error, rest)))
            }
        }
    }

    /// Puts a message into the send buffer, unless others wait for room there.
    ///
    /// # Errors
    /// How it is refused. It then stays with the caller.
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

    /// Puts messages of a stream's `Sender`s into the send buffer, up to the first one that finds it full.
    fn send_all(&mut self, mut queue: VecDeque<Outgoing>) -> Sent {
        let (mut refused, mut accepted, mut answered) = (Vec::new(), 0, 0);
        let open = self.supervision.epoch();
        // In place: to take each one out would move it once more.
        for Outgoing { send, origin, epoch } in &mut queue {
            if !origin.is_cancelled() {
                // One that was queued for an earlier socket must not reach this one.
                let sent = if *epoch == open { self.try_send(send) } else { Err(self.refusal()) };
                match sent {
                    Ok(epoch) => {
                        accepted += 1;
                        origin.accept(epoch);
                    }
                    Err(refusal) => {
                        let payload =
                            mem::replace(&mut send.payload, Payload::Binary(Bytes::new()));
                        match refusal(payload) {
                            SendError::Full(payload) => {
                                send.payload = payload;
                                break;
                            }
                            err => {
                                self.count_refused(&err);
                                origin.refuse(err, &mut refused);
                            }
                        }
                    }
                }
            }
            answered += 1;
        }
        queue.drain(..answered);
        self.watch.add(Gauge::MessagesOut, accepted);
        Sent { rest: queue, refused }
    }

    /// Returns how a message is refused while no socket is open, or while it closes.
    #[cold]
    pub(super) fn refusal(&self) -> Refusal {
        if self.supervision.outcome().is_some() { SendError::Closed } else { SendError::NotOpen }
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
            if queued.reply.is_cancelled() {
                continue;
            }
            match self.try_send(&mut queued.send) {
                Ok(accepted) => {
                    taken = true;
                    self.watch.add(Gauge::MessagesOut, 1);
                    if queued.advance() {
                        queue.queue.push_front(queued);
                    } else {
                        queued.reply.accepted(accepted);
                    }
                }
                // Only a full buffer is waited for: a closing or lost socket gives all of them back.
                Err(refusal) => match refusal(queued.send.payload) {
                    SendError::Full(payload) => {
                        queued.send.payload = payload;
                        queue.queue.push_front(queued);
                        break;
                    }
                    err => {
                        self.count_refused(&err);
                        queued.reply.refused(err, queued.rest);
                    }
                },
            }
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
            let err = SendError::Full(queued.send.payload);
            self.count_refused(&err);
            queued.reply.refused(err, queued.rest);
        }
        if !queue.queue.is_empty() {
            self.send_queue = Some(queue);
        }
    }
}
