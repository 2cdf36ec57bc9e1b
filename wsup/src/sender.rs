//! Sends the texts of the flags and the lines of stdin, in the order of [`Pending`], as fast as `--rate` allows.

use std::str::FromStr;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler};
use actix_ws_client::command::SendError;
use actix_ws_client::{Connection, Payload, Phase, Watch, event};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::buffer::Buffer;
use crate::input::{Line, Lines};
use crate::pending::Pending;
use crate::rate::{Pace, Rate};
use crate::screen::eprint_line;

/// Sends the texts of the flags and the lines of stdin through a connection.
pub(crate) struct Sender {
    connection: Addr<Connection>,
    /// The connection's figures.
    figures: Watch,
    /// The epoch of the newest opening.
    openings: watch::Receiver<u64>,
    /// What `--reply` answers, each with the epoch of its message.
    replies: mpsc::Receiver<(u64, Payload)>,
    /// The connection's send buffer.
    buffer: Buffer,
    pending: Pending,
    pace: Pace,
    while_closed: WhileClosed,
    lines: Lines,
    /// How long to wait for replies after the last line was written.
    eof_wait: Duration,
    /// The epoch of the open socket, as far as is known.
    open: Option<u64>,
    /// Whether there was an opening. Before it lines wait, whatever `while_closed` is.
    was_open: bool,
    /// Whether the input has not ended.
    reading: bool,
    /// How many lines were dropped since the socket was lost.
    dropped: u64,
}

/// The channels that lead to a sender.
pub(crate) struct Sources {
    pub(crate) openings: watch::Receiver<u64>,
    pub(crate) replies: mpsc::Receiver<(u64, Payload)>,
    pub(crate) lines: Lines,
}

/// How a sender behaves.
pub(crate) struct Manner {
    pub(crate) buffer: Buffer,
    pub(crate) rate: Option<Rate>,
    pub(crate) while_closed: WhileClosed,
    pub(crate) eof_wait: Duration,
}

/// What happens to lines that are read while no socket is open, after the first opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhileClosed {
    /// They wait for the next socket.
    Wait,
    /// They are dropped.
    Drop,
    /// The first one ends the run.
    End,
}

impl FromStr for WhileClosed {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<WhileClosed, &'static str> {
        match text {
            "wait" => Ok(WhileClosed::Wait),
            "drop" => Ok(WhileClosed::Drop),
            "end" => Ok(WhileClosed::End),
            _ => Err("expected wait, drop or end"),
        }
    }
}

/// Why a sender has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The input has, or the connection.
    Input,
    /// A line came while no socket was open.
    LineWhileClosed,
}

/// The socket is no longer open.
struct Lost;

/// How long one send waits for room in the send buffer. After it the sender looks whether the socket is
/// still the same one, and waits again.
const ROOM_TIMEOUT: Duration = Duration::from_secs(60);

/// How often `wait_until_written` looks at the figures. It does so once in a run, at the end of the input; the
/// connection wakes no task when its send buffer is empty.
const WRITTEN_POLL: Duration = Duration::from_millis(2);

impl Sender {
    pub(crate) fn new(
        connection: Addr<Connection>,
        figures: Watch,
        Sources { openings, replies, lines }: Sources,
        pending: Pending,
        Manner { buffer, rate, while_closed, eof_wait }: Manner,
    ) -> Sender {
        Sender {
            connection,
            figures,
            openings,
            replies,
            buffer,
            pending,
            pace: Pace::new(rate),
            while_closed,
            lines,
            eof_wait,
            open: None,
            was_open: false,
            reading: true,
            dropped: 0,
        }
    }

    /// Runs until the input has ended and `eof_wait` has passed. Input without a single line never
    /// ends.
    pub(crate) async fn run(mut self) -> Ended {
        let mut end = None;
        loop {
            let paced = match self.drain().await {
                Ok(paced) => paced,
                Err(Lost) => {
                    self.lose();
                    None
                }
            };
            if self.open.is_none()
                && self.pending.line.is_some()
                && self.while_closed == WhileClosed::End
            {
                return Ended::LineWhileClosed;
            }
            let all_sent = !self.reading && self.pending.is_empty() && self.lines.any();
            if all_sent && end.is_none() {
                self.wait_until_written().await;
                end = Some(Instant::now() + self.eof_wait);
            }
            tokio::select! {
                biased;
                opened = self.openings.changed() => match opened {
                    Ok(()) => self.opened(),
                    Err(_) => return Ended::Input,
                },
                Some((epoch, reply)) = self.replies.recv() => {
                    if self.open == Some(epoch) {
                        self.pending.reply(reply);
                    }
                }
                line = self.lines.next(), if self.wants_line() => self.read(line),
                () = reached(self.pending.next_due()) => self.pending.tick(Instant::now()),
                () = reached(paced), if paced.is_some() => {}
                () = reached(end) => return Ended::Input,
            }
        }
    }

    fn opened(&mut self) {
        self.open = Some(*self.openings.borrow_and_update());
        self.was_open = true;
        self.pending.open(Instant::now());
        self.report_dropped();
    }

    fn lose(&mut self) {
        self.open = None;
        self.pending.close();
        if self.while_closed == WhileClosed::Drop && self.pending.line.take().is_some() {
            self.dropped += 1;
        }
    }

    /// Whether the next line is read now.
    fn wants_line(&self) -> bool {
        let is_taken = self.was_open && self.while_closed != WhileClosed::Wait;
        self.reading && self.pending.line.is_none() && (self.open.is_some() || is_taken)
    }

    fn read(&mut self, line: Option<Line>) {
        self.reading = line.is_some();
        match self.open.is_none() && self.while_closed == WhileClosed::Drop {
            true => self.dropped += u64::from(line.is_some()),
            false => self.pending.line = line,
        }
    }

    fn report_dropped(&mut self) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            eprint_line(&format!("wsup: lines dropped while no socket was open: {dropped}"));
        }
    }

    /// Sends what waits, on the open socket. Returns when to go on if the rate allows no more now.
    async fn drain(&mut self) -> Result<Option<Instant>, Lost> {
        let Some(epoch) = self.open else { return Ok(None) };
        while let Some((from, payload)) = self.pending.first() {
            if let Some(at) = self.pace.wait_until(Instant::now()) {
                return Ok(Some(at));
            }
            let payload = payload.clone();
            self.send_in(epoch, payload).await?;
            self.pending.remove(from);
            self.pace.sent(Instant::now());
        }
        Ok(None)
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

impl Drop for Sender {
    fn drop(&mut self) {
        self.report_dropped();
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
