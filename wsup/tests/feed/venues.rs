//! Six venues, by their written rules.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::sim::{Numbers, Protocol, parse, texts};

/// Notes that an id is used once.
fn once(ids: &mut BTreeSet<u64>, id: &Value) -> Result<(), String> {
    let id = id.as_u64().ok_or_else(|| format!("no id: {id}"))?;
    if ids.insert(id) { Ok(()) } else { Err(format!("the id {id} is used twice")) }
}

/// Requests have an id, which their answer repeats; an unknown topic refuses a whole request. The URL has a token.
#[derive(Default)]
pub(crate) struct RequestIds {
    ids: BTreeSet<u64>,
    topics: BTreeSet<String>,
    /// The token that the URL has to have, if it is checked.
    token: Option<&'static str>,
}

impl RequestIds {
    /// Creates one that checks the token in the URL.
    pub(crate) fn with_token(token: &'static str) -> RequestIds {
        RequestIds { token: Some(token), ..RequestIds::default() }
    }
}

impl Protocol for RequestIds {
    fn path(&mut self, path: &str) -> Result<(), String> {
        match self.token {
            Some(token) if path != format!("/?token={token}") => Err(format!("no token: {path}")),
            _ => Ok(()),
        }
    }

    fn read(&mut self, text: &str) -> Result<Vec<String>, String> {
        let request = parse(text)?;
        once(&mut self.ids, &request["id"])?;
        let topics = texts(&request["params"])?;
        let answer = match request["method"].as_str() {
            _ if topics.iter().any(|topic| topic.contains("GONE")) => {
                json!({ "id": request["id"], "error": { "code": 2, "msg": "unknown symbol" } })
            }
            Some("SUBSCRIBE") => {
                self.topics.extend(topics);
                json!({ "id": request["id"], "result": null })
            }
            Some("UNSUBSCRIBE") => {
                self.topics.retain(|topic| !topics.contains(topic));
                json!({ "id": request["id"], "result": null })
            }
            _ => return Err(format!("no method: {text}")),
        };
        Ok(vec![answer.to_string()])
    }

    fn tick(&mut self, numbers: &Numbers) -> Vec<String> {
        let update = |topic: &String| {
            json!({ "stream": topic, "seq": numbers.next(topic), "price": "104.25" }).to_string()
        };
        self.topics.iter().map(update).collect()
    }
}

/// Topics are objects with an answer each; an error names none. Nothing may be sent before the login.
#[derive(Default)]
pub(crate) struct ObjectTopics {
    is_logged_in: bool,
    topics: BTreeSet<String>,
}

impl Protocol for ObjectTopics {
    fn read(&mut self, text: &str) -> Result<Vec<String>, String> {
        if text == "ping" {
            return Ok(vec!["pong".to_owned()]);
        }
        let request = parse(text)?;
        let op = request["op"].as_str().unwrap_or_default();
        if op == "login" {
            self.is_logged_in = request["args"][0]["sign"] == "s3cret-signature";
            let (event, code) = if self.is_logged_in { ("login", "0") } else { ("error", "60009") };
            return Ok(vec![json!({ "event": event, "code": code, "msg": "" }).to_string()]);
        }
        if !self.is_logged_in {
            return Err(format!("before the login: {text}"));
        }
        let args = request["args"].as_array().ok_or("no args")?;
        if args.iter().any(|arg| arg["instId"] == "GONE-USDT") {
            let msg = "Wrong URL or channel:trades,instId:GONE-USDT doesn't exist";
            return Ok(vec![json!({ "event": "error", "code": "60018", "msg": msg }).to_string()]);
        }
        for arg in args {
            let topic = arg["instId"].as_str().ok_or("no instId")?.to_owned();
            match op {
                "subscribe" => self.topics.insert(topic),
                "unsubscribe" => self.topics.remove(&topic),
                _ => return Err(format!("no op: {text}")),
            };
        }
        let answer = |arg: &Value| json!({ "event": op, "arg": arg, "connId": "a4d3" }).to_string();
        Ok(args.iter().map(answer).collect())
    }

