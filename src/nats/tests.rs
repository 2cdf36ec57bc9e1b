//! Against a broker: what needs nats-server, in `NATS_SERVER` or on the PATH.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::{Actor, Addr};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::feed::event::{Batch, Update};
use crate::feed::{LineId, Sequence, ShardId, Topic};
use crate::nats::{Broker, Error, Notice, Options, Publisher, PublisherHandle, Role, Status};
use server::Server;

mod server;

const SECOND: Duration = Duration::from_secs(1);

fn run(test: impl AsyncFnOnce()) {
    actix::System::new().block_on(test());
}

fn options(server: &Server) -> Options {
    Options::new(server.url_of(""))
}

fn update(topic: &str, sequence: Sequence, text: impl Into<Bytes>) -> Update<Bytes> {
    Update {
        line: LineId::new(ShardId(1), 0),
        epoch: 1,
        topic: Topic::from(topic),
        sequence,
        snapshot: false,
        skipped: 0,
        received: Instant::now(),
        item: text.into(),
    }
}

/// A publisher, and what leads to it.
struct Started {
    broker: Broker,
    publisher: Addr<Publisher>,
    handle: PublisherHandle,
}

impl Started {
    async fn new(options: Options) -> Started {
        let broker = options.connect().await.unwrap();
        let publisher = Publisher::new(&broker);
        Started { handle: publisher.handle(), publisher: publisher.start(), broker }
    }

    async fn deliver(&self, updates: Vec<Update<Bytes>>) {
        self.publisher.send(Batch::new(updates)).await.unwrap();
    }

    /// Delivers the numbers of a topic, with the number as the text.
    async fn numbers(&self, topic: &str, numbers: std::ops::RangeInclusive<u64>) {
        let one = |it: u64| update(topic, Sequence::contiguous(it, it), it.to_string());
        self.deliver(numbers.map(one).collect()).await;
    }

    async fn close(&self) {
        let figures = self.handle.close(10 * SECOND).await;
        assert_eq!((figures.waiting, figures.in_flight), (0, 0), "{figures:?}");
    }
}

/// Asks JetStream.
async fn ask(broker: &Broker, subject: &str, question: Value) -> Value {
    let answer = broker.client.request(format!("$JS.API.{subject}"), question.to_string().into());
    serde_json::from_slice(&answer.await.unwrap().payload).unwrap()
}

