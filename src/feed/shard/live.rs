//! The actor of a shard: when its turns are, what they find outside, and how its lines are started.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use actix::{Actor, ActorContext, ActorFuture, Addr, AsyncContext, Context};
use tokio::time::sleep_until;

use crate::error::ConfigError;
use crate::feed::dialect::Dialect;
use crate::feed::input::Turn;
use crate::feed::line::{Line, now};
use crate::feed::plan::LinePlan;
use crate::feed::shard::{Shard, Starter};
use crate::feed::topic::LineId;
use crate::feed::uplink::Uplink;

impl<D: Dialect> Shard<D> {
    /// Starts a line with a connection that reports to this actor.
    pub(super) fn dialled(
        addr: Option<&Addr<Shard<D>>>,
        id: LineId,
        plan: &Arc<LinePlan<D>>,
        now: Instant,
    ) -> Result<Line<D>, ConfigError> {
        let addr = addr.ok_or(ConfigError::NoRuntime)?.clone();
        let (shown, uplink) = Uplink::start(id, plan, now, |builder| {
            builder
                .on_open_to(addr.clone().recipient())
                .on_batch_to(addr.clone().recipient())
                .on_ping_to(addr.clone().recipient())
                .on_pong_to(addr.clone().recipient())
                .on_error_to(addr.clone().recipient())
                .on_close_to(addr.clone().recipient())
                .on_state_to(addr.clone().recipient())
                .on_stopped_to(addr.recipient())
        })?;
        Ok(Line::new(id, plan.clone(), shown, Some(uplink)))
    }

    /// Does what is due. Returns whether the shard has ended.
    fn poll(&mut self, task: &mut TaskContext<'_>) -> bool {
        // What is due now is done in the first turn. A turn more is for what has become due meanwhile.
        for _ in 0..2 {
            let mut turn = self.look_outside(task);
            self.journal.turn(&turn, &self.intake);
            self.turn(&mut turn);
            self.wake_when_answered(task);
            self.intake.outlet.poll(task);
            // Lines that close are not held: what they deliver last includes their end.
            let holds = self.intake.outlet.is_full() && !self.is_closing;
            self.journal.end_turn(holds, &self.intake);
            if self.end_turn(holds, turn.now) {
                self.journal.flush();
                return true;
            }
            if self.poll_timer(turn.now, task).is_pending() {
                self.journal.flush();
                return false;
            }
        }
        self.journal.flush();
        task.waker().wake_by_ref();
        false
    }

    /// Collects what the next turn finds outside.
    fn look_outside(&mut self, task: &mut TaskContext<'_>) -> Turn<D::Item> {
        let now = now();
        let mut turn = Turn::new(now, self.journal.wall());
        for line in &mut self.lines {
            let source = line.source;
            let Some(uplink) = line.uplink() else { continue };
            turn.limits.extend(uplink.poll_limit(now).map(|limit| (source, limit)));
            turn.sent.extend(uplink.poll_sent(source, task));
        }
        while let Some(topic) = self.intake.outlet.poll_overrun() {
            turn.overruns.push(topic);
        }
        while let Some(answer) = self.asking.as_mut().and_then(|asking| asking.poll(task)) {
            turn.answers.push(answer);
        }
        turn
    }

    /// Has the task woken when what a turn has sent or asked for is answered.
    fn wake_when_answered(&mut self, task: &mut TaskContext<'_>) {
        for uplink in self.lines.iter_mut().filter_map(Line::uplink) {
            uplink.wake_when_sent(task);
        }
        self.asking.iter_mut().for_each(|asking| asking.wake_when_answered(task));
    }

    /// Sets the timer to the next time that something is due. `Ready` if that is now.
    fn poll_timer(&mut self, now: Instant, task: &mut TaskContext<'_>) -> Poll<()> {
        let ask = self.ask_due(now);
        let Shard { lines, topics, intake, .. } = self;
        let due = |line: &Line<D>| line.poll_timeout(now, topics);
        let due = lines.iter().filter_map(due).chain(intake.poll_timeout()).chain(ask).min();
        let Some(due) = due else {
            self.timer = None;
            return Poll::Pending;
        };
        let due = tokio::time::Instant::from_std(due);
        match &mut self.timer {
            Some(timer) if timer.deadline() == due => {}
            Some(timer) => timer.as_mut().reset(due),
            None => self.timer = Some(Box::pin(sleep_until(due))),
        }
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(task),
            None => Poll::Pending,
        }
    }
}

impl<D: Dialect> Actor for Shard<D> {
    type Context = Context<Shard<D>>;

    fn started(&mut self, ctx: &mut Context<Shard<D>>) {
        self.starter = Starter::Dialled(Some(ctx.address()));
        self.start_lines(now());
        ctx.spawn(Pulse);
    }
}

/// The one future of the actor. Polled after the mailbox, in every poll of the context.
struct Pulse;

impl<D: Dialect> ActorFuture<Shard<D>> for Pulse {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        shard: &mut Shard<D>,
        ctx: &mut Context<Shard<D>>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        if shard.poll(task) {
            ctx.stop();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}
