//! What happens in a simulation, written down by everybody who takes part in it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::mpsc::UnboundedSender;

use crate::faults::{Fault, Script};
use crate::model::History;
use crate::report::Counts;

/// One for each process. A mutex only because a transport's closure must be `Send`: all of it runs
/// on one thread.
#[derive(Clone)]
pub(crate) struct Ledger(Arc<Mutex<Book>>);

/// What is in it.
pub(crate) struct Book {
    /// The servers, each with its own host and its own link to the client's.
    pub(crate) servers: Vec<Server>,
    /// The connections in the order in which they were started.
    pub(crate) connections: Vec<Connection>,
    /// The sockets that servers have opened, over all.
    pub(crate) sessions: Vec<Session>,
    /// What is to be done to links and hosts, and when.
    pub(crate) actions: Vec<(Duration, Action)>,
    pub(crate) counts: Counts,
    /// What was found wrong while it ran.
    pub(crate) wrong: Vec<String>,
}

/// One server.
pub(crate) struct Server {
    /// From which its scripts are drawn.
    rng: StdRng,
    /// Whether something is done to its link or host at the moment.
    pub(crate) busy: bool,
    /// Whether its link and host are to be left alone: the connection has ended.
    pub(crate) calm: bool,
}

/// One connection of the client's.
pub(crate) struct Connection {
    /// Its settings, for the words of a failure.
    pub(crate) settings: String,
    /// Every dial, in order.
    pub(crate) dials: Vec<Dial>,
    /// Sockets and dials that are alive now: never more than one.
    pub(crate) alive: u32,
    /// Sessions of the server's that are alive now.
    pub(crate) served: u32,
    /// What the server asks of the client's side: `command::Reconnect`.
    pub(crate) asks: UnboundedSender<()>,
    /// Whether the server has its end to play: it refuses for good.
    pub(crate) doomed: bool,
    /// When commands were given that end a socket, or lead to a dial.
    pub(crate) hurried: Vec<Duration>,
    /// From when to when it was told to stay away.
    pub(crate) pauses: Vec<(Duration, Duration)>,
    /// When `command::Close` was accepted, or the last address dropped.
    pub(crate) closed: Option<Duration>,
    /// How many of the client's messages were taken.
    pub(crate) sends: u64,
    pub(crate) histories: Vec<Arc<Mutex<History>>>,
}

/// One dial, and the socket that came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dial {
    pub(crate) began: Duration,
    /// When the 101 was read.
    pub(crate) opened: Option<Duration>,
    /// When the last byte was read, or the socket opened.
    pub(crate) heard: Duration,
    /// When the last byte was written.
    pub(crate) wrote: Duration,
    /// When it was gone, whatever it had come to.
    pub(crate) gone: Option<Duration>,
}

/// One opened socket as the server knows it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Session {
    /// Messages written before the Close frame, or so far.
    pub(crate) written: u64,
    /// Whether the server's Close frame was written behind them.
    pub(crate) closed: bool,
}

/// What only the driver of the simulation can do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Repair(usize),
    Release(usize),
    Crash { server: usize, lasts: Duration, power: bool },
    Bounce(usize),
}

impl Ledger {
    pub(crate) fn new(seed: u64, servers: usize) -> Ledger {
        let servers = (0..servers as u64)
            .map(|index| Server {
                rng: StdRng::seed_from_u64(seed << 8 | index),
                busy: false,
                calm: true,
            })
            .collect();
        Ledger(Arc::new(Mutex::new(Book {
            servers,
            connections: Vec::new(),
            sessions: Vec::new(),
            actions: Vec::new(),
            counts: Counts::default(),
            wrong: Vec::new(),
        })))
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The next script of a server.
    pub(crate) fn script(&self, server: usize) -> Script {
        Script::draw(&mut self.book().servers[server].rng)
    }

    pub(crate) fn count(&self, fault: Fault) {
        let index = Fault::ALL.iter().position(|other| *other == fault);
        self.book().counts.faults[index.expect("all are listed")] += 1;
    }

    pub(crate) fn wrong(&self, what: impl Into<String>) {
        let what = format!("{:?}: {}", now(), what.into());
        self.book().wrong.push(what);
    }

    /// What is due, in the order in which it was written down.
    pub(crate) fn due(&self, now: Duration) -> Vec<Action> {
        let book = &mut *self.book();
        let calm = |action: &Action| match *action {
            Action::Repair(server) | Action::Release(server) | Action::Bounce(server) => {
                book.servers[server].calm
            }
            Action::Crash { .. } => false,
        };
        let (due, later) = std::mem::take(&mut book.actions)
            .into_iter()
            .partition(|(at, action)| *at <= now || calm(action));
        book.actions = later;
        let due: Vec<(Duration, Action)> = due;
        due.into_iter().map(|(_, action)| action).collect()
    }
}

/// Simulated time since the start, the same on every host; zero outside a simulation.
pub(crate) fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}
