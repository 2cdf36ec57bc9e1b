//! DEFLATE (RFC 1951) for one message after the other, as permessage-deflate uses it (RFC 7692,
//! 7.2).

use std::cell::Cell;

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush, Method, Status};

use crate::proto::error::ProtocolError;

/// Evidence that this build can compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Available(());

/// The evidence, in a build with the feature `deflate`.
pub(super) const AVAILABLE: Option<Available> = Some(Available(()));

/// The compression of both directions of one connection.
pub(super) struct Deflation {
    /// For incoming messages.
    pub(super) inflater: Inflater,
    /// For outgoing messages.
    pub(super) deflater: Deflater,
}

/// How one direction of a connection is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    /// The size of the window as a power of two, 8 to 15.
    pub(super) window_bits: u8,
    /// Whether a message may refer to the messages before it (context takeover).
    pub(super) takeover: bool,
}

/// How hard we compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tuning {
    /// Messages with fewer bytes are sent uncompressed.
    pub(super) threshold: usize,
    /// The compression level, from 1, the fastest, to 9, the smallest.
    pub(super) level: u8,
    /// The memory for symbols and output, from 1, the least, to 9; each level doubles it.
    pub(super) mem_level: u8,
}

/// The bytes at the end of every compressed message, which are not sent (RFC 7692, 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// The fewest bytes of output that room is made for at once.
const MIN_OUTPUT_STEP: usize = 256;
/// The most bytes of output that room is made for at once.
const MAX_OUTPUT_STEP: usize = 64 << 10;

/// The longest message that is compressed, in bytes: zlib counts in 32 bits.
const MAX_INPUT: usize = 1 << 30;

thread_local! {
    // One of each for all connections of a thread that have no context takeover: such a connection
    // needs none between two messages.
    static CACHED_INFLATE: Cell<Option<Inflate>> = const { Cell::new(None) };
    static CACHED_DEFLATE: Cell<Option<(DeflateConfig, Deflate)>> = const { Cell::new(None) };
}

/// Inflates the messages of one peer, piece by piece.
pub(super) struct Inflater {
    /// How the peer compresses.
    context: Context,
    /// The position in the current message.
    position: Position,
    /// The decompressor, about 47 KiB. Present from the first compressed message on; without
    /// context takeover only inside a message.
    stream: Option<Inflate>,
}

/// A position in a compressed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// Before its first byte.
    Start,
    /// After some byte of it.
    Inside,
    /// Directly after a block that is marked as the last one (BFINAL; RFC 7692, 7.2.3.4).
    Ended,
}

impl Inflater {
    /// Creates the decompressor of one connection.
    pub(super) fn new(_: Available, context: Context) -> Self {
        Self { context, position: Position::Start, stream: None }
    }

    /// Inflates a piece of a message and appends the result to `out`, which then has at most
    /// `limit` bytes.
    ///
    /// # Errors
    /// If the piece is not valid DEFLATE data, or the result exceeds the limit, which is found
    /// before the excess is stored. `out` then has everything before the error.
    pub(super) fn push(
        &mut self,
        mut piece: &[u8],
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), ProtocolError> {
        if piece.is_empty() {
            return Ok(());
        }
        self.position = Position::Inside;
        let context = self.context;
        let stream = self.stream.get_or_insert_with(|| context.new_stream());
        // Room for four times the input at first, and for twice as much each time that the peer has
        // filled it: a small piece cannot make us reserve much.
        let mut step = piece.len().saturating_mul(4).clamp(MIN_OUTPUT_STEP, MAX_OUTPUT_STEP);
        loop {
            let progress = inflate_some(stream, piece, out, step, limit)?;
            piece = &piece[progress.consumed..];
            if progress.ended {
                // RFC 7692, 7.2.3.4: after a last block another DEFLATE stream may follow.
                stream.reset(false);
            }
            if progress.full {
                step = (2 * step).min(MAX_OUTPUT_STEP);
            } else if piece.is_empty() {
                self.position = if progress.ended { Position::Ended } else { Position::Inside };
                return Ok(());
            } else if progress.consumed == 0 && !progress.ended {
                // No input was used and no output is pending: the decompressor is stuck.
                return Err(ProtocolError::InvalidDeflate);
            }
        }
    }

