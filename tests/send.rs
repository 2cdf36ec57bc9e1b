//! Sending is bounded, and a refused message is returned.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use actix::Addr;
use actix_ws_client::command::{Fate, SendError};
use actix_ws_client::error::Stage;
use actix_ws_client::proto::message::{ControlPayload, Incoming};
use actix_ws_client::testing::{Gate, Probe, Script, Server};
use actix_ws_client::{
    Connection, ConnectionBuilder, Error, OutcomeKind, Payload, Reconnect, command, event,
};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

const SECOND: Duration = Duration::from_secs(1);

/// A connection that reconnects soon.
fn to(server: &Server) -> ConnectionBuilder {
    Connection::builder(server.url()).reconnect(Reconnect::fixed(Duration::from_millis(20)))
}

#[actix::test]
async fn messages_arrive_as_they_were_sent() {
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    probe.next::<event::Open>().await;
    let sizes = [0, 1, 125, 126, 65_535, 65_536, 500_000];
    for size in sizes {
        let accepted = connection.send(command::Send::binary(vec![7; size])).await.unwrap();
        assert_eq!(accepted.unwrap().epoch, 1);
        assert_eq!(server.next_message().await, Payload::from(vec![7; size]));
    }
    connection.send(command::Send::text("grüße")).await.unwrap().unwrap();
    assert_eq!(server.next_message().await, Payload::from("grüße"));
    let figures = connection.send(command::Status).await.unwrap().figures;
    assert_eq!((figures.messages_out, figures.sends_refused), (sizes.len() as u64 + 1, 0));
}

#[actix::test]
async fn a_full_buffer_gives_the_message_back_and_loses_none_that_it_took() {
    let gate = Gate::new();
    let server = Server::start(Script::accept().stall_until(&gate));
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    probe.next::<event::Open>().await;
    let mut taken = 0_u32;
    let refused = loop {
        let message = Bytes::from(vec![taken as u8; 100 << 10]);
        match connection.send(command::Send::binary(message.clone())).await.unwrap() {
            Ok(_) => taken += 1,
            Err(refused) => {
                assert_eq!(refused.clone().into_payload(), Payload::Binary(message));
                break refused;
            }
        }
        assert!(taken < 1000, "100 MiB are no bound");
    };
    assert!(matches!(refused, SendError::Full(_)), "{refused}");
    let figures = connection.send(command::Status).await.unwrap().figures;
    assert!(figures.unsent_bytes <= 1 << 20, "{figures:?}");
    assert_eq!(figures.sends_refused, 1);
    gate.open();
    for number in 0..taken {
        assert_eq!(server.next_message().await.as_bytes(), vec![number as u8; 100 << 10]);
    }
    connection.send(command::Send::text("room again")).await.unwrap().unwrap();
    assert_eq!(server.next_message().await.as_text(), Some("room again"));
}

#[actix::test]
async fn a_message_longer_than_the_whole_buffer_is_too_large() {
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let connection = probe.attach(to(&server).send_buffer(1000)).start().unwrap();
    probe.next::<event::Open>().await;
    let long = Payload::from(vec![1; 1000]);
    let refused = connection.send(command::Send::from(long.clone())).await.unwrap();
    assert_eq!(refused, Err(SendError::TooLarge(long)));
    // The eight bytes of header and masking key count against the bound.
    connection.send(command::Send::binary(vec![1; 992])).await.unwrap().unwrap();
    assert_eq!(server.next_message().await.len(), 992);
}

#[actix::test]
async fn nothing_is_taken_where_no_socket_is_open() {
    let server = Server::start([Script::refuse(503), Script::accept().never_answer_close()]);
    let probe = Probe::new();
    let builder = Connection::builder(server.url()).reconnect(Reconnect::fixed(3600 * SECOND));
    let watch = builder.watch();
    let connection = probe.attach(builder).start().unwrap();
    let text = || command::Send::text("hello");
    let send = || async { connection.send(text()).await.unwrap().unwrap_err() };
    probe.next::<event::Error>().await;
    assert_eq!(send().await, SendError::NotOpen("hello".into()));
    connection.do_send(command::Reconnect);
    let handle = probe.next::<event::Open>().await.connection;
    let closing = connection.send(command::Close::normal().deadline(SECOND / 5));
    assert_eq!(send().await, SendError::NotOpen("hello".into()));
    closing.await.unwrap();
    assert_eq!(send().await, SendError::Closed("hello".into()));
    // No caller waits for the answer of this one.
    assert!(handle.do_send(text()));
    assert_eq!(send().await, SendError::Closed("hello".into()));
    assert_eq!(watch.figures().sends_refused, 5);
    assert!(server.messages().is_empty());
}

