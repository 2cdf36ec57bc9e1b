//! `wsup feed --share`: several processes are one feed.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::files::Folder;
use crate::process::{Ended, Wsup};
use crate::published::server::Server;
use crate::run::ids;
use crate::sim::Sim;
use crate::venues::RequestIds;

/// Returns the file of a venue with these topics, two on each line.
fn file(sim: &Sim, topics: &[&str], rules: &str) -> String {
    format!("{}\n[rules]\ntopics_per_line = 2\n{rules}\n", ids(&sim.url(), topics))
}

/// Waits until a process has said of so many shares that it owns them, and of all others that it does not.
fn owns(wsup: &mut Wsup, shares: usize) {
    let mut states: BTreeMap<u64, Value> = BTreeMap::new();
    while states.values().filter(|state| *state == "owned").count() != shares {
        let event = wsup.until("share");
        assert_eq!(event["fence"].is_null(), event["state"] != "owned", "{event}");
        states.insert(event["share"].as_u64().unwrap(), event["state"].clone());
    }
}

/// Runs with these flags until it ends by itself.
fn ended(rules: &str, flags: &[&str]) -> Ended {
    let sim = Sim::run(RequestIds::default);
    let folder = Folder::new();
    let path = folder.write("venue.toml", &file(&sim, &["a", "b", "c"], rules));
    Wsup::spawn(&[&["feed", path.as_str()], flags].concat(), Stdio::null(), &[]).end()
}

#[test]
fn limits_that_cannot_be_shared_end_the_run_with_2() {
    let share = ["--publish", "nats://127.0.0.1:1", "--share", "gateway", "--check"];
    for (rules, flags, word) in [
        ("", &["--share", "gateway"][..], "--publish"),
        ("", &["--share-members", "2"], "--share"),
        ("sockets = 4", &share, "--share-members"),
        ("sockets = 2", &[&share[..], &["--share-members", "3"]].concat(), "rules.sockets"),
        ("dials = \"1/1s\"", &[&share[..], &["--share-members", "2"]].concat(), "rules.dials"),
    ] {
        let ended = ended(rules, flags);
        assert_eq!(ended.status, 2, "{}", ended.stderr);
        assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    }
    let both = [&share[..], &["--share-members", "2"]].concat();
    assert_eq!(ended("sockets = 4", &both).status, 0, "two shares on two processes");
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn two_processes_are_one_feed_and_the_last_one_has_all_of_it() {
    let server = Server::start();
    let sim = Sim::run(RequestIds::default);
    let folder = Folder::new();
    let path = folder.write("venue.toml", &file(&sim, &["a", "b", "c", "d", "e"], "sockets = 6"));
    let url = server.url_of("");
    let flags = ["--json", "--share", "gateway", "--share-members", "2", "--share-lease", "2s"];
    let args = [&["feed", path.as_str(), "--publish", &url], &flags[..]].concat();
    let mut first = Wsup::spawn(&args, Stdio::null(), &[]);
    owns(&mut first, 3);
    first.until("data");
    let mut second = Wsup::spawn(&args, Stdio::null(), &[]);
    owns(&mut second, 1);
    second.until("data");
    // Other topics under the same name.
    let other = folder.write("other.toml", &file(&sim, &["a", "b"], "sockets = 6"));
    let args = [&["feed", other.as_str(), "--publish", &url], &flags[..]].concat();
    let ended = Wsup::spawn(&args, Stdio::null(), &[]).end();
    assert_eq!(ended.status, 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("shares other topics under this name"), "{}", ended.stderr);
    first.signal("TERM");
    first.end().is(0, "closed");
    owns(&mut second, 2);
    second.signal("TERM");
    second.end().is(0, "closed");
    sim.is_content();
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn a_process_that_is_killed_loses_its_shares_within_the_lease_and_2_s() {
    let server = Server::start();
    let sim = Sim::run(RequestIds::default);
    let folder = Folder::new();
    let path = folder.write("venue.toml", &file(&sim, &["a", "b", "c", "d", "e", "f", "g"], ""));
    let url = server.url_of("");
    let flags = ["--json", "--share", "gateway", "--share-lease", "2s"];
    let args = [&["feed", path.as_str(), "--publish", &url], &flags[..]].concat();
    let mut first = Wsup::spawn(&args, Stdio::null(), &[]);
    owns(&mut first, 4);
    let mut second = Wsup::spawn(&args, Stdio::null(), &[]);
    owns(&mut second, 2);
    first.signal("KILL");
    let killed = Instant::now();
    owns(&mut second, 2);
    let within = killed.elapsed();
    assert!(within < Duration::from_secs(4), "{within:?}");
    eprintln!("taken over after {within:?}");
    second.signal("TERM");
    second.end().is(0, "closed");
}

#[test]
#[ignore = "needs nats-server: just nats"]
fn a_hangup_changes_the_topics_of_the_only_process() {
    let server = Server::start();
    let sim = Sim::run(RequestIds::default);
    let folder = Folder::new();
    let path = folder.write("venue.toml", &file(&sim, &["a", "b", "c"], ""));
    let args = ["feed", &path, "--json", "--publish", &server.url_of(""), "--share", "gateway"];
    let mut wsup = Wsup::spawn(&args, Stdio::null(), &[]);
    owns(&mut wsup, 2);
    folder.write("venue.toml", &file(&sim, &["a", "c", "d", "e", "f"], ""));
    wsup.signal("HUP");
    owns(&mut wsup, 1);
    let topic = loop {
        let event = wsup.until("topic");
        if event["topic"] == "f" {
            break event;
        }
    };
    assert_eq!(topic["state"], "confirmed");
    wsup.signal("TERM");
    let ended = wsup.end();
    ended.is(0, "closed");
    let said = "topics: 3 added, 1 removed, in 3 shares";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    sim.is_content();
}
