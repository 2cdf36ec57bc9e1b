//! What the sessions of a shard say, on its way to the recipients: judged, counted, and answered to those who
//! wait for it.

mod snapshots;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::feed::command::Answer;
use crate::feed::event::{
    self, Gap, GapCause, LineIs, LineState, Missing, Rotated, TopicIs, TopicState, Update,
};
use crate::feed::figures::Figures;
use crate::feed::merge::{Brought, Joined, Judged, Lost, Merge, Output};
use crate::feed::outlet::Outlet;
use crate::feed::recipients::{Own, Recipients};
use crate::feed::resync::{Resyncs, SnapshotAsk};
use crate::feed::rotate::Rotate;
use crate::feed::rotation::{Leg, Rotation, Step};
use crate::feed::rules::{Overflow, Silence};
use crate::feed::session::{Data, Sink};
use crate::feed::silence::{Ended, Finding, Silences};
use crate::feed::snapshot::Resync;
use crate::feed::subscriptions::Change;
use crate::feed::table;
use crate::feed::topic::{LineId, Topic};
use crate::feed::topics::{Slot, Topics};
use crate::feed::twins::Twins;
use crate::feed::wall::Wall;

/// The state of a shard apart from its topics and lines.
pub(crate) struct Intake<T: Clone + Send + 'static> {
    pub(crate) outlet: Outlet<T>,
    merge: Merge<Update<T>>,
    /// `None` if no limit is set.
    silences: Option<Silences>,
    /// `None` with one line.
    pub(crate) twins: Option<Twins>,
    /// `None` if no topic has snapshots.
    resyncs: Option<Resyncs<Update<T>>>,
    /// Whether snapshots are asked for on the sockets.
    asks_dialect: bool,
    pub(crate) rotation: Rotation,
    /// The socket that was opened after its line was closed for a rotation: the line, and its epoch.
    after_break: Option<(u8, u64)>,
    /// Whether an update that is next is simply put into the batch: no topic has recipients of its own or snapshots, and
    /// no update replaces another. One flag, as nearly all updates of nearly all feeds are looked at for that.
    is_plain: bool,
    /// Whether each update is noted in what watches for silence, or in a rotation.
    is_watching: bool,
    /// Whether the shard holds its lines.
    is_holding: bool,
    /// Whether the shard closes its lines, so that none is dialled or replaced any more.
    is_ending: bool,
    /// The lines whose silence has ended, one bit for each.
    ended_silence: u64,
    /// The lines with an open socket, one bit for each.
    open: u64,
    /// The newest socket of each line.
    epochs: Vec<u64>,
    /// The lines that have confirmed a topic, by slot, one bit for each.
    confirmed: Vec<u64>,
    /// Topics that are neither wanted nor on the server of one line, and perhaps on that of another.
    maybe_left: Vec<Slot>,
    /// The callers that wait for an answer, by slot.
    waiting: HashMap<Slot, Vec<Waiter>>,
    /// Recipients of a topic's own, by slot; empty if no topic has any.
    own: Vec<Option<Own<T>>>,
    /// Topics that have left since the feed was last notified.
    left: Vec<Topic>,
    figures: Figures,
}

/// How a line compares with the others.
#[derive(Debug)]
pub(crate) struct Standing {
    /// How far it is behind the first line: the median, and the 99th of 100.
    pub(crate) lag: Option<(Duration, Duration)>,
    /// Updates that it brought.
    pub(crate) updates: u64,
    /// Those of them that were delivered.
    pub(crate) firsts: u64,
}

/// A caller that waits for what becomes of a topic.
#[derive(Debug)]
pub(crate) struct Waiter {
    /// Whether it has added the topic, not removed it.
    pub(crate) added: bool,
    pub(crate) reply: oneshot::Sender<Answer>,
}

