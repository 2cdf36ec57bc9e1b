//! Which generation a number belongs to, and whether it follows the last message in the stream.
//!
//! A venue that restarts may begin its numbers anew. Then they are not below those in the stream but of a new *generation*.
//! Its name is a number that only rises: one more than the one before, or the milliseconds of Unix time, whichever is
//! more, so that it is new also if the stream has lost its last message. The updates that the feed delivers between two such
//! restarts are a *run*. A run belongs to
//!
//! | what is known | the generation |
//! |---|---|
//! | a message of the run is in the stream | that of the message |
//! | that, and the stream has gone on to another | it is dropped; if it goes on for 10 s, the restart was none, and it is that of the stream |
//! | it follows a run of generation g, and the stream is at g | a new one |
//! | it follows a run of generation g, and the stream is further | that of the stream: another owner saw the same restart |
//! | nothing is in the stream | a new one |
//! | nothing else, the next run has begun, and this one less than 10 s after that was stored | it is not known, and what is left of the run is dropped |
//! | nothing else, and the run has reached the number in the stream, or has begun before that was stored | that of the stream |
//! | nothing else, it is below the number in the stream, and has begun 10 s after that was stored | a new one, once 2 s have shown no higher number: the venue has restarted while nobody published |
//!
//! Two owners agree on a new generation because the broker takes only one of two messages that follow the same one: the
//! other owner reads what was taken, and goes on from there.

use std::time::{Duration, Instant};

use crate::feed::Sequence;

/// How far one process may be behind another one in what it receives.
const LAG: Duration = Duration::from_secs(10);

/// How long a venue may take, once a topic is subscribed, to repeat what it has sent before.
const SETTLE: Duration = Duration::from_secs(2);

/// The time, as the caller knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) at: Instant,
    /// The time of day in milliseconds since 1970. For new names only, never compared with that of others.
    pub(crate) unix_ms: u64,
}

/// The number of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    None,
    /// A number without an order.
    Id(u64),
    /// The numbers that the update covers, both included.
    Ordered {
        first: u64,
        last: u64,
        snapshot: bool,
    },
}

/// What numbers are compared by: a snapshot follows the update that it includes.
pub(crate) type Position = (u64, bool);

impl Number {
    /// Returns the number of an update.
    pub(crate) fn of(sequence: Sequence, snapshot: bool) -> Number {
        match (sequence.first(), sequence.last()) {
            (_, Some(id)) if sequence.is_id() => Number::Id(id),
            (Some(first), Some(last)) => Number::Ordered { first, last, snapshot },
            _ => Number::None,
        }
    }

    /// Returns what it is compared by; `None` if it has no order.
    pub(crate) fn position(self) -> Option<Position> {
        match self {
            Number::Ordered { last, snapshot, .. } => Some((last, snapshot)),
            Number::Id(_) | Number::None => None,
        }
    }
}

/// The last message of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Last {
    /// Its sequence in the stream.
    pub(crate) sequence: u64,
    /// When it was stored, by the own clock. Known as well as the broker's clock is.
    pub(crate) stored_at: Instant,
    /// `None` if it has no number.
    pub(crate) generation: Option<u64>,
    pub(crate) number: Option<Position>,
    pub(crate) fence: u64,
}

/// What becomes of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// It is published, in this generation if it has a number.
    Publish(Option<u64>),
    /// The stream has it, or has gone on to other numbers.
    Known,
    /// It is not known yet, until then at the latest.
    Hold(Instant),
    /// It is not known until the next update.
    Wait,
}

/// How far a run goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    /// The number of its last update.
    pub(crate) newest: Number,
    /// When that was received.
    pub(crate) received: Instant,
    /// Whether the next run has begun.
    pub(crate) has_ended: bool,
}

/// What the feed delivers between two restarts of the venue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Its generation, once a message of it is in the stream.
    pub(crate) generation: Option<u64>,
    /// The generation of the run before.
    after: Option<u64>,
    /// The name of a new generation that was proposed to the broker.
    proposed: Option<u64>,
    /// When its first update was received.
    since: Instant,
}

