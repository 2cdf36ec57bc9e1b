//! Questions and answers: each answer reaches its asker, everything else the handlers, and no asker waits for ever.

use std::time::Duration;

use actix_ws_client::command::{self, Fate, SendError};
use actix_ws_client::requests::AskError;
use actix_ws_client::testing::{Gate, MemoryServer, Probe, Script, Server};
use actix_ws_client::{
    ConfigError, Connection, Error, OutcomeKind, Payload, Reconnect, Requests, View, event,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Finds the number at the start of a message.
fn number(message: View<'_>) -> Option<u64> {
    let View::Text(text) = message else { return None };
    text.split(' ').next()?.parse().ok()
}

fn question(key: u64) -> command::Send {
    command::Send::text(format!("{key} ?"))
}

fn texts(messages: &[event::Message]) -> Vec<&str> {
    messages.iter().filter_map(|message| message.payload.as_text()).collect()
}

#[actix::test]
async fn answers_reach_their_askers_and_everything_else_the_handlers_in_order() {
    let script = Script::accept().send_text("before").expect_text("1 ?").expect_text("2 ?");
    // In one read: strangers, both answers in the other order, and a second message with a key.
    let replies = ["news", "2 two", "9 nine", "1 one", "1 again", "last"];
    let server = MemoryServer::paused(script.send_all(replies));
    let (probe, requests) = (Probe::new(), Requests::new(number));
    let builder = server.connection().requests(&requests).on_batch_to(probe.recipient());
    let connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Open>().await;
    let (one, two) = tokio::join!(requests.ask(1, question(1)), requests.ask(2, question(2)));
    assert_eq!(one.unwrap().as_text(), Some("1 one"));
    assert_eq!(two.unwrap().as_text(), Some("2 two"));
    probe.next_where(|message: &event::Message| message.payload.as_text() == Some("last")).await;
    let rest = ["before", "news", "9 nine", "1 again", "last"];
    assert_eq!(texts(&probe.all::<event::Message>()), rest);
    let batched = probe.all::<event::Batch>();
    let batched = batched.iter().flat_map(|batch| batch.iter().map(View::to_payload));
    assert_eq!(batched.collect::<Vec<_>>(), rest.map(Payload::from));
    let status = connection.send(command::Status).await.unwrap();
    assert_eq!((status.figures.messages_in, requests.open()), (7, 0));
}

#[actix::test]
async fn a_late_answer_is_dropped_and_counted() {
    let (late, server) = {
        let gate = Gate::new();
        let script = Script::accept().expect_text("1 ?").serve_until(&gate).send_text("1 late");
        let script = script.send_text("1 news").expect_text("2 ?").send_text("2 two");
        (gate, MemoryServer::paused(script))
    };
    let probe = Probe::new();
    let requests = Requests::new(number).deadline(Duration::from_secs(3));
    let _connection = probe.attach(server.connection().requests(&requests)).start().unwrap();
    let epoch = probe.next::<event::Open>().await.epoch;
    let begun = Instant::now();
    let error = requests.ask(1, question(1)).await.unwrap_err();
    let after = Duration::from_secs(3);
    assert_eq!(error, AskError::Late { after, fate: Fate::Written { epoch } });
    assert_eq!(begun.elapsed().as_secs(), after.as_secs());
    // Its answer may still come: the key stays taken.
    let refused = requests.ask(1, question(1)).await.unwrap_err();
    assert_eq!(refused, AskError::Duplicate(Payload::from("1 ?")));
    late.open();
    assert_eq!(probe.next_message().await.payload.as_text(), Some("1 news"));
    assert_eq!((requests.late_answers(), requests.open()), (1, 0));
    assert_eq!(requests.ask(2, question(2)).await.unwrap().as_text(), Some("2 two"));
}

#[actix::test]
async fn the_earliest_deadline_comes_first_whatever_was_asked_first() {
    let server = MemoryServer::paused(Script::accept());
    let probe = Probe::new();
    let requests = Requests::new(number);
    let _connection = probe.attach(server.connection().requests(&requests)).start().unwrap();
    probe.next::<event::Open>().await;
    let begun = Instant::now();
    let mut asked = JoinSet::new();
    for (key, seconds) in [(1, 9), (2, 3), (3, 6), (4, u64::MAX)] {
        let requests = requests.clone().deadline(Duration::from_secs(seconds));
        asked.spawn(async move { (key, requests.ask(key, question(key)).await) });
    }
    for (expected, seconds) in [(2, 3), (3, 6), (1, 9)] {
        let (key, answer) = asked.join_next().await.unwrap().unwrap();
        assert!(matches!(answer, Err(AskError::Late { .. })), "{answer:?}");
        assert_eq!((key, begun.elapsed().as_secs()), (expected, seconds));
    }
    assert_eq!(requests.open(), 1);
}

#[actix::test]
async fn questions_end_with_their_socket_and_go_to_no_other() {
    let first = Script::accept().expect_text("1 ?").drop_connection();
    let second = Script::accept().expect_text("1 ?").send_text("1 one");
    let server = MemoryServer::paused([first, second]);
    let (probe, requests) = (Probe::new(), Requests::new(number));
    let unstarted = requests.ask(1, question(1)).await.unwrap_err();
    assert_eq!(unstarted, AskError::Unsent(SendError::NotOpen(Payload::from("1 ?"))));
    let connection = probe.attach(server.connection().requests(&requests)).start().unwrap();
    probe.next::<event::Open>().await;
    let lost = requests.ask(1, question(1)).await.unwrap_err();
    assert_eq!(lost, AskError::Lost { epoch: 1, fate: Fate::Written { epoch: 1 } });
    let between = requests.ask(1, question(1)).await.unwrap_err();
    assert_eq!(between, AskError::Unsent(SendError::NotOpen(Payload::from("1 ?"))));
    assert_eq!(between.into_payload(), Some(Payload::from("1 ?")));
    assert_eq!(requests.opened().await, Ok(2));
    // The key is free again: no answer to the lost question can come over this socket.
    assert_eq!(requests.ask(1, question(1)).await.unwrap().as_text(), Some("1 one"));
    connection.send(command::Close::normal()).await.unwrap();
    let closed = requests.ask(2, question(2)).await.unwrap_err();
    assert_eq!(closed, AskError::Unsent(SendError::Closed(Payload::from("2 ?"))));
    assert_eq!(requests.opened().await, Err(command::Closed));
    assert_eq!(server.journal().messages(), ["1 ?", "1 ?"].map(Payload::from));
}

#[actix::test]
async fn a_question_too_many_and_one_that_is_dropped_are_bounded() {
    let gate = Gate::new();
    let script = Script::accept().expect_text("2 ?").serve_until(&gate).send_text("1 late");
    let server = MemoryServer::paused(script.send_text("2 two").send_text("3 news"));
    let (probe, requests) = (Probe::new(), Requests::new(number).limit(1));
    let _connection = probe.attach(server.connection().requests(&requests)).start().unwrap();
    probe.next::<event::Open>().await;
    let dropped = tokio::time::timeout(Duration::from_secs(1), requests.ask(1, question(1)));
    assert!(dropped.await.is_err());
    assert_eq!(requests.open(), 0);
    let asking = requests.clone();
    let asked = tokio::spawn(async move { asking.ask(2, question(2)).await });
    while requests.open() == 0 {
        tokio::task::yield_now().await;
    }
    let full = requests.ask(3, question(3)).await.unwrap_err();
    assert_eq!(full, AskError::Full(Payload::from("3 ?")));
    gate.open();
    assert_eq!(asked.await.unwrap().unwrap().as_text(), Some("2 two"));
    assert_eq!(probe.next_message().await.payload.as_text(), Some("3 news"));
    assert_eq!(requests.late_answers(), 1);
}

#[actix::test]
async fn a_question_that_the_connection_refuses_leaves_its_key() {
    let server = MemoryServer::paused(Script::accept().expect_text("1 ?").send_text("1 one"));
    let (probe, requests) = (Probe::new(), Requests::new(number));
    let builder = server.connection().requests(&requests).send_buffer(100);
    let _connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Open>().await;
    let long = command::Send::text("1 ".repeat(100));
    let refused = requests.ask(1, long).await.unwrap_err();
    assert!(matches!(refused, AskError::Unsent(SendError::TooLarge(_))), "{refused:?}");
    assert_eq!(requests.ask(1, question(1)).await.unwrap().as_text(), Some("1 one"));
}

#[actix::test]
async fn questions_come_from_any_thread_without_a_runtime() {
    let server = Server::start(Script::accept().echo());
    let (probe, requests) = (Probe::new(), Requests::new(number));
    let builder = Connection::builder(server.url()).proxy_from_env(false).requests(&requests);
    let connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Open>().await;
    let threads: Vec<_> = (0..8_u64)
        .map(|thread| {
            let requests = requests.clone();
            std::thread::spawn(move || {
                for key in (thread * 1_000)..(thread * 1_000 + 200) {
                    let asked = requests.ask(key, question(key));
                    let answer = block_on(asked).unwrap();
                    assert_eq!(answer.as_text(), Some(&*format!("{key} ?")));
                }
            })
        })
        .collect();
    tokio::task::spawn_blocking(|| threads.into_iter().for_each(|it| it.join().unwrap()))
        .await
        .unwrap();
    assert!(probe.all::<event::Message>().is_empty());
    connection.send(command::Close::normal()).await.unwrap();
}

/// Waits for a future on a thread without a runtime.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut cx = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park_timeout(Duration::from_secs(20)),
        }
    }
}

