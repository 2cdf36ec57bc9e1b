//! Batches: all messages of a read, or many to send, in one envelope.

use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler};
use actix_ws_client::testing::{Gate, Probe, Script, Server};
use actix_ws_client::{Connection, Payload, View, command, event};
use tokio::sync::mpsc;

/// Messages that the server sends.
const SENT: usize = 5_000;

/// Sends numbers, with a Ping in their middle, and then echoes.
fn numbers() -> Script {
    let number = |script: Script, number: usize| match number {
        2_500 => script.send_ping("middle").send_text(number.to_string()),
        _ => script.send_text(number.to_string()),
    };
    (0..SENT).fold(Script::accept(), number).echo()
}

/// A handler for single messages that receives them in batches all the same.
struct Ticker {
    told: mpsc::UnboundedSender<(usize, usize)>,
    /// The number at which it stops.
    until: usize,
}

impl Actor for Ticker {
    type Context = Context<Ticker>;
}

impl Handler<event::Message> for Ticker {
    type Result = ();

    fn handle(&mut self, message: event::Message, ctx: &mut Context<Ticker>) {
        let number = message.payload.as_text().unwrap().parse().unwrap();
        self.told.send((number, 0)).unwrap();
        if number == self.until {
            ctx.stop();
        }
    }
}

impl Handler<event::Batch> for Ticker {
    type Result = ();

    fn handle(&mut self, batch: event::Batch, ctx: &mut Context<Ticker>) {
        let (there, last) = (batch.len(), batch.payload(batch.len() - 1).is_some());
        assert!(last && batch.payload(there).is_none() && !batch.is_empty());
        assert_eq!(batch.iter().len(), there);
        let told = self.told.clone();
        let taken = batch.for_each_message(self, ctx);
        told.send((usize::MAX, there - taken)).unwrap();
    }
}

async fn next(told: &mut mpsc::UnboundedReceiver<(usize, usize)>) -> (usize, usize) {
    let next = tokio::time::timeout(Duration::from_secs(10), told.recv()).await;
    next.expect("it is told").expect("the handler lives")
}

#[actix::test]
async fn batches_hold_every_message_in_order_in_far_fewer_envelopes() {
    let server = Server::start(numbers());
    let (told, mut got) = mpsc::unbounded_channel();
    let ticker = Ticker { told, until: usize::MAX }.start();
    let builder = Connection::builder(server.url()).on_batch_to(ticker.recipient());
    let connection = builder.start().unwrap();
    let (mut expected, mut envelopes) = (0, 0);
    while expected < SENT {
        match next(&mut got).await {
            (usize::MAX, left) => {
                assert_eq!(left, 0);
                envelopes += 1;
            }
            (number, _) => {
                assert_eq!(number, expected);
                expected += 1;
            }
        }
    }
    assert!((1..SENT / 4).contains(&envelopes), "{envelopes}");
    connection.send(command::Close::normal()).await.unwrap();
}

#[actix::test]
async fn a_batch_ends_where_its_actor_stops() {
    let gate = Gate::new();
    let all = (0..10).fold(String::new(), |raw, number| raw + &format!("\u{81}\u{1}{number}"));
    let raw: Vec<u8> = all.chars().map(|byte| byte as u8).collect();
    // Not right behind the 101, for then one read could bring the 101 and a part of it.
    let script = Script::accept().expect_message().send_raw(raw).stall_until(&gate);
    let server = Server::start(script);
    let (told, mut got) = mpsc::unbounded_channel();
    let ticker = Ticker { told, until: 3 }.start();
    let go = event::call(|open: event::Open| {
        assert!(open.connection.do_send(command::Send::text("go")));
    });
    let builder = Connection::builder(server.url()).on_open_to(go).on_batch_to(ticker.recipient());
    let connection = builder.start().unwrap();
    for number in 0..4 {
        assert_eq!(next(&mut got).await, (number, 0));
    }
    assert_eq!(next(&mut got).await, (usize::MAX, 6));
    gate.open();
    connection.send(command::Close::normal()).await.unwrap();
}

