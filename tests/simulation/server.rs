//! The server: plays one script for each connection that it accepts.
//!
//! Its frames are this crate's own, in the server's role. That they are a WebSocket's is shown
//! elsewhere, with servers by other hands.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use actix_ws_client::proto::close::CloseFrame;
use actix_ws_client::proto::codec::{Codec, Limits};
use actix_ws_client::proto::frame::Role;
use actix_ws_client::proto::message::{ControlPayload, Incoming, Outgoing, Payload};
use bytes::BytesMut;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use turmoil::net::{TcpListener, TcpStream};

use crate::faults::{Body, Fault, Greeting, Script, Step};
use crate::ledger::{Action, Ledger, now};

/// Where every server listens.
pub(crate) const PORT: u16 = 80;

/// The host of the connections.
pub(crate) const CLIENT: &str = "client";

/// The host of a server.
pub(crate) fn host(server: usize) -> String {
    format!("server-{server}")
}

/// The software of a server's host.
///
/// # Errors
/// Only what turmoil says of its own.
pub(crate) async fn serve(server: usize, ledger: Ledger) -> turmoil::Result {
    let listener = TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let script = ledger.script(server);
        let ledger = ledger.clone();
        tokio::task::spawn_local(async move {
            // How it ended is the client's to tell.
            let _ = visit(server, stream, script, ledger).await;
        });
    }
}

/// Why nothing more is to be played.
struct Over;

impl From<io::Error> for Over {
    fn from(_: io::Error) -> Over {
        Over
    }
}

/// A peer that says nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(20);

async fn visit(
    server: usize,
    mut stream: TcpStream,
    script: Script,
    ledger: Ledger,
) -> Result<(), Over> {
    if let Greeting::Stall { reads: false, .. } = script.greeting {
        ledger.count(Fault::StalledHandshake);
        sleep(PATIENCE).await;
        return Ok(());
    }
    let head = timeout(PATIENCE, read_head(&mut stream)).await.map_err(|_| Over)??;
    let connection = number_in(&head, "GET /connection/");
    let _served = Served::begin(connection, &ledger);
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("sec-websocket-key").then_some(value)
    });
    let Some(key) = key else {
        ledger.wrong(format!("a request without a key: {head}"));
        return Err(Over);
    };
    if ledger.book().connections[connection].doomed {
        stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await?;
        return drain(&mut stream).await;
    }
    match script.greeting {
        Greeting::Stall { answers, .. } => {
            stream.write_all(answers.as_bytes()).await?;
            ledger.count(Fault::StalledHandshake);
            drain(&mut stream).await
        }
        Greeting::Refuse { status, retry_after, body } => {
            stream.write_all(refusal(status, retry_after, body).as_bytes()).await?;
            ledger.count(Fault::Refusal);
            stream.shutdown().await?;
            drain(&mut stream).await
        }
        Greeting::Open => {
            let id = ledger.book().sessions.len();
            ledger.book().sessions.push(Default::default());
            let reply = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {}\r\nX-Session: {id}\r\n\r\n",
                derive_accept_key(key.as_bytes())
            );
            let mut session = Session {
                server,
                connection,
                id,
                stream,
                codec: Codec::new(Role::Server, Limits::default()),
                inbox: BytesMut::new(),
                outbox: BytesMut::from(reply.as_bytes()),
                written: 0,
                heard: None,
                mute: false,
                closed: false,
                rng: script.rng,
                ledger,
            };
            session.play(&script.steps).await
        }
    }
}

/// One opened socket.
struct Session {
    server: usize,
    connection: usize,
    /// Its number in the ledger, and in every message.
    id: usize,
    stream: TcpStream,
    codec: Codec,
    inbox: BytesMut,
    /// What the next write begins with.
    outbox: BytesMut,
    /// Messages written.
    written: u64,
    /// The number in the client's last message.
    heard: Option<u64>,
    /// Whether a Close of the client's is left unanswered.
    mute: bool,
    /// Whether a Close of ours was written.
    closed: bool,
    rng: StdRng,
    ledger: Ledger,
}

