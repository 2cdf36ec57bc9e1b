//! The example `relay`, with two browsers by tokio-tungstenite.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use actix_ws_client::Payload;
use actix_ws_client::testing::{Gate, Script, Server};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, client_async};

/// The time that anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running relay. Dropping it ends the process.
struct Relay {
    child: Child,
    url: String,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Relay {
    fn start(upstream: &Server) -> Relay {
        let test = std::env::current_exe().unwrap();
        let example = test.ancestors().nth(2).unwrap().join("examples/relay");
        let mut command = Command::new(&example);
        for proxy in ["ws_proxy", "WS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        let started = command.arg(upstream.url()).stdout(Stdio::piped()).spawn();
        let mut child = started.unwrap_or_else(|err| panic!("{example:?}: {err}"));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        let url = line.strip_prefix("relaying on ").unwrap().to_owned();
        Relay { child, url, lines }
    }

    async fn browser(&self) -> Browser {
        let host = self.url.trim_start_matches("ws://").trim_end_matches('/');
        let stream = TcpStream::connect(host).await.unwrap();
        Browser(timeout(PATIENCE, client_async(&self.url, stream)).await.unwrap().unwrap().0)
    }

    fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Waits for its end with 0, and returns what else it printed.
    async fn end(mut self) -> Vec<String> {
        let waited = tokio::task::spawn_blocking(move || {
            let lines = self.lines.by_ref().map_while(Result::ok).collect();
            assert!(self.child.wait().unwrap().success());
            lines
        });
        timeout(PATIENCE, waited).await.unwrap().unwrap()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // An error means that it has already exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Browser(WebSocketStream<TcpStream>);

impl Browser {
    /// Returns the next message that is no control frame, or the Close frame's code.
    async fn next(&mut self) -> Result<String, CloseCode> {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("in time").expect("no end").unwrap()
            {
                Message::Text(text) => return Ok(text.to_string()),
                Message::Close(frame) => return Err(frame.expect("a code").code),
                _ => {}
            }
        }
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }
}

#[actix::test]
async fn both_browsers_receive_and_sigterm_closes_all() {
    let script = Script::accept().expect_text("both are here").send_text("news").send_text("more");
    let upstream = Server::start(script);
    let relay = Relay::start(&upstream);
    upstream.next_dial().await;
    let mut browsers = [relay.browser().await, relay.browser().await];
    // Until the upstream is open, what is said is answered with "not sent".
    while {
        browsers[0].say("both are here").await;
        let first = browsers[0].next().await.unwrap();
        assert!(["news", "not sent"].contains(&&*first), "{first}");
        first == "not sent"
    } {}
    assert_eq!(browsers[0].next().await.unwrap(), "more");
    for expected in ["news", "more"] {
        assert_eq!(browsers[1].next().await.unwrap(), expected);
    }
    relay.terminate();
    for browser in &mut browsers {
        assert_eq!(browser.next().await.unwrap_err(), CloseCode::Away);
    }
    assert_eq!(upstream.next_close().await.unwrap().code().value(), 1000);
    assert_eq!(relay.end().await, ["upstream: closed with 1000", "stopped"]);
}

#[actix::test]
async fn a_browser_that_does_not_read_is_closed_and_the_other_receives_everything() {
    let (go, count, size) = (Gate::new(), 3_000, 16 << 10);
    let payload = |number: usize| Payload::from(format!("{number:size$}"));
    // In portions, so that the other browser can keep up.
    let portions = (0..count / 500).map(|portion| (portion * 500)..((portion + 1) * 500));
    let script = portions.fold(Script::accept().serve_until(&go), |script, numbers| {
        script.send_all(numbers.map(payload)).expect_message()
    });
    let upstream = Server::start(script.send_text("last"));
    let relay = Relay::start(&upstream);
    upstream.next_dial().await;
    let (mut slow, mut other) = (relay.browser().await, relay.browser().await);
    go.open();
    for number in 0..count {
        let text = other.next().await.unwrap();
        assert_eq!(text.trim().parse(), Ok(number));
        if number % 500 == 499 {
            other.say("next").await;
        }
    }
    assert_eq!(other.next().await.unwrap(), "last");
    // What was under way to the slow one comes still, then the reason.
    let mut received = 0;
    let code = loop {
        match slow.next().await {
            Ok(_) => received += 1,
            Err(code) => break code,
        }
    };
    assert!(code == CloseCode::Again && received < count, "{code} after {received}");
    relay.terminate();
    assert_eq!(other.next().await.unwrap_err(), CloseCode::Away);
    assert_eq!(relay.end().await.last().map(String::as_str), Some("stopped"));
}
