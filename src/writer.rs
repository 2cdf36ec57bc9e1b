//! The bounded send buffer of one socket: frames are encoded into it, and written once for each poll.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep};

use crate::command::status::Unsent;
use crate::command::{ReceiptEnd, Refusal, SendError, SentFrames};
use crate::error::{Error, Stage};
use crate::proto::codec::{Codec, Way};
use crate::proto::error::SendAfterClose;
use crate::proto::frame::{FrameHeader, Opcode, Role};
use crate::proto::message::{ControlPayload, Outgoing, Payload};
use crate::record::Track;

/// The encoded frames of one socket that are not written yet.
///
/// Data frames are bounded by `limit` bytes. Control frames do not count against that: up to
/// [`MAX_CONTROL_FRAMES`] of them wait. Beyond, a Ping is refused, and of the Pongs only the newest is
/// kept (RFC 6455, 5.5.3). The one Close is always accepted.
pub(crate) struct Writer {
    /// Encoded frames, the first perhaps written in part.
    buf: BytesMut,
    /// The most bytes of data frames that may wait: `send_buffer`.
    limit: usize,
    /// The longest message that is queued without a look at the rarer cases: `limit`, or 0 if messages are recorded.
    /// So a connection that is not recorded takes no instruction for it.
    plain_limit: usize,
    /// Bytes ever encoded into `buf`.
    queued: u64,
    /// Bytes ever written to the transport.
    written: u64,
    /// The value of `written` when the transport was last flushed. TLS may buffer what was written since.
    flushed: u64,
    /// Data messages that were queued, and are not known to have left.
    messages: u64,
    /// What was written of those, while the transport does not accept or flush all of it at once.
    partial: Option<Box<PartialWrite>>,
    /// The receipts of messages that have not left, oldest first, if there are any. There are no more than
    /// messages in the buffer and in the transport's.
    receipts: Option<Box<Receipts>>,
    /// The record of when frames left, if one is kept.
    ledger: Option<Box<Ledger>>,
    /// Where what is queued is recorded, if it is.
    recording: Option<Box<Recording>>,
    /// The control frames in `buf`, boxed because there are seldom any.
    control: Option<Box<ControlFrames>>,
    /// How long the transport may accept nothing: `write_timeout`.
    timeout: Duration,
    /// Runs while bytes wait and the transport accepts none.
    stall_timer: Option<Pin<Box<Sleep>>>,
    /// The value of `queued` at the last call of `should_gather`.
    queued_before: u64,
}

/// The receipts of messages that have not left, oldest first.
#[derive(Default)]
struct Receipts(VecDeque<TrackedReceipt>);

/// The receipt of a message that has not left.
struct TrackedReceipt {
    /// The value of `queued` behind the message.
    end: u64,
    receipt: ReceiptEnd,
    /// The epoch of this socket.
    epoch: u64,
}

/// The record of when frames left.
#[derive(Default)]
struct Ledger {
    sent: SentFrames,
    /// Frames that were queued since the last entry, beyond one for each message.
    fragments: u64,
    /// Control frames that were queued since the last entry.
    control: u64,
}

/// Where what is queued is recorded.
struct Recording {
    track: Track,
    /// The epoch of this socket.
    epoch: u64,
}

/// How far the transport has come in the frames that it was given.
#[derive(Default)]
struct PartialWrite {
    /// How many of `Writer::messages` were written whole.
    written_messages: u64,
    /// The bytes at the beginning of the buffer that belong to a frame whose beginning is written.
    frame_rest: usize,
    /// Whether that frame is the last one of a data message.
    ends_message: bool,
}

/// The control frames among the bytes that have not left, which do not count against the limit of data.
#[derive(Default)]
struct ControlFrames {
    /// For each control frame in the buffer, the value of `queued` at its end, and its length.
    frames: VecDeque<(u64, usize)>,
    /// The sum of their lengths.
    bytes: usize,
    /// The lengths of those that were written, and are not flushed.
    unflushed: usize,
    /// The value of `queued` behind our Close frame, if it was queued.
    close_end: Option<u64>,
    /// How many were queued since they were last counted for the figures.
    uncounted: u32,
    /// The Pong that is owed while `frames` is full. A newer one replaces it.
    pong: Option<ControlPayload>,
}

/// The most control frames that wait to be written. It bounds what a peer can make us buffer by sending
/// Pings and not reading.
const MAX_CONTROL_FRAMES: usize = 64;

