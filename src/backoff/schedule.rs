//! The schedule: a policy and its guards, running for one connection.

use std::fmt;
use std::time::{Duration, Instant};

use rand::Rng;

use super::guards::{DialLimit, Guards, Window};
use super::policy::{DelayKind, Reconnect, Running};

/// The running state of a policy and its guards, for one connection.
///
/// Call [`dialling`](Schedule::dialling) when a dial begins, [`opened`](Schedule::opened) if it
/// succeeds, and [`lost`](Schedule::lost) when it fails or the socket is lost; `lost` returns when
/// the next dial is due. If none is to follow for now, call [`paused`](Schedule::paused) instead: the pause
/// would count as a part of the socket's life otherwise.
pub struct Schedule {
    /// The delays between dials, as configured.
    policy: Reconnect,
    /// The limits around the policy, as configured.
    guards: Guards,
    /// The running state of the policy.
    running: Running,
    /// The dials that count against the dial limit; none if there is no limit.
    dials: Dials,
    /// The number of dials since the last stable socket.
    attempt: u32,
    /// When the open socket was opened; `None` if no socket is open.
    opened: Option<Instant>,
    /// Whether the open socket counts as stable, however long it was open.
    settled: bool,
}

/// The dials that count against a limit. A single dial, which most connections never exceed, needs
/// no allocation.
#[derive(Debug)]
enum Dials {
    None,
    One(Instant),
    Many(Box<Window>),
}

impl Dials {
    fn window(limit: DialLimit, dial: Instant) -> Window {
        let mut window = Window::new(limit);
        window.dialling(dial);
        window
    }

    fn dialling(&mut self, limit: DialLimit, now: Instant) {
        match self {
            Dials::None => *self = Dials::One(now),
            Dials::One(first) => {
                let mut window = Dials::window(limit, *first);
                window.dialling(now);
                *self = Dials::Many(Box::new(window));
            }
            Dials::Many(window) => window.dialling(now),
        }
    }

    fn hold(&self, limit: DialLimit, now: Instant) -> Duration {
        match self {
            Dials::None => Duration::ZERO,
            Dials::One(first) => Dials::window(limit, *first).hold(now),
            Dials::Many(window) => window.hold(now),
        }
    }
}

impl Schedule {
    /// Creates the schedule of a connection that has not dialled yet. Its first dial is due at
    /// once.
    #[must_use]
    pub fn new(policy: &Reconnect, guards: Guards) -> Schedule {
        Schedule {
            running: policy.run(),
            policy: policy.clone(),
            guards,
            dials: Dials::None,
            attempt: 0,
            opened: None,
            settled: false,
        }
    }

    /// Records that a dial begins, whether or not [`lost`](Schedule::lost) scheduled it. Returns
    /// its number since the last stable socket, from 1.
    ///
    /// If a socket is still open, its life ends here.
    pub fn dialling(&mut self, now: Instant) -> u32 {
        self.end_life(now);
        if let Some(limit) = self.limit() {
            self.dials.dialling(limit, now);
        }
        self.attempt = self.attempt.saturating_add(1);
        self.attempt
    }

    /// Records that the dial has opened a socket. Nothing starts over yet.
    pub fn opened(&mut self, now: Instant) {
        self.opened = Some(now);
        self.settled = false;
    }

    /// Records that the open socket serves its purpose: it counts as stable from now on, before
    /// [`Guards::stable_after`] has passed.
    pub fn settled(&mut self) {
        self.settled = true;
    }

