//! The prompt: line editing with history, on a thread of its own.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{SyncSender, sync_channel};

use rustyline_async::{Readline, ReadlineEvent, SharedWriter};
use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver, channel, unbounded_channel};

use crate::buffer::Buffer;
use crate::history::{self, History};
use crate::input::{Kind, LineSender, Lines};
use crate::screen;
use crate::slash::{Slash, Typed};

const PROMPT: &str = "> ";

/// How many commands, and how many interrupts, may wait to be processed. More are dropped; for a command
/// the prompt says so.
const MAX_PENDING: usize = 16;

/// The input of a prompt.
pub(crate) struct Console {
    pub(crate) lines: Lines,
    pub(crate) commands: Receiver<Slash>,
    /// Each Ctrl-C.
    pub(crate) interrupts: Receiver<()>,
}

/// A request to the prompt's thread. The sender waits for the answer, so that no thread that prints has
/// more than one pending.
enum Request {
    /// Prints these lines above the prompt.
    Print(String, SyncSender<()>),
    /// Removes the prompt and restores the terminal.
    End(SyncSender<()>),
}

/// Opens a prompt. Lines that cannot be sent yet may have as many bytes as the buffer. Returns `None` on
/// a terminal that cannot edit.
pub(crate) fn open(buffer: Buffer, kind: Kind, history: History) -> io::Result<Option<Console>> {
    let Ok((mut editor, screen)) = Readline::new(PROMPT.to_owned()) else { return Ok(None) };
    // A line that Ctrl-C discards is removed from the screen.
    editor.should_print_line_on(true, false);
    editor.set_max_history(history::MAX_ENTRIES);
    editor.set_history_entries(history.entries().map(str::to_owned));
    let (typist, lines) = Lines::typed(buffer, kind);
    let (command, commands) = channel(MAX_PENDING);
    let (interrupt, interrupts) = channel(MAX_PENDING);
    let (asks, asked) = unbounded_channel();
    let prompt =
        Prompt { editor, screen, history, typist: Some(typist), command, interrupt, asked };
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    std::thread::Builder::new()
        .name("prompt".into())
        .spawn(move || runtime.block_on(prompt.run()))?;
    let ends = asks.clone();
    screen::begin_prompt(screen::Prompt {
        print: Box::new(move |lines| {
            let (done, waits) = sync_channel(1);
            let asked = asks.send(Request::Print(lines, done));
            asked.is_ok() && waits.recv().is_ok()
        }),
        end: Box::new(move || {
            let (done, waits) = sync_channel(1);
            if ends.send(Request::End(done)).is_ok() {
                let _ = waits.recv();
            }
        }),
        stderr: io::stderr().is_terminal(),
    });
    Ok(Some(Console { lines, commands, interrupts }))
}

/// The thread of the prompt.
struct Prompt {
    editor: Readline,
    screen: SharedWriter,
    history: History,
    /// `None` after the end of the input.
    typist: Option<LineSender>,
    command: Sender<Slash>,
    interrupt: Sender<()>,
    asked: UnboundedReceiver<Request>,
}

impl Prompt {
    /// Reads until the end of the run: after the end of the input Ctrl-C still has to work.
    async fn run(mut self) {
        loop {
            let typed = tokio::select! {
                biased;
                Some(request) = self.asked.recv() => {
                    match request {
                        Request::Print(lines, done) => {
                            self.print(&lines);
                            let _ = done.send(());
                        }
                        Request::End(done) => {
                            let _ = self.editor.flush();
                            drop(self.editor);
                            let _ = done.send(());
                            return;
                        }
                    }
                    continue;
                }
                typed = self.editor.readline() => typed,
            };
            match typed {
                Ok(ReadlineEvent::Line(line)) => self.take(line),
                // Where it is full, enough interrupts are pending.
                Ok(ReadlineEvent::Interrupted) => drop(self.interrupt.try_send(())),
                Ok(ReadlineEvent::Eof) => self.typist = None,
                // The terminal is gone.
                Err(_) => return,
            }
        }
    }

    /// Prints lines above the prompt. Errors are ignored: reading notices a terminal that is gone.
    fn print(&mut self, lines: &str) {
        let _ = self.screen.write_all(lines.as_bytes());
        let _ = self.editor.flush();
        let _ = self.editor.update_prompt(PROMPT);
    }

    fn take(&mut self, line: String) {
        if let Some(entry) = self.history.keep(&line) {
            self.editor.add_history_entry(entry.to_owned());
        }
        let refused = match (Typed::parse(line), &self.typist) {
            (Err(why), _) => Some(why),
            (Ok(Typed::Command(command)), _) => {
                self.command.try_send(command).err().map(|_| "too many commands at once".into())
            }
            (Ok(Typed::Line(_)), None) => Some("not sent: the input has ended".into()),
            (Ok(Typed::Line(text)), Some(typist)) => {
                typist.put(text).err().map(|why| format!("not sent: {why}"))
            }
        };
        if let Some(why) = refused {
            self.print(&format!("wsup: {why}\n"));
        }
    }
}