/// A poll in which at least this many bytes were queued does not write: a sender that fast queues more
/// in the next poll, and both leave in one system call.
const GATHER_FROM: u64 = 4 << 10;

/// Writing is not put off for more bytes than these.
const GATHER_UP_TO: usize = 64 << 10;

/// A larger buffer is freed after the write, and not kept as the thread's spare.
const MAX_SPARE_CAPACITY: usize = 256 << 10;

thread_local! {
    // A writer owns a buffer only while bytes wait: 10,000 idle connections need one, not 10,000. The
    // spare saves each write an allocation.
    static SPARE: Cell<Option<BytesMut>> = const { Cell::new(None) };
}

/// Takes the thread's spare buffer, or returns one without memory.
fn take_spare() -> BytesMut {
    SPARE.try_with(Cell::take).ok().flatten().unwrap_or_default()
}

/// Makes an empty buffer the thread's spare, unless the thread has a larger one.
fn keep_spare(buf: BytesMut) {
    if buf.capacity() > MAX_SPARE_CAPACITY {
        return;
    }
    // After the thread's destructors have run there is no spare.
    let _ = SPARE.try_with(|spare| {
        let other = spare.take().filter(|other| other.capacity() > buf.capacity());
        spare.set(Some(other.unwrap_or(buf)));
    });
}

impl Writer {
    pub(crate) fn new(limit: usize, timeout: Duration) -> Writer {
        Writer {
            buf: BytesMut::new(),
            limit,
            plain_limit: limit,
            queued: 0,
            written: 0,
            flushed: 0,
            messages: 0,
            partial: None,
            receipts: None,
            ledger: None,
            recording: None,
            control: None,
            timeout,
            stall_timer: None,
            queued_before: 0,
        }
    }

    /// Queues a data message, in frames of at most `fragment` bytes if that is set.
    ///
    /// # Errors
    /// `Full` or `TooLarge`, as the constructor of the error that returns the message to the caller.
    #[inline]
    pub(crate) fn queue_data(
        &mut self,
        codec: &mut Codec,
        payload: &Payload,
        fragment: Option<usize>,
    ) -> Result<(), Refusal> {
        let length = match fragment {
            None => Codec::encoded_len(Role::Client, payload.len()),
            Some(size) => Codec::fragments_len(Role::Client, payload.len(), size),
        };
        if length > self.plain_limit {
            return self.queue_recorded(codec, payload, fragment, length);
        }
        if self.unsent_data() + length > self.limit {
            return Err(SendError::Full);
        }
        self.append(codec, payload, fragment);
        Ok(())
    }

    /// Queues and records a data message, or refuses one that is longer than the buffer.
    ///
    /// # Errors
    /// As [`queue_data`](Writer::queue_data).
    #[cold]
    fn queue_recorded(
        &mut self,
        codec: &mut Codec,
        payload: &Payload,
        fragment: Option<usize>,
        length: usize,
    ) -> Result<(), Refusal> {
        if length > self.limit {
            return Err(SendError::TooLarge);
        }
        if self.unsent_data() + length > self.limit {
            return Err(SendError::Full);
        }
        self.append(codec, payload, fragment);
        if let Some(Recording { track, epoch }) = self.recording.as_deref() {
            track.sent(*epoch, Instant::now().into_std(), payload, codec.hides_payloads());
        }
        Ok(())
    }

    /// Encodes a data message behind the others.
    #[inline]
    fn append(&mut self, codec: &mut Codec, payload: &Payload, fragment: Option<usize>) {
        self.encode(|buf| codec.encode_data(payload, fragment, buf));
        self.messages += 1;
        if let (Some(size), Some(ledger)) = (fragment, &mut self.ledger) {
            ledger.fragments += (payload.len().div_ceil(size.max(1)) as u64).saturating_sub(1);
        }
    }

    /// Has the receipt of the message that was queued last report when all of it has left.
    pub(crate) fn track(&mut self, mut receipt: ReceiptEnd, epoch: u64) {
        receipt.accept();
        let Receipts(receipts) = &mut **self.receipts.get_or_insert_default();
        receipts.push_back(TrackedReceipt { end: self.queued, receipt, epoch });
    }

    /// Records from now on what is queued.
    pub(crate) fn record(&mut self, track: &Track, epoch: u64) {
        self.recording = Some(Box::new(Recording { track: track.clone(), epoch }));
        self.plain_limit = 0;
    }

