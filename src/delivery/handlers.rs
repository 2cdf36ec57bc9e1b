//! Who is told events, and whose turn it is.

use std::mem;

use actix::Recipient;
use actix::dev::SendError;

use crate::delivery::kinds::{Event, KindSet, Target};
use crate::delivery::outlet::{HandlerAddr, Outlet, Receipt};
use crate::event;

/// Somebody who is told something. It stays the one value that it was registered as: a clone of it is
/// never full.
pub(super) struct Registration {
    to: Target,
    /// The kinds that it is told, of those that it can be.
    kinds: KindSet,
    /// The number of the first entry that is meant for it: who comes late is not told of what
    /// was there before.
    pub(super) from: u64,
}

/// Everybody who is told something: mostly one or a few, hence with no room for more.
#[derive(Default)]
pub(crate) struct Handlers {
    registrations: Box<[Registration]>,
    /// The kinds that anybody is told.
    wanted: KindSet,
}

impl Handlers {
    /// Adds a recipient that is told of everything.
    pub(crate) fn add<M: Event>(&mut self, to: Recipient<M>) {
        self.add_from::<M>(M::target(to), 0);
    }

    /// Adds a way to somebody who is told of what has this number, or comes later.
    pub(super) fn add_from<M: Event>(&mut self, to: Target, from: u64) {
        self.push(Registration { to, kinds: M::BIT, from });
    }

    /// Adds an address that is told of the four kinds.
    pub(crate) fn add_addr(&mut self, to: impl HandlerAddr + 'static) {
        let kinds = event::Open::BIT | event::Message::BIT | event::Error::BIT | event::Close::BIT;
        self.push(Registration { to: Target::Addr(Box::new(to)), kinds, from: 0 });
    }

    fn push(&mut self, registration: Registration) {
        let mut more = mem::take(&mut self.registrations).into_vec();
        more.reserve_exact(1);
        more.push(registration);
        self.set(more);
    }

    fn set(&mut self, registrations: Vec<Registration>) {
        self.registrations = registrations.into();
        self.wanted =
            self.registrations.iter().fold(0, |wanted, registration| wanted | registration.kinds);
    }

    /// Whether anybody is told this kind.
    #[inline]
    pub(super) fn wants<M: Event>(&self) -> bool {
        self.wants_any(M::BIT)
    }

    /// Whether anybody is told one of these kinds.
    #[inline]
    pub(super) fn wants_any(&self, kinds: KindSet) -> bool {
        self.wanted & kinds != 0
    }

    /// Whether messages in fragments are told fragment by fragment.
    pub(crate) fn by_fragment(&self) -> bool {
        self.wants::<event::Continuation>()
    }

    /// The place of the next who is told this kind, from a place on.
    #[inline]
    pub(super) fn next<M: Event>(&self, from: u32) -> Option<u32> {
        let mut rest = (from..).zip(self.registrations.get(from as usize..)?);
        rest.find(|(_, registration)| registration.kinds & M::BIT != 0).map(|(at, _)| at)
    }

    /// Everybody who is told this kind, from a place on.
    fn all<M: Event>(&self, from: u32) -> impl Iterator<Item = (u64, Outlet<'_, M>)> {
        let wanting = self
            .registrations
            .iter()
            .skip(from as usize)
            .filter(|registration| registration.kinds & M::BIT != 0);
        wanting.filter_map(|registration| Some((registration.from, M::outlet(&registration.to)?)))
    }

    /// Who has a place, and from which entry on.
    #[inline]
    pub(super) fn at<M: Event>(&self, at: u32) -> Option<(u64, Outlet<'_, M>)> {
        let registration = self.registrations.get(at as usize)?;
        Some((registration.from, M::outlet(&registration.to)?))
    }

    /// The place of a recipient.
    pub(super) fn find<M: Event>(&self, recipient: &Recipient<M>) -> Option<u32> {
        let mut places = (0..).zip(&self.registrations);
        let is = |registration: &Registration| {
            registration.kinds & M::BIT != 0
                && M::outlet(&registration.to).is_some_and(|outlet| outlet.is_of(recipient))
        };
        places.find(|(_, registration)| is(registration)).map(|(at, _)| at)
    }

    /// Tells who has a place these kinds no more. Those behind it move up if it was all, and with them
    /// what of the head they were told; then it is `true`.
    pub(super) fn remove(&mut self, at: u32, kinds: KindSet, cursors: &mut Cursors) -> bool {
        let mut registrations = mem::take(&mut self.registrations).into_vec();
        let mut gone = false;
        if let Some(registration) = registrations.get_mut(at as usize) {
            registration.kinds &= !kinds;
            gone = registration.kinds == 0;
        }
        if gone {
            registrations.remove(at as usize);
            cursors.iter_mut().filter(|next| at < **next).for_each(|next| *next -= 1);
        }
        self.set(registrations);
        gone
    }

    /// How many recipients there are.
    pub(crate) fn count(&self) -> usize {
        self.registrations.iter().map(|registration| registration.kinds.count_ones() as usize).sum()
    }

    /// Offers an event to every recipient whose turn it still is; the last one gets the event itself, the
    /// others a copy. What comes back is the event in a mailbox that was full, to be awaited; `event` is
    /// left where more recipients are to be told.
    pub(super) fn offer<M: Event>(
        &mut self,
        cursors: &mut Cursors,
        which: usize,
        number: u64,
        event: &mut Option<M>,
    ) -> Option<Box<Pending>> {
        while let Some(at) = self.next::<M>(cursors[which]) {
            let (from, to) = self.at::<M>(at)?;
            if from > number {
                cursors[which] = at + 1;
                continue;
            }
            let is_last = self.next::<M>(at + 1).is_none();
            let own = if is_last { event.take() } else { event.clone() }?;
            match to.try_send(own) {
                Ok(()) => cursors[which] = at + 1,
                Err(SendError::Closed(own)) => {
                    // A mailbox is closed for all kinds.
                    self.remove(at, KindSet::MAX, cursors);
                    event.get_or_insert(own);
                }
                Err(SendError::Full(own)) => {
                    cursors[which] = at + 1;
                    return Some(send_to_full(&to, at, own));
                }
            }
        }
        None
    }

    /// Hands an event over past the bounds of the mailboxes, from a place on.
    pub(super) fn deliver_unbounded<M: Event>(&self, skip: u32, number: u64, event: &M) {
        for (_, to) in self.all::<M>(skip).filter(|(from, _)| *from <= number) {
            to.do_send(event.clone());
        }
    }
}

/// Whose turn it is to be told of the head of the queue, by place: of the event itself, of the `Data`
/// that goes before a message, and of the `Batch` that goes before a whole run.
pub(super) type Cursors = [u32; 3];

/// The head of the queue in a full mailbox.
pub(super) struct Pending {
    pub(super) receipt: Receipt,
    pub(super) since: tokio::time::Instant,
    /// In whose mailbox, by place, and of what kind.
    pub(super) to: (u32, KindSet),
}

/// The places in [`Cursors`].
pub(super) const EVENT: usize = 0;
pub(super) const DATA: usize = 1;
pub(super) const BATCH: usize = 2;

/// Puts an event into a full mailbox. `try_send` wakes nobody when there is room again; the answer to
/// this does.
pub(super) fn send_to_full<M: Event>(to: &Outlet<'_, M>, at: u32, event: M) -> Box<Pending> {
    let since = tokio::time::Instant::now();
    Box::new(Pending { receipt: to.send(event), since, to: (at, M::BIT) })
}
