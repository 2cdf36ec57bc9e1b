mod bounds;
mod courses;

use super::*;
use crate::feed::rotation::joining::{IN_FLIGHT, QUIET};

use std::collections::BTreeMap;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The lines of a shard, their clock, and what was done, with the milliseconds since the start.
struct Life {
    rotation: Rotation,
    legs: Vec<Leg>,
    /// How far each topic is on each line.
    joined: BTreeMap<(u8, Slot), Joined>,
    topics: Slot,
    start: Instant,
    now: Instant,
    done: Vec<(u64, Step)>,
}

impl Life {
    /// Some lines that are active, with a topic each for 0, 1, and so on.
    fn new(rule: Rotate, lines: u8, topics: Slot) -> Life {
        let start = Instant::now();
        let mut life = Life {
            rotation: Rotation::new(rule, lines, start),
            legs: Vec::new(),
            joined: BTreeMap::new(),
            topics,
            start,
            now: start,
            done: Vec::new(),
        };
        (0..lines).for_each(|line| life.active(line));
        life
    }

    fn leg(&mut self, line: u8) -> &mut Leg {
        let new = Leg {
            line,
            is_open: false,
            is_active: false,
            waits_for_socket: false,
            may_rotate: true,
        };
        if !self.legs.iter().any(|leg| leg.line == line) {
            self.legs.push(new);
        }
        self.legs.iter_mut().find(|leg| leg.line == line).unwrap()
    }

    /// A line opens a socket.
    fn open(&mut self, line: u8) {
        self.leg(line).is_open = true;
        self.rotation.open(line, self.now, SystemTime::UNIX_EPOCH, 0.0);
        self.poll();
    }

    /// A line opens a socket, and is active at once.
    fn active(&mut self, line: u8) {
        (self.leg(line).is_open, self.leg(line).is_active) = (true, true);
        self.rotation.open(line, self.now, SystemTime::UNIX_EPOCH, 0.0);
        self.rotation.activate(line, self.now);
        self.poll();
    }

    /// The socket of a line ends.
    fn lose(&mut self, line: u8) {
        (self.leg(line).is_open, self.leg(line).is_active) = (false, false);
        self.joined.retain(|(of, _), _| *of != line);
        self.rotation.close(line);
        self.poll();
    }

    /// A line ends.
    fn end(&mut self, line: u8) {
        if self.leg(line).is_open {
            self.lose(line);
        }
        self.legs.retain(|leg| leg.line != line);
        self.rotation.ended();
        self.poll();
    }

    fn join(&mut self, line: u8, slots: impl IntoIterator<Item = Slot>, joined: Joined) {
        self.joined.extend(slots.into_iter().map(|slot| ((line, slot), joined)));
    }

    fn tick(&mut self, line: u8, slot: Slot) {
        self.rotation.data(line, slot, self.now);
        self.poll();
    }

    fn ask(&mut self, line: u8) {
        self.rotation.ask(line);
        self.poll();
    }

    fn poll(&mut self) {
        let at = (self.now - self.start).as_millis() as u64;
        while self.rotation.is_due(self.now) {
            let joined = |line, slot| *self.joined.get(&(line, slot)).unwrap_or(&Joined::No);
            let wall = SystemTime::UNIX_EPOCH + (self.now - self.start);
            let step = self.rotation.poll(&self.legs, self.topics, self.now, wall, joined);
            let Some(step) = step else { return };
            if let Step::Start { new, .. } = step {
                assert!(!self.legs.iter().any(|leg| leg.line == new), "the number is in use");
                self.leg(new);
            }
            self.done.push((at, step));
        }
    }

    /// Lets time pass, with a stop at each timer.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.poll();
        while let Some(at) = self.rotation.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.poll();
            let next = self.rotation.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "the same timer again");
        }
        self.now = end;
    }

    fn next(&mut self) -> Option<(u64, Step)> {
        (!self.done.is_empty()).then(|| self.done.remove(0))
    }

    fn done(&mut self) -> Vec<(u64, Step)> {
        std::mem::take(&mut self.done)
    }
}

/// One line with these topics, whose replacement has just become active.
fn joining(topics: Slot) -> Life {
    let mut life = Life::new(Rotate::default(), 1, topics);
    life.ask(0);
    life.active(1);
    assert_eq!(life.done(), [(0, Step::Start { old: 0, new: 1 })]);
    life
}

