//! Reconnection after every kind of loss: a dropped connection, a Close, a refusal, a server that
//! is down, and one that falls silent.
//!
//! `cargo run --example reconnect`. Exits with 0 if the connection was opened five times.

use std::io;
use std::time::Duration;

use actix_ws_client::{Connection, Event, OutcomeKind, Reconnect, command};
use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

/// The number of openings after which the client closes.
const OPENINGS: u64 = 5;

/// Prints what happens, and closes after the last opening.
fn narrate(event: Event) {
    match event {
        Event::Open(open) => {
            match &open.outage {
                None => println!("open"),
                Some(outage) => {
                    println!(
                        "open again after {:.2?}, dials: {}",
                        outage.duration, outage.attempts
                    );
                }
            }
            if open.epoch == OPENINGS {
                println!("closing: that was the last opening");
                open.connection.do_send(command::Close::normal());
            }
        }
        Event::Message(message) => {
            println!("  message: {:?}", message.payload.as_text().unwrap_or_default());
        }
        Event::Error(failed) => println!("error: {}; {}", failed.error, failed.next),
        Event::Close(close) => {
            let reason = match &*close.reason {
                "" => String::new(),
                reason => format!(" {reason:?}"),
            };
            let (code, lasted) = (close.code, close.lasted);
            println!("closed after {lasted:.2?} with {code}{reason}; {}", close.next);
        }
        _ => {}
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The server keeps its port while it is down.
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}", listener.local_addr()?);
    let server = actix::spawn(failing_server(listener));
    let millis = Duration::from_millis;
    let run = Connection::builder(url)
        .reconnect(
            Reconnect::exponential().floor(millis(200)).initial(millis(300)).cap(millis(800)),
        )
        .ping_interval(millis(500))
        .ping_timeout(millis(500))
        .on_event(narrate)
        .run_until(sleep(Duration::from_secs(10)));
    let outcome = run.await?;
    println!(
        "outcome: {} after {} openings and {} dials",
        outcome.kind, outcome.epochs, outcome.attempts
    );
    server.await??;
    match (outcome.kind, outcome.epochs) {
        (OutcomeKind::Closed, OPENINGS) => Ok(()),
        _ => Err(format!("it should have been opened {OPENINGS} times").into()),
    }
}

/// Fails in a different way after each of the first four openings.
async fn failing_server(mut listener: TcpListener) -> io::Result<()> {
    let addr = listener.local_addr()?;
    let socket = greet(&listener).await?;
    println!("* the server drops the connection");
    drop(socket);

    let mut socket = greet(&listener).await?;
    println!("* the server closes with 1012, then refuses the next dial with 503");
    let restart = CloseFrame { code: CloseCode::Restart, reason: "service restart".into() };
    // An error here and below means that the client has already gone.
    let _ = socket.close(Some(restart)).await;
    while let Some(Ok(_)) = socket.next().await {}
    drop(socket);
    let (mut stream, _) = listener.accept().await?;
    stream
        .write_all(
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
        )
        .await?;

    let socket = greet(&listener).await?;
    println!("* the server is down for a second: its port is closed");
    drop((socket, listener, stream));
    sleep(Duration::from_secs(1)).await;
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    listener = socket.listen(16)?;

    let silent = greet(&listener).await?;
    println!("* the server falls silent: pings are not answered");
    let mut last = greet(&listener).await?;
    drop(silent);
    while let Some(Ok(_)) = last.next().await {}
    Ok(())
}

/// Accepts a connection, sends a message, and leaves it open for 300 ms.
async fn greet(
    listener: &TcpListener,
) -> io::Result<tokio_tungstenite::WebSocketStream<TcpStream>> {
    let (stream, _) = listener.accept().await?;
    let mut socket = accept_async(stream).await.map_err(io::Error::other)?;
    socket.send("hello".into()).await.map_err(io::Error::other)?;
    sleep(Duration::from_millis(300)).await;
    Ok(socket)
}
