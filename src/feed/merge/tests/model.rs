//! A model check: random interleavings of lines against a reference that sees everything.

use std::cell::Cell;
use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::feed::merge::holes::PATIENCE;

/// An update as the venue sends it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sent {
    topic: usize,
    generation: u32,
    first: u64,
    last: u64,
}

/// What may happen. Lines and topics are taken modulo their number.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The venue sends an update of this many numbers.
    Send {
        topic: u8,
        numbers: u8,
    },
    /// A line brings the next updates that it has not brought yet.
    Bring {
        line: u8,
        topic: u8,
        updates: u8,
    },
    /// The next update is lost on a line.
    Lose {
        line: u8,
        topic: u8,
    },
    /// A line brings an update again.
    Repeat {
        line: u8,
        topic: u8,
    },
    /// A line brings two updates in the wrong order.
    Swap {
        line: u8,
        topic: u8,
    },
    /// The socket of a line ends, and perhaps the next one is open at once, with this many old updates.
    Cut {
        line: u8,
        reopens: bool,
        old: u8,
    },
    /// A new line begins to replace a line, with this many old updates. It does once it has joined both topics.
    Rotate {
        line: u8,
        old: u8,
    },
    /// The venue begins the numbers of topic 1 anew.
    Restart,
    Pass(u16),
    /// A slow handler: the shard reads nothing for this time, and then goes on.
    Hold(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let byte = any::<u8>;
    prop_oneof![
        8 => (byte(), 1u8..4).prop_map(|(topic, numbers)| Step::Send { topic, numbers }),
        12 => (byte(), byte(), 1u8..4).prop_map(|(line, topic, updates)| Step::Bring { line, topic, updates }),
        1 => (byte(), byte()).prop_map(|(line, topic)| Step::Lose { line, topic }),
        1 => (byte(), byte()).prop_map(|(line, topic)| Step::Repeat { line, topic }),
        1 => (byte(), byte()).prop_map(|(line, topic)| Step::Swap { line, topic }),
        1 => (byte(), any::<bool>(), 0u8..4).prop_map(|(line, reopens, old)| Step::Cut { line, reopens, old }),
        1 => (byte(), 0u8..4).prop_map(|(line, old)| Step::Rotate { line, old }),
        1 => prop::bool::weighted(0.1).prop_map(|restarts| if restarts { Step::Restart } else { Step::Pass(1) }),
        3 => (1u16..400).prop_map(Step::Pass),
        1 => (1u16..2_000).prop_map(Step::Hold),
    ]
}

/// A line as the reference sees it.
#[derive(Clone, Copy, Default)]
struct Leg {
    is_open: bool,
    /// The next update that it brings, by topic.
    at: [usize; 2],
    /// The generation that it brought last, since its socket is open; that of the opening at first, if it is known.
    generation: [Option<u32>; 2],
    /// One more than the last number that it brought, since its socket is open.
    next: [Option<u64>; 2],
    /// The first number that it brought of topic 0, since its socket is open.
    first: Option<u64>,
    /// One more than the newest number of topic 0 that any line had brought when it was asked for on this one.
    asked_at: Option<u64>,
}

/// The venue, the lines, and what was delivered.
struct World {
    merge: Merge<Sent>,
    now: Instant,
    /// When the shard read again, after it had stopped.
    resumed: Instant,
    sent: [Vec<Sent>; 2],
    legs: Vec<Leg>,
    /// The numbers that a line has brought, of topic 0, which never begins anew.
    brought: BTreeSet<u64>,
    /// The line that is being replaced, and the new one.
    rotation: Option<(usize, usize)>,
    /// The numbers that an old line was still to bring when a new one took its place: those lines that have the topic bring
    /// them, unless they lose them. Of topic 0.
    owed: BTreeSet<u64>,
    hand_overs: u64,
    /// Whether sockets end. A line that comes back cannot know whether the numbers began anew meanwhile: then the order of
    /// topic 1 is not checked.
    has_cuts: bool,
    /// The newest that was delivered or reported, by topic: generation, and one more than the last number.
    at: [Option<(u32, u64)>; 2],
}

impl World {
    /// A world with this number of open lines, and a number for one more.
    fn new(lines: u8) -> World {
        let (mut merge, now) = (Merge::new(), Instant::now());
        (0..lines).for_each(|line| merge.open(line, now));
        // They are open before the venue begins anew, so that its mark is on the first that they bring.
        let open = Leg { is_open: true, generation: [Some(0); 2], ..Leg::default() };
        let mut legs = vec![open; lines.into()];
        legs.push(Leg::default());
        World {
            merge,
            now,
            resumed: now,
            sent: Default::default(),
            legs,
            brought: BTreeSet::new(),
            rotation: None,
            owed: BTreeSet::new(),
            hand_overs: 0,
            has_cuts: true,
            at: [None; 2],
        }
    }

