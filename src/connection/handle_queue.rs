//! The queue of the handles. It lies beside the mailbox, and a message in it needs no envelope.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::command::status::{Phase, Watch};

/// The queue, shared by a connection, its handles and the pinger.
pub(super) struct Shared<T> {
    state: Mutex<State<T>>,
    /// The connection's figures.
    watch: Watch,
    /// Whether there is an item. The connection reads it without the lock.
    waiting: AtomicBool,
}

struct State<T> {
    /// The items in the order in which they were pushed; without capacity while there are none. `None`
    /// once the actor has ended.
    items: Option<Vec<T>>,
    /// The waker of the connection's task; `None` from a wake until the connection's next poll.
    waker: Option<Waker>,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Poisoned or not, the state is whole: nothing that could panic half-way runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the connection's figures.
    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Whether the actor has not ended.
    pub(super) fn is_open(&self) -> bool {
        self.lock().items.is_some()
    }

    /// Adds an item, and wakes the connection if it has looked since the last wake.
    ///
    /// # Errors
    /// The item, if the actor has ended.
    #[inline]
    pub(super) fn push(&self, item: T) -> Result<(), T> {
        let mut state = self.lock();
        let Some(items) = &mut state.items else {
            return Err(item);
        };
        if items.is_empty() {
            self.waiting.store(true, Ordering::Release);
        }
        items.push(item);
        let waker = state.waker.take();
        drop(state);
        // Not under the lock, which the woken thread takes at once.
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }
}

/// An item that can be refused.
pub(super) trait Refuse {
    /// Answers that the actor has ended.
    fn refuse(self);
}

/// The connection's end of the queue. Dropping it ends the queue.
pub(super) struct HandleQueue<T: Refuse> {
    shared: Arc<Shared<T>>,
    /// Whether items are being executed. A command in an envelope is executed as one from the mailbox,
    /// and must not execute what was pushed since before the rest of the items.
    pub(super) is_executing: bool,
    /// Whether `State::waker` was set when the connection last looked. The task is always the same, and
    /// so is its waker.
    has_waker: bool,
}

impl<T: Refuse> HandleQueue<T> {
    pub(super) fn new(watch: Watch) -> HandleQueue<T> {
        let state = Mutex::new(State { items: Some(Vec::new()), waker: None });
        let shared = Arc::new(Shared { state, watch, waiting: AtomicBool::new(false) });
        HandleQueue { shared, is_executing: false, has_waker: false }
    }

    /// Returns the end that items are pushed into.
    pub(super) fn shared(&self) -> &Arc<Shared<T>> {
        &self.shared
    }

    /// Whether there is an item to take.
    pub(super) fn is_waiting(&self) -> bool {
        self.shared.waiting.load(Ordering::Acquire)
    }

    /// Takes out all items. The next one that is pushed wakes `waker`.
    #[inline]
    pub(super) fn poll(&mut self, waker: &Waker) -> Vec<T> {
        if self.has_waker && !self.is_waiting() {
            return Vec::new();
        }
        self.take(Some(waker))
    }

    /// Takes out all items. The next one that is pushed wakes `waker`, if one is given.
    pub(super) fn take(&mut self, waker: Option<&Waker>) -> Vec<T> {
        let mut state = self.shared.lock();
        if let Some(waker) = waker
            && !state.waker.as_ref().is_some_and(|known| known.will_wake(waker))
        {
            state.waker = Some(waker.clone());
        }
        self.has_waker = state.waker.is_some();
        self.shared.waiting.store(false, Ordering::Relaxed);
        state.items.as_mut().map(mem::take).unwrap_or_default()
    }
}

impl<T: Refuse> HandleQueue<T> {
    /// Ends the queue, so that nothing can be pushed any more, and refuses the items that are left. The phase is
    /// `Closed` from then on.
    pub(super) fn close(&mut self) {
        let ended = State { items: None, waker: None };
        // Not dropped under the lock: the application's own code may run when the bytes of a message are
        // dropped.
        let left = mem::replace(&mut *self.shared.lock(), ended);
        left.items.into_iter().flatten().for_each(T::refuse);
        if self.shared.watch.phase() != Phase::Closed {
            self.shared.watch.set_phase(Phase::Closed);
        }
    }
}

impl<T: Refuse> Drop for HandleQueue<T> {
    /// Where the connection was not started, nothing else ends the queue.
    fn drop(&mut self) {
        self.close();
    }
}
