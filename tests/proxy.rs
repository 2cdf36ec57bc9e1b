//! A connection goes through the proxy that is set, and its errors name what the proxy did.
//!
//! The proxies here are scripts, for what no real one does on demand. Real ones are in tests/interop.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_ws_client::error::{HandshakeError, ProxyError, Stage};
use actix_ws_client::testing::{Probe, Script, Server, ServerTls};
use actix_ws_client::{Connection, ConnectionBuilder, Error, Outcome, OutcomeKind, Tls, event};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// One step of a scripted proxy.
#[derive(Clone)]
enum Turn {
    /// Reads to the end of an HTTP head.
    Head,
    /// Reads this many bytes.
    Bytes(usize),
    Say(Vec<u8>),
    /// Sends this repeatedly, until the client hangs up.
    Babble(&'static [u8]),
    /// Relays everything to this address and back.
    Pipe(SocketAddr),
    /// Reads and sends nothing more, with the connection open.
    Silence,
}

use Turn::{Babble, Bytes, Head, Pipe, Say, Silence};

fn say(bytes: impl AsRef<[u8]>) -> Turn {
    Say(bytes.as_ref().to_vec())
}

/// A proxy that plays the same turns with each connection, then hangs up.
struct Proxy {
    addr: SocketAddr,
    /// What each reading turn read.
    read: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Proxy {
    async fn start(turns: impl Into<Vec<Turn>>) -> Proxy {
        Proxy::start_under(None, turns).await
    }

    async fn start_under(tls: Option<ServerTls>, turns: impl Into<Vec<Turn>>) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let read = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let (turns, journal) = (turns.into(), read.clone());
        actix::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (turns, journal, tls) = (turns.clone(), journal.clone(), tls.clone());
                actix::spawn(async move {
                    match tls {
                        None => play(turns, stream, journal).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => play(turns, stream, journal).await,
                            Err(_) => Ok(()),
                        },
                    }
                });
            }
        });
        Proxy { addr, read }
    }

    /// `scheme://credentials 127.0.0.1:port`
    fn url(&self, scheme: &str, credentials: &str) -> String {
        format!("{scheme}://{credentials}{}", self.addr)
    }

    /// What each reading step has read.
    fn read(&self) -> Vec<Vec<u8>> {
        self.read.lock().unwrap().clone()
    }
}

async fn play<S>(
    turns: Vec<Turn>,
    mut stream: S,
    journal: Arc<Mutex<Vec<Vec<u8>>>>,
) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    for turn in turns {
        let mut read = Vec::new();
        match turn {
            Head => {
                while !read.ends_with(b"\r\n\r\n") {
                    read.push(stream.read_u8().await?);
                }
                journal.lock().unwrap().push(read);
            }
            Bytes(count) => {
                read.resize(count, 0);
                stream.read_exact(&mut read).await?;
                journal.lock().unwrap().push(read);
            }
            Say(bytes) => {
                stream.write_all(&bytes).await?;
                stream.flush().await?;
            }
            Babble(bytes) => loop {
                stream.write_all(bytes).await?;
            },
            Pipe(addr) => {
                let mut there = TcpStream::connect(addr).await?;
                copy_bidirectional(&mut stream, &mut there).await?;
            }
            Silence => std::future::pending().await,
        }
    }
    stream.shutdown().await
}

const OK: &str = "HTTP/1.1 200 Connection established\r\n\r\n";
const SOCKS5_OK: &[u8] = b"\x05\x00\x00\x01\0\0\0\0\0\0";
const SOCKS4_OK: &[u8] = b"\x00\x5a\0\0\0\0\0\0";

/// A connection that is dialled once, and that ignores the proxies of the environment.
fn to(url: impl Into<String>) -> ConnectionBuilder {
    Connection::builder(url).proxy_from_env(false).no_reconnect()
}

/// Returns the end of a dial through a proxy that plays these turns.
async fn through(scheme: &str, turns: impl Into<Vec<Turn>>) -> Outcome {
    let proxy = Proxy::start(turns).await;
    to("ws://example.com/").proxy(proxy.url(scheme, "user:hunter2@")).run().await.unwrap()
}

