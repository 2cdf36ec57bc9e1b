use futures_util::FutureExt;

use super::*;
use crate::command::Fate;
use crate::proto::close::{CloseCode, CloseFrame};
use crate::proto::codec::Limits;
use crate::proto::message::Incoming;

/// A transport that buffers what is written, and flushes only while `open`.
#[derive(Default)]
struct Holding {
    open: bool,
    held: usize,
    out: usize,
}

impl AsyncWrite for Holding {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.held += buf.len();
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.open {
            return Poll::Pending;
        }
        self.out += std::mem::take(&mut self.held);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Queues and writes a message of `length` bytes.
fn written(writer: &mut Writer, length: usize) {
    let mut codec = Codec::new(Role::Client, Limits::default());
    let mut io = Holding { open: true, ..Holding::default() };
    writer.queue_data(&mut codec, &vec![7; length].into(), None).unwrap();
    let flushed = writer.poll_flush(&mut io, &mut codec, &mut Context::from_waker(Waker::noop()));
    assert!(matches!(flushed, Poll::Ready(Ok(()))));
}

#[test]
fn a_writer_has_no_buffer_between_two_writes_and_the_next_one_gets_it() {
    let [mut one, mut other] = [0, 1].map(|_| Writer::new(1 << 20, Duration::from_secs(5)));
    written(&mut one, 10_000);
    assert_eq!(one.buf.capacity(), 0);
    let spare = take_spare();
    let (place, room) = (spare.as_ptr(), spare.capacity());
    assert!(room >= 10_000 && spare.is_empty());
    keep_spare(spare);
    written(&mut other, 10);
    let spare = take_spare();
    assert_eq!((spare.as_ptr(), spare.capacity()), (place, room));
    // Of two the larger is kept, unless it is too large.
    keep_spare(spare);
    keep_spare(BytesMut::with_capacity(10));
    let spare = take_spare();
    assert_eq!(spare.as_ptr(), place);
    keep_spare(spare);
    written(&mut one, 2 * MAX_SPARE_CAPACITY);
    assert_eq!((one.buf.capacity(), take_spare().capacity()), (0, 0));
}

#[test]
fn more_is_waited_for_only_while_there_is_room_for_it() {
    let mut codec = Codec::new(Role::Client, Limits::default());
    let mut writer = Writer::new(16 << 10, Duration::from_secs(5));
    let mut send = || {
        writer.queue_data(&mut codec, &vec![7; 5 << 10].into(), None).unwrap();
        writer.should_gather()
    };
    assert_eq!([send(), send()], [true, false]);
}

#[tokio::test(start_paused = true)]
async fn what_the_transport_holds_back_is_flushed_later_and_timed() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut codec = Codec::new(Role::Client, Limits::default());
    let mut writer = Writer::new(1024, Duration::from_secs(5));
    let mut io = Holding::default();
    writer.queue_data(&mut codec, &vec![7; 10].into(), None).unwrap();
    assert!(writer.poll_flush(&mut io, &mut codec, &mut cx).is_pending());
    assert_eq!((writer.unsent(), io.out), (0, 0));
    io.open = true;
    assert!(matches!(writer.poll_flush(&mut io, &mut codec, &mut cx), Poll::Ready(Ok(()))));
    assert_eq!(io.out, 16);
    io.open = false;
    writer.queue_data(&mut codec, &vec![7; 10].into(), None).unwrap();
    assert!(writer.poll_flush(&mut io, &mut codec, &mut cx).is_pending());
    tokio::time::advance(Duration::from_secs(5)).await;
    let late = writer.poll_flush(&mut io, &mut codec, &mut cx);
    assert!(matches!(late, Poll::Ready(Err(Error::Timeout(Stage::Write)))));
}

