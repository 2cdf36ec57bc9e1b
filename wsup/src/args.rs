//! The flags, and the connection that they ask for.

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use actix_ws_client::backoff::Schedule;
use actix_ws_client::{Compression, Connection, ConnectionBuilder, Limits, Payload, Tls};
use clap::Parser;
use clap_complete::Shell;

use crate::buffer::Buffer;
use crate::failover;
use crate::from_file;
use crate::history::History;
use crate::input::Kind;
use crate::output::OutputFlags;
use crate::retry::RetryLists;
use crate::upgrade::Upgrade;
use crate::usage::{KEY_PASSWORD, Usage};
use crate::value::{
    Header, OptionalTime, OptionalTimeout, PingPayload, Policy, PositiveTime, Size, Time, Version,
};

/// A WebSocket connection that stays, from a shell.
///
/// Sends each line of stdin as a text message, prints the messages that come, and comes back with
/// backoff when the connection is lost.
#[derive(Parser)]
#[command(name = "wsup", version, after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Where to: ws://host:port/path or wss://…; without a port it is 80 or 443; of several, each
    /// failed dial goes on to the next
    #[arg(value_name = "URL", required_unless_present = "completions")]
    urls: Vec<String>,

    #[command(flatten)]
    pub(crate) output: OutputFlags,

    /// Add a header line to the upgrade request; repeatable; @FILE: the lines of a file
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,

    /// Add header lines with commas between them, and none in them
    #[arg(long = "headers", value_name = "NAME: VALUE, …")]
    header_list: Option<String>,
    #[command(flatten)]
    upgrade: Upgrade,

    /// What the connection is called in the output, in place of its number
    #[arg(long)]
    name: Option<String>,

    /// Time between two pings; 0 or off sends none [default: 20s]
    #[arg(long, value_name = "TIME")]
    ping_interval: Option<OptionalTime>,

    /// Time from a ping until a silent peer is given up; off never does [default: 10s]
    #[arg(long, value_name = "TIME")]
    ping_timeout: Option<OptionalTimeout>,

    /// What every ping carries, up to 125 bytes [default: a number of its own]
    #[arg(long, value_name = "TEXT")]
    ping_payload: Option<PingPayload>,

    /// Give the socket up when no message came for so long; 0 or off never does [default: off]
    #[arg(long, value_name = "TIME")]
    idle_timeout: Option<OptionalTime>,

    /// Time for one whole dial: name, TCP, TLS and upgrade [default: 10s]
    #[arg(long, value_name = "TIME")]
    connect_timeout: Option<PositiveTime>,

    /// Time for the closing handshake; 0 waits for no answer
    #[arg(long, value_name = "TIME", default_value = "3s")]
    close_timeout: Time,

    /// How to come back: exp (with jitter, up to 30s), never, or a time such as 5s
    #[arg(long, value_name = "exp|never|TIME", default_value = "exp")]
    reconnect: Policy,

    /// Dials in a row that may fail [default: any number]
    #[arg(long, value_name = "N")]
    max_attempts: Option<NonZeroU32>,

    /// How long a socket must have been open for the backoff to start anew [default: 10s]
    #[arg(long, value_name = "TIME")]
    stable_after: Option<Time>,

    /// The largest frame and the largest message that are accepted [default: 16m]
    #[arg(long, value_name = "SIZE")]
    max_message: Option<Size>,

    /// Bytes that may wait to be written, and bytes of input that may wait for a socket
    #[arg(long, value_name = "SIZE", default_value = "1m")]
    send_buffer: Size,

    #[command(flatten)]
    lists: RetryLists,

    /// Send this after every opening, before anything else; repeatable; @FILE: what is in a file
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    on_open: Vec<String>,

    /// Send this once, before the lines of stdin; repeatable; @FILE: what is in a file
    #[arg(
        short = 't',
        long,
        visible_alias = "text",
        value_name = "TEXT",
        allow_hyphen_values = true
    )]
    send: Vec<String>,

    /// Send binary messages, not text
    #[arg(long)]
    binary: bool,

    /// Send messages in fragments of at most so many bytes
    #[arg(long, value_name = "SIZE")]
    fragments: Option<Size>,

    /// Take text that is not UTF-8 too, against RFC 6455
    #[arg(long)]
    pub(crate) skip_utf8: bool,

    /// Close after this many messages
    #[arg(long, value_name = "N")]
    pub(crate) messages: Option<NonZeroU64>,

    /// Close after this time, counted from the start of the process
    #[arg(long, value_name = "TIME")]
    duration: Option<PositiveTime>,

    /// After the end of the input, wait for replies for so long before closing
    #[arg(long, value_name = "TIME", default_value = "500ms")]
    eof_wait: Time,

    /// Accept any certificate: whoever is on the way can read and change everything
    #[arg(short = 'n', long, visible_alias = "nocert", conflicts_with = "cacert")]
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
    /// [default: that of the environment, as curl has it]; @FILE: what is in a file
    // No parser of clap's: it would repeat a value that it refuses, and this one may hold a password.
    #[arg(short, long, value_name = "URL")]
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

    /// Print what completes these flags in a shell, and nothing else
    #[arg(long, value_name = "SHELL")]
    pub(crate) completions: Option<Shell>,
}

