//! Lines that were typed earlier, also in earlier runs if `--history` names a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::screen::eprint_line;

/// How many entries are kept; the oldest is dropped first.
pub(crate) const MAX_ENTRIES: usize = 1000;

/// The longest line that is kept, in bytes.
const MAX_ENTRY_BYTES: usize = 4096;

/// The largest file that is accepted, in bytes.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// The lines, and the file that they are appended to, if any.
pub(crate) struct History {
    entries: Vec<String>,
    file: Option<File>,
}

impl History {
    /// Reads the file, if a path is given, and creates it if it does not exist.
    pub(crate) fn open(path: Option<&Path>) -> io::Result<History> {
        let Some(path) = path else { return Ok(History { entries: Vec::new(), file: None }) };
        let entries = read(path)?;
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        // Readable by its owner only.
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(History { entries, file: Some(options.open(path)?) })
    }

    /// Returns the newest entries, the oldest of them first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(String::as_str)
    }

    /// Appends a line to the file. Returns it if it belongs in the history.
    pub(crate) fn keep<'a>(&mut self, line: &'a str) -> Option<&'a str> {
        if line.trim().is_empty() || line.len() > MAX_ENTRY_BYTES || line.contains('\n') {
            return None;
        }
        if let Some(file) = &mut self.file
            && let Err(err) = file.write_all(format!("{line}\n").as_bytes())
        {
            eprint_line(&format!("wsup: --history: {err}"));
            self.file = None;
        }
        Some(line)
    }
}

/// Reads the newest entries of a file.
fn read(path: &Path) -> io::Result<Vec<String>> {
    let mut text = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text)?,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(err),
    };
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("the file is longer than 8m"));
    }
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    let newest = &all[all.len().saturating_sub(MAX_ENTRIES)..];
    Ok(newest.iter().map(|line| (*line).to_owned()).collect())
}
