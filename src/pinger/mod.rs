//! The pulse of sockets: one actor looks after all of a thread, pings each at its own fixed cadence and
//! tells silence from life.

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
use crate::pinger::watchdog::{Signs, Watchdog};

pub(crate) use crate::pinger::watchdog::{Act, Silent};

/// What a connection is told by its pinger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sign {
    /// The socket that it is for.
    pub(crate) epoch: u64,
    pub(crate) act: Act,
}

/// The way to a connection, which its pinger does not keep alive.
pub(crate) trait Listener {
    /// `false` if the connection is gone.
    fn tell(&self, sign: Sign) -> bool;
}

/// A socket that a pinger looks after, until this is dropped. It leads to what both of them see.
#[derive(Debug)]
pub(crate) struct Watched {
    ward: Rc<Ward>,
    /// Who looks after it; nobody where nothing is ever due.
    round: Option<Rc<Round>>,
    trust: Trust,
}

/// Whether the pinger that was found is one that runs where we do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// It is.
    Sure,
    /// It was asked to look, when it had looked so often.
    Asked(u32),
    /// As `Asked`, and by the next turn of ours it has looked if it ever does.
    Waiting(u32),
}

/// A socket as its pinger knows it.
struct Ward {
    signs: Signs,
    /// Taken out while it decides.
    watchdog: Cell<Option<Watchdog>>,
    /// Its key in the round, while it is there.
    place: Cell<Option<Place>>,
    epoch: u64,
    connection: sync::Weak<dyn Listener>,
}

/// When to look again, in nanoseconds since the round began, and a number that tells those of one time
/// apart.
type Place = (u64, u32);

/// All sockets that one pinger looks after.
struct Round {
    zero: Instant,
    /// Whom to look at, by time and number.
    due: RefCell<BTreeMap<Place, Rc<Ward>>>,
    /// The number of the newest place.
    number: Cell<u32>,
    /// How often the pinger has looked.
    looks: Cell<u32>,
    /// Wakes the pinger. It looks by itself the first time.
    waker: RefCell<Option<Waker>>,
    /// Whether the pinger is gone.
    over: Cell<bool>,
}

thread_local! {
    /// The newest round of this thread, while it has sockets.
    static NEWEST: RefCell<Weak<Round>> = const { RefCell::new(Weak::new()) };
}

/// Sockets that are looked at in one turn: ten thousand pings at once would hold up the thread.
const TURN: usize = 256;

impl Watched {
    /// Begins to look after a socket. Called on its connection's thread, in a `LocalSet`.
    pub(crate) fn new(
        epoch: u64,
        options: Arc<Options>,
        now: Instant,
        connection: sync::Weak<dyn Listener>,
    ) -> Watched {
        let (signs, watchdog) = (Signs::new(now), Watchdog::new(options, now));
        let place = Cell::default();
        let watchdog = Cell::new(Some(watchdog));
        let ward = Rc::new(Ward { signs, watchdog, place, epoch, connection });
        let mut watched = Watched { ward, round: None, trust: Trust::Sure };
        if watched.ward.wake().is_some() {
            match NEWEST.with_borrow(Weak::upgrade).filter(|newest| !newest.over.get()) {
                Some(newest) => {
                    watched.trust = Trust::Asked(newest.looks.get());
                    watched.join(newest);
                }
                None => watched.found(),
            }
        }
        watched
    }

    /// The number of the socket.
    pub(crate) fn epoch(&self) -> u64 {
        self.ward.epoch
    }

    /// Makes sure that there is a pinger, in the first turns of the connection. One thread can have
    /// several `LocalSet`s, and what is woken in ours by now has run; a pinger that has not is in
    /// another, which may never run again.
    pub(crate) fn settle(&mut self, cx: &TaskContext<'_>) {
        let looks = self.round.as_ref().map_or(0, |round| round.looks.get());
        match self.trust {
            Trust::Sure => {}
            Trust::Asked(before) => {
                self.trust = Trust::Waiting(before);
                cx.waker().wake_by_ref();
            }
            Trust::Waiting(before) if looks != before => self.trust = Trust::Sure,
            Trust::Waiting(_) => self.found(),
        }
    }

    /// Goes on with a pinger of its own, which others may join.
    pub(crate) fn found(&mut self) {
        self.leave();
        let round = Rc::new(Round::new(Instant::now()));
        NEWEST.set(Rc::downgrade(&round));
        Pinger { round: round.clone() }.start();
        self.trust = Trust::Sure;
        self.join(round);
    }

    fn join(&mut self, round: Rc<Round>) {
        round.add(self.ward.clone());
        round.wake();
        self.round = Some(round);
    }

