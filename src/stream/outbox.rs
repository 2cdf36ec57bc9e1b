//! The messages between the `Sender`s of a stream and the thread of the connection.

use std::collections::VecDeque;
use std::mem;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::command::{Outgoing, SendError};

/// How many messages of `feed` a `Sender` gathers before they enter the queue and the connection's thread is woken; as
/// many as the capacity if that is fewer. Where both threads share a processor, a wake for each message makes batches
/// of one; 512 take 106 ns a message of 128 bytes where these take 95.
const GATHER: usize = 1024;

/// The shared queue, bounded by the number of messages. No lock is held across a poll, nor while a message is
/// dropped or a waker is called.
pub(super) struct Outbox {
    state: Mutex<State>,
    /// The most messages in the queue, at least 1.
    capacity: usize,
    /// How many messages a `Sender` gathers.
    gathered: usize,
    /// Whether the queue has no room. Read without the lock.
    is_full: AtomicBool,
    /// The number of the next `Sender`.
    next_sender: AtomicU32,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Outgoing>,
    /// The number of messages that were pushed, and of those that were answered.
    pushed: u64,
    answered: u64,
    /// The waker of the task that takes them out, while it waits.
    taker: Option<Waker>,
    /// The wakers of tasks that wait for room or for answers.
    waiting: Vec<Waker>,
    /// The first refused message of each `Sender` since it was last given one.
    refused: Vec<(u32, SendError)>,
    /// Whether a `Sender` asked to close the connection.
    asks_close: bool,
    /// Whether nothing can be pushed any more.
    is_closed: bool,
    /// Whether no further message is answered.
    has_ended: bool,
}

/// Why a message was not pushed.
pub(super) enum Refused {
    Full(Outgoing),
    Closed(Outgoing),
}

/// Why messages were not appended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unmoved {
    Full,
    Closed,
}

/// What the connection's thread takes out.
pub(super) struct Taken {
    pub(super) messages: VecDeque<Outgoing>,
    pub(super) asks_close: bool,
}

impl Outbox {
    pub(super) fn new(capacity: usize) -> Outbox {
        Outbox {
            state: Mutex::default(),
            capacity,
            gathered: capacity.min(GATHER),
            is_full: AtomicBool::new(false),
            next_sender: AtomicU32::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Poisoned or not, the state is whole: nothing that could panic half-way runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of a new `Sender`.
    pub(super) fn number(&self) -> u32 {
        self.next_sender.fetch_add(1, Relaxed)
    }

    /// Appends a message, if there is room, and wakes the taker. Returns its number, from 1.
    pub(super) fn push(&self, message: Outgoing) -> Result<u64, Refused> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(Refused::Closed(message));
        }
        if state.queue.len() >= self.capacity {
            return Err(Refused::Full(message));
        }
        state.queue.push_back(message);
        Ok(self.pushed(state, 1))
    }

    /// Appends all messages, if there is room for one. Returns the number of the last one.
    ///
    /// # Errors
    /// They stay with the caller.
    pub(super) fn append(&self, messages: &mut VecDeque<Outgoing>) -> Result<u64, Unmoved> {
        self.append_up_to(messages, self.capacity)
    }

    /// Appends all messages, past the bound if there is no room. The queue may be closed: then they stay.
    pub(super) fn force(&self, messages: &mut VecDeque<Outgoing>) {
        // The error is that it is closed.
        let _ = self.append_up_to(messages, usize::MAX);
    }

