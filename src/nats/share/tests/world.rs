//! Members, a bucket between them, and what can happen to both: a world with a true time, which nobody in it knows.

use super::*;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::nats::lease::Holder;

const LEASE: u64 = 5_000;

/// What happens in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Faults {
    /// Members come and leave.
    None,
    /// The same; each share has a standby, and members that are killed.
    Death,
    /// Members are stopped, cut off and killed as well, writes are late or lost, and their answers too.
    Any,
}

pub(super) struct World {
    seed: u64,
    rng: SmallRng,
    faults: Faults,
    calm: bool,
    /// Whether each share has a standby.
    standby: bool,
    /// The true time, in milliseconds.
    now: u64,
    epoch: Instant,
    shares: u32,
    revision: u64,
    entries: BTreeMap<Key, (u64, String)>,
    events: BTreeMap<(u64, u64), (usize, Event)>,
    sequence: u64,
    members: Vec<Process>,
    /// The newest fence of each share.
    fences: BTreeMap<u32, u64>,
    /// The shares whose owner was killed, until they are taken, and when that was.
    orphans: BTreeMap<u32, u64>,
    /// When the owner of each share stopped to publish it, until another one publishes.
    stopped: BTreeMap<u32, u64>,
    /// The shares whose owner was subscribed once.
    subscribed: BTreeSet<u32>,
    pub(super) steps: u64,
    /// How often a lease named another member that was alive.
    pub(super) handed_over: u64,
    /// How often any share changed its state on any member.
    pub(super) moves: u64,
}

struct Process {
    id: MemberId,
    sharing: Sharing,
    /// How far its clock is from that of the world, and how much it is too fast, in millionths.
    offset: u64,
    drift: i64,
    is_dead: bool,
    has_left: bool,
    is_leaving: bool,
    stopped_until: u64,
    cut_until: u64,
    /// What the watch brings, and when.
    watch: VecDeque<(u64, Key, u64, String)>,
    /// The number of the write of each key that waits for an answer.
    waiting: BTreeMap<Key, u64>,
    /// The shares whose topics are confirmed.
    confirmed: BTreeSet<u32>,
    wanted: BTreeMap<u32, u64>,
    roles: BTreeMap<u32, Role>,
    /// Since when it has received and kept, or published, what the venue sends of a share.
    kept_since: BTreeMap<u32, u64>,
}

