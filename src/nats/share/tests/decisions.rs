//! Single decisions, in a world where every write is answered at once unless a test says otherwise.

use super::*;

use std::collections::BTreeMap;

use crate::nats::lease::Holder;

const LEASE: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(100);

/// Members, and the bucket between them.
struct Lab {
    start: Instant,
    now: Instant,
    revision: u64,
    entries: BTreeMap<Key, (u64, String)>,
    members: Vec<Sharing>,
    /// Everything that was done, in its order, with the member that did it.
    done: Vec<(usize, Action)>,
    /// Whether writes are lost, by member.
    is_cut: Vec<bool>,
    /// Whether the venue confirms topics.
    confirms: bool,
    /// Whether what is in flight is acknowledged.
    settles: bool,
}

fn options(me: u64, shares: u32) -> Options {
    Options {
        me: MemberId(me),
        plan: 1,
        shares,
        lease: LEASE,
        most: u32::MAX,
        overlaps: true,
        standby: false,
    }
}

impl Lab {
    fn new(members: impl IntoIterator<Item = Options>) -> Lab {
        let now = Instant::now();
        let mut lab = Lab {
            start: now,
            now,
            revision: 0,
            entries: BTreeMap::new(),
            members: Vec::new(),
            done: Vec::new(),
            is_cut: Vec::new(),
            confirms: true,
            settles: true,
        };
        members.into_iter().for_each(|options| lab.join(options));
        lab
    }

    fn join(&mut self, options: Options) {
        let mut sharing = Sharing::new(options);
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|(_, (revision, _))| *revision);
        for (key, (revision, text)) in entries {
            sharing.handle_entry(*key, *revision, text, self.now);
        }
        self.members.push(sharing);
        self.is_cut.push(false);
    }

    fn pass(&mut self, seconds: u32) {
        (0..10 * seconds).for_each(|_| self.step());
    }

    fn step(&mut self) {
        self.now += STEP;
        (0..self.members.len()).for_each(|member| self.poll(member));
    }

    fn poll(&mut self, member: usize) {
        for action in self.members[member].poll(self.now) {
            self.done.push((member, action.clone()));
            match action {
                Action::Write { key, .. } if self.is_cut[member] => {
                    self.members[member].handle_written(key, Outcome::Unknown, self.now);
                }
                Action::Write { key, text, expected } => self.write(member, key, text, expected),
                Action::Add { share, added } if self.confirms => {
                    self.members[member].handle_added(share, added);
                }
                Action::Settle { share, settled } if self.settles => {
                    self.members[member].handle_settled(share, settled);
                }
                _ => {}
            }
        }
    }

    fn write(&mut self, member: usize, key: Key, text: String, expected: Option<u64>) {
        let found = self.entries.get(&key).cloned();
        let revision = found.as_ref().map_or(0, |(revision, _)| *revision);
        if expected.is_some_and(|expected| expected != revision) {
            let outcome = Outcome::Conflict(found);
            return self.members[member].handle_written(key, outcome, self.now);
        }
        self.revision += 1;
        self.entries.insert(key, (self.revision, text.clone()));
        for (other, sharing) in self.members.iter_mut().enumerate() {
            if !self.is_cut[other] {
                sharing.handle_entry(key, self.revision, &text, self.now);
            }
        }
        let outcome = Outcome::Written(self.revision);
        self.members[member].handle_written(key, outcome, self.now);
    }

    fn owned(&self, member: usize) -> Vec<u32> {
        let shares = self.members[member].options.shares;
        (1..=shares).filter(|share| self.members[member].owns(*share, self.now)).collect()
    }

    /// Returns the fences of the states that a member has reported for a share.
    fn fences(&self, member: usize, share: u32) -> Vec<u64> {
        let fence = |(by, action): &(usize, Action)| match action {
            Action::Report { share: of, state: ShareState::Owned { fence } } => {
                (*by == member && *of == share).then_some(*fence)
            }
            _ => None,
        };
        self.done.iter().filter_map(fence).collect()
    }

    /// Returns what was done about a share by whom, without renewals.
    fn story(&self, share: u32) -> Vec<String> {
        let told = |(member, action): &(usize, Action)| match action {
            Action::Add { share: of, .. } if *of == share => Some(format!("{member} adds")),
            Action::Remove { share: of } if *of == share => Some(format!("{member} removes")),
            Action::Settle { share: of, .. } if *of == share => Some(format!("{member} stops")),
            Action::Role { share: of, role } if *of == share => Some(format!(
                "{member} {}",
                match role {
                    Role::Owner { .. } => "publishes",
                    Role::Standby => "waits",
                    Role::None => "drops",
                }
            )),
            _ => None,
        };
        let mut story: Vec<String> = self.done.iter().filter_map(told).collect();
        story.dedup();
        story
    }
}