    fn tick(&mut self, numbers: &Numbers) -> Vec<String> {
        let update = |inst: &String| {
            let arg = json!({ "channel": "trades", "instId": inst });
            let id = numbers.next(inst).to_string();
            json!({ "arg": arg, "data": [{ "tradeId": id, "px": "42219.9" }] }).to_string()
        };
        self.topics.iter().map(update).collect()
    }
}

/// Each symbol of a request is answered separately.
#[derive(Default)]
pub(crate) struct ManyAnswers {
    ids: BTreeSet<u64>,
    symbols: BTreeSet<String>,
}

impl Protocol for ManyAnswers {
    fn read(&mut self, text: &str) -> Result<Vec<String>, String> {
        let request = parse(text)?;
        once(&mut self.ids, &request["req_id"])?;
        let (method, id) = (&request["method"], &request["req_id"]);
        if method == "ping" {
            return Ok(vec![json!({ "method": "pong", "req_id": id }).to_string()]);
        }
        let params = &request["params"];
        if params["channel"] != "trade" {
            return Err(format!("no channel: {text}"));
        }
        let mut answers = Vec::new();
        for symbol in texts(&params["symbol"])? {
            if symbol.starts_with("GONE") {
                let error = format!("Currency pair not supported {symbol}");
                answers.push(json!({
                    "error": error, "method": method, "req_id": id, "success": false, "symbol": symbol
                }));
                continue;
            }
            match method.as_str() {
                Some("subscribe") => self.symbols.insert(symbol.clone()),
                Some("unsubscribe") => self.symbols.remove(&symbol),
                _ => return Err(format!("no method: {text}")),
            };
            let result = json!({ "channel": "trade", "symbol": symbol });
            answers
                .push(json!({ "method": method, "req_id": id, "success": true, "result": result }));
        }
        Ok(answers.iter().map(Value::to_string).collect())
    }

    fn tick(&mut self, numbers: &Numbers) -> Vec<String> {
        let trade = |symbol: &String| json!({ "symbol": symbol, "trade_id": numbers.next(symbol) });
        // Two trades in each update.
        let update = |symbol: &String| {
            let data = [trade(symbol), trade(symbol)];
            json!({ "channel": "trade", "type": "update", "data": data }).to_string()
        };
        self.symbols
            .iter()
            .map(update)
            .chain([json!({ "channel": "heartbeat" }).to_string()])
            .collect()
    }
}

/// The answer is the whole set, and every message has the number of its line.
#[derive(Default)]
pub(crate) struct WholeSet {
    products: BTreeSet<String>,
    number: u64,
}

impl Protocol for WholeSet {
    fn read(&mut self, text: &str) -> Result<Vec<String>, String> {
        let request = parse(text)?;
        if request["channel"] != "ticker" {
            return Err(format!("no channel: {text}"));
        }
        let products = texts(&request["product_ids"])?;
        match request["type"].as_str() {
            Some("subscribe") => {
                let known = products.into_iter().filter(|product| !product.starts_with("GONE"));
                self.products.extend(known);
            }
            Some("unsubscribe") => self.products.retain(|product| !products.contains(product)),
            _ => return Err(format!("no type: {text}")),
        }
        let events = json!([{ "subscriptions": { "ticker": self.products } }]);
        Ok(vec![json!({ "channel": "subscriptions", "events": events }).to_string()])
    }

    fn tick(&mut self, numbers: &Numbers) -> Vec<String> {
        let update = |product: &String| {
            let ticker =
                json!({ "product_id": product, "price": numbers.next(product).to_string() });
            let events = json!([{ "type": "update", "tickers": [ticker] }]);
            json!({ "channel": "ticker", "events": events }).to_string()
        };
        self.products.iter().map(update).collect()
    }

    fn wrap(&mut self, text: String) -> tokio_tungstenite::tungstenite::Message {
        let mut message: Value = serde_json::from_str(&text).unwrap();
        message["sequence_num"] = self.number.into();
        self.number += 1;
        tokio_tungstenite::tungstenite::Message::text(message.to_string())
    }
}

/// JSON-RPC with a login of two steps, and challenges.
#[derive(Default)]
pub(crate) struct Challenges {
    ids: BTreeSet<u64>,
    is_logged_in: bool,
    channels: BTreeSet<String>,
    /// The updates so far.
    ticks: u32,
    /// Whether heartbeats were asked for.
    beats: bool,
    /// Whether a challenge was answered.
    has_answered: bool,
}

