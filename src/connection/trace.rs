//! What is logged of each frame, where that is wanted (WebSocketApp's `enableTrace`).

use std::fmt;

use crate::command::status::SourceId;
use crate::proto::codec::{Codec, Way};
use crate::proto::frame::{FrameHeader, Opcode};

/// The target of these events.
const TARGET: &str = "actix_ws_client::frames";

/// Bytes of a payload that are shown.
const MAX_SHOWN_BYTES: usize = 128;

/// Logs the frames of a codec, if anybody listens now. To ask for each frame would cost all of
/// those who don't.
pub(super) fn traced(codec: Codec, source: SourceId, epoch: u64) -> Codec {
    if !tracing::enabled!(target: TARGET, tracing::Level::TRACE) {
        return codec;
    }
    codec.with_observer(move |way, header, payload| log(source, epoch, way, header, payload))
}

fn log(source: SourceId, epoch: u64, way: Way, header: &FrameHeader, payload: &[u8]) {
    let way = match way {
        Way::In => "in",
        Way::Out => "out",
    };
    let opcode = match header.opcode {
        Opcode::Continuation => "continuation",
        Opcode::Text => "text",
        Opcode::Binary => "binary",
        Opcode::Close => "close",
        Opcode::Ping => "ping",
        Opcode::Pong => "pong",
    };
    let (fin, len) = (header.fin, header.len);
    let payload = Shown(payload);
    tracing::trace!(target: TARGET, %source, epoch, way, opcode, fin, len, %payload, "frame");
}

/// The beginning of a payload, with all that is not printable escaped.
struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, more) = match self.0.split_at_checked(MAX_SHOWN_BYTES) {
            Some((shown, more)) if !more.is_empty() => (shown, "…"),
            _ => (self.0, ""),
        };
        write!(f, "{}{more}", shown.escape_ascii())
    }
}
