//! A venue with many topics of different rates.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::sim::{Numbers, Protocol, parse, texts};

/// Confirms each topic but those whose name ends with `7777` or `00`.
#[derive(Default)]
pub(crate) struct Market {
    topics: Vec<(String, u64)>,
    known: BTreeSet<String>,
    turn: u64,
}

/// The file of a feed of this many topics.
pub(crate) fn file(url: &str, topics: usize) -> String {
    let topics: Vec<String> = (0..topics).map(|number| format!("trade.SYM.{number:04}")).collect();
    format!(
        r#"
url = {url:?}
topics = {topics:?}
subscribe.send = '{{"id":{{id}},"params":{{topics}}}}'
data = {{ topic = "/stream", sequence = {{ kind = "contiguous", first = "/seq", last = "/seq" }} }}
[ack]
id = "/id"
topics = "/result"
"#
    )
}

/// Mixes the bits of a number.
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    number ^ (number >> 29)
}

impl Market {
    /// Every how many turns a topic has an update: 0 for never.
    fn period(topic: &str) -> u64 {
        let number: u64 =
            topic.rsplit('.').next().and_then(|it| it.parse().ok()).unwrap_or_default();
        match mix(number) % 100 {
            0 => 0,
            1..4 => 3,
            4..20 => 40,
            20..60 => 150,
            _ => 400,
        }
    }
}

impl Protocol for Market {
    fn read(&mut self, text: &str) -> Result<Vec<String>, String> {
        let request = parse(text)?;
        let topics = texts(&request["params"])?;
        let confirmed: Vec<String> = topics.into_iter().filter(|it| !it.ends_with("00")).collect();
        for topic in &confirmed {
            if self.known.insert(topic.clone()) {
                self.topics.push((topic.clone(), Market::period(topic)));
            }
        }
        Ok(vec![json!({ "id": request["id"], "result": confirmed }).to_string()])
    }

    fn tick(&mut self, numbers: &Numbers) -> Vec<String> {
        self.turn += 1;
        let turn = self.turn;
        let due = |(at, (_, period)): &(usize, &(String, u64))| {
            *period > 0 && mix(turn * 7919 + *at as u64).is_multiple_of(*period)
        };
        let due = self.topics.iter().enumerate().filter(due);
        due.map(|(_, (topic, _))| update(topic, numbers)).collect()
    }
}

fn update(topic: &str, numbers: &Numbers) -> String {
    let update: Value = json!({ "stream": topic, "seq": numbers.next(topic), "price": "104.25" });
    update.to_string()
}
