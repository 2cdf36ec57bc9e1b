//! [`Overflow::Latest`](crate::feed::Overflow::Latest): the newest update of each topic for each handler, whatever the
//! others are doing.
//!
//! One envelope at a time is in the mailbox of a handler. What comes meanwhile waits in a [`Queue`], and the next envelope
//! is sent once the handler has returned from the last.

mod queue;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::Context;

use actix::{Message, Recipient};

use crate::delivery;
use crate::feed::event::{Batch, Gap, LineState, Rotated, TopicState, Update};
use crate::feed::latest::queue::{Envelope, Queue};
use crate::feed::recipients::{Own, Recipients};
use crate::feed::topic::Topic;

/// The events of one shard that are not delivered yet, for each handler.
pub(crate) struct Latest<T: Clone + Send + 'static> {
    handlers: BTreeMap<Key, Handler<T>>,
    /// The handlers of the feed.
    feed: Vec<Key>,
    /// Those of a topic's own, by the address of their recipients.
    own: BTreeMap<usize, (Weak<Recipients<T>>, Vec<Key>)>,
    /// Whether recipients of a topic's own have gone.
    is_stale: bool,
    /// The topics that have had a snapshot: their other updates are increments.
    increments: HashSet<Topic>,
    /// Those of them whose increments were dropped.
    overruns: BTreeSet<Topic>,
    /// The figures of handlers that have gone.
    past: Figures,
}

/// What distinguishes handlers: the address of the mailbox, and the kinds of event, one bit for each.
type Key = (usize, u8);

#[derive(Clone, Copy, Default)]
struct Figures {
    skipped: u64,
    gaps: u64,
}

/// An actor, the events that it takes, and those that wait for it.
struct Handler<T: Clone + Send + 'static> {
    to: Actor<T>,
    queue: Queue<T>,
    /// The envelope in the mailbox.
    sent: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

/// The recipients of one actor.
struct Actor<T: Clone + Send + 'static> {
    /// Not both of these.
    updates: Option<Recipient<Update<T>>>,
    batches: Option<Recipient<Batch<T>>>,
    gaps: Option<Recipient<Gap>>,
    topics: Option<Recipient<TopicState>>,
    lines: Option<Recipient<LineState>>,
    rotations: Option<Recipient<Rotated>>,
}

