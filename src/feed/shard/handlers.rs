//! What the connections of a shard's lines report.

use actix::{Context, Handler};

use crate::command::status::OutcomeKind;
use crate::event;
use crate::feed::dialect::Dialect;
use crate::feed::event::{Cause, LineIs};
use crate::feed::line::now;
use crate::feed::said::Refusal;
use crate::feed::shard::{NO_TIME, Shard};

impl<D: Dialect> Handler<event::Open> for Shard<D> {
    type Result = ();

    fn handle(&mut self, open: event::Open, _: &mut Context<Shard<D>>) {
        self.with_line(open.source, |line, topics, intake| {
            line.handle_open(&open, topics, intake, now())
        });
    }
}

impl<D: Dialect> Handler<event::Batch> for Shard<D> {
    type Result = ();

    fn handle(&mut self, batch: event::Batch, _: &mut Context<Shard<D>>) {
        let read = self.with_line(batch.source, |line, topics, intake| {
            line.handle_batch(&batch, topics, intake)
        });
        if let Some(Err(refusal)) = read {
            self.lines.iter().for_each(|line| line.close(NO_TIME));
            self.refused(None, refusal);
        }
    }
}

impl<D: Dialect> Handler<event::Ping> for Shard<D> {
    type Result = ();

    fn handle(&mut self, ping: event::Ping, _: &mut Context<Shard<D>>) {
        self.with_line(ping.source, |line, _, _| line.handle_control(now()));
    }
}

impl<D: Dialect> Handler<event::Pong> for Shard<D> {
    type Result = ();

    /// A Pong that answers our Ping shows that one was sent.
    fn handle(&mut self, pong: event::Pong, _: &mut Context<Shard<D>>) {
        if let Some(round_trip) = pong.round_trip {
            self.with_line(pong.source, |line, _, _| line.handle_round_trip(round_trip, now()));
        }
    }
}

impl<D: Dialect> Handler<event::Error> for Shard<D> {
    type Result = ();

    fn handle(&mut self, error: event::Error, _: &mut Context<Shard<D>>) {
        let refusal = self.with_line(error.source, |line, _, intake| {
            line.handle_error(&error, intake).map(|refusal| (line.id.line, refusal))
        });
        if let Some((line, refusal)) = refusal.flatten() {
            self.refused(Some(line), refusal);
        }
    }
}

impl<D: Dialect> Handler<event::Close> for Shard<D> {
    type Result = ();

    fn handle(&mut self, close: event::Close, _: &mut Context<Shard<D>>) {
        let requests = self.with_line(close.source, |line, topics, intake| {
            let requests = line.session().map_or(0, |session| session.requests());
            line.handle_close(&close, topics, intake);
            requests
        });
        self.requests += requests.unwrap_or_default();
        self.release_left();
        self.refuse(self.refused);
    }
}

impl<D: Dialect> Handler<event::State> for Shard<D> {
    type Result = ();

    fn handle(&mut self, state: event::State, _: &mut Context<Shard<D>>) {
        self.with_line(state.source, |line, _, intake| line.handle_state(&state, intake));
    }
}

impl<D: Dialect> Handler<event::Stopped> for Shard<D> {
    type Result = ();

    /// A line that has ended although nothing has asked for it was refused for good. Not so one that was to replace
    /// another: that goes on.
    fn handle(&mut self, stopped: event::Stopped, ctx: &mut Context<Shard<D>>) {
        let Some(at) = self.lines.iter().position(|line| line.source == stopped.source) else {
            return;
        };
        let line = self.lines.remove(at);
        let is_replacement = self
            .intake
            .rotation
            .lines()
            .is_some_and(|(old, new)| old != new && new == line.id.line);
        let is_ours = line.is_leaving() || is_replacement;
        if is_replacement {
            self.ended = line.failure().map(Cause::to_string);
        }
        self.topics.forget(line.id.line);
        self.intake.rotation.ended();
        if !self.is_closing && self.may_dial(line.id) && !is_ours {
            let reason = match (&stopped.outcome.error, line.state()) {
                (Some(err), _) => err.to_string(),
                (None, LineIs::Down { cause: Some(cause) }) => cause.to_string(),
                (None, _) => "the connection was closed for good".to_owned(),
            };
            let reason = Refusal::for_good(reason);
            return match stopped.outcome.kind {
                OutcomeKind::Closed => self.closed(line.id.line, reason),
                _ => self.refused(Some(line.id.line), reason),
            };
        }
        if !matches!(line.state(), LineIs::Down { .. }) {
            self.intake.push_line(line.id, line.epoch, LineIs::Down { cause: None }, 0);
        }
        let slot = self.plan.slot(line.id);
        let is_empty = !self.lines.iter().any(|other| self.plan.slot(other.id) == slot);
        if is_empty && !self.is_closing && self.may_dial(slot) {
            // Both lines of a rotation were lost at once.
            if let Err(err) = self.start_line(slot.line, ctx) {
                self.refused(Some(slot.line), Refusal::for_good(err.to_string()));
            }
        }
    }
}
