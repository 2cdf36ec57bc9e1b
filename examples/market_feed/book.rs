//! The handler: one actor that receives all events of the feed.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use actix::{Actor, Context, Handler, Message, MessageResult};
use actix_ws_client::feed::LineId;
use actix_ws_client::feed::command::FeedStatus;
use actix_ws_client::feed::event::{
    Gap, GapCause, LineState, Missing, Rotated, Rotation, Stopped, TopicIs, TopicState, Update,
};
use tokio::sync::oneshot;

use crate::line::{Change, Is, Line};
use crate::row::{BEAT, Row};
use crate::server::Plain;

/// Keeps the figures of every symbol.
pub(crate) struct Book {
    began: Instant,
    /// The end of the current beat of the rows, counted from `began`.
    beat: Duration,
    pub(crate) rows: Vec<Row>,
    /// The row of each symbol.
    index: HashMap<String, usize>,
    pub(crate) lines: Vec<Line>,
    log: VecDeque<Entry>,
    /// The number of entries ever logged.
    logged: u64,
    /// Notified when the feed has stopped.
    pub(crate) stopped: Option<oneshot::Sender<()>>,
    /// What only a plain server needs.
    pub(crate) plain: Plain,
}

/// Requests a snapshot. It is also the book's clock: without a timer of its own the actor ends with
/// its last address.
#[derive(Message)]
#[rtype(result = "Picture")]
pub(crate) struct Look(pub(crate) Option<FeedStatus>);

/// A snapshot of the figures.
pub(crate) struct Picture {
    pub(crate) elapsed: Duration,
    pub(crate) now: Instant,
    pub(crate) rows: Vec<Row>,
    pub(crate) lines: Vec<Line>,
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
    /// Creates a book with a row for each name, and a receiver for the end of the feed.
    pub(crate) fn new(names: Vec<String>, greetings: Vec<String>) -> (Book, oneshot::Receiver<()>) {
        let (stopped, over) = oneshot::channel();
        let index = names.iter().cloned().enumerate().map(|(row, name)| (name, row)).collect();
        let book = Book {
            began: Instant::now(),
            beat: BEAT,
            rows: names.into_iter().map(Row::new).collect(),
            index,
            lines: Vec::new(),
            log: VecDeque::with_capacity(LOG),
            logged: 0,
            stopped: Some(stopped),
            plain: Plain::new(greetings),
        };
        (book, over)
    }

    fn row(&mut self, name: &str) -> Option<&mut Row> {
        self.rows.get_mut(*self.index.get(name)?)
    }

    /// Returns the index of a line, which is added if it is new. That of a plain server has no id.
    pub(crate) fn line(&mut self, id: Option<LineId>) -> usize {
        self.lines.iter().position(|line| line.id == id).unwrap_or_else(|| {
            self.lines.push(Line::new(id));
            self.lines.len() - 1
        })
    }

    fn note(&mut self, name: &str, tone: Tone, words: String) {
        if self.log.len() == LOG {
            self.log.pop_front();
        }
        self.log.push_back(Entry { at: self.began.elapsed(), name: name.into(), tone, words });
        self.logged += 1;
    }

    /// Notes what a change of a line means.
    pub(crate) fn changed(&mut self, line: usize, change: Change) {
        let (now, name) = (Instant::now(), self.lines[line].name.clone());
        let is_outage = matches!(change, Change::Outage(_));
        if is_outage || matches!(change, Change::Closed) {
            let lines = &self.lines;
            let is_other =
                |other: &Line| matches!(other.is, Is::Live) && other.is_twin(&lines[line]);
            let other = lines.iter().position(is_other);
            for row in self.rows.iter_mut().filter(|row| row.line == Some(line)) {
                match other {
                    Some(other) => row.line = Some(other),
                    None => row.down(is_outage, now),
                }
            }
        }
        match change {
            Change::DialFailed(why) => {
                self.note(&name, Tone::Poor, format!("dial failed: {why}"));
            }
            Change::Outage(why) => self.note(&name, Tone::Bad, format!("outage: {why}")),
            Change::Closed => self.note(&name, Tone::Good, "closed".into()),
            Change::Other => {}
        }
    }

    pub(crate) fn opened(&mut self, line: usize) {
        let (line, symbols) = (&self.lines[line], self.rows.iter());
        let count = symbols.filter(|row| row.is_live).count();
        let words = match line.sockets {
            1 => "live".to_owned(),
            sockets => format!("live again, on socket {sockets}"),
        };
        let (name, words) =
            (line.name.clone(), format!("{words}; {count} of {} symbols live", self.rows.len()));
        self.note(&name, Tone::Good, words);
    }

