//! Sending a message.

use std::fmt;
use std::time::Duration;

use actix::Message;
use bytes::Bytes;
use bytestring::ByteString;
use derive_more::{Display, Error};

use crate::proto::message::Payload;

/// Sends one message (WebSocketApp's `send`, `send_text`, `send_bytes`).
///
/// It is answered in the same poll of the connection's actor, unless it may [`wait`](Send::wait). `Ok`
/// means that the message is in the bounded send buffer of the socket that is open now. It does not
/// mean that the peer has it: what is under way when a socket is lost may or may not have arrived.
///
/// ```
/// use actix_ws_client::command;
///
/// let subscribe = command::Send::text(r#"{"op":"subscribe"}"#);
/// ```
///
/// `Debug` shows only the length of the message, and so does that of [`SendError`] and [`Unsent`]: a
/// first message often holds a key, and `unwrap` prints what it panics on.
#[derive(Clone, Message)]
#[rtype(result = "Result<Accepted, SendError>")]
pub struct Send {
    pub(crate) payload: Payload,
    /// Options that few messages have. Boxed, so that all others are small.
    more: Option<Box<More>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct More {
    /// The largest payload of one frame, in bytes; `None` for a single frame.
    fragment: Option<usize>,
    /// How long the message may wait for room in the send buffer.
    wait: Option<Duration>,
}

impl Send {
    /// Creates a text message.
    pub fn text(text: impl Into<ByteString>) -> Send {
        Payload::Text(text.into()).into()
    }

    /// Creates a binary message.
    pub fn binary(bytes: impl Into<Bytes>) -> Send {
        Payload::Binary(bytes.into()).into()
    }

    /// Creates a message in fragments of at most `size` bytes each (RFC 6455, 5.4), for a server that
    /// wants short frames. A `size` of 0 counts as 1.
    ///
    /// The fragments are sent without another message between them, and compressed if that was agreed
    /// and is worth it. Each has a header of up to 14 bytes, which counts against `send_buffer` too.
    /// (With WebSocketApp such frames are made by hand, with `create_frame`.)
    pub fn fragments(payload: impl Into<Payload>, size: usize) -> Send {
        let more = More { fragment: Some(size), wait: None };
        Send { payload: payload.into(), more: Some(Box::new(more)) }
    }

    /// Sets how long the message may wait for room in the send buffer. Default: it does not wait, and
    /// is refused as [`Full`](SendError::Full) at once.
    ///
    /// Messages wait first come, first served, and at most 1,024 at a time. One that has waited too
    /// long comes back as `Full`, or as `NotOpen` if the socket was lost meanwhile. While messages
    /// wait, one that may not wait is refused, for it would overtake them. In a [`SendBatch`] this has
    /// no effect.
    pub fn wait(mut self, time: Duration) -> Send {
        self.more.get_or_insert_default().wait = Some(time);
        self
    }

    /// Returns the largest payload of one frame, in bytes; `None` for a single frame.
    pub(crate) fn fragment(&self) -> Option<usize> {
        self.more.as_ref()?.fragment
    }

    /// Returns how long the message may wait for room in the send buffer.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.more.as_ref()?.wait
    }
}

impl From<Payload> for Send {
    fn from(payload: Payload) -> Send {
        Send { payload, more: None }
    }
}

/// Sends many messages in one envelope, in order, up to the first one that is refused.
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
    /// Creates a batch of messages, in their order.
    pub fn new(messages: impl IntoIterator<Item = Send>) -> SendBatch {
        SendBatch { messages: messages.into_iter().collect() }
    }
}

/// The part of a batch that was refused. All messages before it were accepted.
#[derive(Clone, Display, Error, PartialEq, Eq)]
#[display("{error}, {} more behind it", rest.len())]
pub struct Unsent {
    /// The refusal of the first refused message, with that message.
    #[error(not(source))]
    pub error: SendError,
    /// The messages after it, none of which was tried.
    pub rest: Vec<Payload>,
}

/// The answer to a message that is in the send buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// The epoch, which is the number of the opened socket, that it is sent on.
    pub epoch: u64,
}

impl Accepted {
    pub(crate) fn new(epoch: u64) -> Accepted {
        Accepted { epoch }
    }
}

/// Why a message was refused. Each variant returns the message.
#[derive(Clone, Display, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// No socket is open. Wait for the next `event::Open`.
    #[display("no socket is open")]
    NotOpen(#[error(not(source))] Payload),
    /// The send buffer is full: the peer reads too slowly. Send later, or less.
    #[display("the send buffer is full")]
    Full(#[error(not(source))] Payload),
    /// The message is longer than the whole send buffer, and would never be accepted.
    #[display("longer than the send buffer")]
    TooLarge(#[error(not(source))] Payload),
    /// The connection is closed for good.
    #[display("the connection is closed")]
    Closed(#[error(not(source))] Payload),
}

/// A command whose answer can return its messages.
pub(crate) trait GiveBack: Message {
    /// Returns the answer of a connection that is closed; `None` if there is no message to return.
    fn give_back(self) -> Option<Self::Result>;
}

impl GiveBack for Send {
    fn give_back(self) -> Option<Result<Accepted, SendError>> {
        Some(Err(SendError::Closed(self.payload)))
    }
}

impl GiveBack for SendBatch {
    fn give_back(self) -> Option<Result<Accepted, Unsent>> {
        let mut payloads = self.messages.into_iter().map(|message| message.payload);
        let error = SendError::Closed(payloads.next()?);
        Some(Err(Unsent { error, rest: payloads.collect() }))
    }
}

/// Makes the error that returns a refused message.
pub(crate) type Refusal = fn(Payload) -> SendError;

impl SendError {
    /// Returns the refused message.
    pub fn into_payload(self) -> Payload {
        match self {
            SendError::NotOpen(payload)
            | SendError::Full(payload)
            | SendError::TooLarge(payload)
            | SendError::Closed(payload) => payload,
        }
    }
}

/// A message whose `Debug` shows its kind and its length.
struct Hidden<'a>(&'a Payload);

impl fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.0.as_text().is_some() { "Text" } else { "Binary" };
        write!(f, "{kind}({} bytes)", self.0.len())
    }
}

impl fmt::Debug for Send {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Send")
            .field("payload", &Hidden(&self.payload))
            .field("more", &self.more)
            .finish()
    }
}

impl fmt::Debug for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsent")
            .field("error", &self.error)
            .field("rest", &format_args!("{} messages", self.rest.len()))
            .finish()
    }
}

impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, payload) = match self {
            SendError::NotOpen(payload) => ("NotOpen", payload),
            SendError::Full(payload) => ("Full", payload),
            SendError::TooLarge(payload) => ("TooLarge", payload),
            SendError::Closed(payload) => ("Closed", payload),
        };
        f.debug_tuple(name).field(&Hidden(payload)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn what_is_unsent_names_the_refusal_once() {
        let error = SendError::Full(Payload::from("x"));
        let unsent = Unsent { error, rest: vec![Payload::from("y")] };
        assert_eq!(unsent.to_string(), "the send buffer is full, 1 more behind it");
        assert!(unsent.source().is_none());
    }
}