#[test]
fn a_line_is_replaced_at_its_age_and_the_next_one_too() {
    let mut life = Life::new(Rotate::at_age(HOUR).jitter(Duration::ZERO), 1, 0);
    life.pass(HOUR - MILLI);
    assert_eq!(life.done(), []);
    life.pass(MILLI);
    assert_eq!(life.done(), [(3_600_000, Step::Start { old: 0, new: 1 })]);
    life.active(1);
    life.pass(Duration::ZERO);
    assert_eq!(life.done(), [(3_600_000, Step::HandOver { old: 0, new: 1 })]);
    life.pass(HOUR - SECOND);
    assert_eq!(life.done(), [], "the old line is closing");
    life.end(0);
    let done = Step::Done { from: 0, to: 1, overlap: Duration::ZERO };
    assert_eq!(life.done(), [(7_199_000, done)]);
    life.pass(HOUR);
    assert_eq!(life.done(), [(7_200_000, Step::Start { old: 1, new: 0 })]);
}

#[test]
fn it_hands_over_as_soon_as_every_topic_has_joined() {
    let mut life = joining(3);
    life.join(1, 0..2, Joined::Yes);
    life.pass(2 * SECOND);
    assert_eq!(life.done(), []);
    life.join(1, 2..3, Joined::Yes);
    life.pass(SECOND);
    assert!(matches!(life.done()[..], [(2_000..=2_010, Step::HandOver { .. })]));
}

#[test]
fn a_quiet_topic_is_waited_for_for_five_seconds() {
    let mut life = joining(3);
    life.join(1, 0..2, Joined::Yes);
    life.pass(5 * SECOND - MILLI);
    assert_eq!(life.done(), []);
    life.pass(SECOND);
    assert!(matches!(life.done()[..], [(5_000..=5_010, Step::HandOver { .. })]));
}

#[test]
fn a_topic_that_ticks_on_the_old_line_alone_is_waited_for() {
    let mut life = joining(2);
    life.join(1, 0..1, Joined::Yes);
    life.pass(IN_FLIGHT);
    (0..2).for_each(|slot| life.tick(0, slot));
    life.pass(20 * SECOND);
    assert_eq!(life.done(), []);
    life.join(1, 1..2, Joined::Yes);
    life.pass(SECOND);
    assert!(matches!(life.done()[..], [(21_000..=21_010, Step::HandOver { .. })]));
}

#[test]
fn what_was_under_way_on_the_old_line_is_not_waited_for() {
    let mut life = joining(1);
    life.pass(IN_FLIGHT - MILLI);
    life.tick(0, 0);
    life.pass(5 * SECOND);
    assert!(matches!(life.done()[..], [(5_000..=5_010, Step::HandOver { .. })]));
}

#[test]
fn a_topic_that_had_joined_and_has_left_is_waited_for() {
    let mut life = joining(2);
    life.join(1, 0..1, Joined::Yes);
    life.pass(IN_FLIGHT);
    life.tick(0, 0);
    life.pass(SECOND);
    life.join(1, 0..1, Joined::No);
    life.pass(10 * SECOND);
    assert_eq!(life.done(), []);
}

#[test]
fn topics_without_numbers_have_half_a_second_on_both_lines() {
    let mut life = joining(2);
    life.join(1, 0..1, Joined::Yes);
    life.join(1, 1..2, Joined::Roughly);
    life.pass(SECOND);
    assert!(matches!(life.done()[..], [(500..=510, Step::HandOver { .. })]));
}

#[test]
fn what_is_under_way_without_numbers_has_its_half_second_again_after_the_shard_held() {
    let mut life = joining(1);
    life.join(1, 0..1, Joined::Roughly);
    life.pass(100 * MILLI);
    life.rotation.hold(true, life.now);
    life.pass(60 * SECOND);
    life.rotation.hold(false, life.now);
    life.pass(500 * MILLI - MILLI);
    assert_eq!(life.done(), [], "what had come on the old line was not read");
    life.pass(SECOND);
    assert!(matches!(life.done()[..], [(60_600..=60_610, Step::HandOver { .. })]));
}

#[test]
fn a_topic_without_data_for_30_seconds_fails_it_and_it_is_tried_again_after_ten_minutes() {
    let mut life = joining(2);
    life.pass(IN_FLIGHT);
    life.tick(0, 1);
    life.pass(60 * SECOND);
    let fail = Step::Fail { old: 0, new: 1, why: Why::NoData(1) };
    assert!(matches!(life.done()[..], [(31_000..=31_010, ref step)] if *step == fail));
    life.end(1);
    life.pass(569 * SECOND);
    assert_eq!(life.done(), []);
    life.pass(SECOND);
    assert!(matches!(life.done()[..], [(631_000..=631_010, Step::Start { old: 0, new: 1 })]));
}

