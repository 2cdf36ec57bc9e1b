//! tokio-tungstenite: its own buffers of 128 KiB; 4 KiB, as its documentation has it, where there
//! are many connections.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::dial::{Dial, Io};
use crate::pull::Pull;
use crate::tally::Tally;

pub struct Client(WebSocketStream<Io>);

impl Pull for Client {
    async fn open(dial: &Dial) -> Result<Client> {
        let mut config = WebSocketConfig::default();
        if dial.frugal {
            config = config.read_buffer_size(4 << 10);
        }
        let io = dial.io().await?;
        let (socket, _) = client_async_with_config(dial.url(), io, Some(config)).await?;
        Ok(Client(socket))
    }

    async fn read(&mut self, tally: &mut Tally) -> Result<()> {
        match self.0.next().await.context("the stream ended")?? {
            Message::Text(text) => tally.add_text(text.as_str()),
            Message::Binary(bytes) => tally.add(&bytes),
            Message::Close(frame) => bail!("closed: {frame:?}"),
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
        self.0.close(None).await?;
        while let Some(message) = self.0.next().await {
            message?;
        }
        Ok(())
    }
}
