//! A scripted peer in memory, for tests under a paused clock.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{DuplexStream, duplex};

use crate::testing::journal::{Journal, Note};
use crate::testing::server::Scripts;

/// A scripted WebSocket server without sockets, for tests that take no time: under a paused clock each wait, of
/// a backoff or for a deadline, ends as soon as nothing else is left to do.
///
/// [`connection`](MemoryServer::connection) builds a connection to it. Each dial plays the next
/// [`Script`](crate::testing::Script). What it saw and sent is in its [`journal`](MemoryServer::journal). Clones are the
/// same server.
///
/// ```
/// use actix_ws_client::event;
/// use actix_ws_client::testing::{MemoryServer, Probe, Script};
///
/// # actix::System::new().block_on(async {
/// let server = MemoryServer::paused([Script::refuse(503), Script::accept().send_text("hi")]);
/// let probe = Probe::new();
/// let connection = probe.attach(server.connection()).start().unwrap();
/// // The delay before the second dial takes seconds of the paused clock, and none of ours.
/// assert_eq!(probe.next_message().await.payload.as_text(), Some("hi"));
/// assert_eq!(server.journal().dials(), 2);
/// # drop(connection);
/// # });
/// ```
#[derive(Clone)]
pub struct MemoryServer {
    scripts: Scripts,
    journal: Journal,
    /// The number of dials.
    dials: Arc<AtomicUsize>,
}

/// How many bytes fit between client and server in each direction.
const BUFFER: usize = 64 << 10;

impl MemoryServer {
    /// Pauses tokio's clock on this thread, and creates a server that plays a script, or one script after the other
    /// (the last one repeats).
    ///
    /// # Panics
    /// Outside a tokio runtime of one thread, as every test by `#[actix::test]` has, and if the clock is paused already:
    /// see [`new`](MemoryServer::new).
    pub fn paused(scripts: impl Into<Scripts>) -> MemoryServer {
        tokio::time::pause();
        MemoryServer::new(scripts)
    }

    /// Creates a server, whatever the clock is.
    pub fn new(scripts: impl Into<Scripts>) -> MemoryServer {
        MemoryServer { scripts: scripts.into(), journal: Journal::new(), dials: Arc::default() }
    }

    /// Returns the record of all connections.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Makes the client's end of a new connection, whose script plays on this thread.
    pub(crate) fn dial(&self) -> io::Result<DuplexStream> {
        let connection = self.dials.fetch_add(1, Ordering::Relaxed);
        self.journal.write(connection, Note::Dial);
        let script = (self.scripts.0)(connection);
        let (ours, mut theirs) = duplex(BUFFER);
        let journal = self.journal.clone();
        actix_rt::spawn(async move { script.play(&mut theirs, connection, &journal).await });
        Ok(ours)
    }
}

impl fmt::Debug for MemoryServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryServer").field("dials", &self.journal.dials()).finish()
    }
}
