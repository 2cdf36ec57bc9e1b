//! The supervised actor that owns one connection.
//!
//! Every way of losing a socket, and every failed dial, goes through `Connection::lost`: it tells
//! the handlers, asks the verdict, and either stops the context, so that the supervisor starts the
//! next life, or ends in `Connection::closed`.

mod builder;
mod commands;
mod handlers;
mod lane;
mod live;
#[cfg(feature = "testing")]
mod probed;
mod pulse;
mod trace;
mod waiting;

use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Supervised};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::backoff::{self, Hint, Schedule};
use crate::command::status::{Gauge, Outcome, OutcomeKind, Phase, SourceId, Watch};
use crate::connection::lane::LaneEnd;
use crate::connection::live::{Live, Opening};
use crate::connection::pulse::Pulse;
use crate::connection::waiting::{Slot, Waiting, tell};
use crate::delivery::{Delivery, Handlers, Queued};
use crate::dial::{Clock, Opened, SharedJar, dial};
use crate::error::{Error, Stage, Verdict};
use crate::event::{self, Next};
use crate::options::{Attempt, Plan};
use crate::proto::close::{CloseCode, CloseFrame};
use crate::proto::session::{By, Closure};

pub use crate::connection::builder::ConnectionBuilder;

/// A WebSocket connection that stays: it owns the socket, and comes back with backoff.
///
/// Built by [`Connection::builder`]. It lives as long as an `Addr` of it does; when the last one is
/// dropped it closes with 1001 and ends.
pub struct Connection {
    /// Where to, and how.
    plan: Arc<Plan>,
    /// Cookies, from one dial to the next, if there are any.
    jar: Option<SharedJar>,
    source: SourceId,
    /// What comes through handles.
    lane: LaneEnd,
    /// Figures that are read from other threads.
    watch: Watch,
    /// The queue to the handlers.
    delivery: Delivery,
    /// Messages that wait for room in the send buffer, while there are any.
    waiting: Option<Box<Waiting>>,
    /// When to dial.
    schedule: Schedule,
    /// What this is about now.
    life: Life,
    phase: Phase,
    phase_since: Instant,
    /// What the end of the socket is to lead to.
    intent: Intent,
    /// Whether the next dial is one that it causes.
    hastened: bool,
    /// The newest opened socket.
    epoch: u64,
    /// Dials ever made.
    attempts: u64,
    /// Dials since a socket was last open.
    attempts_down: u32,
    /// What did not go by itself so far, if anything did not.
    past: Option<Box<Past>>,
}

/// What did not go by itself, and who waits for the end. Most connections have nothing of it, and many
/// are open at once.
#[derive(Default)]
struct Past {
    /// When, and why, the last socket was lost.
    down: Option<(Instant, Option<Error>)>,
    last_error: Option<Error>,
    last_closure: Option<Closure>,
    /// When the next dial may begin. The first one may at once.
    next_dial: Option<Instant>,
    /// When `command::Reconnect` last caused a dial.
    hurried: Option<Instant>,
    /// When something that goes on and on was last warned of.
    warned: Option<Instant>,
    /// Dropped messages that were warned of.
    told_dropped: u64,
    /// Who runs the connection, and waits for the end of that.
    ended: Option<oneshot::Sender<Outcome>>,
    /// Who asked for the end, and waits for it.
    askers: Vec<Slot<Outcome>>,
    /// How the run ended.
    outcome: Option<Outcome>,
}

/// What a connection is about, with all that lives as long.
enum Life {
    /// Until the time of the next dial.
    Waiting(Due),
    Dialling(Pin<Box<dyn Future<Output = Result<Opened, Error>>>>),
    Live(Box<Live>),
    /// Until `command::Resume`.
    Paused,
    Closed,
}

/// When a dial begins.
enum Due {
    /// In the next life: in this one nothing begins, for want of a runtime or because it is over.
    Later,
    /// In this poll.
    Now,
    At(Pin<Box<Sleep>>),
}

/// What the end of a socket leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intent {
    /// To what the verdict and the policy say.
    Stay,
    /// To a dial at once.
    Hurry,
    /// To `Paused`.
    Pause,
    /// To `Closed`.
    Finish,
}