impl<T: Clone + Send + 'static> Latest<T> {
    pub(crate) fn new(recipients: &Recipients<T>) -> Latest<T> {
        let mut latest = Latest {
            handlers: BTreeMap::new(),
            feed: Vec::new(),
            own: BTreeMap::new(),
            is_stale: false,
            increments: HashSet::new(),
            overruns: BTreeSet::new(),
            past: Figures::default(),
        };
        latest.feed = latest.add(recipients);
        latest
    }

    /// Queues an update, in place of an older one of its topic.
    pub(crate) fn push_update(&mut self, update: Update<T>, own: Option<Own<T>>) {
        if update.snapshot && !self.increments.contains(&update.topic) {
            self.increments.insert(update.topic.clone());
        }
        let is_increment = !self.increments.is_empty() && self.increments.contains(&update.topic);
        let mut has_overrun = false;
        self.each(own, |handler| {
            if handler.to.updates.is_some() || handler.to.batches.is_some() {
                has_overrun |= handler.queue.push_update(update.clone(), is_increment);
            }
        });
        if has_overrun {
            self.overruns.insert(update.topic);
        }
    }

    pub(crate) fn push_gap(&mut self, gap: &Gap, own: Option<Own<T>>) {
        self.each(own, |handler| {
            if handler.to.gaps.is_some() {
                handler.queue.push_gap(gap.clone());
            }
        });
    }

    pub(crate) fn push_topic(&mut self, state: &TopicState, own: Option<Own<T>>) {
        self.each(own, |handler| {
            if handler.to.topics.is_some() {
                handler.queue.push_topic(state.clone());
            }
        });
    }

    pub(crate) fn push_line(&mut self, state: &LineState) {
        self.each(None, |handler| {
            if handler.to.lines.is_some() {
                handler.queue.push_line(state.clone());
            }
        });
    }

    pub(crate) fn push_rotated(&mut self, rotated: &Rotated) {
        self.each(None, |handler| {
            if handler.to.rotations.is_some() {
                handler.queue.push_rotated(rotated.clone());
            }
        });
    }

    /// Returns a topic of increments of which some were dropped since the last call, for it to be made whole.
    pub(crate) fn poll_overrun(&mut self) -> Option<Topic> {
        self.overruns.pop_first()
    }

    /// Notes that a topic is not subscribed any more.
    pub(crate) fn release(&mut self, topic: &Topic) {
        self.increments.remove(topic);
        self.overruns.remove(topic);
        self.is_stale |= !self.own.is_empty();
    }

    /// Returns the number of events that wait.
    pub(crate) fn len(&self) -> usize {
        self.handlers.values().map(|handler| handler.queue.len()).sum()
    }

    /// Returns the number of updates that were replaced by newer ones, for all handlers together.
    pub(crate) fn skipped(&self) -> u64 {
        let skipped = self.handlers.values().map(|handler| handler.queue.skipped());
        self.past.skipped + skipped.sum::<u64>()
    }

    /// Returns the number of gaps for increments that were dropped, for all handlers together.
    pub(crate) fn gaps(&self) -> u64 {
        self.past.gaps + self.handlers.values().map(|handler| handler.queue.gaps()).sum::<u64>()
    }

    /// Sends the next envelope to each handler that has returned from the last.
    pub(crate) fn poll(&mut self, task: &mut Context<'_>) {
        self.handlers.values_mut().for_each(|handler| handler.poll(task));
        if self.is_stale {
            self.prune();
        }
    }

    /// Sends all that is left past the bounds of the mailboxes: at the end, when nothing will be polled.
    pub(crate) fn flush(&mut self) {
        for handler in self.handlers.values_mut() {
            // Its envelope is in the mailbox since it was first polled.
            handler.sent.take().into_iter().for_each(delivery::leave_in_mailbox);
            while let Some(envelope) = handler.next() {
                handler.to.force(envelope);
            }
        }
    }

    /// Calls a function with each handler of a set of recipients, by default those of the feed.
    fn each(&mut self, own: Option<Own<T>>, mut call: impl FnMut(&mut Handler<T>)) {
        let keys = match own {
            None => &self.feed,
            Some(own) => {
                let id = Arc::as_ptr(&own).addr();
                if !self.own.contains_key(&id) {
                    let keys = self.add(&own);
                    self.own.insert(id, (Arc::downgrade(&own), keys));
                }
                self.own.get(&id).map_or(&self.feed, |(_, keys)| keys)
            }
        };
        for key in keys {
            if let Some(handler) = self.handlers.get_mut(key) {
                call(handler);
            }
        }
    }

    /// Adds the handlers of a set of recipients, and returns their keys.
    fn add(&mut self, recipients: &Recipients<T>) -> Vec<Key> {
        let actors = actors(recipients);
        let mut keys = Vec::with_capacity(actors.len());
        for (key, to) in actors {
            let handler = || Handler { to, queue: Queue::default(), sent: None };
            self.handlers.entry(key).or_insert_with(handler);
            keys.push(key);
        }
        keys
    }

    /// Removes the handlers of recipients that have gone, once nothing waits for them.
    fn prune(&mut self) {
        self.own.retain(|_, (own, _)| own.strong_count() > 0);
        let own = self.own.values().flat_map(|(_, keys)| keys);
        let used: BTreeSet<Key> = self.feed.iter().chain(own).copied().collect();
        let (past, mut is_stale) = (&mut self.past, false);
        self.handlers.retain(|key, handler| {
            if used.contains(key) || handler.sent.is_some() {
                is_stale |= !used.contains(key);
                return true;
            }
            past.skipped += handler.queue.skipped();
            past.gaps += handler.queue.gaps();
            false
        });
        self.is_stale = is_stale;
    }
}

impl<T: Clone + Send + 'static> Handler<T> {
    /// Sends the next envelope if the handler has returned from the last.
    fn poll(&mut self, task: &mut Context<'_>) {
        loop {
            if let Some(sent) = &mut self.sent
                && sent.as_mut().poll(task).is_pending()
            {
                return;
            }
            self.sent = self.next().map(|envelope| self.to.send(envelope));
            if self.sent.is_none() {
                return;
            }
        }
    }

    fn next(&mut self) -> Option<Envelope<T>> {
        if self.to.batches.is_some() { self.queue.next_batch() } else { self.queue.next() }
    }
}

impl<T: Clone + Send + 'static> Default for Actor<T> {
    fn default() -> Actor<T> {
        Actor {
            updates: None,
            batches: None,
            gaps: None,
            topics: None,
            lines: None,
            rotations: None,
        }
    }
}

