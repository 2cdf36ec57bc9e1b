//! The script of a test server's connection, and its player for any stream.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::proto::close::{CloseCode, CloseFrame};
use crate::proto::codec::{Codec, Limits};
use crate::proto::frame::Role;
use crate::proto::message::{ControlPayload, Incoming, Outgoing, Payload};
use crate::proto::session::Session;
use crate::testing::journal::{Gone, Journal, Note, Request};

/// What a test server does with one connection: an opening, then steps in order.
///
/// After the last step it serves: it reads, answers pings and a Close, and ends with the
/// connection. Every step that reads records what it receives in the [`Journal`].
///
/// | step | reads | answers pings and Close |
/// |---|---|---|
/// | `send_…`, `drip`, `flood` | no | no |
/// | `expect_…`, `echo`, `serve_for`, `serve_until` | yes | yes |
/// | `stall`, `stall_until`, `stall_forever` | no | no |
///
/// ```
/// use std::time::Duration;
/// use actix_ws_client::testing::Script;
///
/// let busy = Script::refuse(503).header("Retry-After", "1").body("later");
/// let unsteady = Script::accept()
///     .expect_text("subscribe")
///     .send_text("one")
///     .stall(Duration::from_millis(300))
///     .send_close(1012, "restarting");
/// ```
#[derive(Clone, Debug)]
#[must_use = "a script does nothing until it is played"]
pub struct Script {
    opening: Opening,
    steps: Vec<Step>,
    /// Whether pings are answered.
    pongs: bool,
    /// Whether a Close is answered.
    answers_close: bool,
    /// The bounds on what the client sends.
    limits: Limits,
}

/// The beginning of a connection.
#[derive(Clone, Debug)]
enum Opening {
    /// A reply with this status. With 101 it has all the header lines of RFC 6455, 4.2.2.
    Reply { status: u16, lines: Vec<(String, String)>, body: Bytes },
    /// These bytes, once the request is received.
    Raw(Bytes),
    /// No reply.
    Silence,
    /// The connection is closed before anything is read.
    HangUp,
}

#[derive(Clone, Debug)]
enum Step {
    Send(Outgoing),
    Raw(Bytes),
    Drip(Bytes, Duration),
    Flood(Bytes),
    Expect(Option<Payload>),
    Echo,
    Serve(Wait),
    Stall(Wait),
    Leave(Leave),
}

#[derive(Clone, Debug)]
enum Wait {
    For(Duration),
    Until(Gate),
    Forever,
}

/// How a script ended its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// In order: the stream was shut down.
    Quietly,
    /// Without a close_notify (RFC 8446, 6.1): the caller of [`Script::play`] ends the transport
    /// below TLS (FIN, where that is TCP) and does not shut down the TLS stream.
    Truncated,
    /// With a reset: the caller of [`Script::play`] drops the stream in a way that its transport
    /// reports to the client (RST, where that is TCP).
    Reset,
}

/// A gate at which scripts wait until the test opens it. Clones are the same gate.
///
/// ```
/// use actix_ws_client::testing::{Gate, Script};
///
/// let gate = Gate::new();
/// let script = Script::accept().serve_until(&gate).send_text("now");
/// gate.open();
/// ```
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// Creates a closed gate.
    #[expect(clippy::new_without_default, reason = "a default would not say that it is closed")]
    pub fn new() -> Gate {
        Gate(Arc::new(Semaphore::new(0)))
    }

    /// Opens the gate, for scripts that wait at it and for all later ones.
    pub fn open(&self) {
        self.0.close();
    }

    /// Waits until it is open.
    pub async fn opened(&self) {
        // There are no permits; closing the semaphore ends the wait.
        let _ = self.0.acquire().await;
    }
}

impl Script {
    fn new(opening: Opening) -> Script {
        let limits = Limits::default();
        Script { opening, steps: Vec::new(), pongs: true, answers_close: true, limits }
    }

    /// Accepts the upgrade.
    pub fn accept() -> Script {
        Script::refuse(101)
    }

    /// Answers the upgrade with this status, then closes the connection.
    pub fn refuse(status: u16) -> Script {
        Script::new(Opening::Reply { status, lines: Vec::new(), body: Bytes::new() })
    }

