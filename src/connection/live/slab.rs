//! What is read into: one chunk for all connections of a thread.

use std::cell::Cell;
use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// The size of a chunk, in bytes: the most that one read brings.
pub(super) const CHUNK: usize = 64 << 10;

/// Chunks whose messages are under way to handlers, and that are looked at again.
const MAX_LENT: usize = 8;

thread_local! {
    // Taken out while they are used, and put back: nothing is borrowed while a transport is polled.
    /// Nobody has anything in it.
    static FREE: Cell<Option<BytesMut>> = const { Cell::new(None) };
    /// Messages lie in these; oldest first.
    static LENT: Cell<VecDeque<Bytes>> = const { Cell::new(VecDeque::new()) };
}

/// An empty chunk: one that is free, or that all handlers have let go of, or a new one.
pub(super) fn take() -> BytesMut {
    let free = FREE.try_with(Cell::take).ok().flatten();
    free.or_else(reclaim).unwrap_or_else(|| BytesMut::with_capacity(CHUNK))
}

/// Gives a chunk back that nobody has anything in.
pub(super) fn put(mut chunk: BytesMut) {
    if chunk.capacity() >= CHUNK {
        chunk.clear();
        // At the end of the thread there is nowhere to keep it.
        let _ = FREE.try_with(|free| free.set(Some(chunk)));
    }
}

/// Lends a chunk out: it comes back once all of it was let go of.
pub(super) fn lend(chunk: BytesMut) -> Bytes {
    let chunk = chunk.freeze();
    with_lent(|lent| {
        if lent.len() >= MAX_LENT {
            // It belongs to the handlers from here on.
            lent.pop_front();
        }
        lent.push_back(chunk.clone());
    });
    chunk
}

fn reclaim() -> Option<BytesMut> {
    with_lent(|lent| {
        let index = lent.iter().position(Bytes::is_unique)?;
        let mut chunk = lent.remove(index)?.try_into_mut().ok()?;
        chunk.clear();
        Some(chunk)
    })
}

fn with_lent<R>(change: impl FnOnce(&mut VecDeque<Bytes>) -> R) -> R {
    let mut lent = LENT.try_with(Cell::take).unwrap_or_default();
    let result = change(&mut lent);
    let _ = LENT.try_with(|kept| kept.set(lent));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> BytesMut {
        let mut chunk = take();
        assert!(chunk.is_empty() && chunk.capacity() >= CHUNK);
        chunk.extend_from_slice(&[7; 1000]);
        chunk
    }

    #[test]
    fn a_chunk_is_used_again_once_it_was_given_back_or_let_go_of() {
        let chunk = filled();
        let place = chunk.as_ptr();
        put(chunk);
        let chunk = filled();
        assert_eq!(chunk.as_ptr(), place, "given back");
        let lent = lend(chunk);
        let kept = lent.slice(10..20);
        drop(lent);
        let other = filled();
        assert_ne!(other.as_ptr(), place, "a handler has a part of it");
        drop(kept);
        assert_eq!(filled().as_ptr(), place, "let go of");
    }

    #[test]
    fn no_more_than_a_few_chunks_are_kept_for_the_handlers() {
        let all: Vec<_> = (0..MAX_LENT + 5).map(|_| lend(filled())).collect();
        let kept = with_lent(|lent| lent.len());
        assert_eq!(kept, MAX_LENT);
        drop(all);
        for _ in 0..MAX_LENT {
            assert!(reclaim().is_some());
        }
        assert!(reclaim().is_none());
    }
}
