//! `wsup feed --serve`: a feed that shows itself over HTTP, to probes, to scrapers, and to people on a page.
//!
//! ```text
//! topics, lines, journal, totals -> board      what is known: values, time as an argument
//! health, status, frame                        the board as a verdict, as JSON, and as frames for pages
//! metrics                                      the library's metrics as text
//! hub                                          the board and the open pages, which the threads share
//! guard (token), http, events                  the server
//! ```

mod board;
mod events;
mod flags;
mod frame;
mod guard;
mod health;
mod http;
mod hub;
mod journal;
mod lines;
mod metrics;
mod samples;
mod status;
mod token;
mod topics;

pub(crate) use flags::{Prepared, ServeFlags};
pub(crate) use http::{Server, Serving};

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use crate::feed::serve::board::{Answer, Board};
    use crate::feed::serve::lines::{Key, Report, Stage};
    use crate::secrets::Secrets;

    /// A board of two topics, `a` and `b"`, with these lines.
    pub(crate) fn board(lines: Vec<Report>, now: Instant) -> Board {
        let mut board = Board::new("venue".to_owned(), Secrets::default(), now);
        board.add(&["a".into(), "b\"".into()]);
        board.handle_answer(Answer { lines, ..Answer::default() }, now);
        board
    }

    /// The report of a line.
    pub(crate) fn report(shard: u32, line: u8, stage: Stage) -> Report {
        Report::new(Key { shard, line }, stage)
    }
}
