//! Directories of these tests.

use std::path::{Path, PathBuf};

/// A directory that is removed with it, unless the test has failed.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster");
        let path = path.join(format!("{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        match std::thread::panicking() {
            true => eprintln!("kept for a look: {}", self.0.display()),
            false => drop(std::fs::remove_dir_all(&self.0)),
        }
    }
}
