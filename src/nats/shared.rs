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

    /// Waits until everything that was received of these topics before their end is acknowledged, and the mailbox is not
    /// stopped: it may have more of it.
    pub(crate) async fn has_ended(&self, lanes: &[LaneId]) {
        let has_ended = |state: &State| lanes.iter().all(|id| state.lanes.has_ended(*id));
        self.until(|state| state.is_over || state.has_room() && has_ended(state)).await;
    }

    /// Waits until a role has replaced the end of these topics.
    pub(crate) async fn is_replaced(&self, lanes: &[LaneId]) {
        let ends = |state: &State| lanes.iter().any(|id| state.lanes.ends(*id));
        self.until(|state| state.is_over || !ends(state)).await;
    }

    /// Waits until the actor has taken all that the feed has delivered so far.
    pub(crate) async fn is_drained(&self) {
        if let Some(publisher) = self.actor.get().and_then(WeakRecipient::upgrade) {
            // An error says that the actor has ended, and has taken what it could.
            let _ = publisher.send(Drain).await;
        }
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

    /// Returns why the broker stores no messages, once it has stored none for the time in which it should have answered. A
    /// refusal that concerns a part of the topics, or is over, stays unsaid while others are stored.
    pub(crate) fn lasting_failure(&self, now: Instant) -> Option<Arc<str>> {
        let stalled = now.saturating_duration_since(self.storing.stalled?);
        self.failure.clone().filter(|_| stalled >= self.lanes.ack_timeout())
    }

    /// Notes what has become of messages since this many were [in the stream](Lanes::in_stream).
    pub(crate) fn note_progress(&mut self, before: u64, now: Instant) {
        let waiting = self.lanes.owned().messages;
        if self.lanes.in_stream() > before {
            self.storing.handle_stored(waiting, now);
        } else {
            self.storing.handle_waiting(waiting, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};
    use std::time::Duration;

    use super::*;
    use crate::feed::Sequence;
    use crate::nats::generation::{Last, Now};
    use crate::nats::lane::{Answer, Role};
    use crate::nats::lanes::Limits;

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

    /// Returns a publisher that owns topics, of which one message may wait, and one waits.
    fn full() -> Shared {
        let limits = Limits {
            in_flight: 1,
            ack_timeout: Duration::from_secs(2),
            messages: 1,
            bytes: 100,
            keep: Duration::ZERO,
        };
        let mut lanes = Lanes::new(limits, Role::Owner { fence: 1, until: None });
        lanes.set_connected(true, Instant::now());
        let sequence = Sequence::contiguous(1, 1);
        lanes.push(&"a".into(), sequence, false, "x".into(), Instant::now());
        Shared::new(lanes, watch::channel(Connection::new(Instant::now())).1)
    }

    #[test]
    fn what_the_stream_has_already_waits_no_longer() {
        let (shared, now) = (full(), Instant::now());
        let mut state = shared.lock();
        let before = state.lanes.in_stream();
        state.note_progress(before, now);
        assert_eq!((state.storing.last, state.storing.stalled), (None, Some(now)));
        let unix_ms = 1000;
        let flight = state.lanes.poll(Now { at: now, unix_ms }).map(|it| (it.lane, it.flight));
        let (lane, flight) = flight.unwrap();
        let number = Some((1, false));
        let last = Last { sequence: 4, stored_at: now, generation: Some(7), number, fence: 1 };
        state.lanes.handle(lane, flight, Answer::Last(Some(last)), Now { at: now, unix_ms });
        assert!(state.lanes.poll(Now { at: now, unix_ms }).is_none());
        state.note_progress(before, now);
        assert_eq!((state.storing.last, state.storing.stalled), (Some(now), None));
    }

    #[test]
    fn a_failure_is_one_once_nothing_was_stored_for_the_time_of_an_answer() {
        let (shared, now) = (full(), Instant::now());
        let at = |seconds: u64| now + Duration::from_secs(seconds);
        let mut state = shared.lock();
        state.failure = Some("no room".into());
        assert_eq!(state.lasting_failure(at(9)), None, "nothing waits");
        state.storing.handle_waiting(1, now);
        assert_eq!(state.lasting_failure(at(1)), None);
        assert_eq!(state.lasting_failure(at(2)).as_deref(), Some("no room"));
        state.storing.handle_stored(1, at(2));
        assert_eq!(state.lasting_failure(at(3)), None, "others are stored");
    }

    fn is_ready(future: impl Future) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_topic_has_not_ended_while_the_mailbox_is_stopped() {
        let shared = full();
        let quiet = shared.lock().lanes.end(&["b".into()], Instant::now());
        assert!(!is_ready(shared.has_ended(&quiet)), "its updates may be in the mailbox");
        assert!(!is_ready(shared.is_replaced(&quiet)));
        shared.lock().lanes.set_role(&["a".into()], Role::None);
        assert!(is_ready(shared.has_ended(&quiet)));
        shared.lock().lanes.set_role(&["b".into()], Role::Standby);
        assert!(is_ready(shared.is_replaced(&quiet)));
    }
}
