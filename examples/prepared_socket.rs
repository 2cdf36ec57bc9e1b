//! Connections over other transports than TCP: any `AsyncRead + AsyncWrite`, one stream or a new
//! one for each attempt, here a pipe in memory and a Unix socket.
//!
//! `cargo run --example prepared_socket`

use std::error::Error;

use actix_ws_client::{Connection, ConnectionBuilder, command, event};
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};
use tokio_tungstenite::tungstenite::Message;

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    println!("* one prepared stream, without reconnection");
    // `Host` and the path of the request are still those of the URL.
    run(Connection::builder("ws://example.com/feed").transport(pipe())).await?;

    println!("* a wss URL over a stream that is already secure");
    // Without `transport_is_secure` TLS would be spoken over the stream, which this server cannot
    // do. With it nothing verifies the peer: use it for a pipe, a tunnel, or a TLS stream of your
    // own.
    let secure = Connection::builder("wss://example.com/feed").transport(pipe());
    run(secure.transport_is_secure()).await?;

    #[cfg(unix)]
    unix().await?;
    Ok(())
}

/// Runs with a new stream for each attempt: such a connection can reconnect.
#[cfg(unix)]
async fn unix() -> Result<(), Box<dyn Error>> {
    use tokio::net::{UnixListener, UnixStream};

    println!("* a Unix socket, dialled again after each loss");
    let name = format!("prepared_socket-{}.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    let listener = UnixListener::bind(&path)?;
    actix::spawn(async move {
        // Drop the first connection at once.
        drop(listener.accept().await);
        while let Ok((stream, _)) = listener.accept().await {
            actix::spawn(echo(stream));
        }
    });
    let dialled = path.clone();
    // The closure receives the URL's host and port, which a Unix socket does not need.
    let builder = Connection::builder("ws://localhost/")
        .transport_with(move |_host, _port| UnixStream::connect(dialled.clone()));
    let ended = run(builder).await;
    std::fs::remove_file(path)?;
    ended
}

/// Sends a line, and closes when it is echoed.
async fn run(builder: ConnectionBuilder) -> Result<(), Box<dyn Error>> {
    let (echoed, mut echoes) = tokio::sync::mpsc::unbounded_channel();
    let connection = builder
        .max_attempts(3)
        .on_open_to(event::call(|open: event::Open| {
            println!("open, dials: {}", open.attempts);
            open.connection.do_send(command::Send::text("hello"));
        }))
        .on_error_to(event::call(|failed: event::Error| println!("failed: {}", failed.error)))
        // Sending fails only when this function has returned. The end of the run drops the closure,
        // and with it the channel.
        .on_message_to(event::call(move |message: event::Message| drop(echoed.send(message))))
        .start()?;
    let message = echoes.recv().await.ok_or("nothing was echoed")?;
    println!("message: {}", message.payload.as_text().unwrap_or_default());
    let outcome = connection.send(command::Close::normal()).await?;
    println!("{}", outcome.kind);
    Ok(())
}

/// Creates a pipe with an echo server at its other end.
fn pipe() -> DuplexStream {
    let (ours, theirs) = duplex(64 << 10);
    actix::spawn(echo(theirs));
    ours
}

/// Serves one connection as an echo server by tokio-tungstenite.
async fn echo(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let Ok(socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let (sink, stream) = socket.split();
    let text = |message: &Result<Message, _>| {
        std::future::ready(message.as_ref().is_ok_and(Message::is_text))
    };
    // An error means that the client has gone.
    let _ = stream.filter(text).forward(sink).await;
}
