//! The end of a socket: the closing handshake, the answer to a breach, and their deadlines.

use std::future::Future;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::command::status::Unsent;
use crate::connection::live::{Breach, Live, SocketEnd};
use crate::delivery::Delivery;
use crate::proto::close::CloseFrame;
use crate::proto::error::ProtocolError;
use crate::proto::session::Closure;
use crate::writer;

/// How long handlers have to take what was read before a breach, before it is answered with a Close.
const BREACH_DELIVERY_TIMEOUT: Duration = Duration::from_millis(100);

/// How long we read from a peer after our Close for its breach of the protocol. To close a TCP socket with
/// unread bytes resets the connection, and the peer would lose the Close.
const BREACH_LINGER: Duration = Duration::from_secs(1);

/// How long the server has to end the transport after both Close frames, before we do.
const SERVER_SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(100);

impl Live {
    /// Returns how the socket was closed, and what was not sent on it. Called once it has ended.
    pub(in crate::connection) fn closure(&mut self) -> (Closure, Unsent) {
        let unsent = self.writer.unsent_at_end(&mut self.link);
        if !self.writer.close_left() {
            self.session.close_unsent();
        }
        (self.session.closure(), unsent)
    }

    /// Whether a Close frame was sent or received, or is about to be sent.
    pub(in crate::connection) fn is_closing(&self) -> bool {
        self.session.is_closing() || self.breach.is_some()
    }

    /// Begins the closing handshake, or shortens the deadline of the one in progress.
    pub(in crate::connection) fn close(
        &mut self,
        frame: Option<CloseFrame>,
        deadline: Duration,
        now: Instant,
    ) {
        if let Some(close) = self.session.close(frame) {
            self.writer.queue_close(&mut self.codec, close);
        }
        self.close_within(deadline, now);
    }

    /// Sends what is queued and a Close frame, as far as the transport takes it at once: for a socket that is dropped
    /// with the tasks of its thread, and not polled again.
    pub(in crate::connection) fn close_now(&mut self, frame: CloseFrame) {
        if let Some(close) = self.session.close(Some(frame)) {
            self.writer.queue_close(&mut self.codec, close);
        }
        self.writer.write_now(&mut self.link);
    }

    /// Sets the deadline at which the socket is dropped, unless an earlier one is set.
    pub(super) fn close_within(&mut self, time: Duration, now: Instant) {
        let Some(at) = now.checked_add(time) else {
            return;
        };
        match &mut self.deadline {
            Some(deadline) if deadline.deadline() <= at => {}
            Some(deadline) => deadline.as_mut().reset(at),
            None => self.deadline = Some(Box::pin(sleep_until(at))),
        }
    }

    pub(super) fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<SocketEnd> {
        let Some(deadline) = &mut self.deadline else {
            return Poll::Pending;
        };
        ready!(deadline.as_mut().poll(cx));
        if self.breach.as_ref().is_some_and(|breach| !breach.answered) {
            // The handlers have had their time: from here on the deadline is the peer's.
            self.close_for_breach();
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(SocketEnd::Closed)
    }

    /// Answers a breach with a Close, once the handlers have taken the messages before it and had a poll to reply:
    /// their replies are lost if they are queued behind the Close.
    pub(super) fn answer_breach(&mut self, delivery: &Delivery, cx: &mut Context<'_>) {
        match &mut self.breach {
            Some(breach) if breach.answered => {}
            // A full mailbox wakes this task when it has room.
            Some(_) if delivery.blocked_since().is_some() => {}
            // Later in this poll of the connection, `delivery` empties the queue.
            Some(_) if !delivery.is_empty() => cx.waker().wake_by_ref(),
            // The handlers run between this poll and the next.
            Some(breach) if !breach.yielded => {
                breach.yielded = true;
                cx.waker().wake_by_ref();
            }
            Some(_) => {
                self.close_for_breach();
                // Reading has stopped since the breach. The next poll resumes it, to see the peer's end.
                cx.waker().wake_by_ref();
            }
            None => {}
        }
    }

    /// Queues the Close that answers a breach (RFC 6455, 7.1.7), and gives the peer time to read it.
    fn close_for_breach(&mut self) {
        let Some(breach) = &mut self.breach else {
            return;
        };
        breach.answered = true;
        if let Some(close) = self.session.fail(&breach.err) {
            self.writer.queue_close(&mut self.codec, close);
        }
        // Until now it was the handlers' deadline.
        self.deadline = None;
        self.close_within(BREACH_LINGER.min(self.options.close_timeout), self.now());
    }

    /// Ends our side of the transport when nothing more will be sent. After a breach at once. After both Close
    /// frames the server ends the transport first (RFC 6455, 7.1.1); but some servers wait for the client, so
    /// that we do it after a short time.
    pub(super) fn poll_shut_down(&mut self, cx: &mut Context<'_>) {
        let breached = self.breach.as_ref().is_some_and(|breach| breach.answered);
        if self.is_shut_down || !(breached || self.session.is_done()) {
            return;
        }
        if !breached {
            let delay =
                self.shutdown_delay.get_or_insert_with(|| Box::pin(sleep(SERVER_SHUTDOWN_TIMEOUT)));
            if delay.as_mut().poll(cx).is_pending() {
                return;
            }
        }
        // The next read returns the error, if there is one.
        self.is_shutting_down = true;
        self.is_shut_down = writer::poll_shutdown(&mut self.link, cx).is_ready();
    }

    /// Notes a breach. It is answered in a later poll, see `answer_breach`.
    pub(super) fn record_breach(&mut self, err: ProtocolError) {
        self.breach = Some(Box::new(Breach { err, answered: false, yielded: false }));
        self.close_within(BREACH_DELIVERY_TIMEOUT, self.now());
    }
}
