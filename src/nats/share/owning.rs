//! When a share is taken, renewed and given away.

use std::time::{Duration, Instant};

use crate::nats::lease::{Holder, Key, MemberId};
use crate::nats::share::balance::Balance;
use crate::nats::share::part::{Gift, LeaseWrite, Pending, Settling};
use crate::nats::share::{Action, Sharing};

impl Sharing {
    /// Decides about the lease of a share.
    pub(super) fn poll_lease(&mut self, share: u32, balance: &mut Balance, now: Instant) {
        self.note_free(share, now);
        let Some(part) = self.part(share) else { return };
        if !part.lease.is_idle(now) {
            return;
        }
        let (own, settling) = (part.own, part.settling);
        if own.is_some() && part.is_outdated {
            self.write_lease(share, LeaseWrite::Take, Some(self.options.me), now);
        } else if let Some(settling) = settling {
            let claim = self.view.claim(share, now);
            let is_late = self.leaving.is_some_and(|deadline| now >= deadline);
            let is_over = now >= settling.by;
            if settling.to.is_some_and(|to| claim != Some((to, true))) {
                // It has changed its mind, and nothing was written yet.
                self.resume(share);
            } else if settling.is_done || is_over && (is_late || settling.to.is_none()) {
                balance.give(self.options.me, settling.to);
                self.stop(share);
                self.write_lease(share, LeaseWrite::Give, settling.to, now);
            } else if is_over {
                // The broker is slow. The next owner may not have what waits.
                self.resume(share);
            }
        } else if let Some(own) = own {
            // A renewal that is due goes first, also after a hand-over that did not come about: the owner may stop again for
            // a third of the lease, and renews nothing meanwhile.
            let is_due = now >= own.renewed + self.options.lease / 3;
            if !is_due && let Some(to) = self.next_owner(share, balance, now) {
                self.settle(share, to, own.until, now);
                balance.give(self.options.me, to);
            } else if is_due {
                self.write_lease(share, LeaseWrite::Renew, Some(self.options.me), now);
            }
        } else if self.view.is_named(share) {
            self.poll_named(share, balance, now);
        } else if self.view.owner(share, now).is_none() && self.may_take(share, balance, now) {
            balance.take(self.options.me);
            self.write_lease(share, LeaseWrite::Take, Some(self.options.me), now);
        }
    }

    /// Notes since when a share has had no owner.
    fn note_free(&mut self, share: u32, now: Instant) {
        let is_free = self.view.is_current(now) && self.view.owner(share, now).is_none();
        if let Some(part) = self.part_mut(share) {
            part.free_since = if is_free { part.free_since.or(Some(now)) } else { None };
        }
    }

    /// Decides about a share whose lease names this member, which does not own it: it was handed over, or the answer to a
    /// write got lost.
    fn poll_named(&mut self, share: u32, balance: &mut Balance, now: Instant) {
        let me = self.options.me;
        let has_room = balance.expected(me) <= self.options.most;
        // Who leaves takes what others hand over late, to hand it on while it has the topics.
        let is_late = self.leaving.is_some_and(|time| now >= time || balance.is_last(me));
        if is_late || !has_room {
            balance.give(me, None);
            self.write_lease(share, LeaseWrite::Give, None, now);
        } else {
            self.write_lease(share, LeaseWrite::Take, Some(me), now);
        }
    }

    /// Whether to take a share that has no owner.
    fn may_take(&self, share: u32, balance: &Balance, now: Instant) -> bool {
        let (me, Some(part)) = (self.options.me, self.part(share)) else { return false };
        let expected = balance.expected(me);
        if !self.may_act(now) || expected >= self.options.most {
            return false;
        }
        let claim = self.view.claim(share, now);
        let standby = self.view.standby(share, now);
        let is_ready = |it: Option<(MemberId, bool)>| it == Some((me, true));
        let is_others = |it: Option<(MemberId, bool)>| it.is_some_and(|it| it.0 != me && it.1);
        let is_free_for = |time: Duration| part.free_since.is_some_and(|at| now >= at + time);
        // Who stands by has had the topics while the owner lived; who claims may have come later. Then whose part it is.
        // Nobody waits for ever: it may be blocked. But who has not got the topics waits for long.
        let lease = self.options.lease;
        if is_ready(standby) {
            true
        } else if is_others(standby) {
            is_free_for(lease)
        } else {
            is_ready(claim)
                || is_free_for(lease / 5)
                || (!is_others(claim) && expected < balance.ceiling())
        }
    }

    /// Returns to whom an owner gives a share, if it does: `Some(None)` is nobody.
    fn next_owner(&self, share: u32, balance: &Balance, now: Instant) -> Option<Option<MemberId>> {
        let me = self.options.me;
        let claimer = self.view.claim(share, now).filter(|(_, is_ready)| *is_ready);
        // What it has kept as a standby is published first: the claimer may have come later.
        let since = self.part(share).and_then(|part| part.owned_since);
        let has_published =
            !self.options.overlaps || since.is_none_or(|at| now >= at + self.options.lease / 2);
        let claimer = claimer.filter(|_| has_published).map(|(member, _)| member);
        // What the venue sent before the claimer had the topics may be on its way to this one.
        let since = self.view.written(Key::Claim(share)).map(|at| at + self.options.lease / 20);
        let is_proved = !self.options.overlaps || since.is_some_and(|at| now >= at);
        let claimer = claimer.filter(|member| is_proved && self.view.is_heard_of(*member, now));
        match self.leaving {
            Some(_) if claimer.is_some() => Some(claimer),
            Some(deadline) => (now >= deadline || balance.is_last(me)).then_some(None),
            None => claimer.filter(|to| balance.is_gift_useful(me, *to)).map(Some),
        }
    }

    /// Publishes nothing of a share that comes from now on.
    fn settle(&mut self, share: u32, to: Option<MemberId>, until: Instant, now: Instant) {
        let by = until.min(now + self.options.lease / 3);
        let Some(part) = self.part_mut(share) else { return };
        part.settling = Some(Settling { to, by, is_done: false });
        part.settled += 1;
        part.is_role_due = true;
        let settled = part.settled;
        self.actions.push(Action::Settle { share, settled });
    }

    /// Publishes nothing more of a share that is about to be given away.
    fn stop(&mut self, share: u32) {
        if let Some(settling) = self.part_mut(share).and_then(|part| part.settling.as_mut()) {
            settling.is_done = true;
        }
    }

    /// Publishes a share again that was about to be given away.
    fn resume(&mut self, share: u32) {
        if let Some(part) = self.part_mut(share) {
            part.settling = None;
        }
    }

    fn write_lease(&mut self, share: u32, what: LeaseWrite, owner: Option<MemberId>, now: Instant) {
        let key = Key::Share(share);
        let text = Holder { member: owner, is_ready: false }.to_string();
        let expected = self.view.revision(key);
        if let Some(part) = self.part_mut(share) {
            part.lease.pending = Some(Pending { what, sent: now, expected, text: text.clone() });
            if what == LeaseWrite::Give && owner.is_some() {
                part.gift = Some(Gift { since: now, revision: None });
            }
            self.actions.push(Action::Write { key, text, expected: Some(expected) });
        }
    }
}
