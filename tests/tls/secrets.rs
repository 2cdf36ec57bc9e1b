//! What is secret stays so: no log of any crate's, no event, no error and no `Debug` shows it, while
//! everything that there is to log is logged.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::fmt::{Debug, Display, Write as _};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use actix_ws_client::error::Verdict;
use actix_ws_client::feed::event::LineIs;
use actix_ws_client::feed::{self, Feed};
use actix_ws_client::testing::{Probe, Script, Server, ServerTls};
use actix_ws_client::{
    Attempt, ConfigError, Connection, ConnectionBuilder, Error, Outcome, Reconnect, Requests, Tls,
    View, command, event, nats,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::unbounded_channel;

const EC: &str = include_str!("keys/ec.pem");
const EC_PKCS8: &str = include_str!("keys/ec-pkcs8.pem");
const EC_SCRYPT: &str = include_str!("keys/ec-scrypt.pem");

/// The password of `EC_SCRYPT`.
const KEY_PASSWORD: &str = "hunter2";

/// Everything that was logged, by `tracing` and by `log`, in this process so far.
struct Log(Mutex<String>);

fn log() -> &'static Log {
    static LOG: OnceLock<&'static Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let all: &'static Log = Box::leak(Box::new(Log(Mutex::default())));
        log::set_logger(all).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        let traced = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || all)
            .finish();
        tracing::subscriber::set_global_default(traced).unwrap();
        all
    })
}

impl Log {
    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("log {} {}: {}\n", record.level(), record.target(), record.args());
        self.0.lock().unwrap().push_str(&line);
    }

    fn flush(&self) {}
}

impl io::Write for &Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What one test was shown, beside the log; and the types that `looks_at` was shown.
#[derive(Clone)]
struct Shown(Arc<Mutex<String>>, Arc<Mutex<BTreeSet<String>>>);

