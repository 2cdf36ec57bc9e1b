//! WebSocketApp's behaviour, held against ours: what no other test of the house shows, and that the
//! papers which name the tests tell the truth.

mod papers;
mod scenarios;
mod tls;

use std::time::Duration;

use actix_ws_client::testing::Server;
use actix_ws_client::{Connection, ConnectionBuilder, Reconnect};

/// A connection that comes back soon. Every test here sets its policy: one of them changes the
/// default of the process.
fn to(server: &Server) -> ConnectionBuilder {
    Connection::builder(server.url()).reconnect(Reconnect::fixed(Duration::from_millis(20)))
}
