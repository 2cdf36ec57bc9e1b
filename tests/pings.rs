//! Pings: sent at a fixed cadence, a silent peer is detected in time, and no live connection is
//! aborted.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, Context, Handler};
use actix_ws_client::proto::message::{ControlPayload, Incoming};
use actix_ws_client::proto::session::By;
use actix_ws_client::testing::{Gate, Gone, Journal, Note, Probe, Script, Server};
use actix_ws_client::{Connection, ConnectionBuilder, Error, Reconnect, command, event};
use tokio::time::{Instant, sleep};

const MILLIS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A connection over pipes in memory, for a paused clock that jumps to the next timer. The ping
/// interval is 5 s, the ping timeout 2 s.
fn simulated(journal: &Journal, script: Script) -> ConnectionBuilder {
    tokio::time::pause();
    let (journal, visits) = (journal.clone(), AtomicUsize::new(0));
    Connection::builder("ws://peer/")
        .ping_interval(5 * SECOND)
        .ping_timeout(2 * SECOND)
        .no_reconnect()
        .transport_with(move |_, _| {
            let visit = visits.fetch_add(1, Ordering::Relaxed);
            let (script, journal) = (script.clone(), journal.clone());
            let (ours, mut theirs) = tokio::io::duplex(1 << 16);
            actix::spawn(async move { script.play(&mut theirs, visit, &journal).await });
            // Time before the socket is open must not count.
            async {
                sleep(SECOND).await;
                Ok(ours)
            }
        })
}

/// A probe that waits for hours of simulated time.
fn patient() -> Probe {
    Probe::new().patience(Duration::from_secs(1 << 14))
}

fn about(time: Duration) -> std::ops::RangeInclusive<Duration> {
    time..=time + 100 * MILLIS
}

#[actix::test]
async fn the_first_ping_comes_after_one_interval_and_the_cadence_is_fixed() {
    let journal = Journal::new();
    let probe = patient();
    let _connection = probe.attach(simulated(&journal, Script::accept())).start().unwrap();
    probe.next::<event::Open>().await;
    let open = Instant::now();
    for _ in 0..5 {
        probe.next::<event::Pong>().await;
    }
    let pings = journal.notes().into_iter().filter_map(|(at, _, note)| match note {
        Note::Received(Incoming::Ping(_)) => Some(at - open),
        _ => None,
    });
    for (count, at) in (1..).zip(pings) {
        assert!(about(count * 5 * SECOND).contains(&at), "ping {count} at {at:?}");
    }
}

#[actix::test]
async fn a_pong_tells_the_round_trip_of_its_ping() {
    let journal = Journal::new();
    let probe = patient();
    let script = Script::accept().send_pong("unasked").stall(5 * SECOND + 700 * MILLIS);
    let connection = probe.attach(simulated(&journal, script)).start().unwrap();
    let unasked = probe.next::<event::Pong>().await;
    assert_eq!((&unasked.payload[..], unasked.round_trip), (&b"unasked"[..], None));
    let round_trip = probe.next::<event::Pong>().await.round_trip.unwrap();
    assert!(about(700 * MILLIS).contains(&round_trip), "{round_trip:?}");
    let status = connection.send(command::Status).await.unwrap();
    assert_eq!(status.figures.round_trip, Some(round_trip));

    let payload = ControlPayload::new("mine").unwrap();
    connection.send(command::Ping { payload }).await.unwrap().unwrap();
    let mine = probe.next::<event::Pong>().await;
    assert_eq!(&mine.payload[..], b"mine");
    assert!(mine.round_trip.unwrap() < 100 * MILLIS);
}

#[actix::test]
async fn pings_have_the_payload_that_was_asked_for() {
    let journal = Journal::new();
    let probe = patient();
    let builder = simulated(&journal, Script::accept()).ping_payload("tick");
    let _connection = probe.attach(builder).start().unwrap();
    for _ in 0..2 {
        let pong = probe.next::<event::Pong>().await;
        assert_eq!(&pong.payload[..], b"tick");
        assert!(pong.round_trip.is_some());
    }
}

