//! Where the characters of a line stand on a terminal.

use std::borrow::Cow;
use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// A place on the terminal: the row, counted from that of the prompt, and the column, both from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) row: usize,
    pub(crate) column: usize,
}

/// The rows of a line, behind a prompt.
pub(crate) struct Layout {
    /// The byte with which each row begins; the first is 0.
    starts: Vec<usize>,
    /// The place of the cursor.
    pub(crate) cursor: Place,
    /// The place behind the last character: the start of a row of its own if the last one is full.
    pub(crate) end: Place,
}

impl Layout {
    /// Lays a text out in rows of this many columns. `indent` is the width of the prompt.
    pub(crate) fn new(text: &str, cursor: usize, indent: usize, columns: usize) -> Layout {
        let columns = columns.max(1);
        let (mut starts, mut column) = (vec![0], indent);
        let mut place = None;
        for (at, grapheme) in text.grapheme_indices(true) {
            let width = shown(grapheme).width();
            if column + width > columns && column > 0 {
                starts.push(at);
                column = 0;
            }
            if at == cursor {
                place = Some(Place { row: starts.len() - 1, column });
            }
            column += width;
        }
        if column >= columns {
            starts.push(text.len());
            column = 0;
        }
        let end = Place { row: starts.len() - 1, column };
        Layout { starts, cursor: place.unwrap_or(end), end }
    }

    /// Returns the rows that are shown on a screen of this height: all if they fit, otherwise those up to
    /// the cursor's.
    pub(crate) fn rows(&self, height: usize) -> Range<usize> {
        let height = height.max(1);
        let first = (self.cursor.row + 1).saturating_sub(height);
        first..(first + height).min(self.starts.len())
    }

    /// Returns the bytes of the text that stand in these rows.
    pub(crate) fn bytes(&self, rows: &Range<usize>, text: &str) -> Range<usize> {
        self.starts[rows.start]..self.starts.get(rows.end).copied().unwrap_or(text.len())
    }
}

/// Returns a text as it is shown: control characters as `^A`, those beyond ASCII as U+FFFD.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        match c {
            '\0'..'\x20' | '\x7f' => shown.extend(['^', char::from(c as u8 ^ 0x40)]),
            _ if c.is_control() => shown.push('\u{fffd}'),
            _ => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(text: &str, cursor: usize) -> (Vec<usize>, (usize, usize), (usize, usize)) {
        let Layout { starts, cursor, end } = Layout::new(text, cursor, 2, 5);
        (starts, (cursor.row, cursor.column), (end.row, end.column))
    }

    #[test]
    fn a_row_is_as_wide_as_the_terminal() {
        assert_eq!(layout("", 0), (vec![0], (0, 2), (0, 2)));
        assert_eq!(layout("ab", 1), (vec![0], (0, 3), (0, 4)));
        // A full row ends at the start of the next.
        assert_eq!(layout("abc", 3), (vec![0, 3], (1, 0), (1, 0)));
        assert_eq!(layout("abcd", 3), (vec![0, 3], (1, 0), (1, 1)));
        // A wide character is not cut.
        assert_eq!(layout("ab\u{4e2d}", 2), (vec![0, 2], (1, 0), (1, 2)));
        assert_eq!(layout("\u{1}b\t", 1), (vec![0, 2], (0, 4), (1, 2)));
    }

    #[test]
    fn of_a_line_higher_than_the_screen_the_rows_up_to_the_cursor_are_shown() {
        let text = "x".repeat(23);
        let rows = |cursor, height| Layout::new(&text, cursor, 2, 5).rows(height);
        assert_eq!(rows(23, 10), 0..6);
        assert_eq!(rows(23, 3), 3..6);
        assert_eq!(rows(0, 3), 0..3);
        assert_eq!(rows(10, 3), 0..3);
        assert_eq!(rows(23, 0), 5..6);
        let layout = Layout::new(&text, 0, 2, 5);
        assert_eq!(layout.bytes(&(0..3), &text), 0..13);
        assert_eq!(layout.bytes(&(3..6), &text), 13..23);
    }

    #[test]
    fn control_characters_do_not_control() {
        assert_eq!(shown("a\x1b[2J\x7f\u{9b}é"), "a^[[2J^?\u{fffd}é");
    }
}
