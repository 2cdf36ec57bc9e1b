//! The actor that takes what a feed delivers, and what users call.

use std::sync::Arc;
#[cfg(feature = "metrics")]
use std::sync::Weak;
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Handler, WrapFuture};
use bytes::Bytes;
use tokio::time::timeout;

use crate::feed::Topic;
use crate::feed::event::{Batch, Gap, Stopped, TopicState, Update};
use crate::nats::broker::Broker;
use crate::nats::lane::Role;
use crate::nats::lanes::{Lanes, Limits};
use crate::nats::shared::{Alive, Drain, Shared};
use crate::nats::task;

/// Publishes what a feed delivers: the handler to register with
/// [`Builder::batch_handler`](crate::feed::Builder::batch_handler). It takes items of any type that converts to
/// [`Bytes`], as [`Payload`](crate::Payload) does.
///
/// Each message is repeated until the broker acknowledges it. At the bounds of [`Options::queue`](crate::nats::Options::queue)
/// the mailbox stops, and the feed's [`Overflow`](crate::feed::Overflow) decides what follows. Gaps are not published: the
/// numbers of the messages show them.
///
/// It publishes as long as the actor or a [`PublisherHandle`] is there. What waits when the last of them is dropped is
/// lost: end with [`PublisherHandle::close`].
///
/// ```no_run
/// use std::time::Duration;
///
/// use actix::Actor;
/// use actix_ws_client::feed::{Builder, Dialect, command};
/// use actix_ws_client::{Payload, nats};
///
/// # async fn run<D: Dialect<Item = Payload>>(
/// #     builder: Builder<D>,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// let broker = nats::Options::new("nats://127.0.0.1:4222").connect().await?;
/// let publisher = nats::Publisher::new(&broker);
/// let handle = publisher.handle();
/// let feed = builder.batch_handler(&publisher.start()).start()?;
/// // ...
/// feed.send(command::Close::default()).await?;
/// let figures = handle.close(Duration::from_secs(3)).await;
/// println!("{} messages were not acknowledged", figures.waiting);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Publisher {
    broker: Broker,
    alive: Arc<Alive>,
}

/// A way to a publisher that does not lead through its mailbox, which stops while the broker is away. Clones lead to the
/// same publisher.
#[derive(Clone, Debug)]
pub struct PublisherHandle {
    alive: Arc<Alive>,
}

/// Finds the handle of a publisher as long as there is one, and keeps none alive.
#[cfg(feature = "metrics")]
#[derive(Clone, Debug)]
pub(crate) struct WeakPublisher(Weak<Alive>);

#[cfg(feature = "metrics")]
impl WeakPublisher {
    pub(crate) fn upgrade(&self) -> Option<PublisherHandle> {
        self.0.upgrade().map(|alive| PublisherHandle { alive })
    }
}

/// How a publisher is, and what it has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Whether the connection to the broker is open.
    pub is_connected: bool,
    /// How long it has been open, or lost.
    pub since: Duration,
    /// How often it was opened.
    pub connections: u64,
    /// Why the broker is not reached, or has stored no message for longer than
    /// [`Options::ack_timeout`](crate::nats::Options::ack_timeout), as long as that is so.
    pub failure: Option<Arc<str>>,
    /// How long ago a message was acknowledged last, or found in the stream.
    pub last_acknowledged: Option<Duration>,
    /// How long messages have waited of which none was acknowledged; `None` if none waits.
    pub stalled: Option<Duration>,
    /// What it has done so far.
    pub figures: Figures,
}

