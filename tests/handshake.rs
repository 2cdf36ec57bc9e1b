//! The upgrade: the error names each wrong part of a reply, a refusal is kept in full, and bytes
//! after the 101 are read as frames.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use actix_ws_client::error::{HandshakeError, Stage};
use actix_ws_client::testing::{Probe, Request, Script, Server};
use actix_ws_client::{
    Attempt, Compression, Connection, ConnectionBuilder, Error, Outcome, OutcomeKind, Reconnect,
    event,
};
use proptest::prelude::*;

/// A connection of one dial.
fn to(server: &Server) -> ConnectionBuilder {
    Connection::builder(server.url()).no_reconnect()
}

/// A correct 101, except for the digest.
const GOOD: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n";

/// Dials a server with this reply, and returns the error.
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
    let digest = "Sec-WebSocket-Accept is \"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\", expected \"";
    let cases = [
        (GOOD.replace("HTTP/1.1", "HTTP/1.0"), "its version is HTTP/1.0, expected HTTP/1.1"),
        ("HTTP/2 101 no\r\n\r\n".to_owned(), "its version is HTTP/2, expected HTTP/1.1"),
        ("SSH-2.0-OpenSSH_9.9\r\n".to_owned(), "it is not HTTP: it begins with \"SSH-2.0-Open"),
        (GOOD.replace("Upgrade: websocket", "Upgrade: h2c"), "Upgrade is \"h2c\", expected \"web"),
        (GOOD.replace("Connection: Upgrade", "Connection: close"), "Connection is \"close\", exp"),
        (GOOD.replace(accept, ""), "Sec-WebSocket-Accept is missing"),
        (GOOD.replace("{accept}", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), digest),
        (more("Sec-WebSocket-Accept: {accept}"), "2 lines of Sec-WebSocket-Accept: "),
        (more("Sec-WebSocket-Protocol: a\x1b"), "malformed header line \"Sec-WebSocket-Protocol\""),
        (more("Sec-WebSocket-Protocol: chat"), "the server chose the subprotocol \"chat\", but "),
        (
            more("Sec-WebSocket-Extensions: x-nobody-asked"),
            "the server answered \"x-nobody-asked\" to the offer \"permessage-deflate; client_no",
        ),
        (
            more("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=16"),
            "the server answered \"permessage-deflate; server_max_window_bits=16\" to the offer ",
        ),
        (GOOD.replace("Upgrade\r\nSec", "Upgrade\nSec"), "the line \"Connection\" ends without CR"),
        (more(&"X: y\r\n".repeat(200)), "its head has more than 32 KiB or 128 lines"),
    ];
    for (reply, expected) in cases {
        let outcome = dialled(reply.clone()).await;
        assert_eq!(outcome.kind, OutcomeKind::Refused, "{reply}");
        assert_eq!(outcome.epochs, 0, "{reply}");
        match outcome.error {
            Some(Error::Handshake(found)) => {
                assert!(found.to_string().starts_with(expected), "{found} for {reply}");
            }
            other => panic!("{other:?} for {reply}"),
        }
    }
}

#[actix::test]
async fn interim_replies_are_passed_over() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let reply = [interim.as_bytes(), GOOD.as_bytes(), b"\x81\x02hi\x88\x02\x03\xe8"].concat();
    assert_eq!(dialled(reply).await.epochs, 1);
    let early = "HTTP/1.1 103 Early Hints\r\n\r\n";
    let most = [early.repeat(8).as_bytes(), GOOD.as_bytes(), b"\x88\x02\x03\xe8"].concat();
    assert_eq!(dialled(most).await.epochs, 1);
    let one_more = dialled([early.repeat(9), GOOD.to_owned()].concat()).await;
    assert!(
        matches!(one_more.error, Some(Error::Handshake(HandshakeError::Interim))),
        "{one_more:?}"
    );
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
    // `drip` does not insert the digest, so this reply has to be a refusal.
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