#[test]
fn the_first_member_waits_for_others_and_takes_everything() {
    let mut lab = Lab::new([options(1, 3)]);
    lab.pass(1);
    assert!(lab.owned(0).is_empty(), "others may be about to start");
    lab.pass(1);
    assert_eq!(lab.owned(0), [1, 2, 3]);
    lab.pass(30);
    assert_eq!(lab.owned(0), [1, 2, 3]);
    assert_eq!(lab.fences(0, 1).len(), 1, "it is renewed, and not taken again");
}

#[test]
fn an_owner_counts_from_the_sending_of_its_last_renewal() {
    let mut lab = Lab::new([options(1, 1)]);
    lab.pass(2);
    lab.is_cut[0] = true;
    let until = lab.members[0].parts[0].own.expect("it owns it").until;
    assert!(until <= lab.now + LEASE);
    lab.now = until - STEP;
    assert_eq!(lab.owned(0), [1]);
    lab.now = until;
    assert!(lab.owned(0).is_empty());
    lab.pass(60);
    assert!(lab.owned(0).is_empty(), "nothing was renewed");
    lab.is_cut[0] = false;
    lab.pass(3);
    assert_eq!(lab.owned(0), [1], "nobody has taken it");
    assert_eq!(
        lab.fences(0, 1).windows(2).filter(|it| it[0] != it[1]).count(),
        0,
        "the same fence"
    );
}

#[test]
fn a_member_that_was_cut_off_for_too_long_is_nobody() {
    let mut lab = Lab::new([options(1, 2), options(2, 2)]);
    lab.pass(10);
    assert_eq!((lab.owned(0).len(), lab.owned(1).len()), (1, 1));
    lab.is_cut[0] = true;
    lab.pass(7);
    assert_eq!((lab.owned(0).len(), lab.owned(1).len()), (0, 2));
    let fence = lab.fences(1, lab.owned(1)[0]);
    assert!(!fence.is_empty());
    // It is back, and sees what has happened.
    lab.is_cut[0] = false;
    let mut missed: Vec<_> = lab.entries.clone().into_iter().collect();
    missed.sort_by_key(|(_, (revision, _))| *revision);
    for (key, (revision, text)) in missed {
        lab.members[0].handle_entry(key, revision, &text, lab.now);
    }
    lab.poll(0);
    assert_eq!((lab.owned(0).len(), lab.owned(1).len()), (0, 2));
    lab.pass(10);
    assert_eq!((lab.owned(0).len(), lab.owned(1).len()), (1, 1), "it has its part again");
}

#[test]
fn the_next_owner_is_subscribed_before_the_old_one_stops() {
    let mut lab = Lab::new([options(1, 2)]);
    lab.pass(3);
    lab.join(options(2, 2));
    lab.pass(5);
    assert_eq!((lab.owned(0).len(), lab.owned(1).len()), (1, 1));
    let story = lab.story(lab.owned(1)[0]).join(", ");
    let expected = "0 publishes, 0 adds, 0 publishes, 1 waits, 1 adds, 0 stops, 0 waits, 0 drops, 0 removes, 1 publishes";
    assert_eq!(story, expected);
}

#[test]
fn without_numbers_the_old_owner_is_unsubscribed_before_the_next_one_begins() {
    let without = |me| Options { overlaps: false, ..options(me, 2) };
    let mut lab = Lab::new([without(1)]);
    lab.pass(3);
    lab.join(without(2));
    lab.pass(5);
    assert_eq!((lab.owned(0).len(), lab.owned(1).len()), (1, 1));
    let story = lab.story(lab.owned(1)[0]).join(", ");
    let expected = "0 publishes, 0 adds, 0 publishes, 0 stops, 0 removes, 0 drops, 1 publishes, 1 adds, 1 publishes";
    assert_eq!(story, expected);
}

#[test]
fn a_member_that_leaves_hands_everything_over_and_then_ends() {
    let mut lab = Lab::new([options(1, 4), options(2, 4)]);
    lab.pass(10);
    let deadline = lab.now + 60 * STEP;
    lab.members[0].leave(deadline);
    lab.pass(3);
    assert_eq!(lab.owned(1), [1, 2, 3, 4]);
    assert!(lab.done.contains(&(0, Action::Left)));
    let count = lab.done.len();
    lab.members.truncate(1);
    lab.pass(10);
    assert_eq!(lab.done.len(), count, "nothing follows");
}

