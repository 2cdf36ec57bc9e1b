//! The queue of the handles: commands that were sent through a `Handle`, and signs of the pinger. It
//! lies beside the mailbox, and a message in it needs no envelope.

use std::any::Any;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;

use actix::dev::{Envelope, EnvelopeProxy};
use actix::{Context, Handler};

use crate::command::{self, Command, CommandQueue, Handle, QueuedCommand};
use crate::connection::Connection;
use crate::pinger::{Listener, Signal};

/// The queue, shared by a connection, its handles and the pinger.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Whether there is an item. The connection reads it without the lock.
    waiting: AtomicBool,
}

struct State {
    /// The items in the order in which they were pushed; without capacity while there are none. `None`
    /// once the actor has ended.
    items: Option<Vec<Item>>,
    /// The waker of the connection's task; `None` from a wake until the connection's next poll.
    waker: Option<Waker>,
}

impl Default for State {
    fn default() -> State {
        State { items: Some(Vec::new()), waker: None }
    }
}

/// An item of the queue.
enum Item {
    Send(QueuedCommand<command::Send>),
    Signal(Signal),
    /// Any other command, in the envelope that the mailbox would hold it in.
    Envelope(Envelope<Connection>),
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Poisoned or not, the state is whole: nothing that could panic half-way runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an item, and wakes the connection if it has looked since the last wake. Returns `false` if
    /// the actor has ended.
    fn push(&self, item: Item) -> bool {
        let mut state = self.lock();
        let Some(items) = &mut state.items else {
            return false;
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
        true
    }
}

impl CommandQueue for Shared {
    fn send(&self, queued: QueuedCommand<command::Send>) -> bool {
        self.push(Item::Send(queued))
    }

    fn is_open(&self) -> bool {
        self.lock().items.is_some()
    }
}

impl Listener for Shared {
    fn notify(&self, signal: Signal) -> bool {
        self.push(Item::Signal(signal))
    }
}

/// Queues a message.
#[inline]
pub(super) fn push_send(queued: QueuedCommand<command::Send>, queue: &dyn CommandQueue) -> bool {
    queue.send(queued)
}

/// Queues any other command.
pub(super) fn push_envelope<C: Command>(queued: QueuedCommand<C>, queue: &dyn CommandQueue) -> bool
where
    Connection: Handler<C>,
{
    // Always `Some`: only a connection makes handles.
    let queue = (queue as &dyn Any).downcast_ref::<Shared>();
    let envelope = Envelope::new(queued.command, queued.sender);
    queue.is_some_and(|queue| queue.push(Item::Envelope(envelope)))
}

/// The connection's end of the queue.
#[derive(Default)]
pub(super) struct HandleQueue {
    shared: Arc<Shared>,
    /// Whether items are being executed. A command in an envelope is executed as one from the mailbox,
    /// and must not execute what was pushed since before the rest of the items.
    is_executing: bool,
    /// Whether `State::waker` was set when the connection last looked. The task is always the same, and
    /// so is its waker.
    has_waker: bool,
}

impl HandleQueue {
    /// Returns a new handle of the connection.
    pub(super) fn handle(&self) -> Handle {
        Handle::new(self.shared.clone())
    }

    /// Returns where the pinger sends its signs.
    pub(super) fn listener(&self) -> Weak<dyn Listener> {
        let shared: Weak<Shared> = Arc::downgrade(&self.shared);
        shared
    }

    /// Takes out all items. The next one that is pushed wakes `waker`, if one is given.
    fn take(&mut self, waker: Option<&Waker>) -> Vec<Item> {
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

impl Drop for HandleQueue {
    fn drop(&mut self) {
        let ended = State { items: None, waker: None };
        let left = mem::replace(&mut *self.shared.lock(), ended);
        // Not under the lock: the application's own code may run when the bytes of a message are
        // dropped.
        drop(left);
    }
}

impl Connection {
    /// Executes what was sent through handles. Called before each command from the mailbox, so that
    /// this one does not overtake what was sent before it.
    pub(super) fn catch_up(&mut self, ctx: &mut Context<Connection>) {
        if !self.handle_queue.is_executing
            && self.handle_queue.shared.waiting.load(Ordering::Acquire)
        {
            let items = self.handle_queue.take(None);
            self.execute_items(items, ctx);
        }
    }

    /// Executes what was sent through handles, and registers `waker` for what comes next.
    pub(super) fn poll_handle_queue(&mut self, ctx: &mut Context<Connection>, waker: &Waker) {
        if self.handle_queue.has_waker && !self.handle_queue.shared.waiting.load(Ordering::Acquire)
        {
            return;
        }
        let items = self.handle_queue.take(Some(waker));
        if !items.is_empty() {
            self.execute_items(items, ctx);
        }
    }

    fn execute_items(&mut self, items: Vec<Item>, ctx: &mut Context<Connection>) {
        self.handle_queue.is_executing = true;
        for item in items {
            match item {
                // The caller dropped its future: cancelled. (For an envelope actix does this.)
                Item::Send(QueuedCommand { sender: Some(sender), .. }) if sender.is_closed() => {}
                Item::Send(queued) => self.send_and_reply(queued, ctx),
                Item::Signal(signal) => self.apply_signal(signal),
                Item::Envelope(mut envelope) => envelope.handle(self, ctx),
            }
        }
        self.handle_queue.is_executing = false;
    }
}
