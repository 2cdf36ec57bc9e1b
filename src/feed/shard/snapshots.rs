//! The snapshots that a shard asks for: by a closure here, or on the socket of a line, when that is polled.

use std::time::Instant;

use crate::feed::asking::Answer;
use crate::feed::dialect::Dialect;
use crate::feed::event::Update;
use crate::feed::input::Turn;
use crate::feed::line::Line;
use crate::feed::shard::Shard;

impl<D: Dialect> Shard<D> {
    /// Asks for the snapshots that are due, and delivers those that have come.
    pub(super) fn poll_asking(&mut self, turn: &mut Turn<D::Item>) {
        let (now, answers) = (turn.now, std::mem::take(&mut turn.answers));
        let Shard { lines, topics, intake, asking, .. } = self;
        let Some(asking) = asking else { return };
        // Those that have come make room.
        answers.iter().for_each(|_| asking.answered());
        while asking.has_room()
            && let Some(ask) = intake.poll_ask(now, |_| true)
        {
            asking.ask(topics.topic(ask.slot).clone(), ask);
        }
        for Answer { topic, ask, result } in answers.into_iter().flatten() {
            let is_wanted = topics.slot(&topic) == Some(ask.slot) && topics.is_wanted(ask.slot);
            let line = lines.iter().find(|line| line.is_open()).filter(|_| is_wanted);
            let Some(Line { id: line, epoch, .. }) = line else { continue };
            match result {
                Ok((sequence, item)) => {
                    let (line, epoch, received) = (*line, *epoch, now);
                    let (snapshot, skipped) = (true, 0);
                    let update =
                        Update { line, epoch, topic, sequence, snapshot, skipped, received, item };
                    intake.answer_ask(ask, update, topics);
                }
                Err(failure) if failure.for_good => intake.refuse_ask(*line, ask, topics, now),
                // It is asked for again when the wait is over.
                Err(_) => {}
            }
        }
    }

    /// Returns when the next snapshot may be asked for.
    pub(super) fn ask_due(&mut self, now: Instant) -> Option<Instant> {
        let Shard { lines, intake, asking, .. } = self;
        if let Some(asking) = asking {
            return intake.ask_due(now, |_| true).filter(|_| asking.has_room());
        }
        let mut due = None;
        for session in lines.iter_mut().filter_map(Line::session) {
            let Some(ready) = session.snapshot_ready_at(now) else { continue };
            let subscriptions = session.subscriptions();
            let ask = intake.ask_due(now, |slot| subscriptions.is_confirmed(slot));
            due = [due, ask.map(|at| at.max(ready))].into_iter().flatten().min();
        }
        due
    }
}
