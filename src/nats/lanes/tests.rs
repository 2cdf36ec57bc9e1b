use proptest::prelude::*;

use super::*;
use crate::nats::generation::{Last, Number};
use crate::nats::lane::Publication;

const OWNER: Role = Role::Owner { fence: 0, until: None };

fn limits() -> Limits {
    Limits {
        in_flight: 2,
        ack_timeout: Duration::from_secs(2),
        messages: 4,
        bytes: 100,
        keep: Duration::from_secs(10),
    }
}

struct Test {
    lanes: Lanes,
    start: Instant,
}

impl Test {
    fn new(role: Role) -> Test {
        let start = Instant::now();
        let mut lanes = Lanes::new(limits(), role);
        lanes.set_connected(true, start);
        Test { lanes, start }
    }

    fn now(&self, ms: u64) -> Now {
        Now { at: self.start + Duration::from_millis(ms), unix_ms: 1000 + ms }
    }

    fn push(&mut self, topic: &str, number: u64, bytes: usize) {
        let bytes = Bytes::from(vec![b'x'; bytes]);
        self.lanes.push(
            &topic.into(),
            Sequence::contiguous(number, number),
            false,
            bytes,
            self.start,
        );
    }

    /// What is sent until nothing more is: the topic, and the number or 0 for a read.
    fn sent(&mut self, ms: u64) -> Vec<(LaneId, u64, String)> {
        let now = self.now(ms);
        std::iter::from_fn(|| {
            let it = self.lanes.poll(now)?;
            let number = match it.sent {
                Sent::Publication(it) => it.number.position().unwrap().0,
                Sent::Read => 0,
            };
            Some((it.lane, it.flight, format!("{}{number}", it.topic)))
        })
        .collect()
    }

    fn words(sent: &[(LaneId, u64, String)]) -> Vec<&str> {
        sent.iter().map(|(.., word)| &**word).collect()
    }

    fn answer(&mut self, sent: &[(LaneId, u64, String)], answer: &Answer) {
        let now = self.now(0);
        sent.iter()
            .for_each(|(lane, flight, _)| self.lanes.handle(*lane, *flight, answer.clone(), now));
    }
}

#[test]
fn so_much_is_in_flight_over_all_topics_and_each_has_its_turn() {
    let mut test = Test::new(OWNER);
    for topic in ["a", "b", "c"] {
        test.push(topic, 1, 1);
    }
    let sent = test.sent(0);
    assert_eq!(Test::words(&sent), ["a0", "b0"]);
    assert_eq!(Test::words(&test.sent(0)), [""; 0]);
    test.answer(&sent, &Answer::Last(None));
    let sent = test.sent(0);
    assert_eq!(Test::words(&sent), ["c0", "a1"]);
    test.answer(&sent[1..], &Answer::Stored { sequence: 1, is_duplicate: false });
    assert_eq!(Test::words(&test.sent(0)), ["b1"]);
}

#[test]
fn it_is_full_at_either_bound() {
    for (bytes, fits) in [(1, 4), (50, 2)] {
        let mut test = Test::new(OWNER);
        for number in 1..=fits {
            assert!(!test.lanes.is_full());
            test.push("a", number, bytes);
        }
        assert!(test.lanes.is_full());
        let topics = [Topic::from("a")];
        test.lanes.set_role(&topics, Role::Standby);
        assert!(!test.lanes.is_full(), "what a standby keeps stops nobody");
        assert_eq!(
            test.lanes.kept(),
            Waiting { messages: fits as usize, bytes: fits as usize * bytes }
        );
        test.lanes.set_role(&topics, Role::None);
        assert_eq!(test.lanes.kept(), Waiting::default());
    }
}

#[test]
fn a_standby_drops_its_oldest_beyond_the_bounds() {
    let mut test = Test::new(Role::Standby);
    test.push("b", 1, 1);
    (1..=9).for_each(|number| test.push("a", number, 1));
    assert_eq!(test.lanes.kept(), Waiting { messages: 4, bytes: 4 });
    assert_eq!(test.lanes.counts().dropped, 6);
}

#[test]
fn what_is_not_answered_is_sent_again_with_the_same_number() {
    let mut test = Test::new(OWNER);
    test.push("a", 1, 1);
    let read = test.sent(0);
    test.answer(&read, &Answer::Last(None));
    let sent = test.sent(0);
    assert_eq!(test.lanes.poll_timeout(), Some(test.now(2000).at));
    assert_eq!(Test::words(&test.sent(1999)), [""; 0]);
    assert_eq!(test.sent(2000), sent);
    assert_eq!((test.lanes.repeated(), test.lanes.in_flight()), (1, 1));
    test.answer(&sent, &Answer::Stored { sequence: 1, is_duplicate: false });
    assert_eq!((test.lanes.poll_timeout(), test.lanes.in_flight()), (None, 0));
}

