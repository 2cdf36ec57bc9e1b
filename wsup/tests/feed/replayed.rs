//! `wsup feed --replay`: what a recorded run printed is printed again.

use std::process::Stdio;

use crate::files::Folder;
use crate::process::{Ended, Wsup};
use crate::run::ids;
use crate::sim::Sim;
use crate::venues::RequestIds;

fn feed(args: &[&str], env: &[(&str, &str)]) -> Ended {
    Wsup::spawn(&[&["feed"], args].concat(), Stdio::null(), env).end()
}

#[test]
fn what_a_recorded_run_printed_is_printed_again() {
    let sim = Sim::run(RequestIds::default);
    let folder = Folder::new();
    let file = ids(&sim.url(), &["a", "b", "GONE"]);
    let path =
        folder.write("venue.toml", &format!("headers = {{ X-Key = '${{env:KEY}}' }}\n{file}"));
    let recording = format!("{path}.recording");
    let args =
        [&*path, "--json", "--duration", "1500ms", "--reconnect", "10ms", "--record", &recording];
    let live = feed(&args, &[("KEY", "secret")]);
    live.is(0, "closed");
    sim.is_content();
    let data = |run: &Ended| run.rest.iter().filter(|line| line.contains("\"data\"")).count();
    assert!(data(&live) > 10, "{:?}", live.rest);
    // Nothing listens there any more, and the secret is not there.
    drop(sim);
    let args = [&*path, "--json", "--replay", &recording, "--speed", "max"];
    let again = feed(&args, &[]);
    assert_eq!((again.status, &*again.stderr), (0, ""));
    assert_eq!(live.rest, again.rest);
}

#[test]
fn a_recording_that_cannot_be_replayed_is_refused_with_its_path() {
    let folder = Folder::new();
    let path = folder.write("venue.toml", &ids("ws://127.0.0.1:1/", &["a"]));
    let said = |args: &[&str]| {
        let ended = feed(&[&[&*path], args].concat(), &[]);
        (ended.status, ended.stderr)
    };
    let (status, text) = said(&["--replay", "/no/such"]);
    assert!(status == 2 && text.contains("--replay: /no/such: "), "{status} {text}");
    let (status, text) = said(&["--replay", &path, "--record", "/tmp/none"]);
    assert!(status == 2 && text.contains("'--record"), "{status} {text}");
    #[cfg(feature = "nats")]
    {
        let (status, text) = said(&["--replay", &path, "--publish", "nats://127.0.0.1:1"]);
        assert!(status == 2 && text.contains("'--publish"), "{status} {text}");
    }
    let (status, text) = said(&["--replay", &path, "--speed", "0"]);
    assert!(status == 2 && text.contains("expected a number above zero"), "{status} {text}");
    let (status, text) = said(&["--replay", &path]);
    assert!(status == 1 && text.contains("no whole MCAP file"), "{status} {text}");
}