impl Run {
    /// Creates the first run that is known, which began then.
    pub(crate) fn new(since: Instant) -> Run {
        Run { generation: None, after: None, proposed: None, since }
    }

    /// Returns the run that follows, which began then.
    pub(crate) fn next(self, since: Instant) -> Run {
        Run { generation: None, after: self.generation.or(self.after), proposed: None, since }
    }

    /// Whether it may be of the generation in the stream or of a new one.
    pub(crate) fn is_unknown(&self) -> bool {
        self.generation.is_none() && self.after.is_none()
    }

    /// Decides about the first update of the run that waits. `reach` is how far the run goes; of one that
    /// [is not unknown](Run::is_unknown) whether it has ended is enough.
    pub(crate) fn judge(
        &mut self,
        number: Number,
        reach: Option<Reach>,
        last: Option<&Last>,
        now: Now,
    ) -> Judged {
        if number == Number::None {
            return Judged::Publish(None);
        }
        let stored = last.and_then(|last| Some((last.generation?, last.number, last.stored_at)));
        let Some((generation, at, stored_at)) = stored else {
            return Judged::Publish(Some(self.generation.unwrap_or_else(|| self.propose(0, now))));
        };
        match (self.generation, self.after) {
            (Some(_), _) => {}
            (None, Some(after)) if generation > after => self.generation = Some(generation),
            (None, Some(_)) => return Judged::Publish(Some(self.propose(generation, now))),
            (None, None) => match self.compare(reach, (at, stored_at), now.at) {
                Verdict::Same => self.generation = Some(generation),
                Verdict::New => return Judged::Publish(Some(self.propose(generation, now))),
                Verdict::Old => return Judged::Known,
                Verdict::Hold(until) => return Judged::Hold(until),
            },
        }
        let own = self.generation.unwrap_or(generation);
        if generation > own {
            return self.superseded(number, reach, last, now);
        }
        let at = at.filter(|_| generation == own);
        let is_known = number.position().zip(at).is_some_and(|(number, at)| number <= at);
        if is_known { Judged::Known } else { Judged::Publish(Some(own)) }
    }

    /// Decides about a run of an older generation than the stream. If it goes on all the same, another owner has seen a
    /// restart that was none, and the run goes on in the stream's generation.
    fn superseded(
        &mut self,
        number: Number,
        reach: Option<Reach>,
        last: Option<&Last>,
        now: Now,
    ) -> Judged {
        let (Some(reach), Some(last)) = (reach.filter(|it| !it.has_ended), last) else {
            return Judged::Known;
        };
        if reach.received < last.stored_at + LAG {
            return Judged::Wait;
        }
        (self.generation, self.after) = (None, None);
        self.judge(number, Some(reach), Some(last), now)
    }

    /// Compares a run of which nothing is known with the last message in the stream.
    fn compare(
        &self,
        reach: Option<Reach>,
        (at, stored_at): (Option<Position>, Instant),
        now: Instant,
    ) -> Verdict {
        let Some(reach) = reach else { return Verdict::Same };
        // Another owner may have seen its end, and the message may be of the next one.
        if reach.has_ended && self.since < stored_at + LAG {
            return Verdict::Old;
        }
        let (Some(newest), Some(at)) = (reach.newest.position(), at) else { return Verdict::Same };
        if newest >= at || self.since < stored_at {
            return Verdict::Same;
        }
        // What is received later than this is newer than what is in the stream.
        let (late, settled) = (stored_at + LAG, self.since + SETTLE);
        if reach.received >= late {
            return if now >= settled { Verdict::New } else { Verdict::Hold(settled) };
        }
        if now < late { Verdict::Hold(late) } else { Verdict::Old }
    }

    /// Notes the generation of a run that is not published, if the last message in the stream shows it.
    pub(crate) fn anchor(&mut self, newest: Number, last: &Last) {
        let is_one = match self.after {
            _ if self.generation.is_some() => false,
            Some(after) => last.generation.is_some_and(|generation| generation > after),
            None => newest.position().zip(last.number).is_some_and(|(newest, last)| newest >= last),
        };
        if is_one {
            self.generation = last.generation;
        }
    }

