//! Values from files, and what is sent as what.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc::channel;

use tokio_tungstenite::tungstenite::Message;

use crate::process::Wsup;
use crate::server::{self, Server};

/// A file that goes away.
struct Kept(PathBuf);

impl Kept {
    fn new(name: &str, text: impl AsRef<[u8]>) -> Kept {
        let path = std::env::temp_dir().join(format!("wsup-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Kept(path)
    }

    /// As it stands behind a flag.
    fn at(&self) -> String {
        format!("@{}", self.0.display())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Returns the messages that a server receives from a run with these arguments, up to a number.
fn received(args: &[&str], input: &[u8], count: usize) -> Vec<Message> {
    let (sender, receiver) = channel();
    let server = Server::socket(move |mut socket| {
        while let Ok(message) = socket.read() {
            if !message.is_close() {
                sender.send(message).unwrap();
            }
        }
    });
    let mut wsup = Wsup::json_with_input(&[args, &[&server.url()]].concat());
    wsup.stdin().write_all(input).unwrap();
    let got = (0..count).map(|_| receiver.recv().unwrap()).collect();
    wsup.signal("INT");
    wsup.end().is(0, "closed");
    got
}

#[test]
fn a_message_can_stand_in_a_file() {
    let file = Kept::new("message", "two\nlines\n");
    let (on_open, send) = (file.at(), file.at());
    let args = ["--on-open", &on_open, "--send", &send, "-t", "@@home", "--text", "a@b"];
    let texts = ["two\nlines\n", "two\nlines\n", "@home", "a@b"].map(Message::text);
    assert_eq!(received(&args, b"", 4), texts);
}

#[test]
fn binary_makes_binary_messages_of_lines_and_texts_and_files() {
    let file = Kept::new("bytes", [0, 255, b'\n']);
    let args = ["--binary", "--send", &file.at(), "--on-open", "hi"];
    let expected = [&b"hi"[..], &[0, 255, b'\n'], &[0xff, b'x'], b"line"];
    assert_eq!(received(&args, b"\xffx\nline\n", 4), expected.map(Message::binary));
}

#[test]
fn messages_go_out_in_fragments_where_they_are_asked_for() {
    let (sender, receiver) = channel();
    let server = Server::raw(move |mut stream| {
        for _ in 0..3 {
            let mut head = [0; 6];
            stream.read_exact(&mut head).unwrap();
            let length = head[1] & 0x7f;
            stream.read_exact(&mut vec![0; length.into()]).unwrap();
            sender.send((head[0], length)).unwrap();
        }
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    });
    let args = ["--fragments", "4", "--send", "ten bytes.", "--close-timeout", "0"];
    let wsup = Wsup::json(&[&args[..], &[&server.url()]].concat());
    let frames: Vec<_> = receiver.iter().take(3).collect();
    assert_eq!(frames, [(0x01, 4), (0x00, 4), (0x80, 2)]);
    wsup.signal("INT");
    wsup.end().is(0, "closed");
    // Each fragment has a header of six bytes.
    let args = ["--fragments", "1", "--send", "ten bytes.", "--send-buffer", "69", "ws://h/"];
    let ended = Wsup::json(&args).end();
    assert_eq!((ended.status, ended.rest.len()), (2, 0), "{}", ended.stderr);
}

#[test]
fn text_that_is_no_utf8_is_taken_where_it_is_asked_for() {
    let server = || {
        Server::raw(|mut stream| {
            stream.write_all(b"\x81\x02\xc3\x28\x81\x02\xc3\xa9\x82\x01a").unwrap();
            std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
        })
    };
    let args = ["--skip-utf8", "--messages", "3", "--close-timeout", "0"];
    let ended = Wsup::json(&[&args[..], &[&server().url()]].concat()).end();
    for (line, end) in ended.rest[1..].iter().zip([
        r#""type":"binary","base64":"wyg="}"#,
        r#""type":"text","data":"é"}"#,
        r#""type":"binary","base64":"YQ=="}"#,
    ]) {
        assert!(line.ends_with(end), "{:?}", ended.rest);
    }
    ended.is(0, "closed");
    let ended = Wsup::json(&["--reconnect", "never", &server().url()]).end();
    ended.is(1, "failed");
}

#[test]
fn header_lines_can_stand_in_a_file_and_in_a_list() {
    let (sender, receiver) = channel();
    let server = Server::run(move |listener| {
        sender.send(server::read_head(&mut listener.accept().unwrap().0)).unwrap();
    });
    let file = Kept::new("headers", "X-One: 1\r\n\nX-Two: @2\n");
    let args = [&server.url(), "-H", &file.at(), "-H", "X-Three: @x", "--headers", "A: 4, B: 5"];
    let ended = Wsup::json(&[&args[..], &["--reconnect", "never"]].concat()).end();
    ended.is(1, "failed");
    let head = receiver.recv().unwrap();
    for (name, value) in
        [("x-one", "1"), ("x-two", "@2"), ("x-three", "@x"), ("a", "4"), ("b", "5")]
    {
        assert_eq!(server::header(&head, name), Some(value), "{head}");
    }
}

#[test]
fn credentials_can_stand_in_a_file_or_in_the_environment() {
    let authorization = |args: &[&str], env: &[(&str, &str)]| {
        let (sender, receiver) = channel();
        let server = Server::run(move |listener| {
            sender.send(server::read_head(&mut listener.accept().unwrap().0)).unwrap();
        });
        let url = server.url();
        let args = [&["--json", "--reconnect", "never", &url], args].concat();
        let ended = Wsup::spawn(&args, Stdio::null(), env).end();
        ended.is(1, "failed");
        let head = receiver.recv().unwrap();
        server::header(&head, "authorization").map(str::to_owned)
    };
    let (basic, bearer) = (Some("Basic dTpodW50ZXIy".to_owned()), Some("Bearer abc".to_owned()));
    let (pair, token) = (Kept::new("pair", "u:hunter2\n"), Kept::new("token", "abc\r\n"));
    assert_eq!(authorization(&["--user", &pair.at()], &[]), basic);
    assert_eq!(authorization(&["--bearer", &token.at()], &[]), bearer);
    assert_eq!(authorization(&[], &[("WSUP_USER", "u:hunter2")]), basic);
    assert_eq!(authorization(&[], &[("WSUP_BEARER", "abc")]), bearer);
    // A flag counts more.
    assert_eq!(authorization(&["--bearer", "abc"], &[("WSUP_USER", "u:hunter2")]), bearer);
    for env in
        [&[("WSUP_USER", "u:hunter2"), ("WSUP_BEARER", "abc")][..], &[("WSUP_USER", "hunter2")]]
    {
        let ended = Wsup::spawn(&["ws://127.0.0.1:1"], Stdio::null(), env).end();
        assert_eq!((ended.status, ended.rest.len()), (2, 0));
        assert!(ended.stderr.contains("WSUP_USER"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    }
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_refused_by_its_name() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::process::Command;

    let value = OsStr::from_bytes(b"u:hunter2\xff");
    let keys = |name| format!("{}/../tests/tls/keys/{name}", env!("CARGO_MANIFEST_DIR"));
    let (cert, key) = (keys("ec.pem"), keys("ec-scrypt.pem"));
    let cert = ["--cert", &cert, "--key", &key];
    for (name, flags) in
        [("WSUP_USER", &[][..]), ("WSUP_BEARER", &[]), ("WSUP_KEY_PASSWORD", &cert)]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wsup"));
        let command = command.args(["ws://127.0.0.1:1", "--no-proxy", "*", "--reconnect", "never"]);
        let ended = command.args(flags).env(name, value).stdin(Stdio::null()).output().unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert_eq!((ended.status.code(), ended.stdout.len()), (Some(2), 0), "{stderr}");
        assert!(stderr.contains(&format!("{name}: not UTF-8")), "{stderr}");
        assert!(!stderr.contains("hunter2"), "{stderr}");
    }
}

#[test]
fn a_proxy_can_stand_in_a_file() {
    let (sender, receiver) = channel();
    let proxy = Server::run(move |listener| {
        sender.send(server::read_head(&mut listener.accept().unwrap().0)).unwrap();
    });
    let file = Kept::new("proxy", format!("http://u:hunter2@127.0.0.1:{}\n", proxy.port));
    let args = ["--proxy", &file.at(), "ws://host.invalid/", "--reconnect", "never"];
    Wsup::json(&args).end().is(1, "failed");
    let head = receiver.recv().unwrap();
    assert!(head.starts_with("CONNECT host.invalid:80 "), "{head}");
    assert!(server::header(&head, "proxy-authorization").is_some(), "{head}");
}

#[test]
fn a_file_that_cannot_be_the_value_is_told_of_by_its_flag_alone() {
    let long = Kept::new("long", vec![b'x'; 70_000]);
    let bytes = Kept::new("not-text", [0xff]);
    let (long, bytes) = (long.at(), bytes.at());
    for (args, named) in [
        (&["--send", "@/no/such/hunter2"][..], "--send: cannot read its file"),
        (&["--on-open", "@/no/such/hunter2"], "--on-open"),
        (&["-H", "@/no/such/hunter2"], "--header"),
        (&["--proxy", "@/no/such/hunter2"], "--proxy"),
        (&["--send", &bytes], "--binary"),
        (&["-H", &long], "--header: its file is longer than 65536 bytes"),
        (&["--send", &long, "--send-buffer", "64k"], "--send"),
        (&["-H", &bytes], "--header"),
        (&["--raw"], "--json"),
        (&["--retry-on", "1006"], "--retry-on"),
        (&["--give-up-on", "never"], "--give-up-on"),
        (&["--color", "blue"], "--color"),
        (&["--completions", "tcl"], "--completions"),
    ] {
        let ended = Wsup::json(&[&["ws://127.0.0.1:1"], args].concat()).end();
        assert_eq!((ended.status, ended.rest.len()), (2, 0), "{args:?}");
        assert!(ended.stderr.contains(named), "{args:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("hunter2"), "{args:?}: {}", ended.stderr);
    }
}
