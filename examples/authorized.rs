//! Headers of the request, a password, and a subprotocol.
//!
//! `cargo run --example authorized`; it starts a server that picks the protocol `v2` itself.

use std::process::ExitCode;

use actix_ws_client::testing::{Script, Server};
use actix_ws_client::{ConfigError, Connection};

#[actix::main]
async fn main() -> Result<ExitCode, ConfigError> {
    let picks = Script::accept().header("Sec-WebSocket-Protocol", "v2");
    let server = Server::start(picks.send_text("welcome").send_close(1000, "bye"));
    let builder = Connection::builder(server.url())
        .header("User-Agent", "prices/1.0")
        .basic_auth("me", "secret") // or .header("Authorization", "Bearer …")
        .subprotocols(["v2", "v1"])
        .reconnect_on_close(false)
        .on_open(|open| println!("open: {}", open.handshake.subprotocol.as_deref().unwrap_or("-")))
        .on_message(|message| println!("message: {}", message.payload.as_text().unwrap_or("-")));
    let outcome = builder.run().await?;
    println!("{:?}", server.requests()[0]); // what the server has received
    println!("{outcome}");
    Ok(ExitCode::from(u8::from(outcome.errored())))
}