impl Shown {
    /// From here on all is logged too.
    fn new() -> Shown {
        log();
        Shown(Arc::default(), Arc::default())
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    fn debug(&self, what: &dyn Debug) {
        writeln!(self.0.lock().unwrap(), "{what:?}\n{what:#?}").unwrap();
    }

    /// A value as it is serialized, beside its `Debug`.
    fn json(&self, what: &(impl Debug + serde::Serialize)) {
        self.debug(what);
        writeln!(self.0.lock().unwrap(), "{}", serde_json::to_string(what).unwrap()).unwrap();
    }

    /// An event in all its forms.
    fn event(&self, event: &(impl Debug + Display + serde::Serialize)) {
        self.words(event);
        self.json(event);
    }

    /// A value of this crate's, whose type is noted.
    fn looks_at<T: Debug>(&self, what: &T) {
        let name = std::any::type_name::<T>();
        let name = name.strip_prefix("actix_ws_client::").unwrap_or(name);
        let name = name.split('<').next().unwrap_or(name);
        self.1.lock().unwrap().insert(name.to_owned());
        self.debug(what);
    }

    fn words(&self, what: &(impl Debug + Display)) {
        self.debug(what);
        writeln!(self.0.lock().unwrap(), "{what}\n{what:#}").unwrap();
    }

    /// An error, and whatever is behind it.
    fn error(&self, err: &Error) {
        self.words(err);
        let mut cause = err.source();
        while let Some(err) = cause {
            self.words(&err);
            cause = err.source();
        }
    }

    fn config_error(&self, err: &ConfigError) {
        self.words(err);
        assert!(err.source().is_none());
    }

    fn outcome(&self, outcome: &Outcome) {
        self.event(outcome);
        outcome.error.iter().for_each(|err| self.error(err));
    }

    /// Runs to the end, or to the first message, which has it closed. All there is to see of it is
    /// looked at.
    async fn run(&self, builder: ConnectionBuilder) -> Outcome {
        let probe = Probe::new();
        let builder = probe.attach(builder.proxy_timeout(Duration::from_secs(10)));
        self.debug(&builder);
        let (watch, reconnected) = (builder.watch(), self.clone());
        let connection = builder
            .on_reconnect_to(event::call(move |event: event::Reconnect| reconnected.event(&event)))
            .start()
            .unwrap();
        let closing = connection.clone();
        connection.do_send(command::Subscribe(event::call(move |_: event::Message| {
            closing.do_send(command::Close::normal())
        })));
        let outcome = probe.stopped().await;
        self.debug(&watch);
        self.debug(&probe.history());
        probe.all::<event::Open>().iter().for_each(|event| self.event(event));
        probe.all::<event::Error>().iter().for_each(|event| self.event(event));
        probe.all::<event::Close>().iter().for_each(|event| self.event(event));
        probe.all::<event::Stopped>().iter().for_each(|event| self.event(event));
        probe.all::<event::Error>().iter().for_each(|event| self.error(&event.error));
        self.outcome(&outcome);
        outcome
    }

    /// Looks for secrets in all that was shown and logged.
    fn hold_no(&self, secrets: &[&[u8]]) {
        let (shown, logged) = (self.text(), log().text());
        assert!(!shown.is_empty() && logged.contains("actix_ws_client"), "nothing was looked at");
        for (what, text) in [("shown", packed(&shown)), ("logged", packed(&logged))] {
            for secret in secrets {
                if let Some(found) = found(secret, &text) {
                    panic!("{} was {what}: {found}", String::from_utf8_lossy(secret));
                }
            }
        }
    }
}

/// A text without its blanks and in small letters: lists of bytes have blanks in them, and one
/// byte a line in the long form of `Debug`.
fn packed(text: &str) -> String {
    text.split_ascii_whitespace().collect::<String>().to_ascii_lowercase()
}

/// The surroundings of a secret in a packed text, in whatever form it may be there.
fn found(secret: &[u8], packed: &str) -> Option<String> {
    forms(secret).into_iter().find_map(|form| {
        let at = packed.find(&form.to_ascii_lowercase())?;
        let (from, to) = (at.saturating_sub(200), (at + 200).min(packed.len()));
        Some(String::from_utf8_lossy(&packed.as_bytes()[from..to]).into_owned())
    })
}

/// A secret as it may be written: itself and its base64, each as text or as a list of bytes.
fn forms(secret: &[u8]) -> BTreeSet<String> {
    let each =
        |bytes: &[u8], form: &dyn Fn(&u8) -> String| bytes.iter().map(form).collect::<Vec<_>>();
    let text = String::from_utf8_lossy(secret);
    let mut forms = BTreeSet::from([
        text.escape_debug().to_string(),
        secret.escape_ascii().to_string(),
        each(secret, &|byte| format!("%{byte:02x}")).concat(),
        each(secret, &|byte| format!(r"\x{byte:02x}")).concat(),
        each(secret, &|byte| format!("0x{byte:02x}")).join(","),
        // As it is percent-encoded in a URL: only what has to be.
        each(secret, &|byte| match byte {
            byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
            byte => format!("%{byte:02x}"),
        })
        .concat(),
    ]);
    // Base64 of it within something longer, which moves it by no, one or two bytes. What shares
    // its first or last letter with the neighbours is left out.
    let mut texts = vec![secret.to_vec()];
    for before in 0..3 {
        for engine in [&STANDARD, &URL_SAFE] {
            let packed = engine.encode([&vec![0; before], secret].concat());
            let (from, to) = ((before * 8).div_ceil(6), (before + secret.len()) * 8 / 6);
            texts.push(packed[from..to].into());
        }
    }
    for text in texts {
        forms.insert(each(&text, &|byte| format!("{byte:02x}")).concat());
        forms.insert(each(&text, &u8::to_string).join(","));
        forms.insert(String::from_utf8_lossy(&text).into_owned());
    }
    forms
}

/// A connection that dials three times at most, and fast.
fn to(url: impl Into<String>) -> ConnectionBuilder {
    Connection::builder(url)
        .proxy_from_env(false)
        .reconnect(Reconnect::fixed(Duration::from_millis(10)))
        .max_attempts(3)
}

/// `ws://userinfo@host:port/`
fn with_user_info(server: &Server, user_info: &str) -> String {
    format!("ws://{user_info}@{}/", server.addr())
}

#[test]
fn a_secret_is_found_in_every_form() {
    let secret = "p\u{e4}ss/w+rd:7";
    let pair = format!("user:{secret}");
    for text in [
        format!("Some({secret:?})"),
        format!("{:?}", secret.as_bytes()),
        format!("{:#?}", secret.as_bytes()),
        format!("{:?}", bytes::Bytes::from(secret)),
        format!("Basic {}", STANDARD.encode(&pair)),
        format!("Basic {}", STANDARD.encode(format!("us:{secret}!"))),
        format!("{:#?}", format!("Basic {}", STANDARD.encode(&pair)).into_bytes()),
        format!("Basic {}", STANDARD.encode(format!("u:{secret}??"))),
        URL_SAFE.encode(&pair),
        "ws://user:p%C3%A4ss%2Fw%2Brd%3A7@h".to_owned(),
    ] {
        assert!(found(secret.as_bytes(), &packed(&text)).is_some(), "{text}");
    }
    assert_eq!(found(secret.as_bytes(), "user:***, pass, w+rd:7"), None);
}

/// Greets, so that the run is closed; sets a cookie before.
fn greeting(cookie: &str) -> Script {
    Script::accept().header("Set-Cookie", format!("id={cookie}; Path=/")).send_text("hi")
}

#[actix::test]
async fn a_run_that_goes_well_shows_none_of_what_it_sends() {
    let shown = Shown::new();
    let (mut told, mut secrets) = (Vec::new(), Vec::new());
    for (index, auth) in ["url", "basic", "bearer"].into_iter().enumerate() {
        let secret = |place: &str| format!("{place}-of-{auth}-s3cr3t+{index}");
        let [user, word, token, made, cookie, kept, raw] =
            ["user", "word", "token", "made", "cookie", "kept", "raw"].map(secret);
        // The first socket is cut, so that the jar's cookie goes with the request of the second.
        let cut = Script::accept().header("Set-Cookie", format!("id={kept}")).drop_connection();
        let server = Server::start([cut, greeting(&kept)]);
        let attempts = shown.clone();
        let line = made.clone();
        let builder = match auth {
            "url" => to(with_user_info(&server, &format!("{user}:{}", word.replace('+', "%2B")))),
            "basic" => to(server.url()).basic_auth(&user, &word),
            _ => to(server.url()).bearer_auth(&word),
        };
        let builder = builder
            .header("X-Token", &token)
            .header_lines([format!("X-Raw: {raw}")])
            .cookie(format!("own={cookie}"))
            .headers_with(async move |attempt: Attempt| {
                attempts.debug(&attempt);
                Ok::<_, io::Error>([("X-Made", line.clone())])
            });
        let head = builder.request_head().unwrap();
        shown.debug(&head);
        let outcome = shown.run(builder).await;
        assert_eq!((outcome.epochs, outcome.error.is_none()), (2, true), "{outcome:?}");

        // They did go out: else there would be nothing to find.
        let request = &server.requests()[1];
        let expected = match auth {
            "bearer" => format!("Bearer {word}"),
            _ => format!("Basic {}", STANDARD.encode(format!("{user}:{word}"))),
        };
        assert_eq!(request.header("authorization"), Some(expected.as_str()));
        assert_eq!(request.header("x-token"), Some(token.as_str()));
        assert_eq!(request.header("x-made"), Some(made.as_str()));
        assert_eq!(request.header("x-raw"), Some(raw.as_str()));
        let cookies = request.header("cookie").unwrap();
        assert!(cookies.contains(&kept) && cookies.contains(&cookie), "{cookies}");
        told.push(head);
        secrets.extend([user, word, token, made, cookie, kept, raw]);
    }
    assert!(told.iter().all(|head| head.contains("Authorization: ***")), "{told:?}");
    // The most talkative targets were heard.
    let logged = log().text();
    for part in ["actix_ws_client::handshake", "actix_ws_client::frames", "log TRACE mio"] {
        assert!(logged.contains(part), "nothing of {part}");
    }
    shown.hold_no(&secrets.iter().map(String::as_bytes).collect::<Vec<_>>());
}

#[actix::test]
async fn status_and_handles_show_none_either() {
    let server = Server::start(Script::accept().header("Set-Cookie", "id=status-kept-s3cr3t"));
    let shown = Shown::new();
    let probe = Probe::new();
    let url = with_user_info(&server, "status-user-s3cr3t:status-word-s3cr3t");
    let builder = to(url).header("X-Token", "status-token-s3cr3t").cookie("a=status-own-s3cr3t");
    let connection = probe.attach(builder).start().unwrap();
    let open = probe.next::<event::Open>().await;
    shown.event(&open);
    shown.debug(&open.connection);
    shown.json(&open.handshake);
    shown.json(&connection.send(command::Status).await.unwrap());
    shown.debug(&connection.send(command::Watch).await.unwrap());
    shown.outcome(&connection.send(command::Close::normal()).await.unwrap());
    shown.hold_no(&[
        b"status-user-s3cr3t",
        b"status-word-s3cr3t",
        b"status-token-s3cr3t",
        b"status-own-s3cr3t",
        b"status-kept-s3cr3t",
    ]);
}

#[actix::test]
async fn a_run_that_is_refused_or_misled_shows_none() {
    let shown = Shown::new();
    let challenge = "Digest nonce=refused-nonce-s3cr3t";
    let wrong = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Set-Cookie: id=refused-kept-s3cr3t\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n";
    let cases = [
        (Script::refuse(401).header("WWW-Authenticate", challenge), "refused"),
        (Script::refuse(503).header("Set-Cookie", "id=refused-kept-s3cr3t"), "refused"),
        (Script::raw_reply(wrong), "handshake"),
        (Script::raw_reply("SSH-2.0-OpenSSH\r\n\r\n"), "handshake"),
        (Script::raw_reply("HTTP/1.1 4").drop_connection(), "io"),
        (Script::accept().send_raw(&b"\x83\x00"[..]), "protocol"),
    ];
    for (script, stage) in cases {
        let server = Server::start(script);
        let url = with_user_info(&server, "refused-user-s3cr3t:refused-word-s3cr3t");
        let builder = to(url)
            .header("X-Token", "refused-token-s3cr3t")
            .cookie("a=refused-own-s3cr3t")
            .connect_timeout(Duration::from_secs(2));
        let outcome = shown.run(builder).await;
        let error = outcome.error.unwrap();
        assert_eq!(error.stage(), stage, "{error:?}");
    }
    shown.hold_no(&[
        b"refused-user-s3cr3t",
        b"refused-word-s3cr3t",
        b"refused-token-s3cr3t",
        b"refused-own-s3cr3t",
        b"refused-kept-s3cr3t",
        b"refused-nonce-s3cr3t",
    ]);
}

/// What people send to a server that has an echo in it: each of these is text of the server's, which may be repeated only
/// where nothing else could be read of it.
#[actix::test]
async fn what_a_peer_repeats_of_a_request_is_not_shown() {
    let shown = Shown::new();
    let cases = [
        // As servers for debugging do.
        (Script::refuse(401).body("no user for X-Token: repeated-token-s3cr3t"), "refused"),
        (
            Script::raw_reply("-ERR unknown command 'GET' '/?repeated-ticket-s3cr3t'\r\n"),
            "handshake",
        ),
        (Script::raw_reply("500 what is /?repeated-ticket-s3cr3t\r\n"), "handshake"),
        (Script::raw_reply("GET /?repeated-ticket-s3cr3t HTTP/1.1\r\n\r\n"), "handshake"),
        (Script::raw_reply("HTTP/1.1 /?repeated-ticket-s3cr3t\r\n\r\n"), "handshake"),
    ];
    for (script, stage) in cases {
        let server = Server::start(script);
        let builder = to(server.url()).header("X-Token", "repeated-token-s3cr3t");
        let outcome = shown.run(builder).await;
        assert_eq!(outcome.error.unwrap().stage(), stage);
    }
    shown.hold_no(&[b"repeated-token-s3cr3t", b"repeated-ticket-s3cr3t"]);
}

/// A refused message is in its error, and `unwrap` prints that.
#[actix::test]
async fn a_message_that_is_not_sent_is_not_shown() {
    const KEY: &str = r#"{"key":"message-key-s3cr3t"}"#;
    let shown = Shown::new();
    let server = Server::start(Script::no_reply());
    let connection = to(server.url()).start().unwrap();
    let text = || command::Send::text(KEY);
    let batch = || command::SendBatch::new([text(), command::Send::binary(KEY), text()]);
    shown.looks_at(&text());
    shown.looks_at(&batch());
    let refused = connection.send(text()).await.unwrap().unwrap_err();
    shown.looks_at(&refused);
    shown.words(&refused);
    let unsent = connection.send(batch()).await.unwrap().unwrap_err();
    shown.looks_at(&unsent);
    shown.words(&unsent);
    assert_eq!(unsent.error.clone().into_payload().as_text(), Some(KEY));
    assert_eq!(unsent.rest[0].len(), KEY.len());
    shown.hold_no(&[b"message-key-s3cr3t"]);
}

#[actix::test]
async fn a_redirect_to_another_origin_names_the_lines_that_it_leaves_out_and_no_more() {
    let shown = Shown::new();
    let there = Server::start(Script::accept().send_text("hi"));
    let here = Server::start(Script::refuse(302).header("Location", there.url()));
    let proxy = connecting_proxy().await;
    for through in [None, Some(format!("http://away-user-s3cr3t:away-word-s3cr3t@{proxy}"))] {
        let url = with_user_info(&here, "away-name-s3cr3t:away-pass-s3cr3t");
        let line = "away-made-s3cr3t";
        let builder = to(url)
            .header("X-Api-Key", "away-key-s3cr3t")
            .headers_with(async move |_| Ok::<_, io::Error>([("X-Made", line)]))
            .cookie("a=away-own-s3cr3t")
            .no_reconnect();
        let builder = through.iter().fold(builder, |it, proxy| it.proxy(proxy).no_proxy(""));
        let outcome = shown.run(builder).await;
        assert!(outcome.error.is_none(), "{outcome:?}");
    }
    for request in there.requests() {
        for name in ["x-api-key", "x-made", "cookie", "authorization", "proxy-authorization"] {
            assert_eq!(request.header(name), None);
        }
    }
    assert_eq!((here.dials(), there.dials()), (2, 2));
    assert!(here.requests().iter().all(|it| it.header("x-made") == Some("away-made-s3cr3t")));
    let logged = log().text();
    assert!(logged.contains("Authorization, Cookie, X-Api-Key, X-Made"), "the names are missing");
    shown.hold_no(&[
        b"away-key-s3cr3t",
        b"away-made-s3cr3t",
        b"away-own-s3cr3t",
        b"away-name-s3cr3t",
        b"away-pass-s3cr3t",
        b"away-user-s3cr3t",
        b"away-word-s3cr3t",
    ]);
}

/// A proxy for CONNECT that goes to the address that it is asked for.
async fn connecting_proxy() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    actix::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            actix::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let mut there = TcpStream::connect(target).await?;
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                copy_bidirectional(&mut stream, &mut there).await
            });
        }
    });
    addr
}