#[test]
fn what_nobody_takes_is_released_at_the_deadline() {
    let mut lab = Lab::new([options(1, 2), options(2, 2)]);
    lab.pass(10);
    lab.confirms = false;
    let deadline = lab.now + 20 * STEP;
    lab.members[0].leave(deadline);
    lab.pass(1);
    assert_eq!(lab.owned(0).len(), 1, "the other one has not subscribed yet");
    lab.pass(3);
    assert!(lab.done.contains(&(0, Action::Left)));
    assert_eq!(lab.owned(1), [1, 2], "it takes what was released");
}

#[test]
fn the_last_member_releases_everything_at_once() {
    let mut lab = Lab::new([options(1, 2)]);
    lab.pass(3);
    let deadline = lab.now + 600 * STEP;
    lab.members[0].leave(deadline);
    lab.pass(1);
    assert!(lab.done.contains(&(0, Action::Left)));
    assert_eq!(lab.entries[&Key::Share(1)].1, "nobody");
    lab.join(options(2, 2));
    lab.pass(2);
    assert_eq!(lab.owned(1), [1, 2], "the next one need not wait for a lease to end");
}

#[test]
fn an_answer_that_is_lost_while_handing_over_gives_no_share_away() {
    let mut lab = Lab::new([options(1, 2)]);
    lab.pass(3);
    lab.join(options(2, 2));
    // The claims and topics are there; now every write of the owner is lost, and then no more.
    while !lab.done.iter().any(|(_, action)| matches!(action, Action::Settle { .. })) {
        lab.is_cut[0] = lab.done.iter().any(|(by, it)| {
            *by == 1 && matches!(it, Action::Write { key: Key::Claim(_), text, .. } if text.ends_with("ready"))
        });
        lab.pass(1);
    }
    lab.is_cut[0] = false;
    lab.pass(10);
    assert_eq!((lab.owned(0).len(), lab.owned(1).len()), (1, 1));
}

#[test]
fn an_owner_goes_on_if_the_claim_is_withdrawn_while_it_stops() {
    let mut lab = Lab::new([options(1, 2)]);
    lab.pass(3);
    lab.settles = false;
    lab.join(options(2, 2));
    let share = loop {
        lab.pass(1);
        let settles = |(_, action): &(usize, Action)| match action {
            Action::Settle { share, .. } => Some(*share),
            _ => None,
        };
        if let Some(share) = lab.done.iter().find_map(settles) {
            break share;
        }
    };
    let fence = lab.fences(0, share)[0];
    let (key, now) = (Key::Claim(share), lab.now);
    lab.members[0].handle_entry(key, lab.revision + 1, "nobody", now);
    lab.poll(0);
    assert!(lab.owned(0).contains(&share));
    assert_eq!(lab.fences(0, share).last(), Some(&fence), "it is the same lease");
}

#[test]
fn a_share_is_not_given_away_before_its_owner_has_published_what_it_had_received() {
    let mut lab = Lab::new([options(1, 2)]);
    lab.pass(3);
    lab.settles = false;
    lab.join(options(2, 2));
    let fences = [1, 2].map(|share| lab.fences(0, share)[0]);
    for _ in 0..200 {
        lab.step();
        for part in &lab.members[0].parts {
            let left = part.own.unwrap().until.saturating_duration_since(lab.now);
            assert!(left >= LEASE * 3 / 10, "{left:?} are left");
        }
    }
    let stops = |(_, it): &&(usize, Action)| matches!(it, Action::Settle { .. });
    assert!(lab.done.iter().filter(stops).count() > 2, "it tries again");
    assert!(lab.owned(1).is_empty());
    for (share, fence) in (1..).zip(fences) {
        assert_eq!(lab.fences(0, share), [fence], "it is the owner all the time");
    }
    // An answer to an older question is none to the newest.
    let settled = |(_, it): &(usize, Action)| match it {
        Action::Settle { share, settled } => Some((*share, *settled)),
        _ => None,
    };
    let (share, settled) = lab.done.iter().filter_map(settled).next().unwrap();
    lab.members[0].handle_settled(share, settled);
    lab.pass(5);
    assert!(lab.owned(1).is_empty());
    lab.settles = true;
    lab.pass(5);
    assert_eq!((lab.owned(0).len(), lab.owned(1).len()), (1, 1));
}