/// Returns all messages of the stream: subject, headers and payload.
async fn messages(broker: &Broker) -> Vec<(String, String, String)> {
    let mut messages = Vec::new();
    for sequence in 1.. {
        let answer = ask(broker, "STREAM.MSG.GET.FEED", json!({ "seq": sequence })).await;
        let message = &answer["message"];
        let Some(subject) = message["subject"].as_str() else { break };
        let text = |key: &str| {
            let bytes = STANDARD.decode(message[key].as_str().unwrap_or_default()).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        messages.push((subject.to_owned(), text("hdrs"), text("data")));
    }
    messages
}

/// Returns the payloads of a subject.
async fn payloads(broker: &Broker, subject: &str) -> Vec<String> {
    let messages = messages(broker).await.into_iter();
    messages.filter(|it| it.0 == subject).map(|it| it.2).collect()
}

fn texts(numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn each_update_is_in_the_stream_with_its_numbers() {
    run(async || {
        let server = Server::start();
        let it = Started::new(options(&server)).await;
        let mut snapshot = update("a.b c", Sequence::contiguous(5, 9), "2");
        snapshot.snapshot = true;
        it.deliver(vec![
            update("a.b c", Sequence::contiguous(3, 4), "1"),
            snapshot,
            update("d", Sequence::none(), "3"),
            update("e", Sequence::id(7), "4"),
        ])
        .await;
        it.close().await;
        let mut found = messages(&it.broker).await;
        found.sort_by_key(|message| message.2.clone());
        let subjects: Vec<_> = found.iter().map(|it| it.0.as_str()).collect();
        assert_eq!(subjects, ["feed.a%2Eb%20c", "feed.a%2Eb%20c", "feed.d", "feed.e"]);
        let has = |at: usize, line: &str| found[at].1.lines().any(|it| it == line);
        assert!(has(0, "Feed-First: 3") && has(0, "Feed-Last: 4"), "{}", found[0].1);
        assert!(has(1, "Feed-Last: 9") && has(1, "Feed-Snapshot: 1"), "{}", found[1].1);
        assert!(!found[2].1.contains("Nats-Msg-Id"), "{}", found[2].1);
        assert!(has(3, "Feed-Last: 7") && has(3, "Feed-Unordered: 1"), "{}", found[3].1);
    });
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn another_process_goes_on_where_the_stream_ends() {
    run(async || {
        let server = Server::start();
        let first = Started::new(options(&server)).await;
        first.numbers("a", 1..=10).await;
        first.close().await;
        let second = Started::new(options(&server)).await;
        second.numbers("a", 6..=15).await;
        // The venue begins anew, which both see.
        second.numbers("a", 1..=3).await;
        second.close().await;
        first.numbers("a", 11..=15).await;
        first.numbers("a", 1..=5).await;
        first.close().await;
        let expected = [texts(1..=15), texts(1..=5)].concat();
        assert_eq!(payloads(&first.broker, "feed.a").await, expected);
    });
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn a_broker_that_is_killed_again_and_again_has_each_number_once() {
    run(async || {
        let mut server = Server::start();
        let it = Started::new(options(&server).ack_timeout(SECOND / 2)).await;
        let mut next = 1;
        for _ in 0..5 {
            for _ in 0..20 {
                it.numbers("a", next..=next + 9).await;
                it.numbers("b", next..=next + 9).await;
                next += 10;
            }
            server.kill();
            it.numbers("a", next..=next + 9).await;
            it.numbers("b", next..=next + 9).await;
            next += 10;
            server.restart();
        }
        let figures = it.handle.close(60 * SECOND).await;
        assert_eq!(figures.waiting, 0, "{figures:?}");
        for subject in ["feed.a", "feed.b"] {
            assert_eq!(payloads(&it.broker, subject).await, texts(1..=next - 1), "{subject}");
        }
    });
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn the_mailbox_stops_at_the_bound_while_the_broker_is_away() {
    run(async || {
        let mut server = Server::start();
        let it = Started::new(options(&server).queue(100, 1 << 20)).await;
        it.numbers("a", 1..=1).await;
        server.kill();
        let one = |number: u64| {
            Batch::new(vec![update("a", Sequence::contiguous(number, number), number.to_string())])
        };
        let mut number = 2;
        while it.publisher.try_send(one(number)).is_ok() {
            number += 1;
            tokio::task::yield_now().await;
        }
        // The bound, and the mailbox.
        assert!((100..150).contains(&number), "{number}");
        assert_eq!(it.handle.figures().waiting, 100);
        let began = Instant::now();
        let figures = it.handle.close(SECOND / 5).await;
        assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
        // What the mailbox had is counted too.
        assert_eq!(figures.waiting + figures.acknowledged, number - 1);
        server.restart();
        it.close().await;
        assert_eq!(payloads(&it.broker, "feed.a").await, texts(1..=number - 1));
    });
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn a_topic_ends_once_what_waits_in_the_mailbox_is_published() {
    run(async || {
        let mut server = Server::start();
        let it = Started::new(options(&server).queue(10, 1 << 20)).await;
        server.kill();
        it.numbers("a", 1..=10).await;
        // The mailbox is stopped.
        let waits = update("b", Sequence::contiguous(1, 1), "1");
        it.publisher.do_send(Batch::new(vec![waits]));
        let mut end = Box::pin(it.handle.end(&["b".into()], Instant::now()));
        for _ in 0..100 {
            tokio::select! {
                biased;
                () = &mut end => panic!("it has not been published"),
                () = tokio::task::yield_now() => {}
            }
        }
        server.restart();
        end.await;
        assert_eq!(payloads(&it.broker, "feed.b").await, ["1"]);
        it.close().await;
    });
}

/// A process that is started again receives from the venue what the stream has already.
#[test]
#[ignore = "needs nats-server: just nats"]
fn what_the_stream_has_already_makes_room_and_waits_no_longer() {
    run(async || {
        let server = Server::start();
        let before = Started::new(options(&server)).await;
        before.numbers("a", 1..=20).await;
        before.close().await;
        let it = Started::new(options(&server).queue(10, 1 << 20)).await;
        it.numbers("a", 1..=10).await;
        let more = it.numbers("a", 11..=20);
        tokio::time::timeout(10 * SECOND, more).await.expect("the mailbox stays stopped");
        while it.handle.figures().duplicates < 20 {
            tokio::task::yield_now().await;
        }
        assert_eq!((it.handle.figures().waiting, it.handle.status().stalled), (0, None));
        assert!(it.handle.status().last_acknowledged.is_some());
    });
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn a_publisher_says_how_it_is() {
    run(async || {
        let mut server = Server::start();
        let it = Started::new(options(&server)).await;
        let until = async |is_so: fn(&Status) -> bool| {
            let began = Instant::now();
            loop {
                let status = it.handle.status();
                if is_so(&status) {
                    return status;
                }
                assert!(began.elapsed() < 20 * SECOND, "{status:?}");
                tokio::task::yield_now().await;
            }
        };
        assert_eq!(it.handle.status().last_acknowledged, None);
        it.numbers("a", 1..=10).await;
        let status = until(|it| it.figures.acknowledged == 10 && it.stalled.is_none()).await;
        assert!(status.last_acknowledged.is_some_and(|it| it < 10 * SECOND), "{status:?}");
        assert_eq!((status.is_connected, status.connections, status.failure), (true, 1, None));
        server.kill();
        let lost = until(|it| !it.is_connected).await;
        it.numbers("a", 11..=12).await;
        let status = until(|it| it.failure.is_some()).await;
        assert!(status.since > lost.since && status.stalled.is_some(), "{:?}", status.stalled);
        assert!(status.last_acknowledged >= Some(lost.since), "{:?}", status.last_acknowledged);
        server.restart();
        let status = until(|it| it.figures.acknowledged == 12 && it.stalled.is_none()).await;
        assert_eq!((status.is_connected, status.connections, status.failure), (true, 2, None));
        // A stream that is gone, while the connection is open.
        it.broker.client.request("$JS.API.STREAM.DELETE.FEED", "".into()).await.unwrap();
        it.numbers("a", 13..=13).await;
        let status = until(|it| it.failure.is_some()).await;
        assert!(status.is_connected && status.stalled.is_some(), "{status:?}");
        assert!(status.failure.is_some_and(|why| why.contains("no stream takes the subject")));
    });
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn a_standby_that_becomes_the_owner_publishes_what_is_missing() {
    run(async || {
        let server = Server::start();
        let shared = async || {
            let broker = options(&server).connect().await.unwrap();
            let publisher = Publisher::shared(&broker, 10 * SECOND);
            Started { handle: publisher.handle(), publisher: publisher.start(), broker }
        };
        let (old, new) = (shared().await, shared().await);
        let topic = [Topic::from("a")];
        old.handle.set_role(&topic, Role::Owner { fence: 1, until: None }).await;
        new.handle.set_role(&topic, Role::Standby).await;
        old.numbers("a", 1..=10).await;
        new.numbers("a", 1..=20).await;
        old.close().await;
        assert_eq!(new.handle.figures().kept, 20);
        new.handle.set_role(&topic, Role::Owner { fence: 2, until: None }).await;
        new.close().await;
        // The old owner does not know yet. It finds the higher fence.
        old.numbers("a", 11..=25).await;
        while old.handle.figures().fenced == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(payloads(&new.broker, "feed.a").await, texts(1..=20));
        old.handle.set_role(&topic, Role::None).await;
        assert_eq!((old.handle.figures().waiting, old.handle.figures().kept), (0, 0));
    });
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn a_message_that_is_too_large_is_left_out_and_counted() {
    run(async || {
        let server = Server::start();
        let it = Started::new(options(&server)).await;
        let large = vec![b'x'; 2 << 20];
        it.numbers("a", 1..=1).await;
        it.deliver(vec![update("a", Sequence::contiguous(2, 2), large)]).await;
        it.numbers("a", 3..=3).await;
        it.numbers(&"long".repeat(1000), 1..=1).await;
        it.close().await;
        assert_eq!(it.handle.figures().refused, 2);
        assert_eq!(payloads(&it.broker, "feed.a").await, ["1", "3"]);
    });
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn a_stream_that_does_not_fit_is_refused_by_name() {
    run(async || {
        let server = Server::start();
        let broker = options(&server).connect().await.unwrap();
        let refused = async |options: Options| match options.connect().await {
            Err(Error::Stream { stream, why, .. }) => format!("{stream} {why}"),
            other => panic!("{other:?}"),
        };
        let config = json!({ "name": "OTHER", "subjects": ["orders.*"] });
        ask(&broker, "STREAM.CREATE.OTHER", config).await;
        let err = refused(options(&server).stream("OTHER")).await;
        assert!(
            err.starts_with("OTHER has the subjects orders.*, and feed.* is published"),
            "{err}"
        );
        let window = json!(3_000_000_000_u64);
        let config =
            json!({ "name": "SHORT", "subjects": ["short.*"], "duplicate_window": window });
        ask(&broker, "STREAM.CREATE.SHORT", config).await;
        let err = refused(options(&server).stream("SHORT").subject("short.{topic}")).await;
        assert!(err.starts_with("SHORT has a `duplicate_window` of 3s, and at least 4s"), "{err}");
        let err = refused(options(&server).stream("THIRD")).await;
        assert!(err.contains("subjects overlap with an existing stream"), "{err}");
        let err = refused(options(&server).stream("FOURTH").subject("x.{topic}").replicas(3)).await;
        assert!(err.contains("`replicas`"), "{err}");
    });
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn a_broker_that_is_not_there_yet_is_waited_for() {
    run(async || {
        let mut server = Server::start();
        server.kill();
        let notices = Arc::new(Mutex::new(Vec::new()));
        let noted = notices.clone();
        let noting = move |notice| noted.lock().unwrap().push(notice);
        let connecting = actix::spawn(options(&server).on_notice(noting).connect());
        let is_noted = |is: fn(&Notice) -> bool| notices.lock().unwrap().iter().any(is);
        while !is_noted(|it| matches!(it, Notice::Unreachable { why } if why.contains("refused"))) {
            tokio::task::yield_now().await;
        }
        server.restart();
        connecting.await.unwrap().unwrap();
        assert!(is_noted(|it| *it == Notice::Connected));
    });
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn a_token_and_a_password_are_sent_and_a_wrong_one_is_final() {
    run(async || {
        let server = Server::with("authorization: { token: hidden-1 }", "nats");
        let refused = options(&server).connect().await.unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("authorization violation") && text.contains("`token`"), "{text}");
        assert!(options(&server).token("wrong").connect().await.is_err());
        options(&server).token("hidden-1").connect().await.unwrap();
        let server = Server::with("authorization: { user: me, password: hidden-2 }", "nats");
        Options::new(server.url_of("me:hidden-2@")).connect().await.unwrap();
        assert!(Options::new(server.url_of("me:hidden-3@")).connect().await.is_err());
        let err = options(&server).creds_file("/nowhere/x.creds").connect().await.unwrap_err();
        assert!(
            err.to_string().starts_with("`creds_file`: /nowhere/x.creds: No such file"),
            "{err}"
        );
    });
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn tls_is_by_the_authorities_that_are_named() {
    run(async || {
        let (server, authorities) = Server::with_tls();
        let named = options(&server);
        let err = named.clone().connect().await.unwrap_err().to_string();
        assert!(err.contains("TLS: ") && err.contains("`authorities_file`"), "{err}");
        named.authorities_file(&authorities).connect().await.unwrap();
        // A broker without TLS.
        let plain = Server::start();
        let err = options(&plain).authorities_file(&authorities).connect().await.unwrap_err();
        assert!(err.to_string().contains("TLS: "), "{err}");
    });
}

/// Publishes as fast as it goes, and prints how fast that is.
#[test]
#[ignore = "measures, and needs nats-server: just nats-throughput"]
fn throughput() {
    run(async || {
        const TOPICS: u64 = 600;
        let count: u64 = std::env::var("MESSAGES").map_or(300_000, |it| it.parse().unwrap());
        let storage = std::env::var("STORAGE").unwrap_or_else(|_| "file".to_owned());
        let server = Server::start();
        let plain = options(&server);
        let chosen = match std::env::var("IN_FLIGHT") {
            Ok(count) => plain.in_flight(count.parse().unwrap()),
            Err(_) => plain,
        };
        let broker = chosen.clone().stream("NONE").subject("none.{topic}").connect().await.unwrap();
        let config = json!({
            "name": "FEED",
            "subjects": ["feed.*"],
            "storage": storage,
            "duplicate_window": 600_000_000_000_u64,
        });
        ask(&broker, "STREAM.CREATE.FEED", config).await;
        let it = Started::new(chosen).await;
        let began = Instant::now();
        let text = Bytes::from(vec![b'x'; 128]);
        let mut number = 0;
        while number * TOPICS < count {
            number += 1;
            let one = |topic| {
                update(
                    &format!("topic-{topic}"),
                    Sequence::contiguous(number, number),
                    text.clone(),
                )
            };
            it.deliver((0..TOPICS).map(one).collect()).await;
        }
        let figures = it.handle.close(120 * SECOND).await;
        let time = began.elapsed();
        assert_eq!((figures.waiting, figures.acknowledged), (0, number * TOPICS), "{figures:?}");
        let rate = (number * TOPICS) as f64 / time.as_secs_f64();
        println!("{rate:.0} messages/s of 128 B, {storage} storage, {figures:?}, {time:?}");
    });
}
