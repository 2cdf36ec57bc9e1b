//! The dialects of `examples/venues/`, each against a venue of its kind.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_ws_client::event::call;
use actix_ws_client::feed::event::{Gap, LineState, Stopped, TopicState, Update};
use actix_ws_client::feed::{
    Builder, Dialect, Feed, HOUR, MINUTE, Rules, SECOND, Silence, Threads, command,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::lot::{Kind, Lot};
use crate::{Log, Seen, confirmed, missing, simulated, state_of, topic_state};

#[path = "../../examples/venues/line_number.rs"]
mod line_number;
#[path = "../../examples/venues/request_ids.rs"]
mod request_ids;
#[path = "../../examples/venues/signed_login.rs"]
mod signed_login;

/// Records what a feed delivers, with the price for an item.
fn recorded<D: Dialect>(builder: Builder<D>, log: &Log, price: fn(&D::Item) -> f64) -> Builder<D> {
    let logs = || log.clone();
    let (updates, gaps, topics, lines, ends) = (logs(), logs(), logs(), logs(), logs());
    builder
        .threads(Threads::Here)
        .on::<Update<D::Item>>(call(move |update: Update<D::Item>| {
            updates.add(Seen::Update(update.topic.to_string(), price(&update.item) as u64));
        }))
        .on::<Gap>(call(move |gap| gaps.add(missing(gap))))
        .on::<TopicState>(call(move |state| topics.add(topic_state(state))))
        .on::<LineState>(call(move |line: LineState| lines.add(Seen::Line(state_of(&line.state)))))
        .on::<Stopped>(call(move |stopped: Stopped| {
            ends.add(Seen::Stopped(stopped.refusal.map(|refusal| refusal.to_string())));
        }))
}

fn served<D: Dialect, K: Kind>(builder: Builder<D>, lot: &Lot<K>) -> Builder<D> {
    let lot = lot.clone();
    builder.connection(move |builder| {
        let lot = lot.clone();
        builder.transport_with(move |_, _| lot.accept())
    })
}

/// A venue whose URLs have a token for one dial, and whose answers repeat the id of the request. They come out of order.
#[derive(Default)]
struct Ids {
    tokens: BTreeSet<String>,
    number: u64,
}

#[derive(Default)]
struct IdsClient {
    subscribed: BTreeSet<String>,
    last_id: u64,
}

impl Kind for Ids {
    type Client = IdsClient;
    const FRAMES: usize = 5;
    const FRAME_BYTES: usize = 4096;

    fn open(&mut self, query: &str) -> Result<(), String> {
        let is_new = query.starts_with("token=") && self.tokens.insert(query.to_owned());
        if is_new { Ok(()) } else { Err(format!("{query} was used before")) }
    }

    fn hear(
        &mut self,
        client: &mut IdsClient,
        text: &str,
        _: Duration,
    ) -> Result<Vec<String>, String> {
        let request: Value = serde_json::from_str(text).map_err(|err| err.to_string())?;
        let id = request["id"].as_u64().ok_or("no id")?;
        if id <= client.last_id {
            return Err(format!("id {id} after {}", client.last_id));
        }
        client.last_id = id;
        let topics: Vec<String> =
            serde_json::from_value(request["params"].clone()).map_err(|err| err.to_string())?;
        if topics.iter().any(|topic| topic.starts_with("GONE")) {
            let error = json!({ "code": 2, "msg": "unknown symbol" });
            return Ok(vec![json!({ "id": id, "error": error }).to_string()]);
        }
        for topic in topics {
            let is_new = match request["method"].as_str() {
                Some("SUBSCRIBE") => client.subscribed.insert(topic.clone()),
                _ => client.subscribed.remove(&topic),
            };
            if !is_new {
                return Err(format!("{text}: not for {topic}"));
            }
        }
        Ok(vec![json!({ "id": id, "result": null }).to_string()])
    }

    /// An answer overtakes the one before it.
    fn delay(client: &IdsClient) -> Duration {
        if client.last_id % 2 == 1 { SECOND / 50 } else { Duration::ZERO }
    }

    fn overdue(&self, _: &IdsClient, _: Duration) -> Option<String> {
        None
    }

    fn tick(&mut self, _: &str) {
        self.number += 1;
    }

    fn update(&self, client: &mut IdsClient, topic: &str) -> Option<String> {
        client.subscribed.contains(topic).then(|| {
            json!({ "stream": topic, "seq": self.number, "price": self.number as f64 }).to_string()
        })
    }

    fn subscribed(client: &IdsClient) -> &BTreeSet<String> {
        &client.subscribed
    }
}

#[test]
fn each_dial_has_a_token_of_its_own_and_each_answer_the_id_of_its_request() {
    simulated(async {
        let (lot, log) = (Lot::<Ids>::default(), Log::default());
        let names: Vec<String> = (0..60).map(|n| format!("t{n:02}")).collect();
        let tokens = AtomicUsize::new(0);
        let builder = Feed::builder(async move |_| {
            let token = tokens.fetch_add(1, Ordering::Relaxed);
            Ok(request_ids::Venue.at(format!("ws://venue/?token={token}")))
        });
        let rules = Rules::default().frames(5, SECOND).frame_bytes(4096).topics_per_frame(20);
        let feed = recorded(served(builder, &lot), &log, |tick| tick.price).rules(rules);
        let all = names.iter().map(String::as_str).chain(["GONE"]);
        let feed = feed.topics(all).start().unwrap();
        for life in 1..=4 {
            confirmed(&log, &names, life).await;
            sleep(20 * SECOND).await;
            assert_eq!(lot.subscribed(), names.iter().cloned().collect());
            lot.cut();
        }
        confirmed(&log, &names, 5).await;
        lot.tick("t07", false);
        let update = Seen::Update("t07".into(), 1);
        log.until("an update", |seen| seen.contains(&update)).await;
        feed.send(command::Remove::new(["t07"])).await.unwrap();
        assert!(!lot.subscribed().contains("t07"));
        assert_eq!(log.count(&Seen::Topic("GONE".into(), "refused for good")), 1);
        assert_eq!(lot.state().breaches, Vec::<String>::new());
        assert_eq!(lot.state().dials.len(), 5);
        feed.send(command::Close::default()).await.unwrap();
    });
}

/// A venue with a signed login.
#[derive(Default)]
struct Signed {
    /// The code of the answer to a login; empty is accepted.
    refuses: &'static str,
    number: u64,
    pings: usize,
    clock: Option<Clock>,
}

/// The seconds since 1970, in simulated time.
#[derive(Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn now(self) -> u64 {
        1_700_000_000 + self.0.elapsed().as_secs()
    }
}