#[actix::test]
async fn a_peer_that_takes_nothing_is_left_at_the_write_deadline() {
    let server = Server::start([Script::accept().stall_forever(), Script::accept()]);
    let probe = Probe::new();
    let builder = to(&server).send_buffer(16 << 20).write_timeout(SECOND / 5);
    let connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Open>().await;
    connection.send(command::Send::binary(vec![0; 15 << 20])).await.unwrap().unwrap();
    let error = probe.next::<event::Error>().await.error;
    assert!(matches!(error, Error::Timeout(Stage::Write)), "{error:?}");
    assert_eq!(probe.next::<event::Close>().await.code.value(), 1006);
    // What was lost with the socket is not sent again on the next.
    probe.next_where(|open: &event::Open| open.epoch == 2).await;
    connection.send(command::Send::text("fresh")).await.unwrap().unwrap();
    assert_eq!(server.next_message().await.as_text(), Some("fresh"));
}

#[actix::test]
async fn a_peer_that_takes_little_is_not_left() {
    // The server reads a message every 50 ms: there is always progress well within the deadline.
    let server = Server::start_with(|_| {
        (0..20).fold(Script::accept(), |script, _| script.stall(SECOND / 20).expect_message())
    });
    let probe = Probe::new();
    let builder = to(&server).send_buffer(64 << 20).write_timeout(SECOND / 2);
    let connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Open>().await;
    for _ in 0..20 {
        connection.send(command::Send::binary(vec![0; 1 << 20])).await.unwrap().unwrap();
    }
    for _ in 0..20 {
        assert_eq!(server.next_message().await.len(), 1 << 20);
    }
    assert!(probe.all::<event::Error>().is_empty());
}

#[actix::test]
async fn pings_go_out_though_the_buffer_is_full_but_not_without_end() {
    let gate = Gate::new();
    let server = Server::start(Script::accept().stall_until(&gate));
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    probe.next::<event::Open>().await;
    while connection.send(command::Send::binary(vec![0; 100 << 10])).await.unwrap().is_ok() {}
    let mut pings = 0;
    while connection.send(command::Ping::default()).await.unwrap().is_ok() {
        pings += 1;
        assert!(pings < 1000);
    }
    assert!((1..=64).contains(&pings), "{pings}");
    gate.open();
    for _ in 0..pings {
        probe.next::<event::Pong>().await;
    }
}

#[actix::test]
async fn eight_threads_send_through_one_handle_and_all_arrive_whole() {
    const THREADS: usize = 8;
    const EACH: usize = 200;
    // A server of another implementation, which records what it receives.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let (note, mut noted) = tokio::sync::mpsc::unbounded_channel();
    actix::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            let _ = note.send(message.into_data());
        }
    });
    // Each is long enough to be written in pieces, and every byte of it shows its sender.
    let message = |thread: usize, number: usize| {
        let word = format!("{thread}:{number};");
        word.repeat(3000 / word.len())
    };

    let probe = Probe::new();
    let builder = Connection::builder(url).no_reconnect().send_buffer(16 << 20);
    let _connection = probe.attach(builder).start().unwrap();
    let handle = probe.next::<event::Open>().await.connection;
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let handle = handle.clone();
            std::thread::spawn(move || {
                let sends = (0..EACH)
                    .map(|number| handle.send(command::Send::text(message(thread, number))));
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(join_all(sends))
            })
        })
        .collect();

    let mut arrived = Vec::new();
    while arrived.len() < THREADS * EACH {
        let next = tokio::time::timeout(10 * SECOND, noted.recv()).await;
        arrived.push(next.expect("it arrives in time").expect("the server is there"));
    }
    let mut expected: Vec<Bytes> = (0..THREADS)
        .flat_map(|thread| (0..EACH).map(move |number| message(thread, number).into()))
        .collect();
    arrived.sort();
    expected.sort();
    assert!(arrived == expected, "{} arrived, not all of them as they were sent", arrived.len());
    for answer in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
        assert_eq!(answer.unwrap().epoch, 1);
    }
}