/// Returns the error of such a dial, which is a `ProxyError`.
async fn failure(scheme: &str, turns: impl Into<Vec<Turn>>) -> (ProxyError, OutcomeKind) {
    let outcome = through(scheme, turns).await;
    match outcome.error {
        Some(Error::Proxy(err)) => (err, outcome.kind),
        other => panic!("{other:?}"),
    }
}

/// Opens, and receives a message of the server through the proxy.
async fn greets(builder: ConnectionBuilder) {
    let probe = Probe::new();
    let connection = probe.attach(builder).start().unwrap();
    assert_eq!(probe.next_message().await.payload.as_text(), Some("hi"), "{:?}", probe.history());
    drop(connection);
    assert_eq!(probe.stopped().await.kind, OutcomeKind::Closed);
}

fn greeting() -> Server {
    Server::start(Script::accept().send_text("hi"))
}

#[actix::test]
async fn an_http_proxy_is_asked_for_host_and_port_and_told_who_asks() {
    let server = greeting();
    let turns = [Head, say(OK), Pipe(server.addr())];
    let proxy = Proxy::start(turns).await;
    let url = format!("ws://{}/path", server.addr());
    greets(to(&url).proxy(proxy.url("http", "us%40er:hunter2@"))).await;
    let addr = server.addr();
    let expected = format!(
        "CONNECT {addr} HTTP/1.1\r\nHost: {addr}\r\nUser-Agent: actix-ws-client/{}\r\n\
         Proxy-Authorization: Basic dXNAZXI6aHVudGVyMg==\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(proxy.read(), [expected.into_bytes()]);
    // The header lines for the proxy are not sent to the server.
    let request = &server.requests()[0];
    assert_eq!(request.header("proxy-authorization"), None);
    assert_eq!(request.header("host"), Some(addr.to_string().as_str()));
}

#[actix::test]
async fn a_user_agent_of_the_applications_own_is_the_servers_and_a_proxy_sees_none_that_is_left_out()
 {
    for (given, proxied, sent) in [
        ("me/1", Some(concat!("actix-ws-client/", env!("CARGO_PKG_VERSION"))), Some("me/1")),
        ("", None, None),
    ] {
        let server = greeting();
        let proxy = Proxy::start([Head, say(OK), Pipe(server.addr())]).await;
        greets(to(server.url()).proxy(proxy.url("http", "")).header("User-Agent", given)).await;
        let head = String::from_utf8(proxy.read().remove(0)).unwrap();
        let line = head.lines().find_map(|line| line.strip_prefix("User-Agent: "));
        assert_eq!((line, server.requests()[0].header("user-agent")), (proxied, sent));
    }
}

#[actix::test]
async fn any_2xx_opens_the_way_behind_interim_replies_and_for_http_1_0() {
    let server = greeting();
    for reply in [
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 99\r\n\r\n",
        "HTTP/1.1 299 x\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200\r\n\r\n",
    ] {
        let proxy = Proxy::start([Head, say(reply), Pipe(server.addr())]).await;
        greets(to(server.url()).proxy(proxy.url("http", ""))).await;
    }
}

#[actix::test]
async fn what_comes_behind_the_proxys_reply_is_the_servers() {
    let outcome = through("http", [Head, say(format!("{OK}SSH-2.0-OpenSSH\r\n")), Silence]).await;
    let error = outcome.error.unwrap();
    assert!(matches!(error, Error::Handshake(HandshakeError::NotHttp(_))), "{error:?}");
}

#[actix::test]
async fn a_refusal_of_the_proxys_is_named_as_such_and_kept_whole() {
    for (status, kind) in [
        (101, OutcomeKind::Refused),
        (302, OutcomeKind::Refused),
        (401, OutcomeKind::Refused),
        (403, OutcomeKind::Refused),
        (407, OutcomeKind::Refused),
        (500, OutcomeKind::Failed),
        (502, OutcomeKind::Failed),
        (503, OutcomeKind::Failed),
    ] {
        let reply = format!(
            "HTTP/1.1 {status} x\r\nProxy-Authenticate: Basic realm=\"a\"\r\nContent-Length: 4\r\n\r\nbody"
        );
        let outcome = through("http", [Head, say(reply)]).await;
        let error = outcome.error.unwrap();
        assert_eq!((outcome.kind, error.status(), error.stage()), (kind, Some(status), "proxy"));
        let Error::Proxy(ProxyError::Status(refusal)) = error else { panic!("{error:?}") };
        assert_eq!(refusal.headers.get("proxy-authenticate"), Some("Basic realm=\"a\""));
        let body: &[u8] = if status == 101 { b"" } else { b"body" };
        assert_eq!(refusal.body.as_ref(), body);
    }
}

#[actix::test]
async fn a_refusal_outlives_a_body_that_never_comes_and_its_body_has_a_cap() {
    let proxy =
        Proxy::start([Head, say("HTTP/1.1 407 x\r\nContent-Length: 9\r\n\r\nhalf"), Silence]);
    let builder = to("ws://example.com/").proxy(proxy.await.url("http", ""));
    let limit = Duration::from_millis(200);
    let outcome = builder.connect_timeout(limit).proxy_timeout(limit).run().await.unwrap();
    let Some(Error::Proxy(ProxyError::Status(refusal))) = outcome.error else { panic!() };
    assert_eq!((refusal.status, refusal.body.as_ref()), (407, b"half".as_ref()));

    let (err, _) =
        failure("http", [Head, say("HTTP/1.1 502 x\r\n\r\n"), Babble(&[b'a'; 4096])]).await;
    let ProxyError::Status(refusal) = err else { panic!("{err:?}") };
    assert_eq!((refusal.status, refusal.body.len()), (502, 64 << 10));
}

#[actix::test]
async fn a_reply_that_is_not_http_or_never_ends_is_refused() {
    for turns in [
        vec![Head, say("SSH-2.0-OpenSSH_9.2\r\n"), Silence],
        vec![say(b"\x05\x00\x00\x01\0\0\0\0\0\0"), Silence],
        vec![Head, say("HTTP/2 200 OK\r\n\r\n"), Silence],
        vec![Head, say("HTTP/1.1 200 OK\r\n"), Babble(b"X-More: of it\r\n")],
        vec![Head, say("HTTP/1.1 200 OK\r\nX: "), Babble(b"aaaaaaaaaaaaaaaa")],
    ] {
        let (err, kind) = failure("http", turns).await;
        assert!(matches!(err, ProxyError::Reply(_)), "{err:?}");
        assert_eq!(kind, OutcomeKind::Refused);
    }
    // The eighth interim reply is skipped, the ninth is an error.
    let interim = "HTTP/1.1 103 x\r\n\r\n";
    let (err, _) = failure("http", [Head, say(interim.repeat(9)), Silence]).await;
    assert!(matches!(&err, ProxyError::Status(refusal) if refusal.status == 103), "{err:?}");
}

#[actix::test]
async fn a_proxy_that_breaks_off_is_asked_again() {
    for (scheme, turns) in [
        ("http", vec![]),
        ("http", vec![Head]),
        ("http", vec![Head, say("HTTP/1.1 200 Conn")]),
        ("socks5h", vec![]),
        ("socks5h", vec![Bytes(4)]),
        ("socks5h", vec![Bytes(4), say([5])]),
        ("socks5h", vec![Bytes(4), say([5, 2]), Bytes(14), say([1])]),
        ("socks5h", vec![Bytes(4), say([5, 0]), Bytes(18), say(&SOCKS5_OK[..2])]),
        ("socks5h", vec![Bytes(4), say([5, 0]), Bytes(18), say(&SOCKS5_OK[..9])]),
    ] {
        let (err, kind) = failure(scheme, turns).await;
        assert!(matches!(err, ProxyError::Io(_)), "{err:?}");
        assert_eq!(kind, OutcomeKind::Failed);
    }
}

#[actix::test]
async fn a_proxy_that_is_not_there_is_named_as_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    for scheme in ["http", "https", "socks4a", "socks5h"] {
        let builder = to("ws://example.com/").proxy(format!("{scheme}://{gone}"));
        let outcome = builder.run().await.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Failed);
        let error = outcome.error.unwrap();
        assert_eq!(error.stage(), "proxy");
        let Error::Proxy(ProxyError::Unreachable(cause)) = error else { panic!("{error:?}") };
        assert!(matches!(&*cause, Error::Connect(err) if err.tried[0].0 == gone), "{cause:?}");
    }
}