#[derive(Default)]
struct SignedClient {
    is_logged_in: bool,
    subscribed: BTreeSet<String>,
    heard: Duration,
}

fn sign(time: u64) -> String {
    format!("signed {time}")
}

impl Kind for Signed {
    type Client = SignedClient;
    const FRAMES: usize = 5;
    const FRAME_BYTES: usize = 400;

    fn hear(
        &mut self,
        client: &mut SignedClient,
        text: &str,
        age: Duration,
    ) -> Result<Vec<String>, String> {
        client.heard = age;
        if text == "ping" {
            self.pings += 1;
            return Ok(vec!["pong".to_owned()]);
        }
        let request: Value = serde_json::from_str(text).map_err(|err| err.to_string())?;
        let args = request["args"].as_array().cloned().unwrap_or_default();
        if request["op"] == "login" {
            let time: u64 = args[0]["timestamp"].as_str().unwrap_or_default().parse().unwrap();
            let now = self.clock.expect("it is set").now();
            if args[0]["sign"] != sign(time) || now.abs_diff(time) > 30 {
                return Err(format!("a login with the stamp {time} at {now}"));
            }
            client.is_logged_in = self.refuses.is_empty();
            let answer = match self.refuses {
                "" => json!({ "event": "login", "code": "0" }),
                code => json!({ "event": "error", "code": code, "msg": "invalid key" }),
            };
            return Ok(vec![answer.to_string()]);
        }
        if !client.is_logged_in {
            return Err("a request before the login was answered".to_owned());
        }
        let mut answers = Vec::new();
        for arg in args {
            let name = |key: &str| arg[key].as_str().unwrap_or_default().to_owned();
            let topic = format!("{}:{}", name("channel"), name("instId"));
            let op = request["op"].as_str().unwrap_or_default();
            let is_gone = name("instId").starts_with("GONE");
            if op == "subscribe" && !is_gone && !client.subscribed.insert(topic.clone()) {
                return Err(format!("{topic} is subscribed already"));
            }
            if op == "unsubscribe" && !client.subscribed.remove(&topic) {
                return Err(format!("{topic} is not subscribed"));
            }
            answers.push(match is_gone {
                true => json!({ "event": "error", "code": "60018", "msg": "gone", "arg": arg }),
                false => json!({ "event": op, "arg": arg }),
            });
        }
        Ok(answers.iter().map(Value::to_string).collect())
    }

