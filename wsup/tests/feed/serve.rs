//! `--serve`: what probes, scripts and pages are answered.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::net::TcpListener;
use std::process::Stdio;

use serde_json::Value;

use crate::files::Folder;
use crate::gate::Gate;
use crate::process::{Ended, Wsup};
use crate::run::ids;
use crate::sim::Sim;
use crate::venues::RequestIds;
use crate::watched::Watched;

/// Silence is noticed soon.
const SILENCE: &str = "silence.topic = \"700ms\"\n";

/// Lost sockets are replaced soon.
const SOON: [&str; 2] = ["--reconnect", "50ms"];

fn refused(args: &[&str]) -> Ended {
    let folder = Folder::new();
    let path = folder.write("venue.toml", &ids("ws://127.0.0.1:1/", &["a"]));
    Wsup::spawn(&[&["feed", path.as_str()], args].concat(), Stdio::null(), &[]).end()
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn health_is_that_of_the_venue() {
    let sim = Sim::steady(RequestIds::default);
    let gate = Gate::to(sim.port);
    let watched = Watched::run(&format!("{SILENCE}{}", ids(&gate.url(), &["a", "b"])), &SOON);
    watched.healthy();
    assert_eq!(watched.get("/health").body, "healthy\n");
    gate.freeze();
    let silent = watched.until("/health", |reply| reply.status == 503);
    assert!(silent.body.starts_with("shard 1: no data for "), "{}", silent.body);
    gate.open();
    watched.healthy();
    gate.cut();
    let down = watched.until("/health", |reply| reply.body.contains("last failure: "));
    assert_eq!(down.status, 503);
    assert!(down.body.starts_with("shard 1: no line is active: 1a "), "{}", down.body);
    gate.open();
    watched.healthy();
}

#[test]
fn data_may_be_no_older_than_the_probe_says() {
    let sim = Sim::steady(RequestIds::default);
    let gate = Gate::to(sim.port);
    let watched = Watched::run(&ids(&gate.url(), &["a"]), &[]);
    watched.until("/health?max_age=2s", |reply| reply.status == 200);
    gate.freeze();
    let old = watched.until("/health?max_age=500ms", |reply| reply.status == 503);
    assert!(old.body.contains("max_age is 500"), "{}", old.body);
    // The file has no `[silence]`.
    assert_eq!(watched.get("/health").status, 200);
    assert_eq!(watched.get("/health?max_age=soon").status, 400);
}

#[test]
fn the_status_names_shards_lines_and_topics() {
    let sim = Sim::steady(RequestIds::default);
    let file = format!(
        "lines = 2\n{}[rules]\ntopics_per_line = 2\n",
        ids(&sim.url(), &["a", "b", "GONE"])
    );
    let watched = Watched::run(&file, &[]);
    watched.healthy();
    let reply = watched.until("/status", |reply| reply.json()["topics"]["refused"] == 1);
    assert!(reply.head.contains("content-type: application/json"), "{}", reply.head);
    let status = reply.json();
    assert_eq!((&status["name"], &status["healthy"]), (&"venue".into(), &true.into()));
    assert_eq!(status["topics"]["wanted"], 3);
    let shards = status["shards"].as_array().unwrap();
    let lines = shards.iter().flat_map(|shard| shard["lines"].as_array().unwrap());
    let lines: Vec<&Value> = lines.collect();
    let names: Vec<&Value> = lines.iter().map(|line| &line["line"]).collect();
    assert_eq!(names, ["1a", "1b", "2a", "2b"]);
    let line = "line epoch state replaces detail dials_in_ms since_ms last_data_ms rtt_ms lag_ms lag_99_ms updates firsts last_failure";
    assert_eq!(keys(lines[0]), line.split(' ').collect());
    let topic = &status["topics_not_fine"][0];
    assert_eq!((&topic["topic"], &topic["state"]), (&"GONE".into(), &"refused".into()));
    assert!(topic["reason"].as_str().unwrap().contains("unknown symbol"), "{topic}");
}

#[test]
fn the_metrics_are_those_of_the_documents() {
    let sim = Sim::steady(RequestIds::default);
    let gate = Gate::to(sim.port);
    let file =
        format!("{}[rules]\ndials = [\"50/1m\"]\nsockets = 5\n", ids(&gate.url(), &["a", "GONE"]));
    let watched = Watched::run(&file, &SOON);
    watched.healthy();
    let reply =
        watched.until("/metrics", |it| it.body.contains("actix_ws_feed_up{feed=\"venue\"} 1"));
    assert!(reply.head.contains("text/plain; version=0.0.4"), "{}", reply.head);
    // The names of connections are those of lines.
    let documented = include_str!("../../../docs/metrics.md")
        .lines()
        .filter(|it| it.starts_with("| `actix_ws_"));
    let documented: BTreeSet<&str> = documented.map(|it| it.split('`').nth(1).unwrap()).collect();
    let others = ["actix_ws_connection_", "actix_ws_publisher_"];
    let is_wanted = |name: &&str| !others.iter().any(|other| name.starts_with(other));
    let types = reply.body.lines().filter_map(|it| it.strip_prefix("# TYPE ")?.split(' ').next());
    let found: BTreeSet<&str> = types.collect();
    assert_eq!(found, documented.iter().copied().filter(is_wanted).collect());
    assert!(!reply.body.contains("GONE"), "a topic is no label");
    gate.cut();
    let failed = r#"actix_ws_line_failures_total{feed="venue",shard="1",line="1a",reason="io"} "#;
    let count =
        |it: &str| it.lines().find_map(|it| it.strip_prefix(failed)?.parse().ok()).unwrap_or(0);
    watched.until("/metrics", |it| {
        count(&it.body) > 1 && it.body.contains("actix_ws_feed_up{feed=\"venue\"} 0")
    });
    let state = r#"actix_ws_line_sockets_total{feed="venue",shard="1",line="1a"} 1"#;
    assert!(watched.get("/metrics").body.contains(state));
}

#[test]
fn topics_that_are_added_and_removed_are_watched() {
    let sim = Sim::steady(RequestIds::default);
    let watched = Watched::run(&ids(&sim.url(), &["a"]), &[]);
    watched.healthy();
    let file = ids(&sim.url(), &["b", "c"]);
    assert_eq!(watched.folder.write("venue.toml", &file), watched.path);
    watched.wsup.signal("HUP");
    watched.until("/status", |reply| reply.json()["topics"]["confirmed"] == 2);
}

#[test]
fn an_address_of_others_needs_a_token() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9300"] {
        let ended = refused(&["--serve", address]);
        assert_eq!(ended.status, 2, "{address}: {}", ended.stderr);
        assert!(ended.stderr.contains("--serve-token-file"), "{}", ended.stderr);
        assert_eq!(refused(&["--check", "--serve", address]).status, 2);
    }
    let folder = Folder::new();
    let short = folder.write("token", "short\n");
    let ended = refused(&["--serve", "0.0.0.0:0", "--serve-token-file", &short]);
    assert_eq!(ended.status, 2);
    assert!(ended.stderr.contains("at least 16 characters, not of 5"), "{}", ended.stderr);
    assert_eq!(refused(&["--serve-token-file", &short]).status, 2);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let ended = refused(&["--serve", &taken.local_addr().unwrap().to_string()]);
    assert_eq!(ended.status, 2);
    assert!(ended.stderr.contains("--serve: cannot listen on 127.0.0.1:"), "{}", ended.stderr);
}

