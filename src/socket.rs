//! The options of a TCP socket, set through socket2.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};

use crate::closure::{self, Closure};
use crate::error::{ConfigError, Error};

/// The options of each TCP socket, set before it connects (WebSocketApp's `sockopt`).
///
/// Two values are equal if all options are equal and both have the same closure, or none.
/// Connections with equal options share the memory that the options take.
///
/// ```
/// use std::time::Duration;
/// use actix_ws_client::{Connection, SocketOptions};
///
/// let options = SocketOptions::new()
///     .keepalive(Duration::from_secs(60))
///     .receive_buffer(4 << 20)
///     .with(|socket| socket.set_tos_v4(0x10));
/// let builder = Connection::builder("wss://example.com/feed").socket_options(options);
/// ```
#[derive(Clone, PartialEq)]
pub struct SocketOptions {
    /// Whether small writes are sent at once.
    nodelay: bool,
    /// How long the connection is idle before the first probe; `None` sends no probes.
    keepalive: Option<Duration>,
    /// The time between two probes.
    keepalive_interval: Duration,
    /// The number of unanswered probes after which the connection is lost.
    keepalive_probes: u32,
    /// How long sent bytes may stay unacknowledged.
    user_timeout: UserTimeout,
    /// The size of the receive buffer in bytes; `None` lets the system choose.
    receive_buffer: Option<usize>,
    /// The size of the send buffer in bytes; `None` lets the system choose.
    send_buffer: Option<usize>,
    /// The only network interface that may be used.
    device: Option<String>,
    /// The mark of outgoing packets, for packet filters and routing.
    mark: Option<u32>,
    /// The closure of the application, called after all other options are set.
    hook: Option<Closure<Hook>>,
}

/// The setting of `TCP_USER_TIMEOUT`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum UserTimeout {
    /// [`USER_TIMEOUT`], or longer where `write_timeout` is.
    Default,
    /// The default of the system.
    System,
    After(Duration),
}

impl UserTimeout {
    /// Returns the timeout to set, if one is to be set.
    fn within(self, write_timeout: Duration) -> Option<Duration> {
        match self {
            UserTimeout::Default => {
                Some(USER_TIMEOUT.max(write_timeout.saturating_add(USER_TIMEOUT_MARGIN)))
            }
            UserTimeout::System => None,
            UserTimeout::After(timeout) => Some(timeout),
        }
    }
}

/// The default of `TCP_USER_TIMEOUT`.
const USER_TIMEOUT: Duration = Duration::from_secs(60);

/// How much longer than `write_timeout` the default is at least: the system begins to count when the peer's window
/// closes, which is before our buffer is full.
const USER_TIMEOUT_MARGIN: Duration = Duration::from_secs(10);

/// The longest user timeout that Linux takes: 2³¹ − 1 ms, 24 days.
const MAX_USER_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);