#[actix::test]
async fn commands_reach_it_from_any_thread_by_the_handle() {
    let server = Server::start(Script::accept().echo());
    let probe = Probe::new();
    let _connection = probe.attach(to(&server)).start().unwrap();
    let handle = probe.next::<event::Open>().await.connection;
    let other = handle.clone();
    std::thread::spawn(move || assert!(other.do_send(command::Send::text("from afar"))))
        .join()
        .unwrap();
    assert_eq!(probe.next_message().await.payload.as_text(), Some("from afar"));
    let outcome = handle.send(command::Close::normal()).await.unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Closed);
}

/// Fills the send buffer of a connection whose server reads nothing. Returns the number of accepted
/// messages.
async fn fill(connection: &Addr<Connection>) -> usize {
    let big = || command::Send::binary(vec![0; 100 << 10]);
    let mut taken = 0;
    while connection.send(big()).await.unwrap().is_ok() {
        taken += 1;
        assert!(taken < 1000, "100 MiB are no bound");
    }
    taken
}

#[actix::test]
async fn messages_wait_for_room_in_order_and_are_not_overtaken() {
    let gate = Gate::new();
    let server = Server::start(Script::accept().stall_until(&gate));
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    probe.next::<event::Open>().await;
    let taken = fill(&connection).await;
    let waiting = |number: u8| {
        connection.send(command::Send::binary(vec![number; 200 << 10]).wait(60 * SECOND))
    };
    let waiters: Vec<_> = (1..=3).map(waiting).collect();
    let overtaking = connection.send(command::Send::text("me first")).await.unwrap();
    assert_eq!(overtaking, Err(SendError::Full("me first".into())));
    gate.open();
    for waiter in waiters {
        waiter.await.unwrap().unwrap();
    }
    for _ in 0..taken {
        assert_eq!(server.next_message().await.len(), 100 << 10);
    }
    for number in 1..=3 {
        assert_eq!(server.next_message().await, Payload::from(vec![number; 200 << 10]));
    }
    connection.send(command::Send::text("now")).await.unwrap().unwrap();
    assert_eq!(server.next_message().await, "now");
}

#[actix::test]
async fn what_has_waited_too_long_comes_back_and_what_is_behind_it_waits_on() {
    let server = Server::start(Script::accept().stall_forever());
    let probe = Probe::new();
    let builder = to(&server).write_timeout(60 * SECOND);
    let connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Open>().await;
    fill(&connection).await;
    let send = |text: &'static str, time| {
        let text = " ".repeat(100 << 10) + text;
        connection.send(command::Send::text(text).wait(time))
    };
    let patient = send("patient", 60 * SECOND);
    let hasty = send("hasty", SECOND / 20);
    let refused = hasty.await.unwrap().unwrap_err();
    assert!(matches!(&refused, SendError::Full(_)), "{refused}");
    assert!(refused.into_payload().as_text().unwrap().ends_with("hasty"));
    // The socket is lost: the messages that waited for room are returned too.
    connection.send(command::Reconnect).await.unwrap().unwrap();
    let lost = patient.await.unwrap().unwrap_err();
    assert!(matches!(&lost, SendError::NotOpen(_)), "{lost}");
    assert!(lost.into_payload().as_text().unwrap().ends_with("patient"));
}

#[actix::test]
async fn what_stood_behind_a_message_that_went_back_is_taken_if_there_is_room() {
    let server = Server::start(Script::accept().stall_forever());
    let probe = Probe::new();
    // Neither a ping nor a reading server wakes the connection.
    let builder = to(&server).write_timeout(60 * SECOND).ping_interval(None).no_reconnect();
    let connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Open>().await;
    fill(&connection).await;
    let long = command::Send::binary(vec![7; 200 << 10]).wait(SECOND / 10);
    let long = connection.send(long);
    // Longer than the clock reaches.
    let short = connection.send(command::Send::text("short").wait(Duration::MAX));
    assert!(matches!(long.await.unwrap(), Err(SendError::Full(_))));
    let short = tokio::time::timeout(10 * SECOND, short).await;
    short.expect("there is room for it").unwrap().unwrap();
}

