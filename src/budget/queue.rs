//! All budgets of the process, and the dials that wait for them, in their order.

use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;
use std::time::Instant;

use crate::budget::quota::room::Room;
use crate::budget::quota::{DialId, Failure, Hold, Limit, Quota};

/// The number of a budget.
pub(super) type QuotaId = u64;

/// Which of the waiting dials begins first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// No socket does the work of the one that was lost.
    Outage,
    /// The second of two redundant sockets.
    Twin,
    /// A socket that will replace an open one.
    Rotation,
    /// The first socket.
    Start,
}

/// The place of a waiting dial: by urgency, and in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    urgency: Urgency,
    number: DialId,
}

/// A dial that waits.
struct Waiter {
    /// The budgets that it needs a permit of, in ascending order.
    quotas: Box<[QuotaId]>,
    /// What wakes the task that waits. Taken when it is woken.
    waker: Option<Waker>,
}

/// What a dial that waits has to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It has left the queue, with a permit of each of its budgets.
    Granted(DialId),
    /// It waits for this limit. It has to ask again at `until`, and when it is woken.
    Wait { limit: Limit, until: Option<Instant> },
}

/// Wakers that leave the lock: to wake or drop one may run code of its executor.
#[derive(Default)]
#[must_use]
pub(super) struct Wakers {
    /// Those of dials that have to ask again.
    due: Vec<Waker>,
    /// Those that are replaced, or whose dial has left the queue.
    stale: Option<Waker>,
}

impl Wakers {
    /// Wakes the tasks. Call it when the lock is released.
    pub(super) fn wake(self) {
        self.due.into_iter().for_each(Waker::wake);
        drop(self.stale);
    }
}

/// The budgets and the queue.
///
/// There is one queue for all budgets, so that a dial takes its permits of several budgets at once or takes none.
/// Nothing is reserved for a dial that waits for another budget: later ones pass it.
pub(super) struct Queue {
    quotas: BTreeMap<QuotaId, Quota>,
    waiting: BTreeMap<Place, Waiter>,
    /// The number of the next budget or dial.
    next: u64,
}

/// The dials that will begin before another one, by budget.
type Claims = BTreeMap<QuotaId, usize>;

impl Queue {
    pub(super) const fn new() -> Queue {
        Queue { quotas: BTreeMap::new(), waiting: BTreeMap::new(), next: 0 }
    }

    pub(super) fn add(&mut self, quota: Quota) -> QuotaId {
        self.next += 1;
        self.quotas.insert(self.next, quota);
        self.next
    }

    /// Removes a budget that no dial waits for or has a permit of.
    pub(super) fn remove(&mut self, id: QuotaId) {
        self.quotas.remove(&id);
    }

    /// Returns what is left of a budget.
    pub(super) fn room(&self, id: QuotaId, now: Instant) -> Room {
        self.quotas.get(&id).map_or_else(Room::default, |quota| quota.room(now))
    }

    /// Changes the limits of a budget.
    pub(super) fn change(
        &mut self,
        id: QuotaId,
        now: Instant,
        change: impl FnMut(&mut Quota),
    ) -> Wakers {
        self.report(&[id], now, change)
    }

    /// Puts a dial into the queue. It must ask for its turn at once.
    pub(super) fn enter(
        &mut self,
        urgency: Urgency,
        quotas: impl IntoIterator<Item = QuotaId>,
    ) -> Place {
        self.next += 1;
        let place = Place { urgency, number: self.next };
        let quotas = quotas.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        self.waiting.insert(place, Waiter { quotas, waker: None });
        place
    }

    /// Takes a dial out of the queue.
    pub(super) fn leave(&mut self, place: Place, now: Instant) -> Wakers {
        let Some(Waiter { quotas, waker }) = self.waiting.remove(&place) else {
            return Wakers::default();
        };
        Wakers { stale: waker, ..self.woken(&quotas, &quotas, now) }
    }

    /// Grants a dial its permits if it is its turn, and registers the waker otherwise.
    pub(super) fn turn(&mut self, place: Place, waker: Waker, now: Instant) -> (Turn, Wakers) {
        let quotas = self.waiting.get(&place).map(|waiter| waiter.quotas.clone());
        let quotas = quotas.unwrap_or_default();
        let group = self.group(&quotas);
        let (mut claims, mut led) = (Claims::new(), quotas.to_vec());
        for (_, earlier) in self.waiting.range(..place).filter(|(_, it)| it.needs(&group)) {
            led.retain(|id| !earlier.quotas.contains(id));
            self.claim(earlier, &mut claims, now);
        }
        let Some(hold) = self.hold(&quotas, &claims, now) else {
            let stale = self.waiting.remove(&place).and_then(|waiter| waiter.waker);
            self.each(&quotas, |quota| quota.take(place.number, now));
            return (
                Turn::Granted(place.number),
                Wakers { stale, ..self.woken(&quotas, &quotas, now) },
            );
        };
        let stale = self.waiting.get_mut(&place).and_then(|waiter| waiter.waker.replace(waker));
        // The first dial of each budget keeps the time for those behind it.
        let until = led.iter().filter_map(|id| self.quotas.get(id)?.hold(now, 0)?.until).min();
        let wakers = Wakers { stale, ..self.woken(&quotas, &[], now) };
        (Turn::Wait { limit: hold.limit, until }, wakers)
    }

