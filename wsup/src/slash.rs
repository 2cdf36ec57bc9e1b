//! Parses lines that are typed at the prompt: a line to send, or a command that begins with a slash.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use actix_ws_client::command;
use actix_ws_client::proto::close::CloseCode;
use actix_ws_client::proto::message::ControlPayload;

/// The output of `/help`.
pub(crate) const HELP: &str = "\
/ping [TEXT]           send a Ping and print its round trip
/close [CODE [REASON]] close and end; 1000 without a code
/reconnect             drop the socket and dial again, or dial at once
/status                print phase, counters, peer and the last error
/help                  this
//TEXT                 send /TEXT
Ctrl-D closes and ends after the last line, Ctrl-C at once; a second Ctrl-C aborts.";

/// A typed line.
#[derive(Debug)]
pub(crate) enum Typed {
    /// A line to send.
    Line(String),
    /// A command to execute.
    Command(Slash),
}

/// A command.
#[derive(Debug)]
pub(crate) enum Slash {
    Ping(ControlPayload),
    Close(command::Close),
    Reconnect,
    Status,
    Help,
}

impl Typed {
    /// Parses a typed line.
    ///
    /// # Errors
    /// Why a command is not valid.
    pub(crate) fn parse(line: String) -> Result<Typed, String> {
        let Some(rest) = line.strip_prefix('/') else { return Ok(Typed::Line(line)) };
        if rest.starts_with('/') {
            return Ok(Typed::Line(rest.to_owned()));
        }
        let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let command = match (name, rest.trim()) {
            // The text is sent unchanged, with its spaces.
            ("ping", _) => Slash::Ping(
                ControlPayload::new(rest.to_owned()).map_err(|err| format!("/ping: {err}"))?,
            ),
            ("close", "") => Slash::Close(command::Close::normal()),
            ("close", rest) => Slash::Close(close(rest).map_err(|why| format!("/close: {why}"))?),
            ("reconnect", "") => Slash::Reconnect,
            ("status", "") => Slash::Status,
            ("help", "") => Slash::Help,
            ("reconnect" | "status" | "help", _) => {
                return Err(format!("/{name} takes no argument; //{name} … is sent as a line"));
            }
            _ => return Err(format!("no command /{name}: /help lists them, //{name} sends it")),
        };
        Ok(Typed::Command(command))
    }
}

/// The payloads of typed pings that are not answered yet: the newest 16.
#[derive(Clone, Default)]
pub(crate) struct TypedPings(Arc<Mutex<VecDeque<ControlPayload>>>);

impl TypedPings {
    /// Adds the payload of a ping.
    pub(crate) fn put(&self, payload: ControlPayload) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push_back(payload);
        if asked.len() > 16 {
            asked.pop_front();
        }
    }

    /// Removes the payload of a pong. Returns whether a typed ping had it.
    pub(crate) fn take(&self, payload: &ControlPayload) -> bool {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = asked.iter().position(|asked| asked == payload);
        found.and_then(|index| asked.remove(index)).is_some()
    }
}

fn close(text: &str) -> Result<command::Close, String> {
    let (code, reason) = text.split_once(' ').unwrap_or((text, ""));
    let code: u16 = code.parse().map_err(|_| "a code is a number, such as 1000 or 4000")?;
    command::Close::new(CloseCode::from(code), reason.trim().to_owned())
        .map_err(|err| err.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> Result<String, String> {
        Typed::parse(line.to_owned()).map(|typed| match typed {
            Typed::Line(line) => line,
            Typed::Command(Slash::Ping(payload)) => format!("ping {:?}", &*payload),
            Typed::Command(Slash::Close(close)) => format!("{close:?}"),
            Typed::Command(other) => format!("{other:?}"),
        })
    }

    #[test]
    fn only_a_single_slash_makes_a_command() {
        assert_eq!(typed("hello /ping"), Ok("hello /ping".into()));
        assert_eq!(typed(""), Ok(String::new()));
        assert_eq!(typed("//ping x"), Ok("/ping x".into()));
        assert_eq!(typed("/ping"), Ok("ping []".into()));
        assert_eq!(typed("/ping a b"), Ok("ping [97, 32, 98]".into()));
        assert_eq!(typed("/status"), Ok("Status".into()));
        for bad in ["/", "/no", "/Ping", "/ping\u{a0}x", "/status now", "/close x", "/close 1005"] {
            assert!(typed(bad).is_err(), "{bad}");
        }
        assert!(typed(&format!("/ping {}", "x".repeat(126))).is_err());
        assert!(typed(&format!("/close 1000 {}", "x".repeat(124))).is_err());
        let close = typed("/close 4001 bye bye").unwrap();
        assert!(close.contains("4001") && close.contains("bye bye"), "{close}");
    }
}
