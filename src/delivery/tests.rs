//! Promises of the queue that can only be checked by its fields.

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use actix::fut::wrap_future;
use actix::{Actor, AsyncContext, Handler};
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::command::status::SourceId;
use crate::event;
use crate::proto::codec::MessageKind;
use crate::proto::message::ControlPayload;
use crate::proto::messages::Messages;

mod hold;
mod model;
mod recipients;

/// A handler with a mailbox for one event that handles nothing until it is released.
struct Stuck {
    go: Option<oneshot::Receiver<()>>,
    told: mpsc::UnboundedSender<Vec<u8>>,
}

impl Actor for Stuck {
    type Context = actix::Context<Stuck>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1);
        let go = self.go.take().unwrap();
        ctx.wait(wrap_future(async move { go.await.unwrap() }));
    }
}

impl Handler<event::Batch> for Stuck {
    type Result = ();

    fn handle(&mut self, batch: event::Batch, _: &mut Self::Context) {
        let numbers = batch.iter().map(|view| view.as_bytes()[0]).collect();
        self.told.send(numbers).unwrap();
    }
}

impl Handler<event::Message> for Stuck {
    type Result = ();

    fn handle(&mut self, message: event::Message, _: &mut Self::Context) {
        self.told.send(vec![message.payload.as_bytes()[0]]).unwrap();
    }
}

impl Handler<event::Pong> for Stuck {
    type Result = ();

    fn handle(&mut self, pong: event::Pong, _: &mut Self::Context) {
        self.told.send(pong.payload.to_vec()).unwrap();
    }
}

/// All that was recorded so far, once nothing more comes for some polls.
async fn all(seen: &mut mpsc::UnboundedReceiver<Vec<u8>>) -> Vec<u8> {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let mut all = Vec::new();
    while let Ok(more) = seen.try_recv() {
        all.extend(more);
    }
    all
}

/// Polls until nothing waits any more, for 5 s at most.
async fn drained(delivery: &mut Delivery) {
    let drained = poll_fn(|cx| {
        delivery.poll(cx);
        if delivery.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    });
    let drained = tokio::time::timeout(Duration::from_secs(5), drained).await;
    assert!(drained.is_ok(), "it hangs with {} events in the queue", delivery.events());
}

/// Two messages of half a kilobyte each that begin with a number.
fn run(number: u8) -> Run {
    let mut messages = Messages::default();
    messages.push(MessageKind::Binary, 0..512);
    messages.push(MessageKind::Binary, 512..1024);
    messages.seal(vec![number; 1024].into(), 0, 1024);
    let (source, received) = (SourceId::next(), Instant::now());
    Run { source, epoch: 1, received, messages }
}

#[actix::test]
async fn nothing_is_left_of_what_was_dropped() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        let (go, wait) = oneshot::channel();
        let (told, mut seen) = mpsc::unbounded_channel();
        let stuck = Stuck { go: Some(wait), told }.start();
        let mut handlers = Handlers::default();
        handlers.add::<event::Batch>(stuck.clone().recipient());
        let (messages, mut seen_messages) = mpsc::unbounded_channel();
        handlers.add(event::call(move |it: event::Message| {
            messages.send(vec![it.payload.as_bytes()[0]]).unwrap();
        }));
        let mut delivery = Delivery::new(handlers, overflow, 3000);
        // The handler starts, and sets the size of its mailbox.
        tokio::task::yield_now().await;
        for number in 0..200 {
            delivery.push_run(run(number));
            poll_fn(|cx| Poll::Ready(delivery.poll(cx))).await;
        }
        assert!(delivery.blocked_since().is_some() && delivery.cost() <= 3000);
        assert!(delivery.queue.runs.len() <= 4, "{} runs", delivery.queue.runs.len());
        // A late subscriber gets the next run, whatever was dropped before.
        let (late, mut seen_late) = mpsc::unbounded_channel();
        let (go_late, wait) = oneshot::channel();
        let late = Stuck { go: Some(wait), told: late }.start();
        delivery.subscribe::<event::Batch>(late.recipient(), None);
        go.send(()).unwrap();
        go_late.send(()).unwrap();
        drained(&mut delivery).await;
        assert_eq!((delivery.cost(), delivery.events()), (0, 0));
        delivery.push_run(run(200));
        delivery.flush();
        assert_eq!(all(&mut seen_late).await, [200, 200]);
        let numbers = all(&mut seen).await;
        assert_eq!(numbers.last(), Some(&200));
        assert!(numbers.is_sorted());
        assert_eq!(all(&mut seen_messages).await, numbers, "what one was told the other is too");
        assert_eq!(numbers.len() as u64 + delivery.dropped(), 402);
    }
}

