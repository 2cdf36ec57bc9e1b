//! A run that ends on Ctrl-C or SIGTERM. The only test of its process, since a signal reaches the whole
//! process.
#![cfg(unix)]

use std::process::Command;
use std::time::Duration;

use actix_ws_client::testing::{Script, Server};
use actix_ws_client::{CloseCode, Connection, OutcomeKind, Reconnect, event};

/// Sends a signal to this process as soon as a socket is open.
async fn signalled(signal: &'static str) {
    let server = Server::start(Script::accept().echo());
    let run = Connection::builder(server.url())
        .close_on_ctrl_c(true)
        .on_open_to(event::call(move |_: event::Open| {
            let pid = std::process::id().to_string();
            let killed = Command::new("kill").args([signal, &pid]).status().unwrap();
            assert!(killed.success());
        }))
        .run();
    let outcome = tokio::time::timeout(Duration::from_secs(20), run).await.unwrap().unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Closed);
    assert_eq!(outcome.close.map(|(code, _)| code), Some(CloseCode::NORMAL));
    assert_eq!(server.closes().len(), 1);
}

#[actix::test]
async fn a_run_closes_on_ctrl_c_and_sigterm_where_that_is_wanted() {
    for signal in ["-INT", "-TERM"] {
        signalled(signal).await;
    }
    for signal in ["-INT", "-TERM"] {
        std::thread::spawn(move || blocking(signal)).join().unwrap();
    }
}

/// WebSocketApp's example of a program that reconnects every 5 s until Ctrl-C, here every 50 ms: a server that
/// drops the first two sockets, and a program without a runtime.
fn blocking(signal: &'static str) {
    let scripts = vec![
        Script::accept().drop_connection(),
        Script::accept().drop_connection(),
        Script::accept().echo(),
    ];
    let server = Server::start(scripts);
    let outcome = Connection::builder(server.url())
        .reconnect(Reconnect::fixed(Duration::from_millis(50)))
        .close_on_ctrl_c(true)
        .on_open(move |open| {
            if open.epoch == 3 {
                let pid = std::process::id().to_string();
                assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
            }
        })
        .run_blocking()
        .unwrap();
    assert_eq!((outcome.kind, outcome.epochs), (OutcomeKind::Closed, 3));
    assert_eq!(outcome.close.map(|(code, _)| code), Some(CloseCode::NORMAL));
}
