//! Closures instead of an actor: sends a line, prints the echo, and says how it ended.
//!
//! `cargo run --example closures`; it starts the echo server itself.

use std::process::ExitCode;

use actix_ws_client::testing::{Script, Server};
use actix_ws_client::{ConfigError, Connection, command};
use tokio::time::{Duration, sleep};

#[actix::main]
async fn main() -> Result<ExitCode, ConfigError> {
    let server = Server::start(Script::accept().echo());
    let builder = Connection::builder(server.url())
        .on_open(|open| _ = open.connection.do_send(command::Send::text("hello")))
        .on_message(|message| println!("message: {}", message.payload.as_text().unwrap_or("-")));
    let outcome = builder.run_until(sleep(Duration::from_secs(1))).await?;
    println!("{outcome}"); // or why it was refused, failed or given up
    Ok(ExitCode::from(u8::from(outcome.errored())))
}