/// The public types that hold a secret, or stand so near to one that their `Debug` might show it: those of the table in
/// docs/security.md. The test below looks at a value of each.
const NEAR_SECRETS: [&str; 42] = [
    "command::handle::Handle",
    "command::send::Send",
    "command::batch::SendBatch",
    "command::send::SendError",
    "command::batch::Unsent",
    "command::status::Handshake",
    "command::status::Outcome",
    "command::status::Status",
    "command::watch::Watch",
    "connection::builder::ConnectionBuilder",
    "error::ConfigError",
    "error::ConnectError",
    "error::Error",
    "error::handshake::HandshakeError",
    "error::ProxyError",
    "error::RedirectError",
    "error::tls::TlsError",
    "error::refusal::Refusal",
    "event::Close",
    "event::Error",
    "event::Next",
    "event::Open",
    "event::Outage",
    "event::Reconnect",
    "event::State",
    "event::Stopped",
    "event::kinds::Event",
    "feed::builder::Builder",
    "feed::command::FeedStatus",
    "feed::command::LineStatus",
    "feed::dialect::Attempt",
    "feed::dialect::Dial",
    "feed::event::Cause",
    "feed::event::LineIs",
    "feed::event::LineState",
    "feed::request::Request",
    "headers::Headers",
    "nats::options::Options",
    "options::per_dial::Attempt",
    "requests::error::AskError",
    "tls::options::Tls",
    "tls::server::ServerTls",
];

