//! How the exchange talks: its protocol stands at the head of `exchange.rs`.

use actix_ws_client::View;
use actix_ws_client::feed::{Dialect, Refusal, Request, RequestId, Said, Sequence, Topic};
use serde::Deserialize;
use serde_json::json;

/// The session of one socket. The item of an update is the price.
pub(crate) struct Venue;

/// Every message has some of these.
#[derive(Deserialize)]
struct Message<'m> {
    symbol: Option<&'m str>,
    seq: Option<u64>,
    price: Option<f64>,
    event: Option<&'m str>,
    id: Option<RequestId>,
    msg: Option<&'m str>,
}

impl Dialect for Venue {
    type Item = f64;

    fn login(&mut self) -> Option<Request> {
        Some(Request::text(r#"{"op":"login","key":"demo"}"#).secret())
    }

    fn subscribe(&mut self, id: RequestId, topics: &[Topic]) -> Request {
        request("subscribe", id, topics)
    }

    fn unsubscribe(&mut self, id: RequestId, topics: &[Topic]) -> Option<Request> {
        Some(request("unsubscribe", id, topics))
    }

    fn heartbeat(&mut self) -> Option<Request> {
        Some(Request::text("ping"))
    }

    fn read<'m>(&mut self, message: View<'m>) -> Said<'m, f64> {
        match serde_json::from_slice(message.as_bytes()) {
            Ok(Message { symbol: Some(topic), seq: Some(seq), price: Some(price), .. }) => {
                Said::data(topic, Sequence::contiguous(seq, seq), price)
            }
            Ok(Message { event: Some("login"), .. }) => Said::LoggedIn,
            Ok(Message { event: Some("done"), id: Some(id), .. }) => Said::confirmed(id),
            Ok(Message { event: Some("error"), id, msg: Some(msg), .. }) => {
                let refusal = Refusal::for_good(msg);
                id.map_or(Said::LoginRefused(refusal.clone()), |id| Said::refused(id, refusal))
            }
            Err(_) if message.as_bytes() == b"pong" => Said::Alive,
            _ => Said::Nothing,
        }
    }
}

fn request(op: &str, id: RequestId, topics: &[Topic]) -> Request {
    let symbols: Vec<&str> = topics.iter().map(Topic::as_str).collect();
    Request::text(json!({ "op": op, "id": id, "symbols": symbols }).to_string())
}
