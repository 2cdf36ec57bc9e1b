//! A feed of one venue: four topics, one of which the venue does not have, over a lost socket.
//!
//! `cargo run --example feed`. It talks to an exchange of its own, and exits with 0 when every topic has
//! continued after the loss. `examples/venues/` has dialects of other kinds of venue.

use actix::prelude::*;
use actix_ws_client::feed::{Dialect, Feed, HOUR, MINUTE, Refusal, Request, RequestId};
use actix_ws_client::feed::{Rules, SECOND, Said, Sequence, Silence, Topic, command};
use actix_ws_client::{Budget, Tls, View};
use serde_json::{Value, json};

mod book;
mod exchange;

struct Venue(String);

impl Dialect for Venue {
    type Item = Value;
    fn login(&mut self) -> Option<Request> {
        Some(
            Request::text(json!({ "id": 0, "method": "LOGIN", "key": self.0 }).to_string())
                .secret(),
        )
    }
    fn subscribe(&mut self, id: RequestId, topics: &[Topic]) -> Request {
        let topics: Vec<&str> = topics.iter().map(Topic::as_str).collect();
        Request::text(json!({ "id": id, "method": "SUBSCRIBE", "params": topics }).to_string())
    }
    fn read<'m>(&mut self, message: View<'m>) -> Said<'m, Value> {
        let value: Value = serde_json::from_slice(message.as_bytes()).unwrap_or_default();
        match (&value["stream"], value["seq"].as_u64(), value["id"].as_u64(), &value["error"]) {
            (Value::String(topic), Some(n), ..) => {
                Said::data(topic.clone(), Sequence::contiguous(n, n), value["price"].clone())
            }
            (_, _, Some(0), Value::Null) => Said::LoggedIn,
            (_, _, Some(id), Value::Null) => Said::confirmed(id),
            (_, _, Some(id), error) => Said::refused(id, Refusal::for_good(error.to_string())),
            _ => Said::Nothing,
        }
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (exchange, book, tls) =
        (exchange::Exchange::start().await?, book::Book.start(), Tls::new());
    let (ip, url) = (Budget::dials(300, 5 * MINUTE).and(3, SECOND), exchange.url());
    let feed = Feed::builder(async move |attempt| {
        Ok(Venue(token().await?).at(attempt.pick(&[url.as_str()])))
    })
    .rules(Rules::default().frames(5, SECOND).requests(480, HOUR).frame_bytes(4096))
    .budget(&ip)
    .connection(move |builder| builder.tls(tls.clone()))
    .silence(Silence::topic(30 * SECOND).resubscribe())
    .topics(["trade.BTC-USD", "trade.ETH-USD", "trade.GONE"])
    .handler(&book)
    .start()?;
    for (topic, answer) in feed.send(command::Add::new(["trade.SOL-USD"])).await? {
        println!("added {topic}: {answer:?}");
    }
    exchange.done().await;
    println!("delivered {}", feed.send(command::Status).await?.figures.delivered);
    feed.send(command::Close::default()).await?;
    Ok(())
}

/// Returns a key for one dial. A real venue has an HTTP request for it.
async fn token() -> Result<String, std::io::Error> {
    Ok("one-dial".into())
}