    fn append_up_to(
        &self,
        messages: &mut VecDeque<Outgoing>,
        bound: usize,
    ) -> Result<u64, Unmoved> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(Unmoved::Closed);
        }
        if state.queue.len() >= bound {
            return Err(Unmoved::Full);
        }
        let count = messages.len();
        if state.queue.is_empty() {
            mem::swap(&mut state.queue, messages);
        } else {
            state.queue.append(messages);
        }
        Ok(self.pushed(state, count))
    }

    /// Counts messages that were appended, and wakes the taker. Returns the number of the last one.
    fn pushed(&self, mut state: MutexGuard<'_, State>, count: usize) -> u64 {
        state.pushed += count as u64;
        if state.queue.len() >= self.capacity {
            self.is_full.store(true, Relaxed);
        }
        let number = state.pushed;
        let taker = state.taker.take();
        drop(state);
        if let Some(taker) = taker {
            taker.wake();
        }
        number
    }

    /// Returns how many messages a `Sender` gathers before they are appended.
    pub(super) fn gathered(&self) -> usize {
        self.gathered
    }

    /// Whether the queue has no room, as of a moment ago.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Relaxed)
    }

    /// Waits for room, or for the end.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        // A stale value is one of a moment ago, which a push checks again.
        if !self.is_full() {
            return Poll::Ready(());
        }
        let mut state = self.lock();
        if state.is_closed || state.queue.len() < self.capacity {
            return Poll::Ready(());
        }
        state.wait(cx);
        Poll::Pending
    }

    /// Whether nothing can be pushed any more.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Waits until so many messages, the first ones, were answered. Returns `false` if they never will be.
    pub(super) fn poll_answered(&self, cx: &mut Context<'_>, count: u64) -> Poll<bool> {
        let mut state = self.lock();
        if state.answered >= count {
            return Poll::Ready(true);
        }
        if state.has_ended {
            return Poll::Ready(false);
        }
        state.wait(cx);
        Poll::Pending
    }

    /// Returns the first refused message of a `Sender` since the last call.
    pub(super) fn take_refused(&self, number: u32) -> Option<SendError> {
        let mut state = self.lock();
        let at = state.refused.iter().position(|(of, _)| *of == number)?;
        Some(state.refused.swap_remove(at).1)
    }

    /// Asks to close the connection, behind what was pushed before.
    pub(super) fn ask_close(&self) {
        let mut state = self.lock();
        state.asks_close = true;
        let taker = state.taker.take();
        drop(state);
        if let Some(taker) = taker {
            taker.wake();
        }
    }

    /// Takes out all messages. `spare` becomes the queue: it is empty. With `closes`, nothing can be pushed any
    /// more, and this does not wait.
    pub(super) fn poll_take(
        &self,
        cx: &mut Context<'_>,
        spare: &mut VecDeque<Outgoing>,
        closes: bool,
    ) -> Poll<Taken> {
        let mut state = self.lock();
        state.is_closed |= closes;
        if state.queue.is_empty() && !closes && !state.asks_close {
            state.taker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let messages = mem::replace(&mut state.queue, mem::take(spare));
        let asks_close = mem::take(&mut state.asks_close);
        self.is_full.store(false, Relaxed);
        wake_all(state);
        Poll::Ready(Taken { messages, asks_close })
    }

    /// Notes that so many messages were answered, and which of them were refused.
    pub(super) fn answer(&self, count: usize, refused: Vec<(u32, SendError)>) {
        let mut state = self.lock();
        state.answered += count as u64;
        let mut dropped = Vec::new();
        for (number, error) in refused {
            dropped.extend(state.refuse(number, error));
        }
        wake_all(state);
    }

    /// Notes that a message which did not enter the queue was refused.
    pub(super) fn refuse(&self, number: u32, error: SendError) {
        // What is returned is dropped without the lock.
        let _dropped = self.lock().refuse(number, error);
    }

    /// Ends the queue, and returns what is left of it.
    fn close(&self) -> VecDeque<Outgoing> {
        let mut state = self.lock();
        (state.is_closed, state.has_ended) = (true, true);
        let left = mem::take(&mut state.queue);
        wake_all(state);
        left
    }
}

/// The connection's end of the queue. Where it is dropped, the queue ends.
pub(super) struct Outlet(Arc<Outbox>);

impl Outlet {
    pub(super) fn new(outbox: Arc<Outbox>) -> Outlet {
        Outlet(outbox)
    }
}

impl Deref for Outlet {
    type Target = Outbox;

    fn deref(&self) -> &Outbox {
        &self.0
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let (left, mut refused) = (self.close(), Vec::new());
        let count = left.len();
        for Outgoing { send, mut origin, .. } in left {
            origin.refuse(SendError::Closed(send.payload), &mut refused);
        }
        self.answer(count, refused);
    }
}

impl State {
    /// Keeps the error for its `Sender`, or returns it if there is an earlier one.
    fn refuse(&mut self, number: u32, error: SendError) -> Option<SendError> {
        if self.refused.iter().any(|(of, _)| *of == number) {
            return Some(error);
        }
        self.refused.push((number, error));
        None
    }

    /// Registers the task to be woken when there is room or an answer.
    fn wait(&mut self, cx: &mut Context<'_>) {
        // Polled again without a wake in between, as in a `select!`: it is in the list already.
        if !self.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
    }
}

