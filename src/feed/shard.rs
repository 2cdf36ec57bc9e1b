//! One shard: it owns the lines, passes their events to the values, and delivers what comes of them.

mod handlers;
#[cfg(feature = "record")]
mod journaling;
#[cfg(not(feature = "record"))]
#[path = "shard/no_journaling.rs"]
mod journaling;
mod live;
mod message;
#[cfg(feature = "record")]
mod replayed;
mod rotating;
mod snapshots;
#[cfg(feature = "record")]
mod sources;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Addr, WeakRecipient};
use tokio::time::Sleep;

use crate::command::status::{Phase, SourceId};
use crate::error::ConfigError;
use crate::feed::asking::Asking;
use crate::feed::command::{Answer, LineStatus};
use crate::feed::dialect::Dialect;
use crate::feed::event::{Cause, LineIs};
use crate::feed::figures::Figures;
use crate::feed::input::{self, Opened, Turn};
use crate::feed::intake::{Intake, Standing, Waiter};
use crate::feed::line::Line;
use crate::feed::plan::LinePlan;
use crate::feed::recipients::Recipients;
use crate::feed::rotation::Rotation;
use crate::feed::rules::Silence;
use crate::feed::said::Refusal;
use crate::feed::shard::journaling::Journal;
#[cfg(feature = "record")]
use crate::feed::shard::sources::Sources;
use crate::feed::silence::{Action, Finding};
use crate::feed::snapshot::Resync;
use crate::feed::subscriptions::OnServer;
use crate::feed::topic::{LineId, ShardId};
use crate::feed::topics::Topics;
use crate::feed::twins::{Deed, Link, MAX_LINES};
use crate::proto::message::View;

#[cfg(feature = "record")]
pub(crate) use crate::feed::shard::journaling::FORMAT;
pub(crate) use crate::feed::shard::message::{FromShard, ShardStatus, ToShard, Wish};

/// A shard: an actor with connections, or a value that a replay owns. What it decides depends on nothing but the calls of
/// its methods.
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
    /// How its lines are started.
    starter: Starter<D>,
    /// Where its calls are noted, if the feed is recorded.
    journal: Journal<D::Item>,
    /// Fires when a turn is due.
    timer: Option<Pin<Box<Sleep>>>,
}

/// How the lines of a shard are started.
enum Starter<D: Dialect> {
    /// With connections that report to this actor; `None` before its start.
    Dialled(Option<Addr<Shard<D>>>),
    /// Without, in a replay: with the numbers that their connections had.
    #[cfg(feature = "record")]
    Replayed(Sources),
}

