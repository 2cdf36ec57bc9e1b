//! What is known of one topic: its stage, and what only one that is not live needs.

use std::time::Instant;

/// What is known of one topic.
#[derive(Default)]
pub(super) struct Topic {
    pub(super) stage: Stage,
    /// Whether it is in the queue.
    pub(super) is_queued: bool,
    /// Raised where the numbers of the topic may begin anew, so that older answers are of no use.
    pub(super) round: u32,
    /// `None` while it is live, or was never carried.
    pub(super) work: Option<Box<Work>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// No line has brought or confirmed it so far.
    #[default]
    New,
    /// It needs no snapshots.
    Exempt,
    /// No line carries it.
    Off,
    /// Its updates are held until a snapshot joins.
    Waiting,
    /// A snapshot was delivered, and no update after it.
    Joined,
    /// Updates are delivered.
    Live,
    /// Updates are delivered, although no snapshot has come.
    Unsynced,
}

/// What only a topic that is not live needs.
#[derive(Default)]
pub(super) struct Work {
    /// The number of asks in a row without a snapshot.
    pub(super) asks: u32,
    /// Whether it is to be asked for.
    pub(super) wants: bool,
    /// Whether the topic was just confirmed.
    pub(super) is_first: bool,
    /// Whether it was reported as unsynced.
    pub(super) is_reported: bool,
    /// When the wait ends.
    pub(super) due: Option<Instant>,
    /// The stream before an outage, until the gap after it is reported.
    pub(super) before: Option<Before>,
    /// The number that an update after the snapshot begins with at the latest.
    pub(super) end: u64,
    pub(super) joined_at: Option<Instant>,
}

/// The answers to asks of a topic that may still come.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) count: u8,
    /// When the topic was last asked for.
    pub(super) at: Instant,
}

/// How often the state of a topic was found to be wrong in a row: each time within [`DISPUTE_WINDOW`](super::DISPUTE_WINDOW)
/// after a snapshot.
#[derive(Debug)]
pub(super) struct Dispute {
    pub(super) count: u32,
    /// When it was found last, or when the last snapshot after that joined.
    pub(super) at: Instant,
}

/// Where the stream of a topic has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Before {
    /// The number that would have been delivered next.
    pub(crate) next: Option<u64>,
    /// When the last update was read.
    pub(crate) last_at: Option<Instant>,
}