/// What a publisher has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// Messages that were sent to the broker, each counted once.
    pub published: u64,
    /// Those of them that are in the stream.
    pub acknowledged: u64,
    /// Messages that wait to be sent or acknowledged.
    pub waiting: u64,
    /// The bytes of their payloads.
    pub waiting_bytes: u64,
    /// Publications that wait for their acknowledgement, and questions for the last message of a topic.
    pub in_flight: u64,
    /// Messages that are kept of topics that another owner publishes.
    pub kept: u64,
    /// Publications that were sent again.
    pub repeated: u64,
    /// Messages that were in the stream already.
    pub duplicates: u64,
    /// Messages that the broker would never take, for their size.
    pub refused: u64,
    /// Messages of topics that another owner publishes which are kept no longer.
    pub dropped: u64,
    /// Topics that were given up to an owner with a higher fence.
    pub fenced: u64,
}

impl Publisher {
    /// Creates a publisher that owns every topic.
    pub fn new(broker: &Broker) -> Publisher {
        let owner = Role::Owner { fence: 0, until: None };
        Publisher::with(broker, owner, Duration::ZERO)
    }

    /// Creates a publisher that owns no topic until [`PublisherHandle::set_role`] says so. A standby keeps what it received
    /// within the last `keep`, within the bounds of [`Options::queue`](crate::nats::Options::queue).
    pub fn shared(broker: &Broker, keep: Duration) -> Publisher {
        Publisher::with(broker, Role::None, keep)
    }

    fn with(broker: &Broker, role: Role, keep: Duration) -> Publisher {
        let options = &broker.options;
        let limits = Limits {
            in_flight: options.in_flight,
            ack_timeout: options.ack_timeout,
            messages: options.queue_messages,
            bytes: options.queue_bytes,
            keep,
        };
        let shared = Arc::new(Shared::new(Lanes::new(limits, role), broker.connection.clone()));
        Publisher { broker: broker.clone(), alive: Arc::new(Alive(shared)) }
    }

    /// Returns a handle of the publisher.
    pub fn handle(&self) -> PublisherHandle {
        PublisherHandle { alive: self.alive.clone() }
    }

    /// Takes updates, and stops the mailbox if no more may wait.
    fn take<T: Into<Bytes>>(
        &mut self,
        updates: impl IntoIterator<Item = Update<T>>,
        ctx: &mut Context<Publisher>,
    ) {
        let shared = &self.alive.0;
        let mut state = shared.lock();
        for update in updates {
            let Update { topic, sequence, snapshot, received, item, .. } = update;
            state.lanes.push(&topic, sequence, snapshot, item.into(), received);
        }
        state.note_waiting();
        let has_room = state.has_room();
        drop(state);
        shared.changed.notify_one();
        if !has_room {
            let shared = shared.clone();
            // Elsewhere no actor waits for the network in its context. This one does nothing but take updates, its task
            // publishes meanwhile, and to leave what comes in the mailbox is how a feed learns that it is too fast.
            ctx.wait(async move { shared.has_room().await }.into_actor(self));
        }
    }
}

