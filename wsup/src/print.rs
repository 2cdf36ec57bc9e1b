//! The actor that writes to stdout, on a thread of its own.
//!
//! A write may block for as long as nobody reads. Then the mailbox fills, the connection stops
//! reading the socket, and nothing grows; the signals and the clock are on another thread.

use std::io;

use actix::{Actor, Context, Handler};
use actix_ws_client::proto::frame::Opcode;
use actix_ws_client::{Outcome, Payload, event};
use bytestring::ByteString;
use tokio::sync::mpsc;

use crate::screen;

/// How events look.
pub(crate) trait Form {
    fn open(&self, open: &event::Open) -> Line;
    fn message(&self, message: &event::Message) -> Line;
    fn ping(&self, ping: &event::Ping) -> Line;
    fn pong(&self, pong: &event::Pong) -> Line;
    fn error(&self, error: &event::Error) -> Line;
    fn close(&self, close: &event::Close) -> Line;
    fn state(&self, state: &event::State) -> Line;
    fn stopped(&self, stopped: &event::Stopped) -> Line;
}

/// A line of output, with its end.
pub(crate) enum Line {
    /// For stdout.
    Out(Vec<u8>),
    /// Words for people, for stderr.
    Aside(String),
    /// Nothing to say.
    Silence,
}

impl Line {
    /// The line and one more, where both are for stdout; else the line.
    pub(crate) fn and(self, more: Line) -> Line {
        match (self, more) {
            (Line::Out(line), Line::Out(more)) => Line::Out([line, more].concat()),
            (line, _) => line,
        }
    }

    /// Writes it to where it belongs, at once.
    pub(crate) fn write(&self) -> io::Result<()> {
        match self {
            Line::Out(line) => screen::out(line),
            Line::Aside(words) => {
                screen::aside(words);
                Ok(())
            }
            Line::Silence => Ok(()),
        }
    }
}

/// What the session hears from the printer. Each is told once at most.
pub(crate) enum News {
    /// As many messages were printed as were wanted.
    Enough,
    /// Stdout takes no more.
    Broken(io::Error),
    /// The last event was printed.
    Stopped(Box<Outcome>),
}

impl News {
    /// A channel of this size is never full.
    pub(crate) const KINDS: usize = 3;
}

/// Prints events in the order in which they come.
pub(crate) struct Printer {
    form: Box<dyn Form + Send>,
    /// How many messages are still to be printed, if not all.
    left: Option<u64>,
    news: mpsc::Sender<News>,
    /// Whether stdout was lost. The rest is dropped.
    broken: bool,
}

impl Printer {
    pub(crate) fn new(
        form: Box<dyn Form + Send>,
        messages: Option<u64>,
        news: mpsc::Sender<News>,
    ) -> Printer {
        Printer { form, left: messages, news, broken: false }
    }

    fn print(&mut self, line: Line) {
        if self.broken && matches!(line, Line::Out(_)) {
            return;
        }
        if let Err(err) = line.write() {
            self.broken = true;
            self.tell(News::Broken(err));
        }
    }

    fn tell(&self, news: News) {
        // It has room for all news, and outlives the printer unless the run is over.
        let _ = self.news.try_send(news);
    }
}

impl Actor for Printer {
    type Context = Context<Printer>;
}

impl Handler<event::Open> for Printer {
    type Result = ();

    fn handle(&mut self, open: event::Open, _: &mut Self::Context) {
        self.print(self.form.open(&open));
    }
}

impl Handler<event::Message> for Printer {
    type Result = ();

    fn handle(&mut self, message: event::Message, _: &mut Self::Context) {
        if self.left == Some(0) {
            return;
        }
        self.print(self.form.message(&message));
        if let Some(left) = &mut self.left {
            *left -= 1;
            if *left == 0 {
                self.tell(News::Enough);
            }
        }
    }
}

/// Text that was not checked is shown as text if it is UTF-8, else as the bytes that it is.
impl Handler<event::Data> for Printer {
    type Result = ();

    fn handle(&mut self, data: event::Data, ctx: &mut Self::Context) {
        let event::Data { source, epoch, payload, opcode, .. } = data;
        let payload = match payload {
            Payload::Binary(bytes) if opcode == Opcode::Text => {
                ByteString::try_from(bytes.clone()).map_or(Payload::Binary(bytes), Payload::Text)
            }
            other => other,
        };
        let received = std::time::Instant::now();
        self.handle(event::Message { source, epoch, payload, received }, ctx);
    }
}

impl Handler<event::Ping> for Printer {
    type Result = ();

    fn handle(&mut self, ping: event::Ping, _: &mut Self::Context) {
        self.print(self.form.ping(&ping));
    }
}

impl Handler<event::Pong> for Printer {
    type Result = ();

    fn handle(&mut self, pong: event::Pong, _: &mut Self::Context) {
        self.print(self.form.pong(&pong));
    }
}

impl Handler<event::Error> for Printer {
    type Result = ();

    fn handle(&mut self, error: event::Error, _: &mut Self::Context) {
        self.print(self.form.error(&error));
    }
}

impl Handler<event::Close> for Printer {
    type Result = ();

    fn handle(&mut self, close: event::Close, _: &mut Self::Context) {
        self.print(self.form.close(&close));
    }
}

impl Handler<event::State> for Printer {
    type Result = ();

    fn handle(&mut self, state: event::State, _: &mut Self::Context) {
        self.print(self.form.state(&state));
    }
}

impl Handler<event::Stopped> for Printer {
    type Result = ();

    fn handle(&mut self, stopped: event::Stopped, _: &mut Self::Context) {
        self.print(self.form.stopped(&stopped));
        self.tell(News::Stopped(Box::new(stopped.outcome)));
    }
}
