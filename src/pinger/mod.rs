//! Pings and silence: one actor watches all sockets of a thread. For each it says, at a fixed cadence of its
//! own, when to ping, and when the peer was silent for too long.

mod watchdog;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::{self, Arc};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use actix::{Actor, ActorFuture, AsyncContext, Context};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::options::Options;
use crate::pinger::watchdog::{ReadState, Watchdog};

pub(crate) use crate::pinger::watchdog::{Action, Silence};

/// A pinger's message to a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signal {
    /// The epoch of the socket that it is about. The connection ignores it once that socket is gone.
    pub(crate) epoch: u64,
    /// What to do.
    pub(crate) action: Action,
}

/// A connection as its pinger knows it: held weakly, so that a pinger keeps no connection alive.
pub(crate) trait Listener {
    /// Enqueues a signal. Returns `false` if the connection is gone.
    fn notify(&self, signal: Signal) -> bool;
}

/// A socket's registration with a pinger, which ends when this is dropped. Dereferences to the
/// [`ReadState`] that the connection records and the pinger reads.
#[derive(Debug)]
pub(crate) struct Registration {
    socket: Rc<WatchedSocket>,
    /// The roster that the socket is on; `None` if the options neither ping nor limit idle time.
    roster: Option<Rc<Roster>>,
    pinger: PingerState,
}

/// Whether the pinger that this thread had already is one that is still polled.
///
/// A thread can run several `LocalSet`s in turn, and the pinger may be in one that never runs again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PingerState {
    /// It is: it was started in our own `LocalSet`, or was seen to be polled.
    Verified,
    /// It was woken, and had been polled this many times until then.
    Woken(u32),
    /// As `Woken`, and our own task has yielded since. A pinger in our `LocalSet` has been polled
    /// before our task is polled again.
    Yielded(u32),
}

/// A socket as its pinger knows it.
struct WatchedSocket {
    /// When the connection last heard of the peer.
    read_state: ReadState,
    /// Decides what is due. `None` only during a call of it.
    watchdog: Cell<Option<Watchdog>>,
    /// Its key in the roster, while it is there.
    key: Cell<Option<Key>>,
    /// The number of the socket, for signals.
    epoch: u64,
    /// Where signals go.
    connection: sync::Weak<dyn Listener>,
}

/// When a socket is due, in nanoseconds from the roster's start, and a sequence number, which makes the
/// keys of one time distinct.
type Key = (u64, u32);

/// All sockets that one pinger watches.
struct Roster {
    /// What the times in keys are counted from.
    start: Instant,
    /// The sockets, by the time when each is next due.
    due: RefCell<BTreeMap<Key, Rc<WatchedSocket>>>,
    /// The sequence number of the newest key.
    sequence: Cell<u32>,
    /// How often the pinger was polled; wraps around.
    polls: Cell<u32>,
    /// Wakes the pinger; `None` until its first poll, which needs no wake.
    waker: RefCell<Option<Waker>>,
    /// Whether the pinger has ended.
    ended: Cell<bool>,
}

thread_local! {
    /// The roster that new sockets of this thread join, while it has sockets.
    static CURRENT: RefCell<Weak<Roster>> = const { RefCell::new(Weak::new()) };
}

/// The sockets that one poll of the pinger checks at most: ten thousand pings at once would delay all else
/// on the thread.
const MAX_CHECKS_PER_POLL: usize = 256;

impl Registration {
    /// Registers a socket with this thread's pinger, and starts one if there is none. Must be called on
    /// the connection's thread, in a `LocalSet`.
    pub(crate) fn new(
        epoch: u64,
        options: Arc<Options>,
        now: Instant,
        connection: sync::Weak<dyn Listener>,
    ) -> Registration {
        let (read_state, watchdog) = (ReadState::new(now), Watchdog::new(options, now));
        let key = Cell::default();
        let watchdog = Cell::new(Some(watchdog));
        let socket = Rc::new(WatchedSocket { read_state, watchdog, key, epoch, connection });
        let mut registration = Registration { socket, roster: None, pinger: PingerState::Verified };
        if registration.socket.next_due().is_some() {
            match CURRENT.with_borrow(Weak::upgrade).filter(|newest| !newest.ended.get()) {
                Some(newest) => {
                    registration.pinger = PingerState::Woken(newest.polls.get());
                    registration.join(newest);
                }
                None => registration.start_pinger(),
            }
        }
        registration
    }