    fn overdue(&self, client: &SignedClient, age: Duration) -> Option<String> {
        (age > client.heard + 30 * SECOND).then(|| "nothing was heard for 30 s".to_owned())
    }

    fn tick(&mut self, _: &str) {
        self.number += 1;
    }

    fn update(&self, client: &mut SignedClient, topic: &str) -> Option<String> {
        client.subscribed.contains(topic).then(|| {
            let (channel, instrument) = topic.split_once(':').expect("a topic");
            let px = self.number.to_string();
            let data = json!([{ "seqId": self.number, "prevSeqId": self.number - 1, "px": px }]);
            let arg = json!({ "channel": channel, "instId": instrument });
            json!({ "arg": arg, "data": data }).to_string()
        })
    }

    fn subscribed(client: &SignedClient) -> &BTreeSet<String> {
        &client.subscribed
    }
}

fn signed(lot: &Lot<Signed>, log: &Log) -> Builder<signed_login::Venue> {
    let clock = Clock(Instant::now());
    lot.state().kind.clock = Some(clock);
    let builder = Feed::builder(async move |_| {
        let clock = Box::new(move || clock.now());
        Ok(signed_login::Venue { key: "k".into(), sign, clock }.at("ws://venue/"))
    });
    let rules = Rules::default()
        .frames(5, SECOND)
        .requests(480, HOUR)
        .frame_bytes(400)
        .heartbeat(20 * SECOND);
    recorded(served(builder, lot), log, |trade| trade.price.parse().unwrap()).rules(rules)
}

#[test]
fn a_signed_login_is_fresh_at_each_dial_and_each_topic_is_answered_for_itself() {
    simulated(async {
        let (lot, log) = (Lot::<Signed>::default(), Log::default());
        let names: Vec<String> = (0..50).map(|n| format!("trades:T{n:02}")).collect();
        let all = names.iter().map(String::as_str).chain(["trades:GONE"]);
        let feed = signed(&lot, &log).topics(all).start().unwrap();
        for life in 1..=4 {
            confirmed(&log, &names, life).await;
            // Longer than a signature is valid for.
            sleep(100 * SECOND).await;
            assert_eq!(lot.subscribed(), names.iter().cloned().collect());
            lot.cut();
        }
        confirmed(&log, &names, 5).await;
        lot.tick("trades:T07", false);
        let update = Seen::Update("trades:T07".into(), 1);
        log.until("an update", |seen| seen.contains(&update)).await;
        let gone = Seen::Topic("trades:GONE".into(), "refused for good");
        assert_eq!(log.count(&gone), 1, "reported once");
        assert_eq!(lot.state().breaches, Vec::<String>::new());
        assert_eq!(lot.state().dials.len(), 5);
        assert!((16..=20).contains(&lot.state().kind.pings), "{}", lot.state().kind.pings);
        feed.send(command::Close::default()).await.unwrap();
    });
}

