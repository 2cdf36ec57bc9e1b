//! The topics of one feed, shared between members over a broker: each has its part, a share is handed over while both
//! are subscribed, and a member that cannot reach the broker publishes nothing.
//!
//! They need nats-server, in `NATS_SERVER` or on the PATH: `just nats`.

#![cfg(feature = "nats")]

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler};
use actix_ws_client::feed::event::{Gap, TopicState, Update};
use actix_ws_client::feed::{Dialect, Feed, Request, RequestId, Said, Topic, command};
use actix_ws_client::nats::{
    Broker, ChangeError, Changed, Error, Options, Publisher, PublisherHandle, ShareEvent,
    ShareState, Shares, SharesHandle,
};
use actix_ws_client::testing::{Script, Server};
use actix_ws_client::{Payload, View};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

/// A broker of its own, which ends with the value.
struct Nats {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Nats {
    fn start(name: &str) -> Nats {
        let folder =
            std::env::temp_dir().join(format!("nats_shares.{name}.{}", std::process::id()));
        // What a run of before has left, if it was killed.
        let _ = std::fs::remove_dir_all(&folder);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Nats { child: run(port, &folder), port, folder }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    fn options(&self) -> Options {
        Options::new(format!("nats://127.0.0.1:{}", self.port)).lease(LEASE)
    }
}

fn run(port: u16, folder: &std::path::Path) -> Child {
    let server = std::env::var("NATS_SERVER").unwrap_or_else(|_| "nats-server".to_owned());
    let mut command = Command::new(server);
    command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"]).arg(folder);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it can be run");
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let is_ready = |line: Result<String, _>| line.is_ok_and(|it| it.contains("Server is ready"));
    assert!(lines.any(is_ready), "the nats-server does not start");
    std::thread::spawn(move || lines.for_each(drop));
    child
}

impl Drop for Nats {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

const LEASE: Duration = Duration::from_secs(2);

/// A venue that confirms by sending each request back.
struct Echoed;

impl Dialect for Echoed {
    type Item = Payload;

    fn subscribe(&mut self, id: RequestId, topics: &[Topic]) -> Request {
        Request::text(format!("{id} sub {}", topics.join(",")))
    }

    fn unsubscribe(&mut self, id: RequestId, topics: &[Topic]) -> Option<Request> {
        Some(Request::text(format!("{id} unsub {}", topics.join(","))))
    }

    fn read<'m>(&mut self, message: View<'m>) -> Said<'m, Payload> {
        let text = message.as_text().unwrap_or_default();
        let id = text.split(' ').next().and_then(|id| id.parse::<u64>().ok());
        id.map_or(Said::Nothing, Said::confirmed)
    }
}

struct Sink;

impl Actor for Sink {
    type Context = Context<Sink>;
}

impl Handler<Update<Payload>> for Sink {
    type Result = ();
    fn handle(&mut self, _: Update<Payload>, _: &mut Context<Sink>) {}
}

impl Handler<Gap> for Sink {
    type Result = ();
    fn handle(&mut self, _: Gap, _: &mut Context<Sink>) {}
}

impl Handler<TopicState> for Sink {
    type Result = ();
    fn handle(&mut self, _: TopicState, _: &mut Context<Sink>) {}
}

/// A process that shares, or what stands for one here.
struct Member {
    feed: Addr<Feed<Payload>>,
    shares: SharesHandle,
    _publisher: PublisherHandle,
    _broker: Broker,
}

/// What all members have reported, each by its number.
struct Room {
    nats: Nats,
    venue: Server,
    sender: UnboundedSender<(usize, ShareEvent)>,
    receiver: UnboundedReceiver<(usize, ShareEvent)>,
    states: BTreeMap<(usize, u32), ShareState>,
    refused: BTreeSet<usize>,
    members: usize,
}

impl Room {
    fn new(name: &str) -> Room {
        let (sender, receiver) = unbounded_channel();
        let venue = Server::start(Script::accept().echo());
        let (states, refused) = (BTreeMap::new(), BTreeSet::new());
        Room { nats: Nats::start(name), venue, sender, receiver, states, refused, members: 0 }
    }

