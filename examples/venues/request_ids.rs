//! The dialect of a venue whose requests have an id, which its answers repeat, and whose URL has a token that
//! is good for one dial.
//!
//! ```text
//! > {"id":1,"method":"SUBSCRIBE","params":["trade.BTC-USD","trade.ETH-USD"]}
//! < {"id":1,"result":null}                               all of them, or
//! < {"id":1,"error":{"code":2,"msg":"unknown symbol"}}    none of them
//! < {"stream":"trade.BTC-USD","seq":17,"price":60000.5}
//! ```

use actix_ws_client::View;
use actix_ws_client::feed::{Dialect, Refusal, Request, RequestId, Said, Sequence, Topic};
use serde::Deserialize;
use serde_json::json;

/// The session of one socket. This venue needs no state.
pub(crate) struct Venue;

/// An update.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    pub(crate) price: f64,
}

/// Every message that the venue sends has some of these.
#[derive(Deserialize)]
struct Message<'m> {
    id: Option<RequestId>,
    error: Option<Problem>,
    stream: Option<&'m str>,
    seq: Option<u64>,
    price: Option<f64>,
}

#[derive(Deserialize)]
struct Problem {
    code: i64,
    msg: String,
}

/// The code of a request that would be refused again: the symbol is unknown.
const UNKNOWN_SYMBOL: i64 = 2;

impl Dialect for Venue {
    type Item = Tick;

    fn subscribe(&mut self, id: RequestId, topics: &[Topic]) -> Request {
        request(id, "SUBSCRIBE", topics)
    }

    fn unsubscribe(&mut self, id: RequestId, topics: &[Topic]) -> Option<Request> {
        Some(request(id, "UNSUBSCRIBE", topics))
    }

    fn read<'m>(&mut self, message: View<'m>) -> Said<'m, Tick> {
        // What cannot be read is nothing that a feed needs to know.
        let Ok(message) = serde_json::from_slice::<Message<'m>>(message.as_bytes()) else {
            return Said::Nothing;
        };
        match message {
            Message { stream: Some(topic), seq: Some(seq), price: Some(price), .. } => {
                Said::data(topic, Sequence::contiguous(seq, seq), Tick { price })
            }
            Message { id: Some(id), error: Some(Problem { code, msg }), .. } => {
                let refusal = match code {
                    UNKNOWN_SYMBOL => Refusal::for_good(msg),
                    _ => Refusal::for_now(msg),
                };
                Said::refused(id, refusal)
            }
            Message { id: Some(id), .. } => Said::confirmed(id),
            _ => Said::Nothing,
        }
    }
}

fn request(id: RequestId, method: &str, topics: &[Topic]) -> Request {
    let params: Vec<&str> = topics.iter().map(Topic::as_str).collect();
    Request::text(json!({ "id": id, "method": method, "params": params }).to_string())
}
