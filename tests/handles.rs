//! Commands sent through handles are executed in the order in which they were sent, and dropped with
//! their connection.

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use actix::System;
use actix_ws_client::command::{Closed, SendError, Unsent};
use actix_ws_client::error::Verdict;
use actix_ws_client::proto::close::CloseCode;
use actix_ws_client::proto::message::{ControlPayload, Incoming};
use actix_ws_client::testing::{Gate, Probe, Script, Server};
use actix_ws_client::{
    Connection, ConnectionBuilder, Handle, OutcomeKind, Payload, Phase, Reconnect, SocketOptions,
    command, event,
};
use bytes::Bytes;

const SECOND: Duration = Duration::from_secs(1);

/// A connection that does not reconnect during the test.
fn to(server: &Server) -> ConnectionBuilder {
    Connection::builder(server.url()).reconnect(Reconnect::fixed(3600 * SECOND))
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<Payload> {
    texts.map(Payload::from).into()
}

#[actix::test]
async fn commands_of_all_kinds_are_done_in_the_order_in_which_they_were_sent() {
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let builder = to(&server);
    let watch = builder.watch();
    let _connection = probe.attach(builder).start().unwrap();
    let handle = probe.next::<event::Open>().await.connection;
    let send = |text: &'static str| assert!(handle.do_send(command::Send::text(text)));
    let ping = |payload| command::Ping { payload: ControlPayload::new(payload).unwrap() };

    // All in one poll of this task.
    assert!(handle.do_send(ping("0")));
    send("1");
    let awaited = handle.send(command::Send::text("2"));
    send("3");
    let batch = command::SendBatch::new(["4", "5"].map(command::Send::text));
    assert!(handle.do_send(batch));
    send("6");
    assert!(handle.do_send(ping("7")));
    let status = handle.send(command::Status);
    send("8");
    let close = handle.send(command::Close::normal());
    send("too late");

    assert_eq!(awaited.await.unwrap().epoch, 1);
    assert_eq!(status.await.unwrap().figures.messages_out, 6);
    assert_eq!(close.await.unwrap().kind, OutcomeKind::Closed);
    let text = |text: &str| Incoming::Message(Payload::from(text));
    let ping = |payload| Incoming::Ping(ControlPayload::new(payload).unwrap());
    let mut expected = vec![ping("0")];
    expected.extend(["1", "2", "3", "4", "5", "6"].map(text));
    expected.extend([ping("7"), text("8")]);
    let received = server.received();
    assert_eq!(received[..expected.len()], expected);
    assert!(matches!(received[expected.len()..], [Incoming::Close(_)]), "{received:?}");
    assert_eq!((watch.figures().messages_out, watch.figures().sends_refused), (7, 1));
}

#[actix::test]
async fn what_was_sent_by_a_handle_is_done_before_what_is_sent_by_the_address_afterwards() {
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    let handle = probe.next::<event::Open>().await.connection;
    handle.do_send(command::Send::text("1"));
    connection.do_send(command::Send::text("2"));
    let both = connection.send(command::Status).await.unwrap();
    assert_eq!(both.figures.messages_out, 2);
    // Nothing but the handle wakes the connection, which executed the first one before a command of its
    // mailbox.
    let alone = tokio::time::timeout(10 * SECOND, handle.send(command::Status)).await;
    assert_eq!(alone.unwrap().unwrap().figures.messages_out, 2);
    handle.do_send(command::Send::text("3"));
    connection.do_send(command::SendBatch::new(["4", "5"].map(command::Send::text)));
    connection.send(command::Status).await.unwrap();
    handle.do_send(command::Send::text("6"));
    let outcome = connection.send(command::Close::normal()).await.unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Closed);
    assert_eq!(server.messages(), texts(["1", "2", "3", "4", "5", "6"]));
}

