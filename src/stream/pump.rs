//! What runs on the connection's thread beside it: keeps the connection alive, and passes messages to it.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use actix::Addr;
use tokio::sync::oneshot;

use crate::command::status::Outcome;
use crate::command::{self, Outgoing, SendAll, SendError, Sent};
use crate::connection::Connection;
use crate::stream::outbox::{Outlet, Taken};

/// Used in place of a wait without an end: 30 years.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The connection of one stream, and what comes from its `Sender`s.
pub(super) struct Pump {
    /// Keeps the connection alive; `None` once it closes.
    connection: Option<Addr<Connection>>,
    outbox: Outlet,
    /// Resolves when the last event is delivered, or the consumer of the events is gone.
    kept: oneshot::Receiver<()>,
    /// Whether `kept` has resolved.
    is_closing: bool,
    outcome: oneshot::Receiver<Outcome>,
}

impl Pump {
    pub(super) fn new(
        connection: Addr<Connection>,
        outbox: Outlet,
        kept: oneshot::Receiver<()>,
        outcome: oneshot::Receiver<Outcome>,
    ) -> Pump {
        Pump { connection: Some(connection), outbox, kept, is_closing: false, outcome }
    }

    /// Runs until the connection is closed.
    pub(super) async fn run(mut self) {
        // The queue of messages and its spare change places.
        let mut spare = VecDeque::new();
        while !self.is_closing {
            let Taken { messages, asks_close } = poll_fn(|cx| {
                self.is_closing |= Pin::new(&mut self.kept).poll(cx).is_ready();
                self.outbox.poll_take(cx, &mut spare, self.is_closing)
            })
            .await;
            spare = self.send(messages).await;
            if asks_close && let Some(connection) = &self.connection {
                connection.do_send(command::Close::normal());
            }
        }
        // It closes with 1001, unless it is closed already.
        self.connection = None;
        // An error says that the thread ends.
        let _ = (&mut self.outcome).await;
    }

    /// Sends messages in order, waiting for room in the send buffer. Returns the list, which is empty then.
    async fn send(&mut self, mut messages: VecDeque<Outgoing>) -> VecDeque<Outgoing> {
        while !messages.is_empty() {
            let count = messages.len();
            let answer = match &self.connection {
                Some(connection) => connection.send(SendAll(messages)).await,
                None => Ok(refuse_all(messages)),
            };
            // An error says that the thread ends: the callers see that the replies are dropped.
            let Ok(Sent { rest, refused }) = answer else { return VecDeque::new() };
            self.outbox.answer(count - rest.len(), refused);
            messages = rest;
            if let Some(first) = messages.pop_front() {
                self.send_with_wait(first).await;
            }
        }
        messages
    }

    /// Sends a message that found no room. If the stream ends meanwhile, the connection closes, and so refuses the
    /// message. If its caller drops its future, the message is cancelled.
    async fn send_with_wait(&mut self, Outgoing { send, mut origin, .. }: Outgoing) {
        let payload = send.payload.clone();
        let patience = send.patience().unwrap_or(LONGEST_WAIT);
        let answer = match &self.connection {
            Some(connection) => {
                let mut answer = pin!(connection.send(send.wait(patience)));
                let wait = poll_fn(|cx| {
                    self.is_closing =
                        self.is_closing || Pin::new(&mut self.kept).poll(cx).is_ready();
                    if self.is_closing {
                        self.connection = None;
                    }
                    match answer.as_mut().poll(cx) {
                        Poll::Pending => origin.poll_cancelled(cx).map(|()| None),
                        ready => ready.map(Some),
                    }
                });
                wait.await.map(|answer| answer.unwrap_or(Err(SendError::Closed(payload))))
            }
            None => Some(Err(SendError::Closed(payload))),
        };
        let mut refused = Vec::new();
        match answer {
            Some(Ok(accepted)) => origin.accept(accepted),
            Some(Err(error)) => origin.refuse(error, &mut refused),
            // Cancelled, as the connection sees when there is room.
            None => {}
        }
        self.outbox.answer(1, refused);
    }
}

/// Refuses messages of a connection that closes.
fn refuse_all(messages: VecDeque<Outgoing>) -> Sent {
    let mut refused = Vec::new();
    for Outgoing { send, mut origin, .. } in messages {
        origin.refuse(SendError::Closed(send.payload), &mut refused);
    }
    Sent { rest: VecDeque::new(), refused }
}
