//! Why a server refused is shown, safely and without secrets.

use std::io::{Read, Write};
use std::process::Stdio;

use serde_json::json;

use crate::process::{Ended, Wsup, parse};
use crate::server::{self, Server};

const NEVER: [&str; 2] = ["--reconnect", "never"];

/// A URL whose host only a proxy can make something of.
const NOWHERE: &str = "ws://feed.invalid:90/";

/// Runs for people against a server with this reply.
fn shown(reply: &'static str, args: &[&str]) -> Ended {
    let url = Server::reply(reply).url();
    Wsup::spawn(&[&[&*url][..], &NEVER, args].concat(), Stdio::null(), &[]).end()
}

#[test]
fn people_see_status_reason_challenge_and_body() {
    let reply = "HTTP/1.1 401 Go Away\r\nWWW-Authenticate: Bearer realm=\"feed\", Basic\r\n\
        Set-Cookie: id=hunter2\r\nContent-Length: 24\r\n\r\n{\"why\":\n\n \"no token\"}\r\n  \r\n";
    let ended = shown(reply, &[]);
    let expected = "\
        wsup 1: the server refused the upgrade with status 401 Go Away: it wants Bearer or Basic, \
        and no credentials were sent; no further dial\n\
        wsup 1:   server: WWW-Authenticate: Bearer realm=\"feed\", Basic\n\
        wsup 1:   server says: {\"why\":\n\
        wsup 1:   server says:  \"no token\"}\n\
        wsup 1:   --bearer TOKEN sends a token\n\
        wsup 1: not dialled again";
    assert!(ended.stderr.starts_with(expected), "{}", ended.stderr);
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
}

