//! The updates of a feed, published on NATS JetStream.
//!
//! [`Options::connect`] connects to the broker, and checks the stream or creates it. A [`Publisher`] on top of that is a
//! handler of a feed, as any other actor: it publishes each update, in order for each topic, and repeats what the broker
//! does not acknowledge. While the broker is slow or away, its mailbox stops at its bounds, and the feed's
//! [`Overflow`](crate::feed::Overflow) decides what follows. `docs/nats.md` has the format of what is published, and what
//! it promises.

mod broker;
mod error;
mod generation;
mod lane;
mod lanes;
mod lease;
mod options;
mod plan;
mod publisher;
mod share;
mod shared;
mod shares;
mod stream;
mod subject;
mod task;
mod wire;

pub use crate::nats::broker::Broker;
pub use crate::nats::error::Error;
pub use crate::nats::lane::Role;
pub use crate::nats::options::{Notice, Options};
pub use crate::nats::publisher::{Figures, Publisher, PublisherHandle, Status};
pub use crate::nats::share::ShareState;
pub use crate::nats::shares::{
    ChangeError, Changed, ShareEvent, ShareFigures, Shares, SharesHandle,
};
pub use crate::nats::subject::Subject;

#[cfg(feature = "metrics")]
pub(crate) use crate::nats::publisher::WeakPublisher;
#[cfg(feature = "metrics")]
pub(crate) use crate::nats::shares::Counted;

#[cfg(test)]
mod tests;
