//! Faults at any byte of a TLS session with a server by another hand: the connection comes back, and it
//! ends when it is closed.
//!
//! `CHAOS_CASES` sets the number of cases, 400 by default; `CHAOS_SEED` the seed, which a failure prints.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::time::Duration;

use actix_ws_client::testing::{
    Chaos, Fault, FaultAt, Passed, Probe, Script, Server, ServerTls, Way,
};
use actix_ws_client::{Connection, OutcomeKind, Reconnect, Tls, command, event};
use futures_util::{SinkExt, StreamExt, stream};
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

/// Serves echoes over TLS on a thread of its own, each greeted with a text, by rustls and tungstenite. It
/// ends with the process.
fn serve(tls: ServerTls) -> SocketAddr {
    let (bound, addr) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            bound.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let tls = tls.clone();
                // What the faults break is not an error of the test.
                tokio::spawn(async move {
                    let stream = tls.accept(stream).await.ok()?;
                    let mut socket = tokio_tungstenite::accept_async(stream).await.ok()?;
                    socket.send(Message::text("welcome")).await.ok()?;
                    while let Some(Ok(message)) = socket.next().await {
                        if message.is_text() {
                            socket.send(message).await.ok()?;
                        }
                    }
                    Some(())
                });
            }
        });
    });
    addr.recv().unwrap()
}

/// Connects through faults, until an echo of its own arrives; then closes. Returns what passed on the
/// first socket. Fails if the connection does not come back or does not end.
async fn converse(server: SocketAddr, tls: Tls, faults: Vec<Fault>) -> Passed {
    let chaos = Chaos::start(server, move |connection| match connection {
        0 => faults.clone(),
        _ => vec![],
    });
    let probe = Probe::new();
    let url = format!("wss://localhost:{}/", chaos.addr().port());
    let builder = Connection::builder(url)
        .tls(tls)
        .connect_timeout(Duration::from_millis(1500))
        .close_timeout(Duration::from_millis(300))
        .ping_interval(Duration::from_millis(300))
        .ping_timeout(Duration::from_millis(600))
        .reconnect(Reconnect::fixed(Duration::from_millis(10)));
    let connection = probe.attach(builder).start().unwrap();
    loop {
        let open = probe.next::<event::Open>().await;
        let text = format!("echo of {}", open.epoch);
        // Refused where the socket is lost already; then the next one opens.
        let _ = connection.send(command::Send::text(text.clone())).await;
        let echoed = |message: &event::Message| message.payload.as_text() == Some(&text);
        let lost = async { while probe.next::<event::Close>().await.epoch != open.epoch {} };
        let arrived = async { while !echoed(&probe.next_message().await) {} };
        tokio::select! {
            () = arrived => break,
            () = lost => {}
        }
    }
    let outcome = connection.send(command::Close::normal()).await.unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Closed, "{outcome:?}");
    probe.stopped().await;
    probe.check().unwrap();
    chaos.passed()[0]
}

fn certificate() -> (ServerTls, Tls) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = made.cert.pem();
    let server = ServerTls::from_pem(pem.as_bytes(), made.signing_key.serialize_pem().as_bytes());
    (server, Tls::new().ca_pem(pem.as_bytes()).unwrap())
}

/// A value of the environment, or the default.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// One fault at a random byte of a direction, of which `total` bytes pass when nothing is wrong.
fn fault(random: &mut TestRng, way: Way, total: u64) -> Fault {
    // A few bytes behind the end too.
    let at: FaultAt = Fault::at(way, random.next_u64() % (total + 8));
    match random.next_u32() % 8 {
        0 => at.stall(Duration::from_millis(200)),
        1 => at.freeze(),
        2 => at.discard(),
        3 => at.corrupt(1 << (random.next_u32() % 8)),
        4 => at.slices(1),
        5 => at.bandwidth(20_000),
        6 => at.fin(),
        _ => at.reset(),
    }
}

