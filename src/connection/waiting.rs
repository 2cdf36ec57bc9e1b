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
use crate::command::{self, Accepted, SendError};
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
    pub(super) fn take_or_wait(&mut self, send: command::Send) -> Reply {
        let Some(wait) = send.patience() else {
            let answer = self.take(send);
            self.count(&answer);
            return Reply(When::Now(answer));
        };
        let now = Instant::now();
        let until = now.checked_add(wait).unwrap_or_else(|| now + FOR_EVER);
        // A payload is shared, not copied.
        let again = send.clone();
        match self.take(send) {
            Err(SendError::Full(_)) if self.waiting_count() < MAX_WAITING => {
                let slot = Slot::default();
                let waiting = self.waiting.get_or_insert_default();
                waiting.queue.push_back(Waiter { send: again, until, slot: slot.clone() });
                waiting.timer = None;
                Reply(When::Later(slot))
            }
            answer => {
                self.count(&answer);
                Reply(When::Now(answer))
            }
        }
    }

    /// Takes a message into the send buffer, unless others wait for room there.
    pub(super) fn take(&mut self, send: command::Send) -> Answer {
        let epoch = self.epoch;
        match &mut self.life {
            Life::Live(live) if live.can_send() && self.waiting.is_some() => {
                Err(SendError::Full(send.payload))
            }
            Life::Live(live) => live.send(send).map(|()| Accepted::new(epoch)),
            Life::Closed => Err(SendError::Closed(send.payload)),
            _ => Err(SendError::NotOpen(send.payload)),
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
        // Taken out: those behind the first are no obstacle to it.
        let Some(mut waiting) = self.waiting.take() else {
            return;
        };
        let mut taken = false;
        while let Some(mut waiter) = waiting.queue.pop_front() {
            let answer = self.take(waiter.send.clone());
            if let Err(SendError::Full(payload)) = answer {
                waiter.send.payload = payload;
                waiting.queue.push_front(waiter);
                break;
            }
            taken |= answer.is_ok();
            self.count(&answer);
            tell(waiter.slot.take(), answer);
        }
        if taken {
            // It has yet to be written.
            cx.waker().wake_by_ref();
        }
        self.give_back_late(&mut waiting, cx);
        if !waiting.queue.is_empty() {
            self.waiting = Some(waiting);
        }
    }

    fn waiting_count(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.queue.len())
    }

    fn give_back_late(&mut self, waiting: &mut Waiting, cx: &mut TaskContext<'_>) {
        while let Some(next) = waiting.queue.iter().map(|waiter| waiter.until).min() {
            let timer = waiting.timer.get_or_insert_with(|| Box::pin(sleep_until(next)));
            if timer.as_mut().poll(cx) == Poll::Pending {
                return;
            }
            waiting.timer = None;
            let now = Instant::now();
            let waiters = std::mem::take(&mut waiting.queue);
            let (late, rest): (VecDeque<_>, _) =
                waiters.into_iter().partition(|waiter| waiter.until <= now);
            waiting.queue = rest;
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
