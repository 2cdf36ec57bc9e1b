//! Tests that need root: real hosts, in network namespaces of their own, and real black holes.
//!
//! `just lab` runs them. The server is this very executable, started again in the other namespace.

mod names;
mod net;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite;

use crate::net::Pair;

/// What the namespaces' server listens on.
const PORT: u16 = 9999;

/// `--ping-interval` and `--ping-timeout` of the client, 1 s each, and a margin for a busy machine.
const BOUND: Duration = Duration::from_millis(2_300);

#[test]
#[ignore = "needs root: just lab"]
fn a_half_open_connection_is_found_in_a_real_network_while_idle() {
    let found = black_hole("idle", false);
    assert!(found <= BOUND, "found after {found:?}");
}

#[test]
#[ignore = "needs root: just lab"]
fn a_half_open_connection_is_found_in_a_real_network_while_sending() {
    let found = black_hole("send", true);
    assert!(found <= BOUND, "found after {found:?}");
}

/// A resolver that waits for both families needs 10 s for each look-up here, as long as a dial may take.
#[test]
#[ignore = "needs root: just lab"]
fn a_name_opens_at_once_where_queries_for_ipv6_are_dropped() {
    let pair = Pair::new("name");
    // Of the second name no server is asked: 127.0.0.9 would refuse, and the server has another address for it.
    pair.look_up_at_server("10.77.0.2 listed.test\n127.0.0.9 other.test\n");
    let _server = Ended(server(&pair));
    for (name, stage) in [("asked.test", "open"), ("listed.test", "open"), ("other.test", "error")]
    {
        let begin = Instant::now();
        let (_client, lines) = client(&pair, name);
        wait_for(&lines, &format!("\"event\":\"{stage}\""));
        let took = begin.elapsed();
        println!("{name}: {stage} after {took:?}");
        assert!(took < Duration::from_secs(1), "{name}: {took:?}");
    }
}

/// The look-up itself goes on for 10 s.
#[test]
#[ignore = "needs root: just lab"]
fn a_look_up_without_an_answer_does_not_delay_the_end() {
    let pair = Pair::new("hang");
    pair.look_up_at_server("");
    let _server = Ended(server(&pair));
    let begin = Instant::now();
    let url = format!("ws://{}.test:{PORT}/", names::UNANSWERED);
    let mut command = pair.command(net::CLIENT, env!("CARGO_BIN_EXE_wsup"));
    let status =
        command.args(["--json", "--duration", "500ms", &url]).stdin(Stdio::null()).status();
    assert!(status.expect("wsup starts").success());
    let took = begin.elapsed();
    println!("the end after {took:?}");
    assert!(took < Duration::from_millis(1_500), "{took:?}");
}

/// Opens a connection, cuts the network both ways, and says how long it took to be found.
fn black_hole(name: &str, sending: bool) -> Duration {
    let pair = Pair::new(name);
    let _server = Ended(server(&pair));
    let (mut client, lines) = client(&pair, net::SERVER_ADDRESS);
    let input = client.0.stdin.take().expect("stdin is piped");
    wait_for(&lines, "\"event\":\"open\"");
    let sender = sending.then(|| send_for_ever(input));
    if sending {
        wait_for(&lines, "\"event\":\"message\"");
    }
    // Into a beat's second half, so that the cut does not fall together with a ping.
    wait_for(&lines, "\"event\":\"pong\"");
    pair.cut();
    let cut = Instant::now();
    let line = wait_for(&lines, "\"event\":\"error\"");
    let found = cut.elapsed();
    assert!(line.contains("\"stage\":\"silent\""), "{line}");
    println!("{name}: silence found {found:?} after the cut");
    drop(client);
    if let Some(sender) = sender {
        sender.join().expect("the sender ends with the client's stdin");
    }
    found
}

/// A message each 5 ms until the client is gone.
fn send_for_ever(mut input: ChildStdin) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        while writeln!(input, "tick").is_ok() {
            // The pace of the traffic, not a wait for something.
            thread::sleep(Duration::from_millis(5));
        }
    })
}

fn wait_for(lines: &mpsc::Receiver<String>, wanted: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) if line.contains(wanted) => return line,
            Ok(_) => {}
            Err(err) => panic!("no {wanted}: {err}"),
        }
    }
}

/// A process that is ended with its owner.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn client(pair: &Pair, host: &str) -> (Ended, mpsc::Receiver<String>) {
    let mut child = pair
        .command(net::CLIENT, env!("CARGO_BIN_EXE_wsup"))
        .args(["--json", "--ping-interval", "1s", "--ping-timeout", "1s"])
        .arg(format!("ws://{host}:{PORT}/"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("wsup starts");
    let out = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let (line, lines) = mpsc::channel();
    thread::spawn(move || {
        for read in out.lines().map_while(Result::ok) {
            if line.send(read).is_err() {
                return;
            }
        }
    });
    (Ended(child), lines)
}

/// Starts this executable as the server, and waits until it listens.
fn server(pair: &Pair) -> Child {
    let own = std::env::current_exe().expect("an executable knows its path");
    let mut child = pair
        .command(net::SERVER, own.to_str().expect("a path of text"))
        .args(["--ignored", "--exact", "--nocapture", "serve"])
        .env("LAB_SERVER", "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let out = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let mut lines = out.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("listening")), "the server does not listen");
    // Its further output is discarded, and must not block it.
    thread::spawn(move || lines.for_each(drop));
    child
}

/// Not a test of its own: the echo server, by tungstenite, in the other namespace.
#[test]
#[ignore = "the server of the other tests here: just lab"]
fn serve() {
    if std::env::var_os("LAB_SERVER").is_none() {
        return;
    }
    let listener = TcpListener::bind(("0.0.0.0", PORT)).expect("the port is free");
    let names = names::bind();
    thread::spawn(move || names::serve(&names));
    println!("listening");
    while let Ok((stream, _)) = listener.accept() {
        thread::spawn(move || {
            let mut socket = tungstenite::accept(stream).expect("a handshake");
            while let Ok(message) = socket.read() {
                if message.is_text() && socket.send(message).is_err() {
                    return;
                }
            }
        });
    }
}

/// Runs a command to its end.
fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status();
    let status = status.unwrap_or_else(|err| panic!("{program}: {err}"));
    assert!(status.success(), "{program} {args:?}: {status}");
}
