//! The policy: how long to wait before each dial.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rand::{Rng, RngExt};

/// The trait of the `backoff` crate; its values are policies too, see [`Policy`].
#[cfg(feature = "backoff")]
pub use ::backoff::backoff::Backoff;

/// A policy of your own, for [`Reconnect::custom`].
///
/// With the feature `backoff`, which is on by default, every value of the `backoff` crate's trait
/// `Backoff` is one: `next_backoff` gives its delays. A type cannot implement both traits then.
///
/// ```
/// use std::time::Duration;
/// use actix_ws_client::backoff::{Policy, Reconnect};
///
/// /// 1 s, 2 s, 3 s, and so on, up to a minute.
/// struct Steps(u64);
///
/// impl Policy for Steps {
///     fn next_delay(&mut self) -> Option<Duration> {
///         self.0 = (self.0 + 1).min(60);
///         Some(Duration::from_secs(self.0))
///     }
///
///     fn reset(&mut self) {
///         self.0 = 0;
///     }
/// }
///
/// let policy = Reconnect::custom(|| Steps(0));
/// ```
#[doc(alias = "Backoff")]
pub trait Policy {
    /// Returns how long to wait before the next dial, or `None` to give up. A delay of zero is kept;
    /// one over 24 hours counts as 24 hours.
    fn next_delay(&mut self) -> Option<Duration>;

    /// Starts over. Called when a stable socket has ended, never at an opening.
    fn reset(&mut self);
}

#[cfg(feature = "backoff")]
impl<B: Backoff> Policy for B {
    fn next_delay(&mut self) -> Option<Duration> {
        self.next_backoff()
    }

    fn reset(&mut self) {
        Backoff::reset(self);
    }
}

/// How long to wait before each dial that follows a loss.
///
/// A value that is cheap to clone and shared by any number of connections, each of which runs it
/// from the start. No delay is longer than 24 hours, whatever the policy.
///
/// In WebSocketApp this is `reconnect`, a number of seconds, as [`Reconnect::fixed`]. The default
/// differs: WebSocketApp does not reconnect by default, this crate uses [`Reconnect::exponential`].
#[derive(Clone)]
pub struct Reconnect(PolicyKind);

/// The kinds of policy.
#[derive(Clone)]
enum PolicyKind {
    Exponential(Exponential),
    Fixed(Duration),
    Custom(Arc<dyn Fn() -> Box<dyn Policy + Send> + Send + Sync>),
    Never,
}

/// A custom policy is equal only to its own clones.
impl PartialEq for Reconnect {
    fn eq(&self, other: &Reconnect) -> bool {
        match (&self.0, &other.0) {
            (PolicyKind::Exponential(one), PolicyKind::Exponential(another)) => one == another,
            (PolicyKind::Fixed(one), PolicyKind::Fixed(another)) => one == another,
            (PolicyKind::Custom(one), PolicyKind::Custom(another)) => Arc::ptr_eq(one, another),
            (PolicyKind::Never, PolicyKind::Never) => true,
            _ => false,
        }
    }
}

impl Reconnect {
    /// Creates the default policy: random delays below a ceiling that doubles.
    ///
    /// ```
    /// use std::time::Duration;
    /// use actix_ws_client::backoff::Reconnect;
    ///
    /// let policy: Reconnect = Reconnect::exponential()
    ///     .floor(Duration::from_millis(100))
    ///     .cap(Duration::from_secs(5))
    ///     .into();
    /// ```
    #[must_use]
    #[doc(alias("jitter", "full_jitter", "exponential_backoff"))]
    pub fn exponential() -> Exponential {
        Exponential::default()
    }

    /// Creates a policy with the same delay before each dial; WebSocketApp's `reconnect=seconds`.
    ///
    /// Zero is [`Reconnect::never`], as in WebSocketApp. Without randomness, clients that lost the
    /// same server return to it in the same instant: suitable for one client or a test, not for
    /// many.
    #[must_use]
    #[doc(alias("constant", "reconnect_interval", "interval"))]
    pub fn fixed(delay: Duration) -> Reconnect {
        if delay.is_zero() { Reconnect::never() } else { Reconnect(PolicyKind::Fixed(delay)) }
    }

