//! web-socket: it brings neither an upgrade nor buffers, so it gets 64 KiB each way. It does not
//! check text, so that is done here, and leaves it to us to join fragments.

use anyhow::{Result, bail};
use bytes::Bytes;
use web_socket::{CloseCode, DataType, Event, MessageType, Stream, WebSocket};

use crate::dial::{Buffered, Dial};
use crate::pull::Pull;
use crate::tally::Tally;

pub struct Client {
    socket: WebSocket<Buffered>,
    parts: Vec<u8>,
}

impl Client {
    fn take(ty: MessageType, message: &[u8], tally: &mut Tally) -> Result<()> {
        match ty {
            MessageType::Text => tally.add_text(std::str::from_utf8(message)?),
            MessageType::Binary => tally.add(message),
        }
        Ok(())
    }
}

impl Pull for Client {
    async fn open(dial: &Dial) -> Result<Client> {
        let socket = WebSocket::client(dial.upgraded().await?);
        Ok(Client { socket, parts: Vec::new() })
    }

    async fn read(&mut self, tally: &mut Tally) -> Result<()> {
        match self.socket.recv().await? {
            Event::Data { ty: DataType::Complete(ty), data } => Client::take(ty, &data, tally),
            Event::Data { ty: DataType::Stream(Stream::End(ty)), data } => {
                self.parts.extend_from_slice(&data);
                Client::take(ty, &self.parts, tally)?;
                self.parts.clear();
                Ok(())
            }
            Event::Data { data, .. } => {
                self.parts.extend_from_slice(&data);
                Ok(())
            }
            Event::Ping(data) => Ok(self.socket.send_pong(data).await?),
            Event::Pong(_) => Ok(()),
            Event::Error(err) => bail!("{err}"),
            Event::Close { code, .. } => bail!("closed: {code}"),
        }
    }

    async fn feed(&mut self, message: &Bytes) -> Result<()> {
        Ok(self.socket.send(&message[..]).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(self.socket.flash().await?)
    }

    async fn close(mut self) -> Result<()> {
        // Its `close` takes the socket away before the answer has come.
        WebSocket::client(&mut self.socket.stream).close(CloseCode::Normal).await?;
        while !matches!(self.socket.recv().await?, Event::Close { .. }) {}
        Ok(())
    }
}
