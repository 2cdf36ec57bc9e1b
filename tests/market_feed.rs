//! The example `market_feed` does what its users meet first: it ends well when every sequence is
//! whole, and names the number that is missing when one is not.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

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
fn a_run_over_failing_connections_is_whole_and_ends_in_time() {
    let began = Instant::now();
    let output = market_feed(&["--duration", "4s"]);
    let took = began.elapsed();
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert!((Duration::from_secs(4)..Duration::from_secs(10)).contains(&took), "{took:?}");
    assert!(text.ends_with("Every sequence is whole within each epoch.\n"), "{text}");
    assert!(!text.contains('\x1b'), "no colours where there is no terminal");
    for symbol in ["BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD", "ADA-USD", "DOT-USD"] {
        assert!(figures(&output, symbol)[0] > 0, "{symbol} in {text}");
    }
    let all = figures(&output, "all");
    let (messages, epochs, outages, gaps) = (all[0], all[1], all[2], all[all.len() - 1]);
    assert!(messages > 300 && outages >= 3 && gaps == 0, "{text}");
    assert!(epochs > 6 && text.contains("open again, epoch 2"), "{text}");
}

#[test]
fn a_number_that_is_left_out_is_named() {
    let output = market_feed(&["--skip", "50", "--duration", "4s"]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    let words = stderr(&output);
    assert!(words.starts_with("gap: BTC-USD, epoch 1: number 50 is missing\n"), "{words}");
    assert!(words.lines().all(|line| line.starts_with("gap: BTC-USD, ")), "{words}");
    assert!(!stdout(&output).contains("Every sequence is whole"));
    assert!(figures(&output, "BTC-USD").last() > Some(&0));
    assert_eq!(figures(&output, "ETH-USD").last(), Some(&0));
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
    use std::io::{BufRead, BufReader, Read};
    use std::process::Stdio;

    use actix_ws_client::testing::{Script, Server};

    for signal in ["-INT", "-TERM"] {
        let server = Server::start(Script::accept().send_text(r#"{"price":1}"#));
        let mut command = Command::new(example());
        command.args(["--url", &server.url(), "--duration", "30s"]).env_remove("RUST_LOG");
        let mut running = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(running.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains(" 1 messages, ") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "ended before a signal came");
        }
        let pid = running.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        assert_eq!(running.wait().unwrap().code(), Some(0), "{signal}: {rest}");
        assert!(rest.contains("Summary of "), "{signal}: {rest}");
        let codes: Vec<_> =
            server.closes().into_iter().flatten().map(|frame| frame.code().value()).collect();
        assert_eq!(codes, [1000], "{signal}");
    }
}

#[test]
fn help_names_every_option() {
    let output = market_feed(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    for option in ["--duration", "--symbols", "--seed", "--skip", "--url", "--send"] {
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
        &["--url", "http://localhost/"],
        &["--url", "ws://localhost/", "--skip", "5"],
    ] {
        let output = market_feed(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{args:?}: {}", stdout(&output));
        assert!(!stderr(&output).contains("panicked"), "{args:?}: {}", stderr(&output));
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
}
