//! What the server sees of the flags, and what the output says of what was agreed.

use std::io::{Read, Write};
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, channel};

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::process::Wsup;
use crate::server::{self, Server};

/// Whether compression is offered with these flags.
fn offers(flags: &[&str]) -> bool {
    server::header(&asked(flags), "sec-websocket-extensions").is_some()
}

#[test]
fn compression_is_offered_unless_it_is_not_wanted() {
    assert!(offers(&[]));
    assert!(!offers(&["--no-deflate"]));
}

/// The head of the request that these flags make.
fn asked(flags: &[&str]) -> String {
    let (sender, receiver) = channel();
    let server = Server::run(move |listener| {
        sender.send(server::read_head(&mut listener.accept().unwrap().0)).unwrap();
    });
    Wsup::json(&[&[&server.url(), "--reconnect", "never"], flags].concat()).end().is(1, "failed");
    receiver.recv().unwrap()
}

#[test]
fn who_asks_is_what_the_flags_say() {
    let flags = ["--cookie", "a=1; b=2", "--origin", "https://shop.example", "--host", "h:8"];
    let head = asked(&[&flags[..], &["--user", "me:p:w"]].concat());
    assert_eq!(server::header(&head, "cookie"), Some("a=1; b=2"));
    assert_eq!(server::header(&head, "origin"), Some("https://shop.example"));
    assert_eq!(server::header(&head, "host"), Some("h:8"));
    assert_eq!(server::header(&head, "authorization"), Some("Basic bWU6cDp3"));
    let flags = ["--no-origin", "--bearer", "a.b", "--subprotocol", "v2", "--subprotocol", "v1"];
    let head = asked(&flags);
    assert_eq!(server::header(&head, "origin"), None);
    assert_eq!(server::header(&head, "authorization"), Some("Bearer a.b"));
    assert_eq!(server::header(&head, "sec-websocket-protocol"), Some("v2, v1"));
}

/// Redirects each request to `/next`, sets a cookie with it, and reports the request.
fn redirecting() -> (Server, Receiver<String>) {
    let (sender, receiver) = channel();
    let server = Server::run(move |listener| {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            sender.send(server::read_head(&mut stream)).unwrap();
            let reply = "HTTP/1.1 302 Found\r\nLocation: /next\r\nSet-Cookie: jar=1\r\n\r\n";
            stream.write_all(reply.as_bytes()).unwrap();
        }
    });
    (server, receiver)
}

#[test]
fn redirects_are_followed_as_often_as_they_are_wanted() {
    for (limit, dials) in [(&[][..], 4), (&["--redirects", "1"], 2)] {
        let (server, receiver) = redirecting();
        let ended = Wsup::json(&[&[&*server.url()], limit].concat()).end();
        assert!(ended.rest[0].contains(r#""stage":"redirect""#), "{:?}", ended.rest);
        ended.is(3, "refused");
        let heads: Vec<String> = receiver.try_iter().collect();
        assert_eq!(heads.len(), dials);
        assert_eq!(server::header(&heads[1], "cookie"), Some("jar=1"));
    }
    let (server, receiver) = redirecting();
    Wsup::json(&[&server.url(), "--no-cookie-jar"]).end().is(3, "refused");
    assert!(receiver.try_iter().all(|head| server::header(&head, "cookie").is_none()));
    let (server, _hears) = redirecting();
    let ended = Wsup::json(&[&server.url(), "--redirects", "0"]).end();
    assert!(
        ended.rest[0].contains(r#""stage":"refused","during":null,"status":302"#),
        "{:?}",
        ended.rest
    );
    ended.is(3, "refused");
}

#[test]
fn the_subprotocol_that_was_picked_is_in_the_open_line() {
    let server = Server::run(|listener| {
        let (mut stream, _) = listener.accept().unwrap();
        let head = server::read_head(&mut stream);
        let accept =
            derive_accept_key(server::header(&head, "sec-websocket-key").unwrap().as_bytes());
        let reply = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: v1\r\n\r\n"
        );
        stream.write_all(reply.as_bytes()).unwrap();
    });
    let flags = ["--subprotocol", "v2", "--subprotocol", "v1", "--reconnect", "never"];
    let ended = Wsup::json(&[&[&*server.url()], &flags[..]].concat()).end();
    assert!(ended.rest[0].contains(r#""subprotocol":"v1""#), "{:?}", ended.rest);
    ended.is(1, "failed");
}

/// Agrees to compression, sends "Hello" with it (RFC 7692, 7.2.3.1), and waits for the end.
fn compressing() -> Server {
    Server::run(|listener| {
        let (mut stream, _) = listener.accept().unwrap();
        let head = server::read_head(&mut stream);
        let accept =
            derive_accept_key(server::header(&head, "sec-websocket-key").unwrap().as_bytes());
        let reply = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        );
        stream.write_all(reply.as_bytes()).unwrap();
        stream.write_all(b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00").unwrap();
        // What is left to be read is the client's closing.
        let _ = stream.read_to_end(&mut Vec::new());
    })
}

#[test]
fn what_was_agreed_is_in_the_open_line() {
    let args = ["--messages", "1", "--close-timeout", "100ms"];
    let ended = Wsup::json(&[&[&*compressing().url()], &args[..]].concat()).end();
    assert!(ended.rest[0].contains(r#""extensions":"permessage-deflate""#), "{:?}", ended.rest);
    assert!(ended.rest[1].ends_with(r#""type":"text","data":"Hello"}"#), "{:?}", ended.rest);
    ended.is(0, "closed");

    // Nobody offered it.
    let args = ["--no-deflate", "--reconnect", "never"];
    let ended = Wsup::json(&[&[&*compressing().url()], &args[..]].concat()).end();
    assert!(ended.rest[0].contains(r#""stage":"handshake""#), "{:?}", ended.rest);
    ended.is(3, "refused");
}

/// Elsewhere the loopback has one address.
#[cfg(target_os = "linux")]
#[test]
fn sockets_are_bound_to_the_address_that_is_asked_for() {
    for ip in ["127.0.0.1", "127.0.0.2"] {
        let (sender, receiver) = channel();
        let server = Server::run(move |listener| {
            sender.send(listener.accept().unwrap().1.ip()).unwrap();
        });
        Wsup::json(&[&server.url(), "--bind", ip, "--reconnect", "never"]).end().is(1, "failed");
        assert_eq!(receiver.recv().unwrap(), ip.parse::<IpAddr>().unwrap());
    }
}
