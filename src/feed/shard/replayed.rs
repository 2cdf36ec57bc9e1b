//! A shard in a replay: a value whose turns are those of the recording.

use std::task::Context;

use crate::command::status::SourceId;
use crate::feed::asking::Asking;
use crate::feed::dialect::Dialect;
use crate::feed::input::Turn;
use crate::feed::shard::sources::Sources;
use crate::feed::shard::{Shard, Starter};
use crate::feed::topic::LineId;

impl<D: Dialect> Shard<D> {
    /// Makes it one of a replay, whose lines have these connections, in the order in which they are started.
    pub(crate) fn replayed(mut self, sources: Vec<u64>) -> Shard<D> {
        self.starter = Starter::Replayed(Sources::new(sources));
        self.asking = self.asking.take().map(|_| Asking::new(None));
        self
    }

    /// Adds the connections of lines that are about to be started.
    pub(crate) fn add_sources(&mut self, sources: Vec<u64>) {
        if let Starter::Replayed(known) = &mut self.starter {
            known.add(sources);
        }
    }

    /// Delivers what the mailboxes of the handlers have room for. Returns the number of events that still wait.
    pub(crate) fn deliver(&mut self, task: &mut Context<'_>) -> usize {
        self.intake.outlet.poll(task);
        self.intake.outlet.len()
    }

    /// Has a turn, in which so many snapshots were asked for. `end_turn` follows. The error says that the shard is not the
    /// recorded one any more.
    pub(crate) fn replay_turn(
        &mut self,
        mut turn: Turn<D::Item>,
        asks: u64,
        task: &mut Context<'_>,
    ) -> Result<(), String> {
        let asked = self.intake.asks() + asks;
        self.intake.grant_asks(asks);
        self.turn(&mut turn);
        self.intake.outlet.poll(task);
        let has_run_out = matches!(&self.starter, Starter::Replayed(it) if it.has_run_out());
        if has_run_out || self.intake.asks() != asked {
            let text = "it does what the recorded one did not: the feed is not built alike";
            return Err(format!("shard {}: {text}", self.id));
        }
        Ok(())
    }

    /// Returns the line of a connection.
    pub(crate) fn line_of(&self, source: SourceId) -> Option<LineId> {
        self.lines.iter().find(|line| line.source == source).map(|line| line.id)
    }
}
