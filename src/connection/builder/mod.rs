//! Building and starting a connection.

mod blocking;
mod callbacks;
#[cfg(feature = "record")]
mod recording;
mod request;
mod signals;

use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::hash::Hash;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, Supervisor};
use actix_rt::ArbiterHandle;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::backoff::{DialLimit, Reconnect, Schedule, default_reconnect};
use crate::budget::Budget;
use crate::command::status::{Outcome, SourceId, Watch};
use crate::command::{self, Handle};
use crate::connection::actor::{Connection, Item};
use crate::connection::handle_queue::HandleQueue;
use crate::connection::requests::Attached;
use crate::delivery::{Closures, HandlerAddr, Handlers};
use crate::dial::preview;
use crate::error::{ConfigError, Error, Verdict};
use crate::event::{self, Kinds};
use crate::options::{
    MaskKey, Options, Overflow, Plan, RetryIf, Secret, TransportFactory, warn_of_fragment,
};
use crate::proto::codec::Limits;
use crate::proto::compression::Compression;
use crate::requests::{Answers, Requests};
use crate::socket::SocketOptions;
use crate::tls::Tls;

/// The options and handlers of a connection that is not started yet.
///
/// [`start`](ConnectionBuilder::start) checks all of them before anything is dialled, and
/// [`check`](ConnectionBuilder::check) does that alone. Where an option takes an `Option<Duration>`, `None`
/// turns it off; zero is an error.
#[must_use = "a builder does nothing until it is started"]
pub struct ConnectionBuilder {
    url: String,
    options: Options,
    handlers: Handlers,
    closures: Closures,
    requests: Option<Arc<dyn Answers>>,
    source: SourceId,
    /// The queue of the handles, which may exist before the connection does. It has the figures too.
    handle_queue: HandleQueue<Item>,
    close_on_ctrl_c: bool,
    stream_kinds: Kinds,
}

impl ConnectionBuilder {
    pub(super) fn new(url: String) -> Self {
        let watch = Watch::new(Instant::now().into_std());
        ConnectionBuilder {
            url,
            options: Options::new(default_reconnect()),
            handlers: Handlers::default(),
            closures: Closures::default(),
            requests: None,
            source: SourceId::next(),
            handle_queue: HandleQueue::new(watch),
            close_on_ctrl_c: false,
            stream_kinds: Kinds::default(),
        }
    }

