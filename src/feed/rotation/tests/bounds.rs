//! How long rotations take at most: two lines are to be replaced, in every combination of what may keep them from it.

use super::*;

/// What becomes of the dials of new lines, and of those that were closed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dials {
    /// The socket is open and active after 2 s.
    Open,
    /// Nothing, for ever.
    Hang,
    /// Each fails, after 20 s.
    Fail,
    /// They wait for the permit of a socket, but for those of a line that was closed first.
    WaitForSocket,
    /// The socket is open after 2 s, and lost by the deadlines of its session.
    NoAnswer,
    /// The socket is active after 2 s, and lost after 3 s.
    AreLost,
}

/// How the shard holds its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Never,
    /// For a half of each second.
    Often,
    /// For 20 s, with a second in between.
    Long,
}

/// What the topics bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Data {
    OnBoth,
    None,
    OnOldAlone,
    /// Only one of them has joined, for 10 s, and then the other one.
    InTurn,
}

/// The other line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Twin {
    Open,
    /// It is dialled for ever.
    Down,
    /// It has ended: the venue has refused it for good.
    Refused,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    dials: Dials,
    holds: Holds,
    data: Data,
    twin: Twin,
    breaks_first: bool,
}

impl Case {
    fn all() -> Vec<Case> {
        use Dials::{AreLost, Fail, Hang, NoAnswer, Open, WaitForSocket};
        let mut all = Vec::new();
        for dials in [Open, Hang, Fail, WaitForSocket, NoAnswer, AreLost] {
            for holds in [Holds::Never, Holds::Often, Holds::Long] {
                for data in [Data::OnBoth, Data::None, Data::OnOldAlone, Data::InTurn] {
                    for twin in [Twin::Open, Twin::Down, Twin::Refused] {
                        for breaks_first in [false, true] {
                            all.push(Case { dials, holds, data, twin, breaks_first });
                        }
                    }
                }
            }
        }
        all
    }

    /// Whether a line that was closed first never comes back.
    fn stays_closed(self) -> bool {
        self.breaks_first && matches!(self.dials, Dials::Hang | Dials::Fail | Dials::NoAnswer)
    }

    /// Returns the number of rotations that begin.
    fn rotations(self) -> usize {
        match self.twin {
            // The twin would be the last one.
            Twin::Open if self.stays_closed() => 1,
            Twin::Open => 2,
            // It is the last one itself.
            Twin::Down if self.breaks_first => 0,
            Twin::Down | Twin::Refused => 1,
        }
    }

    /// Returns how long the rotation of one line may take.
    fn bound(self) -> Duration {
        let is_quick = matches!(self.data, Data::OnBoth | Data::None);
        let time = match self.dials {
            Dials::Open if is_quick || self.breaks_first => 10 * SECOND,
            Dials::Open if self.data == Data::OnOldAlone => 40 * SECOND,
            Dials::Fail if !self.breaks_first => 70 * SECOND,
            Dials::NoAnswer | Dials::AreLost if !self.breaks_first => 190 * SECOND,
            Dials::WaitForSocket if self.twin != Twin::Down => 40 * SECOND,
            _ => STAGE_TIMEOUT + 10 * SECOND,
        };
        // Waits begin anew after each of eight holds, or are over after four times their length.
        if self.holds == Holds::Never { time } else { 4 * time + 9 * 21 * SECOND }
    }
}

/// Lines, and since when each of them dials or is open.
struct World {
    case: Case,
    life: Life,
    since: BTreeMap<u8, Instant>,
    /// The line that was closed first, until it is active again.
    broken: Option<u8>,
    ends: Vec<Step>,
}

impl World {
    fn new(case: Case) -> World {
        let rule = Rotate { breaks_first: case.breaks_first, ..Rotate::default() };
        let mut life = Life::new(rule, 2, 2);
        match case.twin {
            Twin::Open => {}
            Twin::Down => life.lose(1),
            Twin::Refused => life.end(1),
        }
        let lines: Vec<u8> = life.legs.iter().map(|leg| leg.line).collect();
        lines
            .into_iter()
            .filter(|line| *line == 0 || case.twin == Twin::Open)
            .for_each(|line| life.ask(line));
        let mut world =
            World { case, life, since: BTreeMap::new(), broken: None, ends: Vec::new() };
        world.obey();
        world
    }

