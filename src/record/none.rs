//! Replaces `record` in a build without that feature, with types that have no value.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::proto::codec::Way;
use crate::proto::frame::Opcode;
use crate::proto::message::{ControlPayload, Fragment, Payload};
use crate::proto::messages::Messages;

/// Would record connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorder(Never);

/// Would be where a connection records.
#[derive(Clone, Debug)]
pub(crate) struct Track(Never);

/// Has no value, and so have the types that hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Never {}

impl Recorder {
    pub(crate) fn feed_number(&self) -> u32 {
        match self.0 {}
    }

    pub(crate) fn track(&self, _: Arc<str>, _: u64) -> Track {
        match self.0 {}
    }
}

impl Track {
    pub(crate) fn received(&self, _: u64, _: Instant, _: &Messages) {
        match self.0 {}
    }

    pub(crate) fn fragment(&self, _: u64, _: Instant, _: &Fragment) {
        match self.0 {}
    }

    pub(crate) fn sent(&self, _: u64, _: Instant, _: &Payload, _: bool) {
        match self.0 {}
    }

    pub(crate) fn control(
        &self,
        _: u64,
        _: Instant,
        _: Way,
        _: Opcode,
        _: &ControlPayload,
        _: Option<Duration>,
    ) {
        match self.0 {}
    }
}
