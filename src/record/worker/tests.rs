use std::io::Write;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::proto::message::Payload;
use crate::record::entry::What;
use crate::record::reader::Reader;

/// A file on a disk that has room for so many bytes.
struct Limited {
    file: File,
    room: usize,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let count = bytes.len().min(self.room);
        self.room -= count;
        self.file.write(&bytes[..count])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Output for Limited {
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}

/// A directory that is deleted at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("record-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Directory(path)
    }

    /// Returns all entries of all files, in order.
    fn entries(&self) -> Vec<What> {
        let listed = std::fs::read_dir(&self.0).expect("a directory");
        let mut paths: Vec<_> = listed.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        let readers = paths.iter().map(|path| Reader::open(path).expect("it opens"));
        // A damaged file ends where the disk was full.
        readers.flat_map(|reader| reader.map_while(Result::ok)).map(|entry| entry.what).collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const LIMITS: Limits = Limits {
    file_bytes: 1 << 20,
    file_age: Duration::from_secs(3600),
    keep_bytes: 1 << 30,
    flush_every: Duration::from_millis(1),
    queue_bytes: 1 << 20,
    sync: Sync::Never,
};

fn worker(directory: &Directory, limits: Limits) -> (Worker, Arc<Queue>) {
    let queue = Arc::new(Queue::new(limits.queue_bytes));
    let files = Files::open(directory.0.clone(), "a".to_owned()).expect("a directory");
    (Worker::begin(limits, files, queue.clone()).expect("a file"), queue)
}

/// A message of its own text, which does not compress.
fn message(number: u64) -> Item {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let mut bytes: Vec<u8> = noise.take(12).flatten().collect();
    bytes.extend_from_slice(&number.to_le_bytes());
    let label = Arc::new(Label { id: 0, name: "a".into(), source: 1 });
    let contents = Contents::Sent(Payload::Binary(Bytes::from(bytes)));
    Item { label, wall: number, at: number, epoch: 1, contents }
}

/// Checks that numbers are in order, and returns how many there are and how many are marked as dropped.
fn count(entries: &[What]) -> (u64, u64) {
    let (mut messages, mut dropped, mut last) = (0, 0, None);
    for entry in entries {
        match entry {
            What::Sent(payload) => {
                let bytes = payload.as_bytes();
                let number = bytes[bytes.len() - 8..].try_into().map(u64::from_le_bytes).ok();
                assert!(last < number, "{number:?} after {last:?}");
                (last, messages) = (number, messages + 1);
            }
            What::Dropped(count) => dropped += count,
            other => panic!("{other:?}"),
        }
    }
    (messages, dropped)
}

#[test]
fn files_are_completed_by_their_size_and_the_oldest_are_deleted() {
    let directory = Directory::new("rotation");
    let limits = Limits { file_bytes: 8 << 10, keep_bytes: 64 << 10, ..LIMITS };
    let (worker, queue) = worker(&directory, limits);
    let thread = std::thread::spawn(|| worker.run());
    for number in 0..2000 {
        queue.push(message(number));
        if number % 20 == 0 {
            assert!(queue.flush(Duration::from_secs(10)));
        }
    }
    queue.close();
    thread.join().expect("it ends");
    let figures = queue.figures();
    assert_eq!((figures.written, figures.dropped, figures.queued_bytes), (2000, 0, 0));
    assert!(figures.deleted > 0 && figures.files > figures.deleted, "{figures:?}");
    let total: u64 = std::fs::read_dir(&directory.0)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").metadata().expect("a file").len())
        .sum();
    assert!(total <= limits.keep_bytes, "{total} bytes");
    let (messages, dropped) = count(&directory.entries());
    assert!(messages > 200 && dropped == 0, "{messages} messages, {dropped} dropped");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whenever the disk is full: what was flushed can be read, the rest is counted, and what follows once there is
    /// room is recorded behind a mark.
    #[test]
    fn a_full_disk_loses_what_was_not_flushed_and_counts_it(
        room in 0usize..30_000,
        flushes in prop::collection::vec(1u64..60, 1..8),
    ) {
        let directory = Directory::new(&format!("full-{room}"));
        let (mut worker, queue) = worker(&directory, LIMITS);
        let mut room = Some(room);
        worker.delay = Duration::ZERO;
        // The first file alone: there is room for the next.
        worker.wrap = Box::new(move |file| match room.take() {
            Some(room) => Box::new(Limited { file, room }),
            None => Box::new(file),
        });
        let thread = std::thread::spawn(|| worker.run());
        let mut pushed = 0;
        for count in flushes {
            for _ in 0..count {
                queue.push(message(pushed));
                pushed += 1;
            }
            prop_assert!(queue.flush(Duration::from_secs(10)), "a full disk stops nothing");
        }
        queue.push(message(pushed));
        queue.close();
        thread.join().expect("it ends");
        let figures = queue.figures();
        let (messages, dropped) = count(&directory.entries());
        prop_assert_eq!(figures.written + figures.dropped, pushed + 1);
        prop_assert!(messages >= figures.written, "{} of {} can be read", messages, figures.written);
        prop_assert!(dropped <= figures.dropped);
        prop_assert!(messages + figures.dropped > pushed);
    }
}

#[test]
fn a_warning_comes_once_a_minute_and_names_what_was_dropped() {
    let mut warnings = Warnings::default();
    let now = Instant::now();
    assert!(!warnings.is_due(0, now, false), "nothing was dropped");
    assert!(warnings.is_due(3, now, false));
    assert!(!warnings.is_due(9, now + WARN_EVERY / 2, false));
    assert!(warnings.is_due(9, now + WARN_EVERY, false));
    assert!(!warnings.is_due(9, now + WARN_EVERY * 3, false), "no more since");
    assert!(warnings.is_due(10, now + WARN_EVERY * 3 + Duration::from_secs(1), true), "the last");
}
