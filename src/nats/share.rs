//! What a member does with the shares of a feed: which it takes, renews, asks for, hands over and releases.
//!
//! A value. The entries of the bucket and the answers to its own writes go in by `handle_…`, and [`Sharing::poll`] returns
//! what to do now. Every write of a lease names the revision that it replaces, so that of two members which decide alike
//! one is refused.
//!
//! ```text
//!                      claim          topics confirmed
//!   receiver  (none) ----------> claims ----------------> ready                  takes, publishes
//!                                                           |                    ^
//!   owner      publishes ------------------------------------> stops, in flight settles: names the receiver, (none)
//! ```

mod balance;
mod claiming;
mod output;
mod owning;
mod part;

use std::time::{Duration, Instant};

use crate::nats::lane::Role;
use crate::nats::lease::{Key, MemberId, Own, Presence, Rival, Stay, View};
use crate::nats::share::balance::Balance;
use crate::nats::share::part::{LeaseWrite, Part, Pending};

pub use crate::nats::share::part::ShareState;

/// What sharing is started with.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) me: MemberId,
    /// The fingerprint of the plan.
    pub(crate) plan: u64,
    /// The number of shares. They are numbered from 1.
    pub(crate) shares: u32,
    /// The duration of a lease.
    pub(crate) lease: Duration,
    /// The most shares that this member takes.
    pub(crate) most: u32,
    /// Whether the next owner is subscribed before the old one stops.
    pub(crate) overlaps: bool,
    /// Whether each share has a second member that is subscribed.
    pub(crate) standby: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Write an entry, if its revision is the expected one (0: if there is none), and answer by
    /// [`Sharing::handle_written`].
    Write { key: Key, text: String, expected: Option<u64> },
    /// Remove the entry of a member that is long gone.
    Purge(MemberId),
    /// Add the topics of a share to the feed, and answer by [`Sharing::handle_added`] with this number once all of them
    /// are confirmed or refused.
    Add { share: u32, added: u64 },
    /// Remove the topics of a share from the feed.
    Remove { share: u32 },
    /// Set the role of the topics of a share.
    Role { share: u32, role: Role },
    /// Publish what was received of a share so far and nothing later, until its role is set, and answer by
    /// [`Sharing::handle_settled`] with this number once that is acknowledged.
    Settle { share: u32, settled: u64 },
    /// Say what this member is for a share.
    Report { share: u32, state: ShareState },
    /// The member has another plan than this one, which goes first: nothing follows but [`Action::Left`].
    Refused { member: MemberId },
    /// Everything is handed over. Nothing follows.
    Left,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The entry has this revision.
    Written(u64),
    /// The entry is another one than expected: this one, or none.
    Conflict(Option<(u64, String)>),
    /// It may have been written, or may still be.
    Unknown,
}

/// What a member does with the shares of a feed.
#[derive(Debug)]
pub(crate) struct Sharing {
    options: Options,
    view: View,
    parts: Vec<Part>,
    presence: Announced,
    /// When this member first saw its own presence.
    joined: Option<Instant>,
    /// Until when shares are handed over; after that they are released.
    leaving: Option<Instant>,
    /// When claims are made again, after one that led to nothing.
    claims_from: Option<Instant>,
    is_over: bool,
    actions: Vec<Action>,
}

/// The presence of this member: what was written of it.
#[derive(Debug, Default)]
struct Announced {
    pending: Option<Instant>,
    /// When it is due again; at once if `None`.
    due: Option<Instant>,
    /// The newest revision, and when its write was answered.
    written: Option<(u64, Instant)>,
    /// What the others were told.
    stay: Option<Stay>,
}

impl Sharing {
    /// Creates the value of a member that has nothing yet.
    pub(crate) fn new(options: Options) -> Sharing {
        let view = View::new(options.me, options.plan, options.shares, options.lease);
        let parts = (0..options.shares).map(|_| Part::default()).collect();
        Sharing {
            options,
            view,
            parts,
            presence: Announced::default(),
            joined: None,
            leaving: None,
            claims_from: None,
            is_over: false,
            actions: Vec::new(),
        }
    }

    /// Whether this member owns a share at this moment, and has not begun to write that it gives it away.
    pub(crate) fn owns(&self, share: u32, now: Instant) -> bool {
        self.part(share).is_some_and(|part| {
            let is_given = part.settling.is_some_and(|settling| settling.is_done);
            !is_given && part.own.is_some_and(|own| now < own.until)
        })
    }

