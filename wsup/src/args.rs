//! The flags, and the builder that they configure.

use std::cell::Cell;
use std::num::NonZeroU64;
use std::time::Duration;

use actix_ws_client::backoff::Schedule;
use actix_ws_client::{Connection, ConnectionBuilder, Limits, Payload};
use clap::Parser;
use clap_complete::Shell;

use crate::buffer::Buffer;
use crate::failover;
use crate::feed::FeedFlags;
use crate::from_file;
use crate::hint::{Around, Target};
use crate::history::History;
use crate::input::Kind;
use crate::link::Link;
use crate::output::OutputFlags;
use crate::pending::Every;
use crate::rate::Rate;
use crate::recording::RecordFlags;
use crate::replay::ReplayFlags;
use crate::reply::Reply;
use crate::retry::RetryLists;
use crate::secrets::Secrets;
use crate::sender::{Manner, WhileClosed};
use crate::upgrade::Upgrade;
use crate::usage::Usage;
use crate::value::{Header, Policy, PositiveTime, Size, Time};

/// A supervised WebSocket connection from a shell.
///
/// Sends each line of stdin as a text message, prints the messages that it receives, and reconnects
/// with backoff when the connection is lost.
#[derive(Parser)]
#[command(
    name = "wsup",
    version,
    after_help = AFTER_HELP,
    args_override_self = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Subcommand>,

    /// The server: ws://host:port/path or wss://…; the default port is 80 or 443; of several URLs, each
    /// failed dial moves on to the next
    #[arg(value_name = "URL", required_unless_present = "completions")]
    urls: Vec<String>,

    /// The secrets among the values of the flags, once the builder was made.
    #[arg(skip)]
    pub(crate) secrets: Secrets,

    #[command(flatten)]
    pub(crate) output: OutputFlags,

    /// Add a header line to the upgrade request; repeatable; @FILE: the lines of a file;
    /// as for curl 'User-Agent:' leaves that line out, and 'X-Empty;' sends an empty value
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,

    /// Add header lines, separated by commas; a line itself has none
    #[arg(long = "headers", value_name = "NAME: VALUE, …")]
    header_list: Option<String>,
    #[command(flatten)]
    upgrade: Upgrade,

    /// The name of the connection in the output [default: a number]
    #[arg(long)]
    name: Option<String>,

    #[command(flatten)]
    pub(crate) link: Link,

    /// How many bytes may wait to be written, and how many bytes of input may wait for a socket
    #[arg(long, value_name = "SIZE", default_value = "1m")]
    send_buffer: Size,

    #[command(flatten)]
    lists: RetryLists,

    /// Send this after every opening, before anything else; repeatable; @FILE: the content of a file
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    on_open: Vec<String>,

    /// Send this once, before the lines of stdin; repeatable; @FILE: the content of a file
    #[arg(
        short = 't',
        long,
        visible_alias = "text",
        value_name = "TEXT",
        allow_hyphen_values = true
    )]
    send: Vec<String>,

    /// Send TEXT each TIME while a socket is open, first one TIME after its opening; repeatable;
    /// @FILE: the content of a file
    #[arg(
        long,
        num_args = 2,
        value_names = ["TIME", "TEXT"],
        allow_hyphen_values = true
    )]
    every: Vec<String>,

    /// Answer a message with TEXT; repeatable, the first that fits counts. CONDITION: /op=ping (the value at
    /// this JSON pointer is ping), /ping (there is one) or text:ping (this is the whole message);
    /// {/pointer} in TEXT is a value of the message, as in '{"pong":{/ping}}'
    #[arg(
        long,
        num_args = 2,
        value_names = ["CONDITION", "TEXT"],
        allow_hyphen_values = true
    )]
    reply: Vec<String>,

    /// Send at most this many messages in any period, such as 5/1s; lines, --on-open, --send, --every and
    /// --reply together; pings, pongs and Close frames do not count [default: no limit]
    #[arg(long, value_name = "N/TIME")]
    rate: Option<Rate>,

    /// What happens to lines that are read while no socket is open, after the first opening
    #[arg(long, value_name = "wait|drop|end", default_value = "wait")]
    while_closed: WhileClosed,

    /// Send binary messages, not text
    #[arg(long)]
    binary: bool,

    /// Send messages in fragments of at most this many bytes
    #[arg(long, value_name = "SIZE")]
    fragments: Option<Size>,

    /// Accept text that is not UTF-8, against RFC 6455
    #[arg(long)]
    pub(crate) skip_utf8: bool,

    /// Close after this many messages
    #[arg(long, value_name = "N")]
    pub(crate) messages: Option<NonZeroU64>,

    /// Close after this time, measured from the start of the process
    #[arg(long, value_name = "TIME")]
    duration: Option<PositiveTime>,

    /// How long to wait for replies after the end of the input, before closing
    #[arg(long, value_name = "TIME", default_value = "500ms")]
    eof_wait: Time,

    #[command(flatten)]
    pub(crate) record: RecordFlags,

    /// Do not dial: print the upgrade request without secrets, and the first ten delays
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Print the completion script of a shell, and exit
    #[arg(long, value_name = "SHELL")]
    pub(crate) completions: Option<Shell>,
}

