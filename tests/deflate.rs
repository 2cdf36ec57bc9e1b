//! Messages are compressed as negotiated, and only if negotiated (RFC 7692).
//!
//! The peer is this crate's codec in the server role, after a handshake by tungstenite: no small
//! Rust server has permessage-deflate. Other implementations are tested in `tests/autobahn` and
//! `tests/interop`.
#![cfg(feature = "deflate")]

use std::time::Duration;

use actix_ws_client::proto::codec::Codec;
use actix_ws_client::proto::error::ProtocolError;
use actix_ws_client::proto::frame::Role;
use actix_ws_client::proto::message::{Incoming, Outgoing};
use actix_ws_client::testing::{Probe, Script, Server};
use actix_ws_client::{
    Compression, ConfigError, Connection, ConnectionBuilder, Error, Limits, OutcomeKind, Payload,
    Reconnect, command, event,
};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

const EXTENSIONS: &str = "sec-websocket-extensions";

/// A server that accepts one connection after the other.
struct Peer {
    listener: TcpListener,
}

impl Peer {
    async fn new() -> Peer {
        Peer { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    fn connection(&self, compression: Compression) -> ConnectionBuilder {
        Connection::builder(format!("ws://{}/", self.listener.local_addr().unwrap()))
            .compression(compression)
            .reconnect(Reconnect::fixed(Duration::from_millis(10)))
    }

    /// Accepts the next connection with this reply to its offer. Returns the offer.
    #[expect(clippy::result_large_err, reason = "the callback's type is not ours")]
    async fn accept(&self, answer: Option<&str>) -> (TcpStream, Option<String>) {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut offer = None;
        let callback =
            |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
                let value = request.headers().get(EXTENSIONS);
                offer = value.map(|value| value.to_str().unwrap().to_owned());
                if let Some(answer) = answer {
                    response.headers_mut().insert(EXTENSIONS, answer.parse().unwrap());
                }
                Ok(response)
            };
        let socket = accept_hdr_async(stream, callback).await.unwrap();
        (socket.into_inner(), offer)
    }
}

/// The server's codec.
fn codec(compression: Compression, answer: &str) -> Codec {
    let agreed = compression.agree([answer.as_bytes()]).unwrap();
    assert!(agreed.is_some());
    Codec::new(Role::Server, Limits::default()).with_deflate(agreed)
}

/// Echoes this number of messages. Returns the first control frame that arrives before the last one.
async fn echo(stream: &mut TcpStream, codec: &mut Codec, mut messages: usize) -> Option<Incoming> {
    let (mut inbox, mut outbox) = (BytesMut::new(), BytesMut::new());
    while messages > 0 {
        while let Some(item) = codec.decode(&mut inbox).unwrap() {
            match item {
                Incoming::Message(payload) => {
                    codec.encode(Outgoing::Message(payload), &mut outbox).unwrap();
                    messages -= 1;
                }
                other => return Some(other),
            }
        }
        stream.write_all_buf(&mut outbox).await.unwrap();
        if messages > 0 && stream.read_buf(&mut inbox).await.unwrap() == 0 {
            return None;
        }
    }
    None
}

/// Messages of all sizes; some are compressible.
fn messages() -> Vec<Payload> {
    let quote = |n: u64| format!(r#"{{"symbol":"ETHBTC","bid":{n},"ask":{},"size":0.5}}"#, n + 1);
    let quotes = (0..40).map(|n| quote(n * 7919 % 1000).into());
    let long: String = (0..2_000).map(quote).collect();
    let noise = (0..5_000_u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8);
    let others = [
        Payload::from(""),
        long.into(),
        noise.collect::<Vec<u8>>().into(),
        vec![0; 300_000].into(),
        "z\u{fc}rich \u{1f980}".repeat(5_000).into(),
    ];
    quotes.chain(others).collect()
}

/// Sends all messages and receives their echoes, with these parameters negotiated. Returns the
/// bytes sent and received.
async fn exchange(compression: Compression, answer: &str) -> (u64, u64) {
    let peer = Peer::new().await;
    let probe = Probe::new();
    let builder = peer.connection(compression);
    let watch = builder.watch();
    let connection = probe.attach(builder).start().unwrap();
    let (mut stream, offer) = peer.accept(Some(answer)).await;
    assert_eq!(offer, compression.offer());
    let messages = messages();
    let count = messages.len();
    let mut codec = codec(compression, answer);
    let server = actix::spawn(async move { echo(&mut stream, &mut codec, count + 1).await });
    let open = probe.next::<event::Open>().await;
    assert_eq!(open.handshake.extensions.as_deref(), Some(answer));
    for message in &messages {
        connection.send(command::Send::from(message.clone())).await.unwrap().unwrap();
    }
    for message in &messages {
        assert!(probe.next_message().await.payload == *message);
    }
    connection.do_send(command::Close::normal());
    probe.stopped().await;
    assert!(matches!(server.await.unwrap(), Some(Incoming::Close(_))));
    let figures = watch.figures();
    (figures.bytes_in, figures.bytes_out)
}

#[actix::test]
async fn messages_pass_whole_under_every_kind_of_agreement() {
    let base = Compression::new().threshold(0).client_no_context_takeover(false);
    let plain: u64 = messages().iter().map(|message| message.len() as u64).sum();
    let with = exchange(base, "permessage-deflate").await;
    let alone = exchange(
        base,
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    )
    .await;
    let small = exchange(
        base.server_max_window_bits(10),
        "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9",
    )
    .await;
    let mixed = exchange(
        Compression::new().server_no_context_takeover(true).level(1).mem_level(1),
        "permessage-deflate; server_no_context_takeover; server_max_window_bits=12; \
         client_max_window_bits=\"8\"",
    )
    .await;
    println!("{plain} bytes; in, out: {with:?}, {alone:?}, {small:?}; window 8 out {mixed:?}");
    for (incoming, outgoing) in [with, alone, small] {
        assert!(incoming < plain / 4 && outgoing < plain / 4, "{incoming} {outgoing} of {plain}");
    }
    assert!(with.0 < alone.0 && with.1 < alone.1, "takeover: {with:?}, without: {alone:?}");
    // With a window of 8 bits the client compresses nothing.
    assert!(mixed.0 < plain / 4 && mixed.1 > plain, "{mixed:?}");
}

#[actix::test]
async fn a_new_socket_begins_with_an_empty_context() {
    let compression = Compression::new().threshold(0).client_no_context_takeover(false);
    let peer = Peer::new().await;
    let probe = Probe::new();
    let connection = probe.attach(peer.connection(compression)).start().unwrap();
    let text = "the same words in every epoch ".repeat(20);
    for epoch in 1..=3 {
        let (mut stream, _) = peer.accept(Some("permessage-deflate")).await;
        assert_eq!(probe.next::<event::Open>().await.epoch, epoch);
        let sent = connection.send(command::Send::text(text.clone())).await.unwrap();
        sent.unwrap();
        let mut codec = codec(compression, "permessage-deflate");
        assert_eq!(echo(&mut stream, &mut codec, 1).await, None);
        assert_eq!(probe.next_message().await.payload.as_text(), Some(&*text));
    }
    connection.send(command::Close::normal()).await.unwrap();
}

#[actix::test]
async fn a_server_may_decline_and_then_nothing_is_compressed() {
    let compression = Compression::new().threshold(0);
    let peer = Peer::new().await;
    let probe = Probe::new();
    let connection = probe.attach(peer.connection(compression).no_reconnect()).start().unwrap();
    let (mut stream, offer) = peer.accept(None).await;
    assert!(offer.is_some());
    assert_eq!(probe.next::<event::Open>().await.handshake.extensions, None);
    let mut codec = Codec::new(Role::Server, Limits::default());
    let text = "words ".repeat(1_000);
    connection.send(command::Send::text(text.clone())).await.unwrap().unwrap();
    assert_eq!(echo(&mut stream, &mut codec, 1).await, None);
    assert_eq!(probe.next_message().await.payload.as_text(), Some(&*text));
    // RSV1 without a negotiated extension is a protocol error (RFC 6455, 5.2).
    stream.write_all(b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00").await.unwrap();
    let error = probe.next::<event::Error>().await.error;
    assert!(matches!(error, Error::Protocol(ProtocolError::ReservedBit)), "{error}");
    assert_eq!(probe.next::<event::Close>().await.code.value(), 1002);
}

#[actix::test]
async fn nothing_is_offered_where_it_is_off_and_then_nothing_may_be_answered() {
    let server = Server::start([
        Script::accept().echo(),
        Script::accept().header("Sec-WebSocket-Extensions", "permessage-deflate").echo(),
    ]);
    let probe = Probe::new();
    let off = || Connection::builder(server.url()).compression(Compression::off()).no_reconnect();
    let connection = probe.attach(off()).start().unwrap();
    probe.next::<event::Open>().await;
    connection.send(command::Close::normal()).await.unwrap();
    assert_eq!(server.requests()[0].header(EXTENSIONS), None);
    let outcome = off().run().await.unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Refused);
}

#[actix::test]
async fn what_cannot_be_offered_is_named_before_a_dial() {
    let builder = Connection::builder("ws://localhost:9/")
        .compression(Compression::new().client_max_window_bits(16));
    match builder.run().await {
        Err(ConfigError::Option { option, reason }) => {
            assert_eq!(option, "compression");
            assert_eq!(reason, "client_max_window_bits must be from 8 to 15");
        }
        other => panic!("{other:?}"),
    }
}

#[actix::test]
async fn what_cannot_be_inflated_or_is_too_much_ends_the_socket_with_its_code() {
    // A text that is not UTF-8; no DEFLATE data; two MiB of zeros, under a limit of one.
    let zeros = {
        let mut dst = BytesMut::new();
        let message = Outgoing::Message(vec![0; 2 << 20].into());
        codec(Compression::new(), "permessage-deflate").encode(message, &mut dst).unwrap();
        dst.to_vec()
    };
    let cases: [(&[u8], u16); 3] =
        [(b"\xc1\x07\x00\x01\x00\xfe\xff\xff\x00", 1007), (b"\xc1\x01\x07", 1002), (&zeros, 1009)];
    for (frame, code) in cases {
        let accept = Script::accept().header("Sec-WebSocket-Extensions", "permessage-deflate");
        let server = Server::start(accept.send_raw(frame.to_vec()).echo());
        let probe = Probe::new();
        let mut limits = Limits::default();
        limits.message = 1 << 20;
        let builder = Connection::builder(server.url()).limits(limits).no_reconnect();
        let _connection = probe.attach(builder).start().unwrap();
        let close = probe.next::<event::Close>().await;
        assert_eq!(close.code.value(), code);
        assert!(probe.all::<event::Message>().is_empty());
    }
}
