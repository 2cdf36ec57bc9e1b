//! awc with its defaults: `Framed` over its boxed socket. It neither checks text nor joins fragments,
//! so both are done here.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use actix_codec::Framed;
use actix_http::ws::Item;
use anyhow::{Context, Result, anyhow, bail};
use awc::ws::{Codec, Frame, Message};
use awc::{BoxedSocket, Connector};
use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use rustls::ClientConfig;

use crate::dial::Dial;
use crate::pull::Pull;
use crate::tally::Tally;

pub struct Client {
    socket: Framed<BoxedSocket, Codec>,
    parts: Parts,
}

thread_local! {
    /// One client for all connections, as awc intends.
    static CLIENT: OnceCell<awc::Client> = const { OnceCell::new() };
}

/// Dials by awc.
pub async fn dial(dial: &Dial) -> Result<Framed<BoxedSocket, Codec>> {
    let tls = dial.tls()?;
    let client = CLIENT.with(|client| client.get_or_init(|| client_with(tls)).clone());
    let request = client.ws(dial.url()).max_frame_size(4 << 20);
    let (_, socket) = request.connect().await.map_err(|err| anyhow!("{err}"))?;
    Ok(socket)
}

/// A client without its limit of a hundred connections.
fn client_with(tls: Option<Arc<ClientConfig>>) -> awc::Client {
    let mut connector = Connector::new().limit(0);
    if let Some(tls) = tls {
        connector = connector.rustls_0_23(tls);
    }
    awc::Client::builder().connector(connector).timeout(Duration::from_secs(30)).finish()
}

/// A message that comes in fragments.
#[derive(Default)]
pub struct Parts {
    text: bool,
    bytes: BytesMut,
}

impl Parts {
    /// Counts a message in the tally once it is complete.
    pub fn take(&mut self, frame: Frame, tally: &mut Tally) -> Result<()> {
        match frame {
            Frame::Text(bytes) => tally.add_text(std::str::from_utf8(&bytes)?),
            Frame::Binary(bytes) => tally.add(&bytes),
            Frame::Continuation(item) => self.join(item, tally)?,
            Frame::Close(reason) => bail!("closed: {reason:?}"),
            Frame::Ping(_) | Frame::Pong(_) => {}
        }
        Ok(())
    }

    fn join(&mut self, item: Item, tally: &mut Tally) -> Result<()> {
        self.text = match &item {
            Item::FirstText(_) => true,
            Item::FirstBinary(_) => false,
            _ => self.text,
        };
        let last = matches!(item, Item::Last(_));
        let (Item::FirstText(part)
        | Item::FirstBinary(part)
        | Item::Continue(part)
        | Item::Last(part)) = item;
        self.bytes.extend_from_slice(&part);
        if last {
            let message = self.bytes.split();
            match self.text {
                true => tally.add_text(std::str::from_utf8(&message)?),
                false => tally.add(&message),
            }
        }
        Ok(())
    }
}

impl Pull for Client {
    async fn open(to: &Dial) -> Result<Client> {
        Ok(Client { socket: dial(to).await?, parts: Parts::default() })
    }

    async fn read(&mut self, tally: &mut Tally) -> Result<()> {
        match self.socket.next().await.context("the stream ended")?? {
            Frame::Ping(payload) => Ok(self.socket.send(Message::Pong(payload)).await?),
            frame => self.parts.take(frame, tally),
        }
    }

    async fn feed(&mut self, message: &Bytes) -> Result<()> {
        Ok(self.socket.feed(Message::Binary(message.clone())).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        // By the path of the trait: the type has another method of this name.
        Ok(SinkExt::flush(&mut self.socket).await?)
    }

    async fn close(mut self) -> Result<()> {
        self.socket.send(Message::Close(None)).await?;
        while let Some(frame) = self.socket.next().await {
            frame?;
        }
        Ok(())
    }
}
