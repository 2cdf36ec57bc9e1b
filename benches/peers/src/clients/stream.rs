//! actix-ws-client as a stream: `stream` with the connection on the thread of its consumer, and
//! `stream-across` with it on the background thread. Each event is taken one by one.

use actix_ws_client::stream::{Events, Sender};
use actix_ws_client::{ConnectionBuilder, Event, Payload};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};

use crate::clients::ours::builder;
use crate::dial::Dial;
use crate::pull::Pull;
use crate::tally::Tally;

/// Events, and messages to send, that may wait.
const CAPACITY: usize = 1024;

/// Whether the connection runs on another thread.
pub struct Client<const ACROSS: bool> {
    sender: Sender,
    events: Events,
}

impl<const ACROSS: bool> Pull for Client<ACROSS> {
    async fn open(dial: &Dial) -> Result<Self> {
        let start = if ACROSS { ConnectionBuilder::stream } else { ConnectionBuilder::stream_here };
        let (sender, mut events) = start(builder(dial)?, CAPACITY)?;
        loop {
            match events.next().await.context("the stream ended")? {
                Event::Open(_) => return Ok(Client { sender, events }),
                Event::Error(failed) => bail!("{}", failed.error),
                _ => {}
            }
        }
    }

    async fn read(&mut self, tally: &mut Tally) -> Result<()> {
        match StreamExt::next(&mut self.events).await.context("the stream ended")? {
            Event::Message(message) => match &message.payload {
                Payload::Text(text) => tally.add_text(text),
                Payload::Binary(bytes) => tally.add(bytes),
            },
            Event::Close(close) => bail!("closed: {}", close.code),
            _ => {}
        }
        Ok(())
    }

    async fn feed(&mut self, message: &Bytes) -> Result<()> {
        Ok(self.sender.feed(Payload::Binary(message.clone())).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(self.sender.flush().await?)
    }

    async fn close(mut self) -> Result<()> {
        self.sender.close().await?;
        while self.events.next().await.is_some() {}
        Ok(())
    }
}
