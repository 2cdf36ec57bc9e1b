//! A scripted server and a recording handler, for tests of code that uses this crate.
//!
//! [`Server`] is a WebSocket server on loopback, plain or over TLS ([`ServerTls`]). Each connection
//! plays a [`Script`]: it sends messages, refuses the upgrade, stalls, drops the connection or
//! sends bytes that break the protocol, and records what it receives. [`Probe`] is an event handler
//! that records every event and awaits the next one of a kind, so that a test needs no sleeps.
//!
//! [`MemoryServer`] plays scripts without sockets under a paused clock, so that a test of a reconnection takes no time.
//! The functions of [`mod@event`] make events by hand, for a unit test of a handler.
//!
//! ```
//! use actix_ws_client::testing::{Probe, Script, Server};
//! use actix_ws_client::{Connection, command, event};
//!
//! # actix::System::new().block_on(async {
//! // The first connection is dropped after one message; later ones echo.
//! let server = Server::start([Script::accept().send_text("hi").drop_connection(), Script::accept().echo()]);
//! let probe = Probe::new();
//! let connection = probe.attach(Connection::builder(server.url())).start().unwrap();
//!
//! assert_eq!(probe.next_message().await.payload.as_text(), Some("hi"));
//! probe.next::<event::Close>().await;
//! assert_eq!(probe.next::<event::Open>().await.epoch, 1);
//! assert_eq!(probe.next::<event::Open>().await.epoch, 2);
//! assert_eq!(server.dials(), 2);
//!
//! connection.send(command::Close::normal()).await.unwrap();
//! probe.stopped().await;
//! probe.check().unwrap();
//! # });
//! ```

mod chaos;
pub mod event;
mod gate;
mod journal;
mod memory;
mod player;
mod probe;
mod script;
mod server;
mod wait;

pub use crate::testing::chaos::{Chaos, Fault, FaultAt, Passed, Way};
pub use crate::testing::gate::Gate;
pub use crate::testing::journal::{Gone, Journal, Note, Request};
pub use crate::testing::memory::MemoryServer;
pub use crate::testing::probe::Probe;
pub use crate::testing::script::{Leave, Script};
pub use crate::testing::server::{Scripts, Server};
pub use crate::tls::server::{ServerTls, TlsHandshake};
