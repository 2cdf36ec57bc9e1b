//! Questions and answers over a connection: each message that answers a question reaches its asker.
//!
//! A WebSocket carries messages, and most protocols on it need a request and its response: JSON-RPC, order
//! entry, a query of a balance. [`Requests`] keeps the questions that are open, by a key that question and
//! answer share, and takes the answers out of what the handlers receive.
//!
//! ```
//! use actix_ws_client::requests::Requests;
//! use actix_ws_client::testing::{Probe, Script, Server};
//! use actix_ws_client::{Connection, View, event};
//!
//! # actix::System::new().block_on(async {
//! # let script = Script::accept().send_text("news").expect_text("7 ping").send_text("7 pong");
//! # let server = Server::start(script);
//! # let probe = Probe::new();
//! // Here the key is the number at the start of a question and of its answer.
//! let requests = Requests::new(|message| match message {
//!     View::Text(text) => text.split(' ').next()?.parse::<u64>().ok(),
//!     View::Binary(_) => None,
//! });
//! let builder = Connection::builder(server.url()).requests(&requests);
//! let connection = probe.attach(builder).start().unwrap();
//! probe.next::<event::Open>().await;
//!
//! let answer = requests.ask(7, "7 ping").await.unwrap();
//! assert_eq!(answer.as_text(), Some("7 pong"));
//! // What is no answer goes to the handlers, as ever.
//! assert_eq!(probe.next_message().await.payload.as_text(), Some("news"));
//! # drop(connection);
//! # });
//! ```

mod error;
mod questions;
mod shared;

use std::fmt;
use std::future::{Future, poll_fn};
use std::hash::Hash;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot::{self, error::RecvError};
use tokio::time::Instant;

use crate::command::{self, Accepted, Closed, Fate, Receipt, SendError};
use crate::proto::message::{Payload, View};
use crate::requests::questions::Refused;
use crate::requests::shared::{Failed, Shared};

pub use crate::requests::error::AskError;
pub(crate) use crate::requests::shared::Answers;

/// Asks questions over a connection, from any thread, and returns the answers.
///
/// It is `Clone + Send + Sync`; all clones share the open questions. It serves the one connection whose
/// builder it was given to, by [`ConnectionBuilder::requests`](crate::ConnectionBuilder::requests), and keeps
/// neither that nor its actor alive.
///
/// | what comes | what happens |
/// |---|---|
/// | the first message with the key of an open question | it is the answer: its asker gets it, no handler does |
/// | one with the key of a question that was given up, on the same socket | it is dropped, and counted in [`late_answers`](Requests::late_answers) |
/// | any other message, or a second one with the same key | it goes to the handlers, in its order |
///
/// A question is bound to the socket that is open when it is asked. It is sent on no other, and fails when that
/// one ends. A question is given up when its deadline passes, or when its future is dropped. As many of
/// these as [`limit`](Requests::limit) says are remembered, each until its answer comes or the socket ends; an answer
/// to an older one goes to the handlers.
///
/// Answers are taken out before the queue to the handlers, so that a slow handler does not delay them until
/// `read_ahead` is full: then nothing is read, and no answer comes. A message in fragments is no answer where
/// `on_continuation_to` is registered.
#[doc(alias("rpc", "request_response", "correlation_id"))]
pub struct Requests<K> {
    shared: Arc<Shared<K>>,
    deadline: Duration,
}

/// The default of [`Requests::deadline`].
const DEADLINE: Duration = Duration::from_secs(10);

/// The default of [`Requests::limit`].
const LIMIT: usize = 1024;

/// Used in place of a deadline that is too far for the clock: 30 years.
const LONGEST_DEADLINE: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

