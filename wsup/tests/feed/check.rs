//! `--check`, and the files that are shipped.

use std::process::Stdio;

use crate::files::{Folder, documented};
use crate::process::{Ended, Wsup};
use crate::run::ids;

fn check(file: &str, args: &[&str], env: &[(&str, &str)]) -> Ended {
    let folder = Folder::new();
    let path = folder.write("venue.toml", file);
    Wsup::spawn(&[&["feed", path.as_str(), "--check"], args].concat(), Stdio::null(), env).end()
}

#[test]
fn the_plan_names_lines_requests_and_times() {
    let topics: Vec<String> = (0..25).map(|number| format!("t{number:02}")).collect();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    let rules = "[rules]\ntopics_per_line = 10\ntopics_per_frame = 2\nframes = [\"3/1s\"]\ndials = [\"2/1m\"]\n";
    let file = ids("wss://nowhere.example/", &topics) + rules;
    let ended = check(&file, &[], &[]);
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    ended.rest_is(&[
        "25 topics on 3 lines",
        "  2 times 10 topics: 5 requests of at most # bytes, 2.#s",
        "  5 topics: 3 requests of at most # bytes, 1.#s",
        "the limits take 60.0s until every line is dialled, 62.#s until every topic is asked for",
        r#"the first subscription is {"id":1,"method":"SUBSCRIBE","params":["t00","t01"]}"#,
    ]);
    let ended = check(&file, &["--json"], &[]);
    ended.rest_is(&[
        r##"{"event":"plan","topics":25,"shards":3,"lines":3,"logins":0,"requests":13,"largest_bytes":#,"dialled_within_ms":60000,"asked_within_ms":62040,"overflow":"wait","rotate":null,"snapshots_within_ms":null}"##,
    ]);
    let ended = check(&(file + "sockets = 2\n"), &[], &[]);
    assert_eq!(ended.status, 2);
    assert!(ended.stderr.contains("`rules.sockets`: 25 topics need 3 lines"), "{}", ended.stderr);
}

#[test]
fn the_plan_shows_rotation_snapshots_and_what_waits() {
    let more = "overflow = 'latest'\nrotate = { age = '23h', hours = ['02:00-04:00'] }\n\
        resync = { send = '{topic}', when = { text = 'x' }, topic = '/s', last = '/l', asks = '1/2s' }\n";
    let file = more.to_owned() + &ids("wss://nowhere.example/", &["a", "b", "c"]);
    let ended = check(&file, &[], &[]);
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    assert_eq!(
        ended.rest[3..6],
        [
            "each line is replaced at the age of 23h, at 02:00-04:00 UTC",
            "the limit takes 4.1s until 3 snapshots are asked for",
            "the newest update of each topic waits while stdout is not read",
        ]
    );
    let ended = check(&file, &["--json"], &[]);
    let end = r##""overflow":"latest","rotate":{"age_ms":82800000,"break_first":false,"hours":["02:00-04:00"]},"snapshots_within_ms":4080}"##;
    assert!(ended.rest[0].ends_with(end), "{:?}", ended.rest);
    let first = file.replace("hours = ['02:00-04:00']", "break_first = true");
    let ended = check(&first, &[], &[]);
    assert_eq!(ended.rest[3], "each line is replaced at the age of 23h, and closed first");
}

#[test]
fn the_file_of_the_example_is_short_and_sound() {
    let file = include_str!("../../../examples/feed/feed.toml");
    assert!(file.lines().count() < 25);
    let ended = check(file, &[], &[("FEED_TOKEN", "t")]);
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    // The first file of the documents is one too.
    let docs = include_str!("../../../docs/feed.md");
    let first = docs.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    let ended = check(first, &[], &[]);
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    let shown = docs.split_once("--check\n").unwrap().1.split_once("$ ").unwrap().0;
    assert_eq!(ended.rest.join("\n"), shown.trim_end());
}

#[test]
fn the_first_request_is_shown_without_secrets_and_not_in_full() {
    let names: Vec<String> = (0..100).map(|number| format!("topic-{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let file = ids("wss://nowhere.example/", &names)
        .replace("\"method\":", "\"key\":\"${env:KEY}\",\"method\":");
    let ended = check(&file, &[], &[("KEY", "t0ken-of-env")]);
    let shown = ended.rest.last().unwrap();
    let begin = r#"the first subscription is {"id":1,"key":"***","method":"SUBSCRIBE","params":["topic-000","#;
    assert!(shown.starts_with(begin) && shown.ends_with('…'), "{shown}");
    assert_eq!(shown.chars().count(), "the first subscription is ".len() + 401);
}

#[test]
fn secrets_that_are_not_there_are_named() {
    let ended = check(&documented("Request ids"), &[], &[]);
    assert_eq!(ended.status, 2);
    assert!(ended.stderr.contains("`url`: ${env:FEED_TOKEN}: not set"), "{}", ended.stderr);
}
