//! Log records of the heads of a handshake, for a subscriber that enables them (WebSocketApp's `enableTrace`).

use crate::dial::head::Head;
use crate::dial::redact::Redaction;
use crate::options::Options;

/// The target of the records.
const TARGET: &str = "actix_ws_client::handshake";

/// The log of one handshake, secrets redacted.
pub(super) struct Trace {
    redaction: Redaction,
}

/// The longest request that is logged, in bytes.
const MAX_LOGGED_REQUEST: usize = 64 << 10;

impl Trace {
    /// Returns `None` if no subscriber enables the target at level `TRACE`.
    pub(super) fn new(options: &Options) -> Option<Trace> {
        let wanted = tracing::enabled!(target: TARGET, tracing::Level::TRACE);
        wanted.then(|| Trace { redaction: Redaction::new(options) })
    }

    /// Logs the head of the request, unless it is longer than 64 KiB.
    pub(super) fn log_request(&self, request: &[u8]) {
        if request.len() <= MAX_LOGGED_REQUEST {
            let head = self.redaction.request(request);
            tracing::trace!(target: TARGET, %head, "request");
        }
    }

    /// Logs the head of a reply, interim ones included.
    pub(super) fn log_reply(&self, reply: &Head) {
        let head = self.redaction.reply(reply.status, &reply.headers);
        tracing::trace!(target: TARGET, %head, "reply");
    }
}
