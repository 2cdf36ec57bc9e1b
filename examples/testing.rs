//! How to test an actor that handles the events of a connection: `testing::Server` is a scripted
//! server, `testing::Probe` awaits events, so that no test has to sleep.
//!
//! `cargo run --example testing`. In your crate the two functions are tests, under
//! `#[actix::test]`, and `actix-ws-client` is a dev-dependency with `features = ["testing"]`.

use actix::prelude::*;
use actix_ws_client::testing::{Probe, Script, Server};
use actix_ws_client::{Connection, OutcomeKind, Reconnect, command, event};

/// The actor under test: it subscribes at each opening, and adds up the prices that it receives.
#[derive(Default)]
struct Ledger {
    total: u64,
    openings: u64,
}

impl Actor for Ledger {
    type Context = Context<Ledger>;
}

impl Handler<event::Open> for Ledger {
    type Result = ();

    fn handle(&mut self, open: event::Open, _: &mut Self::Context) {
        self.openings += 1;
        open.connection.do_send(command::Send::text("subscribe"));
    }
}

impl Handler<event::Message> for Ledger {
    type Result = ();

    fn handle(&mut self, message: event::Message, _: &mut Self::Context) {
        let price = message.payload.as_text().and_then(|text| text.parse::<u64>().ok());
        self.total += price.unwrap_or(0);
    }
}

/// Requests the total and the number of openings.
#[derive(Message)]
#[rtype(result = "(u64, u64)")]
struct Total;

impl Handler<Total> for Ledger {
    type Result = MessageResult<Total>;

    fn handle(&mut self, _: Total, _: &mut Self::Context) -> Self::Result {
        MessageResult((self.total, self.openings))
    }
}

// #[actix::test]
async fn it_subscribes_again_after_a_loss_and_keeps_its_total() {
    // Each connection plays the next script. The first connection is dropped, the second is not.
    let server = Server::start([
        Script::accept().expect_text("subscribe").send_text("40").drop_connection(),
        Script::accept().expect_text("subscribe").send_text("no price").send_text("2"),
    ]);
    let ledger = Ledger::default().start();
    let probe = Probe::new();
    let builder = Connection::builder(server.url())
        .proxy_from_env(false)
        .reconnect(Reconnect::fixed(std::time::Duration::from_millis(10)))
        .on_open_to(ledger.clone().recipient())
        .on_message_to(ledger.clone().recipient());
    // Registered after the actor: what the probe has seen was delivered to the actor before.
    let connection = probe.attach(builder).start().unwrap();

    probe.next_where(|message: &event::Message| message.payload.as_text() == Some("2")).await;
    assert_eq!(ledger.send(Total).await.unwrap(), (42, 2));
    assert_eq!(server.messages(), ["subscribe", "subscribe"].map(Into::into));

    connection.send(command::Close::normal()).await.unwrap();
    probe.stopped().await;
    let story = ["open", "message", "error", "close", "open", "message", "message", "close"];
    assert_eq!(probe.story(), [&story[..], &["stopped"]].concat());
    // The events came in the documented order.
    probe.check().unwrap();
}

// #[actix::test]
async fn a_refusal_ends_the_run_and_says_why() {
    let server = Server::start(Script::refuse(401).body("who are you?"));
    let ledger = Ledger::default().start();
    let run = Connection::builder(server.url())
        .proxy_from_env(false)
        .on_open_to(ledger.clone().recipient())
        .header("X-Token", "old")
        .run();
    let outcome = run.await.unwrap();
    assert_eq!((outcome.kind, outcome.attempts), (OutcomeKind::Refused, 1));
    assert_eq!(outcome.error.and_then(|error| error.status()), Some(401));
    assert_eq!(ledger.send(Total).await.unwrap(), (0, 0));
    assert_eq!(server.requests()[0].header("x-token"), Some("old"));
}

#[actix::main]
async fn main() {
    it_subscribes_again_after_a_loss_and_keeps_its_total().await;
    println!("ok: it subscribes again after a loss and keeps its total");
    a_refusal_ends_the_run_and_says_why().await;
    println!("ok: a refusal ends the run and says why");
}
