//! Reading: from the socket through the codec to the queue, with the replies that are owed.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BufMut, Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use crate::command::status::{Gauge, Watch};
use crate::connection::live::read_pool::{self, CHUNK};
use crate::connection::live::{Consumers, Live, Pings, ReadState};
use crate::delivery::{self, Delivery, Run};
use crate::dial::Link;
use crate::error::Error;
use crate::event;
use crate::proto::close::{CloseCode, CloseFrame};
use crate::proto::codec::{Plain, Step};
use crate::proto::error::ProtocolError;
use crate::proto::message::{ControlPayload, Incoming, Outgoing};
use crate::proto::messages::{MOST, Messages};

/// Bytes that are read in one poll. Then others have their turn.
const READ_BUDGET: usize = 128 << 10;

/// A message that wants so many more bytes gets a buffer of its own.
const OWN_BUFFER_FROM: usize = 32 << 10;

/// A message that has so much, and got less than that by the last read, too.
const TRICKLE_BELOW: usize = 1 << 10;

/// A leftover of fewer bytes is copied, so that it does not keep the buffer of the message before it.
const COPY_LEFTOVER_BELOW: usize = 1 << 10;

/// The most that such a buffer has on the peer's word alone. Beyond it, it grows with what comes.
const MAX_PREALLOCATED: usize = 1 << 20;

/// The longest header that a server's frame has (RFC 6455, 5.2). So much is read behind a large
/// message: with the next one's header its bytes can go to a buffer of its own from the first on.
const MAX_SERVER_HEADER: usize = 10;

/// Messages of one read that have fewer bytes than this are copied out of the chunk, which is free at
/// once then; for more than that the chunk is lent.
const SHARE_CHUNK_FROM: usize = 16 << 10;