    /// A member with these topics starts.
    async fn join(&mut self, topics: &[String]) -> Member {
        let number = self.members;
        self.members += 1;
        let broker = self.nats.options().connect().await.expect("the broker takes it");
        let publisher = Publisher::shared(&broker, 2 * LEASE);
        let handle = publisher.handle();
        // Nothing is delivered in these tests.
        publisher.start();
        let url = self.venue.url();
        let feed = Feed::builder(async move |_| Ok(Echoed.at(url.clone())))
            .handler(&Sink.start())
            .start()
            .expect("it can be started");
        let sender = self.sender.clone();
        let shares = Shares::new("test", topics, 5).lease(LEASE).on_event(move |event| {
            // The test may be over.
            let _ = sender.send((number, event));
        });
        let shares = shares.start(&broker, &feed, &handle).await.expect("it can share");
        Member { feed, shares, _publisher: handle, _broker: broker }
    }

    /// Waits until a condition holds.
    async fn until(&mut self, what: &str, holds: impl Fn(&Room) -> bool) {
        let wait = async {
            while !holds(self) {
                let (number, event) = self.receiver.recv().await.expect("a sender is here");
                match event {
                    ShareEvent::State { share, state, .. } => {
                        let _ = self.states.insert((number, share), state);
                    }
                    ShareEvent::Refused { .. } => {
                        self.refused.insert(number);
                    }
                    _ => {}
                }
            }
        };
        if timeout(Duration::from_secs(30), wait).await.is_err() {
            panic!("{what} did not happen: {:?}", self.states);
        }
    }

    /// Returns the shares that a member owns, by what it has reported.
    fn owned(&self, number: usize) -> Vec<u32> {
        let is_owned = |((by, _), state): &(&(usize, u32), &ShareState)| {
            *by == number && matches!(state, ShareState::Owned { .. })
        };
        self.states.iter().filter(is_owned).map(|((_, share), _)| *share).collect()
    }

    fn parts(&self) -> Vec<usize> {
        (0..self.members).map(|number| self.owned(number).len()).collect()
    }

    fn fence(&self, number: usize, share: u32) -> u64 {
        match self.states[&(number, share)] {
            ShareState::Owned { fence, .. } => fence,
            ref other => panic!("{number} is {other:?} for {share}"),
        }
    }
}

fn topics(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("t{number}")).collect()
}

fn run_local<F: Future<Output = ()>>(test: F) {
    actix::System::new().block_on(test);
}

