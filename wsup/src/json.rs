//! Events as JSON. This is a contract: keys may be added, never removed or moved; a key without a value
//! is `null`.

use std::time::Duration;

use actix_ws_client::{Error, Payload, event};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::print::{Format, Line};
use crate::refusal::Refused;
use crate::secrets::Secrets;
use crate::usage::in_flags;

/// Formats each event as one object on a line.
pub(crate) struct Json {
    /// The name of the connection, or its number.
    pub(crate) source: String,
    /// The secrets that no line shows.
    pub(crate) secrets: Secrets,
    /// Whether each `open` is followed by a `timings`.
    pub(crate) timings: bool,
}

impl Json {
    /// Returns the text of an error, with flags in place of the library's names.
    fn words(&self, error: &Error) -> String {
        in_flags(&self.secrets.hide(&error.to_string()))
    }

    fn timings(&self, open: &event::Open) -> Line {
        let timings = &open.handshake.timings;
        Object::new("timings", &self.source)
            .key("epoch", open.epoch)
            .key("dns_ms", timings.dns.map(fraction))
            .key("connect_ms", timings.connect.map(fraction))
            .key("proxy_ms", timings.proxy.map(fraction))
            .key("tls_ms", timings.tls.map(fraction))
            .key("upgrade_ms", timings.upgrade.map(fraction))
            .end()
    }
}

impl Format for Json {
    fn open(&self, open: &event::Open) -> Line {
        let handshake = &open.handshake;
        let outage = open.outage.as_ref();
        let line = Object::new("open", &self.source)
            .key("epoch", open.epoch)
            .key("status", handshake.status)
            .key("subprotocol", handshake.subprotocol.clone())
            .key("extensions", handshake.extensions.clone())
            .key("peer", handshake.peer.map(|peer| peer.to_string()))
            .key("attempts", open.attempts)
            .key("down_ms", outage.map(|outage| millis(outage.duration)))
            .key(
                "cause",
                outage.and_then(|outage| outage.cause.as_ref()).map(|err| self.words(err)),
            )
            .end();
        if self.timings { line.and(self.timings(open)) } else { line }
    }

    fn message(&self, message: &event::Message) -> Line {
        let object = Object::new("message", &self.source).key("epoch", message.epoch);
        match &message.payload {
            Payload::Text(text) => object.key("type", "text").text("data", text).end(),
            Payload::Binary(bytes) => object.key("type", "binary").base64("base64", bytes).end(),
        }
    }

    fn ping(&self, ping: &event::Ping) -> Line {
        Object::new("ping", &self.source)
            .key("epoch", ping.epoch)
            .base64("base64", &ping.payload)
            .key("rtt_ms", Value::Null)
            .end()
    }

    fn pong(&self, pong: &event::Pong) -> Line {
        Object::new("pong", &self.source)
            .key("epoch", pong.epoch)
            .base64("base64", &pong.payload)
            .key("rtt_ms", pong.round_trip.map(fraction))
            .end()
    }

    fn error(&self, error: &event::Error) -> Line {
        let during = match &error.error {
            Error::Timeout(stage) => Some(stage.to_string()),
            _ => None,
        };
        let refusal = Refused::of(&error.error, &self.secrets).map(|refused| refused.json());
        Object::new("error", &self.source)
            .key("epoch", error.epoch)
            .key("attempt", error.attempt)
            .key("stage", error.error.stage())
            .key("during", during)
            .key("status", error.error.status())
            .key("error", self.words(&error.error))
            .key("retry_in_ms", error.next.after().map(millis))
            .raw("refusal", refusal.as_deref().unwrap_or("null").as_bytes())
            .end()
    }

    fn close(&self, close: &event::Close) -> Line {
        let peer = close.peer.as_deref();
        Object::new("close", &self.source)
            .key("epoch", close.epoch)
            .key("code", close.code.value())
            .text("reason", &close.reason)
            .key("clean", close.clean)
            .key("by", close.by.to_string())
            .key("lasted_ms", millis(close.lasted))
            .key("retry_in_ms", close.next.after().map(millis))
            .key("peer_code", peer.map(|peer| peer.code.value()))
            .key("peer_reason", peer.map(|peer| &*peer.reason))
            .key("unsent_messages", close.unsent_messages)
            .key("unsent_bytes", close.unsent_bytes)
            .end()
    }

    fn state(&self, state: &event::State) -> Line {
        Object::new("state", &self.source)
            .key("epoch", state.epoch)
            .key("phase", state.phase.to_string())
            .end()
    }

    fn stopped(&self, stopped: &event::Stopped) -> Line {
        let outcome = &stopped.outcome;
        Object::new("stopped", &self.source)
            .key("outcome", outcome.kind.to_string())
            .key("code", outcome.close.as_ref().map(|(code, _)| code.value()))
            .key("epochs", outcome.epochs)
            .key("error", outcome.error.as_ref().map(|err| self.words(err)))
            // Without a socket there is nothing that could be clean.
            .key("clean", outcome.close.is_some().then_some(outcome.clean))
            .key("unsent_messages", outcome.unsent_messages)
            .key("unsent_bytes", outcome.unsent_bytes)
            .end()
    }
}

/// Formats the output of `--dry-run`.
pub(crate) fn plan(request: &str, delays: &[Duration]) -> Line {
    let delays: Vec<_> = delays.iter().copied().map(millis).collect();
    Object(Vec::new()).key("event", "plan").text("request", request).key("delays_ms", delays).end()
}

pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Returns milliseconds, rounded to a microsecond so that no binary fraction is printed in full.
fn fraction(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}

/// An object whose keys keep the order in which they are added.
pub(crate) struct Object(Vec<u8>);

impl Object {
    fn new(event: &str, source: &str) -> Object {
        Object::of(event).text("source", source)
    }

    /// Begins the object of an event without a source.
    pub(crate) fn of(event: &str) -> Object {
        Object(Vec::with_capacity(256)).key("event", event)
    }

    pub(crate) fn key(self, key: &str, value: impl Into<Value>) -> Object {
        self.raw(key, value.into().to_string().as_bytes())
    }

    /// Adds a text like [`key`](Object::key), without copying it: it may be long.
    pub(crate) fn text(mut self, key: &str, text: &str) -> Object {
        self = self.raw(key, b"");
        serde_json::to_writer(&mut self.0, text).expect("a str is JSON, and a Vec takes all");
        self
    }

    pub(crate) fn base64(self, key: &str, bytes: &[u8]) -> Object {
        // Nothing in the alphabet needs an escape.
        self.raw(key, format!("\"{}\"", STANDARD.encode(bytes)).as_bytes())
    }

    pub(crate) fn raw(mut self, key: &str, value: &[u8]) -> Object {
        self.0.extend_from_slice(if self.0.is_empty() { b"{\"" } else { b",\"" });
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn end(mut self) -> Line {
        self.0.extend_from_slice(b"}\n");
        Line::Stdout(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_order_and_values_are_escaped() {
        let object = Object::new("x", "a\"b\n")
            .key("zero", 0)
            .key("none", None::<u16>)
            .key("part", 0.4)
            .base64("bytes", &[0, 255])
            .text("text", "\u{1}é\u{2028}");
        let Line::Stdout(line) = object.end() else { panic!("not for stdout") };
        let expected = concat!(
            r#"{"event":"x","source":"a\"b\n","zero":0,"none":null,"part":0.4,"bytes":"AP8=","#,
            "\"text\":\"\\u0001é\u{2028}\"}\n"
        );
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }
}
