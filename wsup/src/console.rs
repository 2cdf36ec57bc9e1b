//! The source of the lines, a prompt or stdin, and the commands of a prompt.

use std::io;

use actix::Addr;
use actix_ws_client::{Connection, command};
use tokio::sync::mpsc;

use crate::args::Args;
use crate::editor;
use crate::history::History;
use crate::human;
use crate::input::Lines;
use crate::screen::eprint_line;
use crate::signals::Signals;
use crate::slash::{HELP, Slash, TypedPings};

/// The lines, and the commands where there is a prompt.
pub(crate) struct Input {
    pub(crate) lines: Lines,
    pub(crate) commands: Option<mpsc::Receiver<Slash>>,
}

impl Input {
    /// Starts to read: at a prompt if there is a history, otherwise from stdin.
    pub(crate) fn begin(
        args: &Args,
        history: Option<History>,
        signals: &mut Signals,
    ) -> io::Result<Input> {
        let (buffer, kind) = (args.buffer(), args.kind());
        let console = match history {
            Some(history) => editor::open(buffer, kind, history)?,
            None => None,
        };
        let Some(console) = console else {
            return Ok(Input { lines: Lines::read(buffer, kind)?, commands: None });
        };
        signals.and_typed(console.interrupts);
        Ok(Input { lines: console.lines, commands: Some(console.commands) })
    }
}

/// Executes the commands of a prompt.
pub(crate) struct Commands {
    pub(crate) connection: Addr<Connection>,
    pub(crate) asked: TypedPings,
    /// `None` where there is no prompt.
    pub(crate) typed: Option<mpsc::Receiver<Slash>>,
}

impl Commands {
    /// Returns the next command. Without a prompt it never completes.
    pub(crate) async fn next(&mut self) -> Slash {
        if let Some(typed) = &mut self.typed
            && let Some(slash) = typed.recv().await
        {
            return slash;
        }
        std::future::pending().await
    }

    /// Executes a command. Its answer is printed later. Returns the command for the connection if it is
    /// `/close`.
    pub(crate) fn obey(&self, slash: Slash) -> Option<command::Close> {
        let connection = self.connection.clone();
        match slash {
            Slash::Close(close) => return Some(close),
            Slash::Help => eprint_line(HELP),
            Slash::Ping(payload) => {
                self.asked.put(payload.clone());
                actix::spawn(async move {
                    let sent = connection.send(command::Ping { payload }).await;
                    report("/ping", sent.map(|sent| sent.map(|_| ())));
                });
            }
            Slash::Reconnect => {
                actix::spawn(async move {
                    report("/reconnect", connection.send(command::Reconnect).await);
                });
            }
            Slash::Status => {
                actix::spawn(async move {
                    match connection.send(command::Status).await {
                        Ok(status) => eprint_line(&format!("wsup {}", human::status(&status))),
                        Err(err) => eprint_line(&format!("wsup: /status: {err}")),
                    }
                });
            }
        }
        None
    }
}

/// Prints the error of a command that failed.
fn report<E: std::fmt::Display>(command: &str, done: Result<Result<(), E>, actix::MailboxError>) {
    match done {
        Ok(Ok(())) => {}
        Ok(Err(err)) => eprint_line(&format!("wsup: {command}: {err}")),
        Err(err) => eprint_line(&format!("wsup: {command}: {err}")),
    }
}
