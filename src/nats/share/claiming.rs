//! Which shares of others a member claims, and for which it stands by.

use std::time::{Duration, Instant};

use crate::nats::lease::{Holder, Key, MemberId};
use crate::nats::share::balance::Balance;
use crate::nats::share::part::{Pending, Relief, Topics};
use crate::nats::share::{Action, Sharing};

/// How long the topics of a share may take to be confirmed before its claim is withdrawn.
const PATIENCE: Duration = Duration::from_secs(120);

impl Sharing {
    /// Decides about the claim of this member for a share.
    pub(super) fn poll_claim(&mut self, share: u32, balance: &mut Balance, now: Instant) {
        let key = Key::Claim(share);
        let Some(was_ready) = self.view.own_entry(key) else {
            if let Some(part) = self.part_mut(share) {
                (part.claimed, part.ready) = (None, None);
            }
            self.settle_doubt(key, now);
            return;
        };
        let (lease, has_topics) = (self.options.lease, self.has_topics(share));
        let Some(part) = self.part_mut(share) else { return };
        let claimed = *part.claimed.get_or_insert(now);
        let ready = if was_ready { Some(*part.ready.get_or_insert(now)) } else { None };
        if !part.claim.is_idle(now) {
            return;
        }
        let led_nowhere = now >= claimed + PATIENCE && !was_ready
            || ready.is_some_and(|at| now >= at + 2 * lease);
        if led_nowhere {
            self.claims_from = Some(now + 2 * lease);
        }
        if led_nowhere || !self.is_claim_needed(share, balance, now) {
            if let Some(owner) = self.view.owner(share, now) {
                balance.withdraw(self.options.me, owner);
            }
            if was_ready && let Some(part) = self.part_mut(share) {
                // The owner may be about to hand it over.
                part.keeps_until = Some(now + lease / 2);
            }
            self.write_entry(key, None, now);
        } else if has_topics != was_ready {
            self.write_entry(key, Some(has_topics), now);
        }
    }

    fn is_claim_needed(&self, share: u32, balance: &Balance, now: Instant) -> bool {
        let me = self.options.me;
        let is_own = self.part(share).is_some_and(|part| part.own.is_some());
        if self.leaving.is_some() || is_own {
            return false;
        }
        match self.view.owner(share, now) {
            Some(owner) if owner != me => balance.is_claim_useful(me, owner),
            // It is about to be taken.
            _ => true,
        }
    }

    /// Claims shares of members that have more, or that leave.
    pub(super) fn claim_more(&mut self, balance: &mut Balance, now: Instant) {
        let me = self.options.me;
        let may_claim = self.claims_from.is_none_or(|time| time <= now);
        if !self.may_act(now) || !may_claim {
            return;
        }
        for _ in 0..self.options.shares {
            let has_room = balance.expected(me) < self.options.most;
            let donors = if has_room { balance.donors(me) } else { Vec::new() };
            let mut found = donors
                .into_iter()
                .filter_map(|donor| self.claimable(donor, now).map(|share| (donor, share)));
            let Some((donor, share)) = found.next() else { return };
            balance.claim(me, donor);
            let is_ready = self.has_topics(share);
            self.write_entry(Key::Claim(share), Some(is_ready), now);
        }
    }

    /// Returns a share of a member that nobody claims, rather one that this member stands by for.
    fn claimable(&self, donor: MemberId, now: Instant) -> Option<u32> {
        let is_free = |share: &u32| {
            self.view.owner(*share, now) == Some(donor)
                && self.view.claim(*share, now).is_none()
                && self.part(*share).is_some_and(|part| part.claim.is_idle(now))
        };
        let shares = self.numbers().filter(is_free);
        shares.min_by_key(|share| !self.has_topics(*share))
    }

