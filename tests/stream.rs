//! A connection as a stream: on any thread, in order, bounded in both directions.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use actix_ws_client::command::SendError;
use actix_ws_client::event::{self, Kinds};
use actix_ws_client::proto::message::Incoming;
use actix_ws_client::stream::{Events, InRuntime, Sender};
use actix_ws_client::testing::{Gate, Journal, Note, Script, Server};
use actix_ws_client::{
    ConfigError, Connection, ConnectionBuilder, Event, OutcomeKind, Payload, Reconnect, command,
};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message as Theirs;

const SECOND: Duration = Duration::from_secs(1);

/// Returns the next event that is no change of phase.
async fn next(events: &mut Events) -> Event {
    let next = async {
        loop {
            match events.next().await {
                Some(Event::State(_)) => {}
                Some(event) => return event,
                None => panic!("the stream has ended"),
            }
        }
    };
    timeout(20 * SECOND, next).await.expect("an event within 20 s")
}

/// Returns the names of all events that are left, without changes of phase, and the last event.
async fn rest(events: &mut Events) -> (Vec<&'static str>, Event) {
    let (mut names, mut last) = (Vec::new(), None);
    while let Some(event) = timeout(20 * SECOND, events.next()).await.expect("an event or the end")
    {
        if !matches!(event, Event::State(_)) {
            names.push(event.name());
        }
        last = Some(event);
    }
    (names, last.expect("an event"))
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_in_order_and_the_last_is_stopped() {
    let script = Script::accept().send_text("one").send_ping("two").send_text("three");
    let server = Server::start(script.send_close(1000, ""));
    let builder = Connection::builder(server.url()).reconnect_on_close(false);
    let (sender, mut events) = builder.stream(16).unwrap();
    // On another thread than this one.
    let events = tokio::spawn(async move { rest(&mut events).await });
    let (names, last) = events.await.unwrap();
    assert_eq!(names, ["open", "message", "ping", "message", "close", "stopped"]);
    let Event::Stopped(stopped) = last else { panic!("{last:?}") };
    assert_eq!(stopped.outcome.kind, OutcomeKind::Closed);
    let refused = sender.send(command::Send::text("late")).await.unwrap_err();
    assert_eq!(refused, SendError::Closed(Payload::from("late")));
}

#[tokio::test]
async fn a_stream_has_the_kinds_that_it_is_asked_for() {
    let alone = |kinds: Kinds| kinds.without::<event::State>().without::<event::Open>();
    let usual = alone(Kinds::default()).without::<event::Close>();
    let cases: [(Kinds, &[&str]); 3] = [
        (usual, &["message", "message", "stopped"]),
        (usual.and::<event::Data>(), &["data", "message", "data", "message", "stopped"]),
        (usual.and::<event::Batch>().without::<event::Message>(), &["batch", "stopped"]),
    ];
    for (kinds, expected) in cases {
        // In one write, and so in one read.
        let script = Script::accept().send_raw(b"\x81\x01a\x81\x01b\x88\x02\x03\xe8".to_vec());
        let server = Server::start(script);
        let builder = Connection::builder(server.url()).reconnect_on_close(false);
        let (_sender, mut events) = builder.stream_kinds(kinds).stream(16).unwrap();
        assert_eq!(rest(&mut events).await.0, expected, "{kinds:?}");
    }
}

#[tokio::test]
async fn a_capacity_of_none_and_a_wrong_option_are_refused() {
    let refused = Connection::builder("ws://127.0.0.1:1/").stream(0).unwrap_err();
    assert_eq!(refused.to_string(), "stream: a capacity of 0 events: at least 1");
    let refused = Connection::builder("http://127.0.0.1:1/").stream(1).unwrap_err();
    assert!(matches!(refused, ConfigError::Url { .. }), "{refused}");
}

#[actix::test]
async fn it_runs_on_this_thread_and_on_an_arbiter_where_that_is_asked_for() {
    type Start = fn(ConnectionBuilder) -> Result<(Sender, Events), ConfigError>;
    let here: Start = |builder| builder.stream_here(1);
    let arbiter: Start = |builder| builder.stream_in(1, &actix::Arbiter::new().handle());
    for start in [here, arbiter] {
        let thread = Arc::new(std::sync::Mutex::new(None));
        let (seen, server) = (thread.clone(), Server::start(Script::accept().echo()));
        let builder = Connection::builder(server.url()).on_open(move |_| {
            *seen.lock().unwrap() = Some(std::thread::current().id());
        });
        let (sender, mut events) = start(builder).unwrap();
        assert!(matches!(next(&mut events).await, Event::Open(_)));
        sender.send(command::Send::text("hi")).await.unwrap();
        assert!(matches!(next(&mut events).await, Event::Message(_)));
        let is_here = *thread.lock().unwrap() == Some(std::thread::current().id());
        assert_eq!(is_here, start as usize == here as usize);
    }
    let ended = actix::Arbiter::new();
    ended.stop();
    let handle = ended.handle();
    ended.join().unwrap();
    let refused = Connection::builder("ws://127.0.0.1:1/").stream_in(1, &handle).unwrap_err();
    assert!(matches!(refused, ConfigError::ArbiterGone), "{refused}");
}

#[test]
fn a_stream_here_needs_a_runtime() {
    let refused = Connection::builder("ws://127.0.0.1:1/").stream_here(1).unwrap_err();
    assert!(matches!(refused, ConfigError::NoRuntime), "{refused}");
}

#[test]
fn it_works_without_a_runtime_and_the_blocking_methods_refuse_one() {
    let server = Server::start(Script::accept().echo());
    let (sender, mut events) = Connection::builder(server.url()).stream(4).unwrap();
    let mut next = || loop {
        match events.blocking_next().unwrap().expect("an event") {
            Event::State(_) => {}
            event => return event,
        }
    };
    assert!(matches!(next(), Event::Open(_)));
    assert_eq!(sender.blocking_send(command::Send::text("hi")).unwrap().epoch, 1);
    assert!(matches!(next(), Event::Message(message) if message.payload.as_text() == Some("hi")));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        assert_eq!(events.blocking_next().unwrap_err(), InRuntime);
        let refused = sender.blocking_send(command::Send::text("hi")).unwrap_err();
        assert_eq!(refused, SendError::InRuntime(Payload::from("hi")));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn to_drop_the_events_closes_and_queued_messages_leave_before() {
    let server = Server::start(Script::accept());
    let (sender, mut events) = Connection::builder(server.url()).stream(100).unwrap();
    assert!(matches!(next(&mut events).await, Event::Open(_)));
    for number in 0..50 {
        sender.try_send(Payload::from(number.to_string())).unwrap();
    }
    drop(events);
    let close = timeout(20 * SECOND, server.next_close()).await.unwrap();
    assert_eq!(close.map(|frame| frame.code().value()), Some(1001));
    assert_eq!(server.messages().len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_closed_sends_all_and_closes_with_1000() {
    let server = Server::start(Script::accept());
    let (mut sender, mut events) = Connection::builder(server.url()).stream(4).unwrap();
    assert!(matches!(next(&mut events).await, Event::Open(_)));
    let messages = (0..50).map(|number| Ok(Payload::from(number.to_string())));
    sender.send_all(&mut futures_util::stream::iter(messages)).await.unwrap();
    sender.close().await.unwrap();
    assert_eq!(rest(&mut events).await.0, ["close", "stopped"]);
    assert_eq!(server.messages().len(), 50);
    assert_eq!(server.closes()[0].as_ref().map(|frame| frame.code().value()), Some(1000));
}

#[tokio::test]
async fn without_a_socket_a_message_comes_back_at_once() {
    let builder =
        Connection::builder("ws://127.0.0.1:1/").reconnect(Reconnect::fixed(900 * SECOND));
    let (mut sender, _events) = builder.stream(1).unwrap();
    let message = || command::Send::text("hi");
    let refused = SendError::NotOpen(Payload::from("hi"));
    assert_eq!(sender.try_send(message()), Err(refused.clone()));
    assert_eq!(sender.send(message()).await, Err(refused.clone()));
    assert_eq!(SinkExt::send(&mut sender, Payload::from("hi")).await, Err(refused));
    sender.flush().await.unwrap();
}

#[actix::test]
async fn a_message_without_room_comes_back_at_once() {
    let server = Server::start(Script::accept());
    // On this thread, so that nothing leaves the queue before the next `.await`.
    let (sender, mut events) = Connection::builder(server.url()).stream_here(2).unwrap();
    assert!(matches!(next(&mut events).await, Event::Open(_)));
    let begun = Instant::now();
    let [one, two, three] = ["1", "2", "3"].map(|text| sender.try_send(text));
    assert_eq!((one, two, three), (Ok(()), Ok(()), Err(SendError::Full("3".into()))));
    assert!(begun.elapsed() < SECOND);
    assert_eq!(server.next_message().await, Payload::from("1"));
    assert_eq!(server.next_message().await, Payload::from("2"));
    sender.try_send("4").unwrap();
    assert_eq!(server.next_message().await, Payload::from("4"));
}

/// A server that accepts and does not read.
fn deaf() -> Server {
    Server::start(Script::accept().stall_forever())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_read_stops_the_sender_and_every_message_comes_back() {
    let server = deaf();
    let builder = Connection::builder(server.url()).no_reconnect().close_timeout(Duration::ZERO);
    let (sender, mut events) = builder.send_buffer(1 << 16).stream(8).unwrap();
    assert!(matches!(next(&mut events).await, Event::Open(_)));
    let payload = Payload::from(vec![7; 1 << 15]);
    let mut accepted = 0_u64;
    let full = loop {
        match sender.try_send(payload.clone()) {
            Ok(()) => accepted += 1,
            // Not only because the connection's thread was not scheduled yet.
            Err(SendError::Full(back)) => {
                let waited = timeout(SECOND / 2, sender.send(payload.clone())).await;
                if waited.is_err() {
                    break back;
                }
            }
            Err(err) => panic!("{err}"),
        }
    };
    assert_eq!(full, payload);
    assert!(accepted > 8);
    // What waits for room comes back when the connection closes.
    let waiting = tokio::spawn({
        let (sender, payload) = (sender.clone(), payload.clone());
        async move { sender.send(payload).await }
    });
    drop(events);
    let refused = timeout(20 * SECOND, waiting).await.unwrap().unwrap().unwrap_err();
    assert!(
        matches!(&refused, SendError::Closed(back) | SendError::NotOpen(back) if *back == payload)
    );
}

#[actix::test]
async fn a_consumer_that_stops_stops_the_peer_and_neither_pings_nor_the_watchdog() {
    tokio::time::pause();
    let journal = Journal::new();
    // Three messages fill the stream. The Ping behind them is answered all the same, within a second.
    let script = Script::accept().expect_text("go").send_all((0..3).map(|_| vec![7; 40 << 10]));
    let script = script.send_ping("there?").serve_for(SECOND);
    let script = script.send_all((0..100).map(|_| vec![7; 40 << 10]));
    let seen = journal.clone();
    let builder = Connection::builder("ws://peer/").transport_with(move |_, _| {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let (script, journal) = (script.clone(), journal.clone());
        actix::spawn(async move { script.play(&mut theirs, 0, &journal).await });
        async move { Ok(ours) }
    });
    let builder = builder.no_reconnect().read_ahead(256 << 10);
    let builder = builder.ping_interval(5 * SECOND).ping_timeout(2 * SECOND);
    let watch = builder.watch();
    let kinds = Kinds::default().without::<event::State>();
    let (sender, mut events) = builder.stream_kinds(kinds).stream_here(2).unwrap();
    assert!(matches!(events.next().await, Some(Event::Open(_))));
    sender.send(command::Send::text("go")).await.unwrap();
    // One hour, in which nothing is consumed and at last no byte is read.
    sleep(3600 * SECOND).await;
    let figures = watch.figures();
    assert!((256 << 10..320 << 10).contains(&figures.queued_bytes), "{figures:?}");
    // Those of the queue, two in the stream, and one that waits for room there.
    assert!((8..12).contains(&figures.messages_in), "{figures:?}");
    let is_pong = |note: &Note| matches!(note, Note::Received(Incoming::Pong(_)));
    assert!(seen.notes().iter().any(|(.., note)| is_pong(note)));
    let resumed = Instant::now();
    for number in 0..103 {
        if number == 3 {
            assert!(matches!(events.next().await, Some(Event::Ping(_))));
        }
        let Some(Event::Message(message)) = events.next().await else { panic!("a message") };
        assert_eq!(message.payload.len(), 40 << 10);
    }
    assert!(resumed.elapsed() < SECOND);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_read_of_more_messages_than_the_capacity_comes_whole_and_alone() {
    // 5,000 messages of one byte, in one write.
    let burst: Vec<u8> = (0..5000_u32).flat_map(|it| [0x82, 1, it as u8]).collect();
    let server = Server::start(Script::accept().send_raw(burst));
    let (_sender, mut events) = Connection::builder(server.url()).stream(3).unwrap();
    assert!(matches!(next(&mut events).await, Event::Open(_)));
    for number in 0..5000_u32 {
        let Event::Message(message) = next(&mut events).await else { panic!("a message") };
        assert_eq!(message.payload.as_bytes(), [number as u8]);
    }
}

#[tokio::test]
async fn what_was_fed_for_a_socket_that_is_lost_goes_to_no_later_one() {
    let gate = Gate::new();
    let first = Script::accept().serve_until(&gate).drop_connection();
    let server = Server::start([first, Script::accept()]);
    let builder = Connection::builder(server.url()).reconnect(Reconnect::fixed(SECOND / 100));
    let (mut sender, mut events) = builder.stream(100).unwrap();
    assert!(matches!(next(&mut events).await, Event::Open(_)));
    // Without a flush it stays in the sender.
    sender.feed(Payload::from("to the first")).await.unwrap();
    gate.open();
    while !matches!(next(&mut events).await, Event::Open(_)) {}
    assert_eq!(sender.send("to the second").await.unwrap().epoch, 2);
    assert_eq!(server.next_message().await, Payload::from("to the second"));
    let refused = sender.flush().await.unwrap_err();
    assert_eq!(refused, SendError::NotOpen(Payload::from("to the first")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_future_is_dropped_while_it_waits_for_room_is_not_sent() {
    let gate = Gate::new();
    let server = Server::start(Script::accept().stall_until(&gate));
    let builder = Connection::builder(server.url()).write_timeout(3600 * SECOND);
    let (sender, mut events) = builder.send_buffer(1 << 16).stream(1).unwrap();
    assert!(matches!(next(&mut events).await, Event::Open(_)));
    let send = |byte| timeout(SECOND / 2, sender.send(Payload::from(vec![byte; 1 << 15])));
    while let Ok(sent) = send(7).await {
        sent.unwrap();
    }
    assert!(send(9).await.is_err(), "it waits for room");
    // There is room for the second only once the first has left the queue, and so once the connection's thread has
    // seen that the future is dropped.
    for text in ["first", "second"] {
        let queued = async {
            while sender.try_send(text).is_err() {
                tokio::task::yield_now().await;
            }
        };
        timeout(20 * SECOND, queued).await.unwrap();
    }
    gate.open();
    let first = loop {
        match server.next_message().await {
            Payload::Binary(bytes) => assert_eq!(bytes[0], 7),
            text => break text,
        }
    };
    assert_eq!(first, Payload::from("first"));
    assert_eq!(server.next_message().await, Payload::from("second"));
}

/// How many messages each way: `STREAM_MESSAGES`, or as many as an unoptimised test takes 2 s for.
fn wanted() -> u64 {
    std::env::var("STREAM_MESSAGES").map_or(42_000, |text| text.parse().unwrap())
}

/// How often the socket is lost.
const LOSSES: u64 = 20;

/// A server by tokio-tungstenite. On each socket it sends the next `each` numbers, and receives as many or more,
/// of which none may be missing. Then it ends the socket, the last one with a Close frame.
async fn numbers(listener: TcpListener, each: u64, received: Arc<AtomicU64>) {
    for epoch in 0..=LOSSES {
        let (stream, _) = listener.accept().await.unwrap();
        let (mut sink, mut stream) = tokio_tungstenite::accept_async(stream).await.unwrap().split();
        let sending = async {
            for number in epoch * each..(epoch + 1) * each {
                sink.feed(Theirs::text(format!("{number:0>100}"))).await.unwrap();
            }
            sink.flush().await.unwrap();
        };
        let receiving = async {
            let mut expected = None;
            for _ in 0..each {
                let Some(Ok(Theirs::Text(text))) = stream.next().await else {
                    panic!("a number on socket {epoch}")
                };
                let number: u64 = text.parse().unwrap();
                assert_eq!(number, expected.unwrap_or(number), "on socket {epoch}");
                expected = Some(number + 1);
                received.fetch_add(1, Relaxed);
            }
        };
        tokio::join!(sending, receiving);
        if epoch == LOSSES {
            sink.send(Theirs::Close(None)).await.unwrap();
            while let Some(Ok(_)) = stream.next().await {}
            return;
        }
        // An end without a Close frame, behind all that was sent. To drop a socket with bytes to read would reset
        // it, and the client's system may drop what it has received.
        let mut socket = sink.reunite(stream).unwrap();
        let tcp = socket.get_mut();
        tcp.shutdown().await.unwrap();
        let mut rest = vec![0; 1 << 16];
        while tcp.read(&mut rest).await.is_ok_and(|count| count > 0) {}
    }
}

/// Sends numbers, from each opening of a socket to its end, until the connection is closed for good.
async fn send_numbers(mut sender: Sender, mut epoch: watch::Receiver<u64>) {
    let mut number = 0_u64;
    loop {
        let text = format!("{number:0>100}");
        match sender.feed(Payload::from(text)).await {
            Ok(()) => number += 1,
            Err(SendError::Closed(_)) => return,
            Err(SendError::NotOpen(_)) => {
                if epoch.changed().await.is_err() {
                    return;
                }
            }
            Err(err) => panic!("{err}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_twenty_lost_sockets_nothing_is_lost_within_an_epoch() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr: SocketAddr = listener.local_addr().unwrap();
    let (all, received) = (wanted(), Arc::new(AtomicU64::new(0)));
    let each = all / (LOSSES + 1);
    let mut server = tokio::spawn(numbers(listener, each, received.clone()));
    let builder = Connection::builder(format!("ws://{addr}/"));
    let builder = builder.reconnect(Reconnect::fixed(Duration::from_millis(1)));
    let builder = builder.reconnect_on_close(false);
    let watch = builder.watch();
    let (sender, mut events) = builder.stream(1000).unwrap();
    let (opened, epoch) = tokio::sync::watch::channel(0);
    let sending = tokio::spawn(send_numbers(sender, epoch));
    let (mut expected, mut count, mut most_queued) = (0, 0, 0);
    let start = std::time::Instant::now();
    while let Some(event) = timeout(60 * SECOND, events.next()).await.expect("an event") {
        match event {
            Event::Open(open) => {
                expected = (open.epoch - 1) * each;
                opened.send(open.epoch).unwrap();
            }
            Event::Message(message) => {
                assert_eq!(message.epoch, expected / each + 1);
                let number: u64 = message.payload.as_text().unwrap().parse().unwrap();
                assert_eq!(number, expected);
                expected += 1;
                count += 1;
                if count % 100 == 0 {
                    most_queued = most_queued.max(watch.figures().queued_bytes);
                }
            }
            // With its panic, if it has one.
            Event::Error(_) if server.is_finished() => (&mut server).await.unwrap(),
            Event::Stopped(stopped) => assert_eq!(stopped.outcome.epochs, LOSSES + 1),
            _ => {}
        }
    }
    drop(opened);
    sending.await.unwrap();
    server.await.unwrap();
    let came = received.load(Relaxed);
    println!("{count} in, {came} out, {:?}, {}", start.elapsed(), memory());
    assert_eq!((came, count), (each * (LOSSES + 1), each * (LOSSES + 1)));
    // `read_ahead`, which counts within a factor of 1.5, and one read.
    assert!(most_queued < 512 << 10, "{most_queued}");
}

/// Returns the peak of this process's memory, where the system says.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_batch_that_is_held_by_no_task_is_not_lost_by_a_select() {
    let server = Server::start(Script::accept().send_all((0..100).map(|it| it.to_string())));
    let (_sender, mut events) = Connection::builder(server.url()).stream(10).unwrap();
    let mut count = 0;
    while count < 100 {
        // Polled once, and dropped.
        let mut next = Box::pin(events.next());
        let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut next).poll(cx))).await;
        drop(next);
        match polled {
            Poll::Ready(Some(Event::Message(message))) => {
                assert_eq!(message.payload.as_text(), Some(count.to_string().as_str()));
                count += 1;
            }
            Poll::Ready(None) => panic!("the end"),
            Poll::Ready(_) => {}
            Poll::Pending => tokio::task::yield_now().await,
        }
    }
}