/// Waits until the feed of a member wants so many topics. What was claimed in vain leaves a little later.
async fn wants(member: &Member, topics: usize) {
    let wait = async {
        loop {
            let status = member.feed.send(command::Status).await.expect("it runs");
            if status.figures.wanted == topics {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), wait).await.expect("it has them in time");
}

/// Changes the topics once the member has seen that it is alone, which it sees up to a third of a lease after the others
/// have left.
async fn change_alone(member: &Member, topics: Vec<String>) -> Changed {
    let wait = async {
        loop {
            match member.shares.change(topics.clone()).await {
                Err(ChangeError::NotAlone) => tokio::task::yield_now().await,
                changed => return changed.expect("it is alone"),
            }
        }
    };
    timeout(Duration::from_secs(30), wait).await.expect("it sees that it is alone in time")
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn each_member_has_its_part_and_leaves_nothing_behind() {
    run_local(async {
        let mut room = Room::new("parts");
        let first = room.join(&topics(60)).await;
        room.until("one member owns all", |room| room.parts() == [12]).await;
        let fences: Vec<u64> = (1..=12).map(|share| room.fence(0, share)).collect();
        let second = room.join(&topics(60)).await;
        let third = room.join(&topics(60)).await;
        room.until("each has a third", |room| room.parts() == [4, 4, 4]).await;
        for share in room.owned(1).into_iter().chain(room.owned(2)) {
            let fence = if room.owned(1).contains(&share) {
                room.fence(1, share)
            } else {
                room.fence(2, share)
            };
            assert!(fence > fences[share as usize - 1], "share {share}");
        }
        wants(&third, 20).await;
        first.shares.leave(Duration::from_secs(10)).await;
        room.until("two have a half", |room| room.parts() == [0, 6, 6]).await;
        wants(&first, 0).await;
        second.shares.leave(Duration::from_secs(10)).await;
        room.until("one has all", |room| room.parts() == [0, 0, 12]).await;
        wants(&third, 60).await;
    });
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn a_member_with_other_topics_is_refused() {
    run_local(async {
        let mut room = Room::new("refused");
        let first = room.join(&topics(10)).await;
        room.until("one member owns all", |room| room.parts() == [2]).await;
        let second = room.join(&topics(11)).await;
        room.until("the second one is refused", |room| room.refused.contains(&1)).await;
        // It has left by itself.
        second.shares.leave(Duration::from_secs(1)).await;
        assert_eq!(room.parts(), [2, 0]);
        let changed = change_alone(&first, topics(11)).await;
        assert_eq!((changed.added, changed.removed, changed.shares), (1, 0, 3));
        room.until("the third share is owned", |room| room.parts() == [3, 0]).await;
        wants(&first, 11).await;
        let changed = first.shares.change(topics(8)).await.expect("it is alone");
        assert_eq!((changed.added, changed.removed, changed.shares), (0, 3, 2));
        wants(&first, 8).await;
        let _third = room.join(&topics(8)).await;
        room.until("both have a part", |room| room.parts() == [1, 0, 1]).await;
        assert_eq!(first.shares.change(topics(9)).await, Err(ChangeError::NotAlone));
    });
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn a_share_of_a_member_that_ends_is_taken_over() {
    run_local(async {
        let mut room = Room::new("ends");
        let first = room.join(&topics(20)).await;
        let _second = room.join(&topics(20)).await;
        room.until("both have a half", |room| room.parts() == [2, 2]).await;
        drop(first.shares);
        room.until("the other has all", |room| room.owned(1).len() == 4).await;
    });
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn while_the_broker_is_stopped_nobody_owns_a_share_and_afterwards_those_who_did() {
    run_local(async {
        let mut room = Room::new("stopped");
        let _first = room.join(&topics(20)).await;
        let _second = room.join(&topics(20)).await;
        room.until("both have a half", |room| room.parts() == [2, 2]).await;
        let before = [room.owned(0), room.owned(1)];
        room.nats.signal("-STOP");
        room.until("their leases end", |room| room.parts() == [0, 0]).await;
        room.nats.signal("-CONT");
        room.until("both have their half again", |room| room.parts() == [2, 2]).await;
        assert_eq!([room.owned(0), room.owned(1)], before);
    });
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn a_bucket_that_forgets_leases_is_refused_by_its_name() {
    run_local(async {
        let mut room = Room::new("forgets");
        let broker = room.nats.options().connect().await.expect("the broker takes it");
        let client =
            async_nats::connect(format!("nats://127.0.0.1:{}", room.nats.port)).await.unwrap();
        let context = async_nats::jetstream::new(client);
        let config = async_nats::jetstream::kv::Config {
            bucket: "test".into(),
            max_age: Duration::from_secs(10),
            ..Default::default()
        };
        context.create_key_value(config).await.expect("it is created");
        let feed = Feed::builder(async move |_| Ok(Echoed.at("ws://127.0.0.1:1")))
            .handler(&Sink.start())
            .start()
            .expect("it can be started");
        let handle = Publisher::shared(&broker, LEASE).handle();
        let shares = Shares::new("test", topics(5), 5).lease(LEASE);
        let err = shares.start(&broker, &feed, &handle).await.expect_err("it forgets");
        assert!(matches!(err, Error::Bucket { .. }));
        assert!(err.to_string().contains("`test`"), "{err}");
        for (name, lease) in [("a.b", LEASE), ("test", Duration::from_millis(10))] {
            let shares = Shares::new(name, topics(5), 5).lease(lease);
            let err = shares.start(&broker, &feed, &handle).await.expect_err("it is wrong");
            assert!(matches!(err, Error::Option { .. }), "{err}");
        }
        room.until("nothing", |_| true).await;
    });
}