    /// Whether the entries stopped coming: this member has written one, and it did not come back.
    pub(crate) fn is_blind(&self, now: Instant) -> bool {
        let seen = self.view.revision(Key::Member(self.options.me));
        self.presence.written.is_some_and(|(revision, at)| {
            revision > seen && now.saturating_duration_since(at) > self.options.lease / 5
        })
    }

    /// Notes an entry of the bucket.
    pub(crate) fn handle_entry(&mut self, key: Key, revision: u64, text: &str, now: Instant) {
        let is_news = self.view.handle_entry(key, revision, text, now);
        if is_news && let Key::Share(share) = key {
            self.heed_lease(share);
        }
        if self.joined.is_none() && self.view.is_current(now) {
            self.joined = Some(now);
        }
    }

    /// Drops the lease of a share that names another one by now, and the topics of one that its receiver has taken.
    fn heed_lease(&mut self, share: u32) {
        let (revision, holder) =
            (self.view.revision(Key::Share(share)), self.view.holder(Key::Share(share)));
        let is_named = self.view.is_named(share);
        let Some(part) = self.part_mut(share) else { return };
        if !is_named {
            (part.own, part.settling) = (None, None);
        }
        if let Some(gift) = part.gift.as_mut().filter(|_| holder.member.is_some() && !is_named) {
            let given = *gift.revision.get_or_insert(revision);
            if revision > given {
                part.gift = None;
            }
        }
    }

    /// Notes what became of a write.
    pub(crate) fn handle_written(&mut self, key: Key, outcome: Outcome, now: Instant) {
        match key {
            Key::Member(_) => self.handle_announced(&outcome, now),
            Key::Share(share) => self.handle_lease(share, outcome, now),
            Key::Claim(share) | Key::Standby(share) => {
                let pause = now + self.pause();
                let Some(part) = self.part_mut(share) else { return };
                let slot =
                    if key == Key::Claim(share) { &mut part.claim } else { &mut part.standby };
                let Some(pending) = slot.pending.take() else { return };
                if !matches!(outcome, Outcome::Written(_)) {
                    slot.not_before = Some(pause);
                }
                if outcome == Outcome::Unknown && pending.says_ready() {
                    slot.in_doubt = Some(pending.expected);
                }
                self.heed(key, &outcome, &pending, now);
            }
        }
    }

    fn handle_announced(&mut self, outcome: &Outcome, now: Instant) {
        let sent = self.presence.pending.take().unwrap_or(now);
        match outcome {
            Outcome::Written(revision) => {
                self.presence.written = Some((*revision, now));
                self.presence.due = Some(sent + self.options.lease / 3);
            }
            _ => self.presence.due = Some(now + self.pause()),
        }
    }

    fn handle_lease(&mut self, share: u32, outcome: Outcome, now: Instant) {
        let (key, duration, pause) = (Key::Share(share), self.options.lease, self.pause());
        let Some(part) = self.part_mut(share) else { return };
        let Some(pending) = part.lease.pending.take() else { return };
        if !matches!(outcome, Outcome::Written(_)) {
            part.lease.not_before = Some(now + pause);
        }
        if pending.what == LeaseWrite::Give {
            // If it was not written the lease still names this member, which may take it anew.
            (part.own, part.settling) = (None, None);
            if let (Outcome::Written(revision), Some(gift)) = (&outcome, &mut part.gift) {
                gift.revision = Some(*revision);
            }
        }
        self.heed(key, &outcome, &pending, now);
        let Outcome::Written(revision) = outcome else { return };
        // Another one may have come after it already.
        let is_newest = self.view.revision(key) == revision;
        let Some(part) = self.part_mut(share).filter(|_| is_newest) else { return };
        match pending.what {
            LeaseWrite::Take => {
                part.gift = None;
                if part.own.is_none() {
                    part.owned_since = Some(now);
                }
                part.own = Some(Own::new(revision, pending.sent, duration));
                part.is_outdated = false;
            }
            LeaseWrite::Renew => {
                let fence = part.own.map_or(revision, |own| own.fence);
                part.own = Some(Own::new(fence, pending.sent, duration));
            }
            LeaseWrite::Give => {}
        }
    }

