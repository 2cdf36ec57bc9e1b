//! The actor of one shard: it owns the lines, passes their events to the values, and delivers what comes of
//! them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, ActorFuture, AsyncContext, Context, Handler, WeakRecipient};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep_until};

use crate::event;
use crate::feed::command::{Answer, LineStatus};
use crate::feed::dialect::Dialect;
use crate::feed::event::LineIs;
use crate::feed::figures::Figures;
use crate::feed::intake::{Intake, Waiter};
use crate::feed::line::{Line, LinePlan, now};
use crate::feed::recipients::Recipients;
use crate::feed::rules::Silence;
use crate::feed::said::Refusal;
use crate::feed::topic::{LineId, ShardId, Topic};
use crate::feed::topics::Topics;

/// The actor of a shard.
pub(crate) struct Shard<D: Dialect> {
    id: ShardId,
    plan: Arc<LinePlan<D>>,
    topics: Topics,
    /// One line; empty before the start and at the end.
    lines: Vec<Line<D>>,
    intake: Intake<D::Item>,
    feed: WeakRecipient<FromShard>,
    /// Whether the shard ends when its lines have ended.
    is_closing: bool,
    /// Whether a line that is lost ends.
    is_refused: bool,
    /// Whether the lines are held, because a recipient is slow.
    is_holding: bool,
    /// Whether the feed has been notified of the end.
    has_ended: bool,
    /// Requests of sessions that have ended.
    requests: u64,
    /// Fires when `poll` is due.
    timer: Option<Pin<Box<Sleep>>>,
}

/// What a feed asks of a shard.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) enum ToShard<T: Clone + Send + 'static> {
    Add(Vec<Wish<T>>),
    Remove(Vec<Wish<T>>),
    Pause,
    Resume,
    /// No line dials any more. Those that are open stay until they are lost.
    Refuse,
    Close(Duration),
    Status(oneshot::Sender<ShardStatus>),
}

/// A topic, and who waits for what becomes of it.
pub(crate) struct Wish<T: Clone + Send + 'static> {
    pub(crate) topic: Topic,
    pub(crate) reply: Option<oneshot::Sender<Answer>>,
    /// Recipients of the topic's own.
    pub(crate) own: Option<Arc<Recipients<T>>>,
}

/// What a shard reports to its feed.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) enum FromShard {
    /// These topics are neither wanted nor on a server.
    Left(ShardId, Vec<Topic>),
    /// No line of the feed may dial any more.
    Refused(Refusal),
    /// The shard has ended: the last report.
    Ended(ShardId, Figures),
}

/// The state of a shard.
#[derive(Debug, Default)]
pub(crate) struct ShardStatus {
    pub(crate) lines: Vec<LineStatus>,
    pub(crate) figures: Figures,
}

impl<D: Dialect> Shard<D> {
    pub(crate) fn new(
        id: ShardId,
        plan: Arc<LinePlan<D>>,
        recipients: Recipients<D::Item>,
        silence: Option<Silence>,
        feed: WeakRecipient<FromShard>,
    ) -> Shard<D> {
        Shard {
            id,
            plan,
            topics: Topics::default(),
            lines: Vec::new(),
            intake: Intake::new(recipients, silence, now()),
            feed,
            is_closing: false,
            is_refused: false,
            is_holding: false,
            has_ended: false,
            requests: 0,
            timer: None,
        }
    }

    fn report(&self, report: FromShard) {
        // Without a feed there is no one to report to: it was dropped, and is closing.
        if let Some(feed) = self.feed.upgrade() {
            feed.do_send(report);
        }
    }

    /// Notes that no line may dial any more, and reports it once.
    fn refused(&mut self, refusal: Refusal) {
        if !std::mem::replace(&mut self.is_refused, true) {
            self.report(FromShard::Refused(refusal));
        }
        self.lines.iter().filter(|line| !line.is_open()).for_each(|line| line.close(NO_TIME));
    }

