//! What ends a run, of one connection or of a feed: signals, `--duration`, and a reader of stdout that is gone.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::sender::reached;
use crate::signals::{Signals, reader_gone};
use crate::status::{ABORT_TIMEOUT, ABORTED, CLOSED, Status};

/// How far a run has come to its end.
pub(crate) struct Ending {
    /// When `--duration` is over.
    time_up: Option<Instant>,
    /// How long the end may take after a signal or `--duration`.
    allowed: Duration,
    /// When it has taken too long.
    overdue: Option<Instant>,
    is_signalled: bool,
    /// The status in place of that of the outcome.
    broken: Option<Status>,
    /// Completes when the reader of stdout is gone.
    reader_gone: Pin<Box<dyn Future<Output = ()>>>,
}

/// What comes next in a run.
pub(crate) enum Next<R> {
    /// It is to end.
    Close,
    /// It is to end at once.
    Abort,
    /// Its end has taken too long.
    Overdue,
    /// A report of the printer; `None` if the printer is gone.
    Report(Option<R>),
}

impl Ending {
    /// Creates the end of a run that begins, which may take this time, and at the latest begins when `time_up`.
    pub(crate) fn new(allowed: Duration, time_up: Option<Instant>) -> Ending {
        let reader_gone = Box::pin(reader_gone());
        Ending { time_up, allowed, overdue: None, is_signalled: false, broken: None, reader_gone }
    }

    /// Waits for what comes next. Nothing is lost if the future is dropped.
    pub(crate) async fn next<R>(
        &mut self,
        signals: &mut Signals,
        reported: &mut mpsc::Receiver<R>,
    ) -> Next<R> {
        tokio::select! {
            biased;
            () = signals.next() => {
                if mem::replace(&mut self.is_signalled, true) {
                    return Next::Abort;
                }
                self.limit();
                Next::Close
            }
            () = reached(self.time_up) => {
                self.time_up = None;
                self.limit();
                Next::Close
            }
            () = reached(self.overdue) => Next::Overdue,
            report = reported.recv() => Next::Report(report),
            () = &mut self.reader_gone, if self.broken.is_none() => {
                self.broken = Some(CLOSED);
                Next::Close
            }
        }
    }

    /// Limits the time from now on.
    pub(crate) fn limit(&mut self) {
        self.overdue.get_or_insert(Instant::now() + self.allowed);
    }

    /// Has the run end with a status, unless another one was set before.
    pub(crate) fn fail(&mut self, status: impl FnOnce() -> Status) {
        self.broken.get_or_insert_with(status);
    }

    /// Returns the status of the run, whose outcome has this one.
    pub(crate) fn status(self, of_outcome: Status) -> Status {
        self.broken.unwrap_or(of_outcome)
    }
}

/// Waits for the last report of a run that was aborted, at most for [`ABORT_TIMEOUT`].
pub(crate) async fn aborted<R>(
    reported: &mut mpsc::Receiver<R>,
    is_last: impl Fn(&R) -> bool,
) -> Status {
    let last = async { while reported.recv().await.is_some_and(|report| !is_last(&report)) {} };
    // Aborted in any case.
    let _ = timeout(ABORT_TIMEOUT, last).await;
    ABORTED
}
