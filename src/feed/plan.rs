//! What all lines of a feed have in common.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::budget::Budget;
use crate::feed::dialect::DialMaker;
use crate::feed::dialling::Customize;
use crate::feed::rotate::Rotate;
use crate::feed::rules::Rules;
use crate::feed::topic::LineId;
use crate::record::Recorder;

/// What all lines of a feed have in common.
pub(crate) struct LinePlan<D> {
    pub(crate) make: DialMaker<D>,
    pub(crate) customize: Customize,
    /// The limits of dials and sockets that its lines share with all holders of a clone.
    pub(crate) budgets: Vec<Budget>,
    pub(crate) rules: Arc<Rules>,
    /// The number of lines of each shard, without those of a rotation.
    pub(crate) lines: u8,
    pub(crate) rotate: Rotate,
    /// The lines that are refused for good in all shards, one bit for each number modulo `lines`: no dial of them begins
    /// any more.
    pub(crate) refused: Arc<AtomicU64>,
    /// Where the feed is recorded, if it is, and its number there.
    pub(crate) recording: Option<(Recorder, u32)>,
}

impl<D> LinePlan<D> {
    /// Returns the line whose place a line has: itself, or the one that it was started to replace.
    pub(crate) fn slot(&self, line: LineId) -> LineId {
        LineId { line: line.line % self.lines, ..line }
    }
}
