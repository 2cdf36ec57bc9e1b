//! Which topics wait for a snapshot, and when it is asked for: hold, ask, join, release.
//!
//! It stands behind the merge: each topic comes as one stream, in order, with its gaps.
//!
//! ```text
//!                           a gap, a restart, a command
//!          +-------------------------------------------------------+
//!          v             a snapshot joins        an update follows |
//!   Off -> Waiting --------------------> Joined -----------------> Live
//!    ^     | ^  updates are held                                    |
//!    |     | | asked again after 10 min                             | no line carries it
//!    |     v |                                                      |
//!    |     Unsynced  updates are delivered                          |
//!    +--------------------------------------------------------------+
//! ```

mod asks;
mod held;
pub(crate) mod rate;
mod topic;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::feed::event::{GapCause, Missing};
use crate::feed::merge::Brought;
use crate::feed::pace::after;
use crate::feed::resync::held::{Covers, Held};
use crate::feed::resync::rate::Rate;
use crate::feed::resync::topic::{Asked, Dispute, Stage, Topic, Work};
use crate::feed::sequence::{Numbers, Sequence};
use crate::feed::snapshot::{IsResynced, Resync};
use crate::feed::table;
use crate::feed::topics::Slot;

pub(crate) use crate::feed::resync::asks::SnapshotAsk;
pub(crate) use crate::feed::resync::topic::Before;

/// The number of asks in a row after which a topic is unsynced.
const MAX_ASKS: u32 = 5;
/// The time until a topic that is unsynced is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(600);
/// How late an answer may come to be taken for one where no snapshot is waited for.
const LATE_WINDOW: Duration = Duration::from_secs(60);
/// How long updates may be older than the snapshot that they have to follow. Beyond it the snapshot is not one of their
/// numbers: the venue has begun anew.
const JOIN_WINDOW: Duration = Duration::from_secs(5);
/// How soon after a snapshot a topic has to be found wrong again for the snapshot to be of no use.
const DISPUTE_WINDOW: Duration = Duration::from_secs(60);

/// The snapshots of one shard. `U` is what the shard delivers.
pub(crate) struct Resyncs<U> {
    first_wait: Duration,
    rate: Rate,
    /// How many more snapshots are asked for in a replay, where the recording says it, and not the rate.
    #[cfg(feature = "record")]
    granted: Option<u64>,
    /// `None`: all topics have snapshots.
    is_resynced: Option<IsResynced>,
    topics: Vec<Topic>,
    /// The topics that were asked for, while an answer may come.
    asked: BTreeMap<Slot, Asked>,
    /// The topics whose state a dialect has found to be wrong.
    disputes: BTreeMap<Slot, Dispute>,
    held: Held<U>,
    /// The topics to ask for, the oldest first. Each is in it once at most; those that do not want it any more are skipped.
    queue: VecDeque<Slot>,
    /// When the wait of each topic ends.
    due: BTreeSet<(Instant, Slot)>,
    outputs: VecDeque<(Slot, Output<U>)>,
    /// Whether the shard holds its lines: an answer may be unread.
    is_holding: bool,
    counts: Counts,
}

/// What is delivered, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output<U> {
    /// An update or a snapshot.
    Update(U),
    /// Updates that are missing.
    Gap(Missed),
    /// No snapshot has come.
    Unsynced,
}

/// Updates that are neither delivered nor part of a snapshot, or that were not delivered before one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missed {
    pub(crate) missing: Missing,
    pub(crate) cause: GapCause,
    pub(crate) last_at: Option<Instant>,
    pub(crate) next_at: Instant,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Snapshots that joined.
    pub(crate) resyncs: u64,
    /// Snapshots that were asked for.
    pub(crate) asks: u64,
}

impl<U> Resyncs<U> {
    pub(crate) fn new<T>(options: &Resync<T>) -> Resyncs<U> {
        Resyncs {
            first_wait: options.first_wait,
            rate: options.rate.clone(),
            #[cfg(feature = "record")]
            granted: None,
            is_resynced: options.is_resynced.clone(),
            topics: Vec::new(),
            asked: BTreeMap::new(),
            disputes: BTreeMap::new(),
            held: Held::new(),
            queue: VecDeque::new(),
            due: BTreeSet::new(),
            outputs: VecDeque::new(),
            is_holding: false,
            counts: Counts::default(),
        }
    }

