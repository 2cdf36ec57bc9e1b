//! Replaces `journaling.rs` without the feature `record`: notes nothing.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use crate::command::status::{Phase, SourceId};
use crate::error::ConfigError;
use crate::feed::input::{Broken, Ended, Opened, Stopped, Turn};
use crate::feed::intake::Intake;
use crate::feed::shard::message::ToShard;
use crate::feed::snapshot::Resync;
use crate::feed::topic::ShardId;
use crate::feed::wall::Wall;
use crate::record::Recorder;

/// Would note the calls of a shard.
pub(super) struct Journal<T>(PhantomData<fn(T)>);

impl<T: Clone + Send + 'static> Journal<T> {
    pub(super) fn new(_: Option<&(Recorder, u32)>, _: ShardId, _: u8, _: Instant) -> Journal<T> {
        Journal(PhantomData)
    }

    pub(super) fn set_resync(&mut self, _: &Resync<T>) {}

    pub(super) fn wall(&self) -> Wall {
        Wall::Clock
    }

    pub(super) fn started(&mut self, _: Result<SourceId, &ConfigError>) {}

    pub(super) fn opened<D>(&mut self, _: SourceId, _: &Opened<D>) {}

    pub(super) fn batch(&mut self, _: SourceId, _: (u64, Instant), _: usize) {}

    pub(super) fn control(&mut self, _: SourceId, _: Option<Duration>, _: Instant) {}

    pub(super) fn broken(&mut self, _: SourceId, _: &Broken) {}

    pub(super) fn closed(&mut self, _: SourceId, _: &Ended) {}

    pub(super) fn phase(&mut self, _: SourceId, _: Phase, _: impl Fn() -> Instant) {}

    pub(super) fn stopped(&mut self, _: SourceId, _: &Stopped, _: Instant) {}

    pub(super) fn command(&mut self, _: &ToShard<T>, _: Instant) {}

    pub(super) fn turn(&mut self, _: &Turn<T>, _: &Intake<T>) {}

    pub(super) fn end_turn(&mut self, _: bool, _: &Intake<T>) {}

    pub(super) fn flush(&mut self) {}
}
