//! Log records: the fields that all of a connection have, and a record of each frame where those are enabled
//! (WebSocketApp's `enableTrace`).

use std::fmt;

use crate::command::status::SourceId;
use crate::proto::codec::{Codec, Way};
use crate::proto::frame::{FrameHeader, Opcode};

/// Writes a log record with the fields that say whose it is: the connection's number, its name if it has one,
/// and the host of its newest dial.
macro_rules! record {
    ($level:ident, $connection:expr, $($fields:tt)+) => {
        tracing::$level!(
            source = %$connection.source,
            name = $connection.plan.options.name.as_deref(),
            host = $connection.host(),
            $($fields)+
        )
    };
}

pub(super) use record;

/// The target of the records of frames.
const TARGET: &str = "actix_ws_client::frames";

/// The most bytes of a payload in a log record.
const MAX_SHOWN_BYTES: usize = 128;

/// Makes a codec log its frames if the log is enabled now. To ask for each frame would cost every
/// connection that does not log.
pub(super) fn traced(codec: Codec, source: SourceId, epoch: u64) -> Codec {
    if !tracing::enabled!(target: TARGET, tracing::Level::TRACE) {
        return codec;
    }
    codec.with_observer(move |way, header, payload| log(source, epoch, way, header, payload))
}

fn log(source: SourceId, epoch: u64, way: Way, header: &FrameHeader, payload: &[u8]) {
    let opcode = match header.opcode {
        Opcode::Continuation => "continuation",
        Opcode::Text => "text",
        Opcode::Binary => "binary",
        Opcode::Close => "close",
        Opcode::Ping => "ping",
        Opcode::Pong => "pong",
    };
    let hidden = way == Way::Out && payload.is_empty() && header.len > 0;
    let way = match way {
        Way::In => "in",
        Way::Out => "out",
    };
    let (fin, len) = (header.fin, header.len);
    let payload = if hidden { Shown(b"***") } else { Shown(payload) };
    tracing::trace!(target: TARGET, %source, epoch, way, opcode, fin, len, %payload, "frame");
}

/// The beginning of a payload, with what is not printable escaped.
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