#[actix::test]
async fn every_public_type_near_a_secret_is_looked_at() {
    let shown = Shown::new();
    let (user, word) = ("every-user-s3cr3t", "every-word-s3cr3t");
    let cookie = |script: Script| script.header("Set-Cookie", "id=every-kept-s3cr3t");
    let challenge = "Digest nonce=every-nonce-s3cr3t";
    let (pem, key) = {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    };
    shown.looks_at(&ServerTls::from_pem(pem.as_bytes(), key.as_bytes()));
    let tls = Tls::new().ca_pem(pem.as_bytes()).unwrap();
    let tls = tls.client_cert_pem(EC.as_bytes(), EC_SCRYPT.as_bytes()).unwrap();
    let tls = tls.client_key_password("every-lock-s3cr3t");
    shown.looks_at(&tls);

    // A refusal, a socket that is lost, another one.
    let refused = || cookie(Script::refuse(503)).header("WWW-Authenticate", challenge);
    let lost = cookie(Script::accept()).send_raw(&b"\x83\x00"[..]);
    let server = Server::start([refused(), lost, cookie(Script::accept())]);
    let probe = Probe::new();
    let attempts = shown.clone();
    let builder = to(with_user_info(&server, &format!("{user}:{word}")))
        .tls(tls)
        .header("X-Token", "every-token-s3cr3t")
        .cookie("a=every-own-s3cr3t")
        .retry_if(|_| Verdict::RETRY)
        .headers_with(async move |attempt: Attempt| {
            attempts.looks_at(&attempt);
            Ok::<_, io::Error>([("X-Made", "every-made-s3cr3t")])
        });
    let builder = probe.attach(builder);
    let reconnected = shown.clone();
    let builder = builder.on_reconnect_to(event::call(move |event: event::Reconnect| {
        reconnected.looks_at(&event);
    }));
    shown.looks_at(&builder);
    shown.looks_at(&builder.watch());
    shown.words(&builder.request_head().unwrap());
    let connection = builder.start().unwrap();
    let refusal = probe.next::<event::Error>().await;
    shown.looks_at(&refusal);
    shown.looks_at(&refusal.error);
    shown.looks_at(&refusal.next);
    let Error::Refused(refused) = &refusal.error else { panic!("{refusal:?}") };
    shown.looks_at(&**refused);
    shown.looks_at(&refused.headers);
    let open = probe.next_where(|open: &event::Open| open.epoch == 2).await;
    shown.looks_at(&open);
    shown.looks_at(open.outage.as_ref().unwrap());
    shown.looks_at(&*open.handshake);
    shown.looks_at(&open.connection);
    shown.looks_at(&connection.send(command::Status).await.unwrap());
    let full = command::Send::text("every-key-s3cr3t".repeat(1 << 18));
    shown.looks_at(&full);
    let refused = connection.send(full.clone()).await.unwrap().unwrap_err();
    shown.looks_at(&refused);
    let batch = command::SendBatch::new([full.clone(), full]);
    shown.looks_at(&batch);
    shown.looks_at(&connection.send(batch).await.unwrap().unwrap_err());
    let outcome = connection.send(command::Close::normal()).await.unwrap();
    shown.looks_at(&outcome);
    shown.looks_at(&probe.next::<event::Close>().await);
    probe.stopped().await;
    probe.all::<event::Stopped>().iter().for_each(|event| shown.looks_at(event));
    probe.all::<event::State>().iter().for_each(|event| shown.looks_at(event));
    probe.history().iter().for_each(|event| shown.looks_at(event));

    // Each kind of error that a dial can end with.
    shown.looks_at(&to(format!("http://{user}:{word}@h/")).start().unwrap_err());
    let ended = async |builder: ConnectionBuilder| {
        let outcome = builder.cookie("a=every-own-s3cr3t").no_reconnect().run().await.unwrap();
        outcome.error.unwrap()
    };
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let Error::Connect(err) = ended(to(format!("ws://{user}:{word}@{closed}/"))).await else {
        panic!("something listens there")
    };
    shown.looks_at(&err);
    let no_http = Server::start(Script::raw_reply("every-noise\r\n"));
    let Error::Handshake(err) = ended(to(with_user_info(&no_http, word))).await else {
        panic!("noise is a reply")
    };
    shown.looks_at(&err);
    let away = Script::refuse(302).header("Location", format!("ftp://{user}:{word}@h/"));
    let away = Server::start(away);
    let Error::Redirect(err) = ended(to(away.url())).await else { panic!("followed") };
    shown.looks_at(&err);
    let wants = "HTTP/1.1 407 No\r\nProxy-Authenticate: Digest nonce=every-nonce-s3cr3t\r\n\r\n";
    let asked = proxy(&[(HEAD, wants.as_bytes())], None).await;
    let through = to("ws://feed.invalid/").proxy(format!("http://{user}:{word}@{asked}"));
    let Error::Proxy(err) = ended(through).await else { panic!("let through") };
    shown.looks_at(&err);
    let (_, stranger) = secure(Script::accept());
    let Error::Tls(err) = ended(to(stranger.url())).await else { panic!("trusted") };
    shown.looks_at(&err);

    let broker = nats::Options::new(format!("nats://{user}:{word}@h")).token("every-broker-s3cr3t");
    shown.looks_at(&broker.creds_file("/every-file-s3cr3t"));

    let asker = Requests::<u64>::new(|_| None);
    let asked = asker.ask(1, command::Send::text("every-asked-s3cr3t")).await;
    shown.looks_at(&asked.unwrap_err());

    let refused = cookie(Script::refuse(503)).header("WWW-Authenticate", challenge);
    let server = Server::start([refused, cookie(Script::accept())]);
    look_at_a_feed(&shown, with_user_info(&server, &format!("{user}:{word}"))).await;
    assert_eq!(server.next_message().await.as_text(), Some("every-login-s3cr3t"));

    let looked_at = shown.1.lock().unwrap().clone();
    assert_eq!(looked_at, BTreeSet::from(NEAR_SECRETS.map(String::from)));
    shown.hold_no(&[
        user.as_bytes(),
        word.as_bytes(),
        b"every-token-s3cr3t",
        b"every-made-s3cr3t",
        b"every-own-s3cr3t",
        b"every-kept-s3cr3t",
        b"every-nonce-s3cr3t",
        b"every-lock-s3cr3t",
        b"every-key-s3cr3t",
        b"every-login-s3cr3t",
        b"every-asked-s3cr3t",
        b"every-broker-s3cr3t",
    ]);
}