/// What comes after a loss.
struct Decision {
    next: Next,
    /// What it makes of the run, if nothing comes.
    kind: OutcomeKind,
    /// A failure of the policy itself.
    fault: Option<Error>,
}

/// How a socket ended.
struct Ended {
    /// Why, unless it was by a Close frame.
    error: Option<Error>,
    closure: Closure,
    /// When it was opened.
    opened: Instant,
    /// When it was found to be over.
    at: Instant,
}

/// No dial begins while more events than this wait for the handlers.
const BACKLOG: usize = 32;

/// `command::Reconnect` leads to no more than one dial in this time.
const HURRY: Duration = Duration::from_secs(1);

impl Connection {
    /// Begins to build a connection to a `ws` or `wss` URL (RFC 6455, 3), which is checked by
    /// `start`. User info becomes `Authorization: Basic`; a fragment is dropped; path and query are
    /// percent-encoded where they need it, and the path is at least `/`.
    pub fn builder(url: impl Into<String>) -> ConnectionBuilder {
        ConnectionBuilder::new(url.into())
    }

    fn new(
        plan: Arc<Plan>,
        schedule: Schedule,
        source: SourceId,
        watch: Watch,
        handlers: Handlers,
        ended: Option<oneshot::Sender<Outcome>>,
    ) -> Connection {
        let now = Instant::now();
        let (overflow, room) = (plan.options.overflow, plan.options.read_ahead);
        let delivery = Delivery::new(handlers, overflow, room);
        Connection {
            plan,
            jar: None,
            source,
            lane: LaneEnd::default(),
            watch,
            delivery,
            waiting: None,
            schedule,
            life: Life::Waiting(Due::Later),
            phase: Phase::Waiting,
            phase_since: now,
            intent: Intent::Stay,
            hastened: false,
            epoch: 0,
            attempts: 0,
            attempts_down: 0,
            past: ended.map(|ended| Box::new(Past { ended: Some(ended), ..Past::default() })),
        }
    }

    fn tell<E: Queued>(&mut self, event: E) {
        self.delivery.push(event);
    }

    fn enter(&mut self, phase: Phase) {
        self.enter_at(phase, Instant::now);
    }

    fn enter_at(&mut self, phase: Phase, now: impl FnOnce() -> Instant) {
        if self.phase == phase {
            return;
        }
        tracing::debug!(source = %self.source, %phase, epoch = self.epoch, "phase");
        self.phase = phase;
        self.phase_since = now();
        self.watch.set_phase(phase);
        let since = self.phase_since.into_std();
        self.tell(event::State { source: self.source, epoch: self.epoch, phase, since });
    }

    /// Begins the one dial that is under way at a time.
    fn begin_dial(&mut self) {
        let now = Instant::now();
        self.schedule.dialling(now.into_std());
        if mem::take(&mut self.hastened) {
            self.past().hurried = Some(now);
        }
        self.attempts += 1;
        self.attempts_down += 1;
        self.watch.set(Gauge::Attempts, self.attempts);
        self.enter_at(Phase::Connecting, || now);
        let attempt = Attempt::new(self.schedule.attempt(), self.last_error());
        let jar = self.jar.get_or_insert_default().clone();
        let clock = Clock::new(Stage::Dns, now);
        self.life = Life::Dialling(Box::pin(dial(self.plan.clone(), attempt, jar, clock)));
    }

    /// A dial has succeeded: a new epoch begins.
    fn opened(&mut self, opened: Opened) {
        // The time was asked for when the last stage ended, in this poll.
        let now = self.phase_since + opened.handshake.timings.sum();
        self.epoch += 1;
        self.schedule.opened(now.into_std());
        self.watch.set_epoch(self.epoch);
        let attempts = mem::take(&mut self.attempts_down);
        let down = self.past.as_mut().and_then(|past| past.down.take());
        let outage = down.map(|(since, cause)| {
            Box::new(event::Outage::new(attempts, now.duration_since(since), cause))
        });
        self.jar.take_if(|jar| jar.borrow().is_empty());
        let handshake = opened.handshake;
        let name = self.plan.options.name.as_deref();
        tracing::info!(source = %self.source, name, epoch = self.epoch, attempts, "open");
        let options = self.plan.options.clone();
        let (link, leftover) = (opened.link, opened.leftover);
        let codec = options.codec(opened.deflate, self.delivery.by_fragment());
        let codec = trace::traced(codec, self.source, self.epoch);
        let opening = Opening { at: now, handshake, attempts, outage };
        let listener = self.lane.listener();
        let live = Live::new(self.epoch, opening, link, leftover, codec, options, listener);
        self.life = Life::Live(Box::new(live));
        self.enter_at(Phase::Open, || now);
        let Some(open) = self.open_event() else {
            return;
        };
        if self.epoch > 1 {
            self.tell(event::Reconnect(open.clone()));
        }
        self.tell(open);
    }

