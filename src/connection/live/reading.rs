//! Reading: from the transport through the codec to the queue, with the replies that the protocol demands.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BufMut, Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use crate::command::status::{Gauge, SourceId, Watch};
use crate::connection::live::read_pool::{self, CHUNK};
use crate::connection::live::{Consumers, Live, Pings, ReadState};
use crate::delivery::{self, Delivery, Run};
use crate::dial::Link;
use crate::error::Error;
use crate::event;
use crate::proto::close::{CloseCode, CloseFrame};
use crate::proto::codec::{FastPath, Step, Way};
use crate::proto::error::ProtocolError;
use crate::proto::frame::Opcode;
use crate::proto::message::{ControlPayload, Incoming, Outgoing};
use crate::proto::messages::{MAX_OFFSET, Messages};

/// The most bytes that one poll reads. Then other tasks of the thread run.
const READ_BUDGET: usize = 128 << 10;

/// A message that lacks at least this many bytes, or has them, is read into a buffer of its own, and so is never copied
/// out of a chunk.
const OWN_BUFFER_FROM: usize = 32 << 10;

/// A message that has at least this many bytes, and got fewer by the last read, has a buffer of its own too: in the
/// chunk, all that it has would be copied for each of many small reads.
const TRICKLE_BELOW: usize = 1 << 10;

/// A leftover of fewer bytes is copied, so that it does not keep the buffer of the message before it.
const COPY_LEFTOVER_BELOW: usize = 1 << 10;

/// The most memory that is reserved because a header announces it. Beyond, a buffer grows with what arrives.
const MAX_PREALLOCATED: usize = 1 << 20;

/// The longest header of an unmasked frame (RFC 6455, 5.2). A read into a message's own buffer goes that far beyond its
/// end: it learns the length of the next message, which then is read into a buffer of its own from its first byte.
const MAX_SERVER_HEADER: usize = 10;

/// Messages of one read that have fewer bytes than this together are copied out of the chunk, so that a small message
/// that a handler keeps does not keep 64 KiB. More than that share the chunk.
const SHARE_CHUNK_FROM: usize = 16 << 10;

/// A buffer of bytes to decode.
enum ReadBuffer {
    /// A chunk of the thread's pool.
    Pooled(BytesMut),
    /// The connection's own.
    Own(BytesMut),
}

impl ReadBuffer {
    fn bytes(&mut self) -> &mut BytesMut {
        match self {
            ReadBuffer::Pooled(bytes) | ReadBuffer::Own(bytes) => bytes,
        }
    }
}

/// What the frames of one buffer hold.
struct Decoded {
    /// The messages, which have no buffer yet.
    messages: Messages,
    others: OtherItems,
    /// The number of bytes that were decoded.
    at: usize,
    /// Whether decoding stopped because the queue to the handlers is full.
    is_full: bool,
    breach: Option<ProtocolError>,
}

/// Control frames and fragments, each with the number of messages before it. The first is kept in place: most reads
/// have no other.
#[derive(Default)]
struct OtherItems {
    first: Option<(usize, Incoming)>,
    more: Vec<(usize, Incoming)>,
}

impl OtherItems {
    // Not inlined, to keep the loop of `decode` small: it is run for each message.
    #[inline(never)]
    fn push(&mut self, before: usize, other: Incoming) {
        match self.first {
            None => self.first = Some((before, other)),
            Some(_) => self.more.push((before, other)),
        }
    }
}

/// Decodes messages that are a single uncompressed frame, until another frame comes or they cost more than `left`.
/// Returns what all messages cost so far.
///
/// Apart from `decode` and not inlined: one call decodes thousands of messages, and in a function of its own the loop
/// keeps its variables in registers. With spans of one word that saved 3.5 ns for each message of a batch.
#[inline(never)]
fn decode_plain(
    plain: FastPath,
    buf: &[u8],
    at: &mut usize,
    messages: &mut Messages,
    mut cost: usize,
    left: usize,
) -> usize {
    let mut rest = buf.get(*at..).unwrap_or_default();
    while cost <= left
        && let Some((kind, payload, behind)) = plain.find(rest)
    {
        rest = behind;
        let end = buf.len() - rest.len();
        messages.push(kind, end - payload.len()..end);
        cost += delivery::cost(payload.len());
        *at = end;
    }
    cost
}

