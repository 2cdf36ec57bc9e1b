//! The supervised actor that owns one connection.
//!
//! What comes next is decided by `crate::supervision`. The actor reports to it what happened (a dial
//! is due, succeeded or failed, a socket closes or ended, a command asks for something) and carries out
//! the effects.

mod actor;
mod builder;
mod commands;
mod handle_queue;
mod handlers;
mod live;
mod permit;
#[cfg(feature = "testing")]
mod probed;
mod pulse;
#[cfg(feature = "record")]
mod recording;
#[cfg(not(feature = "record"))]
#[path = "no_recording.rs"]
mod recording;
mod reply;
mod requests;
mod send;
mod send_queue;
mod trace;
mod unheard;
mod warnings;

pub use crate::connection::actor::Connection;
pub use crate::connection::builder::ConnectionBuilder;
pub(crate) use crate::connection::permit::Urgent;

impl Connection {
    /// Begins to build a connection to a `ws` or `wss` URL (RFC 6455, 3), which is checked by
    /// `start`. User info becomes `Authorization: Basic`; a fragment is dropped; path and query are
    /// percent-encoded where they need it, and the path is at least `/`.
    pub fn builder(url: impl Into<String>) -> ConnectionBuilder {
        ConnectionBuilder::new(url.into())
    }
}
