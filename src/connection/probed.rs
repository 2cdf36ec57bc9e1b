//! What the test kit does with a connection: registering a probe for its events, and reaching a server in memory.

use std::future::ready;

use crate::connection::{Connection, ConnectionBuilder};
use crate::testing::{MemoryServer, Probe};

impl Probe {
    /// Registers the probe for all kinds of event but `Continuation`, `Data` and `Batch`.
    ///
    /// These three change what is delivered: with a recipient of `Continuation`, a message in fragments is no
    /// longer delivered as a `Message` to any recipient, and by `Data` and `Batch` the probe would see each
    /// message twice. A test that wants them registers the probe itself: `.on_batch_to(probe.recipient())`.
    pub fn attach(&self, builder: ConnectionBuilder) -> ConnectionBuilder {
        builder.on_event_to(self.recipient())
    }
}

impl MemoryServer {
    /// Builds a connection to this server. Its URL is `ws://memory/`.
    pub fn connection(&self) -> ConnectionBuilder {
        let server = self.clone();
        let builder = Connection::builder("ws://memory/").proxy_from_env(false);
        builder.transport_with(move |_, _| ready(server.dial()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backoff::Reconnect;
    use crate::command::status::OutcomeKind;
    use crate::event::{self, event_table};
    use crate::testing::{Script, Server};

    #[actix::test]
    async fn a_probe_sees_every_kind_of_event() {
        // A ping, a pong, a message, and one in two fragments.
        let frames = b"\x89\x01p\x8a\x01q\x81\x01t\x01\x01a\x80\x01b".to_vec();
        let first = Script::accept().send_raw(frames).drop_connection();
        let server = Server::start([first, Script::accept().send_close(1000, "")]);
        let probe = Probe::new();
        let builder = Connection::builder(server.url())
            .reconnect(Reconnect::fixed(Duration::from_millis(1)))
            .reconnect_on_close(false);
        let _connection = probe
            .attach(builder)
            .on_data_to(probe.recipient())
            .on_continuation_to(probe.recipient())
            .on_batch_to(probe.recipient())
            .start()
            .unwrap();
        assert_eq!(probe.stopped().await.kind, OutcomeKind::Closed);
        probe.check().unwrap();

        macro_rules! assert_seen {
            ($(
                $(#[$doc:meta])*
                $Event:ident $on:ident $on_to:ident
                event $event:tt
                delivery $delivery:tt
                probe $probe:tt
            )+) => {
                $(assert!(!probe.all::<event::$Event>().is_empty(), stringify!($Event));)+
            };
        }
        event_table!(assert_seen);
    }
}
