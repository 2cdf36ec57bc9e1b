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
    /// Whether there is an entry: what the connection can ask without the lock.
    waiting: AtomicBool,
}

struct State {
    /// In the order in which they came; without memory while there is none. `None` once the connection
    /// is gone.
    entries: Option<Vec<Entry>>,
    /// Wakes the connection; `None` where it was woken and has not looked since.
    waker: Option<Waker>,
}

impl Default for State {
    fn default() -> State {
        State { entries: Some(Vec::new()), waker: None }
    }
}

/// One command.
enum Entry {
    Send(Asked<command::Send>),
    /// Apart, so that a message is all that moves through the queue: with more it took a tenth longer.
    Other(Box<Other>),
}

/// What comes less often.
enum Other {
    Close(Asked<command::Close>),
    Sign(Sign),
    Packed(Envelope<Connection>),
}

/// A thread keeps the memory of a queue of so many entries for the next.
const SPARE: usize = 1024;

thread_local! {
    // A queue that ran empty: its memory goes from who takes out to who puts in.
    static EMPTY: Cell<Vec<Entry>> = const { Cell::new(Vec::new()) };
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that panics is done under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, entry: Entry) -> bool {
        let mut state = self.lock();
        let Some(entries) = &mut state.entries else {
            return false;
        };
        if entries.is_empty() {
            if entries.capacity() == 0 {
                *entries = EMPTY.try_with(Cell::take).unwrap_or_default();
            }
            self.waiting.store(true, Ordering::Release);
        }
        entries.push(entry);
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
        self.put(Entry::Send(asked))
    }

    fn is_open(&self) -> bool {
        self.lock().entries.is_some()
    }
}

impl Listener for Shared {
    fn tell(&self, sign: Sign) -> bool {
        self.put(Entry::Other(Box::new(Other::Sign(sign))))
    }
}

impl Shared {
    /// Puts in what is no message. `lane` is always one of ours: only a connection makes handles.
    fn put_other(lane: &dyn Lane, other: Other) -> bool {
        let any: &dyn Any = lane;
        any.downcast_ref::<Shared>().is_some_and(|lane| lane.put(Entry::Other(Box::new(other))))
    }
}

/// Puts a message into the lane.
#[inline]
pub(super) fn put_send(asked: Asked<command::Send>, lane: &dyn Lane) -> bool {
    lane.send(asked)
}

/// Puts a close into the lane, which is executed without a reply where nothing waits for one.
pub(super) fn put_close(asked: Asked<command::Close>, lane: &dyn Lane) -> bool {
    Shared::put_other(lane, Other::Close(asked))
}

/// Puts any other command into the lane: as the envelope that the context would have made of it.
pub(super) fn put_packed<C: Command>(asked: Asked<C>, lane: &dyn Lane) -> bool
where
    Connection: Handler<C>,
{
    Shared::put_other(lane, Other::Packed(Envelope::new(asked.command, asked.asker)))
}

/// The connection's end.
#[derive(Default)]
pub(super) struct LaneEnd {
    shared: Arc<Shared>,
    /// Whether entries are being done that were taken out: what comes meanwhile comes after them.
    busy: bool,
    /// Whether the next entry wakes us: our task, and so its waker, is always the same.
    armed: bool,
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

    /// Takes out all entries. What comes from now on wakes by `waker`, if one is given.
    fn take(&mut self, waker: Option<&Waker>) -> Vec<Entry> {
        let mut state = self.shared.lock();
        if let Some(waker) = waker
            && !state.waker.as_ref().is_some_and(|known| known.will_wake(waker))
        {
            state.waker = Some(waker.clone());
        }
        self.armed = state.waker.is_some();
        self.shared.waiting.store(false, Ordering::Relaxed);
        state.entries.as_mut().map(mem::take).unwrap_or_default()
    }
}

impl Drop for LaneEnd {
    fn drop(&mut self) {
        let over = State { entries: None, waker: None };
        let left = mem::replace(&mut *self.shared.lock(), over);
        // Not under the lock: what a message lies in may be the application's.
        drop(left);
    }
}

impl Connection {
    /// Does what came through handles before a command that came by the mailbox, which was sent after
    /// it or at the same time.
    pub(super) fn catch_up(&mut self, ctx: &mut Context<Connection>) {
        if !self.lane.busy && self.lane.shared.waiting.load(Ordering::Acquire) {
            let entries = self.lane.take(None);
            self.take_in(entries, ctx);
        }
    }

    /// Does what came through handles, and asks to be woken when more comes.
    pub(super) fn poll_lane(&mut self, ctx: &mut Context<Connection>, waker: &Waker) {
        if self.lane.armed && !self.lane.shared.waiting.load(Ordering::Acquire) {
            return;
        }
        let entries = self.lane.take(Some(waker));
        if !entries.is_empty() {
            self.take_in(entries, ctx);
        }
    }

    fn take_in(&mut self, mut entries: Vec<Entry>, ctx: &mut Context<Connection>) {
        self.lane.busy = true;
        for entry in entries.drain(..) {
            match entry {
                // As of any other command, who does not want the answer takes it back.
                Entry::Send(Asked { asker: Some(asker), .. }) if asker.is_closed() => {}
                Entry::Send(asked) => self.take_and_tell(asked, ctx),
                Entry::Other(other) => self.take_in_other(*other, ctx),
            }
        }
        self.lane.busy = false;
        if entries.capacity() <= SPARE {
            let _ = EMPTY.try_with(|empty| empty.set(entries));
        }
    }

    /// Out of the way of the messages.
    #[cold]
    fn take_in_other(&mut self, other: Other, ctx: &mut Context<Connection>) {
        match other {
            Other::Close(Asked { asker: Some(asker), .. }) if asker.is_closed() => {}
            Other::Close(asked) => self.close_and_tell(asked),
            Other::Sign(sign) => self.heed(sign),
            Other::Packed(mut envelope) => envelope.handle(self, ctx),
        }
    }
}