#[actix::test]
async fn one_connection_at_a_time_has_the_questions() {
    let server = MemoryServer::paused(Script::accept().echo());
    let requests = Requests::new(number);
    let first = server.connection().requests(&requests).start().unwrap();
    let refused = server.connection().requests(&requests).start();
    let Err(ConfigError::Option { option: "requests", reason }) = refused else {
        panic!("not refused")
    };
    assert!(reason.contains("another connection"), "{reason}");
    first.send(command::Close::normal()).await.unwrap();
    let probe = Probe::new();
    let _second = probe.attach(server.connection().requests(&requests)).start().unwrap();
    probe.next::<event::Open>().await;
    assert_eq!(requests.ask(1, question(1)).await.unwrap().as_text(), Some("1 ?"));
}

#[actix::test]
async fn a_panic_while_the_key_is_looked_for_ends_the_run_and_the_questions() {
    let server = MemoryServer::paused(Script::accept().echo());
    let requests = Requests::<u64>::new(|_| panic!("as the test wants it"));
    let probe = Probe::new();
    let builder = server.connection().requests(&requests).reconnect(Reconnect::never());
    let _connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Open>().await;
    let lost = requests.ask(1, question(1)).await.unwrap_err();
    assert!(matches!(lost, AskError::Lost { epoch: 1, .. }), "{lost:?}");
    let outcome = probe.stopped().await;
    assert!(matches!(outcome.error, Some(Error::Handler(_))), "{outcome:?}");
    assert_ne!(outcome.kind, OutcomeKind::Closed);
}

