//! The entries of a bucket as one member sees them, and which of them have expired.
//!
//! A value. No entry says when it ends, so that no clock is compared with another: an entry has expired when it has not
//! changed for the duration of a lease while this member looked, by this member's clock. The member that wrote it counts
//! from before it sent it ([`Own`]), and so it always ends first for that one.

mod entry;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub(crate) use crate::nats::lease::entry::{Holder, Key, MemberId, Presence, Stay};

/// The most members that are noted. Further ones are as if they did not exist.
const MAX_MEMBERS: usize = 1024;

/// How often the duration of a lease has to pass until a member that is not there any more is forgotten.
const FORGET_AFTER: u32 = 20;

/// The part of a lease by which others wait longer than its owner, for clocks that do not run alike.
const MARGIN: u32 = 50;

/// A lease of this member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Own {
    /// The revision with which it was taken: higher than that of any owner before.
    pub(crate) fence: u64,
    /// When the last renewal that succeeded was sent.
    pub(crate) renewed: Instant,
    /// When it ends, unless it is renewed: the duration of a lease after `renewed`.
    pub(crate) until: Instant,
}

impl Own {
    /// Returns a lease of this duration that was written at `sent`.
    pub(crate) fn new(fence: u64, sent: Instant, duration: Duration) -> Own {
        Own { fence, renewed: sent, until: sent + duration }
    }
}

/// An entry, and since when it has been unchanged.
#[derive(Clone, Copy, Debug)]
struct Sighting<V> {
    revision: u64,
    since: Instant,
    value: V,
    /// Whether it changed while this member looked: it was not left behind by a member that is gone.
    is_renewed: bool,
}

/// The entries of a bucket, as one member sees them.
#[derive(Debug)]
pub(crate) struct View {
    me: MemberId,
    plan: u64,
    duration: Duration,
    members: BTreeMap<MemberId, Sighting<Presence>>,
    /// The lease of each share, its claim, and its standby.
    shares: Vec<[Option<Sighting<Holder>>; 3]>,
}

/// What a member has to do with another one whose plan is not the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rival {
    /// There is none, or only such as have to leave.
    None,
    /// There may be one: it is not known yet whether it still exists.
    Possible,
    /// This one goes first: it owns shares and this one does not, or it was there first.
    First(MemberId),
}

const LEASE: usize = 0;
const CLAIM: usize = 1;
const STANDBY: usize = 2;

impl View {
    /// Creates the view of a member: `shares` of a plan, numbered from 1, and the duration of a lease.
    pub(crate) fn new(me: MemberId, plan: u64, shares: u32, duration: Duration) -> View {
        let shares = vec![[None; 3]; shares as usize];
        View { me, plan, duration, members: BTreeMap::new(), shares }
    }

    /// Changes the plan.
    pub(crate) fn change_plan(&mut self, plan: u64, shares: u32) {
        self.plan = plan;
        self.shares.resize(shares as usize, [None; 3]);
    }

    /// Notes an entry. Returns whether it is news: one that is older than what is known is ignored.
    pub(crate) fn handle_entry(
        &mut self,
        key: Key,
        revision: u64,
        text: &str,
        now: Instant,
    ) -> bool {
        if revision <= self.revision(key) {
            return false;
        }
        let Key::Member(member) = key else {
            // What cannot be read is somebody's, until it has not changed for long enough.
            let value = text.parse().unwrap_or(Holder::of(MemberId(0), false));
            let Some(place) = self.place(key) else { return false };
            let is_renewed = place.is_some();
            *place = Some(Sighting { revision, since: now, value, is_renewed });
            return true;
        };
        let is_known = self.members.contains_key(&member);
        let Ok(value) = text.parse() else { return false };
        if !is_known && self.members.len() >= MAX_MEMBERS {
            return false;
        }
        let was_blind = member == self.me && !self.is_current(now);
        self.members.insert(member, Sighting { revision, since: now, value, is_renewed: is_known });
        if was_blind {
            self.look_again(now);
        }
        true
    }

    /// Notes that there is no entry of this key.
    pub(crate) fn handle_absent(&mut self, key: Key) {
        match key {
            Key::Member(member) => self.members.retain(|id, _| *id != member),
            key => {
                if let Some(place) = self.place(key) {
                    *place = None;
                }
            }
        }
    }

    /// Begins the time of every entry anew: nothing is known of what happened while this member did not look.
    fn look_again(&mut self, now: Instant) {
        self.members.values_mut().for_each(|member| member.since = now);
        self.shares.iter_mut().flatten().flatten().for_each(|entry| entry.since = now);
    }

