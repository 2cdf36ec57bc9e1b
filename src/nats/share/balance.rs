//! How many shares each member has, and is about to have.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::nats::lease::{MemberId, Stay, View};

/// The shares of each member, by what one of them sees.
#[derive(Debug)]
pub(crate) struct Balance {
    members: BTreeMap<MemberId, Counts>,
    shares: u32,
}

/// The shares of one member.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// Those that it owns.
    owned: u32,
    /// Those of others that it claims.
    incoming: u32,
    /// Those of its own that others claim.
    outgoing: u32,
    /// Those that it stands by for.
    standbys: u32,
    is_leaving: bool,
}

impl Counts {
    /// Returns how many shares it has once every claim has been met.
    fn expected(self) -> u32 {
        (self.owned + self.incoming).saturating_sub(self.outgoing)
    }
}

impl Balance {
    /// Counts.
    pub(crate) fn new(view: &View, shares: u32, now: Instant) -> Balance {
        let counts = |stay| Counts { is_leaving: stay == Stay::Leaving, ..Counts::default() };
        let members = view.members(now).map(|(id, stay)| (id, counts(stay))).collect();
        let mut balance = Balance { members, shares };
        for share in 1..=shares {
            let owner = view.owner(share, now);
            if let Some(owner) = owner {
                balance.take(owner);
                if let Some((claimer, _)) = view.claim(share, now) {
                    balance.claim(claimer, owner);
                }
            }
            if let Some((member, _)) = view.standby(share, now) {
                balance.stand_by(member);
            }
        }
        balance
    }

    fn change(&mut self, member: MemberId, change: impl FnOnce(&mut Counts)) {
        if let Some(counts) = self.members.get_mut(&member) {
            change(counts);
        }
    }

    /// Counts a share that a member takes.
    pub(crate) fn take(&mut self, member: MemberId) {
        self.change(member, |counts| counts.owned += 1);
    }

    /// Counts a share that an owner gives away: its claim is met.
    pub(crate) fn give(&mut self, owner: MemberId, to: Option<MemberId>) {
        let less = |count: &mut u32| *count = count.saturating_sub(1);
        self.change(owner, |counts| less(&mut counts.owned));
        if let Some(to) = to {
            self.change(owner, |counts| less(&mut counts.outgoing));
            self.change(to, |counts| {
                less(&mut counts.incoming);
                counts.owned += 1;
            });
        }
    }

    /// Counts a claim.
    pub(crate) fn claim(&mut self, claimer: MemberId, owner: MemberId) {
        self.change(claimer, |counts| counts.incoming += 1);
        self.change(owner, |counts| counts.outgoing += 1);
    }

    /// Counts a claim less.
    pub(crate) fn withdraw(&mut self, claimer: MemberId, owner: MemberId) {
        let less = |count: &mut u32| *count = count.saturating_sub(1);
        self.change(claimer, |counts| less(&mut counts.incoming));
        self.change(owner, |counts| less(&mut counts.outgoing));
    }

    /// Counts a member that stands by.
    pub(crate) fn stand_by(&mut self, member: MemberId) {
        self.change(member, |counts| counts.standbys += 1);
    }

    /// Counts a member less that stood by.
    pub(crate) fn stand_down(&mut self, member: MemberId) {
        self.change(member, |counts| counts.standbys = counts.standbys.saturating_sub(1));
    }

    /// Counts a member that stands by for a share in the place of another one.
    pub(crate) fn relieve(&mut self, me: MemberId, standby: MemberId) {
        self.stand_by(me);
        self.stand_down(standby);
    }

    fn counts(&self, member: MemberId) -> Counts {
        self.members.get(&member).copied().unwrap_or_default()
    }

    /// Returns how many shares a member has once every claim has been met.
    pub(crate) fn expected(&self, member: MemberId) -> u32 {
        self.counts(member).expected()
    }

    /// Returns the most shares of a member where all have their fair part.
    pub(crate) fn ceiling(&self) -> u32 {
        self.shares.div_ceil(self.staying().max(1))
    }

    /// Returns the number of members that stay.
    fn staying(&self) -> u32 {
        self.members.values().filter(|counts| !counts.is_leaving).count() as u32
    }

    /// Whether nobody but this member stays.
    pub(crate) fn is_last(&self, me: MemberId) -> bool {
        !self.members.iter().any(|(id, counts)| *id != me && !counts.is_leaving)
    }

    /// Returns whose shares a member may claim, the one that has most first.
    pub(crate) fn donors(&self, me: MemberId) -> Vec<MemberId> {
        let own = self.expected(me);
        let is_donor = |(id, counts): &(&MemberId, &Counts)| {
            let left = counts.owned > counts.outgoing;
            **id != me
                && match counts.is_leaving {
                    true => left && own < self.ceiling(),
                    false => left && counts.expected() >= own + 2,
                }
        };
        let mut donors: Vec<_> = self.members.iter().filter(is_donor).collect();
        donors.sort_by_key(|(id, counts)| (!counts.is_leaving, u32::MAX - counts.expected(), **id));
        donors.into_iter().map(|(id, _)| *id).collect()
    }

    /// Whether a claim of `me` that is counted still makes the parts fairer.
    pub(crate) fn is_claim_useful(&self, me: MemberId, owner: MemberId) -> bool {
        let counts = self.counts(owner);
        // What is no member any more will lose the share, and the claimer is the next one.
        let is_member = self.members.contains_key(&owner);
        !is_member || counts.is_leaving || counts.expected() >= self.expected(me)
    }

    /// Whether the parts become fairer when an owner gives a share away.
    pub(crate) fn is_gift_useful(&self, owner: MemberId, to: MemberId) -> bool {
        self.counts(owner).owned >= self.counts(to).owned + 2
    }

    /// Whether a member may stand by for one more share.
    pub(crate) fn may_stand_by(&self, me: MemberId) -> bool {
        self.counts(me).standbys < self.ceiling()
    }

    /// Whether a member may stand by for a share in the place of another one, which stands by for too many. Of several
    /// that may only one does.
    pub(crate) fn relieves(&self, me: MemberId, standby: MemberId, owner: MemberId) -> bool {
        let ceiling = self.ceiling();
        let is_free = |(id, counts): &(&MemberId, &Counts)| {
            let is_involved = **id == standby || **id == owner;
            !is_involved && !counts.is_leaving && counts.standbys < ceiling
        };
        let free = self.members.iter().filter(is_free);
        let first = free.min_by_key(|(id, counts)| (counts.standbys, **id));
        self.counts(standby).standbys > ceiling && first.is_some_and(|(id, _)| *id == me)
    }
}