#[actix::test]
async fn a_silent_peer_is_aborted_after_interval_and_timeout() {
    let journal = Journal::new();
    let probe = patient();
    let script = Script::accept().pongs(false).stall(SECOND).send_pong("alive");
    let _connection = probe.attach(simulated(&journal, script)).start().unwrap();
    probe.next::<event::Open>().await;
    let open = Instant::now();
    let error = probe.next::<event::Error>().await.error;
    assert!(about(7 * SECOND).contains(&open.elapsed()), "{:?}", open.elapsed());
    let Error::PeerSilent { after, idle: false } = error else { panic!("{error:?}") };
    assert!(about(6 * SECOND).contains(&after), "{after:?}");
    assert!(error.to_string().ends_with("no answer to a ping within `ping_timeout`"), "{error}");
    let close = probe.next::<event::Close>().await;
    assert_eq!((close.code.value(), close.clean, close.by), (1006, false, By::Nobody));
    // From the end of the dial to the end of the socket, not to the last read.
    assert!(about(7 * SECOND).contains(&close.lasted), "{:?}", close.lasted);
    assert_eq!(probe.stopped().await.epochs, 1);
    // No Close was sent to the silent peer.
    let closed = |(_, _, note): &(_, _, Note)| matches!(note, Note::Received(Incoming::Close(_)));
    assert!(!journal.notes().iter().any(closed));
}

#[actix::test]
async fn sending_is_no_sign_of_life() {
    let journal = Journal::new();
    let probe = patient();
    let script = Script::accept().pongs(false);
    let connection = probe.attach(simulated(&journal, script)).start().unwrap();
    probe.next::<event::Open>().await;
    let open = Instant::now();
    actix::spawn(async move {
        loop {
            tokio::time::sleep(100 * MILLIS).await;
            connection.do_send(command::Send::text("are you there?"));
        }
    });
    let error = probe.next::<event::Error>().await.error;
    assert!(matches!(error, Error::PeerSilent { .. }), "{error:?}");
    assert!(about(7 * SECOND).contains(&open.elapsed()), "{:?}", open.elapsed());
}

#[actix::test]
async fn any_byte_is_a_sign_of_life() {
    let journal = Journal::new();
    let probe = patient();
    // One text frame, a byte every 1.5 s: 30 s without a pong or a whole message.
    let dripped =
        Script::accept().pongs(false).drip(&b"\x81\x12never a whole word"[..], 1500 * MILLIS);
    let _connection = probe.attach(simulated(&journal, dripped)).start().unwrap();
    probe.next::<event::Open>().await;
    let open = Instant::now();
    assert_eq!(probe.next_message().await.payload.as_text(), Some("never a whole word"));
    assert!(open.elapsed() >= 28 * SECOND);
    assert!(probe.all::<event::Error>().is_empty());
}

#[actix::test]
async fn pings_without_a_timeout_never_judge() {
    let journal = Journal::new();
    let probe = patient();
    let builder = simulated(&journal, Script::accept().pongs(false)).ping_timeout(None);
    let _connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Open>().await;
    tokio::time::sleep(3600 * SECOND).await;
    assert_eq!(probe.story(), ["open"]);
    let pings = journal.notes().into_iter();
    let pings = pings.filter(|(_, _, note)| matches!(note, Note::Received(Incoming::Ping(_))));
    assert!((719..=720).contains(&pings.count()));
}

#[actix::test]
async fn missing_data_is_found_though_pongs_come() {
    let journal = Journal::new();
    let probe = patient();
    let script = Script::accept().serve_for(8 * SECOND).send_text("still here");
    let builder = simulated(&journal, script).idle_timeout(12 * SECOND);
    let _connection = probe.attach(builder).start().unwrap();
    probe.next_message().await;
    let heard = Instant::now();
    let error = probe.next::<event::Error>().await.error;
    assert!(matches!(error, Error::PeerSilent { idle: true, .. }), "{error:?}");
    assert!(error.to_string().starts_with("no message came for 12.0"), "{error}");
    assert!(about(12 * SECOND).contains(&heard.elapsed()), "{:?}", heard.elapsed());
    assert!(probe.all::<event::Pong>().len() >= 3);
}

/// A connection with a short ping interval.
fn to(server: &Server) -> ConnectionBuilder {
    Connection::builder(server.url())
        .reconnect(Reconnect::fixed(20 * MILLIS))
        .ping_interval(100 * MILLIS)
        .ping_timeout(100 * MILLIS)
}

