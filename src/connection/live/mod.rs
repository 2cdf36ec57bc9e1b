//! All that lives as long as one socket.

mod read_pool;
mod reading;

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::command::status::{Gauge, Handshake, SourceId, Watch};
use crate::command::{self, Refusal, SendError};
use crate::delivery::Delivery;
use crate::dial::Link;
use crate::error::Error;
use crate::event;
use crate::options::Options;
use crate::pinger::{Listener, Silent, Watched};
use crate::proto::close::CloseFrame;
use crate::proto::codec::Codec;
use crate::proto::error::ProtocolError;
use crate::proto::message::{ControlPayload, Outgoing, Payload};
use crate::proto::session::{Closure, Session};
use crate::writer::{self, Writer};

/// How a socket was opened, as `event::Open` reports it.
pub(super) struct Opening {
    pub(super) at: Instant,
    pub(super) handshake: Arc<Handshake>,
    /// Dials since a socket was last open.
    pub(super) attempts: u32,
    pub(super) outage: Option<Box<event::Outage>>,
}

/// One opened socket, from its first byte to its last.
pub(super) struct Live {
    opening: Opening,
    link: Link,
    codec: Codec,
    session: Session,
    writer: Writer,
    /// Read, and not decoded yet: the beginning of a frame, or what was left because more waited for
    /// the handlers than may.
    inbox: BytesMut,
    /// Whether whole frames may be in it.
    inbox_undecoded: bool,
    /// How many messages the last read brought.
    last_read_messages: u32,
    /// How many bytes it brought.
    last_read_bytes: u32,
    /// Whether the socket is over, so that nothing more will be read.
    ended: bool,
    /// Whether something was read in this poll.
    has_read: bool,
    /// What the pinger sees too. It looks after the socket as long as this is here.
    signs: Watched,
    /// Pings of ours that no Pong has answered, oldest first; if there are any.
    pings: Option<Box<Pings>>,
    /// Pings of the pinger's so far.
    pinger_pings: u64,
    /// What the pinger missed.
    silent: Option<Box<Silent>>,
    /// How the peer broke the protocol, until that is told.
    breach: Option<Box<Breach>>,
    /// Runs from the first Close frame on, or from a breach.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Runs from the exchange of both Close frames on, until we end our side of the transport.
    shutdown_delay: Option<Pin<Box<Sleep>>>,
    /// Whether our side of the transport was ended.
    is_shut_down: bool,
    options: Arc<Options>,
}

/// How long a peer that broke the protocol is listened to, so that our Close reaches it: closing
/// with bytes unread would reset the connection.
const BREACH_LINGER: Duration = Duration::from_secs(1);

/// How long the server has to end the transport after both Close frames, before we end our side.
const SERVER_SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(100);

/// How long handlers on this thread or another have for what was read before a breach.
const BREACH_DELIVERY_TIMEOUT: Duration = Duration::from_millis(100);

/// What may wait beyond all bounds when a socket is over, in bytes: a chunk of messages without bytes
/// costs so much.
const FINAL_BACKLOG: usize = 2 << 20;

/// What consumes what a socket brings: the queue to the handlers, and the figures.
struct Consumers<'a> {
    delivery: &'a mut Delivery,
    watch: &'a Watch,
    source: SourceId,
}

/// Whether more may come.
enum ReadState {
    Open,
    /// The transport ended as it should: by FIN, or by TLS's close_notify.
    Eof,
    /// TLS ended without close_notify (RFC 8446, 6.1): anybody on the way may have cut it.
    Truncated,
}

/// How a socket turned out to be over.
enum SocketEnd {
    /// By a Close frame, and the time that follows it.
    Closed,
    /// The transport ended, as it does where nobody cut it.
    Eof,
    /// TLS ended without a word.
    Truncated,
    Failed(Error),
}

