//! What was typed before, also in an earlier run if `--history` names a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::screen::eprint_line;

/// How many entries are kept.
pub(crate) const MAX_ENTRIES: usize = 1000;

/// A longer line is not kept.
const MAX_ENTRY_BYTES: usize = 4096;

/// A longer file is not read, nor added to.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// Lines that were typed before, and the file that they are kept in, if any.
pub(crate) struct History {
    entries: Vec<String>,
    file: Option<File>,
}

impl History {
    /// Reads the file, if one is wanted, and makes it where there is none.
    pub(crate) fn open(path: Option<&Path>) -> io::Result<History> {
        let Some(path) = path else { return Ok(History { entries: Vec::new(), file: None }) };
        let entries = read(path)?;
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        // For nobody else to read.
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(History { entries, file: Some(options.open(path)?) })
    }

    /// The newest entries, from the oldest of them.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(String::as_str)
    }

    /// Writes a line to the file; gives it back if it is one to be kept.
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

/// The newest entries of a file.
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