#[actix::test]
async fn a_silent_proxy_has_its_own_time_within_that_of_the_dial() {
    for (scheme, turns) in [
        ("http", vec![Silence]),
        ("http", vec![Head, say("HTTP/1.1 200 Connec"), Silence]),
        ("socks4a", vec![Silence]),
        ("socks5h", vec![Bytes(3), say([5, 0]), Silence]),
        ("https", vec![Silence]),
    ] {
        let proxy = Proxy::start(turns).await;
        let builder = || to("ws://example.com/").proxy(proxy.url(scheme, ""));
        let short = Duration::from_millis(150);
        let asked = Instant::now();
        for builder in [builder().proxy_timeout(short), builder().connect_timeout(short)] {
            let outcome = builder.run().await.unwrap();
            let error = outcome.error.unwrap();
            assert!(matches!(error, Error::Timeout(Stage::Proxy)), "{scheme} {error:?}");
            assert_eq!(outcome.kind, OutcomeKind::Failed);
        }
        assert!(asked.elapsed() < Duration::from_secs(5));
    }
}

#[actix::test]
async fn socks5_carries_credentials_and_the_name_or_its_address() {
    let server = greeting();
    let port = server.addr().port().to_be_bytes();
    let addr = [&[5, 1, 0, 1, 127, 0, 0, 1][..], &port].concat();
    let name = [&[5, 1, 0, 3, 9][..], b"localhost", &port].concat();
    for (scheme, asked) in [("socks5", &addr), ("socks5h", &name)] {
        let turns = [
            Bytes(4),
            say([5, 2]),
            Bytes(15),
            say([1, 0]),
            Bytes(asked.len()),
            say(SOCKS5_OK),
            Pipe(server.addr()),
        ];
        let proxy = Proxy::start(turns).await;
        // A name is resolved by the proxy or by the client, as the scheme says.
        let host = if scheme == "socks5" { "127.0.0.1" } else { "localhost" };
        let url = format!("ws://{host}:{}/", server.addr().port());
        greets(to(url).proxy(proxy.url(scheme, "us%40er:hunter2@"))).await;
        let login = b"\x01\x05us@er\x07hunter2".to_vec();
        assert_eq!(proxy.read(), [vec![5, 2, 0, 2], login, asked.clone()]);
    }
}

