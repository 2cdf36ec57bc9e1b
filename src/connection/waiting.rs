//! Messages that wait for room in the send buffer.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::dev::{MessageResponse, OneshotSender};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::command::status::Gauge;
use crate::command::{self, Accepted, Refusal, SendError};
use crate::connection::{Connection, Life};

type Answer = Result<Accepted, SendError>;

/// Who is to be told what became of a message; nobody, if it came by `do_send`.
type Slot = Rc<Cell<Option<OneshotSender<Answer>>>>;

/// What a time is cut to that the clock does not reach.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// Messages that may wait.
const MAX_WAITING: usize = 1024;

/// Messages in the order in which they came, each with its own deadline.
#[derive(Default)]
pub(super) struct Waiting {
    queue: VecDeque<Waiter>,
    /// Until the earliest deadline.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Waiting {
    fn push(&mut self, send: command::Send, wait: Duration) -> Slot {
        let now = Instant::now();
        let until = now.checked_add(wait).unwrap_or_else(|| now + FOR_EVER);
        let slot = Slot::default();
        self.queue.push_back(Waiter { send, until, slot: slot.clone() });
        self.timer = None;
        slot
    }
}

struct Waiter {
    send: command::Send,
    until: Instant,
    slot: Slot,
}

/// What `command::Send` is answered with.
#[expect(unnameable_types, reason = "actix wants it public, and nobody has to name it")]
pub struct Reply(When);

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// When the answer is there.
enum When {
    Now(Answer),
    Later(Slot),
}

impl MessageResponse<Connection, command::Send> for Reply {
    fn handle(self, _: &mut actix::Context<Connection>, asker: Option<OneshotSender<Answer>>) {
        match self.0 {
            When::Now(answer) => tell(asker, answer),
            When::Later(slot) => slot.set(asker),
        }
    }
}

fn tell(asker: Option<OneshotSender<Answer>>, answer: Answer) {
    if let Some(asker) = asker {
        // Who stopped waiting is not told.
        let _ = asker.send(answer);
    }
}

impl Connection {
    /// Takes a message, or lets it wait for room if it may.
    pub(super) fn take_or_wait(&mut self, mut send: command::Send) -> Reply {
        let answer = match self.try_take(&send) {
            Ok(accepted) => Ok(accepted),
            Err(refusal) => match (send.patience(), refusal(send.payload)) {
                (Some(wait), SendError::Full(payload))
                    if self.waiting.queue.len() < MAX_WAITING =>
                {
                    send.payload = payload;
                    return Reply(When::Later(self.waiting.push(send, wait)));
                }
                (_, err) => Err(err),
            },
        };
        self.count(&answer);
        Reply(When::Now(answer))
    }

    /// Takes a message into the send buffer, unless others wait for room there.
    pub(super) fn take(&mut self, send: command::Send) -> Answer {
        self.try_take(&send).map_err(|refusal| refusal(send.payload))
    }

    /// As [`take`](Self::take), of a message that is lent.
    #[inline]
    fn try_take(&mut self, send: &command::Send) -> Result<Accepted, Refusal> {
        match &mut self.life {
            Life::Live(live) if live.can_send() && !self.waiting.queue.is_empty() => {
                Err(SendError::Full)
            }
            Life::Live(live) => live.send(send).map(|()| Accepted::new(self.epoch)),
            Life::Closed => Err(SendError::Closed),
            _ => Err(SendError::NotOpen),
        }
    }

    /// Counts what was taken and what was not; of that somebody may never hear.
    pub(super) fn count(&mut self, answer: &Answer) {
        match answer {
            Ok(_) => self.watch.add(Gauge::MessagesOut, 1),
            Err(err) => self.refused(err),
        }
    }

    /// Takes what there is room for now, and gives back what has waited too long, or for a socket that
    /// is gone.
    pub(super) fn poll_waiting(&mut self, cx: &mut TaskContext<'_>) {
        if self.waiting.queue.is_empty() {
            return;
        }
        let mut taken = false;
        while let Some(mut waiter) = self.waiting.queue.pop_front() {
            // Those behind it are no obstacle.
            let others = std::mem::take(&mut self.waiting.queue);
            let answer = self.try_take(&waiter.send);
            self.waiting.queue = others;
            let answer = match answer.map_err(|refusal| refusal(waiter.send.payload)) {
                Err(SendError::Full(payload)) => {
                    waiter.send.payload = payload;
                    self.waiting.queue.push_front(waiter);
                    break;
                }
                answer => answer,
            };
            taken |= answer.is_ok();
            self.count(&answer);
            tell(waiter.slot.take(), answer);
        }
        if taken {
            // It has yet to be written.
            cx.waker().wake_by_ref();
        }
        self.give_back_late(cx);
    }

    fn give_back_late(&mut self, cx: &mut TaskContext<'_>) {
        loop {
            let Some(next) = self.waiting.queue.iter().map(|waiter| waiter.until).min() else {
                self.waiting.timer = None;
                return;
            };
            let timer = self.waiting.timer.get_or_insert_with(|| Box::pin(sleep_until(next)));
            if timer.as_mut().poll(cx) == Poll::Pending {
                return;
            }
            self.waiting.timer = None;
            let now = Instant::now();
            let waiters = std::mem::take(&mut self.waiting.queue);
            let (late, rest): (VecDeque<_>, _) =
                waiters.into_iter().partition(|waiter| waiter.until <= now);
            self.waiting.queue = rest;
            if !late.is_empty() {
                // What they stood in the way of may be short enough.
                cx.waker().wake_by_ref();
            }
            for waiter in late {
                let answer = Err(SendError::Full(waiter.send.payload));
                self.count(&answer);
                tell(waiter.slot.take(), answer);
            }
        }
    }
}
