//! Where the lines of a shard become one stream for each topic: each update once, in order, from the line that has it
//! first.
//!
//! A reconnect is a line that comes back, a rotation is a line that is added before another is removed, redundant lines
//! are lines that stay. The merge knows no difference: it knows how far each line is in each topic.
//!
//! | numbers | an update is delivered if | a hole |
//! |---|---|---|
//! | contiguous, chained | it covers the next number | is waited for while a line may fill it, then reported |
//! | rising | it is newer than all before | is not noticed |
//! | ids | it is not among the newest 4,096 of its topic | is not noticed |
//! | none | it came on the line that leads the topic | is not noticed |

mod line;
mod recent;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::feed::event::{GapCause, Missing};
use crate::feed::merge::line::{Line, Position};
use crate::feed::merge::recent::Recent;
use crate::feed::sequence::{Numbers, Sequence};
use crate::feed::topics::Slot;

/// The most updates that wait behind a hole of one topic. Beyond it the hole is given up.
const MAX_HELD: usize = 1024;

/// The most bytes that wait behind a hole of one topic.
const MAX_HELD_BYTES: usize = 1 << 20;

/// The most bytes that wait behind holes of all topics of a shard.
const MAX_SHARD_BYTES: usize = 16 << 20;

/// How long a line may take to fill a hole, beyond its usual lag.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long the lines may take to follow one that began its numbers anew. If a line comes back after an outage and brings
/// nothing but old numbers for as long, the venue has begun anew meanwhile.
const RESTART_WINDOW: Duration = Duration::from_secs(5);

/// How long an update waits for the other lines to bring it too, for their lag.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// An update that a line brought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Brought {
    /// The number of the line within its shard.
    pub(crate) line: u8,
    pub(crate) slot: Slot,
    pub(crate) sequence: Sequence,
    /// Whether it is the whole state of the topic.
    pub(crate) snapshot: bool,
    /// The size of its message, which counts while it waits behind a hole.
    pub(crate) bytes: usize,
    /// When it was read.
    pub(crate) at: Instant,
}

/// What is delivered, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output<T> {
    /// An update.
    Update(T),
    /// Updates that no line brought.
    Gap(Lost),
}

/// Updates of a topic that no line brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) slot: Slot,
    /// The line that brought the first update after it.
    pub(crate) line: u8,
    pub(crate) missing: Missing,
    pub(crate) cause: GapCause,
    /// When the last update before it was read, if there was one.
    pub(crate) last_at: Option<Instant>,
    /// When the first update after it was read.
    pub(crate) next_at: Instant,
}

/// Counts of updates that were not delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// They had been delivered before, or belong to numbers that the venue has ended.
    pub(crate) duplicates: u64,
    /// They fill a gap that was reported.
    pub(crate) late: u64,
}

/// The merge of one shard. `T` is what the shard delivers.
pub(crate) struct Merge<T> {
    /// By number; `None` if the line has no open socket.
    lines: Vec<Option<Line>>,
    /// The number of lines with an open socket.
    open: usize,
    /// By slot.
    topics: Vec<Topic<T>>,
    /// The topics that have a hole.
    holes: Vec<Slot>,
    /// Bytes that wait behind holes.
    held_bytes: usize,
    outputs: VecDeque<Output<T>>,
    /// The update by which the lag of the lines is measured.
    probe: Option<Probe>,
    /// Since when the shard reads again, if it had stopped: the time before does not count against a line.
    resumed: Option<Instant>,
    dropped: Dropped,
}

/// What is known of one topic.
struct Topic<T> {
    /// The number that is delivered next: one more than the last. `None` before the first.
    next: Option<u64>,
    /// How often the venue began its numbers anew.
    generation: u32,
    restarted_at: Option<Instant>,
    /// When the last update that was delivered was read.
    last_at: Option<Instant>,
    /// Whether no line carried the topic since, so that updates without a number may be missing.
    outage: bool,
    /// Since when a line that came back after an outage brings nothing but old numbers.
    old_since: Option<Instant>,
    /// The newest numbers that were reported as missing, both included.
    reported: Option<(u64, u64)>,
    /// The line whose updates without a number are delivered.
    leader: u8,
    /// The newest ids.
    ids: Option<Box<Recent>>,
    /// Updates behind a hole, by their first number.
    held: VecDeque<Held<T>>,
    held_bytes: usize,
}

