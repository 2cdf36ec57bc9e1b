//! Holes: what waits behind a number that no line has brought yet, and when it is given up.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::feed::event::{GapCause, Missing};
use crate::feed::merge::line::Line;
use crate::feed::merge::topic::{Held, Wait};
use crate::feed::merge::{Lost, Merge, Output};
use crate::feed::topics::Slot;

/// The most updates that wait behind a hole of one topic. Beyond it the hole is given up.
const MAX_HELD: usize = 1024;

/// The most bytes that wait behind a hole of one topic.
const MAX_HELD_BYTES: usize = 1 << 20;

/// The most bytes that wait behind holes of all topics of a shard.
const MAX_SHARD_BYTES: usize = 16 << 20;

/// How long a line may take to fill a hole, beyond its usual lag.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

impl<T> Merge<T> {
    /// Puts an update behind a hole, unless it waits there already.
    pub(super) fn hold(&mut self, slot: Slot, held: Held<T>) {
        let topic = &mut self.topics[slot as usize];
        let at = topic.held.partition_point(|other| other.first <= held.first);
        let before = at.checked_sub(1).and_then(|at| topic.held.get(at));
        if before.is_some_and(|other| other.last >= held.last) {
            self.dropped.duplicates += 1;
            return;
        }
        if topic.held.is_empty() {
            self.holes.push(slot);
        }
        topic.held_bytes += held.bytes;
        self.held_bytes += held.bytes;
        topic.held.insert(at, held);
    }

    /// Delivers what waits behind a hole of a topic, as far as it is filled or given up.
    pub(super) fn resolve(&mut self, slot: Slot, now: Instant, wait: Wait) {
        while let Some(head) = self.topics.get(slot as usize).and_then(|topic| topic.held.front()) {
            let next = self.topics[slot as usize].next.unwrap_or(head.first);
            if head.first > next {
                if wait == Wait::Yes && self.may_wait(slot, now) {
                    return;
                }
                let (line, at, to) = (head.line, head.at, head.first - 1);
                let cause = if head.is_complete { GapCause::Venue } else { GapCause::Outage };
                let missing = match head.is_chained {
                    true => Missing::Between { last: next.saturating_sub(1), next: to },
                    false => Missing::Range { from: next, to },
                };
                self.topics[slot as usize].reported = Some(Box::new((next, to)));
                self.lose(slot, line, missing, cause, at);
            }
            self.release(slot, next);
        }
    }

    /// Delivers the first update that waits, unless all of it is older than `next`.
    pub(super) fn release(&mut self, slot: Slot, next: u64) {
        let topic = &mut self.topics[slot as usize];
        let Some(held) = topic.held.pop_front() else {
            return;
        };
        topic.held_bytes -= held.bytes;
        self.held_bytes -= held.bytes;
        if topic.held.is_empty() {
            topic.held = VecDeque::new();
            self.holes.retain(|other| *other != slot);
        }
        if held.last < next {
            self.dropped.duplicates += 1;
            return;
        }
        topic.next = Some(held.last.saturating_add(1));
        topic.last_at = Some(held.at);
        self.count_first(held.line);
        self.outputs.push_back(Output::Update(held.item));
    }

    /// Whether a hole may still be filled: there is time and memory, and a line that has not passed it.
    pub(super) fn may_wait(&self, slot: Slot, now: Instant) -> bool {
        let topic = &self.topics[slot as usize];
        topic.held.len() <= MAX_HELD
            && topic.held_bytes <= MAX_HELD_BYTES
            && self.held_bytes <= MAX_SHARD_BYTES
            && self.deadline(slot).is_some_and(|deadline| deadline > now)
    }

    /// Returns when a hole is given up; `None` if no line may fill it. A line that was asked for the topic before the hole was
    /// noticed may: the venue may have begun to send on it, although its answer is not read. One that is asked afterwards
    /// gets nothing but newer numbers, and is not waited for.
    pub(super) fn deadline(&self, slot: Slot) -> Option<Instant> {
        let topic = self.topics.get(slot as usize)?;
        let (head, next) = (topic.held.front()?, topic.next?);
        let may_fill = |line: &&Line| line.position(slot).may_bring(next, topic.generation);
        let behind = self.lines.iter().flatten().filter(may_fill);
        let lag = behind.map(|line| line.lags.quantile(99)).max()?;
        let since = self.resumed.map_or(head.at, |resumed| resumed.max(head.at));
        Some(since + lag + PATIENCE)
    }

    pub(super) fn lose(
        &mut self,
        slot: Slot,
        line: u8,
        missing: Missing,
        cause: GapCause,
        next_at: Instant,
    ) {
        let topic = &mut self.topics[slot as usize];
        topic.outage = false;
        let last_at = topic.last_at;
        self.outputs.push_back(Output::Gap(Lost { slot, line, missing, cause, last_at, next_at }));
    }
}
