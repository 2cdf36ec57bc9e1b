//! The figures of a feed.

use std::ops::AddAssign;

/// Counts of a feed, or of one shard of it, since its start; the topics are those of the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// Topics that are wanted.
    pub wanted: usize,
    /// Wanted topics that the venue has confirmed on the open sockets.
    pub confirmed: usize,
    /// Wanted topics that the venue has refused, for now or for good.
    pub refused: usize,
    /// Wanted topics that are [`Unsynced`](crate::feed::event::TopicIs::Unsynced): no snapshot of them has come.
    pub unsynced: usize,
    /// Updates that were delivered.
    pub delivered: u64,
    /// Gaps that were reported.
    pub gaps: u64,
    /// Updates that were dropped because they had been delivered before.
    pub duplicates: u64,
    /// Updates that were dropped because they filled a gap that had been reported.
    pub late: u64,
    /// Snapshots that were delivered with the updates after them, by [`Resync`](crate::feed::Resync).
    pub resyncs: u64,
    /// Snapshots that were asked for.
    pub asks: u64,
    /// Updates that were replaced by newer ones of their topics, because a handler was too slow, counted for each
    /// handler: see [`Overflow::Latest`](crate::feed::Overflow::Latest).
    pub skipped: u64,
    /// Lines that were replaced by a [rotation](crate::feed::Rotate).
    pub rotations: u64,
    /// Updates that were dropped because their topic was not wanted.
    pub unwanted: u64,
    /// Answers of the venue that fitted no request.
    pub unmatched: u64,
    /// Requests that were sent: logins, subscriptions, unsubscriptions, heartbeats, answers to challenges, and
    /// requests for snapshots.
    pub requests: u64,
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Figures) {
        self.wanted += other.wanted;
        self.confirmed += other.confirmed;
        self.refused += other.refused;
        self.unsynced += other.unsynced;
        self.delivered += other.delivered;
        self.gaps += other.gaps;
        self.duplicates += other.duplicates;
        self.late += other.late;
        self.resyncs += other.resyncs;
        self.asks += other.asks;
        self.skipped += other.skipped;
        self.rotations += other.rotations;
        self.unwanted += other.unwanted;
        self.unmatched += other.unmatched;
        self.requests += other.requests;
    }
}
