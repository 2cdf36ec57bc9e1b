//! How far a connection reads ahead of its handlers, and what is delivered of what waits.

use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, AsyncContext, Context, Handler};
use actix_ws_client::testing::{Probe, Script, Server};
use actix_ws_client::{Connection, Payload, Phase, Reconnect, command, event};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::{mpsc, oneshot};

#[actix::test]
async fn reading_goes_on_at_once_when_the_handlers_took_what_had_stopped_it() {
    let longer_than_read_ahead = || vec![7; 300 << 10];
    let more = |script: Script, _| script.send_binary(longer_than_read_ahead());
    let server = Server::start((0..8).fold(Script::accept(), more).echo());
    let probe = Probe::new();
    // No ping comes to wake it.
    let builder = Connection::builder(server.url()).read_ahead(64 << 10).ping_interval(None);
    let connection = probe.attach(builder).start().unwrap();
    for _ in 0..8 {
        assert_eq!(probe.next_message().await.payload.len(), 300 << 10);
    }
    connection.send(command::Close::normal()).await.unwrap();
    probe.check().unwrap();
}

/// A handler that blocks until it is released.
struct Stuck(Option<oneshot::Receiver<()>>);

impl Actor for Stuck {
    type Context = Context<Stuck>;

    fn started(&mut self, ctx: &mut Context<Stuck>) {
        ctx.set_mailbox_capacity(1);
        let go = self.0.take().unwrap();
        ctx.wait(wrap_future(async move { go.await.unwrap() }));
    }
}

impl Handler<event::Message> for Stuck {
    type Result = ();

    fn handle(&mut self, _: event::Message, _: &mut Context<Stuck>) {}
}

#[actix::test]
async fn who_subscribes_late_is_not_told_of_what_was_queued_before() {
    let first = (0..100).fold(Script::accept(), |script, _| script.send_text("early"));
    let server = Server::start([first.send_close(1012, "restart"), Script::accept().echo()]);
    let (go, wait) = oneshot::channel();
    let stuck = Stuck(Some(wait)).start();
    let early = Probe::new();
    let builder = Connection::builder(server.url())
        .reconnect(Reconnect::fixed(Duration::from_millis(20)))
        .on_state_to(early.recipient())
        .on_message_to(stuck.recipient());
    let watch = builder.watch();
    let connection = builder.start().unwrap();
    // All of the first socket waits behind the stuck handler.
    while watch.figures().messages_in < 100 {
        tokio::task::yield_now().await;
    }
    let late = Probe::new();
    connection.do_send(command::Subscribe::<event::Open>(late.recipient()));
    connection.do_send(command::Subscribe::<event::Message>(late.recipient()));
    connection.do_send(command::Subscribe::<event::Close>(late.recipient()));
    connection.send(command::Subscribe::<event::Stopped>(late.recipient())).await.unwrap().unwrap();
    go.send(()).unwrap();
    late.next_where(|open: &event::Open| open.epoch == 2).await;
    connection.send(command::Close::normal()).await.unwrap();
    late.stopped().await;
    late.check().unwrap();
    assert!(late.all::<event::Message>().is_empty(), "{:?}", late.story());
}

impl Handler<event::Continuation> for Stuck {
    type Result = ();

    fn handle(&mut self, _: event::Continuation, _: &mut Context<Stuck>) {}
}

/// A read of some kilobytes can hold many megabytes.
#[cfg(feature = "deflate")]
#[actix::test]
async fn what_fragments_inflate_to_counts_as_it_is_found() {
    use actix_ws_client::Compression;
    use actix_ws_client::proto::codec::{Codec, Limits};
    use actix_ws_client::proto::frame::Role;
    use actix_ws_client::proto::message::Outgoing;

    const MESSAGES: usize = 20;
    const LEN: usize = 1 << 20;
    let agreed = Compression::new().agree([&b"permessage-deflate"[..]]).unwrap();
    let mut codec = Codec::new(Role::Server, Limits::default()).with_deflate(agreed);
    let mut wire = bytes::BytesMut::new();
    for _ in 0..MESSAGES {
        codec.encode(Outgoing::Fragments(vec![0; LEN].into(), 600), &mut wire).unwrap();
    }
    assert!(wire.len() < 60_000, "{} bytes are no single read", wire.len());
    let script = Script::accept().header("Sec-WebSocket-Extensions", "permessage-deflate");
    let server = Server::start(script.expect_message().send_raw(wire.to_vec()).stall_forever());
    let (go, wait) = oneshot::channel();
    let stuck = Stuck(Some(wait)).start();
    let open = event::call(|open: event::Open| {
        assert!(open.connection.do_send(command::Send::text("go")));
    });
    let builder = Connection::builder(server.url()).read_ahead(64 << 10);
    let builder = builder.on_open_to(open).on_continuation_to(stuck.recipient());
    let watch = builder.watch();
    let connection = builder.start().unwrap();
    let read = tokio::time::timeout(Duration::from_secs(20), async {
        while watch.figures().queued_bytes == 0 {
            tokio::task::yield_now().await;
        }
    });
    read.await.unwrap_or_else(|_| panic!("{:?}", watch.figures()));
    let queued = watch.figures().queued_bytes as usize;
    assert!(queued < 3 * LEN, "{queued}");
    go.send(()).unwrap();
    let all = tokio::time::timeout(Duration::from_secs(20), async {
        while watch.figures().messages_in < MESSAGES as u64 {
            tokio::task::yield_now().await;
        }
    });
    all.await.unwrap_or_else(|_| panic!("{:?}", watch.figures()));
    connection.send(command::Close::normal().deadline(Duration::ZERO)).await.unwrap();
}