impl<K: Eq + Hash + Clone + Send + 'static> Requests<K> {
    /// Creates a way to ask questions whose answers `find_key` recognizes.
    ///
    /// `find_key` returns the key of a message that may be an answer, and `None` for any other, also for a question of
    /// the server's that has a key of its own. It is called for each message while a question is open, or was given
    /// up, on the thread of the connection: it should be quick. A panic in it ends the run with
    /// [`Error::Handler`](crate::Error::Handler).
    pub fn new(find_key: impl Fn(View<'_>) -> Option<K> + Send + Sync + 'static) -> Requests<K> {
        let shared = Shared::new(Box::new(find_key), LIMIT);
        Requests { shared: Arc::new(shared), deadline: DEADLINE }
    }

    /// Sets how long to wait for an answer, from the call of [`ask`](Requests::ask) on. Default: 10 s. It holds for
    /// this value and its later clones: a clone can have a deadline of its own.
    ///
    /// The connection's thread watches the deadlines, so that an asker needs no timer, nor any runtime.
    pub fn deadline(mut self, deadline: Duration) -> Requests<K> {
        self.deadline = deadline;
        self
    }

    /// Sets how many questions may be open at a time, over all clones. Default: 1,024. One more is refused as
    /// [`AskError::Full`].
    pub fn limit(self, questions: usize) -> Requests<K> {
        self.shared.lock().questions.set_limit(questions);
        self
    }

    /// Waits until a socket is open that questions can be asked on, and returns its epoch. It waits as long as the
    /// connection tries, or is not started.
    ///
    /// # Errors
    /// If the connection is closed for good.
    pub async fn opened(&self) -> Result<u64, Closed> {
        loop {
            let mut changed = pin!(self.shared.changed.notified());
            changed.as_mut().enable();
            let socket = self.shared.lock().epoch();
            match socket {
                Some(socket) => return socket,
                None => changed.await,
            }
        }
    }

    /// Sends a question, and returns the message that answers it: the first one with this key.
    ///
    /// The question is whatever a [`command::Send`] is made of; with [`Send::wait`](command::Send::wait) it may wait for
    /// room in the send buffer. Nothing is sent before the future is polled. If the future is dropped, the
    /// question is given up.
    ///
    /// # Errors
    /// If it is refused, if no answer comes before the deadline, or if the socket ends first: see [`AskError`].
    pub async fn ask(
        &self,
        key: K,
        question: impl Into<command::Send>,
    ) -> Result<Payload, AskError> {
        let send = question.into();
        let payload = send.payload.clone();
        let (sender, answer) = oneshot::channel();
        let (handle, epoch, number) = {
            let mut state = self.shared.lock();
            let (handle, epoch) = state.socket(&payload).map_err(AskError::Unsent)?;
            let asked = state.questions.ask(key.clone(), self.due(), sender);
            let number = asked.map_err(|refused| match refused {
                Refused::Duplicate => AskError::Duplicate(payload.clone()),
                Refused::Full => AskError::Full(payload.clone()),
            })?;
            (handle, epoch, number)
        };
        // Gives the question up where the future is dropped.
        let asked = Asked { shared: &self.shared, key, number };
        let (send, receipt) = send.on(epoch).receipt();
        let lost = Err(Failed::Lost { epoch });
        match result_of(handle.send(send), answer).await {
            Err(refused) => {
                asked.withdraw();
                Err(AskError::Unsent(refused))
            }
            Ok(answered) => match answered.unwrap_or(lost) {
                Ok(answer) => Ok(answer),
                Err(Failed::Late) => {
                    Err(AskError::Late { after: self.deadline, fate: fate_now(receipt).await })
                }
                // The receipt completes with the socket.
                Err(Failed::Lost { epoch }) => Err(AskError::Lost { epoch, fate: receipt.await }),
            },
        }
    }

    /// Returns when a question that is asked now must be answered.
    fn due(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(self.deadline).unwrap_or(now + LONGEST_DEADLINE)
    }

    /// Returns the number of open questions.
    pub fn open(&self) -> usize {
        self.shared.lock().questions.open_count()
    }

    /// Returns how many answers were dropped because they came after their question was given up.
    pub fn late_answers(&self) -> u64 {
        self.shared.lock().late_answers
    }

    /// Returns what a connection needs of it.
    pub(crate) fn answers(&self) -> Arc<dyn Answers> {
        self.shared.clone()
    }
}

impl<K> Clone for Requests<K> {
    fn clone(&self) -> Requests<K> {
        Requests { shared: self.shared.clone(), deadline: self.deadline }
    }
}

impl<K: Eq + Hash + Clone + Send + 'static> fmt::Debug for Requests<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests")
            .field("open", &self.open())
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// A question that is open. Dropping it gives the question up, unless it was answered.
struct Asked<'a, K: Eq + Hash + Clone> {
    shared: &'a Shared<K>,
    key: K,
    number: u64,
}

impl<K: Eq + Hash + Clone> Asked<'_, K> {
    /// Takes the question back: it was not sent.
    fn withdraw(self) {
        self.shared.lock().questions.withdraw(&self.key, self.number);
    }
}

impl<K: Eq + Hash + Clone> Drop for Asked<'_, K> {
    fn drop(&mut self) {
        self.shared.lock().questions.give_up(&self.key, self.number);
    }
}

/// Waits for the result of a question, or for its refusal. Dropping the future cancels a question that the
/// connection has not accepted.
async fn result_of<R>(
    sending: impl Future<Output = Result<Accepted, SendError>>,
    mut answer: oneshot::Receiver<R>,
) -> Result<Result<R, RecvError>, SendError> {
    let mut sending = pin!(sending);
    let mut is_accepted = false;
    poll_fn(|cx| {
        if let Poll::Ready(result) = Pin::new(&mut answer).poll(cx) {
            return Poll::Ready(Ok(result));
        }
        if !is_accepted {
            match ready!(sending.as_mut().poll(cx)) {
                Ok(_) => is_accepted = true,
                Err(refused) => return Poll::Ready(Err(refused)),
            }
        }
        Poll::Pending
    })
    .await
}

/// Returns what became of a message so far.
async fn fate_now(mut receipt: Receipt) -> Fate {
    poll_fn(|cx| {
        let fate = Pin::new(&mut receipt).poll(cx);
        Poll::Ready(if let Poll::Ready(fate) = fate { fate } else { Fate::Unknown })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event;
    use crate::testing::{MemoryServer, Probe, Script};

    #[actix::test]
    async fn a_question_goes_to_the_socket_that_it_was_asked_on_or_to_none() {
        let server = MemoryServer::paused(Script::accept());
        let probe = Probe::new();
        let connection = probe.attach(server.connection());
        let handle = connection.handle();
        let _connection = connection.start().unwrap();
        assert_eq!(probe.next::<event::Open>().await.epoch, 1);
        let requests = Requests::new(|_| None::<u64>);
        // As an asker on another thread sees it that has read the epoch just before the next socket opened.
        requests.shared.attach(handle);
        requests.shared.opened(7);
        let asked = tokio::time::timeout(DEADLINE, requests.ask(1, "1 ?"));
        let refused = asked.await.expect("it is refused at once");
        assert_eq!(refused, Err(AskError::Unsent(SendError::OtherEpoch("1 ?".into()))));
        assert!(server.journal().messages().is_empty());
    }
}
