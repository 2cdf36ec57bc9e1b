//! A handler that records every event, and with which a test awaits the next one of a kind.

use std::any::{TypeId, type_name};
use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Recipient};
use tokio::sync::Notify;

use crate::command::status::{Outcome, SourceId};
use crate::event::{self, Event, Kind, event_table};
use crate::testing::journal::seen_by_servers;
use crate::testing::wait::{Wait, found_within, last_lines};

/// Expands to `role`.
macro_rules! roles {
    ($(
        $(#[$doc:meta])*
        $Event:ident $on:ident $on_to:ident
        event $event:tt
        delivery $delivery:tt
        probe { $role:ident }
    )+) => {
        fn role(event: &Event) -> Role {
            match event {
                $(Event::$Event(_) => Role::$role,)+
            }
        }
    };
}

event_table!(roles);

/// The role of an event in the order of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It comes just before an event that `Opens`, but not the first one.
    Reopens,
    /// It says that a socket is open.
    Opens,
    /// It comes from an open socket.
    Within,
    /// It comes from a dial, or once from an open socket, and then only `Closes` follows for that
    /// socket.
    Fails,
    /// It says that the open socket has ended.
    Closes,
    /// It is the last one.
    Ends,
    /// It may come at any time but last.
    Anytime,
}

/// Records the events of one connection or of several, and lets a test await the next one of a kind.
///
/// It is `Clone + Send + Sync`, and all clones share one history. Each kind of event has a position of
/// its own in that history: awaiting one kind skips no event of another. If an awaited event does not
/// come within 10 s ([`patience`](Probe::patience); of tokio's clock, which may be paused or
/// simulated), the test panics at the line of the `.await`. The report says what it waits for, and has the last
/// ten lines of what came, and of what the servers that were started on this thread saw and sent.
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
    /// Notified after each event.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Log {
    seen: Vec<Event>,
    /// How many events of each kind were passed so far.
    awaited: HashMap<TypeId, usize>,
}

/// The default of [`Probe::patience`].
const PATIENCE: Duration = Duration::from_secs(10);

impl Probe {
    /// Creates a probe whose actor runs on this thread.
    ///
    /// # Panics
    /// Outside an actix `System` and a tokio `LocalSet`.
    #[expect(clippy::new_without_default, reason = "it starts an actor")]
    pub fn new() -> Probe {
        let shared = Arc::<Shared>::default();
        let recorder = Recorder(shared.clone()).start();
        Probe { shared, recorder, patience: PATIENCE }
    }

    /// Sets how long to wait for an event before panicking. Default: 10 s.
    pub fn patience(mut self, patience: Duration) -> Probe {
        self.patience = patience;
        self
    }

    /// Returns a recipient of one kind of event, or of [`Event`], for registering the probe without
    /// [`attach`](Probe::attach).
    pub fn recipient<M>(&self) -> Recipient<M>
    where
        M: Into<Event> + actix::Message<Result = ()> + Send + 'static,
    {
        self.recorder.clone().recipient()
    }

    /// Waits for the next event of a kind.
    ///
    /// # Panics
    /// At the line of the `.await`, if it does not come in time.
    #[track_caller]
    pub fn next<M: Kind>(&self) -> impl Future<Output = M> {
        self.next_where(|_: &M| true)
    }

    /// Waits for the next event of a kind that `wanted` accepts. Skips the events of the kind before
    /// it.
    ///
    /// # Panics
    /// At the line of the `.await`, if it does not come in time.
    #[track_caller]
    pub fn next_where<M: Kind>(&self, wanted: impl Fn(&M) -> bool) -> impl Future<Output = M> {
        let look = move || self.lock().take(&wanted);
        let wait = found_within(self.patience, &self.shared.changed, look);
        Wait::new(wait, || self.in_vain::<M>())
    }