    /// Ends the message.
    ///
    /// # Errors
    /// If the message ends inside a block.
    pub(super) fn finish(&mut self) -> Result<(), ProtocolError> {
        let position = std::mem::replace(&mut self.position, Position::Start);
        let Some(mut stream) = self.stream.take() else {
            return Ok(());
        };
        // A last block has no tail that the sender could have removed.
        if position == Position::Inside {
            check_tail(&mut stream)?;
        }
        if self.context.takeover {
            self.stream = Some(stream);
        } else {
            stream.reset(false);
            // While the thread ends there is no cache, and the decompressor is dropped.
            let _ = CACHED_INFLATE.try_with(|kept| kept.set(Some(stream)));
        }
        Ok(())
    }
}

/// What one call of the decompressor did.
struct Progress {
    /// The bytes of input that it used.
    consumed: usize,
    /// Whether it reached the end of a block that is marked as the last one.
    ended: bool,
    /// Whether it filled the room for output, so that more may be pending.
    full: bool,
}

/// Inflates into at most `step` more bytes of `out`.
fn inflate_some(
    stream: &mut Inflate,
    piece: &[u8],
    out: &mut Vec<u8>,
    step: usize,
    limit: usize,
) -> Result<Progress, ProtocolError> {
    let begin = out.len();
    let room = step.min(limit.saturating_sub(begin));
    make_room(out, room, limit);
    out.resize(begin + room, 0);
    // At the limit, one more byte of room outside `out` shows whether the message goes on. It must
    // not be an error if it ends exactly at the limit.
    let mut beyond = [0];
    let target = if room == 0 { &mut beyond[..] } else { &mut out[begin..] };
    let (total_in, total_out) = (stream.total_in(), stream.total_out());
    let status = stream.decompress(piece, target, InflateFlush::NoFlush);
    let consumed = difference(total_in, stream.total_in());
    let produced = difference(total_out, stream.total_out());
    if room == 0 && produced > 0 {
        return Err(ProtocolError::MessageTooLarge { limit });
    }
    out.truncate(begin + produced);
    let status = status.map_err(|_| ProtocolError::InvalidDeflate)?;
    let ended = status == Status::StreamEnd;
    Ok(Progress { consumed, ended, full: produced == room && room > 0 && !ended })
}

/// Checks that a message ends between two blocks, where the sender has removed the tail, the length
/// of an empty stored block (RFC 7692, 7.2.2).
///
/// Feeds the tail and one more byte. At the right position the decompressor uses exactly the tail
/// and yields nothing; inside a block it would take the bytes for data.
fn check_tail(stream: &mut Inflate) -> Result<(), ProtocolError> {
    let mut nothing = [0; 8];
    let (total_in, total_out) = (stream.total_in(), stream.total_out());
    let input = [&TAIL[..], &[0]].concat();
    let status = stream.decompress(&input, &mut nothing, InflateFlush::Block);
    let consumed = difference(total_in, stream.total_in());
    if status.is_err() || consumed != TAIL.len() || stream.total_out() != total_out {
        return Err(ProtocolError::InvalidDeflate);
    }
    Ok(())
}

/// Makes room for `more` bytes. The capacity is at least doubled, but doubling stops at the limit.
fn make_room(out: &mut Vec<u8>, more: usize, limit: usize) {
    let (len, capacity) = (out.len(), out.capacity());
    if capacity - len < more {
        let wanted = capacity.saturating_mul(2).min(limit).max(len + more);
        out.reserve_exact(wanted - len);
    }
}