    fn add(&mut self, wish: Wish<D::Item>) {
        let slot = self.topics.add(&wish.topic);
        if let Some(own) = wish.own {
            self.intake.add_own(slot, own);
        }
        let Shard { lines, topics, intake, .. } = self;
        let mut is_confirmed = false;
        for line in lines {
            line.handle_wish(slot, topics, intake, now());
            is_confirmed |=
                line.session().is_some_and(|session| session.subscriptions().is_confirmed(slot));
        }
        if let Some(reply) = wish.reply {
            intake.wait(slot, Waiter { added: true, reply });
        }
        if is_confirmed {
            intake.answer(slot, true, &Answer::Confirmed);
        } else if let Some(refusal) = topics.refusal(slot) {
            intake.answer(slot, true, &Answer::Refused(refusal.clone()));
        }
    }

    fn remove(&mut self, wish: Wish<D::Item>) {
        let Shard { lines, topics, intake, .. } = self;
        let Some(slot) = topics.slot(&wish.topic) else {
            if let Some(reply) = wish.reply {
                let _ = reply.send(Answer::Removed);
            }
            return;
        };
        topics.remove(slot);
        intake.answer(slot, true, &Answer::Removed);
        if let Some(reply) = wish.reply {
            intake.wait(slot, Waiter { added: false, reply });
        }
        lines.iter_mut().for_each(|line| line.handle_wish(slot, topics, intake, now()));
        if !lines.iter().any(Line::is_open) {
            intake.release(slot, topics);
        }
    }

    fn figures(&mut self) -> Figures {
        let mut figures = self.intake.figures();
        figures.wanted = self.topics.wanted();
        figures.refused = self.topics.refused();
        figures.requests = self.requests;
        for session in self.lines.iter_mut().filter_map(Line::session) {
            figures.confirmed += session.subscriptions().confirmed();
            figures.unmatched += session.subscriptions().unmatched();
            figures.requests += session.requests();
        }
        figures
    }

    fn status(&mut self) -> ShardStatus {
        let figures = self.figures();
        let (now, queued) = (now(), self.intake.outlet.len());
        let status = |line: &Line<D>| LineStatus {
            line: line.id,
            epoch: line.epoch,
            state: line.state().clone(),
            figures,
            last_data: line.last_data().map(|at| now.saturating_duration_since(at)),
            round_trip: line.round_trip(),
            queued,
        };
        ShardStatus { lines: self.lines.iter().map(status).collect(), figures }
    }

    /// Does what is due. Returns whether the shard has ended.
    fn poll(&mut self, task: &mut TaskContext<'_>) -> bool {
        // What is due now is done in the first turn. A turn more is for what has become due meanwhile.
        for _ in 0..2 {
            let now = now();
            let Shard { lines, topics, intake, .. } = self;
            let mut refusals = Vec::new();
            for line in lines {
                intake.handle_timeout(line.id, line.epoch, topics, now);
                while let Some(finding) = intake.poll_finding(line.id, line.epoch, topics) {
                    refusals.extend(line.handle_silence(finding, topics, intake));
                }
                refusals.extend(line.poll(now, topics, intake, task));
            }
            refusals.into_iter().for_each(|refusal| self.refused(refusal));
            self.intake.outlet.poll(task);
            self.hold(now);
            let left = self.intake.take_left();
            if !left.is_empty() {
                self.report(FromShard::Left(self.id, left));
            }
            if self.lines.is_empty() && (self.is_closing || self.is_refused) {
                self.end();
                return true;
            }
            if self.poll_timer(now, task).is_pending() {
                return false;
            }
        }
        task.waker().wake_by_ref();
        false
    }

    /// Holds the lines while too many updates wait, and releases them later. Lines that close are not held:
    /// what they deliver last includes their end.
    fn hold(&mut self, now: Instant) {
        let holds = self.intake.outlet.is_full() && !self.is_closing;
        if holds != self.is_holding {
            self.is_holding = holds;
            self.intake.hold(holds, now);
            self.lines.iter_mut().for_each(|line| line.hold(holds, now));
        }
    }