impl Protocol for Challenges {
    fn read(&mut self, text: &str) -> Result<Vec<String>, String> {
        let request = parse(text)?;
        once(&mut self.ids, &request["id"])?;
        let (method, params) = (request["method"].as_str().unwrap_or_default(), &request["params"]);
        let result = match method {
            "public/auth" if params["client_secret"] == "from-a-file" => {
                self.is_logged_in = true;
                json!({ "access_token": "t", "expires_in": 900 })
            }
            "public/auth" => return Err("wrong credentials".to_owned()),
            _ if !self.is_logged_in => return Err(format!("before the login: {text}")),
            "public/set_heartbeat" => {
                self.beats = true;
                json!("ok")
            }
            "public/test" => {
                self.has_answered = true;
                json!({ "version": "1.2" })
            }
            "public/subscribe" => {
                let known = texts(&params["channels"])?;
                let known: Vec<_> = known.into_iter().filter(|it| !it.contains("GONE")).collect();
                self.channels.extend(known.clone());
                json!(known)
            }
            "public/unsubscribe" => {
                let channels = texts(&params["channels"])?;
                self.channels.retain(|channel| !channels.contains(channel));
                json!(channels)
            }
            _ => return Err(format!("no method: {text}")),
        };
        Ok(vec![json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }).to_string()])
    }

    fn tick(&mut self, numbers: &Numbers) -> Vec<String> {
        let update = |channel: &String| {
            let data = json!([{ "trade_seq": numbers.next(channel) }]);
            let params = json!({ "channel": channel, "data": data });
            json!({ "jsonrpc": "2.0", "method": "subscription", "params": params }).to_string()
        };
        let updates: Vec<String> = self.channels.iter().map(update).collect();
        self.ticks += 1;
        let challenge = (self.beats && self.ticks == 3).then(|| {
            let params = json!({ "type": "test_request" });
            json!({ "jsonrpc": "2.0", "method": "heartbeat", "params": params }).to_string()
        });
        updates.into_iter().chain(challenge).collect()
    }

    fn may_end(&self) -> bool {
        self.has_answered
    }
}

/// The answer gives each topic a number.
#[derive(Default)]
pub(crate) struct ChannelIds {
    channels: BTreeMap<u64, String>,
    last: u64,
}

impl Protocol for ChannelIds {
    fn read(&mut self, text: &str) -> Result<Vec<String>, String> {
        let request = parse(text)?;
        let symbol = request["symbol"].as_str().unwrap_or_default();
        let answer = match request["event"].as_str() {
            Some("ping") => json!({ "event": "pong", "cid": request["cid"] }),
            Some("subscribe") if symbol == "tGONE" => json!({
                "event": "error", "msg": "symbol: invalid", "code": 10300,
                "channel": "trades", "symbol": symbol
            }),
            Some("subscribe") if self.channels.values().any(|other| other == symbol) => {
                return Err(format!("subscribed twice: {text}"));
            }
            Some("subscribe") if request["channel"] == "trades" => {
                self.last += 7;
                self.channels.insert(self.last, symbol.to_owned());
                json!({
                    "event": "subscribed", "channel": "trades", "chanId": self.last, "symbol": symbol
                })
            }
            Some("unsubscribe") => {
                let id = request["chanId"].as_u64().ok_or("no chanId")?;
                self.channels.remove(&id).ok_or("not subscribed")?;
                json!({ "event": "unsubscribed", "status": "OK", "chanId": id })
            }
            _ => return Err(format!("no event: {text}")),
        };
        Ok(vec![answer.to_string()])
    }

    fn tick(&mut self, numbers: &Numbers) -> Vec<String> {
        let mut updates = Vec::new();
        for (id, symbol) in &self.channels {
            let trade = json!([numbers.next(symbol), 1_700_000_000_000_u64, 0.5, 104.25]);
            updates.push(json!([id, "te", trade]).to_string());
            updates.push(json!([id, "hb"]).to_string());
        }
        updates
    }
}
