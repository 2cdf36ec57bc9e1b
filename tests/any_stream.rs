//! Property test of delivery: for any stream of a server, in any pieces and with handlers of any
//! speed, each handler receives its events complete, in order and once.

// Some messages are compressed.
#![cfg(feature = "deflate")]

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, AsyncContext, Context, Handler, Recipient};
use actix_ws_client::proto::codec::{Codec, Limits};
use actix_ws_client::proto::frame::{FrameHeader, Opcode, Role};
use actix_ws_client::proto::message::{Outgoing, Payload};
use actix_ws_client::{Compression, Connection, Overflow, event};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The time limit of a case, in seconds.
const PATIENCE: u64 = 20;

/// One thing that the server sends before the end.
#[derive(Clone, Debug)]
enum Part {
    Whole {
        is_text: bool,
        len: usize,
    },
    /// With a Ping between each two fragments, if set.
    Fragments {
        is_text: bool,
        lens: Vec<usize>,
        pings: bool,
    },
    /// Sent uncompressed if compression was not agreed.
    Compressed {
        is_text: bool,
        len: usize,
        fragment: usize,
    },
    Ping(usize),
    Pong(usize),
}

/// The end of the stream.
#[derive(Clone, Copy, Debug)]
enum End {
    Close,
    /// Nothing after it may be delivered.
    CloseAndMore,
    Eof,
    EofInsideFrame,
    Breach,
}

#[derive(Clone, Debug)]
struct Case {
    parts: Vec<Part>,
    end: End,
    deflate: bool,
    /// Whether the first frames arrive together with the 101.
    glued: bool,
    /// The most bytes of each read, in a cycle; 0 is a wait.
    reads: Vec<usize>,
    pipe: usize,
    read_ahead: usize,
    overflow: Overflow,
    handlers: Vec<Kind>,
    by_fragment: bool,
    /// The mailbox capacity of each handler, and the number of events after which it pauses.
    pace: Vec<(usize, usize)>,
    /// Whether handlers keep the payloads as received, which pins the read buffers.
    keeps: bool,
}

/// The data events that a handler registers for. All register for the others.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Messages,
    Batches,
    Data,
}

/// An event as a handler received it.
#[derive(Clone, PartialEq)]
enum Told {
    Whole(bool, Bytes),
    /// A message received in fragments.
    Joined(bool, Bytes),
    Ping(Bytes),
    Pong(Bytes),
    Close(u16),
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, bytes) = match self {
            Told::Whole(_, bytes) => ("whole", bytes),
            Told::Joined(_, bytes) => ("joined", bytes),
            Told::Ping(bytes) => ("ping", bytes),
            Told::Pong(bytes) => ("pong", bytes),
            Told::Close(code) => return write!(f, "close {code}"),
        };
        let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
        write!(f, "{name} {} ({sum})", bytes.len())
    }
}

impl Told {
    fn is_data(&self) -> bool {
        matches!(self, Told::Whole(..) | Told::Joined(..))
    }
}

/// Returns bytes that differ between messages and are valid UTF-8.
fn content(number: usize, len: usize) -> Vec<u8> {
    let mut text = format!("{number} caf\u{e9} \u{1d11e} ").repeat(len / 10 + 1);
    let mut end = len.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str(&"x".repeat(len - end));
    text.into_bytes()
}

fn frame(fin: bool, opcode: Opcode, payload: &[u8], wire: &mut BytesMut) {
    FrameHeader { fin, opcode, mask: None, len: payload.len() as u64 }.write(wire);
    wire.extend_from_slice(payload);
}

fn opcode(is_text: bool) -> Opcode {
    if is_text { Opcode::Text } else { Opcode::Binary }
}

