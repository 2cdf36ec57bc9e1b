//! `wsup feed --publish` against nats-server, in `NATS_SERVER` or on the PATH.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use server::Server;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::files::Folder;
use crate::process::{Wsup, parse};
use crate::pty::Terminal;
use crate::run::ids;
use crate::sim::Sim;
use crate::venues::RequestIds;
#[cfg(feature = "serve")]
use crate::watched::{Reply, Watched};

#[path = "../../../src/nats/tests/server.rs"]
#[allow(dead_code, reason = "shared with the tests of the library")]
pub(crate) mod server;

/// Asks JetStream, over a connection of its own.
fn ask(server: &Server, subject: &str, question: &Value) -> Value {
    let address = server.url_of("");
    let mut socket = TcpStream::connect(address.strip_prefix("nats://").unwrap()).unwrap();
    let question = question.to_string();
    let length = question.len();
    write!(socket, "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\n").unwrap();
    write!(socket, "PUB $JS.API.{subject} answer {length}\r\n{question}\r\n").unwrap();
    let mut reader = BufReader::new(socket);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(rest) = line.strip_prefix("MSG ") {
            let length: usize = rest.trim().rsplit(' ').next().unwrap().parse().unwrap();
            let mut payload = vec![0; length];
            reader.read_exact(&mut payload).unwrap();
            return serde_json::from_slice(&payload).unwrap();
        }
        assert!(!line.starts_with("-ERR") && !line.is_empty(), "{line}");
    }
}

/// The payloads of the stream.
fn payloads(server: &Server) -> Vec<String> {
    let message = |sequence: u64| {
        let answer = ask(server, "STREAM.MSG.GET.FEED", &json!({ "seq": sequence }));
        let data = STANDARD.decode(answer["message"]["data"].as_str()?).unwrap();
        Some(String::from_utf8(data).unwrap())
    };
    (1..).map_while(message).collect()
}

