//! The cookie jar: cookies that a server sets with any reply are sent back to it with later
//! requests, and to no other host.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use actix_ws_client::testing::{Request, Script, Server};
use actix_ws_client::{Attempt, Connection, ConnectionBuilder, OutcomeKind, Reconnect};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A connection that reconnects at once.
fn to(url: impl Into<String>) -> ConnectionBuilder {
    let soon = Reconnect::fixed(Duration::from_millis(2));
    Connection::builder(url).reconnect(soon).proxy_from_env(false)
}

/// The same, with every host of every URL resolved to this server.
fn at(url: &str, addr: SocketAddr) -> ConnectionBuilder {
    to(url).transport_with(move |_, _| TcpStream::connect(addr))
}

fn sets<const N: usize>(script: Script, cookies: [&str; N]) -> Script {
    cookies.into_iter().fold(script, |script, cookie| script.header("Set-Cookie", cookie))
}

/// Accepts, then drops the connection so that the client reconnects.
fn open() -> Script {
    Script::accept().drop_connection()
}

fn redirect(location: &str) -> Script {
    Script::refuse(302).header("Location", location)
}

/// Ends the run.
fn done() -> Script {
    Script::accept().send_close(1008, "")
}

/// Returns the cookies of each request. Asserts that none has more than one `Cookie` line.
fn cookies(server: &Server) -> Vec<String> {
    let line = |request: &Request| {
        let lines: Vec<&str> = request.headers("cookie").collect();
        assert!(lines.len() <= 1, "{request:?}");
        lines.concat()
    };
    server.requests().iter().map(line).collect()
}

/// Runs, and returns the cookies of each request.
async fn told<const N: usize>(
    scripts: [Script; N],
    change: impl Fn(ConnectionBuilder) -> ConnectionBuilder,
) -> Vec<String> {
    let server = Server::start(scripts);
    change(to(server.url())).run().await.unwrap();
    assert_eq!(server.dials(), N);
    cookies(&server)
}

#[actix::test]
async fn what_a_refusal_a_101_and_a_redirect_set_goes_with_the_next_request() {
    let scripts = [
        sets(Script::refuse(503), ["a=1", "b=1; HttpOnly"]),
        sets(open(), ["b=2", "c=3"]),
        sets(redirect("/next"), ["d=4"]),
        done(),
    ];
    let told = told(scripts, |builder| builder).await;
    assert_eq!(told, ["", "a=1; b=1", "a=1; b=2; c=3", "a=1; b=2; c=3; d=4"]);
}

