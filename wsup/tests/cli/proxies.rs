//! The way through a proxy, and what comes of one that does not lead on.

use std::io::{Read, Write, copy};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};

use crate::process::{Wsup, assert_like, parse};
use crate::server::{self, Server};
use crate::stages::fails;

/// A target whose name only a proxy can make something of.
const TARGET: &str = "ws://feed.invalid/";

/// An HTTP proxy that connects to this server, whatever host it is asked for, and reports the request.
fn leading_to(server: &Server) -> (Server, Receiver<String>) {
    let (sender, receiver) = channel();
    let port = server.port;
    let proxy = Server::run(move |listener: TcpListener| {
        let (mut inner, _) = listener.accept().unwrap();
        sender.send(server::read_head(&mut inner)).unwrap();
        inner.write_all(b"HTTP/1.1 200 Go\r\n\r\n").unwrap();
        let outer = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (mut back, mut on) = (outer.try_clone().unwrap(), inner.try_clone().unwrap());
        std::thread::spawn(move || copy(&mut back, &mut on));
        let _ = copy(&mut inner, &mut &outer);
    });
    (proxy, receiver)
}

fn url(proxy: &Server) -> String {
    format!("http://user:hunter2@127.0.0.1:{}", proxy.port)
}

/// Says one thing to a server and receiver it again.
const ONCE: [&str; 4] = ["--send", "hi", "--messages", "1"];

#[test]
fn a_proxy_is_asked_for_the_host_with_its_credentials() {
    let (proxy, receiver) = leading_to(&Server::echo());
    let ended = Wsup::json(&[&[TARGET, "--proxy", &url(&proxy)][..], &ONCE].concat()).end();
    assert!(ended.rest[1].ends_with(r#""data":"hi"}"#), "{:?}", ended.rest);
    ended.is(0, "closed");
    let asked = receiver.recv().unwrap();
    assert!(asked.starts_with("CONNECT feed.invalid:80 HTTP/1.1\r\n"), "{asked}");
    assert_eq!(server::header(&asked, "proxy-authorization"), Some("Basic dXNlcjpodW50ZXIy"));
}

#[test]
fn the_proxy_of_the_environment_is_the_default() {
    let (proxy, receiver) = leading_to(&Server::echo());
    let args = [&["--json", TARGET][..], &ONCE].concat();
    Wsup::spawn(&args, Stdio::null(), &[("http_proxy", &url(&proxy))]).end().is(0, "closed");
    assert!(receiver.recv().unwrap().starts_with("CONNECT feed.invalid:80 "));
}

#[test]
fn hosts_of_no_proxy_are_dialled_directly_whoever_chose_the_proxy() {
    let nobody = "http://127.0.0.1:1";
    let target = Server::echo().url();
    let args = [&[&target, "--proxy", nobody, "--no-proxy", "h,127.0.0.0/8"][..], &ONCE].concat();
    Wsup::json(&args).end().is(0, "closed");

    let target = Server::echo().url();
    let args = [&["--json", &target, "--no-proxy", "*"][..], &ONCE].concat();
    Wsup::spawn(&args, Stdio::null(), &[("all_proxy", nobody)]).end().is(0, "closed");
}

#[test]
fn a_refusal_of_the_proxys_has_its_status_and_ends_by_its_verdict() {
    const WANTS: &str =
        ": it wants credentials, and did not accept the credentials in the proxy's URL";
    for (reply, status, reason, more, exit, outcome) in [
        ("HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n", 407, "Who", WANTS, 3, "refused"),
        ("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", 403, "No", "", 3, "refused"),
        ("HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n", 502, "Bad", "", 1, "failed"),
    ] {
        let proxy = Server::reply(reply);
        let ended = fails(&[TARGET, "--proxy", &url(&proxy)], "proxy", "null", exit, outcome);
        assert_like(
            &ended.rest[0],
            &format!(
                r#"{{"event":"error","source":"1","epoch":0,"attempt":1,"stage":"proxy","during":null,"status":{status},"error":"proxy: refused with status {status} {reason}{more}","retry_in_ms":null,"refusal":{{"status":{status},"reason":"{reason}","headers":{{"content-length":"0"}},"body":""}}}}"#
            ),
        );
    }
}

#[test]
fn a_proxy_that_is_not_there_may_be_there_later() {
    let args = [TARGET, "--proxy", "socks5h://127.0.0.1:1"];
    let ended = fails(&args, "proxy", "null", 1, "failed");
    assert!(parse(&ended.rest[0])["status"].is_null());
}

#[test]
fn a_proxy_that_says_nothing_is_a_timeout() {
    let proxy = Server::mute();
    let args = [TARGET, "--proxy", &url(&proxy), "--connect-timeout", "1s"];
    fails(&args, "timeout", "proxy", 1, "failed");
}

#[test]
fn socks_is_spoken_too() {
    let (sender, receiver) = channel();
    let proxy = Server::run(move |listener| {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut hello, mut ask) = ([0; 3], [0; 5 + "feed.invalid".len() + 2]);
        stream.read_exact(&mut hello).unwrap();
        stream.write_all(&[5, 0]).unwrap();
        stream.read_exact(&mut ask).unwrap();
        sender.send(ask[5..17].to_vec()).unwrap();
        // RFC 1928, 6: not allowed by the ruleset.
        stream.write_all(&[5, 2, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
    });
    let proxy = format!("socks5h://127.0.0.1:{}", proxy.port);
    fails(&[TARGET, "--proxy", &proxy], "proxy", "null", 3, "refused");
    assert_eq!(receiver.recv().unwrap(), b"feed.invalid");
}

#[test]
fn a_proxy_that_cannot_be_is_named_by_its_flag_or_variable_and_not_shown() {
    let cannot_be = ["gopher://u:hunter2@h", "u:hunter2@h:3128", "http://u:hunter2@h:0", ""];
    for proxy in cannot_be {
        let ended = Wsup::json(&[TARGET, "--proxy", proxy]).end();
        assert!(ended.stderr.contains("--proxy:"), "{proxy}: {}", ended.stderr);
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
        assert_eq!((ended.status, ended.rest.len()), (2, 0), "{proxy}");
    }
    let variable = [("http_proxy", "u:hunter2@h:3128")];
    let ended = Wsup::spawn(&["--json", TARGET], Stdio::null(), &variable).end();
    assert!(ended.stderr.contains("wsup: http_proxy:"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    assert_eq!((ended.status, ended.rest.len()), (2, 0));
}

#[test]
fn the_proxys_credentials_are_shown_at_no_level_of_logging() {
    let proxy = Server::reply("HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n");
    let args = ["--json", "-v", TARGET, "--proxy", &url(&proxy)];
    let ended = Wsup::spawn(&args, Stdio::null(), &[("RUST_LOG", "trace")]).end();
    let said = ended.rest.join("\n") + &ended.stderr;
    assert!(said.contains("DEBUG"), "the log is on: {said}");
    assert!(!said.contains("hunter") && !said.contains("dXNlcjpodW50ZXIy"), "{said}");
    ended.is(3, "refused");
}
