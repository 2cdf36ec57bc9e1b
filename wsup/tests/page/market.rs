//! A venue with many topics of different rates, whose sockets all carry the same updates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Value, json};

use crate::sim::{Numbers, Protocol, parse, texts};

/// What all sockets of a venue share.
#[derive(Clone)]
pub(crate) struct Market(Arc<Mutex<State>>);

struct State {
    began: Instant,
    /// The turns that have passed: one each 10 ms.
    turns: u64,
    topics: BTreeMap<String, Ticker>,
    /// The topics whose sockets are to be told that they will end.
    ending: BTreeSet<String>,
    /// The topics that no socket carries from now on, but those that do already.
    muted: BTreeSet<String>,
}

/// A topic: its number among the others, its period, and the number of its last update.
struct Ticker {
    place: u64,
    period: u64,
    number: u64,
}

/// One socket.
pub(crate) struct Socket {
    market: Market,
    /// The topics that it carries, with the number of the last update that was sent.
    sent: BTreeMap<String, u64>,
}

/// The file of a feed of these topics.
pub(crate) fn file(url: &str, topics: &[String]) -> String {
    // The strings of JSON are strings of TOML.
    let topics = json!(topics);
    format!(
        r#"
url = {url:?}
topics = {topics}
subscribe.send = '{{"id":{{id}},"params":{{topics}}}}'
data = {{ topic = "/stream", sequence = {{ kind = "contiguous", first = "/seq", last = "/seq" }}, snapshot = {{ at = "/book", exists = true }} }}
notice = {{ when = {{ at = "/event", is = "serverShutdown" }}, do = "rotate" }}
[ack]
id = "/id"
topics = "/result"
"#
    )
}

/// Each topic is a book; the snapshots of some never come.
pub(crate) const BOOKS: &str = "resync.first_wait = \"200ms\"\n";

/// Returns the name of a topic.
pub(crate) fn topic(number: usize) -> String {
    format!("trade.SYM.{number:04}")
}

/// Mixes the bits of a number.
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    number ^ (number >> 29)
}

/// Every how many turns a topic has an update: 0 for never.
pub(crate) fn period(topic: &str) -> u64 {
    let number: u64 = topic.rsplit('.').next().and_then(|it| it.parse().ok()).unwrap_or_default();
    match mix(number) % 100 {
        0 => 0,
        1..4 => 3,
        4..20 => 40,
        20..60 => 150,
        _ => 400,
    }
}

impl Market {
    pub(crate) fn new() -> Market {
        Market(Arc::new(Mutex::new(State {
            began: Instant::now(),
            turns: 0,
            topics: BTreeMap::new(),
            ending: BTreeSet::new(),
            muted: BTreeSet::new(),
        })))
    }

    pub(crate) fn socket(&self) -> Socket {
        Socket { market: self.clone(), sent: BTreeMap::new() }
    }

    /// Announces the end of the sockets that carry a topic.
    pub(crate) fn announce_end(&self, topic: &str) {
        self.0.lock().unwrap().ending.insert(topic.to_owned());
    }

    /// Sends a topic only on the sockets that carry it.
    pub(crate) fn mute(&self, topic: &str) {
        self.0.lock().unwrap().muted.insert(topic.to_owned());
    }
}

impl State {
    /// Goes on to this moment.
    fn advance(&mut self) {
        let now = self.began.elapsed().as_millis() as u64 / 10;
        for turn in self.turns..now {
            for ticker in self.topics.values_mut() {
                let is_due = ticker.period > 0
                    && mix(turn * 7919 + ticker.place).is_multiple_of(ticker.period);
                ticker.number += u64::from(is_due);
            }
        }
        self.turns = now;
    }

    /// Returns the number of the last update of a topic.
    fn number(&mut self, topic: &str) -> u64 {
        let place = self.topics.len() as u64;
        let new = || Ticker { place, period: period(topic), number: 1 };
        self.topics.entry(topic.to_owned()).or_insert_with(new).number
    }
}

/// Confirms each topic but those whose name ends with `00`.
impl Protocol for Socket {
    fn read(&mut self, text: &str) -> Result<Vec<String>, String> {
        let request = parse(text)?;
        let topics = texts(&request["params"])?;
        let confirmed: Vec<String> = topics.into_iter().filter(|it| !it.ends_with("00")).collect();
        let mut replies = vec![json!({ "id": request["id"], "result": confirmed }).to_string()];
        let mut state = self.market.0.lock().unwrap();
        state.advance();
        for topic in confirmed {
            let number = state.number(&topic);
            if state.muted.contains(&topic) {
                continue;
            }
            if !topic.ends_with("13") {
                let book = json!({ "stream": topic, "seq": number, "book": [104, 105] });
                replies.push(book.to_string());
            }
            self.sent.entry(topic).or_insert(number);
        }
        Ok(replies)
    }

    fn tick(&mut self, _: &Numbers) -> Vec<String> {
        let mut state = self.market.0.lock().unwrap();
        state.advance();
        let mut updates = Vec::new();
        for (topic, sent) in &mut self.sent {
            let number = state.topics[topic].number;
            updates.extend((*sent + 1..=number).map(|number| update(topic, number)));
            *sent = number;
        }
        if !state.ending.is_empty() && self.sent.keys().any(|topic| state.ending.contains(topic)) {
            let sent = &self.sent;
            state.ending.retain(|topic| !sent.contains_key(topic));
            updates.push(json!({ "event": "serverShutdown" }).to_string());
        }
        updates
    }
}

fn update(topic: &str, number: u64) -> String {
    let update: Value = json!({ "stream": topic, "seq": number, "price": "104.25" });
    update.to_string()
}