/// A breach of the protocol by the peer.
struct Breach {
    err: ProtocolError,
    /// Whether our Close is on its way. It waits until the handlers have what was read before the
    /// breach, and one turn of the thread more, so that their answers to it go out before it.
    answered: bool,
    /// Whether that turn has passed.
    yielded: bool,
}

/// Payloads, and when they were queued.
#[derive(Default)]
struct Pings(VecDeque<(ControlPayload, Instant)>);

/// Pings of ours that may wait for their Pong. The oldest is forgotten first.
const MAX_PINGS: usize = 64;

impl Live {
    pub(super) fn new(
        epoch: u64,
        opening: Opening,
        link: Link,
        leftover: BytesMut,
        codec: Codec,
        options: Arc<Options>,
        listener: Weak<dyn Listener>,
    ) -> Live {
        let signs = Watched::new(epoch, options.clone(), opening.at, listener);
        Live {
            opening,
            link,
            codec,
            session: Session::new(),
            writer: Writer::new(options.send_buffer, options.write_timeout),
            inbox_undecoded: !leftover.is_empty(),
            inbox: leftover,
            last_read_messages: 0,
            last_read_bytes: 0,
            ended: false,
            has_read: false,
            signs,
            pings: None,
            pinger_pings: 0,
            silent: None,
            breach: None,
            deadline: None,
            shutdown_delay: None,
            is_shut_down: false,
            options,
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.signs.epoch()
    }

    pub(super) fn opening(&self) -> &Opening {
        &self.opening
    }

    pub(super) fn unsent(&self) -> usize {
        self.writer.unsent()
    }

    pub(super) fn opened(&self) -> Instant {
        self.opening.at
    }

    pub(super) fn closure(&self) -> Closure {
        self.session.closure()
    }

    /// Whether a Close frame has gone by, or will.
    pub(super) fn is_closing(&self) -> bool {
        self.session.is_closing() || self.breach.is_some()
    }

    /// Whether reading had stopped for the handlers, and can go on.
    pub(super) fn can_resume(&self, delivery: &Delivery) -> bool {
        !self.signs.reading.get() && !delivery.is_full(self.backlog_limit())
    }

    /// Whether the handlers turned out to be too slow for a socket that is closed then.
    pub(super) fn must_disconnect(&self, delivery: &Delivery) -> bool {
        delivery.disconnects() && !self.is_closing() && delivery.is_full(self.backlog_limit())
    }

    /// What may wait for the handlers while reading goes on.
    fn backlog_limit(&self) -> usize {
        if self.ended {
            // What a chunk can hold, and would else be lost with the socket. What it inflates to may be
            // more.
            return self.options.read_ahead.saturating_mul(2).saturating_add(FINAL_BACKLOG);
        }
        // What was read while a Close is under way is still delivered, so that reading to the
        // peer's Close must not wait for the handlers; a second helping bounds it.
        if self.is_closing() {
            self.options.read_ahead.saturating_mul(2)
        } else {
            self.options.read_ahead
        }
    }

    /// Whether data may be sent.
    pub(super) fn can_send(&self) -> bool {
        self.session.can_send()
    }

    /// Takes a message for sending.
    ///
    /// # Errors
    /// What it is to be given back as, when it is not within the bounds.
    #[inline]
    pub(super) fn send(&mut self, send: &command::Send) -> Result<(), Refusal> {
        if !self.can_send() {
            return Err(SendError::NotOpen);
        }
        self.writer.queue_data(&mut self.codec, send)
    }

    /// Takes a Ping for sending.
    ///
    /// # Errors
    /// With the payload, when it is not within the bounds.
    pub(super) fn ping(&mut self, payload: ControlPayload) -> Result<(), SendError> {
        if !self.can_send() {
            return Err(SendError::NotOpen(Payload::Binary(payload.into_bytes())));
        }
        self.writer.queue_unasked(&mut self.codec, Outgoing::Ping(payload.clone()))?;
        let Pings(pings) = &mut **self.pings.get_or_insert_default();
        if pings.len() >= MAX_PINGS {
            pings.pop_front();
        }
        pings.push_back((payload, Instant::now()));
        Ok(())
    }

    /// Takes a Pong for sending that no Ping has asked for.
    ///
    /// # Errors
    /// As [`ping`](Live::ping).
    pub(super) fn pong(&mut self, payload: ControlPayload) -> Result<(), SendError> {
        if !self.can_send() {
            return Err(SendError::NotOpen(Payload::Binary(payload.into_bytes())));
        }
        self.writer.queue_unasked(&mut self.codec, Outgoing::Pong(payload))
    }

    /// Sends the pinger's next Ping.
    pub(super) fn beat(&mut self) -> Result<(), SendError> {
        self.pinger_pings += 1;
        let own = Bytes::copy_from_slice(&self.pinger_pings.to_be_bytes());
        let bytes = self.options.ping_payload.clone().unwrap_or(own);
        self.ping(ControlPayload::new(bytes).expect("checked when the connection was built"))
    }

    /// Has another pinger look after the socket: the one that did is gone.
    pub(super) fn adopt(&mut self) {
        self.signs.found();
    }

    /// The pinger heard nothing for too long. Judged in the next poll, after what lies unread.
    pub(super) fn silence(&mut self, silent: Silent) {
        self.silent = Some(Box::new(silent));
    }

    /// Begins the closing handshake, or hastens the one under way.
    pub(super) fn close(&mut self, frame: Option<CloseFrame>, deadline: Duration, now: Instant) {
        if let Some(close) = self.session.close(frame) {
            self.writer.queue_close(&mut self.codec, close);
        }
        self.close_within(deadline, now);
    }

    /// The time of this poll, to be asked for in it and where it ended: where something was read, the
    /// clock was looked at.
    pub(super) fn now(&self) -> Instant {
        if self.has_read { self.signs.byte.get() } else { Instant::now() }
    }

    fn close_within(&mut self, time: Duration, now: Instant) {
        let Some(at) = now.checked_add(time) else {
            return;
        };
        match &mut self.deadline {
            Some(deadline) if deadline.deadline() <= at => {}
            Some(deadline) => deadline.as_mut().reset(at),
            None => self.deadline = Some(Box::pin(sleep_until(at))),
        }
    }

    /// Reads, answers and writes what can be. `Ready` when the socket is over: with the failure, or
    /// with `None` after a Close frame.
    pub(super) fn poll(
        &mut self,
        delivery: &mut Delivery,
        watch: &Watch,
        source: SourceId,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Error>> {
        let to = &mut Consumers { delivery, watch, source };
        let end = ready!(self.poll_socket(to, cx));
        self.process_remaining(to);
        Poll::Ready(self.error_of(end))
    }

    /// As [`poll`](Live::poll), with whatever was found last.
    fn poll_socket(&mut self, to: &mut Consumers<'_>, cx: &mut Context<'_>) -> Poll<SocketEnd> {
        self.has_read = false;
        self.signs.settle(cx);
        let read = self.poll_read(to, cx);
        if let Some(error) = self.check_silence() {
            return Poll::Ready(SocketEnd::Failed(error));
        }
        self.answer_breach(to.delivery, cx);
        if self.codec.mask_keys_failed() {
            return Poll::Ready(SocketEnd::Failed(Error::Handler("`mask_key` panicked".into())));
        }
        let before = self.writer.written();
        let flushed = if self.writer.should_gather() {
            // Once all others had their turn, those too that no task runs. It is never ready at first.
            pin!(yield_now()).poll(cx).map(Ok)
        } else {
            self.writer.poll_flush(&mut self.link, &mut self.codec, cx)
        };
        to.watch.add(Gauge::BytesOut, self.writer.written() - before);
        match (read, flushed) {
            (Err(error), _) => return Poll::Ready(SocketEnd::Failed(error)),
            (_, Poll::Ready(Err(error))) => {
                // What came before the transport broke may hold the peer's Close, and its reason.
                let _ = self.poll_read(to, cx);
                return Poll::Ready(SocketEnd::Failed(error));
            }
            (Ok(ReadState::Eof), _) => return Poll::Ready(SocketEnd::Eof),
            (Ok(ReadState::Truncated), _) => return Poll::Ready(SocketEnd::Truncated),
            (Ok(ReadState::Open), Poll::Ready(Ok(()))) => self.poll_shut_down(cx),
            (Ok(ReadState::Open), _) => {}
        }
        self.poll_deadline(cx)
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<SocketEnd> {
        let Some(deadline) = &mut self.deadline else {
            return Poll::Pending;
        };
        ready!(deadline.as_mut().poll(cx));
        if self.breach.as_ref().is_some_and(|breach| !breach.answered) {
            self.close_for_breach();
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(SocketEnd::Closed)
    }

    /// What an end is told as. A failure of our own finding comes first; and nothing that follows
    /// a Close frame is an error.
    fn error_of(&mut self, end: SocketEnd) -> Option<Error> {
        if let Some(breach) = self.breach.take() {
            return Some(Error::Protocol(breach.err));
        }
        match end {
            _ if self.session.is_closing() => None,
            SocketEnd::Closed => None,
            SocketEnd::Eof => Some(ended_early()),
            SocketEnd::Truncated => Some(truncated()),
            SocketEnd::Failed(error) => Some(error),
        }
    }

    /// Answers a breach once the handlers had their turn.
    fn answer_breach(&mut self, delivery: &Delivery, cx: &mut Context<'_>) {
        match &mut self.breach {
            Some(breach) if breach.answered => {}
            // A full mailbox wakes us when it has room; else the queue is emptied in this poll.
            Some(_) if delivery.blocked_since().is_some() => {}
            Some(_) if !delivery.is_empty() => cx.waker().wake_by_ref(),
            Some(breach) if !breach.yielded => {
                breach.yielded = true;
                cx.waker().wake_by_ref();
            }
            Some(_) => {
                self.close_for_breach();
                // Reading stood still meanwhile. It goes on, so that the peer's end is seen.
                cx.waker().wake_by_ref();
            }
            None => {}
        }
    }

    fn close_for_breach(&mut self) {
        let Some(breach) = &mut self.breach else {
            return;
        };
        breach.answered = true;
        if let Some(close) = self.session.fail(&breach.err) {
            self.writer.queue_close(&mut self.codec, close);
        }
        self.deadline = None;
        self.close_within(BREACH_LINGER.min(self.options.close_timeout), self.now());
    }

    /// Ends our side of the transport once nothing more will be said: after a breach at once, and
    /// after both Close frames when the server has had its chance to be the first
    /// (RFC 6455, 7.1.1). Some servers wait for that.
    fn poll_shut_down(&mut self, cx: &mut Context<'_>) {
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
        // An error here shows in the next read.
        self.is_shut_down = writer::poll_shutdown(&mut self.link, cx).is_ready();
    }

    fn check_silence(&mut self) -> Option<Error> {
        let silent = self.silent.take()?;
        let heard = if silent.idle { self.signs.data.get() } else { self.signs.byte.get() };
        let after = heard.elapsed();
        (heard <= silent.since && self.signs.reading.get()).then_some(Error::PeerSilent { after })
    }

    fn record_breach(&mut self, err: ProtocolError) {
        self.breach = Some(Box::new(Breach { err, answered: false, yielded: false }));
        self.close_within(BREACH_DELIVERY_TIMEOUT, self.now());
    }
}

fn ended_early() -> Error {
    let words = "the connection ended without a Close frame";
    Error::Io(io::Error::new(io::ErrorKind::UnexpectedEof, words).into())
}

fn truncated() -> Error {
    let words = "the connection was cut: no Close frame, and no close_notify of TLS";
    Error::Io(io::Error::new(io::ErrorKind::ConnectionAborted, words).into())
}
