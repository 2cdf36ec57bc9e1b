//! The ways in which a run ends.

use std::io::Write;
use std::sync::mpsc::channel;
use std::time::Duration;

use tokio_tungstenite::tungstenite::Message;

use crate::process::{Wsup, parse};
use crate::server::{self, Server};

const CLOSED_BY_US: &str = r#"{"event":"close","source":"1","epoch":1,"code":1000,"reason":"","clean":true,"by":"local","lasted_ms":#,"retry_in_ms":null,"peer_code":1000,"peer_reason":"","unsent_messages":0,"unsent_bytes":0}"#;
const STOPPED: &str = r#"{"event":"stopped","source":"1","outcome":"closed","code":1000,"epochs":1,"error":null,"clean":true,"unsent_messages":0,"unsent_bytes":0}"#;
const STOPPED_UNOPENED: &str = r#"{"event":"stopped","source":"1","outcome":"closed","code":null,"epochs":0,"error":null,"clean":null,"unsent_messages":0,"unsent_bytes":0}"#;

#[test]
fn as_many_messages_are_printed_as_were_asked_for() {
    let (sender, receiver) = channel();
    let server = Server::socket(move |mut socket| {
        for number in 0..20 {
            socket.send(Message::text(number.to_string())).unwrap();
        }
        loop {
            if let Ok(Message::Close(frame)) = socket.read() {
                sender.send(u16::from(frame.unwrap().code)).unwrap();
                break;
            }
        }
        server::drain(socket);
    });
    let ended = Wsup::json(&[&server.url(), "--messages", "3"]).end();
    let messages: Vec<_> = ended.rest.iter().map(|line| parse(line)["data"].clone()).collect();
    assert_eq!(messages[1..4], ["0", "1", "2"]);
    assert_eq!(ended.rest.len(), 6, "open, three messages, close, stopped: {:?}", ended.rest);
    assert_eq!(receiver.recv().unwrap(), 1000);
    ended.is(0, "closed");
}

#[test]
fn duration_ends_an_open_connection() {
    let ended = Wsup::json(&[&Server::echo().url(), "--duration", "300ms"]).end();
    ended.rest_is(&[&ended.rest[0], CLOSED_BY_US, STOPPED]);
    assert!(ended.took >= Duration::from_millis(300), "{:?}", ended.took);
    ended.is(0, "closed");
}

#[test]
fn duration_ends_a_dial() {
    let ended = Wsup::json(&[&Server::mute().url(), "--duration", "300ms"]).end();
    ended.rest_is(&[STOPPED_UNOPENED]);
    assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
    ended.is(0, "closed");
}

