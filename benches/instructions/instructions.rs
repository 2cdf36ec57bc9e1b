//! Instructions for each message, counted by valgrind: `just instructions`.
//!
//! A case runs twice, with so many messages and with twice as many, and so does the empty loop that
//! belongs to it. What the two runs differ in, less what the empty loops differ in, is the price of
//! the messages alone: set-up, dial and end cancel out. Unlike time, it is the same on a busy
//! machine.
//!
//! Started by `cargo bench` it counts and compares with `baseline.json`; with `--accept` it writes that
//! file. Other arguments go to gungraun as they are: `just instructions --callgrind-args=…`.

mod baseline;
mod counting;
mod feed;
mod work;

use std::process::ExitCode;

use counting::Case;
use work::{binary, text};

/// The file of the accepted counts.
const BASELINE: &str = "baseline.json";

/// Whether allocations are counted too.
const COUNTS_ALLOCATIONS: bool = false;

/// What is counted, with the bytes of a message, and the empty loops of the same run. `decode` and
/// `encode` are the codec alone. The others are a whole connection over a transport in memory: its
/// actor, the mailboxes, and the handler or sender. `drop-oldest` has a read for each message.
#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { name: "loop", empty: None, prepare: work::empty_loop },
    Case { name: "feed-16", empty: None, prepare: |n| work::empty_feed(binary(16), n) },
    Case { name: "feed-128", empty: None, prepare: |n| work::empty_feed(binary(128), n) },
    Case { name: "feed-1024", empty: None, prepare: |n| work::empty_feed(binary(1024), n) },
    Case { name: "pieces-16", empty: None, prepare: |n| work::empty_pieces(binary(16), n) },

    Case { name: "decode-16-binary", empty: Some("loop"), prepare: |n| work::decode(binary(16), n) },
    Case { name: "decode-128-binary", empty: Some("loop"), prepare: |n| work::decode(binary(128), n) },
    Case { name: "decode-128-text", empty: Some("loop"), prepare: |n| work::decode(text(128), n) },
    Case { name: "decode-1024-text", empty: Some("loop"), prepare: |n| work::decode(text(1024), n) },
    Case { name: "encode-128-binary", empty: Some("loop"), prepare: |n| work::encode(binary(128), n) },

    Case { name: "batch-16-binary", empty: Some("feed-16"), prepare: |n| work::batch(binary(16), n) },
    Case { name: "batch-128-binary", empty: Some("feed-128"), prepare: |n| work::batch(binary(128), n) },
    Case { name: "batch-128-text", empty: Some("feed-128"), prepare: |n| work::batch(text(128), n) },
    Case { name: "batch-1024-text", empty: Some("feed-1024"), prepare: |n| work::batch(text(1024), n) },
    Case { name: "batch-owned-128-binary", empty: Some("feed-128"), prepare: |n| work::batch_owned(binary(128), n) },
    Case { name: "message-16-binary", empty: Some("feed-16"), prepare: |n| work::message(binary(16), n) },
    Case { name: "message-128-binary", empty: Some("feed-128"), prepare: |n| work::message(binary(128), n) },
    Case { name: "message-128-text", empty: Some("feed-128"), prepare: |n| work::message(text(128), n) },
    Case { name: "drop-oldest-16-binary", empty: Some("pieces-16"), prepare: |n| work::drop_oldest(binary(16), n) },
    Case { name: "send-128-binary", empty: Some("loop"), prepare: |n| work::send(binary(128), n) },
    Case { name: "send-by-handle-128-binary", empty: Some("loop"), prepare: |n| work::send_by_handle(binary(128), n) },
    Case { name: "send-batch-128-binary", empty: Some("loop"), prepare: |n| work::send_batch(binary(128), n) },
];

fn main() -> ExitCode {
    counting::main()
}