    /// Applies a step of a script, and hands over if that has come to be possible.
    fn apply(&mut self, step: Step) {
        self.apply_one(step);
        self.hand_over();
    }

    /// Applies a step to the merge and to the reference. Over 40 lines: one arm for each kind of step.
    fn apply_one(&mut self, step: Step) {
        let lines = self.legs.len();
        let place = |line: u8, topic: u8| (usize::from(line) % lines, usize::from(topic) % 2);
        match step {
            Step::Send { topic, numbers } => {
                let topic = usize::from(topic) % 2;
                let sent = &mut self.sent[topic];
                let (generation, first) =
                    sent.last().map_or((0, 10), |sent| (sent.generation, sent.last + 1));
                let last = first + u64::from(numbers) - 1;
                sent.push(Sent { topic, generation, first, last });
            }
            Step::Bring { line, topic, updates } => {
                let (line, topic) = place(line, topic);
                (0..updates).for_each(|_| self.bring(line, topic, 0, 1));
            }
            Step::Lose { line, topic } => {
                let (line, topic) = place(line, topic);
                let end = self.sent[topic].len();
                self.miss(line, topic);
                self.legs[line].at[topic] = (self.legs[line].at[topic] + 1).min(end);
            }
            Step::Repeat { line, topic } => {
                let (line, topic) = place(line, topic);
                if self.legs[line].next[topic].is_some() {
                    self.bring(line, topic, -1, 0);
                }
            }
            Step::Swap { line, topic } => {
                let (line, topic) = place(line, topic);
                let at = self.legs[line].at[topic];
                // Not across the beginning of new numbers, which do not say whether they are old.
                let both = self.sent[topic].get(at).zip(self.sent[topic].get(at + 1));
                if both.is_some_and(|(one, other)| one.generation == other.generation) {
                    self.miss(line, topic);
                    self.bring(line, topic, 1, 0);
                    self.bring(line, topic, 0, 2);
                }
            }
            Step::Cut { line, reopens, old } => {
                let line = usize::from(line) % lines;
                self.owed.clear();
                self.close(line);
                if reopens {
                    self.open(line, old);
                    for topic in 0..2 {
                        (0..old).for_each(|_| self.bring(line, topic, 0, 1));
                    }
                }
            }
            Step::Rotate { line, old } => self.rotate(usize::from(line) % lines, old),
            Step::Restart
                if !self.has_cuts && self.sent[1].last().is_some_and(|it| it.generation > 0) => {}
            Step::Restart => {
                let generation = self.sent[1].last().map_or(0, |sent| sent.generation + 1);
                self.sent[1].push(Sent { topic: 1, generation, first: 1, last: 1 });
            }
            Step::Pass(millis) => {
                let end = self.now + Duration::from_millis(millis.into());
                while let Some(at) = self.merge.poll_timeout().filter(|at| *at <= end) {
                    self.now = self.now.max(at);
                    self.merge.handle_timeout(self.now);
                    self.check();
                }
                self.now = end;
            }
            Step::Hold(millis) => {
                self.merge.suspend(self.now);
                self.now += Duration::from_millis(millis.into());
                self.resumed = self.now;
                self.merge.resume(self.now);
            }
        }
        self.check();
    }

    fn close(&mut self, line: usize) {
        self.merge.close(line as u8, self.now);
        self.legs[line] = Leg::default();
        self.rotation.take_if(|(old, new)| *old == line || *new == line);
        self.check();
    }

    /// Opens a line, which will bring this many old updates.
    fn open(&mut self, line: usize, old: u8) {
        self.merge.open(line as u8, self.now);
        let at = [0, 1].map(|topic| self.sent[topic].len().saturating_sub(old.into()));
        (0..2).for_each(|slot| self.merge.ask(line as u8, slot));
        let asked_at = Some(self.brought.last().map_or(0, |newest| newest + 1));
        self.legs[line] = Leg { is_open: true, at, asked_at, ..Leg::default() };
    }

    /// Notes that a line brings its next update of a topic too late or never.
    fn miss(&mut self, line: usize, topic: usize) {
        let leg = &self.legs[line];
        if topic == 0
            && leg.is_open
            && let Some(sent) = self.sent[0].get(leg.at[0])
        {
            self.owed.retain(|number| !(sent.first..=sent.last).contains(number));
        }
    }

