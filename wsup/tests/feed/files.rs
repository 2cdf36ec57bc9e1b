//! Files of venues: those of the documents, and what tests change in them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

const DOCS: &str = include_str!("../../../docs/feed.md");

/// Returns the file below a head of the documents.
pub(crate) fn documented(head: &str) -> String {
    let behind = DOCS.split_once(&format!("\n#### {head}\n")).expect(head).1;
    let toml = behind.split_once("```toml\n").unwrap().1;
    toml.split_once("\n```").unwrap().0.to_owned()
}

/// Replaces the value of a key, where it stands first in a line of its own.
pub(crate) fn with(file: &str, key: &str, value: &str) -> String {
    let is_key = |line: &str| line.split('=').next().unwrap().trim() == key;
    let at = file.lines().position(is_key).expect(key);
    let lines = file.lines().enumerate().map(|(index, line)| match index == at {
        true => format!("{key} = {value}"),
        false => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A directory that is removed with it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("wsup-feed-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// Writes a file, and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