    /// Records from now on when frames leave.
    pub(crate) fn keep_ledger(&mut self) {
        self.ledger.get_or_insert_default();
    }

    /// Returns the record of when frames left, if one is kept.
    pub(crate) fn ledger(&self) -> Option<&SentFrames> {
        self.ledger.as_ref().map(|ledger| &ledger.sent)
    }

    /// Whether control frames are on their way.
    #[inline]
    pub(crate) fn has_control(&self) -> bool {
        self.control.is_some()
    }

    /// Returns how many control frames were queued since the last call.
    pub(crate) fn take_uncounted_control(&mut self) -> u64 {
        self.control.as_mut().map_or(0, |control| mem::take(&mut control.uncounted).into())
    }

    /// Queues a Ping, or a Pong that answers no Ping.
    ///
    /// # Errors
    /// `Full` with the payload, if too many control frames wait.
    pub(crate) fn try_queue_control(
        &mut self,
        codec: &mut Codec,
        item: Outgoing,
    ) -> Result<(), SendError> {
        match item {
            Outgoing::Ping(payload) | Outgoing::Pong(payload)
                if self.control.as_ref().is_some_and(|control| control.is_full()) =>
            {
                Err(SendError::Full(Payload::Binary(payload.into_bytes())))
            }
            item => {
                self.push_control(codec, item);
                Ok(())
            }
        }
    }

    /// Queues the Pong that answers a Ping. If too many control frames wait, it replaces the one that is owed:
    /// a Pong for the most recent Ping is enough (RFC 6455, 5.5.3).
    pub(crate) fn queue_pong(&mut self, codec: &mut Codec, payload: ControlPayload) {
        self.control.get_or_insert_default().pong = Some(payload);
        self.place_pong(codec);
    }

    /// Queues a Close frame. It counts against no bound, because nothing is queued behind it.
    pub(crate) fn queue_close(&mut self, codec: &mut Codec, close: Outgoing) {
        self.push_control(codec, close);
        self.control.get_or_insert_default().close_end = Some(self.queued);
    }

    /// Whether our Close frame was queued and has left: the transport has sent all of it.
    pub(crate) fn close_left(&self) -> bool {
        let end = self.control.as_ref().and_then(|control| control.close_end);
        end.is_some_and(|end| end <= self.flushed)
    }

    /// Returns what was accepted and has not left, at the end of the transport. Flushes what can be flushed
    /// without waiting.
    pub(crate) fn unsent_at_end<T>(&mut self, io: &mut T) -> Unsent
    where
        T: AsyncWrite + Unpin,
    {
        if self.written != self.flushed
            && let Poll::Ready(Ok(())) =
                Pin::new(io).poll_flush(&mut Context::from_waker(Waker::noop()))
        {
            self.record_flush();
        }
        let control = self.control.as_ref().map_or(0, |control| control.bytes + control.unflushed);
        let bytes = (self.queued - self.flushed).saturating_sub(control as u64);
        Unsent { messages: self.messages, bytes }
    }

    /// Returns how many bytes wait to be written.
    pub(crate) fn unsent(&self) -> usize {
        self.buf.len()
    }

    /// Returns how many bytes were written since the socket was opened.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Whether to put off writing to the next poll. A handler that sends many messages and awaits a reply now
    /// and then yields there; without this each of those would cost a system call. Not while half of the limit
    /// waits, so that the sender never stops for want of room.
    pub(crate) fn should_gather(&mut self) -> bool {
        let fresh = self.queued - self.queued_before;
        self.queued_before = self.queued;
        fresh >= GATHER_FROM && self.buf.len() < GATHER_UP_TO.min(self.limit / 2)
    }

