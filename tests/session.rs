//! What the application decides about its session: that it failed, by `command::Fail`.

use std::time::Duration;

use actix_ws_client::error::Verdict;
use actix_ws_client::proto::session::By;
use actix_ws_client::testing::{Gone, Probe, Script, Server};
use actix_ws_client::{
    Connection, ConnectionBuilder, Error, OutcomeKind, Phase, Reconnect, command, event,
};

/// A connection that reconnects soon.
fn to(server: &Server) -> ConnectionBuilder {
    Connection::builder(server.url()).reconnect(Reconnect::fixed(Duration::from_millis(20)))
}

#[actix::test]
async fn a_session_that_the_application_fails_is_lost_at_once_and_comes_back() {
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    let handle = probe.next::<event::Open>().await.connection;
    for epoch in 1..=2 {
        // Of another socket, the old one and the next.
        for other in [epoch - 1, epoch + 1] {
            assert!(!handle.send(command::Fail::new(other, "late")).await.unwrap());
        }
        let fail = command::Fail::new(epoch, "the feed is stale");
        let was_open = match epoch {
            1 => handle.send(fail).await.unwrap(),
            _ => connection.send(fail).await.unwrap(),
        };
        assert!(was_open);
        let error = probe.next::<event::Error>().await;
        assert!(matches!(
            &error.error, Error::Session { reason, retry: Verdict::Retry { .. } }
                if &**reason == "the feed is stale"
        ));
        assert_eq!((error.error.stage(), error.epoch), ("session", epoch));
        assert_eq!(error.error.to_string(), "session: the feed is stale");
        let close = probe.next::<event::Close>().await;
        assert_eq!((close.code.value(), close.by, close.clean), (1006, By::Nobody, false));
        assert_eq!((close.next, error.next.after().is_some()), (error.next, true));
        // No Close frame: the socket is dropped.
        assert!(matches!(server.next_gone().await, Gone::Eof | Gone::Error(_)));
        let open = probe.next_where(|open: &event::Open| open.epoch == epoch + 1).await;
        let cause = open.outage.unwrap().cause;
        assert!(matches!(cause, Some(Error::Session { .. })), "{cause:?}");
    }
    assert!(server.closes().is_empty());
    probe.check().unwrap();
}

#[actix::test]
async fn a_session_that_fails_for_good_ends_the_run() {
    let server = Server::start(Script::accept());
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    probe.next::<event::Open>().await;
    let fail = command::Fail::new(1, "unknown key").for_good();
    assert!(connection.send(fail.clone()).await.unwrap());
    let outcome = probe.stopped().await;
    assert_eq!(outcome.kind, OutcomeKind::Refused);
    assert!(matches!(outcome.error, Some(Error::Session { .. })), "{:?}", outcome.error);
    assert!(!connection.send(fail).await.unwrap());
    assert_eq!(probe.story(), ["open", "error", "close", "stopped"]);
}

#[actix::test]
async fn a_socket_that_is_closing_is_not_failed_any_more() {
    let server = Server::start(Script::accept().never_answer_close());
    let probe = Probe::new();
    let connection = probe.attach(to(&server)).start().unwrap();
    probe.next::<event::Open>().await;
    let close = command::Close::normal().deadline(Duration::from_millis(200));
    let outcome = connection.send(close);
    probe.next_where(|state: &event::State| state.phase == Phase::Closing).await;
    assert!(!connection.send(command::Fail::new(1, "late")).await.unwrap());
    assert_eq!(outcome.await.unwrap().kind, OutcomeKind::Closed);
    assert_eq!(probe.story(), ["open", "close", "stopped"]);
}
