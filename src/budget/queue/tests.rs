//! A property over random scripts: dials that begin, end and give up, under a small executor that polls only what was
//! woken or whose timer has fired, against a model of the rules.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::budget::quota::YOUNG;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

type Limits = (&'static [(u32, Duration)], Option<u32>);

/// The limits of the budgets: windows, and sockets.
const BUDGETS: [Limits; 3] = [
    (&[(2, SECOND), (5, Duration::from_secs(10))], None),
    (&[(3, Duration::from_secs(4))], Some(4)),
    (&[], Some(2)),
];

#[derive(Clone, Debug)]
enum Step {
    /// A dial that needs the budgets of this mask.
    Start {
        mask: u8,
        urgency: u8,
    },
    /// A waiting dial gives up.
    GiveUp(u8),
    /// The outcome of a dial that has begun; also the end of an open socket.
    Cancel(u8),
    Fail {
        dial: u8,
        failure: Failure,
    },
    Open(u8),
    Lose(u8),
    Pass(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let failure = (any::<bool>(), prop::option::weighted(0.2, 1u64..8), any::<bool>()).prop_map(
        |(answered, retry_after, by_server)| Failure {
            answered,
            retry_after: retry_after.map(Duration::from_secs),
            by_server,
        },
    );
    prop_oneof![
        4 => (1u8..8, 0u8..4).prop_map(|(mask, urgency)| Step::Start { mask, urgency }),
        1 => any::<u8>().prop_map(Step::GiveUp),
        1 => any::<u8>().prop_map(Step::Cancel),
        2 => (any::<u8>(), failure).prop_map(|(dial, failure)| Step::Fail { dial, failure }),
        3 => any::<u8>().prop_map(Step::Open),
        2 => any::<u8>().prop_map(Step::Lose),
        3 => (1u16..6_000).prop_map(Step::Pass),
    ]
}

/// A waker that notes that it was woken.
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Flag>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A task that waits for its turn.
struct Task {
    place: Place,
    mask: u8,
    woken: Arc<Flag>,
    timer: Option<Instant>,
}

/// A dial that was granted, as the model sees it.
#[derive(Clone, Copy, Debug)]
struct Dial {
    id: DialId,
    mask: u8,
    outcome: Option<Outcome>,
    /// Whether its socket has ended, or never was.
    over: bool,
    /// Whether it is proven or has failed.
    settled: bool,
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    Counts(Instant),
    Free,
}

struct Run {
    queue: Queue,
    ids: Vec<QuotaId>,
    now: Instant,
    tasks: Vec<Task>,
    dials: Vec<Dial>,
    /// For each budget: failures in a row, and the end of a Retry-After.
    failures: [u32; 3],
    not_before: [Instant; 3],
}

impl Run {
    fn new() -> Run {
        let mut queue = Queue::new();
        let now = Instant::now();
        let ids = BUDGETS
            .iter()
            .map(|(windows, sockets)| {
                let mut quota = Quota::default();
                windows.iter().for_each(|(dials, window)| quota.limit_dials(*dials, *window));
                sockets.iter().for_each(|sockets| quota.limit_sockets(*sockets));
                queue.add(quota)
            })
            .collect();
        let (failures, not_before) = ([0; 3], [now; 3]);
        Run { queue, ids, now, tasks: Vec::new(), dials: Vec::new(), failures, not_before }
    }

    fn quotas(&self, mask: u8) -> Vec<QuotaId> {
        (0..3).filter(|at| mask & (1 << at) != 0).map(|at| self.ids[at]).collect()
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Start { mask, urgency } => {
                let urgency = [Urgency::Outage, Urgency::Twin, Urgency::Rotation, Urgency::Start]
                    [usize::from(urgency)];
                let place = self.queue.enter(urgency, self.quotas(mask));
                let woken = Arc::new(Flag(AtomicBool::new(true)));
                self.tasks.push(Task { place, mask, woken, timer: None });
            }
            Step::GiveUp(at) if !self.tasks.is_empty() => {
                let task = self.tasks.remove(usize::from(at) % self.tasks.len());
                self.queue.leave(task.place, self.now).wake();
            }
            Step::Cancel(at) => self.end(at, false, Failure::default()),
            Step::Fail { dial, failure } => self.end(dial, false, failure),
            Step::Open(at) => {
                let begun: Vec<usize> = self.begun();
                if let Some(&at) = begun.get(usize::from(at) % begun.len().max(1)) {
                    let Dial { id, mask, .. } = self.dials[at];
                    self.dials[at].outcome = Some(Outcome::Counts(self.now));
                    self.queue.open(&self.quotas(mask), id, self.now).wake();
                }
            }
            Step::Lose(at) => self.end(at, true, Failure::default()),
            Step::Pass(millis) => return self.pass(millis.into()),
            Step::GiveUp(_) => {}
        }
        self.run();
    }

    /// The dials that have no outcome yet.
    fn begun(&self) -> Vec<usize> {
        (0..self.dials.len()).filter(|at| self.dials[*at].outcome.is_none()).collect()
    }

    /// Ends a dial that has begun, or a socket that is open.
    fn end(&mut self, at: u8, socket: bool, failure: Failure) {
        let fits = |dial: &Dial| !dial.over && dial.outcome.is_some() == socket;
        let found: Vec<usize> = (0..self.dials.len()).filter(|at| fits(&self.dials[*at])).collect();
        let Some(&index) = found.get(usize::from(at) % found.len().max(1)) else { return };
        let (now, lost) = (self.now, !at.is_multiple_of(3));
        let Dial { id, mask, outcome, settled, .. } = self.dials[index];
        let quotas = self.quotas(mask);
        let failed = if socket {
            self.queue.close(&quotas, id, now, lost).wake();
            lost && !settled
        } else {
            self.queue.fail(&quotas, id, now, failure).wake();
            failure.by_server
        };
        let answered = if failure.answered { Outcome::Counts(now) } else { Outcome::Free };
        self.dials[index].outcome = outcome.or(Some(answered));
        (self.dials[index].over, self.dials[index].settled) = (true, true);
        for budget in (0..3).filter(|budget| mask & (1 << budget) != 0) {
            self.failures[budget] += u32::from(failed);
            let asked = failure.retry_after.unwrap_or_default();
            self.not_before[budget] = self.not_before[budget].max(now + asked);
        }
    }

    /// Lets time pass, with a stop at each timer and at each socket that proves itself.
    fn pass(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while self.now < end {
            let timers = self.tasks.iter().filter_map(|task| task.timer);
            let proofs = self.dials.iter().filter_map(|dial| match dial.outcome {
                Some(Outcome::Counts(at)) if !dial.settled => Some(at + YOUNG),
                _ => None,
            });
            let next = timers.chain(proofs).filter(|at| *at > self.now).min();
            self.now = next.map_or(end, |next| next.min(end));
            self.run();
        }
    }

    /// Polls what was woken or whose timer has fired, until nothing is. The newest first, so that the order comes from
    /// the queue alone.
    fn run(&mut self) {
        for at in 0..self.dials.len() {
            let Some(Outcome::Counts(opened)) = self.dials[at].outcome else { continue };
            if !self.dials[at].settled && opened + YOUNG <= self.now {
                self.dials[at].settled = true;
                for budget in (0..3).filter(|budget| self.dials[at].mask & (1 << budget) != 0) {
                    self.failures[budget] = 0;
                }
            }
        }
        let now = self.now;
        let is_due = |task: &Task| {
            task.woken.0.swap(false, Ordering::Relaxed) | task.timer.is_some_and(|at| at <= now)
        };
        let (mut polls, mut granted) = (0, Vec::new());
        while let Some(at) = self.tasks.iter().rposition(is_due) {
            polls += 1;
            assert!(polls < 1_000, "the tasks wake each other without end");
            let task = &mut self.tasks[at];
            let (turn, wakers) = self.queue.turn(task.place, task.woken.clone().into(), now);
            match turn {
                Turn::Wait { until, .. } => {
                    assert!(until.is_none_or(|until| until > now));
                    task.timer = until;
                }
                Turn::Granted(id) => {
                    let Task { place, mask, .. } = self.tasks.remove(at);
                    self.check_room(place, mask);
                    granted.push((place, mask));
                    let dial = Dial { id, mask, outcome: None, over: false, settled: false };
                    self.dials.push(dial);
                }
            }
            wakers.wake();
        }
        for task in &self.tasks {
            let held = (0..3).any(|at| task.mask & (1 << at) != 0 && self.is_held(at));
            assert!(held, "{:?} of {:03b} waits for nothing", task.place, task.mask);
            // One that needs no less than this one, and is behind it.
            let passed =
                |(place, mask): &&(Place, u8)| *place > task.place && task.mask & !mask == 0;
            let passed = granted.iter().find(passed);
            assert!(passed.is_none(), "{passed:?} passed {:?} of {:03b}", task.place, task.mask);
        }
    }

    /// Checks that this dial may begin.
    fn check_room(&self, place: Place, mask: u8) {
        for budget in (0..3).filter(|budget| mask & (1 << budget) != 0) {
            assert!(!self.is_held(budget), "budget {budget} has no room for {place:?}");
        }
    }

    /// Whether a budget has no room, but for the delays of single dials.
    fn is_held(&self, budget: usize) -> bool {
        let dials: Vec<&Dial> =
            self.dials.iter().filter(|dial| dial.mask & (1 << budget) != 0).collect();
        let (windows, sockets) = BUDGETS[budget];
        let counted = |window: Duration| {
            let counts = |dial: &&&Dial| match dial.outcome {
                None => true,
                Some(Outcome::Counts(at)) => at + window + MILLI > self.now,
                Some(Outcome::Free) => false,
            };
            dials.iter().filter(counts).count()
        };
        let is_full = windows.iter().any(|(count, window)| counted(*window) >= *count as usize);
        let open = dials.iter().filter(|dial| !dial.over).count();
        let unsettled = dials.iter().any(|dial| !dial.settled);
        let probing = self.failures[budget] >= 3;
        is_full
            || sockets.is_some_and(|max| open >= max as usize)
            || self.not_before[budget] > self.now
            || probing && (unsettled || self.probe_is_delayed(budget))
    }

    /// The delay of the next single dial is not modelled: it is read.
    fn probe_is_delayed(&self, budget: usize) -> bool {
        let hold = self.queue.quotas[&self.ids[budget]].hold(self.now, 0);
        hold.is_some_and(|hold| hold.until.is_some())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// No window holds more than its count, no dial passes another that needs no more than it, a turn that has come is
    /// always taken, and no permit is lost.
    #[test]
    fn the_rules_hold_and_every_turn_comes(steps in prop::collection::vec(step(), 1..120)) {
        let mut run = Run::new();
        for step in &steps {
            run.apply(step);
        }
        // Whatever happened before: once all dials end in time, all that wait get their turn.
        for _ in 0..200 {
            run.apply(&Step::Cancel(0));
            run.apply(&Step::Lose(0));
            run.pass(11_000);
        }
        prop_assert!(run.tasks.is_empty(), "{} dials never get their turn", run.tasks.len());
    }
}