    /// Adds a topic, unless it is known.
    #[inline]
    pub(crate) fn see(&mut self, slot: Slot, topic: &str) {
        if self.stage(slot) == Stage::New {
            self.add(slot, topic);
        }
    }

    #[cold]
    fn add(&mut self, slot: Slot, topic: &str) {
        let is_resynced = self.is_resynced.as_ref().is_none_or(|is_resynced| is_resynced(topic));
        if self.topics.len() <= slot as usize {
            table::fill(&mut self.topics, slot as usize + 1, Topic::default);
        }
        let stage = if is_resynced { Stage::Off } else { Stage::Exempt };
        self.topics[slot as usize].stage = stage;
    }

    /// Removes a topic: what is held of it is dropped.
    pub(crate) fn remove(&mut self, slot: Slot) {
        if self.stage(slot) != Stage::New {
            self.set_due(slot, None);
            self.held.take(slot);
            self.disputes.remove(&slot);
            self.begin_round(slot);
            let topic = &mut self.topics[slot as usize];
            let Topic { round, is_queued, .. } = *topic;
            *topic = Topic { round, is_queued, ..Topic::default() };
        }
    }

    /// Notes that the venue has confirmed a topic.
    pub(crate) fn confirmed(&mut self, slot: Slot) {
        if self.stage(slot) == Stage::Off {
            self.begin(slot, None, true);
        }
    }

    /// Notes that no line carries a topic any more. Returns whether its numbers may begin anew.
    pub(crate) fn ended(&mut self, slot: Slot, newest: Before) -> bool {
        let stage = self.stage(slot);
        if matches!(stage, Stage::New | Stage::Exempt | Stage::Off) {
            return false;
        }
        self.set_due(slot, None);
        self.held.take(slot);
        self.begin_round(slot);
        let topic = &mut self.topics[slot as usize];
        topic.stage = Stage::Off;
        let work = topic.work.get_or_insert_default();
        let before = match stage {
            Stage::Joined => Some(Before { next: Some(work.end), last_at: work.joined_at }),
            Stage::Waiting => work.before,
            _ => Some(newest),
        };
        **work = Work { before, ..Work::default() };
        true
    }

    /// Takes the next update of the merged stream. Returns it if it is to be delivered now; otherwise what is to be
    /// delivered comes from [`poll_output`](Resyncs::poll_output).
    #[inline]
    pub(crate) fn update(&mut self, brought: &Brought, item: U) -> Option<U> {
        let is_passed = matches!(self.stage(brought.slot), Stage::Live | Stage::Exempt);
        if is_passed && !restarts(brought.sequence) {
            return Some(item);
        }
        self.update_of_other(brought, item)
    }

    fn update_of_other(&mut self, brought: &Brought, item: U) -> Option<U> {
        let Brought { slot, sequence, snapshot, at, .. } = *brought;
        let stage = self.stage(slot);
        if stage == Stage::Exempt || stage == Stage::Unsynced && !snapshot {
            return Some(item);
        }
        if restarts(sequence) {
            self.begin_round(slot);
            if !snapshot && matches!(stage, Stage::Live | Stage::Joined) {
                self.lose(slot, Missing::Unknown, GapCause::Venue, None, at);
            }
            if !snapshot || stage == Stage::Waiting {
                self.begin(slot, None, false);
            }
        }
        if snapshot {
            self.join(brought, item);
            return None;
        }
        match self.stage(slot) {
            Stage::Joined => return self.follow(brought, item),
            Stage::New | Stage::Off => self.begin(slot, None, true),
            _ => {}
        }
        self.held.push(slot, Covers::new(sequence), brought.bytes, item);
        None
    }

    /// Takes the first updates after a snapshot.
    fn follow(&mut self, brought: &Brought, item: U) -> Option<U> {
        let Brought { slot, sequence, bytes, at, .. } = *brought;
        let Some(work) = &self.topics[slot as usize].work else { return Some(item) };
        let (end, joined_at) = (work.end, work.joined_at.unwrap_or(at));
        let Covers { first, last } = Covers::new(sequence);
        let is_covered = last.is_some_and(|last| last < end);
        if is_covered && at.saturating_duration_since(joined_at) < JOIN_WINDOW {
            return None;
        }
        let missing = match (first.filter(|first| *first > end), sequence.kind) {
            _ if is_covered => Missing::Unknown,
            (Some(_), Numbers::Chained { previous, .. }) => {
                Missing::Between { last: end.saturating_sub(1), next: previous }
            }
            (Some(first), _) => Missing::Range { from: end, to: first - 1 },
            (None, _) => {
                self.live(slot);
                return Some(item);
            }
        };
        if is_covered {
            self.begin_round(slot);
        }
        self.lose(slot, missing, GapCause::Venue, Some(joined_at), at);
        self.begin(slot, first, false);
        self.held.push(slot, Covers { first, last }, bytes, item);
        None
    }

