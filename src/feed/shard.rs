//! The actor of one shard: it owns the lines, passes their events to the values, and delivers what comes of
//! them.

mod handlers;
mod rotating;
mod snapshots;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, ActorFuture, AsyncContext, Context, Handler, WeakRecipient};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep_until};

use crate::error::ConfigError;
use crate::feed::asking::Asking;
use crate::feed::command::{Answer, LineStatus};
use crate::feed::dialect::Dialect;
use crate::feed::figures::Figures;
use crate::feed::intake::{Intake, Standing, Waiter};
use crate::feed::line::{Line, LinePlan, now};
use crate::feed::recipients::{Own, Recipients};
use crate::feed::rotation::Rotation;
use crate::feed::rules::Silence;
use crate::feed::said::Refusal;
use crate::feed::silence::{Action, Finding};
use crate::feed::snapshot::Resync;
use crate::feed::subscriptions::OnServer;
use crate::feed::topic::{LineId, ShardId, Topic};
use crate::feed::topics::Topics;
use crate::feed::twins::{Deed, Link, MAX_LINES};

/// The actor of a shard.
pub(crate) struct Shard<D: Dialect> {
    id: ShardId,
    plan: Arc<LinePlan<D>>,
    topics: Topics,
    /// The lines that have not ended; none before the start.
    lines: Vec<Line<D>>,
    intake: Intake<D::Item>,
    feed: WeakRecipient<FromShard>,
    /// Whether the shard ends when its lines have ended.
    is_closing: bool,
    /// The lines that end once they are lost, one bit for each number modulo the lines of the plan.
    refused: u64,
    /// Why a line failed that was to replace another one, and has ended.
    ended: Option<String>,
    /// The duplicates that were dropped before the rotation that is under way.
    earlier_duplicates: u64,
    /// Whether the lines are held, because a recipient is slow.
    is_holding: bool,
    /// Whether the feed has been notified of the end.
    has_ended: bool,
    /// Requests of sessions that have ended.
    requests: u64,
    /// The snapshots that the closure of `Resync::with` was asked for.
    asking: Option<Asking<D::Item>>,
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
    /// Replace the lines, one after the other.
    Rotate,
    /// The lines of these numbers, one bit for each, do not dial any more. Those that are open stay until they are
    /// lost.
    Refuse(u64),
    Close(Duration),
    Status(oneshot::Sender<ShardStatus>),
    /// The recipient of a topic needs a snapshot.
    Resync(Topic),
}

/// A topic, and who waits for what becomes of it.
pub(crate) struct Wish<T: Clone + Send + 'static> {
    pub(crate) topic: Topic,
    pub(crate) reply: Option<oneshot::Sender<Answer>>,
    /// Recipients of the topic's own.
    pub(crate) own: Option<Own<T>>,
}

