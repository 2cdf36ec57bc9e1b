//! The files of a recording, read as the steps of one feed and the messages that they are about.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use crate::command::status::SourceId;
use crate::feed::replay::note::{self, Step};
use crate::feed::replay::report::Shared;
use crate::proto::message::Payload;
use crate::record::{Entry, Reader, What};

/// What is read of the files, in order. Messages wait here for the step that says when the shard read them.
pub(super) struct Tape {
    files: VecDeque<PathBuf>,
    open: Option<(PathBuf, Reader)>,
    feed: u32,
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
        Tape { files: files.into(), open: None, feed, messages: HashMap::new(), report }
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
                        return Ok(Some(step));
                    }
                }
                What::Dropped(count) if channel.starts_with(&format!("feed {} ", self.feed)) => {
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

    fn next_entry(&mut self) -> Result<Option<Entry>, String> {
        loop {
            let Some((path, reader)) = &mut self.open else {
                let Some(path) = self.files.pop_front() else { return Ok(None) };
                let reader =
                    Reader::open(&path).map_err(|err| format!("{}: {err}", path.display()))?;
                self.open = Some((path, reader));
                continue;
            };
            match reader.next() {
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