#[actix::test]
async fn socks4_carries_a_user_and_the_address_or_its_name() {
    let server = greeting();
    let port = server.addr().port().to_be_bytes();
    let addr = [&[4, 1][..], &port, &[127, 0, 0, 1], b"me\0"].concat();
    let name = [&[4, 1][..], &port, &[0, 0, 0, 1], b"me\0localhost\0"].concat();
    // `localhost` is resolved here for SOCKS4, which takes only its IPv4 address.
    for (scheme, asked) in [("socks4", &addr), ("socks4a", &name)] {
        let turns = [Bytes(asked.len()), say(SOCKS4_OK), Pipe(server.addr())];
        let proxy = Proxy::start(turns).await;
        let url = format!("ws://localhost:{}/", server.addr().port());
        greets(to(url).proxy(proxy.url(scheme, "me@"))).await;
        assert_eq!(proxy.read(), std::slice::from_ref(asked));
    }
}

#[actix::test]
async fn each_reply_of_a_socks_proxy_has_its_verdict() {
    for reply in (1..=9).chain([91, 255]) {
        let turns =
            [Bytes(4), say([5, 0]), Bytes(18), say([5, reply, 0, 1, 0, 0, 0, 0, 0, 0]), Silence];
        let (err, kind) = failure("socks5h", turns).await;
        let is_it = matches!(err, ProxyError::Socks { version: 5, reply: told } if told == reply);
        assert!(is_it, "{err:?}");
        assert!(err.to_string().starts_with(&format!("SOCKS5 reply {reply}: ")), "{err}");
        let stops = matches!(reply, 2 | 7..);
        assert_eq!(kind == OutcomeKind::Refused, stops, "{reply}");
    }
    // Behind a password too.
    let turns =
        [Bytes(4), say([5, 2]), Bytes(14), say([1, 0]), Bytes(18), say([5, 42, 0, 1]), Silence];
    let (err, _) = failure("socks5h", turns).await;
    assert_eq!(err.to_string(), "SOCKS5 reply 42: a code that is not defined");
    for reply in (91..=94).chain([5]) {
        let proxy = Proxy::start([Bytes(21), say([0, reply, 0, 0, 0, 0, 0, 0])]).await;
        let builder = to("ws://example.com/").proxy(proxy.url("socks4a", ""));
        let outcome = builder.run().await.unwrap();
        let Some(Error::Proxy(err)) = outcome.error else { panic!("{:?}", outcome.error) };
        let is_it = matches!(err, ProxyError::Socks { version: 4, reply: told } if told == reply);
        assert!(is_it, "{err:?}");
        assert_eq!(outcome.kind == OutcomeKind::Refused, reply != 91, "{reply}");
    }
}