/// A venue that says nothing.
struct Mute;

impl feed::Dialect for Mute {
    type Item = ();

    fn login(&mut self) -> Option<feed::Request> {
        Some(feed::Request::text("every-login-s3cr3t").secret())
    }

    fn subscribe(&mut self, _: feed::RequestId, _: &[feed::Topic]) -> feed::Request {
        feed::Request::text("subscribe")
    }

    fn read<'m>(&mut self, _: View<'m>) -> feed::Said<'m, ()> {
        feed::Said::Nothing
    }
}

/// Looks at the parts of a feed, and at what it says of a line whose first dial is refused.
async fn look_at_a_feed(shown: &Shown, url: String) {
    shown.looks_at(&feed::Request::text("every-key-s3cr3t"));
    let attempts = shown.clone();
    let (sender, mut states) = unbounded_channel();
    let builder = Feed::builder(async move |attempt| {
        attempts.looks_at(&attempt);
        let dial = feed::Dialect::at(Mute, &url).header("X-Token", "every-token-s3cr3t");
        attempts.looks_at(&dial);
        Ok(dial)
    })
    .threads(feed::Threads::Here)
    .connection(|builder| builder.proxy_from_env(false).cookie("a=every-own-s3cr3t"))
    .on::<feed::event::LineState>(event::call(move |state| drop(sender.send(state))));
    shown.looks_at(&builder);
    let feed = builder.topics(["a"]).start().unwrap();
    loop {
        let state = states.recv().await.expect("the feed runs");
        shown.looks_at(&state);
        shown.looks_at(&state.state);
        shown.json(&state);
        match &state.state {
            LineIs::Down { cause: Some(cause) } => shown.looks_at(cause),
            LineIs::LoggingIn => break,
            _ => {}
        }
    }
    let status = feed.send(feed::command::Status).await.unwrap();
    shown.looks_at(&status);
    shown.looks_at(&status.lines[0]);
    shown.json(&status);
    feed.send(feed::command::Close::default()).await.unwrap();
}