/// A transport that takes the given number of bytes in all, and holds them back unless it is flushed.
struct Bounded {
    room: usize,
    flushes: bool,
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = buf.len().min(self.room);
        self.room -= count;
        if count == 0 { Poll::Pending } else { Poll::Ready(Ok(count)) }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.flushes { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn what_did_not_leave_is_counted_wherever_the_transport_stopped() {
    // Frames of 6 + 10, 6, 2 × (6 + 5), 6 + 2 (a Ping) and 6 + 2 (the Close) bytes: 60 of them.
    let data = [16, 22, 44];
    for room in 1..=60 {
        for flushes in [true, false] {
            let mut cx = Context::from_waker(Waker::noop());
            let mut codec = Codec::new(Role::Client, Limits::default());
            let mut writer = Writer::new(1024, Duration::from_secs(5));
            let mut io = Bounded { room, flushes };
            let ten = Payload::from(vec![7; 10]);
            writer.queue_data(&mut codec, &ten, None).unwrap();
            writer.queue_data(&mut codec, &Payload::from(""), None).unwrap();
            // A first part of them before the rest is queued.
            let _ = writer.poll_flush(&mut io, &mut codec, &mut cx);
            writer.queue_data(&mut codec, &ten, Some(5)).unwrap();
            let ping = Outgoing::Ping(ControlPayload::new("hi").unwrap());
            writer.try_queue_control(&mut codec, ping).unwrap();
            let frame = CloseFrame::new(CloseCode::NORMAL, "").unwrap();
            writer.queue_close(&mut codec, Outgoing::Close(Some(frame)));
            let _ = writer.poll_flush(&mut io, &mut codec, &mut cx);
            let left = if flushes { room } else { 0 };
            let messages = data.iter().filter(|end| **end > left).count() as u64;
            let bytes = 44_usize.saturating_sub(left) as u64;
            assert_eq!(writer.unsent_at_end(&mut io), Unsent { messages, bytes }, "{room}");
            assert_eq!(writer.close_left(), left >= 60, "{room}");
        }
    }
}

#[test]
fn the_bound_is_taken_to_its_last_byte_and_not_beyond() {
    let mut codec = Codec::new(Role::Client, Limits::default());
    // With header and masking key, 6 bytes more.
    let mut queue = |writer: &mut Writer, length: usize| {
        let length = length.saturating_sub(6);
        writer.queue_data(&mut codec, &vec![7; length].into(), None)
    };
    let writer = || Writer::new(100, Duration::from_secs(5));
    let of = |refusal: Refusal| refusal(Payload::from(""));
    assert!(queue(&mut writer(), 100).is_ok());
    let too_large = queue(&mut writer(), 101).unwrap_err();
    assert!(matches!(of(too_large), SendError::TooLarge(_)));
    for (second, fits) in [(40, true), (41, false)] {
        let mut writer = writer();
        queue(&mut writer, 60).unwrap();
        let answer = queue(&mut writer, second);
        assert_eq!(answer.is_ok(), fits);
        let full = answer.err().or_else(|| queue(&mut writer, 6).err()).unwrap();
        assert!(matches!(of(full), SendError::Full(_)));
        assert_eq!(writer.unsent(), if fits { 100 } else { 60 });
    }
}

#[tokio::test(start_paused = true)]
async fn of_the_pongs_that_wait_the_last_is_sent() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut codec = Codec::new(Role::Client, Limits::default());
    let mut writer = Writer::new(1024, Duration::from_secs(5));
    let payload = |text: &'static str| ControlPayload::new(text).unwrap();
    for _ in 0..MAX_CONTROL_FRAMES {
        writer.queue_pong(&mut codec, payload("early"));
    }
    for late in ["a", "b", "c"] {
        writer.queue_pong(&mut codec, payload(late));
    }
    let mut io = Kept::default();
    while writer.unsent() > 0 {
        let _ = writer.poll_flush(&mut io, &mut codec, &mut cx);
    }
    let (mut server, mut sent) = (Codec::new(Role::Server, Limits::default()), Vec::new());
    while let Some(Incoming::Pong(payload)) = server.decode(&mut io.0).unwrap() {
        sent.push(String::from_utf8(payload.into_bytes().to_vec()).unwrap());
    }
    assert_eq!(sent.len(), MAX_CONTROL_FRAMES + 1);
    assert_eq!(sent[MAX_CONTROL_FRAMES - 1..], ["early", "c"]);
}

/// A transport that keeps what is written.
#[derive(Default)]
struct Kept(BytesMut);

impl AsyncWrite for Kept {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_receipt_waits_for_the_flush_and_not_for_an_empty_buffer() {
    let mut codec = Codec::new(Role::Client, Limits::default());
    let mut writer = Writer::new(1024, Duration::from_secs(5));
    let payload = Payload::from(vec![7; 10]);
    let queue = |writer: &mut Writer, codec: &mut Codec| {
        let (end, receipt) = ReceiptEnd::new();
        writer.queue_data(codec, &payload, None).unwrap();
        writer.track(end, 4);
        receipt
    };
    let flush = |writer: &mut Writer, codec: &mut Codec, io: &mut Bounded| {
        let _ = writer.poll_flush(io, codec, &mut Context::from_waker(Waker::noop()));
    };
    let [mut first, mut second, third] = [(); 3].map(|()| queue(&mut writer, &mut codec));
    // The first message and a part of the second, which the transport holds back.
    let mut io = Bounded { room: 20, flushes: false };
    flush(&mut writer, &mut codec, &mut io);
    assert_eq!((&mut first).now_or_never(), None);
    io.flushes = true;
    flush(&mut writer, &mut codec, &mut io);
    assert_eq!(first.now_or_never(), Some(Fate::Written { epoch: 4 }));
    assert_eq!(((&mut second).now_or_never(), writer.unsent()), (None, 28));
    // All of it, held back again.
    (io.room, io.flushes) = (28, false);
    flush(&mut writer, &mut codec, &mut io);
    assert_eq!(((&mut second).now_or_never(), writer.unsent()), (None, 0));
    io.flushes = true;
    flush(&mut writer, &mut codec, &mut io);
    assert_eq!(second.now_or_never(), Some(Fate::Written { epoch: 4 }));
    assert_eq!(third.now_or_never(), Some(Fate::Written { epoch: 4 }));
    // What has not left when the socket ends may have arrived or not.
    let lost = queue(&mut writer, &mut codec);
    drop(writer);
    assert_eq!(lost.now_or_never(), Some(Fate::Unknown));
    let (end, refused) = ReceiptEnd::new();
    drop(end);
    assert_eq!(refused.now_or_never(), Some(Fate::Returned));
}