#[test]
fn the_30_seconds_of_a_topic_do_not_begin_with_the_end_of_those_of_another() {
    let mut life = joining(2);
    life.pass(IN_FLIGHT);
    (0..2).for_each(|slot| life.tick(0, slot));
    life.pass(20 * SECOND);
    life.join(1, 0..1, Joined::Yes);
    life.pass(20 * SECOND);
    let fail = Step::Fail { old: 0, new: 1, why: Why::NoData(1) };
    assert!(matches!(life.done()[..], [(31_000..=31_010, ref step)] if *step == fail));
}

#[test]
fn a_notice_ends_the_wait_after_a_failure() {
    let mut life = joining(1);
    life.rotation.refused(1, 0, &Refusal::for_now("later"), 0b01);
    life.pass(SECOND);
    assert!(matches!(life.done()[..], [(0, Step::Fail { why: Why::Refused(0, _), .. })]));
    life.ask(0);
    life.pass(SECOND);
    assert_eq!(life.done(), [], "the line that failed is closing");
    life.end(1);
    assert_eq!(life.done(), [(2_000, Step::Start { old: 0, new: 1 })]);
}

#[test]
fn an_announcement_to_a_young_socket_is_taken_for_its_age() {
    let mut life = Life::new(Rotate::default(), 1, 0);
    life.rotation.announce(0, HOUR, life.now);
    life.pass(HOUR / 2 - MILLI);
    assert_eq!(life.done(), []);
    life.pass(MILLI);
    assert_eq!(life.done(), [(1_800_000, Step::Start { old: 0, new: 1 })]);
    life.active(1);
    life.pass(Duration::ZERO);
    life.end(0);
    life.done();
    // Every socket that is opened is announced to end at once.
    life.rotation.announce(1, Duration::ZERO, life.now);
    life.pass(LEAST_AGE - MILLI);
    assert_eq!(life.done(), []);
    life.pass(MILLI);
    assert_eq!(life.done(), [(1_805_000, Step::Start { old: 1, new: 0 })]);
    let mut life = Life::new(Rotate::default(), 1, 0);
    life.pass(YOUNG);
    life.rotation.announce(0, HOUR, life.now);
    life.poll();
    assert_eq!(life.done(), [(60_000, Step::Start { old: 0, new: 1 })], "at once");
}

#[test]
fn a_topic_in_the_slot_of_a_removed_one_is_not_waited_for_as_if_it_had_ticked() {
    let mut life = joining(1);
    life.pass(IN_FLIGHT);
    life.tick(0, 0);
    life.rotation.release(0);
    life.pass(60 * SECOND);
    assert!(matches!(life.done()[..], [(5_000..=5_010, Step::HandOver { .. })]));
}

#[test]
fn a_topic_that_is_refused_for_good_and_brings_nothing_is_left_behind() {
    let mut life = joining(2);
    life.rotation.refused(1, 1, &Refusal::for_good("no such topic"), 0b01);
    life.rotation.refused(1, 0, &Refusal::for_good("no such topic"), 0b10);
    life.pass(QUIET);
    life.end(0);
    assert!(matches!(life.done()[..], [(_, Step::HandOver { .. }), (_, Step::Done { .. })]));
    assert_eq!(life.rotation.take_given_up(), [1]);
    assert_eq!(life.rotation.take_given_up(), [0; 0]);
}

#[test]
fn a_refusal_counts_if_it_is_for_now_and_of_what_the_old_line_carries() {
    let mut life = joining(1);
    life.rotation.refused(1, 0, &Refusal::for_good("no such topic"), 0b01);
    life.rotation.refused(1, 0, &Refusal::for_now("later"), 0b10);
    life.rotation.refused(0, 0, &Refusal::for_now("later"), 0b11);
    life.pass(SECOND);
    assert_eq!(life.done(), []);
}

