//! Decides which name is looked up next: the look-ups that run and wait, as a value without threads or a clock.
//!
//! A look-up blocks a thread, for as long as the system's resolver likes. So that a name server which does not answer
//! delays no other name, what a look-up may use depends on how that look-up went last time:
//!
//! | last time | starts |
//! |---|---|
//! | answered within [`HUNG_AFTER`] | first, while one of the [`THREADS`] is free |
//! | not known | while fewer than [`NEW_THREADS`] run, and those of new names that are younger than [`HUNG_AFTER`] take less than half of what hanging ones left of that. While some hang, the newest first: the others are likely to hang too |
//! | took longer | when no other waits, while hanging ones take less than [`HUNG_THREADS`] |

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most look-ups that run at the same time, each on a thread of its own.
pub(super) const THREADS: usize = 32;

/// The most look-ups that run when one of a name begins of which nothing is known. The rest is for names that were
/// answered before.
const NEW_THREADS: usize = 24;

/// The most look-ups that hang, or did last time, when one that did last time begins.
const HUNG_THREADS: usize = THREADS / 2;

/// How long a look-up runs before it counts as one that hangs.
pub(super) const HUNG_AFTER: Duration = Duration::from_secs(1);

/// The most look-ups that wait, for each kind of [`Pace`]. One more fails.
const MAX_WAITING: usize = 2048;

/// The most look-ups whose pace is remembered. One more, and all are forgotten: every name is new again.
const MAX_REMEMBERED: usize = 8192;

/// An address family. Each is looked up apart (RFC 8305, 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Family {
    V4,
    V6,
}

/// What is looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lookup {
    pub(super) name: Arc<str>,
    pub(super) family: Family,
}

/// How a look-up went last time.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pace {
    Prompt,
    New,
    Hung,
}

/// A look-up that runs.
struct Running {
    since: Instant,
    pace: Pace,
}

/// The look-ups that run and those that wait. There is never more than one of the same name and family: others join it.
#[derive(Default)]
pub(super) struct Lookups {
    running: HashMap<Lookup, Running>,
    /// The callers of each look-up, running or waiting. A waiting one without callers is removed.
    callers: HashMap<Lookup, usize>,
    prompt: VecDeque<Lookup>,
    new: VecDeque<Lookup>,
    hung: VecDeque<Lookup>,
    /// Whether the last look-up hung.
    hung_last: HashMap<Lookup, bool>,
}

impl Lookups {
    /// Adds a caller of a look-up, which waits from now on unless it runs or waits already. Returns false, and adds
    /// nothing, if too many wait.
    #[must_use]
    pub(super) fn join(&mut self, lookup: &Lookup) -> bool {
        if !self.is_known(lookup) {
            let queue = self.queue(self.pace(lookup));
            if queue.len() >= MAX_WAITING {
                return false;
            }
            queue.push_back(lookup.clone());
        }
        *self.callers.entry(lookup.clone()).or_default() += 1;
        true
    }

    /// Removes a caller that waits no longer.
    pub(super) fn leave(&mut self, lookup: &Lookup) {
        let Some(callers) = self.callers.get_mut(lookup) else {
            return;
        };
        *callers -= 1;
        if *callers == 0 {
            self.callers.remove(lookup);
            self.queue(self.pace(lookup)).retain(|waiting| waiting != lookup);
        }
    }

    /// Returns whether a look-up runs or waits.
    pub(super) fn is_known(&self, lookup: &Lookup) -> bool {
        self.running.contains_key(lookup) || self.callers.contains_key(lookup)
    }

    /// Returns the look-up that starts now, if one may. It runs from now on.
    pub(super) fn start(&mut self, now: Instant) -> Option<Lookup> {
        if self.running.len() >= THREADS {
            return None;
        }
        let hangs = |run: &&Running| now.saturating_duration_since(run.since) >= HUNG_AFTER;
        let runs = || self.running.values();
        let hanging = runs().filter(hangs).count();
        let suspects = runs().filter(|run| hangs(run) || run.pace == Pace::Hung).count();
        let probing = runs().filter(|run| !hangs(run) && run.pace == Pace::New).count();
        let may_probe = self.running.len() < NEW_THREADS
            && probing < NEW_THREADS.saturating_sub(suspects).div_ceil(2);
        let (pace, next) = if let Some(next) = self.prompt.pop_front() {
            (Pace::Prompt, next)
        } else if !self.new.is_empty() {
            let queue = Some(&mut self.new).filter(|_| may_probe)?;
            (Pace::New, if hanging == 0 { queue.pop_front()? } else { queue.pop_back()? })
        } else {
            let queue = Some(&mut self.hung).filter(|_| suspects < HUNG_THREADS)?;
            (Pace::Hung, queue.pop_front()?)
        };
        self.running.insert(next.clone(), Running { since: now, pace });
        Some(next)
    }