#[test]
fn nothing_is_sent_without_a_connection_and_all_again_once_there_is_one() {
    let mut test = Test::new(OWNER);
    test.push("a", 1, 1);
    let sent = test.sent(0);
    test.lanes.set_connected(false, test.start);
    test.push("b", 1, 1);
    assert_eq!((test.sent(9000), test.lanes.poll_timeout()), (vec![], None));
    test.lanes.set_connected(true, test.start);
    let again = test.sent(1);
    assert_eq!((&again[..1], Test::words(&again)), (&sent[..], vec!["a0", "b0"]));
}

#[test]
fn what_is_in_flight_of_a_topic_that_was_given_away_is_given_up_in_time() {
    for (role, is_repeated) in [
        (OWNER, true),
        (Role::Standby, false),
        (Role::None, false),
        (Role::Owner { fence: 1, until: Some(Instant::now()) }, false),
    ] {
        let mut test = Test::new(OWNER);
        test.push("a", 1, 1);
        let sent = test.sent(0);
        let ids = test.lanes.set_role(&[Topic::from("a")], role);
        assert!(test.lanes.is_in_flight(ids[0]));
        let again = test.sent(2000);
        let is_same = !again.is_empty() && again[..1] == sent[..];
        assert_eq!(is_same, is_repeated, "{role:?}");
        assert_eq!(test.lanes.repeated(), u64::from(is_repeated));
    }
}

/// A message as a broker has it.
#[derive(Clone, Debug)]
struct Stored {
    generation: u64,
    number: u64,
    fence: u64,
    /// What the venue sent.
    truth: (u64, u64),
    at: Instant,
}

/// A process: its publications, and what is on the way to and from the broker.
struct Process {
    lanes: Lanes,
    /// How many updates of the venue it has received.
    received: usize,
    is_subscribed: bool,
    requests: VecDeque<(LaneId, u64, Sent)>,
    answers: VecDeque<(LaneId, u64, Answer)>,
}

/// What may happen. Processes are taken modulo their number.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The venue sends so many updates.
    Send(u8),
    /// A process receives so many of them.
    Receive(u8, u8),
    /// A process sends to the broker.
    Poll(u8),
    /// The broker takes a request, so often.
    Take(u8, u8),
    /// A request is lost.
    LoseRequest(u8),
    /// An answer comes.
    Answer(u8),
    /// An answer is lost.
    LoseAnswer(u8),
    /// The oldest answer is late: others are before it.
    DelayAnswer(u8),
    /// Time passes: milliseconds, in hundreds.
    Pass(u8),
    /// A process becomes the owner, and the one before does not know yet.
    TakeOver(u8),
    /// A process learns that it is not the owner any more.
    Release(u8),
    /// The venue begins its numbers anew.
    Restart,
    /// A process loses its connection, or has it again.
    Connect(u8, bool),
    /// A process ends, and begins with nothing.
    Crash(u8),
}

fn event(with_crashes: bool) -> impl Strategy<Value = Event> {
    let process = 0..2u8;
    prop_oneof![
        6 => (1..4u8).prop_map(Event::Send),
        6 => (process.clone(), 1..6u8).prop_map(|(it, count)| Event::Receive(it, count)),
        8 => process.clone().prop_map(Event::Poll),
        8 => (process.clone(), 1..3u8).prop_map(|(it, times)| Event::Take(it, times)),
        1 => process.clone().prop_map(Event::LoseRequest),
        8 => process.clone().prop_map(Event::Answer),
        1 => process.clone().prop_map(Event::LoseAnswer),
        1 => process.clone().prop_map(Event::DelayAnswer),
        3 => (1..60u8).prop_map(Event::Pass),
        1 => process.clone().prop_map(Event::TakeOver),
        1 => process.clone().prop_map(Event::Release),
        1 => Just(Event::Restart),
        1 => (process.clone(), any::<bool>()).prop_map(|(it, is_open)| Event::Connect(it, is_open)),
        1 => process.prop_map(move |it| if with_crashes { Event::Crash(it) } else { Event::Pass(1) }),
    ]
}

/// The first number of the first generation.
const FIRST: u64 = 100_000_000;

