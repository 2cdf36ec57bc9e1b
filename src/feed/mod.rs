//! Many supervised connections as one market-data feed.
//!
//! A feed keeps *topics* subscribed. The application describes in a [`Dialect`] how a venue talks, and in
//! [`Rules`] what it allows. The feed distributes the topics over as many connections as that takes, logs in,
//! subscribes at the allowed rate, waits for acknowledgements, repeats all of that on every new socket, and
//! delivers updates, gaps and the state of each topic.

mod actor;
mod asking;
mod assignment;
mod builder;
mod dialect;
mod dialling;
mod figures;
mod input;
mod intake;
mod latest;
mod line;
mod merge;
mod outlet;
mod pace;
mod plan;
mod recipients;
#[cfg(feature = "record")]
mod replay;
mod request;
mod resync;
mod retirement;
mod rotate;
mod rotation;
mod rules;
mod said;
mod sending;
mod sequence;
#[cfg(feature = "serde")]
mod serial;
mod session;
mod shard;
mod silence;
mod snapshot;
mod subscriptions;
mod table;
mod threads;
mod topic;
mod topics;
mod twins;
mod uplink;
mod waiting;
mod wall;

pub mod command;
pub mod event;

use std::time::Duration;

pub use crate::feed::actor::Feed;
pub use crate::feed::builder::Builder;
pub use crate::feed::dialect::{Attempt, Dial, Dialect, Failure};
pub use crate::feed::figures::Figures;
pub use crate::feed::recipients::Event;
#[cfg(feature = "record")]
pub use crate::feed::replay::{Replay, Report};
pub use crate::feed::request::Request;
pub use crate::feed::rotate::Rotate;
pub use crate::feed::rules::{Overflow, Rules, Silence, Threads};
pub use crate::feed::said::{Name, Notice, Refusal, Said, Which};
pub use crate::feed::sequence::Sequence;
pub use crate::feed::snapshot::Resync;
pub use crate::feed::topic::{LineId, RequestId, ShardId, Topic};
pub use crate::feed::twins::MAX_LINES;

/// One second.
pub const SECOND: Duration = Duration::from_secs(1);
/// One minute.
pub const MINUTE: Duration = Duration::from_secs(60);
/// One hour.
pub const HOUR: Duration = Duration::from_secs(3600);
