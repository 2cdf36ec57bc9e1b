//! The handle of a recorder.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::record::figures::Figures;
use crate::record::files::Files;
use crate::record::limits::Limits;
use crate::record::queue::Queue;
use crate::record::shared::Shared;
use crate::record::track::Track;
use crate::record::worker::Worker;

/// Records connections into files. A clone is the same recorder.
///
/// The file is completed when the last clone and the last connection that has one are dropped; a program that ends
/// then may be faster than the disk, and [`close`](Recorder::close) waits for it.
#[derive(Clone)]
pub struct Recorder(Arc<Shared>);

impl Recorder {
    pub(super) fn start(limits: Limits, files: Files) -> io::Result<Recorder> {
        let queue = Arc::new(Queue::new(limits.queue_bytes));
        let worker = Worker::begin(limits, files, queue.clone())?;
        let thread = thread::Builder::new().name("record".to_owned());
        thread.spawn(move || worker.run())?;
        Ok(Recorder(Arc::new(Shared::new(queue))))
    }

    /// Returns what it has done so far.
    pub fn figures(&self) -> Figures {
        self.0.queue().figures()
    }

    /// Blocks the thread until all that was recorded so far is in the file, at most for a time. Returns whether it
    /// is.
    pub fn flush(&self, within: Duration) -> bool {
        self.0.queue().flush(within)
    }

    /// Records nothing more, and blocks the thread until the file is complete, at most for a time. Returns whether
    /// it is.
    ///
    /// What connections receive and send from then on is dropped and counted.
    pub fn close(&self, within: Duration) -> bool {
        self.0.queue().close();
        self.0.queue().wait_for_end(within)
    }

    /// Returns a number for a feed that is recorded, from 1.
    pub(crate) fn feed_number(&self) -> u32 {
        self.0.next_feed()
    }

    /// Creates the track of a connection, or of something else, whose number is 0.
    pub(crate) fn track(&self, name: Arc<str>, source: u64) -> Track {
        Track::new(self.0.clone(), name, source)
    }
}

impl PartialEq for Recorder {
    fn eq(&self, other: &Recorder) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Recorder {}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("figures", &self.figures()).finish_non_exhaustive()
    }
}
