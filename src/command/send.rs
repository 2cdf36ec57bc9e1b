//! Sending a message.

use std::time::Duration;

use actix::Message;
use bytes::Bytes;
use bytestring::ByteString;
use derive_more::{Display, Error};

use crate::proto::message::Payload;

/// Sends one message (WebSocketApp's `send`, `send_text`, `send_bytes`).
///
/// It is answered in the same turn of the connection's actor, unless it may [`wait`](Send::wait):
/// `Ok` means that it was taken into the bounded send buffer of the socket that is open now. It does
/// not mean that the peer has it: what is under way when a socket is lost may or may not have arrived.
///
/// ```
/// use actix_ws_client::command;
///
/// let subscribe = command::Send::text(r#"{"op":"subscribe"}"#);
/// ```
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Accepted, SendError>")]
pub struct Send {
    pub(crate) payload: Payload,
    /// What is asked for seldom; apart, so that others are short.
    more: Option<Box<More>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct More {
    /// The most bytes of one frame; `None` for a single frame.
    fragment: Option<usize>,
    /// How long it may wait for room.
    wait: Option<Duration>,
}

impl Send {
    /// A text message.
    pub fn text(text: impl Into<ByteString>) -> Send {
        Payload::Text(text.into()).into()
    }

    /// A binary message.
    pub fn binary(bytes: impl Into<Bytes>) -> Send {
        Payload::Binary(bytes.into()).into()
    }

    /// A message in fragments of at most `size` bytes, and at least one (RFC 6455, 5.4), for a server
    /// that wants short frames. They go out without another message between them; compressed, if that
    /// was agreed and is worth it. Each has a header of up to 14 bytes, which counts against
    /// `send_buffer` too. (WebSocketApp has such frames made by hand, with `create_frame`.)
    pub fn fragments(payload: impl Into<Payload>, size: usize) -> Send {
        let more = More { fragment: Some(size), wait: None };
        Send { payload: payload.into(), more: Some(Box::new(more)) }
    }

    /// Waits so long for room in the send buffer, where it would be refused as
    /// [`Full`](SendError::Full) at once: first come, first served, and at most 1,024 at a time. What
    /// has waited too long comes back as `Full`; if the socket is lost meanwhile, as `NotOpen`. While
    /// messages wait, one that may not wait is refused: it would overtake them. Of no effect in a
    /// [`SendBatch`]. Default: no waiting.
    pub fn wait(mut self, time: Duration) -> Send {
        self.more.get_or_insert_default().wait = Some(time);
        self
    }

    /// The most bytes of one frame; `None` for a single frame.
    pub(crate) fn fragment(&self) -> Option<usize> {
        self.more.as_ref()?.fragment
    }

    /// How long it may wait for room.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.more.as_ref()?.wait
    }
}

impl From<Payload> for Send {
    fn from(payload: Payload) -> Send {
        Send { payload, more: None }
    }
}

/// Sends many messages in one envelope, in order, up to the first that is not taken.
///
/// ```
/// use actix_ws_client::command;
///
/// let orders = command::SendBatch::new(["one", "two"].map(command::Send::text));
/// ```
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Accepted, Unsent>")]
pub struct SendBatch {
    pub(crate) messages: Vec<Send>,
}

impl SendBatch {
    /// The messages in their order.
    pub fn new(messages: impl IntoIterator<Item = Send>) -> SendBatch {
        SendBatch { messages: messages.into_iter().collect() }
    }
}

/// What of a batch was not taken. All before it was.
#[derive(Clone, Debug, Display, Error, PartialEq, Eq)]
#[display("{error}, {} more behind it", rest.len())]
pub struct Unsent {
    /// Why the first message that was not taken was not, and that message.
    #[error(source)]
    pub error: SendError,
    /// The messages behind it.
    pub rest: Vec<Payload>,
}

/// A message was taken into the send buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// The opened socket that it goes out on.
    pub epoch: u64,
}

impl Accepted {
    pub(crate) fn new(epoch: u64) -> Accepted {
        Accepted { epoch }
    }
}

/// Why a message was not taken. Each gives it back.
#[derive(Clone, Debug, Display, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// No socket is open. Wait for the next `event::Open`.
    #[display("no socket is open")]
    NotOpen(#[error(not(source))] Payload),
    /// The send buffer holds as much as it may: the peer reads too slowly. Send later, or less.
    #[display("the send buffer is full")]
    Full(#[error(not(source))] Payload),
    /// The message is longer than the whole send buffer. It would never be taken.
    #[display("longer than the send buffer")]
    TooLarge(#[error(not(source))] Payload),
    /// The connection is closed for good.
    #[display("the connection is closed")]
    Closed(#[error(not(source))] Payload),
}

/// What makes of a message that was not taken the error that gives it back.
pub(crate) type Refusal = fn(Payload) -> SendError;

impl SendError {
    /// The message that was not taken.
    pub fn into_payload(self) -> Payload {
        match self {
            SendError::NotOpen(payload)
            | SendError::Full(payload)
            | SendError::TooLarge(payload)
            | SendError::Closed(payload) => payload,
        }
    }
}