/// An intake for what one read brought.
pub(crate) struct Reading<'a, T: Clone + Send + 'static> {
    pub(crate) intake: &'a mut Intake<T>,
    pub(crate) line: LineId,
    pub(crate) epoch: u64,
    pub(crate) received: Instant,
    /// The size of the message.
    pub(crate) bytes: usize,
    /// Whether this session has warned of an unwanted topic.
    pub(crate) has_warned: &'a mut bool,
}

impl<T: Clone + Send + 'static> Intake<T> {
    pub(crate) fn new(
        recipients: Recipients<T>,
        silence: Option<Silence>,
        lines: u8,
        now: Instant,
    ) -> Intake<T> {
        Intake {
            twins: (lines > 1).then(|| Twins::new(now)),
            resyncs: None,
            asks_dialect: false,
            rotation: Rotation::new(Rotate::default(), lines, now),
            after_break: None,
            is_plain: recipients.overflow == Overflow::Wait,
            is_watching: silence.is_some(),
            is_holding: false,
            is_ending: false,
            ended_silence: 0,
            open: 0,
            epochs: vec![0; lines.into()],
            confirmed: Vec::new(),
            maybe_left: Vec::new(),
            outlet: Outlet::new(recipients),
            merge: Merge::new(),
            silences: silence.map(|rule| Silences::new(rule, now)),
            waiting: HashMap::new(),
            own: Vec::new(),
            left: Vec::new(),
            figures: Figures::default(),
        }
    }

    /// Sets how snapshots are asked for.
    pub(crate) fn set_resync(&mut self, resync: Resync<T>) {
        self.asks_dialect = resync.ask.is_none();
        self.resyncs = Some(Resyncs::new(&resync));
        self.is_plain = false;
    }

    /// Registers a caller that waits for what becomes of a topic.
    pub(crate) fn wait(&mut self, slot: Slot, waiter: Waiter) {
        let waiting = self.waiting.entry(slot).or_default();
        // Callers that were cancelled leave here, so that their number stays bounded by that of callers.
        waiting.retain(|waiter| !waiter.reply.is_closed());
        waiting.push(waiter);
    }

    /// Answers the callers that wait for a topic.
    pub(crate) fn answer(&mut self, slot: Slot, added: bool, answer: &Answer) {
        let Some(waiting) = self.waiting.get_mut(&slot) else { return };
        for waiter in waiting.extract_if(.., |waiter| waiter.added == added) {
            // The caller may have been dropped: cancelled.
            let _ = waiter.reply.send(answer.clone());
        }
        if waiting.is_empty() {
            self.waiting.remove(&slot);
        }
    }

    /// Adds recipients of a topic's own.
    pub(crate) fn add_own(&mut self, slot: Slot, own: Own<T>) {
        self.is_plain = false;
        let place = slot_of(&mut self.own, slot);
        *place = Some(match place.take() {
            None => own,
            Some(before) => {
                let mut both = Recipients::clone(&before);
                both.extend(&own);
                Arc::new(both)
            }
        });
    }

    /// Returns the recipients of a topic's own.
    #[inline]
    fn own_of(&self, slot: Slot) -> Option<Own<T>> {
        self.own.get(slot as usize)?.clone()
    }

    /// Notes that a line has opened a socket. `share` is random, from 0 to 1.
    pub(crate) fn open(&mut self, line: LineId, epoch: u64, now: Instant, wall: Wall, share: f64) {
        self.open |= bit(line.line);
        *slot_of(&mut self.epochs, line.line.into()) = epoch;
        self.merge.open(line.line, now);
        self.silences.iter_mut().for_each(|silences| silences.open(line.line, now));
        self.twins.iter_mut().for_each(|twins| twins.open(line.line, now));
        self.rotation.open(line.line, now, wall.time(), share);
    }

    /// Notes that the socket of a line has ended. Returns the number of topics without numbers that it led and other lines
    /// carry on.
    pub(crate) fn close(&mut self, line: LineId, topics: &Topics, now: Instant) -> usize {
        self.open &= !bit(line.line);
        let led = self.merge.close(line.line, now);
        self.pass_outputs(line, topics);
        self.confirmed.iter_mut().for_each(|lines| *lines &= !bit(line.line));
        self.twins.iter_mut().for_each(|twins| twins.close(line.line));
        self.rotation.close(line.line);
        if let Some(silences) = &mut self.silences {
            silences.close(line.line);
            let is_carried =
                |slot: Slot| self.confirmed.get(slot as usize).is_some_and(|it| *it != 0);
            let slots = topics.iter().map(|(_, slot)| slot);
            slots.filter(|slot| !is_carried(*slot)).for_each(|slot| silences.ended(slot));
        }
        if self.resyncs.is_some() {
            let slots = topics.iter().map(|(_, slot)| slot);
            slots.for_each(|slot| self.uncarried(slot));
        }
        let unwanted = topics.iter().map(|(_, slot)| slot).filter(|slot| !topics.is_wanted(*slot));
        self.maybe_left.extend(unwanted);
        led
    }

    /// Gives up holes, and judges silence.
    pub(crate) fn handle_timeout(
        &mut self,
        line: LineId,
        topics: &Topics,
        now: Instant,
        wall: Wall,
    ) {
        // While the lines are held, what fills a hole may not have been read.
        if !self.is_holding && self.merge.poll_timeout().is_some_and(|at| at <= now) {
            self.merge.handle_timeout(now);
            self.pass_outputs(line, topics);
        }
        if let Some(silences) = &mut self.silences {
            silences.handle_timeout(now, wall.time());
        }
        self.snapshots_timeout(line, topics, now);
    }

    /// Returns the next silence, after it was reported if it concerns a topic.
    pub(crate) fn poll_finding(&mut self, line: LineId, topics: &Topics) -> Option<Finding> {
        let finding = self.silences.as_mut()?.poll()?;
        if let Finding::Topic { slot, since, is_new: true, .. } = finding {
            let (topic, state) = (topics.topic(slot).clone(), TopicIs::Silent { since });
            let epoch = self.epoch(line.line);
            let own = self.own_of(slot);
            self.outlet.push_topic(TopicState { line, epoch, topic, state }, own);
        }
        Some(finding)
    }

    /// Begins or ends a time in which the shard holds its lines: nothing is judged.
    pub(crate) fn hold(&mut self, holds: bool, now: Instant) {
        self.is_holding = holds;
        self.silences.iter_mut().for_each(|silences| silences.hold(holds, now));
        self.twins.iter_mut().for_each(|twins| twins.hold(holds, now));
        self.resyncs.iter_mut().for_each(|resyncs| resyncs.hold(holds, now));
        self.rotation.hold(holds, now);
        if holds { self.merge.suspend(now) } else { self.merge.resume(now) }
    }

    /// Returns when `handle_timeout` is to be called next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let silence = self.silences.as_ref().and_then(Silences::poll_timeout);
        let twins = self.twins.as_ref().and_then(Twins::poll_timeout);
        let hole = self.merge.poll_timeout().filter(|_| !self.is_holding);
        let snapshot = self.resyncs.as_ref().and_then(Resyncs::poll_timeout);
        let rotation = self.rotation.poll_timeout();
        // At the end both are left alone, and what they were to be polled for stays in the past.
        let lines = [twins, rotation].into_iter().flatten().filter(|_| !self.is_ending);
        [hole, silence, snapshot].into_iter().flatten().chain(lines).min()
    }

    /// Notes that the shard closes its lines.
    pub(crate) fn end(&mut self) {
        self.is_ending = true;
    }

    /// Sets when lines are rotated.
    pub(crate) fn set_rotation(&mut self, rotation: Rotation) {
        self.rotation = rotation;
    }

    /// Returns what a rotation needs now. `legs` are the lines of the shard.
    pub(crate) fn poll_rotation(
        &mut self,
        legs: &[Leg],
        topics: &Topics,
        now: Instant,
        wall: Wall,
    ) -> Option<Step> {
        let Intake { rotation, merge, .. } = self;
        let joined = |line, slot| match topics.is_wanted(slot) {
            true => merge.joined(line, slot),
            false => Joined::Yes,
        };
        let step = rotation.poll(legs, topics.slots(), now, wall.time(), joined);
        let is_watching = rotation.is_watching();
        self.is_watching = is_watching || self.silences.is_some();
        step
    }

    /// Whether a line carries some topics, and `new` all of those that it has not refused. While topics are added again and
    /// again there is always one that neither line has confirmed yet.
    pub(crate) fn carries_all_of(&self, line: u8, new: u8, topics: &mut Topics) -> bool {
        topics.select(new);
        let confirmed = (0..).zip(&self.confirmed);
        let mut slots = confirmed.filter(|(_, lines)| *lines & bit(line) != 0).peekable();
        slots.peek().is_some()
            && slots.all(|(slot, lines)| lines & bit(new) != 0 || !topics.may_ask(slot))
    }

    /// Notes that a line is closed and dialled again for a rotation: what is missing then is missing for that.
    pub(crate) fn break_for_rotation(&mut self, line: LineId) {
        self.after_break = Some((line.line, self.epoch(line.line) + 1));
    }

    /// Reports the topics that a rotation has left behind, because the venue has refused them for good on the new line.
    pub(crate) fn report_given_up(&mut self, line: LineId, topics: &Topics) {
        for slot in self.rotation.take_given_up() {
            let is_carried = self.confirmed.get(slot as usize).is_some_and(|lines| *lines != 0);
            let Some(refusal) = topics.refusal(slot).filter(|_| !is_carried) else { continue };
            let (topic, state) = (topics.topic(slot).clone(), TopicIs::Refused(refusal.clone()));
            let (epoch, own) = (self.epoch(line.line), self.own_of(slot));
            self.answer(slot, true, &Answer::Refused(refusal.clone()));
            self.outlet.push_topic(TopicState { line, epoch, topic, state }, own);
        }
    }

    /// Queues the result of a rotation.
    pub(crate) fn push_rotated(&mut self, rotated: Rotated) {
        self.figures.rotations += u64::from(rotated.outcome == event::Rotation::Done);
        self.outlet.push_rotated(rotated);
    }

    /// Returns whether a line that was silent has brought data again since the last call.
    pub(crate) fn take_line_ended_silence(&mut self, line: LineId) -> bool {
        let ended = self.ended_silence;
        self.ended_silence &= !bit(line.line);
        ended != self.ended_silence
    }

    /// Queues what the merge has decided to deliver.
    fn pass_outputs(&mut self, of_shard: LineId, topics: &Topics) {
        while let Some(output) = self.merge.poll_output() {
            match output {
                Output::Update(update) => match topics.slot(&update.topic) {
                    Some(slot) => self.pass_update(slot, 0, update, topics),
                    None => self.deliver(Slot::MAX, update),
                },
                Output::Gap(lost) if !self.is_gap(&lost) => {}
                Output::Gap(Lost { slot, line, missing, cause, last_at, next_at }) => {
                    self.figures.gaps += 1;
                    let cause = self.cause_of(cause, line);
                    let (line, epoch) = (LineId { line, ..of_shard }, self.epoch(line));
                    let (topic, next_at) = (Some(topics.topic(slot).clone()), Some(next_at));
                    let gap = Gap { line, epoch, topic, missing, cause, last_at, next_at };
                    self.outlet.push_gap(gap, self.own_of(slot));
                }
            }
        }
    }

    /// Returns the cause of a gap before an update of a line: what was missed while a rotation had closed it is no outage.
    fn cause_of(&self, cause: GapCause, line: u8) -> GapCause {
        let is_of_rotation = self.after_break == Some((line, self.epoch(line)));
        match cause {
            GapCause::Outage if is_of_rotation => GapCause::Rotation,
            cause => cause,
        }
    }

    /// Queues an update for the recipients of its topic.
    fn deliver(&mut self, slot: Slot, update: Update<T>) {
        self.figures.delivered += 1;
        let own = self.own.get(slot as usize).and_then(Option::as_ref);
        self.outlet.push_update(update, own);
    }

    /// Returns the newest socket of a line.
    pub(crate) fn epoch(&self, line: u8) -> u64 {
        self.epochs.get(usize::from(line)).copied().unwrap_or_default()
    }

    /// Notes that a topic was removed: its next confirmation is reported, on whichever line.
    pub(crate) fn removed(&mut self, slot: Slot) {
        *slot_of(&mut self.confirmed, slot) = 0;
        self.resyncs.iter_mut().for_each(|resyncs| resyncs.remove(slot));
    }

    /// Notes that a line does not carry a topic for now.
    pub(crate) fn leave(&mut self, line: LineId, slot: Slot, topics: &Topics, now: Instant) {
        *slot_of(&mut self.confirmed, slot) &= !bit(line.line);
        if self.has_others(line) {
            self.merge.leave(line.line, slot, now);
        } else {
            self.merge.refuse(line.line, slot, now);
        }
        self.pass_outputs(line, topics);
        self.uncarried(slot);
    }

    /// Whether other lines have an open socket.
    fn has_others(&self, line: LineId) -> bool {
        self.open & !bit(line.line) != 0
    }

    /// Notes an update in what watches for silence, and reports a silence that it ends.
    #[inline(never)]
    fn watch(&mut self, line: LineId, epoch: u64, slot: Slot, topics: &Topics, received: Instant) {
        self.rotation.data(line.line, slot, received);
        let Some(silences) = &mut self.silences else { return };
        let ended = silences.data(line.line, slot, received);
        if ended.line || ended.topic {
            self.end_silence(ended, line, epoch, slot, topics);
        }
    }

    #[cold]
    fn end_silence(&mut self, ended: Ended, line: LineId, epoch: u64, slot: Slot, topics: &Topics) {
        self.ended_silence |= if ended.line { bit(line.line) } else { 0 };
        if ended.topic {
            let (topic, state) = (topics.topic(slot).clone(), TopicIs::Fresh);
            let own = self.own_of(slot);
            self.outlet.push_topic(TopicState { line, epoch, topic, state }, own);
        }
    }

    /// Returns the topics that may have left since the last call.
    pub(crate) fn take_maybe_left(&mut self) -> Vec<Slot> {
        std::mem::take(&mut self.maybe_left)
    }

    /// Releases a topic that is neither wanted nor on a server.
    pub(crate) fn release(&mut self, slot: Slot, topics: &mut Topics) {
        if let Some(topic) = topics.release(slot) {
            self.answer(slot, false, &Answer::Removed);
            self.answer(slot, true, &Answer::Removed);
            self.merge.remove(slot);
            if let Some(own) = self.own.get_mut(slot as usize) {
                *own = None;
            }
            self.rotation.release(slot);
            self.silences.iter_mut().for_each(|silences| silences.remove(slot));
            self.resyncs.iter_mut().for_each(|resyncs| resyncs.remove(slot));
            self.outlet.release(&topic);
            self.left.push(topic);
        }
    }

    /// Returns the topics that have left since the last call.
    pub(crate) fn take_left(&mut self) -> Vec<Topic> {
        std::mem::take(&mut self.left)
    }

    /// Queues the state of a line, and the number of topics that it leads no more.
    pub(crate) fn push_line(&mut self, line: LineId, epoch: u64, state: LineIs, led: usize) {
        self.outlet.push_line(LineState { line, epoch, state, led });
    }

    /// Returns how a line compares with the others, since its socket is open.
    pub(crate) fn standing(&self, line: LineId) -> Standing {
        let (updates, firsts) = self.merge.firsts(line.line).unwrap_or_default();
        Standing { lag: self.merge.lag(line.line), updates, firsts }
    }

    /// Returns the counts, without those of topics and requests.
    pub(crate) fn figures(&self) -> Figures {
        let dropped = self.merge.dropped();
        let counts = self.resyncs.as_ref().map(Resyncs::counts).unwrap_or_default();
        Figures {
            gaps: self.figures.gaps + self.outlet.gaps(),
            skipped: self.outlet.skipped(),
            duplicates: dropped.duplicates,
            late: dropped.late,
            resyncs: counts.resyncs,
            asks: counts.asks,
            unsynced: self.resyncs.as_ref().map_or(0, Resyncs::unsynced),
            ..self.figures
        }
    }
}

