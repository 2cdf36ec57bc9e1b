//! The enum of all events, and sets of kinds of them: made from the table of events.

use std::fmt;

use crate::command::status::SourceId;
use crate::event::{self, event_table};

/// The bits of some kinds.
pub(crate) type KindSet = u16;

/// A kind of event as a bit. It seals [`Kind`].
pub(crate) trait Numbered: Sized {
    /// The bit of the kind.
    const BIT: KindSet;

    /// Takes the event out, if it is of this kind.
    fn take(event: Event) -> Option<Self>;
}

/// A kind of event, by its type.
///
/// The trait is sealed. It is implemented for the twelve events of the module [`event`](crate::event), and
/// for nothing else.
#[expect(private_bounds, reason = "the trait is sealed by it")]
pub trait Kind:
    actix::Message<Result = ()> + Clone + fmt::Debug + Send + Into<Event> + Numbered + 'static
{
    /// Returns the event in an [`Event`], if it is of this kind.
    fn of(event: &Event) -> Option<&Self>;
}

/// A set of kinds of event, for a recipient of [`Event`].
///
/// By default all kinds are in it but three. [`Data`](event::Data) and [`Batch`](event::Batch) are messages
/// that come as [`Message`](event::Message) too; and where a recipient of
/// [`Continuation`](event::Continuation) is registered, a message in fragments comes as a `Message` to no
/// recipient.
///
/// ```
/// use actix_ws_client::event::{self, Kinds};
///
/// // Messages in batches instead of one by one.
/// let batches = Kinds::default().and::<event::Batch>().without::<event::Message>();
/// // The sockets alone.
/// let sockets = Kinds::none().and::<event::Open>().and::<event::Close>();
/// assert_eq!(format!("{sockets:?}"), "Kinds(Open, Close)");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kinds(KindSet);

impl Kinds {
    /// Returns the set without any kind.
    pub fn none() -> Kinds {
        Kinds(0)
    }

    /// Adds a kind.
    #[must_use = "it returns another set"]
    pub fn and<M: Kind>(self) -> Kinds {
        Kinds(self.0 | M::BIT)
    }

    /// Removes a kind.
    #[must_use = "it returns another set"]
    pub fn without<M: Kind>(self) -> Kinds {
        Kinds(self.0 & !M::BIT)
    }

    pub(crate) fn bits(self) -> KindSet {
        self.0
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kinds({})", names(self.0))
    }
}

/// Expands to `Event`, to `names`, to the default of `Kinds`, and to an `impl Kind` for each row. `Row`
/// numbers the rows, for the bits.
macro_rules! kinds {
    ($(
        $(#[$doc:meta])*
        $Event:ident $on:ident $on_to:ident
        event { $name:literal; usual $usual:literal $(; at $inner:tt)? }
        delivery $delivery:tt
        probe $probe:tt
    )+) => {
        enum Row {
            $($Event,)+
        }

        /// Any event of a connection, for one handler of all.
        ///
        /// An actor with `Handler<Event>` alone is registered with
        /// [`on_event_to`](crate::ConnectionBuilder::on_event_to), a closure with
        /// [`on_event`](crate::ConnectionBuilder::on_event). Each message comes once, as `Message`: `Batch`,
        /// `Data` and `Continuation` come only where [`Kinds`] asks for them. The order is that of the events.
        #[derive(Clone, Debug, actix::Message)]
        #[rtype(result = "()")]
        #[non_exhaustive]
        pub enum Event {
            $(
                #[doc = concat!("An [`event::", stringify!($Event), "`].")]
                $Event(event::$Event),
            )+
        }

        impl Event {
            /// Returns the number of the connection.
            pub fn source(&self) -> SourceId {
                match self {
                    $(Event::$Event(event) => event$(.$inner)?.source,)+
                }
            }

            /// Returns the number of the opened socket that it is about; where it is about none, that of the
            /// newest, which is 0 before the first.
            pub fn epoch(&self) -> u64 {
                match self {
                    $(Event::$Event(event) => event$(.$inner)?.epoch,)+
                }
            }

            /// Returns the name of its kind, in lower case: `open`, `message`, `stopped`.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Event::$Event(_) => $name,)+
                }
            }
        }

        impl Default for Kinds {
            fn default() -> Kinds {
                Kinds($(if $usual { event::$Event::BIT } else { 0 })|+)
            }
        }

        /// Returns the names of some kinds, with commas between.
        pub(crate) fn names(kinds: KindSet) -> String {
            let all = [$((event::$Event::BIT, stringify!($Event)),)+];
            let some = all.into_iter().filter(|(kind, _)| kinds & kind != 0);
            some.map(|(_, name)| name).collect::<Vec<_>>().join(", ")
        }

        $(
            impl Numbered for event::$Event {
                const BIT: KindSet = 1 << Row::$Event as u8;

                fn take(event: Event) -> Option<Self> {
                    match event {
                        Event::$Event(event) => Some(event),
                        _ => None,
                    }
                }
            }

            impl Kind for event::$Event {
                fn of(event: &Event) -> Option<&Self> {
                    match event {
                        Event::$Event(event) => Some(event),
                        _ => None,
                    }
                }
            }

            impl From<event::$Event> for Event {
                fn from(event: event::$Event) -> Event {
                    Event::$Event(event)
                }
            }
        )+
    };
}

event_table!(kinds);
