//! What is counted: each function makes ready, and gives back what is run under valgrind.

use std::hint::black_box;

use actix::fut::wrap_future;
use actix::{Actor, Addr, AsyncContext, Context, Handler, System};
use actix_ws_client::proto::codec::{Codec, Limits};
use actix_ws_client::proto::frame::Role;
use actix_ws_client::proto::message::{Incoming, Outgoing};
use actix_ws_client::{Connection, ConnectionBuilder, Handle, Overflow, Payload, command, event};
use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;

use crate::feed::Feed;

/// What is measured: all of it, from the call to the return.
pub(crate) type Work = Box<dyn FnOnce()>;

/// How many messages are sent in a row.
const ROW: usize = 64;

/// Bytes that are neither text nor all alike.
pub(crate) fn binary(len: usize) -> Payload {
    Payload::Binary((0..len).map(|at| (at % 251) as u8).collect())
}

/// ASCII, as most feeds have.
pub(crate) fn text(len: usize) -> Payload {
    let text: String = (b'!'..=b'~').cycle().take(len).map(char::from).collect();
    Payload::Text(text.into())
}

/// So many frames, as a server sends them.
pub(crate) fn wire(payload: &Payload, messages: usize) -> BytesMut {
    let mut server = Codec::new(Role::Server, Limits::default());
    let mut wire = BytesMut::new();
    for _ in 0..messages {
        let message = Outgoing::Message(payload.clone());
        server.encode(message, &mut wire).expect("no Close was sent");
    }
    wire
}

/// So many frames, each in a piece of its own.
fn pieces(payload: &Payload, messages: usize) -> Vec<Bytes> {
    let mut wire = wire(payload, messages).freeze();
    let len = wire.len() / messages;
    (0..messages).map(|_| wire.split_to(len)).collect()
}

/// A loop that does nothing.
pub(crate) fn empty_loop(messages: usize) -> Work {
    let payload = binary(128);
    Box::new(move || {
        for _ in 0..messages {
            black_box(&payload);
        }
    })
}

/// Reads what a connection would read, and does nothing with it.
pub(crate) fn empty_feed(payload: Payload, messages: usize) -> Work {
    empty(vec![wire(&payload, messages).freeze()])
}

/// Does what [`empty_feed`] does, with a read for each message.
pub(crate) fn empty_pieces(payload: Payload, messages: usize) -> Work {
    empty(pieces(&payload, messages))
}

fn empty(wire: Vec<Bytes>) -> Work {
    Box::new(move || {
        System::new().block_on(async {
            let mut left: usize = wire.iter().map(Bytes::len).sum();
            let mut feed = Feed::bare(wire);
            let mut chunk = BytesMut::with_capacity(64 << 10);
            while left > 0 {
                left -= feed.read_buf(&mut chunk).await.expect("it never fails");
                black_box(&mut chunk).clear();
            }
        });
    })
}

/// [`Codec::decode`], and the drop of each message.
pub(crate) fn decode(payload: Payload, messages: usize) -> Work {
    let mut wire = wire(&payload, messages);
    let mut codec = Codec::new(Role::Client, Limits::default());
    Box::new(move || {
        for _ in 0..messages {
            match codec.decode(&mut wire) {
                Ok(Some(Incoming::Message(message))) => drop(black_box(message)),
                other => panic!("{other:?}"),
            }
        }
        assert!(wire.is_empty(), "{} bytes are left", wire.len());
    })
}

/// [`Codec::encode`] with the system's masking keys, into a buffer that is taken over and over.
pub(crate) fn encode(payload: Payload, messages: usize) -> Work {
    let mut wire = BytesMut::with_capacity(64 << 10);
    let mut codec = Codec::new(Role::Client, Limits::default());
    Box::new(move || {
        for _ in 0..messages {
            wire.clear();
            let message = Outgoing::Message(payload.clone());
            codec.encode(message, &mut wire).expect("no Close was sent");
            black_box(&mut wire);
        }
    })
}

/// A batch for each read; the handler looks at each message where it lies.
pub(crate) fn batch(payload: Payload, messages: usize) -> Work {
    receive(payload, messages, |builder, mut seen| {
        builder.on_batch_to(event::call(move |batch: event::Batch| {
            for view in batch.iter() {
                seen.see(view.as_bytes());
            }
        }))
    })
}

/// A batch for each read; the handler takes each message as its own.
pub(crate) fn batch_owned(payload: Payload, messages: usize) -> Work {
    receive(payload, messages, |builder, mut seen| {
        builder.on_batch_to(event::call(move |batch: event::Batch| {
            for index in 0..batch.len() {
                let payload = batch.payload(index).expect("it is there");
                seen.see(black_box(payload).as_bytes());
            }
        }))
    })
}

/// An envelope for each message.
pub(crate) fn message(payload: Payload, messages: usize) -> Work {
    receive(payload, messages, |builder, mut seen| {
        builder.on_message_to(event::call(move |message: event::Message| {
            seen.see(message.payload.as_bytes());
        }))
    })
}

