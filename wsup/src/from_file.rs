//! Values of flags from files: `@path` is the content of the file, `@@text` is `@text`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Reads the bytes of a flag's value. A file may have at most `limit` bytes.
///
/// # Errors
/// Why the file cannot be read. The text never repeats the value: it may be a secret that only looks
/// like a path.
pub(crate) fn bytes(given: &str, limit: usize) -> Result<Vec<u8>, String> {
    let Some(path) = given.strip_prefix('@') else { return Ok(given.as_bytes().to_vec()) };
    if path.starts_with('@') {
        return Ok(path.as_bytes().to_vec());
    }
    read(Path::new(path), limit, "its file")
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// Why it cannot be read, without its path. The text calls it `what`.
pub(crate) fn read(path: &Path, limit: usize, what: &str) -> Result<Vec<u8>, String> {
    let mut value = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut value));
    read.map_err(|err: io::Error| format!("cannot read {what}: {err}"))?;
    if value.len() > limit {
        return Err(format!("{what} is longer than {limit} bytes"));
    }
    Ok(value)
}

/// Reads a value of one line or more like [`bytes()`], and removes the end of the last line.
pub(crate) fn line(given: &str) -> Result<String, String> {
    let mut value =
        String::from_utf8(bytes(given, MAX_LINE_FILE_BYTES)?).map_err(|_| "not UTF-8")?;
    let end = value.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).len());
    if let Some(end) = end.filter(|_| given.starts_with('@')) {
        value.truncate(end);
    }
    Ok(value)
}

/// The largest file with a header, a password or a URL.
const MAX_LINE_FILE_BYTES: usize = 64 << 10;