    /// Answers the request with these bytes. `{accept}` in them is replaced by the correct value of
    /// `Sec-WebSocket-Accept`.
    pub fn raw_reply(bytes: impl Into<Bytes>) -> Script {
        Script::new(Opening::Raw(bytes.into()))
    }

    /// Never answers the request, but keeps reading until the client ends the connection. Later
    /// steps are not played.
    pub fn no_reply() -> Script {
        Script::new(Opening::Silence)
    }

    /// Closes the connection before anything is read, over TLS before the handshake too. Later
    /// steps are not played.
    pub fn hang_up() -> Script {
        Script::new(Opening::HangUp)
    }

    /// Whether the connection is closed before a TLS handshake.
    pub(super) fn hangs_up(&self) -> bool {
        matches!(self.opening, Opening::HangUp)
    }

    /// Adds a header line to the reply. Has no effect on a raw reply.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Script {
        if let Opening::Reply { lines, .. } = &mut self.opening {
            lines.push((name.into(), value.into()));
        }
        self
    }

    /// Sets the body of a refusal, and its `Content-Length`. Has no effect on a raw reply.
    pub fn body(mut self, bytes: impl Into<Bytes>) -> Script {
        if let Opening::Reply { body, .. } = &mut self.opening {
            *body = bytes.into();
        }
        self
    }

    fn step(mut self, step: Step) -> Script {
        self.steps.push(step);
        self
    }

    /// Sends a text message.
    pub fn send_text(self, text: impl Into<ByteString>) -> Script {
        self.send(Payload::Text(text.into()))
    }

    /// Sends a binary message.
    pub fn send_binary(self, bytes: impl Into<Bytes>) -> Script {
        self.send(Payload::Binary(bytes.into()))
    }

    /// Sends a message.
    pub fn send(self, payload: impl Into<Payload>) -> Script {
        self.step(Step::Send(Outgoing::Message(payload.into())))
    }

    /// Sends many messages.
    pub fn send_all(self, payloads: impl IntoIterator<Item = impl Into<Payload>>) -> Script {
        payloads.into_iter().fold(self, |script, payload| script.send(payload))
    }

    /// Sends a Ping.
    ///
    /// # Panics
    /// If the payload has more than 125 bytes.
    pub fn send_ping(self, payload: impl Into<Bytes>) -> Script {
        let payload = ControlPayload::new(payload).expect("at most 125 bytes");
        self.step(Step::Send(Outgoing::Ping(payload)))
    }

    /// Sends an unsolicited Pong.
    ///
    /// # Panics
    /// If the payload has more than 125 bytes.
    pub fn send_pong(self, payload: impl Into<Bytes>) -> Script {
        let payload = ControlPayload::new(payload).expect("at most 125 bytes");
        self.step(Step::Send(Outgoing::Pong(payload)))
    }

    /// Sends a Close. To send a code that is not allowed, use [`send_raw`](Script::send_raw).
    ///
    /// # Panics
    /// If the code is not allowed in a frame (RFC 6455, 7.4), or the reason has more than 123
    /// bytes.
    pub fn send_close(self, code: u16, reason: &'static str) -> Script {
        let frame = CloseFrame::new(CloseCode::from(code), reason).expect("a frame that is legal");
        self.step(Step::Send(Outgoing::Close(Some(frame))))
    }

    /// Sends a Close without code and reason.
    pub fn send_empty_close(self) -> Script {
        self.step(Step::Send(Outgoing::Close(None)))
    }

    /// Sends these bytes as they are.
    pub fn send_raw(self, bytes: impl Into<Bytes>) -> Script {
        self.step(Step::Raw(bytes.into()))
    }

    /// Sends the beginning of a text frame of 300 bytes: the header and 10 bytes.
    pub fn half_a_frame(self) -> Script {
        self.send_raw(&b"\x81\x7e\x01\x2c0123456789"[..])
    }

    /// Sends these bytes one by one, with a pause of `every` after each.
    pub fn drip(self, bytes: impl Into<Bytes>, every: Duration) -> Script {
        self.step(Step::Drip(bytes.into(), every))
    }

    /// Sends these bytes repeatedly, until the client ends the connection.
    pub fn flood(self, bytes: impl Into<Bytes>) -> Script {
        self.step(Step::Flood(bytes.into()))
    }

    /// Waits for any message.
    pub fn expect_message(self) -> Script {
        self.step(Step::Expect(None))
    }

    /// Waits for this text message. Other messages are recorded and skipped.
    pub fn expect_text(self, text: impl Into<ByteString>) -> Script {
        self.step(Step::Expect(Some(Payload::Text(text.into()))))
    }

    /// Sends every message back, until the connection ends.
    pub fn echo(self) -> Script {
        self.step(Step::Echo)
    }

    /// Serves for this time: reads, and answers pings and a Close.
    pub fn serve_for(self, time: Duration) -> Script {
        self.step(Step::Serve(Wait::For(time)))
    }

    /// Serves until the gate is opened: reads, and answers pings and a Close.
    pub fn serve_until(self, gate: &Gate) -> Script {
        self.step(Step::Serve(Wait::Until(gate.clone())))
    }

    /// Neither reads nor writes for this time; the connection stays open.
    pub fn stall(self, time: Duration) -> Script {
        self.step(Step::Stall(Wait::For(time)))
    }

    /// Neither reads nor writes until the gate is opened; the connection stays open.
    pub fn stall_until(self, gate: &Gate) -> Script {
        self.step(Step::Stall(Wait::Until(gate.clone())))
    }

    /// Neither reads nor writes any more; the connection stays open.
    pub fn stall_forever(self) -> Script {
        self.step(Step::Stall(Wait::Forever))
    }

    /// Ends the connection without a Close frame (FIN).
    pub fn drop_connection(self) -> Script {
        self.step(Step::Leave(Leave::Quietly))
    }

    /// Ends the connection without a Close frame and, over TLS, without a close_notify (FIN alone).
    /// Without TLS it does the same as [`drop_connection`](Script::drop_connection).
    pub fn drop_without_close_notify(self) -> Script {
        self.step(Step::Leave(Leave::Truncated))
    }

    /// Resets the connection (RST).
    pub fn reset(self) -> Script {
        self.step(Step::Leave(Leave::Reset))
    }

    /// Sets whether pings are answered. Default: true.
    pub fn pongs(mut self, answered: bool) -> Script {
        self.pongs = answered;
        self
    }

    /// Leaves the client's Close unanswered: keeps reading, and keeps the connection open.
    pub fn never_answer_close(mut self) -> Script {
        self.answers_close = false;
        self
    }

    /// Sets bounds on the frames and messages that the client sends. Default: those of a client
    /// ([`Limits::default`]).
    pub fn limits(mut self, limits: Limits) -> Script {
        self.limits = limits;
        self
    }

    /// Plays the script over a stream to its end. Records in `journal` under the number
    /// `connection`. The stream is shut down if the result is [`Leave::Quietly`]; otherwise ending
    /// it is left to the caller.
    ///
    /// ```
    /// use actix_ws_client::testing::{Journal, Probe, Script};
    /// use actix_ws_client::{Connection, event};
    ///
    /// # actix::System::new().block_on(async {
    /// // No socket at all: a pipe in memory, which also works with a paused clock.
    /// let script = Script::accept().send_text("hi");
    /// let builder = Connection::builder("ws://peer/").transport_with(move |_, _| {
    ///     let (ours, mut theirs) = tokio::io::duplex(4096);
    ///     let script = script.clone();
    ///     actix::spawn(async move { script.play(&mut theirs, 0, &Journal::new()).await });
    ///     async move { Ok(ours) }
    /// });
    /// let probe = Probe::new();
    /// let connection = probe.attach(builder).start().unwrap();
    /// assert_eq!(probe.next_message().await.payload.as_text(), Some("hi"));
    /// # });
    /// ```
    pub async fn play<S>(&self, stream: &mut S, connection: usize, journal: &Journal) -> Leave
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let codec = Codec::new(Role::Server, self.limits);
        let session = Session::new();
        let received = BytesMut::new();
        let mut player =
            Player { script: self, stream, connection, journal, codec, session, received };
        let end = match player.run().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        journal.write(connection, Note::Gone(end.gone));
        if end.leave == Leave::Quietly {
            drain(player.stream).await;
        }
        end.leave
    }
}