    /// Returns the name of a new generation. It is the same one until the broker has another.
    fn propose(&mut self, generation: u64, now: Now) -> u64 {
        let least = generation.max(self.after.unwrap_or(0)) + 1;
        let proposed = self.proposed.filter(|proposed| *proposed >= least);
        *self.proposed.insert(proposed.unwrap_or_else(|| now.unix_ms.max(least)))
    }
}

/// How a run compares with the last message in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    New,
    /// The update was sent by the venue before that message was stored.
    Old,
    Hold(Instant),
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A clock that begins an hour after the instants of the tests.
    struct Clock {
        start: Instant,
    }

    impl Clock {
        fn new() -> Clock {
            Clock { start: Instant::now() }
        }

        fn at(&self, seconds: u32) -> Instant {
            self.start + SECOND * seconds
        }

        fn now(&self, seconds: u32) -> Now {
            Now { at: self.at(seconds), unix_ms: 1000 * u64::from(seconds) }
        }

        /// A message of generation 7 that was stored then.
        fn last(&self, seconds: u32, number: u64) -> Last {
            Last {
                sequence: 1,
                stored_at: self.at(seconds),
                generation: Some(7),
                number: Some((number, false)),
                fence: 0,
            }
        }

        /// A run whose newest update was received then.
        fn reach(&self, seconds: u32, newest: u64) -> Option<Reach> {
            Some(Reach { newest: number(newest), received: self.at(seconds), has_ended: false })
        }
    }

    fn number(last: u64) -> Number {
        Number::Ordered { first: last, last, snapshot: false }
    }

    const NEW: Judged = Judged::Publish(Some(100_000));

    #[test]
    fn the_first_message_of_a_subject_begins_a_generation() {
        let clock = Clock::new();
        let mut run = Run::new(clock.at(90));
        assert_eq!(run.judge(number(5), clock.reach(90, 5), None, clock.now(100)), NEW);
        // Its name stays the same until it is stored.
        assert_eq!(run.judge(number(5), clock.reach(90, 5), None, clock.now(200)), NEW);
    }

    #[test]
    fn a_run_that_reaches_the_stream_goes_on_with_it() {
        let clock = Clock::new();
        let last = clock.last(0, 5);
        let judge = |run: &mut Run, of| {
            run.judge(number(of), clock.reach(90, 6), Some(&last), clock.now(100))
        };
        let mut run = Run::new(clock.at(90));
        assert_eq!(judge(&mut run, 4), Judged::Known);
        assert_eq!(judge(&mut run, 5), Judged::Known);
        assert_eq!(judge(&mut run, 6), Judged::Publish(Some(7)));
    }

    #[test]
    fn a_snapshot_follows_the_update_that_it_includes() {
        let clock = Clock::new();
        let mut run = Run { generation: Some(7), ..Run::new(clock.at(90)) };
        let snapshot = Number::Ordered { first: 5, last: 5, snapshot: true };
        let mut judge = |last| run.judge(snapshot, None, Some(&last), clock.now(100));
        assert_eq!(judge(clock.last(0, 5)), Judged::Publish(Some(7)));
        assert_eq!(judge(Last { number: Some((5, true)), ..clock.last(0, 5) }), Judged::Known);
    }

    #[test]
    fn a_venue_that_restarted_while_nobody_published_begins_a_generation_after_2_s() {
        let clock = Clock::new();
        let (mut run, last) = (Run::new(clock.at(90)), clock.last(80, 500));
        let mut judge = |newest, now| {
            run.judge(number(1), clock.reach(90, newest), Some(&last), clock.now(now))
        };
        assert_eq!(judge(3, 91), Judged::Hold(clock.at(92)));
        assert_eq!(judge(3, 92), Judged::Publish(Some(92_000)));
    }

    #[test]
    fn what_another_process_has_published_meanwhile_is_known() {
        let clock = Clock::new();
        // It began before the message was stored, and is behind.
        let mut run = Run::new(clock.at(90));
        let last = clock.last(91, 500);
        let judged = run.judge(number(400), clock.reach(99, 450), Some(&last), clock.now(100));
        assert_eq!(judged, Judged::Known);
        // A shorter time behind than 10 s.
        let mut run = Run::new(clock.at(90));
        let last = clock.last(89, 500);
        let mut judge = |newest, now| run.judge(number(400), newest, Some(&last), clock.now(now));
        assert_eq!(judge(clock.reach(95, 450), 96), Judged::Hold(clock.at(99)));
        assert_eq!(judge(clock.reach(95, 450), 99), Judged::Known);
        assert_eq!(judge(clock.reach(99, 450), 99), Judged::Publish(Some(99_000)));
    }

    #[test]
    fn a_restart_that_was_seen_begins_a_generation_unless_another_owner_has() {
        let clock = Clock::new();
        let first = Run { generation: Some(7), ..Run::new(clock.at(0)) };
        let mut run = first.next(clock.at(90));
        let mut judge = |last: Last| run.judge(number(1), None, Some(&last), clock.now(100));
        assert_eq!(judge(clock.last(80, 500)), NEW);
        let other = Last { generation: Some(99), ..clock.last(91, 3) };
        assert_eq!(judge(other), Judged::Known);
        assert_eq!(
            run.judge(number(4), None, Some(&other), clock.now(101)),
            Judged::Publish(Some(99))
        );
    }

    #[test]
    fn what_is_left_of_an_older_generation_is_known() {
        let clock = Clock::new();
        let mut run = Run { generation: Some(7), ..Run::new(clock.at(0)) };
        let other = Last { generation: Some(99), ..clock.last(91, 3) };
        assert_eq!(run.judge(number(501), None, Some(&other), clock.now(100)), Judged::Known);
        // The stream was made anew: it goes on in its own.
        let other = Last { generation: Some(6), ..other };
        let judged = run.judge(number(501), None, Some(&other), clock.now(100));
        assert_eq!(judged, Judged::Publish(Some(7)));
    }

    #[test]
    fn a_run_that_goes_on_though_another_owner_saw_a_restart_goes_on_with_the_stream() {
        let clock = Clock::new();
        let mut run = Run { generation: Some(7), ..Run::new(clock.at(0)) };
        let other = Last { generation: Some(99), ..clock.last(90, 500) };
        let mut judge = |of, reach| run.judge(number(of), reach, Some(&other), clock.now(100));
        assert_eq!(judge(500, clock.reach(99, 501)), Judged::Wait);
        assert_eq!(judge(500, clock.reach(100, 502)), Judged::Known);
        assert_eq!(judge(501, clock.reach(100, 502)), Judged::Publish(Some(99)));
    }

    #[test]
    fn a_run_that_is_over_and_of_no_known_generation_is_dropped() {
        let clock = Clock::new();
        let mut run = Run::new(clock.at(80));
        let reach = Reach { has_ended: true, ..clock.reach(89, 500).unwrap() };
        let mut judge =
            |last: Last| run.judge(number(450), Some(reach), Some(&last), clock.now(100));
        assert_eq!(judge(clock.last(71, 3)), Judged::Known);
        assert_eq!(judge(clock.last(70, 3)), Judged::Publish(Some(7)));
    }

    #[test]
    fn a_name_is_new_also_if_the_clock_is_behind() {
        let clock = Clock::new();
        let mut run = Run { generation: Some(1 << 60), ..Run::new(clock.at(0)) }.next(clock.at(1));
        let judged = run.judge(number(1), None, None, clock.now(2));
        assert_eq!(judged, Judged::Publish(Some((1 << 60) + 1)));
    }

    #[test]
    fn numbers_without_an_order_are_published_in_the_generation_of_the_stream() {
        let clock = Clock::new();
        let last = Last { number: None, ..clock.last(0, 0) };
        let mut run = Run::new(clock.at(90));
        let judged = run.judge(Number::Id(3), clock.reach(90, 0), Some(&last), clock.now(100));
        assert_eq!(judged, Judged::Publish(Some(7)));
        let judged = run.judge(Number::None, None, Some(&last), clock.now(100));
        assert_eq!(judged, Judged::Publish(None));
    }
}
