//! The registered recipients, and which of them the head of the queue has reached.

use std::future;
use std::mem;

use actix::Recipient;
use actix::dev::SendError;

use crate::delivery::closures::Closures;
use crate::delivery::kinds::{Delivered, IntoTarget, Registered, Target};
use crate::delivery::outlet::{HandlerAddr, Outlet, Receipt};
use crate::event::{self, Event, KindSet, Kinds, Numbered, names};

/// All registered recipients. Mostly one or a few: the slice has no spare capacity.
#[derive(Default)]
pub(crate) struct Handlers {
    registrations: Box<[Registration]>,
    /// The kinds for which there is a recipient.
    wanted: KindSet,
    /// The kinds whose last recipient has ended. A new one takes its kind out.
    unheard: KindSet,
    /// The kinds of the recipients that have ended since `take_ended` was called.
    ended: KindSet,
    /// The number of recipients that have ended.
    ended_count: u32,
}

/// Recipients whose actor has ended.
pub(crate) struct Ended {
    /// The names of their kinds of event.
    pub(crate) kinds: String,
    /// The names of all kinds that had recipients, and have none any more because their actors have ended.
    pub(crate) unheard: String,
}

/// A registered recipient.
struct Registration {
    /// The original value, never a clone: actix sends past the bound of the mailbox through a clone,
    /// and reports it as full never.
    target: Target,
    /// The kinds that are delivered to it, of those that the target takes.
    kinds: KindSet,
    /// The number of the first entry that is delivered to it. A late subscriber gets nothing that was
    /// queued before it came.
    from: u64,
}

/// How far the head of the queue has come: for each of [`EVENT`], [`DATA`] and [`BATCH`] the index of
/// the next registration to offer it to.
pub(super) type Cursors = [u32; 3];

/// The cursor of the event itself.
pub(super) const EVENT: usize = 0;
/// The cursor of the `Data` that goes before a message or a fragment.
pub(super) const DATA: usize = 1;
/// The cursor of the `Batch` that goes before the messages of a run.
pub(super) const BATCH: usize = 2;

/// An event in a mailbox that was full when it was sent.
pub(super) struct Pending {
    /// Dropping it takes the event back out of the mailbox.
    pub(super) receipt: Receipt,
    pub(super) since: tokio::time::Instant,
    /// The registration that it was sent to, by index, and its kind.
    pub(super) to: (u32, KindSet),
}

impl Pending {
    /// Creates an event of no kind, for no recipient, that is never taken out of its mailbox.
    pub(super) fn held() -> Pending {
        let since = tokio::time::Instant::now();
        Pending { receipt: Box::pin(future::pending()), since, to: (u32::MAX, 0) }
    }

    /// Whether it is the one of [`held`](Pending::held).
    pub(super) fn is_held(&self) -> bool {
        self.to.1 == 0
    }
}

impl Handlers {
    /// Registers what takes an event, or several kinds of it.
    pub(crate) fn add<M: Registered>(&mut self, to: impl IntoTarget<M>) {
        self.add_from::<M>(to.into_target(), 0);
    }

    /// Registers what takes several kinds of event, for these kinds.
    pub(crate) fn add_kinds(&mut self, kinds: Kinds, to: impl IntoTarget<Event>) {
        self.push(Registration { target: to.into_target(), kinds: kinds.bits(), from: 0 });
    }

    /// Registers a target for the entries from number `from` on.
    pub(super) fn add_from<M: Registered>(&mut self, target: Target, from: u64) {
        self.push(Registration { target, kinds: M::kinds(), from });
    }

    /// Registers what takes several kinds of event and is no actor, for these kinds.
    pub(crate) fn add_target(&mut self, kinds: Kinds, target: impl HandlerAddr + 'static) {
        let target = Target::Addr(Box::new(target));
        self.push(Registration { target, kinds: kinds.bits(), from: 0 });
    }