    /// How the socket was opened that is open.
    fn opening(&self) -> Option<&Opening> {
        if let Life::Live(live) = &self.life { Some(live.opening()) } else { None }
    }

    /// The event of the socket that is open.
    fn open_event(&self) -> Option<event::Open> {
        let opening = self.opening()?;
        Some(event::Open {
            source: self.source,
            epoch: self.epoch,
            name: self.plan.options.name.clone(),
            connection: self.lane.handle(),
            handshake: opening.handshake.clone(),
            attempts: opening.attempts,
            outage: opening.outage.as_deref().cloned(),
        })
    }

    fn past(&mut self) -> &mut Past {
        self.past.get_or_insert_default()
    }

    /// How the run ended, if it has.
    fn outcome(&self) -> Option<&Outcome> {
        self.past.as_ref()?.outcome.as_ref()
    }

    fn next_dial(&self) -> Instant {
        self.past.as_ref().and_then(|past| past.next_dial).unwrap_or_else(Instant::now)
    }

    fn last_error(&self) -> Option<Error> {
        self.past.as_ref().and_then(|past| past.last_error.clone())
    }

    /// The one door through which everything goes that was lost: a dial (`ended` has only an error)
    /// or a socket. Tells the handlers, and decides what comes next.
    fn lost(&mut self, error: Option<Error>, socket: Option<Ended>, ctx: &mut Context<Connection>) {
        let now = socket.as_ref().map_or_else(Instant::now, |socket| socket.at);
        let attempt = self.schedule.attempt();
        let socket_lost = socket.is_some();
        let cause = error.clone().or_else(|| socket.as_ref().map(Ended::cause));
        let Decision { next, kind, fault } = self.decide(now, cause.as_ref(), socket.as_ref());
        // A policy that fails for good is told as the failure, whatever it was asked about.
        let error = fault.or(error);
        if let Some(error) = &error
            && self.intent != Intent::Finish
        {
            tracing::warn!(source = %self.source, attempt, %error, ?next, "failed");
            self.past().last_error = Some(error.clone());
            let (source, epoch) = (self.source, self.epoch);
            self.tell(event::Error { source, epoch, error: error.clone(), attempt, next });
        }
        if let Some(ended) = socket {
            self.tell_close(ended, next, now);
        }
        if socket_lost {
            let cause = cause.filter(|_| self.intent == Intent::Stay);
            self.past().down = Some((now, cause));
        }
        match next {
            Next::Retry { after, .. } => {
                self.past().next_dial = Some(now.checked_add(after).unwrap_or(now));
                self.intent = Intent::Stay;
                self.enter_at(Phase::Waiting, || now);
                ctx.stop();
            }
            Next::Stop if self.intent == Intent::Pause => self.paused(),
            Next::Stop => {
                let error = error.filter(|_| kind != OutcomeKind::Closed);
                self.closed(kind, error, now);
            }
        }
    }

    fn tell_close(&mut self, ended: Ended, next: Next, now: Instant) {
        self.past().last_closure = Some(ended.closure.clone());
        let Closure { code, reason, clean, by } = ended.closure;
        tracing::info!(source = %self.source, epoch = self.epoch, %code, clean, "closed");
        let (source, epoch, lasted) = (self.source, self.epoch, now.duration_since(ended.opened));
        self.tell(event::Close { source, epoch, code, reason, clean, by, lasted, next });
    }