/// The bytes of the stream, and the events expected from it.
fn stream(case: &Case) -> (BytesMut, Vec<Told>) {
    let agreed = Compression::new().threshold(0).agree([&b"permessage-deflate"[..]]).unwrap();
    let mut codec = Codec::new(Role::Server, Limits::default());
    if case.deflate {
        codec = codec.with_deflate(agreed);
    }
    let (mut wire, mut told) = (BytesMut::new(), Vec::new());
    for (number, part) in case.parts.iter().enumerate() {
        match part {
            Part::Whole { is_text, len } => {
                let bytes = content(number, *len);
                frame(true, opcode(*is_text), &bytes, &mut wire);
                told.push(Told::Whole(*is_text, bytes.into()));
            }
            Part::Fragments { is_text, lens, pings } => {
                let bytes = content(number, lens.iter().sum());
                let (mut kind, mut begin) = (opcode(*is_text), 0);
                for (index, len) in lens.iter().enumerate() {
                    let is_last = index + 1 == lens.len();
                    frame(is_last, kind, &bytes[begin..begin + len], &mut wire);
                    (kind, begin) = (Opcode::Continuation, begin + len);
                    if *pings && !is_last {
                        frame(true, Opcode::Ping, b"between", &mut wire);
                        told.push(Told::Ping(Bytes::from_static(b"between")));
                    }
                }
                let joined = case.by_fragment && lens.len() > 1;
                let make = if joined { Told::Joined } else { Told::Whole };
                told.push(make(*is_text, bytes.into()));
            }
            Part::Compressed { is_text, len, fragment } => {
                let bytes = Bytes::from(content(number, *len));
                let payload = match is_text {
                    true => Payload::from(std::str::from_utf8(&bytes).unwrap().to_owned()),
                    false => Payload::Binary(bytes.clone()),
                };
                let before = wire.len();
                codec.encode(Outgoing::Fragments(payload, *fragment), &mut wire).unwrap();
                let is_last = wire[before] & 0x80 != 0;
                let make = if case.by_fragment && !is_last { Told::Joined } else { Told::Whole };
                told.push(make(*is_text, bytes));
            }
            Part::Ping(len) => {
                frame(true, Opcode::Ping, &content(number, *len), &mut wire);
                told.push(Told::Ping(content(number, *len).into()));
            }
            Part::Pong(len) => {
                frame(true, Opcode::Pong, &content(number, *len), &mut wire);
                told.push(Told::Pong(content(number, *len).into()));
            }
        }
    }
    let close = |wire: &mut BytesMut| frame(true, Opcode::Close, &1000_u16.to_be_bytes(), wire);
    let code = match case.end {
        End::Close => {
            close(&mut wire);
            1000
        }
        End::CloseAndMore => {
            close(&mut wire);
            frame(true, Opcode::Text, b"late", &mut wire);
            1000
        }
        End::Eof => 1006,
        End::EofInsideFrame => {
            wire.extend_from_slice(b"\x82\x7e\xff\xffhalf a frame");
            1006
        }
        End::Breach => {
            wire.extend_from_slice(b"\x83\x00");
            1002
        }
    };
    told.push(Told::Close(code));
    (wire, told)
}

/// A transport whose reads return the given numbers of bytes.
struct Chopped {
    inner: DuplexStream,
    reads: Vec<usize>,
    turn: usize,
}

impl AsyncRead for Chopped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let size = self.reads[self.turn % self.reads.len()];
        if size == 0 {
            self.turn += 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut piece = vec![0; size.min(buf.remaining())];
        let mut part = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut part))?;
        self.turn += 1;
        buf.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Chopped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Answers the upgrade, sends the stream and ends it; reads what the client sends meanwhile.