    /// Begins to replace a line, unless that is under way. Where sockets do not end, a new line comes when all lines have
    /// followed the venue, and brings none of the numbers before.
    fn rotate(&mut self, old: usize, updates: u8) {
        let Some(new) = self.legs.iter().position(|leg| !leg.is_open) else { return };
        if self.rotation.is_some() || !self.legs[old].is_open {
            return;
        }
        let newest = self.sent[1].last().map_or(0, |sent| sent.generation);
        let is_behind = |leg: &Leg| leg.is_open && leg.generation[1] != Some(newest);
        if !self.has_cuts && self.legs.iter().any(is_behind) {
            return;
        }
        self.open(new, updates);
        if !self.has_cuts {
            let is_old = |sent: &Sent| sent.generation < newest;
            let begin = self.sent[1].partition_point(is_old);
            let leg = &mut self.legs[new];
            (leg.at[1], leg.generation) = (leg.at[1].max(begin), [Some(0), Some(newest)]);
        }
        self.rotation = Some((old, new));
    }

    /// Closes a line that is being replaced, once the new one has joined.
    fn hand_over(&mut self) {
        let Some((old, new)) = self.rotation else { return };
        let joined = |topic| self.merge.joined(new as u8, topic) == Joined::Yes;
        if joined(0) && joined(1) {
            let (next, leg) = (self.at[0].map_or(0, |(_, next)| next), self.legs[new]);
            let pending = (0..).zip(&self.sent[0]).skip(self.legs[old].at[0]);
            for (at, sent) in pending {
                // What the new one has lost it does not bring, but for what was sent before it joined.
                let is_lost = at < leg.at[0] && leg.first.is_some_and(|first| first <= sent.first);
                if !is_lost {
                    self.owed.extend((sent.first..=sent.last).filter(|number| *number >= next));
                }
            }
            self.hand_overs += 1;
            self.close(old);
        }
    }

    /// Lets a line bring the update that is `ahead` of its next one, and moves it by `steps`.
    fn bring(&mut self, line: usize, topic: usize, ahead: isize, steps: usize) {
        let leg = &mut self.legs[line];
        let Some(at) = leg.at[topic].checked_add_signed(ahead).filter(|_| leg.is_open) else {
            return;
        };
        let Some(&sent) = self.sent[topic].get(at) else { return };
        leg.at[topic] += steps;
        let before = leg.generation[topic];
        leg.generation[topic] = before.max(Some(sent.generation));
        leg.next[topic] = leg.next[topic].max(Some(sent.last + 1));
        if topic == 0 {
            leg.first.get_or_insert(sent.first);
        }
        let mut sequence = Sequence::contiguous(sent.first, sent.last);
        if before.is_some_and(|before| before < sent.generation) {
            sequence = sequence.restarted();
        }
        if topic == 0 {
            self.brought.extend(sent.first..=sent.last);
        }
        let (line, snapshot) = (line as u8, false);
        let brought =
            Brought { line, slot: topic as Slot, sequence, snapshot, bytes: 1, at: self.now };
        if let Some(sent) = judge_and_take(&mut self.merge, &brought, sent) {
            assert!(self.merge.outputs.is_empty());
            self.delivered(sent);
        }
        self.check();
    }

    /// In the end one line alone carries both topics, for longer than an unmarked restart takes to show.
    fn end(mut self) {
        self.rotation = None;
        for line in 0..self.legs.len() as u8 {
            self.apply(Step::Cut { line, reopens: line == 0, old: 0 });
        }
        for _ in 0..8 {
            for topic in 0..2 {
                self.apply(Step::Send { topic, numbers: 1 });
                self.apply(Step::Bring { line: 0, topic, updates: 1 });
            }
            (0..5).for_each(|_| self.apply(Step::Pass(200)));
        }
        for topic in 0..2 {
            let newest = self.sent[topic].last().map(|sent| (sent.generation, sent.last + 1));
            assert_eq!(self.at[topic], newest, "all is delivered in the end, of topic {topic}");
        }
    }

    /// Each number once and in order, or in a gap.
    fn delivered(&mut self, sent: Sent) {
        let topic = sent.topic;
        if let Some((generation, next)) = self.at[topic] {
            let is_old = sent.generation < generation;
            assert!(!is_old || topic == 1 && self.has_cuts, "{sent:?} is old");
            let is_next = sent.first <= next && next <= sent.last;
            assert!(
                is_next || sent.generation > generation || topic == 1 && self.has_cuts,
                "{sent:?} after {next}"
            );
        }
        self.at[topic] = Some((sent.generation, sent.last + 1));
    }

    fn check(&mut self) {
        while let Some(output) = self.merge.poll_output() {
            match output {
                Output::Update(sent) => self.delivered(sent),
                Output::Gap(lost) => self.lost(lost),
            }
        }
        // No hole is kept that no line can fill.
        for slot in &self.merge.holes {
            let deadline = self.merge.deadline(*slot).expect("a line is behind");
            assert!(deadline > self.now);
        }
    }

