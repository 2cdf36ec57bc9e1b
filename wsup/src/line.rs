//! A line that is being edited at the prompt: its text, the cursor, and the earlier lines that arrows recall.

use std::collections::VecDeque;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use unicode_segmentation::UnicodeSegmentation;

use crate::history::MAX_ENTRIES;

/// The line.
pub(crate) struct Line {
    text: String,
    /// The byte before which the next character is inserted, always between two graphemes.
    cursor: usize,
    /// The most bytes that the text may have; what does not fit is dropped.
    max_bytes: usize,
    /// Earlier lines, the newest last.
    entries: VecDeque<String>,
    /// The earlier line that is shown, if one is.
    recalled: Option<usize>,
}

/// What a key asks for, beside a change of the line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// Nothing else.
    Edited,
    /// Send this line.
    Enter(String),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D.
    Eof,
    /// Ctrl-L.
    ClearScreen,
}

impl Line {
    /// Creates an empty line.
    pub(crate) fn new(max_bytes: usize, entries: impl Iterator<Item = String>) -> Line {
        let mut line = Line {
            text: String::new(),
            cursor: 0,
            max_bytes,
            entries: VecDeque::new(),
            recalled: None,
        };
        entries.for_each(|entry| line.remember(entry));
        line
    }

    /// Returns the text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the byte of the text at which the cursor is.
    pub(crate) fn cursor(&self) -> usize {
        self.cursor
    }

    /// Adds a line to those that arrows recall. The oldest is dropped beyond [`MAX_ENTRIES`].
    pub(crate) fn remember(&mut self, entry: String) {
        self.recalled = None;
        if self.entries.back() != Some(&entry) {
            self.entries.push_back(entry);
            if self.entries.len() > MAX_ENTRIES {
                self.entries.pop_front();
            }
        }
    }

    /// Inserts text before the cursor.
    pub(crate) fn insert(&mut self, text: &str) {
        let room = self.max_bytes.saturating_sub(self.text.len()).min(text.len());
        let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        self.text.insert_str(self.cursor, &text[..end]);
        self.cursor += end;
        // A character may have joined the grapheme behind it.
        if self.cursor < self.text.len() {
            self.cursor = self.boundary_from(self.cursor);
        }
    }

    /// Takes the line, and begins a new one.
    pub(crate) fn take(&mut self) -> String {
        (self.cursor, self.recalled) = (0, None);
        std::mem::take(&mut self.text)
    }

    /// Obeys a key.
    pub(crate) fn key(&mut self, key: KeyEvent) -> Key {
        if key.kind == KeyEventKind::Release {
            return Key::Edited;
        }
        // Ctrl and Alt together are a level of many keyboards.
        if key.modifiers == KeyModifiers::CONTROL {
            return self.control(key.code);
        }
        match key.code {
            KeyCode::Char(c) => self.insert(c.encode_utf8(&mut [0; 4])),
            KeyCode::Enter => return Key::Enter(self.take()),
            KeyCode::Backspace => self.remove(self.before(), self.cursor),
            KeyCode::Delete => self.remove(self.cursor, self.behind()),
            KeyCode::Left => self.cursor = self.before(),
            KeyCode::Right => self.cursor = self.behind(),
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.cursor = self.text.len(),
            KeyCode::Up => self.recall_older(),
            KeyCode::Down => self.recall_newer(),
            _ => {}
        }
        Key::Edited
    }

    fn control(&mut self, code: KeyCode) -> Key {
        match code {
            KeyCode::Char('c') => {
                self.take();
                return Key::Interrupt;
            }
            KeyCode::Char('d') => return Key::Eof,
            KeyCode::Char('l') => return Key::ClearScreen,
            // Enter, as Ctrl-J types it.
            KeyCode::Char('j') => return Key::Enter(self.take()),
            KeyCode::Char('a') => self.cursor = 0,
            KeyCode::Char('e') => self.cursor = self.text.len(),
            KeyCode::Char('u') => self.remove(0, self.cursor),
            KeyCode::Char('k') => self.text.truncate(self.cursor),
            KeyCode::Char('w') => self.remove(self.word_before(), self.cursor),
            KeyCode::Left => self.cursor = self.word_before(),
            KeyCode::Right => self.cursor = self.word_behind(),
            _ => {}
        }
        Key::Edited
    }

    fn remove(&mut self, from: usize, to: usize) {
        self.text.drain(from..to);
        self.cursor = from;
    }

    /// Returns the start of the grapheme before the cursor.
    fn before(&self) -> usize {
        let last = self.text[..self.cursor].grapheme_indices(true).next_back();
        last.map_or(0, |(at, _)| at)
    }

    /// Returns the end of the grapheme behind the cursor.
    fn behind(&self) -> usize {
        let next = self.text[self.cursor..].graphemes(true).next();
        self.cursor + next.map_or(0, str::len)
    }