#[actix::test]
async fn what_was_sent_before_the_last_address_went_is_done_before_the_end() {
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    let handle = probe.next::<event::Open>().await.connection;
    handle.do_send(command::Send::text("farewell"));
    drop(connection);
    // A handle does not keep it alive.
    assert_eq!(probe.stopped().await.kind, OutcomeKind::Closed);
    assert_eq!(server.messages(), texts(["farewell"]));
    let gone = async {
        while handle.is_alive() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(10 * SECOND, gone).await.expect("its actor ends");
    assert!(!handle.do_send(command::Send::text("nobody is there")));
    assert!(!handle.do_send(command::Reconnect));
    let answer = handle.send(command::Status).await;
    assert!(matches!(answer, Err(Closed)), "{answer:?}");
    assert_all_come_back(handle.clone()).await;
}

/// What each command with messages is answered with, sent one after the other and then awaited.
async fn assert_all_come_back(handle: Handle) {
    let closed = |text: &'static str| SendError::Closed(Payload::from(text));
    let frame = |payload: &'static str| Payload::Binary(Bytes::from(payload));
    let payload = |payload| ControlPayload::new(payload).unwrap();
    let batch = command::SendBatch::new(["2", "3", "4"].map(command::Send::text));
    let one = handle.send(command::Send::text("1"));
    let many = handle.send(batch);
    let ping = handle.send(command::Ping { payload: payload("5") });
    let pong = handle.send(command::Pong { payload: payload("6") });
    assert_eq!(one.await, Err(closed("1")));
    let unsent = Unsent { error: closed("2"), rest: texts(["3", "4"]) };
    assert_eq!(many.await, Err(unsent));
    assert_eq!(ping.await, Err(SendError::Closed(frame("5"))));
    assert_eq!(pong.await, Err(SendError::Closed(frame("6"))));
}

#[actix::test]
async fn each_of_many_threads_has_its_own_order_kept() {
    const THREADS: usize = 4;
    const EACH: usize = 400;
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let _connection = probe.attach(to(&server).send_buffer(16 << 20)).start().unwrap();
    let handle = probe.next::<event::Open>().await.connection;
    let message = |thread: usize, number: usize| command::Send::text(format!("{thread}:{number}"));
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let handle = handle.clone();
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for number in (0..EACH).step_by(4) {
                    assert!(handle.do_send(message(thread, number)));
                    let two = [number + 1, number + 2].map(|number| message(thread, number));
                    assert!(handle.do_send(command::SendBatch::new(two)));
                    let last = message(thread, number + 3);
                    if number % 16 == 0 {
                        runtime.block_on(handle.send(last)).unwrap();
                    } else {
                        assert!(handle.do_send(last));
                    }
                }
            })
        })
        .collect();
    let mut next = [0; THREADS];
    for _ in 0..THREADS * EACH {
        let message = server.next_message().await;
        let (thread, number) = message.as_text().unwrap().split_once(':').unwrap();
        let expected = &mut next[thread.parse::<usize>().unwrap()];
        assert_eq!(number.parse(), Ok(*expected), "of thread {thread}");
        *expected += 1;
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[actix::test]
async fn a_command_whose_future_is_dropped_is_cancelled() {
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let _connection = probe.attach(to(&server)).start().unwrap();
    let handle = probe.next::<event::Open>().await.connection;
    drop(handle.send(command::Send::text("taken back")));
    drop(handle.send(command::Close::normal()));
    handle.send(command::Send::text("meant")).await.unwrap();
    assert_eq!(server.next_message().await, "meant");
    assert_eq!(server.messages(), texts(["meant"]));
}

#[actix::test]
async fn what_is_sent_while_the_actor_is_restarted_is_done_in_its_next_life() {
    let gate = Gate::new();
    let first = Script::accept().stall_until(&gate).drop_connection();
    let server = Server::start([first, Script::accept()]);
    let probe = Probe::new();
    let way: Arc<OnceLock<Handle>> = Arc::default();
    let kept = way.clone();
    // It is called in the poll in which the supervisor restarts the actor.
    let builder = to(&server).retry_if(move |_| {
        if let Some(handle) = kept.get() {
            handle.do_send(command::Send::text("in vain"));
            handle.do_send(command::Reconnect);
        }
        Verdict::RETRY
    });
    let watch = builder.watch();
    let _connection = probe.attach(builder).start().unwrap();
    way.set(probe.next::<event::Open>().await.connection).unwrap();
    gate.open();
    let open = probe.next_where(|open: &event::Open| open.epoch == 2).await;
    assert_eq!(watch.figures().sends_refused, 1);
    open.connection.send(command::Send::text("not in vain")).await.unwrap();
    assert_eq!(server.next_message().await, "not in vain");
}

/// Bytes whose owner can count what is not dropped yet.
struct Owned(#[expect(dead_code, reason = "it is counted")] Arc<()>);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        b"never sent"
    }
}

