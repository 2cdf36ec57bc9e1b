//! The actor that replays: it owns the shards as values, and calls them as the recording says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, ActorFuture, AsyncContext, Context, Handler, WeakRecipient};
use tokio::time::{Sleep, sleep_until};

use crate::feed::asking::Answer;
use crate::feed::dialect::{Attempt, Dial, DialFuture, Dialect, Failure};
use crate::feed::figures::Figures;
use crate::feed::input::{Broken, Ended, Opened, Sent, Turn};
use crate::feed::line::now;
use crate::feed::plan::LinePlan;
use crate::feed::recipients::Recipients;
use crate::feed::replay::Replay;
use crate::feed::replay::note::{Call, Found, Note, Step};
use crate::feed::replay::report::{Report, Shared};
use crate::feed::replay::tape::Tape;
use crate::feed::rules::{Overflow, Silence};
use crate::feed::said::Refusal;
use crate::feed::shard::{FORMAT, FromShard, Shard, ShardStatus, ToShard, Wish};
use crate::feed::snapshot::Resync;
use crate::feed::topic::{ShardId, Topic};
use crate::feed::wall::Wall;
use crate::proto::message::{Payload, View};

/// A replay under way. To its feed it is the one shard with the number 0, which no shard of a recording has.
pub(crate) struct Player<D: Dialect> {
    parts: Parts<D>,
    feed: WeakRecipient<FromShard>,
    shards: BTreeMap<u32, Shard<D>>,
    /// The shards that have ended.
    ended: BTreeSet<u32>,
    tape: Tape,
    report: Shared,
    /// The notes of a step that are not handled yet, and its shard.
    notes: (u32, VecDeque<Note>),
    /// The shard that has had a turn which is not ended yet, and whether its lines were held after it.
    turned: Option<(u32, bool)>,
    /// The dialect of a socket that was opened, while the application's closure makes it.
    dial: Option<DialFuture<D>>,
    /// What was the start of the recorder: its times are counted from it.
    base: Instant,
    pace: Pace,
    /// The recorded time.
    now: Instant,
    is_over: bool,
}

/// What each shard has a clone of.
pub(crate) struct Parts<D: Dialect> {
    pub(crate) plan: Arc<LinePlan<D>>,
    pub(crate) recipients: Recipients<D::Item>,
    pub(crate) silence: Option<Silence>,
    pub(crate) resync: Option<Resync<D::Item>>,
}

/// When the next step is due.
struct Pace {
    speed: Option<f64>,
    /// The recorded time of the first step, and when it was replayed.
    began: Option<(Duration, tokio::time::Instant)>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// The number of updates that wait for the handlers at most before the replay waits for them.
const MAX_WAITING: usize = 1024;
/// The number of notes after which the thread serves others.
const NOTES_IN_A_POLL: usize = 64;

impl<D: Dialect> Player<D> {
    pub(crate) fn new(
        mut parts: Parts<D>,
        replay: Replay,
        feed: WeakRecipient<FromShard>,
    ) -> Player<D> {
        // Handlers get all that they had live, and no less for being slower.
        parts.recipients.overflow = Overflow::Wait;
        let Replay { files, speed, feed: number, report } = replay;
        *report.lock() = Report::default();
        let (tape, now) = (Tape::new(files, number, report.clone()), now());
        let pace = Pace { speed, began: None, timer: None };
        Player {
            parts,
            feed,
            shards: BTreeMap::new(),
            ended: BTreeSet::new(),
            tape,
            report,
            notes: (0, VecDeque::new()),
            turned: None,
            dial: None,
            base: now,
            pace,
            now,
            is_over: false,
        }
    }

