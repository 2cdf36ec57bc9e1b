//! What comes through handles, and from the pinger: a queue beside the mailbox, without an envelope for
//! each message.

use std::any::Any;
use std::cell::Cell;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;

use actix::dev::{Envelope, EnvelopeProxy};
use actix::{Context, Handler};

use crate::command::{self, Asked, Command, Handle, Lane};
use crate::connection::Connection;
use crate::pinger::{Listener, Sign};

/// What handles share with their connection.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Whether there is an item: what the connection can ask without the lock.
    waiting: AtomicBool,
}

struct State {
    /// In the order in which they came; without memory while there is none. `None` once the connection
    /// is gone.
    items: Option<Vec<Item>>,
    /// Wakes the connection; `None` where it was woken and has not looked since.
    waker: Option<Waker>,
}

impl Default for State {
    fn default() -> State {
        State { items: Some(Vec::new()), waker: None }
    }
}

/// One command.
enum Item {
    Send(Asked<command::Send>),
    /// Apart, so that a message is all that moves through the queue: with more it took a tenth longer.
    Other(Box<OtherItem>),
}

/// What comes less often.
enum OtherItem {
    Close(Asked<command::Close>),
    Sign(Sign),
    Envelope(Envelope<Connection>),
}

/// A thread keeps the memory of a queue of so many items for the next.
const MAX_SPARE: usize = 1024;

thread_local! {
    // A queue that ran empty: its memory goes from who takes out to who puts in.
    static SPARE: Cell<Vec<Item>> = const { Cell::new(Vec::new()) };
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that panics is done under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, item: Item) -> bool {
        let mut state = self.lock();
        let Some(items) = &mut state.items else {
            return false;
        };
        if items.is_empty() {
            if items.capacity() == 0 {
                *items = SPARE.try_with(Cell::take).unwrap_or_default();
            }
            self.waiting.store(true, Ordering::Release);
        }
        items.push(item);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }
}

impl Lane for Shared {
    fn send(&self, asked: Asked<command::Send>) -> bool {
        self.push(Item::Send(asked))
    }

    fn is_open(&self) -> bool {
        self.lock().items.is_some()
    }
}

impl Listener for Shared {
    fn tell(&self, sign: Sign) -> bool {
        self.push(Item::Other(Box::new(OtherItem::Sign(sign))))
    }
}

impl Shared {
    /// Puts in what is no message. `lane` is always one of ours: only a connection makes handles.
    fn push_other(lane: &dyn Lane, other: OtherItem) -> bool {
        let any: &dyn Any = lane;
        any.downcast_ref::<Shared>().is_some_and(|lane| lane.push(Item::Other(Box::new(other))))
    }
}

/// Puts a message into the lane.
#[inline]
pub(super) fn push_send(asked: Asked<command::Send>, lane: &dyn Lane) -> bool {
    lane.send(asked)
}

/// Puts a close into the lane, which is executed without a reply where nothing waits for one.
pub(super) fn push_close(asked: Asked<command::Close>, lane: &dyn Lane) -> bool {
    Shared::push_other(lane, OtherItem::Close(asked))
}

/// Puts any other command into the lane: as the envelope that the context would have made of it.
pub(super) fn push_envelope<C: Command>(asked: Asked<C>, lane: &dyn Lane) -> bool
where
    Connection: Handler<C>,
{
    Shared::push_other(lane, OtherItem::Envelope(Envelope::new(asked.command, asked.asker)))
}

/// The connection's end.
#[derive(Default)]
pub(super) struct LaneEnd {
    shared: Arc<Shared>,
    /// Whether items are being done that were taken out: what comes meanwhile comes after them.
    is_executing: bool,
    /// Whether the next item wakes us: our task, and so its waker, is always the same.
    has_waker: bool,
}

impl LaneEnd {
    /// A handle of the connection.
    pub(super) fn handle(&self) -> Handle {
        Handle::new(self.shared.clone())
    }

    /// The pinger's way to the connection.
    pub(super) fn listener(&self) -> Weak<dyn Listener> {
        let shared: Weak<Shared> = Arc::downgrade(&self.shared);
        shared
    }

    /// Takes out all items. What comes from now on wakes by `waker`, if one is given.
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

impl Drop for LaneEnd {
    fn drop(&mut self) {
        let over = State { items: None, waker: None };
        let left = mem::replace(&mut *self.shared.lock(), over);
        // Not under the lock: what a message lies in may be the application's.
        drop(left);
    }
}

impl Connection {
    /// Does what came through handles before a command that came by the mailbox, which was sent after
    /// it or at the same time.
    pub(super) fn catch_up(&mut self, ctx: &mut Context<Connection>) {
        if !self.lane.is_executing && self.lane.shared.waiting.load(Ordering::Acquire) {
            let items = self.lane.take(None);
            self.execute_items(items, ctx);
        }
    }

    /// Does what came through handles, and asks to be woken when more comes.
    pub(super) fn poll_lane(&mut self, ctx: &mut Context<Connection>, waker: &Waker) {
        if self.lane.has_waker && !self.lane.shared.waiting.load(Ordering::Acquire) {
            return;
        }
        let items = self.lane.take(Some(waker));
        if !items.is_empty() {
            self.execute_items(items, ctx);
        }
    }

    fn execute_items(&mut self, mut items: Vec<Item>, ctx: &mut Context<Connection>) {
        self.lane.is_executing = true;
        for item in items.drain(..) {
            match item {
                // As of any other command, who does not want the answer takes it back.
                Item::Send(Asked { asker: Some(asker), .. }) if asker.is_closed() => {}
                Item::Send(asked) => self.take_and_tell(asked, ctx),
                Item::Other(other) => self.execute_other(*other, ctx),
            }
        }
        self.lane.is_executing = false;
        if items.capacity() <= MAX_SPARE {
            let _ = SPARE.try_with(|empty| empty.set(items));
        }
    }

    /// Out of the way of the messages.
    #[cold]
    fn execute_other(&mut self, other: OtherItem, ctx: &mut Context<Connection>) {
        match other {
            OtherItem::Close(Asked { asker: Some(asker), .. }) if asker.is_closed() => {}
            OtherItem::Close(asked) => self.close_and_tell(asked),
            OtherItem::Sign(sign) => self.heed(sign),
            OtherItem::Envelope(mut envelope) => envelope.handle(self, ctx),
        }
    }
}