    /// Records that a dial failed or that the open socket was lost, and returns what to do next.
    ///
    /// The rules, in this order:
    ///
    /// 1. If the socket was stable, the policy and the count of attempts start over.
    /// 2. If [`Guards::max_attempts`] dials have been made, or the policy has ended: give up.
    /// 3. The delay of the policy applies, as from the cap if the hint says so.
    /// 4. The dial is not earlier than the hint allows.
    /// 5. The dial is not earlier than the dial limit allows.
    ///
    /// No delay is longer than 24 hours.
    pub fn lost(&mut self, now: Instant, hint: Hint, rng: &mut (impl Rng + ?Sized)) -> Next {
        let stable = self.end_life(now);
        if self.guards.max_attempts.is_some_and(|max| self.attempt >= max) {
            return Next::GiveUp;
        }
        // The wish of the server has precedence: after 1013 a stable socket does not earn a quick
        // retry.
        let kind = match (hint.from_cap, stable) {
            (true, _) => DelayKind::Cap,
            (false, true) => DelayKind::First,
            (false, false) => DelayKind::Next,
        };
        let Some(delay) = self.running.next(&self.policy, kind, rng) else {
            return Next::GiveUp;
        };
        let asked = hint.at_least.unwrap_or_default().min(MAX_RETRY_AFTER);
        Next::Retry {
            after: delay.max(asked).max(self.hold(now)),
            attempt: self.attempt.saturating_add(1),
        }
    }

    /// Records that the open socket has ended, and that no dial is to follow for now. If the socket was stable, the
    /// policy and the count of attempts start over.
    pub fn paused(&mut self, now: Instant) {
        self.end_life(now);
    }

    /// Returns how long the dial limit delays a dial that would begin now; zero if it does not.
    ///
    /// The answer of [`lost`](Schedule::lost) includes this delay; call `hold` before a dial that
    /// `lost` did not schedule.
    #[must_use]
    pub fn hold(&self, now: Instant) -> Duration {
        self.limit().map_or(Duration::ZERO, |limit| self.dials.hold(limit, now))
    }

    /// Returns the number of the newest dial since the last stable socket; 0 if there was none.
    ///
    /// The loss of a stable socket sets it to 0: to know which dial opened the socket, call this
    /// before [`lost`](Schedule::lost).
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns the first `n` delays of a policy if no dial succeeds, fewer if the policy ends
    /// before. Ignores the guards.
    #[must_use]
    pub fn preview(policy: &Reconnect, n: usize, rng: &mut (impl Rng + ?Sized)) -> Vec<Duration> {
        let mut running = policy.run();
        (0..n).map_while(|_| running.next(policy, DelayKind::Next, rng)).collect()
    }

    /// Returns the dial limit that holds under this policy.
    fn limit(&self) -> Option<DialLimit> {
        self.guards.dial_limit.under(&self.policy)
    }

    /// Ends the life of the open socket, if there is one. Returns whether it was stable; if so, all
    /// counts start over.
    fn end_life(&mut self, now: Instant) -> bool {
        let stable = self.opened.take().is_some_and(|opened| {
            self.settled || now.saturating_duration_since(opened) >= self.guards.stable_after
        });
        if stable {
            self.running.reset(&self.policy);
            self.attempt = 0;
        }
        stable
    }
}

/// The longest time that a server's `Retry-After` is obeyed for: a wrong clock or unit there would
/// keep the client away for long.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule")
            .field("guards", &self.guards)
            .field("dials", &self.dials)
            .field("attempt", &self.attempt)
            .field("opened", &self.opened)
            .finish_non_exhaustive()
    }
}

/// What the server asked for with its refusal or close. Default: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hint {
    /// The earliest time for the next dial, from now: `Retry-After` (RFC 9110, 10.2.3). More than
    /// one hour counts as one hour.
    pub at_least: Option<Duration>,
    /// Whether the delay is drawn as from the cap: close code 1013, try again later. Only the
    /// exponential policy has a cap; the others ignore this.
    pub from_cap: bool,
}

/// What [`Schedule::lost`] decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Dial again.
    Retry {
        /// The time from the loss to the dial.
        after: Duration,
        /// The number that the dial will have.
        attempt: u32,
    },
    /// Do not dial again: the attempts are used up, the policy has ended, or it is
    /// [`Reconnect::never`].
    GiveUp,
}

#[cfg(test)]
mod tests;