    /// Notes a gap of the merged stream. Returns whether it is to be reported: not if a snapshot covers it.
    pub(crate) fn gap(&mut self, slot: Slot, missing: Missing) -> bool {
        let next = match missing {
            Missing::Range { to, .. } => to.checked_add(1),
            Missing::Between { next, .. } => next.checked_add(1),
            Missing::Unknown => None,
        };
        match self.stage(slot) {
            Stage::New | Stage::Exempt | Stage::Off | Stage::Unsynced => true,
            Stage::Waiting => {
                self.held.cut(slot, next);
                false
            }
            Stage::Joined if next.is_some_and(|next| next <= self.end(slot)) => false,
            Stage::Joined | Stage::Live => {
                self.begin(slot, next, false);
                true
            }
        }
    }

    /// Asks for a snapshot of a topic, whose updates are delivered up to `next`. Does nothing if one is waited for.
    pub(crate) fn resync(&mut self, slot: Slot, next: Option<u64>) {
        match self.stage(slot) {
            Stage::Joined => self.begin(slot, Some(self.end(slot)), false),
            Stage::Live | Stage::Unsynced => self.begin(slot, next, false),
            _ => {}
        }
    }

    /// Notes that what was built of a topic is not the state of the venue, as a dialect has found. That is a gap, and a
    /// snapshot is asked for: at once the first time, and later each time that one has not mended it, as if it had not
    /// come. Does nothing if a snapshot is waited for, or the topic is unsynced.
    pub(crate) fn dispute(&mut self, slot: Slot, newest: Before, now: Instant) {
        let next = match self.stage(slot) {
            Stage::Joined => Some(self.end(slot)),
            Stage::Live => newest.next,
            _ => return,
        };
        let dispute = self.disputes.entry(slot).or_insert(Dispute { count: 0, at: now });
        if now >= dispute.at + DISPUTE_WINDOW {
            dispute.count = 0;
        }
        (dispute.count, dispute.at) = (dispute.count + 1, now);
        let count = dispute.count;
        self.begin(slot, next, false);
        if count > MAX_ASKS {
            return self.give_up(slot, now);
        }
        self.lose(slot, Missing::Unknown, GapCause::Venue, newest.last_at, now);
        if let Some(earlier) = count.checked_sub(2) {
            self.topics[slot as usize].work.iter_mut().for_each(|work| work.wants = false);
            self.set_due(slot, Some(after(now, self.wait_of(earlier))));
        }
    }

    /// Takes the whole state of a topic. Returns it if it is for the merge to say what it is good for.
    pub(crate) fn snapshot(&mut self, brought: &Brought, item: U) -> Option<U> {
        let Brought { slot, at, .. } = *brought;
        match self.stage(slot) {
            Stage::Exempt | Stage::Unsynced => return Some(item),
            Stage::Live => {
                let asked = self.asked.get(&slot);
                if asked.is_none_or(|asked| at >= asked.at + LATE_WINDOW) {
                    return Some(item);
                }
                self.answered(slot);
            }
            Stage::Joined => {
                let end = number(brought.sequence).map(|number| number.saturating_add(1));
                if end.is_none_or(|end| end > self.end(slot)) {
                    self.join(brought, item);
                }
            }
            Stage::New | Stage::Off | Stage::Waiting => self.join(brought, item),
        }
        None
    }

    /// Takes an answer to an ask. One of an earlier round is dropped.
    pub(crate) fn answer(&mut self, round: u32, brought: &Brought, item: U) {
        let topic = self.topics.get(brought.slot as usize);
        if topic.is_some_and(|topic| topic.round == round)
            && self.stage(brought.slot) != Stage::Unsynced
        {
            // One that is too late for anything else.
            let _ = self.snapshot(brought, item);
        }
    }

