//! The record of what a scripted peer saw, in order.

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

/// An entry of a [`Journal`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Note {
    /// A connection was accepted.
    Dial,
    /// The TLS handshake was completed.
    Tls(TlsHandshake),
    /// The head of the upgrade request was received.
    Request(Request),
    /// A message or a control frame was received.
    Received(Incoming),
    /// The connection ended.
    Gone(Gone),
}

/// How a connection ended, as the scripted peer saw it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Gone {
    /// Both Close frames were exchanged.
    Closed,
    /// The script ended it.
    Scripted,
    /// The client ended it without a Close frame (FIN).
    Eof,
    /// The TLS handshake failed, with the text of rustls's error.
    Tls(String),
    /// Reading or writing failed; `ConnectionReset` is the client's RST.
    Error(io::ErrorKind),
    /// The client broke RFC 6455.
    Breach(ProtocolError),
}

/// The head of an upgrade request, as received.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The request line and the header lines, without the empty line at the end.
    pub head: String,
}

impl Request {
    /// Returns the request line: method, target and version.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// Returns the first value of a header. The name is matched in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// Returns every value of a header, in order. The name is matched in any case.
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

/// A record that scripted peers write and tests read, also from another thread. Clones share it.
///
/// A [`Server`](crate::testing::Server) has its own. To play a
/// [`Script`](crate::testing::Script) over another transport, create one.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Time, connection (from 0) and entry.
    log: Mutex<Vec<(Instant, usize, Note)>>,
    /// Notified after each entry.
    written: Notify,
}

impl Journal {
    /// Creates an empty journal.
    pub fn new() -> Journal {
        Journal::default()
    }

    /// Adds an entry about the connection with this number.
    pub fn write(&self, connection: usize, note: Note) {
        self.lock().push((Instant::now(), connection, note));
        self.0.written.notify_waiters();
    }

    /// Returns all entries so far: time, connection (from 0) and note.
    pub fn notes(&self) -> Vec<(Instant, usize, Note)> {
        self.lock().clone()
    }

    /// Waits for the `skip`-th note, from 0, for which `pick` returns a value, and returns that.
    ///
    /// # Panics
    /// With all notes, if it does not arrive within `timeout`.
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
