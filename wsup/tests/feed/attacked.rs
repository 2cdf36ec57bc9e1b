//! `--serve` against clients that want more than it gives.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::files::Folder;
use crate::process::Wsup;
use crate::run::ids;
use crate::sim::Sim;
use crate::venues::RequestIds;
use crate::watched::Watched;

/// The pages that are open at once.
const MAX_PAGES: usize = 32;

fn watched(args: &[&str]) -> (Sim, Watched) {
    let sim = Sim::steady(RequestIds::default);
    let watched = Watched::run(&ids(&sim.url(), &["a"]), args);
    (sim, watched)
}

/// Returns the status of an answer, or what came in its place.
fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

#[test]
fn only_get_and_head_are_answered() {
    let (_sim, watched) = watched(&[]);
    for path in ["/", "/health", "/status", "/metrics", "/events"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"] {
            let head =
                format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(status(&watched.send(&head)), "405", "{method} {path}");
        }
        let head = watched.send(&format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert!(matches!(status(&head), "200" | "503") && head.ends_with("\r\n\r\n"), "{head}");
    }
}

#[test]
fn an_answer_without_a_body_is_no_page() {
    let (_sim, watched) = watched(&[]);
    // They are held, as by a client that waits for more.
    let heads: Vec<TcpStream> = (0..2 * MAX_PAGES)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", watched.port)).unwrap();
            stream.write_all(b"HEAD /events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            stream
        })
        .collect();
    let whole = watched.events().lines().map(Result::unwrap).find(|line| line == "event: whole");
    assert!(whole.is_some());
    drop(heads);
}

#[test]
fn pages_are_bounded_and_health_is_answered_beside_them() {
    let (_sim, watched) = watched(&[]);
    watched.healthy();
    // Nobody reads them.
    let mut pages: Vec<BufReader<TcpStream>> = (0..MAX_PAGES).map(|_| watched.events()).collect();
    for page in &mut pages {
        assert!(page.lines().map(Result::unwrap).any(|line| line == "event: whole"));
    }
    let refused = watched.get("/events");
    assert_eq!(
        (refused.status, refused.body.as_str()),
        (503, "32 pages are open, and no more can be\n")
    );
    watched.healthy();
    // The server notices the end of a page by the next frame for it, at the latest.
    pages.pop();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !watched.events().lines().next().unwrap().unwrap().contains("200") {
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn a_connection_ends_once_its_request_is_answered() {
    let (_sim, watched) = watched(&[]);
    let request = "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // The rest of a second request would have no time in which it has to come.
    let answer = watched.send(&format!("{request}GET /sta"));
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

#[test]
fn a_page_from_elsewhere_is_refused_and_a_link_is_not() {
    let (_sim, watched) = watched(&[]);
    let get = |site: &str, mode: &str| {
        let lines = format!("Sec-Fetch-Site: {site}\r\nSec-Fetch-Mode: {mode}\r\n");
        watched.get_with("/status", &lines).status
    };
    assert_eq!((get("cross-site", "no-cors"), get("same-site", "cors")), (403, 403));
    assert_eq!((get("same-origin", "cors"), get("cross-site", "navigate")), (200, 200));
}

#[test]
fn a_path_that_is_nearly_the_page_needs_the_token() {
    let folder = Folder::new();
    let token = folder.write("token", "0123456789abcdef\r\n");
    let (_sim, watched) = watched(&["--serve-token-file", &token]);
    for path in
        ["//", "/.", "/%2f", "/./", "/index.html", "/?/../status", "http://localhost/status", "*"]
    {
        let answer = watched.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let is_page = status(&answer) == "200" && answer.contains("<!doctype html>");
        assert!(matches!(status(&answer), "400" | "401") || is_page, "{path}: {answer}");
        assert!(!answer.contains("\"uptime_ms\""), "{path}: {answer}");
    }
    let with = |lines: &str| watched.get_with("/status", lines).status;
    assert_eq!(with("Authorization: Bearer 0123456789abcdef\r\n"), 200);
    // The first one counts, and all of it.
    let two = "Authorization: Bearer wrong\r\nAuthorization: Bearer 0123456789abcdef\r\n";
    assert_eq!(with(two), 401);
    assert_eq!(
        with(&format!("Authorization: Bearer {}\r\n", "0123456789abcdef".repeat(4000))),
        401
    );
    assert_eq!(with("Authorization: Bearer 0123456789abcdef, Bearer x\r\n"), 401);
}

#[test]
fn a_token_file_is_read_once_and_may_be_a_pipe() {
    let sim = Sim::steady(RequestIds::default);
    let folder = Folder::new();
    let path = folder.write("venue.toml", &ids(&sim.url(), &["a"]));
    let args =
        ["feed", &path, "--json", "--serve", "127.0.0.1:0", "--serve-token-file", "/dev/stdin"];
    let (mut wsup, stderr) = Wsup::with_stderr(&args, Stdio::piped(), &[]);
    wsup.say("0123456789abcdef");
    wsup.eof();
    wsup.drain();
    let mut said = String::new();
    BufReader::new(stderr).read_line(&mut said).unwrap();
    assert!(said.contains("serves http://127.0.0.1:"), "{said}");
}

#[test]
fn a_token_file_without_a_token_is_refused() {
    let folder = Folder::new();
    let path = folder.write("venue.toml", &ids("ws://127.0.0.1:1/", &["a"]));
    let long = "x".repeat(5000);
    for (content, why) in [
        ("", "at least 16 characters, not of 0"),
        ("\n\n", "at least 16 characters, not of 0"),
        ("0123456789 abcdef", "printable ASCII"),
        ("0123456789\nabcdefgh", "printable ASCII"),
        ("\u{feff}0123456789abcdef", "printable ASCII"),
        (&long, "longer than 4096 bytes"),
    ] {
        let token = folder.write("token", content);
        let args = ["feed", &path, "--serve", "127.0.0.1:0", "--serve-token-file", &token];
        let ended = Wsup::spawn(&args, Stdio::null(), &[]).end();
        assert_eq!(ended.status, 2, "{content:?}");
        assert!(ended.stderr.contains(why), "{content:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("abcdef"), "it is not shown: {}", ended.stderr);
    }
    for token in ["/", "/nowhere/at/all"] {
        let args = ["feed", &path, "--serve", "127.0.0.1:0", "--serve-token-file", token];
        let ended = Wsup::spawn(&args, Stdio::null(), &[]).end();
        assert_eq!(ended.status, 2, "{token}");
        assert!(ended.stderr.contains("cannot read it"), "{}", ended.stderr);
    }
}

#[test]
fn the_loopback_of_ipv6_is_served() {
    let sim = Sim::steady(RequestIds::default);
    let folder = Folder::new();
    let path = folder.write("venue.toml", &ids(&sim.url(), &["a"]));
    let args = ["feed", &path, "--json", "--serve", "[::1]:0"];
    let (mut wsup, stderr) = Wsup::with_stderr(&args, Stdio::null(), &[]);
    wsup.drain();
    let mut said = String::new();
    BufReader::new(stderr).read_line(&mut said).unwrap();
    let (_, address) = said.split_once("serves http://").expect(&said);
    let address = address.trim().trim_end_matches('/');
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /status HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), "200", "{answer}");
}
