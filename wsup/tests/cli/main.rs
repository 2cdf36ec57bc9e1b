//! `wsup` as a process, against servers by another hand and raw sockets: its contract, line by line.
// Clippy knows an unwrap in a test only where it stands in the test function itself.
#![allow(clippy::unwrap_used)]

mod blocked;
mod dry;
mod ends;
mod events;
mod failover;
mod help;
mod input;
mod judged;
mod offers;
mod options;
mod process;
mod proxies;
#[cfg(unix)]
mod pty;
#[cfg(unix)]
mod recording;
mod refusals;
mod sending;
mod server;
mod shown;
mod stages;
#[cfg(unix)]
mod terminal;
mod tls;
mod values;