    /// Creates a policy from an iterator of delays. It gives up when the iterator ends.
    ///
    /// `make` is called once for each connection, and again after the loss of each stable
    /// socket. The crates `backon` and `exponential-backoff` have such iterators. A delay of zero is
    /// kept.
    ///
    /// ```
    /// use std::time::Duration;
    /// use actix_ws_client::backoff::Reconnect;
    ///
    /// // Three retries, then the end.
    /// let policy = Reconnect::delays(|| [1, 5, 30].map(Duration::from_secs));
    /// ```
    #[must_use]
    pub fn delays<F, I>(make: F) -> Reconnect
    where
        F: Fn() -> I + Send + Sync + 'static,
        I: IntoIterator<Item = Duration> + 'static,
        I::IntoIter: Send,
    {
        let make = Arc::new(make);
        Reconnect::custom(move || Delays { rest: make().into_iter(), make: Arc::clone(&make) })
    }

    /// Creates a policy of your own. It gives up when [`Policy::next_delay`] returns `None`.
    ///
    /// `make` is called once for each connection. [`Policy::reset`] is called when a stable socket
    /// has ended, never at an opening. A delay of zero is kept.
    ///
    /// If you use `ExponentialBackoff` of the `backoff` crate, set its `max_elapsed_time` to
    /// `None`: its default of 15 minutes is a second way to give up, beside
    /// [`Guards::max_attempts`], and reads a clock of its own. It adds its randomness after
    /// `max_interval`, so a delay may be longer than that.
    ///
    /// [`Guards::max_attempts`]: super::Guards::max_attempts
    #[must_use]
    pub fn custom<F, B>(make: F) -> Reconnect
    where
        F: Fn() -> B + Send + Sync + 'static,
        B: Policy + Send + 'static,
    {
        Reconnect(PolicyKind::Custom(Arc::new(move || Box::new(make()))))
    }

    /// Creates the policy that never dials again; WebSocketApp's `reconnect=0`.
    #[must_use]
    #[doc(alias("no_retry"))]
    pub fn never() -> Reconnect {
        Reconnect(PolicyKind::Never)
    }

    /// Returns whether this is [`Reconnect::never`]; `false` for a custom policy that gives up at
    /// the first loss.
    #[must_use]
    pub fn is_never(&self) -> bool {
        matches!(self.0, PolicyKind::Never)
    }

    /// Returns whether this is an exponential policy.
    pub(super) fn is_exponential(&self) -> bool {
        matches!(self.0, PolicyKind::Exponential(_))
    }

    /// Starts the policy for one connection.
    pub(super) fn run(&self) -> Running {
        match &self.0 {
            PolicyKind::Exponential(policy) => Running::Exponential { ceiling: policy.initial },
            PolicyKind::Fixed(delay) => Running::Fixed(*delay),
            PolicyKind::Custom(make) => Running::Custom(make()),
            PolicyKind::Never => Running::Never,
        }
    }
}

/// [`Reconnect::exponential`], not the process-wide [`default_reconnect`].
impl Default for Reconnect {
    fn default() -> Reconnect {
        Exponential::default().into()
    }
}

impl From<Exponential> for Reconnect {
    fn from(policy: Exponential) -> Reconnect {
        Reconnect(PolicyKind::Exponential(policy))
    }
}

/// [`Reconnect::fixed`].
impl From<Duration> for Reconnect {
    fn from(delay: Duration) -> Reconnect {
        Reconnect::fixed(delay)
    }
}

impl fmt::Debug for Reconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            PolicyKind::Exponential(policy) => policy.fmt(f),
            PolicyKind::Fixed(delay) => f.debug_tuple("Fixed").field(delay).finish(),
            PolicyKind::Custom(_) => f.write_str("Custom"),
            PolicyKind::Never => f.write_str("Never"),
        }
    }
}

