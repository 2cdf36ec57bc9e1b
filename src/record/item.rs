//! What is recorded, on its way to the thread that writes, and its JSON.

use std::io::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::proto::codec::Way;
use crate::proto::frame::Opcode;
use crate::proto::message::{Fragment, Payload};
use crate::proto::messages::Messages;

/// Whose channel something is recorded in.
#[derive(Debug)]
pub(super) struct Label {
    /// The number of the track in this recorder.
    pub(super) id: u32,
    /// The name of the channel.
    pub(super) name: Arc<str>,
    /// The number of the connection; 0 for what is none.
    pub(super) source: u64,
}

/// What is recorded at once.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) label: Arc<Label>,
    /// The wall clock, in nanoseconds since 1970.
    pub(super) wall: u64,
    /// The monotonic clock, in nanoseconds since the recorder was started.
    pub(super) at: u64,
    pub(super) epoch: u64,
    pub(super) contents: Contents,
}

/// The contents of an item.
#[derive(Debug)]
pub(super) enum Contents {
    /// The messages of one read.
    Received(Messages),
    /// A fragment, where messages are delivered by fragment.
    Fragment(Fragment),
    Sent(Payload),
    /// A message whose payload is a secret.
    Hidden {
        is_text: bool,
        length: usize,
    },
    /// A Ping or Pong.
    Control {
        way: Way,
        opcode: Opcode,
        payload: Bytes,
        round_trip: Option<u64>,
    },
    /// An event, by its kind and as JSON.
    Event {
        kind: &'static str,
        json: String,
    },
    /// The number of messages and events before it that were dropped.
    Dropped(u64),
}

/// The memory that an item takes in the queue, beside its contents.
const OVERHEAD: usize = size_of::<Item>() + 16;

impl Contents {
    /// Returns how many bytes of memory it takes in the queue.
    pub(super) fn cost(&self) -> usize {
        OVERHEAD
            + match self {
                Contents::Received(messages) => messages.footprint(16),
                Contents::Fragment(fragment) => fragment.bytes.len(),
                Contents::Sent(payload) => payload.len(),
                Contents::Control { payload, .. } => payload.len(),
                Contents::Event { json, .. } => json.len(),
                Contents::Hidden { .. } | Contents::Dropped(_) => 0,
            }
    }

    /// Returns the number of messages and events in it.
    pub(super) fn count(&self) -> u64 {
        match self {
            Contents::Received(messages) => messages.len() as u64,
            Contents::Dropped(_) => 0,
            _ => 1,
        }
    }
}

impl Item {
    /// Calls a function with the JSON of each message or event, until it fails.
    pub(super) fn encode<E>(
        &self,
        json: &mut Vec<u8>,
        mut write: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Contents::Received(messages) = &self.contents {
            for index in 0..messages.len() {
                let bytes = messages.bytes(index).unwrap_or_default();
                let is_text = messages.opcode(index) == Some(Opcode::Text);
                self.begin(json, if is_text { "text" } else { "binary" }, Some(Way::In));
                data(json, is_text, bytes);
                json.push(b'}');
                write(json)?;
            }
            return Ok(());
        }
        self.encode_single(json);
        write(json)
    }

    /// Writes the JSON of an item that is one event.
    fn encode_single(&self, json: &mut Vec<u8>) {
        match &self.contents {
            Contents::Received(_) => {}
            Contents::Fragment(fragment) => {
                self.begin(json, "fragment", Some(Way::In));
                let opcode = if fragment.opcode == Opcode::Text { "text" } else { "binary" };
                put(json, format_args!(",\"opcode\":\"{opcode}\",\"index\":{}", fragment.index));
                put(json, format_args!(",\"fin\":{}", fragment.fin));
                data(json, false, &fragment.bytes);
            }
            Contents::Sent(payload) => {
                let is_text = payload.as_text().is_some();
                self.begin(json, if is_text { "text" } else { "binary" }, Some(Way::Out));
                data(json, is_text, payload.as_bytes());
            }
            Contents::Hidden { is_text, length } => {
                self.begin(json, if *is_text { "text" } else { "binary" }, Some(Way::Out));
                put(json, format_args!(",\"secret\":true,\"length\":{length}"));
            }
            Contents::Control { way, opcode, payload, round_trip } => {
                let kind = if *opcode == Opcode::Ping { "ping" } else { "pong" };
                self.begin(json, kind, Some(*way));
                if let Some(round_trip) = round_trip {
                    put(json, format_args!(",\"round_trip\":{round_trip}"));
                }
                data(json, false, payload);
            }
            Contents::Event { kind, json: event } => {
                self.begin(json, kind, None);
                put(json, format_args!(",\"event\":{event}"));
            }
            Contents::Dropped(count) => {
                self.begin(json, "dropped", None);
                put(json, format_args!(",\"count\":{count}"));
            }
        }
        json.push(b'}');
    }

    /// Begins an object with the keys that each has.
    fn begin(&self, json: &mut Vec<u8>, kind: &str, way: Option<Way>) {
        json.clear();
        put(json, format_args!("{{\"kind\":\"{kind}\""));
        match way {
            Some(Way::In) => json.extend_from_slice(b",\"way\":\"in\""),
            Some(Way::Out) => json.extend_from_slice(b",\"way\":\"out\""),
            None => {}
        }
        put(json, format_args!(",\"epoch\":{},\"at\":{}", self.epoch, self.at));
    }
}

/// Adds a payload: as `text` if it is text in UTF-8, or else as `base64`.
fn data(json: &mut Vec<u8>, is_text: bool, bytes: &[u8]) {
    if is_text && let Ok(text) = simdutf8::basic::from_utf8(bytes) {
        json.extend_from_slice(b",\"text\":");
        // To memory, and of a string: it cannot fail.
        let _ = serde_json::to_writer(json, text);
        return;
    }
    json.extend_from_slice(b",\"base64\":\"");
    let begin = json.len();
    json.resize(begin + bytes.len().div_ceil(3) * 4, 0);
    // There is room for all of it.
    let _ = STANDARD.encode_slice(bytes, &mut json[begin..]);
    json.push(b'"');
}

fn put(json: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    // To memory: it cannot fail.
    let _ = json.write_fmt(arguments);
}