/// Linux treats 0.0.0.0 as the host itself.
#[cfg(target_os = "linux")]
#[actix::test]
async fn the_peer_is_the_address_that_was_reached() {
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let url = format!("ws://0.0.0.0:{}/", server.addr().port());
    let builder = Connection::builder(url).no_reconnect().no_proxy("*");
    let _connection = probe.attach(builder).start().unwrap();
    let handshake = probe.next::<event::Open>().await.handshake;
    assert_eq!(handshake.peer, Some(server.addr()));
}

#[actix::test]
async fn a_subprotocol_is_offered_and_the_answer_verified() {
    let picks = |line: &'static str| Script::accept().header("Sec-WebSocket-Protocol", line);
    let asking = |server: &Server| to(server).subprotocols(["v2.feed", "v1.feed"]);
    let server = Server::start(picks("v1.feed"));
    let probe = Probe::new();
    let _connection = probe.attach(asking(&server)).start().unwrap();
    let handshake = probe.next::<event::Open>().await.handshake;
    assert_eq!(handshake.subprotocol.as_deref(), Some("v1.feed"));
    assert_eq!(server.requests()[0].header("sec-websocket-protocol"), Some("v2.feed, v1.feed"));
    for script in [
        Script::accept(),
        picks("v3.feed"),
        picks("V1.feed"),
        picks("v1.feed, v2.feed"),
        picks("v1.feed").header("Sec-WebSocket-Protocol", "v1.feed"),
    ] {
        let outcome = asking(&Server::start(script)).run().await.unwrap();
        let wrong = matches!(outcome.error, Some(Error::Handshake(HandshakeError::Subprotocol(_))));
        assert!(wrong && outcome.kind == OutcomeKind::Refused, "{outcome:?}");
    }
}

/// Returns the headers of the request that these options produce.
async fn sent(change: impl Fn(ConnectionBuilder) -> ConnectionBuilder) -> Request {
    let server = Server::start(Script::accept().send_close(1000, ""));
    change(to(&server)).run().await.unwrap();
    server.requests().remove(0)
}

#[actix::test]
async fn who_asks_is_said_in_lines_of_its_own() {
    let request = sent(|builder| {
        let builder = builder.host("feed.example:8443").origin("https://shop.example");
        builder.cookie("id=7; lang=en").basic_auth("us er", "p:w")
    })
    .await;
    assert_eq!(request.header("host"), Some("feed.example:8443"));
    assert_eq!(request.header("origin"), Some("https://shop.example"));
    assert_eq!(request.header("cookie"), Some("id=7; lang=en"));
    assert_eq!(request.header("authorization"), Some("Basic dXMgZXI6cDp3"));
    let request = sent(|builder| builder.suppress_origin().bearer_auth("a.b-c==")).await;
    assert_eq!(request.header("origin"), None);
    assert_eq!(request.header("authorization"), Some("Bearer a.b-c=="));
}

#[actix::test]
async fn a_line_of_the_applications_own_replaces_ours() {
    let request = sent(|builder| {
        let builder = builder.host("a.example").origin("http://a").cookie("a=1").bearer_auth("a");
        let builder = builder.header("Host", "b.example").header("ORIGIN", "http://b");
        builder.header("cookie", "b=2").header("Authorization", "Own b").header("User-Agent", "b")
    })
    .await;
    for (name, value) in [
        ("host", "b.example"),
        ("origin", "http://b"),
        ("cookie", "b=2"),
        ("authorization", "Own b"),
        ("user-agent", "b"),
    ] {
        assert_eq!(request.headers(name).collect::<Vec<_>>(), [value], "{name}");
    }
}

#[actix::test]
async fn an_empty_value_leaves_a_line_of_ours_out() {
    let request = sent(|builder| {
        let builder = builder.origin("http://a").cookie("a=1").bearer_auth("a");
        let builder = builder.header("origin", "").header("Cookie", " ");
        builder.header_lines(["User-Agent:", "X-Empty:"]).headers([("AUTHORIZATION", Some(""))])
    })
    .await;
    for name in ["origin", "cookie", "user-agent", "authorization"] {
        assert_eq!(request.header(name), None, "{name}");
    }
    assert_eq!(request.header("x-empty"), Some(""));
    let made =
        sent(|builder| builder.headers_with(async |_| Ok::<_, String>([("User-Agent", "")])));
    assert_eq!(made.await.header("user-agent"), None);
    // There is no request without Host (RFC 9112, 3.2), and `None` is no value, but no line.
    let refused = Connection::builder("ws://h/").header("Host", "").check().unwrap_err();
    assert_eq!(refused.to_string(), "header: \"Host\": not a host with an optional port");
    let none = sent(|builder| builder.headers([("User-Agent", None::<String>)]));
    assert!(none.await.header("user-agent").unwrap().starts_with("actix-ws-client/"));
}

