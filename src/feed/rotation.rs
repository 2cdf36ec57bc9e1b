//! When a line of a shard is replaced by a new one, and when the new one has taken over.
//!
//! A value: the shard reports what its lines are, starts and closes them, and counts the result. One line of a shard is
//! replaced at a time.
//!
//! ```text
//!            due            new line active         all topics joined       old line ended
//!   (none) ------> Opening ----------------> Joining ---------------> Draining ----------> done
//!                   ^  |  new line lost          |
//!                   |  +<------------------------+----> old line lost: done
//!                   |  | no permit for 30 s      +----> refused, no data for 30 s: failed
//!                   |  v
//!                  Breaking ---- line active again ---------------------------------------> done
//! ```
//!
//! Each ends within a bound, whatever the lines and the venue do: no stage but that of closing takes longer than
//! [`STAGE_TIMEOUT`], a new line that has a socket is bounded by the deadlines of its session, and one that fails again and
//! again by [`MAX_FAILURES`].

mod age;
mod clock;
mod joining;

use std::time::{Duration, Instant, SystemTime};

use crate::feed::merge::Joined;
use crate::feed::rotate::Rotate;
use crate::feed::rotation::age::Age;
use crate::feed::rotation::clock::{Clock, Mark};
use crate::feed::rotation::joining::Joining;
use crate::feed::said::Refusal;
use crate::feed::topics::Slot;

/// How long the new line waits for the permit of a socket while the old one has one.
const NO_SOCKET: Duration = Duration::from_secs(30);
/// The time from a failure to the next try.
const REST: Duration = Duration::from_secs(600);
/// How often the new line may fail, by a dial or by the loss of its socket.
const MAX_FAILURES: u32 = 3;
/// How long after a socket has opened an announcement of its end is taken for what each socket is notified of.
const YOUNG: Duration = Duration::from_secs(60);
/// The least time from such an announcement to the rotation: a venue that is about to end all sockets is not dialled again
/// and again.
const LEAST_AGE: Duration = Duration::from_secs(5);
/// How long a new line may have no socket, how long its topics may take to join once it is active, and how long a line that
/// was closed first may take to carry every topic again. More than a venue that is overrun needs to answer, or a budget to
/// reach a line of a large feed.
pub(crate) const STAGE_TIMEOUT: Duration = Duration::from_secs(3600);
/// The time between two looks at the topics that have not joined.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// What a line of the shard is doing, as far as it matters for its replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leg {
    /// Its number.
    pub(crate) line: u8,
    pub(crate) is_open: bool,
    /// Whether every wanted topic is confirmed or refused on it. If it is to replace a line, those that the other one
    /// carries are enough.
    pub(crate) is_active: bool,
    /// Whether its dial waits for a budget of sockets.
    pub(crate) waits_for_socket: bool,
    /// Whether it may be replaced: it is not refused for good.
    pub(crate) may_rotate: bool,
}

/// What has to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Start the line `new`, and do not dial `old` any more.
    Start { old: u8, new: u8 },
    /// Close the line, and dial it again at once. `new` was started and is closed.
    Break { line: u8, new: Option<u8> },
    /// Close `old`: `new` carries its topics.
    HandOver { old: u8, new: u8 },
    /// Report that `to` has taken the place of `from`. They are one line if it was closed first.
    Done { from: u8, to: u8, overlap: Duration },
    /// Close `new`, and go on with `old`.
    Fail { old: u8, new: u8, why: Why },
}

/// Why a rotation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The venue refused a topic that the old line carries.
    Refused(Slot, Refusal),
    /// A topic has brought data on the old line alone.
    NoData(Slot),
    /// The new line failed too often, or has ended.
    Lost,
    /// The line that was started, or that was closed first, has had its time.
    Overdue,
    /// The feed is paused.
    Paused,
}

/// The rotations of one shard.
#[derive(Debug)]
pub(crate) struct Rotation {
    rule: Rotate,
    /// The number of lines without those of a rotation. A line and the one that replaces it have numbers that differ by
    /// this.
    lines: u8,
    /// By number of the line; `None` without an open socket.
    ages: Vec<Option<Age>>,
    /// The lines that were announced to end, or that a command is about, one bit for each.
    asked: u64,
    /// No rotation of a line begins before this time, by number modulo `lines`.
    rests: Vec<Option<Instant>>,
    under_way: Option<UnderWay>,
    /// Of the last rotation that was done.
    given_up: Vec<Slot>,
    is_paused: bool,
    clock: Clock,
    /// When to call `poll`; `None`: after an event.
    next: Option<Instant>,
    /// Whether there was an event since `poll` found nothing to do.
    is_changed: bool,
}

