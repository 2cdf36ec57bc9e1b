//! `--every`, `--reply`, `--rate` and `--while-closed`.

use std::io::Write;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::Message;

use crate::process::{Wsup, parse};
use crate::server::{self, Server, Socket};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn every_sends_on_an_open_socket_only_and_makes_no_backlog() {
    const PERIOD: Duration = Duration::from_millis(300);
    let (sender, receiver) = channel();
    let server = Server::run(move |listener| {
        let mut first = server::open(&listener);
        for _ in 0..4 {
            sender.send((server::text(&mut first).unwrap(), Instant::now())).unwrap();
        }
        drop(first);
        // Periods pass while no socket is open.
        let waiting = listener.accept().unwrap().0;
        std::thread::sleep(3 * PERIOD);
        let mut second = tokio_tungstenite::tungstenite::accept(waiting).unwrap();
        while let Some(text) = server::text(&mut second) {
            sender.send((text, Instant::now())).unwrap();
        }
    });
    let args = ["--every", "300ms", "-e", "--every", "1h", "never", "--on-open", "hello"];
    let wsup = Wsup::json(&[&args[..], &["--reconnect", "10ms", &server.url()]].concat());
    for _ in 0..2 {
        let (text, mut before) = receiver.recv_timeout(PATIENCE).unwrap();
        assert_eq!(text, "hello");
        for _ in 0..3 {
            let (text, at) = receiver.recv_timeout(PATIENCE).unwrap();
            assert_eq!(text, "-e");
            assert!(at - before > PERIOD / 2, "{:?}", at - before);
            before = at;
        }
    }
    wsup.signal("INT");
    wsup.end().is(0, "closed");
}

