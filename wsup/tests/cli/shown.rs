//! How messages look to people.

use std::io::Write;
use std::process::Stdio;

use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use tokio_tungstenite::tungstenite::Message;

use crate::process::{Ended, Wsup, assert_like, parse};
use crate::server::{self, Server};

/// What is said with these arguments to a server that sends these messages.
fn shown(args: &[&str], messages: Vec<Message>) -> Ended {
    let count = messages.len().to_string();
    let server = Server::socket(move |mut socket| {
        for message in messages {
            socket.send(message).unwrap();
        }
        server::drain(socket);
    });
    let url = server.url();
    let args = [args, &["--messages", &count, &url]].concat();
    let ended = Wsup::spawn(&args, Stdio::null(), &[]).end();
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    ended
}

#[test]
fn compressed_text_in_a_binary_message_is_shown_as_text() {
    let level = flate2::Compression::default;
    let mut gzip = GzEncoder::new(Vec::new(), level());
    let mut zlib = ZlibEncoder::new(Vec::new(), level());
    let mut bare = DeflateEncoder::new(Vec::new(), level());
    gzip.write_all(b"by gzip").unwrap();
    zlib.write_all(b"by zlib").unwrap();
    bare.write_all(b"by deflate").unwrap();
    let mut bomb = GzEncoder::new(Vec::new(), level());
    bomb.write_all(&[b'0'; 5000]).unwrap();
    let bomb = bomb.finish().unwrap();
    let compressed = [gzip.finish(), zlib.finish(), bare.finish()].map(Result::unwrap);
    let mut messages: Vec<_> = compressed.into_iter().map(Message::binary).collect();
    messages.extend([Message::binary(vec![0, 255, 16]), Message::binary(bomb)]);
    let ended = shown(&["--max-message", "4k"], messages);
    assert_eq!(ended.rest[..4], ["[gzip] by gzip", "[zlib] by zlib", "[zlib] by deflate", "AP8Q"]);
    assert!(ended.rest[4].starts_with("H4sI"), "past --max-message: {:?}", ended.rest[4]);
}

#[test]
fn raw_is_what_messages_carry_and_nothing_else() {
    let messages = || vec![Message::text("one"), Message::binary(&b"two\x00"[..]), "three".into()];
    for args in [&["--raw"][..], &["-r", "-v", "--timings", "--color", "always"]] {
        assert_eq!(shown(args, messages()).rest, ["one", "two\0three"]);
    }
}

#[test]
fn verbosity_tells_what_each_message_is() {
    let ended = shown(&["-v"], vec![Message::text("a"), Message::binary(vec![0, 255, 16])]);
    assert_eq!(ended.rest, ["text: a", "binary: AP8Q"]);
    assert!(ended.stderr.contains("wsup 1: connecting"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("TRACE") && !ended.stderr.contains("DEBUG"), "{}", ended.stderr);
    let ended = shown(&["-vv"], vec![Message::text("a")]);
    assert!(ended.stderr.contains("DEBUG"), "{}", ended.stderr);
}

#[test]
fn timings_are_the_seconds_of_each_message_and_the_stages_of_each_dial() {
    let ended = shown(&["--timings", "-v"], vec![Message::text("a"), Message::text("b")]);
    assert_like(&ended.rest[0], "#: text: a");
    let seconds = |line: &str| line.split(':').next().unwrap().parse::<f64>().unwrap();
    assert!(seconds(&ended.rest[0]) <= seconds(&ended.rest[1]), "{:?}", ended.rest);
    let open = ended.stderr.lines().find(|line| line.contains(": open to")).unwrap();
    let names = ["; dns ", ", connect ", ", upgrade "];
    assert!(names.iter().all(|name| open.contains(name)), "{open}");
    assert!(!open.contains("tls") && !open.contains("proxy"), "{open}");
}

#[test]
fn timings_in_json_are_a_line_of_their_own_behind_the_opening() {
    let server = Server::run(|listener| {
        let (stream, _) = listener.accept().unwrap();
        // What is measured: the upgrade takes as long.
        std::thread::sleep(std::time::Duration::from_millis(120));
        let mut socket = tokio_tungstenite::tungstenite::accept(stream).unwrap();
        socket.send(Message::text("x")).unwrap();
        server::drain(socket);
    });
    let ended = Wsup::json(&["--timings", "--messages", "1", &server.url()]).end();
    assert!(ended.rest[0].starts_with(r#"{"event":"open","#), "{:?}", ended.rest);
    assert_like(
        &ended.rest[1],
        r#"{"event":"timings","source":"1","epoch":1,"dns_ms":#,"connect_ms":#,"proxy_ms":null,"tls_ms":null,"upgrade_ms":#}"#,
    );
    let upgrade = parse(&ended.rest[1])["upgrade_ms"].as_f64().unwrap();
    assert!(upgrade >= 100.0, "{upgrade}");
    ended.is(0, "closed");

    let (server, pem) = server::tls_echo();
    let path = std::env::temp_dir().join(format!("wsup-timings-{}.pem", server.port));
    std::fs::write(&path, pem).unwrap();
    let url = format!("wss://localhost:{}", server.port);
    let args = ["--timings", "--cacert", path.to_str().unwrap(), "-t", "x", "--messages", "1"];
    let ended = Wsup::json(&[&args[..], &[&url]].concat()).end();
    std::fs::remove_file(path).unwrap();
    assert!(parse(&ended.rest[1])["tls_ms"].as_f64().unwrap() > 0.0, "{:?}", ended.rest);
}
