//! Odd lines in the head of a reply: what of them opens, what fails, and that a status is never lost to one.
//!
//! The table is that of docs/design.md, "Odd lines in the head of a reply": a row here for each row there.

use std::sync::Arc;
use std::time::Duration;

use actix_ws_client::error::{ProxyError, Refusal, Stage};
use actix_ws_client::testing::{Journal, Script, Server};
use actix_ws_client::{Connection, ConnectionBuilder, Error, Outcome, OutcomeKind};
use bytes::Bytes;
use tokio::time::Instant;

/// A kind of odd line, and what becomes of a reply that has one.
struct Row {
    /// The first cell of the row in docs/design.md.
    kind: &'static str,
    /// The odd line or lines. They stand behind the status line.
    odd: Vec<u8>,
    /// A line of the good 101 that is left out, because the odd one stands in its place.
    instead_of: &'static str,
    /// Whether a 101 with it opens; or a part of the error's text.
    on_101: Result<(), &'static str>,
    /// Whether a 200 to CONNECT with it opens the tunnel; or a part of the error's text.
    on_connect: Result<(), &'static str>,
}

impl Row {
    /// A row whose line harms nothing.
    fn harmless(kind: &'static str, odd: impl Into<Vec<u8>>) -> Row {
        Row { kind, odd: odd.into(), instead_of: "", on_101: Ok(()), on_connect: Ok(()) }
    }

    fn instead_of(self, line: &'static str) -> Row {
        Row { instead_of: line, ..self }
    }

    fn fails_101(self, text: &'static str) -> Row {
        Row { on_101: Err(text), ..self }
    }

    fn fails_connect(self, text: &'static str) -> Row {
        Row { on_connect: Err(text), ..self }
    }
}

const UPGRADE: &str = "Upgrade: websocket\r\n";
const CONNECTION: &str = "Connection: Upgrade\r\n";
const ACCEPT: &str = "Sec-WebSocket-Accept: {accept}\r\n";

fn rows() -> Vec<Row> {
    vec![
        Row::harmless("`Content-Length` or `Transfer-Encoding`", "Content-Length: 5\r\n"),
        Row::harmless("`Content-Length` or `Transfer-Encoding`", "Transfer-Encoding: chunked\r\n"),
        Row::harmless("a folded line", "X-A: one\r\n two\r\n\tthree\r\n \t\r\n"),
        Row::harmless("a folded line of the handshake", "Connection: keep-alive,\r\n Upgrade\r\n")
            .instead_of(CONNECTION),
        Row::harmless("a folded line of the handshake", "Sec-WebSocket-Accept:\r\n\t{accept}\r\n")
            .instead_of(ACCEPT),
        Row::harmless("a control character in a value", "X-A: one\x01\x1b[31m\x7ftwo\r\n"),
        Row::harmless(
            "a control character in a value of the handshake",
            "Connection: \x01, Upgrade\r\n",
        )
        .instead_of(CONNECTION)
        .fails_101("Connection"),
        Row::harmless("a byte above 127 in a value", b"X-A: caf\xe9\r\n".as_slice()),
        Row::harmless("NUL", "X-A: one\0two\r\n")
            .fails_101("NUL or CR in the line \"X-A\"")
            .fails_connect("NUL or CR in the line \"X-A\""),
        Row::harmless("CR alone", "X-A: one\rtwo\r\n")
            .fails_101("NUL or CR in the line \"X-A\"")
            .fails_connect("NUL or CR in the line \"X-A\""),
        Row::harmless("CR alone", "X-A: one\r\r\n")
            .fails_101("NUL or CR in the line \"X-A\"")
            .fails_connect("NUL or CR in the line \"X-A\""),
        Row::harmless("LF alone", "X-A: one\n").fails_101("the line \"X-A\" ends without CR"),
        Row::harmless("LF alone", "X-A: one\n two\r\n")
            .fails_101("the line \"X-A\" ends without CR"),
        Row::harmless("a blank before the colon", "X-A : one\r\nX-B\t: two\r\n"),
        Row::harmless("a blank before the colon of the handshake", "Upgrade : websocket\r\n")
            .instead_of(UPGRADE)
            .fails_101("\"Upgrade \""),
        Row::harmless(
            "a blank before the colon of the handshake",
            "Sec-WebSocket-Accept\t: {accept}\r\n",
        )
        .instead_of(ACCEPT)
        .fails_101("\"Sec-WebSocket-Accept\\t\""),
        Row::harmless(
            "a blank before the colon of the handshake",
            "sec-websocket-protocol : chat\r\n",
        )
        .fails_101("\"sec-websocket-protocol \""),
        Row::harmless("a blank in a name", "X A: one\r\n(x): two\r\n"),
        Row::harmless(
            "a byte above 127 or a control character in a name",
            b"X-\xe9: one\r\nX\x01: a\r\n".as_slice(),
        ),
        Row::harmless(
            "a name of the handshake with such bytes",
            b"Upgrade\xa0: websocket\r\n".as_slice(),
        )
        .fails_101("\"Upgrade\\xa0\""),
        Row::harmless("a name of the handshake with such bytes", "Connec tion: Upgrade\r\n")
            .fails_101("\"Connec tion\""),
        Row::harmless("no colon", "nonsense\r\nmore of it\r\n"),
        Row::harmless("no colon, but a name of the handshake", "Upgrade websocket\r\n")
            .fails_101("\"Upgrade\""),
        Row::harmless("no colon, but a name of the handshake", "sec-websocket-accept={accept}\r\n")
            .fails_101("\"sec-websocket-accept\""),
        Row::harmless("no name", ": one\r\n:\r\n"),
        Row::harmless("a blank before the first line", " X-A: one\r\n"),
        Row::harmless(
            "a blank before the first line, of the handshake",
            "\tUpgrade: websocket\r\n",
        )
        .fails_101("\"\\tUpgrade\""),
        Row::harmless("two `Connection` lines", "Connection: keep-alive\r\n"),
        Row::harmless(
            "two lines of `Upgrade`, `Sec-WebSocket-Accept` or `Sec-WebSocket-Protocol`",
            UPGRADE,
        )
        .fails_101("2 lines of Upgrade: \"websocket\", \"websocket\""),
        Row::harmless(
            "two lines of `Upgrade`, `Sec-WebSocket-Accept` or `Sec-WebSocket-Protocol`",
            ACCEPT,
        )
        .fails_101("2 lines of Sec-WebSocket-Accept"),
        Row::harmless("`Upgrade` that is a list", "Upgrade: websocket, h2c\r\n")
            .instead_of(UPGRADE)
            .fails_101("Upgrade is \"websocket, h2c\""),
        Row::harmless("more than 128 lines", "X-A: one\r\n".repeat(200))
            .fails_101("32 KiB or 128 lines")
            .fails_connect("32 KiB or 128 lines"),
        Row::harmless("more than 32 KiB", format!("X-A: {}\r\n", "a".repeat(40_000)))
            .fails_101("32 KiB or 128 lines")
            .fails_connect("32 KiB or 128 lines"),
    ]
}

