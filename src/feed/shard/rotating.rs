//! The rotation of a line, as far as it is done with the lines of a shard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Context;

use crate::feed::dialect::Dialect;
use crate::feed::event::{Cause, Rotated, Rotation as Outcome};
use crate::feed::line::Line;
use crate::feed::rotation::{Leg, Step, Why};
use crate::feed::shard::{NO_TIME, Shard};
use crate::feed::topic::LineId;

/// The time for the closing handshake of a line that another one has replaced.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

impl<D: Dialect> Shard<D> {
    /// Does what the rotation of a line needs.
    pub(super) fn poll_rotation(&mut self, now: Instant, ctx: &mut Context<Shard<D>>) {
        while !self.is_closing && self.intake.rotation.is_due(now) {
            let leg = |line: &Line<D>| line.leg(self.may_dial(line.id));
            let legs: Vec<Leg> = self.lines.iter().map(leg).collect();
            let Some(step) = self.intake.poll_rotation(&legs, &self.topics, now) else { return };
            self.rotate(step, ctx);
        }
    }

    fn rotate(&mut self, step: Step, ctx: &mut Context<Shard<D>>) {
        let id = |line| LineId::new(self.id, line);
        match step {
            Step::Start { old, new } => {
                self.earlier_duplicates = self.intake.figures().duplicates;
                self.topics.copy_refusals(old, new);
                // Without a line the rotation fails.
                if self.start_line(new, ctx).is_ok() {
                    let earlier = self.intake.epoch(new);
                    self.line(new).into_iter().for_each(|line| line.replace(earlier));
                    self.line(old).into_iter().for_each(|line| line.retire(true));
                }
            }
            Step::Break { line, new } => {
                self.earlier_duplicates = self.intake.figures().duplicates;
                let new = new.and_then(|new| self.line(new));
                new.into_iter().for_each(|new| new.leave(NO_TIME));
                self.intake.break_for_rotation(LineId::new(self.id, line));
                if let Some(line) = self.line(line) {
                    line.retire(false);
                    line.dial();
                }
            }
            Step::HandOver { old, .. } => {
                self.line(old).into_iter().for_each(|line| line.leave(CLOSE_TIMEOUT));
            }
            Step::Done { from, to, overlap } => {
                let (from, to) = (id(from), id(to));
                if from != to {
                    self.line(from.line).into_iter().for_each(|line| line.leave(NO_TIME));
                }
                self.line(to.line).into_iter().for_each(Line::take_over);
                self.push_rotated(from, to, Outcome::Done, overlap);
            }
            Step::Fail { old, new, why } => {
                let cause = self.cause_of(why, old, new);
                self.line(old).into_iter().for_each(|line| line.retire(false));
                self.line(new).into_iter().for_each(|line| line.leave(CLOSE_TIMEOUT));
                let outcome = Outcome::Failed { cause };
                self.push_rotated(
                    LineId::new(self.id, old),
                    LineId::new(self.id, new),
                    outcome,
                    NO_TIME,
                );
            }
        }
    }

    fn push_rotated(&mut self, from: LineId, to: LineId, outcome: Outcome, overlap: Duration) {
        let duplicates = self.intake.figures().duplicates - self.earlier_duplicates;
        self.intake.push_rotated(Rotated { from, to, outcome, overlap, duplicates });
    }

    /// Returns why a rotation failed, in words.
    fn cause_of(&mut self, why: Why, old: u8, new: u8) -> Arc<str> {
        let topic = |slot| self.topics.topic(slot);
        let text = match why {
            Why::Refused(slot, refusal) => {
                format!("the venue refused {} on the new line: {refusal}", topic(slot))
            }
            Why::NoData(slot) => {
                let [old, new] = [old, new].map(|line| LineId::new(self.id, line));
                format!("{} has brought data on line {old} and none on line {new}", topic(slot))
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
