//! What one run prints, and how it ends.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::files::Folder;
use crate::process::{Ended, Wsup, parse};
use crate::sim::{Numbers, Protocol, Sim};
use crate::venues::{ObjectTopics, RequestIds};

/// The beginning of a file for a venue with request ids.
pub(crate) const IDS: &str = r#"
subscribe.send = '{"id":{id},"method":"SUBSCRIBE","params":{topics}}'
unsubscribe.send = '{"id":{id},"method":"UNSUBSCRIBE","params":{topics}}'
data = { topic = "/stream", sequence = { kind = "contiguous", first = "/seq", last = "/seq" } }
[ack]
id = "/id"
refused = { at = "/error", exists = true, reason = "/error/msg", code = "/error/code", final = [2] }
"#;

/// Returns the file of a venue with request ids.
pub(crate) fn ids(url: &str, topics: &[&str]) -> String {
    format!("url = {url:?}\ntopics = {topics:?}\n{IDS}")
}

/// Runs a file to its end.
fn ended(file: &str, args: &[&str], env: &[(&str, &str)]) -> Ended {
    let folder = Folder::new();
    let path = folder.write("venue.toml", file);
    Wsup::spawn(&[&["feed", path.as_str()], args].concat(), Stdio::null(), env).end()
}

#[test]
fn the_json_is_that_of_the_contract() {
    let sim = Sim::run(RequestIds::default);
    let folder = Folder::new();
    let path = folder.write("venue.toml", &ids(&sim.url(), &["a", "GONE"]));
    let args = ["feed", &path, "--json", "--reconnect", "10ms"];
    let mut wsup = Wsup::spawn(&args, Stdio::null(), &[]);
    let mut kinds = Vec::new();
    let mut first = |kind: &str, wsup: &mut Wsup, pattern: &str| loop {
        let line = wsup.line();
        let event = parse(&line)["event"].as_str().unwrap().to_owned();
        kinds.push(event.clone());
        if event == kind {
            return crate::process::assert_like(&line, pattern);
        }
    };
    first(
        "line",
        &mut wsup,
        r#"{"event":"line","shard":1,"line":"1a","epoch":0,"state":"dialling","left":null,"after_ms":null,"cause":null,"led":0}"#,
    );
    first(
        "topic",
        &mut wsup,
        r#"{"event":"topic","topic":"a","state":"confirmed","reason":null,"final":null,"since_ms":null}"#,
    );
    first(
        "data",
        &mut wsup,
        r##"{"event":"data","shard":1,"line":"1a","epoch":1,"topic":"a","sequence":#,"snapshot":false,"skipped":0,"data":"{\"price\":\"104.25\",\"seq\":#,\"stream\":\"a\"}"}"##,
    );
    wsup.signal("TERM");
    let ended = wsup.end();
    ended.is(0, "closed");
    crate::process::assert_like(
        ended.rest.last().unwrap(),
        r##"{"event":"stopped","outcome":"closed","topics":{"confirmed":1,"refused":1},"delivered":#,"gaps":0,"duplicates":0,"late":0,"rotations":0,"resyncs":0,"skipped":0,"published":null,"reason":null}"##,
    );
    sim.is_content();
}

#[test]
fn a_lost_socket_is_an_error_with_its_line_and_its_gap() {
    let sim = Sim::run(RequestIds::default);
    let folder = Folder::new();
    let path = folder.write("venue.toml", &ids(&sim.url(), &["a", "b"]));
    let args = ["feed", &path, "--json", "--reconnect", "200ms"];
    let mut wsup = Wsup::spawn(&args, Stdio::null(), &[]);
    let error = wsup.until("error");
    assert_eq!(
        (&error["line"], &error["epoch"], &error["stage"]),
        (&"1a".into(), &1.into(), &"io".into())
    );
    let waiting = wsup.until("line");
    assert_eq!((&waiting["state"], &waiting["after_ms"]), (&"waiting".into(), &200.into()));
    let gap = wsup.until("gap");
    assert_eq!(gap["cause"], "outage");
    assert!(gap["from"].as_u64().unwrap() <= gap["to"].as_u64().unwrap());
    wsup.signal("INT");
    wsup.end().is(0, "closed");
}

