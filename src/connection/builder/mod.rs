//! Building and starting a connection.

mod callbacks;
mod request;

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use actix::{Addr, Supervisor};
use actix_rt::ArbiterHandle;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::backoff::{DialLimit, Reconnect, Schedule, default_reconnect};
use crate::command;
use crate::command::status::{Outcome, SourceId, Watch};
use crate::connection::Connection;
use crate::delivery::Handlers;
use crate::dial::preview;
use crate::error::{ConfigError, Error, HandshakeError, Verdict};
use crate::options::{MaskKey, Options, Overflow, Plan, RetryIf, Secret, TransportFactory};
use crate::proto::codec::Limits;
use crate::proto::compression::Compression;
use crate::socket::SocketOptions;
use crate::tls::Tls;

/// Settings and handlers of a connection that is yet to be started.
///
/// Everything is checked by [`start`](ConnectionBuilder::start) before anything is dialled.
/// Wherever an option takes `Option<Duration>`, `None` turns the thing off; zero is an error.
#[must_use = "a builder does nothing until it is started"]
pub struct ConnectionBuilder {
    url: String,
    options: Options,
    handlers: Handlers,
    source: SourceId,
    watch: Watch,
    close_on_ctrl_c: bool,
}

impl ConnectionBuilder {
    pub(super) fn new(url: String) -> ConnectionBuilder {
        ConnectionBuilder {
            url,
            options: Options::new(default_reconnect()),
            handlers: Handlers::default(),
            source: SourceId::next(),
            watch: Watch::new(Instant::now().into_std()),
            close_on_ctrl_c: false,
        }
    }

