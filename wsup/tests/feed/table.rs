//! The table on a terminal.

use crate::files::Folder;
use crate::process::parse;
use crate::pty::Terminal;
use crate::run::ids;
use crate::sim::Sim;
use crate::venues::RequestIds;

#[test]
fn a_terminal_shows_a_table_with_other_output_above_it() {
    let sim = Sim::steady(RequestIds::default);
    let folder = Folder::new();
    let file = ids(&sim.url(), &["a", "b", "GONE"]) + "[rules]\ntopics_per_line = 2\n";
    let path = folder.write("venue.toml", &file);
    let mut terminal = Terminal::wsup(&["feed", &path]);
    terminal.expect("venue  2/2 lines active, 2/3 topics, 1 refused, ");
    terminal.expect("LINE");
    // The worst first: the line whose topic was refused.
    let between = terminal.expect("2a");
    assert!(!between.contains("1a"), "{between:?}");
    terminal.expect("1a");
    terminal.signal("INT");
    let (status, rest) = terminal.end();
    assert_eq!(status, 0, "{rest}");
    // The cursor is shown again.
    assert!(rest.contains("\u{1b}[?25h"), "{rest:?}");
    sim.is_content();
}

#[test]
fn a_dumb_terminal_gets_lines_and_json_stays_json() {
    let sim = Sim::steady(RequestIds::default);
    let folder = Folder::new();
    let path = folder.write("venue.toml", &ids(&sim.url(), &["a"]));
    let wsup = env!("CARGO_BIN_EXE_wsup");
    let args = ["feed", &path, "--messages", "2"];
    let (status, shown) = Terminal::run(wsup, &args, &[("TERM", "dumb")]).end();
    assert_eq!(status, 0);
    assert!(shown.contains("\na {\"price\"") && !shown.contains('\u{1b}'), "{shown:?}");
    let args = [&args[..], &["--json"]].concat();
    let (status, shown) = Terminal::run(wsup, &args, &[]).end();
    assert_eq!(status, 0);
    shown.lines().for_each(|line| drop(parse(line)));
}

#[test]
fn no_color_draws_without_colour() {
    let sim = Sim::steady(RequestIds::default);
    let folder = Folder::new();
    let path = folder.write("venue.toml", &ids(&sim.url(), &["a", "GONE"]));
    for (variable, has_colour) in [("1", false), ("", true)] {
        let wsup = env!("CARGO_BIN_EXE_wsup");
        let mut terminal = Terminal::run(wsup, &["feed", &path], &[("NO_COLOR", variable)]);
        let before = terminal.expect("1/1 lines active");
        let after = terminal.expect("gaps");
        let after = after + &terminal.expect("STATE");
        terminal.signal("INT");
        let (_, rest) = terminal.end();
        let shown = before + &after + &rest;
        assert_eq!(shown.contains("\u{1b}[2m"), has_colour, "{shown:?}");
    }
}