    /// Writes and flushes all bytes that wait. `Ready(Ok)` when the transport has sent them.
    ///
    /// # Errors
    /// `Io` of the transport, or `Timeout(Write)` when it accepted nothing for `timeout`.
    pub(crate) fn poll_flush<T>(
        &mut self,
        io: &mut T,
        codec: &mut Codec,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>>
    where
        T: AsyncWrite + Unpin,
    {
        while !self.buf.is_empty() {
            if self.must_flush_first() {
                // The buffer may never run empty; a receipt and the record are not to wait for that.
                match Pin::new(&mut *io).poll_flush(cx) {
                    Poll::Ready(flushed) => flushed.map_err(io_error)?,
                    Poll::Pending => return self.poll_stalled(cx),
                }
                self.record_flush();
            }
            match Pin::new(&mut *io).poll_write(cx, &self.buf) {
                // For a buffer that is not empty this means that the transport accepts no more bytes.
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(io_error(io::ErrorKind::WriteZero.into())));
                }
                Poll::Ready(Ok(count)) => {
                    self.advance(count);
                    // Control frames that left made room for the Pong that is owed.
                    self.place_pong(codec);
                }
                Poll::Ready(Err(err)) => return Poll::Ready(Err(io_error(err))),
                Poll::Pending => return self.poll_stalled(cx),
            }
        }
        if self.buf.capacity() > 0 {
            // All is written, so that the buffer is empty and can serve the next writer.
            keep_spare(mem::take(&mut self.buf));
        }
        if self.written != self.flushed {
            match Pin::new(io).poll_flush(cx) {
                Poll::Ready(flushed) => flushed.map_err(io_error)?,
                Poll::Pending => {
                    self.record_held();
                    return self.poll_stalled(cx);
                }
            }
            self.record_flush();
            self.stall_timer = None;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the bytes that the transport takes at once. For a socket that is about to be dropped: nothing waits, and
    /// no error is reported.
    pub(crate) fn write_now<T>(&mut self, io: &mut T)
    where
        T: AsyncWrite + Unpin,
    {
        // `poll_flush` would make a timer, which needs a runtime.
        let mut cx = Context::from_waker(Waker::noop());
        while !self.buf.is_empty() {
            match Pin::new(&mut *io).poll_write(&mut cx, &self.buf) {
                Poll::Ready(Ok(count)) if count > 0 => self.advance(count),
                _ => return,
            }
        }
        let _ = Pin::new(io).poll_flush(&mut cx);
    }

    /// Whether what is written must be flushed before more is: a message with a receipt is among it, or it is
    /// recorded when frames leave.
    #[inline]
    fn must_flush_first(&self) -> bool {
        let receipt = self.receipts.as_ref().and_then(|receipts| receipts.0.front());
        self.flushed != self.written
            && (self.ledger.is_some() || receipt.is_some_and(|first| first.end <= self.written))
    }

    /// Adds what has left since the last entry to the record.
    #[cold]
    fn record_sent(&mut self, messages: u64) {
        let Some(ledger) = &mut self.ledger else {
            return;
        };
        let data = messages + if messages > 0 { mem::take(&mut ledger.fragments) } else { 0 };
        let control = mem::take(&mut ledger.control);
        if data > 0 || control > 0 {
            ledger.sent.push(Instant::now().into_std(), data, control);
        }
    }

    /// Reports to the receipts of the messages that have left.
    #[cold]
    fn report_written(&mut self) {
        if let Some(Receipts(receipts)) = self.receipts.as_deref_mut() {
            while receipts.front().is_some_and(|first| first.end <= self.flushed)
                && let Some(first) = receipts.pop_front()
            {
                first.receipt.written(first.epoch);
            }
            if receipts.is_empty() {
                self.receipts = None;
            }
        }
    }

    fn unsent_data(&self) -> usize {
        let control = self.control.as_ref().map_or(0, |control| control.bytes);
        self.buf.len().saturating_sub(control)
    }

    /// Encodes a frame behind the others, and returns its length.
    #[inline]
    fn encode(
        &mut self,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), SendAfterClose>,
    ) -> usize {
        let before = self.buf.len();
        if self.buf.capacity() == 0 {
            self.buf = take_spare();
        }
        // Refused only behind a Close, where nothing may follow (RFC 6455, 5.5.1).
        let _ = encode(&mut self.buf);
        let length = self.buf.len() - before;
        self.queued += length as u64;
        length
    }

    /// Encodes a control frame. Not inlined, to keep its code out of `queue_data`: a batch and its sending take
    /// no instruction for it.
    #[inline(never)]
    fn encode_control(&mut self, codec: &mut Codec, item: Outgoing) -> usize {
        self.encode(|buf| codec.encode(item, buf))
    }

    fn push_control(&mut self, codec: &mut Codec, item: Outgoing) {
        if let Some(recording) = &self.recording {
            recording.control(&item);
        }
        let length = self.encode_control(codec, item);
        let control = self.control.get_or_insert_default();
        control.frames.push_back((self.queued, length));
        control.bytes += length;
        control.uncounted += 1;
        if let Some(ledger) = &mut self.ledger {
            ledger.control += 1;
        }
    }

