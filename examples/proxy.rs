//! Through an HTTP proxy: one that is chosen, one of the environment, and past it by `no_proxy`.
//!
//! `cargo run --example proxy` brings its own server and its own proxy.
//! `https_proxy=http://user:password@host:3128 cargo run --example proxy -- wss://…` goes through
//! yours.

use std::error::Error;
use std::net::SocketAddr;
use std::process::Command;

use actix_ws_client::{Connection, ConnectionBuilder, command, event};
use futures_util::{StreamExt, TryStreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The environment is asked unless the program says `.proxy_from_env(false)`.
    if let Some(url) = std::env::args().nth(1) {
        return say_hello(Connection::builder(url)).await;
    }
    let (server, proxy) = (echo_server().await?, small_proxy().await?);
    let url = format!("ws://{server}/");

    println!("* through the proxy, with its password");
    // A `%`, `@` or `:` in user or password is percent-encoded. SOCKS proxies have `socks5h://` …
    let known = format!("http://user:secret@{proxy}");
    // The environment's `no_proxy` holds for this one too. Here it is to be used whatever that says.
    say_hello(Connection::builder(&url).proxy(&known).no_proxy("")).await?;

    println!("* with a wrong one");
    let wrong = format!("http://user:guess@{proxy}");
    match say_hello(Connection::builder(&url).proxy(wrong).no_proxy("")).await {
        Ok(()) => return Err("the proxy should have refused".into()),
        Err(err) => println!("error: {err}"),
    }

    println!("* past the proxy, for the server's host is in no_proxy");
    let past = Connection::builder(&url).proxy(&known).no_proxy("10.0.0.0/8,127.0.0.1");
    say_hello(past).await?;

    println!("* through the proxy of the environment");
    child(&url, &[("http_proxy", &known), ("no_proxy", "")]).await?;
    println!("* past it, for the environment says so too");
    child(&url, &[("http_proxy", &known), ("no_proxy", "127.0.0.0/8")]).await
}

/// Sends a line, and closes when it has come back.
async fn say_hello(builder: ConnectionBuilder) -> Result<(), Box<dyn Error>> {
    let (tell, mut came) = tokio::sync::mpsc::unbounded_channel();
    let connection = builder
        .max_attempts(2)
        .on_open(event::call(|open: event::Open| {
            open.connection.do_send(command::Send::text("hello"));
        }))
        .on_message(event::call({
            let tell = tell.clone();
            // An error is nobody who listens any more.
            move |message: event::Message| drop(tell.send(Ok(message)))
        }))
        .on_stopped(event::call(move |stopped: event::Stopped| {
            drop(tell.send(Err(stopped.outcome)));
        }))
        .start()?;
    match came.recv().await {
        Some(Ok(message)) => println!("message: {}", message.payload.as_text().unwrap_or("")),
        Some(Err(outcome)) => return Err(outcome.error.map_or("closed".into(), Into::into)),
        None => return Err("nothing came".into()),
    }
    connection.send(command::Close::normal()).await?;
    Ok(())
}

/// Runs this program again with these variables set.
async fn child(url: &str, variables: &[(&str, &str)]) -> Result<(), Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(url).envs(variables.iter().copied());
    // Not on this thread: the proxy is here.
    let status = tokio::task::spawn_blocking(move || command.status()).await??;
    if status.success() { Ok(()) } else { Err(status.to_string().into()) }
}

/// Starts a proxy that knows one method and one user, and says where.
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
        return client.write_all(b"HTTP/1.1 405 CONNECT alone\r\n\r\n").await;
    };
    // user:secret
    if !head.contains("Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n") {
        println!("  proxy: refuses who gives no password, or a wrong one");
        let refusal = "HTTP/1.1 407 Who Asks\r\nProxy-Authenticate: Basic realm=\"small\"\r\n\
            Content-Length: 0\r\n\r\n";
        return client.write_all(refusal.as_bytes()).await;
    }
    println!("  proxy: opens the way to the server");
    let mut server = TcpStream::connect(target).await?;
    client.write_all(b"HTTP/1.1 200 There You Are\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// Starts a server by tokio-tungstenite, and says where.
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
            // An error here is the end of the client.
            let _ = stream.try_filter(text).forward(sink).await;
        }
    });
    Ok(addr)
}
