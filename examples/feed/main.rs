//! A feed of one venue: three topics, one of which the venue does not have, over a lost socket.
//!
//! `cargo run --example feed`. It talks to an exchange of its own, and exits with 0 when every topic has
//! continued after the loss.

use actix::prelude::*;
use actix_ws_client::feed::event::{Gap, TopicState, Update};
use actix_ws_client::feed::{Dialect, Feed, HOUR, Rules, SECOND, command};
use exchange::Exchange;
use venue::{Tick, Venue};

mod exchange;
#[path = "../venues/request_ids.rs"]
mod venue;

/// Prints what it receives.
struct Book;

impl Actor for Book {
    type Context = Context<Book>;
}

impl Handler<Update<Tick>> for Book {
    type Result = ();
    fn handle(&mut self, update: Update<Tick>, _: &mut Self::Context) {
        let number = update.sequence.last().unwrap_or_default();
        println!("{} {number}: {}", update.topic, update.item.price);
    }
}

impl Handler<Gap> for Book {
    type Result = ();
    fn handle(&mut self, gap: Gap, _: &mut Self::Context) {
        println!("{} lacks {:?}, {}", gap.topic.as_deref().unwrap_or("?"), gap.missing, gap.cause);
    }
}

impl Handler<TopicState> for Book {
    type Result = ();
    fn handle(&mut self, state: TopicState, _: &mut Self::Context) {
        println!("{} is {:?}", state.topic, state.state);
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let exchange = Exchange::start().await?;
    let book = Book.start();
    let url = exchange.url();
    let feed =
        Feed::builder(async move |_| Ok(Venue.at(format!("{url}?token={}", token().await?))))
            .rules(Rules::default().frames(5, SECOND).requests(480, HOUR).frame_bytes(4096))
            .topics(["trade.BTC-USD", "trade.ETH-USD", "trade.GONE"])
            .handler(&book)
            .start()?;
    for (topic, answer) in feed.send(command::Add::new(["trade.SOL-USD"])).await? {
        println!("added {topic}: {answer:?}");
    }
    exchange.done().await;
    let figures = feed.send(command::Status).await?.figures;
    feed.send(command::Close::default()).await?;
    println!("closed: {} updates, {} gaps", figures.delivered, figures.gaps);
    Ok(())
}

/// Returns a token for one dial. A real venue has an HTTP request for it.
async fn token() -> Result<String, std::io::Error> {
    Ok("one-dial".into())
}