/// Wakes all that wait for room or for answers.
fn wake_all(mut state: MutexGuard<'_, State>) {
    let waiting = mem::take(&mut state.waiting);
    drop(state);
    waiting.into_iter().for_each(Waker::wake);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;
    use crate::command::{Origin, Send};
    use crate::proto::message::Payload;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn message(number: u32) -> Outgoing {
        let send = Send::text(number.to_string());
        Outgoing { send, origin: Origin::Sender(number), epoch: 1 }
    }

    fn batch<const N: usize>(numbers: [u32; N]) -> VecDeque<Outgoing> {
        numbers.into_iter().map(message).collect()
    }

    fn texts(taken: &Taken) -> Vec<&str> {
        taken.messages.iter().map(|it| it.send.payload.as_text().unwrap()).collect()
    }

    fn is_pushed(outbox: &Outbox, number: u32) -> bool {
        outbox.push(message(number)).is_ok()
    }

    #[test]
    fn it_is_bounded_and_whoever_waits_is_woken_by_what_is_taken() {
        let (outbox, woken) = (Outbox::new(2), Arc::new(Count::default()));
        let waker = Waker::from(woken.clone());
        let cx = &mut Context::from_waker(&waker);
        assert!(outbox.poll_room(cx).is_ready());
        assert!(is_pushed(&outbox, 1) && is_pushed(&outbox, 2));
        assert!(matches!(outbox.push(message(3)), Err(Refused::Full(_))));
        assert_eq!(outbox.append(&mut batch([3])), Err(Unmoved::Full));
        outbox.force(&mut batch([3]));
        assert!(outbox.poll_room(cx).is_pending() && outbox.poll_room(cx).is_pending());
        let Poll::Ready(taken) = outbox.poll_take(cx, &mut VecDeque::new(), false) else {
            panic!("there is something")
        };
        assert_eq!(woken.0.load(Relaxed), 1, "once, though it was polled twice");
        assert_eq!(texts(&taken), ["1", "2", "3"]);
        assert!(outbox.poll_room(cx).is_ready() && is_pushed(&outbox, 4));
    }

    #[test]
    fn the_first_push_wakes_the_taker_once() {
        let (outbox, woken) = (Outbox::new(9), Arc::new(Count::default()));
        let waker = Waker::from(woken.clone());
        let cx = &mut Context::from_waker(&waker);
        assert!(outbox.poll_take(cx, &mut VecDeque::new(), false).is_pending());
        assert!(is_pushed(&outbox, 1) && is_pushed(&outbox, 2));
        assert_eq!(woken.0.load(Relaxed), 1);
    }

    #[test]
    fn a_batch_enters_whole_behind_what_is_there_and_wakes_the_taker_once() {
        let (outbox, woken) = (Outbox::new(4), Arc::new(Count::default()));
        let waker = Waker::from(woken.clone());
        let cx = &mut Context::from_waker(&waker);
        assert!(outbox.poll_take(cx, &mut VecDeque::new(), false).is_pending());
        let (mut first, mut second) = (batch([1, 2]), batch([3, 4, 5]));
        assert_eq!(outbox.append(&mut first), Ok(2));
        assert!(is_pushed(&outbox, 9));
        // One has room, and so all enter.
        assert_eq!(outbox.append(&mut second), Ok(6));
        assert!(first.is_empty() && second.is_empty() && outbox.is_full());
        assert_eq!(woken.0.load(Relaxed), 1);
        let mut last = batch([6]);
        assert_eq!((outbox.append(&mut last), last.len()), (Err(Unmoved::Full), 1));
        let Poll::Ready(taken) = outbox.poll_take(cx, &mut VecDeque::new(), false) else {
            panic!("there is something")
        };
        assert_eq!(texts(&taken), ["1", "2", "9", "3", "4", "5"]);
        assert_eq!(outbox.append(&mut last), Ok(7));
    }

    #[test]
    fn a_sender_gets_its_first_refused_message_back_and_no_other() {
        let outbox = Outbox::new(9);
        let refused = |number: u32| (number, SendError::NotOpen(Payload::from(number.to_string())));
        outbox
            .answer(3, vec![refused(7), (7, SendError::Full(Payload::from("later"))), refused(8)]);
        assert_eq!(outbox.take_refused(9), None);
        assert_eq!(outbox.take_refused(7), Some(refused(7).1));
        assert_eq!(outbox.take_refused(7), None);
        assert_eq!(outbox.take_refused(8), Some(refused(8).1));
    }

    #[test]
    fn nothing_is_pushed_after_the_end_and_no_flush_waits_for_ever() {
        let outbox = Outbox::new(9);
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(is_pushed(&outbox, 1));
        assert!(outbox.poll_answered(cx, 1).is_pending());
        let Poll::Ready(taken) = outbox.poll_take(cx, &mut VecDeque::new(), true) else {
            panic!("it does not wait at the end")
        };
        assert_eq!(taken.messages.len(), 1);
        assert!(matches!(outbox.push(message(2)), Err(Refused::Closed(_))));
        assert_eq!(outbox.append(&mut batch([2])), Err(Unmoved::Closed));
        assert!(outbox.poll_answered(cx, 1).is_pending(), "it is still to be answered");
        assert!(outbox.close().is_empty());
        assert_eq!(outbox.poll_answered(cx, 1), Poll::Ready(false));
        outbox.answer(1, Vec::new());
        assert_eq!(outbox.poll_answered(cx, 1), Poll::Ready(true));
    }
}