    /// Notes that an ask has failed and makes no sense again: the topic is unsynced.
    pub(crate) fn refused(&mut self, slot: Slot, round: u32, now: Instant) {
        let topic = self.topics.get(slot as usize);
        if topic.is_some_and(|topic| topic.round == round && topic.stage == Stage::Waiting) {
            self.give_up(slot, now);
        }
    }

    /// Delivers a snapshot and what is held after it, unless it is older than the first held update.
    fn join(&mut self, brought: &Brought, item: U) {
        let Brought { slot, sequence, at, .. } = *brought;
        let end = number(sequence).map(|number| number.saturating_add(1));
        self.answered(slot);
        if end.is_some_and(|end| !self.held.follows(slot, end)) {
            return;
        }
        if let Some(dispute) = self.disputes.get_mut(&slot) {
            dispute.at = at;
        }
        self.report_outage(slot, sequence, end, at);
        self.counts.resyncs += 1;
        self.outputs.push_back((slot, Output::Update(item)));
        let before = self.outputs.len();
        if let Some(queue) = self.held.take(slot) {
            self.outputs.extend(queue.into_later(end).map(|item| (slot, Output::Update(item))));
        }
        match end {
            Some(end) if self.outputs.len() == before => {
                self.set_due(slot, None);
                let topic = &mut self.topics[slot as usize];
                topic.stage = Stage::Joined;
                let joined_at = Some(at);
                topic.work = Some(Box::new(Work { end, joined_at, ..Work::default() }));
            }
            _ => self.live(slot),
        }
    }

    /// Reports what was missed while no line carried the topic, before the snapshot.
    fn report_outage(&mut self, slot: Slot, sequence: Sequence, end: Option<u64>, at: Instant) {
        let work = self.topics[slot as usize].work.as_mut();
        let Some(Before { next, last_at }) = work.and_then(|work| work.before.take()) else {
            return;
        };
        let missing = match (next, end, sequence.kind) {
            (Some(next), Some(end), _) if next == end => return,
            (Some(next), Some(end), Numbers::Chained { this, .. }) if next < end => {
                Missing::Between { last: next.saturating_sub(1), next: this }
            }
            (Some(from), Some(end), _) if from < end => Missing::Range { from, to: end - 1 },
            // Its numbers began anew, or it has none.
            _ => Missing::Unknown,
        };
        self.lose(slot, missing, GapCause::Outage, last_at, at);
    }

    fn lose(
        &mut self,
        slot: Slot,
        missing: Missing,
        cause: GapCause,
        last_at: Option<Instant>,
        next_at: Instant,
    ) {
        self.outputs.push_back((slot, Output::Gap(Missed { missing, cause, last_at, next_at })));
    }

    /// Begins to hold the updates of a topic, and to ask for a snapshot. Updates up to `next` are known or lost.
    fn begin(&mut self, slot: Slot, next: Option<u64>, is_first: bool) {
        self.set_due(slot, None);
        self.held.begin(slot, next);
        let topic = &mut self.topics[slot as usize];
        topic.stage = Stage::Waiting;
        let before = topic.work.take().and_then(|work| work.before);
        topic.work = Some(Box::new(Work { is_first, before, ..Work::default() }));
        self.want(slot);
    }

    /// Queues an ask.
    fn want(&mut self, slot: Slot) {
        let topic = &mut self.topics[slot as usize];
        topic.work.iter_mut().for_each(|work| work.wants = true);
        if !std::mem::replace(&mut topic.is_queued, true) {
            self.queue.push_back(slot);
        }
    }

    /// Notes that the numbers of a topic may begin anew: no answer that is under way is of use.
    fn begin_round(&mut self, slot: Slot) {
        let topic = &mut self.topics[slot as usize];
        topic.round = topic.round.wrapping_add(1);
        self.asked.remove(&slot);
    }

    /// Counts an answer to an ask.
    fn answered(&mut self, slot: Slot) {
        if let Some(asked) = self.asked.get_mut(&slot) {
            asked.count -= 1;
            if asked.count == 0 {
                self.asked.remove(&slot);
            }
        }
    }

    fn live(&mut self, slot: Slot) {
        self.set_due(slot, None);
        let topic = &mut self.topics[slot as usize];
        (topic.stage, topic.work) = (Stage::Live, None);
    }

