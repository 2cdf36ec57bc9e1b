//! The record of what a scripted peer saw and sent, in order.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::proto::close::CloseFrame;
use crate::proto::error::ProtocolError;
use crate::proto::message::{Incoming, Outgoing, Payload};
use crate::testing::wait::{Wait, found_within, last_lines};
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
    /// A message or a control frame was sent, also the answer to a Ping or a Close. Bytes of
    /// [`send_raw`](crate::testing::Script::send_raw) and the like are not recorded.
    Sent(Outgoing),
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
/// A [`Server`](crate::testing::Server) and a [`MemoryServer`](crate::testing::MemoryServer) have their own. To play a
/// [`Script`](crate::testing::Script) over another transport, create one. `Display` writes all of it, a line for each
/// entry: the time since the first, the connection, and what happened.
///
/// Each `next_…` method returns the records of its kind one after the other, from the first on; it waits for
/// the next one, and panics at the line of its `.await`, with the last entries, if none arrives within 10 s.
#[derive(Clone, Debug)]
pub struct Journal(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Time, connection (from 0) and entry.
    log: Mutex<Vec<(Instant, usize, Note)>>,
    /// Notified after each entry.
    written: Notify,
    /// The number of records of each kind that `next_…` has returned.
    cursors: [AtomicUsize; 4],
}

/// The time that a `next_…` method waits.
const NEXT_TIMEOUT: Duration = Duration::from_secs(10);

thread_local! {
    /// The journals that were created on this thread, which is one for each test: the report of a wait in vain
    /// shows what they have.
    static CREATED: RefCell<Vec<Weak<Shared>>> = const { RefCell::new(Vec::new()) };
}

impl Default for Journal {
    fn default() -> Journal {
        Journal::new()
    }
}

impl Journal {
    /// Creates an empty journal.
    pub fn new() -> Journal {
        let shared = Arc::<Shared>::default();
        CREATED.with_borrow_mut(|created| {
            created.retain(|journal| journal.strong_count() > 0);
            created.push(Arc::downgrade(&shared));
        });
        Journal(shared)
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

    /// Returns the number of accepted connections.
    pub fn dials(&self) -> usize {
        self.all(|note| matches!(note, Note::Dial).then_some(())).len()
    }

    /// Returns all completed TLS handshakes, in order.
    pub fn tls_handshakes(&self) -> Vec<TlsHandshake> {
        self.all(|note| match note {
            Note::Tls(handshake) => Some(handshake.clone()),
            _ => None,
        })
    }

    /// Returns the heads of all upgrade requests, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.all(|note| match note {
            Note::Request(request) => Some(request.clone()),
            _ => None,
        })
    }

    /// Returns all received messages and control frames, in order.
    pub fn received(&self) -> Vec<Incoming> {
        self.all(|note| match note {
            Note::Received(item) => Some(item.clone()),
            _ => None,
        })
    }

    /// Returns all received messages, in order.
    pub fn messages(&self) -> Vec<Payload> {
        self.all(|note| match note {
            Note::Received(Incoming::Message(payload)) => Some(payload.clone()),
            _ => None,
        })
    }

    /// Returns all received Close frames, in order; `None` is one without a code.
    pub fn closes(&self) -> Vec<Option<CloseFrame>> {
        self.all(|note| match note {
            Note::Received(Incoming::Close(frame)) => Some(frame.clone()),
            _ => None,
        })
    }

    fn all<T>(&self, pick: impl Fn(&Note) -> Option<T>) -> Vec<T> {
        self.lock().iter().filter_map(|(_, _, note)| pick(note)).collect()
    }

    /// Waits until the next connection is accepted, and returns its number, from 0.
    ///
    /// # Panics
    /// If none is within 10 s.
    #[track_caller]
    pub fn next_dial(&self) -> impl Future<Output = usize> + '_ {
        self.next(0, "dial", |connection, note| match note {
            Note::Dial => Some(connection),
            _ => None,
        })
    }

    /// Waits for the next message on any connection, and returns it.
    ///
    /// # Panics
    /// If none comes within 10 s.
    #[track_caller]
    pub fn next_message(&self) -> impl Future<Output = Payload> + '_ {
        self.next(1, "message", |_, note| match note {
            Note::Received(Incoming::Message(payload)) => Some(payload.clone()),
            _ => None,
        })
    }

    /// Waits for the next Close frame on any connection, and returns it; `None` is one without a code.
    ///
    /// # Panics
    /// If none comes within 10 s.
    #[track_caller]
    pub fn next_close(&self) -> impl Future<Output = Option<CloseFrame>> + '_ {
        self.next(2, "Close", |_, note| match note {
            Note::Received(Incoming::Close(frame)) => Some(frame.clone()),
            _ => None,
        })
    }

    /// Waits until the next connection ends, and returns how.
    ///
    /// # Panics
    /// If none does within 10 s.
    #[track_caller]
    pub fn next_gone(&self) -> impl Future<Output = Gone> + '_ {
        self.next(3, "end of a connection", |_, note| match note {
            Note::Gone(gone) => Some(gone.clone()),
            _ => None,
        })
    }

    #[track_caller]
    fn next<'a, T: 'a>(
        &'a self,
        kind: usize,
        what: &'a str,
        pick: impl Fn(usize, &Note) -> Option<T> + 'a,
    ) -> impl Future<Output = T> + 'a {
        let look = move |skip| {
            let log = self.lock();
            log.iter().filter_map(|(_, connection, note)| pick(*connection, note)).nth(skip)
        };
        let wait = async move {
            let skip = self.0.cursors[kind].fetch_add(1, Ordering::Relaxed);
            found_within(NEXT_TIMEOUT, &self.0.written, || look(skip)).await
        };
        let seen = move || {
            let lines = last_lines(&self.lines());
            format!("the server saw no {what} within {NEXT_TIMEOUT:?}; it saw:{lines}")
        };
        Wait::new(wait, seen)
    }

    /// Returns each entry in words.
    fn lines(&self) -> Vec<String> {
        let log = self.lock();
        let start = log.first().map(|(start, ..)| *start);
        let line = |(at, connection, note): &(Instant, usize, Note)| {
            let time = at.duration_since(start.unwrap_or(*at)).as_secs_f64();
            format!("{time:.3} s, connection {connection}: {note}")
        };
        log.iter().map(line).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Instant, usize, Note)>> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns what the servers that were created on this thread saw and sent, in words; `None` if there is none.