    /// Returns the newest revision of an entry; 0 if there is none.
    pub(crate) fn revision(&self, key: Key) -> u64 {
        match key {
            Key::Member(member) => self.members.get(&member).map_or(0, |it| it.revision),
            Key::Share(share) => self.sighting(share, LEASE).map_or(0, |it| it.revision),
            Key::Claim(share) => self.sighting(share, CLAIM).map_or(0, |it| it.revision),
            Key::Standby(share) => self.sighting(share, STANDBY).map_or(0, |it| it.revision),
        }
    }

    /// Whether this member sees what happens: its own renewals come back to it. They are sent each third of a lease. One that
    /// is overdue shows that nothing is known of the others either: while the broker does not answer, a lease of another
    /// member seems to end at the same time as those of this one, and each would take what the other had.
    pub(crate) fn is_current(&self, now: Instant) -> bool {
        let own = self.members.get(&self.me);
        own.is_some_and(|own| now.saturating_duration_since(own.since) < self.duration / 2)
    }

    /// Returns the revision since when this member has been one; `None` before its first entry came back to it.
    pub(crate) fn joined(&self) -> Option<u64> {
        self.members.get(&self.me).map(joined)
    }

    /// Returns the members that exist and have the same plan, this one included.
    pub(crate) fn members(&self, now: Instant) -> impl Iterator<Item = (MemberId, Stay)> {
        let is_live = move |(id, it): &(&MemberId, &Sighting<Presence>)| {
            self.is_member(**id, now) && it.value.stay != Stay::Left
        };
        self.members.iter().filter(is_live).map(|(id, it)| (*id, it.value.stay))
    }

    /// Whether any other member may exist, whatever its plan.
    pub(crate) fn is_alone(&self, now: Instant) -> bool {
        let exists = |(id, it): (&MemberId, &Sighting<Presence>)| {
            *id != self.me && it.value.stay != Stay::Left && self.is_fresh(it, now)
        };
        !self.members.iter().any(exists)
    }

    /// Whether a member exists and has the same plan.
    fn is_member(&self, id: MemberId, now: Instant) -> bool {
        self.members.get(&id).is_some_and(|it| {
            it.value.plan == self.plan && it.value.stay != Stay::Left && self.is_fresh(it, now)
        })
    }

    /// Whether a member has renewed its presence lately: it is not about to be found gone.
    pub(crate) fn is_heard_of(&self, id: MemberId, now: Instant) -> bool {
        let age = |it: &Sighting<Presence>| now.saturating_duration_since(it.since);
        self.members.get(&id).is_some_and(|it| age(it) < self.duration / 2)
    }

    /// Returns what another plan means for this member.
    pub(crate) fn rival(&self, now: Instant) -> Rival {
        let Some(own) = self.joined() else { return Rival::Possible };
        let owns = |id: MemberId| self.numbers().any(|share| self.owner(share, now) == Some(id));
        let mine = (!owns(self.me), own);
        let mut rival = Rival::None;
        for (id, it) in &self.members {
            let exists = it.value.stay != Stay::Left && self.is_fresh(it, now);
            // Who owns a share comes first, then who was there first.
            let is_alike = *id == self.me || it.value.plan == self.plan;
            if is_alike || !exists || (!owns(*id), joined(it)) > mine {
                continue;
            }
            if it.is_renewed {
                return Rival::First(*id);
            }
            rival = Rival::Possible;
        }
        rival
    }

