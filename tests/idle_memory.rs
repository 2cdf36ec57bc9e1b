//! What an idle connection weighs: anonymous memory of a process that holds many.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler};
use actix_ws_client::proto::message::ControlPayload;
use actix_ws_client::testing::ServerTls;
use actix_ws_client::{Connection, Tls, Watch, command, event};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use rcgen::{CertificateParams, DnType, KeyPair};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

/// What a connection may weigh, in bytes: its actor, its share of the pinger, a handler actor of its
/// own, and all that actix and tokio keep for them. It is what the documentation promises; it was 4.0 KiB when
/// this was written.
const MOST: u64 = 4608;

/// The same over TLS, with the buffers of rustls and a share of the store of authorities; it was 12 KiB when this was
/// written. A server that sends a longer chain of certificates adds its size.
const MOST_TLS: u64 = 16 << 10;

/// What `start` of [`STARTED`] further connections may take of the thread.
const MOST_TO_START: Duration = Duration::from_millis(150);
const STARTED: usize = 1000;

/// Connections that are weighed, and that were opened before: what a process pays once, and what the
/// dials leave behind for the next ones, is paid by these. Both fit into the usual 1,024 open files.
const WEIGHED: usize = 600;
const BEFORE: usize = 200;

/// Dials at once.
const AT_ONCE: usize = 8;

/// Where the server is, in the process that is weighed.
const SERVER: &str = "IDLE_MEMORY_SERVER";

/// The authorities of a store as large as a system's, before that of the server.
const AUTHORITIES: usize = 140;

/// A file with only the server's certificate, in the process that is weighed.
const CA_FILE: &str = "IDLE_MEMORY_CA_FILE";

#[test]
fn an_idle_connection_weighs_no_more_than_4_5_kib() {
    if is_weighed() {
        return;
    }
    weigh_in_process("an_idle_connection_weighs_no_more_than_4_5_kib", MOST, None, &[]);
}

#[test]
fn an_idle_connection_over_tls_weighs_no_more_than_16_kib() {
    if is_weighed() {
        return;
    }
    let name = "an_idle_connection_over_tls_weighs_no_more_than_16_kib";
    let file = scratch(name);
    let (own, key) = certificate("127.0.0.1");
    let others: String =
        (0..AUTHORITIES).map(|number| certificate(&format!("{number}.example")).0).collect();
    fs::write(&file, others + &own).unwrap();
    let tls = (own, key);
    weigh_in_process(name, MOST_TLS, Some(tls), &[("SSL_CERT_FILE", &file)]);
}

#[test]
fn an_idle_connection_with_a_ca_file_of_its_own_weighs_no_more_than_16_kib() {
    if is_weighed() {
        return;
    }
    let name = "an_idle_connection_with_a_ca_file_of_its_own_weighs_no_more_than_16_kib";
    let file = scratch(name);
    let tls = certificate("127.0.0.1");
    fs::write(&file, &tls.0).unwrap();
    weigh_in_process(name, MOST_TLS, Some(tls), &[(CA_FILE, &file)]);
}

