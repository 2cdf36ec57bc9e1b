//! Registering the recipients of events.

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
    /// The connection keeps the actor alive until `Stopped` was delivered. If the actor keeps the
    /// connection's `Addr` in turn, neither ever ends: let it keep `event::Open::connection`.
    pub fn handler<A>(mut self, addr: impl Borrow<Addr<A>>) -> Self
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

    fn on<M: Event>(mut self, recipient: Recipient<M>) -> Self {
        self.handlers.add(recipient);
        self
    }
}

/// Expands to a method for each event that registers a recipient.
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
                pub fn $on(self, recipient: Recipient<event::$Event>) -> Self {
                    self.on(recipient)
                }
            )+
        }
    };
}

event_table!(methods);
