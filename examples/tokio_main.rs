//! A connection in a program of plain tokio, on its multi-threaded runtime: the loop that one has with
//! tokio-tungstenite, and a connection that comes back.
//!
//! `cargo run --example tokio_main -- [URL]`; without a URL it starts a server itself, which drops its first
//! connection.

use actix_ws_client::{Connection, Event};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (sender, mut events) = Connection::builder(url()?).reconnect_on_close(false).stream(256)?;
    while let Some(event) = events.next().await {
        match event {
            // After each reopening too: a subscription belongs here.
            Event::Open(_) => drop(sender.send("subscribe").await),
            Event::Message(message) => println!("message: {:?}", message.payload),
            Event::Error(_) | Event::Close(_) => println!("{event}"),
            Event::Stopped(stopped) => drop(stopped.outcome.into_result()?),
            _ => {}
        }
    }
    Ok(())
}

/// Returns the argument, or else the URL of a server by tokio-tungstenite that is started here. It drops the first
/// connection after a message, and closes the second one in order.
fn url() -> std::io::Result<String> {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;

    if let Some(url) = std::env::args().nth(1) {
        return Ok(url);
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
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
