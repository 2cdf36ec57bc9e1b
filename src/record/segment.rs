//! One MCAP file that is being written.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use mcap::records::{MessageHeader, Metadata};
use mcap::write::NoSeek;
use mcap::{McapError, WriteOptions, Writer};

use crate::record::item::{Item, Label};
use crate::record::place::Place;

/// What a file is written to.
pub(super) trait Output: Write + Send {
    /// Forces what was written to the disk.
    fn sync(&mut self) -> io::Result<()>;
}

impl Output for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A file that is being written.
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) began: Instant,
    writer: Writer<NoSeek<Sink>>,
    sink: Sink,
    schema: u16,
    channels: HashMap<u32, Channel>,
    /// What is in the chunk that is not written yet: for each track the number of messages and events.
    unflushed: BTreeMap<u32, (Arc<Label>, u64)>,
    /// Bytes in that chunk, before compression.
    chunk: usize,
    /// Bytes of the file that `take_bytes` has returned.
    counted: u64,
    /// Reused for each message.
    json: Vec<u8>,
}

/// A channel of the file.
struct Channel {
    id: u16,
    sequence: u32,
}

/// The output, which the writer and the segment share.
#[derive(Clone)]
struct Sink(Rc<RefCell<Counted>>);

struct Counted {
    output: BufWriter<Box<dyn Output>>,
    bytes: u64,
}

/// The name of the metadata of a file.
pub(super) const METADATA: &str = "actix_ws_client";
/// The name of the schema of all messages.
const SCHEMA: &str = "actix_ws_client.Record";
/// The bytes of a chunk before compression from which it is written.
const CHUNK: usize = 1 << 20;

impl Segment {
    /// Begins a file.
    pub(super) fn begin(
        path: PathBuf,
        output: Box<dyn Output>,
        place: Place,
        now: Instant,
    ) -> io::Result<Segment> {
        let counted = Counted { output: BufWriter::with_capacity(64 << 10, output), bytes: 0 };
        let sink = Sink(Rc::new(RefCell::new(counted)));
        // A chunk is kept in memory and written as a whole, so that what a crash leaves behind is whole chunks
        // and at most one that is torn at its end. `flush` says where a chunk ends.
        let options = WriteOptions::new()
            .library(concat!("actix-ws-client ", env!("CARGO_PKG_VERSION")))
            .chunk_size(None)
            .compression_threads(0)
            .disable_seeking(true);
        let mut writer = options.create(NoSeek::new(sink.clone())).map_err(io_error)?;
        let mut metadata = BTreeMap::from([("format".to_owned(), "1".to_owned())]);
        place.write(&mut metadata);
        let metadata = Metadata { name: METADATA.to_owned(), metadata };
        writer.write_metadata(&metadata).map_err(io_error)?;
        let schema = include_bytes!("schema.json");
        let schema = writer.add_schema(SCHEMA, "jsonschema", schema).map_err(io_error)?;
        Ok(Segment {
            path,
            began: now,
            writer,
            sink,
            schema,
            channels: HashMap::new(),
            unflushed: BTreeMap::new(),
            chunk: 0,
            counted: 0,
            json: Vec::new(),
        })
    }

    /// Adds an item to the chunk, and writes the chunk if it is large. After an error the file is of no more use.
    pub(super) fn write(&mut self, item: &Item) -> io::Result<()> {
        let Segment { writer, channels, schema, chunk, json, .. } = self;
        let channel = match channels.entry(item.label.id) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                let Label { name, source, id } = &*item.label;
                let metadata = BTreeMap::from([
                    ("source".to_owned(), source.to_string()),
                    ("track".to_owned(), id.to_string()),
                ]);
                let id = writer.add_channel(*schema, name, "json", &metadata).map_err(io_error)?;
                new.insert(Channel { id, sequence: 0 })
            }
        };
        item.encode(json, |json| {
            let header = MessageHeader {
                channel_id: channel.id,
                sequence: channel.sequence,
                log_time: item.wall,
                publish_time: item.wall,
            };
            channel.sequence = channel.sequence.wrapping_add(1);
            *chunk += json.len();
            writer.write_to_known_channel(&header, json).map_err(io_error)
        })?;
        let unflushed = self.unflushed.entry(item.label.id);
        unflushed.or_insert_with(|| (item.label.clone(), 0)).1 += item.contents.count();
        if self.chunk >= CHUNK {
            self.flush(false)?;
        }
        Ok(())
    }

    /// Whether something was added since the last flush.
    pub(super) fn is_unflushed(&self) -> bool {
        self.chunk > 0
    }

    /// Whether any message or event was added.
    pub(super) fn has_messages(&self) -> bool {
        !self.channels.is_empty()
    }

    /// Returns how many bytes were written to the file.
    pub(super) fn bytes(&self) -> u64 {
        self.sink.0.borrow().bytes
    }

    /// Returns how many bytes were written to the file since the last call.
    pub(super) fn take_bytes(&mut self) -> u64 {
        let bytes = self.bytes();
        bytes - std::mem::replace(&mut self.counted, bytes)
    }

    /// Writes the chunk; with `sync` to the disk, too. After an error the file is of no more use.
    pub(super) fn flush(&mut self, sync: bool) -> io::Result<()> {
        self.writer.flush().map_err(io_error)?;
        self.unflushed.clear();
        self.chunk = 0;
        if sync {
            self.sink.0.borrow_mut().output.get_mut().sync()?;
        }
        Ok(())
    }

    /// Completes the file: with its index, and with `sync` to the disk.
    pub(super) fn finish(&mut self, sync: bool) -> io::Result<()> {
        self.flush(false)?;
        self.writer.finish().map_err(io_error)?;
        let mut sink = self.sink.0.borrow_mut();
        sink.output.flush()?;
        if sync {
            sink.output.get_mut().sync()?;
        }
        Ok(())
    }

    /// Returns what an error has lost: for each track the number of messages and events.
    pub(super) fn into_unflushed(mut self) -> impl Iterator<Item = (Arc<Label>, u64)> {
        std::mem::take(&mut self.unflushed).into_values()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut sink = self.0.borrow_mut();
        let count = sink.output.write(bytes)?;
        sink.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().output.flush()
    }
}

fn io_error(err: McapError) -> io::Error {
    match err {
        McapError::Io(err) => err,
        err => io::Error::other(err),
    }
}