#[actix::test]
async fn a_real_server_that_falls_silent_is_left() {
    let server = Server::start([Script::accept().stall_forever(), Script::accept()]);
    let probe = Probe::new();
    let _connection = probe.attach(to(&server)).start().unwrap();
    let error = probe.next::<event::Error>().await.error;
    let Error::PeerSilent { after, .. } = error else { panic!("{error:?}") };
    assert!((200 * MILLIS..=600 * MILLIS).contains(&after), "{after:?}");
    assert_eq!(probe.next_where(|open: &event::Open| open.epoch == 2).await.attempts, 1);
    probe.check().unwrap();
}

/// An actor that blocks its thread, or only itself.
struct Slow {
    gate: Gate,
    nap: Duration,
}

impl Actor for Slow {
    type Context = Context<Slow>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1);
    }
}

impl Handler<event::Message> for Slow {
    type Result = actix::AtomicResponse<Slow, ()>;

    fn handle(&mut self, _: event::Message, _: &mut Self::Context) -> Self::Result {
        std::thread::sleep(std::mem::take(&mut self.nap));
        let gate = self.gate.clone();
        let wait = async move { gate.opened().await };
        actix::AtomicResponse::new(Box::pin(actix::fut::wrap_future(wait)))
    }
}

/// Waits until a full mailbox stops the delivery.
async fn blocked_by_a_handler(connection: &Addr<Connection>) {
    let deadline = Instant::now() + 10 * SECOND;
    while connection.send(command::Status).await.unwrap().blocked.is_none() {
        assert!(Instant::now() < deadline, "nothing is blocked");
        tokio::time::sleep(MILLIS).await;
    }
}

#[actix::test]
async fn a_handler_that_holds_up_the_thread_does_not_kill_the_link() {
    let server = Server::start(Script::accept().send_text("work").echo());
    let probe = Probe::new();
    let gate = Gate::new();
    gate.open();
    // On the thread of the connection, for much longer than interval and timeout.
    let slow = Slow { gate, nap: SECOND }.start();
    let builder = to(&server).on_message_to(slow.recipient());
    let connection = probe.attach(builder).start().unwrap();
    probe.next_message().await;
    connection.send(command::Send::text("still there?")).await.unwrap().unwrap();
    assert_eq!(probe.next_message().await.payload.as_text(), Some("still there?"));
    for _ in 0..3 {
        probe.next::<event::Pong>().await;
    }
    assert_eq!(probe.all::<event::Open>().len(), 1);
    assert!(probe.all::<event::Error>().is_empty(), "{:?}", probe.history());
}

#[actix::test]
async fn the_servers_pings_are_answered_while_a_handler_is_blocked() {
    let work = || (0..40).map(|number| number.to_string());
    let blocked = Gate::new();
    let script = Script::accept().send_all(work()).serve_until(&blocked).send_ping("you?");
    let server = Server::start(script.send_all(work()));
    let arbiter = Arbiter::new();
    let gate = Gate::new();
    let slow = {
        let gate = gate.clone();
        Slow::start_in_arbiter(&arbiter.handle(), move |_| Slow { gate, nap: Duration::ZERO })
    };
    // Only the blocked handler: events behind the head that it blocks are delivered to no handler.
    let probe = Probe::new();
    let builder =
        to(&server).on_message_to(slow.clone().recipient()).on_error_to(probe.recipient());
    let connection = builder.start().unwrap();
    blocked_by_a_handler(&connection).await;
    blocked.open();
    // Blocked for several ping intervals, while pings are still answered.
    let pongs =
        |item: &Incoming| matches!(item, Incoming::Pong(payload) if &payload[..] == b"you?");
    let pings = |item: &&Incoming| matches!(item, Incoming::Ping(_));
    let deadline = Instant::now() + 10 * SECOND;
    loop {
        let received = server.received();
        if received.iter().any(pongs) && received.iter().filter(pings).count() >= 5 {
            break;
        }
        assert!(Instant::now() < deadline, "{received:?}");
        tokio::time::sleep(10 * MILLIS).await;
    }
    let status = connection.send(command::Status).await.unwrap();
    assert!(status.blocked.is_some());
    assert!(probe.history().is_empty(), "{:?}", probe.history());
    gate.open();
    drop(connection);
    assert!(matches!(server.next_gone().await, Gone::Closed));
    arbiter.stop();
}
