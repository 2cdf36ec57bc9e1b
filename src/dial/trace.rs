//! What is logged of a handshake, where that is wanted (WebSocketApp's `enableTrace`).

use crate::dial::head::Head;
use crate::dial::redact::Redaction;
use crate::options::Options;

/// The target of these events.
const TARGET: &str = "actix_ws_client::handshake";

/// The heads of one upgrade, for the log.
pub(super) struct Trace {
    redaction: Redaction,
    /// What was written of the request so far.
    request: Vec<u8>,
}

/// The most of a request that is kept for the log, in bytes.
const MAX_REQUEST: usize = 64 << 10;

impl Trace {
    /// `None` if nobody listens.
    pub(super) fn new(options: &Options) -> Option<Trace> {
        let wanted = tracing::enabled!(target: TARGET, tracing::Level::TRACE);
        wanted.then(|| Trace { redaction: Redaction::new(options), request: Vec::new() })
    }

    /// Takes what was written, and logs the head once it is whole.
    pub(super) fn wrote(&mut self, bytes: &[u8]) {
        if self.request.len() + bytes.len() > MAX_REQUEST {
            return;
        }
        self.request.extend_from_slice(bytes);
        if self.request.ends_with(b"\r\n\r\n") {
            let head = self.redaction.request(&std::mem::take(&mut self.request));
            tracing::trace!(target: TARGET, %head, "request");
        }
    }

    /// Logs a reply, also an interim one.
    pub(super) fn came(&self, reply: &Head) {
        let head = self.redaction.reply(reply.status, &reply.headers);
        tracing::trace!(target: TARGET, %head, "reply");
    }
}
