//! Which options a TCP socket has, by socket2.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use crate::closure::Closure;
use crate::error::{ConfigError, Error};

/// The options of each TCP socket, set before it connects (WebSocketApp's `sockopt`).
///
/// Two are equal if all options are, and the closure, where there is one, is the same: connections with
/// equal ones share the memory that options take.
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
    nodelay: bool,
    /// How long the connection is idle before probes begin.
    keepalive: Option<Duration>,
    keepalive_interval: Duration,
    keepalive_probes: u32,
    user_timeout: Option<Duration>,
    receive_buffer: Option<usize>,
    send_buffer: Option<usize>,
    device: Option<String>,
    mark: Option<u32>,
    /// The application's own, after all of ours.
    hook: Option<Closure<Hook>>,
}

type Hook = dyn Fn(SockRef<'_>) -> io::Result<()> + Send + Sync;

impl Default for SocketOptions {
    fn default() -> SocketOptions {
        SocketOptions {
            nodelay: true,
            keepalive: Some(Duration::from_secs(30)),
            keepalive_interval: Duration::from_secs(10),
            keepalive_probes: 3,
            user_timeout: Some(Duration::from_secs(60)),
            receive_buffer: None,
            send_buffer: None,
            device: None,
            mark: None,
            hook: None,
        }
    }
}

impl SocketOptions {
    /// The defaults: those of WebSocketApp's `DEFAULT_SOCKET_OPTION`, and a user timeout.
    pub fn new() -> SocketOptions {
        SocketOptions::default()
    }

    /// `TCP_NODELAY`: whether small messages go out at once. Default true.
    pub fn nodelay(mut self, on: bool) -> SocketOptions {
        self.nodelay = on;
        self
    }

    /// `SO_KEEPALIVE`, and how long the connection is idle before the system probes it. Default
    /// 30 s; `None` never probes.
    pub fn keepalive(mut self, idle: impl Into<Option<Duration>>) -> SocketOptions {
        self.keepalive = idle.into();
        self
    }

    /// `TCP_KEEPINTVL`: between two probes. Default 10 s.
    pub fn keepalive_interval(mut self, interval: Duration) -> SocketOptions {
        self.keepalive_interval = interval;
        self
    }

    /// `TCP_KEEPCNT`: probes without an answer before the system gives up. Default 3. No effect on
    /// Windows.
    pub fn keepalive_probes(mut self, probes: u32) -> SocketOptions {
        self.keepalive_probes = probes;
        self
    }

    /// `TCP_USER_TIMEOUT`: how long sent bytes may stay unacknowledged, which keepalive does not
    /// see: such bytes suppress its probes. Default 60 s; `None` leaves the system's, which is a
    /// quarter of an hour. Linux only, without effect elsewhere.
    pub fn user_timeout(mut self, timeout: impl Into<Option<Duration>>) -> SocketOptions {
        self.user_timeout = timeout.into();
        self
    }

    /// `SO_RCVBUF`, in bytes; Linux doubles it. Default: the system's, which grows by itself; one
    /// that is set does not.
    pub fn receive_buffer(mut self, bytes: usize) -> SocketOptions {
        self.receive_buffer = Some(bytes);
        self
    }

    /// `SO_SNDBUF`, in bytes; Linux doubles it. Default: the system's.
    pub fn send_buffer(mut self, bytes: usize) -> SocketOptions {
        self.send_buffer = Some(bytes);
        self
    }

    /// `SO_BINDTODEVICE`: the only interface that is used. Linux only: elsewhere `start` refuses it.
    pub fn device(mut self, name: impl Into<String>) -> SocketOptions {
        self.device = Some(name.into());
        self
    }

    /// `SO_MARK`, for packet filters and routing; needs `CAP_NET_ADMIN`. Linux only: elsewhere
    /// `start` refuses it.
    pub fn mark(mut self, mark: u32) -> SocketOptions {
        self.mark = Some(mark);
        self
    }

    /// Anything else: a closure that gets each socket, with all other options set, before it
    /// connects. What it fails with is the failure of that address. A panic in it ends the run.
    pub fn with<F>(mut self, hook: F) -> SocketOptions
    where
        F: Fn(SockRef<'_>) -> io::Result<()> + Send + Sync + 'static,
    {
        self.hook = Some(Closure::new(Arc::new(hook)));
        self
    }

    /// Checks what would fail with every socket.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |reason| Err(ConfigError::option("socket_options", reason));
        let zero = Duration::ZERO;
        if self.keepalive == Some(zero) || self.keepalive_interval == zero {
            return refuse("a keepalive of zero; use None for off");
        }
        if self.keepalive_probes == 0 {
            return refuse("zero keepalive probes; use keepalive(None) for off");
        }
        if self.user_timeout == Some(zero) {
            return refuse("a user timeout of zero; use None for the system's");
        }
        if !cfg!(target_os = "linux") && (self.device.is_some() || self.mark.is_some()) {
            return refuse("device and mark are there only on Linux");
        }
        Ok(())
    }

    /// Sets them all.
    ///
    /// # Errors
    /// What the system says; [`Error::Handler`] inside, where the closure has panicked.
    pub(crate) fn apply(&self, socket: SockRef<'_>) -> io::Result<()> {
        // What a new socket has need not be set.
        if self.nodelay {
            socket.set_tcp_nodelay(true)?;
        }
        if let Some(idle) = self.keepalive {
            let keepalive =
                TcpKeepalive::new().with_time(idle).with_interval(self.keepalive_interval);
            #[cfg(not(windows))]
            let keepalive = keepalive.with_retries(self.keepalive_probes);
            socket.set_tcp_keepalive(&keepalive)?;
        }
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        self.apply_linux(&socket)?;
        let Some(hook) = &self.hook else {
            return Ok(());
        };
        catch_unwind(AssertUnwindSafe(|| hook(socket))).unwrap_or_else(|_| {
            Err(io::Error::other(Error::Handler("the closure for sockets panicked".into())))
        })
    }

    #[cfg(target_os = "linux")]
    fn apply_linux(&self, socket: &SockRef<'_>) -> io::Result<()> {
        if let Some(timeout) = self.user_timeout {
            socket.set_tcp_user_timeout(Some(timeout))?;
        }
        if let Some(name) = &self.device {
            socket.bind_device(Some(name.as_bytes()))?;
        }
        match self.mark {
            Some(mark) => socket.set_mark(mark),
            None => Ok(()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn apply_linux(&self, _socket: &SockRef<'_>) -> io::Result<()> {
        Ok(())
    }
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

/// How each TCP socket is made.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sockets {
    pub(crate) options: SocketOptions,
    /// Our own address, where the application chose it.
    pub(crate) bind: Option<IpAddr>,
}
