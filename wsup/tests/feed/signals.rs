//! What SIGHUP and a second signal do.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::files::Folder;
use crate::process::Wsup;
use crate::run::ids;
use crate::sim::Sim;
use crate::venues::RequestIds;

/// Nothing here takes as long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until a topic is confirmed.
fn confirmed(wsup: &mut Wsup, topic: &str) {
    loop {
        // Topics have few events: each of these waits has its end.
        let event = wsup.until("topic");
        if event["topic"] == topic && event["state"] == "confirmed" {
            return;
        }
    }
}

#[test]
fn a_hangup_adds_and_removes_the_difference() {
    let sim = Sim::steady(RequestIds::default);
    let folder = Folder::new();
    let path = folder.write("venue.toml", &ids(&sim.url(), &["a", "b"]));
    let mut wsup = Wsup::spawn(&["feed", &path, "--json"], Stdio::null(), &[]);
    confirmed(&mut wsup, "b");
    // A file that is wrong changes nothing.
    folder.write("venue.toml", &ids(&sim.url(), &["c"]).replace("[ack]", "[acks]"));
    wsup.signal("HUP");
    loop {
        let requests = sim.requests.lock().unwrap().len();
        assert_eq!(requests, 1, "{:?}", sim.requests.lock().unwrap());
        if wsup.until("data")["sequence"].as_u64().unwrap() > 20 {
            break;
        }
    }
    folder.write("venue.toml", &ids(&sim.url(), &["b", "c"]));
    wsup.signal("HUP");
    confirmed(&mut wsup, "c");
    // Its end may be asked for after the new topic, but while updates come.
    let about = |method: &str, topic: &str| {
        let params = format!(r#""method":"{method}","params":["{topic}"]"#);
        sim.requests.lock().unwrap().iter().filter(|it| it.contains(&params)).count()
    };
    let deadline = Instant::now() + PATIENCE;
    while about("UNSUBSCRIBE", "a") == 0 {
        assert!(Instant::now() < deadline, "{:?}", sim.requests.lock().unwrap());
        wsup.until("data");
    }
    assert_eq!((about("SUBSCRIBE", "c"), about("UNSUBSCRIBE", "a")), (1, 1));
    assert_eq!(sim.requests.lock().unwrap().len(), 3);
    wsup.signal("INT");
    let ended = wsup.end();
    ended.is(0, "closed");
    for line in [
        "wsup feed: topics not changed: ",
        "`acks`",
        "wsup feed: topics: 1 added, 1 removed, 2 in all",
    ] {
        assert!(ended.stderr.contains(line), "{}", ended.stderr);
    }
    let stopped = ended.rest.last().unwrap();
    assert!(stopped.contains(r#""topics":{"confirmed":2,"refused":0}"#), "{stopped}");
    sim.is_content();
}

#[test]
fn a_hangup_with_topics_that_break_a_rule_changes_nothing() {
    let sim = Sim::steady(RequestIds::default);
    let folder = Folder::new();
    let rules = "[rules]\ntopics_per_line = 1\nsockets = 2\nframe_bytes = 60\n";
    let write = |topics: &[&str]| folder.write("venue.toml", &(ids(&sim.url(), topics) + rules));
    let path = write(&["a", "b"]);
    let mut wsup = Wsup::spawn(&["feed", &path, "--json"], Stdio::null(), &[]);
    confirmed(&mut wsup, "b");
    let long = "a-topic-of-more-letters-than-a-frame-may-have";
    for topics in [&["a", "b", "c"][..], &["a", long]] {
        write(topics);
        wsup.signal("HUP");
        let handled = sim.numbers.last("a") + 30;
        while sim.numbers.last("a") < handled {
            wsup.until("data");
        }
    }
    write(&["b", "d"]);
    wsup.signal("HUP");
    confirmed(&mut wsup, "d");
    wsup.signal("INT");
    let ended = wsup.end();
    ended.is(0, "closed");
    for line in [
        "topics not changed: `rules.sockets`: 3 topics need 3 lines, and it allows 2 sockets",
        &format!("topics not changed: `rules.frame_bytes`: the request for \"{long}\" alone has"),
        "topics: 1 added, 1 removed, 2 in all",
    ] {
        assert!(ended.stderr.contains(line), "{}", ended.stderr);
    }
    let requests = sim.requests.lock().unwrap();
    assert!(!requests.iter().any(|it| it.contains("\"c\"") || it.contains(long)), "{requests:?}");
    sim.is_content();
}
