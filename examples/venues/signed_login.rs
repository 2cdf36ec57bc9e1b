//! The dialect of a venue with a signed login, a ping of text, objects as topics, and one acknowledgement for each
//! topic of a request.
//!
//! ```text
//! > {"op":"login","args":[{"apiKey":"k","timestamp":"1700000000","sign":"…"}]}     good for 30 s
//! < {"event":"login","code":"0"}
//! < {"event":"error","code":"60005","msg":"invalid key"}
//! > {"id":"1","op":"subscribe","args":[{"channel":"trades","instId":"BTC-USD"},{"channel":"trades","instId":"GONE"}]}
//! < {"event":"subscribe","arg":{"channel":"trades","instId":"BTC-USD"}}
//! < {"event":"error","code":"60018","msg":"no such instrument","arg":{"channel":"trades","instId":"GONE"}}
//! < {"arg":{"channel":"trades","instId":"BTC-USD"},"data":[{"seqId":17,"prevSeqId":16,"px":"60000.5"}]}
//! > ping
//! < pong
//! < {"event":"notice","code":"64008","msg":"this connection is closed in 60 s"}
//! ```
//!
//! The topic of this channel and instrument is `trades:BTC-USD`.

use std::time::Duration;

use actix_ws_client::View;
use actix_ws_client::feed::{
    Dialect, Notice, Refusal, Request, RequestId, Said, Sequence, Topic, Which,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// The session of one socket.
pub(crate) struct Venue {
    pub(crate) key: String,
    /// Signs a time stamp with the secret of the key.
    pub(crate) sign: fn(u64) -> String,
    /// Returns the time in seconds since 1970.
    pub(crate) clock: Box<dyn Fn() -> u64 + Send>,
}

/// A trade.
#[derive(Clone, Debug)]
pub(crate) struct Trade {
    pub(crate) price: String,
}

/// Every message that the venue sends has some of these.
#[derive(Deserialize)]
struct Message<'m> {
    event: Option<&'m str>,
    code: Option<&'m str>,
    msg: Option<String>,
    #[serde(borrow)]
    arg: Option<Arg<'m>>,
    #[serde(borrow, default)]
    data: Vec<Update<'m>>,
}

#[derive(Deserialize)]
struct Arg<'m> {
    channel: &'m str,
    #[serde(rename = "instId")]
    instrument: &'m str,
}

#[derive(Deserialize)]
struct Update<'m> {
    #[serde(rename = "seqId")]
    number: u64,
    #[serde(rename = "prevSeqId")]
    previous: u64,
    px: &'m str,
}

impl Arg<'_> {
    fn topic(&self) -> String {
        format!("{}:{}", self.channel, self.instrument)
    }
}

/// The codes of what would be refused again.
const FINAL: [&str; 2] = ["60005", "60018"];
/// The code of a connection that is about to be closed.
const CLOSING: &str = "64008";
/// How long after it.
const CLOSES_WITHIN: Duration = Duration::from_secs(60);

impl Dialect for Venue {
    type Item = Trade;

    /// Made when it may be sent, so that its time stamp is fresh.
    fn login(&mut self) -> Option<Request> {
        let time = (self.clock)();
        let sign = (self.sign)(time);
        let args = json!([{ "apiKey": self.key, "timestamp": time.to_string(), "sign": sign }]);
        Some(Request::text(json!({ "op": "login", "args": args }).to_string()).secret())
    }

    fn subscribe(&mut self, id: RequestId, topics: &[Topic]) -> Request {
        request(id, "subscribe", topics)
    }

    fn unsubscribe(&mut self, id: RequestId, topics: &[Topic]) -> Option<Request> {
        Some(request(id, "unsubscribe", topics))
    }

    fn heartbeat(&mut self) -> Option<Request> {
        Some(Request::text("ping"))
    }

    fn read<'m>(&mut self, message: View<'m>) -> Said<'m, Trade> {
        if message.as_bytes() == b"pong" {
            return Said::Alive;
        }
        let Ok(message) = serde_json::from_slice::<Message<'m>>(message.as_bytes()) else {
            return Said::Nothing;
        };
        let topic = message.arg.as_ref().map(Arg::topic);
        let refusal = || {
            let reason = message.msg.clone().unwrap_or_default();
            let is_final = message.code.is_some_and(|code| FINAL.contains(&code));
            if is_final { Refusal::for_good(reason) } else { Refusal::for_now(reason) }
        };
        match (message.event, topic) {
            (None, Some(topic)) => {
                let said = |update: &Update<'_>| {
                    let sequence = Sequence::chained(update.previous, update.number);
                    Said::data(topic.clone(), sequence, Trade { price: update.px.to_owned() })
                };
                message.data.iter().map(said).collect()
            }
            (Some("login"), _) => Said::LoggedIn,
            (Some("subscribe" | "unsubscribe"), Some(topic)) => {
                Said::confirmed(Which::topics([topic]))
            }
            (Some("error"), Some(topic)) => Said::refused(Which::topics([topic]), refusal()),
            (Some("error"), None) => Said::login_refused(refusal()),
            (Some("notice"), _) if message.code == Some(CLOSING) => {
                Said::Notice(Notice::RotateWithin(CLOSES_WITHIN))
            }
            _ => Said::Nothing,
        }
    }
}

fn request(id: RequestId, op: &str, topics: &[Topic]) -> Request {
    let arg = |topic: &Topic| {
        let (channel, instrument) = topic.split_once(':').unwrap_or((topic, ""));
        json!({ "channel": channel, "instId": instrument })
    };
    let args: Vec<Value> = topics.iter().map(arg).collect();
    Request::text(json!({ "id": id.to_string(), "op": op, "args": args }).to_string())
}
