//! Sending many messages at once.

use std::fmt;
use std::iter;
use std::time::Duration;

use actix::Message;
use derive_more::{Display, Error};

use crate::command::send::{Accepted, GiveBack, Send, SendError, Unanswered};
use crate::proto::message::Payload;

/// Sends many messages in one envelope, in order, up to the first one that is refused.
///
/// ```
/// use actix_ws_client::command;
///
/// let orders = command::SendBatch::new(["one", "two"].map(command::Send::text));
/// ```
///
/// What was refused comes back in [`Unsent`], which makes a batch again:
///
/// ```
/// # use std::time::Duration;
/// # use actix_ws_client::{Handle, command};
/// # async fn load(connection: Handle, rows: Vec<String>) -> Result<(), command::Unsent> {
/// let mut batch = command::SendBatch::new(rows).wait(Duration::from_secs(10));
/// while let Err(unsent) = connection.send(batch).await {
///     match unsent.error {
///         command::SendError::Full(_) => batch = command::SendBatch::from(unsent).wait(Duration::from_secs(10)),
///         _ => return Err(unsent),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Accepted, Unsent>")]
#[doc(alias("send_all", "send_many", "feed", "writev"))]
pub struct SendBatch {
    pub(crate) messages: Vec<Send>,
    /// How long the messages may wait for room in the send buffer, together.
    pub(crate) wait: Option<Duration>,
}

impl SendBatch {
    /// Creates a batch of messages, in their order.
    pub fn new(messages: impl IntoIterator<Item: Into<Send>>) -> SendBatch {
        SendBatch { messages: messages.into_iter().map(Into::into).collect(), wait: None }
    }

    /// Sets how long the batch may wait for room in the send buffer. Default: it does not wait, and the
    /// first message that finds no room comes back as [`Full`](SendError::Full) at once, with those behind
    /// it.
    ///
    /// It waits as a message with [`Send::wait`] does, in the same queue and as one entry of its 1,024;
    /// messages leave it as soon as there is room. What is left when the time has passed comes back.
    pub fn wait(mut self, time: Duration) -> SendBatch {
        self.wait = Some(time);
        self
    }

    /// Sets the only socket that the messages may be sent on, as [`Send::on`] does for each.
    pub fn on(mut self, epoch: u64) -> SendBatch {
        self.messages.iter_mut().for_each(|message| message.options_mut().epoch = Some(epoch));
        self
    }

    /// Keeps the payloads out of every log record, as [`Send::secret`] does for each.
    pub fn secret(mut self) -> SendBatch {
        self.messages.iter_mut().for_each(|message| message.options_mut().is_secret = true);
        self
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

/// The refused message and those after it, as a batch to send again. Its messages have none of the options
/// that they had: set [`wait`](SendBatch::wait), [`on`](SendBatch::on) and [`secret`](SendBatch::secret) anew.
impl From<Unsent> for SendBatch {
    fn from(unsent: Unsent) -> SendBatch {
        let first = unsent.error.into_payload();
        SendBatch::new(iter::once(first).chain(unsent.rest))
    }
}

impl FromIterator<Send> for SendBatch {
    fn from_iter<I: IntoIterator<Item = Send>>(messages: I) -> SendBatch {
        SendBatch::new(messages)
    }
}

impl Unsent {
    /// Creates the error of a refused message, with the messages behind it.
    pub(crate) fn new(error: SendError, rest: impl Iterator<Item = Send>) -> Unsent {
        Unsent { error, rest: rest.map(|message| message.payload).collect() }
    }
}

impl Unanswered for Unsent {
    #[cold]
    fn unanswered() -> Unsent {
        Unsent { error: SendError::unanswered(), rest: Vec::new() }
    }
}

impl GiveBack for SendBatch {
    fn give_back(self) -> Option<Result<Accepted, Unsent>> {
        let mut messages = self.messages.into_iter();
        let error = SendError::Closed(messages.next()?.payload);
        Some(Err(Unsent::new(error, messages)))
    }
}

impl fmt::Debug for Unsent {
    /// Shows the lengths of the messages alone: a payload may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest: Vec<usize> = self.rest.iter().map(Payload::len).collect();
        f.debug_struct("Unsent").field("error", &self.error).field("rest", &rest).finish()
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

    #[test]
    fn what_is_unsent_makes_a_batch_again() {
        let batch = SendBatch::new(["1", "2", "3"]);
        let unsent = batch.give_back().expect("it has messages").expect_err("it is given back");
        let again = SendBatch::from(unsent);
        let texts: Vec<Payload> = again.messages.into_iter().map(|send| send.payload).collect();
        assert_eq!(texts, ["1", "2", "3"].map(Payload::from));
    }
}