/// What else `wsup` does.
#[derive(clap::Subcommand)]
pub(crate) enum Subcommand {
    Feed(Box<FeedFlags>),
    Replay(ReplayFlags),
}

const AFTER_HELP: &str = "\
Times are written 500ms, 10s, 2m or 1h; sizes 4096, 256k or 16m.
Of a flag that is not repeatable the last one counts.
RUST_LOG selects the log records on stderr [default: warnings].

Exit status: 0 closed, 1 gave up or failed, 2 usage, 3 refused, 130 aborted by a second signal.";

/// The texts to send, besides stdin.
pub(crate) struct Texts {
    /// Sent after every opening.
    pub(crate) on_open: Vec<Payload>,
    /// Sent once in the run.
    pub(crate) once: Vec<Payload>,
    /// Sent periodically.
    pub(crate) every: Vec<Every>,
    /// Sent in answer to messages.
    pub(crate) replies: Vec<Reply>,
}

impl Args {
    /// Returns the builder of the connection, without handlers.
    pub(crate) fn builder(&self) -> Result<ConnectionBuilder, Usage> {
        self.builder_to(&self.urls[0])
    }

    /// Checks the other URLs. Returns the lines to warn of, for those whose fragment is dropped; the library
    /// warns of the first URL's itself.
    pub(crate) fn check_others(&self) -> Result<Vec<String>, Usage> {
        let mut warnings = Vec::new();
        for (index, url) in self.urls.iter().enumerate().skip(1) {
            self.builder_to(url)?.request_head()?;
            if url.contains('#') {
                let number = index + 1;
                warnings.push(format!(
                    "URL {number} has a fragment, which is not sent: write %23 for a # in path or query"
                ));
            }
        }
        Ok(warnings)
    }

    fn builder_to(&self, url: &str) -> Result<ConnectionBuilder, Usage> {
        self.secrets.note_url(url);
        let mut builder = Connection::builder(url)
            .send_buffer(self.send_buffer.0)
            .skip_utf8_validation(self.skip_utf8);
        for Header { name, value } in self.header_lines()? {
            self.secrets.note_header(&name, &value);
            builder = builder.header(name, value);
        }
        if let Some(name) = &self.name {
            builder = builder.name(name.as_str());
        }
        let lists = self.lists.clone();
        builder = match self.urls.len() {
            1 => builder.retry_if(move |error| lists.verdict(error)),
            _ => failover::dial_in_turn(builder, &self.urls, move |error| lists.verdict(error)),
        };
        let builder = self.upgrade.apply(builder, &self.secrets)?;
        Ok(self.link.prepare(&self.secrets)?.apply(builder))
    }

    /// Returns the lines of `--header`, then those of `--headers`.
    fn header_lines(&self) -> Result<Vec<Header>, Usage> {
        let wrong = |flag: &str, why: &str| Usage(format!("{flag}: {why}"));
        let mut lines = Vec::new();
        for given in &self.headers {
            let text = from_file::line(given).map_err(|why| wrong("--header", &why))?;
            // Only a file is split into lines: the library refuses a line end in a value.
            let parts: Vec<&str> = match given.starts_with('@') && !given.starts_with("@@") {
                true => text.lines().filter(|line| !line.trim().is_empty()).collect(),
                false => vec![&text],
            };
            for line in parts {
                lines.extend(Header::parse(line).map_err(|why| wrong("--header", why))?);
            }
        }
        for line in self.header_list.iter().flat_map(|list| list.split(',')) {
            lines.extend(Header::parse(line).map_err(|why| wrong("--headers", why))?);
        }
        Ok(lines)
    }