/// Returns the end of a single dial that gets this reply.
async fn dialled(reply: impl Into<Bytes>) -> Outcome {
    let server = Server::start(Script::raw_reply(reply).drop_connection());
    Connection::builder(server.url()).no_reconnect().run().await.unwrap()
}

/// Returns the end of a single dial through a proxy that sends this reply.
async fn tunnelled(reply: impl Into<Bytes>) -> Outcome {
    let proxy = Server::start(Script::raw_reply(reply).drop_connection());
    let builder = Connection::builder("ws://example.com/").no_reconnect();
    builder.proxy(format!("http://{}", proxy.addr())).run().await.unwrap()
}

fn head(status: &str, odd: &[u8], rest: &str) -> Vec<u8> {
    [b"HTTP/1.1 ", status.as_bytes(), b"\r\n", odd, rest.as_bytes(), b"\r\n"].concat()
}

#[actix::test]
async fn a_101_with_an_odd_line_opens_where_that_is_safe_and_its_frames_begin_behind_it() {
    for row in rows() {
        let rest = format!("{UPGRADE}{CONNECTION}{ACCEPT}").replace(row.instead_of, "");
        let mut reply = head("101 Switching Protocols", &row.odd, &rest);
        reply.extend_from_slice(b"\x81\x02hi\x88\x02\x03\xe8");
        let outcome = dialled(reply).await;
        match (row.on_101, outcome.error) {
            (Ok(()), None) => {
                assert_eq!(
                    (outcome.epochs, outcome.kind),
                    (1, OutcomeKind::Closed),
                    "{}",
                    row.kind
                );
            }
            (Err(text), Some(Error::Handshake(err))) => {
                assert!(err.to_string().contains(text), "{}: {err}", row.kind);
                assert_eq!((outcome.epochs, outcome.kind), (0, OutcomeKind::Refused));
            }
            (_, error) => panic!("{}: {error:?}", row.kind),
        }
    }
}

#[actix::test]
async fn a_status_is_never_lost_to_an_odd_line() {
    for row in rows() {
        let reply = head("503 Busy", &row.odd, "Retry-After: 7\r\n");
        let outcome = dialled(reply).await;
        assert_eq!(outcome.kind, OutcomeKind::Failed, "{}: {outcome:?}", row.kind);
        let Some(Error::Refused(refusal)) = outcome.error else { panic!("{}", row.kind) };
        assert_eq!(refusal.status, 503, "{}", row.kind);
        let waits = refusal.retry_after().map(|after| after.as_secs());
        // Of a head that is cut, the lines before the cut count.
        let expected = if row.kind.starts_with("more than") { None } else { Some(7) };
        assert_eq!(waits, expected, "{}", row.kind);
    }
}

