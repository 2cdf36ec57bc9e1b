//! How a process ends.

use std::io;
use std::time::Duration;

use crate::screen::eprint_line;

/// The exit status of a run, as the contract has it.
pub(crate) type Status = i32;

pub(crate) const CLOSED: Status = 0;
pub(crate) const FAILED: Status = 1;
pub(crate) const USAGE: Status = 2;
pub(crate) const REFUSED: Status = 3;
pub(crate) const ABORTED: Status = 130;

/// How long a blocked stdout may delay the end after a signal or `--duration`, beside
/// `--close-timeout`.
pub(crate) const STDOUT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an aborted run may take to print its last event.
pub(crate) const ABORT_TIMEOUT: Duration = Duration::from_millis(200);

/// Reports a failure of the system.
pub(crate) fn cannot(what: &str, err: &io::Error) -> Status {
    eprint_line(&format!("wsup: cannot {what}: {err}"));
    FAILED
}

/// A reader of stdout may stop at any time: that is no failure. Any other error is.
pub(crate) fn broken_stdout(err: &io::Error) -> Status {
    match err.kind() {
        io::ErrorKind::BrokenPipe => CLOSED,
        _ => cannot("write to stdout", err),
    }
}
