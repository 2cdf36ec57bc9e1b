//! The generations of a topic's numbers: a venue that begins them anew, and lines that follow.

use std::time::{Duration, Instant};

use crate::feed::merge::line::{Position, Presence};
use crate::feed::merge::topic::Wait;
use crate::feed::merge::{Brought, Merge};
use crate::feed::topics::Slot;

/// How long the lines may take to follow one that began its numbers anew. If a line comes back after an outage and brings
/// nothing but old numbers for as long, the venue has begun anew meanwhile.
const RESTART_WINDOW: Duration = Duration::from_secs(5);

impl<T> Merge<T> {
    /// Notes that a line brings a topic, and whether it begins its numbers anew. Returns its position before.
    #[inline]
    pub(super) fn join(&mut self, brought: &Brought, restarts: bool) -> Position {
        let before = self.position(brought);
        let generation = self.topics[brought.slot as usize].generation;
        if !before.is_joined() || restarts {
            self.join_anew(brought, before, restarts)
        } else if before.generation != generation && self.rejoins(brought, before) {
            self.join_anew(brought, Position::default(), false)
        } else {
            before
        }
    }

    /// Whether a line of older numbers counts as one that brings the topic for the first time: no other line carries the
    /// topic, or there was time enough to follow.
    pub(super) fn rejoins(&self, brought: &Brought, before: Position) -> bool {
        let is_live = self.is_live_elsewhere(brought.line, brought.slot);
        let is_over = !self.is_restarting(brought);
        if before.is_provisional { is_over || !is_live } else { is_over && !is_live }
    }

    /// Whether the venue began its numbers anew a short time ago.
    pub(super) fn is_restarting(&self, brought: &Brought) -> bool {
        let restarted_at = self.topics[brought.slot as usize].restarted_at.as_deref();
        restarted_at.is_some_and(|restart| brought.at < *restart + RESTART_WINDOW)
    }

    pub(super) fn join_anew(
        &mut self,
        brought: &Brought,
        before: Position,
        restarts: bool,
    ) -> Position {
        let Brought { line, slot, at, .. } = *brought;
        let is_live = self.is_live_elsewhere(line, slot);
        let is_first = !before.is_joined();
        let is_provisional = is_first && is_live && self.is_restarting(brought);
        let is_behind =
            before.is_joined() && before.generation != self.topics[slot as usize].generation;
        // Otherwise it follows another line that did.
        if restarts && !is_behind && !is_provisional {
            self.restart(slot, at);
        }
        for other in self.lines.iter_mut().flatten() {
            other.position_mut(slot).is_alone = false;
        }
        let topic = &mut self.topics[slot as usize];
        let is_alone = is_first && !is_live && topic.last_at.is_some();
        topic.outage |= is_alone;
        if is_alone {
            // What an earlier socket brought again says nothing of this one.
            topic.old_since = None;
        }
        let is_provisional = is_provisional && !restarts;
        let generation = topic.generation.wrapping_sub(is_provisional.into());
        let joined = Position {
            presence: Presence::Joined,
            is_numbered: before.is_numbered && !restarts,
            is_alone: is_alone && !restarts,
            is_provisional,
            generation,
            ..before
        };
        if let Some(line) = self.line_mut(line) {
            *line.position_mut(slot) = joined;
        }
        Position { presence: before.presence, ..joined }
    }

    /// Begins a new generation of numbers.
    pub(super) fn restart(&mut self, slot: Slot, now: Instant) {
        self.resolve(slot, now, Wait::No);
        let topic = &mut self.topics[slot as usize];
        topic.generation = topic.generation.wrapping_add(1);
        topic.restarted_at = Some(Box::new(now));
        (topic.next, topic.reported, topic.ids, topic.old_since) = (None, None, None, None);
    }

    /// Gives the lines the whole time once more to follow a venue that has begun its numbers anew, where it was not over
    /// when the shard stopped reading.
    pub(super) fn extend_restarts(&mut self, held: Instant, now: Instant) {
        for topic in &mut self.topics {
            if let Some(at) = topic.restarted_at.as_deref_mut()
                && held < *at + RESTART_WINDOW
            {
                *at = now;
            }
            topic.old_since = topic.old_since.map(|_| now);
        }
    }

    /// Whether old numbers of a line show that the venue began anew while no line carried the topic. The line itself must
    /// not have brought them before.
    pub(super) fn is_unmarked_restart(&mut self, brought: &Brought, first: u64) -> bool {
        let Brought { line, slot, at, .. } = *brought;
        let position = self.position(brought);
        if !position.is_alone || position.is_numbered && first < position.next {
            return false;
        }
        let since = *self.topics[slot as usize].old_since.get_or_insert(at);
        let restarts = at.saturating_duration_since(since) >= RESTART_WINDOW;
        if restarts {
            self.restart(slot, at);
            let topic = &mut self.topics[slot as usize];
            topic.outage = true;
            let generation = topic.generation;
            if let Some(line) = self.line_mut(line) {
                let position = line.position_mut(slot);
                (position.generation, position.is_numbered) = (generation, false);
                position.is_alone = false;
            }
        }
        restarts
    }
}