    /// Decides whether this member stands by for a share.
    pub(super) fn poll_standby(&mut self, share: u32, balance: &mut Balance, now: Instant) {
        let (key, me) = (Key::Standby(share), self.options.me);
        self.poll_relief(share, balance, now);
        let is_bare = self.view.standby(share, now).is_none();
        let owner = self.view.owner(share, now);
        // Others need not wait for one that may not take the share.
        let is_barred = owner.is_none() && balance.expected(me) >= self.options.most;
        let is_ready = self.has_topics(share) && !is_barred;
        let lease = self.options.lease;
        let Some(part) = self.part_mut(share) else { return };
        part.bare_since = if is_bare { part.bare_since.or(Some(now)) } else { None };
        if !part.standby.is_idle(now) {
            return;
        }
        let is_bare_for = |time| part.bare_since.is_some_and(|at| now >= at + time);
        // A member that has the topics goes first: if the owner is gone, the others lack the updates since then.
        let (is_overdue, may_be_first) =
            (is_bare_for(lease / 5), is_ready || is_bare_for(lease / 10));
        // One whose lease is not confirmed yet goes on as it is.
        let owns = part.own.is_some();
        let entry = self.view.own_entry(key);
        if let Some(was_ready) = entry.filter(|_| self.leaving.is_none() && !owns) {
            if is_ready != was_ready && owner != Some(me) {
                self.write_entry(key, Some(is_ready), now);
            }
        } else if entry.is_some() {
            // This member leaves, or owns the share.
            self.write_entry(key, None, now);
        } else if self.options.standby
            && is_bare
            && owner.is_some_and(|owner| owner != me)
            && self.may_act(now)
            && (is_overdue || may_be_first && balance.may_stand_by(me))
        {
            balance.stand_by(me);
            self.write_entry(key, Some(is_ready), now);
        } else {
            self.settle_doubt(key, now);
        }
    }

    /// Writes an entry as it is, so that a write of this member which got no answer, and says that it has the topics, can
    /// arrive no more.
    fn settle_doubt(&mut self, key: Key, now: Instant) {
        let (Key::Claim(share) | Key::Standby(share)) = key else { return };
        let revision = self.view.revision(key);
        let Some(part) = self.part(share) else { return };
        let slot = if key == Key::Claim(share) { &part.claim } else { &part.standby };
        if slot.is_idle(now) && slot.in_doubt == Some(revision) && self.view.is_current(now) {
            self.write_holder(key, self.view.holder(key), false, now);
        }
    }

    /// Stands by in the place of a member that does for too many shares, once this one has received what the venue sends
    /// while the owner was there.
    fn poll_relief(&mut self, share: u32, balance: &mut Balance, now: Instant) {
        let (key, me, lease) = (Key::Standby(share), self.options.me, self.options.lease);
        let standby = self.view.standby(share, now).map(|(member, _)| member);
        let owner = self.view.owner(share, now);
        let (may_act, has_topics) = (self.may_act(now), self.has_topics(share));
        let (leaves, renewed) = (self.leaving.is_some(), self.view.written(Key::Share(share)));
        let Some(part) = self.part_mut(share) else { return };
        let is_idle = part.standby.is_idle(now);
        let Some(relief) = &mut part.relieves else {
            if may_act
                && is_idle
                && let (Some(standby), Some(owner)) = (standby, owner)
                && standby != me
                && owner != me
                && balance.relieves(me, standby, owner)
            {
                part.relieves = Some(Relief { of: standby, since: now, ready: None });
                balance.relieve(me, standby);
            }
            return;
        };
        // While the broker does not answer nothing is known of the others, and the topics stay.
        let is_ended = leaves
            || may_act && standby != Some(relief.of)
            || owner == Some(me)
            || now >= relief.since + PATIENCE;
        if is_ended {
            part.relieves = None;
            return;
        }
        relief.ready = if has_topics { relief.ready.or(Some(now)) } else { None };
        let is_proved =
            relief.ready.is_some_and(|at| renewed.is_some_and(|it| it > at + lease / 10));
        if may_act && owner.is_some() && is_proved && is_idle {
            self.write_entry(key, Some(true), now);
        }
    }

    /// Whether this member can publish a share at once: the feed has its topics, or need not have them before.
    fn has_topics(&self, share: u32) -> bool {
        !self.options.overlaps || self.part(share).is_some_and(|it| it.topics == Topics::Yes)
    }

    /// Writes a claim or a standby of this member, or withdraws it with `None`.
    fn write_entry(&mut self, key: Key, ready: Option<bool>, now: Instant) {
        let holder = ready.map_or(Holder::default(), |ready| Holder::of(self.options.me, ready));
        self.write_holder(key, holder, ready.is_some(), now);
    }

    /// Writes a claim or a standby. `is_own` is whether it names this member.
    fn write_holder(&mut self, key: Key, holder: Holder, is_own: bool, now: Instant) {
        let (text, expected) = (holder.to_string(), self.view.revision(key));
        let pending = Pending { what: is_own, sent: now, expected, text: text.clone() };
        let part = match key {
            Key::Claim(share) => self.part_mut(share).map(|part| &mut part.claim),
            Key::Standby(share) => self.part_mut(share).map(|part| &mut part.standby),
            _ => None,
        };
        if let Some(slot) = part {
            slot.pending = Some(pending);
            self.actions.push(Action::Write { key, text, expected: Some(expected) });
        }
    }
}
