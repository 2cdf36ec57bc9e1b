//! A handler that writes down every event, and awaits the next one of a kind.

use std::any::{TypeId, type_name};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Recipient};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::command::status::{Outcome, SourceId};
use crate::event;

/// An event, as a probe saw it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Seen {
    /// A socket was opened.
    Open(event::Open),
    /// A message came.
    Message(event::Message),
    /// The server pinged.
    Ping(event::Ping),
    /// The server sent a Pong.
    Pong(event::Pong),
    /// Something failed.
    Error(event::Error),
    /// A socket ended.
    Close(event::Close),
    /// The phase changed.
    State(event::State),
    /// The run is over.
    Stopped(event::Stopped),
}

/// An event that a [`Probe`] can be asked for. Implemented for all of them.
pub trait Observed: actix::Message<Result = ()> + Clone + Send + Sized + 'static {
    /// The event among others.
    fn seen(self) -> Seen;

    /// The event, if it is of this kind.
    fn of(seen: &Seen) -> Option<&Self>;
}

/// Stands in for the handlers of one connection or of several: it writes down every event, and
/// lets a test await the next one of a kind.
///
/// `Clone + Send + Sync`, and all clones are one. Each kind of event is awaited from the beginning
/// on, whatever was awaited of the others. What does not come within 10 s
/// ([`patience`](Probe::patience), of tokio's clock, which may be a paused or simulated one) is a
/// panic that shows all events.
///
/// ```
/// use actix_ws_client::testing::{Probe, Script, Server};
/// use actix_ws_client::{Connection, event};
///
/// # actix::System::new().block_on(async {
/// let server = Server::start(Script::accept().send_text("hi").send_close(4000, "enough"));
/// let probe = Probe::new();
/// let connection =
///     probe.attach(Connection::builder(server.url()).no_reconnect()).start().unwrap();
///
/// assert_eq!(probe.next::<event::Close>().await.code.value(), 4000);
/// assert_eq!(probe.next_message().await.payload.as_text(), Some("hi"));
/// probe.stopped().await;
/// assert_eq!(probe.story(), ["open", "message", "close", "stopped"]);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Probe {
    shared: Arc<Shared>,
    recorder: Addr<Recorder>,
    patience: Duration,
}

#[derive(Debug, Default)]
struct Shared {
    log: Mutex<Log>,
    /// Rung after each event.
    bell: Notify,
}

#[derive(Debug, Default)]
struct Log {
    seen: Vec<Seen>,
    /// How many of each kind were awaited so far.
    awaited: HashMap<TypeId, usize>,
}

/// How long a probe waits for an event.
const PATIENCE: Duration = Duration::from_secs(10);

impl Probe {
    /// A probe whose actor runs here.
    ///
    /// # Panics
    /// Outside an actix `System` and a tokio `LocalSet`.
    #[expect(clippy::new_without_default, reason = "it starts an actor")]
    pub fn new() -> Probe {
        let shared = Arc::<Shared>::default();
        let recorder = Recorder(shared.clone()).start();
        Probe { shared, recorder, patience: PATIENCE }
    }

    /// How long to wait for an event before panicking. Default 10 s.
    pub fn patience(mut self, patience: Duration) -> Probe {
        self.patience = patience;
        self
    }

    /// A recipient of one kind of event, for who registers the probe by hand.
    pub fn recipient<M: Observed>(&self) -> Recipient<M> {
        self.recorder.clone().recipient()
    }

    /// The next event of a kind.
    ///
    /// # Panics
    /// With all events, if it does not come in time.
    pub async fn next<M: Observed>(&self) -> M {
        self.next_where(|_: &M| true).await
    }

    /// The next event of a kind that is as wanted. Those of the kind before it are passed over.
    ///
    /// # Panics
    /// With all events, if it does not come in time.
    pub async fn next_where<M: Observed>(&self, wanted: impl Fn(&M) -> bool) -> M {
        let deadline = Instant::now() + self.patience;
        loop {
            let mut rung = pin!(self.shared.bell.notified());
            rung.as_mut().enable();
            if let Some(found) = self.lock().take(&wanted) {
                return found;
            }
            if timeout_at(deadline, rung).await.is_err() {
                let (kind, patience) = (type_name::<M>(), self.patience);
                panic!("no {kind} in {patience:?}; what came: {:#?}", self.history());
            }
        }
    }

    /// The next message.
    ///
    /// # Panics
    /// With all events, if it does not come in time.
    pub async fn next_message(&self) -> event::Message {
        self.next().await
    }

    /// The end of the run.
    ///
    /// # Panics
    /// With all events, if it does not come in time.
    pub async fn stopped(&self) -> Outcome {
        self.next::<event::Stopped>().await.outcome
    }

    /// Every event, in the order in which they came.
    pub fn history(&self) -> Vec<Seen> {
        self.lock().seen.clone()
    }

    /// All events of a kind, in the order in which they came.
    pub fn all<M: Observed>(&self) -> Vec<M> {
        self.lock().seen.iter().filter_map(M::of).cloned().collect()
    }

