//! Events for people: payloads of messages on stdout, all other events as text on stderr.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use actix_ws_client::command::status::{Figures, Status, Timings};
use actix_ws_client::error::{Error, Verdict};
use actix_ws_client::event;
use actix_ws_client::proto::session::By;
use actix_ws_client::{OutcomeKind, Payload};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::time::Instant;

use crate::hint::{Around, hint, timed_out};
use crate::inflate;
use crate::output::Paint;
use crate::print::{Format, Line};
use crate::refusal::Refused;
use crate::secrets::Secrets;
use crate::slash::TypedPings;
use crate::usage::in_flags;

/// Formats events for people.
pub(crate) struct Human {
    /// The name of the connection, or its number.
    pub(crate) source: String,
    /// The secrets that no line about an error shows.
    pub(crate) secrets: Secrets,
    /// Whether stdout is a terminal, so that control characters in messages are escaped.
    pub(crate) terminal: bool,
    /// Whether only the payload of messages is printed.
    pub(crate) raw: bool,
    /// The prefix of each message.
    pub(crate) prefix: &'static str,
    /// Whether the type of each message is printed, and pings, pongs and states are.
    pub(crate) verbose: bool,
    /// The start of the time that is printed before each message, if one is.
    pub(crate) began: Option<Instant>,
    /// The longest text that a compressed message is inflated to, in bytes.
    pub(crate) inflate_limit: usize,
    /// Whether stdout has colour.
    pub(crate) out_colour: bool,
    /// Whether stderr has colour.
    pub(crate) err_colour: bool,
    /// What matters for the words below an error.
    pub(crate) around: Around,
    /// The pings that were typed: their pongs are printed without `-v` too.
    pub(crate) asked: TypedPings,
}

impl Human {
    fn info(&self, words: impl fmt::Display) -> Line {
        self.painted(words, Paint::Info)
    }

    fn failure(&self, words: impl fmt::Display) -> Line {
        self.painted(words, Paint::Failure)
    }

    fn painted(&self, words: impl fmt::Display, paint: Paint) -> Line {
        // The reason of a Close frame may have line ends.
        let words = format!("wsup {}: {words}", self.source);
        let words = escape_controls(&words).replace('\n', "\\n");
        Line::Stderr(if self.err_colour { paint.on(&words) } else { words })
    }

    fn detail(&self, words: impl fmt::Display) -> Line {
        if self.verbose { self.info(words) } else { Line::Nothing }
    }

    /// Returns the text of an error, with flags in place of the library's names.
    fn words(&self, error: &Error) -> String {
        match error {
            Error::Timeout(stage) => timed_out(*stage, self.around.connect_timeout),
            // All earlier stages have errors of their own.
            Error::Io(err) if !self.around.is_open.get() => {
                let text = format!("transport, before the reply to the upgrade: {err}");
                in_flags(&self.secrets.hide(&text))
            }
            _ => in_flags(&self.secrets.hide(&error.to_string())),
        }
    }

    /// Returns a payload as text.
    fn payload(&self, payload: &Payload) -> String {
        let text = match payload {
            Payload::Text(text) => text.to_string(),
            Payload::Binary(bytes) => match inflate::text(bytes, self.inflate_limit) {
                Some((prefix, text)) => format!("[{prefix}] {text}"),
                None => STANDARD.encode(bytes),
            },
        };
        if self.terminal { escape_controls(&text) } else { text }
    }
}

impl Format for Human {
    fn open(&self, open: &event::Open) -> Line {
        self.around.is_open.set(true);
        let peer = open.handshake.peer.map(|peer| format!(" to {peer}")).unwrap_or_default();
        let took = match self.began {
            Some(_) => took(&open.handshake.timings),
            None => String::new(),
        };
        match &open.outage {
            None => self.info(format_args!("open{peer}{took}")),
            Some(outage) => self.info(format_args!(
                "open again{peer} after {} (dials: {}){took}",
                format_time(outage.duration),
                outage.attempts
            )),
        }
    }

    fn message(&self, message: &event::Message) -> Line {
        if self.raw {
            return Line::Stdout(match &message.payload {
                Payload::Text(text) => format!("{text}\n").into_bytes(),
                Payload::Binary(bytes) => bytes.to_vec(),
            });
        }
        let mut line = self.prefix.to_owned();
        if let Some(began) = self.began {
            line += &format!("{:.6}: ", began.elapsed().as_secs_f64());
        }
        if self.verbose {
            line += match message.payload {
                Payload::Text(_) => "text: ",
                Payload::Binary(_) => "binary: ",
            };
        }
        line += &self.payload(&message.payload);
        if self.out_colour {
            line = Paint::Message.on(&line);
        }
        Line::Stdout((line + "\n").into_bytes())
    }

    fn ping(&self, ping: &event::Ping) -> Line {
        self.detail(format_args!("ping, {} bytes", ping.payload.len()))
    }

    fn pong(&self, pong: &event::Pong) -> Line {
        match pong.round_trip {
            Some(rtt) if self.asked.take(&pong.payload) => {
                self.info(format_args!("pong after {}", format_time(rtt)))
            }
            Some(rtt) => self.detail(format_args!("pong after {}", format_time(rtt))),
            None => self.detail("unsolicited pong"),
        }
    }