    /// Notes messages that were missing while connected.
    pub(crate) fn gap(&mut self, name: &str, count: u64, words: String) {
        self.row(name).into_iter().for_each(|row| row.gap(count, &words));
        self.note(name, Tone::Bad, format!("GAP while connected: {words}"));
    }
}

impl Actor for Book {
    type Context = Context<Book>;
}

impl Handler<Update<f64>> for Book {
    type Result = ();

    fn handle(&mut self, update: Update<f64>, _: &mut Context<Book>) {
        let line = self.lines.iter().position(|line| line.id == Some(update.line));
        if let Some(row) = self.row(&update.topic) {
            row.line = line.or(row.line);
            row.checked += 1;
            row.message(Some(update.item));
        }
    }
}

impl Handler<Gap> for Book {
    type Result = ();

    fn handle(&mut self, gap: Gap, _: &mut Context<Book>) {
        let (Some(topic), Missing::Range { from, to }) = (gap.topic, gap.missing) else { return };
        let count = to - from + 1;
        match gap.cause {
            GapCause::Outage => self.row(&topic).into_iter().for_each(|row| row.missed += count),
            _ if from == to => self.gap(&topic, count, format!("number {from} is missing")),
            _ => self.gap(&topic, count, format!("numbers {from} to {to} are missing")),
        }
    }
}

impl Handler<TopicState> for Book {
    type Result = ();

    fn handle(&mut self, topic: TopicState, _: &mut Context<Book>) {
        let (now, line) = (Instant::now(), self.line(Some(topic.line)));
        let Some(row) = self.row(&topic.topic) else { return };
        let silent = match topic.state {
            TopicIs::Confirmed => return row.live(line, now),
            TopicIs::Refused(refusal) => {
                row.is_refused = true;
                let words = format!("subscription refused: {refusal}");
                return self.note(&topic.topic, Tone::Bad, words);
            }
            TopicIs::Silent { since } => Some(now.duration_since(since).as_secs_f64()),
            TopicIs::Fresh => None,
            _ => return,
        };
        row.is_silent = silent.is_some();
        match silent {
            Some(seconds) => {
                let words = format!("silent for {seconds:.1} s; subscribed again");
                self.note(&topic.topic, Tone::Poor, words);
            }
            None => self.note(&topic.topic, Tone::Good, "messages again".into()),
        }
    }
}

impl Handler<LineState> for Book {
    type Result = ();

    fn handle(&mut self, line: LineState, _: &mut Context<Book>) {
        let index = self.line(Some(line.line));
        let was_subscribing = matches!(self.lines[index].is, Is::Subscribing);
        let change = self.lines[index].set(line.state, line.epoch, Instant::now());
        if was_subscribing && matches!(self.lines[index].is, Is::Live) {
            self.opened(index);
        }
        self.changed(index, change);
    }
}

impl Handler<Rotated> for Book {
    type Result = ();

    fn handle(&mut self, rotated: Rotated, _: &mut Context<Book>) {
        let Rotated { from, to, outcome, overlap, duplicates, .. } = rotated;
        let name = format!("{from} → {to}");
        match outcome {
            Rotation::Done => {
                let millis = overlap.as_millis();
                let words =
                    format!("handed over: {millis} ms on both, {duplicates} messages twice");
                self.note(&name, Tone::Good, words);
            }
            Rotation::Failed { cause, .. } => {
                self.note(&name, Tone::Poor, format!("not handed over: {cause}"));
            }
            _ => {}
        }
    }
}

impl Handler<Stopped> for Book {
    type Result = ();

    fn handle(&mut self, stopped: Stopped, _: &mut Context<Book>) {
        if let Some(refusal) = stopped.refusal {
            self.note("feed", Tone::Bad, format!("stopped: {refusal}"));
        }
        // An error means that the program is already exiting.
        self.stopped.take().map(|stopped| stopped.send(()));
    }
}

impl Handler<Look> for Book {
    type Result = MessageResult<Look>;

    fn handle(&mut self, look: Look, _: &mut Context<Book>) -> MessageResult<Look> {
        for line in look.0.into_iter().flat_map(|status| status.lines) {
            let index = self.line(Some(line.line));
            self.lines[index].round_trip = line.round_trip;
        }
        let elapsed = self.began.elapsed();
        while self.beat <= elapsed {
            self.beat += BEAT;
            self.rows.iter_mut().for_each(Row::beat);
        }
        MessageResult(Picture {
            elapsed,
            now: Instant::now(),
            rows: self.rows.clone(),
            lines: self.lines.clone(),
            log: self.log.clone(),
            logged: self.logged,
        })
    }
}