impl<'a, T: Clone + Send + 'static> Reading<'a, T> {
    /// Begins with what one read brought.
    pub(crate) fn new(
        intake: &'a mut Intake<T>,
        line: LineId,
        epoch: u64,
        received: Instant,
        has_warned: &'a mut bool,
    ) -> Reading<'a, T> {
        intake.merge.begin_read(received);
        intake.twins.iter_mut().for_each(|twins| twins.begin_read(line.line, received));
        Reading { intake, line, epoch, received, bytes: 0, has_warned }
    }
}

impl<T: Clone + Send + 'static> Reading<'_, T> {
    /// Passes an update to the merge that is neither simply the next one nor a known one.
    #[inline(never)]
    fn take(&mut self, data: Data<T>, topics: &Topics) {
        let Reading { line, epoch, received, bytes, .. } = *self;
        let Data { slot, sequence, snapshot, .. } = data;
        let brought = Brought { line: line.line, slot, sequence, snapshot, bytes, at: received };
        let mut update = update_of(data, line, epoch, received, topics.topic(slot));
        if snapshot {
            match self.intake.take_snapshot(slot, bytes, update, topics) {
                Some(for_merge) => update = for_merge,
                None => return,
            }
        }
        if let Some(update) = self.intake.merge.take(&brought, update) {
            self.intake.pass_update(slot, bytes, update, topics);
        }
        self.intake.pass_outputs(line, topics);
    }
}