impl<T: Clone + Send + 'static> Actor<T> {
    /// Sends an envelope. Returns a future that ends when the handler has returned from it, or the actor has ended.
    fn send(&self, envelope: Envelope<T>) -> Pin<Box<dyn Future<Output = ()>>> {
        match envelope {
            Envelope::Update(update) => send(&self.updates, update),
            Envelope::Batch(batch) => send(&self.batches, batch),
            Envelope::Gap(gap) => send(&self.gaps, gap),
            Envelope::Topic(state) => send(&self.topics, state),
            Envelope::Line(state) => send(&self.lines, state),
            Envelope::Rotated(rotated) => send(&self.rotations, rotated),
        }
    }

    /// Sends an envelope past the bound of the mailbox.
    fn force(&self, envelope: Envelope<T>) {
        match envelope {
            Envelope::Update(update) => force(&self.updates, update),
            Envelope::Batch(batch) => force(&self.batches, batch),
            Envelope::Gap(gap) => force(&self.gaps, gap),
            Envelope::Topic(state) => force(&self.topics, state),
            Envelope::Line(state) => force(&self.lines, state),
            Envelope::Rotated(rotated) => force(&self.rotations, rotated),
        }
    }
}

fn send<M: Message<Result = ()> + Send + 'static>(
    to: &Option<Recipient<M>>,
    event: M,
) -> Pin<Box<dyn Future<Output = ()>>> {
    let request = to.as_ref().map(|to| to.send(event));
    Box::pin(async move {
        if let Some(request) = request {
            // An error says that the actor has ended.
            let _ = request.await;
        }
    })
}

fn force<M: Message<Result = ()> + Send + 'static>(to: &Option<Recipient<M>>, event: M) {
    if let Some(to) = to {
        to.do_send(event);
    }
}

/// Splits recipients by the actor that they belong to. One that takes single updates and batches is split in two.
fn actors<T: Clone + Send + 'static>(recipients: &Recipients<T>) -> Vec<(Key, Actor<T>)> {
    let mut actors = Vec::new();
    add(&mut actors, &recipients.updates, UPDATES, 0, |actor| &mut actor.updates);
    add(&mut actors, &recipients.batches, BATCHES, UPDATES, |actor| &mut actor.batches);
    add(&mut actors, &recipients.gaps, GAPS, 0, |actor| &mut actor.gaps);
    add(&mut actors, &recipients.topics, TOPICS, 0, |actor| &mut actor.topics);
    add(&mut actors, &recipients.lines, LINES, 0, |actor| &mut actor.lines);
    add(&mut actors, &recipients.rotations, ROTATIONS, 0, |actor| &mut actor.rotations);
    actors
}

const UPDATES: u8 = 1;
const BATCHES: u8 = 2;
const GAPS: u8 = 4;
const TOPICS: u8 = 8;
const LINES: u8 = 16;
const ROTATIONS: u8 = 32;

/// Adds the recipients of one kind of event to their actors, but to none that has one of the kinds in `not_with`.
fn add<T: Clone + Send + 'static, M: Message<Result = ()> + Send + 'static>(
    actors: &mut Vec<(Key, Actor<T>)>,
    recipients: &[Recipient<M>],
    kind: u8,
    not_with: u8,
    of: fn(&mut Actor<T>) -> &mut Option<Recipient<M>>,
) {
    for recipient in recipients {
        let address = address(recipient);
        let is_it = |((at, kinds), _): &(Key, _)| *at == address && kinds & not_with == 0;
        let at = actors.iter().position(is_it).unwrap_or_else(|| {
            actors.push(((address, 0), Actor::default()));
            actors.len() - 1
        });
        let ((_, kinds), actor) = &mut actors[at];
        *kinds |= kind;
        *of(actor) = Some(recipient.clone());
    }
}

/// Returns what distinguishes the mailbox of a recipient: actix hashes its address, which all recipients of an actor
/// share. If it did not, an actor would have a queue for each kind of event.
fn address<M: Message<Result = ()> + Send + 'static>(recipient: &Recipient<M>) -> usize {
    struct Address(u64);
    impl Hasher for Address {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, bytes: &[u8]) {
            bytes.iter().for_each(|byte| self.0 = self.0 << 8 | u64::from(*byte));
        }
        fn write_usize(&mut self, address: usize) {
            self.0 = address as u64;
        }
    }
    let mut hasher = Address(0);
    recipient.hash(&mut hasher);
    hasher.finish() as usize
}
