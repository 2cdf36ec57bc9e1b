//! Output that is not read.

use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::mpsc::channel;

use tokio_tungstenite::tungstenite::Message;

use crate::process::Wsup;
use crate::server::{self, Server};

/// What the system buffers of a pipe, in bytes.
const PIPE: usize = 64 << 10;

#[test]
fn a_stderr_that_is_not_read_stops_nothing() {
    for (args, log) in [(&[][..], "warn"), (&["--json"], "trace")] {
        let (sender, receiver) = channel();
        let server = Server::run(move |listener| {
            let body = "x".repeat(2000);
            let refusal = format!("HTTP/1.1 503 Busy\r\nContent-Length: 2000\r\n\r\n{body}");
            for _ in 0..2 * PIPE / body.len() {
                server::refuse(listener.accept().unwrap().0, &refusal);
            }
            let mut socket = server::open(&listener);
            socket.send(Message::Ping("alive".into())).unwrap();
            while !socket.read().unwrap().is_pong() {}
            socket.send("still here".into()).unwrap();
            sender.send(socket.read().unwrap()).unwrap();
            server::drain(socket);
        });
        let url = server.url();
        let args = [args, &["--reconnect", "1ms", &url]].concat();
        let (mut wsup, _stderr) = Wsup::with_stderr(&args, Stdio::null(), &[("RUST_LOG", log)]);
        while !wsup.line().contains("still here") {}
        wsup.signal("INT");
        assert!(receiver.recv().unwrap().is_close());
        assert_eq!(wsup.end().status, 0);
    }
}

#[test]
fn lines_that_stderr_has_no_room_for_are_dropped_and_counted() {
    const BAD: usize = 60_000;
    let args = ["--json", "--eof-wait", "0", &Server::echo().url()];
    let (mut wsup, mut stderr) = Wsup::with_stderr(&args, Stdio::piped(), &[]);
    let mut stdin = wsup.stdin();
    let writer = std::thread::spawn(move || {
        stdin.write_all(&b"\xff\n".repeat(BAD)).unwrap();
        stdin.write_all(b"good\n").unwrap();
        stdin
    });
    assert_eq!(wsup.until("message")["data"], "good");
    let reader = std::thread::spawn(move || {
        let mut words = String::new();
        stderr.read_to_string(&mut words).unwrap();
        words
    });
    drop(writer.join().unwrap());
    wsup.end().is(0, "closed");
    let (mut kept, mut dropped) = (0, 0);
    for line in reader.join().unwrap().lines() {
        match line.strip_prefix("wsup: lines dropped because stderr was not read: ") {
            Some(number) => dropped += number.parse::<usize>().unwrap(),
            None => kept += usize::from(line.ends_with(" of stdin was not sent: not UTF-8")),
        }
    }
    assert!(dropped > 0 && kept * 40 > PIPE, "{kept} lines, {dropped} dropped");
    assert_eq!(kept + dropped, BAD);
}
