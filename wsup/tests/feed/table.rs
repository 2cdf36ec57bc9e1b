//! The table on a terminal.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite;

use crate::files::Folder;
use crate::process::parse;
use crate::pty::Terminal;
use crate::run::ids;
use crate::sim::{Numbers, Protocol, Sim};
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

/// Runs a file on a terminal. Returns the terminal once the table shows the line.
fn table(folder: &Folder, name: &str, file: &str) -> (Terminal, Instant) {
    let path = folder.write(name, file);
    let mut terminal = Terminal::wsup(&["feed", &path, "--connect-timeout", "1s"]);
    terminal.expect("LAST ERROR");
    terminal.expect("1a");
    (terminal, Instant::now())
}

#[test]
fn a_hanging_a_slow_and_an_absent_venue_show_what_they_are() {
    let folder = Folder::new();
    let listen = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://127.0.0.1:{}/", listener.local_addr().unwrap().port());
        (listener, url)
    };
    // It accepts, and answers nothing.
    let (_hanging, url) = listen();
    let hanging = table(&folder, "hanging.toml", &ids(&url, &["a"]));
    let (listener, url) = listen();
    drop(listener);
    let absent = table(&folder, "absent.toml", &ids(&url, &["a"]));
    // It opens the socket, and does not answer the login.
    let (listener, url) = listen();
    std::thread::spawn(move || {
        let sockets = listener.incoming().filter_map(|it| tungstenite::accept(it.unwrap()).ok());
        let _open: Vec<_> = sockets.collect();
    });
    let login = "login.send = 'me'\nlogin.ok = { text = 'welcome' }\n";
    let slow = table(&folder, "slow.toml", &(login.to_owned() + &ids(&url, &["a"])));
    for (venue, deadline, error) in [
        (absent, 0, " ago: cannot connect: "),
        (hanging, 1, " ago: timed out "),
        (slow, 10, " ago: the venue did not answer the login within 10s"),
    ] {
        let (mut terminal, began) = venue;
        terminal.expect(error);
        // A second, and two more for a busy machine.
        let most = Duration::from_secs(deadline + 3);
        assert!(began.elapsed() < most, "{error}: {:?}", began.elapsed());
        terminal.signal("INT");
        assert_eq!(terminal.end().0, 0);
    }
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

/// Updates never come, so that both lines of a hand-over are up for five seconds.
#[derive(Default)]
struct Quiet(RequestIds);

impl Protocol for Quiet {
    fn read(&mut self, text: &str) -> Result<Vec<String>, String> {
        self.0.read(text)
    }

    fn tick(&mut self, _: &Numbers) -> Vec<String> {
        Vec::new()
    }
}

#[test]
fn a_hand_over_is_shown_in_the_table_while_both_lines_are_up() {
    let sim = Sim::steady(Quiet::default);
    let folder = Folder::new();
    let file = ids(&sim.url(), &["a"]) + "[rotate]\nage = '1s'\n";
    let path = folder.write("venue.toml", &file);
    let mut terminal = Terminal::wsup(&["feed", &path]);
    terminal.expect("1a     active → 1b ");
    terminal.expect("1a → 1b");
    terminal.expect("1b     active → 1a ");
    terminal.signal("INT");
    assert_eq!(terminal.end().0, 0);
    sim.is_content();
}