#[test]
fn json_has_the_refusal_as_an_object() {
    let url = Server::reply(
        "HTTP/1.1 403 F\u{f6}rbidden \"x\"\r\nX-Id: 7\r\nx-id: 8\r\nSet-Cookie: id=hunter2\r\n\
         Location: /hunter3\r\nWWW-Authenticate: Basic\r\nContent-Length: 5\r\n\r\na\n\u{1b}[m",
    )
    .url();
    let ended = Wsup::json(&[&[&*url][..], &NEVER].concat()).end();
    let error = parse(&ended.rest[0]);
    let headers = json!({
        "x-id": "7, 8",
        "set-cookie": "***",
        "location": "***",
        "www-authenticate": "Basic",
        "content-length": "5",
    });
    let refusal = json!({
        "status": 403, "reason": "F\u{f6}rbidden \"x\"", "headers": headers, "body": "a\n\u{1b}[m",
    });
    assert_eq!(error["refusal"], refusal);
    assert!(ended.rest[0].contains(r#""refusal":{"status":403,"reason":"#), "{}", ended.rest[0]);
}

#[test]
fn a_body_is_bounded_and_cannot_steer_the_terminal() {
    let reply = "HTTP/1.1 403 \x1b[2J\u{202e}\r\n\r\n\x1b]0;t\x07\u{202e}\r\x00x\n";
    let ended = shown(reply, &["--color", "never"]);
    let safe = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
    assert!(ended.stderr.chars().all(safe), "{:?}", ended.stderr);
    assert!(ended.stderr.contains("403 \\u{1b}[2J\\u{202e}; no"), "{}", ended.stderr);
    assert!(ended.stderr.contains("\\u{1b}]0;t\\u{7}\\u{202e}"), "{}", ended.stderr);

    let long: &str = Box::leak(format!("HTTP/1.1 500 x\r\n\r\n{}", "\u{e9}".repeat(3000)).into());
    assert_eq!(shown(long, &[]).stderr.matches('\u{e9}').count(), 1024);
    let odd: &str = Box::leak(format!("HTTP/1.1 500 x\r\n\r\na{}", "\u{e9}".repeat(3000)).into());
    let ended = Wsup::json(&[&[&*Server::reply(odd).url()][..], &NEVER].concat()).end();
    let body = parse(&ended.rest[0])["refusal"]["body"].as_str().unwrap().to_owned();
    assert_eq!(body, format!("a{}", "\u{e9}".repeat(1023)));
}

#[test]
fn secrets_that_a_server_repeats_stay_hidden() {
    let reply = "HTTP/1.1 400 hunter1\r\nX-Echo: hunter2\r\nWWW-Authenticate: Basic realm=\"hunter3\"\r\n\r\n\
        hunter1 bWU6aHVudGVyMQ== hunter2 hunter3 hunter4 visible";
    let args = ["--user", "me:hunter1", "-H", "X-Key: hunter2", "--cookie", "id=hunter3"];
    let env = [("http_proxy", ""), ("all_proxy", "http://u:hunter4@h"), ("no_proxy", "127.0.0.1")];
    let url = Server::reply(reply).url();
    for form in ["--json", "--timings"] {
        let args = [&[&*url, form][..], &NEVER, &args].concat();
        let ended = Wsup::spawn(&args, Stdio::null(), &env).end();
        let said = ended.rest.join("\n") + &ended.stderr;
        assert!(said.contains("visible") && said.contains("*** *** *** *** ***"), "{said}");
        assert!(!said.contains("hunter") && !said.contains("bWU6"), "{said}");
    }
}

#[test]
fn a_403_that_speaks_of_origin_names_the_flag() {
    let origin = "HTTP/1.1 403 No\r\n\r\n<p>Origin not allowed</p>";
    for (args, sent) in [
        (&[][..], "URL is http://127.0.0.1:"),
        (&["--origin", "https://own.example"], "URL is https://own.example; --no-origin"),
        (&["-H", "Origin: https://own.example"], "  --no-origin sends no Origin"),
        (&["--no-origin"], "  --no-origin sends no Origin"),
    ] {
        let said = shown(origin, args).stderr;
        assert!(said.contains(sent) && said.contains("--no-origin"), "{args:?}: {said}");
    }
    for other in ["HTTP/1.1 403 No\r\n\r\noriginal", "HTTP/1.1 401 No\r\n\r\nOrigin"] {
        assert!(!shown(other, &[]).stderr.contains("--no-origin"), "{other}");
    }
}

#[test]
fn a_407_says_what_the_proxy_wants() {
    for (reply, proxy, expected) in [
        (
            "HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n",
            "http://",
            "407 Who: it wants Basic, and the proxy's URL has no user:password@; no further dial\n\
             wsup 1:   proxy: Proxy-Authenticate: Basic realm=\"x\"\n\
             wsup 1:   the proxy is that of --proxy\n",
        ),
        (
            "HTTP/1.1 407 Who\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n",
            "http://u:hunter2@",
            "407 Who: it wants Negotiate or NTLM, which is not supported; only Basic is sent to a proxy",
        ),
    ] {
        let proxy = format!("{proxy}127.0.0.1:{}", Server::reply(reply).port);
        let args = [&["ws://feed.invalid/", "--proxy", &proxy][..], &NEVER].concat();
        let ended = Wsup::spawn(&args, Stdio::null(), &[]).end();
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    }
}

#[test]
fn a_line_below_an_error_says_what_may_help() {
    let reply = |reply| Server::reply(reply).url();
    let frames = |frames: &'static [u8]| {
        let server = Server::raw(move |mut stream| {
            stream.write_all(frames).unwrap();
            std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
        });
        server.url()
    };
    let mute = Server::mute().url();
    let secure = mute.replace("ws:", "wss:");
    let socks = Server::run(|listener| {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 3]).unwrap();
        stream.write_all(b"\x05\x00").unwrap();
        let _ = stream.read(&mut [0; 64]).unwrap();
        stream.write_all(b"\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00").unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    });
    let socks = format!("socks5h://127.0.0.1:{}", socks.port);
    for (url, args, help) in [
        (reply("HTTP/1.1 200 OK\r\n\r\nhi"), &[][..], "is it the URL of a web page?"),
        (
            reply("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n"),
            &["--redirects", "0"],
            "--redirects N",
        ),
        (reply("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n"), &[], "--redirects N follows more"),
        (reply("HTTP/1.1 401 No\r\nWWW-Authenticate: basic\r\n\r\n"), &[], "--user USER:PASSWORD"),
        (reply("HTTP/1.1 404 No\r\n\r\n"), &[], "nothing at the path"),
        (reply("HTTP/1.1 503 No\r\nRetry-After: 30\r\n\r\n"), &[], "server: Retry-After: 30"),
        (reply("HTTP/1.1 101 Ok\r\n\r\n"), &[], "is it the URL of a WebSocket server?"),
        (mute, &["--connect-timeout", "200ms"], "may speak TLS: for that is wss://"),
        (secure, &["--connect-timeout", "200ms"], "may speak no TLS: for that is ws://"),
        (frames(b"\x81\x01\xff"), &[], "--skip-utf8"),
        (frames(b"\x82\x7e\x10\x00"), &["--max-message", "1k"], "--max-message SIZE"),
        (frames(b"\x81\x80abcd"), &[], "the server breaks the protocol"),
        (frames(b""), &["--idle-timeout", "200ms"], "--idle-timeout TIME waits longer"),
        (
            frames(b""),
            &["--ping-interval", "100ms", "--ping-timeout", "100ms"],
            "--ping-timeout TIME waits longer",
        ),
        (reply(""), &[], "may speak TLS: for that is wss://"),
        (NOWHERE.into(), &["--proxy", "http://127.0.0.1:1"], "the proxy is that of --proxy"),
        (NOWHERE.into(), &["--proxy", &socks], "the host of the URL is feed.invalid:90; the proxy"),
        (reply("HTTP/1.1 101 Ok\r\n\r\n"), &["-s", "v1"], "is it the URL"),
    ] {
        let args = [&[&*url][..], &NEVER, &["--close-timeout", "0"], args].concat();
        let ended = Wsup::spawn(&args, Stdio::null(), &[]).end();
        let below = |line: &str| line.starts_with("wsup 1:   ") && line.contains(help);
        assert!(ended.stderr.lines().any(below), "{args:?}: {}", ended.stderr);
    }
}

