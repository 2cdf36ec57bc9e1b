//! Who is told what: the handlers of a connection that is yet to be started.

use std::borrow::Borrow;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Recipient};

use crate::connection::builder::ConnectionBuilder;
use crate::delivery::Event;
use crate::event::{self, event_table};

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
        self.handlers.add_addr(addr.borrow().clone());
        self
    }

    fn on<M: Event>(mut self, recipient: Recipient<M>) -> ConnectionBuilder {
        self.handlers.add(recipient);
        self
    }
}

/// Expands to a method for each event, which registers a recipient of it.
macro_rules! methods {
    ($(
        $(#[$doc:meta])*
        $Event:ident $on:ident
        delivery $delivery:tt
        probe $probe:tt
    )+) => {
        impl ConnectionBuilder {
            $(
                $(#[$doc])*
                pub fn $on(self, recipient: Recipient<event::$Event>) -> ConnectionBuilder {
                    self.on(recipient)
                }
            )+
        }
    };
}

event_table!(methods);
