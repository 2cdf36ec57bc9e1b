//! The short examples run and exit with 0.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The path of an example's binary.
fn path(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let example = test.ancestors().nth(2).unwrap().join("examples").join(name);
    example.with_extension(std::env::consts::EXE_EXTENSION)
}

/// A running example. Dropping it ends the process.
struct Program {
    name: &'static str,
    child: Child,
    /// Lines of stdout.
    lines: Receiver<String>,
    said: String,
    deadline: Instant,
}

impl Program {
    fn start(name: &'static str, args: &[&str]) -> Program {
        let example = path(name);
        let mut command = Command::new(&example);
        for proxy in
            ["ws_proxy", "WS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"]
        {
            command.env_remove(proxy);
        }
        let mut child = command
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|err| panic!("{example:?}: {err}; cargo build --examples"));
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            // An error means that the test is over.
            out.lines().map_while(Result::ok).try_for_each(|line| tell.send(line))
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        Program { name, child, lines, said: String::new(), deadline }
    }

    /// Returns the next line; `None` at the end.
    fn line(&mut self) -> Option<String> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => {
                self.said += &line;
                self.said += "\n";
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("{} does not end: {}", self.name, self.said),
        }
    }

    /// Waits until it exits with 0, and returns its output.
    fn end(self) -> String {
        self.end_with(0)
    }

    /// Waits until it exits with this code, and returns its output.
    fn end_with(mut self, code: i32) -> String {
        while self.line().is_some() {}
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{}: {status}\n{}", self.name, self.said);
        std::mem::take(&mut self.said)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // An error means that it has already exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(name: &'static str) -> String {
    Program::start(name, &[]).end()
}

/// Asserts that the text contains these in this order.
fn in_order(text: &str, words: &[&str]) {
    let mut rest = text;
    for word in words {
        let Some((_, behind)) = rest.split_once(word) else { panic!("{word:?} in {text}") };
        rest = behind;
    }
}

#[test]
fn echo_gets_every_line_back() {
    let text = run("echo");
    assert!(text.contains("message: hello\nmessage: how are you?\nmessage: goodbye\n"), "{text}");
    assert!(text.contains("close: 1000 by Local, clean: true"), "{text}");
}

/// What ended it is the last line, on stderr, which is not captured; the error before it is on stdout.
#[actix::test]
async fn echo_exits_with_1_where_it_was_not_closed() {
    use actix_ws_client::testing::{Script, Server};

    let exits = |url: String| Program::start("echo", &[&url]).end_with(1);
    for status in [404, 401] {
        let server = Server::start(Script::refuse(status));
        let text = exits(server.url());
        assert!(text.contains(&format!("with status {status}")), "{text}");
    }
    let server = Server::start(Script::accept().send_close(1008, "banned"));
    assert!(exits(server.url()).contains("close: 1008 by Remote"));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = exits(format!("ws://127.0.0.1:{port}/"));
    assert_eq!(text.matches("error: cannot connect: ").count(), 2, "{text}");
    let text = exits("ws://nowhere.invalid/".into());
    assert!(text.contains("error: no address for nowhere.invalid: "), "{text}");
}

#[test]
fn reconnect_outlives_its_server() {
    let text = run("reconnect");
    assert_eq!(text.matches("open again").count(), 4, "{text}");
    for cause in ["without a Close frame", "with 1012", "status 503", "refused", "silent"] {
        assert!(text.contains(cause), "{cause} in {text}");
    }
}

#[test]
fn tls_opens_with_both_certificates_and_not_without_one() {
    let text = run("tls");
    let shown = "message: welcome\n";
    let missing = "the alert certificate_required: it requires a client certificate";
    let unknown = "error at stage tls: TLS: the certificate of ";
    in_order(&text, &["* with the", "open: TLSv1.3", shown, "* without", missing, unknown]);
    assert_eq!(text.matches("error at stage").count(), 2, "{text}");
}