/// What a shard reports to its feed.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) enum FromShard {
    /// These topics are neither wanted nor on a server.
    Left(ShardId, Vec<Topic>),
    /// No line of this number may dial any more, in any shard; without a number none at all.
    Refused(Option<u8>, Refusal),
    /// The same of a line that the venue has closed cleanly, where the options of its connection say that no dial follows.
    Closed(u8, Refusal),
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
        let mut intake = Intake::new(recipients, silence, plan.lines, now());
        intake.set_rotation(Rotation::new(plan.rotate.clone(), plan.lines, now()));
        Shard {
            id,
            topics: Topics::default(),
            lines: Vec::with_capacity(plan.lines.into()),
            intake,
            plan,
            feed,
            is_closing: false,
            refused: 0,
            ended: None,
            earlier_duplicates: 0,
            is_holding: false,
            has_ended: false,
            requests: 0,
            asking: None,
            timer: None,
        }
    }

    /// Sets how snapshots are asked for.
    pub(crate) fn with_resync(mut self, resync: Option<Resync<D::Item>>) -> Shard<D> {
        if let Some(resync) = resync {
            self.asking = resync.ask.clone().map(Asking::new);
            self.intake.set_resync(resync);
        }
        self
    }

    fn report(&self, report: FromShard) {
        // Without a feed there is no one to report to: it was dropped, and is closing.
        if let Some(feed) = self.feed.upgrade() {
            feed.do_send(report);
        }
    }

    /// Notes that a line, or every line, may not dial any more, and reports it once.
    fn refused(&mut self, line: Option<u8>, refusal: Refusal) {
        let line = line.map(|line| line % self.plan.lines);
        let refused = line.map_or(self.all(), |line| 1 << line);
        self.refused_by(refused, FromShard::Refused(line, refusal));
    }

    /// Notes that a line may not dial any more, because the venue has closed it, and reports it once.
    fn closed(&mut self, line: u8, reason: Refusal) {
        let line = line % self.plan.lines;
        self.refused_by(1 << line, FromShard::Closed(line, reason));
    }

    /// Notes that the lines of these numbers may not dial any more, and reports it once.
    fn refused_by(&mut self, refused: u64, report: FromShard) {
        if self.refused & refused != refused {
            self.report(report);
        }
        self.refuse(refused);
    }

    /// Ends the lines of these numbers that are not open; the others end when they are lost.
    fn refuse(&mut self, refused: u64) {
        self.refused |= refused;
        let is_lost = |line: &&Line<D>| !line.is_open() && !self.may_dial(line.id);
        self.lines.iter().filter(is_lost).for_each(|line| line.close(NO_TIME));
    }

    /// Whether the venue has not refused a line for good.
    fn may_dial(&self, line: LineId) -> bool {
        self.refused & 1 << self.plan.slot(line).line == 0
    }

    /// Returns the numbers of all lines, one bit for each.
    fn all(&self) -> u64 {
        u64::MAX >> (64 - u32::from(self.plan.lines))
    }

    /// Whether no line may dial any more.
    fn is_refused(&self) -> bool {
        self.refused & self.all() == self.all()
    }

    /// Releases the topics that have left every line.
    fn release_left(&mut self) {
        let Shard { lines, topics, intake, .. } = self;
        for slot in intake.take_maybe_left() {
            let has = |line: &mut Line<D>| {
                let state = line.session().map(|session| session.subscriptions().state(slot));
                state.is_some_and(|state| state != OnServer::Off)
            };
            if !topics.is_wanted(slot) && !lines.iter_mut().any(has) {
                intake.release(slot, topics);
            }
        }
    }

    fn add(&mut self, wish: Wish<D::Item>) {
        self.release_left();
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
            intake.carried(slot, topics);
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
        intake.removed(slot);
        intake.answer(slot, true, &Answer::Removed);
        if let Some(reply) = wish.reply {
            intake.wait(slot, Waiter { added: false, reply });
        }
        lines.iter_mut().for_each(|line| line.handle_wish(slot, topics, intake, now()));
        if !lines.iter().any(Line::is_open) {
            intake.release(slot, topics);
        }
        self.release_left();
    }

    fn figures(&mut self) -> Figures {
        let mut figures = self.intake.figures();
        figures.wanted = self.topics.wanted();
        figures.refused = self.topics.refused();
        figures.requests = self.requests;
        for session in self.lines.iter_mut().filter_map(Line::session) {
            figures.confirmed = figures.confirmed.max(session.subscriptions().confirmed());
            figures.unmatched += session.subscriptions().unmatched();
            figures.requests += session.requests();
        }
        figures
    }

    fn status(&mut self) -> ShardStatus {
        let figures = self.figures();
        let (now, queued) = (now(), self.intake.outlet.len());
        let intake = &self.intake;
        let replaced = intake.rotation.lines().filter(|(old, new)| old != new);
        let status = |line: &Line<D>| {
            let old = replaced.filter(|(_, new)| *new == line.id.line).map(|(old, _)| old);
            let Standing { lag, updates, firsts } = intake.standing(line.id);
            LineStatus {
                line: line.id,
                epoch: line.epoch,
                state: line.state().clone(),
                replaces: old.map(|old| LineId::new(line.id.shard, old)),
                figures,
                connection: line.watch.figures(),
                failures: line.watch.failures(),
                last_data: line.last_data().map(|at| now.saturating_duration_since(at)),
                round_trip: line.round_trip(),
                queued,
                lag: lag.map(|(median, _)| median),
                lag_99: lag.map(|(_, slowest)| slowest),
                updates,
                firsts,
            }
        };
        ShardStatus { lines: self.lines.iter().map(status).collect(), figures }
    }

    /// Does what is due. Returns whether the shard has ended.
    fn poll(&mut self, ctx: &mut Context<Shard<D>>, task: &mut TaskContext<'_>) -> bool {
        // What is due now is done in the first turn. A turn more is for what has become due meanwhile.
        for _ in 0..2 {
            let now = now();
            let mut refusals = self.poll_silence(now);
            self.poll_asking(now, task);
            let Shard { lines, topics, intake, .. } = self;
            for line in lines {
                let refusal = line.poll(now, topics, intake, task);
                refusals.extend(refusal.map(|refusal| (line.id.line, refusal)));
            }
            refusals.into_iter().for_each(|(line, refusal)| self.refused(Some(line), refusal));
            self.set_urgencies();
            self.poll_twins(now);
            self.poll_rotation(now, ctx);
            self.release_left();
            self.intake.outlet.poll(task);
            self.hold(now);
            let left = self.intake.take_left();
            if !left.is_empty() {
                self.report(FromShard::Left(self.id, left));
            }
            if self.lines.is_empty() && (self.is_closing || self.is_refused()) {
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

    /// Gives up holes, judges silence, and acts on what was found. Returns the lines that are refused for good.
    fn poll_silence(&mut self, now: Instant) -> Vec<(u8, Refusal)> {
        let mut refusals = Vec::new();
        let Shard { lines, topics, intake, .. } = self;
        // Any line, for what is not about one.
        let some = lines.iter().find(|line| line.is_open()).or(lines.first());
        let Some(some) = some.map(|line| line.id) else { return refusals };
        intake.handle_timeout(some, topics, now);
        while let Some(finding) = intake.poll_finding(some, topics) {
            let oldest = lines.iter().filter_map(Line::open_since).min();
            let is_meant = |line: &Line<D>| match finding {
                Finding::Line { line: number, .. } => line.id.line == number,
                // One at a time, the one that has been open for longest.
                Finding::Topic { action: Action::Fail, .. } => line.open_since() == oldest,
                Finding::Topic { .. } => line.is_open(),
            };
            for line in lines.iter_mut().filter(|line| is_meant(line)) {
                let refusal = line.handle_silence(finding, topics, intake);
                refusals.extend(refusal.map(|refusal| (line.id.line, refusal)));
            }
        }
        refusals
    }

    /// Notifies the lines of how urgent their dials are.
    fn set_urgencies(&mut self) {
        if self.lines.len() > 1 || self.plan.lines > 1 {
            let open = self.lines.iter().filter(|line| line.is_open()).count();
            let others = |line: &Line<D>| open > usize::from(line.is_open());
            self.lines.iter_mut().for_each(|line| line.set_twin(others(line)));
        }
    }

    /// Dials and fails lines for what the others do.
    fn poll_twins(&mut self, now: Instant) {
        let Shard { lines, intake, .. } = self;
        let Some(twins) = intake.twins.as_mut().filter(|_| !self.is_closing) else { return };
        let mut links = [(0, Link::Held); 2 * MAX_LINES as usize];
        for (link, line) in links.iter_mut().zip(lines.iter()) {
            *link = (line.id.line, line.link(now));
        }
        let links = &links[..lines.len().min(links.len())];
        let mut dials = Vec::new();
        while let Some(deed) = twins.poll(links, now) {
            let (Deed::Dial(number) | Deed::Fail(number, _)) = deed;
            let Some(line) = lines.iter_mut().find(|line| line.id.line == number) else { continue };
            match deed {
                Deed::Fail(_, silence) => {
                    let text = format!(
                        "no data has come for {silence:.1?}, while another line brought some"
                    );
                    line.fail(text);
                }
                Deed::Dial(_) => dials.push(line.id),
            }
        }
        let is_meant = |line: &&mut Line<D>| dials.contains(&line.id);
        lines.iter_mut().filter(is_meant).for_each(Line::dial);
    }

    /// Returns the line of a number.
    fn line(&mut self, number: u8) -> Option<&mut Line<D>> {
        self.lines.iter_mut().find(|line| line.id.line == number)
    }

    /// Starts the line of a number.
    fn start_line(&mut self, number: u8, ctx: &mut Context<Shard<D>>) -> Result<(), ConfigError> {
        let addr = ctx.address();
        let mut line = Line::start(LineId::new(self.id, number), self.plan.clone(), |builder| {
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
        line.count_from(self.intake.epoch(number));
        if self.is_holding {
            line.hold(true, now());
        }
        if self.intake.rotation.is_paused() {
            line.pause();
        }
        self.lines.push(line);
        Ok(())
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
        for number in 0..self.plan.lines {
            if let Err(err) = self.start_line(number, ctx) {
                // The options were checked before; what is left is an environment that has changed since.
                self.refused(Some(number), Refusal::for_good(err.to_string()));
            }
        }
        ctx.spawn(Pulse);
    }
}

impl<D: Dialect> Drop for Shard<D> {
    /// Reports the end also if the shard's thread ends first.
    fn drop(&mut self) {
        if !self.has_ended {
            let refusal = Refusal::for_good("a thread of the feed has ended");
            self.report(FromShard::Refused(None, refusal));
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
        if shard.poll(ctx, task) {
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
            ToShard::Pause => {
                self.intake.rotation.pause(true);
                self.lines.iter_mut().for_each(Line::pause);
            }
            ToShard::Resume => {
                self.intake.rotation.pause(false);
                self.lines.iter_mut().for_each(Line::resume);
            }
            ToShard::Rotate => {
                let under_way = self.intake.rotation.lines();
                let is_new = |line: &Line<D>| under_way.is_some_and(|(_, new)| new == line.id.line);
                let lines = self.lines.iter().filter(|line| line.is_open() && !line.is_leaving());
                let lines: Vec<u8> = lines.filter(|it| !is_new(it)).map(|it| it.id.line).collect();
                lines.into_iter().for_each(|line| self.intake.rotation.ask(line));
            }
            ToShard::Refuse(lines) => self.refuse(lines),
            ToShard::Close(deadline) => {
                self.is_closing = true;
                self.lines.iter().for_each(|line| line.close(deadline));
            }
            ToShard::Status(reply) => {
                let _ = reply.send(self.status());
            }
            ToShard::Resync(topic) => {
                if let Some(slot) = self.topics.slot(&topic) {
                    self.intake.resync(slot);
                }
            }
        }
    }
}