#[actix::test]
async fn no_more_than_so_many_messages_wait() {
    let server = Server::start(Script::accept().stall_forever());
    let probe = Probe::new();
    let builder = to(&server).write_timeout(60 * SECOND);
    let connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Open>().await;
    fill(&connection).await;
    let mut small = command::Send::text("x");
    while connection.send(small.clone()).await.unwrap().is_ok() {}
    small = small.wait(60 * SECOND);
    // The caller dropped its future, but the connection keeps the message.
    (0..1024).for_each(|_| connection.do_send(small.clone()));
    let one_more = connection.send(small).await.unwrap();
    assert_eq!(one_more, Err(SendError::Full("x".into())));
}

#[actix::test]
async fn a_pong_goes_out_without_a_ping_and_within_a_bound() {
    let server = Server::start([Script::accept(), Script::accept().stall_forever()]);
    let probe = Probe::new();
    let builder = to(&server).write_timeout(60 * SECOND);
    let connection = probe.attach(builder).start().unwrap();
    let payload = ControlPayload::new("here I am").unwrap();
    let pong = || connection.send(command::Pong { payload: payload.clone() });
    let back = Payload::Binary("here I am".into());
    assert_eq!(pong().await.unwrap(), Err(SendError::NotOpen(back.clone())));
    probe.next::<event::Open>().await;
    assert_eq!(pong().await.unwrap().unwrap().epoch, 1);
    // When the one behind it has come, so has it.
    connection.send(command::Send::text("x")).await.unwrap().unwrap();
    server.next_message().await;
    assert_eq!(server.received()[0], Incoming::Pong(payload.clone()));
    connection.send(command::Reconnect).await.unwrap().unwrap();
    probe.next_where::<event::Open>(|open| open.epoch == 2).await;
    fill(&connection).await;
    for _ in 0..64 {
        pong().await.unwrap().unwrap();
    }
    assert_eq!(pong().await.unwrap(), Err(SendError::Full(back.clone())));
    connection.send(command::Close::normal().deadline(Duration::ZERO)).await.unwrap();
    assert_eq!(pong().await.unwrap(), Err(SendError::Closed(back)));
}

#[actix::test]
async fn a_message_goes_out_in_fragments_and_arrives_whole() {
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    probe.next::<event::Open>().await;
    let text = "grüße".repeat(1000);
    let send = |size| connection.send(command::Send::fragments(text.clone(), size));
    for size in [1, 1000, usize::MAX] {
        send(size).await.unwrap().unwrap();
        assert_eq!(server.next_message().await, Payload::from(text.clone()));
    }
    let many = command::Send::fragments(vec![0; 200 << 10], 1);
    let refused = connection.send(many).await.unwrap();
    assert!(matches!(refused, Err(SendError::TooLarge(_))), "its headers count: {refused:?}");
}

/// A socket that counts how often it is written to.
struct Counted(TcpStream, Arc<AtomicUsize>);

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[actix::test]
async fn what_is_sent_turn_by_turn_leaves_in_few_writes() {
    let server = Server::start(Script::accept());
    let writes = Arc::new(AtomicUsize::new(0));
    let count = writes.clone();
    let builder = to(&server).transport_with(move |host, port| {
        let count = count.clone();
        async move { Ok(Counted(TcpStream::connect((host, port)).await?, count)) }
    });
    let probe = Probe::new();
    let connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Open>().await;
    let before = writes.load(Ordering::Relaxed);
    // 64 batches of some 8 KiB: 8 writes, and some for a buffer that was full or a turn without one.
    for _ in 0..64 {
        let batch = (0..60).map(|_| command::Send::binary(vec![7; 128]));
        connection.send(command::SendBatch::new(batch)).await.unwrap().unwrap();
    }
    for _ in 0..64 * 60 {
        server.next_message().await;
    }
    let writes = writes.load(Ordering::Relaxed) - before;
    assert!(writes <= 32, "{writes} writes");
    // A single message does not wait for others.
    connection.send(command::Send::text("x")).await.unwrap().unwrap();
    assert_eq!(server.next_message().await, "x");
}

