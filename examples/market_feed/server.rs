//! Any WebSocket server, with `--url`: one connection without a feed, whose events are entered in the book.

use std::time::{Duration, Instant};

use actix::{Addr, Context, Handler};
use actix_ws_client::feed::event::Cause;
use actix_ws_client::proto::close::CloseFrame;
use actix_ws_client::proto::session::By;
use actix_ws_client::{ConfigError, Connection, Error, Event, command, event};

use crate::book::Book;
use crate::line::Is;
use crate::row::Tick;

/// Starts the connection, by the crate's default reconnect policy.
pub(crate) fn start(url: &str, book: &Addr<Book>) -> Result<Addr<Connection>, ConfigError> {
    let builder = Connection::builder(url).ping_interval(PING).ping_timeout(PING);
    builder.on_event_to(book.clone()).start()
}

const PING: Duration = Duration::from_secs(5);

/// What the book keeps of a plain server.
pub(crate) struct Plain {
    /// The texts to send after every opening.
    greetings: Vec<String>,
    /// The number that the next message must have.
    expected: Option<u64>,
    /// The failure of the open socket.
    failure: Option<Error>,
}

impl Plain {
    pub(crate) fn new(greetings: Vec<String>) -> Plain {
        Plain { greetings, expected: None, failure: None }
    }
}

impl Handler<Event> for Book {
    type Result = ();

    fn handle(&mut self, event: Event, _: &mut Context<Book>) {
        let now = Instant::now();
        let line = self.line(None);
        let next = |next| match next {
            event::Next::Retry { after, .. } => Is::Down(now.checked_add(after)),
            event::Next::Stop => Is::Down(None),
        };
        match event {
            Event::Open(open) => {
                for text in &self.plain.greetings {
                    open.connection.do_send(command::Send::text(text.clone()));
                }
                self.plain.expected = None;
                let state = &mut self.lines[line];
                (state.is, state.is_open, state.sockets) = (Is::Live, true, open.epoch);
                self.rows[0].live(line, now);
                self.opened(line);
            }
            Event::Message(message) => self.message(message.payload.as_bytes()),
            Event::Pong(pong) => {
                let round_trip = &mut self.lines[line].round_trip;
                *round_trip = pong.round_trip.or(*round_trip);
            }
            Event::Error(failed) if self.lines[line].is_open => {
                self.plain.failure = Some(failed.error)
            }
            Event::Error(failed) => {
                let change = self.lines[line].down(Some(&Cause::Connection(failed.error)));
                self.lines[line].is = next(failed.next);
                self.changed(line, change);
            }
            Event::Close(close) => {
                let failure = self.plain.failure.take().or_else(|| {
                    let is_ours = close.by == By::Local;
                    let frame = || CloseFrame::new(close.code, close.reason.clone()).ok();
                    (!is_ours).then(|| Error::Closed(frame()))
                });
                let change = self.lines[line].down(failure.map(Cause::Connection).as_ref());
                self.lines[line].is = next(close.next);
                self.changed(line, change);
            }
            Event::Stopped(_) => {
                self.stopped.take().map(|stopped| stopped.send(()));
            }
            _ => {}
        }
    }
}

impl Book {
    /// Counts a message of a plain server, and checks its number if it has one.
    fn message(&mut self, message: &[u8]) {
        // Each message is parsed once, and nothing is copied out of it.
        let tick: Tick<'_> = serde_json::from_slice(message).unwrap_or_default();
        self.rows[0].message(tick.price());
        let Some(number) = tick.seq else { return };
        self.rows[0].checked += 1;
        let expected = self.plain.expected.unwrap_or(number);
        self.plain.expected = Some(number.max(expected.saturating_sub(1)).saturating_add(1));
        let name = self.rows[0].name.clone();
        if number > expected {
            let words = format!("numbers {expected} to {} are missing", number - 1);
            self.gap(&name, number - expected, words);
        } else if number < expected {
            self.gap(&name, 1, format!("number {number} came late or twice"));
        }
    }
}
