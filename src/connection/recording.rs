//! Recording the events of a connection, as JSON.

use std::time::Instant;

use serde::Serialize;

use crate::connection::actor::Connection;

impl Connection {
    /// Records an event, if the connection is recorded.
    #[inline]
    pub(super) fn record(&self, kind: &'static str, epoch: u64, event: &impl Serialize) {
        if let Some(track) = &self.track
            && let Ok(json) = serde_json::to_string(event)
        {
            track.event(epoch, now(), kind, json);
        }
    }
}

/// Returns the time, also where the clock is paused or simulated.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