#[actix::test]
async fn a_redirect_shows_neither_who_asked_nor_what_is_in_its_location() {
    let shown = Shown::new();
    let there = Server::start(greeting("moved-kept-s3cr3t"));
    let location = format!("ws://moved-other-s3cr3t:moved-pass-s3cr3t@{}/", there.addr());
    let here = Server::start(
        Script::refuse(302)
            .header("Location", &location)
            .header("Set-Cookie", "id=moved-kept-s3cr3t"),
    );
    let from = || {
        let url = with_user_info(&here, "moved-user-s3cr3t:moved-word-s3cr3t");
        to(url).header("Cookie", "a=moved-own-s3cr3t").no_reconnect()
    };
    let outcome = shown.run(from()).await;
    assert!(outcome.error.is_none(), "{outcome:?}");
    let request = &there.requests()[0];
    assert_eq!((request.header("authorization"), request.header("cookie")), (None, None));
    // Not followed, it is kept in the refusal.
    let outcome = shown.run(from().redirects(0)).await;
    assert!(matches!(&outcome.error, Some(Error::Refused(_))), "{outcome:?}");
    for location in [
        "ftp://moved-other-s3cr3t:moved-pass-s3cr3t@h/",
        "moved-other-s3cr3t:moved-pass-s3cr3t@h",
        "ws://moved-other-s3cr3t:moved-pass-s3cr3t@h:0/",
    ] {
        let astray = Server::start(Script::refuse(307).header("Location", location));
        let outcome = shown.run(to(astray.url())).await;
        assert!(matches!(&outcome.error, Some(Error::Redirect(_))), "{outcome:?}");
    }
    shown.hold_no(&[
        b"moved-user-s3cr3t",
        b"moved-word-s3cr3t",
        b"moved-own-s3cr3t",
        b"moved-kept-s3cr3t",
        b"moved-other-s3cr3t",
        b"moved-pass-s3cr3t",
    ]);
}

/// How much a proxy reads, and what it answers.
type Turn<'a> = (usize, &'a [u8]);

/// A proxy that reads so many bytes, or a head, and answers, in turn, then passes all on; where
/// there is nowhere to pass it on to, it hangs up.
async fn proxy(turns: &[Turn<'_>], onward: Option<SocketAddr>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let turns: Vec<(usize, Vec<u8>)> = turns.iter().map(|(n, say)| (*n, say.to_vec())).collect();
    actix::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // An error is a client that has gone.
            let _ = pass(stream, &turns, onward).await;
        }
    });
    addr
}

