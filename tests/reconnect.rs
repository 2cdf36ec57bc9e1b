//! It comes back: soon, then less and less often, as the server asks, and not where it is no use.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_ws_client::error::Verdict;
use actix_ws_client::testing::{Journal, Note, Probe, Script, Server};
use actix_ws_client::{
    CloseCode, Connection, ConnectionBuilder, Error, OutcomeKind, Reconnect, command, event,
};
use tokio::time::Instant;

const MILLIS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A connection that comes back soon.
fn to(server: &Server) -> ConnectionBuilder {
    Connection::builder(server.url()).reconnect(Reconnect::fixed(20 * MILLIS))
}

/// A connection over pipes in memory, with a clock that jumps to whatever is next.
fn simulated(
    journal: &Journal,
    script: impl Fn(usize) -> Script + Send + Sync + 'static,
) -> ConnectionBuilder {
    tokio::time::pause();
    let (journal, visits) = (journal.clone(), AtomicUsize::new(0));
    Connection::builder("ws://peer/").transport_with(move |_, _| {
        let visit = visits.fetch_add(1, Ordering::Relaxed);
        journal.write(visit, Note::Dial);
        let (script, journal) = (script(visit), journal.clone());
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        actix::spawn(async move { script.play(&mut theirs, visit, &journal).await });
        async { Ok(ours) }
    })
}

fn dials(journal: &Journal) -> Vec<Instant> {
    let notes = journal.notes().into_iter();
    notes.filter(|(_, _, note)| matches!(note, Note::Dial)).map(|(at, _, _)| at).collect()
}

/// A probe that waits through hours of simulated time.
fn patient() -> Probe {
    Probe::new().patience(Duration::from_secs(1 << 14))
}

#[actix::test]
async fn a_server_that_accepts_and_drops_sees_16_dials_in_any_minute_at_most() {
    let journal = Journal::new();
    let probe = patient();
    let builder = simulated(&journal, |_| Script::accept().drop_connection());
    let connection = probe.attach(builder).start().unwrap();
    probe.next_where(|open: &event::Open| open.epoch == 150).await;
    let dials = dials(&journal);
    for window in dials.windows(17) {
        assert!(window[16] - window[0] >= 60 * SECOND, "{:?}", window[16] - window[0]);
    }
    drop(connection);
    probe.stopped().await;
    probe.check().unwrap();
}

#[actix::test]
async fn the_delays_grow_to_their_cap_and_are_kept() {
    let journal = Journal::new();
    let probe = patient();
    let builder = simulated(&journal, |_| Script::refuse(503));
    let _connection = probe.attach(builder).start().unwrap();
    let mut planned = Vec::new();
    for failures in 0..30_u32 {
        let after = probe.next::<event::Error>().await.next.after().unwrap();
        let cap = Duration::min(30 * SECOND, 2_u32.saturating_pow(failures) * SECOND);
        assert!(after <= cap, "{after:?} after {failures} failures");
        assert!(failures == 0 || after >= SECOND / 2, "{after:?} after {failures} failures");
        planned.push(after);
    }
    assert!(planned.iter().any(|after| *after > 10 * SECOND), "{planned:?}");
    let dials = dials(&journal);
    for (pair, after) in dials.windows(2).zip(&planned) {
        let waited = pair[1] - pair[0];
        assert!(waited >= *after && waited <= *after + 10 * MILLIS, "{waited:?} for {after:?}");
    }
}

#[actix::test]
async fn retry_after_is_obeyed() {
    let journal = Journal::new();
    let probe = patient();
    let script = |_| Script::refuse(429).header("Retry-After", "120").body("slow down");
    let _connection = probe.attach(simulated(&journal, script)).start().unwrap();
    for _ in 0..3 {
        let after = probe.next::<event::Error>().await.next.after().unwrap();
        assert!((120 * SECOND..=160 * SECOND).contains(&after), "{after:?}");
    }
    let dials = dials(&journal);
    assert!(dials.windows(2).all(|pair| pair[1] - pair[0] >= 120 * SECOND), "{dials:?}");
}

#[actix::test]
async fn an_unauthorised_dial_stops_with_the_refusal_kept_whole() {
    let script = Script::refuse(401).header("WWW-Authenticate", "Bearer").body("who are you?");
    let server = Server::start(script);
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    let outcome = probe.stopped().await;
    assert_eq!(outcome.kind, OutcomeKind::Refused);
    let Some(Error::Refused(refusal)) = outcome.error else { panic!("{outcome:?}") };
    assert_eq!(refusal.status, 401);
    assert_eq!(refusal.headers.get("www-authenticate"), Some("Bearer"));
    assert_eq!(refusal.body.as_ref(), b"who are you?");
    let error = probe.next::<event::Error>().await;
    assert_eq!((error.attempt, error.next), (1, event::Next::Stop));
    assert_eq!(probe.story(), ["error", "stopped"]);
    assert_eq!(server.dials(), 1);
    drop(connection);
}

