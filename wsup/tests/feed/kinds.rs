//! The six files of the documents, each against its kind of venue: two topics, one that the venue does not have, and
//! one lost socket.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::files::{Folder, documented, with};
use crate::process::{Wsup, parse};
use crate::sim::{Protocol, Sim};
use crate::venues::{Challenges, ChannelIds, ManyAnswers, ObjectTopics, RequestIds, WholeSet};

/// Nothing here takes as long.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is seen of a topic.
#[derive(Debug, Default)]
struct Seen {
    confirmed: u32,
    refused: Option<Value>,
    /// The epochs that brought data.
    epochs: Vec<u64>,
    last: u64,
    /// The numbers that were delivered or reported as missing.
    covered: u64,
    first: u64,
    missing: u64,
}

/// Runs a file until both topics have data of two sockets, and the third is refused.
fn run(mut wsup: Wsup, topics: [&str; 3]) -> BTreeMap<String, Seen> {
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    let done = |seen: &BTreeMap<String, Seen>| {
        let good = topics[..2].iter().all(|topic| {
            seen.get(*topic).is_some_and(|seen| seen.confirmed >= 2 && seen.epochs == [1, 2])
        });
        good && seen.get(topics[2]).is_some_and(|seen| seen.refused.is_some())
    };
    let deadline = Instant::now() + PATIENCE;
    while !done(&seen) {
        assert!(Instant::now() < deadline, "{seen:#?}");
        let event = parse(&wsup.line());
        let Some(topic) = event["topic"].as_str() else { continue };
        let seen = seen.entry(topic.to_owned()).or_default();
        match (event["event"].as_str().unwrap(), event["state"].as_str()) {
            ("topic", Some("confirmed")) => seen.confirmed += 1,
            ("topic", Some("refused")) => seen.refused = Some(event.clone()),
            ("data", _) => seen.data(&event),
            ("gap", _) => seen.gap(&event),
            _ => {}
        }
    }
    wsup.signal("INT");
    let ended = wsup.end();
    ended.is(0, "closed");
    let stopped = parse(ended.rest.last().unwrap());
    assert_eq!(stopped["topics"].to_string(), r#"{"confirmed":2,"refused":1}"#, "{stopped}");
    seen
}

impl Seen {
    fn data(&mut self, event: &Value) {
        let epoch = event["epoch"].as_u64().unwrap();
        if !self.epochs.contains(&epoch) {
            self.epochs.push(epoch);
        }
        let Some(number) = event["sequence"].as_u64() else { return };
        assert!(number > self.last, "{event} after {}", self.last);
        if self.first == 0 {
            self.first = number;
        } else {
            self.covered += 1;
        }
        self.last = number;
    }

    fn gap(&mut self, event: &Value) {
        if let (Some(from), Some(to)) = (event["from"].as_u64(), event["to"].as_u64()) {
            assert_eq!(from, self.last + 1, "{event}");
            self.missing += to - from + 1;
            self.covered += to - from + 1;
            self.last = to;
        }
    }

    /// Checks that each number was delivered or reported as missing, and that some were missing.
    fn is_whole(&self) {
        assert_eq!(self.first + self.covered, self.last);
        assert!(self.missing >= 3);
    }
}

/// Runs a file of the documents.
fn documents(
    head: &str,
    sim: &Sim,
    topics: [&str; 3],
    change: impl Fn(String, &Folder) -> String,
) -> BTreeMap<String, Seen> {
    let folder = Folder::new();
    let url = match documented(head).contains("token=") {
        true => format!("{:?}", sim.url() + "?token=${env:FEED_TOKEN}"),
        false => format!("{:?}", sim.url()),
    };
    let file = with(&documented(head), "url", &url);
    let file = change(with(&file, "topics", &format!("{topics:?}")), &folder);
    let path = folder.write("venue.toml", &file);
    let env = [("FEED_TOKEN", "t0ken-of-env"), ("CLIENT_ID", "desk")];
    let args = ["feed", &path, "--json", "--reconnect", "10ms"];
    let seen = run(Wsup::spawn(&args, Stdio::null(), &env), topics);
    sim.is_content();
    seen
}

fn unchanged(file: String, _: &Folder) -> String {
    file
}

/// A protocol of a type that has nothing to set.
fn sim<P: Protocol + Default>() -> Sim {
    Sim::run(P::default)
}

#[test]
fn request_ids() {
    let sim = Sim::run(|| RequestIds::with_token("t0ken-of-env"));
    let topics = ["trade.BTC-USD", "trade.ETH-USD", "trade.GONE"];
    let seen = documents("Request ids", &sim, topics, unchanged);
    topics[..2].iter().for_each(|topic| seen[*topic].is_whole());
    let refused = seen["trade.GONE"].refused.as_ref().unwrap();
    assert_eq!(refused["reason"], "unknown symbol (code 2)");
    assert_eq!(refused["final"], true);
}

#[test]
fn one_answer_for_each_topic() {
    let sim = sim::<ObjectTopics>();
    let topics = ["trades:BTC-USDT", "trades:ETH-USDT", "trades:GONE-USDT"];
    let command = r#"printf '{"op":"login","args":[{"sign":"%s-signature"}]}\n' s3cret"#;
    let seen = documents("One answer for each topic", &sim, topics, |file, folder| {
        let script = folder.write("sign.sh", command);
        with(&file, "command", &format!("'sh {script}'"))
    });
    assert_eq!(seen["trades:GONE-USDT"].refused.as_ref().unwrap()["final"], true);
}

#[test]
fn several_answers_for_one_request() {
    let topics = ["BTC/USD", "ETH/USD", "GONE/USD"];
    let sim = sim::<ManyAnswers>();
    let seen = documents("Several answers for one request", &sim, topics, unchanged);
    let refused = seen["GONE/USD"].refused.as_ref().unwrap();
    assert_eq!(refused["reason"], "Currency pair not supported GONE/USD");
    assert_eq!(refused["final"], false);
    // The refusal names its topic: the others of the request are not asked for again on the same socket.
    let requests = sim.requests.lock().unwrap();
    let about = |topic: &str| requests.iter().filter(|request| request.contains(topic)).count();
    assert_eq!((about("BTC/USD"), about("ETH/USD")), (2, 2), "{requests:?}");
}

#[test]
fn the_whole_set() {
    let topics = ["ticker:BTC-USD", "ticker:ETH-USD", "ticker:GONE-USD"];
    let seen = documents("The whole set", &sim::<WholeSet>(), topics, unchanged);
    assert_eq!(seen["ticker:GONE-USD"].refused.as_ref().unwrap()["final"], false);
}

#[test]
fn a_login_of_two_steps_and_a_challenge() {
    let sim = sim::<Challenges>();
    let topics = ["trades.BTC-PERPETUAL", "trades.ETH-PERPETUAL", "trades.GONE"];
    let head = "A login of two steps, and a challenge";
    let seen = documents(head, &sim, topics, |file, folder| {
        let secret = folder.write("client.secret", "from-a-file\n");
        file.replace("client.secret", &secret)
    });
    topics[..2].iter().for_each(|topic| seen[*topic].is_whole());
}

#[test]
fn channel_numbers() {
    let topics = ["trades:tBTCUSD", "trades:tETHUSD", "trades:tGONE"];
    let seen = documents("Channel numbers", &sim::<ChannelIds>(), topics, unchanged);
    let refused = seen["trades:tGONE"].refused.as_ref().unwrap();
    assert_eq!(refused["reason"], "symbol: invalid (code 10300)");
    assert_eq!(refused["final"], true);
}
