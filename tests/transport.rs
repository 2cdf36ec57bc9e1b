//! Transports: TCP with the chosen socket options, or the application's own, one stream or a new
//! one for each attempt.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use actix_ws_client::testing::{Journal, Note, Probe, Script, Server};
use actix_ws_client::{
    Connection, ConnectionBuilder, Error, OutcomeKind, Reconnect, SocketOptions, Tls, event,
};
use tokio::io::{AsyncReadExt, DuplexStream, duplex, join};
use tokio::net::TcpListener;

/// A pipe to a server that sends "hi" and closes.
fn pipe() -> (DuplexStream, Journal) {
    let (ours, mut theirs) = duplex(1 << 16);
    let journal = Journal::new();
    let seen = journal.clone();
    actix::spawn(async move {
        let script = Script::accept().send_text("hi").send_close(1000, "enough");
        script.play(&mut theirs, 0, &seen).await;
    });
    (ours, journal)
}

fn handler_words(error: Option<Error>) -> Arc<str> {
    match error {
        Some(Error::Handler(words)) => words,
        other => panic!("{other:?}"),
    }
}

#[actix::test]
async fn a_prepared_transport_is_used_once() {
    let (stream, journal) = pipe();
    let probe = Probe::new();
    let builder = Connection::builder("ws://example.com/feed").transport(stream);
    let _connection = probe.attach(builder).start().unwrap();
    assert_eq!(probe.next_message().await.payload.as_text(), Some("hi"));
    // The server closed cleanly, and there is no other stream to reconnect with.
    let outcome = probe.stopped().await;
    assert_eq!((outcome.kind, outcome.attempts), (OutcomeKind::Closed, 1));
    let head = journal.notes().into_iter().find_map(|(_, _, note)| match note {
        Note::Request(request) => Some(request),
        _ => None,
    });
    let head = head.unwrap();
    assert_eq!((head.line(), head.header("host")), ("GET /feed HTTP/1.1", Some("example.com")));
}

/// A server that refuses a request may close before it has read all of it.
#[actix::test]
async fn a_reply_counts_though_the_request_could_not_be_written() {
    let run = |reply: &'static [u8]| {
        let (broken, _) = duplex(1);
        Connection::builder("ws://h/").transport(join(reply, broken)).no_reconnect().run()
    };
    let outcome = run(b"HTTP/1.1 401 No\r\nContent-Length: 3\r\n\r\nwho").await.unwrap();
    match outcome.error {
        Some(Error::Refused(refusal)) => {
            assert_eq!((refusal.status, refusal.body.as_ref()), (401, b"who".as_ref()));
        }
        other => panic!("{other:?}"),
    }
    match run(b"HTTP/1.1 4").await.unwrap().error {
        Some(Error::Io(err)) => assert_eq!(err.kind(), io::ErrorKind::BrokenPipe),
        other => panic!("{other:?}"),
    }
}

#[actix::test]
async fn a_policy_that_comes_back_finds_a_prepared_transport_used() {
    let (stream, _journal) = pipe();
    let soon = Reconnect::fixed(Duration::from_millis(10));
    let builder = Connection::builder("ws://h/").transport(stream).reconnect(soon).max_attempts(4);
    let outcome = builder.run().await.unwrap();
    assert_eq!((outcome.kind, outcome.attempts), (OutcomeKind::Refused, 2));
    assert!(handler_words(outcome.error).contains("used already"));
}

#[actix::test]
async fn wss_speaks_tls_over_a_prepared_transport_unless_it_is_secure() {
    let (ours, mut theirs) = duplex(1 << 16);
    let builder = Connection::builder("wss://example.com/").transport(ours);
    let run = actix::spawn(builder.run());
    let mut first = [0; 1];
    theirs.read_exact(&mut first).await.unwrap();
    assert_eq!(first, [22]); // a TLS handshake (RFC 8446, 5.1)
    drop(theirs);
    assert_eq!(run.await.unwrap().unwrap().error.unwrap().stage(), "tls");

    let (stream, _journal) = pipe();
    let secure = Connection::builder("wss://example.com/").transport(stream).transport_is_secure();
    let outcome = secure.run().await.unwrap();
    assert_eq!((outcome.kind, outcome.epochs), (OutcomeKind::Closed, 1));
}

#[actix::test]
async fn only_a_transport_of_ones_own_is_taken_for_secure() {
    let (stream, _) = duplex(1);
    let own = Connection::builder("wss://h/").transport(stream).proxy("http://p");
    let tcp = Connection::builder("wss://h/").tls(Tls::new());
    for builder in [own, tcp] {
        let err = builder.transport_is_secure().start().unwrap_err().to_string();
        assert!(err.starts_with("transport_is_secure: "), "{err}");
    }
}

