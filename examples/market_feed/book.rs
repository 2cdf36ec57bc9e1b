//! The handler: one actor that receives the events of all connections.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use actix::{Actor, Context, Handler, Message, MessageResult};
use actix_ws_client::{SourceId, command, event};
use tokio::sync::oneshot;

use crate::row::{BEAT, Row, words};

/// Keeps the figures of every symbol.
pub(crate) struct Book {
    began: Instant,
    /// The end of the current beat of the rows, counted from `began`.
    beat: Duration,
    rows: Vec<Row>,
    /// The row of each connection.
    index: HashMap<SourceId, usize>,
    /// Sent after every opening, since a server forgets subscriptions when a socket closes.
    subscriptions: Vec<String>,
    log: VecDeque<Entry>,
    /// The number of entries ever logged.
    logged: u64,
    /// The number of connections that have not stopped.
    running: usize,
    /// Notified when the last of them has stopped.
    settled: Option<oneshot::Sender<()>>,
}

/// Requests a snapshot. It is also the book's clock: without a timer of its own the actor ends with
/// its last address.
#[derive(Message)]
#[rtype(result = "Picture")]
pub(crate) struct Look;

/// A snapshot of the figures.
pub(crate) struct Picture {
    pub(crate) elapsed: Duration,
    pub(crate) now: Instant,
    pub(crate) rows: Vec<Row>,
    /// The latest events, the newest last.
    pub(crate) log: VecDeque<Entry>,
    pub(crate) logged: u64,
}

/// A line of the event log.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) at: Duration,
    pub(crate) name: String,
    pub(crate) tone: Tone,
    pub(crate) words: String,
}

/// Whether an event is good news.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Poor,
    Bad,
}

/// The number of log entries to keep: more than are added between two frames.
const LOG: usize = 64;

impl Book {
    /// Creates a book with a row for each connection, and a receiver for the stop of the last one.
    pub(crate) fn new(
        rows: Vec<(SourceId, Row)>,
        subscriptions: Vec<String>,
    ) -> (Book, oneshot::Receiver<()>) {
        let (settled, over) = oneshot::channel();
        let index = rows.iter().enumerate().map(|(index, (source, _))| (*source, index)).collect();
        let book = Book {
            began: Instant::now(),
            beat: BEAT,
            running: rows.len(),
            rows: rows.into_iter().map(|(_, row)| row).collect(),
            index,
            subscriptions,
            log: VecDeque::with_capacity(LOG),
            logged: 0,
            settled: Some(settled),
        };
        (book, over)
    }

    fn row(&mut self, source: SourceId) -> Option<&mut Row> {
        self.rows.get_mut(*self.index.get(&source)?)
    }

    fn note(&mut self, source: SourceId, tone: Tone, words: String) {
        let name = self.row(source).map(|row| row.name.clone()).unwrap_or_default();
        if self.log.len() == LOG {
            self.log.pop_front();
        }
        self.log.push_back(Entry { at: self.began.elapsed(), name, tone, words });
        self.logged += 1;
    }
}

impl Actor for Book {
    type Context = Context<Book>;
}

impl Handler<event::Open> for Book {
    type Result = ();

    fn handle(&mut self, open: event::Open, _: &mut Context<Book>) {
        for text in &self.subscriptions {
            open.connection.do_send(command::Send::text(text.clone()));
        }
        if let Some(row) = self.row(open.source) {
            row.opened(&open);
        }
        let words = match &open.outage {
            Some(outage) => {
                let (epoch, seconds) = (open.epoch, outage.duration.as_secs_f64());
                format!(
                    "open again, epoch {epoch}, after {seconds:.2} s and {}",
                    dials(open.attempts)
                )
            }
            None => format!("open after {}", dials(open.attempts)),
        };
        self.note(open.source, Tone::Good, words);
    }
}

impl Handler<event::Message> for Book {
    type Result = ();

    fn handle(&mut self, message: event::Message, _: &mut Context<Book>) {
        // Each message is parsed once, and nothing is copied out of it.
        let tick = serde_json::from_slice(message.payload.as_bytes()).ok();
        let fault = self.row(message.source).and_then(|row| row.message(tick));
        if let Some(fault) = fault {
            self.note(message.source, Tone::Bad, format!("GAP in {fault}"));
        }
    }
}

impl Handler<event::Pong> for Book {
    type Result = ();

    fn handle(&mut self, pong: event::Pong, _: &mut Context<Book>) {
        if let Some(row) = self.row(pong.source) {
            row.round_trip = pong.round_trip.or(row.round_trip);
        }
    }
}

impl Handler<event::Error> for Book {
    type Result = ();

    fn handle(&mut self, failed: event::Error, _: &mut Context<Book>) {
        let dial = self.row(failed.source).is_some_and(|row| row.failed(&failed, Instant::now()));
        // The error that ended an open socket is logged with its Close.
        if dial {
            let (number, why) = (failed.attempt, words(&failed.error));
            let words = format!("dial {number} failed: {why}; {}", next(failed.next));
            self.note(failed.source, Tone::Poor, words);
        }
    }
}

impl Handler<event::Close> for Book {
    type Result = ();

    fn handle(&mut self, close: event::Close, _: &mut Context<Book>) {
        let Some(row) = self.row(close.source) else {
            return;
        };
        let outages = row.outages.total();
        let cause = row.closed(&close, Instant::now());
        let lost = row.outages.total() > outages;
        let seconds = close.lasted.as_secs_f64();
        let words = format!("lost after {seconds:.1} s: {cause}; {}", next(close.next));
        match lost {
            true => self.note(close.source, Tone::Bad, words),
            false => self.note(close.source, Tone::Good, cause),
        }
    }
}

impl Handler<event::State> for Book {
    type Result = ();

    fn handle(&mut self, state: event::State, _: &mut Context<Book>) {
        if let Some(row) = self.row(state.source) {
            row.phase = state.phase;
        }
    }
}

impl Handler<event::Stopped> for Book {
    type Result = ();

    fn handle(&mut self, _: event::Stopped, _: &mut Context<Book>) {
        self.running = self.running.saturating_sub(1);
        if self.running == 0
            && let Some(settled) = self.settled.take()
        {
            // An error means that the program is already exiting.
            let _ = settled.send(());
        }
    }
}

impl Handler<Look> for Book {
    type Result = MessageResult<Look>;

    fn handle(&mut self, _: Look, _: &mut Context<Book>) -> MessageResult<Look> {
        let elapsed = self.began.elapsed();
        while self.beat <= elapsed {
            self.beat += BEAT;
            self.rows.iter_mut().for_each(Row::beat);
        }
        MessageResult(Picture {
            elapsed,
            now: Instant::now(),
            rows: self.rows.clone(),
            log: self.log.clone(),
            logged: self.logged,
        })
    }
}

fn dials(number: u32) -> String {
    if number == 1 { "one dial".into() } else { format!("{number} dials") }
}

fn next(next: event::Next) -> String {
    match next {
        event::Next::Retry { after, attempt } => {
            format!("dial {attempt} in {:.2} s", after.as_secs_f64())
        }
        event::Next::Stop => "no further dial".into(),
    }
}
