//! The order books of 20 symbols, from snapshots and increments, over kills, gaps, wrong updates and restarts of the
//! venue.
//!
//! `cargo run --example order_book`. It talks to an exchange of its own, and exits with 0 when each of its books is the
//! exchange's at the end.

use actix::prelude::*;
use actix_ws_client::View;
use actix_ws_client::feed::{Dialect, Feed, Request, RequestId, Resync, Rules, SECOND, Said};
use actix_ws_client::feed::{Sequence, Topic, command};
use serde::Deserialize;
use serde_json::{from_slice, json};

mod book;
mod exchange;

/// The session of one socket. This venue needs no state.
struct Venue;

/// Every message that the venue sends has some of these.
#[derive(Deserialize)]
struct Message {
    id: Option<RequestId>,
    /// The symbol of an update.
    update: Option<String>,
    /// The symbol of a snapshot.
    snapshot: Option<String>,
    #[serde(flatten)]
    depth: Option<Depth>,
}

#[derive(Clone, Debug, Deserialize)]
struct Depth {
    first: u64,
    last: u64,
    /// Side, price and quantity of each level that has changed. With a quantity of 0 the level is gone.
    levels: Vec<(char, u64, u64)>,
    /// The sum of all quantities of the book.
    checksum: u64,
}

impl Dialect for Venue {
    type Item = Depth;

    fn subscribe(&mut self, id: RequestId, topics: &[Topic]) -> Request {
        let symbols: Vec<&str> = topics.iter().map(Topic::as_str).collect();
        Request::text(json!({ "id": id, "method": "SUBSCRIBE", "params": symbols }).to_string())
    }

    fn snapshot(&mut self, id: RequestId, topic: &Topic) -> Option<Request> {
        let request = json!({ "id": id, "method": "DEPTH", "params": [topic.as_str()] });
        Some(Request::text(request.to_string()))
    }

    fn read<'m>(&mut self, message: View<'m>) -> Said<'m, Depth> {
        let Ok(message) = from_slice::<Message>(message.as_bytes()) else { return Said::Nothing };
        let sequence = |depth: &Depth| Sequence::contiguous(depth.first, depth.last);
        match (message.update, message.snapshot, message.depth, message.id) {
            (Some(symbol), _, Some(depth), _) => Said::data(symbol, sequence(&depth), depth),
            (_, Some(symbol), Some(depth), _) => Said::snapshot(symbol, sequence(&depth), depth),
            (.., Some(id)) => Said::confirmed(id),
            _ => Said::Nothing,
        }
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let exchange = exchange::Exchange::start().await?;
    let (books, url) = (book::Books::default(), exchange.url());
    let feed = Feed::builder(async move |_| Ok(Venue.at(url.clone())))
        .rules(Rules::default().frames(100, SECOND))
        .resync(Resync::by_dialect().asks(40, SECOND).first_wait(SECOND))
        .topics(exchange::symbols())
        .handler(&books.clone().start())
        .start()?;
    books.0.borrow_mut().feed = Some(feed.downgrade());
    println!("{}", exchange.done().await);
    // What is on its way arrives meanwhile.
    let wrong = exchange.differences(&books.0, 20 * SECOND).await;
    let figures = feed.send(command::Status).await?.figures;
    println!("{} updates, {} gaps, {} resyncs", figures.delivered, figures.gaps, figures.resyncs);
    feed.send(command::Close::default()).await?;
    if !wrong.is_empty() {
        return Err(format!("not the books of the exchange: {}", wrong.join(", ")).into());
    }
    println!("{} books are exactly those of the exchange", exchange::symbols().len());
    Ok(())
}
