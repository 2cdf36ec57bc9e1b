//! Recording what connections receive and send, in files that other programs read.
//!
//! A [`Recorder`] writes [MCAP](https://mcap.dev) files: chunked, compressed with zstd, indexed, one channel for each
//! connection that it is given to by [`ConnectionBuilder::record`](crate::ConnectionBuilder::record). A [`Reader`]
//! reads the files. `docs/record.md` describes what is in them.
//!
//! Files are written on a thread of their own, behind a bounded queue. A disk that is slow or full never delays a
//! connection: what finds no room is dropped, counted in [`Figures`], marked in the file, and warned of once a minute.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use actix_ws_client::Connection;
//! use actix_ws_client::record::Recorder;
//!
//! # fn run() -> std::io::Result<()> {
//! let recorder = Recorder::builder("recordings").keep_bytes(1 << 30).start()?;
//! let connection = Connection::builder("wss://example.com/feed").name("ticker").record(&recorder);
//! // … start the connection, and at the end of the program:
//! recorder.close(Duration::from_secs(5));
//! # drop(connection);
//! # Ok(())
//! # }
//! ```

mod builder;
mod entry;
mod figures;
mod files;
mod item;
mod limits;
mod place;
mod queue;
mod reader;
mod recorder;
mod segment;
mod shared;
mod track;
mod worker;

use std::path::PathBuf;

pub use crate::record::builder::Builder;
pub use crate::record::entry::{Entry, What};
pub use crate::record::figures::Figures;
pub use crate::record::limits::Sync;
pub(crate) use crate::record::place::Place;
pub use crate::record::reader::{ReadError, Reader};
pub use crate::record::recorder::Recorder;
pub(crate) use crate::record::track::Track;

impl Recorder {
    /// Creates the builder of a recorder that writes into a directory.
    pub fn builder(directory: impl Into<PathBuf>) -> Builder {
        Builder::new(directory.into())
    }
}
