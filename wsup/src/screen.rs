//! Writes output to stdout and stderr, or above the prompt while there is one.

use std::io::{self, Write};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::secrets::Secrets;
use crate::stderr;

/// The functions of a prompt that output needs.
pub(crate) struct Prompt {
    /// Prints whole lines above the prompt. Returns `false` if the prompt is gone.
    pub(crate) print: Box<dyn FnMut(String) -> bool + Send>,
    /// Removes the prompt.
    pub(crate) end: Box<dyn FnOnce() + Send>,
    /// Whether stderr is a terminal too, so that its lines are printed above the prompt.
    pub(crate) stderr: bool,
}

/// The prompt, while there is one. A static because stdout and stderr are global too.
static PROMPT: Mutex<Option<Prompt>> = Mutex::new(None);

fn prompt() -> MutexGuard<'static, Option<Prompt>> {
    PROMPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends further output for stdout above this prompt, and that for stderr too if it is a terminal.
pub(crate) fn begin_prompt(new: Prompt) {
    *prompt() = Some(new);
}

/// Removes the prompt, if there is one, after all pending output. A terminal that accepts no output
/// delays this by at most [`END_PROMPT_TIMEOUT`], after that of [`stderr::flush`].
pub(crate) fn end_prompt() {
    stderr::flush();
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

/// How long removing the prompt may take.
const END_PROMPT_TIMEOUT: Duration = Duration::from_millis(500);

/// Prints above the prompt. Returns `false` if there is none.
fn above(lines: &[u8], stderr: bool) -> bool {
    match &mut *prompt() {
        Some(prompt) if prompt.stderr || !stderr => {
            (prompt.print)(String::from_utf8_lossy(lines).into_owned())
        }
        _ => false,
    }
}

/// Writes whole lines to stdout and flushes them.
pub(crate) fn out(lines: &[u8]) -> io::Result<()> {
    stderr::settle();
    if above(lines, false) {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    out.write_all(lines).and_then(|()| out.flush())
}

/// Enqueues a line for stderr. One that there is no room for is dropped; errors are ignored.
pub(crate) fn eprint_line(words: &str) {
    stderr::put(format!("{words}\n").into_bytes(), err);
}

/// Writes lines to stderr. Blocks while it accepts none.
fn err(lines: &[u8]) {
    if !above(lines, true) {
        let _ = io::stderr().write_all(lines);
    }
}

/// The writer of the log, to stderr, without these secrets. Each write is one whole line.
pub(crate) struct Log(pub(crate) Secrets);

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        stderr::put(self.0.hide(&String::from_utf8_lossy(line)).into_bytes(), err);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
