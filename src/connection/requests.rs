//! The questions that are asked over a connection: their deadlines, and their end with the socket.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::command::Handle;
use crate::requests::Answers;

/// The questions of one connection. Dropping it fails those that are open.
pub(super) struct Attached {
    answers: Arc<dyn Answers>,
    /// The timer of the earliest deadline, and that deadline.
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Attached {
    /// Claims the questions for a connection that is about to be started. Returns `None` if another connection has
    /// them.
    pub(super) fn claim(answers: Arc<dyn Answers>) -> Option<Box<Attached>> {
        answers.claim().then(|| Box::new(Attached { answers, timer: None }))
    }

    /// Sets the way to the connection.
    pub(super) fn attach(&self, handle: Handle) {
        self.answers.attach(handle);
    }

    /// Questions can be asked on this socket from now on. Returns what takes the answers out of its messages.
    pub(super) fn opened(&self, epoch: u64) -> Arc<dyn Answers> {
        self.answers.opened(epoch);
        self.answers.clone()
    }

    /// Fails the questions of the socket that has ended.
    pub(super) fn closed(&mut self) {
        self.answers.closed();
        self.timer = None;
    }

    /// Fails the questions whose deadline has come, and has the task woken at the next one.
    pub(super) fn poll_deadlines(&mut self, task: &mut Context<'_>) {
        while let Some(next) = self.answers.expire(Instant::now()) {
            let timer = match &mut self.timer {
                Some((at, timer)) if *at == next => timer,
                timer => &mut timer.insert((next, Box::pin(sleep_until(next)))).1,
            };
            if timer.as_mut().poll(task).is_pending() {
                return;
            }
        }
        self.timer = None;
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.answers.release();
    }
}
