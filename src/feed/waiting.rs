//! What a line waits for before it dials, where the connection has no event for it.

use std::time::{Duration, Instant};

use crate::budget::Limit;
use crate::command::status::{WaitCause, Watch};

/// A look at the connection from time to time, from the end of its delay until it dials.
#[derive(Debug)]
pub(crate) struct Waiting {
    watch: Watch,
    /// When to look next; `None` unless it is about to dial.
    next: Option<Instant>,
    /// What was found at the last look.
    found: Option<Limit>,
}

/// The time between two looks.
const INTERVAL: Duration = Duration::from_millis(250);

impl Waiting {
    /// Begins to look at a connection that is about to start.
    pub(crate) fn new(watch: Watch, now: Instant) -> Waiting {
        Waiting { watch, next: Some(now + INTERVAL), found: None }
    }

    /// Begins to look when a delay has passed.
    pub(crate) fn begin(&mut self, at: Instant) {
        (self.next, self.found) = (Some(at + INTERVAL), None);
    }

    /// Ends it: the connection dials, or does not want to.
    pub(crate) fn end(&mut self) {
        (self.next, self.found) = (None, None);
    }

    /// Returns the limit of a budget that the connection waits for, if it is another one than at the last look.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Limit> {
        if self.next? > now {
            return None;
        }
        self.next = Some(now + INTERVAL);
        let Some(WaitCause::Budget(limit)) = self.watch.waiting_for() else { return None };
        (self.found.replace(limit) != Some(limit)).then_some(limit)
    }

    /// Returns when to call `poll` next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }
}
