//! Order books, rotation and freshness, against a venue whose sockets all carry the same updates.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::files::{Folder, documented, with};
use crate::process::{Wsup, parse};
use crate::sim::{Numbers, Protocol, Sim, parse as request, texts};

/// Nothing here takes as long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Each symbol has a number that rises by one in each 10 ms, on all sockets alike. Its book is the sum of them all, and an
/// update is what is added to it.
pub(crate) struct Books {
    /// When the numbers began.
    clock: Instant,
    /// The last number that this socket was sent of each symbol.
    sent: BTreeMap<String, u64>,
    /// Whether it answers requests for snapshots.
    has_snapshots: bool,
    /// The number of ticks after which the end of the socket is announced, if it is.
    notice_in: Option<u32>,
    /// The snapshots that were asked for, and the ticks since the second one.
    asks: u32,
    ticks: u32,
}

impl Books {
    pub(crate) fn new(clock: Instant) -> Books {
        let sent = BTreeMap::new();
        Books { clock, sent, has_snapshots: true, notice_in: None, asks: 0, ticks: 0 }
    }

    fn number(&self) -> u64 {
        self.clock.elapsed().as_millis() as u64 / 10
    }
}

/// The book after this number.
fn sum(number: u64) -> u64 {
    number * (number + 1) / 2
}

impl Protocol for Books {
    fn read(&mut self, text: &str) -> Result<Vec<String>, String> {
        let request = request(text)?;
        let (id, number) = (&request["id"], self.number());
        let answer = match request["method"].as_str() {
            Some("depth") if !self.has_snapshots => return Ok(Vec::new()),
            Some("depth") => {
                self.asks += 1;
                let symbol = &request["params"]["symbol"];
                json!({ "id": id, "result": { "symbol": symbol, "lastUpdateId": number, "sum": sum(number) } })
            }
            Some("SUBSCRIBE") => {
                let topics = texts(&request["params"])?;
                if topics.iter().any(|topic| topic == "GONE") {
                    let error = json!({ "code": 2, "msg": "unknown symbol" });
                    return Ok(vec![json!({ "id": id, "error": error }).to_string()]);
                }
                self.sent.extend(topics.into_iter().map(|topic| (topic, number)));
                json!({ "id": id, "result": null })
            }
            _ => return Err(format!("no method: {text}")),
        };
        Ok(vec![answer.to_string()])
    }

    fn tick(&mut self, _: &Numbers) -> Vec<String> {
        self.ticks += u32::from(self.asks >= 2);
        let (now, mut updates) = (self.number(), Vec::new());
        for (symbol, sent) in &mut self.sent {
            for number in *sent + 1..=now {
                updates.push(json!({ "s": symbol, "U": number, "u": number }).to_string());
            }
            *sent = now;
        }
        if let Some(left) = &mut self.notice_in {
            *left -= 1;
            if *left == 0 {
                self.notice_in = None;
                updates.push(json!({ "event": "serverShutdown" }).to_string());
            }
        }
        updates
    }

    fn may_end(&self) -> bool {
        self.ticks > 5
    }
}

/// A file of a venue with these books, without resync.
fn file(sim: &Sim, more: &str) -> String {
    format!(
        r#"url = {:?}
topics = ["BTCUSDT", "ETHUSDT"]
{more}
subscribe.send = '{{"id":{{id}},"method":"SUBSCRIBE","params":{{topics}}}}'
ack.id = "/id"
data = {{ topic = "/s", sequence = {{ kind = "contiguous", first = "/U", last = "/u" }} }}
"#,
        sim.url()
    )
}

/// A book that is built from what is printed.
#[derive(Debug, Default)]
struct Book {
    /// The sum, after a snapshot without a gap behind it.
    sum: Option<u64>,
    last: u64,
    /// The sockets that brought snapshots.
    epochs: BTreeSet<u64>,
    /// The updates since the last snapshot.
    updates: u32,
    gaps: u32,
}

impl Book {
    fn data(&mut self, event: &Value) {
        let data: Value = serde_json::from_str(event["data"].as_str().unwrap()).unwrap();
        let number = event["sequence"].as_u64().unwrap();
        if event["snapshot"] == true {
            self.sum = data["result"]["sum"].as_u64();
            self.epochs.insert(event["epoch"].as_u64().unwrap());
            self.updates = 0;
        } else if let Some(sum) = &mut self.sum {
            assert_eq!(number, self.last + 1, "{event}");
            *sum += number;
            self.updates += 1;
        }
        self.last = number;
        assert!(self.sum.is_none_or(|sum| sum == self::sum(number)), "{event}: {self:?}");
    }
}

