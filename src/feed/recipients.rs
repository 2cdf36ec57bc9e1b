//! The recipients of a feed's events.

use std::sync::Arc;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message, Recipient};

use crate::feed::event::{Batch, Gap, LineState, Rotated, Stopped, TopicState, Update};
use crate::feed::rules::Overflow;

/// The recipients of each kind of event, in the order in which they were registered.
#[derive(Clone)]
pub(crate) struct Recipients<T: Send + 'static> {
    pub(crate) updates: Vec<Recipient<Update<T>>>,
    pub(crate) batches: Vec<Recipient<Batch<T>>>,
    pub(crate) gaps: Vec<Recipient<Gap>>,
    pub(crate) topics: Vec<Recipient<TopicState>>,
    pub(crate) lines: Vec<Recipient<LineState>>,
    pub(crate) rotations: Vec<Recipient<Rotated>>,
    pub(crate) stopped: Vec<Recipient<Stopped>>,
    /// What happens to updates that they are too slow for; of a feed's recipients.
    pub(crate) overflow: Overflow,
}

/// The recipients of a topic's own, which its updates share.
pub(crate) type Own<T> = Arc<Recipients<T>>;

impl<T: Send + 'static> Default for Recipients<T> {
    fn default() -> Recipients<T> {
        Recipients {
            updates: Vec::new(),
            batches: Vec::new(),
            gaps: Vec::new(),
            topics: Vec::new(),
            lines: Vec::new(),
            rotations: Vec::new(),
            stopped: Vec::new(),
            overflow: Overflow::Wait,
        }
    }
}

/// An event of a feed whose items are `T`: one of the module [`event`](crate::feed::event). The trait is
/// sealed.
#[expect(private_bounds, reason = "the trait is sealed by it")]
pub trait Event<T: Send + 'static>: Listed<T> {}

impl<T: Send + 'static, M: Listed<T>> Event<T> for M {}

/// An event that has a list of recipients.
pub(crate) trait Listed<T: Send + 'static>:
    Message<Result = ()> + Clone + Send + Sized + 'static
{
    /// Returns the list.
    fn list(recipients: &mut Recipients<T>) -> &mut Vec<Recipient<Self>>;
}

/// Expands to the list of each kind of event.
macro_rules! lists {
    ($($event:ty: $field:ident,)+) => {$(
        impl<T: Clone + Send + 'static> Listed<T> for $event {
            fn list(recipients: &mut Recipients<T>) -> &mut Vec<Recipient<Self>> {
                &mut recipients.$field
            }
        }
    )+};
}

lists! {
    Update<T>: updates,
    Batch<T>: batches,
    Gap: gaps,
    TopicState: topics,
    LineState: lines,
    Rotated: rotations,
    Stopped: stopped,
}

impl<T: Clone + Send + 'static> Recipients<T> {
    /// Registers a recipient of one kind of event.
    pub(crate) fn add<M: Event<T>>(&mut self, recipient: Recipient<M>) {
        M::list(self).push(recipient);
    }

    /// Adds the recipients of another list behind these.
    pub(crate) fn extend(&mut self, other: &Recipients<T>) {
        self.updates.extend(other.updates.iter().cloned());
        self.batches.extend(other.batches.iter().cloned());
        self.gaps.extend(other.gaps.iter().cloned());
        self.topics.extend(other.topics.iter().cloned());
        self.lines.extend(other.lines.iter().cloned());
        self.rotations.extend(other.rotations.iter().cloned());
        self.stopped.extend(other.stopped.iter().cloned());
    }

    /// Registers an actor for gaps and states of topics.
    pub(crate) fn add_addr<A>(&mut self, addr: &Addr<A>)
    where
        A: Actor + Handler<Gap> + Handler<TopicState>,
        A::Context: ToEnvelope<A, Gap> + ToEnvelope<A, TopicState>,
    {
        self.add::<Gap>(addr.clone().recipient());
        self.add::<TopicState>(addr.clone().recipient());
    }
}
