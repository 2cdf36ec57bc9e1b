//! The requests of a session on their way into the connection's send buffer.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::command::{self, Accepted, Handle, SendError};
use crate::feed::request::Request;

/// The requests that the connection has not answered yet, the oldest first, at most [`MAX_SENDING`].
#[derive(Default)]
pub(crate) struct Sending(VecDeque<Answer>);

type Answer = Pin<Box<dyn Future<Output = Result<Accepted, SendError>>>>;

/// The number of requests that wait for room in the send buffer at most. At it no further one is made.
pub(crate) const MAX_SENDING: usize = 16;

impl Sending {
    /// Returns how many further requests may be made.
    pub(crate) fn room(&self) -> usize {
        MAX_SENDING.saturating_sub(self.0.len())
    }

    /// Whether every request was answered.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sends a request on the socket of this epoch, or not at all. It may wait for room in the send buffer.
    pub(crate) fn send(&mut self, request: Request, epoch: u64, wait: Duration, handle: &Handle) {
        let send = command::Send::from(request.payload).on(epoch).wait(wait);
        let send = if request.secret { send.secret() } else { send };
        self.0.push_back(Box::pin(handle.send(send)));
    }

    /// Removes the requests that were answered. Returns why one cannot be sent on the open socket.
    pub(crate) fn poll(&mut self, task: &mut Context<'_>) -> Option<String> {
        while let Some(oldest) = self.0.front_mut() {
            let Poll::Ready(answer) = oldest.as_mut().poll(task) else { return None };
            self.0.pop_front();
            match answer {
                Err(SendError::Full(_)) => {
                    return Some("a request found no room in the send buffer".to_owned());
                }
                Err(SendError::TooLarge(payload)) => {
                    return Some(format!(
                        "a request of {} bytes is longer than the send buffer: set Rules::frame_bytes, \
                         or a larger ConnectionBuilder::send_buffer",
                        payload.len()
                    ));
                }
                // The socket is lost: its `event::Close` is under way.
                Ok(_) | Err(_) => {}
            }
        }
        None
    }
}