#[test]
fn a_reply_is_made_of_the_message() {
    let (sender, receiver) = channel();
    let server = Server::socket(move |mut socket| {
        for (message, reply) in [
            (r#"{"op":"ping","ping":1700000000123}"#, Some(r#"{"pong":1700000000123}"#)),
            ("ping", Some("pong")),
            (r#"{"op":"data"}"#, None),
            // A condition holds, but there is nothing to fill in.
            (r#"{"op":"ping"}"#, None),
            (r#"{"op":"hello","id":"a"}"#, Some("hello a")),
        ] {
            socket.send(message.into()).unwrap();
            if let Some(reply) = reply {
                assert_eq!(server::text(&mut socket).as_deref(), Some(reply));
            }
        }
        sender.send(()).unwrap();
        server::drain(socket);
    });
    let args = ["--reply", "/op=ping", r#"{"pong":{/ping}}"#, "--reply", "text:ping", "pong"];
    let more = ["--reply", "/id", "{/op} {/id}", "--reply", "/op=hello", "not the first"];
    let wsup = Wsup::json(&[&args[..], &more, &[&server.url()]].concat());
    receiver.recv_timeout(PATIENCE).unwrap();
    wsup.signal("INT");
    let ended = wsup.end();
    assert_eq!(ended.stderr, "wsup: --reply was not sent: the message has nothing at /ping\n");
    let messages = ended.rest.iter().filter(|line| parse(line)["event"] == "message").count();
    assert_eq!(messages, 5, "what is answered is printed too");
    ended.is(0, "closed");
}

#[test]
fn the_rate_paces_all_messages_together_and_no_pong() {
    const TIME: Duration = Duration::from_millis(400);
    let (sender, receiver) = channel();
    let server = Server::socket(move |mut socket| {
        let mut texts = 0;
        loop {
            match socket.read() {
                Ok(Message::Text(text)) => {
                    texts += 1;
                    sender.send((text.to_string(), Instant::now())).unwrap();
                    if texts == 5 {
                        socket.send(Message::Ping("now".into())).unwrap();
                        socket.send("?".into()).unwrap();
                    }
                }
                Ok(Message::Pong(_)) => sender.send(("pong".into(), Instant::now())).unwrap(),
                Ok(_) => {}
                Err(_) => break,
            }
        }
    });
    let args = ["--rate", "5/400ms", "--on-open", "o", "--send", "s", "--reply", "text:?", "r"];
    let more = ["--every", "100ms", "e", "--eof-wait", "0"];
    let mut wsup = Wsup::json_with_input(&[&args[..], &more, &[&server.url()]].concat());
    for line in 0..12 {
        wsup.say(&format!("l{line}"));
    }
    wsup.end().is(0, "closed");
    let received: Vec<(String, Instant)> = receiver.iter().collect();
    let place = |text: &str| received.iter().position(|(it, _)| it == text).expect(text);
    assert_eq!((place("o"), place("s"), place("pong")), (0, 1, 5), "{received:?}");
    // Before what waits longer.
    assert_eq!(place("r"), 6, "{received:?}");
    let times: Vec<Instant> =
        received.iter().filter(|(text, _)| text != "pong").map(|(_, at)| *at).collect();
    assert!(times.len() >= 15, "{received:?}");
    for (index, sixth) in times.iter().enumerate().skip(5) {
        // Less than the period by what a message may be late.
        let span = *sixth - times[index - 5];
        assert!(span > TIME * 3 / 4, "{span:?} before message {index}");
    }
}

/// A server that loses its first socket behind one text, and opens the next when it is asked to.
fn losing_server(sender: std::sync::mpsc::Sender<String>, asked: Receiver<()>) -> Server {
    let listen = move |mut socket: Socket, most| {
        for _ in 0..most {
            let Some(text) = server::text(&mut socket) else { break };
            sender.send(text).unwrap();
        }
    };
    Server::run(move |listener| {
        server::refuse(listener.accept().unwrap().0, "HTTP/1.1 503 Busy\r\n\r\n");
        listen(server::open(&listener), 1);
        if asked.recv().is_ok() {
            listen(server::open(&listener), usize::MAX);
        }
    })
}

#[test]
fn lines_that_come_while_no_socket_is_open_wait_or_are_dropped() {
    const LINES: usize = 3_000;
    for mode in ["wait", "drop"] {
        let (sender, receiver) = channel();
        let (open, asked) = channel();
        let server = losing_server(sender, asked);
        let args = ["--while-closed", mode, "--reconnect", "20ms", "--send-buffer", "2k"];
        let mut wsup = Wsup::json_with_input(&[&args[..], &[&server.url()]].concat());
        // Before the first opening a line waits in any case.
        wsup.say("first");
        wsup.until("error");
        assert_eq!(receiver.recv_timeout(PATIENCE).as_deref(), Ok("first"));
        wsup.until("close");
        let mut stdin = wsup.stdin();
        let (done, written) = channel();
        std::thread::spawn(move || {
            for line in 0..LINES {
                writeln!(stdin, "{line:099}").unwrap();
            }
            done.send(stdin).unwrap();
        });
        // It is more than what may wait and the pipe holds, so all is taken only if lines are dropped.
        let stdin = (mode == "drop").then(|| written.recv_timeout(PATIENCE).unwrap());
        open.send(()).unwrap();
        wsup.until("open");
        let mut stdin = stdin.unwrap_or_else(|| written.recv_timeout(PATIENCE).unwrap());
        writeln!(stdin, "last").unwrap();
        drop(stdin);
        let ended = wsup.end();
        let received: Vec<String> = receiver.iter().collect();
        assert_eq!(received.last().map(String::as_str), Some("last"));
        let dropped = match ended.stderr.trim().rsplit_once("no socket was open: ") {
            Some((_, number)) => number.parse().unwrap(),
            None => 0,
        };
        assert_eq!((received.len() - 1 + dropped, dropped > 0), (LINES, mode == "drop"));
        ended.is(0, "closed");
    }
}

#[test]
fn a_line_that_comes_while_no_socket_is_open_ends_the_run_where_that_is_asked_for() {
    let (sender, receiver) = channel();
    let (_open, asked) = channel();
    let server = losing_server(sender, asked);
    let args = ["--while-closed", "end", "--reconnect", "20ms", &server.url()];
    let mut wsup = Wsup::json_with_input(&args);
    wsup.say("first");
    assert_eq!(receiver.recv_timeout(PATIENCE).as_deref(), Ok("first"));
    wsup.until("close");
    wsup.say("second");
    let ended = wsup.end();
    let said = "wsup: a line came while no socket was open (--while-closed end)\n";
    assert!(ended.stderr.ends_with(said), "{}", ended.stderr);
    ended.is(1, "closed");
}
