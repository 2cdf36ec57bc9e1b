//! Connections that open, close, are cut and come back, over TLS and through a proxy, leave nothing behind: after thousands
//! of sockets the memory, descriptors, threads, tasks and actors of a process are what they were after the first hundreds.
//!
//! `SOAK_SECONDS` sets how long it takes, 3 by default, with at least 10,000 sockets a minute; `just soak` runs a minute.
#![cfg(target_os = "linux")]

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use actix::WeakAddr;
use actix_ws_client::testing::{Chaos, Fault, Probe, ServerTls};
use actix_ws_client::{Connection, OutcomeKind, Reconnect, Tls, command, event};
use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

/// How much the resident memory may grow, in KiB, however many sockets there were.
const MOST_GROWTH: i64 = 1 << 10;

/// The threads that may stay: those that looked the name up, one for each family and as many that begin while these end.
const MOST_THREADS: usize = 4;

/// The sockets before the first measurement: they pay for what a process needs once.
const WARM_UP: usize = 500;

/// The sockets that each second has at least, so that a minute has 10,000.
const AT_LEAST_PER_SECOND: usize = 167;

/// Connections at once; every other one goes through the proxy.
const AT_ONCE: usize = 8;

/// The sockets of one connection, of which the client closes the last.
const LIVES: usize = 5;

/// The bytes behind which a socket is cut. Only the reply to [`CUT`] is longer.
const CUT_BEHIND: u64 = 20_000;

/// Of this many dials one is cut within the TLS handshake.
const CUT_DIALS: usize = 16;

/// Texts that ask the server for an end of the socket; it echoes any other.
const CLOSE: &str = "close";
const CUT: &str = "cut";

/// Where the server and the proxy are, and the server's certificate, in the process that is measured.
const SERVER: &str = "SOAK_SERVER";
const PROXY: &str = "SOAK_PROXY";
const CA: &str = "SOAK_CA";

#[test]
fn sockets_that_come_and_go_leave_nothing_behind() {
    if let Ok(url) = std::env::var(SERVER) {
        return actix::System::new().block_on(soak(url));
    }
    let host = host();
    let made = rcgen::generate_simple_self_signed([host.clone()]).unwrap();
    let ca = made.cert.pem();
    let key = made.signing_key.serialize_pem();
    let (server, proxy) = serve(ServerTls::from_pem(ca.as_bytes(), key.as_bytes()));
    let chaos = Chaos::start(server, |dial| match dial % CUT_DIALS {
        0 => vec![Fault::to_client(50).reset()],
        _ => vec![Fault::to_client(CUT_BEHIND).reset()],
    });
    let mut client = Command::new(std::env::current_exe().unwrap());
    client.args(["sockets_that_come_and_go_leave_nothing_behind", "--exact", "--nocapture"]);
    client.env(SERVER, format!("wss://{host}:{}/", chaos.addr().port()));
    client.env(PROXY, format!("http://{proxy}")).env(CA, ca).env("MALLOC_ARENA_MAX", "1");
    let output = client.output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Returns a name of 127.0.0.1 that is looked up, on threads, if the hosts file has one; `localhost` is not.
fn host() -> String {
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let mut names =
        hosts.lines().filter_map(|line| line.strip_prefix("127.0.0.1")?.split_whitespace().next());
    let looked_up = |name: &&str| {
        !name.contains("localhost") && name.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    names.find(looked_up).unwrap_or("localhost").to_owned()
}

/// Starts the server, by rustls and tungstenite, and an HTTP proxy on a thread of their own, which ends with the process.
fn serve(tls: ServerTls) -> (SocketAddr, SocketAddr) {
    let (bound, addrs) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let proxy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            bound.send((server.local_addr().unwrap(), proxy.local_addr().unwrap())).unwrap();
            loop {
                // What the faults break is not an error of the test.
                tokio::select! {
                    accepted = server.accept() => {
                        tokio::spawn(answer(tls.clone(), accepted.unwrap().0));
                    }
                    accepted = proxy.accept() => {
                        tokio::spawn(relay(accepted.unwrap().0));
                    }
                }
            }
        });
    });
    addrs.recv().unwrap()
}

/// Echoes texts, and ends the socket as they ask.
async fn answer(tls: ServerTls, stream: TcpStream) -> Option<()> {
    let mut socket = tokio_tungstenite::accept_async(tls.accept(stream).await.ok()?).await.ok()?;
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) if text == CLOSE => socket.close(None).await.ok()?,
            Message::Text(text) if text == CUT => {
                socket.send(Message::binary(vec![0; 4 * CUT_BEHIND as usize])).await.ok()?;
            }
            Message::Text(text) => socket.send(Message::Text(text)).await.ok()?,
            _ => {}
        }
    }
    Some(())
}