impl Live {
    /// Reads until the transport has no more, the queue is full or the budget is spent, and processes every whole
    /// frame. One function for all that ends a read, because their order matters.
    ///
    /// # Errors
    /// `Io` of the transport.
    pub(super) fn poll_read(
        &mut self,
        to: &mut Consumers<'_>,
        cx: &mut Context<'_>,
    ) -> Result<ReadState, Error> {
        let mut budget = READ_BUDGET;
        loop {
            self.process_inbox(to);
            if self.is_shutting_down {
                return self.poll_discard(to.watch, budget, cx);
            }
            if self.breach.as_ref().is_some_and(|breach| !breach.answered) {
                // Nothing more is read before the Close is queued. Then reading resumes, for the peer's end alone.
                return Ok(ReadState::Open);
            }
            if to.delivery.is_full(self.backlog_limit()) {
                if self.must_disconnect(to.delivery) {
                    self.close_for_overflow(to.source);
                    // The limit is higher now: reading goes on to the peer's Close.
                    continue;
                }
                // TCP's flow control stops the peer. `delivery` wakes this task once the handlers have taken enough.
                self.signs.stop_reading();
                return Ok(ReadState::Open);
            }
            if !self.signs.reading.get() {
                self.signs.resume_reading(Instant::now());
            }
            if budget == 0 {
                // The transport may have more, and has registered no waker.
                cx.waker().wake_by_ref();
                return Ok(ReadState::Open);
            }
            match self.poll_fill(cx) {
                Poll::Pending => {
                    if self.inbox.is_empty() {
                        // An idle connection owns no read buffer: also not an empty one with capacity.
                        self.inbox = BytesMut::new();
                    }
                    return Ok(ReadState::Open);
                }
                Poll::Ready(Ok((buf, count))) => {
                    if count == 0 {
                        self.release(buf, 0);
                        return Ok(ReadState::Eof);
                    }
                    self.record_read(count, to.watch);
                    budget = budget.saturating_sub(count);
                    self.process(buf, to);
                }
                Poll::Ready(Err(err)) if err.kind() == io::ErrorKind::UnexpectedEof => {
                    // So tokio-rustls reports an end without close_notify. Of another transport it is an end.
                    return Ok(match self.link {
                        Link::Tls(_) => ReadState::Truncated,
                        Link::Plain(_) => ReadState::Eof,
                    });
                }
                Poll::Ready(Err(err)) => return Err(Error::Io(err.into())),
            }
        }
    }

    /// Reads until the peer ends the transport, and discards it. Nothing counts after both Close frames, or after our
    /// answer to a breach (RFC 6455, 1.4).
    fn poll_discard(
        &mut self,
        watch: &Watch,
        mut budget: usize,
        cx: &mut Context<'_>,
    ) -> Result<ReadState, Error> {
        while budget > 0 {
            let mut discarded = [0; 4 << 10];
            match pin!(self.link.below_tls().read(&mut discarded)).poll(cx) {
                Poll::Pending => return Ok(ReadState::Open),
                Poll::Ready(Ok(0)) => return Ok(ReadState::Eof),
                Poll::Ready(Ok(count)) => {
                    self.record_read(count, watch);
                    budget = budget.saturating_sub(count);
                }
                Poll::Ready(Err(err)) => return Err(Error::Io(err.into())),
            }
        }
        cx.waker().wake_by_ref();
        Ok(ReadState::Open)
    }

    /// Begins to close the socket because its handlers are too slow (`Overflow::Disconnect`).
    #[cold]
    fn close_for_overflow(&mut self, source: SourceId) {
        let reason = "handlers are too slow";
        let (name, epoch) = (self.options.name.as_deref(), self.epoch());
        tracing::warn!(%source, name, epoch, "closing the socket: {reason}");
        let frame = CloseFrame::new(CloseCode::GOING_AWAY, reason);
        self.close(frame.ok(), self.options.close_timeout, self.now());
    }

    /// Processes what was read and left because the queue was full. The socket has ended, and what a server sent before
    /// it hung up must not be lost with it.
    pub(super) fn process_remaining(&mut self, to: &mut Consumers<'_>) {
        self.ended = true;
        self.process_inbox(to);
    }

