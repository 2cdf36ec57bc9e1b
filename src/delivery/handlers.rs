//! Who is told events, and whose turn it is.

use std::mem;

use actix::Recipient;
use actix::dev::SendError;

use crate::delivery::kinds::{Event, Kinds, To};
use crate::delivery::outlet::{Answer, Four, Port};
use crate::event;

/// Somebody who is told something. It stays the one value that it was registered as: a clone of it is
/// never full.
pub(super) struct Slot {
    to: To,
    /// The kinds that it is told, of those that it can be.
    kinds: Kinds,
    /// The number of the first entry that is meant for it: who comes late is not told of what
    /// was there before.
    pub(super) from: u64,
}

/// Everybody who is told something: mostly one or a few, hence with no room for more.
#[derive(Default)]
pub(crate) struct Handlers {
    slots: Box<[Slot]>,
    /// The kinds that anybody is told.
    wanted: Kinds,
}

impl Handlers {
    /// Adds a recipient that is told of everything.
    pub(crate) fn add<M: Event>(&mut self, to: Recipient<M>) {
        self.add_from::<M>(M::to(to), 0);
    }

    /// Adds a way to somebody who is told of what has this number, or comes later.
    pub(super) fn add_from<M: Event>(&mut self, to: To, from: u64) {
        self.push(Slot { to, kinds: M::KIND, from });
    }

    /// Adds an address that is told of the four kinds.
    pub(crate) fn add_four(&mut self, to: impl Four + 'static) {
        let kinds =
            event::Open::KIND | event::Message::KIND | event::Error::KIND | event::Close::KIND;
        self.push(Slot { to: To::Four(Box::new(to)), kinds, from: 0 });
    }

    fn push(&mut self, slot: Slot) {
        let mut more = mem::take(&mut self.slots).into_vec();
        more.reserve_exact(1);
        more.push(slot);
        self.set(more);
    }

    fn set(&mut self, slots: Vec<Slot>) {
        self.slots = slots.into();
        self.wanted = self.slots.iter().fold(0, |wanted, slot| wanted | slot.kinds);
    }

    /// Whether anybody is told this kind.
    #[inline]
    pub(super) fn want<M: Event>(&self) -> bool {
        self.want_any(M::KIND)
    }

    /// Whether anybody is told one of these kinds.
    #[inline]
    pub(super) fn want_any(&self, kinds: Kinds) -> bool {
        self.wanted & kinds != 0
    }

    /// Whether messages in fragments are told fragment by fragment.
    pub(crate) fn by_fragment(&self) -> bool {
        self.want::<event::Continuation>()
    }

    /// The place of the next who is told this kind, from a place on.
    #[inline]
    pub(super) fn next<M: Event>(&self, from: u32) -> Option<u32> {
        let mut rest = (from..).zip(self.slots.get(from as usize..)?);
        rest.find(|(_, slot)| slot.kinds & M::KIND != 0).map(|(at, _)| at)
    }

    /// Everybody who is told this kind, from a place on.
    fn all<M: Event>(&self, from: u32) -> impl Iterator<Item = (u64, Port<'_, M>)> {
        let told = self.slots.iter().skip(from as usize).filter(|slot| slot.kinds & M::KIND != 0);
        told.filter_map(|slot| Some((slot.from, M::port(&slot.to)?)))
    }

    /// Who has a place, and from which entry on.
    #[inline]
    pub(super) fn at<M: Event>(&self, at: u32) -> Option<(u64, Port<'_, M>)> {
        let slot = self.slots.get(at as usize)?;
        Some((slot.from, M::port(&slot.to)?))
    }

    /// The place of a recipient.
    pub(super) fn find<M: Event>(&self, recipient: &Recipient<M>) -> Option<u32> {
        let mut places = (0..).zip(&self.slots);
        let is = |slot: &Slot| {
            slot.kinds & M::KIND != 0 && M::port(&slot.to).is_some_and(|port| port.is(recipient))
        };
        places.find(|(_, slot)| is(slot)).map(|(at, _)| at)
    }

    /// Tells who has a place these kinds no more. Those behind it move up if it was all, and with them
    /// what of the head they were told; then it is `true`.
    pub(super) fn remove(&mut self, at: u32, kinds: Kinds, told: &mut Told) -> bool {
        let mut slots = mem::take(&mut self.slots).into_vec();
        let mut gone = false;
        if let Some(slot) = slots.get_mut(at as usize) {
            slot.kinds &= !kinds;
            gone = slot.kinds == 0;
        }
        if gone {
            slots.remove(at as usize);
            told.iter_mut().filter(|next| at < **next).for_each(|next| *next -= 1);
        }
        self.set(slots);
        gone
    }

    /// How many recipients there are.
    pub(crate) fn count(&self) -> usize {
        self.slots.iter().map(|slot| slot.kinds.count_ones() as usize).sum()
    }

    /// Offers an event to every recipient whose turn it still is; the last one gets the event itself, the
    /// others a copy. What comes back is the event in a mailbox that was full, to be awaited; `event` is
    /// left where more recipients are to be told.
    pub(super) fn offer<M: Event>(
        &mut self,
        told: &mut Told,
        which: usize,
        number: u64,
        event: &mut Option<M>,
    ) -> Option<Box<Offer>> {
        while let Some(at) = self.next::<M>(told[which]) {
            let (from, to) = self.at::<M>(at)?;
            if from > number {
                told[which] = at + 1;
                continue;
            }
            let is_last = self.next::<M>(at + 1).is_none();
            let own = if is_last { event.take() } else { event.clone() }?;
            match to.try_send(own) {
                Ok(()) => told[which] = at + 1,
                Err(SendError::Closed(own)) => {
                    // A mailbox is closed for all kinds.
                    self.remove(at, Kinds::MAX, told);
                    event.get_or_insert(own);
                }
                Err(SendError::Full(own)) => {
                    told[which] = at + 1;
                    return Some(stand(&to, at, own));
                }
            }
        }
        None
    }

    /// Hands an event over past the bounds of the mailboxes, from a place on.
    pub(super) fn force<M: Event>(&self, skip: u32, number: u64, event: &M) {
        for (_, to) in self.all::<M>(skip).filter(|(from, _)| *from <= number) {
            to.do_send(event.clone());
        }
    }
}

/// Whose turn it is to be told of the head of the queue, by place: of the event itself, of the `Data`
/// that goes before a message, and of the `Batch` that goes before a whole run.
pub(super) type Told = [u32; 3];

/// The head of the queue in a full mailbox.
pub(super) struct Offer {
    pub(super) answer: Answer,
    pub(super) since: tokio::time::Instant,
    /// In whose mailbox, by place, and of what kind.
    pub(super) to: (u32, Kinds),
}

/// The places in [`Told`].
pub(super) const ITSELF: usize = 0;
pub(super) const DATA: usize = 1;
pub(super) const BATCH: usize = 2;

/// Puts an event into a full mailbox. `try_send` wakes nobody when there is room again; the answer to
/// this does.
pub(super) fn stand<M: Event>(to: &Port<'_, M>, at: u32, event: M) -> Box<Offer> {
    let since = tokio::time::Instant::now();
    Box::new(Offer { answer: to.send(event), since, to: (at, M::KIND) })
}