#[test]
fn the_old_line_is_replaced_if_it_is_lost() {
    let done = |overlap| Step::Done { from: 0, to: 1, overlap };
    let mut life = joining(1);
    life.pass(2 * SECOND);
    life.lose(0);
    assert_eq!(life.done(), [(2_000, done(2 * SECOND))]);
    let mut life = Life::new(Rotate::default(), 1, 1);
    life.ask(0);
    life.pass(SECOND);
    life.lose(0);
    assert_eq!(life.done()[1..], [(1_000, done(Duration::ZERO))], "also by one that is not open");
    life.end(0);
    life.active(1);
    life.pass(HOUR);
    assert_eq!(life.done(), []);
}

#[test]
fn a_new_line_that_fails_is_dialled_again_and_has_failed_with_the_third_time() {
    let mut life = joining(1);
    life.pass(SECOND);
    life.lose(1);
    life.rotation.failed(1);
    life.pass(SECOND);
    assert_eq!(life.done(), []);
    life.active(1);
    life.lose(1);
    assert_eq!(life.done(), [(2_000, Step::Fail { old: 0, new: 1, why: Why::Lost })]);
    let mut life = joining(1);
    life.end(1);
    assert_eq!(life.done(), [(0, Step::Fail { old: 0, new: 1, why: Why::Lost })], "or has ended");
}

#[test]
fn one_line_is_replaced_at_a_time_and_first_that_which_was_asked_for() {
    let mut life = Life::new(Rotate::at_age(HOUR), 3, 0);
    life.rotation.hold(true, life.now);
    life.pass(HOUR);
    life.rotation.ask(1);
    life.rotation.hold(false, life.now);
    life.poll();
    assert_eq!(life.done(), [(3_600_000, Step::Start { old: 1, new: 4 })]);
    life.ask(2);
    life.active(4);
    life.end(1);
    let started = life.done().into_iter().filter(|(_, step)| matches!(step, Step::Start { .. }));
    assert_eq!(started.collect::<Vec<_>>(), [(3_600_000, Step::Start { old: 2, new: 5 })]);
}

#[test]
fn a_venue_of_one_session_has_its_line_closed_first() {
    let mut life = Life::new(Rotate::at_age(HOUR).jitter(SECOND).break_first(), 1, 1);
    life.pass(HOUR);
    assert_eq!(life.done(), [(3_600_000, Step::Break { line: 0, new: None })]);
    life.pass(SECOND);
    life.lose(0);
    life.rotation.failed(0);
    life.pass(60 * SECOND);
    assert_eq!(life.done(), []);
    life.active(0);
    let done = Step::Done { from: 0, to: 0, overlap: Duration::ZERO };
    assert_eq!(life.done(), [(3_661_000, done)]);
}

/// An age below the time that a line takes to become active: it carries its topics for half of the time all the same.
#[test]
fn a_line_that_is_closed_first_is_not_closed_before_it_was_active_for_a_while() {
    let mut life = Life::new(Rotate::at_age(5 * SECOND).jitter(Duration::ZERO).break_first(), 1, 1);
    life.lose(0);
    for round in 0..3 {
        life.open(0);
        life.pass(20 * SECOND);
        assert_eq!(life.done(), [], "round {round}: it is not active");
        life.leg(0).is_active = true;
        life.rotation.activate(0, life.now);
        life.pass(20 * SECOND - MILLI);
        let done = life.done();
        assert!(!done.iter().any(|(_, it)| matches!(it, Step::Break { .. })), "{round}: {done:?}");
        life.pass(MILLI);
        assert!(matches!(life.done()[..], [(_, Step::Break { .. })]), "round {round}");
        life.lose(0);
    }
    // A command does not wait.
    life.open(0);
    life.leg(0).is_active = true;
    life.rotation.activate(0, life.now);
    life.poll();
    life.ask(0);
    assert!(matches!(life.done()[..], [(_, Step::Done { .. }), (_, Step::Break { .. })]));
}

#[test]
fn without_a_socket_for_30_seconds_the_old_line_is_closed_first() {
    let mut life = Life::new(Rotate::default(), 1, 1);
    life.ask(0);
    life.leg(1).waits_for_socket = true;
    life.pass(20 * SECOND);
    life.leg(1).waits_for_socket = false;
    life.pass(SECOND);
    life.leg(1).waits_for_socket = true;
    life.pass(29 * SECOND);
    assert_eq!(life.done()[1..], []);
    life.pass(2 * SECOND);
    assert_eq!(life.done(), [(51_000, Step::Break { line: 0, new: Some(1) })]);
    life.end(1);
    life.lose(0);
    life.active(0);
    assert!(matches!(life.done()[..], [(_, Step::Done { from: 0, to: 0, .. })]));
}

