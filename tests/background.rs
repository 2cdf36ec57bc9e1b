//! The background thread of streams: one for the process, which ends with the last stream. The only test of its
//! process, because it counts the threads of that name.
#![cfg(target_os = "linux")]

use std::fs;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use actix_ws_client::stream::{Events, Sender};
use actix_ws_client::testing::{Script, Server};
use actix_ws_client::{Connection, ConnectionBuilder, Event};

/// Returns the number of threads with the name of the background thread.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.trim() == "actix-ws-client").count()
}

fn open(builder: ConnectionBuilder) -> (Sender, Events) {
    let (sender, mut events) = builder.stream(16).unwrap();
    while !matches!(events.blocking_next().unwrap().expect("no end"), Event::Open(_)) {}
    (sender, events)
}

fn wait_for(threads: impl Fn() -> bool) {
    let start = Instant::now();
    while !threads() {
        assert!(start.elapsed() < Duration::from_secs(20), "{} threads", self::threads());
        std::thread::yield_now();
    }
}

#[test]
fn there_is_one_thread_while_there_is_a_stream_and_then_none() {
    let server = Server::start(vec![Script::accept(); 16]);
    assert_eq!(threads(), 0);
    for round in 1..=3 {
        let (first, second) =
            (open(Connection::builder(server.url())), open(Connection::builder(server.url())));
        assert_eq!(threads(), 1);
        drop(first);
        // Behind the start of another one, so that the end of the first has been seen.
        let third = open(Connection::builder(server.url()));
        assert_eq!(threads(), 1);
        drop((second, third));
        wait_for(|| threads() == 0);
        assert_eq!(server.closes().len(), 3 * round, "each close went on to its end");
    }
    // Closures that still run keep it.
    let (called, seen) = channel();
    let builder = Connection::builder(server.url()).on_stopped(move |_| {
        std::thread::sleep(Duration::from_millis(100));
        called.send(()).unwrap();
    });
    drop(open(builder));
    wait_for(|| threads() == 0);
    assert!(seen.try_recv().is_ok());
    // A start that meets the end of the thread gets a new one.
    for _ in 0..200 {
        drop(Connection::builder("ws://127.0.0.1:1/").no_reconnect().stream(1).unwrap());
    }
    drop(open(Connection::builder(server.url())));
    wait_for(|| threads() == 0);
}