    fn obey(&mut self) {
        while let Some((_, step)) = self.life.next() {
            match step {
                Step::Start { new, .. } => drop(self.since.insert(new, self.life.now)),
                Step::Break { line, new } => {
                    new.into_iter().for_each(|new| self.life.end(new));
                    self.broken = Some(line);
                    self.since.insert(line, self.life.now);
                    self.life.lose(line);
                }
                Step::HandOver { old, .. } => self.life.end(old),
                Step::Fail { old, new, .. } if old != new => {
                    self.ends.push(step);
                    self.life.end(new);
                }
                Step::Done { .. } | Step::Fail { .. } => self.ends.push(step),
            }
        }
    }

    /// Has the dials go on, of the lines that are started and of those that were closed first.
    fn dial(&mut self) {
        for leg in self.life.legs.clone() {
            let Some(since) = self.since.get_mut(&leg.line) else { continue };
            let time = self.life.now - *since;
            let is_broken = self.broken == Some(leg.line);
            let opens = time >= 2 * SECOND && !leg.is_open;
            match self.case.dials {
                Dials::WaitForSocket if !is_broken => {
                    self.life.leg(leg.line).waits_for_socket = true
                }
                Dials::Open | Dials::WaitForSocket if opens => self.life.active(leg.line),
                Dials::Fail if time >= 20 * SECOND => {
                    *since = self.life.now;
                    self.life.rotation.failed(leg.line);
                }
                Dials::NoAnswer if opens => self.life.open(leg.line),
                Dials::AreLost if opens => self.life.active(leg.line),
                Dials::NoAnswer if time >= 60 * SECOND => {
                    *since = self.life.now;
                    self.life.lose(leg.line);
                }
                Dials::AreLost if time >= 5 * SECOND => {
                    *since = self.life.now;
                    self.life.lose(leg.line);
                }
                _ => {}
            }
            self.obey();
        }
    }

    fn bring(&mut self, second: u64) {
        let active = self.life.legs.iter().filter(|leg| leg.is_active).copied();
        for leg in active.collect::<Vec<_>>() {
            for slot in 0..2 {
                let joined = match self.case.data {
                    Data::OnBoth => true,
                    Data::InTurn => second / 10 % 2 == u64::from(slot),
                    Data::None | Data::OnOldAlone => false,
                };
                let joined = if joined { Joined::Yes } else { Joined::No };
                self.life.join(leg.line, [slot], joined);
                if self.case.data != Data::None {
                    self.life.tick(leg.line, slot);
                }
            }
        }
        self.obey();
    }

    /// Lets a second pass.
    fn pass(&mut self, second: u64) {
        let (held, read) = match self.case.holds {
            Holds::Never => (Duration::ZERO, SECOND),
            Holds::Often => (SECOND - MILLI, MILLI),
            Holds::Long if second % 21 < 20 => (SECOND, Duration::ZERO),
            Holds::Long => (Duration::ZERO, SECOND),
        };
        for (holds, time) in [(true, held), (false, read)] {
            if !time.is_zero() {
                self.life.rotation.hold(holds, self.life.now);
                self.life.pass(time);
                self.obey();
            }
        }
    }

    /// Runs until all rotations have ended, and returns how long it took.
    fn run(&mut self) -> Duration {
        let (begin, rotations) = (self.life.now, self.case.rotations());
        let bound = self.case.bound() * rotations as u32;
        for second in 0.. {
            let time = self.life.now - begin;
            if self.ends.len() >= rotations {
                return time;
            }
            assert!(time < bound, "{:?}: {:?}, {:?}", self.case, self.life.rotation, self.ends);
            self.dial();
            self.bring(second);
            self.pass(second);
        }
        unreachable!("it has a bound")
    }
}

#[test]
fn rotations_end_within_a_bound_whatever_keeps_them() {
    let mut longest = BTreeMap::new();
    for case in Case::all() {
        let mut world = World::new(case);
        let time = world.run();
        let most = longest.entry(format!("{:?}, held {:?}", case.dials, case.holds)).or_default();
        *most = time.max(*most);
        let ends = world.ends.iter().map(|step| match step {
            Step::Done { from: line, .. } | Step::Fail { old: line, .. } => line % 2,
            step => unreachable!("{step:?} is no end"),
        });
        let mut ends: Vec<u8> = ends.collect();
        ends.sort();
        assert_eq!(ends, [0, 1][..case.rotations()], "{case:?}: {:?}", world.ends);
        let is_open = |slot| world.life.legs.iter().any(|leg| leg.line % 2 == slot && leg.is_open);
        let may_be_lost =
            case.breaks_first && !matches!(case.dials, Dials::Open | Dials::WaitForSocket);
        assert!(is_open(0) || may_be_lost && case.rotations() > 0, "{case:?}");
        assert!(is_open(1) || case.twin != Twin::Open || may_be_lost, "{case:?}");
    }
    println!("{longest:#?}");
}
