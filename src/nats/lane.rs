//! The publications of one topic: what waits, what is in flight, and what follows the last message in the stream.
//!
//! That last message is the truth: it says how far the topic is published, by whomever. An owner reads it before its first
//! publication and after each that was rejected, and publishes what follows. Each publication names the sequence of the
//! message that it follows, so that the broker takes one of those that follow the same one.
//!
//! ```text
//!              updates                 Owner, not read yet            read
//!   (queue) -----------> waiting -----------------------> reading ---------> known --+
//!                                                            ^                       | publish one
//!                                      rejected, or a timeout |                       v
//!                                                            +------------------- in flight
//!                                                                                    | stored: the next one
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::feed::Sequence;
use crate::nats::generation::{Judged, Last, Now, Number, Reach, Run};

/// What a publisher does with the updates of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Role {
    /// It publishes them.
    Owner {
        /// The revision of the lease, which is published with each message. An owner that finds a higher one in the
        /// stream than its own has lost the topic, and publishes nothing more. 0 for a topic that is not shared.
        fence: u64,
        /// Until when it may publish; `None` without an end. Checked before each publication.
        until: Option<Instant>,
    },
    /// It publishes nothing, and keeps the newest of them, to publish what is missing in the stream if it becomes the
    /// owner.
    Standby,
    /// It drops them.
    #[default]
    None,
}

/// An update that waits to be published.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) number: Number,
    pub(crate) bytes: Bytes,
    pub(crate) received: Instant,
    /// Whether the venue began its numbers anew with it.
    begins: bool,
    /// Whether it was sent to the broker.
    was_sent: bool,
}

/// What is sent to the broker for a topic.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sent {
    /// A question for the last message of the subject.
    Read,
    Publication(Publication),
}

/// A message for the stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Publication {
    pub(crate) number: Number,
    /// The generation of its number; `None` without a number.
    pub(crate) generation: Option<u64>,
    pub(crate) bytes: Bytes,
    /// The sequence of the message of the subject that it follows; 0 for none.
    pub(crate) follows: u64,
    pub(crate) fence: u64,
}

/// What the broker answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// The message is stored.
    Stored {
        /// Its sequence.
        sequence: u64,
        /// Whether it had been stored before.
        is_duplicate: bool,
    },
    /// The last message of the subject is another one.
    WrongLast,
    /// The message is larger than the stream takes.
    TooLarge,
    /// The broker cannot take the message now, or has not understood the question.
    Failed,
    /// The last message of the subject, if there is one.
    Last(Option<Last>),
}

/// What was sent and not answered yet.
#[derive(Debug)]
pub(crate) struct Flight {
    /// The number of what was sent, over the life of the lane.
    pub(crate) number: u64,
    pub(crate) sent: Sent,
}

/// What is to be done for a topic.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Nothing until something happens.
    Idle,
    /// Nothing until then.
    Wait(Instant),
    /// What [`Lane::flight`] has is to be sent.
    Send,
}

/// What has become of messages since it was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) published: u64,
    pub(crate) acknowledged: u64,
    pub(crate) duplicates: u64,
    pub(crate) refused: u64,
    /// Messages that a standby kept no longer, or that the role ended for.
    pub(crate) dropped: u64,
    pub(crate) fenced: u64,
}

impl Counts {
    /// Adds others.
    pub(crate) fn add(&mut self, other: Counts) {
        let Counts { published, acknowledged, duplicates, refused, dropped, fenced } = other;
        self.published += published;
        self.acknowledged += acknowledged;
        self.duplicates += duplicates;
        self.refused += refused;
        self.dropped += dropped;
        self.fenced += fenced;
    }
}

/// The publications of one topic.
#[derive(Debug)]
pub(crate) struct Lane {
    role: Role,
    /// Updates that are received later than this are not published: the owner is about to give the topic up.
    ends: Option<Instant>,
    queue: VecDeque<Item>,
    /// The bytes of their payloads.
    bytes: usize,
    /// How many of them begin a run.
    breaks: usize,
    /// The last number that the feed delivered.
    delivered: Option<u64>,
    /// The numbers since the venue began them anew last, of the head of the queue.
    run: Option<Run>,
    /// The last message in the stream; `None` if it is not known, the inner one if there is none.
    last: Option<Option<Last>>,
    pub(crate) flight: Option<Flight>,
    /// The number of what is sent next.
    next_flight: u64,
    /// How often in a row the broker could not take a message.
    failures: u32,
    /// When it is sent again after that.
    retry_at: Option<Instant>,
    pub(crate) counts: Counts,
}