#[test]
fn the_first_line_says_how_long_and_for_what_a_run_waited() {
    let open = |frames: &'static [u8]| {
        let server = Server::raw(move |mut stream| {
            stream.write_all(frames).unwrap();
            std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
        });
        server.url()
    };
    let mute = Server::mute().url();
    let reset = Server::run(|listener| {
        let (mut stream, _) = listener.accept().unwrap();
        server::read_head(&mut stream);
        socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    });
    let short = ["--connect-timeout", "200ms"];
    for (url, args, line) in [
        (mute.clone(), &short[..], "timed out: no reply to the upgrade within 200ms of"),
        (mute.replace("ws:", "wss:"), &short, "timed out: no TLS handshake within 200ms of"),
        (reset.url(), &[], "transport, before the reply to the upgrade: Connection reset"),
        (open(b""), &["--idle-timeout", "200ms"], "ms (--idle-timeout); "),
        (
            open(b""),
            &["--ping-interval", "100ms", "--ping-timeout", "100ms"],
            "no answer to a ping within --ping-timeout; ",
        ),
        (open(b"\x82\x7e\x10\x00"), &["--max-message", "1k"], "the limit of 1024 (--max-message)"),
    ] {
        let args = [&[&*url][..], &NEVER, &["--close-timeout", "0"], args].concat();
        let said = Wsup::spawn(&args, Stdio::null(), &[]).end().stderr;
        assert!(said.contains(line), "{args:?}: {said}");
        for name in ["Limits", "Tls::", "`"] {
            assert!(!said.contains(name), "{name} is no shell user's: {said}");
        }
    }
}

#[test]
fn the_last_line_says_why_no_dial_follows() {
    for (reply, args, last) in [
        ("HTTP/1.1 503 No\r\n\r\n", &NEVER[..], "because of --reconnect never"),
        (
            "HTTP/1.1 503 No\r\n\r\n",
            &["--reconnect", "10ms", "--max-attempts", "2"],
            "gave up: --max-attempts 2 is reached",
        ),
        ("HTTP/1.1 503 No\r\n\r\n", &["--give-up-on", "503"], "--give-up-on lists this failure"),
        ("HTTP/1.1 404 No\r\n\r\n", &[], "the next dial would fail in the same way"),
    ] {
        let url = Server::reply(reply).url();
        let said = Wsup::spawn(&[&[&*url], args].concat(), Stdio::null(), &[]).end().stderr;
        assert!(said.lines().last().unwrap().ends_with(last), "{args:?}: {said}");
    }
}
