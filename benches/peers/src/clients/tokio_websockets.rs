//! tokio-websockets: with fastrand and ring. It flushes beyond 64 KiB where messages are fed.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio_websockets::{ClientBuilder, Config, Message, WebSocketStream};

use crate::dial::{Dial, Io};
use crate::pull::Pull;
use crate::tally::Tally;

pub struct Client(WebSocketStream<Io>);

impl Pull for Client {
    async fn open(dial: &Dial) -> Result<Client> {
        let config = Config::default().flush_threshold(64 << 10);
        let builder = ClientBuilder::new().uri(dial.url())?.config(config);
        let (socket, _) = builder.connect_on(dial.io().await?).await?;
        Ok(Client(socket))
    }

    async fn read(&mut self, tally: &mut Tally) -> Result<()> {
        let message = self.0.next().await.context("the stream ended")??;
        if let Some(text) = message.as_text() {
            tally.add_text(text);
        } else if message.is_binary() {
            tally.add(message.as_payload());
        } else if message.is_close() {
            bail!("closed");
        }
        Ok(())
    }

    async fn feed(&mut self, message: &Bytes) -> Result<()> {
        Ok(self.0.feed(Message::binary(message.clone())).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(self.0.flush().await?)
    }

    async fn close(mut self) -> Result<()> {
        self.0.close().await?;
        while let Some(message) = self.0.next().await {
            message?;
        }
        Ok(())
    }
}