    /// Words for the connection in `event::Open`, `Status` and the log's `open`. Default: none, only
    /// its number.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> ConnectionBuilder {
        self.options.name = Some(name.into());
        self
    }

    /// For one whole dial: resolving, TCP, TLS and the upgrade together. Default 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> ConnectionBuilder {
        self.options.connect_timeout = timeout;
        self
    }

    /// For the closing handshake, whoever begins it; then the socket is dropped. Default 3 s, as
    /// WebSocketApp's `close(timeout=3)`. Zero drops the socket without waiting for an answer.
    pub fn close_timeout(mut self, timeout: Duration) -> ConnectionBuilder {
        self.options.close_timeout = timeout;
        self
    }

    /// How long the peer may take nothing while bytes wait for it. Default 10 s.
    pub fn write_timeout(mut self, timeout: Duration) -> ConnectionBuilder {
        self.options.write_timeout = timeout;
        self
    }

    /// Between two pings, at a fixed cadence; the first goes out after one interval. Default 20 s.
    pub fn ping_interval(mut self, interval: impl Into<Option<Duration>>) -> ConnectionBuilder {
        self.options.ping_interval = interval.into();
        self
    }

    /// From a ping to the verdict: no byte of any kind since then, and the socket is aborted with
    /// [`Error::PeerSilent`]. May exceed the interval. Default
    /// 10 s; `None` pings without a verdict. Without `ping_interval` it has no effect.
    pub fn ping_timeout(mut self, timeout: impl Into<Option<Duration>>) -> ConnectionBuilder {
        self.options.ping_timeout = timeout.into();
        self
    }

    /// The payload of every ping, at most 125 bytes. By default each has a number of its own.
    pub fn ping_payload(mut self, payload: impl Into<Bytes>) -> ConnectionBuilder {
        self.options.ping_payload = Some(payload.into());
        self
    }

    /// How long there may be no data message, whatever else comes, before the socket is aborted
    /// with [`Error::PeerSilent`]. Default off.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> ConnectionBuilder {
        self.options.idle_timeout = timeout.into();
        self
    }

    /// How to come back (WebSocketApp's `reconnect`). By default exponential with jitter, for
    /// ever; see [`Reconnect`].
    pub fn reconnect(mut self, policy: impl Into<Reconnect>) -> ConnectionBuilder {
        self.options.reconnect = policy.into();
        self
    }

    /// Never to come back: the run ends with the first loss.
    pub fn no_reconnect(self) -> ConnectionBuilder {
        self.reconnect(Reconnect::never())
    }

    /// Judges each failure in the place of [`Error::verdict`], which it may ask: a dial that failed, a
    /// socket that was lost, or a Close frame of the server's as `Error::Closed`. A panic in it ends
    /// the run with `Error::Handler`.
    ///
    /// ```
    /// use actix_ws_client::error::{Error, Verdict};
    /// use actix_ws_client::Connection;
    ///
    /// // A token that is refused today may be good tomorrow.
    /// let builder = Connection::builder("wss://feed.example/").retry_if(|error| match error {
    ///     Error::Refused(refusal) if refusal.status == 401 => Verdict::RETRY,
    ///     other => other.verdict(),
    /// });
    /// ```
    pub fn retry_if(
        mut self,
        judge: impl Fn(&Error) -> Verdict + Send + Sync + 'static,
    ) -> ConnectionBuilder {
        self.options.retry_if = Some(RetryIf::new(judge));
        self
    }

    /// Whether a clean close by the server leads to another dial. Default `true`; with `false` it
    /// ends the run as `Closed`, unless its code says that it would fail again.
    pub fn reconnect_on_close(mut self, comes_back: bool) -> ConnectionBuilder {
        self.options.reconnect_on_close = comes_back;
        self
    }

    /// Dials in a row, since the last stable life, that may fail. Default: no limit.
    pub fn max_attempts(mut self, attempts: impl Into<Option<u32>>) -> ConnectionBuilder {
        self.options.max_attempts = attempts.into();
        self
    }

    /// How long a socket must have been open for the backoff to begin anew. Default 10 s.
    pub fn stable_after(mut self, life: Duration) -> ConnectionBuilder {
        self.options.stable_after = life;
        self
    }

    /// Dials in any window of time. Default: 16 in any 60 s, but none where the policy is fixed or
    /// the application's own.
    pub fn dial_limit(mut self, limit: impl Into<Option<DialLimit>>) -> ConnectionBuilder {
        self.options.dial_limit = limit.into().into();
        self
    }

    /// Whom to trust over `wss`. By default the platform's store, in full.
    pub fn tls(mut self, tls: Tls) -> ConnectionBuilder {
        self.options.tls.set(tls);
        self
    }

    /// Goes through this proxy (WebSocketApp's `http_proxy_host`, `http_proxy_port`,
    /// `http_proxy_auth` and `proxy_type` in one). Default: that of the environment, see
    /// [`proxy_from_env`](ConnectionBuilder::proxy_from_env).
    ///
    /// | URL | how | who resolves the host | port |
    /// |---|---|---|---|
    /// | `http://` | CONNECT, for `ws` too | the proxy | 80 |
    /// | `https://` | CONNECT, under TLS with the proxy | the proxy | 443 |
    /// | `socks4://` | SOCKS4, IPv4 only | we | 1080 |
    /// | `socks4a://` | SOCKS4a | the proxy | 1080 |
    /// | `socks5://` | SOCKS5 | we | 1080 |
    /// | `socks5h://` | SOCKS5 | the proxy | 1080 |
    ///
    /// `user:password@` is percent-decoded, and shown nowhere. What the proxy refuses is
    /// [`Error::Proxy`](crate::error::Error::Proxy), and so is a 401 of its own. Hosts that
    /// [`no_proxy`](ConnectionBuilder::no_proxy) names are dialled directly. With
    /// [`transport_with`](ConnectionBuilder::transport_with) the closure makes the transport to
    /// the proxy, and is given its host and port.
    pub fn proxy(mut self, url: impl Into<String>) -> ConnectionBuilder {
        self.options.proxy = Some(Secret::new(url));
        self
    }

    /// Whether a proxy that was not set is looked for in the environment, when the connection is
    /// started. Default true, as curl and WebSocketApp do, and by curl's rules: `http_proxy` for
    /// `ws`, `https_proxy` or `HTTPS_PROXY` for `wss`, then `all_proxy` or `ALL_PROXY`. An empty
    /// variable counts as none. `HTTP_PROXY` is not read: where requests become variables, as in
    /// CGI, any client could set it. A value without a scheme is refused by `start`, which names
    /// the variable. `false` does not look at `no_proxy` and `NO_PROXY` either. There is no proxy
    /// from the environment where [`transport_with`](ConnectionBuilder::transport_with) is set.
    pub fn proxy_from_env(mut self, wanted: bool) -> ConnectionBuilder {
        self.options.proxy_from_env = wanted;
        self
    }

    /// Hosts that are dialled directly (WebSocketApp's `http_no_proxy`), separated by commas or
    /// blanks: names with all that is below them (`example.com` and `.example.com` alike, never
    /// `notexample.com`), addresses, networks (`10.0.0.0/8`, `fe80::/10`), each with `:port` for
    /// that port alone, or `*` for all. Holds for every kind of proxy, also for one from the
    /// environment. Default: `no_proxy` or `NO_PROXY` of the environment; an empty list is none.
    pub fn no_proxy(mut self, list: impl Into<String>) -> ConnectionBuilder {
        self.options.no_proxy = Some(list.into());
        self
    }

    /// For reaching the proxy and having it reach the host, within
    /// [`connect_timeout`](ConnectionBuilder::connect_timeout) (WebSocketApp's
    /// `http_proxy_timeout`, here for every kind). Default: none of its own.
    pub fn proxy_timeout(mut self, timeout: impl Into<Option<Duration>>) -> ConnectionBuilder {
        self.options.proxy_timeout = timeout.into();
        self
    }

    /// Whom to trust as a proxy with `https`. By default the platform's store, in full, whatever
    /// [`tls`](ConnectionBuilder::tls) says of the server.
    pub fn proxy_tls(mut self, tls: Tls) -> ConnectionBuilder {
        self.options.proxy_tls.set(tls);
        self
    }

    /// What each TCP socket is like (WebSocketApp's `sockopt`).
    pub fn socket_options(mut self, options: SocketOptions) -> ConnectionBuilder {
        self.options.sockets.get_mut().options = options;
        self
    }

    /// The address of ours that sockets are bound to. Hosts are then reached by addresses of its
    /// family only. Default: the system's choice.
    pub fn bind_address(mut self, ip: impl Into<IpAddr>) -> ConnectionBuilder {
        self.options.sockets.get_mut().bind = Some(ip.into());
        self
    }

    /// The transport to use, instead of TCP: once (WebSocketApp's `socket`). Under `wss`, TLS is
    /// set up over it, unless [`transport_is_secure`](ConnectionBuilder::transport_is_secure). The
    /// policy becomes [`no_reconnect`](ConnectionBuilder::no_reconnect): a dial after the first one
    /// would end the run with [`Error::Handler`](crate::error::Error::Handler), and a redirect ends
    /// it with [`Error::Redirect`](crate::error::Error::Redirect), wherever it leads.
    pub fn transport<T>(mut self, stream: T) -> ConnectionBuilder
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.options.transport = Some(TransportFactory::once(stream));
        self.no_reconnect()
    }

    /// That the transport of one's own is secure already: `wss` is then spoken over it as it is.
    /// `start` refuses it where TCP or a proxy would be used.
    pub fn transport_is_secure(mut self) -> ConnectionBuilder {
        self.options.transport_is_secure = true;
        self
    }

    /// Where the transport of each attempt comes from, instead of TCP: a closure that gets host and
    /// port, and runs on the connection's thread within `connect_timeout`. Under `wss`, TLS is set up
    /// over what it makes, unless [`transport_is_secure`](ConnectionBuilder::transport_is_secure). An
    /// error is told as `Error::Io`, and retried; a panic in it ends the run. `Handshake::peer` is
    /// unknown then.
    ///
    /// A Unix socket, for example; the URL still says `Host`, `Origin` and the path:
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use actix_ws_client::Connection;
    /// use tokio::net::UnixStream;
    ///
    /// let builder = Connection::builder("ws://localhost/feed")
    ///     .transport_with(|_, _| UnixStream::connect("/run/feed.sock"));
    /// # }
    /// ```
    pub fn transport_with<F, Fut, T>(mut self, make: F) -> ConnectionBuilder
    where
        F: Fn(String, u16) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<T>> + 'static,
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        self.options.transport = Some(TransportFactory::new(make));
        self
    }

    /// Whether messages are compressed, and how (permessage-deflate, RFC 7692). By default offered to
    /// the server, with context takeover for what comes and none for what is sent; see
    /// [`Compression`] for the memory that it takes. [`Compression::off`] offers nothing.
    ///
    /// ```
    /// use actix_ws_client::{Compression, Connection};
    ///
    /// let builder = Connection::builder("wss://feed.example/")
    ///     .compression(Compression::new().server_no_context_takeover(true).threshold(256));
    /// ```
    ///
    /// Compressed secrets beside data that an attacker chooses can be guessed from their length, also
    /// under TLS: turn it off where that matters.
    pub fn compression(mut self, compression: Compression) -> ConnectionBuilder {
        self.options.compression = compression;
        self
    }

    /// Takes text as it is, without the check that it is UTF-8 (WebSocketApp's
    /// `skip_utf8_validation`), against RFC 6455, 8.1: for a server that is known to send something
    /// else. Text then arrives as [`Payload::Binary`](crate::Payload::Binary);
    /// [`event::Data`](crate::event::Data) says which it was. Default `false`. The reason in a Close
    /// frame is checked all the same.
    pub fn skip_utf8_validation(mut self, skip: bool) -> ConnectionBuilder {
        self.options.skip_utf8_validation = skip;
        self
    }

    /// Takes the masking key of each frame from here (WebSocketApp's `get_mask_key`). Default: the
    /// system's cryptographically secure generator, as RFC 6455, 10.3, asks: keys that can be guessed
    /// let whoever chooses the messages write to the wire what he likes. For tests that compare
    /// bytes. A panic in it ends the run with `Error::Handler`.
    pub fn mask_key(
        mut self,
        key: impl Fn() -> [u8; 4] + Send + Sync + 'static,
    ) -> ConnectionBuilder {
        self.options.mask_key = Some(MaskKey::new(key));
        self
    }

    /// What a message may cost, inflated if it is compressed. Whatever passes a limit is refused at
    /// its header, or while it is inflated, with 1009. Default 16 MiB for a frame and for a message,
    /// 131,072 fragments. A message in one frame obeys both of the first two.
    pub fn limits(mut self, limits: Limits) -> ConnectionBuilder {
        self.options.limits = limits;
        self
    }

    /// Bytes of data frames, headers included, that may wait to be written. Default 1 MiB. Further
    /// sends are refused.
    pub fn send_buffer(mut self, bytes: usize) -> ConnectionBuilder {
        self.options.send_buffer = bytes;
        self
    }

    /// Bytes of data that may wait for a handler that is busy while reading goes on, so that pings
    /// are still answered. Beyond it reading stops. Default 256 KiB; a message counts 32 bytes
    /// more than it has, any other event some 300.
    pub fn read_ahead(mut self, bytes: usize) -> ConnectionBuilder {
        self.options.read_ahead = bytes;
        self
    }

    /// What becomes of data beyond `read_ahead`. Default: it waits in the peer.
    pub fn overflow(mut self, overflow: Overflow) -> ConnectionBuilder {
        self.options.overflow = overflow;
        self
    }

    /// The live figures of the connection that this will be.
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// The number of the connection that this will be.
    pub fn source(&self) -> SourceId {
        self.source
    }

    /// Returns the head of the upgrade request that a dial would send, for display. Nothing is dialled,
    /// and no runtime is needed.
    ///
    /// `***` stands for the values of [`header`](ConnectionBuilder::header) and of `Authorization`.
    /// The path and the query are shown: take care where they hold a token. `Sec-WebSocket-Key` is
    /// another for each dial. What a proxy would be asked for is not part of it.
    ///
    /// ```
    /// use actix_ws_client::Connection;
    ///
    /// let builder = Connection::builder("ws://me:secret@feed.example/prices");
    /// let head = builder.request_head().unwrap();
    /// assert!(head.starts_with("GET /prices HTTP/1.1\r\n"));
    /// assert!(head.contains("\r\nAuthorization: ***\r\n"));
    /// ```
    ///
    /// # Errors
    /// As [`check`](ConnectionBuilder::check), and [`ConfigError::Url`] when path and query are longer
    /// than 64 KiB.
    pub fn request_head(&self) -> Result<String, ConfigError> {
        let plan = Plan::new(&self.url, self.options.clone())?;
        let refuse = |err: HandshakeError| ConfigError::Url { reason: err.to_string() };
        preview::request_head(&plan).map_err(refuse)
    }

    /// Checks the URL and every option as [`start`](ConnectionBuilder::start) would, without starting
    /// anything: a program can refuse its configuration before it has a runtime. Proxy variables of the
    /// environment are read, certificates are loaded and the reconnect policy is begun, as by `start`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use actix_ws_client::Connection;
    ///
    /// let builder = Connection::builder("wss://feed.example/").connect_timeout(Duration::ZERO);
    /// let refused = builder.check().unwrap_err();
    /// assert!(refused.to_string().starts_with("connect_timeout: "));
    /// ```
    ///
    /// # Errors
    /// A URL or an option that `start` refuses, by its name.
    pub fn check(&self) -> Result<(), ConfigError> {
        plan(&self.url, self.options.clone()).map(drop)
    }

    /// Starts the connection here. It lives as long as its address does.
    ///
    /// # Errors
    /// An option or a URL that cannot be, by its name; [`ConfigError::NoRuntime`] outside an actix
    /// `System` or a tokio `LocalSet`.
    #[must_use = "a connection whose last address is dropped closes"]
    pub fn start(self) -> Result<Addr<Connection>, ConfigError> {
        self.start_with(None)
    }

    /// Starts the connection on another arbiter.
    ///
    /// # Errors
    /// As [`start`](ConnectionBuilder::start), and [`ConfigError::ArbiterGone`] if it is seen to have
    /// ended already. One that ends a moment later leaves an address that answers nothing.
    #[must_use = "a connection whose last address is dropped closes"]
    pub fn start_in(self, arbiter: &ArbiterHandle) -> Result<Addr<Connection>, ConfigError> {
        let (url, source, watch, handlers) = (self.url, self.source, self.watch, self.handlers);
        let (plan, schedule) = plan(&url, self.options)?;
        let addr = Supervisor::start_in_arbiter(arbiter, move |_| {
            Connection::new(plan, schedule, source, watch, handlers, None)
        });
        // The arbiter drops what it can no longer start, and with it the mailbox.
        if addr.connected() { Ok(addr) } else { Err(ConfigError::ArbiterGone) }
    }

    /// Whether [`run`](ConnectionBuilder::run) ends on Ctrl-C, with a clean close (1000) within
    /// `close_timeout`, as WebSocketApp's `run_forever` does on `KeyboardInterrupt`. Default `false`.
    /// Where it is `true`, Ctrl-C (SIGINT) never again ends the process by itself. `start` heeds no
    /// signal.
    pub fn close_on_ctrl_c(mut self, close: bool) -> ConnectionBuilder {
        self.close_on_ctrl_c = close;
        self
    }

    /// Runs the connection to its end (WebSocketApp's `run_forever`). The handlers may still be at
    /// work on `Stopped` when it returns. Dropping the future closes
    /// the connection, unless another address of it is held.
    ///
    /// # Errors
    /// As [`start`](ConnectionBuilder::start), and [`ConfigError::ArbiterGone`] if the system ends
    /// before the run does.
    pub async fn run(self) -> Result<Outcome, ConfigError> {
        let mut asked = self.close_on_ctrl_c;
        let (ended, mut outcome) = oneshot::channel();
        let addr = self.start_with(Some(ended))?;
        // Asked for before the first dial, for nothing else is polled till then.
        let mut ctrl_c = pin!(actix_rt::signal::ctrl_c());
        let outcome = poll_fn(|cx| {
            if asked && let Poll::Ready(signal) = ctrl_c.as_mut().poll(cx) {
                asked = false;
                match signal {
                    Ok(()) => addr.do_send(command::Close::normal()),
                    Err(err) => tracing::warn!(%err, "Ctrl-C can't be heard"),
                }
            }
            Pin::new(&mut outcome).poll(cx)
        });
        outcome.await.map_err(|_| ConfigError::ArbiterGone)
    }

    fn start_with(
        self,
        ended: Option<oneshot::Sender<Outcome>>,
    ) -> Result<Addr<Connection>, ConfigError> {
        let (url, source, watch, handlers) = (self.url, self.source, self.watch, self.handlers);
        let (plan, schedule) = plan(&url, self.options)?;
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(ConfigError::NoRuntime);
        }
        let make = move || Connection::new(plan, schedule, source, watch, handlers, ended);
        let start = move || Supervisor::start(move |_| make());
        // tokio cannot be asked whether a `LocalSet` is there; without one it panics.
        catch_unwind(AssertUnwindSafe(start)).map_err(|_| ConfigError::NoRuntime)
    }
}

/// Checks everything, and asks the policy for its beginning.
fn plan(url: &str, options: Options) -> Result<(Arc<Plan>, Schedule), ConfigError> {
    let plan = Arc::new(Plan::new(url, options)?);
    let begin = || Schedule::new(&plan.options.reconnect, plan.options.guards());
    let schedule = catch_unwind(AssertUnwindSafe(begin))
        .map_err(|_| ConfigError::option("reconnect", "the policy panicked"))?;
    Ok((plan, schedule))
}

impl fmt::Debug for ConnectionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the URL: it may hold credentials.
        f.debug_struct("ConnectionBuilder")
            .field("source", &self.source)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