#[test]
fn what_waits_goes_with_its_connection() {
    let system = System::new();
    let server = system.block_on(async { Server::start(Script::accept()) });
    let (handle, connection) = system.block_on(async {
        let probe = Probe::new();
        let connection = probe.attach(to(&server)).start().unwrap();
        (probe.next::<event::Open>().await.connection, connection)
    });
    // The system does not run, and so the connection executes nothing.
    let owner = Arc::new(());
    let message = || command::Send::binary(Bytes::from_owner(Owned(owner.clone())));
    assert!(handle.is_alive() && handle.do_send(message()));
    let answer = handle.send(message());
    let closed = handle.send(command::Close::new(CloseCode::NORMAL, "").unwrap());
    assert_eq!(Arc::strong_count(&owner), 3);
    drop((connection, system));
    // The one that an answer gives back.
    assert_eq!(Arc::strong_count(&owner), 2);
    assert!(!handle.is_alive() && !handle.do_send(message()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let returned = runtime.block_on(answer);
    assert!(matches!(returned, Err(SendError::Closed(_))), "{returned:?}");
    drop(returned);
    assert_eq!(Arc::strong_count(&owner), 1);
    assert!(matches!(runtime.block_on(closed), Err(Closed)));
}

#[test]
fn what_was_not_executed_comes_back_when_the_system_ends() {
    let system = System::new();
    let server = system.block_on(async { Server::start(Script::accept()) });
    let (handle, _connection) = system.block_on(async {
        let probe = Probe::new();
        let connection = probe.attach(to(&server)).start().unwrap();
        (probe.next::<event::Open>().await.connection, connection)
    });
    let mut answers = pin!(assert_all_come_back(handle));
    // Sends, and waits for the answers.
    let polled = answers.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    drop(system);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(answers);
}

/// A message that waits for room in the send buffer.
#[test]
fn a_message_that_waits_comes_back_when_the_system_ends() {
    let gate = Gate::new();
    let system = System::new();
    let server = system.block_on(async { Server::start(Script::accept().stall_until(&gate)) });
    let (waiting, _connection) = system.block_on(async {
        let probe = Probe::new();
        let builder = to(&server).send_buffer(1 << 20).write_timeout(3600 * SECOND);
        let small = SocketOptions::new().send_buffer(4 << 10).user_timeout(None);
        let connection = probe.attach(builder.socket_options(small)).start().unwrap();
        let handle = probe.next::<event::Open>().await.connection;
        let large = || command::Send::binary(vec![0; 1 << 19]);
        while handle.send(large()).await.is_ok() {}
        let waiting = handle.send(large().wait(3600 * SECOND));
        handle.send(command::Status).await.unwrap();
        (waiting, connection)
    });
    drop(system);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let answer = runtime.block_on(waiting);
    let Err(SendError::Closed(payload)) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(payload.len(), 1 << 19);
    gate.open();
}

#[actix::test]
async fn a_handle_of_the_builder_sends_before_the_start_and_knows_the_phase() {
    let server = Server::start(Script::accept().echo());
    let probe = Probe::new();
    let builder = probe.attach(to(&server));
    let handle = builder.handle();
    assert!(handle.is_alive() && handle.phase() == Phase::Waiting);
    let (status, close) = (handle.send(command::Status), handle.send(command::Close::normal()));
    let mut watch = handle.watch();
    let connection = builder.start().unwrap();
    assert_eq!(status.await.unwrap().epoch, 0);
    assert_eq!(close.await.unwrap().kind, OutcomeKind::Closed);
    assert_eq!(probe.stopped().await.epochs, 0);
    let end = async { while watch.changed().await.is_some() {} };
    tokio::time::timeout(10 * SECOND, end).await.expect("the last phase is seen");
    assert_eq!((handle.phase(), handle.is_alive()), (Phase::Closed, true));
    drop(connection);

    let connection = to(&server);
    let handle = connection.handle();
    let connection = connection.start().unwrap();
    // From another thread, without a runtime.
    let waiting = handle.watch();
    let thread = thread::spawn(move || block_on(waiting.wait_for(Phase::Open)));
    assert!(reaches(&handle, Phase::Open).await);
    assert!(thread.join().unwrap());
    connection.send(command::Pause).await.unwrap().unwrap();
    assert!(reaches(&handle, Phase::Paused).await);
    drop(connection);
    assert!(reaches(&handle, Phase::Closed).await);
}

/// Whether the connection gets to a phase.
async fn reaches(handle: &Handle, phase: Phase) -> bool {
    let watch = handle.watch();
    tokio::time::timeout(10 * SECOND, watch.wait_for(phase)).await.expect("the phase is reached")
}

#[test]
fn what_was_sent_to_a_builder_that_is_not_started_comes_back() {
    let builder = Connection::builder("ws://127.0.0.1:1");
    let (handle, watch) = (builder.handle(), builder.watch());
    let sent = handle.send(command::Send::text("early"));
    let refused = builder.connect_timeout(Duration::ZERO).start();
    assert!(refused.is_err());
    let answer = block_on(sent);
    assert_eq!(answer, Err(SendError::Closed(Payload::from("early"))));
    assert!(!handle.is_alive() && handle.phase() == Phase::Closed);
    assert!(!block_on(watch.wait_for(Phase::Open)));
}

/// Runs a future on this thread, without a runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(std::sync::Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    let deadline = Instant::now() + 10 * SECOND;
    loop {
        assert!(Instant::now() < deadline, "it completes");
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => thread::park_timeout(SECOND),
        }
    }
}
