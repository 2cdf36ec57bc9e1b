//! Messages on their way from the `Sender`s of a stream to their connection.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use actix::Message;
use tokio::sync::oneshot;

use crate::command::send::{Accepted, Send, SendError};

/// A message with what its answer goes to.
pub(crate) struct Outgoing {
    pub(crate) send: Send,
    pub(crate) origin: Origin,
    /// The socket that was open when it was queued, the only one that it may be sent on.
    pub(crate) epoch: u64,
}

/// What the answer to a message goes to.
pub(crate) enum Origin {
    /// A caller that awaits it; `None` once it has it.
    Caller(Option<oneshot::Sender<Result<Accepted, SendError>>>),
    /// A `Sender`, by its number, which learns of refusals alone.
    Sender(u32),
}

impl Origin {
    /// Whether a caller has dropped its future.
    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        matches!(self, Origin::Caller(Some(reply)) if reply.is_closed())
    }

    /// Waits until a caller has dropped its future.
    pub(crate) fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Origin::Caller(Some(reply)) => reply.poll_closed(cx),
            _ => Poll::Pending,
        }
    }

    /// Answers that the message was accepted.
    #[inline]
    pub(crate) fn accept(&mut self, accepted: Accepted) {
        if let Origin::Caller(reply) = self
            && let Some(reply) = reply.take()
        {
            // An error says that the caller dropped its future.
            let _ = reply.send(Ok(accepted));
        }
    }

    /// Answers that the message was refused; for a `Sender`, by adding it to the list.
    #[cold]
    pub(crate) fn refuse(&mut self, error: SendError, refused: &mut Vec<(u32, SendError)>) {
        match self {
            Origin::Caller(reply) => {
                if let Some(reply) = reply.take() {
                    // An error says that the caller dropped its future.
                    let _ = reply.send(Err(error));
                }
            }
            Origin::Sender(number) => refused.push((*number, error)),
        }
    }
}

/// Sends messages in order, up to the first one that finds the send buffer full. Those that are refused for
/// another reason are answered so, and the next one is tried.
#[derive(Message)]
#[rtype(result = "Sent")]
pub(crate) struct SendAll(pub(crate) VecDeque<Outgoing>);

/// What became of the messages of a [`SendAll`].
pub(crate) struct Sent {
    /// The messages from the first one that found no room.
    pub(crate) rest: VecDeque<Outgoing>,
    /// The refused messages of `Sender`s.
    pub(crate) refused: Vec<(u32, SendError)>,
}
