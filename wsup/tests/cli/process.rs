//! A running `wsup`, and what it says.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Nothing here takes as long.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the developer's environment may have and the tests must not see.
pub(crate) const DEVELOPERS: [&str; 21] = [
    "ws_proxy",
    "WS_PROXY",
    "wss_proxy",
    "WSS_PROXY",
    "NO_COLOR",
    "WSUP_USER",
    "WSUP_BEARER",
    "RUST_LOG",
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSLKEYLOGFILE",
    "WEBSOCKET_CLIENT_CA_BUNDLE",
    "WSUP_KEY_PASSWORD",
];

pub(crate) struct Wsup {
    child: Child,
    began: Instant,
    stdin: Option<ChildStdin>,
    lines: Option<Receiver<String>>,
    stderr: Option<JoinHandle<String>>,
}

/// A process that has ended.
pub(crate) struct Ended {
    pub(crate) status: i32,
    /// The lines of stdout that have not been read yet.
    pub(crate) rest: Vec<String>,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Wsup {
    /// `wsup --json` with these arguments, without input.
    pub(crate) fn json(args: &[&str]) -> Wsup {
        Wsup::spawn(&[&["--json"], args].concat(), Stdio::null(), &[])
    }

    /// `wsup --json` with these arguments and a stdin to write to.
    pub(crate) fn json_with_input(args: &[&str]) -> Wsup {
        Wsup::spawn(&[&["--json"], args].concat(), Stdio::piped(), &[])
    }

    pub(crate) fn spawn(args: &[&str], stdin: Stdio, env: &[(&str, &str)]) -> Wsup {
        let (mut wsup, mut stderr) = Wsup::with_stderr(args, stdin, env);
        wsup.stderr = Some(std::thread::spawn(move || {
            let mut words = String::new();
            stderr.read_to_string(&mut words).unwrap();
            words
        }));
        wsup
    }

    /// Like [`Wsup::spawn`], but nothing is read from stderr.
    pub(crate) fn with_stderr(
        args: &[&str],
        stdin: Stdio,
        env: &[(&str, &str)],
    ) -> (Wsup, ChildStderr) {
        let began = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wsup"));
        for variable in DEVELOPERS {
            command.env_remove(variable);
        }
        let mut child = command
            .args(args)
            .envs(env.iter().copied())
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let stdin = child.stdin.take();
        (Wsup { child, began, stdin, lines: None, stderr: None }, stderr)
    }

    fn lines(&mut self) -> &Receiver<String> {
        if self.lines.is_none() {
            let stdout = BufReader::new(self.child.stdout.take().unwrap());
            let (sender, lines) = channel();
            std::thread::spawn(move || {
                for line in stdout.lines() {
                    if sender.send(line.unwrap()).is_err() {
                        return;
                    }
                }
            });
            self.lines = Some(lines);
        }
        self.lines.as_ref().unwrap()
    }

    /// Reads stdout, and drops what is read.
    #[allow(dead_code, reason = "for feeds that are watched")]
    pub(crate) fn drain(&mut self) {
        let mut stdout = self.child.stdout.take().unwrap();
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    }

    /// The time of a core that it has taken so far.
    #[cfg(target_os = "linux")]
    #[allow(dead_code, reason = "for the page")]
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split(' ').collect();
        // In hundredths of a second, as Linux shows them to every program.
        let ticks: u64 = [fields[12], fields[13]].iter().map(|it| it.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// The memory of its own that it has, in KiB.
    #[cfg(target_os = "linux")]
    #[allow(dead_code, reason = "for feeds that are published")]
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The next line of stdout.
    pub(crate) fn line(&mut self) -> String {
        self.lines().recv_timeout(PATIENCE).expect("a line of stdout")
    }

    /// The next line, which is this event, byte for byte; `#` stands for a number.
    pub(crate) fn expect(&mut self, pattern: &str) -> Value {
        let line = self.line();
        assert_like(&line, pattern);
        parse(&line)
    }

    /// The next event of this kind. Others are passed over.
    pub(crate) fn until(&mut self, kind: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let event = parse(&self.line());
            if event["event"] == kind {
                return event;
            }
            assert!(Instant::now() < deadline, "no {kind}, but {event}");
        }
    }

    /// Writes a line to stdin.
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.stdin.take().unwrap()
    }

    /// Ends the input.
    pub(crate) fn eof(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn close_stdout(&mut self) {
        // Only before the first line was read from it: after that a thread holds it.
        drop(self.child.stdout.take().unwrap());
    }

    /// Reads one line by hand and closes stdout behind it.
    pub(crate) fn read_one_and_close(&mut self) -> String {
        let mut stdout = self.child.stdout.take().unwrap();
        let (mut line, mut byte) = (Vec::new(), [0]);
        while stdout.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(status.unwrap().success());
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end, reading what is left.
    pub(crate) fn end(mut self) -> Ended {
        self.stdin = None;
        if self.child.stdout.is_some() {
            self.lines();
        }
        self.end_unread()
    }

    /// Waits for the end without reading stdout, unless that was begun.
    pub(crate) fn end_unread(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "wsup does not end");
            std::thread::sleep(Duration::from_millis(2));
        };
        let took = self.began.elapsed();
        let rest: Vec<String> =
            self.lines.take().map(|lines| lines.iter().collect()).unwrap_or_default();
        let stderr = self.stderr.take().map(|words| words.join().unwrap()).unwrap_or_default();
        Ended { status: status.code().expect("no end by a signal"), rest, stderr, took }
    }
}

impl Drop for Wsup {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Checks the exit status, that every line is JSON, and that `stopped` is the last one and
    /// says this.
    pub(crate) fn is(&self, status: i32, outcome: &str) {
        let events: Vec<Value> = self.rest.iter().map(|line| parse(line)).collect();
        let stopped = events.last().expect("a last line");
        assert_eq!(stopped["event"], "stopped", "{:?}", self.rest);
        assert_eq!(stopped["outcome"], outcome, "{:?}", self.rest);
        assert_eq!(self.status, status, "{}", self.stderr);
    }

    /// Checks the lines that were left, byte for byte.
    pub(crate) fn rest_is(&self, patterns: &[&str]) {
        for (line, pattern) in self.rest.iter().zip(patterns) {
            assert_like(line, pattern);
        }
        assert_eq!(self.rest.len(), patterns.len(), "{:?}", self.rest);
    }
}

pub(crate) fn parse(line: &str) -> Value {
    let event: Value = serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: {line}"));
    assert!(event.is_object(), "{line}");
    event
}

/// Compares byte for byte, but for `#`, which stands for a number.
pub(crate) fn assert_like(line: &str, pattern: &str) {
    let mut rest = line;
    for (index, part) in pattern.split('#').enumerate() {
        if index > 0 {
            let number = rest.len()
                - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
            assert!(number > 0, "no number\n  in {line}\nlike {pattern}");
            rest = &rest[number..];
        }
        rest = rest
            .strip_prefix(part)
            .unwrap_or_else(|| panic!("\n     is {line}\nbut not {pattern}"));
    }
    assert!(rest.is_empty(), "\n     is {line}\nbut not {pattern}");
}
