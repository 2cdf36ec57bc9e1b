//! The options and handlers of a connection that is to be started.

mod blocking;
mod callbacks;
#[cfg(feature = "record")]
mod recording;
mod request;
mod signals;
mod start;
mod way;

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::backoff::{DialLimit, Reconnect, default_reconnect};
use crate::budget::Budget;
use crate::command::Handle;
use crate::command::status::{SourceId, Watch};
use crate::connection::actor::Item;
use crate::connection::handle_queue::HandleQueue;
use crate::delivery::{Closures, HandlerAddr, Handlers};
use crate::dial::preview;
use crate::error::{ConfigError, Error, Verdict};
use crate::event::Kinds;
use crate::options::{MaskKey, Options, Overflow, Plan, RetryIf};
use crate::proto::codec::Limits;
use crate::proto::compression::Compression;
use crate::requests::{Answers, Requests};

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
    /// [`SocketOptions::user_timeout`](crate::SocketOptions::user_timeout) is set.
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
    /// `true` an open socket is closed with 1001, and the [`Outcome`](crate::Outcome) is `Refused` with
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