async fn serve(stream: DuplexStream, wire: BytesMut, deflate: bool, glued: bool) {
    let (mut from, mut to) = tokio::io::split(stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(from.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let lower = "sec-websocket-key: ";
    let key = head
        .lines()
        .find(|line| line.to_ascii_lowercase().starts_with(lower))
        .map(|line| line[lower.len()..].trim())
        .unwrap();
    let extension = if deflate { "Sec-WebSocket-Extensions: permessage-deflate\r\n" } else { "" };
    let accept = derive_accept_key(key.as_bytes());
    let mut reply = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{extension}\r\n"
    )
    .into_bytes();
    let rest = if glued { wire.split_at(wire.len().min(100_000)) } else { wire.split_at(0) };
    reply.extend_from_slice(rest.0);
    let send = async {
        // A client that found a protocol error stops reading.
        let _ = to.write_all(&reply).await;
        let _ = to.write_all(rest.1).await;
        let _ = to.shutdown().await;
    };
    let mut sink = tokio::io::sink();
    let _ = tokio::join!(send, tokio::io::copy(&mut from, &mut sink));
}

/// A handler that records its events at its own pace.
struct Notes {
    told: Rc<RefCell<Vec<Told>>>,
    capacity: usize,
    rests: usize,
    keeps: bool,
    count: usize,
    /// The fragments so far of an incomplete message.
    joined: Vec<u8>,
    /// Whether fragments of a message have come and not its last one: those that have may be empty.
    is_joining: bool,
    index: usize,
    stopped: mpsc::UnboundedSender<()>,
}

impl Notes {
    fn note(&mut self, told: Told, ctx: &mut Context<Notes>) {
        self.told.borrow_mut().push(told);
        self.rest(ctx);
    }

    fn rest(&mut self, ctx: &mut Context<Notes>) {
        self.count += 1;
        if self.count.is_multiple_of(self.rests) {
            ctx.wait(wrap_future(async {
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
            }));
        }
    }

    fn bytes(&self, payload: Payload) -> Bytes {
        let payload = if self.keeps { payload } else { payload.detach() };
        payload.into_bytes()
    }

    fn join(&mut self, opcode: Opcode, bytes: &[u8], fin: bool, ctx: &mut Context<Notes>) {
        self.joined.extend_from_slice(bytes);
        self.is_joining = !fin;
        if fin {
            let all = std::mem::take(&mut self.joined).into();
            self.note(Told::Joined(opcode == Opcode::Text, all), ctx);
        } else {
            self.rest(ctx);
        }
    }
}

impl Actor for Notes {
    type Context = Context<Notes>;

    fn started(&mut self, ctx: &mut Context<Notes>) {
        ctx.set_mailbox_capacity(self.capacity);
    }
}

macro_rules! noted {
    ($($event:ident: |$self:ident, $it:ident, $ctx:ident| $body:expr;)*) => {$(
        impl Handler<event::$event> for Notes {
            type Result = ();

            fn handle(&mut $self, $it: event::$event, $ctx: &mut Context<Notes>) {
                $body
            }
        }
    )*};
}

noted! {
    Message: |self, it, ctx| {
        let is_text = it.payload.as_text().is_some();
        self.note(Told::Whole(is_text, self.bytes(it.payload)), ctx);
    };
    Batch: |self, it, ctx| {
        assert!(!it.is_empty(), "a batch has a message");
        assert_eq!(it.iter().len(), it.len());
        for (index, view) in it.iter().enumerate() {
            let payload = it.payload(index).unwrap();
            assert_eq!((view.as_bytes(), it.bytes(index)), (payload.as_bytes(), Some(view.as_bytes())));
            let told = Told::Whole(view.as_text().is_some(), self.bytes(payload));
            self.told.borrow_mut().push(told);
        }
        self.rest(ctx);
    };
    Data: |self, it, ctx| {
        // The fragments of a text are delivered as binary: a character may be split.
        if it.fin && !self.is_joining && it.payload.as_text().is_some() == (it.opcode == Opcode::Text) {
            self.note(Told::Whole(it.opcode == Opcode::Text, self.bytes(it.payload)), ctx);
        } else {
            self.join(it.opcode, it.payload.as_bytes(), it.fin, ctx);
        }
    };
    Continuation: |self, it, ctx| {
        assert_eq!(it.fragment.index, self.index);
        self.index = if it.fragment.fin { 0 } else { self.index + 1 };
        self.join(it.fragment.opcode, &it.fragment.bytes, it.fragment.fin, ctx);
    };
    Ping: |self, it, ctx| self.note(Told::Ping(it.payload.into_bytes()), ctx);
    Pong: |self, it, ctx| self.note(Told::Pong(it.payload.into_bytes()), ctx);
    Close: |self, it, ctx| self.note(Told::Close(it.code.value()), ctx);
    Stopped: |self, _it, _ctx| self.stopped.send(()).unwrap();
}

/// Runs a case, and compares what was delivered with what was sent.
async fn play(case: Case) -> Result<(), TestCaseError> {
    let (wire, expected) = stream(&case);
    let (ours, theirs) = duplex(case.pipe);
    let mut reads = case.reads.clone();
    // A long stream is not read byte by byte to its end.
    reads.extend(vec![64 << 10; (wire.len() >> 14).min(20)]);
    reads.push(1000);
    let server = actix::spawn(serve(theirs, wire, case.deflate, case.glued));
    let mut builder = Connection::builder("ws://h/")
        .transport(Chopped { inner: ours, reads, turn: 0 })
        .ping_interval(None)
        .read_ahead(case.read_ahead)
        .overflow(case.overflow);
    let (stopped, mut all_stopped) = mpsc::unbounded_channel();
    let mut notes = Vec::new();
    for (kind, (capacity, rests)) in case.handlers.iter().zip(&case.pace) {
        let told = Rc::new(RefCell::new(Vec::new()));
        let actor = Notes {
            told: told.clone(),
            capacity: *capacity,
            rests: *rests,
            keeps: case.keeps,
            count: 0,
            joined: Vec::new(),
            is_joining: false,
            index: 0,
            stopped: stopped.clone(),
        };
        let addr = actor.start();
        builder = match kind {
            Kind::Messages if case.by_fragment => builder
                .on_message_to(addr.clone().recipient())
                .on_continuation_to(addr.clone().recipient()),
            Kind::Messages => builder.on_message_to(addr.clone().recipient()),
            Kind::Batches => builder.on_batch_to(addr.clone().recipient()),
            Kind::Data => builder.on_data_to(addr.clone().recipient()),
        };
        builder = builder
            .on_ping_to(addr.clone().recipient())
            .on_pong_to(addr.clone().recipient())
            .on_close_to(addr.clone().recipient())
            .on_stopped_to(addr.recipient());
        notes.push((*kind, told));
    }
    if case.by_fragment && !case.handlers.contains(&Kind::Messages) {
        let nobody: Recipient<event::Continuation> = event::call(|_| ());
        builder = builder.on_continuation_to(nobody);
    }
    let watch = builder.watch();
    let connection = builder.start().unwrap();
    for _ in &notes {
        let stopped = tokio::time::timeout(Duration::from_secs(PATIENCE), all_stopped.recv()).await;
        prop_assert!(stopped.is_ok(), "stalled: {:?}", watch.figures());
    }
    tokio::time::timeout(Duration::from_secs(PATIENCE), server).await.unwrap().unwrap();
    let mut turns = 0;
    while watch.figures().queued_bytes + watch.figures().queued_events > 0 {
        turns += 1;
        prop_assert!(turns < 10_000, "{:?}", watch.figures());
        tokio::task::yield_now().await;
    }
    drop(connection);
    let mut data = Vec::new();
    for (kind, told) in notes {
        let told = told.borrow().clone();
        check(&case, kind, &expected, &told, watch.figures().dropped)?;
        if kind != Kind::Batches || !case.by_fragment {
            data.push(told.into_iter().filter(Told::is_data).collect::<Vec<_>>());
        }
    }
    data.dedup();
    prop_assert!(data.len() <= 1, "handlers were told different messages");
    Ok(())
}

fn check(
    case: &Case,
    kind: Kind,
    expected: &[Told],
    told: &[Told],
    dropped: u64,
) -> Result<(), TestCaseError> {
    let is_meant = |it: &&Told| kind != Kind::Batches || !matches!(it, Told::Joined(..));
    let mut expected: Vec<&Told> = expected.iter().filter(is_meant).collect();
    let mut told: Vec<&Told> = told.iter().collect();
    match case.overflow {
        Overflow::Wait => prop_assert_eq!(dropped, 0),
        // After a protocol error the code is the client's.
        Overflow::Disconnect => {
            let (last, expected) = (told.pop(), expected.pop());
            prop_assert!(matches!((last, expected), (Some(Told::Close(_)), Some(Told::Close(_)))));
        }
        _ => {
            let wholes = |all: &[&Told]| {
                all.iter().filter(|it| matches!(it, Told::Whole(..))).count() as u64
            };
            prop_assert_eq!(wholes(&told) + dropped, wholes(&expected));
            // Dropped messages are missing; all others are there, in order.
            let mut rest = told.iter().peekable();
            expected.retain(|it| {
                let is_there = rest.peek() == Some(&it);
                if is_there {
                    rest.next();
                }
                is_there || !matches!(it, Told::Whole(..))
            });
        }
    }
    if told != expected {
        let at = told.iter().zip(&expected).take_while(|(told, sent)| told == sent).count();
        let (told_len, sent_len) = (told.len(), expected.len());
        let (got, sent) = (told.get(at), expected.get(at));
        let words = format!("{kind:?}: {got:?} for {sent:?} at {at} of {told_len}, {sent_len}");
        return Err(TestCaseError::fail(words));
    }
    Ok(())
}

/// Lengths around every threshold that depends on length.
fn len() -> impl Strategy<Value = usize> {
    let border = prop::sample::select(&[126, 16 << 10, 32 << 10, 64 << 10, 128 << 10][..]);
    prop_oneof![
        10 => 0..300_usize,
        4 => (border, 0..40_usize).prop_map(|(border, more)| border - 20 + more),
        1 => Just((1 << 20) + 1),
        1 => 100_000..400_000_usize,
    ]
}

fn part() -> impl Strategy<Value = Part> {
    let lens = prop::collection::vec(len(), 1..5);
    prop_oneof![
        12 => (any::<bool>(), len()).prop_map(|(is_text, len)| Part::Whole { is_text, len }),
        3 => (any::<bool>(), lens, any::<bool>())
            .prop_map(|(is_text, lens, pings)| Part::Fragments { is_text, lens, pings }),
        3 => (any::<bool>(), len(), prop_oneof![Just(usize::MAX), 300..9000_usize])
            .prop_map(|(is_text, len, fragment)| Part::Compressed { is_text, len, fragment }),
        2 => (0..=125_usize).prop_map(Part::Ping),
        1 => (0..=125_usize).prop_map(Part::Pong),
    ]
}

prop_compose! {
    fn case()(
        parts in prop::collection::vec(part(), 0..40),
        end in prop::sample::select(
            &[End::Close, End::CloseAndMore, End::Eof, End::EofInsideFrame, End::Breach][..]
        ),
        (deflate, glued, by_fragment, keeps) in any::<(bool, bool, bool, bool)>(),
        reads in prop::collection::vec(
            prop::sample::select(&[0, 1, 2, 3, 14, 100, 5000, 16 << 10, 1 << 20][..]), 1..8),
        pipe in prop::sample::select(&[1000, 1 << 14, 1 << 20][..]),
        read_ahead in prop::sample::select(&[1, 1000, 20_000, 100_000, 256 << 10][..]),
        overflow in prop::sample::select(&[
            Overflow::Wait, Overflow::Wait, Overflow::DropOldest, Overflow::DropNewest,
            Overflow::Disconnect,
        ][..]),
        handlers in prop::collection::vec(
            prop::sample::select(&[Kind::Messages, Kind::Batches, Kind::Data][..]), 1..4),
        pace in prop::collection::vec((1..40_usize, 1..10_usize), 3),
    ) -> Case {
        Case {
            parts, end, deflate, glued, reads, pipe, read_ahead, overflow, handlers, by_fragment,
            pace, keeps,
        }
    }
}

#[test]
fn any_stream_reaches_any_handlers_whole_and_in_order() {
    // A stalled case takes long: limit the shrinking.
    let config = ProptestConfig { max_shrink_iters: 20, cases: 64, ..ProptestConfig::default() };
    let mut runner = TestRunner::new(config);
    let system = actix::System::new();
    let result = runner.run(&case(), |case| system.block_on(play(case)));
    if let Err(err) = result {
        panic!("{err}");
    }
}