    /// Registers an address for the four kinds of `ConnectionBuilder::handler`.
    pub(crate) fn add_addr(&mut self, addr: impl HandlerAddr + 'static) {
        let kinds = event::Open::BIT | event::Message::BIT | event::Error::BIT | event::Close::BIT;
        self.push(Registration { target: Target::Addr(Box::new(addr)), kinds, from: 0 });
    }

    /// Starts the actor that calls the closures on this thread, if there are any, and registers it.
    pub(crate) fn start(&mut self, closures: Closures) {
        let kinds = closures.kinds();
        if kinds != 0 {
            let target = Target::Addr(Box::new(closures.start()));
            self.push(Registration { target, kinds, from: 0 });
        }
    }

    fn push(&mut self, registration: Registration) {
        let mut registrations = mem::take(&mut self.registrations).into_vec();
        registrations.reserve_exact(1);
        registrations.push(registration);
        self.set(registrations);
    }

    fn set(&mut self, registrations: Vec<Registration>) {
        self.registrations = registrations.into();
        self.wanted = self.registrations.iter().fold(0, |wanted, it| wanted | it.kinds);
        self.unheard &= !self.wanted;
    }

    /// Whether this kind has a recipient.
    #[inline]
    pub(super) fn wants<M: Delivered>(&self) -> bool {
        self.wants_any(M::BIT)
    }

    /// Whether one of these kinds has a recipient.
    #[inline]
    pub(super) fn wants_any(&self, kinds: KindSet) -> bool {
        self.wanted & kinds != 0
    }

    /// Whether messages in several frames are delivered fragment by fragment.
    pub(crate) fn by_fragment(&self) -> bool {
        self.wants::<event::Continuation>()
    }

    /// Returns the index of the next registration for this kind, from an index on.
    #[inline]
    pub(super) fn next<M: Delivered>(&self, from: u32) -> Option<u32> {
        let mut rest = (from..).zip(self.registrations.get(from as usize..)?);
        rest.find(|(_, it)| it.kinds & M::BIT != 0).map(|(at, _)| at)
    }

    /// Returns where registration `at` wants its events, and from which entry on.
    #[inline]
    pub(super) fn at<M: Delivered>(&self, at: u32) -> Option<(u64, Outlet<'_, M>)> {
        let registration = self.registrations.get(at as usize)?;
        Some((registration.from, M::outlet(&registration.target)?))
    }

    /// Returns the index of a recipient's registration.
    pub(super) fn find<M: Registered>(&self, recipient: &Recipient<M>) -> Option<u32> {
        let is_of =
            |it: &Registration| it.kinds & M::ALL_KINDS != 0 && M::is_target(&it.target, recipient);
        (0..).zip(&self.registrations).find(|(_, it)| is_of(it)).map(|(at, _)| at)
    }

    /// Removes these kinds from registration `at`. One without kinds is dropped: later ones and their
    /// cursors move down by one. Returns whether it was dropped.
    pub(super) fn remove(&mut self, at: u32, kinds: KindSet, cursors: &mut Cursors) -> bool {
        let mut registrations = mem::take(&mut self.registrations).into_vec();
        let mut is_dropped = false;
        if let Some(registration) = registrations.get_mut(at as usize) {
            registration.kinds &= !kinds;
            is_dropped = registration.kinds == 0;
        }
        if is_dropped {
            registrations.remove(at as usize);
            // A cursor that points behind it would skip the one that moves into its place.
            cursors.iter_mut().filter(|next| at < **next).for_each(|next| *next -= 1);
        }
        self.set(registrations);
        is_dropped
    }

    /// Removes registration `at`, because its actor has ended.
    #[cold]
    fn remove_ended(&mut self, at: u32, cursors: &mut Cursors) {
        let kinds = self.registrations.get(at as usize).map_or(0, |it| it.kinds);
        self.remove(at, kinds, cursors);
        self.ended |= kinds;
        self.ended_count = self.ended_count.saturating_add(kinds.count_ones());
        self.unheard |= kinds & !self.wanted;
    }

