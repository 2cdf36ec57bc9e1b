//! Messages that wait in a stream: they stay in order, keep to their own waits, and leave with their future.

use std::pin::pin;
use std::time::Duration;

use actix_ws_client::command::{self, SendError};
use actix_ws_client::stream::{Events, Sender};
use actix_ws_client::testing::{MemoryServer, Script};
use actix_ws_client::{Event, Payload};
use futures_util::{SinkExt, poll};
use tokio::time::{Instant, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// How many bytes fit into the send buffer.
const SEND_BUFFER: usize = 4 << 10;

/// Starts a stream on this thread, so that nothing leaves its queue before the next `.await`, and waits until its
/// socket is open.
async fn opened(server: &MemoryServer, capacity: usize) -> (Sender, Events) {
    let builder = server.connection().no_reconnect().send_buffer(SEND_BUFFER);
    let builder = builder.write_timeout(3600 * SECOND);
    let (sender, mut events) = builder.stream_here(capacity).unwrap();
    while !matches!(events.next().await, Some(Event::Open(_))) {}
    (sender, events)
}

/// Returns the next message that the server has received.
async fn received(server: &MemoryServer) -> Payload {
    timeout(20 * SECOND, server.journal().next_message()).await.expect("a message")
}

#[actix::test]
async fn a_batch_longer_than_the_send_buffer_arrives_in_order() {
    let server = MemoryServer::paused(Script::accept());
    let (mut sender, _events) = opened(&server, 100).await;
    // 50 messages of 1 KiB in one batch: room for three, then for one after the other.
    for number in 0..50 {
        sender.feed(Payload::from(format!("{number:0>1024}"))).await.unwrap();
    }
    sender.flush().await.unwrap();
    for number in 0..50 {
        assert_eq!(received(&server).await, Payload::from(format!("{number:0>1024}")));
    }
}

#[actix::test]
async fn a_message_with_a_wait_of_its_own_comes_back_when_that_has_passed() {
    let server = MemoryServer::paused(Script::accept().stall_forever());
    let (sender, _events) = opened(&server, 4).await;
    let message = || command::Send::binary(vec![7; SEND_BUFFER / 2]).wait(5 * SECOND);
    let waited = async {
        loop {
            let begun = Instant::now();
            match sender.send(message()).await {
                Ok(_) => {}
                Err(err) => return (err, begun.elapsed().as_secs()),
            }
        }
    };
    let (err, seconds) = timeout(600 * SECOND, waited).await.expect("an end of the wait");
    assert_eq!((err, seconds), (SendError::Full(vec![7; SEND_BUFFER / 2].into()), 5));
}

#[actix::test]
async fn a_message_whose_future_is_dropped_in_the_queue_is_not_sent() {
    let server = MemoryServer::paused(Script::accept());
    let (sender, _events) = opened(&server, 4).await;
    {
        let mut dropped = pin!(sender.send("dropped"));
        assert!(poll!(dropped.as_mut()).is_pending());
        assert_eq!(sender.try_send("queued"), Ok(()));
    }
    assert_eq!(received(&server).await, Payload::from("queued"));
    sender.send("last").await.unwrap();
    assert_eq!(received(&server).await, Payload::from("last"));
    assert_eq!(server.journal().messages(), ["queued", "last"].map(Payload::from));
}

#[actix::test]
async fn what_was_fed_leaves_before_what_the_same_sender_queues_behind_it() {
    let server = MemoryServer::paused(Script::accept());
    let (mut sender, _events) = opened(&server, 4).await;
    sender.feed("1".into()).await.unwrap();
    sender.feed("2".into()).await.unwrap();
    sender.try_send("3").unwrap();
    sender.feed("4".into()).await.unwrap();
    sender.send("5").await.unwrap();
    sender.feed("6".into()).await.unwrap();
    drop(sender);
    for text in ["1", "2", "3", "4", "5", "6"] {
        assert_eq!(received(&server).await, Payload::from(text));
    }
}

#[actix::test]
async fn a_full_queue_stops_a_feed_that_has_gathered_as_much() {
    let server = MemoryServer::paused(Script::accept().stall_forever());
    let (mut sender, _events) = opened(&server, 2).await;
    let message = || Payload::from(vec![7; SEND_BUFFER / 2]);
    // More than fit into the buffers on the way.
    let fill = async {
        for _ in 0..100 {
            sender.feed(message()).await.unwrap();
        }
    };
    assert!(timeout(SECOND, fill).await.is_err());
    assert_eq!(sender.try_send(message()), Err(SendError::Full(message())));
    let mut other = sender.clone();
    assert_eq!(other.try_send(message()), Err(SendError::Full(message())));
    // Nor does one of another sender, which has gathered nothing, or a flush pass it.
    assert!(timeout(SECOND, other.feed(message())).await.is_err());
    assert!(timeout(SECOND, sender.flush()).await.is_err());
}

#[actix::test]
async fn what_was_fed_comes_back_with_a_flush_where_the_connection_closed() {
    let server = MemoryServer::paused(Script::accept());
    let (mut sender, mut events) = opened(&server, 4).await;
    sender.feed("first".into()).await.unwrap();
    sender.feed("second".into()).await.unwrap();
    sender.clone().close().await.unwrap();
    while events.next().await.is_some() {}
    drop(events);
    let flushed = timeout(60 * SECOND, sender.flush()).await.expect("an end");
    assert_eq!(flushed, Err(SendError::Closed("first".into())));
    assert_eq!(sender.flush().await, Ok(()));
    assert!(server.journal().messages().is_empty());
}

#[actix::test]
async fn a_flush_waits_for_room_in_a_queue_that_others_have_filled() {
    let server = MemoryServer::paused(Script::accept());
    let (mut sender, _events) = opened(&server, 2).await;
    let other = sender.clone();
    sender.feed("fed".into()).await.unwrap();
    for text in ["1", "2"] {
        other.try_send(text).unwrap();
    }
    assert_eq!(other.try_send("3"), Err(SendError::Full("3".into())));
    timeout(60 * SECOND, sender.flush()).await.expect("room").unwrap();
    for text in ["1", "2", "fed"] {
        assert_eq!(received(&server).await, Payload::from(text));
    }
}
