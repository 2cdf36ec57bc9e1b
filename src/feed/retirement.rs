//! Whether a line is not dialled any more, because another one takes its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Shared by a line and its connection, which asks after a loss. A clone is the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retirement(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    stage: AtomicU8,
}

/// The line is dialled.
const NONE: u8 = 0;
/// The line is not dialled once its socket is lost.
const RETIRED: u8 = 1;
/// The connection was asked after a loss, and has ended.
const ENDED: u8 = 2;

impl Retirement {
    /// Begins or ends it. Once the connection has ended, it stays ended.
    pub(crate) fn set(&self, is_retired: bool) {
        let (from, to) = if is_retired { (NONE, RETIRED) } else { (RETIRED, NONE) };
        // An error says that it is so already, or has ended.
        let _ = self.0.stage.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Returns whether the connection has to end, which is its question after a loss.
    pub(crate) fn ends(&self) -> bool {
        let before =
            self.0.stage.compare_exchange(RETIRED, ENDED, Ordering::Relaxed, Ordering::Relaxed);
        before != Err(NONE)
    }

    /// Whether the connection has ended for it.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.stage.load(Ordering::Relaxed) == ENDED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_has_ended_stays_so() {
        let retirement = Retirement::default();
        assert!(!retirement.ends() && !retirement.has_ended());
        retirement.set(true);
        retirement.set(false);
        assert!(!retirement.ends(), "it is dialled again");
        retirement.set(true);
        assert!(!retirement.has_ended());
        assert!(retirement.ends() && retirement.has_ended());
        retirement.set(false);
        assert!(retirement.ends() && retirement.has_ended());
    }
}
