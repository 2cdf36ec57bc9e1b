//! The actor that writes to stdout, on a thread of its own.
//!
//! A write blocks while the reader of stdout does not read. Then the mailbox fills up and the connection
//! stops reading its socket, so that memory stays bounded. Signals and timers run on another thread.

use std::io;

use actix::{Actor, Context, Handler};
use actix_ws_client::proto::frame::Opcode;
use actix_ws_client::{Outcome, Payload, event};
use bytestring::ByteString;
use tokio::sync::mpsc;

use crate::screen;

/// Formats events as lines.
pub(crate) trait Format {
    fn open(&self, open: &event::Open) -> Line;
    fn message(&self, message: &event::Message) -> Line;
    fn ping(&self, ping: &event::Ping) -> Line;
    fn pong(&self, pong: &event::Pong) -> Line;
    fn error(&self, error: &event::Error) -> Line;
    fn close(&self, close: &event::Close) -> Line;
    fn state(&self, state: &event::State) -> Line;
    fn stopped(&self, stopped: &event::Stopped) -> Line;
}

/// A line of output, and its stream.
pub(crate) enum Line {
    /// For stdout, with its line end.
    Stdout(Vec<u8>),
    /// Text for people, without a line end, for stderr.
    Stderr(String),
    /// No output.
    Nothing,
}

impl Line {
    /// Appends another line if both are for stdout. Otherwise returns the first.
    pub(crate) fn and(self, more: Line) -> Line {
        match (self, more) {
            (Line::Stdout(line), Line::Stdout(more)) => Line::Stdout([line, more].concat()),
            (line, _) => line,
        }
    }

    /// Appends another line for stderr, if both are. Otherwise returns the first.
    pub(crate) fn and_below(self, more: Line) -> Line {
        match (self, more) {
            (Line::Stderr(line), Line::Stderr(more)) => Line::Stderr(format!("{line}\n{more}")),
            (line, _) => line,
        }
    }

    /// Writes the line to its stream and flushes it.
    pub(crate) fn write(&self) -> io::Result<()> {
        match self {
            Line::Stdout(line) => screen::out(line),
            Line::Stderr(words) => {
                screen::eprint_line(words);
                Ok(())
            }
            Line::Nothing => Ok(()),
        }
    }
}

/// A report of the printer to the session. Each is sent at most once.
pub(crate) enum Report {
    /// The messages of `--messages` have been printed.
    LimitReached,
    /// Writing to stdout failed.
    StdoutFailed(io::Error),
    /// The last event was printed.
    Stopped(Box<Outcome>),
}

impl Report {
    /// The capacity with which the channel is never full.
    pub(crate) const KINDS: usize = 3;
}

/// Prints events in the order in which they come.
pub(crate) struct Printer {
    form: Box<dyn Format + Send>,
    /// How many messages are still to be printed; `None` without a limit.
    remaining: Option<u64>,
    reports: mpsc::Sender<Report>,
    /// Whether writing to stdout failed. Further lines for it are dropped.
    broken: bool,
}

impl Printer {
    pub(crate) fn new(
        form: Box<dyn Format + Send>,
        messages: Option<u64>,
        reports: mpsc::Sender<Report>,
    ) -> Printer {
        Printer { form, remaining: messages, reports, broken: false }
    }

    fn print(&mut self, line: Line) {
        if self.broken && matches!(line, Line::Stdout(_)) {
            return;
        }
        if let Err(err) = line.write() {
            self.broken = true;
            self.report(Report::StdoutFailed(err));
        }
    }

    fn report(&self, reports: Report) {
        // The channel has room for all reports; it is closed only when the run is over.
        let _ = self.reports.try_send(reports);
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
        if self.remaining == Some(0) {
            return;
        }
        self.print(self.form.message(&message));
        if let Some(remaining) = &mut self.remaining {
            *remaining -= 1;
            if *remaining == 0 {
                self.report(Report::LimitReached);
            }
        }
    }
}

/// Text that was not validated is shown as text if it is UTF-8, otherwise as binary.
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
        self.report(Report::Stopped(Box::new(stopped.outcome)));
    }
}
