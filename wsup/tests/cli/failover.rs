//! Several URLs.

use crate::process::{Wsup, parse};
use crate::server::Server;

/// Shorter than any test may take.
const SOON: [&str; 2] = ["--reconnect", "10ms"];

#[test]
fn each_failed_dial_goes_on_to_the_next_url() {
    let (good, busy) = (Server::echo(), Server::reply("HTTP/1.1 503 Busy\r\n\r\n"));
    let urls = ["ws://127.0.0.1:1", &busy.url(), &good.url()];
    let args = [&urls[..], &SOON, &["--send", "x", "--messages", "1"]].concat();
    let ended = Wsup::json(&args).end();
    let stages: Vec<_> = ended.rest[..2].iter().map(|line| parse(line)["stage"].clone()).collect();
    assert_eq!(stages, ["connect", "refused"]);
    let open = parse(&ended.rest[2]);
    assert_eq!(open["peer"], format!("127.0.0.1:{}", good.port));
    assert_eq!((&open["source"], &open["attempts"]), (&"1".into(), &3.into()));
    ended.is(0, "closed");
}

#[test]
fn what_is_final_for_one_is_not_for_the_others() {
    let (good, no) = (Server::echo(), Server::reply("HTTP/1.1 401 No\r\n\r\n"));
    let (refusing, open) = (no.url(), good.url());
    let args = [&[refusing.as_str(), &open], &SOON[..], &["-t", "x", "--messages", "1"]];
    let ended = Wsup::json(&args.concat()).end();
    assert_eq!(parse(&ended.rest[0])["status"], 401);
    assert_eq!(parse(&ended.rest[1])["peer"], format!("127.0.0.1:{}", good.port));
    ended.is(0, "closed");

    let gone = Server::reply("HTTP/1.1 410 Gone\r\n\r\n");
    let ended = Wsup::json(&[&[refusing.as_str(), &gone.url()], &SOON[..]].concat()).end();
    let statuses: Vec<_> = ended.rest.iter().map(|line| parse(line)["status"].clone()).collect();
    assert_eq!(statuses[..2], [401, 410]);
    assert_eq!(ended.rest.len(), 3, "{:?}", ended.rest);
    ended.is(3, "refused");
}

#[test]
fn every_url_is_looked_at_before_the_first_is_dialled() {
    let ended = Wsup::json(&["ws://127.0.0.1:1", "ws://u:hunter2@h:0/"]).end();
    assert_eq!((ended.status, ended.rest.len()), (2, 0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
}