#[actix::test]
async fn a_slow_batch_handler_holds_all_up_and_loses_nothing() {
    /// Handles one batch at a time, and waits after each.
    struct Slow(mpsc::UnboundedSender<Vec<usize>>);
    impl Actor for Slow {
        type Context = Context<Slow>;
        fn started(&mut self, ctx: &mut Context<Slow>) {
            ctx.set_mailbox_capacity(1);
        }
    }
    impl Handler<event::Batch> for Slow {
        type Result = ();
        fn handle(&mut self, batch: event::Batch, ctx: &mut Context<Slow>) {
            let number = |view: View| view.as_text().unwrap().parse().unwrap();
            self.0.send(batch.iter().map(number).collect()).unwrap();
            ctx.wait(actix::fut::wrap_future(tokio::time::sleep(Duration::from_millis(1))));
        }
    }
    let server = Server::start(numbers());
    let (told, mut got) = mpsc::unbounded_channel();
    let probe = Probe::new();
    let builder = Connection::builder(server.url()).read_ahead(4 << 10);
    let builder = builder.on_batch_to(Slow(told).start().recipient());
    let connection = probe.attach(builder).start().unwrap();
    let mut numbers = Vec::new();
    while numbers.len() < SENT {
        numbers.extend(got.recv().await.unwrap());
    }
    assert_eq!(numbers, (0..SENT).collect::<Vec<_>>());
    connection.send(command::Close::normal()).await.unwrap();
    probe.stopped().await;
    probe.check().unwrap();
    // A recipient of single messages gets them all too, in the same order around the Ping.
    let texts = probe.all::<event::Message>();
    assert_eq!(texts.len(), SENT);
    assert_eq!(probe.all::<event::Ping>().len(), 1);
}

#[actix::test]
async fn many_messages_go_out_in_one_envelope_and_what_is_not_taken_comes_back() {
    let server = Server::start(Script::accept().echo());
    let probe = Probe::new();
    let builder = Connection::builder(server.url()).send_buffer(100);
    let connection = probe.attach(builder).start().unwrap();
    let batch = || command::SendBatch::new((0..5).map(|_| command::Send::binary(vec![7; 30])));
    let early = connection.send(batch()).await.unwrap().unwrap_err();
    assert!(matches!(early.error, command::SendError::NotOpen(_)));
    assert_eq!(early.rest.len(), 4);
    probe.next::<event::Open>().await;
    let late = connection.send(batch()).await.unwrap().unwrap_err();
    // Two of 36 bytes each are within 100.
    assert!(matches!(late.error, command::SendError::Full(_)), "{late:?}");
    assert_eq!(late.rest.len(), 2);
    for _ in 0..2 {
        assert_eq!(probe.next_message().await.payload, Payload::Binary(vec![7; 30].into()));
    }
    let two = command::SendBatch::new(["a", "b"].map(command::Send::text));
    connection.send(two).await.unwrap().unwrap();
    assert_eq!(probe.next_message().await.payload.as_text(), Some("a"));
    assert_eq!(probe.next_message().await.payload.as_text(), Some("b"));
    connection.send(command::Close::normal()).await.unwrap();
}

#[actix::test]
async fn a_message_without_bytes_that_comes_alone_is_a_batch_of_one() {
    let gate = Gate::new();
    // Not right behind the 101, for then one read could bring more than it.
    let script = Script::accept().expect_message().send_raw(b"\x81\0".to_vec());
    let server = Server::start(script.stall_until(&gate));
    let (told, mut got) = mpsc::unbounded_channel();
    let go = event::call(|open: event::Open| {
        assert!(open.connection.do_send(command::Send::text("go")));
    });
    let batches = event::call(move |batch: event::Batch| {
        let texts = batch.iter().map(|view| view.as_text().unwrap().len());
        told.send((texts.collect::<Vec<_>>(), batch.bytes(0).map(<[u8]>::len))).unwrap();
    });
    let builder = Connection::builder(server.url()).on_open_to(go).on_batch_to(batches);
    let connection = builder.start().unwrap();
    let next = tokio::time::timeout(Duration::from_secs(10), got.recv()).await;
    assert_eq!(next.expect("it is told"), Some((vec![0], Some(0))));
    gate.open();
    connection.send(command::Close::normal()).await.unwrap();
}
