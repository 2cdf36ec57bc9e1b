//! sockudo-ws: its own settings, which batch what is fed and leave compression off.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use sockudo_ws::client::WebSocketClient;
use sockudo_ws::{Config, Http1, Message, WebSocketStream};

use crate::dial::{Dial, Io};
use crate::pull::Pull;
use crate::tally::Tally;

pub struct Client(WebSocketStream<Io>);

impl Pull for Client {
    async fn open(dial: &Dial) -> Result<Client> {
        let client = WebSocketClient::<Http1>::new(Config::default());
        let io = dial.io().await?;
        let (socket, _) = client.connect_raw(io, dial.authority(), dial.path(), None).await?;
        Ok(Client(socket))
    }

    async fn read(&mut self, tally: &mut Tally) -> Result<()> {
        match self.0.next().await.context("the stream ended")?? {
            // It has checked that a text is UTF-8, and hands out bytes all the same.
            Message::Text(bytes) | Message::Binary(bytes) => tally.add(&bytes),
            Message::Close(reason) => bail!("closed: {reason:?}"),
            _ => {}
        }
        Ok(())
    }

    async fn feed(&mut self, message: &Bytes) -> Result<()> {
        Ok(self.0.feed(Message::Binary(message.clone())).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(self.0.flush().await?)
    }

    async fn close(mut self) -> Result<()> {
        self.0.close(1000, "").await?;
        while let Some(message) = self.0.next().await {
            message?;
        }
        Ok(())
    }
}
