//! Which recipients there are, and which events are queued for them.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

use actix::{Actor, Handler, Recipient};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{Stuck, all, drained, run};
use crate::command::status::SourceId;
use crate::delivery::{Delivery, Ended, Handlers, Registered, Run};
use crate::error::Error;
use crate::event;
use crate::options::Overflow;
use crate::proto::codec::MessageKind;
use crate::proto::frame::Opcode;
use crate::proto::message::{ControlPayload, Fragment};
use crate::proto::messages::Messages;

fn of(handlers: Handlers) -> Delivery {
    Delivery::new(handlers, Overflow::Wait, 3000)
}

/// A recipient of one kind of event, and the number of events that it got.
fn counting<M>() -> (Recipient<M>, mpsc::UnboundedReceiver<Vec<u8>>)
where
    M: Registered + actix::Message<Result = ()>,
{
    let (told, seen) = mpsc::unbounded_channel();
    (event::call(move |_: M| told.send(vec![0]).unwrap()), seen)
}

fn pong(number: u8) -> event::Pong {
    let payload = ControlPayload::new(vec![number]).unwrap();
    event::Pong { source: SourceId::next(), epoch: 1, payload, round_trip: None }
}

#[actix::test]
async fn recipients_are_counted_as_they_come_and_go() {
    let mut delivery = of(Handlers::default());
    assert_eq!(delivery.handler_count(), 0);
    let (ping, pong) = (counting::<event::Ping>().0, counting::<event::Pong>().0);
    delivery.subscribe(ping.clone(), None);
    delivery.subscribe(pong.clone(), None);
    delivery.subscribe(pong.clone(), None);
    assert_eq!(delivery.handler_count(), 3);
    assert!(delivery.unsubscribe(&pong));
    assert_eq!(delivery.handler_count(), 2);
    assert!(delivery.unsubscribe(&pong) && !delivery.unsubscribe(&pong));
    assert!(delivery.unsubscribe(&ping) && !delivery.unsubscribe(&ping));
    assert_eq!(delivery.handler_count(), 0);
    delivery.subscribe(ping, None);
    delivery.drop_recipients();
    assert_eq!(delivery.handler_count(), 0);
}

#[actix::test]
async fn fragments_are_delivered_only_if_the_builder_has_a_recipient_and_it_is_still_there() {
    let (fragments, _) = counting::<event::Continuation>();
    let mut late = of(Handlers::default());
    late.subscribe(fragments.clone(), None);
    assert!(!late.by_fragment());
    let mut handlers = Handlers::default();
    handlers.add(fragments.clone());
    let mut early = of(handlers);
    assert!(early.by_fragment());
    assert!(early.unsubscribe(&fragments));
    assert!(!early.by_fragment());
}

#[actix::test]
async fn recipients_whose_actors_have_ended_are_reported_once_and_counted() {
    let dead_ping = event::call(|_: event::Ping| panic!("on purpose"));
    let dead_pong = event::call(|_: event::Pong| panic!("on purpose"));
    let (mut handlers, (alive, _)) = (Handlers::default(), counting::<event::Pong>());
    handlers.add(dead_ping);
    handlers.add(dead_pong);
    let mut delivery = of(handlers);
    let payload = ControlPayload::default();
    delivery.push(event::Ping { source: SourceId::next(), epoch: 1, payload });
    delivery.push(pong(1));
    let (_told, mut seen) = mpsc::unbounded_channel();
    all(&mut seen).await;
    assert!(!delivery.has_ended() && delivery.take_ended().is_none());
    assert_eq!((delivery.ended_count(), delivery.unheard_count()), (0, 0));
    delivery.drop_ended();
    assert!(delivery.has_ended());
    assert_eq!((delivery.ended_count(), delivery.unheard_count()), (2, 2));
    let Ended { kinds, unheard } = delivery.take_ended().unwrap();
    assert_eq!((&*kinds, &*unheard), ("Ping, Pong", "Ping, Pong"));
    assert!(!delivery.has_ended() && delivery.take_ended().is_none());
    delivery.subscribe(alive, None);
    assert_eq!((delivery.ended_count(), delivery.unheard_count()), (2, 1));
}

#[actix::test]
async fn a_run_is_queued_if_one_kind_of_recipient_wants_it_and_not_if_none_does() {
    async fn with<M: Registered + actix::Message<Result = ()>>(expected: usize) {
        let (mut handlers, (recipient, mut seen)) = (Handlers::default(), counting::<M>());
        handlers.add(recipient);
        let mut delivery = of(handlers);
        delivery.push_run(run(1));
        assert_eq!((delivery.events(), delivery.is_empty()), (2 * expected.min(1), expected == 0));
        let empty = Messages::default();
        let (source, received) = (SourceId::next(), Instant::now());
        delivery.push_run(Run { source, epoch: 1, received, messages: empty });
        drained(&mut delivery).await;
        assert_eq!(all(&mut seen).await.len(), expected);
        assert_eq!((delivery.cost(), delivery.events()), (0, 0));
        assert_eq!(delivery.queue.number(), expected.min(1) as u64);
    }
    with::<event::Message>(2).await;
    with::<event::Data>(2).await;
    with::<event::Batch>(1).await;
    with::<event::Ping>(0).await;
}

