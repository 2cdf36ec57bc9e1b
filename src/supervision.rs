//! What a connection does next: the life of its sockets as one state machine.
//!
//! It holds no socket, timer or actor and reads no clock. `connection/` reports what happened and
//! when, and carries out the [`Effect`]s that it gets back.

mod effect;

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use crate::backoff::{self, Hint, Schedule};
use crate::closure;
use crate::command::Closed;
use crate::command::status::{Outcome, OutcomeKind, Phase, SourceId, Unsent};
use crate::error::{Error, Verdict};
use crate::event::{self, Next};
use crate::options::{Attempt, Options};
use crate::proto::close::{CloseCode, CloseFrame};
use crate::proto::session::{By, Closure};

pub(crate) use crate::supervision::effect::{Ask, Effect, Effects, Loss, Opened};

/// The life of one connection, from its start to `Stopped`.
#[derive(Debug)]
pub(crate) struct Supervision {
    source: SourceId,
    options: Arc<Options>,
    /// The reconnection policy and its guards.
    schedule: Schedule,
    state: State,
    /// When the current phase began.
    since: Instant,
    /// The number of the newest opened socket, from 1; 0 before the first.
    epoch: u64,
    /// The number of dials so far.
    dials: u64,
    /// The number of dials since a socket was last open.
    dials_since_open: u32,
    /// Whether the last dial failed by what is final when it occurs twice in a row.
    unconfirmed: bool,
    /// Allocated when there is something to remember.
    history: Option<Box<History>>,
}

/// What the connection is doing now: the one variable that the transitions change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No dial before it is due. `asked` is whether a command asked for the dial.
    Waiting {
        due: Due,
        asked: bool,
    },
    Dialling,
    Open,
    /// The closing handshake is under way, or a breach is being answered.
    Closing(Then),
    /// No dial until `command::Resume`.
    Paused,
    Closed,
}

/// When a dial may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// In this poll, without a timer: the first dial, and one that a command asked for.
    AtOnce,
    /// After a timer. Every retry has one, also when it is due already: it takes a millisecond at
    /// least, so that a loop of dials that fail at once yields the thread.
    At(Instant),
}

/// What the end of a closing socket leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// What verdict and policy say.
    Decide,
    /// A dial, as soon as the limits allow it.
    Dial,
    Pause,
    Close,
}

/// What transitions need to know of earlier ones.
#[derive(Debug, Default)]
struct History {
    /// When the last socket was lost, and the cause; until the next one is open.
    outage: Option<(Instant, Option<Error>)>,
    last_error: Option<Error>,
    last_closure: Option<Closure>,
    /// What was not sent on the socket that ended last.
    unsent: Unsent,
    /// When the newest dial began that a command asked for.
    asked_dial: Option<Instant>,
    /// Why the run is ended, if no command and no loss ended it.
    fault: Option<Error>,
    outcome: Option<Outcome>,
}

/// What follows a loss.
struct Decision {
    next: Next,
    /// What the run ends as, if `next` is to stop.
    kind: OutcomeKind,
    /// Set if a closure of the application panicked.
    fault: Option<Error>,
}

/// The most bytes of a refusal's body that are kept with the last error while a socket is open.
const MAX_KEPT_BODY: usize = 2 << 10;

/// The least time between two dials that commands asked for.
const ASKED_DIAL_INTERVAL: Duration = Duration::from_secs(1);

impl Supervision {
    pub(crate) fn new(
        source: SourceId,
        options: Arc<Options>,
        schedule: Schedule,
        now: Instant,
    ) -> Supervision {
        Supervision {
            source,
            options,
            schedule,
            state: State::Waiting { due: Due::AtOnce, asked: false },
            since: now,
            epoch: 0,
            dials: 0,
            dials_since_open: 0,
            unconfirmed: false,
            history: None,
        }
    }

    /// Returns when the next dial is due; `None` if the state leads to none.
    pub(crate) fn next_dial(&self) -> Option<Due> {
        if let State::Waiting { due, .. } = self.state { Some(due) } else { None }
    }

    /// Begins a dial if one is due now.
    pub(crate) fn due(&mut self, now: Instant) -> Effects {
        let State::Waiting { due, asked } = self.state else {
            return Vec::new();
        };
        if matches!(due, Due::At(at) if at > now) {
            return vec![Effect::Schedule];
        }
        self.schedule.dialling(now.into_std());
        if asked {
            self.history().asked_dial = Some(now);
        }
        self.dials += 1;
        self.dials_since_open += 1;
        let mut effects = Vec::with_capacity(2);
        self.enter(State::Dialling, now, &mut effects);
        effects.push(Effect::Dial(Attempt::new(self.schedule.attempt(), self.last_error())));
        effects
    }

