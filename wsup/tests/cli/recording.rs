//! `--record` and `wsup replay`.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::process::Wsup;
use crate::server::Server;

/// A directory that is deleted at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("wsup-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Directory(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn files(&self) -> Vec<String> {
        let listed = std::fs::read_dir(&self.0).unwrap();
        let paths = listed.map(|entry| entry.unwrap().path().to_str().unwrap().to_owned());
        let mut paths: Vec<String> = paths.collect();
        paths.sort();
        paths
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_run_is_recorded_and_replayed() {
    let directory = Directory::new("record");
    let server = Server::echo();
    let args = ["--record", directory.path(), "--name", "echo", "--send", "hi", "--messages", "1"];
    let url = server.url();
    let run = Wsup::spawn(&[&args[..], &[&url]].concat(), Stdio::null(), &[]).end();
    assert_eq!((run.status, run.rest), (0, vec!["hi".to_owned()]), "{}", run.stderr);
    let files = directory.files();
    let [file] = &files[..] else { panic!("{files:?}") };
    let replayed = Wsup::spawn(&["replay", file], Stdio::null(), &[]).end();
    assert_eq!((replayed.status, replayed.rest), (0, vec!["hi".to_owned()]));
    assert_eq!(replayed.stderr, "");
    let replayed = Wsup::spawn(&["replay", "--json", file], Stdio::null(), &[]).end();
    let lines: Vec<Value> =
        replayed.rest.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["source"] == "echo"), "{lines:?}");
    let messages = lines.iter().filter(|line| line["event"] == "message");
    let messages: Vec<_> = messages.map(|line| (&line["way"], &line["data"])).collect();
    assert_eq!(
        format!("{messages:?}"),
        r#"[(String("out"), String("hi")), (String("in"), String("hi"))]"#
    );
    assert_eq!(lines.last().unwrap()["event"], "stopped");
}

#[test]
fn a_directory_or_a_file_that_cannot_be_is_refused() {
    let args = ["--record", "/dev/null/x", "ws://127.0.0.1:9/"];
    let ended = Wsup::spawn(&args, Stdio::null(), &[]).end();
    assert_eq!(ended.status, 2);
    assert!(ended.stderr.starts_with("wsup: --record: /dev/null/x: "), "{}", ended.stderr);
    let ended = Wsup::spawn(&["replay", "/dev/null/x"], Stdio::null(), &[]).end();
    assert_eq!(ended.status, 1);
    let ended = Wsup::spawn(&["replay", env!("CARGO_BIN_EXE_wsup")], Stdio::null(), &[]).end();
    assert_eq!(ended.status, 1);
    assert!(ended.stderr.contains("no whole MCAP file: Bad magic number"), "{}", ended.stderr);
}

/// The limit on the size of files stands for a full disk: both fail a write.
#[test]
fn a_full_disk_stops_nothing_and_is_reported() {
    const MESSAGES: u64 = 300;
    let directory = Directory::new("full");
    let server = Server::socket(|mut socket| {
        for number in 0..MESSAGES {
            // Does not compress well.
            let text: String =
                (0..400).map(|at| format!("{:x}", (number * 7919 + at * at * 31) % 977)).collect();
            socket.send(Message::text(format!("{number} {text}"))).unwrap();
        }
        while socket.read().is_ok() {}
    });
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$@\"";
    let ended = Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_wsup"), "--record", directory.path()])
        .args(["--messages", &MESSAGES.to_string(), &server.url()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{stderr}");
    let numbers = String::from_utf8(ended.stdout).unwrap();
    let numbers: Vec<u64> =
        numbers.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
    assert!(numbers.iter().copied().eq(0..MESSAGES), "all were printed: {numbers:?}");
    assert!(stderr.contains(" messages and events were not recorded, "), "{stderr}");
    assert!(stderr.contains("File too large"), "{stderr}");
}
