//! The flags that apply to each connection, whatever it is for: TLS, proxies, timeouts, and when to reconnect.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use actix_ws_client::{Compression, ConnectionBuilder, Limits, Tls};

use crate::from_file;
use crate::secrets::Secrets;
use crate::usage::{KEY_PASSWORD, Usage, variable};
use crate::value::{
    OptionalTime, OptionalTimeout, PingPayload, Policy, PositiveTime, Size, Time, Version,
};

/// The flags of a connection.
#[derive(Clone, clap::Args)]
pub(crate) struct Link {
    /// The time between two pings; 0 or off sends none [default: 20s]
    #[arg(long, value_name = "TIME")]
    ping_interval: Option<OptionalTime>,

    /// The time after a ping until a silent server counts as lost; off: never [default: 10s]
    #[arg(long, value_name = "TIME")]
    ping_timeout: Option<OptionalTimeout>,

    /// The payload of every ping, up to 125 bytes [default: a different number each time]
    #[arg(long, value_name = "TEXT")]
    ping_payload: Option<PingPayload>,

    /// Drop the socket when no message came for this time; 0 or off: never [default: off]
    #[arg(long, value_name = "TIME")]
    idle_timeout: Option<OptionalTime>,

    /// The deadline for one whole dial: name resolution, TCP, TLS and upgrade [default: 10s]
    #[arg(long, value_name = "TIME")]
    connect_timeout: Option<PositiveTime>,

    /// The deadline for the closing handshake; 0 does not wait for an answer
    #[arg(long, value_name = "TIME", default_value = "3s")]
    close_timeout: Time,

    /// When to reconnect: exp (with jitter, up to 30s), never, or after a fixed time such as 5s
    #[arg(long, value_name = "exp|never|TIME", default_value = "exp")]
    pub(crate) reconnect: Policy,

    /// How many dials in a row may fail [default: no limit]
    #[arg(long, value_name = "N")]
    pub(crate) max_attempts: Option<NonZeroU32>,

    /// How long a socket must be open until the backoff starts anew [default: 10s]
    #[arg(long, value_name = "TIME")]
    stable_after: Option<Time>,

    /// The largest frame and the largest message to accept [default: 16m]
    #[arg(long, value_name = "SIZE")]
    max_message: Option<Size>,

    /// Accept any certificate: anyone on the network path can read and change everything
    #[arg(short = 'n', long, visible_alias = "nocert", conflicts_with = "cacert")]
    insecure: bool,

    /// Trust the certificate authorities in this PEM file, or in the files of this directory,
    /// instead of the system's
    #[arg(long, value_name = "PATH")]
    cacert: Option<PathBuf>,

    /// Present this certificate if the server asks for one: PEM with its chain, and possibly its key
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,

    /// The key of --cert, PEM [default: in the same file]; WSUP_KEY_PASSWORD decrypts it if need be
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,

    /// The name that the server's certificate must have, also sent to the server (SNI)
    /// [default: the URL's host]
    #[arg(long, value_name = "NAME")]
    servername: Option<String>,

    /// The lowest version of TLS: 1.2 or 1.3 [default: 1.2]
    #[arg(long, value_name = "VERSION")]
    tls_min: Option<Version>,

    /// The highest version of TLS: 1.2 or 1.3 [default: 1.3]
    #[arg(long, value_name = "VERSION")]
    tls_max: Option<Version>,

    /// Append the secrets of TLS to the file that SSLKEYLOGFILE names, for Wireshark
    #[arg(long)]
    key_log: bool,

    /// Connect through this proxy: http, https, socks4, socks4a, socks5 (socks) or socks5h
    /// [default: that of the environment, as for curl]; @FILE: the content of a file
    // Without a parser of clap: it repeats a value that it refuses, and this one may have a password.
    #[arg(short, long, value_name = "URL")]
    pub(crate) proxy: Option<String>,

    /// Hosts to dial directly, such as example.com,10.0.0.0/8; * for all
    /// [default: that of the environment]
    #[arg(long, value_name = "LIST")]
    no_proxy: Option<String>,

    /// The local address to bind sockets to [default: chosen by the system]
    #[arg(long, value_name = "ADDR")]
    bind: Option<IpAddr>,

    /// Do not offer to compress messages (permessage-deflate)
    #[arg(long)]
    no_deflate: bool,
}

