//! Replaces `recording.rs` without the feature `record`: records nothing.

use crate::connection::actor::Connection;

impl Connection {
    #[inline]
    pub(super) fn record<E>(&self, _: &'static str, _: u64, _: &E) {}
}