#[test]
fn two_lines_complete_each_other() {
    // Its numbers are those of all sockets: each socket has only some of them.
    let sim = Sim::steady(RequestIds::default);
    let folder = Folder::new();
    let path = folder.write("venue.toml", &format!("lines = 2\n{}", ids(&sim.url(), &["a"])));
    let mut wsup = Wsup::spawn(&["feed", &path, "--json"], Stdio::null(), &[]);
    let mut active = Vec::new();
    while active.len() < 2 {
        let line = wsup.until("line");
        if line["state"] == "active" {
            active.push(line["line"].as_str().unwrap().to_owned());
        }
    }
    active.sort();
    assert_eq!(active, ["1a", "1b"]);
    // Those that a socket took before the other one was open are missing.
    let settled = sim.numbers.last("a") + 10;
    let (mut last, mut lines) = (None, std::collections::BTreeSet::new());
    while lines.len() < 2 || last.is_none_or(|last| last < settled + 40) {
        let data = wsup.until("data");
        let number = data["sequence"].as_u64().unwrap();
        if number > settled {
            assert!(last.is_none_or(|last| last + 1 == number), "{last:?} and {number}");
            last = Some(number);
            lines.insert(data["line"].as_str().unwrap().to_owned());
        }
    }
    wsup.signal("TERM");
    wsup.end().is(0, "closed");
    sim.is_content();
}