/// A read for each message, and a handler that takes none: the oldest of a full queue are dropped.
pub(crate) fn drop_oldest(payload: Payload, messages: usize) -> Work {
    let wire = pieces(&payload, messages);
    Box::new(move || {
        System::new().block_on(async {
            let builder = Connection::builder("ws://localhost/").overflow(Overflow::DropOldest);
            let builder = builder.transport(Feed::in_pieces(wire)).ping_interval(None);
            let builder = builder.on_message_to(Stuck.start().recipient());
            let watch = builder.watch();
            let connection = builder.start().expect("nothing is wrong with it");
            while watch.figures().messages_in < messages as u64 {
                tokio::task::yield_now().await;
            }
            assert!(watch.figures().dropped > 0, "{watch:?}");
            drop(connection);
        });
    })
}

/// A handler whose mailbox is full after one message.
struct Stuck;

impl Actor for Stuck {
    type Context = Context<Stuck>;

    fn started(&mut self, ctx: &mut Context<Stuck>) {
        ctx.set_mailbox_capacity(1);
        ctx.wait(wrap_future(std::future::pending()));
    }
}

impl Handler<event::Message> for Stuck {
    type Result = ();

    fn handle(&mut self, _: event::Message, _: &mut Context<Stuck>) {}
}

/// What a handler has seen so far.
pub(crate) struct Seen {
    left: usize,
    bytes: usize,
    /// Told the bytes when all has been seen.
    tell: Option<oneshot::Sender<usize>>,
}

impl Seen {
    /// Waits for so many messages.
    pub(crate) fn new(messages: usize, tell: oneshot::Sender<usize>) -> Seen {
        Seen { left: messages, bytes: 0, tell: Some(tell) }
    }

    #[inline]
    pub(crate) fn see(&mut self, bytes: &[u8]) {
        self.bytes += black_box(bytes).len();
        self.left -= 1;
        if self.left == 0
            && let Some(tell) = self.tell.take()
        {
            let _ = tell.send(self.bytes);
        }
    }
}

/// One connection with one handler, until that has seen all.
fn receive(
    payload: Payload,
    messages: usize,
    register: fn(ConnectionBuilder, Seen) -> ConnectionBuilder,
) -> Work {
    let wire = wire(&payload, messages).freeze();
    Box::new(move || {
        System::new().block_on(async {
            let (tell, told) = oneshot::channel();
            let seen = Seen::new(messages, tell);
            let connection = connect(Feed::new(wire), |builder| register(builder, seen));
            let bytes = told.await.expect("the handler lives");
            assert_eq!(bytes, messages * payload.len());
            drop(connection);
        });
    })
}

/// A [`command::Send`] for each message; the sender waits for the answer to each 64th.
pub(crate) fn send(payload: Payload, messages: usize) -> Work {
    transmit(payload, messages, async |(connection, _), payload, count| {
        for _ in 1..count {
            connection.do_send(command::Send::from(payload.clone()));
        }
        let last = connection.send(command::Send::from(payload.clone())).await;
        last.expect("the connection lives").expect("there is room");
    })
}

/// As [`send`], through the handle that handlers get.
pub(crate) fn send_by_handle(payload: Payload, messages: usize) -> Work {
    transmit(payload, messages, async |(_, handle), payload, count| {
        for _ in 1..count {
            assert!(handle.do_send(command::Send::from(payload.clone())), "the connection lives");
        }
        let last = handle.send(command::Send::from(payload.clone())).await;
        last.expect("there is room");
    })
}

/// A [`command::SendBatch`] of 64 for each 64 messages; the sender waits for the answer.
pub(crate) fn send_batch(payload: Payload, messages: usize) -> Work {
    transmit(payload, messages, async |(connection, _), payload, count| {
        let messages = std::iter::repeat_n(payload, count).cloned().map(command::Send::from);
        let taken = connection.send(command::SendBatch::new(messages)).await;
        taken.expect("the connection lives").expect("there is room");
    })
}

/// One connection, until all was written.
fn transmit<F>(payload: Payload, messages: usize, row: F) -> Work
where
    F: AsyncFn(&(Addr<Connection>, Handle), &Payload, usize) + 'static,
{
    Box::new(move || {
        System::new().block_on(async {
            let bytes = messages * Codec::encoded_len(Role::Client, payload.len());
            let (feed, written) = Feed::sink(bytes);
            let (tell, open) = oneshot::channel();
            let mut tell = Some(tell);
            let opened = event::call(move |open: event::Open| {
                let _ = tell.take().map(|tell| tell.send(open.connection));
            });
            let connection = connect(feed, |builder| builder.on_open_to(opened));
            let ways = (connection, open.await.expect("the handler lives"));
            let mut left = messages;
            while left > 0 {
                let count = left.min(ROW);
                row(&ways, &payload, count).await;
                left -= count;
            }
            written.await.expect("the transport lives");
        });
    })
}

/// A connection that does nothing by the clock.
pub(crate) fn connect(
    feed: Feed,
    register: impl FnOnce(ConnectionBuilder) -> ConnectionBuilder,
) -> Addr<Connection> {
    let builder = Connection::builder("ws://localhost/").transport(feed).ping_interval(None);
    register(builder).start().expect("nothing is wrong with it")
}