    fn lost(&mut self, lost: Lost) {
        let Missing::Range { from, to } = lost.missing else {
            assert_eq!((lost.missing, lost.slot), (Missing::Unknown, 1), "only after a restart");
            return;
        };
        let at = self.at[lost.slot as usize];
        let (generation, next) = at.expect("there is nothing to miss before the first");
        let is_checked = lost.slot == 0 || !self.has_cuts;
        assert!(from == next || !is_checked, "a gap from {from} behind what ends with {next}");
        assert!(from <= to);
        self.at[lost.slot as usize] = Some((generation, to + 1));
        if lost.slot == 0 {
            let known: Vec<_> = self.brought.range(from..=to).collect();
            assert!(known.is_empty(), "{known:?} were brought, and reported as missing");
            // Of one that has brought nothing yet, what was sent since it was asked may be under way.
            let behind = |leg: &Leg| leg.next[0].or(leg.asked_at).is_some_and(|next| next <= from);
            let waited = self.now.duration_since(lost.next_at.max(self.resumed));
            let owed: Vec<_> = self.owed.range(from..=to).collect();
            assert!(
                waited >= PATIENCE || owed.is_empty(),
                "{owed:?} were lost with the line that was replaced"
            );
            assert!(
                waited >= PATIENCE || !self.legs.iter().any(behind),
                "{from} to {to} is given up after {waited:?}"
            );
        }
    }
}

/// Whatever the lines lose, repeat and mix up, whichever is replaced and however slow the handler is: each number is delivered
/// once and in order, or reported as missing, and only if no line has brought it or could still bring it in time.
///
/// `PROPTEST_CASES` asks for more: 5,000 are at least a million steps.
#[test]
fn each_number_is_delivered_once_and_in_order_or_reported() {
    let cases = ProptestConfig::default().cases.max(500);
    let config = ProptestConfig { source_file: Some(file!()), cases, ..ProptestConfig::default() };
    let scripts = (1u8..4, any::<bool>(), prop::collection::vec(step(), 1..500));
    let (steps, hand_overs) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(config);
    let result = runner.run(&scripts, |(lines, has_cuts, script)| {
        let mut world = World { has_cuts, ..World::new(lines) };
        for step in script.iter().filter(|step| has_cuts || !matches!(step, Step::Cut { .. })) {
            world.apply(*step);
            steps.set(steps.get() + 1);
        }
        hand_overs.set(hand_overs.get() + world.hand_overs);
        world.end();
        Ok(())
    });
    if let Err(err) = result {
        panic!("{err}");
    }
    let (steps, hand_overs) = (steps.get(), hand_overs.get());
    println!("{cases} scripts, {steps} steps, {hand_overs} hand-overs");
    assert!(steps >= 200 * u64::from(cases), "{steps} steps");
    assert!(hand_overs >= u64::from(cases), "{hand_overs} hand-overs");
}

/// What the property has found.
#[test]
fn old_numbers_of_several_sockets_across_holds_are_no_restart() {
    let mut world = World::new(1);
    let cut = |old| Step::Cut { line: 0, reopens: true, old };
    let send = Step::Send { topic: 0, numbers: 1 };
    let bring = Step::Bring { line: 0, topic: 0, updates: 1 };
    let hold = [Step::Hold(1_374), send, Step::Hold(1_796), Step::Hold(1_830)];
    [send, bring, cut(1)].into_iter().chain(hold).for_each(|step| world.apply(step));
    world.apply(cut(2));
    assert_eq!(world.at[0], Some((0, 12)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(500)))]

    /// A line is replaced by another one that has joined: nothing is lost or doubled, however far apart they are.
    #[test]
    fn a_hand_over_to_a_line_that_has_joined_loses_nothing(
        old_lag in 0usize..30,
        new_lag in 0usize..30,
        opens in 40usize..60,
        burst in 1usize..4,
    ) {
        let mut world = World::new(2);
        world.apply(Step::Cut { line: 1, reopens: false, old: 0 });
        for tick in 0..200 {
            if tick == opens {
                world.apply(Step::Cut { line: 1, reopens: true, old: new_lag.min(3) as u8 });
                world.legs[1].at[0] = tick - new_lag;
            }
            world.apply(Step::Send { topic: 0, numbers: 1 });
            for (line, lag) in [(0, old_lag), (1, new_lag)] {
                if (tick + 1).is_multiple_of(burst) || tick == 199 {
                    while world.legs[line].is_open && world.legs[line].at[0] + lag <= tick {
                        world.bring(line, 0, 0, 1);
                    }
                }
            }
            if world.legs[0].is_open && world.merge.joined(1, 0) == Joined::Yes {
                world.apply(Step::Cut { line: 0, reopens: false, old: 0 });
            }
            world.apply(Step::Pass(1));
        }
        prop_assert!(!world.legs[0].is_open, "the new line has joined");
        prop_assert!(world.merge.topics[0].reported.is_none());
        prop_assert_eq!(world.at[0].unwrap().1 + new_lag as u64, 210);
    }
}
