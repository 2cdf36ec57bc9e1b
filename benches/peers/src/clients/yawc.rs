//! yawc: with the buffers of its own benchmark, 128 KiB to read and 64 KiB to write; 1 KiB each, as
//! its documentation has it, where there are many connections. No compression, UTF-8 checked.

use anyhow::{Result, bail};
use bytes::Bytes;
use futures_util::SinkExt;
use yawc::{Frame, OpCode, Options, WebSocket};

use crate::dial::{Dial, Io};
use crate::pull::Pull;
use crate::tally::Tally;

pub struct Client(WebSocket<Io>);

impl Pull for Client {
    async fn open(dial: &Dial) -> Result<Client> {
        // Its own limit is just short of 1 MiB.
        let options =
            Options::default().without_compression().with_utf8().with_limits(4 << 20, 8 << 20);
        let options = match dial.frugal {
            true => options.with_read_buffer_capacity(1 << 10).with_write_buffer_capacity(1 << 10),
            false => {
                options.with_read_buffer_capacity(128 << 10).with_backpressure_boundary(64 << 10)
            }
        };
        let socket = WebSocket::handshake(dial.url().parse()?, dial.io().await?, options).await?;
        Ok(Client(socket))
    }

    async fn read(&mut self, tally: &mut Tally) -> Result<()> {
        let frame = self.0.next_frame().await?;
        match frame.opcode() {
            // It has checked that a text is UTF-8; its `as_str` would do so again.
            OpCode::Text | OpCode::Binary => tally.add(frame.payload()),
            OpCode::Close => bail!("closed"),
            _ => {}
        }
        Ok(())
    }

    async fn feed(&mut self, message: &Bytes) -> Result<()> {
        Ok(self.0.feed(Frame::binary(message.clone())).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(self.0.flush().await?)
    }

    async fn close(mut self) -> Result<()> {
        self.0.send(Frame::close(yawc::close::CloseCode::Normal, "")).await?;
        while self.0.next_frame().await?.opcode() != OpCode::Close {}
        Ok(())
    }
}