#[actix::test]
async fn a_pong_answers_the_ping_with_the_same_payload_alone() {
    // Shorter, longer, another one of its length; then the answer.
    let pongs = ["ab", "abcd", "abd", "abc"];
    let script = pongs.iter().fold(Script::accept().pongs(false), |script, pong| match *pong {
        "ab" => script.expect_text("go").send_pong("ab"),
        pong => script.send_pong(pong),
    });
    let server = Server::start(script);
    let probe = Probe::new();
    let connection = probe.attach(to(&server).ping_interval(None)).start().unwrap();
    probe.next::<event::Open>().await;
    let ping = command::Ping { payload: ControlPayload::new("abc").unwrap() };
    connection.send(ping).await.unwrap().unwrap();
    connection.send(command::Send::text("go")).await.unwrap().unwrap();
    for expected in pongs {
        let pong = probe.next::<event::Pong>().await;
        assert_eq!(pong.payload.as_ref(), expected.as_bytes());
        assert_eq!(pong.round_trip.is_some(), expected == "abc", "{expected}");
    }
}

#[actix::test]
async fn a_message_for_one_socket_goes_out_on_it_or_not_at_all() {
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    let handle = probe.next::<event::Open>().await.connection;
    let only = |epoch| command::Send::text("only").on(epoch);
    assert_eq!(connection.send(only(1)).await.unwrap().unwrap().epoch, 1);
    assert_eq!(server.next_message().await.as_text(), Some("only"));
    connection.send(command::Reconnect).await.unwrap().unwrap();
    // In between there is no socket.
    let early = connection.send(only(1)).await.unwrap();
    assert_eq!(early, Err(SendError::NotOpen("only".into())));
    probe.next_where(|open: &event::Open| open.epoch == 2).await;
    for epoch in [1, 3] {
        let other = Err(SendError::OtherEpoch("only".into()));
        assert_eq!(connection.send(only(epoch)).await.unwrap(), other);
        assert_eq!(handle.send(only(epoch)).await, other);
        assert_eq!(handle.send(only(epoch).wait(SECOND)).await, other);
    }
    let batch = || command::SendBatch::new(["a", "b"].map(command::Send::text));
    let unsent = handle.send(batch().on(1)).await.unwrap_err();
    assert_eq!(unsent.error, SendError::OtherEpoch("a".into()));
    assert_eq!(unsent.rest, [Payload::from("b")]);
    assert_eq!(connection.send(batch().on(2)).await.unwrap().unwrap().epoch, 2);
    for text in ["a", "b"] {
        assert_eq!(server.next_message().await.as_text(), Some(text));
    }
    let refused = connection.send(command::Status).await.unwrap().figures.sends_refused;
    assert_eq!(refused, 8);
}

#[actix::test]
async fn a_receipt_says_once_what_became_of_a_message() {
    let gate = Gate::new();
    let server = Server::start([Script::accept().stall_until(&gate), Script::accept()]);
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    let text = || command::Send::text("x").receipt();
    let fate = |receipt| async {
        let fate = tokio::time::timeout(10 * SECOND, receipt).await;
        fate.expect("each receipt completes")
    };
    let (send, receipt) = text();
    assert!(connection.send(send).await.unwrap().is_err());
    assert_eq!(fate(receipt).await, Fate::Returned);
    let handle = probe.next::<event::Open>().await.connection;
    let (send, receipt) = text();
    assert!(handle.do_send(send));
    assert_eq!(fate(receipt).await, Fate::Written { epoch: 1 });
    // A clone has no receipt, and a message that is not sent is returned.
    let (send, receipt) = text();
    drop(send.clone());
    let (send, second) = send.receipt();
    drop(send);
    assert_eq!((fate(receipt).await, fate(second).await), (Fate::Returned, Fate::Returned));
    // Those of a batch, up to the one that is refused.
    let mut batch: Vec<_> = (0..2).map(|_| text()).collect();
    batch.insert(1, command::Send::text("other").on(7).receipt());
    let (messages, receipts): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    assert!(connection.send(command::SendBatch::new(messages)).await.unwrap().is_err());
    let fates = join_all(receipts.into_iter().map(fate)).await;
    assert_eq!(fates, [Fate::Written { epoch: 1 }, Fate::Returned, Fate::Returned]);
    // What the server did not take before the socket ended.
    fill(&connection).await;
    let (send, waiting) = command::Send::binary(vec![0; 100 << 10]).wait(60 * SECOND).receipt();
    assert!(handle.do_send(send));
    connection.send(command::Reconnect).await.unwrap().unwrap();
    assert_eq!(fate(waiting).await, Fate::Returned);
    gate.open();
}