    /// Processes what was left because the queue was full, as far as there is room now.
    fn process_inbox(&mut self, to: &mut Consumers<'_>) {
        while self.inbox_undecoded && !to.delivery.is_full(self.backlog_limit()) {
            let inbox = ReadBuffer::Own(std::mem::take(&mut self.inbox));
            self.process(inbox, to);
        }
    }

    /// Reads once. Returns the bytes of the inbox, which is empty then, and behind them what was read; and the number of
    /// bytes read.
    ///
    /// Where the bytes go depends on what is in progress. A large fragment is read straight into the codec's buffer for
    /// the whole message; a large message into a buffer of its own; all else into the thread's chunk.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(ReadBuffer, usize)>> {
        if self.inbox.is_empty()
            && let Some((place, wanted)) =
                self.codec.direct_buffer(OWN_BUFFER_FROM, MAX_PREALLOCATED)
        {
            let mut limited = (&mut *place).limit(wanted + MAX_SERVER_HEADER);
            let count = ready!(pin!(self.link.read_buf(&mut limited)).poll(cx))?;
            // What lies behind the fragment belongs to the next header, and so into the inbox.
            let end = place.len() - count.saturating_sub(wanted);
            self.inbox.extend_from_slice(&place[end..]);
            place.truncate(end);
            return Poll::Ready(Ok((ReadBuffer::Own(std::mem::take(&mut self.inbox)), count)));
        }
        let wanted = self.codec.missing_in_place();
        let len = self.inbox.len();
        // With each read into the chunk, the inbox is copied into it and the leftover back: for a message that arrives
        // in many small reads that is quadratic.
        let trickles = len >= TRICKLE_BELOW && (self.last_read_bytes as usize) < TRICKLE_BELOW;
        if wanted < OWN_BUFFER_FROM && len < OWN_BUFFER_FROM && !trickles {
            // The chunk leaves the inbox as it is until the read succeeds: it may be pending for days.
            let mut chunk = read_pool::take();
            chunk.extend_from_slice(&self.inbox);
            return match pin!(self.link.read_buf(&mut chunk)).poll(cx) {
                Poll::Ready(Ok(count)) => {
                    self.inbox.clear();
                    Poll::Ready(Ok((ReadBuffer::Pooled(chunk), count)))
                }
                Poll::Ready(Err(err)) => Poll::Ready(Err(err)),
                Poll::Pending => {
                    read_pool::put(chunk);
                    Poll::Pending
                }
            };
        }
        // Memory for a message is reserved as its header announces, but no more than `MAX_PREALLOCATED` beyond what
        // has arrived: a header of ten bytes must not cost us a gigabyte.
        if self.inbox.capacity() - len < wanted.clamp(1, OWN_BUFFER_FROM) {
            self.inbox.reserve(wanted.min(len.max(MAX_PREALLOCATED)) + MAX_SERVER_HEADER);
        }
        // Only a header's length beyond the message, so that its buffer holds little else.
        let mut limited = (&mut self.inbox).limit(wanted + MAX_SERVER_HEADER);
        let count = ready!(pin!(self.link.read_buf(&mut limited)).poll(cx))?;
        Poll::Ready(Ok((ReadBuffer::Own(std::mem::take(&mut self.inbox)), count)))
    }

    /// Records the time and the size of a read, for the pinger and the figures. It is the one reading of the clock for
    /// all that the read holds.
    fn record_read(&mut self, count: usize, watch: &Watch) {
        let now = Instant::now();
        self.signs.byte.set(now);
        self.has_read = true;
        self.last_read_bytes = u32::try_from(count).unwrap_or(u32::MAX);
        watch.add(Gauge::BytesIn, count as u64);
        watch.stamp(Gauge::LastByte, now.into_std());
    }

    /// Decodes, answers and delivers the whole frames in a buffer, until the queue is full: a read of 64 KiB can hold
    /// 32,768 Pings. The rest becomes the inbox.
    fn process(&mut self, mut buf: ReadBuffer, to: &mut Consumers<'_>) {
        self.inbox_undecoded = false;
        // The codec discards what follows a Close, or a breach (RFC 6455, 1.4).
        let decoded = self.decode(buf.bytes(), to.delivery);
        let Decoded { mut messages, others, at, is_full, breach } = decoded;
        self.inbox_undecoded = is_full;
        self.last_read_messages = u32::try_from(messages.len()).unwrap_or(u32::MAX);
        self.attach_buffer(&mut messages, buf, at);
        let mut delivered = 0;
        for (before, other) in others.first.into_iter().chain(others.more) {
            // The messages before it are a run of their own, so that events keep the order of the frames.
            let run = messages.split_front(before - delivered);
            delivered = before;
            self.deliver(run, to);
            self.process_item(other, to);
        }
        self.deliver(messages, to);
        if let Some(err) = breach
            && !self.session.is_closing()
        {
            self.record_breach(err);
        }
    }

    /// Gives the messages the buffer that they lie in, or a copy of it. What lies behind `at` becomes the inbox.
    ///
    /// The choice decides how much memory a handler keeps that keeps a message. The last argument of `seal` is how many
    /// bytes that is; the queue counts them.
    fn attach_buffer(&mut self, messages: &mut Messages, buf: ReadBuffer, at: usize) {
        let extent = messages.extent();
        match buf {
            buf if extent.is_empty() => {
                // Only empty messages, or ones with a buffer of their own.
                messages.seal(Bytes::new(), extent.start, 0);
                self.release(buf, at);
            }
            mut buf if extent.len() < SHARE_CHUNK_FROM => {
                let (begin, len) = (extent.start, extent.len());
                messages.seal(Bytes::copy_from_slice(&buf.bytes()[extent]), begin, len);
                self.release(buf, at);
            }
            ReadBuffer::Own(mut buf) => {
                // The buffer was made for one large message: it is given away, without a copy.
                messages.seal(buf.split_to(at).freeze(), 0, at);
                self.set_inbox(buf);
            }
            ReadBuffer::Pooled(buf) => {
                // The leftover is copied out, because the chunk belongs to the messages from here on. However few of
                // its bytes they are, they keep all of it.
                self.inbox.extend_from_slice(&buf[at..]);
                messages.seal(read_pool::share(buf), 0, CHUNK);
            }
        }
    }

    /// Releases a buffer that no message refers to. What lies behind `at` becomes the inbox.
    fn release(&mut self, buf: ReadBuffer, at: usize) {
        match buf {
            ReadBuffer::Pooled(buf) => {
                self.inbox.extend_from_slice(&buf[at..]);
                read_pool::put(buf);
            }
            ReadBuffer::Own(mut buf) => {
                buf.advance(at);
                self.set_inbox(buf);
            }
        }
    }

    /// Makes a leftover the inbox: copied if it is small, because it keeps the memory of the message before it.
    fn set_inbox(&mut self, rest: BytesMut) {
        self.inbox =
            if rest.len() < COPY_LEFTOVER_BELOW { BytesMut::from(&rest[..]) } else { rest };
    }

    /// Decodes whole frames until the buffer has no more, the queue is full, or the peer breaks the protocol.
    ///
    /// Nothing is copied and nothing delivered yet: messages are noted as ranges of `buf`, and `attach_buffer` decides
    /// what becomes of it. One loop, with every result of the codec's step in it: it is run for each message.
    fn decode(&mut self, buf: &mut [u8], delivery: &Delivery) -> Decoded {
        let room = self.backlog_limit();
        // As many messages as in the last read, but no more than fit: a frame has at least two bytes.
        let mut messages =
            Messages::with_capacity((self.last_read_messages as usize).min(buf.len() / 2));
        let (mut others, mut at, mut cost) = (OtherItems::default(), 0, 0);
        let mut breach = None;
        let left = delivery.room_left(room);
        let is_full = loop {
            // The fast path: single uncompressed frames, where no limit or option needs more than a look at the header.
            if let Some(plain) = self.codec.fast_path()
                && let Some(left) = left
            {
                let end = buf.len().min(MAX_OFFSET);
                cost = decode_plain(plain, &buf[..end], &mut at, &mut messages, cost, left);
            }
            if left.is_none_or(|left| cost > left) {
                break true;
            }
            // Any other frame, one at a time.
            match self.codec.step(buf, &mut at) {
                Ok(Step::Whole(opcode, len)) => {
                    let (place, kind) = (at..at + len, self.codec.kind(opcode));
                    at += len;
                    cost += delivery::cost(len);
                    // A range has 30 bits. With limits above 1 GiB a buffer can be longer.
                    if at <= MAX_OFFSET {
                        messages.push(kind, place);
                    } else {
                        messages.push_separate(kind, Bytes::copy_from_slice(&buf[place]));
                    }
                }
                Ok(Step::Assembled(opcode, bytes)) => {
                    cost += delivery::cost(bytes.len());
                    messages.push_separate(self.codec.kind(opcode), bytes);
                }
                Ok(Step::Item(item)) => {
                    cost += delivery::EVENT_COST;
                    if let Incoming::Fragment(fragment) = &item {
                        cost += fragment.bytes.len();
                    }
                    others.push(messages.len(), item);
                }
                Ok(Step::More) => break false,
                Err(err) => {
                    // What was decoded before it is delivered all the same.
                    breach = Some(err);
                    break false;
                }
            }
        };
        Decoded { messages, others, at, is_full, breach }
    }

    /// Queues a run of messages for the handlers, without the answers to questions.
    fn deliver(&self, mut messages: Messages, to: &mut Consumers<'_>) {
        if !messages.is_empty() {
            self.signs.data.set(self.signs.byte.get());
            to.watch.add(Gauge::MessagesIn, messages.len() as u64);
            self.record_message(to.watch);
            if let Some(track) = &self.track {
                track.received(self.epoch(), self.signs.byte.get().into_std(), &messages);
            }
            if let Some(requests) = &self.requests {
                requests.take_answers(&mut messages);
                if messages.is_empty() {
                    return;
                }
            }
            let received = self.signs.byte.get().into_std();
            let run = Run { source: to.source, epoch: self.epoch(), received, messages };
            to.delivery.push_run(run);
        }
    }

    /// Records the time of data, which is that of the last byte.
    #[inline]
    fn record_message(&self, watch: &Watch) {
        match self.has_read {
            true => watch.copy(Gauge::LastByte, Gauge::LastMessage),
            // It came with the reply to the upgrade.
            false => watch.stamp(Gauge::LastMessage, self.signs.byte.get().into_std()),
        }
    }

    /// Queues the reply that a control frame demands, and its event for the handlers.
    fn process_item(&mut self, other: Incoming, to: &mut Consumers<'_>) {
        let at = self.signs.byte.get().into_std();
        if let (Some(track), Incoming::Ping(payload)) = (&self.track, &other) {
            // Before its Pong.
            track.control(self.epoch(), at, Way::In, Opcode::Ping, payload, None);
        }
        match self.session.receive(&other) {
            Some(Outgoing::Pong(payload)) => self.writer.queue_pong(&mut self.codec, payload),
            Some(close) => self.writer.queue_close(&mut self.codec, close),
            None => {}
        }
        let (source, epoch) = (to.source, self.epoch());
        to.watch.add(Gauge::ControlIn, (!matches!(other, Incoming::Fragment(_))).into());
        match other {
            Incoming::Ping(payload) => to.delivery.push(event::Ping { source, epoch, payload }),
            Incoming::Pong(payload) => {
                let round_trip = self.round_trip(&payload);
                to.watch.stamp(Gauge::LastPong, self.signs.byte.get().into_std());
                if let Some(round_trip) = round_trip {
                    to.watch.set_span(Gauge::RoundTrip, round_trip);
                }
                if let Some(track) = &self.track {
                    track.control(epoch, at, Way::In, Opcode::Pong, &payload, round_trip);
                }
                to.delivery.push(event::Pong { source, epoch, payload, round_trip });
            }
            Incoming::Close(_) => self.close_within(self.options.close_timeout, self.now()),
            Incoming::Fragment(fragment) => {
                self.signs.data.set(self.signs.byte.get());
                to.watch.add(Gauge::MessagesIn, fragment.fin.into());
                self.record_message(to.watch);
                if let Some(track) = &self.track {
                    track.fragment(epoch, at, &fragment);
                }
                to.delivery.push(event::Continuation { source, epoch, fragment, received: at });
            }
            _ => {}
        }
    }

    /// Returns the time since the oldest Ping with this payload was queued. Forgets that and older ones: a peer may
    /// answer the most recent of several Pings alone (RFC 6455, 5.5.3).
    fn round_trip(&mut self, payload: &ControlPayload) -> Option<Duration> {
        let Pings(pings) = self.pings.as_deref_mut()?;
        let index = pings.iter().position(|(sent, _)| sent == payload)?;
        let (_, at) = pings.drain(..=index).next_back()?;
        if pings.is_empty() {
            self.pings = None;
        }
        Some(self.signs.byte.get().saturating_duration_since(at))
    }
}