    /// The dial succeeded: a new epoch begins.
    pub(crate) fn opened(&mut self, now: Instant) -> Opened {
        debug_assert_eq!(self.state, State::Dialling);
        self.epoch += 1;
        self.schedule.opened(now.into_std());
        if let Some(history) = &mut self.history {
            history.last_error = history.last_error.take().map(|error| error.cut(MAX_KEPT_BODY));
        }
        let attempts = std::mem::take(&mut self.dials_since_open);
        let outage = self.history.as_mut().and_then(|history| history.outage.take());
        let outage = outage.map(|(since, cause)| {
            Box::new(event::Outage::new(attempts, now.duration_since(since), cause))
        });
        let mut effects = Vec::with_capacity(1);
        self.enter(State::Open, now, &mut effects);
        Opened { attempts, outage, effects }
    }

    /// Counts the open socket as stable. Returns `false`, and does nothing, if it is not the newest one, or has
    /// ended.
    pub(crate) fn settled(&mut self, epoch: u64) -> bool {
        let is_open = epoch == self.epoch && matches!(self.state, State::Open | State::Closing(_));
        if is_open {
            self.schedule.settled();
        }
        is_open
    }

    /// The open socket began to close, and no command asked for that.
    pub(crate) fn closing(&mut self, now: Instant) -> Effects {
        let mut effects = Vec::new();
        if self.state == State::Open {
            self.enter(State::Closing(Then::Decide), now, &mut effects);
        }
        effects
    }

    /// A dial failed or a socket ended: every loss comes through here.
    ///
    /// One function, because the order is the contract: decide, since the events say what comes next; then
    /// `Error`, `Close`, and the next state.
    pub(crate) fn lost(&mut self, mut loss: Loss, now: Instant, rng: &mut dyn Rng) -> Effects {
        self.confirm(&mut loss);
        let then = if let State::Closing(then) = self.state { then } else { Then::Decide };
        // Read before the decision, which sets it to 0 if the socket was stable.
        let attempt = self.schedule.attempt();
        let Decision { next, kind, fault } = self.decide(then, &loss, now, rng);
        let cause = Some(loss.cause()).filter(|_| then == Then::Decide);
        let (error, socket) = match loss {
            Loss::Dial(error) => (Some(error), None),
            Loss::Socket { error, closure, unsent, opened } => {
                (error, Some((closure, unsent, opened)))
            }
        };
        // A panic in a closure is reported in place of the loss that the closure was asked about.
        let error = fault.or(error);
        let (source, epoch, mut effects) = (self.source, self.epoch, Vec::with_capacity(4));
        if let Some(error) = error.clone() {
            self.history().last_error = Some(error.clone());
            let name = self.options.name.clone();
            effects.push(Effect::Error(event::Error { source, epoch, name, error, attempt, next }));
        }
        if let Some((closure, unsent, opened)) = socket {
            let history = self.history();
            history.outage = Some((now, cause));
            (history.last_closure, history.unsent) = (Some(closure.clone()), unsent);
            let Closure { code, reason, clean, by, peer } = closure;
            let lasted = now.duration_since(opened);
            effects.push(Effect::Close(event::Close {
                source,
                epoch,
                name: self.options.name.clone(),
                attempt,
                code,
                reason,
                clean,
                by,
                unsent_messages: unsent.messages,
                unsent_bytes: unsent.bytes,
                peer,
                lasted,
                next,
            }));
        }
        match next {
            Next::Retry { after, .. } => {
                let asked = then == Then::Dial;
                let at = now.checked_add(after).unwrap_or(now);
                let due = if asked && at == now { Due::AtOnce } else { Due::At(at) };
                self.enter(State::Waiting { due, asked }, now, &mut effects);
                effects.push(Effect::Restart);
            }
            // Unless the policy panicked.
            Next::Stop if then == Then::Pause && kind == OutcomeKind::Closed => {
                self.enter(State::Paused, now, &mut effects)
            }
            Next::Stop => self.stop(self.outcome_of(kind, error), now, &mut effects),
        }
        effects
    }

    /// Makes a failure of TLS final if the dial before failed in such a way too.
    fn confirm(&mut self, loss: &mut Loss) {
        let error = if let Loss::Dial(error) = loss { error.unconfirmed() } else { None };
        let again = std::mem::replace(&mut self.unconfirmed, error.is_some());
        if let Some(error) = error.filter(|_| again) {
            error.confirm();
        }
    }