#[actix::test]
async fn refused_credentials_stop() {
    for turns in
        [vec![Bytes(4), say([5, 2]), Bytes(14), say([1, 1])], vec![Bytes(4), say([5, 0xff])]]
    {
        let (err, kind) = failure("socks5h", turns).await;
        assert!(matches!(err, ProxyError::Auth(_)), "{err:?}");
        assert!(!err.to_string().contains("has no user"), "{err}");
        assert_eq!(kind, OutcomeKind::Refused);
    }
    // RFC 1928, 3: 1 is GSSAPI.
    let (err, _) = failure("socks5h", [Bytes(4), say([5, 1]), Silence]).await;
    assert_eq!(err.to_string(), "authentication: the proxy chose method 1, which was not offered");
    // A proxy that requires credentials, and a URL without.
    let proxy = Proxy::start([Bytes(3), say([5, 2])]).await;
    let outcome = to("ws://h/").proxy(proxy.url("socks5h", "")).run().await.unwrap();
    assert!(matches!(outcome.error, Some(Error::Proxy(ProxyError::Auth(_)))), "{outcome:?}");
    let proxy = Proxy::start([Bytes(3), say([5, 0xff])]).await;
    let outcome = to("ws://h/").proxy(proxy.url("socks5h", "")).run().await.unwrap();
    let text = outcome.error.unwrap().to_string();
    assert!(
        text.ends_with("the proxy wants credentials, and its URL has no user:password@"),
        "{text}"
    );
}

#[actix::test]
async fn a_reply_that_is_not_socks_stops() {
    for (scheme, turns) in [
        ("socks5h", vec![Bytes(4), say("HTTP/1.1 400 Bad Request\r\n\r\n")]),
        ("socks5h", vec![Bytes(4), say([5, 0]), Bytes(18), say([4; 10])]),
        ("socks5h", vec![Bytes(4), say([5, 0]), Bytes(18), say([5, 0, 0, 9, 0, 0, 0, 0, 0, 0])]),
    ] {
        let (err, kind) = failure(scheme, turns).await;
        assert!(matches!(err, ProxyError::Reply(_)), "{err:?}");
        assert_eq!(kind, OutcomeKind::Refused);
    }
}

/// A certificate for 127.0.0.1: what trusts it, and what serves it.
fn certified() -> (Tls, ServerTls) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let trust = Tls::new().ca_pem(pem.as_bytes()).unwrap();
    (trust, ServerTls::from_pem(pem.as_bytes(), key.as_bytes()))
}

