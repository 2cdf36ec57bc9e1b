//! The methods of the builder that start a stream.

use std::sync::Arc;

use actix::Supervisor;
use actix_rt::ArbiterHandle;
use tokio::sync::oneshot;

use crate::connection::ConnectionBuilder;
use crate::error::ConfigError;
use crate::event::{self, Kinds, Numbered, try_start};
use crate::stream::background::{self, Job};
use crate::stream::events::Events;
use crate::stream::inbox::Inbox;
use crate::stream::inlet::Inlet;
use crate::stream::outbox::{Outbox, Outlet};
use crate::stream::pump::Pump;
use crate::stream::sender::Sender;

impl ConnectionBuilder {
    /// Starts the connection for a program without actors: returns what sends its messages, and its events as a
    /// stream. Both work on every thread, with any runtime or without.
    ///
    /// The connection runs on the background thread of the crate: one for the process, which is started for the
    /// first stream and ends when the last one is closed. It reconnects, sends pings and obeys all options as ever.
    /// It lives until `Events` is dropped, or its run is over.
    ///
    /// `capacity` is the number of events that may wait in the stream, and of messages that may wait in the queue
    /// of all `Sender`s. The messages of one read cross together: where one read brings more of them than
    /// `capacity`, they are let in alone, so that never more wait than `capacity` or than one read brings, which
    /// is at most 128 KiB. A stream that is full looks to the connection as a handler whose mailbox is full:
    /// it reads up to `read_ahead` more and answers Pings, then it stops reading, and the watchdog stands still.
    ///
    /// Each message comes once, as `Event::Message`; see [`stream_kinds`](ConnectionBuilder::stream_kinds).
    ///
    /// ```no_run
    /// use actix_ws_client::{Connection, Event};
    ///
    /// #[tokio::main]
    /// async fn main() -> Result<(), actix_ws_client::ConfigError> {
    ///     let (sender, mut events) = Connection::builder("wss://feed.example/").stream(1024)?;
    ///     while let Some(event) = events.next().await {
    ///         match event {
    ///             Event::Open(_) => drop(sender.send("subscribe").await),
    ///             Event::Message(message) => println!("{:?}", message.payload),
    ///             other => println!("{}", other.name()),
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`check`](ConnectionBuilder::check); a capacity of 0; [`ConfigError::Thread`] if the system refuses the
    /// background thread.
    #[doc(alias("split", "async_stream", "channel"))]
    pub fn stream(self, capacity: usize) -> Result<(Sender, Events), ConfigError> {
        let (sender, events, start) = self.streamed(capacity)?;
        background::run(start).map_err(|err| ConfigError::Thread { reason: err.to_string() })?;
        Ok((sender, events))
    }

    /// Does what [`stream`](ConnectionBuilder::stream) does, with the connection on this thread, inside an actix
    /// `System` or a tokio `LocalSet`. Where the events are consumed there too, nothing crosses threads, and a
    /// message costs less.
    ///
    /// # Errors
    /// As [`check`](ConnectionBuilder::check); a capacity of 0; [`ConfigError::NoRuntime`] outside a `System` and a
    /// `LocalSet`. What [`start`](ConnectionBuilder::start) says of a runtime without a `LocalSet` holds here too.
    pub fn stream_here(self, capacity: usize) -> Result<(Sender, Events), ConfigError> {
        let (sender, events, start) = self.streamed(capacity)?;
        try_start(|| actix_rt::spawn(start())).ok_or(ConfigError::NoRuntime)?;
        Ok((sender, events))
    }

    /// Does what [`stream`](ConnectionBuilder::stream) does, with the connection on the thread of an arbiter.
    ///
    /// # Errors
    /// As [`check`](ConnectionBuilder::check); a capacity of 0; [`ConfigError::ArbiterGone`] if the arbiter is seen
    /// to have ended. If it ends a moment later, the stream ends without an event.
    pub fn stream_in(
        self,
        capacity: usize,
        arbiter: &ArbiterHandle,
    ) -> Result<(Sender, Events), ConfigError> {
        let (sender, events, start) = self.streamed(capacity)?;
        let is_started = arbiter.spawn_fn(move || {
            actix_rt::spawn(start());
        });
        if is_started { Ok((sender, events)) } else { Err(ConfigError::ArbiterGone) }
    }

    /// Makes both ends, and what starts the connection on its thread and runs it to its end.
    fn streamed(mut self, capacity: usize) -> Result<(Sender, Events, Job), ConfigError> {
        if capacity == 0 {
            return Err(ConfigError::option("stream", "a capacity of 0 events: at least 1"));
        }
        let (inbox, kept) = Inbox::new(capacity);
        let outbox = Arc::new(Outbox::new(capacity));
        let outlet = Outlet::new(outbox.clone());
        let sender = Sender::new(outbox, self.watch());
        let events = Events::new(inbox.clone(), capacity);
        let (kinds, splits) = delivered(self.wanted_kinds());
        self.register(kinds, Inlet::new(inbox, splits));
        let (builder, all_called) = self.after_closures();
        let (ended, outcome) = oneshot::channel();
        let make = builder.actor(Some(ended))?;
        let start = move || {
            let connection = Supervisor::start(move |_| make());
            let running = Pump::new(connection, outlet, kept, outcome).run();
            Box::pin(async move {
                running.await;
                if let Some(all_called) = all_called {
                    // An error, always: that the other end was dropped.
                    let _ = all_called.await;
                }
            }) as _
        };
        Ok((sender, events, Box::new(start)))
    }
}

/// Returns the kinds to register for, so that the consumer gets these kinds, and whether batches are split there:
/// where messages are wanted alone, they cross in batches.
fn delivered(wanted: Kinds) -> (Kinds, bool) {
    let alone = event::Message::BIT | event::Data::BIT | event::Batch::BIT;
    if wanted.bits() & alone == event::Message::BIT {
        (wanted.without::<event::Message>().and::<event::Batch>(), true)
    } else {
        (wanted, false)
    }
}
