//! Sending a message.

use std::fmt;
use std::time::Duration;

use actix::Message;
use bytes::Bytes;
use bytestring::ByteString;
use derive_more::{Display, Error};

use crate::command::receipt::{Receipt, ReceiptEnd};
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
#[derive(Clone, Message)]
#[rtype(result = "Result<Accepted, SendError>")]
#[doc(alias("send_text", "send_str", "send_message", "write_message", "emit", "publish"))]
pub struct Send {
    pub(crate) payload: Payload,
    /// Options that few messages have. Boxed, so that all others are small.
    options: Option<Box<SendOptions>>,
}

#[derive(Default)]
pub(super) struct SendOptions {
    /// The largest payload of one frame, in bytes; `None` for a single frame.
    fragment: Option<usize>,
    /// How long the message may wait for room in the send buffer.
    wait: Option<Duration>,
    /// The epoch of the only socket that it may be sent on; `None` for whichever is open.
    pub(super) epoch: Option<u64>,
    /// Whether no log record shows the payload.
    pub(super) is_secret: bool,
    /// Where what became of it is reported.
    receipt: Option<ReceiptEnd>,
}

impl Clone for SendOptions {
    /// Copies all but the receipt: what became of the clone is another question.
    fn clone(&self) -> SendOptions {
        let SendOptions { fragment, wait, epoch, is_secret, .. } = *self;
        SendOptions { fragment, wait, epoch, is_secret, receipt: None }
    }
}

impl Send {
    /// Creates a text message.
    pub fn text(text: impl Into<ByteString>) -> Send {
        Payload::Text(text.into()).into()
    }

    /// Creates a binary message.
    #[doc(alias("send_bytes", "send_binary"))]
    pub fn binary(bytes: impl Into<Bytes>) -> Send {
        Payload::Binary(bytes.into()).into()
    }

    /// Creates a message in fragments of at most `size` bytes each (RFC 6455, 5.4), for a server that
    /// wants short frames. A `size` of 0 counts as 1.
    ///
    /// The fragments are sent without another message between them, and compressed if that was agreed
    /// and is worth it. Each has a header of up to 14 bytes, which counts against `send_buffer` too.
    /// (With WebSocketApp such frames are made by hand, with `create_frame`.)
    #[doc(alias("create_frame", "continuation"))]
    pub fn fragments(payload: impl Into<Payload>, size: usize) -> Send {
        let mut send = Send::from(payload.into());
        send.options_mut().fragment = Some(size);
        send
    }

    /// Sets how long the message may wait for room in the send buffer. Default: it does not wait, and
    /// is refused as [`Full`](SendError::Full) at once.
    ///
    /// Messages wait first come, first served, and at most 1,024 at a time. One that has waited too
    /// long comes back as `Full`, or as `NotOpen` if the socket was lost meanwhile. While messages
    /// wait, one that may not wait is refused, for it would overtake them. One whose caller drops the future
    /// of its answer is not sent any more. In a
    /// [`SendBatch`](super::SendBatch) this has no effect; see [`SendBatch::wait`](super::SendBatch::wait).
    pub fn wait(mut self, time: Duration) -> Send {
        self.options_mut().wait = Some(time);
        self
    }

    /// Sets the only socket that the message may be sent on, by its epoch. If another one is open, it comes
    /// back as [`OtherEpoch`](SendError::OtherEpoch). Default: it is sent on whichever socket is open when
    /// the connection executes the command.
    ///
    /// What answers one session, as a login or an order does, must not reach the next one: between the event
    /// that led to it and its execution the socket may have changed.
    pub fn on(mut self, epoch: u64) -> Send {
        self.options_mut().epoch = Some(epoch);
        self
    }

    /// Keeps the payload out of every log record, at every level. Default: the records of frames
    /// (`actix_ws_client::frames=trace`) show its first 128 bytes. They then show `***` in its place.
    pub fn secret(mut self) -> Send {
        self.options_mut().is_secret = true;
        self
    }

    /// Returns the message with a receipt for it, a future of what became of it. A clone of the message has
    /// none.
    ///
    /// ```
    /// # use actix_ws_client::{Handle, command};
    /// # async fn buy(connection: Handle, epoch: u64) {
    /// let (order, receipt) = command::Send::text(r#"{"op":"buy"}"#).on(epoch).receipt();
    /// connection.do_send(order);
    /// match receipt.await {
    ///     command::Fate::Written { epoch } => println!("sent on socket {epoch}"),
    ///     command::Fate::Returned => println!("not sent"),
    ///     _ => println!("it may have been sent: ask the server"),
    /// }
    /// # }
    /// ```
    pub fn receipt(mut self) -> (Send, Receipt) {
        let (end, receipt) = ReceiptEnd::new();
        self.options_mut().receipt = Some(end);
        (self, receipt)
    }