    /// Returns the numbers of the shares.
    fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        1..=self.shares.len() as u32
    }

    /// Returns the members that were not there for so long that their entries can be removed.
    pub(crate) fn forget(&mut self, now: Instant) -> Vec<MemberId> {
        let time = self.duration * FORGET_AFTER;
        let is_gone = |(id, it): &(&MemberId, &Sighting<Presence>)| {
            **id != self.me && now.saturating_duration_since(it.since) >= time
        };
        let gone: Vec<_> = self.members.iter().filter(is_gone).map(|(id, _)| *id).collect();
        self.members.retain(|id, _| !gone.contains(id));
        gone
    }

    /// Returns the owner of a share: the member of its lease, if that was not released and has not expired.
    pub(crate) fn owner(&self, share: u32, now: Instant) -> Option<MemberId> {
        self.sighting(share, LEASE).filter(|it| self.is_fresh(it, now))?.value.member
    }

    /// Returns when the lease, the claim or the standby of a share was written last, as this member sees it.
    pub(crate) fn written(&self, key: Key) -> Option<Instant> {
        let (share, which) = index(key)?;
        self.sighting(share, which).map(|it| it.since)
    }

    /// Whether the lease of a share names this member, expired or not. No other one can have it, unless it has written a
    /// newer entry.
    pub(crate) fn is_named(&self, share: u32) -> bool {
        self.sighting(share, LEASE).is_some_and(|it| it.value.member == Some(self.me))
    }

    /// Returns who claims a share: a member that exists and does not own it.
    pub(crate) fn claim(&self, share: u32, now: Instant) -> Option<(MemberId, bool)> {
        self.candidate(share, CLAIM, now)
    }

    /// Returns who stands by for a share: a member that exists and does not own it.
    pub(crate) fn standby(&self, share: u32, now: Instant) -> Option<(MemberId, bool)> {
        self.candidate(share, STANDBY, now)
    }

    /// Returns the claim or the standby of this member for a share, whoever owns it: whether it is ready.
    pub(crate) fn own_entry(&self, key: Key) -> Option<bool> {
        let (share, which) = index(key)?;
        let entry = self.sighting(share, which)?.value;
        (entry.member == Some(self.me)).then_some(entry.is_ready)
    }

    /// Returns what an entry says.
    pub(crate) fn holder(&self, key: Key) -> Holder {
        let found = index(key).and_then(|(share, which)| self.sighting(share, which));
        found.map_or(Holder::default(), |it| it.value)
    }

    fn candidate(&self, share: u32, which: usize, now: Instant) -> Option<(MemberId, bool)> {
        let entry = self.sighting(share, which)?.value;
        let member = entry.member?;
        let is_candidate = self.is_member(member, now) && self.owner(share, now) != Some(member);
        is_candidate.then_some((member, entry.is_ready))
    }

    /// Whether an entry has not expired. What this member cannot see it does not judge.
    fn is_fresh<V>(&self, it: &Sighting<V>, now: Instant) -> bool {
        let time = self.duration + self.duration / MARGIN;
        now.saturating_duration_since(it.since) < time
    }

    fn sighting(&self, share: u32, which: usize) -> Option<&Sighting<Holder>> {
        self.shares.get((share as usize).checked_sub(1)?)?[which].as_ref()
    }

    fn place(&mut self, key: Key) -> Option<&mut Option<Sighting<Holder>>> {
        let (share, which) = index(key)?;
        Some(&mut self.shares.get_mut((share as usize).checked_sub(1)?)?[which])
    }
}

/// Returns the share of a key, and which of its entries it is.
fn index(key: Key) -> Option<(u32, usize)> {
    match key {
        Key::Member(_) => None,
        Key::Share(share) => Some((share, LEASE)),
        Key::Claim(share) => Some((share, CLAIM)),
        Key::Standby(share) => Some((share, STANDBY)),
    }
}

