//! A first program: sends three lines to an echo server and prints the replies.
//!
//! `cargo run --example echo -- [URL]`; without a URL it starts an echo server itself.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use actix::prelude::*;
use actix_ws_client::{Connection, Outcome, command, event};
use futures_util::{StreamExt, TryStreamExt};
use tokio::net::TcpListener;

const LINES: [&str; 3] = ["hello", "how are you?", "goodbye"];

/// Sends the lines, and closes when all are echoed.
#[derive(Default)]
struct Echoes {
    connection: Option<actix_ws_client::Handle>,
    echoed: Vec<String>,
}

impl Actor for Echoes {
    type Context = Context<Echoes>;
}

impl Handler<event::Open> for Echoes {
    type Result = ();

    fn handle(&mut self, open: event::Open, _: &mut Self::Context) {
        match open.handshake.peer {
            Some(peer) => println!("open: {peer}"),
            None => println!("open"), // a transport without an address
        }
        self.echoed.clear();
        for line in LINES {
            open.connection.do_send(command::Send::text(line));
        }
        self.connection = Some(open.connection);
    }
}

impl Handler<event::Message> for Echoes {
    type Result = ();

    fn handle(&mut self, message: event::Message, _: &mut Self::Context) {
        let text = message.payload.as_text().unwrap_or("(binary)");
        println!("message: {text}");
        // Some public echo servers greet first.
        self.echoed.extend(LINES.contains(&text).then(|| text.to_owned()));
        if self.echoed == LINES
            && let Some(connection) = &self.connection
        {
            connection.do_send(command::Close::normal());
        }
    }
}

impl Handler<event::Error> for Echoes {
    type Result = ();

    fn handle(&mut self, failed: event::Error, _: &mut Self::Context) {
        match failed.next.after() {
            Some(after) => println!("error: {}; next dial in {after:.2?}", failed.error),
            None => println!("error: {}; no further dial", failed.error),
        }
    }
}

impl Handler<event::Close> for Echoes {
    type Result = ();

    fn handle(&mut self, close: event::Close, _: &mut Self::Context) {
        println!("close: {} by {:?}, clean: {}", close.code, close.by, close.clean);
    }
}

#[actix::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(outcome) => {
            println!("{outcome}: every line was echoed");
            ExitCode::SUCCESS
        }
        Err(err) => {
            eprintln!("error: {err}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the connection to its end.
async fn run() -> Result<Outcome, Box<dyn Error>> {
    let url = match std::env::args().nth(1) {
        Some(url) => url,
        None => echo_server().await?,
    };
    let echoes = Echoes::default().start();
    let mut late = false;
    let limit = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        late = true;
    };
    let outcome = Connection::builder(url)
        .max_attempts(2) // without it, it would dial for ever
        .handler(&echoes)
        .close_on_ctrl_c(true)
        .run_until(limit)
        .await?;
    if late {
        return Err("not every line was echoed within 20 s".into());
    }
    // Why it ended, if it was not closed: by an error, or by a close code that forbids another dial.
    Ok(outcome.into_result()?)
}

/// Starts an echo server by tokio-tungstenite, and returns its URL.
async fn echo_server() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}", listener.local_addr()?);
    actix::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(socket) = tokio_tungstenite::accept_async(stream).await else { continue };
            let (sink, stream) = socket.split();
            let data = |message: &tokio_tungstenite::tungstenite::Message| {
                std::future::ready(message.is_text() || message.is_binary())
            };
            // An error means that the client has gone.
            let _ = stream.try_filter(data).forward(sink).await;
        }
    });
    Ok(url)
}
