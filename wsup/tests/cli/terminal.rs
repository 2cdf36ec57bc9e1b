//! What is seen and typed on a terminal.

use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tokio_tungstenite::tungstenite::Message;

use crate::process::{Wsup, parse};
use crate::pty::{CTRL_C, CTRL_D, Terminal, UP};
use crate::server::{self, Server};

/// A server that reports each text, and answers `send TEXT` with the text, on every connection.
fn reporting_server() -> (Server, Receiver<String>) {
    let (sender, receiver) = channel();
    let server = Server::run(move |listener| {
        loop {
            let mut socket = server::open(&listener);
            loop {
                match socket.read() {
                    Ok(Message::Text(text)) => {
                        if let Some(answer) = text.strip_prefix("send ") {
                            socket.send(Message::text(answer)).unwrap();
                        }
                        sender.send(text.to_string()).unwrap();
                    }
                    Ok(Message::Close(Some(frame))) => {
                        sender.send(format!("{} {}", u16::from(frame.code), frame.reason)).unwrap();
                    }
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        }
    });
    (server, receiver)
}

fn hear(receiver: &Receiver<String>, expected: &str) {
    assert_eq!(receiver.recv_timeout(Duration::from_secs(20)).as_deref(), Ok(expected));
}

/// To the first column, and all behind it away.
const CLEARED: &str = "\u{1b}[1G\u{1b}[J";

#[test]
fn messages_are_printed_above_the_prompt_and_what_is_being_typed_stays() {
    let (say, says) = channel::<&str>();
    let (sender, receiver) = channel();
    let server = Server::socket(move |mut socket| {
        for text in says {
            socket.send(Message::text(text)).unwrap();
        }
        sender.send(server::text(&mut socket).unwrap()).unwrap();
        server::drain(socket);
    });
    let mut terminal = Terminal::wsup(&["--color", "never", &server.url()]);
    terminal.expect("open to 127.0.0.1:");
    terminal.expect("> ");
    terminal.types("hel");
    terminal.expect("l");
    for text in ["one", "two"] {
        say.send(text).unwrap();
        let before = terminal.expect(&format!("< {text}\n"));
        assert!(before.ends_with(CLEARED), "the prompt is taken away: {before:?}");
        // And is there again, with what was typed.
        terminal.expect("> hel");
    }
    drop(say);
    terminal.enters("lo");
    assert_eq!(receiver.recv().unwrap(), "hello");
    terminal.types(CTRL_C);
    terminal.expect("closed by us");
    assert_eq!(terminal.end().0, 0);
}

#[test]
fn an_arrow_brings_earlier_lines_back() {
    let (server, receiver) = reporting_server();
    let mut terminal = Terminal::wsup(&[&server.url()]);
    terminal.expect("> ");
    for line in ["first", "second"] {
        terminal.enters(line);
        hear(&receiver, line);
    }
    terminal.enters(UP);
    hear(&receiver, "second");
    terminal.enters(&[UP, UP].concat());
    hear(&receiver, "first");
    terminal.types(CTRL_D);
    hear(&receiver, "1000 ");
    assert_eq!(terminal.end().0, 0);
}

#[test]
fn a_file_brings_the_lines_of_another_run_back() {
    let (server, receiver) = reporting_server();
    let path = std::env::temp_dir().join(format!("wsup-history-{}", server.port));
    let args = ["--history", path.to_str().unwrap(), &server.url()];
    for keys in ["remember", UP] {
        let mut terminal = Terminal::wsup(&args);
        terminal.expect("> ");
        terminal.enters(keys);
        hear(&receiver, "remember");
        terminal.types(CTRL_C);
        hear(&receiver, "1000 ");
        assert_eq!(terminal.end().0, 0);
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
    let kept = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!((mode & 0o777, kept.as_str()), (0o600, "remember\nremember\n"));
}

#[test]
fn a_slash_makes_a_command() {
    let (server, receiver) = reporting_server();
    let mut terminal = Terminal::wsup(&[&server.url()]);
    terminal.expect("/help");
    terminal.expect("open to");
    terminal.enters("/status");
    terminal.expect("open for ");
    terminal.expect("peer 127.0.0.1:");
    terminal.enters("/ping knock");
    terminal.expect("pong after");
    terminal.enters("/help");
    terminal.expect("/reconnect  ");
    terminal.enters("/nonsense");
    terminal.expect("no command /nonsense");
    terminal.enters("//nonsense");
    hear(&receiver, "/nonsense");
    terminal.enters("/reconnect");
    hear(&receiver, "1000 ");
    terminal.expect("open again");
    terminal.enters("still here");
    hear(&receiver, "still here");
    terminal.enters("/close 4001 bye bye");
    hear(&receiver, "4001 bye bye");
    let (status, shown) = terminal.end();
    assert_eq!(status, 0);
    assert!(shown.contains("closed by us") && shown.contains("4001: bye bye"), "{shown:?}");
}

#[test]
fn a_piped_line_is_a_line_whatever_it_begins_with() {
    let (server, receiver) = reporting_server();
    let mut wsup = Wsup::json_with_input(&[&server.url()]);
    for line in ["/close 4001", "//x", "/ping"] {
        wsup.say(line);
        hear(&receiver, line);
    }
    wsup.end().is(0, "closed");
}

#[test]
fn ctrl_c_closes_and_a_second_one_aborts() {
    let (sender, receiver) = channel();
    let server = Server::raw(move |mut stream| {
        sender.send(server::read_close(&mut stream)).unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    });
    let mut terminal = Terminal::wsup(&["--close-timeout", "1h", &server.url()]);
    terminal.expect("open to");
    terminal.types(CTRL_C);
    assert_eq!(receiver.recv().unwrap(), 1000);
    terminal.types(CTRL_C);
    assert_eq!(terminal.end().0, 130);
}

#[test]
fn ctrl_c_ends_a_backoff() {
    let mut terminal = Terminal::wsup(&["--reconnect", "1h", "ws://127.0.0.1:1"]);
    terminal.expect("dial 2 in 3600.0s");
    terminal.types(CTRL_C);
    assert_eq!(terminal.end().0, 0);
}

#[test]
fn the_terminal_is_given_back_as_it_was_whatever_ended_the_run() {
    let wsup = env!("CARGO_BIN_EXE_wsup");
    let url = Server::echo().url();
    let script = format!("{wsup} {url}; stty -a");
    let cooked = |mut terminal: Terminal| {
        // A prompt is not left behind, nor what was being typed.
        terminal.expect("closed by");
        assert!(terminal.expect("speed ").ends_with(CLEARED));
        let (status, modes) = terminal.end();
        assert_eq!(status, 0);
        assert!(modes.contains(" icanon") && modes.contains(" echo "), "{modes}");
    };
    let mut terminal = Terminal::run("sh", &["-c", &script], &[("NO_COLOR", "1")]);
    terminal.expect("open to");
    terminal.expect("> ");
    terminal.types(CTRL_C);
    cooked(terminal);

    let (say, says) = channel::<()>();
    let server = Server::socket(move |mut socket| {
        says.recv().unwrap();
        socket.close(None).unwrap();
        server::drain(socket);
    });
    let script = format!("{wsup} --reconnect never {}; stty -a", server.url());
    let mut terminal = Terminal::run("sh", &["-c", &script], &[("NO_COLOR", "1")]);
    terminal.expect("open to");
    terminal.expect("> ");
    terminal.types("half a li");
    terminal.expect("half a li");
    say.send(()).unwrap();
    cooked(terminal);
}

#[test]
fn sigterm_closes_at_a_prompt_too() {
    let (server, receiver) = reporting_server();
    let mut terminal = Terminal::wsup(&[&server.url()]);
    terminal.expect("open to");
    terminal.expect("> ");
    terminal.signal("TERM");
    hear(&receiver, "1000 ");
    let (status, shown) = terminal.end();
    assert_eq!(status, 0);
    assert!(shown.contains("closed by us"), "{shown:?}");
}

#[test]
fn colour_is_for_terminals() {
    let shown = |args: &[&str], env: &[(&str, &str)]| {
        let url = Server::echo().url();
        let args = [args, &["--send", "hi", "--messages", "1", &url]].concat();
        Terminal::run(env!("CARGO_BIN_EXE_wsup"), &args, env).end().1
    };
    let (blue, plain) = ("\u{1b}[34m< hi\u{1b}[0m", "< hi");
    assert!(shown(&[], &[]).contains(blue));
    assert!(shown(&[], &[("NO_COLOR", "")]).contains(blue), "an empty NO_COLOR is none");
    for never in [shown(&[], &[("NO_COLOR", "1")]), shown(&["--color", "never"], &[])] {
        assert!(never.contains(plain) && !never.contains("\u{1b}[0m"), "{never:?}");
    }
    assert!(shown(&["--color", "always"], &[("NO_COLOR", "1")]).contains(blue));

    let piped = |args: &[&str]| {
        let url = Server::echo().url();
        let args = [args, &["--send", "hi", "--messages", "1", &url]].concat();
        Wsup::spawn(&args, Stdio::null(), &[]).end()
    };
    let ended = piped(&[]);
    assert_eq!((ended.rest, ended.stderr.contains('\u{1b}')), (vec!["hi".to_owned()], false));
    assert_eq!(piped(&["--color", "always"]).rest, ["\u{1b}[34mhi\u{1b}[0m"]);
}

#[test]
fn a_message_cannot_steer_the_terminal() {
    let server = Server::socket(|mut socket| {
        socket.send(Message::text("a\u{1b}[2Jb\rc")).unwrap();
        server::drain(socket);
    });
    let mut terminal = Terminal::wsup(&["--color", "never", "--messages", "1", &server.url()]);
    terminal.expect("< a\\u{1b}[2Jb\\rc");
    assert_eq!(terminal.end().0, 0);
}

#[test]
fn no_line_is_edited_where_programs_read() {
    for flag in ["--json", "--raw"] {
        let (server, receiver) = reporting_server();
        let mut terminal = Terminal::wsup(&[flag, "--color", "never", &server.url()]);
        terminal.expect("open");
        // The terminal's own line, without a prompt.
        terminal.types("/status\n");
        hear(&receiver, "/status");
        terminal.types("send hello\n");
        let shown = terminal.expect("hello\r\n") + &terminal.expect("hello");
        assert!(!shown.contains("> ") && !shown.contains("\u{1b}["), "{shown:?}");
        terminal.types(CTRL_C);
        hear(&receiver, "send hello");
        hear(&receiver, "1000 ");
        let (status, rest) = terminal.end();
        assert_eq!(status, 0);
        if flag == "--json" {
            assert_eq!(parse(rest.trim().lines().last().unwrap())["outcome"], "closed");
        }
    }
}

/// What a terminal sends before and behind pasted text, if it was asked to.
const PASTE: (&str, &str) = ("\u{1b}[200~", "\u{1b}[201~");

#[test]
fn a_long_line_that_is_pasted_is_sent_with_its_enter_and_drawn_once() {
    let (server, receiver) = reporting_server();
    for (begin, end) in [("", ""), PASTE] {
        let mut terminal = Terminal::wsup(&["--color", "never", &server.url()]);
        terminal.expect("open to");
        terminal.expect("> ");
        let pasted = (0..500).map(|number| format!("{number:05} ")).collect::<String>();
        terminal.enters(&[begin, &pasted, end, "!"].concat());
        hear(&receiver, &(pasted.clone() + "!"));
        terminal.types(CTRL_C);
        hear(&receiver, "1000 ");
        let (status, shown) = terminal.end();
        assert_eq!(status, 0);
        assert!(shown.len() < 20 * pasted.len(), "{} bytes were drawn", shown.len());
        assert!(shown.contains("00498 00499 !"), "{shown:?}");
    }
}

#[test]
fn each_line_of_a_paste_is_sent() {
    let (server, receiver) = reporting_server();
    let mut terminal = Terminal::wsup(&[&server.url()]);
    terminal.expect("open to");
    terminal.expect("> ");
    let (begin, end) = PASTE;
    terminal.types(&[begin, "one\rtwo\n\r\nth\u{7}r", end, "ee\r"].concat());
    for line in ["one", "two", "", "th\u{7}ree"] {
        hear(&receiver, line);
    }
    // It does not ring.
    terminal.expect("th^Gree");
    terminal.types(CTRL_D);
    hear(&receiver, "1000 ");
    assert_eq!(terminal.end().0, 0);
}