/// The default of --connect-timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Flags that were checked, with the content of their files.
pub(crate) struct Prepared {
    link: Link,
    tls: Tls,
    proxy: Option<String>,
}

impl Prepared {
    /// Sets the options of a connection. Those without a flag keep the value that they have.
    pub(crate) fn apply(&self, builder: ConnectionBuilder) -> ConnectionBuilder {
        let Prepared { link, tls, proxy } = self;
        let mut builder = builder
            .connect_timeout(link.connect_timeout())
            .close_timeout(link.close_timeout())
            .reconnect(link.reconnect)
            .max_attempts(link.max_attempts.map(NonZeroU32::get))
            .tls(tls.clone());
        if let Some(Size(bytes)) = link.max_message {
            let mut limits = Limits::default();
            limits.frame = bytes;
            limits.message = bytes;
            builder = builder.limits(limits);
        }
        if link.no_deflate {
            builder = builder.compression(Compression::off());
        }
        if let Some(url) = proxy {
            builder = builder.proxy(url.as_str());
        }
        if let Some(list) = &link.no_proxy {
            builder = builder.no_proxy(list.as_str());
        }
        if let Some(ip) = link.bind {
            builder = builder.bind_address(ip);
        }
        link.timeouts(builder)
    }
}

impl Link {
    /// Checks the flags, and reads their files.
    pub(crate) fn prepare(&self, secrets: &Secrets) -> Result<Prepared, Usage> {
        let proxy = self.proxy.as_ref().map(|url| from_file::line(url)).transpose();
        let proxy = proxy.map_err(|why| Usage(format!("--proxy: {why}")))?;
        if let Some(url) = &proxy {
            secrets.note_url(url);
        }
        let proxies = |name: &str| name.to_ascii_lowercase().ends_with("_proxy");
        for (name, url) in std::env::vars_os() {
            if proxies(&name.to_string_lossy()) {
                secrets.note_url(&url.to_string_lossy());
            }
        }
        Ok(Prepared { link: self.clone(), tls: self.tls()?, proxy })
    }

    fn timeouts(&self, mut builder: ConnectionBuilder) -> ConnectionBuilder {
        if let Some(OptionalTime(interval)) = self.ping_interval {
            builder = builder.ping_interval(interval);
        }
        if let Some(OptionalTimeout(timeout)) = self.ping_timeout {
            builder = builder.ping_timeout(timeout);
        }
        if let Some(PingPayload(payload)) = &self.ping_payload {
            builder = builder.ping_payload(payload.clone().into_bytes());
        }
        if let Some(OptionalTime(timeout)) = self.idle_timeout {
            builder = builder.idle_timeout(timeout);
        }
        if let Some(Time(life)) = self.stable_after {
            builder = builder.stable_after(life);
        }
        builder
    }

    fn tls(&self) -> Result<Tls, Usage> {
        let mut tls = Tls::new().key_log(self.key_log);
        if self.insecure {
            tls = tls.dangerously_accept_any_certificate();
        }
        if let Some(path) = &self.cacert {
            tls = if path.is_dir() { tls.ca_dir(path)? } else { tls.ca_file(path)? };
        }
        if let Some(cert) = &self.cert {
            tls = tls.client_cert_file(cert, self.key.as_ref().unwrap_or(cert))?;
            // Not a flag: other users may see the arguments of a process.
            if let Some(password) = variable(KEY_PASSWORD)? {
                tls = tls.client_key_password(password);
            }
        }
        if let Some(name) = &self.servername {
            tls = tls.server_name(name.as_str());
        }
        if let Some(Version(version)) = self.tls_min {
            tls = tls.min_version(version);
        }
        if let Some(Version(version)) = self.tls_max {
            tls = tls.max_version(version);
        }
        Ok(tls)
    }

    /// Returns the deadline of one dial.
    pub(crate) fn connect_timeout(&self) -> Duration {
        self.connect_timeout.map_or(CONNECT_TIMEOUT, |timeout| timeout.0)
    }

    /// Returns the deadline of the closing handshake.
    pub(crate) fn close_timeout(&self) -> Duration {
        self.close_timeout.0
    }

    /// Returns the size of the largest accepted message, in bytes, if it is set.
    pub(crate) fn max_message(&self) -> Option<usize> {
        self.max_message.map(|size| size.0)
    }
}