/// A rotation that is under way.
#[derive(Debug)]
struct UnderWay {
    old: u8,
    /// The same as `old` if it is closed first.
    new: u8,
    stage: Stage,
    failures: u32,
    refused: Option<(Slot, Refusal)>,
    /// The topics of the old line that the venue has refused for good on the new one.
    given_up: Vec<Slot>,
}

#[derive(Debug)]
enum Stage {
    /// The new line dials, logs in, and subscribes.
    Opening {
        /// Since when it has no open socket.
        closed_since: Option<Mark>,
        /// Since when it waits for the permit of a socket.
        waits_since: Option<Mark>,
    },
    /// The new line is active.
    Joining(Joining),
    /// The old line is closing.
    Draining { overlap: Duration },
    /// The line itself is dialled again.
    Breaking { since: Mark, is_closed: bool },
}

impl Stage {
    /// The first stage of a new line, and that after the loss of its socket.
    const OPENING: Stage = Stage::Opening { closed_since: None, waits_since: None };
}

impl UnderWay {
    /// Returns for how long both lines have carried the topics.
    fn overlap(&self, now: Instant) -> Duration {
        match &self.stage {
            Stage::Joining(joining) => joining.since.elapsed(now),
            _ => Duration::ZERO,
        }
    }

    fn done(&self, overlap: Duration) -> Step {
        Step::Done { from: self.old, to: self.new, overlap }
    }
}

impl Rotation {
    pub(crate) fn new(rule: Rotate, lines: u8, now: Instant) -> Rotation {
        Rotation {
            rule,
            lines,
            ages: Vec::new(),
            asked: 0,
            rests: vec![None; lines.into()],
            under_way: None,
            given_up: Vec::new(),
            is_paused: false,
            clock: Clock::new(now),
            next: None,
            is_changed: false,
        }
    }

    /// A line has opened a socket. `share` is random, from 0 to 1.
    pub(crate) fn open(&mut self, line: u8, now: Instant, wall: SystemTime, share: f64) {
        let at = usize::from(line);
        if at >= self.ages.len() {
            self.ages.resize_with(at + 1, || None);
        }
        self.ages[at] = Some(Age::new(&self.rule, now, wall, share));
        self.is_changed = true;
    }

    /// Every topic is confirmed or refused on a line.
    pub(crate) fn activate(&mut self, line: u8, now: Instant) {
        if let Some(Some(age)) = self.ages.get_mut(usize::from(line)) {
            age.activate(now);
            self.is_changed = true;
        }
    }

    /// The socket of a line has ended.
    pub(crate) fn close(&mut self, line: u8) {
        if let Some(age) = self.ages.get_mut(usize::from(line)) {
            *age = None;
        }
        self.asked &= !bit(line);
        self.is_changed = true;
        let Some(under_way) = self.under_way.as_mut().filter(|it| it.new == line) else { return };
        if let Stage::Breaking { is_closed, .. } = &mut under_way.stage {
            *is_closed = true;
            return;
        }
        under_way.failures += 1;
        if let Stage::Joining(_) = under_way.stage {
            under_way.stage = Stage::OPENING;
        }
    }

    /// A dial of a line has failed.
    pub(crate) fn failed(&mut self, line: u8) {
        let under_way = self.under_way.as_mut().filter(|it| it.new == line && it.old != line);
        under_way.into_iter().for_each(|under_way| under_way.failures += 1);
    }

    /// A line has ended: its number is free.
    pub(crate) fn ended(&mut self) {
        self.is_changed = true;
    }

    /// The venue has announced that it ends the socket of a line within this time. It is replaced at once; one that was
    /// opened a short time ago, for which this is its age, after half the time.
    pub(crate) fn announce(&mut self, line: u8, within: Duration, now: Instant) {
        match self.ages.get_mut(usize::from(line)) {
            Some(Some(age)) if now < age.since + YOUNG => {
                age.announce(now, (within / 2).max(LEAST_AGE));
                self.is_changed = true;
            }
            _ => self.ask(line),
        }
    }

