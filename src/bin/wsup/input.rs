//! The lines of stdin, read by a thread of their own.

use std::io::{self, BufRead};
use std::sync::Arc;

use bytestring::ByteString;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::args;
use crate::print::aside;

/// What was read of stdin and not sent yet.
pub(crate) struct Lines {
    /// Has no bound of its own: each line in it holds its share of `Lines::room`.
    lines: UnboundedReceiver<Line>,
    /// Whether there was any line.
    any: bool,
}

/// A line of stdin, and its share of the room for lines, until it is dropped.
pub(crate) struct Line {
    pub(crate) text: ByteString,
    _room: OwnedSemaphorePermit,
}

/// What a line costs besides its text.
const OVERHEAD: usize = 64;

impl Lines {
    /// Begins to read stdin, as long as the lines that wait have at most `most` bytes.
    ///
    /// A thread blocked in a read cannot be ended: the process must end by `exit`.
    pub(crate) fn read(most: usize) -> io::Result<Lines> {
        let (sender, lines) = unbounded_channel();
        let runtime = Handle::current();
        let thread = std::thread::Builder::new().name("stdin".into());
        thread.spawn(move || {
            if let Err(err) = pass_on(&mut io::stdin().lock(), most, &sender, &runtime) {
                aside(&format!("wsup: stdin: {err}"));
            }
        })?;
        Ok(Lines { lines, any: false })
    }

    /// The next line; `None` at the end of the input.
    pub(crate) async fn next(&mut self) -> Option<Line> {
        let line = self.lines.recv().await;
        self.any |= line.is_some();
        line
    }

    /// Whether there was any line. Input without one (`/dev/null`) is no input.
    pub(crate) fn any(&self) -> bool {
        self.any
    }
}

fn pass_on(
    input: &mut impl BufRead,
    most: usize,
    lines: &UnboundedSender<Line>,
    runtime: &Handle,
) -> io::Result<()> {
    // A size is at most 1g.
    let all = u32::try_from(most).unwrap_or(u32::MAX);
    let room = Arc::new(Semaphore::new(all as usize));
    let mut number = 0_u64;
    while let Some(line) = read_line(input, most)? {
        number += 1;
        let text = match line {
            Ok(text) => text,
            Err(why) => {
                aside(&format!("wsup: line {number} of stdin was not sent: {why}"));
                continue;
            }
        };
        let cost = u32::try_from(text.len() + OVERHEAD).unwrap_or(all).min(all);
        // Neither fails: nobody closes the semaphore, and a run that is over needs no lines.
        let Ok(room) = runtime.block_on(room.clone().acquire_many_owned(cost)) else { break };
        if lines.send(Line { text: text.into(), _room: room }).is_err() {
            break;
        }
    }
    Ok(())
}

/// The next line without its end, or why it cannot be a message; `None` at the end of the input.
/// Never holds more than `most` bytes and the line's end.
fn read_line(
    input: &mut impl BufRead,
    most: usize,
) -> io::Result<Option<Result<String, &'static str>>> {
    const TOO_LONG: &str = "longer than --send-buffer";
    let mut line = Vec::new();
    let limit = most + b"\r\n".len();
    if io::Read::take(&mut *input, limit as u64).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.pop_if(|last| *last == b'\n').is_some() {
        line.pop_if(|last| *last == b'\r');
    } else if line.len() == limit {
        input.skip_until(b'\n')?;
        return Ok(Some(Err(TOO_LONG)));
    }
    Ok(Some(match String::from_utf8(line) {
        Ok(text) if args::fits(&text, most) => Ok(text),
        Ok(_) => Err(TOO_LONG),
        Err(_) => Err("not UTF-8"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(mut input: &[u8], most: usize) -> Vec<Result<String, &'static str>> {
        std::iter::from_fn(|| read_line(&mut input, most).unwrap()).collect()
    }

    #[test]
    fn a_line_is_what_stands_before_its_end() {
        let expected = ["a", "b", "", "c"].map(|line| Ok(line.to_owned()));
        assert_eq!(lines(b"a\nb\r\n\nc", 100), expected);
        assert_eq!(lines(b"", 100), []);
    }

    #[test]
    fn a_line_that_cannot_be_a_message_does_not_cost_the_next() {
        let too_long = Err("longer than --send-buffer");
        let ok = |text: &str| Ok(text.to_owned());
        // A masked frame has a header of six bytes.
        assert_eq!(lines(b"1234\n12345\nab\n", 10), [ok("1234"), too_long.clone(), ok("ab")]);
        assert_eq!(lines(&[&[b'x'; 500], &b"\nab"[..]].concat(), 10), [too_long, ok("ab")]);
        assert_eq!(lines(b"\xff\nab", 10), [Err("not UTF-8"), ok("ab")]);
    }
}
