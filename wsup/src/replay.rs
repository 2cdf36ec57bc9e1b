//! `wsup replay`: prints what a recording holds.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use actix_ws_client::Payload;
use actix_ws_client::proto::codec::Way;
use actix_ws_client::record::{Entry, ReadError, Reader, What};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::json::Object;
use crate::print::Line;
use crate::screen::{self, eprint_line};
use crate::status::{CLOSED, FAILED, Status, broken_stdout};

/// Print what a recording holds, which --record has made
///
/// Prints the messages that were received. With --json also those that were sent, pings, pongs and events.
#[derive(clap::Args)]
pub(crate) struct ReplayFlags {
    /// The files, in the order of their names
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// Print everything as one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Prints all files. Returns the exit status.
pub(crate) fn run(flags: &ReplayFlags) -> Status {
    for path in &flags.files {
        let name = path.display();
        let mut reader = match Reader::open(path) {
            Ok(reader) => reader,
            Err(err) => return failed(&format!("{name}: {err}")),
        };
        for entry in reader.by_ref() {
            let written = match entry {
                Ok(entry) if flags.json => line(&entry).write(),
                Ok(entry) => text(&entry).map_or(Ok(()), |line| screen::out(line.as_bytes())),
                Err(err @ ReadError::Foreign(_)) => {
                    eprint_line(&format!("wsup replay: {name}: {err}"));
                    continue;
                }
                Err(err) => return failed(&format!("{name}: {err}")),
            };
            if let Err(err) = written {
                return broken_stdout(&err);
            }
        }
        if reader.is_torn() {
            eprint_line(&format!(
                "wsup replay: {name}: not completed; all its whole chunks were read"
            ));
        }
    }
    CLOSED
}

fn failed(text: &str) -> Status {
    eprint_line(&format!("wsup replay: {text}"));
    FAILED
}

/// Returns a message that was received as wsup prints it, or nothing.
fn text(entry: &Entry) -> Option<String> {
    match &entry.what {
        What::Received(Payload::Text(text)) => Some(format!("{text}\n")),
        What::Received(Payload::Binary(bytes)) => Some(format!("{}\n", STANDARD.encode(bytes))),
        _ => None,
    }
}

/// Returns the JSON line of an entry: that of `wsup --json`, with `way` and the clocks at its end.
fn line(entry: &Entry) -> Line {
    let object =
        |event: &str| Object::of(event).text("source", &entry.channel).key("epoch", entry.epoch);
    let message = |payload: &Payload| match payload {
        Payload::Text(text) => object("message").key("type", "text").text("data", text),
        Payload::Binary(bytes) => object("message").key("type", "binary").base64("base64", bytes),
    };
    let object = match &entry.what {
        What::Received(payload) => message(payload).key("way", "in"),
        What::Sent(payload) => message(payload).key("way", "out"),
        What::Hidden(length) => object("message").key("length", *length).key("way", "out"),
        What::Fragment(fragment) => object("fragment")
            .key("index", fragment.index)
            .key("fin", fragment.fin)
            .base64("base64", &fragment.bytes),
        What::Ping(way, bytes) => object("ping").base64("base64", bytes).key("way", shown(*way)),
        What::Pong(way, bytes, round_trip) => object("pong")
            .base64("base64", bytes)
            .key("rtt_ms", round_trip.map(millis))
            .key("way", shown(*way)),
        What::Event(kind, event) => object(kind).key("recorded", event.clone()),
        What::Dropped(count) => object("dropped").key("count", *count),
        _ => object("other"),
    };
    let wall = entry.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    object.key("at_ms", millis(entry.at)).key("unix_ms", millis(wall)).end()
}

fn shown(way: Way) -> &'static str {
    match way {
        Way::In => "in",
        Way::Out => "out",
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
