//! Sends the input in the order of the contract: `--on-open` after every opening, then `--send` once,
//! then the lines of stdin.

use std::collections::VecDeque;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler};
use actix_ws_client::command::SendError;
use actix_ws_client::{Connection, Payload, Phase, Watch, event};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::args::Texts;
use crate::buffer::Buffer;
use crate::input::{Line, Lines};

/// Sends the texts of the flags and the lines of stdin through a connection.
pub(crate) struct Sender {
    connection: Addr<Connection>,
    /// The connection's figures.
    figures: Watch,
    /// The epoch of the newest opening.
    openings: watch::Receiver<u64>,
    /// The connection's send buffer.
    buffer: Buffer,
    /// The texts of `--on-open`.
    on_open: Vec<Payload>,
    /// The texts of `--on-open` that the open socket has not been sent yet.
    greeting: VecDeque<Payload>,
    /// The texts of `--send` that have not been sent yet.
    once: VecDeque<Payload>,
    /// A line that was read and is not sent yet.
    unsent_line: Option<Line>,
    lines: Lines,
    /// How long to wait for replies after the last line was written.
    eof_wait: Duration,
}

/// The socket is no longer open.
struct Lost;

/// How long one send waits for room in the send buffer. After it the sender looks whether the socket is
/// still the same one, and waits again.
const ROOM_TIMEOUT: Duration = Duration::from_secs(60);

/// How often `wait_until_written` looks at the figures. It does so once in a run, at the end of the input; the
/// connection wakes nobody when its send buffer is empty.
const WRITTEN_POLL: Duration = Duration::from_millis(2);

impl Sender {
    pub(crate) fn new(
        connection: Addr<Connection>,
        figures: Watch,
        openings: watch::Receiver<u64>,
        buffer: Buffer,
        texts: Texts,
        (lines, eof_wait): (Lines, Duration),
    ) -> Sender {
        let Texts { on_open, once } = texts;
        Sender {
            connection,
            figures,
            openings,
            buffer,
            on_open,
            greeting: VecDeque::new(),
            once: once.into(),
            unsent_line: None,
            lines,
            eof_wait,
        }
    }

    /// Runs until the input has ended and `eof_wait` has passed. Input without a single line never
    /// ends.
    pub(crate) async fn run(mut self) {
        let mut open = None;
        let mut reading = true;
        let mut end = None;
        loop {
            let wanted = reading && open.is_some();
            tokio::select! {
                biased;
                opened = self.openings.changed() => {
                    if opened.is_err() {
                        return;
                    }
                    open = Some(*self.openings.borrow_and_update());
                    self.greeting = self.on_open.iter().cloned().collect();
                }
                line = self.lines.next(), if wanted => {
                    reading = line.is_some();
                    self.unsent_line = line;
                }
                () = reached(end) => return,
            }
            if let Some(epoch) = open
                && self.drain(epoch).await.is_err()
            {
                open = None;
            }
            let all_sent = !reading && self.unsent_line.is_none() && self.lines.any();
            if all_sent && end.is_none() {
                self.wait_until_written().await;
                end = Some(Instant::now() + self.eof_wait);
            }
        }
    }

    /// Sends all pending texts and the pending line on the open socket.
    async fn drain(&mut self, epoch: u64) -> Result<(), Lost> {
        while let Some(text) = self.greeting.front().cloned() {
            self.send_in(epoch, text).await?;
            self.greeting.pop_front();
        }
        while let Some(text) = self.once.front().cloned() {
            self.send_in(epoch, text).await?;
            self.once.pop_front();
        }
        if let Some(line) = &self.unsent_line {
            self.send_in(epoch, line.payload.clone()).await?;
            self.unsent_line = None;
        }
        Ok(())
    }

    /// Sends a message in this epoch. Waits while the send buffer has no room for it.
    async fn send_in(&self, epoch: u64, payload: Payload) -> Result<(), Lost> {
        loop {
            // A later socket has an opening of its own, and a greeting to be sent first.
            if self.figures.epoch() != epoch || self.figures.phase() != Phase::Open {
                return Err(Lost);
            }
            let send = self.buffer.send(payload.clone()).wait(ROOM_TIMEOUT);
            match self.connection.send(send).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(SendError::Full(_))) => {}
                Ok(Err(_)) | Err(_) => return Err(Lost),
            }
        }
    }

    /// Waits until the send buffer is empty or the socket is lost.
    async fn wait_until_written(&self) {
        while self.figures.figures().unsent_bytes > 0 {
            sleep(WRITTEN_POLL).await;
        }
    }
}

/// Completes at this time, or never without one.
pub(crate) async fn reached(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Sends the epoch of every opening to the sender. It sees only the newest one.
pub(crate) struct Openings(pub(crate) watch::Sender<u64>);

impl Actor for Openings {
    type Context = Context<Openings>;
}

impl Handler<event::Open> for Openings {
    type Result = ();

    fn handle(&mut self, open: event::Open, _: &mut Self::Context) {
        self.0.send_replace(open.epoch);
    }
}
