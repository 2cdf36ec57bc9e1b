//! Requests: those that are due, and those whose answer is under way.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::feed::topics::Slot;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Subscribe,
    Unsubscribe,
}

/// The topics of the next request.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) verb: Verb,
    pub(crate) slots: Vec<Slot>,
    pub(super) search: Search,
}

/// The limits of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) topics_per_frame: usize,
    pub(crate) topics_per_line: usize,
}

/// A request that was sent.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) slots: Vec<Slot>,
    pub(super) search: Search,
    /// The number of its topics without an answer.
    pub(super) open: usize,
    /// When the answer is overdue; `None` if it is overdue already.
    pub(super) answer_by: Option<Instant>,
    /// Whether a list of all topics has answered it. Topics that the list left out are still open.
    pub(super) is_listed: bool,
}

/// Topics of a request that was refused as a whole, to be asked for by themselves.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) slots: Vec<Slot>,
    pub(super) search: Search,
}

/// The search for a topic because of which a request was refused, apart from the topics that are asked for
/// now.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// If those are confirmed, the refused topic is among these.
    pub(super) other: Vec<Slot>,
    /// Topics of which nothing is known, and which are asked for when it is found.
    pub(super) later: Vec<Slot>,
}

impl Search {
    pub(super) fn into_slots(self) -> impl Iterator<Item = Slot> {
        self.other.into_iter().chain(self.later)
    }
}

/// The venue's answer to one request.
pub(super) struct Verdict {
    /// Whether the request was accepted.
    pub(super) accepted: bool,
    /// The topics for which the opposite holds.
    pub(super) except: BTreeSet<Slot>,
}

impl Verdict {
    pub(super) fn all(accepted: bool) -> Verdict {
        Verdict { accepted, except: BTreeSet::new() }
    }
}
