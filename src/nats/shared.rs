//! What a publisher, its task and its handles share.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use actix::WeakRecipient;
use tokio::sync::Notify;

use crate::nats::lanes::{LaneId, Lanes};

/// What a publisher, its task and its handles share.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Wakes the task: there may be something to send.
    pub(crate) changed: Notify,
    /// Wakes those that wait for the broker.
    progressed: Notify,
    /// The actor, once it is started.
    pub(crate) actor: OnceLock<WeakRecipient<Drain>>,
}

/// Comes behind all that the feed has delivered.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Drain;

/// The state under the lock, which is held for no I/O.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) lanes: Lanes,
    /// Whether the mailbox is to be emptied beyond the bounds: what is in it has its memory already.
    pub(crate) is_closing: bool,
    /// Whether nothing is published any more.
    pub(crate) is_over: bool,
}

/// Whether somebody has the publisher or a handle of it.
#[derive(Debug)]
pub(crate) struct Alive(pub(crate) Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.changed.notify_one();
    }
}

impl Shared {
    pub(crate) fn new(lanes: Lanes) -> Shared {
        Shared {
            state: Mutex::new(State { lanes, is_closing: false, is_over: false }),
            changed: Notify::new(),
            progressed: Notify::new(),
            actor: OnceLock::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that something was answered.
    pub(crate) fn progress(&self) {
        self.progressed.notify_waiters();
    }

    /// Waits until the state is as asked for.
    async fn until(&self, is_so: impl Fn(&State) -> bool) {
        loop {
            // Before the state is looked at: what changes it afterwards is not missed.
            let mut progressed = pin!(self.progressed.notified());
            progressed.as_mut().enable();
            if is_so(&self.lock()) {
                return;
            }
            progressed.await;
        }
    }

    /// Waits until there is room for more.
    pub(crate) async fn has_room(&self) {
        self.until(State::has_room).await;
    }

    /// Waits until nothing of these topics is in flight.
    pub(crate) async fn is_released(&self, lanes: &[LaneId]) {
        let is_in_flight = |state: &State| lanes.iter().any(|id| state.lanes.is_in_flight(*id));
        self.until(|state| state.is_over || !is_in_flight(state)).await;
    }

    /// Waits until all that was taken is acknowledged.
    pub(crate) async fn is_acknowledged(&self) {
        self.until(|state| state.is_over || state.lanes.owned().messages == 0).await;
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("state", &self.state).finish_non_exhaustive()
    }
}

impl State {
    pub(crate) fn has_room(&self) -> bool {
        self.is_closing || self.is_over || !self.lanes.is_full()
    }
}
