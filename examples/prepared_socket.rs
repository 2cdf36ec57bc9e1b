//! Over what is not TCP: any `AsyncRead + AsyncWrite`, once or for each attempt, and a Unix socket.
//!
//! `cargo run --example prepared_socket`.

use std::error::Error;

use actix_ws_client::{Connection, ConnectionBuilder, command, event};
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};
use tokio_tungstenite::tungstenite::Message;

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    println!("* a stream that is there already: one socket, no reconnection");
    // The URL still says what `Host` and the path are.
    run(Connection::builder("ws://example.com/feed").transport(pipe())).await?;

    println!("* a wss URL over a stream that is secure by itself");
    // Without this word there would be TLS inside the stream, which this server does not speak.
    // With it nothing checks who is at the other end: say it of a pipe, a tunnel, TLS of your own.
    let secure = Connection::builder("wss://example.com/feed").transport(pipe());
    run(secure.transport_is_secure()).await?;

    #[cfg(unix)]
    unix().await?;
    Ok(())
}

/// A new stream for each attempt: that one can be lost, and comes back.
#[cfg(unix)]
async fn unix() -> Result<(), Box<dyn Error>> {
    use tokio::net::{UnixListener, UnixStream};

    println!("* a Unix socket, dialled anew after each loss");
    let name = format!("prepared_socket-{}.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    let listener = UnixListener::bind(&path)?;
    actix::spawn(async move {
        // The first one is lost at once.
        drop(listener.accept().await);
        while let Ok((stream, _)) = listener.accept().await {
            actix::spawn(echo(stream));
        }
    });
    let dialled = path.clone();
    // Host and port of the URL are handed in: this socket has no use for them.
    let builder = Connection::builder("ws://localhost/")
        .transport_with(move |_host, _port| UnixStream::connect(dialled.clone()));
    let ended = run(builder).await;
    std::fs::remove_file(path)?;
    ended
}

/// Sends a line, and closes when it has come back.
async fn run(builder: ConnectionBuilder) -> Result<(), Box<dyn Error>> {
    let (tell, mut came) = tokio::sync::mpsc::unbounded_channel();
    let connection = builder
        .max_attempts(3)
        .on_open(event::call(|open: event::Open| {
            println!("open, dials: {}", open.attempts);
            open.connection.do_send(command::Send::text("hello"));
        }))
        .on_error(event::call(|failed: event::Error| println!("failed: {}", failed.error)))
        // An error is nobody who listens any more. At the end of the run the closure is dropped.
        .on_message(event::call(move |message: event::Message| drop(tell.send(message))))
        .start()?;
    let message = came.recv().await.ok_or("nothing came back")?;
    println!("message: {}", message.payload.as_text().unwrap_or_default());
    let outcome = connection.send(command::Close::normal()).await?;
    println!("{}", outcome.kind);
    Ok(())
}

/// One end of a pipe, with an echo at the other.
fn pipe() -> DuplexStream {
    let (ours, theirs) = duplex(64 << 10);
    actix::spawn(echo(theirs));
    ours
}

/// A server by tokio-tungstenite.
async fn echo(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let Ok(socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let (sink, stream) = socket.split();
    let text = |message: &Result<Message, _>| {
        std::future::ready(message.as_ref().is_ok_and(Message::is_text))
    };
    // An error here is the end of the client.
    let _ = stream.filter(text).forward(sink).await;
}
