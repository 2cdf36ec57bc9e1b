//! Events made by hand, for unit tests of handlers: no connection, no server and no clock.
//!
//! Each function returns an event with plain values, as of the first socket of a connection. Its fields are public:
//! set those that the test is about.
//!
//! ```
//! use actix_ws_client::proto::session::By;
//! use actix_ws_client::testing::event;
//!
//! let mut close = event::close(4000, "enough");
//! close.by = By::Local;
//! assert_eq!(event::message("hello").payload.as_text(), Some("hello"));
//! assert_eq!(event::batch(["one", "two"]).bytes(1), Some(&b"two"[..]));
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;

use crate::command::status::{Handshake, Outcome, OutcomeKind, Phase, SourceId, Timings, Watch};
use crate::command::{CommandQueue, Handle, QueuedCommand, Send};
use crate::error::Error as Failure;
use crate::event::{
    Batch, Close, Continuation, Data, Error, Message, Next, Open, Ping, Pong, Reconnect, State,
    Stopped,
};
use crate::headers::Headers;
use crate::proto::close::CloseCode;
use crate::proto::codec::MessageKind;
use crate::proto::frame::Opcode;
use crate::proto::message::{ControlPayload, Fragment, Payload};
use crate::proto::messages::Messages;
use crate::proto::session::By;

/// The epoch of the events.
const EPOCH: u64 = 1;

/// The delay before the next dial, after [`error`] and [`close`].
const DELAY: Duration = Duration::from_secs(1);

/// The queue of a connection that has ended, with its figures.
struct Ended(Watch);

impl Ended {
    fn new() -> Ended {
        let watch = Watch::new(Instant::now());
        watch.set_phase(Phase::Closed);
        Ended(watch)
    }
}

impl CommandQueue for Ended {
    fn send(&self, queued: QueuedCommand<Send>) -> bool {
        queued.refuse();
        false
    }

    fn is_open(&self) -> bool {
        false
    }

    fn watch(&self) -> &Watch {
        &self.0
    }
}

/// Makes the opening of the first socket. Its `connection` is that of a connection that has ended: it refuses
/// every command.
pub fn open() -> Open {
    let handshake = Handshake {
        status: 101,
        headers: Headers::default(),
        subprotocol: None,
        extensions: None,
        peer: None,
        tls: None,
        timings: Timings::default(),
    };
    Open {
        source: SourceId::BY_HAND,
        epoch: EPOCH,
        name: None,
        connection: Handle::new(Arc::new(Ended::new())),
        handshake: Arc::new(handshake),
        attempts: 1,
        outage: None,
    }
}

/// Makes the reopening that comes just before an [`open`].
pub fn reconnect() -> Reconnect {
    Reconnect(open())
}

/// Makes a message.
pub fn message(payload: impl Into<Payload>) -> Message {
    let (source, received) = (SourceId::BY_HAND, Instant::now());
    Message { source, epoch: EPOCH, payload: payload.into(), received }
}

/// Makes a message with its opcode.
pub fn data(payload: impl Into<Payload>) -> Data {
    let payload = payload.into();
    let opcode = if payload.as_text().is_some() { Opcode::Text } else { Opcode::Binary };
    Data { source: SourceId::BY_HAND, epoch: EPOCH, payload, opcode, fin: true }
}

/// Makes a fragment of a text message, which is the last one.
pub fn continuation(bytes: impl Into<Bytes>) -> Continuation {
    let fragment = Fragment { opcode: Opcode::Text, index: 1, bytes: bytes.into(), fin: true };
    Continuation { source: SourceId::BY_HAND, epoch: EPOCH, fragment, received: Instant::now() }
}

/// Makes a batch of messages that came in one read.
///
/// # Panics
/// Without a message.
pub fn batch(payloads: impl IntoIterator<Item = impl Into<Payload>>) -> Batch {
    let mut messages = Messages::default();
    for payload in payloads {
        match payload.into() {
            Payload::Text(text) => messages.push_separate(MessageKind::Text, text.into_bytes()),
            Payload::Binary(bytes) => messages.push_separate(MessageKind::Binary, bytes),
        }
    }
    assert!(!messages.is_empty(), "a batch has at least one message");
    Batch::new(SourceId::BY_HAND, EPOCH, Instant::now(), messages)
}

/// Makes a Ping of the server.
///
/// # Panics
/// If the payload has more than 125 bytes.
pub fn ping(payload: impl Into<Bytes>) -> Ping {
    Ping { source: SourceId::BY_HAND, epoch: EPOCH, payload: control(payload) }
}

/// Makes a Pong of the server that answers none of our Pings.
///
/// # Panics
/// If the payload has more than 125 bytes.
pub fn pong(payload: impl Into<Bytes>) -> Pong {
    Pong { source: SourceId::BY_HAND, epoch: EPOCH, payload: control(payload), round_trip: None }
}

fn control(payload: impl Into<Bytes>) -> ControlPayload {
    ControlPayload::new(payload).expect("a control frame has at most 125 bytes")
}

/// Makes a failure of the first socket, after which the connection dials again.
pub fn error(error: Failure) -> Error {
    let next = Next::Retry { after: DELAY, attempt: 2 };
    Error { source: SourceId::BY_HAND, epoch: EPOCH, name: None, error, attempt: 1, next }
}

/// Makes a clean close by the server, after which the connection dials again.
pub fn close(code: u16, reason: impl Into<ByteString>) -> Close {
    Close {
        source: SourceId::BY_HAND,
        epoch: EPOCH,
        name: None,
        attempt: 1,
        code: CloseCode::from(code),
        reason: reason.into(),
        clean: true,
        by: By::Remote,
        unsent_messages: 0,
        unsent_bytes: 0,
        peer: None,
        lasted: DELAY,
        next: Next::Retry { after: DELAY, attempt: 2 },
    }
}

/// Makes a change of phase.
pub fn state(phase: Phase) -> State {
    State { source: SourceId::BY_HAND, epoch: EPOCH, phase, since: Instant::now() }
}

/// Makes the end of a run that was closed by us, with 1000, after one socket.
pub fn stopped() -> Stopped {
    let outcome = Outcome {
        kind: OutcomeKind::Closed,
        error: None,
        close: Some((CloseCode::NORMAL, ByteString::new())),
        by: By::Local,
        clean: true,
        unsent_messages: 0,
        unsent_bytes: 0,
        peer: None,
        epochs: 1,
        attempts: 1,
    };
    Stopped { source: SourceId::BY_HAND, epoch: EPOCH, outcome }
}