#[cfg(unix)]
#[actix::test]
async fn a_unix_socket_is_a_transport_for_each_attempt() {
    use tokio::net::{UnixListener, UnixStream};

    let path = std::env::temp_dir().join(format!("actix-ws-client-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path); // left by a killed test
    let listener = UnixListener::bind(&path).unwrap();
    actix::spawn(async move {
        let journal = Journal::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let script = Script::accept().send_text("hi").drop_connection();
            script.play(&mut stream, 0, &journal).await;
        }
    });
    let probe = Probe::new();
    let (from, soon) = (path.clone(), Reconnect::fixed(Duration::from_millis(10)));
    let builder = Connection::builder("ws://localhost/").reconnect(soon);
    let builder = builder.transport_with(move |_, _| UnixStream::connect(from.clone()));
    let connection = probe.attach(builder).start().unwrap();
    for epoch in 1..=3 {
        assert_eq!(probe.next::<event::Open>().await.epoch, epoch);
        assert_eq!(probe.next_message().await.payload.as_text(), Some("hi"));
    }
    drop(connection);
    probe.stopped().await;
    std::fs::remove_file(&path).unwrap();
}

fn to(server: &Server) -> ConnectionBuilder {
    Connection::builder(server.url()).proxy_from_env(false)
}

#[actix::test]
async fn sockets_are_as_they_were_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let own = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
    let (told, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let options = SocketOptions::new().with(move |socket| {
        // The crate's options are set by now, and the socket is not connected yet.
        let _ = told.send((socket.tcp_nodelay()?, socket.peer_addr().is_err()));
        Ok(())
    });
    let builder = Connection::builder(url).proxy_from_env(false).bind_address(own);
    let _connection = builder.socket_options(options).start().unwrap();
    let (_stream, peer) = listener.accept().await.unwrap();
    assert_eq!(peer.ip(), own);
    assert_eq!(asked.recv().await, Some((true, true)));
}

#[actix::test]
async fn a_closure_for_sockets_that_fails_is_tried_again_and_one_that_panics_is_not() {
    let server = Server::start(Script::accept());
    let run = |options| to(&server).socket_options(options).no_reconnect().run();
    let fails = SocketOptions::new().with(|_| Err(io::Error::other("for the test")));
    let outcome = run(fails).await.unwrap();
    assert_eq!((outcome.kind, outcome.error.unwrap().stage()), (OutcomeKind::Failed, "connect"));
    let outcome = run(SocketOptions::new().with(|_| panic!("for the test"))).await.unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Refused);
    handler_words(outcome.error);
    assert_eq!(server.dials(), 0);
}

#[actix::test]
async fn socket_options_that_cannot_be_are_refused() {
    let server = Server::start(Script::accept());
    for (options, reason) in [
        (SocketOptions::new().keepalive(Duration::ZERO), "a keepalive of zero; use None for off"),
        (SocketOptions::new().keepalive_interval(Duration::ZERO), "a keepalive of zero; "),
        (
            SocketOptions::new().keepalive_probes(0),
            "zero keepalive probes; use keepalive(None) for off",
        ),
        (
            SocketOptions::new().user_timeout(Duration::ZERO),
            "a user timeout of zero; use None for ",
        ),
    ] {
        let err = to(&server).socket_options(options).start().unwrap_err().to_string();
        assert!(err.starts_with(&format!("socket_options: {reason}")), "{err}");
    }
}

#[cfg(target_os = "linux")]
#[actix::test]
async fn socket_options_that_the_system_refuses_are_refused_by_name() {
    let day = Duration::from_secs(24 * 3600);
    for (options, named) in [
        (SocketOptions::new().keepalive(day), "keepalive"),
        (SocketOptions::new().keepalive_interval(day), "keepalive"),
        (SocketOptions::new().keepalive_probes(1000), "keepalive"),
    ] {
        let builder = Connection::builder("ws://h/").socket_options(options);
        let err = builder.check().unwrap_err().to_string();
        let words = format!("socket_options: {named}: the system refuses the value: ");
        assert!(err.starts_with(&words), "{err}");
    }
    // What a system can have later is not refused.
    let later = SocketOptions::new().device("nowhere");
    Connection::builder("ws://h/").socket_options(later).check().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_write_timeout_that_the_user_timeout_would_cut_short_is_refused() {
    let seconds = Duration::from_secs;
    let check = |write, user| {
        let options = SocketOptions::new().user_timeout(user);
        let builder = Connection::builder("ws://h/").write_timeout(write).socket_options(options);
        builder.check().map_err(|err| err.to_string())
    };
    let err = check(seconds(90), Some(seconds(60))).unwrap_err();
    let words = "a user timeout of 60s would end the connection before `write_timeout`, 90s: ";
    assert!(err.contains(words), "{err}");
    check(seconds(90), Some(seconds(90))).unwrap();
    check(seconds(90), None).unwrap();
    // The default of `write_timeout` asks for nothing.
    check(seconds(10), Some(seconds(5))).unwrap();
    check(seconds(11), Some(seconds(5))).unwrap_err();
}

#[cfg(target_os = "linux")]
#[actix::test]
async fn a_socket_keeps_to_its_device() {
    let server = Server::start(Script::accept().echo());
    let (told, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let options = SocketOptions::new().device("lo").with(move |socket| {
        let _ = told.send(socket.device()?);
        Ok(())
    });
    let probe = Probe::new();
    let _connection = probe.attach(to(&server).socket_options(options)).start().unwrap();
    probe.next::<event::Open>().await;
    assert_eq!(asked.recv().await, Some(Some(b"lo".to_vec())));

    let nowhere = SocketOptions::new().device("nowhere");
    let outcome = to(&server).socket_options(nowhere).no_reconnect().run().await.unwrap();
    assert_eq!(outcome.error.unwrap().stage(), "connect");
    assert_eq!(server.dials(), 1);
}

#[cfg(target_os = "linux")]
#[actix::test]
async fn a_socket_has_its_mark_or_says_that_it_may_not() {
    let server = Server::start(Script::accept().send_close(1000, ""));
    let (told, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let options = SocketOptions::new().mark(77).with(move |socket| {
        let _ = told.send(socket.mark()?);
        Ok(())
    });
    match to(&server).socket_options(options).no_reconnect().run().await {
        Ok(_) => assert_eq!(asked.recv().await, Some(77)),
        // Without CAP_NET_ADMIN.
        Err(err) => assert!(err.to_string().starts_with("socket_options: mark: "), "{err}"),
    }
}
