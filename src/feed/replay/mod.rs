//! A recording that is replayed through a feed.

mod note;
mod order;
mod player;
mod report;
mod tape;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::feed::replay::report::Shared;

pub(crate) use crate::feed::replay::player::{Parts, Player};
pub use crate::feed::replay::report::Report;

/// A recording of a feed, to be replayed through a feed that is built alike: for back-tests, and for tests of handlers.
///
/// The recording is made by [`Builder::record`](crate::feed::Builder::record), and replayed by
/// [`Builder::replay`](crate::feed::Builder::replay). `docs/record.md` says what is the same then, and what is not.
///
/// ```no_run
/// use actix_ws_client::feed::{Builder, Dialect, Replay};
///
/// # fn replayed<D: Dialect>(builder: Builder<D>) -> Result<(), Box<dyn std::error::Error>> {
/// let replay = Replay::open("recordings")?.speed(10.0);
/// let feed = builder.replay(replay.clone())?;
/// // At the end the feed stops, and `replay.report()` says how far it came.
/// # drop(feed);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Replay {
    files: Vec<PathBuf>,
    /// `None`: as fast as it goes.
    speed: Option<f64>,
    feed: u32,
    report: Shared,
}

impl Replay {
    /// Opens a recording: a file, or a directory with all files of one recording, which are read in the order of their names.
    ///
    /// # Errors
    /// Those of the file system; `NotFound` also for a directory without a file whose name ends in `.mcap`.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Replay> {
        let path = path.as_ref();
        if !fs::metadata(path)?.is_dir() {
            return Replay::files([path]);
        }
        let listed: io::Result<Vec<PathBuf>> =
            fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect();
        let mut files = listed?;
        files.retain(|path| path.extension().is_some_and(|it| it == "mcap"));
        files.sort();
        Replay::files(files)
    }

    /// Opens the files of one recording, in the order of their names.
    ///
    /// # Errors
    /// Those of the file system; `NotFound` also if there is no file.
    pub fn files<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> io::Result<Replay> {
        let files: Vec<PathBuf> = paths.into_iter().map(|path| path.as_ref().to_owned()).collect();
        if files.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "there is no file ending in .mcap",
            ));
        }
        files.iter().try_for_each(|path| fs::File::open(path).map(drop))?;
        Ok(Replay { files, speed: Some(1.0), feed: 1, report: Shared::default() })
    }

    /// Sets how many times faster than it was recorded it is replayed. Default: 1.
    ///
    /// # Panics
    /// If it is not a number above zero.
    pub fn speed(mut self, times: f64) -> Replay {
        assert!(times.is_finite() && times > 0.0, "the speed must be above zero, and is {times}");
        self.speed = Some(times);
        self
    }

    /// Replays it as fast as the handlers take it.
    pub fn unpaced(mut self) -> Replay {
        self.speed = None;
        self
    }

    /// Sets which feed is replayed, where several were recorded by one recorder: they are numbered from 1, as they were started.
    /// Default: 1.
    pub fn feed(mut self, number: u32) -> Replay {
        self.feed = number;
        self
    }

    /// Returns what came so far: of a clone too, while the feed has the other.
    pub fn report(&self) -> Report {
        self.report.get()
    }
}