/// An update that waits behind a hole.
struct Held<T> {
    first: u64,
    last: u64,
    line: u8,
    /// Whether the numbers name the update before.
    is_chained: bool,
    /// Whether its line had brought everything up to the hole: then the venue left it out.
    is_complete: bool,
    at: Instant,
    bytes: usize,
    item: T,
}

/// An update that was delivered, and the lines that have brought it.
struct Probe {
    slot: Slot,
    number: u64,
    at: Instant,
    seen: u64,
}

impl<T> Default for Topic<T> {
    fn default() -> Topic<T> {
        Topic {
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

impl<T> Merge<T> {
    pub(crate) fn new() -> Merge<T> {
        Merge {
            lines: Vec::new(),
            open: 0,
            topics: Vec::new(),
            holes: Vec::new(),
            held_bytes: 0,
            outputs: VecDeque::new(),
            probe: None,
            resumed: None,
            dropped: Dropped::default(),
        }
    }

    /// Adds a line, or begins anew with one: its socket is open.
    pub(crate) fn open(&mut self, line: u8, now: Instant) {
        self.close(line, now);
        let line = usize::from(line);
        if line >= self.lines.len() {
            self.lines.resize_with(line + 1, || None);
        }
        self.lines[line] = Some(Line::default());
        self.open += 1;
    }

    /// Removes a line: its socket has ended. Holes that only it could fill are given up.
    pub(crate) fn close(&mut self, line: u8, now: Instant) {
        let closed = self.lines.get_mut(usize::from(line)).and_then(Option::take);
        if closed.is_some() {
            self.open -= 1;
            self.handle_timeout(now);
        }
    }

    /// Removes a topic: what waits behind a hole of it is dropped, and the slot may be used for another one.
    pub(crate) fn remove(&mut self, slot: Slot) {
        if let Some(topic) = self.topics.get_mut(slot as usize) {
            self.held_bytes -= topic.held_bytes;
            *topic = Topic::default();
            self.holes.retain(|other| *other != slot);
            self.lines.iter_mut().flatten().for_each(|line| line.forget(slot));
        }
    }

    /// Notes that a line does not carry a topic any more: the venue has ended the subscription, or is about to begin
    /// it again.
    pub(crate) fn leave(&mut self, line: u8, slot: Slot, now: Instant) {
        if let Some(line) = self.line_mut(line) {
            line.forget(slot);
            self.resolve(slot, now, Wait::Yes);
        }
    }

    /// Notes that the shard reads again after it had stopped.
    pub(crate) fn resume(&mut self, now: Instant) {
        self.resumed = Some(now);
    }

    /// Takes an update. Returns it if it is to be delivered now, before anything else; otherwise what is to be delivered
    /// comes from [`poll_output`](Merge::poll_output). An update of a line that is not open is dropped.
    #[inline]
    pub(crate) fn take(&mut self, brought: &Brought, item: T) -> Option<T> {
        let Brought { line, slot, sequence, snapshot, .. } = *brought;
        let is_single = self.open == 1;
        let place = self.lines.get_mut(usize::from(line))?.as_mut()?;
        place.updates += 1;
        // The next update of one line that carries the topic: nearly all are.
        if is_single
            && !snapshot
            && !sequence.restarted
            && let Numbers::Contiguous { first, last } = sequence.kind
            && let Some(topic) = self.topics.get_mut(slot as usize)
            && topic.next == Some(first)
            && topic.held.is_empty()
            && topic.old_since.is_none()
        {
            let position = place.position_mut(slot);
            if position.is_numbered && position.generation == topic.generation && !topic.outage {
                (position.next, topic.next) =
                    (last.saturating_add(1), Some(last.saturating_add(1)));
                topic.last_at = Some(brought.at);
                place.firsts += 1;
                return Some(item);
            }
        }
        self.take_any(brought, item)
    }

    /// Takes an update that may be of any kind.
    fn take_any(&mut self, brought: &Brought, item: T) -> Option<T> {
        let Brought { slot, sequence, snapshot, .. } = *brought;
        if slot as usize >= self.topics.len() {
            self.topics.resize_with(slot as usize + 1, Topic::default);
        }
        if self.open > 1 {
            self.measure(brought);
        }
        let restarts = sequence.restarted
            || matches!(sequence.kind, Numbers::Chained { previous, this } if this < previous);
        let before = self.join(brought, restarts);
        if self.position(brought).generation != self.topics[slot as usize].generation {
            self.dropped.duplicates += 1;
            return None;
        }
        if snapshot {
            return self.take_snapshot(brought, before, item);
        }
        match sequence.kind {
            Numbers::Contiguous { first, last } => {
                self.take_range(brought, before, (first, last), item)
            }
            // A sign of life.
            Numbers::Chained { previous, this } if previous == this => None,
            Numbers::Chained { previous, this } if this < previous => {
                self.take_range(brought, before, (this, this), item)
            }
            Numbers::Chained { previous, this } => {
                self.take_range(brought, before, (previous.saturating_add(1), this), item)
            }
            Numbers::Rising(number) if self.rises(brought, number) => self.deliver(brought, item),
            Numbers::Id(number)
                if self.topics[slot as usize].ids.get_or_insert_default().insert(number) =>
            {
                self.deliver(brought, item)
            }
            Numbers::None if self.leads(brought) => self.deliver(brought, item),
            Numbers::Rising(_) | Numbers::Id(_) | Numbers::None => {
                self.dropped.duplicates += 1;
                None
            }
        }
    }

    /// Notes that a line brings a topic, and whether it begins its numbers anew. Returns its position before.
    #[inline]
    fn join(&mut self, brought: &Brought, restarts: bool) -> Position {
        let before = self.position(brought);
        let generation = self.topics[brought.slot as usize].generation;
        if !before.is_joined || restarts {
            self.join_anew(brought, before, restarts)
        } else if before.generation != generation && self.rejoins(brought, before) {
            self.join_anew(brought, Position::default(), false)
        } else {
            before
        }
    }

    /// Whether a line of older numbers counts as one that brings the topic for the first time: no other line carries the
    /// topic, or there was time enough to follow.
    fn rejoins(&self, brought: &Brought, before: Position) -> bool {
        let is_live = self.is_live_elsewhere(brought.line, brought.slot);
        let is_over = !self.is_restarting(brought);
        if before.is_provisional { is_over || !is_live } else { is_over && !is_live }
    }

    /// Whether the venue began its numbers anew a short time ago.
    fn is_restarting(&self, brought: &Brought) -> bool {
        let restarted_at = self.topics[brought.slot as usize].restarted_at;
        restarted_at.is_some_and(|restart| brought.at < restart + RESTART_WINDOW)
    }

    fn join_anew(&mut self, brought: &Brought, before: Position, restarts: bool) -> Position {
        let Brought { line, slot, at, .. } = *brought;
        let is_live = self.is_live_elsewhere(line, slot);
        let is_first = !before.is_joined;
        let is_provisional = is_first && is_live && self.is_restarting(brought);
        let is_behind =
            before.is_joined && before.generation != self.topics[slot as usize].generation;
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
        let is_provisional = is_provisional && !restarts;
        let generation = topic.generation.wrapping_sub(is_provisional.into());
        let joined = Position {
            is_joined: true,
            is_numbered: before.is_numbered && !restarts,
            is_alone: is_alone && !restarts,
            is_provisional,
            generation,
            ..before
        };
        if let Some(line) = self.line_mut(line) {
            *line.position_mut(slot) = joined;
        }
        Position { is_joined: before.is_joined, ..joined }
    }

    /// Begins a new generation of numbers.
    fn restart(&mut self, slot: Slot, now: Instant) {
        self.resolve(slot, now, Wait::No);
        let topic = &mut self.topics[slot as usize];
        topic.generation = topic.generation.wrapping_add(1);
        topic.restarted_at = Some(now);
        (topic.next, topic.reported, topic.ids, topic.old_since) = (None, None, None, None);
    }

    /// Whether old numbers of a line show that the venue began anew while no line carried the topic. The line itself must
    /// not have brought them before.
    fn is_unmarked_restart(&mut self, brought: &Brought, first: u64) -> bool {
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

    /// Takes an update that covers the numbers from `first` to `last`.
    fn take_range(
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
    fn take_snapshot(&mut self, brought: &Brought, before: Position, item: T) -> Option<T> {
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
                let was_outage = std::mem::take(&mut topic.outage) || !before.is_joined;
                topic.next = Some(end);
                if end > next {
                    let cause = if was_outage { GapCause::Outage } else { GapCause::Venue };
                    let missing = match sequence.kind {
                        Numbers::Chained { this, .. } => {
                            Missing::Between { last: next.saturating_sub(1), next: this }
                        }
                        _ => Missing::Range { from: next, to: end - 1 },
                    };
                    self.topics[slot as usize].reported = Some((next, end - 1));
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
    fn pass(&mut self, brought: &Brought, first: u64, end: u64) {
        if let Some(line) = self.line_mut(brought.line) {
            let position = line.position_mut(brought.slot);
            if !position.is_numbered {
                (position.is_numbered, position.start, position.next) = (true, first, first);
            }
            position.next = position.next.max(end);
        }
    }

    /// Delivers an update, behind all that is to be delivered before it.
    fn deliver(&mut self, brought: &Brought, item: T) -> Option<T> {
        let Brought { line, slot, at, sequence, .. } = *brought;
        if std::mem::take(&mut self.topics[slot as usize].outage) {
            self.lose(slot, line, Missing::Unknown, GapCause::Outage, at);
        }
        self.topics[slot as usize].last_at = Some(at);
        self.count_first(line);
        if self.open > 1 {
            self.begin_probe(slot, line, sequence, at);
        }
        if self.outputs.is_empty() {
            return Some(item);
        }
        self.outputs.push_back(Output::Update(item));
        None
    }

    fn count_first(&mut self, line: u8) {
        if let Some(line) = self.line_mut(line) {
            line.firsts += 1;
        }
    }

    /// Whether a rising number is newer than all before.
    fn rises(&mut self, brought: &Brought, number: u64) -> bool {
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
    fn leads(&mut self, brought: &Brought) -> bool {
        let Brought { line, slot, .. } = *brought;
        let leader = self.topics[slot as usize].leader;
        if leader != line && self.is_live(leader, slot) {
            return false;
        }
        self.topics[slot as usize].leader = line;
        true
    }

    /// Counts an update that ends before the number that is delivered next.
    fn count_old(&mut self, slot: Slot, last: u64) {
        let is_late = |(from, to)| from <= last && last <= to;
        if self.topics[slot as usize].reported.is_some_and(is_late) {
            self.dropped.late += 1;
        } else {
            self.dropped.duplicates += 1;
        }
    }

    /// Puts an update behind a hole, unless it waits there already.
    fn hold(&mut self, slot: Slot, held: Held<T>) {
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
    fn resolve(&mut self, slot: Slot, now: Instant, wait: Wait) {
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
                self.topics[slot as usize].reported = Some((next, to));
                self.lose(slot, line, missing, cause, at);
            }
            self.release(slot, next);
        }
    }

    /// Delivers the first update that waits, unless all of it is older than `next`.
    fn release(&mut self, slot: Slot, next: u64) {
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
    fn may_wait(&self, slot: Slot, now: Instant) -> bool {
        let topic = &self.topics[slot as usize];
        topic.held.len() <= MAX_HELD
            && topic.held_bytes <= MAX_HELD_BYTES
            && self.held_bytes <= MAX_SHARD_BYTES
            && self.deadline(slot).is_some_and(|deadline| deadline > now)
    }

    /// Returns when a hole is given up; `None` if no line may fill it.
    fn deadline(&self, slot: Slot) -> Option<Instant> {
        let topic = self.topics.get(slot as usize)?;
        let (head, next) = (topic.held.front()?, topic.next?);
        let may_fill = |line: &&Line| {
            let position = line.position(slot);
            position.is_numbered && position.generation == topic.generation && position.next <= next
        };
        let behind = self.lines.iter().flatten().filter(may_fill);
        let lag = behind.map(|line| line.lags.quantile(99)).max()?;
        let since = self.resumed.map_or(head.at, |resumed| resumed.max(head.at));
        Some(since + lag + PATIENCE)
    }

    fn lose(&mut self, slot: Slot, line: u8, missing: Missing, cause: GapCause, next_at: Instant) {
        let topic = &mut self.topics[slot as usize];
        topic.outage = false;
        let last_at = topic.last_at;
        self.outputs.push_back(Output::Gap(Lost { slot, line, missing, cause, last_at, next_at }));
    }

    /// Measures the lag of a line, if another one was the first to bring this update.
    fn measure(&mut self, brought: &Brought) {
        let Brought { line, slot, sequence, at, .. } = *brought;
        let bit = 1 << (line % 64);
        let Some(probe) = self.probe.as_mut().filter(|probe| {
            probe.slot == slot && Some(probe.number) == sequence.last() && probe.seen & bit == 0
        }) else {
            return;
        };
        probe.seen |= bit;
        let lag = at.saturating_duration_since(probe.at);
        if let Some(line) = self.line_mut(line) {
            line.lags.push(lag);
        }
    }

    /// Chooses an update to measure lags by, if the last one has been brought by all lines or is too old.
    fn begin_probe(&mut self, slot: Slot, line: u8, sequence: Sequence, at: Instant) {
        let is_over = self.probe.as_ref().is_none_or(|probe| {
            probe.seen.count_ones() as usize >= self.open || at >= probe.at + PROBE_TIMEOUT
        });
        let (true, Some(number)) = (is_over, sequence.last()) else {
            return;
        };
        self.probe = Some(Probe { slot, number, at, seen: 1 << (line % 64) });
        if let Some(line) = self.line_mut(line) {
            line.lags.push(Duration::ZERO);
        }
    }

    fn line(&self, line: u8) -> Option<&Line> {
        self.lines.get(usize::from(line))?.as_ref()
    }

    fn line_mut(&mut self, line: u8) -> Option<&mut Line> {
        self.lines.get_mut(usize::from(line))?.as_mut()
    }

    fn position(&self, brought: &Brought) -> Position {
        self.line(brought.line).map(|line| line.position(brought.slot)).unwrap_or_default()
    }

    /// Whether a line brings a topic, in the numbers that are delivered.
    fn is_live(&self, line: u8, slot: Slot) -> bool {
        let position = self.line(line).map(|line| line.position(slot)).unwrap_or_default();
        let generation = self.topics.get(slot as usize).map(|topic| topic.generation);
        position.is_joined && Some(position.generation) == generation
    }

    fn is_live_elsewhere(&self, line: u8, slot: Slot) -> bool {
        let numbers = (0..=u8::MAX).take(self.lines.len());
        numbers.filter(|other| *other != line).any(|other| self.is_live(other, slot))
    }

    /// Returns what is to be delivered next.
    pub(crate) fn poll_output(&mut self) -> Option<Output<T>> {
        self.outputs.pop_front()
    }

    /// Returns when [`handle_timeout`](Merge::handle_timeout) is to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.holes.iter().filter_map(|slot| self.deadline(*slot)).min()
    }

    /// Gives up the holes whose time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        for slot in self.holes.clone() {
            self.resolve(slot, now, Wait::Yes);
        }
    }

    /// Whether a line has joined a topic: the topic would go on without a hole if all other lines were removed.
    pub(crate) fn has_joined(&self, line: u8, slot: Slot) -> bool {
        let position = self.line(line).map(|line| line.position(slot)).unwrap_or_default();
        let next = self.topics.get(slot as usize).and_then(|topic| topic.next);
        self.is_live(line, slot)
            && (!position.is_numbered || next.is_some_and(|next| position.start <= next))
    }

    /// Returns the lag of a line behind the first one: the median, and the 99th of 100.
    pub(crate) fn lag(&self, line: u8) -> Option<(Duration, Duration)> {
        self.line(line).map(|line| (line.lags.quantile(50), line.lags.quantile(99)))
    }

    /// Returns the updates that a line has brought, and how many of them before any other line.
    pub(crate) fn firsts(&self, line: u8) -> Option<(u64, u64)> {
        self.line(line).map(|line| (line.updates, line.firsts))
    }

    pub(crate) fn dropped(&self) -> Dropped {
        self.dropped
    }
}

/// Whether a hole is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Yes,
    No,
}

#[cfg(test)]
mod tests;