    fn leave(&mut self) {
        if let Some(round) = self.round.take() {
            round.remove(&self.ward);
            // The pinger ends with its last socket.
            if Rc::strong_count(&round) <= 2 {
                round.wake();
            }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Deref for Watched {
    type Target = Signs;

    fn deref(&self) -> &Signs {
        &self.ward.signs
    }
}

impl Ward {
    /// Does what is due. `false` when nobody listens any more.
    fn look(&self, now: Instant) -> bool {
        self.ask(|watchdog| {
            std::iter::from_fn(|| watchdog.due(now, &self.signs)).all(|act| self.tell(act))
        })
        .unwrap_or_default()
    }

    fn tell(&self, act: Act) -> bool {
        let connection = self.connection.upgrade();
        connection.is_some_and(|to| to.tell(Sign { epoch: self.epoch, act }))
    }

    /// When to look again.
    fn wake(&self) -> Option<Instant> {
        self.ask(|watchdog| watchdog.wake(&self.signs)).flatten()
    }

    fn ask<T>(&self, question: impl FnOnce(&mut Watchdog) -> T) -> Option<T> {
        let mut watchdog = self.watchdog.take()?;
        let answer = question(&mut watchdog);
        self.watchdog.set(Some(watchdog));
        Some(answer)
    }
}

impl Round {
    fn new(zero: Instant) -> Round {
        Round {
            zero,
            due: RefCell::default(),
            number: Cell::new(0),
            looks: Cell::new(0),
            waker: RefCell::new(None),
            over: Cell::new(false),
        }
    }

    /// A time as it is kept. What does not fit is in some centuries.
    fn since(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.zero).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    /// Gives a socket its place by time.
    fn add(&self, ward: Rc<Ward>) {
        if let Some(at) = ward.wake() {
            // Long before it comes round to one number again, that socket had its turn.
            let number = self.number.get().wrapping_add(1);
            self.number.set(number);
            let place = (self.since(at), number);
            ward.place.set(Some(place));
            self.due.borrow_mut().insert(place, ward);
        }
    }

    /// Forgets a socket.
    fn remove(&self, ward: &Ward) {
        if let Some(place) = ward.place.take() {
            self.due.borrow_mut().remove(&place);
        }
    }

    /// Takes out the next socket that is due.
    fn take(&self, now: Instant) -> Option<Rc<Ward>> {
        let mut due = self.due.borrow_mut();
        let next = due.first_entry().filter(|next| next.key().0 <= self.since(now))?;
        let ward = next.remove();
        ward.place.take();
        Some(ward)
    }

    /// When the next socket is due.
    fn next(&self) -> Option<Instant> {
        let (at, _) = *self.due.borrow().first_key_value()?.0;
        self.zero.checked_add(Duration::from_nanos(at))
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl fmt::Debug for Ward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ward").field("signs", &self.signs).finish_non_exhaustive()
    }
}

impl fmt::Debug for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Round").field("due", &self.due.borrow().len()).finish_non_exhaustive()
    }
}

/// The actor. It ends when no socket is left.
#[derive(Debug)]
struct Pinger {
    round: Rc<Round>,
}

impl Actor for Pinger {
    type Context = Context<Pinger>;

    fn started(&mut self, ctx: &mut Context<Pinger>) {
        ctx.spawn(Ticks::default());
    }
}

impl Drop for Pinger {
    /// Its `LocalSet` is gone. What it looked after may belong to another, if both take turns on the
    /// thread.
    fn drop(&mut self) {
        self.round.over.set(true);
        let due = std::mem::take(&mut *self.round.due.borrow_mut());
        for ward in due.into_values() {
            ward.place.take();
            ward.tell(Act::Orphaned);
        }
    }
}

/// The one future of the actor: sleeps to the next thing that is due.
#[derive(Default)]
struct Ticks {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Ticks {
    fn poll_until(&mut self, at: Instant, task: &mut TaskContext<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(task)
    }
}

impl ActorFuture<Pinger> for Ticks {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        pinger: &mut Pinger,
        _: &mut Context<Pinger>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let round = &pinger.round;
        round.looks.set(round.looks.get().wrapping_add(1));
        round.waker.replace(Some(task.waker().clone()));
        if Rc::strong_count(round) == 1 {
            return Poll::Ready(());
        }
        for _ in 0..TURN {
            let now = Instant::now();
            if let Some(ward) = round.take(now) {
                if ward.look(now) {
                    round.add(ward);
                }
                continue;
            }
            let Some(at) = round.next() else {
                self.sleep = None;
                return Poll::Pending;
            };
            if self.poll_until(at, task).is_pending() {
                return Poll::Pending;
            }
        }
        // The connections have their turn.
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

    /// A thread with a clock that jumps to whatever is next.
    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
    }

    /// A connection, as far as a pinger knows one.
    struct Connection {
        told: mpsc::UnboundedReceiver<Act>,
        listener: Arc<dyn Listener>,
    }

    impl Listener for mpsc::UnboundedSender<Act> {
        fn tell(&self, sign: Sign) -> bool {
            self.send(sign.act).is_ok()
        }
    }

