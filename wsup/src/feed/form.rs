//! The events of a feed as lines.

use actix_ws_client::Payload;
use actix_ws_client::feed::event::{Gap, LineState, Rotated, TopicState, Update};
use actix_ws_client::feed::{Figures, Refusal};

use crate::print::Line;

/// Formats events as lines.
pub(crate) trait Form: Send {
    /// Appends the line of an update, which is for stdout.
    fn data(&self, update: &Update<Payload>, lines: &mut Vec<u8>);
    fn gap(&self, gap: &Gap) -> Line;
    fn topic(&self, state: &TopicState) -> Line;
    fn line(&self, state: &LineState) -> Line;
    fn rotated(&self, rotated: &Rotated) -> Line;
    #[cfg(feature = "nats")]
    fn share(&self, share: &ShareIs) -> Line;
    fn stopped(&self, end: &End) -> Line;
}

/// What this process is for a share of the topics.
#[cfg(feature = "nats")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShareIs {
    pub(crate) share: u32,
    /// `owned`, `claimed`, `standby` or `released`.
    pub(crate) state: &'static str,
    /// That of an owner.
    pub(crate) fence: Option<u64>,
}

/// How a feed has ended.
pub(crate) struct End {
    /// `closed`, `refused` or `failed`.
    pub(crate) outcome: &'static str,
    /// Why no line could dial any more.
    pub(crate) refusal: Option<Refusal>,
    /// How many topics were confirmed, and refused, at last.
    pub(crate) topics: (usize, usize),
    pub(crate) figures: Figures,
    /// What was published, with `--publish`.
    pub(crate) published: Option<Published>,
}

/// What has become of the updates that were published.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Published {
    /// Messages that were sent.
    pub(crate) published: u64,
    /// Those of them that are in the stream.
    pub(crate) acknowledged: u64,
    /// Messages that were taken and not acknowledged.
    pub(crate) waiting: u64,
    /// Messages that were sent again.
    pub(crate) repeated: u64,
    /// Messages that the stream had already.
    pub(crate) duplicates: u64,
    /// Messages that are too large for the broker.
    pub(crate) refused: u64,
}
