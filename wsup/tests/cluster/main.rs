//! Three `wsup feed` share a simulated venue of 600 topics and publish on a cluster of three nodes of nats-server, while
//! processes, nodes and the network between them fail. A checker reads the stream from its beginning.
// Clippy knows an unwrap in a test only where it stands in the test function itself.
#![allow(clippy::unwrap_used)]
#![cfg(all(unix, feature = "nats"))]

mod broker;
mod checker;
mod folder;
mod harness;
mod ledger;
mod member;
mod on_a_cluster;
mod patience;
#[path = "../cli/process.rs"]
#[allow(dead_code, reason = "shared with the tests of single connections")]
mod process;
mod relay;
mod scene;
mod stream;
mod venue;