/// The delay after the first failure, and the longest: it is doubled with each.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// When a standby reads again if nothing in the stream says which generation its numbers belong to: the owner may not have
/// published yet.
const READ_AGAIN: Duration = Duration::from_secs(5);

impl Lane {
    pub(crate) fn new(role: Role) -> Lane {
        Lane {
            role,
            ends: None,
            queue: VecDeque::new(),
            bytes: 0,
            breaks: 0,
            delivered: None,
            run: None,
            last: None,
            flight: None,
            next_flight: 0,
            failures: 0,
            retry_at: None,
            counts: Counts::default(),
        }
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Returns how many messages wait, and the bytes of their payloads.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.queue.len(), self.bytes)
    }

    /// Adds an update that the feed has delivered.
    pub(crate) fn push(
        &mut self,
        sequence: Sequence,
        snapshot: bool,
        bytes: Bytes,
        received: Instant,
    ) {
        let number = Number::of(sequence, snapshot);
        // What has no number could only be published twice.
        let is_kept = match self.role {
            Role::Owner { .. } => true,
            Role::Standby => number != Number::None,
            Role::None => false,
        };
        if !is_kept {
            return;
        }
        let mut begins = sequence.restarted;
        if let Number::Ordered { last, .. } = number {
            begins |= self.delivered.is_some_and(|delivered| last < delivered);
            self.delivered = Some(last);
        }
        if self.run.is_none() {
            self.run = Some(Run::new(received));
            begins = false;
        }
        self.bytes += bytes.len();
        self.breaks += usize::from(begins);
        self.queue.push_back(Item { number, bytes, received, begins, was_sent: false });
        if self.role == Role::Standby && (begins || self.generation().is_none()) {
            self.anchor();
        }
    }

    /// Changes the role.
    pub(crate) fn set_role(&mut self, role: Role) {
        let before = std::mem::replace(&mut self.role, role);
        self.ends = None;
        match (before, role) {
            (Role::Owner { fence, .. }, Role::Owner { fence: new, .. }) if fence == new => {}
            (_, Role::None) => {
                while self.pop().is_some() {
                    self.counts.dropped += 1;
                }
                (self.delivered, self.run, self.last) = (None, None, None);
            }
            // Somebody else may publish, or have published.
            _ => (self.last, self.retry_at) = (None, None),
        }
    }

    /// Publishes what was received until then and nothing later, until the role is set.
    pub(crate) fn end(&mut self, at: Instant) {
        self.ends = Some(at);
    }

    /// Whether an [end](Lane::end) was set.
    pub(crate) fn ends(&self) -> bool {
        self.ends.is_some()
    }

    /// Whether all that is to be published before the [end](Lane::end) is acknowledged.
    pub(crate) fn has_ended(&self) -> bool {
        let Some(ends) = self.ends else { return true };
        self.flight.is_none() && self.queue.front().is_none_or(|item| item.received > ends)
    }

    /// Drops the oldest message of a standby if it was received before this time. Returns its size.
    pub(crate) fn expire(&mut self, before: Instant) -> Option<usize> {
        let is_old = self.role == Role::Standby && self.queue.front()?.received < before;
        let item = is_old.then(|| self.pop())??;
        self.counts.dropped += 1;
        Some(item.bytes.len())
    }

    /// Returns what is to be done, and puts what is to be sent in [`flight`](Lane::flight).
    pub(crate) fn step(&mut self, now: Now) -> Step {
        if self.flight.is_some() {
            return Step::Idle;
        }
        if let Some(at) = self.retry_at.filter(|at| *at > now.at) {
            return Step::Wait(at);
        }
        self.retry_at = None;
        match self.role {
            Role::Owner { until, .. } if until.is_some_and(|until| until <= now.at) => Step::Idle,
            Role::Owner { fence, .. } => self.publish(fence, now),
            // It learns which generation its numbers belong to while it can still compare them.
            Role::Standby if self.last.is_none() || self.is_lost() => self.send(Sent::Read),
            Role::Standby | Role::None => Step::Idle,
        }
    }

    /// Whether the newest numbers of a standby may be of any generation.
    fn is_lost(&self) -> bool {
        let newest = self.queue.back().and_then(|item| item.number.position());
        newest.is_some() && (self.breaks > 0 || self.generation().is_none())
    }

    /// Returns the generation of the head of the queue, if it is known.
    fn generation(&self) -> Option<u64> {
        self.run.as_ref().and_then(|run| run.generation)
    }

    /// Publishes the first message that follows the last one in the stream.
    fn publish(&mut self, fence: u64, now: Now) -> Step {
        while let Some(item) = self.queue.front() {
            if self.ends.is_some_and(|ends| item.received > ends) {
                break;
            }
            // Most topics of a standby that has become the owner are read before they have anything to publish.
            let Some(last) = self.last else { return self.send(Sent::Read) };
            let number = item.number;
            self.begin_run();
            let generation = match self.judge(number, last.as_ref(), now) {
                Judged::Publish(generation) => generation,
                Judged::Hold(until) => return Step::Wait(until),
                Judged::Wait => return Step::Idle,
                Judged::Known => {
                    self.pop_known();
                    continue;
                }
            };
            let Some(item) = self.queue.front_mut() else { break };
            if !std::mem::replace(&mut item.was_sent, true) {
                self.counts.published += 1;
            }
            let follows = last.map_or(0, |last| last.sequence);
            let bytes = item.bytes.clone();
            let publication = Publication { number, generation, bytes, follows, fence };
            return self.send(Sent::Publication(publication));
        }
        Step::Idle
    }

    /// Decides about the head of the queue.
    fn judge(&mut self, number: Number, last: Option<&Last>, now: Now) -> Judged {
        let reach = self.reach();
        // A queue with a head has a run.
        let Some(run) = &mut self.run else { return Judged::Known };
        run.judge(number, reach, last, now)
    }

    /// Returns how far the run of the head goes.
    fn reach(&self) -> Option<Reach> {
        let next = match self.breaks {
            0 => self.queue.len(),
            // That it has ended is all that is asked of it.
            _ if !self.run.as_ref().is_some_and(Run::is_unknown) => 1,
            _ => (1..self.queue.len()).find(|at| self.queue[*at].begins).unwrap_or(1),
        };
        let newest = self.queue.get(next.checked_sub(1)?)?;
        Some(Reach { newest: newest.number, received: newest.received, has_ended: self.breaks > 0 })
    }

    fn send(&mut self, sent: Sent) -> Step {
        let number = self.next_flight;
        self.next_flight += 1;
        self.flight = Some(Flight { number, sent });
        Step::Send
    }

    /// Takes the answer to what was sent. Returns `false` if it is an answer to something older, and nothing has changed.
    pub(crate) fn handle(&mut self, flight: u64, answer: Answer, now: Now) -> bool {
        let Some(sent) = self.flight.take_if(|it| it.number == flight).map(|it| it.sent) else {
            return false;
        };
        match (sent, answer) {
            (Sent::Read, Answer::Last(last)) => self.learn(last, now.at),
            (Sent::Publication(sent), Answer::Stored { sequence, is_duplicate }) => {
                self.stored(&sent, sequence, is_duplicate, now.at);
            }
            (Sent::Publication(_), Answer::WrongLast) => (self.last, self.failures) = (None, 0),
            (sent, Answer::TooLarge) => {
                // A subject that is too long cannot be asked for either. Nothing is left of a role that has ended.
                let is_it = |item: &Item| item.was_sent || sent == Sent::Read;
                if self.queue.front().is_some_and(is_it) {
                    self.pop();
                    self.counts.refused += 1;
                }
            }
            _ => {
                let doubled = RETRY_FIRST * (1 << self.failures.min(6));
                self.retry_at = Some(now.at + doubled.min(RETRY_LONGEST));
                self.failures += 1;
            }
        }
        true
    }

    /// Gives up what is in flight: whether it was stored is for the next owner to read.
    pub(crate) fn give_up(&mut self) {
        if self.flight.take().is_some() {
            self.last = None;
        }
    }

    /// Notes the last message in the stream.
    fn learn(&mut self, last: Option<Last>, now: Instant) {
        self.failures = 0;
        self.last = Some(last);
        // Without shares there is no lease, and so nobody to give the topic up to.
        if let (Some(last), Role::Owner { fence: fence @ 1.., .. }) = (last, self.role)
            && last.fence > fence
        {
            self.counts.fenced += 1;
            self.role = Role::Standby;
        }
        if self.role == Role::Standby {
            self.anchor();
            self.retry_at = self.is_lost().then(|| now + READ_AGAIN);
        }
    }

    /// Notes of a standby which generation its numbers belong to.
    fn anchor(&mut self) {
        let Some(Some(last)) = self.last else { return };
        // The owner has seen the restart too: what was before is over.
        if self.breaks == 1 && self.generation().is_some() && last.generation > self.generation() {
            while self.breaks > 0 {
                if self.queue.front().is_some_and(|item| item.begins) {
                    self.begin_run();
                } else {
                    self.pop_known();
                }
            }
        }
        if let (0, Some(newest), Some(run)) = (self.breaks, self.queue.back(), &mut self.run) {
            run.anchor(newest.number, &last);
        }
    }

    /// Notes that a publication was stored.
    fn stored(&mut self, sent: &Publication, sequence: u64, is_duplicate: bool, now: Instant) {
        self.failures = 0;
        self.counts.acknowledged += 1;
        self.counts.duplicates += u64::from(is_duplicate);
        // A role that has ended has dropped it, or it may have been given up for being old.
        let is_head = self.queue.front().is_some_and(|item| item.was_sent);
        if is_head {
            self.pop();
            if let (Some(run), Some(generation)) = (&mut self.run, sent.generation) {
                run.generation = Some(generation);
            }
        }
        if matches!(self.role, Role::Owner { .. }) {
            let fence = sent.fence;
            let last = Last {
                sequence,
                stored_at: now,
                generation: sent.generation,
                number: sent.number.position(),
                fence,
            };
            self.last = Some(Some(last));
        }
    }

    /// Removes the head of the queue, which the stream has already.
    fn pop_known(&mut self) {
        if let Some(item) = self.pop() {
            let count = match item.was_sent {
                true => &mut self.counts.acknowledged,
                false => &mut self.counts.duplicates,
            };
            *count += 1;
        }
    }

    fn pop(&mut self) -> Option<Item> {
        self.begin_run();
        let item = self.queue.pop_front()?;
        self.bytes -= item.bytes.len();
        Some(item)
    }

    /// Begins with the run that begins at the head of the queue, if one does.
    fn begin_run(&mut self) {
        if let Some(item) = self.queue.front_mut().filter(|item| item.begins) {
            item.begins = false;
            self.breaks -= 1;
            self.run = self.run.take().map(|run| run.next(item.received));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Role = Role::Owner { fence: 3, until: None };

    struct Test {
        lane: Lane,
        start: Instant,
    }

    impl Test {
        fn new(role: Role) -> Test {
            Test { lane: Lane::new(role), start: Instant::now() }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn now(&self, ms: u64) -> Now {
            Now { at: self.at(ms), unix_ms: 1000 + ms }
        }

        fn push(&mut self, number: u64) {
            self.push_at(number, 0);
        }

        fn push_at(&mut self, number: u64, ms: u64) {
            let bytes = Bytes::from(number.to_string());
            self.lane.push(Sequence::contiguous(number, number), false, bytes, self.at(ms));
        }

        fn last(&self, number: u64, fence: u64) -> Option<Last> {
            let number = Some((number, false));
            Some(Last { sequence: 40, stored_at: self.start, generation: Some(7), number, fence })
        }

        /// Steps, and returns what is sent.
        fn sent(&mut self, ms: u64) -> Option<Sent> {
            match self.lane.step(self.now(ms)) {
                Step::Send => Some(self.lane.flight.as_ref().unwrap().sent.clone()),
                Step::Idle | Step::Wait(_) => None,
            }
        }

        /// Steps, and returns the number that is published, and what it follows.
        #[track_caller]
        fn published(&mut self, ms: u64) -> (u64, u64) {
            match self.sent(ms) {
                Some(Sent::Publication(it)) => (it.number.position().unwrap().0, it.follows),
                other => panic!("{other:?}"),
            }
        }

        /// Answers what is in flight.
        #[track_caller]
        fn answer(&mut self, ms: u64, answer: Answer) {
            let flight = self.lane.flight.as_ref().unwrap().number;
            assert!(self.lane.handle(flight, answer, self.now(ms)));
        }

        fn stored(&mut self, sequence: u64) {
            self.answer(0, Answer::Stored { sequence, is_duplicate: false });
        }

        /// Answers a read, which is the next to be sent.
        #[track_caller]
        fn read(&mut self, ms: u64, last: Option<Last>) {
            assert_eq!(self.sent(ms), Some(Sent::Read));
            self.answer(ms, Answer::Last(last));
        }
    }

    #[test]
    fn an_owner_reads_the_subject_and_publishes_one_after_the_other() {
        let mut test = Test::new(OWNER);
        assert_eq!(test.sent(0), None, "nothing to publish");
        [5, 6, 7].into_iter().for_each(|number| test.push(number));
        test.read(0, test.last(5, 0));
        assert_eq!(test.published(0), (6, 40));
        assert_eq!(test.sent(0), None, "one is in flight");
        test.stored(41);
        assert_eq!(test.published(0), (7, 41));
        test.stored(43);
        assert_eq!(test.sent(0), None);
        test.push(8);
        assert_eq!(test.published(0), (8, 43));
        let counts = Counts { published: 3, acknowledged: 2, duplicates: 1, ..Counts::default() };
        assert_eq!((test.lane.counts, test.lane.waiting()), (counts, (1, 1)));
    }

    #[test]
    fn an_owner_that_ends_publishes_what_it_had_received() {
        let mut test = Test::new(OWNER);
        assert!(test.lane.has_ended(), "nothing is asked for");
        test.push_at(6, 100);
        test.push_at(7, 200);
        test.push_at(8, 201);
        test.read(200, test.last(5, 0));
        test.lane.end(test.at(200));
        assert!(!test.lane.has_ended());
        assert_eq!(test.published(300), (6, 40));
        test.stored(41);
        assert!(!test.lane.has_ended(), "7 waits");
        assert_eq!(test.published(300), (7, 41));
        assert!(!test.lane.has_ended(), "7 is in flight");
        test.stored(42);
        assert!(test.lane.has_ended());
        assert_eq!(test.sent(300), None, "8 came later");
        // It is kept, and published if the topic stays.
        test.lane.set_role(Role::Standby);
        test.lane.set_role(OWNER);
        test.read(400, test.last(7, 3));
        assert_eq!(test.published(400).0, 8);
    }

    #[test]
    fn a_rejected_publication_is_resolved_by_reading_the_subject() {
        let mut test = Test::new(OWNER);
        [5, 6, 7].into_iter().for_each(|number| test.push(number));
        test.read(0, None);
        let sent = test.sent(0);
        test.answer(0, Answer::WrongLast);
        // Another owner has published 5, and its own 6 was stored without an answer.
        test.read(0, test.last(5, 0));
        assert_eq!(test.published(0), (6, 40));
        assert!(matches!(sent, Some(Sent::Publication(it)) if it.follows == 0));
        test.answer(0, Answer::WrongLast);
        test.read(0, test.last(6, 0));
        assert_eq!(test.published(0), (7, 40));
        assert_eq!(test.lane.counts.acknowledged, 2);
    }

    #[test]
    fn an_answer_to_something_older_changes_nothing() {
        let mut test = Test::new(OWNER);
        test.push(5);
        test.read(0, None);
        assert_eq!(test.published(0), (5, 0));
        assert!(!test.lane.handle(0, Answer::Last(None), test.now(0)));
        assert!(test.lane.flight.is_some());
    }

    #[test]
    fn what_the_broker_cannot_take_is_sent_again_later_and_later() {
        let mut test = Test::new(OWNER);
        test.push(5);
        test.read(0, None);
        let mut now = 0;
        for delay in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            assert_eq!(test.published(now), (5, 0));
            test.answer(now, Answer::Failed);
            assert_eq!(test.lane.step(test.now(now)), Step::Wait(test.at(now + delay)));
            now += delay;
        }
        assert_eq!(test.published(now), (5, 0));
        test.stored(1);
        test.push(6);
        assert_eq!(test.published(now), (6, 1));
        test.answer(now, Answer::Failed);
        assert_eq!(
            test.lane.step(test.now(now)),
            Step::Wait(test.at(now + 100)),
            "from the beginning"
        );
    }

    #[test]
    fn what_is_too_large_for_the_stream_is_left_out() {
        let mut test = Test::new(OWNER);
        [5, 6].into_iter().for_each(|number| test.push(number));
        test.read(0, None);
        assert_eq!(test.published(0), (5, 0));
        test.answer(0, Answer::TooLarge);
        assert_eq!(test.published(0), (6, 0));
        assert_eq!(test.lane.counts.refused, 1);
    }

    #[test]
    fn nothing_is_published_once_the_lease_is_over() {
        let mut test = Test::new(Role::Standby);
        test.lane.set_role(Role::Owner { fence: 1, until: Some(test.at(10)) });
        [5, 6].into_iter().for_each(|number| test.push(number));
        test.read(0, None);
        assert_eq!(test.published(9), (5, 0));
        test.stored(1);
        assert_eq!(test.sent(10), None);
        test.lane.set_role(Role::Owner { fence: 1, until: Some(test.at(20)) });
        assert_eq!(test.published(10), (6, 1), "a longer lease needs no read");
    }

    #[test]
    fn an_owner_that_finds_a_higher_fence_gives_the_topic_up() {
        let mut test = Test::new(OWNER);
        test.push(5);
        test.read(0, test.last(4, 4));
        assert_eq!((test.sent(0), test.lane.role()), (None, Role::Standby));
        assert_eq!(test.lane.counts.fenced, 1);
        // Without shares there is nobody to give it up to.
        let mut test = Test::new(Role::Owner { fence: 0, until: None });
        test.push(5);
        test.read(0, test.last(4, 4));
        assert_eq!(test.published(0), (5, 40));
    }

    #[test]
    fn a_standby_keeps_what_the_next_owner_may_lack() {
        let mut test = Test::new(Role::Standby);
        test.read(0, None);
        (1..=6).for_each(|number| test.push_at(number, 10 * number));
        let bytes = Bytes::from_static(b"x");
        test.lane.push(Sequence::none(), false, bytes, test.at(60));
        let before = test.at(20);
        while test.lane.expire(before).is_some() {}
        assert_eq!((test.lane.waiting(), test.lane.counts.dropped), ((5, 5), 1));
        test.lane.set_role(OWNER);
        assert_eq!(test.lane.expire(test.at(1000)), None, "an owner drops nothing");
        test.read(70, test.last(4, 2));
        assert_eq!(test.published(70), (5, 40));
    }

    #[test]
    fn a_standby_that_read_an_empty_subject_reads_again() {
        let mut test = Test::new(Role::Standby);
        test.read(0, None);
        assert_eq!(test.sent(0), None, "without an update there is nothing to compare");
        test.push(5);
        test.read(0, None);
        assert_eq!(test.lane.step(test.now(0)), Step::Wait(test.at(5000)));
        test.read(5000, test.last(4, 1));
        assert_eq!(test.sent(99_000), None, "it knows its generation");
    }

    #[test]
    fn a_topic_without_a_role_has_nothing_that_waits() {
        let mut test = Test::new(OWNER);
        [5, 6].into_iter().for_each(|number| test.push(number));
        test.read(0, None);
        assert_eq!(test.published(0), (5, 0));
        test.lane.set_role(Role::None);
        test.push(7);
        assert_eq!((test.lane.waiting(), test.lane.counts.dropped), ((0, 0), 2));
        assert!(test.lane.flight.is_some(), "it is released once this is answered");
        test.stored(1);
        assert_eq!(test.sent(0), None);
        // What was in flight and is not answered is given up.
        test.lane.set_role(OWNER);
        test.push(8);
        test.read(0, test.last(7, 0));
        assert_eq!(test.published(0), (8, 40));
        test.lane.set_role(Role::Standby);
        test.lane.give_up();
        test.lane.set_role(OWNER);
        test.read(0, test.last(8, 0));
        assert_eq!((test.sent(0), test.lane.counts.acknowledged), (None, 2));
    }

    #[test]
    fn lower_numbers_begin_a_generation() {
        let mut test = Test::new(OWNER);
        [5, 6, 1, 2].into_iter().for_each(|number| test.push_at(number, 20_000));
        test.read(0, test.last(4, 0));
        let mut published = Vec::new();
        for sequence in 41.. {
            let Some(Sent::Publication(it)) = test.sent(0) else { break };
            published.push((it.generation.unwrap(), it.number.position().unwrap().0));
            test.stored(sequence);
        }
        assert_eq!(published, [(7, 5), (7, 6), (1000, 1), (1000, 2)]);
    }
}
