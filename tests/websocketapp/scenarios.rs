//! Cases that WebSocketApp handles wrongly or reports differently.

use std::time::{Duration, Instant};

use actix_ws_client::backoff::{default_reconnect, set_default_reconnect};
use actix_ws_client::proto::session::By;
use actix_ws_client::testing::{Probe, Script, Server};
use actix_ws_client::{Connection, Error, OutcomeKind, Phase, Reconnect, command, event};
use tokio::sync::mpsc;

use crate::to;

const MILLIS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[actix::test]
async fn a_close_from_another_thread_ends_the_run_at_once_and_is_no_error() {
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let run = actix::spawn(probe.attach(to(&server)).run());
    let handle = probe.next::<event::Open>().await.connection;
    let asked = Instant::now();
    std::thread::spawn(move || assert!(handle.do_send(command::Close::normal()))).join().unwrap();
    let outcome = tokio::time::timeout(10 * SECOND, run).await.expect("it ends");
    let outcome = outcome.unwrap().unwrap();
    // WebSocketApp's loop often wakes only ten seconds later.
    assert!(asked.elapsed() < 3 * SECOND, "{:?}", asked.elapsed());
    assert_eq!((outcome.kind, outcome.errored()), (OutcomeKind::Closed, false));
}

#[actix::test]
async fn a_close_at_a_ping_or_a_pong_ends_the_run() {
    let (tell, mut told) = mpsc::unbounded_channel();
    for on in ["ping", "pong"] {
        let server = Server::start(Script::accept().send_ping("you?").echo());
        let probe = Probe::new();
        let opened = probe.recipient::<event::Open>();
        let (at_ping, at_pong) = (probe.clone(), probe.clone());
        let tell = tell.clone();
        let close = move |probe: &Probe, what: &str| {
            if what == on {
                let _ = tell.send(what.to_owned());
                let open = probe.all::<event::Open>().pop().expect("it is open");
                assert!(open.connection.do_send(command::Close::normal()));
            }
        };
        let again = close.clone();
        let builder = to(&server).ping_interval(50 * MILLIS).ping_timeout(5 * SECOND);
        let builder = builder
            .on_open_to(opened)
            .on_ping_to(event::call(move |_: event::Ping| close(&at_ping, "ping")))
            .on_pong_to(event::call(move |_: event::Pong| again(&at_pong, "pong")));
        let outcome = tokio::time::timeout(10 * SECOND, builder.run()).await;
        let outcome = outcome.expect("the run ends").unwrap();
        assert_eq!((outcome.kind, outcome.epochs), (OutcomeKind::Closed, 1), "on {on}");
        assert_eq!(told.recv().await.as_deref(), Some(on));
    }
}

#[actix::test]
async fn a_server_that_closes_and_keeps_tcp_is_left_in_time_and_found_again() {
    let closes = Script::accept().send_close(1001, "restart").stall_forever();
    let server = Server::start([closes, Script::accept()]);
    let probe = Probe::new();
    let builder = to(&server).close_timeout(200 * MILLIS);
    let _connection = probe.attach(builder).start().unwrap();
    let close = probe.next::<event::Close>().await;
    assert_eq!((close.code.value(), &*close.reason, close.by), (1001, "restart", By::Remote));
    assert!(close.lasted < 5 * SECOND, "{:?}", close.lasted);
    assert_eq!(probe.next_where(|open: &event::Open| open.epoch == 2).await.attempts, 1);
    assert_eq!(probe.story(), ["open", "close", "open"]);
}

#[actix::test]
async fn silence_inside_a_frame_is_found_like_any_other() {
    let server = Server::start([Script::accept().half_a_frame().stall_forever(), Script::accept()]);
    let probe = Probe::new();
    let builder = to(&server).ping_interval(100 * MILLIS).ping_timeout(100 * MILLIS);
    let _connection = probe.attach(builder).start().unwrap();
    let error = probe.next::<event::Error>().await.error;
    assert!(matches!(error, Error::PeerSilent { .. }), "{error:?}");
    probe.next_where(|open: &event::Open| open.epoch == 2).await;
}

#[actix::test]
async fn a_first_dial_that_fails_is_followed_by_open_and_by_no_reconnect() {
    let drops = Script::accept().drop_connection();
    let server = Server::start([Script::refuse(503), Script::refuse(503), drops, Script::accept()]);
    let probe = Probe::new();
    let (tell, mut told) = mpsc::unbounded_channel();
    let builder = to(&server).on_reconnect_to(event::call(move |again: event::Reconnect| {
        let _ = tell.send(again.0.epoch);
    }));
    let _connection = probe.attach(builder).start().unwrap();
    probe.next_where(|open: &event::Open| open.epoch == 2).await;
    // Every failure is reported, with its number; WebSocketApp reports only the first.
    let failed = probe.all::<event::Error>();
    let numbers: Vec<u32> = failed.iter().map(|error| error.attempt).collect();
    assert_eq!((numbers, probe.story().len()), (vec![1, 2, 3], 6));
    assert_eq!(told.recv().await, Some(2));
}

