//! What the merge knows of one topic, and the updates that wait behind a hole of it.

use std::collections::VecDeque;
use std::time::Instant;

use crate::feed::merge::recent::Recent;

/// What is known of one topic.
pub(super) struct Topic<T> {
    /// Whether its next number is known, nothing waits behind a hole, and neither an outage nor old numbers are to be
    /// judged. As of the last update that was looked at in full: one flag in place of four tests for each update.
    pub(super) is_plain: bool,
    /// The number that is delivered next: one more than the last. `None` before the first.
    pub(super) next: Option<u64>,
    /// How often the venue began its numbers anew.
    pub(super) generation: u32,
    /// When it did last. A box, as few topics have one.
    pub(super) restarted_at: Option<Box<Instant>>,
    /// When the last update that was delivered was read.
    pub(super) last_at: Option<Instant>,
    /// Whether no line carried the topic since, so that updates without a number may be missing.
    pub(super) outage: bool,
    /// Since when a line that came back after an outage brings nothing but old numbers.
    pub(super) old_since: Option<Instant>,
    /// The newest numbers that were reported as missing, both included.
    pub(super) reported: Option<Box<(u64, u64)>>,
    /// The line whose updates without a number are delivered.
    pub(super) leader: u8,
    /// The newest ids.
    pub(super) ids: Option<Box<Recent>>,
    /// Updates behind a hole, by their first number.
    pub(super) held: VecDeque<Held<T>>,
    pub(super) held_bytes: usize,
}

/// An update that waits behind a hole.
pub(super) struct Held<T> {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) line: u8,
    /// Whether the numbers name the update before.
    pub(super) is_chained: bool,
    /// Whether its line had brought everything up to the hole: then the venue left it out.
    pub(super) is_complete: bool,
    pub(super) at: Instant,
    pub(super) bytes: usize,
    pub(super) item: T,
}

/// Whether a hole is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Yes,
    No,
}

impl<T> Topic<T> {
    /// Finds out whether it is plain.
    pub(super) fn looks_plain(&self) -> bool {
        let is_judged = self.outage || self.old_since.is_some();
        self.next.is_some() && self.held.is_empty() && !is_judged
    }

    /// Returns one more than the last number that any line has brought, or zero.
    pub(super) fn known(&self) -> u64 {
        let held = self.held.back().map_or(0, |held| held.last.saturating_add(1));
        held.max(self.next.unwrap_or_default())
    }

    /// Whether a number is among those that were reported as missing last.
    #[inline]
    pub(super) fn was_reported(&self, number: u64) -> bool {
        self.reported.as_deref().is_some_and(|(from, to)| *from <= number && number <= *to)
    }
}

impl<T> Default for Topic<T> {
    fn default() -> Topic<T> {
        Topic {
            is_plain: false,
            next: None,
            generation: 0,
            restarted_at: None,
            last_at: None,
            outage: false,
            old_since: None,
            reported: None,
            leader: u8::MAX,
            ids: None,
            held: VecDeque::new(),
            held_bytes: 0,
        }
    }
}
