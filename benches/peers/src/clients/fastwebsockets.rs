//! fastwebsockets: upgraded by hyper, fragments collected. It writes each frame separately.

use anyhow::{Result, bail};
use bytes::Bytes;
use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, handshake};
use http_body_util::Empty;
use hyper::Request;
use hyper::header::{CONNECTION, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::dial::Dial;
use crate::pull::Pull;
use crate::tally::Tally;

pub struct Client(FragmentCollector<TokioIo<Upgraded>>);

impl Pull for Client {
    async fn open(dial: &Dial) -> Result<Client> {
        let request = Request::get(dial.path())
            .header(HOST, dial.authority())
            .header(UPGRADE, "websocket")
            .header(CONNECTION, "upgrade")
            .header("Sec-WebSocket-Key", handshake::generate_key())
            .header("Sec-WebSocket-Version", "13")
            .body(Empty::<Bytes>::new())?;
        let io = dial.io().await?;
        let (socket, _) = handshake::client(&TokioExecutor::new(), request, io).await?;
        Ok(Client(FragmentCollector::new(socket)))
    }

    async fn read(&mut self, tally: &mut Tally) -> Result<()> {
        let frame = self.0.read_frame().await?;
        match frame.opcode {
            // The text is checked already, but returned as bytes.
            OpCode::Text | OpCode::Binary => tally.add(&frame.payload),
            OpCode::Close => bail!("closed"),
            _ => {}
        }
        Ok(())
    }

    async fn feed(&mut self, message: &Bytes) -> Result<()> {
        Ok(self.0.write_frame(Frame::binary(Payload::Borrowed(message))).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn close(mut self) -> Result<()> {
        self.0.write_frame(Frame::close(1000, b"")).await?;
        while self.0.read_frame().await?.opcode != OpCode::Close {}
        Ok(())
    }
}
