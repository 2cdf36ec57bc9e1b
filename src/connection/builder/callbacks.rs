//! Who is told what: the handlers of a connection that is yet to be started.

use std::borrow::Borrow;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Recipient};

use crate::connection::builder::ConnectionBuilder;
use crate::delivery::Event;
use crate::event;

impl ConnectionBuilder {
    /// Registers an actor for `Open`, `Message`, `Error` and `Close`: by its `Addr`, or a reference to
    /// it.
    ///
    /// The connection keeps it alive until `Stopped` was told. An actor that keeps the
    /// connection's `Addr` in turn closes a ring: let it keep `event::Open::connection`.
    pub fn handler<A>(mut self, addr: impl Borrow<Addr<A>>) -> ConnectionBuilder
    where
        A: Actor
            + Handler<event::Open>
            + Handler<event::Message>
            + Handler<event::Error>
            + Handler<event::Close>,
        A::Context: ToEnvelope<A, event::Open>
            + ToEnvelope<A, event::Message>
            + ToEnvelope<A, event::Error>
            + ToEnvelope<A, event::Close>,
    {
        self.handlers.add_four(addr.borrow().clone());
        self
    }

    /// Tells of each opened socket (WebSocketApp's `on_open`).
    pub fn on_open(self, recipient: Recipient<event::Open>) -> ConnectionBuilder {
        self.on(recipient)
    }

    /// Tells of each reopened socket, just before its `Open` (WebSocketApp's `on_reconnect`).
    pub fn on_reconnect(self, recipient: Recipient<event::Reconnect>) -> ConnectionBuilder {
        self.on(recipient)
    }

    /// Tells of each message with its opcode, just before its `Message` (WebSocketApp's `on_data`).
    pub fn on_data(self, recipient: Recipient<event::Data>) -> ConnectionBuilder {
        self.on(recipient)
    }

    /// Tells of each fragment of a message that comes in several, as it comes, and no longer of that
    /// message as a whole (WebSocketApp's `on_cont_message`). A message in one frame is told as ever.
    /// See [`event::Continuation`].
    pub fn on_continuation(self, recipient: Recipient<event::Continuation>) -> ConnectionBuilder {
        self.on(recipient)
    }

    /// Tells of all messages of a read at once: the fast lane. See [`event::Batch`].
    pub fn on_batch(self, recipient: Recipient<event::Batch>) -> ConnectionBuilder {
        self.on(recipient)
    }

    /// Tells of each message (WebSocketApp's `on_message`).
    pub fn on_message(self, recipient: Recipient<event::Message>) -> ConnectionBuilder {
        self.on(recipient)
    }

    /// Tells of each Ping of the server's (WebSocketApp's `on_ping`).
    pub fn on_ping(self, recipient: Recipient<event::Ping>) -> ConnectionBuilder {
        self.on(recipient)
    }

    /// Tells of each Pong of the server's (WebSocketApp's `on_pong`).
    pub fn on_pong(self, recipient: Recipient<event::Pong>) -> ConnectionBuilder {
        self.on(recipient)
    }

    /// Tells of each failure (WebSocketApp's `on_error`).
    pub fn on_error(self, recipient: Recipient<event::Error>) -> ConnectionBuilder {
        self.on(recipient)
    }

    /// Tells of the end of each opened socket (WebSocketApp's `on_close`).
    pub fn on_close(self, recipient: Recipient<event::Close>) -> ConnectionBuilder {
        self.on(recipient)
    }

    /// Tells of each change of phase.
    pub fn on_state(self, recipient: Recipient<event::State>) -> ConnectionBuilder {
        self.on(recipient)
    }

    /// Tells of the end of the run.
    pub fn on_stopped(self, recipient: Recipient<event::Stopped>) -> ConnectionBuilder {
        self.on(recipient)
    }

    fn on<M: Event>(mut self, recipient: Recipient<M>) -> ConnectionBuilder {
        self.handlers.add(recipient);
        self
    }
}
