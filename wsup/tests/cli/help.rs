//! Every flag is in `--help`, in the docs and in the completion of shells.

use std::collections::BTreeSet;
use std::process::Stdio;

use crate::process::Wsup;

const DOCS: &str = include_str!("../../../docs/wsup.md");

fn said(args: &[&str]) -> String {
    let ended = Wsup::spawn(args, Stdio::null(), &[]).end();
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    ended.rest.join("\n")
}

/// All that looks like a long flag.
fn flags(text: &str) -> BTreeSet<&str> {
    let names = text.match_indices("--").map(|(at, _)| {
        let name = &text[at + 2..];
        let end = name.find(|c: char| !c.is_ascii_lowercase() && c != '-');
        &text[at..at + 2 + end.unwrap_or(name.len())]
    });
    names.filter(|flag| flag.len() > 2 && !flag.ends_with('-')).collect()
}

#[test]
fn the_docs_know_every_flag_and_no_other() {
    let (help, feed) = (said(&["--help"]), said(&["feed", "--help"]));
    let (help, docs) = (&flags(&help) | &flags(&feed), flags(DOCS));
    assert!(help.contains("--retry-on") && help.contains("--check"), "{help:?}");
    let missing: Vec<_> = help.difference(&docs).collect();
    assert!(missing.is_empty(), "not in docs/wsup.md: {missing:?}");
    // Those of cargo, in the first example.
    let others: BTreeSet<_> = ["--path"].into();
    let unknown: Vec<_> = docs.difference(&help).filter(|flag| !others.contains(*flag)).collect();
    assert!(unknown.is_empty(), "no flags: {unknown:?}");
}

#[test]
fn wsdumps_flags_mean_what_they_mean_there() {
    let help = said(&["--help"]);
    for pair in [
        "-o, --origin",
        "-s, --subprotocol",
        "-p, --proxy",
        "-n, --insecure",
        "-r, --raw",
        "-t, --send",
        "-v, --verbose",
    ] {
        assert!(help.contains(pair), "{pair}");
    }
    let flags = flags(&help);
    for flag in ["--nocert", "--text", "--headers", "--eof-wait", "--timings"] {
        assert!(flags.contains(flag), "{flag}");
    }
}

#[test]
fn shells_complete_every_flag() {
    for shell in ["bash", "zsh", "fish"] {
        let script = said(&["--completions", shell]);
        for flag in &flags(&said(&["--help"])) | &flags(&said(&["feed", "--help"])) {
            let name = flag.trim_start_matches('-');
            assert!(script.contains(name), "{shell}: {flag}");
        }
    }
}
