//! What the intake does for topics that consist of a snapshot and increments.

use std::time::Instant;

use crate::feed::event::{Gap, TopicIs, TopicState, Update};
use crate::feed::intake::{Intake, bit};
use crate::feed::merge::{self, Brought};
use crate::feed::resync::{Before, Output, SnapshotAsk};
use crate::feed::topic::{LineId, Topic};
use crate::feed::topics::{Slot, Topics};

impl<T: Clone + Send + 'static> Intake<T> {
    /// Delivers an update that comes from the merge, or holds it.
    pub(super) fn pass_update(
        &mut self,
        slot: Slot,
        bytes: usize,
        update: Update<T>,
        topics: &Topics,
    ) {
        let line = update.line;
        let update = match &mut self.resyncs {
            None => Some(update),
            Some(resyncs) => {
                resyncs.see(slot, &update.topic);
                let Update { sequence, snapshot, received, .. } = update;
                let brought =
                    Brought { line: line.line, slot, sequence, snapshot, bytes, at: received };
                resyncs.update(&brought, update)
            }
        };
        match update {
            Some(update) => self.deliver(slot, update),
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
        let Some(resyncs) = self.resyncs.as_mut().filter(|_| !sequence.restarted) else {
            return Some(update);
        };
        resyncs.see(slot, &update.topic);
        let brought = Brought { line: line.line, slot, sequence, snapshot, bytes, at: received };
        let update = resyncs.snapshot(&brought, update);
        self.pass_snapshots(line, topics);
        update
    }

    /// Takes the answer to an ask of the closure's. `line` is any line that carries the topic.
    pub(crate) fn answer_ask(&mut self, ask: SnapshotAsk, update: Update<T>, topics: &Topics) {
        let Some(resyncs) = &mut self.resyncs else { return };
        let Update { line, sequence, snapshot, received, .. } = update;
        let (line_number, slot) = (line.line, ask.slot);
        let brought =
            Brought { line: line_number, slot, sequence, snapshot, bytes: 0, at: received };
        resyncs.answer(ask.round, &brought, update);
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
        if let Some(resyncs) = &mut self.resyncs {
            resyncs.refused(ask.slot, ask.round, now);
            self.pass_snapshots(line, topics);
        }
    }

    /// Asks for a snapshot of a topic because the application wants one.
    pub(crate) fn resync(&mut self, slot: Slot) {
        let next = self.merge.newest(slot).0;
        if let Some(resyncs) = &mut self.resyncs {
            resyncs.resync(slot, next);
        }
    }

    /// Asks for a snapshot of a topic because a dialect has found that its state is not that of the venue.
    pub(super) fn dispute(&mut self, line: LineId, slot: Slot, topics: &Topics, now: Instant) {
        let (next, last_at) = self.merge.newest(slot);
        if let Some(resyncs) = &mut self.resyncs {
            resyncs.dispute(slot, Before { next, last_at }, now);
            self.pass_snapshots(line, topics);
        }
    }

    /// Notes that a topic is confirmed on some line.
    pub(crate) fn carried(&mut self, slot: Slot, topics: &Topics) {
        if let Some(resyncs) = &mut self.resyncs {
            resyncs.see(slot, topics.topic(slot));
            resyncs.confirmed(slot);
        }
    }

    /// Notes that no line carries a topic any more. The merge forgets its numbers: a snapshot follows, and they may begin
    /// anew.
    pub(super) fn uncarried(&mut self, slot: Slot) {
        let is_carried = self.confirmed.get(slot as usize).is_some_and(|lines| *lines != 0);
        let Some(resyncs) = self.resyncs.as_mut().filter(|_| !is_carried) else { return };
        let (next, last_at) = self.merge.newest(slot);
        if resyncs.ended(slot, Before { next, last_at }) {
            self.merge.remove(slot);
        }
    }

    /// Asks for snapshots of the topics of which a slow handler with [`Overflow::Latest`](crate::feed::Overflow::Latest) has
    /// missed increments.
    pub(crate) fn resync_overruns(&mut self, overruns: &[Topic], topics: &Topics) {
        for slot in overruns.iter().filter_map(|topic| topics.slot(topic)) {
            self.resync(slot);
        }
    }

    /// Ends waits that are over.
    pub(super) fn snapshots_timeout(&mut self, line: LineId, topics: &Topics, now: Instant) {
        let Some(resyncs) = &mut self.resyncs else { return };
        resyncs.handle_timeout(now, |slot| self.merge.newest(slot).0);
        self.pass_snapshots(line, topics);
    }

    /// Returns the next snapshot to ask for, of a topic that `may` be asked for.
    pub(crate) fn poll_ask(
        &mut self,
        now: Instant,
        may: impl Fn(Slot) -> bool,
    ) -> Option<SnapshotAsk> {
        self.resyncs.as_mut()?.poll_ask(now, may)
    }

    /// Returns when that is to be called.
    pub(crate) fn ask_due(&self, now: Instant, may: impl Fn(Slot) -> bool) -> Option<Instant> {
        self.resyncs.as_ref()?.ask_due(now, may)
    }

    /// Returns how many snapshots were asked for.
    #[cfg(feature = "record")]
    pub(crate) fn asks(&self) -> u64 {
        self.resyncs.as_ref().map_or(0, |resyncs| resyncs.counts().asks)
    }

    /// Has this many snapshots asked for, and no more, until it is called again: as many as a recording says.
    #[cfg(feature = "record")]
    pub(crate) fn grant_asks(&mut self, count: u64) {
        self.resyncs.iter_mut().for_each(|resyncs| resyncs.grant(count));
    }

    /// Whether a gap of the merge is to be reported.
    pub(super) fn is_gap(&mut self, lost: &merge::Lost) -> bool {
        let resyncs = self.resyncs.as_mut();
        resyncs.is_none_or(|resyncs| resyncs.gap(lost.slot, lost.missing))
    }

    /// Notes that numbers of a whole line are missing. Topics whose updates have numbers of their own show it themselves.
    pub(super) fn line_gap(&mut self, line: LineId) {
        let Some(resyncs) = &mut self.resyncs else { return };
        for (slot, lines) in (0..).zip(&self.confirmed) {
            if lines & bit(line.line) != 0 && self.merge.newest(slot).0.is_none() {
                resyncs.resync(slot, None);
            }
        }
    }

    /// Queues what the snapshots have released.
    pub(super) fn pass_snapshots(&mut self, line: LineId, topics: &Topics) {
        while let Some(resyncs) = &mut self.resyncs
            && let Some((slot, output)) = resyncs.poll_output()
        {
            let (topic, own, epoch) =
                (topics.topic(slot).clone(), self.own_of(slot), self.epoch(line.line));
            match output {
                Output::Update(update) => self.deliver(slot, update),
                Output::Gap(lost) => {
                    self.figures.gaps += 1;
                    let gap = Gap {
                        line,
                        epoch,
                        topic: Some(topic),
                        missing: lost.missing,
                        cause: self.cause_of(lost.cause, line.line),
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
