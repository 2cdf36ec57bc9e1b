//! What a scripted peer saw, in order.

use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::proto::error::ProtocolError;
use crate::proto::message::Incoming;
use crate::tls::server::TlsHandshake;

/// One thing that a scripted peer saw.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Note {
    /// A connection was accepted.
    Dial,
    /// A TLS handshake was completed over it.
    Tls(TlsHandshake),
    /// The head of its request came.
    Request(Request),
    /// A message or a control frame came.
    Received(Incoming),
    /// The connection is over.
    Gone(Gone),
}

/// How a connection ended, as the scripted peer saw it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Gone {
    /// Both Close frames were exchanged.
    Closed,
    /// The script said so.
    Scripted,
    /// The client ended it without a Close (FIN).
    Eof,
    /// The TLS handshake failed; what rustls says of it.
    Tls(String),
    /// Reading or writing failed; `ConnectionReset` is the client's RST.
    Error(io::ErrorKind),
    /// The client broke RFC 6455.
    Breach(ProtocolError),
}

/// The head of an upgrade request, as it was sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Request line and header lines, without the empty line at the end.
    pub head: String,
}

impl Request {
    /// The request line: method, target and version.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The first value of a header, its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// Every value of a header, in order.
    pub fn headers<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(move |line| line.0.eq_ignore_ascii_case(name)).map(|line| line.1.trim())
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.head)
    }
}

/// A log that scripted peers write and tests read, also from another thread.
///
/// A [`Server`](crate::testing::Server) keeps one of its own. Who plays a
/// [`Script`](crate::testing::Script) over another transport brings one along.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// When, in which connection (from 0), what.
    log: Mutex<Vec<(Instant, usize, Note)>>,
    /// Rung after each entry.
    written: Notify,
}

impl Journal {
    /// An empty one.
    pub fn new() -> Journal {
        Journal::default()
    }

    /// Adds a note about the connection of this number.
    pub fn write(&self, connection: usize, note: Note) {
        self.lock().push((Instant::now(), connection, note));
        self.0.written.notify_waiters();
    }

    /// Everything so far: when, in which connection (from 0), and what.
    pub fn notes(&self) -> Vec<(Instant, usize, Note)> {
        self.lock().clone()
    }

    /// The `skip`-th note, from 0, that `pick` makes something of, once it is there.
    ///
    /// # Panics
    /// With all notes, if it does not come within `timeout`.
    pub(super) async fn nth<T>(
        &self,
        what: &str,
        skip: usize,
        timeout: Duration,
        pick: impl Fn(&(Instant, usize, Note)) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + timeout;
        loop {
            let mut written = pin!(self.0.written.notified());
            written.as_mut().enable();
            if let Some(found) = self.lock().iter().filter_map(&pick).nth(skip) {
                return found;
            }
            if timeout_at(deadline, written).await.is_err() {
                panic!("no {what} in {timeout:?}; the peer saw: {:#?}", self.notes());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Instant, usize, Note)>> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
