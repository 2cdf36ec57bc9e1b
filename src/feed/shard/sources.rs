//! How the lines of a shard are started in a replay.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::command::status::{SourceId, Watch};
use crate::error::ConfigError;
use crate::feed::dialect::Dialect;
use crate::feed::line::Line;
use crate::feed::plan::LinePlan;
use crate::feed::topic::LineId;

/// The numbers of the connections that lines had, in the order in which the lines were started.
#[derive(Debug, Default)]
pub(super) struct Sources {
    next: VecDeque<u64>,
    /// Whether more lines were started than the recording has.
    has_run_out: bool,
}

impl Sources {
    pub(super) fn new(sources: Vec<u64>) -> Sources {
        Sources { next: sources.into(), has_run_out: false }
    }

    /// Adds those of the lines that are started next.
    pub(super) fn add(&mut self, sources: Vec<u64>) {
        self.next.extend(sources);
    }

    /// Whether more lines were started than the recording has.
    pub(super) fn has_run_out(&self) -> bool {
        self.has_run_out
    }

    /// Starts a line without a connection.
    pub(super) fn start<D: Dialect>(
        &mut self,
        id: LineId,
        plan: Arc<LinePlan<D>>,
        now: Instant,
    ) -> Result<Line<D>, ConfigError> {
        let Some(source) = self.next.pop_front() else {
            self.has_run_out = true;
            return Err(ConfigError::option("replay", "the recording has no such line"));
        };
        let source = (SourceId::recorded(source), Watch::new(now));
        Ok(Line::new(id, plan, source, None))
    }
}
