//! The example `market_feed` does what its users meet first: it ends well when no message was lost while
//! connected, and names the number that is missing when one was.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};

/// `cargo test` builds the examples beside the tests, but tells no test where.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let example = profile
        .join("examples")
        .join("market_feed")
        .with_extension(std::env::consts::EXE_EXTENSION);
    assert!(example.exists(), "{example:?} is not built: cargo build --examples");
    example
}

fn market_feed(args: &[&str]) -> Output {
    Command::new(example()).args(args).env_remove("RUST_LOG").output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The figures of the summary's line of that name.
fn figures(output: &Output, name: &str) -> Vec<u64> {
    let text = stdout(output);
    let summary = text.split("Summary of").nth(1).unwrap_or_else(|| panic!("no summary in {text}"));
    let line = summary.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
    line.split_whitespace().filter_map(|word| word.replace(',', "").parse().ok()).collect()
}

#[test]
fn a_run_over_failing_lines_loses_nothing_while_connected_and_ends_in_time() {
    let began = Instant::now();
    let output = market_feed(&["--duration", "5s"]);
    let took = began.elapsed();
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert!((Duration::from_secs(5)..Duration::from_secs(11)).contains(&took), "{took:?}");
    assert!(!text.contains('\x1b'), "no colours where there is no terminal");
    for symbol in ["BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD", "ADA-USD", "DOT-USD"] {
        assert!(figures(&output, symbol)[0] > 0, "{symbol} in {text}");
    }
    let [messages, outages, missed, gaps] = figures(&output, "all")[..] else { panic!("{text}") };
    assert!(messages > 300 && outages >= 3 && missed > 0 && gaps == 0, "{text}");
    // Each message had a number, which was checked.
    let verdict = text.lines().last().unwrap().replace(',', "");
    let expected = format!("No message was lost while connected: {messages} checked.");
    assert_eq!(verdict, expected, "{text}");
}

#[test]
fn several_symbols_share_a_line_within_the_limits_of_the_exchange() {
    let output = market_feed(&["--duration", "6s", "--symbols", "8", "--seed", "7"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    let sockets = ["1a", "2a", "3a"].map(|line| figures(&output, line)[0]);
    assert!(sockets.iter().all(|count| *count >= 1) && sockets.iter().sum::<u64>() > 3, "{text}");
    assert!(text.contains("  live again, on socket 2; "), "{text}");
    // One symbol of a line is halted: it is found, and subscribed again, and the others go on.
    assert!(text.contains("  silent for ") && text.contains("; subscribed again\n"), "{text}");
    assert!(text.contains("  messages again\n"), "{text}");
    for banned in ["1008", "status 403", "status 429"] {
        assert!(!text.contains(banned), "{text}");
    }
}

#[test]
fn lines_are_handed_over_and_nothing_is_lost_while_connected() {
    let args = ["--duration", "8s", "--symbols", "3", "--lines", "2", "--rotate", "2s"];
    let output = market_feed(&args);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    // Of two lines, `a` is replaced by `c`, and that by `a`.
    for lines in ["1a → 1c", "1b → 1d", "1c → 1a"] {
        let mut events = text.lines().filter(|line| line.contains(lines));
        assert!(events.any(|line| line.contains("  handed over: ")), "{lines} in {text}");
    }
    let [messages, _, _, gaps] = figures(&output, "all")[..] else { panic!("{text}") };
    assert!(messages > 500 && gaps == 0, "{text}");
}

#[test]
fn a_number_that_is_left_out_is_named() {
    let output = market_feed(&["--skip", "50", "--duration", "4s"]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert_eq!(stderr(&output), "gap while connected: BTC-USD, number 50 is missing\n");
    assert!(!stdout(&output).contains("No message was lost"));
    assert_eq!(figures(&output, "BTC-USD").last(), Some(&1));
    assert_eq!(figures(&output, "ETH-USD").last(), Some(&0));
}

/// A running example with an exchange, whose output is read as it comes.
struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    fn start(args: &[&str]) -> Running {
        let mut command = Command::new(example());
        command.args(args).env_remove("RUST_LOG").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Running { child, lines }
    }

    /// Reads on to the line that contains these words.
    fn line_with(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "ended before {words:?}");
            if line.contains(words) {
                return line;
            }
        }
    }
}

#[test]
fn it_ends_quietly_when_nobody_reads_on() {
    let mut running = Running::start(&["--duration", "60s"]);
    running.line_with("  live");
    let began = Instant::now();
    let Running { child, lines } = running;
    drop(lines);
    let output = child.wait_with_output().unwrap();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(stderr(&output), "");
    assert_eq!(output.status.code(), Some(0));
}

/// Connects to the exchange, sends these texts, and returns what it answers up to its Close frame, or to
/// the first `answers` of them.
async fn talk(url: &str, texts: &[String], answers: usize) -> Result<Vec<String>, String> {
    let addr = url.split('/').nth(2).unwrap();
    let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let (mut socket, _) =
        tokio_tungstenite::client_async(url, stream).await.map_err(|err| err.to_string())?;
    for text in texts {
        socket.send(tokio_tungstenite::tungstenite::Message::text(text.clone())).await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < answers {
        let message = tokio::time::timeout(Duration::from_secs(10), socket.next()).await;
        match message.expect("the exchange answers").expect("a Close comes first").unwrap() {
            tokio_tungstenite::tungstenite::Message::Close(frame) => {
                let frame = frame.unwrap();
                seen.push(format!("{} {}", u16::from(frame.code), frame.reason));
                return Ok(seen);
            }
            message => seen.push(message.to_string()),
        }
    }
    Ok(seen)
}

#[tokio::test]
async fn the_exchange_bans_a_client_that_breaks_a_limit() {
    let mut running = Running::start(&["--duration", "60s", "--symbols", "4"]);
    let title = running.line_with("Exchange failing on purpose");
    let addr = title.trim().rsplit(' ').next().unwrap();
    let login = r#"{"op":"login","key":"demo"}"#.to_owned();
    let subscribe =
        |symbol: &str| format!(r#"{{"op":"subscribe","id":1,"symbols":["{symbol}-USD"]}}"#);
    let long = format!(r#"{{"op":"login","key":"{}"}}"#, "x".repeat(64));
    let many = ["BTC", "ETH", "SOL", "XRP"].map(subscribe);
    for (client, texts, offence) in [
        ("frames", vec!["ping".to_owned(); 9], "1008 too many frames"),
        ("bytes", vec![long], "1008 frame too large"),
        ("login", vec![subscribe("BTC")], "1008 not logged in"),
        ("symbols", [vec![login.clone()], many.to_vec()].concat(), "1008 too many symbols"),
    ] {
        let url = format!("ws://{addr}/?{client}");
        let seen = talk(&url, &texts, usize::MAX).await.unwrap();
        assert_eq!(seen.last().unwrap(), offence, "{seen:?}");
        let banned = talk(&url, &[], 0).await.unwrap_err();
        assert!(banned.contains("403"), "{client}: {banned}");
    }
    // The exchange also refuses dials on purpose, with 503.
    let url = format!("ws://{addr}/?dials");
    let mut refusals = Vec::new();
    for _ in 0..21 {
        refusals.extend(talk(&url, &[], 0).await.err());
    }
    assert!(refusals.last().unwrap().contains("429"), "{refusals:?}");
    // Others are not banned with them, and one request can be refused alone.
    let url = format!("ws://{addr}/?polite");
    let texts = [login, subscribe("GONE"), "ping".to_owned()];
    let seen = loop {
        match talk(&url, &texts, 3).await {
            Err(refusal) => assert!(refusal.contains("503"), "{refusal}"),
            Ok(seen) => break seen,
        }
    };
    let refused = r#"{"event":"error","id":1,"msg":"unknown symbol"}"#;
    assert_eq!(seen, [r#"{"event":"login"}"#, refused, "pong"]);
    running.child.kill().unwrap();
    running.child.wait().unwrap();
}

#[test]
fn a_server_that_is_not_there_is_a_failure() {
    // Nothing listens on the port of a socket that was closed.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("ws://127.0.0.1:{port}/");
    let output = market_feed(&["--url", &url, "--duration", "500ms"]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stderr(&output).contains("nothing came"), "{}", stderr(&output));
}

#[cfg(unix)]
#[test]
fn ctrl_c_and_sigterm_close_cleanly_and_print_the_summary() {
    use actix_ws_client::testing::{Script, Server};

    for signal in ["-INT", "-TERM"] {
        let server = Server::start(Script::accept().send_text(r#"{"price":1}"#));
        let mut running = Running::start(&["--url", &server.url(), "--duration", "30s"]);
        running.line_with(" 1 messages, ");
        let (rest, code) = signalled(running, signal);
        assert_eq!(code, Some(0), "{signal}: {rest}");
        assert!(rest.contains("Summary of "), "{signal}: {rest}");
        let codes: Vec<_> =
            server.closes().into_iter().flatten().map(|frame| frame.code().value()).collect();
        assert_eq!(codes, [1000], "{signal}");
    }
}

#[cfg(unix)]
#[test]
fn sigterm_closes_the_feed_and_prints_the_summary() {
    let mut running = Running::start(&["--duration", "30s"]);
    running.line_with("; 6 of 6 symbols live");
    running.line_with(" 6 of 6 live, ");
    let (rest, code) = signalled(running, "-TERM");
    assert_eq!(code, Some(0), "{rest}");
    // A line whose socket was lost just before has none to close.
    assert!(rest.contains("  closed\n"), "{rest}");
    assert!(rest.contains("\nNo message was lost while connected: "), "{rest}");
}

/// Sends a signal. Returns the rest of the output, and the exit code.
#[cfg(unix)]
fn signalled(mut running: Running, signal: &str) -> (String, Option<i32>) {
    let pid = running.child.id().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    let mut rest = String::new();
    running.lines.read_to_string(&mut rest).unwrap();
    (rest, running.child.wait().unwrap().code())
}

#[test]
fn help_names_every_option() {
    let output = market_feed(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let options = ["--duration", "--symbols", "--lines", "--rotate", "--seed", "--skip", "--url"];
    for option in options.into_iter().chain(["--send"]) {
        assert!(stdout(&output).contains(option), "{option}");
    }
}

#[test]
fn an_option_that_cannot_be_is_refused() {
    for args in [
        &["--no-such-option"][..],
        &["--duration", "soon"],
        &["--duration", "0s"],
        &["--symbols", "0"],
        &["--skip", "0"],
        &["--lines", "0"],
        &["--lines", "4"],
        &["--rotate", "0s"],
        &["--url", "http://localhost/"],
        &["--url", "ws://localhost/", "--skip", "5"],
        &["--url", "ws://localhost/", "--lines", "2"],
        &["--url", "ws://localhost/", "--rotate", "5s"],
    ] {
        let output = market_feed(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{args:?}: {}", stdout(&output));
        assert!(!stderr(&output).contains("panicked"), "{args:?}: {}", stderr(&output));
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
}
