//! Registering closures and recipients for events.

use std::borrow::Borrow;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler};

use crate::connection::builder::ConnectionBuilder;
use crate::delivery::{Closure, IntoRecipient};
use crate::event::{self, Event, Kinds, event_table};

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

    /// Registers a closure for all events, as [`Event`]: each message once, as `Event::Message`. `Batch`,
    /// `Data` and `Continuation` are delivered only where they have a closure or a recipient of their own.
    ///
    /// **All closures of a builder run in one actor**, on the connection's thread, which begins with the
    /// connection and ends after `Stopped`. So they are called in the order of the events, whatever their
    /// kinds, and for one event in the order in which they were registered; no two run at the same time. A
    /// closure that blocks blocks that thread. If one panics, that actor ends, and with it all closures, as any
    /// [handler](ConnectionBuilder::end_when_unheard) does; the connection goes on. A closure that is not
    /// `Send`, or that is to have an actor of its own, goes through [`event::call`](crate::event::call).
    ///
    /// ```
    /// use actix_ws_client::{Connection, Event};
    ///
    /// let builder = Connection::builder("wss://feed.example/").on_event(|event| match event {
    ///     Event::Open(open) => println!("open, protocol {:?}", open.handshake.subprotocol),
    ///     Event::Message(message) => println!("{:?}", message.payload),
    ///     other => println!("{}", other.name()),
    /// });
    /// # drop(builder);
    /// ```
    pub fn on_event(self, closure: impl FnMut(Event) + Send + 'static) -> Self {
        self.call(Closure::All(Box::new(closure)))
    }

    /// Registers a recipient of all events, as [`Event`], in one order: an actor with `Handler<Event>` alone.
    /// It gets each message once, as `Event::Message`; for `Batch`, `Data` and `Continuation` ask with
    /// [`on_events_to`](ConnectionBuilder::on_events_to).
    pub fn on_event_to(self, recipient: impl IntoRecipient<Event>) -> Self {
        self.on_events_to(Kinds::default(), recipient)
    }

    /// Registers a recipient of some kinds of event, as [`Event`], in one order.
    ///
    /// ```
    /// use actix_ws_client::event::{self, Kinds};
    /// # use actix_ws_client::testing::Probe;
    /// use actix_ws_client::{Connection, Event};
    ///
    /// # actix::System::new().block_on(async {
    /// # let recipient = Probe::new().recipient::<Event>();
    /// // Messages in batches, the fast way, and all the rest as usual.
    /// let kinds = Kinds::default().and::<event::Batch>().without::<event::Message>();
    /// let builder = Connection::builder("wss://feed.example/").on_events_to(kinds, recipient);
    /// # drop(builder);
    /// # });
    /// ```
    pub fn on_events_to(mut self, kinds: Kinds, recipient: impl IntoRecipient<Event>) -> Self {
        self.handlers.add_kinds(kinds, recipient);
        self
    }

    fn call(mut self, closure: Closure) -> Self {
        self.closures.push(closure);
        self
    }
}

/// Expands to two methods for each event: they register a closure and a recipient.
macro_rules! methods {
    ($(
        #[doc = $what:literal]
        $(#[doc = $more:literal])*
        $Event:ident $on:ident $on_to:ident
        event $event:tt
        delivery $delivery:tt
        probe $probe:tt
    )+) => {
        impl ConnectionBuilder {
            $(
                #[doc = concat!(" Registers a closure for", $what)]
                $(#[doc = $more])*
                ///
                /// All closures of a builder run in one actor, see [`on_event`](ConnectionBuilder::on_event).
                pub fn $on(self, closure: impl FnMut(event::$Event) + Send + 'static) -> Self {
                    self.call(Closure::$Event(Box::new(closure)))
                }

                #[doc = concat!(" Registers a recipient of", $what)]
                $(#[doc = $more])*
                pub fn $on_to(mut self, recipient: impl IntoRecipient<event::$Event>) -> Self {
                    self.handlers.add(recipient);
                    self
                }
            )+
        }
    };
}

event_table!(methods);
