//! A connection without a runtime, with closures: WebSocketApp's examples of use, against servers by
//! tokio-tungstenite. The one with certificates is in `tests/tls/`, the one that ends on Ctrl-C in `tests/ctrl_c.rs`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use actix_ws_client::testing::{Script, Server};
use actix_ws_client::{ConfigError, Connection, OutcomeKind, Reconnect, command, event};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

/// Starts an echo server on a thread of its own. The second end gets the heads of its requests.
fn echo_server() -> (SocketAddr, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (addr, (heads, seen)) = (listener.local_addr().unwrap(), channel());
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                #[expect(clippy::result_large_err, reason = "the callback's type is not ours")]
                let note = |request: &Request, response: Response| {
                    let _ = heads.send(request.clone());
                    Ok::<_, ErrorResponse>(response)
                };
                let socket = tokio_tungstenite::accept_hdr_async(stream, note).await;
                let Ok(mut socket) = socket else { continue };
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() {
                        let _ = socket.send(message).await;
                    }
                }
            }
        });
    });
    (addr, seen)
}

fn patient<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(Duration::from_secs(20)).expect("within 20 s")
}

#[test]
fn an_echo_with_all_four_callbacks() {
    let (addr, _) = echo_server();
    let (names, seen) = channel();
    let [opens, messages, errors, closes] = [(); 4].map(|()| names.clone());
    let main = thread::current().id();
    let outcome = Connection::builder(format!("ws://{addr}/"))
        .on_open(move |open| {
            assert_eq!(thread::current().id(), main, "closures are called on this thread");
            opens.send("open").unwrap();
            open.connection.do_send(command::Send::text("Hello"));
            open.connection.do_send(command::Send::text("bye"));
        })
        .on_message(move |message| {
            messages
                .send(if message.payload.as_text() == Some("Hello") { "Hello" } else { "bye" })
                .unwrap();
        })
        .on_error(move |_| errors.send("error").unwrap())
        .on_close(move |_| closes.send("close").unwrap())
        .on_event({
            let mut handle = None;
            move |event| match event {
                actix_ws_client::Event::Open(open) => handle = Some(open.connection),
                actix_ws_client::Event::Message(message)
                    if message.payload.as_text() == Some("bye") =>
                {
                    let handle = handle.as_ref().unwrap();
                    handle.do_send(command::Close::normal());
                }
                _ => {}
            }
        })
        .run_blocking()
        .unwrap();
    drop(names);
    assert_eq!(outcome.kind, OutcomeKind::Closed);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), ["open", "Hello", "bye", "close"]);
}

#[test]
fn header_lines_of_ones_own() {
    let (addr, heads) = echo_server();
    let outcome = Connection::builder(format!("ws://{addr}/"))
        .header("Authorization", "Bearer token")
        .header("User-Agent", "MyApp/1.0")
        .on_open(|open| {
            open.connection.do_send(command::Close::normal());
        })
        .run_blocking()
        .unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Closed);
    let head = patient(&heads);
    assert_eq!(head.headers()["authorization"], "Bearer token");
    assert_eq!(head.headers()["user-agent"], "MyApp/1.0");
}

/// A proxy by HTTP CONNECT, which wants "user" and "password", for one connection.
fn proxy() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            client.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap();
        assert!(head.contains("\r\nProxy-Authorization: Basic dXNlcjpwYXNzd29yZA==\r\n"), "{head}");
        let mut server = TcpStream::connect(target).unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut from, &mut to));
        let _ = std::io::copy(&mut server, &mut client);
    });
    addr
}

#[test]
fn through_an_http_proxy_with_user_and_password() {
    let (addr, _) = echo_server();
    let proxy = proxy();
    let (texts, seen) = channel();
    let outcome = Connection::builder(format!("ws://{addr}/"))
        .proxy(format!("http://user:password@{proxy}"))
        .no_proxy("")
        .no_reconnect()
        .on_open(|open| {
            open.connection.do_send(command::Send::text("Hello"));
        })
        .on_open(move |open| {
            let texts = texts.clone();
            texts.send(open.handshake.peer).unwrap();
            open.connection.do_send(command::Close::normal());
        })
        .run_blocking()
        .unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Closed, "{outcome}");
    assert_eq!(patient(&seen), Some(proxy));
}

#[test]
fn a_panic_in_a_closure_ends_neither_the_run_nor_its_thread() {
    let (addr, _) = echo_server();
    let outcome = Connection::builder(format!("ws://{addr}/"))
        .end_when_unheard(true)
        // Which finds out that it has ended.
        .ping_interval(Duration::from_millis(20))
        .on_message(|_| panic!("of the test"))
        .on_open(|open| {
            open.connection.do_send(command::Send::text("Hello"));
        })
        .run_blocking()
        .unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Refused);
}

#[test]
fn it_returns_when_all_closures_have() {
    // The run is over before the closures have all messages: these are more than a mailbox holds, and than the
    // thread delivers before it looks at the end of the run.
    let texts = (0..20_000).map(|number| number.to_string());
    let server = Server::start(Script::accept().send_all(texts).send_close(1000, ""));
    let (names, seen) = channel();
    let (messages, stopped, mut is_first) = (names.clone(), names, true);
    let outcome = Connection::builder(server.url())
        .reconnect_on_close(false)
        .read_ahead(16 << 20)
        .on_message(move |_| {
            // While this thread stands still, all the rest arrives, to be read at once.
            if std::mem::take(&mut is_first) {
                thread::sleep(Duration::from_millis(300));
            }
            messages.send("message").unwrap();
        })
        .on_stopped(move |_: event::Stopped| stopped.send("stopped").unwrap())
        .run_blocking()
        .unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Closed);
    let seen: Vec<_> = seen.try_iter().collect();
    assert_eq!((seen.len(), seen.last()), (20_001, Some(&"stopped")));
}

#[tokio::test]
async fn inside_a_runtime_it_is_refused() {
    let refused = Connection::builder("ws://127.0.0.1:1/").run_blocking().unwrap_err();
    assert!(matches!(refused, ConfigError::InRuntime), "{refused}");
    let builder = Connection::builder("ws://127.0.0.1:1/").reconnect(Reconnect::never());
    let blocking = tokio::task::spawn_blocking(|| builder.run_blocking());
    assert!(matches!(blocking.await.unwrap(), Err(ConfigError::InRuntime)));
}

#[test]
fn a_wrong_option_is_refused() {
    let refused = Connection::builder("http://127.0.0.1/").run_blocking().unwrap_err();
    assert!(matches!(refused, ConfigError::Url { .. }), "{refused}");
}
