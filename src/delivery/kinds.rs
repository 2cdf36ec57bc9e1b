//! The kinds of event: what makes an event of the table one that handlers can be told.

use actix::Recipient;

use crate::delivery::outlet::{Four, Port};
use crate::event::{self, event_table};

/// Kinds of event, a bit for each.
pub(super) type Kinds = u16;

/// A kind of event that handlers can be told.
pub(crate) trait Event:
    actix::Message<Result = ()> + Clone + Send + Sized + 'static
{
    /// Its bit.
    const KIND: Kinds;

    fn to(recipient: Recipient<Self>) -> To;

    /// The way to somebody, if it can be told this kind.
    fn port(to: &To) -> Option<Port<'_, Self>>;
}

/// Expands to `To`, and to an `impl Event` for each event. `Kind` only counts the rows, for the bits.
macro_rules! kinds {
    ($(
        $(#[$doc:meta])*
        $Event:ident $on:ident
        delivery { $(run)? $(entry $Entry:ident $(after $before:ident)?)? $(; handler $member:ident)? }
        probe $probe:tt
    )+) => {
        enum Kind {
            $($Event,)+
        }

        /// The way to somebody.
        pub(crate) enum To {
            $($Event(Recipient<event::$Event>),)+
            /// One address for the four kinds of `ConnectionBuilder::handler`: four recipients of one
            /// actor would weigh four times as much.
            Four(Box<dyn Four>),
        }

        $(impl Event for event::$Event {
            const KIND: Kinds = 1 << Kind::$Event as u8;

            fn to(recipient: Recipient<Self>) -> To {
                To::$Event(recipient)
            }

            #[inline]
            fn port(to: &To) -> Option<Port<'_, Self>> {
                match to {
                    To::$Event(to) => Some(Port::One(to)),
                    $(To::Four(to) => Some(Port::Member(to.$member())),)?
                    _ => None,
                }
            }
        })+
    };
}

event_table!(kinds);
