//! `url_with`: the URL of each dial is made by the application and checked like the builder's; a
//! failure to make it is reported and contained.

use std::time::Duration;

use actix_ws_client::error::Stage;
use actix_ws_client::testing::{Probe, Script, Server, ServerTls};
use actix_ws_client::{
    Attempt, Connection, ConnectionBuilder, Error, OutcomeKind, Reconnect, Tls, event,
};

/// A connection whose own URL is never dialled: the closure replaces it.
fn unused() -> ConnectionBuilder {
    let soon = Reconnect::fixed(Duration::from_millis(2));
    let builder = Connection::builder("ws://unused.invalid/").reconnect(soon).max_attempts(4);
    builder.proxy_from_env(false)
}

fn done() -> Script {
    Script::accept().send_close(1008, "")
}

#[actix::test]
async fn each_dial_has_a_url_of_its_own() {
    let server = Server::start([Script::refuse(503), Script::accept().drop_connection(), done()]);
    let base = server.url();
    let builder = unused().url_with(async move |attempt: Attempt| {
        let status = attempt.last_error.as_ref().and_then(Error::status).unwrap_or(0);
        Ok::<_, String>(format!("{base}?number={}&status={status}", attempt.number))
    });
    let outcome = builder.run().await.unwrap();
    assert_eq!((outcome.epochs, outcome.attempts), (2, 3));
    let lines: Vec<String> = server.requests().iter().map(|it| it.line().to_owned()).collect();
    assert_eq!(lines[0], "GET /?number=1&status=0 HTTP/1.1");
    assert_eq!(lines[1], "GET /?number=2&status=503 HTTP/1.1");
    assert!(lines[2].starts_with("GET /?number=3&"), "{lines:?}");
}

#[actix::test]
async fn all_of_the_request_goes_by_the_new_url_and_the_headers_come_after_it() {
    let server = Server::start(done());
    let port = server.addr().port();
    let builder = unused()
        .url_with(async move |_| Ok::<_, String>(format!("WS://me:pw@localhost:{port}/a b#c")))
        .headers_with(async |attempt: Attempt| {
            Ok::<_, String>([("X-Number", attempt.number.to_string())])
        });
    builder.run().await.unwrap();
    let request = &server.requests()[0];
    assert_eq!(request.line(), "GET /a%20b HTTP/1.1");
    let authority = format!("localhost:{port}");
    assert_eq!(request.header("host"), Some(authority.as_str()));
    assert_eq!(request.header("origin"), Some(format!("http://{authority}").as_str()));
    assert_eq!(request.header("authorization"), Some("Basic bWU6cHc="));
    assert_eq!(request.header("x-number"), Some("1"));
}

#[actix::test]
async fn a_url_that_cannot_be_made_now_is_asked_for_again() {
    let server = Server::start(done());
    let base = server.url();
    let probe = Probe::new();
    let builder = unused().url_with(async move |attempt: Attempt| match attempt.last_error {
        None => Err("no ticket is left"),
        Some(Error::Url(words)) => Ok(format!("{base}?{}", words.replace(' ', "-"))),
        Some(_) => Err("another error"),
    });
    let outcome = probe.attach(builder).run().await.unwrap();
    assert_eq!((outcome.epochs, outcome.attempts), (1, 2));
    assert_eq!(server.requests()[0].line(), "GET /?no-ticket-is-left HTTP/1.1");
    let told = probe.next::<event::Error>().await;
    assert_eq!(told.error.to_string(), "no URL: no ticket is left");
    assert_eq!(told.error.stage(), "handler");
}

#[actix::test]
async fn a_closure_that_misbehaves_takes_nothing_else_down() {
    type Made = Result<&'static str, String>;
    let panics = unused().url_with(async |_| -> Made { panic!("oh no") });
    let outcome = panics.run().await.unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Refused);
    assert!(
        matches!(&outcome.error, Some(Error::Handler(words)) if &**words == "oh no"),
        "{outcome:?}"
    );
    for (url, words) in [
        ("http://u:hunter2@h/", "scheme"),
        ("ws://u:hunter2@h:0/", "port 0"),
        ("hunter2", "URL"),
        ("ws://u:hunter2@h\r\nX: y/", "port"),
    ] {
        let outcome = unused().url_with(async move |_| -> Made { Ok(url) }).run().await.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Refused, "{url}");
        let Some(Error::Handler(err)) = outcome.error else { panic!("{outcome:?}") };
        assert!(err.contains(words) && !err.contains("hunter2"), "{err}");
    }
    let hangs = unused().url_with(async |_| -> Made { std::future::pending().await });
    let hangs = hangs.connect_timeout(Duration::from_millis(100)).no_reconnect();
    let outcome = hangs.run().await.unwrap();
    let Some(Error::Timeout(stage)) = outcome.error else { panic!("{outcome:?}") };
    assert_eq!((stage, stage.to_string().as_str()), (Stage::Handler, "handler"));
}

#[actix::test]
async fn a_session_of_tls_is_resumed_at_a_new_url() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let tls = ServerTls::from_pem(pem.as_bytes(), key.as_bytes());
    let scripts = [Script::refuse(503), Script::accept().drop_connection(), done()];
    let server = Server::start_tls(scripts, tls);
    let trust = Tls::new().ca_pem(pem.as_bytes()).unwrap();
    let url = server.url();
    let builder = Connection::builder(&url).tls(trust).proxy_from_env(false);
    let builder = builder.reconnect(Reconnect::fixed(Duration::from_millis(2)));
    let builder = builder.url_with(async move |attempt: Attempt| {
        Ok::<_, String>(format!("{url}{}", attempt.number))
    });
    builder.run().await.unwrap();
    let resumed: Vec<_> = server.tls_handshakes().iter().map(|it| it.resumed).collect();
    assert_eq!(resumed, [false, true, true]);
}

#[actix::test]
async fn the_builders_url_is_checked_all_the_same() {
    let builder = Connection::builder("http://h/");
    let builder = builder.url_with(async |_| Ok::<_, String>("ws://h/"));
    assert!(builder.run().await.unwrap_err().to_string().contains("scheme"));
}