/// Random delays below a ceiling that doubles, created by [`Reconnect::exponential`].
///
/// | delay | uniform between |
/// |---|---|
/// | the first after the loss of a stable socket | 0 and `first` |
/// | the `n`-th after that, from 0, or after the first dial of the connection | `floor` and min(`cap`, `initial` · 2ⁿ) |
/// | after a close with 1013 (try again later), and from there on | `floor` and `cap` |
///
/// With the defaults, the delay after the first failed dial is 0.5 to 1 s, from the sixth on 0.5 to
/// 30 s. The whole range is random, because thousands of clients that lose one server would
/// otherwise return to it in waves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exponential {
    /// The shortest delay, except for the first after the loss of a stable socket.
    floor: Duration,
    /// The ceiling of delay 0, doubled for each that follows.
    initial: Duration,
    /// The highest ceiling.
    cap: Duration,
    /// The ceiling of the first delay after the loss of a stable socket, whose floor is zero.
    first: Duration,
}

impl Exponential {
    /// Sets the shortest delay. Default: 0.5 s; zero for none; at most 24 hours.
    ///
    /// Without a floor, one retry in thirty follows within a second even at the cap.
    #[must_use]
    pub fn floor(self, floor: Duration) -> Exponential {
        Exponential { floor, ..self }
    }

    /// Sets the ceiling of the delay after the first failed dial, which doubles for each that
    /// follows. Default: 1 s.
    ///
    /// An initial ceiling below the floor counts as the floor until doubling has raised it above;
    /// zero stays zero.
    #[must_use]
    pub fn initial(self, initial: Duration) -> Exponential {
        Exponential { initial, ..self }
    }

    /// Sets the longest delay. Default: 30 s; at most 24 hours. A cap below the floor counts as the
    /// floor.
    ///
    /// A server that is available again is dialled within this time.
    #[must_use]
    pub fn cap(self, cap: Duration) -> Exponential {
        Exponential { cap, ..self }
    }

    /// Sets the ceiling of the first delay after the loss of a stable socket. Default: 1 s; at most
    /// the cap.
    ///
    /// With zero, the connection dials again at once, and so does every other client of the same
    /// server. For many clients, use the 5 s of RFC 6455, 7.2.3.
    #[must_use]
    pub fn first(self, first: Duration) -> Exponential {
        Exponential { first, ..self }
    }

    /// Returns `floor` and `cap`, limited to 24 hours and with the cap not below the floor.
    fn bounds(self) -> (Duration, Duration) {
        let floor = self.floor.min(MAX_DELAY);
        (floor, self.cap.clamp(floor, MAX_DELAY))
    }
}

impl Default for Exponential {
    fn default() -> Exponential {
        Exponential {
            floor: Duration::from_millis(500),
            initial: Duration::from_secs(1),
            cap: Duration::from_secs(30),
            first: Duration::from_secs(1),
        }
    }
}

/// Sets the policy of each connection whose builder is created from now on; WebSocketApp's
/// `set_reconnect`.
///
/// There is one value for the whole process: call this in an application, not in a library. The
/// initial value is [`Reconnect::exponential`]. The option of a builder takes precedence.
///
/// ```standalone_crate
/// use std::time::Duration;
/// use actix_ws_client::backoff::{Reconnect, default_reconnect, set_default_reconnect};
///
/// assert_eq!(format!("{:?}", default_reconnect()), format!("{:?}", Reconnect::default()));
///
/// set_default_reconnect(Reconnect::never());
/// assert!(default_reconnect().is_never());
///
/// set_default_reconnect(Reconnect::exponential().cap(Duration::from_secs(5)));
/// assert!(!default_reconnect().is_never());
/// ```
pub fn set_default_reconnect(policy: impl Into<Reconnect>) {
    let policy = Some(policy.into());
    let mut default = DEFAULT.write().unwrap_or_else(PoisonError::into_inner);
    let old = std::mem::replace(&mut *default, policy);
    drop(default);
    // After the lock is released: dropping a closure of the user may run code that calls
    // `default_reconnect`.
    drop(old);
}

