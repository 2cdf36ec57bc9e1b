//! The verdict on a failure.

use std::fmt;
use std::time::Duration;

/// Whether to reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Another attempt may succeed.
    Retry {
        /// The shortest delay, from the server's `Retry-After`.
        at_least: Option<Duration>,
        /// Whether to wait as long as the policy's longest delay: the server has reported that it is
        /// overloaded.
        from_cap: bool,
    },
    /// Another attempt would fail in the same way.
    Stop,
}

impl fmt::Display for Verdict {
    /// Writes `retry`, `retry after 5.0s at the earliest`, `retry after the longest delay`, or `stop`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Stop => f.write_str("stop"),
            Verdict::Retry { at_least: Some(least), .. } => {
                write!(f, "retry after {least:.1?} at the earliest")
            }
            Verdict::Retry { from_cap: true, .. } => f.write_str("retry after the longest delay"),
            Verdict::Retry { .. } => f.write_str("retry"),
        }
    }
}

impl Verdict {
    /// Reconnect with the delay of the policy.
    pub const RETRY: Verdict = Verdict::Retry { at_least: None, from_cap: false };
}