pub(super) fn seen_by_servers() -> Option<Vec<String>> {
    let servers: Vec<Journal> = CREATED
        .with_borrow(|created| created.iter().filter_map(Weak::upgrade).map(Journal).collect());
    let lines = servers.iter().flat_map(Journal::lines).collect();
    (!servers.is_empty()).then_some(lines)
}

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl fmt::Display for Note {
    /// Writes it in words: `dial`, `received text "hello"`, `sent close 1000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Dial => f.write_str("dial"),
            Note::Tls(_) => f.write_str("TLS handshake"),
            Note::Request(request) => write!(f, "request {}", request.line()),
            Note::Received(item) => write!(f, "received {}", InWords::received(item)),
            Note::Sent(item) => write!(f, "sent {}", InWords::sent(item)),
            Note::Gone(Gone::Closed) => f.write_str("end: closed by both sides"),
            Note::Gone(Gone::Scripted) => f.write_str("end: by the script"),
            Note::Gone(Gone::Eof) => f.write_str("end: by the client, without a Close frame"),
            Note::Gone(Gone::Tls(why)) => write!(f, "end: TLS: {why}"),
            Note::Gone(Gone::Error(kind)) => write!(f, "end: {kind}"),
            Note::Gone(Gone::Breach(err)) => write!(f, "end: {err}"),
        }
    }
}

/// A message or a control frame, in words.
enum InWords<'a> {
    Text(&'a str),
    Bytes(&'static str, &'a [u8]),
    Close(Option<&'a CloseFrame>),
}

impl InWords<'_> {
    fn received(item: &Incoming) -> InWords<'_> {
        match item {
            Incoming::Message(payload) => InWords::message(payload),
            Incoming::Unchecked(bytes) => InWords::Bytes("text", bytes),
            Incoming::Fragment(fragment) => InWords::Bytes("fragment", &fragment.bytes),
            Incoming::Ping(payload) => InWords::Bytes("ping", payload),
            Incoming::Pong(payload) => InWords::Bytes("pong", payload),
            Incoming::Close(frame) => InWords::Close(frame.as_ref()),
        }
    }

    fn sent(item: &Outgoing) -> InWords<'_> {
        match item {
            Outgoing::Message(payload) | Outgoing::Fragments(payload, _) => {
                InWords::message(payload)
            }
            Outgoing::Ping(payload) => InWords::Bytes("ping", payload),
            Outgoing::Pong(payload) => InWords::Bytes("pong", payload),
            Outgoing::Close(frame) => InWords::Close(frame.as_ref()),
        }
    }

    fn message(payload: &Payload) -> InWords<'_> {
        match payload {
            Payload::Text(text) => InWords::Text(text),
            Payload::Binary(bytes) => InWords::Bytes("binary", bytes),
        }
    }
}

impl fmt::Display for InWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InWords::Text(text) => write!(f, "text {text:?}"),
            InWords::Bytes(kind, bytes) => write!(f, "{kind} of {} bytes", bytes.len()),
            InWords::Close(None) => f.write_str("close without a code"),
            InWords::Close(Some(frame)) => {
                write!(f, "close {} {:?}", frame.code(), frame.reason())
            }
        }
    }
}
