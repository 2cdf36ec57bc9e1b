//! The thread that writes: it takes items from the queue, and decides when a chunk or a file is complete.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::record::files::Files;
use crate::record::item::{Contents, Item, Label};
use crate::record::limits::{Limits, Sync};
use crate::record::place::Place;
use crate::record::queue::{Queue, Work};
use crate::record::segment::{Output, Segment};

/// What the thread owns.
pub(super) struct Worker {
    limits: Limits,
    files: Files,
    queue: Arc<Queue>,
    /// Wraps each new file.
    wrap: Box<dyn FnMut(File) -> Box<dyn Output> + Send>,
    /// The first file, created by the caller of `start`.
    first: Option<(PathBuf, File)>,
    /// The place of the file that is begun next.
    place: Place,
    /// What was dropped here, and is not marked yet.
    dropped: BTreeMap<u32, Dropped>,
    /// When a file may be begun again after the disk failed.
    retry_at: Option<Instant>,
    /// The time between two such attempts.
    delay: Duration,
    warnings: Warnings,
}

/// What was dropped of one track.
struct Dropped {
    label: Arc<Label>,
    count: u64,
    /// The clocks at the newest of it.
    wall: u64,
    at: u64,
}

/// When to warn of what was dropped.
#[derive(Default)]
struct Warnings {
    /// The time of the last warning.
    last: Option<Instant>,
    /// The count that it named.
    count: u64,
}

/// Notifies those that wait that the thread has ended, also by a panic.
struct End(Arc<Queue>);

/// The time between two attempts to begin a file after the disk failed, at first.
const MIN_DELAY: Duration = Duration::from_secs(1);
/// The same, at most.
const MAX_DELAY: Duration = Duration::from_secs(30);
/// The time between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(60);

impl Worker {
    /// Creates the first file, so that a wrong directory is an error of the caller's.
    pub(super) fn begin(limits: Limits, mut files: Files, queue: Arc<Queue>) -> io::Result<Worker> {
        let first = files.create()?;
        let wrap = Box::new(|file| Box::new(file) as Box<dyn Output>);
        Ok(Worker {
            limits: Limits { file_bytes: limits.file_bytes.min(limits.keep_bytes / 4), ..limits },
            files,
            queue,
            wrap,
            first: Some(first),
            place: Place::first(),
            dropped: BTreeMap::new(),
            retry_at: None,
            delay: MIN_DELAY,
            warnings: Warnings::default(),
        })
    }

    /// Writes until the recorder is closed.
    pub(super) fn run(mut self) {
        let _end = End(self.queue.clone());
        let mut segment = self.open(Instant::now());
        let mut next_flush = None;
        loop {
            let unflushed = segment.as_ref().is_some_and(Segment::is_unflushed);
            let next = next_flush.filter(|_| unflushed);
            let age = segment.as_ref().and_then(|segment| self.age_limit(segment));
            let warning = self.warnings.due();
            let until = [next, age, warning].into_iter().flatten().min();
            let work = self.queue.take(until);
            let now = Instant::now();
            let Work { flush, is_last, .. } = work;
            segment = self.write_all(segment, work, now);
            if segment.as_ref().is_some_and(Segment::is_unflushed) {
                let at = *next_flush.get_or_insert(now + self.limits.flush_every);
                if flush.is_some() || at <= now {
                    segment = self.flush(segment);
                    next_flush = None;
                }
            } else {
                next_flush = None;
            }
            if let Some(flushes) = flush {
                self.queue.flushed(flushes);
            }
            if let Some(old) = segment.take_if(|segment| self.is_complete(segment, now) || is_last)
            {
                self.finish(old);
            }
            self.warn(now, is_last);
            if is_last {
                break;
            }
        }
    }

    /// Returns when a file is complete by its age; `None` while nothing is in it.
    fn age_limit(&self, segment: &Segment) -> Option<Instant> {
        segment.began.checked_add(self.limits.file_age).filter(|_| segment.has_messages())
    }

    fn is_complete(&self, segment: &Segment, now: Instant) -> bool {
        segment.bytes() >= self.limits.file_bytes
            || self.age_limit(segment).is_some_and(|limit| limit <= now)
    }

    /// Writes all items, into as many files as it takes. Returns the one that is being written.
    fn write_all(
        &mut self,
        mut segment: Option<Segment>,
        work: Work,
        now: Instant,
    ) -> Option<Segment> {
        let mut written = 0;
        for item in &work.items {
            if let Some(full) = segment.take_if(|segment| segment.bytes() >= self.limits.file_bytes)
            {
                self.finish(full);
            }
            if segment.is_none() && self.retry_at.is_none_or(|at| at <= now) {
                segment = self.open(now);
            }
            let Some(open) = &mut segment else {
                self.drop_item(item);
                continue;
            };
            match self.write_marks(open).and_then(|()| open.write(item)) {
                Ok(()) => written += item.contents.count(),
                Err(err) => {
                    self.drop_item(item);
                    self.fail(segment.take(), &err);
                }
            }
        }
        self.queue.release(work.bytes, |figures| figures.written += written);
        if let Some(open) = &mut segment
            && let Err(err) = self.mark_rest(open, work.is_last)
        {
            self.fail(segment.take(), &err);
        }
        segment
    }