    /// Returns the first end of a grapheme at this byte or behind it.
    fn boundary_from(&self, at: usize) -> usize {
        let mut ends = self.text.grapheme_indices(true).map(|(start, it)| start + it.len());
        ends.find(|end| *end >= at).unwrap_or(self.text.len())
    }

    /// Returns the start of the word before the cursor.
    fn word_before(&self) -> usize {
        let text = self.text[..self.cursor].trim_end_matches(' ');
        text.rfind(' ').map_or(0, |space| space + 1)
    }

    /// Returns the end of the word behind the cursor.
    fn word_behind(&self) -> usize {
        let text = &self.text[self.cursor..];
        let word = text.len() - text.trim_start_matches(' ').len();
        self.cursor + text[word..].find(' ').map_or(text.len(), |space| word + space)
    }

    fn recall_older(&mut self) {
        let newest = self.entries.len().checked_sub(1);
        if let Some(at) = self.recalled.map_or(newest, |at| Some(at.saturating_sub(1))) {
            self.recall(at);
        }
    }

    fn recall_newer(&mut self) {
        match self.recalled {
            Some(at) if at + 1 < self.entries.len() => self.recall(at + 1),
            Some(_) => drop(self.take()),
            None => {}
        }
    }

    fn recall(&mut self, at: usize) {
        self.text.clone_from(&self.entries[at]);
        (self.cursor, self.recalled) = (self.text.len(), Some(at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types; `<` and `>` move, `^` and `_` recall, `~` deletes back, `|` enters.
    fn typed(line: &mut Line, keys: &str) -> Vec<String> {
        let codes = keys.chars().map(|c| match c {
            '<' => KeyCode::Left,
            '>' => KeyCode::Right,
            '^' => KeyCode::Up,
            '_' => KeyCode::Down,
            '~' => KeyCode::Backspace,
            '|' => KeyCode::Enter,
            c => KeyCode::Char(c),
        });
        let acts: Vec<Key> = codes.map(|code| line.key(code.into())).collect();
        let entered = acts.into_iter().filter_map(|act| match act {
            Key::Enter(line) => Some(line),
            _ => None,
        });
        entered.collect()
    }

    fn new() -> Line {
        Line::new(100, std::iter::empty())
    }

    #[test]
    fn keys_edit_where_the_cursor_is() {
        for (keys, line) in [
            ("abc|", "abc"),
            ("ac<b|", "abc"),
            ("abc<<~|", "bc"),
            ("<>~a>b|", "ab"),
            // A flag of two characters is one to the user, and so is a letter with its accent.
            ("a\u{1f1e9}\u{1f1ea}<<b|", "ba\u{1f1e9}\u{1f1ea}"),
            ("xe\u{301}~y|", "xy"),
        ] {
            assert_eq!(typed(&mut new(), keys), [line], "{keys}");
        }
    }

    #[test]
    fn control_keys_remove_and_move_by_words() {
        let control = |line: &mut Line, code| line.key(KeyEvent::new(code, KeyModifiers::CONTROL));
        let mut line = new();
        typed(&mut line, "one two  three ");
        control(&mut line, KeyCode::Char('w'));
        assert_eq!(line.text(), "one two  ");
        control(&mut line, KeyCode::Left);
        assert_eq!(line.cursor(), 4);
        control(&mut line, KeyCode::Right);
        assert_eq!(line.cursor(), 7);
        control(&mut line, KeyCode::Char('k'));
        assert_eq!(line.text(), "one two");
        control(&mut line, KeyCode::Left);
        control(&mut line, KeyCode::Char('u'));
        assert_eq!((line.text(), line.cursor()), ("two", 0));
        assert_eq!(control(&mut line, KeyCode::Char('d')), Key::Eof);
        assert_eq!(control(&mut line, KeyCode::Char('c')), Key::Interrupt);
        assert_eq!(line.text(), "");
    }

    #[test]
    fn arrows_recall_earlier_lines() {
        let mut line = Line::new(100, ["a", "b", "b"].map(str::to_owned).into_iter());
        assert_eq!(typed(&mut line, "^|"), ["b"]);
        assert_eq!(typed(&mut line, "^^^|"), ["a"]);
        assert_eq!(typed(&mut line, "^^_|"), ["b"]);
        assert_eq!(typed(&mut line, "^_x|"), ["x"]);
        assert_eq!(typed(&mut line, "x^~c|"), ["c"]);
    }

    #[test]
    fn a_line_grows_to_its_bound() {
        let mut line = Line::new(5, std::iter::empty());
        line.insert("abcdé");
        assert_eq!(line.text(), "abcd");
        line.insert("xyz");
        assert_eq!(typed(&mut line, "z|"), ["abcdx"]);
    }
}
