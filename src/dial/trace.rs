//! What is logged of a handshake, where that is wanted (WebSocketApp's `enableTrace`).

use crate::dial::head::Head;
use crate::dial::redact::Redaction;
use crate::options::Options;

/// The target of these events.
const TARGET: &str = "actix_ws_client::handshake";

/// The heads of one upgrade, for the log.
pub(super) struct Trace {
    redaction: Redaction,
}

/// The longest request that is logged, in bytes.
const MAX_LOGGED_REQUEST: usize = 64 << 10;

impl Trace {
    /// `None` if nobody listens.
    pub(super) fn new(options: &Options) -> Option<Trace> {
        let wanted = tracing::enabled!(target: TARGET, tracing::Level::TRACE);
        wanted.then(|| Trace { redaction: Redaction::new(options) })
    }

    /// Logs a request that was written.
    pub(super) fn log_request(&self, request: &[u8]) {
        if request.len() <= MAX_LOGGED_REQUEST {
            let head = self.redaction.request(request);
            tracing::trace!(target: TARGET, %head, "request");
        }
    }

    /// Logs a reply, also an interim one.
    pub(super) fn log_reply(&self, reply: &Head) {
        let head = self.redaction.reply(reply.status, &reply.headers);
        tracing::trace!(target: TARGET, %head, "reply");
    }
}
