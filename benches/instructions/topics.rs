//! A feed over transports in memory whose dialect reads nothing, and the bare connections that it is compared with.

use actix::System;
use actix_ws_client::feed::event::Batch;
use actix_ws_client::feed::{
    Dialect, Feed, Request, RequestId, Rules, Said, Sequence, Threads, Topic,
};
use actix_ws_client::{View, event};
use tokio::sync::oneshot;

use crate::feed::Feed as Transport;
use crate::work::{Seen, Work, binary, connect, wire};

/// The topics, which the messages are of in turn. Of several lengths, as those of a venue: of one the compiler would know
/// the length.
const TOPICS: [&str; 16] = [
    "trade.BTC-USD",
    "trade.ETH-USD",
    "trade.SOL-USD",
    "trade.DOGE-USD",
    "trade.ADA-EUR",
    "trade.PEPE-USDC",
    "book.BTC-USD",
    "book.ETH-USD",
    "book.SOL-USD",
    "book.DOGE-USD",
    "book.ADA-EUR",
    "book.PEPE-USDC",
    "ticker.BTC-USD",
    "ticker.ETH-USD",
    "ticker.SOL-USD",
    "ticker.DOGE-USD",
];

/// Numbers the messages itself.
struct Numbers(u64);

impl Dialect for Numbers {
    type Item = ();

    fn subscribe(&mut self, _: RequestId, _: &[Topic]) -> Request {
        Request::text("s")
    }

    fn read<'m>(&mut self, _: View<'m>) -> Said<'m, ()> {
        let number = self.0;
        self.0 += 1;
        let topic = TOPICS[(number % 16) as usize];
        Said::data(topic, Sequence::contiguous(number / 16, number / 16), ())
    }
}

/// A feed, until the handler of its batches has seen an update for each message.
pub(crate) fn updates(lines: u8, messages: usize) -> Work {
    let wire = wire(&binary(128), messages).freeze();
    Box::new(move || {
        System::new().block_on(async {
            let (tell, told) = oneshot::channel();
            let mut seen = Seen::new(messages, tell);
            let feed = Feed::builder(async |_| Ok(Numbers(0).at("ws://localhost/")))
                .threads(Threads::Here)
                .lines(lines)
                .rules(Rules::default().acknowledged(false))
                .connection(move |builder| {
                    let wire = wire.clone();
                    builder.ping_interval(None).transport_with(move |_, _| {
                        std::future::ready(Ok(Transport::new(wire.clone())))
                    })
                })
                .topics(TOPICS)
                .on::<Batch<()>>(event::call(move |batch: Batch<()>| {
                    for update in batch.iter() {
                        seen.see(update.topic.as_bytes());
                    }
                }))
                .start()
                .expect("nothing is wrong with it");
            let bytes = told.await.expect("the handler lives");
            let names = TOPICS.iter().map(|name| name.len()).sum::<usize>();
            assert_eq!(bytes, messages / TOPICS.len() * names);
            drop(feed);
        });
    })
}

/// Bare connections, until the handler of the batches of each has seen all messages.
pub(crate) fn batches(connections: usize, messages: usize) -> Work {
    let wire = wire(&binary(128), messages).freeze();
    Box::new(move || {
        System::new().block_on(async {
            let mut all = Vec::new();
            for _ in 0..connections {
                let (tell, told) = oneshot::channel();
                let mut seen = Seen::new(messages, tell);
                let recipient = event::call(move |batch: event::Batch| {
                    for view in batch.iter() {
                        seen.see(view.as_bytes());
                    }
                });
                let transport = Transport::new(wire.clone());
                all.push((connect(transport, |builder| builder.on_batch_to(recipient)), told));
            }
            for (connection, told) in all {
                assert_eq!(told.await.expect("the handler lives"), messages * 128);
                drop(connection);
            }
        });
    })
}