#[test]
fn a_book_is_built_from_snapshots_that_are_asked_for_on_the_socket() {
    let clock = Instant::now();
    let sim = Sim::run(move || Books::new(clock));
    let folder = Folder::new();
    let head = "Order books with a snapshot by request";
    let file = with(&documented(head), "url", &format!("{:?}", sim.url()));
    let file = with(&file, "topics", r#"["BTCUSDT", "ETHUSDT", "GONE"]"#);
    let path = folder.write("venue.toml", &file);
    let args = ["feed", &path, "--json", "--reconnect", "100ms"];
    let mut wsup = Wsup::spawn(&args, Stdio::null(), &[]);
    let mut books: BTreeMap<String, Book> = BTreeMap::new();
    let (mut refused, deadline) = (false, Instant::now() + PATIENCE);
    let is_built = |book: &Book| book.epochs.contains(&2) && book.updates >= 50 && book.gaps > 0;
    while !refused || books.len() < 2 || !books.values().all(is_built) {
        assert!(Instant::now() < deadline, "{books:#?}");
        let event = parse(&wsup.line());
        let topic = event["topic"].as_str().unwrap_or_default().to_owned();
        match event["event"].as_str().unwrap() {
            "data" => books.entry(topic).or_default().data(&event),
            "gap" => {
                assert_eq!(event["cause"], "outage", "{event}");
                let book = books.entry(topic).or_default();
                (book.sum, book.gaps) = (None, book.gaps + 1);
            }
            "topic" => refused |= event["state"] == "refused" && topic == "GONE",
            _ => {}
        }
    }
    wsup.signal("INT");
    let ended = wsup.end();
    ended.is(0, "closed");
    let stopped = parse(ended.rest.last().unwrap());
    assert!(stopped["resyncs"].as_u64() >= Some(4), "{stopped}");
    sim.is_content();
}

/// A venue that never sends the snapshot: the updates come all the same, behind a gap, and no state is made up.
#[test]
fn a_topic_without_a_snapshot_is_unsynced_after_five_asks() {
    let clock = Instant::now();
    let sim = Sim::steady(move || Books { has_snapshots: false, ..Books::new(clock) });
    let folder = Folder::new();
    let file = documented("Order books with a snapshot by request");
    let file = with(&file, "url", &format!("{:?}", sim.url()));
    let file = with(&file, "topics", r#"["BTCUSDT"]"#);
    let file = with(&file, "asks", "'10/1s'\nfirst_wait = '50ms'");
    let path = folder.write("venue.toml", &file);
    let mut wsup = Wsup::spawn(&["feed", &path, "--json"], Stdio::null(), &[]);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    while after.len() < 102 {
        let event = parse(&wsup.line());
        let is_unsynced = event["state"] == "unsynced";
        match event["event"].as_str().unwrap() {
            "topic" | "gap" | "data" if is_unsynced || !after.is_empty() => after.push(event),
            kind => before.push((kind.to_owned(), event)),
        }
    }
    let asked = |request: &&String| request.contains("depth");
    assert_eq!(sim.requests.lock().unwrap().iter().filter(asked).count(), 5);
    let early = before.iter().find(|(kind, _)| kind == "data" || kind == "gap");
    assert_eq!(early, None, "its updates are held");
    assert_eq!(after[0]["topic"], "BTCUSDT");
    assert_eq!((&after[1]["event"], &after[1]["topic"]), (&"gap".into(), &"BTCUSDT".into()));
    let numbers = after[2..].iter().map(|data| {
        assert_eq!((&data["event"], &data["snapshot"]), (&"data".into(), &false.into()), "{data}");
        data["sequence"].as_u64().unwrap()
    });
    let numbers: Vec<u64> = numbers.collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    wsup.signal("INT");
    let ended = wsup.end();
    ended.is(0, "closed");
    let stopped = parse(ended.rest.last().unwrap());
    assert_eq!((&stopped["resyncs"], &stopped["gaps"]), (&0.into(), &1.into()), "{stopped}");
    sim.is_content();
}

/// Runs until this number of rotations has ended and 50 more updates have come, none of them missing. Returns the events
/// of the rotations.
fn rotated(sim: &Sim, more: &str, count: usize) -> Vec<Value> {
    let folder = Folder::new();
    let path = folder.write("venue.toml", &file(sim, more));
    let mut wsup = Wsup::spawn(&["feed", &path, "--json"], Stdio::null(), &[]);
    let (mut rotated, mut last) = (Vec::new(), BTreeMap::new());
    let (mut after, deadline) = (0, Instant::now() + PATIENCE);
    while after < 50 {
        assert!(Instant::now() < deadline, "{rotated:?}");
        let event = parse(&wsup.line());
        match event["event"].as_str().unwrap() {
            "rotated" => rotated.push(event),
            "gap" => panic!("{event}"),
            "data" => {
                let number = event["sequence"].as_u64().unwrap();
                let before = last.insert(event["topic"].to_string(), number);
                assert!(before.is_none_or(|before| before + 1 == number), "{event}");
                after += u32::from(rotated.len() >= count);
            }
            _ => {}
        }
    }
    wsup.signal("INT");
    let ended = wsup.end();
    ended.is(0, "closed");
    let stopped = parse(ended.rest.last().unwrap());
    assert_eq!(stopped["rotations"], rotated.len(), "{stopped}");
    sim.is_content();
    rotated
}

#[test]
fn a_line_of_a_second_is_replaced_without_a_gap_and_the_next_one_too() {
    let clock = Instant::now();
    let sim = Sim::steady(move || Books::new(clock));
    let rotated = rotated(&sim, "rotate.age = '1s'", 2);
    crate::process::assert_like(
        &rotated[0].to_string(),
        r##"{"cause":null,"duplicates":#,"event":"rotated","from":"1a","outcome":"done","overlap_ms":#,"shard":1,"to":"1b"}"##,
    );
    assert_eq!((&rotated[1]["from"], &rotated[1]["to"]), (&"1b".into(), &"1a".into()));
}

#[test]
fn a_line_whose_end_is_announced_is_replaced() {
    let clock = Instant::now();
    let sockets = AtomicUsize::new(0);
    let sim = Sim::steady(move || {
        let is_first = sockets.fetch_add(1, Ordering::SeqCst) == 0;
        Books { notice_in: is_first.then_some(20), ..Books::new(clock) }
    });
    let notice = "notice = { when = { at = '/event', is = 'serverShutdown' }, do = 'rotate' }";
    let rotated = rotated(&sim, notice, 1);
    assert_eq!((rotated.len(), &rotated[0]["outcome"]), (1, &"done".into()));
}

#[test]
fn a_line_that_is_closed_first_leaves_a_gap_by_rotation() {
    let clock = Instant::now();
    let sim = Sim::steady(move || Books::new(clock));
    let folder = Folder::new();
    let path =
        folder.write("venue.toml", &file(&sim, "rotate = { age = '1s', break_first = true }"));
    let mut wsup = Wsup::spawn(&["feed", &path, "--json"], Stdio::null(), &[]);
    let (mut causes, deadline) = (BTreeSet::new(), Instant::now() + PATIENCE);
    let rotated = loop {
        assert!(Instant::now() < deadline, "{causes:?}");
        let event = parse(&wsup.line());
        match event["event"].as_str() {
            Some("rotated") if !causes.is_empty() => break event,
            Some("gap") => drop(causes.insert(event["cause"].to_string())),
            _ => {}
        }
    };
    assert_eq!(causes.into_iter().collect::<Vec<_>>(), [r#""rotation""#]);
    assert_eq!((&rotated["from"], &rotated["to"]), (&"1a".into(), &"1a".into()));
    wsup.signal("INT");
    let ended = wsup.end();
    ended.is(0, "closed");
    sim.is_content();
}

/// Sends 500 updates of a kilobyte in each tick.
#[derive(Default)]
struct Flood(BTreeSet<String>);

impl Protocol for Flood {
    fn read(&mut self, text: &str) -> Result<Vec<String>, String> {
        let request = request(text)?;
        self.0.extend(texts(&request["params"])?);
        Ok(vec![json!({ "id": request["id"], "result": null }).to_string()])
    }

    fn tick(&mut self, numbers: &Numbers) -> Vec<String> {
        let pad = "x".repeat(1000);
        let topics = self.0.iter().flat_map(|topic| std::iter::repeat_n(topic, 500));
        let update = |topic: &String| {
            let number = numbers.next(topic);
            json!({ "s": topic, "U": number, "u": number, "pad": pad }).to_string()
        };
        topics.map(update).collect()
    }
}

#[test]
fn a_stdout_that_is_not_read_gets_the_newest_later_and_the_venue_goes_on() {
    let numbers = Numbers::default();
    let sim = Sim::with_numbers(Flood::default, numbers.clone());
    let folder = Folder::new();
    let file = file(&sim, "overflow = 'latest'").replace(", \"ETHUSDT\"", "");
    let path = folder.write("venue.toml", &file);
    let mut wsup = Wsup::spawn(&["feed", &path, "--json"], Stdio::null(), &[]);
    // More than all buffers on the way have room for.
    let deadline = Instant::now() + Duration::from_secs(60);
    while numbers.last("BTCUSDT") < MANY {
        assert!(Instant::now() < deadline, "{} were read", numbers.last("BTCUSDT"));
        std::thread::sleep(Duration::from_millis(5));
    }
    let (mut before, mut skipped): (Option<u64>, u64) = (None, 0);
    while before.is_none_or(|before| before < MANY) {
        let data = wsup.until("data");
        let (number, left_out) =
            (data["sequence"].as_u64().unwrap(), data["skipped"].as_u64().unwrap());
        assert!(before.is_none_or(|before| before + left_out + 1 == number), "{data}");
        (before, skipped) = (Some(number), skipped + left_out);
    }
    assert!(skipped > MANY / 2, "{skipped}");
    wsup.signal("INT");
    let ended = wsup.end();
    ended.is(0, "closed");
    let stopped = parse(ended.rest.last().unwrap());
    assert!(stopped["skipped"].as_u64() >= Some(skipped) && stopped["gaps"] == 0, "{stopped}");
}

/// The updates of a kilobyte that a venue has sent when its client is surely not reading any more.
const MANY: u64 = 60_000;
