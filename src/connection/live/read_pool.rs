//! The pool of read buffers, one for each thread: all connections of a thread read into the same chunk.

use std::cell::RefCell;
use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// The capacity of a chunk in bytes: the most that one read returns.
pub(super) const CHUNK: usize = 64 << 10;

/// How many shared chunks the pool watches, so that it can use them again.
const MAX_SHARED: usize = 8;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool::new()) };
}

/// Takes an empty chunk out of the thread's pool, or allocates one. The caller owns it, so that nothing is borrowed
/// while a transport is polled.
pub(super) fn take() -> BytesMut {
    // After the thread's destructors have run there is no pool.
    let pooled = POOL.try_with(|pool| pool.borrow_mut().take()).ok().flatten();
    pooled.unwrap_or_else(|| BytesMut::with_capacity(CHUNK))
}

/// Puts a chunk back into the thread's pool.
pub(super) fn put(chunk: BytesMut) {
    let _ = POOL.try_with(|pool| pool.borrow_mut().put(chunk));
}

/// Freezes a chunk for the messages in it. The pool uses it again once all of them are dropped.
pub(super) fn share(chunk: BytesMut) -> Bytes {
    let chunk = chunk.freeze();
    let _ = POOL.try_with(|pool| pool.borrow_mut().watch(chunk.clone()));
    chunk
}

/// The chunks of a thread that are not being read into.
struct Pool {
    /// A chunk that nothing refers to.
    free: Option<BytesMut>,
    /// Chunks that messages refer to, oldest first.
    shared: VecDeque<Bytes>,
}

impl Pool {
    const fn new() -> Pool {
        Pool { free: None, shared: VecDeque::new() }
    }

    fn take(&mut self) -> Option<BytesMut> {
        self.free.take().or_else(|| self.reclaim())
    }

    fn put(&mut self, mut chunk: BytesMut) {
        // A chunk that was split has less capacity, and would make for shorter reads.
        if chunk.capacity() >= CHUNK {
            chunk.clear();
            self.free = Some(chunk);
        }
    }

    fn watch(&mut self, chunk: Bytes) {
        if self.shared.len() >= MAX_SHARED {
            // The oldest is freed by its last message, and not used again.
            self.shared.pop_front();
        }
        self.shared.push_back(chunk);
    }

    /// Takes back a chunk whose messages are all dropped.
    fn reclaim(&mut self) -> Option<BytesMut> {
        let index = self.shared.iter().position(Bytes::is_unique)?;
        let mut chunk = self.shared.remove(index)?.try_into_mut().ok()?;
        chunk.clear();
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pool: &mut Pool) -> BytesMut {
        let mut chunk = pool.take().unwrap_or_else(|| BytesMut::with_capacity(CHUNK));
        assert!(chunk.is_empty() && chunk.capacity() >= CHUNK);
        chunk.extend_from_slice(&[7; 1000]);
        chunk
    }

    #[test]
    fn a_chunk_is_used_again_once_nothing_refers_to_it() {
        let mut pool = Pool::new();
        let chunk = filled(&mut pool);
        let address = chunk.as_ptr();
        pool.put(chunk);
        let chunk = filled(&mut pool).freeze();
        assert_eq!(chunk.as_ptr(), address, "put back");
        pool.watch(chunk.clone());
        let message = chunk.slice(10..20);
        drop(chunk);
        assert_ne!(filled(&mut pool).as_ptr(), address, "a message refers to it");
        drop(message);
        assert_eq!(filled(&mut pool).as_ptr(), address, "all messages are dropped");
    }

    #[test]
    fn the_pool_watches_a_few_chunks_and_no_more() {
        let mut pool = Pool::new();
        let all: Vec<_> = (0..MAX_SHARED + 5).map(|_| filled(&mut pool).freeze()).collect();
        all.iter().for_each(|chunk| pool.watch(chunk.clone()));
        drop(all);
        for _ in 0..MAX_SHARED {
            assert!(pool.reclaim().is_some());
        }
        assert!(pool.reclaim().is_none());
    }

    #[test]
    fn a_thread_has_one_pool() {
        let chunk = take();
        let address = chunk.as_ptr();
        put(chunk);
        let shared = share(take());
        assert_eq!(shared.as_ptr(), address);
        drop(shared);
        assert_eq!(take().as_ptr(), address);
    }
}
