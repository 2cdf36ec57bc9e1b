//! What is typed at the prompt: a line to be sent, or a command behind a slash.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use actix_ws_client::command;
use actix_ws_client::proto::close::CloseCode;
use actix_ws_client::proto::message::ControlPayload;

/// What `/help` says.
pub(crate) const HELP: &str = "\
/ping [TEXT]           send a Ping; the round trip is told
/close [CODE [REASON]] close and end; 1000 without a code
/reconnect             drop the socket and dial again, or dial at once
/status                tell how the connection is
/help                  this
//TEXT                 send /TEXT
Ctrl-D closes and ends behind the last line, Ctrl-C at once; a second Ctrl-C aborts.";

/// What is typed.
#[derive(Debug)]
pub(crate) enum Typed {
    /// To be sent.
    Line(String),
    /// To be done.
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
    /// Tells a line from a command.
    ///
    /// # Errors
    /// A command that does not exist or cannot be, in words.
    pub(crate) fn parse(line: String) -> Result<Typed, String> {
        let Some(rest) = line.strip_prefix('/') else { return Ok(Typed::Line(line)) };
        if rest.starts_with('/') {
            return Ok(Typed::Line(rest.to_owned()));
        }
        let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let command = match (name, rest.trim()) {
            // The text as it is, spaces too.
            ("ping", _) => Slash::Ping(
                ControlPayload::new(rest.to_owned()).map_err(|err| format!("/ping: {err}"))?,
            ),
            ("close", "") => Slash::Close(command::Close::normal()),
            ("close", rest) => Slash::Close(close(rest).map_err(|why| format!("/close: {why}"))?),
            ("reconnect", "") => Slash::Reconnect,
            ("status", "") => Slash::Status,
            ("help", "") => Slash::Help,
            ("reconnect" | "status" | "help", _) => {
                return Err(format!("/{name} stands alone; //{name} … is sent as a line"));
            }
            _ => return Err(format!("no command /{name}: /help lists them, //{name} sends it")),
        };
        Ok(Typed::Command(command))
    }
}

/// The pings that were typed and not answered yet: the newest 16.
#[derive(Clone, Default)]
pub(crate) struct TypedPings(Arc<Mutex<VecDeque<ControlPayload>>>);

impl TypedPings {
    /// A ping is sent.
    pub(crate) fn put(&self, payload: ControlPayload) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push_back(payload);
        if asked.len() > 16 {
            asked.pop_front();
        }
    }

    /// Whether a pong answers one. It does so once.
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
