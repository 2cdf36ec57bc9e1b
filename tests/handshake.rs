//! The reply to the upgrade: each wrong part is named, a refusal is kept whole, and bytes behind the
//! 101 are frames.

use std::time::Duration;

use actix_ws_client::error::{HandshakeError, Stage};
use actix_ws_client::testing::{Probe, Script, Server};
use actix_ws_client::{
    Compression, Connection, ConnectionBuilder, Error, Outcome, OutcomeKind, event,
};

/// One dial.
fn to(server: &Server) -> ConnectionBuilder {
    Connection::builder(server.url()).no_reconnect()
}

/// A 101 as it should be, but for the digest.
const GOOD: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n";

/// How a dial ends that gets this reply.
async fn dialled(reply: impl Into<bytes::Bytes>) -> Outcome {
    let server = Server::start(Script::raw_reply(reply).drop_connection());
    to(&server).run().await.unwrap()
}

#[actix::test]
async fn the_request_is_that_of_the_rfc() {
    let server = Server::start(Script::accept().send_close(1000, ""));
    let url = format!("{}path?query=1#fragment", server.url());
    let builder = Connection::builder(url).no_reconnect().header("X-Token", "a");
    builder.header("x-token", "b").run().await.unwrap();
    let request = &server.requests()[0];
    assert_eq!(request.line(), "GET /path?query=1 HTTP/1.1");
    let host = server.addr().to_string();
    for (name, value) in [
        ("host", host.as_str()),
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("origin", &format!("http://{host}")),
    ] {
        let values: Vec<&str> = request.headers(name).collect();
        assert_eq!(values.len(), 1, "{name}: {request:?}");
        assert!(values[0].eq_ignore_ascii_case(value), "{name}: {request:?}");
    }
    assert_eq!(request.header("sec-websocket-key").unwrap().len(), 24);
    assert!(request.header("user-agent").unwrap().starts_with("actix-ws-client/"));
    assert_eq!(request.headers("x-token").collect::<Vec<_>>(), ["a", "b"]);
    let offers: Vec<&str> = request.headers("sec-websocket-extensions").collect();
    let offer = Compression::default().offer();
    assert_eq!(offers, offer.iter().map(String::as_str).collect::<Vec<_>>());
}

#[actix::test]
async fn each_dial_has_a_key_of_its_own() {
    let server = Server::start(Script::accept().drop_connection());
    for _ in 0..3 {
        to(&server).run().await.unwrap();
    }
    let mut keys: Vec<String> =
        server.requests().iter().map(|it| it.header("sec-websocket-key").unwrap().into()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 3);
}

#[actix::test]
async fn each_part_of_a_reply_that_is_wrong_is_named() {
    let accept = "Sec-WebSocket-Accept: {accept}\r\n";
    let more = |line: &str| GOOD.replace(accept, &format!("{accept}{line}\r\n"));
    let cases = [
        (GOOD.replace("HTTP/1.1", "HTTP/1.0"), HandshakeError::Version),
        ("HTTP/2 101 no\r\n\r\n".to_owned(), HandshakeError::Version),
        ("SSH-2.0-OpenSSH_9.9\r\n".to_owned(), HandshakeError::NotHttp),
        (GOOD.replace("Upgrade: websocket", "Upgrade: h2c"), HandshakeError::Upgrade),
        (GOOD.replace("Connection: Upgrade", "Connection: close"), HandshakeError::Connection),
        (GOOD.replace(accept, ""), HandshakeError::Accept),
        (GOOD.replace("{accept}", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), HandshakeError::Accept),
        (more("Sec-WebSocket-Accept: {accept}"), HandshakeError::Accept),
        (more("Sec-WebSocket-Protocol: chat"), HandshakeError::Subprotocol),
        (more("Sec-WebSocket-Extensions: x-nobody-asked"), HandshakeError::Extension),
        (
            more("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=16"),
            HandshakeError::Extension,
        ),
        (more("Content-Length: 5"), HandshakeError::Body),
        (more("Transfer-Encoding: chunked"), HandshakeError::Body),
        (GOOD.replace("Upgrade\r\nSec", "Upgrade\nSec"), HandshakeError::BareLf),
        (more(&"X: y\r\n".repeat(200)), HandshakeError::HeadTooLong),
    ];
    for (reply, expected) in cases {
        let outcome = dialled(reply.clone()).await;
        assert_eq!(outcome.kind, OutcomeKind::Refused, "{reply}");
        assert_eq!(outcome.epochs, 0, "{reply}");
        match outcome.error {
            Some(Error::Handshake(found)) => assert_eq!(found, expected, "{reply}"),
            other => panic!("{other:?} for {reply}"),
        }
    }
}

#[actix::test]
async fn interim_replies_are_passed_over() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let reply = [interim.as_bytes(), GOOD.as_bytes(), b"\x81\x02hi\x88\x02\x03\xe8"].concat();
    assert_eq!(dialled(reply).await.epochs, 1);
    let endless = dialled(interim.repeat(100)).await;
    assert!(
        matches!(endless.error, Some(Error::Handshake(HandshakeError::Interim))),
        "{endless:?}"
    );
}

#[actix::test]
async fn bytes_that_came_behind_the_101_are_frames() {
    let reply =
        [GOOD.as_bytes(), b"\x81\x05first\x89\x04ping\x81\x06second\x88\x02\x03\xe8"].concat();
    let server = Server::start(Script::raw_reply(reply));
    let probe = Probe::new();
    let _connection = probe.attach(to(&server)).start().unwrap();
    assert_eq!(probe.next_message().await.payload.as_text(), Some("first"));
    assert_eq!(probe.next_message().await.payload.as_text(), Some("second"));
    probe.stopped().await;
    assert_eq!(probe.story(), ["open", "message", "ping", "message", "close", "stopped"]);
}

