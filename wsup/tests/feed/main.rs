//! `wsup feed` as a process, against simulated venues that close the socket of a client that breaks their rules.
// Clippy knows an unwrap in a test only where it stands in the test function itself.
#![allow(clippy::unwrap_used)]

#[cfg(all(unix, feature = "serve"))]
mod attacked;
mod books;
mod check;
#[cfg(all(unix, feature = "nats"))]
mod credentials;
mod ends;
mod files;
#[cfg(feature = "serve")]
#[allow(dead_code, reason = "shared with the tests of the page")]
mod gate;
mod kinds;
#[path = "../cli/process.rs"]
#[allow(dead_code, reason = "shared with the tests of single connections")]
mod process;
#[cfg(unix)]
#[path = "../cli/pty.rs"]
#[allow(dead_code, reason = "shared with the tests of single connections")]
mod pty;
#[cfg(all(unix, feature = "nats"))]
mod published;
mod replayed;
mod run;
mod secret_values;
#[cfg(feature = "serve")]
mod serve;
#[cfg(all(unix, feature = "nats"))]
mod shared;
#[cfg(unix)]
mod signals;
mod sim;
#[cfg(unix)]
mod table;
mod venues;
#[cfg(feature = "serve")]
mod watched;
