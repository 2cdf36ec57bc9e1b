//! How a feed ends if its venue ends it.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Barrier};

use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::files::Folder;
use crate::process::{Ended, Wsup};
use crate::run::ids;

/// Runs a feed of topics with a socket each. The venue ends each after its subscription, as the function does it.
fn ended(
    topics: &[&str],
    args: &[&str],
    end: impl Fn(WebSocket<TcpStream>, &str) + Clone + Send + 'static,
) -> Ended {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://127.0.0.1:{}/", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let end = end.clone();
            std::thread::spawn(move || {
                let mut socket = tungstenite::accept(stream.unwrap()).unwrap();
                if let Ok(Message::Text(request)) = socket.read() {
                    end(socket, &request);
                }
            });
        }
    });
    let folder = Folder::new();
    let file = ids(&url, topics) + "[rules]\ntopics_per_line = 1\n";
    let path = folder.write("venue.toml", &file);
    Wsup::spawn(&[&["feed", &path], args].concat(), Stdio::null(), &[]).end()
}

/// Closes a socket and waits for the answer.
fn close(mut socket: WebSocket<TcpStream>, code: u16) {
    let frame = CloseFrame { code: code.into(), reason: "enough".into() };
    socket.close(Some(frame)).unwrap();
    while socket.read().is_ok() {}
}

#[test]
fn a_clean_close_by_the_venue_is_the_end_if_each_line_is_dialled_once() {
    let args = ["--json", "--reconnect", "never"];
    ended(&["a"], &args, |socket, _| close(socket, 1000)).is(0, "closed");
    // As for one connection, a code that refuses, and a loss, are no such end.
    ended(&["a"], &args, |socket, _| close(socket, 1008)).is(3, "refused");
    ended(&["a"], &args, |socket, _| socket.get_ref().shutdown(Shutdown::Both).unwrap())
        .is(1, "failed");
    let ended = ended(&["a"], &args[1..], |socket, _| close(socket, 1000));
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("wsup feed: closed: 0 updates, "), "{}", ended.stderr);
}

#[test]
fn what_was_refused_counts_though_another_line_is_lost_later() {
    let both = Arc::new(Barrier::new(2));
    let ended = ended(&["a", "b"], &["--json"], move |socket, request| {
        if request.contains("\"a\"") {
            // A feed would dial again after 1008.
            close(socket, 1003);
            both.wait();
        } else {
            both.wait();
            socket.get_ref().shutdown(Shutdown::Both).unwrap();
        }
    });
    ended.is(3, "refused");
}