    /// Goes on until something has to be waited for. `Ready` at the end, with why it can go no further if it is not that of
    /// the recording.
    fn poll(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<(), String>> {
        for _ in 0..NOTES_IN_A_POLL {
            let waiting = self.shards.values_mut().map(|shard| shard.deliver(task)).max();
            let waiting = waiting.unwrap_or_default();
            if waiting > MAX_WAITING {
                return Poll::Pending;
            }
            ready!(self.poll_turned(task));
            if self.notes.1.is_empty() {
                let Some(Step { shard, lines, notes, .. }) = self.tape.next_step()? else {
                    // Shards that end deliver past the bounds of the mailboxes.
                    return if waiting > 0 { Poll::Pending } else { Poll::Ready(Ok(())) };
                };
                self.notes = (shard, notes.into());
                self.begin_step(shard, lines)?;
            }
            let Some(note) = self.notes.1.front() else { continue };
            ready!(self.pace.poll(note.at, task));
            ready!(self.poll_note(task))?;
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ends a turn. One that ends its shard waits until the handlers have everything, since a shard that ends delivers past
    /// the bounds of their mailboxes.
    fn poll_turned(&mut self, task: &mut TaskContext<'_>) -> Poll<()> {
        let Some((number, holds)) = self.turned else { return Poll::Ready(()) };
        if let Some(shard) = self.shards.get_mut(&number) {
            if shard.is_over() && shard.deliver(task) > 0 {
                return Poll::Pending;
            }
            if shard.end_turn(holds, self.now) {
                self.shards.remove(&number);
                self.ended.insert(number);
            }
        }
        self.turned = None;
        Poll::Ready(())
    }

    /// Prepares a shard for the lines that it starts in a step. Creates it if that is its first one.
    fn begin_step(&mut self, number: u32, lines: Vec<u64>) -> Result<(), String> {
        let start = match self.notes.1.front() {
            Some(Note { at, call: Call::Start { format, lines } }) => Some((*at, *format, *lines)),
            _ => None,
        };
        match (start, self.shards.get_mut(&number)) {
            (None, Some(shard)) => shard.add_sources(lines),
            (Some((at, format, count)), None) if !self.ended.contains(&number) => {
                self.notes.1.pop_front();
                self.start_shard(number, at, (format, count), lines)?;
            }
            (Some(_), _) => {
                return Err("another recording begins here: replay its files apart".to_owned());
            }
            (None, None) if self.ended.contains(&number) => self.notes.1.clear(),
            (None, None) => {
                let has_started = !(self.shards.is_empty() && self.ended.is_empty());
                let why = format!("the beginning of shard {number} is missing in the recording");
                if has_started || !self.tape.pass_over() {
                    return Err(why + &self.tape.missing());
                }
                self.notes.1.clear();
            }
        }
        Ok(())
    }

    fn start_shard(
        &mut self,
        number: u32,
        at: Duration,
        (format, count): (u64, u64),
        lines: Vec<u64>,
    ) -> Result<(), String> {
        let Parts { plan, recipients, silence, resync } = &self.parts;
        if format != FORMAT {
            return Err(format!("the steps are of format {format}, and {FORMAT} is known"));
        }
        if count != u64::from(plan.lines) {
            let text = "line(s) for each topic, and is replayed with";
            return Err(format!("the feed was recorded with {count} {text} {}", plan.lines));
        }
        let now = self.base + at;
        let (id, feed) = (ShardId(number), self.feed.clone());
        let (plan, recipients) = (plan.clone(), recipients.clone());
        let shard = Shard::new(id, plan, recipients, silence.clone(), feed, now);
        let shard = shard.with_resync(resync.clone()).replayed(lines);
        let shard = self.shards.entry(number).or_insert(shard);
        shard.start_lines(now);
        Ok(())
    }

    /// Handles the next note.
    fn poll_note(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<(), String>> {
        let (number, notes) = &mut self.notes;
        let Some(shard) = self.shards.get_mut(number) else {
            // It has ended.
            notes.clear();
            return Poll::Ready(Ok(()));
        };
        let Some(note) = notes.front() else { return Poll::Ready(Ok(())) };
        self.now = self.base + note.at;
        self.report.lock().at = note.at;
        let dial = match &note.call {
            Call::Open { source, attempt, .. } => {
                let Some(line) = shard.line_of(*source) else {
                    notes.pop_front();
                    return Poll::Ready(Ok(()));
                };
                let line = self.parts.plan.slot(line);
                let make = || (self.parts.plan.make)(Attempt::replayed(*attempt, line));
                let dial = ready!(self.dial.get_or_insert_with(make).as_mut().poll(task));
                self.dial = None;
                Some(dial.map_err(|failure| format!("no dialect for line {line}: {failure}"))?)
            }
            _ => None,
        };
        let Some(note) = notes.pop_front() else { return Poll::Ready(Ok(())) };
        Poll::Ready(self.call(note, dial, task))
    }

    fn call(
        &mut self,
        note: Note,
        dial: Option<Dial<D>>,
        task: &mut TaskContext<'_>,
    ) -> Result<(), String> {
        let (now, number) = (self.now, self.notes.0);
        let Some(shard) = self.shards.get_mut(&number) else { return Ok(()) };
        match note.call {
            Call::Start { .. } => {}
            Call::Open { source, epoch, wall, share, .. } => {
                let wall = Wall::At(wall);
                if let Some(dial) = dial {
                    shard.opened(source, Opened { epoch, dial, at: now, wall, share });
                }
            }
            Call::Batch { source, epoch, count } => {
                let messages = self.tape.take(source, (epoch, note.at), count);
                shard.batch(source, (epoch, now), messages.iter().map(view));
            }
            Call::Control { source, round_trip } => shard.control(source, round_trip, now),
            Call::Error { source, broken } => {
                let for_good = broken.for_good.map(Into::into);
                let (error, after, has_retired) = (broken.error, broken.after, broken.has_retired);
                let is_asked_by_venue = broken.is_asked_by_venue;
                let at = now;
                let broken = Broken { error, after, is_asked_by_venue, for_good, has_retired, at };
                shard.broken(source, broken);
            }
            Call::Close { source, by_peer, after, has_retired } => {
                shard.socket_closed(source, Ended { by_peer, after, has_retired, at: now });
            }
            Call::Phase { source, phase } => shard.phase(source, phase),
            Call::Stopped { source, how } => {
                self.tape.forget(source);
                shard.stopped(source, how, now);
            }
            Call::Add(topics) => shard.command(ToShard::Add(wishes(topics)), now),
            Call::Remove(topics) => shard.command(ToShard::Remove(wishes(topics)), now),
            Call::Pause => shard.command(ToShard::Pause, now),
            Call::Resume => shard.command(ToShard::Resume, now),
            Call::Rotate => shard.command(ToShard::Rotate, now),
            Call::Refuse(lines) => shard.command(ToShard::Refuse(lines), now),
            Call::End => shard.command(ToShard::Close(Duration::ZERO), now),
            Call::Resync(topic) => shard.command(ToShard::Resync(topic), now),
            Call::Turn { wall, found, holds, asks } => {
                let turn = turn(*found, now, wall, self.parts.resync.as_ref())?;
                shard.replay_turn(turn, asks, task)?;
                self.turned = Some((number, holds));
            }
        }
        Ok(())
    }

    /// Ends all shards, and reports it.
    fn end(&mut self, result: Result<(), String>) {
        self.is_over = true;
        std::mem::take(&mut self.shards).into_values().for_each(|mut shard| shard.end());
        let mut report = self.report.lock();
        report.has_ended = true;
        let at = report.at;
        if let Err(why) = result {
            tracing::error!(?at, reason = %why, "a replay has failed");
            report.error = Some(why.clone().into());
            self.notify(FromShard::Refused(None, Refusal::for_good(format!("replay: {why}"))));
        }
        if let Some(file) = &report.torn {
            tracing::warn!(file = %file.display(), "a recording was not completed");
        }
        if !report.passed_over.is_empty() {
            let files = report.passed_over.len();
            tracing::warn!(
                files,
                "files of a recording whose beginning is missing were passed over"
            );
        }
        if report.missing > 0 {
            let missing = report.missing;
            tracing::warn!(
                missing,
                "messages are missing in a recording: the recorder dropped them"
            );
        }
        self.notify(FromShard::Ended(ShardId(0), Figures::default()));
    }

    fn notify(&self, report: FromShard) {
        // Without a feed there is no one to report to.
        if let Some(feed) = self.feed.upgrade() {
            feed.do_send(report);
        }
    }
}

impl Pace {
    /// Waits until a note is due that was made at this time.
    fn poll(&mut self, at: Duration, task: &mut TaskContext<'_>) -> Poll<()> {
        let Some(speed) = self.speed else { return Poll::Ready(()) };
        let (first, began) = *self.began.get_or_insert_with(|| (at, tokio::time::Instant::now()));
        let after = at.saturating_sub(first).div_f64(speed);
        let due = began + after;
        match &mut self.timer {
            Some(timer) if timer.deadline() == due => {}
            Some(timer) => timer.as_mut().reset(due),
            None => self.timer = Some(Box::pin(sleep_until(due))),
        }
        self.timer.as_mut().map_or(Poll::Ready(()), |timer| timer.as_mut().poll(task))
    }
}

/// Returns the turn that a shard has found outside.
fn turn<T>(
    found: Found,
    now: Instant,
    wall: std::time::SystemTime,
    resync: Option<&Resync<T>>,
) -> Result<Turn<T>, String> {
    let mut turn = Turn::new(now, Wall::At(wall));
    turn.limits = found.limits;
    let sent = |(source, room, unsent)| Sent { source, room, unsent };
    turn.sent = found.sent.into_iter().map(sent).collect();
    turn.overruns = found.overruns;
    for answer in found.answers {
        let Some(answer) = answer else {
            turn.answers.push(None);
            continue;
        };
        let result = match answer.result {
            Ok((sequence, bytes)) => {
                let stored = resync.and_then(|resync| resync.stored.as_ref());
                let stored = stored.ok_or("the feed is replayed without Resync::stored")?;
                let read = |err: Failure| format!("a snapshot of {}: {err}", answer.topic);
                Ok((sequence, (stored.read)(&bytes).map_err(read)?))
            }
            Err(failure) => Err(failure),
        };
        turn.answers.push(Some(Answer { topic: answer.topic, ask: answer.ask, result }));
    }
    Ok(turn)
}

fn view(payload: &Payload) -> View<'_> {
    match payload {
        Payload::Text(text) => View::Text(text),
        Payload::Binary(bytes) => View::Binary(bytes),
    }
}

fn wishes<T: Clone + Send + 'static>(topics: Vec<Topic>) -> Vec<Wish<T>> {
    topics.into_iter().map(|topic| Wish { topic, reply: None, own: None }).collect()
}

/// Nothing of it is pinned.
impl<D: Dialect> Unpin for Player<D> {}

impl<D: Dialect> Actor for Player<D> {
    type Context = Context<Player<D>>;

    fn started(&mut self, ctx: &mut Context<Player<D>>) {
        ctx.spawn(Pulse);
    }
}

/// The one future of the actor.
struct Pulse;

impl<D: Dialect> ActorFuture<Player<D>> for Pulse {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        player: &mut Player<D>,
        ctx: &mut Context<Player<D>>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        if !player.is_over {
            let result = ready!(player.poll(task));
            player.end(result);
            ctx.stop();
        }
        Poll::Ready(())
    }
}

impl<D: Dialect> Handler<ToShard<D::Item>> for Player<D> {
    type Result = ();

    /// What the recorded feed was asked for is in the recording. This one can be closed, and shows its state.
    fn handle(&mut self, command: ToShard<D::Item>, ctx: &mut Context<Player<D>>) {
        match command {
            ToShard::Close(_) if !self.is_over => {
                self.end(Ok(()));
                ctx.stop();
            }
            ToShard::Status(reply) => {
                let mut all = ShardStatus::default();
                for shard in self.shards.values_mut() {
                    let ShardStatus { lines, figures } = shard.status(self.now);
                    all.lines.extend(lines);
                    all.figures += figures;
                }
                let _ = reply.send(all);
            }
            _ => {}
        }
    }
}