    /// Returns the first delays between failed dials: at most ten, or as many as `--max-attempts` allows.
    /// The limit of dials is left out, since it depends on earlier dials.
    pub(crate) fn delays(&self) -> Vec<Duration> {
        let retries = self.link.max_attempts.map_or(u32::MAX, |dials| dials.get() - 1);
        Schedule::preview(&self.link.reconnect.into(), retries.min(10) as usize, &mut rand::rng())
    }

    /// Returns the name of the connection in the output.
    pub(crate) fn source(&self, builder: &ConnectionBuilder) -> String {
        self.name.clone().unwrap_or_else(|| builder.source().to_string())
    }

    /// Reads the texts of the flags.
    pub(crate) fn texts(&self) -> Result<Texts, Usage> {
        let wrong = |flag: &str, why: String| Usage(format!("{flag}: {why}"));
        let texts = |flag: &str, texts: &[String]| {
            let payloads: Result<_, _> = texts.iter().map(|text| self.payload(text)).collect();
            payloads.map_err(|why| wrong(flag, why))
        };
        let every = |pair: &[String]| {
            let PositiveTime(period) = pair[0].parse()?;
            Ok(Every { period, payload: self.payload(&pair[1])? })
        };
        let reply =
            |pair: &[String]| Ok(Reply { condition: pair[0].parse()?, template: pair[1].parse()? });
        let every: Result<_, _> = self.every.chunks(2).map(every).collect();
        let replies: Result<_, _> = self.reply.chunks(2).map(reply).collect();
        Ok(Texts {
            on_open: texts("--on-open", &self.on_open)?,
            once: texts("--send", &self.send)?,
            every: every.map_err(|why| wrong("--every", why))?,
            replies: replies.map_err(|why| wrong("--reply", why))?,
        })
    }

    /// Reads a text, possibly from a file.
    fn payload(&self, given: &str) -> Result<Payload, String> {
        let bytes = from_file::bytes(given, self.send_buffer.0)?;
        let payload = self.kind().payload(bytes).ok_or("not UTF-8; --binary sends any bytes")?;
        match self.buffer().fits(payload.len()) {
            true => Ok(payload),
            false => Err("longer than --send-buffer".to_owned()),
        }
    }

    /// Returns how the input is sent.
    pub(crate) fn manner(&self) -> Manner {
        Manner {
            buffer: self.buffer(),
            rate: self.rate,
            while_closed: self.while_closed,
            eof_wait: self.eof_wait.0,
        }
    }

    /// Returns the type of message that lines and texts become.
    pub(crate) fn kind(&self) -> Kind {
        if self.binary { Kind::Binary } else { Kind::Text }
    }

    /// Returns the size of the largest accepted message, in bytes.
    pub(crate) fn max_message(&self) -> usize {
        self.link.max_message().unwrap_or(Limits::default().message)
    }

    /// Opens the history of the prompt.
    pub(crate) fn history(&self) -> Result<History, Usage> {
        History::open(self.output.history.as_deref())
            .map_err(|err| Usage(format!("--history: {err}")))
    }

    /// Returns the size of the send buffer and of fragments.
    pub(crate) fn buffer(&self) -> Buffer {
        let fragment = self.fragments.map(|size| size.0);
        Buffer { bytes: self.send_buffer.0, fragment }
    }

    /// Returns what matters for the words about an error.
    pub(crate) fn around(&self) -> Around {
        let target = match &self.urls[..] {
            [url] => Target::of(url),
            _ => None,
        };
        let default = target.as_ref().map(|target| target.origin.clone());
        // A file may set it too, and may be a pipe that is read only once.
        let may_set =
            |line: &String| line.starts_with('@') || line.to_ascii_lowercase().contains("origin");
        let is_known = !self.headers.iter().chain(&self.header_list).any(may_set);
        Around {
            is_open: Cell::new(false),
            connect_timeout: self.link.connect_timeout(),
            origin: self.upgrade.sent_origin(default).filter(|_| is_known),
            target,
            has_proxy_flag: self.link.proxy.is_some(),
            dials_once: self.link.reconnect == Policy::Never,
            max_attempts: self.link.max_attempts,
        }
    }

    /// Returns the time limit of the whole run.
    pub(crate) fn duration(&self) -> Option<Duration> {
        self.duration.map(|duration| duration.0)
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