#[test]
fn nothing_is_decided_while_the_shard_holds() {
    let mut life = joining(2);
    life.pass(IN_FLIGHT);
    life.tick(0, 0);
    life.rotation.hold(true, life.now);
    life.pass(60 * SECOND);
    life.rotation.hold(false, life.now);
    life.pass(29 * SECOND);
    assert_eq!(life.done(), [], "it has the whole time again");
    life.join(1, 0..1, Joined::Yes);
    life.pass(SECOND);
    assert!(matches!(life.done()[..], [(90_000..=90_010, Step::HandOver { .. })]));
}

#[test]
fn a_shard_that_does_not_hold_begins_no_time_anew() {
    let mut life = joining(1);
    life.pass(IN_FLIGHT);
    life.tick(0, 0);
    life.pass(20 * SECOND);
    life.rotation.hold(false, life.now);
    life.pass(20 * SECOND);
    assert!(matches!(life.done()[..], [(31_000..=31_010, Step::Fail { .. })]));
}

#[test]
fn it_goes_on_at_once_after_a_hold_without_an_event() {
    let mut life = joining(1);
    life.pass(SECOND);
    life.rotation.hold(true, life.now);
    life.pass(4 * SECOND);
    assert_eq!(life.rotation.poll_timeout(), None);
    life.rotation.hold(false, life.now);
    assert_eq!(life.rotation.poll_timeout(), Some(life.now));
    life.pass(QUIET);
    assert!(matches!(life.done()[..], [(10_000..=10_010, Step::HandOver { .. })]));
}

#[test]
fn what_was_under_way_during_a_hold_is_not_waited_for() {
    let mut life = joining(1);
    life.rotation.hold(true, life.now);
    life.pass(20 * SECOND);
    life.rotation.hold(false, life.now);
    // It was sent before the topic was confirmed on the new line.
    life.tick(0, 0);
    life.pass(QUIET + SECOND);
    assert!(matches!(life.done()[..], [(25_000..=25_010, Step::HandOver { .. })]));
}

#[test]
fn a_line_is_not_closed_first_while_no_other_one_carries_the_topics() {
    let mut life = Life::new(Rotate::default().break_first(), 2, 1);
    life.lose(1);
    life.ask(0);
    life.pass(HOUR);
    life.open(1);
    life.pass(HOUR);
    assert_eq!(life.done(), [], "the other line is away, or not active yet");
    life.active(1);
    assert_eq!(life.done(), [(7_200_000, Step::Break { line: 0, new: None })]);
    // Without a socket for the new line the same holds.
    let mut life = Life::new(Rotate::default(), 2, 1);
    life.ask(0);
    life.lose(1);
    life.leg(2).waits_for_socket = true;
    life.pass(MINUTE);
    assert_eq!(life.done(), [(0, Step::Start { old: 0, new: 2 })]);
    life.active(1);
    life.pass(MINUTE);
    assert!(matches!(life.done()[..], [(90_000, Step::Break { line: 0, new: Some(2) })]));
}

#[test]
fn a_line_that_was_closed_first_and_does_not_come_back_is_reported_after_an_hour() {
    for pauses in [false, true] {
        let mut life = Life::new(Rotate::default().break_first(), 1, 1);
        life.ask(0);
        life.lose(0);
        life.rotation.pause(pauses);
        life.pass(STAGE_TIMEOUT);
        let (at, why) = if pauses { (0, Why::Paused) } else { (3_600_000, Why::Overdue) };
        let fail = Step::Fail { old: 0, new: 0, why };
        assert_eq!(life.done(), [(0, Step::Break { line: 0, new: None }), (at, fail)]);
        life.rotation.pause(false);
        life.active(0);
        life.pass(2 * REST);
        assert_eq!(life.done(), [], "its socket is a new one");
    }
}

#[test]
fn a_new_line_without_a_socket_for_an_hour_fails_it() {
    let mut life = Life::new(Rotate::default(), 1, 1);
    life.ask(0);
    life.pass(STAGE_TIMEOUT - SECOND);
    // From then on its session has deadlines.
    life.open(1);
    life.pass(2 * STAGE_TIMEOUT);
    assert_eq!(life.done(), [(0, Step::Start { old: 0, new: 1 })]);
    life.lose(1);
    life.pass(STAGE_TIMEOUT);
    let fail = Step::Fail { old: 0, new: 1, why: Why::Overdue };
    assert_eq!(life.done(), [(4 * 3_600_000 - 1_000, fail)]);
}

