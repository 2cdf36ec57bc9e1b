//! A `wsup feed` that publishes, with a way to the broker of its own.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};

use crate::ledger::Name;
use crate::patience::until;
use crate::process::DEVELOPERS;
use crate::relay::Relay;

/// How many lines of what a process says are shown if a test fails.
const SHOWN: usize = 60;

/// A process that takes part, its place kept while it does not run.
pub(crate) struct Member {
    pub(crate) name: Name,
    file: String,
    flags: &'static [&'static str],
    relays: Vec<Relay>,
    process: Option<Child>,
    said: Arc<Mutex<VecDeque<String>>>,
}

impl Member {
    /// Prepares a process that reads the broker through relays.
    pub(crate) async fn new(
        name: Name,
        file: &str,
        ports: &[u16],
        flags: &'static [&'static str],
    ) -> Member {
        let mut relays = Vec::new();
        for &port in ports {
            relays.push(Relay::to(port).await);
        }
        let file = file.to_owned();
        Member { name, file, flags, relays, process: None, said: Arc::default() }
    }

    pub(crate) fn start(&mut self) {
        let urls: Vec<String> =
            self.relays.iter().map(|it| format!("nats://127.0.0.1:{}", it.port)).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wsup"));
        for variable in DEVELOPERS {
            command.env_remove(variable);
        }
        let mut process = command
            .args(["feed", &self.file, "--json", "--publish", &urls.join(",")])
            .args(["--close-timeout", "10s"])
            .args(self.flags)
            .env("PROCESS", format!("{:?}", self.name))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Updates stand in the stream, and topics are many.
        self.listen(process.stdout.take().unwrap(), |line| {
            !line.starts_with(r#"{"event":"data""#) && !line.starts_with(r#"{"event":"topic""#)
        });
        self.listen(process.stderr.take().unwrap(), |_| true);
        self.process = Some(process);
    }

    /// Keeps the newest lines of an output.
    fn listen(&self, output: impl Read + Send + 'static, is_shown: fn(&str) -> bool) {
        let said = self.said.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if is_shown(&line) {
                    let mut said = said.lock().unwrap();
                    said.push_back(line);
                    if said.len() > SHOWN {
                        said.pop_front();
                    }
                }
            }
        });
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.process.as_ref().expect("a process").id();
        kill_process(Pid::from_raw(id as i32).unwrap(), signal).unwrap();
    }

    /// Kills the process, as a machine that goes down does.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("a process");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Waits for the end of the process, and returns its status.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("a process");
        let mut status = None;
        until("the end of a process", async || {
            status = process.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }

    /// Fails if the process has ended.
    pub(crate) fn is_running(&mut self) {
        if let Some(Ok(Some(status))) = self.process.as_mut().map(Child::try_wait) {
            panic!("{:?} has ended: {status}", self.name);
        }
    }

    /// Cuts the process off from the broker.
    pub(crate) fn cut(&self) {
        self.relays.iter().for_each(Relay::freeze);
    }

    /// Ends that. What was on its way arrives now.
    pub(crate) fn heal(&self) {
        self.relays.iter().for_each(Relay::thaw);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.said.lock().unwrap_or_else(|err| err.into_inner());
            eprintln!("the last lines of {:?}:", self.name);
            said.iter().for_each(|line| eprintln!("  {line}"));
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