/// Returns the policy of a connection whose builder sets none; see [`set_default_reconnect`].
#[must_use]
pub fn default_reconnect() -> Reconnect {
    let default = DEFAULT.read().unwrap_or_else(PoisonError::into_inner);
    default.clone().unwrap_or_default()
}

/// The process-wide policy; `None` until it is set.
static DEFAULT: RwLock<Option<Reconnect>> = RwLock::new(None);

/// The running state of a policy, for one connection.
pub(super) enum Running {
    /// See [`Exponential`].
    Exponential {
        /// The ceiling of the next delay, stored instead of the number `n`, which would overflow.
        ceiling: Duration,
    },
    /// The same delay each time.
    Fixed(Duration),
    /// The policy of the user.
    Custom(Box<dyn Policy + Send>),
    /// No further dial.
    Never,
}

/// Which delay of a policy is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DelayKind {
    /// The next one.
    Next,
    /// The first after the loss of a stable socket.
    First,
    /// One as after many failures; those that follow are too.
    Cap,
}

impl Running {
    /// Starts the policy over, after the loss of a stable socket.
    pub(super) fn reset(&mut self, of: &Reconnect) {
        match self {
            Running::Custom(policy) => policy.reset(),
            Running::Exponential { .. } | Running::Fixed(_) | Running::Never => *self = of.run(),
        }
    }

    /// Returns the next delay, or `None` to give up. Only the exponential policy distinguishes
    /// kinds.
    pub(super) fn next(
        &mut self,
        of: &Reconnect,
        kind: DelayKind,
        rng: &mut (impl Rng + ?Sized),
    ) -> Option<Duration> {
        let delay = match (self, &of.0) {
            (Running::Exponential { ceiling }, PolicyKind::Exponential(policy)) => {
                random_delay(policy, ceiling, kind, rng)
            }
            (Running::Fixed(delay), _) => *delay,
            (Running::Custom(policy), _) => policy.next_delay()?,
            (Running::Exponential { .. } | Running::Never, _) => return None,
        };
        Some(delay.min(MAX_DELAY))
    }
}

/// Draws the next delay of an exponential policy and raises its ceiling.
fn random_delay(
    policy: &Exponential,
    ceiling: &mut Duration,
    kind: DelayKind,
    rng: &mut (impl Rng + ?Sized),
) -> Duration {
    let (floor, cap) = policy.bounds();
    let range = match kind {
        // RFC 6455, 7.2.3: the first retry after an abnormal close is delayed randomly.
        DelayKind::First => Duration::ZERO..=policy.first.min(cap),
        DelayKind::Next | DelayKind::Cap => {
            if kind == DelayKind::Cap {
                *ceiling = cap;
            }
            // Clamped here, not when it is stored, so that a ceiling below the floor still grows.
            let range = floor..=(*ceiling).clamp(floor, cap);
            *ceiling = ceiling.saturating_mul(2).min(cap);
            range
        }
    };
    rng.random_range(range)
}

/// The longest delay of any policy. It also keeps the `Instant + Duration` of a timer from
/// overflowing on the `Duration::MAX` of a user's policy.
pub(crate) const MAX_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An iterator as a [`Policy`]: a reset creates a new one.
struct Delays<F, I: IntoIterator> {
    /// The delays that are left.
    rest: I::IntoIter,
    /// Creates the iterator; shared by all connections of the policy.
    make: Arc<F>,
}

impl<F, I> Policy for Delays<F, I>
where
    F: Fn() -> I,
    I: IntoIterator<Item = Duration>,
{
    fn next_delay(&mut self) -> Option<Duration> {
        self.rest.next()
    }

    fn reset(&mut self) {
        self.rest = (self.make)().into_iter();
    }
}

#[cfg(test)]
mod tests;
