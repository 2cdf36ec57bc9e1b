//! The lower bound for an envelope for each message: the loop of `floor`, with only actix's mailbox
//! between it and the actor that counts.

use std::future::poll_fn;
use std::mem;
use std::task::Poll;

use actix::dev::SendError;
use actix::{Actor, Addr, Context, Handler, Message, System};
use anyhow::{Result, bail, ensure};
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncReadExt;

use crate::actors::{Shared, told};
use crate::clients::floors::{READ, text};
use crate::dial::{Dial, Io};
use crate::frames::find;
use crate::tally::Outcome;
use crate::works::{Kind, Work};

/// The number of messages that are sent before the counter is polled: as many freed blocks of one size
/// as glibc's allocator caches. Six take longer, and so do eight, sixteen, or all of a read.
const TURN: usize = 7;

/// The length in bytes below which a message is copied. A copy costs less than a share of the buffer,
/// whose counter is changed by atomic operations.
const SHORT: usize = 256;

/// Bytes in front of such a copy: without them its block would have the size of a node of the mailbox,
/// and glibc would not cache enough of that size.
const FRONT: usize = 24;

/// A message of its own, checked if it is text.
#[derive(Message)]
#[rtype(result = "()")]
struct Told(Bytes);

/// The actor that counts.
struct Counter(Shared);

impl Actor for Counter {
    type Context = Context<Counter>;
}

impl Handler<Told> for Counter {
    type Result = ();

    fn handle(&mut self, Told(message): Told, _: &mut Context<Counter>) {
        self.0.fill(|tally| tally.add(&message));
    }
}

/// Does a work.
pub fn run(work: &Work, count: u64, to: &Dial) -> Result<Outcome> {
    let connections = match work.kind {
        Kind::Inbound { .. } => 1,
        Kind::Many { connections, .. } => connections,
        _ => bail!("it can't do {}", work.name),
    };
    System::new().block_on(async {
        let (shared, done) = Shared::new(count);
        let readers = (0..connections).map(|_| {
            let counter = Counter(shared.clone()).start();
            actix::spawn(read(to.clone(), counter, count / connections))
        });
        for reader in readers.collect::<Vec<_>>() {
            reader.await??;
        }
        told(done).await?;
        Ok(shared.outcome())
    })
}

/// Sends this many messages of one connection to the counter.
async fn read(dial: Dial, to: Addr<Counter>, count: u64) -> Result<()> {
    let upgraded = dial.upgraded().await?;
    let mut chunk = BytesMut::from(upgraded.buffer());
    let mut io: Io = upgraded.into_inner().into_inner();
    // Messages so far, those since the counter had its turn, and fragments of the next one.
    let (mut handed, mut in_turn, mut parts) = (0, 0, BytesMut::new());
    loop {
        let bytes = chunk.split().freeze();
        let mut rest = &bytes[..];
        while let Some(frame) = find(rest)
            && let Some(payload) = rest.get(frame.start..frame.end())
        {
            rest = &rest[frame.end()..];
            let mut told = Told(match (frame.opcode, frame.fin) {
                (1, true) => {
                    text(payload)?;
                    own(&bytes, payload)
                }
                (2, true) => own(&bytes, payload),
                (0..=2, fin) => {
                    parts.extend_from_slice(payload);
                    if !fin {
                        continue;
                    }
                    parts.split().freeze()
                }
                (opcode, _) => bail!("opcode {opcode}"),
            });
            // Waits while the mailbox is full.
            while let Some(back) = offer(&to, told)? {
                told = back;
                turned().await;
            }
            handed += 1;
            in_turn += 1;
            if in_turn == TURN {
                in_turn = 0;
                turned().await;
            }
        }
        if mem::take(&mut in_turn) > 0 {
            turned().await;
        }
        if handed == count {
            return Ok(());
        }
        let (rest, wanted) = (rest.to_vec(), find(rest).map_or(0, |frame| frame.end()));
        drop(bytes);
        // Here its memory comes back, if nobody has a share in it any more.
        chunk.reserve(wanted.max(READ));
        chunk.extend_from_slice(&rest);
        ensure!(io.read_buf(&mut chunk).await? > 0, "the stream ended");
    }
}

/// Puts a message into the mailbox. It comes back from one that is full.
#[inline]
fn offer(to: &Addr<Counter>, told: Told) -> Result<Option<Told>> {
    match to.try_send(told) {
        Ok(()) => Ok(None),
        Err(SendError::Full(back)) => Ok(Some(back)),
        Err(SendError::Closed(_)) => bail!("the counter is gone"),
    }
}

/// A message of its own, of what was read.
#[inline]
fn own(read: &Bytes, payload: &[u8]) -> Bytes {
    if payload.len() >= SHORT {
        return read.slice_ref(payload);
    }
    let mut block = Vec::with_capacity(FRONT + payload.len());
    block.extend_from_slice(&[0; FRONT]);
    block.extend_from_slice(payload);
    let mut own = Bytes::from(block);
    own.advance(FRONT);
    own
}

/// Lets the others of this thread have their turn.
async fn turned() {
    let mut had = false;
    poll_fn(|cx| {
        if mem::replace(&mut had, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}
