//! Whether the files of a recording follow each other, or some are missing.

use std::path::Path;

use crate::record::Place;

/// The newest file that was read, with its place in its recording. Files of earlier versions have none, and are taken to follow.
#[derive(Debug, Default)]
pub(super) struct Order {
    newest: Option<(Place, String)>,
    /// What is missing before what is replayed.
    missing: Option<String>,
}

impl Order {
    /// Notes the next file. The error says why it does not follow, which has to do with what is replayed if anything was.
    pub(super) fn handle_file(
        &mut self,
        path: &Path,
        place: Option<Place>,
        is_replaying: bool,
    ) -> Result<(), String> {
        let Some(place) = place else { return Ok(()) };
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let next = place.file;
        let missing = match self.newest.replace((place, name.clone())) {
            Some((newest, before)) if newest.recording == place.recording => {
                let last = newest.file;
                missing(last, next).map(|what| {
                    format!("{what}: {before} is file {last}, and {name} is file {next}")
                })
            }
            Some(_) if is_replaying => {
                Some(format!("{name} is a file of another recording: replay its files apart"))
            }
            _ => {
                self.missing = None;
                (next > 1)
                    .then(|| format!("{name} is its file {next}, and no earlier one is there"))
            }
        };
        match missing {
            Some(why) if is_replaying => return Err(why),
            Some(why) => self.missing = Some(why),
            None => {}
        }
        Ok(())
    }

    /// Returns the recording of the newest file, if anything is missing in it.
    pub(super) fn incomplete(&self) -> Option<u64> {
        let (place, _) = self.newest.as_ref().filter(|_| self.missing.is_some())?;
        Some(place.recording)
    }

    /// Says what is missing before what is replayed, behind a colon, if anything is.
    pub(super) fn missing(&self) -> String {
        let Some(missing) = &self.missing else { return String::new() };
        format!(
            ": {missing}. A feed is replayed from its start, and `keep_bytes` (`--record-keep`) deletes the oldest files"
        )
    }
}

/// Says which files are missing between two; `None` if the second one follows the first.
fn missing(last: u32, next: u32) -> Option<String> {
    let (from, to) = (last.saturating_add(1), next.saturating_sub(1));
    match next {
        _ if next <= last => Some("the files are not in their order".to_owned()),
        _ if from > to => None,
        _ if from == to => Some(format!("file {from} of the recording is missing")),
        _ => Some(format!("files {from} to {to} of the recording are missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads files of these recordings and numbers while nothing is replayed, and then the last one while something is.
    fn read(files: &[(u64, u32)], last: Option<(u64, u32)>) -> (Result<(), String>, Order) {
        let mut order = Order::default();
        let mut read = |(recording, file): (u64, u32), is_replaying| {
            let path = format!("dir/{recording}-{file}.mcap");
            order.handle_file(Path::new(&path), Some(Place { recording, file }), is_replaying)
        };
        files.iter().for_each(|file| assert_eq!(read(*file, false), Ok(())));
        let last = last.map_or(Ok(()), |last| read(last, true));
        (last, order)
    }

    #[test]
    fn files_that_follow_each_other_are_in_order() {
        let (last, order) = read(&[(7, 1), (7, 2)], Some((7, 3)));
        assert_eq!((last, order.incomplete(), &*order.missing()), (Ok(()), None, ""));
        let mut unknown = Order::default();
        assert_eq!(unknown.handle_file(Path::new("a.mcap"), None, true), Ok(()));
        assert_eq!((unknown.incomplete(), &*unknown.missing()), (None, ""));
    }

    #[test]
    fn what_is_missing_in_a_replay_is_an_error() {
        let gap = "of the recording";
        for (last, next, expected) in [
            (
                1,
                (7, 3),
                format!("file 2 {gap} is missing: 7-1.mcap is file 1, and 7-3.mcap is file 3"),
            ),
            (
                1,
                (7, 5),
                format!(
                    "files 2 to 4 {gap} are missing: 7-1.mcap is file 1, and 7-5.mcap is file 5"
                ),
            ),
            (
                2,
                (7, 2),
                "the files are not in their order: 7-2.mcap is file 2, and 7-2.mcap is file 2"
                    .to_owned(),
            ),
            (
                3,
                (7, 2),
                "the files are not in their order: 7-3.mcap is file 3, and 7-2.mcap is file 2"
                    .to_owned(),
            ),
            (
                1,
                (8, 2),
                "8-2.mcap is a file of another recording: replay its files apart".to_owned(),
            ),
        ] {
            assert_eq!(read(&[(7, last)], Some(next)).0, Err(expected));
        }
    }

    #[test]
    fn what_is_missing_before_a_replay_is_said() {
        let end = ". A feed is replayed from its start, and `keep_bytes` (`--record-keep`) deletes the oldest files";
        for (files, incomplete, expected) in [
            (
                &[(7, 3), (7, 4)][..],
                Some(7),
                ": 7-3.mcap is its file 3, and no earlier one is there",
            ),
            (
                &[(7, 1), (7, 3)],
                Some(7),
                ": file 2 of the recording is missing: 7-1.mcap is file 1, and 7-3.mcap is file 3",
            ),
            (&[(7, 3), (8, 2)], Some(8), ": 8-2.mcap is its file 2, and no earlier one is there"),
            (&[(7, 3), (8, 1)], None, ""),
        ] {
            let (_, order) = read(files, None);
            assert_eq!(order.incomplete(), incomplete);
            let end = if expected.is_empty() { "" } else { end };
            assert_eq!(order.missing(), format!("{expected}{end}"));
        }
    }
}