/// A self-signed certificate for this host, and its key.
fn certificate(host: &str) -> (String, String) {
    let mut params = CertificateParams::new([host.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, host);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn scratch(name: &str) -> String {
    format!("{}/{name}.pem", env!("CARGO_TARGET_TMPDIR"))
}

/// Weighs connections if this is the process for that.
fn is_weighed() -> bool {
    let Ok(url) = std::env::var(SERVER) else { return false };
    let (weight, start) = actix::System::new().block_on(weigh(&url));
    println!("{SERVER}={weight} {}", start.as_micros());
    true
}

/// Weighs connections in a process of its own, which runs the test of this name with these variables. With a
/// certificate and its key the server speaks TLS.
fn weigh_in_process(
    name: &str,
    most: u64,
    tls: Option<(String, String)>,
    variables: &[(&str, &String)],
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let scheme = if tls.is_some() { "wss" } else { "ws" };
    let url = format!("{scheme}://{}/", listener.local_addr().unwrap());
    let tls = tls.map(|(chain, key)| ServerTls::from_pem(chain.as_bytes(), key.as_bytes()));
    std::thread::spawn(move || runtime.block_on(serve(listener, tls)));
    let own = std::env::current_exe().unwrap();
    let mut client = Command::new(own);
    client.args([name, "--exact", "--nocapture"]);
    // One arena, and no memory that the allocator takes or gives back by what it has seen.
    client.env(SERVER, url).env("MALLOC_ARENA_MAX", "1").env("MALLOC_TOP_PAD_", "0");
    client.envs(variables.iter().copied());
    let output = client.output().unwrap();
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{words}");
    let found = words.lines().find_map(|line| line.split_once(&format!("{SERVER}=")));
    let (weight, start) = found.unwrap().1.split_once(' ').unwrap();
    let (weight, start): (u64, u64) = (weight.parse().unwrap(), start.parse().unwrap());
    println!("{weight} bytes, {start} us to start {STARTED}");
    assert!(weight <= most, "{weight} bytes");
    assert!(weight > most / 4, "{weight} bytes: that cannot be all");
    assert!(Duration::from_micros(start) <= MOST_TO_START, "{start} us to start {STARTED}");
}

/// Answers pings until the process ends.
async fn serve(listener: TcpListener, tls: Option<ServerTls>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let tls = tls.clone();
        tokio::spawn(async move {
            match tls {
                Some(tls) => answer(tls.accept(stream).await.unwrap()).await,
                None => answer(stream).await,
            }
        });
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
}

/// What each of many open connections weighs that has sent a ping and had its answer, and how much of the thread `start`
/// takes of further ones.
async fn weigh(url: &str) -> (u64, Duration) {
    let mut all = Vec::with_capacity(BEFORE + WEIGHED);
    open(&mut all, BEFORE, url).await;
    let before = anonymous();
    open(&mut all, WEIGHED, url).await;
    let weight = (anonymous() - before) / WEIGHED as u64;
    assert!(all.iter().all(|(connection, watch)| connection.connected() && watch.epoch() == 1));
    let begin = on_processor();
    // They do not dial: the process ends before they are polled.
    let started: Vec<_> = (0..STARTED).map(|_| start(url)).collect();
    let spent = on_processor() - begin;
    assert_eq!(started.len(), STARTED);
    (weight, spent)
}

async fn open(all: &mut Vec<(Addr<Connection>, Watch)>, count: usize, url: &str) {
    let end = all.len() + count;
    while all.len() < end {
        let started = (0..AT_ONCE).map(|_| pinged(start(url)));
        all.extend(try_join_all(started).await.unwrap());
    }
}

fn start(url: &str) -> (Addr<Connection>, Watch) {
    let mut builder = Connection::builder(url).handler(Idle.start());
    if let Some(file) = std::env::var_os(CA_FILE) {
        builder = builder.tls(Tls::new().ca_file(Path::new(&file)).unwrap());
    }
    let watch = builder.watch();
    (builder.start().unwrap(), watch)
}

async fn pinged(
    (connection, watch): (Addr<Connection>, Watch),
) -> Result<(Addr<Connection>, Watch), actix::MailboxError> {
    let patience = Duration::from_secs(60);
    let answered = async {
        while watch.epoch() == 0 {
            tokio::task::yield_now().await;
        }
        let payload = ControlPayload::new("are you there?").unwrap();
        connection.send(command::Ping { payload }).await?.unwrap();
        while watch.figures().last_pong.is_none() {
            tokio::task::yield_now().await;
        }
        Ok(())
    };
    tokio::time::timeout(patience, answered).await.expect("in a minute")?;
    Ok((connection, watch))
}

/// How long this thread has run.
fn on_processor() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split_whitespace().next().unwrap().parse().unwrap())
}

fn anonymous() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// A handler that has nothing to do.
struct Idle;

impl Actor for Idle {
    type Context = Context<Idle>;
}

impl Handler<event::Open> for Idle {
    type Result = ();

    fn handle(&mut self, _: event::Open, _: &mut Context<Idle>) {}
}

impl Handler<event::Message> for Idle {
    type Result = ();

    fn handle(&mut self, _: event::Message, _: &mut Context<Idle>) {}
}

impl Handler<event::Error> for Idle {
    type Result = ();

    fn handle(&mut self, failed: event::Error, _: &mut Context<Idle>) {
        panic!("{}", failed.error);
    }
}

impl Handler<event::Close> for Idle {
    type Result = ();

    fn handle(&mut self, _: event::Close, _: &mut Context<Idle>) {}
}
