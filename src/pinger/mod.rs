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
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use actix::{Actor, ActorFuture, AsyncContext, Context, Message, WeakRecipient};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::options::Options;
use crate::pinger::watchdog::{Signs, Watchdog};

pub(crate) use crate::pinger::watchdog::{Act, Silent};

/// What a connection is told by its pinger.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Sign {
    /// The socket that it is for.
    pub(crate) epoch: u64,
    pub(crate) act: Act,
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
    Asked(u64),
    /// As `Asked`, and by the next turn of ours it has looked if it ever does.
    Waiting(u64),
}

/// A socket as its pinger knows it.
#[derive(Debug)]
struct Ward {
    signs: Signs,
    watchdog: RefCell<Watchdog>,
    /// Its place in the round.
    place: Cell<Option<Place>>,
    epoch: u64,
    connection: WeakRecipient<Sign>,
}

/// When to look at a socket again, and a number that tells those of one instant apart.
type Place = (Instant, u64);

/// All sockets that one pinger looks after.
#[derive(Default)]
struct Round {
    /// Whom to look at, by time.
    due: RefCell<BTreeMap<Place, Rc<Ward>>>,
    /// The number of the next place.
    number: Cell<u64>,
    /// How often the pinger has looked.
    looks: Cell<u64>,
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
        connection: WeakRecipient<Sign>,
    ) -> Watched {
        let (signs, watchdog) = (Signs::new(now), Watchdog::new(options, now).into());
        let place = Cell::new(None);
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
            Trust::Waiting(before) if looks > before => self.trust = Trust::Sure,
            Trust::Waiting(_) => self.found(),
        }
    }

    /// Goes on with a pinger of its own, which others may join.
    pub(crate) fn found(&mut self) {
        self.leave();
        let round = Rc::new(Round::default());
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
            if let Some(place) = self.ward.place.take() {
                round.due.borrow_mut().remove(&place);
            }
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
        let mut watchdog = self.watchdog.borrow_mut();
        std::iter::from_fn(|| watchdog.due(now, &self.signs)).all(|act| self.tell(act))
    }

    fn tell(&self, act: Act) -> bool {
        let connection = self.connection.upgrade();
        connection.map(|to| to.do_send(Sign { epoch: self.epoch, act })).is_some()
    }

    /// When to look again.
    fn wake(&self) -> Option<Instant> {
        self.watchdog.borrow().wake(&self.signs)
    }
}

impl Round {
    /// Gives a socket its place.
    fn add(&self, ward: Rc<Ward>) {
        if let Some(at) = ward.wake() {
            let place = (at, self.number.get());
            self.number.set(place.1 + 1);
            ward.place.set(Some(place));
            self.due.borrow_mut().insert(place, ward);
        }
    }

    /// Takes out the next socket that is due.
    fn take(&self, now: Instant) -> Option<Rc<Ward>> {
        let mut due = self.due.borrow_mut();
        let next = due.first_entry().filter(|next| next.key().0 <= now)?;
        let ward = next.remove();
        ward.place.set(None);
        Some(ward)
    }

    /// When the next socket is due.
    fn next(&self) -> Option<Instant> {
        self.due.borrow().first_key_value().map(|((at, _), _)| *at)
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
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
        ctx.spawn(Ticks { sleep: None });
    }
}

impl Drop for Pinger {
    /// Its `LocalSet` is gone. What it looked after may belong to another, if both take turns on the
    /// thread.
    fn drop(&mut self) {
        self.round.over.set(true);
        let left = std::mem::take(&mut *self.round.due.borrow_mut());
        for ward in left.into_values() {
            ward.place.set(None);
            ward.tell(Act::Orphaned);
        }
    }
}

/// The one future of the actor: sleeps to the next thing that is due.
struct Ticks {
    sleep: Option<Pin<Box<Sleep>>>,
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
        round.looks.set(round.looks.get() + 1);
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
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
            if sleep.deadline() != at {
                sleep.as_mut().reset(at);
            }
            if sleep.as_mut().poll(task).is_pending() {
                return Poll::Pending;
            }
        }
        // The connections have their turn.
        task.waker().wake_by_ref();
        Poll::Pending
    }
}
