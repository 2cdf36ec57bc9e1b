//! What a client can't be faster than: a loop that reads, with and without looking for frames.

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;
use tokio::task::{JoinSet, LocalSet};

use crate::dial::{Buffered, Dial, Io};
use crate::frames::{find, put_head, wire_length};
use crate::pull::Pull;
use crate::tally::{Digest, Outcome, Tally};
use crate::works::{Kind, Work};

/// Bytes asked for at a time.
pub const READ: usize = 64 << 10;

/// Text shorter than this is checked a word at a time.
const SHORT: usize = 64;

/// Finds frames in place, in a buffer that is used again and again. It has no limits, no closing
/// handshake of its own, and answers no Ping.
pub struct Floor {
    io: Io,
    buf: Vec<u8>,
    /// What was read and is not a whole frame yet.
    filled: usize,
    /// Fragments so far.
    parts: Vec<u8>,
    out: Vec<u8>,
}

impl Floor {
    fn new(upgraded: Buffered, size: usize) -> Floor {
        let early = upgraded.buffer();
        let (mut buf, filled) = (early.to_vec(), early.len());
        buf.resize(size.max(filled), 0);
        let io = upgraded.into_inner().into_inner();
        Floor { io, buf, filled, parts: Vec::new(), out: Vec::new() }
    }

    /// Takes the whole frames that are there.
    fn take(&mut self, tally: &mut Tally) -> Result<()> {
        let mut done = 0;
        while let Some(frame) = find(&self.buf[done..self.filled]) {
            let end = done + frame.end();
            if end > self.filled {
                // A frame longer than the buffer gets one of its own size.
                let needed = frame.end();
                if needed > self.buf.len() {
                    self.buf.resize(needed, 0);
                }
                break;
            }
            let payload = &self.buf[done + frame.start..end];
            match (frame.opcode, frame.fin) {
                (1, true) => tally.add_text(text(payload)?),
                (2, true) => tally.add(payload),
                (0..=2, false) => self.parts.extend_from_slice(payload),
                (0, true) => {
                    self.parts.extend_from_slice(payload);
                    tally.add(&self.parts);
                    self.parts.clear();
                }
                (opcode, _) => bail!("opcode {opcode}"),
            }
            done = end;
        }
        self.buf.copy_within(done..self.filled, 0);
        self.filled -= done;
        Ok(())
    }

    fn put(&mut self, opcode: u8, payload: &[u8]) {
        const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
        put_head(&mut self.out, 0x80 | opcode, true, payload.len());
        self.out.extend(MASK);
        let start = self.out.len();
        self.out.extend_from_slice(payload);
        let (words, rest) = self.out[start..].as_chunks_mut::<4>();
        words.iter_mut().for_each(|word| {
            *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(MASK)).to_ne_bytes();
        });
        rest.iter_mut().zip(MASK).for_each(|(byte, mask)| *byte ^= mask);
    }
}

/// Checked text.
pub fn text(bytes: &[u8]) -> Result<&str> {
    match bytes.len() {
        0..SHORT => Ok(std::str::from_utf8(bytes)?),
        _ => Ok(simdutf8::basic::from_utf8(bytes)?),
    }
}

impl Pull for Floor {
    async fn open(dial: &Dial) -> Result<Floor> {
        let size = if dial.frugal { 512 } else { READ };
        Ok(Floor::new(dial.upgraded().await?, size))
    }

    async fn read(&mut self, tally: &mut Tally) -> Result<()> {
        let read = self.io.read(&mut self.buf[self.filled..]).await?;
        ensure!(read > 0, "the stream ended");
        self.filled += read;
        self.take(tally)
    }

    async fn feed(&mut self, message: &Bytes) -> Result<()> {
        self.put(2, message);
        if self.out.len() >= READ {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        self.io.write_all(&self.out).await?;
        self.out.clear();
        Ok(self.io.flush().await?)
    }

    async fn close(mut self) -> Result<()> {
        self.put(8, &1000_u16.to_be_bytes());
        self.flush().await?;
        while self.io.read(&mut self.buf).await? > 0 {}
        Ok(())
    }
}

/// Reads bytes and looks at none. How many messages they were follows from what one takes.
pub fn raw(work: &Work, count: u64, dial: &Dial) -> Result<Outcome> {
    let connections = match work.kind {
        Kind::Many { connections, .. } => connections,
        _ => 1,
    };
    let Some(load) = work.load() else { bail!("it can't do {}", work.name) };
    let length = wire_length(load) as u64;
    let wanted = count / connections * length;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let mut readers = JoinSet::new();
        for _ in 0..connections {
            let dial = dial.clone();
            readers.spawn_local(async move { swallow(&dial, wanted).await });
        }
        let mut tally = Tally::new(count);
        for read in readers.join_all().await {
            tally.merge(read?);
        }
        let Digest { bytes, .. } = tally.digest;
        let messages = bytes / length;
        let digest = Digest { count: messages, bytes: messages * load.size as u64, xor: None };
        Ok(Outcome { digest, ..tally.outcome() })
    })
}

/// Reads so many bytes, and puts them down as bytes of no message.
async fn swallow(dial: &Dial, wanted: u64) -> Result<Tally> {
    let upgraded = dial.upgraded().await?;
    let mut tally = Tally::new(0);
    tally.digest.bytes = upgraded.buffer().len() as u64;
    let mut io = upgraded.into_inner().into_inner();
    // Not zeros: those the system would fetch only while they are read into.
    let mut buf = vec![1; READ];
    while tally.digest.bytes < wanted {
        let read = io.read(&mut buf).await?;
        ensure!(read > 0, "the stream ended");
        // Not before: others may be dialling still.
        tally.begin();
        tally.digest.bytes += read as u64;
    }
    Ok(tally)
}