/// Two processes that share a topic, a broker and a venue.
struct Model {
    now: Instant,
    start: Instant,
    /// What the venue has sent: the generation and the number.
    sent: Vec<(u64, u64)>,
    stream: Vec<Stored>,
    processes: Vec<Process>,
    owner: usize,
    /// Whether the owner has not ended since.
    is_owned: bool,
    fence: u64,
}

impl Model {
    fn new() -> Model {
        let now = Instant::now();
        let mut model = Model {
            now,
            start: now,
            sent: vec![(0, FIRST)],
            stream: Vec::new(),
            processes: (0..2).map(|_| Process::new(now)).collect(),
            owner: 0,
            is_owned: true,
            fence: 0,
        };
        model.take_over(0);
        model
    }

    fn time(&self) -> Now {
        let unix_ms = 1_000_000 + self.now.duration_since(self.start).as_millis() as u64;
        Now { at: self.now, unix_ms }
    }

    fn happen(&mut self, event: Event) {
        let now = self.time();
        let at = |process: u8| usize::from(process) % 2;
        match event {
            Event::Send(count) => (0..count).for_each(|_| {
                let (generation, number) = self.sent[self.sent.len() - 1];
                self.sent.push((generation, number + 1));
            }),
            // Of two restarts while nobody publishes, a standby cannot tell which one the next owner saw.
            Event::Restart if !self.is_owned => {}
            Event::Restart => {
                // Standbys know by then which generation their numbers belong to.
                self.settle();
                let (generation, _) = self.sent[self.sent.len() - 1];
                // Lower than all before, as those of a venue that has run for long.
                self.sent.push((generation + 1, FIRST - 10_000 * (generation + 1)));
            }
            Event::Receive(process, count) => self.receive(at(process), count.into()),
            Event::Poll(process) => self.processes[at(process)].poll(now),
            Event::Take(process, times) => self.take(at(process), times.into()),
            Event::LoseRequest(process) => drop(self.processes[at(process)].requests.pop_front()),
            Event::Answer(process) => self.processes[at(process)].answer(now),
            Event::LoseAnswer(process) => drop(self.processes[at(process)].answers.pop_front()),
            Event::DelayAnswer(process) => {
                let answers = &mut self.processes[at(process)].answers;
                if let Some(answer) = answers.pop_front() {
                    answers.push_back(answer);
                }
            }
            Event::Pass(time) => self.now += Duration::from_millis(100 * u64::from(time)),
            Event::TakeOver(process) => self.take_over(at(process)),
            Event::Release(process) => {
                if at(process) != self.owner {
                    let topic = [Topic::from("a")];
                    drop(self.processes[at(process)].lanes.set_role(&topic, Role::Standby));
                }
            }
            Event::Connect(process, is_open) => {
                self.processes[at(process)].lanes.set_connected(is_open, now.at);
            }
            Event::Crash(process) => {
                self.is_owned &= at(process) != self.owner;
                // What it has sent may still arrive.
                let old = std::mem::replace(&mut self.processes[at(process)], Process::new(now.at));
                let process = &mut self.processes[at(process)];
                (process.requests, process.is_subscribed) = (old.requests, false);
                process.requests.iter_mut().for_each(|request| request.1 = u64::MAX);
            }
        }
    }

    fn receive(&mut self, process: usize, count: usize) {
        let it = &mut self.processes[process];
        // A venue repeats its last update to who subscribes.
        if !std::mem::replace(&mut it.is_subscribed, true) {
            it.received = self.sent.len() - 1;
        }
        for _ in 0..count {
            let Some((generation, number)) = self.sent.get(it.received) else { return };
            it.received += 1;
            let bytes = Bytes::from(format!("{generation} {number}"));
            let sequence = Sequence::contiguous(*number, *number);
            it.lanes.push(&"a".into(), sequence, false, bytes, self.now);
        }
    }

    fn take_over(&mut self, process: usize) {
        (self.owner, self.is_owned, self.fence) = (process, true, self.fence + 1);
        let role = Role::Owner { fence: self.fence, until: None };
        drop(self.processes[process].lanes.set_role(&[Topic::from("a")], role));
    }

    /// The broker takes the oldest request of a process, and answers each time.
    fn take(&mut self, process: usize, times: usize) {
        let Some((lane, flight, sent)) = self.processes[process].requests.pop_front() else {
            return;
        };
        for _ in 0..times {
            let answer = match &sent {
                Sent::Read => Answer::Last(self.last()),
                Sent::Publication(publication) => self.store(publication),
            };
            self.processes[process].answers.push_back((lane, flight, answer));
        }
    }