impl Session {
    async fn play(&mut self, steps: &[Step]) -> Result<(), Over> {
        // Now and then the first frames come with the 101, or the 101 in two parts.
        match self.rng.random_range(0..4) {
            0 => {}
            1 => {
                let rest = self.outbox.split_off(40);
                self.flush().await?;
                self.listen(Duration::from_millis(30)).await?;
                self.outbox = rest;
                self.flush().await?;
            }
            _ => self.flush().await?,
        }
        for step in steps {
            match *step {
                Step::Send { messages, gap } => self.send(messages, gap).await?,
                Step::Quiet(time) => {
                    self.flush().await?;
                    self.listen(time).await?;
                }
                Step::Ping => {
                    self.encode(Outgoing::Ping(ControlPayload::default()));
                    self.flush().await?;
                }
                Step::Network { fault, lasts, power } => {
                    self.flush().await?;
                    self.network(fault, lasts, power).await?;
                }
                Step::Close(code) => return self.close(code).await,
                Step::End(fault) => return self.end(fault).await,
            }
        }
        Ok(())
    }

    async fn send(&mut self, messages: u32, gap: Duration) -> Result<(), Over> {
        let mut left = messages;
        while left > 0 {
            let together = self.rng.random_range(1..=left.min(8));
            for _ in 0..together {
                self.message();
            }
            left -= together;
            if self.rng.random_bool(0.2) && self.outbox.len() > 1 {
                // Frames may be cut anywhere.
                let at = self.rng.random_range(1..self.outbox.len());
                let rest = self.outbox.split_off(at);
                self.flush().await?;
                self.outbox = rest;
            }
            self.flush().await?;
            self.listen(gap).await?;
        }
        Ok(())
    }

    /// Puts the next message behind all others.
    fn message(&mut self) {
        let length = match self.rng.random_range(0..100) {
            0..=79 => self.rng.random_range(0..60),
            80..=97 => self.rng.random_range(100..1_000),
            _ => self.rng.random_range(60_000..70_000),
        };
        let words = format!("{}:{}:{}", self.id, self.written, "x".repeat(length));
        let payload = match self.rng.random_range(0..3) {
            0 => Payload::from(words.into_bytes()),
            _ => Payload::from(words),
        };
        self.encode(Outgoing::Message(payload));
        self.written += 1;
        self.ledger.book().sessions[self.id].written = self.written;
    }

    fn encode(&mut self, item: Outgoing) {
        self.codec.encode(item, &mut self.outbox).expect("nothing is sent behind a Close");
    }

    async fn flush(&mut self) -> Result<(), Over> {
        let bytes = self.outbox.split();
        timeout(PATIENCE, self.stream.write_all(&bytes)).await.map_err(|_| Over)??;
        Ok(())
    }

    /// Reads and answers for this long, or until the client has gone.
    async fn listen(&mut self, time: Duration) -> Result<(), Over> {
        let until = Instant::now() + time;
        loop {
            while let Some(item) = self.decode()? {
                self.answer(item).await?;
            }
            match timeout_at(until, self.stream.read_buf(&mut self.inbox)).await {
                Err(_) => return Ok(()),
                Ok(Ok(1..)) => {}
                Ok(_) => return Err(Over),
            }
        }
    }

    fn decode(&mut self) -> Result<Option<Incoming>, Over> {
        self.codec.decode(&mut self.inbox).map_err(|err| {
            self.ledger.wrong(format!("session {}: the client broke the protocol: {err}", self.id));
            Over
        })
    }

    async fn answer(&mut self, item: Incoming) -> Result<(), Over> {
        match item {
            Incoming::Message(payload) => self.hear(&payload),
            Incoming::Ping(payload) if !self.closed => {
                self.encode(Outgoing::Pong(payload));
                self.flush().await?;
            }
            Incoming::Close(_) if self.mute => self.ledger.count(Fault::UnansweredClose),
            Incoming::Close(frame) => {
                if !self.closed {
                    self.goodbye(frame.map(|frame| frame.echo())).await?;
                }
                self.stream.shutdown().await?;
                drain(&mut self.stream).await?;
                return Err(Over);
            }
            _ => {}
        }
        Ok(())
    }

    /// The client's messages are numbered too, over all of its sockets: what is taken for one
    /// socket must come there whole and in order, as far as it comes.
    fn hear(&mut self, payload: &Payload) {
        let number: u64 = payload.as_text().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
        if self.heard.is_some_and(|last| number != last + 1) {
            let last = self.heard;
            self.ledger.wrong(format!("session {}: {number} came after {last:?}", self.id));
        }
        self.heard = Some(number);
    }

    /// Writes our Close frame behind all messages.
    async fn goodbye(&mut self, frame: Option<CloseFrame>) -> Result<(), Over> {
        self.encode(Outgoing::Close(frame));
        self.closed = true;
        self.ledger.book().sessions[self.id].closed = true;
        self.flush().await
    }

