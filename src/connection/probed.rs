//! A probe in the place of the handlers.

use crate::connection::ConnectionBuilder;
use crate::testing::Probe;

impl Probe {
    /// Registers the probe for every kind of event.
    pub fn attach(&self, builder: ConnectionBuilder) -> ConnectionBuilder {
        builder
            .on_open(self.recipient())
            .on_message(self.recipient())
            .on_ping(self.recipient())
            .on_pong(self.recipient())
            .on_error(self.recipient())
            .on_close(self.recipient())
            .on_state(self.recipient())
            .on_stopped(self.recipient())
    }
}