#[actix::test]
async fn headers_come_as_a_list_a_map_or_whole_lines() {
    let map = BTreeMap::from([("X-Map", Some("1")), ("X-None", None)]);
    let request = sent(|builder| {
        let builder = builder.header("X-One", "1").headers([("X-List", "1"), ("x-list", "2")]);
        let builder =
            builder.headers(map.clone()).headers(HashMap::from([("X-Hash", "1".to_owned())]));
        let lines = ["X-Line: a: b ", "X-Empty:", "Host:\town.example"];
        let builder =
            builder.headers([("Cookie", None::<String>)]).cookie("ours=1").header_lines(lines);
        builder.headers_with(async |_| Ok::<_, String>([("X-Made", Some("1")), ("X-One", None)]))
    })
    .await;
    for (name, values) in [
        ("x-one", &["1"][..]),
        ("x-list", &["1", "2"]),
        ("x-map", &["1"]),
        ("x-none", &[]),
        ("x-hash", &["1"]),
        ("x-line", &["a: b"]),
        ("x-empty", &[""]),
        ("x-made", &["1"]),
        ("host", &["own.example"]),
        ("cookie", &["ours=1"]),
    ] {
        assert_eq!(request.headers(name).collect::<Vec<_>>(), values, "{name}");
    }
}

#[actix::test]
async fn what_a_request_has_one_of_is_not_made_twice() {
    let server = Server::start(Script::accept().send_close(1000, ""));
    let twice = [("Authorization", "hunter2"), ("authorization", "hunter3")];
    let builder = to(&server).headers_with(async move |_| Ok::<_, String>(twice));
    let outcome = builder.run().await.unwrap();
    let Some(Error::Handler(err)) = outcome.error else { panic!("{outcome:?}") };
    assert_eq!(&*err, "header: \"authorization\": given twice");
    // A line that replaces one of the crate's is not a duplicate.
    let builder = to(&server).header("Authorization", "old");
    let builder = builder.headers_with(async |_| Ok::<_, String>([("authorization", "new")]));
    builder.run().await.unwrap();
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].headers("authorization").collect::<Vec<_>>(), ["new"]);
}

#[actix::test]
async fn a_url_is_asked_for_as_it_should_be() {
    let server = Server::start(Script::accept().send_close(1000, ""));
    let port = server.addr().port();
    for (url, line) in [
        (format!("WS://127.0.0.1:{port}?x"), "GET /?x HTTP/1.1"),
        (format!("wS://127.0.0.1:{port}#part"), "GET / HTTP/1.1"),
        (
            format!("ws://127.0.0.1:{port}/a b/\u{fc}?q=\u{fc}"),
            "GET /a%20b/%C3%BC?q=%C3%BC HTTP/1.1",
        ),
    ] {
        let before = server.dials();
        Connection::builder(url).no_reconnect().run().await.unwrap();
        assert_eq!(server.requests()[before].line(), line);
    }
    // A full-width letter in a host is mapped by IDNA.
    let url = format!("ws://\u{ff4c}ocalhost:{port}/");
    Connection::builder(url).no_reconnect().run().await.unwrap();
    let asked = server.requests().pop().unwrap();
    assert_eq!(asked.header("host"), Some(format!("localhost:{port}").as_str()));
}

