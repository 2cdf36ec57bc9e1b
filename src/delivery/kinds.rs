//! The targets that events are delivered to: made from the table of events.

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Recipient, WeakRecipient};

use crate::delivery::outlet::{HandlerAddr, Outlet};
use crate::event::{self, Event, Kind, KindSet, Kinds, Numbered, event_table};

/// What a recipient can be registered for: one kind of event, or [`Event`] for several.
pub(crate) trait Registered: actix::Message<Result = ()> + Send + Sized + 'static {
    /// The kinds that a recipient can be registered for.
    const ALL_KINDS: KindSet;

    /// Returns the kinds that a recipient is registered for where it does not say which.
    fn kinds() -> KindSet {
        Self::ALL_KINDS
    }

    /// Makes a target of a recipient.
    fn target(recipient: Recipient<Self>) -> Target;

    /// Makes a target of a recipient that does not keep its actor alive.
    fn weak_target(recipient: WeakRecipient<Self>) -> Target;

    /// Whether the target sends to this recipient.
    fn is_target(target: &Target, recipient: &Recipient<Self>) -> bool;
}

/// One kind of event, which is delivered as it is.
pub(crate) trait Delivered: Kind + Registered {
    /// Returns where to send an event of this kind, if the target takes it.
    fn outlet(target: &Target) -> Option<Outlet<'_, Self>>;
}

/// What can be registered for an event of a kind, or for [`Event`]: a [`Recipient`], an [`Addr`], or a
/// [`WeakRecipient`], which does not keep its actor alive.
///
/// The trait is sealed.
///
/// Through a `Recipient` or an `Addr` the connection keeps the actor alive until `Stopped` was delivered. To a
/// `WeakRecipient` one event is under way at a time: the next one is sent once its actor has handled it, because
/// actix reports a recipient that was just upgraded as full never. That takes longer for each message; a
/// recipient of [`event::Batch`](crate::event::Batch) makes up for it.
#[expect(private_bounds, reason = "the trait is sealed by it")]
pub trait IntoRecipient<M>: IntoTarget<M> {}

/// Makes a target.
pub(crate) trait IntoTarget<M> {
    fn into_target(self) -> Target;
}

impl<M: Registered> IntoRecipient<M> for Recipient<M> {}

impl<M: Registered> IntoTarget<M> for Recipient<M> {
    fn into_target(self) -> Target {
        M::target(self)
    }
}

impl<M: Registered> IntoRecipient<M> for WeakRecipient<M> {}

impl<M: Registered> IntoTarget<M> for WeakRecipient<M> {
    fn into_target(self) -> Target {
        M::weak_target(self)
    }
}

impl<A, M> IntoRecipient<M> for Addr<A>
where
    A: Actor<Context: ToEnvelope<A, M>> + Handler<M>,
    M: Registered,
{
}

impl<A, M> IntoTarget<M> for Addr<A>
where
    A: Actor<Context: ToEnvelope<A, M>> + Handler<M>,
    M: Registered,
{
    fn into_target(self) -> Target {
        M::target(self.recipient())
    }
}

/// Expands to `Target`, and to an `impl Delivered` for each row.
macro_rules! kinds {
    ($(
        $(#[$doc:meta])*
        $Event:ident $on:ident $on_to:ident
        event $event:tt
        delivery $delivery:tt
        probe $probe:tt
    )+) => {
        /// What was registered for events, as it was registered.
        pub(crate) enum Target {
            $($Event(Recipient<event::$Event>),)+
            /// Any other: one value for all its kinds. Twelve recipients of one actor would take twelve times the
            /// memory.
            Addr(Box<dyn HandlerAddr>),
        }

        impl Target {
            /// Whether its actor has not ended.
            pub(super) fn connected(&self) -> bool {
                match self {
                    $(Target::$Event(recipient) => recipient.connected(),)+
                    Target::Addr(addr) => addr.connected(),
                }
            }
        }

        $(
            impl Registered for event::$Event {
                const ALL_KINDS: KindSet = Self::BIT;

                fn target(recipient: Recipient<Self>) -> Target {
                    Target::$Event(recipient)
                }

                fn weak_target(recipient: WeakRecipient<Self>) -> Target {
                    Target::Addr(Box::new(recipient))
                }

                fn is_target(target: &Target, recipient: &Recipient<Self>) -> bool {
                    Self::outlet(target).is_some_and(|outlet| outlet.is_of(recipient))
                }
            }

            impl Delivered for event::$Event {
                #[inline]
                fn outlet(target: &Target) -> Option<Outlet<'_, Self>> {
                    match target {
                        Target::$Event(recipient) => Some(Outlet::Recipient(recipient)),
                        Target::Addr(addr) => addr.$on().map(Outlet::Addr),
                        _ => None,
                    }
                }
            }
        )+
    };
}

event_table!(kinds);

impl Registered for Event {
    const ALL_KINDS: KindSet = KindSet::MAX;

    fn kinds() -> KindSet {
        Kinds::default().bits()
    }

    fn target(recipient: Recipient<Self>) -> Target {
        Target::Addr(Box::new(recipient))
    }

    fn weak_target(recipient: WeakRecipient<Self>) -> Target {
        Target::Addr(Box::new(recipient))
    }

    fn is_target(target: &Target, recipient: &Recipient<Self>) -> bool {
        matches!(target, Target::Addr(addr) if addr.is_of_all(recipient))
    }
}
