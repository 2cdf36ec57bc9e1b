//! Values that stand in a file: `@path` behind a flag is what is in the file, `@@text` is `@text`.

use std::fs::File;
use std::io::{self, Read};

/// The bytes that are meant by what stands behind a flag, at limit so many.
///
/// # Errors
/// Why the file cannot be the value, in words that do not repeat what was given: it may be a secret
/// that only looks like a path.
pub(crate) fn bytes(given: &str, limit: usize) -> Result<Vec<u8>, String> {
    let Some(path) = given.strip_prefix('@') else { return Ok(given.as_bytes().to_vec()) };
    if path.starts_with('@') {
        return Ok(path.as_bytes().to_vec());
    }
    let mut value = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut value));
    read.map_err(|err: io::Error| format!("cannot read its file: {err}"))?;
    if value.len() > limit {
        return Err(format!("its file is longer than {limit} bytes"));
    }
    Ok(value)
}

/// As [`bytes()`], for a value of one line or more: without the end of the last line.
pub(crate) fn line(given: &str) -> Result<String, String> {
    let mut value =
        String::from_utf8(bytes(given, MAX_LINE_FILE_BYTES)?).map_err(|_| "not UTF-8")?;
    let end = value.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).len());
    if let Some(end) = end.filter(|_| given.starts_with('@')) {
        value.truncate(end);
    }
    Ok(value)
}

/// The longest file that a header, a password or a URL can stand in.
const MAX_LINE_FILE_BYTES: usize = 64 << 10;
