//! What the clones of a `Requests` share with the connection that they are attached to.

use std::hash::Hash;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::command::{Closed, Handle, SendError};
use crate::proto::message::{Payload, View};
use crate::proto::messages::Messages;
use crate::requests::questions::{Found, Questions};

/// What a connection does with the questions that are asked on it, whatever their key.
///
/// Of several connections only the one that has claimed it calls the other methods.
pub(crate) trait Answers: Send + Sync {
    /// Claims it for a connection. Returns `false` if it belongs to another one that has not ended.
    fn claim(&self) -> bool;

    /// Sets the way to the connection.
    fn attach(&self, handle: Handle);

    /// A socket is open: questions can be asked on it.
    fn opened(&self, epoch: u64);

    /// Takes the answers out of the messages of one read.
    fn take_answers(&self, messages: &mut Messages);

    /// Fails the questions whose deadline has come, and returns the next deadline.
    fn expire(&self, now: Instant) -> Option<Instant>;

    /// The socket has ended: fails its questions.
    fn closed(&self);

    /// The connection has ended: fails all questions, also later ones, until another connection claims it.
    fn release(&self);
}

/// Finds the key in a message that may be an answer.
pub(super) type FindKey<K> = Box<dyn Fn(View<'_>) -> Option<K> + Send + Sync>;

/// Where the result of a question is sent.
pub(super) type Asker = oneshot::Sender<Result<Payload, Failed>>;

/// Why a question that was asked has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    Late,
    Lost { epoch: u64 },
}

/// See the file.
pub(super) struct Shared<K> {
    find_key: FindKey<K>,
    state: Mutex<State<K>>,
    /// Notified when a socket is open, and when the connection has ended.
    pub(super) changed: Notify,
}

/// What is under the lock.
pub(super) struct State<K> {
    pub(super) questions: Questions<K, Asker>,
    link: Link,
    /// How many answers came after their question was given up.
    pub(super) late_answers: u64,
}

/// The connection that questions are asked on.
enum Link {
    /// None yet.
    Unattached,
    /// One that is being started.
    Claimed,
    /// One without an open socket.
    Waiting(Handle),
    Open(Handle, u64),
    /// One that has ended.
    Ended,
}

impl<K: Eq + Hash + Clone> Shared<K> {
    pub(super) fn new(find_key: FindKey<K>, limit: usize) -> Shared<K> {
        let questions = Questions::new(limit);
        let state = State { questions, link: Link::Unattached, late_answers: 0 };
        Shared { find_key, state: state.into(), changed: Notify::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message to the asker of the question that it answers. Returns `false` if it is no answer.
    fn answer(&self, message: View<'_>) -> bool {
        // The application's code runs outside the lock.
        let Some(key) = (self.find_key)(message) else {
            return false;
        };
        let mut state = self.lock();
        match state.questions.answer(&key) {
            // An error says that the asker has just dropped its future.
            Found::Answer(asker) => drop(asker.send(Ok(message.to_payload()))),
            Found::Late => state.late_answers += 1,
            Found::Stranger => return false,
        }
        true
    }
}

impl<K: Eq + Hash + Clone> State<K> {
    /// Returns the connection and its open socket.
    ///
    /// # Errors
    /// If no socket is open; it takes the question.
    pub(super) fn socket(&self, question: &Payload) -> Result<(Handle, u64), SendError> {
        match &self.link {
            Link::Open(handle, epoch) => Ok((handle.clone(), *epoch)),
            Link::Unattached | Link::Claimed | Link::Waiting(_) => {
                Err(SendError::NotOpen(question.clone()))
            }
            Link::Ended => Err(SendError::Closed(question.clone())),
        }
    }

    /// Returns the open socket; `None` while none is open.
    pub(super) fn epoch(&self) -> Option<Result<u64, Closed>> {
        match self.link {
            Link::Open(_, epoch) => Some(Ok(epoch)),
            Link::Ended => Some(Err(Closed)),
            Link::Unattached | Link::Claimed | Link::Waiting(_) => None,
        }
    }

    /// Fails all questions, since their socket has ended.
    fn fail_all(&mut self) {
        let Link::Open(_, epoch) = self.link else {
            return;
        };
        for asker in self.questions.clear() {
            // An error says that the asker has just dropped its future.
            let _ = asker.send(Err(Failed::Lost { epoch }));
        }
    }
}

impl<K: Eq + Hash + Clone + Send> Answers for Shared<K> {
    fn claim(&self) -> bool {
        let mut state = self.lock();
        let is_free = matches!(state.link, Link::Unattached | Link::Ended);
        if is_free {
            state.link = Link::Claimed;
        }
        is_free
    }

    fn attach(&self, handle: Handle) {
        self.lock().link = Link::Waiting(handle);
    }

    fn opened(&self, epoch: u64) {
        let mut state = self.lock();
        state.link = match mem::replace(&mut state.link, Link::Claimed) {
            Link::Waiting(handle) => Link::Open(handle, epoch),
            other => other,
        };
        drop(state);
        self.changed.notify_waiters();
    }

    fn take_answers(&self, messages: &mut Messages) {
        if !self.lock().questions.is_empty() {
            messages.retain(|message| !self.answer(message));
        }
    }

    fn expire(&self, now: Instant) -> Option<Instant> {
        let mut state = self.lock();
        for asker in state.questions.expire(now) {
            // An error says that the asker has just dropped its future.
            let _ = asker.send(Err(Failed::Late));
        }
        state.questions.next_deadline()
    }

    fn closed(&self) {
        let mut state = self.lock();
        state.fail_all();
        state.link = match mem::replace(&mut state.link, Link::Claimed) {
            Link::Open(handle, _) => Link::Waiting(handle),
            other => other,
        };
    }

    fn release(&self) {
        let mut state = self.lock();
        state.fail_all();
        state.link = Link::Ended;
        drop(state);
        self.changed.notify_waiters();
    }
}