#[actix::test]
async fn a_close_code_decides_whether_it_comes_back() {
    let scripts = [Script::accept().send_close(1012, ""), Script::accept().send_close(1008, "no")];
    let server = Server::start(scripts);
    let probe = Probe::new();
    let _connection = probe.attach(to(&server)).start().unwrap();
    let outcome = probe.stopped().await;
    assert_eq!((outcome.kind, outcome.epochs), (OutcomeKind::Refused, 2));
    assert_eq!(outcome.close.unwrap().0.value(), 1008);
    let close = probe.next::<event::Close>().await;
    assert_eq!((close.code.value(), close.clean), (1012, true));
    assert!(close.next.after().is_some());
    assert_eq!(probe.story(), ["open", "close", "open", "close", "stopped"]);
}

#[actix::test]
async fn a_server_that_dies_and_comes_back_is_found_again() {
    let server = Server::start(Script::accept().echo());
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    probe.next::<event::Open>().await;
    server.kill();
    probe.next::<event::Close>().await;
    let refused = |error: &event::Error| matches!(error.error, Error::Connect(_));
    probe.next_where(refused).await;
    server.restart();
    let open = probe.next::<event::Open>().await;
    assert_eq!(open.epoch, 2);
    assert!(open.attempts >= 2);
    connection.send(command::Send::text("again")).await.unwrap().unwrap();
    let message = probe.next_message().await;
    assert_eq!((message.epoch, message.payload.as_text()), (2, Some("again")));
    probe.check().unwrap();
}

#[actix::test]
async fn reconnect_closes_and_dials_at_once() {
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let builder = Connection::builder(server.url()).reconnect(Reconnect::fixed(3600 * SECOND));
    let connection = probe.attach(builder).start().unwrap();
    probe.next::<event::Open>().await;
    connection.send(command::Reconnect).await.unwrap().unwrap();
    let open = probe.next::<event::Open>().await;
    assert_eq!(open.epoch, 2);
    assert!(open.outage.unwrap().cause.is_none());
    assert_eq!(server.next_close().await.unwrap().code(), CloseCode::NORMAL);
    let close = probe.next::<event::Close>().await;
    assert!(close.clean && close.next.after().is_some_and(|after| after < SECOND), "{close:?}");
    assert_eq!(probe.story(), ["open", "close", "open"]);
}

#[actix::test]
async fn reconnect_never_opens_a_second_socket_beside_the_first() {
    // The first connection never answers our Close: it must be gone before the next dial.
    let server = Server::start([Script::accept().never_answer_close(), Script::accept()]);
    let probe = Probe::new();
    let connection = probe.attach(to(&server).close_timeout(200 * MILLIS)).start().unwrap();
    probe.next::<event::Open>().await;
    for _ in 0..10 {
        connection.do_send(command::Reconnect);
    }
    assert_eq!(probe.next::<event::Open>().await.epoch, 2);
    server.next_gone().await;
    let order: Vec<&str> = server
        .journal()
        .notes()
        .iter()
        .filter_map(|(_, _, note)| match note {
            Note::Dial => Some("dial"),
            Note::Gone(_) => Some("gone"),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["dial", "gone", "dial"]);
}

#[actix::test]
async fn a_panic_in_the_transport_closure_ends_the_run() {
    let probe = Probe::new();
    let builder = Connection::builder("ws://peer/").transport_with(|_, _| async {
        if true {
            panic!("a fault of the application");
        }
        Ok(tokio::io::duplex(1).0)
    });
    let _connection = probe.attach(builder).start().unwrap();
    let outcome = probe.stopped().await;
    assert_eq!(outcome.kind, OutcomeKind::Refused);
    assert!(matches!(outcome.error, Some(Error::Handler(_))), "{outcome:?}");
}

#[actix::test]
async fn retry_if_sees_the_servers_close() {
    let server = Server::start(Script::accept().send_close(4001, "login"));
    let builder = to(&server).retry_if(|error| match error {
        Error::Closed(Some(frame)) if frame.reason() == "login" => Verdict::Stop,
        other => other.verdict(),
    });
    let outcome = builder.run().await.unwrap();
    assert_eq!((outcome.kind, outcome.epochs), (OutcomeKind::Refused, 1));
}

#[actix::test]
async fn a_retry_if_that_panics_ends_the_run() {
    let server = Server::start(Script::refuse(503));
    let builder = to(&server).retry_if(|_| panic!("as the test wants it"));
    let outcome = builder.run().await.unwrap();
    assert!(matches!(outcome.error, Some(Error::Handler(_))), "{outcome:?}");
    assert_eq!((outcome.kind, outcome.attempts), (OutcomeKind::Refused, 1));
}