/// Bytes to be digested, in a buffer.
enum ReadBuffer {
    /// The thread's chunk, to be given back or lent.
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

/// What was found in a buffer.
struct Decoded {
    messages: Messages,
    others: OtherItems,
    /// Where the buffer was used up to.
    at: usize,
    /// Whether it was left because more wait for the handlers than may.
    is_full: bool,
    breach: Option<ProtocolError>,
}

/// All that is no message, with how many messages were before it: mostly it is one, which takes no
/// memory.
#[derive(Default)]
struct OtherItems {
    first: Option<(usize, Incoming)>,
    more: Vec<(usize, Incoming)>,
}

impl OtherItems {
    /// Out of the way of the messages.
    #[inline(never)]
    fn push(&mut self, before: usize, other: Incoming) {
        match self.first {
            None => self.first = Some((before, other)),
            Some(_) => self.more.push((before, other)),
        }
    }
}

/// Finds messages in single frames, one behind the other, until they cost more than is `left`; says what
/// they cost then. It is called once for thousands of messages, and its loop has all registers to itself.
#[inline(never)]
fn decode_plain(
    plain: Plain,
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
    /// Reads what may be read, and takes in every whole frame of it.
    ///
    /// # Errors
    /// What the transport says.
    pub(super) fn poll_read(
        &mut self,
        to: &mut Consumers<'_>,
        cx: &mut Context<'_>,
    ) -> Result<ReadState, Error> {
        let mut budget = READ_BUDGET;
        loop {
            while self.inbox_undecoded && !to.delivery.is_full(self.backlog_limit()) {
                let inbox = ReadBuffer::Own(std::mem::take(&mut self.inbox));
                self.process(inbox, to);
            }
            if self.breach.as_ref().is_some_and(|breach| !breach.answered) {
                return Ok(ReadState::Open);
            }
            if to.delivery.is_full(self.backlog_limit()) {
                if self.must_disconnect(to.delivery) {
                    tracing::warn!(source = %to.source, epoch = self.epoch(), "handlers are too slow");
                    let words = "handlers are too slow";
                    let frame = CloseFrame::new(CloseCode::GOING_AWAY, words);
                    self.close(frame.ok(), self.options.close_timeout, self.now());
                    continue;
                }
                self.signs.stop_reading();
                return Ok(ReadState::Open);
            }
            if !self.signs.reading.get() {
                self.signs.resume_reading(Instant::now());
            }
            if budget == 0 {
                cx.waker().wake_by_ref();
                return Ok(ReadState::Open);
            }
            match self.poll_fill(cx) {
                Poll::Pending => {
                    if self.inbox.is_empty() {
                        // An idle connection owns no read buffer.
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
                    return Ok(match self.link {
                        Link::Tls(_) => ReadState::Truncated,
                        Link::Plain(_) => ReadState::Eof,
                    });
                }
                Poll::Ready(Err(err)) => return Err(Error::Io(err.into())),
            }
        }
    }

    /// Takes in what was read and left because the handlers had too much: the socket is over, and with it
    /// would go what a server said before it hung up.
    pub(super) fn process_remaining(&mut self, to: &mut Consumers<'_>) {
        self.ended = true;
        while self.inbox_undecoded && !to.delivery.is_full(self.backlog_limit()) {
            let inbox = ReadBuffer::Own(std::mem::take(&mut self.inbox));
            self.process(inbox, to);
        }
    }

    /// Reads once. What comes of it is all of the inbox, which then is empty, and what came behind
    /// it, with how many bytes that is: in the thread's chunk, or in a buffer of the message's own.
    /// What belongs to a large fragment is with the codec already.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(ReadBuffer, usize)>> {
        if self.inbox.is_empty()
            && let Some((place, wanted)) = self.codec.place(OWN_BUFFER_FROM, MAX_PREALLOCATED)
        {
            let mut limited = (&mut *place).limit(wanted + MAX_SERVER_HEADER);
            let count = ready!(pin!(self.link.read_buf(&mut limited)).poll(cx))?;
            let end = place.len() - count.saturating_sub(wanted);
            self.inbox.extend_from_slice(&place[end..]);
            place.truncate(end);
            return Poll::Ready(Ok((ReadBuffer::Own(std::mem::take(&mut self.inbox)), count)));
        }
        let wanted = self.codec.wanted_whole();
        let len = self.inbox.len();
        // A message that comes in drops is not copied to and fro for each.
        let trickles = len >= TRICKLE_BELOW && (self.last_read_bytes as usize) < TRICKLE_BELOW;
        if wanted < OWN_BUFFER_FROM && len < OWN_BUFFER_FROM && !trickles {
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
        if self.inbox.capacity() - len < wanted.clamp(1, OWN_BUFFER_FROM) {
            self.inbox.reserve(wanted.min(len.max(MAX_PREALLOCATED)) + MAX_SERVER_HEADER);
        }
        // Hardly beyond the message, so that its buffer is its own.
        let mut limited = (&mut self.inbox).limit(wanted + MAX_SERVER_HEADER);
        let count = ready!(pin!(self.link.read_buf(&mut limited)).poll(cx))?;
        Poll::Ready(Ok((ReadBuffer::Own(std::mem::take(&mut self.inbox)), count)))
    }

    fn record_read(&mut self, count: usize, watch: &Watch) {
        let now = Instant::now();
        self.signs.byte.set(now);
        self.has_read = true;
        self.last_read_bytes = u32::try_from(count).unwrap_or(u32::MAX);
        watch.add(Gauge::BytesIn, count as u64);
        watch.stamp(Gauge::LastByte, now.into_std());
    }

    /// Takes whole frames out of a buffer, until more wait for the handlers than may: a read of 64 KiB
    /// can hold 32,768 pings. What is left of it becomes the inbox.
    fn process(&mut self, mut buf: ReadBuffer, to: &mut Consumers<'_>) {
        self.inbox_undecoded = false;
        if self.breach.is_some() || self.session.is_done() {
            // Nothing that follows is looked at (RFC 6455, 1.4).
            let all = buf.bytes().len();
            return self.release(buf, all);
        }
        let decoded = self.decode(buf.bytes(), to.delivery);
        let Decoded { mut messages, others, at, is_full, breach } = decoded;
        self.inbox_undecoded = is_full;
        self.last_read_messages = u32::try_from(messages.len()).unwrap_or(u32::MAX);
        self.attach_buffer(&mut messages, buf, at);
        let mut delivered = 0;
        for (before, other) in others.first.into_iter().chain(others.more) {
            // Whatever is no message parts a run, so that the order holds.
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

    /// Gives the messages their buffer: their part of `buf`, or a copy of it. What lies behind `at`
    /// becomes the inbox.
    fn attach_buffer(&mut self, messages: &mut Messages, buf: ReadBuffer, at: usize) {
        let extent = messages.extent();
        match buf {
            buf if extent.is_empty() => {
                // No message lies there, or one without bytes.
                messages.seal(Bytes::new(), extent.start, 0);
                self.release(buf, at);
            }
            mut buf if extent.len() < SHARE_CHUNK_FROM => {
                let (begin, len) = (extent.start, extent.len());
                messages.seal(Bytes::copy_from_slice(&buf.bytes()[extent]), begin, len);
                self.release(buf, at);
            }
            ReadBuffer::Own(mut buf) => {
                messages.seal(buf.split_to(at).freeze(), 0, at);
                self.set_inbox(buf);
            }
            ReadBuffer::Pooled(buf) => {
                self.inbox.extend_from_slice(&buf[at..]);
                messages.seal(read_pool::share(buf), 0, CHUNK);
            }
        }
    }

    /// Keeps what lies behind `at` as the inbox, and nothing else of the buffer.
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

    /// Keeps a rest as the inbox: a copy of it if it is small, for it would keep the memory of the
    /// message before it.
    fn set_inbox(&mut self, rest: BytesMut) {
        self.inbox =
            if rest.len() < COPY_LEFTOVER_BELOW { BytesMut::from(&rest[..]) } else { rest };
    }

    /// Finds whole frames.
    fn decode(&mut self, buf: &mut [u8], delivery: &Delivery) -> Decoded {
        let room = self.backlog_limit();
        // A frame has two bytes at least.
        let mut messages =
            Messages::with_capacity((self.last_read_messages as usize).min(buf.len() / 2));
        let (mut others, mut at, mut cost) = (OtherItems::default(), 0, 0);
        let mut breach = None;
        let left = delivery.left(room);
        let is_full = loop {
            if let Some(plain) = self.codec.plain()
                && let Some(left) = left
            {
                let end = buf.len().min(MOST);
                cost = decode_plain(plain, &buf[..end], &mut at, &mut messages, cost, left);
            }
            if left.is_none_or(|left| cost > left) {
                break true;
            }
            match self.codec.step(buf, &mut at) {
                Ok(Step::Whole(opcode, len)) => {
                    let (place, kind) = (at..at + len, self.codec.kind(opcode));
                    at += len;
                    cost += delivery::cost(len);
                    if at <= MOST {
                        messages.push(kind, place);
                    } else {
                        messages.push_own(kind, Bytes::copy_from_slice(&buf[place]));
                    }
                }
                Ok(Step::Assembled(opcode, bytes)) => {
                    cost += delivery::cost(bytes.len());
                    messages.push_own(self.codec.kind(opcode), bytes);
                }
                Ok(Step::Item(item)) => {
                    cost += delivery::EVENT;
                    if let Incoming::Fragment(fragment) = &item {
                        cost += fragment.bytes.len();
                    }
                    others.push(messages.len(), item);
                }
                Ok(Step::More) => break false,
                Err(err) => {
                    breach = Some(err);
                    break false;
                }
            }
        };
        Decoded { messages, others, at, is_full, breach }
    }

    /// Puts a run of messages into the queue.
    fn deliver(&self, messages: Messages, to: &mut Consumers<'_>) {
        if !messages.is_empty() {
            self.signs.data.set(self.signs.byte.get());
            to.watch.add(Gauge::MessagesIn, messages.len() as u64);
            let received = self.signs.byte.get().into_std();
            let run = Run { source: to.source, epoch: self.epoch(), received, messages };
            to.delivery.push_run(run);
        }
    }

    /// Answers what is no message, and puts it into the queue.
    fn process_item(&mut self, other: Incoming, to: &mut Consumers<'_>) {
        match self.session.receive(&other) {
            Some(Outgoing::Pong(payload)) => self.writer.queue_pong(&mut self.codec, payload),
            Some(close) => self.writer.queue_close(&mut self.codec, close),
            None => {}
        }
        let (source, epoch) = (to.source, self.epoch());
        match other {
            Incoming::Ping(payload) => to.delivery.push(event::Ping { source, epoch, payload }),
            Incoming::Pong(payload) => {
                let round_trip = self.round_trip(&payload);
                to.watch.stamp(Gauge::LastPong, self.signs.byte.get().into_std());
                if let Some(round_trip) = round_trip {
                    to.watch.set_span(Gauge::RoundTrip, round_trip);
                }
                to.delivery.push(event::Pong { source, epoch, payload, round_trip });
            }
            Incoming::Close(_) => self.close_within(self.options.close_timeout, self.now()),
            Incoming::Fragment(fragment) => {
                self.signs.data.set(self.signs.byte.get());
                to.watch.add(Gauge::MessagesIn, fragment.fin.into());
                let received = self.signs.byte.get().into_std();
                to.delivery.push(event::Continuation { source, epoch, fragment, received });
            }
            _ => {}
        }
    }

    /// The time from the oldest ping with this payload. Older ones will not be answered any more
    /// (RFC 6455, 5.5.3).
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
