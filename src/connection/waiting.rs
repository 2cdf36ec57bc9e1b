//! Messages that wait for room in the send buffer, and who waits for an answer.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::dev::{MessageResponse, OneshotSender};
use actix::{Context, Message};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::command::status::Gauge;
use crate::command::{self, Accepted, Asked, Refusal, SendError};
use crate::connection::{Activity, Connection};

type Answer = Result<Accepted, SendError>;

/// Who is to be told what became of a command; nobody, if it came by `do_send`.
pub(super) type Slot<T> = Rc<Cell<Option<OneshotSender<T>>>>;

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
    fn push(&mut self, send: command::Send, wait: Duration) -> Slot<Answer> {
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
    slot: Slot<Answer>,
}

/// What a command is answered with whose answer may come later: by whoever has the slot, without a
/// task that waits for it.
#[expect(unnameable_types, reason = "actix wants it public, and nobody has to name it")]
pub struct Reply<T>(When<T>);

impl<T> Reply<T> {
    pub(super) fn now(answer: T) -> Reply<T> {
        Reply(When::Now(answer))
    }

    pub(super) fn later(slot: Slot<T>) -> Reply<T> {
        Reply(When::Later(slot))
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// When the answer is there.
enum When<T> {
    Now(T),
    Later(Slot<T>),
}

impl<M: Message> MessageResponse<Connection, M> for Reply<M::Result> {
    fn handle(self, _: &mut Context<Connection>, asker: Option<OneshotSender<M::Result>>) {
        match self.0 {
            When::Now(answer) => tell(asker, answer),
            When::Later(slot) => slot.set(asker),
        }
    }
}

pub(super) fn tell<T>(asker: Option<OneshotSender<T>>, answer: T) {
    if let Some(asker) = asker {
        // Who stopped waiting is not told.
        let _ = asker.send(answer);
    }
}

impl Connection {
    /// Takes a message, or lets it wait for room if it may.
    pub(super) fn take_or_wait(&mut self, send: command::Send) -> Reply<Answer> {
        match self.try_take(&send) {
            Ok(accepted) => {
                self.watch.add(Gauge::MessagesOut, 1);
                Reply::now(Ok(accepted))
            }
            Err(refusal) => self.let_wait(send, refusal),
        }
    }

    /// As [`take_or_wait`](Self::take_or_wait), and answers. The answer of most is nobody's, and is not
    /// made then.
    #[inline]
    pub(super) fn take_and_tell(
        &mut self,
        Asked { command: send, asker }: Asked<command::Send>,
        ctx: &mut Context<Connection>,
    ) {
        match self.try_take(&send) {
            Ok(accepted) => {
                self.watch.add(Gauge::MessagesOut, 1);
                tell(asker, Ok(accepted));
            }
            Err(refusal) => {
                let reply = self.let_wait(send, refusal);
                MessageResponse::<_, command::Send>::handle(reply, ctx, asker);
            }
        }
    }

    /// Lets a message wait that was not taken, if it may.
    #[cold]
    fn let_wait(&mut self, mut send: command::Send, refusal: Refusal) -> Reply<Answer> {
        let room = self.waiting.as_ref().is_none_or(|others| others.queue.len() < MAX_WAITING);
        match (send.patience(), refusal(send.payload)) {
            (Some(wait), SendError::Full(payload)) if room => {
                send.payload = payload;
                Reply::later(self.waiting.get_or_insert_default().push(send, wait))
            }
            (_, err) => {
                self.refused(&err);
                Reply::now(Err(err))
            }
        }
    }

    /// Takes a message into the send buffer, unless others wait for room there.
    pub(super) fn take(&mut self, send: command::Send) -> Answer {
        self.try_take(&send).map_err(|refusal| refusal(send.payload))
    }

    /// As [`take`](Self::take), of a message that is lent.
    #[inline]
    fn try_take(&mut self, send: &command::Send) -> Result<Accepted, Refusal> {
        match &mut self.activity {
            Activity::Live(live) if live.can_send() && self.waiting.is_some() => {
                Err(SendError::Full)
            }
            Activity::Live(live) => {
                live.send(send).map(|()| Accepted::new(self.supervision.epoch()))
            }
            _ => Err(self.refusal_without_socket()),
        }
    }

    /// Returns how a message is refused while no socket is open.
    #[cold]
    pub(super) fn refusal_without_socket(&self) -> Refusal {
        if self.supervision.outcome().is_some() { SendError::Closed } else { SendError::NotOpen }
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
    #[inline]
    pub(super) fn poll_waiting(&mut self, cx: &mut TaskContext<'_>) {
        // Taken out, those behind the first are no obstacle to it.
        if let Some(waiting) = self.waiting.take() {
            self.take_waiting(waiting, cx);
        }
    }

    #[cold]
    fn take_waiting(&mut self, mut waiting: Box<Waiting>, cx: &mut TaskContext<'_>) {
        let mut taken = false;
        while let Some(mut waiter) = waiting.queue.pop_front() {
            let answer = match self.try_take(&waiter.send) {
                Ok(accepted) => Ok(accepted),
                Err(refusal) => match refusal(waiter.send.payload) {
                    SendError::Full(payload) => {
                        waiter.send.payload = payload;
                        waiting.queue.push_front(waiter);
                        break;
                    }
                    err => Err(err),
                },
            };
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
