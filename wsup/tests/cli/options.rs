//! What cannot be asked for, and what is never shown.

use std::io::Write;
use std::process::Stdio;

use crate::process::{Wsup, parse};
use crate::server::{self, Server};

#[test]
fn what_cannot_be_is_named_on_stderr_and_nothing_is_dialled() {
    let url = "ws://127.0.0.1:1";
    let long = format!("{url}/{}", "a".repeat(64 << 10));
    for (args, named) in [
        (&[][..], "URL"),
        (&["http://h/"], "url"),
        (&["ws://"], "url"),
        (&["ws://h:0"], "url"),
        (&["ws://u%3Aser:pw@h/"], "url"),
        (&["ws://user:p%0Aw@h/"], "url"),
        (&[&long], "url"),
        (&[url, &long], "url"),
        (&[url, "--no-such-flag"], "--no-such-flag"),
        (&[url, "--ping-timeout", "0"], "--ping-timeout"),
        (&[url, "--connect-timeout", "0"], "--connect-timeout"),
        (&[url, "--connect-timeout", "10"], "--connect-timeout"),
        (&[url, "--reconnect", "sometimes"], "--reconnect"),
        (&[url, "--max-attempts", "0"], "--max-attempts"),
        (&[url, "--messages", "0"], "--messages"),
        (&[url, "--max-message", "0"], "--max-message"),
        (&[url, "--send-buffer", "1x"], "--send-buffer"),
        (&[url, "--send-buffer", "4", "--send", "abc"], "--send"),
        (&[url, "--send-buffer", "4", "--on-open", "abc"], "--on-open"),
        (&[url, "--cacert", "/no/such/file"], "--cacert"),
        (&[url, "--cacert", "/dev/null"], "--cacert"),
        (&[url, "--cacert", "/dev/null", "--insecure"], "--insecure"),
        (&[url, "-H", "Connection: close"], "--header"),
        (&[url, "-H", "no colon"], "--header"),
        (&[url, "-H", "Host: a/b"], "--header"),
        (&[url, "-H", "Host:"], "--header"),
        (&[url, "-H", "Connection:"], "--header"),
        (&[url, "-H", "X Other:"], "--header"),
        (&[url, "-H", "User-Agent;"], "--header"),
        (&[url, "-H", "X-Other;a"], "--header"),
        (&[url, "-H", ";"], "--header"),
        (&[url, "-H", "Host: a", "-H", "host: b"], "--header"),
        (&[url, "--cookie", ""], "--cookie"),
        (&[url, "--origin", "a b"], "--origin"),
        (&[url, "--origin", "http://a", "--no-origin"], "--no-origin"),
        (&[url, "--host", "a/b"], "--host"),
        (&[url, "--subprotocol", "a b"], "--subprotocol"),
        (&[url, "--subprotocol", "a", "--subprotocol", "a"], "--subprotocol"),
        (&[url, "--every", "20", "x"], "--every: a duration is a number"),
        (&[url, "--every", "0", "x"], "--every: must be above zero"),
        (&[url, "--every", "20s"], "--every"),
        (&[url, "--every", "20s", "@/no/such/file"], "--every: cannot read its file"),
        (&[url, "--reply", "op=ping", "x"], "--reply: `op=ping` is no condition: /op=ping"),
        (&[url, "--reply", "/op", "{/x"], "--reply: no } behind"),
        (&[url, "--rate", "5"], "5/1s"),
        (&[url, "--rate", "0/1s"], "--rate"),
        (&[url, "--while-closed", "stop"], "--while-closed"),
        (&[url, "--user", "me"], "--user"),
        (&[url, "--user", "me:\n"], "--user"),
        (&[url, "--user", "me:pw", "--bearer", "a"], "--bearer"),
        (&[url, "--bearer", "a b"], "--bearer"),
        (&[url, "--redirects", "many"], "--redirects"),
        (&[url, "--bind", "localhost"], "--bind"),
        (&[url, "--ping-payload", &"x".repeat(126)], "--ping-payload"),
    ] {
        let ended = Wsup::json(args).end();
        assert_eq!(ended.status, 2, "{args:?}");
        assert!(ended.rest.is_empty(), "{args:?}: {:?}", ended.rest);
        assert!(ended.stderr.contains(named), "{args:?}: {}", ended.stderr);
    }
}