    /// Returns the number of the socket.
    pub(crate) fn epoch(&self) -> u64 {
        self.socket.epoch
    }

    /// Verifies that the pinger is polled, and starts another one if it is not. Called in each poll of the
    /// connection's task; decides in the second.
    ///
    /// A thread can have several `LocalSet`s. What was woken in ours before our task yielded has been
    /// polled by now; a pinger that has not is in another `LocalSet`, which may never run again.
    pub(crate) fn verify_pinger(&mut self, cx: &TaskContext<'_>) {
        let polls = self.roster.as_ref().map_or(0, |roster| roster.polls.get());
        match self.pinger {
            PingerState::Verified => {}
            PingerState::Woken(before) => {
                self.pinger = PingerState::Yielded(before);
                cx.waker().wake_by_ref();
            }
            PingerState::Yielded(before) if polls != before => self.pinger = PingerState::Verified,
            PingerState::Yielded(_) => self.start_pinger(),
        }
    }

    /// Starts a pinger in this `LocalSet` and moves the socket to it. Other sockets of the thread join it
    /// from now on.
    pub(crate) fn start_pinger(&mut self) {
        self.leave();
        let roster = Rc::new(Roster::new(Instant::now()));
        CURRENT.set(Rc::downgrade(&roster));
        Pinger { roster: roster.clone() }.start();
        self.pinger = PingerState::Verified;
        self.join(roster);
    }

    /// Adds the socket to a roster, and wakes the pinger: the socket may be due before all others.
    fn join(&mut self, roster: Rc<Roster>) {
        roster.add(self.socket.clone());
        roster.wake_pinger();
        self.roster = Some(roster);
    }

