//! The client side of the Autobahn test suite: echoes every case, then requests the report.
//!
//! `cargo run --release --example autobahn -- [URL [AGENT]]`, with `wstest -m fuzzingserver` as the
//! server (default: `ws://127.0.0.1:9001`). The result of each case is in the suite's report.

use std::time::Duration;

use actix::{Actor, Context, Handler};
use actix_ws_client::{Compression, Connection, Outcome, Payload, command, event};

/// Sends every message back.
#[derive(Default)]
struct Echo {
    connection: Option<actix_ws_client::Handle>,
    /// Receives each text message: the answer of `getCaseCount` is one.
    answer: Option<tokio::sync::mpsc::UnboundedSender<String>>,
}

impl Actor for Echo {
    type Context = Context<Echo>;
}

impl Handler<event::Open> for Echo {
    type Result = ();

    fn handle(&mut self, open: event::Open, _: &mut Self::Context) {
        self.connection = Some(open.connection);
    }
}

impl Handler<event::Message> for Echo {
    type Result = ();

    fn handle(&mut self, message: event::Message, _: &mut Self::Context) {
        if let (Some(answer), Payload::Text(text)) = (&self.answer, &message.payload) {
            // The receiver lives until the run is over.
            let _ = answer.send(text.to_string());
        }
        if let Some(connection) = &self.connection {
            connection.do_send(command::Send::from(message.payload));
        }
    }
}

impl Handler<event::Error> for Echo {
    type Result = ();

    fn handle(&mut self, _: event::Error, _: &mut Self::Context) {}
}

impl Handler<event::Close> for Echo {
    type Result = ();

    fn handle(&mut self, _: event::Close, _: &mut Self::Context) {}
}

/// Runs one connection to its end.
async fn run(url: String, echo: Echo) -> Result<Outcome, actix_ws_client::ConfigError> {
    Connection::builder(url)
        .no_reconnect()
        .ping_interval(None)
        .send_buffer(64 << 20)
        .limits(limits())
        .compression(compression())
        .close_timeout(Duration::from_secs(10))
        .handler(echo.start())
        .run()
        .await
}

/// Raises the limits to 64 MiB: the suite sends messages of 16 MiB and a header.
fn limits() -> actix_ws_client::Limits {
    let mut limits = actix_ws_client::Limits::default();
    limits.frame = 64 << 20;
    limits.message = 64 << 20;
    limits
}

/// Compresses every message, with context takeover both ways unless the suite refuses it.
fn compression() -> Compression {
    Compression::new().threshold(0).client_no_context_takeover(false)
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let server = args.next().unwrap_or_else(|| "ws://127.0.0.1:9001".into());
    let agent = args.next().unwrap_or_else(|| "actix-ws-client".into());
    let (answer, mut answers) = tokio::sync::mpsc::unbounded_channel();
    let counter = Echo { answer: Some(answer), ..Echo::default() };
    run(format!("{server}/getCaseCount"), counter).await?;
    let count: u32 = answers.recv().await.ok_or("the suite did not say how many cases")?.parse()?;
    for case in 1..=count {
        run(format!("{server}/runCase?case={case}&agent={agent}"), Echo::default()).await?;
    }
    run(format!("{server}/updateReports?agent={agent}"), Echo::default()).await?;
    println!("{count} cases run");
    Ok(())
}
