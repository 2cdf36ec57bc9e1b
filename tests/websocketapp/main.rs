//! WebSocketApp's behaviour, compared with this crate's: the cases that no other test covers, and a
//! check of the documents that name the tests.

mod papers;
mod scenarios;
mod tls;

use std::time::Duration;

use actix_ws_client::testing::Server;
use actix_ws_client::{Connection, ConnectionBuilder, Reconnect};

/// A connection that reconnects soon. Every test here sets its policy, since one of them changes
/// the default of the process.
fn to(server: &Server) -> ConnectionBuilder {
    Connection::builder(server.url()).reconnect(Reconnect::fixed(Duration::from_millis(20)))
}
