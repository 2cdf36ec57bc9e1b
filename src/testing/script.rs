//! The script of a test server's connection.

use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;

use crate::proto::close::{CloseCode, CloseFrame};
use crate::proto::codec::Limits;
use crate::proto::message::{ControlPayload, Outgoing, Payload};
use crate::testing::gate::Gate;

/// What a test server does with one connection: an opening, then steps in order.
///
/// After the last step it serves: it reads, answers pings and a Close, and ends with the
/// connection. Every step that reads records what it receives in the [`Journal`](crate::testing::Journal).
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
    pub(super) opening: Opening,
    pub(super) steps: Vec<Step>,
    /// Whether pings are answered.
    pub(super) pongs: bool,
    /// Whether a Close is answered.
    pub(super) answers_close: bool,
    /// The bounds on what the client sends.
    pub(super) limits: Limits,
}

/// The beginning of a connection.
#[derive(Clone, Debug)]
pub(super) enum Opening {
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
pub(super) enum Step {
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
pub(super) enum Wait {
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
}
