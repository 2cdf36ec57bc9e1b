//! A connection's events, with random recipients and a random course: what each recipient gets, and in
//! which order, is compared with a list.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use actix::fut::wrap_future;
use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::command::status::SourceId;

use crate::delivery::{Delivery, Handlers, Run};
use crate::event::{self, KindSet, Numbered};
use crate::options::Overflow;
use crate::proto::codec::MessageKind;
use crate::proto::frame::Opcode;
use crate::proto::message::{ControlPayload, Fragment};
use crate::proto::messages::Messages;

/// What a handler saw: the kind of the event, and the number of the message or of the event.
type Seen = (&'static str, u8);

/// A handler that takes its time: after each event it lets the thread go a few times.
struct Slow {
    turns: usize,
    mailbox: usize,
    seen: Rc<RefCell<Vec<Seen>>>,
}

impl Actor for Slow {
    type Context = Context<Slow>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(self.mailbox);
    }
}

impl Slow {
    fn note(&mut self, kind: &'static str, number: u8, ctx: &mut Context<Slow>) {
        self.seen.borrow_mut().push((kind, number));
        let turns = self.turns;
        ctx.wait(wrap_future(async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
        }));
    }
}

/// Implements `Handler` for a kind of event, whose number is read from its bytes.
macro_rules! notes {
    ($($Event:ident $event:ident $number:expr;)+) => {
        $(impl Handler<event::$Event> for Slow {
            type Result = ();

            fn handle(&mut self, $event: event::$Event, ctx: &mut Self::Context) {
                self.note(stringify!($Event), $number, ctx);
            }
        })+
    };
}

notes! {
    Message it it.payload.as_bytes()[0];
    Data it it.payload.as_bytes()[0];
    Ping it it.payload[0];
    Pong it it.payload[0];
    Continuation it it.fragment.bytes[0];
}

impl Handler<event::Batch> for Slow {
    type Result = ();

    fn handle(&mut self, batch: event::Batch, ctx: &mut Self::Context) {
        for view in batch.iter() {
            self.note("Batch", view.as_bytes()[0], ctx);
        }
    }
}

/// Ends the actor.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct End;

impl Handler<End> for Slow {
    type Result = ();

