//! The dialect of a venue that numbers all messages of a connection, acknowledges with the list of all that is
//! subscribed, and closes connections that do not subscribe within 5 s.
//!
//! ```text
//! > {"type":"subscribe","channel":"trades","product_ids":["BTC-USD","ETH-USD"]}     one channel for each request
//! < {"sequence_num":0,"channel":"subscriptions","subscriptions":{"trades":["BTC-USD","ETH-USD"]}}
//! < {"sequence_num":1,"channel":"trades","product_id":"BTC-USD","trade_id":17,"price":"60000.5"}
//! < {"sequence_num":2,"type":"error","message":"no such product"}                    the oldest request, as a whole
//! ```
//!
//! A number that is missing on the line may have been an update of any topic: the feed reports a `Gap` without a topic.

use std::collections::BTreeMap;

use actix_ws_client::View;
use actix_ws_client::feed::{Dialect, Refusal, Request, RequestId, Said, Sequence, Topic, Which};
use serde::Deserialize;
use serde_json::json;

/// The session of one socket. This venue needs no state.
pub(crate) struct Venue;

/// A trade.
#[derive(Clone, Debug)]
pub(crate) struct Trade {
    pub(crate) price: String,
}

/// Every message that the venue sends has some of these.
#[derive(Deserialize)]
struct Message<'m> {
    sequence_num: u64,
    channel: Option<&'m str>,
    subscriptions: Option<BTreeMap<&'m str, Vec<&'m str>>>,
    product_id: Option<&'m str>,
    trade_id: Option<u64>,
    price: Option<&'m str>,
    message: Option<String>,
}

impl Dialect for Venue {
    type Item = Trade;

    /// The channel: a request names one.
    fn kind<'t>(&self, topic: &'t str) -> &'t str {
        topic.split_once(':').map_or("", |(channel, _)| channel)
    }

    fn subscribe(&mut self, _: RequestId, topics: &[Topic]) -> Request {
        request("subscribe", topics)
    }

    fn unsubscribe(&mut self, _: RequestId, topics: &[Topic]) -> Option<Request> {
        Some(request("unsubscribe", topics))
    }

    fn read<'m>(&mut self, message: View<'m>) -> Said<'m, Trade> {
        let Ok(message) = serde_json::from_slice::<Message<'m>>(message.as_bytes()) else {
            return Said::Nothing;
        };
        let number = Said::counted(message.sequence_num);
        let said = match message {
            Message { subscriptions: Some(all), .. } => {
                let of = |(channel, products): (&str, Vec<&str>)| {
                    let topic = |product: &str| format!("{channel}:{product}");
                    products.into_iter().map(topic).collect::<Vec<_>>()
                };
                Said::confirmed(Which::set(all.into_iter().flat_map(of)))
            }
            Message {
                channel: Some(channel),
                product_id: Some(product),
                trade_id: Some(id),
                price: Some(price),
                ..
            } => {
                let trade = Trade { price: price.to_owned() };
                Said::data(format!("{channel}:{product}"), Sequence::id(id), trade)
            }
            Message { message: Some(reason), .. } => {
                Said::refused(Which::Oldest, Refusal::for_good(reason))
            }
            _ => Said::Nothing,
        };
        [number, said].into_iter().collect()
    }
}

fn request(action: &str, topics: &[Topic]) -> Request {
    let parts = |topic: &'_ Topic| {
        let (channel, product) = topic.split_once(':').unwrap_or(("", topic));
        (channel.to_owned(), product.to_owned())
    };
    let (channels, products): (Vec<String>, Vec<String>) = topics.iter().map(parts).unzip();
    let request = json!({ "type": action, "channel": channels.first(), "product_ids": products });
    Request::text(request.to_string())
}
