//! Lines of input: read from stdin by a thread, or typed at the prompt.

use std::io::{self, BufRead};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use actix_ws_client::Payload;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::buffer::Buffer;
use crate::screen::eprint_line;

/// Lines that were read and not sent yet.
pub(crate) struct Lines {
    /// Unbounded as a channel: each line in it holds a permit of a `Room`, which is bounded.
    lines: UnboundedReceiver<Line>,
    /// Whether any line was read, also one that cannot be sent.
    any: Arc<AtomicBool>,
}

/// A line, with its permit of the room for lines until it is dropped.
pub(crate) struct Line {
    pub(crate) payload: Payload,
    _room: OwnedSemaphorePermit,
}

/// What a line counts against the room besides its text, in bytes.
const OVERHEAD: usize = 64;

impl Lines {
    /// Starts to read stdin. Reading pauses while the unsent lines have as many bytes as the buffer.
    ///
    /// A thread blocked in a read cannot be ended: the process must end by `exit`.
    pub(crate) fn read(buffer: Buffer, kind: Kind) -> io::Result<Lines> {
        let (sender, lines) = unbounded_channel();
        let runtime = Handle::current();
        let any = Arc::new(AtomicBool::new(false));
        let read = any.clone();
        let thread = std::thread::Builder::new().name("stdin".into());
        thread.spawn(move || {
            let input = &mut io::stdin().lock();
            if let Err(err) = pass_on(input, (buffer, kind), &sender, &read, &runtime) {
                eprint_line(&format!("wsup: stdin: {err}"));
            }
        })?;
        Ok(Lines { lines, any })
    }

    /// Creates a channel for typed lines: unsent lines may have as many bytes as the buffer. The input
    /// ends when the `LineSender` is dropped, even without a line.
    pub(crate) fn typed(buffer: Buffer, kind: Kind) -> (LineSender, Lines) {
        let (sender, lines) = unbounded_channel();
        let room = Room::new(buffer.bytes);
        (LineSender { sender, room, buffer, kind }, Lines { lines, any: Arc::new(true.into()) })
    }

    /// Returns the next line, or `None` at the end of the input.
    pub(crate) async fn next(&mut self) -> Option<Line> {
        self.lines.recv().await
    }

    /// Returns whether any line was read, also one that cannot be sent. Input without one (`/dev/null`)
    /// counts as no input.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Relaxed)
    }
}

/// The type of message that a line becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Binary,
}

impl Kind {
    /// Converts bytes to a message. Returns `None` if they cannot be one.
    pub(crate) fn payload(self, bytes: Vec<u8>) -> Option<Payload> {
        match self {
            Kind::Text => String::from_utf8(bytes).ok().map(Payload::from),
            Kind::Binary => Some(Payload::from(bytes)),
        }
    }
}

/// Accepts typed lines. A line without room is refused, so that the prompt never blocks.
pub(crate) struct LineSender {
    sender: UnboundedSender<Line>,
    room: Room,
    buffer: Buffer,
    kind: Kind,
}

impl LineSender {
    /// Enqueues a line.
    ///
    /// # Errors
    /// Why the line is not sent.
    pub(crate) fn put(&self, line: String) -> Result<(), &'static str> {
        if !self.buffer.fits(line.len()) {
            return Err(TOO_LONG);
        }
        let payload = self.kind.payload(line.into_bytes()).ok_or(NOT_UTF8)?;
        let permit = self.room.semaphore.clone().try_acquire_many_owned(self.room.cost(&payload));
        let room = permit.map_err(|_| "more lines wait than --send-buffer holds")?;
        self.sender.send(Line { payload, _room: room }).map_err(|_| "the connection is closing")
    }
}

/// The bytes that unsent lines may have.
struct Room {
    semaphore: Arc<Semaphore>,
    all: u32,
}

impl Room {
    fn new(most: usize) -> Room {
        // A size is at most 1g.
        let all = u32::try_from(most).unwrap_or(u32::MAX);
        Room { semaphore: Arc::new(Semaphore::new(all as usize)), all }
    }

    fn cost(&self, payload: &Payload) -> u32 {
        u32::try_from(payload.len() + OVERHEAD).unwrap_or(self.all).min(self.all)
    }
}

const TOO_LONG: &str = "longer than --send-buffer";
const NOT_UTF8: &str = "not UTF-8";

fn pass_on(
    input: &mut impl BufRead,
    (buffer, kind): (Buffer, Kind),
    lines: &UnboundedSender<Line>,
    any: &AtomicBool,
    runtime: &Handle,
) -> io::Result<()> {
    let room = Room::new(buffer.bytes);
    let mut number = 0_u64;
    while let Some(line) = read_line(input, buffer, kind)? {
        number += 1;
        // Seen by the receiver at the latest with the end of the channel.
        any.store(true, Relaxed);
        let payload = match line {
            Ok(payload) => payload,
            Err(why) => {
                eprint_line(&format!("wsup: line {number} of stdin was not sent: {why}"));
                continue;
            }
        };
        // The semaphore is never closed, and a run that is over needs no lines.
        let permit = room.semaphore.clone().acquire_many_owned(room.cost(&payload));
        let Ok(room) = runtime.block_on(permit) else { break };
        if lines.send(Line { payload, _room: room }).is_err() {
            break;
        }
    }
    Ok(())
}

/// Reads a line and removes its end. Returns why it cannot be a message if so, and `None` at the end of
/// the input. Buffers no more bytes than the send buffer and the end of the line have.
fn read_line(
    input: &mut impl BufRead,
    buffer: Buffer,
    kind: Kind,
) -> io::Result<Option<Result<Payload, &'static str>>> {
    let mut line = Vec::new();
    let limit = buffer.bytes + b"\r\n".len();
    if io::Read::take(&mut *input, limit as u64).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.pop_if(|last| *last == b'\n').is_some() {
        line.pop_if(|last| *last == b'\r');
    } else if line.len() == limit {
        input.skip_until(b'\n')?;
        return Ok(Some(Err(TOO_LONG)));
    }
    Ok(Some(match kind.payload(line) {
        Some(payload) if buffer.fits(payload.len()) => Ok(payload),
        Some(_) => Err(TOO_LONG),
        None => Err(NOT_UTF8),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(mut input: &[u8], most: usize) -> Vec<Result<Payload, &'static str>> {
        let buffer = Buffer { bytes: most, fragment: None };
        std::iter::from_fn(|| read_line(&mut input, buffer, Kind::Text).unwrap()).collect()
    }

    #[test]
    fn a_line_is_what_stands_before_its_end() {
        let expected = ["a", "b", "", "c"].map(|line| Ok(line.into()));
        assert_eq!(lines(b"a\nb\r\n\nc", 100), expected);
        assert_eq!(lines(b"", 100), []);
    }

    #[test]
    fn a_line_that_cannot_be_a_message_does_not_cost_the_next() {
        let too_long = Err("longer than --send-buffer");
        let ok = |text: &str| Ok(text.into());
        // A masked frame has a header of six bytes.
        assert_eq!(lines(b"1234\n12345\nab\n", 10), [ok("1234"), too_long.clone(), ok("ab")]);
        assert_eq!(lines(&[&[b'x'; 500], &b"\nab"[..]].concat(), 10), [too_long, ok("ab")]);
        assert_eq!(lines(b"\xff\nab", 10), [Err("not UTF-8"), ok("ab")]);
        let buffer = Buffer { bytes: 10, fragment: None };
        let binary = read_line(&mut &b"\xff\n"[..], buffer, Kind::Binary).unwrap();
        assert_eq!(binary, Some(Ok(vec![0xff].into())));
    }
}
