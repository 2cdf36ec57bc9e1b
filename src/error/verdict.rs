//! The verdict on a failure.

use std::time::Duration;

/// Whether to reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl Verdict {
    /// Reconnect with the delay of the policy.
    pub const RETRY: Verdict = Verdict::Retry { at_least: None, from_cap: false };
}