    async fn close(&mut self, code: Option<u16>) -> Result<(), Over> {
        let frame = code.map(|code| CloseFrame::new(code.into(), "so long").expect("may be sent"));
        self.goodbye(frame).await?;
        self.ledger.count(Fault::CloseByCode);
        self.listen(PATIENCE).await
    }

    async fn end(&mut self, fault: Fault) -> Result<(), Over> {
        match fault {
            Fault::Reset => {
                // A Pong will come, and is left unread.
                self.encode(Outgoing::Ping(ControlPayload::default()));
                self.flush().await?;
                let mut byte = [0];
                let peeked = timeout(PATIENCE, self.stream.peek(&mut byte)).await;
                if matches!(peeked, Ok(Ok(1))) {
                    self.ledger.count(Fault::Reset);
                }
                return Err(Over);
            }
            Fault::Fin => self.flush().await?,
            Fault::HalfFrame => {
                self.flush().await?;
                let words = format!("{}:{}:half", self.id, self.written);
                self.encode(Outgoing::Message(words.into()));
                let cut = self.rng.random_range(1..self.outbox.len());
                self.outbox.truncate(cut);
                self.flush().await?;
            }
            Fault::UnansweredClose => return self.unanswered().await,
            other => unreachable!("{other:?} is no end"),
        }
        self.stream.shutdown().await?;
        self.ledger.count(fault);
        drain(&mut self.stream).await
    }

    async fn unanswered(&mut self) -> Result<(), Over> {
        self.flush().await?;
        self.mute = true;
        // Nobody may be there to be asked any more.
        let _ = self.ledger.book().connections[self.connection].asks.send(());
        let talks = self.rng.random_bool(0.5);
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if talks {
                self.message();
                self.flush().await?;
            }
            self.listen(Duration::from_millis(100)).await?;
        }
        Ok(())
    }

    /// Lets the network fail, once at a time, and goes on as if nothing were.
    async fn network(&mut self, fault: Fault, lasts: Duration, power: bool) -> Result<(), Over> {
        let server = self.server;
        let (begin, end) = (now(), now() + lasts);
        {
            let mut book = self.ledger.book();
            let place = &mut book.servers[server];
            if place.busy || place.calm {
                return Ok(());
            }
            place.busy = true;
            book.actions.push(match fault {
                Fault::Partition => (end, Action::Repair(server)),
                Fault::Hold => (end, Action::Release(server)),
                _ => (begin, Action::Crash { server, lasts, power }),
            });
        }
        self.ledger.count(fault);
        match fault {
            Fault::Partition => turmoil::partition(CLIENT, host(server)),
            Fault::Hold => turmoil::hold(CLIENT, host(server)),
            _ => sleep(PATIENCE).await,
        }
        Ok(())
    }
}

async fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// The number behind some words at the start of a text.
pub(crate) fn number_in(text: &str, before: &str) -> usize {
    let rest = text.strip_prefix(before).unwrap_or_default();
    let digits = rest.split(|byte: char| !byte.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(usize::MAX)
}

fn refusal(status: u16, retry_after: Option<u64>, body: Body) -> String {
    let retry = retry_after.map(|seconds| format!("Retry-After: {seconds}\r\n"));
    let body = match body {
        Body::None => "Content-Length: 0\r\n\r\n",
        Body::Whole => "Content-Length: 4\r\n\r\nbusy",
        Body::Cut => "Content-Length: 4000\r\n\r\nbusy",
        Body::Chunked => "Transfer-Encoding: chunked\r\n\r\n4\r\nbusy\r\n0\r\n\r\n",
    };
    format!("HTTP/1.1 {status} No\r\n{}{body}", retry.unwrap_or_default())
}

/// Reads, and forgets, until the client has gone: a socket with bytes unread would be reset.
async fn drain(stream: &mut TcpStream) -> Result<(), Over> {
    let mut bytes = [0; 4096];
    let read = async {
        while stream.read(&mut bytes).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    timeout(PATIENCE, read).await.map_err(|_| Over)??;
    Ok(())
}

/// A session of the server's, counted while it lasts.
struct Served(usize, Ledger);

impl Served {
    fn begin(connection: usize, ledger: &Ledger) -> Served {
        ledger.book().connections[connection].served += 1;
        Served(connection, ledger.clone())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.1.book().connections[self.0].served -= 1;
    }
}
