//! The queue of the messages that wait for room in the send buffer.

use std::collections::VecDeque;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;
use std::vec;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::command::{self, Accepted, SendError, Unsent};
use crate::connection::reply::{ReplySlot, reply_to};

/// Used in place of a wait that is too long for the clock: 30 years.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The most messages and batches that wait for room; another one is refused as full.
const MAX_QUEUED_SENDS: usize = 1024;

/// Messages and batches in the order in which they were sent, each with its own deadline.
#[derive(Default)]
pub(super) struct SendQueue {
    pub(super) queue: VecDeque<QueuedSend>,
    /// The timer of the earliest deadline; made anew after a message was queued, and after it fired.
    timer: Option<Pin<Box<Sleep>>>,
}

impl SendQueue {
    /// Whether one more message or batch may wait.
    pub(super) fn has_room(&self) -> bool {
        self.queue.len() < MAX_QUEUED_SENDS
    }

    /// Queues a message.
    pub(super) fn push(
        &mut self,
        send: command::Send,
        wait: Duration,
    ) -> ReplySlot<Result<Accepted, SendError>> {
        let reply = ReplySlot::default();
        self.push_back(send, None, SendReply::One(reply.clone()), wait);
        reply
    }

    /// Queues a batch, or what is left of it: the message that found no room, and those behind it.
    pub(super) fn push_batch(
        &mut self,
        send: command::Send,
        rest: Rest,
        wait: Duration,
    ) -> ReplySlot<Result<Accepted, Unsent>> {
        let reply = ReplySlot::default();
        self.push_back(send, Some(rest), SendReply::Batch(reply.clone()), wait);
        reply
    }

    fn push_back(
        &mut self,
        send: command::Send,
        rest: Option<Rest>,
        reply: SendReply,
        wait: Duration,
    ) {
        let now = Instant::now();
        let deadline = now.checked_add(wait).unwrap_or_else(|| now + LONGEST_WAIT);
        self.queue.push_back(QueuedSend { send, rest, deadline, reply });
        self.timer = None;
    }

    /// Takes out the messages whose deadline passed.
    pub(super) fn take_late(&mut self, cx: &mut Context<'_>) -> VecDeque<QueuedSend> {
        let mut late = VecDeque::new();
        while let Some(next) = self.queue.iter().map(|queued| queued.deadline).min() {
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(next)));
            if timer.as_mut().poll(cx).is_pending() {
                break;
            }
            self.timer = None;
            let now = Instant::now();
            let all = mem::take(&mut self.queue).into_iter();
            let (passed, rest): (VecDeque<_>, _) = all.partition(|queued| queued.deadline <= now);
            self.queue = rest;
            late.extend(passed);
        }
        late
    }
}

/// The messages of a batch that were not tried yet.
pub(super) type Rest = vec::IntoIter<command::Send>;

/// A message that waits, and those of its batch behind it.
pub(super) struct QueuedSend {
    /// The next message.
    pub(super) send: command::Send,
    /// The messages behind it; `None` if it is in no batch.
    pub(super) rest: Option<Rest>,
    deadline: Instant,
    pub(super) reply: SendReply,
}

/// Where the answer goes.
pub(super) enum SendReply {
    One(ReplySlot<Result<Accepted, SendError>>),
    Batch(ReplySlot<Result<Accepted, Unsent>>),
}

impl QueuedSend {
    /// Moves on to the next message of the batch. Returns whether there is one.
    pub(super) fn advance(&mut self) -> bool {
        let next = self.rest.as_mut().and_then(Iterator::next);
        next.map(|next| self.send = next).is_some()
    }
}

impl SendReply {
    /// Whether the caller has dropped its future.
    pub(super) fn is_cancelled(&self) -> bool {
        fn is_closed<T>(reply: &ReplySlot<T>) -> bool {
            reply.borrow().as_ref().is_some_and(|reply| reply.is_closed())
        }
        match self {
            SendReply::One(reply) => is_closed(reply),
            SendReply::Batch(reply) => is_closed(reply),
        }
    }

    /// Replies that all was accepted.
    pub(super) fn accepted(self, accepted: Accepted) {
        match self {
            SendReply::One(reply) => reply_to(reply.take(), Ok(accepted)),
            SendReply::Batch(reply) => reply_to(reply.take(), Ok(accepted)),
        }
    }

    /// Replies that a message was refused, and gives back those of its batch behind it.
    pub(super) fn refused(self, error: SendError, rest: Option<Rest>) {
        match self {
            SendReply::One(reply) => reply_to(reply.take(), Err(error)),
            SendReply::Batch(reply) => {
                let unsent = Unsent::new(error, rest.into_iter().flatten());
                reply_to(reply.take(), Err(unsent));
            }
        }
    }
}
