//! The connection to the broker, with the stream that was checked.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use serde_json::Value;
use tokio::sync::watch;

use crate::nats::error::Error;
use crate::nats::options::{Notice, OnNotice, Options, parse};
use crate::nats::stream;
use crate::nats::subject::Subject;
use crate::nats::wire::{self, BrokerClock};
use crate::tls::Tls;

/// A connection to a broker, and a stream that can take what is published. Clones share the connection.
///
/// It needs the tokio runtime that it was made in.
#[derive(Clone)]
pub struct Broker {
    pub(crate) client: Client,
    pub(crate) options: Arc<Options>,
    pub(crate) subject: Subject,
    pub(crate) connection: watch::Receiver<Connection>,
    pub(crate) clock: BrokerClock,
}

/// Whether the connection is open, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) is_open: bool,
    /// How often it was opened.
    pub(crate) opened: u64,
    /// Since when it has been open, or lost.
    pub(crate) since: Instant,
    /// Why it was not opened again so far.
    pub(crate) failure: Option<Arc<str>>,
}

impl Connection {
    pub(crate) fn new(now: Instant) -> Connection {
        Connection { is_open: false, opened: 0, since: now, failure: None }
    }

    fn open(&mut self, now: Instant) {
        *self = Connection { is_open: true, opened: self.opened + 1, since: now, failure: None };
    }

    fn lose(&mut self, now: Instant) {
        if std::mem::replace(&mut self.is_open, false) {
            self.since = now;
        }
    }

    /// Notes why a dial has failed.
    fn fail(&mut self, why: &Arc<str>) {
        if !self.is_open {
            self.failure = Some(why.clone());
        }
    }
}

/// How long a dial may take, and an answer of the broker.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The time between two pings. A broker that leaves two of them without an answer is lost.
const PING_INTERVAL: Duration = Duration::from_secs(3);

/// The longest delay between two dials.
const LONGEST_DELAY: Duration = Duration::from_secs(2);

