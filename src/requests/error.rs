//! Why a question has no answer.

use std::fmt;
use std::time::Duration;

use derive_more::{Display, Error};

use crate::command::{Fate, SendError};
use crate::proto::message::Payload;

/// Why a question has no answer. The first three variants return the question, which was not sent.
#[derive(Clone, Display, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskError {
    /// The connection refused it, or no socket is open. After [`SendError::NotOpen`] ask again once
    /// `event::Open` has come; [`SendError::Closed`] is for good.
    #[display("{_0}")]
    Unsent(#[error(not(source))] SendError),
    /// Another question with its key is open, or was given up and may still be answered. Use a key once for
    /// each socket.
    #[display(
        "a question with the same key is open, or was given up and may still be answered: use another key"
    )]
    Duplicate(#[error(not(source))] Payload),
    /// As many questions as [`Requests::limit`](crate::requests::Requests::limit) allows are open. Ask again when
    /// one is answered.
    #[display("too many open questions: ask when one is answered, or raise `Requests::limit`")]
    Full(#[error(not(source))] Payload),
    /// No answer came before the deadline. If it comes later, it is dropped.
    #[display("no answer within {after:.1?}, {}", words(fate))]
    Late {
        /// The deadline of the question.
        after: Duration,
        /// What became of the question; `Unknown` also if it still waits to be written.
        fate: Fate,
    },
    /// The socket that the question was asked on ended before the answer. Whether to ask again on the next
    /// one depends on what the question does: the server may have received it.
    #[display("the socket of epoch {epoch} ended before the answer, {}", words(fate))]
    Lost {
        /// The socket.
        epoch: u64,
        /// What became of the question.
        fate: Fate,
    },
}

impl AskError {
    /// Returns the question, if it was refused.
    pub fn into_payload(self) -> Option<Payload> {
        match self {
            AskError::Unsent(err) => Some(err.into_payload()),
            AskError::Duplicate(payload) | AskError::Full(payload) => Some(payload),
            AskError::Late { .. } | AskError::Lost { .. } => None,
        }
    }
}

/// Returns in words what became of a question.
fn words(fate: &Fate) -> &'static str {
    match fate {
        Fate::Written { .. } => "the question was written",
        Fate::Returned => "the question was not sent",
        Fate::Unknown => "the question may have been sent",
    }
}

impl fmt::Debug for AskError {
    /// Shows the length of the question alone: it may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskError::Unsent(err) => f.debug_tuple("Unsent").field(err).finish(),
            AskError::Duplicate(payload) => write!(f, "Duplicate({} bytes)", payload.len()),
            AskError::Full(payload) => write!(f, "Full({} bytes)", payload.len()),
            AskError::Late { after, fate } => {
                f.debug_struct("Late").field("after", after).field("fate", fate).finish()
            }
            AskError::Lost { epoch, fate } => {
                f.debug_struct("Lost").field("epoch", epoch).field("fate", fate).finish()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_became_of_the_question_and_shows_none_of_it() {
        let payload = || Payload::from("hunter2");
        let after = Duration::from_secs(10);
        let cases = [
            (AskError::Unsent(SendError::NotOpen(payload())), "no socket is open"),
            (AskError::Duplicate(payload()), "use another key"),
            (AskError::Full(payload()), "raise `Requests::limit`"),
            (
                AskError::Late { after, fate: Fate::Unknown },
                "no answer within 10.0s, the question may have been sent",
            ),
            (
                AskError::Late { after, fate: Fate::Returned },
                "no answer within 10.0s, the question was not sent",
            ),
            (
                AskError::Lost { epoch: 3, fate: Fate::Written { epoch: 3 } },
                "the socket of epoch 3 ended before the answer, the question was written",
            ),
        ];
        for (error, text) in cases {
            assert!(error.to_string().ends_with(text), "{error}");
            assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
            let returned = error.clone().into_payload();
            let was_sent = matches!(error, AskError::Late { .. } | AskError::Lost { .. });
            assert_eq!(returned, (!was_sent).then(payload));
        }
    }
}
