//! A supervised WebSocket client for actix.
#![warn(clippy::unwrap_used)]
#![cfg_attr(docsrs, feature(doc_cfg))]

// Floor 1: values and policies.
pub mod backoff;
pub mod headers;
pub mod proto;

// Floor 2: what can fail, and whom to trust.
#[cfg(feature = "client")]
pub mod error;
#[cfg(feature = "client")]
pub mod tls;

// Floor 3: what a connection is asked, and what can be set.
#[cfg(feature = "client")]
pub mod command;
#[cfg(feature = "client")]
mod options;

// Floor 4: what handlers are told.
#[cfg(feature = "client")]
pub mod event;

// Floor 5: the parts of one connection.
#[cfg(feature = "client")]
mod delivery;
#[cfg(feature = "client")]
mod dial;
#[cfg(feature = "client")]
mod pinger;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "client")]
mod writer;

// Floor 6: the supervised actor.
#[cfg(feature = "client")]
pub mod connection;

pub use crate::backoff::Reconnect;
#[cfg(feature = "client")]
pub use crate::command::Handle;
#[cfg(feature = "client")]
pub use crate::command::status::{Outcome, OutcomeKind, Phase, SourceId, Status, Watch};
#[cfg(feature = "client")]
pub use crate::connection::{Connection, ConnectionBuilder};
#[cfg(feature = "client")]
pub use crate::error::{ConfigError, Error};
#[cfg(feature = "client")]
pub use crate::options::Overflow;
pub use crate::proto::close::{CloseCode, CloseFrame};
pub use crate::proto::codec::Limits;
pub use crate::proto::compression::Compression;
pub use crate::proto::message::Payload;
#[cfg(feature = "client")]
pub use crate::tls::Tls;
