//! Shared by the clients that are actors: a tally that all handlers fill, and a future for its end.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::pull::{Outgoing, echoed};
use crate::tally::{Outcome, Stamp, Tally};

/// The tally of all handlers of one thread.
#[derive(Clone)]
pub struct Shared(Rc<RefCell<Inner>>);

struct Inner {
    tally: Tally,
    done: Option<oneshot::Sender<()>>,
}

impl Shared {
    /// Creates a tally of this many messages, and a future that resolves when they have arrived.
    pub fn new(wanted: u64) -> (Shared, oneshot::Receiver<()>) {
        let (done, wait) = oneshot::channel();
        let inner = Inner { tally: Tally::new(wanted), done: Some(done) };
        (Shared(Rc::new(RefCell::new(inner))), wait)
    }

    /// Gives a handler access to the tally.
    #[inline]
    pub fn fill<T>(&self, fill: impl FnOnce(&mut Tally) -> T) -> T {
        let inner = &mut *self.0.borrow_mut();
        let filled = fill(&mut inner.tally);
        if inner.tally.is_done()
            && let Some(done) = inner.done.take()
        {
            let _ = done.send(());
        }
        filled
    }

    pub fn outcome(&self) -> Outcome {
        self.0.borrow().tally.outcome()
    }
}

/// Echoes, one at a time, as a handler sees them.
pub struct Echoes {
    outgoing: Outgoing,
    back: Tally,
    times: Vec<Duration>,
    start: Option<Stamp>,
    sent: Instant,
    count: u64,
    done: Option<oneshot::Sender<Result<Outcome>>>,
}

impl Echoes {
    /// Creates the state for this many echoes, and a future for their result.
    pub fn new(count: u64, size: usize) -> (Echoes, oneshot::Receiver<Result<Outcome>>) {
        let (done, wait) = oneshot::channel();
        let echoes = Echoes {
            outgoing: Outgoing::new(size),
            back: Tally::new(count),
            times: Vec::with_capacity(count as usize),
            start: None,
            sent: Instant::now(),
            count,
            done: Some(done),
        };
        (echoes, wait)
    }

    /// The first message to send.
    pub fn first(&mut self) -> Bytes {
        self.start = Some(Stamp::now());
        self.next()
    }

    /// Counts an echo. Returns the next message to send, unless this was the last.
    pub fn take(&mut self, message: &[u8]) -> Option<Bytes> {
        self.times.push(self.sent.elapsed());
        self.back.add(message);
        if self.back.digest.count < self.count {
            return Some(self.next());
        }
        if let (Some(done), Some(start)) = (self.done.take(), self.start) {
            let times = std::mem::take(&mut self.times);
            let _ = done.send(echoed(self.outgoing.sum, self.back.digest, start, times));
        }
        None
    }

    fn next(&mut self) -> Bytes {
        let message = self.outgoing.next();
        self.sent = Instant::now();
        message
    }
}

/// Waits for the result of a handler.
pub async fn told<T>(wait: oneshot::Receiver<T>) -> Result<T> {
    wait.await.context("the client ended too early")
}
