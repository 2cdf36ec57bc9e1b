//! A batch waits for room if it may, keeps its order, and makes a batch again of what came back.

use std::time::Duration;

use actix::System;
use actix_ws_client::command::SendError;
use actix_ws_client::testing::{Gate, Probe, Script, Server};
use actix_ws_client::{Connection, ConnectionBuilder, Handle, Payload, Reconnect, command, event};

const SECOND: Duration = Duration::from_secs(1);

const ROWS: usize = 400;

/// A connection with room for few messages.
fn to(server: &Server) -> ConnectionBuilder {
    let builder = Connection::builder(server.url()).reconnect(Reconnect::fixed(3600 * SECOND));
    builder.send_buffer(128 << 10).write_timeout(3600 * SECOND)
}

/// More than the send buffer and those of the sockets hold together: 20 MB.
fn rows() -> Vec<String> {
    (0..ROWS).map(|number| format!("{number:>50000}")).collect()
}

fn payloads(rows: Vec<String>) -> Vec<Payload> {
    rows.into_iter().map(Payload::from).collect()
}

async fn received(server: &Server, count: usize) -> Vec<Payload> {
    let mut received = Vec::new();
    while received.len() < count {
        received.push(server.next_message().await);
    }
    received
}

#[actix::test]
async fn a_batch_that_waits_is_sent_as_there_is_room_and_in_order() {
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let builder = to(&server);
    let watch = builder.watch();
    let _connection = probe.attach(builder).start().unwrap();
    let handle = probe.next::<event::Open>().await.connection;
    let batch = handle.send(command::SendBatch::new(rows()).wait(60 * SECOND));
    let behind = handle.send(command::Send::from("behind").wait(60 * SECOND));
    let mut expected = payloads(rows());
    expected.push("behind".into());
    assert!(received(&server, expected.len()).await == expected, "not as they were sent");
    assert_eq!((batch.await.unwrap().epoch, behind.await.unwrap().epoch), (1, 1));
    assert_eq!((watch.figures().messages_out, watch.figures().sends_refused), (ROWS as u64 + 1, 0));
}

#[actix::test]
async fn what_is_left_of_a_batch_comes_back_and_makes_a_batch_again() {
    let gate = Gate::new();
    let server = Server::start(Script::accept().stall_until(&gate));
    let probe = Probe::new();
    let _connection = probe.attach(to(&server)).start().unwrap();
    let handle = probe.next::<event::Open>().await.connection;
    let batch = command::SendBatch::new(rows()).wait(SECOND / 5);
    let unsent = handle.send(batch).await.unwrap_err();
    assert!(matches!(unsent.error, SendError::Full(_)), "{unsent}");
    assert!((1..ROWS).contains(&unsent.rest.len()), "{unsent}");
    gate.open();
    let again = command::SendBatch::from(unsent).wait(60 * SECOND);
    let again = handle.send(again);
    // None is missing, none is there twice.
    assert!(received(&server, ROWS).await == payloads(rows()), "not as they were sent");
    assert_eq!(again.await.unwrap().epoch, 1);
}

#[actix::test]
async fn a_batch_that_waits_comes_back_when_its_socket_is_lost() {
    let server = Server::start(Script::accept().stall_forever());
    let probe = Probe::new();
    let _connection = probe.attach(to(&server)).start().unwrap();
    let handle = probe.next::<event::Open>().await.connection;
    let waiting = handle.send(command::SendBatch::new(rows()).wait(3600 * SECOND));
    // One that may not wait does not overtake it.
    let hasty = handle.send(command::SendBatch::new(["hasty"])).await.unwrap_err();
    assert_eq!((hasty.error, hasty.rest), (SendError::Full("hasty".into()), vec![]));
    handle.send(command::Reconnect).await.unwrap();
    let unsent = waiting.await.unwrap_err();
    assert!(matches!(unsent.error, SendError::NotOpen(_)), "{unsent}");
    assert_eq!(unsent.rest.last(), payloads(rows()).last());
}

#[test]
fn a_batch_that_waits_comes_back_when_the_system_ends() {
    let server = Server::start(Script::accept().stall_forever());
    let system = System::new();
    let (waiting, _connection) = system.block_on(async {
        let probe = Probe::new();
        let connection = probe.attach(to(&server)).start().unwrap();
        let handle: Handle = probe.next::<event::Open>().await.connection;
        let waiting = handle.send(command::SendBatch::new(rows()).wait(3600 * SECOND));
        handle.send(command::Status).await.unwrap();
        (waiting, connection)
    });
    drop(system);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let unsent = runtime.block_on(waiting).unwrap_err();
    assert!(matches!(unsent.error, SendError::Closed(_)), "{unsent}");
    assert_eq!(unsent.rest.last(), payloads(rows()).last());
}