    /// A line is replaced at once, for a command.
    pub(crate) fn ask(&mut self, line: u8) {
        let is_under_way = self.under_way.as_ref().is_some_and(|it| it.old == line);
        if !is_under_way {
            self.asked |= bit(line);
            let slot = usize::from(line % self.lines);
            self.rests[slot] = None;
            self.is_changed = true;
        }
    }

    /// A line brings data of a topic.
    #[inline]
    pub(crate) fn data(&mut self, line: u8, slot: Slot, now: Instant) {
        if let Some(UnderWay { old, stage: Stage::Joining(joining), .. }) = &mut self.under_way
            && *old == line
        {
            joining.tick(slot, &self.clock, now);
        }
    }

    /// Whether the data of lines matters.
    pub(crate) fn is_watching(&self) -> bool {
        matches!(self.under_way, Some(UnderWay { stage: Stage::Joining(_), .. }))
    }

    /// The venue has refused a topic on a line. `others` are the lines that carry it, one bit for each.
    pub(crate) fn refused(&mut self, line: u8, slot: Slot, refusal: &Refusal, others: u64) {
        let Some(under_way) = self.under_way.as_mut().filter(|it| it.new == line) else { return };
        let is_carried = others & bit(under_way.old) != 0 && under_way.old != line;
        if is_carried && refusal.for_good {
            under_way.given_up.push(slot);
        } else if is_carried {
            under_way.refused.get_or_insert((slot, refusal.clone()));
        }
    }

    /// Returns the topics that the last rotation has left behind: the old line carried them, and on the new one the venue
    /// has refused them for good. Empty when called again.
    pub(crate) fn take_given_up(&mut self) -> Vec<Slot> {
        std::mem::take(&mut self.given_up)
    }

    /// Forgets a topic: its slot may be used for another one.
    pub(crate) fn release(&mut self, slot: Slot) {
        let Some(under_way) = &mut self.under_way else { return };
        under_way.given_up.retain(|other| *other != slot);
        if let Stage::Joining(joining) = &mut under_way.stage {
            joining.release(slot);
        }
    }

    /// Begins or ends a time in which nothing is decided, because the shard does not read.
    pub(crate) fn hold(&mut self, holds: bool, now: Instant) {
        self.clock.hold(holds, now);
        if !holds {
            // At once: if nothing has come meanwhile, there may be no event for long.
            (self.is_changed, self.next) = (true, Some(now));
        }
    }

    /// Begins or ends a time in which no line is dialled.
    pub(crate) fn pause(&mut self, pauses: bool) {
        self.is_paused = pauses;
        self.is_changed = true;
    }

    /// Whether no line is dialled.
    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Returns the line that is to be replaced, and the one that replaces it, until the hand-over.
    pub(crate) fn lines(&self) -> Option<(u8, u8)> {
        let is_before = |it: &&UnderWay| !matches!(it.stage, Stage::Draining { .. });
        self.under_way.as_ref().filter(is_before).map(|it| (it.old, it.new))
    }

