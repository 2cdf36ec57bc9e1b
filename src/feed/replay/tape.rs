//! The files of a recording, read as the steps of one feed and the messages that they are about.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::status::SourceId;
use crate::feed::replay::note::{self, Step};
use crate::feed::replay::order::Order;
use crate::feed::replay::report::Shared;
use crate::proto::message::Payload;
use crate::record::{Entry, Place, Reader, What};

/// What is read of the files, in order. Messages wait here for the step that says when the shard read them.
pub(super) struct Tape {
    files: VecDeque<PathBuf>,
    open: Option<(PathBuf, Reader)>,
    /// Whether anything was read of the open file.
    is_begun: bool,
    order: Order,
    feed: u32,
    /// Whether a step of the feed was returned.
    has_steps: bool,
    /// The messages of the lines that have started, by connection.
    messages: HashMap<SourceId, VecDeque<Message>>,
    report: Shared,
}

/// A message that was received.
struct Message {
    epoch: u64,
    at: Duration,
    payload: Payload,
}

impl Tape {
    pub(super) fn new(files: Vec<PathBuf>, feed: u32, report: Shared) -> Tape {
        Tape {
            files: files.into(),
            open: None,
            is_begun: false,
            order: Order::default(),
            feed,
            has_steps: false,
            messages: HashMap::new(),
            report,
        }
    }

    /// Returns the next step; `None` at the end of the recording. The error says why it can be replayed no further.
    pub(super) fn next_step(&mut self) -> Result<Option<Step>, String> {
        while let Some(entry) = self.next_entry()? {
            let Entry { channel, source, epoch, at, what, .. } = entry;
            match what {
                What::Received(payload) => {
                    // Those of connections that are no lines of this feed are passed over.
                    if let Some(messages) = self.messages.get_mut(&SourceId::recorded(source)) {
                        messages.push_back(Message { epoch, at, payload });
                    }
                }
                What::Event(kind, event) if &*kind == "step" => {
                    let step = note::parse(&event)??;
                    if step.feed == self.feed {
                        let lines = step.lines.iter().map(|source| SourceId::recorded(*source));
                        self.messages.extend(lines.map(|source| (source, VecDeque::new())));
                        self.has_steps = true;
                        return Ok(Some(step));
                    }
                }
                // Where the beginning is missing anyway, that is what is said.
                What::Dropped(count)
                    if channel.starts_with(&format!("feed {} ", self.feed))
                        && (self.has_steps || self.order.incomplete().is_none()) =>
                {
                    return Err(format!("the recorder has dropped {count} steps of {channel}"));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Takes messages of a connection that came in one read: as many as the shard read, or as many as there are.
    pub(super) fn take(
        &mut self,
        source: SourceId,
        (epoch, at): (u64, Duration),
        count: usize,
    ) -> Vec<Payload> {
        let messages = self.messages.entry(source).or_default();
        let is_earlier = |message: &Message| (message.epoch, message.at) < (epoch, at);
        // The connection has dropped them, before they came to the shard.
        while messages.front().is_some_and(is_earlier) {
            messages.pop_front();
        }
        let mut taken = Vec::with_capacity(count.min(messages.len()));
        let is_of_read = |message: &Message| (message.epoch, message.at) == (epoch, at);
        while taken.len() < count && messages.front().is_some_and(is_of_read) {
            taken.extend(messages.pop_front().map(|message| message.payload));
        }
        let mut report = self.report.lock();
        report.messages += taken.len() as u64;
        report.missing += (count - taken.len()) as u64;
        taken
    }

    /// Forgets a connection that has ended.
    pub(super) fn forget(&mut self, source: SourceId) {
        self.messages.remove(&source);
    }

    /// Says what is missing before the first step, behind a colon, if anything is.
    pub(super) fn missing(&self) -> String {
        self.order.missing()
    }

    /// Passes over the rest of a recording whose beginning is missing. Returns whether another one begins behind it.
    pub(super) fn pass_over(&mut self) -> bool {
        let Some(this) = self.order.incomplete() else { return false };
        let begins = |path: &PathBuf| {
            place(path).is_some_and(|place| place.file == 1 && place.recording != this)
        };
        let Some(count) = self.files.iter().position(begins) else { return false };
        let open = self.open.take().map(|(path, _)| path);
        let passed_over = open.into_iter().chain(self.files.drain(..count));
        self.report.lock().passed_over.extend(passed_over);
        self.messages.clear();
        (self.order, self.has_steps) = (Order::default(), false);
        true
    }

    fn next_entry(&mut self) -> Result<Option<Entry>, String> {
        loop {
            let Some((path, reader)) = &mut self.open else {
                let Some(path) = self.files.pop_front() else { return Ok(None) };
                let reader =
                    Reader::open(&path).map_err(|err| format!("{}: {err}", path.display()))?;
                (self.open, self.is_begun) = (Some((path, reader)), false);
                continue;
            };
            let next = reader.next();
            if !mem::replace(&mut self.is_begun, true) {
                self.order.handle_file(path, reader.place(), self.has_steps)?;
            }
            match next {
                Some(Ok(entry)) => return Ok(Some(entry)),
                Some(Err(err)) => return Err(format!("{}: {err}", path.display())),
                None => {
                    if reader.is_torn() {
                        self.report.lock().torn = Some(path.clone());
                    }
                    self.open = None;
                }
            }
        }
    }
}

/// Returns which file of which recording this is; `None` if it cannot be read.
fn place(path: &Path) -> Option<Place> {
    let mut reader = Reader::open(path).ok()?;
    reader.next();
    reader.place()
}
