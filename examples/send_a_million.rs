//! Sending much: a million messages, queued one by one, which cross to the connection's thread in batches. A server
//! that reads slowly slows the sender; memory stays bounded.
//!
//! `cargo run --release --example send_a_million -- [COUNT]` starts a server itself.

use std::error::Error;
use std::time::Instant;

use actix_ws_client::{Connection, Event, Payload};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let count = std::env::args().nth(1).map_or(Ok(1_000_000), |count| count.parse())?;
    let url = counting_server(count).await?;
    let (mut sender, mut events) = Connection::builder(url).no_reconnect().stream(1024)?;
    while !matches!(events.next().await.ok_or("the connection failed")?, Event::Open(_)) {}

    // The events are consumed meanwhile: else the connection would stop reading.
    let events = tokio::spawn(async move {
        let mut answer = None;
        while let Some(event) = events.next().await {
            if let Event::Message(message) = event {
                answer = Some(message.payload);
            }
        }
        answer
    });
    let start = Instant::now();
    for number in 0..count {
        // Waits for room. An error gives the first refused message back.
        sender.feed(Payload::from(number.to_string())).await?;
    }
    // All of them are accepted, and leave before the Close frame.
    sender.close().await?;
    let answer = events.await?.ok_or("the server did not answer")?;
    let each = start.elapsed() / u32::try_from(count).unwrap_or(u32::MAX).max(1);
    println!("sent {count}, {}, {each:.0?} each", answer.as_text().unwrap_or_default());
    Ok(())
}

/// Starts a server by tokio-tungstenite that counts messages, and returns its URL.
async fn counting_server(count: u64) -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}", listener.local_addr()?);
    tokio::spawn(async move {
        let Ok((stream, _)) = listener.accept().await else { return };
        let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
        let mut in_order = 0_u64;
        while let Some(Ok(message)) = socket.next().await {
            let is_next =
                message.to_text().ok().and_then(|text| text.parse().ok()) == Some(in_order);
            in_order += u64::from(is_next);
            if in_order == count && is_next {
                let _ = socket.send(Message::text(format!("received {in_order} in order"))).await;
            }
        }
    });
    Ok(url)
}