/// Returns the revision since when a member has been one.
fn joined(it: &Sighting<Presence>) -> u64 {
    it.value.joined.unwrap_or(it.revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: MemberId = MemberId(1);
    const OTHER: MemberId = MemberId(2);
    const LEASE: Duration = Duration::from_secs(5);
    const SECOND: Duration = Duration::from_secs(1);

    fn presence(plan: u64, joined: Option<u64>) -> String {
        Presence { plan, joined, stay: Stay::Staying }.to_string()
    }

    fn view(now: Instant) -> View {
        let mut view = View::new(ME, 7, 2, LEASE);
        assert!(view.handle_entry(Key::Member(ME), 1, &presence(7, None), now));
        view
    }

    #[test]
    fn a_lease_that_does_not_change_expires_by_the_clock_of_the_one_that_looks() {
        let start = Instant::now();
        let mut view = view(start);
        let lease = Holder::of(OTHER, false).to_string();
        assert!(view.handle_entry(Key::Share(1), 2, &lease, start));
        assert_eq!(view.owner(1, start + LEASE), Some(OTHER), "others wait longer than the owner");
        assert_eq!(view.owner(1, start + LEASE + LEASE / 50), None);
        assert!(!view.handle_entry(Key::Share(1), 2, &lease, start + 4 * SECOND), "no news");
        assert_eq!(view.owner(1, start + LEASE + LEASE / 50), None);
        assert!(view.handle_entry(Key::Share(1), 3, &lease, start + 4 * SECOND));
        assert_eq!(view.owner(1, start + 9 * SECOND), Some(OTHER));
        assert_eq!(view.owner(2, start), None);
        assert_eq!(view.owner(3, start), None, "there is no such share");
        assert_eq!(view.owner(0, start), None);
    }

    #[test]
    fn a_member_that_did_not_look_begins_to_count_when_it_looks_again() {
        let start = Instant::now();
        let mut view = view(start);
        view.handle_entry(Key::Share(1), 2, &Holder::of(OTHER, false).to_string(), start);
        let back = start + 60 * SECOND;
        assert!(!view.is_current(back));
        view.handle_entry(Key::Member(ME), 3, &presence(7, Some(1)), back);
        assert!(view.is_current(back));
        assert_eq!(view.owner(1, back + 5 * SECOND), Some(OTHER));
        // A renewal while it looks begins nothing anew.
        view.handle_entry(Key::Member(ME), 4, &presence(7, Some(1)), back + 2 * SECOND);
        assert_eq!(view.owner(1, back + 6 * SECOND), None);
    }

    #[test]
    fn a_member_whose_renewal_is_overdue_judges_no_other_one() {
        let start = Instant::now();
        let mut view = view(start);
        view.handle_entry(Key::Share(1), 2, &Holder::of(OTHER, false).to_string(), start);
        assert!(view.is_current(start + LEASE / 2 - Duration::from_millis(1)));
        assert!(!view.is_current(start + LEASE / 2));
        view.handle_entry(Key::Member(ME), 3, &presence(7, Some(1)), start + LEASE / 2);
        assert_eq!(view.owner(1, start + LEASE * 3 / 2), Some(OTHER), "its time has begun anew");
    }

    #[test]
    fn what_cannot_be_read_is_somebodys_until_it_expires() {
        let start = Instant::now();
        let mut view = view(start);
        view.handle_entry(Key::Share(1), 2, "{\"owner\":3}", start);
        assert_eq!(view.owner(1, start), Some(MemberId(0)));
        assert_eq!(view.owner(1, start + 6 * SECOND), None);
        assert!(!view.handle_entry(Key::Share(9), 3, "nobody", start), "there is no share 9");
        assert!(!view.handle_entry(Key::Member(OTHER), 4, "?", start));
    }

    #[test]
    fn a_claim_counts_while_its_member_exists_and_does_not_own_the_share() {
        let start = Instant::now();
        let mut view = view(start);
        view.handle_entry(Key::Claim(1), 2, &Holder::of(OTHER, true).to_string(), start);
        assert_eq!(view.claim(1, start), None, "there is no such member");
        view.handle_entry(Key::Member(OTHER), 3, &presence(7, None), start);
        assert_eq!(view.claim(1, start), Some((OTHER, true)));
        view.handle_entry(Key::Share(1), 4, &Holder::of(OTHER, false).to_string(), start);
        assert_eq!(view.claim(1, start), None, "it has it");
        view.handle_entry(Key::Share(1), 5, &Holder::default().to_string(), start);
        assert_eq!(view.claim(1, start + 6 * SECOND), None, "it is gone");
    }

    #[test]
    fn of_two_plans_that_of_the_first_member_counts() {
        let start = Instant::now();
        let mut view = View::new(ME, 7, 2, LEASE);
        assert_eq!(view.rival(start), Rival::Possible, "nothing is known yet");
        view.handle_entry(Key::Member(OTHER), 1, &presence(8, None), start);
        view.handle_entry(Key::Member(ME), 2, &presence(7, None), start);
        assert_eq!(view.rival(start), Rival::Possible, "it may be gone");
        assert_eq!(view.rival(start + 6 * SECOND), Rival::None, "it is gone");
        view.handle_entry(Key::Member(OTHER), 3, &presence(8, Some(1)), start + SECOND);
        assert_eq!(view.rival(start + SECOND), Rival::First(OTHER));
        assert_eq!(view.members(start).map(|(id, _)| id).collect::<Vec<_>>(), [ME]);
        assert!(!view.is_alone(start + SECOND));
        let lease = Holder::of(ME, false).to_string();
        view.handle_entry(Key::Share(2), 4, &lease, start + SECOND);
        assert_eq!(view.rival(start + SECOND), Rival::None, "it owns nothing, and has to leave");
        view.handle_entry(Key::Share(2), 5, "nobody", start + SECOND);
        view.handle_entry(Key::Member(OTHER), 6, &presence(8, Some(6)), start + SECOND);
        assert_eq!(view.rival(start + SECOND), Rival::None, "it came later, and has to leave");
    }

    #[test]
    fn members_that_are_long_gone_are_forgotten() {
        let start = Instant::now();
        let mut view = view(start);
        view.handle_entry(Key::Member(OTHER), 2, &presence(7, None), start);
        let later = start + 99 * SECOND;
        view.handle_entry(Key::Member(ME), 3, &presence(7, Some(1)), later);
        assert_eq!(view.forget(later + 99 * SECOND), []);
        assert_eq!(view.forget(later + 100 * SECOND), [OTHER], "counted since it looked again");
        for id in 0..2000 {
            view.handle_entry(Key::Member(MemberId(100 + id)), 9, &presence(7, None), later);
        }
        assert_eq!(view.members.len(), MAX_MEMBERS);
    }
}
