//! Redirects of the upgrade: followed up to a limit within one dial, over TLS and through proxies
//! too, and credentials stay with their origin.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_ws_client::error::{RedirectError, Stage};
use actix_ws_client::testing::{Request, Script, Server, ServerTls};
use actix_ws_client::{Connection, ConnectionBuilder, Error, Outcome, OutcomeKind, Reconnect, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

fn to(server: &Server) -> ConnectionBuilder {
    Connection::builder(server.url()).no_reconnect().proxy_from_env(false)
}

fn redirect(status: u16, location: impl Into<String>) -> Script {
    Script::refuse(status).header("Location", location)
}

fn done() -> Script {
    Script::accept().send_close(1000, "")
}

fn not_followed(outcome: Outcome) -> RedirectError {
    assert_eq!((outcome.kind, outcome.epochs), (OutcomeKind::Refused, 0), "{outcome:?}");
    match outcome.error {
        Some(Error::Redirect(err)) => err,
        other => panic!("{other:?}"),
    }
}

#[actix::test]
async fn each_kind_of_redirect_is_followed() {
    for status in [301, 302, 303, 307, 308] {
        let server = Server::start([redirect(status, "/next?x=1"), done()]);
        let outcome = to(&server).run().await.unwrap();
        assert_eq!((outcome.epochs, outcome.attempts), (1, 1), "{status}");
        assert_eq!(server.requests()[1].line(), "GET /next?x=1 HTTP/1.1");
    }
    for status in [300, 304, 305] {
        let server = Server::start([redirect(status, "/next"), done()]);
        let outcome = to(&server).run().await.unwrap();
        assert_eq!(outcome.error.unwrap().status(), Some(status));
    }
}

#[actix::test]
async fn a_location_that_is_not_utf_8_is_followed_with_its_bytes_percent_encoded() {
    let reply = b"HTTP/1.1 302 x\r\nLocation: /caf\xe9?q=\xff\r\n\r\n";
    let server = Server::start([Script::raw_reply(reply.as_slice()).drop_connection(), done()]);
    assert_eq!(to(&server).run().await.unwrap().epochs, 1);
    assert_eq!(server.requests()[1].line(), "GET /caf%E9?q=%FF HTTP/1.1");
}

#[actix::test]
async fn two_locations_are_followed_if_they_agree() {
    for (second, epochs) in [("/next", 1), ("/other", 0)] {
        let server = Server::start([redirect(302, "/next").header("location", second), done()]);
        let outcome = to(&server).run().await.unwrap();
        assert_eq!(outcome.epochs, epochs);
        if epochs == 0 {
            let differ = RedirectError::Location("two lines that differ".into());
            assert_eq!(not_followed(outcome), differ);
        }
    }
}

#[actix::test]
async fn one_past_the_limit_is_an_error_and_none_is_followed_at_zero() {
    let server = Server::start(redirect(302, "/again"));
    let limit = not_followed(to(&server).run().await.unwrap());
    assert_eq!((limit, server.dials()), (RedirectError::TooMany { limit: 3 }, 4));
    let server = Server::start(redirect(302, "/again"));
    let limit = not_followed(to(&server).redirects(1).run().await.unwrap());
    assert_eq!((limit, server.dials()), (RedirectError::TooMany { limit: 1 }, 2));
    let server = Server::start(redirect(302, "/again"));
    let outcome = to(&server).redirects(0).run().await.unwrap();
    assert!(matches!(outcome.error, Some(Error::Refused(_))), "{outcome:?}");
    assert_eq!(server.dials(), 1);
}

#[actix::test]
async fn a_missing_location_and_one_that_cannot_be_end_the_run() {
    let missing = Server::start(Script::refuse(302));
    let err = to(&missing).run().await.unwrap();
    assert_eq!(err.error.as_ref().unwrap().stage(), "redirect");
    assert_eq!(not_followed(err), RedirectError::Missing);
    let ftp = Server::start(redirect(302, "ftp://h/?token=hunter2"));
    let err = not_followed(to(&ftp).run().await.unwrap());
    assert!(matches!(err, RedirectError::Location(_)) && !err.to_string().contains("hunter2"));
}

#[actix::test]
async fn credentials_go_to_the_same_origin_alone() {
    let other = Server::start(done());
    let away = format!("http://{}/there", other.addr());
    let server = Server::start([redirect(302, "/same"), redirect(307, away)]);
    let builder = to(&server).cookie("id=7").bearer_auth("secret").header("X-Own", "kept");
    builder.header("Proxy-Authorization", "secret").host("own.example").run().await.unwrap();
    for request in server.requests() {
        assert_eq!(request.header("cookie"), Some("id=7"));
        assert_eq!(request.header("authorization"), Some("Bearer secret"));
        assert_eq!(request.header("host"), Some("own.example"));
    }
    let request = &other.requests()[0];
    assert_eq!(request.line(), "GET /there HTTP/1.1");
    for name in ["cookie", "authorization", "proxy-authorization"] {
        assert_eq!(request.header(name), None, "{name}");
    }
    assert_eq!(request.header("host"), Some(other.addr().to_string().as_str()));
    assert_eq!(request.header("x-own"), None);
}

/// The values that a header has in the four requests of a dial: to the first origin, to the same one, to another and
/// back to the first.
async fn journey(name: &str, builder: ConnectionBuilder, last: Script) -> Vec<Vec<String>> {
    let server = Server::start([
        redirect(302, "/same"),
        redirect(307, "ws://b.example/"),
        redirect(303, "ws://a.example/"),
        last,
    ]);
    let addr = server.addr();
    let outcome = builder.transport_with(move |_, _| TcpStream::connect(addr)).run().await.unwrap();
    assert_eq!(outcome.epochs, 1, "{outcome:?}");
    let values = |request: &Request| request.headers(name).map(String::from).collect();
    server.requests().iter().map(values).collect()
}

/// A connection whose every host is the server of [`journey`].
fn from_a() -> ConnectionBuilder {
    Connection::builder("ws://a.example/").no_reconnect().proxy_from_env(false)
}

#[actix::test]
async fn header_lines_of_ones_own_go_to_the_same_origin_alone() {
    let own = || from_a().header("X-Api-Key", "k").headers([("x-api-key", "l")]);
    let made = || {
        from_a()
            .headers_with(async |_| Ok::<_, io::Error>([("X-API-KEY", "k"), ("X-Api-Key", "l")]))
    };
    for builder in [own(), made()] {
        let seen = journey("x-api-key", builder, done()).await;
        assert_eq!(seen, [&["k", "l"][..], &["k", "l"], &[], &[]]);
    }
    // The next dial begins at the origin that the application named.
    let server = Server::start([redirect(302, "ws://b.example/"), Script::refuse(503), done()]);
    let addr = server.addr();
    let builder = own().reconnect(Reconnect::fixed(Duration::from_millis(1)));
    let builder = builder.transport_with(move |_, _| TcpStream::connect(addr)).max_attempts(2);
    builder.run().await.unwrap();
    let keys: Vec<_> =
        server.requests().iter().map(|it| it.header("x-api-key").is_some()).collect();
    assert_eq!(keys, [true, false, true]);
}

#[actix::test]
async fn the_names_that_the_builder_lists_go_to_any_origin() {
    let builder = || {
        from_a()
            .header("X-Client", "desk 7")
            .headers_with(async |_| Ok::<_, io::Error>([("X-Api-Key", "k"), ("X-Made", "m")]))
            .cross_origin_headers(["x-CLIENT", "X-Made"])
    };
    assert_eq!(journey("x-client", builder(), done()).await, [["desk 7"]; 4]);
    assert_eq!(journey("x-made", builder(), done()).await, [["m"]; 4]);
    assert_eq!(journey("x-api-key", builder(), done()).await, [&["k"][..], &["k"], &[], &[]]);
    for name in ["Authorization", "proxy-authorization", "COOKIE", "Host", "a b", ""] {
        let err = from_a().cross_origin_headers([name]).check().unwrap_err().to_string();
        assert!(err.starts_with("cross_origin_headers: "), "{err}");
    }
}

#[actix::test]
async fn what_describes_the_client_goes_to_any_origin() {
    let agent = from_a().header("User-Agent", "desk/7");
    assert_eq!(journey("user-agent", agent, done()).await, [["desk/7"]; 4]);
    let origin = || from_a().origin("https://desk.example");
    assert_eq!(journey("origin", origin(), done()).await, [["https://desk.example"]; 4]);
    let line = from_a().header("Origin", "https://desk.example");
    assert_eq!(journey("origin", line, done()).await, [["https://desk.example"]; 4]);
    let derived = ["http://a.example", "http://a.example", "http://b.example", "http://a.example"];
    assert_eq!(journey("origin", from_a(), done()).await, derived.map(|origin| [origin]));
    let offer = from_a().subprotocols(["v2", "v1"]);
    let chosen = done().header("Sec-WebSocket-Protocol", "v1");
    assert_eq!(journey("sec-websocket-protocol", offer, chosen).await, [["v2, v1"]; 4]);
}

#[actix::test]
async fn a_line_that_is_left_out_is_left_out_everywhere() {
    for name in ["User-Agent", "Origin", "Cookie"] {
        let server = Server::start([
            redirect(302, "ws://b.example/").header("Set-Cookie", "a=1; Domain=b.example"),
            redirect(302, "/again").header("Set-Cookie", "b=2"),
            done(),
        ]);
        let addr = server.addr();
        let builder =
            from_a().header(name, "").transport_with(move |_, _| TcpStream::connect(addr));
        builder.run().await.unwrap();
        assert!(server.requests().iter().all(|it| it.header(name).is_none()), "{name}");
        assert_eq!(server.dials(), 3);
    }
}

#[actix::test]
async fn the_whole_chain_has_one_deadline() {
    let slow = Script::no_reply();
    let server = Server::start([redirect(302, "/a"), slow]);
    let builder = to(&server).connect_timeout(Duration::from_millis(300));
    let outcome = builder.run().await.unwrap();
    assert!(matches!(outcome.error, Some(Error::Timeout(Stage::Upgrade))), "{outcome:?}");
    assert_eq!(server.dials(), 2);
}

#[actix::test]
async fn a_prepared_transport_leads_to_one_server_alone() {
    for location in ["/next", "ws://elsewhere.example/"] {
        let server = Server::start(redirect(302, location));
        let stream = TcpStream::connect(server.addr()).await.unwrap();
        let err = not_followed(to(&server).transport(stream).run().await.unwrap());
        assert!(matches!(err, RedirectError::Way(_)), "{err:?}");
        assert_eq!(server.dials(), 1);
    }
    // A factory of transports is called a second time.
    let server = Server::start([redirect(302, "ws://elsewhere.example/"), done()]);
    let addr = server.addr();
    let outcome = to(&server).transport_with(move |_, _| TcpStream::connect(addr)).run().await;
    assert_eq!(outcome.unwrap().epochs, 1);
    assert_eq!(server.requests()[1].header("host"), Some("elsewhere.example"));
}

/// A certificate for an address and some names: what trusts it, and what serves it.
fn certified() -> (Tls, ServerTls) {
    let names = ["127.0.0.1", "a.feed.example", "b.feed.example"].map(String::from);
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let trust = Tls::new().ca_pem(pem.as_bytes()).unwrap();
    (trust, ServerTls::from_pem(pem.as_bytes(), key.as_bytes()))
}

#[actix::test]
async fn from_wss_to_wss_is_followed_and_the_new_server_verified() {
    let (trust, secured) = certified();
    let other = Server::start_tls(done(), secured.clone());
    let there = other.addr();
    let away = format!("https://{there}/there");
    let hop = redirect(307, "/same").header("Set-Cookie", "jar=1; Secure");
    let server = Server::start_tls([hop, redirect(307, &away)], secured.clone());
    let here = server.addr();
    let builder = Connection::builder(format!("wss://me:pw@{here}/")).no_reconnect();
    let builder = builder.proxy_from_env(false).tls(trust.clone()).cookie("own=2");
    let outcome = builder.run().await.unwrap();
    assert_eq!((outcome.epochs, outcome.attempts), (1, 1), "{outcome:?}");
    let (ours, theirs) = (server.requests(), other.requests());
    assert_eq!(ours[0].header("cookie"), Some("own=2"));
    assert_eq!(ours[1].header("cookie"), Some("jar=1; own=2"));
    assert!(ours.iter().all(|request| request.header("authorization").is_some()));
    assert_eq!(theirs[0].line(), "GET /there HTTP/1.1");
    assert_eq!(theirs[0].header("origin"), Some(format!("https://{there}").as_str()));
    assert_eq!((theirs[0].header("cookie"), theirs[0].header("authorization")), (None, None));

    // An untrusted server is refused, also if a trusted one redirects to it.
    let stranger = Server::start_tls(done(), certified().1);
    let away = redirect(302, format!("wss://{}/", stranger.addr()));
    let server = Server::start_tls(away, secured);
    let builder =
        Connection::builder(format!("wss://{}/", server.addr())).no_reconnect().tls(trust);
    let outcome = builder.proxy_from_env(false).run().await.unwrap();
    assert_eq!(outcome.error.unwrap().stage(), "tls");
    assert_eq!((server.dials(), stranger.dials(), stranger.requests().len()), (1, 1, 0));
}

#[actix::test]
async fn from_wss_to_ws_is_not_followed() {
    let (trust, secured) = certified();
    let plain = Server::start(done());
    for scheme in ["ws", "http"] {
        let away = format!("{scheme}://{}/", plain.addr());
        let server = Server::start_tls(redirect(302, away), secured.clone());
        let builder = Connection::builder(format!("wss://{}/", server.addr())).no_reconnect();
        let outcome = builder.proxy_from_env(false).tls(trust.clone()).run().await.unwrap();
        assert_eq!(not_followed(outcome), RedirectError::Downgrade);
    }
    assert_eq!(plain.dials(), 0);
    // From ws to wss is allowed.
    let better = Server::start_tls(done(), secured);
    let server = Server::start(redirect(302, format!("wss://{}/", better.addr())));
    assert_eq!(to(&server).tls(trust).run().await.unwrap().epochs, 1);
    assert_eq!(better.dials(), 1);
}

/// The requests that a proxy has received.
type Asked = Arc<Mutex<Vec<String>>>;

/// A proxy for CONNECT that connects to the addresses of this list.
async fn proxy<const N: usize>(hosts: [(&'static str, SocketAddr); N]) -> (SocketAddr, Asked) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (addr, asked) = (listener.local_addr().unwrap(), Asked::default());
    let journal = asked.clone();
    actix::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let journal = journal.clone();
            actix::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                let head = String::from_utf8(head).unwrap();
                let found = hosts
                    .iter()
                    .find(|(host, _)| head.starts_with(&format!("CONNECT {host} HTTP/1.1\r\n")));
                journal.lock().unwrap().push(head);
                let mut there = TcpStream::connect(found.unwrap().1).await?;
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                copy_bidirectional(&mut stream, &mut there).await
            });
        }
    });
    (addr, asked)
}

