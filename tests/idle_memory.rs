//! What an idle connection weighs: anonymous memory of a process that holds many.
#![cfg(target_os = "linux")]

use std::fs;
use std::process::Command;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler};
use actix_ws_client::proto::message::ControlPayload;
use actix_ws_client::{Connection, Watch, command, event};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use tokio::net::TcpListener;

/// What a connection may weigh, in bytes: its actor, its share of the pinger, a handler actor of its
/// own, and all that actix and tokio keep for them. It is what the documentation promises; it was 4.0 KiB when
/// this was written.
const MOST: u64 = 4608;

/// Connections that are weighed, and that were opened before: what a process pays once, and what the
/// dials leave behind for the next ones, is paid by these. Both fit into the usual 1,024 open files.
const WEIGHED: usize = 600;
const BEFORE: usize = 200;

/// Dials at once.
const AT_ONCE: usize = 8;

/// Where the server is, in the process that is weighed.
const SERVER: &str = "IDLE_MEMORY_SERVER";

#[test]
fn an_idle_connection_weighs_no_more_than_4_5_kib() {
    if let Ok(url) = std::env::var(SERVER) {
        let weight = actix::System::new().block_on(weigh(&url));
        println!("{SERVER}={weight}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || runtime.block_on(serve(listener)));
    let own = std::env::current_exe().unwrap();
    let mut client = Command::new(own);
    client.args(["an_idle_connection_weighs_no_more_than_4_5_kib", "--exact", "--nocapture"]);
    // One arena, and no memory that the allocator takes or gives back by what it has seen.
    client.env(SERVER, url).env("MALLOC_ARENA_MAX", "1").env("MALLOC_TOP_PAD_", "0");
    let output = client.output().unwrap();
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{words}");
    let weight = words.lines().find_map(|line| line.split_once(&format!("{SERVER}=")));
    let weight: u64 = weight.unwrap().1.parse().unwrap();
    println!("{weight} bytes");
    assert!(weight <= MOST, "{weight} bytes");
    assert!(weight > MOST / 4, "{weight} bytes: that cannot be all");
}

/// Answers pings until the process ends.
async fn serve(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            while let Some(Ok(_)) = socket.next().await {}
        });
    }
}

/// What each of many open connections weighs that has sent a ping and had its answer.
async fn weigh(url: &str) -> u64 {
    let mut all = Vec::with_capacity(BEFORE + WEIGHED);
    open(&mut all, BEFORE, url).await;
    let before = anonymous();
    open(&mut all, WEIGHED, url).await;
    let weight = (anonymous() - before) / WEIGHED as u64;
    assert!(all.iter().all(|(connection, watch)| connection.connected() && watch.epoch() == 1));
    weight
}

async fn open(all: &mut Vec<(Addr<Connection>, Watch)>, count: usize, url: &str) {
    let end = all.len() + count;
    while all.len() < end {
        all.extend(try_join_all((0..AT_ONCE).map(|_| pinged(url))).await.unwrap());
    }
}

async fn pinged(url: &str) -> Result<(Addr<Connection>, Watch), actix::MailboxError> {
    let builder = Connection::builder(url).handler(Idle.start());
    let watch = builder.watch();
    let connection = builder.start().unwrap();
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
