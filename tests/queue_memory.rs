//! What waits for slow handlers is counted as what it is: the queue's figure against an allocator that counts.
#![cfg(feature = "deflate")]

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, AsyncContext, Context, Handler};
use actix_ws_client::proto::codec::{Codec, Limits};
use actix_ws_client::proto::frame::Role;
use actix_ws_client::proto::message::{ControlPayload, Outgoing};
use actix_ws_client::{Compression, Connection, ConnectionBuilder, Payload};
use bytes::{Buf, Bytes, BytesMut};
use peak_alloc::PeakAlloc;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// How much may wait, in bytes.
const READ_AHEAD: usize = 4 << 20;

/// By how much the figure may be too high or too low.
const BOUND: f64 = 1.5;

/// Bytes of frames that fill a read.
const READ: usize = 60_000;

/// A server that sends the same piece for ever; no read goes beyond a piece.
struct Repeat {
    /// The request, until it is answered.
    request: Vec<u8>,
    piece: Bytes,
    readable: VecDeque<Bytes>,
    reader: Option<Waker>,
}

impl AsyncRead for Repeat {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let piece = self.piece.clone();
        let Some(front) = self.readable.front_mut() else {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let count = front.len().min(buf.remaining());
        buf.put_slice(&front[..count]);
        front.advance(count);
        if front.is_empty() {
            *front = piece;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Repeat {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.request.extend_from_slice(bytes);
        if self.readable.is_empty() && self.request.ends_with(b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&self.request).to_ascii_lowercase();
            let at = head.find("sec-websocket-key: ").unwrap() + 19;
            let accept = derive_accept_key(&self.request[at..at + 24]);
            let deflate = "permessage-deflate; server_no_context_takeover";
            let reply = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Extensions: {deflate}\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            self.readable.push_back(reply.into());
            self.reader.take().into_iter().for_each(Waker::wake);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A handler whose mailbox is full after one event.
struct Stuck;

impl Actor for Stuck {
    type Context = Context<Stuck>;

    fn started(&mut self, ctx: &mut Context<Stuck>) {
        ctx.set_mailbox_capacity(1);
        ctx.wait(wrap_future(std::future::pending()));
    }
}

impl<M: actix::Message<Result = ()>> Handler<M> for Stuck {
    type Result = ();

    fn handle(&mut self, _: M, _: &mut Context<Stuck>) {}
}

/// Returns what the queue counts, and what it takes, once reading has stopped. In a system of its own,
/// with which all is freed.
fn fill(piece: Bytes, register: impl Fn(ConnectionBuilder) -> ConnectionBuilder) -> (usize, usize) {
    actix::System::new().block_on(fill_here(piece, register))
}

async fn fill_here(
    piece: Bytes,
    register: impl Fn(ConnectionBuilder) -> ConnectionBuilder,
) -> (usize, usize) {
    let (request, readable) = (Vec::with_capacity(1024), VecDeque::new());
    let server = Repeat { request, piece, readable, reader: None };
    let builder = Connection::builder("ws://in.memory/").transport(server).read_ahead(READ_AHEAD);
    let builder = register(builder.ping_interval(None).no_reconnect());
    let watch = builder.watch();
    let before = ALLOCATOR.current_usage();
    let connection = builder.start().unwrap();
    let full = tokio::time::timeout(Duration::from_secs(60), async {
        while watch.figures().queued_bytes <= READ_AHEAD as u64 {
            tokio::task::yield_now().await;
        }
    });
    full.await.unwrap_or_else(|_| panic!("{:?}", watch.figures()));
    let held = ALLOCATOR.current_usage() - before;
    let counted = watch.figures().queued_bytes as usize;
    assert!(connection.connected());
    (counted, held)
}

/// Frames of some items: once, or as often as they fill a read.
fn frames(items: &[Outgoing], is_many: bool, deflates: bool) -> Bytes {
    let mut codec = Codec::new(Role::Server, Limits::default());
    if deflates {
        let offer = &b"permessage-deflate; server_no_context_takeover"[..];
        codec = codec.with_deflate(Compression::new().agree([offer]).unwrap());
    }
    let mut wire = BytesMut::new();
    while wire.is_empty() || (is_many && wire.len() * 2 < READ) {
        items.iter().for_each(|item| codec.encode(item.clone(), &mut wire).unwrap());
    }
    wire.freeze()
}

#[test]
fn the_queue_counts_what_it_holds_at_every_size_and_grouping() {
    let message = |len| Outgoing::Message(Payload::Binary(vec![7; len].into()));
    let fragments = |len| Outgoing::Fragments(vec![7; len].into(), len.div_ceil(2));
    let ping = |len| Outgoing::Ping(ControlPayload::new(vec![7; len]).unwrap());
    let mut cases = Vec::new();
    for len in [1, 16, 128, 16_384] {
        cases.push((format!("messages of {len}"), vec![message(len)], false));
        cases.push((format!("compressed messages of {len}"), vec![message(len)], true));
    }
    for len in [2, 16, 128, 16_384] {
        cases.push((format!("messages of {len} in two fragments"), vec![fragments(len)], false));
    }
    for len in [0, 1, 125] {
        cases.push((format!("pings of {len}"), vec![ping(len)], false));
    }
    let both = vec![ping(1), message(1)];
    cases.push((String::from("messages of 1 behind a ping"), both, false));
    let mut wrong = Vec::new();
    for (name, items, deflates) in cases {
        for is_many in [false, true] {
            let kinds: &[&str] = match &items[..] {
                [Outgoing::Ping(_)] => &["ping"],
                [Outgoing::Fragments(..)] => &["message", "continuation"],
                // A batch of inflated messages in the mailbox can hold as much as the queue.
                [Outgoing::Message(_)] if deflates => &["message"],
                _ => &["message", "batch"],
            };
            for kind in kinds {
                let (counted, held) = fill(frames(&items, is_many, deflates), |builder| {
                    let stuck = Stuck.start();
                    match *kind {
                        "ping" => builder.on_ping_to(stuck.recipient()),
                        "continuation" => builder.on_continuation_to(stuck.recipient()),
                        "batch" => builder.on_batch_to(stuck.recipient()),
                        _ => builder
                            .on_message_to(stuck.clone().recipient())
                            .on_ping_to(stuck.recipient()),
                    }
                });
                let ratio = held as f64 / counted as f64;
                let grouping = if is_many { "many" } else { "one" };
                let line = format!(
                    "{ratio:.2} {name}, {grouping} to a read, as {kind}: {counted} counted, {held} held"
                );
                println!("{line}");
                if !(1.0 / BOUND..=BOUND).contains(&ratio) {
                    wrong.push(line);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
