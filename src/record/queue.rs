//! The bounded queue from the connections to the thread that writes.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::record::figures::Figures;
use crate::record::item::{Contents, Item, Label};

/// The queue. The thread that writes takes all items at once, so that a connection never waits for the disk.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// The most bytes of memory that items may take, those that are being written included.
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    /// The memory of the items, and of those that are being written.
    bytes: usize,
    /// What was dropped and is not marked yet, for each track.
    dropped: BTreeMap<u32, (Arc<Label>, u64)>,
    /// Whether nothing more is accepted.
    is_closed: bool,
    /// Whether the thread that writes has ended.
    has_ended: bool,
    /// How many flushes were asked for.
    flushes_asked: u64,
    /// How many of them are done.
    flushes_done: u64,
    figures: Figures,
}

/// What the thread that writes has to do.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) items: VecDeque<Item>,
    /// The memory of the items.
    pub(super) bytes: usize,
    /// The number of flushes that were asked for so far, if one is due.
    pub(super) flush: Option<u64>,
    /// Whether nothing follows.
    pub(super) is_last: bool,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Queue {
        Queue { state: Mutex::default(), changed: Condvar::new(), limit }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an item, or drops it if there is no room or the recorder is closed.
    pub(super) fn push(&self, item: Item) {
        let cost = item.contents.cost();
        let state = &mut *self.lock();
        // One that is larger than the queue is accepted if it is alone.
        if state.is_closed || (state.bytes > 0 && state.bytes + cost > self.limit) {
            state.drop_item(&item);
            return;
        }
        if !state.dropped.is_empty()
            && let Some((label, count)) = state.dropped.remove(&item.label.id)
        {
            let mark = Item { label, contents: Contents::Dropped(count), ..item };
            state.items.push_back(mark);
        }
        let was_empty = state.items.is_empty();
        state.bytes += cost;
        state.items.push_back(item);
        if was_empty {
            self.changed.notify_all();
        }
    }

    /// Waits until there is something to do, or until a time. Takes all items.
    pub(super) fn take(&self, until: Option<Instant>) -> Work {
        let mut state = self.lock();
        loop {
            let is_due = state.flushes_asked != state.flushes_done;
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if !state.items.is_empty() || is_due || state.is_closed || left == Some(Duration::ZERO)
            {
                let flush = is_due.then_some(state.flushes_asked);
                let items = mem::take(&mut state.items);
                return Work { items, bytes: state.bytes, flush, is_last: state.is_closed };
            }
            state = match left {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Takes the marks of what was dropped, where nothing has followed it.
    pub(super) fn take_dropped(&self) -> Vec<(Arc<Label>, u64)> {
        mem::take(&mut self.lock().dropped).into_values().collect()
    }

    /// Notes that items were written or dropped: their memory is free.
    pub(super) fn release(&self, bytes: usize, update: impl FnOnce(&mut Figures)) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
        update(&mut state.figures);
    }

    /// Notes that flushes are done.
    pub(super) fn flushed(&self, flushes: u64) {
        self.lock().flushes_done = flushes;
        self.changed.notify_all();
    }

    /// Notes that the thread that writes has ended.
    pub(super) fn ended(&self) {
        let mut state = self.lock();
        (state.is_closed, state.has_ended) = (true, true);
        drop(state);
        self.changed.notify_all();
    }

    /// Accepts nothing more.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Waits until all that is queued was flushed. Returns whether it was, within the time.
    pub(super) fn flush(&self, within: Duration) -> bool {
        let mut state = self.lock();
        state.flushes_asked += 1;
        let wanted = state.flushes_asked;
        self.changed.notify_all();
        let is_waiting = |state: &mut State| state.flushes_done < wanted && !state.has_ended;
        let waited = self.changed.wait_timeout_while(state, within, is_waiting);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.flushes_done >= wanted
    }

    /// Waits until the thread that writes has ended. Returns whether it has, within the time.
    pub(super) fn wait_for_end(&self, within: Duration) -> bool {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, within, |state| !state.has_ended);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.has_ended
    }

    pub(super) fn figures(&self) -> Figures {
        let state = self.lock();
        Figures { queued_bytes: state.bytes, ..state.figures.clone() }
    }
}

impl State {
    #[cold]
    fn drop_item(&mut self, item: &Item) {
        let count = item.contents.count();
        self.figures.dropped += count;
        if !self.is_closed {
            let dropped = self.dropped.entry(item.label.id);
            dropped.or_insert_with(|| (item.label.clone(), 0)).1 += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::proto::message::Payload;

    fn item(label: &Arc<Label>, bytes: usize) -> Item {
        let payload = Payload::Binary(Bytes::from(vec![0; bytes]));
        let contents = Contents::Sent(payload);
        Item { label: label.clone(), wall: 0, at: 0, epoch: 1, contents }
    }

    fn label(id: u32) -> Arc<Label> {
        Arc::new(Label { id, name: "a".into(), source: 1 })
    }

    fn dropped(work: &Work) -> Vec<(usize, u64)> {
        let marks = work.items.iter().enumerate().filter_map(|(at, item)| match item.contents {
            Contents::Dropped(count) => Some((at, count)),
            _ => None,
        });
        marks.collect()
    }

    #[test]
    fn what_finds_no_room_is_dropped_counted_and_marked_before_the_next() {
        let (queue, label) = (Queue::new(10_000), label(0));
        for _ in 0..5 {
            queue.push(item(&label, 4000));
        }
        assert_eq!(queue.figures().dropped, 3);
        let work = queue.take(None);
        assert_eq!(work.items.len(), 2);
        queue.push(item(&label, 4000));
        assert_eq!(queue.figures().dropped, 4, "what is being written takes room too");
        queue.release(work.bytes, |_| {});
        queue.push(item(&label, 4000));
        let work = queue.take(None);
        assert_eq!((work.items.len(), dropped(&work)), (2, vec![(0, 4)]));
    }

    #[test]
    fn what_is_larger_than_the_queue_is_accepted_alone() {
        let (queue, label) = (Queue::new(1000), label(0));
        queue.push(item(&label, 5000));
        queue.push(item(&label, 1));
        assert_eq!(queue.figures().dropped, 1);
        assert_eq!(queue.take(None).items.len(), 1);
    }

    #[test]
    fn marks_of_what_nothing_follows_can_be_taken() {
        let (queue, label) = (Queue::new(1000), label(7));
        queue.push(item(&label, 900));
        queue.push(item(&label, 900));
        let marks = queue.take_dropped();
        assert_eq!(
            marks.iter().map(|(label, count)| (label.id, *count)).collect::<Vec<_>>(),
            [(7, 1)]
        );
        assert!(queue.take_dropped().is_empty());
    }
}