    /// Notes what the answer to a write says of the entry.
    fn heed<W>(&mut self, key: Key, outcome: &Outcome, pending: &Pending<W>, now: Instant) {
        match outcome {
            Outcome::Written(revision) => self.handle_entry(key, *revision, &pending.text, now),
            Outcome::Conflict(Some((revision, text))) => {
                self.handle_entry(key, *revision, text, now);
            }
            Outcome::Conflict(None) => {
                self.view.handle_absent(key);
                if let Key::Share(share) = key {
                    self.heed_lease(share);
                }
            }
            Outcome::Unknown => {}
        }
    }

    /// Notes that the topics of a share are all confirmed or refused.
    pub(crate) fn handle_added(&mut self, share: u32, added: u64) {
        if let Some(part) = self.part_mut(share)
            && part.added == added
            && part.topics == part::Topics::Adding
        {
            part.topics = part::Topics::Yes;
        }
    }

    /// Notes that all of a share that its owner had received is published.
    pub(crate) fn handle_settled(&mut self, share: u32, settled: u64) {
        if let Some(part) = self.part_mut(share)
            && part.settled == settled
            && let Some(settling) = &mut part.settling
        {
            settling.is_done = true;
        }
    }

    /// Changes the plan, if no other member exists. Returns whether it did. Shares that this member owns are taken anew: a
    /// topic may move to a share whose fence is lower.
    pub(crate) fn change_plan(&mut self, plan: u64, shares: u32, now: Instant) -> bool {
        let stays = self.leaving.is_none() && !self.is_over;
        if !stays || !self.view.is_current(now) || !self.view.is_alone(now) {
            return false;
        }
        (self.options.plan, self.options.shares) = (plan, shares);
        self.view.change_plan(plan, shares);
        for (share, part) in (1..).zip(&self.parts).skip(shares as usize) {
            if part.reported.is_some_and(|state| state != ShareState::Released) {
                self.actions.push(Action::Report { share, state: ShareState::Released });
            }
        }
        self.parts.resize_with(shares as usize, Part::default);
        self.parts.iter_mut().for_each(|part| part.is_outdated = part.own.is_some());
        self.presence.due = Some(now);
        true
    }

    /// Returns the shares whose topics were added to the feed.
    pub(crate) fn shares_in_feed(&self) -> impl Iterator<Item = u32> {
        let parts = (1..).zip(&self.parts);
        parts.filter(|(_, part)| part.topics != part::Topics::No).map(|(share, _)| share)
    }

    /// Begins to leave: shares are handed over until the deadline, and released then.
    pub(crate) fn leave(&mut self, deadline: Instant) {
        let earlier = self.leaving.map_or(deadline, |leaving| leaving.min(deadline));
        self.leaving = Some(earlier);
    }

    /// Returns what to do now.
    pub(crate) fn poll(&mut self, now: Instant) -> Vec<Action> {
        if self.is_over {
            return Vec::new();
        }
        self.announce(now);
        self.refuse(now);
        let mut balance = Balance::new(&self.view, self.options.shares, now);
        self.count_pending(&mut balance, now);
        for share in self.numbers() {
            self.poll_lease(share, &mut balance, now);
        }
        for share in self.numbers() {
            self.poll_claim(share, &mut balance, now);
            self.poll_standby(share, &mut balance, now);
        }
        self.claim_more(&mut balance, now);
        for share in self.numbers() {
            self.poll_output(share, now);
        }
        self.forget(now);
        self.finish(now);
        std::mem::take(&mut self.actions)
    }

    /// Writes the presence of this member when it is due.
    fn announce(&mut self, now: Instant) {
        let stay = if self.leaving.is_some() { Stay::Leaving } else { Stay::Staying };
        let is_news = self.presence.stay.is_some_and(|told| told != stay);
        let is_due = self.presence.due.is_none_or(|due| due <= now);
        if self.presence.pending.is_none() && (is_due || is_news) {
            self.write_presence(stay, now);
            self.presence.pending = Some(now);
        }
    }

    fn write_presence(&mut self, stay: Stay, now: Instant) {
        let joined = self.view.joined();
        let text = Presence { plan: self.options.plan, joined, stay }.to_string();
        self.presence.stay = Some(stay);
        self.presence.due = Some(now + self.options.lease / 3);
        let key = Key::Member(self.options.me);
        self.actions.push(Action::Write { key, text, expected: None });
    }