async fn pass(
    mut stream: TcpStream,
    turns: &[(usize, Vec<u8>)],
    onward: Option<SocketAddr>,
) -> io::Result<()> {
    for (count, answer) in turns {
        let mut read = Vec::new();
        while if *count == HEAD { !read.ends_with(b"\r\n\r\n") } else { read.len() < *count } {
            read.push(stream.read_u8().await?);
        }
        stream.write_all(answer).await?;
    }
    match onward {
        Some(addr) => {
            let mut there = TcpStream::connect(addr).await?;
            copy_bidirectional(&mut stream, &mut there).await.map(drop)
        }
        None => stream.shutdown().await,
    }
}

/// In the place of a count: a whole head.
const HEAD: usize = usize::MAX;

#[actix::test]
async fn a_proxy_shows_none_whether_it_lets_through_or_not() {
    const USER: &str = "proxy-user-s3cr3t";
    const WORD: &str = "proxy-word-s3cr3t";
    let shown = Shown::new();
    let server = Server::start(Script::accept().send_text("hi"));
    let onward = Some(server.addr());
    // RFC 1929, 2
    let asked = 1 + 1 + USER.len() + 1 + WORD.len();
    let (choice, well, bad) = (&b"\x05\x02"[..], &b"\x01\x00"[..], &b"\x01\x01"[..]);
    let there = &b"\x05\x00\x00\x01\0\0\0\0\0\0"[..];
    let nowhere = &b"\x05\x01\x00\x01\0\0\0\0\0\0"[..];
    let refusal = b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n";
    let cases: [(&str, Vec<Turn<'_>>, bool); 8] = [
        ("http", vec![(HEAD, b"HTTP/1.1 200 OK\r\n\r\n")], true),
        ("http", vec![(HEAD, refusal)], false),
        ("http", vec![(HEAD, b"SSH-2.0-OpenSSH\r\n\r\n")], false),
        ("http", vec![(HEAD, b"")], false),
        ("socks5", vec![(4, choice), (asked, well), (10, there)], true),
        ("socks5", vec![(4, choice), (asked, bad)], false),
        ("socks5", vec![(4, choice), (asked, well), (10, nowhere)], false),
        ("socks5", vec![(4, b"\x05\xff")], false),
    ];
    for (scheme, turns, passes) in cases {
        let addr = proxy(&turns, onward.filter(|_| passes)).await;
        let builder = to(server.url()).proxy(format!("{scheme}://{USER}:{WORD}@{addr}"));
        let outcome = shown.run(builder.max_attempts(2)).await;
        match (passes, &outcome.error) {
            (true, None) => {}
            (false, Some(err)) => assert_eq!(err.stage(), "proxy", "{scheme} {turns:?}"),
            other => panic!("{scheme} {turns:?}: {other:?}"),
        }
    }
    // A user without a password, for SOCKS4.
    let addr = proxy(&[(9 + USER.len(), b"\x00\x5a\0\0\0\0\0\0")], onward).await;
    let outcome = shown.run(to(server.url()).proxy(format!("socks4://{USER}@{addr}"))).await;
    assert!(outcome.error.is_none(), "{outcome:?}");
    shown.hold_no(&[USER.as_bytes(), WORD.as_bytes()]);
}

/// Serves one script over TLS to clients that have the certificate `EC`; returns the server's own
/// certificate too, as PEM.
fn secure(script: Script) -> (String, Server) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let tls = ServerTls::from_pem_with_client_ca(pem.as_bytes(), key.as_bytes(), EC.as_bytes());
    (pem, Server::start_tls(script, tls))
}

#[actix::test]
async fn tls_shows_neither_the_key_nor_its_password() {
    let shown = Shown::new();
    let (pem, server) = secure(Script::accept().send_text("hi"));
    let trusting = || Tls::new().ca_pem(pem.as_bytes()).unwrap();
    let known = trusting().client_cert_pem(EC.as_bytes(), EC_SCRYPT.as_bytes()).unwrap();
    let known = known.client_key_password(KEY_PASSWORD);
    shown.debug(&known);
    let port = server.addr().port();
    let url = format!("wss://tls-user-s3cr3t:tls-word-s3cr3t@localhost:{port}/");
    let to_it = |tls| to(&url).tls(tls).cookie("a=tls-own-s3cr3t").max_attempts(1);
    let outcome = shown.run(to_it(known)).await;
    assert!(outcome.error.is_none(), "{outcome:?}");
    // Without the certificate the server refuses us, without the authority we refuse the server.
    for tls in [trusting(), Tls::new()] {
        let outcome = shown.run(to_it(tls)).await;
        assert_eq!(outcome.error.unwrap().stage(), "tls");
    }
    let wrong = trusting().client_cert_pem(EC.as_bytes(), EC_SCRYPT.as_bytes()).unwrap();
    let wrong = wrong.client_key_password("tls-wrong-s3cr3t");
    shown.config_error(&to(&url).tls(wrong).start().unwrap_err());
    let nobody = trusting().client_key_password("tls-wrong-s3cr3t");
    shown.config_error(&to(&url).tls(nobody).start().unwrap_err());
    // 32 bytes of a P-256 key: RFC 5915, 3, within PKCS#8.
    let key = PrivateKeyDer::from_pem_slice(EC_PKCS8.as_bytes()).unwrap();
    let secret = &key.secret_der()[36..68];
    assert_eq!(key.secret_der()[34..36], [4, 32]);
    assert!(log().text().contains("log DEBUG rustls::client"), "rustls was not heard");
    shown.hold_no(&[
        KEY_PASSWORD.as_bytes(),
        b"tls-user-s3cr3t",
        b"tls-word-s3cr3t",
        b"tls-own-s3cr3t",
        b"tls-wrong-s3cr3t",
        secret,
    ]);
}

