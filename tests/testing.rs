//! The test kit itself: what `testing::Server` does on request, and what its journal says of it.

use std::sync::Mutex;

use actix_ws_client::testing::{Gone, MemoryServer, Probe, Script, Server, ServerTls};
use actix_ws_client::{Connection, Error, Event, Phase, Tls, command, event};

/// A self-signed certificate for `localhost`, as PEM, and a server's settings that use it.
fn certified() -> (String, ServerTls) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let tls = ServerTls::from_pem(pem.as_bytes(), key.as_bytes());
    (pem, tls)
}

/// Runs one dial, and returns what ended it.
async fn dial(server: &Server, tls: Tls) -> Option<Error> {
    let builder = Connection::builder(server.url()).tls(tls).no_reconnect().proxy_from_env(false);
    builder.run().await.unwrap().error
}

#[actix::test]
async fn a_server_over_tls_records_each_handshake() {
    let (pem, tls) = certified();
    let server = Server::start_tls(Script::accept().send_close(1000, ""), tls);
    assert_eq!(server.url(), format!("wss://localhost:{}/", server.addr().port()));
    let trust = Tls::new().ca_pem(pem.as_bytes()).unwrap();
    assert!(dial(&server, trust).await.is_none());
    let handshakes = server.tls_handshakes();
    assert_eq!(handshakes.len(), 1);
    assert_eq!(handshakes[0].server_name.as_deref(), Some("localhost"));
    assert_eq!((handshakes[0].resumed, handshakes[0].alpn.as_deref()), (false, None));
    assert!(handshakes[0].client_chain.is_empty());
    assert!(matches!(server.next_gone().await, Gone::Closed));
}

#[actix::test]
async fn a_client_that_refuses_the_certificate_is_in_the_journal() {
    let server = Server::start_tls(Script::accept(), certified().1);
    let (other, _) = certified();
    let trust = Tls::new().ca_pem(other.as_bytes()).unwrap();
    assert_eq!(dial(&server, trust).await.unwrap().stage(), "tls");
    let Gone::Tls(why) = server.next_gone().await else { panic!("{:?}", server.journal()) };
    assert!(why.contains("alert"), "{why}");
    assert!(server.tls_handshakes().is_empty() && server.requests().is_empty());
}

#[actix::test]
async fn a_server_that_hangs_up_reads_no_request() {
    for server in
        [Server::start(Script::hang_up()), Server::start_tls(Script::hang_up(), certified().1)]
    {
        assert!(dial(&server, Tls::new()).await.is_some());
        assert!(matches!(server.next_gone().await, Gone::Scripted));
        assert_eq!((server.dials(), server.requests().len()), (1, 0));
    }
}

#[actix::test]
async fn without_tls_a_missing_close_notify_is_a_plain_end() {
    let server = Server::start(Script::accept().drop_without_close_notify());
    let Some(Error::Io(err)) = dial(&server, Tls::new()).await else { panic!("not lost") };
    assert_eq!(err.kind(), std::io::ErrorKind::UnexpectedEof);
}

/// Returns the text of the panic of a future, and the line at which it panicked.
async fn panicked(future: impl Future<Output = ()> + 'static) -> (String, u32) {
    static LINE: Mutex<u32> = Mutex::new(0);
    let former = std::panic::take_hook();
    let this = std::thread::current().id();
    std::panic::set_hook(Box::new(move |info| {
        let is_here = info.location().is_some_and(|at| at.file() == file!());
        if is_here && std::thread::current().id() == this {
            *LINE.lock().unwrap() = info.location().map_or(0, |at| at.line());
        } else {
            former(info);
        }
    }));
    let payload = tokio::task::spawn_local(future).await.unwrap_err().into_panic();
    drop(std::panic::take_hook());
    (payload.downcast_ref::<String>().unwrap().clone(), *LINE.lock().unwrap())
}

#[actix::test]
async fn a_wait_in_vain_panics_at_its_line_and_shows_what_came_and_what_the_server_saw() {
    let sent = (0..30).map(|number| format!("news {number}"));
    let server = MemoryServer::paused(Script::accept().send_all(sent).expect_text("hello"));
    let probe = Probe::new();
    let builder = probe.attach(server.connection());
    let connection = builder.start().unwrap();
    probe.next_where(|message: &event::Message| message.payload.as_text() == Some("news 29")).await;
    connection.send(command::Send::text("hello")).await.unwrap().unwrap();
    let waiting = probe.clone();
    let line = line!() + 3;
    let (text, panicked_at) = panicked(async move {
        waiting.next::<event::Ping>().await;
    })
    .await;
    assert!(line.abs_diff(panicked_at) <= 1, "{line}, {panicked_at}: {text}");
    assert!(text.starts_with("no event::Ping within 10s; what came, "), "{text}");
    let (events, seen) = text.split_once("\nwhat the servers of this thread saw:\n").unwrap();
    assert_eq!((events.lines().count(), seen.lines().count()), (11, 10), "{text}");
    assert!(events.contains("news 29") && !events.contains("news 2\""), "{text}");
    assert!(seen.contains(r#"connection 0: received text "hello""#), "{text}");

    let journal = server.journal().clone();
    let (text, _) = panicked(async move { drop(journal.next_close().await) }).await;
    assert!(text.starts_with("the server saw no Close within 10s; it saw:\n"), "{text}");
}

#[actix::test]
async fn a_reconnect_under_a_paused_clock_takes_no_time() {
    let begun = std::time::Instant::now();
    let server = MemoryServer::paused([
        Script::accept().drop_connection(),
        Script::refuse(503).header("Retry-After", "60"),
        Script::accept().send_text("hi").send_close(1000, "enough"),
    ]);
    let probe = Probe::new().patience(std::time::Duration::from_secs(120));
    let connection = probe.attach(server.connection().reconnect_on_close(false)).start().unwrap();
    let outcome = probe.stopped().await;
    assert_eq!((outcome.epochs, outcome.attempts), (2, 3));
    assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    drop(connection);
    server.journal().next_close().await;
    let log = server.journal().to_string();
    for line in [
        "0.000 s, connection 0: dial",
        "connection 0: end: by the script",
        "connection 2: request GET / HTTP/1.1",
        "connection 2: sent text \"hi\"",
        "connection 2: sent close 1000 \"enough\"",
        "connection 2: received close 1000 \"\"",
        "connection 2: end: closed by both sides",
    ] {
        assert!(log.contains(line), "{line} in {log}");
    }
}

#[actix::test]
async fn each_event_by_hand_is_as_a_connection_makes_it() {
    use actix_ws_client::testing::event;

    let probe = Probe::new();
    let send = async |event: Event| probe.recipient::<Event>().send(event).await.unwrap();
    let refused = Error::Closed(None);
    for event in [
        event::state(Phase::Open).into(),
        event::open().into(),
        event::message("text").into(),
        event::data("text").into(),
        event::continuation("end").into(),
        event::batch(["one", "two"]).into(),
        event::ping("p").into(),
        event::pong("p").into(),
        event::error(refused).into(),
        event::close(4000, "enough").into(),
        event::stopped().into(),
    ] {
        send(event).await;
    }
    probe.check().unwrap();
    assert_eq!(event::reconnect().0.epoch, 1);
    assert!(!event::open().connection.do_send(command::Send::text("to no connection")));
    let answer = event::open().connection.send(command::Send::text("x")).await;
    assert!(matches!(answer, Err(command::SendError::Closed(_))), "{answer:?}");
}
