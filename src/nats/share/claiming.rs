//! Which shares of others a member claims, and for which it stands by.

use std::time::{Duration, Instant};

use crate::nats::lease::{Holder, Key, MemberId};
use crate::nats::share::balance::Balance;
use crate::nats::share::part::{Pending, Topics};
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
        let is_bare = self.view.standby(share, now).is_none();
        let owner = self.view.owner(share, now);
        let has_topics = self.has_topics(share);
        let lease = self.options.lease;
        let Some(part) = self.part_mut(share) else { return };
        part.bare_since = if is_bare { part.bare_since.or(Some(now)) } else { None };
        if !part.standby.is_idle(now) {
            return;
        }
        let is_overdue = part.bare_since.is_some_and(|at| now >= at + lease / 5);
        // One whose lease is not confirmed yet goes on as it is.
        let owns = part.own.is_some();
        let entry = self.view.own_entry(key);
        if let Some(was_ready) = entry.filter(|_| self.leaving.is_none() && !owns) {
            if balance.stands_by_for_too_many(me, owner) {
                balance.stand_down(me);
                self.write_entry(key, None, now);
            } else if has_topics != was_ready && owner != Some(me) {
                self.write_entry(key, Some(has_topics), now);
            }
        } else if entry.is_some() {
            // This member leaves, or owns the share.
            self.write_entry(key, None, now);
        } else if self.options.standby
            && is_bare
            && owner.is_some_and(|owner| owner != me)
            && self.may_act(now)
            && (is_overdue || balance.may_stand_by(me))
        {
            balance.stand_by(me);
            self.write_entry(key, Some(has_topics), now);
        }
    }

    /// Whether this member can publish a share at once: the feed has its topics, or need not have them before.
    fn has_topics(&self, share: u32) -> bool {
        !self.options.overlaps || self.part(share).is_some_and(|it| it.topics == Topics::Yes)
    }

    /// Writes a claim or a standby of this member, or withdraws it with `None`.
    fn write_entry(&mut self, key: Key, ready: Option<bool>, now: Instant) {
        let holder = ready.map_or(Holder::default(), |ready| Holder::of(self.options.me, ready));
        let (text, expected) = (holder.to_string(), Some(self.view.revision(key)));
        let pending = Pending { what: ready.is_some(), sent: now, text: text.clone() };
        let part = match key {
            Key::Claim(share) => self.part_mut(share).map(|part| &mut part.claim),
            Key::Standby(share) => self.part_mut(share).map(|part| &mut part.standby),
            _ => None,
        };
        if let Some(slot) = part {
            slot.pending = Some(pending);
            self.actions.push(Action::Write { key, text, expected });
        }
    }
}