impl<T: Clone + Send + 'static> Reading<'_, T> {
    /// Delivers an update that is next, but not simply put into the batch. Not inlined: with a second place that makes an
    /// update, the usual one takes 100 instructions more.
    #[inline(never)]
    fn pass(&mut self, data: Data<T>, topics: &Topics) {
        let Reading { line, epoch, received, bytes, .. } = *self;
        let slot = data.slot;
        let update = update_of(data, line, epoch, received, topics.topic(slot));
        self.intake.pass_update(slot, bytes, update, topics);
    }
}

impl<T: Clone + Send + 'static> Sink<T> for Reading<'_, T> {
    /// The parts of the update, and of `self`, are looked at where they are needed: as values that are passed around they
    /// would be copied first.
    #[inline(always)] // as a function, with `judge` as one, it takes 51 instructions more, 89 with two lines
    fn data(&mut self, data: Data<T>, topics: &Topics) {
        let Data { slot, sequence, snapshot, item } = data;
        let intake = &mut *self.intake;
        if let Some(twins) = &mut intake.twins {
            twins.data(intake.confirmed.get(slot as usize).copied().unwrap_or_default());
        }
        if intake.is_watching {
            intake.watch(self.line, self.epoch, slot, topics, self.received);
        }
        match intake.merge.judge(self.line.line, slot, sequence, snapshot) {
            Judged::Next if intake.is_plain => {
                let topic = topics.topic(slot);
                let update = |item| {
                    let data = Data { slot, sequence, snapshot, item };
                    update_of(data, self.line, self.epoch, self.received, topic)
                };
                match intake.outlet.try_push(item, update) {
                    Ok(()) => intake.figures.delivered += 1,
                    Err(item) => self.pass(Data { slot, sequence, snapshot, item }, topics),
                }
            }
            Judged::Known => {}
            Judged::Next => self.pass(Data { slot, sequence, snapshot, item }, topics),
            Judged::Open => self.take(Data { slot, sequence, snapshot, item }, topics),
        }
    }

