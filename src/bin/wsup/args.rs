//! The flags, and the connection that they ask for.

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use actix_ws_client::backoff::Schedule;
use actix_ws_client::proto::codec::Codec;
use actix_ws_client::proto::frame::Role;
use actix_ws_client::{Compression, ConfigError, Connection, ConnectionBuilder, Limits, Tls};
use bytestring::ByteString;
use clap::Parser;

use crate::value::{Header, Patience, PingPayload, Policy, Positive, Size, Span, Switch, Version};

/// A WebSocket connection that stays, from a shell.
///
/// Sends each line of stdin as a text message, prints the messages that come, and comes back with
/// backoff when the connection is lost.
#[derive(Parser)]
#[command(name = "wsup", version, after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Where to: ws://host:port/path or wss://…; without a port it is 80 or 443
    #[arg(value_name = "URL")]
    url: String,

    /// What stands behind the URL by mistake. Clap would repeat it in its refusal, and a URL may
    /// hold a password.
    #[arg(hide = true)]
    more: Vec<String>,

    /// Print every event as one JSON object a line, and nothing else on stdout
    #[arg(long)]
    pub(crate) json: bool,

    /// Add a header line to the upgrade request; repeatable
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,

    /// What the connection is called in the output, in place of its number
    #[arg(long)]
    name: Option<String>,

    /// Time between two pings; 0 or off sends none [default: 20s]
    #[arg(long, value_name = "TIME")]
    ping_interval: Option<Switch>,

    /// Time from a ping until a silent peer is given up; off never does [default: 10s]
    #[arg(long, value_name = "TIME")]
    ping_timeout: Option<Patience>,

    /// What every ping carries, up to 125 bytes [default: a number of its own]
    #[arg(long, value_name = "TEXT")]
    ping_payload: Option<PingPayload>,

    /// Give the socket up when no message came for so long; 0 or off never does [default: off]
    #[arg(long, value_name = "TIME")]
    idle_timeout: Option<Switch>,

    /// Time for one whole dial: name, TCP, TLS and upgrade [default: 10s]
    #[arg(long, value_name = "TIME")]
    connect_timeout: Option<Positive>,

    /// Time for the closing handshake; 0 waits for no answer
    #[arg(long, value_name = "TIME", default_value = "3s")]
    close_timeout: Span,

    /// How to come back: exp (with jitter, up to 30s), never, or a time such as 5s
    #[arg(long, value_name = "exp|never|TIME", default_value = "exp")]
    reconnect: Policy,

    /// Dials in a row that may fail [default: any number]
    #[arg(long, value_name = "N")]
    max_attempts: Option<NonZeroU32>,

    /// How long a socket must have been open for the backoff to start anew [default: 10s]
    #[arg(long, value_name = "TIME")]
    stable_after: Option<Span>,

    /// The largest frame and the largest message that are accepted [default: 16m]
    #[arg(long, value_name = "SIZE")]
    max_message: Option<Size>,

    /// Bytes that may wait to be written, and bytes of input that may wait for a socket
    #[arg(long, value_name = "SIZE", default_value = "1m")]
    send_buffer: Size,

    /// Send this after every opening, before anything else; repeatable
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    on_open: Vec<String>,

    /// Send this once, before the lines of stdin; repeatable
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    send: Vec<String>,

    /// Close after this many messages
    #[arg(long, value_name = "N")]
    pub(crate) messages: Option<NonZeroU64>,

    /// Close after this time, counted from the start of the process
    #[arg(long, value_name = "TIME")]
    duration: Option<Positive>,

    /// After the end of the input, wait for replies for so long before closing
    #[arg(long, value_name = "TIME", default_value = "500ms")]
    eof_wait: Span,

    /// Accept any certificate: whoever is on the way can read and change everything
    #[arg(long, conflicts_with = "cacert")]
    insecure: bool,

    /// Trust the certificate authorities in this PEM file, or in the files of this directory,
    /// instead of the system's
    #[arg(long, value_name = "PATH")]
    cacert: Option<PathBuf>,

    /// Show the server this certificate, PEM with its chain and maybe its key, if it asks for one
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,

    /// The key of --cert, PEM [default: in the same file]; WSUP_KEY_PASSWORD opens an encrypted one
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,

    /// The name that the server's certificate has to be for, and that the server is told
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

    /// Go through this proxy: http, https, socks4, socks4a, socks5 or socks5h
    /// [default: that of the environment, as curl has it]
    // No parser of clap's: it would repeat a value that it refuses, and this one may hold a password.
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,

    /// Hosts that are dialled directly, such as example.com,10.0.0.0/8; * for all
    /// [default: that of the environment]
    #[arg(long, value_name = "LIST")]
    no_proxy: Option<String>,

    /// The address of ours that sockets are bound to [default: the system's choice]
    #[arg(long, value_name = "ADDR")]
    bind: Option<IpAddr>,

    /// Do not offer to compress messages (permessage-deflate)
    #[arg(long)]
    no_deflate: bool,

    /// Dial nothing: print the upgrade request, secrets left out, and the first ten delays
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Tell of every change of state too
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// The variable of the environment with the password of --key.
const KEY_PASSWORD: &str = "WSUP_KEY_PASSWORD";

const AFTER_HELP: &str = "\
Times are written 500ms, 10s, 2m or 1h; sizes 4096, 256k or 16m.
RUST_LOG sets what is logged to stderr; without it, warnings are.

Exit status: 0 closed, 1 gave up or failed, 2 usage, 3 refused, 130 a second signal.";

/// What the flags asked for that cannot be. The words never repeat a header or a URL.
pub(crate) struct Usage(pub(crate) String);