#[actix::test]
async fn tls_goes_through_every_kind_of_proxy() {
    let (trust, tls) = certified();
    let (trust_proxy, proxy_tls) = certified();
    let server = Server::start_tls(Script::accept().send_text("hi"), tls);
    let secured = server.addr();
    let pipe = || Pipe(secured);
    let greeted = vec![Bytes(3), say([5, 0]), Bytes(10), say(SOCKS5_OK), pipe()];
    for (scheme, turns) in [
        ("http", vec![Head, say(OK), pipe()]),
        ("https", vec![Head, say(OK), pipe()]),
        ("socks4", vec![Bytes(9), say(SOCKS4_OK), pipe()]),
        ("socks4a", vec![Bytes(9), say(SOCKS4_OK), pipe()]),
        ("socks5", greeted.clone()),
        ("socks5h", greeted.clone()),
    ] {
        let tls = (scheme == "https").then(|| proxy_tls.clone());
        let proxy = Proxy::start_under(tls, turns).await;
        let builder = to(format!("wss://{secured}/")).proxy(proxy.url(scheme, ""));
        let probe = Probe::new();
        let builder = builder.tls(trust.clone()).proxy_tls(trust_proxy.clone());
        let connection = probe.attach(builder).start().unwrap();
        let open = probe.next::<event::Open>().await;
        assert!(open.handshake.tls.is_some(), "{scheme}");
        assert_eq!(open.handshake.peer, Some(proxy.addr), "{scheme}");
        assert_eq!(probe.next_message().await.payload.as_text(), Some("hi"), "{scheme}");
        drop(connection);
        probe.stopped().await;
        // An untrusted server is an error of the server, not of the proxy.
        let distrusted = to(format!("wss://{secured}/")).proxy(proxy.url(scheme, ""));
        let distrusted = distrusted.tls(trust_proxy.clone()).proxy_tls(trust_proxy.clone());
        let outcome = distrusted.run().await.unwrap();
        assert_eq!(outcome.error.unwrap().stage(), "tls", "{scheme}");
        assert_eq!(outcome.kind, OutcomeKind::Refused);
    }
}

#[actix::test]
async fn an_https_proxy_is_verified_whatever_is_said_of_the_server() {
    let server = greeting();
    let (trust, tls) = certified();
    let proxy = Proxy::start_under(Some(tls), [Head, say(OK), Pipe(server.addr())]).await;
    let builder = || to(server.url()).proxy(proxy.url("https", "user:hunter2@"));
    greets(builder().proxy_tls(trust.clone())).await;
    for lax in [trust, Tls::new().dangerously_accept_any_certificate()] {
        let outcome = builder().tls(lax).run().await.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Refused);
        let error = outcome.error.unwrap();
        assert!(matches!(error, Error::Proxy(ProxyError::Tls(_))), "{error:?}");
    }
    // Only the trusted proxy has received anything.
    assert_eq!(proxy.read().len(), 1);
    // A proxy that does not speak TLS only interrupts the handshake.
    let plain = Proxy::start([Bytes(1)]).await;
    let outcome = to(server.url()).proxy(plain.url("https", "")).run().await.unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Failed);
    assert!(matches!(outcome.error, Some(Error::Proxy(ProxyError::Tls(_)))), "{outcome:?}");
}

#[actix::test]
async fn https_before_a_plain_proxy_is_named() {
    for (turns, kind, expected) in [
        (
            vec![Bytes(1), say("HTTP/1.1 400 Bad Request\r\n\r\n"), Silence],
            OutcomeKind::Failed,
            "proxy: TLS: the proxy does not speak TLS: write http:// in its URL",
        ),
        (
            vec![Bytes(1)],
            OutcomeKind::Failed,
            "; if the proxy speaks no TLS, write http:// in its URL",
        ),
    ] {
        let plain = Proxy::start(turns).await;
        let outcome = to("ws://example.com/").proxy(plain.url("https", "")).run().await.unwrap();
        let text = outcome.error.unwrap().to_string();
        assert!(outcome.kind == kind && text.ends_with(expected), "{text}");
    }
}

