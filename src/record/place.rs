//! Which file of which recording a file is.

use std::collections::BTreeMap;

/// The place of a file in its recording. It is in the file's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// A random number, the same in all files of a recorder.
    pub(crate) recording: u64,
    /// The number of the file in the recording, from 1.
    pub(crate) file: u32,
}

impl Place {
    /// Creates the place of the first file of a new recording.
    pub(super) fn first() -> Place {
        Place { recording: rand::random(), file: 1 }
    }

    /// Returns the place of the file that follows.
    pub(super) fn next(self) -> Place {
        Place { file: self.file.saturating_add(1), ..self }
    }

    /// Adds it to the metadata of a file.
    pub(super) fn write(self, metadata: &mut BTreeMap<String, String>) {
        metadata.insert("recording".to_owned(), format!("{:016x}", self.recording));
        metadata.insert("file".to_owned(), self.file.to_string());
    }

    /// Reads it from the metadata of a file; `None` if it is not there: earlier versions wrote none.
    pub(super) fn read(metadata: &BTreeMap<String, String>) -> Option<Place> {
        let recording = u64::from_str_radix(metadata.get("recording")?, 16).ok()?;
        Some(Place { recording, file: metadata.get("file")?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let mut metadata = BTreeMap::from([("format".to_owned(), "1".to_owned())]);
        assert_eq!(Place::read(&metadata), None);
        let second = Place { recording: 0xab, file: 1 }.next();
        second.write(&mut metadata);
        assert_eq!(metadata["recording"], "00000000000000ab");
        assert_eq!(metadata["file"], "2");
        assert_eq!(Place::read(&metadata), Some(Place { recording: 0xab, file: 2 }));
    }

    #[test]
    fn each_recording_has_a_number_of_its_own_and_begins_with_file_1() {
        let (one, other) = (Place::first(), Place::first());
        assert_ne!(one.recording, other.recording);
        assert_eq!((one.file, one.next().recording), (1, one.recording));
    }
}