    fn asked(&mut self, slot: Slot) {
        self.intake.merge.ask(self.line.line, slot);
    }

    fn change(&mut self, change: Change, topics: &mut Topics) {
        let (line, epoch) = (self.line, self.epoch);
        let intake = &mut *self.intake;
        let (slot, state) = match change {
            Change::Confirmed(slot) => {
                intake.answer(slot, true, &Answer::Confirmed);
                intake.carried(slot, topics);
                intake.merge.confirm(line.line, slot);
                let lines = slot_of(&mut intake.confirmed, slot);
                let had = *lines & !bit(line.line);
                *lines |= bit(line.line);
                if had != 0 {
                    // It is reported once, of the first line.
                    return;
                }
                let now = self.received;
                intake.silences.iter_mut().for_each(|silences| silences.confirmed(slot, now));
                (slot, TopicIs::Confirmed)
            }
            Change::Refused(slot, refusal) => {
                let carried = *slot_of(&mut intake.confirmed, slot);
                intake.rotation.refused(line.line, slot, &refusal, carried);
                intake.leave(line, slot, topics, self.received);
                if intake.has_others(line) && topics.refusal(slot).is_none() {
                    // Another line has not refused it.
                    return;
                }
                intake.answer(slot, true, &Answer::Refused(refusal.clone()));
                (slot, TopicIs::Refused(refusal))
            }
            Change::Filtered(slot) => return intake.answer(slot, false, &Answer::Removed),
            Change::Left(slot) if intake.has_others(line) => return intake.maybe_left.push(slot),
            Change::Left(slot) => return intake.release(slot, topics),
        };
        let topic = topics.topic(slot).clone();
        let own = intake.own_of(slot);
        intake.outlet.push_topic(TopicState { line, epoch, topic, state }, own);
    }