    /// Removes the first registration whose actor has ended. Returns its index.
    pub(super) fn remove_first_ended(&mut self, cursors: &mut Cursors) -> Option<u32> {
        let at = self.registrations.iter().position(|it| !it.target.connected())? as u32;
        self.remove_ended(at, cursors);
        Some(at)
    }

    /// Whether recipients have ended since `take_ended` was called.
    #[inline]
    pub(super) fn has_ended(&self) -> bool {
        self.ended != 0
    }

    /// Returns what has ended since the last call.
    pub(super) fn take_ended(&mut self) -> Option<Ended> {
        match mem::take(&mut self.ended) {
            0 => None,
            kinds => Some(Ended { kinds: names(kinds), unheard: names(self.unheard) }),
        }
    }

    /// Returns the number of recipients that have ended, counted as by [`count`](Handlers::count).
    pub(super) fn ended_count(&self) -> u32 {
        self.ended_count
    }

    /// Returns the number of kinds whose last recipient has ended.
    pub(super) fn unheard_count(&self) -> u32 {
        self.unheard.count_ones()
    }

    /// Returns the number of recipients: an address that was registered for four kinds counts as four.
    pub(crate) fn count(&self) -> usize {
        self.registrations.iter().map(|it| it.kinds.count_ones() as usize).sum()
    }

    /// Offers an event to every recipient that the cursor has not passed. The last one gets the event
    /// itself, the others get clones.
    ///
    /// Stops at the first full mailbox, and returns the event that was sent there. If more recipients
    /// follow, the event is left in `event`, and the next call goes on behind that mailbox.
    pub(super) fn offer<M: Delivered>(
        &mut self,
        cursors: &mut Cursors,
        which: usize,
        number: u64,
        event: &mut Option<M>,
    ) -> Option<Box<Pending>> {
        while let Some(at) = self.next::<M>(cursors[which]) {
            let (from, outlet) = self.at::<M>(at)?;
            if from > number {
                cursors[which] = at + 1;
                continue;
            }
            let is_last = self.next::<M>(at + 1).is_none();
            let own = if is_last { event.take() } else { event.clone() }?;
            match outlet.try_send(own) {
                Ok(()) => cursors[which] = at + 1,
                // The actor has ended, for all kinds of event. The cursor stays: the next registration
                // moves to this index.
                Err(SendError::Closed(_)) => {
                    self.remove_ended(at, cursors);
                }
                Err(SendError::Full(own)) => {
                    // It is in the mailbox now: this recipient must not be offered it again.
                    cursors[which] = at + 1;
                    return Some(send_to_full(&outlet, at, own));
                }
            }
        }
        None
    }

    /// Sends an event to every recipient from index `next` on, past the bounds of their mailboxes.
    pub(super) fn deliver_unbounded<M: Delivered>(&self, next: u32, number: u64, event: &M) {
        let rest = self.registrations.iter().skip(next as usize);
        for registration in rest.filter(|it| it.kinds & M::BIT != 0 && it.from <= number) {
            if let Some(outlet) = M::outlet(&registration.target) {
                outlet.do_send(event.clone());
            }
        }
    }
}

/// Sends an event to a full mailbox. `send`, because after a failed `try_send` actix wakes nothing when
/// there is room again; the receipt of `send` does.
pub(super) fn send_to_full<M: Delivered>(
    outlet: &Outlet<'_, M>,
    at: u32,
    event: M,
) -> Box<Pending> {
    let since = tokio::time::Instant::now();
    Box::new(Pending { receipt: outlet.send(event), since, to: (at, M::BIT) })
}

#[cfg(test)]
mod tests {
    use actix::{Actor, ActorContext, Context, Handler};

    use super::*;

    /// An actor that stops with the first message.
    struct Brief;

    impl Actor for Brief {
        type Context = Context<Brief>;
    }

    impl<M: actix::Message<Result = ()>> Handler<M> for Brief {
        type Result = ();