    /// Gives the permits of a dial back that was cancelled.
    pub(super) fn cancel(&mut self, quotas: &[QuotaId], dial: DialId, now: Instant) -> Wakers {
        self.report(quotas, now, |quota| quota.cancel(dial, now))
    }

    /// Records the outcome of a dial that failed.
    pub(super) fn fail(
        &mut self,
        quotas: &[QuotaId],
        dial: DialId,
        now: Instant,
        failure: Failure,
    ) -> Wakers {
        self.report(quotas, now, |quota| quota.fail(dial, now, failure))
    }

    /// Records that a dial opened a socket.
    pub(super) fn open(&mut self, quotas: &[QuotaId], dial: DialId, now: Instant) -> Wakers {
        self.report(quotas, now, |quota| quota.open(dial, now))
    }

    /// Records that an open socket works.
    pub(super) fn settle(&mut self, quotas: &[QuotaId], dial: DialId, now: Instant) -> Wakers {
        self.report(quotas, now, |quota| quota.settle(dial, now))
    }

    /// Records the end of a socket, and whether it was `lost` rather than closed by us.
    pub(super) fn close(
        &mut self,
        quotas: &[QuotaId],
        dial: DialId,
        now: Instant,
        lost: bool,
    ) -> Wakers {
        self.report(quotas, now, |quota| quota.close(dial, now, lost))
    }

    fn report(&mut self, quotas: &[QuotaId], now: Instant, to: impl FnMut(&mut Quota)) -> Wakers {
        self.each(quotas, to);
        self.woken(quotas, quotas, now)
    }

    fn each(&mut self, quotas: &[QuotaId], change: impl FnMut(&mut Quota)) {
        let found = |(id, quota)| quotas.contains(id).then_some(quota);
        self.quotas.iter_mut().filter_map(found).for_each(change);
    }

    /// Returns the wakers of the dials that may begin now. After a change of budgets, also those of the first dial of
    /// each, which keeps the time for those behind it.
    ///
    /// Only dials that compete with each other, directly or by way of others, are looked at: the time of one runtime
    /// must not decide for another, whose clock may be paused.
    fn woken(&mut self, quotas: &[QuotaId], changed: &[QuotaId], now: Instant) -> Wakers {
        let group = self.group(quotas);
        let (mut claims, mut unled) = (Claims::new(), changed.to_vec());
        let mut places = Vec::new();
        for (place, waiter) in self.waiting.iter().filter(|(_, it)| it.needs(&group)) {
            let is_first = waiter.quotas.iter().any(|id| unled.contains(id));
            unled.retain(|id| !waiter.quotas.contains(id));
            if self.claim(waiter, &mut claims, now) || is_first {
                places.push(*place);
            }
        }
        let waker = |place| self.waiting.get_mut(&place)?.waker.take();
        Wakers { due: places.into_iter().filter_map(waker).collect(), stale: None }
    }

    /// Claims permits for a dial if it may begin before those behind it.
    fn claim(&self, waiter: &Waiter, claims: &mut Claims, now: Instant) -> bool {
        let may_begin = self.hold(&waiter.quotas, claims, now).is_none();
        if may_begin {
            waiter.quotas.iter().for_each(|id| *claims.entry(*id).or_default() += 1);
        }
        may_begin
    }

    /// Returns the longest hold of these budgets.
    fn hold(&self, quotas: &[QuotaId], claims: &Claims, now: Instant) -> Option<Hold> {
        let claimed = |id| claims.get(id).copied().unwrap_or_default();
        let holds = quotas.iter().filter_map(|id| self.quotas.get(id)?.hold(now, claimed(id)));
        holds.max_by_key(|hold| (hold.until.is_none(), hold.until))
    }

    /// Returns these budgets and all that dials need together with one of them.
    fn group(&self, quotas: &[QuotaId]) -> BTreeSet<QuotaId> {
        let mut group: BTreeSet<QuotaId> = quotas.iter().copied().collect();
        loop {
            let before = group.len();
            let related = self.waiting.values().filter(|waiter| waiter.needs(&group));
            let ids: Vec<QuotaId> =
                related.flat_map(|waiter| waiter.quotas.iter().copied()).collect();
            group.extend(ids);
            if group.len() == before {
                return group;
            }
        }
    }
}

impl Waiter {
    fn needs(&self, group: &BTreeSet<QuotaId>) -> bool {
        self.quotas.iter().any(|id| group.contains(id))
    }
}

#[cfg(test)]
mod tests;
