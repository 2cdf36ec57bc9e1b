//! The files of a recorder: their names, their creation, and the deletion of the oldest.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The directory of a recorder.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    /// The beginning of each file's name.
    name: String,
    /// The number of the newest file.
    number: u32,
}

/// The end of each file's name.
const SUFFIX: &str = ".mcap";

impl Files {
    /// Creates the directory if it is missing.
    pub(super) fn open(directory: PathBuf, name: String) -> io::Result<Files> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&directory).map_err(|err| with_path(&err, &directory))?;
        Ok(Files { directory, name, number: 0 })
    }

    /// Creates the next file, which only the user of the process may read.
    pub(super) fn create(&mut self) -> io::Result<(PathBuf, File)> {
        let time = stamp(SystemTime::now());
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        loop {
            self.number = self.number.wrapping_add(1);
            let name = format!("{}-{time}-{:06}{SUFFIX}", self.name, self.number);
            let path = self.directory.join(name);
            match options.open(&path) {
                Ok(file) => return Ok((path, file)),
                // That of another process, begun in the same second.
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
                Err(err) => return Err(with_path(&err, &path)),
            }
        }
    }

    /// Deletes the oldest files until all together have at most `keep` bytes, but never `current`. Returns how many
    /// were deleted.
    pub(super) fn limit(&self, keep: u64, current: Option<&Path>) -> io::Result<u64> {
        let mut files = self.list()?;
        // The names begin with the time.
        files.sort();
        let mut total: u64 = files.iter().map(|(_, bytes)| bytes).sum();
        let mut deleted = 0;
        for (path, bytes) in files {
            if total <= keep {
                break;
            }
            if current != Some(&*path) {
                fs::remove_file(&path).map_err(|err| with_path(&err, &path))?;
                total -= bytes;
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    /// Returns all files of the name, and their sizes.
    fn list(&self) -> io::Result<Vec<(PathBuf, u64)>> {
        let mut files = Vec::new();
        for entry in
            fs::read_dir(&self.directory).map_err(|err| with_path(&err, &self.directory))?
        {
            let entry = entry?;
            let name = entry.file_name();
            let rest = name.to_str().and_then(|name| name.strip_prefix(&self.name));
            if rest.is_some_and(is_ours) {
                // It may have been deleted meanwhile.
                let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
                files.push((entry.path(), bytes));
            }
        }
        Ok(files)
    }
}

/// Whether this is what follows the name of a recorder in the name of its file: `-20260131T235900Z-000001.mcap`.
fn is_ours(rest: &str) -> bool {
    let Some(rest) = rest.strip_suffix(SUFFIX) else { return false };
    let shape: String =
        rest.chars().map(|sign| if sign.is_ascii_digit() { '0' } else { sign }).collect();
    // The number has more digits once there were a million files.
    shape.trim_end_matches('0') == "-00000000T000000Z-"
}

/// Writes a time as `20260131T235900Z`.
fn stamp(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Returns year, month and day of a number of days since 1970, in the Gregorian calendar. The year is counted from
/// March, so that a leap day is its last.
fn date(days: u64) -> (u64, u64, u64) {
    // Days since 1 March of the year 0. Each 400 years have as many days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Five months from March on have 153 days, and so have the next five.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

fn with_path(err: &io::Error, path: &Path) -> io::Error {
    io::Error::new(err.kind(), format!("{}: {err}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_is_written_as_its_date() {
        for (seconds, expected) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (951_868_800, "20000301T000000Z"),
            (1_769_903_940, "20260131T235900Z"),
            (4_107_542_399, "21000228T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(stamp(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn files_of_others_are_not_ours() {
        assert!(is_ours("-20260131T235900Z-000001.mcap"));
        assert!(is_ours("-20260131T235900Z-1000000.mcap"));
        for other in ["", ".mcap", "-x-20260131T235900Z-000001.mcap", "-20260131T235900Z-000001"] {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[test]
    fn the_oldest_files_are_deleted_and_never_the_current_one() {
        let directory = std::env::temp_dir().join(format!("record-files-{}", std::process::id()));
        let mut files = Files::open(directory.clone(), "a".to_owned()).expect("a directory");
        let made: Vec<PathBuf> = (0..4)
            .map(|_| {
                let (path, file) = files.create().expect("a file");
                file.set_len(100).expect("it grows");
                path
            })
            .collect();
        let other = directory.join("a-notes.mcap");
        fs::write(&other, [0; 1000]).expect("it is written");
        assert_eq!(files.limit(250, Some(&made[0])).expect("it deletes"), 2);
        assert_eq!(
            made.iter().map(|path| path.exists()).collect::<Vec<_>>(),
            [true, false, false, true]
        );
        assert!(other.exists());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(&made[0]).expect("it exists").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::remove_dir_all(directory).expect("it is deleted");
    }
}