#[test]
fn the_topics_stay_with_the_old_owner_until_the_new_one_has_taken_the_share() {
    let mut lab = Lab::new([options(1, 2)]);
    lab.pass(3);
    lab.join(options(2, 2));
    let given = |lab: &Lab| {
        let to = Holder::of(MemberId(2), false).to_string();
        let given = |(key, (_, text)): (&Key, &(u64, String))| match key {
            Key::Share(share) if *text == to => Some(*share),
            _ => None,
        };
        lab.entries.iter().find_map(given)
    };
    // The receiver is gone as soon as it is named.
    while given(&lab).is_none() {
        lab.now += STEP;
        lab.poll(0);
        if given(&lab).is_none() {
            lab.poll(1);
        }
    }
    let share = given(&lab).unwrap();
    lab.is_cut[1] = true;
    let removes = |lab: &Lab| lab.done.contains(&(0, Action::Remove { share }));
    while !lab.owned(0).contains(&share) {
        lab.now += STEP;
        assert!(lab.now < lab.start + 4 * LEASE, "it is never taken");
        lab.poll(0);
        assert!(!removes(&lab), "at {:?}", lab.now - lab.start);
    }
}

#[test]
fn a_claim_is_met_once_it_has_been_ready_for_a_while() {
    let mut lab = Lab::new([options(1, 2)]);
    lab.pass(3);
    lab.join(options(2, 2));
    let ready = |lab: &Lab| {
        let mut claims = lab.entries.iter().filter(|(key, _)| matches!(key, Key::Claim(_)));
        claims.any(|(_, (_, text))| text.ends_with("ready"))
    };
    while !ready(&lab) {
        lab.now += STEP;
        (0..2).for_each(|member| lab.poll(member));
    }
    let stops = |lab: &Lab| lab.done.iter().any(|(_, it)| matches!(it, Action::Settle { .. }));
    let since = lab.now;
    lab.now = since + LEASE / 20 - Duration::from_millis(1);
    lab.poll(0);
    assert!(!stops(&lab), "what was sent before may be on its way");
    lab.now = since + LEASE / 20;
    lab.poll(0);
    assert!(stops(&lab));
}

#[test]
fn topics_stay_while_a_write_that_says_so_may_arrive() {
    let with_standby = |me| Options { standby: true, ..options(me, 1) };
    let mut lab = Lab::new([with_standby(1)]);
    lab.pass(3);
    lab.join(with_standby(2));
    lab.pass(3);
    assert!(lab.story(1).contains(&"1 adds".to_owned()), "it stands by");
    // The owner leaves, and the claim that follows gets no answer.
    lab.is_cut[1] = true;
    let presence = Presence { plan: 1, joined: Some(1), stay: Stay::Leaving }.to_string();
    let (key, now) = (Key::Member(MemberId(1)), lab.now);
    lab.members[1].handle_entry(key, lab.revision + 1, &presence, now);
    lab.poll(1);
    let claims = |(by, it): &(usize, Action)| {
        *by == 1
            && matches!(it, Action::Write { key: Key::Claim(1), text, .. } if text.ends_with("ready"))
    };
    assert!(lab.done.iter().any(claims));
    // Somebody else stands by in its place.
    let other = Holder::of(MemberId(9), true).to_string();
    lab.members[1].handle_entry(Key::Standby(1), lab.revision + 2, &other, now);
    lab.members[1].leave(lab.now + 4 * LEASE);
    lab.now += STEP;
    lab.poll(1);
    let removes = |lab: &Lab| lab.done.contains(&(1, Action::Remove { share: 1 }));
    assert!(!removes(&lab));
    // Once another entry has taken its place it can arrive no more.
    lab.is_cut[1] = false;
    for _ in 0..5 {
        lab.now += STEP;
        lab.poll(1);
    }
    assert_eq!(lab.entries[&Key::Claim(1)].1, "nobody");
    assert!(removes(&lab));
}

#[test]
fn a_share_is_not_given_to_a_member_that_has_one_less() {
    let mut lab = Lab::new([options(1, 3), options(2, 3)]);
    lab.pass(10);
    let (more, less) = if lab.owned(0).len() == 2 { (0, 1) } else { (1, 0) };
    assert_eq!((lab.owned(more).len(), lab.owned(less).len()), (2, 1));
    let share = lab.owned(more)[0];
    let (claim, now) = (Holder::of(lab.members[less].options.me, true).to_string(), lab.now);
    lab.members[more].handle_entry(Key::Claim(share), lab.revision + 1, &claim, now);
    lab.poll(more);
    assert_eq!(lab.owned(more).len(), 2);
}