    impl Connection {
        fn new() -> Connection {
            let (tell, told) = mpsc::unbounded_channel();
            Connection { told, listener: Arc::new(tell) }
        }

        fn watched(&self, interval: Duration) -> Watched {
            let mut options = Options::new(Reconnect::default());
            options.ping_interval = Some(interval);
            options.ping_timeout = None;
            Watched::new(1, options.into(), Instant::now(), Arc::downgrade(&self.listener))
        }

        async fn next(&mut self) -> Act {
            timeout(1000 * SECOND, self.told.recv()).await.expect("in time").unwrap()
        }
    }

    /// The first two turns of a connection.
    async fn settle(watched: &mut Watched) {
        for _ in 0..2 {
            std::future::poll_fn(|cx| {
                watched.settle(cx);
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
                let watched = connection.watched(SECOND + number * Duration::from_millis(7));
                all.push((number, connection, watched));
            }
            let rounds =
                all.iter().map(|(_, _, watched)| Rc::as_ptr(watched.round.as_ref().unwrap()));
            assert!(rounds.is_sorted_by(|one, other| one == other), "one for all");
            for (_, _, watched) in &mut all {
                settle(watched).await;
                assert_eq!(watched.trust, Trust::Sure);
            }
            sleep(10 * SECOND - zero.elapsed()).await;
            for (number, mut connection, watched) in all {
                drop(watched);
                let interval = SECOND + number * Duration::from_millis(7);
                let mut beats = 0;
                while let Ok(act) = connection.told.try_recv() {
                    assert_eq!(act, Act::Ping);
                    beats += 1;
                }
                let due = (10 * SECOND).as_nanos() / interval.as_nanos();
                assert_eq!(beats, due, "every {interval:?}");
            }
        }));
        // It is over when all tasks are.
        runtime.block_on(async { timeout(SECOND, set).await }).expect("the pinger is gone");
    }

    /// How many sockets a round knows, each by its right place.
    fn known(round: &Round) -> usize {
        let due = round.due.borrow();
        assert!(due.iter().all(|(place, ward)| ward.place.get() == Some(*place)));
        due.len()
    }

    #[test]
    fn who_leaves_is_forgotten_and_others_go_on() {
        let (runtime, set) = (runtime(), LocalSet::new());
        runtime.block_on(set.run_until(async {
            let mut stays = Connection::new();
            let staying = stays.watched(SECOND);
            let round = staying.round.clone().unwrap();
            for _ in 0..1000 {
                let left = stays.watched(3600 * SECOND);
                assert_eq!(known(&round), 2);
                drop(left);
                tokio::task::yield_now().await;
            }
            assert_eq!(known(&round), 1);
            assert_eq!(stays.next().await, Act::Ping);
        }));
    }

    #[test]
    fn whoever_leaves_first_others_keep_their_places() {
        let (runtime, set) = (runtime(), LocalSet::new());
        runtime.block_on(set.run_until(async {
            let mut stays = Connection::new();
            let staying = stays.watched(3 * SECOND);
            let round = staying.round.clone().unwrap();
            let others = Connection::new();
            let mut left: Vec<_> = (0..5).map(|_| others.watched(100 * SECOND)).collect();
            for place in [1, 0, 2, 1, 0] {
                left.remove(place);
                assert_eq!(known(&round), 1 + left.len());
            }
            let zero = Instant::now();
            assert_eq!(stays.next().await, Act::Ping);
            assert_eq!(zero.elapsed(), 3 * SECOND);
        }));
    }

    #[test]
    fn a_pinger_that_stands_still_is_not_relied_on() {
        let (still, ours) = (LocalSet::new(), LocalSet::new());
        let (other, runtime) = (runtime(), runtime());
        let first = other.block_on(still.run_until(async {
            let first = Connection::new().watched(SECOND);
            tokio::task::yield_now().await;
            first
        }));
        runtime.block_on(ours.run_until(async {
            let mut connection = Connection::new();
            let mut watched = connection.watched(SECOND);
            let joined = watched.round.as_ref().unwrap();
            assert!(Rc::ptr_eq(joined, first.round.as_ref().unwrap()));
            settle(&mut watched).await;
            assert_eq!(connection.next().await, Act::Ping);
        }));
    }

    #[test]
    fn a_pinger_that_goes_tells_those_it_leaves() {
        let (theirs, ours) = (LocalSet::new(), LocalSet::new());
        let runtime = runtime();
        let (mut connection, mut watched) = runtime.block_on(ours.run_until(async {
            let connection = Connection::new();
            tokio::task::yield_now().await;
            let watched = theirs.run_until(async { connection.watched(SECOND) }).await;
            (connection, watched)
        }));
        drop(theirs);
        runtime.block_on(ours.run_until(async {
            assert_eq!(connection.next().await, Act::Orphaned);
            watched.found();
            assert_eq!(connection.next().await, Act::Ping);
        }));
    }
}