#[actix::test]
async fn what_cannot_be_said_is_refused_before_the_dial() {
    let builder = || Connection::builder("ws://127.0.0.1:1/").no_reconnect();
    for (option, builder) in [
        ("subprotocols", builder().subprotocols(["a\r\nb"])),
        ("subprotocols", builder().subprotocols(["a", "a"])),
        ("host", builder().host("a/b")),
        ("host", builder().host("")),
        ("origin", builder().origin("http://a b")),
        ("cookie", builder().cookie("a=1\r\nX: y")),
        ("basic_auth", builder().basic_auth("a:b", "hunter2")),
        ("basic_auth", builder().basic_auth("a", "hunter2\n")),
        ("bearer_auth", builder().bearer_auth("hunter2 x")),
        ("header", builder().header("X", "hunter2\r\n")),
        ("header", builder().headers([("X", Some("hunter2\0"))])),
        ("header", builder().header_lines(["hunter2"])),
        ("header", builder().header_lines(["X: hunter2\r\nY: z"])),
        ("header", builder().header_lines([": hunter2"])),
        ("header", builder().header("Host", "a").header("host", "b")),
        ("header", builder().headers([("Origin", "http://a"), ("origin", "http://a")])),
        ("header", builder().header("Cookie", "hunter2=1").header_lines(["COOKIE: hunter2=2"])),
    ] {
        assert!(!format!("{builder:?}").contains("hunter2"), "{builder:?}");
        let checked = builder.check().unwrap_err().to_string();
        let refused = builder.run().await.unwrap_err().to_string();
        assert!(refused.starts_with(&format!("{option}: ")), "{refused}");
        assert!(!refused.contains("hunter2"), "{refused}");
        assert_eq!(checked, refused);
    }
}

#[test]
fn a_check_needs_no_runtime_and_uses_nothing_up() {
    let server = Server::start(Script::accept().send_close(1000, ""));
    let tcp = std::net::TcpStream::connect(server.addr()).unwrap();
    tcp.set_nonblocking(true).unwrap();
    assert!(Connection::builder("ftp://h/").check().is_err());
    let broken = Reconnect::delays(|| -> [Duration; 0] { panic!("oh no") });
    assert!(to(&server).reconnect(broken).check().is_err());
    let builder = to(&server);
    for _ in 0..2 {
        builder.check().unwrap();
    }
    assert!(server.requests().is_empty());
    let outcome = actix::System::new().block_on(async {
        let tcp = tokio::net::TcpStream::from_std(tcp).unwrap();
        let builder = builder.transport(tcp);
        builder.check().unwrap();
        builder.run().await.unwrap()
    });
    assert_eq!((outcome.epochs, server.requests().len()), (1, 1));
}

#[actix::test]
async fn headers_are_made_before_each_attempt() {
    let server = Server::start([
        Script::refuse(503),
        Script::accept().drop_connection(),
        Script::accept().send_close(1008, ""),
    ]);
    let policy = Reconnect::fixed(Duration::from_millis(5));
    let builder = Connection::builder(server.url()).reconnect(policy).header("X-Token", "old");
    let builder = builder.headers_with(async |attempt: Attempt| {
        let status = attempt.last_error.as_ref().and_then(Error::status).unwrap_or(0);
        Ok::<_, String>([("x-token", format!("{}:{status}", attempt.number))])
    });
    builder.run().await.unwrap();
    let requests = server.requests();
    let tokens: Vec<Vec<&str>> =
        requests.iter().map(|request| request.headers("x-token").collect()).collect();
    assert_eq!(tokens[..2], [["1:0"], ["2:503"]]);
    assert_eq!(tokens.len(), 3);
}

#[actix::test]
async fn headers_that_cannot_be_made_now_are_asked_for_again() {
    let server = Server::start(Script::accept().send_close(1008, ""));
    let policy = Reconnect::fixed(Duration::from_millis(5));
    let builder = Connection::builder(server.url()).reconnect(policy);
    let builder = builder.headers_with(async |attempt: Attempt| match attempt.last_error {
        None => Err("the vault is sealed"),
        Some(Error::Headers(words)) => Ok([("X-Why", words.to_string())]),
        Some(_) => Err("another error"),
    });
    let outcome = builder.run().await.unwrap();
    assert_eq!((outcome.epochs, outcome.attempts), (1, 2));
    assert_eq!(server.requests()[0].header("x-why"), Some("the vault is sealed"));
}