    /// The history in words, but for `State`: `open`, `message`, `ping`, `pong`, `error`, `close`,
    /// `stopped`.
    pub fn story(&self) -> Vec<&'static str> {
        self.lock().seen.iter().filter_map(Seen::word).collect()
    }

    /// Holds the history against what is promised of it, for each connection: `Open (Message |
    /// Ping | Pong …)* Error? Close`, epochs in order, one `Close` for each `Open`, and `Stopped`
    /// last. A life that is still going on is right so far.
    ///
    /// # Errors
    /// The first event that is out of order.
    pub fn check(&self) -> Result<(), String> {
        let mut lives = HashMap::<SourceId, Life>::new();
        for (index, seen) in self.history().iter().enumerate() {
            let (source, epoch) = seen.whose();
            lives
                .entry(source)
                .or_default()
                .see(seen, epoch)
                .map_err(|why| format!("event {index} of connection {source}: {why}: {seen:?}"))?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.shared.lock()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn take<M: Observed>(&mut self, wanted: &impl Fn(&M) -> bool) -> Option<M> {
        let awaited = self.awaited.entry(TypeId::of::<M>()).or_default();
        for event in self.seen.iter().filter_map(M::of).skip(*awaited) {
            *awaited += 1;
            if wanted(event) {
                return Some(event.clone());
            }
        }
        None
    }
}

impl Seen {
    fn word(&self) -> Option<&'static str> {
        match self {
            Seen::Open(_) => Some("open"),
            Seen::Message(_) => Some("message"),
            Seen::Ping(_) => Some("ping"),
            Seen::Pong(_) => Some("pong"),
            Seen::Error(_) => Some("error"),
            Seen::Close(_) => Some("close"),
            Seen::State(_) => None,
            Seen::Stopped(_) => Some("stopped"),
        }
    }

    /// The connection that told it, and its epoch.
    fn whose(&self) -> (SourceId, u64) {
        match self {
            Seen::Open(event) => (event.source, event.epoch),
            Seen::Message(event) => (event.source, event.epoch),
            Seen::Ping(event) => (event.source, event.epoch),
            Seen::Pong(event) => (event.source, event.epoch),
            Seen::Error(event) => (event.source, event.epoch),
            Seen::Close(event) => (event.source, event.epoch),
            Seen::State(event) => (event.source, event.epoch),
            Seen::Stopped(event) => (event.source, event.epoch),
        }
    }
}

/// Where one connection is, as its events tell.
#[derive(Default)]
struct Life {
    epoch: u64,
    open: bool,
    /// Whether the `Error` before the `Close` was told.
    failed: bool,
    stopped: bool,
}

impl Life {
    fn see(&mut self, seen: &Seen, epoch: u64) -> Result<(), &'static str> {
        if self.stopped {
            return Err("told after Stopped");
        }
        match seen {
            Seen::Open(_) if self.open => return Err("Open before the Close of the last one"),
            Seen::Open(_) if epoch != self.epoch + 1 => return Err("an epoch was left out"),
            Seen::Open(_) => *self = Life { epoch, open: true, ..Life::default() },
            Seen::State(_) => return Ok(()),
            _ if epoch != self.epoch => return Err("an event of another epoch"),
            Seen::Message(_) | Seen::Ping(_) | Seen::Pong(_) if !self.open || self.failed => {
                return Err("told of a socket that was over");
            }
            Seen::Message(_) | Seen::Ping(_) | Seen::Pong(_) => {}
            Seen::Error(_) if self.failed => return Err("a second Error of one socket"),
            Seen::Error(_) => self.failed = self.open,
            Seen::Close(_) if !self.open => return Err("Close without Open"),
            Seen::Close(_) => (self.open, self.failed) = (false, false),
            Seen::Stopped(_) if self.open => return Err("Stopped without Close"),
            Seen::Stopped(_) => self.stopped = true,
        }
        Ok(())
    }
}

/// The actor behind a probe.
#[derive(Debug)]
struct Recorder(Arc<Shared>);

impl Actor for Recorder {
    type Context = Context<Recorder>;
}

impl<M: Observed> Handler<M> for Recorder {
    type Result = ();

    fn handle(&mut self, event: M, _: &mut Self::Context) {
        self.0.lock().seen.push(event.seen());
        self.0.bell.notify_waiters();
    }
}

impl Observed for event::Open {
    fn seen(self) -> Seen {
        Seen::Open(self)
    }

    fn of(seen: &Seen) -> Option<&Self> {
        match seen {
            Seen::Open(event) => Some(event),
            _ => None,
        }
    }
}

impl Observed for event::Message {
    fn seen(self) -> Seen {
        Seen::Message(self)
    }

    fn of(seen: &Seen) -> Option<&Self> {
        match seen {
            Seen::Message(event) => Some(event),
            _ => None,
        }
    }
}

impl Observed for event::Ping {
    fn seen(self) -> Seen {
        Seen::Ping(self)
    }

    fn of(seen: &Seen) -> Option<&Self> {
        match seen {
            Seen::Ping(event) => Some(event),
            _ => None,
        }
    }
}

impl Observed for event::Pong {
    fn seen(self) -> Seen {
        Seen::Pong(self)
    }

    fn of(seen: &Seen) -> Option<&Self> {
        match seen {
            Seen::Pong(event) => Some(event),
            _ => None,
        }
    }
}

impl Observed for event::Error {
    fn seen(self) -> Seen {
        Seen::Error(self)
    }

    fn of(seen: &Seen) -> Option<&Self> {
        match seen {
            Seen::Error(event) => Some(event),
            _ => None,
        }
    }
}

impl Observed for event::Close {
    fn seen(self) -> Seen {
        Seen::Close(self)
    }

    fn of(seen: &Seen) -> Option<&Self> {
        match seen {
            Seen::Close(event) => Some(event),
            _ => None,
        }
    }
}

impl Observed for event::State {
    fn seen(self) -> Seen {
        Seen::State(self)
    }

    fn of(seen: &Seen) -> Option<&Self> {
        match seen {
            Seen::State(event) => Some(event),
            _ => None,
        }
    }
}

impl Observed for event::Stopped {
    fn seen(self) -> Seen {
        Seen::Stopped(self)
    }

    fn of(seen: &Seen) -> Option<&Self> {
        match seen {
            Seen::Stopped(event) => Some(event),
            _ => None,
        }
    }
}
