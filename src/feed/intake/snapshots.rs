//! What the intake does for topics that consist of a snapshot and increments.

use std::time::Instant;

use crate::feed::event::{Gap, TopicIs, TopicState, Update};
use crate::feed::intake::{Intake, bit};
use crate::feed::merge::{self, Brought};
use crate::feed::resync::{Before, Output, Resyncs, SnapshotAsk};
use crate::feed::snapshot::{IsResynced, Resync};
use crate::feed::topic::{LineId, Topic};
use crate::feed::topics::{Slot, Topics};

/// The snapshots of a shard's topics, and which topics have some.
pub(super) struct Snapshots<T> {
    pub(super) resyncs: Resyncs<Update<T>>,
    is_resynced: Option<IsResynced>,
}

impl<T> Snapshots<T> {
    pub(super) fn new(options: Resync<T>) -> Snapshots<T> {
        let Resync { first_wait, rate, is_resynced, .. } = options;
        Snapshots { resyncs: Resyncs::new(first_wait, rate), is_resynced }
    }

    /// Adds a topic unless it is known.
    #[inline]
    fn see(&mut self, slot: Slot, topic: &Topic) {
        if self.resyncs.is_new(slot) {
            let is_resynced =
                self.is_resynced.as_ref().is_none_or(|is_resynced| is_resynced(topic));
            self.resyncs.add(slot, is_resynced);
        }
    }
}

impl<T: Clone + Send + 'static> Intake<T> {
    /// Delivers an update that comes from the merge, or holds it.
    #[inline]
    pub(super) fn pass_update(
        &mut self,
        slot: Slot,
        bytes: usize,
        update: Update<T>,
        topics: &Topics,
    ) {
        let line = update.line;
        let update = match &mut self.snapshots {
            None => Some(update),
            Some(snapshots) => {
                snapshots.see(slot, &update.topic);
                let Update { sequence, snapshot, received, .. } = update;
                let brought =
                    Brought { line: line.line, slot, sequence, snapshot, bytes, at: received };
                snapshots.resyncs.update(&brought, update)
            }
        };
        match update {
            Some(update) => self.deliver(slot, || update),
            None => self.pass_snapshots(line, topics),
        }
    }

    /// Takes a snapshot that some line brought. Returns it if it is for the merge to say what it is good for.
    #[cold]
    pub(super) fn take_snapshot(
        &mut self,
        slot: Slot,
        bytes: usize,
        update: Update<T>,
        topics: &Topics,
    ) -> Option<Update<T>> {
        let Update { line, sequence, snapshot, received, .. } = update;
        let Some(snapshots) = self.snapshots.as_mut().filter(|_| !sequence.restarted) else {
            return Some(update);
        };
        snapshots.see(slot, &update.topic);
        let brought = Brought { line: line.line, slot, sequence, snapshot, bytes, at: received };
        let update = snapshots.resyncs.snapshot(&brought, update);
        self.pass_snapshots(line, topics);
        update
    }

    /// Takes the answer to an ask of the closure's. `line` is any line that carries the topic.
    pub(crate) fn answer_ask(&mut self, ask: SnapshotAsk, update: Update<T>, topics: &Topics) {
        let Some(snapshots) = &mut self.snapshots else { return };
        let Update { line, sequence, snapshot, received, .. } = update;
        let (line_number, slot) = (line.line, ask.slot);
        let brought =
            Brought { line: line_number, slot, sequence, snapshot, bytes: 0, at: received };
        snapshots.resyncs.answer(ask.round, &brought, update);
        self.pass_snapshots(line, topics);
    }

    /// Notes that an ask has failed for good.
    pub(crate) fn refuse_ask(
        &mut self,
        line: LineId,
        ask: SnapshotAsk,
        topics: &Topics,
        now: Instant,
    ) {
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.resyncs.refused(ask.slot, ask.round, now);
            self.pass_snapshots(line, topics);
        }
    }

    /// Asks for a snapshot of a topic because the application wants one.
    pub(crate) fn resync(&mut self, slot: Slot) {
        let next = self.merge.newest(slot).0;
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.resyncs.resync(slot, next);
        }
    }

    /// Notes that a topic is confirmed on some line.
    pub(crate) fn carried(&mut self, slot: Slot, topics: &Topics) {
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.see(slot, topics.topic(slot));
            snapshots.resyncs.confirmed(slot);
        }
    }

    /// Notes that no line carries a topic any more. The merge forgets its numbers: a snapshot follows, and they may begin
    /// anew.
    pub(super) fn uncarried(&mut self, slot: Slot) {
        let is_carried = self.confirmed.get(slot as usize).is_some_and(|lines| *lines != 0);
        let Some(snapshots) = self.snapshots.as_mut().filter(|_| !is_carried) else { return };
        let (next, last_at) = self.merge.newest(slot);
        if snapshots.resyncs.ended(slot, Before { next, last_at }) {
            self.merge.remove(slot);
        }
    }

    /// Ends waits that are over.
    pub(super) fn snapshots_timeout(&mut self, line: LineId, topics: &Topics, now: Instant) {
        let Some(snapshots) = &mut self.snapshots else { return };
        snapshots.resyncs.handle_timeout(now, |slot| self.merge.newest(slot).0);
        self.pass_snapshots(line, topics);
    }

    /// Returns the next snapshot to ask for, of a topic that `may` be asked for.
    pub(crate) fn poll_ask(
        &mut self,
        now: Instant,
        may: impl Fn(Slot) -> bool,
    ) -> Option<SnapshotAsk> {
        self.snapshots.as_mut()?.resyncs.poll_ask(now, may)
    }

    /// Returns when that is to be called.
    pub(crate) fn ask_due(&mut self, now: Instant, may: impl Fn(Slot) -> bool) -> Option<Instant> {
        self.snapshots.as_mut()?.resyncs.ask_due(now, may)
    }

    /// Whether a gap of the merge is to be reported.
    pub(super) fn is_gap(&mut self, lost: &merge::Lost) -> bool {
        let snapshots = self.snapshots.as_mut();
        snapshots.is_none_or(|snapshots| snapshots.resyncs.gap(lost.slot, lost.missing))
    }

    /// Notes that numbers of a whole line are missing. Topics whose updates have numbers of their own show it themselves.
    pub(super) fn line_gap(&mut self, line: LineId) {
        let Some(snapshots) = &mut self.snapshots else { return };
        for (slot, lines) in (0..).zip(&self.confirmed) {
            if lines & bit(line.line) != 0 && self.merge.newest(slot).0.is_none() {
                snapshots.resyncs.resync(slot, None);
            }
        }
    }

    /// Queues what the snapshots have released.
    pub(super) fn pass_snapshots(&mut self, line: LineId, topics: &Topics) {
        while let Some(snapshots) = &mut self.snapshots
            && let Some((slot, output)) = snapshots.resyncs.poll_output()
        {
            let (topic, own, epoch) =
                (topics.topic(slot).clone(), self.own_of(slot), self.epoch(line.line));
            match output {
                Output::Update(update) => self.deliver(slot, || update),
                Output::Gap(lost) => {
                    self.figures.gaps += 1;
                    let gap = Gap {
                        line,
                        epoch,
                        topic: Some(topic),
                        missing: lost.missing,
                        cause: lost.cause,
                        last_at: lost.last_at,
                        next_at: Some(lost.next_at),
                    };
                    self.outlet.push_gap(gap, own);
                }
                Output::Unsynced => {
                    let state = TopicIs::Unsynced;
                    self.outlet.push_topic(TopicState { line, epoch, topic, state }, own);
                }
            }
        }
    }
}