#[actix::test]
async fn a_connection_comes_back_from_a_fault_at_any_byte_and_ends_when_closed() {
    let (served, tls) = certificate();
    let server = serve(served);
    let clean = converse(server, tls.clone(), vec![]).await;
    assert!(clean.to_server > 300 && clean.to_client > 600, "{clean:?}");
    let seed = setting("CHAOS_SEED", 20_26);
    println!("CHAOS_SEED={seed}, {clean:?}");
    let mut seeded = [0; 32];
    seeded[..8].copy_from_slice(&seed.to_le_bytes());
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &seeded);
    let cases: Vec<Vec<Fault>> = (0..setting("CHAOS_CASES", 400))
        .map(|_| {
            let mut faults = vec![fault(&mut random, Way::ToServer, clean.to_server)];
            faults.push(fault(&mut random, Way::ToClient, clean.to_client));
            // Mostly one, sometimes both.
            match random.next_u32() % 5 {
                0 => {}
                keep => drop(faults.remove(keep as usize % 2)),
            }
            faults
        })
        .collect();
    let runs = cases.into_iter().map(|faults| {
        let tls = tls.clone();
        async move {
            let shown = format!("{faults:?}");
            let ended =
                tokio::time::timeout(Duration::from_secs(30), converse(server, tls, faults));
            let run = std::panic::AssertUnwindSafe(ended);
            match futures_util::FutureExt::catch_unwind(run).await {
                Ok(Ok(_)) => None,
                Ok(Err(_)) => Some(format!("hangs: {shown}")),
                Err(_) => Some(format!("fails, see above: {shown}")),
            }
        }
    });
    let failed: Vec<String> =
        stream::iter(runs).buffer_unordered(32).filter_map(std::future::ready).collect().await;
    assert!(failed.is_empty(), "CHAOS_SEED={seed}: {} cases\n{}", failed.len(), failed.join("\n"));
}

#[actix::test]
async fn each_fault_does_what_its_name_says() {
    let server = Server::start(Script::accept().send_text("0123456789").echo());
    let reached = |fault: Fault| {
        let chaos = Chaos::start(server.addr(), move |_| vec![fault]);
        async move {
            let probe = Probe::new();
            let builder = Connection::builder(format!("ws://{}/", chaos.addr())).no_reconnect();
            let _connection =
                probe.attach(builder.connect_timeout(Duration::from_millis(300))).start().unwrap();
            let stopped = probe.stopped().await;
            (stopped.error.map(|err| err.to_string()), chaos.passed()[0])
        }
    };
    // The fault, how much reaches the client (`None`: more than the fault lets through), and the error.
    for (fault, to_client, expected) in [
        (Fault::to_client(20).reset(), Some(20), "reset"),
        (Fault::to_client(20).fin(), Some(20), "ended"),
        (Fault::to_client(20).freeze(), Some(20), "timed out"),
        (Fault::to_client(20).discard(), None, "timed out"),
        (Fault::to_server(20).discard(), Some(0), "timed out"),
        (Fault::to_client(0).bandwidth(100), None, "timed out"),
    ] {
        let (error, passed) = reached(fault).await;
        let error = error.unwrap_or_default();
        assert!(error.contains(expected), "{fault:?}: {error}");
        match to_client {
            Some(bytes) => assert_eq!(passed.to_client, bytes, "{fault:?}"),
            None => assert!(passed.to_client > 20, "{fault:?}: {passed:?}"),
        }
    }
    // The first digit of the status. The client may have failed before the proxy counts what it wrote.
    let (error, _) = reached(Fault::to_client(9).corrupt(0x40)).await;
    assert!(error.as_deref().is_some_and(|error| error.contains("HTTP")), "{error:?}");
    // What is only late or in pieces arrives.
    for fault in
        [Fault::to_client(20).stall(Duration::from_millis(100)), Fault::to_client(0).slices(1)]
    {
        let chaos = Chaos::start(server.addr(), move |_| vec![fault]);
        let probe = Probe::new();
        let _connection =
            probe.attach(Connection::builder(format!("ws://{}/", chaos.addr()))).start().unwrap();
        assert_eq!(probe.next_message().await.payload.as_text(), Some("0123456789"), "{fault:?}");
    }
}
