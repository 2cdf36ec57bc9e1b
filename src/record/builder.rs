//! The options of a recorder.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::record::files::Files;
use crate::record::limits::{Limits, Sync};
use crate::record::recorder::Recorder;

/// The options of a [`Recorder`] that is not started yet. Made by [`Recorder::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    directory: PathBuf,
    name: String,
    limits: Limits,
}

impl Builder {
    pub(super) fn new(directory: PathBuf) -> Builder {
        let limits = Limits {
            file_bytes: 256 << 20,
            file_age: Duration::from_secs(3600),
            keep_bytes: 10 << 30,
            flush_every: Duration::from_secs(1),
            queue_bytes: 16 << 20,
            sync: Sync::default(),
        };
        Builder { directory, name: "recording".to_owned(), limits }
    }

    /// Sets the beginning of the files' names, `NAME-20260131T235900Z-000001.mcap`. Default: `recording`.
    ///
    /// Two recorders that write into one directory need different names: each deletes the oldest files of its name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the size in bytes from which a file is completed and the next begun. Default: 256 MiB. A file is at most
    /// a quarter of [`keep_bytes`](Builder::keep_bytes).
    pub fn file_bytes(mut self, bytes: u64) -> Self {
        self.limits.file_bytes = bytes;
        self
    }

    /// Sets the age at which a file is completed and the next begun. Default: 1 h.
    pub fn file_age(mut self, age: Duration) -> Self {
        self.limits.file_age = age;
        self
    }

    /// Sets how many bytes all files of the name in the directory may have together. Default: 10 GiB. Beyond, the
    /// oldest are deleted, those of earlier processes too; never the one that is being written. What is written
    /// between two flushes may exceed it until the second.
    pub fn keep_bytes(mut self, bytes: u64) -> Self {
        self.limits.keep_bytes = bytes;
        self
    }

    /// Sets how often what was recorded is written to the file, as a chunk that can be read. Default: 1 s. `kill -9`
    /// loses at most what came since. A chunk of 1 MiB is written earlier.
    pub fn flush_every(mut self, interval: Duration) -> Self {
        self.limits.flush_every = interval;
        self
    }

    /// Sets how many bytes of memory the queue to the thread that writes may have. Default: 16 MiB. What finds no room
    /// is dropped, and counted.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.limits.queue_bytes = bytes;
        self
    }

    /// Sets when data is forced to the disk. Default: [`Sync::Files`].
    pub fn sync(mut self, sync: Sync) -> Self {
        self.limits.sync = sync;
        self
    }

    /// Creates the directory if it is missing, begins the first file, and starts the thread that writes.
    ///
    /// On Unix only the user of the process may read the files, and the directory if it is created.
    ///
    /// # Errors
    /// `InvalidInput` for an option that cannot be, by its name. Those of the file system, with the path. That of the
    /// system if it refuses a thread.
    pub fn start(self) -> io::Result<Recorder> {
        let Limits { file_bytes, file_age, keep_bytes, flush_every, queue_bytes, .. } = self.limits;
        for (option, is_zero) in [
            ("file_bytes", file_bytes == 0),
            ("file_age", file_age.is_zero()),
            ("keep_bytes", keep_bytes == 0),
            ("flush_every", flush_every.is_zero()),
            ("queue_bytes", queue_bytes == 0),
        ] {
            if is_zero {
                return Err(invalid(format!("`{option}` must be above zero")));
            }
        }
        let is_fit = |sign: char| sign.is_alphanumeric() || "-_.".contains(sign);
        if self.name.is_empty() || !self.name.chars().all(is_fit) {
            let text = "must have letters, digits, `-`, `_` and `.` alone";
            return Err(invalid(format!("`name` {text}, and is `{}`", self.name.escape_debug())));
        }
        let files = Files::open(self.directory, self.name)?;
        Recorder::start(self.limits, files)
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
