//! Everything that is measured, one file each.

mod awc;
mod awc_actor;
mod ezsockets;
mod fastwebsockets;
mod feed;
mod floor_message;
mod floors;
mod ours;
mod sockudo_ws;
mod stream;
mod tokio_tungstenite;
mod tokio_websockets;
mod web_socket;
mod yawc;

use anyhow::{Result, bail};

use crate::dial::Dial;
use crate::pull;
use crate::tally::Outcome;
use crate::works::{Kind, Work};

/// Ours, by how its messages are taken.
pub const OURS: [&str; 8] = [
    "batch",
    "feed",
    "batch-owned",
    "message",
    "connection",
    "connection-batch",
    "stream",
    "stream-across",
];

/// All others: peers by the names of their crates, then the floors.
pub const OTHERS: [&str; 12] = [
    "tokio-tungstenite",
    "fastwebsockets",
    "tokio-websockets",
    "yawc",
    "sockudo-ws",
    "web-socket",
    "ezsockets",
    "awc",
    "awc-actor",
    "floor",
    "floor-message",
    "raw",
];

/// Whether a client does a work.
pub fn does(client: &str, work: &Work) -> bool {
    let flood = work.load().is_some();
    match (client, work.kind) {
        // No peer has one: it is compared with the connection below it.
        _ if work.is_of_feed() => matches!(client, "batch" | "feed"),
        ("feed", _) => false,
        ("batch" | "batch-owned" | "message", _) => flood,
        ("connection", _) => !flood,
        // It takes no certificate but those of the public authorities.
        ("ezsockets", _) => !work.is_tls(),
        // Its sink has a queue without a bound, and no way to wait for it.
        ("awc-actor", Kind::Outbound { .. }) => false,
        ("connection-batch", kind) => matches!(kind, Kind::Outbound { .. }),
        // It sees no messages, so it can neither send nor echo any.
        ("raw" | "floor-message", kind) => matches!(kind, Kind::Inbound { .. } | Kind::Many { .. }),
        _ => true,
    }
}

/// How many times fewer of them a client gets to do, where it would else hold up all others.
pub fn share(client: &str, work: &Work) -> u64 {
    match (client, work.kind) {
        ("ezsockets", Kind::Inbound { .. } | Kind::Many { .. } | Kind::Outbound { .. }) => 4,
        _ => 1,
    }
}

/// Does a work as a client.
pub fn run(client: &str, work: &Work, count: u64, dial: &Dial) -> Result<Outcome> {
    match client {
        "feed" => feed::run(count, dial),
        "stream" => pull::run::<stream::Client<false>>(work, count, dial),
        "stream-across" => pull::run::<stream::Client<true>>(work, count, dial),
        "tokio-tungstenite" => pull::run::<tokio_tungstenite::Client>(work, count, dial),
        "fastwebsockets" => pull::run::<fastwebsockets::Client>(work, count, dial),
        "tokio-websockets" => pull::run::<tokio_websockets::Client>(work, count, dial),
        "yawc" => pull::run::<yawc::Client>(work, count, dial),
        "sockudo-ws" => pull::run::<sockudo_ws::Client>(work, count, dial),
        "web-socket" => pull::run::<web_socket::Client>(work, count, dial),
        "awc" => pull::run::<awc::Client>(work, count, dial),
        "floor" => pull::run::<floors::Floor>(work, count, dial),
        "floor-message" => floor_message::run(work, count, dial),
        "raw" => floors::raw(work, count, dial),
        "ezsockets" => ezsockets::run(work, count, dial),
        "awc-actor" => awc_actor::run(work, count, dial),
        _ if OURS.contains(&client) => ours::run(client, work, count, dial),
        _ => bail!("nothing known of a client {client:?}"),
    }
}

/// As a work is named on the command line.
pub fn is_known(client: &str) -> bool {
    OURS.contains(&client) || OTHERS.contains(&client)
}