/// Answers one CONNECT, then relays.
async fn relay(mut client: TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap();
    let mut server = TcpStream::connect(target).await?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// What a process has in use.
#[derive(Debug)]
struct Figures {
    resident_kib: i64,
    descriptors: usize,
    threads: usize,
    /// The tasks of the runtime. Those of actors are not among them: see `connections`.
    tasks: usize,
    /// The connections whose mailbox still exists.
    connections: usize,
}

/// The measured process: opens and ends sockets for the time that is set, and compares its figures.
async fn soak(url: String) {
    let seconds: u32 = std::env::var("SOAK_SECONDS").map_or(3, |value| value.parse().unwrap());
    let clients = Clients {
        url,
        proxy: std::env::var(PROXY).unwrap(),
        ca: std::env::var(CA).unwrap(),
        sockets: Cell::new(0),
        running: RefCell::default(),
    };
    let fresh = clients.figures();
    clients.run(|sockets| sockets >= WARM_UP).await;
    let before = clients.settled(&fresh).await;
    let (start, warm) = (Instant::now(), clients.sockets.get());
    let duration = Duration::from_secs(seconds.into());
    let least = warm + seconds as usize * AT_LEAST_PER_SECOND;
    clients.run(|sockets| sockets >= least && start.elapsed() >= duration).await;
    let took = start.elapsed();
    let after = clients.settled(&fresh).await;

    let sockets = clients.sockets.get() - warm;
    let words = format!(
        "{sockets} sockets in {took:.1?}\nfresh  {fresh:?}\nbefore {before:?}\nafter  {after:?}"
    );
    println!("{words}");
    assert_eq!(after.connections, 0, "{words}");
    assert_eq!(after.descriptors, fresh.descriptors, "{words}");
    assert_eq!(after.tasks, fresh.tasks, "{words}");
    assert!(after.threads <= fresh.threads + MOST_THREADS, "{words}");
    assert!(after.resident_kib - before.resident_kib <= MOST_GROWTH, "{words}");
}

/// The clients of the measured process.
struct Clients {
    url: String,
    proxy: String,
    /// The server's certificate, in PEM.
    ca: String,
    /// The sockets that were open and have ended.
    sockets: Cell<usize>,
    /// The connections that were started and whose mailboxes exist.
    running: RefCell<Vec<WeakAddr<Connection>>>,
}

impl Clients {
    /// Runs connections, [`AT_ONCE`] of them, until this many sockets are enough.
    async fn run(&self, enough: impl Fn(usize) -> bool) {
        let enough = &enough;
        join_all((0..AT_ONCE).map(|number| async move {
            while !enough(self.sockets.get()) {
                self.run_one((number % 2 == 1).then_some(self.proxy.as_str())).await;
            }
        }))
        .await;
    }

    /// Runs one connection, through the proxy if one is given. Its sockets are closed by the server and cut in turn, and it
    /// comes back at once; the client closes the last.
    async fn run_one(&self, proxy: Option<&str>) {
        let probe = Probe::new().patience(Duration::from_secs(60));
        let mut builder = Connection::builder(self.url.as_str())
            .tls(Tls::new().ca_pem(self.ca.as_bytes()).unwrap())
            .proxy_from_env(false)
            .reconnect(Reconnect::fixed(Duration::from_millis(1)));
        if let Some(proxy) = proxy {
            builder = builder.proxy(proxy);
        }
        let connection = probe.attach(builder).start().unwrap();
        self.running.borrow_mut().push(connection.downgrade());
        for life in 1..=LIVES {
            probe.next::<event::Open>().await;
            connection.send(command::Send::text("hello")).await.unwrap().unwrap();
            assert_eq!(probe.next_message().await.payload.as_text(), Some("hello"));
            if life == LIVES {
                let outcome = connection.send(command::Close::normal()).await.unwrap();
                assert_eq!(outcome.kind, OutcomeKind::Closed, "{outcome:?}");
            } else {
                let wish = if life % 2 == 1 { CLOSE } else { CUT };
                connection.send(command::Send::text(wish)).await.unwrap().unwrap();
            }
            let closed = probe.next::<event::Close>().await;
            let cut = life < LIVES && life % 2 == 0;
            assert_eq!(closed.clean, !cut, "{closed:?}");
            self.sockets.set(self.sockets.get() + 1);
        }
        probe.stopped().await;
        probe.check().unwrap();
        drop(connection);
        self.running.borrow_mut().retain(|connection| connection.upgrade().is_some());
    }

    fn figures(&self) -> Figures {
        let connections = self.running.borrow();
        Figures {
            resident_kib: resident(),
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            threads: fs::read_dir("/proc/self/task").unwrap().count(),
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            connections: connections.iter().filter(|one| one.upgrade().is_some()).count(),
        }
    }

    /// Returns the figures when the last connections have ended: what they hold is dropped a little after `Stopped`. After
    /// 10 s the figures are as they are.
    async fn settled(&self, fresh: &Figures) -> Figures {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let now = self.figures();
            let ended = now.connections == 0 && now.descriptors <= fresh.descriptors;
            if ended || Instant::now() > deadline {
                return now;
            }
            // Nothing reports the end of a descriptor, so /proc is polled.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn resident() -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