    /// Decides what follows a loss: asks for the verdict, then for the policy's delay. Either may
    /// end the run, so that the order of the questions matters: they stand in one function.
    fn decide(&mut self, then: Then, loss: &Loss, now: Instant, rng: &mut dyn Rng) -> Decision {
        let stop = |kind| Decision { next: Next::Stop, kind, fault: None };
        let panicked = |text: &str| {
            let fault = Some(Error::Handler(text.into()));
            Decision { fault, ..stop(OutcomeKind::Refused) }
        };
        let policy_panicked = || panicked("the reconnect policy panicked");
        let mut hint = Hint::default();
        match then {
            Then::Close => return stop(OutcomeKind::Closed),
            // The life of the socket ends here, and not at the next dial: the pause is none of it.
            Then::Pause => {
                return match closure::contain(|| self.schedule.paused(now.into_std())) {
                    Some(()) => stop(OutcomeKind::Closed),
                    None => policy_panicked(),
                };
            }
            // A command asked for this dial: no verdict and no `reconnect_on_close` forbids it.
            Then::Dial => {}
            Then::Decide => match closure::contain(|| self.judge(&loss.cause())) {
                None => return panicked("`retry_if` panicked"),
                Some(Verdict::Stop) => return stop(OutcomeKind::Refused),
                // After the verdict: a close code that refuses us ends the run as refused.
                Some(_) if !self.options.reconnect_on_close && loss.is_clean_remote() => {
                    return stop(OutcomeKind::Closed);
                }
                Some(Verdict::Retry { at_least, from_cap }) => {
                    hint.at_least = at_least;
                    hint.from_cap = from_cap;
                }
            },
        }
        // Asked also before a dial that a command asked for: it ends the life that was lost, and
        // that dial is one of the policy's.
        let after = match closure::contain(|| self.schedule.lost(now.into_std(), hint, rng)) {
            None => return policy_panicked(),
            Some(_) if then == Then::Dial => self.hold(now),
            Some(backoff::Next::Retry { after, .. }) => after,
            Some(backoff::Next::GiveUp) => return stop(self.given_up(loss)),
        };
        let attempt = self.schedule.attempt().saturating_add(1);
        Decision { next: Next::Retry { after, attempt }, kind: OutcomeKind::Failed, fault: None }
    }

    fn judge(&self, cause: &Error) -> Verdict {
        let retry_if = self.options.retry_if.as_ref();
        retry_if.map_or_else(|| cause.verdict(), |retry_if| retry_if.judge(cause))
    }

    /// Returns what the run ends as when the policy allows no further dial.
    fn given_up(&self, loss: &Loss) -> OutcomeKind {
        match self.options.reconnect.is_never() {
            true if loss.is_clean_remote() => OutcomeKind::Closed,
            true => OutcomeKind::Failed,
            false => OutcomeKind::GaveUp,
        }
    }

    /// Does what a command asks for, in whatever state this is.
    ///
    /// One match over command and state, so that a missing pair does not compile.
    ///
    /// # Errors
    /// When the connection is closed for good, or is closing for good and the command is not another
    /// `Close`.
    pub(crate) fn asked(&mut self, ask: Ask, now: Instant) -> Result<Effects, Closed> {
        let mut effects = Vec::new();
        match (ask, self.state) {
            (Ask::Close { frame, deadline }, State::Open | State::Closing(_)) => {
                effects.push(Effect::CloseSocket { frame, deadline });
                self.enter(State::Closing(Then::Close), now, &mut effects);
            }
            (Ask::Close { .. }, State::Waiting { .. } | State::Dialling | State::Paused) => {
                effects.push(Effect::Cancel);
                self.stop(self.closed_now(), now, &mut effects);
            }
            (_, State::Closed | State::Closing(Then::Close)) => return Err(Closed),
            (Ask::Pause, State::Open | State::Closing(_)) => {
                self.close_socket(Then::Pause, now, &mut effects);
            }
            (Ask::Pause, State::Waiting { .. } | State::Dialling) => {
                effects.push(Effect::Cancel);
                self.enter(State::Paused, now, &mut effects);
            }
            (Ask::Reconnect, State::Open | State::Closing(Then::Decide | Then::Dial))
            | (Ask::Resume, State::Closing(Then::Pause)) => {
                self.close_socket(Then::Dial, now, &mut effects);
            }
            (Ask::Reconnect, State::Waiting { due, .. }) => {
                self.dial_soon(Some(due), now, &mut effects);
            }
            (Ask::Resume, State::Paused) => self.dial_soon(None, now, &mut effects),
            // A dial that is under way is soon enough. Only `Resume` ends a pause, also one whose
            // socket is still closing.
            (Ask::Reconnect, State::Dialling | State::Paused | State::Closing(Then::Pause))
            | (Ask::Pause, State::Paused)
            | (Ask::Resume, _) => {}
        }
        Ok(effects)
    }

    /// Ends the run as refused, with this error, because events have no handler any more. An open socket is
    /// closed with 1001. Does nothing where the run ends already.
    pub(crate) fn unheard(&mut self, error: Error, now: Instant) -> Effects {
        if self.is_ending() {
            return Vec::new();
        }
        self.history().fault = Some(error);
        let frame = CloseFrame::new(CloseCode::GOING_AWAY, "no handler is left");
        let ask = Ask::Close { frame: frame.ok(), deadline: self.options.close_timeout };
        self.asked(ask, now).unwrap_or_default()
    }

