//! What is sent, and when.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::process::{Wsup, parse};
use crate::server::{self, Server};

/// Passes each text on until the client closes.
fn listen(sender: &Sender<String>, socket: &mut server::Socket) {
    while let Some(text) = server::text(socket) {
        sender.send(text).unwrap();
    }
    sender.send("(end)".to_owned()).unwrap();
}

fn hear(receiver: &Receiver<String>, expected: &[&str]) {
    for text in expected {
        assert_eq!(receiver.recv_timeout(Duration::from_secs(20)).as_deref(), Ok(*text));
    }
}

#[test]
fn each_line_is_a_message_and_the_run_ends_behind_the_last() {
    let mut wsup = Wsup::json_with_input(&[&Server::echo().url()]);
    wsup.stdin().write_all("one\n\ntwo é\r\nthree without an end".as_bytes()).unwrap();
    let ended = wsup.end();
    let texts: Vec<_> = ended.rest[1..5].iter().map(|line| parse(line)["data"].clone()).collect();
    assert_eq!(texts, ["one", "", "two é", "three without an end"]);
    assert!(ended.rest[5].contains(r#""code":1000,"reason":"","clean":true,"by":"local""#));
    assert!(ended.took >= Duration::from_millis(500), "{:?}", ended.took);
    ended.is(0, "closed");
}

#[test]
fn the_last_line_is_written_before_the_close_whatever_the_waits() {
    let (sender, receiver) = channel();
    let server = Server::socket(move |mut socket| listen(&sender, &mut socket));
    let url = server.url();
    let waits = ["--eof-wait", "0", "--close-timeout", "0", "--send-buffer", "16m"];
    let mut wsup = Wsup::json_with_input(&[&[url.as_str()], &waits[..]].concat());
    // More than the buffers of the system hold.
    let long = "x".repeat(12 << 20);
    wsup.say(&long);
    let ended = wsup.end();
    hear(&receiver, &[&long, "(end)"]);
    ended.is(0, "closed");
}

#[test]
fn input_without_a_line_is_no_input() {
    let (sender, receiver) = channel();
    let server = Server::socket(move |mut socket| {
        // A ping of the client's: it has been there for a while.
        while !socket.read().unwrap().is_ping() {}
        socket.send("still there".into()).unwrap();
        listen(&sender, &mut socket);
    });
    let url = server.url();
    let mut wsup = Wsup::json_with_input(&[&url, "--eof-wait", "0", "--ping-interval", "300ms"]);
    wsup.eof();
    wsup.until("open");
    assert_eq!(wsup.until("message")["data"], "still there");
    wsup.signal("INT");
    hear(&receiver, &["(end)"]);
    wsup.end().is(0, "closed");
}

#[test]
fn lines_wait_until_a_socket_is_open() {
    let (sender, receiver) = channel();
    let server = Server::run(move |listener| {
        server::refuse(listener.accept().unwrap().0, "HTTP/1.1 503 Busy\r\n\r\n");
        listen(&sender, &mut server::open(&listener));
    });
    let mut wsup = Wsup::json_with_input(&[&server.url(), "--reconnect", "300ms"]);
    wsup.say("early");
    wsup.say("bird");
    wsup.until("error");
    wsup.say("worm");
    wsup.eof();
    hear(&receiver, &["early", "bird", "worm", "(end)"]);
    wsup.end().is(0, "closed");
}

#[test]
fn on_open_goes_first_after_every_opening_and_send_once_before_stdin() {
    let (sender, receiver) = channel();
    let server = Server::run(move |listener| {
        let mut first = server::open(&listener);
        for _ in 0..6 {
            sender.send(server::text(&mut first).unwrap()).unwrap();
        }
        drop(first);
        listen(&sender, &mut server::open(&listener));
    });
    let url = server.url();
    let texts = ["--send", "s1", "--on-open", "o1", "--send", "s2", "--on-open", "-o2"];
    let args = [&[url.as_str(), "--reconnect", "20ms"], &texts[..]].concat();
    let mut wsup = Wsup::json_with_input(&args);
    wsup.say("l1");
    wsup.say("l2");
    hear(&receiver, &["o1", "-o2", "s1", "s2", "l1", "l2"]);
    wsup.until("close");
    wsup.say("l3");
    hear(&receiver, &["o1", "-o2", "l3"]);
    wsup.signal("INT");
    hear(&receiver, &["(end)"]);
    wsup.end().is(0, "closed");
}

#[test]
fn on_open_needs_no_input_to_be_sent_again() {
    let (sender, receiver) = channel();
    let server = Server::run(move |listener| {
        for _ in 0..3 {
            sender.send(server::text(&mut server::open(&listener)).unwrap()).unwrap();
        }
        listen(&sender, &mut server::open(&listener));
    });
    let mut wsup = Wsup::json(&[&server.url(), "--reconnect", "20ms", "--on-open", "hello"]);
    hear(&receiver, &["hello"; 4]);
    wsup.until("open");
    wsup.signal("INT");
    hear(&receiver, &["(end)"]);
    wsup.end().is(0, "closed");
}

#[test]
fn a_server_that_reads_slowly_loses_nothing() {
    let (sender, receiver) = channel();
    let server = Server::run(move |listener| {
        // A small window, or the system takes it all.
        socket2::SockRef::from(&listener).set_recv_buffer_size(4096).unwrap();
        let mut socket = server::open(&listener);
        while !socket.read().unwrap().is_text() {}
        // It is the slowness that is tried: meanwhile every buffer fills.
        std::thread::sleep(Duration::from_millis(700));
        let mut next = 1;
        while let Some(text) = server::text(&mut socket) {
            assert_eq!(text.split(' ').next(), Some(next.to_string().as_str()));
            next += 1;
        }
        sender.send(next).unwrap();
    });
    let args = [&server.url(), "--send-buffer", "4k", "--eof-wait", "0"];
    let mut wsup = Wsup::json_with_input(&args);
    let mut stdin = wsup.stdin();
    let padding = "x".repeat(300);
    for number in 0..20_000 {
        writeln!(stdin, "{number} {padding}").unwrap();
    }
    drop(stdin);
    let ended = wsup.end();
    let received = receiver.recv_timeout(Duration::from_secs(20)).expect("lines in their order");
    assert_eq!(received, 20_000);
    assert_eq!(ended.stderr, "", "waiting is nothing to warn of");
    ended.is(0, "closed");
}

#[test]
fn no_more_is_read_than_may_wait() {
    let (open, opened) = channel::<()>();
    let (sender, receiver) = channel();
    let server = Server::run(move |listener| {
        opened.recv().unwrap();
        listen(&sender, &mut server::open(&listener));
    });
    let args = [&server.url(), "--send-buffer", "2k", "--eof-wait", "0"];
    let mut wsup = Wsup::json_with_input(&args);
    let mut stdin = wsup.stdin();
    let written = Arc::new(AtomicUsize::new(0));
    let counter = written.clone();
    let writer = std::thread::spawn(move || {
        for _ in 0..5_000 {
            stdin.write_all(&[&[b'x'; 99][..], b"\n"].concat()).unwrap();
            counter.fetch_add(100, Ordering::Relaxed);
        }
    });
    // Until nothing has moved for a while.
    let mut before = usize::MAX;
    while before != written.load(Ordering::Relaxed) || before == 0 {
        before = written.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(300));
    }
    // A pipe of 64 KiB, a buffer of 8 KiB, and our 2 KiB.
    assert!(before < 100_000, "{before} bytes were read");
    open.send(()).unwrap();
    writer.join().unwrap();
    let ended = wsup.end();
    assert_eq!(receiver.iter().count(), 5_001);
    ended.is(0, "closed");
}

#[test]
fn a_line_that_can_never_be_sent_is_told_of_and_costs_no_other() {
    let args = ["--send-buffer", "1k", &Server::echo().url()];
    let mut wsup = Wsup::json_with_input(&args);
    wsup.say("before");
    wsup.say(&"x".repeat(5_000));
    wsup.say("behind");
    let ended = wsup.end();
    assert_eq!(parse(&ended.rest[1])["data"], "before");
    assert_eq!(parse(&ended.rest[2])["data"], "behind");
    assert_eq!(ended.stderr, "wsup: line 2 of stdin was not sent: longer than --send-buffer\n");
    ended.is(0, "closed");
}

#[test]
fn the_run_ends_behind_input_of_which_no_line_can_be_sent() {
    for input in [&b"\xff\n"[..], &[b'x'; 5_000]] {
        let mut wsup = Wsup::json_with_input(&[&Server::echo().url(), "--send-buffer", "1k"]);
        wsup.stdin().write_all(input).unwrap();
        let ended = wsup.end();
        assert!(
            ended.stderr.starts_with("wsup: line 1 of stdin was not sent: "),
            "{}",
            ended.stderr
        );
        ended.is(0, "closed");
    }
}
