//! The page of `wsup feed --serve` in a browser.
// Clippy knows an unwrap in a test only where it stands in the test function itself.
#![allow(clippy::unwrap_used)]
#![cfg(all(target_os = "linux", feature = "serve"))]

mod browser;
#[path = "../feed/files.rs"]
#[allow(dead_code, reason = "shared with the tests of feeds")]
mod files;
#[path = "../feed/gate.rs"]
#[allow(dead_code, reason = "shared with the tests of feeds")]
mod gate;
mod in_a_browser;
mod market;
#[path = "../cli/process.rs"]
#[allow(dead_code, reason = "shared with the tests of single connections")]
mod process;
#[cfg(feature = "nats")]
#[path = "../../../src/nats/tests/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests of the library")]
mod server;
#[path = "../feed/sim.rs"]
#[allow(dead_code, reason = "shared with the tests of feeds")]
mod sim;
#[path = "../feed/watched.rs"]
#[allow(dead_code, reason = "shared with the tests of feeds")]
mod watched;
