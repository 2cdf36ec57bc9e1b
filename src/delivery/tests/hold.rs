//! What holds delivery up: `command::Hold`, a full mailbox, and both.

use std::future::poll_fn;
use std::task::Poll;

use actix::{Actor, Recipient};
use tokio::sync::{mpsc, oneshot};

use super::{Stuck, all, drained, run};
use crate::delivery::{Delivery, Handlers};
use crate::event;
use crate::options::Overflow;

/// A recipient that is never full, and what it gets.
fn quick() -> (Recipient<event::Message>, mpsc::UnboundedReceiver<Vec<u8>>) {
    let (told, seen) = mpsc::unbounded_channel();
    let recipient = event::call(move |it: event::Message| {
        told.send(vec![it.payload.as_bytes()[0]]).unwrap();
    });
    (recipient, seen)
}

fn delivery(recipients: impl IntoIterator<Item = Recipient<event::Message>>) -> Delivery {
    let mut handlers = Handlers::default();
    recipients.into_iter().for_each(|it| handlers.add(it));
    Delivery::new(handlers, Overflow::Wait, 3000)
}

async fn poll(delivery: &mut Delivery) {
    poll_fn(|cx| Poll::Ready(delivery.poll(cx))).await;
}

#[actix::test]
async fn what_comes_during_a_hold_is_delivered_after_it() {
    let (recipient, mut seen) = quick();
    let mut delivery = delivery([recipient]);
    delivery.hold(false);
    assert!(delivery.is_empty() && delivery.blocked_since().is_none());
    delivery.hold(true);
    // Not empty: else the recipients might be dropped.
    assert!(!delivery.is_empty() && delivery.blocked_since().is_some());
    for number in 1..4 {
        delivery.push_run(run(number));
        // A second hold is the same one.
        delivery.hold(true);
        poll(&mut delivery).await;
    }
    assert!(all(&mut seen).await.is_empty());
    assert_eq!(delivery.events(), 6);
    delivery.hold(false);
    drained(&mut delivery).await;
    assert_eq!(all(&mut seen).await, [1, 1, 2, 2, 3, 3]);
    assert!(delivery.is_empty());
}

/// A queue behind a handler whose mailbox is full, with the messages 1 to 3.
async fn full() -> (Delivery, oneshot::Sender<()>, mpsc::UnboundedReceiver<Vec<u8>>) {
    let (go, wait) = oneshot::channel();
    let (told, seen) = mpsc::unbounded_channel();
    let stuck = Stuck { go: Some(wait), told }.start().recipient();
    let mut delivery = delivery([stuck]);
    tokio::task::yield_now().await;
    (1..4).for_each(|number| delivery.push_run(run(number)));
    poll(&mut delivery).await;
    assert!(delivery.blocked_since().is_some());
    (delivery, go, seen)
}

#[actix::test]
async fn a_hold_takes_nothing_out_of_a_full_mailbox_and_begins_behind_it() {
    let (mut delivery, go, mut seen) = full().await;
    let since = delivery.blocked_since();
    delivery.hold(true);
    assert_eq!(delivery.blocked_since(), since, "the mailbox is still what delivery waits for");
    go.send(()).unwrap();
    let mut first = Vec::new();
    // The handler takes what is in its mailbox, and delivery notices.
    for _ in 0..3 {
        poll(&mut delivery).await;
        first.extend(all(&mut seen).await);
    }
    assert_eq!(first, [1, 1]);
    assert_eq!((delivery.events(), delivery.blocked_since().is_some()), (4, true));
    delivery.hold(false);
    drained(&mut delivery).await;
    assert_eq!(all(&mut seen).await, [2, 2, 3, 3]);
}

#[actix::test]
async fn the_end_of_a_hold_takes_nothing_out_of_a_full_mailbox() {
    for holds_before in [true, false] {
        let (mut delivery, go, mut seen) = full().await;
        if holds_before {
            delivery.hold(true);
        }
        delivery.hold(false);
        assert!(delivery.blocked_since().is_some());
        go.send(()).unwrap();
        drained(&mut delivery).await;
        assert_eq!(all(&mut seen).await, [1, 1, 2, 2, 3, 3]);
    }
}

#[actix::test]
async fn a_hold_goes_on_when_the_recipient_with_the_full_mailbox_leaves_or_ends() {
    for ends in [true, false] {
        let (go, wait) = oneshot::channel();
        let (told, _) = mpsc::unbounded_channel();
        let stuck = Stuck { go: Some(wait), told }.start().recipient();
        let (recipient, mut seen) = quick();
        let mut delivery = delivery([stuck.clone(), recipient]);
        tokio::task::yield_now().await;
        (1..4).for_each(|number| delivery.push_run(run(number)));
        poll(&mut delivery).await;
        let before = all(&mut seen).await;
        assert!(before.len() < 6 && delivery.blocked_since().is_some());
        delivery.hold(true);
        if ends {
            // The handler panics: its sender is gone.
            drop(go);
            all(&mut seen).await;
            assert!(!stuck.connected());
            delivery.drop_ended();
        } else {
            assert!(delivery.unsubscribe(&stuck));
        }
        assert!(delivery.blocked_since().is_some(), "ends: {ends}");
        poll(&mut delivery).await;
        assert!(all(&mut seen).await.is_empty(), "ends: {ends}");
        delivery.hold(false);
        drained(&mut delivery).await;
        let after = all(&mut seen).await;
        assert_eq!([before, after].concat(), [1, 1, 2, 2, 3, 3], "ends: {ends}");
    }
}