#[actix::test]
async fn a_closure_for_headers_that_misbehaves_takes_nothing_else_down() {
    type Made = Result<Vec<(&'static str, &'static str)>, String>;
    let server = Server::start(Script::accept().send_close(1000, ""));
    let panics = to(&server).headers_with(async |_| -> Made { panic!("oh no") });
    let lies = to(&server).headers_with(async |_| -> Made { Ok(vec![("X", "hunter2\r\nY: z")]) });
    for (builder, words) in [(panics, "oh no"), (lies, "control character")] {
        let outcome = builder.run().await.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Refused);
        let Some(Error::Handler(err)) = outcome.error else { panic!("{outcome:?}") };
        assert!(err.contains(words) && !err.contains("hunter2"), "{err}");
    }
    let hangs = to(&server).headers_with(async |_| -> Made { std::future::pending().await });
    let outcome = hangs.connect_timeout(Duration::from_millis(100)).run().await.unwrap();
    assert!(matches!(outcome.error, Some(Error::Timeout(Stage::Handler))), "{outcome:?}");
    assert_eq!(server.dials(), 0);
}

/// The names of all lines that a request may have, with any options.
const KNOWN: [&str; 12] = [
    "date",
    "host",
    "origin",
    "user-agent",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "authorization",
    "cookie",
    "x-own",
    "upgrade",
    "connection",
    "sec-websocket-",
];

/// Hostile text: what ends lines, heads, quotes and lists, mixed with ordinary text.
fn words() -> impl Strategy<Value = String> {
    let nasty = "[a-z:=,; /\\\\\"%@#?\\[\\]\r\n\t\0\u{7f}\u{85}\u{e9}\u{2028}]{0,12}";
    prop_oneof![nasty, any::<String>(), "[a-z]{1,4}\r\nx-evil: [a-z]{1,4}", "[a-z]{1,6}"]
}

/// A closure that makes one header line before the dial.
fn made(builder: ConnectionBuilder, name: String, value: String) -> ConnectionBuilder {
    builder.headers_with(async move |_| Ok::<_, String>([(name.clone(), value.clone())]))
}

#[test]
fn no_string_option_panics_or_leaves_its_line() {
    let server = Server::start(Script::accept().send_close(1000, ""));
    let config = ProptestConfig { cases: 600, ..ProptestConfig::default() };
    proptest!(config, |(option in 0..15, word in words())| {
        let dialled = server.requests().len();
        let builder = || to(&server).name(word.clone());
        let builder = match option {
            0 => builder().subprotocols([word.clone()]),
            1 => builder().host(word.clone()),
            2 => builder().origin(word.clone()),
            3 => builder().cookie(word.clone()),
            4 => builder().basic_auth(word.clone(), word.clone()),
            5 => builder().bearer_auth(word.clone()),
            6 => builder().header("X-Own", word.clone()),
            7 => builder().header(word.clone(), "own"),
            8 => builder().headers([("X-Own", Some(word.clone()))]),
            9 => builder().header_lines([format!("X-Own: {word}")]),
            10 => builder().header_lines([word.clone()]),
            11 => made(builder(), "X-Own".into(), word.clone()),
            12 => made(builder(), word.clone(), "own".into()),
            13 => {
                let url = format!("{}{word}", server.url());
                builder().url_with(async move |_| Ok::<_, String>(url.clone()))
            }
            _ => Connection::builder(format!("{}{word}", server.url())).no_reconnect(),
        };
        let outcome = actix::System::new().block_on(builder.run());
        let requests = server.requests().split_off(dialled);
        prop_assert!(outcome.is_ok() || requests.is_empty());
        for request in requests {
            prop_assert_eq!(request.line().split(' ').count(), 3, "{:?}", request);
            prop_assert!(request.header("x-evil").is_none(), "{:?}", request);
            let head = &request.head;
            for line in head.lines().skip(1).filter(|line| !line.is_empty()) {
                let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
                let known = KNOWN.iter().any(|known| name.starts_with(known));
                prop_assert!(known || [7, 10, 12].contains(&option), "{:?} in {:?}", name, request);
            }
        }
    });
}
