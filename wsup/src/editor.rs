//! The prompt: line editing with history, on a thread of its own. Another one reads the keys.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{Receiver as Wakes, SyncSender, sync_channel};

use crossterm::event::{self, Event, KeyEvent};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::buffer::Buffer;
use crate::drawing::Drawing;
use crate::history::History;
use crate::input::{Kind, LineSender, Lines};
use crate::line::{Key, Line};
use crate::screen;
use crate::slash::{Slash, Typed};

/// How many commands, and how many interrupts, may wait to be processed. More are dropped; for a command
/// the prompt says so.
const MAX_PENDING: usize = 16;

/// How many keys may wait for the prompt. The terminal keeps further ones.
const MAX_KEYS: usize = 1024;

/// How many keys and requests are processed before the line is drawn again, if so many wait.
const MAX_BATCH: usize = 4096;

/// The input of a prompt.
pub(crate) struct Console {
    pub(crate) lines: Lines,
    pub(crate) commands: Receiver<Slash>,
    /// Each Ctrl-C.
    pub(crate) interrupts: Receiver<()>,
}

/// What the prompt's thread waits for. Who sends a request waits for the answer, so that no thread that prints
/// has more than one pending.
enum Wake {
    /// A key, a paste, or another size of the terminal.
    Event(Event),
    /// Prints these lines above the prompt.
    Print(String, SyncSender<()>),
    /// Removes the prompt and restores the terminal.
    End(SyncSender<()>),
    /// The terminal is gone.
    Gone,
}

/// Opens a prompt. Lines that cannot be sent yet may have as many bytes as the buffer. Returns `None` on
/// a terminal that cannot edit.
pub(crate) fn open(buffer: Buffer, kind: Kind, history: History) -> io::Result<Option<Console>> {
    let Ok(drawing) = Drawing::begin() else { return Ok(None) };
    let (typist, lines) = Lines::typed(buffer, kind);
    let (command, commands) = channel(MAX_PENDING);
    let (interrupt, interrupts) = channel(MAX_PENDING);
    let (wake, wakes) = sync_channel(MAX_KEYS);
    // A line that is too long for the buffer is refused as such, so it may have a byte more.
    let line = Line::new(buffer.bytes + 1, history.entries().map(str::to_owned));
    let prompt = Prompt { line, drawing, history, typist: Some(typist), command, interrupt };
    std::thread::Builder::new().name("prompt".into()).spawn(move || prompt.run(&wakes))?;
    let keys = wake.clone();
    std::thread::Builder::new().name("keys".into()).spawn(move || read_keys(&keys))?;
    let ends = wake.clone();
    screen::begin_prompt(screen::Prompt {
        print: Box::new(move |lines| {
            let (done, waits) = sync_channel(1);
            wake.send(Wake::Print(lines, done)).is_ok() && waits.recv().is_ok()
        }),
        end: Box::new(move || {
            let (done, waits) = sync_channel(1);
            if ends.send(Wake::End(done)).is_ok() {
                let _ = waits.recv();
            }
        }),
        stderr: io::stderr().is_terminal(),
    });
    Ok(Some(Console { lines, commands, interrupts }))
}

/// The thread that reads keys, until the prompt or the terminal is gone.
fn read_keys(wake: &SyncSender<Wake>) {
    loop {
        let event = event::read().map_or(Wake::Gone, Wake::Event);
        let is_gone = matches!(event, Wake::Gone);
        if wake.send(event).is_err() || is_gone {
            return;
        }
    }
}

/// The thread of the prompt.
struct Prompt {
    line: Line,
    drawing: Drawing,
    history: History,
    /// `None` after the end of the input.
    typist: Option<LineSender>,
    command: Sender<Slash>,
    interrupt: Sender<()>,
}

impl Prompt {
    /// Reads until the end of the run: after the end of the input Ctrl-C still has to work. All that waits is
    /// processed before the line is drawn, so that a long paste is not drawn for each of its characters.
    fn run(mut self, wakes: &Wakes<Wake>) {
        let mut printed = Vec::new();
        loop {
            self.drawing.line(self.line.text(), self.line.cursor());
            // A terminal that is gone is noticed by the thread that reads it.
            let _ = self.drawing.flush();
            for done in printed.drain(..) {
                let _ = SyncSender::send(&done, ());
            }
            let Ok(first) = wakes.recv() else { return };
            let more = std::iter::from_fn(|| wakes.try_recv().ok()).take(MAX_BATCH);
            for wake in std::iter::once(first).chain(more) {
                match wake {
                    Wake::Event(event) => self.obey(event),
                    Wake::Print(lines, done) => {
                        self.drawing.print(&lines);
                        printed.push(done);
                    }
                    Wake::End(done) => {
                        drop(self.drawing);
                        let _ = done.send(());
                        return;
                    }
                    Wake::Gone => return,
                }
            }
        }
    }

    fn obey(&mut self, event: Event) {
        match event {
            Event::Key(key) => self.key(key),
            Event::Paste(text) => self.paste(&text),
            Event::Resize(columns, rows) => self.drawing.resize((columns, rows)),
            _ => {}
        }
    }

    fn key(&mut self, key: KeyEvent) {
        match self.line.key(key) {
            Key::Edited => {}
            Key::Enter(line) => self.enter(line),
            // Where it is full, enough interrupts are pending.
            Key::Interrupt => drop(self.interrupt.try_send(())),
            Key::Eof => self.typist = None,
            Key::ClearScreen => self.drawing.clear_screen(),
        }
    }

    /// Inserts pasted text; each line end in it is an Enter.
    fn paste(&mut self, text: &str) {
        let text = text.replace("\r\n", "\n");
        let mut lines = text.split(['\r', '\n']);
        self.line.insert(lines.next().unwrap_or_default());
        for line in lines {
            let entered = self.line.take();
            self.enter(entered);
            self.line.insert(line);
        }
    }

    fn enter(&mut self, line: String) {
        self.drawing.entered(&line);
        if let Some(entry) = self.history.keep(&line) {
            self.line.remember(entry.to_owned());
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
            self.drawing.print(&format!("wsup: {why}\n"));
        }
    }
}