#[actix::test]
async fn a_connection_that_is_dropped_fails_its_questions() {
    let server = MemoryServer::paused(Script::accept().never_answer_close());
    let (probe, requests) = (Probe::new(), Requests::new(number));
    let connection = probe.attach(server.connection().requests(&requests)).start().unwrap();
    probe.next::<event::Open>().await;
    let asking = requests.clone();
    let asked = tokio::spawn(async move { asking.ask(1, question(1)).await });
    server.journal().next_message().await;
    drop(connection);
    let lost = asked.await.unwrap().unwrap_err();
    assert_eq!(lost, AskError::Lost { epoch: 1, fate: Fate::Written { epoch: 1 } });
    probe.stopped().await;
    let closed = requests.ask(2, question(2)).await.unwrap_err();
    assert!(matches!(closed, AskError::Unsent(SendError::Closed(_))), "{closed:?}");
}

#[actix::test]
async fn what_waits_for_a_socket_is_woken_by_the_end_of_the_connection() {
    let server = MemoryServer::paused(Script::refuse(503));
    let (probe, requests) = (Probe::new(), Requests::new(number));
    let builder = server.connection().requests(&requests);
    let builder = builder.reconnect(Reconnect::fixed(Duration::from_secs(3600)));
    let connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Error>().await;
    let mut opened = std::pin::pin!(requests.opened());
    assert!(futures_util::poll!(opened.as_mut()).is_pending());
    connection.send(command::Close::normal()).await.unwrap();
    let opened = tokio::time::timeout(Duration::from_secs(60), opened).await;
    assert_eq!(opened.expect("it is woken"), Err(command::Closed));
}