#[actix::test]
async fn a_tunnel_opens_whatever_the_lines_say_and_the_servers_reply_begins_behind_them() {
    for row in rows() {
        let mut reply = head("200 OK", &row.odd, "");
        reply.extend_from_slice(b"HTTP/1.1 418 the server\r\n\r\n");
        let outcome = tunnelled(reply).await;
        match (row.on_connect, outcome.error) {
            (Ok(()), Some(Error::Refused(refusal))) => assert_eq!(refusal.status, 418),
            (Err(text), Some(Error::Proxy(ProxyError::Reply(err)))) => {
                assert!(err.contains(text), "{}: {err}", row.kind);
            }
            (_, error) => panic!("{}: {error:?}", row.kind),
        }
    }
}

#[actix::test]
async fn a_status_of_a_proxy_is_never_lost_to_an_odd_line() {
    for row in rows() {
        let outcome = tunnelled(head("503 Busy", &row.odd, "")).await;
        assert_eq!(outcome.kind, OutcomeKind::Failed, "{}: {outcome:?}", row.kind);
        let error = outcome.error.unwrap();
        assert_eq!((error.stage(), error.status()), ("proxy", Some(503)), "{}", row.kind);
    }
}

#[test]
fn each_kind_of_odd_line_has_its_row_in_the_documents() {
    let design = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/design.md");
    let design = std::fs::read_to_string(design).unwrap();
    let (_, section) = design.split_once("\n## Odd lines in the head of a reply\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut shown: Vec<&str> =
        section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).collect();
    shown.retain(|kind| *kind != "line");
    let mut tested: Vec<&str> = rows().iter().map(|row| row.kind).collect();
    tested.dedup();
    assert_eq!(tested, shown);
}

