//! Instructions and allocations for each update that a feed delivers, above those of bare connections: part of
//! `just instructions`, see `instructions.rs`.
//!
//! A target of its own: in one executable with the connection's cases, the compiler would place the code of both in
//! another way, and change their counts by up to 5 %.

mod baseline;
mod counting;
mod feed;
mod topics;
#[expect(dead_code, reason = "the other target counts more of a connection")]
mod work;

use std::process::ExitCode;

use counting::Case;

/// The file of the accepted counts.
const BASELINE: &str = "feeds.json";

/// Whether allocations are counted too.
const COUNTS_ALLOCATIONS: bool = true;

/// What is counted, for messages of 128 bytes: a feed of 16 topics whose lines have transports in memory, and whose
/// dialect reads nothing. Of several lines each brings every message. What is taken off is as many bare connections with
/// handlers of their batches, so that what is left is the price of the feed.
#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { name: "batch", empty: None, prepare: |n| topics::batches(1, n) },
    Case { name: "batch-twice", empty: None, prepare: |n| topics::batches(2, n) },

    Case { name: "one-line", empty: Some("batch"), prepare: |n| topics::updates(1, n) },
    Case { name: "two-lines", empty: Some("batch-twice"), prepare: |n| topics::updates(2, n) },
];

fn main() -> ExitCode {
    counting::main()
}
