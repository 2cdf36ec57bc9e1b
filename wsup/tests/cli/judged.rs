//! `--retry-on` and `--give-up-on`.

use std::sync::mpsc::channel;

use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::process::Wsup;
use crate::server::{self, Server};

/// The status and outcome of a run against a server that refuses each upgrade so.
fn refused(reply: &'static str, flags: &[&str]) -> (i32, String, usize) {
    let url = Server::reply(reply).url();
    let args = [&[&url, "--reconnect", "10ms", "--max-attempts", "3"], flags].concat();
    let ended = Wsup::json(&args).end();
    let stopped = crate::process::parse(ended.rest.last().unwrap());
    (ended.status, stopped["outcome"].as_str().unwrap().to_owned(), ended.rest.len() - 1)
}

#[test]
fn a_refusal_is_judged_by_the_lists() {
    let (no, busy) = ("HTTP/1.1 401 No\r\n\r\n", "HTTP/1.1 503 Busy\r\n\r\n");
    let refused_once = (3, "refused".to_owned(), 1);
    let gave_up = (1, "gave_up".to_owned(), 3);
    assert_eq!(refused(no, &[]), refused_once);
    assert_eq!(refused(no, &["--retry-on", "401"]), gave_up);
    assert_eq!(refused(no, &["--retry-on", "io,4xx"]), gave_up);
    assert_eq!(refused(no, &["--retry-on", "refused"]), gave_up);
    assert_eq!(refused(no, &["--retry-on", "402,dns"]), refused_once);
    assert_eq!(refused(no, &["--retry-on", "refused", "--give-up-on", "401"]), refused_once);
    assert_eq!(refused(busy, &[]), gave_up);
    assert_eq!(refused(busy, &["--give-up-on", "503"]), refused_once);
    assert_eq!(refused(busy, &["--give-up-on", "refused", "--retry-on", "500-510"]), gave_up);
}

#[test]
fn other_stages_are_judged_too() {
    let args = ["ws://127.0.0.1:1", "--reconnect", "10ms", "--give-up-on", "connect"];
    let ended = Wsup::json(&args).end();
    assert_eq!(ended.rest.len(), 2, "{:?}", ended.rest);
    ended.is(3, "refused");
}

#[test]
fn close_codes_are_judged_by_the_lists() {
    let closing = |code: u16| {
        let (sender, receiver) = channel();
        let server = Server::run(move |listener| {
            loop {
                let mut socket = server::open(&listener);
                if sender.send(()).is_err() {
                    return;
                }
                let frame = CloseFrame { code: code.into(), reason: "".into() };
                socket.close(Some(frame)).unwrap();
                server::drain(socket);
            }
        });
        (server, receiver)
    };
    let (server, _openings) = closing(4001);
    let args = [&server.url(), "--reconnect", "10ms", "--give-up-on", "4000-4099"];
    let ended = Wsup::json(&args).end();
    assert_eq!(ended.rest.len(), 3, "open, close, stopped: {:?}", ended.rest);
    ended.is(3, "refused");

    let (server, openings) = closing(1008);
    let mut wsup = Wsup::json(&[&server.url(), "--reconnect", "10ms", "--retry-on", "1008"]);
    for _ in 0..3 {
        openings.recv().unwrap();
        assert_eq!(wsup.until("close")["retry_in_ms"], 10);
    }
    wsup.signal("INT");
    wsup.end().is(0, "closed");
}
