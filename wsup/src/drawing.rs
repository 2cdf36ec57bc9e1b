//! Draws the prompt and the line that is being edited.

use std::io::{self, Write};
use std::ops::Range;

use crossterm::cursor::{MoveTo, MoveToColumn, MoveUp};
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::terminal::{self, Clear, ClearType};
use crossterm::{Command, QueueableCommand};

use crate::layout::{Layout, shown};

const PROMPT: &str = "> ";

/// The terminal, in raw mode. What is drawn is buffered until [`flush`](Drawing::flush).
pub(crate) struct Drawing {
    buffer: Vec<u8>,
    /// Columns and rows of the terminal.
    size: (u16, u16),
    /// The line that is on the terminal, with its cursor; `None` where the cursor is in an empty row.
    drawn: Option<(String, usize)>,
    /// How many rows the cursor is below the first one that is drawn.
    cursor_row: usize,
}

impl Drawing {
    /// Switches the terminal to raw mode.
    pub(crate) fn begin() -> io::Result<Drawing> {
        terminal::enable_raw_mode()?;
        let size = terminal::size().unwrap_or_default();
        let mut drawing = Drawing { buffer: Vec::new(), size: (0, 0), drawn: None, cursor_row: 0 };
        drawing.resize(size);
        drawing.queue(EnableBracketedPaste);
        Ok(drawing)
    }

    /// Writes what is buffered. Blocks while the terminal accepts nothing.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let written = out.write_all(&self.buffer).and_then(|()| out.flush());
        self.buffer.clear();
        written
    }

    /// Prints whole lines, and removes the line that is being edited until it is drawn again.
    pub(crate) fn print(&mut self, lines: &str) {
        self.clear();
        self.buffer.extend_from_slice(lines.replace('\n', "\n\r").as_bytes());
    }

    /// Leaves a line that was entered where it stands, and begins a row.
    pub(crate) fn entered(&mut self, line: &str) {
        self.line(line, line.len());
        self.buffer.extend_from_slice(b"\n\r");
        (self.drawn, self.cursor_row) = (None, 0);
    }

    /// Draws the line with its cursor, if it is not drawn already.
    pub(crate) fn line(&mut self, text: &str, cursor: usize) {
        let (columns, height) = (usize::from(self.size.0), usize::from(self.size.1));
        let layout = Layout::new(text, cursor, PROMPT.len(), columns);
        let rows = layout.rows(height);
        match &self.drawn {
            Some((drawn, at)) if drawn == text && *at == cursor => return,
            // What is typed at the end of a line is written there.
            Some((drawn, at)) if rows.start == 0 && *at == drawn.len() && cursor == text.len() => {
                match appended(text, drawn) {
                    Some(more) => self.buffer.extend_from_slice(more.as_bytes()),
                    None => self.rows(&layout, &rows, text),
                }
            }
            _ => self.rows(&layout, &rows, text),
        }
        // The row in which the terminal's cursor is now.
        let row = rows.end - 1;
        if row == layout.end.row && layout.end.column == 0 {
            // Behind a full row it stays in the last column: a character makes it go on.
            self.buffer.extend_from_slice(b" \r");
        }
        if let Ok(up @ 1..) = u16::try_from(row - layout.cursor.row) {
            self.queue(MoveUp(up));
        }
        if layout.cursor != layout.end {
            self.queue(MoveToColumn(u16::try_from(layout.cursor.column).unwrap_or_default()));
        }
        self.cursor_row = layout.cursor.row - rows.start;
        self.drawn = Some((text.to_owned(), cursor));
    }

    /// Replaces what is drawn by these rows. The cursor is behind them then.
    fn rows(&mut self, layout: &Layout, rows: &Range<usize>, text: &str) {
        self.clear();
        if rows.start == 0 {
            self.buffer.extend_from_slice(PROMPT.as_bytes());
        }
        let text = shown(&text[layout.bytes(rows, text)]);
        self.buffer.extend_from_slice(text.as_bytes());
    }

    /// Clears the whole terminal.
    pub(crate) fn clear_screen(&mut self) {
        self.queue(Clear(ClearType::All));
        self.queue(MoveTo(0, 0));
        (self.drawn, self.cursor_row) = (None, 0);
    }

    /// Adopts another size.
    pub(crate) fn resize(&mut self, (columns, rows): (u16, u16)) {
        self.clear();
        self.size = if columns == 0 || rows == 0 { (80, 24) } else { (columns, rows) };
    }

    /// Removes the line, if it is drawn.
    fn clear(&mut self) {
        if self.drawn.take().is_none() {
            return;
        }
        if let Ok(up @ 1..) = u16::try_from(self.cursor_row) {
            self.queue(MoveUp(up));
        }
        self.queue(MoveToColumn(0));
        self.queue(Clear(ClearType::FromCursorDown));
        self.cursor_row = 0;
    }

    fn queue(&mut self, command: impl Command) {
        self.buffer.queue(command).expect("a Vec takes all");
    }
}

/// Removes the line and restores the terminal.
impl Drop for Drawing {
    fn drop(&mut self) {
        self.queue(DisableBracketedPaste);
        self.clear();
        // A terminal that is gone needs neither.
        let _ = self.flush();
        let _ = terminal::disable_raw_mode();
    }
}

/// Returns what was appended to a line, if it can be written behind it: characters that join no others.
fn appended<'a>(text: &'a str, drawn: &str) -> Option<&'a str> {
    let more = text.strip_prefix(drawn)?;
    more.bytes().all(|byte| matches!(byte, b' '..=b'~')).then_some(more)
}