        fn handle(&mut self, _: M, ctx: &mut Context<Brief>) {
            ctx.stop();
        }
    }

    fn ping() -> Recipient<event::Ping> {
        event::call(|_| ())
    }

    fn pong() -> Recipient<event::Pong> {
        event::call(|_| ())
    }

    #[actix::test]
    async fn a_cursor_stays_at_its_registration_when_another_is_removed() {
        // The cursors before, at and behind the one that is removed.
        for (at, after) in [(0, [0, 0, 1]), (1, [0, 1, 1]), (2, [0, 1, 2]), (3, [0, 1, 2])] {
            let mut handlers = Handlers::default();
            (0..4).for_each(|_| handlers.add(ping()));
            let mut cursors = [0, 1, 2];
            assert!(handlers.remove(at, KindSet::MAX, &mut cursors), "{at}");
            assert_eq!((cursors, handlers.count()), (after, 3), "{at}");
        }
        let mut handlers = Handlers::default();
        assert!(!handlers.remove(7, KindSet::MAX, &mut [0, 1, 2]));
    }

    #[actix::test]
    async fn a_registration_stays_while_it_has_a_kind_left() {
        let mut handlers = Handlers::default();
        handlers.add_addr(Brief.start());
        handlers.add(pong());
        let mut cursors = [2, 1, 2];
        assert_eq!(handlers.count(), 5);
        assert!(!handlers.remove(0, event::Open::BIT | event::Close::BIT, &mut cursors));
        assert_eq!((cursors, handlers.count()), ([2, 1, 2], 3));
        assert!(handlers.wants::<event::Message>() && !handlers.wants::<event::Open>());
        assert_eq!(
            (handlers.next::<event::Open>(0), handlers.next::<event::Error>(0)),
            (None, Some(0))
        );
        assert_eq!(
            (handlers.next::<event::Pong>(0), handlers.next::<event::Error>(1)),
            (Some(1), None)
        );
        assert!(handlers.remove(0, KindSet::MAX, &mut cursors));
        assert_eq!((cursors, handlers.count()), ([1, 0, 1], 1));
        assert!(!handlers.has_ended() && handlers.take_ended().is_none(), "it was removed by wish");
        assert_eq!((handlers.ended_count(), handlers.unheard_count()), (0, 0));
    }

    #[actix::test]
    async fn what_has_ended_is_reported_once_and_its_kinds_until_they_have_a_recipient() {
        let (mut handlers, brief) = (Handlers::default(), Brief.start());
        handlers.add(ping());
        handlers.add_addr(brief.clone());
        handlers.add(event::call(|_: event::Message| ()));
        let mut cursors = [2, 2, 3];
        assert_eq!(handlers.remove_first_ended(&mut cursors), None);
        brief.send(failed()).await.unwrap();
        assert_eq!(handlers.remove_first_ended(&mut cursors), Some(1));
        assert_eq!(handlers.remove_first_ended(&mut cursors), None);
        assert_eq!((cursors, handlers.count()), ([1, 1, 2], 2));
        assert!(handlers.has_ended());
        let Ended { kinds, unheard } = handlers.take_ended().unwrap();
        assert_eq!(kinds, "Open, Message, Error, Close");
        assert_eq!(unheard, "Open, Error, Close", "another recipient of messages is left");
        assert!(!handlers.has_ended() && handlers.take_ended().is_none());
        assert_eq!((handlers.ended_count(), handlers.unheard_count()), (4, 3));
        handlers.add(event::call(|_: event::Error| ()));
        assert_eq!((handlers.ended_count(), handlers.unheard_count()), (4, 2));
    }

    /// An event that a `Brief` ends with.
    fn failed() -> event::Error {
        let source = crate::command::status::SourceId::next();
        let (error, next) = (crate::error::Error::Url("none".into()), event::Next::Stop);
        event::Error { source, epoch: 0, name: None, error, attempt: 1, next }
    }
}
