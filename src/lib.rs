//! A supervised WebSocket client for actix.
//!
//! A [`Connection`] is an actor that owns one socket at a time. When the socket is lost, it connects
//! again, with backoff and jitter. A second actor sends pings and detects a silent peer. Your actors
//! receive `Open`, `Message`, `Error` and `Close` messages in order, with one `Close` for each
//! `Open`. The crate has the features of `WebSocketApp` in Python's websocket-client, as actors.
//!
//! ```no_run
//! use actix::{Actor, Context, Handler};
//! use actix_ws_client::{Connection, command, event};
//!
//! struct Ticker;
//!
//! impl Actor for Ticker {
//!     type Context = Context<Self>;
//! }
//!
//! impl Handler<event::Open> for Ticker {
//!     type Result = ();
//!     fn handle(&mut self, open: event::Open, _: &mut Self::Context) {
//!         open.connection.do_send(command::Send::text("subscribe")); // at each reopening too
//!     }
//! }
//!
//! impl Handler<event::Message> for Ticker {
//!     type Result = ();
//!     fn handle(&mut self, message: event::Message, _: &mut Self::Context) {
//!         println!("{:?}", message.payload);
//!     }
//! }
//!
//! #[actix::main]
//! async fn main() -> Result<(), actix_ws_client::ConfigError> {
//!     let ticker = Ticker.start();
//!     let connection = Connection::builder("wss://example.com/feed")
//!         .on_open_to(ticker.clone().recipient())
//!         .on_message_to(ticker.recipient());
//!     println!("{}", connection.run().await?.kind);
//!     Ok(())
//! }
//! ```
//!
//! # Further reading
//!
//! - The [`guide`]: every option with its default, reconnection, delivery and its bounds, closing,
//!   and what is different from `WebSocketApp`.
//! - [`event`]: the messages that handlers receive. [`command`]: the messages that a connection
//!   receives.
//! - [`requests`]: questions and answers over a connection.
//! - [`stream`]: a connection as a stream of events and a sender of messages, without actors.
//! - [`feed`]: many connections as one market-data feed.
//! - [`Error::verdict`]: after which failures it connects again. [`backoff`]: when.
//! - [`proto`]: the protocol as plain values, also usable without this client.
//!
//! The actor framework of actix is in passive maintenance. [`proto`] (but for `proto::framed`),
//! [`backoff`] and [`headers`] do not depend on it.
//!
//! # Features
//!
//! | feature | default | what it brings |
//! |---|---|---|
//! | `client` | yes | the connection: everything but [`proto`], [`backoff`] and [`headers`] |
//! | `ring` | yes | cryptography for TLS by ring; without it the application installs a rustls provider |
//! | `deflate` | yes | permessage-deflate (RFC 7692), by zlib-rs; without it [`Compression`] is always off |
//! | `backoff` | yes | policies of the `backoff` crate for [`Reconnect::custom`]; the crate is unmaintained, and not built without it |
//! | `aws-lc-rs` | no | cryptography for TLS by aws-lc-rs; preferred if `ring` is enabled too |
//! | `webpki-roots` | no | `Tls::webpki_roots`: Mozilla's certificate authorities, compiled in |
//! | `encrypted-keys` | no | client certificates whose private key is encrypted with a password |
//! | `serde` | no | `Serialize` for states, figures, outcomes and events without their payloads, of connections and feeds; `command::Send::json` |
//! | `record` | no | the module `record`: what connections receive and send, in files that other programs read; with zstd, which is C |
//! | `metrics` | no | the module `metrics`: figures of connections, feeds and budgets for the recorder of the `metrics` crate |
//! | `nats` | no | the module `nats`: the updates of a feed, published on NATS JetStream |
//! | `testing` | no | the module `testing`: a scripted server, and a handler whose events can be awaited |
#![warn(clippy::unwrap_used)]
#![cfg_attr(docsrs, feature(doc_cfg))]
// The programs in the README are compiled with the documentation tests.
#![cfg_attr(all(doctest, feature = "client"), doc = include_str!("../README.md"))]

// Floor 1: values and policies.
pub mod backoff;
#[cfg(feature = "client")]
mod closure;
#[cfg(feature = "client")]
mod cookies;
pub mod headers;
pub mod proto;
#[cfg(feature = "client")]
mod proxy;

// Floor 2: what can fail, which servers are trusted, the options of sockets, limits that connections share, and
// recordings.
#[cfg(feature = "client")]
pub mod budget;
#[cfg(feature = "client")]
pub mod error;
#[cfg(feature = "record")]
pub mod record;
#[path = "record/none.rs"]
#[cfg(not(feature = "record"))]
#[cfg(feature = "client")]
mod record;
#[cfg(feature = "client")]
mod socket;
#[cfg(feature = "client")]
pub mod tls;

// Floor 3: the commands that a connection receives, and its options.
#[cfg(feature = "client")]
pub mod command;
#[cfg(feature = "client")]
mod options;

// Floor 4: the events that handlers receive.
#[cfg(feature = "client")]
pub mod event;

// Floor 5: the parts of one connection, and its states and events for serde.
#[cfg(feature = "client")]
mod delivery;
#[cfg(feature = "client")]
mod dial;
#[cfg(feature = "client")]
mod pinger;
#[cfg(feature = "client")]
pub mod requests;
#[cfg(feature = "serde")]
mod serial;
#[cfg(feature = "client")]
mod supervision;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "client")]
mod writer;

// Floor 6: the supervised actor.
#[cfg(feature = "client")]
pub mod connection;

// Floor 7: many connections as one feed, a connection as a stream; and the guide, which is text alone.
#[cfg(feature = "client")]
pub mod feed;
#[cfg(feature = "client")]
pub mod guide;
#[cfg(feature = "client")]
pub mod stream;

// Floor 8: feeds beyond one process.
#[cfg(feature = "nats")]
pub mod nats;

// Floor 9: figures for exporters.
#[cfg(feature = "metrics")]
pub mod metrics;

pub use crate::backoff::Reconnect;
#[cfg(feature = "client")]
pub use crate::budget::Budget;
#[cfg(feature = "client")]
pub use crate::command::Handle;
#[cfg(feature = "client")]
pub use crate::command::status::{Outcome, OutcomeKind, Phase, SourceId, Status, Watch};
#[cfg(feature = "client")]
pub use crate::connection::{Connection, ConnectionBuilder};
#[cfg(feature = "client")]
pub use crate::delivery::IntoRecipient;
#[cfg(feature = "client")]
pub use crate::error::{ConfigError, Error};
#[cfg(feature = "client")]
pub use crate::event::Event;
#[cfg(feature = "client")]
pub use crate::options::{Attempt, HeaderText, Overflow};
pub use crate::proto::close::{CloseCode, CloseFrame};
pub use crate::proto::codec::Limits;
pub use crate::proto::compression::Compression;
pub use crate::proto::message::{Payload, View};
#[cfg(feature = "client")]
pub use crate::requests::Requests;
#[cfg(feature = "client")]
pub use crate::socket::SocketOptions;
#[cfg(feature = "client")]
pub use crate::tls::{Tls, TlsVersion};