impl<D: Dialect> Shard<D> {
    pub(crate) fn new(
        id: ShardId,
        plan: Arc<LinePlan<D>>,
        recipients: Recipients<D::Item>,
        silence: Option<Silence>,
        feed: WeakRecipient<FromShard>,
        now: Instant,
    ) -> Shard<D> {
        let mut intake = Intake::new(recipients, silence, plan.lines, now);
        intake.set_rotation(Rotation::new(plan.rotate.clone(), plan.lines, now));
        let journal = Journal::new(plan.recording.as_ref(), id, plan.lines, now);
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
            starter: Starter::Dialled(None),
            journal,
            timer: None,
        }
    }

    /// Sets how snapshots are asked for.
    pub(crate) fn with_resync(mut self, resync: Option<Resync<D::Item>>) -> Shard<D> {
        if let Some(resync) = resync {
            self.asking = resync.ask.clone().map(|ask| Asking::new(Some(ask)));
            self.journal.set_resync(&resync);
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

    fn add(&mut self, wish: Wish<D::Item>, now: Instant) {
        self.release_left();
        let slot = self.topics.add(&wish.topic);
        if let Some(own) = wish.own {
            self.intake.add_own(slot, own);
        }
        let Shard { lines, topics, intake, .. } = self;
        let mut is_confirmed = false;
        for line in lines {
            line.handle_wish(slot, topics, intake, now);
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

    fn remove(&mut self, wish: Wish<D::Item>, now: Instant) {
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
        lines.iter_mut().for_each(|line| line.handle_wish(slot, topics, intake, now));
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

    pub(crate) fn status(&mut self, now: Instant) -> ShardStatus {
        let (figures, queued) = (self.figures(), self.intake.outlet.len());
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

    /// Does what is due, up to the delivery of what comes of it.
    pub(crate) fn turn(&mut self, turn: &mut Turn<D::Item>) {
        let mut refusals = self.poll_silence(turn);
        self.poll_asking(turn);
        let Shard { lines, topics, intake, .. } = self;
        for line in lines {
            let refusal = line.poll(turn, topics, intake);
            refusals.extend(refusal.map(|refusal| (line.id.line, refusal)));
        }
        refusals.into_iter().for_each(|(line, refusal)| self.refused(Some(line), refusal));
        self.set_urgencies();
        self.poll_twins(turn.now);
        self.poll_rotation(turn.now, turn.wall);
        self.release_left();
    }

    /// Ends a turn after its delivery. `holds` says whether the lines are held from now on, because too many updates wait.
    /// Returns whether the shard has ended.
    pub(crate) fn end_turn(&mut self, holds: bool, now: Instant) -> bool {
        self.hold(holds, now);
        let left = self.intake.take_left();
        if !left.is_empty() {
            self.report(FromShard::Left(self.id, left));
        }
        let has_ended = self.is_over();
        if has_ended {
            self.end();
        }
        has_ended
    }

    /// Whether it ends with this turn.
    pub(crate) fn is_over(&self) -> bool {
        self.lines.is_empty() && (self.is_closing || self.is_refused())
    }

    /// Gives up holes, judges silence, and acts on what was found. Returns the lines that are refused for good.
    fn poll_silence(&mut self, turn: &Turn<D::Item>) -> Vec<(u8, Refusal)> {
        let mut refusals = Vec::new();
        let Shard { lines, topics, intake, .. } = self;
        // Any line, for what is not about one.
        let some = lines.iter().find(|line| line.is_open()).or(lines.first());
        let Some(some) = some.map(|line| line.id) else { return refusals };
        intake.resync_overruns(&turn.overruns, topics);
        intake.handle_timeout(some, topics, turn.now, turn.wall);
        while let Some(finding) = intake.poll_finding(some, topics) {
            let oldest = lines.iter().filter_map(Line::open_since).min();
            let is_meant = |line: &Line<D>| match finding {
                Finding::Line { line: number, .. } => line.id.line == number,
                // One at a time, the one that has been open for longest.
                Finding::Topic { action: Action::Fail, .. } => line.open_since() == oldest,
                Finding::Topic { .. } => line.is_open(),
            };
            for line in lines.iter_mut().filter(|line| is_meant(line)) {
                let refusal = line.handle_silence(finding, topics, intake, turn.now);
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

    /// Starts the lines that every shard has.
    pub(crate) fn start_lines(&mut self, now: Instant) {
        for number in 0..self.plan.lines {
            if let Err(err) = self.start_line(number, now) {
                // The options were checked before; what is left is an environment that has changed since.
                self.refused(Some(number), Refusal::for_good(err.to_string()));
            }
        }
    }

    /// Starts the line of a number.
    fn start_line(&mut self, number: u8, now: Instant) -> Result<(), ConfigError> {
        let id = LineId::new(self.id, number);
        let started = match &mut self.starter {
            Starter::Dialled(addr) => Shard::dialled(addr.as_ref(), id, &self.plan, now),
            #[cfg(feature = "record")]
            Starter::Replayed(sources) => sources.start(id, self.plan.clone(), now),
        };
        self.journal.started(started.as_ref().map(|line| line.source));
        let mut line = started?;
        line.count_from(self.intake.epoch(number));
        if self.is_holding {
            line.hold(true, now);
        }
        if self.intake.rotation.is_paused() {
            line.pause();
        }
        self.lines.push(line);
        Ok(())
    }

    /// Holds the lines while too many updates wait, and releases them later.
    fn hold(&mut self, holds: bool, now: Instant) {
        if holds != self.is_holding {
            self.is_holding = holds;
            self.intake.hold(holds, now);
            self.lines.iter_mut().for_each(|line| line.hold(holds, now));
        }
    }

    /// Delivers what is left, and reports the end.
    pub(crate) fn end(&mut self) {
        self.intake.outlet.flush();
        let figures = self.figures();
        self.has_ended = true;
        self.report(FromShard::Ended(self.id, figures));
    }

    /// A socket is open.
    pub(crate) fn opened(&mut self, source: SourceId, opened: Opened<D>) {
        self.with_line(source, |line, topics, intake| line.handle_open(opened, topics, intake));
    }

    /// Messages have come on the socket of this epoch.
    pub(crate) fn batch<'m>(
        &mut self,
        source: SourceId,
        (epoch, received): (u64, Instant),
        messages: impl ExactSizeIterator<Item = View<'m>>,
    ) {
        let read = self.with_line(source, |line, topics, intake| {
            line.handle_batch((epoch, received), messages, topics, intake)
        });
        if let Some(Err(refusal)) = read {
            self.lines.iter().for_each(|line| line.close(NO_TIME));
            self.refused(None, refusal);
        }
    }

    /// A connection has sent a Ping or Pong; the Ping that was answered with its round trip.
    pub(crate) fn control(&mut self, source: SourceId, round_trip: Option<Duration>, now: Instant) {
        self.with_line(source, |line, _, _| match round_trip {
            None => line.handle_control(now),
            Some(round_trip) => line.handle_round_trip(round_trip, now),
        });
    }

    /// A dial or a socket has failed.
    pub(crate) fn broken(&mut self, source: SourceId, broken: input::Broken) {
        let refusal = self.with_line(source, |line, _, intake| {
            line.handle_error(broken, intake).map(|refusal| (line.id.line, refusal))
        });
        if let Some((line, refusal)) = refusal.flatten() {
            self.refused(Some(line), refusal);
        }
    }

    /// A socket has ended.
    pub(crate) fn socket_closed(&mut self, source: SourceId, ended: input::Ended) {
        let requests = self.with_line(source, |line, topics, intake| {
            let requests = line.session().map_or(0, |session| session.requests());
            line.handle_close(ended, topics, intake);
            requests
        });
        self.requests += requests.unwrap_or_default();
        self.release_left();
        self.refuse(self.refused);
    }

    /// A connection has entered another phase.
    pub(crate) fn phase(&mut self, source: SourceId, phase: Phase) {
        self.with_line(source, |line, _, intake| line.handle_phase(phase, intake));
    }

    /// A line has ended, with an error if there was one. If nothing has asked for it, it was refused for good. Not so one
    /// that was to replace another: that goes on.
    pub(crate) fn stopped(&mut self, source: SourceId, how: input::Stopped, now: Instant) {
        let Some(at) = self.lines.iter().position(|line| line.source == source) else {
            return;
        };
        let line = self.lines.remove(at);
        let replaced = self.intake.rotation.lines();
        let is_replacement = replaced.is_some_and(|(old, new)| old != new && new == line.id.line);
        let is_ours = line.is_leaving() || is_replacement;
        if is_replacement {
            self.ended = line.failure().map(Cause::to_string);
        }
        self.topics.forget(line.id.line);
        self.intake.rotation.ended();
        if !self.is_closing && self.may_dial(line.id) && !is_ours {
            let reason = match (how.error, line.state()) {
                (Some(text), _) => text,
                (None, LineIs::Down { cause: Some(cause) }) => cause.to_string(),
                (None, _) => "the connection was closed for good".to_owned(),
            };
            let reason = Refusal::for_good(reason);
            return match how.is_closed {
                true => self.closed(line.id.line, reason),
                false => self.refused(Some(line.id.line), reason),
            };
        }
        if !matches!(line.state(), LineIs::Down { .. }) {
            self.intake.push_line(line.id, line.epoch, LineIs::Down { cause: None }, 0);
        }
        let slot = self.plan.slot(line.id);
        let is_empty = !self.lines.iter().any(|other| self.plan.slot(other.id) == slot);
        if is_empty && !self.is_closing && self.may_dial(slot) {
            // Both lines of a rotation were lost at once.
            if let Err(err) = self.start_line(slot.line, now) {
                self.refused(Some(slot.line), Refusal::for_good(err.to_string()));
            }
        }
    }

    /// The feed asks for something.
    pub(crate) fn command(&mut self, command: ToShard<D::Item>, now: Instant) {
        match command {
            ToShard::Add(wishes) => wishes.into_iter().for_each(|wish| self.add(wish, now)),
            ToShard::Remove(wishes) => wishes.into_iter().for_each(|wish| self.remove(wish, now)),
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
                self.intake.end();
                self.lines.iter().for_each(|line| line.close(deadline));
            }
            ToShard::Status(reply) => {
                let _ = reply.send(self.status(now));
            }
            ToShard::Resync(topic) => {
                if let Some(slot) = self.topics.slot(&topic) {
                    self.intake.resync(slot);
                }
            }
        }
    }

    /// Calls a function with the line that an event came from.
    #[inline]
    fn with_line<R>(
        &mut self,
        source: SourceId,
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

impl<D: Dialect> Drop for Shard<D> {
    /// Delivers what is left and reports the end also if the shard's thread ends first.
    fn drop(&mut self) {
        if !self.has_ended {
            // An item whose `clone` has panicked would do so again, and abort the process.
            if !std::thread::panicking() {
                self.intake.outlet.flush();
            }
            let refusal = Refusal::for_good("a thread of the feed has ended");
            self.report(FromShard::Refused(None, refusal));
            let figures = self.figures();
            self.report(FromShard::Ended(self.id, figures));
        }
    }
}
