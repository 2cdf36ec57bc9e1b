//! The events for people: messages as they are on stdout, everything else in words on stderr.

use std::time::Duration;

use actix_ws_client::event::{self, Next};
use actix_ws_client::proto::session::By;
use actix_ws_client::{OutcomeKind, Payload};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::print::{Form, Line};

/// Words for people.
pub(crate) struct Words {
    /// The name of the connection, or its number.
    pub(crate) source: String,
    /// Whether stdout is a terminal, which a message must not steer.
    pub(crate) terminal: bool,
    /// Whether pings, pongs and states are told of.
    pub(crate) verbose: bool,
}

impl Words {
    fn aside(&self, words: impl std::fmt::Display) -> Line {
        // One line, whatever the server gave for a reason.
        let words = format!("wsup {}: {words}", self.source);
        Line::Aside(harmless(&words).replace('\n', "\\n"))
    }

    fn detail(&self, words: impl std::fmt::Display) -> Line {
        if self.verbose { self.aside(words) } else { Line::Silence }
    }
}

impl Form for Words {
    fn open(&self, open: &event::Open) -> Line {
        let peer = open.handshake.peer.map(|peer| format!(" to {peer}")).unwrap_or_default();
        match &open.outage {
            None => self.aside(format_args!("open{peer}")),
            Some(outage) => self.aside(format_args!(
                "open again{peer} after {} (dials: {})",
                rough(outage.duration),
                outage.attempts
            )),
        }
    }

    fn message(&self, message: &event::Message) -> Line {
        let line = match &message.payload {
            Payload::Text(text) if self.terminal => harmless(text),
            Payload::Text(text) => text.to_string(),
            Payload::Binary(bytes) => STANDARD.encode(bytes),
        };
        Line::Out((line + "\n").into_bytes())
    }

    fn ping(&self, ping: &event::Ping) -> Line {
        self.detail(format_args!("ping, {} bytes", ping.payload.len()))
    }

    fn pong(&self, pong: &event::Pong) -> Line {
        match pong.round_trip {
            Some(rtt) => self.detail(format_args!("pong after {}", rough(rtt))),
            None => self.detail("pong that nobody asked for"),
        }
    }

    fn error(&self, error: &event::Error) -> Line {
        self.aside(format_args!("{}; {}", error.error, next(error.next)))
    }

    fn close(&self, close: &event::Close) -> Line {
        let who = match close.by {
            By::Local => "closed by us",
            By::Remote => "closed by the server",
            By::Nobody => "lost",
        };
        let reason = if close.reason.is_empty() { "" } else { ": " };
        let lasted = rough(close.lasted);
        self.aside(format_args!(
            "{who} after {lasted} with {}{reason}{}; {}",
            close.code,
            close.reason,
            next(close.next)
        ))
    }

    fn state(&self, state: &event::State) -> Line {
        self.detail(state.phase)
    }

    fn stopped(&self, stopped: &event::Stopped) -> Line {
        match stopped.outcome.kind {
            OutcomeKind::Closed => Line::Silence,
            OutcomeKind::Refused => self.aside("trying again would not help"),
            OutcomeKind::GaveUp => self.aside("gave up"),
            _ => self.aside("failed"),
        }
    }
}

/// What `--dry-run` prints.
pub(crate) fn plan(request: &str, delays: &[Duration]) -> Line {
    let request = harmless(&request.replace("\r\n", "\n"));
    let delays = match delays {
        [] => "no second dial".into(),
        _ => format!(
            "dials again after {}",
            delays.iter().copied().map(rough).collect::<Vec<_>>().join(", ")
        ),
    };
    Line::Out(format!("{request}{delays}\n").into_bytes())
}

fn next(next: Next) -> String {
    match next {
        Next::Retry { after, attempt } => format!("dial {attempt} in {}", rough(after)),
        Next::Stop => "no further dial".into(),
    }
}

fn rough(span: Duration) -> String {
    format!("{span:.1?}")
}

/// The text without what a terminal obeys.
fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\t' && c != '\n' {
            harmless.extend(c.escape_default());
        } else {
            harmless.push(c);
        }
    }
    harmless
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_steer_the_terminal() {
        assert_eq!(harmless("a\tb\u{1b}[2Jé\r"), "a\tb\\u{1b}[2Jé\\r");
    }
}
