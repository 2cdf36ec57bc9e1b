//! The harness against itself: a broker without `wsup`, so that a failure of a story is not one of its tools.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::message::PublishMessage;

use crate::broker::Broker;
use crate::checker::judge;
use crate::ledger::{Ledger, Name, name};
use crate::patience::until;
use crate::relay::Relay;
use crate::stream::{Reader, subject};

const A: Name = Name('a');

/// A publication as the contract of the stream wants it.
fn publication(id: usize, number: u64, fence: u64) -> PublishMessage {
    let topic = name(0);
    let mut headers = HeaderMap::new();
    // No more than that: the checker has to see what the broker would have refused.
    headers.insert("Nats-Msg-Id", id.to_string());
    headers.insert("Feed-Generation", "1");
    headers.insert("Feed-Last", number.to_string());
    headers.insert("Feed-Fence", fence.to_string());
    let payload = format!(r#"{{"stream":"{topic}","seq":{number},"to":"a"}}"#);
    PublishMessage::build().headers(headers).payload(payload.into())
}

/// Publishes until the broker acknowledges it.
async fn publish(broker: &Broker, id: usize, number: u64, fence: u64) {
    until("an acknowledgement", async || {
        let sent = broker.jetstream.send_publish(subject(0), publication(id, number, fence)).await;
        match sent {
            Ok(acknowledged) => acknowledged.await.is_ok(),
            Err(_) => false,
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs nats-server: just cluster"]
async fn what_is_wrong_in_the_stream_is_found_over_a_change_of_leader_on_a_cluster() {
    let mut broker = Broker::start().await;
    let mut reader = Reader::new(&broker.jetstream);
    let mut ledger = Ledger::new();
    for number in 1..=9 {
        ledger.make(0, 0);
        ledger.sent(0, number, A);
    }
    // The second 2 is doubled, 5 and 4 are swapped, 7 is missing, and the fence of 9 is older.
    let numbers = [(1, 5), (2, 5), (2, 5), (3, 5), (5, 5), (4, 5), (6, 5), (8, 6), (9, 5)];
    for (id, (number, fence)) in numbers.into_iter().enumerate() {
        publish(&broker, id, number, fence).await;
        reader.read_on().await;
        if id == 4 {
            let node = broker.kill_leader().await;
            publish(&broker, id, number, fence).await;
            broker.restart(node).await;
        }
    }
    let last = broker.last_sequence().await.unwrap();
    reader.read_to(last).await;
    let verdict = judge(reader.read, ledger);
    assert_eq!(verdict.stream.len(), numbers.len());
    let wrong = ["the same number 2 after 2", "number 4 after 5", "fence 5 after 6"];
    for (found, wrong) in verdict.wrong.iter().zip(wrong) {
        assert!(found.contains(wrong), "{found}");
    }
    assert_eq!((verdict.wrong.len(), verdict.missing.len(), verdict.missing[0].number), (3, 1, 7));
}

#[tokio::test]
#[ignore = "needs nats-server: just cluster"]
async fn what_a_frozen_relay_holds_arrives_late_on_a_cluster() {
    let broker = Broker::start().await;
    let relay = Relay::to(broker.ports()[0]).await;
    let url = format!("nats://127.0.0.1:{}", relay.port);
    let client = async_nats::ConnectOptions::new()
        .request_timeout(Some(Duration::from_millis(500)))
        .connect(url)
        .await
        .unwrap();
    let cut_off = async_nats::jetstream::new(client);
    let publish = async |number| {
        cut_off.send_publish(subject(0), publication(number as usize, number, 1)).await.unwrap()
    };
    let acknowledged = publish(1).await.await.unwrap();
    assert_eq!(acknowledged.sequence, 1);
    relay.freeze();
    let late = publish(2).await;
    let timed_out = tokio::time::timeout(Duration::from_millis(500), late.into_future()).await;
    assert!(timed_out.is_err(), "{timed_out:?}");
    assert_eq!(broker.last_sequence().await, Some(1));
    relay.thaw();
    until("the late publication", async || broker.last_sequence().await == Some(2)).await;
}