impl Options {
    /// Connects, and checks the stream or creates it. While the broker is not reached it tries again, without end; each
    /// failure is a [`Notice`].
    ///
    /// # Errors
    /// What another attempt would not mend, see [`Error`].
    pub async fn connect(self) -> Result<Broker, Error> {
        let options = self;
        options.check()?;
        let subject = Subject::parse(&options.subject)?;
        let notify = options.on_notice.clone().unwrap_or_else(|| Arc::new(|_| {}));
        let (state, connection) = watch::channel(Connection::new(Instant::now()));
        let state = Arc::new(state);
        let mut attempt = 0;
        let client = loop {
            let settings = settings(&options, state.clone(), notify.clone())?;
            match settings.connect(addresses(&options.url)?).await {
                Ok(client) => break client,
                Err(err) => match refusal(&err) {
                    Some(why) => return Err(Error::Refused { why: why.into() }),
                    None => notify(Notice::Unreachable { why: failure(&err).into() }),
                },
            }
            attempt += 1;
            tokio::time::sleep(delay(attempt)).await;
        };
        let clock = loop {
            let found = stream_of(&client, &options, &subject).await;
            match found {
                Ok(clock) => break clock,
                Err(Wrong::ForGood(err)) => return Err(err),
                Err(Wrong::ForNow(why)) => notify(Notice::Unreachable { why: why.into() }),
            }
            tokio::time::sleep(LONGEST_DELAY).await;
        };
        let options = Arc::new(options);
        Ok(Broker { client, options, subject, connection, clock })
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Returns the delay before the next dial.
fn delay(attempt: usize) -> Duration {
    let doubled = Duration::from_millis(50) * (1 << attempt.min(6));
    doubled.min(LONGEST_DELAY)
}

/// Returns the addresses of a list of URLs, without what is secret in them: async-nats shows addresses in its log.
fn addresses(urls: &str) -> Result<Vec<ServerAddr>, Error> {
    let mut addresses = Vec::new();
    for url in parse(urls)? {
        let mut url = url;
        // A URL with a host can have both.
        let _ = (url.set_username(""), url.set_password(None));
        let address = ServerAddr::from_url(url).map_err(|err| Error::url(&err.to_string()))?;
        addresses.push(address);
    }
    Ok(addresses)
}

/// Returns what async-nats connects with.
fn settings(
    options: &Options,
    state: Arc<watch::Sender<Connection>>,
    notify: OnNotice,
) -> Result<ConnectOptions, Error> {
    let mut settings = ConnectOptions::new()
        .name("actix-ws-client")
        .connection_timeout(TIMEOUT)
        .ping_interval(PING_INTERVAL)
        .reconnect_delay_callback(delay)
        .client_capacity(options.in_flight + 256)
        .event_callback(move |event| {
            handle(event, &state, &notify);
            std::future::ready(())
        });
    let urls = parse(&options.url)?;
    if let Some(token) = &options.token {
        settings = settings.token(token.reveal().to_owned());
    }
    if let Some(url) = urls.iter().find(|url| !url.username().is_empty()) {
        let plain = |text: &str| {
            percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
        };
        settings = match url.password() {
            Some(password) => settings.user_and_password(plain(url.username()), plain(password)),
            // As every client of NATS has it.
            None => settings.token(plain(url.username())),
        };
    }
    if let Some(path) = &options.creds_file {
        let failed = |err: io::Error| Error::file("creds_file", path, &err);
        let text = std::fs::read_to_string(path).map_err(failed)?;
        // The error does not quote the text, which is secret.
        let no_credentials = |err: io::Error| {
            failed(io::Error::other(format!(
                "it is no file of credentials as nsc writes it: {err}"
            )))
        };
        settings = settings.credentials(&text).map_err(no_credentials)?;
    }
    with_tls(settings, options, urls.iter().any(|url| url.scheme() == "tls"))
}

/// Adds the configuration of TLS, with the provider of cryptography that `wss` connections use. Without it async-nats
/// takes the default of the process, and panics if two providers are compiled in and none is installed.
fn with_tls(
    settings: ConnectOptions,
    options: &Options,
    is_tls_url: bool,
) -> Result<ConnectOptions, Error> {
    let (tls, settings) = match &options.authorities_file {
        None => (Ok(Tls::new()), settings),
        Some(path) => {
            std::fs::metadata(path).map_err(|err| Error::file("authorities_file", path, &err))?;
            (Tls::new().ca_file(path), settings.require_tls(true))
        }
    };
    let config = tls.and_then(|tls| tls.config_without_alpn(|name| std::env::var_os(name)));
    match (config, &options.authorities_file) {
        (Ok(config), _) => Ok(settings.tls_client_config(config)),
        (Err(err), Some(_)) => {
            // It has the path, behind the name that the option has for connections.
            let why = err.to_string();
            Err(Error::option("authorities_file", why.strip_prefix("ca: ").unwrap_or(&why)))
        }
        (Err(err), None) if is_tls_url => Err(Error::url(&format!("no TLS: {err}"))),
        // A machine without authorities, or a build without a provider, has brokers without TLS.
        (Err(_), None) => Ok(settings),
    }
}

/// Notes what becomes of the connection.
fn handle(event: Event, state: &watch::Sender<Connection>, notify: &OnNotice) {
    match event {
        Event::Connected => {
            state.send_modify(|it| it.open(Instant::now()));
            notify(Notice::Connected);
        }
        Event::Disconnected | Event::Closed => {
            state.send_modify(|it| it.lose(Instant::now()));
            notify(Notice::Disconnected);
        }
        Event::ClientError(err) => {
            // Between two dials it says why the first one failed.
            let why: Arc<str> = words(&err.to_string()).into();
            state.send_modify(|it| it.fail(&why));
            notify(Notice::Unreachable { why });
        }
        Event::ServerError(err) => {
            tracing::warn!(%err, "the broker reports an error");
        }
        Event::LameDuckMode | Event::Draining | Event::SlowConsumer(_) => {}
    }
}

/// Returns why another dial would fail in the same way, if it would.
fn refusal(err: &ConnectError) -> Option<String> {
    let why = failure(err);
    match err.kind() {
        ConnectErrorKind::AuthorizationViolation => Some(format!(
            "{why}: it expects credentials, or others than these; see `creds_file` and `token`"
        )),
        ConnectErrorKind::Authentication | ConnectErrorKind::ServerParse => Some(why),
        ConnectErrorKind::Tls => Some(format!("TLS: {why}")),
        // async-nats reads the store of the system also where it needs none.
        ConnectErrorKind::Io if why.contains("could not load platform certs") => Some(format!(
            "TLS: {why}; the system's certificates have to be readable, also with `authorities_file`: look at SSL_CERT_FILE and SSL_CERT_DIR"
        )),
        // What rustls finds wrong, such as the certificate, comes as a failure to read.
        ConnectErrorKind::Io if is_tls(err) => Some(format!(
            "TLS: {why}; expected is a certificate by an authority of the system, or by one of `authorities_file`"
        )),
        _ => None,
    }
}

fn is_tls(err: &ConnectError) -> bool {
    let source = std::error::Error::source(err).and_then(|err| err.downcast_ref::<io::Error>());
    source.is_some_and(|err| err.kind() == io::ErrorKind::InvalidData)
}

/// Returns the cause of an error, which has more to say.
fn failure(err: &ConnectError) -> String {
    let why = std::error::Error::source(err).map_or_else(|| err.to_string(), ToString::to_string);
    words(&why)
}

/// Returns what async-nats says, without its name in front. Of a dial after the first it says too little.
fn words(why: &str) -> String {
    match why.strip_prefix("nats: ").unwrap_or(why) {
        "IO error" => "no connection (IO error)".to_owned(),
        why => why.to_owned(),
    }
}

/// Why there is no stream to publish on.
enum Wrong {
    ForGood(Error),
    ForNow(String),
}

/// The error code of JetStream for a stream that does not exist.
const STREAM_NOT_FOUND: u64 = 10059;

/// Checks the stream, or creates it. Returns the clock of the broker.
async fn stream_of(
    client: &Client,
    options: &Options,
    subject: &Subject,
) -> Result<BrokerClock, Wrong> {
    let name = &options.stream;
    let info = ask(client, &format!("$JS.API.STREAM.INFO.{name}"), &Value::Null).await?;
    let info = match info["error"]["err_code"].as_u64() {
        Some(STREAM_NOT_FOUND) => {
            let wanted = stream::wanted(options, subject);
            ask(client, &format!("$JS.API.STREAM.CREATE.{name}"), &wanted).await?
        }
        _ => info,
    };
    let error = &info["error"];
    if !error.is_null() {
        let why = wire::reason(&info);
        // A cluster without a leader, or one that is starting, says 503 and more.
        return Err(match error["code"].as_u64() {
            Some(400..500) => {
                Wrong::ForGood(Error::stream(name, format!("cannot be used or created: {why}")))
            }
            _ if why.contains("replicas") => Wrong::ForGood(Error::stream(
                name,
                format!("cannot be created: {why}; see `replicas`"),
            )),
            _ => Wrong::ForNow(format!("stream `{name}`: {why}")),
        });
    }
    let checked = stream::check(&info["config"], options, subject);
    checked.map_err(|why| Wrong::ForGood(Error::stream(name, why)))?;
    let time = info["ts"].as_str().and_then(wire::parse_time);
    Ok(BrokerClock { time: time.unwrap_or_else(SystemTime::now), at: Instant::now() })
}

/// Asks JetStream.
async fn ask(client: &Client, subject: &str, question: &Value) -> Result<Value, Wrong> {
    let payload = if question.is_null() { String::new() } else { question.to_string() };
    let answer =
        tokio::time::timeout(TIMEOUT, client.request(subject.to_owned(), payload.into())).await;
    match answer {
        Ok(Ok(answer)) => Ok(serde_json::from_slice(&answer.payload).unwrap_or_default()),
        // Nobody listens: JetStream is off, for this account or at all, or has no leader yet.
        Ok(Err(err)) if err.kind() == async_nats::client::RequestErrorKind::NoResponders => {
            Err(Wrong::ForNow("JetStream does not answer: it is off, or not ready yet".to_owned()))
        }
        Ok(Err(err)) => Err(Wrong::ForNow(format!("JetStream does not answer: {err}"))),
        Err(_) => Err(Wrong::ForNow(format!("JetStream does not answer within {TIMEOUT:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_knows_since_when_it_is_lost_and_why_it_stays_so() {
        let now = Instant::now();
        let at = |seconds: u64| now + Duration::from_secs(seconds);
        let mut connection = Connection::new(now);
        connection.open(at(1));
        connection.fail(&"an error of an open connection".into());
        assert_eq!((connection.failure.as_deref(), connection.since), (None, at(1)));
        connection.lose(at(2));
        connection.fail(&"refused".into());
        connection.lose(at(3));
        assert_eq!((connection.is_open, connection.since), (false, at(2)));
        assert_eq!(connection.failure.as_deref(), Some("refused"));
        connection.open(at(4));
        assert_eq!((connection.is_open, connection.opened), (true, 2));
        assert_eq!((connection.failure, connection.since), (None, at(4)));
    }

    #[test]
    fn what_async_nats_says_has_no_name_in_front() {
        assert_eq!(words("nats: authorization violation"), "authorization violation");
        assert_eq!(words("timed out"), "timed out");
        assert_eq!(words("nats: IO error"), "no connection (IO error)");
    }

    #[test]
    fn authorities_that_are_none_are_refused_by_name() {
        let refused = |path: &str| {
            let options = Options::new("nats://a").authorities_file(path);
            with_tls(ConnectOptions::new(), &options, false).map(|_| ()).unwrap_err().to_string()
        };
        let expected =
            "`authorities_file`: Cargo.toml: no certificate found: it is neither PEM nor DER";
        assert_eq!(refused("Cargo.toml"), expected);
        assert!(refused("/nowhere/ca.pem").contains("/nowhere/ca.pem: No such file"));
    }

    #[test]
    fn addresses_have_no_password() {
        let addresses = addresses("nats://user:hidden@a:1,tls://token@b, c:3").unwrap();
        let shown = format!("{addresses:?}");
        assert!(!shown.contains("hidden") && !shown.contains("token"), "{shown}");
        let hosts: Vec<_> = addresses.iter().map(|it| (it.host().to_owned(), it.port())).collect();
        let expected = [("a".to_owned(), 1), ("b".to_owned(), 4222), ("c".to_owned(), 3)];
        assert_eq!(hosts, expected);
    }
}
