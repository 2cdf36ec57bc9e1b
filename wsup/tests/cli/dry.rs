//! What would be done, without doing it.

use std::net::TcpStream;
use std::process::Stdio;
use std::sync::mpsc::channel;

use serde_json::Value;

use crate::process::{Wsup, parse};
use crate::server::{self, Server};

/// What `--dry-run` prints as JSON with these arguments.
fn plan(args: &[&str]) -> Value {
    let ended = Wsup::json(&[&["--dry-run"], args].concat()).end();
    assert_eq!((ended.status, ended.rest.len()), (0, 1), "{:?} {}", ended.rest, ended.stderr);
    assert_eq!(ended.stderr, "");
    let plan = parse(&ended.rest[0]);
    assert!(ended.rest[0].starts_with(r#"{"event":"plan","request":"GET "#), "{plan}");
    assert_eq!(plan.as_object().unwrap().len(), 3, "{plan}");
    plan
}

/// The lines of a head, sorted, with `***` for the values of these. awc sends them in any order.
fn lines(head: &str, hidden: &[&str]) -> Vec<String> {
    let line = |line: &str| match line.split_once(": ") {
        Some((name, _)) if hidden.contains(&&*name.to_lowercase()) => format!("{name}: ***"),
        _ => line.to_owned(),
    };
    let mut lines: Vec<_> = head.split("\r\n").map(line).collect();
    lines.sort();
    lines
}

#[test]
fn the_request_is_the_one_that_is_sent_but_for_key_and_secrets() {
    let (sender, receiver) = channel();
    let server = Server::run(move |listener| {
        for stream in listener.incoming() {
            sender.send(server::read_head(&mut stream.unwrap())).unwrap();
        }
    });
    let url = format!("ws://user:hunter2@127.0.0.1:{}/a%20b?c=d:%20e", server.port);
    let args = [&url, "-H", "X-Key: hunter3", "-H", "cookie: a=hunter4", "-H", "User-Agent: me"];
    let shown = plan(&args)["request"].as_str().unwrap().to_owned();
    Wsup::json(&[&["--reconnect", "never"], &args[..]].concat()).end().is(1, "failed");

    let sent = receiver.recv().unwrap();
    assert!(receiver.try_recv().is_err(), "nothing is dialled for a look");
    let secrets = ["authorization", "x-key", "cookie", "user-agent"];
    let hidden = [&secrets[..], &["sec-websocket-key", "date"]].concat();
    assert_eq!(lines(&shown, &hidden), lines(&sent, &hidden));
    assert!(shown.ends_with("\r\n\r\n"), "{shown}");
    assert!(server::header(&shown, "sec-websocket-extensions").is_some(), "{shown}");
    assert!(shown.starts_with("GET /a%20b?c=d:%20e HTTP/1.1\r\n"), "{shown}");
    for secret in secrets {
        assert_eq!(server::header(&shown, secret), Some("***"), "{shown}");
    }
}

#[test]
fn the_delays_are_those_of_the_policy() {
    let delays = |args: &[&str]| {
        let plan = plan(&[&["wss://feed.invalid/"], args].concat());
        let delays = plan["delays_ms"].as_array().unwrap().iter();
        delays.map(|delay| delay.as_u64().unwrap()).collect::<Vec<_>>()
    };
    let exponential = delays(&[]);
    assert_eq!(exponential.len(), 10);
    for (n, delay) in exponential.into_iter().enumerate() {
        assert!((500..=30_000.min(1_000 << n)).contains(&delay), "{n}: {delay}");
    }
    assert_eq!(delays(&["--reconnect", "1.5s"]), [1_500; 10]);
    assert_eq!(delays(&["--reconnect", "1s", "--max-attempts", "3"]), [1_000; 2]);
    assert!(delays(&["--max-attempts", "1"]).is_empty());
    assert!(delays(&["--reconnect", "never"]).is_empty());
}

#[test]
fn no_proxy_is_dialled_either() {
    let (sender, receiver) = channel();
    let proxy = Server::run(move |listener| sender.send(listener.accept().unwrap().1).unwrap());
    let port = proxy.port;
    let proxy = format!("http://u:hunter2@127.0.0.1:{port}");
    let shown = plan(&["ws://feed.invalid/", "--proxy", &proxy]).to_string();
    // The first to knock is this one.
    let knock = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(receiver.recv().unwrap(), knock.local_addr().unwrap());
    assert!(!shown.contains("hunter2") && !shown.contains("dTpodW50ZXIy"), "{shown}");
}

#[test]
fn people_get_the_request_and_the_delays() {
    let args = ["ws://u:hunter2@h/", "--dry-run", "--no-deflate", "--reconnect", "2s"];
    let ended = Wsup::spawn(&args, Stdio::null(), &[("RUST_LOG", "trace")]).end();
    let (last, head) = ended.rest.split_last().unwrap();
    assert_eq!(head[0], "GET / HTTP/1.1");
    assert!(head.contains(&"Authorization: ***".to_owned()), "{head:?}");
    assert_eq!(head.last().unwrap(), "");
    assert_eq!(*last, format!("dials again after {}", ["2.0s"; 10].join(", ")));
    let said = ended.rest.join("\n") + &ended.stderr;
    assert!(!said.contains("hunter2") && !said.contains("dTpodW50ZXIy"), "{said}");
    assert_eq!(ended.status, 0);
}

#[test]
fn what_cannot_be_cannot_be_looked_at_either() {
    for args in [
        &["--dry-run", "http://h/"][..],
        &["--dry-run", "ws://h/", "-H", "Upgrade: x"],
        &["--dry-run", "ws://h/", "--proxy", "h"],
        &["--dry-run", "ws://h/", "--send-buffer", "4", "--send", "abc"],
        &["--dry-run", &format!("ws://h/{}", "x".repeat(70_000))],
    ] {
        let ended = Wsup::json(args).end();
        assert_eq!((ended.status, ended.rest.len()), (2, 0), "{args:.2?}");
        assert!(ended.stderr.starts_with("wsup: "), "{}", ended.stderr);
    }
}
