//! The messages of `feed` that one `Sender` gathers, so that many enter the queue under one lock.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::command::Outgoing;

/// Messages in order, at most as many as are gathered before they enter the queue.
#[derive(Default)]
pub(super) struct Gathered {
    /// Locked only by calls that share the `Sender`; `feed` and `flush` have it to themselves.
    messages: Mutex<VecDeque<Outgoing>>,
    /// Whether there are any. Read without the lock.
    is_waiting: AtomicBool,
}

impl Gathered {
    /// Appends a message. Returns how many there are.
    #[inline]
    pub(super) fn push(&mut self, message: Outgoing) -> usize {
        *self.is_waiting.get_mut() = true;
        let messages = self.all();
        messages.push_back(message);
        messages.len()
    }

    /// Returns all, for a call that has the `Sender` to itself.
    #[inline]
    pub(super) fn all(&mut self) -> &mut VecDeque<Outgoing> {
        self.messages.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts back what was taken out of [`all`](Gathered::all). Returns whether that is none.
    pub(super) fn put_back(&mut self, messages: VecDeque<Outgoing>) -> bool {
        let is_empty = messages.is_empty();
        *self.is_waiting.get_mut() = !is_empty;
        *self.all() = messages;
        is_empty
    }

    /// Whether there are any.
    #[inline]
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Acquire)
    }

    /// Calls a function with all, for calls that share the `Sender`.
    pub(super) fn with<R>(&self, call: impl FnOnce(&mut VecDeque<Outgoing>) -> R) -> R {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let result = call(&mut messages);
        // After the call, so that no message of a thread that sees none here overtakes them.
        self.is_waiting.store(!messages.is_empty(), Ordering::Release);
        result
    }
}