    /// Ends a look-up that ran, and remembers its pace. It has no callers any more.
    pub(super) fn finish(&mut self, lookup: &Lookup, now: Instant) {
        self.callers.remove(lookup);
        let Some(run) = self.running.remove(lookup) else {
            return;
        };
        if self.hung_last.len() >= MAX_REMEMBERED && !self.hung_last.contains_key(lookup) {
            self.move_to_new();
        }
        let hung = now.saturating_duration_since(run.since) >= HUNG_AFTER;
        self.hung_last.insert(lookup.clone(), hung);
    }

    /// Ends a look-up that was to start and could not.
    pub(super) fn cancel(&mut self, lookup: &Lookup) {
        self.callers.remove(lookup);
        self.running.remove(lookup);
    }

    /// Forgets how all look-ups went. Those that wait are new from now on.
    fn move_to_new(&mut self) {
        self.hung_last.clear();
        let waiting = self.prompt.drain(..).chain(self.hung.drain(..));
        self.new.extend(waiting);
    }

    fn pace(&self, lookup: &Lookup) -> Pace {
        match self.hung_last.get(lookup) {
            Some(false) => Pace::Prompt,
            Some(true) => Pace::Hung,
            None => Pace::New,
        }
    }

    fn queue(&mut self, pace: Pace) -> &mut VecDeque<Lookup> {
        match pace {
            Pace::Prompt => &mut self.prompt,
            Pace::New => &mut self.new,
            Pace::Hung => &mut self.hung,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: impl ToString) -> Lookup {
        Lookup { name: name.to_string().into(), family: Family::V4 }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// Has all look-ups of these names wait.
    fn wait(lookups: &mut Lookups, names: impl IntoIterator<Item = impl ToString>) {
        names.into_iter().for_each(|name| assert!(lookups.join(&of(name))));
    }

    fn start_all(lookups: &mut Lookups, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| lookups.start(now)).map(|it| it.name.to_string()).collect()
    }

    /// Look-ups that took so long last time.
    fn after(
        lookups: &mut Lookups,
        names: impl IntoIterator<Item = impl ToString>,
        took: Duration,
    ) {
        let begin = Instant::now();
        for name in names {
            let lookup = of(name);
            assert!(lookups.join(&lookup));
            assert_eq!(lookups.start(begin).as_ref(), Some(&lookup));
            lookups.finish(&lookup, begin + took);
        }
    }

    #[test]
    fn one_look_up_of_a_name_runs_at_a_time_and_others_join_it() {
        let (mut lookups, now) = (Lookups::default(), Instant::now());
        wait(&mut lookups, ["a", "a"]);
        let other = Lookup { family: Family::V6, ..of("a") };
        assert!(lookups.join(&other));
        assert_eq!(lookups.start(now), Some(of("a")));
        assert_eq!(lookups.start(now), Some(other));
        wait(&mut lookups, ["a"]);
        assert_eq!(lookups.start(now), None);
        lookups.finish(&of("a"), now);
        assert_eq!(lookups.start(now), None);
        wait(&mut lookups, ["a"]);
        assert_eq!(lookups.start(now), Some(of("a")));
    }

    #[test]
    fn a_look_up_that_all_callers_left_does_not_start() {
        let (mut lookups, now) = (Lookups::default(), Instant::now());
        wait(&mut lookups, ["a", "a", "b"]);
        lookups.leave(&of("a"));
        lookups.leave(&of("b"));
        assert_eq!(start_all(&mut lookups, now), ["a"]);
        // One that runs goes on, and is joined by a new caller.
        lookups.leave(&of("a"));
        wait(&mut lookups, ["a"]);
        assert_eq!(start_all(&mut lookups, now), [""; 0]);
    }

    #[test]
    fn a_new_name_is_looked_up_within_a_second_while_seven_hundred_hang() {
        let (mut lookups, now) = (Lookups::default(), Instant::now());
        wait(&mut lookups, 0..700);
        assert_eq!(start_all(&mut lookups, now).len(), NEW_THREADS / 2);
        wait(&mut lookups, ["good"]);
        assert_eq!(start_all(&mut lookups, now), [""; 0]);
        assert_eq!(start_all(&mut lookups, now + HUNG_AFTER)[0], "good");
        // Less and less is given to names of which nothing is known, and some threads to none of them.
        let counts = (2..9).map(|second| start_all(&mut lookups, now + seconds(second)).len());
        assert_eq!(counts.collect::<Vec<_>>(), [3, 2, 1, 0, 0, 0, 0]);
        assert_eq!(lookups.running.len(), NEW_THREADS);
    }

    #[test]
    fn a_name_that_was_answered_has_threads_that_no_new_name_takes() {
        let (mut lookups, now) = (Lookups::default(), Instant::now());
        after(&mut lookups, ["good"], Duration::ZERO);
        wait(&mut lookups, 0..700);
        (0..9).for_each(|second| drop(start_all(&mut lookups, now + seconds(second))));
        wait(&mut lookups, ["good"]);
        assert_eq!(start_all(&mut lookups, now + seconds(9)), ["good"]);
    }

    #[test]
    fn a_new_name_waits_while_others_leave_it_none_of_its_threads() {
        let (mut lookups, now) = (Lookups::default(), Instant::now());
        after(&mut lookups, 0..NEW_THREADS, Duration::ZERO);
        wait(&mut lookups, 0..NEW_THREADS);
        assert_eq!(start_all(&mut lookups, now).len(), NEW_THREADS);
        wait(&mut lookups, ["new"]);
        assert_eq!(start_all(&mut lookups, now), [""; 0]);
        lookups.finish(&of(0), now);
        assert_eq!(start_all(&mut lookups, now), ["new"]);
    }

    #[test]
    fn names_that_hung_wait_behind_others_and_take_half_of_the_threads() {
        let (mut lookups, now) = (Lookups::default(), Instant::now());
        after(&mut lookups, 0..50, HUNG_AFTER);
        wait(&mut lookups, 0..50);
        wait(&mut lookups, ["new"]);
        let started = start_all(&mut lookups, now);
        assert_eq!((started[0].as_str(), started.len()), ("new", 1 + HUNG_THREADS));
        lookups.finish(&of("new"), now);
        assert_eq!(start_all(&mut lookups, now + seconds(60)), [""; 0]);
        wait(&mut lookups, ["other"]);
        assert_eq!(start_all(&mut lookups, now + seconds(60)), ["other"]);
        // One that is answered is as good as any other again.
        lookups.finish(&of(0), now);
        wait(&mut lookups, ["0"]);
        assert_eq!(start_all(&mut lookups, now)[0], "0");
    }

    #[test]
    fn names_that_are_answered_can_take_all_threads() {
        let (mut lookups, now) = (Lookups::default(), Instant::now());
        after(&mut lookups, 0..50, Duration::ZERO);
        wait(&mut lookups, 0..50);
        assert_eq!(start_all(&mut lookups, now).len(), THREADS);
    }

    #[test]
    fn what_waits_and_what_is_remembered_is_bounded() {
        let (mut lookups, now) = (Lookups::default(), Instant::now());
        after(&mut lookups, ["good"], Duration::ZERO);
        wait(&mut lookups, 0..MAX_WAITING);
        assert!(!lookups.join(&of("more")));
        assert!(lookups.join(&of(0)), "it waits already");
        assert!(lookups.join(&of("good")), "names that were answered wait apart");
        let mut lookups = Lookups::default();
        after(&mut lookups, 0..=MAX_REMEMBERED, HUNG_AFTER);
        assert_eq!(lookups.hung_last.len(), 1);
        lookups.leave(&of("unknown"));
        lookups.finish(&of("unknown"), now);
    }

    #[test]
    fn a_look_up_that_could_not_start_leaves_nothing() {
        let (mut lookups, now) = (Lookups::default(), Instant::now());
        wait(&mut lookups, ["a"]);
        let lookup = lookups.start(now).unwrap();
        lookups.cancel(&lookup);
        assert!(lookups.running.is_empty() && lookups.callers.is_empty());
        assert_eq!(lookups.pace(&lookup), Pace::New);
    }
}
