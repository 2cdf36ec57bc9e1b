//! What a reader returns.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::proto::codec::Way;
use crate::proto::frame::Opcode;
use crate::proto::message::{Fragment, Payload};

/// One message or event of a recording.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Entry {
    /// The name of the channel: that of the connection.
    pub channel: Arc<str>,
    /// The number of the connection in the process that recorded it; 0 for what is none.
    pub source: u64,
    /// The number of the opened socket, from 1.
    pub epoch: u64,
    /// The wall clock.
    pub wall: SystemTime,
    /// The monotonic clock: the time since the recorder was started.
    pub at: Duration,
    /// What was recorded.
    pub what: What,
}

/// What was recorded.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum What {
    /// A message that was received.
    Received(Payload),
    /// A fragment that was received, where messages are delivered by fragment.
    Fragment(Fragment),
    /// A message that was accepted for the socket.
    Sent(Payload),
    /// The same, whose payload is left out as a secret. It had this many bytes.
    Hidden(usize),
    /// A Ping.
    Ping(Way, Bytes),
    /// A Pong; one that was received with the time since the Ping that it answers, if it answers one.
    Pong(Way, Bytes, Option<Duration>),
    /// An event of the connection (`open`, `error`, `close`, `state` or `stopped`) or of a feed (`step`): its kind,
    /// and what is known of it as JSON.
    Event(Arc<str>, Value),
    /// The number of messages and events before this one that the recorder dropped.
    Dropped(u64),
}

impl Entry {
    /// Parses a message of the file. The error says what is missing or wrong.
    pub(super) fn parse(
        channel: Arc<str>,
        source: u64,
        wall: u64,
        json: &[u8],
    ) -> Result<Entry, String> {
        let mut object: Map<String, Value> =
            serde_json::from_slice(json).map_err(|err| err.to_string())?;
        let epoch = number(&object, "epoch")?;
        let at = Duration::from_nanos(number(&object, "at")?);
        let what = what(&mut object)?;
        let wall = UNIX_EPOCH + Duration::from_nanos(wall);
        Ok(Entry { channel, source, epoch, wall, at, what })
    }
}

/// Parses what was recorded.
fn what(object: &mut Map<String, Value>) -> Result<What, String> {
    let kind = object.get("kind").and_then(Value::as_str).ok_or("no text `kind`")?.to_owned();
    let way = match object.get("way").and_then(Value::as_str) {
        Some("in") => Ok(Way::In),
        Some("out") => Ok(Way::Out),
        _ => Err("no `way` that is `in` or `out`".to_owned()),
    };
    Ok(match &*kind {
        "text" | "binary" if object.contains_key("secret") => {
            What::Hidden(usize::try_from(number(object, "length")?).unwrap_or(usize::MAX))
        }
        "text" | "binary" => {
            let payload = payload(object)?;
            if way? == Way::In { What::Received(payload) } else { What::Sent(payload) }
        }
        "fragment" => {
            let is_text = object.get("opcode").and_then(Value::as_str) == Some("text");
            What::Fragment(Fragment {
                opcode: if is_text { Opcode::Text } else { Opcode::Binary },
                index: usize::try_from(number(object, "index")?).unwrap_or(usize::MAX),
                bytes: payload(object)?.into_bytes(),
                fin: object.get("fin").and_then(Value::as_bool).unwrap_or(true),
            })
        }
        "ping" => What::Ping(way?, payload(object)?.into_bytes()),
        "pong" => {
            let round_trip = object.get("round_trip").and_then(Value::as_u64);
            let payload = payload(object)?.into_bytes();
            What::Pong(way?, payload, round_trip.map(Duration::from_nanos))
        }
        "dropped" => What::Dropped(number(object, "count")?),
        _ => What::Event(kind.into(), object.remove("event").unwrap_or_default()),
    })
}

fn payload(object: &mut Map<String, Value>) -> Result<Payload, String> {
    if let Some(Value::String(text)) = object.remove("text") {
        return Ok(Payload::from(text));
    }
    let base64 = object.get("base64").and_then(Value::as_str).ok_or("no `text` and no `base64`")?;
    let bytes = STANDARD.decode(base64).map_err(|err| format!("`base64`: {err}"))?;
    Ok(Payload::Binary(bytes.into()))
}

fn number(object: &Map<String, Value>, key: &str) -> Result<u64, String> {
    object.get(key).and_then(Value::as_u64).ok_or_else(|| format!("no number `{key}`"))
}