#[actix::test]
async fn each_recipient_gets_an_event_once_though_another_leaves_or_all_ends() {
    for leaves in [true, false] {
        let (go, wait) = oneshot::channel();
        let (told, mut seen) = mpsc::unbounded_channel();
        let stuck: Recipient<event::Message> =
            Stuck { go: Some(wait), told: told.clone() }.start().recipient();
        let (messages, mut seen_messages) = mpsc::unbounded_channel();
        let (data, mut seen_data) = mpsc::unbounded_channel();
        let mut handlers = Handlers::default();
        let before: Recipient<event::Ping> = event::call(|_| ());
        handlers.add(before.clone());
        handlers.add(stuck.clone());
        handlers.add(event::call(move |it: event::Message| {
            messages.send(vec![it.payload.as_bytes()[0]]).unwrap();
        }));
        handlers.add(event::call(move |it: event::Data| {
            data.send(vec![it.payload.as_bytes()[0]]).unwrap();
        }));
        let mut delivery = Delivery::new(handlers, Overflow::Wait, 3000);
        tokio::task::yield_now().await;
        (1..=3).for_each(|number| delivery.push_run(run(number)));
        poll_fn(|cx| Poll::Ready(delivery.poll(cx))).await;
        // The first one has its message, the others do not have it yet.
        assert!(delivery.blocked_since().is_some());
        // By index: the one after the first, and the one after the last.
        assert_eq!((delivery.cursors[EVENT], delivery.cursors[DATA]), (2, 4));
        if leaves {
            assert!(delivery.unsubscribe(&before));
            // Delivery no longer waits for a mailbox that is never emptied.
            assert!(delivery.unsubscribe(&stuck));
            drained(&mut delivery).await;
            go.send(()).unwrap();
            assert_eq!(all(&mut seen).await, [1], "what stood in its mailbox was taken back");
        } else {
            delivery.flush();
            go.send(()).unwrap();
            assert_eq!(all(&mut seen).await, [1, 1, 2, 2, 3, 3]);
        }
        assert_eq!(all(&mut seen_messages).await, [1, 1, 2, 2, 3, 3]);
        assert_eq!(all(&mut seen_data).await, [1, 1, 2, 2, 3, 3]);
        assert_eq!((delivery.cost(), delivery.events()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn one_handler_gets_a_few_messages_a_turn_and_a_slow_one_leaves_turns_for_the_socket() {
    tokio::task::LocalSet::new()
        .run_until(async {
            let (told, mut seen) = mpsc::unbounded_channel();
            let mut handlers = Handlers::default();
            handlers.add(event::call(move |it: event::Message| {
                told.send(vec![it.payload.as_bytes()[0]]).unwrap();
            }));
            let mut delivery = Delivery::new(handlers, Overflow::Wait, 3000);
            let mut messages = Messages::default();
            (0..100).for_each(|at| messages.push(MessageKind::Binary, at..at + 1));
            messages.seal((0..100).collect::<Vec<u8>>().into(), 0, 100);
            let received = tokio::time::Instant::now().into_std();
            delivery.push_run(Run { source: SourceId::next(), epoch: 1, received, messages });
            let mut brief = Vec::new();
            while poll_fn(|cx| Poll::Ready(delivery.poll(cx))).await {
                assert!(brief.len() < 100, "it delivers nothing");
                assert!(delivery.blocked_since().is_none());
                if brief.len() == 7 {
                    tokio::time::advance(EXCLUSIVE_TIME).await;
                }
                brief.push(delivery.is_exclusive());
                let turn = all(&mut seen).await;
                assert!(turn.len() == MESSAGES_PER_POLL && turn.is_sorted(), "{turn:?}");
            }
            // The time is looked at in every fourth poll, and is up from the eighth on.
            let whole = (0..).zip(&brief).filter(|(_, brief)| !**brief).map(|(at, _)| at);
            assert_eq!((brief.len(), whole.collect::<Vec<_>>()), (14, vec![7, 11]));
            assert_eq!(all(&mut seen).await, [98, 99]);
        })
        .await;
}

#[actix::test]
async fn an_event_in_an_empty_queue_is_delivered_at_once_and_once_to_each_recipient() {
    let (go, wait) = oneshot::channel();
    let (told, mut seen) = mpsc::unbounded_channel();
    let stuck = Stuck { go: Some(wait), told }.start().recipient::<event::Pong>();
    let (first, mut seen_first) = mpsc::unbounded_channel();
    let (last, mut seen_last) = mpsc::unbounded_channel();
    let mut handlers = Handlers::default();
    handlers.add(event::call(move |it: event::Pong| first.send(it.payload.to_vec()).unwrap()));
    handlers.add(stuck);
    handlers.add(event::call(move |it: event::Pong| last.send(it.payload.to_vec()).unwrap()));
    let mut delivery = Delivery::new(handlers, Overflow::Wait, 3000);
    tokio::task::yield_now().await;
    let source = SourceId::next();
    let push = |delivery: &mut Delivery| {
        let payload = ControlPayload::new(vec![delivery.queue.number() as u8]).unwrap();
        delivery.push(event::Pong { source, epoch: 1, payload, round_trip: None });
    };
    for _ in 0..10 {
        if delivery.blocked_since().is_none() {
            assert!(delivery.queue.is_empty());
            push(&mut delivery);
        }
    }
    // The third does not have it yet, nor what comes after it.
    assert_eq!((delivery.events(), delivery.cursors[EVENT]), (1, 2));
    assert!(delivery.queue.number() > 1);
    (0..2).for_each(|_| push(&mut delivery));
    let (late, mut seen_late) = mpsc::unbounded_channel();
    let late = event::call(move |it: event::Pong| late.send(it.payload.to_vec()).unwrap());
    delivery.subscribe(late, None);
    go.send(()).unwrap();
    drained(&mut delivery).await;
    let numbers: Vec<u8> = (0..delivery.queue.number() as u8).collect();
    for seen in [&mut seen_first, &mut seen, &mut seen_last] {
        assert_eq!(all(seen).await, numbers);
    }
    assert!(all(&mut seen_late).await.is_empty(), "what was there before it came");
    assert_eq!((delivery.cost(), delivery.events()), (0, 0));
}

/// A handler whose mailbox is full, and a queue that it holds up.
async fn blocked(overflow: Overflow, room: usize) -> (Delivery, oneshot::Sender<()>) {
    let (go, wait) = oneshot::channel();
    let (told, _) = mpsc::unbounded_channel();
    let mut handlers = Handlers::default();
    handlers.add::<event::Message>(Stuck { go: Some(wait), told }.start().recipient());
    let mut delivery = Delivery::new(handlers, overflow, room);
    tokio::task::yield_now().await;
    let mut pushed = 0;
    while delivery.blocked_since().is_none() {
        assert!(pushed < 100, "the mailbox is never full");
        pushed += 1;
        delivery.push_run(run(0));
        poll_fn(|cx| Poll::Ready(delivery.poll(cx))).await;
    }
    delivery.push_run(run(0));
    (delivery, go)
}

#[actix::test]
async fn the_queue_is_full_one_byte_beyond_its_bound() {
    let (delivery, _go) = blocked(Overflow::Wait, 0).await;
    let cost = delivery.cost();
    assert!(cost > 1024 && !delivery.is_full(cost) && delivery.is_full(cost - 1));
    assert_eq!((delivery.room_left(cost + 5), delivery.room_left(cost)), (Some(5), Some(0)));
    assert_eq!(delivery.room_left(cost - 1), None);
    assert_eq!(delivery.dropped(), 0);
}

#[actix::test]
async fn what_drops_messages_has_all_of_its_room_and_holds_no_more_than_that() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        let room = 10_000;
        let (mut delivery, _go) = blocked(overflow, room).await;
        assert!(!delivery.disconnects());
        let before = delivery.events() as u64;
        assert_eq!((delivery.room_left(room), delivery.dropped()), (Some(room), 0));
        for number in 1..100 {
            delivery.push_run(run(number));
            assert!(delivery.cost() <= room, "{overflow:?}, {}", delivery.cost());
        }
        // There is no room for one message more.
        assert!(delivery.cost() + 1024 > room, "{}", delivery.cost());
        let all: Vec<u8> =
            delivery.queue.runs.iter().map(|it| it.1.messages.bytes(0).unwrap()[0]).collect();
        match overflow {
            Overflow::DropOldest => assert_eq!((all[0], *all.last().unwrap()), (0, 99)),
            _ => assert_eq!(all, (0..all.len() as u8).collect::<Vec<_>>()),
        }
        assert_eq!(delivery.events() as u64 + delivery.dropped(), 2 * 99 + before);
    }
}

#[actix::test]
async fn of_a_long_run_that_has_begun_only_the_first_message_is_kept_if_it_was_no_batch() {
    for batch in [true, false] {
        let (go, wait) = oneshot::channel();
        let (told, _) = mpsc::unbounded_channel();
        let mut handlers = Handlers::default();
        let stuck = Stuck { go: Some(wait), told }.start();
        handlers.add::<event::Message>(stuck.clone().recipient());
        let (sizes, mut seen) = mpsc::unbounded_channel();
        if batch {
            handlers.add(event::call(move |it: event::Batch| {
                sizes.send(vec![it.len() as u8]).unwrap();
            }));
        }
        let mut delivery = Delivery::new(handlers, Overflow::DropOldest, 3000);
        tokio::task::yield_now().await;
        let mut messages = Messages::default();
        (0..40).for_each(|at| messages.push(MessageKind::Binary, at * 512..(at + 1) * 512));
        messages.seal(vec![1; 40 * 512].into(), 0, 40 * 512);
        delivery.push_run(Run { messages, ..run(0) });
        poll_fn(|cx| Poll::Ready(delivery.poll(cx))).await;
        assert!(delivery.blocked_since().is_some());
        let (left, dropped) = (delivery.events() as u64, delivery.dropped());
        delivery.push_run(run(2));
        if batch {
            // One recipient has all of them, so that the others get them too.
            assert_eq!(all(&mut seen).await, [40]);
            assert_eq!((left > 30, dropped, delivery.dropped()), (true, 0, 2));
        } else {
            assert!(left < 6 && dropped > 30, "{left}, {dropped}");
            assert!(delivery.cost() <= 3000, "{}", delivery.cost());
        }
        drop(go);
    }
}

#[actix::test]
async fn only_a_full_mailbox_makes_it_disconnect() {
    let (mut delivery, go) = blocked(Overflow::Disconnect, 0).await;
    assert!(delivery.disconnects());
    go.send(()).unwrap();
    drained(&mut delivery).await;
    assert!(!delivery.disconnects());
    for overflow in [Overflow::Wait, Overflow::DropOldest, Overflow::DropNewest] {
        assert!(!blocked(overflow, 0).await.0.disconnects());
    }
}

#[actix::test]
async fn what_is_pending_stays_with_its_recipient_when_others_leave_or_end() {
    for leaves in ["before", "ended", "behind"] {
        let (go, wait) = oneshot::channel();
        let (told, mut seen) = mpsc::unbounded_channel();
        let stuck: Recipient<event::Message> = Stuck { go: Some(wait), told }.start().recipient();
        let before: Recipient<event::Ping> = event::call(|_: event::Ping| panic!("on purpose"));
        let behind: Recipient<event::Ping> = event::call(|_| ());
        let mut handlers = Handlers::default();
        handlers.add(before.clone());
        handlers.add(stuck.clone());
        handlers.add(behind.clone());
        let mut delivery = Delivery::new(handlers, Overflow::Wait, 3000);
        tokio::task::yield_now().await;
        (1..=3).for_each(|number| delivery.push_run(run(number)));
        poll_fn(|cx| Poll::Ready(delivery.poll(cx))).await;
        assert_eq!(delivery.pending.as_ref().unwrap().to, (1, event::Message::BIT));
        let index = match leaves {
            "before" => {
                assert!(delivery.unsubscribe(&before));
                0
            }
            "behind" => {
                assert!(delivery.unsubscribe(&behind));
                1
            }
            _ => {
                let (source, payload) = (SourceId::next(), ControlPayload::default());
                before.do_send(event::Ping { source, epoch: 1, payload });
                all(&mut seen).await;
                assert!(!before.connected());
                delivery.drop_ended();
                assert_eq!((delivery.ended_count(), delivery.unheard_count()), (1, 0));
                0
            }
        };
        assert_eq!(delivery.pending.as_ref().unwrap().to, (index, event::Message::BIT));
        // It is taken back out of the mailbox, and nothing holds the queue up.
        assert!(delivery.unsubscribe(&stuck));
        assert!(delivery.pending.is_none());
        go.send(()).unwrap();
        assert!(all(&mut seen).await.len() <= 1, "the first was in the mailbox");
    }
}

#[actix::test]
async fn at_the_end_a_late_subscriber_gets_nothing_of_what_was_queued_before() {
    let (mut delivery, _go) = blocked(Overflow::Wait, 0).await;
    let (late, mut seen) = mpsc::unbounded_channel();
    let late = event::call(move |it: event::Message| {
        late.send(vec![it.payload.as_bytes()[0]]).unwrap();
    });
    delivery.subscribe(late, None);
    delivery.push_run(run(1));
    delivery.flush();
    assert_eq!(all(&mut seen).await, [1, 1]);
}

#[actix::test]
async fn an_event_that_is_in_the_last_mailbox_is_not_queued_too() {
    let (go, wait) = oneshot::channel();
    let (told, mut seen) = mpsc::unbounded_channel();
    let mut handlers = Handlers::default();
    handlers.add::<event::Pong>(Stuck { go: Some(wait), told }.start().recipient());
    let mut delivery = Delivery::new(handlers, Overflow::Wait, 3000);
    tokio::task::yield_now().await;
    let (source, payload) = (SourceId::next(), ControlPayload::new("p").unwrap());
    let mut pushed = 0;
    while delivery.blocked_since().is_none() {
        assert!(pushed < 100, "the mailbox is never full");
        let payload = payload.clone();
        delivery.push(event::Pong { source, epoch: 1, payload, round_trip: None });
        pushed += 1;
    }
    assert_eq!((delivery.events(), delivery.cost()), (0, 0));
    go.send(()).unwrap();
    drained(&mut delivery).await;
    assert_eq!(all(&mut seen).await.len(), pushed);
}