#[actix::test]
async fn an_event_that_no_recipient_wants_is_not_queued_and_a_fragment_is_wanted_as_data_too() {
    let fragment = || {
        let (opcode, bytes) = (Opcode::Text, Bytes::from_static(b"x"));
        let fragment = Fragment { opcode, index: 0, bytes, fin: false };
        let (source, received) = (SourceId::next(), Instant::now());
        event::Continuation { source, epoch: 1, fragment, received }
    };
    let (mut handlers, (data, mut seen)) = (Handlers::default(), counting::<event::Data>());
    handlers.add(data);
    let mut delivery = of(handlers);
    delivery.push(pong(1));
    assert_eq!((delivery.queue.number(), delivery.is_empty()), (0, true));
    delivery.push(fragment());
    assert_eq!(delivery.events(), 1, "it has an event before it, so that it is queued");
    drained(&mut delivery).await;
    assert_eq!(all(&mut seen).await.len(), 1);
    let mut delivery = of(Handlers::default());
    delivery.push(fragment());
    assert!(delivery.is_empty());
}

/// The handler's mailbox takes one event, and the next one is pending.
#[actix::test]
async fn what_comes_after_an_event_in_a_full_mailbox_is_delivered_to_the_first_recipient_too() {
    let (go, wait) = oneshot::channel();
    let (told, mut seen) = mpsc::unbounded_channel();
    let mut handlers = Handlers::default();
    handlers.add::<event::Pong>(Stuck { go: Some(wait), told }.start().recipient());
    let mut delivery = of(handlers);
    tokio::task::yield_now().await;
    (0..6).for_each(|number| delivery.push(pong(number)));
    assert!(delivery.blocked_since().is_some() && delivery.events() > 0);
    // The queue alone is empty while a mailbox is full: it is not empty.
    go.send(()).unwrap();
    drained(&mut delivery).await;
    delivery.push(pong(6));
    assert_eq!(all(&mut seen).await, (0..7).collect::<Vec<u8>>());
}

#[actix::test]
async fn at_the_end_an_event_goes_past_the_bound_of_the_mailbox_and_is_not_taken_back() {
    let (go, wait) = oneshot::channel();
    let (told, mut seen) = mpsc::unbounded_channel();
    let mut handlers = Handlers::default();
    handlers.add::<event::Pong>(Stuck { go: Some(wait), told }.start().recipient());
    let mut delivery = of(handlers);
    tokio::task::yield_now().await;
    (0..6).for_each(|number| delivery.push(pong(number)));
    poll_fn(|cx| Poll::Ready(delivery.poll(cx))).await;
    delivery.flush();
    assert!(delivery.is_empty());
    go.send(()).unwrap();
    assert_eq!(all(&mut seen).await, (0..6).collect::<Vec<u8>>());
}

/// An actor for the four events of `ConnectionBuilder::handler`, with a small mailbox.
struct Four {
    seen: mpsc::UnboundedSender<&'static str>,
}

impl Actor for Four {
    type Context = actix::Context<Four>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1);
    }
}

macro_rules! notes {
    ($($Event:ident)+) => {
        $(impl Handler<event::$Event> for Four {
            type Result = ();

            fn handle(&mut self, _: event::$Event, _: &mut Self::Context) {
                self.seen.send(stringify!($Event)).unwrap();
            }
        })+
    };
}

notes!(Open Message Error Close);

fn failure() -> event::Error {
    let (source, error, next) = (SourceId::next(), Error::Overflow, event::Next::Stop);
    event::Error { source, epoch: 0, name: None, error, attempt: 1, next }
}

#[actix::test]
async fn an_address_gets_each_of_its_kinds_until_it_unsubscribes_from_it() {
    for at_the_end in [true, false] {
        let (told, mut seen) = mpsc::unbounded_channel();
        let (four, mut handlers) = (Four { seen: told.clone() }.start(), Handlers::default());
        handlers.add_addr(four.clone());
        // Keeps messages wanted when the address has unsubscribed from them.
        let (other, mut others) = counting::<event::Message>();
        handlers.add(other);
        let mut delivery = of(handlers);
        tokio::task::yield_now().await;
        for _ in 0..3 {
            delivery.push(failure());
            delivery.push_run(run(1));
        }
        if at_the_end {
            delivery.flush()
        } else {
            drained(&mut delivery).await
        }
        assert_eq!(all(&mut others).await.len(), 6);
        let mut got = Vec::new();
        while let Ok(one) = seen.try_recv() {
            got.push(one);
        }
        assert_eq!(got, ["Error", "Message", "Message"].repeat(3), "at the end: {at_the_end}");
        let another = Four { seen: told }.start();
        assert!(!delivery.unsubscribe::<event::Message>(&another.recipient()));
        assert!(delivery.unsubscribe::<event::Message>(&four.clone().recipient()));
        assert!(!delivery.unsubscribe::<event::Message>(&four.clone().recipient()), "only once");
        delivery.push_run(run(2));
        delivery.push(failure());
        if at_the_end {
            delivery.flush()
        } else {
            drained(&mut delivery).await
        }
        assert_eq!(all(&mut others).await.len(), 2);
        assert_eq!((seen.try_recv(), seen.try_recv().is_err()), (Ok("Error"), true));
    }
}