    fn last(&self) -> Option<Last> {
        self.stream.last().map(|stored| Last {
            sequence: self.stream.len() as u64,
            stored_at: stored.at,
            generation: Some(stored.generation),
            number: Some((stored.number, false)),
            fence: stored.fence,
        })
    }

    fn store(&mut self, publication: &Publication) -> Answer {
        if publication.follows != self.stream.len() as u64 {
            return Answer::WrongLast;
        }
        let Number::Ordered { last, .. } = publication.number else { panic!("{publication:?}") };
        let text = std::str::from_utf8(&publication.bytes).unwrap();
        let (generation, number) = text.split_once(' ').unwrap();
        self.stream.push(Stored {
            generation: publication.generation.unwrap(),
            number: last,
            fence: publication.fence,
            truth: (generation.parse().unwrap(), number.parse().unwrap()),
            at: self.now,
        });
        Answer::Stored { sequence: self.stream.len() as u64, is_duplicate: false }
    }

    /// Lets all that is on the way arrive, and everything be published that is not held back.
    fn settle(&mut self) {
        for process in 0..2 {
            self.processes[process].lanes.set_connected(true, self.now);
        }
        for _ in 0..10 {
            for process in 0..2 {
                self.receive(process, usize::MAX);
                for _ in 0..1000 {
                    let now = self.time();
                    self.processes[process].poll(now);
                    if self.processes[process].requests.is_empty() {
                        break;
                    }
                    while !self.processes[process].requests.is_empty() {
                        self.take(process, 1);
                    }
                    while !self.processes[process].answers.is_empty() {
                        self.processes[process].answer(now);
                    }
                }
            }
            self.now += Duration::from_secs(6);
        }
    }

    fn check(&mut self, is_whole: bool) -> Result<(), TestCaseError> {
        self.settle();
        let stream = &self.stream;
        for pair in stream.windows(2) {
            let (before, after) = (&pair[0], &pair[1]);
            let order = |it: &Stored| (it.generation, it.number);
            prop_assert!(order(before) < order(after), "order: {before:?} {after:?}");
            // A process that begins with nothing has not seen all restarts.
            let (is_same, is_one) =
                (before.truth.0 == after.truth.0, before.generation == after.generation);
            prop_assert!(
                before.truth < after.truth || !is_one && !is_whole,
                "truth: {before:?} {after:?}"
            );
            prop_assert!(is_same == is_one || !is_whole, "generations: {before:?} {after:?}");
        }
        if is_whole {
            let truths: Vec<_> = stream.iter().map(|stored| stored.truth).collect();
            prop_assert_eq!(&truths, &self.sent);
        }
        for process in &self.processes {
            prop_assert_eq!(process.lanes.in_flight(), 0);
        }
        let owner = &self.processes[self.owner].lanes;
        prop_assert_eq!(owner.owned(), Waiting::default());
        Ok(())
    }
}

impl Process {
    fn new(now: Instant) -> Process {
        let limits = Limits {
            messages: 10_000,
            bytes: 1 << 20,
            keep: Duration::from_secs(100_000),
            ..limits()
        };
        let mut lanes = Lanes::new(limits, Role::Standby);
        lanes.set_connected(true, now);
        let (requests, answers) = (VecDeque::new(), VecDeque::new());
        Process { lanes, received: 0, is_subscribed: true, requests, answers }
    }

    fn poll(&mut self, now: Now) {
        while let Some(it) = self.lanes.poll(now) {
            self.requests.push_back((it.lane, it.flight, it.sent.clone()));
        }
    }

    fn answer(&mut self, now: Now) {
        if let Some((lane, flight, answer)) = self.answers.pop_front() {
            self.lanes.handle(lane, flight, answer, now);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Two processes of which each is the owner or a standby that keeps everything.
    #[test]
    fn the_stream_has_each_number_once_in_order(events in prop::collection::vec(event(false), 0..200)) {
        let mut model = Model::new();
        events.into_iter().for_each(|event| model.happen(event));
        model.check(true)?;
    }

    /// A process that ends loses what it had not published.
    #[test]
    fn the_stream_has_no_number_twice_also_after_crashes(events in prop::collection::vec(event(true), 0..200)) {
        let mut model = Model::new();
        events.into_iter().for_each(|event| model.happen(event));
        let owner = model.owner;
        model.take_over(owner);
        model.check(false)?;
    }
}