/// The end of a connection, which ends the script.
struct End {
    gone: Gone,
    leave: Leave,
}

impl End {
    fn quiet(gone: Gone) -> End {
        End { gone, leave: Leave::Quietly }
    }
}

impl From<io::Error> for End {
    fn from(err: io::Error) -> End {
        End::quiet(Gone::Error(err.kind()))
    }
}

/// A script cannot return without an end: its last step serves until the connection ends.
enum Never {}

/// One run of a script.
struct Player<'a, S> {
    script: &'a Script,
    stream: &'a mut S,
    /// The connection's number in the journal.
    connection: usize,
    journal: &'a Journal,
    codec: Codec,
    session: Session,
    /// Bytes that are not decoded yet.
    received: BytesMut,
}

/// The time for which bytes are still read after the end. Closing a socket with bytes unread sends
/// a reset, which could make the client lose what was sent last.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

impl<S> Player<'_, S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    async fn run(&mut self) -> Result<Never, End> {
        self.open().await?;
        for step in &self.script.steps {
            match step {
                Step::Send(item) => self.send(item.clone()).await?,
                Step::Raw(bytes) => self.write(bytes).await?,
                Step::Drip(bytes, every) => self.drip(bytes, *every).await?,
                Step::Flood(bytes) => loop {
                    self.write(bytes).await?;
                },
                Step::Expect(wanted) => self.expect(wanted.as_ref()).await?,
                Step::Echo => loop {
                    let payload = self.message().await?;
                    self.send(Outgoing::Message(payload)).await?;
                },
                Step::Serve(wait) => self.serve(wait).await?,
                Step::Stall(wait) => wait.elapse().await,
                Step::Leave(leave) => return Err(End { gone: Gone::Scripted, leave: *leave }),
            }
        }
        loop {
            self.message().await?;
        }
    }

    async fn open(&mut self) -> Result<(), End> {
        if self.script.hangs_up() {
            return Err(End::quiet(Gone::Scripted));
        }
        let request = self.request().await?;
        let key = request.header("sec-websocket-key").unwrap_or_default().to_owned();
        self.journal.write(self.connection, Note::Request(request));
        match &self.script.opening {
            Opening::HangUp => {} // returned above
            // Reading notices when the client ends the connection.
            Opening::Silence => loop {
                self.received.clear();
                self.read().await?;
            },
            Opening::Raw(bytes) => {
                let reply = insert_accept(bytes, &accept_digest(&key));
                self.write(&reply).await?;
            }
            Opening::Reply { status, lines, body } => {
                let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
                if *status == 101 {
                    head += "Upgrade: websocket\r\nConnection: Upgrade\r\n";
                    head += &format!("Sec-WebSocket-Accept: {}\r\n", accept_digest(&key));
                } else {
                    head += &format!("Content-Length: {}\r\n", body.len());
                }
                for (name, value) in lines {
                    head += &format!("{name}: {value}\r\n");
                }
                head += "\r\n";
                let reply = [head.as_bytes(), body].concat();
                self.write(&reply).await?;
                if *status != 101 {
                    return Err(End::quiet(Gone::Scripted));
                }
            }
        }
        Ok(())
    }

    async fn request(&mut self) -> Result<Request, End> {
        loop {
            if let Some(end) = find(&self.received, b"\r\n\r\n") {
                let head = self.received.split_to(end + 4);
                let head = String::from_utf8_lossy(&head[..end]).into_owned();
                return Ok(Request { head });
            }
            self.read().await?;
        }
    }

    /// Reads more into `received`. Cancel-safe.
    async fn read(&mut self) -> Result<(), End> {
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(End::quiet(Gone::Eof)),
            _ => Ok(()),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await?;
        Ok(())
    }

    async fn drip(&mut self, bytes: &Bytes, every: Duration) -> Result<(), End> {
        for byte in bytes {
            self.write(&[*byte]).await?;
            sleep(every).await;
        }
        Ok(())
    }

    /// Sends a frame, unless a Close was sent before.
    async fn send(&mut self, item: Outgoing) -> Result<(), End> {
        let item = match item {
            Outgoing::Close(frame) => self.session.close(frame),
            other => Some(other),
        };
        let mut encoded = BytesMut::new();
        if let Some(item) = item {
            self.journal.write(self.connection, Note::Sent(item.clone()));
            // RFC 6455, 5.5.1: nothing is sent after a Close, even if the script has more.
            let _ = self.codec.encode(item, &mut encoded);
        }
        self.write(&encoded).await
    }

    async fn expect(&mut self, wanted: Option<&Payload>) -> Result<(), End> {
        loop {
            let payload = self.message().await?;
            if wanted.is_none_or(|wanted| *wanted == payload) {
                return Ok(());
            }
        }
    }

    /// Waits for the next message. Control frames are answered meanwhile.
    async fn message(&mut self) -> Result<Payload, End> {
        loop {
            if let Some(payload) = self.next_decoded().await? {
                return Ok(payload);
            }
            self.read().await?;
        }
    }

    /// Reads, and answers control frames, until the wait ends.
    async fn serve(&mut self, wait: &Wait) -> Result<(), End> {
        let start = Instant::now();
        loop {
            while self.next_decoded().await?.is_some() {}
            // Only reading is cancelled, so that no answer stays half-written.
            let read = match wait {
                Wait::For(time) => timeout_at(start + *time, self.read()).await.ok(),
                Wait::Until(gate) => unless(self.read(), gate.opened()).await,
                Wait::Forever => Some(self.read().await),
            };
            match read {
                Some(result) => result?,
                None => return Ok(()),
            }
        }
    }

    /// Decodes the next message in `received`, if it is complete. Answers control frames.
    async fn next_decoded(&mut self) -> Result<Option<Payload>, End> {
        loop {
            if self.session.is_done() {
                return Err(End::quiet(Gone::Closed));
            }
            let item = match self.codec.decode(&mut self.received) {
                Ok(Some(item)) => item,
                Ok(None) => return Ok(None),
                Err(err) => return Err(End::quiet(Gone::Breach(err))),
            };
            self.journal.write(self.connection, Note::Received(item.clone()));
            match item {
                Incoming::Message(payload) => return Ok(Some(payload)),
                Incoming::Ping(_) if !self.script.pongs => {}
                Incoming::Close(_) if !self.script.answers_close => {}
                control => {
                    let mut encoded = BytesMut::new();
                    if let Some(answer) = self.session.receive(&control) {
                        self.journal.write(self.connection, Note::Sent(answer.clone()));
                        let _ = self.codec.encode(answer, &mut encoded);
                    }
                    self.write(&encoded).await?;
                }
            }
        }
    }
}

