//! What becomes of an update, by the kind of its number.

use crate::feed::event::{GapCause, Missing};
use crate::feed::merge::line::Position;
use crate::feed::merge::topic::{Held, Topic, Wait};
use crate::feed::merge::{Brought, Merge, Output};
use crate::feed::sequence::Numbers;
use crate::feed::topics::Slot;

impl<T> Merge<T> {
    /// Takes an update that covers the numbers from `first` to `last`.
    pub(super) fn take_range(
        &mut self,
        brought: &Brought,
        before: Position,
        (first, last): (u64, u64),
        item: T,
    ) -> Option<T> {
        let Brought { line, slot, at, bytes, sequence, .. } = *brought;
        let end = last.saturating_add(1);
        let is_old = self.topics[slot as usize].next.is_some_and(|next| end <= next);
        let is_old = is_old && !self.is_unmarked_restart(brought, first);
        self.pass(brought, first, end);
        let topic = &mut self.topics[slot as usize];
        topic.outage &= topic.next.is_none();
        let next = *topic.next.get_or_insert(first);
        if is_old {
            self.count_old(slot, last);
            // The line may have passed a hole.
            self.resolve(slot, at, Wait::Yes);
            return None;
        }
        topic.old_since = None;
        if let Some(Some(line)) = self.lines.get_mut(usize::from(line)) {
            line.position_mut(slot).is_alone = false;
        }
        if first <= next {
            topic.next = Some(end);
            let item = self.deliver(brought, item)?;
            if self.topics[slot as usize].held.is_empty() {
                return Some(item);
            }
            self.outputs.push_back(Output::Update(item));
        } else {
            self.hold(
                slot,
                Held {
                    first,
                    last,
                    line,
                    is_chained: matches!(sequence.kind, Numbers::Chained { .. }),
                    is_complete: before.is_numbered && before.next <= next,
                    at,
                    bytes,
                    item,
                },
            );
        }
        self.resolve(slot, at, Wait::Yes);
        None
    }

    /// Takes the whole state of a topic. If other lines carry the topic, it only says how far this one is.
    pub(super) fn take_snapshot(
        &mut self,
        brought: &Brought,
        before: Position,
        item: T,
    ) -> Option<T> {
        let Brought { line, slot, at, sequence, .. } = *brought;
        let number = sequence.last().filter(|_| !matches!(sequence.kind, Numbers::Id(_)));
        let end = number.map(|number| number.saturating_add(1));
        if let Some(end) = end {
            self.pass(brought, end, end);
        }
        let next = self.topics[slot as usize].next;
        let is_old = end.zip(next).is_some_and(|(end, next)| end < next);
        if is_old || self.is_live_elsewhere(line, slot) {
            self.dropped.duplicates += 1;
            self.resolve(slot, at, Wait::Yes);
            return None;
        }
        match (end, next) {
            (Some(end), Some(next)) => {
                let topic = &mut self.topics[slot as usize];
                let was_outage = std::mem::take(&mut topic.outage) || !before.is_joined();
                topic.next = Some(end);
                if end > next {
                    let cause = if was_outage { GapCause::Outage } else { GapCause::Venue };
                    let missing = match sequence.kind {
                        Numbers::Chained { this, .. } => {
                            Missing::Between { last: next.saturating_sub(1), next: this }
                        }
                        _ => Missing::Range { from: next, to: end - 1 },
                    };
                    self.topics[slot as usize].reported = Some(Box::new((next, end - 1)));
                    self.lose(slot, line, missing, cause, at);
                }
            }
            _ => {
                // What waits behind a hole is older, or cannot be compared.
                self.resolve(slot, at, Wait::No);
                self.topics[slot as usize].next = end;
            }
        }
        self.topics[slot as usize].leader = line;
        let item = self.deliver(brought, item)?;
        if self.topics[slot as usize].held.is_empty() {
            return Some(item);
        }
        self.outputs.push_back(Output::Update(item));
        self.resolve(slot, at, Wait::Yes);
        None
    }

    /// Notes the numbers that a line brought, up to `end`.
    pub(super) fn pass(&mut self, brought: &Brought, first: u64, end: u64) {
        if let Some(line) = self.line_mut(brought.line) {
            let position = line.position_mut(brought.slot);
            if !position.is_numbered {
                (position.is_numbered, position.start, position.next) = (true, first, first);
            }
            position.next = position.next.max(end);
        }
    }

    /// Delivers an update, behind all that is to be delivered before it.
    pub(super) fn deliver(&mut self, brought: &Brought, item: T) -> Option<T> {
        let Brought { line, slot, at, sequence, .. } = *brought;
        if std::mem::take(&mut self.topics[slot as usize].outage) {
            self.lose(slot, line, Missing::Unknown, GapCause::Outage, at);
        }
        self.topics[slot as usize].last_at = Some(at);
        self.count_first(line);
        if self.open > 1 {
            self.begin_probe(slot, line, sequence.last(), at);
        }
        if self.outputs.is_empty() {
            return Some(item);
        }
        self.outputs.push_back(Output::Update(item));
        None
    }

    pub(super) fn count_first(&mut self, line: u8) {
        if let Some(line) = self.line_mut(line) {
            line.firsts += 1;
        }
    }

    /// Whether a rising number is newer than all before.
    pub(super) fn rises(&mut self, brought: &Brought, number: u64) -> bool {
        let slot = brought.slot;
        let newest = self.topics[slot as usize].next.and_then(|next| next.checked_sub(1));
        if newest == Some(number)
            || newest > Some(number) && !self.is_unmarked_restart(brought, number)
        {
            return false;
        }
        if let Some(line) = self.line_mut(brought.line) {
            line.position_mut(slot).is_alone = false;
        }
        let topic = &mut self.topics[slot as usize];
        (topic.next, topic.old_since) = (Some(number.saturating_add(1)), None);
        true
    }

    /// Whether updates of this line are delivered, for a topic without numbers.
    pub(super) fn leads(&mut self, brought: &Brought) -> bool {
        let Brought { line, slot, .. } = *brought;
        let leader = self.topics[slot as usize].leader;
        if leader != line && self.is_live(leader, slot) {
            return false;
        }
        self.topics[slot as usize].leader = line;
        true
    }

    /// Returns the number of topics without numbers that a line leads and other lines carry too.
    pub(super) fn led(&self, line: u8) -> usize {
        if self.open < 2 || self.line(line).is_none() {
            return 0;
        }
        let is_led = |(slot, topic): &(Slot, &Topic<T>)| {
            let has_no_numbers = topic.next.is_none() && topic.ids.is_none();
            topic.leader == line
                && has_no_numbers
                && self.is_live(line, *slot)
                && self.is_live_elsewhere(line, *slot)
        };
        (0..).zip(&self.topics).filter(is_led).count()
    }

    /// Counts an update that ends before the number that is delivered next.
    fn count_old(&mut self, slot: Slot, last: u64) {
        self.dropped.count(self.topics[slot as usize].was_reported(last));
    }
}
