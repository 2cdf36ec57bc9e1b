//! Redirects of the upgrade: followed up to a limit within one dial, and credentials stay with
//! their origin.

use std::time::Duration;

use actix_ws_client::error::{RedirectError, Stage};
use actix_ws_client::testing::{Script, Server};
use actix_ws_client::{Connection, ConnectionBuilder, Error, Outcome, OutcomeKind};

fn to(server: &Server) -> ConnectionBuilder {
    Connection::builder(server.url()).no_reconnect().proxy_from_env(false)
}

fn redirect(status: u16, location: impl Into<String>) -> Script {
    Script::refuse(status).header("Location", location)
}

fn done() -> Script {
    Script::accept().send_close(1000, "")
}

fn not_followed(outcome: Outcome) -> RedirectError {
    assert_eq!((outcome.kind, outcome.epochs), (OutcomeKind::Refused, 0), "{outcome:?}");
    match outcome.error {
        Some(Error::Redirect(err)) => err,
        other => panic!("{other:?}"),
    }
}

#[actix::test]
async fn each_kind_of_redirect_is_followed() {
    for status in [301, 302, 303, 307, 308] {
        let server = Server::start([redirect(status, "/next?x=1"), done()]);
        let outcome = to(&server).run().await.unwrap();
        assert_eq!((outcome.epochs, outcome.attempts), (1, 1), "{status}");
        assert_eq!(server.requests()[1].line(), "GET /next?x=1 HTTP/1.1");
    }
    for status in [300, 304, 305] {
        let server = Server::start([redirect(status, "/next"), done()]);
        let outcome = to(&server).run().await.unwrap();
        assert_eq!(outcome.error.unwrap().status(), Some(status));
    }
}

#[actix::test]
async fn one_past_the_limit_is_an_error_and_none_is_followed_at_zero() {
    let server = Server::start(redirect(302, "/again"));
    let limit = not_followed(to(&server).run().await.unwrap());
    assert_eq!((limit, server.dials()), (RedirectError::TooMany { limit: 3 }, 4));
    let server = Server::start(redirect(302, "/again"));
    let limit = not_followed(to(&server).redirects(1).run().await.unwrap());
    assert_eq!((limit, server.dials()), (RedirectError::TooMany { limit: 1 }, 2));
    let server = Server::start(redirect(302, "/again"));
    let outcome = to(&server).redirects(0).run().await.unwrap();
    assert!(matches!(outcome.error, Some(Error::Refused(_))), "{outcome:?}");
    assert_eq!(server.dials(), 1);
}

#[actix::test]
async fn a_missing_location_and_one_that_cannot_be_end_the_run() {
    let missing = Server::start(Script::refuse(302));
    let err = to(&missing).run().await.unwrap();
    assert_eq!(err.error.as_ref().unwrap().stage(), "redirect");
    assert_eq!(not_followed(err), RedirectError::Missing);
    let ftp = Server::start(redirect(302, "ftp://h/?token=hunter2"));
    let err = not_followed(to(&ftp).run().await.unwrap());
    assert!(matches!(err, RedirectError::Location(_)) && !err.to_string().contains("hunter2"));
}

#[actix::test]
async fn credentials_go_to_the_same_origin_alone() {
    let other = Server::start(done());
    let away = format!("http://{}/there", other.addr());
    let server = Server::start([redirect(302, "/same"), redirect(307, away)]);
    let builder = to(&server).cookie("id=7").bearer_auth("secret").header("X-Own", "kept");
    builder.header("Proxy-Authorization", "secret").host("own.example").run().await.unwrap();
    for request in server.requests() {
        assert_eq!(request.header("cookie"), Some("id=7"));
        assert_eq!(request.header("authorization"), Some("Bearer secret"));
        assert_eq!(request.header("host"), Some("own.example"));
    }
    let request = &other.requests()[0];
    assert_eq!(request.line(), "GET /there HTTP/1.1");
    for name in ["cookie", "authorization", "proxy-authorization"] {
        assert_eq!(request.header(name), None, "{name}");
    }
    assert_eq!(request.header("host"), Some(other.addr().to_string().as_str()));
    assert_eq!(request.header("x-own"), Some("kept"));
}

#[actix::test]
async fn the_whole_chain_has_one_deadline() {
    let slow = Script::no_reply();
    let server = Server::start([redirect(302, "/a"), slow]);
    let builder = to(&server).connect_timeout(Duration::from_millis(300));
    let outcome = builder.run().await.unwrap();
    assert!(matches!(outcome.error, Some(Error::Timeout(Stage::Upgrade))), "{outcome:?}");
    assert_eq!(server.dials(), 2);
}