#[test]
fn without_json_updates_go_to_stdout_and_the_rest_to_stderr() {
    let sim = Sim::steady(RequestIds::default);
    let ended = ended(&ids(&sim.url(), &["a", "GONE"]), &["--messages", "3"], &[]);
    assert_eq!((ended.status, ended.rest.len()), (0, 3), "{}", ended.stderr);
    assert!(ended.rest.iter().all(|line| line.starts_with(r#"a {"price":"104.25","#)));
    for line in [
        "wsup feed: line 1a: active",
        "wsup feed: GONE: refused for good: unknown symbol (code 2)",
        "wsup feed: closed: ",
    ] {
        assert!(ended.stderr.contains(line), "{}", ended.stderr);
    }
}

#[test]
fn a_wrong_file_ends_with_2_and_is_not_dialled() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("ws://127.0.0.1:{}/", listener.local_addr().unwrap().port());
    let good = ids(&url, &["a"]);
    for (file, wrong) in [
        (
            good.replace("[ack]\nid", "[ack]\nidd"),
            "venue.toml: line 8, column 1: `ack.idd` is unknown",
        ),
        (
            good.replace("topics = ", "lines = 9\ntopics = "),
            "line 2, column 1: `lines`: expected 1 to 8 lines",
        ),
        (good.replace("ws://", "ftp://"), "line 1, column 1: `url`: "),
        (good.replace("127.0.0.1", "::"), "`url`: "),
        (
            good.replace("127.0.0.1", "${env:NOT_SET_AT_ALL}"),
            "`url`: ${env:NOT_SET_AT_ALL}: not set",
        ),
        (format!("headers = {{ 'a b' = 'c' }}\n{good}"), "`headers`: "),
        (
            good.replace("topics = [\"a\"]", "topics_file = '/no/such'"),
            "topics_file: /no/such: cannot read it",
        ),
        (
            format!("rules.frame_bytes = 20\n{good}"),
            "`rules.frame_bytes`: the request for \"a\" alone",
        ),
        ("= 1".to_owned(), "line 1, column 1: "),
    ] {
        let ended = ended(&file, &["--json"], &[]);
        assert_eq!((ended.status, ended.rest.len()), (2, 0), "{}", ended.stderr);
        assert!(ended.stderr.contains(wrong), "{}not {wrong}", ended.stderr);
    }
    let ended = Wsup::spawn(&["feed", "/no/such.toml"], Stdio::null(), &[]).end();
    assert_eq!(ended.status, 2);
    assert!(ended.stderr.contains("/no/such.toml: cannot read it"), "{}", ended.stderr);
    assert!(listener.accept().is_err(), "it dialled");
}

#[test]
fn a_login_that_is_refused_for_good_ends_with_3_after_one_dial() {
    let sim = Sim::steady(ObjectTopics::default);
    let file = format!(
        r#"url = {:?}
topics = ["trades:a", "trades:b"]
topic = {{ parts = "{{channel}}:{{inst}}", item = '{{"instId":"{{inst}}"}}' }}
login.send = '{{"op":"login","args":[{{"sign":"${{env:SIGN}}"}}]}}'
login.ok = {{ at = "/event", is = "login" }}
login.refused = {{ at = "/event", is = "error", code = "/code", final = ["60009"] }}
subscribe.send = '{{"op":"subscribe","args":{{topics}}}}'
ack.topic = "{{/arg/channel}}:{{/arg/instId}}"
data.topic = "{{/arg/channel}}:{{/arg/instId}}"
rules.topics_per_line = 1
rules.dials = ["1/1m"]
"#,
        sim.url()
    );
    let ended = ended(&file, &["--json"], &[("SIGN", "wrong-signature")]);
    ended.is(3, "refused");
    let stopped = parse(ended.rest.last().unwrap());
    assert_eq!(stopped["reason"], "code 60009");
    assert_eq!(sim.sockets.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert!(!ended.rest.join("\n").contains("wrong-signature"));
    sim.is_content();
}

#[test]
fn a_venue_that_is_absent_ends_with_1_after_the_last_attempt() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = ids(&format!("ws://127.0.0.1:{port}/"), &["a"]);
    let ended = ended(&file, &["--json", "--max-attempts", "2", "--reconnect", "1ms"], &[]);
    ended.is(1, "failed");
    let errors = ended.rest.iter().filter(|line| parse(line)["stage"] == "connect");
    assert_eq!(errors.count(), 2, "{:?}", ended.rest);
}

#[test]
fn a_command_that_fails_says_why_and_is_run_again() {
    let sim = Sim::steady(|| RequestIds::with_token("made-by-hand"));
    let folder = Folder::new();
    let once = folder.write("once", "");
    let script = format!(
        "if rm {once}; then echo 'no token today' >&2; exit 7; fi\necho {}?token=made-by-hand",
        sim.url()
    );
    let script = folder.write("url.sh", &script);
    let file = ids("", &["a"]).replace("url = \"\"", &format!("url_command = 'sh {script}'"));
    let ended = ended(&file, &["--json", "--messages", "1", "--reconnect", "1ms"], &[]);
    ended.is(0, "closed");
    let all = ended.rest.join("\n") + &ended.stderr;
    assert!(all.contains("`url_command`: it ended with status 7: no token today"), "{all}");
    assert!(!all.contains("made-by-hand"), "{all}");
    sim.is_content();
}

#[test]
fn a_command_that_hangs_is_ended_by_the_timeout_of_the_dial() {
    let file = ids("", &["a"]).replace("url = \"\"", "url_command = 'exec sleep 600'");
    let args = ["--json", "--connect-timeout", "100ms", "--max-attempts", "1"];
    let ended = ended(&file, &args, &[]);
    ended.is(1, "failed");
    assert!(ended.took < Duration::from_secs(10));
}

#[cfg(unix)]
#[test]
fn what_a_command_has_started_ends_with_it() {
    let folder = Folder::new();
    let pipe = folder.write("pipe", "");
    std::fs::remove_file(&pipe).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (sender, ends) = std::sync::mpsc::channel();
    let reader = pipe.clone();
    // It ends when no process has the pipe open for writing.
    std::thread::spawn(move || sender.send(std::fs::read(reader)));
    let command = format!("url_command = 'sleep 600 > {pipe}; echo'");
    let file = ids("", &["a"]).replace("url = \"\"", &command);
    let args = ["--json", "--connect-timeout", "1s", "--max-attempts", "1"];
    ended(&file, &args, &[]).is(1, "failed");
    let end = ends.recv_timeout(Duration::from_secs(20)).expect("`sleep` has ended");
    assert_eq!(end.unwrap(), b"");
}

#[test]
fn a_command_that_prints_without_end_fails() {
    let file = ids("", &["a"]).replace("url = \"\"", "url_command = 'yes'");
    let ended = ended(&file, &["--json", "--max-attempts", "1"], &[]);
    ended.is(1, "failed");
    let all = ended.rest.join("\n");
    assert!(all.contains("`url_command`: it printed more than 65536 bytes"), "{all}");
}

/// Sends updates as fast as they are read.
#[derive(Default)]
struct Flood(RequestIds);

impl Protocol for Flood {
    fn read(&mut self, text: &str) -> Result<Vec<String>, String> {
        self.0.read(text)
    }

    fn tick(&mut self, numbers: &Numbers) -> Vec<String> {
        let pad = "x".repeat(1000);
        let mut updates = Vec::new();
        for _ in 0..500 {
            updates.extend(self.0.tick(numbers).into_iter().map(|it| it.replace("104.25", &pad)));
        }
        updates
    }
}

#[test]
fn a_stdout_that_is_closed_ends_the_run_with_0() {
    let sim = Sim::steady(RequestIds::default);
    let folder = Folder::new();
    let path = folder.write("venue.toml", &ids(&sim.url(), &["a"]));
    let mut wsup = Wsup::spawn(&["feed", &path], Stdio::null(), &[]);
    assert!(wsup.read_one_and_close().starts_with("a {"));
    let ended = wsup.end();
    assert_eq!(ended.status, 0, "{}", ended.stderr);
}

/// Waits until a venue could send nothing for a second. Returns its last number.
fn until_blocked(numbers: &Numbers) -> u64 {
    let (began, mut last, mut since) = (Instant::now(), 0, Instant::now());
    while last == 0 || since.elapsed() < Duration::from_secs(1) {
        assert!(began.elapsed() < Duration::from_secs(30), "{last} updates were read");
        let now = numbers.last("a");
        if now != last {
            (last, since) = (now, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    last
}

#[test]
fn a_stdout_that_is_not_read_stops_the_venue() {
    let numbers = Numbers::default();
    let sim = Sim::with_numbers(Flood::default, numbers.clone());
    let folder = Folder::new();
    let path = folder.write("venue.toml", &ids(&sim.url(), &["a"]));
    let mut wsup = Wsup::spawn(&["feed", &path, "--json"], Stdio::null(), &[]);
    let last = until_blocked(&numbers);
    // All of it comes once it is read.
    while wsup.until("data")["sequence"].as_u64().unwrap() < last {}
    wsup.signal("INT");
    let ended = wsup.end();
    ended.is(0, "closed");
    assert_eq!(ended.stderr, "");
}

#[cfg(unix)]
#[test]
fn a_second_signal_aborts() {
    let numbers = Numbers::default();
    let sim = Sim::with_numbers(Flood::default, numbers.clone());
    let folder = Folder::new();
    let path = folder.write("venue.toml", &ids(&sim.url(), &["a"]));
    let wsup = Wsup::spawn(&["feed", &path, "--close-timeout", "60s"], Stdio::null(), &[]);
    until_blocked(&numbers);
    // The end cannot be printed.
    wsup.signal("INT");
    wsup.signal("TERM");
    assert_eq!(wsup.end_unread().status, 130);
}
