//! Where output goes: to stdout and stderr, or above the prompt while a line is edited.

use std::io::{self, Write};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A prompt, and how output gets past it.
pub(crate) struct Prompt {
    /// Prints whole lines above the prompt; `false` where there is none any more.
    pub(crate) print: Box<dyn FnMut(String) -> bool + Send>,
    /// Takes the prompt away.
    pub(crate) end: Box<dyn FnOnce() + Send>,
    /// Whether stderr is a terminal too. Else its lines go there.
    pub(crate) stderr: bool,
}

/// The prompt, while there is one. Of the process, as stdout and stderr are.
static PROMPT: Mutex<Option<Prompt>> = Mutex::new(None);

fn prompt() -> MutexGuard<'static, Option<Prompt>> {
    PROMPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on all that is for stdout goes above this prompt, and what is for stderr if that is a
/// terminal.
pub(crate) fn begin_prompt(new: Prompt) {
    *prompt() = Some(new);
}

/// Takes the prompt away, if there is one, behind all that was printed. A terminal that takes no
/// output holds that up no longer than [`END_PROMPT_TIMEOUT`].
pub(crate) fn end_prompt() {
    let (done, waits) = sync_channel(1);
    std::thread::spawn(move || {
        let taken = prompt().take();
        if let Some(prompt) = taken {
            (prompt.end)();
        }
        let _ = done.send(());
    });
    let _ = waits.recv_timeout(END_PROMPT_TIMEOUT);
}

/// How long the prompt may take to leave the screen.
const END_PROMPT_TIMEOUT: Duration = Duration::from_millis(500);

/// Prints above the prompt; `false` where there is none.
fn above(lines: &[u8], stderr: bool) -> bool {
    match &mut *prompt() {
        Some(prompt) if prompt.stderr || !stderr => {
            (prompt.print)(String::from_utf8_lossy(lines).into_owned())
        }
        _ => false,
    }
}

/// Writes whole lines to stdout, at once.
pub(crate) fn out(lines: &[u8]) -> io::Result<()> {
    if above(lines, false) {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    out.write_all(lines).and_then(|()| out.flush())
}

/// Writes words for people to stderr, as a line. If nobody is there to read them, so be it.
pub(crate) fn eprint_line(words: &str) {
    err(format!("{words}\n").as_bytes());
}

fn err(lines: &[u8]) {
    if !above(lines, true) {
        let _ = io::stderr().write_all(lines);
    }
}

/// The log's way to stderr. Each write is one whole line of it.
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        err(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