    /// Creates a text message of a value's JSON.
    ///
    /// # Errors
    /// If the value has no JSON, as a map whose keys are not text.
    ///
    /// ```
    /// use actix_ws_client::command;
    ///
    /// let subscribe = serde_json::json!({ "op": "subscribe", "topics": ["trades"] });
    /// let send = command::Send::json(&subscribe)?; // or any value that is `Serialize`
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[cfg(feature = "serde")]
    #[doc(alias = "send_json")]
    pub fn json(value: &(impl serde::Serialize + ?Sized)) -> Result<Send, serde_json::Error> {
        serde_json::to_string(value).map(Send::text)
    }

    pub(super) fn options_mut(&mut self) -> &mut SendOptions {
        self.options.get_or_insert_default()
    }

    /// Whether the message has options, by which it differs from a plain one.
    #[inline]
    pub(crate) fn has_options(&self) -> bool {
        self.options.is_some()
    }

    /// Returns the largest payload of one frame, in bytes; `None` for a single frame.
    pub(crate) fn fragment(&self) -> Option<usize> {
        self.options.as_ref()?.fragment
    }

    /// Returns how long the message may wait for room in the send buffer.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.options.as_ref()?.wait
    }

    /// Whether the message may be sent on this socket.
    pub(crate) fn is_for(&self, epoch: u64) -> bool {
        let only = self.options.as_ref().and_then(|options| options.epoch);
        only.is_none_or(|only| only == epoch)
    }

    /// Whether no log record may show the payload.
    pub(crate) fn is_secret(&self) -> bool {
        self.options.as_ref().is_some_and(|options| options.is_secret)
    }

    /// Takes the end of the receipt out of an accepted message.
    pub(crate) fn take_receipt(&mut self) -> Option<ReceiptEnd> {
        self.options.as_mut()?.receipt.take()
    }
}

impl fmt::Debug for Send {
    /// Shows the length alone: a payload may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Send({} bytes)", self.payload.len())
    }
}

impl From<Payload> for Send {
    fn from(payload: Payload) -> Send {
        Send { payload, options: None }
    }
}

/// A text message.
impl From<&str> for Send {
    fn from(text: &str) -> Send {
        Send::text(text)
    }
}

/// A text message, without a copy.
impl From<String> for Send {
    fn from(text: String) -> Send {
        Send::text(text)
    }
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
    /// Another socket is open than the one that the message is for, see [`Send::on`].
    #[display("another socket is open")]
    OtherEpoch(#[error(not(source))] Payload),
    /// The connection is closed for good.
    #[display("the connection is closed")]
    Closed(#[error(not(source))] Payload),
    /// `Sender::blocking_send` was called on a thread of a tokio runtime, which it would block. Await `send`
    /// there.
    #[display("called inside a tokio runtime, whose thread would be blocked: await send there")]
    InRuntime(#[error(not(source))] Payload),
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

/// The error of a command that was not answered.
pub(crate) trait Unanswered {
    /// Creates the error.
    fn unanswered() -> Self;
}

impl Unanswered for SendError {
    /// Without the message, which is lost: see [`Handle::send`](super::Handle::send).
    #[cold]
    fn unanswered() -> SendError {
        SendError::Closed(Payload::Binary(Bytes::new()))
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
            | SendError::OtherEpoch(payload)
            | SendError::Closed(payload)
            | SendError::InRuntime(payload) => payload,
        }
    }
}

impl fmt::Debug for SendError {
    /// Shows the length of the message alone: a payload may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, payload) = match self {
            SendError::NotOpen(payload) => ("NotOpen", payload),
            SendError::Full(payload) => ("Full", payload),
            SendError::TooLarge(payload) => ("TooLarge", payload),
            SendError::OtherEpoch(payload) => ("OtherEpoch", payload),
            SendError::Closed(payload) => ("Closed", payload),
            SendError::InRuntime(payload) => ("InRuntime", payload),
        };
        write!(f, "{name}({} bytes)", payload.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{SendBatch, Unsent};

    #[test]
    fn no_debug_shows_a_payload() {
        let payload = || Payload::from("hunter2");
        let batch = SendBatch::new([Send::from(payload()).secret(), Send::from(payload())]);
        let errors: [fn(Payload) -> SendError; 6] = [
            SendError::NotOpen,
            SendError::Full,
            SendError::TooLarge,
            SendError::OtherEpoch,
            SendError::Closed,
            SendError::InRuntime,
        ];
        let mut shown = vec![format!("{:?}", Send::from(payload())), format!("{batch:?}")];
        for error in errors {
            let unsent = Unsent { error: error(payload()), rest: vec![payload()] };
            shown.push(format!("{unsent:?} {unsent:#?} {unsent}"));
        }
        for shown in shown {
            assert!(!shown.contains("hunter2") && shown.contains('7'), "{shown}");
        }
    }
}
