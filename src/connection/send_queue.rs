//! The queue of the messages that wait for room in the send buffer.

use std::collections::VecDeque;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::command::{self, Accepted, SendError};
use crate::connection::reply::ReplySlot;

/// Used in place of a wait that is too long for the clock: 30 years.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The most messages that wait for room; another one is refused as full.
const MAX_QUEUED_SENDS: usize = 1024;

/// Messages in the order in which they were sent, each with its own deadline.
#[derive(Default)]
pub(super) struct SendQueue {
    pub(super) queue: VecDeque<QueuedSend>,
    /// The timer of the earliest deadline; made anew after a message was queued, and after it fired.
    timer: Option<Pin<Box<Sleep>>>,
}

impl SendQueue {
    /// Whether one more message may wait.
    pub(super) fn has_room(&self) -> bool {
        self.queue.len() < MAX_QUEUED_SENDS
    }

    pub(super) fn push(
        &mut self,
        send: command::Send,
        wait: Duration,
    ) -> ReplySlot<Result<Accepted, SendError>> {
        let now = Instant::now();
        let deadline = now.checked_add(wait).unwrap_or_else(|| now + LONGEST_WAIT);
        let reply = ReplySlot::default();
        self.queue.push_back(QueuedSend { send, deadline, reply: reply.clone() });
        self.timer = None;
        reply
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

pub(super) struct QueuedSend {
    pub(super) send: command::Send,
    deadline: Instant,
    pub(super) reply: ReplySlot<Result<Accepted, SendError>>,
}