#[actix::test]
async fn each_run_is_judged_for_itself() {
    let server = Server::start([Script::refuse(503), Script::accept().send_close(1000, "")]);
    let run = || to(&server).no_reconnect().run();
    assert!(run().await.unwrap().errored());
    // In WebSocketApp it stays true for ever.
    assert!(!run().await.unwrap().errored());
}

#[actix::test]
async fn the_body_of_a_refusal_is_kept_whole_in_any_ordinary_size() {
    for size in [100, 20 << 10, 32 << 10] {
        let server = Server::start(Script::refuse(400).body(vec![b'x'; size]));
        let error = to(&server).no_reconnect().run().await.unwrap().error;
        let Some(Error::Refused(refusal)) = error else { panic!("{error:?}") };
        assert_eq!((refusal.status, refusal.body.len()), (400, size));
    }
}

#[actix::test]
async fn a_proxy_that_answers_with_an_upgrade_is_refused() {
    // 101 is an interim reply by its number alone.
    let upgrades = Script::raw_reply("HTTP/1.1 101 Switching Protocols\r\n\r\n");
    let proxy = Server::start(upgrades.stall_forever());
    let builder = Connection::builder("ws://nobody.invalid/").no_reconnect();
    let outcome = builder.proxy(format!("http://{}", proxy.addr())).run().await.unwrap();
    let error = outcome.error.unwrap();
    assert_eq!((error.stage(), error.status()), ("proxy", Some(101)), "{error:?}");
}

#[actix::test]
async fn a_url_may_shout_its_scheme_and_is_percent_encoded() {
    let server = Server::start(Script::accept().send_close(1000, ""));
    let dial = |url: String| Connection::builder(url).proxy_from_env(false).no_reconnect().run();
    let addr = server.addr();
    dial(format!("WS://{addr}/caf\u{e9} au lait;a=b?c d#fragment")).await.unwrap();
    dial(format!("Ws://{addr}?x")).await.unwrap();
    let lines: Vec<String> = server.requests().iter().map(|it| it.line().to_owned()).collect();
    let encoded = "GET /caf%C3%A9%20au%20lait;a=b?c%20d HTTP/1.1";
    assert_eq!(lines, [encoded, "GET /?x HTTP/1.1"]);
}

#[actix::test]
async fn status_and_watch_say_what_was_an_attribute_there() {
    let server = Server::start(Script::accept().header("X-Node", "7").echo());
    let probe = Probe::new();
    let builder = to(&server).ping_interval(50 * MILLIS).ping_timeout(5 * SECOND);
    let watch = builder.watch();
    assert_ne!(watch.phase(), Phase::Open);
    let connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Open>().await;
    assert_eq!(watch.phase(), Phase::Open);
    let before = connection.send(command::Status).await.unwrap();
    assert_eq!((before.phase, before.epoch, before.attempt), (Phase::Open, 1, 1));
    let handshake = before.handshake.unwrap();
    assert_eq!((handshake.status, handshake.headers.get("x-node")), (101, Some("7")));
    probe.next::<event::Pong>().await;
    let figures = connection.send(command::Status).await.unwrap().figures;
    let (ping, pong) = (figures.last_ping.unwrap(), figures.last_pong.unwrap());
    assert!(ping < 10 * SECOND && pong < 10 * SECOND, "{figures:?}");
    assert!(figures.round_trip.is_some());
    connection.send(command::Close::normal()).await.unwrap();
    assert_eq!(watch.phase(), Phase::Closed);
    let after = connection.send(command::Status).await.unwrap();
    assert!(after.handshake.is_none(), "{after:?}");
}

#[actix::test]
async fn the_default_policy_of_the_process_can_be_set() {
    let before = default_reconnect();
    set_default_reconnect(Reconnect::never());
    let server = Server::start(Script::accept().drop_connection());
    let run = Connection::builder(server.url()).run();
    let outcome = tokio::time::timeout(10 * SECOND, run).await;
    set_default_reconnect(before);
    let outcome = outcome.expect("the run ends").unwrap();
    assert_eq!((outcome.kind, server.dials()), (OutcomeKind::Failed, 1));
}