#[test]
fn nobody_takes_more_than_it_may() {
    let few = |me| Options { most: 2, ..options(me, 5) };
    let mut lab = Lab::new([few(1), few(2)]);
    lab.pass(20);
    assert_eq!((lab.owned(0).len(), lab.owned(1).len()), (2, 2));
    lab.join(few(3));
    lab.pass(20);
    let parts: Vec<usize> = (0..3).map(|member| lab.owned(member).len()).collect();
    assert_eq!(parts.iter().sum::<usize>(), 5);
    assert!(parts.iter().all(|part| *part <= 2), "{parts:?}");
}

#[test]
fn a_member_with_another_plan_is_refused_by_those_that_were_there() {
    let mut lab = Lab::new([options(1, 2)]);
    lab.pass(10);
    lab.join(Options { plan: 2, ..options(2, 2) });
    lab.pass(10);
    assert!(lab.done.contains(&(1, Action::Refused { member: MemberId(1) })));
    assert!(lab.done.contains(&(1, Action::Left)));
    assert_eq!(lab.owned(0), [1, 2]);
    assert_eq!(lab.fences(0, 1).len(), 1, "it has seen nothing of it");
    let mut lab = Lab::new([options(1, 2), Options { plan: 2, ..options(2, 2) }]);
    lab.pass(10);
    let refused = lab.done.iter().filter(|(_, it)| matches!(it, Action::Refused { .. })).count();
    assert_eq!(refused, 1, "of two that start at the same time one stays");
}

#[test]
fn the_plan_of_a_member_that_is_gone_counts_no_more() {
    let mut lab = Lab::new([options(1, 2)]);
    lab.pass(10);
    lab.members.clear();
    lab.is_cut.clear();
    lab.join(Options { plan: 2, ..options(2, 2) });
    lab.pass(8);
    assert_eq!(lab.owned(0), [1, 2]);
}

#[test]
fn the_plan_changes_while_there_is_one_member_and_every_fence_rises() {
    let mut lab = Lab::new([options(1, 2), options(2, 2)]);
    lab.pass(10);
    let now = lab.now;
    assert!(!lab.members[0].change_plan(2, 3, now), "there is another one");
    lab.members[1].leave(now);
    lab.pass(3);
    lab.members.pop();
    lab.is_cut.pop();
    let fences: Vec<u64> =
        lab.members[0].parts.iter().filter_map(|it| it.own).map(|it| it.fence).collect();
    assert!(lab.members[0].change_plan(2, 3, lab.now));
    assert_eq!(lab.owned(0), [1, 2], "it goes on");
    lab.pass(2);
    assert_eq!(lab.owned(0), [1, 2, 3]);
    for part in &lab.members[0].parts {
        let own = part.own.expect("it owns it");
        assert!(fences.iter().all(|fence| own.fence > *fence));
    }
}

#[test]
fn a_claim_whose_topics_are_never_confirmed_is_withdrawn() {
    let mut lab = Lab::new([options(1, 2)]);
    lab.pass(3);
    lab.confirms = false;
    lab.join(options(2, 2));
    lab.pass(110);
    let claims = |lab: &Lab| {
        lab.entries
            .iter()
            .filter(|(key, (_, text))| matches!(key, Key::Claim(_)) && text != "nobody")
            .count()
    };
    assert_eq!(claims(&lab), 1);
    assert_eq!(lab.owned(0), [1, 2]);
    lab.pass(16);
    assert_eq!(claims(&lab), 0);
    lab.confirms = true;
    lab.pass(20);
    assert_eq!((lab.owned(0).len(), lab.owned(1).len()), (1, 1), "it tries again");
}

#[test]
fn a_member_notices_that_its_watch_brings_nothing() {
    let mut lab = Lab::new([options(1, 1)]);
    lab.pass(3);
    assert!(!lab.members[0].is_blind(lab.now));
    lab.members[0].presence.written = Some((1_000_000, lab.now));
    assert!(!lab.members[0].is_blind(lab.now + LEASE / 5), "it may be on its way");
    assert!(lab.members[0].is_blind(lab.now + LEASE / 4));
    assert!(lab.now > lab.start);
}