#[actix::test]
async fn tls_exits_with_1_where_it_was_not_closed() {
    use actix_ws_client::testing::{Script, Server};

    let exits = |url: String| Program::start("tls", &[&url]).end_with(1);
    for status in [404, 401] {
        let text = exits(Server::start(Script::refuse(status)).url());
        assert!(text.contains(&format!("with status {status}")), "{text}");
    }
    // No TLS is spoken there.
    let text = exits(Server::start(Script::hang_up()).url().replacen("ws:", "wss:", 1));
    assert!(text.contains("error at stage tls: "), "{text}");
    exits(Server::start(Script::accept().send_close(1008, "banned")).url());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = exits(format!("wss://127.0.0.1:{port}/"));
    assert!(text.contains("cannot connect: "), "{text}");
    let text = exits("wss://nowhere.invalid/".into());
    assert!(text.contains("no address for nowhere.invalid: "), "{text}");
}

#[test]
fn proxy_goes_through_and_past_as_it_was_told() {
    let text = run("proxy");
    let parts: Vec<&str> = text.split("* ").skip(1).collect();
    let through =
        |part: &str| part.contains("proxy: connects to") && part.contains("message: hello");
    let past = |part: &str| !part.contains("proxy: ") && part.contains("message: hello");
    let [chosen, wrong, listed, env, env_past] = parts[..] else { panic!("{text}") };
    assert!(through(chosen) && through(env), "{text}");
    assert!(past(listed) && past(env_past), "{text}");
    let refused = "error: proxy: refused with status 407 Proxy Authentication Required: it wants Basic, \
        and did not accept the credentials in the proxy's URL\n";
    assert!(wrong.contains(refused), "{text}");
    assert!(!text.contains("guess"), "{text}");
}