    /// What comes after a loss, and what it makes of the run if nothing does.
    fn decide(&mut self, now: Instant, cause: Option<&Error>, socket: Option<&Ended>) -> Decision {
        let stop = |kind| Decision { next: Next::Stop, kind, fault: None };
        if matches!(self.intent, Intent::Finish | Intent::Pause) {
            return stop(OutcomeKind::Closed);
        }
        let fault = |words: &str| {
            let fault = Some(Error::Handler(words.into()));
            Decision { fault, ..stop(OutcomeKind::Refused) }
        };
        let hurry = self.intent == Intent::Hurry;
        let mut hint = Hint::default();
        let judged = catch_unwind(AssertUnwindSafe(|| self.judge(cause)));
        match judged {
            _ if hurry => {}
            Err(_) => return fault("`retry_if` panicked"),
            Ok(Verdict::Stop) => return stop(OutcomeKind::Refused),
            Ok(Verdict::Retry { .. }) if self.stays_closed(socket) => {
                return stop(OutcomeKind::Closed);
            }
            Ok(Verdict::Retry { at_least, from_cap }) => {
                hint.at_least = at_least;
                hint.from_cap = from_cap;
            }
        }
        let schedule = &mut self.schedule;
        let plan = AssertUnwindSafe(|| schedule.lost(now.into_std(), hint, &mut rand::rng()));
        let (after, attempt) = match catch_unwind(plan) {
            Ok(backoff::Next::Retry { after, attempt }) => (after, attempt),
            Ok(backoff::Next::GiveUp) if hurry => (Duration::ZERO, self.schedule.attempt() + 1),
            Ok(backoff::Next::GiveUp) => return stop(self.given_up(socket)),
            Err(_) => return fault("the reconnect policy panicked"),
        };
        self.hastened = hurry;
        let after = if hurry { self.hurry(now) } else { after };
        Decision { next: Next::Retry { after, attempt }, kind: OutcomeKind::Failed, fault: None }
    }

    fn judge(&self, cause: Option<&Error>) -> Verdict {
        match (cause, &self.plan.options.retry_if) {
            (None, _) => Verdict::RETRY,
            (Some(error), Some(own)) => own.judge(error),
            (Some(error), None) => error.verdict(),
        }
    }

    /// Whether the server closed cleanly, and that is to be the end.
    fn stays_closed(&self, socket: Option<&Ended>) -> bool {
        !self.plan.options.reconnect_on_close && socket.is_some_and(Ended::is_clean_remote)
    }

    fn given_up(&self, socket: Option<&Ended>) -> OutcomeKind {
        let clean_remote = socket.is_some_and(Ended::is_clean_remote);
        match self.plan.options.reconnect.is_never() {
            true if clean_remote => OutcomeKind::Closed,
            true => OutcomeKind::Failed,
            false => OutcomeKind::GaveUp,
        }
    }

    /// No socket and no timer until `command::Resume`.
    fn paused(&mut self) {
        self.intent = Intent::Stay;
        self.life = Life::Paused;
        self.enter(Phase::Paused);
    }

    /// How long a dial that was asked for has to wait.
    fn hurry(&self, now: Instant) -> Duration {
        let next =
            self.past.as_ref().and_then(|past| past.hurried).map_or(now, |last| last + HURRY);
        next.saturating_duration_since(now).max(self.schedule.hold(now.into_std()))
    }

    /// The end of the run: no socket, no timer, no dial. The handlers are let go of once they have
    /// been told.
    fn closed(&mut self, kind: OutcomeKind, error: Option<Error>, now: Instant) {
        let outcome = self.result(kind, error);
        self.life = Life::Closed;
        self.enter_at(Phase::Closed, || now);
        let past = self.past();
        past.outcome = Some(outcome.clone());
        let (ended, askers) = (past.ended.take(), mem::take(&mut past.askers));
        tell(ended, outcome.clone());
        tell_askers(askers, &outcome);
        self.tell(event::Stopped { source: self.source, epoch: self.epoch, outcome });
    }

    fn result(&self, kind: OutcomeKind, error: Option<Error>) -> Outcome {
        let last = self.past.as_ref().and_then(|past| past.last_closure.as_ref());
        Outcome {
            kind,
            error,
            close: last.map(|closure| (closure.code, closure.reason.clone())),
            by: last.map_or(By::Nobody, |closure| closure.by),
            epochs: self.epoch,
            attempts: self.attempts,
        }
    }