    /// Delivers the updates of a topic without a snapshot.
    fn give_up(&mut self, slot: Slot, now: Instant) {
        self.set_due(slot, Some(after(now, ASK_AGAIN)));
        let topic = &mut self.topics[slot as usize];
        topic.stage = Stage::Unsynced;
        let work = topic.work.get_or_insert_default();
        (work.asks, work.wants) = (MAX_ASKS - 1, false);
        let was_reported = std::mem::replace(&mut work.is_reported, true);
        let before = work.before.take();
        let queue = self.held.take(slot);
        let missing = queue.as_ref().and_then(|queue| queue.missing(before?.next));
        let missing = missing.or_else(|| queue.as_ref().and_then(|queue| queue.missing(None)));
        if !was_reported {
            self.outputs.push_back((slot, Output::Unsynced));
        }
        if !was_reported || missing.is_some() {
            let cause = if before.is_some() { GapCause::Outage } else { GapCause::Venue };
            let range = missing.map(|(from, to)| Missing::Range { from, to });
            let last_at = before.and_then(|before| before.last_at);
            self.lose(slot, range.unwrap_or(Missing::Unknown), cause, last_at, now);
        }
        let released = queue.into_iter().flat_map(held::Queue::into_all);
        self.outputs.extend(released.map(|item| (slot, Output::Update(item))));
    }

    /// Returns what is to be delivered next.
    pub(crate) fn poll_output(&mut self) -> Option<(Slot, Output<U>)> {
        self.outputs.pop_front()
    }

    /// Ends the waits that are over. `next` returns the number up to which the updates of a topic are delivered.
    pub(crate) fn handle_timeout(&mut self, now: Instant, next: impl Fn(Slot) -> Option<u64>) {
        while !self.is_holding
            && let Some((at, slot)) = self.due.first().copied()
            && at <= now
        {
            self.set_due(slot, None);
            let stage = self.stage(slot);
            let asks = self.topics[slot as usize].work.as_ref().map_or(0, |work| work.asks);
            match stage {
                Stage::Waiting if asks < MAX_ASKS => self.want(slot),
                Stage::Waiting => self.give_up(slot, now),
                Stage::Unsynced => {
                    self.topics[slot as usize].stage = Stage::Waiting;
                    self.held.begin(slot, next(slot));
                    self.want(slot);
                }
                _ => {}
            }
        }
    }

    /// Returns when `handle_timeout` is to be called next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at).filter(|_| !self.is_holding)
    }

    /// Begins or ends a time in which the shard holds its lines. Afterwards each wait has its whole time once more.
    pub(crate) fn hold(&mut self, holds: bool, now: Instant) {
        if std::mem::replace(&mut self.is_holding, holds) && !holds {
            for (at, slot) in self.due.clone() {
                let asks = self.topics[slot as usize].work.as_ref().map_or(1, |work| work.asks);
                let wait = self.wait_of(asks.saturating_sub(1));
                if self.stage(slot) == Stage::Waiting {
                    self.set_due(slot, Some(at.max(after(now, wait))));
                }
            }
        }
    }

    /// Returns how many topics are without a snapshot after they were asked for in vain.
    pub(crate) fn unsynced(&self) -> usize {
        let works = self.topics.iter().filter_map(|topic| topic.work.as_ref());
        works.filter(|work| work.is_reported).count()
    }

    /// Returns the counts since the start.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    #[inline]
    fn stage(&self, slot: Slot) -> Stage {
        self.topics.get(slot as usize).map(|topic| topic.stage).unwrap_or_default()
    }

    fn end(&self, slot: Slot) -> u64 {
        self.topics[slot as usize].work.as_ref().map_or(0, |work| work.end)
    }

    fn set_due(&mut self, slot: Slot, at: Option<Instant>) {
        if at.is_none() && self.topics[slot as usize].work.is_none() {
            return;
        }
        let work = self.topics[slot as usize].work.get_or_insert_default();
        if let Some(old) = std::mem::replace(&mut work.due, at) {
            self.due.remove(&(old, slot));
        }
        self.due.extend(at.map(|at| (at, slot)));
    }
}

/// Whether the venue begins its numbers anew with an update.
fn restarts(sequence: Sequence) -> bool {
    sequence.restarted
        || matches!(sequence.kind, Numbers::Chained { previous, this } if this < previous)
}

/// Returns the number that a snapshot covers, if it can be compared with those of updates.
fn number(sequence: Sequence) -> Option<u64> {
    sequence.last().filter(|_| !matches!(sequence.kind, Numbers::Id(_)))
}

#[cfg(test)]
mod tests;
