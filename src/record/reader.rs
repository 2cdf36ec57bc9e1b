//! Reading a recording.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use mcap::records::Record;
use mcap::sans_io::linear_reader::{LinearReadEvent, LinearReader, LinearReaderOptions};
use mcap::{McapError, parse_record};

use crate::record::entry::Entry;
use crate::record::place::Place;
use crate::record::segment::METADATA;

/// Reads one file of a recording from its beginning, with at most some chunks of it in memory.
///
/// A file that was not completed, because the process or the machine ended, is read up to its last whole chunk:
/// [`is_torn`](Reader::is_torn).
///
/// ```no_run
/// use actix_ws_client::record::{Reader, What};
///
/// # fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let mut reader = Reader::open("recordings/recording-20260131T235900Z-000001.mcap")?;
/// for entry in reader.by_ref() {
///     let entry = entry?;
///     if let What::Received(payload) = &entry.what {
///         println!("{} {:?} {payload:?}", entry.channel, entry.at);
///     }
/// }
/// assert!(!reader.is_torn());
/// # Ok(())
/// # }
/// ```
pub struct Reader {
    input: BufReader<Box<dyn Read + Send>>,
    records: LinearReader,
    /// The name of each channel, and the number of its connection.
    channels: HashMap<u16, (Arc<str>, u64)>,
    /// Which file of which recording it is, once its metadata was read.
    place: Option<Place>,
    is_torn: bool,
    has_ended: bool,
}

/// Why a recording cannot be read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The file system failed.
    Io(Arc<io::Error>),
    /// The file is damaged, or is no MCAP file: the text says what is wrong.
    Damaged(String),
    /// A message of the file is not as a [`Recorder`](crate::record::Recorder) writes it: the text says what is
    /// wrong. What follows can be read.
    Foreign(String),
}

/// The longest record that is read, in bytes: more than the largest message and its JSON.
const MAX_RECORD: usize = 512 << 20;

impl Reader {
    /// Opens a file.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Reader> {
        Ok(Reader::new(File::open(path)?))
    }

    /// Reads what any source of bytes has.
    pub fn new(input: impl Read + Send + 'static) -> Reader {
        let options = LinearReaderOptions::default()
            .with_validate_chunk_crcs(true)
            .with_record_length_limit(MAX_RECORD);
        Reader {
            input: BufReader::with_capacity(64 << 10, Box::new(input)),
            records: LinearReader::new_with_options(options),
            channels: HashMap::new(),
            place: None,
            is_torn: false,
            has_ended: false,
        }
    }

    /// Returns whether the file ends before its end: it was not completed. Known once all was read.
    pub fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// Returns which file of which recording it is. Known once anything was read.
    pub(crate) fn place(&self) -> Option<Place> {
        self.place
    }

    /// Returns the next message; `None` at the end.
    fn read(&mut self) -> Result<Option<Entry>, ReadError> {
        while let Some(event) = self.records.next_event() {
            let record = match event {
                Ok(LinearReadEvent::ReadRequest(need)) => {
                    let count = read(&mut self.input, self.records.insert(need))?;
                    self.records.notify_read(count);
                    continue;
                }
                Ok(LinearReadEvent::Record { opcode, data }) => {
                    parse_record(opcode, data).map_err(failed)?
                }
                Err(McapError::UnexpectedEof) => {
                    self.is_torn = true;
                    return Ok(None);
                }
                Err(err) => return Err(failed(err)),
            };
            match record {
                Record::Channel(channel) => {
                    let source = channel.metadata.get("source").and_then(|it| it.parse().ok());
                    let entry = (channel.topic.into(), source.unwrap_or_default());
                    self.channels.insert(channel.id, entry);
                }
                Record::Message { header, data } => {
                    let Some((channel, source)) = self.channels.get(&header.channel_id) else {
                        let text =
                            format!("a message of the unknown channel {}", header.channel_id);
                        return Err(ReadError::Damaged(text));
                    };
                    let entry = Entry::parse(channel.clone(), *source, header.log_time, &data);
                    return entry.map(Some).map_err(ReadError::Foreign);
                }
                Record::Metadata(metadata) if metadata.name == METADATA => {
                    self.place = Place::read(&metadata.metadata);
                }
                // What follows is the index.
                Record::DataEnd(_) => {}
                _ => {}
            }
        }
        Ok(None)
    }
}

impl Iterator for Reader {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Result<Entry, ReadError>> {
        if self.has_ended {
            return None;
        }
        let next = self.read().transpose();
        self.has_ended = !matches!(next, Some(Ok(_) | Err(ReadError::Foreign(_))));
        next
    }
}

/// Reads some bytes; none at the end.
fn read(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(buffer) {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(err: io::Error) -> ReadError {
        ReadError::Io(Arc::new(err))
    }
}

/// Converts an error of mcap's. No `From`, which would have mcap's type in the public API.
fn failed(err: McapError) -> ReadError {
    match err {
        McapError::Io(err) => err.into(),
        err => ReadError::Damaged(err.to_string()),
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Io(err) => err.fmt(f),
            ReadError::Damaged(text) => write!(f, "no whole MCAP file: {text}"),
            ReadError::Foreign(text) => write!(f, "no message of a recorder: {text}"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ReadError::Io(err) => Some(&**err),
            ReadError::Damaged(_) | ReadError::Foreign(_) => None,
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("is_torn", &self.is_torn).finish_non_exhaustive()
    }
}