    /// Removes the socket from its roster.
    fn leave(&mut self) {
        if let Some(roster) = self.roster.take() {
            roster.remove(&self.socket);
            // Held by the pinger and by us alone: it ends when it is polled without a socket.
            if Rc::strong_count(&roster) <= 2 {
                roster.wake_pinger();
            }
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Deref for Registration {
    type Target = ReadState;

    fn deref(&self) -> &ReadState {
        &self.socket.read_state
    }
}

impl WatchedSocket {
    /// Sends the connection a signal for each thing that is due. Returns `false` if the connection is
    /// gone.
    fn check(&self, now: Instant) -> bool {
        self.with_watchdog(|watchdog| {
            std::iter::from_fn(|| watchdog.due(now, &self.read_state))
                .all(|action| self.notify(action))
        })
        .unwrap_or_default()
    }

    fn notify(&self, action: Action) -> bool {
        let connection = self.connection.upgrade();
        connection.is_some_and(|to| to.notify(Signal { epoch: self.epoch, action }))
    }

    /// Returns when the socket is next due; `None` if it never is.
    fn next_due(&self) -> Option<Instant> {
        self.with_watchdog(|watchdog| watchdog.next_due(&self.read_state)).flatten()
    }

    /// Calls the watchdog. Returns `None` within another such call.
    fn with_watchdog<T>(&self, with: impl FnOnce(&mut Watchdog) -> T) -> Option<T> {
        let mut watchdog = self.watchdog.take()?;
        let answer = with(&mut watchdog);
        self.watchdog.set(Some(watchdog));
        Some(answer)
    }
}

impl Roster {
    fn new(start: Instant) -> Roster {
        Roster {
            start,
            due: RefCell::default(),
            sequence: Cell::new(0),
            polls: Cell::new(0),
            waker: RefCell::new(None),
            ended: Cell::new(false),
        }
    }

    /// Converts a time to that of a key. A time more than 584 years ahead becomes the last possible one.
    fn offset(&self, at: Instant) -> u64 {
        let offset = at.saturating_duration_since(self.start).as_nanos();
        u64::try_from(offset).unwrap_or(u64::MAX)
    }

    /// Adds a socket by the time when it is next due, if it ever is.
    fn add(&self, socket: Rc<WatchedSocket>) {
        if let Some(at) = socket.next_due() {
            // A number comes again after 2^32 others; no two keys of one nanosecond are that far apart.
            let sequence = self.sequence.get().wrapping_add(1);
            self.sequence.set(sequence);
            let key = (self.offset(at), sequence);
            socket.key.set(Some(key));
            self.due.borrow_mut().insert(key, socket);
        }
    }

    /// Removes a socket, if it is there.
    fn remove(&self, socket: &WatchedSocket) {
        if let Some(key) = socket.key.take() {
            self.due.borrow_mut().remove(&key);
        }
    }

    /// Removes and returns the next socket that is due at `now`.
    fn pop_due(&self, now: Instant) -> Option<Rc<WatchedSocket>> {
        let mut due = self.due.borrow_mut();
        let next = due.first_entry().filter(|next| next.key().0 <= self.offset(now))?;
        let socket = next.remove();
        socket.key.take();
        Some(socket)
    }

    /// Returns when the next socket is due.
    fn next_due(&self) -> Option<Instant> {
        let (at, _) = *self.due.borrow().first_key_value()?.0;
        self.start.checked_add(Duration::from_nanos(at))
    }

    fn wake_pinger(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl fmt::Debug for WatchedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedSocket")
            .field("read_state", &self.read_state)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roster").field("due", &self.due.borrow().len()).finish_non_exhaustive()
    }
}

/// The actor. It ends in the first poll in which no socket is left.
#[derive(Debug)]
struct Pinger {
    roster: Rc<Roster>,
}

impl Actor for Pinger {
    type Context = Context<Pinger>;

    fn started(&mut self, ctx: &mut Context<Pinger>) {
        ctx.spawn(Ticker::default());
    }
}

impl Drop for Pinger {
    /// Notifies the sockets that are left: the pinger's `LocalSet` was dropped, and they may belong to
    /// another one of the thread.
    fn drop(&mut self) {
        self.roster.ended.set(true);
        let due = std::mem::take(&mut *self.roster.due.borrow_mut());
        for socket in due.into_values() {
            socket.key.take();
            socket.notify(Action::Orphaned);
        }
    }
}

/// The one future of the actor: sleeps until the next socket is due.
#[derive(Default)]
struct Ticker {
    /// The timer, made when it is first needed and reset from then on.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Ticker {
    /// Polls the timer, set to this time.
    fn poll_until(&mut self, at: Instant, task: &mut TaskContext<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(task)
    }
}

impl ActorFuture<Pinger> for Ticker {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        pinger: &mut Pinger,
        _: &mut Context<Pinger>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let roster = &pinger.roster;
        roster.polls.set(roster.polls.get().wrapping_add(1));
        roster.waker.replace(Some(task.waker().clone()));
        // Each registration holds the roster; without one only the pinger does.
        if Rc::strong_count(roster) == 1 {
            return Poll::Ready(());
        }
        for _ in 0..MAX_CHECKS_PER_POLL {
            let now = Instant::now();
            if let Some(socket) = roster.pop_due(now) {
                if socket.check(now) {
                    roster.add(socket);
                }
                continue;
            }
            let Some(at) = roster.next_due() else {
                self.sleep = None;
                return Poll::Pending;
            };
            if self.poll_until(at, task).is_pending() {
                return Poll::Pending;
            }
        }
        // More may be due, but the connections' tasks run first.
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::mpsc;
    use tokio::task::LocalSet;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::backoff::Reconnect;

    const SECOND: Duration = Duration::from_secs(1);

    /// A runtime with a clock that advances to the next timer when all tasks are idle.
    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
    }

    /// A connection as a pinger sees it.
    struct Connection {
        actions: mpsc::UnboundedReceiver<Action>,
        listener: Arc<dyn Listener>,
    }

    impl Listener for mpsc::UnboundedSender<Action> {
        fn notify(&self, signal: Signal) -> bool {
            self.send(signal.action).is_ok()
        }
    }

    impl Connection {
        fn new() -> Connection {
            let (sender, actions) = mpsc::unbounded_channel();
            Connection { actions, listener: Arc::new(sender) }
        }

        fn register(&self, interval: Duration) -> Registration {
            let mut options = Options::new(Reconnect::default());
            options.ping_interval = Some(interval);
            options.ping_timeout = None;
            Registration::new(1, options.into(), Instant::now(), Arc::downgrade(&self.listener))
        }

        async fn next(&mut self) -> Action {
            timeout(1000 * SECOND, self.actions.recv()).await.expect("in time").unwrap()
        }
    }

    /// Polls as the first two polls of a connection do.
    async fn verify_pinger(registration: &mut Registration) {
        for _ in 0..2 {
            std::future::poll_fn(|cx| {
                registration.verify_pinger(cx);
                Poll::Ready(())
            })
            .await;
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn one_pinger_gives_each_of_many_its_own_cadence_and_ends_with_the_last() {
        let (runtime, set) = (runtime(), LocalSet::new());
        runtime.block_on(set.run_until(async {
            let zero = Instant::now();
            let mut all = Vec::new();
            for number in 1..=1000 {
                let connection = Connection::new();
                let registration = connection.register(SECOND + number * Duration::from_millis(7));
                all.push((number, connection, registration));
            }
            let rosters = all
                .iter()
                .map(|(_, _, registration)| Rc::as_ptr(registration.roster.as_ref().unwrap()));
            assert!(rosters.is_sorted_by(|one, other| one == other), "one for all");
            for (_, _, registration) in &mut all {
                verify_pinger(registration).await;
                assert_eq!(registration.pinger, PingerState::Verified);
            }
            sleep(10 * SECOND - zero.elapsed()).await;
            for (number, mut connection, registration) in all {
                drop(registration);
                let interval = SECOND + number * Duration::from_millis(7);
                let mut beats = 0;
                while let Ok(action) = connection.actions.try_recv() {
                    assert_eq!(action, Action::Ping);
                    beats += 1;
                }
                let due = (10 * SECOND).as_nanos() / interval.as_nanos();
                assert_eq!(beats, due, "every {interval:?}");
            }
        }));
        // A `LocalSet` completes when all of its tasks have.
        runtime.block_on(async { timeout(SECOND, set).await }).expect("the pinger is gone");
    }

    /// Returns the number of sockets on a roster, each of which must hold its own key.
    fn known(roster: &Roster) -> usize {
        let due = roster.due.borrow();
        assert!(due.iter().all(|(key, socket)| socket.key.get() == Some(*key)));
        due.len()
    }

    #[test]
    fn a_socket_that_leaves_is_removed_and_others_stay() {
        let (runtime, set) = (runtime(), LocalSet::new());
        runtime.block_on(set.run_until(async {
            let mut stays = Connection::new();
            let staying = stays.register(SECOND);
            let roster = staying.roster.clone().unwrap();
            for _ in 0..1000 {
                let left = stays.register(3600 * SECOND);
                assert_eq!(known(&roster), 2);
                drop(left);
                tokio::task::yield_now().await;
            }
            assert_eq!(known(&roster), 1);
            assert_eq!(stays.next().await, Action::Ping);
        }));
    }

    #[test]
    fn in_whatever_order_sockets_leave_the_others_keep_their_keys() {
        let (runtime, set) = (runtime(), LocalSet::new());
        runtime.block_on(set.run_until(async {
            let mut stays = Connection::new();
            let staying = stays.register(3 * SECOND);
            let roster = staying.roster.clone().unwrap();
            let others = Connection::new();
            let mut left: Vec<_> = (0..5).map(|_| others.register(100 * SECOND)).collect();
            for place in [1, 0, 2, 1, 0] {
                left.remove(place);
                assert_eq!(known(&roster), 1 + left.len());
            }
            let zero = Instant::now();
            assert_eq!(stays.next().await, Action::Ping);
            assert_eq!(zero.elapsed(), 3 * SECOND);
        }));
    }

    #[test]
    fn a_pinger_that_is_not_polled_is_replaced() {
        let (still, ours) = (LocalSet::new(), LocalSet::new());
        let (other, runtime) = (runtime(), runtime());
        let first = other.block_on(still.run_until(async {
            let first = Connection::new().register(SECOND);
            tokio::task::yield_now().await;
            first
        }));
        runtime.block_on(ours.run_until(async {
            let mut connection = Connection::new();
            let mut registration = connection.register(SECOND);
            let joined = registration.roster.as_ref().unwrap();
            assert!(Rc::ptr_eq(joined, first.roster.as_ref().unwrap()));
            verify_pinger(&mut registration).await;
            assert_eq!(connection.next().await, Action::Ping);
        }));
    }

    #[test]
    fn a_pinger_that_ends_notifies_the_sockets_it_leaves() {
        let (theirs, ours) = (LocalSet::new(), LocalSet::new());
        let runtime = runtime();
        let (mut connection, mut registration) = runtime.block_on(ours.run_until(async {
            let connection = Connection::new();
            tokio::task::yield_now().await;
            let registration = theirs.run_until(async { connection.register(SECOND) }).await;
            (connection, registration)
        }));
        drop(theirs);
        runtime.block_on(ours.run_until(async {
            assert_eq!(connection.next().await, Action::Orphaned);
            registration.start_pinger();
            assert_eq!(connection.next().await, Action::Ping);
        }));
    }
}
