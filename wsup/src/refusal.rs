//! What a server or a proxy said when it refused: status, headers and body, without secrets.

use actix_ws_client::error::{Error, ProxyError, Refusal};
use actix_ws_client::headers::Headers;
use serde_json::{Map, Value};

use crate::secrets::Secrets;

/// The most of a body that is shown, in bytes.
const MAX_BODY: usize = 2 << 10;

/// Headers that may carry a secret elsewhere, but in a refusal only say what the client has to send.
const CHALLENGES: [&str; 2] = ["www-authenticate", "proxy-authenticate"];

/// Headers that are shown to people.
const SHOWN: [&str; 3] = ["www-authenticate", "proxy-authenticate", "retry-after"];

/// A refusal, and the secrets that are hidden in it.
pub(crate) struct Refused<'a> {
    /// Who refused: `server` or `proxy`.
    by: &'static str,
    refusal: &'a Refusal,
    secrets: &'a Secrets,
}

impl<'a> Refused<'a> {
    /// Returns the refusal that an error is about, if it is about one.
    pub(crate) fn of(error: &'a Error, secrets: &'a Secrets) -> Option<Refused<'a>> {
        match error {
            Error::Refused(refusal) => Some(Refused { by: "server", refusal, secrets }),
            Error::Proxy(ProxyError::Status(refusal)) => {
                Some(Refused { by: "proxy", refusal, secrets })
            }
            _ => None,
        }
    }

    /// Returns the refusal as a JSON object. Values of headers that may be secrets are `***`; several lines of
    /// one name are one value, separated by commas.
    pub(crate) fn json(&self) -> String {
        let mut headers = Map::new();
        for (name, value) in self.refusal.headers.iter() {
            let name = name.to_ascii_lowercase();
            let value = match Headers::is_secret(&name) && !CHALLENGES.contains(&name.as_str()) {
                true => "***".to_owned(),
                false => self.secrets.hide(&String::from_utf8_lossy(value)),
            };
            let joined = match headers.get(&name) {
                Some(Value::String(before)) => format!("{before}, {value}"),
                _ => value,
            };
            headers.insert(name, joined.into());
        }
        // By hand: a `Map` would sort its keys.
        format!(
            r#"{{"status":{},"reason":{},"headers":{},"body":{}}}"#,
            self.refusal.status,
            Value::from(self.secrets.hide(&self.refusal.reason)),
            Value::from(headers),
            Value::from(self.body())
        )
    }

    /// Returns the lines that are shown to people, below that of the error: the challenge, how long to wait,
    /// and the body. Each says who sent it: it is no advice of wsup's.
    pub(crate) fn details(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, value) in self.refusal.headers.iter() {
            if SHOWN.iter().any(|shown| shown.eq_ignore_ascii_case(name)) {
                let value = self.secrets.hide(&String::from_utf8_lossy(value));
                lines.push(format!("{}: {name}: {value}", self.by));
            }
        }
        let body = self.body();
        let shown = body.trim().lines().filter(|line| !line.trim().is_empty());
        lines.extend(shown.map(|line| format!("{} says: {line}", self.by)));
        lines
    }

    /// Returns the first 2 KiB of the body as text.
    fn body(&self) -> String {
        let mut body = self.secrets.hide(&String::from_utf8_lossy(&self.refusal.body));
        if body.len() > MAX_BODY {
            let end = (0..=MAX_BODY).rev().find(|end| body.is_char_boundary(*end));
            body.truncate(end.unwrap_or_default());
        }
        body
    }
}