#[actix::test]
async fn what_is_over_is_sent_no_more() {
    let scripts = [
        sets(open(), ["a=1", "b=1; Max-Age=3600", "c=1; Max-Age=0"]),
        sets(open(), ["a=; Max-Age=0"]),
        sets(open(), ["b=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]),
        done(),
    ];
    assert_eq!(told(scripts, |builder| builder).await, ["", "a=1; b=1", "b=1", ""]);
}

#[actix::test]
async fn a_path_is_kept_to() {
    let scripts = [
        sets(redirect("/a/b"), ["all=1; Path=/", "deep=1; Path=/a", "other=1; Path=/x"]),
        sets(redirect("/ab"), ["own=1"]),
        done(),
    ];
    assert_eq!(told(scripts, |builder| builder).await, ["", "deep=1; all=1", "all=1"]);
}

#[actix::test]
async fn cookies_of_ones_own_stand_behind_the_jars_in_one_line() {
    let scripts = || [sets(open(), ["a=1"]), done()];
    let own = |builder: ConnectionBuilder| builder.cookie("own=7; more=8");
    assert_eq!(told(scripts(), own).await, ["own=7; more=8", "a=1; own=7; more=8"]);
    let line = |builder: ConnectionBuilder| own(builder).header("Cookie", "line=9");
    assert_eq!(told(scripts(), line).await, ["line=9", "line=9"]);
    let off = |builder: ConnectionBuilder| own(builder).cookie_jar(false);
    assert_eq!(told(scripts(), off).await, ["own=7; more=8", "own=7; more=8"]);
}

#[actix::test]
async fn each_connection_has_a_jar_of_its_own() {
    let server = Server::start([sets(done(), ["a=1"]), done()]);
    for _ in 0..2 {
        to(server.url()).run().await.unwrap();
    }
    assert_eq!(cookies(&server), ["", ""]);
}

#[actix::test]
async fn another_host_gets_what_its_domain_allows_and_nothing_else() {
    let server = Server::start([
        sets(redirect("ws://b.feed.example/"), ["host=1", "all=2; Domain=feed.example"]),
        sets(redirect("ws://feed.example:81/"), ["b=3", "no=4; Domain=a.feed.example"]),
        redirect("ws://evil.example/"),
        sets(Script::refuse(503), ["evil=5; Domain=feed.example", "evil=6; Domain=example"]),
        done(),
    ]);
    let builder = at("ws://a.feed.example/", server.addr()).cookie("own=7");
    let outcome = builder.run().await.unwrap();
    assert_eq!((outcome.attempts, outcome.kind), (2, OutcomeKind::Refused));
    let hosts: Vec<_> =
        server.requests().iter().map(|it| it.header("host").unwrap().to_owned()).collect();
    let there = ["a.feed.example", "b.feed.example", "feed.example:81", "evil.example"];
    assert_eq!((&hosts[..4], &*hosts[4]), (&there.map(String::from)[..], "a.feed.example"));
    assert_eq!(cookies(&server), ["own=7", "all=2", "all=2", "", "host=1; all=2; own=7"]);
}

#[actix::test]
async fn a_host_without_a_domain_keeps_its_cookies_from_its_other_ports() {
    let other = Server::start(done());
    let away = format!("ws://{}/", other.addr());
    let server = Server::start(sets(redirect(&away), ["a=1", "b=1; Domain=127.0.0.1"]));
    to(server.url()).run().await.unwrap();
    assert_eq!(cookies(&other), [""]);
}

#[actix::test]
async fn a_secure_cookie_is_not_sent_without_tls_nor_taken() {
    let server = Server::start([
        sets(open(), ["secret=1; Secure", "open=2"]),
        sets(open(), ["secret=forged", "late=3; Secure"]),
        done(),
    ]);
    // The transport counts as secure, as the scheme wss requires.
    let builder = at("wss://feed.example:8443/", server.addr()).transport_is_secure();
    let builder = builder.url_with(async |attempt: Attempt| {
        let scheme = if attempt.number == 2 { "ws" } else { "wss" };
        Ok::<_, String>(format!("{scheme}://feed.example:8443/"))
    });
    builder.run().await.unwrap();
    assert_eq!(cookies(&server), ["", "open=2", "secret=1; open=2"]);
}

#[actix::test]
async fn what_a_proxy_sets_is_not_the_servers() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let proxy = listener.local_addr().unwrap();
    let asked = actix::spawn(async move {
        let mut heads = Vec::new();
        for reply in [
            "503 Busy\r\nSet-Cookie: proxy=1\r\nContent-Length: 0",
            "200 OK\r\nSet-Cookie: proxy=2",
        ] {
            let (mut stream, _) = listener.accept().await.unwrap();
            heads.push(head(&mut stream).await);
            stream.write_all(format!("HTTP/1.1 {reply}\r\n\r\n").as_bytes()).await.unwrap();
            if reply.starts_with("200") {
                heads.push(head(&mut stream).await);
                stream.write_all(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            }
        }
        heads
    });
    let builder = to("ws://feed.example/").proxy(format!("http://{proxy}")).no_proxy("");
    let outcome = builder.run().await.unwrap();
    assert_eq!((outcome.attempts, outcome.error.unwrap().status()), (2, Some(403)));
    let asked = asked.await.unwrap();
    assert!(asked[2].starts_with("GET / HTTP/1.1\r\n"), "{asked:?}");
    assert!(!asked.concat().to_lowercase().contains("cookie"), "{asked:?}");
}

/// Reads to the end of a request's head.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// What a hostile server may put into `Set-Cookie`.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let nasty = "(a=b)?(domain|path|max-age|expires|=|;|,|\\.|/|[a-z0-9]|\"|\t|\0|\u{7f}|\u{e9}|\r| ){0,10}";
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        nasty.prop_map(String::into_bytes),
        "a=b(; x)?[\r\n]{1,2}x-evil: [a-z]".prop_map(String::into_bytes),
    ]
}

#[test]
fn no_cookie_panics_or_gets_out_of_its_line() {
    let config = ProptestConfig { cases: 100, ..ProptestConfig::default() };
    proptest!(config, |(line in lines())| {
        let head = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nSet-Cookie: good=1\r\nSet-Cookie: ";
        let reply = [&head[..], &line, b"\r\n\r\n"].concat();
        let system = actix::System::new();
        let requests = system.block_on(async {
            let server = Server::start([Script::raw_reply(reply).drop_connection(), done()]);
            to(server.url()).run().await.unwrap();
            server.requests()
        });
        if let Some(request) = requests.get(1) {
            let mut expected = names(&requests[0]);
            expected.push("Cookie");
            expected.sort_unstable();
            prop_assert_eq!(names(request), expected);
            let cookies: Vec<&str> = request.headers("cookie").collect();
            prop_assert_eq!(cookies.len(), 1);
            prop_assert!(cookies[0].starts_with("good=1"), "{:?}", cookies);
            prop_assert!(cookies[0].split("; ").count() <= 2, "{:?}", cookies);
        }
    });
}

/// The names of a request's header lines, with the text in front of the colon.
fn names(request: &Request) -> Vec<&str> {
    let name = |line| str::split(line, ':').next().unwrap_or_default();
    let mut names: Vec<&str> = request.head.lines().map(name).collect();
    names.sort_unstable();
    names
}