    /// Encodes the Pong that is owed, if there is one and room for it.
    fn place_pong(&mut self, codec: &mut Codec) {
        if let Some(control) = &mut self.control
            && !control.is_full()
            && let Some(payload) = control.pong.take()
        {
            self.push_control(codec, Outgoing::Pong(payload));
        }
    }

    fn advance(&mut self, count: usize) {
        match count == self.buf.len() {
            // Unlike `advance`, `clear` makes the whole capacity available again.
            true => self.buf.clear(),
            false => {
                self.record_partial(count);
                self.buf.advance(count);
            }
        }
        self.written += count as u64;
        self.stall_timer = None;
        if let Some(control) = &mut self.control {
            control.forget(self.written);
        }
    }

    /// Notes which messages are written whole, where the transport accepted only the first `count` bytes.
    #[cold]
    fn record_partial(&mut self, count: usize) {
        let partial = self.partial.get_or_insert_default();
        let mut end = partial.frame_rest;
        while end <= count {
            partial.written_messages += u64::from(partial.ends_message);
            // Frames of our own, whole in the buffer: this is never an error. If it were, the message would
            // count as unsent.
            let Ok(Some((header, len))) = FrameHeader::parse_with(&self.buf[end..], true) else {
                partial.ends_message = false;
                end = self.buf.len();
                break;
            };
            partial.ends_message = header.fin && !header.opcode.is_control();
            end += len + header.len as usize;
        }
        partial.frame_rest = end - count;
    }

    /// Notes that everything is written, and that the transport holds some of it back.
    #[cold]
    fn record_held(&mut self) {
        let written_messages = self.messages;
        let held = PartialWrite { written_messages, ..PartialWrite::default() };
        self.partial = Some(Box::new(held));
    }

    /// Notes that the transport has sent all that was written.
    fn record_flush(&mut self) {
        self.flushed = self.written;
        let messages = self.messages;
        match &mut self.partial {
            Some(partial) if !self.buf.is_empty() => {
                self.messages -= mem::take(&mut partial.written_messages);
            }
            _ => {
                self.messages = 0;
                self.partial = None;
            }
        }
        if let Some(control) = &mut self.control {
            control.unflushed = 0;
            if control.is_idle() {
                self.control = None;
            }
        }
        if self.receipts.is_some() {
            self.report_written();
        }
        if self.ledger.is_some() {
            self.record_sent(messages - self.messages);
        }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let timeout = self.timeout;
        let sleep = self.stall_timer.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(sleep.as_mut().poll(cx));
        Poll::Ready(Err(Error::Timeout(Stage::Write)))
    }
}

impl Recording {
    /// Records a Ping or a Pong. Close frames are in the event of the close.
    #[cold]
    fn control(&self, item: &Outgoing) {
        let (opcode, payload) = match item {
            Outgoing::Ping(payload) => (Opcode::Ping, payload),
            Outgoing::Pong(payload) => (Opcode::Pong, payload),
            _ => return,
        };
        let now = Instant::now().into_std();
        self.track.control(self.epoch, now, Way::Out, opcode, payload, None);
    }
}

impl ControlFrames {
    fn is_full(&self) -> bool {
        self.frames.len() >= MAX_CONTROL_FRAMES
    }

    /// Whether there is nothing to remember, once all is flushed.
    fn is_idle(&self) -> bool {
        self.frames.is_empty()
            && self.pong.is_none()
            && self.close_end.is_none()
            && self.uncounted == 0
    }

    /// Removes the frames that end within the first `written` bytes.
    fn forget(&mut self, written: u64) {
        while let Some(&(end, length)) = self.frames.front()
            && end <= written
        {
            self.frames.pop_front();
            self.bytes -= length;
            self.unflushed += length;
        }
    }
}

fn io_error(err: io::Error) -> Error {
    Error::Io(err.into())
}

/// Ends our side of the transport, after a flush.
pub(crate) fn poll_shutdown<T>(io: &mut T, cx: &mut Context<'_>) -> Poll<io::Result<()>>
where
    T: AsyncWrite + Unpin,
{
    let mut shutdown = std::pin::pin!(io.shutdown());
    shutdown.as_mut().poll(cx)
}

#[cfg(test)]
mod tests;
