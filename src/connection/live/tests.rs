use std::future::poll_fn;
use std::sync::Weak;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::backoff::Reconnect;
use crate::command::status::{Timings, Unsent};
use crate::connection::actor::Item;
use crate::connection::handle_queue::Shared;
use crate::delivery::Handlers;
use crate::dial::link::BaseTransport;
use crate::headers::Headers;
use crate::proto::session::By;

/// An open socket over a pipe in memory, whose other end is the peer's. Nothing is delivered.
struct Socket {
    live: Live,
    peer: DuplexStream,
    delivery: Delivery,
    watch: Watch,
    source: SourceId,
}

impl Socket {
    fn open() -> Socket {
        let mut options = Options::new(Reconnect::never());
        options.ping_interval = None;
        let handshake = Handshake {
            status: 101,
            headers: Headers::default(),
            subprotocol: None,
            extensions: None,
            peer: None,
            tls: None,
            timings: Timings::default(),
        };
        let at = Instant::now();
        let opening = Opening { at, handshake: handshake.into(), attempts: 1, outage: None };
        let (ours, peer) = duplex(1 << 20);
        let link = Link::Plain(BaseTransport::Custom(Box::new(ours)));
        let codec = options.codec(None, false);
        let delivery = Delivery::new(Handlers::default(), options.overflow, options.read_ahead);
        let listener: Weak<dyn Listener> = Weak::<Shared<Item>>::new();
        let live = Live::new(1, opening, link, BytesMut::new(), codec, options.into(), listener);
        Socket { live, peer, delivery, watch: Watch::new(at.into_std()), source: SourceId::next() }
    }

    /// Polls the socket once.
    async fn poll(&mut self) -> Poll<Option<Error>> {
        let Socket { live, delivery, watch, source, .. } = self;
        poll_fn(|cx| Poll::Ready(live.poll(delivery, watch, *source, cx))).await
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn silence_is_no_error_if_bytes_came_since_it_was_found() {
    let mut socket = Socket::open();
    for (came, idle) in [(true, false), (false, false), (false, true)] {
        let since = Instant::now();
        tokio::time::advance(SECOND).await;
        if came {
            // A Ping: bytes, but no data.
            socket.peer.write_all(b"\x89\x00").await.unwrap();
        }
        socket.live.silence(Silence { since, idle });
        let found = socket.poll().await;
        match came {
            true => assert!(found.is_pending(), "{found:?}"),
            false => assert!(
                matches!(found, Poll::Ready(Some(Error::PeerSilent { idle: by, .. })) if by == idle)
            ),
        }
    }
    // No data has come, though a byte has.
    let since = Instant::now();
    tokio::time::advance(SECOND).await;
    socket.peer.write_all(b"\x89\x00").await.unwrap();
    socket.live.silence(Silence { since, idle: true });
    assert!(matches!(socket.poll().await, Poll::Ready(Some(Error::PeerSilent { .. }))));
}

#[tokio::test(start_paused = true)]
async fn bytes_after_a_close_are_not_kept() {
    for bytes in [&b"\x88\x02\x03\xe8"[..], b"\xff\xff"] {
        let mut socket = Socket::open();
        socket.peer.write_all(bytes).await.unwrap();
        // A breach is answered in the third poll.
        for _ in 0..4 {
            assert!(socket.poll().await.is_pending());
        }
        assert!(socket.live.is_closing());
        for _ in 0..10 {
            socket.peer.write_all(&[0x81; 10_000]).await.unwrap();
            assert!(socket.poll().await.is_pending());
            assert_eq!(socket.live.inbox.len(), 0, "{bytes:x?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_without_patience_leaves_behind_what_was_queued_before_it() {
    let mut socket = Socket::open();
    // So much that writing would be put off for more.
    let mut send = command::Send::binary(vec![7; 8 << 10]);
    assert!(socket.live.send(&mut send).is_ok());
    socket.live.close(None, Duration::ZERO, Instant::now());
    assert!(matches!(socket.poll().await, Poll::Ready(None)));
    let (closure, unsent) = socket.live.closure();
    assert_eq!((closure.by, unsent), (By::Local, Unsent::default()));
}
