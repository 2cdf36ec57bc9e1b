//! How to test an actor that handles the events of a connection: `cargo run --example testing`. In your crate the two
//! functions are tests by `#[actix::test]`, and `actix-ws-client` is a dev-dependency with `features = ["testing"]`.

use actix::prelude::*;
use actix_ws_client::testing::{self, MemoryServer, Probe, Script};
use actix_ws_client::{command, event};

/// The actor under test: it subscribes at each opening, and adds up the prices that it receives.
struct Ledger(u64);

impl Actor for Ledger {
    type Context = Context<Ledger>;
}

impl Handler<event::Open> for Ledger {
    type Result = ();
    fn handle(&mut self, open: event::Open, _: &mut Self::Context) {
        open.connection.do_send(command::Send::text("subscribe"));
    }
}

impl Handler<event::Message> for Ledger {
    type Result = ();
    fn handle(&mut self, message: event::Message, _: &mut Self::Context) {
        let price = message.payload.as_text().and_then(|text| text.parse::<u64>().ok());
        self.0 += price.unwrap_or(0);
    }
}

/// Requests the total.
#[derive(Message)]
#[rtype(result = "u64")]
struct Total;

impl Handler<Total> for Ledger {
    type Result = u64;
    fn handle(&mut self, _: Total, _: &mut Self::Context) -> u64 {
        self.0
    }
}

async fn a_message_without_a_price_leaves_the_total() {
    let ledger = Ledger(40).start();
    ledger.send(testing::event::message("no price")).await.unwrap();
    assert_eq!(ledger.send(Total).await.unwrap(), 40);
}

async fn it_subscribes_again_after_a_loss_and_keeps_its_total() {
    // Each dial plays the next script. The clock is paused: the delays between the dials take no time.
    let server = MemoryServer::paused([
        Script::accept().expect_text("subscribe").send_text("40").drop_connection(),
        Script::refuse(503),
        Script::accept().expect_text("subscribe").send_text("2"),
    ]);
    let (ledger, probe) = (Ledger(0).start(), Probe::new());
    let builder = server.connection().on_open_to(ledger.clone());
    let builder = builder.on_message_to(ledger.clone());
    let _connection = probe.attach(builder).start().unwrap();

    probe.next_where(|message: &event::Message| message.payload.as_text() == Some("2")).await;
    assert_eq!(ledger.send(Total).await.unwrap(), 42);
    assert_eq!(server.journal().messages(), ["subscribe", "subscribe"]);
    probe.check().unwrap();
    println!("{}", server.journal());
}

#[actix::main]
async fn main() {
    a_message_without_a_price_leaves_the_total().await;
    it_subscribes_again_after_a_loss_and_keeps_its_total().await;
}