/// A handler that blocks until it is released, and then reports how long each message is.
struct Late(Option<oneshot::Receiver<()>>, mpsc::UnboundedSender<usize>);

impl Actor for Late {
    type Context = Context<Late>;

    fn started(&mut self, ctx: &mut Context<Late>) {
        ctx.set_mailbox_capacity(1);
        let go = self.0.take().unwrap();
        ctx.wait(wrap_future(async move { go.await.unwrap() }));
    }
}

impl Handler<event::Message> for Late {
    type Result = ();

    fn handle(&mut self, message: event::Message, _: &mut Context<Late>) {
        self.1.send(message.payload.len()).unwrap();
    }
}

#[actix::test]
async fn what_was_read_arrives_though_the_socket_is_lost_before_the_handlers_have_caught_up() {
    const MESSAGES: usize = 40;
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let server = actix::spawn(async move {
        let mut peer = tokio_tungstenite::accept_async(theirs).await.unwrap();
        peer.next().await.unwrap().unwrap();
        for len in 0..MESSAGES {
            peer.feed(vec![7; len * 10].into()).await.unwrap();
        }
        peer.flush().await.unwrap();
        peer
    });
    let (go, wait) = oneshot::channel();
    let (tell, mut told) = mpsc::unbounded_channel();
    let probe = Probe::new();
    let builder = Connection::builder("ws://in.memory/")
        .transport(ours)
        .no_reconnect()
        .read_ahead(100)
        .on_open_to(event::call(|open: event::Open| {
            assert!(open.connection.do_send(command::Send::text("go")));
        }))
        .on_message_to(Late(Some(wait), tell).start().recipient())
        .on_close_to(probe.recipient());
    let watch = builder.watch();
    let connection = builder.start().unwrap();
    let peer = server.await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(20), async {
        while watch.figures().bytes_in < 7_900 {
            tokio::task::yield_now().await;
        }
    });
    read.await.unwrap_or_else(|_| panic!("{:?}", watch.figures()));
    assert!(watch.figures().messages_in < 30, "the rest waits: {:?}", watch.figures());
    drop(peer);
    connection.do_send(command::Send::text("into the void"));
    while watch.phase() != Phase::Closed {
        tokio::task::yield_now().await;
    }
    go.send(()).unwrap();
    for len in 0..MESSAGES {
        let next = tokio::time::timeout(Duration::from_secs(10), told.recv()).await;
        assert_eq!(next, Ok(Some(len * 10)));
    }
    assert_eq!(probe.next::<event::Close>().await.epoch, 1);
}

#[actix::test]
async fn a_large_message_has_its_memory_to_itself_though_more_was_read_with_its_end() {
    const LEN: usize = 200_000;
    let mut wire = vec![0x82, 127, 0, 0, 0, 0, 0, 3, 0x0d, 0x40];
    wire.extend(vec![7; LEN]);
    // The beginning of another message.
    wire.extend([0x82, 126, 1, 0, 7, 7]);
    // Not directly behind the 101, because a part of it could be read together with that.
    let script = Script::accept().expect_message().send_raw(wire).stall_forever();
    let server = Server::start(script);
    let (tell, mut told) = mpsc::unbounded_channel();
    let message = event::call(move |message: event::Message| tell.send(message).unwrap());
    let open = event::call(|open: event::Open| {
        assert!(open.connection.do_send(command::Send::text("go")));
    });
    let builder = Connection::builder(server.url()).on_open_to(open).on_message_to(message);
    let watch = builder.watch();
    let _connection = builder.start().unwrap();
    let received = tokio::time::timeout(Duration::from_secs(20), async {
        while watch.figures().bytes_in < (LEN + 16) as u64 {
            tokio::task::yield_now().await;
        }
    });
    received.await.unwrap_or_else(|_| panic!("{:?}", watch.figures()));
    let next = tokio::time::timeout(Duration::from_secs(10), told.recv()).await;
    let message = next.expect("it is told").expect("the handler lives");
    let Payload::Binary(bytes) = message.payload else { panic!("it is binary") };
    assert_eq!(bytes.len(), LEN);
    assert!(bytes.is_unique(), "somebody else keeps it");
}
