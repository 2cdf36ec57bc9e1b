//! A program without a runtime: closures, called on the thread that runs the connection. WebSocketApp's
//! `run_forever`.
//!
//! `cargo run --example blocking -- [URL]`; without a URL it starts an echo server itself.

use std::process::ExitCode;
use std::time::Duration;

use actix_ws_client::{ConfigError, Connection, Reconnect, command};

fn main() -> Result<ExitCode, ConfigError> {
    let url = std::env::args().nth(1).unwrap_or_else(echo_server);
    let outcome = Connection::builder(url)
        .header("User-Agent", "MyApp/1.0")
        .reconnect(Reconnect::fixed(Duration::from_secs(5)))
        .max_attempts(2) // without it, a server that is down is dialled until Ctrl-C
        .close_on_ctrl_c(true)
        .on_open(|open| {
            println!("open");
            open.connection.do_send(command::Send::text("hello"));
            open.connection.do_send(command::Close::normal()); // behind the message
        })
        .on_message(|message| {
            println!("message: {}", message.payload.as_text().unwrap_or("(binary)"))
        })
        .on_error(|failed| println!("error: {}; {}", failed.error, failed.next))
        .on_close(|close| println!("closed with {}", close.code))
        .run_blocking()?;
    println!("{outcome}");
    Ok(if outcome.errored() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Starts an echo server by the library's own kit, and returns its URL.
fn echo_server() -> String {
    use actix_ws_client::testing::{Script, Server};

    // It lives as long as the process.
    let server = Box::leak(Box::new(Server::start(Script::accept().echo())));
    server.url()
}