    /// Reports a wait for a kind of event that was in vain.
    fn in_vain<M: Kind>(&self) -> String {
        let kind = type_name::<M>().rsplit("::").next().unwrap_or_default();
        let (came, of_kind) = (self.history(), self.all::<M>().len());
        let lines: Vec<String> = came.iter().map(|event| format!("{event:?}")).collect();
        let mut report = format!("no event::{kind} within {:?}", self.patience);
        if of_kind > 0 {
            report += &format!(" but {of_kind} that were awaited before or not wanted");
        }
        report += &format!("; what came, {} events:{}", came.len(), last_lines(&lines));
        if let Some(seen) = seen_by_servers() {
            report += &format!("\nwhat the servers of this thread saw:{}", last_lines(&seen));
        }
        report
    }

    /// Waits for the next message.
    ///
    /// # Panics
    /// At the line of the `.await`, if it does not come in time.
    #[track_caller]
    pub fn next_message(&self) -> impl Future<Output = event::Message> {
        self.next()
    }

    /// Waits for the end of the run.
    ///
    /// # Panics
    /// At the line of the `.await`, if it does not come in time.
    #[track_caller]
    pub fn stopped(&self) -> impl Future<Output = Outcome> {
        let look = || self.lock().take(&|_: &event::Stopped| true);
        let wait = found_within(self.patience, &self.shared.changed, look);
        let outcome = async { Some(wait.await?.outcome) };
        Wait::new(outcome, || self.in_vain::<event::Stopped>())
    }

    /// Returns all events in the order in which they came.
    pub fn history(&self) -> Vec<Event> {
        self.lock().seen.clone()
    }

    /// Returns all events of a kind in the order in which they came.
    pub fn all<M: Kind>(&self) -> Vec<M> {
        self.lock().seen.iter().filter_map(M::of).cloned().collect()
    }

    /// Returns the history in words: `open`, `message`, `ping`, `pong`, `error`, `close`, `stopped`,
    /// and `data`, `continuation`, `batch` if the probe was registered for them. `State` is left out,
    /// and so is `Reconnect`, which an `Open` always follows.
    pub fn story(&self) -> Vec<&'static str> {
        let log = self.lock();
        let ordered =
            log.seen.iter().filter(|it| !matches!(role(it), Role::Anytime | Role::Reopens));
        ordered.map(Event::name).collect()
    }

    /// Checks the order of the history, for each connection: `Open (Message | Ping | Pong …)* Error?
    /// Close`, a `Reconnect` only just before an `Open` that is not the first, epochs without a gap,
    /// one `Close` for each `Open`, and `Stopped` last. A history that has not ended passes if it is in
    /// order so far.
    ///
    /// # Errors
    /// The first event that is out of order.
    pub fn check(&self) -> Result<(), String> {
        let mut lives = HashMap::<SourceId, Life>::new();
        for (index, seen) in self.history().iter().enumerate() {
            let (source, epoch) = (seen.source(), seen.epoch());
            lives
                .entry(source)
                .or_default()
                .see(role(seen), epoch)
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
    fn take<M: Kind>(&mut self, wanted: &impl Fn(&M) -> bool) -> Option<M> {
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

/// The state of one connection, by its events so far.
#[derive(Default)]
struct Life {
    epoch: u64,
    open: bool,
    /// Whether the last event was a `Reconnect`.
    reopens: bool,
    /// Whether the `Error` before the `Close` came.
    failed: bool,
    stopped: bool,
}

impl Life {
    fn see(&mut self, role: Role, epoch: u64) -> Result<(), &'static str> {
        if self.stopped {
            return Err("an event after Stopped");
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
                return Err("an event of a socket that has ended");
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

impl<M: Into<Event> + actix::Message<Result = ()>> Handler<M> for Recorder {
    type Result = ();

    fn handle(&mut self, event: M, _: &mut Self::Context) {
        self.0.lock().seen.push(event.into());
        self.0.changed.notify_waiters();
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
            (&[(Within, 0)], "a socket that has ended"),
            (&[(Opens, 1), (Fails, 1), (Within, 1)], "a socket that has ended"),
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
