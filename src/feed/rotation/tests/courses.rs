//! Random courses of two lines: whatever happens to them, the rotations end, each once, and one at a time.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// How rotations have ended.
#[derive(Debug, Default)]
struct Ends {
    replaced: u32,
    closed_first: u32,
    lost: u32,
    failed: u32,
}

/// Two lines to which something happens, and what is done for their rotations.
struct Course {
    life: Life,
    rng: SmallRng,
    under_way: Option<(u8, u8)>,
    ends: Ends,
    /// Where it is, for a failure.
    at: String,
}

impl Course {
    fn new(seed: u64) -> Course {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut rule = Rotate::at_age(300 * SECOND);
        rule.breaks_first = rng.random_bool(0.2);
        let life = Life::new(rule, 2, 4);
        Course { life, rng, under_way: None, ends: Ends::default(), at: format!("seed {seed}") }
    }

    /// Has something happen to one of the lines, or time pass.
    fn accident(&mut self) {
        let Course { life, rng, .. } = self;
        let leg = life.legs[rng.random_range(0..life.legs.len())];
        match rng.random_range(0..24) {
            0 if leg.is_open => life.lose(leg.line),
            1 => life.ask(leg.line),
            2 if self.under_way.is_some_and(|(_, new)| new == leg.line) => {
                life.rotation.refused(leg.line, 0, &Refusal::for_now("later"), u64::MAX);
            }
            3 => life.rotation.failed(leg.line),
            4 => life.leg(leg.line).waits_for_socket = !leg.is_open && rng.random_bool(0.5),
            5 => life.rotation.hold(rng.random_bool(0.3), life.now),
            6 if rng.random_bool(0.2) => life.rotation.pause(true),
            7..=9 => life.rotation.pause(false),
            10..=13 if !leg.is_open => {
                life.leg(leg.line).waits_for_socket = false;
                life.active(leg.line);
            }
            14 => life.join(leg.line, 0..rng.random_range(0..5), Joined::Yes),
            15..=18 => (0..2).for_each(|slot| life.tick(leg.line, slot)),
            _ => life.pass(SECOND.mul_f64(rng.random_range(0.0..20.0))),
        }
        life.poll();
    }

    /// Does what the rotations need, as a shard does.
    fn obey(&mut self) {
        while let Some((_, step)) = self.life.next() {
            let what = format!("{}: {step:?} in {:?}", self.at, self.under_way);
            match step {
                Step::Start { old, new } => {
                    assert_eq!(self.under_way.replace((old, new)), None, "{what}");
                    assert!(self.life.leg(old).is_open, "{what}");
                }
                Step::Break { line, new } => {
                    let before = self.under_way.replace((line, line));
                    assert_eq!(before, new.map(|new| (line, new)), "{what}");
                    new.into_iter().for_each(|new| self.life.end(new));
                    self.life.lose(line);
                }
                Step::HandOver { old, new } => {
                    assert_eq!(self.under_way, Some((old, new)), "{what}");
                    let under_way = &self.life.rotation.under_way;
                    let waits = matches!(under_way, Some(it) if it.old == old);
                    assert!(waits && self.life.leg(new).is_active, "{what}");
                    self.life.end(old);
                }
                Step::Done { .. } | Step::Fail { .. } => self.end(&step, &what),
            }
        }
    }

    /// Notes the end of a rotation.
    fn end(&mut self, step: &Step, what: &str) {
        let (Step::Done { from: old, to: new, .. } | Step::Fail { old, new, .. }) = *step else {
            return;
        };
        assert_eq!(self.under_way.take(), Some((old, new)), "{what}");
        match step {
            Step::Fail { why, .. } => {
                *(if *why == Why::Lost { &mut self.ends.lost } else { &mut self.ends.failed }) += 1;
                if old != new {
                    assert!(self.life.leg(old).is_open, "{what}");
                    self.life.end(new);
                }
            }
            _ if old == new => self.ends.closed_first += 1,
            _ => {
                self.ends.replaced += 1;
                if self.life.legs.iter().any(|leg| leg.line == old) {
                    self.life.end(old);
                }
            }
        }
    }

    /// Without further accidents it ends.
    fn calm_down(&mut self) {
        self.life.rotation.hold(false, self.life.now);
        self.life.rotation.pause(false);
        for _ in 0..20 {
            for leg in self.life.legs.clone().into_iter().filter(|leg| !leg.is_open) {
                self.life.leg(leg.line).waits_for_socket = false;
                self.life.active(leg.line);
            }
            self.obey();
            // Less than the age, so that it is no new one.
            self.life.pass(10 * SECOND);
            self.obey();
        }
    }
}

#[test]
fn rotations_end_whatever_happens_to_the_lines() {
    let mut ends = Ends::default();
    for seed in 0..400 {
        let mut course = Course::new(seed);
        for step in 0..600 {
            course.at = format!("seed {seed}, step {step}");
            course.accident();
            course.obey();
            let is_under_way = course.life.rotation.under_way.is_some();
            assert_eq!(is_under_way, course.under_way.is_some(), "{}", course.at);
        }
        course.calm_down();
        let adds = |it: &&UnderWay| it.old != it.new;
        let added = course.life.rotation.under_way.iter().filter(adds).count();
        assert_eq!(course.life.legs.len(), 2 + added, "seed {seed}: a line is left over");
        let Ends { replaced, closed_first, lost, failed } = course.ends;
        ends.replaced += replaced;
        ends.closed_first += closed_first;
        ends.lost += lost;
        ends.failed += failed;
    }
    let Ends { replaced, closed_first, lost, failed } = ends;
    let all = [replaced, closed_first, lost, failed];
    assert!(all.iter().all(|count| *count > 50), "each end occurs: {ends:?}");
}
