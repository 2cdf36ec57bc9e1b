//! A `wsup` on a pseudo-terminal, and the user who types there.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};

use crate::process::DEVELOPERS;

/// Nothing here takes as long.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const CTRL_C: &str = "\u{3}";
pub(crate) const CTRL_D: &str = "\u{4}";
pub(crate) const ENTER: &str = "\r";
pub(crate) const UP: &str = "\u{1b}[A";

pub(crate) struct Terminal {
    pty: Pty,
    child: Child,
    chunks: Receiver<Vec<u8>>,
    /// What was shown and not looked at yet.
    shown: String,
}

impl Terminal {
    /// Runs `wsup` with these arguments.
    pub(crate) fn wsup(args: &[&str]) -> Terminal {
        Terminal::run(env!("CARGO_BIN_EXE_wsup"), args, &[])
    }

    pub(crate) fn run(program: &str, args: &[&str], env: &[(&str, &str)]) -> Terminal {
        let (pty, pts) = open().unwrap();
        pty.resize(Size::new(50, 200)).unwrap();
        let mut command = Command::new(program);
        for variable in DEVELOPERS {
            command = command.env_remove(variable);
        }
        let command = command.args(args).env("TERM", "xterm").envs(env.iter().copied());
        let child = command.spawn(pts).unwrap();
        let mut output = File::from(pty.as_fd().try_clone_to_owned().unwrap());
        let (sender, chunks) = channel();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // At the end of the process a terminal gives an error, not an end.
            while let Ok(length @ 1..) = output.read(&mut chunk) {
                if sender.send(chunk[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal { pty, child, chunks, shown: String::new() }
    }

    /// Types.
    pub(crate) fn types(&mut self, keys: &str) {
        self.pty.write_all(keys.as_bytes()).unwrap();
    }

    /// Types a line.
    pub(crate) fn enters(&mut self, line: &str) {
        self.types(&(line.to_owned() + ENTER));
    }

    /// Waits until this is shown; gives what was shown before it.
    pub(crate) fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.shown.find(text) {
                let before = self.shown[..at].to_owned();
                self.shown.drain(..at + text.len());
                return before;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.chunks.recv_timeout(left) {
                Ok(chunk) => self.shown += &String::from_utf8(chunk).expect("no character is cut"),
                Err(_) => panic!("not shown: {text:?}, but {:?}", self.shown),
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for the end: the exit status, and what was shown and not looked at.
    pub(crate) fn end(mut self) -> (i32, String) {
        let deadline = Instant::now() + PATIENCE;
        // The output ends with the process; reading it keeps it from being blocked.
        while let Ok(chunk) =
            self.chunks.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.shown += &String::from_utf8_lossy(&chunk);
        }
        assert!(Instant::now() < deadline, "wsup does not end: {:?}", self.shown);
        let status = self.child.wait().unwrap();
        (status.code().expect("no end by a signal"), std::mem::take(&mut self.shown))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