#[test]
fn of_a_flag_that_is_given_twice_the_last_one_counts() {
    let args = ["--dry-run", "--dry-run", "--json", "ws://h/", "--origin", "http://a"];
    let more =
        ["--host", "a", "--reconnect", "never", "--no-deflate", "--no-deflate", "--host", "b"];
    let last =
        ["--reconnect", "5s", "--max-attempts", "9", "--max-attempts", "3", "--origin", "http://b"];
    let ended = Wsup::json(&[&args[..], &more, &last].concat()).end();
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    let plan = parse(&ended.rest[0]);
    let request = plan["request"].as_str().unwrap();
    assert_eq!(server::header(request, "origin"), Some("http://b"));
    assert_eq!(server::header(request, "host"), Some("b"));
    assert_eq!(plan["delays_ms"], serde_json::json!([5000, 5000]));
}

#[test]
fn a_header_of_ours_without_a_value_is_left_out() {
    let ours = ["-H", "User-Agent:", "-H", "origin: "];
    let others = ["-H", "X-Other:", "-H", "X-Empty; ", "--headers", "X-More:,X-Void;"];
    let ended = Wsup::json(&[&["--dry-run", "ws://u:p@h/"], &ours[..], &others].concat()).end();
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    let plan = parse(&ended.rest[0]);
    let request = plan["request"].as_str().unwrap();
    assert_eq!(server::header(request, "user-agent"), None, "{request}");
    assert_eq!(server::header(request, "origin"), None, "{request}");
    // As for curl: any other name too, and a semicolon sends an empty value.
    for (name, value) in
        [("x-other", None), ("x-more", None), ("x-empty", Some("")), ("x-void", Some(""))]
    {
        assert_eq!(
            server::header(request, name).map(|value| value.trim_matches('*')),
            value,
            "{request}"
        );
    }
}

#[test]
fn a_fragment_is_warned_of_once() {
    for (end, warnings) in [("#part", 1), ("?a#b#c", 1), ("%23", 0)] {
        for form in ["--json", "--color=never"] {
            let url = format!("ws://127.0.0.1:1/secret{end}");
            let args = [form, &url, "--reconnect", "1ms", "--max-attempts", "3"];
            let ended = Wsup::spawn(&args, Stdio::null(), &[]).end();
            let said = ended.stderr.matches("fragment").count();
            assert_eq!((ended.status, said), (1, warnings), "{end} {form}: {}", ended.stderr);
            assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
        }
    }
}