    fn handle(&mut self, _: End, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

/// A handler, what it is registered for, and what it should see.
struct Recipient {
    addr: Addr<Slow>,
    kinds: KindSet,
    seen: Rc<RefCell<Vec<Seen>>>,
    expected: Vec<Seen>,
    /// The kinds of which it may miss the last ones, because it unsubscribed or ended.
    cut: KindSet,
}

/// Calls a macro with each kind of event of this file.
macro_rules! each_kind {
    ($do:ident) => {
        $do!(Batch);
        $do!(Data);
        $do!(Message);
        $do!(Ping);
        $do!(Pong);
        $do!(Continuation);
    };
}

fn bit(kind: &str) -> KindSet {
    macro_rules! find {
        ($Event:ident) => {
            if kind == stringify!($Event) {
                return event::$Event::BIT;
            }
        };
    }
    each_kind!(find);
    panic!("no kind {kind}")
}

impl Recipient {
    fn start(rng: &mut StdRng) -> Recipient {
        let seen = Rc::default();
        // Without a turn between, it is as quick as the connection.
        let turns = [0, 1, 3, 12][rng.random_range(0..4)];
        let mailbox = [0, 1, 16][rng.random_range(0..3)];
        let addr = Slow { turns, mailbox, seen: Rc::clone(&seen) }.start();
        let all = ["Batch", "Data", "Message", "Message", "Ping", "Pong", "Continuation"];
        let mut kinds = bit(all[rng.random_range(0..all.len())]);
        while rng.random_bool(0.3) {
            kinds |= bit(all[rng.random_range(0..all.len())]);
        }
        Recipient { addr, kinds, seen, expected: Vec::new(), cut: 0 }
    }

    /// Expects an event, if it is registered for the kind.
    fn expect(&mut self, kind: &'static str, number: u8) {
        if self.kinds & !self.cut & bit(kind) != 0 {
            self.expected.push((kind, number));
        }
    }

    /// Whether all has come that cannot have been taken back.
    fn is_complete(&self) -> bool {
        let sure = self.expected.iter().filter(|(kind, _)| self.cut & bit(kind) == 0).count();
        let seen = self.seen.borrow();
        sure == seen.iter().filter(|(kind, _)| self.cut & bit(kind) == 0).count()
    }

    /// Compares what came with what was expected.
    fn check(&self, seed: u64) {
        let seen = self.seen.borrow();
        // In order, none twice, and nothing else.
        let mut expected = self.expected.iter();
        for it in &*seen {
            assert!(
                expected.any(|one| one == it),
                "{seed}: {it:?} in {seen:?}, {:?}",
                self.expected
            );
        }
        assert!(self.is_complete(), "{seed}: {seen:?}, {:?}", self.expected);
        // Of a kind that was cut off the first ones came.
        for kind in (0..KindSet::BITS).map(|at| 1 << at).filter(|kind| self.cut & kind != 0) {
            let of = |list: &[Seen]| -> Vec<Seen> {
                list.iter().filter(|(name, _)| bit(name) == kind).copied().collect()
            };
            assert!(of(&self.expected).starts_with(&of(&seen)), "{seed}: {seen:?}");
        }
    }
}

/// A connection's queue with its recipients.
struct World {
    delivery: Delivery,
    recipients: Vec<Recipient>,
    rng: StdRng,
    number: u8,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut handlers = Handlers::default();
        let recipients: Vec<Recipient> =
            (0..rng.random_range(0..4)).map(|_| Recipient::start(&mut rng)).collect();
        for it in &recipients {
            macro_rules! add {
                ($Event:ident) => {
                    if it.kinds & event::$Event::BIT != 0 {
                        handlers.add::<event::$Event>(it.addr.clone().recipient());
                    }
                };
            }
            each_kind!(add);
        }
        let delivery = Delivery::new(handlers, Overflow::Wait, 3000);
        World { delivery, recipients, rng, number: 0 }
    }

    fn expect(&mut self, kind: &'static str, number: u8) {
        self.recipients.iter_mut().for_each(|it| it.expect(kind, number));
    }

    fn next(&mut self) -> u8 {
        self.number = self.number.wrapping_add(1);
        self.number
    }

    fn push_run(&mut self) {
        let count = if self.rng.random_bool(0.2) { 20 } else { self.rng.random_range(0..4) };
        let numbers: Vec<u8> = (0..count).map(|_| self.next()).collect();
        let mut messages = Messages::default();
        (0..count).for_each(|at| messages.push(MessageKind::Binary, at..at + 1));
        messages.seal(numbers.clone().into(), 0, count);
        numbers.iter().for_each(|number| self.expect("Batch", *number));
        for number in numbers {
            self.expect("Data", number);
            self.expect("Message", number);
        }
        let (source, received) = (SourceId::next(), Instant::now());
        self.delivery.push_run(Run { source, epoch: 1, received, messages });
    }

    fn push_event(&mut self) {
        let (source, epoch, number) = (SourceId::next(), 1, self.next());
        let payload = ControlPayload::new(vec![number]).unwrap();
        match self.rng.random_range(0..3) {
            0 => {
                self.expect("Ping", number);
                self.delivery.push(event::Ping { source, epoch, payload });
            }
            1 => {
                self.expect("Pong", number);
                self.delivery.push(event::Pong { source, epoch, payload, round_trip: None });
            }
            _ => {
                self.expect("Data", number);
                self.expect("Continuation", number);
                let (opcode, bytes) = (Opcode::Text, Bytes::from(vec![number]));
                let fragment = Fragment { opcode, index: 0, bytes, fin: false };
                let received = Instant::now();
                self.delivery.push(event::Continuation { source, epoch, fragment, received });
            }
        }
    }

    fn subscribe(&mut self) {
        let it = Recipient::start(&mut self.rng);
        macro_rules! subscribe {
            ($Event:ident) => {
                if it.kinds & event::$Event::BIT != 0 {
                    self.delivery.subscribe::<event::$Event>(it.addr.clone().recipient(), None);
                }
            };
        }
        each_kind!(subscribe);
        self.recipients.push(it);
    }

    /// Unsubscribes one recipient from one kind of event, if it is registered for it.
    fn unsubscribe(&mut self) {
        let all = ["Batch", "Data", "Message", "Ping", "Pong", "Continuation"];
        let kind = all[self.rng.random_range(0..all.len())];
        if self.recipients.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..self.recipients.len());
        let it = &mut self.recipients[at];
        let is_registered = it.addr.connected() && it.kinds & !it.cut & bit(kind) != 0;
        macro_rules! unsubscribe {
            ($Event:ident) => {
                if kind == stringify!($Event) {
                    let recipient = it.addr.clone().recipient::<event::$Event>();
                    let was = self.delivery.unsubscribe(&recipient);
                    assert!(was || !is_registered);
                }
            };
        }
        each_kind!(unsubscribe);
        it.cut |= bit(kind);
    }

    fn end_one(&mut self) {
        if !self.recipients.is_empty() {
            let at = self.rng.random_range(0..self.recipients.len());
            self.recipients[at].addr.do_send(End);
            self.recipients[at].cut = KindSet::MAX;
        }
    }

    async fn poll(&mut self) {
        std::future::poll_fn(|cx| {
            self.delivery.poll(cx);
            std::task::Poll::Ready(())
        })
        .await;
    }

    async fn step(&mut self) {
        match self.rng.random_range(0..32) {
            0..8 => self.push_run(),
            8..14 => self.push_event(),
            14..22 => self.poll().await,
            22..27 => tokio::task::yield_now().await,
            27 => self.subscribe(),
            28 => self.unsubscribe(),
            29 => self.end_one(),
            30 => self.delivery.drop_ended(),
            _ => {
                let holds = self.rng.random_bool(0.5);
                self.delivery.hold(holds);
            }
        }
        let counted = (self.delivery.cost(), self.delivery.events());
        assert_eq!(counted, self.delivery.queue.recount());
        let is_empty = self.delivery.events() == 0 && self.delivery.blocked_since().is_none();
        assert_eq!(self.delivery.is_empty(), is_empty);
    }

    /// Delivers the rest, as while the connection lives or as at its end.
    async fn finish(&mut self, seed: u64) {
        if self.rng.random_bool(0.3) {
            self.delivery.flush();
        } else {
            self.delivery.hold(false);
            super::drained(&mut self.delivery).await;
        }
        assert_eq!((self.delivery.cost(), self.delivery.events()), (0, 0), "{seed}");
        for _ in 0..5_000 {
            if self.recipients.iter().all(Recipient::is_complete) {
                break;
            }
            tokio::task::yield_now().await;
        }
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.recipients.iter().for_each(|it| it.check(seed));
    }
}

#[actix::test]
async fn each_recipient_gets_what_a_list_says_whatever_the_others_do() {
    for seed in 0..200 {
        let mut world = World::new(seed);
        for _ in 0..80 {
            world.step().await;
        }
        world.finish(seed).await;
    }
}