#[actix::test]
async fn a_redirect_goes_through_the_proxy_and_who_asks_stays_with_the_origin() {
    let (trust, secured) = certified();
    let hop = redirect(302, "/same").header("Set-Cookie", "host=1; Secure");
    let away = redirect(302, "https://b.feed.example/there")
        .header("Set-Cookie", "all=2; Domain=feed.example; Path=/there");
    let first = Server::start_tls([hop, away], secured.clone());
    let second = Server::start_tls(done(), secured);
    let hosts = [("a.feed.example:443", first.addr()), ("b.feed.example:443", second.addr())];
    let (proxy, asked) = proxy(hosts).await;
    let builder = Connection::builder("wss://a.feed.example/").no_reconnect().tls(trust);
    let builder = builder.proxy(format!("http://me:hunter2@{proxy}")).no_proxy("");
    let builder = builder.bearer_auth("secret").cookie("own=3").header("Host", "own.example");
    let outcome = builder.run().await.unwrap();
    assert_eq!((outcome.epochs, outcome.attempts), (1, 1), "{outcome:?}");

    let cookies = |server: &Server| -> Vec<Option<String>> {
        server.requests().iter().map(|it| it.header("cookie").map(String::from)).collect()
    };
    assert_eq!(cookies(&first), [Some("own=3".into()), Some("host=1; own=3".into())]);
    assert_eq!(cookies(&second), [Some("all=2".into())]);
    let theirs = &second.requests()[0];
    assert_eq!(theirs.header("host"), Some("b.feed.example"));
    assert_eq!(theirs.header("authorization"), None);
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 3);
    for head in asked.iter() {
        // The proxy receives its own credentials, and nothing that is for the servers.
        assert!(head.contains("Proxy-Authorization: Basic bWU6aHVudGVyMg==\r\n"), "{head}");
        assert!(!head.contains("secret") && !head.to_lowercase().contains("cookie"), "{head}");
    }
}