impl PublisherHandle {
    /// Sets the role of topics. The future need not be awaited: it ends once nothing of theirs is in flight, each
    /// acknowledged or given up after [`Options::ack_timeout`](crate::nats::Options::ack_timeout).
    pub fn set_role(
        &self,
        topics: &[Topic],
        role: Role,
    ) -> impl Future<Output = ()> + Send + use<> {
        let shared = self.alive.0.clone();
        let mut state = shared.lock();
        let lanes = state.lanes.set_role(topics, role);
        state.note_waiting();
        drop(state);
        shared.changed.notify_one();
        shared.progress();
        async move { shared.is_released(&lanes).await }
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn downgrade(&self) -> WeakPublisher {
        WeakPublisher(Arc::downgrade(&self.alive))
    }

    /// Returns how the publisher is.
    pub fn status(&self) -> Status {
        let now = Instant::now();
        let for_how_long = |at: Instant| now.saturating_duration_since(at);
        let connection = self.alive.0.connection.borrow().clone();
        // One look at everything, so that the parts fit each other.
        let state = self.alive.0.lock();
        let figures = Figures::of(&state.lanes);
        let failure = match connection.is_open {
            true => state.lasting_failure(now),
            false => connection.failure,
        };
        Status {
            is_connected: connection.is_open,
            since: for_how_long(connection.since),
            connections: connection.opened,
            failure,
            last_acknowledged: state.storing.last.map(for_how_long),
            stalled: state.storing.stalled.map(for_how_long),
            figures,
        }
    }

    /// Publishes what was received of topics so far and nothing that comes later, until their role is set. The future ends
    /// once that is acknowledged, or another role is set.
    pub(crate) fn end(
        &self,
        topics: &[Topic],
        at: Instant,
    ) -> impl Future<Output = ()> + Send + use<> {
        let shared = self.alive.0.clone();
        let lanes = shared.lock().lanes.end(topics, at);
        async move {
            let all = async {
                shared.is_drained().await;
                shared.has_ended(&lanes).await;
            };
            tokio::select! {
                () = all => {}
                () = shared.is_replaced(&lanes) => {}
            }
        }
    }

    /// Returns what the publisher has done so far.
    pub fn figures(&self) -> Figures {
        Figures::of(&self.alive.0.lock().lanes)
    }

    /// Publishes what the feed has delivered, for so long at most, and returns the figures: what
    /// [waits](Figures::waiting) then was not acknowledged. Call it once the feed has stopped. The mailbox is emptied beyond
    /// the bounds from now on.
    pub fn close(&self, within: Duration) -> impl Future<Output = Figures> + Send + use<> {
        let handle = self.clone();
        handle.alive.0.lock().is_closing = true;
        handle.alive.0.progress();
        async move {
            let shared = &handle.alive.0;
            let all = async {
                shared.is_drained().await;
                shared.is_acknowledged().await;
            };
            // The figures say what was left.
            let _ = timeout(within, all).await;
            handle.figures()
        }
    }
}

impl Figures {
    fn of(lanes: &Lanes) -> Figures {
        let (counts, owned) = (lanes.counts(), lanes.owned());
        Figures {
            published: counts.published,
            acknowledged: counts.acknowledged,
            waiting: owned.messages as u64,
            waiting_bytes: owned.bytes as u64,
            in_flight: lanes.in_flight() as u64,
            kept: lanes.kept().messages as u64,
            repeated: lanes.repeated(),
            duplicates: counts.duplicates,
            refused: counts.refused,
            dropped: counts.dropped,
            fenced: counts.fenced,
        }
    }
}

impl Actor for Publisher {
    type Context = Context<Publisher>;

    fn started(&mut self, ctx: &mut Context<Publisher>) {
        // An actor is started once.
        let _ = self.alive.0.actor.set(ctx.address().downgrade().recipient());
        let (shared, alive) = (self.alive.0.clone(), Arc::downgrade(&self.alive));
        actix_rt::spawn(task::run(self.broker.clone(), shared, alive));
    }
}

impl<T: Into<Bytes> + Send + 'static> Handler<Batch<T>> for Publisher {
    type Result = ();

    fn handle(&mut self, batch: Batch<T>, ctx: &mut Context<Publisher>) {
        self.take(batch, ctx);
    }
}

impl<T: Into<Bytes> + Send + 'static> Handler<Update<T>> for Publisher {
    type Result = ();

    fn handle(&mut self, update: Update<T>, ctx: &mut Context<Publisher>) {
        self.take([update], ctx);
    }
}

/// Not published: the numbers show it.
impl Handler<Gap> for Publisher {
    type Result = ();

    fn handle(&mut self, _: Gap, _: &mut Context<Publisher>) {}
}

/// Not published.
impl Handler<TopicState> for Publisher {
    type Result = ();

    fn handle(&mut self, _: TopicState, _: &mut Context<Publisher>) {}
}

/// Does nothing: see [`PublisherHandle::close`].
impl Handler<Stopped> for Publisher {
    type Result = ();

    fn handle(&mut self, _: Stopped, _: &mut Context<Publisher>) {}
}

impl Handler<Drain> for Publisher {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Context<Publisher>) {}
}