    fn missing(&mut self, from: u64, to: u64) {
        self.intake.figures.gaps += 1;
        self.intake.line_gap(self.line);
        self.intake.outlet.push_gap(
            Gap {
                line: self.line,
                epoch: self.epoch,
                topic: None,
                missing: Missing::Range { from, to },
                cause: GapCause::Venue,
                last_at: None,
                next_at: Some(self.received),
            },
            None,
        );
    }

    fn dispute(&mut self, slot: Slot, topics: &Topics) {
        self.intake.dispute(self.line, slot, topics, self.received);
    }

    fn next_ask(&mut self, now: Instant, may: impl Fn(Slot) -> bool) -> Option<SnapshotAsk> {
        let asks = self.intake.asks_dialect;
        if asks { self.intake.poll_ask(now, may) } else { None }
    }

    fn rotate(&mut self, within: Duration) {
        self.intake.rotation.announce(self.line.line, within, self.received);
    }

    fn unwanted(&mut self, topic: &str, is_known: bool) {
        self.intake.figures.unwanted += 1;
        if !is_known && !std::mem::replace(self.has_warned, true) {
            tracing::warn!(line = %self.line, topic, "data of a topic that is not wanted is dropped");
        }
    }
}

/// Returns the update of what was read.
#[inline]
fn update_of<T>(
    data: Data<T>,
    line: LineId,
    epoch: u64,
    received: Instant,
    topic: &Topic,
) -> Update<T> {
    let Data { sequence, snapshot, item, .. } = data;
    Update { line, epoch, topic: topic.clone(), sequence, snapshot, skipped: 0, received, item }
}

