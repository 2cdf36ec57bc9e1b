//! Writes stderr on a thread of its own, so that a stderr that is not read blocks nothing else.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many bytes may wait for stderr. Lines beyond it are dropped and counted.
const MAX_WAITING: usize = 1 << 20;

/// How long output for stdout waits for earlier lines for stderr, so that the order of both is kept where
/// they are one terminal or file.
const ORDER_TIMEOUT: Duration = Duration::from_millis(100);

/// How long the end of the process waits for lines for stderr.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// The lines that wait for the thread. A static because stderr is global too.
static WAITING: Mutex<Waiting> = Mutex::new(Waiting::new());

/// Notified when a line was added, and when one was written.
static CHANGED: Condvar = Condvar::new();

fn waiting() -> MutexGuard<'static, Waiting> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Enqueues whole lines. `write` writes them, on the thread; that of the first call counts.
pub(crate) fn put(lines: Vec<u8>, write: fn(&[u8])) {
    let mut waiting = waiting();
    if !waiting.has_thread {
        let thread = std::thread::Builder::new().name("stderr".into());
        waiting.has_thread = thread.spawn(move || run(write)).is_ok();
    }
    if waiting.has_thread {
        waiting.put(lines);
        CHANGED.notify_all();
    } else {
        drop(waiting);
        write(&lines);
    }
}

/// Waits until the lines that were enqueued before are written. A stderr that accepts nothing delays this
/// once, until all its lines are written.
pub(crate) fn settle() {
    let waiting = waiting();
    if waiting.is_stalled || waiting.written >= waiting.end() {
        return;
    }
    let (mut waiting, written) = wait(waiting, ORDER_TIMEOUT);
    waiting.is_stalled = !written;
}

/// Waits until the lines that were enqueued before are written, for a bounded time.
pub(crate) fn flush() {
    drop(wait(waiting(), FLUSH_TIMEOUT));
}

fn wait(
    waiting: MutexGuard<'static, Waiting>,
    at_most: Duration,
) -> (MutexGuard<'static, Waiting>, bool) {
    let end = waiting.end();
    let waited = CHANGED.wait_timeout_while(waiting, at_most, |waiting| waiting.written < end);
    let (waiting, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
    (waiting, !timeout.timed_out())
}

/// The thread: writes for as long as the process lives.
fn run(write: fn(&[u8])) {
    let mut waiting = waiting();
    loop {
        while let Some(lines) = waiting.take() {
            drop(waiting);
            write(&lines);
            waiting = self::waiting();
            waiting.wrote();
            CHANGED.notify_all();
        }
        waiting = CHANGED.wait(waiting).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Lines that wait to be written, in their order.
struct Waiting {
    /// Each entry is one line or more.
    entries: VecDeque<Vec<u8>>,
    /// The bytes of the entries.
    bytes: usize,
    /// How many lines were dropped behind the last entry.
    dropped: usize,
    /// How many entries were added, and how many of them were written.
    added: u64,
    written: u64,
    /// Whether output for stdout has waited in vain for these entries.
    is_stalled: bool,
    /// Whether the thread was started.
    has_thread: bool,
}

impl Waiting {
    const fn new() -> Waiting {
        Waiting {
            entries: VecDeque::new(),
            bytes: 0,
            dropped: 0,
            added: 0,
            written: 0,
            is_stalled: false,
            has_thread: false,
        }
    }

    /// Adds an entry, or drops it if there is no room. A first entry is always accepted.
    fn put(&mut self, lines: Vec<u8>) {
        let has_room = self.bytes + lines.len() <= MAX_WAITING || self.entries.is_empty();
        if !has_room {
            self.dropped += lines.iter().filter(|byte| **byte == b'\n').count();
            return;
        }
        if let Some(notice) = self.notice() {
            self.add(notice);
        }
        self.add(lines);
    }

    fn add(&mut self, lines: Vec<u8>) {
        self.bytes += lines.len();
        self.added += 1;
        self.entries.push_back(lines);
    }

    /// Removes the next entry.
    fn take(&mut self) -> Option<Vec<u8>> {
        if self.entries.is_empty()
            && let Some(notice) = self.notice()
        {
            self.add(notice);
        }
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.len();
        Some(entry)
    }

    /// Counts an entry as written.
    fn wrote(&mut self) {
        self.written += 1;
        self.is_stalled &= self.written < self.end();
    }

    /// Returns how many entries are written once nothing waits, the line about those that were dropped
    /// included.
    fn end(&self) -> u64 {
        self.added + u64::from(self.dropped > 0)
    }

    /// Returns the line about those that were dropped, if any were.
    fn notice(&mut self) -> Option<Vec<u8>> {
        let dropped = std::mem::take(&mut self.dropped);
        let notice = format!("wsup: lines dropped because stderr was not read: {dropped}\n");
        (dropped > 0).then(|| notice.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_counted_where_it_was_dropped() {
        let mut waiting = Waiting::new();
        waiting.put(vec![b'x'; MAX_WAITING]);
        waiting.put(b"one\ntwo\n".to_vec());
        waiting.put(b"three\n".to_vec());
        assert!(waiting.take().unwrap().len() == MAX_WAITING);
        waiting.put(b"four\n".to_vec());
        let notice = b"wsup: lines dropped because stderr was not read: 3\n";
        assert_eq!(waiting.take().as_deref(), Some(&notice[..]));
        assert_eq!(waiting.take().as_deref(), Some(&b"four\n"[..]));
        assert_eq!((waiting.take(), waiting.bytes), (None, 0));
    }

    #[test]
    fn an_entry_longer_than_the_bound_is_accepted_alone_and_the_last_drop_is_said() {
        let mut waiting = Waiting::new();
        waiting.put(vec![b'x'; 2 * MAX_WAITING]);
        waiting.put(b"one\n".to_vec());
        assert_eq!(waiting.end(), 2);
        assert!(waiting.take().unwrap().len() > MAX_WAITING);
        assert!(waiting.take().unwrap().ends_with(b"was not read: 1\n"));
        assert_eq!((waiting.end(), waiting.take()), (2, None));
    }
}
