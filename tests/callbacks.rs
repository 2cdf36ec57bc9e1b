//! The callbacks beside Open, Message, Error and Close, and coming and going at run time.

use actix_ws_client::proto::frame::Opcode;
use actix_ws_client::testing::{Probe, Script, Server};
use actix_ws_client::{Connection, Reconnect, command, event};
use std::time::Duration;
use tokio::sync::mpsc;

/// Everything in the order in which it was told.
type Told = mpsc::UnboundedReceiver<String>;

fn told() -> (mpsc::UnboundedSender<String>, Told) {
    mpsc::unbounded_channel()
}

async fn next(told: &mut Told) -> String {
    let next = tokio::time::timeout(Duration::from_secs(10), told.recv()).await;
    next.expect("it is told").expect("the connection lives")
}

#[actix::test]
async fn a_reopening_is_told_just_before_its_open() {
    let server = Server::start([Script::accept().drop_connection(), Script::accept().echo()]);
    let (tell, mut told) = told();
    let opens = tell.clone();
    let connection = Connection::builder(server.url())
        .reconnect(Reconnect::fixed(Duration::from_millis(1)))
        .on_open(event::call(move |open: event::Open| {
            opens.send(format!("open {}", open.epoch)).unwrap();
        }))
        .on_reconnect(event::call(move |again: event::Reconnect| {
            let outage = again.0.outage.expect("there was one");
            tell.send(format!("again {} {}", again.0.epoch, outage.attempts)).unwrap();
        }))
        .start()
        .unwrap();
    assert_eq!(next(&mut told).await, "open 1");
    let mut both = [next(&mut told).await, next(&mut told).await];
    // Two closures are two actors: which of the two runs first is theirs.
    both.sort();
    assert_eq!(both, ["again 2 1", "open 2"]);
    connection.send(command::Close::normal()).await.unwrap();
}

#[actix::test]
async fn data_carries_the_opcode_of_its_message() {
    let script = Script::accept().send_text("t").send_binary(vec![7]).echo();
    let server = Server::start(script);
    let (tell, mut told) = told();
    let connection = Connection::builder(server.url())
        .on_data(event::call(move |data: event::Data| {
            let line = format!("{:?} {} {:?}", data.opcode, data.fin, data.payload.as_bytes());
            tell.send(line).unwrap();
        }))
        .start()
        .unwrap();
    assert_eq!(next(&mut told).await, format!("{:?} true [116]", Opcode::Text));
    assert_eq!(next(&mut told).await, format!("{:?} true [7]", Opcode::Binary));
    connection.send(command::Close::normal()).await.unwrap();
}

#[actix::test]
async fn a_closure_that_panics_takes_only_itself_down() {
    let server = Server::start(Script::accept().send_text("boom").echo());
    let probe = Probe::new();
    let builder = Connection::builder(server.url())
        .on_message(event::call(|_: event::Message| panic!("as the test wants it")));
    let connection = probe.attach(builder).start().unwrap();
    assert_eq!(probe.next_message().await.payload.as_text(), Some("boom"));
    connection.send(command::Send::text("still there")).await.unwrap().unwrap();
    assert_eq!(probe.next_message().await.payload.as_text(), Some("still there"));
    connection.send(command::Close::normal()).await.unwrap();
    probe.stopped().await;
    probe.check().unwrap();
}

#[actix::test]
async fn who_unsubscribes_is_told_nothing_more() {
    let server = Server::start(Script::accept().echo());
    let (gone, stays) = (Probe::new(), Probe::new());
    let connection = stays.attach(Connection::builder(server.url())).start().unwrap();
    let recipient = gone.recipient::<event::Message>();
    connection.send(command::Subscribe(recipient.clone())).await.unwrap().unwrap();
    stays.next::<event::Open>().await;
    connection.send(command::Send::text("one")).await.unwrap().unwrap();
    gone.next_message().await;
    stays.next_message().await;
    assert!(connection.send(command::Unsubscribe(recipient.clone())).await.unwrap());
    assert!(!connection.send(command::Unsubscribe(recipient)).await.unwrap());
    connection.send(command::Send::text("two")).await.unwrap().unwrap();
    assert_eq!(stays.next_message().await.payload.as_text(), Some("two"));
    connection.send(command::Close::normal()).await.unwrap();
    stays.stopped().await;
    assert_eq!(gone.all::<event::Message>().len(), 1);
}