/// Returns the bit of a line.
fn bit(line: u8) -> u64 {
    1 << (line % 64)
}

/// Returns the entry of a slot in a table that grows as needed.
fn slot_of<V: Default>(table: &mut Vec<V>, slot: Slot) -> &mut V {
    let at = slot as usize;
    if table.len() <= at {
        table::fill(table, at + 1, V::default);
    }
    &mut table[at]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::feed::said::Refusal;
    use crate::feed::sequence::Sequence;
    use crate::feed::topic::ShardId;
    use crate::feed::twins::Link;

    #[test]
    fn a_shard_that_ends_waits_for_neither_rotation_nor_twins() {
        let start = Instant::now();
        let mut intake = Intake::<()>::new(Recipients::default(), None, 2, start);
        assert_eq!(intake.poll_timeout(), None);
        intake.hold(true, start);
        intake.hold(false, start);
        assert_eq!(intake.poll_timeout(), Some(start));
        intake.end();
        assert_eq!(intake.poll_timeout(), None, "or a core is busy until its lines have closed");
        let mut intake = Intake::<()>::new(Recipients::default(), None, 2, start);
        let waiting = |line| (line, Link::Waiting { due: start + Duration::from_secs(60) });
        intake.twins.as_mut().unwrap().poll(&[waiting(0), waiting(1)], start);
        assert!(intake.poll_timeout().is_some(), "one of them is to be dialled sooner");
        intake.end();
        assert_eq!(intake.poll_timeout(), None);
    }

    #[test]
    fn a_line_carries_all_of_another_without_what_neither_has_and_what_it_has_refused() {
        let (start, mut topics) = (Instant::now(), Topics::default());
        let mut intake = Intake::<()>::new(Recipients::default(), None, 1, start);
        let [a, b, c] = ["a", "b", "c"].map(|topic| topics.add(&topic.into()));
        let mut carries = |confirmed: &[(u8, Slot)], topics: &mut Topics| {
            for (line, slot) in confirmed {
                *slot_of(&mut intake.confirmed, *slot) |= bit(*line);
            }
            intake.carries_all_of(0, 1, topics)
        };
        assert!(!carries(&[], &mut topics), "the other one carries nothing");
        assert!(!carries(&[(0, a), (0, b), (1, a)], &mut topics));
        assert!(carries(&[(1, b)], &mut topics), "neither has the third one");
        assert!(!carries(&[(0, c)], &mut topics));
        topics.select(1);
        topics.refuse(c, Refusal::for_good("no such topic"), start);
        topics.select(0);
        assert!(carries(&[], &mut topics));
    }

    #[test]
    fn no_hole_is_given_up_while_the_shard_holds_its_lines() {
        let (start, mut topics) = (Instant::now(), Topics::default());
        let mut intake = Intake::new(Recipients::default(), None, 2, start);
        let lines = [0, 1].map(|line| LineId::new(ShardId(1), line));
        lines.iter().for_each(|line| intake.open(*line, 1, start, Wall::Clock, 0.0));
        let slot = topics.add(&"a".into());
        let mut has_warned = false;
        for (line, number) in [(0, 1), (1, 1), (0, 3)] {
            let (intake, has_warned, line) = (&mut intake, &mut has_warned, lines[line]);
            let mut reading = Reading::new(intake, line, 1, start, has_warned);
            let sequence = Sequence::contiguous(number, number);
            reading.data(Data { slot, sequence, snapshot: false, item: () }, &topics);
        }
        let second = Duration::from_secs(1);
        intake.hold(true, start);
        assert_eq!(intake.poll_timeout(), None);
        intake.handle_timeout(lines[0], &topics, start + 10 * second, Wall::Clock);
        assert_eq!(intake.figures().gaps, 0, "what fills it may not have been read");
        intake.hold(false, start + 10 * second);
        intake.handle_timeout(lines[0], &topics, start + 10 * second, Wall::Clock);
        assert_eq!((intake.figures().gaps, intake.figures().delivered), (0, 1));
        intake.handle_timeout(lines[0], &topics, start + 11 * second, Wall::Clock);
        assert_eq!((intake.figures().gaps, intake.figures().delivered), (1, 2));
    }
}
