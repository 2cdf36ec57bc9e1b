//! The rotation of a line, as far as it is done with the lines of a shard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::feed::dialect::Dialect;
use crate::feed::event::{Cause, Rotated, Rotation as Outcome};
use crate::feed::line::Line;
use crate::feed::rotation::{Leg, STAGE_TIMEOUT, Step, Why};
use crate::feed::shard::{NO_TIME, Shard};
use crate::feed::topic::LineId;
use crate::feed::wall::Wall;

/// The time for the closing handshake of a line that another one has replaced.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

impl<D: Dialect> Shard<D> {
    /// Does what the rotation of a line needs.
    pub(super) fn poll_rotation(&mut self, now: Instant, wall: Wall) {
        while !self.is_closing && self.intake.rotation.is_due(now) {
            let legs = self.legs();
            let step = self.intake.poll_rotation(&legs, &self.topics, now, wall);
            let Some(step) = step else { return };
            self.rotate(step, now);
        }
    }

    /// Returns what the lines are for a rotation.
    fn legs(&mut self) -> Vec<Leg> {
        let leg = |line: &Line<D>| line.leg(self.may_dial(line.id));
        let mut legs: Vec<Leg> = self.lines.iter().map(leg).collect();
        if let Some((old, new)) = self.intake.rotation.lines()
            && old != new
            && let Some(leg) = legs.iter_mut().find(|leg| leg.line == new && leg.is_open)
            && !leg.is_active
        {
            leg.is_active = self.intake.carries_all_of(old, new, &mut self.topics);
        }
        legs
    }

    fn rotate(&mut self, step: Step, now: Instant) {
        match step {
            Step::Start { old, new } => self.start_replacement(old, new, now),
            Step::Break { line, new } => self.break_line(line, new),
            Step::HandOver { old, .. } => {
                self.line(old).into_iter().for_each(|line| line.leave(CLOSE_TIMEOUT));
            }
            Step::Done { from, to, overlap } => {
                if from != to {
                    self.line(from).into_iter().for_each(|line| line.leave(NO_TIME));
                }
                self.line(to).into_iter().for_each(Line::take_over);
                self.intake.report_given_up(LineId::new(self.id, to), &self.topics);
                self.push_rotated(from, to, Outcome::Done, overlap);
            }
            Step::Fail { old, new, why } => {
                let cause = self.cause_of(why, old, new);
                if old != new {
                    self.line(old).into_iter().for_each(|line| line.retire(false));
                    self.line(new).into_iter().for_each(|line| line.leave(CLOSE_TIMEOUT));
                }
                self.push_rotated(old, new, Outcome::Failed { cause }, NO_TIME);
            }
        }
    }

    /// Starts the line `new`, which is to take the place of `old`. Without it the rotation fails.
    fn start_replacement(&mut self, old: u8, new: u8, now: Instant) {
        self.earlier_duplicates = self.intake.figures().duplicates;
        self.ended = None;
        self.topics.copy_refusals(old, new);
        if self.start_line(new, now).is_ok() {
            self.line(new).into_iter().for_each(Line::replace);
            self.line(old).into_iter().for_each(|line| line.retire(true));
        }
    }

    /// Closes a line, and dials it again. `new` was started to replace it.
    fn break_line(&mut self, line: u8, new: Option<u8>) {
        self.earlier_duplicates = self.intake.figures().duplicates;
        let new = new.and_then(|new| self.line(new));
        new.into_iter().for_each(|new| new.leave(NO_TIME));
        self.intake.break_for_rotation(LineId::new(self.id, line));
        if let Some(line) = self.line(line) {
            line.retire(false);
            line.dial();
        }
    }

    fn push_rotated(&mut self, from: u8, to: u8, outcome: Outcome, overlap: Duration) {
        let [from, to] = [from, to].map(|line| LineId::new(self.id, line));
        let duplicates = self.intake.figures().duplicates - self.earlier_duplicates;
        self.intake.push_rotated(Rotated { from, to, outcome, overlap, duplicates });
    }

    /// Returns why a rotation failed, in words.
    fn cause_of(&mut self, why: Why, old: u8, new: u8) -> Arc<str> {
        let topic = |slot| self.topics.topic(slot);
        let lines = [old, new].map(|line| LineId::new(self.id, line));
        let text = match why {
            Why::Refused(slot, refusal) => {
                format!("the venue refused {} on the new line: {refusal}", topic(slot))
            }
            Why::NoData(slot) => {
                let [old, new] = lines;
                format!("{} has brought data on line {old} and none on line {new}", topic(slot))
            }
            Why::Overdue => {
                let [old, new] = lines;
                format!(
                    "line {new} does not carry the topics of line {old} after {STAGE_TIMEOUT:?}"
                )
            }
            Why::Paused => "the feed is paused".to_owned(),
            Why::Lost => {
                let failure = self.line(new).and_then(|line| line.failure()).map(Cause::to_string);
                match failure.or(self.ended.take()) {
                    Some(cause) => format!("the new line failed: {cause}"),
                    None => "the new line could not be started".to_owned(),
                }
            }
        };
        text.into()
    }
}