#[actix::test]
async fn a_407_knows_whether_credentials_were_sent() {
    let reply =
        "HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm=\"a\"\r\nContent-Length: 0\r\n\r\n";
    for (credentials, authorized) in [("", false), ("u:p@", true)] {
        let proxy = Proxy::start([Head, say(reply)]).await;
        // Those of the server are not the proxy's.
        let builder = to("ws://u:p@example.com/").proxy(proxy.url("http", credentials));
        let Some(Error::Proxy(ProxyError::Status(refusal))) = builder.run().await.unwrap().error
        else {
            panic!()
        };
        assert_eq!((refusal.authorized, refusal.reason.as_str()), (authorized, "Who"));
        assert_eq!(refusal.schemes(), ["Basic"]);
    }
}

#[actix::test]
async fn a_host_of_no_proxy_is_dialled_directly() {
    let server = greeting();
    let proxy = Proxy::start([Silence]).await;
    for scheme in ["http", "socks5h"] {
        let builder = to(server.url()).proxy(proxy.url(scheme, ""));
        greets(builder.no_proxy("10.0.0.0/8, 127.0.0.0/8")).await;
    }
}

#[actix::test]
async fn a_transport_of_ones_own_leads_to_the_proxy_that_was_chosen() {
    let server = greeting();
    let proxy = Proxy::start([Head, say(OK), Pipe(server.addr())]).await;
    let (addr, asked) = (proxy.addr, Arc::<Mutex<Vec<(String, u16)>>>::default());
    let seen = asked.clone();
    let builder =
        to(server.url()).proxy("http://proxy.example:3128").transport_with(move |host, port| {
            seen.lock().unwrap().push((host, port));
            TcpStream::connect(addr)
        });
    greets(builder).await;
    assert_eq!(*asked.lock().unwrap(), [("proxy.example".to_owned(), 3128)]);
    assert!(proxy.read()[0].starts_with(format!("CONNECT {}", server.addr()).as_bytes()));
}

#[actix::test]
async fn a_proxy_that_cannot_be_is_refused_before_anything_is_dialled() {
    for (url, proxy) in [
        ("ws://h/", "127.0.0.1:3128"),
        ("ws://h/", "ftp://127.0.0.1"),
        ("ws://h/", "http://u:hunter2@h:0"),
        ("ws://[::1]/", "socks4a://h"),
    ] {
        let err = to(url).proxy(proxy).start().unwrap_err().to_string();
        assert!(err.starts_with("proxy: ") && !err.contains("hunter2"), "{err}");
    }
    let err = to("ws://h/").proxy_timeout(Duration::ZERO).start().unwrap_err().to_string();
    assert!(err.starts_with("proxy_timeout: "), "{err}");
}

#[actix::test]
async fn credentials_are_shown_nowhere() {
    let shown = |builder: &ConnectionBuilder| format!("{builder:?}");
    assert!(!shown(&to("ws://h/").proxy("http://user:hunter2@h")).contains("hunter2"));
    for (scheme, turns) in [
        ("http", vec![Head, say("HTTP/1.1 407 x\r\n\r\n")]),
        ("http", vec![Head, say("garbage")]),
        ("socks5h", vec![Bytes(4), say([5, 2]), Bytes(14), say([1, 1])]),
    ] {
        let outcome = through(scheme, turns).await;
        let error = outcome.error.as_ref().unwrap();
        let words = format!("{outcome:?} {error} {error:?}");
        assert!(!words.contains("hunter2") && !words.contains("dXNlcjpodW50ZXIy"), "{words}");
    }
}

