//! The closures of one builder, and the actor that calls them.

use actix::{Actor, Addr, Context, Handler};

use crate::delivery::outlet::{EventAddr, HandlerAddr};
use crate::event::{self, Event, KindSet, Kinds, Numbered, event_table};

/// Closures in the order in which they were registered. One actor calls all of them, and so their order
/// is that of the events.
#[derive(Default)]
pub(crate) struct Closures(Vec<Closure>);

/// The address of that actor, which takes every kind of event.
struct ClosuresAddr(Addr<Closures>);

impl Closures {
    pub(crate) fn push(&mut self, closure: Closure) {
        self.0.push(closure);
    }

    /// Returns the kinds for which there is a closure.
    pub(crate) fn kinds(&self) -> KindSet {
        self.0.iter().fold(0, |kinds, closure| kinds | closure.kinds())
    }

    /// Starts the actor on this thread.
    pub(super) fn start(self) -> impl HandlerAddr + 'static {
        ClosuresAddr(Actor::start(self))
    }
}

impl Actor for Closures {
    type Context = Context<Closures>;
}

/// Expands to `Closure`, and to what calls it with an event of each kind.
macro_rules! closures {
    ($(
        $(#[$doc:meta])*
        $Event:ident $on:ident $on_to:ident
        event $event:tt
        delivery $delivery:tt
        probe $probe:tt
    )+) => {
        /// A closure for one kind of event, or for all that are delivered to a recipient of `Event`.
        pub(crate) enum Closure {
            $($Event(Box<dyn FnMut(event::$Event) + Send>),)+
            All(Box<dyn FnMut(Event) + Send>),
        }

        impl Closure {
            fn kinds(&self) -> KindSet {
                match self {
                    $(Closure::$Event(_) => event::$Event::BIT,)+
                    Closure::All(_) => Kinds::default().bits(),
                }
            }
        }

        impl HandlerAddr for ClosuresAddr {
            fn connected(&self) -> bool {
                self.0.connected()
            }

            $(fn $on(&self) -> Option<&dyn EventAddr<event::$Event>> {
                Some(&self.0)
            })+
        }

        $(impl Handler<event::$Event> for Closures {
            type Result = ();

            fn handle(&mut self, event: event::$Event, _: &mut Context<Closures>) {
                let kind = event::$Event::BIT;
                let wanted = self.0.iter_mut().filter(|closure| closure.kinds() & kind != 0);
                call_each(wanted, event, |closure, event| match closure {
                    Closure::$Event(call) => call(event),
                    Closure::All(call) => call(event.into()),
                    _ => {}
                });
            }
        })+
    };
}

event_table!(closures);

/// Calls each closure with a clone of the event, and the last one with the event itself.
fn call_each<'a, M: Clone>(
    closures: impl Iterator<Item = &'a mut Closure>,
    event: M,
    call: impl Fn(&mut Closure, M),
) {
    let mut closures = closures.peekable();
    while let Some(closure) = closures.next() {
        if closures.peek().is_none() {
            return call(closure, event);
        }
        call(closure, event.clone());
    }
}