/// What is to be sent, besides stdin.
pub(crate) struct Texts {
    /// After every opening.
    pub(crate) on_open: Vec<ByteString>,
    /// Once in the run.
    pub(crate) once: Vec<ByteString>,
}

impl Args {
    /// The connection that is asked for, without its handlers.
    pub(crate) fn builder(&self) -> Result<ConnectionBuilder, Usage> {
        if !self.more.is_empty() {
            return Err(Usage("only one URL can be given".into()));
        }
        let mut builder = Connection::builder(self.url.as_str())
            .close_timeout(self.close_timeout.0)
            .reconnect(self.reconnect)
            .max_attempts(self.max_attempts.map(NonZeroU32::get))
            .send_buffer(self.send_buffer.0)
            .tls(self.tls()?);
        for line in &self.headers {
            let Header { name, value } =
                Header::parse(line).map_err(|why| Usage(format!("--header: {why}")))?;
            builder = builder.header(name, value);
        }
        if let Some(name) = &self.name {
            builder = builder.name(name.as_str());
        }
        if let Some(Size(bytes)) = self.max_message {
            let mut limits = Limits::default();
            limits.frame = bytes;
            limits.message = bytes;
            builder = builder.limits(limits);
        }
        if self.no_deflate {
            builder = builder.compression(Compression::off());
        }
        Ok(self.way(self.times(builder)))
    }

    /// How the server is reached.
    fn way(&self, mut builder: ConnectionBuilder) -> ConnectionBuilder {
        if let Some(url) = &self.proxy {
            builder = builder.proxy(url.as_str());
        }
        if let Some(list) = &self.no_proxy {
            builder = builder.no_proxy(list.as_str());
        }
        if let Some(ip) = self.bind {
            builder = builder.bind_address(ip);
        }
        builder
    }

    fn times(&self, mut builder: ConnectionBuilder) -> ConnectionBuilder {
        if let Some(Switch(interval)) = self.ping_interval {
            builder = builder.ping_interval(interval);
        }
        if let Some(Patience(timeout)) = self.ping_timeout {
            builder = builder.ping_timeout(timeout);
        }
        if let Some(PingPayload(payload)) = &self.ping_payload {
            builder = builder.ping_payload(payload.clone().into_bytes());
        }
        if let Some(Switch(timeout)) = self.idle_timeout {
            builder = builder.idle_timeout(timeout);
        }
        if let Some(Positive(timeout)) = self.connect_timeout {
            builder = builder.connect_timeout(timeout);
        }
        if let Some(Span(life)) = self.stable_after {
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
            // Not a flag: others may see the arguments of a process.
            if let Ok(password) = std::env::var(KEY_PASSWORD) {
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

    /// The first delays between dials that fail, ten at most: without the limit of dials, which
    /// knows the past, and fewer where the attempts are used up earlier.
    pub(crate) fn delays(&self) -> Vec<Duration> {
        let retries = self.max_attempts.map_or(u32::MAX, |dials| dials.get() - 1);
        Schedule::preview(&self.reconnect.into(), retries.min(10) as usize, &mut rand::rng())
    }

    /// What the output calls the connection that the builder makes.
    pub(crate) fn source(&self, builder: &ConnectionBuilder) -> String {
        self.name.clone().unwrap_or_else(|| builder.source().to_string())
    }

    /// What `--on-open` and `--send` ask to be sent.
    pub(crate) fn texts(&self) -> Result<Texts, Usage> {
        let texts = |flag: &str, texts: &[String]| {
            if texts.iter().any(|text| !fits(text, self.send_buffer())) {
                return Err(Usage(format!("{flag}: longer than --send-buffer")));
            }
            Ok(texts.iter().map(|text| text.as_str().into()).collect())
        };
        Ok(Texts {
            on_open: texts("--on-open", &self.on_open)?,
            once: texts("--send", &self.send)?,
        })
    }

    /// Bytes that may wait to be written.
    pub(crate) fn send_buffer(&self) -> usize {
        self.send_buffer.0
    }

    /// How long the closing handshake may take.
    pub(crate) fn close_timeout(&self) -> Duration {
        self.close_timeout.0
    }

    /// How long the whole run may take.
    pub(crate) fn duration(&self) -> Option<Duration> {
        self.duration.map(|duration| duration.0)
    }

    /// How long replies to the last line are waited for.
    pub(crate) fn eof_wait(&self) -> Duration {
        self.eof_wait.0
    }
}

/// Whether a message can ever be taken into a send buffer of this size.
pub(crate) fn fits(text: &str, send_buffer: usize) -> bool {
    Codec::encoded_len(Role::Client, text.len()) <= send_buffer
}

impl From<ConfigError> for Usage {
    fn from(err: ConfigError) -> Usage {
        match err {
            ConfigError::Option { option, reason } => Usage(format!("{}: {reason}", flag(option))),
            other => Usage(other.to_string()),
        }
    }
}

/// The flag that sets an option of the builder's.
fn flag(option: &str) -> String {
    match option {
        "ca" => "--cacert".into(),
        "client_cert" => "--cert".into(),
        "client_key" => "--key".into(),
        "client_key_password" => KEY_PASSWORD.into(),
        "server_name" => "--servername".into(),
        "min_version" => "--tls-min".into(),
        "limits" => "--max-message".into(),
        // The library names the variable of the environment that it refuses.
        variable if variable.to_ascii_lowercase().ends_with("_proxy") => variable.into(),
        variable if variable.starts_with(|first: char| first.is_ascii_uppercase()) => {
            variable.into()
        }
        _ => format!("--{}", option.replace('_', "-")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_sound() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