#[actix::test]
async fn a_reply_may_come_byte_by_byte() {
    // The digest is not filled in where bytes drip, so this is a refusal.
    let reply = "HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nnope";
    let server = Server::start(Script::raw_reply("").drip(reply, Duration::from_millis(1)));
    let outcome = to(&server).run().await.unwrap();
    let Some(Error::Refused(refusal)) = outcome.error else { panic!("{outcome:?}") };
    assert_eq!((refusal.status, refusal.body.as_ref()), (403, &b"nope"[..]));
}

#[actix::test]
async fn an_endless_head_is_cut_off() {
    for flood in ["a", "A: b\r\n"] {
        let server =
            Server::start(Script::raw_reply("HTTP/1.1 101 x\r\nA: ").flood(flood.repeat(999)));
        let outcome = to(&server).run().await.unwrap();
        let long = matches!(outcome.error, Some(Error::Handshake(HandshakeError::HeadTooLong)));
        assert!(long, "{outcome:?}");
        server.next_gone().await;
    }
}

#[actix::test]
async fn a_server_that_says_nothing_is_left_at_the_deadline() {
    for script in [
        Script::no_reply(),
        Script::raw_reply("HTTP/1.1 101 Swit").stall_forever(),
        Script::raw_reply("").drip("HTTP/1.1 101 very slow", Duration::from_millis(30)),
    ] {
        let server = Server::start(script);
        let asked = std::time::Instant::now();
        let builder = to(&server).connect_timeout(Duration::from_millis(200));
        let outcome = builder.run().await.unwrap();
        assert!(matches!(outcome.error, Some(Error::Timeout(Stage::Upgrade))), "{outcome:?}");
        assert_eq!(outcome.kind, OutcomeKind::Failed);
        let took = asked.elapsed();
        assert!((200..1000).contains(&took.as_millis()), "{took:?}");
    }
}

#[actix::test]
async fn a_server_that_hangs_up_may_be_tried_again() {
    for script in [
        Script::raw_reply("").drop_connection(),
        Script::raw_reply("HTTP/1.1 1").drop_connection(),
        Script::raw_reply("").reset(),
    ] {
        let server = Server::start(script);
        let outcome = to(&server).run().await.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Failed);
        assert!(matches!(outcome.error, Some(Error::Io(_))), "{outcome:?}");
    }
}

#[actix::test]
async fn the_body_of_a_refusal_is_kept_as_far_as_it_came() {
    let head = "HTTP/1.1 403 Forbidden\r\nX-Why: because\r\n";
    let cases = [
        (format!("{head}Content-Length: 4\r\n\r\nnope and more"), "nope"),
        (format!("{head}Content-Length: 99\r\n\r\ncut sh"), "cut sh"),
        (format!("{head}Transfer-Encoding: chunked\r\n\r\n4\r\nnope\r\n0\r\n\r\n"), "nope"),
        (format!("{head}Transfer-Encoding: chunked\r\n\r\n4\r\nnope\r\nzz"), "nope"),
        (format!("{head}\r\nuntil the end"), "until the end"),
        (format!("{head}\r\n"), ""),
    ];
    for (reply, body) in cases {
        let outcome = dialled(reply.clone()).await;
        assert_eq!(outcome.kind, OutcomeKind::Refused);
        let Some(Error::Refused(refusal)) = outcome.error else { panic!("{outcome:?}") };
        assert_eq!((refusal.status, refusal.body.as_ref()), (403, body.as_bytes()), "{reply}");
        assert_eq!(refusal.headers.get("x-why"), Some("because"));
    }
}

#[actix::test]
async fn a_body_that_does_not_come_costs_neither_status_nor_deadline() {
    let reply = "HTTP/1.1 503 Busy\r\nContent-Length: 99\r\n\r\nhal";
    let server = Server::start(Script::raw_reply(reply).stall_forever());
    let builder = to(&server).connect_timeout(Duration::from_millis(300));
    let outcome = builder.run().await.unwrap();
    let Some(Error::Refused(refusal)) = outcome.error else { panic!("{outcome:?}") };
    assert_eq!((refusal.status, refusal.body.as_ref()), (503, &b"hal"[..]));
}

#[actix::test]
async fn a_failed_dial_is_told_without_open_and_close() {
    let server = Server::start(Script::raw_reply("nonsense\r\n\r\n"));
    let probe = Probe::new();
    let _connection = probe.attach(to(&server)).start().unwrap();
    let error = probe.next::<event::Error>().await;
    assert_eq!((error.epoch, error.attempt, error.next), (0, 1, event::Next::Stop));
    assert_eq!(error.error.stage(), "handshake");
    probe.stopped().await;
    assert_eq!(probe.story(), ["error", "stopped"]);
}

#[actix::test]
async fn what_was_agreed_is_told_with_the_open() {
    let server = Server::start(Script::accept().header("X-Node", "7"));
    let probe = Probe::new();
    let _connection = probe.attach(to(&server)).start().unwrap();
    let handshake = probe.next::<event::Open>().await.handshake;
    assert_eq!(handshake.status, 101);
    assert_eq!(handshake.headers.get("x-node"), Some("7"));
    assert_eq!(handshake.peer, Some(server.addr()));
    assert!(handshake.tls.is_none());
}
