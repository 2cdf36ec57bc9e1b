//! Failures of a handshake that a fault of the network may have caused: they end no run at once.

use std::net::SocketAddr;
use std::time::Duration;

use actix_ws_client::testing::{Probe, Script};
use actix_ws_client::{Connection, OutcomeKind, Reconnect, event};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::server::{NEW, OLD, Setup};
use crate::{refused_at, to, trusting};

/// Where a relay changes a byte of the first connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Client,
    Server,
}

/// Forwards connections to a server. The byte at this place of the first one is changed, if there is one.
async fn relay(listener: TcpListener, server: SocketAddr, side: Side, at: usize) {
    let mut is_first = true;
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(server).await.unwrap();
        if !std::mem::take(&mut is_first) {
            actix::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
            continue;
        }
        let (client, server) = (client.into_split(), server.into_split());
        let at_of = move |of| (of == side).then_some(at);
        actix::spawn(copy(client.0, server.1, at_of(Side::Client)));
        actix::spawn(copy(server.0, client.1, at_of(Side::Server)));
    }
}

async fn copy(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    at: Option<usize>,
) {
    let (mut buf, mut passed) = ([0; 4096], 0);
    while let Ok(count @ 1..) = from.read(&mut buf).await {
        if let Some(at) = at.and_then(|at| at.checked_sub(passed)).filter(|at| *at < count) {
            buf[at] ^= 0x41;
        }
        passed += count;
        if to.write_all(&buf[..count]).await.is_err() {
            return;
        }
    }
}

/// The places in which a byte is changed: most headers and lengths stand at the beginning.
fn places() -> impl Iterator<Item = usize> {
    (0..160).chain((160..1200).step_by(7))
}

#[actix::test]
async fn one_byte_that_is_changed_in_a_handshake_ends_no_run() {
    for versions in [OLD, NEW] {
        let script = Script::accept().send_close(1000, "");
        let peer = Setup::new(&["localhost"]).versions(versions).serve(script);
        for side in [Side::Client, Side::Server] {
            let all: Vec<_> = places().collect();
            for places in all.chunks(64) {
                let open = |at| {
                    let (pem, server) = (peer.pem.clone(), peer.server.addr());
                    actix::spawn(async move { opens(&pem, server, side, at).await })
                };
                let runs: Vec<_> = places.iter().map(|at| open(*at)).collect();
                for run in runs {
                    run.await.unwrap();
                }
            }
        }
    }
}

async fn opens(pem: &str, server: SocketAddr, side: Side, at: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let relay = actix::spawn(relay(listener, server, side, at));
    // Options of their own: no session of another one is resumed.
    let tls = trusting(pem).alpn([format!("{at}"), "http/1.1".to_owned()]);
    let run = Connection::builder(format!("wss://localhost:{port}/"))
        .tls(tls)
        .reconnect(Reconnect::fixed(Duration::from_millis(1)))
        // A length that was changed makes one side wait for more, also on an open socket.
        .connect_timeout(Duration::from_millis(700))
        .ping_interval(Duration::from_secs(1))
        .ping_timeout(Duration::from_millis(700))
        .reconnect_on_close(false)
        .run();
    let outcome = tokio::time::timeout(Duration::from_secs(30), run).await;
    relay.abort();
    let outcome = outcome.unwrap_or_else(|_| panic!("{side:?} {at}: no end")).unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Closed, "{side:?} {at}: {outcome:?}");
}

/// Forwards one connection to a server. Once the client has ended its side, it sends a record that cannot be decrypted.
async fn relay_with_a_wrong_record_last(listener: TcpListener, server: SocketAddr) {
    let (client, _) = listener.accept().await.unwrap();
    let server = TcpStream::connect(server).await.unwrap();
    let ((from_client, mut to_client), (mut from_server, to_server)) =
        (client.into_split(), server.into_split());
    let upstream = actix::spawn(copy(from_client, to_server, None));
    let mut buf = [0; 4096];
    let mut downstream = async || {
        while let Ok(count @ 1..) = from_server.read(&mut buf).await {
            to_client.write_all(&buf[..count]).await.unwrap();
        }
    };
    tokio::select! {
        () = downstream() => panic!("the server has ended first"),
        ended = upstream => ended.unwrap(),
    }
    // A record of application data, of 32 bytes.
    to_client.write_all(b"\x17\x03\x03\x00\x20").await.unwrap();
    to_client.write_all(&[0x5a; 32]).await.unwrap();
}

#[actix::test]
async fn a_wrong_record_after_our_close_notify_is_discarded() {
    for versions in [OLD, NEW] {
        let script = Script::accept().send_close(1000, "").stall_forever();
        let peer = Setup::new(&["localhost"]).versions(versions).serve(script);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let relay = actix::spawn(relay_with_a_wrong_record_last(listener, peer.server.addr()));
        let outcome = Connection::builder(format!("wss://localhost:{port}/"))
            .tls(trusting(&peer.pem))
            .reconnect_on_close(false)
            .run()
            .await
            .unwrap();
        relay.await.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Closed, "{outcome:?}");
        assert!(outcome.clean, "{outcome:?}");
    }
}

/// Answers the first connections with these bytes, and forwards the others.
fn answers_first(answers: Vec<&'static [u8]>, server: SocketAddr) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let listener = TcpListener::from_std(listener).unwrap();
    actix::spawn(async move {
        for answer in answers {
            let (mut client, _) = listener.accept().await.unwrap();
            client.write_all(answer).await.unwrap();
            // Until the client ends it: a reset could overtake the answer.
            while let Ok(1..) = client.read(&mut [0; 1024]).await {}
        }
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(server).await.unwrap();
            actix::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
    port
}

const PORTAL: &[u8] = b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\r\n";
const HANDSHAKE_FAILURE: &[u8] = &[21, 3, 3, 0, 2, 2, 40];

#[actix::test]
async fn plain_text_on_a_tls_port_is_tried_again() {
    let peer = Setup::new(&["localhost"]).serve(Script::accept());
    let port = answers_first(vec![PORTAL; 3], peer.server.addr());
    let probe = Probe::new();
    let _connection = probe.attach(to("localhost", port, trusting(&peer.pem))).start().unwrap();
    assert_eq!(probe.next::<event::Open>().await.attempts, 4);
    assert!(probe.all::<event::Error>().iter().all(|error| error.error.stage() == "tls"));
}

#[actix::test]
async fn what_came_in_the_clear_is_final_at_the_second_dial_in_a_row() {
    let peer = Setup::new(&["localhost"]).serve(Script::accept());
    let answers = vec![HANDSHAKE_FAILURE, PORTAL, HANDSHAKE_FAILURE];
    let port = answers_first(answers, peer.server.addr());
    let probe = Probe::new();
    let _connection = probe.attach(to("localhost", port, trusting(&peer.pem))).start().unwrap();
    assert_eq!(probe.next::<event::Open>().await.attempts, 4);
    let port = answers_first(vec![HANDSHAKE_FAILURE; 2], peer.server.addr());
    refused_at(2, to("localhost", port, trusting(&peer.pem))).await;
}

#[actix::test]
async fn a_certificate_of_tls_1_2_is_refused_at_the_second_dial() {
    let other = Setup::new(&["localhost"]).serve(Script::accept());
    for (versions, dials) in [(OLD, 2), (NEW, 1)] {
        for setup in [Setup::new(&["localhost"]), Setup::new(&["localhost"]).expired()] {
            let peer = setup.versions(versions).serve(Script::accept());
            refused_at(dials, to("localhost", peer.port, trusting(&other.pem))).await;
        }
    }
}
