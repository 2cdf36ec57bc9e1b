//! What a publisher, its task and its handles share.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use actix::WeakRecipient;
use tokio::sync::{Notify, watch};

use crate::nats::broker::Connection;
use crate::nats::lanes::{LaneId, Lanes};

/// What a publisher, its task and its handles share.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Wakes the task: there may be something to send.
    pub(crate) changed: Notify,
    /// Wakes those that wait for the broker.
    progressed: Notify,
    /// The connection to the broker.
    pub(crate) connection: watch::Receiver<Connection>,
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
    pub(crate) storing: Storing,
    /// Why the broker stores no messages, while it does not.
    pub(crate) failure: Option<Arc<str>>,
    /// Whether the mailbox is to be emptied beyond the bounds: what is in it has its memory already.
    pub(crate) is_closing: bool,
    /// Whether nothing is published any more.
    pub(crate) is_over: bool,
}

/// When the broker has stored messages, and since when it has stored none although some wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Storing {
    pub(crate) last: Option<Instant>,
    pub(crate) stalled: Option<Instant>,
}

impl Storing {
    /// Notes how many messages wait now.
    pub(crate) fn handle_waiting(&mut self, messages: usize, now: Instant) {
        if messages == 0 {
            self.stalled = None;
        } else {
            self.stalled.get_or_insert(now);
        }
    }

    /// Notes that messages were stored, and how many still wait.
    pub(crate) fn handle_stored(&mut self, messages: usize, now: Instant) {
        *self = Storing { last: Some(now), stalled: None };
        self.handle_waiting(messages, now);
    }
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
    pub(crate) fn new(lanes: Lanes, connection: watch::Receiver<Connection>) -> Shared {
        let (storing, failure) = (Storing::default(), None);
        let state = State { lanes, storing, failure, is_closing: false, is_over: false };
        Shared {
            state: Mutex::new(state),
            connection,
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

    /// Waits until all of these topics that was received before their end is acknowledged.
    pub(crate) async fn has_ended(&self, lanes: &[LaneId]) {
        let has_ended = |state: &State| lanes.iter().all(|id| state.lanes.has_ended(*id));
        self.until(|state| state.is_over || has_ended(state)).await;
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

    /// Notes that messages may have begun to wait, or wait no more.
    pub(crate) fn note_waiting(&mut self) {
        self.storing.handle_waiting(self.lanes.owned().messages, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn messages_are_stalled_while_they_wait_and_none_is_stored() {
        let now = Instant::now();
        let at = |seconds: u64| now + Duration::from_secs(seconds);
        let mut storing = Storing::default();
        storing.handle_waiting(0, at(0));
        assert_eq!(storing.stalled, None);
        storing.handle_waiting(1, at(1));
        storing.handle_waiting(2, at(2));
        assert_eq!((storing.stalled, storing.last), (Some(at(1)), None));
        storing.handle_stored(1, at(3));
        assert_eq!((storing.stalled, storing.last), (Some(at(3)), Some(at(3))));
        storing.handle_stored(0, at(4));
        storing.handle_waiting(0, at(5));
        assert_eq!((storing.stalled, storing.last), (None, Some(at(4))));
    }
}