#[test]
fn with_a_token_only_the_page_is_served_without_it() {
    let sim = Sim::steady(RequestIds::default);
    let folder = Folder::new();
    let token = folder.write("token", "0123456789abcdef\n");
    let watched = Watched::run(&ids(&sim.url(), &["a"]), &["--serve-token-file", &token]);
    let with = |path: &str, token: &str| {
        watched.get_with(path, &format!("Authorization: Bearer {token}\r\n")).status
    };
    for path in ["/health", "/status", "/events", "/metrics", "/nowhere"] {
        let reply = watched.get(path);
        assert_eq!(reply.status, 401, "{path}");
        assert!(reply.head.contains("www-authenticate: Bearer"), "{}", reply.head);
        assert_eq!(with(path, "0123456789abcdeF"), 401, "{path}");
    }
    assert_eq!(with("/status", "0123456789abcdef"), 200);
    assert_eq!(with("/nowhere", "0123456789abcdef"), 404);
    // With a token any name of the server will do.
    let page = watched.get_with("/", "Host: feed.example\r\n");
    assert_eq!(page.status, 200);
    assert!(!page.body.contains("venue"), "the page has no data of its own");
}

#[test]
fn without_a_token_only_names_of_this_machine_are_served() {
    let sim = Sim::steady(RequestIds::default);
    let watched = Watched::run(&ids(&sim.url(), &["a"]), &[]);
    for path in ["/", "/status", "/events"] {
        assert_eq!(watched.get_with(path, "Host: feed.example\r\n").status, 403, "{path}");
    }
    assert_eq!(watched.get_with("/status", "Host: localhost:80\r\n").status, 200);
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let sim = Sim::steady(RequestIds::default);
    let watched = Watched::run(&ids(&sim.url(), &["a"]), &[]);
    let page = watched.get("/");
    let policy = page.head.lines().find_map(|it| it.strip_prefix("content-security-policy: "));
    let policy = policy.expect(&page.head);
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    let nonce = policy.split_once("script-src 'nonce-").unwrap().1.split('\'').next().unwrap();
    assert_eq!(page.body.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    let svg = "http://www.w3.org/2000/svg";
    let rest = page.body.replace(svg, "");
    for elsewhere in ["http:", "https:", "//cdn", "src=", "@import", "url(", "{nonce}"] {
        assert!(!rest.contains(elsewhere), "{elsewhere}");
    }
    // Another answer has another number.
    assert!(!watched.get("/").head.contains(nonce));
    for line in [
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
    ] {
        assert!(page.head.contains(line), "{}", page.head);
    }
}

#[test]
fn a_page_gets_everything_and_then_what_changes() {
    let sim = Sim::steady(RequestIds::default);
    let watched = Watched::run(&ids(&sim.url(), &["a", "b"]), &[]);
    watched.healthy();
    let mut events = watched.events().lines().map(Result::unwrap);
    let mut frame = |kind: &str| {
        events.find(|line| *line == format!("event: {kind}")).unwrap();
        let data = events.next().unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        data
    };
    let whole = frame("whole");
    assert_eq!((&whole["topics"][0][0], &whole["topics"][1][0]), (&"a".into(), &"b".into()));
    assert_eq!(whole["lines"][0]["state"], "active");
    // Each of both topics ticks a hundred times a second.
    while frame("changes")["counts"].as_array().unwrap().len() < 4 {}
}