    /// Sets the timer to the next time that something is due. `Ready` if that is now.
    fn poll_timer(&mut self, now: Instant, task: &mut TaskContext<'_>) -> Poll<()> {
        let due = |line: &Line<D>| line.poll_timeout(now, &self.topics);
        let due = self.lines.iter().filter_map(due).chain(self.intake.poll_timeout()).min();
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

    /// Delivers what is left, and reports the end.
    fn end(&mut self) {
        self.intake.outlet.flush();
        let figures = self.figures();
        self.has_ended = true;
        self.report(FromShard::Ended(self.id, figures));
    }

    /// Calls a function with the line that an event came from.
    fn with_line<R>(
        &mut self,
        source: crate::command::status::SourceId,
        call: impl FnOnce(&mut Line<D>, &mut Topics, &mut Intake<D::Item>) -> R,
    ) -> Option<R> {
        let Shard { lines, topics, intake, .. } = self;
        let line = lines.iter_mut().find(|line| line.source == source)?;
        Some(call(line, topics, intake))
    }
}

/// For a line without an open socket.
const NO_TIME: Duration = Duration::ZERO;

/// Nothing of it is pinned.
impl<D: Dialect> Unpin for Shard<D> {}

impl<D: Dialect> Actor for Shard<D> {
    type Context = Context<Shard<D>>;

    fn started(&mut self, ctx: &mut Context<Shard<D>>) {
        let addr = ctx.address();
        let line = Line::start(LineId::new(self.id, 0), self.plan.clone(), |builder| {
            builder
                .on_open_to(addr.clone().recipient())
                .on_batch_to(addr.clone().recipient())
                .on_ping_to(addr.clone().recipient())
                .on_pong_to(addr.clone().recipient())
                .on_error_to(addr.clone().recipient())
                .on_close_to(addr.clone().recipient())
                .on_state_to(addr.clone().recipient())
                .on_stopped_to(addr.recipient())
        });
        match line {
            Ok(line) => self.lines.push(line),
            // The options were checked before; what is left is an environment that has changed since.
            Err(err) => self.refused(Refusal::for_good(err.to_string())),
        }
        ctx.spawn(Pulse);
    }
}

impl<D: Dialect> Drop for Shard<D> {
    /// Reports the end also if the shard's thread ends first.
    fn drop(&mut self) {
        if !self.has_ended {
            self.report(FromShard::Refused(Refusal::for_good("a thread of the feed has ended")));
            let figures = self.figures();
            self.report(FromShard::Ended(self.id, figures));
        }
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

impl<D: Dialect> Handler<ToShard<D::Item>> for Shard<D> {
    type Result = ();

    fn handle(&mut self, message: ToShard<D::Item>, _: &mut Context<Shard<D>>) {
        match message {
            ToShard::Add(wishes) => wishes.into_iter().for_each(|wish| self.add(wish)),
            ToShard::Remove(wishes) => wishes.into_iter().for_each(|wish| self.remove(wish)),
            ToShard::Pause => self.lines.iter_mut().for_each(Line::pause),
            ToShard::Resume => self.lines.iter_mut().for_each(Line::resume),
            ToShard::Refuse => {
                self.is_refused = true;
                self.lines
                    .iter()
                    .filter(|line| !line.is_open())
                    .for_each(|line| line.close(NO_TIME));
            }
            ToShard::Close(deadline) => {
                self.is_closing = true;
                self.lines.iter().for_each(|line| line.close(deadline));
            }
            ToShard::Status(reply) => {
                let _ = reply.send(self.status());
            }
        }
    }
}

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
            self.refused(refusal);
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
        let refusal =
            self.with_line(error.source, |line, _, intake| line.handle_error(&error, intake));
        if let Some(refusal) = refusal.flatten() {
            self.refused(refusal);
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
        if self.is_refused {
            self.lines.iter().filter(|line| !line.is_open()).for_each(|line| line.close(NO_TIME));
        }
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

    /// A line that has ended although nothing has asked for it was refused for good.
    fn handle(&mut self, stopped: event::Stopped, _: &mut Context<Shard<D>>) {
        let Some(at) = self.lines.iter().position(|line| line.source == stopped.source) else {
            return;
        };
        let line = self.lines.remove(at);
        if !self.is_closing && !self.is_refused {
            let reason = match (&stopped.outcome.error, line.state()) {
                (Some(err), _) => err.to_string(),
                (None, LineIs::Down { cause: Some(cause) }) => cause.to_string(),
                (None, _) => "the connection was closed for good".to_owned(),
            };
            self.refused(Refusal::for_good(reason));
        } else if !matches!(line.state(), LineIs::Down { .. }) {
            self.intake.push_line(line.id, line.epoch, LineIs::Down { cause: None });
        }
    }
}