#[actix::test]
async fn a_setting_that_cannot_be_is_refused_without_being_shown() {
    let shown = Shown::new();
    let any = || to("ws://localhost/");
    let urls = [
        "wrong-s3cr3t",
        "wrong-s3cr3t:wrong-w0rd@h",
        "user:wrong-s3cr3t@h",
        "user:wrong-s3cr3t@h:80/feed",
        "http://user:wrong-s3cr3t@h/",
        "ws://user:wrong-s3cr3t@",
        "ws://user:wrong-s3cr3t@h:0/",
        "ws://user:wrong-s3cr3t@h:99999/",
        "ws://user:wrong-s3cr3t@[::1/",
        "ws://user:wrong-s3cr3t@a b/",
        "ws:///wrong-s3cr3t@h/",
    ];
    let proxies = [
        "wrong-s3cr3t",
        "user:wrong-s3cr3t@h:3128",
        "http://user:wrong-s3cr3t@",
        "http://user:wrong-s3cr3t@h:0",
        "http://user:wrong-s3cr3t@a b",
        "ftp://user:wrong-s3cr3t@h",
        "socks4://user:wrong-s3cr3t@h",
        "socks5://:wrong-s3cr3t@h",
        "http://wrong-s3cr3t%3A:wrong-s3cr3t@h",
        "http://user:wrong-s3cr3t%ff@h",
    ];
    let mut builders: Vec<(&str, ConnectionBuilder)> = vec![
        ("bearer_auth", any().bearer_auth("a wrong-s3cr3t")),
        ("bearer_auth", any().bearer_auth("wrong-s3cr3t\r\nX: y")),
        ("basic_auth", any().basic_auth("wrong:s3cr3t", "wrong-s3cr3t")),
        ("basic_auth", any().basic_auth("user", "wrong-s3cr3t\r\n")),
        ("header", any().header("X-Token", "wrong-s3cr3t\r\nX: y")),
        ("header", any().header("X-Token: wrong-s3cr3t", "")),
        ("header", any().header("wrong-s3cr3t, you see", "X-Token")),
        ("header", any().headers([("Connection", "wrong-s3cr3t")])),
        ("header", any().header_lines(["wrong-s3cr3t"])),
        ("header", any().header_lines(["X Token wrong-s3cr3t: x"])),
        ("header", any().header("Cookie", "a=wrong-s3cr3t").header("Cookie", "b=wrong-s3cr3t")),
        ("cookie", any().cookie("a=wrong-s3cr3t\r\n")),
    ];
    builders.extend(urls.into_iter().map(|url| ("url", to(url))));
    builders.extend(proxies.into_iter().map(|proxy| ("proxy", any().proxy(proxy))));
    for (option, builder) in builders {
        shown.debug(&builder);
        let err = builder.start().unwrap_err();
        shown.config_error(&err);
        assert!(err.to_string().starts_with(&format!("{option}: ")), "{err}");
    }

    // What the application makes for an attempt is held to the same.
    let lines = any().headers_with(async |_| Ok::<_, io::Error>([("X Wrong-s3cr3t", "x")]));
    let value = any().headers_with(async |_| Ok::<_, io::Error>([("X-Token", "wrong-s3cr3t\n")]));
    let url = any().url_with(async |_| Ok::<_, io::Error>("http://user:wrong-s3cr3t@h/"));
    for builder in [lines, value, url] {
        let outcome = shown.run(builder).await;
        assert!(matches!(outcome.error, Some(Error::Handler(_))), "{outcome:?}");
    }
    shown.hold_no(&[b"wrong-s3cr3t", b"wrong:s3cr3t", b"wrong-w0rd"]);
}

/// The one place where a URL's query is shown: the request line is logged as it is sent.
#[actix::test]
async fn a_query_is_shown_by_the_trace_of_the_handshake_alone() {
    const TICKET: &[u8] = b"query-ticket-s3cr3t";
    let shown = Shown::new();
    let server = Server::start([Script::refuse(503), Script::accept().send_text("hi")]);
    let outcome = shown.run(to(format!("{}?query-ticket-s3cr3t", server.url()))).await;
    assert!(outcome.error.is_none(), "{outcome:?}");
    assert_eq!(found(TICKET, &packed(&shown.text())), None);
    let logged = log().text();
    let with_it: Vec<&str> =
        logged.lines().filter(|line| found(TICKET, &packed(line)).is_some()).collect();
    assert_eq!(with_it.len(), 2, "{with_it:#?}");
    let is_traced = |line: &&str| {
        line.contains(" TRACE ") && line.contains(": actix_ws_client::handshake: request ")
    };
    assert!(with_it.iter().all(is_traced), "{with_it:#?}");
}
