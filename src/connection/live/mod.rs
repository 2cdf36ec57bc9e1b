//! All that lives as long as one socket, as one struct.

mod closing;
mod read_pool;
mod reading;

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep};

use crate::command::status::{Gauge, Handshake, SourceId, Watch};
use crate::command::{self, Refusal, SendError, SentFrames};
use crate::delivery::Delivery;
use crate::dial::Link;
use crate::error::Error;
use crate::event;
use crate::options::Options;
use crate::pinger::{Listener, Registration, Silence};
use crate::proto::codec::Codec;
use crate::proto::error::ProtocolError;
use crate::proto::message::{ControlPayload, Outgoing};
use crate::proto::session::Session;
use crate::record::Track;
use crate::requests::Answers;
use crate::writer::Writer;

/// How a socket was opened, as `event::Open` reports it.
pub(super) struct Opening {
    pub(super) at: Instant,
    pub(super) handshake: Arc<Handshake>,
    /// Dials since a socket was last open.
    pub(super) attempts: u32,
    pub(super) outage: Option<Box<event::Outage>>,
}

/// One open socket, from the end of the opening handshake to the end of the transport. Dropped first when the
/// socket is lost, so that nothing of it can act on the next one.
pub(super) struct Live {
    opening: Opening,
    link: Link,
    codec: Codec,
    session: Session,
    writer: Writer,
    /// Bytes that were read and not decoded yet: the beginning of a frame, or what was left because the queue
    /// to the handlers was full.
    inbox: BytesMut,
    /// Whether the inbox may hold whole frames.
    inbox_undecoded: bool,
    /// The number of messages in the last read, for the capacity of the next one's list.
    last_read_messages: u32,
    /// The number of bytes in the last read.
    last_read_bytes: u32,
    /// Whether the socket has ended, so that nothing more will be read.
    ended: bool,
    /// Whether this poll has read something.
    has_read: bool,
    /// What the pinger watches: times of the last byte and of the last data. It stops when this is dropped.
    signs: Registration,
    /// Our Pings that no Pong has answered, if there are any.
    pings: Option<Box<Pings>>,
    /// The number of Pings sent for the pinger.
    pinger_pings: u64,
    /// The pinger's report that the peer is silent, until it is judged.
    silent: Option<Box<Silence>>,
    /// How the peer broke the protocol, if it did.
    breach: Option<Box<Breach>>,
    /// Takes the answers out of the messages, if questions are asked over this connection.
    requests: Option<Arc<dyn Answers>>,
    /// Where the connection is recorded, if it is.
    track: Option<Box<Track>>,
    /// When the socket is dropped: set by the first Close frame, or by a breach.
    deadline: Option<Pin<Box<Sleep>>>,
    /// When we end our side of the transport: set once both Close frames have passed.
    shutdown_delay: Option<Pin<Box<Sleep>>>,
    /// Whether the end of our side of the transport has begun: nothing that is read counts any more.
    is_shutting_down: bool,
    /// Whether our side of the transport is ended.
    is_shut_down: bool,
    options: Arc<Options>,
}

/// How far the queue may exceed its bound when a socket has ended, in bytes. A chunk of 64 KiB can hold 32,768
/// empty messages, which cost a quarter of this in the queue.
const FINAL_BACKLOG: usize = 2 << 20;

/// What consumes a read: the queue to the handlers, and the figures of `Watch`.
struct Consumers<'a> {
    delivery: &'a mut Delivery,
    watch: &'a Watch,
    source: SourceId,
}

/// Whether more can be read.
enum ReadState {
    Open,
    /// The transport ended in order: by FIN, or by close_notify of TLS.
    Eof,
    /// TLS ended without close_notify: perhaps cut by a third party (RFC 8446, 6.1).
    Truncated,
}

/// How a socket ended.
enum SocketEnd {
    /// The deadline after a Close frame passed.
    Closed,
    /// The transport ended in order.
    Eof,
    /// TLS ended without close_notify.
    Truncated,
    Failed(Error),
}

