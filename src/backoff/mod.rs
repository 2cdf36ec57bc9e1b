//! When to dial again: a policy as a value, the guards around it, and the running state of both.
//!
//! A [`Reconnect`] is chosen once and shared by any number of connections; a [`Schedule`] belongs
//! to one connection. Nothing here reads a clock, sleeps or owns a random number generator: each
//! call is passed the time and the generator.
//!
//! | part | decides | default |
//! |---|---|---|
//! | [`Reconnect`] | how long to wait | [`Exponential`] |
//! | [`Guards`] | what holds under every policy | a socket that was open for 10 s is stable; 16 dials in any 60 s |
//! | [`Hint`] | what the server asked for | nothing |
//!
//! Many clients start over as soon as a socket is open: a server that accepts and drops is then
//! dialled thousands of times a minute. Here only the loss of a *stable socket*, one that was open
//! for [`Guards::stable_after`], starts over. An opening that did not last is one more failure.
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use actix_ws_client::backoff::{Guards, Hint, Next, Reconnect, Schedule};
//!
//! let policy = Reconnect::exponential().cap(Duration::from_secs(10)).into();
//! let mut schedule = Schedule::new(&policy, Guards::default());
//!
//! let now = Instant::now();
//! assert_eq!(schedule.dialling(now), 1);
//! // The dial failed: when is the next one?
//! match schedule.lost(now, Hint::default(), &mut rand::rng()) {
//!     Next::Retry { after, attempt } => {
//!         assert_eq!(attempt, 2);
//!         assert!((Duration::from_millis(500)..=Duration::from_secs(1)).contains(&after));
//!     }
//!     Next::GiveUp => unreachable!("attempts are unlimited by default"),
//! }
//! ```

mod guards;
mod policy;
mod schedule;

pub use self::guards::{DialGuard, DialLimit, Guards};
#[cfg(feature = "backoff")]
pub use self::policy::Backoff;
pub use self::policy::{Exponential, Policy, Reconnect, default_reconnect, set_default_reconnect};
pub use self::schedule::{Hint, Next, Schedule};
#[cfg(feature = "client")]
pub(crate) use self::{policy::MAX_DELAY, schedule::MAX_RETRY_AFTER};