    /// Whether `poll` has to be called.
    #[inline]
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.is_changed || self.under_way.is_some() || self.next.is_some_and(|at| at <= now)
    }

    /// Returns when to call `poll` next, apart from every event.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// Returns what has to be done now. `legs` are the lines of the shard; `topics` is one more than the highest slot, and
    /// `joined` says how far one of them is on the new line.
    pub(crate) fn poll(
        &mut self,
        legs: &[Leg],
        topics: Slot,
        now: Instant,
        wall: SystemTime,
        joined: impl Fn(u8, Slot) -> Joined,
    ) -> Option<Step> {
        self.next = None;
        let under_way = self.under_way.take();
        let step = under_way.and_then(|it| self.proceed(it, legs, topics, now, joined));
        let step = match &self.under_way {
            // Also if the one that was under way has ended with its line.
            None if step.is_none() => self.begin(legs, now, wall),
            _ => step,
        };
        self.is_changed = step.is_some();
        step
    }

    /// Begins the rotation of a line that is due: first of those that were asked for.
    fn begin(&mut self, legs: &[Leg], now: Instant, wall: SystemTime) -> Option<Step> {
        if self.is_paused || self.clock.is_holding() {
            return None;
        }
        let mut first: Option<(Instant, u8)> = None;
        for leg in legs {
            let Some(due) = self.due(leg, legs, now, wall) else { continue };
            if due > now {
                self.next = Some(self.next.map_or(due, |next| next.min(due)));
            } else if first.is_none_or(|first| (due, leg.line) < first) {
                first = Some((due, leg.line));
            }
        }
        let (_, old) = first?;
        self.asked &= !bit(old);
        let (new, stage, step) = if self.rule.breaks_first {
            let step = Step::Break { line: old, new: None };
            (old, Stage::Breaking { since: self.clock.mark(now), is_closed: false }, step)
        } else {
            let new = if old < self.lines { old + self.lines } else { old - self.lines };
            (new, Stage::OPENING, Step::Start { old, new })
        };
        self.under_way =
            Some(UnderWay { old, new, stage, failures: 0, refused: None, given_up: Vec::new() });
        Some(step)
    }

    /// Returns when the rotation of a line is due; `None` if it is not to be rotated.
    fn due(&mut self, leg: &Leg, legs: &[Leg], now: Instant, wall: SystemTime) -> Option<Instant> {
        let slot = leg.line % self.lines;
        let is_alone = legs.iter().filter(|other| other.line % self.lines == slot).count() == 1;
        let must_stay = self.rule.breaks_first && self.is_last(leg.line, legs);
        if !leg.is_open || !leg.may_rotate || !is_alone || must_stay {
            return None;
        }
        let age = self.ages.get_mut(usize::from(leg.line))?.as_mut()?;
        let due = if self.asked & bit(leg.line) != 0 {
            // Before all that are due by their age.
            Some(age.since)
        } else {
            age.due(&self.rule, now, wall)
        };
        let rest = self.rests[usize::from(slot)];
        due.map(|due| rest.map_or(due, |rest| rest.max(due)))
    }

    /// Whether the shard has other lines than this one and its replacement, and none of them has carried the topics since its
    /// socket is open: closing this one first would leave them without a line.
    fn is_last(&self, line: u8, legs: &[Leg]) -> bool {
        let is_other = |other: &&Leg| other.line % self.lines != line % self.lines;
        let age = |other: &Leg| self.ages.get(usize::from(other.line))?.as_ref();
        let mut others = legs.iter().filter(is_other).map(age).peekable();
        others.peek().is_some() && !others.flatten().any(Age::has_been_active)
    }

    /// Goes on with the rotation that is under way.
    fn proceed(
        &mut self,
        mut it: UnderWay,
        legs: &[Leg],
        topics: Slot,
        now: Instant,
        joined: impl Fn(u8, Slot) -> Joined,
    ) -> Option<Step> {
        let leg = |line| legs.iter().find(|leg| leg.line == line);
        let old = leg(it.old);
        let step = match &it.stage {
            Stage::Draining { overlap } => old.is_none().then(|| it.done(*overlap)),
            // The line has ended for good.
            Stage::Breaking { .. } if old.is_none() => return None,
            Stage::Breaking { .. } if self.is_paused => Some(self.fail(&it, Why::Paused, now)),
            Stage::Breaking { since, is_closed } => {
                let is_back = *is_closed && old.is_some_and(|leg| leg.is_active);
                if is_back {
                    Some(it.done(Duration::ZERO))
                } else {
                    self.is_overdue(*since, now).then(|| self.fail(&it, Why::Overdue, now))
                }
            }
            Stage::Opening { .. } | Stage::Joining(_) => match leg(it.new) {
                None => Some(self.fail(&it, Why::Lost, now)),
                Some(_) if !old.is_some_and(|leg| leg.is_open) => Some(it.done(it.overlap(now))),
                Some(new) => {
                    let must_stay = self.is_last(it.old, legs);
                    self.poll_new(&mut it, (new, must_stay), topics, now, joined)
                }
            },
        };
        match step {
            Some(Step::Done { .. }) => self.given_up = it.given_up,
            Some(Step::Fail { .. }) => {}
            _ => self.under_way = Some(it),
        }
        step
    }

    /// Returns why the rotation has failed, if something that was reported says so.
    fn failure(&self, it: &mut UnderWay) -> Option<Why> {
        if self.is_paused {
            return Some(Why::Paused);
        }
        if let Some((slot, refusal)) = it.refused.take() {
            return Some(Why::Refused(slot, refusal));
        }
        (it.failures >= MAX_FAILURES).then_some(Why::Lost)
    }

    /// Looks at the new line, while the old one is open. `must_stay`: that is the last one of the shard that is.
    fn poll_new(
        &mut self,
        it: &mut UnderWay,
        (leg, must_stay): (&Leg, bool),
        topics: Slot,
        now: Instant,
        joined: impl Fn(u8, Slot) -> Joined,
    ) -> Option<Step> {
        if let Some(why) = self.failure(it) {
            return Some(self.fail(it, why, now));
        }
        match &it.stage {
            Stage::Opening { .. } if leg.is_active => {
                it.stage = Stage::Joining(Joining::new(self.clock.mark(now)));
                self.next = Some(now);
                None
            }
            Stage::Opening { .. } => self.poll_opening(it, leg, must_stay, now),
            Stage::Joining(_) => self.poll_joining(it, leg, topics, now, joined),
            Stage::Draining { .. } | Stage::Breaking { .. } => None,
        }
    }

    /// Has the old line closed first, once the new one has waited for a socket for its time.
    fn poll_opening(
        &mut self,
        it: &mut UnderWay,
        leg: &Leg,
        must_stay: bool,
        now: Instant,
    ) -> Option<Step> {
        let Stage::Opening { closed_since, waits_since } = &mut it.stage else { return None };
        if leg.is_open {
            (*closed_since, *waits_since) = (None, None);
            return None;
        }
        let mark = self.clock.mark(now);
        let closed_since = *closed_since.get_or_insert(mark);
        if leg.waits_for_socket && !must_stay {
            waits_since.get_or_insert(mark);
        } else {
            *waits_since = None;
        }
        let waits_since = *waits_since;
        if self.is_overdue(closed_since, now) {
            return Some(self.fail(it, Why::Overdue, now));
        }
        let waits_since = waits_since?;
        if !self.clock.is_over(waits_since, NO_SOCKET, now) {
            self.next = self.next.map(|next| next.min(self.clock.over(waits_since, NO_SOCKET)));
            return None;
        }
        let new = std::mem::replace(&mut it.new, it.old);
        it.stage = Stage::Breaking { since: mark, is_closed: false };
        Some(Step::Break { line: it.old, new: Some(new) })
    }

    /// Hands over once the topics have joined.
    fn poll_joining(
        &mut self,
        it: &mut UnderWay,
        leg: &Leg,
        topics: Slot,
        now: Instant,
        joined: impl Fn(u8, Slot) -> Joined,
    ) -> Option<Step> {
        let (old, new) = (it.old, it.new);
        let Stage::Joining(joining) = &mut it.stage else { return None };
        if self.is_overdue(joining.since, now) {
            return Some(self.fail(it, Why::Overdue, now));
        }
        // While the shard holds, what has come on either line may not be read. Topics that were added meanwhile are waited
        // for.
        if self.clock.is_holding() || !leg.is_active {
            return None;
        }
        self.next = Some(now + LOOK_INTERVAL);
        let joined = |slot| joined(new, slot);
        if let Some(slot) = joining.look(&self.clock, now, joined) {
            return Some(self.fail(it, Why::NoData(slot), now));
        }
        if !joining.is_ready(&self.clock, topics, now, joined) {
            return None;
        }
        it.stage = Stage::Draining { overlap: it.overlap(now) };
        Some(Step::HandOver { old, new })
    }

    /// Whether a stage has had its time. Otherwise it is looked at again then.
    fn is_overdue(&mut self, since: Mark, now: Instant) -> bool {
        self.next =
            Some(self.clock.over(since, STAGE_TIMEOUT)).filter(|_| !self.clock.is_holding());
        self.clock.is_over(since, STAGE_TIMEOUT, now)
    }

    /// Ends the rotation, and has it begin again later, unless the line was closed first: then its next socket is a new one.
    fn fail(&mut self, it: &UnderWay, why: Why, now: Instant) -> Step {
        if why != Why::Paused && it.old != it.new {
            self.rests[usize::from(it.old % self.lines)] = Some(now + REST);
            self.asked |= bit(it.old);
        }
        Step::Fail { old: it.old, new: it.new, why }
    }
}

/// Returns the bit of a line.
fn bit(line: u8) -> u64 {
    1 << (line % 64)
}

#[cfg(test)]
mod tests;