#[derive(Clone, Debug)]
enum Event {
    Poll,
    Apply { write: u64, key: Key, text: String, expected: Option<u64>, answer_lost: bool },
    Answer { write: u64, key: Key, outcome: Outcome },
    Added { share: u32, added: u64 },
    Settled { share: u32, settled: u64 },
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults) -> World {
        let mut rng = SmallRng::seed_from_u64(seed);
        let shares = if rng.random_bool(0.1) { 1 } else { rng.random_range(2..13) };
        let members = rng.random_range(2..5);
        let mut world = World {
            seed,
            rng,
            faults,
            calm: false,
            standby: seed.is_multiple_of(3),
            now: 0,
            epoch: Instant::now(),
            shares,
            revision: 0,
            entries: BTreeMap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            members: Vec::new(),
            fences: BTreeMap::new(),
            orphans: BTreeMap::new(),
            stopped: BTreeMap::new(),
            subscribed: BTreeSet::new(),
            steps: 0,
            handed_over: 0,
            moves: 0,
        };
        (0..members).for_each(|_| world.join());
        world
    }

    /// Whether the next owner is subscribed before the old one stops.
    fn overlaps(&self) -> bool {
        self.faults != Faults::Any || self.seed % 3 != 1
    }

    /// A process starts.
    fn join(&mut self) {
        let id = MemberId(self.rng.random_range(1..u64::MAX));
        let standby = self.faults == Faults::Death || self.standby;
        let sharing = Sharing::new(Options {
            me: id,
            plan: 1,
            shares: self.shares,
            lease: Duration::from_millis(LEASE),
            most: u32::MAX,
            overlaps: self.overlaps(),
            standby,
        });
        let watch = self.entries.iter();
        let mut watch: VecDeque<_> = watch
            .map(|(key, (revision, text))| (self.now, *key, *revision, text.clone()))
            .collect();
        watch.make_contiguous().sort_by_key(|entry| entry.2);
        self.members.push(Process {
            id,
            sharing,
            offset: self.rng.random_range(0..1_000_000_000),
            drift: self.rng.random_range(-5_000..5_000),
            is_dead: false,
            has_left: false,
            is_leaving: false,
            stopped_until: 0,
            cut_until: 0,
            watch,
            waiting: BTreeMap::new(),
            confirmed: BTreeSet::new(),
            wanted: BTreeMap::new(),
            roles: BTreeMap::new(),
            kept_since: BTreeMap::new(),
        });
        self.push(self.members.len() - 1, self.now, Event::Poll);
    }

    fn push(&mut self, member: usize, at: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((at, self.sequence), (member, event));
    }

    /// Returns the time by the clock of a member.
    fn local(&self, member: usize) -> Instant {
        let Process { offset, drift, .. } = &self.members[member];
        let run = (i128::from(self.now) * i128::from(1_000_000 + drift) / 1000) as u64;
        self.epoch + Duration::from_millis(*offset) + Duration::from_micros(run)
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, time: u64) {
        let end = self.now + time;
        while let Some(((at, sequence), _)) = self.events.first_key_value() {
            let key = (*at, *sequence);
            if key.0 > end {
                break;
            }
            let (member, event) = self.events.remove(&key).unwrap();
            self.now = self.now.max(key.0);
            self.step(member, event);
        }
        self.now = end;
    }

    fn step(&mut self, member: usize, event: Event) {
        self.steps += 1;
        if let Event::Apply { write, key, text, expected, answer_lost } = event {
            self.apply(member, write, key, text, expected, answer_lost);
            return;
        }
        let process = &self.members[member];
        if process.is_dead || process.has_left {
            return;
        }
        if process.stopped_until > self.now {
            self.push(member, process.stopped_until, event);
            return;
        }
        let now = self.local(member);
        let true_now = self.now;
        // Entries and answers come on one connection, and neither waits for the other.
        let process = &mut self.members[member];
        while process.watch.front().is_some_and(|entry| entry.0 <= true_now) {
            let (_, key, revision, text) = process.watch.pop_front().unwrap();
            process.sharing.handle_entry(key, revision, &text, now);
        }
        match event {
            Event::Poll => {
                let next = self.now + self.rng.random_range(50..250);
                self.push(member, next, Event::Poll);
                if !self.calm {
                    self.disturb(member);
                }
            }
            Event::Answer { write, key, outcome } => {
                if process.waiting.get(&key) == Some(&write) {
                    process.waiting.remove(&key);
                    process.sharing.handle_written(key, outcome, now);
                }
            }
            Event::Added { share, added } if process.wanted.get(&share) == Some(&added) => {
                process.confirmed.insert(share);
                if process.roles.get(&share).is_some_and(|role| *role != Role::None) {
                    process.kept_since.entry(share).or_insert(true_now);
                }
                process.sharing.handle_added(share, added);
                if process.sharing.owns(share, now) {
                    self.subscribed.insert(share);
                }
            }
            Event::Settled { share, settled } => process.sharing.handle_settled(share, settled),
            Event::Added { .. } | Event::Apply { .. } => {}
        }
        for action in self.members[member].sharing.poll(now) {
            self.act(member, action);
        }
        self.check();
    }

    /// Something happens to a member, or to the world.
    fn disturb(&mut self, member: usize) {
        let living = self.members.iter().filter(|it| !it.is_dead && !it.is_leaving).count();
        if living < 6 && self.rng.random_bool(0.004) {
            self.join();
        }
        let deadline = self.local(member) + Duration::from_secs(40);
        if living > 1 && self.rng.random_bool(0.003) {
            self.members[member].is_leaving = true;
            self.members[member].sharing.leave(deadline);
        }
        if self.faults != Faults::Any {
            return;
        }
        let now = self.now;
        let time = self.rng.random_range(0..4 * LEASE);
        if self.rng.random_bool(0.01) {
            self.members[member].stopped_until = now + time;
        }
        if self.rng.random_bool(0.01) {
            self.members[member].cut_until = now + time;
        }
        if living > 1 && self.rng.random_bool(0.002) {
            self.members[member].is_dead = true;
        }
    }

    fn act(&mut self, member: usize, action: Action) {
        let delay = self.delay();
        match action {
            Action::Write { key, text, expected } => self.write(member, key, text, expected),
            Action::Purge(id) => drop(self.entries.remove(&Key::Member(id))),
            Action::Add { share, added } => {
                self.members[member].wanted.insert(share, added);
                let at = self.now + 10 * delay;
                self.push(member, at, Event::Added { share, added });
            }
            Action::Remove { share } => {
                self.members[member].wanted.remove(&share);
                self.members[member].confirmed.remove(&share);
                self.members[member].kept_since.remove(&share);
            }
            Action::Settle { share, settled } => {
                let role = self.members[member].roles.get(&share).copied();
                self.note_stop(member, share, role, Role::Standby);
                // A broker that is slow, or stores nothing.
                let is_slow = !self.calm && self.seed.is_multiple_of(4);
                let delay = match self.rng.random_range(0..if is_slow { 3 } else { 20 }) {
                    0 => self.rng.random_range(0..LEASE),
                    1 => return,
                    _ => delay,
                };
                self.push(member, self.now + delay, Event::Settled { share, settled });
            }
            Action::Role { share, role } => self.set_role(member, share, role),
            Action::Report { .. } => self.moves += 1,
            Action::Refused { member: other } => panic!("{} refused for {other}", self.seed),
            Action::Left => self.members[member].has_left = true,
        }
    }

    fn set_role(&mut self, member: usize, share: u32, role: Role) {
        let before = self.members[member].roles.insert(share, role);
        self.note_stop(member, share, before, role);
        if role == Role::None {
            self.members[member].kept_since.remove(&share);
        }
        let now = self.local(member);
        if let Role::Owner { fence, .. } = role
            && self.members[member].sharing.owns(share, now)
        {
            let newest = self.fences.entry(share).or_default();
            assert!(fence >= *newest, "seed {}: fence {fence} after {newest}", self.seed);
            let is_new = fence > std::mem::replace(newest, fence);
            if let Some(since) = self.stopped.remove(&share) {
                self.assert_kept(member, share, since);
            }
            if let Some(since) = self.orphans.remove(&share).filter(|_| is_new) {
                self.assert_kept(member, share, since);
            }
        }
    }

    /// Notes when the owner of a share stops to publish it.
    fn note_stop(&mut self, member: usize, share: u32, before: Option<Role>, role: Role) {
        let (Some(Role::Owner { fence, .. }), Role::Standby | Role::None) = (before, role) else {
            return;
        };
        // Another one may have taken it from a member that was cut off.
        let is_newest = self.fences.get(&share) == Some(&fence);
        let is_cut = self.members[member].cut_until >= self.now;
        if is_newest && !is_cut && self.faults != Faults::Any {
            self.stopped.entry(share).or_insert(self.now);
        }
    }

    /// Who begins to publish a share has all that the venue sent since the one before stopped.
    fn assert_kept(&self, member: usize, share: u32, since: u64) {
        let kept = self.members[member].kept_since.get(&share);
        assert!(
            kept.is_some_and(|kept| *kept <= since),
            "seed {}: nobody has published {share} since {since}, and who does so from {} on has it since {kept:?}",
            self.seed,
            self.now
        );
    }

    /// Returns the time that something takes, in milliseconds.
    fn delay(&mut self) -> u64 {
        self.rng.random_range(1..40)
    }

    fn write(&mut self, member: usize, key: Key, text: String, expected: Option<u64>) {
        self.sequence += 1;
        let write = self.sequence;
        let waiting = self.members[member].waiting.insert(key, write);
        let is_last = matches!(key, Key::Member(_));
        assert!(waiting.is_none() || is_last, "two writes of {key} at a time");
        let is_cut = self.members[member].cut_until > self.now;
        let is_faulty = self.faults == Faults::Any && !self.calm;
        let is_lost = is_faulty && self.rng.random_bool(0.02)
            || is_cut && !self.calm && self.rng.random_bool(0.5);
        let is_late = is_faulty && self.rng.random_bool(0.02);
        let answer_lost = is_faulty && self.rng.random_bool(0.03);
        let mut at = self.now + self.delay();
        if is_cut {
            at = self.members[member].cut_until + self.delay();
        } else if is_late {
            at += self.rng.random_range(0..3 * LEASE);
        }
        if !is_lost {
            self.push(member, at, Event::Apply { write, key, text, expected, answer_lost });
        }
        let timeout = self.now + LEASE / 3;
        self.push(member, timeout, Event::Answer { write, key, outcome: Outcome::Unknown });
    }

    /// A write reaches the broker.
    fn apply(
        &mut self,
        member: usize,
        write: u64,
        key: Key,
        text: String,
        expected: Option<u64>,
        answer_lost: bool,
    ) {
        let found = self.entries.get(&key).cloned();
        let revision = found.as_ref().map_or(0, |(revision, _)| *revision);
        let fits = expected.is_none_or(|expected| expected == revision);
        let outcome = if fits { self.store(key, text) } else { Outcome::Conflict(found) };
        let at = self.now + self.delay();
        if !answer_lost && self.members[member].cut_until <= at {
            self.push(member, at, Event::Answer { write, key, outcome });
        }
    }

    fn store(&mut self, key: Key, text: String) -> Outcome {
        self.revision += 1;
        let owner = |text: &str| text.parse::<Holder>().ok().and_then(|it| it.member);
        if let (Key::Share(_), Some((_, old))) = (key, self.entries.get(&key)) {
            let (old, new) = (owner(old), owner(&text));
            self.handed_over += u64::from(old.is_some() && new.is_some() && old != new);
        }
        self.entries.insert(key, (self.revision, text.clone()));
        for member in 0..self.members.len() {
            let delay = self.delay();
            let process = &mut self.members[member];
            let last = process.watch.back().map_or(0, |entry| entry.0);
            let at = last.max(self.now + delay).max(process.cut_until);
            process.watch.push_back((at, key, self.revision, text.clone()));
        }
        Outcome::Written(self.revision)
    }

    /// What holds at any moment.
    fn check(&mut self) {
        for share in 1..=self.shares {
            let owners = self.owners(share);
            assert!(owners.len() < 2, "seed {}: {share} is owned by {owners:?}", self.seed);
        }
        if self.faults == Faults::None {
            self.check_leases();
        }
        let is_subscribed =
            |share: &u32| self.members.iter().any(|it| !it.is_dead && it.confirmed.contains(share));
        if self.faults == Faults::None {
            let bare: Vec<_> = self.subscribed.iter().filter(|it| !is_subscribed(it)).collect();
            assert!(bare.is_empty(), "seed {}: {bare:?} at {}", self.seed, self.now);
        }
    }

    /// No lease ends while the broker answers.
    fn check_leases(&self) {
        for (member, process) in self.members.iter().enumerate().filter(|(_, it)| !it.has_left) {
            for (share, part) in (1..).zip(&process.sharing.parts) {
                let is_valid = part.own.is_none_or(|own| self.local(member) < own.until);
                assert!(is_valid, "seed {}: the lease of {share} ends at {}", self.seed, self.now);
            }
        }
    }

    /// Returns the members that publish a share, by their own clocks.
    fn owners(&self, share: u32) -> Vec<MemberId> {
        let owns = |member: &usize| {
            let process = &self.members[*member];
            !process.is_dead
                && !process.has_left
                && process.sharing.owns(share, self.local(*member))
        };
        (0..self.members.len()).filter(owns).map(|member| self.members[member].id).collect()
    }

    /// Ends all faults, and everybody stays.
    pub(super) fn heal(&mut self) {
        self.calm = true;
        let now = self.now;
        for process in &mut self.members {
            process.stopped_until = process.stopped_until.min(now);
            process.cut_until = process.cut_until.min(now);
            // The watch goes on where it was.
            process.watch.iter_mut().for_each(|entry| entry.0 = entry.0.min(now));
        }
        // What was late comes now.
        for (member, event) in self.events.split_off(&(now + 250, 0)).into_values() {
            let at = self.now + self.delay();
            self.push(member, at, event);
        }
        if self.members.iter().all(|it| it.is_dead || it.is_leaving) {
            self.join();
        }
    }

    pub(super) fn kill_one(&mut self) -> usize {
        self.calm = true;
        let living = |it: &Process| !it.is_dead && !it.is_leaving;
        while self.members.iter().filter(|it| living(it)).count() < 3 {
            self.join();
        }
        self.run(60_000);
        self.assert_fair();
        let member = self.members.iter().position(living).unwrap();
        self.members[member].is_dead = true;
        member
    }

    /// Lets time pass until each share has had its owner and its standby for a second, and kills a member at that moment.
    /// Returns how many shares it had. From now on whoever takes one of them has to have what the venue sent since then.
    pub(super) fn kill_when_well(&mut self) -> usize {
        let member = self.victim_when_well();
        self.members[member].is_dead = true;
        self.orphan(member)
    }

    /// The same, but the member is cut off from the broker for some time, and what it writes arrives afterwards.
    pub(super) fn cut_when_well(&mut self) -> usize {
        let member = self.victim_when_well();
        self.members[member].cut_until = self.now + self.rng.random_range(LEASE * 3 / 2..4 * LEASE);
        self.orphan(member)
    }

    /// Notes the shares of a member that publishes no more.
    fn orphan(&mut self, member: usize) -> usize {
        let orphans = self.owned_by(member);
        self.orphans = orphans.into_iter().map(|share| (share, self.now)).collect();
        self.orphans.len()
    }

    /// Lets time pass until all has been well for a second, and returns any member that lives.
    fn victim_when_well(&mut self) -> usize {
        self.calm = true;
        while self.living().len() < 3 {
            self.join();
        }
        let mut since = None;
        let limit = self.now + 120_000;
        while since.is_none_or(|since| self.now < since + 1_000) {
            assert!(self.now < limit, "seed {}: it is never well", self.seed);
            self.run(100);
            since = if self.is_well() { since.or(Some(self.now)) } else { None };
        }
        let living = self.living();
        living[self.rng.random_range(0..living.len())]
    }

    fn living(&self) -> Vec<usize> {
        let living = |it: &usize| !self.members[*it].is_dead && !self.members[*it].is_leaving;
        (0..self.members.len()).filter(living).collect()
    }

    fn is_well(&self) -> bool {
        let stands_by = |it: &Process, share: &u32| {
            !it.is_dead
                && it.kept_since.contains_key(share)
                && it.roles.get(share) == Some(&Role::Standby)
        };
        let settles = |it: &Process| it.sharing.parts.iter().any(|part| part.settling.is_some());
        let is_moving = self.members.iter().any(|it| !it.is_dead && settles(it));
        !is_moving
            && (1..=self.shares).all(|share| {
                self.owners(share).len() == 1 && self.members.iter().any(|it| stands_by(it, &share))
            })
    }

    pub(super) fn owned_by(&self, member: usize) -> Vec<u32> {
        let local = self.local(member);
        (1..=self.shares).filter(|share| self.members[member].sharing.owns(*share, local)).collect()
    }

    pub(super) fn assert_subscribed(&self, shares: &[u32]) {
        for share in shares {
            let standing_by = self.members.iter().any(|it| {
                !it.is_dead
                    && it.confirmed.contains(share)
                    && it.roles.get(share) == Some(&Role::Standby)
            });
            assert!(standing_by, "seed {}: nobody stands by for {share}", self.seed);
        }
    }

    /// Each share has an owner, or has one at once: it may just be handed over.
    pub(super) fn assert_owned_by_now(&mut self) {
        let mut bare: Vec<u32> = (1..=self.shares).collect();
        let end = self.now + 300;
        loop {
            bare.retain(|share| self.owners(*share).is_empty());
            if bare.is_empty() {
                return;
            }
            assert!(self.now < end, "seed {}: nobody owns {bare:?} at {end}", self.seed);
            self.run(10);
        }
    }

    pub(super) fn assert_owned(&self) {
        for share in 1..=self.shares {
            assert_eq!(self.owners(share).len(), 1, "seed {}: owners of {share}", self.seed);
        }
    }

    pub(super) fn assert_fair(&self) {
        self.assert_owned();
        let staying = self.members.iter().filter(|it| !it.is_dead && !it.is_leaving);
        let parts: Vec<usize> = staying
            .map(|it| (1..=self.shares).filter(|share| self.owners(*share) == [it.id]).count())
            .collect();
        let (least, most) = (parts.iter().min().unwrap(), parts.iter().max().unwrap());
        assert!(most - least <= 1, "seed {}: {parts:?}", self.seed);
    }
}