/// A breach of the protocol by the peer.
struct Breach {
    err: ProtocolError,
    /// Whether our Close is queued. It waits until the handlers have taken what was read before the breach, and
    /// for one more poll, so that what they send in reply goes out before the Close.
    answered: bool,
    /// Whether that poll has passed.
    yielded: bool,
}

/// The payloads of Pings, oldest first, and when each was queued.
#[derive(Default)]
struct Pings(VecDeque<(ControlPayload, Instant)>);

/// The most Pings whose Pong is awaited. Beyond, the oldest is forgotten.
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
        let signs = Registration::new(epoch, options.clone(), opening.at, listener);
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
            requests: None,
            track: None,
            deadline: None,
            shutdown_delay: None,
            is_shutting_down: false,
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

    /// Whether reading had stopped because the queue was full, and can resume.
    pub(super) fn can_resume(&self, delivery: &Delivery) -> bool {
        !self.signs.reading.get() && !delivery.is_full(self.backlog_limit())
    }

    /// Whether the socket must be closed because its handlers are too slow (`Overflow::Disconnect`).
    pub(super) fn must_disconnect(&self, delivery: &Delivery) -> bool {
        delivery.disconnects() && !self.is_closing() && delivery.is_full(self.backlog_limit())
    }

    /// Returns how many bytes may wait for the handlers while reading goes on.
    fn backlog_limit(&self) -> usize {
        if self.ended {
            // All of the last read is to be delivered: what stays in the inbox is lost with the socket. Only what
            // inflates to more than this can be.
            return self.options.read_ahead.saturating_mul(2).saturating_add(FINAL_BACKLOG);
        }
        // Reading up to the peer's Close must not wait for the handlers, and what comes before it is still
        // delivered. Twice the bound keeps that finite.
        if self.is_closing() {
            self.options.read_ahead.saturating_mul(2)
        } else {
            self.options.read_ahead
        }
    }

    /// Whether frames can be queued for the application: `send`, `ping`, `pong` and `beat` are called only then.
    pub(super) fn can_send(&self) -> bool {
        self.session.can_send()
    }

    /// Queues a message.
    ///
    /// # Errors
    /// The constructor of the error that returns the message to the caller.
    #[inline]
    pub(super) fn send(&mut self, send: &mut command::Send) -> Result<(), Refusal> {
        if send.has_options() {
            return self.send_with_options(send);
        }
        self.writer.queue_data(&mut self.codec, &send.payload, None)
    }

    /// Does what [`send`](Live::send) does for a message with options.
    ///
    /// # Errors
    /// As [`send`](Live::send).
    #[inline(never)]
    fn send_with_options(&mut self, send: &mut command::Send) -> Result<(), Refusal> {
        let epoch = self.epoch();
        if !send.is_for(epoch) {
            return Err(SendError::OtherEpoch);
        }
        self.codec.hide_payloads(send.is_secret());
        let queued = self.writer.queue_data(&mut self.codec, &send.payload, send.fragment());
        self.codec.hide_payloads(false);
        queued?;
        if let Some(receipt) = send.take_receipt() {
            self.writer.track(receipt, epoch);
        }
        Ok(())
    }

    /// Queues a Ping, and notes when, for the round trip.
    ///
    /// # Errors
    /// `Full`, with the payload.
    pub(super) fn ping(&mut self, payload: ControlPayload) -> Result<(), SendError> {
        self.writer.try_queue_control(&mut self.codec, Outgoing::Ping(payload.clone()))?;
        let Pings(pings) = &mut **self.pings.get_or_insert_default();
        if pings.len() >= MAX_PINGS {
            pings.pop_front();
        }
        pings.push_back((payload, Instant::now()));
        Ok(())
    }

    /// Queues a Pong that answers no Ping (RFC 6455, 5.5.3).
    ///
    /// # Errors
    /// As [`ping`](Live::ping).
    pub(super) fn pong(&mut self, payload: ControlPayload) -> Result<(), SendError> {
        self.writer.try_queue_control(&mut self.codec, Outgoing::Pong(payload))
    }

    /// Queues a Ping for the pinger, with `ping_payload` or else a number.
    pub(super) fn beat(&mut self) -> Result<(), SendError> {
        self.pinger_pings += 1;
        let own = Bytes::copy_from_slice(&self.pinger_pings.to_be_bytes());
        let bytes = self.options.ping_payload.clone().unwrap_or(own);
        self.ping(ControlPayload::new(bytes).expect("checked when the connection was built"))
    }

    /// Registers the socket with another pinger, because the one that watched it is gone.
    pub(super) fn adopt(&mut self) {
        self.signs.start_pinger();
    }

    /// Notes the pinger's report that the peer is silent. The next poll judges it after it has read, because
    /// bytes may have arrived since.
    pub(super) fn silence(&mut self, silent: Silence) {
        self.silent = Some(Box::new(silent));
    }

    /// Has the answers taken out of the messages of this socket.
    pub(super) fn take_answers_by(&mut self, requests: Arc<dyn Answers>) {
        self.requests = Some(requests);
    }

    /// Has what is received and sent recorded.
    pub(super) fn record(&mut self, track: &Track) {
        self.track = Some(Box::new(track.clone()));
        self.writer.record(track, self.epoch());
    }

    /// Has the writer record when frames leave, from now on if it does not yet.
    pub(super) fn keep_ledger(&mut self) {
        self.writer.keep_ledger();
    }

    /// Returns when frames left, if that is recorded.
    pub(super) fn ledger(&self) -> Option<SentFrames> {
        let sent = self.writer.ledger()?.clone();
        Some(SentFrames { epoch: self.epoch(), ..sent })
    }

    /// Returns the time of the current or last poll. A poll that has read something has read the clock for it.
    pub(super) fn now(&self) -> Instant {
        if self.has_read { self.signs.byte.get() } else { Instant::now() }
    }

    /// Reads, answers and writes as far as possible. `Ready` when the socket has ended: with the error, or with
    /// `None` after a Close frame.
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

    /// Does what [`poll`](Live::poll) does, up to the end of the socket.
    ///
    /// The order matters: reading comes first, so that a peer is not called silent whose bytes are there; then
    /// answers; then one write for all that was queued.
    fn poll_socket(&mut self, to: &mut Consumers<'_>, cx: &mut Context<'_>) -> Poll<SocketEnd> {
        self.has_read = false;
        self.signs.verify_pinger(cx);
        let read = self.poll_read(to, cx);
        if let Some(error) = self.check_silence() {
            return Poll::Ready(SocketEnd::Failed(error));
        }
        self.answer_breach(to.delivery, cx);
        if self.codec.mask_keys_failed() {
            return Poll::Ready(SocketEnd::Failed(Error::Handler("`mask_key` panicked".into())));
        }
        if self.writer.has_control() {
            to.watch.add(Gauge::ControlOut, self.writer.take_uncounted_control());
        }
        let before = self.writer.written();
        // Nothing follows a Close frame, and its deadline may pass in this poll.
        let flushed = if self.session.can_send() && self.writer.should_gather() {
            // Wakes this task after all that are ready now: those are the ones that may send. `yield_now` is
            // pending at its first poll, and then woken even if the runtime has no other task.
            pin!(yield_now()).poll(cx).map(Ok)
        } else {
            self.writer.poll_flush(&mut self.link, &mut self.codec, cx)
        };
        to.watch.add(Gauge::BytesOut, self.writer.written() - before);
        match (read, flushed) {
            (Err(error), _) => return Poll::Ready(SocketEnd::Failed(error)),
            (_, Poll::Ready(Err(error))) => {
                // The peer may have sent a Close, with its reason, before it reset the connection.
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

    /// Returns the error that an end is reported as. A breach that we have found explains whatever followed it;
    /// and nothing that follows a Close frame is an error.
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

    /// Judges the pinger's report, after reading. `None` if the peer was heard since the report, or could not be
    /// heard because reading had stopped.
    fn check_silence(&mut self) -> Option<Error> {
        let silent = self.silent.take()?;
        let heard = if silent.idle { self.signs.data.get() } else { self.signs.byte.get() };
        let after = heard.elapsed();
        (heard <= silent.since && self.signs.reading.get())
            .then_some(Error::PeerSilent { after, idle: silent.idle })
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

#[cfg(test)]
mod tests;