#[actix::test]
async fn a_run_is_no_longer_counted_while_its_last_message_is_in_a_full_mailbox() {
    let mut reached = false;
    for count in 1..8 {
        let (go, wait) = oneshot::channel();
        let (told, mut seen) = mpsc::unbounded_channel();
        let mut handlers = Handlers::default();
        let (quick, mut others) = counting::<event::Message>();
        handlers.add(quick);
        handlers.add::<event::Message>(Stuck { go: Some(wait), told }.start().recipient());
        let mut delivery = of(handlers);
        tokio::task::yield_now().await;
        let mut messages = Messages::default();
        (0..count).for_each(|at| messages.push(MessageKind::Binary, at..at + 1));
        messages.seal(vec![7; count].into(), 0, count);
        delivery.push_run(Run { messages, ..run(0) });
        poll_fn(|cx| Poll::Ready(delivery.poll(cx))).await;
        if delivery.blocked_since().is_some() && delivery.events() == 0 {
            reached = true;
            assert_eq!((delivery.cost(), delivery.queue.is_empty()), (0, true), "{count}");
            assert!(!delivery.is_empty());
        }
        go.send(()).unwrap();
        drained(&mut delivery).await;
        assert_eq!((all(&mut seen).await.len(), all(&mut others).await.len()), (count, count));
    }
    assert!(reached);
}

#[actix::test]
async fn the_one_that_stays_gets_no_message_twice_when_the_one_behind_it_leaves() {
    let (go, wait) = oneshot::channel();
    let (told, _) = mpsc::unbounded_channel();
    let stuck: Recipient<event::Message> = Stuck { go: Some(wait), told }.start().recipient();
    let (quick, mut seen) = counting::<event::Message>();
    let mut handlers = Handlers::default();
    handlers.add(quick);
    handlers.add(stuck.clone());
    let mut delivery = of(handlers);
    tokio::task::yield_now().await;
    (0..3).for_each(|number| delivery.push_run(run(number)));
    // A second one behind it, so that the message stays at the head.
    let behind = counting::<event::Message>().0;
    delivery.subscribe(behind.clone(), None);
    (0..3).for_each(|number| delivery.push_run(run(number)));
    for _ in 0..3 {
        poll_fn(|cx| Poll::Ready(delivery.poll(cx))).await;
    }
    assert!(delivery.blocked_since().is_some() && delivery.cursors[0] > 0);
    assert!(delivery.unsubscribe(&behind) && delivery.unsubscribe(&stuck));
    drained(&mut delivery).await;
    assert_eq!(all(&mut seen).await.len(), 12);
    drop(go);
}

#[actix::test]
async fn a_batch_in_the_last_full_mailbox_is_no_longer_counted() {
    let (go, wait) = oneshot::channel();
    let (told, mut seen) = mpsc::unbounded_channel();
    let mut handlers = Handlers::default();
    handlers.add::<event::Batch>(Stuck { go: Some(wait), told }.start().recipient());
    let mut delivery = of(handlers);
    tokio::task::yield_now().await;
    let mut pushed = 0;
    while delivery.blocked_since().is_none() {
        assert!(pushed < 100, "the mailbox is never full");
        delivery.push_run(run(pushed));
        pushed += 1;
        poll_fn(|cx| Poll::Ready(delivery.poll(cx))).await;
    }
    assert_eq!((delivery.cost(), delivery.events()), (0, 0));
    assert!(delivery.queue.is_empty() && !delivery.is_empty());
    go.send(()).unwrap();
    drained(&mut delivery).await;
    assert_eq!(all(&mut seen).await.len(), 2 * usize::from(pushed));
}

#[actix::test]
async fn a_poll_that_ends_in_the_middle_of_a_run_wakes_the_task() {
    let (mut handlers, (recipient, mut seen)) = (Handlers::default(), counting::<event::Message>());
    handlers.add(recipient);
    let mut delivery = of(handlers);
    (0..4).for_each(|number| delivery.push_run(run(number)));
    let count = 40;
    let mut messages = Messages::default();
    (0..count).for_each(|at| messages.push(MessageKind::Binary, at..at + 1));
    messages.seal(vec![7; count].into(), 0, count);
    delivery.push_run(Run { messages, ..run(0) });
    // Nothing else wakes it.
    drained(&mut delivery).await;
    assert_eq!(all(&mut seen).await.len(), 8 + count);
}
