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

mod generation;
mod holes;
mod line;
mod recent;
mod topic;
mod updates;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::feed::event::{GapCause, Missing};
use crate::feed::merge::line::{Line, Position, Presence, Probe};
use crate::feed::merge::topic::{Topic, Wait};
use crate::feed::sequence::{Numbers, Sequence};
use crate::feed::table;
use crate::feed::topics::Slot;

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

/// What becomes of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// It is delivered now, before anything else.
    Next,
    /// It is dropped.
    Known,
    /// [`Merge::take`] decides.
    Open,
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

/// Whether a line brings a topic, from where the others are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    /// It does not bring the topic, or begins behind what was delivered last.
    No,
    /// It brings the topic. What the others have brought before, and is under way there, it may not bring.
    Roughly,
    /// It brings everything from the next number on.
    Yes,
}

/// Counts of updates that were not delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// They had been delivered before, or belong to numbers that the venue has ended.
    pub(crate) duplicates: u64,
    /// They fill a gap that was reported.
    pub(crate) late: u64,
}

impl Dropped {
    /// Counts an update, which fills a gap that was reported or does not.
    #[inline]
    fn count(&mut self, was_reported: bool) {
        *(if was_reported { &mut self.late } else { &mut self.duplicates }) += 1;
    }
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
    /// Whether the next update may become the probe: there are several lines, and the last probe may be over.
    may_probe: bool,
    /// When the updates that are judged were read.
    read_at: Option<Instant>,
    /// When the shard stopped reading; `None` while it reads.
    held: Option<Instant>,
    /// Since when the shard reads again, if it had stopped: the time before does not count against a line.
    resumed: Option<Instant>,
    dropped: Dropped,
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
            may_probe: false,
            read_at: None,
            held: None,
            resumed: None,
            dropped: Dropped::default(),
        }
    }

    /// Adds a line, or begins anew with one: its socket is open.
    pub(crate) fn open(&mut self, line: u8, now: Instant) {
        self.close(line, now);
        let line = usize::from(line);
        if line >= self.lines.len() {
            table::fill(&mut self.lines, line + 1, || None);
        }
        self.lines[line] = Some(Line::default());
        self.open += 1;
        self.may_probe = self.open > 1;
    }

    /// Removes a line: its socket has ended. Holes that only it could fill are given up. Returns the number of topics
    /// without numbers that it led and other lines carry on.
    pub(crate) fn close(&mut self, line: u8, now: Instant) -> usize {
        let led = self.led(line);
        let closed = self.lines.get_mut(usize::from(line)).and_then(Option::take);
        if closed.is_some() {
            self.open -= 1;
            self.may_probe = self.open > 1;
            self.handle_timeout(now);
        }
        led
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

    /// Notes that a topic is asked for on a line: what the venue sends from now on may be under way on it. A hole of numbers
    /// that were sent before is not waited for, as the line cannot fill it.
    pub(crate) fn ask(&mut self, line: u8, slot: Slot) {
        let topic = self.topics.get(slot as usize);
        let (start, generation) = topic.map_or((0, 0), |it| (it.known(), it.generation));
        if let Some(line) = self.line_mut(line) {
            let position = line.position_mut(slot);
            if position.presence == Presence::None {
                let presence = Presence::Asked;
                *position = Position { presence, start, generation, ..Position::default() };
            }
        }
    }

    /// Notes that the venue has refused a topic on a line, which has brought nothing of it. A hole that it alone could fill is
    /// given up.
    pub(crate) fn refuse(&mut self, line: u8, slot: Slot, now: Instant) {
        if let Some(line) = self.line_mut(line)
            && !line.position(slot).is_joined()
        {
            line.forget(slot);
            self.resolve(slot, now, Wait::Yes);
        }
    }

    /// Notes that the venue has confirmed a topic on a line: what the line has not brought yet may be under way on it.
    pub(crate) fn confirm(&mut self, line: u8, slot: Slot) {
        if let Some(line) = self.line_mut(line) {
            let presence = &mut line.position_mut(slot).presence;
            *presence = (*presence).max(Presence::Confirmed);
        }
    }

    /// Notes that the shard stops reading.
    pub(crate) fn suspend(&mut self, now: Instant) {
        self.held.get_or_insert(now);
    }

    /// Notes that the shard reads again after it had stopped.
    pub(crate) fn resume(&mut self, now: Instant) {
        self.resumed = Some(now);
        if let Some(held) = self.held.take() {
            self.extend_restarts(held, now);
        }
    }

    /// Begins with what was read at one time.
    pub(crate) fn begin_read(&mut self, at: Instant) {
        self.read_at = Some(at);
        let is_over = self.probe.as_ref().is_some_and(|probe| at >= probe.until);
        self.may_probe |= is_over && self.open > 1;
    }

    /// Decides about an update without having it: the first half of [`take`](Merge::take). Nearly all updates have a range
    /// of numbers, and are the next of their topic or known; `take` alone would need 150 instructions more for each. An
    /// update of a line that is not open is dropped. The update belongs to the read that was begun last.
    #[inline(always)]
    pub(crate) fn judge(
        &mut self,
        line: u8,
        slot: Slot,
        sequence: Sequence,
        snapshot: bool,
    ) -> Judged {
        let Some(Some(place)) = self.lines.get_mut(usize::from(line)) else { return Judged::Known };
        let Numbers::Contiguous { first, last } = sequence.kind else { return Judged::Open };
        let Some(end) = last.checked_add(1) else { return Judged::Open };
        let Some(topic) = self.topics.get_mut(slot as usize) else { return Judged::Open };
        let Some(position) = place.known_mut(slot) else { return Judged::Open };
        let is_plain = !snapshot && !sequence.restarted && topic.is_plain;
        if !is_plain || !position.is_plain(topic.generation) {
            return Judged::Open;
        }
        let Some(next) = topic.next.as_mut().filter(|next| first <= **next) else {
            return Judged::Open;
        };
        position.next = position.next.max(end);
        place.updates += 1;
        if end <= *next {
            self.dropped.count(topic.was_reported(last));
            if self.probe.as_ref().is_some_and(|probe| probe.is(slot, last, line)) {
                self.probe_now(slot, line, last, false);
            }
            return Judged::Known;
        }
        *next = end;
        topic.last_at = self.read_at;
        place.firsts += 1;
        if self.may_probe {
            self.probe_now(slot, line, last, true);
        }
        Judged::Next
    }

    /// Measures the lag of a line, or chooses another update to measure by if that was the last line. Some two times for
    /// each probe.
    #[cold]
    fn probe_now(&mut self, slot: Slot, line: u8, number: u64, is_next: bool) {
        let Some(at) = self.read_at.filter(|_| self.open > 1) else { return };
        match is_next {
            true => self.begin_probe(slot, line, Some(number), at),
            false => self.measure(line, slot, number, at),
        }
    }

    /// Takes an update that `judge` has left open. Returns it if it is to be delivered now, before anything else; otherwise
    /// what is to be delivered comes from [`poll_output`](Merge::poll_output).
    #[inline(never)]
    pub(crate) fn take(&mut self, brought: &Brought, item: T) -> Option<T> {
        self.line_mut(brought.line)?.updates += 1;
        let slot = brought.slot as usize;
        if slot >= self.topics.len() {
            table::fill(&mut self.topics, slot + 1, Topic::default);
        }
        let item = self.take_by_number(brought, item);
        if item.is_none() && !self.topics[slot].held.is_empty() {
            // With what it brought the line may have passed a hole, or have shown that it cannot fill it.
            self.resolve(brought.slot, brought.at, Wait::Yes);
        }
        // Whatever else changes a topic leaves it as plain as it was, or more so.
        let topic = &mut self.topics[slot];
        topic.is_plain = topic.looks_plain();
        item
    }

    fn take_by_number(&mut self, brought: &Brought, item: T) -> Option<T> {
        let Brought { slot, sequence, snapshot, .. } = *brought;
        if self.open > 1
            && let Some(number) = sequence.last()
        {
            self.measure(brought.line, slot, number, brought.at);
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

    /// Measures the lag of a line, if another one was the first to bring this update.
    fn measure(&mut self, line: u8, slot: Slot, number: u64, at: Instant) {
        let probe = self.probe.as_mut().filter(|probe| probe.is(slot, number, line));
        let Some(probe) = probe else { return };
        probe.seen |= bit(line);
        probe.count += 1;
        self.may_probe |= probe.count >= self.open;
        let lag = at.saturating_duration_since(probe.at);
        if let Some(line) = self.line_mut(line) {
            line.lags.push(lag);
        }
    }

    /// Chooses an update to measure lags by, if the last one has been brought by all lines or is too old. Every other line
    /// has to bring the topic, and must not have passed the update.
    fn begin_probe(&mut self, slot: Slot, line: u8, number: Option<u64>, at: Instant) {
        let Some(number) = number.filter(|_| self.may_probe) else { return };
        let is_under_way = |probe: &Probe| probe.count < self.open && at < probe.until;
        if self.probe.as_ref().is_some_and(is_under_way) {
            self.may_probe = false;
            return;
        }
        let others = (0..).zip(&self.lines).filter(|(other, _)| *other != line);
        let mut positions = others.filter_map(|(_, line)| Some(line.as_ref()?.position(slot)));
        if !positions.all(|position| position.is_joined() && position.next <= number) {
            return;
        }
        let until = at + PROBE_TIMEOUT;
        self.probe = Some(Probe { slot, number, at, until, seen: bit(line), count: 1 });
        self.may_probe = false;
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
        position.is_joined() && Some(position.generation) == generation
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

    /// Returns the number that is delivered next of a topic, if it is known, and when its last update was read.
    pub(crate) fn newest(&self, slot: Slot) -> (Option<u64>, Option<Instant>) {
        let topic = self.topics.get(slot as usize);
        topic.map(|topic| (topic.next, topic.last_at)).unwrap_or_default()
    }

    /// Returns whether a topic would go on without a hole if all lines but this one were removed.
    pub(crate) fn joined(&self, line: u8, slot: Slot) -> Joined {
        let position = self.line(line).map(|line| line.position(slot)).unwrap_or_default();
        let next = self.topics.get(slot as usize).and_then(|topic| topic.next);
        match position.is_numbered {
            _ if !self.is_live(line, slot) => Joined::No,
            false => Joined::Roughly,
            true if next.is_some_and(|next| position.start <= next) => Joined::Yes,
            true => Joined::No,
        }
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

/// Returns the bit of a line.
fn bit(line: u8) -> u64 {
    1 << (line % 64)
}

#[cfg(test)]
mod tests;
