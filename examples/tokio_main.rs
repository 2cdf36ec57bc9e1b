//! A connection in a program of plain tokio, on its multi-threaded runtime: the loop that one has with
//! tokio-tungstenite, and a connection that comes back.
//!
//! `cargo run --example tokio_main -- [URL]`; without a URL it starts a server itself, which drops its first
//! connection.

use std::error::Error;

use actix_ws_client::{Connection, Event};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = match std::env::args().nth(1) {
        Some(url) => url,
        None => unsteady_server().await?,
    };
    let (sender, mut events) = Connection::builder(url).reconnect_on_close(false).stream(1024)?;
    while let Some(event) = events.next().await {
        match event {
            // After each reopening too: a subscription belongs here.
            Event::Open(_) => drop(sender.send("subscribe").await),
            Event::Message(message) => println!("message: {:?}", message.payload),
            Event::Error(failed) => println!("error: {}; {}", failed.error, failed.next),
            Event::Close(close) => println!("closed with {}; {}", close.code, close.next),
            Event::Stopped(stopped) => drop(stopped.outcome.into_result()?),
            _ => {}
        }
    }
    Ok(())
}

/// Starts a server by tokio-tungstenite, and returns its URL. It drops the first connection after a message, and
/// closes the second one in order.
async fn unsteady_server() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}", listener.local_addr()?);
    tokio::spawn(async move {
        for round in 1_u8.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { continue };
            let _subscribe = socket.next().await;
            let _ = socket.send(Message::text(format!("round {round}"))).await;
            if round > 1 {
                let _ = socket.close(None).await;
                while socket.next().await.is_some_and(|message| message.is_ok()) {}
            }
        }
    });
    Ok(url)
}
