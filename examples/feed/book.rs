//! The actor that takes what the feed delivers.

use actix::prelude::*;
use actix_ws_client::feed::event::{Gap, TopicState, Update};
use serde_json::Value;

/// Prints what it receives.
pub(crate) struct Book;

impl Actor for Book {
    type Context = Context<Book>;
}

impl Handler<Update<Value>> for Book {
    type Result = ();
    fn handle(&mut self, update: Update<Value>, _: &mut Self::Context) {
        println!("{} {}", update.topic, update.item);
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