type Hook = dyn Fn(SockRef<'_>) -> io::Result<()> + Send + Sync;

impl Default for SocketOptions {
    fn default() -> SocketOptions {
        SocketOptions {
            nodelay: true,
            keepalive: Some(Duration::from_secs(30)),
            keepalive_interval: Duration::from_secs(10),
            keepalive_probes: 3,
            user_timeout: UserTimeout::Default,
            receive_buffer: None,
            send_buffer: None,
            device: None,
            mark: None,
            hook: None,
        }
    }
}

impl SocketOptions {
    /// Creates the default options: those of WebSocketApp's `DEFAULT_SOCKET_OPTION`, and a user
    /// timeout.
    pub fn new() -> SocketOptions {
        SocketOptions::default()
    }

    /// Sets `TCP_NODELAY`: whether small writes are sent at once. Default: true.
    #[doc(alias("tcp_nodelay", "nagle"))]
    pub fn nodelay(mut self, on: bool) -> SocketOptions {
        self.nodelay = on;
        self
    }

    /// Sets `SO_KEEPALIVE`, and how long the connection is idle before the system probes it.
    /// Default: 30 s. `None` sends no probes.
    #[doc(alias("tcp_keepalive", "so_keepalive"))]
    pub fn keepalive(mut self, idle: impl Into<Option<Duration>>) -> SocketOptions {
        self.keepalive = idle.into();
        self
    }

    /// Sets `TCP_KEEPINTVL`: the time between two probes. Default: 10 s.
    pub fn keepalive_interval(mut self, interval: Duration) -> SocketOptions {
        self.keepalive_interval = interval;
        self
    }

    /// Sets `TCP_KEEPCNT`: after how many unanswered probes the system gives up. Default: 3. Has no
    /// effect on Windows.
    pub fn keepalive_probes(mut self, probes: u32) -> SocketOptions {
        self.keepalive_probes = probes;
        self
    }

    /// Sets `TCP_USER_TIMEOUT`: how long sent bytes may stay unacknowledged, and how long a peer that reads
    /// nothing is waited for. Default: 60 s, or 10 s more than `write_timeout` if that is longer. `None`
    /// leaves the default of the system, about 15 minutes.
    ///
    /// A user timeout that is set here ends the connection before a longer `write_timeout` does. `start` refuses
    /// it if `write_timeout` is longer than its default of 10 s too.
    ///
    /// Keepalive does not cover this case: the system sends no probes while bytes are
    /// unacknowledged. Linux only; has no effect elsewhere.
    pub fn user_timeout(mut self, timeout: impl Into<Option<Duration>>) -> SocketOptions {
        self.user_timeout = timeout.into().map_or(UserTimeout::System, UserTimeout::After);
        self
    }

    /// Sets `SO_RCVBUF`, in bytes; Linux doubles the value. Default: the system's choice, which
    /// grows with the traffic. A buffer that is set here does not grow.
    pub fn receive_buffer(mut self, bytes: usize) -> SocketOptions {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Sets `SO_SNDBUF`, in bytes; Linux doubles the value. Default: the system's choice.
    pub fn send_buffer(mut self, bytes: usize) -> SocketOptions {
        self.send_buffer = Some(bytes);
        self
    }

    /// Sets `SO_BINDTODEVICE`: the only network interface that may be used. Linux only: elsewhere
    /// `start` returns an error.
    pub fn device(mut self, name: impl Into<String>) -> SocketOptions {
        self.device = Some(name.into());
        self
    }

    /// Sets `SO_MARK`, a mark for packet filters and routing, which needs `CAP_NET_ADMIN`. Linux
    /// only: elsewhere `start` returns an error.
    pub fn mark(mut self, mark: u32) -> SocketOptions {
        self.mark = Some(mark);
        self
    }

    /// Sets a closure for everything else. It is called with each socket before it connects, after
    /// all other options are set.
    ///
    /// If it returns an error, connecting to that address has failed. If it panics, the run ends.
    pub fn with<F>(mut self, hook: F) -> SocketOptions
    where
        F: Fn(SockRef<'_>) -> io::Result<()> + Send + Sync + 'static,
    {
        self.hook = Some(Closure::new(Arc::new(hook)));
        self
    }

    /// Checks the options that would fail for every socket.
    ///
    /// # Errors
    /// If a value is zero where that is not possible, the option does not exist on this system, the system refuses the
    /// value, or the user timeout makes `write_timeout` void.
    pub(crate) fn check(&self, write_timeout: Duration) -> Result<(), ConfigError> {
        let refuse = |reason: &str| Err(ConfigError::option("socket_options", reason));
        let zero = Duration::ZERO;
        if self.keepalive == Some(zero) || self.keepalive_interval == zero {
            return refuse("a keepalive of zero; use None for off");
        }
        if self.keepalive_probes == 0 {
            return refuse("zero keepalive probes; use keepalive(None) for off");
        }
        if self.user_timeout == UserTimeout::After(zero) {
            return refuse("a user timeout of zero; use None for the system's");
        }
        if !cfg!(target_os = "linux") && (self.device.is_some() || self.mark.is_some()) {
            return refuse("device and mark are there only on Linux");
        }
        if let UserTimeout::After(timeout) = self.user_timeout
            && cfg!(target_os = "linux")
            && write_timeout > DEFAULT_WRITE_TIMEOUT.max(timeout)
        {
            let reason = format!(
                "a user timeout of {timeout:?} would end the connection before `write_timeout`, {write_timeout:?}: \
                 expected at least as much, or None for the system's"
            );
            return refuse(&reason);
        }
        // The defaults are known to work.
        if *self == SocketOptions::default() { Ok(()) } else { self.try_out(write_timeout) }
    }

    /// Sets the options on a socket that is not connected, all but the closure.
    ///
    /// # Errors
    /// The option that the system refuses, unless that can change: the interface of `device` may be missing for now. No
    /// error if there is no socket to try it with.
    fn try_out(&self, write_timeout: Duration) -> Result<(), ConfigError> {
        let new = |domain| Socket::new(domain, Type::STREAM, None);
        let Ok(socket) = new(Domain::IPV4).or_else(|_| new(Domain::IPV6)) else {
            return Ok(());
        };
        match self.set((&socket).into(), write_timeout) {
            Err(refused) if refused.option != "device" => Err(ConfigError::option(
                "socket_options",
                format!("{}: the system refuses the value: {}", refused.option, refused.err),
            )),
            _ => Ok(()),
        }
    }

    /// Sets all options on a socket.
    ///
    /// # Errors
    /// What the system or the closure returns; [`Error::Handler`] as the source if the closure
    /// panicked.
    pub(crate) fn apply(&self, socket: SockRef<'_>, write_timeout: Duration) -> io::Result<()> {
        self.set(SockRef::from(&*socket), write_timeout).map_err(|refused| refused.err)?;
        let Some(hook) = &self.hook else {
            return Ok(());
        };
        // A panic of the application must not unwind into the connection's actor.
        let panicked = || Error::Handler("the closure for sockets panicked".into());
        closure::contain(|| hook(socket))
            .unwrap_or_else(|| Err(io::Error::other(panicked())))
            .map_err(closure::checked)
    }

    /// Sets all options but the closure.
    fn set(&self, socket: SockRef<'_>, write_timeout: Duration) -> Result<(), Refused> {
        // Options that are off in a new socket are not set.
        if self.nodelay {
            socket.set_tcp_nodelay(true).map_err(refused("nodelay"))?;
        }
        if let Some(idle) = self.keepalive {
            let keepalive =
                TcpKeepalive::new().with_time(idle).with_interval(self.keepalive_interval);
            #[cfg(not(windows))]
            let keepalive = keepalive.with_retries(self.keepalive_probes);
            socket.set_tcp_keepalive(&keepalive).map_err(refused("keepalive"))?;
        }
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes).map_err(refused("receive_buffer"))?;
        }
        if let Some(bytes) = self.send_buffer {
            socket.set_send_buffer_size(bytes).map_err(refused("send_buffer"))?;
        }
        self.set_linux(&socket, write_timeout)
    }

    /// Sets the options that only Linux has.
    #[cfg(target_os = "linux")]
    fn set_linux(&self, socket: &SockRef<'_>, write_timeout: Duration) -> Result<(), Refused> {
        if let Some(timeout) = self.user_timeout.within(write_timeout) {
            let timeout = timeout.min(MAX_USER_TIMEOUT);
            socket.set_tcp_user_timeout(Some(timeout)).map_err(refused("user_timeout"))?;
        }
        if let Some(name) = &self.device {
            socket.bind_device(Some(name.as_bytes())).map_err(refused("device"))?;
        }
        match self.mark {
            Some(mark) => socket.set_mark(mark).map_err(refused("mark")),
            None => Ok(()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn set_linux(&self, _socket: &SockRef<'_>, _: Duration) -> Result<(), Refused> {
        Ok(())
    }
}

/// The option that the system refused.
struct Refused {
    option: &'static str,
    err: io::Error,
}

fn refused(option: &'static str) -> impl FnOnce(io::Error) -> Refused {
    move |err| Refused { option, err }
}

impl fmt::Debug for SocketOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketOptions")
            .field("nodelay", &self.nodelay)
            .field("keepalive", &self.keepalive)
            .field("user_timeout", &self.user_timeout)
            .field("receive_buffer", &self.receive_buffer)
            .field("send_buffer", &self.send_buffer)
            .field("device", &self.device)
            .field("mark", &self.mark)
            .field("hook", &self.hook.is_some())
            .finish_non_exhaustive()
    }
}

/// The default of `write_timeout`.
pub(crate) const DEFAULT_WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How TCP sockets are created.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sockets {
    /// The options of each socket.
    pub(crate) options: SocketOptions,
    /// The local address to bind to, if the application has set one.
    pub(crate) bind: Option<IpAddr>,
}
