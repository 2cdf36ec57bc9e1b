//! The kinds of event, and the targets that they are delivered to: made from the table of events.

use actix::Recipient;

use crate::delivery::outlet::{HandlerAddr, Outlet};
use crate::event::{self, event_table};

/// A set of kinds of event, with a bit for each.
pub(super) type KindSet = u16;

/// An event that can be delivered to handlers.
pub(crate) trait Event:
    actix::Message<Result = ()> + Clone + Send + Sized + 'static
{
    /// The bit of its kind.
    const BIT: KindSet;

    /// Makes a target of a recipient.
    fn target(recipient: Recipient<Self>) -> Target;

    /// Returns where to send an event of this kind, if the target takes it.
    fn outlet(target: &Target) -> Option<Outlet<'_, Self>>;
}

/// Expands to `Target`, to `names`, and to an `impl Event` for each row. `Row` numbers the rows, for the bits.
macro_rules! kinds {
    ($(
        $(#[$doc:meta])*
        $Event:ident $on:ident
        delivery { $(run)? $(entry $Entry:ident $(after $before:ident)?)? $(; handler $member:ident)? }
        probe $probe:tt
    )+) => {
        enum Row {
            $($Event,)+
        }

        /// What was registered for events, as it was registered.
        pub(crate) enum Target {
            $($Event(Recipient<event::$Event>),)+
            /// One address for the four kinds of `ConnectionBuilder::handler`: four recipients of one
            /// actor would take four times the memory.
            Addr(Box<dyn HandlerAddr>),
        }

        impl Target {
            /// Whether its actor has not ended.
            pub(super) fn connected(&self) -> bool {
                match self {
                    $(Target::$Event(recipient) => recipient.connected(),)+
                    Target::Addr(addr) => addr.open().connected(),
                }
            }
        }

        /// Returns the names of some kinds, with commas between.
        pub(super) fn names(kinds: KindSet) -> String {
            let all = [$((event::$Event::BIT, stringify!($Event)),)+];
            let some = all.into_iter().filter(|(kind, _)| kinds & kind != 0);
            some.map(|(_, name)| name).collect::<Vec<_>>().join(", ")
        }

        $(impl Event for event::$Event {
            const BIT: KindSet = 1 << Row::$Event as u8;

            fn target(recipient: Recipient<Self>) -> Target {
                Target::$Event(recipient)
            }

            #[inline]
            fn outlet(target: &Target) -> Option<Outlet<'_, Self>> {
                match target {
                    Target::$Event(recipient) => Some(Outlet::Recipient(recipient)),
                    $(Target::Addr(addr) => Some(Outlet::Addr(addr.$member())),)?
                    _ => None,
                }
            }
        })+
    };
}

event_table!(kinds);