#[actix::test]
async fn what_a_lost_socket_had_accepted_may_have_arrived_or_not() {
    let server = Server::start([Script::accept().stall_forever(), Script::accept()]);
    let probe = Probe::new();
    let builder = to(&server).send_buffer(16 << 20).write_timeout(SECOND / 5);
    let connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Open>().await;
    let (send, receipt) = command::Send::binary(vec![0; 15 << 20]).receipt();
    connection.send(send).await.unwrap().unwrap();
    let fate = tokio::time::timeout(10 * SECOND, receipt).await;
    assert_eq!(fate, Ok(Fate::Unknown));
}

#[actix::test]
async fn the_ledger_says_how_many_frames_left_and_when() {
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let connection = probe.attach(to(&server).ping_interval(None)).start().unwrap();
    let handle = probe.next::<event::Open>().await.connection;
    // Nothing is recorded before it is asked for.
    connection.send(command::Send::text("early")).await.unwrap().unwrap();
    server.next_message().await;
    let sent = connection.send(command::Ledger).await.unwrap();
    assert_eq!((sent.epoch, sent.entries.len()), (1, 0));
    let begun = std::time::Instant::now();
    for epoch in 1..=2 {
        let batch = (0..10).map(|_| command::Send::text("x"));
        handle.send(command::SendBatch::new(batch)).await.unwrap();
        handle.send(command::Send::fragments("fragments", 4)).await.unwrap();
        handle.send(command::Ping::default()).await.unwrap();
        probe.next::<event::Pong>().await;
        let (sent, now) = (handle.send(command::Ledger).await.unwrap(), std::time::Instant::now());
        assert_eq!((sent.epoch, sent.within(60 * SECOND, now)), (epoch, (13, 1)));
        assert!(sent.entries.iter().all(|entry| begun <= entry.at && entry.at <= now));
        assert_eq!(sent.within(SECOND, now + SECOND), (0, 0));
        handle.send(command::Reconnect).await.unwrap();
        let closing = handle.send(command::Ledger).await.unwrap();
        assert!(closing.epoch == epoch && closing.within(60 * SECOND, now).1 <= 2);
        probe.next_where(|open: &event::Open| open.epoch == epoch + 1).await;
        // The next socket has a record of its own.
        assert!(handle.send(command::Ledger).await.unwrap().entries.is_empty());
    }
}

#[actix::test]
async fn the_figures_say_when_a_socket_opened_and_data_came_and_count_control_frames() {
    let script = Script::accept().send_ping("one").expect_text("go").send_text("hi").send_pong("x");
    let server = Server::start([script, Script::refuse(403)]);
    let probe = Probe::new();
    let builder = to(&server).ping_interval(None);
    let watch = builder.watch();
    assert_eq!(watch.figures().opened, None);
    let connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Ping>().await;
    let figures = connection.send(command::Status).await.unwrap().figures;
    assert!(figures.opened.is_some() && figures.last_message.is_none(), "{figures:?}");
    assert_eq!((figures.control_in, figures.control_out), (1, 1));
    connection.send(command::Send::text("go")).await.unwrap().unwrap();
    probe.next::<event::Pong>().await;
    connection.send(command::Ping::default()).await.unwrap().unwrap();
    probe.next::<event::Pong>().await;
    let figures = watch.figures();
    assert!(figures.last_message <= figures.opened && figures.last_message.is_some());
    assert!(figures.last_byte <= figures.last_message, "{figures:?}");
    // The server's Ping and two Pongs; our Pong and our Ping.
    assert_eq!((figures.control_in, figures.control_out), (3, 2));
    connection.send(command::Reconnect).await.unwrap().unwrap();
    probe.stopped().await;
    let figures = watch.figures();
    assert_eq!((figures.opened, figures.control_in, figures.control_out), (None, 4, 3));
}