#[test]
fn actix_web_asks_itself_and_ends_the_connection_before_the_server() {
    let text = run("actix_web");
    in_order(&text, &["GET /health: 200\n", "POST /say/hello: 202\n", r#""phase":"open""#]);
    let closed = ["feed: open, epoch 1\n", "feed: hello\n", "feed: closed with 1000 by Local\n"];
    in_order(&text, &closed);
    in_order(&text, &["connection: closed, after 1 opening\n", "server: stopped\n"]);
}

#[cfg(unix)]
#[test]
fn actix_web_closes_cleanly_on_ctrl_c_and_sigterm() {
    use actix_ws_client::testing::{Script, Server};

    for signal in ["-INT", "-TERM"] {
        let upstream = Server::start(Script::accept());
        let mut program = Program::start("actix_web", &[&upstream.url()]);
        while program.line().is_some_and(|line| line != "feed: open, epoch 1") {}
        let pid = program.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let text = program.end();
        in_order(&text, &["connection: closed, after 1 opening\n", "server: stopped\n"]);
        let closes = upstream.closes();
        let codes: Vec<_> = closes.into_iter().flatten().map(|f| f.code().value()).collect();
        assert_eq!(codes, [1000], "{signal}");
    }
}

/// Asks the `actix_web` example for `/health`: the status and the body.
fn health(address: &str) -> (u16, String) {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "{HEALTH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

const HEALTH: &str = "GET /health";

/// Asks until the answer is this one, for 10 s at most; all answers before must be of the other status.
fn until_healthy(address: &str, status: u16, wanted: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let (found, body) = health(address);
        if found == status && body.contains(wanted) {
            return;
        }
        assert!(Instant::now() < deadline, "{found} {body:?}, and not {status} {wanted:?}");
        std::thread::yield_now();
    }
}

/// Waits until the `actix_web` example serves, and returns its address.
fn address(mut line: impl FnMut() -> String) -> String {
    loop {
        let line = line();
        if let Some((_, rest)) = line.split_once("serving http://") {
            return rest.split('/').next().unwrap().to_owned();
        }
    }
}

#[actix::test]
async fn actix_web_is_healthy_in_the_phase_open_alone_and_in_no_moment_of_an_outage() {
    use actix_ws_client::testing::{Script, Server};

    let server = Server::start(Script::accept().expect_text("end").send_close(1008, "banned"));
    server.pause_accepting();
    let mut program = Program::start("actix_web", &[&server.url()]);
    let address = address(|| program.line().unwrap());
    until_healthy(&address, 503, "connecting");
    server.resume_accepting();
    until_healthy(&address, 200, "open");
    // An outage of three dials.
    server.kill();
    let mut failures = 0;
    while failures < 3 {
        let line = program.line().unwrap();
        failures += usize::from(line.contains("cannot connect"));
        let (status, body) = health(&address);
        assert!(status == 503 || failures == 0, "{line}: {body}");
    }
    until_healthy(&address, 503, "waiting: cannot connect");
    server.restart();
    until_healthy(&address, 200, "open");
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    write!(stream, "POST /say/end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    until_healthy(&address, 503, "closed");
}

/// Sends a request to the `actix_web` example, and returns the status line.
fn post(address: &str, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply.lines().next().unwrap_or_default().to_owned()
}

#[actix::test]
async fn actix_web_is_not_healthy_while_it_is_paused_or_closes() {
    use actix_ws_client::testing::{Script, Server};

    // The first socket is closed at once, the second one only by the deadline of the client.
    let server = Server::start([Script::accept(), Script::accept().never_answer_close()]);
    let mut program = Program::start("actix_web", &[&server.url()]);
    let address = address(|| program.line().unwrap());
    until_healthy(&address, 200, "open");
    assert_eq!(post(&address, "/pause"), "HTTP/1.1 202 Accepted");
    until_healthy(&address, 503, "paused");
    assert_eq!(post(&address, "/resume"), "HTTP/1.1 202 Accepted");
    until_healthy(&address, 200, "open");
    assert_eq!(post(&address, "/pause"), "HTTP/1.1 202 Accepted");
    until_healthy(&address, 503, "closing");
}

#[actix::test]
async fn actix_web_is_not_healthy_once_its_handler_has_died() {
    use actix_ws_client::testing::{Script, Server};

    let server = Server::start(Script::accept().echo());
    let mut child = Command::new(path("actix_web"))
        .arg(server.url())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = address(|| lines.next().unwrap().unwrap());
    until_healthy(&address, 200, "open");
    // What it prints has no reader any more: `println!` panics in the handler.
    drop(lines);
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    write!(stream, "POST /say/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    until_healthy(&address, 503, "a handler has ended");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_programs_of_one_screen_are_small() {
    for (name, text, most) in [
        ("closures", include_str!("../examples/closures.rs"), 15),
        ("authorized", include_str!("../examples/authorized.rs"), 20),
        ("every_five_seconds", include_str!("../examples/every_five_seconds.rs"), 15),
        ("tokio_main", include_str!("../examples/tokio_main.rs"), 15),
        ("json_rpc", include_str!("../examples/json_rpc/main.rs"), 60),
        ("relay", include_str!("../examples/relay/main.rs"), 120),
        ("testing", include_str!("../examples/testing.rs"), 60),
    ] {
        // Not the server of `tokio_main`, which stands below.
        let program = text.split("\n/// Returns the argument").next().unwrap();
        let is_counted = |line: &&str| !line.is_empty() && !line.trim_start().starts_with("//");
        let count = program.lines().filter(is_counted).count();
        assert!((10..=most).contains(&count), "{name}: {count} lines");
    }
}

#[test]
fn the_smallest_programs_run() {
    assert_eq!(run("closures"), "message: hello\nclosed with 1000\n");
    let text = run("authorized");
    in_order(
        &text,
        &["open: v2\n", "message: welcome\n", "\nclosed by the server with 1000: bye\n"],
    );
    let sent = ["User-Agent: prices/1.0", "Authorization: Basic bWU6c2VjcmV0"];
    for line in [sent[0], sent[1], "Sec-WebSocket-Protocol: v2, v1"] {
        assert!(text.lines().any(|found| found.eq_ignore_ascii_case(line)), "{line:?} in {text}");
    }
}

#[cfg(unix)]
#[test]
fn every_five_seconds_ends_with_a_clean_close_on_either_signal() {
    use actix_ws_client::testing::{Script, Server};

    for signal in ["-INT", "-TERM"] {
        let server = Server::start(Script::accept());
        let mut program = Program::start("every_five_seconds", &[&server.url()]);
        assert_eq!(program.line().as_deref(), Some("open, dials: 1"));
        let pid = program.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        assert_eq!(program.end(), "open, dials: 1\nclosed with 1000\n");
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut program = Program::start("every_five_seconds", &[&format!("ws://127.0.0.1:{port}/")]);
    let line = program.line().unwrap();
    assert!(
        line.starts_with("error: cannot connect: ") && line.ends_with("; dial 2 in 5.0s"),
        "{line}"
    );
}

#[test]
fn custom_backoff_waits_as_each_policy_says() {
    let text = run("custom_backoff");
    let delays: Vec<Vec<u64>> = text
        .split("* ")
        .skip(1)
        .map(|part| {
            let after = |line: &str| line.rsplit_once(" in ")?.1.strip_suffix("ms")?.parse().ok();
            part.lines().filter_map(after).collect()
        })
        .collect();
    assert_eq!(delays[0], [10, 40, 20], "{text}");
    assert_eq!(delays[1], [10, 20, 40, 80], "{text}");
    assert_eq!(delays[2], [10, 10, 20, 30, 50, 80], "{text}");
    for (delay, ceiling) in delays[3].iter().zip([20, 40, 80]) {
        assert!((10..=ceiling).contains(delay), "{text}");
    }
    assert_eq!((delays.len(), delays[3].len()), (4, 3), "{text}");
    assert_eq!(text.matches("that was the last").count(), 4, "{text}");
}

#[test]
fn prepared_socket_speaks_over_pipes_and_unix_sockets() {
    let text = run("prepared_socket");
    let one = ["open, dials: 1\n", "message: hello\n", "closed\n"];
    in_order(&text, &[&one[..], &["* a wss URL"], &one].concat());
    #[cfg(unix)]
    in_order(&text, &["* a Unix socket", "failed: ", "open, dials: 2\n", "message: hello\n"]);
}

#[test]
fn testing_holds_its_assertions() {
    let text = run("testing");
    in_order(
        &text,
        &["connection 0: dial", "sent text \"40\"", "connection 2: dial", "sent text \"2\""],
    );
    assert_eq!(text.matches("received text \"subscribe\"").count(), 2, "{text}");
}

#[test]
fn tokio_main_comes_back() {
    let text = run("tokio_main");
    let first = ["message: Text(\"round 1\")", "error: ", "close: 1006 after ", "; dial 2 in "];
    let second = ["message: Text(\"round 2\")", "close: 1005 by the server after ", "; no further"];
    in_order(&text, &[&first[..], &second].concat());
}

#[test]
fn blocking_gets_its_message_back_and_closes() {
    let text = run("blocking");
    in_order(&text, &["open\n", "message: hello\n", "closed with 1000\n", "closed with 1000\n"]);
}

#[test]
fn send_a_million_sends_all_in_order() {
    let text = Program::start("send_a_million", &["20000"]).end();
    in_order(&text, &["sent 20000, received 20000 in order, "]);
}

#[test]
fn order_book_ends_with_the_books_of_its_exchange() {
    let text = run("order_book");
    in_order(
        &text,
        &[
            " of them lost and ",
            " restarts\n",
            " resyncs\n",
            "20 books are exactly those of the exchange\n",
        ],
    );
    let before = |word: &str| {
        let number = text
            .split(word)
            .next()
            .and_then(|text| text.rsplit(|c: char| !c.is_ascii_digit()).next());
        number.and_then(|number| number.parse::<u32>().ok()).unwrap_or_default()
    };
    let faults = [" of them lost", " wrong;", " connections dropped", " restarts"].map(before);
    assert!(faults.iter().all(|count| *count > 0), "{text}");
}

#[test]
fn feed_keeps_its_topics_over_a_lost_socket() {
    let text = run("feed");
    let first = "the exchange drops its connection\n";
    let (before, after) = text.split_once(first).expect("two lives");
    for topic in ["trade.BTC-USD", "trade.ETH-USD", "trade.SOL-USD"] {
        for life in [before, after] {
            let confirmed = format!("{topic} is Confirmed\n");
            in_order(life, &[&confirmed, &format!("{topic} ")]);
        }
        assert!(after.contains(&format!("{topic} lacks Range {{ from: ")), "{text}");
    }
    assert_eq!(text.matches("trade.GONE is Refused(").count(), 1, "{text}");
    in_order(&text, &["added trade.SOL-USD: Confirmed\n", first, first, "delivered "]);
}