/// Returns how far one of the stream's counters has advanced.
fn difference(before: u64, after: u64) -> usize {
    usize::try_from(after - before).expect("both ends lie in one slice")
}

impl Context {
    /// Returns a decompressor, the cached one of the thread if messages are independent.
    fn new_stream(self) -> Inflate {
        let kept = match self.takeover {
            true => None,
            false => CACHED_INFLATE.try_with(Cell::take).ok().flatten(),
        };
        // zlib writes a window of 9 bits where 8 were negotiated, so 9 are needed to read it.
        kept.unwrap_or_else(|| Inflate::new(false, self.window_bits.max(9)))
    }
}

/// Compresses outgoing messages, one after the other.
pub(super) struct Deflater {
    /// How the peer expects us to compress.
    context: Context,
    /// How hard we compress.
    tuning: Tuning,
    /// The compressor. Present from the first compressed message on; without context takeover
    /// never.
    stream: Option<Deflate>,
}

impl Deflater {
    /// Creates the compressor of one connection.
    pub(super) fn new(_: Available, context: Context, tuning: Tuning) -> Self {
        Self { context, tuning, stream: None }
    }

    /// Returns the compressed payload, or `None` if it is to be sent as it is, because it is short
    /// or gets no smaller.
    pub(super) fn compress(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        // zlib cannot compress with a window of 8 bits. Every message may be sent uncompressed (RFC
        // 7692, 6).
        let worth = self.tuning.threshold.max(1)..=MAX_INPUT;
        if !worth.contains(&payload.len()) || self.context.window_bits < 9 {
            return None;
        }
        let config = self.config();
        let mut stream = self.stream.take().unwrap_or_else(|| self.new_stream(config));
        let compressed = deflate(&mut stream, payload);
        if !self.context.takeover {
            stream.reset();
            // While the thread ends there is no cache, and the compressor is dropped.
            let _ = CACHED_DEFLATE.try_with(|kept| kept.set(Some((config, stream))));
        } else if compressed.is_some() {
            self.stream = Some(stream);
        }
        // Otherwise the window has bytes that the peer will never see: the compressor is dropped, and
        // the next message begins with a new one.
        compressed
    }

    /// Returns the settings of zlib's compressor.
    fn config(&self) -> DeflateConfig {
        DeflateConfig {
            level: self.tuning.level.into(),
            method: Method::Deflated,
            // A negative size selects raw DEFLATE, without zlib's header.
            window_bits: -i32::from(self.context.window_bits),
            mem_level: self.tuning.mem_level.into(),
            strategy: zlib_rs::Strategy::Default,
        }
    }

    /// Returns a compressor, the cached one of the thread if messages are independent.
    fn new_stream(&self, config: DeflateConfig) -> Deflate {
        let kept = match self.context.takeover {
            true => None,
            false => CACHED_DEFLATE.try_with(Cell::take).ok().flatten(),
        };
        match kept {
            Some((like, stream)) if like == config => stream,
            _ => Deflate::new_with_config(config),
        }
    }
}

/// Compresses one message, without its tail; `None` if it gets no smaller.
///
/// One call, with room for the worst case: zlib-rs 0.6.8 can panic at level 1 if it cannot write
/// all of its output.
fn deflate(stream: &mut Deflate, payload: &[u8]) -> Option<Vec<u8>> {
    let len = payload.len();
    let mut out = vec![0; len + len / 8 + len / 64 + 64];
    let (total_in, total_out) = (stream.total_in(), stream.total_out());
    stream.compress(payload, &mut out, DeflateFlush::SyncFlush).ok()?;
    let (taken, made) =
        (difference(total_in, stream.total_in()), difference(total_out, stream.total_out()));
    let compressed = out[..made].strip_suffix(&TAIL)?.len();
    if taken < len || made == out.len() || compressed >= len {
        return None;
    }
    out.truncate(compressed);
    Some(out)
}

#[cfg(test)]
mod tests;