/// Runs a feed of two topics, with these flags.
pub(crate) fn publishing(flags: &[&str]) -> (Sim, Folder, Wsup) {
    let sim = Sim::run(RequestIds::default);
    let folder = Folder::new();
    let path = folder.write("venue.toml", &ids(&sim.url(), &["a", "b.c"]));
    let wsup =
        Wsup::spawn(&[&["feed", path.as_str(), "--json"], flags].concat(), Stdio::null(), &[]);
    (sim, folder, wsup)
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn what_is_published_is_what_is_printed() {
    let server = Server::start();
    let (sim, _folder, mut wsup) = publishing(&["--publish", &server.url_of("")]);
    let mut printed: Vec<String> =
        (0..20).map(|_| wsup.until("data")["data"].as_str().unwrap().to_owned()).collect();
    wsup.signal("TERM");
    let ended = wsup.end();
    ended.is(0, "closed");
    let rest = ended.rest.iter().map(|line| parse(line)).filter(|it| it["event"] == "data");
    printed.extend(rest.map(|it| it["data"].as_str().unwrap().to_owned()));
    let stopped = parse(ended.rest.last().unwrap());
    let count = printed.len();
    let expected = json!({
        "published": count, "acknowledged": count, "waiting": 0, "repeated": 0, "duplicates": 0, "refused": 0,
    });
    assert_eq!(stopped["published"], expected);
    // In the order of each topic.
    for topic in ["\"a\"", "\"b.c\""] {
        let of = |all: &[String]| -> Vec<String> {
            all.iter().filter(|text| text.contains(topic)).cloned().collect()
        };
        assert_eq!(of(&payloads(&server)), of(&printed), "{topic}");
    }
    assert!(ended.stderr.contains("wsup feed: --publish: connected"), "{}", ended.stderr);
    sim.is_content();
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn what_is_not_acknowledged_at_the_end_of_a_published_feed_is_counted() {
    let mut server = Server::start();
    let url = server.url_of("");
    let (_sim, _folder, mut wsup) = publishing(&["--publish", &url, "--close-timeout", "300ms"]);
    wsup.until("data");
    server.kill();
    // Some of them were printed before.
    (0..40).for_each(|_| drop(wsup.until("data")));
    wsup.signal("TERM");
    let ended = wsup.end();
    ended.is(1, "closed");
    let stopped = parse(ended.rest.last().unwrap());
    let of = |key: &str| stopped["published"][key].as_u64().unwrap();
    assert!(of("waiting") > 0, "{stopped}");
    assert_eq!(Some(of("waiting") + of("acknowledged")), stopped["delivered"].as_u64());
    let lost = "messages were not acknowledged within --close-timeout";
    assert!(ended.stderr.contains(lost), "{}", ended.stderr);
    assert!(ended.stderr.contains("--publish: connection lost"), "{}", ended.stderr);
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn a_broker_that_refuses_ends_the_published_feed_with_3() {
    let server = Server::with("authorization: { token: hidden-token }", "nats");
    let folder = Folder::new();
    let token = folder.write("token", "wrong-hidden-token\n");
    let url = server.url_of("");
    for (flags, status, words) in [
        (
            vec!["--publish", &url],
            3,
            "expects credentials, or others than these; see --nats-creds and --nats-token-file",
        ),
        (vec!["--publish", &url, "--nats-token-file", &token], 3, "authorization violation"),
        (
            vec!["--publish", &url, "--nats-creds", "/nowhere"],
            2,
            "--nats-creds: /nowhere: No such file",
        ),
        (vec!["--publish", "ws://127.0.0.1"], 2, "--publish: its scheme is ws"),
        (vec!["--publish", &url, "--subject", "feed"], 2, "--subject: \"feed\" needs {topic} once"),
        (vec!["--publish", &url, "--stream", "a.b"], 2, "--stream: \"a.b\" cannot be a name"),
    ] {
        let (_sim, _folder, wsup) = publishing(&flags);
        let ended = wsup.end();
        assert_eq!(ended.status, status, "{flags:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(words), "{flags:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("hidden"), "{flags:?}: {}", ended.stderr);
    }
    let server = Server::start();
    let config = json!({ "name": "OTHER", "subjects": ["orders.*"] });
    ask(&server, "STREAM.CREATE.OTHER", &config);
    let (_sim, _folder, wsup) = publishing(&["--publish", &server.url_of(""), "--stream", "OTHER"]);
    let ended = wsup.end();
    assert_eq!(ended.status, 3, "{}", ended.stderr);
    let words = "--stream: `OTHER` has the subjects orders.*, and feed.* is published";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn a_published_feed_waits_for_its_broker_before_it_dials() {
    let mut server = Server::start();
    server.kill();
    let (_sim, _folder, mut wsup) = publishing(&["--publish", &server.url_of("")]);
    server.restart();
    wsup.until("data");
    wsup.signal("TERM");
    let ended = wsup.end();
    ended.is(0, "closed");
    // Without a broker a signal ends it too.
    server.kill();
    let (_sim, _folder, wsup) =
        publishing(&["--publish", &server.url_of(""), "--duration", "500ms"]);
    let ended = wsup.end();
    assert_eq!((ended.status, ended.rest.len()), (0, 0), "{}", ended.stderr);
    assert!(ended.stderr.contains("not reached: Connection refused"), "{}", ended.stderr);
}

/// Runs a feed of two topics that publishes and is watched, with further flags.
#[cfg(feature = "serve")]
fn watched(sim: &Sim, server: &Server, flags: &[&str]) -> Watched {
    let url = server.url_of("");
    Watched::run(&ids(&sim.url(), &["a", "b"]), &[&["--publish", url.as_str()], flags].concat())
}

#[test]
#[cfg(feature = "serve")]
#[ignore = "needs nats-server: just nats"]
fn the_state_of_a_published_feed_is_served() {
    let mut server = Server::start();
    let sim = Sim::run(RequestIds::default);
    let watched = watched(&sim, &server, &[]);
    watched.healthy();
    let is_stored = |reply: &Reply| reply.json()["publishing"]["acknowledged"].as_u64() > Some(9);
    let publishing = watched.until("/status", is_stored).json()["publishing"].clone();
    assert_eq!((&publishing["connected"], &publishing["connections"]), (&json!(true), &json!(1)));
    assert_eq!((&publishing["failure"], &publishing["shares"]), (&Value::Null, &Value::Null));
    assert!(publishing["published"].as_u64() >= publishing["acknowledged"].as_u64());
    assert!(publishing["last_acknowledged_ms"].as_u64() < Some(20_000), "{publishing}");
    let metrics = watched.get("/metrics").body;
    assert!(metrics.contains("\nactix_ws_publisher_up{publisher=\"venue\"} 1\n"), "{metrics}");
    let documented = include_str!("../../../docs/metrics.md").lines();
    let documented = documented.filter_map(|it| it.strip_prefix("| `actix_ws_publisher_"));
    for name in documented.map(|it| it.split('`').next().unwrap()).filter(|it| *it != "shares") {
        let begin = format!("\nactix_ws_publisher_{name}{{publisher=\"venue\"}} ");
        assert!(metrics.contains(&begin), "{name}: {metrics}");
    }
    server.kill();
    let away = watched.until("/health", |reply| reply.body.contains("s: "));
    assert_eq!(away.status, 503);
    let words = "the broker of --publish has been away for ";
    assert!(away.body.starts_with(words), "{}", away.body);
    let metrics = watched.get("/metrics").body;
    assert!(metrics.contains("\nactix_ws_publisher_up{publisher=\"venue\"} 0\n"), "{metrics}");
    server.restart();
    watched.healthy();
    assert_eq!(watched.get("/status").json()["publishing"]["connections"], 2);
}

#[test]
#[cfg(feature = "serve")]
#[ignore = "needs nats-server: just nats"]
fn a_feed_that_waits_for_its_broker_is_served_as_that() {
    let mut server = Server::start();
    server.kill();
    let sim = Sim::run(RequestIds::default);
    let watched = watched(&sim, &server, &[]);
    let health = watched.get("/health");
    let words = "the feed has not started yet: it waits for the broker of --publish\n";
    assert_eq!((health.status, &*health.body), (503, words));
    server.restart();
    watched.healthy();
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn a_terminal_shows_how_the_publication_goes() {
    let mut server = Server::start();
    let sim = Sim::run(RequestIds::default);
    let folder = Folder::new();
    let path = folder.write("venue.toml", &ids(&sim.url(), &["a", "b"]));
    let mut terminal = Terminal::wsup(&["feed", &path, "--publish", &server.url_of("")]);
    terminal.expect("1/1 lines active, ");
    terminal.expect("broker connected; ");
    terminal.expect(" acknowledged, the last ");
    server.kill();
    terminal.expect("broker away for ");
    terminal.expect("LINE");
    server.restart();
    terminal.expect("broker connected; ");
    terminal.signal("INT");
    let (status, rest) = terminal.end();
    assert_eq!(status, 0, "{rest}");
}

#[test]
#[cfg(feature = "serve")]
#[ignore = "needs nats-server: just nats"]
fn the_shares_of_a_published_feed_are_counted() {
    let server = Server::start();
    let sim = Sim::run(RequestIds::default);
    let watched = watched(&sim, &server, &["--share", "gateway", "--share-lease", "1s"]);
    let shares = json!({ "all": 1, "owned": 1, "standby": 0, "claimed": 0 });
    watched.until("/status", |reply| reply.json()["publishing"]["shares"] == shares);
    let owned = "actix_ws_publisher_shares{publisher=\"venue\",state=\"owned\"} 1\n";
    assert!(watched.get("/metrics").body.contains(owned));
}

/// A venue that sends as fast as it can, 4 KiB in each message.
struct Flood {
    url: String,
    sent: Arc<AtomicU64>,
}

impl Flood {
    fn start() -> Flood {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let sent = Arc::new(AtomicU64::new(0));
        let count = sent.clone();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut socket = tungstenite::accept(stream).unwrap();
            let request = socket.read().unwrap();
            let id = parse(request.to_text().unwrap())["id"].clone();
            let pad = "x".repeat(4096);
            let mut result = socket.send(Message::text(format!("{{\"id\":{id}}}")));
            // Until the client has ended.
            for number in 1.. {
                for topic in ["a", "b"] {
                    let text = format!(r#"{{"stream":"{topic}","seq":{number},"pad":"{pad}"}}"#);
                    result = result.and_then(|()| socket.send(Message::text(text)));
                }
                if result.is_err() {
                    return;
                }
                count.fetch_add(2, Relaxed);
            }
        });
        Flood { url, sent }
    }

    /// Waits until it has sent so much, or can send no more.
    fn settle(&self, enough: u64) {
        let mut before = 0;
        loop {
            let sent = self.sent.load(Relaxed);
            if sent >= enough || sent > 0 && sent == before {
                return;
            }
            before = sent;
            // The venue has no way to say that it is blocked.
            thread::sleep(Duration::from_secs(1));
        }
    }
}

/// 64 MiB wait at most, 16,384 messages.
#[test]
#[cfg(target_os = "linux")]
#[ignore = "needs nats-server: just nats"]
fn the_memory_of_a_published_feed_is_bounded_while_its_broker_is_away() {
    let time = std::env::var("AWAY_SECONDS").map_or(5, |it| it.parse().unwrap());
    for overflow in ["wait", "latest"] {
        let mut server = Server::start();
        let venue = Flood::start();
        let folder = Folder::new();
        let file = format!("overflow = {overflow:?}\n{}", ids(&venue.url, &["a", "b"]));
        let path = folder.write("venue.toml", &file);
        let args = ["feed", &path, "--json", "--publish", &server.url_of("")];
        let mut wsup = Wsup::spawn(&args, Stdio::null(), &[]);
        wsup.drain();
        // It dials once the broker has the stream.
        while venue.sent.load(Relaxed) == 0 {
            thread::yield_now();
        }
        server.kill();
        venue.settle(60_000);
        let full = wsup.memory();
        thread::sleep(Duration::from_secs(time));
        let (later, sent) = (wsup.memory(), venue.sent.load(Relaxed));
        println!("{overflow}: {full} KiB, {later} KiB after {time} s, {sent} messages");
        // What waits in the publisher, and as much again for what the allocator has around it.
        assert!(full.max(later) < 160 << 10, "{overflow}: {full} KiB, then {later} KiB");
        // With `latest` the bound is reached more slowly: most updates are replaced before they are taken.
        if overflow == "wait" {
            assert!(later < full + (8 << 10), "{overflow}: {full} KiB, then {later} KiB");
        }
    }
}
