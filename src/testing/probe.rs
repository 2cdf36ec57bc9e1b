//! A handler that writes down every event, and awaits the next one of a kind.

use std::any::{TypeId, type_name};
use std::collections::HashMap;
use std::mem;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Recipient};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::command::status::{Outcome, SourceId};
use crate::event::{self, event_table};

/// Expands to `Seen`, to an `impl Observed` for each event, and to what a probe asks of an event
/// whatever its kind.
macro_rules! seen {
    ($(
        $(#[$doc:meta])*
        $Event:ident $on:ident
        delivery $delivery:tt
        probe { $role:ident $($word:literal)?; attach $attach:literal $(; at $inner:tt)? }
    )+) => {
        /// An event, as a probe saw it.
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        pub enum Seen {
            $(
                #[doc = concat!("An [`event::", stringify!($Event), "`].")]
                $Event(event::$Event),
            )+
        }

        impl Seen {
            fn word(&self) -> Option<&'static str> {
                match self {
                    $(Seen::$Event(_) => [$($word)?].first().copied(),)+
                }
            }

            /// The connection that sent it, and its epoch.
            fn whose(&self) -> (SourceId, u64) {
                match self {
                    $(Seen::$Event(event) => (event$(.$inner)?.source, event$(.$inner)?.epoch),)+
                }
            }

            fn role(&self) -> Role {
                match self {
                    $(Seen::$Event(_) => Role::$role,)+
                }
            }
        }

        $(impl Observed for event::$Event {
            fn seen(self) -> Seen {
                Seen::$Event(self)
            }

            fn of(seen: &Seen) -> Option<&Self> {
                match seen {
                    Seen::$Event(event) => Some(event),
                    _ => None,
                }
            }
        })+
    };
}

event_table!(seen);

/// What an event means for the order of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It comes just before what `Opens` a second or later socket.
    Reopens,
    /// It begins the life of a socket.
    Opens,
    /// It belongs to an open socket.
    Within,
    /// It comes of a dial, or once of an open socket, which nothing but the end follows then.
    Fails,
    /// It ends the life of a socket.
    Closes,
    /// It is the last one.
    Ends,
    /// It has no place in the order.
    Anytime,
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

    /// Returns the history in words: `open`, `message`, `ping`, `pong`, `error`, `close`, `stopped`, and
    /// `data`, `continuation`, `batch` if the probe was registered for them. `State` has no word, and
    /// neither has `Reconnect`, which an `Open` always follows.
    pub fn story(&self) -> Vec<&'static str> {
        self.lock().seen.iter().filter_map(Seen::word).collect()
    }

    /// Holds the history against what is promised of it, for each connection: `Open (Message | Ping |
    /// Pong …)* Error? Close`, a `Reconnect` only just before an `Open` that is not the first, epochs in
    /// order, one `Close` for each `Open`, and `Stopped` last. A life that is still going on is right so
    /// far.
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
                .see(seen.role(), epoch)
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

/// Where one connection is, as its events tell.
#[derive(Default)]
struct Life {
    epoch: u64,
    open: bool,
    /// Whether the last event was a `Reconnect`.
    reopens: bool,
    /// Whether the `Error` before the `Close` was told.
    failed: bool,
    stopped: bool,
}

impl Life {
    fn see(&mut self, role: Role, epoch: u64) -> Result<(), &'static str> {
        if self.stopped {
            return Err("told after Stopped");
        }
        let reopens = mem::take(&mut self.reopens);
        match role {
            Role::Anytime => self.reopens = reopens,
            Role::Opens | Role::Reopens if self.open => {
                return Err("a socket was opened before the Close of the last one");
            }
            Role::Opens | Role::Reopens if epoch != self.epoch + 1 => {
                return Err("an epoch was left out");
            }
            Role::Opens => *self = Life { epoch, open: true, ..Life::default() },
            _ if reopens => return Err("an event between Reconnect and Open"),
            Role::Reopens if epoch == 1 => return Err("Reconnect of the first socket"),
            Role::Reopens => self.reopens = true,
            _ if epoch != self.epoch => return Err("an event of another epoch"),
            Role::Within if !self.open || self.failed => {
                return Err("told of a socket that was over");
            }
            Role::Within => {}
            Role::Fails if self.failed => return Err("a second Error of one socket"),
            Role::Fails => self.failed = self.open,
            Role::Closes if !self.open => return Err("Close without Open"),
            Role::Closes => (self.open, self.failed) = (false, false),
            Role::Ends if self.open => return Err("Stopped without Close"),
            Role::Ends => self.stopped = true,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Sees the events of one connection, each with its epoch.
    fn see(events: &[(Role, u64)]) -> Result<(), &'static str> {
        let mut life = Life::default();
        events.iter().try_for_each(|(role, epoch)| life.see(*role, *epoch))
    }

    #[test]
    fn events_in_order_pass() {
        use Role::{Anytime, Closes, Ends, Fails, Opens, Reopens, Within};
        let dial_fails = [(Anytime, 0), (Fails, 0), (Fails, 0)];
        let first = [(Anytime, 0), (Opens, 1), (Within, 1), (Fails, 1), (Closes, 1), (Fails, 1)];
        // A probe may have been registered for `Open` alone, and not for `Reconnect`.
        let second = [(Opens, 2), (Closes, 2)];
        let third = [(Reopens, 3), (Anytime, 2), (Opens, 3), (Within, 3), (Closes, 3)];
        let end = [(Anytime, 3), (Ends, 3)];
        let all = [&dial_fails[..], &first, &second, &third, &end].concat();
        for length in 0..=all.len() {
            assert_eq!(see(&all[..length]), Ok(()), "{length}");
        }
    }

    #[test]
    fn an_event_out_of_order_is_found() {
        use Role::{Anytime, Closes, Ends, Fails, Opens, Reopens, Within};
        let cases: &[(&[(Role, u64)], &str)] = &[
            (&[(Opens, 1), (Opens, 2)], "a socket was opened before the Close of the last one"),
            (&[(Opens, 1), (Reopens, 2)], "a socket was opened before the Close of the last one"),
            (&[(Opens, 2)], "an epoch was left out"),
            (&[(Opens, 1), (Closes, 1), (Reopens, 3)], "an epoch was left out"),
            (&[(Reopens, 1)], "Reconnect of the first socket"),
            (&[(Opens, 1), (Closes, 1), (Reopens, 2), (Fails, 1)], "between Reconnect and Open"),
            (&[(Opens, 1), (Closes, 1), (Reopens, 2), (Reopens, 2)], "between Reconnect and Open"),
            (&[(Opens, 1), (Within, 2)], "an event of another epoch"),
            (&[(Within, 0)], "a socket that was over"),
            (&[(Opens, 1), (Fails, 1), (Within, 1)], "a socket that was over"),
            (&[(Opens, 1), (Fails, 1), (Fails, 1)], "a second Error"),
            (&[(Closes, 0)], "Close without Open"),
            (&[(Opens, 1), (Ends, 1)], "Stopped without Close"),
            (&[(Ends, 0), (Anytime, 0)], "after Stopped"),
        ];
        for (events, expected) in cases {
            let found = see(events);
            assert!(found.is_err_and(|why| why.contains(expected)), "{events:?}: {found:?}");
        }
    }
}