#[test]
fn a_notice_that_the_venue_will_close_has_another_line_take_over() {
    simulated(async {
        let (lot, log) = (Lot::<Signed>::default(), Log::default());
        let names = vec!["trades:A".to_owned(), "trades:B".to_owned()];
        let feed = signed(&lot, &log).topics(&names).start().unwrap();
        confirmed(&log, &names, 1).await;
        // A notice of the first minute would be taken for the age that every socket reaches.
        sleep(61 * SECOND).await;
        let begin = Instant::now();
        lot.say(r#"{"event":"notice","code":"64008","msg":"closed in 60 s"}"#);
        log.until("the end of the old line", |seen| seen.contains(&Seen::Line("down"))).await;
        assert!(begin.elapsed() < 10 * SECOND, "{:?}", begin.elapsed());
        let is_active = |seen: &Seen| *seen == Seen::Line("active");
        assert_eq!(log.all().into_iter().filter(is_active).count(), 2);
        assert_eq!(lot.state().dials.len(), 2);
        assert_eq!(lot.state().breaches, Vec::<String>::new());
        feed.send(command::Close::default()).await.unwrap();
    });
}

#[test]
fn a_key_that_is_refused_for_good_ends_the_feed_with_the_venues_words() {
    simulated(async {
        let (lot, log) = (Lot::<Signed>::default(), Log::default());
        lot.state().kind.refuses = "60005";
        let feed = signed(&lot, &log).topics(["trades:A"]).start().unwrap();
        let end = Seen::Stopped(Some("invalid key".into()));
        log.until("the end", |seen| seen.contains(&end)).await;
        sleep(10 * MINUTE).await;
        assert_eq!((lot.state().dials.len(), log.count(&end)), (1, 1));
        drop(feed);
    });
}

#[test]
fn topics_come_and_go_while_the_login_is_refused_for_now() {
    simulated(async {
        let (lot, log) = (Lot::<Signed>::default(), Log::default());
        lot.state().kind.refuses = "50000";
        let feed = signed(&lot, &log).topics(["trades:A"]).start().unwrap();
        sleep(20 * SECOND).await;
        feed.do_send(command::Add::new(["trades:B"]));
        feed.do_send(command::Remove::new(["trades:A"]));
        lot.state().kind.refuses = "";
        log.until("B", |seen| seen.contains(&Seen::Topic("trades:B".into(), "confirmed"))).await;
        assert_eq!(lot.subscribed(), BTreeSet::from(["trades:B".to_owned()]));
        assert_eq!(lot.state().breaches, Vec::<String>::new());
        feed.send(command::Close::default()).await.unwrap();
    });
}

/// A venue that numbers the messages of each connection.
#[derive(Default)]
struct Numbered {
    number: u64,
}

#[derive(Default)]
struct NumberedClient {
    has_subscribed: bool,
    subscribed: BTreeSet<String>,
    number: u64,
}

impl NumberedClient {
    fn number(&mut self, mut message: Value) -> String {
        message["sequence_num"] = self.number.into();
        self.number += 1;
        message.to_string()
    }
}

impl Kind for Numbered {
    type Client = NumberedClient;
    const FRAMES: usize = 8;
    const FRAME_BYTES: usize = 200;

    fn hear(
        &mut self,
        client: &mut NumberedClient,
        text: &str,
        _: Duration,
    ) -> Result<Vec<String>, String> {
        let request: Value = serde_json::from_str(text).map_err(|err| err.to_string())?;
        let products = request["product_ids"].as_array().ok_or("no products")?;
        let products: Vec<&str> = products.iter().filter_map(Value::as_str).collect();
        client.has_subscribed = true;
        if products.iter().any(|product| product.starts_with("GONE")) {
            let error = json!({ "type": "error", "message": "no such product" });
            return Ok(vec![client.number(error)]);
        }
        for product in products {
            let topic = format!("{}:{product}", request["channel"].as_str().ok_or("no channel")?);
            match request["type"].as_str() {
                Some("subscribe") if client.subscribed.insert(topic.clone()) => {}
                Some("unsubscribe") if client.subscribed.remove(&topic) => {}
                _ => return Err(format!("{text}: not for {topic}")),
            }
        }
        let mut all: serde_json::Map<String, Value> = serde_json::Map::new();
        for topic in &client.subscribed {
            let (channel, product) = topic.split_once(':').expect("a topic");
            let list = all.entry(channel).or_insert_with(|| json!([]));
            list.as_array_mut().expect("a list").push(product.into());
        }
        let set = json!({ "channel": "subscriptions", "subscriptions": all });
        Ok(vec![client.number(set)])
    }

    fn overdue(&self, client: &NumberedClient, age: Duration) -> Option<String> {
        (!client.has_subscribed && age > 5 * SECOND).then(|| "no subscription in 5 s".to_owned())
    }

    fn tick(&mut self, _: &str) {
        self.number += 1;
    }

    fn update(&self, client: &mut NumberedClient, topic: &str) -> Option<String> {
        let (channel, product) = topic.split_once(':').expect("a topic");
        client.subscribed.contains(topic).then(|| {
            let (id, price) = (self.number, self.number.to_string());
            client.number(json!({
                "channel": channel, "product_id": product, "trade_id": id, "price": price,
            }))
        })
    }

    fn subscribed(client: &NumberedClient) -> &BTreeSet<String> {
        &client.subscribed
    }
}

fn numbered(lot: &Lot<Numbered>, log: &Log) -> Builder<line_number::Venue> {
    let builder = Feed::builder(async |_| Ok(line_number::Venue.at("ws://venue/")));
    let rules = Rules::default().frames(8, SECOND).frame_bytes(200);
    recorded(served(builder, lot), log, |trade| trade.price.parse().unwrap()).rules(rules)
}

fn products() -> Vec<String> {
    let of = |channel: &'static str| (0..10).map(move |n| format!("{channel}:P{n}"));
    ["book", "ticker", "trades"].into_iter().flat_map(of).collect()
}

#[test]
fn a_whole_set_acknowledges_the_requests_of_each_channel_in_time() {
    simulated(async {
        let (lot, log, names) = (Lot::<Numbered>::default(), Log::default(), products());
        let feed = numbered(&lot, &log).topics(&names).start().unwrap();
        for life in 1..=5 {
            confirmed(&log, &names, life).await;
            assert_eq!(lot.subscribed(), names.iter().cloned().collect());
            sleep(20 * SECOND).await;
            lot.cut();
        }
        confirmed(&log, &names, 6).await;
        feed.send(command::Remove::new(["book:P3", "trades:P4"])).await.unwrap();
        let mut left: BTreeSet<String> = names.iter().cloned().collect();
        left.remove("book:P3");
        left.remove("trades:P4");
        assert_eq!(lot.subscribed(), left);
        assert_eq!(lot.state().breaches, Vec::<String>::new());
        feed.send(command::Close::default()).await.unwrap();
    });
}

#[test]
fn a_number_that_is_missing_on_the_line_is_a_gap_of_no_topic() {
    simulated(async {
        let (lot, log, names) = (Lot::<Numbered>::default(), Log::default(), products());
        let feed = numbered(&lot, &log).topics(&names).start().unwrap();
        confirmed(&log, &names, 1).await;
        for n in 0..20 {
            lot.tick(&names[n % 7], n == 9 || n == 10);
        }
        log.until("the updates", |seen| {
            seen.iter().filter(|seen| matches!(seen, Seen::Update(..))).count() == 18
        })
        .await;
        let is_gap = |seen: &Seen| matches!(seen, Seen::Gap(..));
        let gaps: Vec<Seen> = log.all().into_iter().filter(is_gap).collect();
        let [Seen::Gap(None, Some((from, to)))] = gaps[..] else { panic!("{gaps:?}") };
        assert_eq!(to - from, 1, "two messages");
        feed.send(command::Close::default()).await.unwrap();
    });
}

#[test]
fn a_product_that_is_gone_leaves_the_others_of_its_request() {
    simulated(async {
        let (lot, log, names) = (Lot::<Numbered>::default(), Log::default(), products());
        let all = names.iter().map(String::as_str).chain(["trades:GONE"]);
        let feed = numbered(&lot, &log).silence(Silence::topic(HOUR)).topics(all).start().unwrap();
        confirmed(&log, &names, 1).await;
        let gone = Seen::Topic("trades:GONE".into(), "refused for good");
        log.until("the refusal", |seen| seen.contains(&gone)).await;
        sleep(MINUTE).await;
        assert_eq!(lot.subscribed(), names.iter().cloned().collect());
        assert_eq!((log.count(&gone), lot.state().dials.len()), (1, 1));
        assert!(lot.state().messages < 20, "{}", lot.state().messages);
        assert_eq!(lot.state().breaches, Vec::<String>::new());
        feed.send(command::Close::default()).await.unwrap();
    });
}