#[test]
fn each_refusal_for_safety_has_its_test() {
    let root = env!("CARGO_MANIFEST_DIR");
    let design = std::fs::read_to_string(format!("{root}/docs/design.md")).unwrap();
    let (_, section) = design.split_once("\n## What is refused for safety\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let tests: Vec<_> = section.split('`').filter_map(|word| word.split_once("::")).collect();
    assert!(tests.len() > 10, "{tests:?}");
    for (file, name) in tests {
        let source = std::fs::read_to_string(format!("{root}/tests/{file}.rs")).unwrap();
        assert!(source.contains(&format!("fn {name}(")), "{file}::{name}");
    }
}

#[actix::test]
async fn an_odd_status_line_is_read_where_the_status_is_plain() {
    for line in ["HTTP/1.1  503 two blanks", "HTTP/1.1\t503\t\x01", "HTTP/2 503", "HTTP/1.1 503"] {
        let outcome = dialled(format!("\r\n{line}\r\nRetry-After: 7\r\n\r\n")).await;
        let error = outcome.error.unwrap();
        assert_eq!((error.status(), outcome.kind), (Some(503), OutcomeKind::Failed), "{line}");
    }
    for line in ["HTTP/1.1 50", "HTTP/1.1 5033 x", "HTTP/1.1 x", "HTTP/ 503", "HTTP/1.1.1.1 503"] {
        let outcome = dialled(format!("{line}\r\n\r\n")).await;
        assert_eq!(outcome.error.unwrap().stage(), "handshake", "{line}");
    }
}

#[actix::test]
async fn a_status_outlives_a_head_that_breaks_off() {
    for (head, status) in [
        ("HTTP/1.1 401 No", Some(401)),
        ("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nX-A: on", Some(503)),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: webso", None),
        ("HTTP/1.1 103 Early Hints\r\nLink: ", None),
        ("HTTP/1.1 50", None),
    ] {
        let outcome = dialled(head).await;
        let error = outcome.error.unwrap();
        assert_eq!(error.status(), status, "{head}");
        assert_eq!(error.stage(), if status.is_some() { "refused" } else { "io" }, "{head}");
    }
    let tunnel = tunnelled("HTTP/1.1 407 Who\r\nProxy-Authenticate: Ba").await.error.unwrap();
    assert_eq!(tunnel.status(), Some(407));
    let tunnel = tunnelled("HTTP/1.1 200 OK\r\nX-A: ").await.error.unwrap();
    assert!(matches!(tunnel, Error::Proxy(ProxyError::Io(_))), "{tunnel:?}");
}

#[actix::test]
async fn a_status_that_is_none_counts_as_a_failure_of_the_server() {
    for status in ["600", "999", "099", "000"] {
        let outcome = dialled(format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n")).await;
        assert_eq!(outcome.kind, OutcomeKind::Failed, "{status}");
        assert_eq!(outcome.error.unwrap().status(), status.parse().ok());
    }
}

/// A connection, over pipes in memory, whose first host plays this script. For a paused clock, which jumps to the next
/// timer.
fn simulated(script: Script) -> ConnectionBuilder {
    let builder = Connection::builder("ws://h/").no_reconnect().proxy_from_env(false);
    builder.transport_with(move |_, _| {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let script = script.clone();
        actix::spawn(async move { script.play(&mut theirs, 0, &Journal::new()).await });
        async { Ok(ours) }
    })
}

#[actix::test]
async fn a_body_that_does_not_come_costs_two_seconds_and_not_the_whole_dial() {
    tokio::time::pause();
    let reply = "HTTP/1.1 503 Busy\r\nContent-Length: 99\r\n\r\nbusy";
    let builder = simulated(Script::raw_reply(reply).stall_forever());
    let begin = Instant::now();
    let refusal = refusal(builder.run().await.unwrap());
    assert_eq!((refusal.status, &refusal.body[..]), (503, &b"busy"[..]));
    let took = begin.elapsed();
    assert!((2.0..2.2).contains(&took.as_secs_f64()), "{took:?}");
}

#[actix::test]
async fn the_status_of_a_head_that_stalls_is_not_lost_to_the_deadline() {
    tokio::time::pause();
    let seconds = Duration::from_secs;
    let builder = || {
        simulated(Script::raw_reply("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nX-Mo").stall_forever())
    };
    let begin = Instant::now();
    let refused = refusal(builder().connect_timeout(seconds(5)).run().await.unwrap());
    assert_eq!((refused.status, refused.retry_after()), (503, Some(seconds(7))));
    assert!((5.0..5.2).contains(&begin.elapsed().as_secs_f64()), "{:?}", begin.elapsed());

    // A redirect whose target is not known in time may work the next time.
    let away = "HTTP/1.1 302 x\r\nLocation: /next\r\nX-Mo";
    let error = simulated(Script::raw_reply(away).stall_forever()).run().await.unwrap().error;
    assert!(matches!(error, Some(Error::Timeout(Stage::Upgrade))), "{error:?}");

    // As soon as the status is known, and not before; and what begins an open connection is no refusal.
    for (head, status) in [
        ("HTTP/1.1 40", None),
        ("HTTP/1.1 404", None),
        ("HTTP/1.1 404 ", Some(404)),
        ("HTTP/1.1 302 x\r\nLoca", Some(302)),
        ("HTTP/1.1 101 x\r\nUpgrade: web", None),
        ("HTTP/1.1 103 x\r\n\r\nHTTP/1.1 10", None),
        ("HTTP/1.1 103 x\r\n\r\nHTTP/1.1 429 x\r\n", Some(429)),
    ] {
        let builder = simulated(Script::raw_reply(head).stall_forever());
        let error = builder.redirects(0).run().await.unwrap().error.unwrap();
        match status {
            Some(_) => assert_eq!(error.status(), status, "{head}"),
            None => assert!(matches!(error, Error::Timeout(Stage::Upgrade)), "{head}: {error}"),
        }
    }
}

#[actix::test]
async fn the_status_of_a_proxys_head_that_stalls_is_not_lost_either() {
    tokio::time::pause();
    let seconds = Duration::from_secs;
    for (head, status) in [
        ("HTTP/1.1 407 Who\r\nProxy-Auth", Some(407)),
        ("HTTP/1.1 101 x\r\n", None),
        ("HTTP/1.1 200 OK\r\n", None),
        ("HTTP/1.1 100 x\r\n", None),
    ] {
        for limits in [(seconds(5), None), (seconds(9), Some(seconds(3)))] {
            let builder = simulated(Script::raw_reply(head).stall_forever()).proxy("http://p");
            let builder = builder.connect_timeout(limits.0).proxy_timeout(limits.1);
            let begin = Instant::now();
            let error = builder.run().await.unwrap().error.unwrap();
            match (status, &error) {
                (Some(status), Error::Proxy(ProxyError::Status(refusal))) => {
                    assert_eq!(refusal.status, status);
                }
                (None, Error::Timeout(Stage::Proxy)) => {}
                _ => panic!("{head}: {error}"),
            }
            let limit = limits.1.unwrap_or(limits.0);
            assert!(begin.elapsed() < limit + Duration::from_millis(200), "{head}");
        }
    }
}

fn refusal(outcome: Outcome) -> Arc<Refusal> {
    match outcome.error {
        Some(Error::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}