const AFTER_HELP: &str = "\
Times are written 500ms, 10s, 2m or 1h; sizes 4096, 256k or 16m.
RUST_LOG sets what is logged to stderr; without it, warnings are.

Exit status: 0 closed, 1 gave up or failed, 2 usage, 3 refused, 130 a second signal.";

/// What is to be sent, besides stdin.
pub(crate) struct Texts {
    /// After every opening.
    pub(crate) on_open: Vec<Payload>,
    /// Once in the run.
    pub(crate) once: Vec<Payload>,
}

impl Args {
    /// The connection that is asked for, without its handlers.
    pub(crate) fn builder(&self) -> Result<ConnectionBuilder, Usage> {
        self.builder_to(&self.urls[0])
    }

    /// The same connection to each of the other URLs, to be checked.
    pub(crate) fn others(&self) -> impl Iterator<Item = Result<ConnectionBuilder, Usage>> {
        self.urls.iter().skip(1).map(|url| self.builder_to(url))
    }

    fn builder_to(&self, url: &str) -> Result<ConnectionBuilder, Usage> {
        let mut builder = Connection::builder(url)
            .close_timeout(self.close_timeout.0)
            .reconnect(self.reconnect)
            .max_attempts(self.max_attempts.map(NonZeroU32::get))
            .send_buffer(self.send_buffer.0)
            .skip_utf8_validation(self.skip_utf8)
            .tls(self.tls()?);
        for Header { name, value } in self.header_lines()? {
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
        let lists = self.lists.clone();
        builder = match self.urls.len() {
            1 => builder.retry_if(move |error| lists.verdict(error)),
            _ => failover::dial_in_turn(builder, &self.urls, move |error| lists.verdict(error)),
        };
        self.route(self.timeouts(self.upgrade.apply(builder)?))
    }

    /// The lines of `--header`, then those of `--headers`.
    fn header_lines(&self) -> Result<Vec<Header>, Usage> {
        let wrong = |flag: &str, why: &str| Usage(format!("{flag}: {why}"));
        let mut lines = Vec::new();
        for given in &self.headers {
            let text = from_file::line(given).map_err(|why| wrong("--header", &why))?;
            // Only a file has lines: a line end in a value is for the library to refuse.
            let parts: Vec<&str> = match given.starts_with('@') && !given.starts_with("@@") {
                true => text.lines().filter(|line| !line.trim().is_empty()).collect(),
                false => vec![&text],
            };
            for line in parts {
                lines.push(Header::parse(line).map_err(|why| wrong("--header", why))?);
            }
        }
        for line in self.header_list.iter().flat_map(|list| list.split(',')) {
            lines.push(Header::parse(line).map_err(|why| wrong("--headers", why))?);
        }
        Ok(lines)
    }

    /// How the server is reached.
    fn route(&self, mut builder: ConnectionBuilder) -> Result<ConnectionBuilder, Usage> {
        if let Some(url) = &self.proxy {
            let url = from_file::line(url).map_err(|why| Usage(format!("--proxy: {why}")))?;
            builder = builder.proxy(url);
        }
        if let Some(list) = &self.no_proxy {
            builder = builder.no_proxy(list.as_str());
        }
        if let Some(ip) = self.bind {
            builder = builder.bind_address(ip);
        }
        Ok(builder)
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
        if let Some(PositiveTime(timeout)) = self.connect_timeout {
            builder = builder.connect_timeout(timeout);
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
            let payload = |given: &String| {
                let bytes = from_file::bytes(given, self.send_buffer.0)?;
                let payload = self.kind().payload(bytes).ok_or("not UTF-8: is it --binary?")?;
                match self.buffer().fits(payload.len()) {
                    true => Ok(payload),
                    false => Err("longer than --send-buffer".to_owned()),
                }
            };
            let payloads: Result<_, _> = texts.iter().map(payload).collect();
            payloads.map_err(|why: String| Usage(format!("{flag}: {why}")))
        };
        Ok(Texts {
            on_open: texts("--on-open", &self.on_open)?,
            once: texts("--send", &self.send)?,
        })
    }

    /// What lines and texts are sent as.
    pub(crate) fn kind(&self) -> Kind {
        if self.binary { Kind::Binary } else { Kind::Text }
    }

    /// The largest message that is accepted, in bytes.
    pub(crate) fn max_message(&self) -> usize {
        self.max_message.map_or(Limits::default().message, |size| size.0)
    }

    /// What was typed before.
    pub(crate) fn history(&self) -> Result<History, Usage> {
        History::open(self.output.history.as_deref())
            .map_err(|err| Usage(format!("--history: {err}")))
    }

    /// What may wait to be written, and in what pieces.
    pub(crate) fn buffer(&self) -> Buffer {
        let fragment = self.fragments.map(|size| size.0);
        Buffer { bytes: self.send_buffer.0, fragment }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_sound() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