    /// Whether the run has ended, or ends with the socket that is closing, because a command asked for that.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.state, State::Closed | State::Closing(Then::Close))
    }

    /// Closes the open socket with 1000, for something other than the end.
    fn close_socket(&mut self, then: Then, now: Instant, effects: &mut Effects) {
        let frame = CloseFrame::new(CloseCode::NORMAL, "").expect("1000 may be sent");
        let deadline = self.options.close_timeout;
        effects.push(Effect::CloseSocket { frame: Some(frame), deadline });
        self.enter(State::Closing(then), now, effects);
    }

    /// Moves the next dial to as soon as the limits allow it, unless it is `due` earlier.
    fn dial_soon(&mut self, due: Option<Due>, now: Instant, effects: &mut Effects) {
        let hold = self.hold(now);
        let soon = if hold.is_zero() { Due::AtOnce } else { Due::At(now + hold) };
        if due.is_none_or(|due| soon <= due) {
            self.enter(State::Waiting { due: soon, asked: true }, now, effects);
            effects.push(Effect::Schedule);
        }
    }

    /// Returns how long a dial that a command asks for has to wait: for a second since the last such dial,
    /// and for room in the dial limit.
    fn hold(&self, now: Instant) -> Duration {
        let last = self.history.as_ref().and_then(|history| history.asked_dial);
        let free = last.map_or(now, |last| last + ASKED_DIAL_INTERVAL);
        free.saturating_duration_since(now).max(self.schedule.hold(now.into_std()))
    }

    /// Ends the run.
    fn stop(&mut self, outcome: Outcome, now: Instant, effects: &mut Effects) {
        self.enter(State::Closed, now, effects);
        self.history().outcome = Some(outcome.clone());
        let (source, epoch) = (self.source, self.epoch);
        effects.push(Effect::Stopped(event::Stopped { source, epoch, outcome }));
    }

    /// Returns the outcome of a run that ends now. Only a failed run has an error.
    fn outcome_of(&self, kind: OutcomeKind, error: Option<Error>) -> Outcome {
        let history = self.history.as_ref();
        let last = history.and_then(|history| history.last_closure.as_ref());
        let unsent = history.map(|history| history.unsent).unwrap_or_default();
        let fault = history.and_then(|history| history.fault.clone());
        let kind = if fault.is_some() { OutcomeKind::Refused } else { kind };
        let error = fault.or(error);
        Outcome {
            kind,
            error: error.filter(|_| kind != OutcomeKind::Closed),
            close: last.map(|closure| (closure.code, closure.reason.clone())),
            by: last.map_or(By::Nobody, |closure| closure.by),
            clean: last.is_some_and(|closure| closure.clean),
            unsent_messages: unsent.messages,
            unsent_bytes: unsent.bytes,
            peer: last.and_then(|closure| closure.peer.clone()),
            epochs: self.epoch,
            attempts: self.dials,
        }
    }

    /// Returns the outcome of a run that is closed now.
    pub(crate) fn closed_now(&self) -> Outcome {
        self.outcome_of(OutcomeKind::Closed, None)
    }

    /// Changes the state, and reports the phase if that is another one now.
    fn enter(&mut self, state: State, now: Instant, effects: &mut Effects) {
        let before = self.phase();
        self.state = state;
        let phase = self.phase();
        if phase != before {
            self.since = now;
            let (source, epoch, since) = (self.source, self.epoch, now.into_std());
            effects.push(Effect::State(event::State { source, epoch, phase, since }));
        }
    }

    fn history(&mut self) -> &mut History {
        self.history.get_or_insert_default()
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.state {
            State::Waiting { .. } => Phase::Waiting,
            State::Dialling => Phase::Connecting,
            State::Open => Phase::Open,
            State::Closing(_) => Phase::Closing,
            State::Paused => Phase::Paused,
            State::Closed => Phase::Closed,
        }
    }

    /// Returns when the current phase began.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Returns the number of the newest opened socket, from 1; 0 before the first.
    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the number of dials so far.
    pub(crate) fn dials(&self) -> u64 {
        self.dials
    }

    /// Returns the number of the newest dial since the last stable socket, from 1; 0 before the first.
    pub(crate) fn attempt(&self) -> u32 {
        self.schedule.attempt()
    }

    pub(crate) fn last_error(&self) -> Option<Error> {
        self.history.as_ref().and_then(|history| history.last_error.clone())
    }

    pub(crate) fn last_closure(&self) -> Option<Closure> {
        self.history.as_ref().and_then(|history| history.last_closure.clone())
    }

    /// Returns how the run ended, if it has.
    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        self.history.as_ref()?.outcome.as_ref()
    }
}

#[cfg(test)]
mod tests;
