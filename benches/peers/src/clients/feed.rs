//! A feed of one topic and one line, whose dialect reads nothing of a message: what a feed costs above `batch`.

use actix::System;
use actix_ws_client::View;
use actix_ws_client::event::call;
use actix_ws_client::feed::event::Batch;
use actix_ws_client::feed::{
    Dialect, Feed, Request, RequestId, Rules, Said, Sequence, Threads, Topic,
};
use anyhow::Result;

use crate::actors::{Shared, told};
use crate::clients::ours::configured;
use crate::dial::Dial;
use crate::tally::{Outcome, Tally};

const TOPIC: &str = "trade.BTC-USD";

/// Numbers the messages itself.
struct Numbers(u64);

/// What the blaster's digest needs of a message: its length, and its first and last byte.
type Ends = (u32, u8, u8);

impl Dialect for Numbers {
    type Item = Ends;

    /// The blaster does not look at it.
    fn subscribe(&mut self, _: RequestId, _: &[Topic]) -> Request {
        Request::text(TOPIC)
    }

    fn read<'m>(&mut self, view: View<'m>) -> Said<'m, Ends> {
        let bytes = view.as_bytes();
        let (first, last) = (bytes.first().copied(), bytes.last().copied());
        self.0 += 1;
        let ends = (bytes.len() as u32, first.unwrap_or(0), last.unwrap_or(0));
        Said::data(TOPIC, Sequence::contiguous(self.0, self.0), ends)
    }
}

/// Receives the messages of one connection.
pub fn run(count: u64, dial: &Dial) -> Result<Outcome> {
    System::new().block_on(async {
        let (shared, done) = Shared::new(count);
        let (url, tally) = (dial.url().to_owned(), shared.clone());
        let feed = Feed::builder(async move |_| Ok(Numbers(0).at(url.as_str())))
            .threads(Threads::Here)
            .rules(Rules::default().acknowledged(false))
            .connection(configured)
            .topics([TOPIC])
            .on::<Batch<Ends>>(call(move |batch: Batch<Ends>| {
                tally.fill(|tally| batch.iter().for_each(|update| take(update.item, tally)));
            }))
            .start()?;
        told(done).await?;
        drop(feed);
        Ok(shared.outcome())
    })
}

fn take((length, first, last): Ends, tally: &mut Tally) {
    tally.begin();
    tally.digest.add(length as usize, first, last);
}
