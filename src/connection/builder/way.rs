//! Options of the way to the server: TLS, proxies, sockets and transports.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection::builder::ConnectionBuilder;
use crate::options::{Secret, TransportFactory};
use crate::socket::SocketOptions;
use crate::tls::Tls;

impl ConnectionBuilder {
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
}
