//! A dial every 5 s until there is a server, and after each loss. Ends with a clean close on Ctrl-C and SIGTERM.
//!
//! `cargo run --example every_five_seconds -- [URL]`

use std::process::ExitCode;
use std::time::Duration;

use actix_ws_client::{ConfigError, Connection, Reconnect};

#[actix::main]
async fn main() -> Result<ExitCode, ConfigError> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:9001/".into());
    let builder = Connection::builder(url)
        .reconnect(Reconnect::fixed(Duration::from_secs(5)))
        .close_on_ctrl_c(true)
        .on_open(|open| println!("open, dials: {}", open.attempts))
        .on_error(|failed| println!("error: {}; {}", failed.error, failed.next));
    let outcome = builder.run().await?;
    println!("{outcome}");
    Ok(ExitCode::from(u8::from(outcome.errored())))
}