    /// Marks what was dropped here.
    fn write_marks(&mut self, segment: &mut Segment) -> io::Result<()> {
        while let Some((_, Dropped { label, count, wall, at })) = self.dropped.pop_first() {
            let mark = Item { label, wall, at, epoch: 0, contents: Contents::Dropped(count) };
            segment.write(&mark)?;
        }
        Ok(())
    }

    /// Marks what the queue has dropped at the end, and nothing has followed.
    fn mark_rest(&mut self, segment: &mut Segment, is_last: bool) -> io::Result<()> {
        if !is_last {
            return Ok(());
        }
        for (label, count) in self.queue.take_dropped() {
            let contents = Contents::Dropped(count);
            segment.write(&Item { label, wall: 0, at: 0, epoch: 0, contents })?;
        }
        self.write_marks(segment)
    }

    /// Begins a file. `None` if the disk fails.
    fn open(&mut self, now: Instant) -> Option<Segment> {
        let created = self.first.take().map_or_else(|| self.files.create(), Ok);
        let wrap = &mut self.wrap;
        let begin = |(path, file)| Segment::begin(path, wrap(file), self.place, now);
        match created.and_then(begin) {
            Ok(segment) => {
                self.place = self.place.next();
                self.retry_at = None;
                self.queue.release(0, |figures| figures.files += 1);
                Some(segment)
            }
            Err(err) => {
                self.fail(None, &err);
                None
            }
        }
    }

    /// Writes the chunk. Returns the file unless the disk fails.
    fn flush(&mut self, segment: Option<Segment>) -> Option<Segment> {
        let mut segment = segment?;
        match segment.flush(self.limits.sync == Sync::Flushes) {
            Ok(()) => {
                self.delay = MIN_DELAY;
                let bytes = segment.take_bytes();
                self.queue.release(0, |figures| {
                    figures.bytes += bytes;
                    figures.error = None;
                });
                self.limit(Some(&segment));
                Some(segment)
            }
            Err(err) => {
                self.fail(Some(segment), &err);
                None
            }
        }
    }

    /// Completes a file.
    fn finish(&mut self, mut segment: Segment) {
        match segment.finish(self.limits.sync != Sync::Never) {
            Ok(()) => {
                let bytes = segment.take_bytes();
                self.queue.release(0, |figures| figures.bytes += bytes);
                self.limit(None);
            }
            Err(err) => self.fail(Some(segment), &err),
        }
    }

    /// Deletes the oldest files.
    fn limit(&mut self, current: Option<&Segment>) {
        let path = current.map(|segment| &*segment.path);
        match self.files.limit(self.limits.keep_bytes, path) {
            Ok(0) => {}
            Ok(count) => self.queue.release(0, |figures| figures.deleted += count),
            Err(err) => self.note_error(&err),
        }
    }

    /// Gives up a file because the disk failed: what was not flushed is lost. The next is begun later.
    fn fail(&mut self, segment: Option<Segment>, err: &io::Error) {
        self.note_error(err);
        self.retry_at = Instant::now().checked_add(self.delay);
        self.delay = (self.delay * 2).min(MAX_DELAY);
        for (label, count) in segment.into_iter().flat_map(Segment::into_unflushed) {
            self.queue.release(0, |figures| {
                figures.written = figures.written.saturating_sub(count);
                figures.dropped += count;
            });
            self.add_dropped(label, count, 0, 0);
        }
    }

    fn note_error(&self, err: &io::Error) {
        let text: Arc<str> = err.to_string().into();
        self.queue.release(0, |figures| figures.error = Some(text));
    }

    fn drop_item(&mut self, item: &Item) {
        let count = item.contents.count();
        self.queue.release(0, |figures| figures.dropped += count);
        let count = if let Contents::Dropped(count) = item.contents { count } else { count };
        self.add_dropped(item.label.clone(), count, item.wall, item.at);
    }

    fn add_dropped(&mut self, label: Arc<Label>, count: u64, wall: u64, at: u64) {
        let entry = self.dropped.entry(label.id);
        let dropped = entry.or_insert_with(|| Dropped { label, count: 0, wall, at });
        dropped.count += count;
        dropped.wall = dropped.wall.max(wall);
        dropped.at = dropped.at.max(at);
    }

    /// Warns of what was dropped since the last warning, at most once a minute.
    fn warn(&mut self, now: Instant, is_last: bool) {
        let figures = self.queue.figures();
        if !self.warnings.is_due(figures.dropped, now, is_last) {
            return;
        }
        let (dropped, error) = (figures.dropped, figures.error.as_deref());
        tracing::warn!(
            dropped,
            error,
            "a recorder drops messages: the disk is too slow, full or fails"
        );
    }
}

impl Warnings {
    /// Whether to warn now. It counts as done then.
    fn is_due(&mut self, count: u64, now: Instant, is_last: bool) -> bool {
        let has_passed = self.last.is_none_or(|last| now.duration_since(last) >= WARN_EVERY);
        if count == self.count || !(has_passed || is_last) {
            return false;
        }
        (self.last, self.count) = (Some(now), count);
        true
    }

    /// Returns when to look again.
    fn due(&self) -> Option<Instant> {
        self.last?.checked_add(WARN_EVERY).filter(|due| *due > Instant::now())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.ended();
    }
}

#[cfg(test)]
mod tests;