    /// Leaves at once if a member with another plan goes first.
    fn refuse(&mut self, now: Instant) {
        if let Rival::First(member) = self.view.rival(now)
            && self.view.is_current(now)
            && self.leaving.is_none()
        {
            self.actions.push(Action::Refused { member });
            self.leave(now);
        }
    }

    /// Whether this member takes and claims shares.
    fn may_act(&self, now: Instant) -> bool {
        // Those that are started together should all be there before shares are taken.
        let is_settled = self.joined.is_some_and(|at| now >= at + self.options.lease / 5);
        is_settled
            && self.leaving.is_none()
            && self.view.is_current(now)
            && self.view.rival(now) == Rival::None
    }

    /// Counts the writes that have no answer yet as if they had succeeded.
    fn count_pending(&self, balance: &mut Balance, now: Instant) {
        let me = self.options.me;
        for (share, part) in (1..).zip(&self.parts) {
            match part.lease.pending.as_ref().map(|it| it.what) {
                Some(LeaseWrite::Take) if self.view.owner(share, now) != Some(me) => {
                    balance.take(me);
                }
                Some(LeaseWrite::Give) if self.view.owner(share, now) == Some(me) => {
                    balance.give(me, part.settling.and_then(|it| it.to));
                }
                _ => {}
            }
            let is_mine = |it: Option<(MemberId, bool)>| it.is_some_and(|(member, _)| member == me);
            let standby = self.view.standby(share, now);
            if let (Some(relief), Some((member, _))) = (part.relieves, standby)
                && relief.of == member
            {
                balance.relieve(me, member);
            }
            let stands_by = is_mine(standby);
            match part.standby.pending.as_ref().map(|it| it.what) {
                Some(true) if !stands_by && part.relieves.is_none() => balance.stand_by(me),
                Some(false) if stands_by => balance.stand_down(me),
                _ => {}
            }
            let is_counted = is_mine(self.view.claim(share, now));
            let will_claim = part.claim.pending.as_ref().map_or(is_counted, |it| it.what);
            if let Some(owner) = self.view.owner(share, now).filter(|_| will_claim != is_counted) {
                match will_claim {
                    true => balance.claim(me, owner),
                    false => balance.withdraw(me, owner),
                }
            }
        }
    }

    /// Removes the entries of members that are long gone, if this is the first member.
    fn forget(&mut self, now: Instant) {
        if !self.view.is_current(now) {
            return;
        }
        let gone = self.view.forget(now);
        if self.view.members(now).next().is_some_and(|(id, _)| id == self.options.me) {
            self.actions.extend(gone.into_iter().map(Action::Purge));
        }
    }

    /// Ends once a member that leaves has nothing any more, or has tried for long enough.
    fn finish(&mut self, now: Instant) {
        let Some(deadline) = self.leaving else { return };
        let is_bare = |share: u32, part: &Part| {
            let claims = self.view.own_entry(Key::Claim(share)).is_some();
            let is_offered = part.keeps_until.is_some_and(|time| now < time);
            let is_idle = part.lease.pending.is_none() && part.claim.pending.is_none();
            // The topics of a share that is given away are kept until the receiver has taken the share.
            let has_it = part.own.is_some() || part.gift.is_some() || self.view.is_named(share);
            !has_it && is_idle && !claims && !is_offered
        };
        let has_nothing = (1..).zip(&self.parts).all(|(share, part)| is_bare(share, part));
        if !has_nothing && now < deadline + self.options.lease {
            return;
        }
        for part in &mut self.parts {
            (part.own, part.settling) = (None, None);
        }
        self.is_over = true;
        for share in self.numbers() {
            self.poll_output(share, now);
        }
        self.write_presence(Stay::Left, now);
        self.actions.push(Action::Left);
    }

    /// Returns the numbers of the shares. Each member begins with another one, so that they do not all try the same.
    fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        let shares = u64::from(self.options.shares);
        let first = self.options.me.0;
        (0..shares).map(move |at| ((first % shares + at) % shares) as u32 + 1)
    }

    fn part(&self, share: u32) -> Option<&Part> {
        self.parts.get((share as usize).checked_sub(1)?)
    }

    fn part_mut(&mut self, share: u32) -> Option<&mut Part> {
        self.parts.get_mut((share as usize).checked_sub(1)?)
    }

    /// Returns the time from a write that failed to the next one.
    fn pause(&self) -> Duration {
        self.options.lease / 50
    }
}

#[cfg(test)]
mod tests;