/// The environment belongs to a process: this test runs itself once more, in a process of its own.
#[actix::test]
async fn the_proxy_of_the_environment_is_used_unless_told_otherwise() {
    const CHILD: &str = "PROXY_TEST_CHILD";
    if let Ok(url) = std::env::var(CHILD) {
        let start = |builder: ConnectionBuilder| builder.no_reconnect();
        greets(start(Connection::builder(&url))).await;
        let direct = start(Connection::builder(&url)).proxy_from_env(false).run().await.unwrap();
        assert_eq!(direct.error.unwrap().stage(), "connect");
        let past = start(Connection::builder(&url)).no_proxy("*").run().await.unwrap();
        assert_eq!(past.error.unwrap().stage(), "connect");
        let own = start(Connection::builder(&url)).transport_with(TcpStream::connect_own);
        assert_eq!(own.run().await.unwrap().error.unwrap().stage(), "io");
        let wss = Connection::builder("wss://127.0.0.1:9/").start().unwrap_err().to_string();
        assert!(wss.starts_with("https_proxy: no scheme"), "{wss}");
        return;
    }
    let server = greeting();
    let proxy = Proxy::start([Head, say(OK), Pipe(server.addr())]).await;
    // No server listens there: what arrives came through the proxy.
    let environment = [
        (CHILD, OsString::from("ws://127.0.0.1:9/")),
        ("http_proxy", proxy.url("http", "").into()),
        ("https_proxy", "127.0.0.1:3128".into()),
    ];
    again("the_proxy_of_the_environment_is_used_unless_told_otherwise", environment).await;
    assert_eq!(proxy.read().len(), 1);
}

/// Runs one test once more, in a process of its own with these variables and no other proxy.
async fn again<const N: usize>(name: &str, environment: [(&str, OsString); N]) {
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
    for variable in ["http_proxy", "https_proxy", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"]
    {
        child.env_remove(variable);
    }
    for variable in ["ws_proxy", "WS_PROXY", "wss_proxy", "WSS_PROXY"] {
        child.env_remove(variable);
    }
    child.envs(environment).args([name, "--exact", "--nocapture"]);
    let output = child.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.contains("1 passed"), "{printed}");
}

/// Past the proxy a connection might show what it must not.
#[cfg(unix)]
#[actix::test]
async fn a_variable_that_is_not_utf8_is_refused_by_its_name_and_not_passed_over() {
    use std::os::unix::ffi::OsStringExt;

    const CHILD: &str = "PROXY_TEST_BYTES";
    if let Ok(server) = std::env::var(CHILD) {
        let err = Connection::builder(&server).start().unwrap_err().to_string();
        assert!(err.starts_with("http_proxy: not UTF-8"), "{err}");
        let err = to(&server).proxy_from_env(true).proxy("http://p:1").start().unwrap_err();
        assert!(err.to_string().starts_with("no_proxy: not UTF-8"), "{err}");
        assert!(!format!("{err} {err:?}").contains("hunter2"), "{err:?}");
        // Where no variable is read, none can be wrong.
        to(&server).run().await.unwrap();
        let listed = to(&server).proxy_from_env(true).proxy("http://p:1").no_proxy("127.0.0.1");
        listed.run().await.unwrap();
        return;
    }
    let server = Server::start(Script::accept().send_close(1000, ""));
    let bytes = |text: &[u8]| OsString::from_vec(text.to_vec());
    let environment = [
        (CHILD, server.url().into()),
        ("http_proxy", bytes(b"http://us\xe9r:hunter2@127.0.0.1:9")),
        ("no_proxy", bytes(b"hunter2.\xff")),
    ];
    again("a_variable_that_is_not_utf8_is_refused_by_its_name_and_not_passed_over", environment)
        .await;
    assert_eq!(server.dials(), 2);
}

/// Connects for `transport_with`, and fails.
trait ConnectOwn {
    async fn connect_own(host: String, port: u16) -> std::io::Result<TcpStream>;
}

impl ConnectOwn for TcpStream {
    async fn connect_own(host: String, port: u16) -> std::io::Result<TcpStream> {
        assert_eq!((host.as_str(), port), ("127.0.0.1", 9));
        Err(std::io::ErrorKind::Other.into())
    }
}
