//! The kinds of event: what makes an event of the table one that handlers can be told.

use actix::Recipient;

use crate::delivery::outlet::{HandlerAddr, Outlet};
use crate::event::{self, event_table};

/// Kinds of event, a bit for each.
pub(super) type KindSet = u16;

/// A kind of event that handlers can be told.
pub(crate) trait Event:
    actix::Message<Result = ()> + Clone + Send + Sized + 'static
{
    /// Its bit.
    const BIT: KindSet;

    fn target(recipient: Recipient<Self>) -> Target;

    /// The way to somebody, if it can be told this kind.
    fn outlet(to: &Target) -> Option<Outlet<'_, Self>>;
}

/// Expands to `Target`, and to an `impl Event` for each event. `Row` only counts the rows, for the bits.
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

        /// The way to somebody.
        pub(crate) enum Target {
            $($Event(Recipient<event::$Event>),)+
            /// One address for the four kinds of `ConnectionBuilder::handler`: four recipients of one
            /// actor would weigh four times as much.
            Addr(Box<dyn HandlerAddr>),
        }

        $(impl Event for event::$Event {
            const BIT: KindSet = 1 << Row::$Event as u8;

            fn target(recipient: Recipient<Self>) -> Target {
                Target::$Event(recipient)
            }

            #[inline]
            fn outlet(to: &Target) -> Option<Outlet<'_, Self>> {
                match to {
                    Target::$Event(to) => Some(Outlet::Recipient(to)),
                    $(Target::Addr(to) => Some(Outlet::Addr(to.$member())),)?
                    _ => None,
                }
            }
        })+
    };
}

event_table!(kinds);
