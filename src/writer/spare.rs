//! The buffer of a thread's last write, which serves the next one.

use std::cell::Cell;

use bytes::BytesMut;

/// A larger buffer is freed after the write, and not kept as the thread's spare.
pub(super) const MAX_SPARE_CAPACITY: usize = 256 << 10;

thread_local! {
    // A writer owns a buffer only while bytes wait: 10,000 idle connections need one, not 10,000. The
    // spare saves each write an allocation.
    static SPARE: Cell<Option<BytesMut>> = const { Cell::new(None) };
}

/// Takes the thread's spare buffer, or returns one without memory.
pub(super) fn take_spare() -> BytesMut {
    SPARE.try_with(Cell::take).ok().flatten().unwrap_or_default()
}

/// Makes an empty buffer the thread's spare, unless the thread has a larger one.
pub(super) fn keep_spare(buf: BytesMut) {
    if buf.capacity() > MAX_SPARE_CAPACITY {
        return;
    }
    // After the thread's destructors have run there is no spare.
    let _ = SPARE.try_with(|spare| {
        let other = spare.take().filter(|other| other.capacity() > buf.capacity());
        spare.set(Some(other.unwrap_or(buf)));
    });
}