/// Two of three members whose owner of share 1 is cut off, and the share is free: who stands by, and the third one.
fn orphaned() -> (Lab, usize, usize) {
    let standing = |me| Options { standby: true, ..options(me, 1) };
    let mut lab = Lab::new((1..4).map(standing));
    lab.pass(10);
    let owner = (0..3).find(|member| !lab.owned(*member).is_empty()).expect("it is owned");
    let standby = lab.entries[&Key::Standby(1)].1.clone();
    let standby = (0..3).find(|it| standby == format!("{} ready", lab.members[*it].options.me));
    let standby = standby.expect("one is ready");
    lab.is_cut[owner] = true;
    (lab, standby, 3 - owner - standby)
}

/// Lets time pass for one member, while another one only says that it lives.
fn pass_for(lab: &mut Lab, member: usize, silent: usize, seconds: u32) {
    for _ in 0..seconds {
        let me = lab.members[silent].options.me;
        let presence = Presence { plan: 1, joined: Some(1), stay: Stay::Staying };
        lab.write(silent, Key::Member(me), presence.to_string(), None);
        for _ in 0..10 {
            lab.now += STEP;
            lab.poll(member);
        }
    }
}

#[test]
fn a_member_that_stands_by_and_lives_goes_first_for_the_time_of_a_lease() {
    let (mut lab, standby, third) = orphaned();
    pass_for(&mut lab, third, standby, 8);
    assert!(lab.owned(third).is_empty(), "it has not received what the other one has");
    lab.poll(standby);
    assert_eq!(lab.owned(standby), [1]);
    let (mut lab, standby, third) = orphaned();
    pass_for(&mut lab, third, standby, 13);
    assert_eq!(lab.owned(third), [1], "nobody waits for ever");
}

#[test]
fn who_claims_a_share_does_not_go_before_the_member_that_stands_by() {
    let (mut lab, standby, third) = orphaned();
    // It may have subscribed after the owner was lost.
    let claim = Holder::of(lab.members[third].options.me, true).to_string();
    lab.write(third, Key::Claim(1), claim, None);
    pass_for(&mut lab, third, standby, 8);
    assert!(lab.owned(third).is_empty());
    lab.poll(standby);
    assert_eq!(lab.owned(standby), [1]);
}

#[test]
fn what_was_kept_is_published_before_a_share_goes_on_to_a_member_that_claims_it() {
    let (mut lab, standby, third) = orphaned();
    pass_for(&mut lab, third, standby, 7);
    lab.poll(standby);
    assert_eq!(lab.owned(standby), [1]);
    lab.members[standby].leave(lab.now + 100 * STEP);
    let claim = Holder::of(lab.members[third].options.me, true).to_string();
    lab.write(third, Key::Claim(1), claim, None);
    pass_for(&mut lab, standby, third, 2);
    assert_eq!(lab.owned(standby), [1], "not at once");
    pass_for(&mut lab, standby, third, 1);
    assert!(lab.owned(standby).is_empty());
}

/// The write that takes a share is carried out, and its answer is lost.
#[test]
fn the_topics_stay_while_the_answer_to_the_taking_of_a_share_is_lost() {
    let (mut lab, standby, _) = orphaned();
    let now = lab.now;
    let mut sharing = lab.members.swap_remove(standby);
    let me = sharing.options.me;
    sharing.handle_entry(Key::Share(1), 1000, &Holder::of(me, false).to_string(), now);
    let mut written = 1000;
    for step in 1..20 {
        let now = now + STEP * step;
        for action in sharing.poll(now) {
            assert!(!matches!(action, Action::Remove { .. }), "what it has kept is lost");
            if let Action::Write { key, .. } = action {
                written += 1;
                let is_lost = matches!(key, Key::Share(_));
                let outcome = if is_lost { Outcome::Unknown } else { Outcome::Written(written) };
                sharing.handle_written(key, outcome, now);
            }
        }
    }
}

#[test]
fn a_new_member_relieves_those_that_stand_by_for_too_many_once_it_has_the_topics() {
    let standing = |me| Options { standby: true, ..options(me, 12) };
    let mut lab = Lab::new([standing(1), standing(2)]);
    lab.pass(10);
    lab.join(standing(3));
    lab.pass(30);
    let stands_by = |member: usize| {
        let me = lab.members[member].options.me;
        let is_its = |(key, (_, text)): &(&Key, &(u64, String))| {
            matches!(key, Key::Standby(_)) && *text == format!("{me} ready")
        };
        lab.entries.iter().filter(is_its).count()
    };
    let parts: Vec<usize> = (0..3).map(stands_by).collect();
    assert_eq!(parts, [4, 4, 4]);
}