#[test]
fn a_fragment_of_a_further_url_is_warned_of_by_its_number() {
    let base = "ws://127.0.0.1:1/secret";
    let (second, third) = (format!("{base}#a"), format!("{base}?b#c"));
    for form in ["--json", "--color=never"] {
        let args = [form, base, &second, base, &third, "--reconnect", "1ms", "--max-attempts", "8"];
        let ended = Wsup::spawn(&args, Stdio::null(), &[]).end();
        let warnings: Vec<_> = ended.stderr.lines().filter(|it| it.contains("fragment")).collect();
        assert!(warnings.len() == 2 && warnings[0].contains("URL 2"), "{}", ended.stderr);
        assert!(warnings[1].contains("URL 4"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
    }
}

/// The runtimes, the signals and the resolver need files of their own.
#[cfg(unix)]
#[test]
fn too_few_files_are_an_error_and_no_panic() {
    let mut refused = 0;
    for files in (4..48).step_by(2) {
        // Whatever runs the tests may leave files open, which would count.
        let close = "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-";
        let exec = "exec \"$0\" --json --reconnect never ws://127.0.0.1:1";
        let script = format!("{close}; ulimit -n {files} && {exec}");
        let wsup = env!("CARGO_BIN_EXE_wsup");
        let output = std::process::Command::new("sh")
            .args(["-c", &script, wsup])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{files}: {stderr}");
        assert!(!stderr.contains("panicked"), "{files}: {stderr}");
        refused += usize::from(stderr.contains("wsup: cannot start: "));
        assert_eq!(output.stdout.is_empty(), stderr.contains("ulimit -n"), "{files}: {stderr}");
    }
    assert!((1..22).contains(&refused), "{refused}");
}

#[test]
fn help_is_no_error() {
    for flag in ["--help", "--version"] {
        let ended = Wsup::json(&[flag]).end();
        assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
        assert!(!ended.rest.is_empty());
    }
}

#[test]
fn no_secret_is_shown_at_any_level_of_logging() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let server = Server::run(move |listener| {
        let (mut stream, _) = listener.accept().unwrap();
        sender.send(server::read_head(&mut stream)).unwrap();
        drop(stream);
        server::refuse(listener.accept().unwrap().0, "HTTP/1.1 401 No\r\n\r\n");
    });
    let url = format!("ws://user:hunter2@127.0.0.1:{}/", server.port);
    let headers = ["-H", "Cookie: session=hunter3", "-H", "X-Api-Key: hunter4"];
    let args = [&["--json", &url, "--reconnect", "10ms", "-v"], &headers[..]].concat();
    let ended = Wsup::spawn(&args, Stdio::null(), &[("RUST_LOG", "trace")]).end();
    let head = receiver.recv().unwrap();
    let basic = "dXNlcjpodW50ZXIy";
    assert_eq!(server::header(&head, "authorization"), Some(&*format!("Basic {basic}")));
    assert_eq!(server::header(&head, "cookie"), Some("session=hunter3"));
    assert_eq!(server::header(&head, "x-api-key"), Some("hunter4"));
    let said = ended.rest.join("\n") + &ended.stderr;
    assert!(said.contains("TRACE"), "the log is on: {said}");
    assert!(!said.contains("hunter") && !said.contains(basic), "{said}");
    ended.is(3, "refused");

    for args in [
        &["ws://u:hunter2@h/", "http://u:hunter2@i/"][..],
        &["ws://h/", "-H", "hunter2"],
        &["ws://h/", "-H", "X: hunter2\r\nY: z"],
        &["ws://h/", "-H", "Cookie: hunter2=1", "-H", "Cookie: hunter3=1"],
        &["ws://h/", "--cookie", "a=hunter2\n"],
        &["ws://h/", "--user", "hunter2"],
        &["ws://h/", "--user", "a:hunter2\n"],
        &["ws://h/", "--bearer", "hunter2 x"],
        &["ws://h/", "--bearer", "hunter2", "--user", "a:hunter3"],
        &["ws://u:hunter2@h:0/"],
        &["ws://u:hunter2@h o/"],
    ] {
        let ended = Wsup::json(args).end();
        assert_eq!(ended.status, 2);
        assert!(!ended.stderr.contains("hunter"), "{}", ended.stderr);
    }
}

#[test]
fn no_secret_of_a_flag_is_shown_at_any_level_of_logging() {
    for (flags, sent) in [
        (["--bearer", "hunter2", "--cookie", "own=hunter3"], "Bearer hunter2"),
        (["--user", "u:hunter2", "--cookie", "own=hunter3"], "Basic dTpodW50ZXIy"),
    ] {
        let (sender, receiver) = std::sync::mpsc::channel();
        let server = Server::run(move |listener| {
            for status in ["503 Busy", "401 No"] {
                let (mut stream, _) = listener.accept().unwrap();
                sender.send(server::read_head(&mut stream)).unwrap();
                let reply = format!("HTTP/1.1 {status}\r\nSet-Cookie: jar=hunter4\r\n\r\n");
                stream.write_all(reply.as_bytes()).unwrap();
            }
        });
        let url = server.url();
        let args = [&["--json", &url, "--reconnect", "10ms", "-v"], &flags[..]].concat();
        let ended = Wsup::spawn(&args, Stdio::null(), &[("RUST_LOG", "trace")]).end();
        let heads: Vec<String> = receiver.try_iter().collect();
        assert_eq!(server::header(&heads[1], "authorization"), Some(sent));
        assert_eq!(server::header(&heads[1], "cookie"), Some("jar=hunter4; own=hunter3"));
        let said = ended.rest.join("\n") + &ended.stderr;
        assert!(said.contains("TRACE"), "the log is on: {said}");
        assert!(!said.contains("hunter") && !said.contains("dTpodW50ZXIy"), "{said}");
        ended.is(3, "refused");
    }
}

#[test]
fn people_get_messages_on_stdout_and_words_on_stderr() {
    let url = Server::echo().url();
    let args = [&url, "--send", "hi there", "--messages", "1"];
    let ended = Wsup::spawn(&args, Stdio::null(), &[]).end();
    assert_eq!(ended.rest, ["hi there"]);
    assert!(ended.stderr.contains("open to 127.0.0.1:"), "{}", ended.stderr);
    assert!(ended.stderr.contains("closed by us"), "{}", ended.stderr);
    assert_eq!(ended.status, 0);
}

#[test]
fn logs_go_to_stderr_and_default_to_warnings() {
    let args = ["--json", "ws://127.0.0.1:1", "--reconnect", "never"];
    let logged = |env: &[(&str, &str)]| Wsup::spawn(&args, Stdio::null(), env).end();
    let default = logged(&[]);
    assert!(default.stderr.contains("WARN") && !default.stderr.contains("DEBUG"));
    assert!(logged(&[("RUST_LOG", "debug")]).stderr.contains("DEBUG"));
    let off = logged(&[("RUST_LOG", "off")]);
    assert_eq!(off.stderr, "");
    assert_eq!(parse(off.rest.last().unwrap())["event"], "stopped");
}
