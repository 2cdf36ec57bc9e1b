//! The works, for clients that are polled for one message after the other.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use tokio::runtime::Builder;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use crate::dial::Dial;
use crate::frames::message;
use crate::tally::{Digest, Outcome, Stamp, Tally, private_memory};
use crate::works::{Kind, Load, Work};

/// A client with a loop of its own.
#[allow(async_fn_in_trait, reason = "the trait is not public")]
pub trait Pull: Sized + 'static {
    /// Connects and upgrades.
    async fn open(dial: &Dial) -> Result<Self>;

    /// Reads the next message, or all that have arrived together, and counts each in the tally.
    async fn read(&mut self, tally: &mut Tally) -> Result<()>;

    /// Sends a binary message. Does not wait until it is written, if the client can buffer it.
    async fn feed(&mut self, message: &Bytes) -> Result<()>;

    /// Flushes what is buffered.
    async fn flush(&mut self) -> Result<()>;

    /// Does the closing handshake.
    async fn close(self) -> Result<()>;
}

/// Runs a work on a single-threaded runtime.
pub fn run<P: Pull>(work: &Work, count: u64, dial: &Dial) -> Result<Outcome> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        match work.kind {
            Kind::Inbound { .. } => Ok(flooded::<P>(dial, count).await?.outcome()),
            Kind::Many { connections, .. } => many::<P>(dial, count, connections).await,
            Kind::Outbound { size } => outbound::<P>(dial, count, size).await,
            Kind::Latency { size } => latency::<P>(dial, count, size).await,
            Kind::Idle { .. } => idle(count, || parked::<P>(dial)).await,
            Kind::Handshake { at_once, .. } => {
                handshakes(count, at_once, || async { P::open(dial).await?.close().await }).await
            }
        }
    })
}

/// Reads this many messages from one connection.
async fn flooded<P: Pull>(dial: &Dial, count: u64) -> Result<Tally> {
    let mut socket = P::open(dial).await?;
    let mut tally = Tally::new(count);
    while !tally.is_done() {
        socket.read(&mut tally).await?;
    }
    Ok(tally)
}

/// Reads this many messages from many connections, each in a task.
async fn many<P: Pull>(dial: &Dial, count: u64, connections: u64) -> Result<Outcome> {
    let each = count / connections;
    let tasks: Vec<JoinHandle<Result<Tally>>> = (0..connections)
        .map(|_| {
            let dial = dial.clone();
            spawn_local(async move { flooded::<P>(&dial, each).await })
        })
        .collect();
    let mut tally = Tally::new(count);
    for task in tasks {
        tally.merge(task.await??);
    }
    Ok(tally.outcome())
}

/// Returns the messages to send, which differ, and their digest.
pub struct Outgoing {
    messages: Vec<Bytes>,
    pub sum: Digest,
}

impl Outgoing {
    pub fn new(size: usize) -> Outgoing {
        let load = Load { size, text: false, fragments: 1 };
        let messages = (0..64).map(|index| message(load, index).into()).collect();
        Outgoing { messages, sum: Digest::EMPTY }
    }

    pub fn next(&mut self) -> Bytes {
        let message = &self.messages[self.sum.count as usize % self.messages.len()];
        self.sum.add(message.len(), message[0], message[message.len() - 1]);
        message.clone()
    }
}

/// Sends this many messages, and waits until the blaster has received them.
async fn outbound<P: Pull>(dial: &Dial, count: u64, size: usize) -> Result<Outcome> {
    let mut socket = P::open(dial).await?;
    let mut outgoing = Outgoing::new(size);
    let start = Stamp::now();
    for _ in 0..count {
        socket.feed(&outgoing.next()).await?;
    }
    socket.flush().await?;
    let mut done = Tally::new(1);
    while !done.is_done() {
        socket.read(&mut done).await?;
    }
    Ok(Outcome { digest: outgoing.sum, cost: start.cost(), ..Outcome::default() })
}

/// Sends one message after the other, each when the echo of the last has arrived.
async fn latency<P: Pull>(dial: &Dial, count: u64, size: usize) -> Result<Outcome> {
    let mut socket = P::open(dial).await?;
    let mut outgoing = Outgoing::new(size);
    let mut times = Vec::with_capacity(count as usize);
    let mut back = Tally::new(count);
    let start = Stamp::now();
    for round in 1..=count {
        let message = outgoing.next();
        let sent = Instant::now();
        socket.feed(&message).await?;
        socket.flush().await?;
        while back.digest.count < round {
            socket.read(&mut back).await?;
        }
        times.push(sent.elapsed());
    }
    echoed(outgoing.sum, back.digest, start, times)
}

/// Returns the result of the echoes, if all are equal to what was sent.
pub fn echoed(
    sent: Digest,
    back: Digest,
    start: Stamp,
    mut times: Vec<Duration>,
) -> Result<Outcome> {
    let cost = start.cost();
    ensure!(back.agrees(&sent), "sent {sent:?}, back came {back:?}");
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied();
    Ok(Outcome { digest: back, cost, median, memory: None })
}

/// Opens a connection that a task reads from.
async fn parked<P: Pull>(dial: &Dial) -> Result<JoinHandle<Result<()>>> {
    let mut socket = P::open(dial).await?;
    Ok(spawn_local(async move { socket.read(&mut Tally::new(1)).await }))
}

/// A connection that may be closed already.
pub trait Alive {
    fn is_alive(&self) -> bool;
}

impl Alive for JoinHandle<Result<()>> {
    fn is_alive(&self) -> bool {
        !self.is_finished()
    }
}

/// Opens this many connections, a few at a time, keeps them open, and measures their memory.
pub async fn idle<C: Alive, F>(count: u64, open: impl Fn() -> F) -> Result<Outcome>
where
    F: Future<Output = Result<C>>,
{
    // The first one pays the costs that a process has only once.
    let mut open_ones = vec![open().await?];
    let (before, start) = (private_memory()?, Stamp::now());
    open_ones.reserve_exact(count as usize);
    while (open_ones.len() as u64) <= count {
        let left = count + 1 - open_ones.len() as u64;
        let next = (0..left.min(32)).map(|_| open());
        open_ones.extend(futures_util::future::try_join_all(next).await?);
    }
    // By then all work that the openings left behind is done.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let memory = private_memory()?.saturating_sub(before) / count;
    let alive = open_ones.iter().filter(|one| one.is_alive()).count() as u64;
    let digest = Digest { count: alive.saturating_sub(1), ..Digest::EMPTY };
    let outcome = Outcome { digest, cost: start.cost(), median: None, memory: Some(memory) };
    // The sockets are closed with the process: a closing handshake for each would take longer than the
    // measurement.
    std::mem::forget(open_ones);
    Ok(outcome)
}

/// Does this many handshakes, this many at once.
pub async fn handshakes<F>(count: u64, at_once: u64, one: impl Fn() -> F) -> Result<Outcome>
where
    F: Future<Output = Result<()>>,
{
    one().await?;
    let left = Rc::new(Cell::new(count));
    let start = Stamp::now();
    let lanes = (0..at_once).map(|_| async {
        while let Some(rest) = left.get().checked_sub(1) {
            left.set(rest);
            one().await?;
        }
        anyhow::Ok(())
    });
    futures_util::future::try_join_all(lanes).await?;
    let digest = Digest { count, ..Digest::EMPTY };
    Ok(Outcome { digest, cost: start.cost(), ..Outcome::default() })
}