/// Shuts down the stream, then reads and discards what still arrives, for at most
/// [`DRAIN_TIMEOUT`].
pub(super) async fn drain<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut rest = [0; 4096];
    let read_rest = async { while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {} };
    let _ = timeout(DRAIN_TIMEOUT, read_rest).await;
}

impl Wait {
    async fn elapse(&self) {
        match self {
            Wait::For(time) => sleep(*time).await,
            Wait::Until(gate) => gate.opened().await,
            Wait::Forever => std::future::pending().await,
        }
    }
}

/// Returns the output of `first`, or `None` if `other` is ready before it.
async fn unless<T>(first: impl Future<Output = T>, other: impl Future<Output = ()>) -> Option<T> {
    let (mut first, mut other) = (pin!(first), pin!(other));
    poll_fn(|cx| {
        if let Poll::Ready(made) = first.as_mut().poll(cx) {
            return Poll::Ready(Some(made));
        }
        other.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// Computes `Sec-WebSocket-Accept` (RFC 6455, 4.2.2).
fn accept_digest(key: &str) -> String {
    const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

fn insert_accept(reply: &[u8], accept: &str) -> Vec<u8> {
    const PLACEHOLDER: &[u8] = b"{accept}";
    match find(reply, PLACEHOLDER) {
        Some(at) => [&reply[..at], accept.as_bytes(), &reply[at + PLACEHOLDER.len()..]].concat(),
        None => reply.to_vec(),
    }
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_rfc() {
        // RFC 6455, 1.3
        assert_eq!(accept_digest("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn the_digest_goes_where_the_reply_wants_it() {
        assert_eq!(insert_accept(b"a {accept}\r\n", "x"), b"a x\r\n");
        assert_eq!(insert_accept(b"as it is", "x"), b"as it is");
    }
}