#[test]
fn a_pause_ends_it_and_none_begins_meanwhile() {
    let mut life = joining(1);
    assert!(!life.rotation.is_paused());
    life.rotation.pause(true);
    assert!(life.rotation.is_paused());
    life.poll();
    assert_eq!(life.done(), [(0, Step::Fail { old: 0, new: 1, why: Why::Paused })]);
    life.end(1);
    life.ask(0);
    life.pass(HOUR);
    assert_eq!(life.done(), []);
    life.rotation.pause(false);
    life.poll();
    assert_eq!(life.done(), [(3_600_000, Step::Start { old: 0, new: 1 })]);
}

#[test]
fn lines_that_are_asked_for_together_are_replaced_one_after_the_other_and_once() {
    let mut life = Life::new(Rotate::default(), 2, 0);
    [0, 1].into_iter().for_each(|line| life.rotation.ask(line));
    life.poll();
    for (old, new) in [(0, 2), (1, 3)] {
        assert_eq!(life.done(), [(0, Step::Start { old, new })]);
        life.active(new);
        life.pass(Duration::ZERO);
        assert_eq!(life.done(), [(0, Step::HandOver { old, new })]);
        life.end(old);
        assert!(matches!(life.next(), Some((0, Step::Done { .. }))));
    }
    life.pass(HOUR);
    assert_eq!(life.done(), []);
}

#[test]
fn failures_of_another_line_of_the_shard_do_not_count() {
    let mut life = Life::new(Rotate::default(), 2, 1);
    life.ask(0);
    (0..MAX_FAILURES).for_each(|_| life.rotation.failed(1));
    life.pass(SECOND);
    assert_eq!(life.done(), [(0, Step::Start { old: 0, new: 2 })]);
    (0..MAX_FAILURES).for_each(|_| life.rotation.failed(2));
    life.poll();
    assert_eq!(life.done(), [(1_000, Step::Fail { old: 0, new: 2, why: Why::Lost })]);
}

#[test]
fn the_wait_after_a_failure_is_that_of_one_line() {
    let mut life = Life::new(Rotate::default(), 2, 1);
    for (old, new) in [(1, 3), (0, 2)] {
        life.ask(old);
        life.end(new);
        let fail = Step::Fail { old, new, why: Why::Lost };
        assert_eq!(life.done(), [(0, Step::Start { old, new }), (0, fail)]);
    }
    life.pass(SECOND);
    assert_eq!(life.done(), [], "each waits");
    life.ask(1);
    assert_eq!(life.done(), [(1_000, Step::Start { old: 1, new: 3 })]);
}

#[test]
fn data_matters_while_topics_join_and_polls_while_something_is_to_be_done() {
    let mut life = Life::new(Rotate::at_age(HOUR).jitter(Duration::ZERO), 1, 1);
    assert!(!life.rotation.is_due(life.now) && life.rotation.is_due(life.now + HOUR));
    life.ask(0);
    assert!(life.rotation.is_due(life.now) && !life.rotation.is_watching());
    life.active(1);
    assert!(life.rotation.is_watching());
    life.pass(QUIET + SECOND);
    assert!(!life.rotation.is_watching(), "it has taken over");
    life.end(0);
    assert!(!life.rotation.is_due(life.now));
}

#[test]
fn a_topic_that_is_released_is_not_left_behind() {
    let mut life = joining(2);
    (0..2).for_each(|slot| life.rotation.refused(1, slot, &Refusal::for_good("gone"), 0b01));
    life.rotation.release(0);
    life.pass(QUIET);
    life.end(0);
    assert_eq!(life.rotation.take_given_up(), [1]);
}

#[test]
fn a_line_of_one_session_that_ends_for_good_is_no_hindrance_to_the_others() {
    let mut life = Life::new(Rotate::at_age(HOUR).jitter(Duration::ZERO).break_first(), 2, 1);
    life.ask(0);
    assert_eq!(life.done(), [(0, Step::Break { line: 0, new: None })]);
    life.end(0);
    life.pass(HOUR);
    assert_eq!(life.done(), [(3_600_000, Step::Break { line: 1, new: None })]);
}

#[test]
fn a_line_that_is_refused_for_good_is_not_replaced() {
    let mut life = Life::new(Rotate::at_age(HOUR), 1, 1);
    life.leg(0).may_rotate = false;
    life.ask(0);
    life.pass(2 * HOUR);
    assert_eq!(life.done(), []);
}