    /// Begins to close for good, in whatever phase this is.
    fn finish(&mut self, frame: Option<CloseFrame>, deadline: Duration) {
        match &mut self.life {
            Life::Closed => {}
            Life::Live(live) => {
                let now = Instant::now();
                live.close(frame, deadline, now);
                self.intent = Intent::Finish;
                self.enter_at(Phase::Closing, || now);
            }
            Life::Waiting(_) | Life::Dialling(_) | Life::Paused => {
                self.intent = Intent::Finish;
                self.closed(OutcomeKind::Closed, None, Instant::now());
            }
        }
    }

    /// The last `Addr` has gone.
    fn orphaned(&mut self) {
        let frame = CloseFrame::new(CloseCode::GOING_AWAY, "").expect("1001 may be sent");
        self.finish(Some(frame), self.plan.options.close_timeout);
    }

    /// Makes room for the next life: everything that lived as long as the socket goes with it.
    fn schedule_dial(&mut self) {
        // A timer takes a millisecond at least. A retry is worth that, also when it is due: dials that
        // fail at once, under a policy without delays, would never let go of the thread.
        let may_be_now = self.attempts == 0 || self.hastened;
        let at = self.past.as_ref().and_then(|past| past.next_dial);
        let is_due = || at.is_none_or(|at| at <= Instant::now());
        let due = match tokio::runtime::Handle::try_current() {
            Err(_) => Due::Later,
            Ok(_) if may_be_now && is_due() => Due::Now,
            Ok(_) => Due::At(Box::pin(sleep_until(at.unwrap_or_else(Instant::now)))),
        };
        self.life = Life::Waiting(due);
    }

    /// Whether a second has passed since the last warning.
    fn may_warn(&mut self) -> bool {
        let now = Instant::now();
        let warned = self.past.as_ref().and_then(|past| past.warned);
        let due = warned.is_none_or(|last| now.duration_since(last) >= HURRY);
        if due {
            self.past().warned = Some(now);
        }
        due
    }

    fn store_figures(&mut self) {
        let dropped = self.delivery.dropped();
        let told = self.past.as_ref().map_or(0, |past| past.told_dropped);
        if dropped != told && self.may_warn() {
            self.past().told_dropped = dropped;
            tracing::warn!(source = %self.source, dropped, "handlers are too slow");
        }
        let watch = &self.watch;
        watch.set(Gauge::QueuedEvents, self.delivery.events() as u64);
        watch.set(Gauge::QueuedBytes, self.delivery.cost() as u64);
        watch.set(Gauge::Dropped, self.delivery.dropped());
        let unsent = if let Life::Live(live) = &self.life { live.unsent() } else { 0 };
        watch.set(Gauge::UnsentBytes, unsent as u64);
    }
}

fn tell_askers(askers: Vec<Slot<Outcome>>, outcome: &Outcome) {
    for asker in askers {
        tell(asker.take(), outcome.clone());
    }
}

impl Drop for Connection {
    /// Where the whole system ends before the run does, it is left to say how far that came.
    fn drop(&mut self) {
        let askers = self.past.as_mut().map(|past| mem::take(&mut past.askers));
        if let Some(askers) = askers.filter(|askers| !askers.is_empty()) {
            tell_askers(askers, &self.result(OutcomeKind::Closed, None));
        }
    }
}

impl Ended {
    fn is_clean_remote(&self) -> bool {
        self.closure.clean && self.closure.by == By::Remote
    }

    /// The cause of an outage that a Close frame began.
    fn cause(&self) -> Error {
        let frame = CloseFrame::new(self.closure.code, self.closure.reason.clone());
        Error::Closed(frame.ok())
    }
}

impl Actor for Connection {
    type Context = Context<Connection>;

    fn started(&mut self, ctx: &mut Context<Connection>) {
        if self.outcome().is_none() {
            self.schedule_dial();
        }
        ctx.spawn(Pulse);
    }

    fn stopped(&mut self, ctx: &mut Context<Connection>) {
        // Between two lives an address is left; at the end of the last one none is.
        if !ctx.connected() {
            self.delivery.hand_over();
        }
    }
}

impl Supervised for Connection {
    fn restarting(&mut self, _ctx: &mut Context<Connection>) {
        if !matches!(self.life, Life::Closed | Life::Paused) {
            self.life = Life::Waiting(Due::Later);
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("source", &self.source)
            .field("phase", &self.phase)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}