    fn error(&self, error: &event::Error) -> Line {
        let line = self.failure(format_args!("{}; {}", self.words(&error.error), error.next));
        let refused = Refused::of(&error.error, &self.secrets);
        let details = refused.map(|refused| refused.details()).unwrap_or_default();
        let hint = hint(&error.error, &self.around).map(Cow::into_owned);
        details
            .iter()
            .chain(&hint)
            .fold(line, |line, detail| line.and_below(self.info(format_args!("  {detail}"))))
    }

    fn close(&self, close: &event::Close) -> Line {
        self.around.is_open.set(false);
        let who = match close.by {
            By::Local => "closed by us",
            By::Remote => "closed by the server",
            By::Nobody => "lost",
        };
        // Our own reason may be the text of an error.
        let reason = match (close.by, &*close.reason) {
            (_, "") => String::new(),
            (By::Local, reason) => format!(": {}", in_flags(reason)),
            (_, reason) => format!(": {reason}"),
        };
        let lasted = format_time(close.lasted);
        self.info(format_args!(
            "{who} after {lasted} with {}{reason}{}{}; {}",
            close.code,
            answer(close),
            unsent(close),
            close.next
        ))
    }

    fn state(&self, state: &event::State) -> Line {
        self.detail(state.phase)
    }

    fn stopped(&self, stopped: &event::Stopped) -> Line {
        match stopped.outcome.kind {
            OutcomeKind::Closed => Line::Nothing,
            // `into_result` has a Close frame that ended the run too.
            OutcomeKind::Refused => match stopped.outcome.clone().into_result() {
                Err(error) if error.verdict() != Verdict::Stop => {
                    self.failure("not dialled again: --give-up-on lists this failure")
                }
                _ => self.failure("not dialled again: the next dial would fail in the same way"),
            },
            OutcomeKind::GaveUp => match self.around.max_attempts {
                Some(dials) => {
                    self.failure(format_args!("gave up: --max-attempts {dials} is reached"))
                }
                None => self.failure("gave up"),
            },
            _ if self.around.dials_once => {
                self.failure("failed; not dialled again because of --reconnect never")
            }
            _ => self.failure("failed"),
        }
    }
}

/// Formats the output of `/status`.
pub(crate) fn status(status: &Status) -> String {
    let Figures { messages_in, messages_out, bytes_in, bytes_out, round_trip, .. } = status.figures;
    let mut words = format!(
        "{} for {}, epoch {}, {messages_out} messages sent ({bytes_out} bytes), {messages_in} \
         received ({bytes_in} bytes)",
        status.phase,
        format_time(status.since),
        status.epoch,
    );
    if let Some(peer) = status.handshake.as_ref().and_then(|handshake| handshake.peer) {
        words += &format!(", peer {peer}");
    }
    if let Some(rtt) = round_trip {
        words += &format!(", round trip {}", format_time(rtt));
    }
    if let Some(error) = &status.last_error {
        words += &format!(", last error: {}", in_flags(&error.to_string()));
    }
    escape_controls(&words).replace('\n', "\\n")
}

/// Formats the durations of the stages that a dial had.
fn took(timings: &Timings) -> String {
    let stages = [
        ("handler", timings.handler),
        ("dns", timings.dns),
        ("connect", timings.connect),
        ("proxy", timings.proxy),
        ("tls", timings.tls),
        ("upgrade", timings.upgrade),
    ];
    let stages = stages.iter().filter_map(|(name, span)| Some(format!("{name} {:.1?}", (*span)?)));
    format!("; {}", stages.collect::<Vec<_>>().join(", "))
}

/// Formats the output of `--dry-run`.
pub(crate) fn plan(request: &str, delays: &[Duration]) -> Line {
    let request = escape_controls(&request.replace("\r\n", "\n"));
    let delays = match delays {
        [] => "no second dial".into(),
        _ => format!(
            "dials again after {}",
            delays.iter().copied().map(format_time).collect::<Vec<_>>().join(", ")
        ),
    };
    Line::Stdout(format!("{request}{delays}\n").into_bytes())
}

/// Formats the server's answer to our Close, if it is more than an echo of the code.
fn answer(close: &event::Close) -> String {
    match &close.peer {
        Some(peer) if close.by == By::Local => match &*peer.reason {
            "" if peer.code == close.code => String::new(),
            "" => format!("; the server answered {}", peer.code),
            reason => format!("; the server answered {}: {reason}", peer.code),
        },
        _ => String::new(),
    }
}

/// Formats how much was accepted and not sent, if anything was not.
fn unsent(close: &event::Close) -> String {
    match close.unsent_messages {
        0 => String::new(),
        messages => format!("; not sent: {messages} messages, {} bytes", close.unsent_bytes),
    }
}

pub(crate) fn format_time(span: Duration) -> String {
    format!("{span:.1?}")
}

/// Whether a character controls a terminal, or the direction of the text on it (UAX #9, 2).
fn controls(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && c != '\t' && c != '\n') || turns
}

/// Escapes control characters, except tabs and line ends.
pub(crate) fn escape_controls(text: &str) -> String {
    let mut escape_controls = String::with_capacity(text.len());
    for c in text.chars() {
        if controls(c) {
            escape_controls.extend(c.escape_default());
        } else {
            escape_controls.push(c);
        }
    }
    escape_controls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_steer_the_terminal() {
        assert_eq!(escape_controls("a\tb\u{1b}[2Jé\r"), "a\tb\\u{1b}[2Jé\\r");
        assert_eq!(escape_controls("a\u{202e}b\u{2069}"), "a\\u{202e}b\\u{2069}");
    }
}
