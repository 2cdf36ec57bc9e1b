//! The player of a script, for any stream.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::proto::codec::Codec;
use crate::proto::frame::Role;
use crate::proto::message::{Incoming, Outgoing, Payload};
use crate::proto::session::Session;
use crate::testing::journal::{Gone, Journal, Note, Request};
use crate::testing::script::{Leave, Opening, Script, Step, Wait};

impl Script {
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
        let leave = self.play_open(stream, connection, journal).await;
        if leave == Leave::Quietly {
            drain(stream).await;
        }
        leave
    }

    /// As [`play`](Script::play), without the end of the stream where that is a quiet one.
    pub(super) async fn play_open<S>(
        &self,
        stream: &mut S,
        connection: usize,
        journal: &Journal,
    ) -> Leave
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
