//! The figures of one symbol, as plain values: the time is an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::line::{Is, Line};

/// The fields of a message of any server that are used here. Borrows from the message.
#[derive(Default, Deserialize)]
pub(crate) struct Tick<'a> {
    #[serde(default)]
    pub(crate) seq: Option<u64>,
    /// A number or a string, depending on the server.
    #[serde(default, borrow, alias = "p")]
    price: Option<Price<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Price<'a> {
    Number(f64),
    Text(&'a str),
}

impl Tick<'_> {
    pub(crate) fn price(&self) -> Option<f64> {
        match self.price.as_ref()? {
            Price::Number(price) => Some(*price),
            Price::Text(text) => text.parse().ok(),
        }
    }
}

/// One symbol.
#[derive(Clone, Default)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// The line that carries it, as an index; `None` before the first confirmation.
    pub(crate) line: Option<usize>,
    /// Whether the subscription is confirmed on the open socket.
    pub(crate) is_live: bool,
    /// Whether no message has come for longer than the feed allows.
    pub(crate) is_silent: bool,
    pub(crate) is_refused: bool,
    pub(crate) messages: u64,
    /// The messages whose numbers were checked.
    pub(crate) checked: u64,
    /// Messages in the last beat and in the current one.
    beats: [u64; 2],
    pub(crate) price: Option<f64>,
    /// Whether the last change of the price was a rise.
    pub(crate) is_up: bool,
    pub(crate) outages: u64,
    /// Messages between the last of one socket and the first of the next.
    pub(crate) missed: u64,
    /// Messages that were missing while connected.
    pub(crate) gaps: u64,
    /// The first of those, at most [`FAULTS`].
    pub(crate) faults: Vec<String>,
    /// The longest outage that is over.
    pub(crate) longest: Duration,
    /// The time when the last socket was lost; `None` while the symbol is live.
    down: Option<Instant>,
    /// The latest beats, at most [`BEATS`], the newest last.
    pub(crate) strip: VecDeque<Beat>,
}

/// What happened to a symbol in half a second.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Messages were received.
    Flow,
    /// It was subscribed, and no message was received.
    Quiet,
    /// It was not subscribed.
    Down,
}

/// The number of faults of one symbol to keep, and of beats.
const FAULTS: usize = 20;
pub(crate) const BEATS: usize = 24;

/// The length of a beat.
pub(crate) const BEAT: Duration = Duration::from_millis(500);

impl Row {
    pub(crate) fn new(name: String) -> Row {
        Row { name, is_up: true, ..Row::default() }
    }

    /// Returns the number of messages in the last second.
    pub(crate) fn rate(&self) -> u64 {
        self.beats.iter().sum()
    }

    /// Returns the length of the longest outage, the current one included.
    pub(crate) fn longest(&self, now: Instant) -> Duration {
        let present = self.down.map_or(Duration::ZERO, |since| now.duration_since(since));
        self.longest.max(present)
    }

    /// Notes that the subscription is confirmed.
    pub(crate) fn live(&mut self, line: usize, now: Instant) {
        self.longest = self.longest(now);
        (self.line, self.is_live, self.is_silent, self.down) = (Some(line), true, false, None);
    }

    /// Notes that its line has lost the socket.
    pub(crate) fn down(&mut self, is_outage: bool, now: Instant) {
        (self.is_live, self.is_silent) = (false, false);
        if is_outage {
            self.outages += 1;
            self.down.get_or_insert(now);
        }
    }

    pub(crate) fn message(&mut self, price: Option<f64>) {
        self.messages += 1;
        self.beats[1] += 1;
        if let Some(price) = price.filter(|price| price.is_finite()) {
            if let Some(last) = self.price.filter(|last| *last != price) {
                self.is_up = price > last;
            }
            self.price = Some(price);
        }
    }

    /// Notes messages that were missing while connected.
    pub(crate) fn gap(&mut self, count: u64, fault: &str) {
        self.gaps += count;
        if self.faults.len() < FAULTS {
            self.faults.push(fault.to_owned());
        }
    }

    /// Returns what the symbol is doing, and the beat of that.
    pub(crate) fn state(&self, lines: &[Line], now: Instant) -> (Beat, String) {
        let line = self.line.and_then(|line| lines.get(line));
        match line.map(|line| &line.is) {
            _ if self.is_refused => (Beat::Down, "· refused".into()),
            _ if self.is_live && self.is_silent => (Beat::Quiet, "◐ silent".into()),
            _ if self.is_live && self.strip.back() == Some(&Beat::Quiet) => {
                (Beat::Quiet, "◐ live, quiet".into())
            }
            _ if self.is_live => (Beat::Flow, "● live".into()),
            Some(is @ (Is::Down(_) | Is::Limited)) => (Beat::Down, is.words(now)),
            Some(is) => (Beat::Quiet, is.words(now)),
            None => (Beat::Quiet, "◌ not subscribed".into()),
        }
    }

    /// Ends a beat.
    pub(crate) fn beat(&mut self) {
        let beat = match (self.is_live, self.beats[1]) {
            (_, 1..) => Beat::Flow,
            (true, 0) => Beat::Quiet,
            (false, 0) => Beat::Down,
        };
        self.beats = [self.beats[1], 0];
        if self.strip.len() == BEATS {
            self.strip.pop_front();
        }
        self.strip.push_back(beat);
    }
}
