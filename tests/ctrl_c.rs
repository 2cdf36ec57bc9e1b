//! A run that ends on Ctrl-C or SIGTERM. The only test of its process, since a signal reaches the whole
//! process.
#![cfg(unix)]

use std::process::Command;
use std::time::Duration;

use actix_ws_client::testing::{Script, Server};
use actix_ws_client::{CloseCode, Connection, OutcomeKind, event};

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
}