#[test]
fn duration_ends_a_backoff() {
    let ended = Wsup::json(&["ws://127.0.0.1:1", "--reconnect", "1h", "--duration", "300ms"]).end();
    ended.rest_is(&[&ended.rest[0], STOPPED_UNOPENED]);
    assert!(ended.rest[0].contains(r#""retry_in_ms":3600000,"#));
    assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
    ended.is(0, "closed");
}

#[test]
fn a_signal_closes_with_1000() {
    for signal in ["INT", "TERM"] {
        let (sender, receiver) = channel();
        let server = Server::raw(move |mut stream| {
            sender.send(server::read_close(&mut stream)).unwrap();
            stream.write_all(b"\x88\x02\x03\xe8").unwrap();
            std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
        });
        // The server leaves it to us to close TCP, which is no fault of the closing handshake.
        let mut wsup = Wsup::json(&[&server.url(), "--close-timeout", "200ms"]);
        wsup.until("open");
        wsup.signal(signal);
        let ended = wsup.end();
        ended.rest_is(&[CLOSED_BY_US, STOPPED]);
        assert_eq!(receiver.recv().unwrap(), 1000);
        ended.is(0, "closed");
    }
}

#[test]
fn a_signal_ends_a_dial() {
    let (sender, receiver) = channel();
    let server = Server::run(move |listener| {
        let stream = listener.accept().unwrap();
        sender.send(()).unwrap();
        std::io::copy(&mut &stream.0, &mut std::io::sink()).unwrap();
    });
    let wsup = Wsup::json(&[&server.url()]);
    receiver.recv().unwrap();
    wsup.signal("INT");
    let ended = wsup.end();
    ended.rest_is(&[STOPPED_UNOPENED]);
    ended.is(0, "closed");
}

#[test]
fn an_unanswered_close_is_bounded() {
    let server = Server::raw(|stream| {
        std::io::copy(&mut &stream, &mut std::io::sink()).unwrap();
    });
    let mut wsup = Wsup::json(&[&server.url(), "--close-timeout", "200ms"]);
    wsup.until("open");
    wsup.signal("INT");
    let ended = wsup.end();
    ended.rest_is(&[
        r#"{"event":"close","source":"1","epoch":1,"code":1000,"reason":"","clean":false,"by":"local","lasted_ms":#,"retry_in_ms":null,"peer_code":null,"peer_reason":null,"unsent_messages":0,"unsent_bytes":0}"#,
        &STOPPED.replace("\"clean\":true", "\"clean\":false"),
    ]);
    ended.is(0, "closed");
}

#[test]
fn a_second_signal_aborts() {
    let (sender, receiver) = channel();
    let server = Server::raw(move |mut stream| {
        sender.send(server::read_close(&mut stream)).unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    });
    let mut wsup = Wsup::json(&[&server.url(), "--close-timeout", "1h"]);
    wsup.until("open");
    wsup.signal("INT");
    assert_eq!(receiver.recv().unwrap(), 1000);
    wsup.signal("TERM");
    wsup.end().is(130, "closed");
}

#[test]
fn a_closed_stdout_ends_the_run_quietly_though_nothing_more_comes() {
    let (sender, receiver) = channel();
    let server = Server::raw(move |mut stream| {
        sender.send(server::read_close(&mut stream)).unwrap();
        stream.write_all(b"\x88\x02\x03\xe8").unwrap();
    });
    let mut wsup = Wsup::json(&[&server.url()]);
    assert!(wsup.read_one_and_close().starts_with(r#"{"event":"open""#));
    let ended = wsup.end_unread();
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    assert_eq!(receiver.recv().unwrap(), 1000, "the last close is a proper one");
}

#[test]
fn a_stdout_that_was_never_open_ends_the_run_quietly() {
    let mut wsup = Wsup::json(&[&Server::echo().url()]);
    wsup.close_stdout();
    let ended = wsup.end_unread();
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
}

/// Sends until the client accepts no more. Returns the number of bytes.
fn flood(mut stream: std::net::TcpStream) -> usize {
    let frame = [&b"\x82\x7e\x40\x00"[..], &[7; 16 << 10]].concat();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut sent = 0;
    while sent < 256 << 20 && stream.write_all(&frame).is_ok() {
        sent += frame.len();
    }
    std::mem::forget(stream);
    sent
}

#[test]
fn a_stdout_that_nobody_reads_holds_the_server_up_and_not_the_end() {
    let (sender, receiver) = channel();
    let server = Server::raw(move |stream| sender.send(flood(stream)).unwrap());
    let wsup = Wsup::json(&[&server.url(), "--close-timeout", "200ms"]);
    let sent = receiver.recv().unwrap();
    assert!(sent < 64 << 20, "{sent} bytes were taken");
    wsup.signal("INT");
    let ended = wsup.end_unread();
    assert_eq!(ended.status, 0);
}

#[test]
fn a_second_signal_aborts_though_stdout_is_blocked() {
    let (sender, receiver) = channel();
    let server = Server::raw(move |stream| sender.send(flood(stream)).unwrap());
    let mut wsup = Wsup::json(&[&server.url(), "--close-timeout", "1h"]);
    receiver.recv().unwrap();
    wsup.signal("INT");
    // Two signals that come together may be taken for one.
    for _ in 0..100 {
        if wsup.is_running() {
            wsup.signal("TERM");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    assert_eq!(wsup.end_unread().status, 130);
}