    /// Sets a name for the connection, shown in `event::Open`, `event::Error`, `event::Close`, `Status` and log
    /// records. Default: none; the connection's number is always shown.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.options.name = Some(name.into());
        self
    }

    /// Sets the deadline for one whole dial: name resolution, TCP, TLS and the upgrade together. Default:
    /// 10 s.
    #[doc(alias("open_timeout", "timeout", "handshake_timeout", "connection_timeout"))]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout = timeout;
        self
    }

    /// Sets the deadline for the closing handshake, no matter which side begins it. When it passes, the
    /// socket is dropped. Default: 3 s, as WebSocketApp's `close(timeout=3)`. Zero drops the socket without
    /// waiting for an answer.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.options.close_timeout = timeout;
        self
    }

    /// Sets how long the peer may accept no byte while bytes wait to be written. Default: 10 s. Where it is
    /// longer than 50 s, `TCP_USER_TIMEOUT` follows it, unless
    /// [`SocketOptions::user_timeout`] is set.
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.options.write_timeout = timeout;
        self
    }

    /// Sets the time between two pings. The cadence is fixed, and the first ping is sent after one interval.
    /// Default: 20 s; `None` sends none.
    #[doc(alias(
        "heartbeat",
        "keep_alive",
        "keepalive",
        "ping_every",
        "auto_ping",
        "heartbeat_interval"
    ))]
    pub fn ping_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.options.ping_interval = interval.into();
        self
    }

    /// Sets the time after a ping in which some byte, of whatever kind, must arrive. Otherwise the socket is
    /// aborted with [`Error::PeerSilent`]. It may exceed the interval. Default: 10 s; with `None` pings
    /// are sent, and silence has no effect. Without `ping_interval` this option has no effect.
    #[doc(alias = "pong_timeout")]
    pub fn ping_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.options.ping_timeout = timeout.into();
        self
    }

    /// Sets the payload of every ping, at most 125 bytes. Default: each ping carries a number of its own.
    pub fn ping_payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.options.ping_payload = Some(payload.into());
        self
    }

    /// Sets how long no data message may arrive, no matter what else does, before the socket is aborted
    /// with [`Error::PeerSilent`]. Default: off.
    #[doc(alias("read_timeout", "recv_timeout"))]
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.options.idle_timeout = timeout.into();
        self
    }

    /// Sets the delays between dials (WebSocketApp's `reconnect`). Default: exponential with jitter,
    /// without end; see [`Reconnect`].
    #[doc(alias("backoff", "retry", "auto_reconnect", "reconnect_interval", "retry_policy"))]
    pub fn reconnect(mut self, policy: impl Into<Reconnect>) -> Self {
        self.options.reconnect = policy.into();
        self
    }

    /// Turns reconnection off: the run ends with the first lost socket or failed dial.
    #[doc(alias("connect_once", "disable_reconnect"))]
    pub fn no_reconnect(self) -> Self {
        self.reconnect(Reconnect::never())
    }

    /// Sets a closure that decides after each failure whether to dial again, in place of
    /// [`Error::verdict`], which it may call. A failure is a failed dial, a lost socket, or a Close frame
    /// from the server as `Error::Closed`. A panic in the closure ends the run with `Error::Handler`.
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
    pub fn retry_if(mut self, judge: impl Fn(&Error) -> Verdict + Send + Sync + 'static) -> Self {
        self.options.retry_if = Some(RetryIf::new(judge));
        self
    }

    /// Sets whether a clean close by the server leads to another dial. Default: `true`. With `false` it
    /// ends the run as `Closed`, or as `Refused` if the close code says that another dial would fail too.
    pub fn reconnect_on_close(mut self, comes_back: bool) -> Self {
        self.options.reconnect_on_close = comes_back;
        self
    }

    /// Sets whether the run ends when the last handler of some kind of event has ended, by a panic or because
    /// it stopped. Default: `false`, the connection goes on with the other handlers, or without any. With
    /// `true` an open socket is closed with 1001, and the [`Outcome`] is `Refused` with
    /// [`Error::Unheard`]. A handler that unsubscribes does not end the run.
    ///
    /// An ended handler is found out by the next event for it, at our next ping, or by
    /// [`command::Status`](crate::command::Status); it is logged, and counted in
    /// [`Figures`](crate::command::status::Figures).
    pub fn end_when_unheard(mut self, ends: bool) -> Self {
        self.options.end_when_unheard = ends;
        self
    }

    /// Sets how many dials in a row may fail, or open a socket that is lost before
    /// [`stable_after`](ConnectionBuilder::stable_after). Default: no limit.
    #[doc(alias("max_retries", "max_reconnect_attempts", "retries"))]
    pub fn max_attempts(mut self, attempts: impl Into<Option<u32>>) -> Self {
        self.options.max_attempts = attempts.into();
        self
    }

    /// Sets how long a socket must have been open for the backoff to start over. Default: 10 s.
    pub fn stable_after(mut self, life: Duration) -> Self {
        self.options.stable_after = life;
        self
    }

    /// Limits the dials in any window of time. Default: 16 in any 60 s, but no limit under a fixed or
    /// custom policy.
    #[doc(alias("rate_limit", "throttle"))]
    pub fn dial_limit(mut self, limit: impl Into<Option<DialLimit>>) -> Self {
        self.options.dial_limit = limit.into().into();
        self
    }

    /// Adds a budget: limits of dials and sockets that connections share, see [`Budget`]. If it is called more
    /// than once, all of them hold. Default: none.
    ///
    /// A dial waits for its permits after the delay of the policy, and before `url_with` is called and
    /// `connect_timeout` begins. It is in [`Phase::Waiting`](crate::Phase::Waiting) then, and
    /// [`Status::waiting_for`](crate::Status::waiting_for) has the limit. `command::Reconnect` does not
    /// shorten that wait; `Pause` and `Close` end it.
    pub fn budget(mut self, budget: &Budget) -> Self {
        let budgets = self.options.budgets.iter().chain([budget]);
        self.options.budgets = budgets.cloned().collect();
        self
    }

    /// Sets how TLS verifies the server under `wss`. Default: in full, against the platform's certificate
    /// store.
    #[doc(alias("ssl", "sslopt", "rustls", "connector", "use_rustls_tls", "ssl_context"))]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.options.tls.set(tls);
        self
    }

    /// Dials through this proxy (WebSocketApp's `http_proxy_host`, `http_proxy_port`,
    /// `http_proxy_auth` and `proxy_type` in one). Default: that of the environment, see
    /// [`proxy_from_env`](ConnectionBuilder::proxy_from_env).
    ///
    /// | URL | protocol | resolves the host | default port |
    /// |---|---|---|---|
    /// | `http://` | CONNECT, for `ws` too | the proxy | 80 |
    /// | `https://` | CONNECT, under TLS with the proxy | the proxy | 443 |
    /// | `socks4://` | SOCKS4, IPv4 only | this crate | 1080 |
    /// | `socks4a://` | SOCKS4a | the proxy | 1080 |
    /// | `socks5://`, `socks://` | SOCKS5 | this crate | 1080 |
    /// | `socks5h://` | SOCKS5 | the proxy | 1080 |
    ///
    /// `user:password@` is percent-decoded, and never shown. CONNECT carries this crate's `User-Agent`,
    /// unless [`header`](ConnectionBuilder::header) leaves that line out. A refusal by the proxy is
    /// [`Error::Proxy`](crate::error::Error::Proxy), also when its status is 401. Hosts in
    /// [`no_proxy`](ConnectionBuilder::no_proxy) are dialled directly. With
    /// [`transport_with`](ConnectionBuilder::transport_with) the closure makes the transport to
    /// the proxy, and receives its host and port.
    #[doc(alias("http_proxy", "https_proxy", "socks", "socks5", "http_proxy_host", "proxy_type"))]
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.options.proxy = Some(Secret::new(url));
        self
    }

    /// Sets whether the environment is read for a proxy when [`proxy`](ConnectionBuilder::proxy) is not
    /// set. Default: `true`, as in curl and WebSocketApp.
    ///
    /// It is read when the connection is started, by curl's rules: for `ws` the variables `ws_proxy`,
    /// `WS_PROXY` and `http_proxy`, for `wss` `wss_proxy`, `WSS_PROXY`, `https_proxy` and `HTTPS_PROXY`,
    /// then `all_proxy` and `ALL_PROXY`; the first that is set counts. An empty variable counts as none.
    /// `HTTP_PROXY` is not read: where request headers become variables, as in CGI, any client could set
    /// it. `start` refuses a value without a scheme, and names the variable. With `false`, `no_proxy` and
    /// `NO_PROXY` are not read either. No proxy is taken from the environment if
    /// [`transport_with`](ConnectionBuilder::transport_with) is set.
    #[doc(alias("system_proxy", "trust_env"))]
    pub fn proxy_from_env(mut self, wanted: bool) -> Self {
        self.options.proxy_from_env = wanted;
        self
    }

    /// Sets the hosts that are dialled directly (WebSocketApp's `http_no_proxy`), separated by commas or
    /// blanks. Default: `no_proxy` or `NO_PROXY` of the environment; an empty list is none.
    ///
    /// An entry is a name, which includes its subdomains (`example.com` and `.example.com` alike, never
    /// `notexample.com`; `*.example.com` for the subdomains alone), an address, or a network (`10.0.0.0/8`, `fe80::/10`), each with `:port` for that
    /// port alone; or `*` for all hosts. An internationalised name matches its ASCII form. The list applies to every kind of proxy, also to one from the
    /// environment.
    #[doc(alias("http_no_proxy", "proxy_bypass"))]
    pub fn no_proxy(mut self, list: impl Into<String>) -> Self {
        self.options.no_proxy = Some(list.into());
        self
    }

    /// Sets the deadline for connecting to the proxy and for the proxy to connect to the host, within
    /// [`connect_timeout`](ConnectionBuilder::connect_timeout) (WebSocketApp's
    /// `http_proxy_timeout`, here for every kind of proxy). Default: `None`, no deadline of its own.
    pub fn proxy_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.options.proxy_timeout = timeout.into();
        self
    }

    /// Sets how TLS verifies an `https` proxy. Default: in full, against the platform's certificate store.
    /// Independent of [`tls`](ConnectionBuilder::tls), which is for the server.
    pub fn proxy_tls(mut self, tls: Tls) -> Self {
        self.options.proxy_tls.set(tls);
        self
    }

    /// Sets the options of each TCP socket (WebSocketApp's `sockopt`).
    #[doc(alias("sockopt", "tcp_nodelay", "set_nodelay"))]
    pub fn socket_options(mut self, options: SocketOptions) -> Self {
        self.options.sockets.get_mut().options = options;
        self
    }

    /// Sets the local address that sockets are bound to. Hosts are then dialled by addresses of its family
    /// only. Default: the system's choice.
    #[doc(alias("local_address", "source_address"))]
    pub fn bind_address(mut self, ip: impl Into<IpAddr>) -> Self {
        self.options.sockets.get_mut().bind = Some(ip.into());
        self
    }

    /// Sets a transport to use once, in place of TCP (WebSocketApp's `socket`). Under `wss`, TLS is
    /// set up over it, unless [`transport_is_secure`](ConnectionBuilder::transport_is_secure). The
    /// policy becomes [`no_reconnect`](ConnectionBuilder::no_reconnect): a dial after the first one
    /// would end the run with [`Error::Handler`](crate::error::Error::Handler), and a redirect ends
    /// it with [`Error::Redirect`](crate::error::Error::Redirect), whatever its target.
    #[doc(alias = "from_raw_socket")]
    pub fn transport<T>(mut self, stream: T) -> Self
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.options.transport = Some(TransportFactory::once(stream));
        self.no_reconnect()
    }

    /// Declares that the application's own transport is secure already: under `wss`, no TLS is set up over
    /// it. `start` refuses this where TCP or a proxy would be used.
    pub fn transport_is_secure(mut self) -> Self {
        self.options.transport_is_secure = true;
        self
    }

    /// Sets a closure that makes the transport of each attempt, in place of TCP. It receives host and port,
    /// and runs on the connection's thread within `connect_timeout`. Under `wss`, TLS is set up over its
    /// transport, unless [`transport_is_secure`](ConnectionBuilder::transport_is_secure). An error of it is
    /// `Error::Io`, and retried; a panic in it ends the run. `Handshake::peer` is `None` then.
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
    #[doc(alias("client_async", "custom_connector", "unix_socket"))]
    pub fn transport_with<F, Fut, T>(mut self, make: F) -> Self
    where
        F: Fn(String, u16) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<T>> + 'static,
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        self.options.transport = Some(TransportFactory::new(make));
        self
    }

    /// Sets whether and how messages are compressed (permessage-deflate, RFC 7692). Default: compression
    /// is offered to the server, with context takeover for messages received and none for messages sent;
    /// see [`Compression`] for the memory that it takes. [`Compression::off`] offers nothing.
    ///
    /// ```
    /// use actix_ws_client::{Compression, Connection};
    ///
    /// let builder = Connection::builder("wss://feed.example/")
    ///     .compression(Compression::new().server_no_context_takeover(true).threshold(256));
    /// ```
    ///
    /// Where a secret is compressed together with data that an attacker chooses, it can be guessed from the
    /// length of the messages, also under TLS. Turn compression off where that matters.
    #[doc(alias("permessage_deflate", "deflate", "gzip", "extensions"))]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.options.compression = compression;
        self
    }

    /// Sets whether text is delivered without the check that it is UTF-8 (WebSocketApp's
    /// `skip_utf8_validation`). Default: `false`. Against RFC 6455, 8.1, for a server that is known to send
    /// another encoding. Text then arrives as [`Payload::Binary`](crate::Payload::Binary), and
    /// [`event::Data`](crate::event::Data) has its real opcode. The reason in a Close frame stays text, with
    /// U+FFFD for what is not UTF-8.
    #[doc(alias = "validate_utf8")]
    pub fn skip_utf8_validation(mut self, skip: bool) -> Self {
        self.options.skip_utf8_validation = skip;
        self
    }

    /// Sets a closure that makes the masking key of each frame (WebSocketApp's `get_mask_key`), for tests
    /// that compare bytes. Default: the system's cryptographically secure generator, as RFC 6455, 10.3,
    /// requires: if keys can be predicted, an attacker who chooses messages chooses the bytes on the wire.
    /// A panic in the closure ends the run with `Error::Handler`.
    pub fn mask_key(mut self, key: impl Fn() -> [u8; 4] + Send + Sync + 'static) -> Self {
        self.options.mask_key = Some(MaskKey::new(key));
        self
    }

    /// Sets the limits of messages received, after decompression. A message that exceeds one is refused
    /// with 1009, at its header or while it is decompressed. Default: 16 MiB for a frame and for a message,
    /// 131,072 fragments. A message in one frame must obey both of the first two.
    #[doc(alias(
        "max_message_size",
        "max_size",
        "max_frame_size",
        "max_payload",
        "websocket_config"
    ))]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Sets how many bytes of data frames, headers included, may wait to be written. Default: 1 MiB.
    /// Further sends are refused.
    #[doc(alias("max_write_buffer_size", "write_limit", "high_water_mark", "write_buffer_size"))]
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.options.send_buffer = bytes;
        self
    }

    /// Sets how many bytes of data may wait for a busy handler while reading continues, so that pings are
    /// still answered. Beyond it reading stops. Default: 256 KiB. What counts is the memory that
    /// waits, within a factor of 1.5: some 220 bytes for each read, and its messages.
    #[doc(alias("read_limit", "max_queue", "receive_buffer"))]
    pub fn read_ahead(mut self, bytes: usize) -> Self {
        self.options.read_ahead = bytes;
        self
    }

    /// Sets what happens to data beyond `read_ahead`. Default: [`Overflow::Wait`], it waits at the peer.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.options.overflow = overflow;
        self
    }

    /// Answers questions over this connection: those of these [`Requests`] and its clones, which belong to one
    /// connection at a time. Messages that answer none of them go to the handlers. Default: none. A later call
    /// replaces it.
    pub fn requests<K>(mut self, requests: &Requests<K>) -> Self
    where
        K: Eq + Hash + Clone + Send + 'static,
    {
        self.requests = Some(requests.answers());
        self
    }

    /// Returns the live figures of the connection that this builder starts.
    pub fn watch(&self) -> Watch {
        self.handle_queue.shared().watch().renewed()
    }

    /// Returns a handle to the connection that this builder starts, for the closures of this builder and other
    /// threads. What is sent through it before the start is executed when the connection begins, in order. If
    /// the builder is dropped, or its start fails, it is answered as after the end of a connection.
    ///
    /// ```
    /// use actix_ws_client::testing::{Script, Server};
    /// use actix_ws_client::{Connection, command};
    ///
    /// # actix::System::new().block_on(async {
    /// let server = Server::start(Script::accept().send_text("hi"));
    /// let builder = Connection::builder(server.url());
    /// let handle = builder.handle();
    /// let close = move |_| _ = handle.do_send(command::Close::normal());
    /// let outcome = builder.on_message(close).run().await.unwrap();
    /// assert_eq!(outcome.to_string(), "closed with 1000");
    /// # });
    /// ```
    pub fn handle(&self) -> Handle {
        Handle::new(self.handle_queue.shared().clone())
    }

    /// Returns the number of the connection that this builder starts.
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
    /// As [`check`](ConnectionBuilder::check).
    pub fn request_head(&self) -> Result<String, ConfigError> {
        let plan = Plan::new(&self.url, self.options.clone())?;
        Ok(preview::request_head(&plan))
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

    /// Starts the connection on this thread. It lives until the last clone of its address is dropped.
    ///
    /// tokio cannot be asked whether a `LocalSet` is there. So on a thread with a tokio runtime, but without an
    /// actix `System` or arbiter, the start is tried: without a `LocalSet`, as in a plain `#[tokio::main]`, it
    /// panics within tokio. The panic is caught, but the panic hook has printed it ("`spawn_local` called from
    /// outside of a `task::LocalSet` …"), and a program that is built with `panic = "abort"` ends. There use
    /// [`start_on`](ConnectionBuilder::start_on), which never panics and prints nothing.
    ///
    /// # Errors
    /// As [`check`](ConnectionBuilder::check), and [`ConfigError::NoRuntime`] outside an actix `System` or a
    /// tokio `LocalSet`.
    #[must_use = "a connection whose last address is dropped closes"]
    #[doc(alias("connect_async", "connect", "spawn", "create_connection", "dial"))]
    pub fn start(self) -> Result<Addr<Connection>, ConfigError> {
        self.start_with(None)
    }

    /// Starts the connection on this `LocalSet` of tokio's, without a runtime too: it begins to dial when the
    /// set is first polled, inside a tokio runtime with its I/O and time drivers. Never panics.
    ///
    /// ```
    /// use actix_ws_client::testing::{Script, Server};
    /// use actix_ws_client::{Connection, event};
    /// use tokio::task::LocalSet;
    ///
    /// # let server = Server::start(Script::accept().send_text("hi"));
    /// # let url = server.url();
    /// let local = LocalSet::new();
    /// let (sender, mut messages) = tokio::sync::mpsc::unbounded_channel();
    /// let on_message = event::call_on(&local, move |message: event::Message| {
    ///     let _ = sender.send(message.payload);
    /// });
    /// let connection = Connection::builder(url).on_message_to(on_message).start_on(&local).unwrap();
    ///
    /// let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    /// let payload = local.block_on(&runtime, messages.recv()).unwrap();
    /// assert_eq!(payload.as_text(), Some("hi"));
    /// # drop(connection);
    /// ```
    ///
    /// # Errors
    /// As [`check`](ConnectionBuilder::check).
    #[must_use = "a connection whose last address is dropped closes"]
    pub fn start_on(self, local: &LocalSet) -> Result<Addr<Connection>, ConfigError> {
        let make = self.actor(None)?;
        let _entered = local.enter();
        Ok(Supervisor::start(move |_| make()))
    }

    /// Starts the connection on another arbiter.
    ///
    /// # Errors
    /// As [`check`](ConnectionBuilder::check), and [`ConfigError::ArbiterGone`] if the arbiter is seen to
    /// have ended. If it ends a moment later, the address answers no command.
    #[must_use = "a connection whose last address is dropped closes"]
    pub fn start_in(self, arbiter: &ArbiterHandle) -> Result<Addr<Connection>, ConfigError> {
        let make = self.actor(None)?;
        let addr = Supervisor::start_in_arbiter(arbiter, move |_| make());
        // An arbiter that has ended drops the closure, and with it the mailbox.
        if addr.connected() { Ok(addr) } else { Err(ConfigError::ArbiterGone) }
    }

    /// Sets whether [`run`](ConnectionBuilder::run) and [`run_until`](ConnectionBuilder::run_until) end on Ctrl-C
    /// (SIGINT), and on SIGTERM where the system has it: with a clean close (1000) within `close_timeout`, as
    /// WebSocketApp's `run_forever` does on `KeyboardInterrupt`. Default: `false`. With `true`, these signals no
    /// longer end the process, also not after the run. `start` handles no signals.
    #[doc(alias("sigterm", "sigint", "graceful"))]
    pub fn close_on_ctrl_c(mut self, close: bool) -> Self {
        self.close_on_ctrl_c = close;
        self
    }

    /// Sets the kinds of event that a [`stream`](ConnectionBuilder::stream) has. Default: all but `Batch`, `Data` and
    /// `Continuation`, so that each message comes once, as `Message`. `start` and `run` ignore it.
    pub fn stream_kinds(mut self, kinds: Kinds) -> Self {
        self.stream_kinds = kinds;
        self
    }

    /// Runs the connection to its end (WebSocketApp's `run_forever`) and returns its outcome. A handler may
    /// still be handling `Stopped` when this returns.
    ///
    /// Dropping the future closes the connection with 1001, unless another clone of its address is held. The close
    /// goes on in the background. If the program ends at once, as it does after a `select!` at the end of `main`, only
    /// the Close frame is sent, where the socket takes it without waiting, and the server's answer is not awaited. To end
    /// the run when something else happens, use [`run_until`](ConnectionBuilder::run_until) or
    /// [`close_on_ctrl_c`](ConnectionBuilder::close_on_ctrl_c).
    ///
    /// # Errors
    /// As [`start`](ConnectionBuilder::start), and [`ConfigError::ArbiterGone`] if the system ends
    /// before the run does.
    #[doc(alias("run_forever", "block_on"))]
    pub async fn run(self) -> Result<Outcome, ConfigError> {
        self.run_until(pending::<()>()).await
    }

    /// Does what [`run`](ConnectionBuilder::run) does, and closes the connection (1000) when a future completes. The
    /// close takes at most `close_timeout`, 3 s by default. The future's output is dropped, and so is the future where
    /// the run ends first.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use actix_ws_client::Connection;
    ///
    /// # async fn watch() -> Result<(), actix_ws_client::ConfigError> {
    /// let hour = tokio::time::sleep(Duration::from_secs(3600));
    /// let outcome = Connection::builder("wss://feed.example/").run_until(hour).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`run`](ConnectionBuilder::run).
    #[doc(alias("with_graceful_shutdown", "cancellation_token"))]
    pub async fn run_until<F: Future>(self, end: F) -> Result<Outcome, ConfigError> {
        let by_signal = self.close_on_ctrl_c;
        let (ended, mut outcome) = oneshot::channel();
        let addr = self.start_with(Some(ended))?;
        let mut end = pin!(end);
        // Polled, and so registered, before the connection's first dial can begin.
        let mut signal = pin!(signals::wait());
        let mut asked = false;
        let outcome = poll_fn(|cx| {
            if !asked {
                asked = end.as_mut().poll(cx).is_ready()
                    || by_signal && signal.as_mut().poll(cx).is_ready();
                if asked {
                    addr.do_send(command::Close::normal());
                }
            }
            Pin::new(&mut outcome).poll(cx)
        });
        outcome.await.map_err(|_| ConfigError::ArbiterGone)
    }

    fn start_with(
        self,
        run_reply: Option<oneshot::Sender<Outcome>>,
    ) -> Result<Addr<Connection>, ConfigError> {
        let make = self.actor(run_reply)?;
        event::try_start(move || Supervisor::start(move |_| make())).ok_or(ConfigError::NoRuntime)
    }

    /// Returns the kinds of event that a stream has.
    pub(crate) fn wanted_kinds(&self) -> Kinds {
        self.stream_kinds
    }

    /// Returns a future that completes once all closures have returned from their last call, or one of them has
    /// panicked; `None` if there are no closures. No further closure may be registered.
    pub(crate) fn after_closures(self) -> (Self, Option<oneshot::Receiver<()>>) {
        if self.closures.kinds() == 0 {
            return (self, None);
        }
        let (sender, all_called) = oneshot::channel();
        let mut sender = Some(sender);
        // The last of the closures, and so called after them.
        let builder = self.on_stopped(move |_| drop(sender.take()));
        (builder, Some(all_called))
    }

    /// Registers what takes some kinds of event, and is no actor.
    pub(crate) fn register(&mut self, kinds: Kinds, target: impl HandlerAddr + 'static) {
        self.handlers.add_target(kinds, target);
    }

    /// Checks the URL and all options, and returns what makes the actor on its thread.
    pub(crate) fn actor(
        self,
        run_reply: Option<oneshot::Sender<Outcome>>,
    ) -> Result<impl FnOnce() -> Connection + Send, ConfigError> {
        let ConnectionBuilder {
            url,
            options,
            mut handlers,
            closures,
            requests,
            source,
            handle_queue,
            ..
        } = self;
        let (plan, schedule) = plan(&url, options)?;
        let requests = requests.map(claim).transpose()?;
        warn_of_fragment(&url);
        Ok(move || {
            handlers.start(closures);
            Connection::new(plan, schedule, source, handle_queue, handlers, requests, run_reply)
        })
    }
}

/// Claims the questions for the connection that is built.
fn claim(answers: Arc<dyn Answers>) -> Result<Box<Attached>, ConfigError> {
    let taken = "they belong to another connection: make a `Requests` for each";
    Attached::claim(answers).ok_or_else(|| ConfigError::option("requests", taken))
}

/// Checks the URL and all options, and begins the reconnect policy.
fn plan(url: &str, options: Options) -> Result<(Arc<Plan>, Schedule), ConfigError> {
    let plan = Arc::new(Plan::new(url, options)?);
    let begin = || Schedule::new(&plan.options.reconnect, plan.options.guards());
    let schedule = catch_unwind(AssertUnwindSafe(begin))
        .map_err(|_| ConfigError::option("reconnect", "the policy panicked"))?;
    Ok((plan, schedule))
}

impl fmt::Debug for ConnectionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the URL, which may hold credentials.
        f.debug_struct("ConnectionBuilder")
            .field("source", &self.source)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
