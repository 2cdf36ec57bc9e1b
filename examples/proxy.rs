//! Connections through an HTTP proxy: set by the program or by the environment, and exceptions by
//! `no_proxy`.
//!
//! `cargo run --example proxy` starts an echo server and a proxy itself.
//! `https_proxy=http://user:password@host:3128 cargo run --example proxy -- wss://…` uses yours.

use std::error::Error;
use std::net::SocketAddr;
use std::process::Command;

use actix_ws_client::{Connection, ConnectionBuilder, command};
use futures_util::{StreamExt, TryStreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The environment's proxy is used unless the program calls `.proxy_from_env(false)`.
    if let Some(url) = std::env::args().nth(1) {
        return say_hello(Connection::builder(url)).await;
    }
    let (server, proxy) = (echo_server().await?, small_proxy().await?);
    let url = format!("ws://{server}/");

    println!("* through the proxy, with the right password");
    // A `%`, `@` or `:` in user or password must be percent-encoded. The scheme of a SOCKS proxy is
    // `socks5h`, `socks5`, `socks4a` or `socks4`.
    let known = format!("http://user:secret@{proxy}");
    // The environment's `no_proxy` applies to this proxy too; `.no_proxy("")` overrides it.
    say_hello(Connection::builder(&url).proxy(&known).no_proxy("")).await?;

    println!("* through the proxy, with a wrong password");
    let wrong = format!("http://user:guess@{proxy}");
    match say_hello(Connection::builder(&url).proxy(wrong).no_proxy("")).await {
        Ok(()) => return Err("the proxy should have refused".into()),
        Err(err) => println!("error: {err}"),
    }

    println!("* without the proxy, since the server's host is in no_proxy");
    let past = Connection::builder(&url).proxy(&known).no_proxy("10.0.0.0/8,127.0.0.1");
    say_hello(past).await?;

    println!("* through the proxy in http_proxy of the environment");
    child(&url, &[("http_proxy", &known), ("no_proxy", "")]).await?;
    println!("* without the proxy, since the server's host is in no_proxy of the environment");
    child(&url, &[("http_proxy", &known), ("no_proxy", "127.0.0.0/8")]).await
}

/// Sends a line, and closes when it is echoed.
async fn say_hello(builder: ConnectionBuilder) -> Result<(), Box<dyn Error>> {
    let (events, mut received) = tokio::sync::mpsc::unbounded_channel();
    let connection = builder
        .max_attempts(2)
        .on_open(|open| _ = open.connection.do_send(command::Send::text("hello")))
        // Sending fails only when this function has returned.
        .on_message({
            let events = events.clone();
            move |message| drop(events.send(Ok(message)))
        })
        .on_stopped(move |stopped| drop(events.send(Err(stopped.outcome))))
        .start()?;
    match received.recv().await {
        Some(Ok(message)) => println!("message: {}", message.payload.as_text().unwrap_or("")),
        Some(Err(outcome)) => return Err(outcome.error.map_or("closed".into(), Into::into)),
        None => return Err("nothing was received".into()),
    }
    connection.send(command::Close::normal()).await?;
    Ok(())
}

/// Runs this program again with these environment variables.
async fn child(url: &str, variables: &[(&str, &str)]) -> Result<(), Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(url).envs(variables.iter().copied());
    // On another thread: this one runs the proxy.
    let status = tokio::task::spawn_blocking(move || command.status()).await??;
    if status.success() { Ok(()) } else { Err(status.to_string().into()) }
}

/// Starts a proxy that supports CONNECT for one user, and returns its address.
async fn small_proxy() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    actix::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            actix::spawn(async move {
                if let Err(err) = tunnel(client).await {
                    println!("  proxy: {err}");
                }
            });
        }
    });
    Ok(addr)
}

async fn tunnel(mut client: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.split_whitespace();
    let (Some("CONNECT"), Some(target)) = (words.next(), words.next()) else {
        return client.write_all(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n").await;
    };
    // user:secret
    if !head.contains("Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n") {
        println!("  proxy: refused: no password, or a wrong one");
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\n\
            Proxy-Authenticate: Basic realm=\"small\"\r\nContent-Length: 0\r\n\r\n";
        return client.write_all(refusal.as_bytes()).await;
    }
    println!("  proxy: connects to {target}");
    let mut server = TcpStream::connect(target).await?;
    client.write_all(b"HTTP/1.1 200 Connection Established\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// Starts an echo server by tokio-tungstenite, and returns its address.
async fn echo_server() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    actix::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(socket) = tokio_tungstenite::accept_async(stream).await else { continue };
            let (sink, stream) = socket.split();
            let text = |message: &tokio_tungstenite::tungstenite::Message| {
                std::future::ready(message.is_text())
            };
            // An error means that the client has gone.
            let _ = stream.try_filter(text).forward(sink).await;
        }
    });
    Ok(addr)
}
